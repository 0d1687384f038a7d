"""How long to train: a trial on parts of the rows, in rounds of doubling length."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skdidicm.backend import ScoreNetwork
from skdidicm.training import HistoryRow, NonFiniteLossError, Rows, TrainingPlan, epochs

_SHARES = (0.25, 0.5, 1.0)  # of all epochs, trained when a round ends
_PARTS = 5  # equal parts of the rows, of which a fold holds one out
_MIN_HELD = 200  # rows that the folds together hold out where there are as many


@dataclass(frozen=True)
class Fold:
    """One network of a trial: what it learns from, and how well it does elsewhere.

    `losses` returns the NLL (n_held,) of each held-out row, times its weight over the mean weight,
    for the network as it is.
    """

    network: ScoreNetwork
    rows: Rows
    rng: np.random.Generator
    losses: Callable[[], NDArray[np.floating]]


def round_ends(max_epochs: int) -> list[int]:
    """Return the epochs after which the rounds of a trial end.

    Examples
    --------
    >>> round_ends(75), round_ends(3)
    ([19, 38, 75], [1, 2, 3])
    """
    return sorted({math.ceil(share * max_epochs) for share in _SHARES})


def split(labels: NDArray[np.integer], seed: int) -> list[tuple[NDArray[np.intp], ...]]:
    """Return the rows to learn from and those held out, for each fold of a trial.

    A fold holds out a fifth, of every class alike. There are as many folds as hold out 200 rows
    together, but at most four.

    Examples
    --------
    >>> [len(split(np.zeros(n, int), seed=0)) for n in (100, 500, 5000)]
    [4, 2, 1]
    """
    n = len(labels)
    order = np.lexsort((np.random.default_rng(seed).random(n), labels))
    part = np.empty(n, dtype=np.intp)
    part[order] = np.arange(n) % _PARTS
    n_folds = min(_PARTS - 1, math.ceil(_MIN_HELD * _PARTS / n))
    return [(np.flatnonzero(part != i), np.flatnonzero(part == i)) for i in range(n_folds)]


def run_trial(folds: Sequence[Fold], plan: TrainingPlan) -> tuple[int, list[HistoryRow]]:
    """Train the folds' networks in rounds while that helps; return the best number of epochs.

    Each round has a learning-rate curve of its own, so that it ends as a training of that length
    would: networks whose rate has not fallen tell little of those whose rate has. A round has
    helped if the mean NLL of the held-out rows has fallen by more than its standard error (paired
    by row), since too long a training costs more than too short a one.

    Parameters
    ----------
    folds : sequence of Fold
        Fresh networks, trained in place.
    plan : TrainingPlan
        The plan of the whole training; its `max_epochs` bound those of the trial.

    Returns
    -------
    int, list of dict
        The number of epochs, and `epochs` trained so far and `val_nll` for each round.
    """
    found: list[HistoryRow] = []
    best, best_losses = plan.max_epochs, None
    trained = 0
    for end in round_ends(plan.max_epochs):
        try:
            for fold in folds:
                _train(fold, replace(plan, max_epochs=end - trained))
        except NonFiniteLossError:  # longer is no option; the fit itself will tell if none is
            break
        losses = np.concatenate([fold.losses() for fold in folds])
        found.append({"epochs": end, "val_nll": float(losses.mean())})
        if best_losses is not None and not _clearly_less(losses, best_losses):
            break
        best = trained = end
        best_losses = losses
    return best, found


def _train(fold: Fold, plan: TrainingPlan) -> None:
    for _ in epochs(fold.network, fold.rows, plan, fold.rng):
        pass


def _clearly_less(losses: NDArray[np.floating], than: NDArray[np.floating]) -> bool:
    gain = than - losses
    return bool(gain.mean() > gain.std() / math.sqrt(len(gain)))
