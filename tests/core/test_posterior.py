import numpy as np
import pytest
import scipy.stats

from skdidicm.core import (
    EPS_T,
    Geometric,
    LogLinear,
    RateProcess,
    SamplerPlan,
    UniformProcess,
    read_out,
    sample_posterior,
)

LAWS = np.array([[0.5, 0.3, 0.2], [0.05, 0.05, 0.9]])


def plan(**changes):
    process = UniformProcess(3)
    settings = {"sampler": "cp", "solver": "bridge", "steps": 4, "n_chains": 5000}
    return SamplerPlan(process, LogLinear(), process.limit(), 7, **{**settings, **changes})


def exact(label, sigma):
    """Return log q_t(i) / q_t(label) of LAWS: labels (n,), or (n, c) for c chains of each row."""
    label, kept = np.asarray(label), np.exp(-np.asarray(sigma, dtype=np.float64))[..., None]
    laws = LAWS.reshape(2, *[1] * (label.ndim - 1), 3)
    log_q_t = np.log(kept * laws + (1 - kept) / 3)
    return log_q_t - np.take_along_axis(log_q_t, label[..., None], axis=-1)


def test_class_probabilities_end_at_the_posterior():
    np.testing.assert_allclose(sample_posterior(exact, 2, plan()), LAWS, atol=1e-5)


def test_chains_of_labels_end_in_shares_like_the_posterior():
    shares = sample_posterior(exact, 2, plan(sampler="cl"))
    for row, law in zip(shares, LAWS, strict=True):
        assert scipy.stats.chisquare(5000 * row, 5000 * law).pvalue > 1e-3


@pytest.mark.parametrize(("sampler", "shape"), [("cp", (2,)), ("cl", (2, 9))])
def test_a_network_is_asked_for_rows_or_for_rows_and_chains(sampler, shape):
    asked = []

    def score(label, sigma):
        asked.append((label.shape, sigma.shape))
        return exact(label, sigma)

    path = sample_posterior(score, 2, plan(sampler=sampler, steps=3, n_chains=9), return_path=True)
    assert asked == [(shape, shape)] * 3
    assert path.shape == (2, 4, 3)


@pytest.mark.parametrize("sampler", ["cp", "cl"])
def test_a_seed_decides_the_noise_and_no_row_depends_on_another(sampler):
    settings = {"sampler": sampler, "label_rule": "draw", "solver": "euler", "n_chains": 6}
    whole = sample_posterior(exact, 2, plan(**settings))

    def second(label, sigma):
        rows = np.repeat(label, 2, axis=0), np.repeat(sigma, 2, axis=0)
        return exact(*rows)[1:]

    np.testing.assert_allclose(sample_posterior(second, 1, plan(**settings)), whole[1:])


def test_start_chooses_the_library_and_the_number_format(array, xp):
    for sampler in ("cp", "cl"):
        made = sample_posterior(
            lambda label, sigma: array(exact(np.asarray(label), np.asarray(sigma))),
            2,
            plan(sampler=sampler, n_chains=4),
            lambda values: array(values.astype(np.float32)),
        )
        assert type(made) is type(array(LAWS))
        assert str(made.dtype).endswith("float32")


def test_a_sampler_of_another_name_is_refused():
    with pytest.raises(ValueError, match="sampler is 'cq'; expected one of"):
        sample_posterior(exact, 2, plan(sampler="cq"))


@pytest.mark.parametrize("schedule", [LogLinear(), Geometric()])
def test_reading_out_is_the_law_after_the_noise_at_the_smallest_time(schedule, transition):
    rates = np.array([[-1.0, 0.3, 0.0], [0.4, -0.5, 2.0], [0.6, 0.2, -2.0]])
    expected = LAWS @ transition(rates, float(schedule.total(EPS_T))).T
    found = read_out(LAWS, RateProcess(rates), schedule)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert (read_out(np.eye(3), UniformProcess(3), schedule) > 0).all()
