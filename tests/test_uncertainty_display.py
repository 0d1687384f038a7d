import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

from skdidicm.metrics import accuracy_at_coverage
from skdidicm.plotting import UncertaintyDisplay

pytest.importorskip("matplotlib").use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")
Figure = pytest.importorskip("matplotlib.figure").Figure


@pytest.fixture
def ax():
    return Figure(layout="constrained").add_subplot()


@pytest.fixture(autouse=True)
def _no_pyplot_figure_is_left():
    yield
    plt.close("all")


@pytest.fixture
def case():
    """Labels and probabilities in tenths, so that many rows are equally confident."""
    rng = np.random.default_rng(0)
    proba = rng.multinomial(10, [0.6, 0.3, 0.1], 200) / 10
    return rng.integers(3, size=200), proba


def curve_by_hand(labels, proba):
    """For every confidence, in plain Python, the rows that are at least as confident."""
    points = []
    for least in sorted({max(p) for p in proba}, reverse=True):
        kept = [(p, y) for p, y in zip(proba, labels, strict=True) if max(p) >= least]
        hits = sum(p.index(max(p)) == y for p, y in kept)
        points.append((len(kept) / len(labels), hits / len(kept)))
    return points


def test_the_curve_is_that_of_a_loop_over_thresholds(case):
    coverage, accuracy = accuracy_at_coverage(*case)
    expected = curve_by_hand(case[0].tolist(), case[1].tolist())
    np.testing.assert_allclose(np.stack([coverage, accuracy], axis=1), expected)


def test_the_order_of_the_rows_does_not_matter(case):
    order = np.random.default_rng(1).permutation(200)
    for one, other in zip(
        accuracy_at_coverage(*case),
        accuracy_at_coverage(case[0][order], case[1][order]),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_the_picture_shows_the_curve_of_predictions(case, ax):
    display = UncertaintyDisplay.from_predictions(*case, name="mine", ax=ax)
    expected = 100 * np.array(curve_by_hand(case[0].tolist(), case[1].tolist()))
    np.testing.assert_allclose(display.line_.get_xydata(), expected)
    assert display.ax_ is ax
    assert display.figure_ is ax.figure
    accuracy = np.mean(case[1].argmax(axis=1) == case[0])
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts == [f"mine (all rows: {100 * accuracy:.1f}%)", "best possible"]
    assert ax.get_xlabel() == "Coverage: rows kept (%)"
    assert ax.get_ylabel() == "Accuracy on these rows (%)"
    display.figure_.canvas.draw()


def test_the_best_curve_is_that_of_probabilities_that_know_their_errors(case, ax):
    labels, proba = case
    right = proba.argmax(axis=1) == labels
    places = np.linspace(0.5, 0.6, 200) + 0.3 * right
    knowing = np.where(np.eye(3, dtype=bool)[proba.argmax(axis=1)], places[:, None], 0.0)
    coverage, accuracy = accuracy_at_coverage(labels, knowing)
    display = UncertaintyDisplay.from_predictions(*case, ax=ax)
    (best,) = [line for line in display.ax_.lines if line is not display.line_]
    shares, shown = best.get_data()
    np.testing.assert_allclose(np.interp(shares, 100 * coverage, 100 * accuracy), shown, atol=0.1)


def test_any_classifier_with_probabilities_works_under_its_own_labels(ax):
    X, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    estimator = LogisticRegression(C=0.01, max_iter=1000).fit(X, names)
    display = UncertaintyDisplay.from_estimator(estimator, X, names, ax=ax)
    assert display.accuracy[-1] == pytest.approx(estimator.score(X, names))
    assert display.name == "LogisticRegression"


def test_two_curves_in_one_picture_look_different(case):
    first = UncertaintyDisplay.from_predictions(*case, name="a")
    second = UncertaintyDisplay.from_predictions(*case, name="b", ax=first.ax_)
    assert plt.get_fignums() == [1]
    assert first.line_.get_color() != second.line_.get_color()
    assert first.line_.get_linestyle() != second.line_.get_linestyle()
    texts = [text.get_text() for text in first.ax_.get_legend().get_texts()]
    assert texts.count("best possible") == 1
    assert (
        UncertaintyDisplay([1], [0.5]).plot(first.ax_, color="black").line_.get_color() == "black"
    )


def test_what_cannot_be_drawn_is_refused(case, ax):
    with pytest.raises(ValueError, match="expected \\(m,\\) for both"):
        UncertaintyDisplay([0.5, 1.0], [1.0])
    with pytest.raises(ValueError, match="labels without a column"):
        UncertaintyDisplay.from_predictions(case[0] + 1, case[1], ax=ax)


def test_a_threshold_is_marked_where_it_keeps_rows(case, ax):
    display = UncertaintyDisplay.from_predictions(*case, threshold=0.7, ax=ax)
    kept = case[1].max(axis=1) >= 0.7
    right = case[1].argmax(axis=1) == case[0]
    (mark,) = [line for line in ax.lines if line.get_marker() == "o"]
    expected = [[100 * kept.mean(), 100 * right[kept].mean()]]
    np.testing.assert_allclose(mark.get_xydata(), expected)
    assert display.ax_.texts[0].get_text().endswith(f"on {100 * kept.mean():.0f}% of the rows")
