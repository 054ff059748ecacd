"""Columns of a table: read ids, labels and numbers, and reject anything else in one line.

A message names the value, the place (table, column, row; the first row of data is row 1) and what is allowed.
"""

from __future__ import annotations

import collections
import datetime
import decimal
import math
import re
import shlex
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crowdjax import memory
from crowdjax.files import reading
from crowdjax.labels import InputError

if TYPE_CHECKING:
    from jaxtyping import Float, Int

NUMBER = re.compile(r"\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*", re.ASCII | re.IGNORECASE)
DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
MISSING = ("", "NaN", "nan")
LONGEST = 10_000  # bytes of text in a cell

Key = Literal["labeler", "instance"]
Where = str | Callable[[int], str]  # a column's name, or what says where the value of a row is


def encode(column: pa.ChunkedArray, place: str, where: Where) -> tuple[Int[np.ndarray, " N"], pa.Array]:
    """Return (index of each id, the ids in sorted order, with their own type)."""
    column = plain_column(column)
    full = pa.types.is_string(column.type) and not column.null_count
    column = column if full else id_column(column, place, where)
    with reading(f"{place}: column {where!r}" if isinstance(where, str) else place, "ids"):  # some types have no order
        encoded = column.dictionary_encode().combine_chunks()
        order = pc.array_sort_indices(encoded.dictionary).to_numpy()
    if full and pc.any(pc.is_in(encoded.dictionary, value_set=pa.array(MISSING))).as_py():
        id_column(column, place, where)  # which says where
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rank[encoded.indices.to_numpy()], encoded.dictionary.take(pa.array(order))


def look_alikes(ids: pa.Array) -> tuple[int, list[str]]:
    """Return (how many ids are another one but for blanks around them, leading zeros or their Unicode form, two of
    them).

    Example:
        >>> look_alikes(pa.array(["ann", "ann ", "bob"])), look_alikes(pa.array(["007", "7", "0070"]))
        ((1, ['ann', 'ann ']), (1, ['007', '7']))
    """
    if not pa.types.is_string(ids.type):
        return 0, []
    bare = pc.replace_substring_regex(pc.utf8_trim_whitespace(ids), r"^0+([0-9]+)$", r"\1")
    if bare.equals(ids) and pc.all(pc.string_is_ascii(ids)).as_py():  # each is its own form
        return 0, []
    alike = pc.utf8_trim_whitespace(pc.utf8_normalize(bare, "NFKC"))
    more = len(ids) - pc.count_distinct(alike).as_py()
    if not more:
        return 0, []
    first: dict[str, int] = {}
    for k, form in enumerate(alike.to_pylist()):
        if first.setdefault(form, k) != k:
            return more, [ids[first[form]].as_py(), ids[k].as_py()]
    return more, []


def column_of(values, place: str, name: str) -> pa.Array:
    """Make a column from values in memory: of one type, as they are.

    Raises:
        InputError: values of several types, or text that is no text; the row is named.
    """
    if not isinstance(values, np.ndarray) and not isinstance(values, list | tuple | range):
        values = np.asanyarray(values) if hasattr(values, "__array__") or np.ndim(values) else values
    try:
        if isinstance(values, np.ndarray) and values.ndim != 1:
            raise InputError(f"{place}: column {name!r} of shape {values.shape}; allowed: one value a row")
        if not isinstance(values, np.ndarray) or values.dtype == object:
            if len({(type(v), getattr(v, "tzinfo", None) is None) for v in values}) > 1:
                refuse_mixed(values, place, name)
            if any(getattr(v, "nanosecond", 0) for v in values):  # of pandas; Arrow takes them for microseconds
                return pa.array(
                    values, pa.timestamp("ns", getattr(values[0], "tzinfo", None) and str(values[0].tzinfo))
                )
        found = pa.array(values)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError, TypeError):
        refuse_mixed(values, place, name)
        if all(isinstance(v, int) and v >= 0 for v in values):
            return pa.array(values, pa.uint64())
        raise
    if pa.types.is_binary(found.type):  # text among bytes became bytes
        refuse_mixed(values, place, name)
    return found


def column_name(name) -> str:
    """Return the name of a column as text: 0 is 0, and of the levels of a pandas index the one that is not empty.

    Example:
        >>> column_name(0), column_name(("labeler", "")), column_name(("a", "b"))
        ('0', 'labeler', "('a', 'b')")
    """
    if isinstance(name, tuple):
        parts = [part for part in name if part not in ("", None)]
        name = parts[0] if len(parts) == 1 else name
    return str(name)


def refuse_mixed(values, place: str, name: str) -> None:
    """Raise on the value of a column that is of another type than most are, or that cannot be kept."""
    kinds = [_kind(v) for v in values]
    seen = collections.Counter(k for k in kinds if k is not None)
    if len(seen) > 1:
        usual, odd = seen.most_common()[0][0], seen.most_common()[-1][0]
        row, first = kinds.index(odd), kinds.index(usual)
        raise InputError(
            f"{place}: column {name!r}, row {row + 1}: got {show(values[row])}, {odd} ({seen[odd]} of {len(kinds)} "
            f"values), and in row {first + 1} {show(values[first])}, {usual}; allowed: values of one type"
        )
    for row, value in enumerate(values):
        if isinstance(value, str) and not _is_unicode(value):
            raise _bad(value, place, name, row, "text in Unicode, without lone surrogates")
        if isinstance(value, int) and not -(2**63) <= value < 2**64:
            raise _bad(value, place, name, row, "whole numbers of at most 64 bits; larger ones as text")


def _kind(value) -> str | None:
    """Describe a value in words; None for a missing one."""
    if value is None or type(value).__name__ in ("NAType", "NaTType") or value != value:
        return None
    kinds = {str: "text", bytes: "bytes", bool: "true or false", np.bool_: "true or false"}
    if type(value) in kinds:
        return kinds[type(value)]
    if isinstance(value, int | float | np.number | decimal.Decimal):
        return "a number"
    if isinstance(value, datetime.datetime):
        return "a time" if value.tzinfo is None else "a time with a zone"
    return f"a {type(value).__name__}"


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return a column without a dictionary, and text of one type only."""
    t = pa.types
    if t.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(pa.string()) if t.is_large_string(column.type) or t.is_string_view(column.type) else column


def id_column(column: pa.ChunkedArray, place: str, where: Where) -> pa.ChunkedArray:
    """Read a column of ids; reject missing ones, and whole numbers that were rounded to floats."""
    t = pa.types
    column = plain_column(column)
    here = f"{place}: column {where!r}" if isinstance(where, str) else place
    if t.is_nested(column.type) or t.is_null(column.type):
        raise InputError(f"{place}: {first_of(column, where)}; allowed: text, numbers or dates as ids")
    with reading(here, "ids"):
        missing = pc.is_null(column, nan_is_null=True)
    if t.is_string(column.type):
        missing = pc.or_(missing, pc.is_in(column, value_set=pa.array(MISSING)))
    refuse_where(missing, column, place, where, "an id in every row")
    if t.is_floating(column.type):
        values = column.cast(pa.float64()).to_numpy()
        whole = 2 ** {16: 11, 32: 24, 64: 53}[column.type.bit_width]
        refuse_where(
            (abs(values) >= whole) & (abs(values) < 2**64),
            column,
            place,
            where,
            "ids as text or as integers: this number was rounded",
        )
    return column


def rows_of(column: pa.ChunkedArray, ids: np.ndarray | pa.Array, place: str, name: str) -> Int[np.ndarray, " N"]:
    """Return the position of each id of a key column in ``ids``, -1 where absent; reject an id that is there twice."""
    column, known = id_column(column, place, name), pa.array(ids)
    if column.type != known.type:
        column = _as_known(column, known.type, place, name)
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


def _as_known(column: pa.ChunkedArray, kind: pa.DataType, place: str, name: str) -> pa.ChunkedArray:
    """Cast ids to the type of the labels' ids; reject a cast that would merge two or name another one."""
    t = pa.types
    allowed = f"ids of type {kind}, as in the labels"
    if t.is_timestamp(column.type) and t.is_timestamp(kind) and (column.type.tz is None) != (kind.tz is None):
        raise InputError(f"{place}: column {name!r}: times {'without' if kind.tz else 'with'} a time zone; allowed: "
                         f"{allowed}")  # fmt: skip
    texts = t.is_string(column.type) or t.is_string(kind)
    if not texts and _group(column.type) != _group(kind):
        raise InputError(f"{place}: column {name!r} of type {column.type}; allowed: {allowed}")
    with reading(f"{place}: column {name!r}", allowed):
        cast = column.cast(kind)
        back = cast.cast(column.type)
    refuse_where(
        pc.invert(pc.equal(back, column)), column, place, name, f"{allowed}, and the same there"
    )  # not 007 for 7
    return cast


def _group(kind: pa.DataType) -> str:
    """Return the kind of ids of these types, so that those of one group may be the same."""
    t = pa.types
    groups = (("a number", (t.is_integer, t.is_floating, t.is_decimal)), ("a time", (t.is_temporal,)))
    return next((name for name, tests in groups if any(test(kind) for test in tests)), str(kind))


def word(value) -> str:
    """Convert a label to a word: 1 for 1.0, true for True, text without the blanks around it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float | decimal.Decimal) and value % 1 == 0:
        value = int(value)
    return str(value).strip()


def when(value: Any) -> str:
    """Format a period's name: dates without a clock at midnight, whole numbers without a point.

    Example:
        >>> when(datetime.datetime(2026, 1, 5)), when(3.0), when("week 2")
        ('2026-01-05', '3', 'week 2')
    """
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return str(value.date())
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def pasted(value: str) -> str:
    """Quote a value for a command line; ? where nobody would type it."""
    return shlex.quote(value) if len(value) <= 60 and value.isprintable() else "?"


def numbers(
    column: pa.ChunkedArray, place: str, name: str, allowed: str, about: Callable[[int], str] | None = None
) -> Float[np.ndarray, " N"]:
    """Read a column of finite numbers; text is read as a number only where all of it is."""
    t = pa.types
    about = about or (lambda row: f"row {row + 1}")
    column = plain_column(column)
    text = t.is_string(column.type)
    if t.is_boolean(column.type):
        column = column.cast(pa.int8())
    elif not (text or t.is_integer(column.type) or t.is_floating(column.type) or t.is_decimal(column.type)):
        raise InputError(f"{place}: {first_of(column, name)}; allowed: {allowed}")
    try:
        values = column.cast(pa.float64()).to_numpy()
    except pa.ArrowInvalid:
        values = np.array([_number(v) for v in column.to_pylist()])
    bad = np.flatnonzero(~np.isfinite(values))
    if bad.size:
        row = int(bad[0])
        value = column[row].as_py()
        if isinstance(value, str) and DECIMAL_COMMA.fullmatch(value.strip()):
            allowed += ", with a decimal point"
        raise InputError(f"{place}: column {name!r}, {about(row)}: got {show(value)}; allowed: {allowed}")
    return values


def multiplicities(column: pa.ChunkedArray, place: str, name: str) -> Float[np.ndarray, " N"]:
    """Read a column of weights."""
    weights = numbers(column, place, name, "a finite number >= 0")
    refuse_where(weights < 0, weights, place, name, "a finite number >= 0")
    return weights


def _number(value) -> float:
    if isinstance(value, str) and not NUMBER.fullmatch(value):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def refuse_large(column: pa.ChunkedArray, place: str, where: Where) -> None:
    """Raise on the first text of a column that is too long for an id or a label, and on a dictionary whose texts are
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
            raise InputError(f"{place}: {at(where, before + row)}: got {got}; allowed: up to {LONGEST:,}")
        total += (pc.sum(sizes).as_py() or 0) if packed else 0
        before += len(chunk)
    memory.refuse_host(total, f"{place}: the texts of a column need", "allowed: shorter ones, or fewer rows")


def refuse_nested(values: Sequence, place: str, at: Callable[[int], str]) -> None:
    """Raise on the first value of JSON that is a list or an object."""
    for k, value in enumerate(values):
        if isinstance(value, list | dict):
            raise InputError(f"{place}: {at(k)}: got {_begin(value)}; allowed: text, a number, true, false or null")


def refuse_absent(missing: Int[np.ndarray, " m"], ids: np.ndarray, place: str, key: Key) -> None:
    """Raise where ids have no row."""
    if missing.size:
        raise InputError(
            f"{place}: no row for {key} {show(ids[missing[0]])} ({len(missing)} missing in all); "
            f"every {key} of the labels needs one"
        )


def refuse_where(bad, column, place: str, where: Where, allowed: str) -> None:
    """Raise on the first value of a column that is bad."""
    rows = np.flatnonzero(np.asarray(bad))
    if rows.size:
        raise _bad(column[int(rows[0])], place, where, int(rows[0]), allowed)


def _bad(value, place: str, where: Where, row: int, allowed: str) -> InputError:
    return InputError(f"{place}: {at(where, row)}: got {show(value)}; allowed: {allowed}")


def first_of(column: pa.ChunkedArray, where: Where) -> str:
    """Return a column's disallowed type and its first value."""
    rows = np.flatnonzero(column.is_valid())
    kind = f"of type {_short(str(column.type), 40)}"
    got = f"got {_begin(column[int(rows[0])])}" if rows.size else "got nothing"
    if not isinstance(where, str):
        return f"{where(int(rows[0])) if rows.size else 'a column'}: {got}, {kind}"
    return f"column {where!r} {kind}, row {rows[0] + 1 if rows.size else 1}: {got}"


def _begin(value) -> str:
    """Return the beginning of a value that may be huge."""
    value = value.as_py() if isinstance(value, pa.Scalar) else value
    if isinstance(value, list | tuple):
        return f"a list of {len(value):,}"
    if isinstance(value, dict):
        return f"an object with {listed(value, most=3)}"
    return show(value)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def at(where: Where, row: int) -> str:
    return f"column {where!r}, row {row + 1}" if isinstance(where, str) else where(row)


def refuse_bytes(column: pa.ChunkedArray, place: str, name: str, path: str) -> None:
    """Raise on the first bytes of a column that are no text in UTF-8; says how to mend the file at ``path``."""
    for row, value in enumerate(column.to_pylist()):
        try:
            value.decode("utf-8")
        except UnicodeDecodeError:
            mend = f"iconv -f LATIN1 -t UTF-8 {shlex.quote(path)} > {shlex.quote(path + '.utf8.csv')}"
            raise _bad(value, place, name, row, f"text in UTF-8 ({mend})") from None


def listed(names, most: int = 20) -> str:
    """List names for a message: the first of them, each of one short piece.

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
    """Format a value for a message: short, on one line, text in quotes."""
    value = value.as_py() if isinstance(value, pa.Scalar) else value
    value = value.item() if isinstance(value, np.generic) else value
    if value is None or value == "":
        return "nothing"
    value = value[:100] if isinstance(value, str | bytes) else value
    return _short(repr(value) if isinstance(value, str | bytes) else str(value), 80)
