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


def test_only_what_varies_is_an_axis_and_no_corruption_is_severity_0():
    summary = [row("a", 1.0, 0.5, corruption="fog:3"), row("a", 1.0, 0.6, corruption=None)]
    rows = with_severity(summary)
    assert [r["severity"] for r in rows] == [3, 0]
    assert axes_of(rows) == ["severity"]
