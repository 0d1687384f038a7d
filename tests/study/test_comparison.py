"""Comparisons with a baseline, against SciPy's paired intervals and values worked out by hand."""

import numpy as np
import pytest
import scipy.stats

from skdidicm.study import compare, overall
from skdidicm.study.comparison import to_text


def row(method, seed, accuracy, nll=1.0, ece=0.1, n=10, budget="auto", seconds=2.0):
    place = {"data": "d", "n": n, "noise": 0.0, "resolution": None, "seed": seed}
    figures = {"accuracy": accuracy, "nll": nll, "ece": ece, "fit_seconds": seconds}
    return place | {"method": method, "budget": budget} | figures


@pytest.fixture
def rows(rng):
    return [
        row(method, seed, *rng.uniform(0.1, 0.9, 3), n=n)
        for method in ("new", "old")
        for n in (10, 20)
        for seed in range(4)
    ]


def column(rows, method, n, name):
    return np.array([r[name] for r in rows if r["method"] == method and r["n"] == n])


def test_a_cell_is_compared_by_the_paired_interval_of_student(rows):
    for found in (r for r in compare(rows, "old") if r["method"] == "new"):
        new, old = (column(rows, method, found["n"], "accuracy") for method in ("new", "old"))
        test = scipy.stats.ttest_rel(new, old)
        low, high = test.confidence_interval(0.95)
        names = ("", "_low", "_high")
        interval = [found[f"accuracy_difference{end}"] for end in names]
        np.testing.assert_allclose(interval, [(new - old).mean(), low, high])
        new, old = (column(rows, method, found["n"], "nll") for method in ("new", "old"))
        ratio = scipy.stats.gmean(new) / scipy.stats.gmean(old)
        assert found["nll_ratio"] == pytest.approx(ratio)
        assert found["nll_ratio_low"] < ratio < found["nll_ratio_high"]


def test_over_cells_there_are_the_mean_with_an_interval_over_seeds_and_the_worst(rows):
    new, old = overall(rows, "old")
    gain = [
        column(rows, "new", n, "accuracy") - column(rows, "old", n, "accuracy") for n in (10, 20)
    ]
    low, _ = scipy.stats.ttest_1samp(np.mean(gain, axis=0), 0).confidence_interval(0.95)
    assert new["accuracy_difference"] == pytest.approx(np.mean(gain))
    assert new["accuracy_difference_low"] == pytest.approx(low)
    assert new["accuracy_worst"] == pytest.approx(np.mean(gain, axis=1).min())
    assert new["ece_worst"] == pytest.approx(
        max(column(rows, "new", n, "ece").mean() for n in (10, 20))
    )
    assert (old["accuracy_difference"], old["nll_ratio"], old["nll_worst"]) == (0, 1, 1)
    assert (new["cells"], new["seeds"]) == (2, 4)


def test_only_what_both_have_is_compared_and_a_lone_seed_has_no_interval():
    rows = [row("new", 0, 0.9), row("new", 1, 0.1), row("old", 0, 0.6, nll=2.0, seconds=1.0)]
    (new, _) = overall(rows, "old")
    assert new["accuracy_difference"] == pytest.approx(0.3)
    assert (new["nll_ratio"], new["fit_seconds_ratio"]) == (0.5, 2)
    assert np.isnan(new["accuracy_difference_low"])
    assert "| new | 1 | 1 | +30.0 | +30.0 | 0 / 0 | 0.500 | 0.500 | 10.0 |" in to_text(rows, "old")


def test_cells_ahead_and_behind_are_those_whose_interval_excludes_nought():
    gains = {10: (0.1, 0.11, 0.09), 20: (-0.1, -0.11, -0.09), 30: (0.5, -0.5, 0.0)}
    rows = [row("old", i, 0.4, n=n) for n in gains for i in range(3)]
    rows += [row("new", i, 0.4 + gain[i], n=n) for n, gain in gains.items() for i in range(3)]
    new = overall(rows, "old")[1]
    assert (new["ahead"], new["behind"], new["cells"]) == (1, 1, 3)


def test_the_baseline_has_the_same_budget_unless_one_is_named():
    rows = [row("new", 0, 0.8), row("new", 0, 0.9, budget=0.5)]
    rows += [row("old", 0, 0.5), row("old", 0, 0.6, budget=0.5)]
    equal = [r["accuracy_difference"] for r in compare(rows, "old")]
    named = [r["accuracy_difference"] for r in compare(rows, "old@0.5")]
    np.testing.assert_allclose(equal, [0.3, 0.3, 0, 0])
    np.testing.assert_allclose(named, [0.2, 0.3, -0.1, 0], atol=1e-12)


def test_numbers_of_steps_are_methods_of_their_own_and_compared_with_the_same_or_with_none():
    rows = [row("new", 0, 0.6) | {"steps": 1}, row("new", 0, 0.8) | {"steps": 4}]
    rows += [row("old", 0, 0.5) | {"steps": 1}, row("old", 0, 0.3) | {"steps": 4}]
    rows += [row("plain", 0, 0.4)]
    found = {(r["method"], r["steps"]): r["accuracy_difference"] for r in compare(rows, "old")}
    assert found == pytest.approx({("new", 1): 0.1, ("new", 4): 0.5, ("old", 1): 0, ("old", 4): 0})
    plain = [r["accuracy_difference"] for r in compare(rows, "plain")]
    np.testing.assert_allclose(plain, [0.2, 0.4, 0.1, -0.1, 0])


@pytest.mark.parametrize("baseline", ["older", "old@0.3"])
def test_a_baseline_that_was_not_run_is_refused(baseline):
    with pytest.raises(ValueError, match=f"baseline is '{baseline}'; expected .*: old"):
        compare([row("old", 0, 0.5)], baseline)
