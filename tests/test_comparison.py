import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from skdidicm.imagenet import grid, table
from skdidicm.imagenet.grid import Cell
from skdidicm.plotting.comparison import draw_comparison

BASELINE = Cell(56, 0.25, "weak", "cross-entropy")
DIDICM = Cell(56, 0.25, "weak", "score-entropy")


def points(ax):
    """The points of every series by its name, gaps left out."""
    found = {}
    for series in ax.collections:
        offsets = np.ma.filled(np.ma.asarray(series.get_offsets(), dtype=float), np.nan)
        name = series.get_label()
        if not name.startswith("_"):
            found[name] = [tuple(point) for point in offsets if np.isfinite(point).all()]
    return found


@pytest.fixture
def figure():
    results = {BASELINE: {"accuracy": 0.4}, DIDICM: {"accuracy": 0.45}}
    return draw_comparison(table.rows(grid.plan((224, 56), (1.0, 0.25)), results), "made up")


def test_there_is_a_panel_for_each_recipe_and_a_place_for_each_setting(figure):
    assert [ax.get_title() for ax in figure.axes] == ["weak recipe", "strong recipe"]
    for ax in figure.axes:
        names = [label.get_text() for label in ax.get_yticklabels()]
        assert names == ["224 px, 100%", "224 px, 25%", "56 px, 100%", "56 px, 25%"]


def test_a_point_lies_at_its_accuracy_beside_its_setting(figure):
    weak, strong = map(points, figure.axes)
    assert weak["cross-entropy"] == [(40.0, 3.0)]
    assert weak["DiDiCM"] == [(45.0, 3.0)]
    assert strong["DiDiCM"] == []


def test_the_papers_figures_lie_in_their_own_rows(figure):
    weak, strong = map(points, figure.axes)
    assert [x for x, _ in weak["paper: DiDiCM"]] == [57.92]
    assert strong["paper: ResNet-50"] == [(80.42, 0.25), (53.77, 3.25)]


def test_without_figures_of_the_paper_the_legend_has_none():
    rows = table.rows(grid.plan((48,), (1.0,)), {})
    (legend,) = draw_comparison(rows, "made up").legends
    assert [text.get_text() for text in legend.get_texts()] == ["cross-entropy", "DiDiCM"]


def test_a_figure_is_drawn_without_pyplot(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    figure = draw_comparison(table.rows(grid.plan((48,), (1.0,)), {}), "made up")
    figure.savefig(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
