"""The style of all figures, their files, and what drawing functions share."""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from jaxtyping import Float

from crowdjax.extras import needed
from crowdjax.labels import InputError
from crowdjax.settings import brief

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

T = TypeVar("T")
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
DRAWING = threading.RLock()
PANEL = (3.7, 2.7)  # inches: one panel that can be read at a phone's width


def styled(draw: Callable[..., T]) -> Callable[..., T]:
    """Decorate a drawing function: apply ``STYLE``, and say what to install where matplotlib is missing."""

    @wraps(draw)
    def inner(*args, **kwargs):
        with in_style():
            return draw(*args, **kwargs)

    return inner


@contextlib.contextmanager
def in_style(**more: Any):
    """Set ``STYLE`` in matplotlib's settings for a while, for one thread at a time: the settings are those of the whole
    process, and threads that set them at once would draw in each other's and leave them changed.
    """
    with needed("figures"):
        import matplotlib
    with DRAWING, matplotlib.rc_context(STYLE | more):
        yield


def axes(ax: Axes | None, width: float, height: float) -> Axes:
    """Return the axes given, or else those of a new pyplot figure, which notebooks show."""
    from matplotlib.axes import Axes

    if isinstance(ax, Axes):
        return ax
    if ax is not None:
        raise InputError(f"ax: got {brief(ax)}; allowed: Axes of matplotlib, as plt.subplots()[1]")
    import matplotlib.pyplot as plt

    return plt.figure(figsize=(width, height)).subplots()


def subplots(n: int, width: float, height: float, **kwargs) -> tuple[Figure, Sequence[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    return figure, np.atleast_1d(figure.subplots(kwargs.pop("nrows", 1), n, **kwargs))


@contextlib.contextmanager
def any_glyph():
    """Draw characters that the font lacks as boxes, without a warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"(?s)Glyph .* missing from font", UserWarning)
        warnings.filterwarnings("ignore", "Matplotlib currently does not support", UserWarning)
        yield


def save(figure: Figure, stem: Path) -> tuple[Path, Path]:
    """Write a figure to ``stem``.svg and ``stem``.png, without dates or random names in the files."""
    with in_style(), any_glyph():
        svg, png = (stem.parent / f"{stem.name}.{kind}" for kind in ("svg", "png"))
        figure.savefig(svg, metadata={"Date": None, "Creator": None})
        figure.savefig(png, metadata={"Software": None})
    return svg, png


def as_svg(figure: Figure, name: str) -> str:
    """Render a figure as SVG with text kept as text; ids inside are unique to ``name``."""
    import io

    buffer = io.StringIO()
    with in_style(**{"svg.fonttype": "none", "svg.hashsalt": name}), any_glyph():
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def evenly(n: int, most: int) -> np.ndarray:
    """Select at most ``most`` of n rows, evenly spaced, with the first and the last: the points drawn of more than a
    figure needs.

    Example:
        >>> evenly(9, 3).tolist(), evenly(2, 3).tolist()
        ([0, 4, 8], [0, 1])
    """
    return np.unique(np.linspace(0, n - 1, min(most, n)).round().astype(int))


def span(values: np.ndarray) -> tuple[float, float]:
    """Compute the range of a histogram, with some room where all values are equal."""
    low, high = float(values.min()), float(values.max())
    room = max(1e-3 * max(abs(low), abs(high), 1) - (high - low), 0)
    return low - room, high + room


def nice_top(largest: float) -> float:
    """Compute the end of an axis of probabilities that begins at 0: 1, or lower where all are far below."""
    return 1.0 if largest > 0.45 else max(1.1 * largest, 1e-6)


def short(name: str, length: int = 18) -> str:
    """Shorten a name for a legend: cut it, drop control characters and escape mathematics.

    Example:
        >>> short("labeler number 1000000"), short("$x$")
        ('labeler number 10…', '\\\\$x\\\\$')
    """
    name = name if len(name) <= length else name[: length - 1] + "…"
    return "".join(c if c.isprintable() else "\ufffd" for c in name).replace("$", r"\$")


def legend_below(ax: Axes, *, drop: float = 0.42, ncols: int = 2, handles: Sequence[Any] | None = None) -> None:
    """Place the legend below the axis's name, a given number of inches under the axes, so that it covers no data."""
    from matplotlib.transforms import ScaledTranslation

    under = ax.transAxes + ScaledTranslation(0, -drop, ax.figure.dpi_scale_trans)
    look = dict(loc="upper center", bbox_to_anchor=(0.5, 0), bbox_transform=under, borderaxespad=0.0)
    handles = ax.get_legend_handles_labels()[0] if handles is None else list(handles)
    look |= dict(ncols=ncols, fontsize=7.5, handletextpad=0.4, columnspacing=1.2)
    ax.legend(handles, [str(handle.get_label()) for handle in handles], **look)


def unframed(ax: Axes) -> None:
    """Remove the frame, the grid and the tick marks, for axes of cells."""
    ax.grid(visible=False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)


def rows_named(ax: Axes, names: Sequence[Any], most: int = 30) -> None:
    """Label the rows 0, 1, 2 and so on of an axis that points down; too many rows get no labels."""
    n = len(names)
    named = n <= most
    words = [short(str(name)) for name in names if named]
    ax.set_yticks(np.arange(len(words)), words, fontsize=7.5 if n <= 30 else 6.5)
    ax.set_ylim(n - 0.3, -0.7)
    ax.grid(axis="y", visible=False)
    ax.tick_params(axis="y", length=0)


def wilson(right: Float[np.ndarray, "*n"], n: Float[np.ndarray, "*n"]) -> tuple[np.ndarray, np.ndarray]:
    """Compute the ends of Wilson's (1927) 95 % interval of a share; NaN where n is 0.

        (s + z² / 2n ± z √(s (1 − s) / n + z² / 4n²)) / (1 + z² / n),   s = right / n, z = 1.96

    Example:
        >>> [round(float(end), 3) for end in wilson(np.array(9.0), np.array(10.0))]
        [0.596, 0.982]
    """
    n = np.where(np.asarray(n) > 0, n, np.nan)
    s, z = right / n, 1.959963984540054
    half = z * np.sqrt(s * (1 - s) / n + z**2 / (4 * n**2))
    return (s + z**2 / (2 * n) - half) / (1 + z**2 / n), (s + z**2 / (2 * n) + half) / (1 + z**2 / n)
