"""A study of two cells, and its parts against values computed by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import log_loss

from skdidicm import DiDiClassifier
from skdidicm.registry import installed_backends
from skdidicm.study import (
    METHODS,
    Cell,
    Grid,
    cells,
    finished,
    methods,
    run,
    summarise,
    to_csv,
    to_markdown,
)
from skdidicm.study.data import load
from skdidicm.study.run import score

pytest.importorskip("torch")
pytestmark = pytest.mark.xdist_group("study")

GRID = Grid(data=("wine",), seeds=(0,), methods=("didicm", "cross-entropy"))
QUICK = {"max_epochs": 3, "device": "cpu"}


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
    before = cut.read_bytes()
    assert [row["nll"] for row in finished(cut)] == [123.0]
    assert cut.read_bytes() == before  # reading changes nothing: a study may be writing
    again = run(cells(GRID), cut, settings=QUICK)
    assert again[0]["nll"] == 123.0
    assert again[1]["nll"] == pytest.approx(rows[1]["nll"], rel=1e-6)
    assert finished(cut) == again


def test_a_cell_counts_once_however_often_it_is_wanted_or_written(study, tmp_path):
    path, rows = study
    twice = tmp_path / "cells.jsonl"
    other = {**rows[0], "nll": rows[0]["nll"] + 1}
    twice.write_text(path.read_text() + json.dumps(other) + "\n")
    assert finished(twice) == rows
    assert run([*cells(GRID), *cells(GRID)], twice, settings=QUICK) == rows
    one = Cell("wine", 60, 0.0, None, 0, "cross-entropy")
    assert len(run([one, one], tmp_path / "one" / "cells.jsonl", settings=QUICK)) == 1
    assert len((tmp_path / "one" / "cells.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize("line", ['{"data": "wine"}', "[1, 2]", "3"])
def test_a_line_that_is_no_row_is_refused_by_file_and_number(study, tmp_path, line):
    path = tmp_path / "cells.jsonl"
    path.write_text(study[0].read_text() + line + "\n")
    with pytest.raises(ValueError, match=r"cells\.jsonl, line 3, is not the row of a cell"):
        finished(path)


def test_a_row_that_lacks_only_its_end_of_line_is_kept(study, tmp_path):
    path, rows = study
    cut = tmp_path / "cells.jsonl"
    cut.write_text(path.read_text().splitlines()[0])
    run(cells(GRID), cut, settings=QUICK)
    first, second = cut.read_text().splitlines()
    assert (json.loads(first), json.loads(second)["method"]) == (rows[0], "cross-entropy")


def test_two_jobs_find_what_one_finds(study, tmp_path):
    _, rows = study
    from joblib import parallel_config

    with parallel_config("threading"):
        found = run(cells(GRID), tmp_path / "cells.jsonl", jobs=2, settings=QUICK)
    expected = {row["method"]: row["nll"] for row in rows}
    assert {row["method"]: row["nll"] for row in found} == pytest.approx(expected)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_answers_for_every_test_row_in_the_steps_that_it_takes(method, tmp_path):
    steps = 2 if method in methods.STEPPED else None
    cell = Cell("wine", 60, 0.5, None, 1, method, steps=steps)
    settings = QUICK | {"max_epochs": 1}
    (row,) = run([cell], tmp_path / "cells.jsonl", settings=settings)
    assert 0 < row["nll"] < 5
    assert row["calls"] >= 1
    assert steps is None or row["calls"] % steps == 0


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
        ("didicm", 1, 5), ("didicm", 4, 20), ("score", 1, 1), ("score", 4, 4),
        ("cross-entropy", None, 1),
    ]  # fmt: skip
    assert len(trainings) == 2
    for steps, row in zip((1, 4), rows, strict=False):
        split = load(Cell("wine", None, 0.0, None, 0, "didicm"))
        alone = DiDiClassifier(**trainings[0]).fit(split.X_train, split.y_train)
        proba = alone.set_params(steps=steps).predict_proba(split.X_test)
        assert row["nll"] == pytest.approx(log_loss(split.y_test, proba))
    assert rows[0]["nll"] != rows[1]["nll"]


@pytest.mark.parametrize("method", sorted(set(METHODS) - set(methods.STEPPED)))
def test_a_method_without_steps_refuses_them(tmp_path, method):
    cell = Cell("wine", None, 0.0, None, 0, method, steps=4)
    with pytest.raises(ValueError, match=f"'{method}' takes no steps"):
        run([cell], tmp_path / "cells.jsonl", settings=QUICK)


def test_test_rows_are_the_same_for_every_method_and_number_of_rows():
    small, large = (load(Cell("digits", n, 0.5, 4, 3, "didicm")) for n in (40, 80))
    np.testing.assert_array_equal(small.X_test, large.X_test)
    np.testing.assert_array_equal(small.y_train, large.y_train[:40])
    assert small.X_train.shape == (40, 4, 4)


def test_noise_is_in_standard_deviations_and_pictures_are_averaged():
    clean, noisy = (load(Cell("digits", None, noise, 4, 0, "didicm")) for noise in (0.0, 0.5))
    full = load(Cell("digits", None, 0.0, None, 0, "didicm"))
    np.testing.assert_allclose(clean.X_train[0, 0, 1], full.X_train[0, :2, 2:4].mean(), rtol=1e-5)
    found = (noisy.X_train - clean.X_train).std()
    assert found == pytest.approx(0.5 * full.X_train.std(), rel=0.02)


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


def test_intervals_are_those_of_student():
    cell = {
        "data": "d",
        "n": None,
        "noise": 0.0,
        "resolution": None,
        "budget": "auto",
        "method": "m",
    }
    values = [0.5, 0.6, 0.9]
    (summary,) = summarise(
        [cell | {"seed": i, "nll": v, "epochs": 20 + i} for i, v in enumerate(values)]
    )
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
    assert summary["nll_interval"] == pytest.approx((high - low) / 2)
    assert "accuracy" not in summary
    table = to_markdown([summary], "nll")
    assert "| d | all | 0.0 | all | 0.667 ± 0.517 |" in table
    assert "| d | all | 0.0 | all | 21 ± 2 |" in to_markdown([summary], "epochs")
    assert to_csv([summary]).splitlines()[0].startswith("data,n,noise,resolution,corruption,ratio,")


def test_temperature_is_that_of_the_trial_where_there_is_one():
    split = load(Cell("wine", 100, 0.0, None, 0, "temperature"))
    settings = {"random_state": 0, "max_epochs": 1, "device": "cpu", "choose_epochs": True}
    plain, found = (
        METHODS[name](split, settings).proba for name in ("cross-entropy", "temperature")
    )
    temperature = np.log(plain[:, 0] / plain[:, 1]) / np.log(found[:, 0] / found[:, 1])
    np.testing.assert_allclose(temperature, temperature[0], rtol=1e-6)
    assert temperature[0] != pytest.approx(1, abs=0.01)


def test_temperature_has_a_row_of_every_class_to_train_on():
    split = load(Cell("wine", 40, 0.0, None, 0, "temperature"))
    rare = split._replace(y_train=np.where(np.arange(40) < 37, 0, np.arange(40) - 36))
    for seed in range(8):  # a tenth at random would take one of the three single rows
        settings = {"random_state": seed, "max_epochs": 1, "device": "cpu"}
        proba = METHODS["temperature"](rare, settings).proba
        assert proba.shape == (len(split.y_test), 4)
        np.testing.assert_allclose(proba.sum(axis=1), 1)


@pytest.mark.parametrize("backend", installed_backends())
def test_peers_are_ordinary_classifiers_of_any_backend(backend):
    split = load(Cell("wine", 60, 0.0, None, 0, "cross-entropy"))
    settings = {"random_state": 0, "max_epochs": 40, "device": "cpu", "backend": backend}
    answers = {
        name: METHODS[name](split, settings)
        for name in ("cross-entropy", "label-smoothing", "mc-dropout")
    }
    sure = {name: answer.proba.max(axis=1).mean() for name, answer in answers.items()}
    assert sure["label-smoothing"] < sure["cross-entropy"]
    assert [answer.calls for answer in answers.values()] == [1, 1, 16]
    for answer in answers.values():
        assert (answer.proba.argmax(axis=1) == split.y_test).mean() > 0.9
