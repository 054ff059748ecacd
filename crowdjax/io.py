"""Tables in: labels, gold, features and scores from CSV, Parquet or any data frame.

Everything a user hands over passes this door. What is wrong raises ``InputError``, one line that names the value, the
place (table, column, row; the first row of data is row 1) and what is allowed.

Ids are read as they are: from CSV as text (007 stays 007), from Parquet and data frames with their own type. They are
indexed in sorted order, so the order of rows and the names of ids change no result.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, Int8

from crowdjax.columns import (
    Key,
    Words,
    encode,
    listed,
    multiplicities,
    numbers,
    refuse_absent,
    refuse_where,
    rows_of,
    show,
    signs,
    words_of,
)
from crowdjax.formats import Form, read_long
from crowdjax.labels import InputError, LabelIndex, Labels, Repeats
from crowdjax.tables import Columns, column_of, named, open_table

LOG = logging.getLogger("crowdjax")

# Labels


@dataclasses.dataclass(frozen=True)
class Triples:
    """The rows of a table of labels: indices into ``index``, signs, multiplicities (None: one each).

    Attributes:
        words: the two words of the labels, where they are in words.
        notes: what was left out, one sentence each.
    """

    labeler: Int[np.ndarray, " N"]
    instance: Int[np.ndarray, " N"]
    label: Int8[np.ndarray, " N"]
    weight: Float[np.ndarray, " N"] | None
    index: LabelIndex
    words: Words | None = None
    notes: tuple[str, ...] = ()

    def labels(self, *, repeats: Repeats = "count", gold: Float[np.ndarray, " I"] | None = None) -> Labels:
        """The triples sorted and laid out (``Labels.from_arrays``)."""
        return Labels.from_arrays(
            self.labeler,
            self.instance,
            self.label,
            weight=self.weight,
            gold=gold,
            n_labelers=len(self.index.labelers),
            n_instances=len(self.index.instances),
            repeats=repeats,
        )


def read_triples(
    source, *, columns: Columns | None = None, form: Form | None = None, positive=None, words: Words | None = None
) -> Triples:
    """The rows of a table of labels in the order of the table; see :func:`read_labels`.

    Args:
        words: the two words of other labels of the same kind, in place of ``positive``.
    """
    long = read_long(source, form=form, columns=columns)
    place, data, where = long.place, long.data, long.where
    if len(data) == 0:
        raise InputError(f"{place}: no labels at all; at least one row is needed")
    labeler, labelers = encode(data["labeler"], place, where["labeler"])
    instance, instances = encode(data["instance"], place, where["instance"])
    words = words or words_of(data["label"], place, positive)
    label = signs(data["label"], place, where["label"], words)
    weights = multiplicities(data["weight"], place, where["weight"]) if "weight" in data.column_names else None
    sizes = {"rows": len(label), "labelers": len(labelers), "instances": len(instances)}
    text = "read %s: %d rows, %d labelers, %d instances"
    LOG.info(text, place, *sizes.values(), extra={"fields": {"event": "read", **sizes}})
    return Triples(labeler, instance, label, weights, LabelIndex(labelers, instances), words, long.notes)


def read_labels(
    source,
    *,
    columns: Columns | None = None,
    form: Form | None = None,
    positive=None,
    repeats: Repeats = "count",
    gold=None,
) -> tuple[Labels, LabelIndex]:
    """Labels from a table, and the ids behind their indices.

    Args:
        source: a path or URL of CSV, Parquet or a folder of either, or of JSON; or a pandas, polars, pyarrow or DuckDB
            table, or a dict of arrays. Columns labeler, instance, label (worker, annotator, rater, task, item,
            question, response, answer, rating and others, and the same with id, are recognised: ``docs/tables.md``)
            and, optionally, weight: a multiplicity. In a CSV file ids are text as written; empty, NaN and nan count as
            missing. Other columns are left aside.
        columns: which column is which, where names differ: ``{"labeler": "who"}``.
        form: ``long``, ``wide`` (a column for every labeler), ``label-studio`` or ``prodigy``. By default the last two
            are recognised, all else is taken to be long.
        positive: of labels in two words, which one stands for 1.
        repeats: what to do with several labels of one labeler on one instance, see ``Labels.from_arrays``.
        gold: a table with columns instance and label: the truth where it is known.

    Raises:
        InputError: a column is missing or there twice, a value is missing or outside its alphabet, there are no rows,
            the file cannot be read, gold names an instance without labels.

    Example:
        >>> table = {"worker": ["ann", "bob", "ann"], "task": ["q1", "q1", "q2"], "label": ["yes", "no", "yes"]}
        >>> labels, index = read_labels(table, positive="yes")
        >>> labels.label.tolist(), index.labelers.tolist(), index.instances.tolist()
        ([1, -1, 1], ['ann', 'bob'], ['q1', 'q2'])
    """
    triples = read_triples(source, columns=columns, form=form, positive=positive)
    truth = None if gold is None else read_gold(gold, triples.index.instances, triples.words)
    return triples.labels(repeats=repeats, gold=truth), triples.index


def read_gold(source, instances: np.ndarray, words: Words | None = None) -> Float[np.ndarray, " I"]:
    """The known truth of each instance as -1 or +1, NaN where unknown, from a table with columns instance and label.

    Args:
        words: those of the labels, where they are in words.

    Example:
        >>> read_gold({"instance": ["q2"], "label": [True]}, np.array(["q1", "q2"])).tolist()
        [nan, 1.0]
    """
    table = open_table(source, "gold")
    key, label = column_of(table, "instance"), column_of(table, "label")
    data = table.read([key, label])
    if len(data) == 0:
        raise InputError(f"{table.place}: no rows; give at least one, or no table")
    position = rows_of(data[key], instances, table.place, key)
    refuse_where(position < 0, data[key], table.place, key, "instances that occur in the labels")
    truth = np.full(len(instances), np.nan)
    truth[position] = signs(data[label], table.place, label, words)
    return truth


# Numbers about labelers and instances


def read_values(
    source, key: Key, ids: np.ndarray, names: Sequence[str] | None = None, *, place: str = "features"
) -> tuple[tuple[str, ...], Float[np.ndarray, "n F"]]:
    """Numeric columns about each of the given labelers or instances: features, scores, sampling weights.

    Args:
        source: a table as in :func:`read_labels`: a column of ids, the rest finite numbers.
        key: which ids: ``labeler`` or ``instance``.
        ids: those that must have a row each, for instance ``index.labelers``. Further rows are left aside.
        names: the columns to read, for instance ``["score"]``; by default all besides the ids.
        place: what to call the table in a message, unless it has a path.

    Returns:
        (names of the columns, values of shape [n, F] in the order of ``ids``).

    Raises:
        InputError: an id has no row or two, a value is text or missing or not finite, a column is missing.

    Example:
        >>> read_values({"labeler": ["b", "a"], "age": [30, 20]}, "labeler", np.array(["a", "b"]))[1].tolist()
        [[20.0], [30.0]]
    """
    table = open_table(source, place)
    column = column_of(table, key)
    names = [n for n in table.columns if n != column] if names is None else [named(table, n) for n in names]
    if not names:
        raise InputError(f"{table.place}: no columns besides {column!r}; at least one numeric column is needed")
    data = table.read([column, *names])
    position = rows_of(data[column], ids, table.place, column)
    rows = np.full(len(ids), -1)
    rows[position[position >= 0]] = np.flatnonzero(position >= 0)
    refuse_absent(np.flatnonzero(rows < 0), ids, table.place, key)
    used = data.take(pa.array(rows))

    def about(row):
        return f"{key} {show(ids[row])}, row {rows[row] + 1}"

    values = [numbers(used[n], table.place, n, "finite numbers", about) for n in names]
    return tuple(names), np.stack(values, 1)


def read_weights(source, instances: np.ndarray) -> Float[np.ndarray, " I"]:
    """The sampling weight of each instance, from a table with columns instance and weight and no other instances.

    Example:
        >>> read_weights({"instance": ["b", "a"], "weight": [30, 2.5]}, np.array(["a", "b"])).tolist()
        [2.5, 30.0]
    """
    table = open_table(source, "weights")
    key, weight = column_of(table, "instance"), named(table, "weight")
    data = table.read([key, weight])
    position = rows_of(data[key], instances, table.place, key)
    refuse_where(position < 0, data[key], table.place, key, "instances that occur in the labels")
    allowed = "finite numbers above 0"
    values = numbers(data[weight], table.place, weight, allowed)
    refuse_where(values <= 0, data[weight], table.place, weight, allowed)
    refuse_absent(np.setdiff1d(np.arange(len(instances)), position), instances, table.place, "instance")
    weights = np.empty(len(instances))
    weights[position] = values
    return weights


def read_population(source, names: Sequence[str]) -> tuple[Float[np.ndarray, "K C"], Float[np.ndarray, " K"]]:
    """(scores, counts) of a population's table: the columns ``names``, and weight or count, by default one per row.

    Example:
        >>> scores, counts = read_population({"score": [0.1, 0.9], "count": [1000, 20]}, ["score"])
        >>> scores.tolist(), counts.tolist()
        ([[0.1], [0.9]], [1000.0, 20.0])
    """
    table = open_table(source, "population")
    columns = [named(table, n) for n in names]
    counts = [n for n in ("weight", "count") if n in table.columns and n not in columns]
    if len(counts) > 1:
        raise InputError(f"{table.place}: columns 'weight' and 'count' may both say how many; allowed: one of them")
    data = table.read([*columns, *counts])
    if len(data) == 0:
        raise InputError(f"{table.place}: no rows; give at least one, or no table")
    scores = np.stack([numbers(data[n], table.place, n, "finite numbers") for n in columns], 1)
    weights = np.ones(len(data))
    for name in counts:
        allowed = "finite numbers, 0 or more, at least one of them above 0"
        weights = numbers(data[name], table.place, name, allowed)
        refuse_where(weights < 0, data[name], table.place, name, allowed)
        if not weights.any():
            raise InputError(f"{table.place}: column {name!r}: all 0; allowed: {allowed}")
    return scores, weights


def positions(ids: np.ndarray, known: np.ndarray) -> Int[np.ndarray, " n"]:
    """Where each id is among the known ones, -1 for those that are not.

    Example:
        >>> positions(np.array(["b", "x"]), np.array(["a", "b"])).tolist()
        [1, -1]
    """
    return rows_of(pa.chunked_array([pa.array(ids)]), known, "labels", "labeler")


@dataclasses.dataclass(frozen=True)
class Scaling:
    """Names, means and standard deviations of feature columns, kept so that new rows are standardised alike."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]

    @classmethod
    def of(cls, names: Sequence[str], values: Float[np.ndarray, "n F"]) -> Scaling:
        """The scaling of the columns that vary; constant ones are left out, since the model has a constant of its own.

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
        """The columns of ``names``, standardised."""
        return (values - np.array(self.mean)) / np.array(self.sd)

    def undo(self, values: Float[np.ndarray, "n F"]) -> Float[np.ndarray, "n F"]:
        """Standardised columns in their own units."""
        return values * np.array(self.sd) + np.array(self.mean)


def read_features(
    source, key: Key, ids: np.ndarray, scaling: Scaling | None = None
) -> tuple[Float[np.ndarray, "n F"], Scaling, tuple[str, ...]]:
    """Standardised features: (values, their scaling, the constant columns that were left out).

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
    source, key: Key, ids: np.ndarray, scaling: Scaling, needed=True
) -> Float[np.ndarray, "n F"] | None:
    """Features of new labelers or instances of a fit that used some; 0 where not ``needed``, None where none are.

    Raises:
        InputError: as in :func:`read_values`; some are needed and there is no table.
    """
    needed = np.broadcast_to(needed, len(ids))
    if not needed.any():
        return None
    if source is None:
        raise InputError(
            f"{key} features: none given, but the fit used {listed(scaling.names)} and {key} {ids[needed][0]!s} is "
            "new; a table with these columns is needed"
        )
    rows = np.zeros((len(ids), len(scaling.names)))
    rows[needed], _, _ = read_features(source, key, ids[needed], scaling)
    return rows
