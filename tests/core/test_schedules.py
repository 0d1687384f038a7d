import numpy as np
import pytest
import scipy.integrate

from skdidicm.core import SCHEDULES, Cosine, Geometric, LogLinear

CHOICES = [
    LogLinear(),
    LogLinear(eps=0.2),
    Geometric(),
    Geometric(sigma_min=0.05, sigma_max=7.0),
    Cosine(),
    Cosine(eps=0.2),
]
TIMES = np.linspace(0.0, 1.0, 41)


@pytest.fixture(params=CHOICES, ids=repr)
def schedule(request):
    return request.param


@pytest.mark.parametrize("t", [0.01, 0.3, 0.9, 1.0])
def test_total_is_the_integral_of_rate(schedule, t):
    integral, _ = scipy.integrate.quad(schedule.rate, 0.0, t, epsabs=1e-11, epsrel=1e-11, limit=400)
    assert schedule.total(t) - schedule.total(0.0) == pytest.approx(integral, rel=1e-8)


def test_survival_is_the_exponential_of_minus_total(schedule):
    np.testing.assert_allclose(schedule.survival(TIMES), np.exp(-schedule.total(TIMES)), rtol=1e-12)


def test_noise_only_grows(schedule, array):
    t = array(TIMES)
    assert (np.diff(np.asarray(schedule.total(t))) > 0).all()
    assert (np.diff(np.asarray(schedule.survival(t))) < 0).all()
    assert (np.asarray(schedule.rate(t)) >= 0).all()


def test_arrays_of_every_library_keep_it_and_agree_with_numbers(schedule, xp, array, agree):
    t = array(TIMES)
    for method in ("total", "rate", "survival"):
        result = getattr(schedule, method)(t)
        assert type(result) is type(t)
        assert result.dtype == t.dtype
        numbers = [float(getattr(schedule, method)(float(time))) for time in TIMES]
        agree(result, numbers, float64=1e-12, float32=2e-4)


@pytest.mark.parametrize("schedule", [LogLinear(eps=0.03), Cosine(eps=0.03)], ids=repr)
def test_survival_falls_from_one_to_eps(schedule):
    assert schedule.survival(0.0) == 1.0
    assert schedule.total(0) == 0.0
    assert schedule.survival(1) == pytest.approx(0.03, rel=1e-12)


def test_geometric_has_the_ends_and_the_mean_that_are_asked_for():
    schedule = Geometric(sigma_min=0.01, sigma_max=4.0)
    assert schedule.total(np.array([0.0, 0.5, 1.0])) == pytest.approx([0.01, 0.2, 4.0], rel=1e-12)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    [("loglinear", 1e-12), ("geometric", 1e-6)],
    ids=["loglinear", "geometric"],
)
def test_numbers_of_the_official_code(parity, name, tolerance):
    numbers, schedule = parity("schedules.npz"), SCHEDULES[name]()
    for method in ("total", "rate"):
        actual = getattr(schedule, method)(numbers["t"])
        np.testing.assert_allclose(actual, numbers[f"{name}_{method}"], rtol=tolerance)


@pytest.mark.parametrize("choice", [LogLinear, Cosine])
@pytest.mark.parametrize("eps", [0.0, 1.0, -0.1, 2.0, float("nan")])
def test_an_eps_outside_zero_and_one_is_refused(choice, eps):
    with pytest.raises(ValueError, match=f"eps is {eps}"):
        choice(eps=eps)


@pytest.mark.parametrize(
    ("sigma_min", "sigma_max"),
    [(0.0, 1.0), (-1.0, 1.0), (1.0, 1.0), (2.0, 1.0), (0.1, float("inf")), (float("nan"), 1.0)],
)
def test_geometric_refuses_noise_that_does_not_grow(sigma_min, sigma_max):
    with pytest.raises(ValueError, match="0 < sigma_min < sigma_max"):
        Geometric(sigma_min=sigma_min, sigma_max=sigma_max)


def test_schedules_of_equal_settings_are_equal():
    assert {name: choice() for name, choice in SCHEDULES.items()} == {
        "loglinear": LogLinear(1e-3),
        "geometric": Geometric(1e-3, 1.0),
        "cosine": Cosine(1e-3),
    }
