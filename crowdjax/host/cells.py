"""Labels by instance and by (labeler, label): sums over either are the passes of EM.

Of one number a label NumPy's ``bincount`` is fast enough, and there before SciPy is imported; of K numbers a label
SciPy's product of a sparse matrix with a table is several times as fast.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crowdjax.labels import Labels

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from scipy.sparse import csr_array


class Cells:
    """The labels of a fit: the cell (labeler, label) and the multiplicity of each, by instance.

    Attributes:
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
        self.width = labels.n_labelers * labels.n_values
        self.column = labeler.astype(np.int64) * labels.n_values + label[real]
        self.counts = None if labels.weight is None else np.asarray(labels.weight, np.float64)[real]
        self.each: Int[np.ndarray, " I"] = np.bincount(instance, minlength=labels.n_instances)
        self.instance = instance.astype(np.int64)
        self.totals: Float[np.ndarray, " C"] = np.bincount(self.column, self.counts, self.width).astype(np.float64)

    def by_instance(self, of_cell: Float[np.ndarray, " C"]) -> Float[np.ndarray, " I"]:
        """Of each instance the sum of the numbers of its labels' cells."""
        values = of_cell[self.column]
        return np.bincount(self.instance, values if self.counts is None else values * self.counts, len(self.each))

    def by_cell(self, of_instance: Float[np.ndarray, " I"]) -> Float[np.ndarray, " C"]:
        """Of each cell the sum of the numbers of its labels' instances."""
        values = np.repeat(of_instance, self.each)
        return np.bincount(self.column, values if self.counts is None else values * self.counts, self.width)

    def matrix(self) -> csr_array:
        """The multiplicities, [I, C]."""
        from scipy.sparse import csr_array

        kind = np.int32 if max(self.width, len(self.column)) < 2**31 else np.int64
        counts = np.ones(len(self.column)) if self.counts is None else self.counts
        ends = np.r_[0, np.cumsum(self.each)].astype(kind)
        return csr_array((counts, self.column.astype(kind), ends), (len(self.each), self.width))


def expit(t):
    """σ(t), without overflow.

    Example:
        >>> float(expit(np.float64(-800.0))), float(expit(0.0))
        (0.0, 0.5)
    """
    e = np.exp(-np.abs(t))
    return np.where(np.asarray(t) < 0, e, 1.0) / (1 + e)


def log_sigmoid(t):
    """log σ(t), exact in both tails.

    Example:
        >>> float(log_sigmoid(np.float64(-800.0)))
        -800.0
    """
    return np.minimum(t, 0) - np.log1p(np.exp(-np.abs(t)))
