"""Cross-conformal p-values and sets against their definitions, counted row by row."""

import numpy as np
import pytest
import scipy.stats

from skdidicm.predict.conformal import nonconformity, p_values, prediction_sets, uniforms


def probabilities(rng, *shape):
    return rng.dirichlet(np.ones(shape[-1]), size=shape[:-1])


@pytest.mark.parametrize("n_folds", [1, 3])
def test_the_sets_are_those_of_cv_plus(rng, n_folds):
    """Romano et al. 2020: y is in if fewer than (1 - alpha)(m + 1) own scores lie below its own."""
    m, n, k, alpha = 40, 25, 4, 0.2
    own, fold = rng.random(m), rng.integers(0, n_folds, m)
    new = rng.random((n, n_folds, k))
    expected = np.zeros((n, k), bool)
    for i in range(n):
        for y in range(k):
            below = sum(own[j] < new[i, fold[j], y] for j in range(m))
            expected[i, y] = below < (1 - alpha) * (m + 1) - 1e-9
    sets = prediction_sets(p_values(own, np.ones(m), fold, new), 1 - alpha)
    np.testing.assert_array_equal(sets, expected)
    assert 0 < sets.mean() < 1


def test_a_weight_of_two_is_a_repeated_row(rng):
    own, fold, new = rng.random(20), rng.integers(0, 2, 20), rng.random((7, 2, 3))
    weight = rng.integers(1, 4, 20)
    repeated = [np.repeat(values, weight) for values in (own, np.ones(20), fold)]
    np.testing.assert_allclose(
        p_values(own, weight.astype(float), fold, new), p_values(*repeated, new)
    )


def test_p_values_of_exchangeable_rows_are_uniform(rng):
    own, new = rng.random((4000, 19)), rng.random(4000)
    one, zero = np.ones(19), np.zeros(19, int)
    p = [p_values(o, one, zero, n[None, None, None])[0, 0] for o, n in zip(own, new, strict=True)]
    counts = np.bincount(np.rint(20 * np.array(p)).astype(int) - 1, minlength=20)
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_aps_adds_the_classes_that_are_likelier(rng):
    p, u = probabilities(rng, 30, 5), rng.random(30)
    scores = nonconformity(p, "aps", u)
    for i in range(30):
        for y in range(5):
            likelier = sum(p[i, c] for c in range(5) if p[i, c] > p[i, y])
            assert scores[i, y] == pytest.approx(likelier + u[i] * p[i, y])


def test_aps_scores_of_labels_drawn_from_the_probabilities_are_uniform(rng):
    p, u = probabilities(rng, 5000, 6), rng.random(5000)
    label = (rng.random((5000, 1)) > p.cumsum(axis=1)).sum(axis=1).clip(max=5)
    own = nonconformity(p, "aps", u)[np.arange(5000), label]
    assert scipy.stats.kstest(own, "uniform").pvalue > 1e-3


def test_an_empty_set_becomes_the_class_of_the_highest_p_value_then_the_likeliest():
    p = np.array([[0.05, 0.02, 0.01], [0.02, 0.02, 0.01], [0.5, 0.01, 0.01]])
    np.testing.assert_array_equal(prediction_sets(p, 0.9).sum(axis=1), [0, 0, 1])
    sets = prediction_sets(p, 0.9, np.array([[0.1, 0.2, 0.7]] * 3))
    np.testing.assert_array_equal(sets.argmax(axis=1), [0, 1, 0])
    np.testing.assert_array_equal(sets.sum(axis=1), [1, 1, 1])


def test_a_p_value_of_exactly_alpha_is_out():
    p = np.array([[0.1, 0.2, 0.05]])
    np.testing.assert_array_equal(prediction_sets(p, 0.9), [[False, True, False]])


def test_the_numbers_of_rows_are_uniform_and_know_nothing_of_other_rows(rng):
    x = rng.integers(0, 255, (3000, 4, 4), dtype=np.uint8)
    u = uniforms(x, 3)
    assert scipy.stats.kstest(u, "uniform").pvalue > 1e-3
    np.testing.assert_array_equal(uniforms(x[::-1], 3), u[::-1])
    assert np.abs(np.corrcoef(u, uniforms(x, 4))[0, 1]) < 0.1
