"""Trees as arrays, compared with scikit-learn's own."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier

from skdidicm.fit.training import Rows
from skdidicm.fit.trees import Forest, as_arrays
from skdidicm.predict.trees import in_range

RNG = np.random.default_rng(0)
X = RNG.standard_normal((80, 4)) * [1, 1e6, 1e-6, 1]
X[:, 3] = X[:, 3] > 0
NEW = np.vstack([X, 3 * RNG.standard_normal((50, 4)) * [1, 1e6, 1e-6, 1]])
Y = RNG.integers(0, 3, 80)


def grown(x, target, weight):
    return as_arrays(Forest(Rows(x, target, weight), 7), lambda law: law)


@pytest.mark.parametrize("soft", [False, True])
def test_the_answer_is_the_mean_of_scikit_learns_trees(soft):
    weight = RNG.integers(1, 4, 80).astype(float)
    target = RNG.dirichlet([1, 1, 1], 80) if soft else np.eye(3)[Y]
    low, width = X.min(axis=0), X.max(axis=0) - X.min(axis=0)
    forest = ExtraTreesClassifier(random_state=7)
    row, label = np.divmod(np.arange(240), 3)  # every row with every class
    shared = (weight[:, None] * target).ravel()
    kept = shared > 0
    forest.fit(in_range(X, low, width)[row[kept]], label[kept], sample_weight=shared[kept])
    expected = forest.predict_proba(in_range(NEW, low, width))
    np.testing.assert_allclose(grown(X, target, weight)(NEW), expected, atol=1e-9)
    same = Forest(Rows(X, target, weight), 7)
    np.testing.assert_allclose(same(NEW), expected, atol=1e-9)


def test_units_and_values_beyond_the_range_do_not_matter():
    trees = grown(X, np.eye(3)[Y], np.ones(80))
    scaled = grown(1024 * X, np.eye(3)[Y], np.ones(80))
    np.testing.assert_array_equal(trees(NEW), scaled(1024 * NEW))
    highest = X.max(axis=0)
    far = np.stack([highest, 2 * np.abs(highest), np.full(4, 1e300)])
    np.testing.assert_array_equal(trees(far), np.repeat(trees(far[:1]), 3, axis=0))


def test_a_class_that_no_row_has_is_never_answered():
    trees = grown(X, np.eye(4)[Y], np.ones(80))
    for proba in (trees(NEW), Forest(Rows(X, np.eye(4)[Y], np.ones(80)), 7)(NEW)):
        assert proba.shape == (130, 4)
        assert proba[:, 3].max() < 1e-9
        np.testing.assert_allclose(proba.sum(axis=1), 1)


def test_constant_columns_and_a_single_class():
    trees = grown(np.ones((10, 2)), np.eye(2)[np.zeros(10, int)], np.ones(10))
    np.testing.assert_allclose(trees(np.zeros((3, 2))), np.eye(2)[[0, 0, 0]], atol=1e-9)


def test_unrolled_trees_answer_alike_in_any_library(array, agree):
    trees = replace(grown(X, np.eye(3)[Y], np.ones(80)), sharpness=0.8)
    agree(trees.unrolled(array(NEW)), trees(NEW), float64=1e-12)
    alone = grown(np.ones((10, 2)), np.eye(2)[np.zeros(10, int)], np.ones(10))  # roots are leaves
    agree(alone.unrolled(array(np.zeros((3, 2)))), alone(np.zeros((3, 2))), float64=1e-12)
