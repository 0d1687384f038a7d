"""The backend that the documentation writes out is a working one."""

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_iris

from skdidicm import DiDiClassifier
from skdidicm.backend import Batch, NetworkConfig
from skdidicm.core import UniformProcess

FILE = Path(__file__).parents[2] / "docs/examples/numpy_backend.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("numpy_backend", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fitted(example, **changes):
    settings = {
        "parameterization": "posterior",
        "objective": "bayes_cross_entropy",
        "solver": "bridge",
    }
    X, y = load_iris(return_X_y=True)
    classifier = DiDiClassifier(
        backend=example.build_network, learning_rate=1.0, random_state=0, **settings | changes
    )
    return classifier.fit(X[::2], y[::2]), X[1::2], y[1::2]


def test_it_serves_the_estimator(example):
    classifier, X, y = fitted(example)
    assert classifier.score(X, y) > 0.9


def test_its_posterior_is_the_softmax_of_its_logits(example):
    classifier, X, _ = fitted(example, ensemble=False, additive=False, trees=False, temperature=1.0)
    logits = classifier.network_.encode(X)
    softmax = np.exp(logits - logits.max(axis=1, keepdims=True))
    softmax /= softmax.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(classifier.predict_proba(X), softmax, atol=2e-3)


def test_its_gradient_is_that_of_its_loss(example):
    rng = np.random.default_rng(0)
    config = NetworkConfig(
        (4,), 3, UniformProcess(3), parameterization="posterior", objective="bayes_cross_entropy"
    )
    batch = Batch(
        rng.standard_normal((6, 4)),
        rng.dirichlet(np.ones(3), 6),
        rng.integers(0, 3, (6, 2)),
        rng.uniform(0.1, 3, (6, 2)),
        rng.uniform(0.1, 1, (6, 2)),
    )
    network = example.build_network(config)
    before = network.weight.copy()
    network.train_step(batch, 1.0)
    gradient = before - network.weight
    for i, j in ((0, 0), (3, 1), (4, 2)):
        values = []
        for change in (1e-5, -1e-5):
            network.weight = before.copy()
            network.weight[i, j] += change
            values.append(network.train_step(batch, 0.0))
        assert gradient[i, j] == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-5)


def test_what_it_does_not_offer_is_refused(example):
    with pytest.raises(ValueError, match="the NumPy backend has only 'posterior'"):
        fitted(example, parameterization="score", objective="score_entropy")
    config = NetworkConfig(
        (4,),
        3,
        UniformProcess(3),
        parameterization="posterior",
        objective="bayes_cross_entropy",
        dropout=0.1,
    )
    with pytest.raises(ValueError, match=r"dropout is 0\.1; the NumPy backend has only 0"):
        example.build_network(config)


def test_the_network_survives_pickling(example, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "numpy_backend", example)
    classifier, X, _ = fitted(example)
    copy = pickle.loads(pickle.dumps(classifier.network_))
    np.testing.assert_array_equal(copy.encode(X), classifier.network_.encode(X))
