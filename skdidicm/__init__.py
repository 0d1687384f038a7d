"""Trustworthy class probabilities by discrete diffusion over labels.

`DiDiClassifier` is a scikit-learn classifier; `skdidicm.core` holds the mathematics.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from skdidicm.classifier import DiDiClassifier
    from skdidicm.saving.trusted import SKOPS_TRUSTED

    __version__: str

__all__ = ["SKOPS_TRUSTED", "DiDiClassifier", "__version__"]


def __getattr__(name: str) -> Any:
    # Loaded when asked for, so that `skdidicm --help` need not wait for scikit-learn.
    if name == "DiDiClassifier":
        from skdidicm.classifier import DiDiClassifier

        return DiDiClassifier
    if name == "SKOPS_TRUSTED":
        from skdidicm.saving.trusted import SKOPS_TRUSTED

        return SKOPS_TRUSTED
    if name == "__version__":
        from importlib.metadata import version

        return version("skdidicm")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
