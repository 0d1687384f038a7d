"""Keras's optimisers with the settings of the recipes, and the learning rate of every update."""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from skdidicm.imagenet.config import RunConfig

OPTIMIZERS = ("lamb", "adamw", "sgd")


class Lamb(keras.optimizers.Lamb):  # type: ignore[misc]
    """LAMB as in timm, which differs from Keras's in two ways.

    Weight decay is part of the step before its length is scaled to that of the weights. Biases and
    norms, which do not decay, take Adam's step; Keras scales theirs too, so biases, which start
    near zero, hardly move.
    """

    def __init__(self, decay: float, **settings: Any) -> None:
        super().__init__(**settings)
        self.decay = decay

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Update one variable and its moments."""
        i, count = self._get_variable_index(variable), ops.cast(self.iterations + 1, "float32")
        first, second = self._momentums[i], self._velocities[i]
        self.assign_add(first, (1 - self.beta_1) * (gradient - first))
        self.assign_add(second, (1 - self.beta_2) * (ops.square(gradient) - second))
        root = ops.sqrt(second / (1 - ops.power(self.beta_2, count)))
        step = first / (1 - ops.power(self.beta_1, count)) / (root + self.epsilon)
        if self.decay and _decays(variable):
            step = step + self.decay * variable
            step = step * _ratio(_norm(variable), _norm(step))
        self.assign_sub(variable, learning_rate * step)


def create_optimizer(config: RunConfig, variables: Sequence[Any]) -> Any:
    """Return the optimiser of some variables, without weight decay on biases and norms."""
    settings: dict[str, Any] = {
        "learning_rate": float(config.learning_rate or 0),
        "global_clipnorm": config.max_grad_norm or None,
    }
    if config.optimizer == "lamb":
        optimizer = Lamb(config.weight_decay, epsilon=1e-6, **settings)
    else:
        settings["weight_decay"] = config.weight_decay
        if config.optimizer == "adamw":
            optimizer = keras.optimizers.AdamW(epsilon=1e-8, **settings)
        else:
            optimizer = keras.optimizers.SGD(momentum=0.9, nesterov=True, **settings)
        optimizer.exclude_from_weight_decay([v for v in variables if not _decays(v)])
    optimizer.build(list(variables))
    return optimizer


def learning_rate(config: RunConfig, update: int, per_epoch: int) -> float:
    """Return the learning rate of an update, from 0: a rise, then a cosine to 0."""
    peak, lowest = float(config.learning_rate or 0), config.warmup_learning_rate
    rise = round(config.warmup_epochs * per_epoch)
    if update < rise:
        return lowest + (peak - lowest) * update / rise
    return peak * (1 + math.cos(math.pi * update / (config.epochs * per_epoch))) / 2


def _decays(variable: Any) -> bool:
    return len(variable.shape) > 1


def _norm(x: Any) -> Any:
    return ops.sqrt(ops.sum(ops.square(x)))


def _ratio(a: Any, b: Any) -> Any:
    """Return a / b, and 1 where one of them is 0."""
    return ops.where((a > 0) & (b > 0), a / ops.where(b > 0, b, 1.0), 1.0)
