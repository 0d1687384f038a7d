"""Temperature scaling of probabilities, with the temperature chosen on held-out rows."""

import math

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from skdidicm.core import Channel
from skdidicm.core.arrays import Array, namespace
from skdidicm.core.arrays import softmax as softmax_array
from skdidicm.metrics import FLOOR, log_proba

_LOG_RANGE = (-1.0, 3.0)  # wider bounds let a few easy held-out rows choose extreme temperatures


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
        log_p = log_softmax(logits / math.exp(log_temperature), axis=1)
        return -float(
            (share * (log_p if channel is None else channel.observed_logits(log_p))).sum()
        )

    def penalised(log_temperature: float) -> float:
        return nll(log_temperature) + ((log_temperature - centre) / log_scale) ** 2 / 2

    best = float(scipy.optimize.minimize_scalar(penalised, bounds=_LOG_RANGE, method="bounded").x)
    return math.exp(best), nll(best) / float(share.sum())


def tempered(proba: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return probabilities (..., k) to the power of 1 / temperature, summing to one again."""
    if temperature == 1:
        return proba
    logits = log_proba(proba)
    # Relative to the largest, so that the quotient is finite at any temperature for one class.
    relative = logits - logits.max(axis=-1, keepdims=True)
    with np.errstate(over="ignore"):
        p: NDArray[np.float64] = softmax(relative / temperature, axis=-1)
    return p


def tempered_array(proba: Array, temperature: float) -> Array:
    """Return the same as `tempered` by operations that a backend can export as a graph."""
    if temperature == 1:
        return proba
    xp = namespace(proba)
    return softmax_array(xp.log(xp.clip(proba, min=FLOOR)) / temperature)
