"""The contract between the library and a backend.

A backend is one function, `build_network`, that returns a `ScoreNetwork`. Everything else (noise,
training loop, samplers, saving) exists once, in `skdidicm`, and uses a network only through this
interface.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, SupportsFloat, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from skdidicm.core import Channel, Process


class Batch(NamedTuple):
    """One mini-batch on the host: n rows, m noise draws per row, k classes."""

    x: NDArray[Any]
    """Rows as the user gave them, (n, *input_shape); images are NHWC or NHW."""
    target: NDArray[np.floating]
    """Clean class probabilities q_0, (n, k)."""
    label: NDArray[np.int32]
    """Noisy labels, (n, m), or (1, m) if all rows share them."""
    sigma: NDArray[np.floating]
    """Total noise, (n, m), or (1, m) if all rows share the levels."""
    weight: NDArray[np.floating]
    """Weight of each draw, (n, m): the loss of the batch is sum(weight * loss)."""


def stack_batches(batches: Sequence[Batch | None]) -> Batch:
    """Return the batches of b networks as one, (b, n, ...); shorter ones get rows of weight 0.

    These repeat a row of the same network: another row could be so far out that its loss overflows,
    and 0 times infinity is NaN. A network without a batch gets that of another, with weight 0.

    Examples
    --------
    >>> def batch(n):
    ...     x, q_0, noise = np.ones((n, 2)), np.ones((n, 1)), np.ones((n, 3))
    ...     return Batch(x, q_0, noise.astype(np.int32), noise, noise)
    >>> stacked = stack_batches([batch(2), None, batch(4)])
    >>> stacked.x.shape, stacked.weight[..., 0]
    ((3, 4, 2), array([[1., 1., 0., 0.],
           [0., 0., 0., 0.],
           [1., 1., 1., 1.]]))
    """
    some = next(batch for batch in batches if batch is not None)
    found = [batch or some._replace(weight=np.zeros_like(some.weight)) for batch in batches]
    weight = np.zeros((len(found), max(len(b.weight) for b in found), some.weight.shape[1]))
    for own, batch in zip(weight, found, strict=True):
        own[: len(batch.weight)] = batch.weight

    def stacked(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        n = max(len(part) for part in parts)
        return np.stack([part[np.minimum(np.arange(n), len(part) - 1)] for part in parts])

    x, target, label, sigma, _ = (stacked(parts) for parts in zip(*found, strict=True))
    return Batch(x, target, label, sigma, weight)


@dataclass(frozen=True)
class Preparation:
    """How a pretrained network takes pictures whose values lie from 0 to 1.

    They are resized to `size` (height, width), and every channel becomes (value - mean) / std.
    `interpolation` is "nearest", "bilinear" or "bicubic".
    """

    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bicubic"


@dataclass(frozen=True)
class TrunkConfig:
    """Full specification of a pretrained network that turns pictures into features.

    Parameters
    ----------
    network : str or object
        A name that the backend knows, such as "timm/NAME", or an object of its framework that
        maps pictures to features.
    input_shape : tuple of int
        Shape of the pictures, (h, w) or (h, w, c).
    weights : bool or str
        True for the weights that belong to the name, or that the object has; the path of a file
        of weights; or False for random ones, which `load_state` will replace.
    white : float
        The value of white in the pictures; black is 0.
    preparation : Preparation, optional
        How the network takes pictures; by default as it was trained, which the backend looks up.
    device, precision : str
        As in `NetworkConfig`.
    """

    network: Any
    input_shape: tuple[int, ...]
    weights: bool | str = True
    white: float = 255.0
    preparation: Preparation | None = None
    device: str = "auto"
    precision: str = "auto"


class Trunk(Protocol):
    """A pretrained network whose weights stay as they are."""

    config: TrunkConfig
    """With the preparation that is used."""

    def features(self, x: NDArray[Any], /) -> NDArray[np.floating]:
        """Return the features (n, f) of pictures (n, *input_shape)."""
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of weights and buffers as host arrays by name."""
        ...

    def load_state(self, state: Mapping[str, NDArray[Any]], /) -> None:
        """Set weights and buffers to those that `state` returned; names and shapes must match."""
        ...


@dataclass(frozen=True)
class NetworkConfig:
    """Full specification of a network, its loss and its optimiser, for any backend.

    `network` is a name that the backend knows ("auto", "mlp", "didirn-tiny", "didirn50", ...) or
    an object of the backend's framework that maps inputs to features. With `conditioning="none"`
    it is an ordinary classifier, which `objective="cross_entropy"` trains as usual. The network
    standardises raw rows itself, as (x - mean) / scale.

    With a `trunk`, `network` is fine-tuned from its weights and takes pictures as it was trained:
    the trunk brings its own standardisation. `trunk_learning_rate` is the factor by which the
    learning rate of a backbone is smaller than that of the head on it.

    `dropout` is the share of channels that an ordinary classifier drops after every block, in
    training and at prediction. A prediction is the mean probability over
    `skdidicm.networks.PASSES` passes (MC dropout); each pass uses one mask for all rows. A backend
    without dropout must refuse a positive value.

    `channel` is label noise: training labels are those observed. Logits are those of the true
    class, log scores those of the observed label. `skdidicm.core.denoising_loss` takes it.
    """

    input_shape: tuple[int, ...]
    n_classes: int
    process: Process
    network: Any = "auto"
    conditioning: str = "last"
    parameterization: str = "score"
    objective: str = "score_entropy"
    mean: NDArray[np.floating] | float = 0.0
    scale: NDArray[np.floating] | float = 1.0
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    device: str = "auto"
    precision: str = "auto"
    compile: bool = False
    seed: int = 0
    dropout: float = 0.0
    trunk: TrunkConfig | None = None
    trunk_learning_rate: float = 1.0
    channel: Channel | None = None


_Config = TypeVar("_Config", NetworkConfig, TrunkConfig)


def on_this_machine(config: _Config, resolve_device: Callable[[str], object]) -> _Config:
    """Return a pickled configuration, with the device "auto" if this machine lacks its device.

    `resolve_device` raises ValueError for a device that is not here.
    """
    try:
        resolve_device(config.device)
    except ValueError:
        return replace(config, device="auto")
    return config


class ScoreNetwork(Protocol):
    """A network that estimates the concrete score, with its optimiser."""

    config: NetworkConfig

    def encode(self, x: NDArray[Any], /) -> Any:
        """Return the features of host rows (n, *input_shape), before label and sigma enter."""
        ...

    def log_score(self, features: Any, label: Any, sigma: Any, /) -> Any:
        """Return log scores (n, k) for labels and sigma (n,), or (n, m, k) for (n, m).

        The entry at `label` is exactly 0. No gradient is kept. Label, sigma and result are arrays
        of the library that `start` returns.
        """
        ...

    def start(self, values: NDArray[np.floating], /) -> Any:
        """Return host values as an array of the library and device for the samplers."""
        ...

    def train_step(self, batch: Batch, learning_rate: float, /) -> SupportsFloat:
        """Update the weights once and return the loss of the batch before the update.

        The loss may stay on the device: the caller reads it at the end of an epoch.
        """
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Return copies of weights and buffers as host arrays by name."""
        ...

    def load_state(self, state: Mapping[str, NDArray[Any]], /) -> None:
        """Set weights and buffers to those that `state` returned; names and shapes must match.

        The state of the optimiser is kept. After a round trip through `state` and `load_state`,
        training continues unchanged.
        """
        ...


@runtime_checkable
class ExportsOnnx(Protocol):
    """A network that can also be exported to ONNX, an optional capability."""

    def export_onnx(self, folder: Path, /) -> None:
        """Write encode.onnx and decode.onnx, the two halves of the network, into a folder."""
        ...


class WholeAnswer(Protocol):
    """From rows to class probabilities, on arrays of any library."""

    @property
    def levels(self) -> Sequence[float]:
        """The noise levels that log scores are asked for, in this order."""
        ...

    def __call__(self, networks: Callable[[Any], Callable[..., Any]], b: int, x: Any, /) -> Any:
        """Return the probabilities (n, k) of rows x (n, *input_shape) by b networks.

        `networks` maps what the rows become, without gaps, to a function that returns log scores
        (b n, k) for labels and noise (b n,), the rows of one network after those of another.
        """
        ...


@runtime_checkable
class ExportsAnswer(Protocol):
    """A network that, with others, exports the whole answer to ONNX, an optional capability."""

    def export_answer(
        self,
        others: Sequence[Any],
        answer: WholeAnswer,
        input_shape: tuple[int, ...],
        path: Path,
        trunk: Trunk | None = None,
        /,
    ) -> None:
        """Write one graph from "x" (n, *input_shape), for any n, to "probabilities" (n, k).

        With a frozen `trunk`, x are pictures and the networks take its features.
        """
        ...


@runtime_checkable
class OnDevice(Protocol):
    """A network that names its device, an optional capability."""

    @property
    def device(self) -> object:
        """The device; `str` gives its name."""
        ...


class Losses(Protocol):
    """An array of one loss for each network, of any library."""

    def tolist(self) -> list[float]:
        """Return the losses as numbers."""
        ...


@runtime_checkable
class ReturnsFeatures(Protocol):
    """A network that returns its features to the host, an optional capability."""

    def features(self, x: NDArray[Any], /) -> NDArray[np.floating]:
        """Return what `encode` extracts of host rows as one array (n, f).

        The same weights give the same features, in the same order, on every backend.
        """
        ...


class JointTraining(Protocol):
    """Training of several networks at once, with the result of training each alone.

    It trains copies of the weights that the networks had when they were joined.
    """

    def train_step(
        self, batches: Sequence[Batch | None], learning_rates: Sequence[float], /
    ) -> "Losses":
        """Update every network that has a batch once; return all losses before the update.

        Batches may differ in their number of rows, and in whether rows share their noise. The loss
        of a network without a batch is undefined. The losses may still be on a device: the caller
        reads them at the end of an epoch.
        """
        ...

    def average(self, share: float, /) -> None:
        """Move the average of the weights towards the weights, by a share of the difference."""
        ...

    def hand_over(self, member: int, /) -> None:
        """Set a network's weights to their average, and its optimiser to the state reached."""
        ...


@runtime_checkable
class LearnsJointly(Protocol):
    """A network that can be trained together with others, an optional capability."""

    def join(self, others: Sequence[Any], /) -> JointTraining | None:
        """Return the joint training of this network and others of the same backend.

        Their configurations differ in seed and moments only. None means that training one after
        another is faster; networks without this method are always trained so.
        """
        ...


class JointAnswers(Protocol):
    """Several networks that answer at once, at fixed noise levels, with the weights of the moment.

    Networks and rows share an axis: with n rows, entry i n + j is row j of network i.
    """

    def start(self, values: NDArray[np.floating], /) -> Any:
        """Return host values as an array of the library and device for the samplers."""
        ...

    def encode(self, x: NDArray[Any], /) -> Any:
        """Return the features of host rows (n, *input_shape) for all networks."""
        ...

    def log_score(self, features: Any, label: Any, level: int, /) -> Any:
        """Return log scores (b n, k) for labels (b n,) at a level, or (b n, m, k) for (b n, m)."""
        ...

    def log_scores(self, features: Any, /) -> Any:
        """Return the log scores (b n, l, k, k) for all k labels at all l levels."""
        ...


@runtime_checkable
class AnswersJointly(Protocol):
    """A network that can answer together with others, an optional capability."""

    def answer(self, others: Sequence[Any], levels: Sequence[float], /) -> JointAnswers | None:
        """Return the joint answers of this network and others of the same backend.

        Their configurations differ in seed and moments only. None means that asking one after
        another is faster; networks without this method are always asked so.
        """
        ...


class BuildNetwork(Protocol):
    """The one function of a backend."""

    def __call__(self, config: NetworkConfig, /) -> ScoreNetwork:
        """Return a new network with randomly initialised weights."""
        ...


@runtime_checkable
class KnowsShapes(Protocol):
    """A `build_network` that knows the shapes of weights in advance, an optional capability.

    `load` compares model files with them, so that a small file cannot ask for a huge network.
    """

    def state_shapes(self, config: NetworkConfig, /) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the arrays of `state`, for a network with a name.

        This takes no more memory than the backend's largest network of the usual size.
        """
        ...


@runtime_checkable
class KnowsDevices(Protocol):
    """A `build_network` that knows the devices of this machine, an optional capability."""

    def resolve_device(self, device: str, /) -> object:
        """Return the device that a network with this `NetworkConfig.device` is built on.

        `str` gives its name. Raises ValueError for a device that is not here.
        """
        ...


@runtime_checkable
class BuildsTrunk(Protocol):
    """A `build_network` that also has pretrained networks, an optional capability."""

    def build_trunk(self, config: TrunkConfig, /) -> Trunk:
        """Return a pretrained network with its weights.

        Raises ValueError, ImportError or OSError if there is no such network, or if its weights
        cannot be had or do not fit it.
        """
        ...

    def trunk_shapes(self, config: TrunkConfig, /) -> Mapping[str, tuple[int, ...]]:
        """Return the shapes of the arrays of its `state`; see `KnowsShapes`."""
        ...


@runtime_checkable
class HoldsTrunk(Protocol):
    """A network whose head can learn from features of its backbone, an optional capability."""

    def trunk_features(self, x: NDArray[Any], /) -> NDArray[np.floating]:
        """Return the features (n, f) of host rows (n, *input_shape) by the backbone."""
        ...

    def hold_trunk(self, features: NDArray[np.floating] | None, /) -> None:
        """Take such features in place of rows in `train_step`; None: take rows again.

        The head of a pretrained network standardises by the moments of these features.
        """
        ...
