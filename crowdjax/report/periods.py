"""The section on periods and groups: the share of positives in each, what changed and what it comes from, and labelers
who got worse. It is made of a result's tables (``crowdjax.facade.periods``) alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from crowdjax import plots
from crowdjax.columns import when
from crowdjax.report.amounts import chance, interval, points, probability, verdict
from crowdjax.report.document import Block, Column, Drawing, Figures, Prose, Table

ALL = "all groups"
MOST_GROUPS = 11  # panels of groups, those with most instances
MOST_ROWS = 30  # groups of a figure without periods
MOST_LABELERS = 6  # panels of labelers, those likeliest to have got worse
MOST_LISTED = 500  # labelers in a table
SURE = 0.95  # probability, from which a labeler is reported to have got worse

Series = tuple[np.ndarray, np.ndarray, np.ndarray]


def headline(tables: Mapping[str, pa.Table]) -> str | None:
    """Say the latest period's prevalence, and the change since the period before, of all groups together; None of a
    result without periods. Each is the estimate assisted by gold where that has an interval, else the model's.

    Args:
        tables: of a result; ``prevalence`` and ``changes`` count.

    Example:
        >>> cells = pa.table({"time": [1, 2], "group": pa.nulls(2), "mean": [0.1, 0.2], "lower": [0.05, 0.15],
        ...                   "upper": [0.15, 0.25]})
        >>> moves = pa.table({"group": pa.nulls(1), "from": [1], "to": [2], "difference": [0.1], "lower": [0.02],
        ...                   "upper": [0.18], "p_increase": [0.998]})
        >>> headline({"prevalence": cells, "changes": moves})
        '2: 20 % (15 to 25 %), +10.0 (+2.0 to +18.0) points since 1, a rise with a probability above 0.99'
        >>> for name, value in (("mean", 0.3), ("lower", 0.25), ("upper", 0.36)):
        ...     cells = cells.append_column(f"assisted_{name}", pa.array([None, value]))
        >>> headline({"prevalence": cells, "changes": moves.slice(1)})
        '2: 30 % (25 to 36 %; assisted by gold)'
    """
    if "changes" not in tables:
        return None
    cells, moves = tables["prevalence"], tables["changes"]
    of_all = [row for row in cells.to_pylist() if row["group"] is None and not np.isnan(row["mean"])]
    if not of_all:
        return None
    last = of_all[-1]
    assisted = last.get("assisted_mean") is not None
    mean, lower, upper = _share(last, assisted)
    by = "; assisted by gold" if assisted else ""
    text = f"{when(last['time'])}: {100 * mean:.3g} % ({interval(lower, upper)}{by})"
    for row in moves.to_pylist():
        if row["group"] is None and row["to"] == last["time"] and not np.isnan(row["difference"]):
            also = row.get("assisted_difference") is not None
            by = " by the model" if assisted and not also else ""
            p = row["assisted_p_increase" if also else "p_increase"]
            text += f", {points(*_change(row, also))} points since {when(row['from'])}{by}, {chance(p)}"
    return text


def _share(row: Mapping[str, Any], assisted: bool) -> tuple[float, ...]:
    """Return (mean, lower, upper) of a row of the cells; NaN where it has none assisted by gold."""
    return _numbers(row, [f"assisted_{end}" if assisted else end for end in ("mean", "lower", "upper")])


def _change(row: Mapping[str, Any], assisted: bool) -> tuple[float, ...]:
    """Return the same of a row of the changes."""
    return _numbers(row, [f"assisted_{end}" if assisted else end for end in ("difference", "lower", "upper")])


def _written(share: tuple[float, ...]) -> str:
    return "–" if np.isnan(share[0]) else f"{100 * share[0]:.3g} ({interval(*share[1:])})"


def _numbers(row: Mapping[str, Any], names: Sequence[str]) -> tuple[float, ...]:
    return tuple(np.nan if row[name] is None else row[name] for name in names)


def figures(tables: Mapping[str, pa.Table]) -> dict[str, plots.Figure]:
    """Return the figures of a result with periods or groups, by the names of their files."""
    cells, moves = tables.get("prevalence"), tables.get("changes")
    if cells is None:
        return {}
    if moves is None:
        unit = _unit(cells)
        return {f"prevalence_by_{unit}": _by_one(cells, unit)}
    times = _times(cells)
    found = {name: {"": series} for name, series in _groups(cells).items()}
    drawn = {
        "prevalence_over_time": plots.over_time(times, found, "share", beside=_of_all(cells)),
        "changes_over_time": _parts(moves),
        "calibration_over_time": plots.over_time(
            times, {"What the same score means": {"": _series(cells, None, "odds_ratio")}}, "odds"
        ),
    }
    if "labelers_by_period" in tables:
        panels = _labeler_panels(tables["labelers_by_period"])
        drawn["labelers_over_time"] = plots.over_time(times, panels, "chance")
    return drawn


def section(tables: Mapping[str, pa.Table], drawn: Mapping[str, plots.Figure], level: float) -> list[Block]:
    """Make the blocks of the section; none of a result without periods and groups.

    Args:
        drawn: the figures.
        level: of the intervals.
    """
    cells, moves = tables.get("prevalence"), tables.get("changes")
    if cells is None:
        return []
    if moves is None:
        unit, left = _unit(cells), cells.num_rows - MOST_ROWS
        caption = f"{MOST_ROWS} of {cells.num_rows} {unit}s, evenly along their order." if left > 0 else ""
        name = f"prevalence_by_{unit}"
        figure = Drawing(name, drawn[name], f"Share of positives by {unit}", caption)
        return [Prose([ALONE[unit], *_trust(cells, unit)]), Figures([figure]), _cells(cells, level)]
    blocks = [
        Prose([_lead(cells, moves), *_trust(cells, "period")]),
        Figures(_prevalence(cells, drawn, level)),
        *_moved(moves, drawn, level),
    ]
    blocks.append(_cells(cells, level))
    if "labelers_by_period" in tables:
        blocks += _labelers(tables["labelers_by_period"], level)
    return blocks


ALONE = {
    "group": "Groups with few labels lean on the others, so that the highest and the lowest are not those of chance.",
    "kind": "Each kind has functions of the score of its own; the labelers are those of all kinds.",
}


def _trust(cells: pa.Table, unit: str) -> list[str]:
    """Return which of the two estimates to trust; nothing without gold."""
    if "assisted_mean" not in cells.column_names:
        return []
    if cells["assisted_mean"].null_count == cells.num_rows:
        return [f"No {unit} has enough gold for an estimate that is assisted by gold: all shares are the model's."]
    return [
        f"If gold was drawn by its given chances or, without chances, at random within each {unit}, the share by gold "
        "is right by that design, whatever the model is worth: trust it first where there is one. If gold was picked "
        "in another way, only the model's shares count."
    ]


def _unit(cells: pa.Table) -> str:
    """Name the rows of a result without periods: groups or kinds."""
    return "kind" if "kind" in cells.column_names else "group"


def _lead(cells: pa.Table, moves: pa.Table) -> str:
    found = headline({"prevalence": cells, "changes": moves})
    grouped = " The grey line is all groups together." if len(_names(cells)) > 1 else ""
    return (f"The latest period is {found}. " if found else "") + (
        "Functions of the score and labelers are common to all periods, and a period with few labels leans on its "
        f"neighbours: a change from period to period is surer than the intervals of the two suggest.{grouped}"
    )


# Tables as arrays


def _times(table: pa.Table) -> list[str]:
    return [when(value) for value in dict.fromkeys(table["time"].to_pylist())]


def _names(table: pa.Table) -> list[Any]:
    """Return the groups, all together (None) first; of very many, those with most instances."""
    names = list(dict.fromkeys(table["group"].to_pylist()))
    if len(names) > MOST_GROUPS + 1:
        data = zip(table["group"].to_pylist(), table["n_items"].to_pylist(), strict=True)
        count = dict.fromkeys(names, 0)
        for name, n in data:
            count[name] += n
        most = sorted((name for name in names if name is not None), key=lambda name: -count[name])[:MOST_GROUPS]
        names = [name for name in names if name is None or name in most]
    return sorted(names, key=lambda name: name is not None)


def _series(table: pa.Table, group: Any, name: str) -> Series:
    """Return (mean, lower, upper) of a group's rows."""
    rows = np.array([found == group for found in table["group"].to_pylist()])
    plain = name in ("mean", "difference")
    ends = (name, "lower", "upper") if plain else (name, f"{name}_lower", f"{name}_upper")
    mean, lower, upper = (table[end].to_numpy()[rows] for end in ends)
    return mean, lower, upper


def _groups(cells: pa.Table) -> dict[str, Series]:
    names = _names(cells)
    title = ALL.capitalize() if len(names) > 1 else "Share of positives"
    return {title if g is None else plots.short(str(g), 24): _series(cells, g, "mean") for g in names}


def _of_all(cells: pa.Table) -> np.ndarray | None:
    """Return the means of all groups together, where there are several."""
    return _series(cells, None, "mean")[0] if len(_names(cells)) > 1 else None


# Figures


def _by_one(cells: pa.Table, unit: str) -> plots.Figure:
    rows = sorted(cells.to_pylist(), key=lambda row: (np.isnan(row["mean"]), -row["mean"]))
    rows = [rows[k] for k in plots.evenly(len(rows), MOST_ROWS)]
    found = {plots.short(str(row[unit])): (row["mean"], row["lower"], row["upper"]) for row in rows}
    return plots.intervals(found, title=f"Share of positives by {unit}", xlabel="share, with its interval")


def _prevalence(cells: pa.Table, drawn: Mapping[str, plots.Figure], level: float) -> list[Drawing]:
    """Return the figure, or where there are groups a panel for each, so that they can be read on a phone."""
    found, title = _groups(cells), "Share of positives over time"
    if len(found) == 1:
        caption = (
            f"Each period by itself, with its {level:.0%} interval. Changes are surer than two such intervals suggest."
        )
        return [Drawing("prevalence_over_time", drawn["prevalence_over_time"], title, caption)]
    span = plots.periods_span([{"": series} for series in found.values()], "share")
    settings = dict(beside=_of_all(cells), span=span, small=True)
    return [
        Drawing(
            f"prevalence_over_time_{k}", _svg(cells, {name: {"": series}}, "share", k, **settings), f"{title}: {name}"
        )
        for k, (name, series) in enumerate(found.items())
    ]


def _svg(table: pa.Table, panels, kind: str, k: int, **settings) -> str:
    return plots.as_svg(plots.over_time(_times(table), panels, kind, **settings), f"{kind}-{k}")


def _parts(moves: pa.Table) -> plots.Figure:
    names = {"by_scores": "other scores", "by_calibration": "scores that mean something else"}
    times = [when(row["to"]) for row in moves.to_pylist() if row["group"] is None]
    series = {title: _series(moves, None, name) for name, title in names.items()}
    return plots.over_time(times, {"What the changes come from": series}, "points")


# Changes


def _moved(moves: pa.Table, drawn: Mapping[str, plots.Figure], level: float) -> list[Block]:
    text = (
        "A share of positives changes for two reasons: the scores are others (the mix moves), or the same score means "
        "something else (the classifier's calibration drifts). The parts add up to the change. Where scores mean "
        "something else, a threshold or a calibration of before no longer holds."
    )
    captions = (
        "Each mark is a change since the period before.",
        "The odds of a positive at the same score, against the first period. On the dashed line scores mean what they "
        "meant then.",
    )
    titles = ("What the changes of the share of positives come from", "What the same score means, over time")
    pair = [
        Drawing(name, drawn[name], title, caption)
        for name, title, caption in zip(("changes_over_time", "calibration_over_time"), titles, captions, strict=True)
    ]
    together = len(set(moves["to"].to_pylist())) < plots.MOST_MARKS  # of more the first takes a row to itself
    return [_changes(moves, level), Prose([text]), *([Figures(pair)] if together else [Figures([d]) for d in pair])]


def _changes(moves: pa.Table, level: float) -> Table:
    """Return the latest first, of all groups together before each."""
    grouped = any(g is not None for g in moves["group"].to_pylist())
    columns = [Column("period", "id"), *([Column("group")] if grouped else []), Column("in a word", "tag")]
    columns += [Column("change", "written"), Column("P(rise)", "written")]
    gold = "assisted_difference" in moves.column_names
    columns += [Column("change by gold", "written"), Column("P(rise) by gold", "written")] if gold else []
    columns += [Column("other scores", "written"), Column("their meaning", "written")]
    order = {value: k for k, value in enumerate(dict.fromkeys(moves["to"].to_pylist()))}
    rows = []
    for row in sorted(moves.to_pylist(), key=lambda row: (-order[row["to"]], row["group"] is not None)):
        change = points(row["difference"], row["lower"], row["upper"])
        parts = (points(*(row[name + e] for e in ("", "_lower", "_upper"))) for name in ("by_scores", "by_calibration"))
        group = [ALL if row["group"] is None else str(row["group"])] if grouped else []
        said = (verdict(row["p_increase"]), change, probability(row["p_increase"]))
        by_gold = ()
        if gold:
            by_gold = (points(*_change(row, True)), probability(*_numbers(row, ["assisted_p_increase"])))
            said = (verdict(_numbers(row, ["assisted_p_increase"])[0]) or said[0], *said[1:])
        rows.append((when(row["to"]), *group, *said, *by_gold, *parts))
    caption = f"Changes since the period before in percentage points, the latest first, with {level:.0%} intervals"
    note = (
        "P(rise) is the probability that the share rose. Said to rise or fall from 0.975, probably from 0.9. The last "
        "two columns are the parts of the change: other scores, and scores that mean something else."
    )
    note += " In a word it is the change by gold where there is one, else the model's." if gold else ""
    return Table(caption, columns, rows, note, grouped or len(rows) > 25)


def _cells(cells: pa.Table, level: float) -> Table:
    unit = _unit(cells)
    timed, grouped = (
        name in cells.column_names and any(v is not None for v in cells[name].to_pylist()) for name in ("time", unit)
    )
    columns = [Column("period", "id")] if timed else []
    columns += [Column(unit, "text" if timed else "id")] if grouped else []
    columns += [Column("share", "share"), Column("lower", "share"), Column("upper", "share")]
    columns += [Column("instances", "count"), Column("with gold", "count")]
    gold = "assisted_mean" in cells.column_names
    columns += [Column("share by gold", "written"), Column("gold wanted", "count")] if gold else []
    rows = [
        (
            *([when(row["time"])] if timed else []),
            *([ALL if row[unit] is None else str(row[unit])] if grouped else []),
            *(row[name] for name in ("mean", "lower", "upper", "n_items", "n_gold")),
            *((_written(_share(row, True)), row["n_gold_wanted"]) if gold else ()),
        )
        for row in cells.to_pylist()
    ]
    by = " and ".join(["period"] * timed + [unit] * grouped)
    note = (
        "Share by gold: the model's predictions, corrected by their errors on gold, in per cent. Gold wanted is how "
        "many gold labels an interval takes."
    )
    caption = f"Share of positives of {cells['of'][0]} by {by}, with {level:.0%} intervals"
    return Table(caption, columns, rows, note if gold else "", True)


# Labelers


class Fall(NamedTuple):
    """A labeler's likeliest decline: the labeler (row), what fell, from which period to which (rows), how likely."""

    labeler: Any
    row: int
    what: str
    start: int
    end: int
    p: float


def _falls(people: pa.Table) -> list[Fall]:
    """Find for each labeler its likeliest fall, from a period to the next or from the first to the last; likeliest
    first."""
    labelers = people["labeler"].to_pylist()
    n = len(dict.fromkeys(labelers))
    last = people.num_rows // n - 1
    found = []
    for what in ("sensitivity", "specificity"):
        fell, worse = (people[f"{what}_p_{name}"].to_numpy().reshape(-1, n) for name in ("fell", "worse"))
        step = 1 + fell[1:].argmax(0)
        for w in range(n):
            found.append(Fall(labelers[w], w, what, step[w] - 1, step[w], fell[step[w], w]))
            found.append(Fall(labelers[w], w, what, 0, last, worse[last, w]))
    best: dict[int, Fall] = {}
    for fall in sorted(found, key=lambda fall: -fall.p):
        best.setdefault(fall.row, fall)
    return list(best.values())


def _labeler_panels(people: pa.Table) -> dict[str, dict[str, Series]]:
    n = len(dict.fromkeys(people["labeler"].to_pylist()))
    return {
        plots.short(str(fall.labeler), 24): {
            what: tuple(people[what + end].to_numpy()[fall.row :: n] for end in ("", "_lower", "_upper"))
            for what in ("sensitivity", "specificity")
        }
        for fall in _falls(people)[:MOST_LABELERS]
    }


def _labelers(people: pa.Table, level: float) -> list[Block]:
    falls, times, panels = _falls(people), _times(people), _labeler_panels(people)
    n, n_sure = len(falls), sum(fall.p > SURE for fall in falls)
    rule = f"by more than .05 with a probability above {SURE}, from a period to the next or from the first to the last"
    who = f"{n_sure} of {n} labelers got worse" if n_sure else f"None of {n} labelers is sure to have got worse"
    span = plots.periods_span(panels.values(), "chance")
    drawings = [
        Drawing(
            f"labelers_over_time_{k}",
            _svg(people, {name: series}, "chance", k, span=span, small=True),
            f"Sensitivity and specificity over time: {name}",
        )
        for k, (name, series) in enumerate(panels.items())
    ]
    columns = [Column("labeler", "id"), *([Column("in a word", "tag")] if n_sure else []), Column("what")]
    columns += [Column("from"), Column("to"), Column("before", "interval"), Column("then", "interval")]
    columns.append(Column("chance of a fall", "written"))
    rows = []
    for fall in falls[:MOST_LISTED]:
        at = (fall.row + n * fall.start, fall.row + n * fall.end)
        values = (tuple(people[fall.what + end].to_numpy()[k] for end in ("", "_lower", "_upper")) for k in at)
        tag = ["got worse" if fall.p > SURE else ""] if n_sure else []
        when_ = (times[fall.start], times[fall.end])
        rows.append((fall.labeler, *tag, fall.what, *when_, *values, probability(fall.p)))
    return [
        Prose([f"{who}: sensitivity or specificity fell {rule}. Shown first are those likeliest to have."]),
        Figures(drawings),
        Table(f"Each labeler's likeliest fall, with {level:.0%} intervals", columns, rows, "", n > 25),
    ]
