"""Simulation-based calibration of the contextual model: parameters from the prior, labels from the parameters, and the
rank of every true quantity among its posterior draws, which is uniform if inference is right.

Quantities: the three functions at five scores, the hyperparameters, and the prevalence over the items' scores. Of more
than two classes: their shares at the scores and over the items', and each labeler's accuracy and recalls.
Source: Talts, Betancourt, Simpson, Vehtari, Gelman 2018.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from crowdjax import plots
from crowdjax.contextual import PRESETS, Inference, Scale, categories, fit, prepare_data
from crowdjax.contextual.categories_fit import fit_categories
from crowdjax.contextual.config import ContextualConfig, Level
from crowdjax.contextual.functions import prepare
from crowdjax.contextual.inference import crowd_curves
from crowdjax.contextual.model import accuracy_bias, coefficients, prevalence, prior_draws, split, tables
from crowdjax.labels import Labels
from experiments.cells import Cell, Size, Tables, in_tens
from experiments.tables import Report, markdown, names, rows, select
from experiments.theodon_sim import FUNCTIONS, Preset, diagnostic, size_of_fits

SCORES = (0.1, 0.3, 0.5, 0.7, 0.9)
HYPER = ("_amplitude", "_length", "_scale")


@dataclasses.dataclass(frozen=True)
class Config:
    """The model, sizes and sampler.

    Attributes:
        model: a preset of crowdjax.contextual.
        labelers: how labelers differ.
        n_classes: more than 2: the model of so many exclusive classes, as ``crowdjax.context`` fits it; ``model`` and
            the sampler's settings but ``n_draws`` do not concern it.
        n_instances: items of every crowd.
        n_labelers: of every crowd; each judges every item.
        n_repeats: crowds.
        n_ranked: draws that the truth is ranked among, evenly spaced so that they are nearly independent.
        n_bins: of the ranks; it divides n_ranked + 1.
        inference: how to fit.
        seed: draws crowds, chains and samples.
    """

    model: Preset = "theodon"
    labelers: Level = "offset"
    n_classes: int = 2
    n_instances: int = 100
    n_labelers: int = 5
    n_repeats: int = 200
    n_ranked: int = 99
    n_bins: int = 10
    inference: Inference = Inference(n_warmup=250, n_draws=250)
    seed: int = 0

    def __post_init__(self):
        if (self.n_ranked + 1) % self.n_bins:
            raise ValueError(
                f"n_ranked: got {self.n_ranked}; allowed: one less than a multiple of n_bins = {self.n_bins}"
            )


def data(config: Config) -> tuple[str, ...]:
    return ()


def quantities(model: ContextualConfig, bases, share, draws) -> dict[str, np.ndarray]:
    """What is ranked, of every draw; ``bases``: at ``SCORES`` and then the items' scores."""
    found = dict(zip(FUNCTIONS, map(np.asarray, crowd_curves(model, *bases, draws, share)), strict=True))
    out = {f"{f} at {s}": v[:, k] for f, v in found.items() for k, s in enumerate(SCORES)}
    out["prevalence of items"] = found["prevalence"][:, len(SCORES) :].mean(1)
    for name, value in draws.items():
        if name.endswith(HYPER):
            for k, column in enumerate(np.asarray(value).reshape(len(value), -1).T):
                out[f"{name.replace('_', ' ')}{'' if value[0].size == 1 else f' {k}'}"] = column
    return out


def cells(config: Config) -> list[Cell]:
    return in_tens(config.n_repeats)


def size(config: Config, start: int, end: int) -> Size:
    return size_of_fits(config.n_instances, config.n_labelers, config.n_labelers, _model(config), end - start)


def _model(config: Config) -> ContextualConfig:
    return dataclasses.replace(PRESETS[config.model], labelers=config.labelers)


def run_cell(config: Config, start: int, end: int) -> Tables:
    """Repeats from ``start`` up to ``end``. Every labeler judges every item: the labels' pattern, and with it the
    program, is the same in all repeats."""
    ranks, how = (_of_two if config.n_classes == 2 else _of_several)(config, start, end)
    columns = {k: [row[k] for row in ranks] for k in ranks[0]}
    measured = [row for k, v in columns.items() for row in rows(config.model, {"rank": v}, start=start, quantity=k)]
    measured += rows(config.model, {k: [row[k] for row in how] for k in how[0]}, start=start, quantity=None)
    return {"metrics": pa.Table.from_pylist(measured)}


def _of_several(config: Config, start: int, end: int) -> tuple[list[dict[str, int]], list[dict[str, float]]]:
    """Ranks and diagnostics of the model of K classes, by NUTS."""
    n, w, k = config.n_instances, config.n_labelers, config.n_classes
    model = categories.CategoricalConfig((0.0,) * k, labelers=config.labelers)
    score, scale = np.linspace(0, 1, n), Scale.learn(np.linspace(0, 1, n))
    labeler, instance = np.tile(np.arange(w), n), np.repeat(np.arange(n), w)
    label = np.arange(n * w) % k  # the pattern alone counts
    data = categories.prepare_categories(model, Labels.from_arrays(labeler, instance, label, n_values=k), scale(score))
    shapes = categories.shapes_of(model, data)
    basis = prepare(model.gp, scale(np.r_[SCORES, score]))
    everyone, middle = np.arange(w), np.zeros(w, int) + SCORES.index(0.5)

    @jax.jit
    def judged(u, key):
        v, (k_truth, k_label) = categories.values(model, split(u, shapes)), jax.random.split(key)
        z = jax.random.categorical(k_truth, categories.class_logits(model, basis, v)[len(SCORES) :])
        at = categories.said(model, basis, v, labeler, len(SCORES) + instance)
        table = categories.confusion_at(model, v, at)[np.arange(n * w), z[instance]]
        return jax.random.categorical(k_label, jnp.log(table))

    @jax.jit
    def quantities_of(u):
        v = categories.values(model, split(u, shapes))
        share = jax.nn.softmax(categories.class_logits(model, basis, v))
        recall = jnp.diagonal(
            categories.confusion_at(model, v, categories.said(model, basis, v, everyone, middle)), 0, 1, 2
        )
        found = {f"share of {c} at {s}": share[m, c] for m, s in enumerate(SCORES) for c in range(k)}
        found |= {f"share of {c}": share[len(SCORES) :, c].mean() for c in range(k)}
        found |= {f"recall of {c} by labeler 0": recall[0, c] for c in range(k)}
        return found | {f"accuracy of labeler {i}": recall[i].mean() for i in range(w)}

    ranks, how = [], []
    for r in range(start, end):
        key = jax.random.fold_in(jax.random.key(config.seed), r)
        u = jax.random.normal(key, (sum(math.prod(s) for s in shapes.values()),), basis.x.dtype)
        said = np.asarray(judged(u, jax.random.fold_in(key, 1)))
        labels = Labels.from_arrays(labeler, instance, said, n_values=k)
        found = fit_categories(
            labels,
            score,
            model,
            jax.random.fold_in(key, 2),
            n_draws=config.inference.n_draws,
            method="nuts",
            scale=scale,
        )
        pick = np.linspace(0, len(found.u) - 1, config.n_ranked).round().astype(int)
        drawn, true = jax.lax.map(quantities_of, jnp.asarray(found.u[pick])), quantities_of(u)
        ranks.append({name: int((np.asarray(v) < float(true[name])).sum()) for name, v in drawn.items()})
        how.append({name: v for name, v in found.diagnostics.items() if name in ("rhat", "ess", "divergences", "khat")})
    return ranks, how


def _of_two(config: Config, start: int, end: int) -> tuple[list[dict[str, int]], list[dict[str, float]]]:
    """Ranks and diagnostics of a preset."""
    model = _model(config)
    n, w = config.n_instances, config.n_labelers
    score = np.linspace(0, 1, n)
    labeler, instance = np.tile(np.arange(w), n), np.repeat(np.arange(n), w)
    scale = Scale.learn(score)
    pattern = prepare_data(model, Labels.from_arrays(labeler, instance, np.ones(n * w)), scale(score))
    truth = prior_draws(model, w, pattern.basis, pattern.labeler_basis, jax.random.key(config.seed), config.n_repeats)
    share = jnp.ones(w)

    @jax.jit
    def judged(draw, key):
        k_truth, k_label = jax.random.split(key)
        z = jax.random.bernoulli(k_truth, prevalence(model, pattern.basis, draw)[:n])
        c = coefficients(model, pattern.basis, pattern.labeler_basis, draw)
        table = tables(model, pattern.basis, c)
        s, gamma = accuracy_bias(model, pattern.basis, pattern.labeler_basis, c, table, labeler, instance)
        return jax.random.bernoulli(k_label, jax.nn.sigmoid(jnp.where(z[instance], s, -s) + gamma))

    ranks, how = [], []
    for r in range(start, end):
        draw = jax.tree.map(lambda v, r=r: v[r], truth)
        key = jax.random.fold_in(jax.random.key(config.seed), r)
        labels = Labels.from_arrays(labeler, instance, np.asarray(judged(draw, key)))
        found = fit(labels, score, model, jax.random.fold_in(key, 1), config.inference, scale=scale)
        at = found.bases(np.r_[SCORES, score])
        pick = np.linspace(0, found.n_draws - 1, config.n_ranked).round().astype(int)
        drawn = quantities(model, at, share, {k: v[pick] for k, v in found.draws.items()})
        true = quantities(model, at, share, jax.tree.map(lambda v: v[None], draw))
        ranks.append({k: int((v < true[k][0]).sum()) for k, v in drawn.items()})
        how.append({k: v for k, v in found.diagnostics.items() if not k.startswith("informed")})
    return ranks, how


def uniform(ranks: np.ndarray, n_ranked: int, n_bins: int) -> float:
    """The chance of ranks 0 to n_ranked at least as uneven over the bins, by a chi-square test."""
    from scipy.stats import chisquare

    counts = np.bincount((ranks * n_bins // (n_ranked + 1)).astype(int), minlength=n_bins)
    return float(chisquare(counts).pvalue)


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    found = {q: select(metrics, quantity=q, metric="rank") for q in names(metrics, "quantity")}
    p = {q: uniform(v, config.n_ranked, config.n_bins) for q, v in found.items()}
    least = min(p, key=p.get)
    body = [[q, float(v.mean() / config.n_ranked), p[q]] for q, v in found.items()]
    how = [float(diagnostic(metrics, config.model, k)) for k in ("rhat", "ess", "divergences", "leapfrog_steps")]
    text = (
        f"{config.model if config.n_classes == 2 else f'{config.n_classes} classes'}, {config.n_instances} items "
        f"judged by all of {config.n_labelers} labelers, "
        f"{config.n_repeats} repeats, {config.inference.method}; ranks among {config.n_ranked} draws. Of {len(p)} "
        f"quantities the least even is {least!r} with p = {p[least]:.4f}; with {len(p)} independent tests one expects "
        f"about {1 / len(p):.4f}. In the figure grey bands hold 99 % of the counts of uniform ranks.\n\n"
        + markdown(["quantity", "mean rank (½ if uniform)", "p of the chi-square test"], body)
        + "\n\n"
        + markdown(["R-hat (median)", "ESS (median)", "divergences", "leapfrog steps"], [how])
        + "\n"
    )
    scaled = {q: (v + 0.5) / (config.n_ranked + 1) for q, v in found.items()}
    return Report(text, {"sbc": plots.ranks(scaled, n_bins=config.n_bins)})
