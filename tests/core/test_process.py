import tracemalloc

import numpy as np
import pytest
import scipy.linalg

from skdidicm.core import RateProcess, UniformProcess

SIGMAS = [1e-6, 1e-3, 0.4, 3.0, 7.0, 50.0]


def uniform_rates(k):
    return np.full((k, k), 1 / k) - np.eye(k)


@pytest.fixture
def laws(rng):
    """Make laws (n, k) that range from nearly flat to nearly one-hot, and a one-hot one."""

    def make(k, n=6):
        sharpness = np.geomspace(0.05, 20, n)[:, None]
        laws = rng.gamma(sharpness, size=(n, k)) + 1e-12
        laws[0] = np.eye(k)[k // 2]
        return laws / laws.sum(axis=1, keepdims=True)

    return make


@pytest.mark.parametrize("sigma", SIGMAS)
@pytest.mark.parametrize("k", [1, 2, 3, 10, 100])
def test_diffuse_is_the_matrix_exponential(agree, laws, k, sigma):
    q_0 = laws(k)
    expected = q_0 @ scipy.linalg.expm(sigma * uniform_rates(k)).T
    agree(UniformProcess(k).diffuse(q_0, sigma), expected)


@pytest.mark.parametrize("sigma", [1e-3, 7.0])
def test_diffuse_is_the_matrix_exponential_for_a_thousand_classes(laws, agree, sigma):
    q_0 = laws(1000)
    expected = q_0 @ scipy.linalg.expm(sigma * uniform_rates(1000)).T
    agree(UniformProcess(1000).diffuse(q_0, sigma), expected)


def test_every_row_meets_its_own_noise(array, agree, laws):
    q_0, sigma = laws(4, 6).reshape(3, 2, 4), np.array(SIGMAS).reshape(3, 2)
    result = np.asarray(UniformProcess(4).diffuse(array(q_0), array(sigma)))
    for index in np.ndindex(3, 2):
        alone = scipy.linalg.expm(sigma[index] * uniform_rates(4)) @ q_0[index]
        agree(result[index], alone)


@pytest.mark.parametrize("sigma", SIGMAS)
def test_adjoint_and_likelihood_are_the_transpose(array, agree, rng, sigma):
    forward, w = scipy.linalg.expm(sigma * uniform_rates(5)), rng.standard_normal((3, 5))
    process = UniformProcess(5)
    agree(process.adjoint(array(w), sigma), w @ forward)
    label = array([4, 0, 4])
    agree(process.likelihood(label, sigma, array(w).dtype), forward[[4, 0, 4]])


@pytest.mark.parametrize("k", [1, 2, 1000])
@pytest.mark.parametrize("sigma", [0.0, 1e-6, 0.5, 6.9])
def test_undiffuse_inverts_diffuse(array, agree, laws, k, sigma):
    q_0, process = laws(k), UniformProcess(k)
    result = process.undiffuse(process.diffuse(array(q_0), sigma), sigma)
    agree(result, q_0, float64=1e-11, float32=1e-3)


@pytest.mark.parametrize("sigma", [20.0, 50.0, 1e4])
def test_undiffuse_of_pure_noise_is_uniform(array, agree, sigma):
    noise = array(np.full((2, 10), 0.1), np.float32)
    agree(UniformProcess(10).undiffuse(noise, sigma), np.full((2, 10), 0.1))


def test_undiffuse_of_what_no_noise_makes_is_clipped_to_a_law(array, agree):
    result = UniformProcess(3).undiffuse(array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]), 1.0)
    agree(result, [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]])


def test_limit_is_stationary_and_where_much_noise_leads(laws):
    process = UniformProcess(7)
    np.testing.assert_allclose(uniform_rates(7) @ process.limit(), 0, atol=1e-15)
    np.testing.assert_allclose(process.diffuse(laws(7), 60.0), [process.limit()] * 6, atol=1e-15)


def test_ratio_is_the_concrete_score(array, agree, laws):
    q_t, label = laws(5, 4)[1:], [3, 0, 2]
    score = q_t[:, :, None] / q_t[:, None, :]
    agree(UniformProcess(5).ratio(array(q_t), array(label)), score[[0, 1, 2], :, label])


@pytest.mark.parametrize("k", [2, 5])
def test_euler_step_is_the_dense_one(array, agree, laws, reverse_rates, k):
    p, q, h = laws(k, 4), laws(k, 5)[1:], np.array([0.01, 0.2, 1.0, 900.0])
    expected = np.stack(
        [p[i] + h[i] * reverse_rates(uniform_rates(k), q[i]) @ p[i] for i in range(4)]
    )
    result = UniformProcess(k).euler_step(array(p), array(q), array(h))
    agree(result, expected, rows=True, float32=1e-4)


@pytest.mark.parametrize("k", [2, 5])
@pytest.mark.parametrize("distance", [1e-3, 0.7, 5.0])
def test_bridge_step_is_the_rule_of_bayes(array, agree, laws, bridge, k, distance):
    p, before = laws(k, 4), laws(k, 5)[1:]
    forward = scipy.linalg.expm(distance * uniform_rates(k))
    expected = np.stack([bridge(before[i], forward) @ p[i] for i in range(4)])
    q = array(before @ forward.T)
    result = UniformProcess(k).bridge_step(array(p), q, 1.5 + distance, 1.5)
    agree(result, expected, float32=2e-3)


@pytest.mark.parametrize("n_classes", [0, -3])
def test_a_process_without_classes_is_refused(n_classes):
    with pytest.raises(ValueError, match=f"n_classes is {n_classes}"):
        UniformProcess(n_classes)


@pytest.mark.parametrize("make", [UniformProcess, lambda k: RateProcess(uniform_rates(k))])
@pytest.mark.parametrize("step", ["euler", "bridge"])
def test_a_step_makes_no_matrix_per_row(laws, make, step):
    n, k = 64, 300
    process, p, q = make(k), laws(k, n), (laws(k, n) + 1 / k) / 2

    def advance():
        return process.euler_step(p, q, 0.1) if step == "euler" else process.bridge_step(p, q, 2, 1)

    advance()  # constants are kept from here on
    tracemalloc.start()
    try:
        advance()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert n * k * 8 <= peak < 20 * n * k * 8
