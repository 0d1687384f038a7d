"""Prediction: rows in chunks through `encode` once, then through a sampler."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from array_api_compat import array_namespace, to_device
from array_api_compat import device as device_of
from numpy.typing import NDArray

from skdidicm.backend import ScoreNetwork
from skdidicm.core import (
    Process,
    SamplerPlan,
    Schedule,
    read_out,
    sample_posterior,
    time_steps,
)
from skdidicm.predict.temperature import tempered

_CHUNK_NUMBERS = 2**19  # numbers of X that one chunk holds: small enough for a CPU's caches
_CHUNK_ROWS = (64, 4096)
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
    *,
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
    temperature : float
        Applied to the mean, so that it changes no predicted class.
    path : bool
        Whether to return the posterior at every step, (n, steps + 1, k).
    raw : bool
        Whether to return what the sampler yields, without temperature; see `sample_rows`.
    """
    k, finite = len(plan.p_init), FiniteScores()

    def sample(part: NDArray[Any]) -> NDArray[np.float64]:
        answers = sample_each(networks, part, plan, path=path, raw=raw, finite=finite)
        law: NDArray[np.float64] = np.mean(answers, axis=0)
        return law if raw else tempered(law, temperature)

    return in_chunks(sample, x, (plan.steps + 1, k) if path else (k,), _rows_cost(plan))


def posteriors(
    networks: Sequence[ScoreNetwork], x: NDArray[Any], plan: SamplerPlan
) -> NDArray[np.float64]:
    """Return the posterior by each of several networks, (n, networks, k), without temperature."""
    finite = FiniteScores()

    def sample(part: NDArray[Any]) -> NDArray[np.float64]:
        answers = sample_each(networks, part, plan, path=False, raw=False, finite=finite)
        return np.stack(answers, axis=1)

    return in_chunks(sample, x, (len(networks), len(plan.p_init)), _rows_cost(plan))


def sample_each(
    networks: Sequence[ScoreNetwork],
    x: NDArray[Any],
    plan: SamplerPlan,
    *,
    path: bool,
    raw: bool,
    finite: "FiniteScores",
) -> Sequence[NDArray[np.float64]]:
    """Return the posterior of a few rows by each network, as `sample_rows` does."""
    if _are_few(x, plan):
        return list(sample_few(networks, x, plan, path=path, raw=raw, finite=finite))
    return [sample_rows(net, x, plan, path=path, raw=raw, finite=finite) for net in networks]


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
    features = network.encode(np.ascontiguousarray(x))  # flipped images have negative strides
    p = sample_posterior(
        lambda label, sigma: finite(network.log_score(features, label, sigma)),
        len(x),
        plan,
        network.start,
        return_path=path,
    )
    law: NDArray[np.float64] = np.asarray(to_device(p, "cpu"), dtype=np.float64)
    finite.warn()
    return _law(law, plan, raw=raw)


def sample_few(
    networks: Sequence[ScoreNetwork],
    x: NDArray[Any],
    plan: SamplerPlan,
    *,
    path: bool,
    raw: bool,
    finite: "FiniteScores",
) -> NDArray[np.float64]:
    """Return what `sample_rows` does, (b, n, ...) for b networks, faster for few rows.

    Each network is called once, for all labels and steps, and the sampler runs on the host.
    """
    levels = [step.sigma for step in time_steps(plan.schedule, plan.steps)]
    table = np.concatenate([_table(network, x, levels, finite) for network in networks])
    finite.warn()
    start = partial(np.asarray, dtype=table.dtype)
    p = sample_posterior(LookUp(table), len(table), plan, start, return_path=path)
    law = _law(np.asarray(p, dtype=np.float64), plan, raw=raw)
    return law.reshape(len(networks), len(x), *law.shape[1:])


def _law(law: NDArray[np.float64], plan: SamplerPlan, *, raw: bool) -> NDArray[np.float64]:
    law = law / law.sum(axis=-1, keepdims=True)
    return law if raw else np.asarray(read_out(law, plan.process, plan.schedule))


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
