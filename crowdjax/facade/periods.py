"""Prevalence by period and group, its changes, and labelers over the periods: tables of a contextual fit with cells.

    prevalence          time, group (none: all together), mean, lower, upper, of, n_items, n_gold; with gold also
                        assisted_mean, _lower, _upper (null where there is too little) and n_gold_wanted; over time
                        odds_ratio, with _lower and _upper: of a positive at the same score, against the first period;
                        p_shifted: that it differs from 1 by more than a factor of 1.2
    changes             of each period and the one before: group, from, to, difference, lower, upper, p_increase; with
                        gold also assisted_difference, _lower, _upper, _p_increase;
                        by_scores and by_calibration, the parts that add up to the difference (``contextual.changes``),
                        odds_ratio, each with _lower and _upper; p_shifted
    labelers_by_period  time, labeler, sensitivity, specificity, each with _lower, _upper, _p_fell (by more than .05
                        since the period before) and _p_worse (by more than .05 than in the first)

The model's differences are taken draw by draw, so that what periods share (functions, labelers) cancels. Estimates
assisted by gold rest on the samples of the periods, which are independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int, PRNGKeyArray

from crowdjax import contextual, io
from crowdjax.columns import when
from crowdjax.contextual import Band, Cells, ContextualFit, assisted, changes
from crowdjax.facade import by_gold
from crowdjax.integrated import LEVEL
from crowdjax.labels import InputError, LabelIndex
from crowdjax.report.amounts import interval, size

MOST = 300  # cells
MOST_DRIFTS = 1000  # unknowns of labelers who drift: two for each labeler and period
WORSE, SURE = (
    0.05,
    0.95,
)  # a fall of sensitivity or specificity that counts, and the probability from which it is reported
SHIFT = 1.2  # factor of the odds at the same score, from which a change of the calibration counts


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
        """The settings of the cells: numbers of periods and groups."""
        return Cells(len(self.times), len(self.groups))


def read(scores, instances, time: str | None, group: str | None) -> Named | None:
    """Read periods and groups from columns of the table of scores; None where neither is named."""
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
    """Compute the cells of new instances from the columns that a fit used; -1 for a value that the fit does not have;
    None for a fit without such columns.

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
    """Return the periods or groups of a table of cells, in their order; [None] where there is one without a name."""
    return [value for value in dict.fromkeys(column.to_pylist()) if value is not None] or [None]


def of_population(source, named: Named, time: str | None, group: str | None) -> Int[np.ndarray, " K"]:
    """Compute the cells of a population's rows.

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
    gold: by_gold.Gold | None,
    key: PRNGKeyArray,
) -> tuple[dict[str, pa.Table], list[str]]:
    """Build the tables of periods and groups by name, with sentences for the warnings.

    Args:
        weights: sampling weights of the instances.
        population: its scores, cells and counts: then the prevalence is over these.
        gold: with its chances and predictions; None without gold.
    """
    cells, groups = named.cells, named.groups
    over, more = ((scores, named.cell, weights), {"key": key}) if population is None else (population, {})
    known = np.zeros(len(scores)) if gold is None else gold.sample.known.astype(float)
    counts = np.stack([np.bincount(named.cell, w, len(cells)) for w in (np.ones(len(scores)), known)]).astype(np.int64)
    prevalence, shift = _by_cell(fit, cells, *over, **more), changes.shift_draws(fit)
    counts, shift = (v.reshape(len(v), cells.n_periods, -1) for v in (counts, shift))
    if cells.n_periods > 1 and cells.n_groups > 1:  # all groups together, last
        groups = [*groups, None]
        counts = np.concatenate([counts, counts.sum(2, keepdims=True)], 2)
        shift = np.concatenate([shift, shift.mean(2, keepdims=True)], 2)
    empty = int((counts[0, :, : cells.n_groups] == 0).sum())
    names = np.meshgrid(np.arange(cells.n_periods), np.arange(len(groups)), indexing="ij")
    time, group = (pa.array([of[k] for k in n.ravel()]) for of, n in zip((named.times, groups), names, strict=True))
    of = "the labelled sample" if population is None and weights is None else "the population"
    columns = {
        "time": time,
        "group": group,
        **_columns("", contextual.band(prevalence[0], LEVEL), names=Band._fields),
        "of": [of] * len(time),
        "n_items": counts[0].ravel(),
        "n_gold": counts[1].ravel(),
    }
    out, warnings, estimates = {}, [], None
    if gold is not None:
        estimates, wrong, said = assisted_by_cell(
            gold, named, groups, None if population is None else population[1], prevalence[0].std(0).ravel()
        )
        columns |= {name: pa.array(v, by_gold.TYPES[name]) for name, v in by_gold.columns(estimates, wrong).items()}
        warnings += said
    if cells.n_periods > 1:
        own = np.where(np.isnan(prevalence[0]), np.nan, shift)
        columns |= _shifted(own - own[:, :1])
        out["changes"] = _changes(prevalence, np.diff(own, axis=1), time, group)
        if estimates is not None:
            pairs = zip(estimates, estimates[len(groups) :], strict=False)
            moves = [None if a is None or b is None else assisted.change(a, b) for a, b in pairs]
            for name, values in by_gold.of_changes(moves).items():
                out["changes"] = out["changes"].append_column(name, pa.array(values, pa.float64()))
        warnings += about_calibration(pa.table(columns), out["changes"])
    out["prevalence"] = pa.table(columns)
    if fit.config.drift:
        out["labelers_by_period"], worse = _labelers(fit, named, index)
        warnings += worse
    if empty:
        warnings.append(f"{empty} of {len(cells)} cells of period and group have no instance: no prevalence is given.")
    return out, warnings


def assisted_by_cell(
    gold: by_gold.Gold,
    named: Named,
    groups: Sequence,
    people_cell: Int[np.ndarray, " K"] | None,
    sd: Sequence[float],
    unit: str = "group",
) -> tuple[list[assisted.Assisted | None], list[bool | None], list[str]]:
    """Compute the assisted estimate of each cell; return (estimates in the order of the table, whether gold contradicts
    the model in each, None where undecided, and sentences where gold is not a random part or contradicts the model).

    Args:
        sd: the posterior standard deviation of the prevalence of each row.
    """
    step, parts = named.cells.n_groups, []
    for t in range(named.cells.n_periods):
        for g in range(len(groups)):
            wanted = np.arange(t * step, (t + 1) * step) if g == step else [t * step + g]
            rows = (None if cell is None else np.isin(cell, wanted) for cell in (named.cell, people_cell))
            parts.append(tuple(rows))
    if by_gold.chosen_within(gold, named.cell):
        each = "period" if named.cells.n_periods > 1 else unit
        return [None] * len(parts), [None] * len(parts), [_chosen(f"the instances of each {each}")]
    found, refused = by_gold.of_parts(gold, parts)

    def name(k):
        time, group = named.times[k // len(groups)], groups[k % len(groups)]
        each = ([] if group is None else [f"{unit} {group!s}"]) + ([] if time is None else [f"period {when(time)}"])
        return " in ".join(each)

    said = [_chosen(f"the instances of {', '.join(map(name, refused))}")] if refused else []
    usable = [k for k in range(len(parts)) if k not in refused]
    compared = dict(zip(usable, by_gold.gaps(gold, [parts[k] for k in usable], [sd[k] for k in usable]), strict=True))
    wrong = [None if (of := compared.get(k)) is None else of[1] for k in range(len(parts))]
    said += [
        f"Gold contradicts the model in {name(k)}: {g.gold:.1%} of the instances with gold are positive, where "
        f"{g.predicted:.1%} are expected (p = {g.p:.2g}). The model is off there; estimates by gold are not."
        for k, (g, contradicted) in ((k, of) for k, of in compared.items() if of is not None)
        if contradicted
    ]
    return found, wrong, said


def _chosen(what: str) -> str:
    return (
        f"Gold is no random part of {what}, and no chances were given: nothing is assisted by gold there. A column "
        "chance in the gold table (--gold) says how likely each instance was to be drawn for gold."
    )


def _by_cell(fit, cells: Cells, scores, cell, weights, key=None) -> Float[np.ndarray, "3 S T G"]:
    """Return the prevalence of the inputs of each cell, as they are, as if they were of the period before, and of the
    one after; of all groups together last, where there are several periods and groups."""
    step = cells.n_groups
    at = [cell, cell - step, np.where(cell + step < len(cells), cell + step, -1)]
    found = changes.sums(fit, scores, cell, len(cells), [np.maximum(c, -1) for c in at], weights, key=key)
    positives = found.positives.reshape(-1, 3, cells.n_periods, cells.n_groups)
    weight = found.weight.reshape(-1, 1, cells.n_periods, cells.n_groups)
    if cells.n_periods > 1 and cells.n_groups > 1:
        positives, weight = (np.concatenate([v, v.sum(3, keepdims=True)], 3) for v in (positives, weight))
    with np.errstate(invalid="ignore"):
        return np.moveaxis(positives / weight, 1, 0)


def _changes(prevalence: Float[np.ndarray, "3 S T G"], step: Float[np.ndarray, "S U G"], time, group) -> pa.Table:
    """Return each period against the one before.

    Args:
        step: by how much the logit at the same score moved.
        time, group: of the cells.
    """
    difference, n = np.diff(prevalence[0], axis=1), prevalence.shape[3]
    parts = {"difference": difference, **changes.parts(*prevalence)._asdict()}
    columns = {"group": group[n:], "from": time[:-n], "to": time[n:]}
    for name, draws in parts.items():
        prefix = "" if name == "difference" else f"{name}_"
        columns |= _columns("", contextual.band(draws, LEVEL), names=(name, f"{prefix}lower", f"{prefix}upper"))
        if name == "difference":
            columns["p_increase"] = _share(draws > 0, draws)
    return pa.table(columns | _shifted(step))


def _shifted(draws: Float[np.ndarray, "S T G"]) -> dict[str, np.ndarray]:
    """Return the ratio of the odds of a positive at the same score, and the probability that it is more than ``SHIFT``
    or less than its inverse, from draws of its logarithm."""
    found = Band(*map(np.exp, contextual.band(draws, LEVEL)))
    ratio = _columns("", found, names=("odds_ratio", "odds_ratio_lower", "odds_ratio_upper"))
    return ratio | {"p_shifted": _share(np.abs(draws) > np.log(SHIFT), draws)}


def _share(true: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Return the share of draws in which something is true; NaN where there is nothing."""
    return np.where(np.isnan(draws).any(0), np.nan, true.mean(0)).ravel()


def about_calibration(cells: pa.Table, moves: pa.Table) -> list[str]:
    """Warn of scores whose meaning has changed since the period before or, where no single step shows it, between the
    first period and the one farthest from it; of a group only where it is not so of all together.

    Args:
        cells, moves: the tables ``prevalence`` and ``changes``.
    """
    mean = {(row["time"], row["group"]): row["mean"] for row in cells.to_pylist()}
    first = cells["time"][0].as_py()
    all_first = lambda rows: sorted(rows, key=lambda row: row["group"] is not None)  # noqa: E731
    out, at, of = [], set(), set()  # the periods that all groups together changed in, and the groups that changed
    for row in all_first(row for row in moves.to_pylist() if row["p_shifted"] > SURE):
        if row["to"] not in at:
            out.append(
                f"From {when(row['from'])} to {when(row['to'])} {_meaning(row, mean[row['from'], row['group']])}"
            )
        of.add(row["group"])
        at |= {row["to"]} if row["group"] is None else set()
    far = sorted(
        (row for row in cells.to_pylist() if row["p_shifted"] > SURE), key=lambda r: -abs(np.log(r["odds_ratio"]))
    )
    for row in all_first(far):
        if not of & {row["group"], None}:
            out.append(f"Between {when(first)} and {when(row['time'])} {_meaning(row, mean[first, row['group']])}")
            of.add(row["group"])
    return out


def _meaning(row: Mapping[str, Any], before: float) -> str:
    """Say what the same scores mean now, by the example of scores that meant the share of positives before."""
    odds = before / (1 - before)
    now, low, high = (v * odds / (1 + v * odds) for v in (row[f"odds_ratio{end}"] for end in ("", "_lower", "_upper")))
    where = "" if row["group"] is None else f"in group {row['group']!s} "
    return (
        f"{where}the same scores came to mean {'more' if row['odds_ratio'] > 1 else 'fewer'} positives: of scores of "
        f"which {before:.1%} were positive {now:.1%} are now ({interval(low, high)}). Thresholds and calibrations of "
        "before do not hold for it."
    )


def _columns(prefix: str, found: Band, names: Sequence[str]) -> dict[str, np.ndarray]:
    return {prefix + name: np.asarray(v, np.float64).ravel() for name, v in zip(names, found, strict=True)}


def _labelers(fit: ContextualFit, named: Named, index: LabelIndex) -> tuple[pa.Table, list[str]]:
    """Return labelers' sensitivity and specificity in every period, and who got worse."""
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
        worse = (draws - draws[:, :1] < -WORSE).mean(0)
        columns |= {f"{name}_p_fell": fell.ravel(), f"{name}_p_worse": worse.ravel()}
        steps = [(w, f"in {when(named.times[t])}", fell[t, w]) for t, w in np.argwhere(fell > SURE)]
        slowly = sorted(set(np.flatnonzero(worse[-1] > SURE)) - {w for w, *_ in steps})
        ends = f"between {when(named.times[0])} and {when(named.times[-1])}"
        said += [
            f"Labeler {index.labelers[w]!s} got worse {at}: {name} fell by more than {WORSE} with a probability "
            f"{size(p)}."
            for w, at, p in [*steps, *((w, ends, worse[-1, w]) for w in slowly)]
        ]
    return pa.table(columns), said
