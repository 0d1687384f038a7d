"""What one fit answers besides probabilities: out of fold, in sets, by members, with thresholds."""

import math
import pickle

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from sklearn.base import clone
from sklearn.covariance import LedoitWolf
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from skdidicm import DiDiClassifier
from skdidicm.fit import trial
from skdidicm.predict.familiarity import features_of, learn_familiar
from skdidicm.predict.temperature import tempered

pytest.importorskip("torch")

DIGITS = load_digits()
ORDER = np.random.default_rng(0).permutation(len(DIGITS.target))
TABLE, LABELS = DIGITS.data[ORDER], DIGITS.target[ORDER]
X, Y = TABLE[:300], LABELS[:300]
NEW, TRUE = TABLE[300:], LABELS[300:]
SETTINGS = {"max_epochs": 8, "choose_epochs": True, "random_state": 0, "device": "cpu"}
ANSWERS = ("predict_set", "choose_threshold")


def fitted(n=300, **settings):
    return DiDiClassifier(**(SETTINGS | settings)).fit(TABLE[:n], LABELS[:n])


@pytest.fixture(scope="module")
def trained():
    return fitted()


@pytest.fixture
def model(trained):
    return pickle.loads(pickle.dumps(trained))


def everything(model):
    return {
        "oob": model.oob_decision_function_,
        "lac": model.predict_set(NEW[:200]),
        "aps": model.predict_set(NEW[:200], 0.8, score="aps", allow_empty=True),
        "members": model.predict_members(NEW[:20]),
        "threshold": model.choose_threshold(0.6),
        "familiarity": model.familiarity(NEW[:50]),
    }


class TestOutOfFold:
    def test_each_row_is_answered_by_the_member_that_has_not_seen_it(self, model):
        model.set_params(additive=False, trees=False)
        parts = trial.split(LABELS[:300], model._fitted.seeds.split)
        assert len(parts) == len(model.members_) == 5
        for j, ((_, held), member) in enumerate(zip(parts, model.members_, strict=True)):
            np.testing.assert_array_equal(np.flatnonzero(model.oob_member_ == j), held)
            expected = member.predict_proba(X[held])
            np.testing.assert_allclose(model.oob_decision_function_[held], expected)

    def test_the_untempered_ones_have_no_temperature(self, model):
        raw = model.oob_untempered_
        assert model.temperature_ != 1
        tempered_here = tempered(raw, model.temperature_)
        np.testing.assert_allclose(model.oob_decision_function_, tempered_here)
        model.set_params(temperature=1)
        np.testing.assert_array_equal(model.oob_decision_function_, raw)

    def test_a_temperature_that_was_given_is_not_in_them(self):
        given, found = fitted(temperature=3.0), fitted()
        assert given.n_iter_ == found.n_iter_
        np.testing.assert_array_equal(given.oob_untempered_, found.oob_untempered_)
        assert {row["temperature"] for row in given.trial_} == {3.0}

    @pytest.mark.parametrize(("n", "n_held"), [(60, 60), (600, 600), (700, 420), (1200, 480)])
    def test_with_few_rows_all_are_held_out(self, n, n_held):
        answers = fitted(n, max_epochs=1).oob_decision_function_
        assert answers.shape == (n, 10)
        assert np.isfinite(answers).all(axis=1).sum() == n_held

    def test_rows_without_weight_have_none_and_shift_no_others(self):
        weight = np.ones(300)
        weight[::7] = 0
        full = DiDiClassifier(**SETTINGS).fit(X, Y, sample_weight=weight)
        part = DiDiClassifier(**SETTINGS).fit(X[weight > 0], Y[weight > 0])
        answers = full.oob_decision_function_
        assert np.isnan(answers[weight == 0]).all()
        assert (full.oob_member_[weight == 0] == -1).all()
        np.testing.assert_array_equal(answers[weight > 0], part.oob_decision_function_)

    def test_early_stopping_answers_for_its_validation_rows(self):
        model = fitted(choose_epochs=False, early_stopping=True, validation_fraction=0.2)
        held = model.oob_member_ == 0
        assert held.sum() == 60
        assert np.isnan(model.oob_decision_function_[~held]).all()
        expected = model.predict_proba(X[held])
        np.testing.assert_allclose(model.oob_decision_function_[held], expected)

    def test_validation_rows_of_the_user_serve_sets_but_are_no_training_rows(self):
        model = DiDiClassifier(max_epochs=4, early_stopping=True, random_state=0, device="cpu")
        model.fit(X, Y, X_val=NEW[:200], y_val=TRUE[:200])
        assert np.isnan(model.oob_decision_function_).all()
        assert model.predict_set(NEW[200:], 0.9)[np.arange(len(NEW) - 200), TRUE[200:]].mean() > 0.8


class TestSets:
    @pytest.mark.parametrize("score", ["lac", "aps"])
    def test_they_grow_with_coverage_and_depend_on_no_other_row(self, model, score):
        small, large = (model.predict_set(NEW, c, score=score) for c in (0.6, 0.95))
        assert (small <= large).all()
        assert large.sum() > small.sum()
        assert small.any(axis=1).all()
        np.testing.assert_array_equal(model.predict_set(NEW[5:9], 0.6, score=score), small[5:9])

    def test_they_may_be_empty_if_asked(self, model):
        sets = model.predict_set(NEW, 0.3, allow_empty=True)
        assert not sets.any(axis=1).all()
        with_one = model.predict_set(NEW, 0.3)
        np.testing.assert_array_equal(with_one.sum(axis=1), np.maximum(sets.sum(axis=1), 1))

    @pytest.mark.parametrize("score", ["lac", "aps"])
    def test_they_hold_the_true_class_about_as_often_as_wanted(self, model, score):
        """1,497 new rows; the sets of 300 own rows vary by about 2 points."""
        for coverage in (0.6, 0.8, 0.95):
            sets = model.predict_set(NEW, coverage, score=score, allow_empty=True)
            hit = sets[np.arange(len(NEW)), TRUE].mean()
            assert coverage - 0.06 < hit < coverage + 0.09

    def test_temperature_and_ensemble_have_no_say(self, model):
        before = model.predict_set(NEW[:200])
        model.set_params(temperature=4, ensemble=False)
        np.testing.assert_array_equal(model.predict_set(NEW[:200]), before)

    def test_hard_labels_given_as_probabilities_are_the_same(self, model):
        soft = DiDiClassifier(**SETTINGS).fit_soft(X, np.eye(10)[Y])
        np.testing.assert_array_equal(soft.predict_set(NEW[:99]), model.predict_set(NEW[:99]))

    def test_soft_labels_count_in_parts(self):
        doubt = 0.9 * np.eye(10)[Y] + 0.1 * np.eye(10)[0]
        soft = DiDiClassifier(**SETTINGS).fit_soft(X, doubt)
        assert soft.predict_set(NEW[:99], 0.95).sum() > fitted().predict_set(NEW[:99], 0.95).sum()

    def test_a_changed_sampler_is_refused_until_it_is_set_back(self, model):
        before = model.predict_set(NEW[:50])
        model.set_params(steps=2)
        for method in (model.predict_set, lambda X: model.choose_threshold()):
            with pytest.raises(ValueError, match="steps from 8 to 2 has changed"):
                method(NEW[:50])
        np.testing.assert_array_equal(model.set_params(steps=8).predict_set(NEW[:50]), before)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"coverage": 90}, "coverage is 90; expected a share between 0 and 1"),
            ({"score": "raps"}, "score is 'raps'; expected one of"),
        ],
    )
    def test_arguments_out_of_range_are_refused(self, model, arguments, message):
        with pytest.raises(ValueError, match=message):
            model.predict_set(NEW[:2], **arguments)


class TestMembers:
    def test_they_are_the_network_of_all_rows_and_the_estimators_in_members(self, model):
        answers = model.predict_members(NEW[:50])
        assert answers.shape == (50, 6, 10)
        model.set_params(temperature=1, additive=False, trees=False)
        np.testing.assert_allclose(answers.mean(axis=1), model.predict_proba(NEW[:50]))
        for j, member in enumerate(model.members_, start=1):
            np.testing.assert_allclose(answers[:, j], member.predict_proba(NEW[:50]), rtol=1e-5)
        alone = model.set_params(ensemble=False)
        np.testing.assert_allclose(answers[:, 0], alone.predict_proba(NEW[:50]), rtol=1e-5)
        np.testing.assert_array_equal(alone.predict_members(NEW[:50]), answers)

    def test_without_a_trial_there_is_one(self):
        model = DiDiClassifier(max_epochs=1, random_state=0, device="cpu").fit(X, Y)
        assert model.predict_members(NEW[:5]).shape == (5, 1, 10)


class TestThreshold:
    def test_it_is_that_of_the_out_of_fold_answers(self, model):
        found = model.choose_threshold(accuracy=0.6)
        p = model.oob_decision_function_
        answered = p.max(axis=1) >= found.confidence
        assert answered.sum() == found.n_rows > 0
        right = model.classes_[p.argmax(axis=1)] == Y
        assert right[answered].mean() == pytest.approx(found.accuracy)
        assert found == model.choose_threshold(error=0.4)
        assert math.isinf(model.choose_threshold(accuracy=0.999).confidence)

    def test_a_lower_accuracy_answers_more_rows(self, model):
        rows = [model.choose_threshold(a).n_rows for a in (0.95, 0.6, 0.4)]
        assert rows == sorted(rows)


class TestCalibrator:
    def test_an_estimator_is_fitted_on_out_of_fold_rows(self):
        model = fitted(calibrator=LogisticRegression(max_iter=1000), additive=False, trees=False)
        reference = LogisticRegression(max_iter=1000).fit(model.oob_untempered_, Y)
        expected = reference.predict_proba(model.predict_members(NEW[:50]).mean(axis=1))
        np.testing.assert_allclose(model.predict_proba(NEW[:50]), expected)
        np.testing.assert_allclose(model.predict_path(NEW[:50])[:, -1], expected)
        given = reference.predict_proba(model.oob_untempered_)
        np.testing.assert_allclose(model.oob_decision_function_, given)
        assert not hasattr(model.calibrator, "coef_")
        assert model.resolved_params_["temperature"] == 1
        copy = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(copy.predict_proba(NEW[:50]), model.predict_proba(NEW[:50]))

    def test_a_function_is_applied_as_it_is(self, model):
        squared = fitted(calibrator=lambda p: p**2)
        model.set_params(temperature=0.5)
        p = squared.predict_proba(NEW[:50])
        np.testing.assert_allclose(p, model.predict_proba(NEW[:50]), atol=1e-9)

    def test_it_is_not_saved_without_pickle(self, tmp_path):
        model = fitted(max_epochs=1, calibrator=LogisticRegression(max_iter=1000))
        with pytest.raises(ValueError, match="cannot be saved without pickle"):
            model.save(tmp_path / "model.skd")

    def test_it_needs_rows_that_were_held_out(self):
        model = DiDiClassifier(max_epochs=1, calibrator=LogisticRegression(), device="cpu")
        with pytest.raises(ValueError, match="calibrator cannot be fitted: no rows are held out"):
            model.fit(X, Y)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"calibrator": 3}, "calibrator is 3; expected a function"),
            ({"calibrator": lambda p: p, "temperature": 2}, "a calibrator takes its place"),
        ],
    )
    def test_what_it_cannot_be_is_refused(self, settings, message):
        with pytest.raises(ValueError, match=message):
            DiDiClassifier(**settings).fit(X, Y)

    def test_what_it_returns_must_be_probabilities(self):
        model = fitted(max_epochs=1, calibrator=lambda p: p[:, :2])
        with pytest.raises(ValueError, match="expected class probabilities of the same shape"):
            model.predict_proba(NEW[:5])


class TestResolved:
    def test_every_parameter_that_can_be_auto_is_there(self, model):
        autos = {name for name, value in DiDiClassifier().get_params().items() if value == "auto"}
        assert model.resolved_params_.keys() == autos - {"effort"}  # it decides others
        assert "auto" not in model.resolved_params_.values()

    def test_what_was_given_stays(self):
        given = {"max_epochs": 2, "batch_size": 50, "n_draws": 3, "learning_rate": 0.01}
        model = fitted(**given, network="mlp", solver="euler", augment=None)
        assert given.items() <= model.resolved_params_.items()
        assert model.resolved_params_["solver"] == "euler"

    def test_enumerated_labels_are_counted(self):
        model = DiDiClassifier(max_epochs=1, device="cpu").fit(X[Y < 3], Y[Y < 3])
        assert model.resolved_params_["n_draws"] == 8 * 3


def test_copies_give_the_same_answers(model, tmp_path):
    expected = everything(model)
    model.save(tmp_path / "model.skd")
    for copy in (DiDiClassifier.load(tmp_path / "model.skd"), pickle.loads(pickle.dumps(model))):
        for name, answer in everything(copy).items():
            np.testing.assert_array_equal(answer, expected[name], err_msg=name)
        assert copy.resolved_params_ == model.resolved_params_
    assert not hasattr(clone(model), "oob_decision_function_")


def test_soft_labels_are_saved_too(tmp_path):
    model = DiDiClassifier(**SETTINGS).fit_soft(X, 0.9 * np.eye(10)[Y] + 0.1 * np.eye(10)[0])
    model.save(tmp_path / "model.skd")
    again = DiDiClassifier.load(tmp_path / "model.skd")
    np.testing.assert_array_equal(again.predict_set(NEW[:99]), model.predict_set(NEW[:99]))


@pytest.mark.parametrize("how", ["no trial", "partial_fit", "first partial_fit", "warm_start"])
def test_where_nothing_is_held_out_the_error_says_why(model, how):
    why = "training went on with partial_fit or warm_start"
    if how == "partial_fit":
        model.partial_fit(X, Y)
    elif how == "warm_start":
        model.set_params(warm_start=True, max_epochs=1).fit(X, Y)
    else:
        model, why = DiDiClassifier(max_epochs=1, device="cpu"), "neither a trial"
        model = model.fit(X, Y) if how == "no trial" else model.partial_fit(X, Y, range(10))
    for name in ANSWERS:
        with pytest.raises(ValueError, match=f"{name} cannot be used: no rows .* {why}"):
            getattr(model, name)(*[NEW[:2]] * (name == "predict_set"))
    for name in ("oob_decision_function_", "oob_untempered_", "oob_member_"):
        with pytest.raises(AttributeError, match=why):
            getattr(model, name)


def test_images_have_all_of_it_too():
    images = DIGITS.images[ORDER]
    model = DiDiClassifier(**SETTINGS | {"max_epochs": 2}).fit(images[:100], LABELS[:100])
    assert np.isfinite(model.oob_decision_function_).all()
    assert model.predict_set(images[100:120], score="aps").shape == (20, 10)
    assert model.predict_members(images[100:120]).shape == (20, 6, 10)


class TestFamiliarity:
    def test_new_rows_of_the_same_kind_have_uniform_p_values(self, model):
        p = model.familiarity(NEW)
        for level in (0.1, 0.3, 0.6):
            assert (p <= level).mean() == pytest.approx(level, abs=0.08)

    def test_rows_of_another_kind_are_unfamiliar(self, model):
        others = np.random.default_rng(0).permuted(NEW[:200], axis=1)
        assert np.median(model.familiarity(others)) < 0.02
        far = model.familiarity(np.full((1, 64), 1e30))
        assert far == pytest.approx(1 / 301)

    def test_distances_are_those_of_mahalanobis_from_the_nearest_class(self, model):
        """The distances of one fold, by SciPy."""
        network = model.members_[0].network_
        held = np.flatnonzero(model.oob_member_ == 0)
        seen = np.flatnonzero(model.oob_member_ != 0)
        rng = np.random.default_rng(0)
        familiar = learn_familiar(network, X[seen], Y[seen], X[held], rng)
        F, H = (features_of(network, x).astype(float) for x in (X[seen], X[held[:9]]))
        means = np.stack([F[Y[seen] == c].mean(axis=0) for c in range(10)])
        scatter = F - means[Y[seen]]
        scale = F.std(axis=0)
        precision = LedoitWolf(assume_centered=True).fit(scatter / scale).precision_
        for h, found in zip(H, familiar.distances(H.astype(np.float32)), strict=True):
            expected = min(mahalanobis(h / scale, mean / scale, precision) for mean in means)
            assert found == pytest.approx(expected, rel=1e-3)

    def test_labels_and_probabilities_have_no_part_in_it(self, model):
        before = model.familiarity(NEW[:50])
        model.set_params(temperature=3, steps=2, ensemble=False)
        np.testing.assert_array_equal(model.familiarity(NEW[:50]), before)
        np.testing.assert_array_equal(model.familiarity(NEW[3:7]), before[3:7])

    def test_after_partial_fit_it_is_gone(self, model):
        with pytest.raises(ValueError, match="familiarity cannot be used: .*partial_fit"):
            model.partial_fit(X, Y).familiarity(NEW)
