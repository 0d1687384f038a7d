"""Temperature scaling of given probabilities."""

import math
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

_TINY = 1e-12  # probabilities of 0 count as this
_LOG_RANGE = (-1.0, 3.0)  # a wider one lets a few easy held-out rows sharpen without end


def best_temperature(proba: NDArray[np.float64], y: NDArray[Any]) -> tuple[float, float]:
    """Return the temperature that gives labels y (n,) the least NLL, and that NLL in nats.

    Examples
    --------
    >>> proba = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
    >>> temperature, nll = best_temperature(proba, np.array([0, 0, 0, 1]))
    >>> round(temperature, 2), np.round(tempered(proba, temperature)[0], 2).tolist()
    (2.0, [0.75, 0.25])
    """
    logits = np.log(np.clip(proba, _TINY, None))

    def nll(log_temperature: float) -> float:
        log_p = log_softmax(logits / math.exp(log_temperature), axis=1)
        return -float(log_p[np.arange(len(y)), y].mean())

    best = scipy.optimize.minimize_scalar(nll, bounds=_LOG_RANGE, method="bounded")
    return math.exp(best.x), float(best.fun)


def tempered(proba: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Return probabilities (n, k) to the power of 1 / temperature, summing to one again."""
    p: NDArray[np.float64] = softmax(np.log(np.clip(proba, _TINY, None)) / temperature, axis=1)
    return p
