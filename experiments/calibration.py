"""A classifier's scores as probabilities, learned from the crowd alone: the contextual model's calibration map against
the raw score, and against Platt's and isotonic calibration on majority votes.

Crowds as in ``theodon_sim``. Every map is judged on new items, by their truths, and against the true prevalence.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float

from crowdjax import plots
from crowdjax.contextual import Inference, calibrate
from crowdjax.contextual.model import Constraint, Level
from crowdjax.metrics import brier, ece
from crowdjax.simulate import ScoredCrowd, theodon_functions
from experiments.cells import Cell, Size, Tables, in_tens
from experiments.tables import Report, markdown, names, rows, select
from experiments.theodon_sim import Preset, Shape, crowds, first, fit_timed, interval, preset_of, size_of_fits


@dataclasses.dataclass(frozen=True)
class Config:
    """Shapes of the accuracies, sizes, and how the contextual model is fitted.

    Attributes:
        shapes: of the accuracies over the score.
        n_instances: items of every crowd.
        per_instance: labels of every item.
        n_labelers: of every crowd.
        n_repeats: crowds of each shape.
        n_new: new items to judge on.
        model: a preset of crowdjax.contextual.
        labelers: how labelers differ.
        constraint: ordered (sensitivity + specificity > 1), both (each above one half) or free.
        inference: how to fit.
        seed: draws crowds, chains and samples.
    """

    shapes: tuple[Shape, ...] = ("linear", "concave", "convex")
    n_instances: int = 1000
    per_instance: int = 3
    n_labelers: int = 10
    n_repeats: int = 20
    n_new: int = 50_000
    model: Preset = "theodon"
    labelers: Level = "offset"
    constraint: Constraint = "ordered"
    inference: Inference = Inference("laplace")
    seed: int = 0


def data(config: Config) -> tuple[str, ...]:
    return ()


def votes(crowd: ScoredCrowd) -> Float[np.ndarray, " I"]:
    """1, 0, or ½ where the votes are even."""
    total = np.bincount(crowd.instance, weights=2 * crowd.label - 1, minlength=len(crowd.score))
    return (np.sign(total) + 1) / 2


def on_votes(score, vote, new) -> dict[str, Float[np.ndarray, " n"]]:
    """Platt's and isotonic calibration of scores, learned from majority votes, at new scores."""
    from scipy.optimize import isotonic_regression, minimize
    from scipy.special import expit

    def loss(w):
        logit = w[0] + w[1] * score
        return np.logaddexp(0, logit).sum() - vote @ logit, np.array([(p := expit(logit) - vote).sum(), score @ p])

    line = minimize(loss, np.zeros(2), jac=True, method="BFGS").x
    value, position, count = np.unique(score, return_inverse=True, return_counts=True)
    steps = isotonic_regression(np.bincount(position, vote) / count, weights=count).x
    return {"Platt on votes": expit(line[0] + line[1] * new), "isotonic on votes": np.interp(new, value, steps)}


def cells(config: Config) -> list[Cell]:
    return [(shape, *part) for shape in config.shapes for part in in_tens(config.n_repeats)]


def size(config: Config, shape: Shape, start: int, end: int) -> Size:
    sizes = config.n_instances, config.per_instance, config.n_labelers
    return size_of_fits(*sizes, preset_of(config.model, config), end - start)


def run_cell(config: Config, shape: Shape, start: int, end: int) -> Tables:
    """Repeats from ``start`` up to ``end`` of one shape."""
    values: dict[str, list] = {}
    reliability = []
    drawn = crowds(
        config.seed, config.n_repeats, config.n_instances, config.per_instance, config.n_labelers, shape=shape
    )
    for r, crowd in enumerate(drawn[start:end], start):
        rng = np.random.default_rng([config.seed, r])
        new = rng.beta(0.8, 2.0, config.n_new)
        true = np.asarray(theodon_functions(new, shape)[0])
        truth = rng.random(config.n_new) < true
        found, _ = fit_timed(
            first(crowd, config.n_labelers, config.per_instance),
            crowd.score,
            config.model,
            config,
            jax.random.key(r),
        )
        knots = np.quantile(new, np.linspace(0, 1, 400))  # the map is smooth: between knots linear
        maps = {
            "raw score": new,
            **on_votes(crowd.score, votes(crowd), new),
            config.model: np.interp(new, knots, calibrate(found, knots).mean),
        }
        for name, p in maps.items():
            error = float(np.sqrt(((p - true) ** 2).mean()))
            values.setdefault(name, []).append({"ece": ece(p, truth), "brier": brier(p, truth), "rmse": error})
            if r == 0:
                some = slice(0, 5000)
                reliability += [
                    {"shape": shape, "model": name, "probability": float(a), "truth": float(b)}
                    for a, b in zip(p[some], truth[some], strict=True)
                ]
    columns = {name: {k: [v[k] for v in found] for k in found[0]} for name, found in values.items()}
    measured = [row for name, found in columns.items() for row in rows(name, found, start=start, shape=shape)]
    return {"metrics": pa.Table.from_pylist(measured), "reliability": pa.Table.from_pylist(reliability, RELIABILITY)}


RELIABILITY = pa.schema(
    [("shape", pa.string()), ("model", pa.string()), ("probability", pa.float64()), ("truth", pa.float64())]
)


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    body = []
    for shape in names(metrics, "shape"):
        for model in names(metrics, "model"):
            get = lambda metric, shape=shape, model=model: select(metrics, shape=shape, model=model, metric=metric)  # noqa: E731
            raw = select(metrics, shape=shape, model="raw score", metric="ece")
            ratio = get("ece").mean() / raw.mean()
            body.append([shape, model, *(interval(get(k)) for k in ("ece", "brier", "rmse")), float(ratio)])
    figures = {}
    for shape in names(metrics, "shape"):
        forecasts = {m: points(tables["reliability"], shape, m) for m in ("raw score", config.model)}
        figures[f"calibration_{shape}"] = plots.reliability(forecasts, ylabel="share of positives")
    header = [
        "accuracies",
        "calibration",
        "ECE",
        "Brier",
        "distance from the true prevalence",
        "ECE over the raw score's",
    ]
    text = (
        f"{config.n_instances} items, {config.per_instance} labels each, {config.n_repeats} repeats, judged on "
        f"{config.n_new} new items; inference {config.inference.method}. Means ± two standard errors.\n\n"
        + markdown(header, body)
        + "\n"
    )
    return Report(text, figures)


def points(table: pa.Table, shape: str, model: str) -> tuple[np.ndarray, np.ndarray]:
    """(probability, truth) of some new items."""
    chosen = table.filter(pc.and_(pc.equal(table["shape"], shape), pc.equal(table["model"], model)))
    return chosen["probability"].to_numpy(), chosen["truth"].to_numpy()
