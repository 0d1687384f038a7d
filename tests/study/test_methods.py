"""The methods of a study, on a small table."""

import numpy as np
import pytest

from skdidicm.registry import installed_backends
from skdidicm.study import METHODS, Cell, methods, run
from skdidicm.study.data import load

pytest.importorskip("torch")

QUICK = {"max_epochs": 1, "device": "cpu"}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_answers_for_every_test_row_in_the_steps_that_it_takes(method, tmp_path):
    steps = 2 if method in methods.STEPPED else None
    cell = Cell("wine", 60, 0.5, None, 1, method, steps=steps)
    (row,) = run([cell], tmp_path / "cells.jsonl", settings=QUICK)
    assert 0 < row["nll"] < 5
    assert row["calls"] >= 1
    assert steps is None or row["calls"] % steps == 0


@pytest.mark.parametrize("method", sorted(set(METHODS) - set(methods.STEPPED)))
def test_a_method_without_steps_refuses_them(tmp_path, method):
    cell = Cell("wine", None, 0.0, None, 0, method, steps=4)
    with pytest.raises(ValueError, match=f"'{method}' takes no steps"):
        run([cell], tmp_path / "cells.jsonl", settings=QUICK)


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
