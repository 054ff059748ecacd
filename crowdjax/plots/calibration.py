"""Reliability diagrams: how often a forecast comes true."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float

from crowdjax.plots.style import COLOURS, MARKERS, axes, legend_below, nice_top, styled, subplots, wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Forecasts = Mapping[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]]


class Bins(NamedTuple):
    """Forecasts in bins: mean forecast, observed share and count of each bin that is not empty."""

    forecast: Float[np.ndarray, " B"]
    observed: Float[np.ndarray, " B"]
    size: Float[np.ndarray, " B"]


def in_bins(p: Float[np.ndarray, " n"], y: Float[np.ndarray, " n"], n_bins: int = 10) -> Bins:
    """Group forecasts into bins of equal counts, by quantiles.

    Example:
        >>> found = in_bins(np.array([0.1, 0.2, 0.8, 0.9]), np.array([0, 0, 1, 1]), 2)
        >>> found.forecast.round(2).tolist(), found.observed.tolist(), found.size.tolist()
        ([0.15, 0.85], [0.0, 1.0], [2, 2])
    """
    where = np.searchsorted(np.quantile(p, np.linspace(0, 1, n_bins + 1))[1:-1], p)
    size = np.bincount(where)
    some = size > 0
    forecast, observed = (np.bincount(where, v)[some] / size[some] for v in (p, y))
    return Bins(forecast, observed, size[some])


@styled
def reliability(forecasts: Forecasts, *, ylabel: str, n_bins: int = 10) -> Figure:
    """Draw :func:`reliability_on` as a figure of its own."""
    figure, (ax,) = subplots(1, 3.9, 4.2)
    reliability_on(forecasts, xlabel="forecast", ylabel=ylabel, n_bins=n_bins, ax=ax)
    ax.get_legend().remove()
    figure.legend(loc="outside lower center", fontsize=8)
    ax.set_title("Reliability")
    return figure


@styled
def reliability_on(
    forecasts: Forecasts, *, xlabel: str, ylabel: str, n_bins: int = 10, low: float = 0.0, ax: Axes | None = None
) -> Axes:
    """Draw the observed share of positives over the forecast probability, in bins of equal counts, with the 95 %
    interval of Wilson (1927); the legend gives each forecast's mean distance from the diagonal.

    Args:
        forecasts: name -> (probability, what was observed: 0, 1 or a probability).
        low: where the axes begin.
    """
    ax = axes(ax, 3.7, 3.9)
    top = 0.0
    for (name, (p, y)), colour, marker in zip(forecasts.items(), COLOURS[1::-1], MARKERS, strict=False):
        forecast, observed, size = in_bins(p, y, n_bins)
        ends = wilson(observed * size, size)
        error = np.maximum([observed - ends[0], ends[1] - observed], 0)
        distance = np.average(abs(forecast - observed), weights=size)
        label = f"{name}: off by {distance:.2g}"
        look = dict(color=colour, marker=marker, linewidth=1.0, elinewidth=0.8, clip_on=False, label=label)
        ax.errorbar(forecast, observed, error, **look)
        top = max(top, forecast.max(), ends[1].max())
    top = nice_top(top)
    ax.plot([low, top], [low, top], color="#9E9E9E", linewidth=1, linestyle="--", zorder=1)
    ax.set(xlabel=xlabel, ylabel=ylabel, xlim=(low, top), ylim=(low, top), aspect="equal")
    legend_below(ax, ncols=1)
    return ax
