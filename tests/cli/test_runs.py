"""Models of run folders, loaded and scored for the commands that take one."""

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import accuracy_score, log_loss

from skdidicm import DiDiClassifier
from skdidicm.cli.runs import load_model, score, score_prior
from skdidicm.datasets import Split


@pytest.fixture
def model(torch, tmp_path):
    X, y = np.arange(12.0)[:, None], [0, 1] * 6
    DiDiClassifier(steps=2, max_epochs=1, verbose=1, random_state=0).fit(X, y).save(
        tmp_path / "model.skd"
    )
    return tmp_path


@pytest.mark.parametrize("inside", ["", "model.skd"])
def test_a_folder_and_its_file_are_the_same_model(model, inside):
    classifier = load_model(model / inside, {"device": "cpu"}, {})
    expected = DiDiClassifier.load(model / "model.skd", device="cpu")
    X = np.arange(12.0)[:, None]
    np.testing.assert_array_equal(classifier.predict_proba(X), expected.predict_proba(X))
    assert classifier.steps == 2


def test_a_loaded_model_is_silent_and_has_the_sampler_that_was_asked_for(model):
    classifier = load_model(model, {}, {"steps": 5, "solver": "bridge"})
    assert (classifier.verbose, classifier.steps, classifier.solver) == (0, 5, "bridge")


def test_a_sampler_that_is_none_is_refused_when_it_predicts(model):
    classifier = load_model(model, {}, {"steps": 0})
    with pytest.raises(ValueError, match="steps is 0"):
        classifier.predict_proba([[1.0]])


@pytest.fixture
def data(rng, torch):
    """Two classes of different sizes, and test rows with other shares of them."""
    X = rng.normal(size=(40, 2))
    y = np.where(np.arange(40) % 4 == 0, "b", "a")
    return Split(X[:30], y[:30], X[30:], y[30:], ())


def test_the_prior_is_scored_as_scikit_learn_scores_a_dummy(quick, data):
    classifier = quick().fit(data.X_train, data.y_train)
    dummy = DummyClassifier(strategy="prior").fit(data.X_train, data.y_train)
    p = dummy.predict_proba(data.X_test)
    share = (data.y_test == "a").mean()
    assert score_prior(classifier, data) == pytest.approx({
        "prior_accuracy": dummy.score(data.X_test, data.y_test),
        "prior_nll": log_loss(data.y_test, p),
        "prior_ece": abs(p[0, 0] - share),  # one bin holds all rows
    })  # fmt: skip


def test_a_classifier_is_scored_with_the_answer_that_it_gives(quick, data):
    classifier = quick().fit(data.X_train, data.y_train)
    found, p = score(classifier, data)
    np.testing.assert_array_equal(p, classifier.predict_proba(data.X_test))
    assert found["nll"] == pytest.approx(log_loss(data.y_test, p))
    assert found["accuracy"] == accuracy_score(data.y_test, classifier.predict(data.X_test))
    assert found["prediction_seconds"] > 0
