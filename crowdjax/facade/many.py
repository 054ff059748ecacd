"""Fits of many classes without K × K numbers for each labeler: which models, and what they report.

    more than 50 classes, majority and one-coin        ``crowdjax.observation.voted``

An instance has its five most probable classes, a labeler the accuracy. A confusion table would say no more:
a label is right with that chance, and errors fall on all other classes alike.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from crowdjax import io, memory
from crowdjax.cautions import CLEAR, LEAST_VOTES, Support
from crowdjax.labelers import LEVEL, Summary, corrected, crowd_of
from crowdjax.labels import InputError, LabelIndex, Labels
from crowdjax.observation import Observation, Voted
from crowdjax.observation.summaries import summary_of_counts
from crowdjax.observation.voted import answer_voted
from crowdjax.result import (
    MOST_CLASSES,
    TIE,
    Tally,
    chosen_of_top,
    class_table,
    counted,
    gold_record,
    labeler_table,
    labels_of_labelers,
)


class Told(NamedTuple):
    """The tables and counts that a fit of many classes reports.

    Attributes:
        tables: of instances, labelers and, where it says more, their confusion.
        tally: the labels, counted.
        support: how the inferred classes agree with them.
        posterior: of the classes of each instance, or the likeliest classes and their probabilities.
        shares: of the inferred classes.
    """

    tables: dict[str, pa.Table]
    tally: Tally | SparseTally
    support: Support
    posterior: Any
    shares: Float[np.ndarray, " K"]


class Cells(NamedTuple):
    """A sparse matrix, by its cells that are not 0, in order.

    Example:
        >>> Cells.of(np.array([1, 1]), np.array([2, 2]), np.array([0.5, 1.0]), (2, 3)).dense().tolist()
        [[0.0, 0.0, 0.0], [0.0, 0.0, 1.5]]
    """

    row: Int[np.ndarray, " n"]
    column: Int[np.ndarray, " n"]
    value: Float[np.ndarray, " n"]
    shape: tuple[int, int]

    @classmethod
    def of(cls, row, column, value, shape: tuple[int, int]) -> Cells:
        """Sum values by cell."""
        cell, place = np.unique(np.asarray(row, np.int64) * shape[1] + column, return_inverse=True)
        return cls(*np.divmod(cell, shape[1]), np.bincount(place, value, len(cell)), shape)

    def dense(self) -> Float[np.ndarray, "m n"]:
        """Convert to a dense array; raise where it does not fit into memory."""
        memory.refuse_host(4 * np.prod(self.shape, dtype=float), "report: the votes need", "allowed: fewer classes")
        out = np.zeros(self.shape, np.float32)
        out[self.row, self.column] = self.value
        return out


class SparseTally(NamedTuple):
    """A ``Tally`` with sparse counts; agreement is that of all labelers together, by the most probable classes."""

    votes: Cells
    agreement: Cells
    n_crowds: int


def whole(found: Tally | SparseTally | None) -> Tally:
    """Convert the tally to the form that a report takes."""
    if isinstance(found, SparseTally):
        return Tally(found.votes.dense(), found.agreement.dense()[None], found.n_crowds)
    return counted(found)


def of_many(model: Observation, labels: Labels) -> Observation:
    """Convert the model to its form for these labels: with more than 50 classes a coin model keeps only the classes
    with votes.

    Example:
        >>> from crowdjax.observation import Majority
        >>> of_many(Majority(), Labels.from_arrays([0], [0], [1], n_values=500))
        Voted(model=Majority(class_prior='uniform', skill=1.0))
    """
    return Voted(model) if labels.n_classes > MOST_CLASSES and hasattr(model, "coin_step") else model


def told(labels: Labels, model: Voted, params, index: LabelIndex, gold: Float[np.ndarray, " I"] | None) -> Told:
    """Build the report of a fit whose passes keep only the classes with votes.

    Args:
        params: of the fit.
        gold: codes, NaN where unknown.
    """
    found = answer_voted(labels, model, params)
    codes, p, points = (np.asarray(v) for v in (found.classes, found.p, found.points))
    points = points.astype(np.float64)
    about = summary_of_counts(model, params, found.counts, np.ones(1), LEVEL)
    accuracy = tuple(ends[:, 0, 0] for ends in about.confusion)  # of the labels right and wrong the first
    about = Summary(accuracy, about.confusion, corrected(accuracy, labels.n_classes))
    votes, agreement, n_crowds = sparse_tally(labels, codes, p)
    tables = {
        "instances": class_table(io.ids(index, "instance"), (codes, p), index.classes),
        "labelers": labeler_table(io.ids(index, "labeler"), labels_of_labelers(labels), about, gold_record(labels)),
    }
    return Told(
        tables, SparseTally(votes, agreement, n_crowds), support_of(votes, codes, p, points, gold), (codes, p),
        points / points.sum(),
    )  # fmt: skip


def sparse_tally(labels: Labels, codes: Int[np.ndarray, "I n"], p: Float[np.ndarray, "I n"]) -> SparseTally:
    """Count the labels of a fit in sparse form.

    Args:
        codes, p: the likeliest classes of each instance and their probabilities.
    """
    real = np.asarray(labels.counts) > 0
    columns = (labels.labeler, labels.instance, labels.label, labels.counts)
    labeler, instance, label, counts = (np.asarray(v)[real] for v in columns)
    n = labels.n_classes
    votes = Cells.of(instance, label, counts, (labels.n_instances, n))
    by_class = (counts[:, None] * p[instance]).ravel()
    agreement = Cells.of(codes[instance].ravel(), np.repeat(label, codes.shape[1]), by_class, (n, n))
    crowds = crowd_of(labeler, instance, labels.n_labelers, labels.n_instances).max(initial=-1) + 1
    return SparseTally(votes, agreement, int(crowds))


def support_of(votes: Cells, codes, p, points: Float[np.ndarray, " K"], gold=None) -> Support:
    """Compute ``crowdjax.result.support``.

    Example: one inferred class goes against three labels
        >>> votes = Cells.of(np.array([0, 1, 1]), np.array([0, 0, 1]), np.array([3.0, 1.0, 2.0]), (2, 2))
        >>> found = support_of(votes, np.array([[1], [1]]), np.array([[0.75], [1.0]]), np.array([0.25, 1.75]))
        >>> found.answered, found.against, found.voted, found.labels
        ((0, 2), 1, (1, 1), (4.0, 2.0))
    """
    n_instances, n_classes = votes.shape
    answer, tied = chosen_of_top(codes, p), (p >= p[:, :1] - TIE).sum(1) > 1
    order = np.lexsort((votes.column, -votes.value, votes.row))
    rows, first = np.unique(votes.row[order], return_index=True)
    most, highest = np.zeros(n_instances, int), np.zeros(n_instances)
    most[rows], highest[rows] = votes.column[order][first], votes.value[order][first]
    n = np.bincount(votes.row, votes.value, n_instances)
    clear = (n >= LEAST_VOTES) & (highest >= CLEAR * n * (1 - TIE)) & ~tied
    clear &= True if gold is None else np.isnan(gold)
    count = lambda codes: tuple(np.bincount(codes, minlength=n_classes).tolist())  # noqa: E731
    return Support(
        n_instances, count(answer), tuple(points.tolist()), int((clear & (answer != most)).sum()), count(most),
        tuple(np.bincount(votes.column, votes.value, n_classes).tolist()),
    )  # fmt: skip


def refuse(name: str, model: Observation, what: str) -> None:
    """Reject options that need the confusion of each labeler."""
    if isinstance(model, Voted):
        raise InputError(f"{what}: given with model {name} and more than {MOST_CLASSES} classes; allowed with fewer")
