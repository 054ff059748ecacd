"""JSON and JSONL: records, each with its place in the file; a file, or a folder of them."""

from __future__ import annotations

import json
import numbers
import os
import posixpath
import re
from typing import Any, NamedTuple

import pyarrow as pa

from crowdjax.columns import listed, refuse_mixed, refuse_nested, show
from crowdjax.files import NOTHING, File, find, is_path, reading
from crowdjax.labels import InputError
from crowdjax.tables import Table, checked

LONGEST_KEY = 200  # letters of a key within an object that names a column
LINES = ("jsonl", "ndjson", "manifest")
JSON = ("json", *LINES)
TABLES = ("csv", "tsv", "parquet", "pq")
SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")  # half a character: only what escapes one can have it alone


class Records(NamedTuple):
    """Objects of JSON; ``at`` is the place of each, ``files`` its file ("" where in none) and ``folder`` whether a
    folder of them was given."""

    place: str
    rows: list[dict[str, Any]]
    at: list[str]
    files: list[str]
    folder: bool = False


def load(source, place: str) -> Records | None:
    """Return the records of JSON or JSONL, of a folder of them or of a list of dicts; None where the source is none of
    these.

    In a folder that has CSV or Parquet too, these are what counts.
    """
    if isinstance(source, list):
        return _checked(place, [(row, f"record {n}", "") for n, row in enumerate(source, 1)])
    if not is_path(source):
        return None
    ending = File(os.fspath(source), 0, None, None).ending
    if ending in TABLES:
        return None
    place = f"{place} {source}"
    with reading(place, "JSON" if ending in JSON else "a table"):
        files, folder = find(source, *TABLES, *JSON)
        if not files and ending in JSON and not folder:
            raise InputError(f"{place}: {NOTHING}")
        if not files or any(f.ending not in JSON for f in files):
            return None
        texts = [file.text() for file in files]
    rows: list[tuple[Any, str, str]] = []
    home = os.path.commonpath([posixpath.dirname(file.path) for file in files])
    for file, text in zip(files, texts, strict=True):
        if not folder and not text.strip():
            raise InputError(f"{place}: empty file; needed: at least one record")
        inside = f"{listed([posixpath.relpath(file.path, home)])}, " if folder else ""
        rows += [(row, inside + at, file.path) for row, at in _read(text, file.ending in LINES, place, inside)]
    return _checked(place, rows)._replace(folder=folder)


def _read(text: str, by_lines: bool, place: str, inside: str) -> list[tuple[Any, str]]:
    """Return (record, where it is) of everything in a file."""
    if by_lines:
        lines = [(f"line {n}", line) for n, line in enumerate(text.split("\n"), 1) if line.strip()]
        found = [(_parse(line, f"{place}: {inside}{at}"), at) for at, line in lines]
    elif text.strip():
        whole = _parse(text, f"{place}: {inside}".removesuffix(": ").removesuffix(", "))
        found = [(row, f"record {n}") for n, row in enumerate(whole if isinstance(whole, list) else [whole], 1)]
    else:
        found = []
    if SURROGATE.search(text):
        for row, at in found:
            _refuse_surrogates(row, f"{place}: {inside}{at}")
    return found


def _parse(text: str, place: str):
    try:
        return DECODER.decode(text)
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if "\n" in text else ""
        raise InputError(f"{place}: not JSON: {error.msg} ({line}column {error.colno})") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{place}: not JSON: {error}") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object; rejects a key that is there twice, whose first value would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key {show(next(n for n in names if names.count(n) > 1))} twice in an object")
    return found


DECODER = json.JSONDecoder(object_pairs_hook=_once)


def _refuse_surrogates(row: Any, place: str) -> None:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        alone = error.object[error.start : error.start + 1]
        raise InputError(f"{place}: {alone!r} is half of a surrogate pair; allowed: text in UTF-8") from None


def brief(value: Any) -> str:
    """Format a value of JSON for a message.

    Example:
        >>> brief("duck"), brief({"a": {}, "b": 1}), brief([1])
        ("'duck'", 'an object of a, b', 'a list')
    """
    if isinstance(value, dict):
        return f"an object of {listed(value, most=3)}"
    return "a list" if isinstance(value, list) else show(value)


def _checked(place: str, rows: list[tuple[Any, str, str]]) -> Records:
    for row, at, file in rows:
        if not isinstance(row, dict):
            raise InputError(f"{place}: {at}: got {brief(row)}; allowed: an object, {{...}}")
        if not file and not all(isinstance(key, str) for key in row):  # JSON itself has no other keys
            other = next(key for key in row if not isinstance(key, str))
            raise InputError(f"{place}: {at}: key {show(other)}; allowed: text")
    if not rows:
        raise InputError(f"{place}: no records; at least one is needed")
    return Records(place, *map(list, zip(*rows, strict=True)))


def as_table(records: Records) -> Table:
    """Return the records as a table with a column for every key; ``user.name`` for a key within an object."""
    records = records._replace(rows=_flat(records.rows, records.at, records.place))
    names = list(dict.fromkeys(key for row in records.rows for key in row))
    for name in names:
        refuse_half(name, f"{records.place}: a key")
    return checked(Table(records.place, names, lambda columns: pa.table({n: _column(records, n) for n in columns})))


def _flat(rows: list[dict[str, Any]], at: list[str], place: str) -> list[dict[str, Any]]:
    """Replace every key whose values are objects by the keys of these, with its own in front.

    Example:
        >>> _flat([{"user": {"id": 7, "name": "ann"}, "label": 1}], ["line 1"], "labels")
        [{'user.id': 7, 'user.name': 'ann', 'label': 1}]
    """
    while True:
        objects = {key for row in rows for key, value in row.items() if isinstance(value, dict)}
        objects -= {key for row in rows for key in objects & row.keys() if not _is_group(row[key])}
        if not objects:
            return rows
        rows = [_unfolded(row, objects, f"{place}, {where}") for row, where in zip(rows, at, strict=True)]


def _is_group(value: Any) -> bool:
    """Test whether a value is an object whose keys can name columns, or nothing."""
    return value is None or (isinstance(value, dict) and all(len(key) <= LONGEST_KEY for key in value))


def _unfolded(row: dict[str, Any], objects: set[str], place: str) -> dict[str, Any]:
    """Replace these keys of a record by the keys of the objects that are their values."""
    out: dict[str, Any] = {}
    for key, value in row.items():
        inner = {f"{key}.{k}": v for k, v in (value or {}).items()} if key in objects else {key: value}
        for name in inner.keys() & (out.keys() | row.keys() - {key}):
            raise InputError(f"{place}: key {show(name)} is there twice, once within an object; allowed: once")
        out |= inner
    return out


def _column(records: Records, name: str) -> pa.Array:
    """Return values of one type as they are, of several, or too large for any, as text: of values that differ, texts
    that do.

    Lists are taken where they hold nothing nested.
    """
    values = [row.get(name) for row in records.rows]
    place = f"{records.place}: column {name!r}"
    for value, at in zip(values, records.at, strict=True):
        if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, dict | list) for v in value)):
            raise InputError(f"{place}, {at}: got {brief(value)}; allowed: text, numbers or dates")
    kinds = {type(v) for v in values} - {type(None)}
    if bool in kinds and kinds & {int, float}:  # true is not 1
        refuse_mixed(values, records.place, name)
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError, UnicodeEncodeError):
        refuse_nested(values, records.place, lambda k: f"{records.at[k]}, key {name!r}")
        return texts(values, records.at, place)


def texts(values: list, at: list[str], place: str) -> pa.Array:
    """Convert values to text, null where there is none; reject two that differ and have one text, as 1 and "1".

    Example:
        >>> texts([1, "a", None, 2.0], ["line 1"] * 4, "x").to_pylist()
        ['1', 'a', None, '2']
        >>> texts([1, "1"], ["line 1", "line 2"], "column 'labeler'")
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: column 'labeler', line 2: got '1' and, in line 1, 1; allowed: ids of one type
    """
    found: list[str | None] = []
    seen: dict[str, tuple[str, Any, str]] = {}
    for value, where in zip(values, at, strict=True):
        if value is None:
            found.append(None)
            continue
        text, kind = _text(value, f"{place}, {where}")
        known = seen.get(text)
        if known is None:
            refuse_half(text, f"{place}, {where}")
            seen[text] = kind, value, where
        elif known[0] != kind:
            raise InputError(
                f"{place}, {where}: got {show(value)} and, in {known[2]}, {show(known[1])}; allowed: ids of one type"
            )
        found.append(text)
    return pa.array(found, pa.string())


def _text(value: Any, place: str) -> tuple[str, str]:
    """Return (a value as text, what kind of value it is)."""
    if isinstance(value, str):
        return value, "text"
    if isinstance(value, dict | list | tuple | set):
        raise InputError(f"{place}: got {brief(value)}; allowed: text or a number")
    if isinstance(value, numbers.Number) and not isinstance(value, bool):
        whole = isinstance(value, numbers.Real) and value == value and value % 1 == 0
        with reading(place, "text"):  # of 5000 digits or more there is none
            return str(int(value) if whole else value), "number"
    with reading(place, "text"):
        return str(value).lower() if isinstance(value, bool) else str(value), type(value).__name__


def refuse_half(text: str, place: str) -> None:
    """Reject text with half a character, which no file can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(f"{place}: got {show(text)}; allowed: text in UTF-8") from None
