"""Gold of a contextual fit as a probability sample: over all instances, and in each period, group or kind.

Where gold comes without chances it counts as a random part of the instances it is used for: of all for the headline,
and of each cell for that cell. ``selected`` says where it is none.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jax.sharding import Mesh
from jaxtyping import Bool, Float, Int

from crowdjax import contextual
from crowdjax.contextual import ContextualFit, assisted
from crowdjax.contextual.assisted import Assisted, Change, Sample
from crowdjax.integrated import LEVEL
from crowdjax.labels import Labels
from crowdjax.result import votes_of

WRONG = 0.05  # level of the comparisons of gold with predictions, of all parts together
UNLIKELY = 0.001  # p-value, below which gold is not a random part of what was labelled
COLUMNS = ("assisted_mean", "assisted_lower", "assisted_upper", "n_gold_wanted")
CONTRADICTS = "gold_contradicts"
TYPES = dict.fromkeys(COLUMNS[:3], pa.float64()) | {COLUMNS[3]: pa.int64(), CONTRADICTS: pa.bool_()}
OF_CHANGES = ("assisted_difference", "assisted_lower", "assisted_upper", "assisted_p_increase")


class Gold(NamedTuple):
    """Gold labels with their inclusion probabilities and the predictions of a fit.

    Attributes:
        sample: of all instances; its chances are those of all together where none were given.
        given: whether chances were given.
        known: values that a random part has in common with the others, by name, shape [I] each.
        people: the prevalence function of the population's rows and their counts, shape [K]; None without one.
    """

    sample: Sample
    given: bool
    known: dict[str, Float[np.ndarray, " I"]]
    people: tuple[Float[np.ndarray, " K"], Float[np.ndarray, " K"]] | None


def read(
    fit: ContextualFit,
    labels: Labels,
    scores: Float[np.ndarray, "I C"],
    first: Float[np.ndarray, " I"],
    strata: tuple[str, Int[np.ndarray, " I"]] | None,
    weights: Float[np.ndarray, " I"] | None,
    population: tuple[Float[np.ndarray, "K C"], Float[np.ndarray, " K"]] | None,
    chances: Float[np.ndarray, " I"] | None,
    cell: Int[np.ndarray, " I"] | None,
    people_cell: Int[np.ndarray, " K"] | None,
    mesh: Mesh | None,
) -> Gold | None:
    """Read gold with held-out predictions; None where no truth is known.

    Args:
        first: the first score of each instance.
        strata: what instances are divided by, and the part of each: gold of different shares is no random part of all.
        chances: of gold, where given.
        cell, people_cell: period and group of the instances and of the population's rows.
    """
    if labels.gold is None or not (np.asarray(labels.gold) >= 0).any():
        return None
    gold = np.where(labels.gold < 0, np.nan, labels.gold)
    people = function = None
    if population is not None:
        of = ((scores, cell), (population[0], people_cell))
        of_instances, of_people = (np.float64(contextual.calibrate(fit, *at).mean) for at in of)
        people = (of_people, population[1])
        function = (of_instances, float(np.average(of_people, weights=population[1])))
    votes = votes_of(labels)
    sample = Sample(
        gold,
        np.full(len(gold), np.isfinite(gold).mean()) if chances is None else np.where(np.isnan(chances), 1, chances),
        np.ones(len(gold)) if weights is None else weights,
        contextual.held_out_posteriors(fit, labels, scores, cell=cell, mesh=mesh),
        function,
    )
    compared = {"scores": first, "labels": votes[:, 1] / np.maximum(votes.sum(1), 1)}
    compared |= {} if strata is None else {strata[0]: strata[1].astype(float)}
    return Gold(sample, chances is not None, compared, people)


def selected(gold: Gold, rows: Bool[np.ndarray, " I"] | None = None, among: int = 1) -> str | None:
    """Test whether gold without chances differs from the other instances (Kolmogorov-Smirnov test); None where nothing
    does.

    Args:
        rows: the instances of which gold is to be a random part; None for all.
        among: how many such parts are compared: all comparisons together have the level ``UNLIKELY`` (Bonferroni).
    """
    known = gold.sample.known if rows is None else gold.sample.known[rows]
    if gold.given or known.all() or not known.any():
        return None
    for name, values in gold.known.items():
        values = values if rows is None else values[rows]
        if assisted.same_distribution(values[known], values[~known]) < UNLIKELY / (among * len(gold.known)):
            return name
    return None


def part(gold: Gold, rows: Bool[np.ndarray, " I"], people: Bool[np.ndarray, " K"] | None) -> Sample | None:
    """Restrict the sample to some of the instances; None where there is no gold or no population among them.

    Args:
        people: the population's rows that belong to it.
    """
    sample, function = gold.sample, gold.sample.function
    known = sample.known[rows]
    if not sample.weight[rows][known].sum() > 0:
        return None
    if function is not None and gold.people is not None:
        if people is None or not gold.people[1][people].sum() > 0:
            return None
        pi, counts = gold.people
        function = (function[0][rows], float(np.average(pi[people], weights=counts[people])))
    chance = sample.chance[rows] if gold.given else np.full(known.size, known.mean())
    return Sample(sample.gold[rows], chance, sample.weight[rows], sample.predictions[rows], function)


def of_parts(
    gold: Gold,
    parts: Sequence[tuple[Bool[np.ndarray, " I"], Bool[np.ndarray, " K"] | None]],
) -> tuple[list[Assisted | None], list[int]]:
    """Compute the assisted estimate of each part, None without gold; return (estimates, parts whose gold was selected
    and has no estimate).

    Parts that do not overlap have independent samples, up to the predictions' common errors, which count only in so far
    as gold and the others differ by chance: λ (f̄_S - f̄_G).

    Args:
        parts: each by its instances and its rows of the population.
    """
    found: list[Assisted | None] = []
    refused = []
    for k, (rows, people) in enumerate(parts):
        sample = part(gold, rows, people)
        chosen = sample is not None and selected(gold, rows, len(parts)) is not None
        found.append(None if sample is None or chosen else assisted.estimates(sample, LEVEL)[1])
        refused += [k] if chosen else []
    return found, refused


def gaps(
    gold: Gold,
    parts: Sequence[tuple[Bool[np.ndarray, " I"], Bool[np.ndarray, " K"] | None]],
    sd: Sequence[float],
) -> list[tuple[assisted.Gap, bool] | None]:
    """Measure the difference between gold and predictions in each part, and test whether gold contradicts them, at
    level ``WRONG`` for all parts together (Holm 1979); None where there is too little gold.

    Args:
        sd: of each part, as in ``assisted.gap``.
    """
    found = []
    for (rows, _), error in zip(parts, sd, strict=True):
        of_all = gold.sample
        chance = of_all.chance[rows] if gold.given else np.ones(rows.sum())
        sample = Sample(of_all.gold[rows], chance, of_all.weight[rows], of_all.predictions[rows])
        found.append(assisted.gap(sample, float(np.nan_to_num(error))))
    p = np.array([1.0 if g is None else g.p for g in found])
    compared = sum(g is not None for g in found)
    bounds = WRONG / np.maximum(compared - p.argsort(kind="stable").argsort(), 1)
    below = p[p > bounds].min(initial=np.inf)  # the least p that is not small enough, and those above it, are not
    return [None if g is None else (g, g.p < below) for g in found]


def chosen_within(gold: Gold, cell: Int[np.ndarray, " I"]) -> bool:
    """Test whether gold without chances differs from the other instances of its cells, over all cells together.

    Ranks within the cells, ties at random, are compared: they do not depend on how much gold a cell has.
    """
    rng, n = np.random.default_rng(0), np.bincount(cell)
    before = np.r_[0, np.cumsum(n)[:-1]]
    ranks = {}
    for name, values in gold.known.items():
        order = np.lexsort((rng.random(len(cell)), values, cell))
        rank = np.empty(len(cell))
        rank[order] = (np.arange(len(cell)) - before[cell[order]] + 0.5) / n[cell[order]]
        ranks[name] = rank
    return selected(gold._replace(known=ranks)) is not None


def columns(found: Sequence[Assisted | None], contradicted: Sequence[bool | None]) -> dict[str, list]:
    """Build the gold columns of a table of cells: estimates with an interval, the number of gold labels needed for one,
    and whether gold contradicts the model.
    """
    rows = [
        (None,) * 4 if e is None else (None if e.lower is None else e.mean, e.lower, e.upper, e.n_wanted) for e in found
    ]
    of_gold = {name: list(values) for name, values in zip(COLUMNS, zip(*rows, strict=True), strict=True)}
    return of_gold | {CONTRADICTS: list(contradicted)}


def of_changes(found: Sequence[Change | None]) -> dict[str, list[float | None]]:
    """Build the gold columns of a table of changes."""
    rows = [(None,) * 4 if c is None else tuple(c) for c in found]
    return {name: list(values) for name, values in zip(OF_CHANGES, zip(*rows, strict=True), strict=True)}
