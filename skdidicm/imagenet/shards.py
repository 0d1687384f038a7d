"""WebDataset shards: tar files of pictures (KEY.jpg) and class numbers (KEY.cls), read by number.

Only the headers are read to find where every picture lies, so that order, resuming and counting are
the same as for a folder.
"""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from skdidicm.imagenet.folder import SPLITS, SUFFIXES

_CLASSES = "classes.txt"


class ShardEntry(NamedTuple):
    """Where a picture lies: shard, first byte, number of bytes."""

    shard: str
    start: int
    size: int

    def open(self) -> IO[bytes]:
        """Return the bytes as a file."""
        with Path(self.shard).open("rb") as file:
            file.seek(self.start)
            return io.BytesIO(file.read(self.size))


class Shards(NamedTuple):
    """Pictures of one split, in the order of the shards, with the number of their class."""

    classes: list[str]
    entries: list[ShardEntry]
    labels: list[int]


def scan_shards(root: Path, split: str) -> Shards:
    """Return where the pictures of a split lie.

    Parameters
    ----------
    root : Path
        Holds the shards as SPLIT*.tar or SPLIT/*.tar, and perhaps classes.txt with the name of
        every class, one a line, in the order of their numbers.
    split : {"train", "val"}
        Which shards.

    Raises
    ------
    FileNotFoundError
        If there are none.
    ValueError
        If one is damaged, a picture has no class, or a class no name.
    """
    entries, labels = [], []
    for shard in _shards(root, split):
        try:
            for entry, label in _pictures(shard):
                entries.append(entry)
                labels.append(label)
        except tarfile.TarError as error:
            raise ValueError(
                f"{shard} is no tar file, or a damaged one ({error}); replace it."
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
    """Yield the pictures of a shard; WebDataset keeps the files of a key next to each other."""
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
    names = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(names) < n_classes:
        raise ValueError(
            f"{file} names {len(names)} classes, but the shards have numbers up to "
            f"{n_classes - 1}; expected one name a line for every class."
        )
    return names
