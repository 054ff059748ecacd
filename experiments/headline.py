"""What the default command says of crowds whose truth is known: does its headline hold?

``crowdjax.context`` with no setting is given labels, scores and the population's scores of several kinds of crowds
(``simulate.prevalence_crowd``: labelers differ), without gold and with some of known chances. Measured are

- the headline's interval: how often it holds the rate, how wide it is; whether the page says that labels alone do not
  decide, which it must where labelers miss more than half of the positives (shy) and need not elsewhere
- bands of the three functions, of the crowd and of each labeler; the order of labelers
- the items' answers by accuracy, NLL and AUC-PR, beside votes and Dawid and Skene
- the score as a probability beside other maps (``experiments.maps``), learned from votes or from the same gold: the
  distance from the true prevalence over the population, and the expected calibration error
"""

from __future__ import annotations

import dataclasses
from functools import partial
from time import perf_counter

import numpy as np
import pandas as pd
import pyarrow as pa

import crowdjax
from crowdjax import metrics as judged
from crowdjax import plots
from crowdjax.contextual import ContextualConfig, calibrate, functions, labeler_functions
from crowdjax.contextual.config import Level
from crowdjax.contextual.inference import Method
from crowdjax.labels import InputError, one_line
from crowdjax.simulate import SampledCrowd, Scenario, ScoreLog, from_log, prevalence_crowd, scenario_functions
from experiments import maps
from experiments.cells import Cell, Size, Tables
from experiments.rare import table
from experiments.tables import Report, markdown, names, rows, select
from experiments.theodon_sim import size_of_fits

BANDS = ("prevalence", "sensitivity", "specificity")
OURS, RAW = "crowdjax", "raw score"
N_NEW = 50_000  # instances of the population that maps are judged on


@dataclasses.dataclass(frozen=True)
class Config:
    """Crowds, and how many of their instances get gold.

    Attributes:
        scenarios: kinds of crowds.
        log: a table of your own (CSV or Parquet) with the columns score, truth (empty where unknown) and, if you like,
            weight: crowds then have its scores and prevalence (``simulate.from_log``), and ``scenarios`` are shapes of
            the labelers' accuracies: linear, concave, convex.
        n_gold: how many instances get gold: one number for each kind, or several.
        n_instances: of every sample.
        per_instance: labels of every instance: one number for each kind, or several.
        slope: how much labelers' own curves differ (``simulate.prevalence_crowd``).
        labelers: how the model lets labelers differ; ``offset`` is the default command's.
        inference: in place of the default command's.
        n_table: bins that the population's scores are summed up in.
        n_repeats: crowds of each kind.
        in_cell: crowds computed at a time.
        seed: draws crowds and gold.
    """

    scenarios: tuple[Scenario, ...] = ("plain", "poor", "shy", "rare")
    log: str = ""
    n_gold: tuple[int, ...] = (0, 150)
    n_instances: int = 1000
    per_instance: tuple[int, ...] = (2,)
    slope: float = 0.0
    labelers: Level = "offset"
    inference: Method | None = None
    n_table: int = 500
    n_repeats: int = 50
    in_cell: int = 5
    seed: int = 0


def data(config: Config) -> tuple[str, ...]:
    return ()


def cells(config: Config) -> list[Cell]:
    return [
        (s, per, n, start, min(start + config.in_cell, config.n_repeats))
        for start in range(0, config.n_repeats, config.in_cell)
        for s in config.scenarios
        for per in config.per_instance
        for n in config.n_gold
    ]


def size(config: Config, scenario: Scenario, per: int, n_gold: int, start: int, end: int) -> Size:
    n_labelers = 5 if scenario == "rare" else 10
    return size_of_fits(config.n_instances, per, n_labelers, ContextualConfig(labelers=config.labelers), end - start)


def run_cell(config: Config, scenario: Scenario, per: int, n_gold: int, start: int, end: int) -> Tables:
    """Crowds of one kind with so many labels of an instance and so much gold, from ``start`` up to ``end``."""
    found: list[dict] = []
    for r in range(start, end):
        seed = config.seed * 100_000 + r
        kind = of_log(config.log, scenario) if config.log else scenario
        drawn = prevalence_crowd(kind, seed, n_instances=config.n_instances, per_instance=per, slope=config.slope)
        for model, values in measured(config, drawn, n_gold, seed).items():
            columns = {k: [v] for k, v in values.items()}
            found += rows(model, columns, start=r, scenario=scenario, per_instance=per, gold=n_gold)
    return {"metrics": pa.Table.from_pylist(found)}


def of_log(path: str, shape: Scenario) -> ScoreLog:
    """What a table of scores and truths says, with accuracies of this shape."""
    try:
        found = pd.read_parquet(path) if path.endswith(".parquet") else pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"log: {one_line(error)}") from None
    if missing := {"score", "truth"} - set(found.columns):
        raise InputError(f"log: {path} has no column {missing.pop()}; allowed: score, truth, weight")
    return from_log(found["score"], found["truth"], found.get("weight"), shape=shape)


def measured(config: Config, drawn: SampledCrowd, n_gold: int, seed: int) -> dict[str, dict[str, float]]:
    """What the command says of one crowd, and what is true; what other methods say of instances and of the score."""
    c, started = drawn.crowd, perf_counter()
    scores, counts = table(c.population, config.n_table)
    ids = np.arange(len(c.score))
    gold, known, chance = None, ids[:0], None
    if n_gold:
        known, chance = drawn.gold(n_gold, seed)
        gold = {"instance": known, "label": c.truth[known], "chance": chance}
    judgements = {"labeler": c.labeler, "instance": c.instance, "label": c.label}
    result = crowdjax.context(
        judgements,
        {"instance": ids, "score": c.score},
        weights={"instance": ids, "weight": c.weight},
        population={"score": scores, "count": counts},
        gold=gold,
        labelers=config.labelers,
        inference=config.inference,
    )
    seconds, found, true = perf_counter() - started, result.prevalence, drawn.rate
    estimates = {e["method"]: e for e in found["estimates"]}
    weaker = estimates.get("weaker constraint", found)
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
        "seconds": seconds,
    }
    at = np.quantile(c.score, np.linspace(0.02, 0.98, 33))
    for name, band, real in zip(BANDS, functions(result.fit, at), drawn.functions(at), strict=True):
        out[f"{name} band"] = held(band, real)
    who = result.index.labelers.astype(int)
    real = drawn.accuracies(at)[who]
    each = labeler_functions(result.fit, at, np.arange(len(who)))
    for k, name in enumerate(BANDS[1:]):
        band = getattr(each, name)
        out[f"own {name} band"] = held(band, real[:, k])
        out[f"own {name} order"] = agreement(band.mean, real[:, k])
    others = {"dawid-skene": "dawid-skene", "votes": "majority"}
    said = calibrations(drawn, result, known, chance, seed)
    return {
        OURS: out | answers(result, c.truth, known) | said.pop(OURS),
        **{name: answers(crowdjax.fit(judgements, model), c.truth, known) for name, model in others.items()},
        **said,
    }


def answers(result, truth, known) -> dict[str, float]:
    """Of the instances without gold: accuracy, NLL and average precision."""
    order = np.asarray(result.index.instances).astype(int)
    kept = ~np.isin(order, known)
    p, real = np.asarray(result.instances["probability"], float)[kept], truth[order][kept]
    return {"accuracy": judged.accuracy(p, real), "nll": judged.nll(p, real), "auc_pr": judged.auc_pr(p, real)}


def calibrations(drawn: SampledCrowd, result, known, chance, seed: int) -> dict[str, dict[str, float]]:
    """The score as a probability by each map: its distance from the true prevalence, and its calibration error.

    Over instances drawn from the population; maps by votes or gold are weighted by the design.
    """
    c, rng = drawn.crowd, np.random.default_rng([seed, 5])
    new = rng.choice(c.population, N_NEW)
    true = scenario_functions(new, drawn.scenario)[0]
    truth = rng.random(N_NEW) < true
    knots = np.unique(np.quantile(new, np.linspace(0, 1, 400)))  # maps are smooth: between knots linear
    said = {OURS: np.interp(new, knots, calibrate(result.fit, knots).mean), RAW: new}
    said |= {f"{name} on votes": p for name, p in maps.learned(c.score, maps.votes(c), new, c.weight).items()}
    if len(known):
        by_gold = maps.learned(c.score[known], c.truth[known], new, c.weight[known] / chance)
        said |= {f"{name} on gold": p for name, p in by_gold.items()}
    return {
        name: {"ece": judged.ece(p, truth), "distance": float(np.sqrt(((p - true) ** 2).mean()))}
        for name, p in said.items()
    }


def held(band, real) -> float:
    """The share of scores at which a band holds a function."""
    return float(((band.lower <= real) & (real <= band.upper)).mean())


def agreement(found, real) -> float:
    """Rank correlation of labelers, the mean over scores (columns)."""
    from scipy.stats import spearmanr

    return float(np.mean([spearmanr(found[:, k], real[:, k]).statistic for k in range(found.shape[1])]))


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    own = [f"own {name} {what}" for name in BANDS[1:] for what in ("band", "order")]
    header = ["crowd", "labels", "gold", "true", "mean", "cover", "width", "says undecided", "not checked", "nuts"]
    header += [f"{name} band" for name in BANDS] + own + ["seconds"]
    body, items, calibrated, shown = [], [], [], {}
    kinds = [(s, per, n) for s in config.scenarios for per in config.per_instance for n in config.n_gold]
    for scenario, per, n in kinds:
        where = {"scenario": scenario, "per_instance": per, "gold": n}
        get = partial(select, metrics, **where, model=OURS)
        if not len(get(metric="mean")):
            continue
        form = ".5f" if get(metric="true").mean() < 0.01 else ".4f"
        mean = lambda metric, form=".2f", get=get: f"{get(metric=metric).mean():{form}}"  # noqa: E731
        row = [scenario, per, n, mean("true", form), mean("mean", form), mean("covered"), mean("width", form)]
        row += [f"{1 - get(metric=m).mean():.2f}" for m in ("agree", "checked")] + [mean("nuts")]
        row += [mean(f"{name} band") for name in BANDS] + [mean(metric) for metric in own]
        body.append([*row, f"{np.median(get(metric='seconds')):.0f}"])
        shown[f"{scenario}, {per} labels, {n} gold"] = get(metric="mean") / get(metric="true")
        of = partial(select, metrics, **where)
        for model in names(metrics, "model"):
            if len(of(model=model, metric="nll")):
                found = [f"{of(model=model, metric=m).mean():.4f}" for m in ("accuracy", "nll")]
                gain = of(model=OURS, metric="auc_pr") - of(model=model, metric="auc_pr")
                items.append(
                    [scenario, per, n, model, *found, f"{of(model=model, metric='auc_pr').mean():.3f}", _error(gain)]
                )
            if len(of(model=model, metric="ece")):
                found = [f"{of(model=model, metric=m).mean():.4f}" for m in ("ece", "distance")]
                gain = of(model=model, metric="ece") - of(model=OURS, metric="ece")
                calibrated.append([scenario, per, n, model, *found, _error(gain)])
    text = (
        f"{config.n_instances} items; {config.n_repeats} crowds of each kind; the default command"
        f"{'' if config.labelers == 'offset' else f', labelers {config.labelers}'}"
        f"{'' if config.inference is None else f', inference {config.inference}'}; labelers' own slopes "
        f"{config.slope:g}. Cover, width: of the headline's 95 % interval; says undecided: how often the page says "
        "that labels alone do not decide; bands: the share of scores at which the 95 % band holds the function, own: "
        "each labeler's; order: rank correlation of labelers over scores.\n\n"
        + markdown(header, body)
        + f"\n\n**Items** (without gold; {OURS} better by: paired, ± two standard errors)\n\n"
        + markdown(["crowd", "labels", "gold", "method", "accuracy", "NLL", "AUC-PR", f"{OURS} better by"], items)
        + f"\n\n**The score as a probability** (over the population; {OURS}'s ECE less by: paired, ± two standard "
        "errors)\n\n"
        + markdown(["crowd", "labels", "gold", "map", "ECE", "distance", f"{OURS} less by"], calibrated)
        + "\n"
    )
    figure = plots.spread(shown, title="Headline over the true rate", xlabel="estimate / truth")
    return Report(text, {"headline": figure})


def _error(values: np.ndarray) -> str:
    if not values.any():  # the subject itself
        return "–"
    error = 2 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return f"{values.mean():+.4f} ± {error:.4f}"
