"""Fits of several models to many draws of one problem, one compiled program per kind of model.

Factor counts, draws and restarts are members of one ``sweep``; of the restarts the best objective is kept.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int8

from crowdjax import optimize
from crowdjax.factor import PRESETS, FactorModel, Factors, Features, Fit, Solver, build, majority, sweep
from crowdjax.labels import Labels
from experiments.config import Model


class Draws(NamedTuple):
    """What differs between the R draws of a problem; None where it is the same in all."""

    weight: Float[Array, "R N"]
    label: Int8[Array, "R N"] | None = None
    labeler_features: Float[Array, "R W F"] | None = None
    instance_features: Float[Array, "R I F"] | None = None


class Fitted(NamedTuple):
    """The posteriors [R, I] of one model on every draw; and its fits and factors, unless it is the majority vote."""

    posterior: Float[Array, "R I"]
    fit: Fit | None = None
    factors: Factors | None = None

    @property
    def failed(self) -> int:
        return 0 if self.fit is None else int((np.asarray(self.fit.code) > optimize.STALLED).sum())


def fit_all(
    labels: Labels, draws: Draws, models: Mapping[str, Model], solver: Solver, seed: int, name: str = ""
) -> dict[str, Fitted]:
    """Fits every model to every draw. Models that differ in nothing but their number of factors share a program."""
    groups: dict[Model, list[str]] = {}
    for key, model in models.items():
        kind = dataclasses.replace(model, config=dataclasses.replace(model.config, n_factors=1))
        groups.setdefault(kind, []).append(key)
    out = {}
    for kind, keys in groups.items():
        start = time.perf_counter()
        if kind.config == PRESETS["majority"]:
            out[keys[0]] = Fitted(_votes(labels, draws))
            continue
        counts = [models[k].config.n_factors for k in keys]
        found, n = _fit_group(labels, draws, kind, counts, solver, seed)
        out.update(zip(keys, found, strict=True))
        print(f"{name}: {', '.join(keys)}: {n} fits in {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
    return {key: out[key] for key in models}


def _fit_group(labels, draws, kind, counts, solver, seed):
    config = dataclasses.replace(kind.config, n_factors=max(counts))
    used = Draws(
        draws.weight,
        draws.label,
        draws.labeler_features if "labeler" in kind.covariates else None,
        draws.instance_features if "instance" in kind.covariates else None,
    )
    first = lambda v: None if v is None else v[0]  # noqa: E731
    model = build(
        config,
        labels,
        labeler_features=first(used.labeler_features),
        instance_features=first(used.instance_features),
    )
    shared = jax.tree.map(jnp.asarray, (labels, model, used))
    n_draws = len(draws.weight)
    # Restarts differ in factors 2 to D only; with one factor they would repeat the same fit.
    plan = [(c, r, k) for c, n in enumerate(counts) for r in range(n_draws) for k in range(solver.restarts if n > 1 else 1)]
    of_count, draw, restart = (np.array(column) for column in zip(*plan, strict=True))
    n_factors = np.array(counts)[of_count]
    members = {"draw": draw, "n_factors": n_factors, "key": _keys(seed, draw, restart)}
    fits = sweep(_make, shared, members, dataclasses.replace(solver, restarts=1))
    objective = np.where(np.isfinite(fits.objective), fits.objective, -np.inf)
    found = []
    for c, n in enumerate(counts):
        rows = np.flatnonzero(of_count == c).reshape(n_draws, -1)  # draws x restarts
        best = rows[np.arange(n_draws), objective[rows].argmax(1)]
        fit = jax.tree.map(lambda v, best=best: v[best], fits)
        found.append(Fitted(fit.posterior, fit, _factors(shared, np.full(n_draws, n), fit.weights)))
    return found, len(plan)


def _make(shared, member) -> tuple[Labels, FactorModel, Array]:
    labels, model, draws = shared
    return *_problem(shared, member["draw"], member["n_factors"]), member["key"]


def _problem(shared, draw, n_factors) -> tuple[Labels, FactorModel]:
    """One draw's labels and model."""
    labels, model, draws = shared
    weight, label, labeler, instance = (None if v is None else v[draw] for v in draws)
    labels = labels if label is None else dataclasses.replace(labels, label=label)
    columns = lambda features, x: (  # noqa: E731
        features if x is None else Features(jnp.c_[jnp.ones(len(x)), x], features.n, features.identity)
    )
    model = dataclasses.replace(
        model,
        labeler=columns(model.labeler, labeler),
        bias=None if model.bias is None else columns(model.bias, labeler),
        instance=columns(model.instance, instance),
    )
    return labels.with_weight(weight), model.with_factors(n_factors)


@jax.jit
def _factors(shared, n_factors, weights) -> Factors:
    """α, β, γ of every draw's fit."""
    draws = jnp.arange(n_factors.shape[0])
    return jax.vmap(lambda r, n, w: _problem(shared, r, n)[1].factors(w))(draws, n_factors, weights)


@jax.jit
def _keys(seed, draw, restart):
    key = jax.random.key(seed)
    return jax.vmap(lambda r, k: jax.random.fold_in(jax.random.fold_in(key, r), k))(draw, restart)


@jax.jit
def _votes(labels: Labels, draws: Draws) -> Float[Array, "R I"]:
    def one(draw):
        label = labels.label if draw.label is None else draw.label
        return majority(dataclasses.replace(labels, label=label).with_weight(draw.weight))

    return jax.vmap(one)(Draws(draws.weight, draws.label))


def drop(seed: int, counts: Float[np.ndarray, " N"], share: float, n_draws: int) -> Float[np.ndarray, "R N"]:
    """Weights of R draws, each without ``share`` of the judgements, chosen anew; padding (count 0) stays out."""
    rng = np.random.default_rng([seed, 2])
    real = np.flatnonzero(counts)
    weight = np.tile(np.asarray(counts, np.float32), (n_draws, 1))
    for row in weight:
        row[rng.permutation(real)[: round(share * len(real))]] = 0
    return weight
