"""The trial: number of epochs and temperature, chosen on held-out folds of the rows."""

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from skdidicm.backend import JointTraining, LearnsJointly
from skdidicm.core import Channel
from skdidicm.fit.state import HeldOut
from skdidicm.fit.training import (
    HistoryRow,
    Learner,
    NonFiniteLossError,
    Rows,
    TrainingPlan,
    epochs,
    joint_epochs,
    last_weights,
    mean_nll,
)
from skdidicm.predict.temperature import best_slope, best_temperature, tempered

_SHARES = (0.25, 0.5, 1.0)  # of all epochs, trained when a round ends
_AVERAGED = (0.125, 0.25, 0.375, 0.5, 0.75, 1.0)  # the same for averaged weights
_PARTS = 5  # equal parts of the rows, of which a fold holds one out
_MIN_HELD = 400  # rows that the folds together hold out where there are as many
_LOG_SCALE = 0.2  # temperatures of 0.8 to 1.2 are usual; 200 rows determine them to about a tenth
_LOG_SCALE_OF_NOISE = 0.5  # networks that learn through wrong labels are often too unsure: 0.5 to 1


@dataclass(frozen=True)
class Fold(Learner):
    """One network of a trial, with its training rows and its held-out rows.

    `predict` returns the probabilities (n_held, k) of the held-out rows with the current weights,
    without temperature.
    """

    held: Rows
    predict: Callable[[], NDArray[np.float64]]


class Verdict(NamedTuple):
    """The result of a trial.

    Attributes
    ----------
    epochs : int
        Number of epochs to train for.
    temperature : float
        The temperature of the best round.
    rounds : list of dict
        A row for each round.
    proba : list of ndarray (n_held, k)
        Probabilities of every fold's held-out rows after the best round, without temperature;
        empty if no round was finished.
    whole : list of dict or None
        The history of the network of all rows, if it was trained for these epochs too.
    last_weights : bool
        Whether the last weights are better than their average, where that was to be found out.
    interrupted : bool
        Whether Ctrl-C ended it.
    """

    epochs: int
    temperature: float
    rounds: list[HistoryRow]
    proba: list[NDArray[np.float64]]
    whole: list[HistoryRow] | None
    last_weights: bool = False
    interrupted: bool = False


def round_ends(max_epochs: int, *, average: bool = False) -> list[int]:
    """Return the epochs after which the rounds of a trial end.

    Examples
    --------
    >>> round_ends(75), round_ends(3)
    ([19, 38, 75], [1, 2, 3])
    >>> round_ends(75, average=True)
    [10, 19, 29, 38, 57, 75]
    """
    return sorted({math.ceil(s * max_epochs) for s in (_AVERAGED if average else _SHARES)})


def split(
    labels: NDArray[np.integer], seed: int, *, every_part: bool = False
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Return the indices of training and held-out rows for each fold of a trial.

    A fold holds out a fifth of the rows, stratified by class. There are as many folds as are needed
    to hold out 400 rows, but five instead of four or with `every_part`, so that every row is held
    out once. Raises ValueError for fewer rows than five.

    Examples
    --------
    >>> [len(split(np.zeros(n, int), seed=0)) for n in (100, 666, 667, 1000, 5000)]
    [5, 5, 3, 2, 1]
    """
    n = len(labels)
    if n < _PARTS:
        raise ValueError(
            f"a trial holds out fifths of the rows, but X has {n}; pass more rows, or set "
            "choose_epochs='auto'."
        )
    order = np.lexsort((np.random.default_rng(seed).random(n), labels))
    part = np.empty(n, dtype=np.intp)
    part[order] = np.arange(n) % _PARTS
    n_folds = math.ceil(_MIN_HELD * _PARTS / n)
    if every_part or n_folds >= _PARTS - 1:
        n_folds = _PARTS
    return [(np.flatnonzero(part != i), np.flatnonzero(part == i)) for i in range(n_folds)]


def run_trial(
    folds: Sequence[Fold],
    plan: TrainingPlan,
    *,
    whole: Learner | None = None,
    temperature: float | None = None,
    channel: Channel | None = None,
    choose_average: bool = False,
    on_epoch: Callable[[HistoryRow, int], object] = lambda *_: None,
    keep_on_interrupt: bool = False,
) -> Verdict:
    """Train the folds' networks in rounds until a round does not improve them.

    A round is an improvement if the mean NLL of the held-out rows, at their best temperature, has
    fallen. With averaged weights, all rounds share one learning-rate schedule, that of the whole
    training. Without averaging, each round has its own: before the learning rate has decayed, a
    network says little about one after the decay.

    Parameters
    ----------
    folds : sequence of Fold
        Untrained networks, trained in place; afterwards they have the weights of the best round.
    plan : TrainingPlan
        The plan of the whole training; its `max_epochs` bound those of the trial.
    whole : Learner, optional
        The network of all rows. With averaged weights it is trained with the others if the backend
        supports that; afterwards it and its generator have the state of the best round.
    temperature : float, optional
        Temperature at which rounds are compared; by default the best one of each round.
    channel : Channel, optional
        Label noise through which held-out rows are scored.
    choose_average : bool
        Whether to look, after the last round, at the last weights and not only at the average.
    on_epoch : callable
        Called with a row of history, whose `epoch` is the mean over the networks, and their number.
    keep_on_interrupt : bool
        Whether Ctrl-C ends the trial like a round that does not help, as soon as there is a trained
        network of all rows.

    Returns
    -------
    Verdict
        Its rounds have the `epochs` trained so far, the `temperature`, and `val_nll` at it.
    """
    rounds: list[HistoryRow] = []
    best, lowest = Verdict(plan.max_epochs, temperature or 1.0, rounds, [], None), math.inf
    trained = 0
    held = _joined([fold.held for fold in folds])
    states = [fold.network.state() for fold in folds]
    course = _course(folds, whole if plan.average else None)
    ends = round_ends(plan.max_epochs, average=plan.average)
    if plan.head is not None:  # what starts from a trained head gets worse before it gets better
        ends = [plan.max_epochs]
    for end in ends:
        if not plan.average:  # each round has its own learning-rate schedule
            part = plan.ended_after(end - trained)
            course.begin(replace(part, head=None) if trained else part)
        elif not trained:
            course.begin(plan)
        try:
            for row, done in course.advance(end - trained):
                on_epoch({**row, "epoch": trained + done}, course.n_networks)
            course.hand_over()
        except NonFiniteLossError:  # no longer training; if even the shortest fails, the fit raises
            break
        except KeyboardInterrupt:
            if not keep_on_interrupt:
                raise
            if best.whole is None:
                history = course.whole()
                if not history:
                    raise
                best = best._replace(epochs=len(history), whole=history)
            warn_of_interruption(best.epochs)
            best = best._replace(interrupted=True)
            break
        found: list[HistoryRow] = []
        both = choose_average and end == plan.max_epochs
        for last in (False, True) if both else (False,):
            if last:
                course.use_last_weights()
            parts = [fold.predict() for fold in folds]
            row = _scored(np.concatenate(parts), held, temperature, channel)
            found.append({"epochs": end, **row})
            if row["val_nll"] < lowest:
                trained, lowest = end, row["val_nll"]
                best = Verdict(end, row["temperature"], rounds, parts, course.whole(), last)
                states = [fold.network.state() for fold in folds]
        rounds.append(min(found, key=lambda row: row["val_nll"]))
        if trained != end:
            break
    for fold, state in zip(folds, states, strict=True):
        fold.network.load_state(state)
    return best


def _scored(
    proba: NDArray[np.float64], held: Rows, temperature: float | None, channel: Channel | None
) -> HistoryRow:
    """Return the temperature of held-out rows, the given or the best one, and their NLL at it."""
    if temperature is None:
        temperature = choose_temperature(proba, held, channel)
    nll = mean_nll(tempered(proba, temperature), held, channel)
    return {"temperature": temperature, "val_nll": nll}


def warn_of_interruption(n_epochs: int) -> None:
    """Warn that a fit was interrupted and keeps what it has learnt."""
    warnings.warn(
        f"fit was interrupted; the classifier keeps what it has learnt in {n_epochs} epochs.",
        UserWarning,
        stacklevel=2,
    )


def choose_temperature(
    proba: NDArray[np.float64],
    held: Rows | HeldOut,
    channel: Channel | None = None,
    *,
    expected: float = 1.0,
) -> float:
    """Return the best temperature of held-out rows, close to the expected one if they are few."""
    prior = {"log_scale": _log_scale(channel), "expected": expected}
    best, _ = best_temperature(proba, held.target, held.weight, channel=channel, **prior)
    return best


def choose_slope(
    proba: NDArray[np.float64], held: Rows | HeldOut, channel: Channel | None = None
) -> tuple[float, float]:
    """Return the best temperature of held-out rows with many classes, and its slope."""
    scale = _log_scale(channel)
    return best_slope(proba, held.target, held.weight, log_scale=scale, channel=channel)


def _log_scale(channel: Channel | None) -> float:
    return _LOG_SCALE if channel is None else _LOG_SCALE_OF_NOISE


class _Course(Protocol):
    """How the networks of a trial are trained: one after another, or jointly."""

    n_networks: int

    def begin(self, plan: TrainingPlan) -> None:
        """Start a learning-rate schedule."""
        ...

    def advance(self, n_epochs: int) -> Iterator[tuple[HistoryRow, float]]:
        """Train all networks for `n_epochs`; yield rows of history and the mean epochs done."""
        ...

    def hand_over(self) -> None:
        """Give the networks of the folds their trained weights."""
        ...

    def use_last_weights(self) -> None:
        """Give the networks their last weights after the whole plan, instead of the average."""
        ...

    def whole(self) -> list[HistoryRow] | None:
        """Give the network of all rows its weights and return its history, if it is trained."""
        ...


class _OneByOne:
    """Trains the networks of the folds one after another."""

    def __init__(self, folds: Sequence[Fold]) -> None:
        self._folds, self.n_networks = folds, len(folds)

    def begin(self, plan: TrainingPlan) -> None:
        self._paths = [epochs(fold.network, fold.rows, plan, fold.rng) for fold in self._folds]

    def advance(self, n_epochs: int) -> Iterator[tuple[HistoryRow, float]]:
        for i, path in enumerate(self._paths):
            for done, row in enumerate(islice(path, n_epochs), start=1):
                yield row, (i * n_epochs + done) / len(self._paths)

    def hand_over(self) -> None:
        pass  # they have them already

    def use_last_weights(self) -> None:
        for fold, path in zip(self._folds, self._paths, strict=True):
            fold.network.load_state(last_weights(path))

    def whole(self) -> list[HistoryRow] | None:
        return None


class _Jointly:
    """Trains the networks together, with the network of all rows if given."""

    def __init__(self, joint: JointTraining, folds: Sequence[Fold], whole: Learner | None) -> None:
        self._joint, self._n_folds, self._whole = joint, len(folds), whole
        self._learners: list[Learner] = [*folds]
        if whole is not None:  # its own generator must not run ahead of the best round
            self._learners.append(replace(whole, rng=deepcopy(whole.rng)))
        self.n_networks = len(self._learners)
        self._history: list[HistoryRow] = []

    def begin(self, plan: TrainingPlan) -> None:
        self._path = joint_epochs(self._joint, self._learners, plan)

    def advance(self, n_epochs: int) -> Iterator[tuple[HistoryRow, float]]:
        for done, rows in enumerate(islice(self._path, n_epochs), start=1):
            self._history.append(rows[-1])
            yield rows[-1], done

    def hand_over(self) -> None:
        for i in range(self._n_folds):
            self._joint.hand_over(i)

    def use_last_weights(self) -> None:
        self._joint.average(1.0)
        self.hand_over()

    def whole(self) -> list[HistoryRow] | None:
        if self._whole is None:
            return None
        self._joint.hand_over(self._n_folds)
        self._whole.rng.bit_generator.state = self._learners[-1].rng.bit_generator.state
        return list(self._history)


def _course(folds: Sequence[Fold], whole: Learner | None) -> _Course:
    """Return how to train: jointly if the backend can."""
    together = [fold.network for fold in folds] + ([whole.network] if whole else [])
    first = together[0]
    joint = first.join(together[1:]) if isinstance(first, LearnsJointly) else None
    return _OneByOne(folds) if joint is None else _Jointly(joint, folds, whole)


def _joined(parts: Sequence[Rows]) -> Rows:
    return Rows(
        np.concatenate([rows.x for rows in parts]),
        np.concatenate([rows.target for rows in parts]),
        np.concatenate([rows.weight for rows in parts]),
    )
