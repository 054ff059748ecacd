"""Labels in the forms that people have them in, as one long table: a row for every judgement.

    long          labeler, instance, label, perhaps weight; CSV, Parquet, JSON or any table in memory
    wide          a column for every labeler, a row for every instance, nothing where there is no label
    label-studio and others: the exports of annotation tools, see ``exports``

Exports are recognised by what only they have. A wide table is not: it must be said to be one.
"""

from __future__ import annotations

from typing import Literal, get_args

import pyarrow as pa

from crowdjax.columns import listed
from crowdjax.formats import exports, wide
from crowdjax.formats.long import Long
from crowdjax.formats.records import Records, as_table
from crowdjax.formats.wide import widen
from crowdjax.labels import InputError
from crowdjax.tables import Columns, Table, column_of, is_alias, open_table

__all__ = ["Form", "Long", "read_long", "widen"]

Form = Literal[
    "long", "wide", "label-studio", "prodigy", "argilla", "labelbox", "ground-truth", "doccano", "toloka", "mturk",
    "appen", "peerannot", "lewidi", "glad",
]  # fmt: skip


def read_long(source, *, form: Form | None = None, columns: Columns | None = None) -> Long:
    """The judgements of a table of labels in any form.

    Args:
        source: what :func:`crowdjax.tables.open_table` opens; or JSON or JSONL by path, or as a list of dicts.
        form: of the table; by default recognised, never guessed.
        columns: which column is which, see ``docs/tables.md``.

    Raises:
        InputError: it is in no form that is known, or not in the one given.

    Example:
        >>> read_long({"item": ["q1", "q2"], "ann": [1, 0], "bob": [None, 1]}, form="wide").data.to_pydict()
        {'labeler': ['ann', 'ann', 'bob'], 'instance': ['q1', 'q2', 'q2'], 'label': ['1', '0', '1']}
    """
    if form not in (None, *get_args(Form)):
        raise InputError(f"form: got {form!r}; allowed: {', '.join(get_args(Form))}")
    opened = exports.open_export(source, "labels")
    found = None if opened is None else exports.read_export(opened, form, columns)
    if found is None:
        opened = as_table(opened) if isinstance(opened, Records) else open_table(source, "labels")
        found = exports.read_export(opened, form, columns)
    if found is not None:
        return found
    exports.refuse_form(opened.place, form)
    table = opened
    if form == "wide":
        return wide.read(table, columns)
    return _read(table, columns, hint=form is None)


def _read(table: Table, columns: Columns | None, hint: bool) -> Long:
    roles = ["labeler", "instance", "label"]
    unknown = not any(is_alias(n, role) for n in table.columns for role in ("labeler", "label"))
    if hint and unknown and len(table.columns) > 2 and not {"labeler", "label"} & {*(columns or {})}:
        raise InputError(
            f"{table.place}: no column 'labeler' and no column 'label'; found: {listed(table.columns)}; of a "
            "table with a column for every labeler say form='wide' (--from wide)"
        )
    if "weight" in {*table.columns, *(columns or {})}:
        roles.append("weight")
    names = {role: column_of(table, role, columns) for role in roles}
    data = table.read(list(dict.fromkeys(names.values())))
    return Long(table.place, pa.table({role: data[name] for role, name in names.items()}), names, (), names)
