"""The long table that every form of labels becomes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import pyarrow as pa

from crowdjax.columns import Where


class Long(NamedTuple):
    """Judgements, one per row.

    Attributes:
        place: what to call the source in a message.
        data: columns labeler, instance, label and, where there are any, weight; unchecked.
        where: says where a value of these columns is in the source.
        notes: what was left out, one sentence each.
        roles: which column (of an export: which key) plays each role, for the user to read.
        gold: the truths that an export holds, columns instance and label, each instance once; None where it has none.
        anonymous: whether these are counts of an instance's labels, whose labelers nobody knows.
        named: whether the roles are names of columns that may be given for them.
        untyped: whether labels are text only because their source has no types: numbers among them are numbers then.
        known: labels that the source names, whether they occur or not.
        about: how the file was read where that is worth saying (``tables.Table.about``).
    """

    place: str
    data: pa.Table
    where: Mapping[str, Where]
    notes: tuple[str, ...] = ()
    roles: Mapping[str, str] = MappingProxyType({})
    gold: pa.Table | None = None
    anonymous: bool = False
    about: str = ""
    named: bool = False
    untyped: bool = False
    known: tuple[str, ...] = ()


def left_out(count: int, what: str) -> list[str]:
    """Report what was left out, if anything was."""
    return [f"{what}, left out: {count:,}."] if count else []
