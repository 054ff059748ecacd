"""Alerts of a contextual fit over periods: findings to examine, from the result's tables and flags alone.

    kind                  severity   raised for a period where
    period_missing        critical   the expected period is not there, or periods before it were left out
    prevalence_rose       critical   P(rise since the period before) ≥ sure
    prevalence_fell       warning    P(fall since the period before) ≥ sure
    prevalence_high       critical   the lower end of its interval is above the limit (of a limit given)
    calibration_drifted   warning    P(odds at the same score changed by more than a factor of 1.2) ≥ sure, since the
                                     period before, or since the first
    labeler_worse         warning    P(sensitivity or specificity fell by more than .05) ≥ sure, since the period
                                     before, or since the first
    gold_contradicts      warning    gold and the model's predictions of the same instances differ (5 % for all periods)
    few_items             warning    fewer instances than a share of the median of the periods before
    little_gold           warning    gold is given, and too little of it for an interval
    unchecked             warning    the posterior did not pass its check (``prevalence["checked"]``)
    undecided             warning    the prevalence rests on the constraint (``prevalence["constraints_agree"]``)
    labelers_together     warning    pairs of labelers agree otherwise than truth and score explain

Rules over several periods are applied to all of them; the last three are about the fit, and so about its latest period.
An alert stays raised as long as its rule is met; ``key`` identifies it from run to run.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from crowdjax.columns import when
from crowdjax.context_api import ContextualResult
from crowdjax.facade.periods import SHIFT, WORSE
from crowdjax.facade.prevalence import ASSISTED
from crowdjax.labels import InputError
from crowdjax.report.amounts import chance, interval, points, size
from crowdjax.settings import number

CRITICAL, WARNING = SEVERITIES = ("critical", "warning")
OF_ONE_PERIOD = ("period_missing", "prevalence_rose", "prevalence_fell")
GAP = 1.5  # usual steps from one period to the next, from which one was left out


class Rules(NamedTuple):
    """Thresholds of the rules that raise alerts.

    Attributes:
        sure: probability of a change at which an alert is raised.
        limit: share of positives; an interval above it raises an alert; None: no limit.
        least: fraction of the median number of instances of the earlier periods, below which a period raises an alert.
        expect: the period that must be present, as text; None: no such period.

    Example:
        >>> Rules(limit=0.02).sure
        0.95
    """

    sure: float = 0.95
    limit: float | None = None
    least: float = 0.5
    expect: str | None = None

    def checked(self) -> Rules:
        """Check the rules and return them.

        Raises:
            InputError: a number is outside its range.
        """
        for name, most in (("sure", 1.0), ("limit", 1.0), ("least", 1.0)):
            value = getattr(self, name)
            if value is not None and number(name, value, 0.0, "a number from 0 to 1") > most:
                raise InputError(f"{name}: got {value}; allowed: a number from 0 to 1")
        return self


class Alert(NamedTuple):
    """An alert: one finding to examine.

    Attributes:
        kind, severity: as in the table of ``crowdjax.monitoring.alerts``.
        period: the period of the finding; what: its subject (a labeler, a group, "all").
        value, lower, upper: the estimate and its interval; bound: the value it was compared with. None where there is
            no number.
        probability: probability of the change, where the rule is about one.
        text: the alert in a sentence.

    Example:
        >>> Alert("few_items", "warning", "2026-W05", "all", 3, None, None, 50.0, None, "").key
        'few_items/all'
    """

    kind: str
    severity: str
    period: str
    what: str
    value: float | None
    lower: float | None
    upper: float | None
    bound: float | None
    probability: float | None
    text: str

    @property
    def key(self) -> str:
        """An identifier of the alert that stays the same over runs; it includes the period where the next period's is
        another alert.
        """
        own = (self.period,) if self.kind in OF_ONE_PERIOD else ()
        return "/".join((self.kind, self.what, *own))

    def record(self) -> dict[str, Any]:
        """Build the entry of ``alerts.json``."""
        return {"key": self.key, **self._asdict()}


def alerts_of(result: ContextualResult, rules: Rules) -> list[Alert]:
    """Find all alerts of a result with periods, for every period; those of the latest period come first, most severe
    first.

    Raises:
        InputError: the result has no periods.
    """
    if "changes" not in result.tables:
        raise InputError("time: a result without periods; needed: a result of crowdjax.context(..., time=...)")
    cells, moves = (result.tables[name].to_pylist() for name in ("prevalence", "changes"))
    found = [*_missing(cells, rules), *_high(cells, rules), *_rose(moves, rules), *_few(cells, rules)]
    found += [*_drifted(cells, moves, rules), *_gold(cells, result.record), *_contradicted(cells)]
    found += [*_of_fit(result)]
    if "labelers_by_period" in result.tables:
        found += _worse(result.tables["labelers_by_period"], rules)
    order = {when(row["time"]): -k for k, row in enumerate(cells)} | {str(rules.expect): -len(cells)}
    return sorted(found, key=lambda a: (order.get(a.period, 0), SEVERITIES.index(a.severity)))


def latest(cells: pa.Table, rules: Rules) -> str:
    """Find the period that a run is about: the latest, or the expected one if that is missing.

    Example:
        >>> latest(pa.table({"time": [1, 2]}), Rules()), latest(pa.table({"time": [1, 2]}), Rules(expect="3"))
        ('2', '3')
    """
    times = [when(time) for time in cells["time"].to_pylist()]
    return times[-1] if rules.expect is None or rules.expect in times else rules.expect


def _missing(cells: Sequence[Mapping[str, Any]], rules: Rules) -> Iterator[Alert]:
    times = list(dict.fromkeys(row["time"] for row in cells))
    named = [when(time) for time in times]
    blank = ("all", None, None, None, None, None)
    if rules.expect is not None and rules.expect not in named:
        text = f"No labels of {rules.expect}: the latest are of {named[-1]}."
        yield Alert("period_missing", CRITICAL, rules.expect, *blank, text)
    at = [ordinal(time) for time in times]
    if len(times) > 2 and None not in at:
        steps = np.diff(np.asarray(at, float))
        for k in np.flatnonzero(steps > GAP * np.percentile(steps, 50, method="lower")):
            text = f"No labels between {named[k]} and {named[k + 1]}: a period, or several, was left out."
            yield Alert("period_missing", CRITICAL, named[k + 1], *blank, text)


def ordinal(period: Any) -> float | None:
    """Convert a period to its position in time: a number itself; the day of a date, of its text, of a month or of an
    ISO week; None for other text.

    Example:
        >>> ordinal("2026-W02") - ordinal("2026-W01"), ordinal("2026-03-01") - ordinal("2026-02"), ordinal("spring")
        (7.0, 28.0, None)
    """
    if isinstance(period, datetime.date):  # a datetime is one
        return float(period.toordinal())
    if isinstance(period, int | float):
        return float(period)
    week = re.fullmatch(r"(\d{4})-?W(\d\d)", str(period))
    try:
        if week:
            return float(datetime.date.fromisocalendar(int(week[1]), int(week[2]), 1).toordinal())
        text = f"{period}-01" if re.fullmatch(r"\d{4}-\d\d", str(period)) else str(period)
        return float(datetime.date.fromisoformat(text).toordinal())
    except ValueError:
        return None


def _where(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return (what a row is of, the same in a sentence)."""
    return ("all", "") if row["group"] is None else (str(row["group"]), f" in group {row['group']!s}")


def share_of(row: Mapping[str, Any]) -> tuple[float, float, float]:
    """Select (mean, lower, upper) of a row of cells: assisted by gold where that has an interval, else the model's.

    Example:
        >>> share_of({"mean": 0.2, "lower": 0.1, "upper": 0.3, "assisted_mean": None})
        (0.2, 0.1, 0.3)
    """
    by = "assisted_" if row.get("assisted_mean") is not None else ""
    return tuple(row[by + end] for end in ("mean", "lower", "upper"))


def change_of(row: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """Select (difference, lower, upper, probability of a rise) of a row of changes, by the same rule.

    Example:
        >>> change_of({"difference": 0.1, "lower": 0.0, "upper": 0.2, "p_increase": 0.97})
        (0.1, 0.0, 0.2, 0.97)
    """
    if row.get("assisted_difference") is not None:
        return tuple(row[f"assisted_{end}"] for end in ("difference", "lower", "upper", "p_increase"))
    return tuple(row[end] for end in ("difference", "lower", "upper", "p_increase"))


def _high(cells: Sequence[Mapping[str, Any]], rules: Rules) -> Iterator[Alert]:
    for row in cells:
        mean, lower, upper = share_of(row)
        if rules.limit is not None and lower > rules.limit:
            what, where = _where(row)
            text = f"Prevalence{where} {100 * mean:.3g} % ({interval(lower, upper)}): above {100 * rules.limit:.3g} %."
            yield Alert("prevalence_high", CRITICAL, when(row["time"]), what, mean, lower, upper, rules.limit, None,
                        text)  # fmt: skip


def _rose(moves: Sequence[Mapping[str, Any]], rules: Rules) -> Iterator[Alert]:
    for row in moves:
        difference, lower, upper, p = change_of(row)
        what, where = _where(row)
        change = points(difference, lower, upper)
        text = f"Prevalence{where}: {change} points since {when(row['from'])}, {chance(p)}."
        at = when(row["to"]), what, difference, lower, upper, 0.0
        if p >= rules.sure:
            yield Alert("prevalence_rose", CRITICAL, *at, p, text)
        elif 1 - p >= rules.sure:
            yield Alert("prevalence_fell", WARNING, *at, 1 - p, text)


def _few(cells: Sequence[Mapping[str, Any]], rules: Rules) -> Iterator[Alert]:
    counts = [row["n_items"] for row in cells if row["group"] is None]
    times = [when(row["time"]) for row in cells if row["group"] is None]
    for k in range(1, len(counts)):
        bound = rules.least * float(np.median(counts[:k]))
        if counts[k] < bound:
            text = f"Few instances: {counts[k]:,}, where periods before had {np.median(counts[:k]):,.0f} (median)."
            yield Alert("few_items", WARNING, times[k], "all", counts[k], None, None, bound, None, text)


def _drifted(cells, moves, rules: Rules) -> Iterator[Alert]:
    """Return the calibration's steps, and where there is none in a period its distance from the first one."""
    stepped, first = set(), when(cells[0]["time"])
    rows = [(row, row["to"], when(row["from"])) for row in moves] + [(row, row["time"], first) for row in cells]
    for row, time, since in rows:
        if row["p_shifted"] < rules.sure or math.isnan(row["p_shifted"]) or (time, row["group"]) in stepped:
            continue
        stepped.add((time, row["group"]))
        what, where = _where(row)
        ratio, lower, upper = (row[f"odds_ratio{end}"] for end in ("", "_lower", "_upper"))
        text = (
            f"The same scores{where} came to mean {'more' if ratio > 1 else 'fewer'} positives since {since}: the odds "
            f"are {ratio:.2f} times as high ({lower:.2f} to {upper:.2f}), with a probability {size(row['p_shifted'])} "
            f"of more than {SHIFT} either way."
        )
        bound = SHIFT if ratio > 1 else 1 / SHIFT
        yield Alert("calibration_drifted", WARNING, when(time), what, ratio, lower, upper, bound, row["p_shifted"],
                    text)  # fmt: skip


def _worse(people: pa.Table, rules: Rules) -> Iterator[Alert]:
    rows, last = people.to_pylist(), {}
    first = {row["labeler"]: row for row in reversed(rows)}
    for row in rows:
        who, before = row["labeler"], last.get(row["labeler"])
        last[who] = row
        for name in ("sensitivity", "specificity") if before is not None else ():
            for p, since in ((row[f"{name}_p_fell"], before), (row[f"{name}_p_worse"], first[who])):
                if p >= rules.sure:
                    value, lower, upper = (row[f"{name}{end}"] for end in ("", "_lower", "_upper"))
                    text = (
                        f"Labeler {who!s} got worse since {when(since['time'])}: {name} {value:.2f} ({lower:.2f} to "
                        f"{upper:.2f}), and {since[name]:.2f} then; it fell by more than {WORSE} with a probability "
                        f"{size(p)}."
                    )
                    yield Alert("labeler_worse", WARNING, when(row["time"]), f"{who!s}/{name}", value, lower, upper,
                                since[name] - WORSE, p, text)  # fmt: skip
                    break


def _gold(cells: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> Iterator[Alert]:
    for row in cells if record["n_gold"] else ():
        wanted = row.get("n_gold_wanted")
        if row["group"] is None and row["assisted_mean"] is None and wanted is not None and row["n_gold"] < wanted:
            text = f"Gold of {row['n_gold']} instances is too little for an interval; about {wanted} are needed."
            yield Alert("little_gold", WARNING, when(row["time"]), "all", row["n_gold"], None, None, wanted, None, text)


def _contradicted(cells: Sequence[Mapping[str, Any]]) -> Iterator[Alert]:
    for row in cells:
        if row.get("gold_contradicts"):
            what, where = _where(row)
            text = f"Gold contradicts the model{where}: its predictions of the instances with gold are off."
            yield Alert("gold_contradicts", WARNING, when(row["time"]), what, None, None, None, None, None, text)


def _of_fit(result: ContextualResult) -> Iterator[Alert]:
    period, found = when(result.tables["prevalence"]["time"][-1].as_py()), result.prevalence
    by_gold = found["method"] == ASSISTED
    if not found["checked"] and not by_gold:
        text = f"Intervals are not checked: the inference ended as {result.record['result']}."
        yield Alert("unchecked", WARNING, period, "all", None, None, None, None, None, text)
    if found["constraints_agree"] is False and not by_gold:
        text = "Labels alone do not decide the prevalence: it rests on the constraint. Gold drawn at random would."
        yield Alert("undecided", WARNING, period, "all", found["reach"], None, None, None, None, text)
    pairs = result.record["agreement"]["pairs"]
    if pairs:
        named = "; ".join(" and ".join(pair["labelers"]) for pair in pairs[:3])
        text = f"Labelers agree otherwise than truth and score explain: {named}{'; ...' if len(pairs) > 3 else ''}."
        yield Alert("labelers_together", WARNING, period, "all", len(pairs), None, None, 0, pairs[0]["p"], text)
