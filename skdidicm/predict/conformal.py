"""Conformal prediction: p-values of classes from the scores of rows that a network has not seen."""

import hashlib

import numpy as np
from numpy.typing import NDArray

SCORES = ("lac", "aps")

FloatArray = NDArray[np.floating]


def nonconformity(proba: FloatArray, score: str, u: FloatArray) -> NDArray[np.float64]:
    """Return how little each class conforms to each row.

    Parameters
    ----------
    proba : ndarray (..., k)
        Class probabilities.
    score : {"lac", "aps"}
        "lac" is 1 minus the probability of the class (Sadinle, Lei and Wasserman 2019). "aps" is
        the probability of all likelier classes, and `u` times that of the class itself (Romano,
        Sesia and Candès 2020).
    u : ndarray (...)
        A number from [0, 1) for each row, which only "aps" uses.

    Returns
    -------
    ndarray (..., k)
        Numbers in [0, 1].

    Examples
    --------
    >>> p = np.array([[0.2, 0.5, 0.3]])
    >>> nonconformity(p, "lac", np.zeros(1)).round(2)
    array([[0.8, 0.5, 0.7]])
    >>> nonconformity(p, "aps", np.zeros(1)).round(2)
    array([[0.8, 0. , 0.5]])
    """
    if score == "lac":
        return np.asarray(1 - proba, dtype=np.float64)
    order = np.argsort(-proba, axis=-1, kind="stable")
    ranked = np.take_along_axis(proba, order, axis=-1)
    likelier = np.cumsum(ranked, axis=-1) - ranked
    scores = np.empty(proba.shape)
    np.put_along_axis(scores, order, likelier + u[..., None] * ranked, axis=-1)
    return scores


def p_values(
    own: FloatArray, weight: FloatArray, fold: NDArray[np.integer], new: FloatArray
) -> NDArray[np.float64]:
    """Return the cross-conformal p-value of every class of new rows.

    Parameters
    ----------
    own, weight, fold : ndarray (m,)
        The score of the true class of a row that its fold's network has not seen, the weight of
        the row (1 is that of a new row), and the number of the fold.
    new : ndarray (n, folds, k)
        Scores of every class of new rows by each fold's network.

    Returns
    -------
    ndarray (n, k)
        The share of rows, the new one among them, whose score is not below that of the class.

    Notes
    -----
    The set of classes with a p-value above alpha is that of CV+ (Romano, Sesia and Candès 2020),
    and with one fold that of split conformal prediction.

    Examples
    --------
    >>> own, one = np.array([0.1, 0.2, 0.6]), np.ones(3)
    >>> p_values(own, one, np.zeros(3, int), np.array([[[0.15, 0.9]]]))
    array([[0.75, 0.25]])
    """
    above = np.zeros((new.shape[0], new.shape[2]))
    for j in range(new.shape[1]):
        mine = fold == j
        order = np.argsort(own[mine])
        rising, w = own[mine][order], weight[mine][order]
        tail = np.append(np.cumsum(w[::-1])[::-1], 0.0)
        above += tail[np.searchsorted(rising, new[:, j], side="left")]
    p: NDArray[np.float64] = (1 + above) / (1 + weight.sum())
    return p


def prediction_sets(
    p: NDArray[np.float64], coverage: float, proba: FloatArray | None = None
) -> NDArray[np.bool_]:
    """Return the classes (n, k) whose p-value is above 1 - coverage.

    With probabilities (n, k), an empty set becomes the class of the highest p-value, and among
    equal ones the likeliest: so sets of a higher coverage hold those of a lower one.
    """
    sets = p > 1 - coverage + 1e-12  # 1 - 0.9 is a little less than 0.1
    if proba is not None:
        empty = np.flatnonzero(~sets.any(axis=1))
        highest = p[empty] == p[empty].max(axis=1, keepdims=True)
        sets[empty, np.where(highest, proba[empty], -1).argmax(axis=1)] = True
    return np.asarray(sets)


def uniforms(x: NDArray[np.generic], seed: int) -> NDArray[np.float64]:
    """Return a number from [0, 1) for every row: a hash of the row and a seed.

    So the numbers look random, but that of a row does not depend on the other rows.

    Examples
    --------
    >>> x = np.arange(6.0).reshape(3, 2)
    >>> bool((uniforms(x[1:], 0) == uniforms(x, 0)[1:]).all())
    True
    """
    key = int(seed).to_bytes(8, "little")
    hashes = [
        hashlib.blake2b(np.ascontiguousarray(row).tobytes(), digest_size=8, key=key) for row in x
    ]
    whole = np.array([int.from_bytes(h.digest(), "little") >> 11 for h in hashes], dtype=np.float64)
    return whole * 2.0**-53
