"""SageMaker Ground Truth's answers by worker: the files of worker-response, the requests of annotation consolidation,
and the output manifest of jobs that keep the annotations of all workers.

The labeler is the workerId. The instance is datasetObjectId, of a manifest source-ref or source; a worker response has
none: it is the number of its folder (worker-response/iteration-1/NUMBER/TIME.json), elsewhere the name of its file.

Source: https://docs.aws.amazon.com/sagemaker/latest/dg/sms-data-output.html and sms-custom-templates-step3.html
"""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

from crowdjax.files import reading
from crowdjax.formats.judgements import Judgement, field, members, only, to_long
from crowdjax.formats.long import Long, left_out
from crowdjax.formats.records import Records, brief
from crowdjax.labels import InputError
from crowdjax.roles import Columns

ALL = "annotationsFromAllWorkers"
KINDS = ("responses of workers", "requests of consolidation", "manifests")


def is_export(records: Records) -> bool:
    """Return whether there are answers with workers."""
    return any(_kind(row) is not None for row in records.rows)


def _kind(row: dict[str, Any]) -> str | None:
    def by_workers(of: Any) -> bool:
        return isinstance(of, list) and any(isinstance(a, dict) and "workerId" in a for a in of)

    if by_workers(row.get("answers")):
        return KINDS[0]
    if "datasetObjectId" in row and by_workers(row.get("annotations")):
        return KINDS[1]
    return KINDS[2] if any(isinstance(v, dict) and ALL in v for v in row.values()) else None


def read(records: Records, columns: Columns | None) -> Long:
    """Return the labels of a file or a folder of files.

    Args:
        columns: ``label``: the question, by the name of its input on the page.
    """
    columns = only(columns, "an export of SageMaker Ground Truth", "label")
    kinds = {kind: at for row, at in zip(records.rows, records.at, strict=True) if (kind := _kind(row))}
    if len(kinds) > 1:
        (one, here), (two, there) = list(kinds.items())[:2]
        raise InputError(
            f"{records.place}: {one} ({here}) and {two} ({there}); allowed: one of them, as the folder of it alone"
        )
    found: list[Judgement] = []
    bare = 0
    for row, at, file in zip(records.rows, records.at, records.files, strict=True):
        with reading(f"{records.place}: {at}", "an answer of SageMaker Ground Truth"):
            instance, answers = _object(row, file)
            bare += not answers
            for answer in answers:
                found.append(Judgement(field(answer, "workerId"), instance, _content(answer), at))
    roles = {"labeler": "workerId", "instance": _role(next(iter(kinds), None)), "label": "answer"}
    notes = left_out(bare, "Objects without answers of workers")
    return to_long(records.place, found, roles, question=columns.get("label"), notes=notes)


def _role(kind: str | None) -> str:
    names = {KINDS[0]: "the folder's number or the file's name", KINDS[2]: "source-ref or source"}
    return names.get(kind or "", "datasetObjectId")


def _object(row: dict[str, Any], file: str) -> tuple[Any, list]:
    """Return (the instance, the answers about it)."""
    if "datasetObjectId" in row:
        return field(row, "datasetObjectId"), members(row, "annotations")
    jobs = [name for name, value in row.items() if isinstance(value, dict) and ALL in value]
    if len(jobs) > 1:
        raise ValueError(f"annotations of {len(jobs)} jobs; needed: of one")
    if jobs:
        return field(row, "source-ref" if "source-ref" in row else "source"), members(row[jobs[0]], ALL)
    answers = members(row, "answers")
    path = PurePosixPath(file)
    if not answers:
        return None, []
    if not file:
        raise ValueError("a worker response that is in no file; needed: datasetObjectId, or a path to it")
    if path.parent.name.isdigit() and path.parent.parent.name.startswith("iteration-"):
        return path.parent.name, answers
    return path.name.partition(".")[0], answers


def _content(answer: dict[str, Any]) -> dict[str, Any]:
    """Return the answers of a worker by question."""
    found = answer["answerContent"] if "answerContent" in answer else field(field(answer, "annotationData"), "content")
    return content(found)


def content(found: Any) -> dict[str, Any]:
    """Return a form's content, as an object or as its text, by the names of its inputs.

    Example:
        >>> content('{"is it?": {"label": "yes"}, "sure": {"on": true}, "size": {"big": false, "small": true}}')
        {'is it?': 'yes', 'sure': True, 'size': ['small']}
    """
    if isinstance(found, str):
        found = json.loads(found)
    if not isinstance(found, dict):
        raise ValueError(f"an answer: got {brief(found)}; needed: an object")
    return {name: _choice(value) for name, value in found.items()}


def _choice(value: Any) -> Any:
    """Return what an input says: of a classifier its label or labels, of a group of buttons those that are on."""
    if not isinstance(value, dict) or not value:
        return value or None if isinstance(value, dict) else value
    for key in ("label", "labels"):
        if {*value} == {key}:
            return value[key]
    if all(isinstance(v, bool) for v in value.values()):
        return value["on"] if {*value} == {"on"} else [name for name, on in value.items() if on]
    return value
