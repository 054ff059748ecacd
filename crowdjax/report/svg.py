"""Matplotlib's SVG made part of a page: its colours are the page's, its names do not collide, nothing active stays."""

from __future__ import annotations

import re
from xml.etree import ElementTree

KEPT = {
    *("svg", "g", "defs", "path", "use", "clipPath", "rect", "circle", "ellipse", "line", "polyline", "polygon"),
    *("text", "tspan", "image", "linearGradient", "stop"),
}
ATTRIBUTES = {
    *("d", "points", "transform", "style", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "rx", "ry", "width"),
    *("height", "viewBox", "clip-path", "id", "href", "offset", "gradientUnits", "preserveAspectRatio"),
}
PALETTE = ("0072b2", "d55e00", "009e73", "cc79a7", "e69f00", "56b4e9", "8a6d3b")  # of plots, less the grey
BACKGROUND = re.compile(r"fill:\s*#ffffff;?\s*")
FAMILY = re.compile(r"font-family:[^;]*;?\s*")
FONT = re.compile(r"font:\s*(?:(?:normal|italic|oblique|[1-5]00)\s+)*(?:(bold|[6-9]00)\s+)?([\d.]+px)[^;]*")  # older
PIXELS = 96 / 72  # per point
WIDE = 480  # pixels, from which a figure has a row to itself
INTERNAL = re.compile(r"url\(#([^)]+)\)")


def inline(text: str, name: str, title: str) -> str:
    """Return an SVG document as an element of an HTML page.

    Greys become steps between the page's ink and its paper (``--g0`` to ``--g9``), the colours of ``plots`` the page's
    (``--c0`` ...), white backgrounds go, and text takes the page's font. Elements and attributes that figures have no
    need of are left out, and so is every reference to something outside. It is as wide as there is room, within what
    can be read.

    Args:
        name: put before the names inside; other figures of the page have others.
        title: the text for readers who do not see it.
    """
    root = ElementTree.fromstring(text)
    used = {m for e in root.iter() for v in e.attrib.values() for m in INTERNAL.findall(v)}
    used |= {v[1:] for e in root.iter() for k, v in e.attrib.items() if _local(k) == "href" and v.startswith("#")}
    _clean(root, name, used)
    width = float(root.attrib["viewBox"].split()[2]) * PIXELS
    style = f"max-width:{1.3 * width:.0f}px;min-width:{min(width, max(290, 0.66 * width)):.0f}px"
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": title, "style": style}
    if width > WIDE:
        root.set("class", "wide")
    return ElementTree.tostring(root, encoding="unicode")


def _clean(element, name: str, used: set[str]) -> None:
    element.tag = _local(element.tag)
    attributes = {_local(k): v for k, v in element.attrib.items()}
    element.attrib = {}
    for key, value in attributes.items():
        if key == "id":
            if value in used:
                element.set("id", f"{name}-{value}")
        elif key == "href":
            if value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            elif value.startswith("data:image/png;base64,"):
                element.set(key, value)
        elif key in ATTRIBUTES and not ("url(" in value and not INTERNAL.search(value)):
            value = INTERNAL.sub(rf"url(#{name}-\1)", value)
            element.set(key, _style(value) if key == "style" else " ".join(value.split()) if key == "d" else value)
    for child in list(element):
        background = _local(child.tag) == "path" and BACKGROUND.fullmatch(child.get("style", ""))
        if _local(child.tag) not in KEPT or background:
            element.remove(child)
        else:
            _clean(child, name, used)
    for child in list(element):
        if child.tag in ("g", "defs") and not len(child):
            element.remove(child)
    if element.tag not in ("text", "tspan"):
        element.text = None
        for child in element:
            child.tail = None


def _style(style: str) -> str:
    style = FONT.sub(lambda m: f"font-size:{m[2]}" + (f";font-weight:{m[1]}" if m[1] else ""), FAMILY.sub("", style))
    return re.sub(r"#([0-9a-f]{6})\b", lambda m: _colour(m[1]), style).replace("; ", ";").replace(": ", ":")


def _colour(code: str) -> str:
    if code in PALETTE:
        return f"var(--c{PALETTE.index(code)})"
    if code[:2] == code[2:4] == code[4:]:
        return f"var(--g{min(9, int(code[:2], 16) * 10 // 255)})"
    return f"#{code}"


def _local(name: str) -> str:
    return name.rpartition("}")[2]
