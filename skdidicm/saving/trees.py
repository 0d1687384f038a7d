"""What a model file holds of the trees, as tensors."""

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.predict.trees import Trees
from skdidicm.saving.model_file import ModelFileError

_PREFIX = "trees."
_NUMBERS = ("sharpness", "share", "temperature")
_ARRAYS = [field.name for field in fields(Trees) if field.name not in _NUMBERS]
_SUM = 1e-3  # by which the sum of class probabilities may differ from one
_INDICES = ("root", "column", "left", "right", "law")


def trees_tensors(
    trees: Trees | None,
) -> tuple[dict[str, NDArray[Any]], dict[str, float] | None]:
    """Return their tensors, and the rest as JSON values; None where there are none."""
    if trees is None:
        return {}, None
    tensors = {f"{_PREFIX}{name}": getattr(trees, name) for name in _ARRAYS}
    for name in _INDICES:  # half the size
        tensors[f"{_PREFIX}{name}"] = getattr(trees, name).astype(np.int32)
    return tensors, {name: float(getattr(trees, name)) for name in _NUMBERS}


def read_trees(
    saved: Any, tensors: dict[str, NDArray[Any]], input_shape: tuple[int, ...], k: int
) -> Trees | None:
    """Return the trees of a file; earlier files hold none.

    Raises
    ------
    ModelFileError
        If their arrays do not fit each other, the rows or the classes.
    """
    if saved is None:
        return None
    arrays: dict[str, Any] = {name: tensors[f"{_PREFIX}{name}"] for name in _ARRAYS}
    numbers = {name: float(saved[name]) for name in _NUMBERS}
    low, width, threshold, proba = (arrays[name] for name in ("low", "width", "threshold", "proba"))
    root, column, left, right, law = (arrays[name] for name in _INDICES)
    n = len(column)
    node = np.arange(n)
    fitting = (
        low.shape == width.shape == input_shape
        and column.shape == left.shape == right.shape == law.shape == threshold.shape == (n,)
        and root.ndim == 1
        and min(len(root), len(proba)) > 0
        and proba.shape == (len(proba), k)
        and all(arrays[name].dtype.kind == "i" for name in _INDICES)
        and _within(root, n)
        and _within(column, len(low))
        and _within(law, len(proba))
        and all(_within(child, n) and bool((child >= node).all()) for child in (left, right))
        and bool(((left == node) == (right == node)).all())  # so that every walk ends in a leaf
        and all(np.isfinite(v).all() for v in (low, width, threshold, proba))
        and width.min(initial=1) > 0
        and proba.min() >= 0
        and np.abs(proba.sum(axis=1) - 1).max() < _SUM
        and 0 <= numbers["share"] <= 1
        and all(0 < numbers[name] < np.inf for name in ("sharpness", "temperature"))
    )
    if not fitting:
        raise ModelFileError("its trees do not fit its rows and classes.")
    for name in _INDICES:
        arrays[name] = arrays[name].astype(np.intp)
    return Trees(**arrays | numbers)


def _within(index: NDArray[Any], n: int) -> bool:
    return bool(index.min(initial=0) >= 0 and index.max(initial=0) < n)
