"""Reliability diagram: accuracy against confidence, with the number of rows in every bin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from skdidicm.metrics import calibration_bins
from skdidicm.plotting.canvas import OTHER_COLOR, one_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D
    from numpy.typing import ArrayLike


class ReliabilityDisplay:
    """Reliability diagram with the number of rows in every bin.

    Points below the diagonal mean overconfidence. The bars at the bottom, and their numbers, are
    the rows of each bin: the accuracy of a bin with few rows says little.

    Parameters
    ----------
    count : array-like (n_bins,)
        Rows whose confidence lies in each bin; the bins divide [0, 1] evenly.
    confidence, accuracy : array-like (n_bins,)
        Means over these rows.
    name : str, optional
        Name of the classifier, for the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        Contains the plot.
    figure_ : matplotlib Figure
        Contains the axes.
    line_ : matplotlib Line2D
        The points.
    bars_ : matplotlib BarContainer
        Shares of rows; None for the second and further displays in the same axes.

    Examples
    --------
    >>> from skdidicm.plotting import ReliabilityDisplay
    >>> y_proba = [[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]]
    >>> ReliabilityDisplay.from_predictions([0, 0, 1, 0], y_proba, n_bins=5).count
    array([0, 0, 2, 0, 2])
    """

    ax_: Axes
    figure_: Figure | SubFigure
    line_: Line2D
    bars_: BarContainer | None

    def __init__(
        self,
        count: ArrayLike,
        confidence: ArrayLike,
        accuracy: ArrayLike,
        *,
        name: str | None = None,
    ) -> None:
        self.count = np.asarray(count)
        self.confidence, self.accuracy = np.asarray(confidence), np.asarray(accuracy)
        self.name = name
        shapes = {self.count.shape, self.confidence.shape, self.accuracy.shape}
        if len(shapes) > 1 or self.count.ndim != 1:
            raise ValueError(
                f"count, confidence and accuracy have the shapes {sorted(shapes)}; expected one "
                "value per bin, (n_bins,), for each."
            )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        n_bins: int = 10,
        name: str | None = None,
        ax: Axes | None = None,
        **line_settings: Any,
    ) -> ReliabilityDisplay:
        """Plot the diagram of any fitted classifier that has `predict_proba`.

        Parameters
        ----------
        estimator : classifier
            Fitted.
        X, y : array-like
            Samples and true labels that it was not trained on.
        n_bins : int, default=10
            Number of bins.
        name : str, optional
            For the legend; by default the name of the class.
        ax : matplotlib Axes, optional
            See `plot`, which takes `line_settings` too.
        """
        name = type(estimator).__name__ if name is None else name
        p, classes = estimator.predict_proba(X), estimator.classes_
        settings = {"n_bins": n_bins, "name": name, "ax": ax, **line_settings}
        return cls.from_predictions(y, p, classes, **settings)

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_proba: ArrayLike,
        classes: ArrayLike | None = None,
        *,
        n_bins: int = 10,
        name: str | None = None,
        ax: Axes | None = None,
        **line_settings: Any,
    ) -> ReliabilityDisplay:
        """Plot the diagram of class probabilities.

        Parameters
        ----------
        y_true : array-like (n,)
            True labels.
        y_proba : array-like (n, k)
            Class probabilities, rows summing to one.
        classes : array-like (k,), optional
            The label of every column; by default 0, ..., k - 1.
        n_bins : int, default=10
            Number of bins.
        name : str, optional
            For the legend.
        ax : matplotlib Axes, optional
            See `plot`, which takes `line_settings` too.
        """
        bins = calibration_bins(y_true, y_proba, classes, n_bins=n_bins)
        return cls(*bins, name=name).plot(ax, **line_settings)

    def plot(
        self, ax: Axes | None = None, *, name: str | None = None, **line_settings: Any
    ) -> ReliabilityDisplay:
        """Draw the diagram, into `ax` or a new pyplot figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            May contain other displays. Only the first one shows its numbers of rows.
        name : str, optional
            For the legend; by default that of the display.
        **line_settings
            For `matplotlib.axes.Axes.plot`.

        Returns
        -------
        ReliabilityDisplay
            This object.
        """
        self.ax_ = one_panel(ax)
        self.figure_ = self.ax_.figure
        first = not self.ax_.has_data()
        self.bars_ = self._draw_counts() if first else None
        if first:
            self.ax_.plot([0, 100], [0, 100], color=OTHER_COLOR, linestyle=":", zorder=1)
        used = self.count > 0
        settings = {"marker": "o", "label": self.name if name is None else name} | line_settings
        (self.line_,) = self.ax_.plot(
            100 * self.confidence[used], 100 * self.accuracy[used], **settings
        )
        self.ax_.set(xlabel="Confidence (%)", ylabel="Accuracy (%)", xlim=(0, 100), ylim=(0, 105))
        if self.line_.get_label() and not str(self.line_.get_label()).startswith("_"):
            self.ax_.legend(loc="upper left", fontsize=8)
        return self

    def _draw_counts(self) -> BarContainer:
        """Draw the share of rows of every bin as a bar, with their number above it."""
        n_bins = len(self.count)
        middle = 100 * (np.arange(n_bins) + 0.5) / n_bins
        shares = 100 * self.count / max(1, self.count.sum())
        bars = self.ax_.bar(
            middle, shares, width=100 / n_bins, color=OTHER_COLOR, alpha=0.5, zorder=0
        )
        numbers = [f"{n:,}" if n else "" for n in self.count.tolist()]
        self.ax_.bar_label(bars, numbers, fontsize=7, color="0.35")
        return bars
