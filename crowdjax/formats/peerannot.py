"""peerannot's ``answers.json``: ``{"task": {"worker": label}}``.

A data frame as JSON looks the same with the roles exchanged, so it is recognised by the file's name too; elsewhere it
has to be said: ``form="peerannot"``.

Source: https://peerannot.github.io
"""

from __future__ import annotations

import posixpath

from crowdjax.files import reading
from crowdjax.formats.judgements import Judgement, only, to_long
from crowdjax.formats.long import Long, left_out
from crowdjax.formats.records import Records, brief
from crowdjax.roles import Columns

NAME = "answers"


def is_export(records: Records) -> bool:
    """Return whether these are whole numbers by instance and labeler in a file of peerannot's name."""
    return all(posixpath.basename(file).startswith(NAME) for file in records.files) and all(
        row and all(isinstance(of, dict) and all(type(v) is int for v in of.values()) for of in row.values())
        for row in records.rows
    )


def read(records: Records, columns: Columns | None) -> Long:
    """Return the labels of a file, or of several with different instances."""
    only(columns, "peerannot's answers")
    found: list[Judgement] = []
    bare = 0
    for row, at in zip(records.rows, records.at, strict=True):
        for instance, of in row.items():
            with reading(f"{records.place}: {at}", "answers of peerannot"):
                if not isinstance(of, dict):
                    raise ValueError(f"{brief(instance)}: got {brief(of)}; needed: labels by labeler")
                bare += not of
                found += [
                    Judgement(who, instance, {"answers": label}, f"instance {brief(instance)}, labeler {brief(who)}")
                    for who, label in of.items()
                ]
    roles = {"labeler": "the inner keys", "instance": "the outer keys"}
    return to_long(records.place, found, roles, notes=left_out(bare, "Instances without answers"))
