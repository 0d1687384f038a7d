"""The network of a run."""

from typing import cast

import torch

from skdidicm.imagenet.config import RunConfig
from skdidicm_torch.conditioning import ConditionedNetwork
from skdidicm_torch.networks import create_network


def create_model(config: RunConfig, n_classes: int) -> ConditionedNetwork:
    """Return the network of a configuration, with weights drawn from its seed."""
    conditioning = cast("str", config.conditioning)
    size = (config.resolution, config.resolution)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        return create_network(config.network, n_classes, 3, conditioning, image_size=size)
