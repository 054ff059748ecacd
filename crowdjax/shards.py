"""Models, weights and fits of labels that are cut by instance into shards (``crowdjax.layout``); all on the host."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from jax.sharding import PartitionSpec as P
from jaxtyping import Int

from crowdjax.factor.features import Features, Linear
from crowdjax.factor.fit import Fit
from crowdjax.factor.model import FactorModel, Weights
from crowdjax.integrated.model import Features as IntegratedFeatures
from crowdjax.labels import Labels
from crowdjax.layout import AXIS, Plan, at_places


def cut_model(model: FactorModel, plan: Plan, place: Int[np.ndarray, " I"]) -> FactorModel:
    """Return the model of the shards one after the other. Weights of padding are fixed, so no prior counts them."""
    if model.class_prior.identity:
        raise ValueError("class_prior: a weight for every instance; allowed on several devices: features only")
    size = plan.shard_instances
    labelers = np.arange(model.labeler.n), plan.n_labelers, plan.n_labelers
    instances = place, plan.n_shards * size, size

    def features(part: Features | None, to) -> Features | None:
        if part is None:
            return None
        place, total, n = to
        dense = None if part.dense is None else at_places(part.dense, place, total)
        return dataclasses.replace(part, dense=dense, n=n)

    def prior(weights: Weights) -> Weights:
        def fill(part: Linear | None, to) -> Linear | None:
            if part is None or part.free is None:
                return part
            place, total, _ = to
            rows = np.broadcast_to(part.free, (len(place), np.shape(part.free)[1]))
            return Linear(part.dense, at_places(rows, place, total))

        return Weights(
            fill(weights.labeler, labelers),
            fill(weights.instance, instances),
            fill(weights.bias, labelers),
            weights.class_prior,
        )

    return dataclasses.replace(
        model,
        labeler=features(model.labeler, labelers),
        instance=features(model.instance, instances),
        bias=features(model.bias, labelers),
        class_prior=features(model.class_prior, instances),
        mean=prior(model.mean),
        variance=prior(model.variance),
    )


def cut_weights(weights: Weights, plan: Plan, place: Int[np.ndarray, " I"]) -> Weights:
    """Cut the weights to start from, as the shards have them."""

    def fill(part: Linear | None, place, total: int):
        return part if part is None or part.free is None else Linear(part.dense, at_places(part.free, place, total))

    labelers = None if weights.labeler.free is None else np.arange(len(weights.labeler.free))
    biased = None if weights.bias is None or weights.bias.free is None else np.arange(len(weights.bias.free))
    return Weights(
        fill(weights.labeler, labelers, plan.n_labelers),
        fill(weights.instance, place, plan.n_shards * plan.shard_instances),
        fill(weights.bias, biased, plan.n_labelers),
        weights.class_prior,
    )


def uncut(found: Fit, model: FactorModel, place: Int[np.ndarray, " I"]) -> Fit:
    """Join a fit of the shards to one of the whole, without padding."""

    def only(part: Linear | None, rows) -> Linear | None:
        return part if part is None or part.free is None else Linear(part.dense, part.free[rows])

    labelers, weights = slice(0, model.labeler.n), found.weights
    weights = Weights(
        only(weights.labeler, labelers), only(weights.instance, place), only(weights.bias, labelers),
        weights.class_prior,
    )  # fmt: skip
    return dataclasses.replace(found, weights=weights, posterior=found.posterior[place])


# Which arrays are spread over the devices


def weight_specs() -> Weights:
    """Spread instances' own weights over the devices, and put all others on each."""
    return Weights(P(), Linear(P(), P(AXIS)), P(), P())


def specs(labels: Labels, model: FactorModel, start: Weights | None):
    """Return which arrays are spread over the devices, as prefixes of the trees."""
    spread = spread_specs
    whole = jax.tree.map(lambda _: P(), model)

    def weights(of: Weights) -> Weights:
        whole = jax.tree.map(lambda _: P(), of)
        return whole._replace(instance=whole.instance._replace(free=spread(of.instance.free)))

    return (
        spread(labels),
        dataclasses.replace(
            whole,
            instance=spread(model.instance),
            class_prior=spread(model.class_prior),
            mean=weights(model.mean),
            variance=weights(model.variance),
        ),
        None if start is None else weights(start),
    )


def integrated_specs(labels: Labels, boundary, features: IntegratedFeatures, begin=None):
    labeler, instance = (None if v is None else spec for v, spec in zip(features, (P(), P(AXIS)), strict=True))
    return spread_specs(labels), P(), IntegratedFeatures(labeler, instance), jax.tree.map(lambda _: P(), begin)


def spread_specs(tree):
    """Return specs that spread every array over the devices, by its first axis."""
    return jax.tree.map(lambda _: P(AXIS), tree)
