"""A study of two cells: run, stopped, continued, and shared by processes."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import log_loss

from skdidicm import DiDiClassifier
from skdidicm.saving.run_folder import RunFolderError
from skdidicm.study import Cell, Grid, cells, finished, methods, run
from skdidicm.study.data import load
from skdidicm.study.run import score

pytest.importorskip("torch")

GRID = Grid(data=("wine",), seeds=(0,), methods=("didicm", "cross-entropy"))
QUICK = {"max_epochs": 3, "device": "cpu"}
TIMES = ("fit_seconds", "predict_seconds")


def without_times(rows):
    return [{name: value for name, value in row.items() if name not in TIMES} for row in rows]


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "cells.jsonl"
    return path, run(cells(GRID), path, settings=QUICK)


def test_a_study_writes_one_line_for_every_cell(study):
    path, rows = study
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == rows
    assert [row["method"] for row in rows] == ["didicm", "cross-entropy"]
    for row in rows:
        assert 0 <= row["accuracy"] <= 1
        assert 0 < row["nll"] < np.inf
        assert row["fit_seconds"] > 0


def test_a_study_that_was_cut_short_runs_only_what_is_missing(study, tmp_path):
    path, rows = study
    whole, cut = path.read_text(), tmp_path / "cut.jsonl"
    marked = json.dumps({**rows[0], "nll": 123.0})
    cut.write_text(marked + "\n" + whole.splitlines()[1][:20])  # killed within the second line
    again = run(cells(GRID), cut, settings=QUICK)
    assert again[0]["nll"] == 123.0
    assert again[1]["nll"] == pytest.approx(rows[1]["nll"], rel=1e-6)
    assert finished(cut) == again


@pytest.mark.parametrize("text", ['{"max_epochs": 3', "[]", "3"])
def test_damaged_settings_are_one_sentence(study, tmp_path, text):
    path = tmp_path / "cells.jsonl"
    path.write_text(study[0].read_text())
    (tmp_path / "settings.json").write_text(text)
    with pytest.raises(ValueError, match=r"settings\.json is damaged .*; restore it from a copy"):
        run(cells(GRID), path, settings=QUICK)


def test_a_cell_that_is_wanted_twice_is_run_once(tmp_path):
    path, one = tmp_path / "cells.jsonl", Cell("wine", 60, 0.0, None, 0, "cross-entropy")
    assert len(run([one, one], path, settings=QUICK)) == 1
    assert len(path.read_text().splitlines()) == 1


def test_two_jobs_find_what_one_finds(study, tmp_path):
    _, rows = study
    from joblib import parallel_config

    with parallel_config("threading"):
        found = run(cells(GRID), tmp_path / "cells.jsonl", jobs=2, settings=QUICK)
    expected = {row["method"]: row["nll"] for row in rows}
    assert {row["method"]: row["nll"] for row in found} == pytest.approx(expected)


def test_numbers_of_steps_share_one_training_and_answer_as_on_their_own(tmp_path, monkeypatch):
    trainings = []

    def trained(split, parameters, work=methods._trained):
        trainings.append(parameters)
        return work(split, parameters)

    monkeypatch.setattr(methods, "_trained", trained)
    monkeypatch.setattr(methods, "_last", None)
    grid = replace(GRID, methods=("didicm", "score", "cross-entropy"), steps=(1, 4))
    rows = run(cells(grid), tmp_path / "cells.jsonl", settings=QUICK)
    assert [(row["method"], row["steps"], row["calls"]) for row in rows] == [
        ("didicm", 1, 6), ("didicm", 4, 24), ("score", 1, 1), ("score", 4, 4),
        ("cross-entropy", None, 1),
    ]  # fmt: skip
    assert len(trainings) == 2
    for steps, row in zip((1, 4), rows, strict=False):
        split = load(Cell("wine", None, 0.0, None, 0, "didicm"))
        alone = DiDiClassifier(**trainings[0]).fit(split.X_train, split.y_train)
        proba = alone.set_params(steps=steps).predict_proba(split.X_test)
        assert row["nll"] == pytest.approx(log_loss(split.y_test, proba))
    assert rows[0]["nll"] != rows[1]["nll"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "cifar"}, "data is 'cifar'; expected one of"),
        ({"data": "fashion-mnist"}, "'fashion-mnist' has no folder; expected one with"),
        ({"n": 10**6}, "n is 1000000; expected from 1 to"),
        ({"resolution": 3}, "resolution is 3"),
        ({"method": "guess"}, "method is 'guess'; expected one of"),
    ],
)
def test_a_cell_that_cannot_be_is_refused(change, message, tmp_path):
    settings = {"data": "digits", "n": 60, "noise": 0.0, "resolution": None, "seed": 0}
    cell = Cell(**(settings | {"method": "didicm"} | change))
    with pytest.raises(ValueError, match=message):
        run([cell], tmp_path / "cells.jsonl", settings=QUICK)


def test_brier_and_auroc_by_hand():
    proba = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]])
    found = score(np.array([0, 1, 1]), proba)
    assert found["brier"] == pytest.approx((2 * 0.01 + 2 * 0.36 + 2 * 0.04) / 3)
    assert found["auroc"] == 1.0  # the one error is the least certain row
    assert score(np.array([0, 0, 1]), proba)["auroc"] is None


def test_a_running_study_keeps_others_out_and_a_killed_one_goes_on_to_the_same_rows(
    study, tmp_path
):
    path = tmp_path / "cells.jsonl"
    command = [sys.executable, "-m", "skdidicm", "study", "--data", "wine", "--seeds", "50"]
    command += ["--epochs", "3", "--device", "cpu", "--output", str(tmp_path)]
    env = os.environ | {"OMP_NUM_THREADS": "1"}  # as here: sums on two threads differ in last bits
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=env) as process:
        while not (path.is_file() and path.read_text().count("\n")):
            assert process.poll() is None
            time.sleep(0.01)
        with pytest.raises(RunFolderError, match=f"is being written by process {process.pid} on"):
            run(cells(GRID), path, settings=QUICK)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    before = finished(path)
    assert 1 <= len(before) < 100
    path.write_text(path.read_text().splitlines()[0] + "\n")  # all but the first are to be run
    rows = run(cells(GRID), path, settings=QUICK)
    assert rows[0] == before[0]
    assert without_times(rows) == without_times(study[1])
