"""Labelbox's export (version 2): NDJSON, a line for every data row with its labels of every project.

A label is the one answer to a classification of the whole data row (radio, or a checklist of one); the labeler is who
created it, the instance the data row's id. Objects, and questions within answers, are no labels.

Source: https://docs.labelbox.com, "Export specification"
"""

from __future__ import annotations

from typing import Any

from crowdjax.files import reading
from crowdjax.formats.judgements import Judgement, field, members, only, to_long
from crowdjax.formats.long import Long, left_out
from crowdjax.formats.records import Records, brief
from crowdjax.roles import Columns


def is_export(records: Records) -> bool:
    """Return whether there are data rows with projects."""
    return any({"data_row", "projects"} <= {*row} for row in records.rows)


def read(records: Records, columns: Columns | None) -> Long:
    """Return the labels of an export.

    Args:
        columns: ``label``: the question, by the value of its classification; ``instance``: a key of data_row, such as
            global_key.
    """
    columns = only(columns, "an export of Labelbox", "label", "instance")
    key = columns.get("instance", "id")
    found: list[Judgement] = []
    bare = within = 0
    for row, at in zip(records.rows, records.at, strict=True):
        with reading(f"{records.place}: {at}", "a data row of Labelbox"):
            projects = row.get("projects") or {}
            if not isinstance(projects, dict):
                raise ValueError(f"projects: got {brief(projects)}; needed: an object")
            labels = [label for name in projects for label in members(projects[name], "labels")]
            bare += not labels
            for k, label in enumerate(labels, 1):
                answers, more = _answers(label)
                within += more
                who = field(field(label, "label_details"), "created_by") if answers else None
                instance = field(field(row, "data_row"), key)
                found.append(Judgement(who, instance, answers, f"{at}, label {k}"))
    notes = left_out(bare, "Data rows without a label") + left_out(within, "Answers to questions within answers")
    roles = {"labeler": "created_by", "instance": key, "label": "classification"}
    return to_long(records.place, found, roles, question=columns.get("label"), notes=notes)


def _answers(label: Any) -> tuple[dict[str, Any], int]:
    """Return (the answers to the classifications of a label, how many more there are within these)."""
    annotations = label.get("annotations") if isinstance(label, dict) else field(label, "annotations")
    answers: dict[str, Any] = {}
    within = 0
    for given in members(annotations or {}, "classifications"):
        if not isinstance(given, dict):
            raise ValueError(f"a classification: got {brief(given)}; needed: an object")
        question = str(given.get("value") or field(given, "name"))
        if question in answers:
            raise ValueError(f"question {brief(question)} twice in a label; needed: once")
        if given.get("radio_answer") is not None:
            chosen = [given["radio_answer"]]
        elif given.get("text_answer") is not None:
            answers[question] = given["text_answer"].get("content")
            continue
        else:
            chosen = members(given, "checklist_answers")
        answers[question] = [_value(one) for one in chosen]
        within += sum(len(members(one, "classifications")) for one in chosen)
    return answers, within


def _value(answer: Any) -> Any:
    if isinstance(answer, dict) and answer.get("value") is not None:
        return answer["value"]
    return field(answer, "name")
