"""What a page is made of: sections of blocks. Plain values, no markup; ``html`` makes a page of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

from crowdjax import plots

Kind = Literal["id", "text", "words", "count", "share", "number", "interval", "written", "tag"]
Status = Literal["good", "note", "care"]


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        kind: ``id`` (a name that users gave: the row's header), ``text``, ``words`` (a line of text), ``count`` (of
            labels or instances), ``share`` (three decimals), ``number`` (three digits), ``interval`` ((mean, lower,
            upper)), ``written`` (a number as text, with whatever stands behind it) or ``tag`` (a word that stands out).
        span: the ends of the scale on which an interval is drawn, and what is marked between them; None: it is not.
    """

    name: str
    kind: Kind = "text"
    span: tuple[float, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows under columns, with a caption and, where rows are left out, a note.

    Attributes:
        search: whether a box to filter the rows is worth its place.
    """

    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    search: bool = False
    block: ClassVar[str] = "table"


class Drawing(NamedTuple):
    """A figure, or its SVG, with the name of its file, a title for those who do not see it, and a caption."""

    name: str
    figure: plots.Figure | str
    title: str
    caption: str = ""


@dataclasses.dataclass(frozen=True)
class Figures:
    """Figures side by side, where there is room."""

    drawings: Sequence[Drawing]
    block: ClassVar[str] = "figures"


@dataclasses.dataclass(frozen=True)
class Prose:
    """Paragraphs of plain text."""

    paragraphs: Sequence[str]
    block: ClassVar[str] = "prose"


@dataclasses.dataclass(frozen=True)
class Facts:
    """Names and values."""

    facts: Mapping[str, str]
    block: ClassVar[str] = "facts"


class Check(NamedTuple):
    """A check that speaks for a result or against it: verdict, title and reason."""

    status: Status
    title: str
    text: str


@dataclasses.dataclass(frozen=True)
class Checks:
    """The checks of a result."""

    checks: Sequence[Check]
    block: ClassVar[str] = "checks"


Block = Table | Figures | Prose | Facts | Checks


class Section(NamedTuple):
    """A part of a page under a heading."""

    title: str
    blocks: Sequence[Block]


@dataclasses.dataclass(frozen=True)
class Page:
    """A report page.

    Attributes:
        kind: what sort of page it is, in a few words above the title.
        title, lead: the first things to be read.
        numbers: those that a reader should see first, by what they count.
        sections: in order; those without blocks are left out.
        about: the last line: versions and the like.
    """

    kind: str
    title: str
    lead: str
    numbers: Mapping[str, str]
    sections: Sequence[Section]
    about: str

    def drawings(self) -> list[Drawing]:
        """Return all figures of the page, in order."""
        return [d for s in self.sections for b in s.blocks if isinstance(b, Figures) for d in b.drawings]
