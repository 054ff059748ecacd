"""How a CSV file is written, seen from its first lines: encoding, separator, whether the first line names columns."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import NamedTuple

SEPARATORS = (",", ";", "\t", "|")
NAMES = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
MARKS = (  # UTF-32's mark begins as UTF-16's does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
RECORDS, CHARACTERS = 20, 2**16  # what is looked at


class Dialect(NamedTuple):
    """How a file is written.

    Attributes:
        encoding: as Python calls it; None for UTF-8.
        separator: between cells.
        first: the first line; the whole of what was looked at where there is no end of it.
        records: the cells of the first records.
        head: the first record as it is written, quotes included.
        about: what is worth saying, as " (separated by semicolons)"; else empty.
    """

    encoding: str | None
    separator: str
    first: str
    records: list[list[str]]
    head: str
    about: str

    def hint(self, names: Sequence[str]) -> str:
        """Suggest what to do where the first line seems to hold data in place of names; else empty."""
        rows = self.records[1:]
        again = any(cell and any(k < len(row) and row[k] == cell for row in rows) for k, cell in enumerate(names))
        if not names or not (again or any(map(_is_number, names))):
            return ""
        columns = [{row[k] for row in self.records if k < len(row)} for k in range(len(names))]
        fewest = min(map(len, columns))
        label = [k + 1 for k, cells in enumerate(columns) if len(cells) == fewest <= 5]
        option = f"--no-header --columns labeler=?,instance=?,label={label[0] if len(label) == 1 else '?'}"
        cells = ", ".join(f"{k + 1} is {cell[:20]!r}" for k, cell in enumerate(names[:6]))
        return f"; the first line seems to be data ({cells}): if it names no columns, {option} (header=False)"


def of(head: bytes, usual: str) -> Dialect:
    """Return the dialect of a file that begins so.

    Args:
        usual: the separator that the file's name promises; another one counts only where this one does not fit.

    Example:
        >>> found = of(b"who;what;label\\nann;q1;1\\nbob;q1;0\\n", ",")
        >>> found.separator, found.about, of("a,b\\n1,2\\n".encode("utf-16"), ",").encoding
        (';', ' (separated by semicolons)', 'utf-16')
    """
    encoding = _encoding(head)
    text = head.decode(encoding or "utf-8", "replace").removeprefix("\ufeff")
    first = text.replace("\r", "\n").partition("\n")[0]
    by_separator = {s: _records(text[:CHARACTERS], s) for s in SEPARATORS}
    fits = [s for s, rows in by_separator.items() if len(rows[0]) > 1 and len({*map(len, rows)}) == 1]
    separator = usual
    if usual not in fits and fits:
        separator = max(fits, key=lambda s: len(by_separator[s][0]))
    elif usual not in fits and len(by_separator[usual][0]) == 1:
        separator = max(SEPARATORS, key=lambda s: (len(by_separator[s][0]), s == usual))
    said = [f"read as {encoding.upper()}"] if encoding else []
    said += [f"separated by {NAMES[separator]}"] if separator != usual else []
    about = f" ({', '.join(said)})" if said else ""
    return Dialect(encoding, separator, first, by_separator[separator], _first_record(text), about)


def _first_record(text: str) -> str:
    """Return the first record that is not empty; a line's end within quotes does not end it."""
    text = text.lstrip("\r\n")
    quoted = False
    for k, c in enumerate(text):
        if c == '"':
            quoted = not quoted
        elif c in "\r\n" and not quoted:
            return text[:k]
    return text


def _encoding(head: bytes) -> str | None:
    """Recognise UTF-16 or UTF-32 by its mark or by where its zeros are; None for anything else."""
    for mark, name in MARKS:
        if head.startswith(mark):
            return name
    pairs = head[: min(len(head), 1000) // 2 * 2]
    even, odd = pairs[::2].count(0), pairs[1::2].count(0)
    most = len(pairs) // 2 * 0.7
    if len(pairs) >= 4 and max(even, odd) > most and min(even, odd) == 0:
        return "utf-16-le" if odd > even else "utf-16-be"
    return None


def _records(text: str, separator: str) -> list[list[str]]:
    """Return the cells of the first records; what is in quotes is one cell. The last record may be cut off and is left
    out."""
    records: list[list[str]] = [[""]]
    quoted = False
    for c in text:
        if c == '"':
            quoted = not quoted
        elif c == separator and not quoted:
            records[-1].append("")
        elif c in "\r\n" and not quoted:
            if records[-1] != [""]:
                if len(records) == RECORDS:
                    return records
                records.append([""])
        else:
            records[-1][-1] += c
    if len(records) > 1 and (records[-1] == [""] or len(text) == CHARACTERS):
        records.pop()
    return records


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
