"""Metrics of class probabilities: accuracy, likelihood and calibration."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict

import numpy as np
from scipy.special import entr
from sklearn.metrics import accuracy_score, top_k_accuracy_score

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

TOP = 5
FLOOR = float(np.finfo(np.float64).eps)
"""A smaller probability counts as this one under a logarithm, as in scikit-learn's `log_loss`.

A true class of probability 0 costs 36 nats.
"""


class Scores(TypedDict):
    """The four scores that `score_probabilities` returns."""

    accuracy: float
    top5_accuracy: float | None
    nll: float
    ece: float


def log_proba(proba: ArrayLike) -> NDArray[np.float64]:
    """Return the logarithm of probabilities of any shape, which is finite for zeros too.

    Examples
    --------
    >>> from skdidicm.metrics import log_proba
    >>> log_proba([1.0, 0.0]).round(1)
    array([  0., -36.])
    """
    return np.asarray(np.log(np.maximum(np.asarray(proba, dtype=np.float64), FLOOR)))


def negative_log_likelihood(target: ArrayLike, proba: ArrayLike) -> NDArray[np.float64]:
    """Return the negative log-likelihood (nats) of every row.

    Parameters
    ----------
    target : array-like (n,) of int, or (n, k)
        Column of each row's true class, or a distribution over the classes.
    proba : array-like (n, k)
        Class probabilities; those below `FLOOR` count as `FLOOR`.

    Returns
    -------
    ndarray (n,)
        The cross-entropy of each row.

    Examples
    --------
    >>> from skdidicm.metrics import negative_log_likelihood
    >>> negative_log_likelihood([0, 1], [[0.5, 0.5], [0.75, 0.25]]).round(3)
    array([0.693, 1.386])
    >>> negative_log_likelihood([[0.5, 0.5]], [[0.75, 0.25]]).round(3)
    array([0.837])
    """
    target, log_p = np.asarray(target), log_proba(proba)
    if target.ndim == 1:
        return np.asarray(-np.take_along_axis(log_p, target[:, None], axis=1)[:, 0])
    return np.asarray(-(target * log_p).sum(axis=1))


def expected_calibration_error(
    y_true: ArrayLike, y_proba: ArrayLike, classes: ArrayLike | None = None, *, n_bins: int = 15
) -> float:
    """Return the mean absolute difference of confidence and accuracy over bins of equal width.

    The confidence of a row is its highest probability. The bins are (0, 1/b], (1/b, 2/b], ...;
    each is weighted by its share of the rows.

    Parameters
    ----------
    y_true : array-like (n,)
        True labels.
    y_proba : array-like (n, k)
        Class probabilities, rows summing to one.
    classes : array-like (k,), optional
        The label of every column, such as an estimator's `classes_`; by default 0, ..., k - 1.
    n_bins : int, default=15
        Number of bins b.

    Returns
    -------
    float
        In [0, 1]; 0 for calibrated probabilities.

    Examples
    --------
    >>> from skdidicm.metrics import expected_calibration_error
    >>> y_proba = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]
    >>> round(expected_calibration_error([0, 0, 1, 0], y_proba), 3)
    0.1
    """
    count, confidence, accuracy = calibration_bins(y_true, y_proba, classes, n_bins=n_bins)
    return float(count @ np.abs(accuracy - confidence) / count.sum())


def classwise_calibration_error(
    y_true: ArrayLike, y_proba: ArrayLike, classes: ArrayLike | None = None, *, n_bins: int = 15
) -> float:
    """Return the mean over classes of the calibration error of the class's probability.

    For each class, rows are put into bins of equal width by its probability, and the shares of
    the class there are compared with the mean probabilities. Other than
    `expected_calibration_error` it looks at all classes, not only at the likeliest one.

    Parameters
    ----------
    y_true, y_proba, classes, n_bins
        As for `expected_calibration_error`.

    Returns
    -------
    float
        In [0, 1]; 0 for calibrated probabilities.

    Examples
    --------
    >>> from skdidicm.metrics import classwise_calibration_error
    >>> y_proba = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]
    >>> round(classwise_calibration_error([0, 0, 1, 0], y_proba), 3)
    0.1
    """
    index, proba = _encode(y_true, y_proba, classes)
    errors = []
    for column, p in enumerate(proba.T):
        count, mean, share = _binned(p, index == column, n_bins)
        errors.append(count @ np.abs(share - mean) / count.sum())
    return float(np.mean(errors))


def brier_score(y_true: ArrayLike, y_proba: ArrayLike, classes: ArrayLike | None = None) -> float:
    """Return the mean squared distance of the probabilities from the true labels.

    Parameters
    ----------
    y_true, y_proba, classes
        As for `expected_calibration_error`.

    Returns
    -------
    float
        In [0, 2], the sum over all classes as Brier defined it; 0 for certain and right answers.

    Examples
    --------
    >>> from skdidicm.metrics import brier_score
    >>> round(brier_score([0, 1], [[0.5, 0.5], [0.1, 0.9]]), 2)
    0.26
    """
    index, proba = _encode(y_true, y_proba, classes)
    return float(((proba - np.eye(proba.shape[1])[index]) ** 2).sum(axis=1).mean())


class Uncertainty(NamedTuple):
    """What `uncertainty` returns, in nats."""

    total: NDArray[np.float64]
    """Entropy of the mean probabilities (n,)."""
    aleatoric: NDArray[np.float64]
    """Mean entropy of the members' probabilities (n,)."""
    epistemic: NDArray[np.float64]
    """Their difference, the mutual information (n,): how much the members disagree."""


def uncertainty(p_members: ArrayLike) -> Uncertainty:
    """Return the uncertainty of an ensemble, and its part that comes from disagreement.

    Parameters
    ----------
    p_members : array-like (n, members, k)
        Probabilities by each member, such as `DiDiClassifier.predict_members` returns.

    Returns
    -------
    Uncertainty
        `total` = `aleatoric` + `epistemic`, each (n,), in nats.

    Notes
    -----
    That the two parts measure noise in the data and ignorance of the model is disputed
    (arXiv 2209.03302, 2408.12175): both change with the amount of data, and the members of a
    trial share most of their training rows. Use the parts to rank rows, not as amounts.

    Examples
    --------
    >>> from skdidicm.metrics import uncertainty
    >>> agree, differ = [[0.5, 0.5], [0.5, 0.5]], [[1.0, 0.0], [0.0, 1.0]]
    >>> total, aleatoric, epistemic = uncertainty([agree, differ])
    >>> total.round(3), aleatoric.round(3), epistemic.round(3)
    (array([0.693, 0.693]), array([0.693, 0.   ]), array([0.   , 0.693]))
    """
    p = np.asarray(p_members, dtype=np.float64)
    if p.ndim != 3:
        raise ValueError(f"p_members has shape {p.shape}; expected (n, members, k).")
    total = entr(p.mean(axis=1)).sum(axis=1)
    aleatoric = entr(p).sum(axis=2).mean(axis=1)
    return Uncertainty(total, aleatoric, np.maximum(total - aleatoric, 0.0))


def calibration_bins(
    y_true: ArrayLike, y_proba: ArrayLike, classes: ArrayLike | None = None, *, n_bins: int = 15
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the number of rows, the mean confidence and the accuracy of every bin.

    These are the values of a reliability diagram.

    Parameters
    ----------
    y_true, y_proba, classes, n_bins
        As for `expected_calibration_error`, which averages over these bins.

    Returns
    -------
    count : ndarray (n_bins,)
        Number of rows whose confidence lies in the bin.
    confidence, accuracy : ndarray (n_bins,)
        Means over these rows, in [0, 1]; 0 for a bin without rows.

    Examples
    --------
    >>> from skdidicm.metrics import calibration_bins
    >>> y_proba = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]
    >>> count, confidence, accuracy = calibration_bins([0, 0, 1, 0], y_proba, n_bins=2)
    >>> count, confidence, accuracy
    (array([0, 4]), array([0.  , 0.75]), array([0.  , 0.75]))
    """
    return _binned(*_confidence(y_true, y_proba, classes), n_bins)


def _binned(
    p: NDArray[Any], event: NDArray[np.bool_], n_bins: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the number of rows, mean probability and share of events of bins of equal width."""
    if n_bins < 1:
        raise ValueError(f"n_bins is {n_bins}; expected at least one bin.")
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.searchsorted(edges[1:-1], p, side="left")
    count = np.bincount(bins, minlength=n_bins)
    rows = np.maximum(count, 1)
    mean = np.bincount(bins, weights=p, minlength=n_bins) / rows
    share = np.bincount(bins, weights=event, minlength=n_bins) / rows
    return count, mean, share


def accuracy_at_coverage(
    y_true: ArrayLike, y_proba: ArrayLike, classes: ArrayLike | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the accuracy on the most confident rows, as a function of their share.

    The confidence of a row is its highest probability. Rows of equal confidence are kept or left
    out together, so that the order of the rows does not matter.

    Parameters
    ----------
    y_true, y_proba, classes
        As for `expected_calibration_error`.

    Returns
    -------
    coverage : ndarray (m,)
        Increasing shares of rows, up to 1: one for every distinct confidence.
    accuracy : ndarray (m,)
        Accuracy on these rows.

    Examples
    --------
    >>> from skdidicm.metrics import accuracy_at_coverage
    >>> y_proba = [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.6, 0.4]]
    >>> coverage, accuracy = accuracy_at_coverage([0, 1, 0, 0], y_proba)
    >>> coverage, accuracy
    (array([0.25, 0.5 , 1.  ]), array([1.  , 1.  , 0.75]))
    """
    confidence, correct = _confidence(y_true, y_proba, classes)
    order = np.argsort(-confidence)
    kept = np.arange(1, len(order) + 1)
    last_of_ties = np.append(np.diff(confidence[order]) != 0, True)
    accuracy = np.cumsum(correct[order]) / kept
    return (kept / len(order))[last_of_ties], accuracy[last_of_ties]


def score_probabilities(
    y_true: ArrayLike, y_proba: ArrayLike, classes: ArrayLike | None = None
) -> Scores:
    """Return accuracy, top-5 accuracy, mean negative log-likelihood and calibration error.

    Parameters
    ----------
    y_true, y_proba, classes
        As for `expected_calibration_error`.

    Returns
    -------
    dict
        `accuracy`, `top5_accuracy` (None for five classes or fewer), `nll` in nats, `ece`.

    Examples
    --------
    >>> from skdidicm.metrics import score_probabilities
    >>> scores = score_probabilities(["cat", "dog"], [[0.8, 0.2], [0.6, 0.4]], ["cat", "dog"])
    >>> {name: value and round(value, 3) for name, value in scores.items()}
    {'accuracy': 0.5, 'top5_accuracy': None, 'nll': 0.57, 'ece': 0.4}
    """
    index, proba = _encode(y_true, y_proba, classes)
    _check_distributions(proba)
    labels = np.arange(proba.shape[1])
    top5 = (
        float(top_k_accuracy_score(index, proba, k=TOP, labels=labels))
        if len(labels) > TOP
        else None
    )
    return Scores(
        accuracy=float(accuracy_score(index, proba.argmax(axis=1))),
        top5_accuracy=top5,
        nll=float(negative_log_likelihood(index, proba).mean()),
        ece=expected_calibration_error(index, proba),
    )


def _check_distributions(proba: NDArray[np.floating]) -> None:
    if not (proba.min() >= 0 and proba.max() <= 1):  # false for NaN, too
        raise ValueError(
            f"y_proba has values from {proba.min()} to {proba.max()}; expected probabilities "
            "between 0 and 1."
        )
    if not np.allclose(proba.sum(axis=1), 1, rtol=np.finfo(proba.dtype).eps ** 0.5):
        warnings.warn(
            "the rows of y_proba do not sum to one; normalize them before scoring.",
            UserWarning,
            stacklevel=3,
        )


def _confidence(
    y_true: ArrayLike, y_proba: ArrayLike, classes: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return the highest probability of every row, and whether its class is the true one."""
    index, proba = _encode(y_true, y_proba, classes)
    return proba.max(axis=1), proba.argmax(axis=1) == index


def _encode(
    y_true: ArrayLike, y_proba: ArrayLike, classes: ArrayLike | None
) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    """Return the column of every true label (n,) and the probabilities (n, k)."""
    y, proba = np.asarray(y_true), _floating(y_proba)
    if proba.ndim != 2 or y.shape != proba.shape[:1] or not len(y):
        raise ValueError(
            f"y_true has shape {y.shape} and y_proba has shape {proba.shape}; "
            "expected (n,) and (n, k) with n >= 1 rows."
        )
    names = np.arange(proba.shape[1]) if classes is None else np.asarray(classes)
    if names.shape != proba.shape[1:]:
        raise ValueError(
            f"classes has shape {names.shape} but y_proba has {proba.shape[1]} columns; "
            "expected one label for every column."
        )
    order = np.argsort(names)
    place = np.searchsorted(names, y, sorter=order).clip(max=len(names) - 1)
    index = order[place]
    if not np.array_equal(names[index], y):
        unknown = np.unique(y[names[index] != y]).tolist()
        raise ValueError(
            f"y_true holds labels without a column in y_proba: {unknown[:TOP]}; "
            f"the columns are those of {names.tolist()[:20]}."
        )
    return index, proba


def _floating(y_proba: ArrayLike) -> NDArray[Any]:
    proba = np.asarray(y_proba)
    return proba if np.issubdtype(proba.dtype, np.floating) else proba.astype(np.float64)
