"""The pictures of a run folder, drawn without pyplot."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdidicm.cli.console import say

if TYPE_CHECKING:
    from skdidicm.classifier import DiDiClassifier
    from skdidicm.datasets import Split

_N_IMAGES = 6


def save_pictures(folder: Path, classifier: "DiDiClassifier", data: "Split", y_proba: Any) -> None:
    """Write posterior_path.png and learning_curve.png, or say how to install matplotlib."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        say('No pictures without matplotlib; install it with: pip install "skdidicm[plot]"')
        return
    from skdidicm.plotting import HistoryDisplay, PosteriorPathDisplay

    rows = surest_to_least_sure(y_proba, _N_IMAGES)
    display = PosteriorPathDisplay(
        classifier.predict_path(data.X_test[rows]),
        [data.class_names[label] for label in classifier.classes_],
        data.X_test[rows],
        classifier.classes_.searchsorted(data.y_test[rows]),
    )
    _save(display, folder / "posterior_path.png")
    _save(HistoryDisplay(classifier.history_), folder / "learning_curve.png")


def save_steps(path: Path, accuracy: list[float], nll: list[float]) -> None:
    """Draw accuracy and NLL at every step of the sampler."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    left = figure.add_subplot()
    left.plot(range(len(accuracy)), accuracy, "o-", color="#0072B2", label="accuracy")
    left.set(xlabel="step", ylabel="accuracy")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    right = left.twinx()
    right.plot(range(len(nll)), nll, "s--", color="#D55E00", label="NLL")
    right.set_ylabel("NLL (nats)")
    figure.legend(loc="outside upper center", ncols=2)
    figure.savefig(path, dpi=120)


def surest_to_least_sure(y_proba: Any, n: int) -> list[int]:
    """Return n rows whose confidences are spread evenly from the highest to the lowest.

    Examples
    --------
    >>> import numpy as np
    >>> y_proba = np.array([[0.4, 0.6], [0.9, 0.1], [0.2, 0.8], [0.25, 0.75]])
    >>> surest_to_least_sure(y_proba, 3)
    [1, 3, 0]
    """
    import numpy as np

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
