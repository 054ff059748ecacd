"""doccano's exports of text classification: JSONL with id, text and label; who labelled is the name of the file.

In projects that several people work on, doccano writes a file for each of them, NAME.jsonl; such a folder is read. One
file alone does not say who labelled. Older versions have the user's number in a record's annotations.

Source: https://doccano.github.io/doccano
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from crowdjax.files import reading
from crowdjax.formats.judgements import Judgement, field, members, only, to_long
from crowdjax.formats.long import Long
from crowdjax.formats.records import Records, brief
from crowdjax.labels import InputError
from crowdjax.roles import Columns, is_alias

LABELS = ("label", "labels")
EVERYBODY = "all"  # the file of a project in which everybody sees the labels of the others


def is_export(records: Records) -> bool:
    """Return whether records have an id and labels and nobody who gave them; in a file of its own, a list of labels."""
    if _is_old(records):
        return True
    names = {name for row in records.rows for name in row}
    if "id" not in names or not names & {*LABELS} or any(is_alias(name, "labeler") for name in names):
        return False
    if any(is_alias(name, "instance") for name in names):
        return False
    return records.folder or all(isinstance(_labels(row), list) for row in records.rows)


def _is_old(records: Records) -> bool:
    def of_users(found: Any) -> bool:
        return isinstance(found, list) and any(isinstance(a, dict) and {"user", "label"} <= {*a} for a in found)

    return any(of_users(row.get("annotations")) for row in records.rows)


def _labels(row: dict[str, Any]) -> Any:
    return next((row[name] for name in LABELS if name in row), None)


def read(records: Records, columns: Columns | None) -> Long:
    """Return the labels of a folder.

    Args:
        columns: ``instance``: a key in place of id, as text.
    """
    columns = only(columns, "an export of doccano", "instance")
    key, old = columns.get("instance", "id"), _is_old(records)
    names = [PurePosixPath(file).name.partition(".")[0] for file in records.files]
    if not old and (not records.folder or EVERYBODY in names):
        raise InputError(
            f"{records.place}: an export of doccano that does not say who labelled; needed: a folder with a file for "
            "every labeler, NAME.jsonl, as doccano exports where labelers do not share their annotations"
        )
    found: list[Judgement] = []
    for row, at, name in zip(records.rows, records.at, names, strict=True):
        with reading(f"{records.place}: {at}", "an example of doccano"):
            instance = field(row, key)
            if old:
                given = members(row, "annotations")
                found += [Judgement(field(a, "user"), instance, {"label": field(a, "label")}, at) for a in given]
            else:
                label = _labels(row)
                if isinstance(label, list) and any(isinstance(one, list | dict) for one in label):
                    raise ValueError(f"label: got {brief(label[0])}, as of spans; needed: the label of a text")
                found.append(Judgement(name, instance, {"label": label}, at))
    roles = {"labeler": "user" if old else "the file's name", "instance": key}
    return to_long(records.place, found, roles)
