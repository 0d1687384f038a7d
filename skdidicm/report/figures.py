"""The figures of a report: which numbers go into which chart."""

import base64
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.report.charts import Axis, Curve, bar_chart, extent, line_chart
from skdidicm.report.facts import Test

_CURVES = (
    ("loss", "Training loss"),
    ("val_nll", "Validation NLL (nats)"),
    ("val_accuracy", "Validation accuracy"),
)


def learning_curves(history: Sequence[Mapping[str, float]]) -> Iterator[str]:
    """Yield a chart for every figure that the history has."""
    for key, title in _CURVES:
        points = [
            (row["epoch"], row[key]) for row in history if math.isfinite(row.get(key, math.nan))
        ]
        if points:
            epochs, values = zip(*points, strict=True)
            first, last = min(epochs), max(epochs)
            x = Axis(first, max(last, first + 1), "Epoch", whole=True)
            yield line_chart(title, x, Axis(*extent(values), title), [Curve(points)])


def reliability(test: Test) -> str:
    """Return the accuracy in every bin of confidence; the line is confidence kept."""
    n = len(test.bins[0])
    bars = [
        (
            100 * i / n,
            100 * (i + 1) / n,
            100 * float(accuracy),
            f"{count} rows: confidence {confidence:.1%}, accuracy {accuracy:.1%}",
        )
        for i, (count, confidence, accuracy) in enumerate(zip(*test.bins, strict=True))
        if count
    ]
    x, y = Axis(0, 100, "Confidence (%)"), Axis(0, 100, "Accuracy (%)")
    return bar_chart("Reliability", x, y, bars, Curve([(0, 0), (100, 100)], "guide"))


def coverage(test: Test) -> str:
    """Return the accuracy on the rows that are left when the least confident are refused."""
    shares, accuracy = (100 * values for values in test.coverage)
    kept = _thinned(len(shares))
    points = list(zip(shares[kept].tolist(), accuracy[kept].tolist(), strict=True))
    best = [(share, min(100.0, 100 * accuracy[-1] / share)) for share in range(1, 101)]
    low, high = extent([*accuracy.tolist(), 100.0])
    y = Axis(max(low, 0), min(high, 100), "Accuracy (%)")
    curves = [Curve(best, "guide"), Curve(points)]
    return line_chart("Accuracy against coverage", Axis(0, 100, "Coverage (%)"), y, curves)


def data_uri(image: NDArray[Any]) -> str:
    """Return an image (h, w) or (h, w, c) as a PNG inside an address."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(as_bytes(image)).save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def as_bytes(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Return pixels (h, w) or (h, w, 3 or 4) of 0 to 255; floats are stretched if they exceed 0-1.

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


def _thinned(n: int, most: int = 400) -> NDArray[np.int64]:
    """Return at most so many of n places, with both ends: a page need not show more."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))
