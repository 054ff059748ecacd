"""The page of a contextual fit: warnings first, then the functions of the score, the prevalence, the calibrated score,
the labelers, the instances, and whether the inference can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from crowdjax.answers import Tally
from crowdjax.integrated.answers import Interval
from crowdjax.report import crowd, instances, labelers
from crowdjax.report.document import Block, Check, Checks, Column, Drawing, Facts, Figures, Page, Prose, Section, Table
from crowdjax.report.fit import about

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAMILY = {"gp": "a smooth curve (Gaussian process)", "linear": "a line on the logit scale", "constant": "a constant"}
LEVELS = {
    "global": "Labelers are taken to be alike.",
    "offset": "Each labeler is better or worse than the crowd, and leans to yes or no, by the same amount at every score.",
    "function": "Each labeler has curves of its own.",
}
LEARNED = 0.2  # share of the prior's variance that the labels must have removed
ROWS = 200  # of the table of the calibrated score


def of_context(
    record: Mapping[str, Any],
    answers: pa.Table,
    people: pa.Table,
    calibration: pa.Table,
    prevalence: Mapping[str, Any],
    tally: Tally,
    functions: Mapping[str, Figure | str],
    figures: Mapping[str, Figure],
) -> Page:
    """The page of a contextual fit.

    Args:
        record, answers, people, calibration, prevalence: of the result; ``answers`` are its instances.
        tally: the labels, counted.
        functions: a figure for each of prevalence, sensitivity and specificity.
        figures: ``reliability``, ``prevalence`` and, where labelers differ, ``labelers``, as the result draws them.
    """
    level = prevalence["level"]
    checks = [*_inference(record), *crowd.checks(people, answers, tally)]
    warned = [Check("care", "The fit warns", sentence) for sentence in record["warnings"]]
    checks.sort(key=lambda check: ("care", "note", "good").index(check.status))
    sections = [
        Section("Before you trust it", [Checks([*warned, *checks])]),
        Section("Prevalence and accuracy over the score", _functions(record, functions, level)),
        Section("The share of positives", _prevalence(prevalence, figures)),
        Section("The calibrated score", _calibration(calibration, figures)),
        Section("The labelers", _labelers(people, figures, level)),
        Section("The answers", instances.section(answers, tally)),
        Section("The labels", crowd.section(people, tally)),
        Section("What was fitted", [Prose([_words(record)]), Facts(_settings(record))]),
    ]
    numbers = {
        "labels": f"{record['n_labels']:,}",
        "labelers": f"{record['n_labelers']:,}",
        "instances": f"{record['n_instances']:,}",
        "share of positives": f"{prevalence['mean']:.1%}",
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


def _inference(record) -> list[Check]:
    """The diagnostics, each with what it means."""
    d = record["diagnostics"]

    def check(name: str, good: bool, title: str, text: str) -> list[Check]:
        return [Check("good" if good else "care", title, text)] if name in d else []

    def value(name: str) -> float:
        return d.get(name, np.nan)

    out = [
        *check("rhat", value("rhat") <= 1.01, f"R-hat {value('rhat'):.3f}", "Whether chains that started apart ended in the "
               "same place: the worst number of all parameters. At most 1.01 is good; above it, draw more."),
        *check("divergences", value("divergences") == 0, f"{value('divergences'):.0f} divergences", "Steps of the sampler "
               "that left the posterior. None is good; any leave a part of it unseen."),
        *check("khat", value("khat") < 0.7, f"Pareto k-hat {value('khat'):.2f}", "Whether the approximation is near the "
               "posterior. Below 0.7 is good; above it intervals may be too narrow, and NUTS (--inference nuts) is the "
               "answer."),
        *check("khat_scales", value("khat_scales") < 0.7, f"k-hat of the scales {value('khat_scales'):.2f}", "The same of "
               "how wiggly and how high the curves are. Below 0.7 is good."),
    ]  # fmt: skip
    if "rhat" in d:
        enough = 100 * record["settings"]["n_chains"]
        text = (
            "How many independent draws the draws are worth, for the worst parameter. 100 per chain are good; with fewer "
            "the ends of intervals are noisy."
        )
        out += check("ess", value("ess") >= enough, f"Effective sample size {value('ess'):.0f}", text)
    elif "ess" in d:
        out.append(Check("note", f"Effective sample size {value('ess'):.0f}", "How many of the draws would count if they were "
                         "weighted by the posterior itself; they are not. It falls as k-hat rises."))  # fmt: skip
    for name in ("prevalence", "sensitivity", "specificity"):
        share = value(f"informed_{name}")
        text = (
            f"By how much the labels narrowed what was assumed of the {name} before. Below {LEARNED:.0%} its curve is "
            "mostly assumption."
        )
        out += check(f"informed_{name}", share >= LEARNED, f"{share:.0%} of the {name} was learned", text)
    return out


def _functions(record, functions, level: float) -> list[Block]:
    text = (
        f"Each line is the function's mean, each band holds it with a probability of {level:.0%} at any one score. The grey "
        "hills below are where the scores are: where there are none, the curve is what was assumed."
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
        Figures([Drawing("prevalence", figures["prevalence"], "Estimates of the share of positives", caption)]),
        Table(f"Estimates of the share of positives, the best first, with {level:.0%} intervals", columns, rows),
    ]


def _calibration(calibration: pa.Table, figures) -> list[Block]:
    rows = np.unique(np.linspace(0, calibration.num_rows - 1, min(ROWS, calibration.num_rows)).round().astype(int))
    some = calibration.take(pa.array(rows))
    columns = [Column(n, "number" if n.startswith("score") else "share") for n in some.column_names]
    values = list(zip(*(some[n].to_pylist() for n in some.column_names), strict=True))
    text = (
        "The prevalence function makes a probability of any score: of instances with this score, so many are positive. The "
        "figure compares it, and the score where that is itself a probability, with what the instances turned out to be."
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


def _labelers(people: pa.Table, figures, level: float) -> list[Block]:
    if "balanced_accuracy" not in people.column_names:
        return [Prose(["Labelers are taken to be alike, so none can be told from another here."])]
    found = Interval(*(2 * people[f"balanced_accuracy{end}"].to_numpy() - 1 for end in ("", "_lower", "_upper")))
    text = "The curves of the labelers with most labels, the crowd's in black; the best two and the worst two by name."
    drawn = Drawing("labelers", figures["labelers"], "Sensitivity and specificity of labelers over the score", text)
    return [Figures([drawn]), *labelers.section(people, found, level)]


def _words(record) -> str:
    config = record["config"]
    constraint = {
        "ordered": "On every score, labels are taken to be better than guesses (sensitivity + specificity > 1).",
        "both": "On every score, labelers are taken to be right more often than not in either class.",
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
        "Seed": record["seed"],
        "Time": f"{record['seconds']:.1f} s",
    }
    return {name: str(value) for name, value in facts.items()}
