import pickle

import numpy as np
import pytest

from skdidicm.core import RateProcess, UniformProcess

# One of every way in which the exponential is computed: eigh, complex eig, uniformisation.
WAYS = ["reversible", "general", "chain"]


@pytest.fixture
def laws(rng):
    """Make laws (n, k) of all sharpnesses, none with a zero."""

    def make(k, n=4):
        laws = rng.gamma(np.geomspace(0.2, 20, n)[:, None], size=(n, k)) + 1e-3
        return laws / laws.sum(axis=1, keepdims=True)

    return make


@pytest.mark.parametrize("k", [2, 3, 10, 100])
def test_diffuse_and_adjoint_are_the_matrix_exponential(generator, transition, kind, k, agree):
    rates = generator(kind, k)
    process, corners = RateProcess(rates), np.eye(k)
    for sigma in (1e-6, 1e-2, 1.0, 7.0, 50.0):
        expected = transition(rates, sigma)
        agree(process.diffuse(corners, sigma), expected.T)
        agree(process.adjoint(corners, sigma), expected)


def test_a_thousand_classes_are_as_exact_as_few(generator, transition, laws, agree):
    rates, q_0 = generator("symmetric", 1000), laws(1000)
    agree(RateProcess(rates).diffuse(q_0, 2.0), q_0 @ transition(rates, 2.0).T, float64=1e-12)


@pytest.mark.parametrize("kind", WAYS)
def test_every_library_agrees_with_the_matrix_exponential(
    array, agree, generator, transition, kind, laws
):
    rates, w = generator(kind, 4), laws(4, 6).reshape(3, 2, 4)
    process, sigma = RateProcess(rates), np.array([[0.0, 1e-3], [0.3, 2.0], [7.0, 20.0]])
    label = np.array([[0, 1], [2, 3], [3, 3]])
    for _ in range(2):  # the second time with the constants that were kept
        forward = process.diffuse(array(w), array(sigma))
        backward = np.asarray(process.adjoint(array(w), array(sigma)))
        likelihood = np.asarray(process.likelihood(array(label), array(sigma), array(w).dtype))
    for index in np.ndindex(3, 2):
        expected = transition(rates, sigma[index])
        agree(np.asarray(forward)[index], expected @ w[index], float32=1e-4)
        agree(backward[index], w[index] @ expected, float32=1e-4)
        agree(likelihood[index], expected[label[index]], float32=1e-4)


def test_the_uniform_generator_is_the_uniform_process(array, agree, generator, laws):
    dense, fast = RateProcess(generator("uniform", 6)), UniformProcess(6)
    unit = float(dense.rate_matrix[1, 0]) * 6  # the fixture scales its generators
    p, q = laws(6), laws(6)[::-1]
    for sigma in (1e-6, 0.5, 7.0):
        agree(dense.diffuse(array(q), sigma / unit), np.asarray(fast.diffuse(q, sigma)))
        agree(dense.adjoint(array(q), sigma / unit), np.asarray(fast.adjoint(q, sigma)))
    agree(dense.euler_step(array(p), array(q), 0.2 / unit), fast.euler_step(p, q, 0.2))


@pytest.mark.parametrize("kind", WAYS)
@pytest.mark.parametrize("sigma", [0.0, 1e-5, 0.3, 2.0])
def test_undiffuse_inverts_diffuse(array, agree, generator, kind, sigma, laws):
    q_0, process = laws(5), RateProcess(generator(kind, 5))
    result = process.undiffuse(process.diffuse(array(q_0), sigma), sigma)
    agree(result, q_0, float64=1e-8, float32=1e-2)


def test_undiffuse_of_pure_noise_is_the_limit(array, agree, generator, laws):
    process = RateProcess(generator("general", 5))
    q = process.diffuse(array(laws(5)), 80.0)
    agree(process.undiffuse(q, 80.0), np.tile(process.limit(), (4, 1)), float32=1e-4)


def test_limit_is_a_stationary_law_that_the_uniform_law_tends_to(generator, transition, kind):
    rates = generator(kind, 6)
    limit = RateProcess(rates).limit()
    assert limit.min() >= 0
    np.testing.assert_allclose(rates @ limit, 0, atol=1e-13)
    later = transition(rates, 1e4) @ np.full(6, 1 / 6)
    np.testing.assert_allclose(limit, later, atol=1e-8)


def test_a_reducible_limit_keeps_the_weight_of_every_part(generator):
    limit = RateProcess(generator("reducible", 5)).limit()
    assert [limit[:2].sum(), limit[2:].sum()] == pytest.approx([0.4, 0.6], abs=1e-12)


def test_ratio_is_the_concrete_score(array, agree, generator, laws):
    q_t, process = laws(3), RateProcess(generator("general", 3))
    expected = (q_t[:, :, None] / q_t[:, None, :])[[0, 1, 2, 3], :, [2, 0, 1, 1]]
    agree(process.ratio(array(q_t), array([2, 0, 1, 1])), expected)


@pytest.mark.parametrize("kind", WAYS)
@pytest.mark.parametrize("k", [2, 5])
def test_euler_step_is_the_dense_one(array, agree, generator, kind, k, laws, reverse_rates):
    rates, p, q = generator(kind, k), laws(k), laws(k)[::-1]
    process, h = RateProcess(rates), np.array([0.01, 0.3, 2.0, 50.0])
    reverse = [reverse_rates(rates, law) for law in q]
    stepped = np.stack([p[i] + h[i] * reverse[i] @ p[i] for i in range(4)])
    agree(process.euler_step(array(p), array(q), array(h)), stepped, rows=True, float32=1e-4)


@pytest.mark.parametrize("kind", WAYS)
@pytest.mark.parametrize("distance", [1e-2, 0.8])
def test_bridge_step_is_the_rule_of_bayes(
    array, agree, generator, transition, kind, distance, laws, bridge
):
    rates, p, before = generator(kind, 4), laws(4), laws(4)[::-1]
    forward = transition(rates, distance)
    expected = np.stack([bridge(before[i], forward) @ p[i] for i in range(4)])
    process, q = RateProcess(rates), array(before @ forward.T)
    agree(process.bridge_step(array(p), q, 0.5 + distance, 0.5), expected, 1e-8, float32=1e-2)


@pytest.mark.parametrize("unit", [1e-15, 1e-9, 1e9])
def test_only_rates_times_noise_count(generator, transition, kind, unit, agree):
    rates = generator(kind, 4)
    result = RateProcess(unit * rates).diffuse(np.eye(4), 1.0 / unit)
    agree(result, transition(rates, 1.0).T)


def test_a_cycle_among_rare_classes_is_not_taken_for_reversible(transition, agree):
    flow = np.zeros((5, 5))
    flow[[1, 2, 0], [0, 1, 2]] = 1e-4
    flow[3, :3], flow[:3, 3], flow[4, 3], flow[3, 4] = 1e-5, 1e-15, 1.0, 1.0
    rates = flow - np.diag(flow.sum(axis=0))
    agree(RateProcess(rates).diffuse(np.eye(5), 50.0), transition(rates, 50.0).T)


@pytest.mark.parametrize("kind", WAYS)
def test_noise_without_end_leads_to_the_limit(generator, kind, laws, agree):
    process = RateProcess(generator(kind, 4))
    q_t = process.diffuse(laws(4), 1e12)
    agree(q_t, np.tile(process.limit(), (4, 1)), float64=1e-9)


def test_no_probability_is_lost_however_much_noise_there_is(agree):
    flow = np.eye(3, k=-1)
    flow[0, 2] = 1e-12  # close to a chain, so that there is no sound eigenbasis
    process = RateProcess(flow - np.diag(flow.sum(axis=0)))
    agree(process.diffuse(np.eye(3), 1e12).sum(axis=1), np.ones(3))


def test_single_precision_leaves_double_precision_alone(generator, transition, kind, agree):
    rates = generator(kind, 4)
    process = RateProcess(rates)
    for dtype in (np.float32, np.float64, np.float32):
        result = process.diffuse(np.eye(4, dtype=dtype), 0.7)
        assert result.dtype == dtype
        agree(result, transition(rates, 0.7).T)


@pytest.mark.parametrize("sigma", [1e-6, 1e-4, 1e-2])
def test_rare_labels_keep_their_digits_in_float32(array, generator, transition, sigma):
    for kind in ("symmetric", "reversible", "general"):
        rates = generator(kind, 6)
        result = RateProcess(rates).diffuse(array(np.eye(6), np.float32), sigma)
        np.testing.assert_allclose(np.asarray(result), transition(rates, sigma).T, rtol=1e-3)


def test_a_label_that_cannot_be_has_a_finite_ratio(array, generator):
    process = RateProcess(generator("reducible", 4))
    q_t = process.diffuse(array(np.eye(4)[:1], np.float32), 0.5)
    assert np.isfinite(np.asarray(process.ratio(q_t, array([3])))).all()


@pytest.mark.parametrize("kind", WAYS)
def test_gradients_flow_through_diffuse(generator, transition, kind, rng):
    torch = pytest.importorskip("torch")
    rates, w = generator(kind, 4), rng.standard_normal(4)
    q_0 = torch.full((1, 4), 0.25, dtype=torch.float64, requires_grad=True)
    (RateProcess(rates).diffuse(q_0, 0.7) @ torch.asarray(w)).sum().backward()
    np.testing.assert_allclose(q_0.grad[0], w @ transition(rates, 0.7), atol=1e-12)


def test_constants_made_while_jax_compiles_serve_afterwards(generator, transition, agree, laws):
    jax = pytest.importorskip("jax")
    rates, q_0 = generator("general", 4), laws(4)
    process, expected = RateProcess(rates), q_0 @ transition(rates, 0.7).T
    agree(jax.jit(lambda law: process.diffuse(law, 0.7))(q_0), expected)
    agree(process.diffuse(jax.numpy.asarray(q_0), 0.7), expected)


def test_pickling_keeps_the_process_and_no_cache(generator, laws):
    process, q_0 = RateProcess(generator("general", 4)), laws(4)
    expected = process.diffuse(q_0, 0.3)
    size = len(pickle.dumps(RateProcess(process.rate_matrix)))
    assert len(pickle.dumps(process)) == size
    copy = pickle.loads(pickle.dumps(process))
    np.testing.assert_array_equal(copy.diffuse(q_0, 0.3), expected)
    assert repr(copy) == "RateProcess(<4 x 4 generator>)"


def test_the_rate_matrix_of_the_caller_is_left_alone_and_its_diagonal_repaired():
    rates = np.array([[-1.0 + 1e-8, 2.0], [1.0, -2.0]])
    rates.flags.writeable = False
    np.testing.assert_array_equal(RateProcess(rates).rate_matrix.sum(axis=0), [0.0, 0.0])


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ([[0.0, 1.0]], r"shape \(1, 2\)"),
        ([], "shape"),
        ([[float("nan")]], "NaN or infinity"),
        ([[-1.0, -2.0], [1.0, 2.0]], r"rate_matrix\[0, 1\] is -2.0"),
        ([[-1.0, 0.5], [1.0, -0.6]], "column 1 of rate_matrix sums to -0.1"),
    ],
)
def test_what_is_no_generator_is_refused(rates, message):
    with pytest.raises(ValueError, match=message):
        RateProcess(rates)
