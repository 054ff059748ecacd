"""Wide tables: a column for every labeler, a row for every instance, or turned around; empty cells are no labels."""

from __future__ import annotations

import collections
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crowdjax.columns import MISSING, id_column, listed, plain_column, rows_of, word
from crowdjax.formats.long import Long
from crowdjax.labels import InputError
from crowdjax.roles import Columns, is_alias, is_row_number, named, plain, shell
from crowdjax.tables import Table

NO_LABELERS = ["weight", "truth", "gold", "score", "text", "label", "total", "majority", "consensus", "timestamp"]
MOST_VALUES, MOST_LENGTH = 20, 40  # of cells that look like labels


def read(table: Table, columns: Columns | None, rows: Literal["instance", "labeler"] = "instance") -> Long:
    """Return the labels of a wide table, column by column.

    Args:
        columns: with a row for every instance ``instance``: the column that names them; ``labeler``: the columns with
            labels (by default all others but row numbers). With a row for every labeler the two change places.
        rows: whom a row stands for.
    """
    others = "labeler" if rows == "instance" else "instance"
    columns = dict(columns or {})
    for given in columns:
        if given not in ("labeler", "instance"):
            raise InputError(f"columns: got {given!r} of a wide table; allowed: instance, labeler")
    chosen, key = columns.get(others), columns.get(rows)
    form = "wide" if rows == "instance" else "wide-by-labeler"
    usual = [n for n in table.columns if is_alias(n, rows)]
    if key is not None:
        key = named(table, key, rows)
    elif rows in usual or (len(usual) == 1 and chosen is None):
        key = rows if rows in usual else usual[0]
    elif not usual and "" in table.columns:
        key = ""  # the index of a data frame or the names of rows, as CSV has them
    else:
        raise InputError(
            f"{table.place}: no column {rows!r}; found: {listed(table.columns)}; say which names the {rows}s: "
            f"--from {form} --columns {rows}={'?' if not usual else usual[0]}"
        )
    names = [n for n in table.columns if n != key and not is_row_number(n)]
    if chosen is not None:
        names = [named(table, n, others) for n in (chosen if isinstance(chosen, list | tuple) else [chosen])]
    for name in names if chosen is None else ():
        if plain(name) in NO_LABELERS or is_alias(name, others) or is_alias(name, "label"):
            some = [n for n in names if n != name][:3]
            raise InputError(
                f"{table.place}: column {name!r} does not look like {'an' if others == 'instance' else 'a'} {others}; "
                f"leave it out, or say which columns are: columns={{{others!r}: {some or ['?']!r}}} "
                f"(--from {form} --columns {shell(f'{rows}={key}' + ''.join(f',{others}={n}' for n in some))})"
            )
    if len({key, *names}) <= len(names):
        raise InputError(f"{table.place}: columns {listed([key, *names])}; allowed: each once")
    if not names:
        raise InputError(f"{table.place}: no columns besides {key!r}; needed: one for every {others}")
    data = table.read([key, *names])
    if len(data) == 0:
        raise InputError(f"{table.place}: no labels at all; at least one row is needed")
    ids = id_column(data[key], table.place, key).combine_chunks()
    rows_of(data[key], ids.unique(), table.place, key)  # rejects an id twice
    for name in names:
        if pa.types.is_nested(data[name].type):
            raise InputError(f"{table.place}: column {name!r} of type {str(data[name].type)[:40]}; allowed: labels")
    labels = [_words(data[name]) for name in names]
    given = [np.flatnonzero(label.is_valid()) for label in labels]
    row, column = np.concatenate(given), np.repeat(np.arange(len(names)), [len(g) for g in given])
    long = {
        others: pa.array(names).take(pa.array(column)),
        rows: ids.take(pa.array(row)),
        "label": pa.concat_arrays([label.drop_null() for label in labels]),
    }
    long = {role: long[role] for role in ("labeler", "instance", "label")}

    def at(n: int) -> str:
        return f"column {names[column[n]]!r}, row {row[n] + 1}"

    without = {rows: len(ids) - len(np.unique(row)), others: sum(not len(g) for g in given)}
    notes = [
        f"{n:,} {role}s without any label {'is' if n == 1 else 'are'} left out."
        for role, n in without.items()
        if n and row.size
    ]
    roles = {others: f"the names of {listed(names, 5)}", rows: key, "label": "their cells"}
    roles = {role: roles[role] for role in long}
    t = pa.types
    typed = (t.is_integer, t.is_floating, t.is_decimal, t.is_null)
    numbers = all(any(test(data[name].type) for test in typed) for name in names)
    return Long(
        table.place, pa.table(long), dict.fromkeys(long, at), tuple(notes), roles, about=table.about,
        untyped=numbers or table.untyped,
    )  # fmt: skip


def kind_of_cells(data: pa.Table) -> Literal["labels", "counts"] | None:
    """Classify the cells of these columns: counts (whole numbers, some above 1, hardly any empty), labels (few values,
    all short) or None, neither.

    Example:
        >>> kind_of_cells(pa.table({"a": ["yes", ""], "b": ["no", "yes"]})), kind_of_cells(pa.table({"a": ["1.37"]}))
        ('labels', None)
    """
    found: set[str] = set()
    for column in data.columns:
        if pa.types.is_nested(column.type):
            return None
        values = plain_column(column).unique()
        if len(values) > 200:
            return None
        found |= {word(v) for v in values.to_pylist() if v is not None and v == v} - {*MISSING}
    if not found:
        return None
    if all(w.isdecimal() for w in found):
        return "labels" if found <= {"0", "1"} else "counts"
    fractions = any("." in w and w.lstrip("+-").replace(".", "", 1).isdecimal() for w in found)
    few = len(found) <= MOST_VALUES and max(map(len, found)) <= MOST_LENGTH
    return "labels" if few and not fractions else None


def _words(column: pa.ChunkedArray) -> pa.Array:
    """Return the labels of a labeler as words, null where there is none."""
    encoded = plain_column(column).dictionary_encode().combine_chunks()
    words = [None if v is None or v != v else word(v) for v in encoded.dictionary.to_pylist()]
    words = pa.array([None if w in MISSING else w for w in words], pa.string())
    return words.take(encoded.indices) if len(words) else pa.nulls(len(column), pa.string())


def widen(table: pa.Table) -> pa.Table:
    """Return the wide table of a tidy one (labeler, instance, label): instances and labelers in sorted order.

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
            f"wide: {again} of {len(cell)} labels repeat an earlier one (same labeler and instance); allowed: one "
            "label in a cell"
        )
    names = [str(v) for v in labelers.to_pylist()]
    uses = collections.Counter(names)
    bad = [n for n in names if n == "instance" or n != n.strip() or uses[n] > 1]
    if bad:
        allowed = "ids without blanks around them, each of its own, not 'instance'"
        raise InputError(f"wide: labeler {bad[0]!r} cannot be a column name; allowed: {allowed}")
    row, empty = np.zeros(len(names) * len(instances), np.int64), np.ones(len(names) * len(instances), bool)
    row[cell], empty[cell] = np.arange(len(cell)), False
    label, shape = table["label"].combine_chunks(), (len(names), len(instances))
    cells = zip(names, row.reshape(shape), empty.reshape(shape), strict=True)
    columns = {name: label.take(pa.array(rows, mask=mask)) for name, rows, mask in cells}
    return pa.table({"instance": instances, **columns})
