"""Noise schedules: the total noise sigma(t) of a label at time t in [0, 1].

Every schedule has `total(t)` = sigma(t), `rate(t)` = dsigma/dt and `survival(t)` = exp(-sigma(t)),
the probability that no noise event has happened yet. Times are numbers or arrays.
"""

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from skdidicm.core.arrays import Array, namespace

EPS_T = 1e-3
"""Smallest time of training, at which predictions are read out; at t = 0 scores are infinite."""


@runtime_checkable
class Schedule(Protocol):
    """Interface of a noise schedule, for samplers and training."""

    def total(self, t: Array) -> Array:
        """Return the total noise sigma(t) >= 0."""
        ...

    def rate(self, t: Array) -> Array:
        """Return dsigma/dt >= 0."""
        ...

    def survival(self, t: Array) -> Array:
        """Return exp(-sigma(t)) in [0, 1]."""
        ...


def _check_eps(eps: float) -> None:
    if not 0 < eps < 1:
        raise ValueError(
            f"eps is {eps}; the survival left at t = 1 must lie between 0 and 1, say 1e-3."
        )


@dataclass(frozen=True)
class LogLinear:
    """The paper's schedule: survival falls linearly from 1 to `eps`.

    Parameters
    ----------
    eps : float, default=1e-3
        Survival at t = 1, in (0, 1).

    Examples
    --------
    >>> schedule = LogLinear()
    >>> round(float(schedule.total(1.0)), 3), round(float(schedule.rate(1.0)), 6)
    (6.908, 999.0)
    """

    eps: float = 1e-3

    def __post_init__(self) -> None:
        _check_eps(self.eps)

    def total(self, t: Array) -> Array:
        """Return sigma(t) = -log(1 - (1 - eps) t)."""
        return -namespace(t).log1p(_array(t) * (self.eps - 1))

    def rate(self, t: Array) -> Array:
        """Return dsigma/dt = (1 - eps) / (1 - (1 - eps) t)."""
        return (1 - self.eps) / self.survival(t)

    def survival(self, t: Array) -> Array:
        """Return 1 - (1 - eps) t."""
        return 1 - (1 - self.eps) * _array(t)


@dataclass(frozen=True)
class Geometric:
    """Noise that grows geometrically from `sigma_min` to `sigma_max`.

    With the default `sigma_max`, 37% of the labels survive at t = 1, so a sampler must start from
    the marginal at t = 1 instead of the uniform law. With `sigma_max` near 7 only noise is left.

    Parameters
    ----------
    sigma_min, sigma_max : float, default=1e-3 and 1.0
        Total noise at t = 0 and t = 1, with 0 < sigma_min < sigma_max.

    Examples
    --------
    >>> round(float(Geometric().survival(1.0)), 4)
    0.3679
    """

    sigma_min: float = 1e-3
    sigma_max: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.sigma_min < self.sigma_max < math.inf:
            raise ValueError(
                f"sigma_min is {self.sigma_min} and sigma_max is {self.sigma_max}; "
                "they must satisfy 0 < sigma_min < sigma_max."
            )

    def total(self, t: Array) -> Array:
        """Return sigma(t) = sigma_min^(1 - t) sigma_max^t."""
        growth = math.log(self.sigma_max / self.sigma_min)
        return self.sigma_min * namespace(t).exp(_array(t) * growth)

    def rate(self, t: Array) -> Array:
        """Return dsigma/dt = sigma(t) log(sigma_max / sigma_min)."""
        return self.total(t) * math.log(self.sigma_max / self.sigma_min)

    def survival(self, t: Array) -> Array:
        """Return exp(-sigma(t))."""
        return namespace(t).exp(-self.total(t))


@dataclass(frozen=True)
class Cosine:
    """Survival falls along a squared cosine, with little noise near both ends.

    Parameters
    ----------
    eps : float, default=1e-3
        Survival at t = 1, in (0, 1).

    Examples
    --------
    >>> round(float(Cosine().survival(0.5)), 4)
    0.5005
    """

    eps: float = 1e-3

    def __post_init__(self) -> None:
        _check_eps(self.eps)

    def total(self, t: Array) -> Array:
        """Return sigma(t) = -log(survival(t))."""
        return -namespace(t).log1p(self._loss(t) * (self.eps - 1))

    def rate(self, t: Array) -> Array:
        """Return dsigma/dt = (1 - eps) (pi / 2) sin(pi t) / survival(t)."""
        xp = namespace(t)
        sine = xp.abs(
            xp.sin(math.pi * _array(t))
        )  # float32 rounds pi up, where the sine is negative
        return (1 - self.eps) * (math.pi / 2) * sine / self.survival(t)

    def survival(self, t: Array) -> Array:
        """Return 1 - (1 - eps) sin(pi t / 2)^2."""
        return 1 - (1 - self.eps) * self._loss(t)

    def _loss(self, t: Array) -> Array:
        return namespace(t).sin(_array(t) * (math.pi / 2)) ** 2


SCHEDULES: dict[str, type[Schedule]] = {
    "loglinear": LogLinear,
    "geometric": Geometric,
    "cosine": Cosine,
}
"""Schedules by name."""


def _array(t: Array) -> Array:
    return namespace(t).asarray(t)
