"""The JSON of LeWiDi (Learning with Disagreements): an object of instances, each with its annotations and annotators.

``{"1": {"annotations": "1,0", "annotators": "Ann1,Ann2", ...}}``; annotations may be an object by annotator. Soft and
hard labels are made of these, so they are no gold.

Source: https://le-wi-di.github.io
"""

from __future__ import annotations

from typing import Any

from crowdjax.files import reading
from crowdjax.formats.judgements import Judgement, field, only, to_long
from crowdjax.formats.long import Long, left_out
from crowdjax.formats.records import Records, brief
from crowdjax.roles import Columns

OWN = ("annotations", "annotators")


def is_export(records: Records) -> bool:
    """Return whether this is an object of instances with annotations and annotators."""
    return all(row and all(isinstance(v, dict) and {*OWN} <= {*v} for v in row.values()) for row in records.rows)


def read(records: Records, columns: Columns | None) -> Long:
    """Return the labels of one file, or of several (train, dev, ...) with different instances."""
    only(columns, "LeWiDi's JSON")
    several = len(set(records.files)) > 1
    found: list[Judgement] = []
    bare = 0
    for row, at in zip(records.rows, records.at, strict=True):
        for instance, of in row.items():
            where = f"instance {brief(instance)}" + (f" of {at}" if several else "")
            with reading(f"{records.place}: {where}", "an instance of LeWiDi"):
                who = _listed(of.get("annotators") if isinstance(of, dict) else field(of, "annotators"))
                what = of.get("annotations")
                if isinstance(what, dict):
                    given = list(what.items())
                else:
                    labels = _listed(what)
                    if labels and len(labels) != len(who):
                        raise ValueError(f"{len(labels)} annotations of {len(who)} annotators; needed: as many")
                    given = list(zip(who, labels or [None] * len(who), strict=True))
                bare += not given
                found += [Judgement(name, instance, {"annotations": _several(label)}, where) for name, label in given]
    roles = {"labeler": "annotators", "instance": "the key of each", "label": "annotations"}
    return to_long(records.place, found, roles, notes=left_out(bare, "Instances without annotations"))


def _listed(text: Any) -> list:
    if isinstance(text, list):
        return text
    if text is None or text == "":
        return []
    if not isinstance(text, str):
        return [text]
    return [part.strip() for part in text.split(",")]


def _several(label: Any) -> Any:
    """Annotations by annotator may each be several, with commas between them."""
    return _listed(label) if isinstance(label, str) else label
