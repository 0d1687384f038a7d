"""Folders of images in the layout SPLIT/CLASS/file: their classes and files."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jfif", ".jp2", ".png", ".webp", ".avif", ".bmp", ".gif", ".tif", ".tiff"}
    | {".tga", ".ppm", ".pgm", ".pbm", ".pnm"}
)
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation", "test")}
SUBSET_SEED = 42


class Folder(NamedTuple):
    """The sorted files of one split, with the numbers of their classes."""

    classes: list[str]
    files: list[str]
    labels: list[int]


def find_split(root: Path, split: str) -> Path:
    """Return the folder of a split.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    for name in SPLITS[split]:
        if (root / name).is_dir():
            return root / name
    raise FileNotFoundError(
        f"{root} has no folder {' or '.join(SPLITS[split])}; expected {root}/train/CLASS/picture "
        f"and {root}/val/CLASS/picture."
    )


def find_parts(root: Path) -> list[Path]:
    """Return the folders of training and validation data, or the one that is not divided.

    Raises
    ------
    FileNotFoundError
        If there are training data in folders, and no others.
    """
    try:
        return [find_split(root, "train"), find_split(root, "val")]
    except FileNotFoundError:
        if any(_has_folders(root / name) for name in SPLITS["train"]):
            raise  # since it is no class
        return [root]


def _has_folders(folder: Path) -> bool:
    _, folders, _ = next(os.walk(folder), ("", [], []))
    return not all(_is_hidden(name) for name in folders)


def find_tars(root: Path, split: str) -> Path:
    """Return the tar file of a split, or the folder with one tar file per class.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    for name in SPLITS[split]:
        if (root / f"{name}.tar").is_file():
            return root / f"{name}.tar"
        if any((root / name).glob("*.tar")):
            return root / name
    raise FileNotFoundError(
        f"{root} has no {' or '.join(f'{name}.tar' for name in SPLITS[split])}; expected "
        f"{root}/train.tar and {root}/val.tar, with a folder for every class inside, or folders "
        "train and val with one tar file for every class."
    )


def scan(folder: Path, classes: Sequence[str] | None = None) -> Folder:
    """Return the images below the class folders of a split.

    Parameters
    ----------
    folder : Path
        Holds one folder per class; images may be nested deeper.
    classes : sequence of str, optional
        The expected classes, if another split defines them.

    Raises
    ------
    ValueError
        If there are no classes, or a class is missing, empty or unknown.
    """
    found = sorted(e.name for e in os.scandir(folder) if e.is_dir() and not _is_hidden(e.name))
    names = found if classes is None else list(classes)
    if len(names) < 2:
        raise ValueError(
            f"{folder} holds {len(names)} class folders; expected at least two, each with pictures."
        )
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise ValueError(
            f"{folder} has class folders that the training data lack: {_some(unknown)}; remove or "
            "rename them."
        )
    files: list[str] = []
    labels: list[int] = []
    empty = []
    for label, name in enumerate(names):
        pictures = sorted(pictures_below(folder / name))
        if not pictures:
            empty.append(name)
        files += pictures
        labels += [label] * len(pictures)
    if empty:
        raise ValueError(
            f"{folder} has no pictures of {_some(empty)}; every class needs a folder with at least "
            f"one file ending in {', '.join(sorted(SUFFIXES))}."
        )
    return Folder(names, files, labels)


def count(folder: Path, most: int) -> int:
    """Return the number of pictures below a folder, counted up to about `most`."""
    n = 0
    for entry in os.scandir(folder):
        if entry.is_dir() and not _is_hidden(entry.name) and n < most:
            n += len(pictures_below(Path(entry.path)))
    return n


def pictures_below(folder: str | Path, around: frozenset[str] = frozenset()) -> list[str]:
    """Return the files below a folder that have an image suffix, in arbitrary order.

    Hidden files and folders are left out. Links to folders are followed, unless they lead back to
    one of the folders around them, whose real names `around` has.

    Raises
    ------
    OSError
        If a folder cannot be read.
    """
    around |= {os.path.realpath(folder)}
    _, folders, names = next(os.walk(folder, onerror=_refuse), ("", [], []))
    found = [
        os.path.join(folder, name)  # noqa: PTH118 - a Path for each of a million files is slow
        for name in names
        if os.path.splitext(name)[1].lower() in SUFFIXES and not _is_hidden(name)  # noqa: PTH122
    ]
    for name in folders:
        inner = os.path.join(folder, name)  # noqa: PTH118
        if not _is_hidden(name) and os.path.realpath(inner) not in around:
            found += pictures_below(inner, around)
    return found


def _refuse(error: OSError) -> None:
    """Raise what os.walk ignores, since pictures would be missing; no folder has no pictures."""
    if isinstance(error, FileNotFoundError):
        return
    raise type(error)(
        f"the folder {error.filename} cannot be read ({error.strerror}); make it readable, or "
        "move it away."
    ) from error


def _is_hidden(name: str) -> bool:
    """Return whether a name belongs to a file manager or a notebook."""
    return name.startswith(".")


def is_text(name: str) -> bool:
    """Return whether a file name is UTF-8; Python decodes others to characters that are no text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def subset(labels: Sequence[int], ratio: float) -> list[int]:
    """Return a fraction of the rows of every class: the first of a permutation with seed 42.

    Examples
    --------
    >>> len(subset([0] * 10 + [1] * 20, 0.25))
    7
    """
    if ratio == 1:
        return list(range(len(labels)))
    known = np.asarray(labels)
    rng = np.random.default_rng(SUBSET_SEED)
    kept = []
    for label in np.unique(known):
        rows = np.flatnonzero(known == label)
        kept.append(rng.permutation(rows)[: max(1, int(len(rows) * ratio))])
    return [int(row) for row in np.sort(np.concatenate(kept))]


def _some(names: Sequence[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more
