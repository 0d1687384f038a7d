"""The forward process on class probabilities, and its reverse, for a uniform rate matrix.

Equation numbers are those of `docs/mathematics.rst`. K is the number of classes and R the rate
matrix, whose columns sum to zero; laws are rows of (..., k) arrays.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from skdidicm.core.arrays import (
    Array,
    at_least,
    column,
    namespace,
    normalize,
    one_hot,
    take_label,
)

_TINY = 1e-30  # below any probability that occurs; its inverse is finite in float32


class Process(Protocol):
    """Interface of a diffusion process over K labels, for losses and samplers."""

    @property
    def n_classes(self) -> int:
        """The number of classes K."""
        ...

    def diffuse(self, q_0: Array, sigma: Array) -> Array:
        """Return q_t = exp(sigma R) q_0, (..., k); equation (1)."""
        ...

    def undiffuse(self, q: Array, sigma: Array) -> Array:
        """Return the law that `diffuse` maps to `q`, clipped and normalised; equation (10)."""
        ...

    def adjoint(self, w: Array, sigma: Array) -> Array:
        """Return exp(sigma R)^T w, (..., k)."""
        ...

    def likelihood(self, label: Array, sigma: Array, dtype: object) -> Array:
        """Return P(c_t = label | c_0 = i) for every class i, (..., k)."""
        ...

    def ratio(self, q_t: Array, label: Array) -> Array:
        """Return the concrete score q_t(i) / q_t(label), (..., k); equation (3)."""
        ...

    def limit(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return the stationary law (k,)."""
        ...

    def euler_step(self, p: Array, q: Array, h: Array) -> Array:
        """Return p after one reverse Euler step; equation (7)."""
        ...

    def bridge_step(self, p: Array, q: Array, sigma: Array, sigma_next: Array) -> Array:
        """Return p after an exact reverse step from sigma to sigma_next; equation (9)."""
        ...


def ratio(q_t: Array, label: Array) -> Array:
    """Return q_t(i) / q_t(label), (..., k), finite even where q_t(label) is 0; equation (3)."""
    return q_t / namespace(q_t).clip(take_label(q_t, label), min=_TINY)


@dataclass(frozen=True)
class UniformProcess:
    """Noise that replaces a label by one drawn uniformly from all classes.

    The rate matrix is R = (1 1^T - K I) / K. Its exponential has a closed form, so all methods are
    O(n k) in time and memory.

    Parameters
    ----------
    n_classes : int
        Number of classes K >= 1.

    Examples
    --------
    >>> import numpy as np
    >>> process = UniformProcess(4)
    >>> process.diffuse(np.array([[1.0, 0.0, 0.0, 0.0]]), np.log(2.0))
    array([[0.625, 0.125, 0.125, 0.125]])
    """

    n_classes: int

    def __post_init__(self) -> None:
        if self.n_classes < 1:
            raise ValueError(f"n_classes is {self.n_classes}; a process needs at least one class.")

    def diffuse(self, q_0: Array, sigma: Array) -> Array:
        """Return q_t = a q_0 + (1 - a) / K with a = exp(-sigma), (..., k); equation (2).

        Parameters
        ----------
        q_0 : array (..., k)
            Laws at zero noise.
        sigma : float or array (...)
            Total noise >= 0.
        """
        xp, sigma = namespace(q_0), column(sigma, q_0)
        q_t = xp.exp(-sigma) * q_0
        q_t -= xp.expm1(-sigma) / self.n_classes
        return q_t

    def undiffuse(self, q: Array, sigma: Array) -> Array:
        """Return the law at zero noise that gives `q`, clipped and normalised; equation (10)."""
        xp, sigma = namespace(q), column(sigma, q)
        # Normalising replaces the division by exp(-sigma) in (10), which overflows at large sigma.
        return normalize(q + xp.expm1(-sigma) / self.n_classes)

    def adjoint(self, w: Array, sigma: Array) -> Array:
        """Return exp(sigma R)^T w, (..., k)."""
        xp, sigma = namespace(w), column(sigma, w)
        mean = xp.sum(w, axis=-1, keepdims=True) / self.n_classes
        result = xp.exp(-sigma) * w
        result -= xp.expm1(-sigma) * mean
        return result

    def likelihood(self, label: Array, sigma: Array, dtype: object) -> Array:
        """Return P(c_t = label | c_0 = i) = a [i = label] + (1 - a) / K, (..., k)."""
        return self.diffuse(one_hot(label, self.n_classes, dtype), sigma)

    def ratio(self, q_t: Array, label: Array) -> Array:
        """Return the concrete score q_t(i) / q_t(label), (..., k); equation (3)."""
        return ratio(q_t, label)

    def limit(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Return the uniform law, (k,)."""
        return np.full(self.n_classes, 1.0 / self.n_classes)

    def euler_step(self, p: Array, q: Array, h: Array) -> Array:
        """Return p + (h / K) (q sum(w) - w) with w = p / q; equation (8).

        Parameters
        ----------
        p : array (..., k)
            Current law of the label, rows sum to one.
        q : array (..., k)
            Estimate of q_t > 0, rows sum to one.
        h : float or array (...)
            Step length dt * dsigma/dt.

        Returns
        -------
        array (..., k)
            Rows sum to one; entries may leave [0, 1], since the step is explicit.
        """
        # In place, since memory for temporaries costs more than the arithmetic.
        w, rate = p / q, column(h, p) / self.n_classes
        step = q * (rate * namespace(w).sum(w, axis=-1, keepdims=True))
        w *= rate
        step -= w
        step += p
        return step

    def bridge_step(self, p: Array, q: Array, sigma: Array, sigma_next: Array) -> Array:
        """Return p after the exact Bayes bridge from sigma to sigma_next; equation (9).

        Equals `undiffuse(q, d) * adjoint(p / q, d)` with d = sigma - sigma_next, in fewer passes.
        """
        xp, distance = namespace(p), column(sigma - sigma_next, p)
        noise = -xp.expm1(-distance)
        w = p / q
        mean = xp.sum(w, axis=-1, keepdims=True) / self.n_classes
        w *= 1 - noise
        w += noise * mean
        q_next = at_least(q - noise / self.n_classes, 0.0)
        total = xp.sum(q_next, axis=-1, keepdims=True)
        w *= q_next
        w /= xp.where(total > 0, total, 1.0)
        return w
