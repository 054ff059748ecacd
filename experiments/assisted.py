"""How well gold labels of known chances give the prevalence, alone and assisted by the contextual model.

Four kinds of crowds (``simulate.prevalence_crowd``) label a sample of a population: plain, poor, shy (labelers miss
more than half of the positives where the score is low) and rare (one in a thousand, likely positives
over-represented). Some instances get gold, drawn by votes and weights. Estimates: the weighted share of votes; the
model, fitted to labels and gold, over the population's scores; gold alone (Hájek); gold with the items' predictions;
with those and the population's table; and the percentile bootstrap of gold with predictions.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import numpy as np
import pyarrow as pa

from crowdjax import plots
from crowdjax.contextual import ContextualConfig, Inference, assisted, calibrate, fit, held_out_posteriors
from crowdjax.contextual import population_prevalence as over
from crowdjax.contextual.config import Constraint, Level
from crowdjax.contextual.functions import Family
from crowdjax.labels import Labels
from crowdjax.simulate import SampledCrowd, Scenario, prevalence_crowd
from experiments.cells import Cell, Size, Tables
from experiments.rare import table
from experiments.tables import Report, markdown, names, rows, select
from experiments.theodon_sim import size_of_fits

ALONE, ITEMS, BOTH, PERCENTILE = "gold alone", "assisted", "assisted, population", "assisted, percentile"


@dataclasses.dataclass(frozen=True)
class Config:
    """Crowds, gold, and the model that assists it.

    Attributes:
        scenarios: kinds of crowds.
        n_gold: how many instances get gold.
        n_instances: of every sample.
        per_instance: labels of every instance.
        n_table: bins that the population's scores are summed up in.
        n_repeats: crowds of each kind.
        family: of prevalence and accuracies: gp, linear or constant.
        labelers: how labelers differ.
        constraint: ordered (sensitivity + specificity > 1), both (each above one half) or free.
        inference: how to fit.
        seed: draws crowds, gold and draws.
    """

    scenarios: tuple[Scenario, ...] = ("plain", "poor", "shy", "rare")
    n_gold: tuple[int, ...] = (100, 200)
    n_instances: int = 1000
    per_instance: int = 2
    n_table: int = 500
    n_repeats: int = 100
    family: Family = "linear"
    labelers: Level = "offset"
    constraint: Constraint = "both"
    inference: Inference = Inference("laplace", n_draws=200)
    seed: int = 0

    @property
    def model(self) -> ContextualConfig:
        return ContextualConfig(self.family, self.family, self.labelers, self.constraint)


def data(config: Config) -> tuple[str, ...]:
    return ()


def cells(config: Config) -> list[Cell]:
    return [
        (s, start, min(start + 10, config.n_repeats))
        for s in config.scenarios
        for start in range(0, config.n_repeats, 10)
    ]


def size(config: Config, scenario: Scenario, start: int, end: int) -> Size:
    n_labelers = 5 if scenario == "rare" else 10
    n_fits = (end - start) * len(config.n_gold)
    return size_of_fits(config.n_instances, config.per_instance, n_labelers, config.model, n_fits)


def run_cell(config: Config, scenario: Scenario, start: int, end: int) -> Tables:
    """Crowds of one kind, from ``start`` up to ``end``."""
    found: list[dict] = []
    for r in range(start, end):
        drawn = prevalence_crowd(
            scenario, config.seed * 100_000 + r, n_instances=config.n_instances, per_instance=config.per_instance
        )
        for n in config.n_gold:
            for model, values in measured(config, drawn, n, r).items():
                columns = {k: [v] for k, v in values.items()}
                found += rows(model, columns, start=r, scenario=scenario, gold=n)
    return {"metrics": pa.Table.from_pylist(found)}


def measured(config: Config, drawn: SampledCrowd, n: int, seed: int) -> dict[str, dict[str, float]]:
    """What each estimate says of one crowd with n gold labels."""
    c, true = drawn.crowd, drawn.rate
    sample, model = sampled(config, drawn, n, seed)
    alone, items = assisted.estimates(sample._replace(function=None))
    both = assisted.estimates(sample)[1]
    share = np.bincount(c.instance, c.label) / np.bincount(c.instance)
    out = {
        "votes": (np.average(share, weights=c.weight), None, None),
        "model": model,
        **{name: (e.mean, e.lower, e.upper) for name, e in ((ALONE, alone), (ITEMS, items), (BOTH, both))},
    }
    if items.lower is not None:
        out[PERCENTILE] = (items.mean, *assisted.bootstrap(sample, items.lam, seed))
    values = {name: _judged(true, *e) for name, e in out.items()}
    for name, e in ((ITEMS, items), (BOTH, both)):
        values[name]["lambda"] = e.lam[0]
        if e.lower is not None:
            values[name]["ratio"] = e.width / alone.width
    return values


def sampled(config: Config, drawn: SampledCrowd, n: int, seed: int):
    """(the sample with gold and predictions that have not seen their own, the model's prevalence)."""
    c = drawn.crowd
    gold, chance = np.full(len(c.score), np.nan), np.ones(len(c.score))
    known, chances = drawn.gold(n, seed)
    gold[known], chance[known] = c.truth[known], chances
    labels = Labels.from_arrays(
        c.labeler, c.instance, c.label, gold=gold, n_labelers=len(drawn.offsets), n_instances=len(c.score)
    )
    scores, counts = table(c.population, config.n_table)
    found = fit(labels, c.score, config.model, jax.random.key(seed), config.inference)
    function = calibrate(found, c.score).mean, float(np.average(calibrate(found, scores).mean, weights=counts))
    sample = assisted.Sample(gold, chance, c.weight, held_out_posteriors(found, labels, c.score), function)
    return sample, tuple(map(float, over(found, scores, counts)))


def _judged(true: float, mean: float, lower: float | None, upper: float | None) -> dict[str, float]:
    values = {"true": true, "mean": mean, "bias": mean - true, "given": float(lower is not None)}
    if lower is not None and upper is not None:
        values |= {"covered": float(lower <= true <= upper), "width": upper - lower}
    return values


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    header = ["gold", "estimate", "mean", "bias ± 2 s.e.", "cover", "width", "given", "width / gold alone's", "at most"]
    parts, figures = [], {}
    for scenario in config.scenarios:
        get = partial(_values, metrics, scenario)
        true = get(config.n_gold[0], "votes", "true").mean()
        body = [[n, m, *_line(partial(get, n, m))] for n in config.n_gold for m in names(metrics, "model")]
        parts.append(f"**{scenario}**: true prevalence {true:.4f}\n\n{markdown(header, body)}\n")
        most = max(config.n_gold)
        figures[scenario] = plots.spread(
            {m: get(most, m, "mean") for m in names(metrics, "model") if m not in ("votes", PERCENTILE)},
            title=f"{scenario}, {most} gold labels (true: {true:.4f})",
            xlabel="estimated prevalence",
        )
    text = (
        f"{config.n_instances} items, {config.per_instance} labels each; {config.n_repeats} crowds of each kind; "
        f"{config.inference.method}, functions {config.family}. Cover, width: of 95 % intervals; given: how often "
        f"there is one (gold has {assisted.LEAST} effective positives and negatives; percentiles are taken where there "
        "is); bias ± two standard errors.\n\n"
    )
    return Report(text + "\n".join(parts), figures)


def _values(metrics: pa.Table, scenario: str, n: int, model: str, metric: str) -> np.ndarray:
    return select(metrics, scenario=scenario, gold=n, model=model, metric=metric)


def _line(get) -> list[str]:
    def mean(metric: str, form: str) -> str:
        return f"{v.mean():{form}}" if len(v := get(metric)) else "–"

    bias, ratio = get("bias"), get("ratio")
    error = 2 * bias.std(ddof=1) / np.sqrt(len(bias)) if len(bias) > 1 else np.nan
    shown = f"{bias.mean():+.4f} ± {error:.4f}" if len(bias) else "–"
    most = f"{ratio.max():.2f}" if len(ratio) else "–"
    return [
        mean("mean", ".4f"), shown, mean("covered", ".3f"), mean("width", ".4f"), mean("given", ".2f"),
        mean("ratio", ".2f"), most,
    ]  # fmt: skip
