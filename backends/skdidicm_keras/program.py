"""A network as pure functions of its weights, compiled once and shared by equal networks."""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from skdidicm.backend import NetworkConfig
from skdidicm.networks import image_size, n_channels, resolve_network
from skdidicm_keras import engine, losses, optimizer
from skdidicm_keras.conditioning import ConditionedNetwork
from skdidicm_keras.networks import create_network
from skdidicm_keras.weights import named_variables, to_torch

_KEPT = 8  # programs in the cache, each with a network of zeros
_SMALL = 4096  # channels and classes up to which a network is built only to ask for its shapes


class Values(NamedTuple):
    """The tensors of one network; p is the number of trained weights."""

    weights: Any
    """All trained weights as one vector (p,), those with weight decay first."""
    fixed: list[Any]
    """What is not trained: running averages, counts, random states of a user's model."""
    moments: tuple[Any, Any]
    """Running means of the gradient and its square, (p,) each."""


class Program:
    """The compiled functions of one architecture; every network passes in its own values.

    The Keras variables are only placeholders. Equal networks therefore share one trace, and a
    search over learning rates compiles once.
    """

    def __init__(self, module: ConditionedNetwork, rule: losses.Rule, *, on_torch: bool) -> None:
        self.module, self.rule = module, rule
        # Vectors are biases and norms, which have no weight decay.
        decaying = [v for v in module.trainable_variables if len(v.shape) > 1]
        vectors = [v for v in module.trainable_variables if len(v.shape) <= 1]
        self.trainable, self.n_decaying = [*decaying, *vectors], _size(decaying)
        self.fixed = list(module.non_trainable_variables)
        position = {id(v): i for i, v in enumerate((*self.trainable, *self.fixed))}
        named = named_variables(module)
        self.names = {name: position[id(variable)] for name, variable in named.items()}
        self.shapes = {
            name: to_torch(name, np.zeros(variable.shape)).shape for name, variable in named.items()
        }
        self.encode = engine.compiled(self._encode, on_torch=on_torch)
        self.decode = engine.compiled(self._decode, on_torch=on_torch)
        self.train = engine.compiled(self._train, on_torch=on_torch)

    def split(self, weights: Any) -> list[Any]:
        """Return the parts of a vector (p,) in the shapes of their variables."""
        reshape = np.reshape if isinstance(weights, np.ndarray) else ops.reshape
        parts, start = [], 0
        for variable in self.trainable:
            end = start + math.prod(variable.shape)
            parts.append(reshape(weights[start:end], tuple(variable.shape)))
            start = end
        return parts

    def _with(self, weights: list[Any], fixed: list[Any]) -> Any:
        """Return a scope in which the module has these values."""
        variables = (*self.trainable, *self.fixed)
        return keras.StatelessScope(list(zip(variables, (*weights, *fixed), strict=True)))

    def _encode(
        self, weights: Any, fixed: Any, moments: Any, x: Any, masks: Any
    ) -> tuple[Any, ...]:
        with self._with(self.split(weights), fixed):
            return self.module.encode(self._standardised(x, *moments), masks=masks)

    def _decode(self, weights: Any, fixed: Any, features: Any, label: Any, sigma: Any) -> Any:
        with self._with(self.split(weights), fixed):
            return self.module.decode(features, label, sigma)

    def _train(
        self,
        values: Values,
        moments: Any,
        x: Any,
        draws: Any,
        target: Any,
        settings: Any,
        masks: Any,
    ) -> tuple[Any, Values]:
        """Return the loss before an update and the values after it."""
        label, sigma, weight = draws

        def loss(parts: list[Any]) -> tuple[Any, list[Any]]:
            with self._with(parts, values.fixed) as scope:
                rows = self._standardised(x, *moments)
                features = self.module.encode(rows, training=True, masks=masks)
                output = self.module.decode(features, label, sigma, training=True)
                found = losses.batch_loss(output, label, weight, target, self.rule)
                fixed = [scope.get_current_value(variable) for variable in self.fixed]
            return found, fixed

        (found, fixed), gradients = engine.value_and_gradients(loss, self.split(values.weights))
        weights, moved = optimizer.adamw(
            values.weights, joined(gradients), values.moments, settings, self.n_decaying
        )
        return found, Values(weights, fixed, moved)

    def _standardised(self, x: Any, mean: Any, inverse_scale: Any) -> Any:
        """Return standardised rows: (n, d), or images (n, h, w, c)."""
        rows = ops.cast(x, mean.dtype)
        if len(rows.shape) == 3:
            rows = rows[..., None]
        return (rows - mean) * inverse_scale


def joined(parts: Sequence[Any]) -> Any:
    """Return tensors as one vector."""
    return ops.concatenate([ops.reshape(part, (-1,)) for part in parts])


def _size(variables: Sequence[Any]) -> int:
    return sum(math.prod(variable.shape) for variable in variables)


def program_for(config: NetworkConfig, precision: str, device: str) -> Program:
    """Return the program of a configuration, from the cache if the network has a name."""
    network = resolve_network(config.network, config.input_shape)
    build = _shared if isinstance(network, str) else _build
    return build(
        network,
        config.input_shape,
        config.n_classes,
        config.conditioning,
        precision,
        losses.rule(config),
        device,
        config.compile,
    )


def named_shapes(config: NetworkConfig, precision: str, device: str) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of the state of a network that is known by its name.

    Keras allocates what it builds. Networks with many channels or classes are therefore not built:
    every axis is a constant, or the number of channels or of classes, and two small networks tell
    which.
    """
    channels, k = n_channels(config.input_shape), config.n_classes
    if max(channels, k) <= _SMALL:
        return program_for(config, precision, device).shapes
    network = resolve_network(config.network, config.input_shape)
    image = config.input_shape[:2] if len(config.input_shape) > 1 else ()
    first, second = (
        program_for(
            replace(config, network=network, input_shape=(*image, c), n_classes=n),
            precision,
            device,
        ).shapes
        for c, n in ((1, 2), (2, 4))
    )
    sizes = {0: None, 1: channels, 2: k}  # by how much an axis grows
    return {
        name: tuple(sizes[b - a] or a for a, b in zip(shape, second[name], strict=True))
        for name, shape in first.items()
    }


def _build(
    network: Any,
    shape: tuple[int, ...],
    n_classes: int,
    conditioning: str,
    precision: str,
    rule: losses.Rule,
    device: str,  # noqa: ARG001 - part of the key of the cache
    on_torch: bool,
) -> Program:
    module = create_network(
        network,
        n_classes,
        n_channels(shape),
        conditioning,
        image_size=image_size(shape),
        dtype="mixed_bfloat16" if precision == "bfloat16" else precision,
    )
    return Program(module, rule, on_torch=on_torch)


_shared = lru_cache(maxsize=_KEPT)(_build)
