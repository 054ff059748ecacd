"""Labels in the forms that people have them in, as one long table: a row for every judgement.

    long          labeler, instance, label, perhaps weight; CSV, Parquet, JSON or any table in memory
    wide          a column for every labeler, a row for every instance, nothing where there is no label
    wide-by-labeler  the same turned around: a row for every labeler, a column for every instance
    counts        a row for every instance, a column for every label: how many labelers gave it
    label-studio and others: the exports of annotation tools, see ``exports``

Exports are recognised by what only they have. Wide tables and counts are not: the user has to declare them.
"""

from __future__ import annotations

from typing import Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc

from crowdjax.columns import plain_column
from crowdjax.formats import counts, exports, wide
from crowdjax.formats.long import Long
from crowdjax.formats.records import Records, as_table
from crowdjax.formats.wide import widen
from crowdjax.labels import InputError
from crowdjax.roles import Columns, assign, is_alias, is_row_number, plain, shell
from crowdjax.tables import Table, open_table

__all__ = ["Form", "Long", "read_long", "widen"]

Form = Literal[
    "long", "wide", "wide-by-labeler", "counts", "label-studio", "prodigy", "argilla", "labelbox", "ground-truth",
    "doccano", "toloka", "mturk", "appen", "peerannot", "lewidi", "glad",
]  # fmt: skip


def read_long(source, *, form: Form | None = None, columns: Columns | None = None, header: bool = True) -> Long:
    """Return the judgements of a table of labels in any form.

    Args:
        source: what :func:`crowdjax.tables.open_table` opens; or JSON or JSONL by path, or as a list of dicts.
        form: of the table; by default recognised, never guessed.
        columns: which column is which, see ``docs/tables.md``.
        header: whether the first line of a CSV file names the columns.

    Raises:
        InputError: it is in no form that is known, or not in the one given.

    Example:
        >>> read_long({"item": ["q1", "q2"], "ann": [1, 0], "bob": [None, 1]}, form="wide").data.to_pydict()
        {'labeler': ['ann', 'ann', 'bob'], 'instance': ['q1', 'q2', 'q2'], 'label': ['1', '0', '1']}
    """
    if form not in (None, *get_args(Form)):
        raise InputError(f"form: got {form!r}; allowed: {', '.join(get_args(Form))}")
    opened = exports.open_export(source, "labels")
    if opened is not None and not header:
        raise InputError(f"{opened.place}: header=False (--no-header) of an export; allowed: with CSV and Excel")
    found = None if opened is None else exports.read_export(opened, form, columns)
    if found is None:
        table = as_table(opened) if isinstance(opened, Records) else open_table(source, "labels", header=header)
        found = exports.read_export(table, form, columns) if header else None
    if found is not None:
        return found
    exports.refuse_form(table.place, form)
    if form == "wide":
        return wide.read(table, columns)
    if form == "wide-by-labeler":
        return wide.read(table, columns, rows="labeler")
    if form == "counts":
        return counts.read(table, columns)
    return _read(table, columns, hint=form is None)


def _read(table: Table, columns: Columns | None, hint: bool) -> Long:
    try:
        names = assign(table, "labels", columns or {})
    except InputError as error:
        other = _other_form(table) if hint and not columns else ""
        raise InputError(f"{error}{other}") from None
    truths = [n for n in table.columns if plain(n) in ("gold", "truth") and n not in names.values()]
    notes = [f"Column {n!r} is not used: gold is a table of its own, one row for an instance: gold= (--gold)."
             for n in truths]  # fmt: skip
    data = table.read(list(names.values()))
    data = pa.table({role: data[name] for role, name in names.items()})
    return Long(table.place, data, names, tuple(notes), names, about=table.about, named=True, untyped=table.untyped)


def _other_form(table: Table) -> str:
    """Suggest another form of the table, seen from its cells: counts or labels in every column but one."""
    if any(is_alias(n, role) for n in table.columns for role in ("label",)) or not 3 <= len(table.columns) <= 2000:
        return ""
    kinds = ("instance", "labeler")
    keys = [n for role in kinds for n in table.columns if is_alias(n, role)] or [""] * ("" in table.columns)
    key = ""  # the option that names the instances
    if not keys and _is_key(table, table.columns[0]):
        keys, key = [table.columns[0]], f" --columns {shell(f'instance={table.columns[0]}')}"
    if len(keys) != 1:
        return ""
    wide_form = f"with a column for every labeler say form='wide' (--from wide{key})"
    names = [n for n in table.columns if n != keys[0] and not is_row_number(n)]
    cells = wide.kind_of_cells(table.read(names))
    if cells == "counts" and not is_alias(keys[0], "labeler"):
        return f"; of a table of counts, a column for every label, say form='counts' (--from counts{key}); {wide_form}"
    if cells != "labels":
        return ""
    if is_alias(keys[0], "labeler"):
        return "; of a table with a row for every labeler say form='wide-by-labeler' (--from wide-by-labeler)"
    return f"; of a table {wide_form}"


def _is_key(table: Table, name: str) -> bool:
    """Return whether a column has a value in every row, each once, as the ids of a wide table's rows."""
    values = plain_column(table.read([name])[name])
    return len(values) > 1 and values.null_count == 0 and pc.count_distinct(values).as_py() == len(values)
