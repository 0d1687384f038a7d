"""The trees that answer beside the networks and the additive model of tables."""

import copy
import functools

import numpy as np
import pytest
from scipy.special import logit

from skdidicm import DiDiClassifier
from skdidicm.core import ConfusionNoise, LogLinear, SymmetricNoise, UniformProcess, read_out
from skdidicm.fit.state import HeldOut
from skdidicm.fit.training import Rows
from skdidicm.fit.trees import learn_trees, true_classes
from skdidicm.saving.model_file import write
from skdidicm.saving.persistence import ModelFileError, content_of

RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, 3)) * [1, 100, 0.01]
Y = ((X[:, 0] > 0) ^ (X[:, 1] > 0)).astype(int)
SETTINGS = {"max_epochs": 4, "choose_epochs": True, "random_state": 0, "device": "cpu"}
FOLD = np.arange(90) % 3
keep = functools.partial(read_out, process=UniformProcess(2), schedule=LogLinear())


def held_out(y):
    return HeldOut(np.arange(90), FOLD, np.full((90, 2), 0.5), np.eye(2)[y], np.ones(90), 90)


def learnt(y, others=None, temperature=None, channel=None):
    others = np.full((90, 2), 0.5) if others is None else others
    rows = Rows(X, np.eye(2)[y], np.ones(90))
    return learn_trees(rows, held_out(Y), others, keep, 0, temperature, channel)


@pytest.fixture(scope="module")
def trained():
    pytest.importorskip("torch")
    return DiDiClassifier(**SETTINGS).fit(X, Y)


@pytest.fixture
def model(trained):
    return copy.deepcopy(trained)


@pytest.mark.parametrize("channel", [None, SymmetricNoise(2, 0.2)], ids=["sure", "noisy"])
def test_answers_out_of_fold_do_not_know_the_labels_of_their_fold(channel):
    own = FOLD == 1
    found = [learnt(y, channel=channel) for y in (Y, np.where(own, 1 - Y, Y))]
    least = keep(np.array([[1.0, 0.0]]))[0, 1]
    odds = [  # without the temperature, which all held-out rows choose
        trees.sharpness * logit((held.trees[own, 1] - least) / (1 - 2 * least))
        for trees, held in found
    ]
    np.testing.assert_allclose(odds[0], odds[1], atol=1e-6)
    assert np.abs(found[0][1].trees - found[1][1].trees)[~own].max() > 0.1


@pytest.mark.parametrize(
    "channel",
    [SymmetricNoise(2, 0.3), ConfusionNoise([[0.6, 0.0], [0.4, 1.0]])],
    ids=["all", "one"],
)
def test_trees_of_wrong_labels_learn_the_true_class(channel):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((600, 2))
    y = (x[:, 0] > 0).astype(int)
    given = (rng.random(600) > channel.matrix()[0, y]).astype(int)
    rows = Rows(x, np.eye(2)[given], np.ones(600))
    law = true_classes(rows, channel, keep, 0)
    np.testing.assert_allclose(law.sum(axis=1), 1)
    wrong = given != y
    assert law[wrong, y[wrong]].mean() > 0.7
    if channel.matrix()[0, 1] == 0:  # only the first class is mistaken for another
        assert law[given == 0, 0].min() > 0.999


def test_labels_that_are_hardly_noisy_are_learnt_as_they_are():
    rows = Rows(X, np.eye(2)[Y], np.ones(90))
    law = true_classes(rows, SymmetricNoise(2, 1e-9), keep, 0)
    np.testing.assert_allclose(law, rows.target, atol=1e-4)


def test_their_share_is_high_where_the_others_know_nothing_and_low_where_they_know_all():
    sure = 0.99 * np.eye(2)[Y] + 0.005
    assert learnt(Y)[0].share > 0.8
    assert learnt(Y, sure)[0].share < 0.2


def test_an_answer_that_held_out_rows_hardly_change_is_made_surer():
    """The mean of models that are right is less sure than each; few nats are there to say so."""
    temperature = learnt(Y, keep(np.eye(2)[Y]))[0].temperature
    assert 0.6 < temperature < 0.9


def test_a_given_temperature_is_kept():
    assert learnt(Y, temperature=1.5)[0].temperature == 1.5


def test_the_answer_is_the_tempered_mixture(model):
    share, temperature = model.trees_share_, model.temperature_
    assert 0 < share < 1
    others = copy.copy(model).set_params(trees=False, temperature=1).predict_proba(X)
    own = np.asarray(read_out(model._fitted.trees(X), model.process_, model.schedule_))
    expected = ((1 - share) * others + share * own) ** (1 / temperature)
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(model.predict_proba(X), expected, rtol=1e-9)
    np.testing.assert_allclose(model.predict_path(X)[:, -1], expected, rtol=1e-9)


def test_out_of_fold_answers_have_the_shares_of_all_three(model):
    held = model._fitted.held_out
    shares = np.array([model.additive_share_, model.trees_share_])
    expected = (1 - shares.sum()) * held.proba + shares[0] * held.additive + shares[1] * held.trees
    np.testing.assert_allclose(model.oob_untempered_, expected)


def test_they_can_be_switched_off(model):
    alone = DiDiClassifier(**SETTINGS, trees=False).fit(X, Y)
    model.set_params(trees=False)
    np.testing.assert_array_equal(model.predict_proba(X), alone.predict_proba(X))
    assert model.temperature_ == alone.temperature_
    assert model.trees_share_ == 0
    assert not model.resolved_params_["trees"]


def test_the_additive_model_can_be_left_out(model):
    alone = DiDiClassifier(**SETTINGS, additive=False).fit(X, Y)
    assert alone.additive_share_ == 0
    assert 0 < alone.trees_share_ < 1


def test_images_and_fits_without_a_trial_have_none():
    pytest.importorskip("torch")
    settings = SETTINGS | {"max_epochs": 1, "trees": True}
    images, y = RNG.random((40, 4, 4)), np.arange(40) % 2
    assert DiDiClassifier(**settings).fit(images, y).trees_share_ == 0
    settings["choose_epochs"] = False
    assert DiDiClassifier(**settings).fit(X, Y).trees_share_ == 0


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("left", lambda left: np.zeros_like(left)),  # would never end
        ("right", lambda right: np.arange(len(right), dtype=np.int32)),
        ("column", lambda column: column + 3),
        ("law", lambda law: law - 1),
        ("root", lambda root: root + 10**6),
        ("proba", lambda proba: 2 * proba),
        ("threshold", lambda threshold: threshold * np.nan),
        ("width", lambda width: 0 * width),
        ("low", lambda low: low[:2]),
        ("share", lambda share: 1.5),
        ("sharpness", lambda sharpness: 0.0),
    ],
)
def test_a_file_whose_parts_do_not_fit_is_refused(model, tmp_path, name, change):
    tensors, header = content_of(model._model)
    if name in header["trees"]:
        header["trees"][name] = change(header["trees"][name])
    else:
        tensors[f"trees.{name}"] = change(tensors[f"trees.{name}"])
    write(tmp_path / "model.skd", header, tensors)
    with pytest.raises(ModelFileError, match="trees do not fit"):
        DiDiClassifier.load(tmp_path / "model.skd")
