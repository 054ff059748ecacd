"""What is written of a result with periods: metrics, one row a period, the machine-readable alerts, and the page."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from crowdjax import __version__, report
from crowdjax.columns import when
from crowdjax.context_api import ContextualResult
from crowdjax.facade.prevalence import ASSISTED
from crowdjax.monitoring.alerts import SEVERITIES, Alert, Rules, change_of, latest, share_of
from crowdjax.report import Check, Checks, Facts, Page, Prose, Section
from crowdjax.report.amounts import interval
from crowdjax.report.fit import about

SCHEMA = 1  # of alerts.json and latest.json: a field that goes or means something else is a new one
DONE, ALERTS = 0, 3  # exit statuses
CHANGES = ("change", "change_lower", "change_upper", "p_increase")


def metrics(result: ContextualResult, found: Sequence[Alert]) -> pa.Table:
    """Tabulate the estimates of every period, one row each, and of every group where there are groups (null: all
    together).

    Returns:
        period, group, prevalence, lower, upper, estimate (``model`` or ``assisted by gold``), n_items, n_gold, change,
        change_lower, change_upper, p_increase (since the period before; null in the first), by_scores, by_calibration
        (the parts of the model's change), odds_ratio (of a positive at the same score, against the first period) with
        its interval, p_shifted, n_alerts (of the period, in the row of all together).
    """
    moves = {(when(row["to"]), row["group"]): row for row in result.tables["changes"].to_pylist()}
    counted, rows = Counter(alert.period for alert in found), []
    for cell in result.tables["prevalence"].to_pylist():
        period, move = when(cell["time"]), moves.get((when(cell["time"]), cell["group"]))
        mean, lower, upper = share_of(cell)
        rows.append(
            {
                "period": period, "group": cell["group"], "prevalence": mean, "lower": lower, "upper": upper,
                "estimate": "model" if cell.get("assisted_mean") is None else ASSISTED,
                "n_items": cell["n_items"], "n_gold": cell["n_gold"],
                **dict(zip(CHANGES, (None,) * 4 if move is None else change_of(move), strict=True)),
                **{part: None if move is None else move[part] for part in ("by_scores", "by_calibration")},
                **{name: cell[name] for name in ("odds_ratio", "odds_ratio_lower", "odds_ratio_upper", "p_shifted")},
                "n_alerts": counted[period] if cell["group"] is None else None,
            }
        )  # fmt: skip
    numbers = {name: pa.array([row[name] for row in rows], pa.float64()) for name in rows[0]
               if name not in ("period", "group", "estimate", "n_items", "n_gold", "n_alerts")}  # fmt: skip
    counts = {name: pa.array([row[name] for row in rows], pa.int64()) for name in ("n_items", "n_gold", "n_alerts")}
    group = result.tables["prevalence"]["group"]
    texts = {name: pa.array([row[name] for row in rows], pa.string()) for name in ("period", "estimate")}
    columns = numbers | counts | texts | {"group": group}
    return pa.table({name: columns[name] for name in rows[0]})


def document(
    result: ContextualResult, found: Sequence[Alert], rules: Rules, run: str, inputs: Mapping[str, Any]
) -> dict[str, Any]:
    """Build the content of ``alerts.json``: alerts of the latest period (``alerts``) and of earlier ones (``earlier``),
    its numbers, and the exit status.

    Args:
        run: the name of the run.
        inputs: the inputs' entry of the record.
    """
    period = latest(result.tables["prevalence"], rules)
    now = [alert.record() for alert in found if alert.period == period]
    of_all = [row for row in metrics(result, found).to_pylist() if row["group"] is None]
    return {
        "schema": SCHEMA,
        "run": run,
        "crowdjax": __version__,
        "period": period,
        "status": ALERTS if now else DONE,
        "inputs": dict(inputs),
        "headline": list(result.headlines)[-1],
        "metrics": next((row for row in of_all if row["period"] == period), None),
        "alerts": now,
        "earlier": [alert.record() for alert in found if alert.period != period],
        "rules": rules._asdict(),
        "warnings": list(result.record["warnings"]),
    }


def page(result: ContextualResult, found: Mapping[str, Any], settings: Mapping[str, Any]) -> Page:
    """Build the monitoring page: alerts and the warnings of the fit first, then the periods, and the run.

    Args:
        found: what ``alerts.json`` holds.
        settings: of the run.
    """
    tables, level = result.tables, result.prevalence["level"]
    cells = {name: tables[name] for name in ("prevalence", "changes", "labelers_by_period") if name in tables}
    now, earlier = (
        [_check(alert, then) for alert in found[part]] for part, then in (("alerts", ""), ("earlier", "note"))
    )
    calm = Check("good", "Nothing to report", f"No rule is met in {found['period']}.")
    sections = [
        Section(f"Alerts of {found['period']}", [Checks(now or [calm])]),
        Section("What the fit warns of", [Prose(found["warnings"])] if found["warnings"] else []),
        Section("Over time", report.periods.section(cells, report.periods.figures(cells), level)),
        Section("Alerts of earlier periods", [Checks(earlier)] if earlier else []),
        Section("The run", [Facts(_facts(found, settings))]),
    ]
    record, row = result.record, found["metrics"] or {}
    counts = Counter(alert["severity"] for alert in found["alerts"])
    numbers = {f"{name} alerts": str(counts[name]) for name in SEVERITIES}
    known = not math.isnan(row.get("prevalence", math.nan))
    ends = f" ({interval(row['lower'], row['upper'])})" if known else ""
    numbers[f"share of positives ({level:.0%} interval)"] = f"{row['prevalence']:.1%}{ends}" if known else "–"
    numbers["instances"] = f"{row['n_items']:,}" if row else "0"
    lead = f"{found['headline'][0].upper()}{found['headline'][1:]}."
    title = f"{found['period']}: {_words(len(found['alerts']))}"
    return Page("Monitoring", title, lead, numbers, sections, about(record))


def _facts(found: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the run, its inputs, and the settings that were given."""
    inputs = {f"Inputs: {name}": value for name, value in found["inputs"].items()}
    given = {name: value for name, value in settings.items() if value not in (None, [])}
    return {name: str(value) for name, value in {"Run": found["run"], **inputs, **given}.items()}


def _words(n: int) -> str:
    return "nothing to report" if n == 0 else "1 alert" if n == 1 else f"{n} alerts"


def _check(alert: Mapping[str, Any], status: str) -> Check:
    kind = alert["kind"].replace("_", " ")
    title = f"{kind[0].upper()}{kind[1:]} ({alert['severity']}, {alert['period']})"
    return Check(status or "care", title, alert["text"])
