"""Sources of images that need no framework: folders and shards."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from skdidicm import folders
from skdidicm.imagenet.config import RunConfig
from skdidicm.imagenet.fingerprint import ClassFingerprint, encoded, fingerprint_split
from skdidicm.imagenet.shards import Shards, scan_shards
from skdidicm.pictures import BadPictureError, open_picture

READERS = ("", "wds")
"""Values of `--reader` that `open_source` supports."""


_STAT_THREADS, _STAT_CHUNK = 16, 1000


class Source(NamedTuple):
    """A source of images: `open` returns the image and the label of a row.

    `describe` yields class number, name and size in bytes of every image, for a fingerprint.
    """

    classes: list[str]
    labels: Sequence[int] | None
    n: int
    open: Callable[[int], tuple[Any, int]]
    describe: Callable[[], Iterator[tuple[int, bytes, int]]] | None = None

    def fingerprint(self, classes: Sequence[str]) -> dict[str, ClassFingerprint]:
        """Return the fingerprint of all images; without `describe` only their numbers count."""
        if self.describe is not None:
            return fingerprint_split(classes, self.describe())
        if self.labels is not None:
            return fingerprint_split(classes, ((label, b"", 0) for label in self.labels))
        return {"all classes": ClassFingerprint(self.n, "")}


def open_source(config: RunConfig, split: str, classes: Sequence[str] | None = None) -> Source:
    """Open a split of a folder, or of shards."""
    if config.reader == "wds":
        return _open_shards(config, split, classes)
    root = folders.find_split(Path(config.data), split)
    found = folders.scan(root, classes)
    return Source(
        found.classes, found.labels, len(found.files), _Files(found), partial(_stat, found, root)
    )


def _stat(found: folders.Folder, root: Path) -> Iterator[tuple[int, bytes, int]]:
    """Yield class, name and size of the files; threads, since a network disk answers slowly."""
    parts = [slice(i, i + _STAT_CHUNK) for i in range(0, len(found.files), _STAT_CHUNK)]
    with ThreadPoolExecutor(_STAT_THREADS) as pool:
        sizes = pool.map(lambda part: [os.stat(f).st_size for f in found.files[part]], parts)  # noqa: PTH116
        for part, some in zip(parts, sizes, strict=True):
            for label, file, size in zip(found.labels[part], found.files[part], some, strict=True):
                yield label, encoded(os.path.relpath(file, root)), size


def _open_shards(config: RunConfig, split: str, classes: Sequence[str] | None) -> Source:
    shards = scan_shards(Path(config.data), split)
    names = shards.classes if classes is None else list(classes)
    if max(shards.labels, default=0) >= len(names):
        raise ValueError(
            f"{config.data} has class numbers up to {max(shards.labels)} in {split}, but "
            f"{len(names)} classes in train; expected the same."
        )
    return Source(
        names, shards.labels, len(shards.entries), _Shards(shards), partial(_list, shards)
    )


def _list(shards: Shards) -> Iterator[tuple[int, bytes, int]]:
    """Yield class, position and size of the images in shards."""
    for label, entry in zip(shards.labels, shards.entries, strict=True):
        yield label, encoded(f"{Path(entry.shard).name}:{entry.start}"), entry.size


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
