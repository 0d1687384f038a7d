"""Evaluation of every validation image, over all processes, with the core's samplers."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from skdidicm.core import Process, SamplerPlan, Schedule, log_score, read_out, sample_posterior
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.tally import Tally
from skdidicm_torch.conditioning import ConditionedNetwork
from skdidicm_torch.imagenet.data import Images
from skdidicm_torch.imagenet.preparation import Preparation
from skdidicm_torch.imagenet.processes import TorchCommunicator


@torch.inference_mode()
def evaluate(
    module: ConditionedNetwork,
    batches: Iterable[Images],
    config: RunConfig,
    process: Process,
    schedule: Schedule,
    prepare: Preparation,
    comm: TorchCommunicator,
) -> tuple[dict[str, Any], list[str]]:
    """Return the figures over all processes, and this process's unreadable images."""
    module.eval()
    steps = 1 if config.objective == "cross_entropy" else config.steps
    tally, bad = Tally(steps), []
    for images in batches:
        bad += images.bad
        if len(images.labels):
            path = posterior_path(module, images.pixels, config, process, schedule, prepare)
            tally.add(path.float().cpu().numpy(), images.labels.cpu().numpy())
    tally.totals = comm.sum(tally.totals)
    return tally.figures(), bad


def posterior_path(
    module: ConditionedNetwork,
    pixels: Tensor,
    config: RunConfig,
    process: Process,
    schedule: Schedule,
    prepare: Preparation,
) -> Tensor:
    """Return the distributions (n, steps + 1, k) before the first and after every step."""
    n, k = len(pixels), module.n_classes
    with prepare.autocast():
        features = module.encode(prepare(pixels))
    if config.objective == "cross_entropy":
        start = torch.full((n, k), 1 / k, device=prepare.device)
        return torch.stack([start, features[0].float().softmax(dim=1)], dim=1)

    def scores(label: Tensor, sigma: Tensor) -> Tensor:
        with prepare.autocast():
            output = module.decode(features, label, sigma)
        found: Tensor = log_score(
            output.float(),
            label,
            sigma,
            process=process,
            parameterization=str(config.parameterization),
        )
        return found

    plan = SamplerPlan(
        process,
        schedule,
        p_init=process.limit(),
        seed=config.seed,
        sampler=config.sampler,
        solver=str(config.solver),
        steps=config.steps,
        n_chains=config.n_chains,
    )
    law = sample_posterior(
        scores,
        n,
        plan,
        lambda values: torch.as_tensor(values, dtype=torch.float32).to(prepare.device),
        return_path=True,
    )
    path: Tensor = read_out(law, process, schedule)  # as DiDiClassifier does it
    return path
