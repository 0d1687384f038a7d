"""Evaluation of a checkpoint with another sampler, other data, or corrupted images."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from skdidicm.core import SCHEDULES, UniformProcess
from skdidicm.imagenet import checkpoint as files
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.corruptions import Corruption
from skdidicm.imagenet.trainer import EvaluationResult
from skdidicm_torch.imagenet.engine import check_weights, load_weights
from skdidicm_torch.imagenet.evaluation import evaluate as evaluate_batches
from skdidicm_torch.imagenet.feed import evaluation_loader
from skdidicm_torch.imagenet.model import create_model
from skdidicm_torch.imagenet.preparation import Preparation
from skdidicm_torch.imagenet.processes import joined


def evaluate(
    checkpoint: Path, changes: Mapping[str, Any], *, corrupt: str | None = None
) -> EvaluationResult | None:
    """Evaluate a checkpoint on the validation images with changed settings."""
    saved = files.read_model(checkpoint)
    config = replace(RunConfig.parse(saved.values["config"]), **changes)
    corruption = None if corrupt is None else Corruption(corrupt)
    with joined(config.device) as comm:
        classes, weights = saved.values["classes"], files.evaluated_weights(saved)
        check_weights(config, len(classes), weights)
        module = create_model(config, len(classes)).to(comm.device)
        load_weights(module, weights)
        figures, bad = evaluate_batches(
            module,
            evaluation_loader(config, comm, classes, corruption),
            config,
            UniformProcess(len(classes)),
            SCHEDULES[config.schedule](),
            Preparation(config, comm.device),
            comm,
        )
        unread = [name for names in comm.gather(bad) for name in names]
        return EvaluationResult(figures, unread) if comm.first else None
