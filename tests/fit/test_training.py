"""Noise for a mini-batch, the learning-rate curve, the epoch loop."""

import math
from itertools import islice

import numpy as np
import pytest
import scipy.linalg

from skdidicm.backend import Batch
from skdidicm.core import Geometric, LogLinear, RateProcess, UniformProcess, noise_levels
from skdidicm.fit.training import (
    NonFiniteLossError,
    Rows,
    TrainingPlan,
    averaged,
    corrupt,
    draw_levels,
    epochs,
    last_weights,
    learning_rate_at,
)

RATES = np.array([[-1.0, 0.5, 0.1], [0.8, -0.7, 0.2], [0.2, 0.2, -0.3]])


def make_plan(**changes):
    settings = {
        "process": UniformProcess(3),
        "schedule": LogLinear(),
        "objective": "score_entropy",
        "max_epochs": 3,
        "batch_size": 4,
        "learning_rate": 0.1,
        "n_draws": 5,
    }
    return TrainingPlan(**(settings | changes))


def make_rows(n=6, k=3, seed=0):
    rng = np.random.default_rng(seed)
    x = np.arange(2.0 * n).reshape(n, 2)
    return Rows(x, rng.dirichlet(np.ones(k), n), rng.uniform(0.5, 2, n))


def time_of(sigma, schedule):
    """Return the t at which the log-linear schedule reaches sigma."""
    return (1 - np.exp(-sigma)) / (1 - schedule.eps)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 8), (7, 1), (50, 4)])
def test_every_stratum_of_time_is_drawn_once(rng, n, m):
    t = draw_levels(rng, n, m)
    assert t.shape == (n, m)
    edges = np.arange(n * m + 1) / (n * m)
    assert (np.histogram(t, edges)[0] == 1).all()
    for draw in range(m):
        low, high = edges[draw * n], edges[(draw + 1) * n]
        assert ((t[:, draw] >= low) & (t[:, draw] <= high)).all()


def test_no_row_is_given_early_or_late_times_on_average(rng):
    t = np.stack([draw_levels(rng, 4, 2) for _ in range(2000)])
    middle = np.broadcast_to([0.25, 0.75], (4, 2))
    error = 0.5 / np.sqrt(12) / np.sqrt(2000)
    np.testing.assert_allclose(t.mean(axis=0), middle, atol=5 * error)


@pytest.mark.parametrize("times", ["uniform", "log_odds"])
@pytest.mark.parametrize("objective", ["score_entropy", "bayes_cross_entropy"])
def test_levels_and_weights_are_those_of_the_core(rng, times, objective):
    rows, state = make_rows(n=6), rng.bit_generator.state
    plan = make_plan(times=times, objective=objective, n_draws=4)
    batch = corrupt(rows, plan, rng, shared=False)
    rng.bit_generator.state = state
    given = {"times": times, "objective": objective}
    sigma, weight = noise_levels(draw_levels(rng, 6, 4), plan.schedule, 3, **given)
    np.testing.assert_array_equal(batch.sigma, sigma)
    np.testing.assert_allclose(batch.weight, rows.weight[:, None] * weight / 24)


@pytest.mark.parametrize("rates", [None, RATES], ids=["uniform", "rate matrix"])
def test_labels_occur_as_often_as_the_matrix_exponential_says(rng, rates):
    q_0, n, m = np.array([0.7, 0.3, 0.0]), 500, 8
    process = UniformProcess(3) if rates is None else RateProcess(rates)
    rows = Rows(np.zeros((n, 1)), np.tile(q_0, (n, 1)), np.ones(n))
    batch = corrupt(rows, make_plan(process=process, n_draws=m), rng, shared=False)
    generator = np.full((3, 3), 1 / 3) - np.eye(3) if rates is None else rates
    q_t = scipy.linalg.expm(batch.sigma[..., None, None] * generator) @ q_0
    found = np.bincount(batch.label.ravel(), minlength=3) / (n * m)
    error = np.sqrt(q_t.mean(axis=(0, 1)) / (n * m))
    np.testing.assert_array_less(np.abs(found - q_t.mean(axis=(0, 1))), 5 * error)
    early = batch.label[:, 0]  # at the first eighth of time most labels are still clean
    assert np.isin(early, [0, 1]).mean() > 0.85


def test_enumerated_labels_give_the_exact_expectation_over_noisy_labels(rng):
    rows, plan = make_rows(n=5), make_plan(n_draws=4, enumerate_labels=True)
    batch = corrupt(rows, plan, rng, shared=False)
    assert batch.label.tolist() == [[0, 1, 2] * 4]
    levels = batch.sigma.reshape(4, 3)
    assert (levels == levels[:, :1]).all()
    q_t = np.stack(
        [scipy.linalg.expm(s * (np.full((3, 3), 1 / 3) - np.eye(3))) for s in levels[:, 0]]
    )
    law = np.einsum("mij,nj->nmi", q_t, rows.target)
    weight = batch.weight.reshape(5, 4, 3)
    np.testing.assert_allclose(weight / weight.sum(axis=-1, keepdims=True), law, rtol=1e-9)
    one_by_one = corrupt(rows, make_plan(n_draws=4), np.random.default_rng(20), shared=True)
    np.testing.assert_allclose(weight.sum(axis=-1), one_by_one.weight, rtol=1e-9)


@pytest.mark.parametrize("enumerate_labels", [False, True])
def test_weights_are_row_weight_times_the_slope_of_sigma_over_n_and_m(rng, enumerate_labels):
    rows, schedule = make_rows(), LogLinear(eps=0.1)
    plan = make_plan(schedule=schedule, enumerate_labels=enumerate_labels)
    batch = corrupt(rows, plan, rng, shared=False)
    sigma, weight = batch.sigma, batch.weight
    if enumerate_labels:
        sigma, weight = sigma[:, ::3], weight.reshape(6, 5, 3).sum(axis=-1)
    t, h = time_of(sigma, schedule), 1e-6
    slope = (schedule.total(t + h) - schedule.total(t - h)) / (2 * h)
    expected = rows.weight[:, None] * slope / (6 * 5)
    np.testing.assert_allclose(weight, np.broadcast_to(expected, (6, 5)), rtol=1e-6)


def test_the_cross_entropy_is_not_weighted_by_time(rng):
    rows = make_rows()
    batch = corrupt(rows, make_plan(objective="bayes_cross_entropy"), rng, shared=False)
    np.testing.assert_allclose(batch.weight, np.repeat(rows.weight[:, None] / 30, 5, axis=1))


def test_shared_noise_depends_on_neither_number_nor_order_of_rows():
    rows, plan = make_rows(), make_plan()
    whole = corrupt(rows, plan, np.random.default_rng(1), shared=True)
    part = corrupt(rows.take(np.array([4, 1])), plan, np.random.default_rng(1), shared=True)
    np.testing.assert_array_equal(part.label, whole.label[[4, 1]])
    np.testing.assert_array_equal(part.sigma, whole.sigma)
    assert whole.sigma.shape == (1, 5)
    apart = corrupt(rows, plan, np.random.default_rng(1), shared=False)
    assert len(np.unique(apart.sigma, axis=0)) == 6


def test_from_eight_draws_on_rows_share_their_levels_but_not_their_luck(rng):
    rows = Rows(np.zeros((500, 1)), np.tile([0.5, 0.3, 0.2], (500, 1)), np.ones(500))
    batch = corrupt(rows, make_plan(n_draws=8), rng, shared=False)
    assert batch.sigma.shape == (1, 8)
    assert (np.diff(batch.sigma) > 0).all()
    assert all(len(np.unique(labels)) == 3 for labels in batch.label.T)
    assert len(np.unique(batch.label, axis=0)) > 100
    assert corrupt(rows, make_plan(n_draws=7), rng, shared=False).sigma.shape == (500, 7)


def test_a_batch_has_the_types_and_shapes_of_the_contract(rng):
    batch = corrupt(make_rows(), make_plan(augment=lambda x, rng: x + 1), rng, shared=False)
    assert isinstance(batch, Batch)
    assert batch.label.dtype == np.int32
    assert {a.shape for a in (batch.label, batch.sigma, batch.weight)} == {(6, 5)}
    np.testing.assert_array_equal(batch.x, make_rows().x + 1)
    np.testing.assert_array_equal(batch.target, make_rows().target)


@pytest.mark.parametrize("answer", [None, np.zeros((5, 2))])
def test_an_augmentation_that_loses_rows_is_named(rng, answer):
    with pytest.raises(ValueError, match="augment returned .*expected an array of 6 changed rows"):
        corrupt(make_rows(), make_plan(augment=lambda x, rng: answer), rng, shared=False)


@pytest.mark.parametrize("n", [1, 2, 3, 7, 100, 1000])
def test_the_learning_rate_rises_to_its_peak_and_falls_towards_zero(n):
    rates = np.array([learning_rate_at(i, n, 0.3) for i in range(n)])
    top = rates.argmax()
    assert rates.max() == pytest.approx(0.3)
    assert top <= max(1, 0.06 * n)
    assert (np.diff(rates[: top + 1]) > 0).all()
    assert (np.diff(rates[top + 1 :]) < 0).all()
    assert rates.min() > 0
    if n >= 100:
        assert rates[-1] < 1e-3 * 0.3


@pytest.mark.parametrize("n", [1, 2, 3, 10, 1000])
def test_with_a_plateau_the_learning_rate_falls_in_the_second_half_alone(n):
    rates = np.array([learning_rate_at(i, n, 0.3, plateau=0.5) for i in range(n)])
    assert rates[math.ceil(0.06 * n) : n // 2] == pytest.approx(0.3)
    assert (np.diff(rates[: math.floor(0.04 * n)]) > 0).all()
    assert (np.diff(rates[n // 2 + 1 :]) < 0).all()
    assert rates.min() > 0
    if n >= 1000:
        assert rates[-1] < 1e-3 * 0.3
        assert rates[3 * n // 4] == pytest.approx(0.15, rel=0.01)


def test_weights_after_an_epoch_count_as_its_number_times_the_next(rng):
    values = rng.normal(size=(7, 3, 2))
    mean = {}
    for epoch, value in enumerate(values, start=1):
        state = {"weight": value.astype(np.float32), "count": np.array(epoch)}
        mean = averaged(mean or state, state, epoch)
        e = np.arange(1, epoch + 1)
        expected = np.average(values[:epoch], axis=0, weights=e * (e + 1))
        np.testing.assert_allclose(mean["weight"], expected, rtol=1e-5, atol=1e-6)
        assert mean["weight"].dtype == np.float32
        assert mean["count"] == epoch


def test_an_epoch_shows_every_row_once_in_batches_of_nearly_equal_size(recording_network, rng):
    network, rows = recording_network(), make_rows(n=10)
    history = list(epochs(network, rows, make_plan(max_epochs=2, batch_size=4), rng))
    assert [len(b.x) for b in network.batches] == [4, 3, 3] * 2
    seen = [np.concatenate([b.x for b in network.batches[i : i + 3]])[:, 0] for i in (0, 3)]
    assert not np.array_equal(*seen)
    for order in seen:
        np.testing.assert_array_equal(np.sort(order), rows.x[:, 0])
    assert [row["epoch"] for row in history] == [1, 2]
    assert [row["loss"] for row in history] == pytest.approx([1.9, 4.9])
    assert network.rates == [learning_rate_at(i, 6, 0.1) for i in range(6)]
    assert [row["learning_rate"] for row in history] == network.rates[2::3]
    assert all(row["seconds"] > 0 for row in history)


def test_a_full_batch_keeps_the_order_of_the_rows_and_shares_its_noise(recording_network, rng):
    network, rows = recording_network(), make_rows()
    list(epochs(network, rows, make_plan(max_epochs=2, batch_size=6, constant_rate=True), rng))
    for batch in network.batches:
        np.testing.assert_array_equal(batch.x, rows.x)
        assert batch.sigma.shape == (1, 5)
    assert network.rates == [0.1, 0.1]


def test_whoever_looks_sees_the_average_and_training_goes_on_from_the_last_weights(
    recording_network, rng
):
    network = recording_network()
    plan = make_plan(max_epochs=5, batch_size=6, average=True)
    for row in epochs(network, make_rows(), plan, rng):
        trained = np.arange(1.0, row["epoch"] + 1)  # the weights count the updates
        seen = np.average(trained, weights=trained * (trained + 1))
        assert network.updates == pytest.approx(seen)
    assert len(network.batches) == 5
    assert network.updates == pytest.approx(seen)
    assert network.rates == [learning_rate_at(i, 5, 0.1, plateau=0.5) for i in range(5)]


def test_a_plan_can_end_with_the_last_weights(recording_network, rng):
    network = recording_network()
    plan = make_plan(max_epochs=5, batch_size=6, average=True, last_weights=True)
    *before, last = [network.updates for _ in epochs(network, make_rows(), plan, rng)]
    epoch = np.arange(1.0, 5)
    weight = epoch * (epoch + 1)
    np.testing.assert_allclose(before, np.cumsum(weight * epoch) / np.cumsum(weight))
    assert last == network.updates == 5


def test_the_last_weights_are_told_whatever_the_network_has(recording_network, rng):
    network = recording_network()
    path = epochs(network, make_rows(), make_plan(max_epochs=5, batch_size=6, average=True), rng)
    with pytest.raises(ValueError, match="not come to its end"):
        last_weights(path)
    list(islice(path, 4))
    assert network.updates < 5
    assert last_weights(path) == {"updates": 5}


def test_the_curve_of_the_rate_can_be_longer_than_the_training(recording_network, rng):
    network = recording_network()
    plan = make_plan(max_epochs=3, batch_size=6, average=True, curve_epochs=10)
    list(epochs(network, make_rows(), plan, rng))
    assert network.rates == [learning_rate_at(i, 10, 0.1, plateau=0.5) for i in range(3)]


def test_a_loss_that_is_not_finite_puts_the_last_sound_average_back(recording_network, rng):
    network = recording_network({4: math.nan})
    with pytest.raises(NonFiniteLossError, match="in epoch 4"):
        list(epochs(network, make_rows(), make_plan(max_epochs=5, batch_size=6, average=True), rng))
    assert network.updates == pytest.approx((1 * 2 + 2 * 6) / 8)  # of epochs 1 and 2


@pytest.mark.parametrize(
    ("batch_size", "bad_update", "epoch", "kept"),
    [(6, 1, 1, 0), (6, 3, 3, 1), (3, 1, 1, 0), (3, 4, 2, 2), (3, 3, 2, 0), (3, 5, 3, 2)],
)
@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_puts_the_last_sound_weights_back(
    recording_network, rng, batch_size, bad_update, epoch, kept, loss
):
    """`kept` counts updates: a state is sound once the first batch after it had a finite loss."""
    network = recording_network({bad_update: loss})
    training = epochs(network, make_rows(), make_plan(batch_size=batch_size), rng)
    with pytest.raises(NonFiniteLossError, match=f"{loss} in epoch {epoch};.*learning_rate"):
        list(training)
    assert network.updates == kept


def test_weights_that_are_not_finite_are_never_left_behind(recording_network, rng):
    network = recording_network(weights={3: math.nan})
    with pytest.raises(FloatingPointError, match="a weight became NaN in epoch 3"):
        list(epochs(network, make_rows(), make_plan(batch_size=6), rng))
    assert network.updates == 2


def test_the_noise_of_another_schedule_stays_in_its_range(rng):
    batch = corrupt(make_rows(n=200), make_plan(schedule=Geometric()), rng, shared=False)
    assert batch.sigma.min() > 1e-3
    assert 0.9 < batch.sigma.max() <= 1


def test_mixed_rows_are_noised_as_their_mixed_labels_say(rng):
    q_0, n = np.eye(3)[rng.integers(0, 3, 2000)], 2000
    rows = Rows(q_0[:, :, None], q_0, np.ones(n))  # an image that shows its label
    batch = corrupt(rows, make_plan(mixup=1.0, n_draws=2), rng, shared=False)
    np.testing.assert_allclose(batch.x[:, :, 0], batch.target, atol=1e-12)
    assert ((batch.target > 0.01).sum(axis=1) == 2).mean() > 0.5
    clean = batch.label[:, 0][batch.sigma[:, 0] < 0.2]  # hardly noised: as often as q_0 says
    share = batch.target[batch.sigma[:, 0] < 0.2].mean(axis=0)
    np.testing.assert_allclose(np.bincount(clean, minlength=3) / len(clean), share, atol=0.12)
