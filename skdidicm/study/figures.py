"""Figures of a study: means and 95 % bands, a line per method."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from skdidicm.study.tables import grouped, mean, named

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = dict[str, Any]

AXES = ("noise", "resolution", "n", "ratio", "severity", "calls")
"""What accuracy and NLL are drawn against, where a study has two values of it or more."""

# Okabe and Ito's palette, told apart with every common colour blindness; markers tell it twice.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "os^Dv<>Ph"


def with_severity(summary: Sequence[Row]) -> list[Row]:
    """Return the rows with the severity of their corruption: 0 for none."""
    return [row | {"severity": _severity(row.get("corruption"))} for row in summary]


def axes_of(summary: Sequence[Row]) -> list[str]:
    """Return the names of `AXES` of which a summary has two values or more."""
    return [x for x in AXES if len({row[x] for row in summary if row.get(x) is not None}) > 1]


def against(summary: Sequence[Row], x: str, y: str) -> "Figure":
    """Return a figure of one figure of merit against another quantity, a line per method.

    All else than `x` and the method is averaged, and so are the bands. Against calls a method has
    one line for all its numbers of steps.

    Parameters
    ----------
    summary : sequence of dict
        As `summarise` returns it.
    x, y : str
        Names of two columns, such as "noise" or "calls", and "accuracy" or "nll".
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    ax = figure.add_subplot()
    if x == "calls":
        summary = [row | {"steps": None} for row in summary]
    methods = dict.fromkeys(named(row) for row in summary)
    for method, colour, marker in zip(
        methods, itertools.cycle(_COLOURS), itertools.cycle(_MARKERS), strict=False
    ):
        rows = [r for r in summary if named(r) == method and r.get(x) is not None and y in r]
        points = sorted((key[x], *_band(of, y)) for key, of in grouped(rows, (x,)))
        places, heights, halves = zip(*points, strict=True) if points else ((), (), ())
        ax.plot(places, heights, marker=marker, color=colour, label=method)
        low = [h - half for h, half in zip(heights, halves, strict=True)]
        high = [h + half for h, half in zip(heights, halves, strict=True)]
        ax.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)
        if x == "calls":
            ax.errorbar(places, heights, halves, color=colour, capsize=3)
    if x in ("n", "calls"):
        ax.set_xscale("log", base=2)
    ax.set(xlabel=x, ylabel=y)
    ax.legend(fontsize="small")
    return figure


def _band(rows: Sequence[Row], y: str) -> tuple[float, float]:
    return mean([row[y] for row in rows]), mean([row[f"{y}_interval"] for row in rows])


def _severity(corruption: str | None) -> int:
    return 0 if corruption is None else int(corruption.rpartition(":")[2])
