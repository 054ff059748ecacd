"""A page as HTML: one file with its style, its script and its figures inside. Whatever users named is escaped."""

from __future__ import annotations

import math
import os
import re
from base64 import b64encode
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from crowdjax import plots
from crowdjax.extras import needed
from crowdjax.report import svg
from crowdjax.report.document import Drawing, Page

LONGEST = 120  # characters of a name; more are cut
# What HTML does not allow, and what turns the direction of the text that follows; a page shows a replacement.
UNFIT = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff\u202a-\u202e\u2066-\u2069]"
)


# What a browser may do for a page whose only script has this hash: whatever a name might smuggle in, nothing else is
# run, fetched or sent.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{script}'; base-uri 'none'; "
    "form-action 'none'"
)


def write(page: Page, folder: str | os.PathLike) -> None:
    """Write ``report.html`` into a folder, and into ``figures`` in it those figures, as SVG and PNG, that it lacks."""
    folder = Path(folder)
    (folder / "report.html").write_text(render(page), encoding="utf-8")
    for drawing in page.drawings():
        stem = folder / "figures" / drawing.name
        if not isinstance(drawing.figure, str) and not stem.with_suffix(".svg").exists():
            stem.parent.mkdir(exist_ok=True)
            plots.save(drawing.figure, stem)


def render(page: Page) -> str:
    """Return the page as text.

    Example:
        >>> from crowdjax.report.document import Column, Section, Table
        >>> table = Table("Labelers", [Column("labeler", "id")], [("<script>",)])
        >>> text = render(Page("Report", "Labels", "", {}, [Section("Labelers", [table])], ""))
        >>> "<bdi>&lt;script&gt;</bdi>" in text
        True
    """
    return _template().render(page=page)


@cache
def _template():
    with needed("report"):
        import jinja2
        from markupsafe import Markup

    own = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(own),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: fit_for_text(value) if type(value) is str else value,
    )
    environment.filters |= {
        "anchor": anchor,
        "cut": cut,
        "drawn": lambda drawing: Markup(drawn(drawing)),
        "exact": exact,
        "shown": shown,
        "steady": steady,
        "together": together,
    }
    style, script = (Markup((own / name).read_text(encoding="utf-8").strip()) for name in ("style.css", "page.js"))
    policy = POLICY.format(script=b64encode(sha256(script.encode()).digest()).decode())
    environment.globals |= {"pairs": zip, "place": place, "policy": policy, "script": script, "style": style}
    return environment.get_template("page.html.jinja")


def drawn(drawing: Drawing) -> str:
    """Render a figure as an element of the page."""
    figure = drawing.figure
    text = figure if isinstance(figure, str) else plots.as_svg(figure, drawing.name)
    return svg.inline(text, anchor(drawing.name), fit_for_text(drawing.title))


def fit_for_text(value: str) -> str:
    """Return text that HTML may hold: control characters are shown as U+FFFD."""
    return UNFIT.sub("\ufffd", value)


def steady(sentence: str) -> str:
    """Return a sentence in which a quoted name that is written from right to left does not move what follows it.

    Example:
        >>> steady("'א' (3)")[3] == "\\u200e", steady("'a' (3)")
        (True, "'a' (3)")
    """
    return re.sub("([\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc][^\\s\\w]*)(?=\\s|$)", "\\1\u200e", sentence)


def cut(value: Any) -> str:
    """Return a name, cut where it is very long.

    Example:
        >>> len(cut("x" * 1000))
        120
    """
    text = str(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def anchor(title: str) -> str:
    """Convert a title to the name of a place in the page.

    Example:
        >>> anchor("Where the classes meet")
        'where-the-classes-meet'
    """
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def shown(value: Any, kind: str) -> str:
    """Format a number with the digits that mean something; a dash where there is none.

    Example:
        >>> [shown(0.98765, "share"), shown(0.99996, "share"), shown(1234, "count"), shown(-3.14159e-7, "number")]
        ['0.988', '>0.999', '1,234', '−3.14e-07']
        >>> shown((0.5, 0.25, 0.75), "interval"), shown((0.5, math.nan, math.nan), "interval"), shown(None, "share")
        ('0.50 (0.25 to 0.75)', '0.50', '–')
    """
    if kind == "interval" and not math.isnan(value[0]):
        mean, lower, upper = (f"{v:.2f}".replace("-", "−") for v in value)
        return mean if math.isnan(value[1]) else f"{mean} ({lower} to {upper})"
    if kind == "interval":
        return "–"
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if kind == "share":
        text = "<0.001" if 0 < value < 0.0005 else ">0.999" if 0.9995 <= value < 1 else f"{value:.3f}"
    elif kind == "count":
        text = f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"
    elif kind == "number":
        text = f"{value:.3g}"
    else:
        return str(value)
    return text.replace("-", "−", 1) if text.startswith("-") else text


def together(text: str) -> str:
    """Return an interval that breaks, where it is too wide, before its ends alone.

    Example:
        >>> together("0.50 (0.25 to 0.75)").split(" ")
        ['0.50', '(0.25\\xa0to\\xa00.75)']
    """
    return text.replace(" to ", "\u00a0to\u00a0").replace(" %", "\u00a0%")


def exact(value: Any, kind: str) -> str:
    """Return the sort key of a cell: six digits of a number; nothing where there is none.

    Example:
        >>> exact("−0.25 ± 0.1", "written"), exact((0.5, 0, 1), "interval"), exact(None, "share")
        ('-0.25', '0.5', '')
    """
    if kind == "written":
        found = re.match(r"[-+−]?\d[\d,]*\.?\d*(?:e[-+]?\d+)?", value)
        value = float(found[0].replace("−", "-").replace(",", "")) if found else None
    value = value[0] if kind == "interval" else value
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return f"{value:.6g}" if number else ""


def place(span: tuple[float, float, float], value: tuple[float, float, float]) -> str:
    """Return where an interval begins, ends and has its mean along its scale, and where the mark is, in per cent."""
    low, high, mark = span
    at = [min(1, max(0, (v - low) / (high - low))) for v in (value[1], value[2], value[0], mark)]
    return ";".join(f"--{name}:{100 * v:.1f}%" for name, v in zip("abmo", at, strict=True))
