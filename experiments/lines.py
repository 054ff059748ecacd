"""On which line of a TOML file each of its settings is: what ``tomllib`` reads and does not say."""

from __future__ import annotations

import bisect
import re
import tomllib

Path = tuple[str | int, ...]

BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
PART = r"""(?:"(?:\\.|[^"\\])*"|'[^']*'|[A-Za-z0-9_-]+)"""
KEY = re.compile(rf"{PART}(?:[ \t]*\.[ \t]*{PART})*")
SCALAR = re.compile(
    r'''"""(?:\\[\s\S]|[^\\])*?"""(?:"{0,2})'''
    r"""|\'\'\'[\s\S]*?\'\'\'(?:'{0,2})"""
    r'''|"(?:\\.|[^"\\])*"'''
    r"""|'[^']*'"""
    r"""|[^,\]}#\n]+"""
)


def lines(text: str) -> dict[Path, int]:
    """The line, from 1, of every table, key and element of a list, by its path, in a text that ``tomllib`` can read.

    Example:
        >>> lines('a = 1\\n[b.c]\\nd = [\\n  2,\\n  3]\\n[[e]]\\nf = {g = 4}\\n')[("b", "c", "d", 1)]
        5
    """
    return _Scanner(text).document()


class _Scanner:
    def __init__(self, text: str):
        self.text, self.at, self.found = text, 0, {}
        self.ends = [m.start() for m in re.finditer("\n", text)]

    def document(self) -> dict[Path, int]:
        table, sizes = (), {}
        self.take(BLANK)
        while self.at < len(self.text):
            if self.text[self.at] == "[":
                table = self.header(sizes)
            else:
                self.assignment(table)
            self.take(BLANK)
        return self.found

    def header(self, sizes: dict[Path, int]) -> Path:
        """The path of ``[a.b]`` or ``[[a.b]]``; ``sizes``: how many elements every array of tables has so far."""
        many = self.text.startswith("[[", self.at)
        line = self.line()
        self.at += 2 if many else 1
        self.take(BLANK)
        *before, last = self.key()
        self.take(BLANK)
        self.at += 2 if many else 1
        path: Path = ()
        for name in before:
            path = self.note((*path, name), line)
            if path in sizes:
                path = (*path, sizes[path] - 1)
        path = self.note((*path, last), line)
        if many:
            sizes[path] = sizes.get(path, 0) + 1
            path = self.note((*path, sizes[path] - 1), line)
        return path

    def assignment(self, table: Path) -> None:
        path, line = table, self.line()
        for name in self.key():
            path = self.note((*path, name), line)
        self.take(BLANK)
        self.at += 1  # the sign of equality
        self.value(path)

    def value(self, path: Path) -> None:
        self.take(BLANK)
        opening = self.text[self.at]
        if opening not in "[{":
            self.take(SCALAR)
            return
        self.at += 1
        n = 0
        while not self.closes():
            if opening == "[":
                self.value(self.note((*path, n), self.line()))
            else:
                self.assignment(path)
            n += 1
            self.take(BLANK)
            self.at += self.text[self.at] == ","

    def closes(self) -> bool:
        self.take(BLANK)
        found = self.text[self.at] in "]}"
        self.at += found
        return found

    def key(self) -> list[str]:
        """The names of a dotted key, as ``tomllib`` has them."""
        table = tomllib.loads(f"{self.take(KEY)} = 0")
        names = []
        while table:
            ((name, table),) = table.items()
            names.append(name)
        return names

    def take(self, pattern: re.Pattern) -> str:
        start, self.at = self.at, pattern.match(self.text, self.at).end()
        return self.text[start : self.at]

    def line(self) -> int:
        return 1 + bisect.bisect_left(self.ends, self.at)

    def note(self, path: Path, line: int) -> Path:
        self.found.setdefault(path, line)
        return path
