"""Training an estimator: weights, validation, early stopping, history, going on."""

import numpy as np
import pytest
from sklearn.datasets import load_iris, load_wine
from sklearn.metrics import accuracy_score, log_loss
from sklearn.utils.class_weight import compute_sample_weight

from skdidicm.fit.plan import hold_out
from skdidicm.fit.state import Seeds
from skdidicm.fit.training import Rows, validation_scores

torch = pytest.importorskip("torch")

X, y = load_iris(return_X_y=True)
RARE = np.r_[0:50, 50:70, 100:110]  # 50, 20 and 10 rows of the three classes


def test_a_row_of_weight_zero_is_as_good_as_absent(quick):
    weight = np.linspace(0.5, 2, len(X))
    weight[::3] = 0
    keep = weight > 0
    for settings in ({}, {"class_weight": "balanced"}, {"early_stopping": True}):
        weighted = quick(**settings).fit(X, y, sample_weight=weight)
        removed = quick(**settings).fit(X[keep], y[keep], sample_weight=weight[keep])
        np.testing.assert_allclose(weighted.predict_proba(X), removed.predict_proba(X), rtol=1e-9)


@pytest.mark.parametrize("class_weight", [None, "balanced"])
def test_an_integer_weight_is_as_good_as_repetition(quick, class_weight):
    times = np.arange(len(X)) % 3
    settings = {"class_weight": class_weight, "batch_size": 300, "precision": "float64"}
    weighted = quick(**settings).fit(X, y, sample_weight=times)
    repeated = quick(**settings).fit(np.repeat(X, times, axis=0), np.repeat(y, times))
    np.testing.assert_allclose(weighted.predict_proba(X), repeated.predict_proba(X), rtol=1e-6)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1.0, 1: 2.5, 2: 5.0}, {2: 9.0}])
def test_class_weights_are_sample_weights_by_class(quick, class_weight):
    own = quick(class_weight=class_weight).fit(X[RARE], y[RARE])
    weight = compute_sample_weight(class_weight, y[RARE])
    same = quick().fit(X[RARE], y[RARE], sample_weight=weight)
    np.testing.assert_allclose(own.predict_proba(X), same.predict_proba(X), rtol=1e-9)
    plain = quick().fit(X[RARE], y[RARE])
    assert np.abs(own.predict_proba(X) - plain.predict_proba(X)).max() > 0.01


def test_class_weights_may_name_a_class_that_a_batch_lacks(quick):
    model = quick(class_weight={2: 9.0}).partial_fit(X[:50], y[:50], classes=[0, 1, 2])
    assert model.n_iter_ == 1


def test_only_the_ratio_of_sample_weights_matters(quick):
    weight = np.linspace(0.5, 2, len(X))
    small, large = (quick().fit(X, y, sample_weight=c * weight) for c in (1e-3, 1e3))
    np.testing.assert_allclose(small.predict_proba(X), large.predict_proba(X), rtol=1e-6)


def test_history_has_one_row_per_epoch(quick):
    model = quick(max_epochs=25).fit(X, y)
    assert [row["epoch"] for row in model.history_] == list(range(1, 26))
    assert model.n_iter_ == 25
    for row in model.history_:
        assert row.keys() == {"epoch", "loss", "learning_rate", "seconds"}
        assert 0 <= row["learning_rate"] <= 0.01
        assert row["seconds"] > 0
    losses = [row["loss"] for row in model.history_]
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    watched = quick(max_epochs=1).fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    assert watched.history_[0].keys() > {"val_accuracy", "val_nll"}


def test_validation_scores_are_those_of_scikit_learn_with_the_final_weights(quick):
    model = quick().fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    p, last = model.predict_proba(X[1::2]), model.history_[-1]
    assert last["val_nll"] == pytest.approx(log_loss(y[1::2], p), rel=1e-9)
    assert last["val_accuracy"] == pytest.approx(accuracy_score(y[1::2], p.argmax(axis=1)))
    weight = np.linspace(0, 1, 75)
    scores = validation_scores(p, Rows(X[1::2], np.eye(3)[y[1::2]], weight))
    assert scores["val_nll"] == pytest.approx(log_loss(y[1::2], p, sample_weight=weight))


@pytest.mark.parametrize("given", [True, False], ids=["X_val given", "rows held out"])
def test_early_stopping_ends_with_the_best_weights_of_its_history(quick, given, rng):
    noisy = np.where(rng.random(len(y)) < 0.5, rng.integers(0, 3, len(y)), y)
    validation = {"X_val": X[1::2], "y_val": noisy[1::2]} if given else {}
    model = quick(
        early_stopping=True, n_iter_no_change=3, max_epochs=80, validation_fraction=0.4,
        learning_rate=0.05, temperature=1,
    ).fit(X[::2], noisy[::2], **validation)  # fmt: skip
    nll = [row["val_nll"] for row in model.history_]
    assert np.argmin(nll) + 1 + 3 == model.n_iter_ == len(nll) < 80
    if given:
        final = log_loss(noisy[1::2], model.predict_proba(X[1::2]))
        assert final == pytest.approx(min(nll), rel=1e-9)
        assert final < nll[-1]


def test_held_out_rows_are_stratified_and_not_trained_on():
    rows = Rows(X, np.eye(3)[y], np.ones(len(X)))
    train, held = map(rows.take, hold_out(rows, 0.2, seed=1))
    assert held.target.sum(axis=0).tolist() == [10, 10, 10]
    both = np.concatenate([train.x, held.x])
    np.testing.assert_array_equal(np.sort(both, axis=0), np.sort(X, axis=0))
    assert len(held.x) == 30


@pytest.mark.parametrize(("n", "fraction"), [(2, 0.1), (3, 0.99), (6, 0.9), (7, 0.5)])
def test_few_rows_are_split_so_that_neither_part_is_empty(n, fraction):
    rows = Rows(X[:n], np.eye(3)[np.arange(n) % 3], np.ones(n))
    train, held = map(rows.take, hold_out(rows, fraction, seed=0))
    assert len(train.x) + len(held.x) == n
    assert min(len(train.x), len(held.x)) > 0


def test_one_row_cannot_be_held_out(quick):
    with pytest.raises(ValueError, match=r"X has one row; pass more rows"):
        quick(early_stopping=True).fit(X[:1], y[:1])
    with pytest.raises(ValueError, match=r"X has 4; pass more rows"):
        quick(choose_epochs=True).fit(X[:4], [0, 1, 0, 1])


@pytest.mark.parametrize("settings", [{"choose_epochs": True}, {"early_stopping": True}])
@pytest.mark.parametrize("labels", [np.arange(20) % 2, np.arange(20)], ids=["constant", "single"])
def test_rows_that_do_not_differ_within_classes_can_be_held_out(quick, settings, labels):
    rows = np.ones((20, 2)) if labels.max() == 1 else X[:20]
    model = quick(**settings).fit(rows, labels)
    assert np.isfinite(model.familiarity(rows)).all()


def test_callbacks_see_the_estimator_and_every_row_of_its_history(quick):
    seen = []

    def first(model, row):
        seen.append((model, row))
        return np.bool_(len(seen) == 3)

    def second(model, row):
        seen.append(model.predict_proba(X[:2]).shape)

    model = quick(callbacks=[first, second], max_epochs=9).fit(X, y)
    assert model.n_iter_ == 2, "the third sight is the first callback's of the second epoch"
    assert [s[0] is model for s in seen[::2]] == [True, True]
    assert [s[1] for s in seen[::2]] == model.history_
    assert seen[1::2] == [(2, 3)] * 2, "callbacks after one that stops are called too"


def test_callbacks_count_epochs_on_as_the_history_does(quick):
    seen = []
    model = quick(callbacks=[lambda model, row: seen.append(row["epoch"])])
    for _ in range(3):
        model.partial_fit(X, y, classes=[0, 1, 2])
    assert seen == [row["epoch"] for row in model.history_] == [1, 2, 3]


def test_a_callback_that_answers_something_else_does_not_stop_training(quick):
    assert quick(callbacks=[lambda model, row: "go on"]).fit(X, y).n_iter_ == 2


def test_progress_is_shown_on_stderr_and_only_if_asked_for(quick, capfd):
    quick().fit(X, y)
    assert capfd.readouterr() == ("", "")
    quick(verbose=1).fit(X, y, X_val=X, y_val=y)
    out, err = capfd.readouterr()
    assert out == ""
    assert "100% at most" in err
    assert "val_nll" in err
    quick(verbose=1, choose_epochs=True).fit(X, y)
    _, err = capfd.readouterr()
    assert err.count("fit ") == 1  # one bar for trial and training
    assert "100%" in err


def test_partial_fit_trains_one_epoch_at_a_constant_rate_and_counts_on(quick):
    model = quick(learning_rate=0.01)
    for _ in range(30):
        model.partial_fit(X, y, classes=[0, 1, 2])
    assert model.n_iter_ == 30
    assert [row["epoch"] for row in model.history_] == list(range(1, 31))
    assert {row["learning_rate"] for row in model.history_} == {0.01}
    assert model.score(X, y) > 0.9


def test_partial_fit_goes_on_from_the_last_weights_and_averages_nothing(quick):
    ours, plain = (quick(average=average) for average in (True, False))
    for model in (ours, plain):
        for _ in range(3):
            model.partial_fit(X, y, classes=[0, 1, 2])
    np.testing.assert_array_equal(ours.predict_proba(X), plain.predict_proba(X))


def test_partial_fit_takes_rows_of_some_classes_and_single_rows(quick):
    model = quick().partial_fit(X[:1], y[:1], classes=[0, 1, 2])
    model.partial_fit(X[100:], y[100:]).partial_fit(X[50:51], y[50:51])
    assert model.predict_proba(X).shape == (150, 3)
    image = quick().partial_fit(X[:16].reshape(1, 8, 8), ["b"], classes=["a", "b"])
    assert image.predict(X[:16].reshape(1, 8, 8)).shape == (1,)


def test_warm_start_goes_on_and_a_cold_start_begins_again(quick):
    warm, cold = quick(warm_start=True, max_epochs=10), quick(max_epochs=10)
    for model in (warm, cold):
        model.fit(X, y)
        model.first = model.history_, model.predict_proba(X)
        model.fit(X, y)
    assert log_loss(y, warm.predict_proba(X)) < 0.9 * log_loss(y, warm.first[1])
    assert [row["epoch"] for row in warm.history_] == list(range(1, 11))
    np.testing.assert_array_equal(cold.predict_proba(X), cold.first[1])


def test_a_warm_start_keeps_the_objective_that_the_network_was_built_for(quick):
    settings = {"warm_start": True, "parameterization": "posterior"}
    kept, changed = (quick(**settings).fit(X, y) for _ in range(2))
    changed.set_params(objective="bayes_cross_entropy")
    np.testing.assert_array_equal(
        kept.fit(X, y).predict_proba(X), changed.fit(X, y).predict_proba(X)
    )


def test_one_class_needs_no_training(quick):
    model = quick().fit(X, np.full(len(X), "only"))
    np.testing.assert_allclose(model.predict_proba(X), np.ones((len(X), 1)), atol=1e-12)
    assert set(model.predict(X)) == {"only"}
    assert model.history_ == []
    assert model.predict_path(X[:2]).shape == (2, 9, 1)
    np.testing.assert_array_equal(model.sample_labels(X[:2]), [[1], [1]])


def test_a_constant_column_and_columns_of_any_scale_are_no_obstacle(quick):
    features, labels = load_wine(return_X_y=True)
    wild = np.c_[features * 10.0 ** np.arange(-6, 7), np.full(len(features), 1e9)]
    tame = np.c_[(features - features.mean(axis=0)) / features.std(axis=0), np.zeros(len(features))]
    models = [quick(max_epochs=10).fit(x, labels) for x in (wild, tame)]
    np.testing.assert_allclose(
        models[0].predict_proba(wild), models[1].predict_proba(tame), atol=1e-4
    )


def test_seeds_are_drawn_once_and_differ():
    first, second = Seeds.draw(5), Seeds.draw(np.random.RandomState(5))
    assert first == second
    assert len(set(first)) == 4
    assert Seeds.draw(6) != first
