"""DiDiRN: a ResNet conditioned on the noisy label and the noise level.

With `conditioning="blocks"`, all tensors have the names and shapes of the official checkpoints.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from skdidicm.networks import ResNetSize
from skdidicm_torch.conditioning import EMBEDDING, ConditionalHead, ConditionedNetwork, masked


def _convolution(c_in: int, c_out: int, size: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(c_in, c_out, size, stride, padding=size // 2, bias=False)


class BatchNorm(nn.BatchNorm2d):
    """BatchNorm that also trains on a single value per channel: one row of one pixel.

    A single value has no variance, and torch raises an error. The running statistics are used.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return maps (n, c, h, w), standardised by channel."""
        if not self.training or x.numel() > self.num_features:
            return super().forward(x)
        mean, variance = self.running_mean, self.running_var
        return functional.batch_norm(x, mean, variance, self.weight, self.bias, eps=self.eps)


class Block(nn.Module):
    """A residual block: convolutions, then (if conditional) condition, GroupNorm and SiLU.

    `split` runs the convolutions, which do not depend on the condition; `join` does the rest.
    """

    def __init__(
        self,
        c_in: int,
        width: int,
        stride: int,
        *,
        bottleneck: bool,
        conditional: bool,
        groups: int,
    ) -> None:
        super().__init__()
        c_out = 4 * width if bottleneck else width
        self.bottleneck = bottleneck
        if bottleneck:
            self.conv1, self.bn1 = _convolution(c_in, width, 1), BatchNorm(width)
            self.conv2, self.bn2 = _convolution(width, width, 3, stride), BatchNorm(width)
            self.conv3, self.bn3 = _convolution(width, c_out, 1), BatchNorm(c_out)
        else:
            self.conv1, self.bn1 = _convolution(c_in, width, 3, stride), BatchNorm(width)
            self.conv2, self.bn2 = _convolution(width, c_out, 3), BatchNorm(c_out)
        self.skip_connection: nn.Module = nn.Identity()
        if stride != 1 or c_in != c_out:
            self.skip_connection = nn.Sequential(
                _convolution(c_in, c_out, 1, stride), BatchNorm(c_out)
            )
        if conditional:
            self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(EMBEDDING, c_out))
            self.out_layers = nn.Sequential(nn.GroupNorm(min(groups, c_out), c_out), nn.SiLU())

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output of the convolutions and the skip, both (n, c, h, w)."""
        h = functional.relu(self.bn1(self.conv1(x)))
        h = self.bn2(self.conv2(h))
        if self.bottleneck:
            h = self.bn3(self.conv3(functional.relu(h)))
        return h, self.skip_connection(x)

    def join(self, h: Tensor, skip: Tensor, e: Tensor | None = None) -> Tensor:
        """Return the block's output (n, c, h, w) for conditions (n, 128)."""
        if e is not None:
            gain, offset = self.affine(*_moments(h, (2, 3)), e[:, None])
            gain, offset = (x.to(h.dtype).reshape(*h.shape[:2], 1, 1) for x in (gain, offset))
            h = functional.silu(torch.addcmul(offset, h, gain))
        return functional.relu(h + skip)

    def forward(self, x: Tensor, e: Tensor | None = None) -> Tensor:
        """Return the block's output for inputs (n, c, h, w) and conditions (n, 128)."""
        return self.join(*self.split(x), e)

    def pool_statistics(self, h: Tensor, skip: Tensor) -> tuple[Tensor, ...]:
        """Return h and skip as (n, c, pixels), with mean and variance of h by channel."""
        h, skip = h.flatten(2), skip.flatten(2)
        return h, skip, *_moments(h, (2,))

    def join_pooled(self, statistics: tuple[Tensor, ...], e: Tensor) -> Tensor:
        """Return `join` averaged over the pixels, (n, m, c), for conditions (n, m, 128)."""
        h, skip, mean, variance = statistics
        gain, offset = (x.to(h.dtype) for x in self.affine(mean, variance, e))
        y = torch.addcmul(offset[..., None], h[:, None], gain[..., None])
        return functional.relu(functional.silu(y) + skip[:, None]).mean(dim=3)

    def affine(self, mean: Tensor, variance: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """Return gain and offset (n, m, c) of h in the GroupNorm of h + e.

        The condition (n, m, 128) is constant over pixels, so the mean and variance of h by channel,
        (n, c), suffice: m draws need no convolution, only one pass over the pixels each. It also
        avoids torch's GroupNorm, which changes the memory layout and number format on GPUs.
        """
        norm = cast("nn.GroupNorm", self.out_layers[0])
        shift = self.emb_layers(e)
        in_groups = (*shift.shape[:2], norm.num_groups, -1)
        channel_mean = (mean[:, None] + shift).reshape(mean.shape[0], *in_groups[1:])
        centre = channel_mean.mean(dim=3, keepdim=True)
        deviation = channel_mean - centre
        spread = variance.reshape(mean.shape[0], 1, norm.num_groups, -1) + deviation**2
        inverse = torch.rsqrt(spread.mean(dim=3, keepdim=True) + norm.eps)
        gain = (norm.weight.reshape(norm.num_groups, -1) * inverse).flatten(2)
        return gain, (shift.reshape(in_groups) - centre).flatten(2) * gain + norm.bias


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
    """

    def __init__(
        self,
        n_classes: int,
        in_channels: int,
        size: ResNetSize,
        *,
        conditioning: str = "blocks",
    ) -> None:
        super().__init__(n_classes, conditional=conditioning != "none")
        self.conditioning = conditioning
        self.checkpointing = False
        depths, widths = size.depths, size.widths
        self.stem_pool = size.stem_pool
        self.conv1 = _convolution(in_channels, widths[0], size.stem_size, size.stem_stride)
        self.bn1 = BatchNorm(widths[0])
        self.n_stages = len(depths)
        c_in, n_blocks = widths[0], 0
        for stage, (depth, channels) in enumerate(zip(depths, widths, strict=True)):
            blocks = []
            for i in range(depth):
                n_blocks += 1
                last = n_blocks == sum(depths)
                conditional = conditioning == "blocks" or (conditioning == "last" and last)
                stride = 2 if stage > 0 and i == 0 else 1
                blocks.append(
                    Block(
                        c_in,
                        channels,
                        stride,
                        bottleneck=size.bottleneck,
                        conditional=conditional,
                        groups=size.groups,
                    )
                )
                c_in = 4 * channels if size.bottleneck else channels
            setattr(self, f"layer{stage + 1}", nn.ModuleList(blocks))
        if conditioning == "head":
            self.head = ConditionalHead(c_in, n_classes)
        else:
            self.fc = nn.Linear(c_in, n_classes)
        self.apply(_initialise)

    @property
    def blocks(self) -> list[Block]:
        """All residual blocks in order."""
        return [block for i in range(self.n_stages) for block in getattr(self, f"layer{i + 1}")]

    def stem(self, x: Tensor) -> Tensor:
        """Return the input of the first block."""
        x = functional.relu(self.bn1(self.conv1(x)))
        if self.stem_pool == "max":
            return functional.max_pool2d(x, 3, 2, padding=1)
        return functional.avg_pool2d(x, 2) if self.stem_pool == "average" else x

    def encode(self, x: Tensor, masks: Sequence[Tensor] = ()) -> tuple[Tensor, ...]:
        """Return all that depends on neither label nor noise, for images (n, c, h, w)."""
        x, blocks = self.stem(x), self.blocks
        if self.conditioning == "blocks":
            return cast("tuple[Tensor, ...]", self._run(blocks[0].split, x))
        for i, block in enumerate(blocks[:-1]):
            x = masked(self._run(block, x), masks, i)
        h, skip = blocks[-1].split(x)
        if self.conditioning == "last":
            return blocks[-1].pool_statistics(h, skip)
        pooled = masked(blocks[-1].join(h, skip).mean(dim=(2, 3)), masks, -1)
        return (self.fc(pooled),) if self.conditioning == "none" else self.head.encode(pooled)

    def decode_draws(self, features: tuple[Tensor, ...], label: Tensor, sigma: Tensor) -> Tensor:
        """Return outputs (n, m, k) for labels and noise (n, m)."""
        condition, blocks = self.condition(label, sigma), self.blocks
        if self.conditioning == "head":
            return self.head.decode(features, condition)
        e = condition.of_draws()
        if self.conditioning == "last":
            output: Tensor = self.fc(blocks[-1].join_pooled(features, e))
            return output
        draws = (features[0].shape[0], label.shape[1])
        flat = e.expand(*draws, -1).flatten(0, 1)
        h, skip = (f.repeat_interleave(label.shape[1], dim=0) for f in features)
        x = blocks[0].join(h, skip, flat)
        for block in blocks[1:]:
            x = self._run(block, x, flat)
        output = cast("Tensor", self.fc(x.mean(dim=(2, 3))))
        return output.reshape(*draws, -1)

    def _run(self, part: Callable[..., Any], *inputs: Tensor) -> Any:
        """Return the output of a block; `checkpointing` recomputes it in the backward pass."""
        if not (self.checkpointing and self.training):
            return part(*inputs)
        if torch.compiler.is_compiling():  # the compiler handles the statistics
            return checkpoint(part, *inputs, use_reentrant=False)
        return checkpoint(part, *inputs, use_reentrant=False, context_fn=self._both_passes)

    def _both_passes(self) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _without_statistics(self)


@contextmanager
def _without_statistics(network: nn.Module) -> Iterator[None]:
    """Keep the running statistics unchanged during a second pass over a batch."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, momentum, count in before:
            norm.momentum, norm.num_batches_tracked = momentum, count


def _moments(h: Tensor, pixels: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return mean and variance of h (n, c, ...) by channel, (n, c), at least in float32."""
    dtype = torch.promote_types(h.dtype, torch.float32)
    mean = h.mean(dim=pixels, dtype=dtype)
    if h.dtype == dtype:
        centred = h - mean.reshape(*mean.shape, *(1 for _ in pixels))
        return mean, centred.square().mean(dim=pixels)  # faster here than var_mean
    # Sums of squares without a float32 copy; h comes from a BatchNorm, so it is nearly centred.
    square = torch.linalg.vector_norm(h, dim=pixels, dtype=dtype).square()
    n_pixels = h[0, 0].numel()
    return mean, (square / n_pixels - mean.square()).clamp_min(0)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
