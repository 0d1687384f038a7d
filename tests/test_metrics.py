import math

import numpy as np
import pytest
from scipy.stats import entropy
from sklearn.metrics import brier_score_loss, log_loss

from skdidicm.metrics import (
    brier_score,
    calibration_bins,
    classwise_calibration_error,
    expected_calibration_error,
    log_proba,
    negative_log_likelihood,
    score_probabilities,
    uncertainty,
)


def calibration_error_by_hand(labels, proba, n_bins):
    """Sum over bins, in plain Python."""
    total = 0.0
    for b in range(n_bins):
        low, high = b / n_bins, (b + 1) / n_bins
        inside = [
            (max(p), p.index(max(p)) == label)
            for label, p in zip(labels, proba, strict=True)
            if low < max(p) <= high
        ]
        if inside:
            confidence = sum(c for c, _ in inside) / len(inside)
            accuracy = sum(hit for _, hit in inside) / len(inside)
            total += len(inside) / len(labels) * abs(accuracy - confidence)
    return total


@pytest.fixture(params=[2, 4, 10])
def case(request):
    rng = np.random.default_rng(request.param)
    proba = rng.dirichlet(np.full(request.param, 0.5), 500)
    return rng.integers(request.param, size=500), proba


@pytest.mark.parametrize("n_bins", [1, 7, 15])
def test_calibration_error_is_that_of_a_loop_over_bins(case, n_bins):
    labels, proba = case
    expected = calibration_error_by_hand(labels.tolist(), proba.tolist(), n_bins)
    assert expected_calibration_error(labels, proba, n_bins=n_bins) == pytest.approx(expected)


def test_calibration_bins_hold_every_row_once(case):
    labels, proba = case
    count, confidence, accuracy = calibration_bins(labels, proba, n_bins=10)
    assert count.sum() == len(labels)
    assert count @ confidence == pytest.approx(sum(map(max, proba.tolist())))
    assert count @ accuracy == pytest.approx(np.sum(proba.argmax(axis=1) == labels))
    for b in np.flatnonzero(count):
        assert b / 10 <= confidence[b] <= (b + 1) / 10
    assert not confidence[count == 0].any()
    assert not accuracy[count == 0].any()


def test_probabilities_that_hold_what_they_promise_have_little_error():
    rng = np.random.default_rng(0)
    proba = rng.dirichlet(np.ones(5), 40_000)
    labels = (proba.cumsum(axis=1) < rng.random((40_000, 1))).sum(axis=1)
    assert expected_calibration_error(labels, proba) < 0.01


def test_certainty_is_scored_by_its_errors():
    proba = np.eye(3)[[0, 1, 2, 0]]
    assert expected_calibration_error([0, 1, 2, 1], proba) == pytest.approx(0.25)


def test_scores_are_those_of_their_definitions(case):
    labels, proba = case
    k = proba.shape[1]
    scores = score_probabilities(labels, proba)
    n = len(labels)
    rank = [
        sorted(p, reverse=True).index(p[y]) for y, p in zip(labels, proba.tolist(), strict=True)
    ]
    assert scores["accuracy"] == pytest.approx(sum(r == 0 for r in rank) / n)
    nll = -sum(math.log(p[y]) for y, p in zip(labels, proba, strict=True)) / n
    assert scores["nll"] == pytest.approx(nll)
    if k > 5:
        assert scores["top5_accuracy"] == pytest.approx(sum(r < 5 for r in rank) / n)
    else:
        assert scores["top5_accuracy"] is None
    assert all(value is None or type(value) is float for value in scores.values())


def test_labels_may_have_any_name_and_columns_any_order():
    proba = np.random.default_rng(1).dirichlet(np.ones(3), 60)
    index = np.random.default_rng(2).integers(3, size=60)
    names = np.array(["dog", "ant", "cat"])
    assert score_probabilities(names[index], proba, names) == score_probabilities(index, proba)


def test_a_class_that_no_test_row_has_does_no_harm():
    proba = np.full((4, 3), 1 / 3)
    assert score_probabilities([0, 1, 1, 0], proba)["nll"] == pytest.approx(math.log(3))


def test_an_impossible_truth_gives_a_large_but_finite_loss():
    assert 10 < score_probabilities([1], [[1.0, 0.0]])["nll"] < 100


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 1], [[0.5, 0.5]]), "expected \\(n,\\) and \\(n, k\\)"),
        (([], np.empty((0, 2))), "with n >= 1 rows"),
        (([0], [0.5, 0.5]), "expected \\(n,\\) and \\(n, k\\)"),
        (([2], [[0.5, 0.5]]), "without a column in y_proba: \\[2\\]"),
        ((["z"], [[0.5, 0.5]], ["a", "b"]), "without a column in y_proba: \\['z'\\]"),
        (([0], [[0.5, 0.5]], [0, 1, 2]), "expected one label for every column"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        score_probabilities(*arguments)


@pytest.mark.parametrize("proba", [[1.5, -0.5], [math.nan, 1.0], [math.inf, 0.0]])
def test_what_is_no_probability_is_refused(proba):
    with pytest.raises(ValueError, match="expected probabilities between 0 and 1"):
        score_probabilities([0], [proba])


def test_rows_that_do_not_sum_to_one_are_warned_of():
    with pytest.warns(UserWarning, match="do not sum to one"):
        score_probabilities([0], [[0.5, 0.4]])


def test_the_log_likelihood_is_that_of_scikit_learn(case):
    labels, proba = case
    proba[::7] = np.eye(proba.shape[1])[labels[::7] - 1]  # the true class has probability 0
    columns = np.arange(proba.shape[1])
    rows = negative_log_likelihood(labels, proba)
    assert rows.mean() == pytest.approx(log_loss(labels, proba, labels=columns))
    assert score_probabilities(labels, proba)["nll"] == pytest.approx(rows.mean())
    assert rows.max() == pytest.approx(52 * math.log(2))
    np.testing.assert_array_equal(
        rows, negative_log_likelihood(np.eye(len(columns))[labels], proba)
    )


def test_the_loss_of_a_distribution_is_its_cross_entropy(case):
    _, proba = case
    target = np.roll(proba, 1, axis=0)
    by_hand = entropy(target, axis=1) + entropy(target, proba, axis=1)
    np.testing.assert_allclose(negative_log_likelihood(target, proba), by_hand)


def test_the_logarithm_is_that_of_double_precision():
    found = log_proba(np.array([1e-10, 0.5], dtype=np.float32))
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, [math.log(1e-10), math.log(0.5)], rtol=1e-6)


def test_no_bins_are_refused():
    with pytest.raises(ValueError, match="n_bins is 0"):
        expected_calibration_error([0], [[0.5, 0.5]], n_bins=0)


class TestOfAllClasses:
    @pytest.fixture
    def case(self):
        rng = np.random.default_rng(0)
        return rng.integers(4, size=300), rng.dirichlet(np.ones(4), 300)

    def test_the_brier_score_of_two_classes_is_twice_that_of_scikit_learn(self, case):
        y, p = case[0] % 2, case[1][:, :2] / case[1][:, :2].sum(axis=1, keepdims=True)
        assert brier_score(y, p) == pytest.approx(2 * brier_score_loss(y, p[:, 1]))

    def test_the_classwise_error_is_the_mean_of_that_of_every_class(self, case):
        y, p = case
        expected = []
        for k in range(4):
            gaps = 0.0
            for b in range(5):
                inside = (p[:, k] > b / 5) & (p[:, k] <= (b + 1) / 5)
                gaps += abs((y[inside] == k).sum() - p[inside, k].sum())
            expected.append(gaps / len(y))
        found = classwise_calibration_error(y, p, n_bins=5)
        assert found == pytest.approx(np.mean(expected))

    def test_uncertainty_is_entropy_and_mutual_information(self, case):
        members = np.stack([case[1], np.roll(case[1], 1, axis=0), np.full((300, 4), 0.25)], axis=1)
        total, aleatoric, epistemic = uncertainty(members)
        np.testing.assert_allclose(total, entropy(members.mean(axis=1), axis=1))
        np.testing.assert_allclose(total, aleatoric + epistemic)
        divergence = entropy(members, members.mean(axis=1, keepdims=True), axis=2)
        np.testing.assert_allclose(epistemic, divergence.mean(axis=1), atol=1e-12)
        assert uncertainty(np.array([[[1.0, 0.0]]])).total == 0
        with pytest.raises(ValueError, match=r"p_members has shape \(300, 4\)"):
            uncertainty(case[1])
