"""The contract between the library and a backend.

A backend is one function, `build_network`, that returns a `ScoreNetwork`. Everything else (noise,
loops, samplers, saving) is written once, in `skdidicm`, and speaks to a network only through this.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol, SupportsFloat, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from skdidicm.core import Process


class Batch(NamedTuple):
    """One mini-batch on the host: n rows, m noise draws per row, k classes."""

    x: NDArray[Any]
    """Rows as the user gave them, (n, *input_shape); images are NHWC or NHW."""
    target: NDArray[np.floating]
    """Clean class probabilities q_0, (n, k)."""
    label: NDArray[np.int32]
    """Noisy labels, (n, m), or (1, m) where all rows are given the same noise."""
    sigma: NDArray[np.floating]
    """Total noise, (n, m), or (1, m) where all rows are given the same levels."""
    weight: NDArray[np.floating]
    """Weight of each draw, (n, m): the loss of the batch is sum(weight * loss)."""


@dataclass(frozen=True)
class NetworkConfig:
    """All that decides a network, its loss and its optimiser, the same for every backend.

    `network` is a name that the backend knows ("auto", "mlp", "didirn-tiny", "didirn50", ...) or
    an object of the backend's framework that maps inputs to features. With `conditioning="none"`
    it is an ordinary classifier; `objective="cross_entropy"` trains it as such. `mean` and `scale`
    are kept as buffers, so that the network itself standardises raw rows, as (x - mean) / scale.

    `dropout` is the share of channels that an ordinary classifier drops after every block, in
    training and at prediction, where the probabilities of `skdidicm.networks.PASSES` passes are
    averaged (MC dropout). Each pass has the same mask for all rows.
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


class ScoreNetwork(Protocol):
    """A network that estimates the concrete score, with its optimiser."""

    config: NetworkConfig

    def encode(self, x: NDArray[Any], /) -> Any:
        """Return all that depends on neither label nor sigma, for host rows (n, *input_shape)."""
        ...

    def log_score(self, features: Any, label: Any, sigma: Any, /) -> Any:
        """Return log scores (n, k) for labels and sigma (n,), or (n, m, k) for (n, m).

        The entry at `label` is exactly 0. No gradient is kept. The arrays are those of
        `start`'s library.
        """
        ...

    def start(self, values: NDArray[np.floating], /) -> Any:
        """Return host values as an array of the library and device that the samplers shall use."""
        ...

    def train_step(self, batch: Batch, learning_rate: float, /) -> SupportsFloat:
        """Update the weights once and return the loss of the batch before the update.

        What is returned may still be on a device: the caller reads it at the end of an epoch.
        """
        ...

    def state(self) -> dict[str, NDArray[Any]]:
        """Return weights and buffers by name as host arrays that later updates do not change."""
        ...

    def load_state(self, state: Mapping[str, NDArray[Any]], /) -> None:
        """Take over what `state` returned; names and shapes must match.

        What the optimiser has gathered stays: training goes on as if nothing had been loaded where
        the weights are those that it left.
        """
        ...


@runtime_checkable
class ExportsOnnx(Protocol):
    """What a network can do besides, where its framework can: be written as ONNX."""

    def export_onnx(self, folder: Path, /) -> None:
        """Write encode.onnx and decode.onnx, the two halves of the network, into a folder."""
        ...


class BuildNetwork(Protocol):
    """The one function of a backend."""

    def __call__(self, config: NetworkConfig, /) -> ScoreNetwork:
        """Return a new network with freshly drawn weights."""
        ...
