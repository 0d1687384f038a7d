"""From a checkpoint of a run on pictures to a fitted `DiDiClassifier`."""

from typing import Any

import numpy as np

from skdidicm.backend import NetworkConfig
from skdidicm.classifier import DiDiClassifier
from skdidicm.core import SCHEDULES, UniformProcess
from skdidicm.fit.fit import Seeds
from skdidicm.imagenet.checkpoint import Checkpoint, evaluated_weights
from skdidicm.imagenet.config import MEAN, STD, RunConfig
from skdidicm.registry import new_network


def classifier_of_checkpoint(saved: Checkpoint) -> DiDiClassifier:
    """Return a fitted classifier with the evaluated weights of a run, on the CPU.

    It takes images (n, resolution, resolution, 3) of pixels from 0 to 255. Its classes are the
    names of the run's classes where those are sorted, as folders are, else their numbers.
    """
    config, names = RunConfig(**saved.values["config"]), saved.values["classes"]
    c = _unfitted(config)
    sorted_names = np.array_equal(names, np.unique(names))
    c.classes_ = np.asarray(names) if sorted_names else np.arange(len(names))
    c.input_shape_ = (config.resolution, config.resolution, 3)
    c.n_features_in_ = config.resolution
    c.process_ = UniformProcess(len(names))
    c.schedule_ = SCHEDULES[config.schedule]()
    c.class_prior_ = np.full(len(names), 1 / len(names))
    history = saved.values["history"]
    c.history_ = [{k: v for k, v in row.items() if k != "figures"} for row in history]
    c.trial_, c.members_, c.temperature_ = [], [], 1.0
    c.n_iter_, c.max_epochs_ = len(history), config.epochs
    c._seeds = Seeds(*[config.seed] * len(Seeds._fields))  # samples as the run evaluated
    c._rng = np.random.default_rng(config.seed)
    c.network_ = new_network(config.backend, _network_config(c, config))
    c.network_.load_state(evaluated_weights(saved))
    return c


def _unfitted(config: RunConfig) -> DiDiClassifier:
    plain = config.objective == "cross-entropy"
    return DiDiClassifier(
        steps=1 if plain else config.steps,
        solver="bridge" if plain else config.solver,
        sampler="cp" if plain else config.sampler,
        n_chains=config.n_chains,
        network=config.network,
        conditioning=str(config.conditioning),
        parameterization="posterior" if plain else "score",
        objective="bayes_cross_entropy" if plain else "score_entropy",
        schedule=config.schedule,
        backend=config.backend,
        device="cpu",
    )


def _network_config(c: DiDiClassifier, config: RunConfig) -> NetworkConfig:
    return NetworkConfig(
        input_shape=c.input_shape_,
        n_classes=len(c.classes_),
        process=c.process_,
        network=c.network,
        conditioning=c.conditioning,
        parameterization=c.parameterization,
        objective=c.objective,
        mean=np.array(MEAN) * 255,
        scale=np.array(STD) * 255,
        weight_decay=config.weight_decay,
        device="cpu",
        seed=config.seed % 2**32,
    )


def describe(saved: Checkpoint) -> dict[str, Any]:
    """Return what `skdidicm predict` and a reader want to know about a run."""
    from importlib.metadata import version

    config = saved.values["config"]
    history = saved.values["history"]
    return {
        "skdidicm": version("skdidicm"),
        "dataset": {"name": "imagenet", "folder": config["data"]},
        "settings": config,
        "class_names": saved.values["classes"],
        "pixel_max": 255,
        "crop": config["crop"],
        "update": saved.values["update"],
        "metrics": history[-1].get("figures") if history else None,
    }
