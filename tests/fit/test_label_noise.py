"""Label noise that is estimated: from answers to held-out rows, and which fit is returned."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax

from skdidicm.core import ConfusionNoise
from skdidicm.fit.label_noise import anchored, fit_unknown_noise, most_likely_confusion
from skdidicm.fit.state import HeldOut

TRUE = np.array([[0.7, 0.0, 0.2], [0.3, 0.9, 0.2], [0.0, 0.1, 0.6]])


def labels_of(law, rng):
    drawn = (rng.random((len(law), 1)) > law.cumsum(axis=1)).sum(axis=1)
    return np.eye(law.shape[1])[drawn]


def test_where_true_classes_are_certain_the_answers_are_the_confusions():
    rng = np.random.default_rng(0)
    truth = np.vstack([rng.dirichlet([0.5] * 3, 200), np.repeat(np.eye(3), 20, axis=0)])
    np.testing.assert_allclose(anchored(truth @ TRUE.T), TRUE, atol=0.02)


def test_the_confusions_are_those_of_the_highest_likelihood():
    """With so many rows the prior has no say."""
    rng = np.random.default_rng(0)
    proba = rng.dirichlet([0.3] * 3, 20_000)
    target, weight = labels_of(proba @ TRUE.T, rng), rng.uniform(0.5, 1.5, len(proba))

    def loss(logits):
        confusion = softmax(logits.reshape(3, 3), axis=0)
        return -weight @ np.log(((proba @ confusion.T) * target).sum(axis=1)) / len(proba)

    best = softmax(minimize(loss, np.zeros(9)).x.reshape(3, 3), axis=0)
    found = most_likely_confusion(proba, target, weight, 0.55 * np.eye(3) + 0.15)
    np.testing.assert_allclose(found, best, atol=0.015)
    assert np.abs(found - TRUE).max() < 0.05


@pytest.mark.parametrize("pairs", [False, True])
def test_few_rows_tell_symmetric_noise_from_pairs(pairs):
    """What 400 rows show of 90 confusions is mostly chance, unless they are all of one kind."""
    k, rng = 10, np.random.default_rng(0)
    proba = rng.dirichlet([0.05] * k, 400)
    other = np.roll(np.eye(k), 1, axis=0) if pairs else (1 - np.eye(k)) / (k - 1)
    true = 0.7 * np.eye(k) + 0.3 * other
    target = labels_of(proba @ true.T, rng)
    found = most_likely_confusion(proba, target, np.ones(400), 0.8 * np.eye(k) + 0.02)
    assert np.abs(found - true).sum(axis=0).mean() / 2 < 0.12


def fitted_with(proba, target, channel, weight=1.0):
    """Return a fit whose held-out rows have these answers."""
    n = len(target)
    held = HeldOut(np.arange(n), np.zeros(n, int), proba, target, np.full(n, weight), n)
    return SimpleNamespace(
        held_out=held,
        additive=None,
        trees=None,
        temperature=1.0,
        slope=0.0,
        channel=channel,
        interrupted=False,
    )


def fits(truth, target, weight=1.0):
    """Return a training whose held-out answers are those of a perfect network, and its record."""
    tried = []

    def train(channel):
        tried.append(channel)
        proba = truth if channel is None else channel.recover(truth)
        return fitted_with(proba, target, channel, weight)

    return train, tried


def test_labels_without_noise_are_fitted_once():
    rng = np.random.default_rng(0)
    truth = softmax(9 * rng.standard_normal((300, 3)), axis=1)
    train, tried = fits(truth, labels_of(truth, rng))
    assert fit_unknown_noise(train).channel is None
    assert tried == [None]


def test_noise_that_explains_the_labels_better_is_returned():
    rng = np.random.default_rng(0)
    truth = softmax(9 * rng.standard_normal((600, 3)), axis=1)
    target = labels_of(truth @ TRUE.T, rng)

    def train(channel):  # without noise, it learns each label as it is, and is too sure
        proba = 0.7 * truth @ TRUE.T + 0.3 * np.roll(target, 1, axis=0)
        proba = truth if channel is not None else proba
        return fitted_with(proba, target, channel)

    found = fit_unknown_noise(train).channel
    assert np.abs(found.matrix() - TRUE).max() < 0.1


def test_overlap_that_looks_like_noise_is_no_noise_and_is_told():
    rng = np.random.default_rng(0)
    truth = np.full((300, 2), 0.5) + rng.uniform(-0.25, 0.25, (300, 1)) * [1, -1]
    train, tried = fits(truth, labels_of(truth, rng))
    with pytest.warns(UserWarning, match="held-out rows do not tell whether about [23][0-9]%"):
        assert fit_unknown_noise(train).channel is None
    assert [channel is None for channel in tried] == [True, False, False]
    assert isinstance(tried[1], ConfusionNoise)


def test_a_fit_without_held_out_rows_has_no_noise_and_says_so():
    fitted = SimpleNamespace(held_out=None, interrupted=False)
    with pytest.warns(UserWarning, match="needs rows that were held out"):
        assert fit_unknown_noise(lambda _: fitted) is fitted
