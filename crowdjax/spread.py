"""Fit any observation model over one device or several, in blocks of steps where it is long.

Labels are cut by instance (``crowdjax.shards``); so are parameters and data of a model that its ``specs`` and
``own_specs`` say are by instance. All others are on every device, and a pass adds its sums up.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.sharding import PartitionSpec as P

from crowdjax import drive, optimize, parallel, rows
from crowdjax.labels import Labels
from crowdjax.layout import AXIS, at_places
from crowdjax.observation import room as rooms
from crowdjax.observation.contract import Observation, Params
from crowdjax.observation.fit import Fit, Solver, fit_jit, stages
from crowdjax.observation.fit import fit as fit_one
from crowdjax.shards import spread_specs


def fit(
    labels: Labels,
    model: Observation,
    start: Params | None = None,
    solver: Solver = Solver(),
    *,
    devices: int | None = None,
    progress: drive.Progress | None = None,
) -> Fit:
    """Return ``observation.fit_jit`` on several devices; arguments as there. Not to be traced.

    Args:
        devices: how many; by default all that pay for so many labels.
        progress: callback of a long fit; return True to stop the fit, with the code ``STOPPED``.

    Returns:
        The fit, as NumPy arrays.

    Example:
        >>> from crowdjax.observation import OneCoin
        >>> labels = Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 2, 2], n_values=3)
        >>> fit(labels, OneCoin(), devices=1).posterior.argmax(1).tolist()
        [2]
    """
    n_labels = int(np.count_nonzero(np.asarray(labels.real)))
    n = parallel.n_devices(n_labels, devices)
    long = n_labels * labels.n_classes >= parallel.WATCHED_FROM

    def placed(labels):
        return rows.on_device(labels, lambda: _n_points(labels, model))

    if n == 1 and not long:
        room = rooms.of(labels, model)
        if room is None:
            return jax.tree.map(np.asarray, fit_jit(placed(labels), model, start, solver))
        begin = None if start is None else room.params(model, start)
        return room.fit_of(model, jax.tree.map(np.asarray, fit_jit(placed(room.labels), model, begin, solver)))
    arrays, static = eqx.partition(model, eqx.is_array)
    settings, stopped, spread = (static, solver), False, None
    whole = lambda found: found  # noqa: E731
    if n > 1:
        parts, spread, whole = _laid_out(labels, model, arrays, start, devices)
    else:
        parts = placed(labels), arrays, start
    if long:
        found, stopped = drive.run(_staged, parts, settings, spread, progress)
    else:
        found = _run(parts, settings, spread)
    found = whole(jax.tree.map(parallel._local if n > 1 else np.asarray, found))
    code = np.asarray(optimize.STOPPED) if stopped and found.code <= optimize.STOPPED else found.code
    return dataclasses.replace(found, code=code)


def _n_points(labels: Labels, model: Observation) -> int:
    if not hasattr(model, "class_of_point"):  # factors: a logarithm for each class
        return labels.n_classes
    votes = jax.ShapeDtypeStruct((labels.n_instances, labels.n_classes), jax.dtypes.canonicalize_dtype(float))
    return jax.eval_shape(lambda v: model.class_of_point(model.start(labels, v)), votes).shape[0]


def _staged(labels, arrays, start, settings):
    static, solver = settings
    return stages(labels, eqx.combine(arrays, static), start, solver)


@partial(jax.jit, static_argnums=(1, 2))
def _run(parts, settings, spread):
    static, solver = settings

    def one(labels, arrays, start):
        return fit_one(labels, eqx.combine(arrays, static), start, solver)

    mapped = jax.shard_map(
        one, mesh=spread.mesh, in_specs=spread.given(*parts), out_specs=spread.found(), check_vma=False
    )
    return mapped(*parts)


def _laid_out(labels: Labels, model: Observation, arrays, start, devices: int | None):
    """Return ((labels, arrays, start) on their devices, how they are spread, a fit of them -> one of the whole)."""
    n_labelers = labels.n_labelers
    mesh, _, shards, place = parallel._divide(labels, devices)
    # Labelers are not padded: a population that is learnt from them would take padding for labelers.
    shards = dataclasses.replace(shards, n_labelers=n_labelers)
    votes = jax.ShapeDtypeStruct((labels.n_instances, labels.n_classes), jax.dtypes.canonicalize_dtype(float))
    params = jax.eval_shape(lambda votes: model.start(labels, votes), votes)
    of_params = _places(model.specs(params), params)
    of_model = (
        _places(model.own_specs(), arrays) if hasattr(model, "own_specs") else jax.tree.map(lambda _: P(), arrays)
    )
    total = len(shards.shard.rows)

    def cut(spec, value):
        return at_places(value, place, total) if spec == P(AXIS) else value

    is_spec = lambda v: isinstance(v, P)  # noqa: E731
    arrays = jax.tree.map(cut, of_model, arrays, is_leaf=is_spec)
    start = None if start is None else jax.tree.map(cut, of_params, start, is_leaf=is_spec)
    given = _Given(of_model, None if start is None else of_params)
    parts = parallel._on_mesh((shards, arrays, start), given(shards, arrays, start), mesh)

    def whole(found: Fit) -> Fit:
        params = jax.tree.map(
            lambda spec, v: v[place] if spec == P(AXIS) else v, of_params, found.params, is_leaf=is_spec
        )
        return dataclasses.replace(found, params=params, posterior=jax.tree.map(lambda v: v[place], found.posterior))

    return parts, drive.Spread(mesh, AXIS, given, _Found(of_params)), whole


def _places(specs: Any, values: Any) -> Any:
    """Return ``"instance"`` as spread over the devices, all else as on each, in the structure of the values."""
    leaves = jax.tree.leaves(specs, is_leaf=lambda v: v is None)
    return jax.tree.unflatten(jax.tree.structure(values), [P(AXIS) if v == "instance" else P() for v in leaves])


class _Frozen:
    """A tree of specs that can be hashed."""

    def __init__(self, tree):
        leaves, self.structure = jax.tree.flatten(tree, is_leaf=lambda v: isinstance(v, P))
        self.leaves = tuple(leaves)

    def tree(self):
        return jax.tree.unflatten(self.structure, self.leaves)

    def __hash__(self):
        return hash((self.leaves, self.structure))

    def __eq__(self, other):
        return isinstance(other, type(self)) and (self.leaves, self.structure) == (other.leaves, other.structure)


class _Given(_Frozen):
    """How labels, a model's arrays and a start are spread."""

    def __init__(self, of_model, of_start):
        super().__init__((of_model, of_start))

    def __call__(self, labels, arrays, start):
        return spread_specs(labels), *self.tree()


class _Found(_Frozen):
    """How a fit is spread."""

    def __call__(self):
        return Fit(self.tree(), P(AXIS), P(), P(), P(), P(), P())
