"""The page of a contextual fit: warnings first, then the functions of the score, the prevalence, the calibrated score,
the labelers, the instances, and whether the inference can be trusted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pyarrow as pa

from crowdjax import plots
from crowdjax.labelers import SPAM, Interval
from crowdjax.report import crowd, instances, labelers, periods
from crowdjax.report.document import Block, Column, Drawing, Facts, Figures, Page, Prose, Section, Table
from crowdjax.report.fit import about, columns, trust
from crowdjax.result import Tally

FAMILY = {"gp": "a smooth curve (Gaussian process)", "linear": "a line on the logit scale", "constant": "a constant"}
LEVELS = {
    "global": "Labelers are assumed to be alike.",
    "offset": "Each labeler is better or worse than the crowd, and leans to yes or no, by the same amount at every "
    "score.",
    "function": "Each labeler has curves of its own.",
}
LEARNED = 0.2  # share of the prior's variance that the labels must have removed
ROWS = 200  # of the table of the calibrated score


class Diagnostic(NamedTuple):
    """A number of ``fit.json``: its name, format, limit, verdict and meaning."""

    name: str
    called: str
    form: str
    allowed: str
    good: Callable[[float, Mapping[str, Any]], bool | None]
    meaning: str


DIAGNOSTICS = (
    Diagnostic(
        "rhat",
        "R-hat",
        "{:.3f}",
        "at most 1.01",
        lambda v, _: v <= 1.01,
        "Whether chains that started apart ended in the same place, for the worst parameter. Above 1.01: draw more.",
    ),
    Diagnostic(
        "ess",
        "effective sample size",
        "{:.0f}",
        "100 per chain",
        lambda v, record: v >= 100 * record["settings"]["n_chains"] if record["inference"] == "nuts" else None,
        "How many independent draws the draws are worth: of chains for the worst parameter, of an approximation if "
        "they were weighted by the posterior, which they are not. Few: the ends of intervals are noisy.",
    ),
    Diagnostic(
        "divergences",
        "divergences",
        "{:.0f}",
        "0",
        lambda v, _: v == 0,
        "Steps of the sampler that left the posterior. Any leave a part of it unseen.",
    ),
    Diagnostic(
        "khat",
        "Pareto k-hat",
        "{:.2f}",
        "below 0.7",
        lambda v, _: v < 0.7,
        "Whether the approximation is near the posterior. Above 0.7 its intervals may be too narrow: use nuts.",
    ),
    Diagnostic(
        "khat_scales",
        "k-hat of the scales",
        "{:.2f}",
        "below 0.7",
        lambda v, _: v < 0.7,
        "The same of how high and how wiggly the curves are.",
    ),
    *(
        Diagnostic(
            f"informed_{name}",
            f"{name}, learned",
            "{:.1%}",
            f"well above {LEARNED:.0%}",
            lambda v, _: v >= LEARNED,
            "By how much the labels narrowed what was assumed before. Little: the curve is mostly assumption.",
        )
        for name in ("prevalence", "sensitivity", "specificity")
    ),
)


def of_context(
    record: Mapping[str, Any],
    answers: pa.Table,
    people: pa.Table,
    calibration: pa.Table,
    prevalence: Mapping[str, Any],
    tally: Tally,
    functions: Mapping[str, plots.Figure | str],
    figures: Mapping[str, plots.Figure],
    cells: Mapping[str, pa.Table],
) -> Page:
    """Return the page of a contextual fit.

    Args:
        record, answers, people, calibration, prevalence: of the result; ``answers`` are its instances.
        tally: the labels, counted.
        functions: a figure for each of prevalence, sensitivity and specificity.
        figures: ``reliability``, ``prevalence`` and, where labelers differ, ``labelers``, as the result draws them;
            with periods or groups those of ``report.periods``.
        cells: the tables ``prevalence``, ``changes`` and ``labelers_by_period``, as far as there are any.
    """
    level = prevalence["level"]
    checks = crowd.checks(people, answers, tally)
    sections = [
        Section("Before you trust it", trust(record["warnings"], checks)),
        Section("The inference", _inference(record)),
        Section("Prevalence and accuracy over the score", _functions(record, functions, level)),
        Section("The share of positives", _prevalence(prevalence, figures)),
        Section("Kinds" if record.get("kinds") else "Periods and groups", periods.section(cells, figures, level)),
        Section("The calibrated score", _calibration(calibration, figures)),
        Section("The labelers", _labelers(people, figures, level, record["config"]["constraint"])),
        Section("Inferred classes", instances.section(answers, tally)),
        Section("The labels", crowd.section(people, tally)),
        Section("What was fitted", [Prose([_words(record)]), Facts(_settings(record) | columns(record))]),
    ]
    numbers = {
        "labels": f"{record['n_labels']:,}",
        "labelers": f"{record['n_labelers']:,}",
        "instances": f"{record['n_instances']:,}",
        f"share of positives ({level:.0%} interval)": _interval(prevalence),
    }
    lead = (
        f"How the share of positives and the accuracy of {record['n_labelers']:,} labelers change with "
        f"{record['scores'][0]}. The share of positives is {_interval(prevalence)}; votes alone say "
        f"{_votes(prevalence)['mean']:.1%}."
    )
    title = "Prevalence, sensitivity and specificity over a score"
    return Page("Report of a contextual fit", title, lead, numbers, sections, about(record))


def _interval(estimate: Mapping[str, Any]) -> str:
    return f"{estimate['mean']:.1%} ({estimate['lower']:.1%} to {estimate['upper']:.1%})"


def _votes(prevalence) -> Mapping[str, Any]:
    return next(e for e in prevalence["estimates"] if e["method"] == "vote share")


def _inference(record) -> list[Block]:
    """Return the diagnostics, each with what is good and what it means."""
    rows = []
    for d in DIAGNOSTICS:
        if d.name in record["diagnostics"]:
            value = record["diagnostics"][d.name]
            found = d.good(value, record)
            verdict, allowed = {True: "good", False: "care", None: ""}[found], "" if found is None else d.allowed
            rows.append((d.called, d.form.format(value), allowed, verdict, d.meaning))
    columns = [Column("diagnostic"), Column("here"), Column("good"), Column("verdict", "tag"), Column("what it says")]
    text = f"The functions were inferred by {record['inference']} ({record['inference_reason']})."
    return [Prose([text]), Table("Diagnostics of the inference", columns, rows)]


def _functions(record, functions, level: float) -> list[Block]:
    text = (
        f"Each line is the function's mean, each band holds it with a probability of {level:.0%} at any one score. The "
        "grey hills below are where the scores are: where there are none, the curve is what was assumed."
    )
    drawings = [Drawing(f"function-{name}", figure, f"{name} over the score") for name, figure in functions.items()]
    return [Prose([text]), Figures(drawings)]


def _prevalence(prevalence, figures) -> list[Block]:
    columns = [Column("estimate"), Column("share", "share"), Column("lower", "share"), Column("upper", "share")]
    columns.append(Column("what it is"))
    rows = [(e["method"], e["mean"], e["lower"], e["upper"], e["what"]) for e in prevalence["estimates"]]
    caption = "Votes are no estimate of the truth: each false label of a frequent class is one more of a rare one."
    level = prevalence["level"]
    return [
        Prose([prevalence["trust"]] if "trust" in prevalence else []),
        Figures([Drawing("prevalence", figures["prevalence"], "Estimates of the share of positives", caption)]),
        Table(f"Estimates of the share of positives, the best first, with {level:.0%} intervals", columns, rows),
    ]


def _calibration(calibration: pa.Table, figures) -> list[Block]:
    rows = plots.evenly(calibration.num_rows, ROWS)
    some = calibration.take(pa.array(rows))
    form = lambda n: "id" if n == "kind" else "number" if n.startswith("score") else "share"  # noqa: E731
    columns = [Column(n, form(n)) for n in some.column_names]
    values = [tuple(str(v) if n == "kind" else v for n, v in row.items()) for row in some.to_pylist()]
    text = (
        "The prevalence function makes a probability of any score: of instances with this score, so many are positive. "
        "The figure compares it, and the score where that is itself a probability, with what the instances turned out "
        "to be."
    )
    left = len(rows) < calibration.num_rows
    note = (
        f"{len(rows):,} of {calibration.num_rows:,} scores, evenly; the rest is in calibration.parquet." if left else ""
    )
    caption = "On the dashed line forecasts come true; the legend says how far off they are on average."
    return [
        Prose([text]),
        Figures([Drawing("reliability", figures["reliability"], "Forecast and observed share of positives", caption)]),
        Table("The score, calibrated", columns, values, note, True),
    ]


def _labelers(people: pa.Table, figures, level: float, constraint: str) -> list[Block]:
    if "balanced_accuracy" not in people.column_names:
        return [Prose(["Labelers are assumed to be alike, so none can be told from another here."])]
    found = Interval(*(2 * people[f"balanced_accuracy{end}"].to_numpy() - 1 for end in ("", "_lower", "_upper")))
    text = "The curves of the labelers with most labels, the crowd's in black; the best two and the worst two by name."
    title = "Sensitivity and specificity of labelers over the score"
    kinds = sum(name.startswith("functions_") for name in figures)
    names = [f"labelers_{k + 1}" for k in range(kinds)] or ["labelers"]
    drawn = [Drawing(name, figures[name], title, text) for name in names]
    least = 0.0 if constraint == "free" else SPAM
    return [Figures(drawn), *labelers.section(people, found, level, least=least)]


def _words(record) -> str:
    config = record["config"]
    constraint = {
        "ordered": "On every score, labels are assumed to be better than guesses (sensitivity + specificity > 1).",
        "both": "On every score, labelers are assumed to be right more often than not in either class.",
        "free": "Nothing but the priors says which class is which.",
    }[config["constraint"]]
    return (
        f"The share of positives is {FAMILY[config['prevalence']]} of the score"
        + (", which may only rise" if config["increasing"] else "")
        + f"; sensitivity and specificity are {FAMILY[config['accuracy']]}. {LEVELS[config['labelers']]} {constraint}"
    )


def _settings(record) -> dict[str, str]:
    config = record["config"]
    facts = {
        "Inference": f"{record['inference']}, {record['inference_reason']}",
        "Draws": record["settings"]["n_draws"],
        "Scores": ", ".join(record["scores"]),
        "Transform": record["transform"],
        "Prevalence": config["prevalence"],
        "Accuracy": config["accuracy"],
        "Labelers": config["labelers"],
        "Constraint": config["constraint"],
        "Gold": f"{record['n_gold']:,}",
        "Population": "no table" if record["n_population"] is None else f"{record['n_population']:,} rows",
        "Sampling weights": "given" if record["weights"] else "none",
        "Seed": "a key was given" if record["seed"] is None else record["seed"],
        "Time": f"{record['seconds']:.1f} s",
    }
    return {name: str(value) for name, value in facts.items()}
