"""How long to train: a trial on part of the rows, in rounds of doubling length."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from skdidicm.backend import ScoreNetwork
from skdidicm.training import HistoryRow, NonFiniteLossError, Rows, TrainingPlan, epochs

HELD_OUT = 0.2
_SHARES = (0.25, 0.5, 1.0)  # of all epochs, trained when a round ends


def round_ends(max_epochs: int) -> list[int]:
    """Return the epochs after which the rounds of a trial end.

    Examples
    --------
    >>> round_ends(75), round_ends(3)
    ([19, 38, 75], [1, 2, 3])
    """
    return sorted({math.ceil(share * max_epochs) for share in _SHARES})


def run_trial(
    network: ScoreNetwork,
    rows: Rows,
    plan: TrainingPlan,
    rng: np.random.Generator,
    validate: Callable[[], HistoryRow],
) -> list[HistoryRow]:
    """Train a network in rounds until its validation NLL rises; return a row for every round.

    Each round has a learning-rate curve of its own, so that it ends as a training of that length
    would: networks whose rate has not fallen tell little of those whose rate has.

    Parameters
    ----------
    network : ScoreNetwork
        A fresh network, trained in place.
    rows : Rows
        What it learns from: the training rows but for those that `validate` looks at.
    plan : TrainingPlan
        The plan of the whole training; its `max_epochs` bound those of the trial.
    rng : numpy.random.Generator
        The source of all randomness.
    validate : callable
        Returns `val_nll` and `val_accuracy` of the network as it is.

    Returns
    -------
    list of dict
        epochs trained so far, val_accuracy and val_nll, for each round.
    """
    found: list[HistoryRow] = []
    trained, best = 0, math.inf
    for end in round_ends(plan.max_epochs):
        try:
            for _ in epochs(network, rows, replace(plan, max_epochs=end - trained), rng):
                pass
        except NonFiniteLossError:  # longer is no option; the fit itself will tell if none is
            break
        found.append({"epochs": end, **validate()})
        if found[-1]["val_nll"] > best:
            break
        trained, best = end, found[-1]["val_nll"]
    return found


def best_epochs(trial: list[HistoryRow], max_epochs: int) -> int:
    """Return after how many epochs a trial was best, or `max_epochs` if it has no round.

    Examples
    --------
    >>> best_epochs([{"epochs": 5, "val_nll": 0.7}, {"epochs": 10, "val_nll": 0.9}], 40)
    5
    """
    best = min(trial, key=lambda row: row["val_nll"], default={"epochs": max_epochs})
    return int(best["epochs"])
