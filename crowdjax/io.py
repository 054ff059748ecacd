"""Tables in: labels, gold, features and scores from CSV, Parquet or any data frame.

Everything a user hands over passes this door. What is wrong raises ``InputError``, one line that names the value, the
place (table, column, row; the first row of data is row 1) and what is allowed.

Ids are read as they are: from CSV as text (007 stays 007), from Parquet and data frames with their own type. They are
indexed in sorted order, so the order of rows and the names of ids change no result.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
from jaxtyping import Float, Int, Int8

from crowdjax.labels import InputError, LabelIndex, Labels, Repeats, one_line

ALIASES = {
    "labeler": ("labeler", "labeller", "worker", "annotator", "rater"),
    "instance": ("instance", "task", "item"),
    "label": ("label", "response", "judgement", "judgment"),
}
ALIASES = {role: names + tuple(f"{n}_id" for n in names if role != "label") for role, names in ALIASES.items()}
SIGNS = {"0": 0, "0.0": 0, "1": 1, "+1": 1, "1.0": 1, "-1": -1, "-1.0": -1, "true": 1, "false": 0}
ALPHABET = "0/1, -1/+1 or true/false"

Key = Literal["labeler", "instance"]


# Labels


@dataclasses.dataclass(frozen=True)
class Triples:
    """The rows of a table of labels: indices into ``index``, signs, multiplicities (None: one each)."""

    labeler: Int[np.ndarray, " N"]
    instance: Int[np.ndarray, " N"]
    label: Int8[np.ndarray, " N"]
    weight: Float[np.ndarray, " N"] | None
    index: LabelIndex

    def labels(self, *, repeats: Repeats = "count", gold: Float[np.ndarray, " I"] | None = None) -> Labels:
        """The triples sorted and laid out (``Labels.from_arrays``)."""
        return Labels.from_arrays(
            self.labeler,
            self.instance,
            self.label,
            weight=self.weight,
            gold=gold,
            n_labelers=len(self.index.labelers),
            n_instances=len(self.index.instances),
            repeats=repeats,
        )


def read_triples(source, *, columns: Mapping[str, str] | None = None) -> Triples:
    """The rows of a table of labels in the order of the table; see :func:`read_labels`."""
    table = _open(source, "labels")
    names = {role: _column_of(table, role, columns) for role in ("labeler", "instance", "label")}
    weight = (columns or {}).get("weight", "weight")
    if weight in table.columns or "weight" in (columns or {}):
        names["weight"] = _column_of(table, "weight", columns)
    data = table.read(list(names.values()))
    if len(data) == 0:
        raise InputError(f"{table.place}: no labels at all; at least one row is needed")
    labeler, labelers = encode(data[names["labeler"]], table.place, names["labeler"])
    instance, instances = encode(data[names["instance"]], table.place, names["instance"])
    label = _signs(data[names["label"]], table.place, names["label"])
    weights = None
    if "weight" in names:
        weights = _numbers(data[names["weight"]], table.place, names["weight"], "a finite number >= 0")
        _refuse_where(weights < 0, weights, table.place, names["weight"], "a finite number >= 0")
    return Triples(labeler, instance, label, weights, LabelIndex(labelers, instances))


@dataclasses.dataclass(frozen=True)
class Rows:
    """Some rows of a table of labels: ids as they are, signs, multiplicities (None: one each)."""

    labeler: pa.ChunkedArray
    instance: pa.ChunkedArray
    label: Int8[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"] | None


@dataclasses.dataclass(frozen=True)
class Scan:
    """A table of labels that is read in pieces, as often as is asked.

    Attributes:
        n_rows: of the whole table.
        identity: what tells this table from another, as far as one can tell without reading it.
        rows: a function of no arguments that gives the rows, at most ``batch`` of them at a time.
    """

    place: str
    n_rows: int
    identity: list
    rows: Callable[[], Iterator[Rows]]


def scan(source, *, columns: Mapping[str, str] | None = None, batch: int = 2**18) -> Scan:
    """The rows of Parquet too large for memory, in pieces, in the order of the files' names; checked as they are read.

    Args:
        source: a Parquet file or a folder of them: a path, or a URL that pyarrow or fsspec knows (``s3://...``).
        columns: as in :func:`read_labels`.

    Raises:
        InputError: as in :func:`read_labels`; it is not Parquet.
    """
    place = f"labels {source}"
    with _reading(place, "Parquet"):
        data, files = _parquet_at(str(source), place)
        n_rows, names = data.count_rows(), data.schema.names
    table = _Table(place, names, lambda _: pa.table({}))
    roles = {role: _column_of(table, role, columns) for role in ("labeler", "instance", "label")}
    weight = (columns or {}).get("weight", "weight")
    if weight in names or "weight" in (columns or {}):
        roles["weight"] = _column_of(table, "weight", columns)
    if n_rows == 0:
        raise InputError(f"{place}: no labels at all; at least one row is needed")

    def rows():
        before, seen, few = 0, set(), dict(batch_readahead=1, fragment_readahead=1, use_threads=False)
        pieces = data.to_batches(columns=list(roles.values()), batch_size=batch, **few)
        while True:
            with _reading(place, "Parquet"):
                piece = next(pieces, None)
            if piece is None:
                return
            here = place if before == 0 else f"{place} after row {before}"
            part = {role: pa.chunked_array([piece[name]]) for role, name in roles.items()}
            seen |= {_sign(v) for v in pc.unique(_plain_column(part["label"])).to_pylist()}
            if {0, -1} <= seen:
                raise InputError(f"{here}: column {roles['label']!r}: both 0 and -1; allowed: {ALPHABET}")
            weights = None
            if "weight" in roles:
                weights = _numbers(part["weight"], here, roles["weight"], "a finite number >= 0")
                _refuse_where(weights < 0, weights, here, roles["weight"], "a finite number >= 0")
            if len(piece):
                labeler, instance = (_ids(part[key], here, roles[key]) for key in ("labeler", "instance"))
                yield Rows(labeler, instance, _signs(part["label"], here, roles["label"]), weights)
            before += len(piece)

    return Scan(place, n_rows, [files, n_rows, roles], rows)


def _parquet_at(source: str, place: str):
    """A Parquet data set, here or on a file system that a URL names, and what tells its files from others."""
    from pyarrow import dataset, fs  # the former takes pandas along, where that is installed

    if "://" in source:
        try:
            files, path = fs.FileSystem.from_uri(source)
        except pa.ArrowInvalid:  # not one of pyarrow's own
            import fsspec

            files, path = fsspec.core.url_to_fs(source)
            files = fs.PyFileSystem(fs.FSSpecHandler(files))
    else:
        files, path = fs.LocalFileSystem(), os.path.abspath(source)
    found = files.get_file_info([path])[0]
    if found.type == fs.FileType.Directory:
        every = files.get_file_info(fs.FileSelector(path, recursive=True))
    else:
        every = [found] if found.type == fs.FileType.File else []
    every = sorted((f for f in every if f.path.endswith((".parquet", ".pq"))), key=lambda f: f.path)
    if not every:
        raise InputError(f"{place}: no *.parquet there; allowed with minibatches: a Parquet file or a folder of them")
    data = dataset.dataset([f.path for f in every], format="parquet", filesystem=files)
    return data, [[f.path, f.size, f.mtime_ns] for f in every]


def read_labels(
    source, *, columns: Mapping[str, str] | None = None, repeats: Repeats = "count", gold=None
) -> tuple[Labels, LabelIndex]:
    """Labels from a table, and the ids behind their indices.

    Args:
        source: path of a CSV file, a Parquet file or a folder of Parquet files; or a pandas, polars or pyarrow table,
            or a dict of arrays. Columns labeler, instance, label (worker, annotator, rater, task, item, response and
            the same with _id are recognised) and, optionally, weight: a multiplicity.
            In a CSV file ids are text as written; empty, NaN and nan count as missing. Other columns are left aside.
        columns: which column is which, where names differ: ``{"labeler": "who"}``.
        repeats: what to do with several labels of one labeler on one instance, see ``Labels.from_arrays``.
        gold: a table with columns instance and label: the truth where it is known.

    Raises:
        InputError: a column is missing or there twice, a value is missing or outside its alphabet, there are no rows,
            the file cannot be read, gold names an instance without labels.

    Example:
        >>> table = {"worker": ["ann", "bob", "ann"], "task": ["q1", "q1", "q2"], "label": [1, 0, 1]}
        >>> labels, index = read_labels(table)
        >>> labels.label.tolist(), index.labelers.tolist(), index.instances.tolist()
        ([1, -1, 1], ['ann', 'bob'], ['q1', 'q2'])
    """
    triples = read_triples(source, columns=columns)
    truth = None if gold is None else read_gold(gold, triples.index.instances)
    return triples.labels(repeats=repeats, gold=truth), triples.index


def read_gold(source, instances: np.ndarray) -> Float[np.ndarray, " I"]:
    """The known truth of each instance as -1 or +1, NaN where unknown, from a table with columns instance and label.

    Example:
        >>> read_gold({"instance": ["q2"], "label": [True]}, np.array(["q1", "q2"])).tolist()
        [nan, 1.0]
    """
    table = _open(source, "gold")
    key, label = _column_of(table, "instance"), _column_of(table, "label")
    data = table.read([key, label])
    if len(data) == 0:
        raise InputError(f"{table.place}: no rows; give at least one, or no table")
    position = _positions(data[key], instances, table.place, key)
    _refuse_where(position < 0, data[key], table.place, key, "instances that occur in the labels")
    truth = np.full(len(instances), np.nan)
    truth[position] = _signs(data[label], table.place, label)
    return truth


# Numbers about labelers and instances


def read_values(
    source, key: Key, ids: np.ndarray, names: Sequence[str] | None = None, *, place: str = "features"
) -> tuple[tuple[str, ...], Float[np.ndarray, "n F"]]:
    """Numeric columns about each of the given labelers or instances: features, scores, sampling weights.

    Args:
        source: a table as in :func:`read_labels`: a column of ids, the rest finite numbers.
        key: which ids: ``labeler`` or ``instance``.
        ids: those that must have a row each, for instance ``index.labelers``. Further rows are left aside.
        names: the columns to read, for instance ``["score"]``; by default all besides the ids.
        place: what to call the table in a message, unless it has a path.

    Returns:
        (names of the columns, values of shape [n, F] in the order of ``ids``).

    Raises:
        InputError: an id has no row or two, a value is text or missing or not finite, a column is missing.

    Example:
        >>> read_values({"labeler": ["b", "a"], "age": [30, 20]}, "labeler", np.array(["a", "b"]))[1].tolist()
        [[20.0], [30.0]]
    """
    table = _open(source, place)
    column = _column_of(table, key)
    names = [n for n in table.columns if n != column] if names is None else [_named(table, n) for n in names]
    if not names:
        raise InputError(f"{table.place}: no columns besides {column!r}; at least one numeric column is needed")
    data = table.read([column, *names])
    position = _positions(data[column], ids, table.place, column)
    rows = np.full(len(ids), -1)
    rows[position[position >= 0]] = np.flatnonzero(position >= 0)
    _refuse_absent(np.flatnonzero(rows < 0), ids, table.place, key)
    used = data.take(pa.array(rows))

    def about(row):
        return f"{key} {_show(ids[row])}, row {rows[row] + 1}"

    values = [_numbers(used[n], table.place, n, "finite numbers", about) for n in names]
    return tuple(names), np.stack(values, 1)


def read_weights(source, instances: np.ndarray) -> Float[np.ndarray, " I"]:
    """The sampling weight of each instance, from a table with columns instance and weight and no other instances.

    Example:
        >>> read_weights({"instance": ["b", "a"], "weight": [30, 2.5]}, np.array(["a", "b"])).tolist()
        [2.5, 30.0]
    """
    table = _open(source, "weights")
    key, weight = _column_of(table, "instance"), _named(table, "weight")
    data = table.read([key, weight])
    position = _positions(data[key], instances, table.place, key)
    _refuse_where(position < 0, data[key], table.place, key, "instances that occur in the labels")
    allowed = "finite numbers above 0"
    values = _numbers(data[weight], table.place, weight, allowed)
    _refuse_where(values <= 0, data[weight], table.place, weight, allowed)
    _refuse_absent(np.setdiff1d(np.arange(len(instances)), position), instances, table.place, "instance")
    weights = np.empty(len(instances))
    weights[position] = values
    return weights


def read_population(source, names: Sequence[str]) -> tuple[Float[np.ndarray, "K C"], Float[np.ndarray, " K"]]:
    """(scores, counts) of a population's table: the columns ``names``, and weight or count, by default one per row.

    Example:
        >>> scores, counts = read_population({"score": [0.1, 0.9], "count": [1000, 20]}, ["score"])
        >>> scores.tolist(), counts.tolist()
        ([[0.1], [0.9]], [1000.0, 20.0])
    """
    table = _open(source, "population")
    columns = [_named(table, n) for n in names]
    counts = [n for n in ("weight", "count") if n in table.columns and n not in columns]
    if len(counts) > 1:
        raise InputError(f"{table.place}: columns 'weight' and 'count' may both say how many; allowed: one of them")
    data = table.read([*columns, *counts])
    if len(data) == 0:
        raise InputError(f"{table.place}: no rows; give at least one, or no table")
    scores = np.stack([_numbers(data[n], table.place, n, "finite numbers") for n in columns], 1)
    weights = np.ones(len(data))
    for name in counts:
        allowed = "finite numbers, 0 or more, at least one of them above 0"
        weights = _numbers(data[name], table.place, name, allowed)
        _refuse_where(weights < 0, data[name], table.place, name, allowed)
        if not weights.any():
            raise InputError(f"{table.place}: column {name!r}: all 0; allowed: {allowed}")
    return scores, weights


def positions(ids: np.ndarray, known: np.ndarray) -> Int[np.ndarray, " n"]:
    """Where each id is among the known ones, -1 for those that are not.

    Example:
        >>> positions(np.array(["b", "x"]), np.array(["a", "b"])).tolist()
        [1, -1]
    """
    return _positions(pa.chunked_array([pa.array(ids)]), known, "labels", "labeler")


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Names, means and standard deviations of feature columns, kept so that new rows are standardised alike."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]

    @classmethod
    def of(cls, names: Sequence[str], values: Float[np.ndarray, "n F"]) -> Scaling:
        """The scaling of the columns that vary; constant ones are left out, since the model has a constant of its own.

        Example:
            >>> scaling = Scaling.of(["age", "one"], np.array([[20.0, 1.0], [30.0, 1.0]]))
            >>> scaling.names, scaling.apply(np.array([[40.0]])).tolist()
            (('age',), [[3.0]])
        """
        mean, sd = values.mean(0), values.std(0)
        varies = sd > 1e-12 * np.maximum(1, abs(mean))
        if not varies.any():
            raise InputError(f"features {', '.join(names)}: constant; allowed: columns that vary")
        keep = np.flatnonzero(varies).tolist()
        return cls(tuple(names[k] for k in keep), tuple(mean[keep].tolist()), tuple(sd[keep].tolist()))

    def apply(self, values: Float[np.ndarray, "n F"]) -> Float[np.ndarray, "n F"]:
        """The columns of ``names``, standardised."""
        return (values - np.array(self.mean)) / np.array(self.sd)


def read_features(
    source, key: Key, ids: np.ndarray, scaling: Scaling | None = None
) -> tuple[Float[np.ndarray, "n F"], Scaling, tuple[str, ...]]:
    """Standardised features: (values, their scaling, the constant columns that were left out).

    Args:
        source, key, ids: as in :func:`read_values`.
        scaling: of the fit, when these are new rows for it: the same columns, the same means.
    """
    place = f"{key} features"
    names, values = read_values(source, key, ids, None if scaling is None else scaling.names, place=place)
    if scaling is not None:
        return scaling.apply(values), scaling, ()
    scaling = Scaling.of(names, values)
    keep = [names.index(n) for n in scaling.names]
    return scaling.apply(values[:, keep]), scaling, tuple(n for n in names if n not in scaling.names)


def read_new_features(
    source, key: Key, ids: np.ndarray, scaling: Scaling, needed=True
) -> Float[np.ndarray, "n F"] | None:
    """Features of new labelers or instances of a fit that used some; 0 where not ``needed``, None where none are.

    Raises:
        InputError: as in :func:`read_values`; some are needed and there is no table.
    """
    needed = np.broadcast_to(needed, len(ids))
    if not needed.any():
        return None
    if source is None:
        raise InputError(
            f"{key} features: none given, but the fit used {', '.join(scaling.names)} and {key} {ids[needed][0]!s} is "
            "new; a table with these columns is needed"
        )
    rows = np.zeros((len(ids), len(scaling.names)))
    rows[needed], _, _ = read_features(source, key, ids[needed], scaling)
    return rows


# Tables of any kind


@dataclasses.dataclass(frozen=True)
class _Table:
    """A table that is known by its column names and not yet read."""

    place: str
    columns: list[str]
    read: Callable[[list[str]], pa.Table]


def _open(source, place: str) -> _Table:
    """A path or a table in memory; refuses what cannot be read and columns that are there twice."""
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        place = f"{place} {path}"
        with _reading(place, "a table"):
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


def _open_parquet(path: Path, place: str) -> _Table:
    files = sorted(map(str, path.rglob("*.parquet"))) if path.is_dir() else [str(path)]
    if not files:
        raise InputError(f"{place}: a folder without *.parquet files; allowed: CSV, Parquet or a folder of Parquet")
    from pyarrow import dataset  # takes pandas along, where that is installed

    with _reading(place, "Parquet"):
        data = dataset.dataset(files, format="parquet")

    def read(columns):
        with _reading(place, "Parquet"):
            return data.to_table(columns=columns)

    return _Table(place, data.schema.names, read)


def _open_csv(path: Path, place: str) -> _Table:
    csv = pa.csv
    parse = csv.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True)
    if path.stat().st_size == 0:
        raise InputError(f"{place}: empty file; needed: a header and at least one row")
    with _reading(place, "CSV"), csv.open_csv(path, parse_options=parse) as stream:
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
            with _reading(place, "CSV"):  # once more, in order: now the message has the row
                data = read(columns, pa.binary(), threads=False)
            for name in columns:
                _decode(data[name], place, name)
            raise

    return _Table(place, [n.strip() for n in names], _renamed(read_or_say_where, names))


def _renamed(read, names):
    """``read`` by names without the blanks around them."""
    raw = {n.strip(): n for n in names}
    return lambda columns: read([raw[c] for c in columns]).rename_columns(columns)


def _open_memory(source, place: str) -> _Table:
    with _reading(place, "a table"):
        if isinstance(source, Mapping):
            source = pa.table({str(name): pa.array(np.asarray(values)) for name, values in source.items()})
        frame = nw.from_native(source)
        if isinstance(frame, nw.LazyFrame):
            frame = frame.collect()
        names = frame.columns

    def read(columns):
        with _reading(place, "a table"):
            return frame.select(columns).to_arrow()

    return _Table(place, names, read)


@contextlib.contextmanager
def _reading(place: str, kind: str):
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


def _column_of(table: _Table, role: str, columns: Mapping[str, str] | None = None) -> str:
    """The name of the column that plays a role: as given, or the role's own name, or the one alias that is there."""
    for given in columns or {}:
        if given not in (*ALIASES, "weight"):
            raise InputError(f"columns: got {given!r}; allowed: {', '.join(ALIASES)}, weight")
    if columns and role in columns:
        return _named(table, columns[role])
    if role in table.columns:
        return role
    found = [n for n in table.columns if n.lower() in ALIASES.get(role, (role,))]
    if len(found) > 1:
        raise InputError(f"{table.place}: columns {' and '.join(map(repr, found))} may both be the {role}; say which")
    return found[0] if found else _named(table, role)


def _named(table: _Table, name: str) -> str:
    if name not in table.columns:
        raise InputError(f"{table.place}: no column {name!r}; found: {', '.join(table.columns[:20]) or 'none'}")
    return name


# Columns


def encode(column: pa.ChunkedArray, place: str, name: str) -> tuple[Int[np.ndarray, " N"], np.ndarray]:
    """(index of each id, the ids in sorted order)."""
    column = _ids(column, place, name)
    encoded = column.dictionary_encode().combine_chunks()
    order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    ids = encoded.dictionary.take(pa.array(order)).to_numpy(zero_copy_only=False)
    return rank[encoded.indices.to_numpy()], ids


def _plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without a dictionary, and text of one type only."""
    t = pa.types
    if t.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.string()) if t.is_large_string(column.type) or t.is_string_view(column.type) else column


def _ids(column: pa.ChunkedArray, place: str, name: str) -> pa.ChunkedArray:
    """A column of ids; refuses missing ones."""
    t = pa.types
    column = _plain_column(column)
    if t.is_nested(column.type) or t.is_null(column.type):
        raise InputError(f"{place}: column {name!r} of type {column.type}; allowed: text, numbers or dates as ids")
    missing = pc.is_null(column, nan_is_null=True)
    if t.is_string(column.type):
        missing = pc.or_(missing, pc.is_in(column, value_set=pa.array(["", "NaN", "nan"])))
    _refuse_where(missing, column, place, name, "an id in every row")
    return column


def _positions(column: pa.ChunkedArray, ids: np.ndarray, place: str, name: str) -> Int[np.ndarray, " N"]:
    """Where each id of a key column is among ``ids``, -1 for those that are not; refuses an id that is there twice."""
    column, known = _ids(column, place, name), pa.array(ids)
    if column.type != known.type:
        with _reading(f"{place}: column {name!r}", f"ids of type {known.type}, as in the labels"):
            column = column.cast(known.type)
    position = pc.index_in(column, value_set=known).fill_null(-1).to_numpy().astype(np.int64)
    seen, counts = np.unique(position, return_counts=True)
    twice = (counts > 1) & (seen >= 0)
    if twice.any():
        rows = np.flatnonzero(position == seen[twice][0]) + 1
        raise InputError(
            f"{place}: column {name!r}, rows {rows[0]} and {rows[1]}: {_show(column[int(rows[0]) - 1])} "
            "twice; allowed: one row each"
        )
    return position


def _signs(column: pa.ChunkedArray, place: str, name: str) -> Int8[np.ndarray, " N"]:
    """A column of labels as -1 and +1."""
    _refuse_where(pc.is_null(column, nan_is_null=True), column, place, name, ALPHABET)
    encoded = _plain_column(column).dictionary_encode().combine_chunks()
    values = [_sign(v) for v in encoded.dictionary.to_pylist()]
    indices = encoded.indices.to_numpy()
    bad = np.array([v is None for v in values], bool)[indices]
    _refuse_where(bad, column, place, name, ALPHABET)
    label = np.array(values, np.int8)[indices] if len(indices) else np.empty(0, np.int8)
    if (label == 0).any() and (label == -1).any():
        minus, zero = (int(np.flatnonzero(label == v)[0]) for v in (-1, 0))
        raise _bad(column[minus], place, name, minus, f"0/1 throughout (row {zero + 1} has 0) or -1/+1 throughout")
    return np.where(label == 1, 1, -1).astype(np.int8)


def _sign(value) -> int | None:
    if isinstance(value, str):
        return SIGNS.get(value.strip().lower())
    try:
        return int(value) if value in (-1, 0, 1) else None
    except TypeError:
        return None


def _numbers(column: pa.ChunkedArray, place: str, name: str, allowed: str, about=None) -> Float[np.ndarray, " N"]:
    """A column of finite numbers; text is read as a number only where all of it is."""
    t = pa.types
    about = about or (lambda row: f"row {row + 1}")
    column = _plain_column(column)
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
        raise InputError(f"{place}: column {name!r}, {about(row)}: got {_show(column[row])}; allowed: {allowed}")
    return values


def _number(value) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _refuse_absent(missing: Int[np.ndarray, " m"], ids: np.ndarray, place: str, key: Key) -> None:
    """Raises where ids have no row."""
    if missing.size:
        raise InputError(
            f"{place}: no row for {key} {_show(ids[missing[0]])} ({len(missing)} missing in all); "
            f"every {key} of the labels needs one"
        )


def _refuse_where(bad, column, place: str, name: str, allowed: str) -> None:
    """Raises on the first value of a column that is bad."""
    rows = np.flatnonzero(np.asarray(bad))
    if rows.size:
        raise _bad(column[int(rows[0])], place, name, int(rows[0]), allowed)


def _bad(value, place: str, name: str, row: int, allowed: str) -> InputError:
    return InputError(f"{place}: column {name!r}, row {row + 1}: got {_show(value)}; allowed: {allowed}")


def _show(value) -> str:
    """A value for a message: short, on one line, text in quotes."""
    value = value.as_py() if isinstance(value, pa.Scalar) else value
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value == "":
        return "nothing"
    text = repr(value) if isinstance(value, str | bytes) else str(value)
    return text if len(text) <= 80 else text[:77] + "..."
