"""What "auto" becomes; the numbers themselves are measured, not tested."""

import math

import numpy as np
import pytest

from skdidicm import DiDiClassifier
from skdidicm.core import check_objective
from skdidicm.core.losses import OBJECTIVES, PARAMETERIZATIONS
from skdidicm.fit.defaults import (
    FEW_IMAGES,
    FEW_ROWS,
    MANY_IMAGES,
    MANY_ROWS,
    resolve,
    resolve_form,
    resolve_precision,
    resolve_solver,
    resolve_trial,
)
from skdidicm.fit.trial import split

NAMES = ("batch_size", "max_epochs", "learning_rate", "weight_decay", "n_draws", "mixup", "average")
AUTO = DiDiClassifier().get_params()
SHAPES = {"table": (5,), "grey image": (8, 8), "colour image": (8, 8, 3)}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("n", [1, 100, 1_000_000])
def test_auto_becomes_a_usable_number(shape, n):
    settings = resolve(AUTO, shape, n, 3)
    for name in ("batch_size", "max_epochs", "n_draws"):
        assert isinstance(getattr(settings, name), int)
        assert getattr(settings, name) >= 1
    assert 0 < settings.learning_rate < 1
    assert 0 <= settings.weight_decay < 1
    assert settings.mixup >= 0
    assert settings.average in (True, False)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_what_is_given_stays(shape):
    given = dict(zip(NAMES, (7, 3, 0.25, 0.0, 2, 0.4, False), strict=True))
    settings = resolve(AUTO | given, shape, 1000, 3)
    assert {name: getattr(settings, name) for name in NAMES} == given
    assert not settings.enumerate_labels


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_every_number_of_rows_gets_enough_updates_within_the_bounds_on_epochs(shape):
    for n in (1, 10, 30, 300, 5_000, 80_000, 10**7):
        kind = kind_of(shape, n)
        wanted = kind.updates(n) * (kind.untried if n < 30 else 1)
        low, high = kind.epochs
        epochs = resolve(AUTO, shape, n, 3).max_epochs
        per_epoch = math.ceil(n / kind.batch_size)
        assert low <= epochs <= high
        assert epochs * per_epoch >= wanted or epochs == high
        assert (epochs - 1) * per_epoch < wanted or epochs == low


def test_tables_too_short_for_a_trial_are_learnt_in_a_quarter_of_the_epochs():
    most, epochs = (resolve(AUTO, (5,), n, 3).max_epochs for n in (30, 29))
    assert epochs == most / 4
    images = [resolve(AUTO, (8, 8), n, 3).max_epochs for n in (30, 29)]
    assert images == [math.ceil(FEW_IMAGES.updates(n)) for n in (30, 29)]


def kind_of(shape, n):
    few, many = (FEW_ROWS, MANY_ROWS) if shape == (5,) else (FEW_IMAGES, MANY_IMAGES)
    return few if n <= 5000 else many


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("n", [1, 5_000, 5_001, 10**6])
def test_what_auto_becomes_is_that_of_few_or_of_many_rows(shape, n):
    kind, settings = kind_of(shape, n), resolve(AUTO, shape, n, 1000)
    for name in ("batch_size", "learning_rate", "weight_decay", "n_draws", "mixup", "average"):
        assert getattr(settings, name) == getattr(kind, name)
    assert resolve_form("auto", "auto", shape, n) == (kind.parameterization, kind.objective)


def test_a_trial_is_for_some_but_not_too_many_rows_unless_told():
    for n, wanted in [(1, False), (29, False), (30, True), (50_000, True), (50_001, False)]:
        assert resolve_trial("auto", "auto", n) is wanted
        assert resolve_trial("auto", 20, n) is False
        assert resolve_trial(True, 20, n) is True
        assert resolve_trial(False, "auto", n) is False
        for given in (True, False, "auto"):
            assert resolve_trial(given, "auto", n, early_stopping=True) is False


@pytest.mark.parametrize("kind", [FEW_ROWS, MANY_ROWS, FEW_IMAGES, MANY_IMAGES])
def test_more_rows_get_no_fewer_updates_but_fewer_for_each_row(kind):
    n = np.geomspace(10, 1e6, 20)
    updates = np.array([kind.updates(i) for i in n])
    assert (np.diff(updates) >= 0).all()
    assert (np.diff(updates / n) < 0).all()


FORMS = [(p, o) for p in ("auto", *PARAMETERIZATIONS) for o in ("auto", *OBJECTIVES)]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize(("parameterization", "objective"), FORMS)
@pytest.mark.parametrize("n", [100, 10_000])
def test_auto_makes_a_pair_that_goes_together_and_keeps_what_is_given(
    shape, parameterization, objective, n
):
    found = resolve_form(parameterization, objective, shape, n)
    if parameterization != "score" or objective in ("auto", "score_entropy"):
        check_objective(*found)
    assert parameterization in ("auto", found[0])
    assert objective in ("auto", found[1])


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_an_ordinary_classifier_learns_by_cross_entropy_unless_told(shape):
    form = resolve_form("auto", "auto", shape, 100, "none")
    assert form == ("posterior", "cross_entropy")
    check_objective(*form, "none")
    for objective in ("score_entropy", "bayes_cross_entropy"):
        assert resolve_form("auto", objective, shape, 100, "none") == ("posterior", objective)


def test_the_solver_suits_the_parameterization_unless_it_is_given():
    assert resolve_solver("auto", "score") == "euler"
    assert resolve_solver("auto", "posterior") == "bridge"
    assert resolve_solver("euler", "posterior") == "euler"


def test_only_tables_of_several_batches_do_without_a_precision_of_the_backends_choice():
    assert resolve_precision("auto", (5,), 100, 100) == "auto"
    assert resolve_precision("auto", (5,), 101, 100) == "float32"
    assert resolve_precision("float64", (5,), 101, 100) == "float64"
    assert resolve_precision("auto", (8, 8), 101, 100) == "auto"


def test_smaller_batches_make_fewer_epochs():
    small, large = (
        resolve(AUTO | {"batch_size": size}, (5,), 10_000, 3).max_epochs for size in (64, 1024)
    )
    assert small < large


def test_labels_are_enumerated_for_tables_of_one_batch_with_few_classes_only():
    assert resolve(AUTO, (5,), 256, 2).enumerate_labels
    assert not resolve(AUTO, (5,), 257, 2).enumerate_labels
    assert not resolve(AUTO, (5,), 100, 1000).enumerate_labels
    assert not resolve(AUTO, (8, 8), 100, 2).enumerate_labels
    assert not resolve(AUTO | {"n_draws": 8}, (5,), 100, 2).enumerate_labels


@pytest.mark.parametrize(("kind", "below", "above"), [(FEW_IMAGES, 2, 1), (FEW_ROWS, 3, 2)])
def test_networks_of_a_trial_are_kept_where_it_has_several(kind, below, above):
    n = kind.ensemble
    assert [len(split(np.zeros(rows, int), seed=0)) for rows in (n - 1, n)] == [below, above]
