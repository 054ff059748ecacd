"""How tests read a page: parsed strictly, its tables by caption, its text, and what it refers to."""

from __future__ import annotations

import re
import warnings

import html5lib


class Parsed:
    """A page, refused where a strict HTML5 parser finds an error.

    Attributes:
        text: of the file.
        root: of the tree (ElementTree without namespaces).
    """

    def __init__(self, text: str):
        self.text = text
        builder = html5lib.getTreeBuilder("etree")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            self.root = html5lib.HTMLParser(builder, strict=True, namespaceHTMLElements=False).parse(text)

    def all(self, tag: str) -> list:
        return [e for e in self.root.iter() if isinstance(e.tag, str) and e.tag.rpartition("}")[2] == tag]

    def words(self, element) -> str:
        return " ".join("".join(element.itertext()).split())

    def table(self, caption: str) -> list[dict[str, str]]:
        """The rows of the one table whose caption begins so: by column what is shown, by NAME= what it is sorted by."""
        (table,) = [t for t in self.all("table") if self.words(t.find("caption")).startswith(caption)]
        names = [self.words(h) for h in table.find("thead").iter("th")]
        rows = []
        for row in table.find("tbody").iter("tr"):
            cells = list(row)
            rows.append({n: self.words(c) for n, c in zip(names, cells, strict=True)})
            rows[-1] |= {f"{n}=": c.get("data-v") for n, c in zip(names, cells, strict=True)}
        return rows

    def references(self) -> list[str]:
        """Everything that a browser would fetch, or that leads out of the page."""
        found = [e.get(k) for e in self.root.iter() for k in ("src", "href", "srcset", "action", "data", "poster")]
        found += [e.get(k) for e in self.root.iter() for k in e.attrib if k.endswith("}href")]
        styles = [e.get("style") or "" for e in self.root.iter()] + [e.text or "" for e in self.all("style")]
        found += [m for s in styles for m in re.findall(r"url\(([^)]*)\)|@import[^;]*", s)]
        inside = ("#", "data:image/png;base64,")
        return [v for v in found if v is not None and not v.startswith(inside)]

    def handlers(self) -> list[str]:
        """Attributes that would run something."""
        return [k for e in self.root.iter() for k in e.attrib if k.lower().startswith("on")]
