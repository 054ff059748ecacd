"""How accuracy grows with the labels of an instance, by leaving labels out and comparing with gold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from crowdjax.plots.style import COLOURS, MARKERS, PANEL, axes, legend_below, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZES = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 70, 100)
KEPT = 0.8  # share of the instances with gold that have the largest number of labels


def sizes_of(n_labels: Int[np.ndarray, " I"], most: int | None = None) -> list[int]:
    """Choose the numbers of labels to compare: up to the number that four fifths of the instances have.

    Example:
        >>> sizes_of(np.array([4, 6, 6, 6, 9])), sizes_of(np.array([4, 4]), most=2)
        ([1, 2, 3, 4, 5, 6], [1, 2])
    """
    top = int(np.quantile(n_labels, 1 - KEPT, method="higher"))
    top = top if most is None else min(top, most)
    return sorted({size for size in SIZES if size < top} | {top})


def drawn_labels(
    rng: np.random.Generator, instance: Int[np.ndarray, " N"], n: int, n_instances: int
) -> Bool[np.ndarray, " N"]:
    """Draw n labels of every instance, or all where it has fewer, without replacement; return which are drawn.

    Example:
        >>> kept = drawn_labels(np.random.default_rng(0), np.array([0, 0, 0, 1]), 2, 2)
        >>> int(kept[:3].sum()), bool(kept[3])
        (2, True)
    """
    order = np.lexsort((rng.random(len(instance)), instance))
    first = np.concatenate([[0], np.cumsum(np.bincount(instance, minlength=n_instances))])
    kept = np.zeros(len(instance), bool)
    kept[order] = np.arange(len(instance)) - first[instance[order]] < n
    return kept


def vote_scores(
    instance: Int[np.ndarray, " N"], label: Int[np.ndarray, " N"], truth: Int[np.ndarray, " I"], n_values: int
) -> Float[np.ndarray, " I"]:
    """Compute the probability that a majority vote is right; ties are broken at random.

    Example:
        >>> vote_scores(np.array([0, 0, 1]), np.array([1, 0, 1]), np.array([1, 0]), 2).tolist()
        [0.5, 0.0]
    """
    votes = np.bincount(instance * n_values + label, minlength=len(truth) * n_values).reshape(-1, n_values)
    most = votes == votes.max(1, keepdims=True)
    return most[np.arange(len(truth)), truth] / most.sum(1)


def scores(
    instance: Int[np.ndarray, " N"],
    sizes: Sequence[int],
    answers: Mapping[str, Callable[[Bool[np.ndarray, " N"]], Float[np.ndarray, " I"]]],
    rows: Int[np.ndarray, " n"],
    n_instances: int,
    *,
    draws: int,
    seed: int,
) -> dict[str, Float[np.ndarray, "S n"]]:
    """Return, for every method and number of labels, how often each instance is right, over so many draws.

    Args:
        answers: method -> what says how right each instance is, from the labels that are kept.
        rows: the instances to judge.
    """
    rng = np.random.default_rng(seed)
    out = {name: np.zeros((len(sizes), len(rows))) for name in answers}
    for s, size in enumerate(sizes):
        for _ in range(draws):
            kept = drawn_labels(rng, instance, size, n_instances)
            for name, answer in answers.items():
                out[name][s] += answer(kept)[rows] / draws
    return out


@styled
def labels_needed(
    sizes: Sequence[int],
    found: Mapping[str, Float[np.ndarray, "S n"]],
    *,
    title: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Draw the accuracy of methods over the labels of an instance, with ± 2 standard errors over the instances.

    Args:
        found: method -> how often each instance is right.
    """
    from matplotlib import ticker

    ax = axes(ax, PANEL[0] + 0.5, PANEL[1] + 0.6)
    at = np.asarray(sizes, float)
    step = 1.035 if max(sizes) > 12 else 1.0
    low, high = 1.0, 0.0
    for k, ((name, each), colour, marker) in enumerate(zip(found.items(), COLOURS, MARKERS, strict=False)):
        mean, error = each.mean(1), 2 * each.std(1) / np.sqrt(each.shape[1])
        aside = k - (len(found) - 1) / 2  # methods that coincide stand side by side
        x = at * step**aside if step > 1 else at + 0.02 * (at[-1] - at[0]) * aside
        look = dict(color=colour, marker=marker, linewidth=1.0, elinewidth=1.2, label=name)
        ax.errorbar(x, mean, error, **look)
        low, high = min(low, float((mean - error).min())), max(high, float((mean + error).max()))
    if step > 1:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(ticker.NullLocator())
    shown = [size for size in sizes if size in SIZES[:5] or size in (7, 10, 20, 50, 100)] if step > 1 else sizes
    if sizes[-1] not in shown:
        shown = [s for s in shown if s < sizes[-1] / 1.25] + [sizes[-1]]
    ax.set_xticks(shown, [str(size) for size in shown])
    ax.set(title=title, xlabel="labels of an instance", ylabel="accuracy against gold")
    ax.set_ylim(max(0, low - 0.02), min(1.0, high) + 0.015)
    ax.grid(axis="x", visible=False)
    legend_below(ax)
    return ax
