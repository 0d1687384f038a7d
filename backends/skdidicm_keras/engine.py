"""What Keras does not abstract over its engines: compilation, gradients, scopes, devices.

No other file depends on the engine.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

NAME: str = keras.config.backend()
"""The engine that Keras computes with: "jax", "tensorflow" or "torch"."""

if NAME == "jax":
    import jax
elif NAME == "tensorflow":
    import tensorflow
else:
    import torch

COMPILES = NAME != "torch"
"""Whether a compiled function is traced again for every new shape."""


@contextlib.contextmanager
def scope(device: str, *, float64: bool = False) -> Iterator[None]:
    """Compute on a device, optionally in float64, without gradients, in this thread only."""
    with contextlib.ExitStack() as stack:
        # Older versions of Keras need a device number on JAX.
        numbered = NAME == "jax" and ":" not in device
        stack.enter_context(keras.device(f"{device}:0" if numbered else device))
        if NAME == "jax" and float64:
            stack.enter_context(_jax_x64())
        if NAME == "torch":
            stack.enter_context(torch.no_grad())
        yield


def _jax_x64() -> Any:
    if hasattr(jax, "enable_x64"):
        return jax.enable_x64(True)
    from jax.experimental import enable_x64  # before JAX 0.8

    return enable_x64(True)


def compiled(function: Callable[..., Any], *, on_torch: bool = False) -> Callable[..., Any]:
    """Return the compiled function; on torch only if `on_torch` is set.

    It must be pure, and its arguments must be tensors in lists and tuples.
    """
    traced: Callable[..., Any] = function
    if NAME == "jax":
        traced = jax.jit(function)
    elif NAME == "tensorflow":
        traced = tensorflow.function(function, autograph=False)
    elif on_torch:
        traced = torch.compile(function)
    return traced


def stateful(function: Callable[..., Any], variables: Sequence[Any]) -> Callable[..., Any]:
    """Return a compiled function that reads and assigns some Keras variables.

    On JAX their values are passed in and out.
    """
    if NAME != "jax":
        return compiled(function)

    def pure(values: list[Any], *arguments: Any) -> tuple[Any, list[Any]]:
        with keras.StatelessScope(list(zip(variables, values, strict=True))) as scope:
            found = function(*arguments)
            return found, [scope.get_current_value(variable) for variable in variables]

    traced = jax.jit(pure)

    def run(*arguments: Any) -> Any:
        found, values = traced([variable.value for variable in variables], *arguments)
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return found

    return run


def value_and_gradients(
    function: Callable[[list[Any]], tuple[Any, Any]], weights: list[Any]
) -> tuple[tuple[Any, Any], list[Any]]:
    """Return the function's result, a loss and an auxiliary value, and the loss's gradients."""
    if NAME == "jax":
        found, gradients = jax.value_and_grad(function, has_aux=True)(weights)
        return found, gradients
    if NAME == "tensorflow":
        with tensorflow.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(weights)
            found = function(weights)
        zero = tensorflow.UnconnectedGradients.ZERO
        return found, tape.gradient(found[0], weights, unconnected_gradients=zero)
    with torch.enable_grad():
        leaves = [w.detach().requires_grad_() for w in weights]
        found = function(leaves)
        gradients = torch.autograd.grad(found[0], leaves, allow_unused=True, materialize_grads=True)
    return (found[0].detach(), found[1]), list(gradients)


def cos_and_sin(angles: Any) -> tuple[Any, Any]:
    """Return both, computed by the engine: `keras.ops` casts float64 to float32 on JAX."""
    if NAME == "jax":
        return jax.numpy.cos(angles), jax.numpy.sin(angles)
    library = tensorflow if NAME == "tensorflow" else torch
    return library.cos(angles), library.sin(angles)


def read(variable: Any) -> Any:
    """Return the value of a Keras variable."""
    return tensorflow.convert_to_tensor(variable.value) if NAME == "tensorflow" else variable.value


def to_host(tensor: Any) -> NDArray[Any]:
    """Return a copy of a tensor as a NumPy array."""
    if NAME == "torch":  # the conversion in Keras warns with NumPy 2
        tensor = tensor.detach().cpu()
    return np.array(tensor.numpy() if NAME != "jax" else tensor)


def device_count(kind: str) -> int:
    """Return the number of devices of a kind: "cpu", "gpu", "tpu" or "mps"."""
    if NAME == "jax":
        return len([device for device in jax.devices() if device.platform == kind]) or int(
            kind == "cpu"
        )
    if NAME == "tensorflow":
        return len(tensorflow.config.list_logical_devices(kind.upper()))
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return torch.cuda.device_count() if kind == "gpu" else int(kind == "cpu")
