"""Models of runs: loading and scoring, for several commands."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdidicm.saving.run_folder import find_model

if TYPE_CHECKING:
    from skdidicm.classifier import DiDiClassifier
    from skdidicm.datasets import Split


def load_model(
    path: Path, where: Mapping[str, Any], sampler: Mapping[str, Any]
) -> "DiDiClassifier":
    """Return the classifier of a run folder or model file, with other settings of the sampler."""
    from skdidicm import DiDiClassifier

    classifier = DiDiClassifier.load(find_model(path), **where)
    classifier.set_params(verbose=0, **sampler)
    return classifier


def score_prior(classifier: "DiDiClassifier", data: "Split") -> dict[str, Any]:
    """Return the test figures of answering every row with the shares of the training classes."""
    import numpy as np

    from skdidicm.metrics import score_probabilities

    prior = np.tile(classifier.class_prior_, (len(data.y_test), 1))
    scores = score_probabilities(data.y_test, prior, classifier.classes_)
    return {f"prior_{name}": scores[name] for name in ("accuracy", "nll", "ece")}


def score(classifier: "DiDiClassifier", data: "Split") -> tuple[dict[str, Any], Any]:
    """Return the test figures and the test probabilities (n, k)."""
    from skdidicm.metrics import score_probabilities

    start = time.perf_counter()
    y_proba = classifier.predict_proba(data.X_test)
    seconds = time.perf_counter() - start
    scores = score_probabilities(data.y_test, y_proba, classifier.classes_)
    return {**scores, "prediction_seconds": seconds}, y_proba
