"""How trustworthy given labels are."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skdidicm.core import Channel, responsibilities


class LabelQuality(NamedTuple):
    """How trustworthy the given labels of n rows are.

    Attributes
    ----------
    probability : ndarray (n,)
        Probability that the given label is the true class; NaN for rows without an answer.
    likelier : ndarray (n,)
        The most likely true class, given the row and its label; masked for rows without an answer.
    """

    probability: NDArray[np.float64]
    likelier: NDArray[Any]


def quality_of_labels(
    proba: NDArray[np.float64], target: NDArray[np.floating], channel: Channel | None
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the probability that labels are right (n,), and the most likely true classes (n,).

    Parameters
    ----------
    proba : ndarray (n, k)
        Probabilities of the true class, by networks that have not seen the labels.
    target : ndarray (n, k)
        Given labels as probabilities.
    channel : Channel or None
        Label noise. The probability is then that of the class given the row and its label, by
        Bayes' rule. Without it, the label is no evidence, and the probability is that of the class
        given the row, which is the self-confidence of confident learning.

    Examples
    --------
    >>> from skdidicm.core import SymmetricNoise
    >>> proba, target = np.array([[0.3, 0.7]]), np.array([[1.0, 0.0]])
    >>> for channel in (None, SymmetricNoise(2, 0.2)):
    ...     print([part.round(2).tolist() for part in quality_of_labels(proba, target, channel)])
    [[0.3], [1]]
    [[0.63], [0]]
    """
    if channel is None:
        return (target * proba).sum(axis=1), proba.argmax(axis=1)
    share = target / np.maximum(channel.observe(proba), np.finfo(np.float64).tiny)
    right = (share * proba * channel.matrix().diagonal()).sum(axis=1)
    return right, given_labels(proba, target, channel).argmax(axis=1)


def given_labels(
    proba: NDArray[np.float64], target: NDArray[np.floating], channel: Channel
) -> NDArray[np.float64]:
    """Return the laws of the true classes (n, k) given rows and their noisy labels.

    `proba` and `target` are those of `quality_of_labels`. The law is the mean, over the observed
    classes of a soft label, of the laws that Bayes' rule gives for each.

    Examples
    --------
    >>> from skdidicm.core import SymmetricNoise
    >>> given_labels(np.array([[0.3, 0.7]]), np.array([[1.0, 0.0]]), SymmetricNoise(2, 0.2))
    array([[0.63157895, 0.36842105]])
    """
    seen = np.maximum(channel.observe(proba), np.finfo(np.float64).tiny)
    return np.asarray(proba * channel.adjoint(target / seen))


def quality_of_votes(
    proba: NDArray[np.float64], q: NDArray[np.floating], prior: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Return the probability that the votes' best classes are right (n,), and the most likely ones.

    Parameters
    ----------
    proba : ndarray (n, k)
        Probabilities of the true class, by networks that have not seen the votes.
    q : ndarray (n, k)
        Laws of the true class given the votes alone: the prior times their likelihood.
    prior : ndarray (k,)
        Shares of the classes.

    Examples
    --------
    >>> proba, q = np.array([[0.1, 0.9]]), np.array([[0.8, 0.2]])
    >>> right, likelier = quality_of_votes(proba, q, np.array([0.5, 0.5]))
    >>> right.round(2).tolist(), likelier.tolist()
    ([0.31], [1])
    """
    law = responsibilities(proba, q / np.maximum(prior, np.finfo(np.float64).tiny))
    return law[np.arange(len(q)), q.argmax(axis=1)], law.argmax(axis=1)
