"""Corruptions of ImageNet-C, by the package imagecorruptions."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

_MIN_SIZE = 32


class Corruption:
    """A corruption of pixels uint8 (h, w, 3), written NAME:SEVERITY, such as "fog:3".

    Some corruptions draw from NumPy's global generator; seed it for reproducible results.

    Raises
    ------
    ValueError
        If the corruption or the severity is unknown.
    ImportError
        If the package is not installed.
    """

    def __init__(self, text: str) -> None:
        try:
            import imagecorruptions
        except ImportError as error:
            raise ImportError(
                "--corrupt needs the package imagecorruptions; install it with: "
                "pip install imagecorruptions-imaug"
            ) from error
        name, _, severity = text.partition(":")
        names = imagecorruptions.get_corruption_names("all")
        if name not in names or severity not in set("12345"):
            raise ValueError(
                f"--corrupt is {text!r}; expected NAME:SEVERITY with a severity from 1 to 5 and "
                f"one of {', '.join(names)}."
            )
        self.name, self.severity = name, int(severity)

    def __call__(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return corrupted pixels."""
        from imagecorruptions import corrupt

        if min(pixels.shape[:2]) < _MIN_SIZE:
            raise ValueError(
                f"--corrupt needs images of at least {_MIN_SIZE} pixels a side, but the run has "
                f"{pixels.shape[0]} x {pixels.shape[1]}."
            )
        changed: Any = corrupt(pixels, corruption_name=self.name, severity=self.severity)
        return np.asarray(changed, dtype=np.uint8)
