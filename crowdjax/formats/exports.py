"""The exports of annotation tools that are read as they come, each recognised by what only it has.

A new one is a file with a function that recognises it and one that reads it, and a line here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from crowdjax.formats import (
    appen,
    argilla,
    doccano,
    glad,
    ground_truth,
    label_studio,
    labelbox,
    lewidi,
    mturk,
    peerannot,
    prodigy,
    toloka,
)
from crowdjax.formats.glad import Lines
from crowdjax.formats.long import Long
from crowdjax.formats.records import Records, load
from crowdjax.labels import InputError
from crowdjax.roles import Columns
from crowdjax.tables import Table


class Export(NamedTuple):
    """A form of labels: its name, how it is opened, recognised and read."""

    form: str
    kind: type
    recognises: Callable[[Any], bool]
    read: Callable[[Any, Columns | None], Long]
    has: str


EXPORTS = (
    Export("prodigy", Records, prodigy.is_export, prodigy.read, "JSONL with answer and _task_hash"),
    Export("ground-truth", Records, ground_truth.is_export, ground_truth.read,
           "JSON with answers or annotations by workerId"),
    Export("argilla", Records, argilla.is_export, argilla.read, "JSON with fields and responses"),
    Export("labelbox", Records, labelbox.is_export, labelbox.read, "NDJSON with data_row and projects"),
    Export("lewidi", Records, lewidi.is_export, lewidi.read, "JSON with annotations and annotators of every instance"),
    Export("peerannot", Records, peerannot.is_export, peerannot.read, "answers.json, labels by instance and labeler"),
    Export("doccano", Records, doccano.is_export, doccano.read, "JSONL with id, text and label"),
    Export("label-studio", Records, label_studio.is_export, label_studio.read, "JSON of tasks with annotations"),
    Export("label-studio", Table, label_studio.is_flat, label_studio.read_flat,
           "columns annotator, annotation_id and lead_time"),
    Export("argilla", Table, argilla.is_flat, argilla.read_flat, "columns NAME.responses and NAME.responses.users"),
    Export("toloka", Table, toloka.is_export, toloka.read, "columns ASSIGNMENT:worker_id and OUTPUT:..."),
    Export("mturk", Table, mturk.is_export, mturk.read, "columns HITId, WorkerId and AssignmentStatus"),
    Export("appen", Table, appen.is_export, appen.read, "columns _unit_id and _worker_id"),
    Export("glad", Lines, glad.is_export, glad.read, "text whose first line is four numbers"),
)  # fmt: skip


def open_export(source, place: str) -> Records | Lines | None:
    """Open a source that is no table: JSON, or GLAD's lines; None otherwise."""
    return load(source, place) or glad.load(source, place)


def read_export(opened, form: str | None, columns: Columns | None) -> Long | None:
    """Return the labels of an export, None where it is none.

    Args:
        form: which export it is; by default recognised.
    """
    named = [e for e in EXPORTS if form in (None, e.form)]
    fit = [e for e in named if isinstance(opened, e.kind)]
    found = [e for e in fit if e.recognises(opened)] or (fit if len(named) == 1 else [])
    return found[0].read(opened, columns) if found else None


def refuse_form(place: str, form: str | None) -> None:
    """Raise where a form was given that the source does not have."""
    has = [e.has for e in EXPORTS if e.form == form]
    if has:
        raise InputError(f"{place}: not an export of {form}; needed: {' or '.join(has)}")
