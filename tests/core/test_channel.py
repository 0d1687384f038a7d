"""Label noise as a channel, against dense matrices, matrix exponentials and an optimiser."""

import numpy as np
import pytest
import scipy.linalg
import scipy.optimize
from scipy.special import log_softmax, softmax

from skdidicm.core import ConfusionNoise, SymmetricNoise, UniformProcess, responsibilities


def confusion(k, rng):
    return 0.7 * np.eye(k) + 0.3 * rng.dirichlet(np.ones(k), size=k).T


def channels(k, rng):
    return [SymmetricNoise(k, 0.4 * (1 - 1 / k)), ConfusionNoise(confusion(k, rng))]


@pytest.mark.parametrize("k", [2, 5, 1000])
def test_symmetric_noise_is_diffusion_for_a_while(k):
    noise = SymmetricNoise(k, 0.3)
    wrong = np.full((k, k), 0.3 / (k - 1))
    np.fill_diagonal(wrong, 0.7)
    np.testing.assert_allclose(noise.matrix(), wrong, rtol=1e-12)
    if k < 100:
        rates = np.full((k, k), 1 / k) - np.eye(k)
        np.testing.assert_allclose(scipy.linalg.expm(noise.sigma_0 * rates), wrong, rtol=1e-10)


@pytest.mark.parametrize("k", [2, 7])
def test_observing_is_a_product_with_the_matrix(array, agree, rng, k):
    logits = rng.normal(0, 3, (4, 3, k))
    label = rng.integers(0, k, (4, 3))
    for noise in channels(k, rng):
        seen = softmax(logits, axis=-1) @ noise.matrix().T
        agree(noise.observe(array(softmax(logits, axis=-1))), seen)
        agree(noise.observed_logits(array(logits)), np.log(seen))
        agree(noise.likelihood(array(label), array(logits).dtype), noise.matrix()[label])


@pytest.mark.parametrize("size", [1e-3, 1.0, 300.0])
def test_logits_of_any_size_stay_finite_in_float32(array, rng, size):
    logits = (size * rng.normal(size=(50, 6))).astype(np.float32)
    for noise in (*channels(6, rng), ConfusionNoise(np.eye(6))):
        seen = np.asarray(noise.observed_logits(array(logits)))
        assert np.isfinite(seen).all()
        np.testing.assert_allclose(np.exp(seen).sum(axis=-1), 1, rtol=1e-5)


def test_no_noise_changes_no_bit(array, rng):
    logits = array(rng.normal(size=(5, 4)))
    assert SymmetricNoise(4, 0.0).observed_logits(logits) is logits


@pytest.mark.parametrize("k", [2, 4, 50])
def test_the_law_of_the_true_class_is_recovered(rng, k):
    law = rng.dirichlet(np.full(k, 0.5), size=20)
    for noise in channels(k, rng):
        np.testing.assert_allclose(noise.recover(noise.observe(law)), law, atol=2e-4)


def negative_log_likelihood(free, q, matrix):
    return -q @ np.log(matrix @ softmax(free))


@pytest.mark.parametrize("k", [2, 5])
def test_recovered_laws_are_the_most_likely_on_the_simplex(rng, k):
    """Also for laws that no true class leads to, where the inverse of T has negative entries."""
    q = rng.dirichlet(np.full(k, 0.3), size=8)
    for noise in channels(k, rng):
        matrix, found = noise.matrix(), noise.recover(q)
        assert (np.linalg.solve(matrix, q.T) < 0).any()
        for seen, law in zip(q, found, strict=True):
            starts = rng.normal(size=(5, k))
            best = min(
                scipy.optimize.minimize(negative_log_likelihood, s, args=(seen, matrix)).fun
                for s in starts
            )
            assert -seen @ np.log(matrix @ law) <= best + 1e-6


def test_a_certain_law_is_recovered_as_it_is():
    noise = SymmetricNoise(3, 0.2)
    np.testing.assert_allclose(noise.recover(np.eye(3)), np.eye(3))
    np.testing.assert_allclose(noise.recover(np.full(3, 1 / 3)), np.full(3, 1 / 3))


def test_responsibilities_are_bayes_rule(array, agree, rng):
    law, evidence = rng.dirichlet(np.ones(4), size=6), rng.random((6, 4))
    joint = law * evidence
    expected = joint / joint.sum(axis=1, keepdims=True)
    agree(responsibilities(array(law), array(evidence)), expected)


def test_the_gradient_of_the_observed_law_is_that_of_the_responsibilities(rng):
    """Fisher's identity: d log P(seen) / d logits = responsibilities - law."""
    noise, seen = ConfusionNoise(confusion(4, rng)), 2
    logits = rng.normal(size=4)
    law = softmax(logits)
    by_hand = responsibilities(law, noise.likelihood(np.array(seen), np.float64)) - law
    step = 1e-6
    numeric = [
        (noise.observed_logits(logits + d)[seen] - noise.observed_logits(logits - d)[seen])
        / (2 * step)
        for d in step * np.eye(4)
    ]
    np.testing.assert_allclose(numeric, by_hand, atol=1e-8)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SymmetricNoise(4, 0.75), "below 0.75"),
        (lambda: SymmetricNoise(4, -0.1), "at least 0"),
        (lambda: SymmetricNoise(4, np.nan), "rate of label noise is nan"),
        (lambda: SymmetricNoise(1, 0.0), "two classes"),
        (lambda: ConfusionNoise(np.ones((2, 3))), r"shape \(2, 3\)"),
        (lambda: ConfusionNoise([[0.9, 0.3], [0.1, 0.9]]), "divide each column"),
        (lambda: ConfusionNoise([[1.1, 0.0], [-0.1, 1.0]]), "entries >= 0"),
    ],
)
def test_noise_that_means_nothing_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_uniform_process_and_symmetric_noise_compose(rng):
    """Noise upon noise is noise for the sum of the times."""
    law, noise = rng.dirichlet(np.ones(5)), SymmetricNoise(5, 0.3)
    process = UniformProcess(5)
    twice = process.diffuse(noise.observe(law), 0.7)
    np.testing.assert_allclose(twice, process.diffuse(law, noise.sigma_0 + 0.7))
    assert log_softmax(noise.observed_logits(np.log(law))).shape == (5,)
