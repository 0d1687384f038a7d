"""The network of a run."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from keras import ops
from numpy.typing import NDArray

from skdidicm.imagenet.checkpoint import CheckpointError, Tensors
from skdidicm.imagenet.config import RunConfig
from skdidicm_keras import engine
from skdidicm_keras.conditioning import ConditionedNetwork
from skdidicm_keras.networks import create_network
from skdidicm_keras.weights import (
    check_state,
    from_torch,
    initial_state,
    named_variables,
    to_torch,
)


def resolve_precision(config: RunConfig, device: str) -> str:
    """Return the precision to compute in: by default bfloat16 on GPUs and TPUs."""
    return config.precision or ("float32" if device.startswith(("cpu", "mps")) else "bfloat16")


def create_model(config: RunConfig, n_classes: int, precision: str) -> ConditionedNetwork:
    """Return the network of a configuration, with weights drawn from its seed."""
    module = create_network(
        config.network,
        n_classes,
        3,
        str(config.conditioning),
        image_size=(config.resolution, config.resolution),
        dtype="mixed_bfloat16" if precision == "bfloat16" else precision,
    )
    named = named_variables(module)
    load(named, initial_state(_shapes(named), np.random.default_rng(config.seed)))
    return module


def state(named: Mapping[str, Any]) -> Tensors:
    """Return variables by torch's names, in torch's layouts."""
    return {k: np.array(to_torch(k, engine.to_host(v.value))) for k, v in named.items()}


def load(named: Mapping[str, Any], values: Mapping[str, NDArray[Any]]) -> None:
    """Assign arrays in torch's layouts to variables of the same names.

    Raises
    ------
    CheckpointError
        If they are not those of the network.
    """
    try:
        check_state(_shapes(named), values)
    except ValueError as error:
        raise CheckpointError(
            f"the checkpoint's weights do not fit the network ({error}); it is damaged, or of "
            "another network."
        ) from error
    for name, variable in named.items():
        value = np.array(from_torch(name, np.asarray(values[name])))
        variable.assign(ops.convert_to_tensor(value.astype(str(variable.dtype))))


def _shapes(named: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {name: to_torch(name, np.zeros(v.shape)).shape for name, v in named.items()}
