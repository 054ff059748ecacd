"""Whether what ``auto`` says of labelers holds against gold, on real sets whose truth is known.

Of labelers with ten gold labels of each class and more: how often gold's sensitivity, specificity and informedness lie
in the 95 % interval of what the posterior predicts of so many gold labels. Gold's own sampling noise is in it:

    hits_i | draw ~ Binomial(n_i1, sens_i)
    rejections_i | draw ~ Binomial(n_i0, spec_i)    J = hits / n_1 + rejections / n_0 - 1

Gold plays no part in the fit. κ, what is not known of labelers beyond the model (``integrated.draws``), is the least of
some steps at which informedness is covered ``TARGET`` of the time on every set of ``sets``; each set is judged by the κ
of the others as well. And verdicts: labelers called a spammer, an adversary, an expert whose gold says otherwise, and
how many of these say so beyond gold's noise (one-sided, 5 %).
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from scipy.special import betainc

from crowdjax import datasets, integrated
from crowdjax.labelers import EXPERT, SPAM
from experiments.cells import Cell, Size, Tables, present, say
from experiments.config import Set
from experiments.tables import Report, markdown, names, rows, select

DOUBTS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
MEASURES = ("sensitivity", "specificity", "informedness")
KINDS = ("spammer", "adversary", "expert")
LEVEL, TARGET, LEAST = 0.95, 0.85, 10
LINKED = ({"medrel_cause", "medrel_treat"}, {"sp", "sp_amt"}, {"hcb", "trec2011"})  # judged by the κ of others


@dataclasses.dataclass(frozen=True)
class Config:
    """The sets.

    Attributes:
        sets: those by which κ is chosen.
        others: those that are only looked at.
        repeats: draws of gold counts, for each draw of the posterior.
        seed: draws them.
    """

    sets: tuple[Set, ...] = ("bluebirds", "zencrowd", "d_possent", "sp_amt", "medrel_cause", "medrel_treat")
    others: tuple[Set, ...] = ("duchenne", "ducks", "hcb", "trec2011", "sp")
    repeats: int = 8
    seed: int = 0


def data(config: Config) -> tuple[str, ...]:
    return (*config.sets, *config.others)


def cells(config: Config) -> list[Cell]:
    return [(name,) for name in present(data(config))]


def size(config: Config, name: str) -> Size:
    labels = datasets.load(name).labels
    lower = lambda: integrated.fit_jit.lower(labels, integrated.plan(labels).config)  # noqa: E731
    n_labels = int((np.asarray(labels.counts) > 0).sum())
    return Size(n_labels, labels.n_labelers, labels.n_instances, 1, lower, "the fit")


def run_cell(config: Config, name: str) -> Tables:
    labels, _, truth = datasets.load(name)
    said = integrated.answer(labels)
    draws, _ = integrated.labeler_draws(labels, said.fit, said.plan.config)
    c = jnp.asarray(integrated.boundaries(said.boundary, len(draws.spread)))
    given, right = gold_of(labels, truth)
    judged = (given >= LEAST).all(1)
    plus, minus = (np.asarray(v)[:, judged] for v in integrated.chances(draws, said.plan.config, c))
    weight, given, right = np.asarray(draws.weight)[:, judged], given[judged], right[judged]
    rng, found = np.random.default_rng(config.seed), []
    for doubt in DOUBTS:
        sensitivity, specificity = integrated.doubted(plus, minus, doubt)
        covered = coverage(rng, sensitivity, specificity, weight, given, right, config.repeats)
        kind = integrated.verdicts(sensitivity + specificity - 1, weight)
        found += rows("coverage", {k: [v] for k, v in covered.items()}, set=name, doubt=doubt)
        for k in KINDS:
            otherwise, beyond = contradicted(k, given[kind == k], right[kind == k])
            counts = {f"{k}s": [(kind == k).sum()], f"{k}s, otherwise": [otherwise], f"{k}s, beyond noise": [beyond]}
            found += rows("verdicts", counts, set=name, doubt=doubt)
        found += rows("labelers", {"judged": [judged.sum()]}, set=name, doubt=doubt)
    say(f"verdicts, {name}: {judged.sum()} labelers")
    return {"metrics": pa.Table.from_pylist(found)}


def gold_of(labels, truth) -> tuple[np.ndarray, np.ndarray]:
    """Gold labels of each labeler and how many are right, by the class -1 and +1, [W, 2]."""
    real = np.asarray(labels.counts) > 0
    labeler, instance, label = (np.asarray(v)[real] for v in (labels.labeler, labels.instance, labels.label))
    z, counts = truth[instance], np.asarray(labels.counts)[real]
    tallied = lambda of: np.bincount(labeler, counts * of, labels.n_labelers)  # noqa: E731
    given = np.stack([tallied(z == k) for k in (-1, 1)], 1)
    return given, np.stack([tallied((z == k) & (label == (k > 0))) for k in (-1, 1)], 1)


def coverage(rng, sensitivity, specificity, weight, given, right, repeats: int) -> dict[str, float]:
    """By measure: the share of labelers whose gold lies in the interval of what the draws predict of it."""
    given, right = given.astype(int), right.astype(int)
    observed = right / given
    observed = [observed[:, 1], observed[:, 0], observed.sum(1) - 1]
    inside = {k: [] for k in MEASURES}
    for _ in range(repeats):
        hits, rejections = (rng.binomial(given[:, k], p) / given[:, k] for k, p in ((1, sensitivity), (0, specificity)))
        for k, drawn, seen in zip(MEASURES, (hits, rejections, hits + rejections - 1), observed, strict=True):
            below, up_to = ((weight * (drawn < seen + e)).sum(0) for e in (-1e-9, 1e-9))
            inside[k].append(((up_to >= (1 - LEVEL) / 2) & (below <= (1 + LEVEL) / 2)).mean())
    return {k: float(np.mean(v)) for k, v in inside.items()}


def contradicted(kind: str, given, right) -> tuple[int, int]:
    """How many labelers of a kind have a gold informedness that is another's, and how many beyond gold's noise: by Beta
    posteriors of both chances with a uniform prior, of 4000 quantiles each."""
    informed = (right / given).sum(1) - 1
    low, high = {"spammer": (-SPAM, SPAM), "adversary": (-1.0, 0.0), "expert": (EXPERT, 1.0)}[kind]
    otherwise = (informed < low) | (informed > high)
    if not otherwise.any():
        return 0, 0
    p = np.linspace(0, 1, 401)
    beyond = 0
    for n, r in zip(given[otherwise], right[otherwise], strict=True):
        steps = [np.diff(betainc(r[k] + 1, n[k] - r[k] + 1, p)) for k in (0, 1)]
        j = (p[:-1, None] + p[None, :-1]) + (p[1] - p[0]) - 1
        beyond += (np.outer(*steps) * ((j >= low) & (j <= high))).sum() < 0.05
    return int(otherwise.sum()), int(beyond)


def least(metrics, sets, model: str = "coverage", metric: str = "informedness") -> float:
    """The least κ at which a measure is covered often enough on every set."""
    worst = [min(one(metrics, s, d, model, metric) for s in sets) for d in DOUBTS]
    return next((d for d, w in zip(DOUBTS, worst, strict=True) if w >= TARGET), DOUBTS[-1])


def one(metrics, name: str, doubt: float, model: str, metric: str) -> float:
    return float(select(metrics, set=name, doubt=doubt, model=model, metric=metric)[0])


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    here = names(metrics, "set")
    chosen_by = [s for s in here if s in config.sets]
    chosen, lines, held_out = least(metrics, chosen_by), [], []
    for s in here:
        group = next((g for g in LINKED if s in g), {s})
        doubt = least(metrics, [other for other in chosen_by if other not in group])
        at = lambda d, s=s: [one(metrics, s, d, "coverage", k) for k in MEASURES]  # noqa: E731
        lines.append([s, int(one(metrics, s, 0.0, "labelers", "judged")), *at(0.0), *at(chosen)])
        held_out.append([s, "yes" if s in chosen_by else "no", doubt, at(doubt)[2]])
    steps = [[s, *(one(metrics, s, d, "coverage", "informedness") for d in DOUBTS)] for s in here]
    verdict = []
    for s in here:
        of = lambda k, s=s: int(one(metrics, s, chosen, "verdicts", k))  # noqa: E731
        verdict.append([s, *(f"{of(k + 's')}, {of(k + 's, otherwise')}, {of(k + 's, beyond noise')}" for k in KINDS)])
    missing = [s for s in data(config) if s not in here]
    text = f"""Coverage of {LEVEL:.0%} intervals for gold counts, of labelers with {LEAST} gold labels of each
class; on the left by the model alone, on the right with κ = {chosen}.

{markdown(["set", "labelers", *(f"{k}, κ = 0" for k in MEASURES), *MEASURES], lines)}

Coverage of informedness by κ.

{markdown(["set", *map(str, DOUBTS)], steps)}

κ chosen without the set (and those linked to it): the least at which every other set that chooses has {TARGET} covered.

{markdown(["set", "chooses", "κ of the others", "informedness"], held_out)}

Verdicts with κ = {chosen}: labelers called so; of these, whose gold informedness is another's; of these, beyond gold's
noise.

{markdown(["set", "spammers", "adversaries", "experts"], verdict)}
"""
    return Report(text + (f"\nNot here, so skipped: {', '.join(missing)}.\n" if missing else ""))
