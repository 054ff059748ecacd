"""How often rare events occur, from labels of a sample in which likely ones are over-represented.

About one item of a thousand is positive, and the labelers call one negative of twenty positive: the weighted share of
positive votes is then mostly error. Items are drawn with chances that grow with the score. The contextual model's
prevalence is taken over the population's scores, and by the sampling weights alone.

Both accuracies are assumed to be above one half (``constraint``). With a handful of positives in the sample the weaker
default, sensitivity + specificity > 1, leaves open that labelers miss nearly all of many: then votes say nothing about
the truth, and the interval reaches from 0 to .8.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pyarrow as pa

from crowdjax import plots
from crowdjax.contextual import Inference, population_prevalence
from crowdjax.contextual.config import Constraint, Level
from crowdjax.simulate import ScoredCrowd, theodon_functions
from experiments.cells import Cell, Size, Tables, in_tens
from experiments.tables import Report, markdown, names, rows, select
from experiments.theodon_sim import Preset, Shape, crowds, diagnostic, first, fit_timed, preset_of, size_of_fits


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes, the models, and how they are fitted.

    Attributes:
        n_instances: items of every sample.
        per_instance: labels of every item.
        n_labelers: of every crowd.
        population: how many scores items are drawn from; all of them count.
        n_table: bins that the population's scores are summed up in.
        shape: of the accuracies over the score.
        n_repeats: samples.
        models: presets of crowdjax.contextual.
        labelers: how labelers differ.
        constraint: ordered (sensitivity + specificity > 1), both (each above one half) or free.
        inference: how to fit.
        seed: draws samples, chains and draws.
    """

    n_instances: int = 1000
    per_instance: int = 3
    n_labelers: int = 10
    population: int = 100_000
    n_table: int = 500
    shape: Shape = "linear"
    n_repeats: int = 100
    models: tuple[Preset, ...] = ("theodon",)
    labelers: Level = "offset"
    constraint: Constraint = "both"
    inference: Inference = Inference(n_warmup=150, n_draws=150)
    seed: int = 0


def data(config: Config) -> tuple[str, ...]:
    return ()


def table(population: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(scores, counts) that stand for a population: means of equally many neighbours; the highest hundredth, where the
    positives are, gets half of the bins."""
    ordered = np.sort(population)
    cut = len(ordered) - len(ordered) // 100
    parts = [p for half in (ordered[:cut], ordered[cut:]) for p in np.array_split(half, size // 2) if p.size]
    return np.array([p.mean() for p in parts]), np.array([float(p.size) for p in parts])


def votes(crowd: ScoredCrowd, keep: int) -> float:
    """The share of positive votes, weighted by the design."""
    share = (crowd.label.reshape(len(crowd.score), -1)[:, :keep] > 0).mean(1)
    return float(crowd.weight @ share / crowd.weight.sum())


def cells(config: Config) -> list[Cell]:
    return in_tens(config.n_repeats)


def size(config: Config, start: int, end: int) -> Size:
    n_fits = (end - start) * len(config.models)
    sizes = config.n_instances, config.per_instance, config.n_labelers
    return size_of_fits(*sizes, preset_of(config.models[0], config), n_fits)


def run_cell(config: Config, start: int, end: int) -> Tables:
    """Repeats from ``start`` up to ``end``."""
    drawn = crowds(
        config.seed,
        config.n_repeats,
        config.n_instances,
        config.per_instance,
        config.n_labelers,
        shape=config.shape,
        rare=True,
        population=config.population,
    )
    values: dict[str, list[dict]] = {"votes": []}
    for r, crowd in enumerate(drawn[start:end], start):
        true = float(np.asarray(theodon_functions(crowd.population, config.shape, rare=True)[0]).mean())
        labels = first(crowd, config.n_labelers, config.per_instance)
        naive = votes(crowd, config.per_instance)
        values["votes"].append({"true": true, "mean": naive, "bias": naive - true})
        scores, counts = table(crowd.population, config.n_table)
        for m in config.models:
            found, row = fit_timed(labels, crowd.score, m, config, jax.random.key(r))
            estimates = {
                m: population_prevalence(found, scores, counts),
                f"{m}, by weights": population_prevalence(found, crowd.score, crowd.weight, key=jax.random.key(r)),
            }
            for name, e in estimates.items():
                mean, lower, upper = map(float, e)
                measured = {"mean": mean, "lower": lower, "upper": upper, "bias": mean - true, "width": upper - lower}
                values.setdefault(name, []).append(
                    {"true": true, **measured, "covered": float(lower <= true <= upper), **row}
                )
    columns = {m: {k: [row[k] for row in v] for k in v[0]} for m, v in values.items()}
    measured = [row for m, v in columns.items() for row in rows(m, v, start=start)]
    return {"metrics": pa.Table.from_pylist(measured)}


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    naive = abs(select(metrics, model="votes", metric="bias").mean())
    body, shown = [], {}
    for model in names(metrics, "model"):
        get = lambda metric, model=model: select(metrics, model=model, metric=metric)  # noqa: E731
        bias, n = get("bias"), config.n_repeats
        error = 2 * bias.std(ddof=1) / np.sqrt(n) if n > 1 else np.nan
        covered = f"{get('covered').mean():.2f}" if len(get("covered")) else "–"
        width = f"{get('width').mean():.5f}" if len(get("width")) else "–"
        body.append(
            [model, f"{get('mean').mean():.5f}", f"{bias.mean():+.5f} ± {error:.5f}", f"{abs(bias.mean()) / naive:.3f}"]
            + [covered, width]
        )
        shown[model] = get("mean")
    how = [
        [m, *(diagnostic(metrics, m, k) for k in ("seconds", "khat", "rhat", "ess", "divergences"))]
        for m in config.models
    ]
    true = select(metrics, model="votes", metric="true").mean()
    text = (
        f"True prevalence {true:.5f}; {config.n_instances} items of {config.population} drawn with chances that grow "
        f"with the score, {config.per_instance} labels each; {config.n_repeats} repeats; {config.inference.method}; "
        "bias ± two standard errors; cover: of 95 % intervals.\n\n"
        + markdown(["estimate", "mean", "bias", "bias over the votes'", "cover", "width"], body)
        + "\n\n"
        + markdown(["model", "seconds", "k-hat", "R-hat", "ESS", "divergences"], how)
        + "\n"
    )
    figure = plots.spread(shown, title=f"Estimated prevalence (true: {true:.4f})", xlabel="prevalence")
    return Report(text, {"rare": figure})
