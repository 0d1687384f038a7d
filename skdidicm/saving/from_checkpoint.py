"""From a checkpoint of a run on pictures to a model of `DiDiClassifier`."""

from typing import Any

import numpy as np

from skdidicm.backend import NetworkConfig
from skdidicm.core import SCHEDULES, UniformProcess
from skdidicm.fit.state import Fitted, Seeds
from skdidicm.imagenet.checkpoint import Checkpoint, evaluated_weights
from skdidicm.imagenet.config import MEAN, STD, RunConfig
from skdidicm.registry import new_network
from skdidicm.saving.persistence import Model
from skdidicm.saving.run_folder import DataSource, RunRecord


def model_of_checkpoint(saved: Checkpoint) -> Model:
    """Return the evaluated weights of a run as a model of `DiDiClassifier`, on the CPU.

    It takes images (n, resolution, resolution, 3) of pixels from 0 to 255. Its classes are the
    names of the run's classes where those are sorted, as folders are, else their numbers.
    """
    config, names = RunConfig.parse(saved.values["config"]), saved.values["classes"]
    sorted_names = np.array_equal(names, np.unique(names))
    process, schedule = UniformProcess(len(names)), SCHEDULES[config.schedule]()
    network = new_network(config.backend, network_config(config, process))
    network.load_state(evaluated_weights(saved))
    history = saved.values["history"]
    fitted = Fitted(
        classes=np.asarray(names) if sorted_names else np.arange(len(names)),
        input_shape=network.config.input_shape,
        class_prior=np.full(len(names), 1 / len(names)),
        process=process,
        schedule=schedule,
        seeds=Seeds(*[config.seed] * len(Seeds._fields)),  # samples as the run evaluated
        rng=np.random.default_rng(config.seed),
        network=network,
        history=[{k: v for k, v in row.items() if k != "figures"} for row in history],
        n_iter=len(history),
        max_epochs=config.epochs,
    )
    return Model("DiDiClassifier", _parameters(config), [], fitted)


def _parameters(config: RunConfig) -> dict[str, Any]:
    plain = config.objective == "cross_entropy"
    return {
        "steps": 1 if plain else config.steps,
        "solver": "bridge" if plain else config.solver,
        "sampler": "cp" if plain else config.sampler,
        "n_chains": config.n_chains,
        "network": config.network,
        "conditioning": str(config.conditioning),
        "parameterization": config.parameterization,
        "objective": config.objective,
        "schedule": config.schedule,
        "backend": config.backend,
        "device": "cpu",
    }


def network_config(config: RunConfig, process: UniformProcess) -> NetworkConfig:
    """Return the network of a run as `DiDiClassifier` builds it, on the CPU."""
    return NetworkConfig(
        input_shape=(config.resolution, config.resolution, 3),
        n_classes=process.n_classes,
        process=process,
        network=config.network,
        conditioning=str(config.conditioning),
        parameterization=str(config.parameterization),
        objective=config.objective,
        mean=np.array(MEAN) * 255,
        scale=np.array(STD) * 255,
        weight_decay=config.weight_decay,
        device="cpu",
        seed=config.seed % 2**32,
    )


def record_of_checkpoint(saved: Checkpoint) -> RunRecord:
    """Return the record of the run that wrote a checkpoint."""
    config = saved.values["config"]
    history = saved.values["history"]
    return RunRecord(
        dataset=DataSource(name="imagenet", folder=config["data"]),
        settings=config,
        class_names=saved.values["classes"],
        pixel_max=255,
        crop=config["crop"],
        update=saved.values["update"],
        metrics=history[-1].get("figures") if history else None,
    )
