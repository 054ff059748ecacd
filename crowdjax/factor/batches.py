"""Many fits at once: repeats, factor counts, restarts, prior scales, folds.

On a CPU members are fitted one after the other, in one program, so that short fits do not wait for long ones. Elsewhere
a batch of as many members as the device's memory holds takes each step together (vmap). Members that have converged
leave: every few steps the host checks which members continue, and where they are a quarter of the batch or fewer, the
next steps run in a smaller batch. A member's steps are the same in any batch, on any device, up to rounding.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import PRNGKeyArray

from crowdjax import optimize
from crowdjax.factor.fit import Fit, Solver, fit, stages
from crowdjax.factor.model import FactorModel
from crowdjax.labels import Labels

Make = Callable[[Any, Any], tuple[Labels, FactorModel, PRNGKeyArray]]

STEPS = 20  # between two questions of the host; a multiple of the steps between two preconditioners
SMALLER = 4  # batches are so many times smaller each time
SHARE = 0.5  # of a device's memory, for one batch
VECTORS = 24  # of the length of a member's parameters, that its solver holds


def sweep(make: Make, shared: Any, members: Any, solver: Solver = Solver(), batch_size: int | None = None) -> Fit:
    """Fit many problems of one shape (the members of a batch) with shared compiled programs.

    Args:
        make: function (shared, member) -> (labels, model, key), traced once; at module level, so that equal sweeps
            share their programs.
        shared: data that all members use, for instance the labels; an argument, never closed over.
        members: a pytree whose leaves have a leading axis of length R: weights, factor counts, keys.
        solver: settings of the solver, for every member.
        batch_size: number of members that run in lock-step (vmap). Default: 1 on a CPU, elsewhere as many as fit into
            half of the device's memory.

    Where this process has several devices each takes its share of the members; they do not wait for each other.

    Returns:
        a ``Fit`` whose leaves have the leading axis R. A member that failed is a row with its code.

    Example: a bootstrap of two members over the weights of labels
        >>> from crowdjax.factor import PRESETS, build
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> def make(shared, weight): return shared[0].with_weight(weight), shared[1], jax.random.key(0)
        >>> shared = labels, build(PRESETS["dawid-skene"], labels)
        >>> sweep(make, shared, np.array([[1.0] * 12, [2.0] * 12], np.float32)).posterior.shape
        (2, 4)
    """
    size, mesh = _lock_step(make, shared, members, batch_size)
    if size == 1 or mesh is not None:
        return _one_program(make, shared, members, solver, size, mesh)
    n, restarts = _length(members), solver.restarts
    number = np.repeat(np.arange(n), restarts), np.tile(np.arange(restarts), n)  # member and restart of each fit
    found = []
    for a in range(0, n * restarts, size):
        member, restart = (np.resize(v[a : a + size], size) for v in number)  # what fills up the last is left out
        found.append(_batch(make, shared, jax.tree.map(lambda v, m=member: v[m], members), restart, solver))
    whole = jax.tree.map(lambda *parts: jnp.concatenate(parts)[: n * restarts], *found)
    if restarts == 1:
        return whole
    whole = jax.tree.map(lambda v: v.reshape(n, restarts, *v.shape[1:]), whole)
    best = jnp.argmax(jnp.where(jnp.isfinite(whole.objective), whole.objective, -jnp.inf), axis=1)
    chosen = jax.tree.map(lambda v: v[jnp.arange(n), best], whole)
    return dataclasses.replace(chosen, n_steps=whole.n_steps.sum(1))


def lower_sweep(make: Make, shared: Any, members: Any, solver: Solver = Solver(), batch_size: int | None = None):
    """Lower the program of :func:`sweep` on a CPU; compiled, it reports the memory it needs, and a later sweep finds it
    in the cache.
    """
    return _one_program.lower(make, shared, members, solver, *_lock_step(make, shared, members, batch_size))


def _length(members) -> int:
    return jax.tree.leaves(members)[0].shape[0]


def _lock_step(make, shared, members, batch_size: int | None) -> tuple[int, Mesh | None]:
    """Return (how many members run in lock-step, over which devices)."""
    n = _length(members)
    devices = jax.local_devices()[:n]
    if batch_size is None:
        batch_size = 1 if jax.default_backend() == "cpu" else _fitting(make, shared, members, devices[0])
    return min(batch_size, n), Mesh(np.array(devices), ("members",)) if len(devices) > 1 else None


def _fitting(make, shared, members, device) -> int:
    """Return how many members fit into the device's memory."""
    member = jax.tree.map(lambda v: v[0], members)
    labels, model, _ = jax.eval_shape(make, shared, member)
    n_parameters = sum(v.size for v in jax.tree.leaves(model.mean))
    each = labels.label.size * (40 + 16 * model.n_factors) + 4 * VECTORS * n_parameters
    limit = (device.memory_stats() or {}).get("bytes_limit")
    return _length(members) if limit is None else max(1, int(SHARE * limit / each))


@eqx.filter_jit
def _one_program(make, shared, members, solver, batch_size, mesh):
    def many(shared, members):
        def one(member):
            labels, model, key = make(shared, member)
            return fit(labels, model, key, solver)

        return jax.lax.map(one, members, batch_size=batch_size if batch_size > 1 else None)

    if mesh is None:
        return many(shared, members)
    # every device gets every so manyth member: neighbours are alike, and so are their lengths
    n = _length(members)
    each = -(-n // mesh.size)
    order = jnp.arange(each * mesh.size).reshape(each, mesh.size).T.ravel()
    spread = jax.tree.map(lambda v: v[jnp.minimum(order, n - 1)], members)
    run = jax.shard_map(many, mesh=mesh, in_specs=(P(), P("members")), out_specs=P("members"), check_vma=False)
    back = jnp.argsort(order)[:n]
    return jax.tree.map(lambda v: v[back], run(shared, spread))


def _batch(make, shared, members, restart, solver) -> Fit:
    """Return the fits of a batch, which the host drives: what :func:`fit` finds."""

    def part(name, **given) -> Any:
        return _part(make, solver, name, shared, members, restart, **given)

    carry, numbers = part("begin")
    for k in np.asarray(numbers)[0]:
        carry, state, limit = part("open", carry=carry, k=k)
        going, steps, size = np.flatnonzero(np.asarray(limit) > 0), 0, len(restart)
        while going.size:
            while size > SMALLER and going.size <= size // SMALLER:
                size //= SMALLER
            steps += STEPS
            rows = np.resize(going, size)  # some twice, where there are fewer: their states are equal
            state, goes_on = part("advance", carry=carry, state=state, limit=limit, k=k, rows=rows, until=steps)
            going = going[np.asarray(goes_on)[: going.size]]
        carry = part("close", carry=carry, state=state, k=k)
    return part("end", carry=carry)


@eqx.filter_jit(donate="none")
def _part(make, solver, name, shared, members, restart, *, carry=None, state=None, limit=None, k=0, rows=None, until=0):
    """Return one part of the fits of a batch (``crowdjax.drive`` has the same of one fit)."""
    once = dataclasses.replace(solver, restarts=1)

    def staged(member, restart):
        labels, model, key = make(shared, member)
        if solver.restarts > 1:
            key = jax.random.fold_in(key, restart)
        return stages(labels, model, key, None, once)

    def each(function, *args, rows=None):
        of = lambda tree: tree if rows is None else jax.tree.map(lambda v: v[rows], tree)  # noqa: E731
        return jax.vmap(lambda m, r, *a: function(staged(m, r), *a))(*(of(tree) for tree in (members, restart, *args)))

    if name == "begin":
        return each(lambda s: (s.first, jnp.asarray(s.numbers)))
    if name == "open":

        def opened(s, carry):
            carry = s.prepare(carry, k)
            return carry, s.loop(carry, k).init, s.limit(carry, k)

        return each(opened, carry)
    if name == "advance":

        def advanced(s, carry, state, limit):
            state = s.loop(carry, k).advance(state, jnp.minimum(until, limit))
            return state, (state.code == optimize.RUNNING) & (state.n_steps < limit)

        moved, goes_on = each(advanced, carry, state, limit, rows=rows)
        return jax.tree.map(lambda all_, new: all_.at[rows].set(new), state, moved), goes_on
    if name == "close":
        return each(lambda s, carry, state: s.close(carry, k, s.loop(carry, k).solution(state)), carry, state)
    return each(lambda s, carry: s.end(carry), carry)
