"""scikit-learn's own checks: for the defaults none is expected to fail.

They are run again for chains of labels and for mini-batches. There, what cannot hold is listed with
its reason.
"""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from skdidicm import DiDiClassifier

CHAINS = DiDiClassifier(sampler="cl", max_epochs=80)
MINI_BATCHES = DiDiClassifier(batch_size=16, max_epochs=40)


def cannot_hold(estimator):
    """Return the checks that an estimator cannot pass, with the reasons."""
    if estimator.batch_size == "auto":
        return {}
    # scikit-learn repeats rows and expects the same fit as from integer weights.
    reason = "a row that is repeated falls into several mini-batches, one that is weighted into one"
    return {"check_sample_weight_equivalence_on_dense_data": reason}


@parametrize_with_checks([DiDiClassifier()])
def test_the_defaults_pass(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks([CHAINS, MINI_BATCHES], expected_failed_checks=cannot_hold)
def test_other_samplers_and_batches_pass(estimator, check):
    check(estimator)
