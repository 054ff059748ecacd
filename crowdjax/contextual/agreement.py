"""Pairs of labelers whose labels go together more, or less, than the fitted functions of the score allow.

The model takes labels of an instance as independent given its truth and score. At a posterior draw, and with π the
chance that the instance is positive given its score and the labels of all others than a and b,

    r_a r_b = (L_a - m_a)(L_b - m_b)      m = π sens + (1 - π)(1 - spec)

has the mean π (1 - π) J_a J_b, J = sens + spec - 1, and twice the sum of r_a r_b less its mean is the excess of
agreements. It is a posterior predictive check: of every draw the tail of this sum among replicates, whose mean,
variance and skewness are known in closed form (a Pearson type III distribution stands for it), averaged over draws.
Errors of m_a, as where a labeler's functions have another shape than the fit's, enter as products of two. Gold is left
out of π, as it is often drawn by the labels.

Two labelers can always be explained by a truth, and three nearly always: an excess shows where there are more, or where
the score says much of the truth. It says that some share errors, not who: where most do, the fit has what they share
for the truth, and the others agree with each other beyond it. The posterior has bent to the labels as far as it can, so
that p-values are too large rather than too small.

Source: Gelman, Meng and Stern 1996 (posterior predictive assessment); Dendukuri and Joseph 2001 (covariance of
dependent tests).
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import numpy as np
from jaxtyping import Float

from crowdjax.contextual.data import prepare_data
from crowdjax.contextual.estimands import thinned
from crowdjax.contextual.inference import ContextualFit
from crowdjax.contextual.model import coefficients, tables, triples
from crowdjax.labels import Labels

LEVEL = 0.01  # chance of any alarm where labels are independent, shared out over the pairs
LEAST = 20  # instances that both labelers judged, from which a pair is looked at
MOST_PAIRS = 300_000  # pairs of labels; of more, instances are taken evenly
N_DRAWS = 100


class Pair(NamedTuple):
    """The agreement of two labelers, observed and as the fit expects it.

    Attributes:
        labelers: their indices.
        common: instances that both judged.
        observed: share of these on which they agree.
        expected: the share that their shared truth and score explain.
        p: two-sided posterior predictive p-value, times the number of pairs; at most 1.

    Example:
        >>> Pair((0, 1), 400, 0.93, 0.90, 0.002).p <= LEVEL
        True
    """

    labelers: tuple[int, int]
    common: int
    observed: float
    expected: float
    p: float


def agreement(fit: ContextualFit, labels: Labels, scores, *, cell=None, n_draws: int = N_DRAWS) -> tuple[Pair, ...]:
    """Compare the agreement of every pair of labelers with what the fit expects, the least likely first.

    Args:
        labels, scores, cell: of the fit.
        n_draws: posterior draws to average over.

    Returns:
        Pairs with at least ``LEAST`` instances in common; none of labels of fewer than three labelers.

    Example: three labelers who err independently
        >>> len(agreement(found, labels, scores)), min(pair.p for pair in agreement(found, labels, scores)) > LEVEL
        (3, True)
    """
    from scipy import special

    if len(np.unique(np.asarray(labels.labeler)[np.asarray(labels.counts) > 0])) < 3:
        return ()
    data = prepare_data(fit.config, labels, fit.scale(scores), fit.anchors or None, cell=cell)
    laid, draws = data.labels, thinned(fit, n_draws).draws
    first, second, pair, names = pairs_of(laid)
    if not len(names):
        return ()
    said, instance, real = np.asarray(laid.label), np.asarray(laid.instance), np.asarray(laid.counts) > 0
    count = np.bincount(pair, minlength=len(names))
    excess, lower, upper = np.zeros((3, len(names)))
    n = len(next(iter(draws.values())))
    for row in range(n):
        s, gamma, prior = (
            np.asarray(v, np.float64) for v in _seen(fit.config, data, {k: v[row] for k, v in draws.items()})
        )
        odds = np.where(said > 0, *(_log_ratio(y * gamma, y * s) for y in (1, -1))) * real
        rest = prior + np.bincount(instance, odds, len(prior))
        pi = special.expit(rest[instance[first]] - odds[first] - odds[second])
        yes = special.expit(gamma[:, None] + s[:, None] * np.array([-1, 1]))
        found = moments(yes[first], yes[second], pi, said[first], said[second])
        total, variance, third = (np.bincount(pair, v, len(names)) for v in found)
        below, above = tails(total, variance, third)
        excess, lower, upper = excess + 2 * total / count / n, lower + below / n, upper + above / n
    p = np.minimum(2 * np.minimum(lower, upper) * len(names), 1)
    alike = np.bincount(pair, said[first] == said[second], len(names)) / count
    out = [
        Pair((int(a), int(b)), int(n), float(seen), float(seen - e), float(q))
        for (a, b), n, seen, e, q in zip(names, count, alike, excess, p, strict=True)
    ]
    return tuple(sorted(out, key=lambda one: one.p))


@eqx.filter_jit
def _seen(config, data, draw):
    """Return (s, γ of every stored triple [N], logit π of every instance [I]) at a draw."""
    c = coefficients(config, data.basis, data.labeler_basis, draw)
    return triples(config, data, c, tables(config, data.basis, c))


def _log_ratio(bias, accuracy):
    """Return log σ(bias + accuracy) / σ(bias - accuracy): of a label's chances under both classes."""
    return np.logaddexp(0, accuracy - bias) - np.logaddexp(0, -accuracy - bias)


def pairs_of(labels: Labels):
    """Return (rows of the first and the second label of every pair of labels of an instance by different labelers,
    which pair of labelers it is, the pairs of labelers [P, 2]), of labelers with enough in common."""
    labeler, instance = np.asarray(labels.labeler), np.asarray(labels.instance)
    real = np.flatnonzero(np.asarray(labels.counts) > 0)
    real = real[np.lexsort((labeler[real], instance[real]))]
    each = np.bincount(instance[real])
    step = int(np.ceil((each * (each - 1) / 2).sum() / MOST_PAIRS))
    real = real[instance[real] % max(step, 1) == 0]
    first, second = [], []
    for gap in range(1, int(each.max(initial=0))):
        a, b = real[:-gap], real[gap:]
        same = (instance[a] == instance[b]) & (labeler[a] != labeler[b])
        first.append(a[same])
        second.append(b[same])
    first, second = (np.concatenate(v) if v else np.zeros(0, int) for v in (first, second))
    code = labeler[first].astype(np.int64) * labels.n_labelers + labeler[second]
    known, which, n = np.unique(code, return_inverse=True, return_counts=True)
    enough = n >= LEAST
    kept = enough[which]
    place = np.cumsum(enough) - 1
    return first[kept], second[kept], place[which[kept]], np.stack(np.divmod(known[enough], labels.n_labelers), 1)


def moments(a: Float[np.ndarray, "n 2"], b: Float[np.ndarray, "n 2"], pi: Float[np.ndarray, " n"], said_a, said_b):
    """Return (r_a r_b less its mean, its variance, its third central moment) of each pair of labels.

    Args:
        a, b: P(label 1 | class 0), P(label 1 | class 1) of both labels.
        pi: the prevalence.
        said_a, said_b: the labels, 0 or 1.

    Example: the mean over all labels is 0
        >>> a, b, pi = np.array([[0.1, 0.8]]), np.array([[0.2, 0.7]]), np.array([0.3])
        >>> chance = lambda i, j: sum(w * abs(1 - i - a[0, k]) * abs(1 - j - b[0, k]) for k, w in ((0, 0.7), (1, 0.3)))
        >>> total = sum(chance(i, j) * moments(a, b, pi, i, j)[0][0] for i in (0, 1) for j in (0, 1))
        >>> bool(abs(total) < 1e-12)
        True
    """
    weight = np.stack([1 - pi, pi], 1)
    mean_a, mean_b = (weight * a).sum(1), (weight * b).sum(1)

    def power(n: int):
        """Return E[(r_a r_b)^n], the labels independent given the class."""
        of = [p * (1 - m[:, None]) ** n + (1 - p) * (-m[:, None]) ** n for p, m in ((a, mean_a), (b, mean_b))]
        return (weight * of[0] * of[1]).sum(1)

    mean, square, cube = power(1), power(2), power(3)
    residual = (said_a - mean_a) * (said_b - mean_b) - mean
    return residual, square - mean**2, cube - 3 * mean * square + 2 * mean**3


def tails(total: Float[np.ndarray, " P"], variance: Float[np.ndarray, " P"], third: Float[np.ndarray, " P"]):
    """Return (P(at most), P(at least) the sum), by a Pearson type III distribution of the same three moments.

    A shifted gamma distribution of shape 4 / skewness².
    """
    from scipy import special

    variance = np.maximum(variance, np.finfo(float).tiny)
    skew = third / variance**1.5
    small = np.abs(skew) < 1e-3
    shape = 4 / np.where(small, 1, skew) ** 2
    z = total / np.sqrt(variance)
    at = np.maximum(shape + np.sign(skew) * np.sqrt(shape) * z, 0)  # the gamma variable
    low, high = special.gammainc(shape, at), special.gammaincc(shape, at)
    low, high = np.where(skew > 0, low, high), np.where(skew > 0, high, low)
    return np.where(small, special.ndtr(z), low), np.where(small, special.ndtr(-z), high)
