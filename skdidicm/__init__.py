"""Trustworthy class probabilities by discrete diffusion over labels.

`DiDiClassifier` is a scikit-learn classifier; `skdidicm.core` holds the mathematics.
"""

from importlib.metadata import version

from skdidicm.classifier import DiDiClassifier

__all__ = ["DiDiClassifier", "__version__"]

__version__ = version("skdidicm")
