"""How tests read a page: parsed strictly, its tables by caption, its text, and what it refers to."""

from __future__ import annotations

import base64
import hashlib
import re
import warnings

import html5lib


class Parsed:
    """A page, refused where a strict HTML5 parser finds an error, or the page has no policy or violates it.

    Attributes:
        text: of the file.
        root: of the tree (ElementTree without namespaces).
    """

    def __init__(self, text: str):
        self.text = text
        builder = html5lib.getTreeBuilder("etree")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            self.root = html5lib.HTMLParser(builder, strict=True, namespaceHTMLElements=False).parse(text)
        assert self.violations() == []

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

    def policy(self) -> dict[str, list[str]]:
        """What the page lets a browser do, by kind."""
        (policy,) = [e.get("content") for e in self.all("meta") if e.get("http-equiv") == "Content-Security-Policy"]
        return {name: sources for name, *sources in (part.split() for part in policy.split(";"))}

    def violations(self) -> list[str]:
        """What the page has and its policy would not let a browser do; and what a policy should not allow."""
        policy = self.policy()
        allowed = {"default-src": ["'none'"], "style-src": ["'unsafe-inline'"], "img-src": ["data:"]}
        wrong = [f"{name}: {policy.get(name)}" for name, only in allowed.items() if policy.get(name) != only]
        for script in self.all("script"):
            digest = base64.b64encode(hashlib.sha256((script.text or "").encode()).digest()).decode()
            if policy["script-src"] != [f"'sha256-{digest}'"]:
                wrong.append(f"a script that is not {policy['script-src']}")
        barred = ("iframe", "object", "embed", "form", "base", "link", "video", "audio", "applet")
        wrong += [tag for tag in barred if self.all(tag)]
        active = [v for e in self.root.iter() for v in e.attrib.values() if v.strip().lower().startswith("javascript:")]
        return wrong + active + self.references() + self.handlers()

    def handlers(self) -> list[str]:
        """Attributes that would run something."""
        return [k for e in self.root.iter() for k in e.attrib if k.lower().startswith("on")]
