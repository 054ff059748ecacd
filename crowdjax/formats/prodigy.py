"""Prodigy's exports: JSONL, a line for every answer, as ``prodigy db-out`` writes them.

A binary task is a label by its answer: accept 1, reject 0. A choice task (it has options) is a label by the option
that was accepted or, with a single option, by whether it was; rejected, it chose nothing. Ignored tasks are no labels.
The instance is the task (``_task_hash``), the labeler the annotator (``_annotator_id``, else ``_session_id``).

Source: https://prodi.gy/docs/api-interfaces and https://prodi.gy/docs/api-loaders#hashing
"""

from __future__ import annotations

from typing import Any

from crowdjax.columns import listed, show, word
from crowdjax.formats.judgements import Judgement, only, paste, to_long
from crowdjax.formats.long import Long, left_out
from crowdjax.formats.records import Records, brief
from crowdjax.labels import InputError
from crowdjax.roles import Columns

ANSWERS = ("accept", "reject", "ignore")
LABELER = ("_annotator_id", "_session_id")


def is_export(records: Records) -> bool:
    """Return whether these are answers to tasks."""
    first = records.rows[0]
    return first.get("answer") in ANSWERS and ("_task_hash" in first or "_input_hash" in first)


def read(records: Records, columns: Columns | None) -> Long:
    """Return the labels of an export.

    Args:
        columns: ``instance`` and ``labeler``: keys in place of the task and the annotator; ``label``: which label is
            asked about, where tasks ask about several.
    """
    columns = only(columns, "an export of Prodigy", "labeler", "instance", "label")
    rows, others = [], 0
    asked = sorted({_asked(r) for r in records.rows if r.get("label") is not None and not _options(r)})
    about = columns.get("label")
    if about is None and len(asked) > 1:
        raise InputError(
            f"{records.place}: tasks ask about several labels, {listed(asked)}; say about which: "
            f"{paste({'label': asked[0]})}"
        )
    if about is not None and about not in asked:
        raise InputError(f"{records.place}: no task asks about {show(about)}; found: {listed(asked)}")
    kinds = {bool(_options(r)) for r in records.rows}
    if len(kinds) > 1:
        raise InputError(f"{records.place}: tasks with options and tasks without; allowed: tasks of one kind")
    for row, at in zip(records.rows, records.at, strict=True):
        if row.get("answer") not in ANSWERS:
            given = row.get("answer")
            given = brief(given) if isinstance(given, dict | list) else repr(given)[:80]
            raise InputError(f"{records.place}: {at}: answer {given}; allowed: {', '.join(ANSWERS)}")
        label = _label(row, f"{records.place}: {at}")
        if about is not None and _asked(row) != about:
            others += 1
            continue
        who = what = None
        if label is not None:
            who = _value(row, LABELER if "labeler" not in columns else (columns["labeler"],), records.place, at)
            what = _value(row, (columns.get("instance", "_task_hash"),), records.place, at)
        rows.append(Judgement(who, what, {about or "answer": label}, at))
    notes = left_out(others, "Answers about other labels")
    roles = {
        "labeler": columns.get("labeler", " or ".join(LABELER)),
        "instance": columns.get("instance", "_task_hash"),
    }
    return to_long(records.place, rows, roles, notes=notes, empty="Answers that choose nothing")


def _options(row: dict[str, Any]) -> list:
    options = row.get("options")
    return options if isinstance(options, list) else []


def _asked(row: dict[str, Any]) -> str:
    """Return the label that a task asks about; text of one that is no text."""
    label = row.get("label")
    return brief(label) if isinstance(label, dict | list) else word(label)


def _label(row: dict[str, Any], place: str) -> Any:
    """Return the label that an answer gives, None where it gives none."""
    answer, options = row["answer"], _options(row)
    if not options:
        return {"accept": "1", "reject": "0", "ignore": None}[answer]
    if answer != "accept":
        return None
    accepted = row.get("accept") or []
    if not isinstance(accepted, list) or len(accepted) > 1:
        some = f"[{', '.join(map(brief, accepted[:3]))}]" if isinstance(accepted, list) else brief(accepted)
        raise InputError(f"{place}: accepts {some}; allowed: one option")
    if len(options) == 1:
        return str(len(accepted))
    return accepted[0] if accepted else None


def _value(row: dict[str, Any], keys: tuple[str, ...], place: str, at: str) -> Any:
    found = next((row[k] for k in keys if row.get(k) is not None), None)
    if found is None or isinstance(found, dict | list):
        raise InputError(f"{place}: {at}: no {listed([' or '.join(map(str, keys))])}; found: {listed(row)}")
    return found
