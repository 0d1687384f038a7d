"""The engine: network, optimiser and weight average, and one update of them."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from skdidicm.core import SCHEDULES
from skdidicm.imagenet.checkpoint import CheckpointError, Tensors, weights
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.feed import accumulation
from skdidicm_keras import engine
from skdidicm_keras.imagenet import step
from skdidicm_keras.imagenet.augmentation import Augmentation
from skdidicm_keras.imagenet.data import Images
from skdidicm_keras.imagenet.evaluation import Evaluator, standardised
from skdidicm_keras.imagenet.model import create_model, load, resolve_precision, state
from skdidicm_keras.imagenet.optimizer import create_optimizer, learning_rate
from skdidicm_keras.imagenet.processes import KerasCommunicator
from skdidicm_keras.weights import named_variables


class Engine:
    """All trained state.

    An update is one or more passes and one optimiser step; both functions are traced once.

    Attributes
    ----------
    module : ConditionedNetwork
        The network; `average`, if there is one, holds the averaged weights.
    update : int
        Updates done.
    """

    def __init__(
        self, config: RunConfig, n_classes: int, comm: KerasCommunicator, per_epoch: int
    ) -> None:
        self.config, self.comm, self.per_epoch = config, comm, per_epoch
        self.schedule = SCHEDULES[config.schedule]()
        self.accumulate = accumulation(config, comm.devices)
        self.module = create_model(config, n_classes, resolve_precision(config, comm.device))
        self.trained = list(self.module.trainable_variables)
        self.fixed = list(self.module.non_trainable_variables)
        self.optimizer = create_optimizer(config, self.trained)
        self.average = [_copy(v) for v in self.module.weights] if config.ema else []
        self.total = [_copy(v, zero=True) for v in self.trained]
        self.augment = Augmentation(config, n_classes)
        self.evaluator = Evaluator(self.module, config, comm)
        self._pass = engine.stateful(self._passed, [*self.trained, *self.fixed, *self.total])
        changed = [*self.module.weights, *self.total, *self.average, *self.optimizer.variables]
        self._step = engine.stateful(self._stepped, changed)
        self.update = 0

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last update."""
        return float(engine.to_host(self.optimizer.learning_rate.value))

    @property
    def memory(self) -> float:
        """The peak memory, which Keras does not report."""
        return 0.0

    def weight_sum(self) -> float:
        """Return the sum of all trained weights: finite only if every weight is."""
        return float(sum(engine.to_host(ops.sum(v.value)) for v in self.trained))

    def evaluate(self, batches: Iterable[Images]) -> tuple[dict[str, Any], list[str]]:
        """Return the figures, and one message per unreadable image."""
        values = [engine.read(v) for v in self.average or self.module.weights]
        return self.evaluator.figures(values, batches)

    def train_update(self, batches: list[Images]) -> Any:
        """Make one update from some batches; return their mean loss, on the device."""
        self.optimizer.learning_rate = learning_rate(self.config, self.update, self.per_epoch)
        losses = [self._pass(*self._given(images, i)) for i, images in enumerate(batches)]
        self._step()
        self.update += 1
        return sum(losses[1:], losses[0]) / len(losses)

    def _given(self, images: Images, part: int) -> list[Any]:
        """Return the inputs of a pass: the rows, and all random numbers that it needs."""
        config = self.config
        rng = step.generator(config.seed, self.update, part, 1)
        n, k = len(images.labels), self.module.n_classes
        noise = step.draw_noise(n, k, self.schedule, config, rng)
        rows = [self.comm.send(array) for array in (images.pixels, images.labels, *noise)]
        return [*rows, *(ops.convert_to_tensor(array) for array in self.augment.draw(rng))]

    def _passed(
        self, pixels: Any, label: Any, uniform: Any, sigma: Any, weight: Any, seeds: Any, cut: Any
    ) -> Any:
        """Add the gradients of a batch to `total`; return its loss."""
        x, q_0 = self.augment(pixels, label, seeds, cut)
        noise = step.Noise(uniform, sigma, weight)
        fixed = [engine.read(v) for v in self.fixed]

        def loss(values: list[Any]) -> tuple[Any, list[Any]]:
            given = list(zip((*self.trained, *self.fixed), (*values, *fixed), strict=True))
            with keras.StatelessScope(given) as scope:
                found = self._loss(standardised(x), q_0, noise)
                return found, [scope.get_current_value(v) for v in self.fixed]

        values = [engine.read(v) for v in self.trained]
        (found, fixed), gradients = engine.value_and_gradients(loss, values)
        for total, gradient in zip(self.total, gradients, strict=True):
            total.assign(total.value + gradient)
        for variable, value in zip(self.fixed, fixed, strict=True):
            variable.assign(value)
        return found

    def _loss(self, x: Any, q_0: Any, noise: step.Noise) -> Any:
        features = self.module.encode(x, training=True)
        if self.config.objective == "cross_entropy":
            return step.cross_entropy_loss(features[0], q_0)
        q_t = step.noisy_laws(q_0, noise.sigma)
        label = step.draw_labels(q_t, noise.uniform)
        output = self.module.decode(features, label, noise.sigma, training=True)
        return step.noisy_loss(output, label, noise.sigma, noise.weight, q_0, self.config)

    def _stepped(self) -> None:
        """Apply the optimiser to the gradients in `total`, and clear them."""
        gradients = [total.value / self.accumulate for total in self.total]
        self.optimizer.apply(gradients, self.trained)
        for total in self.total:
            total.assign(ops.zeros_like(total.value))
        decay = self.config.ema
        for average, variable in zip(self.average, self.module.weights, strict=False):
            value = variable.value
            if "float" in str(variable.dtype):  # a count is copied
                value = average.value + (1 - decay) * (value - average.value)
            average.assign(value)

    def pack(self) -> tuple[Tensors, dict[str, Any]]:
        """Return the whole state as arrays by name and plain values."""
        tensors = {
            f"optimizer.{i}": engine.to_host(v.value)
            for i, v in enumerate(self.optimizer.variables)
        }
        for part, named in self._parts().items():
            tensors |= {f"{part}.{name}": value for name, value in state(named).items()}
        values = {"update": self.update, "optimizer": {"engine": engine.NAME}, "scaler": {}}
        return tensors, values

    def unpack(self, tensors: Tensors, values: dict[str, Any]) -> None:
        """Restore a state that `pack` returned."""
        for part, named in self._parts().items():
            load(named, weights(tensors, f"{part}."))
        found = weights(tensors, "optimizer.")
        for i, variable in enumerate(self.optimizer.variables):
            value = found.get(str(i))
            if value is None or value.shape != tuple(variable.shape):
                raise CheckpointError(
                    f"the checkpoint's state of the optimiser does not fit {variable.path}; it is "
                    "damaged, or of another version of Keras."
                )
            variable.assign(ops.convert_to_tensor(value.astype(str(variable.dtype))))
        self.update = int(values["update"])

    def _parts(self) -> dict[str, dict[str, Any]]:
        """Return the variables of the network and of its average by torch's names."""
        named = named_variables(self.module)
        if not self.average:
            return {"model": named}
        pairs = zip(self.module.weights, self.average, strict=True)
        average = {id(variable): averaged for variable, averaged in pairs}
        return {"model": named, "average": {k: average[id(v)] for k, v in named.items()}}


def _copy(variable: Any, *, zero: bool = False) -> Any:
    """Return an untrained variable with the same value, or with zeros."""
    value = np.zeros(variable.shape) if zero else engine.to_host(variable.value)
    return keras.Variable(value, dtype=variable.dtype, trainable=False)
