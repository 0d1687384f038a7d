from types import SimpleNamespace

import numpy as np
import pytest

from skdidicm.plotting import DoubtfulLabelsDisplay
from skdidicm.predict.label_quality import LabelQuality

pytest.importorskip("matplotlib").use("Agg")
plt = pytest.importorskip("matplotlib.pyplot")


@pytest.fixture(autouse=True)
def _no_pyplot_figure_is_left():
    yield
    plt.close("all")


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_the_worst_images_come_first_and_unjudged_ones_never(shape):
    probability = np.array([0.9, np.nan, 0.2, 0.6])
    likelier = np.ma.masked_array(["a", "b", "b", "a"], np.isnan(probability))
    estimator = SimpleNamespace(label_quality_=LabelQuality(probability, likelier))
    X = np.arange(4 * np.prod(shape)).reshape(4, *shape) % 256
    display = DoubtfulLabelsDisplay.from_estimator(estimator, X, ["a", "a", "a", "b"], n_images=9)
    np.testing.assert_array_equal(display.images, X[[2, 3, 0]])
    titles = [ax.get_title() for ax in display.axes_]
    assert titles == ["a: 20%\nrather b", "b: 60%\nrather a", "a: 90%\nrather a"]
    np.testing.assert_array_equal(display.axes_[0].images[0].get_array(), X[2])


def test_rows_of_other_data_and_other_shapes_are_refused():
    quality = LabelQuality(np.array([0.5, 0.6]), np.array([0, 1]))
    with pytest.raises(
        ValueError, match="X has 3 rows and y 3, but the estimator was trained on 2"
    ):
        DoubtfulLabelsDisplay.from_estimator(
            SimpleNamespace(label_quality_=quality), np.zeros((3, 2, 2)), [0, 1, 0]
        )
    with pytest.raises(ValueError, match=r"images has shape \(2, 5\)"):
        DoubtfulLabelsDisplay(np.zeros((2, 5)), [0, 1], [1, 0], [0.5, 0.5])
