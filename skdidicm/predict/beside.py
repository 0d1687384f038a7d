"""Models of a table that answer beside the networks."""

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from skdidicm.core import SamplerPlan, read_out, time_steps
from skdidicm.core.arrays import Array


class Beside(Protocol):
    """A model with a share in the answer, in [0, 1]; what has answered before has the rest."""

    @property
    def share(self) -> float:
        """Its share."""
        ...

    @property
    def temperature(self) -> float:
        """Temperature of the answer that it joins last."""
        ...

    def __call__(self, x: NDArray[np.floating], /) -> NDArray[np.float64]:
        """Return the class probabilities (n, k) of rows (n, d) by this model alone."""
        ...


def answered(
    law: NDArray[np.float64], x: NDArray[np.floating], models: Iterable[Beside], plan: SamplerPlan
) -> NDArray[np.float64]:
    """Return the answer of networks (n, k), or at every step (n, steps + 1, k), and the models.

    Under noise, the law of labels from a mixture is the mixture of their laws. So a model enters
    every step by its diffused answer, and the first by the noise that all start from.
    """
    start = law[:, 0] if law.ndim == 3 else law
    for model in models:
        answer = np.asarray(read_out(model(x), plan.process, plan.schedule))
        if law.ndim == 3:
            after = [step.sigma_next for step in time_steps(plan.schedule, plan.steps)[:-1]]
            noisy = [np.asarray(plan.process.diffuse(answer, sigma)) for sigma in after]
            answer = np.stack([start, *noisy, answer], axis=1)
        law = mixed(law, answer, model.share)
    return law


def mixed(first: Array, second: Array, share: float) -> Array:
    """Return the mean of two answers, of which the second has the given share."""
    return first + share * (second - first)
