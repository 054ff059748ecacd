"""About K classes, beside their model: a guard against errors that labelers share; whether classes look like grades."""

from __future__ import annotations

from itertools import permutations

import numpy as np
from jaxtyping import Float

from crowdjax.labels import Labels
from crowdjax.observation.table import classes_of_values

ORDERS = 2000  # of the classes that are drawn, where there are more
CHANCE, NEAR = 0.05, 0.9
VOTES = 0.2  # part of a pool


def pooled(labels: Labels, posterior: Float[np.ndarray, "I K"], part: float = VOTES) -> Float[np.ndarray, "I K"]:
    """Pool linearly a model's probabilities and the shares of votes.

        (1 - part) p_jk + part (n_jk + 2/K) / (n_j + 2)

    No model of labelers knows of errors that they share, and all are overconfident about instances where they do.

    Args:
        labels: n_jk of them are for class k; gold stays.
        part: of votes.

    Example: nobody disagrees, and yet
        >>> labels = Labels.from_arrays([0, 1], [0, 0], [2, 2], n_values=3)
        >>> pooled(labels, np.array([[0.0, 0.0, 1.0]])).round(3).tolist()
        [[0.033, 0.033, 0.933]]
    """
    k = labels.n_classes
    votes = np.full((labels.n_instances, k), 2 / k)
    np.add.at(votes, np.asarray(labels.instance), _spoken(labels))
    mixed = (1 - part) * np.asarray(posterior, np.float64) + part * votes / votes.sum(1, keepdims=True)
    known = np.zeros(labels.n_instances, bool) if labels.gold is None else np.asarray(labels.gold) >= 0
    return np.where(known[:, None], posterior, mixed)


def _spoken(labels: Labels) -> Float[np.ndarray, "N K"]:
    """Return what each label says for each class."""
    of_value = classes_of_values(labels.n_values, labels.n_classes, labels.places)
    return np.asarray(labels.counts, np.float64)[:, None] * of_value[np.maximum(np.asarray(labels.label), 0)]


def looks_ordered(labels: Labels, seed: int = 0) -> bool:
    """Test whether classes, in the order of their codes, look like grades: labels of one instance that disagree fall on
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
