"""Training: noise for one mini-batch, the learning-rate curve, and the one epoch loop."""

import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from skdidicm.backend import Batch, HoldsTrunk, JointTraining, ScoreNetwork
from skdidicm.core import Channel, Process, Schedule, noise_levels
from skdidicm.core.arrays import draw
from skdidicm.fit.augmentation import Augmentation, mix
from skdidicm.metrics import negative_log_likelihood
from skdidicm.predict.prediction import in_chunks

FloatArray = NDArray[np.floating]
HistoryRow = dict[str, float]
State = dict[str, NDArray[Any]]

_ENOUGH_LEVELS = 8  # draws per row from which on all rows of a batch may have the same levels
_WARM_UP = 0.05  # share of the updates over which the learning rate rises
_PLATEAU = 0.5  # share of the updates after which it falls, where weights are averaged
_ETA = 2  # of the average: 0 counts all epochs alike, more the late ones


class NonFiniteLossError(FloatingPointError):
    """The loss became NaN or infinite; the network has the last weights before that."""


@dataclass(frozen=True)
class Rows:
    """Training rows: inputs (n, *input_shape), class probabilities (n, k), weights (n,) > 0."""

    x: NDArray[Any]
    target: FloatArray
    weight: FloatArray

    def take(self, index: NDArray[np.integer]) -> "Rows":
        """Return some of the rows."""
        return Rows(self.x[index], self.target[index], self.weight[index])


@dataclass(frozen=True)
class Learner:
    """A network, its training rows, and the generator of their order and noise."""

    network: ScoreNetwork
    rows: Rows
    rng: np.random.Generator


@dataclass(frozen=True)
class TrainingPlan:
    """Settings of a training, with every "auto" replaced.

    `n_draws` noisy labels are drawn per row and update, at noise levels that follow from `times`
    (:func:`skdidicm.core.noise_levels`); with `enumerate_labels` every one of the K
    labels is taken at `n_draws` noise levels, weighted by its probability. With a `mixup` > 0
    rows are blended in pairs (`mix`). The learning rate rises and falls (`learning_rate_at`)
    over `curve_epochs`, or `max_epochs`, unless it is constant. With `average` it stays at its
    peak for the first half, and after every epoch the network has an average of its weights;
    with `last_weights` too, it has the weights themselves after the last epoch.
    `head` is the plan of a training before, in which the head of a network learns alone.
    """

    process: Process
    schedule: Schedule
    objective: str
    max_epochs: int
    batch_size: int
    learning_rate: float
    n_draws: int
    times: str = "uniform"
    enumerate_labels: bool = False
    augment: Augmentation | None = None
    mixup: float = 0.0
    constant_rate: bool = False
    average: bool = False
    last_weights: bool = False
    curve_epochs: int | None = None
    head: "TrainingPlan | None" = None

    def rate_at(self, update: int, n_batches: int) -> float:
        """Return the learning rate of an update, of which an epoch has `n_batches`."""
        if self.constant_rate:
            return self.learning_rate
        n_updates = (self.curve_epochs or self.max_epochs) * n_batches
        plateau = _PLATEAU if self.average else 0.0
        return learning_rate_at(update, n_updates, self.learning_rate, plateau)

    def ended_after(self, n_epochs: int) -> "TrainingPlan":
        """Return the plan of a shorter training, with `average` on the same curve of the rate."""
        curve = self.max_epochs if self.average else None
        return replace(self, max_epochs=n_epochs, curve_epochs=curve)


def draw_levels(rng: np.random.Generator, n: int, m: int) -> FloatArray:
    """Return uniform numbers (n, m) in [0, 1], stratified over the m draws and over the n rows."""
    cells = rng.permuted(np.tile(np.arange(n), (m, 1)), axis=1).T
    within = (cells + rng.random((n, m))) / n
    levels: FloatArray = (np.arange(m) + within) / m
    return levels


def corrupt(rows: Rows, plan: TrainingPlan, rng: np.random.Generator, *, shared: bool) -> Batch:
    """Return the mini-batch that noise makes of some rows.

    Parameters
    ----------
    rows : Rows
        The rows, n of them; `Batch.weight` is `rows.weight` / n, times the weight of the noise
        level, over the number of draws.
    plan : TrainingPlan
        Process, schedule and number of draws.
    rng : numpy.random.Generator
        The only source of randomness.
    shared : bool
        Whether all rows are given the same noise, so that the batch depends neither on the order
        nor on the number of the rows. Enumerated labels are always shared.
    """
    rows = _augmented(rows, plan, rng)
    n, k = rows.target.shape
    m = plan.n_draws
    same_levels = shared or plan.enumerate_labels or m >= _ENOUGH_LEVELS
    u = draw_levels(rng, 1 if same_levels else n, m)
    sigma, of_level = noise_levels(u, plan.schedule, k, times=plan.times, objective=plan.objective)
    weight = rows.weight[:, None] / (n * m) * of_level
    q_0 = np.broadcast_to(rows.target[:, None, :], (n, m, k))
    q_t = plan.process.diffuse(q_0, sigma)
    if plan.enumerate_labels:
        label = np.tile(np.arange(k), (1, m))
        sigma = np.repeat(sigma, k, axis=1)
        weight = (weight[..., None] * q_t).reshape(n, -1)
    else:
        label = draw(q_t, rng.random((1 if shared else n, m)))
    return Batch(rows.x, rows.target, label.astype(np.int32), sigma, weight)


def _augmented(rows: Rows, plan: TrainingPlan, rng: np.random.Generator) -> Rows:
    """Return the rows changed, and blended in pairs, as the plan says."""
    if plan.augment is not None:
        changed = plan.augment(rows.x, rng)
        if np.shape(changed)[:1] != (len(rows.x),):
            raise ValueError(
                f"augment returned {type(changed).__name__} of shape {np.shape(changed)}; expected "
                f"an array of {len(rows.x)} changed rows, one for each that it was given."
            )
        rows = replace(rows, x=changed)
    if plan.mixup > 0:
        rows = Rows(*mix(rows.x, rows.target, rows.weight, plan.mixup, rng))
    return rows


def learning_rate_at(update: int, n_updates: int, peak: float, plateau: float = 0.0) -> float:
    """Return the learning rate of an update: linear warm-up, then a cosine to zero.

    With a `plateau` the rate stays at its peak until that share of the updates.

    Examples
    --------
    >>> [round(learning_rate_at(i, 100, 1.0), 2) for i in (0, 4, 52, 99)]
    [0.2, 1.0, 0.51, 0.0]
    >>> [round(learning_rate_at(i, 100, 1.0, plateau=0.5), 2) for i in (0, 4, 50, 75, 99)]
    [0.2, 1.0, 1.0, 0.5, 0.0]
    """
    warm_up = max(1, round(_WARM_UP * n_updates))
    if update < warm_up:
        return peak * (update + 1) / warm_up
    falling = max(warm_up, math.ceil(plateau * n_updates))
    share = max(0, update - falling) / max(1, n_updates - falling)
    return peak * 0.5 * (1 + math.cos(math.pi * share))


def averaging_share(epoch: int) -> float:
    """Return the share by which the average moves towards the weights after an epoch, from 1."""
    return (1 + _ETA) / (epoch + _ETA)


def averaged(mean: State, weights: State, epoch: int) -> State:
    """Return the mean of the weights after each epoch; those after epoch e count as e (e + 1).

    Parameters
    ----------
    mean, weights : dict of arrays
        The mean up to the epoch before, and the weights after this one. What is not a floating
        number, such as a counter, is the latest.
    epoch : int
        Number of this epoch, from 1.

    Notes
    -----
    The polynomial-decay average of Shamir and Zhang (ICML 2013) with eta = 2. It needs no number of
    epochs in advance, since early weights lose their influence.

    Examples
    --------
    >>> first, second = {"bias": np.array([3.0])}, {"bias": np.array([7.0])}
    >>> averaged(averaged(first, first, 1), second, 2)
    {'bias': array([6.])}
    """
    share = averaging_share(epoch)
    return {
        name: mean[name] + (value - mean[name]) * value.dtype.type(share)
        if np.issubdtype(value.dtype, np.floating)
        else value
        for name, value in weights.items()
    }


def epochs(
    network: ScoreNetwork, rows: Rows, plan: TrainingPlan, rng: np.random.Generator
) -> Generator[HistoryRow, None, State]:
    """Train, and yield one row of history after every epoch; to stop, stop iterating.

    Ctrl-C leaves the weights of the last whole epoch.
    With `plan.average`, the network has the average of its weights whenever a row is yielded, and
    at the end, unless `plan.last_weights` asks for the last ones. These are returned in any case.

    Raises
    ------
    NonFiniteLossError
        When a loss or a weight is not finite; the weights are then the last that began an epoch
        and gave a finite loss.
    """
    n = len(rows.x)
    if plan.head is not None:
        _train_head(network, rows, plan.head, rng)
    sound = shown = current = network.state()
    for epoch in range(plan.max_epochs):
        start = time.perf_counter()
        if plan.average and epoch:
            network.load_state(current)
        losses = []
        try:
            for batch, rate in _updates(rows, plan, rng, epoch):
                losses.append((len(batch.x), network.train_step(batch, rate)))
        except KeyboardInterrupt:
            network.load_state(shown)
            raise
        total = sum(size * float(loss) for size, loss in losses) / n
        if math.isfinite(float(losses[0][1])):
            sound = shown
        current = network.state()
        if not (math.isfinite(total) and _all_finite(current)):
            network.load_state(sound)
            raise _not_finite(total, epoch)
        if plan.average:
            shown = averaged(shown, current, epoch + 1)
        if not plan.average or (plan.last_weights and epoch + 1 == plan.max_epochs):
            shown = current
        else:
            network.load_state(shown)
        yield _row(epoch, total, rate, start)
    return current


def last_weights(path: Generator[HistoryRow, None, State]) -> State:
    """Return the last weights of a training by `epochs` whose last row was yielded."""
    try:
        next(path)
    except StopIteration as end:
        weights: State = end.value
        return weights
    raise ValueError("the training has not come to its end.")


def _train_head(
    network: ScoreNetwork, rows: Rows, plan: TrainingPlan, rng: np.random.Generator
) -> None:
    """Train the head of a network on features that its backbone extracts of every row once."""
    if not isinstance(network, HoldsTrunk):
        raise ValueError(
            f"frozen_epochs is {plan.max_epochs}, but this backend cannot train a head alone; set "
            "frozen_epochs=0, or backend='torch'."
        )
    start = network.state()

    def extracted(part: NDArray[Any]) -> NDArray[np.float64]:
        return network.trunk_features(part).astype(np.float64)

    width = extracted(rows.x[:1]).shape[1]
    features = in_chunks(extracted, rows.x, (width,)).astype(np.float32)
    try:
        network.hold_trunk(features)
        for _ in epochs(network, replace(rows, x=features), plan, rng):
            pass
    except BaseException:
        network.load_state(start)
        raise
    finally:
        network.hold_trunk(None)


def joint_epochs(
    joint: JointTraining, learners: Sequence[Learner], plan: TrainingPlan
) -> Iterator[list[HistoryRow]]:
    """Train several networks at once, and yield a row of history for each after every epoch.

    Each is trained as in `epochs`; one with fewer updates per epoch waits for the others. The
    weights reach the networks by `joint.hand_over`, and `seconds` is the time of all together.

    Raises
    ------
    NonFiniteLossError
        When the loss of one of them is not finite.
    """
    for epoch in range(plan.max_epochs):
        start = time.perf_counter()
        paths = [_updates(learner.rows, plan, learner.rng, epoch) for learner in learners]
        steps = []
        for updates in zip_longest(*paths):
            batches = [update.batch if update else None for update in updates]
            rates = [update.learning_rate if update else 0.0 for update in updates]
            steps.append((updates, joint.train_step(batches, rates)))
        joint.average(averaging_share(epoch + 1) if plan.average else 1.0)
        rows: list[HistoryRow] = []
        read = [(updates, losses.tolist()) for updates, losses in steps]
        for i, learner in enumerate(learners):
            own = [(updates[i], losses[i]) for updates, losses in read if updates[i]]
            total = sum(len(u.batch.x) * loss for u, loss in own) / len(learner.rows.x)
            if not math.isfinite(total):
                raise _not_finite(total, epoch)
            rows.append(_row(epoch, total, own[-1][0].learning_rate, start))
        yield rows


class _Update(NamedTuple):
    """The mini-batch and the learning rate of an update."""

    batch: Batch
    learning_rate: float


def _updates(
    rows: Rows, plan: TrainingPlan, rng: np.random.Generator, epoch: int
) -> Iterator[_Update]:
    """Yield the updates of an epoch, counted from 0; every row occurs once."""
    n = len(rows.x)
    n_batches = math.ceil(n / plan.batch_size)
    order = np.arange(n) if n_batches == 1 else rng.permutation(n)
    for i, index in enumerate(np.array_split(order, n_batches)):
        batch = corrupt(rows.take(index), plan, rng, shared=n_batches == 1)
        yield _Update(batch, plan.rate_at(epoch * n_batches + i, n_batches))


def _row(epoch: int, loss: float, learning_rate: float, start: float) -> HistoryRow:
    return {
        "epoch": epoch + 1,
        "loss": loss,
        "learning_rate": float(learning_rate),
        "seconds": time.perf_counter() - start,
    }


def _not_finite(loss: float, epoch: int) -> NonFiniteLossError:
    what = "a weight became NaN" if math.isfinite(loss) else f"the loss became {loss}"
    return NonFiniteLossError(
        f"{what} in epoch {epoch + 1}; the last weights with a finite loss were put back. "
        "Try a smaller learning_rate, precision='float32', or scale the features so that "
        "none is extremely large."
    )


def validation_scores(
    p: NDArray[np.float64], rows: Rows, channel: Channel | None = None
) -> HistoryRow:
    """Return weighted accuracy and negative log-likelihood (nats) of probabilities (n, k).

    With label noise, `p` is about the true class, and is scored as what it says of the observed
    label.
    """
    share = rows.weight / rows.weight.sum()
    seen = p if channel is None else channel.observe(p)
    hit = seen.argmax(axis=1) == rows.target.argmax(axis=1)
    return {"val_accuracy": float(share @ hit), "val_nll": mean_nll(p, rows, channel)}


def mean_nll(p: NDArray[np.float64], rows: Rows, channel: Channel | None = None) -> float:
    """Return the weighted mean NLL (nats) of rows under probabilities (n, k) of the true class."""
    nll = negative_log_likelihood(rows.target, p if channel is None else channel.observe(p))
    return float((nll * (rows.weight / rows.weight.mean())).mean())


def _all_finite(state: State) -> bool:
    return all(np.isfinite(value).all() for value in state.values())
