"""Reading tables: labels, gold, features and scores from CSV, Parquet or any data frame.

All user input is validated here. Invalid input raises ``InputError``: one line that names the value, the place (table,
column, row; the first row of data is row 1) and what is allowed.

Ids keep their type: ids in CSV are text (007 stays 007), ids in Parquet and data frames have the column's type. They
are indexed in sorted order, so results do not depend on the order of rows or on the names of ids.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crowdjax.classes import Classes, Distinct, Kind, classes_of, codes_of, distinct, two_of
from crowdjax.columns import (
    Key,
    Where,
    encode,
    listed,
    look_alikes,
    multiplicities,
    numbers,
    plain_column,
    refuse_absent,
    refuse_where,
    rows_of,
    show,
    word,
)
from crowdjax.formats import Form, Long, read_long
from crowdjax.labels import InputError, LabelIndex, Labels, Repeats
from crowdjax.roles import Columns, Opened, as_record, by_table, named, open_as, paste, tell
from crowdjax.settings import flag

if TYPE_CHECKING:
    from jaxtyping import Float, Int

LOG = logging.getLogger("crowdjax")

# Labels


@dataclasses.dataclass(frozen=True)
class Triples:
    """The rows of a table of labels: indices into ``index``, codes, and multiplicities (None: one each).

    Attributes:
        label: code of each label, an index into the values of ``index``.
        notes: rows left out and oddities of the table, one sentence each.
        roles: the column of each role.
        place: name of the table in messages, with the way it was read where that matters.
        gold: the truths that an export of labels holds, columns instance and label; None where it holds none.
        anonymous: whether these are counts of an instance's labels, whose labelers are unknown.
    """

    labeler: Int[np.ndarray, " N"]
    instance: Int[np.ndarray, " N"]
    label: Int[np.ndarray, " N"]
    weight: Float[np.ndarray, " N"] | None
    index: LabelIndex
    notes: tuple[str, ...] = ()
    roles: Mapping[str, str] = dataclasses.field(default_factory=dict)
    place: str = "labels"
    gold: pa.Table | None = None
    anonymous: bool = False

    def labels(self, *, repeats: Repeats = "count", gold: Float[np.ndarray, " I"] | None = None) -> Labels:
        """Build the ``Labels`` of the triples (``Labels.from_arrays``)."""
        return Labels.from_arrays(
            self.labeler,
            self.instance,
            self.label,
            weight=self.weight,
            gold=gold,
            n_labelers=len(self.index.labelers),
            n_instances=len(self.index.instances),
            n_values=len(self.index.values or self.index.classes),
            n_classes=len(self.index.classes),
            places=self.index.places,
            repeats=repeats,
        )

    @property
    def words(self) -> tuple[Any, ...] | None:
        """The two classes where they are not 0 and 1; raises for more than two."""
        return two_of(Classes(self.index.classes, self.index.values), self.place)


def read_all(table, columns: Columns | None, reading: Mapping[str, Any], given: Mapping[str, Any]):
    """Open the tables other than the labels and read the labels, as for ``crowdjax.fit``; return (tables, labels)."""
    said, tables = open_tables(columns, **given)
    return tables, read_triples(table, columns=said, **reading)


def read_triples(
    source,
    *,
    columns: Columns | None = None,
    form: Form | None = None,
    positive=None,
    order: Sequence[Any] | None = None,
    truth: Sequence[Any] | None = None,
    missing: Sequence[Any] = (),
    header: bool = True,
    classes: Kind | None = None,
    like: LabelIndex | None = None,
) -> Triples:
    """Read the rows of a table of labels in the order of the table; see :func:`read_labels`.

    Args:
        classes: the kind of the classes; of ``ordinal`` ones in text the order must be known.
        like: other labels of the same kind, whose classes and values these have.

    Example:
        >>> table = {"labeler": list("abc"), "instance": [1, 1, 2], "label": ["cat", "dog", "cow"]}
        >>> found = read_triples(table)
        >>> found.index.classes, found.label.tolist()
        (('cat', 'cow', 'dog'), [0, 2, 1])
        >>> read_triples(table, order=["cow", "cat", "dog"]).label.tolist()
        [1, 2, 0]
    """
    header = flag("header", header)
    missing = _values(missing)
    long = read_long(source, form=form, columns=columns, header=header)
    place, data, where, notes = long.place, long.data, long.where, [*long.notes]
    data, where, left, absent = _without(data, where, missing)
    if left:
        what = listed([show(value) if value != "" else "empty cells" for value in missing])
        notes.append(f"{left:,} of {left + len(data):,} labels are left out: {what}.")
    if absent:
        notes.append(f"No label is {' or '.join(map(show, absent))}, which missing names.")
    if len(data) == 0:
        raise InputError(f"{place}: no labels at all; at least one row is needed")
    labeler, labelers = encode(data["labeler"], place, where["labeler"])
    instance, instances = encode(data["instance"], place, where["instance"])
    try:
        if like is not None:
            found = Classes(like.classes, like.values, places=like.places)
        else:
            said = dict(positive=positive, order=order, truth=truth, kind=classes)
            found = classes_of(_distinct(long, data, where), place, **said, untyped=long.untyped, known=long.known)
        label = codes_of(data["label"], place, where["label"], found.said)
    except InputError as error:
        option = paste("labels", long.roles).partition(" (")[2].removesuffix(")")
        taken = f"; columns taken: {option}" if long.named else ""
        raise InputError(f"{error}{taken}") from None
    notes += found.notes
    weights = multiplicities(data["weight"], place, where["weight"]) if "weight" in data.column_names else None
    for side, ids in (("labelers", labelers), ("instances", instances)):
        n, examples = look_alikes(ids)
        if n:
            notes.append(
                f"{n:,} {side[:-1] if n == 1 else side} differ from another only in blanks, leading zeros or the "
                f"Unicode form of a letter, as {' and '.join(map(ascii, examples))}; they count as different."
            )
    sizes = {"rows": len(label), "labelers": len(labelers), "instances": len(instances)}
    text = "read %s: %d rows, %d labelers, %d instances"
    LOG.info(text, place, *sizes.values(), extra={"fields": {"event": "read", **sizes}})
    index = dataclasses.replace(_index(labelers, instances, found.classes, found.values), places=found.places)
    gold = _gold_of_export(long, instances)
    where_from = place + long.about
    return Triples(labeler, instance, label, weights, index, tuple(notes), long.roles, where_from, gold, long.anonymous)


def _distinct(long: Long, data: pa.Table, where: Mapping[str, Where]) -> Distinct:
    """Return the distinct labels; counts of labels count as often as they say."""
    found = distinct(data["label"], long.place, where["label"])
    if not long.anonymous:
        return found
    totals = data.select(["label", "weight"]).group_by("label").aggregate([("weight", "sum")])
    counts = dict(zip(totals["label"].to_pylist(), map(int, totals["weight_sum"].to_pylist()), strict=True))
    return found._replace(counts=counts)


def _gold_of_export(long: Long, instances: pa.Array) -> pa.Table | None:
    """Return the truths in an export of the instances that have labels."""
    if long.gold is None:
        return None
    gold = long.gold.filter(pc.is_in(long.gold["instance"].cast(instances.type), value_set=instances))
    return gold if len(gold) else None


def _values(missing) -> list:
    """Return the values that are no label."""
    values = [missing] if isinstance(missing, str) else missing
    if values is None:
        return []
    if not isinstance(values, list | tuple | set | frozenset | np.ndarray) or any(
        isinstance(v, list | dict | tuple) for v in values
    ):
        raise InputError(f"missing: got {show(missing)}; allowed: a list of values, as ['unsure']")
    values = [v.item() if isinstance(v, np.generic) else v for v in values]
    return ["" if v is None or v != v else v for v in values]


def _without(data: pa.Table, where: Mapping[str, Where], missing: Sequence[Any]):
    """Return (the rows whose label is none of these values, where they are, how many others there are, which values do
    not occur)."""
    gone = {word(v): v for v in missing}
    if not gone:
        return data, where, 0, []
    encoded = plain_column(data["label"]).dictionary_encode().combine_chunks()
    words = ["" if v is None or v != v else word(v) for v in encoded.dictionary.to_pylist()]
    bad = [w in gone for w in words]
    absent = [v for w, v in gone.items() if w not in words and w]
    bad.append("" in gone)  # of empty cells
    keep = ~np.array(bad)[encoded.indices.fill_null(len(words)).to_numpy(zero_copy_only=False)]
    rows = np.flatnonzero(keep)

    def at(name: str) -> Callable[[int], str]:
        was = where[name]
        return lambda n: f"column {was!r}, row {rows[n] + 1}" if isinstance(was, str) else was(int(rows[n]))

    return data.filter(pa.array(keep)), {name: at(name) for name in where}, int((~keep).sum()), absent


def ids(index: LabelIndex, side: Key) -> pa.Array:
    """Build a column of the ids of labelers or instances, with their original type.

    Example:
        >>> ids(LabelIndex(np.array(["ann", "bob"]), np.array([7, 9])), "instance").to_pylist()
        [7, 9]
    """
    if index.columns is not None:
        return index.columns[side]
    return pa.array(index.labelers if side == "labeler" else index.instances)


def _index(labelers: pa.Array, instances: pa.Array, classes=(0, 1), values=None) -> LabelIndex:
    columns = {"labeler": labelers, "instance": instances}
    of_labelers, of_instances = (side.to_numpy(zero_copy_only=False) for side in columns.values())
    return LabelIndex(of_labelers, of_instances, columns, tuple(classes), None if values is None else tuple(values))


def index_of(
    labelers: pa.Table, instances: pa.Table, classes: Sequence[Any] = (0, 1), values: Sequence[Any] | None = None
) -> LabelIndex:
    """Build the index of a saved result from its tables and its record.

    Example:
        >>> index_of(pa.table({"labeler": ["ann"]}), pa.table({"instance": [7]})).instances.tolist()
        [7]
    """
    return _index(labelers.column(0).combine_chunks(), instances.column(0).combine_chunks(), classes, values)


def read_labels(
    source,
    *,
    columns: Columns | None = None,
    form: Form | None = None,
    positive=None,
    order: Sequence[Any] | None = None,
    truth: Sequence[Any] | None = None,
    missing: Sequence[Any] = (),
    header: bool = True,
    repeats: Repeats = "count",
    gold=None,
) -> tuple[Labels, LabelIndex]:
    """Read labels from a table; return them with the index of ids.

    Args:
        source: a path or URL of CSV, Excel, Parquet, JSON or a folder of CSV or Parquet; or a pandas, polars, pyarrow
            or DuckDB table, or a dict of arrays. Columns labeler, instance, label (other usual names, such as
            ``worker``, ``task`` and ``answer``, and the same with ``id``, are recognised: ``docs/tables.md``) and,
            optionally, weight: a multiplicity. In a CSV file ids are text as written; empty, NaN and nan count as
            missing. Other columns are ignored.
        columns: names of columns that differ from the defaults: ``{"labeler": "who"}``; for the gold table
            ``{"gold.instance": "question"}``.
        form: ``long``, ``wide`` (one column per labeler), ``wide-by-labeler`` (one row per labeler), ``counts``
            (numbers of each label by instance) or an export. By default exports are recognised and everything else is
            read as long.
        positive: the positive one of two label values; default: by the meaning of the words (no, yes), else the last.
        order: all label values in ascending order, of which there may be any number; default: numbers by size, text
            alphabetically, categories as declared. 0/1, -1/+1 and true/false are the classes 0 and 1.
        truth: the values that the truth can have, in ascending order, where labels have more (grades, ``unsure``).
        missing: values that are not labels, such as ``["unsure"]``; their rows are left out.
        header: whether the first line of a CSV file has the column names; if not, columns are called 1, 2, 3 and so on.
        repeats: treatment of repeated labels of one labeler on one instance, see ``Labels.from_arrays``.
        gold: a table with columns instance and label: the truth of some instances.

    Raises:
        InputError: a column is missing or occurs twice, a value is missing or not allowed, the table has no rows, the
            file cannot be read, or gold names an instance without labels.

    Example:
        >>> table = {"worker": ["ann", "bob", "ann"], "task": ["q1", "q1", "q2"], "label": ["yes", "no", "yes"]}
        >>> labels, index = read_labels(table, positive="yes")
        >>> labels.label.tolist(), index.labelers.tolist(), index.instances.tolist()
        ([1, 0, 1], ['ann', 'bob'], ['q1', 'q2'])
    """
    given = by_table(columns, ("labels",) if gold is None else ("labels", "gold"))
    triples = read_triples(
        source, columns=given["labels"], form=form, positive=positive, order=order, truth=truth, missing=missing,
        header=header,
    )  # fmt: skip
    instances = ids(triples.index, "instance")
    known = None if gold is None else read_gold(gold, instances, triples.index.classes, columns=given["gold"])
    return triples.labels(repeats=repeats, gold=known), triples.index


# Tables besides the labels


def open_tables(
    columns: Columns | None, *, known: Mapping[str, Sequence[str]] = MappingProxyType({}), **sources
) -> tuple[dict[str, Any], dict[str, Opened | None]]:
    """Open the tables other than the labels and find the roles of their columns; no rows are read yet.

    Args:
        columns: the user's names of the columns of all tables: ``{"labeler": "who", "gold.instance": "question"}``.
        known: names of the scores or features that a table must have, by its kind.
        sources: the tables by their kind (``roles.SHAPES``): gold, scores, weights, population, labeler_features,
            instance_features; None where there is none. The population's columns are those of the scores, unless they
            are named.

    Returns:
        (the user's columns of the labels, the tables by kind).

    Example:
        >>> said = {"gold.instance": "q", "label": "y"}
        >>> rest, opened = open_tables(said, gold={"q": ["q2"], "label": [1]}, scores=None)
        >>> rest, opened["gold"].roles, opened["scores"]
        ({'label': 'y'}, {'instance': 'q', 'label': 'label'}, None)
    """
    said = by_table(columns, ["labels", *(kind for kind, source in sources.items() if source is not None)])
    out: dict[str, Opened | None] = {}
    for kind, source in sources.items():
        scores = out.get("scores") if kind == "population" else None
        names = scores.roles["score"] if scores is not None else known.get(kind, ())
        if source is None or isinstance(source, Opened):
            out[kind] = source
        else:
            out[kind] = open_as(kind, source, said[kind], known=names, like=said["labels"])
    return said["labels"], out


def mapping(triples: Triples, tables: Mapping[str, Opened | None]) -> dict[str, Any]:
    """Record which column plays which role in every table, for ``fit.json``; also logged (level 25)."""
    tell(triples.place, triples.roles)
    out = {"labels": as_record(triples.roles)}
    for kind, opened in tables.items():
        if opened is not None:
            tell(opened.place + opened.table.about, opened.roles)
            out[kind] = as_record(opened.roles)
    return out


def _opened(source, kind: str, columns: Columns | None = None, *, place: str | None = None, known=()) -> Opened:
    return source if isinstance(source, Opened) else open_as(kind, source, columns, place=place, known=known)


def read_gold(
    source, instances: np.ndarray | pa.Array, classes: Sequence[Any] | None = None, *, columns: Columns | None = None
) -> Float[np.ndarray, " I"]:
    """Read the code of the known truth of each instance, NaN where unknown, from a table with columns instance and
    label.

    Args:
        classes: the classes of the labels; default 0 and 1.
        columns: names of columns that differ from the defaults: ``{"instance": "question"}``.

    Example:
        >>> read_gold({"instance": ["q2"], "label": [True]}, np.array(["q1", "q2"])).tolist()
        [nan, 1.0]
    """
    opened = _opened(source, "gold", columns)
    key, label = opened.roles["instance"], opened.roles["label"]
    data = opened.table.read([key, label])
    if len(data) == 0:
        raise InputError(f"{opened.place}: no rows; give at least one, or no table")
    position = rows_of(data[key], instances, opened.place, key)
    refuse_where(position < 0, data[key], opened.place, key, "instances that occur in the labels")
    truth = np.full(len(instances), np.nan)
    truth[position] = codes_of(data[label], opened.place, label, classes or (0, 1))
    return truth


def read_chances(
    source, instances: np.ndarray | pa.Array, *, columns: Columns | None = None
) -> Float[np.ndarray, " I"] | None:
    """Read the probability that each gold instance was drawn for gold, given that it has labels, from the column
    ``chance`` of a gold table; NaN for instances without gold, None without such a column.

    Example:
        >>> read_chances({"instance": ["q2"], "label": [1], "chance": [0.1]}, np.array(["q1", "q2"])).tolist()
        [nan, 0.1]
    """
    opened = _opened(source, "gold", columns)
    if "chance" not in opened.roles:
        return None
    key, chance = opened.roles["instance"], opened.roles["chance"]
    data = opened.table.read([key, chance])
    allowed = "numbers above 0, up to 1"
    values = numbers(data[chance], opened.place, chance, allowed)
    refuse_where((values <= 0) | (values > 1), data[chance], opened.place, chance, allowed)
    chances = np.full(len(instances), np.nan)
    chances[rows_of(data[key], instances, opened.place, key)] = values
    return chances


def truth_of(triples: Triples, gold: Opened | None) -> Float[np.ndarray, " I"] | None:
    """Read the known truth of the instances: from the gold table or, without one, from the export that holds the
    labels; None where neither has it.
    """
    if gold is None and triples.gold is not None:
        gold = open_as("gold", triples.gold, place="gold of the export")
    return None if gold is None else read_gold(gold, ids(triples.index, "instance"), triples.index.classes)


# Numbers about labelers and instances


def read_values(
    source,
    key: Key,
    ids: np.ndarray | pa.Array,
    names: Sequence[str] | None = None,
    *,
    kind: str | None = None,
    place: str | None = None,
    columns: Columns | None = None,
) -> tuple[tuple[str, ...], Float[np.ndarray, "n F"]]:
    """Read numeric columns (features or scores) for given labelers or instances.

    Args:
        source: a table as in :func:`read_labels`: a column of ids, and finite numbers in the others. Columns of row
            numbers are ignored; columns called label, truth or gold are rejected unless they are named.
        key: the kind of ids: ``labeler`` or ``instance``.
        ids: the ids, each of which needs one row, for instance ``index.labelers``. Other rows are ignored.
        names: the columns to read, for instance ``["score"]``; default: all columns but the ids for features, the
            column ``score`` or else the only numeric column for scores.
        kind: ``scores`` or, the default, features.
        place: name of the table in messages, if it has no path.
        columns: names of columns: ``{"labeler": "who", "feature": ["age", "years"]}``.

    Returns:
        (names of the columns, values of shape [n, F] in the order of ``ids``).

    Raises:
        InputError: an id has no row or two, a value is text, missing or not finite, or a column is missing.

    Example:
        >>> read_values({"labeler": ["b", "a"], "age": [30, 20]}, "labeler", np.array(["a", "b"]))[1].tolist()
        [[20.0], [30.0]]
    """
    kind = kind or f"{key}_features"
    known = () if names is None else tuple(names)
    opened = _opened(source, kind, columns, place=place, known=known)
    column, found = opened.roles[key], known or opened.roles["score" if kind == "scores" else "feature"]
    for name in found:
        named(opened.table, name, "feature")
    data = opened.table.read([column, *found])
    position = rows_of(data[column], ids, opened.place, column)
    rows = np.full(len(ids), -1)
    rows[position[position >= 0]] = np.flatnonzero(position >= 0)
    known_ids = ids if isinstance(ids, np.ndarray) else ids.to_numpy(zero_copy_only=False)
    refuse_absent(np.flatnonzero(rows < 0), known_ids, opened.place, key)
    used = data.take(pa.array(rows))

    def about(row):
        return f"{key} {show(known_ids[row])}, row {rows[row] + 1}"

    values = [numbers(used[n], opened.place, n, "finite numbers", about) for n in found]
    return tuple(found), np.stack(values, 1)


def read_categories(
    source,
    name: str,
    instances: np.ndarray | pa.Array | None,
    known: Sequence[Any] | None = None,
    *,
    kind: str = "scores",
    columns: Columns | None = None,
) -> tuple[list[Any], Int[np.ndarray, " n"]]:
    """Read a categorical column; return its distinct values in ascending order and the value's position for each
    instance.

    Args:
        source: a table of scores, or of a population (``kind``).
        instances: whose rows are read, in this order; None: all rows, as of a population.
        known: the values to use instead of those that occur; a row with another value has -1.

    Raises:
        InputError: there is no such column, a value is missing or infinite, or values are not numbers, dates or text.

    Example:
        >>> table = {"instance": ["b", "a"], "score": [0.1, 0.9], "week": ["2026-02", "2026-01"]}
        >>> values, code = read_categories(table, "week", np.array(["a", "b"]))
        >>> values, code.tolist()
        (['2026-01', '2026-02'], [0, 1])
    """
    opened = _opened(source, kind, columns)
    named(opened.table, name, "score")
    key = [] if instances is None else [opened.roles["instance"]]
    data = opened.table.read([*key, name])
    column = data[name]
    if pa.types.is_nested(column.type) or pa.types.is_null(column.type):
        raise InputError(f"{opened.place}: column {name!r} is of type {column.type}; allowed: numbers, dates or text")
    position = np.arange(len(column)) if instances is None else rows_of(data[key[0]], instances, opened.place, key[0])
    used = position >= 0
    bad = pc.is_null(column, nan_is_null=True).to_numpy()
    if pa.types.is_floating(column.type):
        bad = bad | ~np.isfinite(column.to_numpy())
    refuse_where(bad & used, column, opened.place, name, "a value for every instance")
    values = column.filter(pa.array(used)).combine_chunks()
    if known is None:
        distinct = pc.unique(values)
        distinct = distinct.take(pc.sort_indices(distinct))
    else:
        try:
            distinct = pa.array(known).cast(values.type)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            distinct = pa.array([], values.type)
    found = pc.fill_null(pc.index_in(values, distinct), -1).to_numpy(zero_copy_only=False)
    code = np.full(len(column) if instances is None else len(instances), -1)
    code[position[used]] = found
    return distinct.to_pylist() if known is None else list(known), code


def read_weights(
    source, instances: np.ndarray | pa.Array, *, columns: Columns | None = None
) -> Float[np.ndarray, " I"]:
    """Read the sampling weight of each instance, from a table with columns instance and weight and no other instances.

    Example:
        >>> read_weights({"instance": ["b", "a"], "weight": [30, 2.5]}, np.array(["a", "b"])).tolist()
        [2.5, 30.0]
    """
    opened = _opened(source, "weights", columns)
    key, weight = opened.roles["instance"], opened.roles["weight"]
    data = opened.table.read([key, weight])
    position = rows_of(data[key], instances, opened.place, key)
    refuse_where(position < 0, data[key], opened.place, key, "instances that occur in the labels")
    allowed = "finite numbers above 0"
    values = numbers(data[weight], opened.place, weight, allowed)
    refuse_where(values <= 0, data[weight], opened.place, weight, allowed)
    if not np.isfinite(values.sum()):
        raise InputError(f"{opened.place}: column {weight!r}: its sum is beyond the largest number; allowed: {allowed}")
    known = instances if isinstance(instances, np.ndarray) else instances.to_numpy(zero_copy_only=False)
    refuse_absent(np.setdiff1d(np.arange(len(known)), position), known, opened.place, "instance")
    weights = np.empty(len(known))
    weights[position] = values
    return weights


def read_population(
    source, names: Sequence[str], *, columns: Columns | None = None
) -> tuple[Float[np.ndarray, "K C"], Float[np.ndarray, " K"]]:
    """Read (scores, counts) from a population's table: the columns ``names``, and weight or count, by default one per
    row.

    Example:
        >>> scores, counts = read_population({"score": [0.1, 0.9], "count": [1000, 20]}, ["score"])
        >>> scores.tolist(), counts.tolist()
        ([[0.1], [0.9]], [1000.0, 20.0])
    """
    opened = _opened(source, "population", columns, known=tuple(names))
    scores = opened.roles["score"]
    counts = [opened.roles[n] for n in ("weight", "count") if n in opened.roles]
    data = opened.table.read([*scores, *counts])
    if len(data) == 0:
        raise InputError(f"{opened.place}: no rows; give at least one, or no table")
    values = np.stack([numbers(data[n], opened.place, n, "finite numbers") for n in scores], 1)
    weights = np.ones(len(data))
    for name in counts:
        allowed = "finite numbers, 0 or more, at least one of them above 0"
        weights = numbers(data[name], opened.place, name, allowed)
        refuse_where(weights < 0, data[name], opened.place, name, allowed)
        if not weights.any():
            raise InputError(f"{opened.place}: column {name!r}: all 0; allowed: {allowed}")
    return values, weights


def positions(ids: np.ndarray | pa.Array, known: np.ndarray | pa.Array) -> Int[np.ndarray, " n"]:
    """Find the position of each id among the known ones, -1 for unknown ids.

    Example:
        >>> positions(np.array(["b", "x"]), np.array(["a", "b"])).tolist()
        [1, -1]
    """
    return rows_of(pa.chunked_array([pa.array(ids)]), known, "labels", "labeler")


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Names, means and standard deviations of feature columns, kept to standardise new rows in the same way."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]

    @classmethod
    def of(cls, names: Sequence[str], values: Float[np.ndarray, "n F"]) -> Scaling:
        """Compute the scaling of the columns that vary; constant columns are left out, since the model has a constant
        of its own.

        Example:
            >>> scaling = Scaling.of(["age", "one"], np.array([[20.0, 1.0], [30.0, 1.0]]))
            >>> scaling.names, scaling.apply(np.array([[40.0]])).tolist()
            (('age',), [[3.0]])
        """
        largest = np.abs(values).max(axis=0, initial=0)
        unit = np.ldexp(1.0, np.frexp(largest)[1] - 1)  # squares then neither overflow nor vanish
        values = values / unit
        mean, sd = values.mean(0), values.std(0)
        keep = np.flatnonzero(sd > 1e-12).tolist()
        if not keep:
            raise InputError(f"features {listed(names)}: constant; allowed: columns that vary")
        mean, sd = mean * unit, sd * unit
        return cls(tuple(names[k] for k in keep), tuple(mean[keep].tolist()), tuple(sd[keep].tolist()))

    def apply(self, values: Float[np.ndarray, "n F"]) -> Float[np.ndarray, "n F"]:
        """Select the columns of ``names`` and standardise them."""
        return (values - np.array(self.mean)) / np.array(self.sd)

    def undo(self, values: Float[np.ndarray, "n F"]) -> Float[np.ndarray, "n F"]:
        """Convert standardised columns back to their own units."""
        return values * np.array(self.sd) + np.array(self.mean)


def read_features(
    source, key: Key, ids: np.ndarray | pa.Array, scaling: Scaling | None = None
) -> tuple[Float[np.ndarray, "n F"], Scaling, tuple[str, ...]]:
    """Read standardised features: (values, their scaling, the constant columns that were left out).

    Args:
        source, key, ids: as in :func:`read_values`.
        scaling: of the fit, when these are new rows for it: the same columns, the same means.
    """
    place = f"{key} features"
    names, values = read_values(source, key, ids, None if scaling is None else scaling.names, place=place)
    if scaling is not None:
        return scaling.apply(values), scaling, ()
    scaling = Scaling.of(names, values)
    kept = set(scaling.names)
    return scaling.apply(values[:, [n in kept for n in names]]), scaling, tuple(n for n in names if n not in kept)


def read_new_features(
    source, key: Key, ids: np.ndarray | pa.Array, scaling: Scaling, needed=True
) -> Float[np.ndarray, "n F"] | None:
    """Read features of new labelers or instances for a fit that used features; zeros where not ``needed``, None for a
    fit without.

    Raises:
        InputError: as in :func:`read_values`; features are needed and no table is given.
    """
    needed = np.broadcast_to(needed, len(ids))
    if not needed.any():
        return None
    some = ids[needed] if isinstance(ids, np.ndarray) else ids.filter(pa.array(needed))
    if source is None:
        raise InputError(
            f"{key} features: none given, but the fit used {listed(scaling.names)} and {key} {show(some[0])} is "
            "new; a table with these columns is needed"
        )
    rows = np.zeros((len(ids), len(scaling.names)))
    rows[needed], _, _ = read_features(source, key, some, scaling)
    return rows
