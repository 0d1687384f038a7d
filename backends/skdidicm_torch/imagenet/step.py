"""Noise and loss of a training step, on the device, by the core's functions."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from skdidicm.core import Process, Schedule, denoising_loss, noise_levels
from skdidicm.core.arrays import draw
from skdidicm.imagenet.config import RunConfig


class Noise(NamedTuple):
    """Noisy labels (n, m), their total noise (n, m) and the weight of their loss (n, m)."""

    label: Tensor
    sigma: Tensor
    weight: Tensor


def generator(device: torch.device, seed: int, *position: int) -> torch.Generator:
    """Return a generator seeded by the run's seed and a position in the run, such as the update.

    No generator state passes from one update to the next, so a resumed run draws the same numbers
    as an uninterrupted one.
    """
    words = np.random.SeedSequence((seed, *position)).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(words[0] >> 1))


def draw_noise(
    q_0: Tensor, process: Process, schedule: Schedule, config: RunConfig, rng: torch.Generator
) -> Noise:
    """Return noise for clean class probabilities (n, k); times are stratified over the draws."""
    shape = n, m = len(q_0), config.n_draws
    uniform = torch.rand((2, *shape), generator=rng, device=q_0.device, dtype=q_0.dtype)
    within = torch.arange(m, device=q_0.device, dtype=q_0.dtype)
    sigma, weight = noise_levels(
        (within + uniform[0]) / m,
        schedule,
        process.n_classes,
        times=config.times,
        objective=config.objective,
        eps_t=config.eps_t,
    )
    q_t = process.diffuse(q_0[:, None, :].expand(*shape, q_0.shape[1]), sigma)
    return Noise(draw(q_t, uniform[1]), sigma, weight / (n * m))


def noisy_loss(
    output: Tensor, noise: Noise, q_0: Tensor, process: Process, config: RunConfig
) -> Tensor:
    """Return the loss of raw outputs (n, m, k), averaged over images and draws."""
    loss = denoising_loss(
        output.float(),
        noise.label,
        noise.sigma,
        q_0[:, None, :].expand(output.shape),
        process=process,
        parameterization=str(config.parameterization),
        objective=config.objective,
    )
    total: Tensor = (noise.weight * loss).sum()
    return total


def cross_entropy_loss(output: Tensor, q_0: Tensor) -> Tensor:
    """Return the cross-entropy of logits (n, k), the objective of the baseline."""
    return functional.cross_entropy(output.float(), q_0)
