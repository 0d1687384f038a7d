"""An optimiser's state as named arrays and plain values, for checkpoints."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from skdidicm.imagenet.checkpoint import CheckpointError, Tensors


def arrays(state: dict[str, Any]) -> Tensors:
    """Return tensors as host arrays."""
    return {k: v.detach().cpu().contiguous().numpy() for k, v in state.items()}


def pack(optimizer: torch.optim.Optimizer) -> tuple[Tensors, dict[str, Any]]:
    """Return an optimiser's state as tensors by name, and its groups as plain values.

    `keys` lists all values, so that a missing one is noticed.
    """
    state = optimizer.state_dict()
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for number, values in state["state"].items():
        for name, value in values.items():
            key = f"optimizer.{number}.{name}"
            if isinstance(value, Tensor):
                tensors[key] = value
            else:
                plain[key] = value
    groups = []
    for i, group in enumerate(state["param_groups"]):
        groups.append({k: v for k, v in group.items() if not isinstance(v, Tensor)})
        for name, value in group.items():
            if isinstance(value, Tensor):
                tensors[f"group.{i}.{name}"] = value
    keys = sorted(f"{i}.{name}" for i, values in state["state"].items() for name in values)
    return arrays(tensors), {"groups": groups, "state": plain, "keys": keys}


def unpack(optimizer: torch.optim.Optimizer, tensors: Tensors, plain: Mapping[str, Any]) -> None:
    """Restore a state that `pack` returned.

    Raises
    ------
    CheckpointError
        If it is not complete, or not one of this optimiser.
    """
    try:
        groups, state = _assembled(tensors, plain)
        _check_groups(optimizer, groups)
        _check_state(optimizer, state, plain)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else error
        raise CheckpointError(
            f"the checkpoint's state of the optimiser does not fit ({reason}); it is "
            "incomplete or of another version. Choose another checkpoint."
        ) from error
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for weight, values in optimizer.state.items():
        for name, value in values.items():
            # The memory layout decides the order of sums.
            if isinstance(value, Tensor) and value.shape == weight.shape:
                values[name] = torch.empty_like(weight).copy_(value)


def _assembled(
    tensors: Tensors, plain: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], dict[int, dict[str, Any]]]:
    groups = [dict(group) for group in plain["groups"]]
    state: dict[int, dict[str, Any]] = {}
    for key, value in [*tensors.items(), *plain["state"].items()]:
        kind, _, rest = key.partition(".")
        number, _, name = rest.partition(".")
        if kind == "optimizer":
            state.setdefault(int(number), {})[name] = _tensor(value)
        elif kind == "group":
            groups[int(number)][name] = _tensor(value)
    for group in groups:
        for name, value in group.items():
            if isinstance(value, list) and name == "betas":
                group[name] = tuple(value)
    return groups, state


def _check_groups(optimizer: torch.optim.Optimizer, groups: list[dict[str, Any]]) -> None:
    """Check that the groups have the parameters and the kinds of values of the optimiser's."""
    expected = optimizer.state_dict()["param_groups"]
    if len(groups) != len(expected):
        raise ValueError(f"it has {len(groups)} groups instead of {len(expected)}")
    for found, own in zip(groups, expected, strict=True):
        if found["params"] != own["params"]:
            raise ValueError("its groups have other parameters")
        for name, value in own.items():
            known, other = found[name], name in ("params", "initial_lr")
            number = isinstance(value, int | float) and isinstance(known, int | float)
            if not other and not number and type(known) is not type(value):
                raise ValueError(f"{name} is {str(known)[:60]}")


def _check_state(
    optimizer: torch.optim.Optimizer, state: dict[int, dict[str, Any]], plain: Mapping[str, Any]
) -> None:
    """Check that all values are there, and that their shapes can be those of their parameters."""
    found = {f"{number}.{name}" for number, values in state.items() for name in values}
    for key in plain.get("keys", ()):  # files of an earlier version do not list them
        if key not in found:
            raise ValueError(f"it lacks optimizer.{key}")
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    for number, values in state.items():
        for name, value in values.items():
            if isinstance(value, Tensor) and not _fits(value.shape, weights[number].shape):
                raise ValueError(f"optimizer.{number}.{name} has shape {tuple(value.shape)}")


def _fits(shape: Sequence[int], whole: Sequence[int]) -> bool:
    """Return whether a shape is that of a parameter, possibly without some of its axes."""
    axes = iter(whole)
    return all(size in axes for size in shape)


def _tensor(value: Any) -> Any:
    return value if isinstance(value, int | float | bool | None) else torch.from_numpy(value)
