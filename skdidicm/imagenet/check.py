"""Faults of a tree of images: wrong classes, and files that cannot be read."""

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from skdidicm.errors import reason
from skdidicm.folders import SPLITS, find_split, is_text, pictures_below
from skdidicm.pictures import BadPictureError, open_picture, without_warnings

USUAL_MODES = frozenset({"RGB", "L"})
_ROTATED = range(2, 9)  # values of EXIF's orientation that ask for a turn or a mirror
_ORIENTATION = 0x0112
_TASK = 32  # files of one task of a process


class ImageInfo(NamedTuple):
    """One image file; `reason` says why it cannot be read, and is empty if it can."""

    path: str
    reason: str = ""
    mode: str = ""
    size: tuple[int, int] = (0, 0)
    rotated: bool = False


class ImageTree(NamedTuple):
    """Files by split and class; a missing split has no entry."""

    root: str
    splits: dict[str, dict[str, list[str]]]

    @property
    def files(self) -> list[str]:
        """All files, ordered by split and class."""
        return [file for found in self.splits.values() for some in found.values() for file in some]


class Fault(NamedTuple):
    """One fault: `kind` is one of KINDS; fields that do not apply are empty."""

    kind: str
    split: str
    class_name: str = ""
    path: str = ""
    reason: str = ""

    def plain(self) -> dict[str, str]:
        """Return the fields that are not empty, as a JSON object."""
        named = {"kind": self.kind, "split": self.split, "class": self.class_name}
        return {k: v for k, v in {**named, "path": self.path, "reason": self.reason}.items() if v}


KINDS = {
    "missing split": "training needs train/ and val/",
    "too few classes": "training needs two classes",
    "missing class": "train/ has it",
    "unknown class": "train/ lacks it",
    "empty class": "no file has a picture's suffix",
    "class name": "it is not UTF-8",
    "unreadable": "",
}
"""Kinds of faults, and an explanation of each."""


def scan_tree(root: Path) -> ImageTree:
    """Return the files of a tree; its faults are found later.

    Raises
    ------
    FileNotFoundError
        If it has neither a training nor a validation split.
    """
    splits: dict[str, dict[str, list[str]]] = {}
    for split in SPLITS:
        try:
            folder = find_split(root, split)
        except FileNotFoundError:
            continue
        found = (entry.name for entry in os.scandir(folder) if entry.is_dir())
        names = sorted(name for name in found if not name.startswith("."))
        splits[split] = {name: sorted(pictures_below(folder / name)) for name in names}
    if not splits:
        find_split(root, "train")
    return ImageTree(str(root), splits)


def inspect_image(path: str) -> ImageInfo:
    """Decode a file as training does."""
    from PIL import Image

    try:
        open_picture(path, path)
    except BadPictureError as error:
        return ImageInfo(path, _reason(error))
    with without_warnings(), Image.open(path) as picture:
        rotated = picture.getexif().get(_ORIENTATION) in _ROTATED
        return ImageInfo(path, "", picture.mode, picture.size, rotated)


def _reason(error: BadPictureError) -> str:
    """Return the decoder's message, without the sentence of `open_picture` around it."""
    return reason(error.__cause__) if error.__cause__ else "it claims too many pixels"


def inspect_images(files: Sequence[str], jobs: int) -> Iterator[ImageInfo]:
    """Decode files in `jobs` processes; results keep the order of the files.

    Raises
    ------
    OSError
        If a process was killed.
    """
    if jobs == 1:
        yield from map(inspect_image, files)
        return
    tasks = [files[i : i + _TASK] for i in range(0, len(files), _TASK)]
    # A forked child would inherit locks held by a progress bar's thread, but not the thread.
    pool = ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_ignore_interrupts
    )
    try:
        for found in pool.map(_inspect_chunk, tasks):
            yield from found
    except BrokenProcessPool as error:
        raise OSError(
            "a process that read pictures was killed, perhaps for lack of memory; pass fewer "
            "--jobs."
        ) from error
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _inspect_chunk(files: Sequence[str]) -> list[ImageInfo]:
    return [inspect_image(file) for file in files]


def _ignore_interrupts() -> None:
    """Ignore Ctrl-C in a child; the parent process handles it and ends the children."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def class_faults(tree: ImageTree) -> list[Fault]:
    """Return the faults of splits and classes."""
    faults = [Fault("missing split", split) for split in SPLITS if split not in tree.splits]
    known = tree.splits.get("train")
    for split, found in tree.splits.items():
        if len(found) < 2:
            faults.append(Fault("too few classes", split))
        faults += [Fault("empty class", split, name) for name, files in found.items() if not files]
        faults += [Fault("class name", split, name) for name in found if not is_text(name)]
        if known is not None:
            missing, unknown = known.keys() - found.keys(), found.keys() - known.keys()
            faults += [Fault("missing class", split, name) for name in sorted(missing)]
            faults += [Fault("unknown class", split, name) for name in sorted(unknown)]
    return faults


class DataReport(NamedTuple):
    """A summary for every split, and all faults."""

    splits: dict[str, dict[str, Any]]
    faults: list[Fault]


def report(tree: ImageTree, infos: Iterable[ImageInfo]) -> DataReport:
    """Return the report on a tree from the results of `inspect_images` on its files."""
    seen = {one.path: one for one in infos}
    faults = class_faults(tree)
    summaries = {}
    for split, found in tree.splits.items():
        own = [seen[file] for files in found.values() for file in files]
        summaries[split] = _summary(own, found, [f for f in faults if f.split == split])
        faults += [
            Fault("unreadable", split, name, file, seen[file].reason)
            for name, files in found.items()
            for file in files
            if seen[file].reason
        ]
    return DataReport(summaries, faults)


def _summary(
    infos: Sequence[ImageInfo], classes: dict[str, list[str]], faults: Sequence[Fault]
) -> dict[str, Any]:
    read = [one for one in infos if not one.reason]
    smallest = min(read, key=lambda one: min(one.size), default=None)
    of_kind = Counter(fault.kind for fault in faults)
    return {
        "pictures": len(infos),
        "classes": len(classes),
        "unreadable": len(infos) - len(read),
        "unusual_modes": dict(Counter(one.mode for one in read if one.mode not in USUAL_MODES)),
        "rotated": sum(one.rotated for one in read),
        "smallest": list(smallest.size) if smallest else None,
        "smallest_file": smallest.path if smallest else None,
        "empty_classes": of_kind["empty class"],
        "missing_classes": of_kind["missing class"],
        "unknown_classes": of_kind["unknown class"],
    }
