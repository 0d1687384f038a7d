"""Networks for tables, and conditional heads on custom backbones."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from skdidicm.networks import PerceptronSize
from skdidicm_keras.conditioning import (
    EMBEDDING,
    Condition,
    ConditionalHead,
    ConditionedNetwork,
    masked,
)
from skdidicm_keras.layers import LayerNorm, Linear, mean


class DenseBlock(keras.layers.Layer):  # type: ignore[misc]
    """A residual block of two linear layers, conditional like the blocks of DiDiRN."""

    def __init__(self, name: str, width: int, *, conditional: bool, dtype: Any) -> None:
        super().__init__(name=name.replace(".", "-"), dtype=dtype)
        self.norm = LayerNorm(f"{name}.layers.0", width, dtype)
        self.first = Linear(f"{name}.layers.1", width, width, dtype)
        self.second = Linear(f"{name}.layers.3", width, width, dtype)
        if conditional:
            self.emb_layers = Linear(f"{name}.emb_layers.1", EMBEDDING, width, dtype)
            self.out_layers = LayerNorm(f"{name}.out_layers.0", width, dtype)
        self.built = True

    def split(self, x: Any) -> tuple[Any, Any]:
        """Return the output of the layers and the skip, both (n, width)."""
        return self.second(ops.silu(self.first(self.norm(x)))), x

    def join(self, h: Any, skip: Any, condition: Condition | None = None) -> Any:
        """Return the block's output for conditions that broadcast against h."""
        if condition is not None:
            shift = condition.through(lambda e: self.emb_layers(ops.silu(e)))
            h = ops.silu(self.out_layers(h + shift))
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
    dtype : str
        Number format, or a Keras dtype policy.
    """

    def __init__(
        self,
        n_classes: int,
        n_features: int,
        size: PerceptronSize,
        *,
        conditioning: str = "blocks",
        dtype: Any = "float32",
    ) -> None:
        super().__init__("mlp", n_classes, dtype, conditional=conditioning != "none")
        width, depth = size.width, size.depth
        self.conditioning = conditioning
        self.first = (
            0 if conditioning == "blocks" else depth - 1
        )  # the block that is split between encode and decode
        self.stem = Linear("stem", n_features, width, dtype)
        self.blocks = [
            DenseBlock(
                f"layers.{i}",
                width,
                conditional=conditioning == "blocks" or (conditioning == "last" and i == depth - 1),
                dtype=dtype,
            )
            for i in range(depth)
        ]
        if conditioning == "head":
            self.head = ConditionalHead("head", width, n_classes, dtype)
        else:
            self.fc = Linear("fc", width, n_classes, dtype)

    def encode(
        self,
        x: Any,
        training: bool = False,  # noqa: ARG002
        masks: Sequence[Any] = (),
    ) -> tuple[Any, ...]:
        """Return all that depends on neither label nor noise, for rows (n, d)."""
        x = self.stem(x)
        for i, block in enumerate(self.blocks[: self.first]):
            x = masked(block.join(*block.split(x)), masks, i)
        features = self.blocks[self.first].split(x)
        if self.conditioning == "none":
            last = self.blocks[self.first].join(*features)
            return (self.fc(masked(last, masks, self.first)),)
        if self.conditioning == "head":
            return self.head.encode(self.blocks[self.first].join(*features))
        return features

    def decode_draws(
        self,
        features: tuple[Any, ...],
        label: Any,
        sigma: Any,
        training: bool,  # noqa: ARG002
    ) -> Any:
        """Return outputs (n, m, k) for labels and noise (n, m)."""
        condition = self.condition(label, sigma)
        if self.conditioning == "head":
            return self.head.decode(features, condition)
        h, skip = (f[:, None] for f in features)
        x = self.blocks[self.first].join(h, skip, condition)
        for block in self.blocks[self.first + 1 :]:
            x = block.join(*block.split(x), condition)
        return self.fc(x)


class LinearNetwork(ConditionedNetwork):
    """Logits that are linear in a row, shifted by the condition."""

    def __init__(self, n_classes: int, n_features: int, *, conditional: bool, dtype: Any) -> None:
        super().__init__("linear", n_classes, dtype, conditional=conditional)
        self.fc = Linear("fc", n_features, n_classes, dtype)
        if conditional:
            self.emb_layers = Linear("emb_layers.1", EMBEDDING, n_classes, dtype)

    def encode(
        self,
        x: Any,
        training: bool = False,  # noqa: ARG002
        masks: Sequence[Any] = (),  # noqa: ARG002
    ) -> tuple[Any, ...]:
        """Return the logits (n, k) of rows (n, d)."""
        return (self.fc(x),)

    def decode_draws(
        self,
        features: tuple[Any, ...],
        label: Any,
        sigma: Any,
        training: bool,  # noqa: ARG002
    ) -> Any:
        """Return outputs (n, m, k) for labels and noise (n, m)."""
        shift = self.condition(label, sigma).through(lambda e: self.emb_layers(ops.silu(e)))
        return features[0][:, None] + shift


class BackboneNetwork(ConditionedNetwork):
    """A conditional head on a backbone that maps inputs to feature vectors or maps.

    Parameters
    ----------
    backbone : keras.Layer or callable
        Maps (n, h, w, c) to (n, d) or (n, h', w', d). It is copied; maps are averaged over pixels.
    n_classes : int
        Number of classes K.
    example : tensor (1, ...)
        An input from which to infer d.
    dtype : str
        Number format of the head, or a Keras dtype policy.
    """

    def __init__(
        self, backbone: Callable[[Any], Any], n_classes: int, example: Any, dtype: Any = "float32"
    ) -> None:
        super().__init__("backbone_network", n_classes, dtype)
        self.backbone = copy.deepcopy(backbone)
        n_features = self.pool(example).shape[1]
        self.head = ConditionalHead("head", n_features, n_classes, dtype)

    def pool(self, x: Any, training: bool = False) -> Any:
        """Return the backbone's features as vectors (n, d); a frozen one runs as in evaluation."""
        if isinstance(self.backbone, keras.layers.Layer):
            learns = bool(self.backbone.trainable_variables)
            features = self.backbone(x, training=training and learns)
        else:
            features = self.backbone(x)
        if len(getattr(features, "shape", ())) not in (2, 4):
            raise ValueError(
                f"the backbone returned {_shape_or_type(features)}; expected a tensor (n, d) of "
                "features or (n, h, w, d) of feature maps. In keras.applications, set "
                "include_top=False."
            )
        features = ops.cast(
            features, self.variable_dtype
        )  # the user's model may be in lower precision
        return features if len(features.shape) == 2 else mean(features, (1, 2))

    def encode(
        self,
        x: Any,
        training: bool = False,
        masks: Sequence[Any] = (),  # noqa: ARG002
    ) -> tuple[Any, ...]:
        """Return the head's features for inputs (n, h, w, c)."""
        return self.head.encode(self.pool(x, training))

    def decode_draws(
        self,
        features: tuple[Any, ...],
        label: Any,
        sigma: Any,
        training: bool,  # noqa: ARG002
    ) -> Any:
        """Return outputs (n, m, k) for labels and noise (n, m)."""
        return self.head.decode(features, self.condition(label, sigma))


def _shape_or_type(value: object) -> str:
    return f"shape {tuple(value.shape)}" if hasattr(value, "shape") else type(value).__name__
