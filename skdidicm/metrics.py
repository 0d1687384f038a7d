"""How good class probabilities are: accuracy, likelihood and calibration."""

from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import accuracy_score, log_loss, top_k_accuracy_score

TOP = 5


class Scores(TypedDict):
    """The four figures of `score_probabilities`."""

    accuracy: float
    top5_accuracy: float | None
    nll: float
    ece: float


def expected_calibration_error(
    y_true: ArrayLike, y_proba: ArrayLike, classes: ArrayLike | None = None, *, n_bins: int = 15
) -> float:
    """Return how far confidence is from accuracy, averaged over bins of equal width.

    A row's confidence is its highest probability. Rows are put into the bins (0, 1/b],
    (1/b, 2/b], ..., and the distance between mean confidence and accuracy in a bin counts with
    the share of the rows in it.

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
        In [0, 1]; 0 for probabilities that hold what they promise.

    Examples
    --------
    >>> from skdidicm.metrics import expected_calibration_error
    >>> y_proba = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]
    >>> round(expected_calibration_error([0, 0, 1, 0], y_proba), 3)
    0.1
    """
    if n_bins < 1:
        raise ValueError(f"n_bins is {n_bins}; expected at least one bin.")
    index, proba = _encode(y_true, y_proba, classes)
    confidence = proba.max(axis=1)
    correct = proba.argmax(axis=1) == index
    edges = np.linspace(0, 1, n_bins + 1)
    bins = np.searchsorted(edges[1:-1], confidence, side="left")
    gaps = np.bincount(bins, weights=correct - confidence, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(index))


def score_probabilities(
    y_true: ArrayLike, y_proba: ArrayLike, classes: ArrayLike | None = None
) -> Scores:
    """Return accuracy, top-5 accuracy, negative log-likelihood and calibration error.

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
    labels = np.arange(proba.shape[1])
    top5 = (
        float(top_k_accuracy_score(index, proba, k=TOP, labels=labels))
        if len(labels) > TOP
        else None
    )
    return Scores(
        accuracy=float(accuracy_score(index, proba.argmax(axis=1))),
        top5_accuracy=top5,
        nll=float(log_loss(index, proba, labels=labels)),
        ece=expected_calibration_error(index, proba),
    )


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
            f"y_true holds labels that no column of y_proba stands for: {unknown[:TOP]}; "
            f"the columns are {names.tolist()[:20]}."
        )
    return index, proba


def _floating(y_proba: ArrayLike) -> NDArray[Any]:
    proba = np.asarray(y_proba)
    return proba if np.issubdtype(proba.dtype, np.floating) else proba.astype(np.float64)
