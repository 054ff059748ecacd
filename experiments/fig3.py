"""The paper's Figure 3 (section 4): how well the chances of being right are estimated, by the number of labelers.

Crowds are drawn from the model itself. *Proposed* knows the features and the generator's priors; GLAD knows neither.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa

from crowdjax import plots, simulate
from crowdjax.factor import Solver, correctness
from crowdjax.metrics import correlation, mean_absolute_error
from experiments.cells import Cell, Size, Tables
from experiments.config import Model, preset
from experiments.fitting import Draws, fit_all, size_of
from experiments.tables import Report, markdown, names, rows, select

PANELS = {"correlation": "Correlation with the true chances", "mae": "Mean absolute error"}


@dataclasses.dataclass(frozen=True)
class Config:
    """Sizes of crowds, repeats, and the models by name.

    Attributes:
        n_labelers: sizes of crowds.
        n_instances: of every crowd.
        n_repeats: crowds of each size.
        density: the chance that a labeler judges an instance.
        models: the models by name.
        seed: draws the crowds and starts.
        solver: how to fit.
    """

    n_labelers: tuple[int, ...] = tuple(range(4, 41, 4))
    n_instances: int = 40
    n_repeats: int = 100
    density: float = 0.4
    models: dict[str, Model] = dataclasses.field(
        default_factory=lambda: {
            "proposed": preset(
                "glad-linear",
                "labeler",
                "instance",
                labeler=(1.0, 0.5),
                instance=(1.0, 0.5),
                features=0.5,
                deviation=0.0,
            ),
            "GLAD": preset("glad"),
        }
    )
    seed: int = 0
    solver: Solver = Solver()


def data(config: Config) -> tuple[str, ...]:
    return ()


def cells(config: Config) -> list[Cell]:
    return [()]


def size(config: Config) -> Size:
    n, m, r = max(config.n_labelers), config.n_instances, len(config.n_labelers) * config.n_repeats
    blank = Draws(*(np.ones((r, *shape)) for shape in ((n * m,), (n * m,), (n, 1), (m, 1))))
    return size_of(simulate.grid(n, m), blank, config.models, config.solver)


def run_cell(config: Config) -> Tables:
    largest, sizes = max(config.n_labelers), np.tile(config.n_labelers, config.n_repeats)
    cells = simulate.grid(largest, config.n_instances)
    # Small crowds are large ones in which only the first labelers label: one program for all sizes.
    crowds = _crowds(config.seed, jnp.array(sizes), largest, config.n_instances, config.density)
    draws = Draws(crowds.weight, crowds.label, crowds.labeler_features, crowds.instance_features)
    fitted = fit_all(cells, draws, config.models, config.solver, config.seed, "fig3")
    chances = jax.jit(jax.vmap(lambda f: jnp.stack(correctness(f))))  # [R, 2, W, I]
    true = np.asarray(chances(crowds.factors))
    truth = np.asarray(crowds.truth)
    out = []
    for name, found in fitted.items():
        estimate = np.asarray(chances(found.factors))
        for m in config.n_labelers:
            of_size = np.flatnonzero(sizes == m)
            pairs = [(estimate[r][:, :m], true[r][:, :m]) for r in of_size]
            agree = [np.mean((found.posterior[r] > 0.5) == (truth[r] > 0)) for r in of_size]
            values = {
                "correlation": [correlation(*p) for p in pairs],
                "mae": [mean_absolute_error(*p) for p in pairs],
                "accuracy": agree,
                "adversarial": [float(p[1].mean() < 0.5) for p in pairs],
            }
            out += rows(name, values, n_labelers=m)
    return {"metrics": pa.Table.from_pylist(out)}


@partial(jax.jit, static_argnums=(2, 3, 4))
def _crowds(seed, sizes, n_labelers, n_instances, density):
    def one(r, size):
        key = jax.random.fold_in(jax.random.key(seed), r)
        return simulate.section4(key, n_labelers, n_instances, density=density, active=size)

    return jax.vmap(one)(jnp.arange(sizes.shape[0]), sizes)


def report(config: Config, tables) -> Report:
    metrics = tables["metrics"]
    models, sizes = names(metrics, "model"), names(metrics, "n_labelers")
    get = lambda name, metric, m: select(metrics, model=name, metric=metric, n_labelers=m)  # noqa: E731
    parts = []
    for metric, title in PANELS.items():
        body = []
        for m in sizes:
            line = [m]
            for name in models:
                v, good = get(name, metric, m), get(name, "adversarial", m) == 0
                line += [np.nanmean(v), np.nanmedian(v), np.nanmean(v[good])]
            body.append(line)
        header = ["labelers", *(f"{n}: {s}" for n in models for s in ("mean", "median", "mean w/o adversarial"))]
        parts.append(f"**{title}**\n\n{markdown(header, body)}")
    adversarial = np.concatenate([get(models[0], "adversarial", m) for m in sizes])
    text = (
        f"Chances of being right P0, P1 of all labelers on all {config.n_instances} instances, estimated and true; "
        f"{config.n_repeats} repeats; each cell is labelled with probability {config.density}. In "
        f"{adversarial.mean():.1%} of them the crowd is adversarial (right less than half the time on "
        "average): nothing can tell that from labels.\n\n" + "\n\n".join(parts) + "\n"
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
