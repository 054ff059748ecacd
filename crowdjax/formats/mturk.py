"""The results of a batch of Amazon Mechanical Turk: CSV with HITId, WorkerId, AssignmentStatus, Input.* and Answer.*

The labeler is WorkerId, the instance HITId: in a batch every row of the input is one HIT. The label is the one answer:
a column, a group of buttons (Answer.NAME.CHOICE, true or false), or the JSON of Answer.taskAnswers. Rejected
assignments, also those with a reason in the column Reject, are no labels.

Source: https://docs.aws.amazon.com/AWSMechTurk/latest/RequesterUI/ReviewingResultsOutsideoftheRUI.html
"""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crowdjax.columns import listed, plain_column, show
from crowdjax.files import reading
from crowdjax.formats.ground_truth import content
from crowdjax.formats.judgements import (
    Judgement,
    chosen,
    columns_to_long,
    given_or,
    is_missing,
    only,
    paste,
    refuse_several,
    text_column,
    to_long,
)
from crowdjax.formats.long import Long, left_out
from crowdjax.labels import InputError
from crowdjax.roles import Columns
from crowdjax.tables import Table

OWN = ("HITId", "WorkerId", "AssignmentStatus")
ANSWER, INPUT, TASK_ANSWERS = "Answer.", "Input.", "Answer.taskAnswers"
STATUSES = ("", "approved", "submitted", "rejected")
BUTTONS = ("true", "false", "")


def is_export(table: Table) -> bool:
    """Return whether there are HITs, workers and the state of assignments."""
    return {*OWN} <= {*table.columns}


def read(table: Table, columns: Columns | None) -> Long:
    """Return the labels of a batch.

    Args:
        columns: ``label``: which answer; ``instance`` and ``labeler``: columns in place of HITId and WorkerId.
    """
    columns = only(columns, "a batch of Mechanical Turk", "labeler", "instance", "label")
    names = {
        "labeler": given_or(table, columns, "labeler", "WorkerId"),
        "instance": given_or(table, columns, "instance", "HITId"),
    }
    answers = [n for n in table.columns if n.startswith(ANSWER)]
    if not answers and "label" not in columns:
        raise InputError(f"{table.place}: no column {ANSWER}...; found: {listed(table.columns)}")
    rejected = _rejected(table)
    notes = [] if "instance" in columns else _alike(table)
    if answers == [TASK_ANSWERS]:
        return _of_forms(table, names, columns.get("label"), rejected, notes)
    groups = _groups(table, answers)
    single = [n for n in answers if not any(n in members for members in groups.values())]
    label = columns.get("label")
    if label is None or label in groups:
        label = chosen(table.place, [*groups, *single], label)
    if label in groups:
        names["label"] = groups[label][0]
        picked = _picked(table, label, groups[label])
        found = columns_to_long(table, names, {"Assignments rejected": rejected}, label=picked, notes=notes)
        return found._replace(roles={**names, "label": label})
    names["label"] = given_or(table, columns, "label", label)
    column = plain_column(table.read([names["label"]])[names["label"]])
    column = _unpacked(column, table.place, names["label"])
    refuse_several(column, "|", table.place, names["label"])
    return columns_to_long(table, names, {"Assignments rejected": rejected}, label=column, notes=notes)


def _rejected(table: Table) -> np.ndarray:
    status = text_column(table, "AssignmentStatus")
    for row, found in enumerate(status.to_pylist(), 1):
        if found not in STATUSES:
            raise InputError(
                f"{table.place}: column 'AssignmentStatus', row {row}: got {listed([found])}; allowed: Submitted, "
                "Approved, Rejected"
            )
    rejected = pc.equal(status, "rejected").to_numpy()
    return rejected | ~is_missing(text_column(table, "Reject")) if "Reject" in table.columns else rejected


def _alike(table: Table) -> list[str]:
    """Return a sentence about inputs that several HITs have."""
    inputs = [n for n in table.columns if n.startswith(INPUT)]
    if not inputs:
        return []
    with reading(f"{table.place}: columns {INPUT}...", "text"):
        data = table.read(["HITId", *inputs])
        data = pa.table({n: plain_column(data[n]) for n in data.column_names})
        n_hits = len(data["HITId"].unique())
        n_inputs = len(data.group_by(inputs, use_threads=False).aggregate([]))
    if n_inputs >= n_hits:
        return []
    say = f": {paste({'instance': inputs[0]})}" if len(inputs) == 1 else ""
    what = f"{n_hits:,} HITs have only {n_inputs:,} different input{'s' if n_inputs > 1 else ''}"
    return [f"{what}; each HIT is an instance, unless you name the input{say}."]


def _groups(table: Table, answers: Sequence[str]) -> dict[str, list[str]]:
    """Return columns of buttons, by what is before the choice."""
    by_name: dict[str, list[str]] = {}
    for name in answers:
        by_name.setdefault(name.rpartition(".")[0], []).append(name)
    return {
        name: members
        for name, members in by_name.items()
        if len(members) > 1
        and name.startswith(ANSWER)
        and all({*text_column(table, m).unique().to_pylist()} <= {*BUTTONS} for m in members)
    }


def _picked(table: Table, group: str, members: list[str]) -> pa.ChunkedArray:
    """Return which button of a group is on."""
    on = np.stack([pc.equal(text_column(table, m), "true").to_numpy() for m in members])
    several = np.flatnonzero(on.sum(0) > 1)
    if several.size:
        some = listed(m.removeprefix(f"{group}.") for m, o in zip(members, on[:, several[0]], strict=True) if o)
        raise InputError(f"{table.place}: columns {group}..., row {several[0] + 1}: got {some}; allowed: one of them")
    names = np.array([m.removeprefix(f"{group}.") for m in members], object)
    return pa.chunked_array([pa.array(names[on.argmax(0)], pa.string(), mask=~on.any(0))])


def _unpacked(column: pa.ChunkedArray, place: str, name: str) -> pa.ChunkedArray:
    """Return the labels of a column whose cells are lists in JSON, as those of a multiple choice are."""
    if not name.endswith(".labels") or not pa.types.is_string(column.type):
        return column
    found: list = []
    for row, cell in enumerate(column.to_pylist(), 1):
        with reading(f"{place}: column {name!r}, row {row}", "a list of labels"):
            value = json.loads(cell) if cell else []
        if not isinstance(value, list) or len(value) > 1 or not all(isinstance(v, str) for v in value):
            raise InputError(f"{place}: column {name!r}, row {row}: got {show(cell)}; allowed: one label in a list")
        found.append(value[0] if value else None)
    with reading(f"{place}: column {name!r}", "text"):
        return pa.chunked_array([pa.array(found, pa.string())])


def _of_forms(table: Table, names: dict[str, str], question, rejected: np.ndarray, notes: list[str]) -> Long:
    """Return the labels of forms in JSON."""
    data = table.read(list(dict.fromkeys([*names.values(), TASK_ANSWERS])))
    found: list[Judgement] = []
    ids = zip(*(data[names[role]].to_pylist() for role in ("labeler", "instance")), strict=True)
    forms = text_of(data[TASK_ANSWERS], f"{table.place}: column {TASK_ANSWERS!r}")
    for row, ((who, what), form) in enumerate(zip(ids, forms, strict=True), 1):
        if rejected[row - 1]:
            continue
        with reading(f"{table.place}: column {TASK_ANSWERS!r}, row {row}", "answers in JSON"):
            given = json.loads(form) if form else []
            given = given if isinstance(given, list) else [given]
            if len(given) > 1:
                raise ValueError(f"{len(given)} forms; needed: one")
            found.append(Judgement(who, what, content(given[0]) if given else {}, f"row {row}"))
    notes = [*notes, *left_out(int(rejected.sum()), "Assignments rejected")]
    return to_long(table.place, found, names, question=question, notes=notes)


def text_of(column: pa.ChunkedArray, place: str) -> list[str | None]:
    with reading(place, "text"):
        return plain_column(column).cast(pa.string()).to_pylist()
