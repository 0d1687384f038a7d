"""Prediction: rows in chunks through `encode` once, then through a sampler."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace, to_device
from numpy.typing import NDArray

from skdidicm.backend import ScoreNetwork
from skdidicm.core import EPS_T, Process, Schedule, sample_labels, sample_probabilities

_CHUNK_NUMBERS = 2**19  # numbers of X that one chunk holds: small enough for a CPU's caches
_CHUNK_ROWS = (64, 4096)
_NOISE_ONLY = 0.01  # total variation from pure noise at t = 1 below which the prior has no say


@dataclass(frozen=True)
class SamplerPlan:
    """How to sample: the settings of an estimator that count at prediction.

    `p_init` is the law (k,) at t = 1, and `seed` makes the noise, the same for every row.
    """

    process: Process
    schedule: Schedule
    p_init: NDArray[np.float64]
    seed: int
    sampler: str
    solver: str
    steps: int
    label_rule: str
    n_chains: int


def initial_law(
    process: Process, schedule: Schedule, class_prior: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the law (k,) at t = 1: pure noise, or the prior as far as a weak schedule lets it."""
    diffused, limit = process.diffuse(class_prior, schedule.total(1.0)), process.limit()
    return limit if np.abs(diffused - limit).sum() / 2 <= _NOISE_ONLY else np.asarray(diffused)


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

    A step may leave a class with probability zero, which no finite training set can justify. The
    network is trained down to t = EPS_T only, so unless `raw` is set the result is the law of the
    label at that time, whose noise of about 1e-3 leaves every class a little.
    """
    n, k = len(x), len(plan.p_init)
    finite = FiniteScores() if finite is None else finite
    features = network.encode(np.ascontiguousarray(x))  # flipped images have negative strides
    rng = np.random.default_rng(plan.seed)
    settings: dict[str, Any] = {
        "process": plan.process,
        "schedule": plan.schedule,
        "steps": plan.steps,
        "solver": plan.solver,
        "return_path": path,
    }
    if plan.sampler == "cp":
        p = sample_probabilities(
            lambda label, sigma: finite(network.log_score(features, label, sigma)),
            network.start(np.broadcast_to(plan.p_init, (n, k)).copy()),
            label_rule=plan.label_rule,
            rng=rng,
            **settings,
        )
    else:

        def log_score(label: Any, sigma: Any) -> Any:
            scores = network.log_score(features, label.reshape((n, -1)), sigma.reshape((n, -1)))
            return finite(scores.reshape((-1, k)))

        uniforms = network.start(rng.random((plan.steps + 1, plan.n_chains)))
        p = sample_labels(
            log_score, n, n_chains=plan.n_chains, uniforms=uniforms, p_init=plan.p_init, **settings
        )
    law: NDArray[np.float64] = np.asarray(to_device(p, "cpu"), dtype=np.float64)
    finite.warn()
    law = law / law.sum(axis=-1, keepdims=True)
    if raw:
        return law
    return np.asarray(plan.process.diffuse(law, plan.schedule.total(EPS_T)))


class FiniteScores:
    """Puts 0, which says nothing, where log scores overflowed, and warns of it once.

    What it has seen stays on the device until `warn`, so that no step waits for it.
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
        """Warn if something was not finite since the last call."""
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
) -> NDArray[np.float64]:
    """Return `sample` over chunks of rows as one array (n, *shape).

    A chunk that does not fit into memory is halved, with one warning.
    """
    result = np.empty((len(x), *shape))
    per_row = max(1, int(np.prod(x.shape[1:])) * rows_cost)
    size = int(np.clip(_CHUNK_NUMBERS // per_row, *_CHUNK_ROWS))
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
