"""Label Studio's exports: JSON (tasks with their annotations), JSON-MIN and CSV (a row for every annotation).

A label is the one choice of an annotation (control tag Choices). In JSON the instance is the task, the labeler who
completed the annotation; skipped annotations and predictions of models are no labels.

Source: https://labelstud.io/guide/task_format and https://labelstud.io/guide/export
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from crowdjax.columns import MISSING, listed, plain_column, word
from crowdjax.files import reading
from crowdjax.formats.long import Long, from_rows, left_out
from crowdjax.formats.records import Records
from crowdjax.labels import InputError
from crowdjax.roles import Columns, assign, is_alias
from crowdjax.tables import Table

ANNOTATIONS = ("annotations", "completions")  # the latter before version 1.0
OWN = ("annotator", "annotation_id", "lead_time")  # columns that every JSON-MIN and CSV export has
BESIDES = ("id", "created_at", "updated_at", "agreement", "history", *OWN)


def is_export(records: Records) -> bool:
    """Whether these are tasks with annotations."""
    return any(part in records.rows[0] for part in ANNOTATIONS)


def is_flat(table: Table) -> bool:
    """Whether this is JSON-MIN or CSV."""
    return {*OWN} <= {*table.columns}


def read(records: Records, columns: Columns | None) -> Long:
    """The labels of a JSON export.

    Args:
        columns: ``label``: which question, by the name of its control tag, where there are several; ``instance``: a key
            of a task's data in place of the task's id.
    """
    columns = dict(columns or {})
    for given in columns:
        if given not in ("label", "instance"):
            raise InputError(f"columns: got {given!r} of a JSON export of Label Studio; allowed: label, instance")
    rows: list[tuple[str, str, str, list[Any], str]] = []
    skipped = 0
    for task, at in zip(records.rows, records.at, strict=True):
        with reading(f"{records.place}: {at}", "a task of Label Studio"):
            for k, annotation in enumerate(next((task[a] for a in ANNOTATIONS if a in task), [])):
                if annotation.get("was_cancelled") or annotation.get("skipped"):
                    skipped += 1
                    continue
                here = f"{at}, annotation {k + 1}"
                who, what = _labeler(annotation), _instance(task, columns.get("instance"))
                answers: dict[str, list] = {}
                for result in annotation.get("result") or []:
                    if result.get("type") == "choices":
                        answers.setdefault(result["from_name"], []).extend(result["value"]["choices"])
                rows += [(who, what, question, choices, here) for question, choices in answers.items()]
                skipped += not answers
    question = _question(records.place, {row[2] for row in rows}, columns.get("label"))
    rows = [row for row in rows if row[2] == question]
    for *_, choices, here in rows:
        if len(choices) > 1:
            raise InputError(f"{records.place}: {here}: got {len(choices)} choices, {choices!r}; allowed: one")
    labels = [(who, what, word(choices[0]), here) for who, what, _, choices, here in rows if choices]
    notes = left_out(skipped + len(rows) - len(labels), "Annotations without an answer")
    roles = {"labeler": "completed_by", "instance": columns.get("instance", "id"), "label": question or "choices"}
    return from_rows(records.place, labels, notes, roles)


def _labeler(annotation: dict[str, Any]) -> str:
    who = annotation.get("completed_by")
    who = (who.get("email") or who.get("id")) if isinstance(who, dict) else who
    if who is None:
        raise ValueError("no completed_by; needed: who annotated, as in an export of JSON")
    return word(who)


def _instance(task: dict[str, Any], key: str | None) -> str:
    keys, name = (task, "id") if key is None else (task["data"], key)
    if keys.get(name) is None:
        raise ValueError(f"no {name!r}; found: {listed(keys)}")
    return word(keys[name])


def _question(place: str, found: set[str], given: str | None) -> str | None:
    if not found:
        return None
    names = listed(sorted(found))
    if given is not None and given not in found:
        raise InputError(f"{place}: no question {given!r}; found: {names}")
    if given is None and len(found) > 1:
        name = min(found)
        raise InputError(f"{place}: several questions, {names}; say which: columns={{'label': {name!r}}} "
                         f"(--columns label={name})")  # fmt: skip
    return given or min(found)


def read_flat(table: Table, columns: Columns | None) -> Long:
    """The labels of a JSON-MIN or CSV export.

    Args:
        columns: ``label``: the column with the choices, where its name does not say so; ``instance`` and ``labeler`` in
            place of id and annotator.
    """
    columns = {"instance": "id", "labeler": "annotator"} | dict(columns or {})
    if "label" not in columns:
        usual = [n for n in table.columns if n not in BESIDES and is_alias(n, "label")]
        if len(usual) != 1:
            others = [n for n in table.columns if n not in BESIDES]
            raise InputError(
                f"{table.place}: an export of Label Studio whose question has a name of its own; say which of "
                f"{', '.join(others) or 'its columns'} has the choices: columns={{'label': '?'}} (--columns label=?)"
            )
        columns["label"] = usual[0]
    names = assign(table, "labels", columns)
    names = {role: names[role] for role in ("labeler", "instance", "label")}
    data = table.read(list(dict.fromkeys(names.values())))
    data = pa.table({role: plain_column(data[name]) for role, name in names.items()})
    empty = pc.is_null(data["label"])
    if pa.types.is_string(data["label"].type):
        empty = pc.or_kleene(empty, pc.is_in(data["label"], value_set=pa.array(MISSING)))
    answered = data.filter(pc.invert(empty))
    notes = left_out(len(data) - len(answered), "Annotations without an answer")
    return Long(table.place, answered, names, tuple(notes), names)
