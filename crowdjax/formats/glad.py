"""GLAD's text (Whitehill et al. 2009): first ``labels labelers images prior``, then lines ``image labeler label``.

Source: https://mplab.ucsd.edu/~jake, "OptimalLabeling", README
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from crowdjax.files import File, find, is_path, reading
from crowdjax.formats.judgements import Judgement, only, to_long
from crowdjax.formats.long import Long, left_out
from crowdjax.formats.records import JSON, TABLES, brief
from crowdjax.labels import InputError
from crowdjax.roles import Columns

FIRST = re.compile(r"\s*(\d{1,12})\s+(\d{1,12})\s+(\d{1,12})\s+([01]|[01]?\.\d{1,20})\s*", re.ASCII)
LONGEST = 200  # of a first line that is looked at, in bytes


class Lines(NamedTuple):
    """Text by lines."""

    place: str
    lines: list[str]


def load(source, place: str) -> Lines | None:
    """Return the lines of a file that begins as GLAD's do and whose name is none of a table's; None of anything
    else."""
    if not is_path(source) or File(os.fspath(source), 0, None, None).ending in (*TABLES, *JSON):
        return None
    place = f"{place} {source}"
    with reading(place, "text"):
        files, folder = find(source)
        if folder or not files:
            return None
        with files[0].stream() as stream:
            first = stream.read(LONGEST).partition(b"\n")[0]
        if not FIRST.fullmatch(first.decode("utf-8", "replace")):
            return None
        return Lines(place, files[0].text().splitlines())


def is_export(text: Lines) -> bool:
    """Return whether the first line is four numbers, the last one a chance."""
    return FIRST.fullmatch(text.lines[0]) is not None


def read(text: Lines, columns: Columns | None) -> Long:
    """Return the labels of the file, whose sizes must be those of its first line."""
    only(columns, "GLAD's text")
    n_labels, n_labelers, n_images, prior = FIRST.fullmatch(text.lines[0]).groups()
    found: list[Judgement] = []
    for n, line in enumerate(text.lines[1:], 2):
        parts = line.split()
        if not parts:
            continue
        if len(parts) != 3:
            raise InputError(f"{text.place}: line {n}: got {brief(line)}; allowed: image, labeler and label")
        image, labeler, label = parts
        found.append(Judgement(labeler, image, {"label": label}, f"line {n}"))
    images, labelers = {j.instance for j in found}, {j.labeler for j in found}
    for said, what, there in (
        (n_labels, "labels", len(found)),
        (n_labelers, "labelers", len(labelers)),
        (n_images, "images", len(images)),
    ):
        if there > int(said) or (what == "labels" and there < int(said)):
            raise InputError(f"{text.place}: line 1 says {said} {what}, but there are {there}; allowed: as many")
    notes = left_out(int(n_images) - len(images), "Images without a label")
    notes += [f"The chance of class 1 in the first line, {prior}, is not used."]
    return to_long(text.place, found, {"labeler": "the second number", "instance": "the first"}, notes=notes)
