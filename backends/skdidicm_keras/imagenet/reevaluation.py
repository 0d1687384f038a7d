"""A checkpoint, evaluated again: with another sampler, on other data, or under corruption."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from skdidicm.imagenet import checkpoint as files
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.corruptions import Corruption
from skdidicm_keras import engine
from skdidicm_keras.imagenet.evaluation import Evaluator
from skdidicm_keras.imagenet.feed import evaluation_loader
from skdidicm_keras.imagenet.model import create_model, load, resolve_precision
from skdidicm_keras.imagenet.processes import check_alone, joined
from skdidicm_keras.imagenet.settings import check_choices
from skdidicm_keras.weights import named_variables


def evaluate(
    checkpoint: Path, changes: Mapping[str, Any], *, corrupt: str | None = None
) -> dict[str, Any]:
    """Return the figures of a checkpoint on the validation images, with other settings."""
    saved = files.read(checkpoint)
    config = replace(RunConfig(**saved.values["config"]), **changes)
    check_alone()
    check_choices(config)
    corruption = None if corrupt is None else Corruption(corrupt)
    with joined(config.device) as place:
        classes = saved.values["classes"]
        module = create_model(config, len(classes), resolve_precision(config, place.device))
        load(named_variables(module), files.evaluated_weights(saved))
        figures, bad = Evaluator(module, config, place).figures(
            [engine.read(variable) for variable in module.weights],
            evaluation_loader(config, place, classes, corruption),
        )
        return {"first": True, "metrics": figures, "bad_images": bad}
