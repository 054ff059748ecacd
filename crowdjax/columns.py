"""Columns of a table: ids, labels and numbers, each refused in one line where it holds anything else.

A message names the value, the place (table, column, row; the first row of data is row 1) and what is allowed.
"""

from __future__ import annotations

import decimal
import math
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int, Int8

from crowdjax import memory
from crowdjax.files import reading
from crowdjax.labels import InputError

SIGNS = {"0": 0, "0.0": 0, "1": 1, "+1": 1, "1.0": 1, "-1": -1, "-1.0": -1, "true": 1, "false": 0}
ALPHABET = "0/1, -1/+1 or true/false"
MISSING = ("", "NaN", "nan")
LONGEST = 10_000  # bytes of text in a cell

Key = Literal["labeler", "instance"]
Where = str | Callable[[int], str]  # a column's name, or what says where the value of a row is


def encode(column: pa.ChunkedArray, place: str, name: str) -> tuple[Int[np.ndarray, " N"], np.ndarray]:
    """(index of each id, the ids in sorted order)."""
    column = id_column(column, place, name)
    with reading(f"{place}: column {name!r}", "ids"):  # some types have no order
        encoded = column.dictionary_encode().combine_chunks()
        order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    ids = encoded.dictionary.take(pa.array(order)).to_numpy(zero_copy_only=False)
    return rank[encoded.indices.to_numpy()], ids


def plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column without a dictionary, and text of one type only."""
    t = pa.types
    if t.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.string()) if t.is_large_string(column.type) or t.is_string_view(column.type) else column


def id_column(column: pa.ChunkedArray, place: str, name: str) -> pa.ChunkedArray:
    """A column of ids; refuses missing ones."""
    t = pa.types
    column = plain_column(column)
    if t.is_nested(column.type) or t.is_null(column.type):
        raise InputError(f"{place}: {_first(column, name)}; allowed: text, numbers or dates as ids")
    with reading(f"{place}: column {name!r}", "ids"):
        missing = pc.is_null(column, nan_is_null=True)
    if t.is_string(column.type):
        missing = pc.or_(missing, pc.is_in(column, value_set=pa.array(MISSING)))
    refuse_where(missing, column, place, name, "an id in every row")
    return column


def rows_of(column: pa.ChunkedArray, ids: np.ndarray, place: str, name: str) -> Int[np.ndarray, " N"]:
    """Where each id of a key column is among ``ids``, -1 for those that are not; refuses an id that is there twice."""
    column, known = id_column(column, place, name), pa.array(ids)
    if column.type != known.type:
        with reading(f"{place}: column {name!r}", f"ids of type {known.type}, as in the labels"):
            column = column.cast(known.type)
    position = pc.index_in(column, value_set=known).fill_null(-1).to_numpy().astype(np.int64)
    seen, counts = np.unique(position, return_counts=True)
    twice = (counts > 1) & (seen >= 0)
    if twice.any():
        rows = np.flatnonzero(position == seen[twice][0]) + 1
        raise InputError(
            f"{place}: column {name!r}, rows {rows[0]} and {rows[1]}: {show(column[int(rows[0]) - 1])} "
            "twice; allowed: one row each"
        )
    return position


class Words(NamedTuple):
    """The two words of labels in words; ``negative`` is None where only the positive one occurs."""

    negative: str | None
    positive: str


def word(value) -> str:
    """A label as a word: 1 for 1.0, true for True, text without the blanks around it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | decimal.Decimal) and value % 1 == 0:
        value = int(value)
    return str(value).strip()


def words_of(column: pa.ChunkedArray, place: str, positive=None) -> Words | None:
    """The two words of a column of labels, by the positive one; None for 0/1, -1/+1 and true/false.

    Raises:
        InputError: the labels are two words and none is said to be positive; or one is, and it is not among them, or
            there are more than two.
    """
    if pa.types.is_nested(column.type):
        raise InputError(f"{place}: {_first(column, 'label')}; allowed: {ALPHABET}, or two words")
    values = plain_column(column).unique().to_pylist()
    found = sorted({word(v) for v in values if v is not None and v == v} - {*MISSING})
    if positive is None:
        if len(found) == 2 and all(sign(w) is None for w in found):
            raise InputError(
                f"{place}: the labels are {show(found[0])} and {show(found[1])}; say which of them is positive, "
                f"with positive={show(found[1])} (--positive {show(found[1])})"
            )
        return None
    positive = word(positive)
    if positive not in found or len(found) > 2:
        some = ", ".join(map(show, found[:5])) + (", ..." if len(found) > 5 else "")
        raise InputError(f"{place}: the labels are {some or 'missing'}; allowed: two, one of them {show(positive)}")
    return Words(next((w for w in found if w != positive), None), positive)


def signs(column: pa.ChunkedArray, place: str, where: Where, words: Words | None = None) -> Int8[np.ndarray, " N"]:
    """A column of labels as -1 and +1."""
    allowed = f"{ALPHABET}; or two words, one of them said to be positive"
    if words is not None:
        allowed = " or ".join(repr(w) for w in words if w is not None)
    refuse_where(pc.is_null(column, nan_is_null=True), column, place, where, allowed)
    encoded = plain_column(column).dictionary_encode().combine_chunks()
    values = [sign(word(v), words) for v in encoded.dictionary.to_pylist()]
    indices = encoded.indices.to_numpy()
    bad = np.array([v is None for v in values], bool)[indices]
    refuse_where(bad, column, place, where, allowed)
    label = np.array(values, np.int8)[indices] if len(indices) else np.empty(0, np.int8)
    if words is None and (label == 0).any() and (label == -1).any():
        minus, zero = (int(np.flatnonzero(label == v)[0]) for v in (-1, 0))
        raise _bad(column[minus], place, where, minus, f"0/1 throughout ({_at(where, zero)} has 0) or -1/+1 throughout")
    return np.where(label == 1, 1, -1).astype(np.int8)


def sign(label: str, words: Words | None = None) -> int | None:
    """-1, 0 or 1; None for what is no label."""
    if words is None:
        return SIGNS.get(label.lower())
    return {words.negative: -1, words.positive: 1}.get(label)


def numbers(
    column: pa.ChunkedArray, place: str, name: str, allowed: str, about: Callable[[int], str] | None = None
) -> Float[np.ndarray, " N"]:
    """A column of finite numbers; text is read as a number only where all of it is."""
    t = pa.types
    about = about or (lambda row: f"row {row + 1}")
    column = plain_column(column)
    text = t.is_string(column.type)
    if t.is_boolean(column.type):
        column = column.cast(pa.int8())
    elif not (text or t.is_integer(column.type) or t.is_floating(column.type) or t.is_decimal(column.type)):
        raise InputError(f"{place}: {_first(column, name)}; allowed: {allowed}")
    try:
        values = column.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        values = np.array([_number(v) for v in column.to_pylist()])
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        row = int(bad[0])
        raise InputError(f"{place}: column {name!r}, {about(row)}: got {show(column[row])}; allowed: {allowed}")
    return values


def multiplicities(column: pa.ChunkedArray, place: str, name: str) -> Float[np.ndarray, " N"]:
    """A column of weights."""
    weights = numbers(column, place, name, "a finite number >= 0")
    refuse_where(weights < 0, weights, place, name, "a finite number >= 0")
    return weights


def _number(value) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def refuse_large(column: pa.ChunkedArray, place: str, where: Where) -> None:
    """Raises on the first text of a column that is too long for an id or a label, and on a dictionary whose texts are
    repeated more often than memory holds them."""
    t = pa.types
    packed = t.is_dictionary(column.type)
    kind = column.type.value_type if packed else column.type
    if not (t.is_string(kind) or t.is_large_string(kind) or t.is_binary(kind)):
        return
    before, total = 0, 0
    for chunk in column.chunks:
        sizes = pc.binary_length(chunk.dictionary).take(chunk.indices) if packed else pc.binary_length(chunk)
        if (pc.max(sizes).as_py() or 0) > LONGEST:
            row = int(np.flatnonzero(sizes.fill_null(0).to_numpy(zero_copy_only=False) > LONGEST)[0])
            got = f"{sizes[row].as_py():,} bytes of text, {show(chunk[row].as_py()[:20])}..."
            raise InputError(f"{place}: {_at(where, before + row)}: got {got}; allowed: up to {LONGEST:,}")
        total += (pc.sum(sizes).as_py() or 0) if packed else 0
        before += len(chunk)
    memory.refuse_host(total, f"{place}: the texts of a column need", "allowed: shorter ones, or fewer rows")


def refuse_nested(values: Sequence, place: str, at: Callable[[int], str]) -> None:
    """Raises on the first value of JSON that is a list or an object."""
    for k, value in enumerate(values):
        if isinstance(value, list | dict):
            raise InputError(f"{place}: {at(k)}: got {_begin(value)}; allowed: text, a number, true, false or null")


def refuse_absent(missing: Int[np.ndarray, " m"], ids: np.ndarray, place: str, key: Key) -> None:
    """Raises where ids have no row."""
    if missing.size:
        raise InputError(
            f"{place}: no row for {key} {show(ids[missing[0]])} ({len(missing)} missing in all); "
            f"every {key} of the labels needs one"
        )


def refuse_where(bad, column, place: str, where: Where, allowed: str) -> None:
    """Raises on the first value of a column that is bad."""
    rows = np.flatnonzero(np.asarray(bad))
    if rows.size:
        raise _bad(column[int(rows[0])], place, where, int(rows[0]), allowed)


def _bad(value, place: str, where: Where, row: int, allowed: str) -> InputError:
    return InputError(f"{place}: {_at(where, row)}: got {show(value)}; allowed: {allowed}")


def _first(column: pa.ChunkedArray, name: str) -> str:
    """A column of a type that is not allowed, and its first value."""
    rows = np.flatnonzero(column.is_valid())
    first = f", row {rows[0] + 1}: got {_begin(column[int(rows[0])])}" if rows.size else ""
    return f"column {name!r} of type {_short(str(column.type), 40)}{first}"


def _begin(value) -> str:
    """The beginning of a value that may be huge."""
    value = value.as_py() if isinstance(value, pa.Scalar) else value
    if isinstance(value, list | tuple):
        return f"a list of {len(value):,}"
    if isinstance(value, dict):
        return f"an object with {listed(value, most=3)}"
    return show(value)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def _at(where: Where, row: int) -> str:
    return f"column {where!r}, row {row + 1}" if isinstance(where, str) else where(row)


def refuse_bytes(column: pa.ChunkedArray, place: str, name: str) -> None:
    """Raises on the first bytes of a column that are no text in UTF-8."""
    for row, value in enumerate(column.to_pylist()):
        try:
            value.decode("utf-8")
        except UnicodeDecodeError:
            raise _bad(value, place, name, row, "text in UTF-8") from None


def listed(names, most: int = 20) -> str:
    """Names for a message: the first of them, each of one short piece.

    Example:
        >>> listed(["label", "x" * 50], most=1), listed([])
        ('label, ... (2 in all)', 'none')
    """
    names = [str(name) for name in names]
    pieces = ["".join(c if c.isprintable() else " " for c in name[:41]) for name in names[:most]]
    pieces = [piece if len(piece) <= 40 else piece[:37] + "..." for piece in pieces]
    more = [f"... ({len(names)} in all)"] if len(names) > most else []
    return ", ".join(pieces + more) or "none"


def show(value) -> str:
    """A value for a message: short, on one line, text in quotes."""
    value = value.as_py() if isinstance(value, pa.Scalar) else value
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value == "":
        return "nothing"
    value = value[:100] if isinstance(value, str | bytes) else value
    return _short(repr(value) if isinstance(value, str | bytes) else str(value), 80)
