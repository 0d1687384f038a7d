"""Several networks trained as one: their values stacked along a first axis, and one trace for all.

JAX alone derives such a function from that of one network, by `jax.vmap`.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from keras import ops

from skdidicm.backend import Batch, stack_batches
from skdidicm.networks import MLP, resolve_network
from skdidicm_keras import engine, losses, optimizer
from skdidicm_keras.program import Values

if TYPE_CHECKING:
    from skdidicm_keras.backend import KerasNetwork


class StackedTraining:
    """A `JointTraining` of networks for tables.

    Parameters
    ----------
    networks : sequence of KerasNetwork
        Perceptrons of one architecture, precision and device, which differ in weights and moments.
    """

    def __init__(self, networks: Sequence["KerasNetwork"]) -> None:
        self.networks = list(networks)
        self._first = first = self.networks[0]
        self._counts = np.zeros(len(networks), dtype=int)
        with first.scope():
            stacked = [
                ops.stack(parts)
                for parts in zip(*(_parts(network.values) for network in networks), strict=True)
            ]
            self._moments = tuple(
                ops.stack([ops.broadcast_to(part, first.config.input_shape) for part in parts])
                for parts in zip(*(network.standardisation for network in networks), strict=True)
            )
        self._values = _values(stacked)
        self._average = self._values.weights

    def train_step(
        self, batches: Sequence[Batch | None], learning_rates: Sequence[float], /
    ) -> Any:
        """Update the networks once, except those without a batch; return all losses (b,)."""
        first, config = self._first, self._first.config
        busy = np.array([batch is not None for batch in batches])
        self._counts += busy
        settings = [
            optimizer.step_settings(max(1, count), rate, config.weight_decay, config.max_grad_norm)
            for count, rate in zip(self._counts.tolist(), learning_rates, strict=True)
        ]
        batch = stack_batches(batches)
        targets = [losses.targets(config, Batch(*part)) for part in zip(*batch, strict=True)]
        with first.scope():
            loss, self._values = first.program.train_jointly(
                self._values,
                self._moments,
                first.tensor(batch.x),
                (
                    ops.convert_to_tensor(batch.label.astype(np.int32)),
                    first.tensor(batch.sigma),
                    first.tensor(batch.weight),
                ),
                losses.Targets(*(first.tensor(np.stack(p)) for p in zip(*targets, strict=True))),
                first.tensor(np.stack(settings)),
                ops.convert_to_tensor(busy),
            )
        return loss

    def average(self, share: float, /) -> None:
        """Move the average of the weights by a share towards the weights."""
        with self._first.scope():
            self._average = self._average + (self._values.weights - self._average) * share

    def hand_over(self, member: int, /) -> None:
        """Give a network the averages of its weights, and what its optimiser has gathered."""
        network = self.networks[member]
        with self._first.scope():
            own = [part[member] for part in _parts(self._values._replace(weights=self._average))]
        network.take_over(_values(own), int(self._counts[member]))


def can_stack(networks: Sequence["KerasNetwork"]) -> bool:
    """Return whether networks are perceptrons of one kind that the engine can train at once."""
    config = networks[0].config
    perceptron = resolve_network(config.network, config.input_shape) == MLP
    return (
        engine.VECTORISES
        and perceptron
        and not config.dropout
        and all(network.program is networks[0].program for network in networks)
    )


def _parts(values: Values) -> list[Any]:
    return [values.weights, *values.moments, *values.fixed]


def _values(parts: list[Any]) -> Values:
    weights, first, second, *fixed = parts
    return Values(weights, fixed, (first, second))
