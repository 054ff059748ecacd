"""The paper's example of specialists and generalists (section 2.1): what two factors can express, and whether they are
found again.

Three tables of P(right) per type of labeler and type of instance:

    printed     from the factors that the paper prints
    recovered   fitted with flat priors to the exact probabilities: every combination of types and truth counts as often
                as expected, truth known. This is maximum likelihood with infinitely many labels.
    learned     fitted to simulated labels, truth unknown; the model is told who is of which type and nothing else
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from crowdjax import plots, simulate
from crowdjax.factor import Factors, Solver, build, correctness, fit_jit
from crowdjax.labels import Labels
from experiments.cells import Cell, Size, Tables
from experiments.config import Model, preset
from experiments.fitting import Draws, fit_all, size_of
from experiments.tables import Report, markdown, names, rows, select

PAPER = np.array([[0.95, 0.70], [0.80, 0.80]])
ROWS, COLUMNS = ("specialist", "generalist"), ("specialty", "other")


@dataclasses.dataclass(frozen=True)
class Config:
    """The crowd of the learned table, and the fit.

    Attributes:
        n_labelers, n_instances: of either type.
        n_repeats: crowds to draw.
        model: what is fitted.
        seed: draws the crowds and starts.
        solver: how to fit.
    """

    n_labelers: int = 25
    n_instances: int = 250
    n_repeats: int = 20
    model: Model = preset("glad-linear", "labeler", "instance", n_factors=2, deviation=0.0, features=1.0)
    seed: int = 0
    solver: Solver = Solver(rtol=1e-7, restarts=2)


def data(config: Config) -> tuple[str, ...]:
    return ()


def cells(config: Config) -> list[Cell]:
    return [()]


def size(config: Config) -> Size:
    n, m = 2 * config.n_labelers, 2 * config.n_instances
    blank = Draws(*(np.ones((config.n_repeats, *shape)) for shape in ((n * m,), (n * m,), (n, 1), (m, 1))))
    return size_of(simulate.grid(n, m), blank, {"learned": config.model}, config.solver)


def run_cell(config: Config) -> Tables:
    printed = _table(simulate.specialists())
    found = {"printed": printed[None], "recovered": _recovered()[None], "learned": _learned(config)}
    out = []
    for model, tables in found.items():
        for a, labeler in enumerate(ROWS):
            for b, instance in enumerate(COLUMNS):
                out += rows(model, {"p_correct": tables[:, a, b]}, labelers=labeler, instances=instance)
        out += rows(model, {"largest_error": np.abs(tables - PAPER).max((1, 2))})
    return {"metrics": pa.Table.from_pylist(out)}


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    of = lambda m: np.array(  # noqa: E731
        [[select(metrics, model=m, metric="p_correct", labelers=a, instances=b).mean() for b in COLUMNS] for a in ROWS]
    )
    found = {m: of(m) for m in names(metrics, "model")}
    body = [
        (m, *t.ravel().tolist(), f"{select(metrics, model=m, metric='largest_error').mean():.5f}")
        for m, t in found.items()
    ]
    header = ["table", *(f"{a} on {b}" for a in ROWS for b in COLUMNS), "largest error"]
    paper = ("paper", *PAPER.ravel().tolist(), "")
    text = f"""P(right) by type of labeler and of instance (the paper, section 2.1). *Printed*: from the factors that
the paper prints. *Recovered*: two factors fitted to exact probabilities. *Learned*: two factors fitted to simulated
labels without any truth, {config.n_labelers} labelers and {config.n_instances} instances of either type; mean of
{config.n_repeats} repeats, the error is that of a repeat.

{markdown(header, [paper, *body])}
"""
    return Report(text, {"specialist": plots.matrices({"published": PAPER, **found}, ROWS, COLUMNS)})


def _table(factors: Factors) -> np.ndarray:
    """P(right) [type of labeler, type of instance]: the mean of both truths', which are equal without bias."""
    plus, minus = correctness(factors)
    return np.asarray((plus + minus) / 2, float)


def _recovered() -> np.ndarray:
    """Two labelers, two types of instances with either truth, and each label as often as it is expected."""
    exact = np.concatenate([PAPER, PAPER], axis=1)  # instances 0, 1 are positive, 2, 3 negative
    truth = np.array([1, 1, -1, -1])
    i, j = (v.ravel() for v in np.indices(exact.shape))
    right = exact.ravel()
    labels = Labels.from_arrays(
        np.r_[i, i], np.r_[j, j], np.r_[truth[j], -truth[j]], weight=1000 * np.r_[right, 1 - right], gold=truth
    )
    free = preset("glad-linear", n_factors=2, labeler=(1.0, np.inf), instance=(1.0, np.inf), further=np.inf)
    model = build(free.config, labels)
    fit = fit_jit(labels, model, jax.random.key(0), Solver(rtol=1e-9))
    table = _table(model.factors(fit.weights))
    return (table[:, :2] + table[:, 2:]) / 2


def _learned(config: Config) -> np.ndarray:
    """Tables [R, 2, 2] fitted to simulated labels."""
    labelers, instances = (np.repeat([1.0, -1.0], n) for n in (config.n_labelers, config.n_instances))
    factors = simulate.specialists(config.n_labelers, config.n_instances)
    cells = simulate.grid(len(labelers), len(instances))
    keys = jax.random.split(jax.random.key(config.seed), config.n_repeats)

    def draw(key):
        truth = simulate.coins(key, len(instances))
        return simulate.judgements(jax.random.fold_in(key, 1), factors, truth)

    label = jax.jit(jax.vmap(draw))(keys)
    same = lambda x: np.broadcast_to(x[:, None], (config.n_repeats, len(x), 1))  # noqa: E731
    draws = Draws(jnp.ones(label.shape), label, same(labelers), same(instances))
    found = fit_all(cells, draws, {"learned": config.model}, config.solver, config.seed, "specialist")["learned"]
    of = lambda r: Factors(*(None if v is None else v[r] for v in found.factors))  # noqa: E731
    tables = np.stack([_table(of(r)) for r in range(config.n_repeats)])
    # All labelers of a type have the same factors, and all instances.
    return tables[:, :: config.n_labelers, :: config.n_instances]
