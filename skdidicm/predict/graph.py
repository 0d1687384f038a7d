"""The whole answer as one function of rows, which a backend can export as a graph."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace
from numpy.typing import NDArray

from skdidicm.core import SamplerPlan, read_out, sample_probabilities, time_steps
from skdidicm.core.arrays import Array, like
from skdidicm.predict.beside import mixed
from skdidicm.predict.pooling import pooled
from skdidicm.predict.temperature import tempered_array

LogScore = Callable[[Array, Array], Array]

MAX_STEPS = 64
"""Most reverse steps: a graph holds every step by itself."""


@dataclass(frozen=True)
class Answer:
    """From rows to class probabilities, as `predict_proba`, on arrays of any library.

    Attributes
    ----------
    plan : SamplerPlan
        How to sample, by "cp".
    temperature, slope : float
        Applied to the mean over the networks; see `tempered`.
    geometric : bool
        Whether that is a geometric mean.
    beside : sequence of (callable, float)
        The models that answer beside the networks, on arrays of any library, and their shares.
    fill : ndarray (d,) or None
        What takes the place of gaps in the columns of a table.
    gaps : tuple of int
        Columns that have an indicator of gaps, which follows the column.
    """

    plan: SamplerPlan
    temperature: float
    beside: Sequence[tuple[Callable[[Array], Array], float]] = ()
    fill: Any = None
    gaps: tuple[int, ...] = ()
    slope: float = 0.0
    geometric: bool = False

    def __post_init__(self) -> None:
        plan = self.plan
        if plan.sampler != "cp":
            raise ValueError(
                f"sampler is {plan.sampler!r}, which draws labels; ONNX takes the other sampler, "
                "so set sampler='cp' before the export."
            )
        if plan.steps > MAX_STEPS:
            raise ValueError(
                f"steps is {plan.steps}, but ONNX takes at most {MAX_STEPS}, since every step is a "
                "part of the graph; set fewer before the export."
            )
        if plan.channel is not None:
            raise ValueError(
                "the fit corrects for label_noise after sampling, which ONNX cannot; fit with "
                "parameterization='posterior', which corrects for it in training."
            )

    @property
    def levels(self) -> list[float]:
        """The noise levels of the steps, in their order."""
        return [step.sigma for step in time_steps(self.plan.schedule, self.plan.steps)]

    def __call__(self, networks: Callable[[Array], LogScore], b: int, x: Array) -> Array:
        """Return the probabilities (n, k) of rows by b networks.

        `networks` maps n rows to a function that returns log scores (b n, k) for labels and noise
        (b n,), the rows of one network after those of another.
        """
        x = self._without_gaps(x)
        xp = array_namespace(x)
        law = pooled(self._laws(networks(x), b, x), geometric=self.geometric)
        wide = xp.astype(x, xp.float64)
        for model, share in self.beside:
            law = mixed(law, read_out(model(wide), self.plan.process, self.plan.schedule), share)
        return tempered_array(law, self.temperature, self.slope)

    def _laws(self, log_score: LogScore, b: int, x: Array) -> Array:
        """Return the answers (b, n, k) of the networks in double precision, untempered."""
        plan, xp = self.plan, array_namespace(x)

        def finite(label: Array, sigma: Array) -> Array:
            scores = log_score(label, sigma)
            return xp.where(xp.isfinite(scores), scores, xp.zeros_like(scores))

        start = like(plan.p_init, x)[None, :]
        law = sample_probabilities(
            finite,
            xp.broadcast_to(start, (b * x.shape[0], start.shape[1])),
            process=plan.process,
            schedule=plan.schedule,
            steps=plan.steps,
            solver=plan.solver,
            label_rule=plan.label_rule,
            rng=np.random.default_rng(plan.seed),
        )
        law = xp.astype(law, xp.float64)
        law = read_out(law / xp.sum(law, axis=-1, keepdims=True), plan.process, plan.schedule)
        return xp.reshape(law, (b, x.shape[0], law.shape[1]))

    def _without_gaps(self, x: Array) -> Array:
        """Return rows with gaps filled, and indicators of them; see `skdidicm.fit.columns`."""
        if self.fill is None:
            return x
        xp = array_namespace(x)
        missing = xp.isnan(x)
        x = xp.where(missing, like(self.fill, x), x)
        if not self.gaps:
            return x
        parts = []
        for i in range(x.shape[1]):
            parts.append(x[:, i : i + 1])
            if i in self.gaps:
                parts.append(xp.astype(missing[:, i : i + 1], x.dtype))
        return xp.concat(parts, axis=1)


def example_rows(
    shape: tuple[int, ...], mean: Any, scale: Any, answer: Answer, n: int
) -> NDArray[np.float32]:
    """Return n rows like those of the training, and with gaps where it had some.

    `mean` and `scale` are those that a network standardises with.
    """
    rng, columns = np.random.default_rng(0), np.arange(shape[-1])
    if answer.fill is not None:  # leave out the indicators
        columns += np.array([sum(gap < i for gap in answer.gaps) for i in columns])
        mean, scale = np.asarray(mean)[columns], np.asarray(scale)[columns]
    x = np.asarray(mean + scale * rng.standard_normal((n, *shape)), dtype=np.float32)
    x[0][list(answer.gaps)] = np.nan
    return x
