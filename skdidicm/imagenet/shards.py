"""WebDataset shards: tar files of images (KEY.jpg) and class numbers (KEY.cls) with random access.

An index is built from the tar headers, so order, resuming and counting work as for a folder.
"""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from skdidicm.folders import SPLITS, SUFFIXES

_CLASSES = "classes.txt"


class ShardEntry(NamedTuple):
    """The location of an image: shard, first byte, number of bytes."""

    shard: str
    start: int
    size: int

    def open(self) -> IO[bytes]:
        """Return the image's bytes as a file object."""
        with Path(self.shard).open("rb") as file:
            file.seek(self.start)
            return io.BytesIO(file.read(self.size))


class Shards(NamedTuple):
    """The images of one split in the order of the shards, with the numbers of their classes."""

    classes: list[str]
    entries: list[ShardEntry]
    labels: list[int]


def scan_shards(root: Path, split: str) -> Shards:
    """Return the index of a split.

    Parameters
    ----------
    root : Path
        Holds the shards as SPLIT*.tar or SPLIT/*.tar, and optionally classes.txt with one class
        name per line, in the order of the class numbers.
    split : {"train", "val"}
        The split.

    Raises
    ------
    FileNotFoundError
        If there are none.
    ValueError
        If a shard is damaged, an image has no class, or a class has no name.
    """
    entries, labels = [], []
    for shard in _shards(root, split):
        try:
            for entry, label in _pictures(shard):
                entries.append(entry)
                labels.append(label)
        except tarfile.TarError as error:
            raise ValueError(
                f"{shard} is not a tar file, or it is damaged ({error}); replace it."
            ) from error
    return Shards(_names(root, labels), entries, labels)


def _shards(root: Path, split: str) -> list[Path]:
    for name in SPLITS[split]:
        found = sorted(root.glob(f"{name}*.tar")) or sorted((root / name).glob("*.tar"))
        if found:
            return found
    raise FileNotFoundError(
        f"{root} has no shards {SPLITS[split][0]}*.tar or {SPLITS[split][0]}/*.tar; expected "
        "WebDataset shards of KEY.jpg and KEY.cls."
    )


def _pictures(shard: Path) -> Iterator[tuple[ShardEntry, int]]:
    """Yield the images of a shard; in WebDataset the files of a key are adjacent."""
    key, entry, label = "", None, None
    with tarfile.open(shard, "r:") as tar:
        for member in tar:
            name = Path(member.name)
            stem, _, extension = name.name.partition(".")
            if not member.isfile() or stem.startswith("."):
                continue
            if (own := str(name.with_name(stem))) != key:
                if entry is not None:
                    yield _checked(shard, key, entry, label)
                key, entry, label = own, None, None
            if f".{extension.lower()}" in SUFFIXES:
                entry = ShardEntry(str(shard), member.offset_data, member.size)
            elif extension == "cls":
                content = tar.extractfile(member)
                label = b"" if content is None else content.read(32)
        if entry is not None:
            yield _checked(shard, key, entry, label)


def _checked(
    shard: Path, key: str, entry: ShardEntry, label: bytes | None
) -> tuple[ShardEntry, int]:
    text = (label or b"").decode("ascii", "replace").strip()
    if not text.isdecimal():
        raise ValueError(
            f"{shard} has no class number for {key} (found {text!r}); expected {key}.cls beside "
            "the picture, with a whole number from 0 on."
        )
    return entry, int(text)


def _names(root: Path, labels: list[int]) -> list[str]:
    n_classes = max(labels, default=-1) + 1
    file = root / _CLASSES
    if not file.is_file():
        return [str(number) for number in range(n_classes)]
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{file} is not UTF-8 ({error.reason}); save it as UTF-8.") from error
    names = [line.strip() for line in lines if line.strip()]
    if len(names) < n_classes:
        raise ValueError(
            f"{file} names {len(names)} classes, but the shards have numbers up to "
            f"{n_classes - 1}; expected one name per line for every class."
        )
    return names
