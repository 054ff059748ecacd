"""The page of a posterior predictive check: what the model misses in its labels, schools, surprising instances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from crowdjax.report.document import Check, Checks, Column, Facts, Page, Prose, Section, Table
from crowdjax.report.fit import about, columns

MOST = 300
MEANING = {
    "share of yes": "whether the crowd says yes as often as the model makes it",
    "label shares": "whether every value is given as often as the model makes it",
    "vote counts": "whether the instances' votes are spread as the model spreads them",
    "agreement": "whether labelers agree more than the instances explain, which makes probabilities overconfident",
    "schools": "whether groups of labelers read the instances another way than the others",
}


def of_check(record: Mapping[str, Any], people: pa.Table, things: pa.Table) -> Page:
    """Build the page of a posterior predictive check from ``record``, ``labelers`` and ``instances``."""
    failed = [check for check in record["checks"] if check["failed"]]
    checks = [
        Check(
            "care" if check["failed"] else "good",
            f"{check['name'].capitalize()}: "
            + ("not as the model has it" if check["failed"] else "as the model has it"),
            f"It asks {MEANING[check['name']]}. Observed {check['observed']:.3g}, expected {check['expected']:.3g}, "
            f"p = {check['p']:.2f}.",
        )
        for check in record["checks"]
    ]
    lead = f"The labels of a fit beside {record['replicates']} sets of labels that the fitted model would give."
    numbers = {
        "labelers": f"{record['n_labelers']:,}",
        "instances looked at": f"{record['n_looked_at']:,}",
        "checks failed": f"{len(failed)} of {len(record['checks'])}",
        "surprising instances": f"{record['n_surprising']:,}",
    }
    sections = [
        Section(
            "What the fit misses",
            [
                Prose(record["warnings"]),
                Checks(sorted(checks, key=lambda check: check.status != "care")),
                *([Facts(columns(record))] if columns(record) else []),
            ],
        ),
        Section("Who thinks alike", _schools(record, people)),
        Section("What surprises the fit", _surprises(things)),
    ]
    title = "Posterior predictive check"
    return Page(title, f"{title} of {record['model']}", lead, numbers, sections, about(record))


def _schools(record, people: pa.Table) -> list:
    if "school" not in people.column_names:  # of more than two classes
        return [Prose(["Schools of thought are looked for in fits of two classes by the models integrated and auto."])]
    data = {name: people[name].to_pylist() for name in people.column_names}
    order = np.lexsort((-np.asarray(data["n_labels"], float), np.asarray(data["school"]) == 0))[:MOST]
    ends = ("informedness", "informedness_lower", "informedness_upper")
    names = [Column("labeler", "id"), Column("labels", "count"), Column("school", "number")]
    rows = [
        (data["labeler"][i], data["n_labels"][i], data["school"][i], tuple(data[e][i] for e in ends), data["kind"][i])
        for i in order
    ]
    text = (
        "Labelers of a school agree with each other beyond what the instances explain. The numbers k and −k are the "
        "two sides of the k-th school, 0 is none. Which side is right no label says."
    )
    said = [
        f"School {k}: {school['sides'][0]} labelers against {school['sides'][1]}; strength {school['strength']:.2f}, "
        f"where {school['threshold']:.2f} would be chance."
        for k, school in enumerate(record["schools"], 1)
    ]
    columns = [*names, Column("informedness", "interval", (-1.0, 1.0, 0.0)), Column("kind", "tag")]
    note = f"Intervals hold {record.get('level', 0.9):.0%}. " + (
        f"The first {len(rows):,} of {people.num_rows:,}; all are in labelers.parquet."
        if len(rows) < people.num_rows
        else ""
    )
    return [Prose([text, *said]), Table("Labelers: those of a school first", columns, rows, note, True)]


def _surprises(things: pa.Table) -> list:
    looked = things.filter(things["surprise"].is_valid())
    order = np.argsort(looked["surprise"].to_numpy(), kind="stable")[:MOST]
    shown = looked.take(pa.array(order))
    mark = ["surprising" if v else "" for v in shown["surprising"].to_pylist()]
    rows = list(zip(*(shown[n].to_pylist() for n in ("instance", "n_labels", "surprise")), mark, strict=True))
    columns = [Column("instance", "id"), Column("labels", "count"), Column("p-value", "number"), Column("mark", "tag")]
    text = (
        "How rarely the model gives an instance labels as odd as its own. Of the marks, 5 % are expected to be false."
    )
    note = (
        f"The first {len(rows):,} of {looked.num_rows:,}; all are in instances.parquet."
        if len(rows) < looked.num_rows
        else ""
    )
    return [Prose([text]), Table("Instances: the most surprising first", columns, rows, note, True)]
