"""Evaluation of every validation image with the core's samplers, which compute in NumPy."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

from skdidicm.core import (
    SCHEDULES,
    SamplerPlan,
    UniformProcess,
    log_score,
    read_out,
    sample_posterior,
)
from skdidicm.imagenet.config import MEAN, STD, RunConfig
from skdidicm.imagenet.tally import Tally
from skdidicm_keras import engine
from skdidicm_keras.conditioning import ConditionedNetwork
from skdidicm_keras.imagenet.data import Images
from skdidicm_keras.imagenet.processes import KerasCommunicator


class Evaluator:
    """The network as traced functions of its weights: the trained ones or their average."""

    def __init__(
        self, module: ConditionedNetwork, config: RunConfig, comm: KerasCommunicator
    ) -> None:
        self.module, self.config, self.comm = module, config, comm
        self.process = UniformProcess(module.n_classes)
        self.schedule = SCHEDULES[config.schedule]()
        self.rows = config.batch_size * comm.devices
        self._encode = engine.compiled(self._encoded)
        self._decode = engine.compiled(self._decoded)

    def figures(
        self, values: list[Any], batches: Iterable[Images]
    ) -> tuple[dict[str, Any], list[str]]:
        """Return the figures of some weights, and one message per unreadable image.

        `values` are tensors, one for every entry of `module.weights`.
        """
        steps = 1 if self.config.objective == "cross_entropy" else self.config.steps
        tally, bad = Tally(steps), []
        for images in batches:
            bad += images.bad
            if len(images.labels):
                tally.add(self.posterior_path(values, images.pixels), images.labels)
        return tally.figures(), bad

    def posterior_path(self, values: list[Any], pixels: NDArray[np.uint8]) -> NDArray[np.floating]:
        """Return the distributions (n, steps + 1, k) before the first and after every step."""
        config, n, k = self.config, len(pixels), self.module.n_classes
        features = self._encode(values, self.comm.send(self._filled(pixels)))
        if config.objective == "cross_entropy":
            start = np.full((n, k), 1 / k, dtype=np.float32)
            logits = engine.to_host(ops.cast(features[0], "float32"))[:n]
            e = np.exp(logits - logits.max(axis=1, keepdims=True))
            return np.stack([start, e / e.sum(axis=1, keepdims=True)], axis=1)

        def scores(label: NDArray[Any], sigma: NDArray[Any]) -> NDArray[np.floating]:
            draws = (label.astype("int32"), np.asarray(sigma, "float32"))
            given = [self.comm.send(self._filled(v.reshape(n, -1))) for v in draws]
            output = self._decode(values, features, *given)
            outputs = engine.to_host(output)[:n].reshape(*label.shape, k)
            found: NDArray[np.floating] = log_score(
                outputs,
                label,
                sigma,
                process=self.process,
                parameterization=str(config.parameterization),
            )
            return found

        plan = SamplerPlan(
            self.process,
            self.schedule,
            p_init=self.process.limit(),
            seed=config.seed,
            sampler=config.sampler,
            solver=str(config.solver),
            steps=config.steps,
            n_chains=config.n_chains,
        )
        law = sample_posterior(
            scores, n, plan, lambda values: values.astype("float32"), return_path=True
        )
        path: NDArray[np.floating] = read_out(law, self.process, self.schedule)
        return path  # as DiDiClassifier reads it out

    def _filled(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Pad rows to the size of a full batch, so that all batches share one trace."""
        missing = self.rows - len(rows)
        return np.concatenate([rows, np.repeat(rows[:1], missing, axis=0)]) if missing else rows

    def _encoded(self, values: list[Any], pixels: Any) -> Any:
        with self._with(values):
            return self.module.encode(standardised(ops.cast(pixels, "float32")))

    def _decoded(self, values: list[Any], features: Any, label: Any, sigma: Any) -> Any:
        with self._with(values):
            return ops.cast(self.module.decode(features, label, sigma), "float32")

    def _with(self, values: list[Any]) -> Any:
        return keras.StatelessScope(list(zip(self.module.weights, values, strict=True)))


def standardised(x: Any) -> Any:
    """Return pixels (n, h, w, 3), from 0 to 255, standardised by ImageNet's mean and scale."""
    mean, scale = (ops.convert_to_tensor(np.array(v, dtype=np.float32)) for v in (MEAN, STD))
    return (x / 255 - mean) / scale
