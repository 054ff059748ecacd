"""The section on labelers: who is good at what, who guesses, who says the opposite, and the rule behind it."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from crowdjax import plots
from crowdjax.labelers import EXPERT, SPAM, Interval, in_sd, kinds
from crowdjax.report import gold
from crowdjax.report.document import Block, Column, Drawing, Figures, Prose, Table

FEW = 10  # labels, below which nobody is called anything
MOST = 500  # labelers in a table
MOST_POINTS = 1500  # labelers in a figure
FLAGGED = ("adversary", "spammer")

RULE = (
    "Informedness is sensitivity + specificity − 1: 1 for a labeler who is always right, 0 for one who labels without "
    "looking, −1 for one who always says the opposite. A verdict is true with {level:.0%}, never by the estimate "
    "alone: a spammer's informedness is within ±{spam}, an adversary's below 0, an expert's above {expert}. {unknown}, "
    "and all others are ordinary. With fewer than {few} labels nobody is called anything."
)
UNKNOWN = "A labeler whose informedness may be below as well as above 0 is unknown"
ABOVE = (
    "The model takes every labeler for better than a guess, whatever the labels say (its constraint), so nobody is "
    "called an adversary; a labeler whose informedness may be below {least} is unknown"
)
SURENESS = (
    "P(called) is the probability that informedness is where the verdict puts it, by half a normal distribution on "
    "either side of the estimate, with the interval's end there; for ordinary and unknown labelers, that it is above "
    "{least}."
)
ALLOWANCE = (
    "Intervals also allow for an error of some {doubt:.0%} in how far a labeler is from guessing: on real sets with "
    "known truth labelers share errors, and the model alone is more certain of them than gold allows."
)


def called(
    n_labels: Float[np.ndarray, " W"], found: Interval, kind: np.ndarray | None = None, least: float = 0.0
) -> np.ndarray:
    """Name each labeler's kind, by the interval (``crowdjax.labelers.kinds``) where it is not known otherwise, or
    ``few labels``.

    Args:
        least: informedness that an ordinary labeler's interval has to exceed.
    """
    if kind is None:
        kind = kinds(found)
        kind = np.where((kind == "ordinary") & (np.asarray(found.lower) <= least), "unknown", kind)
    return np.where(np.asarray(n_labels) < FEW, "few labels", kind)


def sureness(
    kind: np.ndarray, found: Interval, level: float, n_classes: int = 2, least: float = 0.0
) -> Float[np.ndarray, " W"]:
    """Return the probability that informedness is where each verdict puts it, by half a normal distribution on
    either side of the estimate; that it is above ``least`` of ordinary and unknown labelers; NaN of those with few
    labels.

    Example:
        >>> found = Interval(*np.array([[0.1, -0.4], [0.0, -0.6], [0.2, -0.2]]))
        >>> sureness(np.array(["spammer", "adversary"]), found, 0.95).round(3).tolist()
        [0.975, 1.0]
    """
    mean, lower, upper = (np.asarray(v, float) for v in found)
    normal = np.vectorize(NormalDist().cdf, otypes=[float])  # SciPy's import would take longer than the report

    def below(x):
        half = np.where(x < mean, mean - lower, upper - mean)
        return normal((x - mean) * in_sd(level) / np.maximum(half, 1e-9))

    above = 1 - below(least)
    of = {
        "spammer": below(SPAM) - below(-SPAM / max(n_classes - 1, 1)),
        "adversary": below(0),
        "expert": 1 - below(EXPERT),
        "ordinary": above,
        "unknown": above,
    }
    told = np.select([kind == name for name in of], list(of.values()), np.nan)
    return np.clip(told, 1e-9, 1 - 1e-9)  # none is certain


def section(
    labelers: pa.Table, found: Interval, level: float, *, how: str = "", chance: float = 0.5, least: float = 0.0
) -> list[Block]:
    """Build the section on labelers: rule, figure and table.

    Args:
        labelers: of a result; columns labeler, n_labels, sensitivity, specificity, and perhaps accuracy and rank, and
            NAME_lower, NAME_upper.
        found: informedness, in the order of the table.
        level: of its intervals.
        how: what is to be said of how they were made.
        chance: the accuracy of a labeler who always names the more frequent class.
        least: informedness that an ordinary labeler exceeds; above 0 where the model takes nobody for worse than a
            guess.
    """
    data = {name: labelers[name].to_pylist() for name in labelers.column_names}
    known = data.get("kind", [None])
    told = None if None in known else np.array(known)
    kind = called(labelers["n_labels"].to_numpy(), found, told, least)
    informed = list(zip(*(np.asarray(v, float).tolist() for v in found), strict=True))
    columns = [
        Column("labeler", "id"),
        Column("called", "tag"),
        Column("P(called)", "share"),
        Column("labels", "count"),
    ]
    columns.append(Column("informedness", "interval", (-1.0, 1.0, 0.0)))
    values = [
        data["labeler"],
        kind.tolist(),
        sureness(kind, found, level, least=least).tolist(),
        data["n_labels"],
        informed,
    ]
    ends = {
        name: [name + end for end in ("", "_lower", "_upper")] for name in ("sensitivity", "specificity", "accuracy")
    }
    if "lower" in data:
        ends["accuracy"] = ["accuracy", "lower", "upper"]
    for name, own in ends.items():
        if {*own} <= {*data}:
            columns.append(Column(name, "interval"))
            values.append(list(zip(*(np.asarray(data[end], float).tolist() for end in own), strict=True)))
        elif name in data:
            columns.append(Column(name, "share"))
            values.append(data[name])
        more, theirs = gold.column(labelers, name, level)
        columns += more
        values += theirs
    if "gold_labels" in data:
        columns.append(Column("labels on gold", "count"))
        values.append(data["gold_labels"])
    if "rank" in data:
        columns.append(Column("rank, from best"))
        values.append(
            [f"{low:.0f} to {high:.0f}" for low, high in zip(data["rank_lower"], data["rank_upper"], strict=True)]
        )
    order = np.lexsort((-np.asarray(data["n_labels"], float), ~np.isin(kind, FLAGGED)))
    rows = [tuple(column[i] for column in values) for i in order[:MOST]]
    left = len(order) - len(rows)
    note = f"The first {len(rows):,} of {len(order):,}; all are in labelers.parquet." if left else ""
    some = plots.evenly(len(order), MOST_POINTS)
    sensitivity, specificity = (labelers[name].to_numpy()[some] for name in ("sensitivity", "specificity"))
    figure = plots.chances(sensitivity, specificity, kind[some].tolist(), title="Labelers")
    caption = (
        "Each labeler by its chance of being right on positives and on negatives. Above the dashed line labels help."
        + (f" {len(some):,} of {len(order):,} are drawn." if len(some) < len(order) else "")
    )
    unknown = ABOVE.format(least=least) if least else UNKNOWN
    rule = RULE.format(level=level, spam=SPAM, expert=EXPERT, few=FEW, unknown=unknown)
    drawings = [Drawing("labelers_chances", figure, "Sensitivity and specificity of the labelers", caption)]
    if {"accuracy", "lower", "upper"} <= {*data}:
        drawings.append(forest(labelers, chance))
    return [
        Prose([tell(kind), rule, SURENESS.format(least=f"{least:g}"), *([how] if how else [])]),
        Figures(drawings),
        Table(
            "Labelers: those called spammers or adversaries first, then by number of labels", columns, rows, note, True
        ),
    ]


def forest(labelers: pa.Table, chance: float) -> Drawing:
    """Draw the accuracies of a table of labelers with their intervals.

    Args:
        chance: the accuracy of a labeler who always names the most frequent class.
    """
    found, lower, upper = (np.asarray(labelers[end].to_numpy(), float) for end in ("accuracy", "lower", "upper"))
    known = np.isfinite(found)
    names = labelers["labeler"].filter(pa.array(known)).to_pylist()
    drawn = plots.accuracies(found[known], lower[known], upper[known], names, title="Labelers", chance=chance)
    caption = (
        "Labelers by their accuracy, the best at the top, with intervals. The dashed line is the accuracy of always "
        "naming the most frequent class."
    )
    if known.sum() > plots.MOST_LINES:
        caption += f" {plots.MOST_LINES:,} of {known.sum():,} are drawn, evenly."
    return Drawing("labelers_accuracy", drawn, "Accuracy of the labelers with intervals", caption)


def tell(kind: np.ndarray) -> str:
    """Return how many labelers are called what, in a sentence."""
    names = {"adversary": "adversaries", "unknown": "unknown", "ordinary": "ordinary", "few labels": "with few labels"}
    found = [(k, int((kind == k).sum())) for k in plots.KINDS]
    return (
        f"Of {len(kind):,} labelers, "
        + ", ".join(f"{n:,} {k if n == 1 and k != 'few labels' else names.get(k, k + 's')}" for k, n in found if n)
        + "."
    )
