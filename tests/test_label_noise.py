"""Wrong labels: what is learnt is the true class, and all choices account for the noise."""

import numpy as np
import pytest
from scipy.special import softmax

from skdidicm import DiDiClassifier
from skdidicm.core import SymmetricNoise
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
    settings = {"choose_epochs": True, "max_epochs": 20, "additive": False}
    model = DiDiClassifier(label_noise=0.4, random_state=0, **settings).fit(x, y)
    held = model.oob_decision_function_
    single = negative_log_likelihood(y, held @ model.label_noise_.T).mean()
    assert min(row["val_nll"] for row in model.trial_) == pytest.approx(single)
    assert single > 0.9 * -(0.6 * np.log(0.6) + 0.4 * np.log(0.2))
    assert model.predict_proba(np.eye(3)).max(axis=1).min() > 0.75


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label_noise": "much"}, "label_noise is 'much'; expected None"),
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
