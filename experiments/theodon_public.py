"""The contextual model on public sets: a score that saw neither labels nor truth, and few labels per item.

Of every item two or three labels are kept at random; models then rank the items, and average precision against gold
says how well. Every model sees the same draws, so they are compared in pairs. Items without a score are left out.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax
import numpy as np
import pyarrow as pa
import pyarrow.csv
from jaxtyping import Float, Int

import crowdjax
from crowdjax import datasets, io, plots
from crowdjax.contextual import ContextualConfig, Inference, Scale, item_posteriors
from crowdjax.contextual.config import Constraint, Level
from crowdjax.contextual.context import Transform
from crowdjax.factor import Solver
from crowdjax.labels import Labels
from crowdjax.metrics import auc_pr, auc_roc, paired
from experiments.cells import Cell, Size, Tables, present, say
from experiments.config import Model, preset
from experiments.fitting import Draws, fit_all, size_of
from experiments.tables import Report, markdown, names, rows, select
from experiments.theodon_sim import Preset, fit_timed, interval, preset_of, size_of_fits

DEFAULT = "default"  # crowdjax.context with no setting
SCORED = ("sp_amt", "zencrowd", "sp", "medrel_cause", "medrel_treat")


@dataclasses.dataclass(frozen=True)
class Config:
    """The sets, how many labels to keep of an item, and the models.

    Attributes:
        sets: real sets with scores; those that are here are used.
        keep: labels of an item: one of these numbers, at random.
        n_draws: subsets of the labels.
        contextual: presets of crowdjax.contextual, or ``default``, the command without settings, which those below do
            not concern; judged is the first.
        models: the factor models besides, by name.
        labelers: how labelers differ.
        constraint: ordered (sensitivity + specificity > 1), both (each above one half) or free.
        transform: of the scores before all else.
        inference: how to fit contextual models.
        solver: how to fit factor models.
        seed: draws subsets, chains and samples.
    """

    sets: tuple[Literal[SCORED], ...] = SCORED
    keep: tuple[int, ...] = (2, 3)
    n_draws: int = 20
    contextual: tuple[Preset | Literal[DEFAULT], ...] = ("theodon", "lr-lr", "constant-constant")
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


OTHERS = "others"


def cells(config: Config) -> list[Cell]:
    return [(name, model) for name in present(config.sets) for model in (*config.contextual, OTHERS)]


def size(config: Config, name: str, model: str) -> Size:
    scored = load(name)
    if model != OTHERS:
        n = len(scored.score)
        settings = ContextualConfig() if model == DEFAULT else preset_of(model, config)
        return size_of_fits(n, max(config.keep), scored.n_labelers, settings, config.n_draws)
    blank = Draws(np.ones((config.n_draws, len(scored.label))))
    return size_of(scored.labels(np.arange(len(scored.label))), blank, config.models, config.solver)


def run_cell(config: Config, name: str, model: str) -> Tables:
    scored = load(name)
    rng = np.random.default_rng([config.seed, 4])
    draws = [kept(scored, config.keep, rng) for _ in range(config.n_draws)]
    found = (
        others(config, name, scored, draws) if model == OTHERS else {model: contextual(config, model, scored, draws)}
    )
    measured = []
    for name_of_model, posteriors in found.items():
        values = {k: [f(p, scored.truth) for p in posteriors] for k, f in (("auc_pr", auc_pr), ("auc_roc", auc_roc))}
        measured += rows(name_of_model, values, set=name)
        say(f"{name}: {name_of_model} {np.mean(values['auc_pr']):.3f}")
    return {"metrics": pa.Table.from_pylist(measured)}


def contextual(config: Config, model: str, scored: Scored, draws) -> list[Float[np.ndarray, " I"]]:
    """The items' posteriors of every draw by a contextual model."""
    if model == DEFAULT:
        return [by_default(scored, at[weight > 0]) for at, weight in draws]
    scale = Scale.learn(scored.score, transform=config.transform)
    found = []
    for r, (at, weight) in enumerate(draws):
        labels = scored.labels(at, weight)
        fitted, _ = fit_timed(labels, scored.score, model, config, jax.random.key(r), scale)
        found.append(item_posteriors(fitted, labels, scored.score))
    return found


def by_default(scored: Scored, at: Int[np.ndarray, " n"]) -> Float[np.ndarray, " I"]:
    """The items' probabilities by the command without settings."""
    labeler, instance, label = (v[at] for v in scored[:3])
    result = crowdjax.context(
        {"labeler": labeler, "instance": instance, "label": label},
        {"instance": np.arange(len(scored.score)), "score": scored.score},
    )
    found = np.full(len(scored.score), np.nan)
    found[np.asarray(result.index.instances).astype(int)] = np.asarray(result.instances["probability"], float)
    assert np.isfinite(found).all()
    return found


def others(config: Config, name: str, scored: Scored, draws) -> dict[str, list[Float[np.ndarray, " I"]]]:
    """The same by every factor model, and by the score alone."""
    weights = np.zeros((config.n_draws, len(scored.label)), np.float32)
    for row, (at, weight) in zip(weights, draws, strict=True):
        row[at] = weight
    everything = scored.labels(np.arange(len(scored.label)))  # stored in the order that the rows have
    fits = fit_all(everything, Draws(weights), config.models, config.solver, config.seed, f"theodon_public, {name}")
    found = {model: list(np.asarray(fit.posterior)) for model, fit in fits.items()}
    return found | {"score alone": [scored.score] * config.n_draws}


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
        f"{config.inference.method}{', default: the command without settings' * (DEFAULT in config.contextual)}. "
        + (f"Not here, so skipped: {', '.join(missing)}. " if missing else "")
        + "\n\n"
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
    return Report(
        text,
        {
            "theodon_public": plots.dots(
                mean, sets, models, title="Against gold", xlabel="area under the precision-recall curve"
            )
        },
    )
