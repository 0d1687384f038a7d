"""The two samplers: class probabilities (DiDiCM-CP) and class labels (DiDiCM-CL).

Both run the reverse process from noise to the posterior, one network call a step. They ask the
network for nothing but `log_score_fn(label, sigma)`, so any array library and any model serves.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from array_api_compat import device as device_of

from skdidicm.core.arrays import (
    Array,
    draw,
    index_dtype,
    like,
    namespace,
    normalize,
    one_hot,
    softmax,
)
from skdidicm.core.process import Process
from skdidicm.core.schedules import Schedule

SOLVERS = ("euler", "bridge")
LABEL_RULES = ("argmin", "argmax", "draw")
GRIDS = ("tiled", "official")

_CHUNK = 2**24  # entries of the largest array that one call of the label sampler makes
_LONGEST = 32.0  # noise distance beyond which exp keeps nothing of a law, but overflows in float32

LogScore = Callable[[Array, Array], Array]
"""Maps labels (n,) and total noise (n,) to log scores (n, k)."""


class Step(NamedTuple):
    """One reverse step: noise before, noise after, and the Euler step length."""

    sigma: float
    sigma_next: float
    h: float


def time_steps(schedule: Schedule, steps: int, grid: str = "tiled") -> list[Step]:
    """Return the reverse steps from t = 1 to zero noise.

    "tiled" cuts [0, 1] into `steps` equal parts. Its Euler length h = exp(sigma - sigma_next) - 1
    is dt * dsigma/dt for the log-linear schedule, and makes (8) exact on every schedule where the
    score is exact and p = q_t. "official" is the grid of the paper's code: times
    linspace(1, 1e-5, steps) with h = dt * dsigma/dt, dt = (1 - 1e-5) / steps.

    Examples
    --------
    >>> from skdidicm.core import LogLinear
    >>> [round(step.sigma, 3) for step in time_steps(LogLinear(), 2)]
    [6.908, 0.692]
    """
    _check_choice("grid", grid, GRIDS)
    if steps < 1:
        raise ValueError(f"steps is {steps}; a sampler needs at least one step.")
    if grid == "official":
        times = np.linspace(1, 1e-5, steps)
        dt = (1 - 1e-5) / steps
        after = np.maximum(times - dt, 0)
    else:
        after = np.arange(steps - 1, -1, -1) / steps
        times = np.append(1.0, after[:-1])
    plan = []
    for t, t_next in zip(times, after, strict=True):
        sigma = float(schedule.total(t))
        sigma_next = float(schedule.total(t_next)) if t_next > 0 else 0.0
        distance = min(sigma - sigma_next, _LONGEST)
        h = dt * float(schedule.rate(t)) if grid == "official" else math.expm1(distance)
        plan.append(Step(sigma, sigma_next, h))
    return plan


def sample_probabilities(
    log_score_fn: LogScore,
    p_init: Array,
    *,
    process: Process,
    schedule: Schedule,
    steps: int,
    solver: str = "euler",
    label_rule: str = "argmin",
    grid: str = "tiled",
    rng: np.random.Generator | None = None,
    return_path: bool = False,
) -> Array:
    """Carry class probabilities from noise to the posterior (DiDiCM-CP).

    Parameters
    ----------
    log_score_fn : callable
        Maps labels (n,) and total noise (n,) to log scores (n, k).
    p_init : array (n, k)
        Laws at t = 1, rows summing to one; uniform unless the schedule ends early.
    process, schedule : Process, Schedule
        The noise that the network was trained on.
    steps : int
        Number of reverse steps >= 1; each costs one call for the whole batch.
    solver : {"euler", "bridge"}
        Equation (7), or the exact Bayes bridge (9).
    label_rule : {"argmin", "argmax", "draw"}
        Which label a step conditions on: the least or most likely one, or one drawn from p.
    grid : {"tiled", "official"}
        See `time_steps`.
    rng : numpy.random.Generator, optional
        Needed by "draw"; with the other rules it breaks ties at random, which otherwise go to the
        first class. Every row is given the same noise, so that rows do not affect each other.
    return_path : bool, default=False
        Also return the laws before and after every step.

    Returns
    -------
    array (n, k), or (n, steps + 1, k) if `return_path`
        Estimates of P(class | image).

    Examples
    --------
    >>> import numpy as np
    >>> from skdidicm.core import LogLinear, UniformProcess
    >>> process, schedule, q_0 = UniformProcess(2), LogLinear(), np.array([[0.9, 0.1]])
    >>> def exact(label, sigma):
    ...     return np.log(process.ratio(process.diffuse(q_0, sigma), label))
    >>> p_init = np.full((1, 2), 0.5)
    >>> sample_probabilities(exact, p_init, process=process, schedule=schedule, steps=4).round(2)
    array([[0.9, 0.1]])
    """
    _check_choice("solver", solver, SOLVERS)
    _check_choice("label_rule", label_rule, LABEL_RULES)
    if label_rule == "draw" and rng is None:
        raise ValueError("label_rule='draw' draws labels; pass a numpy.random.Generator as rng.")
    xp = namespace(p_init)
    order = None if rng is None else _class_order(rng, p_init)
    p, path = p_init, [p_init]
    for step in time_steps(schedule, steps, grid):
        label = _choose_label(p, label_rule, order, rng)
        q = _law(log_score_fn, label, step.sigma, p.dtype)
        p = _advance(process, solver, p, q, step)
        if solver == "euler":  # a step too long leads out of [0, 1]; the bridge's is positive
            p = xp.clip(p, max=1.0)
        p = normalize(p)
        path.append(p)
    return xp.stack(path, axis=1) if return_path else p


def sample_labels(
    log_score_fn: LogScore,
    n: int,
    *,
    process: Process,
    schedule: Schedule,
    steps: int,
    n_chains: int,
    solver: str = "euler",
    uniforms: Array | np.random.Generator | None = None,
    p_init: Array | None = None,
    grid: str = "tiled",
    return_path: bool = False,
) -> Array:
    """Run independent chains of labels and return their shares (DiDiCM-CL).

    Parameters
    ----------
    log_score_fn : callable
        Maps labels (n c,) and total noise (n c,) to log scores (n c, k), for any number c of
        chains: the c chains of a row lie next to each other.
    n : int
        Number of rows >= 0.
    process, schedule, steps, solver, grid
        As for `sample_probabilities`.
    n_chains : int
        Chains per row, >= 1. They advance together, cut into parts only to bound memory.
    uniforms : array (steps + 1, n_chains) or (steps + 1, n, n_chains), or Generator, optional
        Numbers in [0, 1): those of the first entry draw the labels at t = 1, the others one step
        each. The shorter shape gives every row the same noise. A generator draws that shape.
        The array's library and device are those of the result; default `default_rng(0)`.
    p_init : array (k,), optional
        Law that the labels at t = 1 are drawn from; default `process.limit()`.
    return_path : bool, default=False
        Also return the shares before and after every step.

    Returns
    -------
    array (n, k), or (n, steps + 1, k) if `return_path`
        Share of the chains that ended in each class.
    """
    _check_choice("solver", solver, SOLVERS)
    if n_chains < 1:
        raise ValueError(f"n_chains is {n_chains}; the label sampler needs at least one chain.")
    numbers = _uniforms(uniforms, n, steps, n_chains)
    xp = namespace(numbers)
    plan = time_steps(schedule, steps, grid)
    width = max(1, _CHUNK // max(1, n * process.n_classes))
    law = like(process.limit() if p_init is None else p_init, numbers)
    total: Array = 0
    for start in range(0, n_chains, width):
        part = numbers[:, :, start : min(start + width, n_chains)]
        total = total + _run_chains(log_score_fn, part, law, process, plan, solver)
    shares = total / n_chains
    return xp.permute_dims(shares, (1, 0, 2)) if return_path else shares[-1, :, :]


def _run_chains(
    log_score_fn: LogScore,
    uniforms: Array,
    law: Array,
    process: Process,
    plan: list[Step],
    solver: str,
) -> Array:
    """Return how many chains of each row are in each class before and after every step."""
    xp = namespace(uniforms)
    shape = uniforms.shape[1:]
    label = draw(law[None, :], xp.reshape(uniforms[0, :, :], (-1,)))

    def count(label: Array) -> Array:
        own = one_hot(label, process.n_classes, uniforms.dtype)
        return xp.sum(xp.reshape(own, (*shape, process.n_classes)), axis=1)

    counts = [count(label)]
    for i, step in enumerate(plan):
        q = _law(log_score_fn, label, step.sigma, uniforms.dtype)
        p = one_hot(label, process.n_classes, uniforms.dtype)
        weights = _advance(process, solver, p, q, step)
        label = draw(weights, xp.reshape(uniforms[i + 1, :, :], (-1,)))
        counts.append(count(label))
    return xp.stack(counts)


def _advance(process: Process, solver: str, p: Array, q: Array, step: Step) -> Array:
    if solver == "bridge":
        return process.bridge_step(p, q, step.sigma, step.sigma_next)
    return process.euler_step(p, q, step.h)


def _law(log_score_fn: LogScore, label: Array, sigma: float, dtype: object) -> Array:
    """Return q_t as the network sees it: (3) says that it is the softmax of the log scores."""
    xp = namespace(label)
    # A broadcast scalar tells a network by its strides that one embedding of sigma serves all rows.
    noise = xp.broadcast_to(xp.asarray(sigma, dtype=dtype, device=device_of(label)), label.shape)
    scores = xp.astype(log_score_fn(label, noise), dtype, copy=False)
    # A floor keeps p / q finite where the network rules a class out altogether.
    return xp.clip(softmax(scores), min=float(xp.finfo(dtype).smallest_normal) ** 0.5)


def _class_order(rng: np.random.Generator, p: Array) -> Array:
    xp = namespace(p)
    return xp.asarray(rng.permutation(p.shape[1]), dtype=index_dtype(xp), device=device_of(p))


def _choose_label(
    p: Array, rule: str, order: Array | None, rng: np.random.Generator | None
) -> Array:
    """Return the label (n,) that the next step conditions on."""
    xp = namespace(p)
    if rule == "draw" and rng is not None:
        return draw(p, rng.random())
    pick = xp.argmin if rule == "argmin" else xp.argmax
    if order is None:
        return pick(p, axis=1)
    return xp.take(order, pick(xp.take(p, order, axis=1), axis=1))


def _uniforms(uniforms: Array | None, n: int, steps: int, n_chains: int) -> Array:
    if uniforms is None or isinstance(uniforms, np.random.Generator):
        generator = np.random.default_rng(0) if uniforms is None else uniforms
        uniforms = generator.random((steps + 1, n_chains))
    if uniforms.shape == (steps + 1, n_chains):
        uniforms = uniforms[:, None, :]
    if uniforms.shape not in {(steps + 1, 1, n_chains), (steps + 1, n, n_chains)}:
        raise ValueError(
            f"uniforms has shape {tuple(uniforms.shape)}; expected {(steps + 1, n_chains)} or "
            f"{(steps + 1, n, n_chains)}: one number per chain for the start and for every step."
        )
    return namespace(uniforms).broadcast_to(uniforms, (steps + 1, n, n_chains))


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {choices}.")
