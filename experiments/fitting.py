"""Fits of several models to many draws of one problem, one compiled program per kind of model.

Models, draws and restarts are members of one ``sweep``; of the restarts the best objective is kept.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int8

from crowdjax import optimize
from crowdjax.factor import (
    PRESETS,
    FactorConfig,
    FactorModel,
    Factors,
    Features,
    Fit,
    Linear,
    Solver,
    Weights,
    build,
    majority,
    sweep,
)
from crowdjax.factor.batches import lower_sweep
from crowdjax.labels import Labels
from experiments.cells import Size, say
from experiments.config import Model
from experiments.workers import n_cores

T = TypeVar("T")
S = TypeVar("S")


class Draws(NamedTuple):
    """What differs between the R draws of a problem; None where it is the same in all."""

    weight: Float[Array, "R N"]
    label: Int8[Array, "R N"] | None = None
    labeler_features: Float[Array, "R W F"] | None = None
    instance_features: Float[Array, "R I F"] | None = None


class Fitted(NamedTuple):
    """The posteriors [R, I] of one model on every draw; and its fits and factors, unless it is the majority vote.

    A fit that failed is a row like the others: ``fit.code`` tells (``crowdjax.optimize.MEANING``).
    """

    posterior: Float[Array, "R I"]
    fit: Fit | None = None
    factors: Factors | None = None


def fit_all(
    labels: Labels, draws: Draws, models: Mapping[str, Model], solver: Solver, seed: int, name: str = ""
) -> dict[str, Fitted]:
    """Fits every model to every draw. Models that differ in their priors only share a program: a variance of 0 fixes a
    weight, so one-coin and Dawid-Skene are factor models too."""
    groups = _groups(models)
    out = {key: Fitted(_votes(labels, draws)) for key in models if not any(key in group for group in groups)}

    def fit_group(group):
        start = time.perf_counter()
        found, n = _fit_group(labels, draws, list(group.values()), solver, seed)
        text = f"{name}: {', '.join(group)}: {n} fits in {time.perf_counter() - start:.1f} s"
        kept = np.concatenate([np.asarray(f.fit.code) for f in found])
        for code in set(kept.tolist()) - {optimize.CONVERGED}:
            text += f"; {(kept == code).sum()} {optimize.MEANING[code]}"
        objective = {key: float(np.mean(f.fit.objective)) for key, f in zip(group, found, strict=True)}
        say(text, event="fitted", fits=n, seconds=round(time.perf_counter() - start, 3), objective=objective)
        return dict(zip(group, found, strict=True))

    for found in in_parallel(fit_group, groups):
        out |= found
    return {key: out[key] for key in models}


def in_parallel(do: Callable[[T], S], items: Iterable[T]) -> list[S]:
    """``do`` of every item, in threads: while one program compiles or runs on one core, another has the next."""
    with ThreadPoolExecutor(n_cores()) as pool:
        return list(pool.map(do, items))


def _structure(model: Model) -> tuple:
    """What the compiled program depends on."""
    config = model.config
    learned = config.class_prior if isinstance(config.class_prior, str) else None
    return model.covariates, config.link, learned, bool(model.covariates) and config.deviation > 0


def _groups(models: Mapping[str, Model]) -> list[dict[str, Model]]:
    """Models that share a program; the majority vote needs none."""
    groups: dict[tuple, dict[str, Model]] = {}
    for key, model in models.items():
        if model.config != PRESETS["majority"]:
            groups.setdefault(_structure(model), {})[key] = model
    return list(groups.values())


def size_of(labels: Labels, draws: Draws, models: Mapping[str, Model], solver: Solver) -> Size:
    """The size of :func:`fit_all` for such labels and draws, whose values do not matter."""
    groups = _groups(models)
    n_fits = len(draws.weight) * sum(_restarts(m, solver) for group in groups for m in group.values())
    largest = max(groups, key=lambda group: max(m.config.n_factors for m in group.values()), default={})

    def lower():
        _, shared, members = _prepared(labels, draws, list(largest.values()), solver, 0)
        return lower_sweep(_make, shared, members, dataclasses.replace(solver, restarts=1))

    n_labels = int((np.asarray(labels.counts) > 0).sum())
    program = f"all fits of {', '.join(largest)}"
    return Size(n_labels, labels.n_labelers, labels.n_instances, n_fits, lower if largest else None, program)


def _restarts(model: Model, solver: Solver) -> int:
    """Restarts differ in factors 2 to D only; with one factor they would repeat the same fit."""
    return solver.restarts if model.config.n_factors > 1 else 1


def _prepared(labels, draws, models, solver, seed):
    """(plan, shared, members): who fits what, and the arguments of the sweep."""
    used = Draws(
        draws.weight,
        draws.label,
        draws.labeler_features if "labeler" in models[0].covariates else None,
        draws.instance_features if "instance" in models[0].covariates else None,
    )
    template, priors = _unified(labels, used, [m.config for m in models])
    shared = jax.tree.map(jnp.asarray, (labels, template, priors, used))
    restarts = [_restarts(m, solver) for m in models]
    plan = [(m, r, k) for m, n in enumerate(restarts) for r in range(len(draws.weight)) for k in range(n)]
    model, draw, restart = (np.array(column) for column in zip(*plan, strict=True))
    return model, shared, {"model": model, "draw": draw, "key": _keys(seed, draw, restart)}


def _fit_group(labels, draws, models, solver, seed) -> tuple[list[Fitted], int]:
    model, shared, members = _prepared(labels, draws, models, solver, seed)
    fits = sweep(_make, shared, members, dataclasses.replace(solver, restarts=1))
    objective = np.where(np.isfinite(fits.objective), fits.objective, -np.inf)
    found = []
    for m in range(len(models)):
        rows = np.flatnonzero(model == m).reshape(len(draws.weight), -1)  # draws x restarts
        best = rows[np.arange(len(rows)), objective[rows].argmax(1)]
        fit = jax.tree.map(lambda v, best=best: v[best], fits)
        found.append(Fitted(fit.posterior, fit, _factors(shared, m, fit.weights)))
    return found, len(model)


def _unified(labels: Labels, draws: Draws, configs: Sequence[FactorConfig]):
    """(a model of the largest structure, prior means and variances [M, ...] of every config in that structure)."""
    most = max(c.n_factors for c in configs)
    first = lambda v: None if v is None else v[0]  # noqa: E731
    models = [
        build(
            dataclasses.replace(c, n_factors=most),
            labels,
            labeler_features=first(draws.labeler_features),
            instance_features=first(draws.instance_features),
        ).with_factors(c.n_factors)
        for c in configs
    ]
    template = models[0]
    for side in ("labeler", "instance", "bias"):
        largest = next((m for m in models if getattr(m, side) is not None and getattr(m, side).identity), None)
        largest = largest or next((m for m in models if getattr(m, side) is not None), template)
        template = dataclasses.replace(template, **{side: getattr(largest, side)})

    def fitting(prior: Weights, nothing: Weights) -> Weights:
        """A fixed constant as a weight of each that is fixed, no bias as one fixed at 0."""
        parts = {}
        for side in ("labeler", "instance", "bias"):
            features, part = getattr(template, side), getattr(prior, side)
            if features is not None and part is None:
                part = jax.tree.map(jnp.zeros_like, getattr(nothing, side))
            elif features is not None and features.dense is None and part.free is None:
                part = Linear(None, part.dense)
            parts[side] = part
        return prior._replace(**parts)

    biased = next((m for m in models if m.bias is not None), template)
    priors = [(fitting(m.mean, biased.mean), fitting(m.variance, biased.variance)) for m in models]
    return template, jax.tree.map(lambda *v: jnp.stack(v), *priors)


def _make(shared, member) -> tuple[Labels, FactorModel, Array]:
    return *_problem(shared, member["model"], member["draw"]), member["key"]


def _problem(shared, which, draw) -> tuple[Labels, FactorModel]:
    """One draw's labels and one of the models for them."""
    labels, model, priors, draws = shared
    weight, label, labeler, instance = (None if v is None else v[draw] for v in draws)
    mean, variance = jax.tree.map(lambda v: v[which], priors)

    def columns(features, x):
        if features is None or x is None or features.n_columns == 1:  # a constant alone, whatever the features
            return features
        return Features(jnp.c_[jnp.ones(len(x)), x], features.n, features.identity)

    model = dataclasses.replace(
        model,
        labeler=columns(model.labeler, labeler),
        bias=columns(model.bias, labeler),
        instance=columns(model.instance, instance),
        class_prior=columns(model.class_prior, instance),
        mean=mean,
        variance=variance,
    )
    labels = labels if label is None else dataclasses.replace(labels, label=label)
    return labels.with_weight(weight), model


@jax.jit
def _factors(shared, which, weights) -> Factors:
    """α, β, γ of every draw's fit."""
    draws = jnp.arange(jax.tree.leaves(weights)[0].shape[0])
    return jax.vmap(lambda r, w: _problem(shared, which, r)[1].factors(w))(draws, weights)


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
