"""Measures of how good answers are: of probabilities against truth, of estimates against true values, of paired runs.

Plain functions on the host (NumPy, float64). ``probability`` is P(z = +1), shape [I]; ``truth`` is -1/+1 or 0/1 with
NaN where it is not known, shape [I]: those instances are left out. A measure that is not defined (no positives, a
constant) is NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped

__all__ = [
    "Paired",
    "accuracy",
    "auc_pr",
    "auc_roc",
    "brier",
    "correlation",
    "coverage",
    "ece",
    "mean_absolute_error",
    "nll",
    "paired",
]

EPS = 1e-6  # probabilities are clipped to [EPS, 1 - EPS] before a logarithm is taken
ECE_BINS = 15
TIE = 1e-5  # a probability this close to one half is a tie: float32 sums of balanced votes miss it by rounding

Probability = Float[np.ndarray, " I"]
Truth = Shaped[np.ndarray, " I"]


def accuracy(probability: Probability, truth: Truth) -> float:
    """The share of instances whose more probable class is the true one; a probability of ½ (± ``TIE``) counts half.

    Example:
        >>> accuracy([0.9, 0.5, 0.2, 0.4], [1, 1, -1, np.nan])
        0.8333333333333334
    """
    p, y = _known(probability, truth)
    return _mean(np.where(abs(p - 0.5) <= TIE, 0.5, (p > 0.5) == y))


def auc_roc(probability: Probability, truth: Truth) -> float:
    """The chance that a random positive gets a higher probability than a random negative; a tie counts half.

    Example:
        >>> auc_roc([0.9, 0.5, 0.5, 0.1], [1, 1, 0, 0])
        0.875
    """
    p, y = _known(probability, truth)
    n_plus, n_minus = y.sum(), (~y).sum()
    if not (n_plus and n_minus):
        return np.nan
    _, position, count = np.unique(p, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[position]  # of ties: their average
    return float((rank[y].sum() - n_plus * (n_plus + 1) / 2) / (n_plus * n_minus))


def auc_pr(probability: Probability, truth: Truth) -> float:
    """Average precision: Σ_k (recall_k - recall_{k-1}) precision_k over the distinct probabilities, from the top.

    Example:
        >>> auc_pr([0.9, 0.8, 0.7], [1, 0, 1])
        0.8333333333333333
    """
    p, y = _known(probability, truth)
    if not y.any():
        return np.nan
    value, position = np.unique(-p, return_inverse=True)
    hits = np.cumsum(np.bincount(position, y, len(value)))
    judged = np.cumsum(np.bincount(position, minlength=len(value)))
    return float((np.diff(hits, prepend=0) * hits / judged).sum() / y.sum())


def nll(probability: Probability, truth: Truth, eps: float = EPS) -> float:
    """Mean negative log-probability of the truth, in nats; probabilities are clipped to [eps, 1 - eps].

    Example:
        >>> round(nll([0.5, 1.0], [1, 0]), 2)       # (log 2 + log 1e6) / 2
        7.25
    """
    p, y = _known(probability, truth)
    p = np.clip(p, eps, 1 - eps)
    return _mean(-np.log(np.where(y, p, 1 - p)))


def brier(probability: Probability, truth: Truth) -> float:
    """Mean squared difference of probability and truth (0 or 1).

    Example:
        >>> round(brier([0.9, 0.5], [1, 0]), 2)
        0.13
    """
    p, y = _known(probability, truth)
    return _mean((p - y) ** 2)


def ece(probability: Probability, truth: Truth, n_bins: int = ECE_BINS) -> float:
    """Expected calibration error: |mean probability - share of positives| averaged over the instances' bins.

    The bins are ``n_bins`` intervals of P(z = +1) of equal width, [0, 1/n), ..., [(n-1)/n, 1].

    Example: said .8 of five, of which three are positive
        >>> round(ece([0.8] * 5, [1, 1, 1, 0, 0]), 2)
        0.2
    """
    p, y = _known(probability, truth)
    if not len(p):
        return np.nan
    bins = np.minimum((p * n_bins).astype(int), n_bins - 1)
    return float(np.abs(np.bincount(bins, p - y, n_bins)).sum() / len(p))


def correlation(estimate, true) -> float:
    """Pearson's correlation of two arrays of one shape; NaN where either is constant.

    Example:
        >>> round(correlation([1, 2, 3], [2, 4, 7]), 4)
        0.9934
    """
    a, b = np.ravel(estimate).astype(float), np.ravel(true).astype(float)
    a, b = a - a.mean(), b - b.mean()
    scale = np.sqrt((a @ a) * (b @ b))
    return float(a @ b / scale) if scale > 0 else np.nan


def mean_absolute_error(estimate, true) -> float:
    """Mean absolute difference of two arrays of one shape.

    Example:
        >>> mean_absolute_error([1, 2], [1, 4])
        1.0
    """
    return _mean(np.abs(np.asarray(estimate, float) - np.asarray(true, float)))


def coverage(lower, upper, true) -> float:
    """The share of true values inside their intervals, ends included.

    Example:
        >>> coverage([0, 0], [1, 1], [0.5, 2])
        0.5
    """
    true = np.asarray(true)
    return _mean((np.asarray(lower) <= true) & (true <= np.asarray(upper)))


def krippendorff_alpha(unit: Int[np.ndarray, " N"], value: Shaped[np.ndarray, " N"]) -> float:
    """Krippendorff's α of nominal values: 1 where all values of a unit agree, 0 where they do as by chance.

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
    """How one method compares with another on the same draws: mean of the differences, its standard error, and the
    share of draws on which it wins (a tie counts half).

    Example:
        >>> Paired(0.1, 0.05, 0.8).wins
        0.8
    """

    difference: float
    standard_error: float
    wins: float


def paired(values: Float[np.ndarray, " R"], against: Float[np.ndarray, " R"]) -> Paired:
    """Compares two methods draw by draw, larger being better.

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
}  # the measures of probabilities against truth, by name


def _known(probability, truth):
    """Probabilities and truths (as booleans) of the instances whose truth is known."""
    p, y = np.asarray(probability, float).ravel(), np.asarray(truth, float).ravel()
    if p.shape != y.shape:
        raise ValueError(f"lengths differ: probability {p.shape}, truth {y.shape}")
    known = ~np.isnan(y)
    return p[known], y[known] > 0


def _mean(values) -> float:
    values = np.asarray(values, float)
    return float(values.mean()) if values.size else np.nan
