"""JSON and JSONL: records, each with its place in the file."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pyarrow as pa

from crowdjax.columns import refuse_nested, word
from crowdjax.files import NOTHING, find, is_path, reading
from crowdjax.labels import InputError
from crowdjax.tables import Table, checked

LINES = ("jsonl", "ndjson")


class Records(NamedTuple):
    """Objects of JSON; ``at`` says where each of them is."""

    place: str
    rows: list[dict[str, Any]]
    at: list[str]


def load(source, place: str) -> Records | None:
    """The records of a JSON or JSONL file or of a list of dicts; None where the source is neither."""
    if isinstance(source, list):
        return _checked(place, source, "record")
    if not is_path(source) or not str(source).lower().partition("?")[0].endswith((".json", *(f".{e}" for e in LINES))):
        return None
    place = f"{place} {source}"
    with reading(place, "JSON"):
        files, _ = find(source)
        if not files:
            raise InputError(f"{place}: {NOTHING}")
        text = files[0].text()
    if not text.strip():
        raise InputError(f"{place}: empty file; needed: at least one record")
    if files[0].ending in LINES:
        lines = {n: line for n, line in enumerate(text.split("\n"), 1) if line.strip()}
        return _checked(place, [_parse(line, f"{place}: line {n}") for n, line in lines.items()], "line", list(lines))
    found = _parse(text, place)
    return _checked(place, found if isinstance(found, list) else [found], "record")


def _parse(text: str, place: str):
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        raise InputError(f"{place}: not JSON: {error.msg} ({line}column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: not JSON: {error}") from None


def _checked(place: str, rows: list, what: str, numbers: list[int] | None = None) -> Records:
    at = [f"{what} {n}" for n in numbers or range(1, len(rows) + 1)]
    for where, row in zip(at, rows, strict=True):
        if not isinstance(row, dict):
            raise InputError(f"{place}: {where}: got {str(row)[:40]!r}; allowed: an object, {{...}}")
    if not rows:
        raise InputError(f"{place}: no records; at least one is needed")
    return Records(place, rows, at)


def as_table(records: Records) -> Table:
    """The records as a table with a column for every key."""
    names = list(dict.fromkeys(key for row in records.rows for key in row))
    return checked(Table(records.place, names, lambda columns: pa.table({n: _column(records, n) for n in columns})))


def _column(records: Records, name: str) -> pa.Array:
    """Values of one type as they are, of several, or too large for any, as text."""
    values = [row.get(name) for row in records.rows]
    refuse_nested(values, records.place, lambda k: f"{records.at[k]}, key {name!r}")
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if v is None else word(v) for v in values], pa.string())
