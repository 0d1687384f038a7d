"""The contract of a trainer for folders of images, and how one is found."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from skdidicm.imagenet.checkpoint import Tensors
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.output import Output

_INSTALL = {
    "torch": 'install it with: pip install "skdidicm[imagenet]", or pass --backend keras.',
    "keras": 'install it with: pip install "skdidicm[keras]" jax pillow',
}
GROUP = "skdidicm.trainers"


@dataclass(frozen=True)
class TrainingResult:
    """What a training run hands back: the checkpoint to export, its figures, and its classes."""

    checkpoint: Path
    metrics: dict[str, Any]
    classes: list[str]


@dataclass(frozen=True)
class EvaluationResult:
    """Figures on the validation images, and one message for every image that was left out."""

    metrics: dict[str, Any]
    bad_images: list[str]


class ImageTrainer(Protocol):
    """A trainer: a module of functions that take the settings of a run.

    A trainer that also implements `OfficialReader` imports checkpoints of the paper's code.
    """

    def check(self, config: RunConfig) -> None:
        """Raise ValueError if a setting is not supported, before anything is written."""
        ...

    def train(self, config: RunConfig, output: Output) -> TrainingResult | None:
        """Train, or resume from the newest checkpoint in the run folder.

        Returns None in every process but the first, which writes files and messages for all.
        """
        ...

    def evaluate(
        self, checkpoint: Path, changes: Mapping[str, Any], *, corrupt: str | None = None
    ) -> EvaluationResult | None:
        """Evaluate a checkpoint with changed settings; None in every process but the first."""
        ...


@runtime_checkable
class OfficialReader(Protocol):
    """A trainer that reads checkpoints of the paper's code."""

    def read_official(self, path: Path) -> tuple[str, Tensors]:
        """Return the network's name and weights."""
        ...


@runtime_checkable
class ImageEmbedder(Protocol):
    """A trainer with a pretrained network that turns images into features."""

    def embed(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return features (n, d) of square colour images (n, h, h, 3)."""
        ...


class TrainingEngine(Protocol):
    """All trained state: network, optimiser and weight average."""

    update: int
    accumulate: int

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last update."""
        ...

    @property
    def memory(self) -> float:
        """The peak GPU memory so far, in GiB; 0 where it is unknown."""
        ...

    def train_update(self, batches: list[Any]) -> Any:
        """Make one update from some batches; return their mean loss, on the device."""
        ...

    def evaluate(self, batches: Iterator[Any]) -> tuple[dict[str, Any], list[str]]:
        """Return the figures over all processes, and this process's unreadable images."""
        ...

    def weight_sum(self) -> float:
        """Return the sum of all trained weights: finite only if every weight is."""
        ...

    def pack(self) -> tuple[Tensors, dict[str, Any]]:
        """Return the whole state as arrays by name and plain values."""
        ...

    def unpack(self, tensors: Tensors, values: dict[str, Any]) -> None:
        """Restore a state that `pack` returned."""
        ...


def get_trainer(name: str) -> ImageTrainer:
    """Return the trainer of a backend.

    Raises
    ------
    ValueError
        If no trainer of this name is registered.
    ImportError
        If a package that it needs is not installed.
    """
    found = {point.name: point for point in metadata.entry_points(group=GROUP)}
    if name not in found:
        raise ValueError(
            f"backend {name!r} has no trainer for folders of pictures; expected one of "
            f"{sorted(found)}."
        )
    try:
        trainer: ImageTrainer = found[name].load()
    except ModuleNotFoundError as error:
        raise ImportError(
            f"--backend {name} needs {error.name} for folders of pictures, which is not installed; "
            f"{_INSTALL.get(name, 'install it')}"
        ) from error
    return trainer


def get_official_reader(name: str) -> OfficialReader:
    """Return the trainer of a backend if it reads checkpoints of the paper's code.

    Raises
    ------
    ValueError
        If it does not, or as `get_trainer` does.
    """
    trainer = get_trainer(name)
    if not isinstance(trainer, OfficialReader):
        raise ValueError(
            f"importing a checkpoint of the paper's code needs torch, but --backend is {name}; "
            "pass --backend torch, whose model.skd opens with every backend."
        )
    return trainer


def get_embedder(name: str) -> ImageEmbedder:
    """Return the trainer of a backend if it has a pretrained network.

    Raises
    ------
    ValueError
        If it has none, or as `get_trainer` does.
    """
    trainer = get_trainer(name)
    if not isinstance(trainer, ImageEmbedder):
        raise ValueError(f"backend {name!r} has no pretrained network; expected torch.")
    return trainer
