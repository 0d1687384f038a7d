"""The training loss of the core, with the differentiable part written in `keras.ops`.

The core runs on any array-API library. TensorFlow is not one, so this part exists twice; tests
compare it with the core. The core computes what depends only on the batch, on the host (`targets`).
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from keras import ops

from skdidicm.backend import Batch, NetworkConfig
from skdidicm.core import UniformProcess
from skdidicm.core.losses import bayes_targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TINY = 1e-30  # smaller float32 ratios do not change a sum, and their logarithms overflow

Rule = tuple[str, str, bool, bool]
"""Parameterization, objective, whether the process is uniform, and whether logits
pass through label noise; each has its own trace."""


class Targets(NamedTuple):
    """Targets of a loss for n rows, m draws and k classes."""

    truth: Any
    """The true concrete score, or for the two cross-entropies P(c_0 | label) or q_0, (n, m, k)."""
    noise: Any
    """Logarithm of P(label | class) for the two cross-entropies, else what `_diffuse` needs."""
    confusion: Any = None
    """Transposed T (k, k) of label noise; without noise it is not used."""


def rule(config: NetworkConfig) -> Rule:
    """Return the loss of a configuration."""
    uniform = isinstance(config.process, UniformProcess)
    noisy = config.channel is not None and config.parameterization == "posterior"
    return config.parameterization, config.objective, uniform, noisy


def targets(config: NetworkConfig, batch: Batch) -> Targets:
    """Return the targets of a batch, computed on the host in float64."""
    process, k = config.process, config.n_classes
    label = np.broadcast_to(batch.label, batch.weight.shape)
    q_0 = np.broadcast_to(batch.target[:, None, :], (*label.shape, k)).astype(np.float64)
    sigma = np.asarray(batch.sigma, dtype=np.float64)
    confusion = np.zeros((1, 1)) if config.channel is None else config.channel.matrix().T
    if config.objective == "cross_entropy":
        nothing = np.zeros((1, 1, 1))  # the noisy label carries no information
        return Targets(q_0, nothing, confusion)
    if config.objective == "bayes_cross_entropy":
        given = np.asarray(batch.label)
        truth, log_likelihood = bayes_targets(given, sigma, q_0, process, np.dtype(np.float64))
        return Targets(truth, log_likelihood, confusion)
    noise: NDArray[np.float64] = sigma
    if config.parameterization == "posterior" and not isinstance(process, UniformProcess):
        # Row i of a matrix is the law that class i is diffused to.
        noise = process.diffuse(np.broadcast_to(np.eye(k), (*sigma.shape, k, k)), sigma[..., None])
    return Targets(process.ratio(process.diffuse(q_0, sigma), label), noise, confusion)


def batch_loss(output: Any, label: Any, weight: Any, target: Targets, rule: Rule) -> Any:
    """Return sum(weight * loss) over a batch, for outputs (n, m, k)."""
    parameterization, objective, uniform, noisy = rule
    if noisy:
        law = ops.softmax(output) @ target.confusion
        output = ops.log(ops.where(law > _TINY, law, _TINY))
    if objective != "score_entropy":
        logits = output + target.noise
        losses = ops.sum(target.truth * (ops.logsumexp(logits, -1, keepdims=True) - logits), -1)
        return ops.sum(weight * losses)
    own = ops.one_hot(label, output.shape[-1], dtype=output.dtype)
    if parameterization == "score":
        scores = output * (1 - own)
    else:
        q_t = _diffuse(ops.softmax(output), target.noise, uniform=uniform)
        log_q_t = ops.log(ops.where(q_t > _TINY, q_t, _TINY))
        scores = log_q_t - ops.sum(log_q_t * own, axis=-1, keepdims=True)
    return ops.sum(weight * score_entropy(scores, target.truth))


def score_entropy(log_score: Any, ratio: Any) -> Any:
    """Return the score entropy without the time weight, (...); equation (5)."""
    positive = ratio > _TINY
    safe = ops.where(positive, ratio, 1.0)
    u = log_score - ops.log(safe)
    terms = ops.where(positive, safe * (ops.expm1(u) - u), ops.exp(log_score))
    return ops.sum(terms, axis=-1) / terms.shape[-1]


def _diffuse(q_0: Any, noise: Any, *, uniform: bool) -> Any:
    """Return q_t for laws (n, m, k): by equation (2), or by one matrix for every draw."""
    if uniform:
        survival = ops.exp(-noise)[..., None]
        return survival * q_0 + (1 - survival) / q_0.shape[-1]
    return (q_0[..., None, :] @ noise)[..., 0, :]
