import numpy as np
import pytest
from scipy.linalg import expm
from scipy.special import softmax

from skdidicm.core import (
    Cosine,
    Geometric,
    LogLinear,
    RateProcess,
    UniformProcess,
    sample_probabilities,
)

SCHEDULES = [LogLinear(), Cosine(), Geometric(), Geometric(sigma_max=7.0)]
RULES = ["argmin", "argmax", "draw"]


def posteriors(k, rng):
    """Return laws (4, k): flat, uneven, sharp, and nearly one-hot at the last class."""
    laws = rng.gamma(np.array([[50.0], [1.0], [0.1], [1.0]]), size=(4, k)) + 1e-9
    laws[3] = 1e-7
    laws[3, -1] = 1.0
    return laws / laws.sum(axis=1, keepdims=True)


def noisy(law, schedule):
    """Return the law at t = 1."""
    kept = float(schedule.survival(1.0))
    return kept * law + (1 - kept) / law.shape[1]


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("solver", ["euler", "bridge"])
@pytest.mark.parametrize("k", [2, 10, 1000])
def test_an_exact_score_leads_to_the_posterior(exact_score, rng, k, solver, schedule):
    posterior = posteriors(k, rng)
    settings = {"process": UniformProcess(k), "schedule": schedule, "solver": solver}
    for steps in (1, 2, 3, 8, 32):
        for rule in RULES:
            p_init = noisy(posterior, schedule)
            result = sample_probabilities(
                exact_score(posterior), p_init, steps=steps, label_rule=rule, rng=rng, **settings
            )
            np.testing.assert_allclose(result, posterior, atol=1e-9)


@pytest.mark.parametrize("solver", ["euler", "bridge"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_exact_score_leads_to_the_posterior_in_every_library(
    array, agree, exact_score, rng, solver, dtype
):
    posterior, schedule = posteriors(10, rng), LogLinear()
    for rule in RULES:
        result = sample_probabilities(
            exact_score(posterior, array, dtype),
            array(noisy(posterior, schedule), dtype),
            process=UniformProcess(10),
            schedule=schedule,
            steps=4,
            solver=solver,
            label_rule=rule,
            rng=rng,
        )
        assert result.dtype == array(posterior, dtype).dtype
        agree(result, posterior, float64=1e-9, float32=2e-4)


@pytest.mark.parametrize("steps", range(1, 33))
@pytest.mark.parametrize("schedule", [LogLinear(), Cosine()], ids=repr)
def test_the_bridge_may_start_from_pure_noise(exact_score, rng, steps, schedule):
    for k in (2, 10, 1000):
        posterior = posteriors(k, rng)
        result = sample_probabilities(
            exact_score(posterior),
            np.full((4, k), 1 / k),
            process=UniformProcess(k),
            schedule=schedule,
            steps=steps,
            solver="bridge",
        )
        np.testing.assert_allclose(result, posterior, atol=1e-5)


@pytest.mark.parametrize("k", [2, 10, 1000])
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8, 16, 32])
def test_euler_from_pure_noise_finds_the_class_and_soon_the_posterior(exact_score, rng, k, steps):
    posterior = posteriors(k, rng)
    result = sample_probabilities(
        exact_score(posterior),
        np.full((4, k), 1 / k),
        process=UniformProcess(k),
        schedule=LogLinear(),
        steps=steps,
    )
    np.testing.assert_array_equal(result.argmax(axis=1), posterior.argmax(axis=1))
    if steps >= 8:
        np.testing.assert_allclose(result, posterior, atol=5e-3)


@pytest.mark.parametrize("solver", ["euler", "bridge"])
def test_a_batch_of_one_keeps_its_axis_and_its_answer(exact_score, rng, solver):
    posterior = posteriors(5, rng)
    settings = {"process": UniformProcess(5), "schedule": LogLinear(), "solver": solver}
    together = sample_probabilities(
        exact_score(posterior), np.full((4, 5), 0.2), steps=3, **settings
    )
    for i in range(4):
        law = posterior[i : i + 1]
        alone = sample_probabilities(exact_score(law), np.full((1, 5), 0.2), steps=3, **settings)
        np.testing.assert_allclose(alone, together[i : i + 1], rtol=1e-12)


@pytest.mark.parametrize("schedule", [LogLinear(), Geometric()], ids=repr)
def test_the_bridge_is_exact_for_any_generator(
    exact_score, generator, transition, kind, schedule, rng
):
    rates = generator(kind, 4)
    posterior = rng.dirichlet(np.full(4, 5.0), 3)

    def diffuse(law, sigma):
        return law @ transition(rates, sigma).T

    for steps in (2, 5, 16):
        result = sample_probabilities(
            exact_score(posterior, diffuse=diffuse),
            diffuse(posterior, schedule.total(1.0)),
            process=RateProcess(rates),
            schedule=schedule,
            steps=steps,
            solver="bridge",
            label_rule="argmax",
        )
        tolerance = 1e-9 if isinstance(schedule, Geometric) else 1e-2
        np.testing.assert_allclose(result, posterior, atol=tolerance)


def test_euler_converges_for_a_general_generator(exact_score, generator, transition, rng):
    rates, schedule = generator("general", 4), LogLinear()
    posterior = rng.dirichlet(np.ones(4), 3)
    process = RateProcess(rates)

    def error(steps):
        score = exact_score(posterior, diffuse=lambda law, sigma: law @ transition(rates, sigma).T)
        p_init = np.tile(process.limit(), (3, 1))
        settings = {"process": process, "schedule": schedule, "label_rule": "argmax"}
        return np.abs(
            sample_probabilities(score, p_init, steps=steps, **settings) - posterior
        ).max()

    coarse, fine = error(50), error(200)
    assert fine < 0.01
    assert fine < 0.5 * coarse


def test_the_bridge_is_bayes_rule_for_scores_that_no_law_has_too(rng):
    """Every step by dense matrices. Normalised only, although entries rise above 1 on the way."""
    k, steps, schedule, largest = 3, 4, LogLinear(), 0.0
    scores = rng.normal(0, 3, (steps, 20, k))
    p = np.full((20, k), 1 / k)
    sigmas = [float(schedule.total(t)) for t in (1, 0.75, 0.5, 0.25)] + [0.0]
    for score, sigma, sigma_next in zip(scores, sigmas, sigmas[1:], strict=False):
        transition = expm((sigma - sigma_next) * (np.ones((k, k)) - k * np.eye(k)) / k)
        q = softmax(score, axis=1)
        before = np.linalg.solve(transition, q.T).T.clip(0)
        before /= before.sum(axis=1, keepdims=True)
        backwards = before[:, :, None] * transition.T / q[:, None, :]
        p = (backwards @ p[:, :, None])[..., 0]
        largest = max(largest, p.max())
        p /= p.sum(axis=1, keepdims=True)
    assert largest > 1.5
    left = iter(scores)
    found = sample_probabilities(
        lambda label, sigma: next(left),
        np.full((20, k), 1 / k),
        process=UniformProcess(k),
        schedule=schedule,
        steps=steps,
        solver="bridge",
    )
    np.testing.assert_allclose(found, p, rtol=1e-9, atol=1e-12)


def test_no_rows_have_no_laws():
    def log_score(label, sigma):
        return np.zeros((len(label), 3))

    settings = {"process": UniformProcess(3), "schedule": LogLinear(), "steps": 2}
    assert sample_probabilities(log_score, np.zeros((0, 3)), **settings).shape == (0, 3)
