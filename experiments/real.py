"""Every real binary set with truth: how accurate, how well ranked and how honest each model's probabilities are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa

from crowdjax import datasets, plots
from crowdjax.datasets import BINARY
from crowdjax.factor import Solver
from crowdjax.labels import Repeats
from experiments import table1
from experiments.cells import Cell, Size, Tables, present
from experiments.config import Model, Set, preset
from experiments.fitting import Draws, fit_all, size_of
from experiments.tables import Report, markdown, names, scored, select

MEASURES = {"accuracy": "Accuracy", "auc_roc": "AUC", "nll": "NLL", "ece": "ECE"}


def models() -> dict[str, Model]:
    """Those of table 1, and the one-coin model."""
    return {**table1.models(), "one coin": preset("one-coin")}


@dataclasses.dataclass(frozen=True)
class Config:
    """The sets, the models and the treatment of repeated judgements.

    Attributes:
        sets: real sets; those that are here are used.
        models: the models by name.
        repeats: what to do with repeated judgements.
        seed: draws the starts.
        solver: how to fit.
    """

    sets: tuple[Set, ...] = BINARY
    models: dict[str, Model] = dataclasses.field(default_factory=models)
    repeats: Repeats = "count"
    seed: int = 0
    solver: Solver = Solver(restarts=4)


def data(config: Config) -> tuple[str, ...]:
    return config.sets


def cells(config: Config) -> list[Cell]:
    return [(name,) for name in present(config.sets)]


def size(config: Config, name: str) -> Size:
    labels = datasets.load(name, config.repeats).labels
    return size_of(labels, Draws(np.ones((1, len(labels.label)))), config.models, config.solver)


def run_cell(config: Config, name: str) -> Tables:
    labels, _, truth = datasets.load(name, config.repeats)
    weight = np.asarray(labels.counts, np.float32)[None]
    fitted = fit_all(labels, Draws(weight), config.models, config.solver, config.seed, f"real, {name}")
    found = [row for m, fit in fitted.items() for row in scored(m, fit.posterior, truth, set=name)]
    return {"metrics": pa.Table.from_pylist(found)}


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    sets, models = names(metrics, "set"), names(metrics, "model")
    values = {
        k: np.array([[select(metrics, model=m, set=s, metric=k)[0] for m in models] for s in sets]) for k in MEASURES
    }
    rows = lambda k: [[s, *map(float, v)] for s, v in zip(sets, values[k], strict=True)]  # noqa: E731
    parts = [f"**{title}**\n\n{markdown(['set', *models], rows(k))}" for k, title in MEASURES.items()]
    missing = [s for s in config.sets if s not in sets]
    flipped = int((values["accuracy"] < 0.5).sum())
    text = (
        f"All labels of each set; repeated judgements: {config.repeats}. Fits with an accuracy below ½: {flipped}. "
        + (f"Not here, so skipped: {', '.join(missing)}. " if missing else "")
        + "Linked sets: hcb and trec2011, sp and sp_amt, medrel_cause and medrel_treat.\n\n"
        + "\n\n".join(parts)
        + "\n"
    )
    return Report(text, {"real": plots.dots(values["accuracy"], sets, models, title="Real sets", xlabel="accuracy")})
