"""The additive model that answers beside the networks on tables."""

from dataclasses import dataclass

import numpy as np
from array_api_compat import device as device_of
from numpy.typing import NDArray

from skdidicm.core.arrays import Array, index_dtype, like, namespace, softmax

_BOUND = 3.0  # robust deviations that no column exceeds
_FAR = 1e9  # where a column has long reached its bound


@dataclass(frozen=True)
class Shape:
    """How an additive model sees the d columns of a table: smooth, and in m pieces.

    Attributes
    ----------
    centre, scale : ndarray (d,)
        Median and robust deviation of every column.
    column : ndarray (m,) of int
        The column of each piece.
    low, width : ndarray (m,)
        Where the piece begins in units of the column, and its width.
    """

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    column: NDArray[np.intp]
    low: NDArray[np.float64]
    width: NDArray[np.float64]

    def __call__(self, x: Array) -> Array:
        """Return rows (n, d) as (n, d + m): columns between -3 and 3, then the pieces.

        A piece is 0 below its beginning, 1 above its end and linear between, so that a weighted sum
        of the pieces of a column is any function that is linear between their ends.
        """
        xp = namespace(x)
        x = xp.astype(x, xp.float64)
        centre, scale, low, width = (
            like(v, x) for v in (self.centre, self.scale, self.low, self.width)
        )
        column = xp.asarray(self.column, dtype=index_dtype(xp), device=device_of(x))
        with np.errstate(over="ignore"):
            u = xp.clip((x - centre) / scale, min=-_FAR, max=_FAR)
            pieces = xp.clip((xp.take(x, column, axis=1) - low) / width, min=0.0, max=1.0)
        return xp.concat([u / xp.sqrt(1 + (u / _BOUND) ** 2), pieces], axis=1)


@dataclass(frozen=True)
class Additive:
    """A model whose logits are sums of one function for each column, and its part in the answer.

    Attributes
    ----------
    shape : Shape
        How it sees the columns.
    coef, intercept : ndarray (d + m, k), (k,)
        Weights of what it sees.
    share, temperature : float
        See `Beside`.
    """

    shape: Shape
    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    share: float = 0.0
    temperature: float = 1.0

    def __call__(self, x: Array) -> Array:
        """Return the class probabilities (n, k) of rows (n, d) by this model alone."""
        seen = self.shape(x)
        return softmax(seen @ like(self.coef, seen) + like(self.intercept, seen))
