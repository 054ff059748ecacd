"""Instances: where each lies, and how sure its class is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

from crowdjax.plots.style import COLOURS, PANEL, axes, evenly, styled

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
    xticks_of_share: bool = False,
    jitter: tuple[float, float] = (0.0, 0.0),
    ax: Axes | None = None,
) -> Axes:
    """Draw a point for each instance, of very many some, evenly.

    Args:
        groups: name -> which instances; each has a colour and a marker, the first is drawn first.
        jitter: how far points are moved at most along each axis, by a fixed draw, where many coincide.
    """
    ax = axes(ax, PANEL[0] + 0.5, PANEL[1] + 0.6)
    rng = np.random.default_rng(0)
    moved = [v + part * rng.uniform(-1, 1, len(v)) for v, part in zip((x, y), jitter, strict=True)]
    some = np.zeros(len(x), bool)
    some[evenly(len(x), MOST)] = True
    size = float(np.clip(900 / np.sqrt(some.sum() + 1) / 4, 5, 22))
    for (name, here), colour, marker in zip(groups.items(), (COLOURS[0], COLOURS[1], COLOURS[4]), "oDv", strict=False):
        if here.any():
            label = f"{name} ({here.sum():,})" if name else None
            look = dict(s=size, color=colour, marker=marker, alpha=0.6, linewidth=0, label=label)
            ax.scatter(moved[0][here & some], moved[1][here & some], **look)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if any(groups):
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, fontsize=7.5, handletextpad=0.2)
    return ax
