"""Colours, axes and grids of axes for all displays."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

# Okabe and Ito's palette: distinguishable with all common colour blindness, and in grey.
TRUE_COLOR = "#0072B2"
WRONG_COLOR = "#D55E00"
OTHER_COLOR = "#B8B8B8"
_CURVES = (
    (TRUE_COLOR, "-"),
    (WRONG_COLOR, "--"),
    ("#009E73", "-."),
    ("#CC79A7", ":"),
    ("#E69F00", (0, (5, 1, 1, 1, 1, 1))),
)


def grid(
    ax: "Axes | None", n_rows: int, widths: Sequence[float], size: tuple[float, float]
) -> tuple["Figure | SubFigure", NDArray[Any]]:
    """Return a figure and its axes (n_rows, len(widths)), in place of `ax` if it is given."""
    if ax is None:
        from matplotlib import pyplot as plt

        ax = plt.figure(figsize=size, layout="constrained").add_subplot()
    figure, place = ax.figure, ax.get_subplotspec()
    if place is None:
        raise ValueError("ax is not part of a grid; make it with add_subplot or subplots.")
    ax.remove()
    grid = place.subgridspec(n_rows, len(widths), width_ratios=widths)
    return figure, grid.subplots(squeeze=False)


def one_panel(ax: "Axes | None") -> "Axes":
    """Return `ax`, or axes of a new pyplot figure, ready for curves."""
    if ax is None:
        from matplotlib import pyplot as plt

        ax = plt.figure(figsize=(4.6, 3.4), layout="constrained").add_subplot()
    if not ax.has_data():
        cycle_styles(ax)
        tidy(ax)
    return ax


def cycle_styles(ax: "Axes") -> None:
    """Set a cycle of colours and dashes that people with colour blindness can tell apart."""
    colors, dashes = zip(*_CURVES, strict=True)
    ax.set_prop_cycle(color=colors, linestyle=dashes)


def tidy(ax: "Axes") -> None:
    """Draw a light grid and remove the frame at the top and right."""
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)


def spread(n: int, most: int) -> list[int]:
    """Return at most `most` whole numbers spread evenly over 0, ..., n - 1, with both ends.

    Examples
    --------
    >>> spread(9, 5)
    [0, 2, 4, 6, 8]
    """
    numbers = np.linspace(0, n - 1, min(n, max(2, most))).round()
    return [int(i) for i in numbers]
