"""Accuracy and likelihood against the number of reverse steps."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from skdidicm.metrics import score_probabilities
from skdidicm.plotting.canvas import TRUE_COLOR, WRONG_COLOR, cycle_styles, grid, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from numpy.typing import ArrayLike, NDArray


class StepsDisplay:
    """Accuracy and NLL as functions of the number of reverse steps, that is of network calls.

    Parameters
    ----------
    steps : array-like (s,) of int
        Numbers of reverse steps.
    accuracy : array-like (s,)
        Accuracy with each number of steps, in [0, 1].
    nll : array-like (s,)
        Mean negative log-likelihood, in nats.
    name : str, optional
        Name of the classifier or sampler for the legend.

    Attributes
    ----------
    axes_ : ndarray (2,) of matplotlib Axes
        The axes of the accuracy and of the NLL, after plotting.
    ax_ : matplotlib Axes
        The first of them.
    figure_ : matplotlib Figure
        Holds the axes.
    lines_ : ndarray (2,) of matplotlib Line2D
        The two curves.

    Examples
    --------
    Both samplers in one picture:

    >>> from sklearn.datasets import load_iris
    >>> from skdidicm import DiDiClassifier
    >>> from skdidicm.plotting import StepsDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = DiDiClassifier(max_epochs=2, random_state=0).fit(X[::2], y[::2])
    >>> test = X[1::2], y[1::2]
    >>> cp = StepsDisplay.from_estimator(classifier, *test, steps=(1, 4), sampler="cp")
    >>> cl = StepsDisplay.from_estimator(
    ...     classifier, *test, steps=(1, 4), sampler="cl", ax=cp.axes_)
    >>> [text.get_text() for text in cp.ax_.get_legend().get_texts()]
    ['CP', 'CL, 16 chains']
    """

    axes_: NDArray[Any]
    ax_: Axes
    figure_: Figure | SubFigure
    lines_: NDArray[Any]

    def __init__(
        self, steps: ArrayLike, accuracy: ArrayLike, nll: ArrayLike, *, name: str | None = None
    ) -> None:
        self.steps = np.asarray(steps)
        self.accuracy, self.nll = np.asarray(accuracy), np.asarray(nll)
        self.name = name
        shapes = [value.shape for value in (self.steps, self.accuracy, self.nll)]
        if len(set(shapes)) > 1 or len(shapes[0]) != 1 or not shapes[0][0]:
            raise ValueError(
                f"steps, accuracy and nll have the shapes {shapes}; expected (s,) with s >= 1 "
                "for all three."
            )

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        steps: Sequence[int] = (1, 2, 4, 8, 16),
        sampler: str | None = None,
        name: str | None = None,
        ax: Axes | Sequence[Axes] | NDArray[Any] | None = None,
        **line_settings: Any,
    ) -> StepsDisplay:
        """Plot the curves of a fitted `DiDiClassifier` without changing its settings.

        Parameters
        ----------
        estimator : DiDiClassifier
            Fitted.
        X, y : array-like
            Test rows and their labels.
        steps : sequence of int, default=(1, 2, 4, 8, 16)
            Numbers of reverse steps to predict with, each >= 1.
        sampler : {"cp", "cl"}, optional
            Sampler to use instead of the estimator's.
        name : str, optional
            Name for the legend; by default the name of the sampler.
        ax : matplotlib Axes or two of them, optional
            See `plot`, which takes `line_settings` too.
        """
        if not hasattr(estimator, "predict_path"):
            raise TypeError(
                f"estimator is a {type(estimator).__name__}; expected a fitted DiDiClassifier, "
                "which predicts in reverse steps. For a pipeline, pass its last step and "
                "transformed rows."
            )
        changed = copy(estimator)  # shares the network, not the settings
        if sampler is not None:
            changed.set_params(sampler=sampler)
        scores = [
            score_probabilities(y, changed.set_params(steps=n).predict_proba(X), estimator.classes_)
            for n in steps
        ]
        accuracy, nll = ([score[key] for score in scores] for key in ("accuracy", "nll"))
        display = cls(steps, accuracy, nll, name=_name(changed) if name is None else name)
        return display.plot(ax, **line_settings)

    def figure_size(self) -> tuple[float, float]:
        """Return the width and height of the figure in inches."""
        return 7.6, 3.2

    def plot(
        self,
        ax: Axes | Sequence[Axes] | NDArray[Any] | None = None,
        *,
        name: str | None = None,
        **line_settings: Any,
    ) -> StepsDisplay:
        """Draw two panels: accuracy and NLL.

        Parameters
        ----------
        ax : matplotlib Axes or two of them, optional
            One is replaced by the two panels. Two are drawn into, for example the `axes_` of
            another display. By default a new pyplot figure is made.
        name : str, optional
            Name for the legend; by default that of the display.
        **line_settings
            For `matplotlib.axes.Axes.plot`.

        Returns
        -------
        StepsDisplay
            This object.
        """
        name = self.name if name is None else name
        if isinstance(ax, Sequence | np.ndarray):
            self.axes_ = np.asarray(ax).ravel()
            if len(self.axes_) != 2:
                raise ValueError(f"ax holds {len(self.axes_)} axes; expected one or two.")
        else:
            self.axes_ = grid(ax, 1, [1.0, 1.0], self.figure_size())[1][0]
        self.ax_, self.figure_ = self.axes_[0], self.axes_[0].figure
        curves = (100 * self.accuracy, "Accuracy (%)"), (self.nll, "NLL (nats per row)")
        self.lines_ = np.array(
            [
                self._draw(panel, values, title, {"label": name} | line_settings)
                for panel, (values, title) in zip(self.axes_, curves, strict=True)
            ]
        )
        if name:
            self.ax_.legend(fontsize=8)
        return self

    def _draw(self, panel: Axes, values: NDArray[Any], title: str, settings: dict[str, Any]) -> Any:
        if not panel.has_data():
            cycle_styles(panel)
        order = np.argsort(self.steps)
        (line,) = panel.plot(self.steps[order], values[order], marker="o", **settings)
        panel.set_xscale("log", base=2)
        ticks = np.unique(np.concatenate([np.asarray(curve.get_xdata()) for curve in panel.lines]))
        panel.set_xticks(ticks, [f"{x:g}" for x in ticks])
        panel.minorticks_off()
        panel.set(xlabel="Reverse steps (calls of the network)", ylabel=title)
        tidy(panel)
        return line


def _name(estimator: Any) -> str:
    return "CP" if estimator.sampler == "cp" else f"CL, {estimator.n_chains} chains"


def draw_by_step(accuracy: Sequence[float], nll: Sequence[float]) -> Figure:
    """Return a figure of accuracy (0 to 1) and NLL (nats) after every step of one sampler."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(5, 3.2), layout="constrained")
    left = figure.add_subplot()
    left.plot(range(len(accuracy)), accuracy, "o-", color=TRUE_COLOR, label="accuracy")
    left.set(xlabel="step", ylabel="accuracy")
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    right = left.twinx()
    right.plot(range(len(nll)), nll, "s--", color=WRONG_COLOR, label="NLL")
    right.set_ylabel("NLL (nats)")
    figure.legend(loc="outside upper center", ncols=2)
    return figure
