"""The forward process and its reverse for any generator: confusable classes, hierarchies."""

import math
from functools import cached_property
from typing import Any

import numpy as np
import scipy.linalg
from array_api_compat import device as device_of
from numpy.typing import ArrayLike, NDArray

from skdidicm.core.arrays import Array, column, namespace, normalize, one_hot
from skdidicm.core.process import ratio

_MAX_CONDITION = 1e5  # amplifies rounding errors: 1e5 * 2e-16 leaves exp(sigma R) accurate to 1e-10


class RateProcess:
    """Noise with a custom rate matrix.

    The matrix is decomposed once in float64, by `eigh` if it is symmetric or reversible, else by
    `eig`. If the eigenbasis is ill-conditioned, matrix exponentials are used instead, one for each
    distinct sigma. This is slower, but accurate.

    Parameters
    ----------
    rate_matrix : array-like (k, k)
        Entry [i, j] is the rate from class j to class i: off-diagonal entries >= 0, columns sum
        to zero.

    Raises
    ------
    ValueError
        If the matrix is not a rate matrix.

    Examples
    --------
    >>> import numpy as np
    >>> process = RateProcess([[-1.0, 0.5], [1.0, -0.5]])
    >>> process.limit().round(4)
    array([0.3333, 0.6667])
    """

    def __init__(self, rate_matrix: ArrayLike) -> None:
        self.rate_matrix = _check_generator(rate_matrix)
        self.n_classes = self.rate_matrix.shape[0]
        self._spectrum = _decompose(self.rate_matrix)
        self._constants: dict[tuple[str, ...], Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_constants": {}}

    def __repr__(self) -> str:
        return f"RateProcess(<{self.n_classes} x {self.n_classes} generator>)"

    def diffuse(self, q_0: Array, sigma: Array) -> Array:
        """Return q_t = exp(sigma R) q_0, (..., k); equation (1)."""
        return namespace(q_0).clip(self._exponential(q_0, sigma, transpose=False), min=0.0)

    def undiffuse(self, q: Array, sigma: Array) -> Array:
        """Return the law that `diffuse` maps to `q`, clipped and normalised; equation (10).

        Modes that are damped below the rounding error of the data type cannot be recovered; they
        are set to their limit.
        """
        xp = namespace(q)
        if self._spectrum is None:
            return self._undiffuse_by_expm(q, sigma)
        damping = xp.exp(self._exponents(q, sigma))
        kept = xp.abs(damping) > 4 * float(xp.finfo(q.dtype).eps)
        inverse = xp.where(kept, 1 / xp.where(kept, damping, 1.0), 0.0)
        return normalize(self._through_modes(q, inverse, transpose=False))

    def adjoint(self, w: Array, sigma: Array) -> Array:
        """Return exp(sigma R)^T w, (..., k)."""
        return self._exponential(w, sigma, transpose=True)

    def likelihood(self, label: Array, sigma: Array, dtype: Any) -> Array:
        """Return P(c_t = label | c_0 = i) = [exp(sigma R)](label, i) for every i, (..., k)."""
        own = one_hot(label, self.n_classes, dtype)
        return namespace(own).clip(self.adjoint(own, sigma), min=0.0)

    def ratio(self, q_t: Array, label: Array) -> Array:
        """Return the concrete score q_t(i) / q_t(label), (..., k); equation (3)."""
        return ratio(q_t, label)

    def limit(self) -> NDArray[np.float64]:
        """Return the limit (k,) of the uniform law; the stationary law if that is unique."""
        return self._limit.copy()

    def euler_step(self, p: Array, q: Array, h: Array) -> Array:
        """Return p + h (q o (R^T w) - w o (R q)) with w = p / q; equation (7)."""
        w, rates = p / q, self._constant("rates", p)
        return p + column(h, p) * (q * (w @ rates) - w * (q @ rates.T))

    def bridge_step(self, p: Array, q: Array, sigma: Array, sigma_next: Array) -> Array:
        """Return p after the exact Bayes bridge from sigma to sigma_next; equation (9)."""
        distance = sigma - sigma_next
        return self.undiffuse(q, distance) * self.adjoint(p / q, distance)

    @cached_property
    def _limit(self) -> NDArray[np.float64]:
        # Cached: every prediction needs it, and it costs two decompositions.
        right = scipy.linalg.null_space(self.rate_matrix)
        left = scipy.linalg.null_space(self.rate_matrix.T)
        uniform = np.full(self.n_classes, 1.0 / self.n_classes)
        law: NDArray[np.float64] = normalize(
            right @ np.linalg.solve(left.T @ right, left.T @ uniform)
        )
        return law

    def _exponential(self, x: Array, sigma: Array, *, transpose: bool) -> Array:
        """Return exp(sigma R) x, or its transpose times x, for rows x (..., k)."""
        if self._spectrum is None:
            return self._by_expm(x, sigma, transpose=transpose)
        # expm1 keeps the digits of rare labels where the noise is small.
        change = namespace(x).expm1(self._exponents(x, sigma))
        return x + self._through_modes(x, change, transpose=transpose)

    def _exponents(self, x: Array, sigma: Array) -> Array:
        """Return sigma lambda for every mode, (..., k)."""
        modes = self._constant("modes", x)
        return column(sigma, modes) * modes

    def _through_modes(self, x: Array, factor: Array, *, transpose: bool) -> Array:
        """Return U diag(factor) U^-1 x for rows x, or its transpose, as a real array."""
        xp = namespace(x)
        into, out = self._constant("inverse", x), self._constant("basis", x)
        if transpose:
            into, out = out.T, into.T
        mixed = (xp.astype(x, into.dtype, copy=False) @ into.T * factor) @ out.T
        return xp.real(mixed) if xp.isdtype(mixed.dtype, "complex floating") else mixed

    def _by_expm(self, x: Array, sigma: Array, *, transpose: bool) -> Array:
        xp = namespace(x)
        flat = xp.reshape(x, (-1, self.n_classes))
        sigmas = np.broadcast_to(_on_host(sigma), x.shape[:-1]).ravel()
        matrices = {s: _transition_matrix(self.rate_matrix, s) for s in np.unique(sigmas)}
        if transpose:
            matrices = {s: matrix.T for s, matrix in matrices.items()}
        rows = [
            xp.asarray(matrices[s], dtype=x.dtype, device=device_of(x)) @ flat[i, :]
            for i, s in enumerate(sigmas)
        ]
        return xp.reshape(xp.stack(rows), x.shape)

    def _undiffuse_by_expm(self, q: Array, sigma: Array) -> Array:
        """Solve exp(sigma R) q_0 = q row by row, without the modes that are lost in rounding."""
        xp = namespace(q)
        host = _on_host(q).reshape(-1, self.n_classes)
        sigmas = np.broadcast_to(_on_host(sigma), q.shape[:-1]).ravel()
        cut = 4 * float(xp.finfo(q.dtype).eps)
        inverse = {
            s: np.linalg.pinv(_transition_matrix(self.rate_matrix, s), rcond=cut)
            for s in np.unique(sigmas)
        }
        rows = np.stack([inverse[s] @ host[i] for i, s in enumerate(sigmas)]).reshape(q.shape)
        return normalize(xp.asarray(rows, dtype=q.dtype, device=device_of(q)))

    def _constant(self, name: str, x: Array) -> Array:
        """Return a factor of R as an array like `x`, cached so that it is sent to a device once."""
        xp = namespace(x)
        key = (name, xp.__name__, str(x.dtype), str(device_of(x)))
        if key not in self._constants:
            if name == "rates" or self._spectrum is None:
                value = self.rate_matrix
            else:
                value = self._spectrum[name]
            dtype = x.dtype
            if np.iscomplexobj(value):
                dtype = xp.complex128 if x.dtype == xp.float64 else xp.complex64
            self._constants[key] = xp.asarray(value, dtype=dtype, device=device_of(x))
        return self._constants[key]


def _check_generator(rate_matrix: ArrayLike) -> NDArray[np.float64]:
    rates = np.array(rate_matrix, dtype=np.float64)
    if rates.ndim != 2 or rates.shape[0] != rates.shape[1] or rates.size == 0:
        raise ValueError(
            f"rate_matrix has shape {rates.shape}; expected a square (k, k) matrix of rates."
        )
    if not np.isfinite(rates).all():
        raise ValueError("rate_matrix holds NaN or infinity; every rate must be finite.")
    off_diagonal = rates - np.diag(np.diag(rates))
    if off_diagonal.min() < 0:
        i, j = np.unravel_index(off_diagonal.argmin(), rates.shape)
        raise ValueError(
            f"rate_matrix[{i}, {j}] is {rates[i, j]}; rates off the diagonal must be >= 0."
        )
    sums = rates.sum(axis=0)
    if np.abs(sums).max() > 1e-6 * max(1e-300, np.abs(rates).max()):
        worst = int(np.abs(sums).argmax())
        raise ValueError(
            f"column {worst} of rate_matrix sums to {sums[worst]:.6g}; every column must sum to 0, "
            "so set the diagonal to minus the sum of the other entries of its column."
        )
    np.fill_diagonal(rates, -off_diagonal.sum(axis=0))
    return rates


def _decompose(rates: NDArray[np.float64]) -> dict[str, NDArray[Any]] | None:
    """Return R = U diag(modes) U^-1, or None if the eigenbasis is ill-conditioned."""
    scale = _symmetrizer(rates)
    if scale is not None:
        symmetric = rates * scale[None, :] / scale[:, None]
        modes, vectors = scipy.linalg.eigh((symmetric + symmetric.T) / 2)
        basis, inverse = scale[:, None] * vectors, vectors.T / scale[None, :]
    else:
        modes, basis = scipy.linalg.eig(rates)
        modes = modes if np.iscomplexobj(basis) else modes.real
        if np.linalg.cond(basis, 1) > _MAX_CONDITION:
            return None
        inverse = np.linalg.inv(basis)
    modes[np.abs(modes) < 1e-13 * max(1e-300, np.abs(rates).max()) * len(rates)] = 0
    return {"modes": modes, "basis": basis, "inverse": inverse}


def _transition_matrix(rates: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Return exp(sigma R) by uniformisation: exp(sigma R) = sum over n of Poisson(n) P^n.

    It only adds and multiplies nonnegative numbers, so every entry is accurate;
    `scipy.linalg.expm` is not on triangular matrices with nearly equal rates.
    """
    k, fastest = len(rates), max(-float(rates.diagonal().min()), 1e-300)
    jump = np.eye(k) + rates / fastest
    halvings = max(0, math.ceil(math.log2(max(sigma * fastest, 1.0))))
    mean = sigma * fastest / 2**halvings
    term = result = np.eye(k) * math.exp(-mean)
    for n in range(1, 20):  # mean <= 1, so that the next term is below 1e-18
        term = term @ jump * (mean / n)
        result = result + term
    for _ in range(halvings):
        result = result @ result
        result /= result.sum(axis=0)
    return result


def _symmetrizer(rates: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return sqrt(pi) such that diag(1/sqrt(pi)) R diag(sqrt(pi)) is symmetric, or None."""
    if np.allclose(rates, rates.T, rtol=1e-12, atol=0):
        return np.ones(len(rates))
    stationary = scipy.linalg.null_space(rates)
    if stationary.shape[1] != 1:
        return None
    law = stationary[:, 0] / stationary[:, 0].sum()
    if law.min() <= 0 or law.max() / law.min() > _MAX_CONDITION**2:
        return None
    scale = np.sqrt(law)
    symmetric = rates * scale[None, :] / scale[:, None]
    error = (symmetric - symmetric.T) / 2 * scale[:, None] / scale[None, :]
    return scale if np.abs(error).max() <= 1e-12 * np.abs(rates).max() else None


def _on_host(value: Array) -> NDArray[np.float64]:
    return np.asarray(getattr(value, "tolist", lambda: value)(), dtype=np.float64)
