"""AdamW and gradient clipping with the same updates as torch.

AdamW in Keras scales epsilon differently, and has no pure form that works on TensorFlow.
"""

import math
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

BETAS = (0.9, 0.999)
EPSILON = 1e-8


def step_settings(
    count: int, learning_rate: float, weight_decay: float, max_grad_norm: float
) -> NDArray[np.float64]:
    """Return the coefficients of update `count` >= 1: step length, root, decay, norm bound."""
    length = learning_rate / (1 - BETAS[0] ** count)
    root = math.sqrt(1 - BETAS[1] ** count)
    bound = max_grad_norm or math.inf
    return np.array([length, root, 1 - learning_rate * weight_decay, bound])


def adamw(
    weights: Any, gradient: Any, moments: tuple[Any, Any], settings: Any, n_decaying: int
) -> tuple[Any, tuple[Any, Any]]:
    """Return weights (p,) and both moments of the gradient after one update.

    All weights of a network are one vector, which is faster to trace and to run than one operation
    per tensor. Weight decay applies to the first `n_decaying` of them.
    """
    length, root, keep, bound = (settings[i] for i in range(4))
    first, second = moments
    gradient = gradient * _scale(gradient, bound)
    first = BETAS[0] * first + (1 - BETAS[0]) * gradient
    second = BETAS[1] * second + (1 - BETAS[1]) * ops.square(gradient)
    shrunk = ops.concatenate([weights[:n_decaying] * keep, weights[n_decaying:]])
    return shrunk - length * first / (ops.sqrt(second) / root + EPSILON), (first, second)


def _scale(gradient: Any, bound: Any) -> Any:
    """Return the factor that limits the norm of a gradient to `bound`."""
    norm = ops.sqrt(ops.sum(ops.square(gradient)))
    return ops.where(norm > bound, bound / (norm + 1e-6), 1.0)
