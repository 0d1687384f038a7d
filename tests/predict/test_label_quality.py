"""The probability that a given label is the true class."""

import numpy as np

from skdidicm.core import ConfusionNoise
from skdidicm.predict.label_quality import quality_of_labels, quality_of_votes

TRUE = np.array([[0.7, 0.0, 0.2], [0.3, 0.9, 0.2], [0.0, 0.1, 0.6]])
RNG = np.random.default_rng(0)


def test_it_is_the_share_of_true_labels_among_many_draws():
    law = np.array([0.2, 0.5, 0.3])
    true = RNG.choice(3, 200_000, p=law)
    given = (RNG.random((len(true), 1)) > TRUE.T[true].cumsum(axis=1)).sum(axis=1)
    for i in range(3):
        counts = np.bincount(true[given == i], minlength=3)
        right, likelier = quality_of_labels(law[None], np.eye(3)[[i]], ConfusionNoise(TRUE))
        np.testing.assert_allclose(right, counts[i] / counts.sum(), atol=0.01)
        assert likelier[0] == counts.argmax()


def test_without_noise_it_is_the_probability_of_the_label():
    proba, label = RNG.dirichlet([1, 1, 1], 20), RNG.integers(0, 3, 20)
    right, likelier = quality_of_labels(proba, np.eye(3)[label], None)
    np.testing.assert_array_equal(right, proba[np.arange(20), label])
    np.testing.assert_array_equal(likelier, proba.argmax(axis=1))


def test_of_votes_it_is_the_share_of_true_classes_among_many_draws():
    prior, law = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.5, 0.3])
    true = RNG.choice(3, 400_000, p=law)
    votes = (RNG.random((len(true), 2, 1)) > TRUE.T[true].cumsum(axis=1)[:, None]).sum(axis=2)
    seen = (votes == [1, 2]).all(axis=1)
    q = prior * TRUE[1] * TRUE[2]
    right, likelier = quality_of_votes(law[None], (q / q.sum())[None], prior)
    shares = np.bincount(true[seen], minlength=3) / seen.sum()
    assert likelier[0] == shares.argmax()
    np.testing.assert_allclose(right, shares[q.argmax()], atol=0.02)
