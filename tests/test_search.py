"""scikit-learn's tools around the estimator: search, cross-validation, calibration, workers."""

import numpy as np
import pytest
from joblib import parallel_config
from sklearn.calibration import CalibratedClassifierCV
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import (
    GridSearchCV,
    StratifiedKFold,
    cross_val_predict,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

pytest.importorskip("torch")

X, y = load_iris(return_X_y=True)
IMAGES, DIGITS = (a[:90] for a in load_digits(n_class=3, return_X_y=True))
IMAGES = IMAGES.reshape(-1, 8, 8)
FOLDS = StratifiedKFold(3, shuffle=True, random_state=0)
GRID = {"steps": [1, 4], "conditioning": ["last", "head"]}


def scores_by_hand(model, folds=FOLDS):
    return [
        -log_loss(y[test], model.fit(X[train], y[train]).predict_proba(X[test]))
        for train, test in folds.split(X, y)
    ]


def test_a_grid_search_finds_what_a_loop_finds(quick):
    search = GridSearchCV(quick(), GRID, cv=FOLDS, scoring="neg_log_loss").fit(X, y)
    by_hand = [
        np.mean(scores_by_hand(quick(steps=steps, conditioning=conditioning)))
        for conditioning in GRID["conditioning"]
        for steps in GRID["steps"]
    ]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], by_hand)
    assert search.best_score_ == max(by_hand)
    assert search.best_estimator_.n_iter_ == 2
    assert search.predict_proba(X).shape == (150, 3)


def test_a_search_reaches_into_a_pipeline(quick):
    pipeline = make_pipeline(StandardScaler(), quick())
    search = GridSearchCV(pipeline, {"didiclassifier__learning_rate": [0.0, 0.02]}, cv=2)
    assert search.fit(X, y).best_params_ == {"didiclassifier__learning_rate": 0.02}


def test_cross_validation_of_tables_and_images_is_that_of_a_loop(quick):
    found = cross_val_score(quick(), X, y, cv=FOLDS, scoring="neg_log_loss")
    np.testing.assert_allclose(found, scores_by_hand(quick()))
    p = cross_val_predict(quick(), IMAGES, DIGITS, cv=FOLDS, method="predict_proba")
    for train, test in FOLDS.split(IMAGES, DIGITS):
        model = quick().fit(IMAGES[train], DIGITS[train])
        np.testing.assert_array_equal(p[test], model.predict_proba(IMAGES[test]))


@pytest.mark.parametrize("ensemble", [True, False])
def test_calibration_can_be_put_on_top(quick, ensemble):
    base = quick(max_epochs=20, learning_rate=0.01)
    model = CalibratedClassifierCV(base, cv=2, ensemble=ensemble).fit(X, y)
    p = model.predict_proba(X)
    np.testing.assert_allclose(p.sum(axis=1), 1)
    assert model.score(X, y) > 0.8
    frozen = FrozenEstimator(base.fit(X, y))
    assert CalibratedClassifierCV(frozen, method="isotonic").fit(X, y).score(X, y) > 0.8


def test_it_votes_and_bags_with_others(quick):
    members = [("a", quick()), ("b", LogisticRegression(max_iter=500))]
    vote = VotingClassifier(members, voting="soft").fit(X, y)
    expected = np.mean([m.predict_proba(X) for m in vote.estimators_], axis=0)
    np.testing.assert_allclose(vote.predict_proba(X), expected)
    bag = BaggingClassifier(quick(), n_estimators=2, random_state=0).fit(X, y)
    assert bag.predict_proba(X).shape == (150, 3)


def test_sample_weights_reach_the_estimator_in_cross_validation(quick):
    weight = np.where(y == 2, 1e-9, 1.0)
    p = cross_val_predict(
        quick(max_epochs=40, learning_rate=0.01), X, y, cv=FOLDS, params={"sample_weight": weight}
    )
    assert accuracy_score(y[y < 2], p[y < 2]) > 0.8
    assert (p[y == 2] != 2).all()


def test_threads_find_what_one_worker_finds(quick):
    alone = cross_val_score(quick(), X, y, cv=FOLDS, scoring="neg_log_loss")
    with parallel_config("threading", n_jobs=3):
        together = cross_val_score(quick(), X, y, cv=FOLDS, scoring="neg_log_loss")
    np.testing.assert_array_equal(together, alone)


@pytest.mark.slow
def test_processes_find_what_one_worker_finds(quick):
    alone = GridSearchCV(quick(), GRID, cv=2).fit(X, y)
    together = GridSearchCV(quick(), GRID, cv=2, n_jobs=2).fit(X, y)
    for name in ("mean_test_score", "params"):
        np.testing.assert_array_equal(alone.cv_results_[name], together.cv_results_[name])
    np.testing.assert_array_equal(alone.predict_proba(X), together.predict_proba(X))


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of the cluster's own libraries
def test_a_dask_cluster_finds_what_one_worker_finds(quick):
    distributed = pytest.importorskip("distributed")
    alone = GridSearchCV(quick(), GRID, cv=2).fit(X, y)
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        parallel_config("dask"),
    ):
        together = GridSearchCV(quick(), GRID, cv=2).fit(X, y)
    np.testing.assert_array_equal(
        alone.cv_results_["mean_test_score"], together.cv_results_["mean_test_score"]
    )
    np.testing.assert_array_equal(alone.predict_proba(X), together.predict_proba(X))
