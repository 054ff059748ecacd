"""The page of a fit: what was fitted, whether to trust it and why, labels, inferred classes and labelers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from crowdjax import __version__, plots, summary
from crowdjax.classes import tells_classes
from crowdjax.labelers import Interval
from crowdjax.report import crowd, gold, instances, labelers
from crowdjax.report.document import Block, Check, Checks, Drawing, Facts, Figures, Page, Prose, Section
from crowdjax.report.factors import Factors
from crowdjax.report.factors import section as of_factors
from crowdjax.result import Tally

MODELS = {
    "majority": (
        "Majority vote",
        "Every label counts the same. An instance is what most of its labels say, the surer the more they agree.",
    ),
    "one-coin": (
        "One coin per labeler",
        "Each labeler is right with a chance of its own, on whatever instance. Able labelers count for more.",
    ),
    "dawid-skene": (
        "Dawid and Skene's model",
        "Each labeler has two chances of being right: one on positives (sensitivity), one on negatives (specificity). "
        "All instances of a class are alike.",
    ),
    "glad": (
        "GLAD",
        "Each labeler has an ability and each instance a difficulty. The chance of a right label rises with the one "
        "and falls with the other.",
    ),
    "glad-linear": (
        "GLAD, linear",
        "Each labeler has an ability, and each instance says how much it helps: little where all guess, below 0 where "
        "it misleads the able.",
    ),
    "factor": (
        "Latent-factor model",
        "Labelers and instances have hidden traits (factors). How a labeler's match an instance's decides the chance "
        "of a right label; in addition each labeler leans towards yes or no.",
    ),
    "integrated": (
        "Integrated model",
        "Each instance has a hidden position between clearly negative and clearly positive, which is averaged over "
        "instead of guessed. Labelers come from one population that is learned: those with few labels are judged by "
        "what labelers are like. The decision boundary is a choice of its own.",
    ),
    "custom": ("A configuration of one's own", "Its settings are in fit.json."),
}
# What differs where there may be any number of classes.
OF_CLASSES = MODELS | {
    "one-coin": (
        "One coin per labeler",
        "Each labeler is right with a chance of its own, on whatever instance. Where it errs, it gives each of the "
        "other labels alike. Able labelers count for more.",
    ),
    "biased-coin": (
        "A biased coin per labeler",
        "Each labeler has a skill of its own, and labels that it likes to give: these come more often than they "
        "should, whatever the class.",
    ),
    "class-skill": (
        "A skill for each class",
        "Each labeler has a skill for each class, and labels that it likes to give. It may know some classes well and "
        "guess at others.",
    ),
    "dawid-skene": (
        "Dawid and Skene's model",
        "Each labeler has a confusion matrix of its own: for each class, how often it gives each label. All instances "
        "of a class are alike.",
    ),
    "glad": (
        "GLAD",
        "Each labeler has an ability and each instance a difficulty. The chance of the right label rises with the one "
        "and falls with the other; errors fall on all other labels alike.",
    ),
    "factor": (
        "Latent-factor model",
        "Labelers and instances have hidden traits (factors). How a labeler's meet an instance's decides the chance of "
        "the right label; besides, each labeler has labels that it likes to give.",
    ),
    "integrated": (
        "Integrated model",
        "Each instance has a hidden position, near its class or between classes, which is averaged over instead of "
        "guessed: instances of a class need not be alike. Labelers come from one population that is learned, so who "
        "gave few labels is judged by what labelers are like.",
    ),
    "auto": (
        "Automatic choice",
        "The model is chosen by how many labels there are for each labeler and instance; its settings are in fit.json.",
    ),
    "ordinal": (
        "Model for ordered classes",
        "Each instance has a hidden position along the order of the classes, which is averaged over instead of "
        "guessed. Labelers differ in how finely they see it and in which grades they like to give.",
    ),
    "exchangeable": (
        "Model for classes without names",
        "Each labeler is right with a chance of its own, which falls on hard instances. No label is likelier than "
        "another before an instance is seen.",
    ),
}
KINDS = {
    "nominal": "",
    "ordinal": "The classes are in an order, from first to last.",
    "exchangeable": "The names of the classes mean nothing from one instance to the next, as in a quiz, so "
    "nothing is learned of a single class.",
}

# Calibration errors on real sets, the mean of docs/research/choosing.md ("Measured"), by model and number of factors.
MEASURED = {
    ("majority", 1): 0.159,
    ("dawid-skene", 1): 0.171,
    ("glad", 1): 0.209,
    ("one-coin", 1): 0.217,
    ("factor", 1): 0.179,
    ("factor", 2): 0.178,
    ("factor", 3): 0.183,
    ("auto", 1): 0.106,
}
SURE = (
    "Labelers share errors that the model takes for independent, and then the probabilities are overconfident. Take "
    "the order of the probabilities more seriously than their size."
)
EITHER = (
    "They allow for errors that labelers share, which labels alone do not show: where many labelers share an error "
    "they are too high, where labelers err independently too low. Take the order of the probabilities more seriously "
    "than their size."
)
EITHER_WAY = "Probabilities may be too low as well as too high"
DEPENDENT = 0.05  # share of instances, from which the fit itself warns that they depend on the boundary


def of_fit(
    record: Mapping[str, Any],
    answers: pa.Table,
    people: pa.Table,
    tally: Tally,
    history: Float[np.ndarray, " T"],
    *,
    switched: bool | None = None,
    factors: Factors | None = None,
    positions: Float[np.ndarray, " I"] | None = None,
) -> Page:
    """Return the page of a fit by any model.

    Args:
        record, answers, people: ``record``, ``instances`` and ``labelers`` of the result.
        tally: the labels, counted.
        history: the objective after each step, NaN beyond the last.
        switched: whether a first solution had the classes switched; None for models that do not look.
        factors: of models that have several, or free ones.
        positions: of the instances along the integrated model's axis.
    """
    name, words = _model(record)
    level = record["level"]
    found = Interval(*(people[f"informedness{end}"].to_numpy() for end in ("", "_lower", "_upper")))
    of_crowd = [*gold.checks(people, level), *crowd.checks(people, answers, tally)]
    checks = [*of_the_fit(record, switched), *of_crowd, _calibration(record)]
    positive = float(answers["probability"].to_numpy().mean())
    sections = [
        Section("Before you trust it", trust(record["warnings"], checks)),
        Section("What was fitted", [Prose([f"{name}. {words}"]), Facts(_settings(record) | columns(record))]),
        Section("The labels", crowd.section(people, tally)),
        Section("Inferred classes", instances.section(answers, tally)),
        Section(
            "The labelers",
            labelers.section(people, found, level, how=_doubt(record), chance=max(positive, 1 - positive)),
        ),
        Section("Decision boundary", _meeting(record, positions)),
        Section("Factors", of_factors(factors, answers["probability"].to_numpy())),
        Section("How the fit went", course(history)),
    ]
    numbers = {
        "labels": f"{record['n_labels']:,}",
        "labelers": f"{record['n_labelers']:,}",
        "instances": f"{record['n_instances']:,}",
        "inferred positive": f"{(answers['probability'].to_numpy() > 0.5).mean():.1%}",
        **_positives(record),
    }
    return Page("Report of a fit", name, lead(record), numbers, sections, about(record))


def about(record: Mapping[str, Any]) -> str:
    """Return the last line: what made the page."""
    versions = ", ".join(f"{k} {v}" for k, v in {"crowdjax": __version__, **record.get("versions", {})}.items())
    devices = f" ({record['devices']})" if "devices" in record else ""
    device = f" On {record['device']}{devices}." if "device" in record else ""
    return f"Made by {versions}.{device} How to read a report: docs/reports.md of crowdjax."


def columns(record: Mapping[str, Any]) -> dict[str, str]:
    """Return which column of each table played which role, where the record says so."""
    return {f"Columns of {table}": roles for table, roles in summary.columns(record).items()}


def _model(record) -> tuple[str, str]:
    """Return the name of the model, and the model in words."""
    model, n = record["model"], record["n_factors"]
    name, words = MODELS.get("integrated" if model == "auto" else model, MODELS["custom"])
    if model == "auto":
        plain = record["config"]["spread"] == 0
        name = "Automatic choice: " + (
            "Dawid and Skene's model, labelers from one population" if plain else "the integrated model"
        )
        if plain:
            words = (
                MODELS["dawid-skene"][1]
                + " Labelers come from one population, learned where there are labels enough to do so."
            )
    if model in ("factor", "integrated") and n != 1:
        name += f", {n} factors"
    return name, words


def lead(record) -> str:
    labels, people, things = (f"{record['n_' + what]:,} {what}" for what in ("labels", "labelers", "instances"))
    return f"What {labels} that {people} gave on {things} say about the truth, how sure that is, and who is good at it."


def trust(warnings: Sequence[str], checks: Sequence[Check]) -> list[Block]:
    """Return the verdict, and what it rests on."""
    in_order = checks_in_order(warnings, checks)
    return [Prose([verdict(in_order)]), Checks(in_order)]


def verdict(checks: Sequence[Check]) -> str:
    if any(check.status == "care" for check in checks):
        return (
            "The result rests on what is listed here. Read what is marked with care first: it says where the "
            "result may be wrong and what would help."
        )
    return (
        "No check asks for care. The checks cannot show errors that all labelers share, and labels alone do not "
        "identify the decision boundary; gold does."
    )


def checks_in_order(warnings: Sequence[str], checks: Sequence[Check]) -> list[Check]:
    """Return the fit's own warnings, then what asks for care, then the rest, with what the fit only says of its
    labels."""
    said = [s for s in warnings if not tells_classes(s)]
    read = [Check("note", "How the labels were read", s) for s in warnings if tells_classes(s)]
    rest = sorted([*read, *checks], key=lambda check: ("care", "note", "good").index(check.status))
    return [Check("care", "The fit warns", sentence) for sentence in said] + rest


def of_the_fit(record, switched: bool | None) -> list[Check]:
    steps = f"after {record['n_iterations']:,} passes over the labels"
    out = []
    if record["converged"]:  # the fit's own warnings say where it did not, and so below
        out.append(Check("good", "The fit converged", f"It stopped {steps}, where more of them gain nothing."))
    if switched is not None:
        which = (
            "The first solution had the classes switched; the corrected one explains the labels better and is kept."
            if switched
            else "The fit checked whether it ended with the classes switched, and found that it did not."
        )
        basis = "That the crowd is right more often than wrong is an assumption: no label can tell."
        out.append(Check("note" if switched else "good", "The classes are not inverted", f"{which} {basis}"))
    if "boundary" in record and record["boundary"]["share_depending"] < DEPENDENT:
        text = (
            "The decision boundary is a choice, since labels hardly identify it. Another one would change few classes."
        )
        out.append(Check("good", "The inferred classes hardly depend on the decision boundary", text))
    return out


def _calibration(record) -> Check:
    model, n = record["model"], record["n_factors"]
    error = MEASURED.get((model, n))
    measured = (
        f"On eleven real sets whose truth is known, probabilities of this model were off by {error:.2f} on average. "
        if error
        else ""
    )
    if record.get("calibration"):
        why = "Known truths were given, and the probabilities of the other instances are adjusted to them."
        return Check("good", "Probabilities are calibrated by known truths", why)
    gold = " Fifty known truths (the option gold) lowered it to 0.08." if model == "auto" else ""
    if record.get("posterior", {}).get("doubt"):
        return Check("note", EITHER_WAY, f"{measured}{EITHER}{gold}")
    return Check("note", "Probabilities are overconfident, more often than not", f"{measured}{SURE}{gold}")


def _settings(record) -> dict[str, str]:
    solver = record.get("solver", {})
    config = record["config"]
    facts = {
        "Model": record["model"],
        "Factors": f"{record['n_factors']}",
        "Class prior": f"{record['class_prior']}",
        "Repeated labels": record["repeats"],
        "Solver": solver.get("method"),
        "Restarts": solver.get("restarts"),
        "Seed": record.get("seed"),
        "Boundary": record.get("boundary", {}).get("choice"),
        "Spread of the instances": f"{record['population']['spread']:.2f}" if "population" in record else None,
        "Posterior of labelers": record.get("posterior", {}).get("method"),
        "Link": config.get("link"),
        **{f"Features of {side}s": ", ".join(s["names"]) for side, s in record["features"].items()},
        "Objective": f"{record['objective']:,.1f}",
        "Log likelihood": f"{record['log_likelihood']:,.1f}",
        "Passes over the labels": f"{record['n_iterations']:,}",
        "Time": f"{record['seconds']:.1f} s",
    }
    return {name: str(value) for name, value in facts.items() if value is not None}


def _positives(record) -> dict[str, str]:
    """Return the share of positives with its interval, where the fit has one."""
    share = record.get("positives")
    if not share:
        return {}
    name = f"share of positives ({share['level']:.0%} interval)"
    return {name: f"{share['mean']:.1%} ({share['lower']:.1%} to {share['upper']:.1%})"}


def _doubt(record) -> str:
    """Say what intervals of labelers include besides the labels' own uncertainty."""
    kappa = record.get("posterior", {}).get("doubt")
    if not kappa:
        return ""
    return "Intervals and verdicts include the uncertainty of the decision boundary. " + labelers.ALLOWANCE.format(
        doubt=kappa
    )


def _meeting(record, positions) -> list[Block]:
    if positions is None or record["config"].get("spread") == 0:
        return []
    at = record["boundary"]
    text = (
        "Instances lie between clearly negative (about −1) and clearly positive (about +1). The boundary is a choice "
        f"that labels hardly inform: “{at['choice']}” puts it at {at['center']:.2f}, give or take {at['sd']:.2f}, and "
        f"the probabilities carry that doubt. With a boundary halfway between the clusters, at 0, "
        f"{at['share_depending']:.0%} of the inferred classes would differ; known truths (the option gold) settle it."
    )
    drawn = plots.boundary(positions, at["center"], at["sd"], title="Instances and the boundary")
    caption = "Where the instances are expected to lie; the band is the boundary's uncertainty."
    return [Prose([text]), Figures([Drawing("boundary", drawn, "Instances along the model's axis", caption)])]


def course(history) -> list[Block]:
    steps = np.asarray(history, float)
    steps = steps[np.isfinite(steps)]
    if len(steps) < 2:
        return []
    drawn = plots.objective(steps, title="Objective", xlabel="pass over the labels")
    caption = (
        "How far the objective was below its best after each pass, on a logarithmic scale. It should fall and end."
    )
    return [Figures([Drawing("objective", drawn, "The objective after each pass", caption)])]
