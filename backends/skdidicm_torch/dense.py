"""Networks for tables, and conditional heads on custom backbones."""

import copy
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Self

import torch
from torch import Tensor, nn
from torch.func import functional_call

from skdidicm.networks import PerceptronSize
from skdidicm_torch.conditioning import (
    EMBEDDING,
    Condition,
    ConditionalHead,
    ConditionedNetwork,
    masked,
)

_LARGE = 2**22  # numbers of an image whose feature maps may take gigabytes


class DenseBlock(nn.Module):
    """A residual block of two linear layers, conditional like the blocks of DiDiRN."""

    def __init__(self, width: int, *, conditional: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
        )
        if conditional:
            self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(EMBEDDING, width))
            self.out_layers = nn.Sequential(nn.LayerNorm(width), nn.SiLU())

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output of the layers and the skip, both (n, width)."""
        h: Tensor = self.layers(x)
        return h, x

    def join(self, h: Tensor, skip: Tensor, condition: Condition | None = None) -> Tensor:
        """Return the block's output for conditions that broadcast against h."""
        if condition is not None:
            h = self.out_layers(h + condition.through(self.emb_layers))
        return h + skip


class Perceptron(ConditionedNetwork):
    """A residual multi-layer perceptron for tables.

    Parameters
    ----------
    n_classes, n_features : int
        Number of classes K and of columns d.
    size : PerceptronSize
        Hidden units and residual blocks.
    conditioning : {"blocks", "last", "head", "none"}
        Where the condition enters; "none" is an ordinary perceptron.
    """

    def __init__(
        self,
        n_classes: int,
        n_features: int,
        size: PerceptronSize,
        *,
        conditioning: str = "blocks",
    ) -> None:
        super().__init__(n_classes, conditional=conditioning != "none")
        width, depth = size.width, size.depth
        self.conditioning = conditioning
        self.first = (
            0 if conditioning == "blocks" else depth - 1
        )  # the block that is split between encode and decode
        self.stem = nn.Linear(n_features, width)
        self.layers = nn.ModuleList(
            DenseBlock(
                width,
                conditional=conditioning == "blocks" or (conditioning == "last" and i == depth - 1),
            )
            for i in range(depth)
        )
        if conditioning == "head":
            self.head = ConditionalHead(width, n_classes)
        else:
            self.fc = nn.Linear(width, n_classes)

    @property
    def blocks(self) -> list[DenseBlock]:
        """The residual blocks in order."""
        return [block for block in self.layers if isinstance(block, DenseBlock)]

    def encode(self, x: Tensor, masks: Sequence[Tensor] = ()) -> tuple[Tensor, ...]:
        """Return all that depends on neither label nor noise, for rows (n, d)."""
        x, blocks = self.stem(x), self.blocks
        for i, block in enumerate(blocks[: self.first]):
            x = masked(block.join(*block.split(x)), masks, i)
        features = blocks[self.first].split(x)
        if self.conditioning == "none":
            return (self.fc(masked(blocks[self.first].join(*features), masks, self.first)),)
        if self.conditioning == "head":
            return self.head.encode(blocks[self.first].join(*features))
        return features

    def decode_draws(self, features: tuple[Tensor, ...], label: Tensor, sigma: Tensor) -> Tensor:
        """Return outputs (n, m, k) for labels and noise (n, m)."""
        condition = self.condition(label, sigma)
        if self.conditioning == "head":
            return self.head.decode(features, condition)
        h, skip = (f[:, None] for f in features)
        x = self.blocks[self.first].join(h, skip, condition)
        for block in self.blocks[self.first + 1 :]:
            x = block.join(*block.split(x), condition)
        output: Tensor = self.fc(x)
        return output


class LinearNetwork(ConditionedNetwork):
    """Logits that are linear in a row, shifted by the condition."""

    def __init__(self, n_classes: int, n_features: int, *, conditional: bool = True) -> None:
        super().__init__(n_classes, conditional=conditional)
        self.fc = nn.Linear(n_features, n_classes)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)
        if conditional:
            self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(EMBEDDING, n_classes))

    def encode(self, x: Tensor, masks: Sequence[Tensor] = ()) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Return the logits (n, k) of rows (n, d)."""
        return (self.fc(x),)

    def decode_draws(self, features: tuple[Tensor, ...], label: Tensor, sigma: Tensor) -> Tensor:
        """Return outputs (n, m, k) for labels and noise (n, m)."""
        shift = self.condition(label, sigma).through(self.emb_layers)
        return features[0][:, None] + shift


class LinearHead(nn.Module):
    """Logits that are linear in standardised features, shifted by the condition."""

    centre: Tensor
    spread: Tensor

    def __init__(self, n_features: int, n_classes: int, *, conditional: bool = True) -> None:
        super().__init__()
        self.register_buffer("centre", torch.zeros(n_features))
        self.register_buffer("spread", torch.ones(()))
        self.fc = nn.Linear(n_features, n_classes)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)
        if conditional:
            self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(EMBEDDING, n_classes))

    def standardise_by(self, features: Tensor) -> None:
        """Standardise by the moments of features (n, f), which keep their relative sizes."""
        self.centre.copy_(features.mean(dim=0))
        spread = features.var(dim=0, correction=0).mean().sqrt()
        self.spread.copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))

    def encode(self, pooled: Tensor) -> tuple[Tensor]:
        """Return the logits (n, k) of features (n, f)."""
        return (self.fc((pooled - self.centre) / self.spread),)

    def decode(self, features: tuple[Tensor, ...], condition: Condition) -> Tensor:
        """Return outputs (n, m, k) for the conditions of m draws."""
        return features[0][:, None] + condition.through(self.emb_layers)


class BackboneNetwork(ConditionedNetwork):
    """A conditional head on a backbone that maps inputs to feature vectors or maps.

    Parameters
    ----------
    backbone : nn.Module or callable
        Maps (n, c, h, w) to (n, d) or (n, d, h', w'). It is copied; maps are averaged over pixels.
    n_classes : int
        Number of classes K.
    example : Tensor (1, ...)
        An input from which to infer d.
    linear : bool, default=False
        Whether the head is linear in the features, as on those of a frozen network.
    conditional : bool, default=True
        Whether the head takes label and noise.
    """

    def __init__(
        self,
        backbone: Callable[[Tensor], Tensor],
        n_classes: int,
        example: Tensor,
        *,
        linear: bool = False,
        conditional: bool = True,
    ) -> None:
        super().__init__(n_classes, conditional=conditional)
        self.backbone = copy.deepcopy(backbone)
        self.held = False  # whether inputs are features of the backbone
        self.eval()
        d = self._n_features(example)
        self.head: ConditionalHead | LinearHead = (
            LinearHead(d, n_classes, conditional=conditional)
            if linear
            else ConditionalHead(d, n_classes)
        )

    def train(self, mode: bool = True) -> Self:
        """Set training mode; frozen parts of the backbone stay in evaluation mode."""
        super().train(mode)
        if mode and isinstance(self.backbone, nn.Module):
            if not any(p.requires_grad for p in self.backbone.parameters()):
                self.backbone.eval()
            for part in self.backbone.modules():
                parameters = list(part.parameters())
                if parameters and not any(p.requires_grad for p in parameters):
                    part.eval()
        return self

    def pool(self, x: Tensor) -> Tensor:
        """Return the backbone's features as vectors (n, d)."""
        return x if self.held else pooled(self.backbone(x))

    def _n_features(self, example: Tensor) -> int:
        """Return d, for large images without the memory that running the backbone takes."""
        with torch.no_grad():
            if example.numel() > _LARGE and isinstance(self.backbone, nn.Module):
                parts = (*self.backbone.named_parameters(), *self.backbone.named_buffers())
                shapes = {name: torch.empty_like(part, device="meta") for name, part in parts}
                with suppress(RuntimeError):  # a user's backbone may need the numbers
                    features = functional_call(self.backbone, shapes, (example.to("meta"),))
                    return pooled(features).shape[1]
            return self.pool(example).shape[1]

    def encode(self, x: Tensor, masks: Sequence[Tensor] = ()) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Return the head's features for inputs (n, c, h, w)."""
        return self.head.encode(self.pool(x))

    def decode_draws(self, features: tuple[Tensor, ...], label: Tensor, sigma: Tensor) -> Tensor:
        """Return outputs (n, m, k) for labels and noise (n, m)."""
        return self.head.decode(features, self.condition(label, sigma))


class TimmClassifier(ConditionedNetwork):
    """A classifier from timm, which takes neither label nor noise."""

    def __init__(self, module: nn.Module, n_classes: int) -> None:
        super().__init__(n_classes, conditional=False)
        self.module = module

    def encode(self, x: Tensor, masks: Sequence[Tensor] = ()) -> tuple[Tensor, ...]:  # noqa: ARG002
        """Return the logits (n, k)."""
        return (self.module(x),)


def pooled(features: object) -> Tensor:
    """Return a backbone's features as vectors (n, d)."""
    if not isinstance(features, Tensor) or features.ndim not in (2, 4):
        raise ValueError(
            f"the backbone returned {_shape_or_type(features)}; expected a tensor (n, d) of "
            "features or (n, d, h, w) of feature maps. With timm, build it with num_classes=0."
        )
    return features if features.ndim == 2 else features.mean(dim=(2, 3))


def _shape_or_type(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
