"""Metrics of probabilities against truth, of estimates against true values, and of paired runs.

Plain functions on the host (NumPy, float64). For two classes ``probability`` is P(z = +1), shape [I], and ``truth`` is
-1/+1 or 0/1; for K classes ``probability`` is P(z = k), shape [I, K], and ``truth`` is 0 to K-1, or -1 where unknown.
NaN means unknown in both. Instances with unknown truth are left out. A metric that is undefined (no positives, a
constant) is NaN.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

__all__ = [
    "Paired",
    "accuracy",
    "auc_pr",
    "auc_roc",
    "brier",
    "confusion",
    "correlation",
    "coverage",
    "ece",
    "mean_absolute_error",
    "nll",
    "paired",
    "per_class",
]

EPS = 1e-6  # probabilities are clipped to [EPS, 1 - EPS] before a logarithm is taken
ECE_BINS = 15
TIE = 1e-5  # a probability this close to one half is a tie: float32 sums of balanced votes miss it by rounding

Probability = Float[np.ndarray, " I"] | Float[np.ndarray, "I K"]
Truth = Shaped[np.ndarray, " I"]


def accuracy(probability: Probability, truth: Truth) -> float:
    """Compute the share of instances whose most probable class is the true one.

    Of classes within ``TIE`` of the most probable one, a true one counts as one over their number: a probability of ½
    counts half.

    Example:
        >>> accuracy([0.9, 0.5, 0.2, 0.4], [1, 1, -1, np.nan])
        0.8333333333333334
        >>> accuracy([[0.8, 0.1, 0.1], [0.4, 0.4, 0.2]], [0, 1])
        0.75
    """
    p, y = _known(probability, truth)
    if p.ndim == 1:
        return _mean(np.where(abs(p - 0.5) <= TIE, 0.5, (p > 0.5) == y))
    top = p >= p.max(1, keepdims=True) - TIE
    return _mean(_true(top, y) / top.sum(1))


def auc_roc(probability: Probability, truth: Truth) -> float:
    """Compute the probability that a random positive is ranked above a random negative (AUC-ROC); a tie counts half.

    Of K classes: the mean over the classes, each against the rest, where it is defined (:func:`per_class`).

    Example:
        >>> auc_roc([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0])
        0.875
    """
    p, y = _known(probability, truth)
    if p.ndim == 2:
        return _mean_of_defined(per_class(auc_roc, p, y))
    n_plus, n_minus = y.sum(), (~y).sum()
    if not (n_plus and n_minus):
        return np.nan
    _, position, count = np.unique(p, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[position]  # of ties: their average
    return float((rank[y].sum() - n_plus * (n_plus + 1) / 2) / (n_plus * n_minus))


def auc_pr(probability: Probability, truth: Truth) -> float:
    """Compute the average precision Σ_k (recall_k - recall_{k-1}) precision_k over the distinct probabilities, in
    descending order.

    Of K classes: the mean over the classes, each against the rest, where it is defined (:func:`per_class`).

    Example:
        >>> auc_pr([0.9, 0.8, 0.7], [1, 0, 1])
        0.8333333333333333
    """
    p, y = _known(probability, truth)
    if p.ndim == 2:
        return _mean_of_defined(per_class(auc_pr, p, y))
    if not y.any():
        return np.nan
    value, position = np.unique(-p, return_inverse=True)
    hits = np.cumsum(np.bincount(position, y, len(value)))
    judged = np.cumsum(np.bincount(position, minlength=len(value)))
    return float((np.diff(hits, prepend=0) * hits / judged).sum() / y.sum())


def per_class(
    measure: Callable[[np.ndarray, np.ndarray], float], probability: Float[np.ndarray, "I K"], truth: Truth
) -> Float[np.ndarray, " K"]:
    """Apply a measure of two classes for each of K classes against the rest.

    Example: the separation of the classes
        >>> p = [[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.2, 0.3, 0.5], [0.4, 0.4, 0.2]]
        >>> per_class(auc_roc, p, [0, 1, 2, 2]).tolist()
        [1.0, 1.0, 0.75]
    """
    p, z = _known(probability, truth)
    return np.array([measure(column, z == k) for k, column in enumerate(p.T)])


def confusion(answer: Int[np.ndarray, " I"], truth: Truth, n_classes: int | None = None) -> Int[np.ndarray, "K K"]:
    """Count the instances of each true class (rows) by inferred class (columns).

    Args:
        answer: inferred class of each instance, 0 to K-1: ``probability.argmax(1)``.
        truth: true class, 0 to K-1; -1 or NaN where unknown.
        n_classes: K; default: one more than the largest class.

    Example:
        >>> confusion([0, 2, 2, 1], [0, 1, 2, -1]).tolist()
        [[1, 0, 0], [0, 0, 1], [0, 0, 1]]
    """
    answer, z = np.ravel(answer), np.ravel(np.asarray(truth, float))
    _same_length(answer, z)
    answer, z = answer[z >= 0].astype(int), z[z >= 0].astype(int)
    n = 1 + max(answer.max(initial=-1), z.max(initial=-1)) if n_classes is None else n_classes
    return np.bincount(z * n + answer, minlength=n * n).reshape(n, n)


def nll(probability: Probability, truth: Truth, eps: float = EPS) -> float:
    """Compute the mean negative log-probability of the truth, in nats; probabilities are clipped to [eps, 1 - eps].

    Example:
        >>> round(nll([0.5, 1.0], [1, 0]), 2)       # (log 2 + log 1e6) / 2
        7.25
    """
    p, y = _known(probability, truth)
    return _mean(-np.log(np.clip(_true(p, y), eps, 1 - eps)))


def brier(probability: Probability, truth: Truth) -> float:
    """Compute the Brier score: the mean squared difference of probability and truth (0 or 1); for K classes summed over
    the classes.

    K = 2 classes of shape [I, 2] therefore give twice what P(z = +1) gives.

    Example:
        >>> round(brier([0.9, 0.5], [1, 0]), 2)
        0.13
        >>> round(brier([[0.8, 0.1, 0.1]], [0]), 2)
        0.06
    """
    p, y = _known(probability, truth)
    return _mean((p - y) ** 2 if p.ndim == 1 else ((p - np.eye(p.shape[1])[y]) ** 2).sum(1))


def ece(probability: Probability, truth: Truth, n_bins: int = ECE_BINS) -> float:
    """Compute the expected calibration error: |mean probability - share of positives| averaged over the instances'
    bins.

    The bins are ``n_bins`` intervals of P(z = +1) of equal width, [0, 1/n), ..., [(n-1)/n, 1]. Of K classes they are
    intervals of the greatest probability, and the positives are the instances of which that class (of several, the
    first) is the true one.

    Example: said .8 of five, of which three are positive
        >>> round(ece([0.8] * 5, [1, 1, 1, 0, 0]), 2)
        0.2
    """
    p, y = _known(probability, truth)
    if not len(p):
        return np.nan
    if p.ndim == 2:
        p, y = p.max(1), p.argmax(1) == y
    bins = np.minimum((p * n_bins).astype(int), n_bins - 1)
    return float(np.abs(np.bincount(bins, p - y, n_bins)).sum() / len(p))


def correlation(estimate, true) -> float:
    """Compute Pearson's correlation of two arrays of one shape; NaN where either is constant.

    Example:
        >>> round(correlation([1, 2, 3], [2, 4, 7]), 4)
        0.9934
    """
    a, b = np.ravel(estimate).astype(float), np.ravel(true).astype(float)
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else np.nan


def mean_absolute_error(estimate, true) -> float:
    """Compute the mean absolute difference of two arrays of one shape.

    Example:
        >>> mean_absolute_error([1, 2], [1, 4])
        1.0
    """
    return _mean(np.abs(np.asarray(estimate, float) - np.asarray(true, float)))


def coverage(lower, upper, true) -> float:
    """Compute the share of true values inside their intervals, ends included.

    Example:
        >>> coverage([0, 0], [1, 1], [0.5, 2])
        0.5
    """
    true = np.asarray(true)
    return _mean((np.asarray(lower) <= true) & (true <= np.asarray(upper)))


def krippendorff_alpha(unit: Int[np.ndarray, " N"], value: Shaped[np.ndarray, " N"]) -> float:
    """Compute Krippendorff's α of nominal values: 1 where all values of an instance agree, 0 where they do as by
    chance.

        α = 1 - (n - 1) Σ_u Σ_{c≠k} n_uc n_uk / (m_u - 1)  /  Σ_{c≠k} n_c n_k

    n_uc counts the values c of unit u, m_u all of them; units with one value are left out. NaN without a pair of
    values, or where they are all the same. Linear in N, times the number of distinct values.

    Args:
        unit: what each value is about.
        value: nominal, one by each coder of a unit.

    Example:
        >>> round(krippendorff_alpha([0, 0, 1, 1, 2, 2, 3], [1, 1, 0, 0, 1, 0, 1]), 3)
        0.444

    Source: Krippendorff, Computing Krippendorff's alpha-reliability (2011).
    """
    units, unit = np.unique(unit, return_inverse=True)
    values, value = np.unique(value, return_inverse=True)
    counts = np.stack([np.bincount(unit[value == c], minlength=len(units)) for c in range(len(values))], 1)
    counts = counts[counts.sum(1) > 1].astype(float)
    m, each = counts.sum(1), counts.sum(0)
    n, different = m.sum(), each.sum() ** 2 - (each**2).sum()
    if different == 0:
        return float("nan")
    return float(1 - (n - 1) * ((m**2 - (counts**2).sum(1)) / (m - 1)).sum() / different)


class Paired(NamedTuple):
    """A paired comparison of two methods on the same draws: the mean difference, its standard error, and the share of
    draws won (a tie counts half).

    Example:
        >>> Paired(0.1, 0.05, 0.8).wins
        0.8
    """

    difference: float
    standard_error: float
    wins: float


def paired(values: Float[np.ndarray, " R"], against: Float[np.ndarray, " R"]) -> Paired:
    """Compare two methods draw by draw, where larger is better: the mean difference, its standard error and the share
    of wins.

    The standard error is that of independent draws; draws that share most of their labels are not, so it says how well
    the mean over such draws is known, not over new data.

    Example:
        >>> print("{:.2f} {:.2f} {:.2f}".format(*paired([0.8, 0.9, 0.7], [0.7, 0.9, 0.5])))
        0.10 0.06 0.83
    """
    d = np.asarray(values, float) - np.asarray(against, float)
    error = d.std(ddof=1) / np.sqrt(len(d)) if len(d) > 1 else np.nan
    return Paired(_mean(d), float(error), _mean(np.where(d == 0, 0.5, d > 0)))


BINARY = {
    "accuracy": accuracy,
    "auc_roc": auc_roc,
    "auc_pr": auc_pr,
    "nll": nll,
    "brier": brier,
    "ece": ece,
}  # the measures of probabilities against truth, by name; of K classes as well


def _known(probability, truth):
    """Return probabilities and truths (booleans, or classes of K) of the instances whose truth is known."""
    p, y = np.asarray(probability, float), np.asarray(truth, float).ravel()
    of_classes = p.ndim == 2
    p = p if of_classes else p.ravel()
    _same_length(p, y)
    known = y >= 0 if of_classes else ~np.isnan(y)
    p, y = p[known], y[known]
    if of_classes and y.max(initial=0) >= p.shape[1]:
        raise ValueError(f"truth: got class {y.max():g}; allowed: 0 to {p.shape[1] - 1}, or -1 where it is not known")
    return p, (y.astype(int) if of_classes else y > 0)


def _same_length(a, truth):
    if len(a) != len(truth):
        raise ValueError(f"lengths differ: {len(a)} instances, truth of {len(truth)}")


def _true(values, y):
    """Return the values of the true class, [I] or [I, K]."""
    return np.where(y, values, 1 - values) if values.ndim == 1 else values[np.arange(len(y)), y]


def _mean_of_defined(values) -> float:
    return _mean(values[~np.isnan(values)])


def _mean(values) -> float:
    values = np.asarray(values, float)
    return float(values.mean()) if values.size else np.nan
