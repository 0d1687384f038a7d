"""Weights of rows, networks and the plan, from checked rows and resolved settings."""

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_sample_weight

from skdidicm import DiDiClassifier
from skdidicm.core import LogLinear, UniformProcess
from skdidicm.fit.defaults import resolve
from skdidicm.fit.plan import (
    build_network,
    rebuilt,
    training_plan,
    untrained_like,
    weighted_rows,
    with_class_weights,
)
from skdidicm.fit.training import Rows

CLASSES = np.array(["cat", "dog", "elk"])


@pytest.fixture
def table(rng):
    x = rng.normal(size=(40, 3)) * [1.0, 10.0, 0.1] + [0.0, 5.0, -1.0]
    return x, np.eye(3)[np.arange(40) % 3]


def test_weights_have_a_mean_of_one_and_rows_of_no_weight_are_left_out(table, rng):
    x, q_0 = table
    weight = rng.integers(0, 3, 40).astype(float)
    rows, place = weighted_rows(x, q_0, CLASSES, weight, None)
    assert place.tolist() == [i for i in range(40) if weight[i]]
    np.testing.assert_array_equal(rows.x, x[weight > 0])
    np.testing.assert_array_equal(rows.target, q_0[weight > 0])
    np.testing.assert_allclose(rows.weight, weight[weight > 0] / weight[weight > 0].mean())


@pytest.mark.parametrize("given", ["balanced", {"cat": 1.0, "dog": 0.5, "elk": 4.0}])
def test_class_weights_are_those_of_scikit_learn(table, given):
    q_0 = table[1][:31]  # classes of different sizes
    labels = CLASSES[q_0.argmax(axis=1)]
    found = with_class_weights(np.ones(31), q_0, CLASSES, given)
    np.testing.assert_allclose(found, compute_sample_weight(given, labels))


def test_a_soft_label_has_the_mean_weight_of_its_classes(rng):
    q_0 = rng.dirichlet(np.ones(3), 5)
    weights = {"cat": 1.0, "dog": 2.0, "elk": 6.0}
    found = with_class_weights(np.full(5, 3.0), q_0, CLASSES, weights)
    np.testing.assert_allclose(found, [3 * sum(p * [1, 2, 6]) for p in q_0])


def settings(n=40, **parameters):
    given = DiDiClassifier(**{"backend": "torch", "device": "cpu"} | parameters).get_params()
    return resolve(given, (3,), n, 3)


@pytest.fixture
def rows(table, rng):
    x, q_0 = table
    return Rows(x, q_0, rng.random(40))


def network_of(rows, seed=0):
    pytest.importorskip("torch")
    return build_network(settings(), rows, UniformProcess(3), seed)


def test_a_network_standardises_by_the_weighted_moments_of_its_rows(rows):
    config = network_of(rows).config
    deviation = np.sqrt(np.diag(np.cov(rows.x.T, ddof=0, aweights=rows.weight)))
    np.testing.assert_allclose(config.mean, np.average(rows.x, axis=0, weights=rows.weight))
    np.testing.assert_allclose(config.scale, deviation)
    assert (config.input_shape, config.n_classes) == ((3,), 3)


def same(first, second):
    return all(np.array_equal(value, second[name]) for name, value in first.items())


def test_a_network_for_other_rows_has_the_same_weights_and_their_moments(rows):
    network = network_of(rows)
    some = rows.take(np.arange(10))
    other = untrained_like(network, "torch", some)
    expected = network_of(some)
    np.testing.assert_array_equal(other.config.mean, expected.config.mean)
    assert same(other.state(), expected.state())
    assert not same(network_of(rows, seed=1).state(), network.state())


def test_a_rebuilt_network_keeps_its_weights(rows):
    network = network_of(rows)
    state = {name: value + 1 for name, value in network.state().items()}
    network.load_state(state)
    again = rebuilt(network, "torch")
    assert again is not network
    assert same(again.state(), state)


@pytest.mark.parametrize("one_epoch", [False, True])
def test_partial_fit_trains_one_epoch_at_a_constant_rate_without_averaging(one_epoch):
    given = settings(max_epochs=7, learning_rate=0.25)
    plan = training_plan(
        given, UniformProcess(3), LogLinear(), "score_entropy", one_epoch=one_epoch, going_on=False
    )
    assert plan.max_epochs == (1 if one_epoch else 7)
    assert (plan.constant_rate, plan.average) == (one_epoch, not one_epoch)
    assert (plan.learning_rate, plan.objective) == (0.25, "score_entropy")
