"""Figures show means and bands of the summary."""

import numpy as np
import pytest

from skdidicm.study.figures import against, axes_of, with_severity

pytest.importorskip("matplotlib")


def row(method, noise, accuracy, **changes):
    figures = {"accuracy": accuracy, "accuracy_interval": 0.1, "calls": 1.0, "n": None}
    return {"method": method, "budget": "auto", "noise": noise} | figures | changes


def test_a_line_and_a_band_for_every_method():
    summary = [row("a", 1.0, 0.5), row("a", 0.0, 0.7), row("b", 0.0, 0.6), row("b", 0.0, 0.8)]
    (ax,) = against(summary, "noise", "accuracy").axes
    lines = {line.get_label(): line for line in ax.lines}
    np.testing.assert_allclose(lines["a"].get_xydata(), [[0, 0.7], [1, 0.5]])
    np.testing.assert_allclose(lines["b"].get_xydata(), [[0, 0.7]])
    assert lines["a"].get_color() != lines["b"].get_color()
    band = ax.collections[0].get_paths()[0].get_extents()
    assert (band.ymin, band.ymax) == pytest.approx((0.4, 0.8))


def test_against_calls_a_method_has_one_line_for_all_its_steps():
    summary = [row("a", 0.0, 0.5 + steps / 10, calls=steps, steps=steps) for steps in (1, 2, 4)]
    (ax,) = against([*summary, row("b", 0.0, 0.6)], "calls", "accuracy").axes
    lines = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert lines["a"] == [[1, 0.6], [2, 0.7], [4, 0.9]]
    assert lines["b"] == [[1, 0.6]]
    (ax,) = against([*summary, row("b", 0.0, 0.6)], "noise", "accuracy").axes
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "a in 1", "a in 2", "a in 4", "b",
    ]  # fmt: skip


def test_only_what_varies_is_an_axis_and_no_corruption_is_severity_0():
    summary = [row("a", 1.0, 0.5, corruption="fog:3"), row("a", 1.0, 0.6, corruption=None)]
    rows = with_severity(summary)
    assert [r["severity"] for r in rows] == [3, 0]
    assert axes_of(rows) == ["severity"]
