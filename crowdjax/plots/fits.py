"""What a fit found of its instances, and how it went: histograms, positions, the objective."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from crowdjax.plots.style import COLOURS, PANEL, span, styled, subplots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_BARS = 40  # of a histogram of whole numbers with a bar for each


@styled
def counts(values: Float[np.ndarray, " n"], *, title: str, xlabel: str, ylabel: str) -> Figure:
    """Plot a histogram of numbers of labels: one bar per number where there are few, else bins of growing
    width."""
    from matplotlib import ticker

    figure, (ax,) = subplots(1, *PANEL)
    low, high = np.floor(values.min()), np.ceil(values.max())
    if high - low < MOST_BARS:
        edges = np.arange(low, high + 2) - 0.5
        ax.set_xlim(low - 2.5, high + 2.5)
        ax.xaxis.set_major_locator(ticker.MaxNLocator(8, integer=True))
    else:
        edges = np.unique(np.geomspace(max(low, 1), high + 1, 25).round()) - 0.5
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if high < 100 * max(low, 1) else (1,)))
        ax.xaxis.set_major_formatter("{x:,.0f}")
        ax.xaxis.set_minor_formatter("")
    heights, _ = np.histogram(values, edges)
    ax.bar(edges[:-1], heights, np.diff(edges), align="edge", color=COLOURS[0], alpha=0.85, edgecolor="none")
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel)
    ax.grid(axis="x", visible=False)
    ax.yaxis.set_major_formatter("{x:,.0f}")
    return figure


@styled
def probabilities(
    p: Float[np.ndarray, " I"],
    *,
    title: str,
    xlabel: str = "probability of being positive",
    ylabel: str = "instances",
) -> Figure:
    """Plot a histogram of probabilities in twenty bins."""
    figure, (ax,) = subplots(1, *PANEL)
    ax.hist(p, bins=20, range=(0, 1), color=COLOURS[0], alpha=0.85, rwidth=0.94)
    ax.axvline(0.5, color="#757575", linewidth=0.8, linestyle="--")
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel, xlim=(0, 1))
    ax.grid(axis="x", visible=False)
    ax.yaxis.set_major_formatter("{x:,.0f}")
    return figure


@styled
def objective(history: Float[np.ndarray, " T"], *, title: str, xlabel: str) -> Figure:
    """Plot how far the objective is below its highest value after each step, on a logarithmic scale."""
    from matplotlib import ticker

    figure, (ax,) = subplots(1, *PANEL)
    gap = np.maximum(history.max() - history, 0)
    floor = max(gap[gap > 0].min(), 1e-12) / 2 if (gap > 0).any() else 1.0
    ax.plot(np.arange(1, len(gap) + 1), np.maximum(gap, floor), color=COLOURS[0], marker="o", markersize=2.5)
    ax.set(title=title, xlabel=xlabel, ylabel="below the best, in nats", yscale="log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("")
    ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    return figure


@styled
def boundary(x: Float[np.ndarray, " I"], center: float, sd: float, *, title: str) -> Figure:
    """Plot a histogram of the instances along the model's axis, with the decision boundary and its uncertainty."""
    figure, (ax,) = subplots(1, *PANEL)
    ax.axvspan(center - sd, center + sd, color=COLOURS[1], alpha=0.15, linewidth=0)
    ax.hist(x, bins=40, range=span(x), color=COLOURS[0], alpha=0.85)
    ax.axvline(center, color=COLOURS[1], label=f"boundary: {center:.2f} ± {sd:.2f}")
    ax.axvline(0, color="#757575", linestyle="--", linewidth=0.9, label="halfway: 0")
    ax.set(title=title, xlabel="position of the instance", ylabel="instances")
    ax.grid(axis="x", visible=False)
    figure.legend(loc="outside lower center", ncols=2, fontsize=7.5)
    return figure


@styled
def positions(
    coordinates: Float[np.ndarray, "n K"],
    share: Sequence[float],
    *,
    title: str,
    colour: Float[np.ndarray, " n"] | None = None,
) -> Figure:
    """Plot points in the first two directions of a factorisation; of one direction, a histogram.

    Args:
        share: of the sum of squares that each direction explains.
        colour: a probability for each point, told by colour.
    """
    labels = [f"direction {k + 1} ({s:.0%})" for k, s in enumerate(share)]
    figure, (ax,) = subplots(1, *PANEL)
    if coordinates.shape[1] == 1:
        ax.hist(coordinates[:, 0], bins=30, range=span(coordinates), color=COLOURS[0], alpha=0.85)
        ax.set(title=title, xlabel=labels[0], ylabel="how many")
        return figure
    for value in (ax.axhline, ax.axvline):
        value(0, color="#9E9E9E", linewidth=0.8)
    groups = {"": np.ones(len(coordinates), bool)}
    if colour is not None:
        groups = {"positive": colour > 0.9, "unsure": (colour >= 0.1) & (colour <= 0.9), "negative": colour < 0.1}
    for (name, here), c in zip(groups.items(), (COLOURS[0], "#8C8C8C", COLOURS[1]), strict=False):
        ax.scatter(*coordinates[here].T, s=9, color=c, alpha=0.6, linewidth=0, label=name)
    if colour is not None:
        figure.legend(loc="outside lower center", ncols=3, fontsize=7.5)
    ax.set(title=title, xlabel=labels[0], ylabel=labels[1])
    return figure
