"""Sparse Gaussian processes where the functions are known: eigenfunctions, inducing inputs, the exact process; and
several scores, whose processes add up (additive) or are one (tensor).

One score: Beta(.8, 2) and the functions of ``theodon_sim``. Two: uniform, and logits that are sums of functions of each
score, or that rest on their product. Functions are judged at 400 scores of the population, over which the prevalence is
taken as well.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import jax
import numpy as np
import pyarrow as pa
from jaxtyping import Float
from scipy.special import expit

from crowdjax import plots
from crowdjax.contextual import GP, ContextualConfig, Inference
from crowdjax.contextual.config import Constraint, Level
from crowdjax.labels import Labels
from crowdjax.simulate import theodon_functions
from experiments.cells import Cell, Size, Tables, say
from experiments.tables import Report, markdown, names, rows, select
from experiments.theodon_sim import FUNCTIONS, fit_of, function_draws, interval, judged, size_of_fits

Truth = Literal["one", "additive", "interaction"]


@dataclasses.dataclass(frozen=True)
class Config:
    """Truths, sizes, the processes and how the model is fitted.

    Attributes:
        truths: one (one score), additive and interaction (two scores).
        n_instances: items of every crowd.
        per_instance: labels of every item.
        n_labelers: of every crowd.
        n_repeats: crowds of each truth.
        n_grid: scores at which functions are judged.
        one, two: the processes for one score and for two.
        labelers: how labelers differ.
        constraint: ordered (sensitivity + specificity > 1), both (each above one half) or free.
        inference: how to fit.
        seed: draws crowds, chains and samples.
    """

    truths: tuple[Truth, ...] = ("one", "additive", "interaction")
    n_instances: int = 500
    per_instance: int = 3
    n_labelers: int = 10
    n_repeats: int = 10
    n_grid: int = 400
    one: dict[str, GP] = dataclasses.field(default_factory=lambda: {"hsgp": GP()})
    two: dict[str, GP] = dataclasses.field(default_factory=lambda: {"additive": GP()})
    labelers: Level = "offset"
    constraint: Constraint = "ordered"
    inference: Inference = Inference("laplace")
    seed: int = 0


def data(config: Config) -> tuple[str, ...]:
    return ()


def functions(truth: Truth, scores: Float[np.ndarray, "n C"]) -> dict[str, Float[np.ndarray, " n"]]:
    """The true prevalence, sensitivity and specificity."""
    if truth == "one":
        return dict(zip(FUNCTIONS, map(np.asarray, theodon_functions(scores[:, 0])), strict=True))
    a, b = scores.T
    by = 1.5 * (a + b**2 - 0.8) if truth == "additive" else (2 * a - 1) * (2 * b - 1)
    bend = 2 * np.sin(np.pi * b) + 3 * a - 4 if truth == "additive" else 4 * by - 1.5
    return {"prevalence": expit(bend), "sensitivity": expit(1.2 + by), "specificity": expit(1.8 - by)}


def scores_of(truth: Truth, n: int, rng: np.random.Generator) -> Float[np.ndarray, "n C"]:
    return rng.beta(0.8, 2, (n, 1)) if truth == "one" else rng.random((n, 2))


def crowd(config: Config, truth: Truth, repeat: int) -> tuple[Labels, Float[np.ndarray, "I C"]]:
    """Labels and scores of a crowd; labelers drawn at random for each item."""
    rng = np.random.default_rng([config.seed, repeat])
    n, each = config.n_instances, config.per_instance
    scores = scores_of(truth, n, rng)
    at = {name: values[:, None] for name, values in functions(truth, scores).items()}
    positive = rng.random((n, 1)) < at["prevalence"]
    labeler = rng.random((n, config.n_labelers)).argsort(1)[:, :each]
    label = rng.random((n, each)) < np.where(positive, at["sensitivity"], 1 - at["specificity"])
    instance = np.repeat(np.arange(n), each)
    labels = Labels.from_arrays(labeler.ravel(), instance, label.ravel(), n_labelers=config.n_labelers, n_instances=n)
    return labels, scores


def processes(config: Config, truth: Truth) -> dict[str, GP]:
    return config.one if truth == "one" else config.two


def model_of(config: Config, truth: Truth, process: str) -> ContextualConfig:
    gp = processes(config, truth)[process]
    return ContextualConfig(labelers=config.labelers, constraint=config.constraint, gp=gp)


def cells(config: Config) -> list[Cell]:
    return [(truth, process) for truth in config.truths for process in processes(config, truth)]


def size(config: Config, truth: Truth, process: str) -> Size:
    sizes = config.n_instances, config.per_instance, config.n_labelers
    return size_of_fits(*sizes, model_of(config, truth, process), config.n_repeats, 1 if truth == "one" else 2)


def run_cell(config: Config, truth: Truth, process: str) -> Tables:
    grid = scores_of(truth, config.n_grid, np.random.default_rng(config.seed))
    true = functions(truth, grid)
    values = []
    for r in range(config.n_repeats):
        labels, scores = crowd(config, truth, r)
        found, row = fit_of(labels, scores, model_of(config, truth, process), config, jax.random.key(r))
        draws = function_draws(found, grid)
        for name in FUNCTIONS:
            row |= judged(draws[name], true[name], name)
        values.append(row | judged(draws["prevalence"].mean(1), true["prevalence"].mean(), "rate"))
    columns = {k: [row[k] for row in values] for k in values[0]}
    say(f"{truth}, {process}: {np.median(columns['seconds']):.2f} s a fit")
    return {"metrics": pa.Table.from_pylist(rows(process, columns, truth=truth))}


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    parts, figures = [], {}
    for truth in names(metrics, "truth"):
        get = lambda model, metric, truth=truth: select(metrics, truth=truth, model=model, metric=metric)  # noqa: E731
        errors, bands, shown = [], [], {}
        for model in processes(config, truth):
            errors.append([model, *(interval(get(model, f"rmse_{name}")) for name in (*FUNCTIONS, "rate"))])
            errors[-1] += [float(np.median(get(model, metric))) for metric in ("khat", "seconds")]
            bands.append([model])
            for name in (*FUNCTIONS, "rate"):
                covered, width = (get(model, f"{what}95_{name}").mean() for what in ("coverage", "width"))
                bands[-1].append(f"{covered:.2f}, {width:.3f}")
            shown[model] = get(model, "rmse_prevalence")
        of = ["process", *FUNCTIONS, "rate"]
        parts.append(
            f"**{truth}**\n\nError (root mean square over the population; of the rate: absolute)\n\n"
            + markdown([*of, "k-hat", "seconds"], errors)
            + "\n\nCoverage and width of 95 % bands and intervals\n\n"
            + markdown(of, bands)
        )
        figures[f"sparse_{truth}"] = plots.spread(
            shown, title=f"Error of the prevalence function: {truth}", xlabel="root mean square error"
        )
    text = (
        f"{config.n_instances} items, {config.per_instance} labels each, {config.n_labelers} labelers, "
        f"{config.n_repeats} repeats; inference {config.inference.method}. Means ± two standard errors; k-hat and "
        "seconds: medians.\n\n" + "\n\n".join(parts) + "\n"
    )
    return Report(text, figures)
