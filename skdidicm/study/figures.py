"""Figures of a study: means and 95 % bands, a line per method."""

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from skdidicm.study.tables import SummaryRow, grouped, mean, named

if TYPE_CHECKING:
    from matplotlib.figure import Figure

AXES = ("noise", "resolution", "n", "ratio", "severity", "calls")
"""Quantities that accuracy and NLL are drawn against if a study has several values of them."""

# The palette of Okabe and Ito, for colour-blind readers; the markers differ as well.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "os^Dv<>Ph"


def with_severity(summary: Sequence[Mapping[str, Any]]) -> list[SummaryRow]:
    """Return the rows with a column for the severity of their corruption, 0 for none."""
    return [{**row, "severity": _severity(row.get("corruption"))} for row in summary]


def axes_of(summary: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names in `AXES` for which a summary has at least two values."""
    return [x for x in AXES if len({row[x] for row in summary if row.get(x) is not None}) > 1]


def against(summary: Sequence[Mapping[str, Any]], x: str, y: str) -> "Figure":
    """Return a plot of a score against another quantity, with a line and a band per method.

    Values and bands are averaged over everything but `x` and the method. Against calls, a method
    has one line for all its numbers of steps.

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
        summary = [{**row, "steps": None} for row in summary]
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


def _band(rows: Sequence[Mapping[str, Any]], y: str) -> tuple[float, float]:
    return mean([row[y] for row in rows]), mean([row[f"{y}_interval"] for row in rows])


def _severity(corruption: str | None) -> int:
    return 0 if corruption is None else int(corruption.rpartition(":")[2])
