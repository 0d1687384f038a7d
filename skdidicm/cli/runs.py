"""Models of run folders, for the commands that take one."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from skdidicm.saving.run_folder import find_model

if TYPE_CHECKING:
    from skdidicm.classifier import DiDiClassifier


def load_model(
    path: Path, where: Mapping[str, Any], sampler: Mapping[str, Any]
) -> "DiDiClassifier":
    """Return the classifier of a run folder or model file, with other settings of the sampler."""
    from skdidicm import DiDiClassifier

    classifier = DiDiClassifier.load(find_model(path), **where)
    classifier.set_params(verbose=0, **sampler)
    return classifier
