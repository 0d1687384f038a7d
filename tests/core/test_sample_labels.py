import numpy as np
import pytest
import scipy.stats

from skdidicm.core import Geometric, LogLinear, RateProcess, UniformProcess, sample_labels, samplers

POSTERIOR = np.array([[0.4, 0.3, 0.15, 0.1, 0.05], [0.02, 0.03, 0.9, 0.02, 0.03]])


def settings(k=5, **changes):
    return {"process": UniformProcess(k), "schedule": LogLinear(), "steps": 4} | changes


@pytest.mark.parametrize(("solver", "steps"), [("bridge", 1), ("bridge", 6), ("euler", 32)])
def test_an_exact_score_gives_shares_like_the_posterior(exact_score, rng, solver, steps):
    n_chains = 20_000
    shares = sample_labels(
        exact_score(POSTERIOR),
        2,
        n_chains=n_chains,
        uniforms=rng.random((steps + 1, 2, n_chains)),
        **settings(solver=solver, steps=steps),
    )
    for row, law in zip(shares, POSTERIOR, strict=True):
        assert scipy.stats.chisquare(n_chains * row, n_chains * law).pvalue > 1e-3


def test_an_exact_score_gives_shares_like_the_posterior_for_any_generator(
    exact_score, generator, transition, rng
):
    rates, posterior, n_chains = generator("general", 5), POSTERIOR[:1], 20_000
    shares = sample_labels(
        exact_score(posterior, diffuse=lambda law, sigma: law @ transition(rates, sigma).T),
        1,
        n_chains=n_chains,
        uniforms=rng,
        p_init=(transition(rates, LogLinear().total(1.0)) @ posterior[0]),
        **settings(process=RateProcess(rates), solver="bridge"),
    )
    assert scipy.stats.chisquare(n_chains * shares[0], n_chains * posterior[0]).pvalue > 1e-3


def test_a_schedule_that_ends_early_needs_the_marginal_to_start_from(exact_score):
    schedule, law = Geometric(), POSTERIOR[:1]
    kept = float(schedule.survival(1.0))

    def distance(p_init):
        uniforms = np.random.default_rng(3).random((5, 20_000))
        changes = {"schedule": schedule, "solver": "bridge", "p_init": p_init}
        shares = sample_labels(
            exact_score(law), 1, n_chains=20_000, uniforms=uniforms, **settings(**changes)
        )
        return np.abs(shares - law).max()

    assert distance(kept * law[0] + (1 - kept) / 5) < 0.01
    assert distance(None) > 0.02


@pytest.mark.parametrize("solver", ["euler", "bridge"])
def test_every_library_gives_the_same_shares(array, exact_score, agree, rng, solver):
    uniforms = rng.random((5, 2, 40)).astype(np.float32)
    run = settings(solver=solver, return_path=True)
    expected = sample_labels(exact_score(POSTERIOR), 2, n_chains=40, uniforms=uniforms, **run)
    shares = sample_labels(
        exact_score(POSTERIOR, array, np.float32), 2, n_chains=40, uniforms=array(uniforms), **run
    )
    assert type(shares) is type(array(uniforms))
    assert shares.shape == (2, 5, 5)
    agree(shares, expected, float64=1e-6, float32=1e-6)


def test_a_step_has_the_official_weights_up_to_what_it_can_hold(parity):
    numbers, process = parity("cl_euler.npz"), UniformProcess(7)
    h = numbers["h"] * LogLinear().rate(numbers["t"])
    law = numbers["score"] / numbers["score"].sum(axis=1, keepdims=True)
    weights = process.euler_step(np.eye(7)[numbers["label"]], law, h)
    np.testing.assert_allclose(weights, numbers["weights"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("chunk", [1, 40, 70])
@pytest.mark.parametrize("shape", [(5, 13), (5, 2, 13)])
def test_cutting_the_chains_into_parts_changes_nothing(exact_score, monkeypatch, rng, chunk, shape):
    calls, score = [], exact_score(POSTERIOR)

    def log_score_fn(label, sigma):
        calls.append(len(label))
        return score(label, sigma)

    uniforms = rng.random(shape)
    run = settings(return_path=True)
    whole = sample_labels(log_score_fn, 2, n_chains=13, uniforms=uniforms, **run)
    assert calls == [26] * 4
    monkeypatch.setattr(samplers, "_CHUNK", chunk)
    calls.clear()
    parts = sample_labels(log_score_fn, 2, n_chains=13, uniforms=uniforms, **run)
    np.testing.assert_allclose(parts, whole, atol=1e-15)
    assert sum(calls) == 4 * 26
    assert max(calls) <= max(2, chunk // 5)


def test_rows_of_shared_noise_do_not_depend_on_each_other(exact_score, rng):
    posterior, uniforms = rng.dirichlet(np.ones(5), 4), rng.random((5, 30))
    together = sample_labels(
        exact_score(posterior), 4, n_chains=30, uniforms=uniforms, **settings()
    )
    for i in range(4):
        alone = sample_labels(
            exact_score(posterior[i : i + 1]), 1, n_chains=30, uniforms=uniforms, **settings()
        )
        np.testing.assert_array_equal(alone[0], together[i])


def test_shared_noise_is_the_same_noise_for_every_row(exact_score, rng):
    uniforms = rng.random((5, 30))
    posterior = POSTERIOR[[0, 0, 0]]
    shared = sample_labels(exact_score(posterior), 3, n_chains=30, uniforms=uniforms, **settings())
    spread = uniforms[:, None, :].repeat(3, axis=1)
    by_row = sample_labels(exact_score(posterior), 3, n_chains=30, uniforms=spread, **settings())
    np.testing.assert_array_equal(shared, by_row)
    np.testing.assert_array_equal(shared, shared[[0, 0, 0]])


@pytest.mark.parametrize("make", [lambda: None, lambda: np.random.default_rng(0)])
def test_noise_that_is_not_given_is_drawn_and_repeatable(exact_score, make):
    expected = np.random.default_rng(0).random((5, 30))
    run = settings(n_chains=30)
    first = sample_labels(exact_score(POSTERIOR), 2, uniforms=make(), **run)
    second = sample_labels(exact_score(POSTERIOR), 2, uniforms=expected, **run)
    np.testing.assert_array_equal(first, second)


def test_the_chains_of_a_row_lie_next_to_each_other():
    seen = []

    def log_score_fn(label, sigma):
        seen.append((label, sigma))
        return np.zeros((len(label), 4))

    start = np.array([[0.1, 0.3, 0.6], [0.8, 0.9, 0.05]])  # labels of three chains of two rows
    uniforms = np.stack([start, np.zeros((2, 3))])
    sample_labels(log_score_fn, 2, n_chains=3, uniforms=uniforms, **settings(k=4, steps=1))
    (label, sigma), *rest = seen
    assert not rest
    np.testing.assert_array_equal(label, [0, 1, 2, 3, 3, 0])
    np.testing.assert_allclose(sigma, np.full(6, LogLinear().total(1.0)))


def test_the_path_starts_from_the_first_draw_and_ends_at_the_answer(exact_score, rng):
    uniforms = rng.random((5, 2, 50))
    run = settings(n_chains=50, uniforms=uniforms)
    path = sample_labels(exact_score(POSTERIOR), 2, return_path=True, **run)
    np.testing.assert_array_equal(path[:, -1], sample_labels(exact_score(POSTERIOR), 2, **run))
    for i in range(2):
        counts, _ = np.histogram(uniforms[0, i], bins=np.linspace(0, 1, 6))
        np.testing.assert_allclose(path[i, 0], counts / 50)
    np.testing.assert_allclose(path.sum(axis=-1), 1)


@pytest.mark.parametrize("solver", ["euler", "bridge"])
def test_no_rows_have_no_shares(solver):
    def log_score(label, sigma):
        return np.zeros((len(label), 3))

    settings = {"process": UniformProcess(3), "schedule": LogLinear(), "steps": 2, "n_chains": 4}
    settings["solver"] = solver
    assert sample_labels(log_score, 0, **settings).shape == (0, 3)
    assert sample_labels(log_score, 0, return_path=True, **settings).shape == (0, 3, 3)


def test_a_single_chain_of_a_single_row_ends_in_one_class(exact_score):
    shares = sample_labels(exact_score(POSTERIOR[:1]), 1, n_chains=1, **settings())
    assert sorted(shares[0]) == [0, 0, 0, 0, 1]


@pytest.mark.parametrize("shape", [(4, 6), (5, 7), (5, 3, 6), (6,), (5, 2, 6, 1)])
def test_noise_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match=r"expected \(5, 6\) or \(5, 2, 6\)"):
        sample_labels(None, 2, n_chains=6, uniforms=np.zeros(shape), **settings())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"n_chains": 0}, "n_chains is 0"),
        ({"solver": "heun"}, "solver is 'heun'"),
        ({"steps": -1}, "steps is -1"),
        ({"grid": "log"}, "grid is 'log'"),
    ],
)
def test_what_cannot_be_sampled_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        sample_labels(None, 2, **({"n_chains": 2} | settings(**wrong)))
