"""Figures of a study."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]


def against(summary: Sequence[Row], x: str, y: str) -> "Figure":
    """Return a figure of one figure of merit against another quantity, a line per method.

    Parameters
    ----------
    summary : sequence of dict
        As `summarise` returns it; all else than `x` and the method is averaged.
    x, y : str
        Names of two columns, such as "noise" or "calls", and "accuracy" or "nll".
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    ax = figure.add_subplot()
    for method in dict.fromkeys(row["method"] for row in summary):
        rows = [r for r in summary if r["method"] == method and r.get(x) is not None and y in r]
        places = sorted({row[x] for row in rows})
        heights = [_mean([row[y] for row in rows if row[x] == place]) for place in places]
        ax.plot(places, heights, "o-", label=method)
    ax.set(xlabel=x, ylabel=y)
    ax.legend(fontsize="small")
    return figure


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
