import subprocess
import sys

import numpy as np
import pytest

from skdidicm.plotting import HistoryDisplay, PosteriorPathDisplay
from skdidicm.plotting.canvas import OTHER_COLOR, TRUE_COLOR, WRONG_COLOR

pytest.importorskip("matplotlib").use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")
Figure = pytest.importorskip("matplotlib.figure").Figure
to_hex = pytest.importorskip("matplotlib.colors").to_hex

NAMES = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu"]


class FakeClassifier:
    """What the displays ask of an estimator."""

    classes_ = np.array([10, 20, 30])
    history_ = (
        {"epoch": 1, "loss": 2.0, "val_nll": 1.0},
        {"epoch": 2, "loss": 1.0, "val_nll": 0.8},
    )

    def predict_path(self, X):
        end = np.tile([0.2, 0.7, 0.1], (len(X), 1))
        return np.linspace(np.full_like(end, 1 / 3), end, 5, axis=1)


@pytest.fixture
def path():
    rng = np.random.default_rng(0)
    end = rng.dirichlet(np.full(7, 0.3), 3)
    return np.linspace(np.full_like(end, 1 / 7), end, 9, axis=1)


@pytest.fixture
def ax():
    return Figure(layout="constrained").add_subplot()


@pytest.fixture(autouse=True)
def _no_pyplot_figure_is_left():
    yield
    plt.close("all")


def bars(ax):
    return [bar.get_width() for bar in ax.patches]


def test_every_row_has_an_image_and_a_panel_for_selected_steps(path, ax):
    display = PosteriorPathDisplay(path, NAMES, np.zeros((3, 4, 4)), [0, 1, 2]).plot(ax)
    assert display.axes_.shape == (3, 6)
    titles = [panel.get_title() for panel in display.axes_[0, 1:]]
    assert titles == ["start", "step 2", "step 4", "step 6", "step 8: prediction"]
    display.figure_.canvas.draw()


def test_bars_are_the_probabilities_of_the_leading_classes(path, ax):
    display = PosteriorPathDisplay(path, NAMES).plot(ax, top=3)
    for i, row in enumerate(display.axes_):
        leading = sorted(path[i, -1], reverse=True)[:3]
        np.testing.assert_allclose(bars(row[-1]), leading)
        np.testing.assert_allclose(bars(row[0]), 1 / 7)
        names = [label.get_text() for label in row[0].get_yticklabels()]
        assert [path[i, -1, NAMES.index(name)] for name in names] == leading


def test_the_true_class_is_shown_however_unlikely(path, ax):
    least = path[:, -1].argmin(axis=1)
    display = PosteriorPathDisplay(path, NAMES, y_true=least).plot(ax, top=2)
    for i, row in enumerate(display.axes_):
        colors = [to_hex(bar.get_facecolor()).upper() for bar in row[-1].patches]
        assert colors == [WRONG_COLOR, OTHER_COLOR, TRUE_COLOR]
        assert row[0].get_yticklabels()[-1].get_text() == NAMES[least[i]]


def test_few_steps_and_many_steps_have_as_many_panels_as_there_is_room(path, ax):
    assert PosteriorPathDisplay(path[:, -2:], NAMES).plot(ax).axes_.shape == (3, 2)
    more = PosteriorPathDisplay(path, NAMES).plot(max_panels=3)
    assert [panel.get_title() for panel in more.axes_[0]] == [
        "start",
        "step 4",
        "step 8: prediction",
    ]


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 1), (5, 4, 2), (5, 4, 3), (5, 4, 4)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_images_of_every_kind_are_shown(path, ax, shape, dtype):
    images = (255 * np.random.default_rng(0).random((3, *shape)) - 20 * (dtype != np.uint8)).astype(
        dtype
    )
    display = PosteriorPathDisplay(path[:1], NAMES, images[:1]).plot(ax, max_panels=2)
    display.figure_.canvas.draw()


def test_the_path_of_an_estimator_is_shown_under_its_labels(ax):
    display = PosteriorPathDisplay.from_estimator(
        FakeClassifier(), np.zeros((2, 3, 3)), [20, 10], ax=ax
    )
    assert display.class_names == ["10", "20", "30"]
    assert display.axes_[0, 0].get_title() == "true: 20"
    assert display.y_true.tolist() == [1, 0]
    table = PosteriorPathDisplay.from_estimator(
        FakeClassifier(), np.zeros((2, 9)), class_names="abc"
    )
    assert table.images is None
    assert table.class_names == ["a", "b", "c"]


def test_a_given_axes_makes_no_pyplot_figure(path, ax):
    PosteriorPathDisplay(path, NAMES).plot(ax)
    HistoryDisplay(FakeClassifier.history_).plot(Figure().add_subplot())
    assert plt.get_fignums() == []
    HistoryDisplay(FakeClassifier.history_).plot()
    assert len(plt.get_fignums()) == 1


def test_one_place_of_a_larger_figure_can_be_taken(path):
    figure = Figure(layout="constrained")
    left, right = figure.subplots(1, 2)
    display = PosteriorPathDisplay(path, NAMES).plot(right)
    assert display.figure_ is figure
    assert left in figure.axes
    figure.canvas.draw()
    assert all(panel.get_position().x0 > 0.45 for panel in display.axes_.ravel())


def test_the_learning_curve_has_a_panel_for_every_figure_there_is():
    display = HistoryDisplay.from_estimator(FakeClassifier())
    assert [panel.get_title() for panel in display.axes_] == ["Training loss", "Validation NLL"]
    np.testing.assert_allclose(display.axes_[1].lines[0].get_xydata(), [[1, 1.0], [2, 0.8]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: PosteriorPathDisplay(path[0], NAMES), "expected \\(n, steps \\+ 1, k\\)"),
        (lambda path: PosteriorPathDisplay(path, NAMES[:3]), "for 3 class names"),
        (lambda path: PosteriorPathDisplay(path[:0], NAMES), "at least one row"),
        (lambda path: PosteriorPathDisplay(path, NAMES, y_true=[0]), "y_true has 1 rows"),
        (lambda path: PosteriorPathDisplay(path, NAMES, np.zeros((2, 3, 3))), "images has 2 rows"),
        (lambda path: HistoryDisplay([]), "history holds 0 rows"),
        (
            lambda path: PosteriorPathDisplay.from_estimator(
                FakeClassifier(), np.zeros((1, 2)), [7]
            ),
            "not fitted on: \\['7'\\]",
        ),
        (
            lambda path: PosteriorPathDisplay(path, NAMES).plot(Figure().add_axes((0, 0, 1, 1))),
            "make it with add_subplot",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(path, make, message):
    with pytest.raises(ValueError, match=message):
        make(path)


def test_importing_the_displays_imports_no_matplotlib():
    code = "import sys, skdidicm.plotting; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
