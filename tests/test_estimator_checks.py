"""scikit-learn's own checks: none is expected to fail.

Every run of the tests has them with few epochs; the slow tests have them with the defaults, and for
chains of labels, for mini-batches and for tiny images. There, what cannot hold is listed with its
reason.
"""

import numpy as np
import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import validate_data

from skdidicm import DiDiClassifier


class TinyImages(DiDiClassifier):
    """Takes the checks' tables, and makes a grey image one pixel wide of every row."""

    def _check_rows(self, X, *, expected):
        table = validate_data(self, X, reset=expected is None, dtype=[np.float64, np.float32])
        return table[:, :, None]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = False  # only tables have gaps, not pictures
        return tags


FEW_EPOCHS = DiDiClassifier(max_epochs=20)
CHAINS = DiDiClassifier(sampler="cl", max_epochs=80)
MINI_BATCHES = DiDiClassifier(batch_size=16, max_epochs=40)
# In float64, since the checks compare probabilities more closely than float32 can tell them apart.
IMAGES = TinyImages(
    network="didirn-tiny", conditioning="last", precision="float64", augment=None, max_epochs=15
)


def cannot_hold(estimator):
    """Return the checks that an estimator cannot pass, with the reasons."""
    # scikit-learn repeats rows and expects the same fit as from integer weights.
    if isinstance(estimator, TinyImages):
        reason = "BatchNorm counts a row that is repeated twice, and one that is weighted once"
    elif estimator.batch_size != "auto":
        reason = "a row that is repeated falls into several mini-batches, a weighted one into one"
    else:
        return {}
    return {"check_sample_weight_equivalence_on_dense_data": reason}


@parametrize_with_checks([FEW_EPOCHS])
def test_few_epochs_pass(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([DiDiClassifier()])
def test_the_defaults_pass(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([CHAINS, MINI_BATCHES, IMAGES], expected_failed_checks=cannot_hold)
def test_other_samplers_batches_and_images_pass(estimator, check):
    check(estimator)
