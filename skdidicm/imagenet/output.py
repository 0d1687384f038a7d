"""The run folder as training writes it: who owns it, and how its files change.

The layer above knows the locks and the other files of run folders. It passes what training has to
call as an `Output`.
"""

import itertools
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from skdidicm.imagenet.communicator import Communicator

CHECKPOINTS = "checkpoints"
HISTORY = "history.jsonl"
LOG = "log.jsonl"
BAD_IMAGES = "bad_images.txt"
EVENTS = "tensorboard"
_OWN = (CHECKPOINTS, HISTORY, LOG, BAD_IMAGES, EVENTS)
_CONFIG = "config.json"
_OF_ALL_RUNS = (_CONFIG, "metrics.json", "model.skd")
_DERIVED = ("export", "report.html", "learning_curve.png", "posterior_path.png")
_OF_OTHER_COMMANDS = ("cells.jsonl", "table1.md")
_PARTIAL = ".partial"


def _nothing() -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Output:
    """A run folder, and two functions that the first process calls.

    `claim` raises if the run must not write the folder, for instance because another process does.
    `begin` writes what belongs to the run but not to training. It is called once everything is
    loaded and the run can start, before anything else in the folder changes.
    """

    folder: Path
    claim: Callable[[], object] = _nothing
    begin: Callable[[], object] = _nothing


def in_first_process(comm: Communicator, action: Callable[[], object]) -> None:
    """Call a function in the first process; if it raises, all processes raise its error.

    Otherwise the other processes would wait for the first one forever.
    """
    error: Exception | None = None
    if comm.first:
        try:
            action()
        except (OSError, ValueError, FloatingPointError) as raised:
            error = raised
    found: Exception | None = comm.gather(error)[0]
    if error is not None:
        raise error
    if found is not None:
        raise found


def check_own(folder: Path) -> None:
    """Check that a folder holds a run on images, or no run at all.

    Files that no run writes, such as the log of a batch system, may lie beside.

    Raises
    ------
    ValueError
        If it holds files of another command.
    """
    if any((folder / CHECKPOINTS).glob("update-*.safetensors")) or _has_settings(folder):
        return
    for name in (*_OF_OTHER_COMMANDS, *_OF_ALL_RUNS, *_OWN):
        if (folder / name).exists():
            raise ValueError(
                f"{folder} holds {name}, but not that of a run of skdidicm train imagenet; choose "
                "another --output."
            )


def _has_settings(folder: Path) -> bool:
    """Return whether config.json is that of a run on images, which may have no checkpoint yet."""
    try:
        content = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        return "recipe" in content["settings"]
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def set_aside(folder: Path) -> Path | None:
    """Move all files of a run into a new folder `earlier-1`, `earlier-2`, ... in the run folder.

    Returns that folder, or None if there is nothing to move. A process that is killed in between
    leaves a hidden folder, which the next call completes.
    """
    partial = folder / f".earlier{_PARTIAL}"
    names = (*_OWN, *_OF_ALL_RUNS, *_DERIVED)
    present = [name for name in names if os.path.lexists(folder / name)]
    if not present and not partial.is_dir():
        return None
    partial.mkdir(exist_ok=True)
    for name in present:
        (folder / name).rename(partial / name)
    free = (folder / f"earlier-{i}" for i in itertools.count(1))
    return partial.rename(next(path for path in free if not path.exists()))


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path to write to; on success the file replaces `path`, on an error it is removed.

    After a crash at any moment, `path` is the old file or the new one. An `OSError` names the path.
    """
    partial = path.with_name(f".{path.name}{_PARTIAL}")
    try:
        with naming(path):
            yield partial
            _sync(partial)
            partial.replace(path)
            _sync(path.parent)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file in an `OSError` that names none, such as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_text(path: Path, text: str) -> None:
    """Replace a file by some text; names of files that are not UTF-8 keep their bytes."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="surrogateescape")
