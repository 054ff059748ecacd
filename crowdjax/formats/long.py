"""The long table that every form of labels becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import pyarrow as pa

from crowdjax.columns import Where, refuse_large
from crowdjax.labels import InputError


class Long(NamedTuple):
    """Judgements, one a row.

    Attributes:
        place: what to call the source in a message.
        data: columns labeler, instance, label and, where there are any, weight; unchecked.
        where: says where a value of these columns is in the source.
        notes: what was left out, one sentence each.
        roles: which column (of an export: which key) plays each role, for the user to read.
    """

    place: str
    data: pa.Table
    where: Mapping[str, Where]
    notes: tuple[str, ...] = ()
    roles: Mapping[str, str] = MappingProxyType({})


def from_rows(
    place: str, rows: Sequence[tuple[str, str, str, str]], notes: Sequence[str], roles: Mapping[str, str]
) -> Long:
    """(labeler, instance, label, where it is) of every judgement as a long table of text."""
    if not rows:
        raise InputError(f"{place}: no labels at all; at least one is needed{': '.join(['', *notes])}")
    *columns, at = zip(*rows, strict=True)
    data = pa.table(
        dict(zip(("labeler", "instance", "label"), (pa.array(c, pa.string()) for c in columns), strict=True))
    )
    for name in data.column_names:
        refuse_large(data[name], place, lambda row: f"{at[row]}, {name}")  # noqa: B023 - called here
    return Long(place, data, dict.fromkeys(data.column_names, at.__getitem__), tuple(notes), roles)


def left_out(count: int, what: str) -> list[str]:
    """A sentence about what was left out, if anything was."""
    return [f"{what}, left out: {count:,}."] if count else []
