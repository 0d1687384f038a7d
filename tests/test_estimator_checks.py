"""scikit-learn's own checks, none of them expected to fail."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from skdidicm import DiDiClassifier


@parametrize_with_checks([DiDiClassifier()])
def test_scikit_learn_check(estimator, check):
    check(estimator)
