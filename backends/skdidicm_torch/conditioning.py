"""Conditioning of a network on the noisy label and the noise level."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

EMBEDDING = 128  # channels of the condition e
_SINUSOIDS = 256


class SigmaEmbedding(nn.Module):
    """Sinusoids of the total noise, cosines first, through a two-layer perceptron."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(_SINUSOIDS, EMBEDDING), nn.SiLU(), nn.Linear(EMBEDDING, EMBEDDING)
        )

    def forward(self, sigma: Tensor) -> Tensor:
        """Return (..., 128) for sigma (...)."""
        embedding: Tensor = self.mlp(sinusoids(sigma.to(next(self.parameters()).dtype)))
        return embedding


def sinusoids(sigma: Tensor) -> Tensor:
    """Return cosines and sines (..., 256) of sigma (...) at frequencies from 1 down to 1e-4."""
    half = _SINUSOIDS // 2
    index = torch.arange(half, device=sigma.device, dtype=torch.float32)
    frequencies = torch.exp(index * (-math.log(1e4) / half)).to(sigma.dtype)
    angles = sigma[..., None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


class Condition(NamedTuple):
    """The conditions of n rows and m draws, or the distinct ones with an index for every draw."""

    e: Tensor
    """Conditions, (n or 1, m, 128), or (number of distinct ones, 128)."""
    place: Tensor | None = None
    """Index of the condition of every draw, (n or 1, m), if `e` has the distinct ones."""

    def through(self, layers: Callable[[Tensor], Tensor]) -> Tensor:
        """Return the layers' output for the condition of every draw, (n or 1, m, ...)."""
        y = layers(self.e)
        return y if self.place is None else functional.embedding(self.place, y)

    def of_draws(self) -> Tensor:
        """Return the condition of every draw, (n or 1, m, 128)."""
        return self.through(lambda e: e)


class ConditionedNetwork(nn.Module):
    """A network of an input, a noisy label and the total noise, split in two halves.

    `encode` takes the input alone, `decode` the rest; `forward` is their composition. With
    `conditional=False` it is an ordinary classifier, which takes neither label nor noise: `encode`
    returns the logits, and `decode` repeats them for every draw.
    """

    def __init__(self, n_classes: int, *, conditional: bool = True) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.conditional = conditional
        if not conditional:  # it has no use for embeddings
            return
        self.ff_emb = SigmaEmbedding()
        self.label_embedder = nn.Embedding(n_classes, EMBEDDING)

    def forward(self, x: Tensor, label: Tensor, sigma: Tensor) -> Tensor:
        """Return raw outputs (n, k) for inputs (n, ...), labels (n,) and total noise (n,)."""
        return self.decode(self.encode(x), label, sigma)

    def encode(self, x: Tensor, masks: Sequence[Tensor] = ()) -> tuple[Tensor, ...]:
        """Return all that depends on neither label nor noise.

        `masks` (n or 1, c), one per block, drop channels of its output; only the ordinary
        classifiers in `NETWORKS` use them.
        """
        raise NotImplementedError

    def decode(self, features: tuple[Tensor, ...], label: Tensor, sigma: Tensor) -> Tensor:
        """Return outputs (n, k) for labels and noise (n,), or (n, m, k) for (n, m) or (1, m)."""
        if label.ndim == 1:
            return self.decode(features, label[:, None], sigma[:, None])[:, 0]
        if not self.conditional:
            return features[0][:, None, :].expand(-1, label.shape[1], -1)
        return self.decode_draws(features, label, sigma)

    def decode_draws(self, features: tuple[Tensor, ...], label: Tensor, sigma: Tensor) -> Tensor:
        """Return outputs (n, m, k) for m labels and noise levels per row, (n, m) or (1, m)."""
        raise NotImplementedError

    def condition(self, label: Tensor, sigma: Tensor) -> Condition:
        """Return the conditions of labels and noise, (n, m) or (1, m).

        If rows share their noise, there are few distinct conditions. Computing one for every draw
        would take most of the time of a small network.
        """
        if sigma.shape[0] > 1 and not sigma.stride(0):  # broadcast from one row
            sigma = sigma[:1]
        if sigma.shape[1] > 1 and not sigma.stride(1):  # and from one number
            sigma = sigma[:, :1]
        n, n_levels = label.shape[0], sigma.shape[0]  # len would be a constant under torch.export
        exporting = torch.compiler.is_compiling()  # then n is not known
        if n_levels > 1 or (not exporting and n <= self.n_classes):
            return Condition(self.ff_emb(sigma) + self.label_embedder(label))
        table = self.ff_emb(sigma[0])[:, None] + self.label_embedder.weight  # (m or 1, k, 128)
        first = torch.arange(len(table), device=label.device) * self.n_classes
        return Condition(table.flatten(0, 1), label + first)


def masked(x: Tensor, masks: Sequence[Tensor], block: int) -> Tensor:
    """Return the output (n, c, ...) of a block, with its channels masked if there are masks."""
    if not masks:
        return x
    return x * masks[block].reshape(*masks[block].shape, *[1] * (x.ndim - 2))


class ConditionalHead(nn.Module):
    """A small conditional network on a feature vector: norm, SiLU, skip, linear."""

    def __init__(self, n_features: int, n_classes: int) -> None:
        super().__init__()
        self.project = nn.Linear(n_features, n_features)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(EMBEDDING, n_features))
        self.norm = nn.LayerNorm(n_features)
        self.fc = nn.Linear(n_features, n_classes)

    def encode(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return the term to which the condition is added, and the skip, both (n, d)."""
        return self.project(pooled), pooled

    def decode(self, features: tuple[Tensor, ...], condition: Condition) -> Tensor:
        """Return outputs (n, m, k) for the conditions of m draws."""
        hidden, skip = features
        mixed = self.norm(hidden[:, None] + condition.through(self.emb_layers))
        output: Tensor = self.fc(functional.silu(mixed) + skip[:, None])
        return output
