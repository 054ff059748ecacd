"""Label Studio's exports: JSON (tasks with their annotations), JSON-MIN and CSV (a row for every annotation).

A label is the one choice or the rating of an annotation (control tags Choices and Rating). In JSON the instance is the
task, the labeler who completed the annotation; skipped annotations and predictions of models are no labels, and what is
marked as ground truth is gold.

Source: https://labelstud.io/guide/task_format and https://labelstud.io/guide/export
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crowdjax.columns import listed, plain_column
from crowdjax.files import reading
from crowdjax.formats.judgements import Judgement, columns_to_long, field, given_or, members, only, paste, to_long
from crowdjax.formats.long import Long, left_out
from crowdjax.formats.records import Records, brief
from crowdjax.labels import InputError
from crowdjax.roles import Columns, is_alias
from crowdjax.tables import Table

ANNOTATIONS = ("annotations", "completions")  # the latter before version 1.0
VALUES = {"choices": "choices", "rating": "rating"}  # of a type of result, the key of its value
OWN = ("annotator", "annotation_id", "lead_time")  # columns that every JSON-MIN and CSV export has
BESIDES = ("id", "created_at", "updated_at", "agreement", "history", *OWN)


def is_export(records: Records) -> bool:
    """Return whether there are tasks with annotations."""
    return any(part in row for row in records.rows for part in ANNOTATIONS)


def is_flat(table: Table) -> bool:
    """Return whether this is JSON-MIN or CSV."""
    return {*OWN} <= {*table.columns}


def read(records: Records, columns: Columns | None) -> Long:
    """Return the labels of a JSON export.

    Args:
        columns: ``label``: which question, by the name of its control tag, where there are several; ``instance``: a key
            of a task's data in place of the task's id.
    """
    columns = only(columns, "a JSON export of Label Studio", "label", "instance")
    found: list[Judgement] = []
    bare = 0
    for task, at in zip(records.rows, records.at, strict=True):
        with reading(f"{records.place}: {at}", "a task of Label Studio"):
            key = next((a for a in ANNOTATIONS if a in task), ANNOTATIONS[0])
            annotations = members(task, key)
            bare += not annotations
            for k, annotation in enumerate(annotations, 1):
                what = _instance(task, columns.get("instance"))
                found.append(_judgement(annotation, what, f"{at}, annotation {k}"))
    notes = left_out(bare, "Tasks without annotations")
    roles = {"labeler": "completed_by", "instance": columns.get("instance", "id"), "label": "choices or rating"}
    return to_long(records.place, found, roles, question=columns.get("label"), notes=notes)


def _judgement(annotation: dict[str, Any], instance: Any, at: str) -> Judgement:
    answers: dict[str, list] = {}
    if not (annotation.get("was_cancelled") or annotation.get("skipped")):
        for result in members(annotation, "result"):
            if result.get("type") in VALUES:
                value = field(field(result, "value"), VALUES[result["type"]])
                value = value if isinstance(value, list) else [value]
                answers.setdefault(str(field(result, "from_name")), []).extend(value)
    gold = bool(annotation.get("ground_truth"))
    return Judgement(_labeler(annotation) if answers and not gold else None, instance, answers, at, gold)


def _labeler(annotation: dict[str, Any]) -> Any:
    who = annotation.get("completed_by")
    who = (who.get("email") or who.get("id")) if isinstance(who, dict) else who
    if who is None:
        raise ValueError("no completed_by; needed: who annotated, as in an export of JSON")
    return who


def _instance(task: dict[str, Any], key: str | None) -> Any:
    found = field(task, "id") if key is None else field(field(task, "data"), key)
    if isinstance(found, dict | list):
        raise ValueError(f"{key or 'id'!r}: got {brief(found)}; needed: text or a number")
    return found


def read_flat(table: Table, columns: Columns | None) -> Long:
    """Return the labels of a JSON-MIN or CSV export.

    Args:
        columns: ``label``: the column with the choices, where its name does not say so; ``instance`` and ``labeler`` in
            place of id and annotator.
    """
    columns = only(columns, "a table that Label Studio exported", "labeler", "instance", "label")
    usual = [n for n in table.columns if n not in BESIDES and is_alias(n, "label")]
    if "label" not in columns and len(usual) != 1:
        others = [n for n in table.columns if n not in BESIDES]
        some = paste({"label": others[-1]}) if others else "columns={'label': ...}"
        raise InputError(
            f"{table.place}: an export of Label Studio whose question has a name of its own; say which of "
            f"{listed(others) if others else 'its columns'} has the choices: {some}"
        )
    names = {
        "labeler": given_or(table, columns, "labeler", "annotator"),
        "instance": given_or(table, columns, "instance", "id"),
        "label": given_or(table, columns, "label", *usual[:1]),
    }
    label = plain_column(table.read([names["label"]])[names["label"]])
    if pa.types.is_string(label.type):
        several = pc.fill_null(pc.starts_with(label, '{"choices"'), False).to_pylist()
        if any(several):
            row = several.index(True)
            raise InputError(
                f"{table.place}: column {names['label']!r}, row {row + 1}: got several choices, "
                f"{listed([label[row]])}; allowed: one"
            )
    return columns_to_long(table, names, {})
