"""Wide tables: a column for every labeler, a row for every instance, nothing where there is no label."""

from __future__ import annotations

import collections

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crowdjax.columns import MISSING, id_column, listed, plain_column, rows_of, word
from crowdjax.formats.long import Long
from crowdjax.labels import InputError
from crowdjax.tables import Columns, Table, column_of, is_alias, named

NO_LABELERS = ("weight", "truth", "gold", "score", "text")


def read(table: Table, columns: Columns | None) -> Long:
    """The labels of a wide table, labeler by labeler.

    Args:
        columns: ``instance``: the column that names the instances; ``labeler``: those with labels (by default all
            others).
    """
    columns = dict(columns or {})
    for given in columns:
        if given not in ("labeler", "instance"):
            raise InputError(f"columns: got {given!r} of a wide table; allowed: instance, labeler")
    chosen = columns.pop("labeler", None)
    if "" in table.columns and not columns and not any(is_alias(n, "instance") for n in table.columns):
        columns["instance"] = ""  # the index of a data frame or the names of rows, as CSV has them
    key = column_of(table, "instance", columns)
    labelers = [n for n in table.columns if n != key]
    if chosen is not None:
        labelers = [named(table, n) for n in ([chosen] if isinstance(chosen, str) else chosen)]
    for name in labelers if chosen is None else ():
        if name in NO_LABELERS or is_alias(name, "labeler") or is_alias(name, "label"):
            raise InputError(
                f"{table.place}: column {name!r} is hardly a labeler; leave it out, or say which columns are: "
                "columns={'labeler': [...]} (--columns labeler=A,labeler=B,...)"
            )
    if not labelers:
        raise InputError(f"{table.place}: no columns besides {key!r}; needed: one for every labeler")
    data = table.read([key, *labelers])
    if len(data) == 0:
        raise InputError(f"{table.place}: no labels at all; at least one row is needed")
    ids = id_column(data[key], table.place, key).combine_chunks()
    rows_of(data[key], ids.unique().to_numpy(zero_copy_only=False), table.place, key)  # refuses an instance twice
    labels = [_words(data[name]) for name in labelers]
    given = [np.flatnonzero(label.is_valid()) for label in labels]
    row, column = np.concatenate(given), np.repeat(np.arange(len(labelers)), [len(g) for g in given])
    long = {
        "labeler": pa.array(labelers).take(pa.array(column)),
        "instance": ids.take(pa.array(row)),
        "label": pa.concat_arrays([label.drop_null() for label in labels]),
    }

    def at(n: int) -> str:
        return f"column {labelers[column[n]]!r}, row {row[n] + 1}"

    roles = {"labeler": f"the names of {listed(labelers)}", "instance": key, "label": "their cells"}
    return Long(table.place, pa.table(long), dict.fromkeys(long, at), (), roles)


def _words(column: pa.ChunkedArray) -> pa.Array:
    """The labels of a labeler as words, null where there is none."""
    encoded = plain_column(column).dictionary_encode().combine_chunks()
    words = [None if v is None or v != v else word(v) for v in encoded.dictionary.to_pylist()]
    words = pa.array([None if w in MISSING else w for w in words], pa.string())
    return words.take(encoded.indices) if len(words) else pa.nulls(len(column), pa.string())


def widen(table: pa.Table) -> pa.Table:
    """The wide table of a tidy one (labeler, instance, label): instances and labelers in sorted order.

    Raises:
        InputError: a labeler judged an instance twice, or there are weights: a wide table has no room for either.

    Example:
        >>> tidy = pa.table({"labeler": ["b", "a", "b"], "instance": ["q1", "q2", "q2"], "label": [1, 0, 1]})
        >>> widen(tidy).to_pydict()
        {'instance': ['q1', 'q2'], 'a': [None, 0], 'b': [1, 1]}
    """
    if "weight" in table.column_names:
        raise InputError("wide: the labels have weights, which a wide table has no room for; allowed: labels without")
    sides = [table[side].dictionary_encode().combine_chunks() for side in ("labeler", "instance")]
    orders = [pc.array_sort_indices(side.dictionary).to_numpy() for side in sides]
    labeler, instance = (np.argsort(o)[s.indices.to_numpy()] for o, s in zip(orders, sides, strict=True))
    labelers, instances = (s.dictionary.take(pa.array(o)) for o, s in zip(orders, sides, strict=True))
    cell = labeler.astype(np.int64) * len(instances) + instance
    again = len(cell) - len(np.unique(cell))
    if again:
        raise InputError(
            f"wide: {again} of {len(cell)} labels repeat an earlier one (labeler and instance alike); allowed: one "
            "label in a cell"
        )
    names = [str(v) for v in labelers.to_pylist()]
    uses = collections.Counter(names)
    bad = [n for n in names if n == "instance" or n != n.strip() or uses[n] > 1]
    if bad:
        allowed = "ids without blanks around them, each of its own, not 'instance'"
        raise InputError(f"wide: labeler {bad[0]!r} makes no column's name; allowed: {allowed}")
    grid, empty = np.zeros(len(names) * len(instances), np.int8), np.ones(len(names) * len(instances), bool)
    grid[cell], empty[cell] = table["label"].to_numpy(), False
    grid, empty = (a.reshape(len(names), len(instances)) for a in (grid, empty))
    columns = {n: pa.array(v, mask=m) for n, v, m in zip(names, grid, empty, strict=True)}
    return pa.table({"instance": instances, **columns})
