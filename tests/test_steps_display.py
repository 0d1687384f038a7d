import math

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from skdidicm import DiDiClassifier
from skdidicm.plotting import StepsDisplay

pytest.importorskip("torch")
pytest.importorskip("matplotlib").use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")
Figure = pytest.importorskip("matplotlib.figure").Figure

X, Y = load_iris(return_X_y=True)
NAMES = np.array(["setosa", "versicolor", "virginica"])
TEST = X[1::2], NAMES[Y[1::2]]


@pytest.fixture(scope="module")
def classifier():
    return DiDiClassifier(max_epochs=5, random_state=0).fit(X[::2], NAMES[Y[::2]])


@pytest.fixture
def ax():
    return Figure(layout="constrained").add_subplot()


@pytest.fixture(autouse=True)
def _no_pyplot_figure_is_left():
    yield
    plt.close("all")


@pytest.mark.parametrize("sampler", ["cp", "cl"])
def test_the_curves_are_those_of_a_classifier_with_so_many_steps(classifier, ax, sampler):
    steps, figure = (1, 3, 8), ax.figure
    display = StepsDisplay.from_estimator(classifier, *TEST, steps=steps, sampler=sampler, ax=ax)
    assert display.figure_ is figure
    assert display.lines_[0].get_xdata().tolist() == list(steps)
    for i, n in enumerate(steps):
        fresh = DiDiClassifier(steps=n, sampler=sampler, max_epochs=5, random_state=0)
        fresh.fit(X[::2], NAMES[Y[::2]])
        p, right = fresh.predict_proba(TEST[0]).tolist(), NAMES.tolist()
        nll = -sum(math.log(row[right.index(y)]) for row, y in zip(p, TEST[1], strict=True)) / 75
        share = float(np.mean(fresh.predict(TEST[0]) == TEST[1]))
        assert display.lines_[0].get_ydata()[i] == pytest.approx(100 * share)
        assert display.lines_[1].get_ydata()[i] == pytest.approx(nll)


@pytest.mark.parametrize("sampler", ["cp", "cl"])
def test_every_step_is_one_call_of_the_network(classifier, ax, sampler, monkeypatch):
    calls, log_score = [], classifier.network_.log_score

    def counted(*arguments):
        calls.append(1)
        return log_score(*arguments)

    monkeypatch.setattr(classifier.network_, "log_score", counted)
    # Joint answers do not call log_score; None leaves each network to answer alone.
    monkeypatch.setattr(classifier.network_, "answer", lambda others, levels: None)
    StepsDisplay.from_estimator(classifier, *TEST, steps=(5,), sampler=sampler, ax=ax)
    assert len(calls) == 5


def test_the_classifier_stays_as_it_is(classifier, ax):
    before = classifier.get_params()
    StepsDisplay.from_estimator(classifier, *TEST, steps=(1, 2), sampler="cl", ax=ax)
    assert classifier.get_params() == before


def test_two_samplers_share_one_picture_and_look_different(classifier):
    cp = StepsDisplay.from_estimator(classifier, *TEST, steps=(1, 4))
    cl = StepsDisplay.from_estimator(classifier, *TEST, steps=(2, 4), sampler="cl", ax=cp.axes_)
    assert plt.get_fignums() == [1]
    assert cl.ax_ is cp.ax_
    assert [text.get_text() for text in cp.ax_.get_legend().get_texts()] == ["CP", "CL, 16 chains"]
    for first, second in zip(cp.lines_, cl.lines_, strict=True):
        assert first.get_color() != second.get_color()
        assert first.get_linestyle() != second.get_linestyle()
    assert [label.get_text() for label in cp.ax_.get_xticklabels()] == ["1", "2", "4"]
    cp.figure_.canvas.draw()


def test_axes_are_named_with_their_units(ax):
    display = StepsDisplay([4, 1], [0.9, 0.5], [0.2, 1.5], name="mine").plot(ax, color="black")
    assert [panel.get_ylabel() for panel in display.axes_] == ["Accuracy (%)", "NLL (nats per row)"]
    assert {panel.get_xlabel() for panel in display.axes_} == {
        "Reverse steps (calls of the network)"
    }
    assert display.lines_[0].get_xydata().tolist() == [[1, 50], [4, 90]]
    assert display.lines_[0].get_color() == "black"
    assert display.lines_[0].get_label() == "mine"


def test_what_cannot_be_drawn_is_refused(classifier, ax):
    with pytest.raises(ValueError, match="expected \\(s,\\) with s >= 1"):
        StepsDisplay([1, 2], [0.5], [0.5, 0.6])
    with pytest.raises(ValueError, match="expected \\(s,\\) with s >= 1"):
        StepsDisplay.from_estimator(classifier, *TEST, steps=(), ax=ax)
    with pytest.raises(ValueError, match="steps"):
        StepsDisplay.from_estimator(classifier, *TEST, steps=(0,), ax=ax)
    with pytest.raises(ValueError, match="ax holds 3 axes; expected one or two"):
        StepsDisplay([1], [0.5], [0.5]).plot([ax] * 3)
    other = LogisticRegression(max_iter=1000).fit(X, Y)
    with pytest.raises(TypeError, match="estimator is a LogisticRegression; expected a fitted"):
        StepsDisplay.from_estimator(other, *TEST, ax=ax)
