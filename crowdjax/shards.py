"""Labels cut by instance into shards of one shape, and the models and fits that go with them; all on the host.

Shards are padded to sizes of few significant digits. So labels of nearly the same size share one compiled program, and
with the persistent cache a table that grew a little needs no compiling.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import NamedTuple

import jax
import numpy as np
from jax.sharding import PartitionSpec as P
from jaxtyping import Int

from crowdjax.factor.features import Features, Linear
from crowdjax.factor.fit import Fit
from crowdjax.factor.model import FactorModel, Weights
from crowdjax.integrated.model import Features as IntegratedFeatures
from crowdjax.labels import FLAT_BELOW, LABELS_PER_BLOCK, MAX_PADDING, Labels, Shard

AXIS = "shards"
SMALL = 2048  # sizes up to this are rounded to powers of 2
EXACT_FROM = 2**19  # labels per shard; from here on passes cost more than compiling, and sizes are not rounded up
WIDTHS = np.arange(6, 32)  # blocks of 2^6, 2^7, ... instances are considered


class Plan(NamedTuple):
    """The shape of every shard, and which instances go where.

    Attributes:
        edges: instances edges[k] to edges[k + 1] are shard k's; shape [S + 1].
        spread: whether there are several shards, here and in other processes.
        before: instances of other processes that come before these.
        n_instances: at least as many as there are in all.
        n_labelers: with padding.
        n_blocks, block_instances, block_labels: layout of a shard.
    """

    edges: Int[np.ndarray, " S+1"]
    spread: bool
    before: int
    n_instances: int
    n_labelers: int
    n_blocks: int
    block_instances: int
    block_labels: int

    @property
    def n_shards(self) -> int:
        return len(self.edges) - 1

    @property
    def shard_instances(self) -> int:
        return self.n_blocks * self.block_instances

    @property
    def place(self) -> Int[np.ndarray, " I"]:
        """Where each instance goes in the concatenated shards."""
        shard = np.repeat(np.arange(self.n_shards), np.diff(self.edges))
        return np.arange(len(shard)) - self.edges[shard] + shard * self.shard_instances


class Profile(NamedTuple):
    """What a plan is made of: sizes of the largest part. The elementwise maximum of several is theirs in common."""

    n_labelers: int
    n_labels: int
    n_instances: int
    widths: Int[np.ndarray, " K"]  # most labels in a block of 2^WIDTHS instances


def _real(labels: Labels):
    """A function that takes the padding out of an array of triples."""
    real = np.asarray(labels.real)
    return np.asarray if real.all() else lambda values: np.asarray(values)[real]


def plan_of(labels: Labels, n_shards: int) -> tuple[Int[np.ndarray, " S+1"], Profile]:
    """(edges of n shards of about as many labels each, the profile of the largest)."""
    per_instance = np.bincount(_real(labels)(labels.instance), minlength=labels.n_instances)
    work = np.r_[0, np.cumsum(per_instance + 1)]
    edges = np.searchsorted(work, np.arange(n_shards + 1) * (work[-1] / n_shards))
    least = np.arange(n_shards + 1)  # an instance each
    edges = np.clip(edges, least, labels.n_instances - least[::-1])
    parts = [per_instance[a:b] for a, b in itertools.pairwise(edges)]
    return edges, widest([_profile(labels.n_labelers, part) for part in parts])


def widest(profiles: list[Profile]) -> Profile:
    """What all parts have room in."""
    return Profile(*(np.stack(sizes).max(0) for sizes in zip(*profiles, strict=True)))


def _profile(n_labelers: int, per_instance: Int[np.ndarray, " I"]) -> Profile:
    upto = np.r_[0, np.cumsum(per_instance)]
    widths = [np.diff(np.r_[upto[:-1:step], upto[-1]]).max(initial=0) for step in 2**WIDTHS]
    return Profile(n_labelers, int(upto[-1]), len(per_instance), np.array(widths))


def plan(edges, profile: Profile, before: int = 0) -> Plan:
    """The smallest blocks near the cache's size that pad little, as ``Labels.from_arrays`` has them."""
    n_labels, n = int(profile.n_labels), max(1, int(profile.n_instances))
    up = (lambda v: v) if n_labels >= EXACT_FROM else bucket
    layout = 1, up(n), up(max(1, n_labels))
    if n_labels >= FLAT_BELOW:
        first = np.searchsorted(WIDTHS, round(np.log2(LABELS_PER_BLOCK * n / n_labels)))
        for size, width in zip(2 ** WIDTHS[first:], profile.widths[first:], strict=True):
            n_blocks = -(-n // int(size))
            if n_blocks == 1:
                break
            if n_blocks * width <= MAX_PADDING * n_labels:
                layout = up(n_blocks), int(size), up(int(width))
                break
    n_shards = (len(edges) - 1) * jax.process_count()
    return Plan(np.asarray(edges), n_shards > 1, before, n_shards * up(n), up(int(profile.n_labelers)), *layout)


def bucket(n: int) -> int:
    """The next size that programs are compiled for: up to 2048 a power of 2, above a number of at most five binary
    digits, 16 of them between powers of 2.

    A pass over a small table costs nothing beside compiling, and every new size leaves some 400 memory mappings.

    Example:
        >>> [bucket(n) for n in (7, 33, 1000, 2049)]
        [8, 64, 1024, 2176]
    """
    unit = 2 ** max(0, (n - 1).bit_length() if n <= SMALL else n.bit_length() - 5)
    return -(-n // unit) * unit


def cut(labels: Labels, plan: Plan) -> tuple[Labels, Int[np.ndarray, " I"]]:
    """(the shards one after the other, where each instance is in them). Every shard is laid out alike and counts its
    instances from 0; what it lacks is padding."""
    size, width, per_block = plan.shard_instances, plan.block_labels, plan.block_instances
    place, real = plan.place, _real(labels)
    instance = real(labels.instance)
    # the first instance of every block among the given ones, and its number within its shard
    shard, within = np.divmod(np.arange(plan.n_shards * plan.n_blocks), plan.n_blocks)
    first = np.minimum(plan.edges[shard] + within * per_block, plan.edges[shard + 1])
    rows = np.searchsorted(instance, np.r_[first, labels.n_instances])
    blocks = list(enumerate(itertools.pairwise(rows)))

    def lay(values, fill=0):
        values = real(values)
        out = np.full((len(blocks), width), fill, values.dtype)
        for b, (start, end) in blocks:
            out[b, : end - start] = values[start:end]
        return out

    numbers = np.tile(((within + 1) * per_block - 1).astype(np.int32)[:, None], width)
    for b, (start, end) in blocks:
        numbers[b, : end - start] = instance[start:end] - plan.edges[shard[b]]
    rows = np.full(plan.n_shards * size, plan.n_instances, np.int32)
    rows[place] = plan.before + np.arange(len(place), dtype=np.int32)
    return dataclasses.replace(
        labels,
        labeler=lay(labels.labeler).ravel(),
        instance=numbers.ravel(),
        label=lay(labels.label, -1).ravel(),
        weight=None if labels.weight is None else lay(labels.weight).ravel(),
        gold=None if labels.gold is None else at_places(labels.gold, place, len(rows), -1),
        n_labelers=plan.n_labelers,
        n_instances=size,
        n_blocks=plan.n_blocks,
        block_instances=plan.block_instances,
        shard=Shard(rows, plan.n_instances, AXIS if plan.spread else None),
    ), place


def cut_model(model: FactorModel, plan: Plan, place: Int[np.ndarray, " I"]) -> FactorModel:
    """The model of the shards one after the other. Weights of padding are fixed, so no prior counts them."""
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
    """Weights to start from, as the shards have them."""

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
    """A fit of the shards as one of the whole, without padding."""

    def only(part: Linear | None, rows) -> Linear | None:
        return part if part is None or part.free is None else Linear(part.dense, part.free[rows])

    labelers, weights = slice(0, model.labeler.n), found.weights
    weights = Weights(
        only(weights.labeler, labelers), only(weights.instance, place), only(weights.bias, labelers),
        weights.class_prior,
    )  # fmt: skip
    return dataclasses.replace(found, weights=weights, posterior=found.posterior[place])


def at_places(rows, place, total: int, fill=0) -> np.ndarray:
    """Rows at their places among ``total``, ``fill`` elsewhere."""
    rows = np.asarray(rows)
    out = np.full((total, *rows.shape[1:]), fill, rows.dtype)
    out[place] = rows
    return out


# Which arrays are spread over the devices


def weight_specs() -> Weights:
    """Instances' own weights are spread over the devices, all others are on each."""
    return Weights(P(), Linear(P(), P(AXIS)), P(), P())


def specs(labels: Labels, model: FactorModel, start: Weights | None):
    """Which arrays are spread over the devices, as prefixes of the trees."""
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
    """Every array is spread over the devices."""
    return jax.tree.map(lambda _: P(AXIS), tree)
