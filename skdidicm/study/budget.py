"""A method's own best budget, chosen on training rows that are held out for it."""

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from skdidicm.datasets import Split
from skdidicm.metrics import score_probabilities
from skdidicm.study.holding import held_out
from skdidicm.study.methods import AUTO, Answer, Settings, answer

CHOICES = ("best", "best-accuracy")
"""Budgets that are chosen: by the lowest NLL, or by the highest accuracy."""
CANDIDATES = (0.25, 0.5, 1.0)
_HELD_OUT = 0.2


def parse_budget(text: str) -> float | str:
    """Return a budget from its text: a number, or the name of a choice.

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
    settings: Settings,
    candidates: Sequence[float] = CANDIDATES,
) -> tuple[Answer, dict[str, Any]]:
    """Answer at a budget, which "best" has chosen first, and say which it was.

    Every candidate is trained on four fifths of the training rows and scored on the rest; the
    best (of equals the smallest) is then trained on all. The test rows have no part in it.

    Returns
    -------
    Answer, dict
        The answer, whose times are those of the last training, and `chosen_budget` and
        `search_seconds`, what the trials took; nothing where no choice was made.
    """
    if budget not in CHOICES:
        return answer(method, split, seed, budget, settings), {}
    trial, loss = held_out(split, seed, _HELD_OUT), {}
    start = time.perf_counter()
    for candidate in sorted(candidates):
        proba = answer(method, trial, seed, candidate, settings).proba
        scores = score_probabilities(trial.y_test, proba, np.unique(trial.y_train))
        loss[candidate] = scores["nll"] if budget == "best" else -scores["accuracy"]
    seconds = time.perf_counter() - start
    chosen = min(loss, key=loss.__getitem__)
    note = {"chosen_budget": chosen, "search_seconds": round(seconds, 3)}
    return answer(method, split, seed, chosen, settings), note
