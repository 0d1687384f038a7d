"""The figures of a report, drawn by the displays of `skdidicm.plotting`."""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.plotting import HistoryDisplay, ReliabilityDisplay, UncertaintyDisplay
from skdidicm.plotting.canvas import spread
from skdidicm.report.facts import Test
from skdidicm.report.svg import svg_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = (4.2, 3.0)  # inches
_MOST_POINTS = 400  # of a curve
_CURVES = {
    "loss": "Training loss",
    "val_nll": "Validation NLL (nats)",
    "val_accuracy": "Validation accuracy",
}


def learning_curves(history: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Yield a chart for every figure that the history has."""
    for key, title in _CURVES.items():
        rows = [row for row in history if math.isfinite(row.get(key, math.nan))]
        if rows:
            figure, ax = _figure()
            HistoryDisplay(rows).draw_curve(ax, key)
            ax.set_ylabel(title)
            yield svg_of(figure, title)


def reliability(test: Test) -> str:
    """Return the reliability diagram; a pointer over a bar shows the values of its bin."""
    figure, ax = _figure()
    display = ReliabilityDisplay(*test.bins).plot(ax)
    tips = {}
    for i, (count, confidence, accuracy) in enumerate(zip(*test.bins, strict=True)):
        if count and display.bars_ is not None:
            display.bars_[i].set_gid(f"bin{i}")
            tips[f"bin{i}"] = f"{count} rows: confidence {confidence:.1%}, accuracy {accuracy:.1%}"
    return svg_of(figure, "Reliability", tips)


def coverage(test: Test) -> str:
    """Return the accuracy on the most confident rows, as a function of their share."""
    shares, accuracy = test.coverage
    kept = spread(len(shares), _MOST_POINTS)
    figure, ax = _figure()
    UncertaintyDisplay(shares[kept], accuracy[kept]).plot(ax)
    return svg_of(figure, "Accuracy against coverage")


def _figure() -> "tuple[Figure, Axes]":
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE, layout="constrained")
    return figure, figure.add_subplot()


def data_uri(image: NDArray[Any]) -> str:
    """Return an image (h, w) or (h, w, c) as a data URI of a PNG file."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(as_bytes(image)).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def as_bytes(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return pixels (h, w) or (h, w, 3 or 4) from 0 to 255; floats outside [0, 1] are rescaled.

    Examples
    --------
    >>> as_bytes(np.array([[0.0, 1.0]])).tolist()
    [[0, 255]]
    """
    if image.ndim == 3 and image.shape[2] not in (3, 4):
        image = image.mean(axis=2).astype(image.dtype)
    if image.dtype == np.uint8:
        return image
    low, high = min(0.0, float(image.min())), max(1.0, float(image.max()))
    return np.round(255 * (image - low) / (high - low)).astype(np.uint8)
