"""Tables of any kind: known by their columns' names before they are read, and given back as the kind that came in.

What comes in: paths and URLs (CSV, Excel, Parquet, a folder of CSV or Parquet), pandas, polars, pyarrow and DuckDB,
whatever else narwhals knows, dicts of arrays. What is wrong raises ``InputError``, one line. Ids are read as they are:
from CSV as text (007 stays 007), from Parquet, Excel and tables in memory with their own type.
"""

from __future__ import annotations

import collections
import contextlib
import csv
import functools
import os
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from crowdjax import dialect, disk, excel, memory
from crowdjax.columns import column_name, column_of, listed, refuse_bytes, refuse_large
from crowdjax.extras import needed
from crowdjax.files import NOTHING, SMALLER, File, counting, find, is_path, parquet_of, reading
from crowdjax.labels import InputError, one_line
from crowdjax.settings import brief

if TYPE_CHECKING:
    import narwhals as nw

SEPARATORS = {".csv": ",", ".tsv": "\t"}
PARQUET = (".parquet", ".pq")
NAME = 1000  # letters of a column's name, at most
# Text that a spreadsheet may run, by its first character; the last four have full width. Not a number, nor a lone sign.
RUNS = re.compile(r"(?![+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\Z)[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20](?s:.)")
HEADER, COLUMNS = 2**20, 30_000  # of CSV, at most: pyarrow takes minutes for a million columns
FORMS = "CSV, Excel, Parquet or a folder of Parquet or of CSV"


class Table(NamedTuple):
    """A table with known column names, not yet read.

    Attributes:
        columns: the names, as text, without blanks around them.
        about: how a file was read where that is worth saying: " (separated by semicolons)".
        hint: what to do where the columns do not seem to be named: "; the first line ...".
        untyped: whether values are text because the source has no types, as CSV.
    """

    place: str
    columns: list[str]
    read: Callable[[list[str]], pa.Table]
    about: str = ""
    hint: str = ""
    untyped: bool = False


def open_table(source, place: str, *, header: bool = True) -> Table:
    """Return a path, a URL or a table in memory; rejects what cannot be read and columns that are there twice.

    Args:
        header: whether the first line of a CSV or the first row of a sheet names the columns; if not, they are called
            1, 2, 3 and so on.
    """
    if is_path(source):
        place = f"{place} {source}"
        with reading(place, "a table"):
            path, sheet = _sheet(os.fspath(source))
            files, folder = find(path, "parquet", "pq", "csv", "tsv")
            table = _open_files(files, folder, place, sheet, header)
    else:
        if not header:
            raise InputError(f"{place}: header=False with a table in memory; allowed with CSV and Excel: its columns "
                             "are named by columns=")  # fmt: skip
        table = _open_memory(source, place)
    if table.columns.count("") > 1:  # of spreadsheets, whose rows may end in empty cells
        table = table._replace(columns=[name for name in table.columns if name])
    twice = [name for name, n in collections.Counter(table.columns).items() if n > 1]
    if twice:
        raise InputError(f"{table.place}: column {min(twice)!r} is there twice; allowed: one column of a name")
    return checked(table)


def checked(table: Table) -> Table:
    """Return the same table, which rejects names and cells of its columns that are too long for any use."""
    for k, name in enumerate(table.columns):
        if len(name) > NAME:
            raise InputError(
                f"{table.place}: column {k + 1}: a name of {len(name):,} letters, {name[:20]!r}...; allowed: {NAME:,}"
            )

    def read(columns):
        data = table.read(columns)
        for name in columns:
            refuse_large(data[name], table.place, name)
        return data

    return table._replace(read=read)


def _open_files(files: list[File], folder: bool, place: str, sheet: str | None, header: bool) -> Table:
    if not files:
        what = "a folder without *.parquet or *.csv files" if folder else NOTHING
        raise InputError(f"{place}: {what}; allowed: {FORMS}")
    parquet = counting(files)
    if parquet[0].ending in ("parquet", "pq"):
        if not header:
            raise InputError(f"{place}: Parquet names its columns; --no-header (header=False) is for CSV and Excel")
        others = [f.path.rpartition("/")[2] for f in files if f not in parquet]
        left = f" (Parquet alone: {listed(others, 3)} not read)" if others else ""
        return _open_parquet(parquet, place)._replace(about=left)
    if files[0].ending in ("json", "jsonl", "ndjson"):
        raise InputError(f"{place}: JSON, which is read for labels only; allowed: {FORMS}")
    if files[0].ending in ("xlsx", "xlsm"):
        names, read, about = excel.open_sheet(files[0], place, sheet, header)
        return Table(place, names, read, about)
    if files[0].ending in ("xls", "ods", "numbers"):
        raise InputError(f"{place}: a spreadsheet that cannot be read; save it as .xlsx or .csv; allowed: {FORMS}")
    tables = [_open_csv(f, f"{place}/{f.path.rpartition('/')[2]}" if folder else place, header) for f in files]
    for other in tables[1:]:
        if sorted(other.columns) != sorted(tables[0].columns):
            raise InputError(f"{other.place}: other columns than {tables[0].place}; allowed: a folder of one table")

    def read_all(columns):
        return pa.concat_tables([t.read(columns) for t in tables])

    return tables[0]._replace(place=place, read=read_all)


def _sheet(source: str) -> tuple[str, str | None]:
    """Return (the path, the sheet) of ``book.xlsx#sheet``."""
    path, mark, sheet = source.rpartition("#")
    return (path, sheet) if mark and path.lower().endswith((".xlsx", ".xlsm")) else (source, None)


def _open_parquet(files: list[File], place: str) -> Table:
    with reading(place, "Parquet"):
        data = parquet_of(files)
        names = data.schema.names

    def read(columns):
        with reading(place, "Parquet"), contextlib.ExitStack() as stack:
            for file in files:
                stack.enter_context(file.steady())
            footers = [f.metadata for f in data.get_fragments()]
            memory.refuse_parquet(footers, columns, f"{place}: columns {listed(columns, 5)} need", SMALLER)
            table = data.to_table(columns=columns)
            table.validate(full=True)  # bytes that are no text would be noticed where ids are shown
            return table

    return Table(place, names, read)


def _open_dataset(data, place: str) -> Table:
    def read(columns):
        with reading(place, "Parquet"):
            table = data.to_table(columns=columns)
            table.validate(full=True)  # bytes that are no text would be noticed where ids are shown
            return table

    return Table(place, data.schema.names, read)


def _open_csv(file: File, place: str, header: bool) -> Table:
    if file.size == 0:
        raise InputError(f"{place}: empty file; needed: a header and at least one row")
    with reading(place, "CSV"), file.stream() as stream:
        found = dialect.of(stream.read(HEADER), "\t" if file.ending == "tsv" else ",")
    if len(found.first) >= HEADER // 2 or found.first.count(found.separator) > COLUMNS:
        raise InputError(
            f"{place}: a first line of {len(found.first):,} characters or more with "
            f"{found.first.count(found.separator):,} separators; allowed: up to {COLUMNS:,} columns in "
            f"{HEADER // 2:,} characters"
        )
    parse = pa.csv.ParseOptions(delimiter=found.separator, newlines_in_values=True)

    def options(**more):
        return pa.csv.ReadOptions(autogenerate_column_names=not header, **more)

    @contextlib.contextmanager
    def opened():
        with file.stream() as stream:
            encoding = found.encoding
            yield stream if encoding is None else pa.transcoding_input_stream(stream, encoding, "utf-8")

    with reading(place, "CSV"):  # of the first record alone: a streaming reader would leave threads behind
        first = pa.BufferReader((found.head + "\n").encode())
        raw = pa.csv.read_csv(first, parse_options=parse, read_options=options(use_threads=False)).column_names
    names = [n.strip() for n in raw] if header else [str(k + 1) for k in range(len(raw))]
    place_of = dict(zip(names, raw, strict=True))

    def read(columns, kind=None, threads=True):
        convert = pa.csv.ConvertOptions(
            column_types={n: kind or pa.string() for n in raw},
            include_columns=[place_of[n] for n in columns],
            strings_can_be_null=False,
        )
        with opened() as stream:
            data = pa.csv.read_csv(
                stream, parse_options=parse, convert_options=convert, read_options=options(use_threads=threads)
            )
        return data.rename_columns(columns)

    def read_or_say_where(columns):
        try:
            return read(columns)
        except pa.ArrowInvalid:
            with reading(place, "CSV"):  # once more, in order: now the message has the row
                data = read(columns, pa.binary(), threads=False)
            for name in columns:
                refuse_bytes(data[name], place, name, file.path)
            raise

    return Table(place, names, read_or_say_where, found.about, found.hint(names) if header else "", untyped=True)


def _narwhals():
    """Return tables in memory, of whatever kind; of no use to tables on disk."""
    with needed("tables in memory"):
        import narwhals as nw
    return nw


def _open_memory(source, place: str) -> Table:
    nw = _narwhals()

    dataset = sys.modules.get("pyarrow.dataset")
    if dataset and isinstance(source, dataset.Dataset):  # on whatever file system
        return _open_dataset(source, place)
    with reading(place, "a table"):
        if isinstance(source, Mapping):
            for name, values in source.items():
                if np.ndim(values) != 1 and not isinstance(values, list | tuple):
                    raise InputError(f"{place}: column {name!r}: got {brief(values)}; allowed: a value for each row")
            source = pa.table({column_name(n): column_of(v, place, column_name(n)) for n, v in source.items()})
        try:
            frame = nw.from_native(_plain_frame(source))
        except TypeError:
            raise InputError(
                f"{place}: got {brief(source)}; allowed: a path or URL, a table of pandas, polars, pyarrow or DuckDB, "
                "or a dict of columns"
            ) from None
        if isinstance(frame, nw.LazyFrame):
            frame = frame.collect()
        names = frame.columns
    raw = dict(zip([n.strip() for n in names], names, strict=True))

    def read(columns):
        with reading(place, "a table"):
            return pa.table({n: _arrow(frame, raw[n], place) for n in columns})

    return Table(place, [n.strip() for n in names], read)


def _arrow(frame: nw.DataFrame, name: str, place: str) -> pa.ChunkedArray:
    """Return a column of a data frame."""
    native = frame[name].to_native()
    if str(getattr(native, "dtype", "")).lower() == "object":  # Python's own objects: of one type or rejected
        return pa.chunked_array([column_of(native.to_list(), place, name)])
    try:
        found = frame.select(name).to_arrow()[name]
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, OverflowError):
        return pa.chunked_array([column_of(frame[name].to_numpy(), place, name)])
    if pa.types.is_binary(found.type):  # text among bytes became bytes
        column_of(frame[name].to_numpy(), place, name)
    return found


def _plain_frame(source):
    """Give a pandas table text as names of its columns, the named levels of its index among them."""
    nw = _narwhals()

    if not nw.dependencies.is_pandas_dataframe(source):
        return source
    names = source.index.names
    if any(n is not None and n not in source.columns for n in names):
        source = source.reset_index()
    if all(isinstance(n, str) for n in source.columns):
        return source
    return source.set_axis([column_name(n) for n in source.columns], axis=1)


# The same kind out

Kind = Callable[[pa.Table], Any]


def kind_of(source, roles: Mapping[str, str] | None = None) -> Kind:
    """Return a function that converts a pyarrow table to the kind of ``source``; for paths, and kinds that cannot be
    made, pyarrow.

    Args:
        roles: the columns of ``source`` whose types the columns of these names take in pandas and polars, so that the
            result merges onto ``source``.

    Example:
        >>> kind_of({"labeler": ["a"]})(pa.table({"label": [1, 0]}))
        {'label': array([1, 0])}
    """
    if isinstance(source, Mapping):
        return as_arrays
    if isinstance(source, str | os.PathLike):
        return as_arrow
    nw = _narwhals()

    if nw.dependencies.is_duckdb_relation(source):
        return functools.partial(_as_relation, source)
    if nw.dependencies.is_into_dataframe(source) or nw.dependencies.is_polars_lazyframe(source):
        lazy = nw.dependencies.is_polars_lazyframe(source)
        backend = nw.Implementation.POLARS if lazy else nw.from_native(source).implementation
        return functools.partial(_as_frame, backend, _types(source, roles or {}), lazy)
    return as_arrow


def _types(source, roles: Mapping[str, str]) -> dict[str, Any]:
    """Return the types of the columns of these roles, as pandas or polars has them."""
    nw = _narwhals()

    if nw.dependencies.is_pandas_dataframe(source):
        levels = zip(source.index.names, map(source.index.get_level_values, range(source.index.nlevels)), strict=True)
        known = {column_name(n): v.dtype for n, v in levels if n is not None}
        known |= {column_name(n): dtype for n, dtype in source.dtypes.items()}
    elif nw.dependencies.is_polars_dataframe(source) or nw.dependencies.is_polars_lazyframe(source):
        known = dict(source.collect_schema())
    else:
        known = {}
    return {role: known[name] for role, name in roles.items() if name in known and role in ("labeler", "instance")}


def as_arrow(table: pa.Table) -> pa.Table:
    return table


def as_arrays(table: pa.Table) -> dict[str, np.ndarray]:
    return {name: table[name].to_numpy() for name in table.column_names}


def _as_frame(backend: nw.Implementation, types: Mapping[str, Any], lazy: bool, table: pa.Table):
    nw = _narwhals()

    frame = nw.from_arrow(table, backend=backend).to_native()
    for name in types.keys() & {*table.column_names}:
        with contextlib.suppress(Exception):  # ids of no such type, as those of a folder that was read: they stay
            if backend == nw.Implementation.POLARS:
                frame = frame.with_columns(frame[name].cast(types[name]))
            else:
                frame[name] = frame[name].astype(types[name])
    return frame.lazy() if lazy else frame


def _as_relation(source, result: pa.Table):
    """Return a relation in the database of another; DuckDB finds ``result`` by its name."""
    return source.query("given", "SELECT * FROM result")


# To files


def write(table: pa.Table, out: Path) -> int:
    r"""Write CSV or Parquet; the file appears whole or not at all. Empty cells of CSV are nulls.

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


class _NoPandas:
    """What finds pandas nowhere (a finder of ``sys.meta_path``)."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "pandas":
            raise ModuleNotFoundError("pandas", name="pandas")


def without_pandas() -> None:
    """Let pyarrow look in vain for pandas, which its first array would import: .3 s of no use to a command.

    What asks for pandas itself, as ``to_pandas``, finds it later.
    """
    if "pandas" in sys.modules:
        return
    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_NoPandas)
