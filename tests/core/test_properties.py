"""What holds for every process, law and network output."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from skdidicm.core import (
    LogLinear,
    RateProcess,
    UniformProcess,
    sample_labels,
    sample_probabilities,
)

SIGMAS = st.floats(0.0, 7.0)
SEEDS = st.integers(0, 2**32 - 1)


@st.composite
def processes(draw):
    """Return a process over a few classes, and a generator of random numbers."""
    k, rng = draw(st.integers(2, 6)), np.random.default_rng(draw(SEEDS))
    if draw(st.booleans()):
        return UniformProcess(k), rng
    return RateProcess(random_rates(k, rng, draw(st.sampled_from([0.3, 1.0])))), rng


def random_rates(k, rng, density):
    """Return a generator whose slowest class leaves at no more than unit rate."""
    flow = rng.random((k, k)) * (rng.random((k, k)) < density)
    np.fill_diagonal(flow, 0)
    flow /= max(flow.sum(axis=0).max(), 1e-9)
    return flow - np.diag(flow.sum(axis=0))


def random_laws(k, rng, n=3):
    laws = rng.dirichlet(np.full(k, 0.7), n) + 1e-3
    return laws / laws.sum(axis=1, keepdims=True)


def assert_laws(p, tolerance):
    assert np.isfinite(p).all()
    assert p.min() >= 0
    np.testing.assert_allclose(p.sum(axis=-1), 1, atol=tolerance)


@given(processes(), SIGMAS, SIGMAS)
def test_diffuse_undiffuse_and_bridge_give_laws(chosen, sigma, distance):
    process, rng = chosen
    p, q = random_laws(process.n_classes, rng), random_laws(process.n_classes, rng)
    noised = process.diffuse(q, distance)
    assert_laws(noised, 1e-10)
    assert_laws(process.undiffuse(q, sigma), 1e-10)
    assert_laws(process.bridge_step(p, noised, sigma + distance, sigma), 1e-6)


@given(processes(), SIGMAS, SIGMAS)
def test_noise_adds_up(chosen, first, second):
    process, rng = chosen
    q = random_laws(process.n_classes, rng)
    twice = process.diffuse(process.diffuse(q, first), second)
    np.testing.assert_allclose(twice, process.diffuse(q, first + second), atol=1e-10)


@given(processes(), st.floats(0.0, 3.0))
def test_undiffuse_inverts_diffuse(chosen, sigma):
    process, rng = chosen
    q = random_laws(process.n_classes, rng)
    np.testing.assert_allclose(process.undiffuse(process.diffuse(q, sigma), sigma), q, atol=1e-7)


@given(processes(), SIGMAS, SIGMAS)
def test_adjoint_is_adjoint(chosen, sigma, scale):
    process, rng = chosen
    q, w = random_laws(process.n_classes, rng), rng.normal(0, 1 + scale, (3, process.n_classes))
    forward, backward = process.diffuse(q, sigma) * w, q * process.adjoint(w, sigma)
    np.testing.assert_allclose(forward.sum(axis=1), backward.sum(axis=1), atol=1e-8)


@given(st.integers(2, 6), SEEDS, st.booleans(), SIGMAS, st.floats(0.01, 3.0))
def test_the_names_of_the_classes_do_not_matter(k, seed, uniform, sigma, distance):
    rng = np.random.default_rng(seed)
    rates, order = random_rates(k, rng, 1.0), rng.permutation(k)
    process, renamed = UniformProcess(k), UniformProcess(k)
    if not uniform:
        process, renamed = RateProcess(rates), RateProcess(rates[np.ix_(order, order)])
    p, q = random_laws(k, rng), process.diffuse(random_laws(k, rng), distance)

    def same(a, b):
        np.testing.assert_allclose(a[:, order], b, rtol=1e-6, atol=1e-8)

    same(process.diffuse(p, sigma), renamed.diffuse(p[:, order], sigma))
    same(process.euler_step(p, q, sigma), renamed.euler_step(p[:, order], q[:, order], sigma))
    levels = 1.0 + distance, 1.0
    same(process.bridge_step(p, q, *levels), renamed.bridge_step(p[:, order], q[:, order], *levels))


@given(st.integers(2, 6), SEEDS, st.sampled_from(["euler", "bridge"]), st.integers(1, 5))
def test_renamed_classes_are_sampled_alike(k, seed, solver, steps):
    rng = np.random.default_rng(seed)
    order, table, p_init = rng.permutation(k), rng.normal(0, 1, (k, k)), random_laws(k, rng, 1)
    if steps > 1:  # clipping at 1 makes ties, so from then on the label must not count
        table[:] = table[0]

    def sample(table, p_init):
        def log_score_fn(label, _):
            return table[label] - table[label, label][:, None]

        return sample_probabilities(
            log_score_fn,
            p_init,
            process=UniformProcess(k),
            schedule=LogLinear(),
            steps=steps,
            solver=solver,
            label_rule="argmax",
        )

    renamed = sample(table[np.ix_(order, order)], p_init[:, order])
    np.testing.assert_allclose(renamed, sample(table, p_init)[:, order], rtol=1e-6, atol=1e-9)


@given(processes(), SIGMAS)
def test_rows_do_not_depend_on_each_other(chosen, sigma):
    process, rng = chosen
    k = process.n_classes
    p, q = random_laws(k, rng), random_laws(k, rng)
    calls = [
        lambda rows: process.diffuse(p[rows], sigma),
        lambda rows: process.undiffuse(p[rows], sigma),
        lambda rows: process.euler_step(p[rows], q[rows], sigma),
        lambda rows: process.bridge_step(p[rows], q[rows], sigma + 1, 1.0),
    ]
    for call in calls:
        together = call(slice(None))
        alone = np.concatenate([call(slice(i, i + 1)) for i in range(3)])
        np.testing.assert_allclose(alone, together, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("solver", ["euler", "bridge"])
@pytest.mark.parametrize("grid", ["tiled", "official"])
@given(
    chosen=processes(),
    scores=arrays(np.float32, (6, 6), elements=st.floats(-1e6, 1e6, width=32)),
    steps=st.integers(1, 6),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_wild_scores_still_give_laws(solver, grid, chosen, scores, steps, dtype):
    process, rng = chosen
    k = process.n_classes

    def log_score_fn(label, _):
        return (scores[label, :k] - scores[label, label][:, None]).astype(dtype)

    settings = {"process": process, "schedule": LogLinear(), "steps": steps, "solver": solver}
    settings["grid"] = grid
    for rule in ("argmin", "argmax", "draw"):
        p_init = np.full((2, k), 1 / k, dtype=dtype)
        path = sample_probabilities(
            log_score_fn, p_init, label_rule=rule, rng=rng, return_path=True, **settings
        )
        assert path.dtype == dtype
        assert_laws(path, 1e-5)
    uniforms = rng.random((steps + 1, 5)).astype(dtype)
    shares = sample_labels(log_score_fn, 2, n_chains=5, uniforms=uniforms, **settings)
    assert_laws(shares, 1e-5)
