"""The two samplers: class probabilities (DiDiCM-CP) and class labels (DiDiCM-CL).

Both run the reverse process from noise to the posterior with one network call per step. They only
call `log_score_fn(label, sigma)`, so they work with any array library and any model.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from array_api_compat import device as device_of

from skdidicm.core.arrays import (
    Array,
    at_least,
    at_most,
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

_CHUNK = 2**24  # entries of the largest array in one call of the label sampler
_LONGEST = 32.0  # longer noise distances leave nothing of a law, and their exp overflows in float32

LogScore = Callable[[Array, Array], Array]
"""Maps labels (n,) and total noise (n,) to log scores (n, k)."""


class Step(NamedTuple):
    """One reverse step: noise before and after, and the Euler step length."""

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
    sigma = np.asarray(schedule.total(times), dtype=np.float64)
    sigma_next = np.where(after > 0, schedule.total(np.where(after > 0, after, 1.0)), 0.0)
    if grid == "official":
        h = dt * np.asarray(schedule.rate(times), dtype=np.float64)
    else:
        h = np.expm1(np.minimum(sigma - sigma_next, _LONGEST))
    return [Step(*row) for row in np.stack([sigma, sigma_next, h], axis=1).tolist()]


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
    """Return class probabilities by diffusing them from noise to the posterior (DiDiCM-CP).

    Parameters
    ----------
    log_score_fn : callable
        Maps labels (n,) and total noise (n,) to log scores (n, k).
    p_init : array (n, k)
        Laws at t = 1, rows summing to one; uniform unless the schedule ends early.
    process, schedule : Process, Schedule
        The noise that the network was trained on.
    steps : int
        Number of reverse steps >= 1; each calls the network once for the whole batch.
    solver : {"euler", "bridge"}
        Equation (7), or the exact Bayes bridge (9).
    label_rule : {"argmin", "argmax", "draw"}
        The label that a step conditions on: the least or most likely one, or one drawn from p.
    grid : {"tiled", "official"}
        See `time_steps`.
    rng : numpy.random.Generator, optional
        Required by "draw". The other rules use it to break ties at random; without it, the first
        class wins. All rows get the same noise, so that they do not affect each other.
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
        if solver == "euler":  # a long Euler step can leave [0, 1]
            p = at_most(p, 1.0)
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
        chains. The c chains of a row are adjacent.
    n : int
        Number of rows >= 0.
    process, schedule, steps, solver, grid
        As for `sample_probabilities`.
    n_chains : int
        Chains per row, >= 1. They run together, in parts only where memory requires it.
    uniforms : array (steps + 1, n_chains) or (steps + 1, n, n_chains), or Generator, optional
        Numbers in [0, 1): the first entry draws the labels at t = 1, each other entry one step.
        The shorter shape gives all rows the same noise; a generator draws that shape. The result
        has the library and device of this array. Default `default_rng(0)`.
    p_init : array (k,), optional
        Law of the labels at t = 1; default `process.limit()`.
    return_path : bool, default=False
        Also return the shares before and after every step.

    Returns
    -------
    array (n, k), or (n, steps + 1, k) if `return_path`
        Share of the chains that end in each class.
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
    """Return the estimate of q_t, which by (3) is the softmax of the log scores."""
    xp = namespace(label)
    # The strides of a broadcast scalar tell a network to embed sigma once for all rows.
    noise = xp.broadcast_to(xp.asarray(sigma, dtype=dtype, device=device_of(label)), label.shape)
    scores = xp.astype(log_score_fn(label, noise), dtype, copy=False)
    # A floor keeps p / q finite where the network excludes a class.
    return at_least(softmax(scores), float(xp.finfo(dtype).smallest_normal) ** 0.5)


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
