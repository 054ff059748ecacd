"""Recover factors over a detector's output from labels that are drawn from three of them (``simulate.smiles``).

The layout is that of Ruvolo, Whitehill, Movellan (2013), section 5: instance factors are linear in radial basis
functions of the detector's output and a constant, labelers are free. The generator is one of the models, so this shows
that the fit finds what is there, not that smiles are like that: for labels from none of the models see
``experiments.detector``. Every draw is a new crowd of which a fifth of the labels is dropped, the same for every model.
"""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pyarrow as pa

from crowdjax import plots, simulate
from crowdjax.factor import Solver, rbf_basis
from experiments.cells import Cell, Size, Tables
from experiments.config import Model, preset
from experiments.fitting import Draws, drop, fit_all, size_of
from experiments.table1 import comparison
from experiments.tables import Report, names, scored, select

FACTOR = {"deviation": 0.0, "features": 1.0}


@dataclasses.dataclass(frozen=True)
class Config:
    """Draws, the basis, the models, and which of them has its factor drawn.

    Attributes:
        n_labelers, n_instances: of every crowd.
        n_draws: crowds.
        dropped: the share of its labels that each goes without.
        n_basis: radial basis functions of the detector's output.
        models: the models by name.
        baseline: the model that others are compared with.
        drawn: the model whose factor is in the figure.
        seed: draws the crowds and starts.
        solver: how to fit.
    """

    n_labelers: int = 20
    n_instances: int = 160
    n_draws: int = 100
    dropped: float = 0.2
    n_basis: int = 8
    models: dict[str, Model] = dataclasses.field(
        default_factory=lambda: {
            "majority vote": preset("majority"),
            "GLAD": preset("glad"),
            "1 factor": preset("factor", "instance", **FACTOR),
            "2 factors": preset("factor", "instance", n_factors=2, **FACTOR),
            "3 factors": preset("factor", "instance", n_factors=3, **FACTOR),
        }
    )
    baseline: str = "GLAD"
    drawn: str = "1 factor"
    seed: int = 0
    solver: Solver = Solver(restarts=8, rtol=1e-5)


def data(config: Config) -> tuple[str, ...]:
    return ()


def cells(config: Config) -> list[Cell]:
    return [()]


def size(config: Config) -> Size:
    n, m = config.n_labelers, config.n_instances
    shapes = (n * m,), (n * m,), None, (m, config.n_basis)
    blank = Draws(*(shape and np.ones((config.n_draws, *shape)) for shape in shapes))
    return size_of(simulate.grid(n, m), blank, config.models, config.solver)


def run_cell(config: Config) -> Tables:
    crowds = _crowds(config)
    detector = np.asarray(crowds.instance_features, float)[..., 0]
    weight = drop(config.seed, np.ones(crowds.label.shape[1]), config.dropped, config.n_draws)
    draws = Draws(weight, crowds.label, instance_features=np.stack([_basis(config)(x) for x in detector]))
    cells = simulate.grid(config.n_labelers, config.n_instances)
    fitted = fit_all(cells, draws, config.models, config.solver, config.seed, "fig4")
    out = []
    for name, found in fitted.items():
        out += scored(name, found.posterior, np.asarray(crowds.truth, float))
    drawn, true = fitted[config.drawn], crowds.factors
    scale = np.asarray(drawn.factors.alpha[0, :, 0]).mean()  # α and β share a scale: give it to β
    factor = {
        "detector": detector[0],
        "factor": scale * np.asarray(drawn.factors.beta[0, :, 0], float),
        "true": np.asarray(true.beta[0], float) @ np.asarray(true.alpha[0], float).mean(0),
    }
    weights = scale * np.asarray(drawn.fit.weights.instance.dense[0, 1:, 0], float)
    return {"metrics": pa.Table.from_pylist(out), "factor": pa.table(factor), "weights": pa.table({"weight": weights})}


def report(config: Config, tables) -> Report:
    metrics, factor = tables["metrics"], tables["factor"].sort_by("detector")
    detector, true = factor["detector"].to_numpy(), factor["true"].to_numpy()
    accuracy = {m: select(metrics, model=m, metric="accuracy") for m in names(metrics, "model")}
    text = (
        f"Recovery: labels are drawn from three factors over a detector's output, so that three factors are ahead says "
        f"that they are found, not that smiles are like that (configs/detector.toml has labels from none of the "
        f"models). {config.n_draws} simulated crowds of {config.n_labelers} labelers and "
        f"{config.n_instances} instances, each without {config.dropped:.0%} of its labels. Instance features: "
        f"{config.n_basis} radial basis functions of a detector's output and a constant.\n\n"
        + comparison(metrics, config.baseline)
        + "\n"
    )
    drawn = plots.factor_over_feature(
        detector,
        factor["factor"].to_numpy(),
        _basis(config),
        tables["weights"]["weight"].to_numpy(),
        true=lambda x: np.interp(x, detector, true),
        label="detector output (standardised)",
    )
    table = plots.spread(accuracy, title="Recovery of three factors over a detector", xlabel="proportion correct")
    return Report(text, {"fig4": drawn, "fig4_accuracy": table})


def _crowds(config: Config) -> simulate.Simulation:
    keys = jax.random.split(jax.random.key(config.seed), config.n_draws)
    return jax.jit(jax.vmap(lambda k: simulate.smiles(k, config.n_labelers, config.n_instances)))(keys)


def _basis(config: Config):
    """The same functions for all draws: centers evenly over the outputs' central 95 %, as wide as they are apart."""
    centers = np.linspace(-2, 2, config.n_basis)
    width = 4 / max(config.n_basis - 1, 1)
    return lambda x: rbf_basis(x, centers=centers, width=width, constant=False)
