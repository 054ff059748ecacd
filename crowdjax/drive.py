"""Run a fit in blocks of steps from the host, to report progress and allow stopping.

The result is the same as that of the single compiled program.

The fit is an ``optimize.Staged``. The start of a stage, a block of its steps and its end are separate programs, of
which one holds the objective; the loop's state is donated from call to call. Between calls the host calls ``progress``.
On several devices every array of that state is stacked by device.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from jaxtyping import Array

from crowdjax import optimize

__all__ = ["Progress", "Spread", "run"]

PERIOD = 0.3  # seconds between two calls, about


@runtime_checkable
class Progress(Protocol):
    """Progress callback, called between compiled blocks of steps. Return True to stop the fit.

    Example: stop after ten passes
        >>> def impatient(stage, done, total, *, objective=None): return done >= 10
        >>> isinstance(impatient, Progress)
        True
    """

    def __call__(self, stage: str, done: int, total: int, *, objective: float | None = None) -> bool | None: ...


def silent(stage: str, done: int, total: int, *, objective: float | None = None) -> None:
    """Do nothing: the progress callback that reports nothing and never stops a fit."""


def or_interrupt(progress: Progress | None, message: str = "stopped") -> Progress:
    """Build a progress callback for a run without a partial result: a stop raises ``KeyboardInterrupt``.

    Raises:
        KeyboardInterrupt: ``progress`` returned True.

    Example:
        >>> told = or_interrupt(lambda stage, done, total: done == 2)
        >>> told("nuts", 1, 2)
        >>> try:  # a KeyboardInterrupt would end more than this example
        ...     told("nuts", 2, 2)
        ... except KeyboardInterrupt as interrupt:
        ...     print(interrupt)
        stopped
    """

    if progress is None:
        return silent

    def told(stage: str, done: int, total: int, *, objective: float | None = None) -> None:
        if progress(stage, done, total, **({} if objective is None else {"objective": objective})):
            raise KeyboardInterrupt(message)

    return told


class Spread(NamedTuple):
    """How arguments and results are sharded over the devices of a mesh.

    Attributes:
        axis: name of the mesh axis.
        given: function: arguments -> their PartitionSpecs.
        found: function without arguments: -> the PartitionSpecs of the result.

    Example: everything on every device
        >>> mesh = Mesh(np.array(jax.devices()[:1]), ("devices",))
        >>> Spread(mesh, "devices", lambda *args: tuple(P() for _ in args), P).found()
        P()
    """

    mesh: Mesh
    axis: str
    given: Callable[..., Any]
    found: Callable[[], Any]


def run(
    make: Callable[..., optimize.Staged],
    args: tuple,
    settings: Any,
    spread: Spread | None = None,
    progress: Progress | None = None,
    name: str = "fit",
) -> tuple[Any, bool]:
    """Run the stages ``make(*args, settings)`` in blocks of steps; return (their result, whether ``progress`` stopped
    them early).

    Args:
        make: function that builds a ``Staged``; at module level, so that equal calls share their programs.
        args: pytrees of arrays.
        settings: hashable, static under jit.
        progress: callback; its ``total`` is the largest number of steps of the stage. At least one step is made.

    Example: one stage that halves x
        >>> def halve(x, k): return optimize.Step(x / 2, (x**2).sum(), 2 * x, None)
        >>> def make(x, n):
        ...     return optimize.Staged(
        ...         first=(x, jnp.array(optimize.RUNNING)), numbers=np.arange(1),
        ...         prepare=lambda carry, k: carry, limit=lambda carry, k: jnp.asarray(n),
        ...         loop=lambda carry, k: optimize.iteration(halve, carry[0], max_steps=n),
        ...         close=lambda carry, k, found: (found.x, found.code),
        ...         code=lambda carry: carry[1], end=lambda carry: carry[0])
        >>> x, stopped = run(make, (jnp.array([8.0]),), 3)
        >>> x.tolist(), stopped
        ([2.0], False)
    """
    piece = partial(_piece, make, settings, spread, args)
    host = np.asarray if spread is None else _of_first_device
    carry, numbers = piece("begin")
    before, stopped = 0, False
    for k in host(numbers):
        carry, state, limit, code = piece("open", carry=carry, k=k)
        limit = int(host(limit))
        if stopped:
            if int(host(code)) != optimize.RUNNING:
                break
            limit = min(limit, 1)
        done, at_once = 0, 1
        while limit > 0:
            began = time.perf_counter()
            state = piece("advance", carry=carry, state=state, k=k, until=min(done + at_once, limit))
            done = int(host(state.n_steps))
            objective = -float(host(state.history)[done - 1])
            asked = progress is not None and progress(name, before + done, before + limit, objective=objective)
            if done >= limit or int(host(state.code)) != optimize.RUNNING:
                break
            if asked:
                stopped = True
                break
            took = time.perf_counter() - began
            at_once = 2 * at_once if took < PERIOD / 2 else max(1, at_once // 2) if took > 2 * PERIOD else at_once
        carry = piece("close", carry=carry, state=state, k=k)
        before += done
    return piece("end", carry=carry), stopped


@partial(jax.jit, static_argnums=(0, 1, 2, 4), donate_argnames="state")
def _piece(make, settings, spread, args, name, *, carry=None, state=None, k=0, until=0):
    """Return one part of the fit."""

    def one(args, carry, state, k, until):
        staged = make(*args, settings)
        if name == "begin":
            return staged.first, jnp.asarray(staged.numbers)
        if name == "open":
            carry = staged.prepare(carry, k)
            return carry, staged.loop(carry, k).init, staged.limit(carry, k), staged.code(carry)
        if name == "advance":
            return staged.loop(carry, k).advance(state, until)
        if name == "close":
            return staged.close(carry, k, staged.loop(carry, k).solution(state))
        return staged.end(carry)

    if spread is None:
        return one(args, carry, state, k, until)

    def on_device(args, carry, state, k, until):
        carry, state = jax.tree.map(lambda v: v[0], (carry, state))
        found = one(args, carry, state, k, until)
        return found if name == "end" else jax.tree.map(lambda v: v[None], found)

    stacked = P(spread.axis)
    mapped = jax.shard_map(
        on_device,
        mesh=spread.mesh,
        in_specs=(spread.given(*args), stacked, stacked, P(), P()),
        out_specs=spread.found() if name == "end" else stacked,
        check_vma=False,
    )
    return mapped(args, carry, state, jnp.asarray(k), jnp.asarray(until))


def _of_first_device(stacked: Array) -> np.ndarray:
    """Return the value of the first device; whatever a decision rests on is equal on all."""
    return np.asarray(stacked.addressable_data(0))[0]
