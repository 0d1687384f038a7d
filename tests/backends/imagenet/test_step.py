from dataclasses import replace

import numpy as np
import pytest

from skdidicm.core import LogLinear, UniformProcess
from skdidicm.imagenet.recipes import resolve

torch = pytest.importorskip("torch")
from skdidicm_torch.imagenet.step import (  # noqa: E402
    Noise,
    cross_entropy_loss,
    draw_noise,
    generator,
    noisy_loss,
)
from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402

PAPER = resolve({}).config


def noise_of(q_0, n_draws=1, eps_t=1e-5, seed=3, **changes):
    q_0 = torch.as_tensor(np.asarray(q_0), dtype=torch.float32)
    rng = generator(torch.device("cpu"), seed, 0)
    process = UniformProcess(q_0.shape[1])
    config = replace(PAPER, n_draws=n_draws, eps_t=eps_t, **changes)
    return draw_noise(q_0, process, LogLinear(), config, rng)


def dense_loss(output, noise, q_0, k):
    """The mean of equation (5) with the K x K matrices of (2) and (3), in float64."""
    rates = (np.ones((k, k)) - k * np.eye(k)) / k
    values, vectors = np.linalg.eigh(rates)
    total = 0
    for i in range(output.shape[0]):
        for j in range(output.shape[1]):
            label, sigma = int(noise.label[i, j]), float(noise.sigma[i, j])
            q_t = vectors @ np.diag(np.exp(sigma * values)) @ vectors.T @ np.asarray(q_0[i], float)
            ratio = np.outer(q_t, 1 / q_t)[:, label]
            log_s = np.asarray(output[i, j], float)
            terms = np.exp(log_s) - ratio * log_s + ratio * (np.log(ratio) - 1)
            rate = 0.999 * np.exp(sigma)  # dsigma/dt of the log-linear schedule, by its sigma
            total += rate / k * (terms.sum() - terms[label])
    return total / output.shape[0] / output.shape[1]


@pytest.mark.parametrize("soft", [False, True])
def test_the_loss_is_that_of_the_dense_matrices(rng, soft):
    k, n, m = 6, 8, 3
    q_0 = rng.dirichlet(np.ones(k), n) if soft else np.eye(k)[rng.integers(0, k, n)]
    noise = noise_of(q_0, n_draws=m, eps_t=0.05)
    output = rng.standard_normal((n, m, k)).astype(np.float32)
    given = torch.as_tensor(q_0, dtype=torch.float32), UniformProcess(k)
    found = noisy_loss(torch.as_tensor(output), noise, *given, PAPER)
    assert found.item() == pytest.approx(dense_loss(output, noise, q_0, k), rel=1e-4)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_loss_and_gradient_are_those_of_the_papers_code(parity, kind):
    data = parity("losses.npz")
    output = torch.tensor(data[f"{kind}_output"], dtype=torch.float32)[:, None].requires_grad_()
    n, k = output.shape[0], output.shape[2]
    q_0 = np.eye(k)[data["hard_c0"]] if kind == "hard" else data["soft_p0"]
    t, label = torch.tensor(data["t"]), torch.tensor(data["label"])
    schedule = LogLinear()
    rate = schedule.rate(t)
    noise = Noise(label[:, None], schedule.total(t)[:, None].float(), rate[:, None].float() / n)
    q_0 = torch.as_tensor(q_0, dtype=torch.float32)
    value = noisy_loss(output, noise, q_0, UniformProcess(k), PAPER)
    value.backward()
    shift = float(rate.mean()) / k if kind == "soft" else 0.0  # a constant of the paper's code
    assert value.item() - shift == pytest.approx(float(data[f"{kind}_value"]), rel=1e-4)
    expected = data[f"{kind}_grad"]
    scale = np.abs(expected).max()
    np.testing.assert_allclose(output.grad[:, 0] / scale, expected / scale, atol=1e-5)


def test_noisy_labels_follow_the_exact_law():
    """Frequencies against exp(sigma R) q_0, averaged over the drawn times."""
    q_0 = np.array([[0.7, 0.2, 0.1, 0.0]])
    noise = noise_of(np.repeat(q_0, 50, axis=0), n_draws=4000, eps_t=0.2)
    kept = np.exp(-noise.sigma.double().numpy())
    for low, high in ((0, 0.3), (0.3, 0.6), (0.6, 1)):
        chosen = (kept >= low) & (kept < high)
        law = kept[chosen].mean() * q_0[0] + (1 - kept[chosen].mean()) / 4
        found = np.bincount(noise.label.numpy()[chosen], minlength=4) / chosen.sum()
        np.testing.assert_allclose(found, law, atol=4 * 0.5 / np.sqrt(chosen.sum()))


def test_times_are_uniform_from_the_smallest_and_weighted_by_their_rate():
    noise = noise_of(np.eye(4)[[0, 1]], n_draws=4000, eps_t=0.1)
    t = (1 - np.exp(-noise.sigma.double().numpy())) / 0.999
    assert t.min() >= 0.1 - 1e-6
    assert t.max() <= 1 + 1e-6
    frequencies = np.histogram(t, bins=np.linspace(0.1, 1, 10))[0] / t.size
    np.testing.assert_allclose(frequencies, 1 / 9, atol=5e-3)
    rate = 0.999 / (1 - 0.999 * t)
    np.testing.assert_allclose(noise.weight.numpy() * t.size, rate, rtol=2e-3)


def test_times_of_an_image_are_spread_evenly_over_its_draws():
    noise = noise_of(np.eye(4)[[0, 1]], n_draws=5, eps_t=1e-5)
    t = (1 - np.exp(-noise.sigma.double().numpy())) / 0.999
    assert np.floor(t * 5).tolist() == [[0, 1, 2, 3, 4]] * 2


def test_draws_depend_on_seed_and_place_alone():
    cpu = torch.device("cpu")
    draws = {
        place: tuple(torch.rand(4, generator=generator(cpu, *place)).tolist())
        for place in ((0, 1, 0, 0), (0, 2, 0, 0), (0, 1, 1, 0), (0, 1, 0, 1), (2**63 - 1, 1, 0, 0))
    }
    assert len(set(draws.values())) == len(draws)
    torch.rand(10)
    again = torch.rand(4, generator=generator(cpu, 0, 1, 0, 0))
    assert tuple(again.tolist()) == draws[0, 1, 0, 0]


class Largest(TorchDispatchMode):
    """Notes the largest tensor that any operation returns."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor):
                self.numbers = max(self.numbers, value.numel())
        return result


@pytest.mark.parametrize("soft", [False, True])
def test_no_step_holds_more_than_a_row_of_numbers_for_each_draw(soft):
    n, m, k = 4, 2, 1000
    q_0 = torch.full((n, k), 1 / k) if soft else torch.eye(k)[:n]
    output = torch.zeros(n, m, k, requires_grad=True)
    with Largest() as largest:
        noise = noise_of(q_0, n_draws=m)
        noisy_loss(output, noise, q_0, UniformProcess(k), PAPER).backward()
    assert largest.numbers <= 2 * n * m * k < k * k


def test_the_loss_is_finite_at_the_smallest_time_and_many_classes():
    k = 1000
    q_0 = torch.eye(k)[:64]
    noise = noise_of(q_0, eps_t=1e-7)
    sharp = Noise(noise.label, torch.full_like(noise.sigma, 1e-7), noise.weight)
    output = torch.zeros(64, 1, k, requires_grad=True)
    for given in (noise, sharp):
        loss = noisy_loss(output, given, q_0, UniformProcess(k), PAPER)
        loss.backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(output.grad).all()


def test_the_baselines_loss_is_the_cross_entropy_of_soft_labels(rng):
    logits, q_0 = rng.standard_normal((5, 4)), rng.dirichlet(np.ones(4), 5)
    log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    found = cross_entropy_loss(torch.as_tensor(logits), torch.as_tensor(q_0).float())
    assert found.item() == pytest.approx(-(q_0 * log_p).sum(axis=1).mean(), rel=1e-5)
