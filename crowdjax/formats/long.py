"""The long table that every form of labels becomes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import pyarrow as pa

from crowdjax.columns import Where


class Long(NamedTuple):
    """Judgements, one a row.

    Attributes:
        place: what to call the source in a message.
        data: columns labeler, instance, label and, where there are any, weight; unchecked.
        where: says where a value of these columns is in the source.
        notes: what was left out, one sentence each.
        roles: which column (of an export: which key) plays each role, for the user to read.
        gold: known truth that an export holds, instance and label, each instance once.
    """

    place: str
    data: pa.Table
    where: Mapping[str, Where]
    notes: tuple[str, ...] = ()
    roles: Mapping[str, str] = MappingProxyType({})
    gold: pa.Table | None = None


def left_out(count: int, what: str) -> list[str]:
    """A sentence about what was left out, if anything was."""
    return [f"{what}, left out: {count:,}."] if count else []
