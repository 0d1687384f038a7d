"""The threshold from which on answers are right often enough."""

import math

import numpy as np
import pytest
import scipy.stats

from skdidicm.predict.threshold import choose_threshold


def rows(rng, m):
    """Confidences that are true: a row is right with the probability of its confidence."""
    confidence = rng.uniform(0.5, 1, m)
    return confidence, rng.random(m) < confidence


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_the_accuracy_is_reached_as_often_as_stated(rng, level):
    failures = n_found = 0
    for _ in range(400):
        confidence, right = rows(rng, 500)
        found = choose_threshold(confidence, right, np.ones(500), 0.9, level)
        if math.isfinite(found.confidence):
            n_found += 1
            failures += (1 + found.confidence) / 2 < 0.9  # the true accuracy above it
    assert n_found > 100
    assert failures <= scipy.stats.binom.ppf(0.999, 400, 1 - level)


def test_what_is_told_is_what_the_rows_above_it_say(rng):
    confidence, right = rows(rng, 2000)
    found = choose_threshold(confidence, right, np.ones(2000), 0.85, 0.9)
    answered = confidence >= found.confidence
    n, hits = answered.sum(), right[answered].sum()
    assert (found.n_rows, found.coverage) == (n, n / 2000)
    assert found.accuracy == pytest.approx(hits / n)
    interval = scipy.stats.binomtest(int(hits), int(n), alternative="greater")
    assert found.bound == pytest.approx(interval.proportion_ci(0.9, method="exact").low)


def test_rows_of_equal_confidence_stay_together():
    confidence = np.repeat([0.9, 0.6], [300, 300])
    right = np.repeat([True, False], [300, 300])
    found = choose_threshold(confidence, right, np.ones(600), 0.9, 0.95)
    assert (found.confidence, found.n_rows) == (0.9, 300)


@pytest.mark.parametrize("m", [20, 500])
def test_no_threshold_where_too_few_rows_or_answers_are_right(rng, m):
    right = np.ones(m) if m == 20 else np.arange(m) % 2
    found = choose_threshold(rng.random(m), right, np.ones(m), 0.95, 0.95)
    assert math.isinf(found.confidence)
    assert found.n_rows == 0


def test_a_few_heavy_rows_prove_less_than_many(rng):
    right = np.ones(1000)
    heavy = np.where(np.arange(1000) < 10, 1000.0, 1e-3)
    confidence = rng.random(1000)
    assert math.isfinite(choose_threshold(confidence, right, np.ones(1000), 0.95, 0.95).confidence)
    assert math.isinf(choose_threshold(confidence, right, heavy, 0.95, 0.95).confidence)
