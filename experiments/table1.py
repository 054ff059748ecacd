"""Table 1 of Ruvolo, Whitehill, Movellan (2013) on the real Duchenne labels: draws that each drop a fifth of them.

Every model sees the same draws. Repeated judgements (729 of 1950) are counted or reduced to the first.

The detector outputs that the instance features of that study were made of were never published, so instance factors are
free here. With first judgements there are features as well, made without the truth from labels that no model sees: the
share of positive ones among an image's repeated judgements, x_j = (positive + ½) / (all + 1), in radial basis
functions. They are judgements by the same people, so they say more of the vote than a detector would. ``detector`` has
stand-ins for the detector.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from crowdjax import datasets, plots
from crowdjax.factor import Solver, rbf_basis
from crowdjax.labels import Labels, Repeats
from crowdjax.metrics import paired
from experiments.cells import Cell, Size, Tables, present
from experiments.config import Model, Set, preset
from experiments.fitting import Draws, drop, fit_all, size_of
from experiments.tables import Report, markdown, names, scored, select


def models() -> dict[str, Model]:
    """Return the five models of that table, and Dawid-Skene."""
    return {
        "majority vote": preset("majority"),
        "Dawid-Skene": preset("dawid-skene"),
        "GLAD": preset("glad"),
        "1 factor": preset("factor"),
        "2 factors": preset("factor", n_factors=2),
        "3 factors": preset("factor", n_factors=3),
    }


def with_features() -> dict[str, Model]:
    """Return the same, and the factors with features."""
    featured = {
        f"{d} factor{'s' * (d > 1)}, features": preset("factor", "instance", n_factors=d, deviation=0.0, features=1.0)
        for d in (1, 2, 3)
    }
    return models() | featured


@dataclasses.dataclass(frozen=True)
class Config:
    """The data set, the treatments of repeated judgements, the draws and the models.

    Attributes:
        data: the real set.
        treatments: what to do with repeated judgements.
        n_draws: subsets of the labels.
        dropped: the share of the labels that each goes without.
        models: the factor models by name; those with instance features are given repeated judgements.
        defaults: models of the command, beside them.
        n_basis: radial basis functions of the share of positive judgements among the repeated ones.
        baseline: the model that others are compared with.
        seed: draws the subsets and starts.
        solver: how to fit.
    """

    data: Set = "duchenne"
    treatments: tuple[Repeats, ...] = ("count", "first")
    n_draws: int = 100
    dropped: float = 0.2
    models: dict[str, Model] = dataclasses.field(default_factory=with_features)
    defaults: tuple[Literal["integrated", "auto"], ...] = ("integrated", "auto")
    n_basis: int = 8
    baseline: str = "GLAD"
    seed: int = 0
    solver: Solver = Solver(restarts=4, rtol=1e-5)


def data(config: Config) -> tuple[str, ...]:
    return (config.data,)


def cells(config: Config) -> list[Cell]:
    present((config.data,))
    return [(repeats,) for repeats in config.treatments]


def size(config: Config, repeats: Repeats) -> Size:
    labels = datasets.load(config.data, repeats).labels
    blank = Draws(np.ones((config.n_draws, len(labels.label))))
    return size_of(labels, blank, plain(config.models), config.solver)


def run_cell(config: Config, repeats: Repeats) -> Tables:
    from experiments.leaderboard import probabilities  # which imports ``real``, and that these models

    labels, _, truth = datasets.load(config.data, repeats)
    weight = drop(config.seed, np.asarray(labels.counts), config.dropped, config.n_draws)
    models, draws = plain(config.models), Draws(weight)
    if repeats == "first":
        centers = np.linspace(0, 1, config.n_basis)
        x = share_of_repeats(config.data)
        basis = rbf_basis(x, centers=centers, width=1 / max(config.n_basis - 1, 1), constant=False)
        models, draws = (
            config.models,
            Draws(weight, instance_features=np.broadcast_to(basis, (len(weight), *basis.shape))),
        )
    fitted = fit_all(labels, draws, models, config.solver, config.seed, f"table1, {repeats}")
    posteriors = {m: fit.posterior for m, fit in fitted.items()}
    for method in config.defaults:
        posteriors[method] = np.stack([probabilities(labels.with_weight(w), method) for w in weight])
    found = [row for m, p in posteriors.items() for row in scored(m, p, truth, repeats=repeats)]
    return {"metrics": pa.Table.from_pylist(found)}


def plain(models: dict[str, Model]) -> dict[str, Model]:
    """The models without features."""
    return {name: model for name, model in models.items() if not model.covariates}


def share_of_repeats(name: str) -> Float[np.ndarray, " I"]:
    """x_j: the share of positive judgements among the repeated ones of each image, shrunk towards one half."""
    counted, first = (tally_of(datasets.load(name, repeats).labels) for repeats in ("count", "first"))
    positive, n = counted - first
    return (positive + 0.5) / (n + 1)


def tally_of(labels: Labels) -> Float[np.ndarray, "2 I"]:
    """Positive and all judgements of each image."""
    counts, label, instance = (np.asarray(v) for v in (labels.counts, labels.label, labels.instance))
    of = lambda w: np.bincount(instance, w, minlength=labels.n_instances)  # noqa: E731
    return np.stack([of(counts * (label == 1)), of(1.0 * counts)])


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    parts, figures = [], {}
    for repeats in names(metrics, "repeats"):
        where = {"repeats": repeats}
        parts.append(f"**Repeated judgements: {repeats}**\n\n" + comparison(metrics, config.baseline, **where))
        accuracy = {m: select(metrics, model=m, metric="accuracy", **where) for m in names(metrics, "model")}
        accuracy = {m: values for m, values in accuracy.items() if len(values)}
        figures[f"table1_{repeats}"] = plots.spread(
            accuracy, title=f"{config.data}, repeated judgements: {repeats}", xlabel="proportion correct"
        )
    text = (
        f"Real labels ({config.data}), {config.n_draws} draws that each drop {config.dropped:.0%} of the labels, the "
        "same for every model. The standard deviation is over draws, which share most of their labels; one image of "
        "159 is .006.\n\n" + "\n\n".join(parts) + "\n"
    )
    return Report(text, figures)


def comparison(metrics: pa.Table, baseline: str, **where) -> str:
    """A table of models: accuracy and its spread, other measures, and how often it beats the baseline."""
    body = []
    for model in names(metrics, "model"):
        get = lambda metric, model=model: select(metrics, model=model, metric=metric, **where)  # noqa: E731
        if not len(get("accuracy")):  # of another treatment
            continue
        against = select(metrics, model=baseline, metric="accuracy", **where)
        wins = float("nan") if model == baseline else paired(get("accuracy"), against).wins
        spread = float(get("accuracy").std(ddof=1)) if len(against) > 1 else float("nan")
        body.append(
            [
                model,
                float(get("accuracy").mean()),
                spread,
                *(float(get(m).mean()) for m in ("auc_roc", "nll", "ece")),
                wins,
                int((get("accuracy") < 0.5).sum()),
            ]
        )
    header = ["model", "accuracy", "sd", "AUC", "NLL", "ECE", f"beats {baseline} (share of draws)", "draws below ½"]
    return markdown(header, body)
