"""An optimiser's state as named arrays and plain values, for checkpoints."""

from typing import Any

import torch
from torch import Tensor

from skdidicm.imagenet.checkpoint import Tensors


def arrays(state: dict[str, Any]) -> Tensors:
    """Return tensors as host arrays."""
    return {k: v.detach().cpu().contiguous().numpy() for k, v in state.items()}


def pack(optimizer: torch.optim.Optimizer) -> tuple[Tensors, dict[str, Any]]:
    """Return an optimiser's state as tensors by name, and its groups as plain values."""
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
    return arrays(tensors), {"groups": groups, "state": plain}


def unpack(optimizer: torch.optim.Optimizer, tensors: Tensors, plain: dict[str, Any]) -> None:
    """Restore a state that `pack` returned."""
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
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for weight, values in optimizer.state.items():
        for name, value in values.items():
            # The memory layout decides the order of sums.
            if isinstance(value, Tensor) and value.shape == weight.shape:
                values[name] = torch.empty_like(weight).copy_(value)


def _tensor(value: Any) -> Any:
    return value if isinstance(value, int | float | bool | None) else torch.from_numpy(value)
