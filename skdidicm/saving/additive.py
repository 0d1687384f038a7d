"""What a model file holds of the additive model, as tensors."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.predict.additive import Additive, Shape
from skdidicm.saving.model_file import ModelFileError

_PREFIX = "additive."


def additive_tensors(
    additive: Additive | None,
) -> tuple[dict[str, NDArray[Any]], dict[str, float] | None]:
    """Return its tensors, and the rest as JSON values; None where there is none."""
    if additive is None:
        return {}, None
    values = vars(additive.shape) | {"coef": additive.coef, "intercept": additive.intercept}
    rest = {"share": float(additive.share), "temperature": float(additive.temperature)}
    return {f"{_PREFIX}{name}": value for name, value in values.items()}, rest


def read_additive(
    saved: Any, tensors: dict[str, NDArray[Any]], input_shape: tuple[int, ...], k: int
) -> Additive | None:
    """Return the additive model of a file; earlier files hold none.

    Raises
    ------
    ModelFileError
        If its arrays do not fit each other, the rows or the classes.
    """
    if saved is None:
        return None
    centre, scale, column, low, width, coef, intercept = (
        tensors[f"{_PREFIX}{name}"]
        for name in ("centre", "scale", "column", "low", "width", "coef", "intercept")
    )
    share, temperature = float(saved["share"]), float(saved["temperature"])
    d, m = len(centre), len(column)
    fitting = (
        centre.shape == scale.shape == input_shape
        and column.shape == low.shape == width.shape == (m,)
        and coef.shape == (d + m, k)
        and intercept.shape == (k,)
        and column.dtype.kind == "i"
        and column.min(initial=0) >= 0
        and column.max(initial=0) < d
        and all(np.isfinite(v).all() for v in (centre, scale, low, width, coef, intercept))
        and scale.min() > 0
        and width.min(initial=1) > 0
        and 0 <= share <= 1
        and 0 < temperature < np.inf
    )
    if not fitting:
        raise ModelFileError("its additive model does not fit its rows and classes.")
    return Additive(Shape(centre, scale, column, low, width), coef, intercept, share, temperature)
