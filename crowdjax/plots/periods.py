"""Estimates with intervals over periods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from crowdjax.plots.style import COLOURS, MARKERS, PANEL, axes, legend_below, short, styled, subplots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PERIODS = {  # what is drawn over periods: name of the axis, value of no change, how numbers are written
    "share": ("share of positives", None, "{x:.4g} %"),
    "points": ("change, in percentage points", 0.0, "{x:.4g}"),
    "odds": ("odds at the same score, × the first", 1.0, "×{x:g}"),
    "chance": ("chance of a right label", None, "{x:.0f} %"),
}
MOST_MARKS = 26  # periods, up to which each has its interval; more have a band


@styled
def over_time(
    times: Sequence[str],
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]],
    kind: str,
    *,
    beside: Float[np.ndarray, " T"] | None = None,
    span: tuple[float, float] | None = None,
    small: bool = False,
) -> Figure:
    """Draw estimates with intervals over periods, one panel for each title, series side by side.

    Args:
        times: the periods' names; as many are written as have room, the last among them.
        panels: title -> series -> (mean, lower, upper), each of shape [T]; NaN leaves a period out.
        kind: of ``PERIODS``: shares and changes of them as fractions, ratios of odds on a logarithmic axis.
        beside: means drawn as a grey line in every panel, to compare with.
        span: ends of the vertical axis, in the units of ``panels``; by default what holds all intervals.
        small: for a panel that shares a row with others.

    Example:
        >>> week = (np.array([0.1, 0.3]), np.array([0.05, 0.2]), np.array([0.2, 0.4]))
        >>> figure = over_time(["w1", "w2"], {"All": {"": week}}, "share")
        >>> [text.get_text() for text in figure.axes[0].get_xticklabels()]
        ['w1', 'w2']
    """
    times, n = [short(t, 14) for t in times], len(times)
    across = 1 if len(panels) == 1 else 2 if len(panels) in (2, 4) else 3
    dense = n > MOST_MARKS and any(len(series) > 1 for series in panels.values())
    each = PANEL if small or across > 1 else (7.2 if dense else 4.5, 3.0)  # 4.5 can be read at a phone's width
    rows = -(-len(panels) // across)
    figure, grid = subplots(across, each[0] * across, each[1] * rows, nrows=rows, squeeze=False, sharey=True)
    span = periods_span(panels.values(), kind) if span is None else span
    for ax in grid.flat[len(panels) :]:
        ax.set_visible(False)
    for ax, (title, series) in zip(grid.flat, panels.items(), strict=False):
        _panel(ax, times, series, kind, beside=beside, span=span, width=each[0])
        ax.set_title(title)
    for ax in grid.flat[::across]:
        ax.set_ylabel(PERIODS[kind][0])
    handles, names = grid.flat[0].get_legend_handles_labels()
    kept = [(h, name) for h, name in zip(handles, names, strict=True) if name]
    if len(kept) > small:
        figure.legend(*zip(*kept, strict=True), loc="outside lower center", ncols=len(kept), fontsize=7.5)
    return figure


@styled
def over_periods(
    times: Sequence[str],
    series: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    kind: str,
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw series with intervals over periods on one axes; arguments as in :func:`over_time`."""
    ax = axes(ax, 4.8, 3.2)
    width = ax.get_window_extent().width / ax.figure.dpi + 0.8
    _panel(ax, [short(t, 14) for t in times], series, kind, beside=None, span=periods_span([series], kind), width=width)
    ax.set_ylabel(PERIODS[kind][0])
    if len(series) > 1:
        legend_below(ax, ncols=min(3, len(series)))
    return ax


def _panel(
    ax: Axes,
    times: Sequence[str],
    series: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    kind: str,
    *,
    beside: Float[np.ndarray, " T"] | None,
    span: tuple[float, float],
    width: float,
) -> None:
    """Draw series over periods.

    Args:
        width: of the axes with its labels, in inches: how many periods have their names.
    """
    from matplotlib import ticker

    (_, zero, form), size, n = PERIODS[kind], 1.0 if kind == "odds" else 100.0, len(times)
    low, high = span
    room = int((width - 0.8) / (0.08 * max(map(len, times)) + 0.12))
    named = np.arange(n - 1, -1, -max(1, -(-n // max(1, room))))[::-1]
    if zero is not None:
        ax.axhline(zero, color="#757575", linewidth=0.9, linestyle="--", zorder=1)
    if beside is not None:
        ax.plot(np.arange(n), size * beside, color="#8C8C8C", linewidth=1.1, zorder=1, label="all groups")
    for k, (name, found) in enumerate(series.items()):
        place = np.arange(n) + 0.3 * (k - (len(series) - 1) / 2) * min(1.0, 2 / len(series))
        ends = tuple(size * np.asarray(v, float) for v in found)
        colour, marker = COLOURS[k % len(COLOURS)], MARKERS[k % len(MARKERS)]
        look = dict(color=colour, marker=marker, linestyle="" if kind == "points" else "-", label=name)
        _along(ax, place, ends, band=n > MOST_MARKS and len(series) == 1, **look)
    ax.set(xlim=(-0.6, n - 0.4), yscale="log" if kind == "odds" else "linear")
    ax.set(ylim=(size * low, size * high))
    ax.set_xticks(named, [times[k] for k in named])
    ax.xaxis.set_minor_locator(ticker.FixedLocator(np.arange(n)))
    ax.grid(axis="x", visible=False)
    if kind == "odds":
        ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if high / low < 30 else (1, 3)))
        ax.yaxis.set_minor_locator(ticker.NullLocator())
    ax.yaxis.set_major_formatter(form)


def _along(ax: Axes, place: np.ndarray, ends: tuple[np.ndarray, ...], *, band: bool, color: str, **look) -> None:
    """Draw one series: marks with their intervals, or with a band, where a period alone keeps its interval."""
    mean, lower, upper = ends
    many = len(place) > MOST_MARKS
    beside = np.isfinite(np.pad(mean, 1, constant_values=np.nan))
    lone = ~(beside[:-2] | beside[2:]) | (not band)
    if band:
        ax.fill_between(place, lower, upper, color=color, alpha=0.22, linewidth=0)
    ax.vlines(place[lone], lower[lone], upper[lone], color=color, alpha=0.5, linewidth=1.0 if many else 1.6)
    size = 1.8 if band else 2.6 if many else 4.2
    ax.plot(place, mean, color=color, markersize=size, linewidth=0.9, clip_on=False, **look)


def periods_span(panels, kind: str) -> tuple[float, float]:
    """Compute the ends of an axis that holds the intervals of all panels: from 0 for shares, including 1 for
    ratios of odds.

    Example:
        >>> periods_span([{"": (np.array([0.2]), np.array([0.1]), np.array([0.3]))}], "share")
        (0.0, 0.33)
    """
    ends = np.concatenate([np.ravel(v) for series in panels for found in series.values() for v in found])
    ends = ends[np.isfinite(ends)]
    low, high = (float(ends.min()), float(ends.max())) if ends.size else (0.0, 1.0)
    if kind == "odds":
        return min(low, 0.9) / 1.05, max(high, 1.1) * 1.05
    if kind == "points":
        room = 0.06 * max(high - low, 1e-6)
        return min(low, 0.0) - room, max(high, 0.0) + room
    if kind == "chance":
        return min(0.5, max(0.0, low - 0.05)), 1.0
    return 0.0, round(min(1.0, 1.1 * max(high, 1e-6)), 9)
