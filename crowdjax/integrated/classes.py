"""About K classes, beside their model: a guard against errors that labelers share, names that mean nothing, what gold
says of shares, whether classes look like grades. Host side.
"""

from __future__ import annotations

import dataclasses
from itertools import permutations
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from crowdjax.labels import InputError, Labels
from crowdjax.observation.table import classes_of_values

GOLD_SD = 1.0  # prior standard deviation of what gold adds to the log of a class's share
FEW_GOLD, FEW_OF_CLASS = 10, 5  # gold labels that say anything of shares: in all, and of each of two classes
ORDERS = 2000  # of the classes that are drawn, where there are more
CHANCE, NEAR = 0.05, 0.9
VOTES, OTHERS = 0.2, 0.1  # parts of a pool that are votes, and another model


def pooled(
    labels: Labels, posterior: Float[np.ndarray, "I K"], other: Float[np.ndarray, "I K"] | None = None
) -> Float[np.ndarray, "I K"]:
    """A linear pool of the integrated model's answers, a fifth of votes, and a tenth of another model where given.

        .7 p_jk + .2 (n_jk + 2/K) / (n_j + 2) + .1 p'_jk

    No model of labelers knows of errors that they share, and all are too sure of items where they do.

    Args:
        labels: n_jk of them are for class k; gold stays.
        posterior, other: of the integrated model, and of Dawid and Skene's.

    Example: nobody disagrees, and yet
        >>> labels = Labels.from_arrays([0, 1], [0, 0], [2, 2], n_values=3)
        >>> pooled(labels, np.array([[0.0, 0.0, 1.0]])).round(3).tolist()
        [[0.033, 0.033, 0.933]]
    """
    k = labels.n_classes
    votes = np.full((labels.n_instances, k), 2 / k)
    np.add.at(votes, np.asarray(labels.instance), _spoken(labels))
    part = VOTES * votes / votes.sum(1, keepdims=True)
    part += 0 if other is None else OTHERS * np.asarray(other, np.float64)
    mixed = np.asarray(posterior, np.float64) * (1 - VOTES - (0 if other is None else OTHERS)) + part
    known = np.zeros(labels.n_instances, bool) if labels.gold is None else np.asarray(labels.gold) >= 0
    return np.where(known[:, None], posterior, mixed)


def _spoken(labels: Labels) -> Float[np.ndarray, "N K"]:
    """What each label says for each class."""
    of_value = classes_of_values(labels.n_values, labels.n_classes)
    return np.asarray(labels.counts, np.float64)[:, None] * of_value[np.maximum(np.asarray(labels.label), 0)]


class Ranked(NamedTuple):
    """Labels whose classes have other names for each instance.

    Attributes:
        labels: the same with classes named by their rank in the votes of the instance.
        rank: that of each class, [I, K].
        unvoted: the classes that nobody voted for, of instances without gold.

    Example:
        >>> Ranked._fields
        ('labels', 'rank', 'unvoted')
    """

    labels: Labels
    rank: Int[np.ndarray, "I K"]
    unvoted: Bool[np.ndarray, "I K"]


def ranked(labels: Labels) -> Ranked:
    """Names classes by how many votes they have, instance by instance, so that names within an instance say nothing;
    equal numbers by who gave them.

    Example: "2" has two votes, and is the first class
        >>> ranked(Labels.from_arrays([0, 1, 2], [0, 0, 0], [2, 1, 2], n_values=3)).rank.tolist()
        [[2, 1, 0]]
    """
    k = labels.n_classes
    if labels.n_values != k:
        raise InputError("classes: got exchangeable, where labels have other values than classes; allowed: nominal")
    real = np.asarray(labels.label) >= 0
    cell = np.asarray(labels.instance)[real], np.asarray(labels.label)[real]
    counts = np.asarray(labels.counts, np.float64)[real]
    votes = np.zeros((2, labels.n_instances, k))
    np.add.at(votes[0], cell, counts)
    np.add.at(votes[1], cell, counts * np.sqrt(2.0 + np.asarray(labels.labeler)[real]))
    rank = np.argsort(np.lexsort((-votes[1].round(6), -votes[0].round(6)), axis=1), axis=1)
    label = np.full_like(np.asarray(labels.label), -1)
    label[real] = rank[cell]
    unvoted, gold = votes[0] == 0, labels.gold
    if gold is not None:
        known = np.asarray(gold) >= 0
        own = rank[np.arange(len(known)), np.maximum(np.asarray(gold), 0)]
        gold = np.where(known, own, -1).astype(np.asarray(gold).dtype)
        unvoted &= ~known[:, None]
    return Ranked(dataclasses.replace(labels, label=label, gold=gold), rank, unvoted)


def by_name(found: Ranked, posterior: Float[np.ndarray, "I K"]) -> Float[np.ndarray, "I K"]:
    """The posterior of classes by their own names; those nobody voted for share what is left.

    Example:
        >>> found = ranked(Labels.from_arrays([0, 1, 2], [0, 0, 0], [2, 1, 2], n_values=4))
        >>> by_name(found, np.array([[0.5, 0.25, 0.25, 0.0]])).tolist()
        [[0.125, 0.25, 0.5, 0.125]]
    """
    p = np.take_along_axis(np.asarray(posterior), found.rank, axis=1)
    left = np.where(found.unvoted, p, 0).sum(1, keepdims=True) / np.maximum(found.unvoted.sum(1, keepdims=True), 1)
    return np.where(found.unvoted, left, p)


def speaks_of_shares(gold: Int[np.ndarray, " I"], n_classes: int) -> bool:
    """Whether there is gold enough, and of two classes: that of one class moves shares without end.

    Args:
        gold: codes, -1 where unknown.

    Example:
        >>> speaks_of_shares(np.repeat([0, 1, -1], [5, 5, 90]), 3), speaks_of_shares(np.zeros(50, int), 3)
        (True, False)
    """
    counts = np.bincount(gold[gold >= 0], minlength=n_classes)
    return bool(counts.sum() >= FEW_GOLD and (counts >= FEW_OF_CLASS).sum() >= 2)


def shift_by_gold(
    p: Float[np.ndarray, "n K"], gold: Int[np.ndarray, " n"], sd: float = GOLD_SD
) -> Float[np.ndarray, " K"]:
    """What to add to log p so that gold, drawn at random, is likeliest: the mode of δ ~ N(0, sd² I), by Newton's steps.

        P(z_j = k) ∝ p_jk exp δ_k

    Args:
        p: of the instances with gold, by a fit that has not seen it.
        gold: codes of their classes.

    Example: the second class is more common than was thought
        >>> shift_by_gold(np.full((20, 2), 0.5), np.repeat([0, 1], [5, 15])).round(2).tolist()
        [-0.49, 0.49]
    """
    n_classes = p.shape[1]
    log_p, counts = np.log(np.maximum(p, 1e-9)), np.bincount(gold, minlength=n_classes)
    shift = np.zeros(n_classes)
    for _ in range(30):
        q = log_p + shift
        q = np.exp(q - q.max(1, keepdims=True))
        q /= q.sum(1, keepdims=True)
        gradient = counts - q.sum(0) - shift / sd**2
        step = np.linalg.solve(np.diag(q.sum(0)) - q.T @ q + np.eye(n_classes) / sd**2, gradient)
        shift += step / max(1, abs(step).max())
    return shift


def looks_ordered(labels: Labels, seed: int = 0) -> bool:
    """Whether classes, in the order of their codes, look like grades: votes about one instance that disagree are for
    neighbours.

        T = Σ_ab D_ab |a - b| / Σ_ab E_ab |a - b|

    D counts pairs of labels that disagree, E is what their margins alone give. Classes look ordered where at most one
    in twenty orders of them has a T as low, and no neighbours are taken for each other less than .9 E. Fewer than five
    classes have too few orders to tell.

    Example: disagreements of one grade
        >>> z = np.repeat(np.arange(5), 8)
        >>> said = np.clip(np.stack([z, z + np.tile([1, -1], 20)], 1), 0, 4).ravel()
        >>> looks_ordered(Labels.from_arrays(np.arange(80) % 2, np.repeat(np.arange(40), 2), said, n_values=5))
        True
    """
    k, real = labels.n_values, np.asarray(labels.label) >= 0
    if k < 5 or k != labels.n_classes:
        return False
    votes = np.zeros((labels.n_instances, k))
    cell = np.asarray(labels.instance)[real], np.asarray(labels.label)[real]
    np.add.at(votes, cell, np.asarray(labels.counts)[real])
    pairs = (votes / np.maximum(votes.sum(1, keepdims=True) - 1, 1)).T @ votes
    np.fill_diagonal(pairs, 0)
    margins = pairs.sum(1) + 1e-12
    side = np.sqrt(margins)
    expected = np.outer(side, side)
    for _ in range(200):
        expected = np.outer(side, side)
        np.fill_diagonal(expected, 0)
        side *= np.sqrt(margins / np.maximum(expected.sum(1), 1e-12))
    rng = np.random.default_rng(seed)
    orders = [*permutations(range(k))] if k < 7 else [rng.permutation(k) for _ in range(ORDERS)]
    place = np.array([np.arange(k), *orders])
    away = abs(place[:, :, None] - place[:, None, :])
    t = (pairs * away).sum((1, 2)) / (expected * away).sum((1, 2))
    neighbours = np.diag(pairs, 1) >= NEAR * np.diag(expected, 1)
    return bool((t[1:] <= t[0] + 1e-9).mean() <= CHANCE and neighbours.all())
