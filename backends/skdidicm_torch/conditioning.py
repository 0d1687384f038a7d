"""How a noisy label and its noise level enter a network."""

import math

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
        half, dtype = _SINUSOIDS // 2, next(self.parameters()).dtype
        index = torch.arange(half, device=sigma.device, dtype=torch.float32)
        frequencies = torch.exp(index * (-math.log(1e4) / half)).to(dtype)
        angles = sigma.to(dtype)[..., None] * frequencies
        embedding: Tensor = self.mlp(torch.cat([angles.cos(), angles.sin()], dim=-1))
        return embedding


class ConditionedNetwork(nn.Module):
    """A network of an input, a noisy label and the total noise, cut in two halves.

    `encode` sees the input alone, `decode` the rest; `forward` is their composition.
    """

    def __init__(self, n_classes: int, *, conditional: bool = True) -> None:
        super().__init__()
        self.n_classes = n_classes
        if not conditional:  # embeddings that nothing sees would stay untrained
            return
        self.ff_emb = SigmaEmbedding()
        self.label_embedder = nn.Embedding(n_classes, EMBEDDING)

    def forward(self, x: Tensor, label: Tensor, sigma: Tensor) -> Tensor:
        """Return raw outputs (n, k) for inputs (n, ...), labels (n,) and total noise (n,)."""
        return self.decode(self.encode(x), label, sigma)

    def encode(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return all that depends on neither label nor noise."""
        raise NotImplementedError

    def decode(self, features: tuple[Tensor, ...], label: Tensor, sigma: Tensor) -> Tensor:
        """Return outputs (n, k) for labels and noise (n,), or (n, m, k) for (n, m) or (1, m)."""
        if label.ndim == 1:
            return self.decode_draws(features, label[:, None], sigma[:, None])[:, 0]
        return self.decode_draws(features, label, sigma)

    def decode_draws(self, features: tuple[Tensor, ...], label: Tensor, sigma: Tensor) -> Tensor:
        """Return outputs (n, m, k) for m labels and noise levels per row, (n, m) or (1, m)."""
        raise NotImplementedError

    def condition(self, label: Tensor, sigma: Tensor) -> Tensor:
        """Return the condition e, (..., 128); a sigma broadcast from one number counts once."""
        if sigma.numel() and not any(sigma.stride()):
            sigma = sigma[(0,) * sigma.ndim]
        embedding: Tensor = self.ff_emb(sigma) + self.label_embedder(label)
        return embedding


class ConditionalHead(nn.Module):
    """A small network on a feature vector that sees the condition: norm, SiLU, skip, linear."""

    def __init__(self, n_features: int, n_classes: int) -> None:
        super().__init__()
        self.project = nn.Linear(n_features, n_features)
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(EMBEDDING, n_features))
        self.norm = nn.LayerNorm(n_features)
        self.fc = nn.Linear(n_features, n_classes)

    def encode(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the condition is added to, and the skip, both (n, d)."""
        return self.project(pooled), pooled

    def decode(self, features: tuple[Tensor, ...], e: Tensor) -> Tensor:
        """Return outputs (n, m, k) for conditions (n, m, 128)."""
        hidden, skip = features
        mixed = self.norm(hidden[:, None] + self.emb_layers(e))
        output: Tensor = self.fc(functional.silu(mixed) + skip[:, None])
        return output
