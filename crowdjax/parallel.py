"""Several devices and several processes: labels cut by instance into shards of one shape, and one fit over all of them.

    found = parallel.fit(labels, model, key)          # the fit of factor.fit_jit, on every device there is

Instances and what belongs to them live on one device each; weights of labelers, features and class prior on all. A pass
adds up its sums per labeler over the devices (``Labels.across``), everything else stays where it is.

Shards are padded to sizes of few significant digits. So labels of nearly the same size share one compiled program, and
with the persistent cache a table that grew a little needs no compiling.

In a run of several processes (``start``) every process gives its own instances, with labelers indexed alike everywhere
(``union``), and gets back the answers about its own instances. docs/clusters.md has worked examples.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int, PRNGKeyArray

from crowdjax import integrated
from crowdjax.factor import fit as fit_one
from crowdjax.factor.features import Features, Linear
from crowdjax.factor.fit import Fit, Solver
from crowdjax.factor.model import FactorModel, Weights
from crowdjax.integrated import IntegratedFit
from crowdjax.integrated.model import Features as IntegratedFeatures
from crowdjax.integrated.model import IntegratedConfig
from crowdjax.labels import FLAT_BELOW, LABELS_PER_BLOCK, MAX_PADDING, InputError, Labels, Shard

__all__ = ["fit", "fit_integrated", "n_devices", "start", "union", "use_cores"]

AXIS = "shards"
PAYS_FROM = 250_000  # labels per device; below, a fit is over before a second device has helped
EXACT_FROM = 2**19  # labels per shard; from here on passes cost more than compiling, and sizes are not rounded up
WIDTHS = np.arange(6, 32)  # blocks of 2^6, 2^7, ... instances are considered


def start(address: str | None = None, n_processes: int | None = None, process: int | None = None) -> None:
    """Joins this process to a run of several; call it before anything else of JAX.

    Args:
        address: ``host:port`` of process 0, reachable from all.
        n_processes, process: how many there are, and which of them this is, from 0. Under SLURM or Open MPI all three
            may be left out.

    Example:
        >>> start("10.0.0.1:12345", 2, 0)  # doctest: +SKIP
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, n_processes, process)


def use_cores(n: int | None = None) -> None:
    """Makes ``n`` CPU devices (default: one for each core this process may use) on a machine without accelerators.

    Call it before anything else of JAX. It leaves a count that was given otherwise (``jax_num_cpu_devices``, or the
    flag ``xla_force_host_platform_device_count``) as it is.

    Raises:
        RuntimeError: JAX has started its devices already.

    Example:
        >>> use_cores(4)  # doctest: +SKIP
    """
    given = jax.config.jax_num_cpu_devices > 0 or "host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not given:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        jax.config.update("jax_num_cpu_devices", n or cores)


def n_devices(n_labels: int, wanted: int | None = None) -> int:
    """How many devices to use: as many as wanted, or as pay for so many labels.

    Raises:
        InputError: more than there are.

    Example:
        >>> n_devices(1000)        # too few labels for more than one device
        1
    """
    there = jax.device_count()
    if wanted is not None and not 1 <= wanted <= there:
        raise InputError(f"devices: got {wanted}; allowed: 1 to {there}")
    if jax.process_count() > 1:
        return there
    return max(1, min(there, n_labels // PAYS_FROM)) if wanted is None else wanted


def fit(
    labels: Labels,
    model: FactorModel,
    key: PRNGKeyArray,
    solver: Solver = Solver(),
    start: Weights | None = None,
    *,
    devices: int | None = None,
) -> Fit:
    """The fit of ``crowdjax.factor.fit_jit`` on several devices; arguments as there. Not to be traced.

    Args:
        labels: of this process's instances, with the labelers of all.
        model: built for ``labels`` (``crowdjax.factor.build``); what it says of labelers is alike in every process.
        devices: how many; by default all that pay for so many labels.

    Returns:
        the ``Fit``, as NumPy arrays; instances' weights and posteriors are those of this process.

    Example:
        >>> import jax
        >>> from crowdjax.factor import PRESETS, build
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> found = fit(labels, build(PRESETS["dawid-skene"], labels), jax.random.key(0), devices=1)
        >>> (found.posterior > 0.5).tolist()
        [True, False, True, False]
    """
    found, _ = run(_fit_alone, labels, model, key, solver, start, devices=devices)
    return found


def _fit_alone(labels, model, key, solver, start):
    return fit_one(labels, model, key, solver, start), ()


def run(
    function: Callable,
    labels: Labels,
    model: FactorModel,
    key: PRNGKeyArray,
    solver: Solver,
    start: Weights | None = None,
    *,
    devices: int | None = None,
    room: Profile | None = None,
):
    """What ``function`` returns, run on all shards at once and compiled once per shape.

    Args:
        function: (labels, model, key, solver, start) -> (``Fit`` of a shard, anything that is alike on all shards). At
            module level, so that equal calls share one program.
        room: sizes to make room for, so that smaller sets of labels share the program of larger ones.
        others: as in :func:`fit`.
    """
    n_labels = np.count_nonzero(labels.label)
    alone = n_devices(n_labels, devices) == jax.process_count() == 1 and room is None
    if alone and n_labels >= EXACT_FROM:  # nothing to cut, and no shape to share
        key_data, impl = jax.random.key_data(key), jax.random.key_impl(key)
        return jax.tree.map(np.asarray, _run(function, labels, model, start, key_data, impl, solver, None))
    mesh, plan, labels, place = _divide(labels, devices, room)
    parts = labels, cut_model(model, plan, place), None if start is None else cut_weights(start, plan, place)
    parts = _on_mesh(parts, _specs(*parts), mesh)
    data = _put(jax.random.key_data(key), NamedSharding(mesh, P()))
    found, more = jax.tree.map(_local, _run(function, *parts, data, jax.random.key_impl(key), solver, mesh))
    return uncut(found, model, place), more


def fit_integrated(
    labels: Labels,
    config: IntegratedConfig = IntegratedConfig(),
    boundary: float = 0.0,
    features: IntegratedFeatures = IntegratedFeatures(),
    *,
    devices: int | None = None,
) -> IntegratedFit:
    """The fit of ``crowdjax.integrated.fit_jit`` on several devices; arguments as there. Not to be traced.

    Args:
        labels: of this process's instances, with the labelers of all.
        devices: how many; by default all that pay for so many labels.

    Returns:
        the fit, as NumPy arrays, alike in every process.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> fit_integrated(labels, devices=1).parameters.labelers[:, 0].argsort().tolist()[0]
        2
    """
    n_labelers = labels.n_labelers
    if n_devices(np.count_nonzero(labels.label), devices) == 1:
        return jax.tree.map(np.asarray, integrated.fit_jit(labels, config, boundary, features))
    mesh, plan, labels, place = _divide(labels, devices)
    homes = (np.arange(n_labelers), plan.n_labelers), (place, len(labels.shard.rows))
    rows = zip(features, homes, strict=True)
    features = IntegratedFeatures(*(None if v is None else _spread(v, *home) for v, home in rows))
    specs = _integrated_specs(labels, features)
    labels, middle, features = _on_mesh((labels, np.asarray(boundary), features), specs, mesh)
    found = jax.tree.map(_local, _run_integrated(labels, middle, features, config, mesh))
    return dataclasses.replace(
        found,
        parameters=found.parameters._replace(labelers=found.parameters.labelers[:n_labelers]),
        covariance=found.covariance[:n_labelers],
        counts=found.counts[:n_labelers],
    )


@eqx.filter_jit
def _run_integrated(labels, boundary, features, config, mesh):
    def one(labels, boundary, features):
        return integrated.fit(labels, config, boundary, features)

    specs = _integrated_specs(labels, features)
    return jax.shard_map(one, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False)(labels, boundary, features)


def _divide(labels: Labels, devices: int | None, room: Profile | None = None):
    """(the mesh, the plan, the shards, where each instance is in them)."""
    n = n_devices(np.count_nonzero(labels.label), devices)
    mesh = Mesh(np.array(jax.devices()[:n]), (AXIS,))
    edges, profile = plan_of(labels, len(mesh.local_devices))
    plan = _agreed(edges, profile if room is None else widest([profile, room]))
    return mesh, plan, *cut(labels, plan)


@eqx.filter_jit
def _run(function, labels, model, start, key, impl, solver, mesh):
    def one(labels, model, start, key):
        return function(labels, model, jax.random.wrap_key_data(key, impl=impl), solver, start)

    if mesh is None or labels.shard.axis is None:
        return one(labels, model, start, key)
    specs = _specs(labels, model, start)
    found = Fit(_weight_specs(), P(AXIS), P(), P(), P(), P(), P(), P())
    run = jax.shard_map(one, mesh=mesh, in_specs=(*specs, P()), out_specs=(found, P()), check_vma=False)
    return run(labels, model, start, key)


# Cutting


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
    real = np.asarray(labels.label) != 0
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
    """The next number of at most five binary digits: 16 of them between powers of 2.

    Example:
        >>> [bucket(n) for n in (7, 33, 1000, 1025)]
        [7, 34, 1024, 1088]
    """
    unit = 2 ** max(0, n.bit_length() - 5)
    return -(-n // unit) * unit


def _agreed(edges, profile: Profile) -> Plan:
    """The plan that all processes have in common."""
    if jax.process_count() == 1:
        return plan(edges, profile)
    mine = np.concatenate([np.ravel(v) for v in profile]).astype(np.int64)
    everyones = gather(np.r_[mine, edges[-1]])
    before = everyones[: jax.process_index(), -1].sum()
    first, second, third, *widths = everyones[:, :-1].max(0)
    if (everyones[:, 0] != first).any():
        raise InputError(f"n_labelers: {everyones[:, 0].tolist()} in the processes; allowed: the same in all (union)")
    common = Profile(first, second, third, np.array(widths))
    return plan(edges, common, int(before))


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

    def lay(values):
        values = real(values)
        out = np.zeros((len(blocks), width), values.dtype)
        for b, (start, end) in blocks:
            out[b, : end - start] = values[start:end]
        return out

    numbers = np.tile(((within + 1) * per_block - 1).astype(np.int32)[:, None], width)
    for b, (start, end) in blocks:
        numbers[b, : end - start] = instance[start:end] - plan.edges[shard[b]]
    rows = np.full(plan.n_shards * size, plan.n_instances, np.int32)
    rows[place] = plan.before + np.arange(len(place), dtype=np.int32)
    return Labels(
        labeler=lay(labels.labeler).ravel(),
        instance=numbers.ravel(),
        label=lay(labels.label).ravel(),
        weight=None if labels.weight is None else lay(labels.weight).ravel(),
        gold=None if labels.gold is None else _spread(labels.gold, place, len(rows)),
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
        dense = None if part.dense is None else _spread(part.dense, place, total)
        return dataclasses.replace(part, dense=dense, n=n)

    def prior(weights: Weights) -> Weights:
        def fill(part: Linear | None, to) -> Linear | None:
            if part is None or part.free is None:
                return part
            place, total, _ = to
            rows = np.broadcast_to(part.free, (len(place), np.shape(part.free)[1]))
            return Linear(part.dense, _spread(rows, place, total))

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
        return part if part is None or part.free is None else Linear(part.dense, _spread(part.free, place, total))

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


def _spread(rows, place, total: int) -> np.ndarray:
    """Rows at their places among ``total``, 0 elsewhere."""
    rows = np.asarray(rows)
    out = np.zeros((total, *rows.shape[1:]), rows.dtype)
    out[place] = rows
    return out


# On the mesh


def _weight_specs() -> Weights:
    """Instances' own weights are spread over the devices, all others are on each."""
    return Weights(P(), Linear(P(), P(AXIS)), P(), P())


def _specs(labels: Labels, model: FactorModel, start: Weights | None):
    """Which arrays are spread over the devices, as prefixes of the trees."""
    spread = _spread_specs
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


def _integrated_specs(labels: Labels, features: IntegratedFeatures):
    labeler, instance = (None if v is None else spec for v, spec in zip(features, (P(), P(AXIS)), strict=True))
    return _spread_specs(labels), P(), IntegratedFeatures(labeler, instance)


def _spread_specs(tree):
    """Every array is spread over the devices."""
    return jax.tree.map(lambda _: P(AXIS), tree)


def _on_mesh(parts, specs, mesh: Mesh):
    """The parts on their devices."""
    on_mesh = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs, is_leaf=lambda v: isinstance(v, P))
    return jax.tree.map(_put, parts, jax.tree.unflatten(jax.tree.structure(parts), jax.tree.leaves(on_mesh)))


def _put(values, sharding: NamedSharding) -> Array:
    """This process's part of an array, or all of what every process has alike, on its devices."""
    values = np.asarray(values)
    values = values.astype(jax.dtypes.canonicalize_dtype(values.dtype))
    return jax.make_array_from_process_local_data(sharding, values)


def _local(array: Array) -> np.ndarray:
    """What this process has of an array."""
    shards = {str(s.index): s for s in array.addressable_shards}  # one of those that are alike
    shards = sorted(shards.values(), key=lambda s: (s.index[0].start or 0) if s.index else 0)
    return np.concatenate([s.data for s in shards]) if array.ndim else np.asarray(shards[0].data)


# Several processes


def gather(values: np.ndarray) -> np.ndarray:
    """An array from each process, stacked; every process gets all."""
    if jax.process_count() == 1:
        return np.asarray(values)[None]
    as_bytes = np.ascontiguousarray(values).view(np.uint8)  # whatever the type: JAX would make it one of 32 bits
    found = np.asarray(multihost_utils.process_allgather(as_bytes))
    return np.ascontiguousarray(found).view(values.dtype).reshape(-1, *np.shape(values))


def union(ids: np.ndarray) -> np.ndarray:
    """The sorted ids that any process has, for instance of labelers; every process gets the same.

    Example: in a single process these are its own
        >>> union(np.array(["bob", "ann", "bob"])).tolist()
        ['ann', 'bob']
    """
    ids = np.unique(np.asarray(ids))
    text = np.array([str(v).encode() for v in ids] or [b""])
    most, longest = gather(np.array([len(text), text.dtype.itemsize])).max(0)
    padded = np.zeros(most, f"S{longest}")
    padded[: len(text)] = text
    count = gather(np.array([len(ids)])).ravel()
    found = np.concatenate([row[:n] for row, n in zip(gather(padded), count, strict=True)])
    everyones = np.array([v.decode() for v in found])
    return np.unique(everyones.astype(ids.dtype) if ids.dtype.kind in "iu" else everyones)
