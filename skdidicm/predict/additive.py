"""The additive model that answers beside the networks on tables."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

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

    def __call__(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return rows (n, d) as (n, d + m): columns between -3 and 3, then the pieces.

        A piece is 0 below its beginning, 1 above its end and linear between, so that a weighted sum
        of the pieces of a column is any function that is linear between their ends.
        """
        x = np.asarray(x, dtype=np.float64)
        with np.errstate(over="ignore"):
            u = np.clip((x - self.centre) / self.scale, -_FAR, _FAR)
            pieces = np.clip((x[:, self.column] - self.low) / self.width, 0, 1)
        return np.hstack([u / np.hypot(1, u / _BOUND), pieces])


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

    def __call__(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the class probabilities (n, k) of rows (n, d) by this model alone."""
        p: NDArray[np.float64] = softmax(self.shape(x) @ self.coef + self.intercept, axis=1)
        return p
