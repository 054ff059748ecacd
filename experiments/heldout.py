"""Which model describes a crowd best, without any truth: the likelihood of held-out labels (``crowdjax.factor``)."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pyarrow as pa

from crowdjax import datasets, plots
from crowdjax.factor import Solver, folds, label_log_likelihood
from crowdjax.labels import Labels, Repeats
from crowdjax.metrics import accuracy
from experiments.cells import Cell, Size, Tables, present
from experiments.config import Model, Set, preset
from experiments.fitting import Draws, fit_all, size_of
from experiments.tables import Report, markdown, names, rows, select


@dataclasses.dataclass(frozen=True)
class Config:
    """The sets, folds and models.

    Attributes:
        sets: real sets; those that are here are used.
        n_folds: parts of the labels, each held out once.
        models: the models by name (not the majority vote: it predicts no labels).
        repeats: what to do with repeated judgements.
        seed: draws the folds and starts.
        solver: how to fit.
    """

    sets: tuple[Set, ...] = ("ducks", "bluebirds", "zencrowd")
    n_folds: int = 5
    models: dict[str, Model] = dataclasses.field(
        default_factory=lambda: {
            "Dawid-Skene": preset("dawid-skene"),
            "GLAD": preset("glad"),
            "1 factor": preset("factor"),
            "2 factors": preset("factor", n_factors=2),
        }
    )
    repeats: Repeats = "count"
    seed: int = 0
    solver: Solver = Solver(restarts=4)


def data(config: Config) -> tuple[str, ...]:
    return config.sets


def cells(config: Config) -> list[Cell]:
    return [(name,) for name in present(config.sets)]


def size(config: Config, name: str) -> Size:
    labels = datasets.load(name, config.repeats).labels
    return size_of(labels, Draws(np.ones((config.n_folds, len(labels.label)))), config.models, config.solver)


def run_cell(config: Config, name: str) -> Tables:
    labels, _, truth = datasets.load(name, config.repeats)
    counts = np.asarray(labels.counts, np.float32)
    held = counts * (folds(labels, config.n_folds, config.seed) == np.arange(config.n_folds)[:, None])
    fitted = fit_all(labels, Draws(counts - held), config.models, config.solver, config.seed, f"heldout, {name}")
    out = []
    for model, found in fitted.items():
        values = {
            "log_likelihood": _score(labels, found.factors, found.posterior, held),
            "accuracy": [accuracy(p, truth) for p in np.asarray(found.posterior)],
        }
        out += rows(model, values, set=name)
    return {"metrics": pa.Table.from_pylist(out)}


@jax.jit
def _score(labels: Labels, factors, posterior, held):
    """Mean log-probability of the held-out labels of every fold, shape [K]."""

    def one(f, p, weight):
        return (weight * label_log_likelihood(labels, f, p)).sum() / weight.sum()

    return jax.vmap(one)(factors, posterior, held)


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    sets, models = names(metrics, "set"), names(metrics, "model")
    get = lambda m, s, metric: float(select(metrics, model=m, set=s, metric=metric).mean())  # noqa: E731
    cell = lambda m, s: f"{get(m, s, 'log_likelihood'):.3f} ({get(m, s, 'accuracy'):.3f})"  # noqa: E731
    value = np.array([[get(m, s, "log_likelihood") for m in models] for s in sets])
    missing = [s for s in config.sets if s not in sets]
    text = (
        f"Mean log-probability of a held-out label in nats, {config.n_folds} folds; in brackets the fits' accuracy. "
        + (f"Not here, so skipped: {', '.join(missing)}." if missing else "")
        + "\n\n"
        + markdown(["set", *models], [[s, *(cell(m, s) for m in models)] for s in sets])
        + "\n"
    )
    return Report(
        text,
        {
            "heldout": plots.dots(
                value, sets, models, title="Held-out labels", xlabel="log-probability of a label, nats"
            )
        },
    )
