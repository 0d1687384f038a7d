"""The learning curve."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from skdidicm.plotting.canvas import TRUE_COLOR, grid, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_CURVES = (
    ("loss", "Training loss"),
    ("val_nll", "Validation NLL"),
    ("val_accuracy", "Validation accuracy"),
)


class HistoryDisplay:
    """Training loss and, if there are any, validation scores over the epochs of training.

    Parameters
    ----------
    history : sequence of mappings
        One row per epoch, as in `DiDiClassifier.history_`: `epoch`, `loss` and perhaps `val_nll`
        and `val_accuracy`.

    Attributes
    ----------
    figure_ : matplotlib Figure
        Holds the picture once it is plotted.
    axes_ : array of matplotlib Axes
        One for every curve.
    """

    figure_: "Figure | SubFigure"
    axes_: NDArray[Any]

    def __init__(self, history: Sequence[Mapping[str, float]]) -> None:
        self.history = list(history)
        if not self.history or not {"epoch", "loss"} <= self.history[0].keys():
            raise ValueError(
                f"history holds {len(self.history)} rows; expected at least one, "
                "each with an epoch and a loss."
            )

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: "Axes | None" = None) -> "HistoryDisplay":
        """Plot the `history_` of a fitted `DiDiClassifier`."""
        return cls(estimator.history_).plot(ax)

    def figure_size(self) -> tuple[float, float]:
        """Return the width and height of the figure in inches."""
        return 0.6 + 3.2 * len(self._curves()), 2.9

    def plot(self, ax: "Axes | None" = None) -> "HistoryDisplay":
        """Draw one panel per curve, replacing `ax` or in a new pyplot figure."""
        curves = self._curves()
        self.figure_, axes = grid(ax, 1, [1.0] * len(curves), self.figure_size())
        self.axes_ = axes[0]
        for panel, (key, title) in zip(self.axes_, curves, strict=True):
            self.draw_curve(panel, key)
            panel.set_title(title, fontsize=10)
        return self

    def draw_curve(self, ax: "Axes", key: str) -> None:
        """Draw one figure of the history, such as "loss", into axes."""
        from matplotlib.ticker import MaxNLocator

        rows = [row for row in self.history if key in row]
        ax.plot(
            [row["epoch"] for row in rows],
            [row[key] for row in rows],
            color=TRUE_COLOR,
            marker="o" if len(rows) <= 15 else "",
            markersize=3.5,
        )
        ax.set_xlabel("Epoch")
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        tidy(ax)

    def _curves(self) -> list[tuple[str, str]]:
        return [curve for curve in _CURVES if any(curve[0] in row for row in self.history)]
