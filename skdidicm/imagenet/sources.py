"""Sources of images that need no framework: folders and shards."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from skdidicm.imagenet import folder as folders
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.pictures import BadPictureError, open_picture
from skdidicm.imagenet.shards import Shards, scan_shards

READERS = ("", "wds")
"""Values of `--reader` that `open_source` supports."""


class Source(NamedTuple):
    """A source of images: `open` returns the image and the label of a row."""

    classes: list[str]
    labels: Sequence[int] | None
    n: int
    open: Callable[[int], tuple[Any, int]]


def open_source(config: RunConfig, split: str, classes: Sequence[str] | None = None) -> Source:
    """Open a split of a folder, or of shards."""
    if config.reader == "wds":
        return _open_shards(config, split, classes)
    found = folders.scan(folders.find_split(Path(config.data), split), classes)
    return Source(found.classes, found.labels, len(found.files), _Files(found))


def _open_shards(config: RunConfig, split: str, classes: Sequence[str] | None) -> Source:
    shards = scan_shards(Path(config.data), split)
    names = shards.classes if classes is None else list(classes)
    if max(shards.labels, default=0) >= len(names):
        raise ValueError(
            f"{config.data} has class numbers up to {max(shards.labels)} in {split}, but "
            f"{len(names)} classes in train; expected the same."
        )
    return Source(names, shards.labels, len(shards.entries), _Shards(shards))


class _Files:
    """Opens the images of a folder; a class, since worker processes must be able to pickle it."""

    def __init__(self, found: folders.Folder) -> None:
        self.found = found

    def __call__(self, row: int) -> tuple[Any, int]:
        file = self.found.files[row]
        return open_picture(file, file), self.found.labels[row]


class _Shards:
    """Opens the images of shards."""

    def __init__(self, found: Shards) -> None:
        self.found = found

    def __call__(self, row: int) -> tuple[Any, int]:
        entry = self.found.entries[row]
        name = f"{entry.shard} at byte {entry.start}"
        return open_picture(entry.open(), name), self.found.labels[row]


def open_row(
    source: Source, rows: Sequence[int], row: int, *, replace_bad: bool
) -> tuple[Any, int, list[str]]:
    """Return an image, its label, and one message for every unreadable image.

    With `replace_bad` an unreadable row is replaced by the next readable one. The image is None if
    none can be read within the number of rows that may be skipped.
    """
    bad: list[str] = []
    for i in range(len(rows) // 100 + 1 if replace_bad else 1):
        try:
            picture, label = source.open(rows[(row + i) % len(rows)])
        except BadPictureError as error:
            bad.append(str(error))
        else:
            return picture, label, bad
    return None, 0, bad
