"""Confusion matrices: tiles of cells on one axes, a tile for each labeler."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from crowdjax.plots.style import COLOURS, axes, short, styled, subplots, unframed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 12  # labelers in a figure of confusion matrices
NUMBERED = 12  # classes, up to which a cell has its number and an axis the names of all


@styled
def confusion(
    found: Any, classes: Sequence[Any], labels: Sequence[Any] | None = None, *, titles: Sequence[str] = ()
) -> Figure:
    """Draw confusion matrices: P(label | truth), one row per class, darker for larger probabilities.

    Args:
        found: one matrix [K, L]; several [P, K, L]; or the table ``confusion`` of a result (labeler, truth, label,
            probability), of which the first twelve labelers get a tile each. NaN leaves a cell empty.
        classes: of the truth, in the order of the rows.
        labels: in the order of the columns; by default the classes.
        titles: of the tiles; by default the labelers of the table.

    Example:
        >>> figure = confusion(np.array([[0.9, 0.1], [0.2, 0.8]]), ["cat", "dog"])
        >>> [text.get_text() for text in figure.axes[0].texts]
        ['0.90', '0.10', '0.20', '0.80']
    """
    labels = classes if labels is None else labels
    if not hasattr(found, "ndim") or hasattr(found, "columns"):
        titles, found = matrices_of(found, classes, labels)
    found = np.asarray(found, float)
    found = found if found.ndim == 3 else found[None]
    figure, (ax,) = subplots(1, *_size(*found.shape))
    tiles(found, classes, labels, titles or [""] * len(found), ax=ax)
    return figure


@styled
def tiles(
    found: Float[np.ndarray, "P K L"],
    classes: Sequence[Any],
    labels: Sequence[Any],
    titles: Sequence[Any],
    *,
    ax: Axes | None = None,
) -> Axes:
    """Draw confusion matrices as tiles, four in a row: P(label | truth), one row per class, darker where larger.

    Args:
        found: the matrices; NaN leaves a cell empty.
        titles: one over each tile.
    """
    from matplotlib.colors import LinearSegmentedColormap

    n, n_rows, n_columns = found.shape
    across, numbered, cell = _across(n), *_cells(*found.shape)
    ax = axes(ax, *_size(*found.shape))
    step = n_columns + _gap(cell), n_rows + 0.32 / cell  # between tiles, in cells
    deepest = 0.6 if numbered else 1.0  # text can be read on it
    shade = LinearSegmentedColormap.from_list("shade", [(COLOURS[0], 0.0), (COLOURS[0], deepest)])
    size, room = (8, 40) if n == 1 else (7, max(4, int(15.5 * cell * n_columns)))  # characters at this size
    for k, (matrix, title) in enumerate(zip(found, titles, strict=True)):
        left, top = k % across * step[0], k // across * step[1]
        edges = left + np.arange(n_columns + 1), top + np.arange(n_rows + 1)
        ax.pcolormesh(*edges, matrix, cmap=shade, vmin=0, vmax=1, edgecolor="#E6E6E6", linewidth=0.6)
        for (row, column), p in np.ndenumerate(matrix if numbered else matrix[:0]):
            if np.isfinite(p):
                text = "0" if p < 0.005 else "1" if p > 0.995 else f"{p:.2f}"
                where = left + column + 0.5, top + row + 0.5
                ax.text(*where, text, ha="center", va="center", color="#202020", fontsize=size)
        if str(title):
            look = dict(fontsize=9.5 if n == 1 else 8, fontweight="bold", va="bottom")
            ax.text(left, top - 0.06 / cell, short(str(title), room), **look)
    down = -(-n // across)
    ax.set(aspect="equal", xlim=(0, across * step[0] - _gap(cell)), ylim=(down * step[1] - 0.32 / cell, -0.25 / cell))
    for axis, words, each, many in ((ax.xaxis, labels, step[0], across), (ax.yaxis, classes, step[1], down)):
        room = min(NUMBERED, max(2, int(len(words) * cell / 0.13)))  # for so many names
        some = np.arange(0, len(words), -(-len(words) // room))
        named = [short(str(words[k]), 14) for k in some.tolist()]
        axis.set_ticks(np.concatenate([some + 0.5 + each * float(k) for k in range(many)]), named * many)
    turned = max(len(str(word)) for word in labels) > 12 * cell * n_columns / min(n_columns, NUMBERED)
    unframed(ax)
    ax.tick_params(labelsize=size)
    ax.tick_params(axis="x", rotation=90 if turned else 0)
    ax.set(xlabel="label", ylabel="truth")
    return ax


def _across(n: int) -> int:
    """Compute the number of tiles per row: at most four, with rows of equal length."""
    return -(-n // -(-n // 4))


def _cells(n: int, n_rows: int, n_columns: int) -> tuple[bool, float]:
    """Decide whether cells show their numbers, and how many inches a cell has."""
    numbered = max(n_rows, n_columns) <= (NUMBERED if n == 1 else 4)
    return numbered, 0.46 if numbered else min(0.46, (4.6 if n == 1 else 1.9) / max(n_rows, n_columns))


def _gap(cell: float) -> float:
    return 0.22 / cell


def _size(n: int, n_rows: int, n_columns: int) -> tuple[float, float]:
    """Compute the size of a figure of tiles, in inches."""
    cell, across = _cells(n, n_rows, n_columns)[1], _across(n)
    return 0.9 + across * (cell * n_columns + 0.22), 0.8 + -(-n // across) * (cell * n_rows + 0.32)


def matrices_of(
    table: Any, classes: Sequence[Any], labels: Sequence[Any], who: Sequence[Any] | None = None
) -> tuple[list[str], Float[np.ndarray, "P K L"]]:
    """Select labelers of a table, by default the first; return (names, confusion matrices).

    Args:
        table: with columns labeler, truth, label, probability.
        who: the labelers.
    """
    labeler, truth, label, p = (
        np.asarray(table[name]).tolist() for name in ("labeler", "truth", "label", "probability")
    )
    who = list(dict.fromkeys(labeler))[:MOST_PANELS] if who is None else who
    place, row, column = ({value: k for k, value in enumerate(values)} for values in (who, classes, labels))
    out = np.full((len(place), len(row), len(column)), np.nan)
    for w, t, v, value in zip(labeler, truth, label, p, strict=True):
        if w in place and t in row and v in column:
            out[place[w], row[t], column[v]] = value
    return list(map(str, who)), out
