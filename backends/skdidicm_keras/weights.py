"""Weights with the names and layouts of the torch backend, from and to Keras variables.

The mapping, in both directions:

==================================== =========================================================
torch                                here
==================================== =========================================================
"layer1.0.conv1.weight" (o, i, h, w) variable "layer1-0-conv1/weight", (h, w, i, o)
any other name and shape             the same, with "-" for "." and "/" before the last part
"backbone.3"                         the fourth weight of a custom model, in the layout of Keras
==================================== =========================================================
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

BACKBONE = "backbone."


def tensor_name(variable: Any) -> str:
    """Return the torch name of a variable of one of our layers."""
    return str(variable.path).replace("/", ".").replace("-", ".")


def to_torch(name: str, value: NDArray[Any]) -> NDArray[Any]:
    """Return an array of the network in the layout of torch."""
    if name.startswith(BACKBONE):
        return value
    if name.endswith("num_batches_tracked"):
        return value.astype(np.int64)
    return np.ascontiguousarray(value.transpose(3, 2, 0, 1)) if value.ndim == 4 else value


def from_torch(name: str, value: NDArray[Any]) -> NDArray[Any]:
    """Return an array with the layout of torch in that of the network."""
    if name.startswith(BACKBONE) or value.ndim != 4:
        return value
    return value.transpose(2, 3, 1, 0)


def check_state(expected: Mapping[str, tuple[int, ...]], state: Mapping[str, Any]) -> None:
    """Raise ValueError unless the state has the names and shapes of the network."""
    found = {name: tuple(value.shape) for name, value in state.items()}
    if found != dict(expected):
        differing = sorted(set(found.items()) ^ set(expected.items()))
        raise ValueError(
            f"the weights do not fit the network; {differing[0][0]!r} is the first of "
            f"{len({name for name, _ in differing})} that differ. Load a state of the same network."
        )


def initial_state(
    shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Return initial weights with the names, shapes and distributions of the torch backend.

    They are the same on every engine. Filters are normal with a scale by their fan-out, linear
    maps and their biases uniform within 1 / sqrt(fan-in), embeddings standard normal, norms ones
    and zeros.
    """
    return {name: _draw(name, shapes, rng) for name in shapes}


def _draw(
    name: str, shapes: Mapping[str, tuple[int, ...]], rng: np.random.Generator
) -> NDArray[Any]:
    shape = shapes[name]
    owner, _, kind = name.rpartition(".")
    map_shape = shapes.get(f"{owner}.weight", ())  # of the layer that this is a part of
    if len(shape) == 4:
        return rng.standard_normal(shape) * math.sqrt(2 / (shape[0] * shape[2] * shape[3]))
    if owner == "label_embedder":
        return rng.standard_normal(shape)
    if len(map_shape) == 2:
        bound = 1 / math.sqrt(map_shape[1])
        return rng.uniform(-bound, bound, shape)
    return np.ones(shape) if kind in {"weight", "running_var"} else np.zeros(shape)


def named_variables(module: Any) -> dict[str, Any]:
    """Return the variables of a network's state by their torch names.

    Weights of a custom model are numbered, since the names that Keras gives vary by process.
    """
    backbone = getattr(module, "backbone", None)
    theirs: Iterable[Any] = getattr(backbone, "weights", ())
    numbers = {id(variable): i for i, variable in enumerate(theirs)}
    return {
        f"{BACKBONE}{numbers[id(v)]}" if id(v) in numbers else tensor_name(v): v
        for v in module.weights
    }
