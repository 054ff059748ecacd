"""The paper's Table 1 on the real Duchenne labels: draws that each drop a fifth of the labels.

Every model sees the same draws.

The detector outputs that the paper's instance features were made of were never published, so instance factors are free
here; ``detector`` has stand-ins with one. Repeated judgements (729 of 1950) are counted or reduced to the first.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from crowdjax import datasets, plots
from crowdjax.factor import Solver
from crowdjax.labels import Repeats
from crowdjax.metrics import paired
from experiments.cells import Cell, Size, Tables, present
from experiments.config import Model, Set, preset
from experiments.fitting import Draws, drop, fit_all, size_of
from experiments.tables import Report, markdown, names, scored, select


def models() -> dict[str, Model]:
    """The paper's five, and Dawid-Skene."""
    return {
        "majority vote": preset("majority"),
        "Dawid-Skene": preset("dawid-skene"),
        "GLAD": preset("glad"),
        "1 factor": preset("factor"),
        "2 factors": preset("factor", n_factors=2),
        "3 factors": preset("factor", n_factors=3),
    }


@dataclasses.dataclass(frozen=True)
class Config:
    """The data set, the treatments of repeated judgements, the draws and the models.

    Attributes:
        data: the real set.
        treatments: what to do with repeated judgements.
        n_draws: subsets of the labels.
        dropped: the share of the labels that each goes without.
        models: the models by name.
        baseline: the model that others are compared with.
        seed: draws the subsets and starts.
        solver: how to fit.
    """

    data: Set = "duchenne"
    treatments: tuple[Repeats, ...] = ("count", "first")
    n_draws: int = 100
    dropped: float = 0.2
    models: dict[str, Model] = dataclasses.field(default_factory=models)
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
    return size_of(labels, blank, config.models, config.solver)


def run_cell(config: Config, repeats: Repeats) -> Tables:
    labels, _, truth = datasets.load(config.data, repeats)
    weight = drop(config.seed, np.asarray(labels.counts), config.dropped, config.n_draws)
    fitted = fit_all(labels, Draws(weight), config.models, config.solver, config.seed, f"table1, {repeats}")
    found = [row for m, fit in fitted.items() for row in scored(m, fit.posterior, truth, repeats=repeats)]
    return {"metrics": pa.Table.from_pylist(found)}


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    parts, figures = [], {}
    for repeats in names(metrics, "repeats"):
        where = {"repeats": repeats}
        parts.append(f"**Repeated judgements: {repeats}**\n\n" + comparison(metrics, config.baseline, **where))
        accuracy = {m: select(metrics, model=m, metric="accuracy", **where) for m in names(metrics, "model")}
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
