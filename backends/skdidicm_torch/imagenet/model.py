"""The network of a run, with the image statistics in front."""

from typing import cast

import torch
from torch import Tensor, nn

from skdidicm.imagenet.config import RunConfig
from skdidicm_torch.conditioning import ConditionedNetwork
from skdidicm_torch.imagenet import timm_parts
from skdidicm_torch.networks import NETWORKS, create_network


class PlainClassifier(ConditionedNetwork):
    """A classifier that sees neither label nor noise, behind the halves that samplers call."""

    def __init__(self, module: nn.Module, n_classes: int) -> None:
        super().__init__(n_classes, conditional=False)
        self.module = module

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the logits (n, k)."""
        return (self.module(x),)

    def decode_draws(self, features: tuple[Tensor, ...], label: Tensor, _: Tensor) -> Tensor:
        """Return the logits again for each draw, (n, m, k)."""
        return features[0][:, None, :].expand(-1, label.shape[1], -1)


def create_model(config: RunConfig, n_classes: int) -> ConditionedNetwork:
    """Return the network that a configuration asks for, its weights drawn from its seed."""
    conditioning = cast("str", config.conditioning)
    size = (config.resolution, config.resolution)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        if config.model in NETWORKS:
            return create_network(config.model, n_classes, 3, conditioning, image_size=size)
        if config.objective == "cross-entropy":
            return PlainClassifier(timm_parts.create_classifier(config.model, n_classes), n_classes)
        backbone = timm_parts.create_backbone(config.model)
        return create_network(backbone, n_classes, 3, conditioning, image_size=size)
