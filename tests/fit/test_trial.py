"""The trial that chooses how long to train."""

import math
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris

from skdidicm import DiDiClassifier
from skdidicm.core import LogLinear, UniformProcess
from skdidicm.fit import defaults, fit, training, trial
from skdidicm.fit.training import NonFiniteLossError, Rows, TrainingPlan, learning_rate_at
from skdidicm.fit.trial import Fold, round_ends, run_trial, split

DIGITS = load_digits()
X, Y = DIGITS.images[:150], DIGITS.target[:150]


@pytest.fixture
def trial_of(recording_network):
    """Run a trial of one network whose rounds have these NLLs, and whose losses become NaN."""

    def run(nlls, max_epochs=16, size=9, average=False, broken_after=math.inf):
        plan = TrainingPlan(
            UniformProcess(3), LogLinear(), "score_entropy", max_epochs, 8, 0.1, 2, average=average
        )
        rows = Rows(np.zeros((8, 2)), np.eye(3)[np.arange(8) % 3], np.ones(8))
        losses = {n: math.nan for n in range(1, max_epochs + 1) if n > broken_after}
        network, answers = recording_network(losses), iter(nlls)
        rng, held = np.random.default_rng(0), rows_held(size)
        fold = Fold(network, rows, rng, held, lambda: with_nll(next(answers), held))
        verdict = run_trial([fold], plan, temperature=1.0)
        return network, verdict.epochs, verdict.rounds

    return run


def rows_held(size):
    return Rows(np.zeros((size, 2)), np.eye(3)[np.arange(size) % 3], np.ones(size))


def with_nll(nll, held):
    """Probabilities under which the labels of held-out rows have that NLL."""
    p = np.exp(-np.broadcast_to(nll, len(held.x)))[:, None]
    return np.where(held.target == 1, p, (1 - p) / 2)


@pytest.mark.parametrize("max_epochs", [1, 2, 3, 4, 7, 75, 300])
@pytest.mark.parametrize("average", [True, False])
def test_rounds_end_later_and_later_and_with_all_epochs(max_epochs, average):
    ends = round_ends(max_epochs, average=average)
    assert ends[-1] == max_epochs
    assert ends == sorted(set(ends))
    assert ends[0] >= 1


def test_a_trial_goes_on_while_the_validation_loss_falls(trial_of):
    network, best, trial = trial_of([0.9, 0.8, 0.7])
    assert [row["epochs"] for row in trial] == [4, 8, 16]
    assert len(network.rates) == best == 16


def test_a_trial_ends_when_the_validation_loss_rises(trial_of):
    network, best, trial = trial_of([0.8, 0.9])
    assert len(network.rates) == 8
    assert best == 4
    assert [row["val_nll"] for row in trial] == pytest.approx([0.8, 0.9])


@pytest.mark.parametrize(
    ("nlls", "best"), [([0.9, 0.8, 0.7], 16), ([0.9, 0.8, 0.85], 8), ([0.8, 0.9], 4)]
)
def test_the_networks_are_left_as_they_were_in_the_best_round(trial_of, nlls, best):
    assert trial_of(nlls)[0].updates == best


def test_of_equal_rounds_the_shorter_is_taken(trial_of):
    assert trial_of([0.9, 0.9, 0.1])[1] == 4


def test_rounds_are_compared_at_their_own_temperatures(recording_network):
    """The second round is right more often than the first, only far too sure."""
    plan = TrainingPlan(UniformProcess(3), LogLinear(), "score_entropy", 16, 8, 0.1, 2)
    rows = Rows(np.zeros((8, 2)), np.eye(3)[np.arange(8) % 3], np.ones(8))
    held = rows_held(300)
    sure = []
    for p, of in ((0.8, 10), (0.9999, 20)):
        wrong = np.arange(300) % of == 0
        answer = np.eye(3)[(np.arange(300) + wrong) % 3]
        sure.append(np.where(answer == 1, p, (1 - p) / 2))
    for find, best in ((True, 8), (False, 4)):
        told = iter([*sure, sure[1]])
        fold = Fold(
            recording_network(), rows, np.random.default_rng(0), held, lambda t=told: next(t)
        )
        assert run_trial([fold], plan, temperature=None if find else 1.0).epochs == best


def test_the_rate_of_every_round_falls_to_nearly_zero(trial_of):
    network, _, _ = trial_of([0.9, 0.8, 0.7], max_epochs=400)
    rates = np.array(network.rates)
    for start, end in [(0, 100), (100, 200), (200, 400)]:
        assert rates[start:end].max() == pytest.approx(0.1)
        assert rates[end - 1] < 1e-4


def test_the_rounds_of_averaged_weights_lie_on_one_curve(trial_of):
    nlls = [0.9, 0.8, 0.7, 0.6, 0.65]
    network, best, trial = trial_of(nlls, max_epochs=400, average=True)
    assert network.rates == [learning_rate_at(i, 400, 0.1, plateau=0.5) for i in range(300)]
    assert best == 200
    assert [row["epochs"] for row in trial] == [50, 100, 150, 200, 300]


@pytest.mark.parametrize(
    ("of_average", "of_last", "epochs", "last"),
    [(0.4, 0.3, 16, True), (0.6, 0.3, 16, True), (0.3, 0.4, 16, False), (0.6, 0.6, 12, False)],
)
def test_a_trial_that_comes_to_its_end_looks_at_the_last_weights_too(
    recording_network, of_average, of_last, epochs, last
):
    plan = TrainingPlan(
        UniformProcess(3), LogLinear(), "score_entropy", 16, 8, 0.1, 2, average=True
    )
    rows, held, network = rows_held(8), rows_held(9), recording_network()
    answers = iter([1.0, 0.9, 0.8, 0.7, 0.5, of_average, of_last])
    fold = Fold(
        network, rows, np.random.default_rng(0), held, lambda: with_nll(next(answers), held)
    )
    verdict = run_trial([fold], plan, temperature=1.0, choose_average=True)
    assert (verdict.epochs, verdict.last_weights) == (epochs, last)
    assert verdict.rounds[-1] == pytest.approx(
        {"epochs": 16, "temperature": 1, "val_nll": min(of_average, of_last)}
    )
    epoch = np.arange(1.0, epochs + 1)  # the weights count the updates
    mean = np.average(epoch, weights=epoch * (epoch + 1))
    assert network.updates == pytest.approx(epochs if last else mean)


def test_a_trial_that_ends_early_does_not_look_at_the_last_weights(recording_network):
    plan = TrainingPlan(
        UniformProcess(3), LogLinear(), "score_entropy", 16, 8, 0.1, 2, average=True
    )
    rows, held, answers = rows_held(8), rows_held(9), iter([0.9, 1.0])
    fold = Fold(
        recording_network(), rows, np.random.default_rng(0), held,
        lambda: with_nll(next(answers), held),
    )  # fmt: skip
    assert run_trial([fold], plan, temperature=1.0, choose_average=True).epochs == 2


def test_a_round_whose_loss_is_not_finite_ends_the_trial(trial_of):
    _, best, trial = trial_of([0.9], broken_after=6)
    assert [row["epochs"] for row in trial] == [best] == [4]
    assert trial_of([], broken_after=0)[1:] == (16, [])


def test_all_folds_are_trained_and_count_alike(recording_network):
    plan = TrainingPlan(UniformProcess(3), LogLinear(), "score_entropy", 16, 8, 0.1, 2)
    rows = Rows(np.zeros((8, 2)), np.eye(3)[np.arange(8) % 3], np.ones(8))
    told = [iter([1.0, 0.7, 0.9]), iter([1.0, 0.9, 0.7]), iter([1.0, 0.5, 0.5])]
    held = rows_held(4)
    folds = [
        Fold(
            recording_network(),
            rows,
            np.random.default_rng(i),
            held,
            lambda t=t: with_nll(next(t), held),
        )
        for i, t in enumerate(told)
    ]
    best, _, trial, proba, *_ = run_trial(folds, plan, temperature=1.0)
    assert best == 8
    assert [len(fold.network.rates) for fold in folds] == [16] * 3
    assert [row["val_nll"] for row in trial] == pytest.approx([1.0, 0.7, 0.7])
    for answer, nll in zip(proba, (0.7, 0.9, 0.5), strict=True):  # of the best round
        np.testing.assert_array_equal(answer, with_nll(nll, held))


@pytest.mark.parametrize("n", [5, 103, 260, 667, 999, 1001])
def test_folds_hold_out_different_rows_of_every_class_alike(rng, n):
    labels = rng.choice(3, n, p=[0.6, 0.3, 0.1])
    folds = split(labels, seed=3)
    held = np.concatenate([part for _, part in folds])
    assert len(np.unique(held)) == len(held) >= min(400, n // 2)
    for learnt, part in folds:
        np.testing.assert_array_equal(np.sort([*learnt, *part]), np.arange(n))
        expected = np.bincount(labels, minlength=3) / 5
        assert np.abs(np.bincount(labels[part], minlength=3) - expected).max() <= 1
    assert all(np.array_equal(a, b) for a, b in zip(folds[0], split(labels, 3)[0], strict=True))


def fitted(**settings):
    return DiDiClassifier(**({"random_state": 0, "device": "cpu"} | settings)).fit(X, Y)


def test_the_fit_is_that_of_the_chosen_number_of_epochs():
    pytest.importorskip("torch")
    chosen = fitted(max_epochs=8, choose_epochs=True, average=False, ensemble=False)
    assert chosen.n_iter_ == chosen.max_epochs_ == len(chosen.history_)
    assert chosen.n_iter_ in [row["epochs"] for row in chosen.trial_]
    plain = fitted(max_epochs=chosen.n_iter_, temperature=chosen.temperature_, average=False)
    assert plain.trial_ == []
    np.testing.assert_array_equal(chosen.predict_proba(X), plain.predict_proba(X))


@pytest.mark.parametrize("additive", [True, False])
def test_a_temperature_that_was_given_is_that_of_the_fit(quick, additive):
    model = quick(temperature=1.5, choose_epochs=True, max_epochs=2, additive=additive)
    assert model.fit(*load_iris(return_X_y=True)).temperature_ == 1.5


def test_with_averaging_the_fit_is_a_longer_one_that_ends_at_the_chosen_epoch():
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    x = DIGITS.data[:150]
    x = x + rng.normal(scale=16, size=x.shape)  # so noisy that a part of the epochs is enough
    settings = {"max_epochs": 40, "random_state": 0, "device": "cpu", "ensemble": False}
    settings |= {"additive": False, "trees": False}
    chosen = DiDiClassifier(choose_epochs=True, **settings).fit(x, Y)
    assert chosen.n_iter_ < 40
    longer = DiDiClassifier(
        temperature=chosen.temperature_,
        callbacks=[lambda model, row: row["epoch"] == chosen.n_iter_],
        **settings,
    ).fit(x, Y)
    np.testing.assert_allclose(chosen.predict_proba(x), longer.predict_proba(x), rtol=1e-5)


@pytest.mark.parametrize("few", [130, 150])
def test_the_parts_are_learnt_in_the_form_of_the_whole(monkeypatch, few):
    pytest.importorskip("torch")
    monkeypatch.setattr("skdidicm.fit.defaults._FEW", few)  # the parts have 120 rows
    learnt = []

    def run(folds, plan, **_):
        learnt.extend(fold.network.config for fold in folds)
        return run_trial(folds, plan)

    monkeypatch.setattr("skdidicm.fit.trial.run_trial", run)
    table = DIGITS.data[:150]
    settings = {"max_epochs": 1, "choose_epochs": True, "random_state": 0, "device": "cpu"}
    model = DiDiClassifier(**settings).fit(table, Y)
    for config in (model.network_.config, *learnt):
        assert config.parameterization == ("posterior" if few < 150 else "score")
        assert config.objective == ("bayes_cross_entropy" if few < 150 else "score_entropy")
    assert len(learnt) == 5


def test_labels_that_cannot_be_learnt_are_not_learnt_for_long(rng):
    pytest.importorskip("torch")
    noise = rng.integers(0, 10, 150)
    model = DiDiClassifier(max_epochs=20, choose_epochs=True, mixup=0, random_state=0)
    assert model.fit(X, noise).max_epochs_ <= 10


@pytest.mark.parametrize(
    "settings",
    [{"max_epochs": 1}, {"early_stopping": True, "max_epochs": 1}, {"choose_epochs": False}],
)
def test_no_trial_where_none_is_wanted(settings):
    pytest.importorskip("torch")
    stop = {"callbacks": [lambda model, row: True]}
    assert fitted(**settings, **stop).trial_ == []
    assert DiDiClassifier().partial_fit(X, Y, classes=np.arange(10)).trial_ == []


def test_going_on_needs_no_second_trial():
    pytest.importorskip("torch")
    model = fitted(max_epochs=4, choose_epochs=True, warm_start=True)
    trial = model.trial_
    assert trial
    model.set_params(max_epochs=1).fit(X, Y)
    assert model.trial_ == trial
    assert model.n_iter_ == 1


TABLE, SPECIES = load_iris(return_X_y=True)
LONG_TABLE = DIGITS.data[:300], DIGITS.target[:300]


def trained(data, *, jointly, monkeypatch, **settings):
    """Return a classifier whose trial trains its networks at once, or one after another."""
    backend = pytest.importorskip("skdidicm_torch.backend")
    given = {"choose_epochs": True, "random_state": 1, "precision": "float64", "ensemble": True}
    with monkeypatch.context() as patch:
        if not jointly:
            patch.setattr(backend.TorchNetwork, "join", lambda self, others: None)
        return DiDiClassifier(**(given | {"device": "cpu"} | settings)).fit(*data)


@pytest.mark.parametrize(
    ("data", "settings"),
    [
        ((TABLE, SPECIES), {"max_epochs": 12}),
        (LONG_TABLE, {"max_epochs": 4}),  # the whole has two batches, its parts have one
        (LONG_TABLE, {"max_epochs": 4, "average": False}),
        (LONG_TABLE, {"max_epochs": 4, "n_draws": 3, "batch_size": 100}),
        ((TABLE, SPECIES), {"max_epochs": 4, "callbacks": [lambda model, row: False]}),
    ],
)
def test_networks_trained_at_once_agree_with_those_trained_one_after_another(
    monkeypatch, data, settings
):
    found, expected = (
        trained(data, jointly=jointly, monkeypatch=monkeypatch, **settings)
        for jointly in (True, False)
    )
    assert found.trial_ == [pytest.approx(row, rel=1e-9) for row in expected.trial_]
    assert found.n_iter_ == expected.n_iter_ == len(found.history_)
    assert found.max_epochs_ == expected.max_epochs_
    for row, other in zip(found.history_, expected.history_, strict=True):
        row, other = row | {"seconds": 0}, other | {"seconds": 0}
        assert row == pytest.approx(other, rel=1e-9)
    x = data[0]
    np.testing.assert_allclose(found.predict_proba(x), expected.predict_proba(x), atol=1e-9)
    for model in (found, expected):  # the same optimiser and the same stream of noise
        model.partial_fit(*data)
    np.testing.assert_allclose(found.predict_proba(x), expected.predict_proba(x), atol=1e-9)


@pytest.mark.parametrize("last", [True, False])
def test_the_fit_has_the_weights_that_the_trial_chose(monkeypatch, last):
    """The last weights or the average, whether networks are trained at once or not."""
    monkeypatch.setattr(defaults, "FEW_ROWS", replace(defaults.FEW_ROWS, average=None))
    scored = trial._scored
    seen = []

    def prefer(*given):  # the last weights, whose answer is the seventh, or the average
        seen.append(scored(*given))
        return seen[-1] | {"val_nll": 0.5 * 0.9 ** len(seen) if last or len(seen) < 7 else 1.0}

    monkeypatch.setattr(trial, "_scored", prefer)
    models = []
    for jointly in (True, False):
        seen.clear()
        settings = {"max_epochs": 16, "trees": False, "additive": False}
        models.append(
            trained((TABLE, SPECIES), jointly=jointly, monkeypatch=monkeypatch, **settings)
        )
        assert len(seen) == 7
        assert models[-1].resolved_params_["average"] is not last
    plan = {"max_epochs": 16, "temperature": models[0].temperature_, "choose_epochs": False}
    alone = DiDiClassifier(random_state=1, precision="float64", device="cpu", **plan)
    monkeypatch.setattr(defaults, "FEW_ROWS", replace(defaults.FEW_ROWS, average=True))
    if last:  # the same curve of the learning rate, and its last weights
        whole = training.epochs
        monkeypatch.setattr(
            fit, "epochs", lambda n, r, p, rng: whole(n, r, replace(p, last_weights=True), rng)
        )
    expected = alone.fit(TABLE, SPECIES).predict_proba(TABLE)
    for model in models:
        model.set_params(ensemble=False)
        np.testing.assert_allclose(model.predict_proba(TABLE), expected, atol=1e-9)


def test_callbacks_are_called_for_every_epoch_of_the_last_training_alone():
    pytest.importorskip("torch")
    seen = []
    model = DiDiClassifier(
        max_epochs=8,
        choose_epochs=True,
        random_state=0,
        callbacks=[lambda m, row: seen.append(row)],
    ).fit(TABLE, SPECIES)
    assert seen == model.history_
    assert [row["epoch"] for row in seen] == list(range(1, model.n_iter_ + 1))


def test_a_trial_without_a_finished_round_leaves_the_last_network_to_itself():
    pytest.importorskip("torch")
    huge = {"learning_rate": 1e30, "max_epochs": 16, "choose_epochs": True, "random_state": 0}
    model = DiDiClassifier(**huge)
    with pytest.raises(NonFiniteLossError, match="epoch [12];"):
        model.fit(TABLE, SPECIES)
    assert model.trial_ == []
    assert np.isfinite(model.predict_proba(TABLE)).all()
