"""Prodigy's exports: JSONL, a line for every answer, as ``prodigy db-out`` writes them.

A binary task is a label by its answer: accept 1, reject 0. A choice task (it has options) is a label by the option
that was accepted or, with a single option, by whether it was; rejected, it chose nothing. Ignored tasks are no labels.
The instance is the task (``_task_hash``), the labeler the annotator (``_annotator_id``, else ``_session_id``).

Source: https://prodi.gy/docs/api-interfaces and https://prodi.gy/docs/api-loaders#hashing
"""

from __future__ import annotations

from typing import Any

from crowdjax.columns import listed, word
from crowdjax.formats.long import Long, from_rows, left_out
from crowdjax.formats.records import Records
from crowdjax.labels import InputError
from crowdjax.roles import Columns

ANSWERS = ("accept", "reject", "ignore")
LABELER = ("_annotator_id", "_session_id")


def is_export(records: Records) -> bool:
    """Whether these are answers to tasks."""
    first = records.rows[0]
    return first.get("answer") in ANSWERS and ("_task_hash" in first or "_input_hash" in first)


def read(records: Records, columns: Columns | None) -> Long:
    """The labels of an export.

    Args:
        columns: ``instance`` and ``labeler``: keys in place of the task and the annotator; ``label``: which label is
            asked about, where tasks ask about several.
    """
    columns = dict(columns or {})
    for given in columns:
        if given not in ("labeler", "instance", "label"):
            raise InputError(f"columns: got {given!r} of an export of Prodigy; allowed: labeler, instance, label")
    rows, ignored, others = [], 0, 0
    asked = {word(r["label"]) for r in records.rows if r.get("label") is not None and not _options(r)}
    about = columns.get("label")
    if about is None and len(asked) > 1:
        raise InputError(f"{records.place}: tasks ask about several labels, {listed(sorted(asked))}; say about "
                         f"which: columns={{'label': {min(asked)!r}}} (--columns label={min(asked)})")  # fmt: skip
    if about is not None and about not in asked:
        raise InputError(f"{records.place}: no task asks about {about!r}; found: {listed(sorted(asked))}")
    kinds = {bool(_options(r)) for r in records.rows}
    if len(kinds) > 1:
        raise InputError(f"{records.place}: tasks with options and tasks without; allowed: tasks of one kind")
    for row, at in zip(records.rows, records.at, strict=True):
        if row.get("answer") not in ANSWERS:
            raise InputError(f"{records.place}: {at}: answer {row.get('answer')!r}; allowed: {', '.join(ANSWERS)}")
        label = _label(row, f"{records.place}: {at}")
        if about is not None and word(row.get("label")) != about:
            others += 1
        elif label is None:
            ignored += 1
        else:
            who = _value(row, LABELER if "labeler" not in columns else (columns["labeler"],), records.place, at)
            what = _value(row, (columns.get("instance", "_task_hash"),), records.place, at)
            rows.append((who, what, label, at))
    notes = left_out(ignored, "Answers that choose nothing") + left_out(others, "Answers about other labels")
    roles = {
        "labeler": columns.get("labeler", " or ".join(LABELER)),
        "instance": columns.get("instance", "_task_hash"),
        "label": about or "answer",
    }
    return from_rows(records.place, rows, notes, roles)


def _options(row: dict[str, Any]) -> list:
    return row.get("options") or []


def _label(row: dict[str, Any], place: str) -> str | None:
    """The label that an answer gives, None where it gives none."""
    answer, options = row["answer"], _options(row)
    if not options:
        return {"accept": "1", "reject": "0", "ignore": None}[answer]
    if answer != "accept":
        return None
    accepted = row.get("accept") or []
    if not isinstance(accepted, list) or len(accepted) > 1:
        raise InputError(f"{place}: accepts {accepted!r}; allowed: one option")
    if len(options) == 1:
        return str(len(accepted))
    return word(accepted[0]) if accepted else None


def _value(row: dict[str, Any], keys: tuple[str, ...], place: str, at: str) -> str:
    found = next((row[k] for k in keys if row.get(k) is not None), None)
    if found is None or isinstance(found, dict | list):
        raise InputError(f"{place}: {at}: no {' or '.join(keys)}; found: {listed(row)}")
    return word(found)
