"""Evaluation of a checkpoint with another sampler, other data, or corrupted images."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from skdidicm.imagenet import checkpoint as files
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.corruptions import Corruption
from skdidicm.imagenet.trainer import EvaluationResult
from skdidicm.pictures import without_warnings
from skdidicm_keras import engine
from skdidicm_keras.imagenet.evaluation import Evaluator
from skdidicm_keras.imagenet.feed import evaluation_loader
from skdidicm_keras.imagenet.model import create_model, load, resolve_precision
from skdidicm_keras.imagenet.processes import check_alone, joined
from skdidicm_keras.imagenet.settings import check_choices
from skdidicm_keras.weights import named_variables


def evaluate(
    checkpoint: Path, changes: Mapping[str, Any], *, corrupt: str | None = None
) -> EvaluationResult:
    """Evaluate a checkpoint on the validation images with changed settings."""
    saved = files.read_model(checkpoint)
    config = replace(RunConfig.parse(saved.values["config"]), **changes)
    check_alone()
    check_choices(config)
    corruption = None if corrupt is None else Corruption(corrupt)
    with without_warnings(), joined(config.device) as comm:
        classes = saved.values["classes"]
        module = create_model(config, len(classes), resolve_precision(config, comm.device))
        load(named_variables(module), files.evaluated_weights(saved))
        figures, bad = Evaluator(module, config, comm).figures(
            [engine.read(variable) for variable in module.weights],
            evaluation_loader(config, comm, classes, corruption),
        )
        return EvaluationResult(figures, bad)
