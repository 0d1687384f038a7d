"""DiDiClassifier(backend="keras"): scikit-learn's checks, none expected to fail, and settings."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.utils.estimator_checks import parametrize_with_checks

pytest.importorskip("skdidicm_keras", reason="Keras or its engine is missing", exc_type=ImportError)

from skdidicm import DiDiClassifier
from skdidicm.registry import get_backend, installed_backends


# Fewer epochs than the default and no trial, which are the same code on every backend.
@pytest.mark.slow
@parametrize_with_checks([DiDiClassifier(backend="keras", max_epochs=80)])
def test_the_checks_of_scikit_learn_pass(estimator, check):
    check(estimator)


def make(**settings):
    return DiDiClassifier(
        **{"backend": "keras", "max_epochs": 5, "random_state": 0, "device": "cpu"} | settings
    )


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((80, 3))
    return X, np.array(["no", "yes"])[(X[:, 0] > 0).astype(int)]


def test_the_backend_of_this_repository_is_found():
    import skdidicm_keras

    assert "keras" in installed_backends()
    assert get_backend("keras") is skdidicm_keras.build_network


def test_it_learns_a_table(data):
    X, y = data
    assert make(max_epochs=60).fit(X, y).score(X, y) > 0.95


@pytest.mark.parametrize(
    "settings",
    [{"sampler": "cp"}, {"sampler": "cl"}, {"choose_epochs": True, "ensemble": True}],
    ids=["cp", "cl", "ensemble"],
)
def test_pickles_clones_and_files_predict_the_same(data, tmp_path, settings):
    X, y = data
    classifier = make(**settings).fit(X, y)
    assert len(classifier.members_) == 5 * ("ensemble" in settings)
    p = classifier.predict_proba(X)
    classifier.save(tmp_path / "model.skd")
    for other in (
        pickle.loads(pickle.dumps(classifier)),
        DiDiClassifier.load(tmp_path / "model.skd", device="cpu"),
        clone(classifier).fit(X, y),
    ):
        np.testing.assert_allclose(other.predict_proba(X), p, atol=1e-10)


def test_early_stopping_takes_back_the_best_weights(data):
    X, y = data
    classifier = make(
        max_epochs=60, early_stopping=True, n_iter_no_change=2, learning_rate=0.05
    ).fit(X, y)
    assert classifier.n_iter_ == len(classifier.history_) < 60
    best = min(row["val_nll"] for row in classifier.history_)
    assert best < classifier.history_[0]["val_nll"]


def test_rows_of_weight_zero_are_as_good_as_absent(data):
    X, y = data
    weight = (np.arange(len(X)) < 50).astype(float)
    weighted = make().fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(
        weighted.predict_proba(X), make().fit(X[:50], y[:50]).predict_proba(X), atol=1e-8
    )


def test_a_warm_start_goes_on(data):
    X, y = data
    classifier = make(warm_start=True, max_epochs=20).fit(X, y)
    first, last = (classifier.history_[i]["loss"] for i in (0, -1))
    assert classifier.fit(X, y).history_[0]["loss"] < (first + last) / 2


def test_images_of_bytes_are_taken():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 256, (40, 8, 8, 3)).astype(np.uint8)
    y = (X[:, :, :, 0].mean(axis=(1, 2)) > 127).astype(int)
    assert make(batch_size=16).fit(X, y).predict_proba(X).shape == (40, 2)


def test_a_trial_learns_what_rows_look_like():
    """Features of this backend are tensors with rows that fill them up."""
    X, y = load_iris(return_X_y=True)
    settings = {"max_epochs": 2, "choose_epochs": True, "random_state": 0}
    model = DiDiClassifier(backend="keras", **settings).fit(X, y)
    assert len(model.familiarity(X[:3])) == 3
