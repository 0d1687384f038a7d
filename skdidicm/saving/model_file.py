"""The file that a model is kept in: one zip of JSON and safetensors, never pickle.

The zip is stored without compression and holds two members, `estimator.json` and
`weights.safetensors`; its checksums, and a SHA-256 of the weights in the JSON, show any damage.
"""

import glob
import hashlib
import json
import os
import tempfile
import zipfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from textwrap import shorten
from typing import Any

import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from skdidicm.imagenet.output import naming

FORMAT = 1
"""Version of the layout; a reader refuses files of a later one."""

_UNFINISHED = ".saving"  # suffix of a file that is being written
_ABANDONED = 60.0  # seconds without a write after which it may be looked at
_JSON, _WEIGHTS = "estimator.json", "weights.safetensors"


class ModelFileError(ValueError):
    """A file is not a model that can be loaded; the message says why."""


def write(path: Path, header: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> None:
    """Write JSON values and tensors to a model file, atomically."""
    weights = safetensors.numpy.save(tensors)
    marks = {"format": FORMAT, "weights_sha256": hashlib.sha256(weights).hexdigest()}
    content = BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_JSON, json.dumps(marks | header, indent=1))
        archive.writestr(_WEIGHTS, weights)
    write_atomically(path, content.getbuffer())


def write_atomically(path: Path, content: Any) -> None:
    """Write bytes to a new file beside `path` and rename it, so that `path` is always whole.

    A process that is killed leaves its new file; the next save to the same path removes it.
    """
    check_folder(path)
    with naming(path):
        _write(path, content)


def check_folder(path: Path) -> None:
    """Raise FileNotFoundError if the folder of a file to write does not exist."""
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path.parent} is not a folder; create it before saving there.")


def _write(path: Path, content: Any) -> None:
    prefix = f".{path.name}."
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=_UNFINISHED)
    try:
        with os.fdopen(handle, "wb") as file:
            _claim(file)
            _remove_abandoned(path, os.fstat(file.fileno()).st_mtime)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_umask())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _remove_abandoned(path: Path, now: float) -> None:
    """Remove what killed saves to `path` have left; `now` is by the clock of the file system."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.????????{_UNFINISHED}"):
        with suppress(OSError):  # it is in use, or gone already
            if now - left.stat().st_mtime > _ABANDONED:
                with left.open("rb") as file:
                    _claim(file)
                left.unlink()


def _claim(file: Any) -> None:
    """Lock a file for this process; raise OSError if another writes it. The system sees to the end.

    Windows has no such lock, but does not let a file be removed that is open.
    """
    with suppress(ImportError):
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Return JSON header and tensors of a file, each checked as far as it can be by itself.

    Needs no backend.

    Raises
    ------
    ModelFileError, FileNotFoundError
        If the file is damaged, foreign, or of a later version; if there is none.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not a file; expected a model that `save` wrote.")
    content = path.read_bytes()  # at once, so that no other process changes it in between
    try:
        with zipfile.ZipFile(BytesIO(content)) as archive:
            _check_members(path, archive.infolist(), len(content))
            header = json.loads(archive.read(_JSON))
            weights = archive.read(_WEIGHTS)
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, ModelFileError):
            raise
        raise ModelFileError(
            f"{path} is not a whole model file ({brief(error)}); it was cut short, changed, or "
            "written by another program. Save the model again."
        ) from error
    _check_header(path, header, weights)
    try:
        return header, safetensors.numpy.load(weights)
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelFileError(
            f"the weights in {path} cannot be read ({brief(error)}); save the model again."
        ) from error


def _check_members(path: Path, members: list[zipfile.ZipInfo], size: int) -> None:
    names = sorted(member.filename for member in members)
    plain = all(m.compress_type == zipfile.ZIP_STORED and m.file_size <= size for m in members)
    if names != [_JSON, _WEIGHTS] or not plain:
        raise ModelFileError(
            f"{path} is a zip file but not a model of skdidicm; expected the stored members "
            f"{_JSON} and {_WEIGHTS} and nothing else."
        )


def _check_header(path: Path, header: Any, weights: bytes) -> None:
    if not isinstance(header, dict) or not isinstance(header.get("format"), int):
        raise ModelFileError(f"{path} does not say which format it has; save the model again.")
    if header["format"] > FORMAT:
        raise ModelFileError(
            f"{path} has format {header['format']}, but this version of skdidicm reads up to "
            f"{FORMAT}; upgrade with: pip install --upgrade skdidicm"
        )
    if hashlib.sha256(weights).hexdigest() != header.get("weights_sha256"):
        raise ModelFileError(
            f"the weights in {path} do not match their checksum: the file was changed after it was "
            "written. Save the model again."
        )


def brief(error: Exception) -> str:
    """Return what an error says on one line: it may quote the whole file."""
    return shorten(str(error), 400)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
