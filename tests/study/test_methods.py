"""The methods of a study, on a small table."""

import numpy as np
import pytest

from skdidicm import DiDiClassifier
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


@pytest.mark.parametrize(
    ("method", "helpers"),
    [
        ("ensemble", {"mixup": 0.0, "average": False, "temperature": 1.0}),
        ("ensemble-all", {"mixup": "auto", "average": True, "temperature": "auto"}),
    ],
)
def test_an_ensemble_is_the_mean_of_five_networks_of_which_the_first_has_a_trial(method, helpers):
    split = load(Cell("wine", 60, 0.0, None, 0, method))
    given = {"max_epochs": 8, "device": "cpu", "random_state": 0, "choose_epochs": True}
    found = METHODS[method](split, given)
    alone = {"conditioning": "none", "objective": "cross_entropy", "n_draws": 1, "steps": 1}
    alone |= {"ensemble": False, "additive": False, "trees": False, **given, **helpers}
    networks = [DiDiClassifier(**alone).fit(split.X_train, split.y_train)]
    alone |= {"choose_epochs": False, "max_epochs": networks[0].n_iter_}
    alone["temperature"] = networks[0].temperature_
    for seed in range(1000, 5000, 1000):
        other = DiDiClassifier(**{**alone, "random_state": seed})
        networks.append(other.fit(split.X_train, split.y_train))
    expected = np.mean([network.predict_proba(split.X_test) for network in networks], axis=0)
    np.testing.assert_allclose(found.proba, expected, rtol=1e-6)
    assert (found.calls, found.epochs) == (5, networks[0].n_iter_)
