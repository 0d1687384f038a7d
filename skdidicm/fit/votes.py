"""Votes of several annotators: their confusions, and soft labels with the noise that these have."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skdidicm.core import ConfusionNoise
from skdidicm.fit.confusions import smoothed, symmetric

_ITERATIONS = 200
_CONVERGED = 1e-6  # largest change of a probability in one iteration that counts as none
_PRIOR = 2.0  # votes of each annotator that speak in advance for the rate of all together
_WEIGHTS = (
    0.1,
    0.3,
    1.0,
    3.0,
    10.0,
    30.0,
    100.0,
    300.0,
    1000.0,
)  # of symmetric confusions, in rows
_CERTAIN = 1e-3  # probability of a wrong soft label that counts as none
_FEWEST = 0.5  # rows of a class below which its soft labels count as certain, as nothing is known
_TINY = 1e-30


@dataclass(frozen=True)
class Votes:
    """Votes of annotators on n rows, as a list of those that were given.

    Attributes
    ----------
    row, annotator, label : ndarray (v,) of int
        The row, the annotator and the index of the class of every vote.
    shape : tuple of int
        Numbers of rows, annotators and classes.
    """

    row: NDArray[np.intp]
    annotator: NDArray[np.intp]
    label: NDArray[np.intp]
    shape: tuple[int, int, int]

    @property
    def counts(self) -> NDArray[np.float64]:
        """Number of votes for every class, (n, k)."""
        n, _, k = self.shape
        found = np.zeros((n, k))
        np.add.at(found, (self.row, self.label), 1.0)
        return found

    @property
    def overlap(self) -> bool:
        """Whether a row has several votes."""
        return len(np.unique(self.row)) < len(self.row)


def most_likely_annotators(
    votes: Votes, proba: NDArray[np.float64] | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the laws of the true classes given all votes, (n, k), and confusions (a, k, k).

    Parameters
    ----------
    votes : Votes
        At least one.
    proba : ndarray (n, k), optional
        Probabilities of the true class before any vote, from networks or as shares of the classes.
        By default all rows have the shares of the classes, which are estimated too.

    Returns
    -------
    q, confusions : ndarray (n, k), ndarray (a, k, k)
        `confusions[a, i, j]` is the probability that annotator a says i where j is true.

    Notes
    -----
    The expectation-maximisation of Dawid and Skene (1979) from the shares of the votes, and with
    `proba` that of Raykar et al. (JMLR 2010) with a fixed classifier. Each annotator's confusions
    have a prior about symmetric errors at the annotator's own rate, since few votes do not
    determine k (k - 1) entries: without it, weak annotators of two classes can be taken to agree on
    anything. The rate of an annotator with few votes is near that of all together.

    Examples
    --------
    >>> said = np.array([[0, 0, 1], [0, 0, 0], [1, 1, 0], [1, 1, 1]])
    >>> row, annotator = np.indices(said.shape)
    >>> votes = Votes(row.ravel(), annotator.ravel(), said.ravel(), (4, 3, 2))
    >>> q, confusions = most_likely_annotators(votes)
    >>> q.argmax(axis=1), bool(confusions[0, 0, 0] > 0.9 > confusions[2, 0, 0])
    (array([0, 0, 1, 1]), True)
    """
    n, a, k = votes.shape
    known = np.full((n, k), 1 / k) if proba is None else proba
    q = _normalised((votes.counts + known) * (1 if proba is None else known))
    confusions = np.empty((a, k, k))
    for _ in range(_ITERATIONS):
        seen = np.zeros((a, k, k))
        np.add.at(seen, (votes.annotator, votes.label), q[votes.row])
        total = seen.sum(axis=(1, 2))
        wrong = total - np.einsum("ajj->a", seen)
        of_all = (wrong.sum() + 1) / (total.sum() + 2)
        rate = (wrong + _PRIOR * of_all) / (total + _PRIOR)
        confusions = smoothed(seen, symmetric(rate, k), _WEIGHTS)
        log_q = np.log(np.maximum(q.mean(axis=0) if proba is None else proba, _TINY))
        log_q = np.broadcast_to(log_q, (n, k)).copy()
        np.add.at(log_q, votes.row, np.log(confusions)[votes.annotator, votes.label])
        better = _normalised(np.exp(log_q - log_q.max(axis=1, keepdims=True)))
        change = np.abs(better - q).max()
        q = better
        if change < _CONVERGED:
            break
    return q, confusions


def noise_of_soft_labels(
    q: NDArray[np.floating],
    weight: NDArray[np.floating],
    truth: NDArray[np.float64] | None = None,
) -> ConfusionNoise | None:
    """Return the mean soft label of every true class as label noise, or None if it is certain.

    Parameters
    ----------
    q : ndarray (n, k)
        Laws of the true classes given the votes, which know nothing of the row.
    weight : ndarray (n,)
        Weights of the rows.
    truth : ndarray (n, k), optional
        Laws of the true classes given the votes and answers of networks; by default `q`, which is
        too sure of itself where votes are few.

    Notes
    -----
    Where votes depend on the row through its true class only, the mean soft label of rows like x is
    M P(true | x), with M[i, j] the mean of q_i where j is true. A network that learns soft labels
    through M learns P(true | x); without M it learns a law that is blurred by the doubt of the
    votes.
    """
    of_truth = q if truth is None else truth
    mass = weight @ of_truth
    joint = (q * weight[:, None]).T @ of_truth
    own = np.eye(len(mass))
    typical = weight.sum() / max(1, np.count_nonzero(weight))
    confusion = np.where(mass > _FEWEST * typical, joint / np.maximum(mass, _TINY), own)
    confusion = confusion / confusion.sum(axis=0)
    return None if np.abs(confusion - own).max() < _CERTAIN else ConfusionNoise(confusion)


def _normalised(q: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(q / q.sum(axis=1, keepdims=True))
