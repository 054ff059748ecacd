"""Tables of any kind: known by their columns' names before they are read, and given back as the kind that came in.

What comes in: paths and URLs (CSV, Parquet, a folder of either), pandas, polars, pyarrow and DuckDB, whatever else
narwhals knows, dicts of arrays. What is wrong raises ``InputError``, one line. Ids are read as they are: from CSV as
text (007 stays 007), from Parquet and tables in memory with their own type.
"""

from __future__ import annotations

import collections
import csv
import functools
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from crowdjax import disk
from crowdjax.columns import listed, refuse_bytes
from crowdjax.files import NOTHING, File, find, is_path, reading
from crowdjax.labels import InputError, one_line

ALIASES = {
    "labeler": "labeler labeller worker annotator rater coder judge assessor",
    "instance": "instance task item question unit example hit",
    "label": "label response judgement judgment answer rating choice vote annotation",
}
ALIASES = {role: names.split() for role, names in ALIASES.items()}
SEPARATORS = {".csv": ",", ".tsv": "\t"}
PARQUET = (".parquet", ".pq")
# Text that a spreadsheet may run, by its first character; the last four have full width. Not a number, nor a lone sign.
RUNS = re.compile(r"(?![+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z)[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20](?s:.)")
HEADER, COLUMNS = 2**20, 30_000  # of CSV, at most: pyarrow takes minutes for a million columns
FORMS = "CSV, Parquet or a folder of Parquet or of CSV"

Columns = Mapping[str, Any]


class Table(NamedTuple):
    """A table that is known by its column names and not yet read."""

    place: str
    columns: list[str]
    read: Callable[[list[str]], pa.Table]


def open_table(source, place: str) -> Table:
    """A path, a URL or a table in memory; refuses what cannot be read and columns that are there twice."""
    if is_path(source):
        place = f"{place} {source}"
        with reading(place, "a table"):
            files, folder = find(source, "parquet", "pq", "csv", "tsv")
            table = _open_files(files, folder, place)
    else:
        table = _open_memory(source, place)
    twice = [name for name, n in collections.Counter(table.columns).items() if n > 1]
    if twice:
        raise InputError(f"{table.place}: column {min(twice)!r} is there twice; allowed: one column of a name")
    return table


def _open_files(files: list[File], folder: bool, place: str) -> Table:
    if not files:
        what = "a folder without *.parquet or *.csv files" if folder else NOTHING
        raise InputError(f"{place}: {what}; allowed: {FORMS}")
    parquet = [f for f in files if f.ending in ("parquet", "pq")]
    if parquet:
        return _open_parquet(parquet, place)
    if files[0].ending in ("json", "jsonl", "ndjson"):
        raise InputError(f"{place}: JSON, which only labels may come in; allowed: {FORMS}")
    tables = [_open_csv(f, f"{place}/{f.path.rpartition('/')[2]}" if folder else place) for f in files]
    for other in tables[1:]:
        if sorted(other.columns) != sorted(tables[0].columns):
            raise InputError(f"{other.place}: other columns than {tables[0].place}; allowed: a folder of one table")

    def read(columns):
        return pa.concat_tables([t.read(columns) for t in tables])

    return Table(place, tables[0].columns, read)


def _open_parquet(files: list[File], place: str) -> Table:
    from pyarrow import dataset  # takes pandas along, where that is installed

    with reading(place, "Parquet"):
        data = dataset.dataset([f.path for f in files], format="parquet", filesystem=files[0].system)
    return _open_dataset(data, place)


def _open_dataset(data, place: str) -> Table:
    def read(columns):
        with reading(place, "Parquet"):
            return data.to_table(columns=columns)

    return Table(place, data.schema.names, read)


def _open_csv(file: File, place: str) -> Table:
    parse = pa.csv.ParseOptions(delimiter="\t" if file.ending == "tsv" else ",", newlines_in_values=True)
    if file.size == 0:
        raise InputError(f"{place}: empty file; needed: a header and at least one row")
    with reading(place, "CSV"):
        with file.stream() as stream:
            head = stream.read(HEADER).replace(b"\r", b"\n")
        line = head[: head.find(b"\n")] if b"\n" in head else head
        if len(line) == HEADER or line.count(parse.delimiter.encode()) > COLUMNS:
            raise InputError(
                f"{place}: a first line of {len(line):,} bytes or more with {line.count(parse.delimiter.encode()):,} "
                f"separators; allowed: up to {COLUMNS:,} columns in {HEADER:,} bytes"
            )
        with file.stream() as stream, pa.csv.open_csv(stream, parse_options=parse) as rows:
            names = rows.schema.names

    def read(columns, kind=None, threads=True):
        convert = pa.csv.ConvertOptions(
            column_types={n: kind or pa.string() for n in names}, include_columns=columns, strings_can_be_null=False
        )
        options = pa.csv.ReadOptions(use_threads=threads)
        with file.stream() as stream:
            return pa.csv.read_csv(stream, parse_options=parse, convert_options=convert, read_options=options)

    def read_or_say_where(columns):
        try:
            return read(columns)
        except pa.ArrowInvalid:
            with reading(place, "CSV"):  # once more, in order: now the message has the row
                data = read(columns, pa.binary(), threads=False)
            for name in columns:
                refuse_bytes(data[name], place, name)
            raise

    return Table(place, [n.strip() for n in names], _renamed(read_or_say_where, names))


def _renamed(read, names):
    """``read`` by names without the blanks around them."""
    raw = {n.strip(): n for n in names}
    return lambda columns: read([raw[c] for c in columns]).rename_columns(columns)


def _open_memory(source, place: str) -> Table:
    dataset = sys.modules.get("pyarrow.dataset")
    if dataset and isinstance(source, dataset.Dataset):  # on whatever file system
        return _open_dataset(source, place)
    with reading(place, "a table"):
        if isinstance(source, Mapping):
            source = pa.table({str(name): pa.array(np.asarray(values)) for name, values in source.items()})
        frame = nw.from_native(_without_index(source))
        if isinstance(frame, nw.LazyFrame):
            frame = frame.collect()
        names = frame.columns

    def read(columns):
        with reading(place, "a table"):
            return frame.select(columns).to_arrow()

    return Table(place, names, read)


def _without_index(source):
    """A pandas table with the named levels of its index as columns; others as they are."""
    names = getattr(getattr(source, "index", None), "names", ())
    return source.reset_index() if any(n is not None and n not in source.columns for n in names) else source


def column_of(table: Table, role: str, columns: Columns | None = None) -> str:
    """The name of the column that plays a role: as given, or the role's own name, or the one alias that is there."""
    for given in columns or {}:
        if given not in (*ALIASES, "weight"):
            raise InputError(f"columns: got {given!r}; allowed: {', '.join(ALIASES)}, weight")
    if columns and role in columns:
        return named(table, columns[role])
    if role in table.columns:
        return role
    found = [n for n in table.columns if is_alias(n, role)]
    if len(found) > 1:
        raise InputError(
            f"{table.place}: columns {' and '.join(map(repr, found))} may both be the {role}; say which: "
            f"columns={{{role!r}: {found[0]!r}}} (--columns {role}={found[0]})"
        )
    return found[0] if found else named(table, role)


def is_alias(name: str, role: str) -> bool:
    """Whether a column of this name is usually of this role: worker, Worker ID and workerId are."""
    plain = "".join(c for c in name.lower() if c not in "_- ")
    return plain.removesuffix("id" if role != "label" else "") in ALIASES.get(role, (role,))


def named(table: Table, name: str) -> str:
    if name not in table.columns:
        raise InputError(f"{table.place}: no column {name!r}; found: {listed(table.columns)}")
    return name


# The same kind out

Kind = Callable[[pa.Table], Any]


def kind_of(source) -> Kind:
    """What makes a table of pyarrow one of the kind of ``source``; for paths, and kinds that cannot be made, pyarrow.

    Example:
        >>> kind_of({"labeler": ["a"]})(pa.table({"label": [1, 0]}))
        {'label': array([1, 0])}
    """
    if isinstance(source, Mapping):
        return as_arrays
    if nw.dependencies.is_duckdb_relation(source):
        return functools.partial(_as_relation, source)
    if nw.dependencies.is_polars_lazyframe(source):
        return _as_lazy
    if nw.dependencies.is_into_dataframe(source):
        return functools.partial(_as_frame, nw.from_native(source).implementation)
    return as_arrow


def as_arrow(table: pa.Table) -> pa.Table:
    return table


def as_arrays(table: pa.Table) -> dict[str, np.ndarray]:
    return {name: table[name].to_numpy() for name in table.column_names}


def _as_frame(implementation: nw.Implementation, table: pa.Table):
    return nw.from_arrow(table, backend=implementation).to_native()


def _as_lazy(table: pa.Table):
    return _as_frame(nw.Implementation.POLARS, table).lazy()


def _as_relation(source, answers: pa.Table):
    """A relation in the database of another; DuckDB finds ``answers`` by its name."""
    return source.query("given", "SELECT * FROM answers")


# To files


def write(table: pa.Table, out: Path) -> int:
    """Write CSV or Parquet; the file appears whole or not at all. Empty cells of CSV are nulls.

    In CSV, text that a spreadsheet would run as a formula gets an apostrophe in front; text that is a number is left.

    Returns:
        How many cells, names of columns among them, got one.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     count = write(pa.table({"labeler": ["=1+1", "-5"]}), Path(folder, "t.csv"))
        ...     count, Path(folder, "t.csv").read_text()
        (1, "labeler\n'=1+1\n-5\n")
    """
    try:
        with disk.file(out) as new:
            if out.suffix.lower() in PARQUET:
                pa.parquet.write_table(table, new)
                return 0
            return _write_csv(table, new, SEPARATORS[out.suffix.lower()])
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {one_line(error)}") from None


def _write_csv(table: pa.Table, out: Path, separator: str) -> int:
    escaped = 0

    def inert(value):
        nonlocal escaped
        if not isinstance(value, str) or not RUNS.match(value):
            return value
        escaped += 1
        return "'" + value

    with open(out, "w", encoding="utf-8", newline="") as file:
        # csv quotes a cell with a \r only where lines end in one
        lines = SimpleNamespace(write=lambda line: file.write(line.removesuffix("\r\n") + "\n"))
        rows = csv.writer(lines, delimiter=separator, lineterminator="\r\n")
        rows.writerow(map(inert, table.column_names))
        for batch in table.to_batches(max_chunksize=2**14):
            rows.writerows(zip(*(map(inert, column.to_pylist()) for column in batch.columns), strict=True))
    return escaped
