"""What a backend offers that can train at ImageNet's scale, and how it is found."""

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from skdidicm.imagenet.config import RunConfig

GROUP = "skdidicm.trainers"


class ImageTrainer(Protocol):
    """A trainer: two functions of settings and a run folder."""

    def train(self, config: RunConfig, folder: Path) -> dict[str, Any]:
        """Train, or go on where a checkpoint in the folder ends; return the last figures."""
        ...

    def evaluate(
        self, config: RunConfig, state: Mapping[str, Any], *, corrupt: str | None = None
    ) -> dict[str, Any]:
        """Return the figures of weights, by name, on the validation images."""
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
