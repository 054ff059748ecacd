"""The labels themselves: a map of labelers by instances, sorted by the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from crowdjax.plots.style import COLOURS, axes, short, styled, unframed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_ROWS, MOST_COLUMNS = 100, 300  # labelers and instances in a map
NAMED = 40  # labelers, up to which each has its name
NO_LABEL = "#F1F1F1"


@styled
def label_map(
    labeler: Int[np.ndarray, " N"],
    instance: Int[np.ndarray, " N"],
    label: Int[np.ndarray, " N"],
    values: Sequence[Any],
    names: Sequence[Any],
    *,
    skill: Float[np.ndarray, " W"],
    inferred: Int[np.ndarray, " I"],
    place: Float[np.ndarray, " I"],
    gold: Int[np.ndarray, " I"] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draw every label as a cell, labelers by their skill, the best at the top, instances by their place; below them
    the inferred class and, where it is known, gold.

    Of more than 100 labelers those with most labels are drawn, of more than 300 instances those with most labels of
    these.

    Args:
        label: codes of ``values``.
        names: of the labelers.
        skill: sorts labelers; NaN last.
        inferred: the class of each instance, as the code of a value, -1 where there is none.
        place: sorts instances.
        gold: code of a value, -1 where unknown.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    n_labels = np.bincount(labeler, minlength=len(names))
    people = np.argsort(-n_labels, kind="stable")[:MOST_ROWS]
    people = people[np.argsort(-np.nan_to_num(skill[people], nan=-np.inf), kind="stable")]
    row_of = np.full(len(names), -1)
    row_of[people] = np.arange(len(people))
    judged = np.bincount(instance[row_of[labeler] >= 0], minlength=len(place))
    mixed = np.random.default_rng(0).permutation(len(place))  # of instances with as many labels, any
    things = np.lexsort((mixed, -judged))[: min(MOST_COLUMNS, np.count_nonzero(judged))]
    things = things[np.argsort(place[things], kind="stable")]
    column_of = np.full(len(place), -1)
    column_of[things] = np.arange(len(things))
    cells = np.full((len(people), len(things)), np.nan)
    here = (row_of[labeler] >= 0) & (column_of[instance] >= 0)
    cells[row_of[labeler[here]], column_of[instance[here]]] = label[here]
    coded = {"inferred": inferred[things], **({} if gold is None else {"gold": gold[things]})}
    strips = {name: np.where(code >= 0, code, np.nan) for name, code in coded.items() if (code >= 0).any()}
    each = max(1, 24 // len(people))  # rows of the image for a labeler
    cells = cells.repeat(each, 0)
    high = max(1, round(0.05 * len(cells)))  # rows of a strip
    gap = np.full((max(1, high // 2), len(things)), np.nan)
    parts, middles = [cells], []
    for strip in strips.values():
        middles.append(sum(map(len, parts)) + len(gap) + (high - 1) / 2)
        parts += [gap, np.tile(strip, (high, 1))]
    image = np.concatenate(parts)
    size = np.clip([2 + 0.02 * len(things), 1.2 + 0.15 * (len(people) + 2)], [4.6, 2.0], [7.2, 6.2]).tolist()
    ax = axes(ax, *size)
    colours = colours_of(len(values))
    extent = (0, len(things), len(image), 0)
    blank = np.where(np.arange(len(image)) < len(cells), 1.0, np.nan)[:, None].repeat(len(things), 1)
    under, over = (ListedColormap(of).with_extremes(bad="#FFFFFF00") for of in ([NO_LABEL], colours))
    ax.imshow(blank, cmap=under, extent=extent, aspect="auto", interpolation="nearest")
    settings = dict(vmin=-0.5, vmax=len(values) - 0.5, aspect="auto", interpolation="nearest")
    ax.imshow(image, cmap=over, extent=extent, **settings)
    unframed(ax)
    named = len(people) <= NAMED
    ticks, words = [np.array(middles) + 0.5], list(strips)
    if named:
        ticks, words = [each * (np.arange(len(people)) + 0.5), *ticks], [short(str(names[k])) for k in people] + words
    ax.set_yticks(np.concatenate(ticks), words, fontsize=7 if len(people) > 25 else 7.5)
    ax.set_xticks([])
    ax.set_xlabel(f"{len(things):,} instances" + (f" of {len(place):,}" if len(things) < len(place) else "")
                  + ", in the order of the model")  # fmt: skip
    if not named:
        ax.set_ylabel(f"{len(people):,} labelers" + (f" of {len(names):,}" if len(people) < len(names) else "")
                      + ", the best at the top")  # fmt: skip
    if len(values) <= 20:
        patches = [Patch(color=c, label=short(str(v), 16)) for c, v in zip(colours, values, strict=True)]
        if np.isnan(cells).any():
            patches.append(Patch(color=NO_LABEL, label="no label"))
        place_of = dict(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0.3)
        ax.legend(patches, [patch.get_label() for patch in patches], fontsize=7.5, handlelength=1, **place_of)
    return ax


def colours_of(n: int) -> list[str]:
    """Choose a colour for each of n values: orange and blue for two, a scale for more.

    Example:
        >>> colours_of(2), len(set(colours_of(20)))
        (['#D55E00', '#0072B2'], 20)
    """
    if n == 2:
        return [COLOURS[1], COLOURS[0]]
    if n <= len(COLOURS):
        return list(COLOURS[:n])
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    scale = colormaps["tab20"] if n <= 20 else colormaps["turbo"]
    return [to_hex(scale(k if n <= 20 else k / (n - 1))) for k in range(n)]
