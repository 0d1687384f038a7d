"""The choice of a budget, with a method whose best budget is known."""

import numpy as np
import pytest

from skdidicm.study import METHODS, Cell, cells, finished, run
from skdidicm.study.budget import CANDIDATES, answer_within, parse_budget
from skdidicm.study.data import load
from skdidicm.study.grid import Grid
from skdidicm.study.methods import Answer
from skdidicm.study.split import held_out

WINE = Cell("wine", 100, 0.0, None, 0, "known")


@pytest.fixture
def tries(monkeypatch):
    """A method that is right more often the longer it trains, but surest too late.

    Of 100 rows at 10, 20 and 40 epochs it answers rightly 70, 80 and 90 %, and gives its answer a
    probability of 0.6, 0.7 and 0.999: the NLL is best at 20 and the accuracy at 40.
    """
    seen = []

    def known(split, settings):
        place = CANDIDATES.index(settings["max_epochs"] / 40)
        right = np.arange(len(split.y_test)) < round((0.7, 0.8, 0.9)[place] * len(split.y_test))
        told = np.where(right, split.y_test, (split.y_test + 1) % 3)
        sure = (0.6, 0.7, 0.999)[place]
        proba = np.where(np.eye(3)[told] == 1, sure, (1 - sure) / 2)
        seen.append((split, settings["max_epochs"]))
        return Answer(proba, 1.0, 1.0, 1, settings["max_epochs"])

    monkeypatch.setitem(METHODS, "known", known)
    return seen


@pytest.mark.parametrize(("budget", "chosen"), [("best", 0.5), ("best-accuracy", 1.0)])
def test_the_budget_that_is_best_on_held_out_rows_trains_on_all(tries, budget, chosen):
    split = load(WINE)
    _, search = answer_within("known", split, 0, budget, {"max_epochs": 40})
    assert search.chosen_budget == chosen
    *trials, (last, epochs) = tries
    assert [epochs for _, epochs in trials] == [10, 20, 40]
    assert epochs == 40 * chosen
    assert last is split
    assert {len(trial.y_train) for trial, _ in trials} == {80}


def test_of_equal_budgets_the_smallest_is_taken(monkeypatch):
    def constant(split, settings):
        return Answer(np.full((len(split.y_test), 3), 1 / 3), 1.0, 1.0, 1, 1)

    monkeypatch.setitem(METHODS, "constant", constant)
    _, search = answer_within("constant", load(WINE), 0, "best", {}, (1.0, 0.5))
    assert search.chosen_budget == 0.5


def test_held_out_rows_are_training_rows_and_every_class_keeps_one():
    split = load(WINE)
    trial = held_out(split, 0, 0.2)
    parts = np.concatenate([trial.X_train, trial.X_test])
    assert len(trial.X_test) == 20
    np.testing.assert_array_equal(np.unique(parts, axis=0), np.unique(split.X_train, axis=0))
    rare = split._replace(y_train=np.where(np.arange(100) < 97, 0, np.arange(100) - 96))
    for seed in range(20):
        assert set(held_out(rare, seed, 0.2).y_train) == {0, 1, 2, 3}


def test_rows_without_any_to_spare_are_refused():
    split = load(WINE)
    lone = split._replace(X_train=split.X_train[:3], y_train=np.arange(3))
    with pytest.raises(ValueError, match="no row can be held out of 3 training rows of 3 classes"):
        held_out(lone, 0, 0.2)


def test_a_chosen_budget_is_a_cell_of_its_own_and_is_written_down(tries, tmp_path):
    path = tmp_path / "cells.jsonl"
    grid = Grid(("wine",), seeds=(0,), methods=("known",), budgets=(0.25, "best"))
    rows = run(cells(grid), path, settings={"max_epochs": 40})
    assert [row.get("chosen_budget") for row in rows] == [None, 0.5]
    assert len(tries) == 1 + 4
    assert run(cells(grid), path, settings={"max_epochs": 40}) == rows == finished(path)
    assert len(tries) == 1 + 4


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "bset"])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(ValueError, match=f"budget is '{text}'; expected a number above 0"):
        parse_budget(text)
