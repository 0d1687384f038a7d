"""The best budget of a method, chosen on held-out training rows."""

import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from skdidicm.datasets import Split
from skdidicm.metrics import score_probabilities
from skdidicm.study.methods import AUTO, Answer, Parameters, answer
from skdidicm.study.split import held_out

CHOICES = ("best", "best-accuracy")
"""Budgets that are chosen for every cell: by the lowest NLL, or by the highest accuracy."""
CANDIDATES = (0.25, 0.5, 1.0)
_HELD_OUT = 0.2


class BudgetSearch(NamedTuple):
    """The budget that a search chose, and the seconds that its trials took."""

    chosen_budget: float
    search_seconds: float


def parse_budget(text: str) -> float | str:
    """Return the budget that a text names: a number, "auto", or a choice.

    Examples
    --------
    >>> parse_budget("0.4"), parse_budget("best"), parse_budget("auto")
    (0.4, 'best', 'auto')
    """
    if text in (AUTO, *CHOICES):
        return text
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise ValueError(
            f"budget is {text!r}; expected a number above 0, or one of {(AUTO, *CHOICES)}."
        )
    return value


def answer_within(
    method: str,
    split: Split,
    seed: int,
    budget: float | str,
    settings: Parameters,
    candidates: Sequence[float] = CANDIDATES,
) -> tuple[Answer, BudgetSearch | None]:
    """Answer at a budget; "best" and "best-accuracy" search for it first.

    A search trains every candidate on four fifths of the training rows and scores it on the rest.
    The best candidate (the smallest of equally good ones) is then trained on all training rows.
    The test rows are not used.

    Returns
    -------
    Answer, BudgetSearch or None
        The answer, with the times of the last training, and the search if there was one.
    """
    if budget not in CHOICES:
        return answer(method, split, seed, budget, settings), None
    trial, loss = held_out(split, seed, _HELD_OUT), {}
    start = time.perf_counter()
    for candidate in sorted(candidates):
        proba = answer(method, trial, seed, candidate, settings).proba
        scores = score_probabilities(trial.y_test, proba, np.unique(trial.y_train))
        loss[candidate] = scores["nll"] if budget == "best" else -scores["accuracy"]
    seconds = time.perf_counter() - start
    chosen = min(loss, key=loss.__getitem__)
    return answer(method, split, seed, chosen, settings), BudgetSearch(chosen, round(seconds, 3))
