"""The contextual model where its functions are known: the post's evaluation on simulated labels.

Scores ~ Beta(.8, 2); prevalence a cubic, sensitivity and specificity rising with the score and its complement
linearly, concavely (accurate labelers) or convexly (inaccurate ones). The items are the same for one, two and three
labels each, and for every model. Functions are judged at evenly spaced quantiles of the scores' distribution, that is
weighted by the population; so is the prevalence.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
from scipy.stats import beta

from crowdjax import plots, simulate
from crowdjax.contextual import PRESETS, ContextualFit, Inference, Scale, band, fit, item_posteriors, prepare_data
from crowdjax.contextual.config import Constraint, ContextualConfig, Level
from crowdjax.contextual.inference import crowd_curves
from crowdjax.contextual.model import log_density
from crowdjax.contextual.model import size_of as n_unknowns
from crowdjax.labels import Labels
from crowdjax.metrics import BINARY, coverage, paired
from crowdjax.simulate import ScoredCrowd, theodon_functions
from experiments.cells import Cell, Size, Tables, say
from experiments.tables import Report, markdown, names, rows, select

Shape = Literal["linear", "concave", "convex"]
Preset = Literal[tuple(PRESETS)]
FUNCTIONS = ("prevalence", "sensitivity", "specificity")
LEVELS = (0.5, 0.8, 0.95)
ACCURACY = FUNCTIONS[1:]


@dataclasses.dataclass(frozen=True)
class Config:
    """Shapes of the accuracies, sizes, models and how they are fitted.

    Attributes:
        shapes: of the accuracies over the score.
        n_instances: sizes of crowds.
        per_instance: labels of every instance.
        n_labelers: of every crowd.
        n_repeats: crowds of each size and shape.
        models: presets of crowdjax.contextual.
        baseline: the model that others are compared with.
        labelers: how labelers differ.
        constraint: ordered (sensitivity + specificity > 1), both (each above one half) or free.
        inference: how to fit.
        n_grid: scores at which functions are judged.
        shown: the models in the figure.
        seed: draws crowds, chains and samples.
    """

    shapes: tuple[Shape, ...] = ("linear", "concave", "convex")
    n_instances: tuple[int, ...] = (1000, 5000)
    per_instance: tuple[int, ...] = (1, 2, 3)
    n_labelers: int = 10
    n_repeats: int = 20
    models: tuple[Preset, ...] = tuple(PRESETS)
    baseline: str = "lr-lr"
    labelers: Level = "offset"
    constraint: Constraint = "ordered"
    inference: Inference = Inference("laplace")
    n_grid: int = 200
    shown: tuple[str, ...] = ("theodon", "lr-lr")
    seed: int = 0


def data(config: Config) -> tuple[str, ...]:
    return ()


def crowds(
    seed: int, n_repeats: int, n_instances: int, per_instance: int, n_labelers: int, **design
) -> list[ScoredCrowd]:
    """Simulated crowds, drawn by one program."""
    keys = jax.random.split(jax.random.key(seed), n_repeats)
    one = lambda key: simulate.theodon(key, n_instances, per_instance, n_labelers, **design)  # noqa: E731
    drawn = jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(keys))
    return [jax.tree.map(lambda v, r=r: v[r], drawn) for r in range(n_repeats)]


def first(crowd: ScoredCrowd, n_labelers: int, keep: int) -> Labels:
    """The crowd's labels, of each item the first ``keep``; the others have weight 0, so that one program fits all."""
    n = len(crowd.score)
    order = np.arange(len(crowd.label)) % (len(crowd.label) // n)
    return Labels.from_arrays(
        crowd.labeler, crowd.instance, crowd.label, weight=1.0 * (order < keep), n_labelers=n_labelers, n_instances=n
    )


def preset_of(model: str, config) -> ContextualConfig:
    """A preset with a study's own settings."""
    return dataclasses.replace(PRESETS[model], labelers=config.labelers, constraint=config.constraint)


def fit_timed(labels: Labels, score, model: str, config, key, scale: Scale | None = None) -> tuple[ContextualFit, dict]:
    """A preset's fit; and its seconds and diagnostics as measurements."""
    return fit_of(labels, score, preset_of(model, config), config, key, scale)


def fit_of(labels: Labels, score, model: ContextualConfig, config, key, scale: Scale | None = None):
    """The same of any contextual model."""
    start = time.perf_counter()
    found = fit(labels, score, model, key, config.inference, scale=scale)
    known = ("khat", "ess", "rhat", "divergences", "leapfrog_steps")
    values = {k: found.diagnostics[k] for k in known if k in found.diagnostics}
    return found, {"seconds": time.perf_counter() - start, **values}


def function_draws(found: ContextualFit, score) -> dict[str, np.ndarray]:
    """Draws of the three functions at given scores, each of shape [S, n]."""
    drawn = crowd_curves(found.config, *found.bases(score), found.draws, jnp.asarray(found.labels_per_labeler))
    return dict(zip(FUNCTIONS, map(np.asarray, drawn), strict=True))


def judged(draws: np.ndarray, true: np.ndarray, name: str) -> dict[str, float]:
    """Error of the mean, and coverage and width of intervals, of draws [S, n] of a function [n] (or of a number)."""
    out = {f"rmse_{name}": float(np.sqrt(((draws.mean(0) - true) ** 2).mean()))}
    for level in LEVELS:
        _, lower, upper = band(draws, level)
        out[f"coverage{level * 100:.0f}_{name}"] = coverage(lower, upper, true)
        out[f"width{level * 100:.0f}_{name}"] = float((upper - lower).mean())
    return out


def cells(config: Config) -> list[Cell]:
    return [(n, model, shape) for n in config.n_instances for model in config.models for shape in config.shapes]


def size(config: Config, n: int, model: str, shape: Shape) -> Size:
    n_fits = len(config.per_instance) * config.n_repeats
    return size_of_fits(n, max(config.per_instance), config.n_labelers, preset_of(model, config), n_fits)


def size_of_fits(
    n_instances: int, per_instance: int, n_labelers: int, model: ContextualConfig, n_fits: int, n_scores: int = 1
) -> Size:
    """The size of fits to crowds of such sizes, whose labels do not matter."""

    def lower():
        instance = np.repeat(np.arange(n_instances), per_instance)
        labeler = np.arange(len(instance)) % n_labelers
        labels = Labels.from_arrays(labeler, instance, np.ones(len(instance)), n_labelers=n_labelers)
        score = np.linspace(0, 1, n_instances)
        score = np.stack([np.roll(score, c) for c in range(n_scores)], 1)
        data = prepare_data(model, labels, Scale.learn(score)(score))
        slope = jax.jit(jax.value_and_grad(lambda u, data: log_density(model, data, u)))
        return slope.lower(jax.ShapeDtypeStruct((n_unknowns(model, data),), jnp.result_type(float)), data)

    return Size(n_instances * per_instance, n_labelers, n_instances, n_fits, lower, "one of a fit's many gradients")


def run_cell(config: Config, n: int, model: str, shape: Shape) -> Tables:
    score = beta(0.8, 2).ppf((np.arange(config.n_grid) + 0.5) / config.n_grid)
    line = np.linspace(0.01, 0.95, 48)  # for the figure
    most = max(config.per_instance)
    drawn = crowds(config.seed, config.n_repeats, n, most, config.n_labelers, shape=shape)
    true = dict(zip(FUNCTIONS, map(np.asarray, theodon_functions(score, shape)), strict=True))
    measured, curves = [], []
    for keep in config.per_instance:
        values = []
        for r, crowd in enumerate(drawn):
            labels = first(crowd, config.n_labelers, keep)
            found, row = fit_timed(labels, crowd.score, model, config, jax.random.key(r))
            posterior = item_posteriors(found, labels, crowd.score)
            row |= {name: measure(posterior, crowd.truth) for name, measure in BINARY.items()}
            draws = function_draws(found, score)
            for name in FUNCTIONS:
                row |= judged(draws[name], true[name], name)
            rate, of = draws["prevalence"].mean(1), true["prevalence"].mean()
            row |= judged(rate, of, "population") | {"bias_population": float(rate.mean() - of)}
            values.append(row)
            if r == 0 and model in config.shown and keep == most:
                curves += example(found, line, shape, model, n)
        columns = {k: [row[k] for row in values] for k in values[0]}
        measured += rows(model, columns, shape=shape, n_instances=n, per_instance=keep)
        say(f"{model}, {n} items, {keep} labels each, {shape}: {np.mean(columns['seconds']):.2f} s a fit")
    return {"metrics": pa.Table.from_pylist(measured), "curves": pa.Table.from_pylist(curves, CURVES)}


CURVES = pa.schema(
    [(k, pa.string()) for k in ("shape", "model", "function")]
    + [("n_instances", pa.int64())]
    + [(k, pa.float64()) for k in ("score", "mean", "lower", "upper", "true")]
)


def example(found: ContextualFit, score, shape: Shape, model: str, n: int) -> list[dict]:
    """One fit's functions with 95 % bands, and the true ones."""
    out = []
    true = theodon_functions(score, shape)
    for (name, draws), t in zip(function_draws(found, score).items(), true, strict=True):
        columns = {"score": score, **band(draws)._asdict(), "true": t}
        for values in zip(*columns.values(), strict=True):
            point = dict(zip(columns, map(float, values), strict=True))
            out.append({"shape": shape, "model": model, "function": name, "n_instances": n, **point})
    return out


MEASURES = {
    "auc_pr": "AUC-PR",
    "auc_roc": "AUC-ROC",
    "nll": "log-loss",
    "brier": "Brier",
    "ece": "ECE",
    "rmse_prevalence": "RMSE prevalence",
    "rmse_sensitivity": "RMSE sens",
    "rmse_specificity": "RMSE spec",
    "coverage95_prevalence": "cover prevalence",
    "coverage95_sensitivity": "cover sens",
    "coverage95_specificity": "cover spec",
    "width95_sensitivity": "width sens",
    "bias_population": "bias of the rate",
    "coverage95_population": "cover rate",
    "width95_population": "width rate",
}


def per_repeat(metrics: pa.Table, **where) -> np.ndarray:
    """A metric of every repeat, averaged over whatever else was varied."""
    repeats = len(names(metrics, "repeat"))
    return select(metrics, **where).reshape(repeats, -1).mean(1)


def interval(values: np.ndarray) -> str:
    """Mean and two standard errors over repeats."""
    error = 2 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{values.mean():.3f} ± {error:.3f}"


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    models = names(metrics, "model")
    parts, figures = [], {}
    for shape in names(metrics, "shape"):
        get = lambda model, metric, shape=shape: per_repeat(metrics, model=model, metric=metric, shape=shape)  # noqa: E731
        body = [[title, *(interval(get(m, k)) for m in models)] for k, title in MEASURES.items()]
        parts.append(f"**{shape}**\n\n{markdown(['measure', *models], body)}")
    pooled = []
    for level in LEVELS:
        for name in FUNCTIONS:
            metric = f"coverage{level * 100:.0f}_{name}"
            pooled.append(
                [f"{level:.0%} {name}", *(interval(per_repeat(metrics, model=m, metric=metric)) for m in models)]
            )
    sizes = []
    for n in names(metrics, "n_instances"):
        for keep in names(metrics, "per_instance"):
            where = {"n_instances": n, "per_instance": keep}
            for metric in ("auc_pr", "rmse_sensitivity", "coverage95_sensitivity", "coverage95_specificity"):
                get = lambda m, where=where, metric=metric: per_repeat(metrics, model=m, metric=metric, **where)  # noqa: E731
                sizes.append([n, keep, MEASURES[metric], *(interval(get(m)) for m in models)])
    against = []
    for m in models:
        row = [m]
        for metric, sign in (("auc_pr", 1), ("nll", -1), ("rmse_sensitivity", -1), ("coverage95_sensitivity", 1)):
            if config.baseline in models and m != config.baseline:
                mine, theirs = (sign * per_repeat(metrics, model=x, metric=metric) for x in (m, config.baseline))
                p = paired(mine, theirs)
                row.append(f"{p.difference:+.4f} ± {2 * p.standard_error:.4f}")
            else:
                row.append("–")
        against.append(row)
    how = [[m, *(diagnostic(metrics, m, k) for k in ("seconds", "khat", "rhat", "ess", "divergences"))] for m in models]
    text = (
        f"{config.n_repeats} repeats; {config.n_labelers} labelers; items {list(config.n_instances)}, labels per item "
        f"{list(config.per_instance)}; inference {config.inference.method}. Means over repeats and settings ± two "
        "standard errors over repeats. Functions at quantiles of the scores; cover: of 95 % intervals.\n\n"
        + "\n\n".join(parts)
        + f"\n\n**Better than {config.baseline} by** (all settings; the sign is such that more is better)\n\n"
        + markdown(["model", "AUC-PR", "log-loss", "RMSE sens", "cover sens"], against)
        + "\n\n**Coverage, all settings**\n\n"
        + markdown(["interval", *models], pooled)
        + "\n\n**By size**\n\n"
        + markdown(["items", "labels each", "measure", *models], sizes)
        + "\n\n**Runs** (medians over fits; divergences: sum)\n\n"
        + markdown(["model", "seconds", "k-hat", "R-hat", "ESS", "divergences"], how)
        + "\n"
    )
    for shape in names(tables["curves"], "shape") if len(tables["curves"]) else []:
        figures[f"theodon_sim_{shape}"] = plots.known_functions(panels(tables["curves"], shape), xlabel="score")
    return Report(text, figures)


def diagnostic(metrics: pa.Table, model: str, name: str) -> float:
    values = select(metrics, model=model, metric=name)
    return float("nan") if not len(values) else float(values.sum() if name == "divergences" else np.median(values))


def panels(curves: pa.Table, shape: str):
    """function -> (score, truth, model -> band) of the largest set, for the figure."""
    frame = [row for row in curves.to_pylist() if row["shape"] == shape]
    largest = max(row["n_instances"] for row in frame)
    out = {}
    for name in FUNCTIONS:
        found = {}
        for row in frame:
            if row["function"] == name and row["n_instances"] == largest:
                found.setdefault(row["model"], []).append([row[k] for k in ("score", "true", "mean", "lower", "upper")])
        columns = {m: np.array(v).T for m, v in found.items()}
        any_ = next(iter(columns.values()))
        out[name] = (any_[0], any_[1], {m: tuple(c[2:]) for m, c in columns.items()})
    return out
