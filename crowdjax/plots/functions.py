"""Functions of a score: the crowd's with bands over the scores' density, and those of labelers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from crowdjax.plots.style import COLOURS, PANEL, axes, legend_below, nice_top, styled, subplots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Bands = Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
    Densities = Mapping[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]]


@styled
def bands(
    x: Float[np.ndarray, " X"], functions: Bands, densities: Densities, *, xlabel: str, xscale: str = "linear"
) -> Figure:
    """Plot one panel per function: its mean with a band, over the density of the scores.

    Args:
        x: increasing; where the functions were evaluated.
        functions: title -> (mean, lower, upper), probabilities of shape [X].
        densities: of what -> (scores, weights), as in :func:`over_score`.
        xscale: of matplotlib.
    """
    figure, panels = subplots(len(functions), 3.2 * len(functions), 2.9)
    for ax, (title, band), colour in zip(panels, functions.items(), COLOURS, strict=False):
        over_score(x, {"": band}, densities, xlabel=xlabel, xscale=xscale, colours=(colour,), ax=ax)
        ax.set_title(title)
    handles = panels[0].get_legend_handles_labels()
    for ax in panels:
        ax.get_legend().remove()
    figure.legend(*handles, loc="outside lower right", ncols=len(densities), fontsize=8)
    return figure


@styled
def over_score(
    x: Float[np.ndarray, " X"],
    functions: Bands,
    densities: Densities,
    *,
    xlabel: str,
    ylabel: str = "",
    xscale: str = "linear",
    colours: tuple[str, ...] = COLOURS,
    ax: Axes | None = None,
) -> Axes:
    """Plot functions of a score with bands, over the density of the scores.

    Args:
        x: increasing; where the functions were evaluated.
        functions: name -> (mean, lower, upper), probabilities of shape [X].
        densities: of what -> (scores, weights); the first is filled, the next are lines. Their heights, up to a quarter
            of the axes, go with the square root of the density, relative to the largest.
        xscale: of matplotlib.
    """
    ax = axes(ax, PANEL[0] + 0.7, PANEL[1] + 0.5)
    top = nice_top(max(upper.max() for _, _, upper in functions.values()))
    edges = x[:: max(1, len(x) // 50)]
    for k, (name, (scores, weights)) in enumerate(densities.items()):
        heights, _ = np.histogram(scores, edges, weights=weights)
        heights = 0.25 * top * np.sqrt(heights / max(heights.max(), 1e-300))
        look = dict(fill=True, color="#D9D9D9") if k == 0 else dict(color="#757575", linewidth=1)
        ax.stairs(heights, edges, label=name, zorder=0.5, **look)
    for (name, (mean, lower, upper)), colour in zip(functions.items(), colours, strict=False):
        ax.fill_between(x, lower, upper, color=colour, alpha=0.2, linewidth=0)
        ax.plot(x, mean, color=colour, label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel, ylim=(0, top), xlim=(x[0], x[-1]), xscale=xscale)
    handles = [(h, n) for h, n in zip(*ax.get_legend_handles_labels(), strict=True) if n]
    ax.legend(*zip(*handles, strict=True))
    legend_below(ax, handles=ax.get_legend().legend_handles, ncols=2 if len(handles) < 4 else 3)
    return ax


@styled
def labeler_curves(
    x: Float[np.ndarray, " X"],
    panels: Mapping[str, tuple[Float[np.ndarray, " X"], Float[np.ndarray, "W X"]]],
    named: Mapping[int, str],
    *,
    xlabel: str,
    xscale: str = "linear",
) -> Figure:
    """Plot one panel per measure: a line for each labeler, the crowd in black, and some labelers in colour, by name.

    Args:
        x: increasing; where the functions were evaluated.
        panels: title -> (the crowd, the labelers).
        named: row of a labeler -> its name.
    """
    figure, grid = subplots(len(panels), 3.4 * len(panels) + 1.6, 3.0, sharey=True)
    for ax, (title, (crowd, labelers)) in zip(grid, panels.items(), strict=True):
        for row in set(range(len(labelers))) - set(named):
            ax.plot(x, labelers[row], color="#8C8C8C", alpha=0.45, linewidth=0.8)
        for (row, name), colour in zip(named.items(), COLOURS, strict=False):
            ax.plot(x, labelers[row], color=colour, label=name)
        ax.plot(x, crowd, color="black", linewidth=2.4, label="crowd")
        ax.set(title=title, xlabel=xlabel, ylim=(0, 1), xlim=(x[0], x[-1]), xscale=xscale)
    figure.legend(*grid[-1].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    return figure
