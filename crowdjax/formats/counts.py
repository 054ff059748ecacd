"""Counts: a row for every instance, a column for every label, in each cell how many labelers gave that label.

Nobody knows who gave what, so the counts serve models that need no labelers: majority, and the contextual model whose
labelers are all alike.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from crowdjax.columns import id_column, listed, numbers, refuse_where, rows_of
from crowdjax.formats.long import Long
from crowdjax.labels import InputError
from crowdjax.roles import Columns, is_alias, is_row_number, named
from crowdjax.tables import Table

EVERYONE = "everyone"  # the labeler of all counts


def read(table: Table, columns: Columns | None) -> Long:
    """Return the labels of a table of counts: one row for each count above 0, with the count as its weight.

    Args:
        columns: ``instance``: the column that names the instances; ``label``: those with counts (by default all others
            but row numbers).
    """
    columns = dict(columns or {})
    for given in columns:
        if given not in ("instance", "label"):
            raise InputError(f"columns: got {given!r} of a table of counts; allowed: instance, label")
    key = columns.get("instance")
    usual = [n for n in table.columns if is_alias(n, "instance")]
    if key is None and (columns or len(usual) != 1) and "instance" not in usual:
        raise InputError(
            f"{table.place}: no column 'instance'; found: {listed(table.columns)}; say which column is which: "
            "--from counts --columns instance=?,label=?,label=?"
        )
    key = ("instance" if "instance" in usual else usual[0]) if key is None else named(table, key, "instance")
    chosen = columns.get("label")
    if chosen is None:
        labels = [n for n in table.columns if n != key and not is_row_number(n)]
    else:
        labels = [named(table, n, "label") for n in (chosen if isinstance(chosen, list | tuple) else [chosen])]
    if len({key, *labels}) <= len(labels):
        raise InputError(f"{table.place}: columns {listed([key, *labels])}; allowed: each once")
    if len(labels) < 2:
        raise InputError(
            f"{table.place}: {len(labels)} columns of counts, {listed(labels)}; allowed: two or more, one for each "
            f"label: --from counts --columns instance={key},label=?,label=?"
        )
    data, allowed = table.read([key, *labels]), "whole numbers, 0 or more"
    if len(data) == 0:
        raise InputError(f"{table.place}: no labels at all; at least one row is needed")
    ids = id_column(data[key], table.place, key)
    rows_of(ids, ids.combine_chunks().unique(), table.place, key)  # rejects an instance twice
    n = []
    for name in labels:
        n.append(numbers(data[name], table.place, name, allowed))
        refuse_where((n[-1] < 0) | (n[-1] % 1 != 0), data[name], table.place, name, allowed)
    weights = np.stack(n, 1).ravel()
    rows, width = np.flatnonzero(weights), len(labels)
    long = {
        "labeler": pa.array([EVERYONE] * len(rows), pa.string()),
        "instance": data[key].combine_chunks().take(pa.array(rows // width)),
        "label": pa.array(labels).take(pa.array(rows % width)),
        "weight": pa.array(weights[rows]),
    }

    def at(k: int) -> str:
        return f"column {labels[rows[k] % width]!r}, row {rows[k] // width + 1}"

    empty = int((weights.reshape(-1, width).sum(1) == 0).sum())
    notes = [f"{empty:,} instances without any label are left out."] if empty else []
    notes.append("Labels are counts: who gave them is not known, and the table of labelers has one row for everyone.")
    roles = {"instance": key, "label": f"the names of {listed(labels)}", "weight": "their cells"}
    return Long(
        table.place, pa.table(long), dict.fromkeys(long, at), tuple(notes), roles, anonymous=True, about=table.about,
        untyped=True, known=tuple(labels),
    )  # fmt: skip
