"""Top-1 accuracy of two methods over the settings of a grid, one panel for each recipe."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from skdidicm.plotting.canvas import OTHER_COLOR, TRUE_COLOR, WRONG_COLOR

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from skdidicm.imagenet.table import TableRow

_INCHES_A_ROW = 0.35


def draw_comparison(rows: Sequence["TableRow"], title: str) -> "Figure":
    """Return a figure with a line from the baseline to DiDiCM for every setting.

    Parameters
    ----------
    rows : sequence of skdidicm.imagenet.table.TableRow
        Rows of the table; what has no figures is left out of the lines.
    title : str
        What the figures are of.
    """
    from matplotlib.figure import Figure

    recipes = list(dict.fromkeys(row.setting.recipe for row in rows))
    panels = [[row for row in rows if row.setting.recipe == recipe] for recipe in recipes]
    height = 1.8 + _INCHES_A_ROW * max(map(len, panels))
    figure = Figure(figsize=(4.5 * len(panels), height), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False, sharex=True)[0]
    for ax, recipe, panel in zip(axes, recipes, panels, strict=True):
        _draw_ours(ax, panel)
        if any(row.reported for row in rows):
            _draw_reported(ax, panel)
        ax.set_title(f"{recipe} recipe")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(title, fontsize="small", wrap=True)
    return figure


def _draw_ours(ax: "Axes", rows: Sequence["TableRow"]) -> None:
    places = range(len(rows))
    baseline = [_percent(row.baseline) for row in rows]
    didicm = [_percent(row.didicm) for row in rows]
    ax.hlines(places, baseline, didicm, color=OTHER_COLOR, zorder=1)
    ax.scatter(baseline, places, color=WRONG_COLOR, label="cross-entropy", zorder=2)
    ax.scatter(didicm, places, color=TRUE_COLOR, label="DiDiCM", zorder=2)
    names = [f"{row.setting.resolution} px, {100 * row.setting.data_ratio:g}%" for row in rows]
    ax.set_yticks(places, names)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.set_xlabel("top-1 accuracy (%)")


def _draw_reported(ax: "Axes", rows: Sequence["TableRow"]) -> None:
    below = [place + 0.25 for place in range(len(rows))]
    for name, color in (("baseline", WRONG_COLOR), ("didicm", TRUE_COLOR)):
        reported = [getattr(row.reported, name)[0] if row.reported else _GAP for row in rows]
        ax.scatter(reported, below, marker="x", s=18, color=color, label=_PAPER[name])


_GAP = float("nan")
_PAPER = {"baseline": "paper: ResNet-50", "didicm": "paper: DiDiCM"}


def _percent(figures: Mapping[str, float] | None) -> float:
    return 100 * figures["accuracy"] if figures else _GAP
