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
from experiments.config import Model, preset
from experiments.fitting import Draws, fit_all, in_parallel
from experiments.tables import Report, markdown, names, scored, select

MEASURES = {"accuracy": "Accuracy", "auc_roc": "AUC", "nll": "NLL", "ece": "ECE"}


def models() -> dict[str, Model]:
    """Those of table 1, and the one-coin model."""
    return {**table1.models(), "one coin": preset("one-coin")}


@dataclasses.dataclass(frozen=True)
class Config:
    """The sets (those that are here are used), the models and the treatment of repeated judgements."""

    sets: tuple[str, ...] = BINARY
    models: dict[str, Model] = dataclasses.field(default_factory=models)
    repeats: Repeats = "count"
    seed: int = 0
    solver: Solver = Solver(restarts=4)


def data(config: Config) -> tuple[str, ...]:
    return config.sets


def present(config: Config) -> list[str]:
    """The sets that are here; raises ``MissingData`` if none is, ``InputError`` if one does not exist at all."""
    here = datasets.available()
    sets = [s for s in config.sets if s in here]
    for name in config.sets if not sets else set(config.sets) - set(BINARY):
        datasets.load(name)
    return sets


def run(config: Config) -> dict[str, pa.Table]:
    def one(name):
        labels, _, truth = datasets.load(name, config.repeats)
        weight = np.asarray(labels.counts, np.float32)[None]
        fitted = fit_all(labels, Draws(weight), config.models, config.solver, config.seed, f"real, {name}")
        return [row for m, found in fitted.items() for row in scored(m, found.posterior, truth, set=name)]

    return {"metrics": pa.Table.from_pylist(sum(in_parallel(one, present(config)), []))}


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
    return Report(text, {"real": plots.dots(values["accuracy"], sets, models, title="Accuracy on real sets")})
