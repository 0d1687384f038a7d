"""Checkpoints of the paper's code, read without running code of theirs."""

import argparse
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from skdidicm.imagenet.checkpoint import Tensors
from skdidicm_torch.networks import create_network

_STEM = "conv1.weight"
_NAMES = ("didirn18", "didirn34", "didirn50", "didirn101", "didirn152")


def read_official(path: Path) -> tuple[str, Tensors]:
    """Return the network's name and weights of an official checkpoint, averaged ones first.

    Names, shapes and sizes are compared with those of the networks and of the file before any
    weight is copied, so a small file cannot ask for much memory.

    Raises
    ------
    ValueError
        If the file is not a checkpoint of a DiDiRN, or its weights are damaged.
    """
    _check_archive(path)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            # A mapped file is not copied, and storages beyond its end are refused.
            mapped = zipfile.is_zipfile(path)
            content = torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError:
        raise
    except Exception as error:  # a hostile file can make the unpickler raise anything
        raise ValueError(
            f"{path} holds something else than tensors and plain values; nothing of it was run. "
            "Expected a .pth.tar file of the official code."
        ) from error
    state = _weights(content, path)
    _check_tensors(state, path)
    name = _name_of(state, path)
    _check_values(state, path)
    weights = {
        key: (value.float() if value.is_floating_point() else value).numpy()
        for key, value in state.items()
    }
    return name, weights


def _check_archive(path: Path) -> None:
    """Check that a zip file, as torch writes it, is neither damaged nor compressed."""
    if not zipfile.is_zipfile(path):
        return  # torch's older format, or no file of torch
    try:
        with zipfile.ZipFile(path) as archive:
            if any(m.compress_type != zipfile.ZIP_STORED for m in archive.infolist()):
                raise ValueError(
                    f"{path} is compressed, which torch's files never are; expected a .pth.tar "
                    "file of the official code."
                )
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise _damaged(path, str(error)) from error
    if damaged is not None:
        raise _damaged(path, f"{damaged} does not match its checksum")


def _damaged(path: Path, reason: str) -> ValueError:
    return ValueError(f"{path} is damaged ({reason}); copy or download it again.")


def _weights(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the network's tensors, without the prefixes of wrappers."""
    if isinstance(content, Mapping):
        for key in ("state_dict_ema", "state_dict", "model"):
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
        stems = [str(name) for name in content if str(name).endswith(_STEM)]
        prefix = min(stems, key=len, default=None)
        if prefix is not None:
            cut = len(prefix) - len(_STEM)
            return {
                str(name)[cut:]: value
                for name, value in content.items()
                if isinstance(value, Tensor) and str(name)[:cut] == prefix[:cut]
            }
    raise ValueError(f"{path} holds no weights of a DiDiRN; expected a tensor {_STEM} in it.")


def _check_tensors(state: Mapping[str, Tensor], path: Path) -> None:
    """Check that tensors are ordinary ones of numbers, as large as the file says."""
    for name, value in state.items():
        kind = _unusual(value)
        if kind:
            raise ValueError(f"{path} holds {kind} {name}; expected dense tensors of real numbers.")
    total = sum(value.numel() * value.element_size() for value in state.values())
    if total > path.stat().st_size:
        raise ValueError(
            f"the tensors in {path} would take {total} bytes, more than the file has; expected "
            "weights that are stored in full."
        )


def _unusual(value: Tensor) -> str:
    """Return what keeps a tensor from being weights, or "" for an ordinary one."""
    if value.is_meta:
        return "a tensor without values (meta),"
    if value.is_quantized:
        return "a quantised tensor"
    if value.layout != torch.strided or value.is_nested:
        return "a sparse tensor"
    if value.is_complex():
        return "a complex tensor"
    if type(value) not in (Tensor, torch.nn.Parameter):
        return f"a tensor of type {type(value).__name__},"
    if not (value.is_floating_point() or value.dtype == torch.int64):
        return f"a tensor of type {value.dtype},"
    return ""


def _check_values(state: Mapping[str, Tensor], path: Path) -> None:
    """Check that all weights are finite, and variances not negative."""
    for name, value in state.items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise _damaged(path, f"{name} holds NaN or infinite values")
        if name.endswith("running_var") and bool((value < 0).any()):
            raise _damaged(path, f"{name} holds negative variances")


def _name_of(state: Mapping[str, Tensor], path: Path) -> str:
    """Return the network whose tensors have these names and shapes."""
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    k = (shapes.get("fc.weight") or (0,))[0]
    for name in _NAMES:
        with torch.device("meta"):
            network = create_network(name, max(k, 1), 3, "blocks")
        if {key: tuple(value.shape) for key, value in network.state_dict().items()} == shapes:
            return name
    raise ValueError(
        f"{path} holds {len(shapes)} tensors that fit none of {', '.join(_NAMES)}; expected the "
        "names and shapes of the official DiDiRN."
    )
