"""The pictures of a run folder, drawn without pyplot."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.datasets import Split
from skdidicm.plotting import HistoryDisplay, PosteriorPathDisplay

_N_IMAGES = 6


def save_pictures(
    folder: Path, classifier: Any, data: Split, y_proba: NDArray[np.floating]
) -> None:
    """Write posterior_path.png and learning_curve.png of a fitted classifier and its test data."""
    from sklearn.utils import _safe_indexing

    rows = evenly_spread_by_confidence(y_proba, _N_IMAGES)
    X, names, labels = _safe_indexing(data.X_test, rows), data.class_names, classifier.classes_
    display = PosteriorPathDisplay(
        classifier.predict_path(X),
        [names[label] for label in labels] if names else labels.tolist(),
        X if X.ndim > 2 else None,
        classifier.classes_.searchsorted(data.y_test[rows]),
    )
    _save(display, folder / "posterior_path.png")
    _save(HistoryDisplay(classifier.history_), folder / "learning_curve.png")


def evenly_spread_by_confidence(y_proba: NDArray[np.floating], n: int) -> list[int]:
    """Return n rows whose confidences are spread evenly, the highest first.

    Examples
    --------
    >>> y_proba = np.array([[0.4, 0.6], [0.9, 0.1], [0.2, 0.8], [0.25, 0.75]])
    >>> evenly_spread_by_confidence(y_proba, 3)
    [1, 3, 0]
    """
    left = y_proba.max(axis=1)
    chosen: list[int] = []
    for confidence in np.linspace(left.max(), left.min(), min(n, len(left))):
        chosen.append(int(np.abs(left - confidence).argmin()))
        left[chosen[-1]] = np.inf
    return chosen


def _save(display: Any, path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=display.figure_size(), layout="constrained")
    display.plot(figure.add_subplot())
    figure.savefig(path, dpi=120)
