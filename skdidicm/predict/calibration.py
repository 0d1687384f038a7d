"""Calibrators other than a temperature: a function of probabilities, or an estimator of labels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def fit_calibrator(
    calibrator: Any,
    proba: NDArray[np.float64],
    target: NDArray[np.floating],
    weight: NDArray[np.floating],
) -> Any:
    """Return a copy of an estimator, fitted on probabilities (m, k) and the numbers of classes.

    Weights are passed where its `fit` takes them and they differ.
    """
    from sklearn.base import clone
    from sklearn.utils.validation import has_fit_parameter

    fresh = clone(calibrator, safe=False)
    weighted = has_fit_parameter(fresh, "sample_weight") and np.ptp(weight) > 0
    extra = {"sample_weight": weight} if weighted else {}
    fresh.fit(proba, target.argmax(axis=1), **extra)
    return fresh


def is_estimator(calibrator: Any) -> bool:
    """Return whether a calibrator has to be fitted first."""
    return hasattr(calibrator, "fit") and hasattr(calibrator, "predict_proba")


def calibrated(calibrator: Any, proba: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what a fitted calibrator makes of probabilities (..., k).

    Raises
    ------
    ValueError
        If that are no class probabilities.
    """
    k = proba.shape[-1]
    rows = proba.reshape(-1, k)
    if is_estimator(calibrator):
        found = np.zeros((len(rows), k))
        answer = np.asarray(calibrator.predict_proba(rows))
        columns = np.asarray(getattr(calibrator, "classes_", np.arange(answer.shape[1])))
        found[:, columns.astype(np.intp)] = answer  # a class may be missing among held-out rows
    else:
        found = np.asarray(calibrator(rows), dtype=np.float64)
    if found.shape != rows.shape or not (found.min(initial=0) >= 0 and np.isfinite(found).all()):
        raise ValueError(
            f"the calibrator returned {found.dtype} of shape {found.shape} for probabilities of "
            f"shape {rows.shape}; expected class probabilities of the same shape."
        )
    total = found.sum(axis=1, keepdims=True)
    return np.asarray((found / total).reshape(proba.shape))
