"""The confidence from which on answers are right often enough."""

import math
from typing import NamedTuple

import numpy as np
import scipy.stats
from numpy.typing import NDArray

_SHARES = np.arange(1, 41) / 40  # of the rows, most confident first, that are looked at in turn


class Threshold(NamedTuple):
    """A bound on the confidence, and what held-out rows say of the answers above it."""

    confidence: float
    """Smallest highest probability of a row that is answered; infinite if no rows can be."""
    accuracy: float
    """Share of the answered rows that are right; NaN without any."""
    bound: float
    """Lower bound on that share, which holds at the stated level; NaN without rows."""
    n_rows: int
    """Number of held-out rows that are answered."""
    coverage: float
    """Their share among all held-out rows."""


def choose_threshold(
    confidence: NDArray[np.float64],
    right: NDArray[np.floating],
    weight: NDArray[np.floating],
    accuracy: float,
    level: float,
) -> Threshold:
    """Return the lowest threshold above which the accuracy is at least the one wanted.

    Parameters
    ----------
    confidence : ndarray (m,)
        Highest probability of every row.
    right : ndarray (m,)
        Whether the answer is right, or the probability that it is.
    weight : ndarray (m,)
        Weights of the rows.
    accuracy : float
        Accuracy wanted.
    level : float
        Probability with which it is to be reached.

    Returns
    -------
    Threshold
        Rows are added in steps of a 40th, most confident first, until the Clopper-Pearson bound of
        their accuracy fails. The first step has as many rows as the bound needs if all are right.

    Notes
    -----
    Tests in a fixed order that end with the first failure need no correction for their number
    (Angelopoulos et al. 2021, "Learn then test"). With unequal weights the number of rows is the
    effective one, (sum w)^2 / sum w^2.

    Examples
    --------
    >>> confidence = np.linspace(0.5, 1, 1000)
    >>> right = confidence > 0.6
    >>> found = choose_threshold(confidence, right, np.ones(1000), 0.95, 0.95)
    >>> round(found.confidence, 2), found.n_rows, round(found.accuracy, 3)
    (0.59, 825, 0.97)
    """
    m = len(confidence)
    order = np.argsort(-confidence, kind="stable")
    confidence, w = confidence[order], weight[order]
    hits = np.cumsum(w * right[order])
    total, squares = np.cumsum(w), np.cumsum(w**2)
    # Rows of equal confidence are answered or refused together.
    last = np.append(np.diff(confidence) != 0, True)
    ends = np.flatnonzero(last)
    found = Threshold(math.inf, math.nan, math.nan, 0, 0.0)
    fewest = math.log(1 - level) / math.log(accuracy)
    for share in _SHARES:
        end = ends[np.searchsorted(ends, math.ceil(share * m) - 1)]
        n = float(total[end] ** 2 / squares[end])
        if n < fewest:
            continue
        reached = min(1.0, float(hits[end] / total[end]))
        bound = _lower_bound(reached * n, n, level)
        if bound < accuracy:
            break
        found = Threshold(float(confidence[end]), reached, bound, int(end) + 1, (int(end) + 1) / m)
    return found


def _lower_bound(hits: float, n: float, level: float) -> float:
    """Return the one-sided Clopper-Pearson lower bound of a share."""
    return float(scipy.stats.beta.ppf(1 - level, hits, n - hits + 1)) if hits > 0 else 0.0
