"""Argilla's records: JSON of ``dataset.records.to_json`` (version 2), of FeedbackDataset (version 1), of text
classification before that, and the flat table that goes to the Hugging Face Hub.

The labeler is the user's id, the instance the record's id; responses that are drafts or discarded are no labels.

Source: https://docs.argilla.io, how-to guides, "Import and export"
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from crowdjax.files import reading
from crowdjax.formats.judgements import Judgement, chosen, field, members, only, to_long
from crowdjax.formats.long import Long, left_out
from crowdjax.formats.records import Records, brief
from crowdjax.roles import Columns, named
from crowdjax.tables import Table

IDS = ("id", "external_id")
OLD = ("annotation", "annotation_agent")
ANSWERED = ("submitted", "validated", "default", "completed", "pending")  # the last two are of records of version 2
DROPPED = ("draft", "discarded")
DRAFTS, BARE = "Responses that are drafts or discarded", "Records without a response"


def is_export(records: Records) -> bool:
    """Return whether there are records with responses, or with the annotation of an agent."""
    return any({"fields", "responses"} <= {*row} or {*OLD} <= {*row} for row in records.rows)


def read(records: Records, columns: Columns | None) -> Long:
    """Return the labels of an export as JSON.

    Args:
        columns: ``label``: the question; ``instance``: a key of a record, of its fields or of its metadata.
    """
    columns = only(columns, "an export of Argilla", "label", "instance")
    key = columns.get("instance")
    if key is None:
        key = next((k for k in IDS if all(row.get(k) is not None for row in records.rows)), IDS[0])
    found: list[Judgement] = []
    dropped = bare = 0
    for row, at in zip(records.rows, records.at, strict=True):
        with reading(f"{records.place}: {at}", "a record of Argilla"):
            instance = _instance(row, key)
            answers = list(_responses(row))
            bare += not answers
            for who, given, status in answers:
                if _counts(status):
                    found.append(Judgement(who, instance, given, at))
                else:
                    dropped += 1
    notes = left_out(dropped, DRAFTS) + left_out(bare, BARE)
    roles = {"labeler": "user_id", "instance": key, "label": "response"}
    return to_long(records.place, found, roles, question=columns.get("label"), notes=notes)


def _responses(row: dict[str, Any]) -> Iterator[tuple[Any, dict[str, Any], Any]]:
    """Return (who, answers by question, status) of every response to a record."""
    if {*OLD} <= {*row}:
        if row["annotation"] is not None:
            yield field(row, "annotation_agent"), {"annotation": row["annotation"]}, row.get("status")
        return
    responses = row.get("responses")
    if isinstance(responses, dict):  # version 2: by question
        by_user: dict[tuple[Any, int], tuple[dict[str, Any], Any]] = {}
        for question in responses:
            times: dict[Any, int] = {}
            for response in members(responses, question):
                who = field(response, "user_id")
                if isinstance(who, dict | list):
                    raise ValueError(f"user_id: got {brief(who)}; needed: text or a number")
                times[who] = times.get(who, 0) + 1
                given, _ = by_user.setdefault((who, times[who]), ({}, response.get("status")))
                given[question] = response.get("value")
        for (who, _), (given, status) in by_user.items():
            yield who, given, status
        return
    for response in members(row, "responses"):  # version 1: by user
        values = response.get("values") if isinstance(response, dict) else field(response, "values")
        if values is not None and not isinstance(values, dict):
            raise ValueError(f"values: got {brief(values)}; needed: an object")
        given = {question: field(value, "value") for question, value in (values or {}).items()}
        yield field(response, "user_id"), given, response.get("status")


def _counts(status: Any) -> bool:
    """Return whether a response of this status is a label."""
    if status is None or (isinstance(status, str) and status.lower() in ANSWERED):
        return True
    if isinstance(status, str) and status.lower() in DROPPED:
        return False
    raise ValueError(f"status: got {brief(status)}; allowed: {', '.join(ANSWERED + DROPPED)}")


def _instance(row: dict[str, Any], key: str) -> Any:
    for of in (row, row.get("fields"), row.get("metadata")):
        if isinstance(of, dict) and of.get(key) is not None:
            return of[key]
    return field(row, key)


def is_flat(table: Table) -> bool:
    """Return whether this is the flat table."""
    return bool(_questions(table))


def _questions(table: Table) -> list[str]:
    names = [n.removesuffix(".responses") for n in table.columns if n.endswith(".responses")]
    return [n for n in names if f"{n}.responses.users" in table.columns]


def read_flat(table: Table, columns: Columns | None) -> Long:
    """Return the labels of the flat table, whose cells are lists: a response of every user.

    Args:
        columns: ``label``: the question; ``instance``: a column in place of id.
    """
    columns = only(columns, "an export of Argilla", "label", "instance")
    key = named(table, columns.get("instance", "id"), "instance")
    question = chosen(table.place, _questions(table), columns.get("label"))
    parts = [f"{question}.responses{part}" for part in ("", ".users", ".status")]
    parts = [name for name in parts if name in table.columns]
    data = table.read(list(dict.fromkeys([key, *parts])))
    with reading(table.place, "Argilla's table"):
        rows = data.to_pylist()
    found: list[Judgement] = []
    dropped = bare = 0
    for n, row in enumerate(rows, 1):
        with reading(f"{table.place}: row {n}", "a record of Argilla"):
            lists = [members(row, name) for name in parts]
            if len({*map(len, lists)}) > 1:
                raise ValueError(f"{len(lists[0])} responses of {len(lists[1])} users; needed: as many")
            bare += not lists[0]
            for value, who, *status in zip(*lists, strict=True):
                if _counts(*(status or [None])):
                    found.append(Judgement(who, row[key], {str(question): value}, f"row {n}"))
                else:
                    dropped += 1
    notes = left_out(dropped, DRAFTS) + left_out(bare, BARE)
    return to_long(table.place, found, {"labeler": parts[1], "instance": key, "label": parts[0]}, notes=notes)
