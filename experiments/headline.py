"""What the default command says of crowds whose truth is known: does its headline hold?

``crowdjax.context`` with no setting is given labels, scores and the population's scores of four kinds of crowds
(``simulate.prevalence_crowd``), without gold and with some of known chances. Measured are the headline's interval, how
often it holds the rate and how wide it is; whether the page says that labels alone do not decide, which it must where
labelers miss more than half of the positives (shy) and need not elsewhere; bands of the three functions; and the items'
answers, by accuracy and NLL.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from time import perf_counter

import numpy as np
import pyarrow as pa

import crowdjax
from crowdjax import metrics as judged
from crowdjax import plots
from crowdjax.contextual import ContextualConfig, functions
from crowdjax.simulate import SampledCrowd, Scenario, prevalence_crowd
from experiments.cells import Cell, Size, Tables
from experiments.rare import table
from experiments.tables import Report, markdown, rows, select
from experiments.theodon_sim import size_of_fits

BANDS = ("prevalence", "sensitivity", "specificity")


@dataclasses.dataclass(frozen=True)
class Config:
    """Crowds, and how many of their instances get gold.

    Attributes:
        scenarios: kinds of crowds.
        n_gold: how many instances get gold: one number for each kind, or several.
        n_instances: of every sample.
        per_instance: labels of every instance.
        n_table: bins that the population's scores are summed up in.
        n_repeats: crowds of each kind.
        in_cell: crowds computed at a time.
        seed: draws crowds and gold.
    """

    scenarios: tuple[Scenario, ...] = ("plain", "poor", "shy", "rare")
    n_gold: tuple[int, ...] = (0, 150)
    n_instances: int = 1000
    per_instance: int = 2
    n_table: int = 500
    n_repeats: int = 50
    in_cell: int = 5
    seed: int = 0


def data(config: Config) -> tuple[str, ...]:
    return ()


def cells(config: Config) -> list[Cell]:
    return [
        (s, n, start, min(start + config.in_cell, config.n_repeats))
        for start in range(0, config.n_repeats, config.in_cell)
        for s in config.scenarios
        for n in config.n_gold
    ]


def size(config: Config, scenario: Scenario, n_gold: int, start: int, end: int) -> Size:
    n_labelers = 5 if scenario == "rare" else 10
    return size_of_fits(config.n_instances, config.per_instance, n_labelers, ContextualConfig(), end - start)


def run_cell(config: Config, scenario: Scenario, n_gold: int, start: int, end: int) -> Tables:
    """Crowds of one kind with so much gold, from ``start`` up to ``end``."""
    found: list[dict] = []
    for r in range(start, end):
        seed = config.seed * 100_000 + r
        drawn = prevalence_crowd(scenario, seed, n_instances=config.n_instances, per_instance=config.per_instance)
        columns = {k: [v] for k, v in measured(config, drawn, n_gold, seed).items()}
        found += rows("default", columns, start=r, scenario=scenario, gold=n_gold)
    return {"metrics": pa.Table.from_pylist(found)}


def measured(config: Config, drawn: SampledCrowd, n_gold: int, seed: int) -> dict[str, float]:
    """What the command says of one crowd, and what is true."""
    c, started = drawn.crowd, perf_counter()
    scores, counts = table(c.population, config.n_table)
    ids = np.arange(len(c.score))
    gold = None
    if n_gold:
        known, chance = drawn.gold(n_gold, seed)
        gold = {"instance": known, "label": c.truth[known], "chance": chance}
    result = crowdjax.context(
        {"labeler": c.labeler, "instance": c.instance, "label": c.label},
        {"instance": ids, "score": c.score},
        weights={"instance": ids, "weight": c.weight},
        population={"score": scores, "count": counts},
        gold=gold,
    )
    seconds, found, true = perf_counter() - started, result.prevalence, drawn.rate
    estimates = {e["method"]: e for e in found["estimates"]}
    weaker = estimates.get("weaker constraint", found)
    order = result.index.instances.astype(int)
    probability = np.asarray(result.instances["probability"], float)
    out = {
        "true": true,
        "mean": found["mean"],
        "lower": found["lower"],
        "upper": found["upper"],
        "covered": float(found["lower"] <= true <= found["upper"]),
        "width": found["upper"] - found["lower"],
        "checked": float(found.get("checked", True)),
        "nuts": float(result.record["inference"] == "nuts"),
        "agree": float(found.get("constraints_agree", True)),
        "reach": float(found.get("reach", np.nan)),
        "weaker lower": weaker["lower"],
        "weaker upper": weaker["upper"],
        "accuracy": judged.accuracy(probability, c.truth[order]),
        "nll": judged.nll(probability, c.truth[order]),
        "seconds": seconds,
    }
    at = np.quantile(c.score, np.linspace(0.02, 0.98, 33))
    for name, band, real in zip(BANDS, functions(result.fit, at), drawn.functions(at), strict=True):
        out[f"{name} band"] = float(((band.lower <= real) & (real <= band.upper)).mean())
    return out


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    header = ["crowd", "gold", "true", "mean", "cover", "width", "says undecided", "not checked", "nuts"]
    header += [*(f"{name} band" for name in BANDS), "accuracy", "NLL", "seconds"]
    body, shown = [], {}
    for scenario in config.scenarios:
        for n in config.n_gold:
            get = partial(select, metrics, scenario=scenario, gold=n, model="default")
            if not len(get(metric="mean")):
                continue
            small = get(metric="true").mean() < 0.01
            form = ".5f" if small else ".4f"
            mean = lambda metric, form=".2f", get=get: f"{get(metric=metric).mean():{form}}"  # noqa: E731
            row = [scenario, n, mean("true", form), mean("mean", form), mean("covered"), mean("width", form)]
            row += [f"{1 - get(metric=m).mean():.2f}" for m in ("agree", "checked")] + [mean("nuts")]
            row += [mean(f"{name} band") for name in BANDS] + [mean("accuracy", ".4f"), mean("nll", ".4f")]
            body.append([*row, f"{np.median(get(metric='seconds')):.0f}"])
            shown[f"{scenario}, {n} gold"] = get(metric="mean") / get(metric="true")
    text = (
        f"{config.n_instances} items, {config.per_instance} labels each; {config.n_repeats} crowds of each kind; the "
        "default command. Cover, width: of the headline's 95 % interval; says undecided: how often the page says that "
        "labels alone do not decide; bands: the share of scores at which the 95 % band holds the function.\n\n"
        + markdown(header, body)
        + "\n"
    )
    figure = plots.spread(shown, title="Headline over the true rate", xlabel="estimate / truth")
    return Report(text, {"headline": figure})
