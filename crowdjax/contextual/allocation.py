"""Which scores to sample: strata of the score, and how many instances of each to label.

A stratum h has N_h instances of the population and, by a calibrated score, a mean chance f of being positive. Of all
ways to share n instances out, the share of positives is known best with (Neyman 1934)

    n_h ∝ N_h S_h        S_h² = mean of f (1 - f) in h        (1)

which leaves the variance Σ (N_h S_h)² / n_h - Σ N_h S_h². No stratum gets less than ``LEAST`` of what it would get in a
sample at random, as what f says is not certain, and none more than it has:

    n_h = min(N_h, max(c N_h S_h, LEAST n N_h / N)),     Σ n_h = n
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from crowdjax.labels import InputError

LEAST = 0.1  # of what a sample at random would have
N_STRATA = 20
LITTLE = 1e-9  # of the largest deviation: none is 0


class Allocation(NamedTuple):
    """Strata of the score, with the sample size of each.

    Attributes:
        edges: the K + 1 increasing edges; a score belongs to [edge_k, edge_k+1), the last edge included.
        population: number of instances in each stratum.
        prevalence: mean probability of being positive in each stratum.
        items: number of instances to draw from each stratum.
        chance: inclusion probability, ``items`` / ``population``.

    Example:
        >>> Allocation._fields
        ('edges', 'population', 'prevalence', 'items', 'chance')
    """

    edges: Float[np.ndarray, " K1"]
    population: Float[np.ndarray, " K"]
    prevalence: Float[np.ndarray, " K"]
    items: Int[np.ndarray, " K"]
    chance: Float[np.ndarray, " K"]

    def stratum(self, scores) -> Int[np.ndarray, " n"]:
        """Find the stratum of each score; scores beyond the edges belong to the outermost strata.

        Example:
            >>> allocate([0.1, 0.2, 0.8, 0.9], np.ones(4), [0.1, 0.1, 0.9, 0.9], 2).stratum([-1, 9]).tolist()[0]
            0
        """
        return np.searchsorted(self.edges[1:-1], np.asarray(scores), side="right")


def allocate(scores, counts, prevalence, n: int, *, least: float = LEAST, n_strata: int = N_STRATA) -> Allocation:
    """Allocate a sample of n instances to strata of the score (Neyman's allocation within bounds).

    Strata are cut at equal steps of the mean of two distributions of the population: as it is, and by √(f (1 - f)), so
    that they are narrow where the population is and where positives are.

    Args:
        scores, counts: scores of the population and the number of instances with each, shape [n].
        prevalence: f, the probability of being positive at each score, shape [n].
        n: number of instances to label, at most the population's size.
        least: smallest share, above 0, of the sample size that a stratum would get by simple random sampling.
        n_strata: largest number of strata.

    Raises:
        InputError: n exceeds the population's size or is below the number of strata.

    Example: one in ten is positive above one half, hardly any below; most of the sample comes from above
        >>> score = np.linspace(0, 1, 1001)
        >>> found = allocate(score, np.ones(1001), np.where(score < 0.5, 1e-5, 0.1), 100)
        >>> above = found.edges[:-1] >= 0.5
        >>> found.items.sum().item(), bool(found.items[above].sum() > 80), bool((found.chance > 0).all())
        (100, True, True)

    Source: Neyman 1934; the bounds are ours.
    """
    scores, counts, f = (np.asarray(v, np.float64) for v in (scores, counts, prevalence))
    total = counts.sum()
    if not 1 <= n <= total:
        raise InputError(f"items: got {n}; allowed: 1 to {total:g}, the population")
    distinct, row = np.unique(scores, return_inverse=True)
    each = np.bincount(row, counts)
    wanted = np.bincount(row, counts * np.sqrt(f * (1 - f)))
    rank = np.cumsum((each / total + wanted / max(wanted.sum(), np.finfo(float).tiny)) / 2)
    steps = np.arange(1, min(n_strata, n)) / min(n_strata, n)
    at = np.searchsorted(rank[:-1], steps)
    cuts = np.unique(distinct[1:][at[at < len(distinct) - 1]])
    edges = np.r_[distinct[0], cuts, np.nextafter(distinct[-1], np.inf)]
    stratum = np.searchsorted(edges[1:-1], scores, side="right")
    k = len(edges) - 1
    size = np.bincount(stratum, counts, k)
    variance = np.bincount(stratum, counts * f * (1 - f), k) / np.maximum(size, 1)
    share = neyman(size, np.sqrt(variance), n, least)
    items = _whole(share, n, np.where(size > 0, np.minimum(1, size), 0), size)
    mean = np.bincount(stratum, counts * f, k) / np.maximum(size, 1)
    return Allocation(edges, size, mean, items, np.where(size > 0, items / np.maximum(size, 1), 0))


def neyman(
    size: Float[np.ndarray, " K"], deviation: Float[np.ndarray, " K"], n: float, least: float = LEAST
) -> Float[np.ndarray, " K"]:
    """Minimise Σ (N_h S_h)² / n_h under Σ n_h = n and least n N_h / N ≤ n_h ≤ N_h.

    Args:
        size: N_h.
        deviation: S_h, not all 0.
        n: at most Σ N_h.

    Example: half of the variance is in a tenth of the population
        >>> neyman(np.array([900.0, 100.0]), np.array([0.1, 0.9]), 100.0, 0.01).round(2).tolist()
        [50.0, 50.0]
    """
    size, deviation = np.asarray(size, float), np.asarray(deviation, float)
    wanted = size * np.maximum(deviation, LITTLE * deviation.max(initial=LITTLE))
    low = least * n * size / size.sum()
    below, above = 0.0, 1 / (LITTLE * max(deviation.max(initial=LITTLE), LITTLE))
    for _ in range(200):
        c = (below + above) / 2
        below, above = (c, above) if np.clip(c * wanted, low, size).sum() < n else (below, c)
    return np.clip(above * wanted, low, size)


def _whole(share: Float[np.ndarray, " K"], n: int, least, most) -> Int[np.ndarray, " K"]:
    """Return whole numbers of sum n near the shares, each within its bounds: the largest remainders are rounded up."""
    items = np.clip(np.floor(share), least, most)
    while items.sum() != n:
        step = 1 if items.sum() < n else -1
        free = items < most if step > 0 else items > least
        if not free.any():
            break
        order = np.argsort(np.where(free, -step * (share - items), np.inf), kind="stable")
        items[order[: int(min(abs(n - items.sum()), free.sum()))]] += step
    return items.astype(int)
