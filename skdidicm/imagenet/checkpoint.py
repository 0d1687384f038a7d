"""Checkpoints: one safetensors file each, with JSON in its header and digests of its content."""

import hashlib
import json
import os
import re
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from skdidicm.imagenet.config import RunConfig, changes
from skdidicm.imagenet.output import CHECKPOINTS, replacing
from skdidicm.imagenet.run_state import RunState, check_values, missing_values

FOLDER = CHECKPOINTS
BEST = "best.safetensors"
DAMAGED = ".damaged"
"""Suffix of a damaged checkpoint that a resumed run has renamed."""

LOSS = "epoch_loss"
_FORMAT = 2
_WITHOUT_DIGESTS = 1
_KEY, _KEY_DIGEST = "skdidicm", "skdidicm_sha256"  # the JSON values, and their digest
_TENSORS_DIGEST = "tensors_sha256"
_NAME = re.compile(r"update-(\d{9})\.safetensors")


class CheckpointError(ValueError):
    """A file is not a checkpoint, or not one for this run."""


class DamagedCheckpointError(CheckpointError):
    """A file is not a checkpoint, or its content has changed since it was written."""


Tensors = dict[str, NDArray[Any]]


class Checkpoint(NamedTuple):
    """Tensors by name ("model.", "average.", "optimizer." in front) and JSON values.

    `verified` is false for files of an earlier version, which have no digests.
    """

    tensors: Tensors
    values: dict[str, Any]
    verified: bool = True

    def state(self) -> RunState:
        """Return the values as the state of a run; `read_run` has checked that they are."""
        return RunState.parse(self.values)


def path_of(folder: Path, update: int) -> Path:
    """Return the file of the checkpoint after so many updates."""
    return folder / FOLDER / f"update-{update:09d}.safetensors"


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint: after a crash at any moment the file is complete or absent.

    Raises
    ------
    OSError
        If it cannot be written, for instance because the disk is full; other checkpoints are kept.
    """
    tensors = {k: np.asarray(v, order="C") for k, v in checkpoint.tensors.items()}
    values = {"format": _FORMAT, _TENSORS_DIGEST: _digest(tensors), **checkpoint.values}
    header = json.dumps(values, allow_nan=False)
    metadata = {_KEY: header, _KEY_DIGEST: hashlib.sha256(header.encode()).hexdigest()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            # Not `save_file`: safetensors 0.8 first writes to a file of another name, which a crash
            # would leave behind, and which only its owner may read.
            partial.write_bytes(save(tensors, metadata))
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OSError(
            f"the checkpoint {path} could not be written ({reason}); earlier ones are intact. Free "
            "some space and start the same command again."
        ) from error


def _digest(tensors: Mapping[str, NDArray[Any]]) -> str:
    """Return the SHA-256 of names, types, shapes and contents of tensors."""
    total = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        total.update(f"{name}\n{value.dtype.str} {value.shape}\n".encode())
        if value.size:
            total.update(value.reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def read(path: Path) -> Checkpoint:
    """Return a checkpoint after comparing its digests; no code in the file is run.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    CheckpointError
        If the file is damaged, of another program, or of a later version.
    """
    try:
        return _read(path, tensors=True)
    except DamagedCheckpointError as error:
        raise DamagedCheckpointError(f"{error}{_alternative(path)}") from error


def read_values(path: Path) -> dict[str, Any]:
    """Return the JSON values of a checkpoint, and raise as `read` does.

    Only the digest of these values is compared, since the tensors are not read.
    """
    return _read(path, tensors=False).values


def _read(path: Path, *, tensors: bool) -> Checkpoint:
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; expected a checkpoint of skdidicm.")
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            text = metadata.get(_KEY, "null")
            values = json.loads(text, parse_constant=_refuse_constant)
            names = list(file.keys()) if tensors else []
            found = {name: file.get_tensor(name) for name in names}
    except (SafetensorError, ValueError, OSError, RecursionError, TypeError) as error:
        raise _damaged(path, error) from error
    if not isinstance(values, dict) or "format" not in values:
        raise _damaged(path, "it has no header of skdidicm")
    version, digest = values.pop("format"), values.pop(_TENSORS_DIGEST, None)
    if version == _WITHOUT_DIGESTS:
        return _checked(path, Checkpoint(found, values, verified=False))
    known = metadata.get(_KEY_DIGEST)
    has_digest = known is not None or version == _FORMAT  # a later version may have another one
    if has_digest and hashlib.sha256(text.encode()).hexdigest() != known:
        raise _damaged(path, "its header does not match its checksum")
    if version != _FORMAT:
        raise CheckpointError(
            f"{path} has format {version}, but this version reads up to {_FORMAT}; use the version "
            "of skdidicm that wrote it."
        )
    if tensors and _digest(found) != digest:
        raise _damaged(path, "its tensors do not match their checksum")
    return _checked(path, Checkpoint(found, values))


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} in the header")


def _checked(path: Path, saved: Checkpoint) -> Checkpoint:
    try:
        check_values(saved.values)
    except ValueError as error:
        raise CheckpointError(
            f"{path} cannot be used: {error}. It was changed, or written by another version of "
            "skdidicm; choose another checkpoint."
        ) from error
    return saved


def read_model(path: Path) -> Checkpoint:
    """Return a checkpoint that says which model its weights are of, and raise as `read` does."""
    saved = read(path)
    _require(path, saved.values, ("config", "classes", "history", "update"))
    return saved


def read_settings(path: Path) -> RunConfig:
    """Return the settings of the run that wrote a checkpoint, and raise as `read` does."""
    values = read_values(path)
    _require(path, values, ("config",))
    return RunConfig.parse(values["config"])


def _require(path: Path, values: Mapping[str, Any], names: Iterable[str]) -> None:
    missing = [name for name in names if name not in values]
    if missing:
        raise CheckpointError(
            f"{path} holds no model: it lacks {', '.join(missing)}; choose another checkpoint."
        )


def read_run(path: Path) -> Checkpoint:
    """Return a checkpoint from which a run can resume, and raise as `read` does."""
    return _of_a_run(path, read(path))


def _of_a_run(path: Path, saved: Checkpoint) -> Checkpoint:
    missing = missing_values(saved.values)
    loss = saved.tensors.get(LOSS)
    if missing or loss is None or loss.shape != (2,):
        raise CheckpointError(
            f"{path} holds weights but no run to resume: it lacks {', '.join(missing) or LOSS}; "
            "choose another checkpoint."
        )
    return saved


def _damaged(path: Path, reason: object) -> DamagedCheckpointError:
    return DamagedCheckpointError(
        f"{path} is not a checkpoint of skdidicm, or it is damaged ({reason}); choose another."
    )


def _alternative(path: Path) -> str:
    """Return a sentence that offers the newest intact checkpoint of the same folder, if any."""
    if path.parent.name != FOLDER:
        return ""
    for other in candidates(path.parent.parent):
        if other != path and _is_intact(other):
            return (
                f" The newest intact one there is {other}; to resume from it, pass "
                f"--resume {shlex.quote(str(other))}."
            )
    return " No other checkpoint there is intact."


def _is_intact(path: Path) -> bool:
    try:
        _read(path, tensors=True)
    except (CheckpointError, OSError):
        return False
    return True


class ResumePoint(NamedTuple):
    """A checkpoint to resume from, and newer ones that are damaged."""

    path: Path
    saved: Checkpoint
    damaged: list[Path]


def newest_intact(folder: Path) -> ResumePoint | None:
    """Return the newest intact checkpoint of a run folder, None if the folder has no checkpoint.

    Raises
    ------
    CheckpointError
        If all of them are damaged, or the newest intact one cannot be used.
    """
    if newest(folder) is None:
        return None
    damaged: list[Path] = []
    reason: Exception | None = None
    for path in candidates(folder):
        try:
            saved = _of_a_run(path, _read(path, tensors=True))
        except DamagedCheckpointError as error:
            damaged.append(path)
            reason = reason or error
        else:
            return ResumePoint(path, saved, damaged)
    raise CheckpointError(
        f"none of the {len(damaged)} checkpoints in {folder / FOLDER} is intact ({reason}). Pass "
        "--resume never to start again; the old run is kept in a folder of its own."
    )


def check_same(config: RunConfig, saved: Mapping[str, Any], path: Path) -> None:
    """Check that a run can resume from a checkpoint that was written with the settings `saved`.

    Raises
    ------
    ValueError
        If a setting that affects the result has changed.
    """
    listed = changes(config, saved)
    if listed:
        raise ValueError(
            f"{path} was written with other settings ({listed}); use those, or another --output, "
            "or --resume never."
        )


def newest(folder: Path) -> Path | None:
    """Return the last checkpoint of a run folder."""
    return max(_kept(folder), default=None)


def candidates(folder: Path) -> list[Path]:
    """Return all checkpoints of a run folder from the newest on; the best one comes last."""
    best = folder / FOLDER / BEST
    return [*reversed(_kept(folder)), *([best] if best.is_file() else [])]


def has_best(folder: Path, update: int) -> bool:
    """Return whether the best checkpoint is intact and not of a later update."""
    path = folder / FOLDER / BEST
    return path.is_file() and _is_intact(path) and read_values(path).get("update", 0) <= update


def thin(folder: Path, keep: int) -> None:
    """Remove all but the last checkpoints, and partial files that crashes have left."""
    for path in _kept(folder)[:-keep]:
        path.unlink()
    for path in (folder / FOLDER).glob(".*.partial"):
        path.unlink()


def rename_damaged(paths: list[Path]) -> list[Path]:
    """Rename damaged checkpoints so that no run takes them; return their new names."""
    return [path.replace(path.with_name(f"{path.name}{DAMAGED}")) for path in paths]


def mark_best(folder: Path, path: Path) -> None:
    """Let `best.safetensors` be a checkpoint, atomically and without a copy where links work."""
    best = folder / FOLDER / BEST
    if best.exists() and best.samefile(path):  # rename would leave both names
        return
    with replacing(best) as partial:
        partial.unlink(missing_ok=True)
        try:
            os.link(path, partial)
        except OSError:  # a file system without hard links
            partial.write_bytes(path.read_bytes())


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
