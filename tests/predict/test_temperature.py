"""The temperature of probabilities: its choice, and what it changes."""

from copy import copy

import array_api_strict
import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.datasets import load_iris
from sklearn.metrics import log_loss

from skdidicm import DiDiClassifier
from skdidicm.core import SymmetricNoise
from skdidicm.predict.temperature import best_slope, best_temperature, tempered, tempered_array

X, y = load_iris(return_X_y=True)


def sure_of_too_much(rng, n, temperature=2.0):
    """Probabilities, and labels drawn from what they are at a temperature."""
    proba = softmax(3 * rng.standard_normal((n, 4)), axis=1)
    law = proba ** (1 / temperature)
    law /= law.sum(axis=1, keepdims=True)
    return proba, np.eye(4)[(rng.random((n, 1)) > law.cumsum(axis=1)).sum(axis=1)]


@pytest.mark.parametrize("temperature", [0.6, 1.0, 2.0])
def test_the_temperature_that_labels_were_drawn_at_is_found(rng, temperature):
    proba, q_0 = sure_of_too_much(rng, 20_000, temperature)
    found, _ = best_temperature(proba, q_0)
    assert found == pytest.approx(temperature, rel=0.05)


def test_no_other_temperature_has_a_lower_nll(rng):
    proba, q_0 = sure_of_too_much(rng, 50)
    found, nll = best_temperature(proba, q_0)
    assert nll == pytest.approx(log_loss(q_0.argmax(axis=1), tempered(proba, found)))
    for other in np.linspace(0.4, 10, 200):
        p = proba ** (1 / other)
        assert nll <= log_loss(q_0.argmax(axis=1), p / p.sum(axis=1, keepdims=True)) + 1e-6


def test_a_weight_counts_as_so_many_rows_and_a_soft_label_as_its_shares(rng):
    proba, q_0 = sure_of_too_much(rng, 30)
    times = rng.integers(1, 4, 30)
    repeated = best_temperature(np.repeat(proba, times, axis=0), np.repeat(q_0, times, axis=0))
    assert best_temperature(proba, q_0, times) == pytest.approx(repeated, rel=1e-4)
    soft = best_temperature(proba, (q_0 + np.roll(q_0, 1, axis=1)) / 2)
    both = np.concatenate([q_0, np.roll(q_0, 1, axis=1)])
    assert soft == pytest.approx(best_temperature(np.tile(proba, (2, 1)), both), rel=1e-4)


def test_a_prior_holds_few_rows_near_one_and_leaves_many_alone(rng):
    proba, q_0 = sure_of_too_much(rng, 5000)
    few = [best_temperature(proba[:5], q_0[:5], log_scale=s)[0] for s in (0.01, 0.5, np.inf)]
    assert few[0] == pytest.approx(1, abs=0.01)
    assert 0 <= np.log(few[1]) / np.log(few[2]) < 1
    many = [best_temperature(proba, q_0, log_scale=s)[0] for s in (0.5, np.inf)]
    assert many[0] == pytest.approx(many[1], rel=0.01)


def test_easy_rows_do_not_sharpen_without_end():
    proba = np.tile([0.9, 0.1], (40, 1))
    assert best_temperature(proba, np.eye(2)[np.zeros(40, int)])[0] > 0.3


def test_tempered_probabilities_are_a_power(rng):
    proba = rng.dirichlet(np.ones(3), size=(2, 5))
    p = proba ** (1 / 1.7)
    np.testing.assert_allclose(tempered(proba, 1.7), p / p.sum(axis=-1, keepdims=True))
    np.testing.assert_allclose(tempered(proba, 1), proba)


def test_few_rows_have_about_the_expected_temperature_and_many_their_own(rng):
    proba, q_0 = sure_of_too_much(rng, 4000)
    own, _ = best_temperature(proba, q_0)
    prior = {"log_scale": 0.2, "expected": 0.5}
    few, many = (best_temperature(proba[:n], q_0[:n], **prior)[0] for n in (1, 4000))
    assert abs(np.log(few / 0.5)) < 0.3  # 1.4 away from their own
    assert many == pytest.approx(own, rel=0.05)
    # The prior about 0.5 is that about 1 of probabilities that are sharpened by 0.5.
    sharpened = tempered(proba[:100], 0.5)
    found, _ = best_temperature(sharpened, q_0[:100], log_scale=0.2)
    assert best_temperature(proba[:100], q_0[:100], **prior)[0] == pytest.approx(
        0.5 * found, rel=1e-4
    )


def by_row(proba, temperature, slope):
    """Probabilities with a temperature for every row, which grows with its entropy."""
    relative = np.maximum(entropy(proba, axis=-1) / np.log(proba.shape[-1]), 0.1)
    power = proba ** (1 / (temperature * relative**slope))[..., None]
    return power / power.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("slope", [-0.4, 0.0, 0.6])
def test_a_slope_makes_the_temperature_a_power_of_the_entropy(rng, slope):
    proba = rng.dirichlet(np.full(20, 0.3), size=(2, 50))
    proba[0, 0], proba[0, 1] = 1 / 20, np.r_[1 - 1e-6, np.full(19, 1e-6 / 19)]
    expected = by_row(proba, 1.7, slope)
    np.testing.assert_allclose(tempered(proba, 1.7, slope), expected, rtol=1e-9)
    found = tempered_array(array_api_strict.asarray(proba[0]), 1.7, slope)
    np.testing.assert_allclose(np.asarray(found), expected[0], rtol=1e-9)
    np.testing.assert_array_equal(expected.argmax(axis=-1), proba.argmax(axis=-1))
    np.testing.assert_allclose(expected[0, 0], 1 / 20)


@pytest.mark.parametrize("slope", [0.0, 0.5])
def test_the_temperature_and_the_slope_that_labels_were_drawn_at_are_found(rng, slope):
    proba = softmax(2 * rng.standard_normal((20_000, 20)), axis=1)
    law = by_row(proba, 1.5, slope)
    q_0 = np.eye(20)[(rng.random((len(law), 1)) > law.cumsum(axis=1)).sum(axis=1)]
    one = np.ones(len(q_0))
    assert best_slope(proba, q_0, one, log_scale=10.0) == pytest.approx((1.5, slope), abs=0.05)
    wrong = rng.random(len(q_0)) < 0.3
    q_0[wrong] = np.eye(20)[rng.integers(0, 20, wrong.sum())]
    noise = SymmetricNoise(20, 0.3 * 19 / 20)
    found = best_slope(proba, q_0, one, log_scale=10.0, channel=noise)
    assert found == pytest.approx((1.5, slope), abs=0.15)


def test_a_prior_holds_few_rows_near_one_without_a_slope(rng):
    proba = softmax(2 * rng.standard_normal((20, 20)), axis=1)
    q_0, one = np.eye(20)[rng.integers(0, 20, 20)], np.ones(20)
    temperature, slope = best_slope(proba, q_0, one, log_scale=1e-3)
    assert (temperature, slope) == pytest.approx((1, 0), abs=1e-3)
    free = best_slope(proba, q_0, one, log_scale=1.0)
    assert abs(np.log(free[0])) > 0.1


LABELS = np.repeat(np.arange(52), 6)
IMAGES = np.eye(52)[LABELS][:, :36].reshape(-1, 6, 6)  # those of the last classes are blank
SETTINGS = {"max_epochs": 2, "choose_epochs": True, "device": "cpu", "random_state": 0}


@pytest.fixture(scope="module")
def model():
    pytest.importorskip("torch")
    return DiDiClassifier(steps=2, **SETTINGS).fit(IMAGES, LABELS)


class TestManyClasses:
    """The temperature has a slope, and networks answer by their geometric mean."""

    def test_held_out_rows_choose_both(self, model):
        held = model._fitted.held_out
        expected = best_slope(held.proba, held.target, held.weight, log_scale=0.2)
        assert (model.temperature_, model.temperature_slope_) == pytest.approx(expected, abs=1e-4)
        assert model.temperature_slope_ != 0
        assert "relative entropy" in model._facts()["Temperature"]
        answer = by_row(held.proba, model.temperature_, model.temperature_slope_)
        np.testing.assert_allclose(model.oob_decision_function_[held.row], answer, rtol=1e-9)

    def test_the_answer_is_the_tempered_mean_of_logits(self, model):
        logits = np.log(model.predict_members(IMAGES)).mean(axis=1)
        expected = by_row(softmax(logits, axis=1), model.temperature_, model.temperature_slope_)
        found = model.predict_proba(IMAGES)
        np.testing.assert_allclose(found, expected, rtol=1e-6)
        np.testing.assert_allclose(model.predict_path(IMAGES)[:, -1], found, rtol=1e-6)

    def test_a_temperature_that_is_given_has_no_slope(self, model):
        warm = copy(model).set_params(temperature=2.0)
        whole = softmax(np.log(model.predict_members(IMAGES)).mean(axis=1), axis=1)
        np.testing.assert_allclose(warm.predict_proba(IMAGES), tempered(whole, 2.0), rtol=1e-6)
        again = DiDiClassifier(temperature=2.0, **SETTINGS).fit(IMAGES, LABELS)
        assert (again.temperature_, again.temperature_slope_) == (2.0, 0.0)

    def test_a_file_keeps_both(self, model, tmp_path):
        model.save(tmp_path / "a.skd")
        loaded = DiDiClassifier.load(tmp_path / "a.skd")
        assert loaded.temperature_slope_ == model.temperature_slope_
        np.testing.assert_array_equal(loaded.predict_proba(IMAGES), model.predict_proba(IMAGES))

    def test_early_stopping_chooses_both(self):
        pytest.importorskip("torch")
        settings = SETTINGS | {"choose_epochs": False, "early_stopping": True}
        stopped = DiDiClassifier(validation_fraction=0.2, **settings)
        stopped.fit(IMAGES, LABELS)
        assert stopped.temperature_slope_ != 0
        held = stopped._fitted.held_out
        assert (
            stopped.temperature_slope_
            == best_slope(held.proba, held.target, held.weight, log_scale=0.2)[1]
        )


def test_few_classes_have_no_slope(quick):
    model = quick(max_epochs=8, choose_epochs=True).fit(X, y)
    assert (model.temperature_slope_, model._fitted.geometric) == (0, False)


def test_a_classifier_answers_at_its_temperature_which_may_change_after_fit(quick):
    model = quick().fit(X, y)
    assert model.temperature_ == 1
    plain, labels, chains = model.predict_proba(X), model.predict(X), model.sample_labels(X)
    model.set_params(temperature=2.0)
    np.testing.assert_allclose(model.predict_proba(X), tempered(plain, 2.0))
    np.testing.assert_allclose(model.predict_path(X)[:, -1], tempered(plain, 2.0))
    np.testing.assert_array_equal(model.predict(X), labels)
    np.testing.assert_array_equal(model.sample_labels(X), chains)


def test_the_trial_finds_the_temperature(quick):
    model = quick(max_epochs=20, choose_epochs=True, additive=False, trees=False).fit(X, y)
    chosen = next(row for row in model.trial_ if row["epochs"] == model.max_epochs_)
    assert model.temperature_ == chosen["temperature"] != 1
    without = quick(max_epochs=20, choose_epochs=True, temperature=1).fit(X, y)
    assert without.temperature_ == 1
    assert {row["temperature"] for row in without.trial_} == {1}
    lengths = {row["epochs"]: row["val_nll"] for row in without.trial_}
    shared = [row for row in model.trial_ if row["epochs"] in lengths]
    assert all(row["val_nll"] <= lengths[row["epochs"]] for row in shared)


def test_rows_held_out_to_stop_early_find_the_temperature():
    seen, unseen = slice(0, None, 2), slice(1, None, 2)
    pytest.importorskip("torch")
    model = DiDiClassifier(max_epochs=15, early_stopping=True, random_state=0)
    model.fit(X[seen], y[seen], X_val=X[unseen], y_val=y[unseen])
    nll = log_loss(y[unseen], model.predict_proba(X[unseen]))
    assert model.temperature_ != 1
    plain = model.set_params(temperature=1).predict_proba(X[unseen])
    assert nll < log_loss(y[unseen], plain) == pytest.approx(best_val(model), rel=1e-5)


def best_val(model):
    return min(row["val_nll"] for row in model.history_)


def test_validation_rows_that_are_only_looked_at_have_no_part_in_it():
    pytest.importorskip("torch")
    model = DiDiClassifier(max_epochs=3, random_state=0)
    assert model.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2]).temperature_ == 1


def test_training_on_keeps_the_temperature(quick):
    model = quick(max_epochs=8, choose_epochs=True, additive=False, trees=False).fit(X, y)
    found = model.temperature_
    assert model.partial_fit(X, y).temperature_ == found != 1


def test_a_file_keeps_the_temperature(quick, tmp_path):
    model = quick(max_epochs=8, choose_epochs=True).fit(X, y)
    model.save(tmp_path / "a.skd")
    loaded = DiDiClassifier.load(tmp_path / "a.skd")
    assert loaded.temperature_ == model.temperature_ != 1
    np.testing.assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("temperature", [0.6, 2.0])
def test_wrong_labels_do_not_change_the_temperature_that_is_found_through_their_noise(
    rng, temperature
):
    proba, q_0 = sure_of_too_much(rng, 40_000, temperature)
    wrong = rng.random(len(q_0)) < 0.3
    q_0[wrong] = np.eye(4)[(q_0[wrong].argmax(axis=1) + rng.integers(1, 4, wrong.sum())) % 4]
    found, _ = best_temperature(proba, q_0, channel=SymmetricNoise(4, 0.3))
    assert found == pytest.approx(temperature, rel=0.08)
    assert best_temperature(proba, q_0)[0] > 1.2 * found
