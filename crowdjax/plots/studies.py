"""Figures of studies: models and methods side by side, over sizes, sets and repeats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from crowdjax.plots.style import COLOURS, MARKERS, short, styled, subplots

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@styled
def curves(
    x: Float[np.ndarray, " X"] | Mapping[str, Float[np.ndarray, " X"]],
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray]]],
    *,
    xlabel: str,
    ylabel: str = "",
    ylim: tuple[float | None, float | None] = (0, None),
) -> Figure:
    """Plot one panel per measure: the mean of every model over x, with a band of two standard errors.

    Args:
        x: the same for all panels, or one for each title.
        panels: title -> model -> (mean, standard error), each of shape [X].
        ylabel: of panels that all show the same measure, on one scale; the legend is then below them.
        ylim: the ends of the vertical axes; None: as far as the curves reach.
    """
    n = len(panels)
    across = n if n <= 3 else 2  # wider ones can't be read on a page
    down = -(-n // across)
    wide, high = (3.6 * across, 0.8 + 3.0 * down) if ylabel else (3.0 * across + 1.4, 3.0 * down)
    figure, grid = subplots(across, wide, high, nrows=down, squeeze=False, sharey=bool(ylabel))
    for ax in grid.flat[n:]:
        ax.set_visible(False)
    for ax, (title, models) in zip(grid.flat, panels.items(), strict=False):
        at = x[title] if isinstance(x, Mapping) else x
        for k, (name, (mean, error)) in enumerate(models.items()):
            colour, marker = _look(k)
            ax.fill_between(at, mean - 2 * error, mean + 2 * error, color=colour, alpha=0.15, linewidth=0)
            ax.plot(at, mean, color=colour, marker=marker, label=name)
        ax.set(title=title, xlabel=xlabel)
        ax.margins(x=0.03)
    for ax in grid.flat[:n]:  # after all are drawn: it ends the scale's growth
        ax.set_ylim(ylim)
    for ax in grid.flat[::across]:
        ax.set_ylabel(ylabel)
    handles = grid.flat[0].get_legend_handles_labels()
    if ylabel:
        figure.legend(*handles, loc="outside lower center", ncols=min(len(handles[0]), 2 + across))
    else:
        figure.legend(*handles, loc="outside right center")
    return figure


def _look(k: int) -> tuple[str, str]:
    """Choose the colour and the marker of the k-th model; the pairs of 64 models differ.

    Example:
        >>> len({_look(k) for k in range(64)})
        64
    """
    return COLOURS[k % len(COLOURS)], MARKERS[(k + k // len(COLOURS)) % len(MARKERS)]


def _rows(ax: Axes, names: Sequence[str]) -> None:
    """Name the rows of categories, with a light band behind every other one, which its markers belong to."""
    for row in range(0, len(names), 2):
        ax.axhspan(row - 0.5, row + 0.5, color="#F4F4F4", linewidth=0, zorder=0)
    ax.set(yticks=range(len(names)), yticklabels=list(names), ylim=(len(names) - 0.5, -0.5))
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def _aside(n: int) -> np.ndarray:
    """Compute the offsets of the markers of n models from the middle of their row, so that none covers another."""
    return (np.arange(n) - (n - 1) / 2) * min(0.16, 0.76 / max(n, 1))


@styled
def spread(values: Mapping[str, Float[np.ndarray, " R"]], *, title: str, xlabel: str) -> Figure:
    """Plot one row per model: every draw as a dot, the mean as a bar with its value."""
    figure, (ax,) = subplots(1, 5.4, 0.6 + 0.42 * len(values))
    rng = np.random.default_rng(0)
    for row, v in enumerate(values.values()):
        colour = COLOURS[row % len(COLOURS)]
        ax.scatter(v, row + rng.uniform(-0.22, 0.22, len(v)), s=9, color=colour, alpha=0.35, linewidth=0)
        ax.plot([v.mean()] * 2, [row - 0.34, row + 0.34], color=colour, linewidth=2.2)
        ax.annotate(
            f"{v.mean():.3g}",
            (1.01, row),
            xycoords=("axes fraction", "data"),
            va="center",
            color=colour,
            fontweight="bold",
        )
    ax.set(title=title, xlabel=xlabel, yticks=range(len(values)), yticklabels=list(values))
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    return figure


@styled
def dots(
    values: Float[np.ndarray, "K M"], rows: Sequence[str], columns: Sequence[str], *, title: str, xlabel: str
) -> Figure:
    """Plot one row per set, one marker per model, side by side; NaN leaves a marker out."""
    figure, (ax,) = subplots(1, 6.4, 0.9 + (0.2 + 0.06 * len(columns)) * len(rows))
    for m, (name, aside) in enumerate(zip(columns, _aside(len(columns)), strict=True)):
        colour, marker = _look(m)
        look = dict(s=26, color=colour, marker=marker, alpha=0.9, linewidth=0, label=name)
        ax.scatter(values[:, m], np.arange(len(rows)) + aside, **look)
    ax.set(title=title, xlabel=xlabel)
    _rows(ax, rows)
    figure.legend(loc="outside right center")
    return figure


@styled
def differences(
    panels: Mapping[str, Float[np.ndarray, "K M"]], rows: Sequence[str], columns: Sequence[str], *, highlight: str
) -> Figure:
    """Plot one panel per measure: a row per set, a marker per model at its difference from a baseline; NaN leaves it
    out.

    The axes are linear within ± .1 and logarithmic beyond, so that small differences and disasters are both seen.

    Args:
        highlight: the model drawn larger, in black.
    """
    high = 1.1 + (0.18 + 0.05 * len(columns)) * len(rows)
    figure, grid = subplots(len(panels), 3.7 * len(panels) + 1.4, high, sharey=True)
    place = np.arange(len(rows))
    for ax, (title, values) in zip(grid, panels.items(), strict=True):
        ax.axvline(0, color="#4D4D4D", linewidth=1, zorder=1)
        for m, (name, aside) in enumerate(zip(columns, _aside(len(columns)), strict=True)):
            chosen = name == highlight
            look = dict(markersize=6.5, zorder=3) if chosen else dict(markersize=4.5, alpha=0.9)
            colour, marker = ("black", "o") if chosen else (COLOURS[m % 8], MARKERS[1 + (m + m // 8) % 7])
            ax.plot(values[:, m], place + aside, color=colour, marker=marker, linestyle="", label=name, **look)
        ax.set(title=title)
        _rows(ax, rows)
        ax.set_xscale("symlog", linthresh=0.1)
        ax.margins(x=0.06)
        ticks = np.array([-10, -1, -0.1, 0, 0.1, 1, 10])
        low, high = np.nanmin(values), np.nanmax(values)
        ax.set_xticks(ticks[(ticks > 1.5 * low - 0.1) & (ticks < 1.5 * high + 0.1)])
        ax.xaxis.set_major_formatter("{x:+g}")
        ax.set_xlabel("difference from 0, logarithmic beyond ± 0.1")
    figure.legend(*grid[0].get_legend_handles_labels(), loc="outside right center")
    return figure


@styled
def side_by_side(
    values: Float[np.ndarray, "K R"],
    half: Float[np.ndarray, "K R"],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    title: str,
    xlabel: str,
) -> Figure:
    """Plot one row per model, one marker per run with its interval; NaN leaves a marker, or an interval, out.

    Args:
        half: half the length of the intervals.
    """
    figure, (ax,) = subplots(1, 4.2, 1.2 + (0.2 + 0.12 * len(columns)) * len(rows))
    offsets = (np.arange(len(columns)) - (len(columns) - 1) / 2) * 0.7 / max(len(columns), 1)
    for r, name in enumerate(columns):
        colour, marker, y = COLOURS[r % len(COLOURS)], MARKERS[r % len(MARKERS)], np.arange(len(rows)) + offsets[r]
        error = np.nan_to_num(half[:, r])
        ax.errorbar(values[:, r], y, xerr=error, color=colour, marker=marker, linestyle="", elinewidth=1.2, label=name)
    ax.set(title=title, xlabel=xlabel, yticks=range(len(rows)), yticklabels=[short(r, 24) for r in rows])
    ax.margins(x=0.08)
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    figure.legend(loc="outside lower center", fontsize=7.5)
    return figure


@styled
def matrices(tables: Mapping[str, Float[np.ndarray, "A B"]], rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """Plot small tables of probabilities side by side, shaded from ½ to 1."""
    figure, axes = subplots(len(tables), 0.8 + 2.0 * len(tables), 1.9, sharey=True)
    for ax, (title, table) in zip(axes, tables.items(), strict=True):
        ax.imshow(table, cmap="Blues", vmin=0.5, vmax=1.1, aspect="auto")
        for (a, b), p in np.ndenumerate(table):
            ax.text(b, a, f"{p:.3f}", ha="center", va="center", color="white" if p > 0.85 else "#202020")
        ax.set(title=title, xticks=range(len(columns)), xticklabels=columns, yticks=range(len(rows)), yticklabels=rows)
        ax.grid(visible=False)
        ax.tick_params(length=0)
        for spine in ax.spines.values():
            spine.set_visible(False)
    return figure


@styled
def known_functions(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray, Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]]],
    *,
    xlabel: str,
) -> Figure:
    """Plot one panel per function: what generated the labels as a dashed line, and every model's mean with its band.

    Args:
        panels: title -> (x, true function, model -> (mean, lower, upper)), each of shape [X].
    """
    figure, axes = subplots(len(panels), 3.3 * len(panels), 2.9)
    for ax, (title, (x, true, models)) in zip(axes, panels.items(), strict=True):
        for (name, (mean, lower, upper)), colour in zip(models.items(), COLOURS, strict=False):
            ax.fill_between(x, lower, upper, color=colour, alpha=0.18, linewidth=0)
            ax.plot(x, mean, color=colour, label=name)
        ax.plot(x, true, color="black", linestyle="--", linewidth=1.2, label="truth")
        ax.set(title=title, xlabel=xlabel, ylim=(0, 1), xlim=(x[0], x[-1]))
    axes[-1].legend(loc="lower left")
    return figure


@styled
def ranks(values: Mapping[str, Float[np.ndarray, " R"]], *, n_bins: int = 10) -> Figure:
    """Plot one panel per quantity: histogram of its ranks (in 0 to 1), over the band that holds 99 % of the counts of
    uniform ones."""
    from scipy.stats import binom

    n_columns = 4
    n_rows = -(-len(values) // n_columns)
    figure, axes = subplots(n_columns, 8.6, 1.45 * n_rows + 0.3, nrows=n_rows, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(values) :]:
        ax.set_visible(False)
    for ax, (name, v) in zip(axes.flat, values.items(), strict=False):
        low, middle, high = binom.ppf([0.005, 0.5, 0.995], len(v), 1 / n_bins)
        ax.axhspan(low, high, color="#D9D9D9", linewidth=0)
        ax.axhline(middle, color="#9E9E9E", linewidth=0.8)
        ax.hist(v, bins=n_bins, range=(0, 1), color=COLOURS[0], alpha=0.75, rwidth=0.9)
        ax.set_title(name, fontsize=8)
        ax.grid(visible=False)
    figure.supxlabel("rank of the truth among posterior draws (0 to 1)", fontsize=9)
    figure.supylabel("runs", fontsize=9)
    return figure


@styled
def factor_over_feature(
    feature: Float[np.ndarray, " I"],
    factor: Float[np.ndarray, " I"],
    basis: Callable[[Float[np.ndarray, " G"]], Float[np.ndarray, "G M"]],
    weights: Float[np.ndarray, " M"],
    *,
    true: Callable[[Float[np.ndarray, " G"]], Float[np.ndarray, " G"]] | None = None,
    label: str = "feature",
) -> Figure:
    """Plot the density of a feature; the basis functions, each as high as its weight; and the first instance factor
    over the feature, one point per instance.

    Args:
        true: what the average labeler's discrimination is, where it is known.
    """
    from scipy.stats import gaussian_kde

    figure, (left, middle, right) = subplots(3, 9.6, 3.0)
    grid = np.linspace(feature.min(), feature.max(), 300)
    left.fill_between(grid, gaussian_kde(feature)(grid), color="#BDBDBD", linewidth=0)
    left.set(title="Density of outputs", xlabel=label, ylabel="density", ylim=(0, None))
    for bump, weight in zip(basis(grid).T, weights, strict=True):
        middle.plot(grid, weight * bump, color=COLOURS[0] if weight >= 0 else COLOURS[1], linewidth=1.2)
    middle.axhline(0, color="#9E9E9E", linewidth=0.8)
    middle.set(title="Weighted basis", xlabel=label, ylabel="basis function × weight")
    right.scatter(feature, factor, s=14, color=COLOURS[0], alpha=0.7, linewidth=0, label="instances")
    if true is not None:
        right.plot(grid, true(grid), color="#4D4D4D", linestyle="--", linewidth=1.2, label="generator")
        right.legend(fontsize=8)
    right.axhline(0, color="#9E9E9E", linewidth=0.8)
    right.set(title="First instance factor", xlabel=label, ylabel="discrimination of the average labeler")
    return figure
