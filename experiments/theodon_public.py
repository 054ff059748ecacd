"""The contextual model on public sets: a score that saw neither labels nor truth, and few labels per item.

Of every item two or three labels are kept at random; models then rank the items, and average precision against gold
says how well. Every model sees the same draws, so they are compared in pairs. Items without a score are left out.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import numpy as np
import pyarrow as pa
import pyarrow.csv
from jaxtyping import Float, Int

from crowdjax import datasets, io, plots
from crowdjax.contextual import Inference, Scale, item_posteriors
from crowdjax.contextual.context import Transform
from crowdjax.contextual.model import Constraint, Level
from crowdjax.factor import Solver
from crowdjax.labels import Labels
from crowdjax.metrics import auc_pr, auc_roc, paired
from experiments.config import Model, preset
from experiments.fitting import Draws, fit_all
from experiments.runner import say
from experiments.tables import Report, markdown, names, rows, select
from experiments.theodon_sim import check_models, fit_timed, interval

SCORED = ("sp_amt", "zencrowd", "sp", "medrel_cause", "medrel_treat")


@dataclasses.dataclass(frozen=True)
class Config:
    """The sets (those that are here are used), how many labels to keep of an item (one of ``keep``, at random), the
    contextual models (presets; judged is the first), and the factor models besides."""

    sets: tuple[str, ...] = SCORED
    keep: tuple[int, ...] = (2, 3)
    n_draws: int = 20
    contextual: tuple[str, ...] = ("theodon", "lr-lr", "constant-constant")
    models: dict[str, Model] = dataclasses.field(
        default_factory=lambda: {
            "Dawid-Skene": preset("dawid-skene"),
            "GLAD": preset("glad"),
            "majority vote": preset("majority"),
        }
    )
    labelers: Level = "offset"
    constraint: Constraint = "ordered"
    transform: Transform = "identity"
    inference: Inference = Inference("laplace", n_draws=100)
    solver: Solver = Solver(restarts=1)
    seed: int = 0

    def __post_init__(self):
        check_models(self.contextual)
        for name in self.sets:
            if name not in SCORED:
                raise ValueError(f"sets: got {name!r}; allowed: {', '.join(SCORED)}")


def data(config: Config) -> tuple[str, ...]:
    return config.sets


class Scored(NamedTuple):
    """Judgements as plain triples of the items that have a score."""

    labeler: Int[np.ndarray, " N"]
    instance: Int[np.ndarray, " N"]
    label: Int[np.ndarray, " N"]
    score: Float[np.ndarray, " I"]
    truth: Float[np.ndarray, " I"]
    n_labelers: int

    def labels(self, at: Int[np.ndarray, " n"], weight=None) -> Labels:
        """The judgements of some rows."""
        return Labels.from_arrays(
            *(v[at] for v in self[:3]),
            weight=weight,
            n_labelers=self.n_labelers,
            n_instances=len(self.score),
            blocks=False,
        )


def load(name: str) -> Scored:
    """One public set, the first judgement of a labeler on an item, without the items that have no score."""
    labels, index, truth = datasets.load(name, "first")
    text = pyarrow.csv.ConvertOptions(column_types={"instance": pa.string(), "score": pa.float64()})
    table = pyarrow.csv.read_csv(datasets.folder() / name / "scores.csv", convert_options=text)
    position = io.positions(np.array(table["instance"].to_pylist()), index.instances)
    score = np.full(len(truth), np.nan)
    score[position[position >= 0]] = table["score"].to_numpy()[position >= 0]
    known = np.isfinite(score)
    new = np.cumsum(known) - 1
    judged = (labels.counts > 0) & known[labels.instance]
    labeler, instance, label = (np.asarray(v)[judged] for v in (labels.labeler, labels.instance, labels.label))
    return Scored(labeler, new[instance], label, score[known], truth[known], labels.n_labelers)


def kept(scored: Scored, keep: tuple[int, ...], rng) -> tuple[Int[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """(rows, weights): of every item at most max(keep) rows at random; those beyond its own number have weight 0, so
    that every draw has the same shape."""
    order = np.lexsort((rng.random(len(scored.instance)), scored.instance))
    item = scored.instance[order]
    place = np.arange(len(item)) - np.searchsorted(item, item)  # 0, 1, ... within each item
    chosen = place < max(keep)
    number = rng.choice(keep, len(scored.score))
    return order[chosen], 1.0 * (place[chosen] < number[item[chosen]])


def run(config: Config) -> dict[str, pa.Table]:
    here = datasets.available()
    measured = []
    for name in [s for s in config.sets if s in here] or config.sets[:1]:
        found, sizes = one_set(config, name)
        for model, posteriors in found.items():
            values = {k: [f(p, sizes.truth) for p in posteriors] for k, f in (("auc_pr", auc_pr), ("auc_roc", auc_roc))}
            measured += rows(model, values, set=name)
        summary = {m: np.mean([auc_pr(p, sizes.truth) for p in v]) for m, v in found.items()}
        say(f"{name}: " + ", ".join(f"{m} {v:.3f}" for m, v in summary.items()))
    return {"metrics": pa.Table.from_pylist(measured)}


def one_set(config: Config, name: str) -> tuple[dict[str, list], Scored]:
    """The items' posteriors of every model and draw, and the set."""
    scored = load(name)
    scale = Scale.learn(scored.score, transform=config.transform)
    rng = np.random.default_rng([config.seed, 4])
    draws = [kept(scored, config.keep, rng) for _ in range(config.n_draws)]
    found: dict[str, list] = {m: [] for m in config.contextual}
    for model in config.contextual:
        seconds = []
        for r, (at, weight) in enumerate(draws):
            labels = scored.labels(at, weight)
            fitted, row = fit_timed(labels, scored.score, model, config, jax.random.key(r), scale)
            found[model].append(item_posteriors(fitted, labels, scored.score))
            seconds.append(row["seconds"])
        say(f"{name}: {model}: {np.median(seconds):.2f} s a fit")
    weights = np.zeros((config.n_draws, len(scored.label)), np.float32)
    for row, (at, weight) in zip(weights, draws, strict=True):
        row[at] = weight
    everything = scored.labels(np.arange(len(scored.label)))  # stored in the order that the rows have
    fits = fit_all(everything, Draws(weights), config.models, config.solver, config.seed, f"theodon_public, {name}")
    found |= {model: list(np.asarray(fit.posterior)) for model, fit in fits.items()}
    found["score alone"] = [scored.score] * config.n_draws
    return found, scored


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    sets, models = names(metrics, "set"), names(metrics, "model")
    get = lambda s, m, metric="auc_pr": select(metrics, set=s, model=m, metric=metric)  # noqa: E731
    mine = config.contextual[0]
    mean = np.array([[get(s, m).mean() for m in models] for s in sets])

    def difference(s, m):
        p = paired(get(s, mine), get(s, m))
        return f"{100 * p.difference:+.2f} ± {200 * p.standard_error:.2f}"

    table = lambda cell, columns: markdown(["set", *columns], [[s, *(cell(s, m) for m in columns)] for s in sets])  # noqa: E731
    overall = ["mean of sets", *(f"{100 * (mean[:, 0] - mean[:, k]).mean():+.2f}" for k in range(1, len(models)))]
    missing = [s for s in config.sets if s not in sets]
    text = (
        f"Of every item {' or '.join(map(str, config.keep))} labels, {config.n_draws} draws; contextual models by "
        f"{config.inference.method}. " + (f"Not here, so skipped: {', '.join(missing)}. " if missing else "") + "\n\n"
        "**AUC-PR against gold** (mean ± two standard errors over draws)\n\n"
        + table(lambda s, m: interval(get(s, m)), models)
        + f"\n\n**{mine} better by, in points of AUC-PR** (paired; ± two standard errors over draws)\n\n"
        + table(difference, models[1:])
        + "\n| "
        + " | ".join(overall)
        + " |\n\n**AUC-ROC**\n\n"
        + table(lambda s, m: interval(get(s, m, "auc_roc")), models)
        + "\n"
    )
    return Report(text, {"theodon_public": plots.dots(mean, sets, models, title="AUC-PR against gold")})
