"""Labels as a sparse matrix of instances by (labeler, label): its products with tables are the passes of EM."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from crowdjax.labels import Labels


def cells(labels: Labels) -> csr_array:
    """The multiplicity of each label, [I, W·L]: rows by instance, columns by labeler and label.

    Example:
        >>> cells(Labels.from_arrays([0, 1, 0], [0, 0, 1], [1, 0, 1])).toarray().tolist()
        [[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0]]
    """
    label, width = np.asarray(labels.label), labels.n_labelers * labels.n_values
    real = label >= 0
    instance, labeler = np.asarray(labels.instance)[real], np.asarray(labels.labeler)[real]
    kind = np.int32 if max(width, len(label)) < 2**31 else np.int64
    column = labeler.astype(kind) * kind(labels.n_values) + label[real].astype(kind)
    counts = np.ones(len(column)) if labels.weight is None else np.asarray(labels.weight, np.float64)[real]
    ends = np.cumsum(np.bincount(instance, minlength=labels.n_instances))
    return csr_array((counts, column, np.r_[0, ends].astype(kind)), (labels.n_instances, width))


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
