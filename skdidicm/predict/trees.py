"""The randomised trees that answer beside the networks on tables."""

from dataclasses import dataclass

import numpy as np
from array_api_compat import device as device_of
from numpy.typing import NDArray

from skdidicm.core.arrays import Array, index_dtype, like, namespace
from skdidicm.predict.temperature import tempered, tempered_array

_STEPS = 4  # after which walks that have ended are left out
_WALKS = 2**14  # of rows through trees at once: few enough for a CPU's caches


@dataclass(frozen=True)
class Trees:
    """Decision trees whose mean is an answer, and its part in the answer of all.

    The nodes of all m trees are numbered from 0, and children come after their parent.

    Attributes
    ----------
    low, width : ndarray (d,)
        Smallest value of every column among the training rows, and the largest minus it.
    root : ndarray (m,) of int
        The first node of each tree.
    column : ndarray (nodes,) of int
        The column that a node splits by.
    threshold : ndarray (nodes,)
        The largest value that goes left, in units of the column's width from `low`.
    left, right : ndarray (nodes,) of int
        The next nodes; a leaf is its own.
    law : ndarray (nodes,) of int
        The row of `proba` that a leaf answers.
    proba : ndarray (laws, k)
        The different class probabilities of leaves.
    sharpness : float
        Temperature of the mean of the trees.
    share, temperature : float
        See `Beside`.
    """

    low: NDArray[np.float64]
    width: NDArray[np.float64]
    root: NDArray[np.intp]
    column: NDArray[np.intp]
    threshold: NDArray[np.float32]
    left: NDArray[np.intp]
    right: NDArray[np.intp]
    law: NDArray[np.intp]
    proba: NDArray[np.float64]
    sharpness: float = 1.0
    share: float = 0.0
    temperature: float = 1.0

    def __call__(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the class probabilities (n, k) of rows (n, d) by the trees alone."""
        u = in_range(x, self.low, self.width)
        n, d = u.shape
        values, child = u.ravel(), np.stack([self.right, self.left], axis=1).ravel()
        inner = self.left != np.arange(len(self.left))
        proba = np.zeros((n, self.proba.shape[1]))
        together = max(1, _WALKS // max(n, 1))
        for i in range(0, len(self.root), together):
            at = np.repeat(self.root[i : i + together], n)
            first = np.tile(np.arange(0, n * d, d), len(at) // max(n, 1))  # values of the row
            end, going = np.empty_like(at), np.arange(len(at))
            while len(going):
                for _ in range(_STEPS):
                    below = values.take(first + self.column.take(at)) <= self.threshold.take(at)
                    at = child.take(2 * at + below)
                end[going] = at
                further = np.flatnonzero(inner.take(at))
                going, at, first = (v.take(further) for v in (going, at, first))
            for law in self.law.take(end).reshape(-1, n):
                proba += self.proba.take(law, axis=0)
        return tempered(proba / len(self.root), self.sharpness)

    def unrolled(self, x: Array) -> Array:
        """Return the same on arrays of any library, in as many steps whatever the rows."""
        xp = namespace(x)
        low, width, proba = (like(v, x) for v in (self.low, self.width, self.proba))
        threshold = xp.asarray(self.threshold, dtype=xp.float32, device=device_of(x))
        root, column, left, right, law = (
            xp.asarray(v, dtype=index_dtype(xp), device=device_of(x))
            for v in (self.root, self.column, self.left, self.right, self.law)
        )
        (n, d), m = x.shape, len(self.root)
        u = xp.astype(xp.clip((x - low) / width, min=0.0, max=1.0), xp.float32)
        first = xp.reshape(xp.arange(n, dtype=root.dtype, device=device_of(x)) * d, (n, 1))
        first = xp.reshape(xp.broadcast_to(first, (n, m)), (-1,))
        at = xp.reshape(xp.broadcast_to(root[None, :], (n, m)), (-1,))
        for _ in range(self._depth()):
            seen = xp.take(xp.reshape(u, (-1,)), first + xp.take(column, at))
            below = seen <= xp.take(threshold, at)
            at = xp.where(below, xp.take(left, at), xp.take(right, at))
        found = xp.reshape(xp.take(proba, xp.take(law, at), axis=0), (n, m, proba.shape[1]))
        return tempered_array(xp.mean(found, axis=1), self.sharpness)

    def _depth(self) -> int:
        """Return the number of steps after which every row is at a leaf."""
        at, depth = self.root, 0
        while len(at := at[self.left[at] != at]):
            at, depth = np.unique(np.concatenate([self.left[at], self.right[at]])), depth + 1
        return depth


def in_range(
    x: NDArray[np.floating], low: NDArray[np.float64], width: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Return columns between 0, their smallest value, and 1, the largest, as trees see them.

    Trees do not tell values beyond the range of their training rows apart, and this makes them
    independent of units, however large or small.
    """
    with np.errstate(over="ignore"):
        u = (np.asarray(x, dtype=np.float64) - low) / width
    return np.clip(u, 0, 1).astype(np.float32)
