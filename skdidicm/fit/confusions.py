"""The prior of estimated confusions: symmetric noise, unless counts show something else."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln


def symmetric(rate: NDArray[np.floating] | float, k: int) -> NDArray[np.float64]:
    """Return confusions (..., k, k) of which a share `rate` (...) is wrong, all alike.

    Examples
    --------
    >>> symmetric(0.2, 3)
    array([[0.8, 0.1, 0.1],
           [0.1, 0.8, 0.1],
           [0.1, 0.1, 0.8]])
    """
    wrong = np.asarray(rate, dtype=np.float64)[..., None, None]
    return np.where(np.eye(k, dtype=bool), 1 - wrong, wrong / max(k - 1, 1))


def smoothed(
    counts: NDArray[np.float64], mean: NDArray[np.float64], weights: Iterable[float]
) -> NDArray[np.float64]:
    """Return confusions (..., k, k) from counts of (observed, true) with a prior.

    Parameters
    ----------
    counts : ndarray (..., k, k)
        Expected numbers of rows that are observed as i where j is true.
    mean : ndarray (..., k, k)
        Mean of the Dirichlet prior of each column; positive.
    weights : iterable of float
        Weights of the prior, in rows for each column; the one of the highest evidence is used for
        all columns, so that they stay near the mean unless counts differ from it by more than
        chance.

    Examples
    --------
    >>> weights = (1.0, 1000.0)
    >>> smoothed(np.array([[50.0, 40], [50, 60]]), symmetric(0.45, 2), weights).round(2)
    array([[0.55, 0.45],
           [0.45, 0.55]])
    >>> smoothed(np.array([[99.0, 70], [1, 30]]), symmetric(0.35, 2), weights).round(1)
    array([[1. , 0.7],
           [0. , 0.3]])
    """
    best = max(weights, key=lambda weight: _evidence(counts, weight * mean))
    found = counts + best * mean
    return np.asarray(found / found.sum(axis=-2, keepdims=True))


def _evidence(counts: NDArray[np.float64], prior: NDArray[np.float64]) -> float:
    """Return the log probability of counts in columns with Dirichlet priors, up to a constant."""
    total, of_prior = counts.sum(axis=-2), prior.sum(axis=-2)
    whole = (gammaln(of_prior) - gammaln(of_prior + total)).sum()
    return float(whole + (gammaln(prior + counts) - gammaln(prior)).sum())
