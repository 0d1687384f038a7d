"""From the log scores of a network to the posterior, by either sampler.

The estimator and the trainers of the backends all sample through `sample_posterior`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.core.arrays import Array, namespace
from skdidicm.core.channel import Channel
from skdidicm.core.process import Process
from skdidicm.core.samplers import sample_labels, sample_probabilities
from skdidicm.core.schedules import EPS_T, Schedule

SAMPLERS = ("cp", "cl")


@dataclass(frozen=True)
class SamplerPlan:
    """Settings of a sampler.

    Parameters
    ----------
    process, schedule : Process, Schedule
        The noise that the network was trained on.
    p_init : array (k,)
        Law of the label at t = 1.
    seed : int
        Seed of the noise, which is the same for all rows.
    sampler : {"cp", "cl"}
        Class probabilities (`sample_probabilities`) or chains of labels (`sample_labels`).
    solver : {"euler", "bridge"}
        The reverse step: equation (7) or (9).
    steps : int
        Number of reverse steps >= 1.
    label_rule : {"argmin", "argmax", "draw"}
        The label that a step of "cp" conditions on.
    n_chains : int
        Chains per row of "cl".
    channel : Channel, optional
        Label noise, where the log scores describe the observed label: the result is then carried
        back to the true class by equation (14).
    """

    process: Process
    schedule: Schedule
    p_init: NDArray[np.float64]
    seed: int
    sampler: str
    solver: str
    steps: int
    label_rule: str = "argmin"
    n_chains: int = 1
    channel: Channel | None = None


def sample_posterior(
    log_score: Callable[[Array, Array], Array],
    n: int,
    plan: SamplerPlan,
    start: Callable[[NDArray[np.float64]], Array] = np.asarray,
    *,
    return_path: bool = False,
) -> Array:
    """Return the posterior of n rows by DiDiCM-CP or DiDiCM-CL.

    Parameters
    ----------
    log_score : callable
        Maps labels and total noise to log scores: (n,) to (n, k) for "cp", and (n, c) to (n, c, k)
        for "cl", for any number c of chains.
    n : int
        Number of rows.
    plan : SamplerPlan
        How to sample.
    start : callable, optional
        Turns host values into an array of the library and device to sample on; default NumPy.
    return_path : bool, default=False
        Also return the laws before and after every step.

    Returns
    -------
    array (n, k), or (n, steps + 1, k) if `return_path`
        Class probabilities at zero noise. Some may be 0; see `read_out`.

    Examples
    --------
    >>> from skdidicm.core import LogLinear, UniformProcess
    >>> process, q_0 = UniformProcess(2), np.array([[0.9, 0.1]])
    >>> def exact(label, sigma):
    ...     return np.log(process.ratio(process.diffuse(q_0, sigma), label))
    >>> plan = SamplerPlan(process, LogLinear(), process.limit(), 0, "cp", "bridge", steps=4)
    >>> sample_posterior(exact, 1, plan).round(2)
    array([[0.9, 0.1]])
    """
    if plan.sampler not in SAMPLERS:
        raise ValueError(f"sampler is {plan.sampler!r}; expected one of {SAMPLERS}.")
    k, rng = plan.process.n_classes, np.random.default_rng(plan.seed)
    settings: dict[str, Any] = {
        "process": plan.process,
        "schedule": plan.schedule,
        "steps": plan.steps,
        "solver": plan.solver,
        "return_path": return_path,
    }
    if plan.sampler == "cp":
        p_init = start(np.broadcast_to(plan.p_init, (n, k)).copy())
        return sample_probabilities(
            log_score, p_init, label_rule=plan.label_rule, rng=rng, **settings
        )

    def flat_log_score(label: Array, sigma: Array) -> Array:
        xp = namespace(label)
        return xp.reshape(
            log_score(xp.reshape(label, (n, -1)), xp.reshape(sigma, (n, -1))), (-1, k)
        )

    uniforms = start(rng.random((plan.steps + 1, plan.n_chains)))
    return sample_labels(
        flat_log_score,
        n,
        n_chains=plan.n_chains,
        uniforms=uniforms,
        p_init=plan.p_init,
        **settings,
    )


def read_out(law: Array, process: Process, schedule: Schedule) -> Array:
    """Return the law (..., k) at t = EPS_T that belongs to a law at zero noise; equation (1).

    A sampler can give a class probability zero, which a finite training set cannot justify.
    Networks are only trained down to t = EPS_T. The noise at that time, about 1e-3, keeps all
    probabilities positive.

    Examples
    --------
    >>> from skdidicm.core import LogLinear, UniformProcess
    >>> read_out(np.array([[1.0, 0.0]]), UniformProcess(2), LogLinear())
    array([[9.995005e-01, 4.995000e-04]])
    """
    return process.diffuse(law, float(schedule.total(EPS_T)))
