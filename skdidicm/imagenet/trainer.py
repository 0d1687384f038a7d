"""What a backend offers that can train at ImageNet's scale, and how it is found."""

from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray

from skdidicm.imagenet.checkpoint import Tensors
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.feed import Gathering

_INSTALL = {
    "torch": 'install it with: pip install "skdidicm[imagenet]", or pass --backend keras.',
    "keras": 'install it with: pip install "skdidicm[keras]" jax pillow',
}
GROUP = "skdidicm.trainers"


class ImageTrainer(Protocol):
    """A trainer: functions of settings and a run folder."""

    def check(self, config: RunConfig) -> None:
        """Raise ValueError if a setting cannot be honoured, before anything is written."""
        ...

    def train(self, config: RunConfig, folder: Path) -> dict[str, Any]:
        """Train, or go on where the newest checkpoint in the folder ends.

        Returns the last `metrics`, the `classes`, the `checkpoint` to export, and whether this
        process is the `first`, which writes and talks for all.
        """
        ...

    def evaluate(
        self, checkpoint: Path, changes: Mapping[str, Any], *, corrupt: str | None = None
    ) -> dict[str, Any]:
        """Return `metrics` on the validation images, the `bad_images`, and `first` as above."""
        ...

    def read_official(self, path: Path) -> tuple[str, Tensors]:
        """Return name and weights of the network in a checkpoint of the paper's code."""
        ...


class Process(Gathering, Protocol):
    """One process among those that share a run."""

    @property
    def first(self) -> bool:
        """Whether this process writes and talks for all."""
        ...

    def sum(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the sum of an array over all processes."""
        ...

    def wait(self) -> None:
        """Wait for all processes."""
        ...


class Learner(Protocol):
    """All that learns: a network, its optimiser and its averages."""

    update: int
    accumulate: int

    @property
    def learning_rate(self) -> float:
        """The learning rate of the last update."""
        ...

    @property
    def memory(self) -> float:
        """The most memory of a GPU that was taken so far, in GiB; 0 where nobody knows."""
        ...

    def train_update(self, batches: list[Any]) -> Any:
        """Update the weights once for some batches; return their mean loss, on the device."""
        ...

    def evaluate(self, batches: Iterator[Any]) -> tuple[dict[str, Any], list[str]]:
        """Return the figures over all processes, and the names of what could not be read."""
        ...

    def weight_sum(self) -> float:
        """Return the sum of all trained weights, which tells whether one is not finite."""
        ...

    def pack(self) -> tuple[Tensors, dict[str, Any]]:
        """Return all state as arrays by name and plain values."""
        ...

    def unpack(self, tensors: Tensors, values: dict[str, Any]) -> None:
        """Put back what `pack` returned."""
        ...


def get_trainer(name: str) -> ImageTrainer:
    """Return the trainer of a backend.

    Raises
    ------
    ValueError
        If no such trainer is installed.
    ImportError
        If what it needs is not.
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
