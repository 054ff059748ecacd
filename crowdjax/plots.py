"""Figures of fits and studies, in one clean style, as SVG and PNG that are the same bytes every time.

Functions take arrays and return a matplotlib ``Figure``; ``save`` writes it. Matplotlib is imported when one is drawn.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from crowdjax.extras import needed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by everybody
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8A6D3B", "#4D4D4D")
MARKERS = "osD^vP*X"
STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": 160,
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "svg.fonttype": "path",
    "svg.hashsalt": "crowdjax",
}


def _styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    @wraps(draw)
    def inner(*args, **kwargs):
        with _matplotlib().rc_context(STYLE):
            return draw(*args, **kwargs)

    return inner


def _matplotlib():
    with needed("figures"):
        import matplotlib
    return matplotlib


def _panels(n: int, width: float, height: float, **kwargs) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, np.atleast_1d(figure.subplots(kwargs.pop("nrows", 1), n, **kwargs))


@contextlib.contextmanager
def _any_glyph():
    """Draw characters that the font lacks as boxes, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(?s)Glyph .* missing from font", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support", UserWarning)
        yield


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write a figure to ``stem``.svg and ``stem``.png, without dates or random names in the files."""
    with _matplotlib().rc_context(STYLE), _any_glyph():
        svg, png = (stem.parent / f"{stem.name}.{kind}" for kind in ("svg", "png"))
        figure.savefig(svg, metadata={"Date": None, "Creator": None})
        figure.savefig(png, metadata={"Software": None})
    return svg, png


def as_svg(figure: Figure, name: str) -> str:
    """Render a figure as SVG with text kept as text; ids inside are unique to ``name``."""
    import io

    buffer = io.StringIO()
    with _matplotlib().rc_context(STYLE | {"svg.fonttype": "none", "svg.hashsalt": name}), _any_glyph():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


@_styled
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
    wide, high = (3.6 * len(panels), 3.8) if ylabel else (3.0 * len(panels) + 1.4, 3.0)
    figure, axes = _panels(len(panels), wide, high, sharey=bool(ylabel))
    for ax, (title, models) in zip(axes, panels.items(), strict=True):
        at = x[title] if isinstance(x, Mapping) else x
        for (name, (mean, error)), colour, marker in zip(models.items(), COLOURS, MARKERS, strict=False):
            ax.fill_between(at, mean - 2 * error, mean + 2 * error, color=colour, alpha=0.15, linewidth=0)
            ax.plot(at, mean, color=colour, marker=marker, label=name)
        ax.set(title=title, xlabel=xlabel)
        ax.margins(x=0.03)
    for ax in axes:  # after all are drawn: it ends the scale's growth
        ax.set_ylim(ylim)
    axes[0].set_ylabel(ylabel)
    handles = axes[0].get_legend_handles_labels()
    if ylabel:
        figure.legend(*handles, loc="outside lower center", ncols=1 + len(panels))
    else:
        figure.legend(*handles, loc="outside right center")
    return figure


@_styled
def spread(values: Mapping[str, Float[np.ndarray, " R"]], *, title: str, xlabel: str) -> Figure:
    """Plot one row per model: every draw as a dot, and the mean as a bar with its value."""
    figure, (ax,) = _panels(1, 5.4, 0.6 + 0.42 * len(values))
    rng = np.random.default_rng(0)
    for row, v in enumerate(values.values()):
        colour = COLOURS[row % len(COLOURS)]
        ax.scatter(v, row + rng.uniform(-0.22, 0.22, len(v)), s=9, color=colour, alpha=0.35, linewidth=0)
        ax.plot([v.mean()] * 2, [row - 0.34, row + 0.34], color=colour, linewidth=2.2)
        ax.annotate(
            f"{v.mean():.3f}",
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


@_styled
def factor_over_feature(
    feature: Float[np.ndarray, " I"],
    factor: Float[np.ndarray, " I"],
    basis: Callable[[Float[np.ndarray, " G"]], Float[np.ndarray, "G M"]],
    weights: Float[np.ndarray, " M"],
    *,
    true: Callable[[Float[np.ndarray, " G"]], Float[np.ndarray, " G"]] | None = None,
    label: str = "feature",
) -> Figure:
    """Plot two panels over a feature: its density with the basis functions scaled by their weights, and the first
    instance factor, one point per instance.

    Args:
        true: the average labeler's true discrimination, where known.
    """
    from scipy.stats import gaussian_kde

    figure, (left, right) = _panels(2, 7.4, 3.0)
    grid = np.linspace(feature.min(), feature.max(), 300)
    left.fill_between(grid, gaussian_kde(feature)(grid), color="#BDBDBD", linewidth=0)
    bumps = basis(grid)
    peak = np.abs(weights).max()
    twin = left.twinx()
    for bump, weight in zip(bumps.T, weights, strict=True):
        twin.plot(grid, weight * bump, color=COLOURS[0] if weight >= 0 else COLOURS[1], linewidth=1.2)
    twin.set(ylim=(-1.1 * peak, 1.1 * peak), ylabel="basis function × weight")
    twin.spines["right"].set_visible(True)
    twin.grid(visible=False)
    left.set(title="Density of outputs, weighted basis", xlabel=label, ylabel="density")
    left.set_ylim(0, 2 * left.get_ylim()[1])
    left.grid(visible=False)
    right.scatter(feature, factor, s=14, color=COLOURS[0], alpha=0.7, linewidth=0, label="instances")
    if true is not None:
        right.plot(grid, true(grid), color="#4D4D4D", linestyle="--", linewidth=1.2, label="generator")
        right.legend()
    right.axhline(0, color="#9E9E9E", linewidth=0.8)
    right.set(title="First instance factor", xlabel=label, ylabel="discrimination of the average labeler")
    return figure


@_styled
def dots(values: Float[np.ndarray, "K M"], rows: Sequence[str], columns: Sequence[str], *, title: str) -> Figure:
    """Plot one row per set, one marker per model; NaN leaves a marker out."""
    figure, (ax,) = _panels(1, 6.4, 0.9 + 0.34 * len(rows))
    for m, name in enumerate(columns):
        ax.scatter(
            values[:, m],
            range(len(rows)),
            s=34,
            color=COLOURS[m % len(COLOURS)],
            marker=MARKERS[m % len(MARKERS)],
            alpha=0.85,
            linewidth=0,
            label=name,
        )
    ax.set(title=title, yticks=range(len(rows)), yticklabels=list(rows))
    ax.invert_yaxis()
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@_styled
def differences(
    panels: Mapping[str, Float[np.ndarray, "K M"]], rows: Sequence[str], columns: Sequence[str], *, highlight: str
) -> Figure:
    """Plot one panel per measure: a row per set, a marker per model at its difference from a baseline; NaN leaves it
    out.

    The axes are linear within ± .1 and logarithmic beyond, so that small differences and disasters are both seen.

    Args:
        highlight: the model drawn larger, with its markers joined.
    """
    figure, axes = _panels(len(panels), 3.7 * len(panels) + 1.4, 1.1 + 0.3 * len(rows), sharey=True)
    place = np.arange(len(rows))
    for ax, (title, values) in zip(axes, panels.items(), strict=True):
        ax.axvline(0, color="#4D4D4D", linewidth=1)
        for m, name in enumerate(columns):
            chosen = name == highlight
            look = dict(linewidth=1.2, markersize=7, zorder=3) if chosen else dict(linewidth=0, markersize=5, alpha=0.8)
            colour, marker = ("black", "o") if chosen else (COLOURS[m % 8], MARKERS[(m + 1) % 8])
            ax.plot(values[:, m], place, color=colour, marker=marker, label=name, **look)
        ax.set(title=title, yticks=place, yticklabels=list(rows))
        ax.set_xscale("symlog", linthresh=0.1)
        ax.margins(x=0.06)
        ticks = np.array([-10, -1, -0.1, 0, 0.1, 1, 10])
        low, high = np.nanmin(values), np.nanmax(values)
        ax.set_xticks(ticks[(ticks > 1.5 * low - 0.1) & (ticks < 1.5 * high + 0.1)])
        ax.xaxis.set_major_formatter("{x:+g}")
    axes[0].invert_yaxis()
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return figure


@_styled
def matrices(tables: Mapping[str, Float[np.ndarray, "A B"]], rows: Sequence[str], columns: Sequence[str]) -> Figure:
    """Plot small tables of probabilities side by side, shaded from ½ to 1."""
    figure, axes = _panels(len(tables), 0.8 + 2.0 * len(tables), 1.9, sharey=True)
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


@_styled
def bands(
    x: Float[np.ndarray, " X"],
    functions: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]],
    densities: Mapping[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]],
    *,
    xlabel: str,
    xscale: str = "linear",
) -> Figure:
    """Plot one panel per function: its mean with a band, over the density of the scores.

    Args:
        x: increasing; where the functions were evaluated.
        functions: title -> (mean, lower, upper), probabilities of shape [X].
        densities: of what -> (scores, weights); the first is filled, the next are lines. Heights go with the
            square root of the density, relative to the largest.
        xscale: of matplotlib.
    """
    figure, axes = _panels(len(functions), 3.2 * len(functions), 2.9)
    edges = x[:: max(1, len(x) // 50)]
    for ax, (title, (mean, lower, upper)), colour in zip(axes, functions.items(), COLOURS, strict=False):
        under = ax.twinx()
        for k, (name, (scores, weights)) in enumerate(densities.items()):
            heights, _ = np.histogram(scores, edges, weights=weights)
            heights = np.sqrt(heights / max(heights.max(), 1e-300))
            look = dict(fill=True, color="#D9D9D9") if k == 0 else dict(color="#757575", linewidth=1)
            under.stairs(heights, edges, label=name, **look)
        under.set(ylim=(0, 4), yticks=[])
        under.spines["right"].set_visible(False)
        under.set_zorder(0)
        ax.set_zorder(1)
        ax.patch.set_visible(False)
        ax.fill_between(x, lower, upper, color=colour, alpha=0.2, linewidth=0)
        ax.plot(x, mean, color=colour)
        ax.set(title=title, xlabel=xlabel, ylim=(0, _nice_top(upper.max())), xlim=(x[0], x[-1]), xscale=xscale)
    figure.legend(*under.get_legend_handles_labels(), loc="outside lower right", ncols=len(densities), fontsize=8)
    return figure


@_styled
def labeler_curves(
    x: Float[np.ndarray, " X"],
    panels: Mapping[str, tuple[Float[np.ndarray, " X"], Float[np.ndarray, "W X"]]],
    named: Mapping[int, str],
    *,
    xlabel: str,
    xscale: str = "linear",
) -> Figure:
    """Plot one panel per measure: one line per labeler, the crowd in black, and selected labelers in colour with their
    names.

    Args:
        x: increasing; where the functions were evaluated.
        panels: title -> (the crowd, the labelers).
        named: row of a labeler -> its name.
    """
    figure, axes = _panels(len(panels), 3.4 * len(panels) + 1.6, 3.0, sharey=True)
    for ax, (title, (crowd, labelers)) in zip(axes, panels.items(), strict=True):
        for row in set(range(len(labelers))) - set(named):
            ax.plot(x, labelers[row], color="#8C8C8C", alpha=0.45, linewidth=0.8)
        for (row, name), colour in zip(named.items(), COLOURS, strict=False):
            ax.plot(x, labelers[row], color=colour, label=name)
        ax.plot(x, crowd, color="black", linewidth=2.4, label="crowd")
        ax.set(title=title, xlabel=xlabel, ylim=(0, 1), xlim=(x[0], x[-1]), xscale=xscale)
    figure.legend(*axes[-1].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    return figure


@_styled
def reliability(
    forecasts: Mapping[str, tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]], *, ylabel: str, n_bins: int = 10
) -> Figure:
    """Plot a reliability diagram: the observed share of positives over the forecast probability, in bins of like
    counts, with two standard errors; the legend gives each forecast's mean distance from the diagonal.

    Args:
        forecasts: name -> (probability, what was observed: 0, 1 or a probability).
    """
    figure, (ax,) = _panels(1, 3.9, 4.2)
    top = 0.0
    for (name, (p, y)), colour, marker in zip(forecasts.items(), COLOURS[1::-1], MARKERS, strict=False):
        where = np.digitize(p, np.unique(np.quantile(p, np.linspace(0, 1, n_bins + 1), method="lower"))[1:-1])
        size = np.bincount(where)
        forecast, observed = (np.bincount(where, v) / size for v in (p, y))
        error = 2 * np.sqrt(observed * (1 - observed) / size)
        distance = np.average(abs(forecast - observed), weights=size)
        label = f"{name}: off by {distance:.2g}"
        ax.errorbar(forecast, observed, error, color=colour, marker=marker, elinewidth=0.8, clip_on=False, label=label)
        top = max(top, forecast.max(), (observed + error).max())
    top = _nice_top(top)
    ax.plot([0, top], [0, top], color="#9E9E9E", linewidth=1, linestyle="--", zorder=1)
    ax.set(title="Reliability", xlabel="forecast", ylabel=ylabel, xlim=(0, top), ylim=(0, top), aspect="equal")
    figure.legend(loc="outside lower center", fontsize=8)
    return figure


@_styled
def intervals(rows: Mapping[str, tuple[float, float, float]], *, title: str, xlabel: str) -> Figure:
    """Plot one row per estimate: (value, lower, upper) as a dot with its interval; NaN leaves the interval out."""
    figure, (ax,) = _panels(1, 6.0, 0.9 + 0.36 * len(rows))
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


@_styled
def known_functions(
    panels: Mapping[str, tuple[np.ndarray, np.ndarray, Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]]],
    *,
    xlabel: str,
) -> Figure:
    """Plot one panel per function: the true function as a dashed line, and every model's mean with its band.

    Args:
        panels: title -> (x, true function, model -> (mean, lower, upper)), each of shape [X].
    """
    figure, axes = _panels(len(panels), 3.3 * len(panels), 2.9)
    for ax, (title, (x, true, models)) in zip(axes, panels.items(), strict=True):
        for (name, (mean, lower, upper)), colour in zip(models.items(), COLOURS, strict=False):
            ax.fill_between(x, lower, upper, color=colour, alpha=0.18, linewidth=0)
            ax.plot(x, mean, color=colour, label=name)
        ax.plot(x, true, color="black", linestyle="--", linewidth=1.2, label="truth")
        ax.set(title=title, xlabel=xlabel, ylim=(0, 1), xlim=(x[0], x[-1]))
    axes[-1].legend(loc="lower left")
    return figure


@_styled
def ranks(values: Mapping[str, Float[np.ndarray, " R"]], *, n_bins: int = 10) -> Figure:
    """Plot one panel per quantity: the histogram of its ranks (in 0 to 1), over the band that holds 99 % of the counts
    of uniform ranks.
    """
    from scipy.stats import binom

    n_columns = 4
    n_rows = -(-len(values) // n_columns)
    figure, axes = _panels(n_columns, 8.6, 1.45 * n_rows + 0.3, nrows=n_rows, sharex=True, sharey=True, squeeze=False)
    for ax in axes.flat[len(values) :]:
        ax.set_visible(False)
    for ax, (name, v) in zip(axes.flat, values.items(), strict=False):
        low, middle, high = binom.ppf([0.005, 0.5, 0.995], len(v), 1 / n_bins)
        ax.axhspan(low, high, color="#D9D9D9", linewidth=0)
        ax.axhline(middle, color="#9E9E9E", linewidth=0.8)
        ax.hist(v, bins=n_bins, range=(0, 1), color=COLOURS[0], alpha=0.75, rwidth=0.9)
        ax.set_title(name, fontsize=8)
        ax.grid(visible=False)
    return figure


@_styled
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
        half: half the width of the intervals.
    """
    figure, (ax,) = _panels(1, 4.2, 1.2 + (0.2 + 0.12 * len(columns)) * len(rows))
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


PERIODS = {  # what is drawn over periods: name of the axis, value of no change, how numbers are written
    "share": ("share of positives", None, "{x:.4g} %"),
    "points": ("change, in percentage points", 0.0, "{x:.4g}"),
    "odds": ("odds at the same score, × the first", 1.0, "×{x:g}"),
    "chance": ("chance of a right label", None, "{x:.0f} %"),
}
MOST_MARKS = 26  # periods, up to which each has its interval; more have a band


@_styled
def over_time(
    times: Sequence[str],
    panels: Mapping[str, Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]],
    kind: str,
    *,
    beside: Float[np.ndarray, " T"] | None = None,
    span: tuple[float, float] | None = None,
    small: bool = False,
) -> Figure:
    """Plot estimates with intervals over periods: one panel for each title, series side by side.

    Args:
        times: names of the periods; as many are written as there is room for, always including the last.
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
    from matplotlib import ticker

    label, zero, form = PERIODS[kind]
    times, size, n = [short(t, 14) for t in times], 1.0 if kind == "odds" else 100.0, len(times)
    across = 1 if len(panels) == 1 else 2 if len(panels) in (2, 4) else 3
    dense = n > MOST_MARKS and any(len(series) > 1 for series in panels.values())
    each = PANEL if small or across > 1 else (7.2 if dense else 4.5, 3.0)  # 4.5 can be read at a phone's width
    rows = -(-len(panels) // across)
    settings = dict(nrows=rows, squeeze=False, sharey=True)
    figure, axes = _panels(across, each[0] * across, each[1] * rows, **settings)
    low, high = periods_span(panels.values(), kind) if span is None else span
    room = int((each[0] - 0.8) / (0.08 * max(map(len, times)) + 0.12))
    named = np.arange(n - 1, -1, -max(1, -(-n // max(1, room))))[::-1]
    for ax in axes.flat[len(panels) :]:
        ax.set_visible(False)
    for ax, (title, series) in zip(axes.flat, panels.items(), strict=False):
        if zero is not None:
            ax.axhline(zero, color="#757575", linewidth=0.9, linestyle="--", zorder=1)
        if beside is not None:
            ax.plot(np.arange(n), size * beside, color="#8C8C8C", linewidth=1.1, zorder=1, label="all groups")
        for k, (name, found) in enumerate(series.items()):
            place = np.arange(n) + 0.3 * (k - (len(series) - 1) / 2)
            ends = tuple(size * np.asarray(v, float) for v in found)
            look = dict(color=COLOURS[k], marker=MARKERS[k], linestyle="" if kind == "points" else "-", label=name)
            _along(ax, place, ends, band=n > MOST_MARKS and len(series) == 1, **look)
        ax.set(title=title, xlim=(-0.6, n - 0.4), yscale="log" if kind == "odds" else "linear")
        ax.set(ylim=(size * low, size * high))
        ax.set_xticks(named, [times[k] for k in named])
        ax.xaxis.set_minor_locator(ticker.FixedLocator(np.arange(n)))
        ax.grid(axis="x", visible=False)
        if kind == "odds":
            ax.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 1.5, 2, 3, 5, 7) if high / low < 30 else (1, 3)))
            ax.yaxis.set_minor_locator(ticker.NullLocator())
        ax.yaxis.set_major_formatter(form)
    for ax in axes.flat[::across]:
        ax.set_ylabel(label)
    handles, names = axes.flat[0].get_legend_handles_labels()
    kept = [(h, name) for h, name in zip(handles, names, strict=True) if name]
    if len(kept) > small:
        figure.legend(*zip(*kept, strict=True), loc="outside lower center", ncols=len(kept), fontsize=7.5)
    return figure


def _along(ax: Axes, place: np.ndarray, ends: tuple[np.ndarray, ...], *, band: bool, color: str, **look) -> None:
    """Return one series: marks with their intervals, or with a band, where a period alone keeps its interval."""
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
    """Compute the limits of a vertical axis that holds the intervals of all panels: from 0 for shares, including 1 for
    odds ratios.

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


PANEL = (3.7, 2.7)  # inches: one panel that can be read at a phone's width
KINDS = {  # of labelers: colour and marker
    "expert": (COLOURS[2], "^"),
    "ordinary": (COLOURS[0], "o"),
    "spammer": (COLOURS[4], "s"),
    "adversary": (COLOURS[1], "v"),
    "unknown": ("#8C8C8C", "o"),
    "few labels": ("#BDBDBD", "o"),
}
MOST_BARS = 40  # of a histogram of whole numbers with a bar for each


@_styled
def counts(values: Float[np.ndarray, " n"], *, title: str, xlabel: str, ylabel: str) -> Figure:
    """Plot a histogram of numbers of labels: one bar per number where there are few, else bins of growing width."""
    from matplotlib import ticker

    figure, (ax,) = _panels(1, *PANEL)
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


@_styled
def probabilities(
    p: Float[np.ndarray, " I"],
    *,
    title: str,
    xlabel: str = "probability of being positive",
    ylabel: str = "instances",
) -> Figure:
    """Plot a histogram of probabilities in twenty bins."""
    figure, (ax,) = _panels(1, *PANEL)
    ax.hist(p, bins=20, range=(0, 1), color=COLOURS[0], alpha=0.85, rwidth=0.94)
    ax.axvline(0.5, color="#757575", linewidth=0.8, linestyle="--")
    ax.set(title=title, xlabel=xlabel, ylabel=ylabel, xlim=(0, 1))
    ax.grid(axis="x", visible=False)
    ax.yaxis.set_major_formatter("{x:,.0f}")
    return figure


@_styled
def chances(
    sensitivity: Float[np.ndarray, " W"], specificity: Float[np.ndarray, " W"], kinds: Sequence[str], *, title: str
) -> Figure:
    """Plot each labeler's sensitivity over specificity, marked by kind; labelers who guess lie on the dashed line.

    Args:
        kinds: of ``KINDS``.
    """
    figure, (ax,) = _panels(1, 3.7, 3.7)
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


@_styled
def objective(history: Float[np.ndarray, " T"], *, title: str, xlabel: str) -> Figure:
    """Plot how far the objective is below its highest value after each step, on a logarithmic scale."""
    from matplotlib import ticker

    figure, (ax,) = _panels(1, *PANEL)
    gap = np.maximum(history.max() - history, 0)
    floor = max(gap[gap > 0].min(), 1e-12) / 2 if (gap > 0).any() else 1.0
    ax.plot(np.arange(1, len(gap) + 1), np.maximum(gap, floor), color=COLOURS[0], marker="o", markersize=2.5)
    ax.set(title=title, xlabel=xlabel, ylabel="below the best, in nats", yscale="log")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("")
    ax.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    return figure


@_styled
def boundary(x: Float[np.ndarray, " I"], center: float, sd: float, *, title: str) -> Figure:
    """Plot a histogram of the instances along the model's axis, with the decision boundary and its uncertainty."""
    figure, (ax,) = _panels(1, *PANEL)
    ax.axvspan(center - sd, center + sd, color=COLOURS[1], alpha=0.15, linewidth=0)
    ax.hist(x, bins=40, range=_span(x), color=COLOURS[0], alpha=0.85)
    ax.axvline(center, color=COLOURS[1], label=f"boundary: {center:.2f} ± {sd:.2f}")
    ax.axvline(0, color="#757575", linestyle="--", linewidth=0.9, label="halfway: 0")
    ax.set(title=title, xlabel="position of the instance", ylabel="instances")
    ax.grid(axis="x", visible=False)
    figure.legend(loc="outside lower center", ncols=2, fontsize=7.5)
    return figure


@_styled
def positions(
    coordinates: Float[np.ndarray, "n K"],
    share: Sequence[float],
    *,
    title: str,
    colour: Float[np.ndarray, " n"] | None = None,
) -> Figure:
    """Plot a scatter of the first two directions of a factorisation; for one direction, a histogram.

    Args:
        share: of the sum of squares that each direction explains.
        colour: a probability for each point, told by colour.
    """
    labels = [f"direction {k + 1} ({s:.0%})" for k, s in enumerate(share)]
    figure, (ax,) = _panels(1, *PANEL)
    if coordinates.shape[1] == 1:
        ax.hist(coordinates[:, 0], bins=30, range=_span(coordinates), color=COLOURS[0], alpha=0.85)
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


MOST_PANELS = 12  # labelers in a figure of confusion matrices
NUMBERED = 12  # classes, up to which a cell has its number and an axis the names of all


@_styled
def confusion(
    found: Any, classes: Sequence[Any], labels: Sequence[Any] | None = None, *, titles: Sequence[str] = ()
) -> Figure:
    """Plot confusion matrices: P(label | truth), one row for each true class, darker for higher probabilities.

    Args:
        found: one matrix [K, L]; several [P, K, L]; or the table ``confusion`` of a result (labeler, truth, label,
            probability), of which the first twelve labelers get a panel each. NaN leaves a cell empty.
        classes: of the truth, in the order of the rows.
        labels: in the order of the columns; by default the classes.
        titles: of the panels; by default the labelers of the table.

    Example:
        >>> figure = confusion(np.array([[0.9, 0.1], [0.2, 0.8]]), ["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['0.90', '0.10', '0.20', '0.80']
    """
    from matplotlib.colors import LinearSegmentedColormap

    labels = classes if labels is None else labels
    if not hasattr(found, "ndim") or hasattr(found, "columns"):
        titles, found = _matrices_of(found, classes, labels)
    found = np.asarray(found, float)
    found = found if found.ndim == 3 else found[None]
    n, n_rows, n_columns = found.shape
    across = min(n, 4)
    alone, numbered = n == 1, max(n_rows, n_columns) <= (NUMBERED if n == 1 else 4)
    cell = 0.46 if numbered else min(0.46, (4.6 if alone else 1.9) / max(n_rows, n_columns))
    size = 0.9 + across * (cell * n_columns + 0.25), 0.7 + -(-n // across) * (cell * n_rows + 0.35)
    settings = dict(nrows=-(-n // across), sharex=True, sharey=True, squeeze=False)
    figure, axes = _panels(across, *size, **settings)
    deepest = 0.6 if numbered else 1.0  # text can be read on it
    shade = LinearSegmentedColormap.from_list("shade", [(COLOURS[0], 0.0), (COLOURS[0], deepest)])
    for ax in axes.flat[n:]:
        ax.set_visible(False)
    for ax, matrix, title in zip(axes.flat, found, titles or [""] * n, strict=False):
        ax.pcolormesh(matrix, cmap=shade, vmin=0, vmax=1, edgecolor="#E6E6E6", linewidth=0.6)
        for (row, column), p in np.ndenumerate(matrix if numbered else matrix[:0]):
            if np.isfinite(p):
                text = "0" if p < 0.005 else "1" if p > 0.995 else f"{p:.2f}"
                look = dict(ha="center", va="center", color="#202020", fontsize=8 if alone else 7)
                ax.text(column + 0.5, row + 0.5, text, **look)
        ax.set_title(short(str(title), 40 if alone else 20), fontsize=9.5 if alone else 8)
        ax.set(aspect="equal", xlim=(0, n_columns), ylim=(n_rows, 0))
        ax.grid(visible=False)
        for spine in ax.spines.values():
            spine.set_visible(False)
    ax = axes.flat[0]
    for axis, words in ((ax.xaxis, labels), (ax.yaxis, classes)):
        some = evenly(len(words), NUMBERED)
        axis.set_ticks(some + 0.5, [short(str(words[k]), 14) for k in some])
    turned = max(len(str(word)) for word in labels) > 12 * cell  # characters at this size
    for ax in axes.flat:
        ax.tick_params(length=0, labelsize=8 if alone else 7)
        ax.tick_params(axis="x", rotation=90 if turned else 0)
    figure.supxlabel("label", fontsize=9)
    figure.supylabel("truth", fontsize=9)
    return figure


def _matrices_of(table: Any, classes: Sequence[Any], labels: Sequence[Any]) -> tuple[list[str], np.ndarray]:
    """Return the confusion matrices of the first labelers of a table, and who they are."""
    labeler, truth, label, p = (
        np.asarray(table[name]).tolist() for name in ("labeler", "truth", "label", "probability")
    )
    who = {name: k for k, name in enumerate(list(dict.fromkeys(labeler))[:MOST_PANELS])}
    row, column = ({value: k for k, value in enumerate(values)} for values in (classes, labels))
    out = np.full((len(who), len(row), len(column)), np.nan)
    for w, t, v, value in zip(labeler, truth, label, p, strict=True):
        if w in who and t in row and v in column:
            out[who[w], row[t], column[v]] = value
    return list(map(str, who)), out


@_styled
def shares(panels: Mapping[str, Float[np.ndarray, " K"]], classes: Sequence[Any], *, title: str) -> Figure:
    """Plot estimates of the class shares: one row for each class, one marker for each way to count."""
    figure, (ax,) = _panels(1, PANEL[0], 1.2 + 0.28 * len(classes))
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


MOST_LINES = 150  # labelers in a figure of accuracies
NAMED = 30  # labelers, up to which each has its name


@_styled
def accuracies(
    found: Float[np.ndarray, " W"],
    lower: Float[np.ndarray, " W"],
    upper: Float[np.ndarray, " W"],
    names: Sequence[Any],
    *,
    title: str,
    chance: float,
) -> Figure:
    """Plot labelers' accuracies with intervals, the best at the top; of very many labelers an evenly spaced selection.

    Args:
        lower, upper: ends of the intervals; NaN leaves them out.
        chance: accuracy of a labeler who guesses, drawn as a dashed line.
    """
    order = np.argsort(-found, kind="stable")
    order = order[evenly(len(order), MOST_LINES)]
    named = len(order) <= NAMED
    figure, (ax,) = _panels(1, PANEL[0], 0.9 + (0.17 if named else 0.03) * max(len(order), 6))
    rows = np.arange(len(order))
    ax.axvline(chance, color="#757575", linewidth=0.9, linestyle="--", zorder=1)
    ax.hlines(rows, lower[order], upper[order], color=COLOURS[0], alpha=0.45, linewidth=2.2 if named else 1.2)
    ax.scatter(found[order], rows, s=16 if named else 6, color=COLOURS[0], linewidth=0, clip_on=False, zorder=2)
    ax.set(title=title, xlabel="accuracy", xlim=(0, 1), ylim=(len(order) - 0.3, -0.7), yticks=[])
    if named:
        ax.set_yticks(rows, [short(str(names[k])) for k in order], fontsize=7.5)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)
    return figure


def evenly(n: int, most: int) -> np.ndarray:
    """Select at most ``most`` of n rows, evenly spaced, with the first and the last.

    Example:
        >>> evenly(9, 3).tolist(), evenly(2, 3).tolist()
        ([0, 4, 8], [0, 1])
    """
    return np.unique(np.linspace(0, n - 1, min(most, n)).round().astype(int))


def _span(values: np.ndarray) -> tuple[float, float]:
    """Return the range of a histogram, with some room where all values are alike."""
    low, high = float(values.min()), float(values.max())
    room = max(1e-3 * max(abs(low), abs(high), 1) - (high - low), 0)
    return low - room, high + room


def _nice_top(largest: float) -> float:
    """Return the end of an axis of probabilities that begins at 0: 1, or lower where all are far below."""
    return 1.0 if largest > 0.45 else max(1.1 * largest, 1e-6)


def short(name: str, length: int = 18) -> str:
    """Shorten a name for a legend: cut it, drop control characters and escape mathematics.

    Example:
        >>> short("labeler number 1000000"), short("$x$")
        ('labeler number 10…', '\\\\$x\\\\$')
    """
    name = name if len(name) <= length else name[: length - 1] + "…"
    return "".join(c if c.isprintable() else "\ufffd" for c in name).replace("$", r"\$")
