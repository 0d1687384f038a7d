"""What held-out rows say of models beside the networks."""

import copy
import pickle

import numpy as np
import pytest

from skdidicm import DiDiClassifier
from skdidicm.core import SymmetricNoise
from skdidicm.fit.beside import choose_share, out_of_fold, total_nll
from skdidicm.fit.state import HeldOut
from skdidicm.fit.training import Rows
from skdidicm.saving.model_file import write
from skdidicm.saving.persistence import content_of

RNG = np.random.default_rng(0)
Y = RNG.integers(0, 2, 40)
FIRST, SECOND = RNG.dirichlet([1, 1], size=(2, 40))
HELD = HeldOut(
    np.arange(40), np.arange(40) % 4, FIRST, np.eye(2)[Y], RNG.integers(1, 3, 40).astype(float), 40
)
X = RNG.standard_normal((90, 3))
LABELS = (X[:, 0] > 0).astype(int)


@pytest.fixture(scope="module")
def trained():
    pytest.importorskip("torch")
    settings = {"max_epochs": 4, "choose_epochs": True, "random_state": 0, "device": "cpu"}
    return DiDiClassifier(**settings).fit(X, LABELS)


@pytest.fixture
def model(trained):
    return copy.deepcopy(trained)


def test_the_share_is_that_of_the_lowest_nll_with_a_row_for_each_side():
    shares = np.linspace(0, 1, 10_001)[1:-1]
    of_first, of_second = FIRST[np.arange(40), Y], SECOND[np.arange(40), Y]
    p = (1 - shares) * of_first[:, None] + shares * of_second[:, None]
    nll = -HELD.weight @ np.log(p) - np.log(shares) - np.log(1 - shares)
    assert choose_share(FIRST, SECOND, HELD) == pytest.approx(shares[nll.argmin()], abs=1e-3)


def test_label_noise_is_part_of_what_is_scored():
    noise = SymmetricNoise(2, 0.2)
    seen = FIRST @ np.array([[0.8, 0.2], [0.2, 0.8]])
    expected = -HELD.weight @ np.log(seen[np.arange(40), Y])
    assert total_nll(FIRST, HELD, noise) == pytest.approx(expected)


def test_rows_are_answered_by_models_of_the_other_folds():
    rows = Rows(np.arange(40.0)[:, None], np.eye(2)[Y], np.ones(40))

    def learn(seen):
        known = set(seen.x[:, 0])
        return [
            lambda x, own=own: np.array([[value in known, own] for value in x[:, 0]], dtype=float)
            for own in (0, 1)
        ]

    answers = out_of_fold(rows, HELD, learn)
    assert answers.shape == (2, 40, 2)
    assert not answers[:, :, 0].any()
    np.testing.assert_array_equal(answers[:, :, 1], [[0] * 40, [1] * 40])


def test_members_answer_without_them_and_training_on_drops_them(model):
    member = model.members_[0]
    assert model.additive_share_ > 0
    assert model.trees_share_ > 0
    assert member.additive_share_ == member.trees_share_ == 0
    model.partial_fit(X, LABELS)
    assert model.additive_share_ == model.trees_share_ == 0


def test_they_are_saved_and_pickled(model, tmp_path):
    model.save(tmp_path / "model.skd")
    loaded = DiDiClassifier.load(tmp_path / "model.skd")
    expected = model.predict_proba(X)
    for again in (loaded, pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.predict_proba(X), expected)
        np.testing.assert_array_equal(again.oob_decision_function_, model.oob_decision_function_)


@pytest.mark.parametrize("part", ["additive", "trees"])
def test_a_file_of_an_earlier_version_has_none(model, tmp_path, part):
    tensors, header = content_of(model._model)
    del header[part], header["parameters"][part]
    tensors = {name: v for name, v in tensors.items() if part not in name}
    write(tmp_path / "model.skd", header, tensors)
    loaded = DiDiClassifier.load(tmp_path / "model.skd")
    np.testing.assert_array_equal(
        loaded.predict_proba(X), model.set_params(**{part: False}).predict_proba(X)
    )
