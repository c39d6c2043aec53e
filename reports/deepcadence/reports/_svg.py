"""From a matplotlib figure to SVG that can stand inside an HTML page, next to others."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ElementTree

from matplotlib.figure import Figure

from deepcadence.reports._style import CSS_VARIABLES, figure_style
from deepcadence.reports._words import legal

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_COLOR = re.compile(r"#[0-9a-fA-F]{6}\b")
_URL = re.compile(r"url\(#([^)]+)\)")
_LONG_NUMBER = re.compile(r"(-?\d+\.\d{2})\d+")

ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", _XLINK)


def inline_svg(figure: Figure, prefix: str, label: str) -> str:
    """`figure` as an `<svg>` element for an HTML page.

    Ids carry `prefix` (letters, digits, `-`), so that figures with different prefixes do not clash. Colors that
    `_style.CSS_VARIABLES` names become CSS variables with the color as fallback, so one figure serves light and dark
    pages. Text stays text. There is no metadata, no script, no reference outside the element, and the same figure
    always gives the same bytes. `label` is what a screen reader says.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", prefix):
        raise ValueError(f"prefix {prefix!r} is not a letter followed by letters, digits and '-'")
    buffer = io.StringIO()
    with figure_style():
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(legal(buffer.getvalue()))
    _drop_metadata_and_style(root)
    for element in root.iter():
        _rewrite(element, prefix)
    for attribute in ("width", "height"):
        root.attrib.pop(attribute, None)
    root.set("role", "img")
    root.set("aria-label", legal(label))
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")
    return ElementTree.tostring(root, encoding="unicode")


def _drop_metadata_and_style(root: ElementTree.Element) -> None:
    """Leaves out the RDF block, and the `<style>` whose `*` rule would hold for the whole page."""
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)


def _rewrite(element: ElementTree.Element, prefix: str) -> None:
    for name, value in list(element.attrib.items()):
        if name == "id":
            element.set(name, f"{prefix}-{value}")
        elif name in ("href", f"{{{_XLINK}}}href"):
            if value.startswith("#"):
                element.set(name, f"#{prefix}-{value[1:]}")
        elif name in ("d", "transform", "points"):
            element.set(name, _LONG_NUMBER.sub(r"\1", " ".join(value.split())) if name == "d" else value)
        else:
            value = _URL.sub(rf"url(#{prefix}-\1)", value)
            element.set(name, _COLOR.sub(_variable, value) if name == "style" else value)


def _variable(match: re.Match[str]) -> str:
    color = match.group().lower()
    name = CSS_VARIABLES.get(color)
    return f"var({name}, {color})" if name else color
