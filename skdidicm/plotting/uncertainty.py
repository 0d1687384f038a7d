"""Accuracy against coverage, when the least confident predictions are rejected."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from skdidicm.metrics import accuracy_at_coverage
from skdidicm.plotting.canvas import OTHER_COLOR, one_panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.lines import Line2D
    from numpy.typing import ArrayLike


class UncertaintyDisplay:
    """Accuracy on the remaining rows when the least confident predictions are rejected.

    The confidence of a row is its highest probability. The curve of a classifier whose confidence
    separates right from wrong predictions falls from left to right; the grey curve is the best
    possible, which rejects all wrong predictions first.

    Parameters
    ----------
    coverage : array-like (m,)
        Shares of rows that are kept, rising to 1.
    accuracy : array-like (m,)
        Accuracy on the rows that are kept.
    name : str, optional
        Name of the classifier for the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes, after plotting.
    figure_ : matplotlib Figure
        Holds the axes.
    line_ : matplotlib Line2D
        The curve.

    Examples
    --------
    >>> from skdidicm.plotting import UncertaintyDisplay
    >>> y_proba = [[0.9, 0.1], [0.2, 0.8], [0.4, 0.6], [0.7, 0.3]]
    >>> display = UncertaintyDisplay.from_predictions([0, 1, 0, 0], y_proba)
    >>> display.coverage
    array([0.25, 0.5 , 0.75, 1.  ])
    >>> display.accuracy
    array([1.  , 1.  , 1.  , 0.75])
    """

    ax_: Axes
    figure_: Figure | SubFigure
    line_: Line2D

    def __init__(
        self, coverage: ArrayLike, accuracy: ArrayLike, *, name: str | None = None
    ) -> None:
        self.coverage, self.accuracy = np.asarray(coverage), np.asarray(accuracy)
        self.name = name
        if self.coverage.ndim != 1 or self.coverage.shape != self.accuracy.shape:
            raise ValueError(
                f"coverage has shape {self.coverage.shape} and accuracy has shape "
                f"{self.accuracy.shape}; expected (m,) for both."
            )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        threshold: float | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        **line_settings: Any,
    ) -> UncertaintyDisplay:
        """Plot the curve of any fitted classifier that has `predict_proba`.

        Parameters
        ----------
        estimator : classifier
            Fitted.
        X, y : array-like
            Test rows and their labels.
        threshold : float, optional
            Smallest highest probability of a row that is kept, which is marked on the curve; see
            `DiDiClassifier.choose_threshold`.
        name : str, optional
            Name for the legend; by default the name of the class.
        ax : matplotlib Axes, optional
            See `plot`, which takes `line_settings` too.
        """
        name = type(estimator).__name__ if name is None else name
        p, classes = estimator.predict_proba(X), estimator.classes_
        settings = {"threshold": threshold, "name": name, "ax": ax, **line_settings}
        return cls.from_predictions(y, p, classes, **settings)

    @classmethod
    def from_predictions(
        cls,
        y_true: ArrayLike,
        y_proba: ArrayLike,
        classes: ArrayLike | None = None,
        *,
        threshold: float | None = None,
        name: str | None = None,
        ax: Axes | None = None,
        **line_settings: Any,
    ) -> UncertaintyDisplay:
        """Plot the curve of class probabilities.

        Parameters
        ----------
        y_true : array-like (n,)
            True labels.
        y_proba : array-like (n, k)
            Class probabilities, rows summing to one.
        classes : array-like (k,), optional
            The label of every column; by default 0, ..., k - 1.
        threshold : float, optional
            Smallest highest probability of a row that is kept, which is marked on the curve.
        name : str, optional
            For the legend.
        ax : matplotlib Axes, optional
            See `plot`, which takes `line_settings` too.
        """
        coverage, accuracy = accuracy_at_coverage(y_true, y_proba, classes)
        display = cls(coverage, accuracy, name=name).plot(ax, **line_settings)
        if threshold is not None:
            display.mark(float((np.max(y_proba, axis=1) >= threshold).mean()))
        return display

    def mark(self, coverage: float) -> UncertaintyDisplay:
        """Mark a point of the plotted curve and say what it is.

        Parameters
        ----------
        coverage : float
            Share of rows that are kept, such as that of `DiDiClassifier.choose_threshold`.

        Returns
        -------
        UncertaintyDisplay
            This object.
        """
        accuracy = float(np.interp(coverage, self.coverage, self.accuracy))
        text = f"{100 * accuracy:.1f}% on {100 * coverage:.0f}% of the rows"
        place = (100 * coverage, 100 * accuracy)
        self.ax_.plot(*place, marker="o", color=self.line_.get_color(), label="_threshold")
        self.ax_.annotate(
            text, place, xytext=(-6, -14), textcoords="offset points", ha="right", fontsize=8
        )
        return self

    def plot(
        self, ax: Axes | None = None, *, name: str | None = None, **line_settings: Any
    ) -> UncertaintyDisplay:
        """Draw the curve, into `ax` or a new pyplot figure.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to draw into; they may hold the curves of other displays.
        name : str, optional
            Name for the legend; by default that of the display.
        **line_settings
            For `matplotlib.axes.Axes.plot`.

        Returns
        -------
        UncertaintyDisplay
            This object.
        """
        name = self.name if name is None else name
        self.ax_ = one_panel(ax)
        self.figure_ = self.ax_.figure
        caption = f"{name} (all rows: {100 * self.accuracy[-1]:.1f}%)" if name else None
        settings = {"label": caption} | line_settings
        (self.line_,) = self.ax_.plot(100 * self.coverage, 100 * self.accuracy, **settings)
        shares = np.linspace(0.01, 1, 100)
        best = np.minimum(1, self.accuracy[-1] / shares)
        first = self.ax_.get_legend() is None
        self.ax_.plot(
            100 * shares,
            100 * best,
            color=OTHER_COLOR,
            linestyle=":",
            zorder=1,
            label="best possible" if first else None,
        )
        self.ax_.set(xlabel="Coverage: rows kept (%)", ylabel="Accuracy on these rows (%)")
        self.ax_.set_xlim(0, 100)
        self.ax_.legend(loc="lower left", fontsize=8)
        return self
