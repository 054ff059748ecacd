"""The page of a contextual fit of K exclusive classes: shares, by score too, inferred classes and labelers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from crowdjax import plots
from crowdjax.report import classes, confusion, crowd, fit, gold
from crowdjax.report.document import Block, Column, Drawing, Facts, Figures, Page, Prose, Section, Table
from crowdjax.report.labelers import MOST as MOST_LABELERS
from crowdjax.report.labelers import forest
from crowdjax.report.words import Words, head, words_of
from crowdjax.result import Tally

MODEL = (
    "The shares of the classes and what the crowd makes of each are functions of the score. Labelers differ in how "
    "often they are right, of each class too, and in the classes that they lean to."
)


def of_categories(
    record: Mapping[str, Any],
    tables: Mapping[str, pa.Table],
    prevalence: Mapping[str, Any],
    tally: Tally,
    figures: Mapping[str, plots.Figure],
) -> Page:
    """Return the page of a contextual fit of K classes.

    Args:
        record, tables, prevalence: of the result (``facade.categories``).
        tally: the labels, counted.
        figures: shares, classes_by_score.
    """
    words = words_of(record, tally)
    answers = tables["instances"]
    chosen = classes.answer_codes(answers, words)
    against = classes.against_votes(chosen, tally, words)
    checks = [
        *gold.checks(tables["labelers"], record["level"]),
        *crowd.checks_of_classes(tables["labelers"], tally, answers["confidence"].to_numpy(), against),
    ]
    sections = [
        Section("Before you trust it", fit.trust(record["warnings"], checks)),
        Section("Shares of the classes", _shares(tables["prevalence"], prevalence, figures)),
        Section("What was fitted", [Prose([MODEL]), Facts(_settings(record) | fit.columns(record))]),
        Section("Inferred classes", classes.answers_of(answers, chosen, tally, words)),
        Section("What the crowd confuses", confusion.of_crowd(tally, words)),
        Section("The labelers", _labelers(tables["labelers"], record, words)),
        Section("The labels", crowd.section(tables["labelers"], tally, yes=False)),
    ]
    numbers = {
        "labels": f"{record['n_labels']:,}",
        "labelers": f"{record['n_labelers']:,}",
        "instances": f"{record['n_instances']:,}",
        "classes": f"{len(words.classes):,}",
    }
    lead = f"{prevalence['headline'][:1].upper()}{prevalence['headline'][1:]}."
    return Page("Report of a contextual fit", "Class shares by a score", lead, numbers, sections, fit.about(record))


def _shares(table: pa.Table, prevalence: Mapping[str, Any], figures: Mapping[str, plots.Figure]) -> list[Block]:
    """Return what to report, and every other estimate."""
    level = f"{prevalence['level']:.0%}"
    drawings = [
        Drawing(
            "shares",
            figures["shares"],
            "Shares of the classes with intervals",
            f"By: {prevalence['method']}.",
        ),
        Drawing(
            "classes_by_score",
            figures["classes_by_score"],
            "Shares of the most frequent classes by score",
            f"The share of each class at every score, with {level} intervals, over the density of the scores.",
        ),
    ]
    ends = ("mean", "lower", "upper")
    rows = [
        (str(r["class"]), r["method"], tuple(np.nan if r[end] is None else r[end] for end in ends))
        for r in table.to_pylist()
    ]
    columns = [Column("class", "id"), Column("estimate", "words"), Column("share", "interval")]
    return [Figures(drawings), Table("Every estimate of every share", columns, rows, "", True)]


def _settings(record: Mapping[str, Any]) -> dict[str, str]:
    config = record["config"]
    return {
        "Functions": f"shares {config['prevalence']}, accuracy {config['accuracy']}, leanings {config['bias']}",
        "Labelers": config["labelers"],
        "Constraint": config["constraint"],
        "Inference": record["result"],
        "Draws": f"{record['settings']['draws']:,}",
        "Seed": str(record.get("seed")),
        "Time": f"{record['seconds']:.1f} s",
    }


def _labelers(people: pa.Table, record: Mapping[str, Any], words: Words) -> list[Block]:
    """Return labelers by their number of labels, with their accuracy and how often they recognise each class."""
    order = np.argsort(-people["n_labels"].to_numpy(), kind="stable")[:MOST_LABELERS]
    some, level = people.take(pa.array(order)), record["level"]
    chance = float(max(record["class_shares"]))
    span = (0.0, 1.0, chance)
    of = lambda *ends: list(zip(*(some[end].to_pylist() for end in ends), strict=True))  # noqa: E731
    values = [some["labeler"].to_pylist(), some["n_labels"].to_pylist(), of("accuracy", "lower", "upper")]
    columns = [Column("labeler", "id"), Column("labels", "count"), Column("accuracy", "interval", span)]
    by_gold, theirs = gold.column(some, "accuracy", level, span)
    columns += by_gold
    values += theirs
    for name in (words.classes[k] for k in words.shown):
        columns.append(Column(head(name), "interval"))
        values.append(of(*(f"{end}_{name}" for end in ("recall", "lower", "upper"))))
    if by_gold:
        columns.append(Column("labels on gold", "count"))
        values.append(some["gold_labels"].to_pylist())
    text = (
        "The accuracy of a labeler is the chance that its label is right, averaged over scores; under each class, how "
        f"often it recognises that class. Intervals hold {level:.0%}."
    )
    left = people.num_rows - len(order)
    note = f"The first {len(order):,} of {people.num_rows:,}; all are in labelers.parquet." if left else ""
    table = Table("Labelers, by number of labels", columns, list(zip(*values, strict=True)), note, True)
    return [Prose([text, *confusion.left_out(words)]), Figures([forest(people, chance)]), table]
