"""The additive model that answers beside the networks on tables, and its share."""

import copy
import functools

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_info, threadpool_limits

from skdidicm import DiDiClassifier
from skdidicm.core import ConfusionNoise, LogLinear, SymmetricNoise, UniformProcess, read_out
from skdidicm.fit.additive import learn_additive, learn_shape
from skdidicm.fit.state import HeldOut
from skdidicm.fit.training import Rows
from skdidicm.saving.model_file import write
from skdidicm.saving.persistence import ModelFileError, content_of

RNG = np.random.default_rng(0)
X = RNG.standard_normal((90, 3)) * [1, 100, 0.01]
LOGIT = np.where(X[:, 0] > 0, 2.0, -2.0) + X[:, 1] / 100
Y = (RNG.random(90) < 1 / (1 + np.exp(-LOGIT))).astype(int)
SETTINGS = {
    "max_epochs": 8, "choose_epochs": True, "trees": False, "random_state": 0, "device": "cpu",
}  # fmt: skip


def held_out(proba, y, fold=None):
    n, k = proba.shape
    fold = np.zeros(n, dtype=np.intp) if fold is None else fold
    return HeldOut(np.arange(n), fold, proba, np.eye(k)[y], np.ones(n), n)


def keep(k):
    return functools.partial(read_out, process=UniformProcess(k), schedule=LogLinear())


@pytest.fixture(scope="module")
def trained():
    pytest.importorskip("torch")
    return DiDiClassifier(**SETTINGS).fit(X, Y)


@pytest.fixture
def model(trained):
    return copy.deepcopy(trained)


def test_pieces_span_all_functions_linear_between_quantiles():
    shape = learn_shape(X[:, :1])
    ends = np.quantile(X[:, 0], np.linspace(0, 1, 17))
    values = RNG.standard_normal(17)
    grid = np.linspace(ends[0] - 1, ends[-1] + 1, 101)
    pieces = shape(grid[:, None])[:, 1:]
    np.testing.assert_allclose(
        values[0] + pieces @ np.diff(values), np.interp(grid, ends, values), atol=1e-12
    )


def test_the_smooth_part_is_bounded_increasing_and_nearly_the_identity_inside():
    smooth = learn_shape(X[:, :1])(np.linspace(-50, 50, 1001)[:, None])[:, 0]
    assert (np.diff(smooth) > 0).all()
    assert np.abs(smooth).max() < 3
    for scaled in (1e-200, 1e200):  # units do not matter
        shape = learn_shape(X[:, :1] * scaled)
        np.testing.assert_allclose(shape(X[:, :1] * scaled), learn_shape(X[:, :1])(X[:, :1]))


@pytest.mark.parametrize("column", [np.zeros(20), np.repeat([0.0, 1.0], 10)])
def test_columns_of_one_or_two_values_have_no_pieces(column):
    seen = learn_shape(column[:, None])(column[:, None])
    assert seen.shape == (20, 1)
    assert np.isfinite(seen).all()


def test_infinite_quotients_stay_finite():
    shape = learn_shape(np.array([[0.0], [1e-300], [2e-300]]))
    assert np.isfinite(shape(np.array([[1e308], [-1e308]]))).all()


def test_a_table_without_interactions_gives_it_more_than_one_with_them():
    x = RNG.uniform(-1, 1, (200, 2))
    fold = np.arange(200) % 5
    plain = np.full((200, 2), 0.5)
    shares = []
    for y in ((x[:, 0] > 0).astype(int), (x[:, 0] * x[:, 1] > 0).astype(int)):
        rows = Rows(x, np.eye(2)[y], np.ones(200))
        network = 0.8 * np.eye(2)[y] + 0.1  # right, and not quite sure
        additive, held = learn_additive(rows, held_out(network, y, fold), keep(2), None)
        shares.append(additive.share)
        assert held.additive.shape == plain.shape
    assert shares[0] > 0.8
    assert shares[1] < 0.1


def test_answers_out_of_fold_do_not_know_the_labels_of_their_fold():
    fold = np.arange(90) % 3
    uniform = np.full((90, 2), 0.5)
    answers = []
    for y in (Y, np.where(fold == 1, 1 - Y, Y)):
        rows = Rows(X, np.eye(2)[Y], np.ones(90))
        rows.target[:] = np.eye(2)[y]
        _, held = learn_additive(rows, held_out(uniform, Y, fold), keep(2), 1.0)
        answers.append(held.additive)
    own = fold == 1
    np.testing.assert_array_equal(answers[0][own], answers[1][own])
    assert np.abs(answers[0] - answers[1])[~own].max() > 0.01


def test_the_mean_answer_is_that_of_weighted_and_of_soft_labels():
    uniform, fold = np.full((90, 3), 1 / 3), np.arange(90) % 2
    weight = RNG.integers(1, 4, 90).astype(float)
    for target in (np.eye(3)[Y], RNG.dirichlet([1, 1, 1], 90)):
        rows = Rows(X, target, weight)
        additive, _ = learn_additive(rows, held_out(uniform, Y, fold), keep(3), 1.0)
        # So it is for every logistic regression with an intercept that has no penalty.
        expected = np.average(target, axis=0, weights=weight)
        found = np.average(additive(X), axis=0, weights=weight)
        np.testing.assert_allclose(found, expected, atol=2e-3)


def test_it_is_learnt_with_one_thread_of_blas(monkeypatch):
    """Several wait for each other longer than they compute."""

    def threads():
        return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}

    seen = []

    def fit(self, *args, **kwargs):
        seen.append(threads())
        return learn(self, *args, **kwargs)

    learn = LogisticRegression.fit
    monkeypatch.setattr(LogisticRegression, "fit", fit)
    rows, fold = Rows(X, np.eye(2)[Y], np.ones(90)), np.arange(90) % 2
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        learn_additive(rows, held_out(np.full((90, 2), 0.5), Y, fold), keep(2), 1.0)
        assert threads() == before
    assert seen == [{1}] * 7  # two folds and all rows, with three strengths and the best one


def test_labels_that_are_never_wrong_give_the_logistic_regression():
    x, y = RNG.standard_normal((120, 2)), RNG.integers(0, 3, 120)
    uniform, fold = np.full((120, 3), 1 / 3), np.arange(120) % 2
    rows = Rows(x, np.eye(3)[y], RNG.uniform(0.5, 2, 120))
    answers = [
        learn_additive(rows, held_out(uniform, y, fold), keep(3), 1.0, channel)[0](x)
        for channel in (None, ConfusionNoise(np.eye(3)))
    ]
    np.testing.assert_allclose(*answers, atol=5e-3)


def test_wrong_labels_are_learnt_through():
    """The true law is found again from labels of which 40 % are wrong, and not theirs."""
    rng, channel = np.random.default_rng(0), SymmetricNoise(2, 0.4)
    x = rng.standard_normal((3000, 1))
    truth = 1 / (1 + np.exp(-2 * x[:, 0]))
    y = (rng.random(3000) < truth).astype(int)
    y = np.where(rng.random(3000) < 0.4, 1 - y, y)
    uniform, fold = np.full((3000, 2), 0.5), np.arange(3000) % 2
    rows = Rows(x, np.eye(2)[y], np.ones(3000))
    held = held_out(uniform, y, fold)
    errors = [
        np.abs(learn_additive(rows, held, keep(2), 1.0, noise)[0](x)[:, 1] - truth).mean()
        for noise in (channel, None)
    ]
    assert errors[0] < 0.1
    assert errors[1] > 0.2


def test_a_single_class_among_the_rows_of_a_fold():
    y = np.array([0] * 20 + [1] * 20)
    fold = (y == 1).astype(np.intp)
    x = RNG.standard_normal((40, 2))
    uniform = np.full((40, 2), 0.5)
    additive, held = learn_additive(
        Rows(x, np.eye(2)[y], np.ones(40)), held_out(uniform, y, fold), keep(2), None
    )
    assert np.isfinite(held.additive).all()
    assert 0 < additive.share < 1


def test_the_answer_is_the_tempered_mixture(model):
    share, temperature = model.additive_share_, model.temperature_
    assert 0 < share < 1
    networks = copy.copy(model).set_params(additive=False, temperature=1).predict_proba(X)
    own = np.asarray(read_out(model._fitted.additive(X), model.process_, model.schedule_))
    mixture = (1 - share) * networks + share * own
    expected = mixture ** (1 / temperature)
    np.testing.assert_allclose(
        model.predict_proba(X), expected / expected.sum(axis=1, keepdims=True), rtol=1e-9
    )


def test_the_path_starts_in_noise_and_ends_in_the_answer(model):
    path = model.predict_path(X[:7])
    np.testing.assert_allclose(path[:, 0], 0.5, atol=1e-3)
    np.testing.assert_allclose(path[:, -1], model.predict_proba(X[:7]), rtol=1e-9)
    np.testing.assert_allclose(path.sum(axis=2), 1)


def test_it_can_be_switched_off(model):
    alone = DiDiClassifier(**SETTINGS, additive=False).fit(X, Y)
    with_it = model.predict_proba(X)
    model.set_params(additive=False)
    np.testing.assert_array_equal(model.predict_proba(X), alone.predict_proba(X))
    assert model.additive_share_ == alone.additive_share_ == 0
    assert model.temperature_ == alone.temperature_
    assert not model.resolved_params_["additive"]
    assert np.abs(model.predict_proba(X) - with_it).max() > 0.01


def test_out_of_fold_answers_have_the_share_of_both(model):
    held = model._fitted.held_out
    mixture = (1 - model.additive_share_) * held.proba + model.additive_share_ * held.additive
    expected = mixture ** (1 / model.temperature_)
    np.testing.assert_allclose(
        model.oob_decision_function_, expected / expected.sum(axis=1, keepdims=True), rtol=1e-9
    )
    np.testing.assert_allclose(model.oob_untempered_, mixture)
    model.set_params(additive=False)
    np.testing.assert_array_equal(model.oob_untempered_, held.proba)


def test_images_and_fits_without_a_trial_have_none():
    pytest.importorskip("torch")
    images = RNG.random((40, 4, 4))
    y = np.arange(40) % 2
    settings = SETTINGS | {"max_epochs": 1, "additive": True}
    assert DiDiClassifier(**settings).fit(images, y).additive_share_ == 0
    settings["choose_epochs"] = False
    assert DiDiClassifier(**settings).fit(X, Y).additive_share_ == 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("coef", np.zeros((2, 2))),
        ("intercept", np.zeros(3)),
        ("column", np.full(48, 3)),
        ("column", np.zeros(48)),
        ("width", np.zeros(48)),
        ("scale", np.array([1.0, np.nan, 1.0])),
        ("share", 1.5),
        ("temperature", 0.0),
    ],
)
def test_a_file_whose_parts_do_not_fit_is_refused(model, tmp_path, name, value):
    tensors, header = content_of(model._model)
    if name in header["additive"]:
        header["additive"][name] = value
    else:
        tensors[f"additive.{name}"] = value
    write(tmp_path / "model.skd", header, tensors)
    with pytest.raises(ModelFileError, match="additive model does not fit"):
        DiDiClassifier.load(tmp_path / "model.skd")


def test_another_value_than_a_bool_or_auto_is_refused():
    with pytest.raises(ValueError, match="additive is 'yes'; expected True, False or 'auto'"):
        DiDiClassifier(additive="yes").fit(X, Y)
