"""Prediction: rows in chunks through `encode` once, then through a sampler."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
from array_api_compat import array_namespace, to_device
from array_api_compat import device as device_of
from numpy.typing import NDArray

from skdidicm.backend import AnswersJointly, JointAnswers, ScoreNetwork
from skdidicm.core import (
    Process,
    SamplerPlan,
    Schedule,
    read_out,
    sample_posterior,
    time_steps,
)
from skdidicm.predict.beside import Beside, answered
from skdidicm.predict.pooling import pooled
from skdidicm.predict.temperature import tempered

_CHUNK_NUMBERS = 2**19  # numbers of X that one chunk holds: small enough for a CPU's caches
_CHUNK_ROWS = (64, 4096)
_JOINT_ROWS = 8192  # rows of a chunk times networks that answer jointly, for the same reason
_FEW_DRAWS = 1024  # pairs of label and step up to which all are asked for at once
_NOISE_ONLY = 0.01  # total variation from pure noise at t = 1 below which the prior is ignored


def initial_law(
    process: Process, schedule: Schedule, class_prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the law (k,) at t = 1: pure noise, or the diffused prior if a schedule ends early."""
    diffused, limit = process.diffuse(class_prior, schedule.total(1.0)), process.limit()
    return limit if np.abs(diffused - limit).sum() / 2 <= _NOISE_ONLY else np.asarray(diffused)


def posterior(
    networks: Sequence[ScoreNetwork],
    x: NDArray[Any],
    plan: SamplerPlan,
    temperature: float = 1.0,
    slope: float = 0.0,
    *,
    geometric: bool = False,
    beside: Sequence[Beside] = (),
    path: bool = False,
    raw: bool = False,
) -> NDArray[np.float64]:
    """Return the mean posterior (n, k) of several networks, at a temperature.

    Parameters
    ----------
    networks : sequence of ScoreNetwork
        At least one; each predicts every row.
    x : ndarray (n, ...)
        Checked rows.
    plan : SamplerPlan
        How to sample.
    temperature, slope : float
        Applied to the mean, so that they change no predicted class; see `tempered`.
    geometric : bool
        Whether the mean is a geometric one; see `pooled`.
    beside : sequence of Beside
        Models that answer beside the networks.
    path : bool
        Whether to return the posterior at every step, (n, steps + 1, k).
    raw : bool
        Whether to return what the sampler yields from the networks, without temperature; see
        `sample_rows`.
    """
    k, answers = len(plan.p_init), Answers(networks, plan, path=path, raw=raw)

    def sample(part: NDArray[Any]) -> NDArray[np.float64]:
        law: NDArray[np.float64] = pooled(answers(part), geometric=geometric and not raw)
        if raw:
            return law
        return tempered(answered(law, part, beside, plan), temperature, slope)

    shape = (plan.steps + 1, k) if path else (k,)
    return in_chunks(sample, x, shape, _rows_cost(plan), answers.most_rows)


def posteriors(
    networks: Sequence[ScoreNetwork], x: NDArray[Any], plan: SamplerPlan
) -> NDArray[np.float64]:
    """Return the posterior by each of several networks, (n, networks, k), without temperature."""
    answers = Answers(networks, plan)

    def sample(part: NDArray[Any]) -> NDArray[np.float64]:
        return np.moveaxis(answers(part), 0, 1)

    shape = (len(networks), len(plan.p_init))
    return in_chunks(sample, x, shape, _rows_cost(plan), answers.most_rows)


class Answers:
    """The posterior of chunks of rows by each of several networks, as `sample_rows` returns it.

    Where the backend lets networks answer jointly, all are asked at once. For few rows of a table,
    all labels are asked for at all steps, and the sampler runs on the host.

    Parameters
    ----------
    networks, plan, path, raw
        As for `posterior`.
    """

    def __init__(
        self,
        networks: Sequence[ScoreNetwork],
        plan: SamplerPlan,
        *,
        path: bool = False,
        raw: bool = False,
    ) -> None:
        self._networks, self._plan = networks, plan
        self._path, self._raw = path, raw
        self._finite = FiniteScores()
        self._levels = [step.sigma for step in time_steps(plan.schedule, plan.steps)]
        first = networks[0]
        self._joint = (
            first.answer(networks[1:], self._levels) if isinstance(first, AnswersJointly) else None
        )
        self.most_rows = _CHUNK_ROWS[1] if self._joint is None else _JOINT_ROWS // len(networks)

    def __call__(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return the posteriors (b, n, k), or with `path` (b, n, steps + 1, k), by b networks."""
        x = np.ascontiguousarray(x)  # flipped images have negative strides
        if _are_few(x, self._plan):
            if self._joint is None:
                parts = [_table(net, x, self._levels, self._finite) for net in self._networks]
                table = np.concatenate(parts)
            else:
                scores = self._finite(self._joint.log_scores(self._joint.encode(x)))
                table = np.asarray(to_device(scores, "cpu"))
            return self._together(LookUp(table), x, partial(np.asarray, dtype=table.dtype))
        if self._joint is not None:
            ask = _InTurn(self._joint, self._joint.encode(x), len(self._levels), self._finite)
            return self._together(ask, x, self._joint.start)
        settings: dict[str, Any] = {"path": self._path, "raw": self._raw, "finite": self._finite}
        return np.stack([sample_rows(net, x, self._plan, **settings) for net in self._networks])

    def _together(
        self, log_score: Callable[[Any, Any], Any], x: NDArray[Any], start: Callable[..., Any]
    ) -> NDArray[np.float64]:
        """Return the posteriors (b, n, ...) by scores whose rows are those of all networks."""
        b, n = len(self._networks), len(x)
        law = _sampled(log_score, b * n, self._plan, start, path=self._path, raw=self._raw)
        self._finite.warn()
        return law.reshape(b, n, *law.shape[1:])


def _rows_cost(plan: SamplerPlan) -> int:
    """Return the memory that a row takes relative to one without chains."""
    return plan.n_chains if plan.sampler == "cl" else 1


def sample_rows(
    network: ScoreNetwork,
    x: NDArray[Any],
    plan: SamplerPlan,
    *,
    path: bool = False,
    raw: bool = False,
    finite: "FiniteScores | None" = None,
) -> NDArray[np.float64]:
    """Return the posterior (n, k) of a few rows, or with `path` (n, steps + 1, k) at every step.

    Unless `raw` is set it is read out at t = EPS_T; see `skdidicm.core.read_out`.
    """
    finite = FiniteScores() if finite is None else finite
    features = network.encode(x)

    def log_score(label: Any, sigma: Any) -> Any:
        return finite(network.log_score(features, label, sigma))

    law = _sampled(log_score, len(x), plan, network.start, path=path, raw=raw)
    finite.warn()
    return law


def _sampled(
    log_score: Callable[[Any, Any], Any],
    n: int,
    plan: SamplerPlan,
    start: Callable[..., Any],
    *,
    path: bool,
    raw: bool,
) -> NDArray[np.float64]:
    """Return the posterior of n rows on the host, read out unless it is to be raw."""
    p = sample_posterior(log_score, n, plan, start, return_path=path)
    law: NDArray[np.float64] = np.asarray(to_device(p, "cpu"), dtype=np.float64)
    law = law / law.sum(axis=-1, keepdims=True)
    if raw:
        return law
    if plan.channel is not None:
        law = plan.channel.recover(law)
    return np.asarray(read_out(law, plan.process, plan.schedule))


def _are_few(x: NDArray[Any], plan: SamplerPlan) -> bool:
    """Return whether rows of a table are so few that all labels can be asked for at every step."""
    draws = len(x) * plan.steps * plan.process.n_classes
    return x.ndim == 2 and plan.sampler == "cp" and draws <= _FEW_DRAWS


def _table(
    network: ScoreNetwork, x: NDArray[Any], levels: list[float], finite: "FiniteScores"
) -> NDArray[np.floating]:
    """Return the log scores (n, steps, k, k) of rows for every label at every noise level."""
    k, some = network.config.n_classes, network.start(np.zeros(1))
    xp = array_namespace(some)
    label = xp.asarray(np.tile(np.arange(k), len(levels)), device=device_of(some))
    sigma = network.start(np.repeat(levels, k))
    shape = (len(x), len(label))
    features = network.encode(np.ascontiguousarray(x))
    scores = finite(
        network.log_score(features, xp.broadcast_to(label, shape), xp.broadcast_to(sigma, shape))
    )
    table: NDArray[np.floating] = np.asarray(to_device(scores, "cpu")).reshape(len(x), -1, k, k)
    return table


class _InTurn:
    """Asks joint answers for one noise level after another, which a sampler does in this order."""

    def __init__(
        self, joint: JointAnswers, features: Any, n_levels: int, finite: "FiniteScores"
    ) -> None:
        self._joint, self._features, self._finite = joint, features, finite
        self._level = cycle(range(n_levels))

    def __call__(self, label: Any, _: Any) -> Any:
        """Return the log scores at labels for the next level."""
        return self._finite(self._joint.log_score(self._features, label, next(self._level)))


class LookUp:
    """Answers a sampler from a table (n, steps, k, k) of log scores, one step a call."""

    def __init__(self, table: NDArray[np.floating]) -> None:
        self._table, self._step = table, 0

    def __call__(self, label: NDArray[np.integer], _: Any) -> NDArray[np.floating]:
        """Return the log scores (n, k) at labels (n,) for the next step."""
        found: NDArray[np.floating] = self._table[np.arange(len(label)), self._step, label]
        self._step += 1
        return found


class FiniteScores:
    """Replaces log scores that overflowed by 0, with one warning.

    The flags stay on the device until `warn`, so that no step waits for them.
    """

    def __init__(self) -> None:
        self._all_finite: list[Any] = []
        self._warned = False

    def __call__(self, scores: Any) -> Any:
        """Return log scores without NaN and infinity."""
        xp = array_namespace(scores)
        finite = xp.isfinite(scores)
        if not self._warned:
            self._all_finite.append(xp.all(finite))
        return xp.where(finite, scores, xp.zeros_like(scores))

    def warn(self) -> None:
        """Warn if a log score was not finite since the last call."""
        if not all(map(bool, self._all_finite)):
            self._warned = True
            warnings.warn(
                "the network gave log scores that are not finite; they count as 0, so these "
                "probabilities mean little. Train with a smaller learning_rate or with "
                "precision='float32', and look for extreme values in X.",
                RuntimeWarning,
                stacklevel=2,
            )
        self._all_finite.clear()


def in_chunks(
    sample: Callable[[NDArray[Any]], NDArray[np.float64]],
    x: NDArray[Any],
    shape: tuple[int, ...],
    rows_cost: int = 1,
    most_rows: int = _CHUNK_ROWS[1],
) -> NDArray[np.float64]:
    """Return `sample` over chunks of rows as one array (n, *shape).

    A chunk that does not fit into memory is halved, with one warning.
    """
    result = np.empty((len(x), *shape))
    per_row = max(1, int(np.prod(x.shape[1:])) * rows_cost)
    size = int(np.clip(_CHUNK_NUMBERS // per_row, min(_CHUNK_ROWS[0], most_rows), most_rows))
    start, warned = 0, False
    while start < len(x):
        part = x[start : start + size]
        try:
            result[start : start + size] = sample(part)
        except (RuntimeError, MemoryError) as error:
            if len(part) == 1 or not _out_of_memory(error):
                raise
            size = len(part) // 2
            if not warned:
                warnings.warn(
                    f"a chunk of {len(part)} rows did not fit into memory; going on with chunks "
                    f"of {size} rows or less.",
                    RuntimeWarning,
                    stacklevel=2,
                )
            warned = True
        else:
            start += len(part)
    return result


def _out_of_memory(error: Exception) -> bool:
    text = str(error).lower()
    said = ("out of memory", "can't allocate", "not enough memory")
    return isinstance(error, MemoryError) or any(words in text for words in said)
