"""The networks of all backends: names, sizes, the meaning of "auto", and dropout masks."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONDITIONINGS = ("blocks", "last", "head", "none")
"""Where label and noise enter a network; "none" is an ordinary classifier."""

TIMM, KERAS = "timm/", "keras/"
"""Prefixes of the names of networks of timm and of applications of Keras."""

PASSES = 16
"""Forward passes that a prediction with dropout averages over."""

_SMALL = 64  # pixels; for smaller images "auto" is didirn-tiny
_TINY = 16  # pixels; smaller images are not pooled in the stem of didirn-tiny
_PATCHED = 32  # pixels; the stem's convolution of didirn-patch reduces images to 32 to 63
_LARGE = 128  # pixels; such images are not pooled as well in the stem of didirn-patch


@dataclass(frozen=True)
class ResNetSize:
    """Size of a DiDiRN.

    Parameters
    ----------
    depths : tuple of int
        Blocks per stage; stages after the first halve the resolution.
    widths : tuple of int
        Channels of each stage before the bottleneck's expansion; the stem has those of the first.
    bottleneck : bool
        Bottleneck blocks (ResNet-50 and deeper) instead of basic ones.
    groups : int
        Groups of the GroupNorm in conditional blocks.
    stem_size, stem_stride : int
        Kernel size and stride of the stem's convolution.
    stem_pool : {"max", "average"}, optional
        The stem ends in a 3 x 3 max pool of stride 2 (the paper), a 2 x 2 average, or in no pool.
    """

    depths: tuple[int, ...]
    widths: tuple[int, ...] = (64, 128, 256, 512)
    bottleneck: bool = False
    groups: int = 32
    stem_size: int = 3
    stem_stride: int = 1
    stem_pool: str | None = "max"

    @property
    def block_widths(self) -> list[int]:
        """Output channels of every block."""
        factor = 4 if self.bottleneck else 1
        pairs = zip(self.depths, self.widths, strict=True)
        return [factor * width for depth, width in pairs for _ in range(depth)]


@dataclass(frozen=True)
class PerceptronSize:
    """Size of a residual multi-layer perceptron: hidden units, and residual blocks."""

    width: int = 64
    depth: int = 2

    @property
    def block_widths(self) -> list[int]:
        """Output units of every block."""
        return [self.width] * self.depth


RESNETS: dict[str, ResNetSize] = {
    # An average pool, since the maximum of noisy pixels is mostly noise.
    "didirn-tiny": ResNetSize(
        (1, 1, 1), widths=(32, 64, 64), groups=8, stem_size=5, stem_pool="average"
    ),
    # For large images on a CPU: its stem reduces them, so that their size hardly changes the time.
    "didirn-patch": ResNetSize(
        (1, 1, 1), widths=(32, 64, 64), groups=8, stem_size=5, stem_stride=2, stem_pool="average"
    ),
    "didirn18": ResNetSize((2, 2, 2, 2)),
    "didirn34": ResNetSize((3, 4, 6, 3)),
    "didirn50": ResNetSize((3, 4, 6, 3), bottleneck=True),
    "didirn101": ResNetSize((3, 4, 23, 3), bottleneck=True),
    "didirn152": ResNetSize((3, 8, 36, 3), bottleneck=True),
}
"""Sizes of the networks for images."""

MLP = "mlp"
"""The network for tables."""

LINEAR = "linear"
"""A linear network for features of a frozen one."""

NETWORKS = (*RESNETS, MLP)
"""Names that every backend knows."""


def resnet_size(name: str, image_size: tuple[int, int] | None = None) -> ResNetSize:
    """Return the size of a network of `RESNETS`, for images of (height, width) if given."""
    size = RESNETS[name]
    if image_size is None:
        return size
    if name == "didirn-tiny" and min(image_size) < _TINY:
        return replace(size, stem_pool=None)
    if name == "didirn-patch":
        stride = max(1, min(image_size) // _PATCHED)
        pool = None if min(image_size) >= _LARGE else size.stem_pool
        return replace(size, stem_size=2 * stride + 1, stem_stride=stride, stem_pool=pool)
    return size


def block_widths(name: str) -> list[int]:
    """Return the output channels of every block of a network of `NETWORKS`."""
    return (PerceptronSize() if name == MLP else RESNETS[name]).block_widths


def is_builtin(network: Any) -> bool:
    """Return whether a network is built in: neither a custom one nor one of another library.

    Examples
    --------
    >>> [is_builtin(network) for network in ("auto", "mlp", "timm/resnet18", len)]
    [True, True, False, False]
    """
    return isinstance(network, str) and not network.startswith((TIMM, KERAS))


def resolve_network(network: Any, input_shape: tuple[int, ...], *, large: str = "didirn18") -> Any:
    """Return the network for rows of a shape; only "auto" depends on it.

    `large` is "auto" for images of 64 pixels and more.

    Raises
    ------
    ValueError
        If a network for tables is given images, or a network for images a table.

    Examples
    --------
    >>> [resolve_network("auto", shape) for shape in [(5,), (28, 28), (64, 48, 3)]]
    ['mlp', 'didirn-tiny', 'didirn18']
    """
    table = len(input_shape) == 1
    if not isinstance(network, str):
        return network
    if network == "auto":
        if table:
            return MLP
        return "didirn-tiny" if max(input_shape[:2]) < _SMALL else large
    if table != (network in (MLP, LINEAR)):
        fitting = "network='mlp'" if table else "an image network such as 'didirn-tiny'"
        raise ValueError(
            f"network is {network!r}, but a row of X has shape {input_shape}; use {fitting}."
        )
    return network


def image_size(input_shape: tuple[int, ...]) -> tuple[int, int] | None:
    """Return (height, width) of images (h, w) or (h, w, c), and None for tables (d,)."""
    return None if len(input_shape) == 1 else (input_shape[0], input_shape[1])


def n_channels(input_shape: tuple[int, ...]) -> int:
    """Return the channels of images (h, w) or (h, w, c), and the columns of tables (d,)."""
    return 1 if len(input_shape) == 2 else input_shape[-1]


class DropoutMasks:
    """Dropout masks for the channels of an ordinary classifier, one (n, c) for every block.

    A mask is 0 where a channel is dropped, else 1 / (1 - share). Masks are drawn on the host, so
    that all backends draw the same for a seed.

    Parameters
    ----------
    network : str
        A name of `NETWORKS`.
    conditioning : str
        Where label and noise enter; only "none" can have dropout.
    share : float
        Share of channels to drop, in [0, 1).
    seed : int
        Seed of the masks.

    Raises
    ------
    ValueError
        If the network does not support dropout.
    """

    def __init__(self, network: Any, conditioning: str, share: float, seed: int) -> None:
        if not 0 <= share < 1:
            raise ValueError(f"dropout is {share}; expected a share of the channels in [0, 1).")
        if share and not (conditioning == "none" and network in NETWORKS):
            raise ValueError(
                f"dropout is {share}, but only the ordinary classifiers {NETWORKS} with "
                "conditioning='none' can have it; set dropout=0."
            )
        self._widths = block_widths(network) if share else []
        self._share, self._seed = share, seed
        self._rng = np.random.default_rng(seed)

    def of_rows(self, n: int) -> list[NDArray[np.float32]]:
        """Return new masks for n training rows; an empty list without dropout."""
        return self._draw(self._rng, n)

    def of_passes(self) -> list[list[NDArray[np.float32]]]:
        """Return the masks of each pass of a prediction, always the same and for all rows."""
        rng = np.random.default_rng(self._seed)
        return [self._draw(rng, 1) for _ in range(PASSES)]

    def _draw(self, rng: np.random.Generator, n: int) -> list[NDArray[np.float32]]:
        kept = np.float32(1 / (1 - self._share))
        return [(rng.random((n, width)) >= self._share) * kept for width in self._widths]
