"""Votes: confusions of annotators, and the noise of soft labels."""

import numpy as np
import pytest

from skdidicm.fit.votes import Votes, most_likely_annotators, noise_of_soft_labels

K = 3


def votes_of(said):
    row, annotator = np.nonzero(said >= 0)
    return Votes(row, annotator, said[row, annotator], (*said.shape, K))


@pytest.fixture(scope="module")
def crowd():
    """True classes of 3,000 rows, two careful annotators, a biased one and a spammer."""
    rng = np.random.default_rng(0)
    confusions = np.stack(
        [
            0.9 * np.eye(K) + 0.1 / K,
            0.7 * np.eye(K) + 0.1,
            [[1.0, 0.6, 0.0], [0.0, 0.4, 0.0], [0.0, 0.0, 1.0]],
            np.full((K, K), 1 / K),
        ]
    )
    true = rng.choice(K, 3000, p=[0.5, 0.3, 0.2])
    said = np.stack(
        [(rng.random((3000, 1)) > c.T[true].cumsum(axis=1)).sum(axis=1) for c in confusions], axis=1
    )
    said[rng.random(said.shape) < 0.3] = -1
    return true, said, confusions


def test_confusions_of_all_annotators_are_found_with_votes_missing(crowd):
    true, said, confusions = crowd
    q, found = most_likely_annotators(votes_of(said))
    assert np.abs(found - confusions).max() < 0.08
    np.testing.assert_allclose(q.sum(axis=1), 1)
    # Rows are as often right as their laws say.
    right = q.argmax(axis=1) == true
    assert right.mean() == pytest.approx(q.max(axis=1).mean(), abs=0.02)


def test_answers_of_networks_are_bayes_prior_of_the_votes(crowd):
    _, said, confusions = crowd
    rng = np.random.default_rng(1)
    proba = rng.dirichlet([1] * K, len(said))
    q, found = most_likely_annotators(votes_of(said), proba)
    row = int(np.flatnonzero((said >= 0).all(axis=1))[0])
    joint = proba[row] * np.prod([c[v] for c, v in zip(found, said[row], strict=True)], axis=0)
    np.testing.assert_allclose(q[row], joint / joint.sum(), atol=1e-4)
    assert found.shape == confusions.shape


@pytest.mark.parametrize("seed", range(3))
def test_weak_annotators_of_two_unequal_classes_are_as_good_as_they_are(seed):
    """Without a prior, the laws are right in 70 % of all rows; the best annotator is in 80 %."""
    rng = np.random.default_rng(seed)
    true = (rng.random(600) < 0.3).astype(int)
    said = np.where(rng.random((600, 3)) < [0.2, 0.35, 0.5], 1 - true[:, None], true[:, None])
    row, annotator = np.indices(said.shape)
    votes = Votes(row.ravel(), annotator.ravel(), said.ravel(), (600, 3, 2))
    q, confusions = most_likely_annotators(votes)
    assert (q.argmax(axis=1) == true).mean() > 0.76
    right = np.einsum("ajj->a", confusions) / 2
    assert right[0] > right[1] > right[2]


def test_unanimous_votes_are_certain():
    said = np.repeat(np.arange(60) % K, 2).reshape(60, 2)
    q, found = most_likely_annotators(votes_of(said))
    np.testing.assert_allclose(q, np.eye(K)[said[:, 0]], atol=1e-3)
    assert found[:, range(K), range(K)].min() > 0.95
    assert noise_of_soft_labels(np.eye(K)[said[:, 0]], np.ones(60)) is None


def test_the_noise_of_soft_labels_is_their_mean_for_every_true_class(crowd):
    true, said, _ = crowd
    q, _ = most_likely_annotators(votes_of(said))
    noise = noise_of_soft_labels(q, np.ones(len(q)))
    means = np.stack([q[true == j].mean(axis=0) for j in range(K)], axis=1)
    np.testing.assert_allclose(noise.matrix(), means, atol=0.03)


def test_answers_of_networks_show_that_few_votes_are_too_sure():
    rng = np.random.default_rng(0)
    k, n = 7, 500
    true = rng.integers(k, size=n)
    wrong = rng.random((n, 3)) < [0.2, 0.35, 0.5]
    said = np.where(wrong, (true[:, None] + rng.integers(1, k, (n, 3))) % k, true[:, None])
    row, annotator = np.indices(said.shape)
    votes = Votes(row.ravel(), annotator.ravel(), said.ravel(), (n, 3, k))
    q, _ = most_likely_annotators(votes)
    answers = 0.75 * np.eye(k)[true] + 0.25 * rng.dirichlet([0.1] * k, n)
    means = np.stack([q[true == j].mean(axis=0) for j in range(k)], axis=1)
    errors = [
        np.abs(noise_of_soft_labels(q, np.ones(n), truth).matrix() - means).sum(axis=0).mean()
        for truth in (None, most_likely_annotators(votes, answers)[0])
    ]
    assert errors[1] < errors[0]


def test_a_class_without_mass_and_rows_without_weight():
    q = np.array([[0.8, 0.2, 0.0], [0.3, 0.7, 0.0], [0.0, 0.0, 1.0]])
    noise = noise_of_soft_labels(q, np.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(noise.matrix()[:, 2], [0, 0, 1])
    mean = np.array([1.1, 0.9, 0.0]) / 2
    np.testing.assert_allclose(noise.observe(mean), mean)  # the mean of soft labels is the prior


def test_a_class_without_votes_is_not_taken_for_a_mixture_of_others():
    rng = np.random.default_rng(0)
    true = rng.integers(0, 2, 300)
    votes = votes_of(np.where(rng.random((300, 3)) < 0.3, 1 - true[:, None], true[:, None]))
    q, _ = most_likely_annotators(votes)
    noise = noise_of_soft_labels(q, np.ones(300))
    np.testing.assert_array_equal(noise.matrix()[:, 2], [0, 0, 1])
