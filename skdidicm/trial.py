"""How long to train: a trial on part of the rows, in rounds of doubling length."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

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
    validate: Callable[[], NDArray[np.floating]],
) -> tuple[int, list[HistoryRow]]:
    """Train a network in rounds while that helps; return the best number of epochs.

    Each round has a learning-rate curve of its own, so that it ends as a training of that length
    would: networks whose rate has not fallen tell little of those whose rate has. A round has
    helped if the mean NLL of the held-out rows has fallen by more than its standard error (paired
    by row), since too long a training costs more than too short a one.

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
        Returns the NLL (n_held,) of each held-out row, times its weight over the mean weight, for
        the network as it is.

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
            for _ in epochs(network, rows, replace(plan, max_epochs=end - trained), rng):
                pass
        except NonFiniteLossError:  # longer is no option; the fit itself will tell if none is
            break
        losses = validate()
        found.append({"epochs": end, "val_nll": float(losses.mean())})
        if best_losses is not None and not _clearly_less(losses, best_losses):
            break
        best = trained = end
        best_losses = losses
    return best, found


def _clearly_less(losses: NDArray[np.floating], than: NDArray[np.floating]) -> bool:
    gain = than - losses
    return bool(gain.mean() > gain.std() / math.sqrt(len(gain)))
