"""Checkpoints: one safetensors file each, the JSON part in its header, written atomically."""

import itertools
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from skdidicm.imagenet.config import RunConfig, changes

FOLDER = "checkpoints"
BEST = "best.safetensors"
_FORMAT = 1
_KEY = "skdidicm"
LOSS = "epoch_loss"
_OF_A_RUN = ("config", "classes", "history", "best", "seconds", "update", "optimizer", "scaler")
_NAME = re.compile(r"update-(\d{9})\.safetensors")


class CheckpointError(ValueError):
    """A file is no checkpoint, or only a part of one."""


Tensors = dict[str, NDArray[Any]]


class Checkpoint(NamedTuple):
    """Tensors by name ("model.", "average.", "optimizer." in front) and plain values."""

    tensors: Tensors
    values: dict[str, Any]


def path_of(folder: Path, update: int) -> Path:
    """Return the file of the checkpoint after so many updates."""
    return folder / FOLDER / f"update-{update:09d}.safetensors"


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint: after a crash at any moment the file is whole or not there.

    Raises
    ------
    OSError
        If it could not be written, as on a full disk; other checkpoints are left alone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    tensors = {k: np.asarray(v, order="C") for k, v in checkpoint.tensors.items()}
    header = json.dumps({"format": _FORMAT, **checkpoint.values}, allow_nan=False)
    try:
        save_file(tensors, partial, metadata={_KEY: header})
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise OSError(
            f"the checkpoint {path} could not be written ({error}); earlier ones are whole. Make "
            "room and start the same command again."
        ) from error


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path) -> Checkpoint:
    """Return a checkpoint; no code of the file is run.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If the file is damaged, foreign, or of a later version.
    """
    return _read(path, tensors=True)


def read_values(path: Path) -> dict[str, Any]:
    """Return the plain values of a checkpoint, and raise as `read` does."""
    return _read(path, tensors=False).values


def _read(path: Path, *, tensors: bool) -> Checkpoint:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a checkpoint of skdidicm.")
    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {}).get(_KEY, "null"))
            names = list(file.keys()) if tensors else []
            found = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, ValueError, OSError) as error:
        raise _unreadable(path, error) from error
    if not isinstance(header, dict):
        raise _unreadable(path, "its header is another's")
    if header.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path} has format {header.get('format')}, but this version reads {_FORMAT}; use the "
            "version of skdidicm that wrote it."
        )
    return Checkpoint(found, header)


def read_run(path: Path) -> Checkpoint:
    """Return a checkpoint that a run can go on from, and raise as `read` does."""
    saved = read(path)
    missing = [name for name in _OF_A_RUN if name not in saved.values]
    if missing or LOSS not in saved.tensors:
        raise _unreadable(path, f"it lacks {', '.join(missing) or LOSS}")
    return saved


def _unreadable(path: Path, reason: object) -> CheckpointError:
    return CheckpointError(
        f"{path} is no checkpoint of skdidicm, or a damaged one ({reason}); choose another."
    )


def check_same(config: RunConfig, saved: Mapping[str, Any], path: Path) -> None:
    """Check that a run can go on from a checkpoint that was written with the settings `saved`.

    Raises
    ------
    ValueError
        If a setting that decides what is learnt has changed.
    """
    listed = changes(config, saved)
    if listed:
        raise ValueError(
            f"{path} was written with other settings ({listed}); use those, or another --output, "
            "or --resume never."
        )


def check_folder(config: RunConfig, folder: Path) -> None:
    """Check that a run can go on in a folder, as `check_same` does."""
    path = newest(folder) if config.resume == "auto" else None
    if path is not None:
        check_same(config, read_values(path).get("config", {}), path)


def newest(folder: Path) -> Path | None:
    """Return the last checkpoint of a run folder."""
    return max(_kept(folder), default=None)


def thin(folder: Path, keep: int) -> None:
    """Remove all but the last checkpoints, and what crashes have left behind."""
    for path in _kept(folder)[:-keep]:
        path.unlink()
    for path in (folder / FOLDER).glob(".*.partial"):
        path.unlink()


def mark_best(folder: Path, path: Path) -> None:
    """Let `best.safetensors` be a checkpoint, atomically and without a copy where links work."""
    best = folder / FOLDER / BEST
    if best.exists() and best.samefile(path):  # rename would leave both names
        return
    partial = path.with_name(f".{BEST}.partial")
    partial.unlink(missing_ok=True)
    try:
        os.link(path, partial)
    except OSError:  # a file system without hard links
        partial.write_bytes(path.read_bytes())
        _sync(partial)
    partial.replace(best)
    _sync(best.parent)


def set_aside(folder: Path) -> Path | None:
    """Rename the folder of checkpoints, for a run that does not go on from them."""
    old = folder / FOLDER
    if not old.is_dir():
        return None
    free = (folder / f"{FOLDER}-{i}" for i in itertools.count(1))
    return old.rename(next(path for path in free if not path.exists()))


def _kept(folder: Path) -> list[Path]:
    found = (folder / FOLDER).glob("update-*.safetensors")
    return sorted(path for path in found if _NAME.fullmatch(path.name))


def weights(tensors: Tensors, prefix: str) -> Tensors:
    """Return the tensors under a prefix, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def evaluated_weights(saved: Checkpoint) -> Tensors:
    """Return the weights to evaluate: the averaged ones if there are any."""
    return weights(saved.tensors, "average.") or weights(saved.tensors, "model.")


def locate(path: Path) -> Path:
    """Return a checkpoint: the file itself, or the last of a run folder.

    Not the best: choosing an epoch by its figures on the validation images would flatter them.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    if path.is_file():
        return path
    best = path / FOLDER / BEST
    found = newest(path) or (best if best.is_file() else None)
    if found is None:
        raise FileNotFoundError(
            f"{path} holds no checkpoint; expected a folder that skdidicm train imagenet has "
            "written, or a checkpoint file."
        )
    return found
