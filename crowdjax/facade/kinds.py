"""Several kinds of judgements in one fit: each with functions of the score of its own, labelers in common.

An instance is one post judged for one kind, as post 17 for spam. Its score goes to the column of its kind, NaN in the
others, which is what a fit with ``GP(columns="separate")`` takes.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, PRNGKeyArray

from crowdjax import contextual, io
from crowdjax.contextual import Band, ContextualFit
from crowdjax.facade import by_gold, periods
from crowdjax.integrated import LEVEL
from crowdjax.labels import InputError

MOST = 20  # kinds: each has some hundred unknowns


def read(source, instances, column: str | None, **others) -> periods.Named | None:
    """Read the kinds as groups, and the kind of every instance, from a column of the table of scores; None without such
    a column.

    Args:
        others: settings that do not apply with kinds; rejected where they are given.
    """
    if column is None:
        return None
    for name, value in others.items():
        if value:
            raise InputError(
                f"{name}: given with kind, where every kind has a function of one score; allowed without kind"
            )
    values, code = io.read_categories(source, column, instances)
    if not 2 <= len(values) <= MOST:
        raise InputError(f"kind: column {column!r} has {len(values)} values; allowed: 2 to {MOST}")
    return periods.Named([None], values, code)


def spread(score: Float[np.ndarray, "n 1"], kind: Int[np.ndarray, " n"], n_kinds: int) -> Float[np.ndarray, "n V"]:
    """Put each score into the column of its kind, NaN in the others.

    Example:
        >>> spread(np.array([[0.1], [0.9]]), np.array([1, 0]), 2).tolist()
        [[nan, 0.1], [0.9, nan]]
    """
    out = np.full((len(score), n_kinds), np.nan)
    out[np.arange(len(score)), kind] = score[:, 0]
    return out


def gathered(scores: Float[np.ndarray, "n V"]) -> tuple[Float[np.ndarray, "n 1"], Int[np.ndarray, " n"]]:
    """Recover (each row's score, its kind) from the output of ``spread``."""
    kind = np.isfinite(scores).argmax(1)
    return scores[np.arange(len(scores)), kind][:, None], kind


def refuse_constant(scores: Float[np.ndarray, "n V"], kinds: Sequence) -> None:
    """Reject a kind whose scores are all equal, by its name."""
    for kind, column in zip(kinds, scores.T, strict=True):
        low, high = np.nanmin(column), np.nanmax(column)
        if low == high:
            raise InputError(f"scores: kind {kind!r} has the score {low:g} throughout; allowed: scores that differ")


def curves(fit: ContextualFit, scores: Float[np.ndarray, "n V"], kinds: Sequence, n: int) -> pa.Table:
    """Tabulate kind, quantity, score, mean, lower, upper: the functions of each kind over its scores."""
    tables = []
    for k, kind in enumerate(kinds):
        low, high = np.clip([np.nanmin(scores[:, k]), np.nanmax(scores[:, k])], *fit.scale.ends[:, k])
        x = fit.scale.even(low, high, n)
        found = contextual.functions(fit, spread(x[:, None], np.full(len(x), k), len(kinds)), LEVEL)
        parts = {part: np.concatenate([getattr(band, part) for band in found]).astype(float) for part in Band._fields}
        named = {"kind": pa.array([kind] * 3 * len(x)), "quantity": np.repeat(found._fields, len(x))}
        tables.append(pa.table({**named, "score": np.tile(x, 3), **parts}))
    return pa.concat_tables(tables)


def prevalence(
    fit: ContextualFit,
    kinds: Sequence,
    scores: Float[np.ndarray, "I V"],
    weights: Float[np.ndarray, " I"] | None,
    population: tuple[Float[np.ndarray, "K V"], Float[np.ndarray, " K"]] | None,
    gold: by_gold.Gold | None,
    key: PRNGKeyArray,
) -> tuple[pa.Table, list[str]]:
    """Estimate the share of positives of each kind; return a table (kind, mean, lower, upper, of, n_items, n_gold; with
    gold also assisted_mean, assisted_lower, assisted_upper, n_gold_wanted, as in ``periods``) and warnings.
    """
    sd: list[float] = []
    rows, of = [], "the labelled sample" if population is None and weights is None else "the population"
    for k, kind in enumerate(kinds):
        mine = np.isfinite(scores[:, k])
        if population is None:
            own = None if weights is None else weights[mine]
            draws = contextual.prevalence_draws(fit, scores[mine], own, key=jax.random.fold_in(key, k))
        else:
            theirs = np.isfinite(population[0][:, k])
            draws = contextual.prevalence_draws(fit, population[0][theirs], population[1][theirs])
        band = (float(v) for v in contextual.band(draws, LEVEL))
        sd.append(float(draws.std()))
        n_gold = 0 if gold is None else int(gold.sample.known[mine].sum())
        rows.append({"kind": kind, **dict(zip(Band._fields, band, strict=True)), "of": of,
                     "n_items": int(mine.sum()), "n_gold": n_gold})  # fmt: skip
    table, said = pa.Table.from_pylist(rows), []
    if gold is not None:
        people_kind = None if population is None else gathered(population[0])[1]
        named = periods.Named([None], list(kinds), gathered(scores)[1])
        found, wrong, said = periods.assisted_by_cell(gold, named, list(kinds), people_kind, sd, unit="kind")
        for name, values in by_gold.columns(found, wrong).items():
            table = table.append_column(name, pa.array(values, by_gold.TYPES[name]))
    return table, said
