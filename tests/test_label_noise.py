"""Wrong labels: what is learnt is the true class, and all choices account for the noise."""

import numpy as np
import pytest
from scipy.special import softmax

from skdidicm import DiDiClassifier
from skdidicm.core import ConfusionNoise, SymmetricNoise
from skdidicm.fit.votes import Votes, most_likely_annotators
from skdidicm.metrics import negative_log_likelihood

pytest.importorskip("torch")

CONFUSION = np.array([[0.6, 0.0, 0.2], [0.3, 0.9, 0.1], [0.1, 0.1, 0.7]])
NOISES = {"symmetric": 0.3, "confusions": CONFUSION}
FORMS = {
    "score": {"parameterization": "score"},
    "posterior": {"parameterization": "posterior"},
    "Bayes-corrected": {"objective": "bayes_cross_entropy"},
    "ordinary": {"conditioning": "none"},
}


@pytest.fixture(scope="module")
def wrong_labels():
    """Rows of a few kinds whose law of the true class is known, with labels of 40 % noise."""
    rng = np.random.default_rng(0)
    truth = softmax(2 * rng.standard_normal((4, 3)), axis=1)
    x = np.repeat(np.eye(4), 500, axis=0)
    true = (rng.random((len(x), 1)) > np.repeat(truth, 500, axis=0).cumsum(axis=1)).sum(axis=1)

    def labels(noise):
        matrix = SymmetricNoise(3, noise).matrix() if isinstance(noise, float) else noise
        drawn = rng.random((len(x), 1)) > matrix.T[true].cumsum(axis=1)
        return drawn.sum(axis=1).clip(max=2)

    return truth, x, {name: labels(noise) for name, noise in NOISES.items()}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("noise", NOISES)
def test_the_law_of_the_true_class_is_learnt_and_not_that_of_the_label(wrong_labels, noise, form):
    truth, x, labels = wrong_labels
    model = DiDiClassifier(
        label_noise=NOISES[noise], max_epochs=30, batch_size=500, random_state=0, **FORMS[form]
    ).fit(x, labels[noise])
    found = model.predict_proba(np.eye(4))
    matrix = model.label_noise_
    assert np.abs(found - truth).max() < 0.13  # the shares of 500 labels are off by 0.02, over 0.55
    assert np.abs(found - truth).mean() < 0.5 * np.abs(truth @ matrix.T - truth).mean()
    np.testing.assert_allclose(model.predict_observed_proba(np.eye(4)), found @ matrix.T)


@pytest.mark.parametrize("form", ["score", "posterior"])
def test_no_noise_is_what_it_was_and_an_identity_means_the_same(quick, form):
    x, y = np.random.default_rng(0).standard_normal((60, 3)), np.arange(60) % 3
    models = [
        quick(label_noise=noise, **FORMS[form]).fit(x, y) for noise in (None, 0, 0.0, np.eye(3))
    ]
    plain, *others, identity = [model.predict_proba(x) for model in models]
    for p in others:
        np.testing.assert_array_equal(p, plain)
    np.testing.assert_allclose(identity, plain, atol=1e-3)
    np.testing.assert_array_equal(models[0].label_noise_, np.eye(3))


def test_callbacks_of_scikit_learn_see_every_fit(quick, monkeypatch):
    callback = pytest.importorskip("sklearn.callback")
    fits = lambda train: [train(noise) for noise in (None, ConfusionNoise(CONFUSION))][1]  # noqa: E731
    monkeypatch.setattr("skdidicm.classifier.fit_unknown_noise", fits)
    monitor = callback.ScoringMonitor(scoring="accuracy")
    model = quick(label_noise="auto").set_callbacks(monitor)
    model.fit(*sure_rows(30))
    np.testing.assert_allclose(model.label_noise_, CONFUSION)


def test_validation_rows_are_scored_through_the_noise(quick):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((80, 3)), np.arange(80) % 4
    model = quick(label_noise=0.3).fit(x[:60], y[:60], X_val=x[60:], y_val=y[60:])
    model.set_params(temperature=1.0)
    expected = negative_log_likelihood(y[60:], model.predict_observed_proba(x[60:])).mean()
    assert model.history_[-1]["val_nll"] == pytest.approx(expected)


def test_a_trial_is_scored_through_the_noise():
    """Its NLL is that of held-out labels; none is lower than what the noise leaves uncertain."""
    rng = np.random.default_rng(0)
    x = np.repeat(np.eye(3), 60, axis=0)
    y = np.repeat(np.arange(3), 60)
    wrong = rng.random(len(y)) < 0.4
    y[wrong] = (y[wrong] + rng.integers(1, 3, wrong.sum())) % 3
    settings = {"choose_epochs": True, "max_epochs": 20, "additive": False, "trees": False}
    model = DiDiClassifier(label_noise=0.4, random_state=0, **settings).fit(x, y)
    held = model.oob_decision_function_
    single = negative_log_likelihood(y, held @ model.label_noise_.T).mean()
    assert min(row["val_nll"] for row in model.trial_) == pytest.approx(single)
    assert single > 0.9 * -(0.6 * np.log(0.6) + 0.4 * np.log(0.2))
    assert model.predict_proba(np.eye(3)).max(axis=1).min() > 0.75


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_noise": "much"}, "label_noise is 'much'; expected None, 'auto'"),
        ({"label_noise": True}, "label_noise is True; expected None"),
        ({"label_noise": 0.9}, "rate of label noise is 0.9"),
        ({"label_noise": np.eye(4)}, "label_noise is for 4 classes, but y has 3"),
        ({"label_noise": np.ones((3, 3))}, "divide each column by its sum"),
    ],
)
def test_noise_that_means_nothing_is_refused(quick, settings, message):
    with pytest.raises(ValueError, match=message):
        quick(**settings).fit(np.eye(3), [0, 1, 2])


def test_a_calibrator_is_not_fitted_to_wrong_labels(quick):
    from sklearn.linear_model import LogisticRegression

    model = quick(label_noise=0.2, calibrator=LogisticRegression())
    with pytest.raises(ValueError, match="would be fitted to wrong labels"):
        model.fit(np.eye(3), [0, 1, 2])
    with pytest.raises(ValueError, match="would be fitted to wrong labels"):
        quick(calibrator=LogisticRegression()).fit_votes(np.eye(3), [[0, 0], [1, 0], [2, 2]])


def sure_rows(n=240, k=3):
    """Rows whose true class is certain, in an order of classes that repeats."""
    return np.tile(np.eye(k), (n // k, 1)) + 0.01 * np.arange(n)[:, None], np.arange(n) % k


@pytest.mark.slow
def test_unknown_noise_is_found():
    """Of every class, 30 % have the label of the next one."""
    rng = np.random.default_rng(0)
    y = np.arange(400) % 4
    x = 2 * rng.standard_normal((4, 4))[y] + 0.5 * rng.standard_normal((400, 4))
    given = np.where(rng.random(400) < 0.3, (y + 1) % 4, y)
    settings = {"max_epochs": 20, "choose_epochs": True, "random_state": 0}
    plain, auto = (
        DiDiClassifier(label_noise=noise, **settings).fit(x, given) for noise in (None, "auto")
    )
    share = np.array([np.bincount(given[y == j], minlength=4) for j in range(4)]).T / 100
    assert np.abs(auto.label_noise_ - share).sum(axis=0).mean() / 2 < 0.15  # without noise, 0.35
    nll = [negative_log_likelihood(y, model.predict_proba(x)).mean() for model in (plain, auto)]
    assert nll[1] < 0.75 * nll[0]


def test_estimated_noise_is_saved_and_kept_by_further_training(quick, monkeypatch, tmp_path):
    x, y = sure_rows(60)
    monkeypatch.setattr(
        "skdidicm.classifier.fit_unknown_noise", lambda train: train(ConfusionNoise(CONFUSION))
    )
    model = quick(label_noise="auto").fit(x, y)
    given = quick(label_noise=CONFUSION).fit(x, y)
    np.testing.assert_array_equal(model.predict_proba(x), given.predict_proba(x))
    model.save(tmp_path / "model.skd")
    again = DiDiClassifier.load(tmp_path / "model.skd")
    assert again.label_noise == "auto"
    np.testing.assert_array_equal(again.label_noise_, model.label_noise_)
    np.testing.assert_array_equal(again.predict_proba(x), model.predict_proba(x))
    model.partial_fit(x, y)
    np.testing.assert_allclose(model.label_noise_, CONFUSION)


def test_clean_labels_are_fitted_as_without_noise(quick):
    x, y = sure_rows()
    settings = {"choose_epochs": True, "max_epochs": 12, "learning_rate": 0.02}
    plain, auto = (quick(label_noise=noise, **settings).fit(x, y) for noise in (None, "auto"))
    np.testing.assert_array_equal(auto.label_noise_, np.eye(3))
    np.testing.assert_array_equal(auto.predict_proba(x), plain.predict_proba(x))


def test_noise_that_changes_after_the_first_fit_is_refused(quick):
    x, y = np.eye(3), [0, 1, 2]
    model = quick(warm_start=True).fit(x, y).set_params(label_noise=0.2)
    for go_on in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match="has learnt without it"):
            go_on(x, y)
    noisy = quick(label_noise=0.2, warm_start=True).fit(x, y)
    np.testing.assert_allclose(noisy.fit(x, y).label_noise_, SymmetricNoise(3, 0.2).matrix())
    for other in (0.3, None):
        with pytest.raises(ValueError, match="has learnt through other noise"):
            noisy.set_params(label_noise=other).fit(x, y)


def test_unknown_noise_needs_rows_that_were_held_out(quick):
    with pytest.warns(UserWarning, match="needs rows that were held out"):
        quick(label_noise="auto").fit(np.eye(3), [0, 1, 2])


def test_label_quality_of_training_rows_is_that_of_their_out_of_fold_answers():
    x, y = sure_rows(150)
    given = y.copy()
    given[::5] = (y[::5] + 1) % 3
    wrong = given != y
    names = np.array(["a", "b", "c"])
    settings = {"choose_epochs": True, "max_epochs": 20, "random_state": 0, "effort": "thorough"}
    for noise in (None, 0.2):
        model = DiDiClassifier(label_noise=noise, **settings).fit(x, names[given])
        probability, likelier = model.label_quality_
        p = model.oob_decision_function_
        own = p[np.arange(150), given]
        if noise:
            matrix = model.label_noise_
            own = own * matrix[given, given] / (p * matrix[given]).sum(axis=1)
        np.testing.assert_allclose(probability, own)
        assert probability[wrong].mean() < 0.5 < probability[~wrong].mean()
        assert (likelier == names[y]).mean() > 0.9
    new = model.label_quality(x, names[given])
    p, matrix = model.predict_proba(x), model.label_noise_
    np.testing.assert_array_equal(new.likelier, names[(p * matrix[given]).argmax(axis=1)])


def test_label_quality_of_rows_that_were_not_held_out_is_unknown(quick):
    x, y = sure_rows(60)
    model = quick(early_stopping=True).fit(x, y)
    probability, likelier = model.label_quality_
    assert np.isnan(probability).sum() == likelier.mask.sum() == 54
    np.testing.assert_array_equal(np.isnan(probability), likelier.mask)
    with pytest.raises(AttributeError, match="held out"):
        quick().fit(x, y).label_quality_  # noqa: B018


def votes(y, rates, rng):
    wrong = rng.random((len(y), len(rates))) < rates
    return np.where(wrong, (y[:, None] + rng.integers(1, 3, wrong.shape)) % 3, y[:, None])


def test_votes_are_learnt_with_the_confusions_of_every_annotator(tmp_path):
    x, y = sure_rows()
    rates = np.array([0.1, 0.4, 2 / 3])  # the last one knows nothing
    said = votes(y, rates, np.random.default_rng(0)).astype(float)
    said[::5, 0] = np.nan
    said[3] = np.nan
    model = DiDiClassifier(max_epochs=20, choose_epochs=True, random_state=0).fit_votes(x, said)
    assert model.score(x, y) > 0.95
    right = np.einsum("ajj->a", model.annotators_) / 3
    np.testing.assert_allclose(right, 1 - rates, atol=0.1)
    assert np.mean(model.label_quality_.likelier[4:] == y[4:]) > 0.9
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])
    model.save(tmp_path / "model.skd")
    again = DiDiClassifier.load(tmp_path / "model.skd")
    np.testing.assert_array_equal(again.annotators_, model.annotators_)


def test_annotators_are_judged_by_votes_on_all_rows(quick):
    """The thirty rows of early stopping alone would be off by several times as much."""
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    said = votes(y, [0.1, 0.2, 0.4], rng)
    x = np.eye(3)[y] + 0.1 * rng.standard_normal((300, 3))
    model = quick(early_stopping=True, max_epochs=30).fit_votes(x, said)
    assert 0 < np.isfinite(model.oob_untempered_[:, 0]).sum() <= 30
    right = np.einsum("ajj->a", model.annotators_) / 3
    np.testing.assert_allclose(right, (said == y[:, None]).mean(axis=0), atol=0.03)


def test_the_quality_of_votes_counts_them_by_their_likelihood(quick):
    """Weights of classes change the answers, but not what votes are evidence for."""
    rng = np.random.default_rng(0)
    y = (np.arange(120) % 6 == 0).astype(int)
    said = np.where(rng.random((120, 3)) < 0.25, 1 - y[:, None], y[:, None])
    x = y[:, None] + rng.standard_normal((120, 2))
    settings = {"choose_epochs": True, "class_weight": "balanced", "additive": False}
    model = quick(trees=False, **settings).fit_votes(x, said)
    row, annotator = np.indices(said.shape)
    found = Votes(row.ravel(), annotator.ravel(), said.ravel(), (120, 3, 2))
    q, confusions = most_likely_annotators(found)
    likelihood = np.prod([confusions[a][said[:, a]] for a in range(3)], axis=0)
    law = model.oob_decision_function_ * likelihood
    law /= law.sum(axis=1, keepdims=True)
    expected = law[np.arange(120), q.argmax(axis=1)]
    np.testing.assert_allclose(model.label_quality_.probability, expected, atol=1e-3)


def test_unanimous_votes_are_labels(quick):
    x, y = sure_rows(60)
    names = np.array(["a", "b", "c"])[y]
    plain = quick().fit(x, names)
    unanimous = quick().fit_votes(x, np.stack([names, names], axis=1))
    np.testing.assert_allclose(unanimous.predict_proba(x), plain.predict_proba(x), atol=1e-3)


def test_one_vote_for_each_row_is_a_label_with_the_noise_of_fit(quick):
    x, y = sure_rows(60)
    said = np.full((60, 2), None)
    said[::2, 0], said[1::2, 1] = y[::2], y[1::2]
    for noise in (None, 0.2):
        plain = quick(label_noise=noise).fit(x, y)
        single = quick(label_noise=noise).fit_votes(x, said)
        np.testing.assert_array_equal(single.predict_proba(x), plain.predict_proba(x))
        assert single.annotators_.shape == (2, 3, 3)


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ([0, 1, 2], r"votes has shape \(3,\); expected \(n, annotators\)"),
        ([[np.nan, np.nan]] * 3, "votes has none that was given"),
        ([[0, 1]] * 2, "inconsistent numbers of samples"),
    ],
)
def test_votes_that_are_none_are_refused(quick, said, message):
    with pytest.raises(ValueError, match=message):
        quick().fit_votes(np.eye(3), said)


def test_votes_have_their_own_noise(quick):
    with pytest.raises(ValueError, match="estimates the noise of every annotator"):
        quick(label_noise=0.2).fit_votes(np.eye(3), [[0, 0], [1, 1], [2, 1]])
    with pytest.raises(AttributeError, match="after fit_votes"):
        quick().fit(np.eye(3), [0, 1, 2]).annotators_  # noqa: B018


def test_masked_votes_are_missing(quick):
    said = np.ma.masked_array(
        [[0, 9], [1, 1], [2, 2]], [[False, True], [False, False], [True, False]]
    )
    model = quick().fit_votes(np.eye(3), said)
    np.testing.assert_array_equal(model.classes_, [0, 1, 2])


def test_soft_labels_that_look_like_one_vote_are_told(quick):
    with pytest.warns(UserWarning, match="pass them to fit with label_noise"):
        quick().fit_soft(np.eye(3), 0.7 * np.eye(3) + 0.1)


def test_notebooks_show_the_noise(quick):
    x, y = sure_rows(30)
    html = quick(label_noise=0.25).fit(x, y)._repr_html_()
    assert "25.0% of the labels of a class are wrong" in html
    assert "Votes of" in quick().fit_votes(x, np.stack([y, y], axis=1))._repr_html_()
    assert "Label noise" not in quick().fit(x, y)._repr_html_()


def counting(calls, error=None, at=0):
    """Return an augmentation that counts its calls and raises an error in one of them."""

    def augment(x, rng):
        calls.append(1)
        if len(calls) == at:
            raise error
        return x

    return augment


@pytest.mark.parametrize("method", ["fit", "fit_votes"])
def test_no_other_fit_follows_one_that_was_interrupted_and_kept(quick, method):
    rng, calls = np.random.default_rng(0), []
    y = np.arange(120) % 3
    said = votes(y, [0.2, 0.3, 0.3], rng)
    settings = {"choose_epochs": True, "max_epochs": 8, "on_interrupt": "keep"}
    augment = counting(calls, KeyboardInterrupt(), 10)
    model = quick(augment=augment, label_noise="auto", **settings)
    labels = said[:, 0] if method == "fit" else said
    with pytest.warns(UserWarning, match="interrupted"):
        getattr(model, method)(np.eye(3)[y], labels)
    assert len(calls) == 10
    assert model.predict_proba(np.eye(3)).shape == (3, 3)


def test_a_first_fit_on_votes_does_not_depend_on_warm_start(quick):
    y = np.arange(60) % 3
    x, said = np.eye(3)[y], votes(y, [0.2, 0.3, 0.3], np.random.default_rng(0))
    cold, warm = (
        quick(choose_epochs=True, warm_start=start).fit_votes(x, said) for start in (False, True)
    )
    np.testing.assert_array_equal(warm.predict_proba(x), cold.predict_proba(x))
    assert warm.fit_votes(x, said).members_ == []  # this one goes on


def test_an_error_in_the_second_fit_on_votes_restores_the_state_before_both(quick):
    rng, calls = np.random.default_rng(0), []
    y = np.arange(60) % 3
    x, said = np.eye(3)[y], votes(y, [0.2, 0.3, 0.3], rng)
    quick(choose_epochs=True, augment=counting(calls)).fit_votes(x, said)
    failing = counting([], RuntimeError("broken"), len(calls))
    model = quick(choose_epochs=True, augment=failing)
    before = dict(vars(model))
    with pytest.raises(RuntimeError, match="broken"):
        model.fit_votes(x, said)
    assert vars(model) == before


@pytest.mark.parametrize("noise", [0.3, [[0.7, 0.3], [0.3, 0.7]]], ids=["rate", "matrix"])
def test_weights_of_given_classes_are_part_of_the_noise(quick, tmp_path, noise):
    """Rows of one kind are all of one class, so that weights must not make them doubtful."""
    rng = np.random.default_rng(0)
    y = (np.arange(600) % 10 == 0).astype(int)
    given = np.where(rng.random(600) < 0.3, 1 - y, y)
    model = quick(label_noise=noise, class_weight={0: 1.0, 1: 4.0}, max_epochs=60)
    model.fit(np.eye(2)[y], given)
    assert model.predict_proba(np.eye(2)).diagonal().min() > 0.85  # without them 0.54
    np.testing.assert_allclose(model.label_noise_[:, 0], np.array([0.7, 1.2]) / 1.9)
    model.save(tmp_path / "model.skd")
    again = DiDiClassifier.load(tmp_path / "model.skd")
    np.testing.assert_array_equal(again.label_noise, noise)
    np.testing.assert_array_equal(again.label_noise_, model.label_noise_)


def test_noise_that_is_an_object_is_saved(quick, tmp_path):
    model = quick(label_noise=SymmetricNoise(3, 0.2)).fit(np.eye(3), [0, 1, 2])
    model.save(tmp_path / "model.skd")
    again = DiDiClassifier.load(tmp_path / "model.skd")
    np.testing.assert_array_equal(again.label_noise, SymmetricNoise(3, 0.2).matrix())
