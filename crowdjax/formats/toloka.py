"""Toloka's assignments: TSV with columns INPUT:..., OUTPUT:..., GOLDEN:..., HINT:... and ASSIGNMENT:...

The labeler is ASSIGNMENT:worker_id; the instance ASSIGNMENT:task_id or, where there is none, the one input; the label
the one output. What was rejected, skipped or has expired is no label; the right answers of control tasks are gold.

Source: https://toloka.ai/docs, "Assignments TSV"
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from crowdjax.columns import listed
from crowdjax.formats.judgements import chosen, columns_to_long, given_or, only, paste, text_column
from crowdjax.formats.long import Long
from crowdjax.labels import InputError
from crowdjax.roles import Columns
from crowdjax.tables import Table

WORKER, TASK, STATUS = "ASSIGNMENT:worker_id", "ASSIGNMENT:task_id", "ASSIGNMENT:status"
INPUT, OUTPUT, GOLDEN = "INPUT:", "OUTPUT:", "GOLDEN:"
COUNT = ("", "approved", "accepted", "submitted")
OTHERS = ("rejected", "skipped", "expired", "active")


def is_export(table: Table) -> bool:
    """Return whether there are workers and outputs."""
    return WORKER in table.columns and any(n.startswith(OUTPUT) for n in table.columns)


def read(table: Table, columns: Columns | None) -> Long:
    """Return the labels of assignments.

    Args:
        columns: ``label``: which output; ``instance``: which input; with or without what is before the colon.
    """
    columns = only(columns, "an export of Toloka", "labeler", "instance", "label")
    outputs, inputs = ([n for n in table.columns if n.startswith(p)] for p in (OUTPUT, INPUT))
    label = columns.get("label")
    if isinstance(label, str) and f"{OUTPUT}{label}" in outputs:
        label = f"{OUTPUT}{label}"
    label = chosen(table.place, outputs, label)
    if label is None:
        raise InputError(f"{table.place}: no column {OUTPUT}...; found: {listed(table.columns)}")
    instance = columns.get("instance")
    if isinstance(instance, str) and f"{INPUT}{instance}" in inputs:
        instance = f"{INPUT}{instance}"
    if instance is None and TASK not in table.columns and len(inputs) != 1:
        some = paste({"instance": inputs[0]}) if inputs else "columns={'instance': ...}"
        raise InputError(
            f"{table.place}: no {TASK}, and {len(inputs) or 'no'} columns {INPUT}..., {listed(inputs)}; say which is "
            f"the instance: {some}"
        )
    names = {
        "labeler": given_or(table, columns, "labeler", WORKER),
        "instance": given_or(table, {}, "instance", instance or (TASK if TASK in table.columns else inputs[0])),
        "label": label,
    }
    left = {}
    if STATUS in table.columns:
        status = text_column(table, STATUS)
        for row, found in enumerate(status.to_pylist(), 1):
            if found not in COUNT + OTHERS:
                raise InputError(
                    f"{table.place}: column {STATUS!r}, row {row}: got {listed([found])}; allowed: "
                    f"{', '.join(s for s in COUNT + OTHERS if s)}"
                )
        left = {f"Assignments {s}": pc.equal(status, s) for s in OTHERS}
    gold = f"{GOLDEN}{label.removeprefix(OUTPUT)}"
    known = None
    if gold in table.columns:
        data = table.read(list(dict.fromkeys([names["instance"], gold])))
        known = pa.table({"instance": data[names["instance"]], "label": data[gold]})
    return columns_to_long(table, names, left, gold=known)
