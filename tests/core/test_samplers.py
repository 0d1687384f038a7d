import itertools

import numpy as np
import pytest
import scipy.special

from skdidicm.core import (
    SCHEDULES,
    Geometric,
    LogLinear,
    UniformProcess,
    log_score,
    sample_probabilities,
    time_steps,
)


@pytest.mark.parametrize("k", [7, 200])
@pytest.mark.parametrize("rule", ["min", "max"])
@pytest.mark.parametrize("steps", [1, 2, 3, 8, 16])
def test_probabilities_of_the_official_code(parity, array, agree, k, rule, steps):
    numbers, process = parity(f"cp_euler_k{k}.npz"), UniformProcess(k)
    per_row, per_label = array(numbers["A"]), numbers["C"]

    def log_score_fn(label, sigma):
        noise = array(np.exp(-np.asarray(sigma) / 3)[:, None], np.float32)
        output = per_row * noise + array(per_label[np.asarray(label)])
        return log_score(output, label, sigma, process=process)

    result = sample_probabilities(
        log_score_fn,
        array(np.full(numbers["A"].shape, 1 / k, dtype=np.float32)),
        process=process,
        schedule=LogLinear(),
        steps=steps,
        label_rule=f"arg{rule}",
        grid="official",
    )
    agree(result, numbers[f"{rule}_{steps}"], float32=1e-4)


@pytest.mark.parametrize("rule", ["argmin", "argmax"])
def test_the_official_grid_with_dense_matrices_gives_the_same(rng, rule):
    n, k, steps, eps = 5, 6, 12, 1e-5
    table = rng.standard_normal((k, n, k))
    uniform = (np.ones((k, k)) - k * np.eye(k)) / k

    def log_score_fn(label, sigma):
        output = table[label, np.arange(n)] * np.exp(-sigma)[:, None]
        return output - output[np.arange(n), label][:, None]

    p = np.full((n, k), 1 / k)
    for t in np.linspace(1, eps, steps):
        label = getattr(p, rule)(axis=1)
        law = scipy.special.softmax(log_score_fn(label, np.full(n, LogLinear().total(t))), axis=1)
        score = law[:, :, None] / law[:, None, :]
        rates = score * uniform.T
        rates = rates - np.eye(k) * rates.sum(axis=1)[:, None, :]
        p = p + (1 - eps) / steps * LogLinear().rate(t) * np.einsum("nij,nj->ni", rates, p)
        p = np.clip(p, 0, 1)
        p /= p.sum(axis=1, keepdims=True)
    result = sample_probabilities(
        log_score_fn,
        np.full((n, k), 1 / k),
        process=UniformProcess(k),
        schedule=LogLinear(),
        steps=steps,
        label_rule=rule,
        grid="official",
    )
    np.testing.assert_allclose(result, p, atol=1e-6)


def test_every_step_makes_one_call_at_the_noise_of_its_time():
    seen = []

    def log_score_fn(label, sigma):
        seen.append((label.copy(), sigma.copy()))
        return np.tile([0.0, 1.0, -1.0], (4, 1))

    path = sample_probabilities(
        log_score_fn,
        np.tile([0.3, 0.2, 0.5], (4, 1)),
        process=UniformProcess(3),
        schedule=LogLinear(),
        steps=5,
        return_path=True,
    )
    assert path.shape == (4, 6, 3)
    np.testing.assert_array_equal(path[:, 0], np.tile([0.3, 0.2, 0.5], (4, 1)))
    for i, (label, sigma) in enumerate(seen):
        np.testing.assert_allclose(sigma, np.full(4, LogLinear().total(1 - i / 5)))
        np.testing.assert_array_equal(label, path[:, i].argmin(axis=1))
    assert len(seen) == 5


@pytest.mark.parametrize("rule", ["argmin", "argmax"])
def test_where_there_is_no_tie_the_label_is_the_extreme_one(array, rule, rng):
    p_init = rng.dirichlet(np.ones(6), 8)

    def log_score_fn(label, sigma):
        np.testing.assert_array_equal(np.asarray(label), getattr(p_init, rule)(axis=1))
        return array(np.zeros((8, 6)))

    settings = {"process": UniformProcess(6), "schedule": LogLinear(), "label_rule": rule}
    for noise in (None, rng, rng):
        sample_probabilities(log_score_fn, array(p_init), steps=1, rng=noise, **settings)


@pytest.mark.parametrize("rule", ["argmin", "argmax", "draw"])
def test_ties_are_broken_at_random_and_alike_for_all_rows(rule):
    def first_label(rng):
        seen = []

        def log_score_fn(label, sigma):
            seen.append(label)
            return np.zeros((6, 5))

        settings = {"process": UniformProcess(5), "schedule": LogLinear(), "label_rule": rule}
        sample_probabilities(log_score_fn, np.full((6, 5), 0.2), steps=1, rng=rng, **settings)
        assert len(set(seen[0].tolist())) == 1
        return int(seen[0][0])

    assert {first_label(np.random.default_rng(seed)) for seed in range(60)} == set(range(5))
    if rule != "draw":
        assert first_label(None) == 0


@pytest.mark.parametrize("schedule", [choice() for choice in SCHEDULES.values()], ids=repr)
@pytest.mark.parametrize("steps", [1, 2, 7])
def test_the_tiled_grid_leads_without_a_gap_from_all_noise_to_none(schedule, steps):
    plan = time_steps(schedule, steps)
    assert len(plan) == steps
    assert plan[0].sigma == pytest.approx(schedule.total(1.0))
    assert plan[-1].sigma_next == 0.0
    assert all(a.sigma_next == b.sigma for a, b in itertools.pairwise(plan))
    for step in plan:
        assert step.h == pytest.approx(np.exp(step.sigma - step.sigma_next) - 1)


def test_noise_without_end_makes_a_long_step_but_no_overflow():
    schedule, k = Geometric(sigma_max=5000.0), 3
    result = sample_probabilities(
        lambda label, _: np.tile(np.float32([0, 80, -80]), (len(label), 1)),
        np.full((2, k), 1 / k, dtype=np.float32),
        process=UniformProcess(k),
        schedule=schedule,
        steps=1,
    )
    np.testing.assert_allclose(result.sum(axis=1), 1, rtol=1e-6)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"solver": "heun"}, "solver is 'heun'"),
        ({"label_rule": "min"}, "label_rule is 'min'"),
        ({"grid": "log"}, "grid is 'log'"),
        ({"steps": 0}, "steps is 0"),
        ({"label_rule": "draw"}, "pass a numpy.random.Generator as rng"),
    ],
)
def test_what_cannot_be_sampled_is_refused(wrong, message):
    settings = {"process": UniformProcess(2), "schedule": LogLinear(), "steps": 1} | wrong
    with pytest.raises(ValueError, match=message):
        sample_probabilities(lambda label, _: np.zeros((1, 2)), np.full((1, 2), 0.5), **settings)
