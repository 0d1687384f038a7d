"""Line charts and bars in SVG; colours and fonts are those of the page around them."""

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from xml.etree import ElementTree as ET

_WIDTH, _HEIGHT = 360, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 44


class Axis(NamedTuple):
    """The range of an axis and what it is called."""

    low: float
    high: float
    label: str
    whole: bool = False  # whether it counts something, so that ticks at fractions mean nothing


class Curve(NamedTuple):
    """Points (x, y) and the class that the page's style knows: curve or guide."""

    points: Iterable[tuple[float, float]]
    kind: str = "curve"


def ticks(low: float, high: float, most: int = 6, *, whole: bool = False) -> list[float]:
    """Return round numbers, 1, 2 or 5 times a power of ten apart, that lie in a range.

    With `whole` none is a fraction.

    Examples
    --------
    >>> ticks(0, 100)
    [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]
    >>> ticks(1, 3), ticks(1, 3, whole=True)
    ([1.0, 1.5, 2.0, 2.5, 3.0], [1.0, 2.0, 3.0])
    """
    rough = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= rough * (1 - 1e-9))
    step = max(step, 1.0) if whole else step
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def extent(values: Sequence[float]) -> tuple[float, float]:
    """Return a range that holds all values, with some room where they are all the same.

    Examples
    --------
    >>> extent([2, 2])
    (1.0, 3.0)
    """
    low, high = float(min(values)), float(max(values))
    room = 0.04 * (high - low) or max(abs(low) / 2, 1e-6)
    return low - room, high + room


def line_chart(title: str, x: Axis, y: Axis, curves: Sequence[Curve]) -> str:
    """Return a chart of curves as one SVG element."""
    svg = _frame(title, x, y)
    for curve in curves:
        points = [(_across(a, x), _up(b, y)) for a, b in curve.points]
        shape = {"class": curve.kind, "points": " ".join(f"{a:.2f},{b:.2f}" for a, b in points)}
        ET.SubElement(svg, "polyline", shape)
        if len(points) <= 15 and curve.kind == "curve":
            for a, b in points:
                ET.SubElement(svg, "circle", {"cx": f"{a:.2f}", "cy": f"{b:.2f}", "r": "3"})
    return ET.tostring(svg, encoding="unicode")


def bar_chart(
    title: str, x: Axis, y: Axis, bars: Iterable[tuple[float, float, float, str]], guide: Curve
) -> str:
    """Return a chart of bars (from x, to x, height, what a pointer over it shows)."""
    svg = _frame(title, x, y)
    for left, right, height, tip in bars:
        a, b, top, floor = _across(left, x), _across(right, x), _up(height, y), _up(y.low, y)
        box = {"x": a + 1, "y": top, "width": b - a - 2, "height": floor - top}
        rect = ET.SubElement(svg, "rect", {key: f"{value:.2f}" for key, value in box.items()})
        ET.SubElement(rect, "title").text = tip
    points = " ".join(f"{_across(a, x):.2f},{_up(b, y):.2f}" for a, b in guide.points)
    ET.SubElement(svg, "polyline", {"class": guide.kind, "points": points})
    return ET.tostring(svg, encoding="unicode")


def _frame(title: str, x: Axis, y: Axis) -> ET.Element:
    box = {"viewBox": f"0 0 {_WIDTH} {_HEIGHT}", "role": "img", "aria-label": title}
    svg = ET.Element("svg", box)
    ET.SubElement(svg, "title").text = title
    for value in ticks(x.low, x.high, whole=x.whole):
        _text(svg, _across(value, x), _HEIGHT - _BOTTOM + 17, f"{value:g}", "middle")
    for value in ticks(y.low, y.high):
        place = _up(value, y)
        ends = {"x1": _LEFT, "x2": _WIDTH - _RIGHT, "y1": place, "y2": place}
        ET.SubElement(svg, "line", {key: f"{end:.2f}" for key, end in ends.items()})
        _text(svg, _LEFT - 7, place + 4, f"{value:g}", "end")
    _text(svg, (_LEFT + _WIDTH - _RIGHT) / 2, _HEIGHT - 7, x.label, "middle")
    up = _text(svg, 0, 0, y.label, "middle")
    up.set("transform", f"translate(13 {(_TOP + _HEIGHT - _BOTTOM) / 2}) rotate(-90)")
    return svg


def _text(svg: ET.Element, x: float, y: float, text: str, anchor: str) -> ET.Element:
    element = ET.SubElement(svg, "text", {"x": f"{x:.2f}", "y": f"{y:.2f}", "text-anchor": anchor})
    element.text = text
    return element


def _across(value: float, x: Axis) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (value - x.low) / (x.high - x.low)


def _up(value: float, y: Axis) -> float:
    return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * (value - y.low) / (y.high - y.low)
