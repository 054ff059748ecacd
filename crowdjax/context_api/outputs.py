"""The results of a contextual fit as tables: curves, calibration and labelers, over scores of one or several kinds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
from jaxtyping import Float

from crowdjax import contextual, io, plots
from crowdjax.contextual import Band, ContextualFit
from crowdjax.contextual.context import is_separate
from crowdjax.facade import kinds, periods
from crowdjax.integrated import LEVEL
from crowdjax.labels import LabelIndex, Labels
from crowdjax.result import gold_columns, gold_record

GRID = 201  # scores at which the curves are given
MOST_CALIBRATION = 1000  # rows of the calibration table


def said_of(fit: ContextualFit) -> str:
    """Describe the inference of a fit and its diagnostics in a phrase."""
    d = fit.diagnostics
    if fit.inference.method == "nuts":
        return f"nuts with R-hat {d['rhat']:.3f}, ESS {d['ess']:.0f}, {d['divergences']:.0f} divergences"
    return f"{fit.inference.method} with Pareto k-hat {d['khat']:.2f}"


def along_first(x: Float[np.ndarray, " X"], scores: Float[np.ndarray, "I C"]) -> Float[np.ndarray, "X C"]:
    """Extend values x of the first score by the medians of the other scores."""
    return np.c_[x, np.broadcast_to(np.median(scores[:, 1:], 0), (len(x), scores.shape[1] - 1))]


def all_scores(scores, population) -> Float[np.ndarray, "n C"]:
    """Concatenate the scores of the instances and of the population."""
    return scores if population is None else np.r_[scores, population[0]]


def separate(named: periods.Named, column, values, people, population):
    """Put each score into the column of its kind; return (scores of the instances, the population with its counts)."""
    values = kinds.spread(values, named.cell, len(named.groups))
    kinds.refuse_constant(values, named.groups)
    if people is not None:
        at = periods.of_population(population, named, None, column)
        people = kinds.spread(people[0], at, len(named.groups)), people[1]
    return values, people


def first_score(scores: Float[np.ndarray, "n C"]) -> Float[np.ndarray, "n C"]:
    """Select the scores under the user's names; with kinds, the only score of each row."""
    return kinds.gathered(scores)[0] if is_separate(scores) else scores


def curves(fit: ContextualFit, scores, population, of_kinds=None) -> pa.Table:
    """Tabulate prevalence, sensitivity and specificity over the scores, with intervals."""
    if of_kinds is not None:
        return kinds.curves(fit, all_scores(scores, population), of_kinds, GRID)
    first = all_scores(scores, population)[:, 0]
    low, high = np.clip([first.min(), first.max()], *fit.scale.ends[:, 0])  # beyond, functions stay as they are
    x = fit.scale.even(low, high, GRID)
    found = contextual.functions(fit, along_first(x, scores), LEVEL)
    parts = {part: np.concatenate([getattr(band, part) for band in found]).astype(float) for part in Band._fields}
    return pa.table({"quantity": np.repeat(found._fields, len(x)), "score": np.tile(x, 3), **parts})


def calibration(fit: ContextualFit, names, scores, population, of_kinds=None) -> pa.Table:
    """Tabulate the calibration at the distinct scores, thinned evenly."""
    rows = all_scores(scores, population)
    if of_kinds is not None:
        score, kind = kinds.gathered(rows)
        distinct = np.unique(np.c_[kind, score], axis=0)
        rows = kinds.spread(distinct[:, 1:], distinct[:, 0].astype(int), len(of_kinds))
    else:
        rows = np.unique(rows, axis=0)
    rows = rows[plots.evenly(len(rows), MOST_CALIBRATION)]
    band = contextual.calibrate(fit, rows, level=LEVEL)
    columns = {"probability": band.mean, "lower": band.lower, "upper": band.upper}
    return pa.table({**score_columns(names, rows, of_kinds), **{k: np.asarray(v, float) for k, v in columns.items()}})


def score_columns(names, values, of_kinds=None) -> dict[str, Any]:
    """Name the score columns: score for the first, score_NAME for others; with kinds, the kind and its score."""
    if of_kinds is not None:
        score, kind = kinds.gathered(values)
        return {"kind": pa.array([of_kinds[k] for k in kind]), "score": score[:, 0]}
    return {"score": values[:, 0]} | {f"score_{n}": v for n, v in zip(names[1:], values[:, 1:].T, strict=True)}


def of_labelers(fit: ContextualFit, labels: Labels, index: LabelIndex) -> pa.Table:
    """Tabulate each labeler's estimates with intervals."""
    found = contextual.labeler_table(fit, LEVEL)
    n = found.n_labels if labels.weight is not None else np.rint(found.n_labels).astype(np.int64)
    bands = {"sensitivity": found.sensitivity, "specificity": found.specificity}
    if fit.config.labelers != "global":
        bands |= {"balanced_accuracy": found.balanced, "rank": found.rank}
    columns = {}
    for name, band in bands.items():
        for suffix, values in zip(("", "_lower", "_upper"), band, strict=True):
            columns[name + suffix] = np.asarray(values, float)
    of_gold = gold_columns(gold_record(labels))
    return pa.table({"labeler": io.ids(index, "labeler"), "n_labels": n, **columns, **of_gold})
