"""Noise and loss of a training step: noise is drawn on the host, the loss is on the device."""

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from skdidicm.core import Schedule
from skdidicm_keras.losses import score_entropy


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
    n: int, schedule: Schedule, *, n_draws: int, eps_t: float, rng: np.random.Generator
) -> Noise:
    """Return noise for n images; times are uniform in [eps_t, 1]."""
    time, uniform = rng.random((2, n, n_draws))
    t = eps_t + (1 - eps_t) * time
    found = uniform, schedule.total(t), schedule.rate(t) / (n * n_draws)
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


def score_entropy_loss(output: Any, label: Any, weight: Any, q_t: Any) -> Any:
    """Return the score entropy (5) of raw outputs (n, m, k), averaged over images and draws."""
    output = ops.cast(output, "float32")
    own = ops.one_hot(label, output.shape[-1], dtype="float32")
    ratio = q_t / ops.sum(q_t * own, axis=-1, keepdims=True)
    # Where a score is known, nothing is learnt.
    return ops.sum(weight * score_entropy(output * (1 - own), ratio))


def cross_entropy_loss(output: Any, q_0: Any) -> Any:
    """Return the cross-entropy of logits (n, k), the objective of the baseline."""
    log_p = ops.log_softmax(ops.cast(output, "float32"), axis=-1)
    return -ops.mean(ops.sum(q_0 * log_p, axis=-1))
