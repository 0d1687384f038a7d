"""Evaluation: every validation image once, over all processes, through the core's samplers."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skdidicm.core import (
    EPS_T,
    Process,
    Schedule,
    log_score,
    sample_labels,
    sample_probabilities,
)
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.tally import Tally
from skdidicm_torch.conditioning import ConditionedNetwork
from skdidicm_torch.imagenet.data import Images
from skdidicm_torch.imagenet.preparation import Preparation
from skdidicm_torch.imagenet.processes import Place


@torch.inference_mode()
def evaluate(
    module: ConditionedNetwork,
    batches: Iterable[Images],
    config: RunConfig,
    process: Process,
    schedule: Schedule,
    prepare: Preparation,
    place: Place,
) -> tuple[dict[str, Any], list[str]]:
    """Return the figures over all processes, and the names of what could not be read."""
    module.eval()
    steps = 1 if config.objective == "cross-entropy" else config.steps
    tally, bad = Tally(steps), []
    for images in batches:
        bad += images.bad
        if len(images.labels):
            path = posterior_path(module, images.pixels, config, process, schedule, prepare)
            tally.add(path.float().cpu().numpy(), images.labels.cpu().numpy())
    tally.totals = place.sum(tally.totals)
    return tally.figures(), bad


def posterior_path(
    module: ConditionedNetwork,
    pixels: Tensor,
    config: RunConfig,
    process: Process,
    schedule: Schedule,
    prepare: Preparation,
) -> Tensor:
    """Return the laws (n, steps + 1, k) before the first and after every step."""
    n, k = len(pixels), module.n_classes
    with prepare.autocast():
        features = module.encode(prepare(pixels))
    start = torch.full((n, k), 1 / k, device=prepare.device)
    if config.objective == "cross-entropy":
        return torch.stack([start, features[0].float().softmax(dim=1)], dim=1)

    def scores(label: Tensor, sigma: Tensor) -> Tensor:
        draws = label.reshape(n, -1)
        with prepare.autocast():
            output = module.decode(features, draws, sigma.reshape(n, -1))
        flat = output.float().reshape(-1, k)
        found: Tensor = log_score(flat, label, sigma, process=process)
        return found

    rng = np.random.default_rng(config.seed)
    settings: dict[str, Any] = {
        "process": process,
        "schedule": schedule,
        "steps": config.steps,
        "solver": config.solver,
        "return_path": True,
    }
    if config.sampler == "cp":
        law: Tensor = sample_probabilities(scores, start, rng=rng, **settings)
    else:
        uniforms = torch.as_tensor(
            rng.random((config.steps + 1, config.n_chains)), dtype=torch.float32
        ).to(prepare.device)
        law = sample_labels(scores, n, n_chains=config.n_chains, uniforms=uniforms, **settings)
    # As DiDiClassifier reads out: no zeros.
    read_out: Tensor = process.diffuse(law, float(schedule.total(EPS_T)))
    return read_out
