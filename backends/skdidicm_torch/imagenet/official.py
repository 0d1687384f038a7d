"""Checkpoints of the paper's code, read without running code of theirs."""

import argparse
import pickle
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

    Raises
    ------
    ValueError
        If the file is no checkpoint of a DiDiRN.
    """
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ValueError(
            f"{path} holds something else than tensors and plain values; nothing of it was run. "
            "Expected a .pth.tar file of the official code."
        ) from error
    state = _weights(content, path)
    return _name_of(state, path), {name: value.numpy() for name, value in state.items()}


def _weights(content: Any, path: Path) -> dict[str, Tensor]:
    """Return the network's tensors, without the prefixes of wrappers."""
    if isinstance(content, Mapping):
        for key in ("state_dict_ema", "state_dict", "model"):
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
        stems = [name for name in content if str(name).endswith(_STEM)]
        prefix = min(stems, key=len, default=None)
        if prefix is not None:
            cut = len(prefix) - len(_STEM)
            return {
                name[cut:]: value.float() if value.is_floating_point() else value
                for name, value in content.items()
                if isinstance(value, Tensor) and name[:cut] == prefix[:cut]
            }
    raise ValueError(f"{path} holds no weights of a DiDiRN; expected a tensor {_STEM} in it.")


def _name_of(state: Mapping[str, Tensor], path: Path) -> str:
    """Return the network whose tensors have these names and shapes."""
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    k = shapes.get("fc.weight", (0,))[0]
    for name in _NAMES:
        with torch.device("meta"):
            network = create_network(name, max(k, 1), 3, "blocks")
        if {key: tuple(value.shape) for key, value in network.state_dict().items()} == shapes:
            return name
    raise ValueError(
        f"{path} holds {len(shapes)} tensors that fit none of {', '.join(_NAMES)}; expected the "
        "names and shapes of the official DiDiRN."
    )
