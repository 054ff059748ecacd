"""Whether the accuracies that ``auto`` gives labelers of three classes and more agree with gold, on real sets.

As ``verdicts`` for two classes. Of labelers with ten gold labels and more: how often gold's accuracy lies in the 95 %
interval of what the posterior predicts of so many gold labels, which has gold's own sampling noise in it:

    hits_i | draw ~ Binomial(n_i, accuracy)      logit accuracy ~ N(as the table of labelers has it)

Gold plays no part in the fit. κ, what is not known of labelers beyond the model, was chosen on sets of two classes; it
is judged here, and each group of sets by the κ that the other groups would choose as well.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
from scipy.special import expit, logit

import crowdjax
from crowdjax import datasets
from crowdjax.datasets import MissingData
from crowdjax.labelers import DOUBT, in_sd
from crowdjax.labels import Labels
from crowdjax.observation import labeler_summary
from crowdjax.observation.contract import leading
from experiments.cells import Cell, Size, Tables, say
from experiments.classes import GROUPS, SETS, home, read
from experiments.tables import Report, markdown, names, rows
from experiments.verdicts import DOUBTS, LEAST, LEVEL, TARGET, least, one


@dataclasses.dataclass(frozen=True)
class Config:
    """The sets.

    Attributes:
        sets: real sets of three classes and more; those that are here are used.
        repeats: draws of gold counts, for each labeler.
        seed: draws them.
    """

    sets: tuple[str, ...] = SETS
    repeats: int = 2000
    seed: int = 0


def data(config: Config) -> tuple[str, ...]:
    return config.sets


def cells(config: Config) -> list[Cell]:
    here = [(name,) for name in config.sets if home(name).is_dir()]
    if not here:
        raise MissingData(f"none of {', '.join(config.sets)} is in {datasets.folder()}")
    return here


def size(config: Config, name: str) -> Size:
    table, _ = read(name)
    n = {column: table[column].nunique() for column in ("labeler", "instance")}
    return Size(len(table), n["labeler"], n["instance"], 1, None, "the fit")


def run_cell(config: Config, name: str) -> Tables:
    table, truth = read(name)
    fit = crowdjax.fit(table, "auto")
    index = fit.index
    row = {
        side: {str(v): n for n, v in enumerate(getattr(index, side))} for side in ("labelers", "instances", "classes")
    }
    i, j, k = (
        table[column].map(row[side]).to_numpy()
        for column, side in (("labeler", "labelers"), ("instance", "instances"), ("label", "classes"))
    )
    labels = Labels.from_arrays(i, j, k, n_values=len(index.classes))
    z = np.array([row["classes"].get(truth.get(str(v), ""), -1) for v in index.instances])
    given, hits = (np.bincount(i, of, len(index.labelers)) for of in (z[j] >= 0, z[j] == k))
    judged = given >= LEAST
    rng, found = np.random.default_rng(config.seed), []
    for doubt in DOUBTS:
        ends = labeler_summary(labels, *leading(fit.model, fit.fit), LEVEL, doubt).accuracy
        mean, lower, upper = (logit(np.asarray(end)[judged]) for end in ends)
        drawn = mean + (upper - lower) / (2 * in_sd(LEVEL)) * rng.standard_normal((config.repeats, judged.sum()))
        drawn = rng.binomial(given[judged].astype(int), expit(drawn))
        below, up_to = (drawn < hits[judged]).mean(0), (drawn <= hits[judged]).mean(0)
        inside = (up_to >= (1 - LEVEL) / 2) & (below <= (1 + LEVEL) / 2)
        width = (np.asarray(ends[2]) - np.asarray(ends[1]))[judged]
        values = {"coverage": [inside.mean()], "width": [width.mean()], "judged": [judged.sum()]}
        gap = expit(mean) - hits[judged] / given[judged]
        values["error"] = [np.average(gap, weights=given[judged])]
        found += rows("accuracy", values, set=name, doubt=doubt)
    say(f"verdicts_classes, {name}: {judged.sum()} labelers")
    return {"metrics": pa.Table.from_pylist(found)}


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    here = names(metrics, "set")
    lines = []
    for s in here:
        group = next((g for g in GROUPS.values() if s in g), (s,))
        others = [other for other in here if other not in group]
        doubt = least(metrics, others, "accuracy", "coverage") if others else DOUBT
        own = [one(metrics, s, DOUBT, "accuracy", k) for k in ("judged", "error", "width")]
        lines.append([s, int(own[0]), own[1], own[2], one(metrics, s, 0.0, "accuracy", "width"),
                      *(one(metrics, s, d, "accuracy", "coverage") for d in DOUBTS), doubt,
                      one(metrics, s, doubt, "accuracy", "coverage")])  # fmt: skip
    missing = [s for s in config.sets if s not in here]
    head = ["set", "labelers", "mean error", f"width, κ = {DOUBT}", "κ = 0", *(f"covered, κ = {d}" for d in DOUBTS)]
    text = f"""Accuracies of labelers with {LEAST} gold labels and more, as `auto` has them without gold: their mean
error by gold, the mean width of their {LEVEL:.0%} intervals with and without κ, and how often gold's counts lie in the
{LEVEL:.0%} interval of what the posterior predicts of them, by κ. `crowdjax.fit` has κ = {DOUBT}, chosen on sets of two
classes ([verdicts](../verdicts/SUMMARY.md)). On the right the least κ at which every set of the other groups has
{TARGET} covered.

{markdown([*head, "κ of the others", "covered"], lines)}
"""
    return Report(text + (f"\nNot here, so skipped: {', '.join(missing)}.\n" if missing else ""))
