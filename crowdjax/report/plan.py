"""The page of a plan: the design and its caveats, every design with its expected width, and which scores to sample."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from crowdjax import plots
from crowdjax.labelers import in_sd
from crowdjax.report.document import Block, Check, Checks, Column, Drawing, Facts, Figures, Page, Prose, Section, Table
from crowdjax.report.fit import about

MOST = 300  # instances in the table of the next labels
MOST_DRAWN = 30  # designs in a figure


def of_plan(record: Mapping[str, Any], tables: Mapping[str, pa.Table]) -> Page:
    """Return the page of a plan.

    Args:
        record, tables: of the plan; ``designs`` and ``allocation``, or ``next``.
    """
    if "next" in tables:
        return _of_next(record, tables["next"])
    designs = sorted(tables["designs"].to_pylist(), key=lambda d: (not d["chosen"], not d["meets"], d["cost"]))
    reached = record["design"] is not None
    checks = [Check("note", "How to carry it out", sentence) for sentence in record["warnings"]]
    if not reached:
        checks.insert(0, Check("care", "No design reaches the width", record["sentence"]))
    sections = [
        Section("Before you trust it", [Prose([CAUTION]), *([Checks(checks)] if checks else [])]),
        Section("The design", _design(record, designs) if reached else []),
        Section("Every design", _designs(designs, record["width"], record["level"])),
        Section("Which scores to sample", _allocation(tables["allocation"])),
        Section("What was assumed", [Facts(_assumed(record))]),
    ]
    numbers = {
        "instances": f"{record['n_instances']:,}",
        "labels": f"{record['n_labels']:,}",
        "gold labels": f"{record['design']['gold']:,}" if reached else "–",
        f"width of the {record['level']:.0%} interval, wanted": f"{record['width']:.3g}",
    }
    return Page("Plan of a measurement", "How much to label", record["sentence"], numbers, sections, about(record))


CAUTION = (
    "A plan is as good as what it assumes of the labelers and of the score. A pilot that is small, or whose labelers "
    "miss many positives, knows them badly: take its numbers as orders of magnitude, and plan again with the first "
    "labels."
)


def _width(d: Mapping[str, Any], level: float) -> tuple[float, float, float]:
    """Return the expected width of a design with the ends of its Monte Carlo interval, NaN where one fit has none."""
    half = in_sd(level) * d["error"] if d["error"] else np.nan
    return d["width"], np.maximum(d["width"] - half, 0.0), d["width"] + half


def _design(record: Mapping[str, Any], designs) -> list[Block]:
    chosen = designs[0]
    facts = {
        "Instances": f"{chosen['items']:,}",
        "Labels of each": f"{chosen['per_item']:,}",
        "Gold labels": f"{chosen['gold']:,}",
        "Cost in labels": f"{chosen['cost']:,.0f}",
        "Expected width": f"{chosen['width']:.3g}" + (f" ± {chosen['error']:.1g}" if chosen["error"] else ""),
        "Sampling": record["sampling"],
    }
    return [Facts(facts)]


def _designs(designs, width: float, level: float) -> list[Block]:
    drawn = designs[:MOST_DRAWN]
    names = {f"{d['items']:,} × {d['per_item']}, {d['gold']:,} gold": _width(d, level) for d in drawn}
    figure = plots.intervals(names, title="Expected width", xlabel=f"width of the {level:.0%} interval")
    caption = (
        f"Instances × labels of each, and gold labels; the chosen design first. Wanted is {width:.3g}. Intervals are "
        "those of the simulation."
    )
    columns = [Column("instances", "count"), Column("labels of each", "count"), Column("gold labels", "count")]
    columns += [Column("cost", "count"), Column("width", "number"), Column("± (simulation)", "number")]
    columns += [Column("held the truth", "share"), Column("fits", "count"), Column("verdict", "tag")]
    rows = [
        (
            *(d[name] for name in ("items", "per_item", "gold", "cost", "width")),
            d["error"] or None,
            d["held"],
            d["n_fits"],
            "chosen" if d["chosen"] else "reaches it" if d["meets"] else "",
        )
        for d in designs
    ]
    note = (
        "Cost is in labels, gold included. Held the truth is how often the interval of a simulated crowd held its "
        "rate; a dash where the power law alone says the width."
    )
    return [
        Figures([Drawing("plan_widths", figure, "Expected widths of the designs", caption)]),
        Table("Designs, those that reach the width first", columns, rows, note, len(rows) > 25),
    ]


def _allocation(table: pa.Table) -> list[Block]:
    columns = [Column("score from", "number"), Column("to", "number"), Column("population", "count")]
    columns += [Column("prevalence", "share"), Column("instances", "count"), Column("chance", "share")]
    names = ("lower", "upper", "population", "prevalence", "items", "chance")
    rows = [tuple(round(v) if name == "population" else v for name, v in zip(names, row, strict=True))
            for row in zip(*(table[name].to_pylist() for name in names), strict=True)]  # fmt: skip
    text = (
        "Within each range of the score, instances are drawn at random with this chance; their weight is one over it."
    )
    return [Prose([text]), Table("Instances to draw, by score", columns, rows)]


def _assumed(record: Mapping[str, Any]) -> dict[str, str]:
    facts = {"Rate of positives": f"{record['rate']:.3g}"}
    for name, value in record.get("assumed", {}).items():
        ends = value if isinstance(value, list | tuple) else [value]
        facts[name.capitalize()] = " to ".join(f"{v:.3g}" for v in dict.fromkeys(ends))
    if "pilot" in record:
        facts["Pilot"] = f"{record['pilot']['n_labels']:,} labels"
    facts |= {"Labelers": f"{record['n_labelers']:,}", "Cost of a gold label": f"{record['gold_cost']:g} labels"}
    facts |= {"Simulated crowds": f"{record['replicates']:,} of each size", "Seed": str(record["seed"])}
    return facts | {"Time": f"{record['seconds']:.1f} s"}


def _of_next(record: Mapping[str, Any], table: pa.Table) -> Page:
    """Return the page of the labels to collect next."""
    first = table.slice(0, MOST)
    kinds = {"instance": "id", "gain": "number", "left": "share"}
    columns = [
        Column(name, kinds.get(name) or ("number" if pa.types.is_floating(of.type) else "text"))
        for name, of in zip(first.column_names, first.columns, strict=True)
    ]
    rows = list(zip(*(column.to_pylist() for column in first.columns), strict=True))
    note = f"The first {len(rows):,} of {table.num_rows:,}; all are in next.parquet." if len(rows) < len(table) else ""
    numbers = {"labels to collect": f"{table.num_rows:,}", "instances of the fit": f"{record['n_instances']:,}"}
    listed = Section("The next labels", [Table("Instances, the most useful first", columns, rows, note, True)])
    title = f"What to label next for {record['aim']}"
    return Page("Plan of the next labels", title, record["sentence"], numbers, [listed], about(record))
