"""Label noise as a channel from true to observed classes, and the way back from observed laws.

A channel is a matrix T with T[i, j] = P(observed class i | true class j); its columns sum to one.
Symmetric noise is the uniform process run for a while, so that a wrong label is a label that has
already diffused: equation (12) of `docs/mathematics.rst`.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from skdidicm.core.arrays import Array, like, log_softmax, namespace, one_hot
from skdidicm.core.process import UniformProcess

_ITERATIONS = 2000  # of expectation-maximisation; each costs two products (n, k) x (k, k)
_ROUNDING = 1e-12  # by which the sum of a column that was divided by its sum may differ from one
_CONVERGED = 1e-9  # largest change of a probability in one iteration that counts as none


class Channel(Protocol):
    """What losses and predictions ask of label noise on K classes."""

    @property
    def n_classes(self) -> int:
        """The number of classes K."""
        ...

    def observe(self, q: Array) -> Array:
        """Return the law T q of the observed label, (..., k), for laws q of the true class."""
        ...

    def adjoint(self, w: Array) -> Array:
        """Return T^T w, (..., k)."""
        ...

    def observed_logits(self, logits: Array) -> Array:
        """Return log(T softmax(logits)), (..., k); equation (13)."""
        ...

    def likelihood(self, label: Array, dtype: object) -> Array:
        """Return P(observed = label | true = i) for every class i, (..., k)."""
        ...

    def recover(self, q: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the laws p of the true class for which T p is closest to q; equation (14)."""
        ...

    def matrix(self) -> NDArray[np.float64]:
        """Return T, (k, k)."""
        ...


@dataclass(frozen=True)
class SymmetricNoise:
    """Label noise that replaces the true class by each other class with equal probability.

    With sigma_0 the total noise that it amounts to, T = exp(sigma_0 R) for the uniform rate matrix
    R, so that everything here takes O(n k) time.

    Parameters
    ----------
    n_classes : int
        Number of classes K >= 2.
    rate : float
        Probability that a label is wrong, in [0, 1 - 1 / K): at 1 - 1 / K labels say nothing.

    Examples
    --------
    >>> SymmetricNoise(4, 0.3).matrix()[0].round(3)
    array([0.7, 0.1, 0.1, 0.1])
    """

    n_classes: int
    rate: float

    def __post_init__(self) -> None:
        if self.n_classes < 2:
            raise ValueError(f"n_classes is {self.n_classes}; label noise needs two classes.")
        if not 0 <= self.rate < 1 - 1 / self.n_classes:
            raise ValueError(
                f"the rate of label noise is {self.rate}; with {self.n_classes} classes expected "
                f"a share of wrong labels of at least 0 and below {1 - 1 / self.n_classes:.4g}, "
                "where labels tell nothing about the class."
            )

    @property
    def sigma_0(self) -> float:
        """Total noise that the observed label has already met; equation (12)."""
        return -math.log1p(-self.rate * self.n_classes / (self.n_classes - 1))

    def observe(self, q: Array) -> Array:
        """Return the law of the observed label, (..., k)."""
        return UniformProcess(self.n_classes).diffuse(q, self.sigma_0)

    def adjoint(self, w: Array) -> Array:
        """Return T^T w, (..., k); T is symmetric."""
        return UniformProcess(self.n_classes).adjoint(w, self.sigma_0)

    def observed_logits(self, logits: Array) -> Array:
        """Return log(T softmax(logits)), (..., k), stable for logits of any size."""
        if self.rate == 0:
            return logits
        xp = namespace(logits)
        floor = -math.expm1(-self.sigma_0) / self.n_classes
        return xp.logaddexp(log_softmax(logits) - self.sigma_0, like(math.log(floor), logits))

    def likelihood(self, label: Array, dtype: object) -> Array:
        """Return P(observed = label | true = i), (..., k)."""
        return UniformProcess(self.n_classes).likelihood(label, self.sigma_0, dtype)

    def recover(self, q: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the most likely law of the true class, (..., k), in closed form.

        The optimum of (14) is p_i = max(0, q_i / c - b) with b = (1 - a) / (a K) and the constant
        c that makes p sum to one. Which classes stay positive follows from sorting q.
        """
        q = np.asarray(q, dtype=np.float64)
        b = math.expm1(self.sigma_0) / self.n_classes
        ordered = -np.sort(-q, axis=-1)
        c = np.cumsum(ordered, axis=-1) / (1 + b * np.arange(1, self.n_classes + 1))
        n_positive = (ordered > b * c).sum(axis=-1, keepdims=True)
        c = np.take_along_axis(c, n_positive - 1, axis=-1)
        p: NDArray[np.float64] = np.maximum(q / c - b, 0.0)
        return np.asarray(p / p.sum(axis=-1, keepdims=True))

    def matrix(self) -> NDArray[np.float64]:
        """Return T, (k, k)."""
        return np.asarray(self.observe(np.eye(self.n_classes)))


@dataclass(frozen=True, eq=False)
class ConfusionNoise:
    """Label noise with any matrix T of confusions.

    Parameters
    ----------
    confusion : array-like (k, k)
        T[i, j] = P(observed class i | true class j): entries >= 0, columns that sum to one.

    Examples
    --------
    >>> noise = ConfusionNoise([[0.9, 0.2], [0.1, 0.8]])
    >>> noise.observe(np.array([0.5, 0.5]))
    array([0.55, 0.45])
    """

    confusion: ArrayLike
    _matrix: NDArray[np.float64] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        matrix = np.array(self.confusion, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or len(matrix) < 2:
            raise ValueError(
                f"the label noise has shape {matrix.shape}; expected (k, k) with one row for each "
                "observed and one column for each true class."
            )
        sums = matrix.sum(axis=0)
        if not (np.isfinite(matrix).all() and matrix.min() >= 0 and np.abs(sums - 1).max() < 1e-3):
            raise ValueError(
                "the label noise must hold P(observed i | true j) in row i and column j: entries "
                ">= 0 and columns that sum to 1; divide each column by its sum."
            )
        rounded = np.abs(sums - 1) < _ROUNDING  # so that a matrix() gives the same channel again
        object.__setattr__(self, "_matrix", matrix / np.where(rounded, 1.0, sums))

    @property
    def n_classes(self) -> int:
        """The number of classes K."""
        return len(self._matrix)

    def observe(self, q: Array) -> Array:
        """Return the law of the observed label, (..., k)."""
        return q @ like(self._matrix, q).T

    def adjoint(self, w: Array) -> Array:
        """Return T^T w, (..., k)."""
        return w @ like(self._matrix, w)

    def observed_logits(self, logits: Array) -> Array:
        """Return log(T softmax(logits)), (..., k), finite where T rules a class out too."""
        xp = namespace(logits)
        law = self.observe(xp.exp(log_softmax(logits)))
        return xp.log(xp.clip(law, min=float(xp.finfo(logits.dtype).smallest_normal)))

    def likelihood(self, label: Array, dtype: object) -> Array:
        """Return P(observed = label | true = i), (..., k)."""
        own = one_hot(label, self.n_classes, dtype)
        return own @ like(self._matrix, own)

    def recover(self, q: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the most likely law of the true class, (..., k), by expectation-maximisation."""
        q = np.asarray(q, dtype=np.float64)
        p = np.full_like(q, 1 / self.n_classes)
        for _ in range(_ITERATIONS):
            seen = np.maximum(p @ self._matrix.T, np.finfo(np.float64).tiny)
            better = p * ((q / seen) @ self._matrix)
            better /= better.sum(axis=-1, keepdims=True)
            change = np.abs(better - p).max(initial=0.0)
            p = better
            if change < _CONVERGED:
                break
        return p

    def matrix(self) -> NDArray[np.float64]:
        """Return T, (k, k)."""
        return self._matrix.copy()


def reweighted(channel: Channel, weight: NDArray[np.floating]) -> ConfusionNoise:
    """Return the noise among rows that count by weights (k,) >= 0 of their observed classes.

    Rows of the true class j then count by v_j = sum_i w_i T[i, j], and the noise is
    w_i T[i, j] / v_j.

    Examples
    --------
    >>> reweighted(SymmetricNoise(2, 0.25), np.array([3.0, 1.0])).matrix()
    array([[0.9, 0.5],
           [0.1, 0.5]])
    """
    matrix = channel.matrix()
    counted = np.asarray(weight)[:, None] * matrix
    total = counted.sum(axis=0)
    return ConfusionNoise(np.where(total > 0, counted / np.where(total > 0, total, 1), matrix))


def responsibilities(law: Array, evidence: Array) -> Array:
    """Return the law of the true class given evidence too: law times evidence, normalised.

    Parameters
    ----------
    law : array (..., k)
        P(class | x).
    evidence : array (..., k)
        P(what was seen | class): 1 for a class and 0 for all others if the label is certain, a row
        of T if it is noisy, and the product of such rows for several votes.

    Examples
    --------
    >>> responsibilities(np.array([0.5, 0.5]), np.array([0.9, 0.3]))
    array([0.75, 0.25])
    """
    xp: Any = namespace(law)
    joint = law * evidence
    return joint / xp.clip(xp.sum(joint, axis=-1, keepdims=True), min=1e-30)
