"""Temperature scaling of probabilities, with the temperature chosen on held-out rows.

With many classes, one temperature for all rows that is right for the wrong answers leaves the right
ones too unsure. It then grows with a power of the entropy of the row, as in the entropy-based
temperature scaling of Balanya, Maroñas and Ramos (2022): T(p) = T (H(p) / log k)^slope.
"""

import math

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from skdidicm.core import Channel
from skdidicm.core.arrays import Array, at_least, at_most, namespace
from skdidicm.core.arrays import softmax as softmax_array
from skdidicm.metrics import FLOOR, log_proba

_LOG_RANGE = (-1.0, 3.0)  # wider bounds let a few easy held-out rows choose extreme temperatures
_SLOPES = (-1.0, 1.0)
_SURE = 0.1  # entropy relative to log k below which rows are not told apart: sure rows stay finite


def best_temperature(
    proba: NDArray[np.float64],
    q_0: NDArray[np.floating],
    weight: NDArray[np.floating] | float = 1.0,
    *,
    log_scale: float = math.inf,
    expected: float = 1.0,
    channel: Channel | None = None,
) -> tuple[float, float]:
    """Return the temperature that minimises the NLL, and the mean NLL (nats) at it.

    Parameters
    ----------
    proba : ndarray (n, k)
        Class probabilities.
    q_0 : ndarray (n, k)
        Labels, one-hot or as probabilities themselves.
    weight : ndarray (n,), optional
        Weights of the rows.
    log_scale : float, optional
        Standard deviation of a normal prior of the temperature's logarithm, which keeps the
        temperature near `expected` where rows are few; by default none.
    expected : float, optional
        The temperature in the centre of this prior.
    channel : Channel, optional
        Label noise: labels are those observed, and the probabilities of the true class.

    Examples
    --------
    >>> proba, y = np.full((4, 2), [0.9, 0.1]), np.array([0, 0, 0, 1])
    >>> temperature, nll = best_temperature(proba, np.eye(2)[y])
    >>> round(temperature, 2), np.round(tempered(proba, temperature)[0], 2).tolist()
    (2.0, [0.75, 0.25])
    >>> round(best_temperature(proba, np.eye(2)[y], log_scale=0.5)[0], 2)
    1.22
    """
    logits = log_proba(proba)
    share, centre = np.reshape(weight, (-1, 1)) * q_0, math.log(expected)

    def nll(log_temperature: float) -> float:
        return _total_nll(logits / math.exp(log_temperature), share, channel)

    def penalised(log_temperature: float) -> float:
        return nll(log_temperature) + ((log_temperature - centre) / log_scale) ** 2 / 2

    best = float(scipy.optimize.minimize_scalar(penalised, bounds=_LOG_RANGE, method="bounded").x)
    return math.exp(best), nll(best) / float(share.sum())


def best_slope(
    proba: NDArray[np.float64],
    q_0: NDArray[np.floating],
    weight: NDArray[np.floating],
    *,
    log_scale: float,
    channel: Channel | None = None,
) -> tuple[float, float]:
    """Return the temperature and the slope that minimise the NLL together.

    Parameters
    ----------
    proba, q_0, weight, channel
        As for `best_temperature`.
    log_scale : float
        Standard deviation of normal priors of the temperature's logarithm and of the slope.

    Examples
    --------
    >>> proba = np.repeat([[0.8, 0.1, 0.1], [0.4, 0.3, 0.3]], 10, axis=0)
    >>> y = np.r_[np.zeros(10, int), np.repeat([0, 1, 2], [4, 3, 3])]  # ten were too unsure
    >>> temperature, slope = best_slope(proba, np.eye(3)[y], np.ones(20), log_scale=0.3)
    >>> np.round(tempered(proba, temperature, slope)[[0, 10]], 2).tolist()
    [[0.9, 0.05, 0.05], [0.42, 0.29, 0.29]]
    """
    logits, share = log_proba(proba), np.reshape(weight, (-1, 1)) * q_0
    log_entropy = np.log(_relative_entropy(proba, logits))

    def penalised(at: NDArray[np.float64]) -> float:
        nll = _total_nll(logits * np.exp(-at[0] - at[1] * log_entropy), share, channel)
        return nll + float((at**2).sum()) / (2 * log_scale**2)

    start, _ = best_temperature(proba, q_0, weight, log_scale=log_scale, channel=channel)
    found = scipy.optimize.minimize(
        penalised, [math.log(start), 0.0], method="L-BFGS-B", bounds=[_LOG_RANGE, _SLOPES]
    ).x
    return math.exp(found[0]), float(found[1])


def _total_nll(
    logits: NDArray[np.float64], share: NDArray[np.floating], channel: Channel | None
) -> float:
    """Return the NLL of logits (n, k), weighted by the shares (n, k) of the labels."""
    log_p = log_softmax(logits, axis=1)
    seen = log_p if channel is None else channel.observed_logits(log_p)
    return -float((share * seen).sum())


def _relative_entropy(proba: Array, logits: Array) -> Array:
    """Return the entropy (..., 1) of probabilities relative to log k, at least `_SURE`."""
    total = -namespace(proba).sum(proba * logits, axis=-1, keepdims=True)
    return at_most(at_least(total / math.log(proba.shape[-1]), _SURE), 1.0)


def tempered(
    proba: NDArray[np.float64], temperature: float, slope: float = 0.0
) -> NDArray[np.float64]:
    """Return probabilities (..., k) to the power of 1 / temperature, summing to one again.

    With a `slope`, the temperature of a row is multiplied by this power of its relative entropy.
    """
    if temperature == 1 and not slope:
        return proba
    logits = log_proba(proba)
    if slope:
        logits = logits / _relative_entropy(proba, logits) ** slope
    # Relative to the largest, so that the quotient is finite at any temperature for one class.
    relative = logits - logits.max(axis=-1, keepdims=True)
    with np.errstate(over="ignore"):
        p: NDArray[np.float64] = softmax(relative / temperature, axis=-1)
    return p


def tempered_array(proba: Array, temperature: float, slope: float = 0.0) -> Array:
    """Return the same as `tempered` by operations that a backend can export as a graph."""
    if temperature == 1 and not slope:
        return proba
    xp = namespace(proba)
    logits = xp.log(xp.clip(proba, min=FLOOR))
    if slope:
        logits = logits / _relative_entropy(proba, logits) ** slope
    return softmax_array(logits / temperature)
