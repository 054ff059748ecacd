"""Tables of any kind, known by their columns' names before they are read, and columns of ids, labels and numbers.

What is wrong raises ``InputError``, one line that names the value, the place (table, column, row; the first row of data
is row 1) and what is allowed. Ids are read as they are: from CSV as text (007 stays 007), from Parquet and data frames
with their own type.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from jaxtyping import Float, Int, Int8

from crowdjax.labels import InputError, one_line

ALIASES = {
    "labeler": ("labeler", "labeller", "worker", "annotator", "rater"),
    "instance": ("instance", "task", "item"),
    "label": ("label", "response", "judgement", "judgment"),
}
ALIASES = {role: names + tuple(f"{n}_id" for n in names if role != "label") for role, names in ALIASES.items()}
SIGNS = {"0": 0, "0.0": 0, "1": 1, "+1": 1, "1.0": 1, "-1": -1, "-1.0": -1, "true": 1, "false": 0}
ALPHABET = "0/1, -1/+1 or true/false"

Key = Literal["labeler", "instance"]


@dataclasses.dataclass(frozen=True)
class Table:
    """A table that is known by its column names and not yet read."""

    place: str
    columns: list[str]
    read: Callable[[list[str]], pa.Table]


def open_table(source, place: str) -> Table:
    """A path or a table in memory; refuses what cannot be read and columns that are there twice."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        place = f"{place} {path}"
        with reading(place, "a table"):
            if not path.exists():
                raise InputError(f"{place}: no such file; allowed: CSV, Parquet or a folder of Parquet")
            parquet = path.is_dir() or path.suffix.lower() in (".parquet", ".pq")
            table = _open_parquet(path, place) if parquet else _open_csv(path, place)
    else:
        table = _open_memory(source, place)
    twice = {n for n in table.columns if table.columns.count(n) > 1}
    if twice:
        raise InputError(f"{table.place}: column {min(twice)!r} is there twice; allowed: one column of a name")
    return table


def _open_parquet(path: Path, place: str) -> Table:
    files = sorted(map(str, path.rglob("*.parquet"))) if path.is_dir() else [str(path)]
    if not files:
        raise InputError(f"{place}: a folder without *.parquet files; allowed: CSV, Parquet or a folder of Parquet")
    from pyarrow import dataset  # takes pandas along, where that is installed

    with reading(place, "Parquet"):
        data = dataset.dataset(files, format="parquet")

    def read(columns):
        with reading(place, "Parquet"):
            return data.to_table(columns=columns)

    return Table(place, data.schema.names, read)


def _open_csv(path: Path, place: str) -> Table:
    csv = pa.csv
    parse = csv.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True)
    if path.stat().st_size == 0:
        raise InputError(f"{place}: empty file; needed: a header and at least one row")
    with reading(place, "CSV"), csv.open_csv(path, parse_options=parse) as stream:
        names = stream.schema.names

    def read(columns, kind=None, threads=True):
        convert = csv.ConvertOptions(
            column_types={n: kind or pa.string() for n in names}, include_columns=columns, strings_can_be_null=False
        )
        options = csv.ReadOptions(use_threads=threads)
        return csv.read_csv(path, parse_options=parse, convert_options=convert, read_options=options)

    def read_or_say_where(columns):
        try:
            return read(columns)
        except pa.ArrowInvalid:
            with reading(place, "CSV"):  # once more, in order: now the message has the row
                data = read(columns, pa.binary(), threads=False)
            for name in columns:
                _decode(data[name], place, name)
            raise

    return Table(place, [n.strip() for n in names], _renamed(read_or_say_where, names))


def _renamed(read, names):
    """``read`` by names without the blanks around them."""
    raw = {n.strip(): n for n in names}
    return lambda columns: read([raw[c] for c in columns]).rename_columns(columns)


def _open_memory(source, place: str) -> Table:
    with reading(place, "a table"):
        if isinstance(source, Mapping):
            source = pa.table({str(name): pa.array(np.asarray(values)) for name, values in source.items()})
        frame = nw.from_native(source)
        if isinstance(frame, nw.LazyFrame):
            frame = frame.collect()
        names = frame.columns

    def read(columns):
        with reading(place, "a table"):
            return frame.select(columns).to_arrow()

    return Table(place, names, read)


@contextlib.contextmanager
def reading(place: str, kind: str):
    """Whatever a reader raises, as one line."""
    try:
        yield
    except InputError:
        raise
    except (pa.ArrowException, OSError, ValueError, TypeError, nw.exceptions.NarwhalsError) as error:
        raise InputError(f"{place}: cannot be read as {kind}: {one_line(error)}") from None


def _decode(column: pa.ChunkedArray, place: str, name: str) -> None:
    for row, value in enumerate(column.to_pylist()):
        try:
            value.decode("utf-8")
        except UnicodeDecodeError:
            raise _bad(value, place, name, row, "text in UTF-8") from None


def column_of(table: Table, role: str, columns: Mapping[str, str] | None = None) -> str:
    """The name of the column that plays a role: as given, or the role's own name, or the one alias that is there."""
    for given in columns or {}:
        if given not in (*ALIASES, "weight"):
            raise InputError(f"columns: got {given!r}; allowed: {', '.join(ALIASES)}, weight")
    if columns and role in columns:
        return named(table, columns[role])
    if role in table.columns:
        return role
    found = [n for n in table.columns if n.lower() in ALIASES.get(role, (role,))]
    if len(found) > 1:
        raise InputError(f"{table.place}: columns {' and '.join(map(repr, found))} may both be the {role}; say which")
    return found[0] if found else named(table, role)


def named(table: Table, name: str) -> str:
    if name not in table.columns:
        raise InputError(f"{table.place}: no column {name!r}; found: {', '.join(table.columns[:20]) or 'none'}")
    return name


# Columns


def encode(column: pa.ChunkedArray, place: str, name: str) -> tuple[Int[np.ndarray, " N"], np.ndarray]:
    """(index of each id, the ids in sorted order)."""
    column = id_column(column, place, name)
    encoded = column.dictionary_encode().combine_chunks()
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    ids = encoded.dictionary.take(pa.array(order)).to_numpy(zero_copy_only=False)
    return rank[encoded.indices.to_numpy()], ids


def plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without a dictionary, and text of one type only."""
    t = pa.types
    if t.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.string()) if t.is_large_string(column.type) or t.is_string_view(column.type) else column


def id_column(column: pa.ChunkedArray, place: str, name: str) -> pa.ChunkedArray:
    """A column of ids; refuses missing ones."""
    t = pa.types
    column = plain_column(column)
    if t.is_nested(column.type) or t.is_null(column.type):
        raise InputError(f"{place}: column {name!r} of type {column.type}; allowed: text, numbers or dates as ids")
    missing = pc.is_null(column, nan_is_null=True)
    if t.is_string(column.type):
        missing = pc.or_(missing, pc.is_in(column, value_set=pa.array(["", "NaN", "nan"])))
    refuse_where(missing, column, place, name, "an id in every row")
    return column


def rows_of(column: pa.ChunkedArray, ids: np.ndarray, place: str, name: str) -> Int[np.ndarray, " N"]:
    """Where each id of a key column is among ``ids``, -1 for those that are not; refuses an id that is there twice."""
    column, known = id_column(column, place, name), pa.array(ids)
    if column.type != known.type:
        with reading(f"{place}: column {name!r}", f"ids of type {known.type}, as in the labels"):
            column = column.cast(known.type)
    position = pc.index_in(column, value_set=known).fill_null(-1).to_numpy().astype(np.int64)
    seen, counts = np.unique(position, return_counts=True)
    twice = (counts > 1) & (seen >= 0)
    if twice.any():
        rows = np.flatnonzero(position == seen[twice][0]) + 1
        raise InputError(
            f"{place}: column {name!r}, rows {rows[0]} and {rows[1]}: {show(column[int(rows[0]) - 1])} "
            "twice; allowed: one row each"
        )
    return position


def signs(column: pa.ChunkedArray, place: str, name: str) -> Int8[np.ndarray, " N"]:
    """A column of labels as -1 and +1."""
    refuse_where(pc.is_null(column, nan_is_null=True), column, place, name, ALPHABET)
    encoded = plain_column(column).dictionary_encode().combine_chunks()
    values = [sign(v) for v in encoded.dictionary.to_pylist()]
    indices = encoded.indices.to_numpy()
    bad = np.array([v is None for v in values], bool)[indices]
    refuse_where(bad, column, place, name, ALPHABET)
    label = np.array(values, np.int8)[indices] if len(indices) else np.empty(0, np.int8)
    if (label == 0).any() and (label == -1).any():
        minus, zero = (int(np.flatnonzero(label == v)[0]) for v in (-1, 0))
        raise _bad(column[minus], place, name, minus, f"0/1 throughout (row {zero + 1} has 0) or -1/+1 throughout")
    return np.where(label == 1, 1, -1).astype(np.int8)


def sign(value) -> int | None:
    if isinstance(value, str):
        return SIGNS.get(value.strip().lower())
    try:
        return int(value) if value in (-1, 0, 1) else None
    except TypeError:
        return None


def numbers(column: pa.ChunkedArray, place: str, name: str, allowed: str, about=None) -> Float[np.ndarray, " N"]:
    """A column of finite numbers; text is read as a number only where all of it is."""
    t = pa.types
    about = about or (lambda row: f"row {row + 1}")
    column = plain_column(column)
    text = t.is_string(column.type)
    if t.is_boolean(column.type):
        column = column.cast(pa.int8())
    elif not (text or t.is_integer(column.type) or t.is_floating(column.type) or t.is_decimal(column.type)):
        raise InputError(f"{place}: column {name!r} of type {column.type}; allowed: {allowed}")
    try:
        values = column.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        values = np.array([_number(v) for v in column.to_pylist()])
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        row = int(bad[0])
        raise InputError(f"{place}: column {name!r}, {about(row)}: got {show(column[row])}; allowed: {allowed}")
    return values


def _number(value) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def refuse_absent(missing: Int[np.ndarray, " m"], ids: np.ndarray, place: str, key: Key) -> None:
    """Raises where ids have no row."""
    if missing.size:
        raise InputError(
            f"{place}: no row for {key} {show(ids[missing[0]])} ({len(missing)} missing in all); "
            f"every {key} of the labels needs one"
        )


def refuse_where(bad, column, place: str, name: str, allowed: str) -> None:
    """Raises on the first value of a column that is bad."""
    rows = np.flatnonzero(np.asarray(bad))
    if rows.size:
        raise _bad(column[int(rows[0])], place, name, int(rows[0]), allowed)


def _bad(value, place: str, name: str, row: int, allowed: str) -> InputError:
    return InputError(f"{place}: column {name!r}, row {row + 1}: got {show(value)}; allowed: {allowed}")


def show(value) -> str:
    """A value for a message: short, on one line, text in quotes."""
    value = value.as_py() if isinstance(value, pa.Scalar) else value
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value == "":
        return "nothing"
    text = repr(value) if isinstance(value, str | bytes) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
