"""A score network on Keras 3: the implementation of `skdidicm.backend`."""

import math
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Self

import numpy as np
from keras import ops
from numpy.typing import NDArray

from skdidicm.backend import Batch, NetworkConfig, TrunkConfig, on_this_machine
from skdidicm.core import check_objective, log_score
from skdidicm.networks import DropoutMasks, resolve_network
from skdidicm_keras import engine, losses, optimizer
from skdidicm_keras.dense import LinearNetwork
from skdidicm_keras.device import resolve_device, resolve_precision
from skdidicm_keras.padding import filled, padded
from skdidicm_keras.program import Values, named_shapes, program_for
from skdidicm_keras.trunk import KerasTrunk
from skdidicm_keras.weights import BACKBONE, check_state, from_torch, initial_state, to_torch


class Features(tuple[Any, ...]):
    """What `encode` returns: tensors for `n` rows, followed by padding."""

    n: int

    def __new__(cls, tensors: Iterable[Any], n: int) -> Self:
        """Return the tensors, with the number of rows that are not padding."""
        features = super().__new__(cls, tensors)
        features.n = n
        return features


class KerasNetwork:
    """A `ScoreNetwork` on Keras, with AdamW.

    Parameters
    ----------
    config : NetworkConfig
        What to build. `config.network` is "auto", a name in `skdidicm_keras.NETWORKS`, or a Keras
        model that maps images to features.
    """

    values: Values

    def __init__(self, config: NetworkConfig) -> None:
        check_objective(config.parameterization, config.objective, config.conditioning)
        if config.trunk is not None or config.trunk_learning_rate != 1:
            raise ValueError(
                "trunk_learning_rate fine-tunes a network, which needs backend='torch'; with "
                "Keras leave it 'auto', which keeps a pretrained network frozen."
            )
        self.config = config
        self.device = resolve_device(config.device)
        self.precision = resolve_precision(
            config.precision, self.device, table=len(config.input_shape) == 1
        )
        self.dtype = np.dtype("float64" if self.precision == "float64" else "float32")
        network = resolve_network(config.network, config.input_shape)
        self._masks = DropoutMasks(network, config.conditioning, config.dropout, config.seed)
        with self._scope():
            self.program = program_for(config, self.precision, self.device)
            inverse_scale = 1 / np.asarray(config.scale, dtype=np.float64)
            self._standardisation = self._tensor(config.mean), self._tensor(inverse_scale)
        self._initialise()
        self._count = 0

    @staticmethod
    def resolve_device(device: str, /) -> str:
        """Return the device for a name."""
        return resolve_device(device)

    @staticmethod
    def state_shapes(config: NetworkConfig, /) -> dict[str, tuple[int, ...]]:
        """Return the shapes of `state`."""
        device = resolve_device(config.device)
        precision = resolve_precision(config.precision, device, table=len(config.input_shape) == 1)
        with engine.scope(device, float64=precision == "float64"):
            return named_shapes(config, precision, device)

    @staticmethod
    def build_trunk(config: TrunkConfig, /) -> KerasTrunk:
        """Return an application of Keras that stays frozen."""
        return KerasTrunk(config)

    @staticmethod
    def trunk_shapes(config: TrunkConfig, /) -> dict[str, tuple[int, ...]]:
        """Return the shapes of the `state` of an application of Keras."""
        return KerasTrunk(replace(config, weights=False)).shapes

    def start(self, values: NDArray[np.floating], /) -> NDArray[np.floating]:
        """Return host values with the dtype of the network; the samplers compute in NumPy.

        array-api-compat does not support TensorFlow, and JAX would compile every small operation.
        """
        return np.array(values, dtype=self.dtype)

    def encode(self, x: NDArray[Any], /) -> Features:
        """Return the features of host rows (n, *input_shape)."""
        rows = self._rows(x)
        with self._scope():
            tensor = ops.convert_to_tensor(filled(rows, self._run_rows(len(rows))))
            if not self.config.dropout:
                return Features(self._encode(tensor, []), len(rows))
            passes = [self._encode(tensor, masks)[0] for masks in self._masks.of_passes()]
            log_p = ops.log_softmax(ops.stack(passes), axis=-1)
            mean = ops.logsumexp(log_p, axis=0) - math.log(len(passes))
        return Features((mean,), len(rows))

    def features(self, x: NDArray[Any], /) -> NDArray[np.floating]:
        """Return the features of host rows as one array (n, f), channels before pixels."""
        found = self.encode(x)
        with self._scope():
            arrays = [engine.to_host(ops.cast(tensor, "float32"))[: found.n] for tensor in found]
        flat = [np.moveaxis(v, -1, 1).reshape(found.n, -1) for v in arrays]
        return np.concatenate(flat, axis=1)

    def log_score(
        self, features: Features, label: NDArray[Any], sigma: NDArray[np.floating], /
    ) -> NDArray[np.floating]:
        """Return log scores (n, k) for labels and noise (n,), or (n, m, k) for (n, m)."""
        n, n_filled = features.n, self._run_rows(features.n)
        noise = sigma if any(sigma.strides) else sigma[(slice(0, 1),) * sigma.ndim]
        with self._scope():
            output = self.program.decode(
                self.values.weights,
                self.values.fixed,
                tuple(features),
                ops.convert_to_tensor(filled(label, n_filled).astype(np.int32)),
                self._tensor(noise if noise is not sigma else filled(sigma, n_filled)),
            )
            found = engine.to_host(output)[:n]
        scores: NDArray[np.floating] = log_score(
            found,
            np.asarray(label),
            np.asarray(sigma),
            process=self.config.process,
            parameterization=self.config.parameterization,
        )
        return scores

    def train_step(self, batch: Batch, learning_rate: float, /) -> Any:
        """Update the weights once and return the loss before the update, still on the device."""
        config = self.config
        self._count += 1
        settings = optimizer.step_settings(
            self._count, learning_rate, config.weight_decay, config.max_grad_norm
        )
        with self._scope():
            label = ops.convert_to_tensor(np.asarray(batch.label, dtype=np.int32))
            loss, self.values = self.program.train(
                self.values,
                self._standardisation,
                ops.convert_to_tensor(self._rows(batch.x)),
                (label, self._tensor(batch.sigma), self._tensor(batch.weight)),
                losses.Targets(*map(self._tensor, losses.targets(config, batch))),
                self._tensor(settings),
                [self._tensor(mask) for mask in self._masks.of_rows(len(batch.x))],
            )
        return loss

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of weights and buffers with the names and layouts of the torch backend."""
        parts = self.program.split(engine.to_host(self.values.weights))
        parts += [engine.to_host(value) for value in self.values.fixed]
        return {name: np.array(to_torch(name, parts[i])) for name, i in self.program.names.items()}

    def load_state(self, state: Mapping[str, NDArray[Any]], /) -> None:
        """Set weights and buffers; names and shapes must match."""
        check_state(self.program.shapes, state)
        parts = self.program.split(engine.to_host(self.values.weights))
        parts += [engine.to_host(value) for value in self.values.fixed]
        weights, fixed = self._tensors(parts, state)
        self.values = self.values._replace(weights=weights, fixed=fixed)

    def _encode(self, rows: Any, masks: list[NDArray[np.float32]]) -> tuple[Any, ...]:
        """Return the features of a tensor of rows, with channels dropped where there are masks."""
        features: tuple[Any, ...] = self.program.encode(
            self.values.weights,
            self.values.fixed,
            self._standardisation,
            rows,
            [self._tensor(mask) for mask in masks],
        )
        return features

    def _initialise(self) -> None:
        """Draw weights from the seed; the model of a user keeps its own."""
        program = self.program
        parts = [engine.to_host(v.value) for v in (*program.trainable, *program.fixed)]
        ours = {k: v for k, v in program.shapes.items() if not k.startswith(BACKBONE)}
        drawn = initial_state(ours, np.random.default_rng(self.config.seed))
        if isinstance(program.module, LinearNetwork):  # on the torch backend it begins with zeros
            drawn |= {k: np.zeros(shape) for k, shape in ours.items() if k.startswith("fc.")}
        with self._scope():
            weights, fixed = self._tensors(parts, drawn)
            moments = (ops.zeros_like(weights), ops.zeros_like(weights))
        self.values = Values(weights, fixed, moments)

    def _tensors(
        self, parts: list[NDArray[Any]], state: Mapping[str, NDArray[Any]]
    ) -> tuple[Any, list[Any]]:
        """Return trained and fixed tensors, with the named arrays in place of their parts."""
        parts = list(parts)
        for name, array in state.items():
            i = self.program.names[name]
            parts[i] = np.array(from_torch(name, np.asarray(array)), dtype=parts[i].dtype)
        split = len(self.program.trainable)
        with self._scope():
            fixed = [ops.convert_to_tensor(part) for part in parts[split:]]
            weights = np.concatenate([part.ravel() for part in parts[:split]])
            return self._tensor(weights), fixed

    def _rows(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return rows as they are sent to the device: uint8 as it is, else in the dtype."""
        return x if x.dtype == np.uint8 else np.asarray(x, dtype=self.dtype)

    def _run_rows(self, n: int) -> int:
        """Return the padded number of rows, so that a compiled function is traced less often."""
        return padded(n) if engine.COMPILES else n

    def _tensor(self, values: Any) -> Any:
        return ops.convert_to_tensor(np.array(values, dtype=self.dtype))

    def _scope(self) -> AbstractContextManager[None]:
        return engine.scope(self.device, float64=self.precision == "float64")

    def __getstate__(self) -> dict[str, Any]:
        return {"config": self.config, "state": self.state()}

    def __setstate__(self, pickled: dict[str, Any]) -> None:
        self.__init__(on_this_machine(pickled["config"], resolve_device))  # type: ignore[misc]
        self.load_state(pickled["state"])
