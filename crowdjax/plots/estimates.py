"""Shares with intervals, a row each, and shares of classes by several counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from crowdjax.plots.style import COLOURS, MARKERS, PANEL, short, styled, subplots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def intervals(rows: Mapping[str, tuple[float, float, float]], *, title: str, xlabel: str) -> Figure:
    """Plot one row per estimate: (value, lower, upper) as a dot with its interval; NaN leaves the interval out."""
    figure, (ax,) = subplots(1, 6.0, 0.9 + 0.36 * len(rows))
    for row, (value, lower, upper) in enumerate(rows.values()):
        colour = COLOURS[0] if np.isfinite(lower) else "#757575"
        ax.plot([lower, upper], [row, row], color=colour, linewidth=2.2, solid_capstyle="butt")
        ax.plot(value, row, color=colour, marker="o", markersize=6, clip_on=False)
        text = f"{value:.3g}" + (f" ({lower:.3g} to {upper:.3g})" if np.isfinite(lower) else "")
        ax.annotate(text, (1.02, row), xycoords=("axes fraction", "data"), va="center", color=colour)
    ax.set(title=title, xlabel=xlabel, yticks=range(len(rows)), yticklabels=list(rows), xlim=(0, None))
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.margins(x=0.05)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    return figure


@styled
def shares(panels: Mapping[str, Float[np.ndarray, " K"]], classes: Sequence[Any], *, title: str) -> Figure:
    """Plot estimates of the class shares: one row per class, one marker per way to count."""
    figure, (ax,) = subplots(1, PANEL[0], 1.2 + 0.28 * len(classes))
    rows, values = np.arange(len(classes)), np.stack(list(panels.values()))
    ax.hlines(rows, values.min(0), values.max(0), color="#BDBDBD", linewidth=2, zorder=1)
    for (name, share), colour, marker in zip(panels.items(), COLOURS, MARKERS, strict=False):
        ax.scatter(share, rows, s=30, color=colour, marker=marker, linewidth=0, clip_on=False, label=name, zorder=2)
    ax.set(title=title, xlabel="share", yticks=rows, yticklabels=[short(str(c), 18) for c in classes])
    ax.set(xlim=(0, min(1.0, 1.1 * values.max())), ylim=(len(classes) - 0.4, -0.6))
    ax.xaxis.set_major_formatter("{x:.0%}")
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", ncols=len(panels), fontsize=7.5)
    return figure
