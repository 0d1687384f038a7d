import numpy as np
import pytest
import scipy.integrate

from skdidicm.core import SCHEDULES, LogLinear, noise_levels
from skdidicm.core.noise_levels import TIMES

U = (np.arange(20_000) + 0.5) / 20_000
CROSS_ENTROPIES = ("bayes_cross_entropy", "cross_entropy")


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("k", [2, 1000])
def test_the_weighted_mean_is_the_integral_over_time_of_the_papers_loss(times, name, k):
    schedule, eps_t = SCHEDULES[name](), 0.01

    def loss(sigma):  # any function of the noise
        return np.exp(-sigma) + 0.1 * np.sin(3 * sigma)

    def paper(t):
        return schedule.rate(t) * loss(schedule.total(t))

    integral, _ = scipy.integrate.quad(paper, eps_t, 1, limit=400)
    sigma, weight = noise_levels(U, schedule, k, times=times, eps_t=eps_t)
    assert (weight * loss(sigma)).mean() == pytest.approx(integral / (1 - eps_t), rel=1e-4)


@pytest.mark.parametrize("k", [2, 10, 1000])
def test_log_odds_are_uniform_over_the_levels_of_the_schedule(k):
    sigma, weight = noise_levels(U, LogLinear(), k, times="log_odds", eps_t=1e-4)
    a = np.exp(-sigma)
    odds = np.log(a * k / (1 - a))
    np.testing.assert_allclose(np.diff(odds), np.diff(odds).mean(), rtol=1e-6)
    assert sigma[[0, -1]] == pytest.approx([1e-4, -np.log(1e-3)], rel=2e-3)
    assert weight.max() < 17 < 999


@pytest.mark.parametrize("objective", CROSS_ENTROPIES)
@pytest.mark.parametrize("k", [2, 10, 1000])
def test_a_cross_entropy_has_equal_weights_and_labels_that_tell_something(objective, k):
    for times in TIMES:
        sigma, weight = noise_levels(U, LogLinear(), k, times=times, objective=objective)
        assert (weight == 1).all()
    a = np.exp(-sigma)  # a label of class i is this many times as likely from i as from another
    factor = (a + (1 - a) / k) / ((1 - a) / k)
    assert factor[[0, -1]] == pytest.approx([1 + np.e**3, 1 + np.e**-3], rel=1e-3)


@pytest.mark.parametrize("times", TIMES)
@pytest.mark.parametrize("objective", ["score_entropy", *CROSS_ENTROPIES])
def test_arrays_of_every_library_keep_it_and_agree(times, objective, xp, array, agree):
    u = np.linspace(0, 1, 9)
    given = {"times": times, "objective": objective}
    expected = noise_levels(u, LogLinear(), 100, **given)
    for found, values in zip(
        noise_levels(array(u), LogLinear(), 100, **given), expected, strict=True
    ):
        assert type(found) is type(array(u))
        assert found.dtype == array(u).dtype
        agree(found, values, float64=1e-12, float32=2e-4)
