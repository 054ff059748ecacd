"""Several devices and several processes: one fit over labels that are cut by instance (``crowdjax.shards``).

    found = parallel.fit(labels, model, key)          # the fit of factor.fit_jit, on every device there is

Instances and their arrays live on one device each; weights of labelers, features and class prior on all. A pass sums
its results per labeler over the devices (``Labels.across``); everything else stays local. Long fits run in blocks of
steps (``crowdjax.drive``): they report progress and can be stopped.

In a run of several processes (``start``) every process passes its own instances, with the same index of labelers
(``union``), and gets the results of its own instances. docs/clusters.md has worked examples.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, PRNGKeyArray

from crowdjax import drive, integrated, optimize, rows
from crowdjax.factor import fit as fit_one
from crowdjax.factor.fit import Fit, Solver, stages
from crowdjax.factor.model import FactorModel, Weights
from crowdjax.factor.predict import LabelerSummary, labeler_summary
from crowdjax.integrated import IntegratedFit
from crowdjax.integrated import fit as fit_one_integrated
from crowdjax.integrated.fit import stages as integrated_stages
from crowdjax.integrated.model import Features as IntegratedFeatures
from crowdjax.integrated.model import IntegratedConfig, Parameters
from crowdjax.labels import InputError, Labels
from crowdjax.layout import AXIS, EXACT_FROM, Plan, Profile, at_places, cut, plan, plan_of, widest
from crowdjax.shards import cut_model, cut_weights, integrated_specs, specs, uncut, weight_specs

__all__ = ["fit", "fit_integrated", "n_devices", "start", "summary", "union", "use_cores"]

PAYS_FROM = 250_000  # labels per core; below, a fit is over before a second one has helped
PAYS_FROM_GPU = 30_000_000  # of a GPU: a pass takes a millisecond by XLA's estimate, adding up over GPUs about .05
WATCHED_FROM = 1_000_000  # labels x factors; below, a fit takes about a second


def start(address: str | None = None, n_processes: int | None = None, process: int | None = None) -> None:
    """Join this process to a run of several processes; call it before any other use of JAX.

    Args:
        address: ``host:port`` of process 0, reachable from all processes.
        n_processes, process: number of processes, and the index of this one, from 0. Under SLURM or Open MPI all three
            arguments may be left out.

    Example:
        >>> start("10.0.0.1:12345", 2, 0)  # doctest: +SKIP
    """
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(address, n_processes, process)


def use_cores(n: int | None = None) -> None:
    """Make ``n`` CPU devices (default: one for each core this process may use) on a machine without accelerators.

    Call it before anything else of JAX. It leaves a count that was given otherwise (``jax_num_cpu_devices``, or the
    flag ``xla_force_host_platform_device_count``) as it is.

    Raises:
        RuntimeError: JAX has already initialised its devices.

    Example:
        >>> use_cores(4)  # doctest: +SKIP
    """
    given = jax.config.jax_num_cpu_devices > 0 or "host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if not given:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        jax.config.update("jax_num_cpu_devices", n or cores)


def n_devices(n_labels: int, wanted: int | None = None) -> int:
    """Choose the number of devices: ``wanted``, or as many as speed up a fit of so many labels.

    Raises:
        InputError: more devices are wanted than there are.

    Example:
        >>> n_devices(1000)        # too few labels for more than one device
        1
    """
    there = jax.device_count()
    if wanted is not None and not 1 <= wanted <= there:
        raise InputError(f"devices: got {wanted}; allowed: 1 to {there}")
    if jax.process_count() > 1:
        return there
    return max(1, min(there, n_labels // _pays_from())) if wanted is None else wanted


def _pays_from() -> int:
    return PAYS_FROM if jax.default_backend() == "cpu" else PAYS_FROM_GPU


def used(n_labels: int, wanted: int | None = None) -> str:
    """Choose the number of devices for a fit of so many labels, with the reason for its record.

    Example:
        >>> used(1000, 1) == f"1 of {jax.device_count()}, as asked"
        True
    """
    n, there = n_devices(n_labels, wanted), jax.device_count()
    if wanted is not None:
        return f"{n} of {there}, as asked"
    if there == 1:
        return "the one device there is"
    return f"all {there}" if n == there else f"{n} of {there}: one more pays from {(n + 1) * _pays_from():,} labels on"


def fit(
    labels: Labels,
    model: FactorModel,
    key: PRNGKeyArray,
    solver: Solver = Solver(),
    start: Weights | None = None,
    *,
    devices: int | None = None,
    progress: drive.Progress | None = None,
) -> Fit:
    """Fit the factor model on several devices: ``crowdjax.factor.fit_jit``, arguments as there. Not to be traced.

    Args:
        labels: labels of this process's instances, with labelers indexed alike in all processes.
        model: model built for ``labels`` (``crowdjax.factor.build``); its labeler part is the same in every process.
        devices: number of devices; default: as many as speed up a fit of so many labels.
        progress: callback, called with the passes done. Return True to stop the fit, with the code ``STOPPED``. Not
            called in short fits and those of several processes.

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
    if not _is_long(labels, 0 if model.constant_beta else model.n_factors):
        return run(_fit_alone, labels, model, key, solver, start, devices=devices)[0]
    parts, mesh, whole = _laid_out(labels, model, start, devices)
    once = dataclasses.replace(solver, restarts=1)
    spread = None if mesh is None or mesh.size == 1 else drive.Spread(mesh, AXIS, _given, _fit_specs)
    n = solver.restarts if start is None else 1
    best, n_steps, stopped = None, 0, False
    for r in range(n):
        of_start = jax.random.fold_in(key, r) if n > 1 else key
        data, settings = _key_data(of_start, mesh), (once, jax.random.key_impl(key))
        name = "fit" if n == 1 else f"fit, start {r + 1} of {n}"
        found, stopped = drive.run(_staged, (*parts, data), settings, spread, progress, name)
        found = whole(jax.tree.map(_local if mesh else np.asarray, found))
        n_steps += found.n_steps
        if best is None or not best.objective >= found.objective:  # or it is not finite
            best = found
        if stopped:
            break
    code = np.asarray(optimize.STOPPED) if stopped and best.code <= optimize.STOPPED else best.code
    return dataclasses.replace(best, n_steps=n_steps, code=code)


def _is_long(labels: Labels, n_factors: int) -> bool:
    return jax.process_count() == 1 and np.count_nonzero(labels.real) * n_factors >= WATCHED_FROM


def _fit_alone(labels, model, key, solver, start):
    return fit_one(labels, model, key, solver, start), ()


def _staged(labels, model, start, key, settings):
    solver, impl = settings
    return stages(labels, model, jax.random.wrap_key_data(key, impl=impl), start, solver)


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
    """Run ``function`` on all shards at once, compiled once per shape; return what it returns.

    Args:
        function: (labels, model, key, solver, start) -> (``Fit`` of a shard, anything that is alike on all shards). At
            module level, so that equal calls share one program.
        room: sizes to make room for, so that smaller sets of labels share the program of larger ones.
        others: as in :func:`fit`.
    """
    parts, mesh, whole = _laid_out(labels, model, start, devices, room)
    impl = jax.random.key_impl(key)
    found, more = _run(function, *parts, _key_data(key, mesh), impl, solver, mesh)
    found, more = jax.tree.map(_local if mesh else np.asarray, (found, more))
    return whole(found), more


@partial(jax.jit, static_argnums=(0, 5, 6, 7))
def _run(function, labels, model, start, key, impl, solver, mesh):
    def one(labels, model, start, key):
        return function(labels, model, jax.random.wrap_key_data(key, impl=impl), solver, start)

    if mesh is None or labels.shard.axis is None:
        return one(labels, model, start, key)
    given, found = _given(labels, model, start, key), (_fit_specs(), P())
    return jax.shard_map(one, mesh=mesh, in_specs=given, out_specs=found, check_vma=False)(labels, model, start, key)


def _laid_out(labels: Labels, model: FactorModel, start: Weights | None, devices: int | None, room=None):
    """Return ((labels, model, start) on their devices, the mesh, a function from a fit of them to one of the whole).
    Without a mesh where one device has all, and nothing is to be gained from a shape that others share."""
    n_labels = np.count_nonzero(labels.real)
    if n_devices(n_labels, devices) == jax.process_count() == 1 and room is None and n_labels >= EXACT_FROM:
        parts = rows.on_device(labels), *jax.device_put((model, start))  # once, for however many programs
        return parts, None, lambda found: found
    mesh, plan, labels, place = _divide(labels, devices, room)
    parts = labels, cut_model(model, plan, place), None if start is None else cut_weights(start, plan, place)
    parts = _on_mesh(parts, specs(*parts), mesh)
    if mesh.size == 1:
        labels, *others = parts
        parts = rows.on_device(labels), *others
    return parts, mesh, lambda found: uncut(found, model, place)


def summary(labels: Labels, model: FactorModel, found: Fit) -> LabelerSummary:
    """Compute ``crowdjax.factor.labeler_summary`` by a program that tables of similar sizes share; returns NumPy
    arrays.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> from crowdjax.factor import PRESETS, build
        >>> model = build(PRESETS["dawid-skene"], labels)
        >>> int(summary(labels, model, fit(labels, model, jax.random.key(0))).accuracy.argmin())
        2
    """
    n = labels.n_labelers
    if np.count_nonzero(labels.real) < EXACT_FROM:
        _, plan, labels, place = _divide(labels, 1)
        model, weights = cut_model(model, plan, place), cut_weights(found.weights, plan, place)
        posterior = at_places(np.asarray(found.posterior), place, len(labels.shard.rows))
        found = dataclasses.replace(found, weights=weights, posterior=posterior)
    labels = rows.on_device(labels)
    return LabelerSummary(*(np.asarray(part)[:n] for part in labeler_summary(labels, model, found)))


def _given(labels, model, start, key):
    return *specs(labels, model, start), P()


def _fit_specs() -> Fit:
    return Fit(weight_specs(), P(AXIS), P(), P(), P(), P(), P(), P())


def _key_data(key: PRNGKeyArray, mesh: Mesh | None) -> Array:
    data = jax.random.key_data(key)
    return data if mesh is None else _put(data, NamedSharding(mesh, P()))


def fit_integrated(
    labels: Labels,
    config: IntegratedConfig = IntegratedConfig(),
    boundary: float = 0.0,
    features: IntegratedFeatures = IntegratedFeatures(),
    begin: Parameters | None = None,
    *,
    devices: int | None = None,
    progress: drive.Progress | None = None,
) -> IntegratedFit:
    """Fit the integrated model on several devices: ``crowdjax.integrated.fit_jit``, arguments as there. Not to be
    traced.

    Args:
        labels: labels of this process's instances, with labelers indexed alike in all processes.
        devices: number of devices; default: as many as speed up a fit of so many labels.
        progress: as in :func:`fit`.

    Returns:
        the fit, as NumPy arrays, alike in every process.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> fit_integrated(labels, devices=1).parameters.labelers[:, 0].argsort().tolist()[0]
        2
    """
    n_labelers, mesh, spread, long = labels.n_labelers, None, None, _is_long(labels, config.factors)
    parts = labels, np.asarray(boundary, jax.dtypes.canonicalize_dtype(float)), features, begin
    if n_devices(np.count_nonzero(labels.real), devices) > 1:
        mesh, plan, labels, place = _divide(labels, devices)
        homes = (np.arange(n_labelers), plan.n_labelers), (place, len(labels.shard.rows))
        pairs = zip(features, homes, strict=True)
        features = IntegratedFeatures(*(None if v is None else at_places(v, *home) for v, home in pairs))
        if begin is not None:
            rest = np.tile(begin.mean, (plan.n_labelers - n_labelers, 1))
            begin = begin._replace(labelers=np.concatenate([begin.labelers, rest]))
        parts = labels, parts[1], features, begin
        parts = _on_mesh(parts, integrated_specs(*parts), mesh)
        spread = drive.Spread(mesh, AXIS, integrated_specs, P)
    else:
        labels, *others = parts
        parts = rows.on_device(labels, lambda: len(config.nodes)), *jax.device_put(others)
    stopped = False
    if long:
        found, stopped = drive.run(integrated_stages, parts, config, spread, progress)
    else:
        found = (
            integrated.fit_jit(parts[0], config, *parts[1:]) if mesh is None else _run_integrated(*parts, config, mesh)
        )
    found = jax.tree.map(_local if mesh else np.asarray, found)
    return dataclasses.replace(
        found,
        parameters=found.parameters._replace(labelers=found.parameters.labelers[:n_labelers]),
        covariance=found.covariance[:n_labelers],
        counts=found.counts[:n_labelers],
        code=np.asarray(optimize.STOPPED) if stopped and found.code <= optimize.STOPPED else found.code,
    )


@partial(jax.jit, static_argnums=(4, 5))
def _run_integrated(labels, boundary, features, begin, config, mesh):
    def one(labels, boundary, features, begin):
        return fit_one_integrated(labels, config, boundary, features, begin)

    parts = labels, boundary, features, begin
    return jax.shard_map(one, mesh=mesh, in_specs=integrated_specs(*parts), out_specs=P(), check_vma=False)(*parts)


def _divide(labels: Labels, devices: int | None, room: Profile | None = None):
    """Return (the mesh, the plan, the shards, where each instance is in them)."""
    n = n_devices(np.count_nonzero(labels.real), devices)
    mesh = Mesh(np.array(jax.devices()[:n]), (AXIS,))
    edges, profile = plan_of(labels, len(mesh.local_devices))
    plan = _agreed(edges, profile if room is None else widest([profile, room]))
    return mesh, plan, *cut(labels, plan)


def _agreed(edges, profile: Profile) -> Plan:
    """Return the plan that all processes have in common."""
    if jax.process_count() == 1:
        return plan(edges, profile)
    mine = np.concatenate([np.ravel(v) for v in profile]).astype(np.int64)
    everyones = gather(np.r_[mine, edges[-1]])
    before = everyones[: jax.process_index(), -1].sum()
    first, second, third, *widths = everyones[:, :-1].max(0)
    if (everyones[:, 0] != first).any():
        raise InputError(f"n_labelers: {everyones[:, 0].tolist()} in the processes; allowed: the same in all (union)")
    common = Profile(first, second, third, np.array(widths))
    return plan(edges, common, int(before), jax.process_count())


def _on_mesh(parts, specs, mesh: Mesh):
    """Return the parts on their devices."""
    on_mesh = jax.tree.map(lambda spec: NamedSharding(mesh, spec), specs, is_leaf=lambda v: isinstance(v, P))
    return jax.tree.map(_put, parts, jax.tree.unflatten(jax.tree.structure(parts), jax.tree.leaves(on_mesh)))


def _put(values, sharding: NamedSharding) -> Array:
    """Return this process's part of an array, or all of what every process has alike, on its devices."""
    values = np.asarray(values)
    values = values.astype(jax.dtypes.canonicalize_dtype(values.dtype))
    return jax.make_array_from_process_local_data(sharding, values)


def _local(array: Array) -> np.ndarray:
    """Return what this process has of an array."""
    shards = {str(s.index): s for s in array.addressable_shards}  # one of those that are alike
    shards = sorted(shards.values(), key=lambda s: (s.index[0].start or 0) if s.index else 0)
    return np.concatenate([s.data for s in shards]) if array.ndim else np.asarray(shards[0].data)


# Several processes


def gather(values: np.ndarray) -> np.ndarray:
    """Collect an array from each process, stacked; every process gets all."""
    if jax.process_count() == 1:
        return np.asarray(values)[None]
    as_bytes = np.ascontiguousarray(values).view(np.uint8)  # whatever the type: JAX would make it one of 32 bits
    found = np.asarray(multihost_utils.process_allgather(as_bytes))
    return np.ascontiguousarray(found).view(values.dtype).reshape(-1, *np.shape(values))


def union(ids: np.ndarray) -> np.ndarray:
    """Compute the sorted union of the ids of all processes, for instance of labelers; every process gets the same.

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
