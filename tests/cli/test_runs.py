"""Models of run folders, loaded for the commands that take one."""

import numpy as np
import pytest

from skdidicm import DiDiClassifier
from skdidicm.cli.runs import load_model


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
