"""What held-out rows say of models that answer beside the networks."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy.optimize
from numpy.typing import NDArray

from skdidicm.core import Channel
from skdidicm.fit.state import HeldOut
from skdidicm.fit.training import Rows
from skdidicm.metrics import negative_log_likelihood
from skdidicm.predict.beside import mixed

Model = Callable[[NDArray[Any]], NDArray[np.float64]]
"""Class probabilities (n, k) of rows (n, d)."""

_ROWS = 1.0  # held-out rows that speak for each side in advance, against shares of 0 and 1


def out_of_fold(
    rows: Rows, held: HeldOut, learn: Callable[[Rows], Sequence[Model]]
) -> NDArray[np.float64]:
    """Return the answers (models, m, k) to held-out rows by models that have not seen them.

    Parameters
    ----------
    rows : Rows
        All training rows, of a table.
    held : HeldOut
        The m held-out rows; `row` is the place among `rows`.
    learn : callable
        Returns the models, always as many, that learn from some of the rows.
    """
    answers: list[NDArray[np.float64]] = []
    for fold in np.unique(held.fold):
        own = held.fold == fold
        seen = np.setdiff1d(np.arange(len(rows.x)), held.row[own])
        models = learn(rows.take(seen))
        if not answers:
            answers = [np.empty(held.proba.shape) for _ in models]
        for answer, model in zip(answers, models, strict=True):
            answer[own] = model(rows.x[held.row[own]])
    return np.stack(answers)


def choose_share(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    held: HeldOut,
    channel: Channel | None = None,
) -> float:
    """Return the share of a second answer (m, k) that gives held-out rows the lowest NLL.

    A row each that only one of both explains is added, so that few rows choose no extreme share.
    """

    def loss(share: float) -> float:
        nll = total_nll(mixed(first, second, share), held, channel)
        return float(nll - _ROWS * (np.log(share) + np.log1p(-share)))

    return float(scipy.optimize.minimize_scalar(loss, bounds=(0, 1), method="bounded").x)


def total_nll(proba: NDArray[np.float64], held: HeldOut, channel: Channel | None = None) -> float:
    """Return the weighted sum of the NLL of held-out rows."""
    seen = proba if channel is None else channel.observe(proba)
    return float(negative_log_likelihood(held.target, seen) @ held.weight)
