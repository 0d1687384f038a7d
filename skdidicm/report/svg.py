"""Figures of matplotlib as SVG elements that take the colours and fonts of the page."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from skdidicm.plotting.canvas import OTHER_COLOR, TRUE_COLOR

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
# The page has a light and a dark style; its variables replace matplotlib's fixed colours.
_VARIABLES = {
    "#000000": "var(--ink)",
    TRUE_COLOR.lower(): "var(--blue)",
    OTHER_COLOR.lower(): "var(--grey)",
}


def svg_of(figure: "Figure", title: str, tips: Mapping[str, str] | None = None) -> str:
    """Return a figure as one SVG element.

    Parameters
    ----------
    figure : matplotlib Figure
        What to show.
    title : str
        Read aloud by screen readers.
    tips : mapping of str to str, optional
        By the gid of an artist, the text that a pointer over the artist shows.
    """
    import matplotlib

    buffer, tips = io.BytesIO(), tips or {}
    # Text stays text, and ids are the same every time.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": title}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    root = ET.fromstring(buffer.getvalue())
    box = root.get("viewBox", "")
    root.attrib.clear()
    root.attrib.update({"viewBox": box, "role": "img", "aria-label": title})
    _remove_foreign(root)
    _adapt(root, tips)
    name = ET.Element(f"{_SVG}title")
    name.text = title
    root.insert(0, name)
    ET.register_namespace("", _SVG.strip("{}"))
    ET.register_namespace("xlink", _LINK[1:].partition("}")[0])
    return ET.tostring(root, encoding="unicode")


def _remove_foreign(root: ET.Element) -> None:
    """Remove clipping, whose url(...) is not for a strict page, and styles of the whole page.

    Nothing that is drawn lies outside of its axes.
    """
    for parent in root.iter():
        for child in list(parent):
            if child.tag in (f"{_SVG}clipPath", f"{_SVG}metadata", f"{_SVG}style"):
                parent.remove(child)
        parent.attrib.pop("clip-path", None)


def _adapt(root: ET.Element, tips: Mapping[str, str]) -> None:
    """Take over the page's colours and fonts, add tips, and drop ids that nothing refers to."""
    used = {element.get(_LINK, "").removeprefix("#") for element in root.iter()}
    for element in root.iter():
        style = element.get("style", "")
        if element.tag == f"{_SVG}text":  # size and font are the page's
            anchor = [part for part in style.split(";") if "text-anchor" in part]
            style = ";".join(anchor)
        for color, variable in _VARIABLES.items():
            style = style.replace(color, variable)
        if style:
            element.set("style", style.strip())
        else:
            element.attrib.pop("style", None)
        name = element.get("id", "")
        if name in tips:
            tip = ET.Element(f"{_SVG}title")
            tip.text = tips[name]
            element.insert(0, tip)
        if name not in used:
            element.attrib.pop("id", None)
