import numpy as np
import pytest

from skdidicm.metrics import calibration_bins
from skdidicm.plotting import ReliabilityDisplay

pytest.importorskip("matplotlib").use("Agg")
Figure = pytest.importorskip("matplotlib.figure").Figure


@pytest.fixture
def ax():
    return Figure(layout="constrained").add_subplot()


@pytest.fixture
def case():
    rng = np.random.default_rng(0)
    return rng.integers(3, size=352), rng.dirichlet(np.ones(3), 352)


def test_points_and_numbers_of_rows_are_those_of_the_bins(case, ax):
    display = ReliabilityDisplay.from_predictions(*case, n_bins=8, ax=ax, name="mine")
    count, confidence, accuracy = calibration_bins(*case, n_bins=8)
    used = count > 0
    np.testing.assert_allclose(
        display.line_.get_xydata(), 100 * np.stack([confidence, accuracy], axis=1)[used]
    )
    numbers = [text.get_text() for text in ax.texts]
    assert numbers == [str(n) if n else "" for n in count]
    heights = [bar.get_height() for bar in display.bars_]
    np.testing.assert_allclose(heights, 100 * count / 352)
    assert "mine" in [text.get_text() for text in ax.get_legend().get_texts()]


def test_only_the_first_of_several_shows_its_numbers(case, ax):
    ReliabilityDisplay.from_predictions(*case, ax=ax)
    n_numbers = len(ax.texts)
    second = ReliabilityDisplay.from_predictions(*case, ax=ax, n_bins=5)
    assert second.bars_ is None
    assert len(ax.texts) == n_numbers


def test_a_fitted_classifier_will_do(ax):
    class Classifier:
        classes_ = np.array(["a", "b"])

        def predict_proba(self, X):
            return np.full((len(X), 2), 0.5)

    display = ReliabilityDisplay.from_estimator(Classifier(), np.zeros((4, 1)), ["a"] * 4, ax=ax)
    assert display.count.sum() == 4
    assert display.line_.get_label() == "Classifier"


def test_bins_of_different_numbers_are_refused():
    with pytest.raises(ValueError, match="expected one value per bin"):
        ReliabilityDisplay([1, 2], [0.5], [0.5])
