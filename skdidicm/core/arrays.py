"""Array-API functions that the rest of the core builds on."""

from typing import Any

import array_api_compat.numpy as numpy_namespace
import numpy as np
from array_api_compat import array_namespace, is_array_api_obj
from array_api_compat import device as device_of

Array = Any
"""An array of any library that follows the array-API standard."""


def namespace(*arrays: Array) -> Any:
    """Return the array namespace of the arguments; Python numbers count as NumPy.

    Examples
    --------
    >>> namespace(0.5).__name__
    'array_api_compat.numpy'
    """
    if type(arrays[0]) is np.ndarray and len(arrays) == 1:
        return numpy_namespace  # looking it up takes longer than most operations on a few rows
    found = [x for x in arrays if is_array_api_obj(x)]
    return array_namespace(*found) if found else numpy_namespace


def like(value: Array, other: Array) -> Array:
    """Return `value` as an array with the dtype and on the device of `other`."""
    xp = namespace(other)
    if isinstance(value, np.generic):
        value = value.item()  # else torch would share its memory
    if is_array_api_obj(value) and namespace(value) is xp:
        return xp.astype(value, other.dtype, copy=False)
    return xp.asarray(value, dtype=other.dtype, device=device_of(other), copy=True)


def index_dtype(xp: Any) -> Any:
    """Return the integer dtype of indices: int64, or int32 in JAX by default."""
    return xp.__array_namespace_info__().default_dtypes()["indexing"]


def column(value: Array, other: Array) -> Array:
    """Return a number or an array (...) as a (..., 1) array that broadcasts against `other`."""
    value = like(value, other)
    return value[..., None] if value.ndim else value


def one_hot(label: Array, n_classes: int, dtype: Any) -> Array:
    """Return the (..., k) indicator array of integer labels (...).

    Examples
    --------
    >>> import numpy as np
    >>> one_hot(np.array([2, 0]), 3, np.float64)
    array([[0., 0., 1.],
           [1., 0., 0.]])
    """
    xp = namespace(label)
    classes = xp.arange(n_classes, dtype=label.dtype, device=device_of(label))
    return xp.astype(label[..., None] == classes, dtype)


def take_label(x: Array, label: Array) -> Array:
    """Return x[..., label] of a (..., k) array as a (..., 1) array."""
    xp = namespace(x)
    return xp.take_along_axis(x, xp.astype(label, index_dtype(xp))[..., None], axis=-1)


def log_softmax(x: Array) -> Array:
    """Return the logarithm of the softmax over the last axis, without overflow."""
    xp = namespace(x)
    shifted = x - xp.max(x, axis=-1, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=-1, keepdims=True))


def softmax(x: Array) -> Array:
    """Return the softmax over the last axis, without overflow."""
    xp = namespace(x)
    e = xp.exp(x - xp.max(x, axis=-1, keepdims=True))
    return e / xp.sum(e, axis=-1, keepdims=True)


def at_least(x: Array, least: float) -> Array:
    """Return x, but `least` where it is smaller.

    NumPy's clip takes several times as long on a few rows.
    """
    return np.maximum(x, least) if type(x) is np.ndarray else namespace(x).clip(x, min=least)


def at_most(x: Array, most: float) -> Array:
    """Return x, but `most` where it is larger; see `at_least`."""
    return np.minimum(x, most) if type(x) is np.ndarray else namespace(x).clip(x, max=most)


def normalize(weights: Array) -> Array:
    """Clip weights (..., k) at zero and scale every row to sum to one.

    A row without a positive weight becomes uniform.

    Examples
    --------
    >>> import numpy as np
    >>> normalize(np.array([[3.0, -2.0, 1.0, 0.0], [0.0, -1.0, 0.0, 0.0]]))
    array([[0.75, 0.  , 0.25, 0.  ],
           [0.25, 0.25, 0.25, 0.25]])
    """
    xp = namespace(weights)
    weights = at_least(weights, 0.0)
    total = xp.sum(weights, axis=-1, keepdims=True)
    empty = xp.astype(total <= 0, weights.dtype)
    weights += empty
    weights /= total + empty * weights.shape[-1]
    return weights


def draw(weights: Array, uniform: Array) -> Array:
    """Draw labels (...) from unnormalised weights (..., k) by inverse transform sampling.

    Negative weights count as zero. `uniform` is a number or an array (...) in [0, 1); a single
    number gives every row the same noise.

    Examples
    --------
    >>> import numpy as np
    >>> draw(np.array([[1.0, 1.0, 2.0], [0.0, 3.0, -1.0]]), 0.6)
    array([2, 1])
    """
    xp = namespace(weights)
    cumulative = xp.cumulative_sum(at_least(weights, 0.0), axis=-1)
    threshold = column(uniform, weights) * cumulative[..., -1:]
    # The second condition avoids empty classes if rounding lifts the threshold to the total.
    passed = (cumulative <= threshold) & (cumulative < cumulative[..., -1:])
    return xp.sum(xp.astype(passed, index_dtype(xp)), axis=-1)
