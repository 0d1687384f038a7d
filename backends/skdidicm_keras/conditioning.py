"""Conditioning of a network on the noisy label and the noise level."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
from keras import ops

from skdidicm_keras import engine
from skdidicm_keras.layers import Embedding, LayerNorm, Linear

EMBEDDING = 128  # channels of the condition e
_SINUSOIDS = 256


class SigmaEmbedding(keras.layers.Layer):  # type: ignore[misc]
    """Sinusoids of the total noise, cosines first, through a two-layer perceptron."""

    def __init__(self, name: str, dtype: Any) -> None:
        super().__init__(name=name, dtype=dtype, autocast=False)  # sigma keeps its precision
        self.first = Linear(f"{name}.mlp.0", _SINUSOIDS, EMBEDDING, dtype)
        self.second = Linear(f"{name}.mlp.2", EMBEDDING, EMBEDDING, dtype)
        self.built = True

    def call(self, sigma: Any) -> Any:
        """Return (..., 128) for sigma (...)."""
        half, kind = _SINUSOIDS // 2, sigma.dtype
        index = ops.arange(half, dtype="float32")
        frequencies = ops.cast(ops.exp(index * (-math.log(1e4) / half)), kind)
        angles = sigma[..., None] * frequencies
        waves = ops.concatenate(engine.cos_and_sin(angles), axis=-1)
        return self.second(ops.silu(self.first(waves)))


class Condition(NamedTuple):
    """The conditions of n rows and m draws, or the distinct ones with an index for every draw."""

    e: Any
    """Conditions, (n or 1, m, 128), or (number of distinct ones, 128)."""
    place: Any = None
    """Index of the condition of every draw, (n or 1, m), if `e` has the distinct ones."""

    def through(self, layers: Callable[[Any], Any]) -> Any:
        """Return the layers' output for the condition of every draw, (n or 1, m, ...)."""
        y = layers(self.e)
        return y if self.place is None else ops.take(y, self.place, axis=0)

    def of_draws(self) -> Any:
        """Return the condition of every draw, (n or 1, m, 128)."""
        return self.through(lambda e: e)


class ConditionedNetwork(keras.layers.Layer):  # type: ignore[misc]
    """A network of an input, a noisy label and the total noise, split in two halves.

    `encode` takes the input alone, `decode` the rest; `call` is their composition. With
    `conditional=False` it is an ordinary classifier, which takes neither label nor noise: `encode`
    returns the logits, and `decode` repeats them for every draw.
    """

    def __init__(self, name: str, n_classes: int, dtype: Any, *, conditional: bool = True) -> None:
        super().__init__(name=name, dtype=dtype, autocast=False)
        self.n_classes = n_classes
        self.conditional = conditional
        self.built = True
        if not conditional:  # it has no use for embeddings
            return
        self.ff_emb = SigmaEmbedding("ff_emb", dtype)
        self.label_embedder = Embedding("label_embedder", n_classes, EMBEDDING, dtype)

    def call(self, x: Any, label: Any, sigma: Any, training: bool = False) -> Any:
        """Return raw outputs (n, k) for inputs (n, ...), labels (n,) and total noise (n,)."""
        return self.decode(self.encode(x, training), label, sigma, training)

    def encode(self, x: Any, training: bool = False, masks: Sequence[Any] = ()) -> tuple[Any, ...]:
        """Return all that depends on neither label nor noise.

        `masks` (n or 1, c), one per block, drop channels of its output; only the ordinary
        classifiers in `NETWORKS` use them.
        """
        raise NotImplementedError

    def decode(
        self, features: tuple[Any, ...], label: Any, sigma: Any, training: bool = False
    ) -> Any:
        """Return outputs (n, k) for labels and noise (n,), or (n, m, k) for (n, m) or (1, m)."""
        if len(label.shape) == 1:
            return self.decode(features, label[:, None], sigma[:, None], training)[:, 0]
        if not self.conditional:
            (logits,) = features
            n, k = logits.shape
            return ops.broadcast_to(logits[:, None, :], (n, label.shape[1], k))
        return self.decode_draws(features, label, sigma, training)

    def decode_draws(
        self, features: tuple[Any, ...], label: Any, sigma: Any, training: bool
    ) -> Any:
        """Return outputs (n, m, k) for m labels and noise levels per row, (n, m) or (1, m)."""
        raise NotImplementedError

    def condition(self, label: Any, sigma: Any) -> Condition:
        """Return the conditions of labels and noise, (n, m), (1, m) or, noise alone, (1, 1).

        If rows share their noise, there are few distinct conditions. Computing one for every draw
        would take most of the time of a small network.
        """
        if sigma.shape[0] != 1 or label.shape[0] <= self.n_classes:
            return Condition(self.ff_emb(sigma) + self.label_embedder(label))
        m, k = sigma.shape[1], self.n_classes
        table = self.ff_emb(sigma[0])[:, None] + self.label_embedder.weight.value  # (m, k, 128)
        first = k * ops.arange(m, dtype=label.dtype)
        return Condition(ops.reshape(table, (m * k, EMBEDDING)), label + first)


def masked(x: Any, masks: Sequence[Any], block: int) -> Any:
    """Return the output (n, ..., c) of a block, with its channels masked if there are masks."""
    if not masks:
        return x
    n, c = masks[block].shape
    mask = ops.reshape(masks[block], (n, *[1] * (len(x.shape) - 2), c))
    return x * ops.cast(mask, x.dtype)


class ConditionalHead(keras.layers.Layer):  # type: ignore[misc]
    """A small conditional network on a feature vector: norm, SiLU, skip, linear."""

    def __init__(self, name: str, n_features: int, n_classes: int, dtype: Any) -> None:
        super().__init__(name=name, dtype=dtype)
        self.project = Linear(f"{name}.project", n_features, n_features, dtype)
        self.emb_layers = Linear(f"{name}.emb_layers.1", EMBEDDING, n_features, dtype)
        self.norm = LayerNorm(f"{name}.norm", n_features, dtype)
        self.fc = Linear(f"{name}.fc", n_features, n_classes, dtype)
        self.built = True

    def encode(self, pooled: Any) -> tuple[Any, Any]:
        """Return the term to which the condition is added, and the skip, both (n, d)."""
        return self.project(pooled), pooled

    def decode(self, features: tuple[Any, ...], condition: Condition) -> Any:
        """Return outputs (n, m, k) for the conditions of m draws."""
        hidden, skip = features
        shift = condition.through(lambda e: self.emb_layers(ops.silu(e)))
        mixed = self.norm(hidden[:, None] + shift)
        return self.fc(ops.silu(mixed) + skip[:, None])
