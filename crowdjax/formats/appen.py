"""The full report of CrowdFlower, later Figure Eight and Appen: CSV, a row for every judgement.

The labeler is _worker_id, the instance _unit_id. A question is known by its column of right answers, NAME_gold; without
one it has to be said, since inputs and answers look alike. Tainted judgements are no labels; right answers are gold.

Source: https://success.appen.com, "Guide to: Reports"
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from crowdjax.columns import listed, plain_column
from crowdjax.formats.judgements import (
    columns_to_long,
    given_or,
    only,
    paste,
    refuse_several,
    text_column,
)
from crowdjax.formats.long import Long, left_out
from crowdjax.labels import InputError
from crowdjax.roles import Columns
from crowdjax.tables import Table

WORKER, UNIT, TAINTED, GOLD = "_worker_id", "_unit_id", "_tainted", "_gold"


def is_export(table: Table) -> bool:
    """Return whether there are units and workers."""
    return {WORKER, UNIT} <= {*table.columns}


def read(table: Table, columns: Columns | None) -> Long:
    """Return the labels of a report.

    Args:
        columns: ``label``: the question's column; ``instance``: a column in place of _unit_id.
    """
    columns = only(columns, "a report of Appen", "labeler", "instance", "label")
    names = {
        "labeler": given_or(table, columns, "labeler", WORKER),
        "instance": given_or(table, columns, "instance", UNIT),
    }
    names["label"] = given_or(table, columns, "label", "") if "label" in columns else _question(table, names)
    label = plain_column(table.read([names["label"]])[names["label"]])
    refuse_several(label, "\n", table.place, names["label"])
    left, known, notes = {}, None, []
    if TAINTED in table.columns:
        left["Tainted judgements"] = pc.is_in(text_column(table, TAINTED), value_set=pa.array(["true", "1"]))
    gold = names["label"] + GOLD
    if gold in table.columns:
        data = table.read(list(dict.fromkeys([names["instance"], gold])))
        truth = plain_column(data[gold])
        if pa.types.is_string(truth.type):
            several = pc.fill_null(pc.match_substring(truth, "\n"), False)
            notes = left_out(pc.sum(several).as_py() or 0, "Gold of several right answers")
            truth = pc.if_else(several, None, truth)
        known = pa.table({"instance": data[names["instance"]], "label": truth})
    return columns_to_long(table, names, left, gold=known, notes=notes)


def _question(table: Table, names: dict[str, str]) -> str:
    """Return the one question with a column of right answers."""
    asked = [n for n in table.columns if f"{n}{GOLD}" in table.columns and not n.startswith("_") and n != "orig_"]
    if len(asked) == 1:
        return asked[0]
    others = [n for n in table.columns if not n.startswith(("_", "orig_")) and not n.endswith((GOLD, "_gold_reason"))]
    if not (asked or others):
        raise InputError(f"{table.place}: no column with answers; found: {listed(table.columns)}")
    some = asked or others
    what = "several questions" if asked else "which column has the answers is not known"
    raise InputError(f"{table.place}: {what}: {listed(some)}; say which: {paste(names | {'label': some[0]})}")
