"""DiDiRN: a ResNet conditioned on the noisy label and the noise level.

With `conditioning="blocks"`, all tensors have the names and shapes of the official checkpoints,
after `weights` has transposed the filters. Images and maps are (n, h, w, c).
"""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

from skdidicm.networks import ResNetSize
from skdidicm_keras.conditioning import EMBEDDING, ConditionalHead, ConditionedNetwork, masked
from skdidicm_keras.layers import (
    EPSILON,
    BatchNorm,
    Convolution,
    GroupNorm,
    Linear,
    mean,
    moments,
    pad,
)


class Block(keras.layers.Layer):  # type: ignore[misc]
    """A residual block: convolutions, then (if conditional) condition, GroupNorm and SiLU.

    `split` runs the convolutions, which do not depend on the condition; `join` does the rest.
    """

    def __init__(
        self,
        name: str,
        c_in: int,
        width: int,
        stride: int,
        *,
        bottleneck: bool,
        conditional: bool,
        groups: int,
        dtype: Any,
    ) -> None:
        super().__init__(name=name.replace(".", "-"), dtype=dtype)
        c_out = 4 * width if bottleneck else width
        self.bottleneck = bottleneck
        sizes = ((1, 1), (3, stride), (1, 1)) if bottleneck else ((3, stride), (3, 1))
        channels = (c_in, width, width, c_out) if bottleneck else (c_in, width, c_out)
        for i, (size, step) in enumerate(sizes):
            convolution = Convolution(
                f"{name}.conv{i + 1}", channels[i], channels[i + 1], size, step, dtype=dtype
            )
            setattr(self, f"conv{i + 1}", convolution)
            setattr(self, f"bn{i + 1}", BatchNorm(f"{name}.bn{i + 1}", channels[i + 1], dtype))
        self.projects = stride != 1 or c_in != c_out
        if self.projects:
            skip = f"{name}.skip_connection"
            self.skip_conv = Convolution(f"{skip}.0", c_in, c_out, 1, stride, dtype=dtype)
            self.skip_bn = BatchNorm(f"{skip}.1", c_out, dtype)
        if conditional:
            self.emb_layers = Linear(f"{name}.emb_layers.1", EMBEDDING, c_out, dtype)
            self.out_layers = GroupNorm(f"{name}.out_layers.0", min(groups, c_out), c_out, dtype)
        self.built = True

    def split(self, x: Any, training: bool = False) -> tuple[Any, Any]:
        """Return the output of the convolutions and the skip, both (n, h, w, c)."""
        h = ops.relu(self.bn1(self.conv1(x), training=training))
        h = self.bn2(self.conv2(h), training=training)
        if self.bottleneck:
            h = self.bn3(self.conv3(ops.relu(h)), training=training)
        return h, self.skip_bn(self.skip_conv(x), training=training) if self.projects else x

    def join(self, h: Any, skip: Any, e: Any = None) -> Any:
        """Return the block's output (n, h, w, c) for conditions (n, 128)."""
        if e is not None:
            shift = self.emb_layers(ops.silu(e))[:, None, None, :]
            h = ops.silu(self.out_layers(h + shift))
        return ops.relu(h + skip)

    def run(self, x: Any, training: bool, e: Any = None) -> Any:
        """Return the block's output for inputs (n, h, w, c) and conditions (n, 128)."""
        return self.join(*self.split(x, training), e)

    def pool_statistics(self, h: Any, skip: Any) -> tuple[Any, ...]:
        """Return h and skip as (n, pixels, c), with mean and variance of h by channel."""
        n, height, width, c = h.shape
        h, skip = (ops.reshape(v, (n, height * width, c)) for v in (h, skip))
        return h, skip, *(ops.squeeze(v, 1) for v in moments(h, 1))

    def join_pooled(self, statistics: tuple[Any, ...], e: Any) -> Any:
        """Return `join` averaged over the pixels, (n, m, c), for conditions (n, m, 128).

        The condition is constant over pixels, so the GroupNorm of h + e is an affine map of h that
        depends on the statistics of h: m draws need no convolution, only one pass over the pixels
        each.
        """
        h, skip, centre_of_h, variance = statistics
        norm, (n, c) = self.out_layers, centre_of_h.shape
        shift = ops.cast(self.emb_layers(ops.silu(e)), variance.dtype)
        in_groups = (*shift.shape[:2], norm.groups, c // norm.groups)
        channel_mean = ops.reshape(centre_of_h[:, None] + shift, (n, *in_groups[1:]))
        centre = mean(channel_mean, 3, keepdims=True)
        spread = ops.reshape(variance, (n, 1, *in_groups[2:])) + ops.square(channel_mean - centre)
        inverse = ops.rsqrt(mean(spread, 3, keepdims=True) + EPSILON)
        gain = ops.reshape(norm.weight.value, in_groups[2:]) * inverse
        offset = (ops.reshape(shift, in_groups) - centre) * gain
        gain, offset = (ops.reshape(v, (n, -1, 1, c)) for v in (gain, offset))
        y = h[:, None] * gain + (offset + norm.bias.value)
        return mean(ops.relu(ops.silu(y) + skip[:, None]), 2)


class DiDiRN(ConditionedNetwork):
    """A ResNet conditioned in its blocks, its last block or its head.

    Parameters
    ----------
    n_classes, in_channels : int
        Number of classes K and of image channels.
    size : ResNetSize
        Stem, stages and blocks.
    conditioning : {"blocks", "last", "head", "none"}
        Where the condition enters; "none" is an ordinary ResNet with the same stem and blocks.
    dtype : str
        Number format, or a Keras dtype policy.
    """

    def __init__(
        self,
        n_classes: int,
        in_channels: int,
        size: ResNetSize,
        *,
        conditioning: str = "blocks",
        dtype: Any = "float32",
    ) -> None:
        super().__init__("didirn", n_classes, dtype, conditional=conditioning != "none")
        self.conditioning = conditioning
        depths, widths = size.depths, size.widths
        self.stem_pool = size.stem_pool
        self.conv1 = Convolution(
            "conv1", in_channels, widths[0], size.stem_size, size.stem_stride, dtype=dtype
        )
        self.bn1 = BatchNorm("bn1", widths[0], dtype)
        c_in = widths[0]
        blocks: list[Block] = []
        for stage, (depth, channels) in enumerate(zip(depths, widths, strict=True)):
            for i in range(depth):
                last = len(blocks) == sum(depths) - 1
                block = Block(
                    f"layer{stage + 1}.{i}",
                    c_in,
                    channels,
                    stride=2 if stage > 0 and i == 0 else 1,
                    bottleneck=size.bottleneck,
                    conditional=conditioning == "blocks" or (conditioning == "last" and last),
                    groups=size.groups,
                    dtype=dtype,
                )
                blocks.append(block)
                c_in = 4 * channels if size.bottleneck else channels
        self.blocks = blocks
        if conditioning == "head":
            self.head = ConditionalHead("head", c_in, n_classes, dtype)
        else:
            self.fc = Linear("fc", c_in, n_classes, dtype)

    def stem(self, x: Any, training: bool = False) -> Any:
        """Return the input of the first block."""
        x = ops.relu(self.bn1(self.conv1(x), training=training))
        if self.stem_pool == "max":  # after a relu, padding with zeros never changes a maximum
            return ops.max_pool(pad(x, 1), (3, 3), (2, 2), data_format="channels_last")
        if self.stem_pool == "average":
            return ops.average_pool(x, (2, 2), (2, 2), data_format="channels_last")
        return x

    def encode(self, x: Any, training: bool = False, masks: Sequence[Any] = ()) -> tuple[Any, ...]:
        """Return all that depends on neither label nor noise, for images (n, h, w, c)."""
        x, blocks = self.stem(x, training), self.blocks
        if self.conditioning == "blocks":
            return blocks[0].split(x, training)
        for i, block in enumerate(blocks[:-1]):
            x = masked(block.run(x, training), masks, i)
        h, skip = blocks[-1].split(x, training)
        if self.conditioning == "last":
            return blocks[-1].pool_statistics(h, skip)
        pooled = masked(mean(blocks[-1].join(h, skip), (1, 2)), masks, -1)
        return (self.fc(pooled),) if self.conditioning == "none" else self.head.encode(pooled)

    def decode_draws(
        self, features: tuple[Any, ...], label: Any, sigma: Any, training: bool
    ) -> Any:
        """Return outputs (n, m, k) for labels and noise (n, m)."""
        condition, blocks = self.condition(label, sigma), self.blocks
        if self.conditioning == "head":
            return self.head.decode(features, condition)
        e = condition.of_draws()
        if self.conditioning == "last":
            return self.fc(blocks[-1].join_pooled(features, e))
        n, m = features[0].shape[0], label.shape[1]
        flat = ops.reshape(ops.broadcast_to(e, (n, m, EMBEDDING)), (n * m, EMBEDDING))
        h, skip = (ops.repeat(f, m, axis=0) for f in features)
        x = blocks[0].join(h, skip, flat)
        for block in blocks[1:]:
            x = block.run(x, training, flat)
        return ops.reshape(self.fc(mean(x, (1, 2))), (n, m, self.n_classes))
