"""What the readers of exports share: judgements as an export has them, and the long table that they become.

A reader says who answered what about what; here one question is chosen, what has no answer is left out and counted, and
known truth is put aside. Readers of JSON give judgements, readers of tables give columns.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crowdjax.columns import MISSING, listed, plain_column, show, word
from crowdjax.files import reading
from crowdjax.formats.long import Long, left_out
from crowdjax.formats.records import brief, refuse_half, texts
from crowdjax.labels import InputError
from crowdjax.roles import Columns, named
from crowdjax.tables import Table

ROLES = ("labeler", "instance", "label")
EMPTY = "Annotations without an answer"


class Judgement(NamedTuple):
    """A labeler's judgement of an instance.

    Attributes:
        labeler, instance: ids as the export has them.
        answers: by question; a value or a list of choices; None, "" and [] are no answer.
        at: where it is.
        gold: it is the known truth, and no labeler's.
    """

    labeler: Any
    instance: Any
    answers: Mapping[str, Any]
    at: str
    gold: bool = False


def to_long(
    place: str, judgements: Sequence[Judgement], roles: Mapping[str, str], *, question=None, notes: Iterable[str] = (),
    empty: str = EMPTY,
) -> Long:  # fmt: skip
    """Return the answers to one question as a long table; gold apart.

    Args:
        question: which; by default the only one.
        notes: what was left out before.
        empty: what to call judgements that do not answer the question.

    Raises:
        InputError: there are several questions and none is given, or the one given is not there; an answer is several
            choices or no label; an id is missing; 1 and "1" are both ids; there is no answer at all.
    """
    question = chosen(place, {q: None for j in judgements for q in j.answers}, question)
    rows: dict[bool, list[tuple[Judgement, str]]] = {False: [], True: []}
    for judgement in judgements:
        label = _label(judgement.answers.get(question), f"{place}: {judgement.at}")
        if label is not None:
            rows[judgement.gold].append((judgement, label))
    labels, gold = rows[False], rows[True]
    notes = [*notes, *left_out(len(judgements) - len(labels) - len(gold), empty)]
    if not labels:
        raise nothing(place, notes)
    at = [j.at for j, _ in labels]
    labelers = _ids(place, "labeler", [j.labeler for j, _ in labels], at)
    both = [j for j, _ in labels + gold]
    instances = _ids(place, "instance", [j.instance for j in both], [j.at for j in both])
    words = pa.array([label for _, label in labels], pa.string())
    data = pa.table(dict(zip(ROLES, (labelers, instances[: len(labels)], words), strict=True)))
    truth = pa.array([label for _, label in gold], pa.string())
    known = _gold(pa.table({"instance": instances[len(labels) :], "label": truth}), place)
    roles = dict(roles) | ({} if question is None else {"label": question})
    about, where = (*notes, *_of_gold(known)), dict.fromkeys(ROLES, at.__getitem__)
    numbers = all(isinstance(judgement.answers.get(question), int | float) for judgement, _ in labels + gold)
    return Long(place, data, where, about, roles, known, untyped=numbers)


def chosen(place: str, found: Iterable[str], given) -> str | None:
    """Return the question that is meant, of those found."""
    names = sorted(found, key=str)
    if not names:
        return None
    if given is None and len(names) > 1:
        raise InputError(f"{place}: several questions, {listed(names)}; say which: {paste({'label': names[0]})}")
    if given is not None and given not in names:
        raise InputError(f"{place}: no question {show(given)}; found: {listed(names)}")
    return names[0] if given is None else given


def paste(columns: Mapping[str, str]) -> str:
    """Suggest a value for ``columns``, in Python and on the command line where it can be said there.

    Example:
        >>> paste({"label": "is it?"})
        "columns={'label': 'is it?'} (--columns 'label=is it?')"
    """
    if max(map(len, columns.values())) > 60:
        return "columns={" + ", ".join(f"{role!r}: ..." for role in columns) + "}"
    in_python = f"columns={dict(columns)!r}"
    if any("," in name or name != name.strip() or not name.isprintable() for name in columns.values()):
        return in_python
    line = ",".join(f"{role}={name}" for role, name in columns.items())
    return f"{in_python} (--columns {shlex.quote(line)})"


def only(columns: Columns | None, what: str, *allowed: str) -> dict[str, Any]:
    """Return ``columns``; reject it where it names a role that an export leaves no choice of."""
    for given, name in (columns or {}).items():
        if given not in allowed:
            raise InputError(f"columns: got {given!r} of {what}; allowed: {', '.join(allowed) or 'none'}")
        if isinstance(name, list | tuple | dict):
            raise InputError(f"columns: {given}: got {show(name)} of {what}; allowed: one name")
    return dict(columns or {})


def nothing(place: str, notes: Sequence[str]) -> InputError:
    return InputError(f"{place}: no labels at all; at least one is needed{': '.join(['', *notes])}")


def field(of: Any, key: str) -> Any:
    """Return a key's value; a ValueError where there is none."""
    if not isinstance(of, dict):
        raise ValueError(f"got {brief(of)}; needed: an object with {key!r}")
    if of.get(key) is None:
        raise ValueError(f"no {key!r}; found: {listed(of)}")
    return of[key]


def members(of: Any, key: str) -> list:
    """Return the list of a key, empty where there is none; a ValueError where it is no list."""
    found = of.get(key) if isinstance(of, dict) else field(of, key)
    if found is not None and not isinstance(found, list):
        raise ValueError(f"{key!r}: got {brief(found)}; needed: a list")
    return found or []


def _label(answer: Any, place: str) -> str | None:
    """Return the word of an answer, None where there is none."""
    if isinstance(answer, list):
        if len(answer) > 1:
            some = ", ".join(map(brief, answer[:3])) + (", ..." if len(answer) > 3 else "")
            raise InputError(f"{place}: got {len(answer)} choices, {some}; allowed: one")
        answer = answer[0] if answer else None
    if isinstance(answer, dict | list):
        raise InputError(f"{place}: got {brief(answer)}; allowed: a label, text or a number")
    if answer is None or answer != answer:
        return None
    found = word(answer)
    refuse_half(found, place)
    return None if found in MISSING else found


def _ids(place: str, role: str, values: list, at: list[str]) -> pa.Array:
    for value, where in zip(values, at, strict=True):
        if value is None or isinstance(value, bool) or value != value or value == "":
            raise InputError(f"{place}: {where}: the {role} is {show(value)}; allowed: text or a number")
    return texts(values, at, f"{place}: {role}")


# Gold


def _gold(pairs: pa.Table, place: str) -> pa.Table | None:
    """Return each instance once; rejects two truths of one."""
    if not len(pairs):
        return None
    with reading(f"{place}: gold", "ids and labels"):
        pairs = pa.table({name: plain_column(pairs[name]) for name in pairs.column_names})
        pairs = pairs.group_by(pairs.column_names, use_threads=False).aggregate([])
        counts = pc.value_counts(pairs["instance"])
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")
    if len(twice):
        of = pairs.filter(pc.equal(pairs["instance"], twice[0]))["label"]
        raise InputError(f"{place}: gold of instance {show(twice[0])}: {show(of[0])} and {show(of[1])}; allowed: one")
    return pairs


def _of_gold(gold: pa.Table | None) -> list[str]:
    n = 0 if gold is None else len(gold)
    some = "gold labels are" if n > 1 else "gold label is"
    return [f"{n:,} {some} in the export; a fit that is given no other gold uses them."] if n else []


# Tables


def columns_to_long(
    table: Table, names: Mapping[str, str], left: Mapping[str, Any], *, gold: pa.Table | None = None,
    label: pa.ChunkedArray | None = None, notes: Iterable[str] = (),
) -> Long:  # fmt: skip
    """Convert columns of an export to a long table.

    Args:
        names: of the columns, by role.
        left: which rows are left out, by what to call them.
        gold: columns instance and label, a row for every row of the table, null where the truth is not known.
        label: in place of the column itself.
    """
    data = table.read(list(dict.fromkeys(names.values())))
    columns = {role: plain_column(data[name]) for role, name in names.items()}
    if label is not None:
        columns["label"] = label
    left = dict(left) | {EMPTY: is_missing(columns["label"])}
    out, notes = np.zeros(len(data), bool), list(notes)
    for what, rows in left.items():
        rows = np.asarray(rows) & ~out
        notes += left_out(int(rows.sum()), what)
        out |= rows
    kept = np.flatnonzero(~out)
    if not kept.size:
        raise nothing(table.place, notes)

    def where(name: str):
        return lambda n: f"column {name!r}, row {kept[n] + 1}"

    long = pa.table({role: column.take(pa.array(kept)) for role, column in columns.items()})
    known = None
    if gold is not None:
        known = gold.filter(pc.and_(*(pa.array(~np.asarray(is_missing(gold[n]))) for n in ("instance", "label"))))
        known = _gold(known, table.place)
    places = {role: where(name) for role, name in names.items()}
    about = (*notes, *_of_gold(known))
    return Long(table.place, long, places, about, dict(names), known, named=True, untyped=table.untyped)


def is_missing(column: pa.ChunkedArray) -> np.ndarray:
    """Return which values are none: null, NaN and, of text, what stands for them."""
    column = plain_column(column)
    missing = column.is_null(nan_is_null=True).to_numpy()
    if pa.types.is_string(column.type):
        missing |= pc.is_in(pc.utf8_trim_whitespace(column), value_set=pa.array(MISSING)).to_numpy()
    return missing


def text_column(table: Table, name: str) -> pa.ChunkedArray:
    """Return a column as text in lower case, "" where it has nothing."""
    column = table.read([name])[name]
    with reading(f"{table.place}: column {name!r}", "text"):
        text = plain_column(column).cast(pa.string())
        return pc.fill_null(pc.utf8_lower(pc.utf8_trim_whitespace(text)), "")


def refuse_several(column: pa.ChunkedArray, mark: str, place: str, name: str) -> None:
    """Reject a cell of several choices, with ``mark`` between them."""
    column = plain_column(column)
    if pa.types.is_string(column.type):
        rows = np.flatnonzero(pc.fill_null(pc.match_substring(column, mark), False).to_numpy())
        if rows.size:
            value = show(column[int(rows[0])])
            raise InputError(f"{place}: column {name!r}, row {rows[0] + 1}: got several choices, {value}; allowed: one")


def given_or(table: Table, columns: Mapping[str, Any], role: str, name: str = "") -> str:
    """Return the column that plays a role: as given, or the one that the export has for it."""
    return named(table, columns.get(role, name), role)
