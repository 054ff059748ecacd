"""Summaries of labelers for every model, and statistics of labels that need no model; on the host, without JAX.

informedness = (mean chance over classes that a label is right - 1/K) / (1 - 1/K)      0: a guess; 1: always right
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crowdjax.labels import Labels

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int

LEVEL = 0.95  # of every interval of crowdjax, unless another is asked for
DOUBT = 0.2  # κ of the integrated models: what is not known of a labeler's distance from guessing
RARE_VOTES = 0.3  # share of the labels for the rarer class, below which a fit may take the other class for both
NEAR = 4  # steps from labeler to labeler that are tried before a search in the whole graph
SPAM, EXPERT = 0.2, 0.6  # informedness of who is called a spammer, and an expert
Ends = tuple[np.ndarray, np.ndarray, np.ndarray]  # mean, lower and upper end


class Interval(NamedTuple):
    """An estimate and the lower and upper end of its interval.

    Example:
        >>> Interval(0.8, 0.7, 0.9).lower
        0.7
    """

    mean: Float[Array, "..."]
    lower: Float[Array, "..."]
    upper: Float[Array, "..."]


class Summary(NamedTuple):
    """Estimates of labelers with intervals (mean, lower, upper): accuracy [W], confusion [W, K, L] and informedness
    [W].

    Attributes:
        accuracy: weighted by the shares of classes in the posterior; NaN where labels are not the classes.
        confusion: P(label | class).
        informedness: mean over classes of the probability of being right, rescaled so that 0 is a guess and 1 always
            right; NaN where labels are not the classes.
        kind: kind of each labeler, where the posterior itself gives it; otherwise intervals do.

    Example:
        >>> Summary._fields
        ('accuracy', 'confusion', 'informedness', 'kind')
    """

    accuracy: Ends
    confusion: Ends
    informedness: Ends
    kind: np.ndarray | None = None


def corrected(balanced: Ends, n_classes: int) -> Ends:
    """Rescale the mean over classes of the chance to be right to informedness: 0 is a guess, 1 always right.

    Example:
        >>> [round(float(v), 2) for v in corrected((np.array(0.75), np.array(0.5), np.array(1.0)), 2)]
        [0.5, 0.0, 1.0]
    """
    return tuple((n_classes * end - 1) / (n_classes - 1) for end in balanced)  # pyright: ignore[reportReturnType]


def of_two(accuracy: Ends, sensitivity: Ends, specificity: Ends, informedness: Ends, kind=None) -> Summary:
    """Build the summary of labelers who give one of two classes.

    Example:
        >>> ends = tuple(np.array([v]) for v in (0.8, 0.7, 0.9))
        >>> [end.round(1).tolist() for end in of_two(ends, ends, ends, ends).confusion]
        [[[[0.8, 0.2], [0.2, 0.8]]], [[[0.7, 0.1], [0.1, 0.7]]], [[[0.9, 0.3], [0.3, 0.9]]]]
    """
    flipped = (0, 2, 1)  # what is the lower end of being right is the upper one of being wrong
    cells = [
        np.stack([specificity[n], 1 - specificity[f], 1 - sensitivity[f], sensitivity[n]], -1).reshape(-1, 2, 2)
        for n, f in enumerate(flipped)
    ]
    return Summary(accuracy, (cells[0], cells[1], cells[2]), informedness, kind)


def kinds(informedness: Interval, n_classes: int = 2) -> np.ndarray:
    """Classify each labeler by the interval of J_i, which is at least -1/(K-1). Host side.

    spammer    all of it between -.2/(K-1) and .2: the labels hardly depend on the instance
    adversary  all of it below 0: wrong more often than right
    expert     all of it above .6
    unknown    0 is in it: too few labels to tell
    ordinary   all others

    Example:
        >>> kinds(Interval(*np.array([[0.9, 0.0, -0.5], [0.7, -0.1, -0.8], [1.0, 0.1, -0.2]]))).tolist()
        ['expert', 'spammer', 'adversary']
    """
    _, lower, upper = map(np.asarray, informedness)
    of = [(lower > -SPAM / max(n_classes - 1, 1)) & (upper < SPAM), upper < 0, lower > EXPERT, lower <= 0]
    return np.select(of, ["spammer", "adversary", "expert", "unknown"], "ordinary")


def crowd_of(
    labeler: Int[np.ndarray, " N"],
    instance: Int[np.ndarray, " N"],
    n_labelers: int,
    n_instances: int,
) -> Int[np.ndarray, " W"]:
    """Find the connected component of the graph of labelers and instances that each labeler is in: 0 for the one of
    most labelers, then 1, ...; -1 for labelers without labels.

    Example:
        >>> crowd_of(np.array([0, 1, 2]), np.array([0, 1, 1]), 4, 2).tolist()
        [1, 0, 0, -1]
    """
    judging = np.bincount(labeler, minlength=n_labelers) > 0
    if _are_near(labeler, instance, judging, n_instances):
        return np.where(judging, 0, -1)
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    shape = (n_labelers + n_instances,) * 2
    graph = coo_array((np.ones(len(labeler), np.int8), (labeler, n_labelers + instance)), shape)
    part = connected_components(graph, directed=False)[1][:n_labelers]
    parts, sizes = np.unique(part[judging], return_counts=True)
    rank = np.full(shape[0], -1)
    rank[parts[np.argsort(-sizes, kind="stable")]] = np.arange(len(parts))
    return np.where(judging, rank[part], -1)


def _are_near(labeler, instance, judging, n_instances: int) -> bool:
    """Return whether all labelers are within a few steps of the busiest one, as they are in most crowds."""
    near = np.zeros_like(judging)
    near[np.bincount(labeler).argmax() if len(labeler) else ()] = True
    for _ in range(NEAR):
        seen, reached = np.zeros(n_instances, bool), np.zeros_like(judging)
        seen[instance[near[labeler]]] = True
        reached[labeler[seen[instance]]] = True
        if (reached == judging).all():
            return True
        near = reached
    return False


def agreement_with_votes(gold: Float[np.ndarray, " I"], labels: Labels) -> tuple[float, int, float]:
    """Compare gold with the majority vote: the number of gold labels that agree with it (a tie counts in part), the
    number compared, and the probability of so few if one in K agreed. Host side.

    Args:
        gold: codes, NaN (or -1) where unknown.

    Example: one of three
        >>> labels = Labels.from_arrays([0, 0, 0], [0, 1, 2], [1, 1, 0])
        >>> agreement_with_votes(np.array([0.0, 1.0, 1.0]), labels)
        (1.0, 3, 0.5)
    """
    from scipy.special import bdtr

    k, gold = labels.n_classes, np.asarray(gold, np.float64)
    place = np.cumsum(gold >= 0) - 1  # of the instances with gold, among themselves
    its = np.asarray(labels.instance)
    use = (np.asarray(labels.label) >= 0) & (gold[its] >= 0)
    cell = k * place[its[use]].astype(np.int64) + np.asarray(labels.label)[use]
    n = np.count_nonzero(gold >= 0)
    votes = np.bincount(cell, np.asarray(labels.counts, np.float64)[use], k * n).reshape(n, k)
    judged = votes.sum(1) > 0
    votes, known = votes[judged], gold[gold >= 0][judged].astype(int)
    if not len(known):
        return 0.0, 0, 1.0
    most = votes == votes.max(1, keepdims=True)
    agreeing = float((most[np.arange(len(known)), known] / most.sum(1)).sum())
    return agreeing, len(known), float(bdtr(np.floor(agreeing), len(known), 1 / k))


def in_sd(level: float) -> float:
    """Compute half the width of a normal interval of this level, in standard deviations.

    Example:
        >>> round(in_sd(0.95), 2)
        1.96
    """
    return NormalDist().inv_cdf((1 + level) / 2)


FLAT, FIXED = 1e6, 1e-12  # variances beyond which a prior says nothing, or all
MOST_SAID = 1e12  # labels, beyond which SciPy's quantiles are wrong, and an interval is some 2e-6 wide
HIDDEN = 0.98  # the most that unknown truths take away of what known ones would say: fits are not quite at a maximum


def without(precision: Float[np.ndarray, "W P P"], missing: Float[np.ndarray, "W P P"]) -> Float[np.ndarray, "W P P"]:
    """Compute (precision - missing)⁻¹, where what is missing is at most 98 % of what there is in any direction; NaN
    where either has NaN.

    Example: half of what known truths would say
        >>> without(np.array([[[4.0]]]), np.array([[[2.0]]])).round(3).tolist()
        [[[0.5]]]
    """
    known = np.isfinite(precision + missing).all((1, 2), keepdims=True)
    precision, missing = np.where(known, precision, np.eye(precision.shape[1])), np.where(known, missing, 0)
    curvature, axis = np.linalg.eigh(precision)
    least = np.finfo(float).eps * curvature[:, -1:]  # rounding, of labels of enormous weights
    root = axis / np.sqrt(np.maximum(curvature, least))[:, None]
    share, direction = np.linalg.eigh(root.swapaxes(1, 2) @ missing @ root)
    root = root @ direction / np.sqrt(1 - np.clip(share, 0, HIDDEN))[:, None]
    return np.where(known, root @ root.swapaxes(1, 2), np.nan)


def intervals_of_two(
    chances,
    number: Float[np.ndarray, "W 2"],
    variances,
    level: float = LEVEL,
    unsure: Float[np.ndarray, "W 2"] | None = None,
) -> Summary:
    """Summarise labelers who give one of two classes, with intervals from Laplace's covariance of (s_i, γ_i).

        covariance⁻¹ = E[information, truths known] - Σ_j p_j (1 - p_j) Δ_j Δ_jᵀ
        Δ_j = ∂ log p(L_ij | z_j = 1) - ∂ log p(L_ij | z_j = 0)      by (s_i, γ_i)

    Unknown truths take away the second term (Louis 1982). Other labelers are held at their estimates, which still makes
    intervals a little narrow.

    Args:
        chances: sensitivity, specificity and accuracy, each [W].
        number: expected number of each labeler's labels on negatives and on positives.
        variances: prior variances of s_i and of γ_i; 0 where a labeler has no parameter of its own.
        unsure: Σ_j p_j (1 - p_j) over each labeler's labels, by their value (``result.unsure_of``); by default 0, as if
            truths were known.

    Example: more labels say more
        >>> found = intervals_of_two([np.full(2, 0.8)] * 3, np.array([[4, 4], [400, 400]]), (4.0, 4.0))
        >>> found.accuracy[1].round(2).tolist(), found.accuracy[2].round(2).tolist()
        ([0.45, 0.77], [0.95, 0.83])

    Example: truths in doubt say less
        >>> found = intervals_of_two([np.full(1, 0.8)] * 3, np.array([[40, 40]]), (4.0, 4.0), unsure=np.array([[5, 5]]))
        >>> found.accuracy[1].round(2).tolist(), found.accuracy[2].round(2).tolist()
        ([0.57], [0.92])
    """
    sens, spec, right = (np.clip(np.asarray(v, np.float64), 1e-6, 1 - 1e-6) for v in chances)
    minus, plus = np.asarray(number, np.float64).T
    variance = np.stack(np.broadcast_arrays(*variances, plus)[:2], -1)
    of_sens, of_spec = sens * (1 - sens), spec * (1 - spec)
    a, b = plus * of_sens, minus * of_spec
    same, cross = np.eye(2), np.eye(2)[::-1]
    precision = (a + b)[:, None, None] * same + (a - b)[:, None, None] * cross
    precision += same / np.clip(variance, FIXED, FLAT)[:, None]
    learnt = np.where((variance > 0).any(1), 1.0, np.nan)
    up, down = np.array([1.0, 1.0]), np.array([1.0, -1.0])
    between = [-sens[:, None] * up - (1 - spec)[:, None] * down, (1 - sens)[:, None] * up + spec[:, None] * down]
    missing = np.zeros((2, len(sens))) if unsure is None else np.asarray(unsure, np.float64).T
    covariance = without(precision, np.einsum("lw,lwp,lwq->wpq", missing, between, between))

    def sd(gradient):
        return learnt * np.sqrt(np.einsum("wi,wij,wj->w", gradient, covariance, gradient))

    z = NormalDist().inv_cdf((1 + level) / 2)

    def chance(mean, gradient) -> Ends:
        logit, half = np.log(mean) - np.log1p(-mean), z * sd(gradient) / (mean * (1 - mean))
        return mean, *(1 / (1 + np.exp(-logit - move)) for move in (-half, half))

    g_sens, g_spec = of_sens[:, None] * up, of_spec[:, None] * down
    on_positives = (plus / np.where(plus + minus > 0, plus + minus, 1))[:, None]
    on_positives = np.where((plus + minus > 0)[:, None], on_positives, 0.5)
    return of_two(
        chance(right, on_positives * g_sens + (1 - on_positives) * g_spec),
        chance(sens, g_sens),
        chance(spec, g_spec),
        corrected(chance((sens + spec) / 2, (g_sens + g_spec) / 2), 2),
    )


def summary_of_betas(a: Float[np.ndarray, "W K L"], share: Float[np.ndarray, " K"], level: float = LEVEL) -> Summary:
    """Summarise labelers whose columns P(label | class) have Dirichlet posteriors.

    Args:
        a: parameters of the columns, by class and label.
        share: P(class).

    Example: twice as likely right as wrong, of few labels
        >>> found = summary_of_betas(np.array([[[2.0, 1.0], [1.0, 2.0]]]), np.array([0.5, 0.5]))
        >>> found.accuracy[0].round(2).tolist()
        [0.67]
    """
    from scipy.special import betaincinv  # slow to import

    a = np.asarray(a, np.float64)
    whole = a.sum(2, keepdims=True)
    a = np.where(whole > MOST_SAID, np.maximum(a / whole * MOST_SAID, 1.0), a)
    whole = a.sum(2, keepdims=True)
    n = min(a.shape[1:])
    p = (a / whole)[:, np.arange(n), np.arange(n)]

    def mixed(share):
        variance = (share**2 * p * (1 - p) / (whole[:, :n, 0] + 1)).sum(1)
        mean = p @ share
        size = mean * (1 - mean) / variance - 1
        return mean * size, (1 - mean) * size

    def ends(a, b) -> Ends:
        tail = (1 - level) / 2
        return a / (a + b), betaincinv(a, b, tail), betaincinv(a, b, 1 - tail)

    share = np.asarray(share, np.float64)
    confusion, accuracy = ends(a, whole - a), ends(*mixed(share[:n]))
    balanced = ends(*mixed(np.full(n, 1 / n)))
    if a.shape[1] != a.shape[2]:
        accuracy = balanced = tuple(np.full(len(a), np.nan) for _ in range(3))
    return Summary(accuracy, confusion, corrected(balanced, a.shape[2]))


def share_of_labels(labels: Labels) -> float:
    """Compute the share of positive labels, with half a pseudo-count for each class.

    Example:
        >>> share_of_labels(Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 1, 0]))
        0.625
    """
    counts = np.asarray(labels.counts, np.float64)
    return float((counts[np.asarray(labels.label) > 0].sum() + 0.5) / (counts.sum() + 1))


def is_rare(labels: Labels) -> bool:
    """Test whether one of two classes has so few labels that a fit may mistake it for the other.

    Example:
        >>> is_rare(Labels.from_arrays(range(10), [0] * 10, [1] * 9 + [0]))
        True
    """
    share = share_of_labels(labels)
    return min(share, 1 - share) < RARE_VOTES
