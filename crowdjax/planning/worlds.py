"""Populations and crowds for planning: scores, prevalence and labelers, drawn anew for every simulated crowd.

    from_pilot       the posterior of a contextual fit: its functions, its labelers and more of the same crowd
    from_assumptions a rate, how well the score tells (AUC), the labelers' sensitivity and specificity and their spread

A world is the population and a function of a random generator that draws the three functions; ``crowd`` samples
instances and labels of one such draw.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int
from scipy import special

from crowdjax import contextual
from crowdjax.contextual import Allocation, ContextualFit
from crowdjax.labels import InputError

Sampling = Literal["pilot", "random", "optimal"]
MOST_PEOPLE = 256  # rows that stand for the population: more are put together by quantiles of the score
SMOOTH = 100_000  # quantiles of the normal distribution, where no scores are given
STEEPEST = 32.0  # slope of the logit of the prevalence
LITTLE = 1e-12  # of a prevalence
KERNEL = 0.2  # width of what counts as near a rate, in posterior standard deviations of its logit
N_DRAWS = 400  # posterior draws of a pilot that crowds are made of


class Truth(NamedTuple):
    """The true functions of a crowd at the population's rows: prevalence [K], sensitivity and specificity [W, K].

    Example:
        >>> Truth(np.array([0.5]), np.full((2, 1), 0.9), np.full((2, 1), 0.8)).sensitivity.shape
        (2, 1)
    """

    prevalence: Float[np.ndarray, " K"]
    sensitivity: Float[np.ndarray, "W K"]
    specificity: Float[np.ndarray, "W K"]


@dataclasses.dataclass(frozen=True, eq=False)
class World:
    """A population, and the sampler of the functions of a crowd that labels it.

    Attributes:
        scores: rows of the population, shape [K, C]; [:, 0] is the score that sampling goes by.
        counts: how many instances each row stands for, shape [K].
        chance: in proportion to the chance that an instance of each row is sampled, shape [K].
        draw: generator -> Truth.
        mean: the mean prevalence of each row, shape [K], for the allocation.
        whole: whether the population's scores are known when its prevalence is estimated.
        weighted: whether sampling is by other chances than the same for all.

    Example:
        >>> world = from_assumptions(rate=0.2, auc=0.8, sensitivity=0.8, specificity=0.9, n_labelers=4)
        >>> drawn = world.draw(np.random.default_rng(0))
        >>> round(float(np.average(world.mean, weights=world.counts)), 3), len(drawn.sensitivity)
        (0.2, 4)
    """

    scores: Float[np.ndarray, "K C"]
    counts: Float[np.ndarray, " K"]
    chance: Float[np.ndarray, " K"]
    draw: Callable[[np.random.Generator], Truth]
    mean: Float[np.ndarray, " K"]
    whole: bool
    weighted: bool

    def allocation(self, n: int) -> Allocation:
        """Compute the optimal allocation of n instances to strata of the score, from the mean prevalence."""
        return contextual.allocate(self.scores[:, 0], self.counts, self.mean, n)


class Crowd(NamedTuple):
    """Labels of a sample, k of each of n instances, and the truth.

    Attributes:
        row: the population's row of each instance, shape [n].
        weight: how many of the population each stands for, shape [n].
        truth: 0 or 1, shape [n].
        labeler, label: of each instance in turn, shape [n, k].
        rate: share of positives in the population.
        n_labelers: how many labelers there are.

    Example:
        >>> Crowd._fields[:5]
        ('row', 'weight', 'truth', 'labeler', 'label')
    """

    row: Int[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"]
    truth: Int[np.ndarray, " n"]
    labeler: Int[np.ndarray, "n k"]
    label: Int[np.ndarray, "n k"]
    rate: float
    n_labelers: int


def crowd(world: World, n: int, k: int, sampling: Sampling, rng: np.random.Generator) -> Crowd:
    """Sample n instances and k labels of each, by different labelers drawn at random.

    Example:
        >>> world = from_assumptions(rate=0.2, auc=0.8, sensitivity=0.8, specificity=0.9, n_labelers=4)
        >>> found = crowd(world, 100, 3, "random", np.random.default_rng(0))
        >>> found.label.shape, round(float(found.weight.sum() / world.counts.sum()), 6)
        ((100, 3), 1.0)
    """
    truth, total = world.draw(rng), world.counts.sum()
    if sampling == "optimal":
        found = world.allocation(n)
        at = found.stratum(world.scores[:, 0])
        rows = [rng.choice(members := np.flatnonzero(at == h), m, p=world.counts[members] / world.counts[members].sum())
                for h, m in enumerate(found.items) if m]  # fmt: skip
        row = np.concatenate(rows)
        weight = (1 / found.chance)[at[row]]
    else:
        size = world.counts * (world.chance if sampling == "pilot" else 1.0)
        expected = n * size / size.sum()
        row = np.repeat(np.arange(len(size)), _systematic_counts(rng, expected))
        weight = (world.counts / expected)[row]
    order = rng.permutation(len(row))
    row, weight = row[order], weight[order]
    positive = (rng.random(n) < truth.prevalence[row]).astype(np.int8)
    n_labelers = len(truth.sensitivity)
    labeler = rng.random((n, n_labelers)).argsort(1)[:, :k]
    right = np.where(
        positive[:, None] > 0, truth.sensitivity[labeler, row[:, None]], truth.specificity[labeler, row[:, None]]
    )
    label = (rng.random(right.shape) < right) == (positive[:, None] > 0)
    rate = float(np.average(truth.prevalence, weights=world.counts))
    return Crowd(row, weight * (total / weight.sum()), positive, labeler, label.astype(np.int8), rate, n_labelers)


def _systematic_counts(rng: np.random.Generator, expected: Float[np.ndarray, " K"]) -> Int[np.ndarray, " K"]:
    """Return how often each row is drawn, of the given expectations, whose sum is whole: equal steps in random
    order."""
    order = rng.permutation(len(expected))
    ends = np.r_[0, np.cumsum(expected[order])]
    ends *= round(ends[-1]) / ends[-1]
    counts = np.zeros(len(expected), int)
    counts[order] = np.diff(np.floor(ends + rng.random() - 1e-9).astype(int))
    return counts


def from_pilot(
    fit: ContextualFit,
    scores: Float[np.ndarray, "I C"],
    weights: Float[np.ndarray, " I"] | None,
    population: tuple[Float[np.ndarray, "K C"], Float[np.ndarray, " K"]] | None,
    *,
    rate: float | None = None,
    n_labelers: int | None = None,
    size: float | None = None,
    seed: int = 0,
) -> World:
    """Build the world of a contextual fit from its posterior mean functions, shifted to the rate where it is known.

    Means and not draws: with them widths of crowds differ less, so that fewer are needed.

    Args:
        fit, scores, weights, population: of the pilot.
        rate: the population's share of positives: draws near it are taken, their prevalence's logit shifted to it.
        n_labelers: those of the pilot come first, others are drawn from its crowd.
        size: how many instances the population has, where the pilot does not say.
        seed: draws the labelers that are new, and which draws there are.

    """
    known = len(fit.labels_per_labeler)
    n_labelers = n_labelers or known
    who = np.r_[np.arange(min(known, n_labelers)), np.full(max(n_labelers - known, 0), -1)]
    if population is not None:
        rows, counts = _compressed(*population)
    else:
        rows, counts = _compressed(scores, np.ones(len(scores)) if weights is None else weights)
    if size is not None:
        counts = counts * (size / counts.sum())
    chance = np.ones(len(counts))
    if weights is not None:
        order = np.argsort(scores[:, 0], kind="stable")
        chance = np.exp(np.interp(rows[:, 0], scores[order, 0], -np.log(weights[order])))
    wider = contextual.with_labelers(contextual.thinned(fit, N_DRAWS), who, jax.random.key(seed))
    alike = fit.config.labelers == "global"
    found = contextual.labeler_draws(wider, rows, np.zeros(1, int) if alike else np.arange(n_labelers))
    pi, *accuracies = (special.logit(np.clip(np.asarray(v, np.float64), LITTLE, 1 - LITTLE)) for v in found)
    often = np.full(len(pi), 1 / len(pi))
    if rate is not None:
        often = _near(special.expit(pi) @ counts / counts.sum(), rate)
    prevalence = often @ special.expit(pi)
    if rate is not None:
        prevalence = _shifted(special.logit(prevalence), counts, rate)
    new = np.zeros(accuracies[0].shape[1], bool) if alike else who < 0
    means = [np.tensordot(often, each, 1) for each in accuracies]  # [W, K]

    def draw(rng: np.random.Generator) -> Truth:
        s = rng.choice(len(often), p=often)
        both = []
        for mean, each in zip(means, accuracies, strict=True):
            crowd_mean = mean[~new].mean(0) + each[s] - each[s][~new].mean(0)  # a new one differs as in a draw
            both.append(special.expit(np.where(new[:, None], crowd_mean, mean)))
        return Truth(prevalence, *(np.broadcast_to(v, (n_labelers, len(counts))) for v in both))

    return World(rows, counts, chance, draw, prevalence, population is not None, weights is not None)


def _near(rates: Float[np.ndarray, " S"], rate: float) -> Float[np.ndarray, " S"]:
    """Return how often to take each draw, where the rate is known: the posterior given the rate, by a kernel on its
    logit.

    The rate and the labelers' accuracy go together in the posterior: the labels of draws of another rate would not be
    those that were seen. A rate beyond all draws is of another population, of which they say alike.

    Example:
        >>> _near(np.array([0.1, 0.2, 0.3]), 0.9).round(3).tolist()
        [0.333, 0.333, 0.333]
    """
    at = special.logit(np.clip(rates, LITTLE, 1 - LITTLE))
    far = (at - special.logit(rate)) / (KERNEL * max(at.std(), LITTLE))
    alike = np.full(len(rates), 1 / len(rates))
    if not at.min() <= special.logit(rate) <= at.max():
        return alike
    weight = np.exp(-0.5 * far**2)
    return weight / weight.sum() if weight.sum() > 1 else alike


def from_assumptions(
    *,
    rate: float,
    auc: float,
    sensitivity: float | tuple[float, float],
    specificity: float | tuple[float, float],
    spread: float = 0.4,
    n_labelers: int = 10,
    population: tuple[Float[np.ndarray, "K C"], Float[np.ndarray, " K"]] | None = None,
    size: float = 100_000,
) -> World:
    """Build the world of stated assumptions.

    The logit of the prevalence is a line in the normal score Φ⁻¹(rank) of the score, whose level and slope give the
    rate and the AUC. Labelers' logits of sensitivity and specificity differ by N(0, spread²).

    Args:
        sensitivity, specificity: of a typical labeler; two numbers: at the lowest and the highest score.
        population: scores and counts; by default scores are standard normal.
        size: how many instances the population has, where no table says so.

    Example: the population has the rate and the AUC that were asked for
        >>> world = from_assumptions(rate=0.01, auc=0.9, sensitivity=0.8, specificity=0.9)
        >>> round(auc_of(world.mean, world.counts), 3)
        0.9
    """
    if population is None:
        many = special.ndtri((np.arange(SMOOTH) + 0.5) / SMOOTH)[:, None]
        population = many, np.full(SMOOTH, size / SMOOTH)
    rows, counts = _compressed(*population)
    order = np.argsort(rows[:, 0], kind="stable")
    rank = np.empty(len(rows))
    rank[order] = (np.cumsum(counts[order]) - counts[order] / 2) / counts.sum()
    normal = special.ndtri(rank)
    low, high = 0.0, STEEPEST
    for _ in range(60):
        slope = (low + high) / 2
        found = auc_of(_shifted(slope * normal, counts, rate), counts)
        low, high = (slope, high) if found < auc else (low, slope)
    prevalence = _shifted(low * normal, counts, rate)
    if abs(auc_of(prevalence, counts) - auc) > 0.01:
        raise InputError(f"auc: got {auc}; no score of this population reaches it at a rate of {rate:g}; allowed: less")
    at = (rows[:, 0] - rows[:, 0].min()) / np.ptp(rows[:, 0])
    logits = [special.logit(np.interp(at, [0, 1], np.broadcast_to(p, 2))) for p in (sensitivity, specificity)]

    def draw(rng: np.random.Generator) -> Truth:
        offsets = spread * rng.standard_normal((2, n_labelers, 1))
        return Truth(prevalence, *(special.expit(line + e) for line, e in zip(logits, offsets, strict=True)))

    return World(rows, counts, np.ones(len(counts)), draw, prevalence, True, False)


def auc_of(prevalence: Float[np.ndarray, " K"], counts: Float[np.ndarray, " K"]) -> float:
    """Compute P(a positive has a higher prevalence than a negative), ties counted half.

    Example:
        >>> auc_of(np.array([0.0, 1.0]), np.ones(2)), auc_of(np.array([0.5, 0.5]), np.ones(2))
        (1.0, 0.5)
    """
    _, row = np.unique(prevalence, return_inverse=True)
    positive, negative = (np.bincount(row, counts * p) for p in (prevalence, 1 - prevalence))
    below = np.cumsum(negative) - negative / 2
    return float(positive @ below / (positive.sum() * negative.sum()))


def _shifted(logit: Float[np.ndarray, " K"], counts: Float[np.ndarray, " K"], rate: float) -> Float[np.ndarray, " K"]:
    """Return the prevalence whose logit is shifted so that its mean is the rate."""
    low, high = -logit.max() - 40, 40 - logit.min()
    for _ in range(100):
        middle = (low + high) / 2
        mean = np.average(special.expit(logit + middle), weights=counts)
        low, high = (middle, high) if mean < rate else (low, middle)
    return special.expit(logit + low)


def _compressed(scores: Float[np.ndarray, "K C"], counts: Float[np.ndarray, " K"]):
    """Return at most ``MOST_PEOPLE`` rows: of more, one stands for each step of the distribution by the first score.
    Steps are taken half by the population, half by the score itself, so that rare high scores are not lost."""
    scores, counts = scores[counts > 0], counts[counts > 0]
    if len(scores) <= MOST_PEOPLE:
        return scores, counts
    order = np.argsort(scores[:, 0], kind="stable")
    scores, counts = scores[order], counts[order]
    along = (scores[:, 0] - scores[0, 0]) / np.ptp(scores[:, 0])
    rank = (np.cumsum(counts) / counts.sum() + along) / 2
    step = np.minimum((rank * MOST_PEOPLE).astype(int), MOST_PEOPLE - 1)
    _, first, group, size = np.unique(step, return_index=True, return_inverse=True, return_counts=True)
    return scores[first + size // 2], np.bincount(group, counts)
