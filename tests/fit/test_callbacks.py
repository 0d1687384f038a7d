"""scikit-learn's callback protocol, where this version of scikit-learn has it."""

import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris

from skdidicm import DiDiClassifier

callback = pytest.importorskip("sklearn.callback")

X, Y = load_iris(return_X_y=True)


class RecordingCallback:
    """A callback that notes what it is told, and stops after some epochs."""

    def __init__(self, stop_after=None):
        self.told, self.accuracies, self.stop_after = [], [], stop_after

    def setup(self, estimator, context):
        self.told.append("setup")

    def teardown(self, estimator, context):
        self.told.append("teardown")

    def on_fit_task_begin(self, estimator, context):
        self.told.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
        self.told.append(f"end {context.task_name}")
        if context.task_name == "epoch":
            self.accuracies.append(fitted_estimator.score(X, y))
            return len(self.accuracies) == self.stop_after
        return None


def make(**changes):
    return DiDiClassifier(max_epochs=3, random_state=0, **changes)


def test_every_epoch_is_a_task_of_fit():
    recorder = RecordingCallback()
    classifier = make().set_callbacks(recorder).fit(X, Y)
    epochs = ["begin epoch", "end epoch"] * 3
    assert recorder.told == ["setup", "begin fit", *epochs, "end fit", "teardown"]
    assert recorder.accuracies[-1] == classifier.score(X, Y)


def test_a_callback_can_stop_training():
    recorder = RecordingCallback(stop_after=2)
    classifier = make().set_callbacks(recorder).fit(X, Y)
    assert classifier.n_iter_ == 2
    assert recorder.told[-2:] == ["end fit", "teardown"]


def test_callbacks_change_nothing_about_the_result():
    plain = make().fit(X, Y).predict_proba(X)
    watched = make().set_callbacks(RecordingCallback()).fit(X, Y).predict_proba(X)
    assert (plain == watched).all()


def test_teardown_happens_when_fit_fails():
    recorder = RecordingCallback()

    def broken(estimator, row):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        make(callbacks=[broken]).set_callbacks(recorder).fit(X, Y)
    assert recorder.told[-1] == "teardown"


def test_scikit_learns_own_monitor_logs_a_score_per_epoch():
    monitor = callback.ScoringMonitor(scoring="accuracy")
    classifier = clone(make()).set_callbacks(monitor).fit(X, Y)
    log = monitor.get_logs()
    scores = [row["accuracy"] for row in log.data if "accuracy" in row]
    assert scores[-1] == classifier.score(X, Y)
    assert len(scores) >= 3
