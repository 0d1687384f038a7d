"""From weights that were trained on a folder of pictures to a fitted `DiDiClassifier`."""

from pathlib import Path
from typing import Any

import numpy as np

from skdidicm.backend import NetworkConfig
from skdidicm.classifier import DiDiClassifier
from skdidicm.core import SCHEDULES, UniformProcess
from skdidicm.fitting import Seeds
from skdidicm.imagenet.checkpoint import evaluated_weights, read
from skdidicm.imagenet.config import RunConfig
from skdidicm.registry import new_network

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's pixels in [0, 1]."""


def classifier_of(weights: dict[str, Any], classes: list[str], config: RunConfig) -> DiDiClassifier:
    """Return a fitted classifier that holds the weights of a run.

    It takes images (n, resolution, resolution, 3) of pixels from 0 to 255.
    """
    plain = config.objective == "cross-entropy"
    settings: dict[str, Any] = {
        "conditioning": config.conditioning,
        "parameterization": "posterior" if plain else "score",
        "objective": "cross_entropy" if plain else "score_entropy",
    }
    classifier = DiDiClassifier(
        steps=1 if plain else config.steps,
        solver="bridge" if plain else config.solver,
        sampler=config.sampler,
        n_chains=config.n_chains,
        network=config.network,
        schedule=config.schedule,
        backend=config.backend,
        device="cpu",
        random_state=config.seed % 2**32,
        **settings,
    )
    k = len(classes)
    order = np.argsort(np.asarray(classes))
    if not np.array_equal(order, np.arange(k)):
        raise ValueError("the classes of a run are in the order of their names; these are not.")
    c = classifier
    c.classes_ = np.asarray(classes)
    c.input_shape_ = (config.resolution, config.resolution, 3)
    c.n_features_in_ = config.resolution
    c.process_ = UniformProcess(k)
    c.schedule_ = SCHEDULES[config.schedule]()
    c.class_prior_ = np.full(k, 1 / k)
    c.history_, c.n_iter_ = [], 0
    c._seeds = Seeds(*[config.seed] * len(Seeds._fields))  # samples as the run evaluated
    c._rng = np.random.default_rng(c._seeds.training)
    c.network_ = new_network(
        config.backend,
        NetworkConfig(
            input_shape=c.input_shape_,
            n_classes=k,
            process=c.process_,
            network=config.network,
            mean=np.array(MEAN) * 255,
            scale=np.array(STD) * 255,
            device="cpu",
            seed=config.seed % 2**32,
            **settings,
        ),
    )
    c.network_.load_state(weights)
    return classifier


def export_model(checkpoint: str | Path, config: RunConfig, path: Path) -> DiDiClassifier:
    """Write the evaluated weights of a checkpoint as a model file, and return the classifier."""
    saved = read(Path(checkpoint))
    weights = evaluated_weights(saved)
    classifier = classifier_of(weights, saved.values["classes"], config)
    classifier.save(path)
    return classifier
