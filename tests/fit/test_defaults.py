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


def updates(shape, n):
    settings = resolve(AUTO, shape, n, 3)
    return settings.max_epochs * math.ceil(n / settings.batch_size)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_ten_times_the_rows_get_more_updates_but_not_ten_times_as_many(shape):
    n = 100 * 10 ** np.arange(5)
    found = np.array([updates(shape, i) for i in n])
    assert (found[1:] >= found[:-1]).all()
    assert (found[1:] <= 10 * found[:-1]).all()


def test_images_get_at_most_the_documented_updates():
    """1200 (n / 1000)^0.8 for n images, in whole epochs; at least 15 epochs, at most 300."""
    for n in (300, 1000, 5000, 16_000, 60_000):
        one_epoch = math.ceil(n / 64)
        assert 0 <= updates((8, 8), n) - 1200 * (n / 1000) ** 0.8 < one_epoch
    assert resolve(AUTO, (8, 8), 10**8, 3).max_epochs == 15
    assert resolve(AUTO, (8, 8), 1, 3).max_epochs < 300


def test_only_tables_too_short_for_a_trial_are_learnt_in_a_quarter_of_the_epochs():
    most, epochs = (resolve(AUTO, (5,), n, 3).max_epochs for n in (30, 29))
    assert epochs == most / 4
    most, epochs = (resolve(AUTO, (8, 8), n, 3).max_epochs for n in (30, 29))
    assert 0.9 * most < epochs <= most


SCORE, POSTERIOR = ("score", "score_entropy"), ("posterior", "bayes_cross_entropy")


def test_what_few_and_many_rows_get_is_what_the_user_guide_says():
    for shape in SHAPES.values():
        most = 5000 if len(shape) == 1 else 1999
        assert resolve_form("auto", "auto", shape, most) == SCORE
        assert resolve_form("auto", "auto", shape, most + 1) == POSTERIOR
    fewer, few, many = (resolve(AUTO, (8, 8), n, 3) for n in (1999, 5000, 5001))
    assert (fewer.conditioning, fewer.n_draws) == ("head", 64)
    assert (few.conditioning, few.n_draws) == ("last", 4)
    assert (fewer.mixup, fewer.average) == (few.mixup, few.average) == (0.3, True)
    assert (many.conditioning, many.n_draws, many.mixup, many.average) == ("last", 4, 0.1, True)
    assert [s.choose_average for s in (fewer, few, many)] == [False, False, True]
    untried = resolve(AUTO | {"choose_epochs": False}, (8, 8), 5001, 3)
    assert (untried.average, untried.choose_average) == (False, False)
    for n in (5000, 5001):
        assert (resolve(AUTO, (5,), n, 3).mixup, resolve(AUTO, (5,), n, 3).average) == (0, True)
        assert resolve(AUTO, (5,), n, 3).conditioning == "last"


@pytest.mark.parametrize("n", [1000, 100_000])
def test_images_take_many_draws_only_of_raw_scores_in_a_head(n):
    def found(**changes):
        settings = resolve(DiDiClassifier(**changes).get_params(), (8, 8), n, 3)
        form = settings.parameterization, settings.objective
        return form, settings.conditioning, settings.n_draws

    assert found(parameterization="score") == (SCORE, "head", 64)
    assert found(parameterization="posterior") == (POSTERIOR, "last", 4)
    assert found(objective="bayes_cross_entropy") == (POSTERIOR, "last", 4)
    assert found(conditioning="last") == (POSTERIOR, "last", 4)
    assert found(conditioning="blocks") == (POSTERIOR, "blocks", 4)
    assert found(network="timm/resnet18") == (POSTERIOR, "head", 4)
    assert resolve(AUTO, (8, 8), 1000, 50).parameterization == "score"
    assert resolve(AUTO, (8, 8), 1000, 51).parameterization == "posterior"
    assert found(conditioning="blocks", parameterization="score") == (SCORE, "blocks", 4)
    assert found(conditioning="last", parameterization="score", n_draws=16) == (SCORE, "last", 16)


def test_images_of_many_classes_have_one_label_where_it_neither_tells_all_nor_nothing():
    def found(shape=(8, 8), n=1000, n_classes=51, **changes):
        settings = resolve(DiDiClassifier(**changes).get_params(), shape, n, n_classes)
        return settings.times, settings.n_draws

    assert found() == found(n=100_000) == found(network="timm/resnet18") == ("log_odds", 1)
    assert found(n_classes=50, n=2000) == ("uniform", 4)
    assert found(parameterization="score") == ("uniform", 64)
    assert found(objective="score_entropy", parameterization="posterior") == ("uniform", 4)
    assert found((5,))[0] == "uniform"
    assert found(times="uniform", n_draws=4) == ("uniform", 4)
    given = {"network": "timm/resnet18", "pretrained": True, "trunk_learning_rate": 0.1}
    assert found(**given) == ("uniform", 4)


def test_images_of_more_than_20_classes_are_calibrated_otherwise():
    found = [resolve(AUTO, (8, 8), 1000, k).many_classes for k in (20, 21)]
    assert found == [False, True]
    assert not resolve(AUTO, (5,), 1000, 100).many_classes
    tuned = {"network": "timm/resnet18", "pretrained": True, "trunk_learning_rate": 0.1}
    assert not resolve(AUTO | tuned, (8, 8), 1000, 100).many_classes


def test_a_trial_is_for_some_but_not_too_many_rows_unless_told():
    for n, wanted in [(1, False), (29, False), (30, True), (50_000, True), (50_001, False)]:
        assert resolve_trial("auto", "auto", n) is wanted
        assert resolve_trial("auto", 20, n) is False
        assert resolve_trial(True, 20, n) is True
        assert resolve_trial(False, "auto", n) is False
        for given in (True, False, "auto"):
            assert resolve_trial(given, "auto", n, early_stopping=True) is False


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
    assert resolve_precision("auto", (5,), 101, 256) == "float32"
    assert resolve_precision("auto", (5,), 21, 20) == "float32"
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


def resolved(n, shape=(5,), **changes):
    return resolve(DiDiClassifier(**changes).get_params(), shape, n, 3)


@pytest.mark.parametrize("shape", [(5,), (28, 28)])
def test_less_effort_is_one_network_and_more_is_all_folds_at_any_size(shape):
    for n in (100, 3000, 100_000):
        fast, auto, thorough = (
            resolved(n, shape, effort=effort) for effort in ("fast", "auto", "thorough")
        )
        assert not fast.choose_epochs
        assert fast.max_epochs < auto.max_epochs or fast.max_epochs <= 20
        assert thorough.choose_epochs
        assert thorough.every_fold
        assert thorough.ensemble
        assert not auto.every_fold


def test_what_is_given_wins_over_the_effort():
    fast = resolved(100, effort="fast", choose_epochs=True, max_epochs=7)
    assert fast.choose_epochs
    assert fast.max_epochs == 7
    thorough = resolved(100, effort="thorough", choose_epochs=False, ensemble=False)
    assert not thorough.choose_epochs
    assert not thorough.ensemble


@pytest.mark.parametrize(
    ("shape", "on_cpu", "network"),
    [
        ((64, 64, 3), True, "didirn-patch"),
        ((64, 64, 3), False, "auto"),  # depends on the shape only
        ((28, 28), True, "didirn-tiny"),
        ((5,), True, "mlp"),
    ],
)
def test_large_images_have_another_network_on_a_cpu(shape, on_cpu, network):
    assert resolve(AUTO, shape, 1000, 3, on_cpu=on_cpu).network == network
