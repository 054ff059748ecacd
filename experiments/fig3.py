"""Estimate the chances of being right by the number of labelers, and tell apart what features and what priors give.

Section 4 and Figure 3 of Ruvolo, Whitehill, Movellan (2013). Crowds are drawn from the factor model itself,
so this is recovery. Models differ in what they are told:

    features and priors      the features, and the generator's priors of their weights: the model as proposed
    priors alone             no features, but the generator's marginal priors: α_i, β_j ~ N(1, .25 + 4·.25·.25)
    GLAD                     neither; its own priors, instance factors positive (Whitehill et al. (2009))
    integrated               neither; β_j integrated out, the labelers' population learned, with a bias for each labeler
    integrated, features     the same with the features

The gain of the first over GLAD is what features and priors give together; that of the second is the priors' part.
"""

from __future__ import annotations

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from crowdjax import plots, simulate
from crowdjax.factor import Solver, correctness
from crowdjax.integrated import IntegratedConfig
from crowdjax.metrics import correlation, mean_absolute_error
from experiments.cells import Cell, Size, Tables
from experiments.config import Model, preset
from experiments.fitting import Draws, fit_all, size_of
from experiments.integrating import fit_integrated
from experiments.tables import Report, markdown, names, rows, scored, select

PANELS = {"correlation": "Correlation with the true chances", "mae": "Mean absolute error"}
ANSWERS = {"accuracy": "Accuracy", "auc_roc": "A0, the area under the ROC curve", "nll": "NLL"}
PROPOSED, PRIORS, GLAD = "features and priors", "priors alone", "GLAD"
MARGINAL = math.sqrt(0.5)  # of a factor whose features are not known: w_0 and 4 products of two N(0, ½²)
INTEGRATED = {"integrated": False, "integrated, features": True}  # whether it is given the features


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of crowds, repeats, and the models by name.

    Attributes:
        n_labelers: sizes of crowds.
        n_instances: of every crowd.
        n_repeats: crowds of each size.
        density: the chance that a labeler judges an instance.
        models: the factor models by name; the first is compared with the others.
        integrated: whether the integrated model, without and with features, is fitted too.
        seed: draws the crowds and starts.
        solver: how to fit.
    """

    n_labelers: tuple[int, ...] = tuple(range(4, 41, 4))
    n_instances: int = 40
    n_repeats: int = 100
    density: float = 0.4
    models: dict[str, Model] = dataclasses.field(
        default_factory=lambda: {
            PROPOSED: preset(
                "glad-linear",
                "labeler",
                "instance",
                labeler=(1.0, 0.5),
                instance=(1.0, 0.5),
                features=0.5,
                deviation=0.0,
            ),
            PRIORS: preset("glad-linear", labeler=(1.0, MARGINAL), instance=(1.0, MARGINAL)),
            GLAD: preset("glad"),
        }
    )
    integrated: bool = True
    seed: int = 0
    solver: Solver = Solver()


def data(config: Config) -> tuple[str, ...]:
    return ()


def cells(config: Config) -> list[Cell]:
    return [()]


def size(config: Config) -> Size:
    n, m, r = max(config.n_labelers), config.n_instances, len(config.n_labelers) * config.n_repeats
    blank = Draws(*(np.ones((r, *shape)) for shape in ((n * m,), (n * m,), (n, 1), (m, 1))))
    found = size_of(simulate.grid(n, m), blank, config.models, config.solver)
    return found._replace(fits=found.fits + r * len(INTEGRATED) * config.integrated)


def run_cell(config: Config) -> Tables:
    largest, sizes = max(config.n_labelers), np.tile(config.n_labelers, config.n_repeats)
    cells = simulate.grid(largest, config.n_instances)
    # Small crowds are large ones in which only the first labelers label: one program for all sizes.
    crowds = _crowds(config.seed, jnp.array(sizes), config.n_repeats, largest, config.n_instances, config.density)
    draws = Draws(crowds.weight, crowds.label, crowds.labeler_features, crowds.instance_features)
    chances = jax.jit(jax.vmap(lambda f: jnp.stack(correctness(f))))  # [R, 2, W, I]
    fitted = fit_all(cells, draws, config.models, config.solver, config.seed, "fig3")
    found = {name: (fit.posterior, chances(fit.factors)) for name, fit in fitted.items()}
    for name, features in INTEGRATED.items() if config.integrated else ():
        told = draws if features else Draws(draws.weight, draws.label)
        fit = fit_integrated(cells, told, IntegratedConfig(), f"fig3, {name}")
        found[name] = fit.posterior, fit.correctness
    true, truth = np.asarray(chances(crowds.factors)), np.asarray(crowds.truth)
    out = []
    for name, (posterior, estimate) in found.items():
        posterior, estimate = np.asarray(posterior), np.asarray(estimate)
        for m in config.n_labelers:
            of_size = np.flatnonzero(sizes == m)
            pairs = [(estimate[r][:, :m], true[r][:, :m]) for r in of_size]
            values = {
                "correlation": [correlation(*p) for p in pairs],
                "mae": [mean_absolute_error(*p) for p in pairs],
                "adversarial": [float(p[1].mean() < 0.5) for p in pairs],
            }
            out += rows(name, values, n_labelers=m) + scored(name, posterior[of_size], truth[of_size], n_labelers=m)
    return {"metrics": pa.Table.from_pylist(out)}


@partial(jax.jit, static_argnums=(2, 3, 4, 5))
def _crowds(seed, sizes, n_repeats, n_labelers, n_instances, density):
    """A crowd for every size, repeat after repeat: what is drawn depends on its repeat and its size alone."""
    repeats = jnp.repeat(jnp.arange(n_repeats), len(sizes) // n_repeats)

    def one(repeat, size):
        key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), size), repeat)
        return simulate.section4(key, n_labelers, n_instances, density=density, active=size)

    return jax.vmap(one)(repeats, sizes)


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    models, sizes = names(metrics, "model"), names(metrics, "n_labelers")
    get = lambda name, metric, m: select(metrics, model=name, metric=metric, n_labelers=m)  # noqa: E731
    friendly = {m: get(models[0], "adversarial", m) == 0 for m in sizes}
    mean = lambda name, metric, m: float(np.nanmean(get(name, metric, m)))  # noqa: E731
    parts = []
    for metric, title in PANELS.items():
        body = [[m, *(f(get(n, metric, m)) for n in models for f in (np.nanmean, np.nanmedian))] for m in sizes]
        header = ["labelers", *(f"{n}: {s}" for n in models for s in ("mean", "median"))]
        parts.append(f"**{title}**\n\n{markdown(header, body)}")
        body = [[m, *(float(np.nanmean(get(n, metric, m)[friendly[m]])) for n in models)] for m in sizes]
        parts.append(f"The same without adversarial crowds, mean.\n\n{markdown(['labelers', *models], body)}")
    if {PROPOSED, PRIORS, GLAD} <= set(models):
        parts.append(_told_apart(mean, sizes))
    for metric, title in ANSWERS.items():
        body = [[m, *(mean(n, metric, m) for n in models)] for m in sizes]
        parts.append(f"**{title}** of the instances' classes, mean\n\n{markdown(['labelers', *models], body)}")
    share = np.mean([~friendly[m] for m in sizes])
    text = (
        f"Chances of being right P0, P1 of all labelers on all {config.n_instances} instances, estimated and true "
        "(Ruvolo, Whitehill, Movellan (2013), section 4); crowds are drawn from the factor model, with features. "
        f"{config.n_repeats} repeats; each cell is labelled with probability {config.density}. In {share:.1%} of them "
        "the crowd is adversarial (right less than half the time on average): nothing can tell that from labels. "
        "*Features and priors* knows the features and the generator's priors of their weights, *priors alone* the "
        "marginal priors of the factors, GLAD and *integrated* neither.\n\n" + "\n\n".join(parts) + "\n"
    )
    panels = {
        title: {
            n: (
                np.array([np.nanmean(get(n, metric, m)) for m in sizes]),
                np.array([np.nanstd(get(n, metric, m)) / np.sqrt(config.n_repeats) for m in sizes]),
            )
            for n in models
        }
        for metric, title in PANELS.items()
    }
    xlabel = f"labelers (each labels {config.density:.0%} of {config.n_instances} instances)"
    return Report(text, {"fig3": plots.curves(np.array(sizes), panels, xlabel=xlabel)})


def _told_apart(mean, sizes) -> str:
    """How much of the gain over GLAD the priors give, and how much the features add to it."""
    body = []
    for m in sizes:
        line = [m]
        for metric in PANELS:
            first, second, third = (mean(name, metric, m) for name in (GLAD, PRIORS, PROPOSED))
            line += [third - first, second - first, third - second, f"{(second - first) / (third - first):.0%}"]
        body.append(line)
    parts = ("gain over GLAD", "by priors", "by features", "priors' part")
    header = ["labelers", *(f"{name}: {part}" for name in ("correlation", "error") for part in parts)]
    return "**What priors give and what features give**, differences of means\n\n" + markdown(header, body)
