"""Prevalence by period and group, its changes, and labelers over the periods: tables of a contextual fit with cells.

    prevalence          time, group (none: all together), mean, lower, upper, of, n_items, n_gold
    changes             group, from, to, difference, lower, upper, p_increase: of each period and the one before
    labelers_by_period  time, labeler, sensitivity, specificity, each with _lower, _upper and _p_fell (by more than .05
                        since the period before)

Differences are taken draw by draw, so that what periods share (functions, labelers) cancels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, PRNGKeyArray

from crowdjax import contextual, io
from crowdjax.contextual import Band, Cells, ContextualFit
from crowdjax.integrated import LEVEL
from crowdjax.labels import InputError, LabelIndex

MOST = 300  # cells
MOST_DRIFTS = 1000  # unknowns of labelers who drift: two for each labeler and period
WORSE, SURE = 0.05, 0.95  # a fall of sensitivity or specificity that counts, and the probability of it that is said


class Named(NamedTuple):
    """The periods and groups of a fit, and the cell of every instance.

    Example:
        >>> Named(["w1", "w2"], [None], np.array([0, 1])).cells
        Cells(n_periods=2, n_groups=1, step=0.3, spread=0.5, own_step=0.15)
    """

    times: list[Any]
    groups: list[Any]
    cell: Int[np.ndarray, " I"]

    @property
    def cells(self) -> Cells:
        return Cells(len(self.times), len(self.groups))


def read(scores, instances, time: str | None, group: str | None) -> Named | None:
    """Periods and groups from columns of the table of scores; None where neither is named."""
    if time is None and group is None:
        return None
    found = {}
    for role, name in (("time", time), ("group", group)):
        if name is None:
            found[role] = ([None], None)
            continue
        values, code = io.read_categories(scores, name, instances)
        if len(values) < 2:
            raise InputError(f"{role}: column {name!r} is {values[0]!r} throughout; allowed: two values or more")
        found[role] = (values, code)
    (times, period), (groups, member) = found["time"], found["group"]
    if len(times) * len(groups) > MOST:
        raise InputError(
            f"time, group: {len(times)} periods times {len(groups)} groups; allowed: up to {MOST} cells, as with weeks "
            "for days"
        )
    return Named(times, groups, Cells(len(times), len(groups)).of(period, member))


def of_others(source, instances, record, table: pa.Table | None) -> Int[np.ndarray, " n"] | None:
    """The cells of new instances by the columns that a fit had; -1 where a value is none of the fit's; None of a fit
    without such columns.

    Args:
        record, table: of the fit: its record and its table of cells.
    """
    if record.get("time") is None and record.get("group") is None:
        return None
    codes, known = {}, {role: _values(table[role]) for role in ("time", "group")}
    for role, values in known.items():
        if record[role] is not None:
            _, codes[role] = io.read_categories(source, record[role], instances, values)
    cell = Cells(*(len(values) for values in known.values())).of(codes.get("time"), codes.get("group"))
    return np.where(np.min(list(codes.values()), 0) < 0, -1, cell)


def _values(column: pa.ChunkedArray) -> list[Any]:
    """The periods or groups of a table of cells, in their order; [None] where there is one without a name."""
    return [value for value in dict.fromkeys(column.to_pylist()) if value is not None] or [None]


def of_population(source, named: Named, time: str | None, group: str | None) -> Int[np.ndarray, " K"]:
    """The cells of a population's rows.

    Raises:
        InputError: a column is missing, or a value is none of the labelled instances'.
    """
    codes = []
    for name, values in ((time, named.times), (group, named.groups)):
        if name is None:
            codes.append(None)
            continue
        _, code = io.read_categories(source, name, None, values, kind="population")
        if (code < 0).any():
            raise InputError(
                f"population: column {name!r}, row {int(np.argmax(code < 0)) + 1}: a value that no labelled instance "
                f"has; allowed: {', '.join(map(str, values[:5]))}{', ...' * (len(values) > 5)}"
            )
        codes.append(code)
    return named.cells.of(*codes)


def tables(
    fit: ContextualFit,
    named: Named,
    index: LabelIndex,
    scores: Float[np.ndarray, "I C"],
    weights: Float[np.ndarray, " I"] | None,
    population: tuple[np.ndarray, np.ndarray, np.ndarray] | None,
    gold: Float[np.ndarray, " I"] | None,
    key: PRNGKeyArray,
) -> tuple[dict[str, pa.Table], list[str]]:
    """(the tables by name, sentences for the warnings).

    Args:
        weights: sampling weights of the instances.
        population: its scores, cells and counts: then the prevalence is over these.
    """
    cells = named.cells
    over, more = ((scores, named.cell, weights), {"key": key}) if population is None else (population, {})
    known = np.zeros(len(scores)) if gold is None else np.isfinite(gold).astype(float)
    draws = contextual.cell_draws(fit, *over, **more).reshape(-1, cells.n_periods, cells.n_groups)
    counts = np.stack([np.bincount(named.cell, w, len(cells)) for w in (np.ones(len(scores)), known)])
    counts, groups = counts.astype(np.int64).reshape(2, cells.n_periods, -1), named.groups
    if cells.n_periods > 1 and cells.n_groups > 1:  # all groups together, last
        total = contextual.cell_draws(fit, *over, by=cells.period(over[1]), **more)
        draws, groups = np.concatenate([draws, total[..., None]], 2), [*groups, None]
        counts = np.concatenate([counts, counts.sum(2, keepdims=True)], 2)
    draws = draws.reshape(len(draws), -1)
    time, group = np.divmod(np.arange(draws.shape[1]), len(groups))
    of = "the labelled sample" if population is None and weights is None else "the population"
    out = {
        "prevalence": pa.table(
            {
                "time": pa.array([named.times[t] for t in time]),
                "group": pa.array([groups[g] for g in group]),
                **_columns("", contextual.band(draws, LEVEL), names=Band._fields),
                "of": [of] * len(time),
                "n_items": counts[0].reshape(-1),
                "n_gold": counts[1].reshape(-1),
            }
        )
    }
    warnings: list[str] = []
    if cells.n_periods > 1:
        later = np.flatnonzero(time > 0)
        differences = draws[:, later] - draws[:, later - len(groups)]
        out["changes"] = pa.table(
            {
                "group": pa.array([groups[g] for g in group[later]]),
                "from": pa.array([named.times[t - 1] for t in time[later]]),
                "to": pa.array([named.times[t] for t in time[later]]),
                **_columns("", contextual.band(differences, LEVEL), names=("difference", "lower", "upper")),
                "p_increase": np.where(np.isnan(differences).any(0), np.nan, (differences > 0).mean(0)),
            }
        )
    if fit.config.drift:
        out["labelers_by_period"], worse = _labelers(fit, named, index)
        warnings += worse
    empty = int((np.bincount(named.cell, minlength=len(cells)) == 0).sum())
    if empty:
        warnings.append(f"{empty} of {len(cells)} cells of period and group have no instance: no prevalence is given.")
    return out, warnings


def _columns(prefix: str, found: Band, names: Sequence[str]) -> dict[str, np.ndarray]:
    return {prefix + name: np.asarray(values, np.float64) for name, values in zip(names, found, strict=True)}


def _labelers(fit: ContextualFit, named: Named, index: LabelIndex) -> tuple[pa.Table, list[str]]:
    """Labelers' sensitivity and specificity in every period, and who got worse."""
    sensitivity, specificity = contextual.labelers_by_period(fit)  # [S, T, W]
    n_periods, n_labelers = sensitivity.shape[1:]
    columns = {
        "time": pa.array([t for t in named.times for _ in range(n_labelers)]),
        "labeler": pa.concat_arrays([pa.array(io.ids(index, "labeler"))] * n_periods),
    }
    said = []
    for name, draws in (("sensitivity", sensitivity), ("specificity", specificity)):
        found = contextual.band(draws.reshape(len(draws), -1), LEVEL)
        columns |= _columns("", found, names=(name, f"{name}_lower", f"{name}_upper"))
        fell = np.full((n_periods, n_labelers), np.nan)
        fell[1:] = (np.diff(draws, axis=1) < -WORSE).mean(0)
        columns[f"{name}_p_fell"] = fell.reshape(-1)
        said += [
            f"Labeler {index.labelers[w]!s} got worse in {named.times[t]!s}: {name} fell by more than {WORSE} with a "
            f"probability of {fell[t, w]:.2f}."
            for t, w in np.argwhere(fell > SURE)
        ]
    return pa.table(columns), said
