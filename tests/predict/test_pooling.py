"""The answers of several networks as one."""

import array_api_strict
import numpy as np
from scipy.stats import gmean

from skdidicm.predict.pooling import pooled


def test_means_of_laws_are_laws(rng):
    laws = rng.dirichlet(np.ones(5), size=(3, 2, 7))
    np.testing.assert_allclose(pooled(laws, geometric=False), laws.mean(axis=0))
    expected = gmean(laws, axis=0)
    expected /= expected.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(pooled(laws, geometric=True), expected)
    strict = pooled(array_api_strict.asarray(laws), geometric=True)
    np.testing.assert_allclose(np.asarray(strict), expected)


def test_one_network_answers_as_it_does_alone(rng):
    laws = rng.dirichlet(np.ones(5), size=(1, 7))
    for geometric in (False, True):
        np.testing.assert_array_equal(pooled(laws, geometric=geometric), laws[0])


def test_a_class_that_one_network_excludes_is_not_excluded_for_certain():
    found = pooled(np.array([[[1.0, 0.0, 0.0]], [[0.2, 0.4, 0.4]]]), geometric=True)
    assert np.isfinite(found).all()
    assert 0 < found[0, 1] < 1e-6
