"""Labels by instance and by (labeler, label): sums over either are the passes of EM.

Of one number a label NumPy's ``bincount`` is fast enough, and there before SciPy is imported; of K numbers a label
SciPy's product of a sparse matrix with a table is several times as fast, which few labels do not earn back.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy as np

from crowdjax.labels import Labels

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from scipy.sparse import csr_array


SPARSE_FROM = 100_000  # labels whose sums of a row each earn SciPy's import back


class Cells:
    """The labels of a fit: the cell (labeler, label) and the multiplicity of each, by instance.

    Attributes:
        labeler, label, instance: of each label.
        column: labeler and label, as one number.
        counts: multiplicities; None where all are 1.
        ends: where the labels of each instance begin and end.
        width: how many cells there are.

    Example:
        >>> found = Cells(Labels.from_arrays([0, 1, 0], [0, 0, 1], [1, 0, 1]))
        >>> found.by_instance(np.array([1.0, 10.0, 100.0, 0.0])).tolist(), found.by_cell(np.array([1.0, 5.0])).tolist()
        ([110.0, 10.0], [0.0, 6.0, 1.0, 0.0])
        >>> found.matrix().toarray().tolist()
        [[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
    """

    def __init__(self, labels: Labels):
        label = np.asarray(labels.label)
        real = label >= 0
        instance, labeler = np.asarray(labels.instance)[real], np.asarray(labels.labeler)[real]
        self.labeler, self.label = labeler, label[real]
        self.n_labelers, self.n_values = labels.n_labelers, labels.n_values
        self.width = labels.n_labelers * labels.n_values
        self.column = labeler.astype(np.int64) * labels.n_values + self.label
        self.counts = None if labels.weight is None else np.asarray(labels.weight, np.float64)[real]
        self.each: Int[np.ndarray, " I"] = np.bincount(instance, minlength=labels.n_instances)
        self.instance = instance.astype(np.int64)
        self.totals: Float[np.ndarray, " C"] = self.summed(self.column, None, self.width)

    def by_instance(self, of_cell: Float[np.ndarray, " C"]) -> Float[np.ndarray, " I"]:
        """Sum over each instance the numbers of its labels' cells."""
        return self.summed(self.instance, of_cell[self.column], len(self.each))

    def by_cell(self, of_instance: Float[np.ndarray, " I"]) -> Float[np.ndarray, " C"]:
        """Sum over each cell the numbers of its labels' instances."""
        return self.summed(self.column, np.repeat(of_instance, self.each), self.width)

    def votes(self) -> Float[np.ndarray, "I L"]:
        """Count how often each instance has each label."""
        cell = self.instance * self.n_values + self.label
        return self.summed(cell, None, len(self.each) * self.n_values).reshape(-1, self.n_values)

    def matrix(self) -> csr_array:
        """Return the multiplicities, [I, C]."""
        return self._sparse(self.column, self.width)

    @functools.cached_property
    def _of_labelers(self) -> csr_array | None:
        """The multiplicities, [I, W]; None of few labels."""
        return None if len(self.labeler) < SPARSE_FROM else self._sparse(self.labeler, self.n_labelers)

    def rows_by_instance(self, of_labeler: Float[np.ndarray, "B W"]) -> Float[np.ndarray, "B I"]:
        """Sum over each instance the columns of its labels' labelers."""
        if self._of_labelers is not None:
            return (self._of_labelers @ of_labeler.T).T
        each = [self.summed(self.instance, row[self.labeler], len(self.each)) for row in of_labeler]
        return np.stack(each)

    def rows_by_labeler(self, of_instance: Float[np.ndarray, "B I"]) -> Float[np.ndarray, "B W"]:
        """Sum over each labeler the columns of its labels' instances."""
        if self._of_labelers is not None:
            return (self._of_labelers.T @ of_instance.T).T
        each = [self.summed(self.labeler, np.repeat(row, self.each), self.n_labelers) for row in of_instance]
        return np.stack(each)

    def summed(self, slot: Int[np.ndarray, " N"], values: Float[np.ndarray, " N"] | None, n: int):
        """Return the sums [n] of the values of labels (None: 1), with their multiplicities, by slot."""
        weight = self.counts if values is None else values if self.counts is None else values * self.counts
        return np.bincount(slot, weight, n).astype(np.float64)

    def _sparse(self, column, width: int) -> csr_array:
        from scipy.sparse import csr_array

        kind = np.int32 if max(width, len(column)) < 2**31 else np.int64
        counts = np.ones(len(column)) if self.counts is None else self.counts
        ends = np.r_[0, np.cumsum(self.each)].astype(kind)
        return csr_array((counts, column.astype(kind), ends), (len(self.each), width))


def expit(t):
    """Return σ(t), without overflow.

    Example:
        >>> float(expit(np.float64(-800.0))), float(expit(0.0))
        (0.0, 0.5)
    """
    e = np.exp(-np.abs(t))
    return np.where(np.asarray(t) < 0, e, 1.0) / (1 + e)


def log_sigmoid(t):
    """Return log σ(t), exact in both tails.

    Example:
        >>> float(log_sigmoid(np.float64(-800.0)))
        -800.0
    """
    return np.minimum(t, 0) - np.log1p(np.exp(-np.abs(t)))
