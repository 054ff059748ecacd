"""Labels in shapes that programs are compiled for: cut by instance into shards, or with room for a few more; host side.

Shapes are padded to sizes of few significant digits. So labels of nearly the same size share one compiled program, and
with the persistent cache a table that grew a little needs no compiling.
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import NamedTuple

import numpy as np
from jaxtyping import Int

from crowdjax.labels import FLAT_BELOW, LABELS_PER_BLOCK, MAX_PADDING, Labels, Shard

AXIS = "shards"
LEAST = {"labels": 2048, "instances": 512, "labelers": 32}  # smaller tables share one shape
COARSE_TO = 8192  # sizes up to this are rounded up to two for each power of 2, above to eight
EXACT_FROM = 2**19  # labels per shard; from here on passes cost more than compiling, and sizes are not rounded up
WIDTHS = np.arange(6, 32)  # blocks of 2^6, 2^7, ... instances are considered


class Plan(NamedTuple):
    """The shape of every shard, and the shard of every instance.

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
        """The position of each instance in the concatenated shards."""
        shard = np.repeat(np.arange(self.n_shards), np.diff(self.edges))
        return np.arange(len(shard)) - self.edges[shard] + shard * self.shard_instances


class Profile(NamedTuple):
    """Upper bounds on the sizes of a shard; take the elementwise maximum to find a layout that fits several."""

    n_labelers: int
    n_labels: int
    n_instances: int
    widths: Int[np.ndarray, " K"]  # most labels in a block of 2^WIDTHS instances


def _real(labels: Labels):
    """Return a function that takes the padding out of an array of triples."""
    real = np.asarray(labels.real)
    return np.asarray if real.all() else lambda values: np.asarray(values)[real]


def plan_of(labels: Labels, n_shards: int) -> tuple[Int[np.ndarray, " S+1"], Profile]:
    """Return (edges of n shards of about as many labels each, the profile of the largest)."""
    per_instance = np.bincount(_real(labels)(labels.instance), minlength=labels.n_instances)
    work = np.r_[0, np.cumsum(per_instance + 1)]
    edges = np.searchsorted(work, np.arange(n_shards + 1) * (work[-1] / n_shards))
    least = np.arange(n_shards + 1)  # an instance each
    edges = np.clip(edges, least, labels.n_instances - least[::-1])
    parts = [per_instance[a:b] for a, b in itertools.pairwise(edges)]
    return edges, widest([_profile(labels.n_labelers, part) for part in parts])


def widest(profiles: list[Profile]) -> Profile:
    """Return the sizes that all parts fit into."""
    return Profile(*(np.stack(sizes).max(0) for sizes in zip(*profiles, strict=True)))


def _profile(n_labelers: int, per_instance: Int[np.ndarray, " I"]) -> Profile:
    upto = np.r_[0, np.cumsum(per_instance)]
    widths = [np.diff(np.r_[upto[:-1:step], upto[-1]]).max(initial=0) for step in 2**WIDTHS]
    return Profile(n_labelers, int(upto[-1]), len(per_instance), np.array(widths))


def plan(edges, profile: Profile, before: int = 0, n_processes: int = 1) -> Plan:
    """Return the smallest blocks near the cache's size that pad little, as ``Labels.from_arrays`` has them."""
    n_labels, n = int(profile.n_labels), max(1, int(profile.n_instances))
    up = (lambda v, least=1, coarse_to=0: v) if n_labels >= EXACT_FROM else bucket
    layout = 1, up(n, LEAST["instances"]), up(max(1, n_labels), LEAST["labels"])
    if n_labels >= FLAT_BELOW:
        first = np.searchsorted(WIDTHS, round(np.log2(LABELS_PER_BLOCK * n / n_labels)))
        for size, width in zip(2 ** WIDTHS[first:], profile.widths[first:], strict=True):
            n_blocks = -(-n // int(size))
            if n_blocks == 1:
                break
            if n_blocks * width <= MAX_PADDING * n_labels:
                layout = up(n_blocks, coarse_to=0), int(size), up(int(width), coarse_to=0)
                break
    n_shards = (len(edges) - 1) * n_processes
    n_labelers = up(int(profile.n_labelers), LEAST["labelers"])
    n_instances = n_shards * up(n, LEAST["instances"])
    return Plan(np.asarray(edges), n_shards > 1, before, n_instances, n_labelers, *layout)


def bucket(n: int, least: int = 1, coarse_to: int = COARSE_TO) -> int:
    """Return the next size that programs are compiled for: two of them between powers of 2, from 8192 on eight.

    A pass over a small table costs nothing beside compiling, and the programs of every new size leave some 1700 memory
    mappings, of the 65,530 that Linux allows.

    Args:
        least: the smallest size.
        coarse_to: up to which size there are but two.

    Example:
        >>> [bucket(n) for n in (7, 33, 1000, 2049, 9000)], bucket(7, 32)
        ([8, 48, 1024, 3072, 9216], 32)
    """
    n = max(n, least)
    power = (n - 1).bit_length() - 1
    unit = 2 ** max(0, power - (1 if n <= coarse_to else 3))
    return -(-n // unit) * unit


def with_room(labels: Labels) -> Labels:
    """Return the labels in the next shape that programs are compiled for, on one device; those of large sets as they
    are.

    Example:
        >>> padded = with_room(Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 1, 0]))
        >>> padded.label[:4].tolist(), len(padded.label), padded.n_labelers, int(padded.shard.real.sum())
        ([1, 1, 0, -1], 2048, 32, 1)
    """
    edges, profile = plan_of(labels, 1)
    if profile.n_labels >= EXACT_FROM:
        return labels
    return cut(labels, plan(edges, profile)._replace(spread=False))[0]


def cut(labels: Labels, plan: Plan) -> tuple[Labels, Int[np.ndarray, " I"]]:
    """Return (the shards one after the other, where each instance is in them). Every shard is laid out alike and counts
    its instances from 0; what it lacks is padding."""
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


def at_places(rows, place, total: int, fill=0) -> np.ndarray:
    """Put rows at their places among ``total``, ``fill`` elsewhere."""
    rows = np.asarray(rows)
    out = np.full((total, *rows.shape[1:]), fill, rows.dtype)
    out[place] = rows
    return out
