"""What a backend offers that can train at ImageNet's scale, and how it is found."""

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from skdidicm.imagenet.checkpoint import Tensors
from skdidicm.imagenet.config import RunConfig

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
            f"training on folders of pictures needs {error.name}, which is not installed; install "
            'it with: pip install "skdidicm[imagenet]"'
        ) from error
    return trainer
