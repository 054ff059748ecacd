"""Pairwise agreement of labelers: how often two say the same of the instances that both have labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from crowdjax.plots.style import COLOURS, axes, evenly, short, styled, unframed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 120  # labelers in a figure
NAMED = 40  # labelers, up to which each has its name
FEW, SPARSE = 20, 0.1  # labelers that are drawn even so, and the share of pairs below which no more are
LEAST = 3  # instances in common, below which two labelers are not compared


class Agreement(NamedTuple):
    """Agreement of pairs of labelers.

    Attributes:
        share: of the instances in common, those of which both say the same; NaN with fewer than ``LEAST``.
        common: how many instances each pair has in common.
        chance: the agreement of two labels drawn from all labels at random, Σ_l share_l².
    """

    share: Float[np.ndarray, "W W"]
    common: Float[np.ndarray, "W W"]
    chance: float


def pairs(
    labeler: Int[np.ndarray, " N"], instance: Int[np.ndarray, " N"], label: Int[np.ndarray, " N"], n_labelers: int
) -> Agreement:
    """Compare each pair of labelers on the instances in common. Of a labeler's labels of one instance the last counts.

        a_ik = Σ_j [L_ij = L_kj] / Σ_j [both i and k have labelled j]

    Example: two of three instances in common are alike
        >>> found = pairs(np.array([0, 0, 0, 1, 1, 1]), np.array([0, 1, 2] * 2), np.array([1, 1, 0, 1, 0, 0]), 2)
        >>> found.share.round(2).tolist(), found.common.tolist(), found.chance
        ([[1.0, 0.67], [0.67, 1.0]], [[3.0, 3.0], [3.0, 3.0]], 0.5)
    """
    from scipy.sparse import csr_array

    pair = labeler.astype(np.int64) * (instance.max() + 1) + instance
    last = len(pair) - 1 - np.unique(pair[::-1], return_index=True)[1]
    labeler, instance, label = (v[last] for v in (labeler, instance, label))
    shape, one = (n_labelers, int(instance.max()) + 1), np.ones(len(label))
    has = csr_array((one, (labeler, instance)), shape)
    common, alike = (has @ has.T).toarray(), np.zeros((n_labelers, n_labelers))
    for value in np.unique(label):
        here = label == value
        said = csr_array((one[here], (labeler[here], instance[here])), shape)
        alike += (said @ said.T).toarray()
    share = np.divide(alike, common, out=np.full(common.shape, np.nan), where=common >= LEAST)
    counts = np.unique(label, return_counts=True)[1] / len(label)
    return Agreement(share, common, float(counts @ counts))


def order_of(share: Float[np.ndarray, "W W"], group: Int[np.ndarray, " W"] | None = None) -> Int[np.ndarray, " W"]:
    """Order labelers so that those who agree stand together: by group and, within it, by average-linkage clusters of
    1 − agreement; pairs that are not compared count as the mean pair.

    Example: the first and the third always agree
        >>> share = np.array([[1, 0.2, 1, 0.3], [0.2, 1, 0.2, 0.9], [1, 0.2, 1, 0.3], [0.3, 0.9, 0.3, 1]])
        >>> found = order_of(share).tolist()
        >>> abs(found.index(0) - found.index(2)), abs(found.index(1) - found.index(3))
        (1, 1)
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    group = np.zeros(len(share), int) if group is None else np.asarray(group)
    apart = 1 - share
    apart = np.where(np.isfinite(apart), apart, np.nanmean(apart) if np.isfinite(apart).any() else 0.5)
    np.fill_diagonal(apart, 0)
    out = []
    for name in sorted(set(group.tolist()), reverse=True):
        rows = np.flatnonzero(group == name)
        if len(rows) > 2:
            between = squareform(apart[np.ix_(rows, rows)], checks=False)
            rows = rows[leaves_list(linkage(between, "average", optimal_ordering=True))]
        out.append(rows)
    return np.concatenate(out)


def compared(known: Bool[np.ndarray, "W W"], most: int) -> Int[np.ndarray, " w"]:
    """Choose labelers who can be compared with each other: from the one with most pairs on, always the one with most
    pairs among those chosen, until nobody has any or, beyond 20, fewer than a tenth of all pairs can be compared.

    Example: the third has a pair with nobody
        >>> compared(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]], bool), 3).tolist()
        [0, 1]
    """
    total, left = known.sum(1), np.ones(len(known), bool)
    chosen, within, links = [], np.zeros(len(known), int), 0
    while len(chosen) < most and left.any():
        best = int(np.argmax(np.where(left, within * (len(known) + 1) + total, -1)))
        links += within[best]
        n = len(chosen) + 1
        if not total[best] or (n > FEW and links < SPARSE * n * (n - 1) / 2):
            break
        left[best] = False
        chosen.append(best)
        within += known[best]
    return np.sort(chosen)


@styled
def agreement(
    found: Agreement,
    names: Sequence[Any],
    group: Int[np.ndarray, " W"] | None = None,
    *,
    most: int = MOST,
    ax: Axes | None = None,
) -> Axes:
    """Draw the agreement of pairs of labelers: blue above that of labels drawn at random, orange below, grey for pairs
    with too few instances in common.

    Args:
        group: of each labeler, such as its school; groups stand together, with lines between.
        most: labelers that are drawn, those with the most pairs.
    """
    from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm

    share = found.share.copy()
    np.fill_diagonal(share, np.nan)
    some = compared(np.isfinite(share), most)
    own = None if group is None else np.asarray(group)[some]
    order = some[order_of(share[np.ix_(some, some)], own)]
    n = len(order)
    side = float(np.clip(0.9 + 0.17 * n, 2.4, 5.6))
    ax = axes(ax, side + 1.1, side)
    shade = LinearSegmentedColormap.from_list("agreement", [COLOURS[1], "#FFFFFF", COLOURS[0]], N=65)
    shade = shade.with_extremes(bad="#E0E0E0")
    cells = share[np.ix_(order, order)]
    far = max(0.05, float(np.nanmax(abs(cells - found.chance)))) if np.isfinite(cells).any() else 0.5
    norm = TwoSlopeNorm(found.chance, max(0, found.chance - far), min(1, found.chance + far))
    drawn = ax.imshow(cells, cmap=shade, norm=norm, interpolation="nearest")
    shown = evenly(n, n) if n <= NAMED else np.arange(0)
    named = [short(str(names[order[k]])) for k in shown]
    ax.set_xticks(shown, named, rotation=90, fontsize=7)
    ax.set_yticks(shown, named, fontsize=7)
    unframed(ax)
    if own is not None:
        for k in np.flatnonzero(np.diff(np.asarray(group)[order])):
            ax.axhline(k + 0.5, color="#4D4D4D", linewidth=0.9)
            ax.axvline(k + 0.5, color="#4D4D4D", linewidth=0.9)
    bar = ax.figure.colorbar(drawn, ax=ax, shrink=0.8)
    bar.outline.set_visible(False)
    ends = [drawn.norm.vmin, found.chance, drawn.norm.vmax]
    bar.set_ticks(ends, labels=[f"{ends[0]:.2f}", f"{ends[1]:.2f}\nby chance", f"{ends[2]:.2f}"])
    bar.ax.tick_params(length=0, labelsize=7.5)
    left = f" of {len(names):,}" if n < len(names) else ""
    share_of_pairs = np.isfinite(cells).sum() / max(1, n * (n - 1))
    few = f"; grey: fewer than {LEAST} instances in common" if share_of_pairs < 0.995 else ""
    ax.set_title("Pairwise agreement")
    if left or few or n > NAMED:
        ax.set_xlabel(f"{n:,} labelers{left}{few}")
    return ax
