"""What a report says of predictions on test rows, as plain numbers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdidicm.metrics import Scores, accuracy_at_coverage, calibration_bins, score_probabilities

_LEADING = 4  # classes shown for an image, besides the true one
_WIDEST_MATRIX = 20  # classes; beyond that the most frequent errors are listed
_MOST_PAIRS = 15


@dataclass(frozen=True)
class Shown:
    """One test row: its classes, most probable first, and their probabilities at every step."""

    place: int
    image: NDArray[Any] | None
    true: str
    answer: str
    confidence: float
    classes: list[str]
    path: list[list[float]]


@dataclass(frozen=True)
class Test:
    """Predictions on test rows, summed up."""

    n: int
    scores: Scores
    bins: tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]
    coverage: tuple[NDArray[np.float64], NDArray[np.float64]]
    confusion: NDArray[np.int64] | None
    pairs: list[tuple[str, str, int]]
    shown: list[Shown]


@dataclass(frozen=True)
class Facts:
    """The content of a report; what a run does not have is empty."""

    title: str
    class_names: Sequence[str] = ()
    about: Mapping[str, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    history: Sequence[Mapping[str, float]] = ()
    test: Test | None = None
    notes: Sequence[str] = ()


def gather(
    X: Any,
    y: ArrayLike,
    proba: NDArray[np.floating],
    predict_path: Callable[[Any], NDArray[np.floating]],
    class_names: Sequence[str],
    n_images: int,
) -> Test:
    """Return what a report says of predictions.

    Parameters
    ----------
    X : ndarray (n, ...) or data frame
        Test rows; those that are images are shown as such.
    y : array-like (n,) of int
        Column of each row's true class.
    proba : ndarray (n, k)
        Class probabilities.
    predict_path : callable
        Maps a few rows to their probabilities (n, steps + 1, k) at every step.
    class_names : sequence of k str
        A name for every column.
    n_images : int
        How many of the least confident rows to show.
    """
    index, k = np.asarray(y), len(class_names)
    confusion = np.zeros((k, k), np.int64)
    np.add.at(confusion, (index, proba.argmax(axis=1)), 1)
    small = k <= _WIDEST_MATRIX
    return Test(
        n=len(proba),
        scores=score_probabilities(index, proba),
        bins=calibration_bins(index, proba, n_bins=10),
        coverage=accuracy_at_coverage(index, proba),
        confusion=confusion if small else None,
        pairs=[] if small else most_frequent_errors(confusion, class_names),
        shown=least_confident(X, index, proba, predict_path, class_names, n_images),
    )


def most_frequent_errors(
    confusion: NDArray[np.int64], class_names: Sequence[str]
) -> list[tuple[str, str, int]]:
    """Return the most frequent errors: true class, predicted class and count.

    Examples
    --------
    >>> most_frequent_errors(np.array([[5, 1], [3, 7]]), ["cat", "dog"])
    [('dog', 'cat', 3), ('cat', 'dog', 1)]
    """
    errors = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-errors, axis=None, kind="stable")[:_MOST_PAIRS]
    places = zip(*np.unravel_index(order, errors.shape), strict=True)
    return [
        (class_names[i], class_names[j], int(errors[i, j])) for i, j in places if errors[i, j] > 0
    ]


def least_confident(
    X: Any,
    y: NDArray[Any],
    proba: NDArray[np.floating],
    predict_path: Callable[[Any], NDArray[np.floating]],
    class_names: Sequence[str],
    n_images: int,
) -> list[Shown]:
    """Return the n_images rows with the smallest highest probability, the least confident first."""
    rows = np.argsort(proba.max(axis=1), kind="stable")[:n_images]
    if not len(rows):
        return []
    from sklearn.utils import _safe_indexing

    shown = []
    paths = predict_path(_safe_indexing(X, rows))
    for i, path in zip(rows.tolist(), paths, strict=True):
        columns = np.argsort(-path[-1], kind="stable")[:_LEADING].tolist()
        answer = columns[0]
        columns += [int(y[i])] * (y[i] not in columns)
        shown.append(
            Shown(
                place=i,
                image=X[i] if X.ndim > 2 else None,
                true=class_names[y[i]],
                answer=class_names[answer],
                confidence=float(path[-1, answer]),
                classes=[class_names[column] for column in columns],
                path=path[:, columns].round(4).tolist(),
            )
        )
    return shown
