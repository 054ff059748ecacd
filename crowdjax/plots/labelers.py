"""Labelers: a forest plot of one measure, and their chances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from crowdjax.plots.style import COLOURS, PANEL, axes, evenly, legend_below, rows_named, styled, subplots, wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

KINDS = {  # of labelers: colour and marker
    "expert": (COLOURS[2], "^"),
    "ordinary": (COLOURS[0], "o"),
    "spammer": (COLOURS[4], "s"),
    "adversary": (COLOURS[1], "v"),
    "unknown": ("#8C8C8C", "o"),
    "few labels": ("#BDBDBD", "o"),
}
MOST_LINES = 150  # labelers in a forest plot
NAMED = 60  # labelers, up to which each has its name


@styled
def chances(
    sensitivity: Float[np.ndarray, " W"], specificity: Float[np.ndarray, " W"], kinds: Sequence[str], *, title: str
) -> Figure:
    """Plot each labeler at its specificity and sensitivity, marked by kind; labelers who guess lie on the dashed line.

    Args:
        kinds: of ``KINDS``.
    """
    figure, (ax,) = subplots(1, 3.7, 3.7)
    ax.plot([0, 1], [1, 0], color="#757575", linewidth=0.9, linestyle="--", zorder=1)
    ax.annotate("guessing", (0.03, 0.97), rotation=-45, va="top", color="#757575", fontsize=7.5)
    for kind, (colour, marker) in KINDS.items():
        here = np.array([k == kind for k in kinds], bool)
        if here.any():
            look = dict(s=20, color=colour, marker=marker, alpha=0.75, linewidth=0, clip_on=False, zorder=2)
            ax.scatter(specificity[here], sensitivity[here], label=f"{kind} ({here.sum():,})", **look)
    ax.set(title=title, xlabel="specificity", ylabel="sensitivity", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    figure.legend(loc="outside lower center", ncols=2, fontsize=7.5)
    return figure


@styled
def accuracies(
    found: Float[np.ndarray, " W"],
    lower: Float[np.ndarray, " W"],
    upper: Float[np.ndarray, " W"],
    names: Sequence[Any],
    *,
    title: str,
    chance: float,
) -> Figure:
    """Draw the accuracy of labelers with intervals, the best at the top; of very many some, evenly.

    Args:
        lower, upper: ends of the intervals; NaN leaves them out.
        chance: the accuracy of a labeler who does not look, a dashed line.
    """
    figure, (ax,) = subplots(1, PANEL[0], _height(len(found)))
    forest(found, lower, upper, names, xlabel="accuracy", chance=chance, ax=ax)
    ax.set_title(title)
    return figure


def _height(n: int, gold: bool = False) -> float:
    """Compute the size of a forest plot, in inches."""
    each = 0.17 if n <= 30 else 0.135 if n <= NAMED else 0.06 if gold else 0.04
    return 0.9 + 0.3 * gold + min(each * max(n, 6), 8.1)


@styled
def forest(
    found: Float[np.ndarray, " W"],
    lower: Float[np.ndarray, " W"],
    upper: Float[np.ndarray, " W"],
    names: Sequence[Any],
    *,
    xlabel: str,
    chance: float | None = None,
    gold: tuple[Float[np.ndarray, " W"], Float[np.ndarray, " W"]] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw a measure of labelers with intervals, the best at the top; of very many some, evenly.

    Args:
        lower, upper: ends of the intervals; NaN leaves them out.
        chance: of a labeler who does not look, a dashed line.
        gold: (how many labels on gold are right, how many there are): a second mark below each, with the 95 % interval
            of Wilson (1927).
    """
    known = np.flatnonzero(np.isfinite(found))
    order = known[np.argsort(-found[known], kind="stable")]
    order = order[evenly(len(order), MOST_LINES)] if len(order) else order
    n, named = len(order), len(order) <= NAMED
    ax = axes(ax, 4.6, _height(n, gold is not None))
    rows, apart = np.arange(n), 0.0 if gold is None else 0.18
    drawn = [found[order], lower[order], np.array([1.0])]
    if chance is not None:
        ax.axvline(chance, color="#757575", linewidth=0.9, linestyle="--", zorder=1)
        drawn.append(np.array([chance]))
    wide, big = (2.2, 16) if named else (1.2, 6)
    ax.hlines(rows - apart, lower[order], upper[order], color=COLOURS[0], alpha=0.45, linewidth=wide)
    ax.scatter(found[order], rows - apart, s=big, color=COLOURS[0], linewidth=0, zorder=2, label="model")
    if gold is not None:
        right, given = (np.asarray(v, float)[order] for v in gold)
        (low, high), has = wilson(right, given), given > 0
        drawn.append(low[has])
        ax.hlines((rows + apart)[has], low[has], high[has], color=COLOURS[1], alpha=0.35, linewidth=0.6 * wide)
        look = dict(s=0.9 * big, color=COLOURS[1], marker="D", linewidth=0, zorder=2, label="gold alone")
        ax.scatter((right / np.maximum(given, 1))[has], (rows + apart)[has], **look)
        legend_below(ax)
    low = float(np.nanmin(np.concatenate(drawn)))
    ax.set(xlabel=xlabel, xlim=(low - 0.03, 1.015))
    rows_named(ax, [names[k] for k in order], NAMED)
    if not named:
        ax.set_ylabel(f"{n:,} labelers" + (f", evenly of {len(known):,}" if n < len(known) else ""))
    return ax
