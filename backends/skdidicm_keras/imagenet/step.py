"""Noise and loss of a training step: noise is drawn on the host, the loss is on the device."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from skdidicm.core import Schedule, noise_levels
from skdidicm.imagenet.config import RunConfig
from skdidicm_keras.losses import Targets, batch_loss


class Noise(NamedTuple):
    """Uniform numbers, total noise, and the weight of the loss, (n, m) each.

    NumPy draws them on the host, so they are the same on every engine and device.
    """

    uniform: Any
    sigma: Any
    weight: Any


def generator(seed: int, *position: int) -> np.random.Generator:
    """Return a generator seeded by the run's seed and a position in the run, such as the update.

    No generator state passes from one update to the next, so a resumed run draws the same numbers
    as an uninterrupted one.
    """
    return np.random.default_rng((seed, *position))


def draw_noise(
    n: int, n_classes: int, schedule: Schedule, config: RunConfig, rng: np.random.Generator
) -> Noise:
    """Return noise for n images; times are stratified over the draws."""
    m = config.n_draws
    within, uniform = rng.random((2, n, m))
    sigma, weight = noise_levels(
        (np.arange(m) + within) / m,
        schedule,
        n_classes,
        times=config.times,
        objective=config.objective,
        eps_t=config.eps_t,
    )
    found = uniform, sigma, weight / (n * m)
    return Noise(*(np.asarray(array, dtype=np.float32) for array in found))


def noisy_laws(q_0: Any, sigma: Any) -> Any:
    """Return q_t (n, m, k) for clean class probabilities (n, k); equation (2)."""
    sigma = sigma[..., None]
    return ops.exp(-sigma) * q_0[:, None, :] - ops.expm1(-sigma) / q_0.shape[-1]


def draw_labels(q_t: Any, uniform: Any) -> Any:
    """Return labels (n, m) of laws (n, m, k), by the inverse distribution function."""
    cumulative = ops.cumsum(q_t, axis=-1)
    total = cumulative[..., -1:]
    # The second condition holds a threshold that was rounded up to the total off empty classes.
    passed = (cumulative <= uniform[..., None] * total) & (cumulative < total)
    return ops.sum(ops.cast(passed, "int32"), axis=-1)


def noisy_loss(
    output: Any, label: Any, sigma: Any, weight: Any, q_0: Any, config: RunConfig
) -> Any:
    """Return the loss of raw outputs (n, m, k), averaged over images and draws."""
    output = ops.cast(output, "float32")
    own = ops.one_hot(label, output.shape[-1], dtype="float32")
    if config.objective == "bayes_cross_entropy":  # the targets of equation (11)
        noise = ops.expand_dims(-ops.expm1(-sigma), -1) / output.shape[-1]
        likelihood = ops.expand_dims(ops.exp(-sigma), -1) * own + noise
        target = q_0[:, None, :] * likelihood
        truth = target / ops.sum(target, axis=-1, keepdims=True)
        targets = Targets(truth, ops.log(likelihood))
    else:
        q_t = noisy_laws(q_0, sigma)
        targets = Targets(q_t / ops.sum(q_t * own, axis=-1, keepdims=True), sigma)
    rule = (str(config.parameterization), config.objective, True, False)
    return batch_loss(output, label, weight, targets, rule)


def cross_entropy_loss(output: Any, q_0: Any) -> Any:
    """Return the cross-entropy of logits (n, k), the objective of the baseline."""
    log_p = ops.log_softmax(ops.cast(output, "float32"), axis=-1)
    return -ops.mean(ops.sum(q_0 * log_p, axis=-1))
