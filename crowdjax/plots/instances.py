"""Instances: where each lies, and how sure its class is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from crowdjax.plots.style import COLOURS, PANEL, axes, evenly, legend_below, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST = 5000  # instances in a figure


@styled
def instances(
    x: Float[np.ndarray, " I"],
    y: Float[np.ndarray, " I"],
    groups: dict[str, Bool[np.ndarray, " I"]],
    *,
    xlabel: str,
    ylabel: str,
    ax: Axes | None = None,
) -> Axes:
    """Draw a point for each instance, of very many some, evenly; where several coincide one whose area tells how many.

    Args:
        groups: name -> which instances; each has a colour and a marker, the first is drawn first.
    """
    ax = axes(ax, PANEL[0] + 0.5, PANEL[1] + 0.6)
    some = np.zeros(len(x), bool)
    some[evenly(len(x), MOST)] = True
    size = float(np.clip(300 / np.sqrt(some.sum() + 1), 5, 22))
    for (name, here), colour, marker in zip(groups.items(), (COLOURS[0], COLOURS[1], COLOURS[4]), "oDv", strict=False):
        if here.any():
            at, n = np.unique(np.stack([x, y], 1)[here & some].round(3), axis=0, return_counts=True)
            look = dict(color=colour, marker=marker, alpha=0.6, linewidth=0)
            for count in np.unique(n):  # a marker of one size is stored once
                ax.scatter(*at[n == count].T, s=min(size * count, 260), **look)
            if name:
                ax.scatter([], [], s=20, label=f"{name} ({here.sum():,})", **look)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if any(groups):
        legend_below(ax)
    return ax
