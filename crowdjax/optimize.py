"""One loop driver for every solver: jitted, vmappable, with history, convergence on the objective and result codes.

A solver is a ``Loop``: the initial state, the body of a while-loop, and the ``Solution`` of the final state. It runs as
one program (``minimize``, ``iterate``, ``accelerate``), or in blocks of steps from the host (``crowdjax.drive``).

``minimizer`` is a while-loop whose body evaluates the objective at ONE trial point, so a program holds one copy of the
objective. The direction comes from an optax transformation (``crowdjax.directions``) that is preconditioned by a
diagonal; the step is halved by quadratic interpolation until the objective falls enough (Armijo). Under vmap, members
that have converged keep their state until all have. All decisions depend on objective values and inner products alone,
so devices that share a point take the same decisions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from crowdjax.stopping import (
    CONVERGED,
    MAX_STEPS,
    MEANING,
    MEMORY,
    NOISE,
    NONFINITE,
    PROMISED,
    RIDGE,
    RUNNING,
    SERIES,
    STALLED,
    STOPPED,
)

if TYPE_CHECKING:
    from crowdjax.directions import Rule

__all__ = [
    "CONVERGED",
    "MAX_STEPS",
    "MEANING",
    "NONFINITE",
    "RUNNING",
    "STALLED",
    "STOPPED",
    "Loop",
    "Solution",
    "Staged",
    "Step",
    "accelerate",
    "iterate",
    "minimize",
]

ARMIJO = 1e-4
MAX_BACKTRACKS = 12


class Solution(NamedTuple):
    """The result of a minimisation: point, value, gradient, the objective's auxiliary output, result code and history.

    Example: its result code in words
        >>> zero = jnp.zeros(())
        >>> MEANING[int(Solution(zero, zero, zero, None, jnp.array(CONVERGED), jnp.array(3), zero).code)]
        'converged'
    """

    x: Float[Array, " P"]
    value: Float[Array, ""]
    grad: Float[Array, " P"]
    aux: Any
    code: Int[Array, ""]
    n_steps: Int[Array, ""]  # evaluations of the objective
    history: Float[Array, " T"]  # value after each step, NaN beyond the last one


class Loop(NamedTuple):
    """A solver as a while-loop: the initial state, the body, and the ``Solution`` read from the final state. Every
    state has a ``code`` and ``n_steps``.

    Attributes:
        renew: function applied to the state before steps 0, ``period``, 2 ``period``, ...; None: nothing. It runs in an
            outer loop: as a condition within the body, a batch of members (vmap) would run it at every step.

    Example: two steps, then the rest
        >>> def halve(x, k): return Step(x / 2, (x**2).sum(), 2 * x, None)
        >>> loop = iteration(halve, jnp.array([8.0]), max_steps=50)
        >>> state = loop.advance(loop.init, 2)
        >>> int(state.n_steps), int(loop.solution(loop.advance(state, 50)).n_steps) == int(loop.run().n_steps)
        (2, True)
    """

    init: Any
    body: Callable[[Any], Any]
    solution: Callable[[Any], Solution]
    max_steps: int
    renew: Callable[[Any], Any] | None = None
    period: int = 1

    def advance(self, state: Any, until: Int[Array, ""] | int) -> Any:
        """Run the loop until it has made ``until`` steps in all or has ended; return its state."""
        until = jnp.minimum(until, self.max_steps)

        def goes_on(s):
            return (s.code == RUNNING) & (s.n_steps < until)

        if self.renew is None:
            return jax.lax.while_loop(goes_on, self.body, state)
        renew, period = self.renew, self.period

        def steps(start):
            start = jax.lax.cond(start.n_steps % period == 0, renew, lambda s: s, start)
            same = lambda s: (s.n_steps == start.n_steps) | (s.n_steps % period != 0)  # noqa: E731
            return jax.lax.while_loop(lambda s: goes_on(s) & same(s), self.body, start)

        return jax.lax.while_loop(goes_on, steps, state)

    def run(self, limit: Int[Array, ""] | int | None = None) -> Solution:
        """Run the loop to its end, for at most ``limit`` steps (may be traced; 0 skips the work; default
        ``max_steps``), and return the ``Solution``.
        """
        return self.solution(self.advance(self.init, self.max_steps if limit is None else limit))


class Staged(NamedTuple):
    """A fit as a sequence of stages, each a ``Loop``; a carry passes from one stage to the next.

    Attributes:
        first: carry before the first stage.
        numbers: numbers of the stages, in order.
        prepare: (carry, k) -> carry with which stage k starts.
        limit: (carry, k) -> largest number of steps of stage k.
        loop: (carry, k) -> its ``Loop``.
        close: (carry, k, its ``Solution``) -> carry.
        code: carry -> the result code, RUNNING until it ends.
        end: carry -> the result.

    Example: ``crowdjax.drive.run`` has one of a single stage
        >>> Staged._fields[:2]
        ('first', 'numbers')
    """

    first: Any
    numbers: np.ndarray
    prepare: Callable[[Any, Array], Any]
    limit: Callable[[Any, Array], Array]
    loop: Callable[[Any, Array], Loop]
    close: Callable[[Any, Array, Solution], Any]
    code: Callable[[Any], Array]
    end: Callable[[Any], Any]

    def run(self) -> Any:
        """Run all stages in one program that holds one copy of the objective, and return the result."""

        def stage(carry, k):
            carry = self.prepare(carry, k)
            return self.close(carry, k, self.loop(carry, k).run(self.limit(carry, k))), None

        return self.end(jax.lax.scan(stage, self.first, jnp.asarray(self.numbers))[0])


class _State(NamedTuple):
    x: Array
    value: Array
    grad: Array
    aux: Any
    direction: Array
    slope: Array  # directional derivative
    steepest: Array  # the gradient's inner product with gradient / diagonal
    step: Array
    diagonal: Array
    coming: Array  # the diagonal at the next point, where it is renewed there
    rule: Any
    small: Array  # successive accepted steps with a small decrease
    backtracks: Array
    fresh: Array  # whether the direction is the preconditioned gradient
    code: Array
    n_steps: Array
    history: Array


def minimizer(
    objective: Callable[[Array], tuple[Array, Array, Any]],
    x0: Float[Array, " P"],
    rule: Rule,
    *,
    diagonal: Callable[[Array], Array],
    max_steps: int,
    rtol: Float[Array, ""] | float = 1e-7,
    patience: int = 3,
    refresh: int = 10,
) -> Loop:
    """Build a line-search minimiser of ``objective`` from ``x0``; :func:`minimize` runs it.

    Args:
        objective: x -> (value, gradient, anything). Called at one place of the program. Where points are spread over
            devices the value is not finite wherever some device's part of the gradient is not.
        rule: optax transformation: gradient -> ascent direction, with the extra arguments ``before`` (the last accepted
            point and its gradient; x0 and 0 at first), ``diagonal``, ``accepted`` (if False, the point was rejected and
            must not update the state) and ``restart`` (reset the state). Its state has ``slope`` and ``steepest``, the
            gradient's inner products with the direction and with gradient / diagonal.
        diagonal: x -> positive diagonal of a Hessian bound, the preconditioner.
        max_steps: largest number of evaluations, and the length of the history (static).
        rtol: relative tolerance: the loop has converged after ``patience`` accepted steps in a row that each lowered
            the value by less than ``rtol`` (1 + |value|).
        refresh: number of steps after which the diagonal is recomputed; 0: only at the first step.
    """
    shape = jax.eval_shape(objective, x0)
    dtype = shape[0].dtype
    noise, period = 8 * jnp.finfo(dtype).eps, refresh or max_steps

    # The first step evaluates x0 itself: a zero direction from a value of +inf is always accepted.
    init = _State(
        x=x0,
        value=jnp.array(jnp.inf, dtype),
        grad=jnp.zeros_like(x0),
        aux=jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shape[2]),
        direction=jnp.zeros_like(x0),
        slope=jnp.array(0, dtype),
        steepest=jnp.array(0, dtype),
        step=jnp.array(1, dtype),
        diagonal=jnp.ones_like(x0),
        coming=jnp.ones_like(x0),
        rule=rule.init(x0),
        small=jnp.array(0),
        backtracks=jnp.array(0),
        fresh=jnp.array(True),
        code=jnp.array(RUNNING),
        n_steps=jnp.array(0),
        history=jnp.full(max_steps, jnp.nan, dtype),
    )

    def body(s: _State) -> _State:
        # One evaluation a turn, whether it ends a line search or only shortens its step: a nested loop for the search
        # would compile the objective twice, and under vmap every member would wait for the longest search.
        x = s.x + s.step * s.direction
        value, grad, aux = objective(x)
        finite = jnp.isfinite(value) & jnp.isfinite(grad).all()
        first = s.n_steps == 0
        # Armijo's condition; near the minimum the decrease that it asks for drowns in the value's rounding
        enough = value <= s.value + ARMIJO * s.step * s.slope + noise * jnp.abs(s.value)
        accepted = finite & (first | enough)
        tired = ~accepted & (s.backtracks + 1 >= MAX_BACKTRACKS)
        restart = tired & ~s.fresh  # anew with the preconditioned gradient
        # A new diagonal counts from an accepted point on: within a line search the direction must stay what it was.
        d = jnp.where(accepted & (s.n_steps % period == 0), s.coming, s.diagonal)

        # A rejected point wastes this update; a condition around it would copy the memory of the rule at every step.
        upward, rule_state = rule.update(
            grad, s.rule, x, before=(s.x, s.grad), diagonal=d, accepted=accepted, restart=restart
        )
        update = jnp.asarray(upward)
        keep = lambda new, old: jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, old)  # noqa: E731
        at = keep(grad, s.grad)
        plain = -at / d
        slope = -rule_state.slope
        descends = slope < 0  # else what the rule has learnt is of no use: the preconditioned gradient always descends
        direction = jnp.where(accepted & descends, -update, jnp.where(accepted | restart, plain, s.direction))
        steepest = keep(rule_state.steepest, s.steepest)
        slope = jnp.where(accepted & descends, slope, jnp.where(accepted | restart, -steepest, s.slope))

        small = jnp.where(~first & (s.value - value <= rtol * (1 + jnp.abs(value))), s.small + 1, 0)
        # Several small decreases in a row: one alone may be a short step on the way. A slope of 0 is a zero gradient.
        done = accepted & ((small >= patience) | (slope >= 0))
        code = jnp.where(done, CONVERGED, jnp.where(tired & s.fresh, STALLED, RUNNING))
        # The parabola through the value and the slope at the last point and the value at the rejected one
        excess = value - s.value - s.step * s.slope
        best = -s.slope * s.step / (2 * excess)  # its minimum, as a fraction of the step
        shrink = jnp.where(jnp.isfinite(best), jnp.clip(best, 0.1, 0.5), 0.1)
        value = keep(value, s.value)
        return _State(
            x=keep(x, s.x),
            value=value,
            grad=at,
            aux=keep(aux, s.aux),
            direction=direction,
            slope=slope,
            steepest=steepest,
            step=jnp.where(accepted | restart, 1.0, s.step * shrink).astype(dtype),
            diagonal=d,
            coming=s.coming,
            rule=rule_state,
            small=keep(small, s.small),
            backtracks=jnp.where(accepted | restart, 0, s.backtracks + 1),
            fresh=jnp.where(accepted, first | ~descends, s.fresh | restart),
            code=jnp.where(first & ~finite, NONFINITE, code),
            n_steps=s.n_steps + 1,
            history=s.history.at[s.n_steps].set(value),
        )

    def solution(end: _State) -> Solution:
        return Solution(end.x, end.value, end.grad, end.aux, _ended(end.code), end.n_steps, end.history)

    def renew(s: _State) -> _State:
        return s._replace(coming=diagonal(s.x + s.step * s.direction))

    return Loop(init, body, solution, max_steps, renew, period)


def minimize(objective, x0, rule, *, limit=None, **settings) -> Solution:
    """Run :func:`minimizer` for at most ``limit`` evaluations of the objective; other arguments and shapes as there.

    Example:
        >>> from crowdjax.directions import lbfgs
        >>> def parabola(x): return ((x - 3) ** 2).sum(), 2 * (x - 3), None
        >>> minimize(parabola, jnp.zeros(2), lbfgs(5), diagonal=lambda x: 0 * x + 2, max_steps=20).x.tolist()
        [3.0, 3.0]
    """
    return minimizer(objective, x0, rule, **settings).run(limit)


def _ended(code):
    return jnp.where(code == RUNNING, MAX_STEPS, code)


class Step(NamedTuple):
    """The output of one fixed-point step from x: the next point, and the value, gradient and auxiliary output at x.

    Example: half the way to 0, at which x² is looked at
        >>> Step(jnp.array(1.0), jnp.array(4.0), jnp.array(4.0), None).value.item()
        4.0
    """

    x: Float[Array, " P"]
    value: Float[Array, ""]
    grad: Float[Array, " P"]
    aux: Any


class _Iteration(NamedTuple):
    at: Array
    step: Step
    small: Array
    code: Array
    n_steps: Array
    history: Array


def iteration(
    step: Callable[[Array, Array], Step],
    x0: Float[Array, " P"],
    *,
    max_steps: int,
    rtol: Float[Array, ""] | float = 1e-7,
    patience: int = 3,
    period: int = 1,
) -> Loop:
    """Build the loop ``x = step(x, k)``, repeated until the value stops falling, as in EM; :func:`iterate` runs it.

    Args:
        step: (x, number of the step) -> ``Step``.
        period: number of steps in a round (the blocks of a blockwise step); convergence is judged over whole rounds.
        others: as in ``minimizer``.

    """
    shape = jax.eval_shape(step, x0, jnp.array(0))
    zero = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), shape)
    dtype = zero.value.dtype
    init = _Iteration(
        at=x0,
        step=zero._replace(x=x0, value=jnp.array(jnp.inf, dtype)),
        small=jnp.array(0),
        code=jnp.array(RUNNING),
        n_steps=jnp.array(0),
        history=jnp.full(max_steps, jnp.nan, dtype),
    )

    def body(s: _Iteration) -> _Iteration:
        at = s.step.x
        new = step(at, s.n_steps)
        small = (s.step.value - new.value <= rtol / period * (1 + jnp.abs(new.value))) & (s.n_steps > 0)
        small = jnp.where(small, s.small + 1, 0)
        code = jnp.where(small >= patience * period, CONVERGED, RUNNING)
        code = jnp.where(jnp.isfinite(new.value) & jnp.isfinite(new.grad).all(), code, NONFINITE)
        return _Iteration(at, new, small, code, s.n_steps + 1, s.history.at[s.n_steps].set(new.value))

    def solution(end: _Iteration) -> Solution:
        step = end.step
        return Solution(end.at, step.value, step.grad, step.aux, _ended(end.code), end.n_steps, end.history)

    return Loop(init, body, solution, max_steps)


def iterate(step, x0, *, limit=None, **settings) -> Solution:
    """Run :func:`iteration` for at most ``limit`` steps; other arguments and shapes as there.

    Example:
        >>> def halve(x, k): return Step(x / 2, (x**2).sum(), 2 * x, None)
        >>> solution = iterate(halve, jnp.array([1.0, -3.0]), max_steps=50)
        >>> bool(abs(solution.x).max() < 1e-3), int(solution.code) == CONVERGED
        (True, True)
    """
    return iteration(step, x0, **settings).run(limit)


class _Accelerated(NamedTuple):
    trial: Array
    x: Array
    step: Step  # at x
    moves: Array  # [memory, P], differences of successive images
    changes: Array  # [memory, P], of successive residuals
    count: Array  # points since the memory was empty
    gain: Array
    code: Array
    n_steps: Array
    history: Array


def acceleration(
    step: Callable[[Array], tuple[Step, Array]],
    x0: Float[Array, " P"],
    *,
    max_steps: int,
    rtol: Float[Array, ""] | float = 1e-6,
    memory: int = MEMORY,
    rise: float = 0.0,
    images: bool = False,
) -> Loop:
    """Build Anderson's acceleration of a fixed-point iteration that lowers a value, as EM does; :func:`accelerate` runs
    it.

    The next point is the combination of the last images whose residuals, in the metric, come nearest to cancelling.
    Where that raises the value, the last image itself is next, and the memory starts anew.

    Args:
        step: x -> (``Step``, a positive diagonal that approximates the Hessian: the metric).
        rtol: relative tolerance: converged where the estimated remaining gain is less than ``rtol`` (1 + |value|). The
            estimate is the geometric series of the last two gains, and five times the gain that the step predicts by
            the metric.
        memory: number of differences to combine.
        rise: rise of the value that a step may cause, relative to 1 + |value|, for iterations that are not quite
            monotone.
        images: whether images that are no combinations are next whatever their value, while they promise more than
            rounding.

    Source: Walker and Ni 2011; Henderson and Varadhan 2019 (for EM, with restarts).
    """
    zero, _ = jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), jax.eval_shape(step, x0))
    dtype = zero.value.dtype
    noise = NOISE * jnp.finfo(dtype).eps
    empty = jnp.zeros((memory, *x0.shape), dtype)
    infinite = jnp.array(jnp.inf, dtype)
    init = _Accelerated(
        trial=x0,
        x=x0,
        step=zero._replace(x=x0, value=infinite),
        moves=empty,
        changes=empty,
        count=jnp.array(0),
        gain=infinite,
        code=jnp.array(RUNNING),
        n_steps=jnp.array(0),
        history=jnp.full(max_steps, jnp.nan, dtype),
    )

    def body(s: _Accelerated) -> _Accelerated:
        new, metric = step(s.trial)
        first = s.n_steps == 0
        finite = jnp.isfinite(new.value) & jnp.isfinite(new.x).all()
        most = s.step.value + noise * jnp.abs(s.step.value) + rise * (1 + jnp.abs(s.step.value))
        residual = new.x - s.trial
        promised = 0.5 * (metric * residual**2).sum()
        image = s.count <= 1  # not a combination
        goes_on = image & (promised > noise * (1 + jnp.abs(new.value))) if images else False
        accepted = finite & (first | (new.value <= most) | goes_on)

        # Solve min |residual - Σ weight_m changes_m| in the metric. Images, not points, are combined: each is a whole
        # step of EM, so that the combination is one as well where the iteration is linear.
        slot = (jnp.maximum(s.count, 1) - 1) % memory
        put = lambda all, v: all.at[slot].set(jnp.where(s.count > 0, v, 0))  # noqa: E731
        moves = put(s.moves, new.x - s.step.x)
        changes = put(s.changes, residual - (s.step.x - s.x))
        known = (jnp.arange(memory) < s.count)[:, None]
        scaled = jnp.where(known, changes, 0) * metric
        # Differences shrink by orders of magnitude from turn to turn; normalised, the ridge weighs on all alike.
        gram = jnp.matmul(scaled, changes.T, precision=jax.lax.Precision.HIGHEST)
        size = jnp.sqrt(jnp.maximum(jnp.diag(gram), jnp.finfo(dtype).tiny))
        ridge = RIDGE * jnp.finfo(dtype).eps * jnp.eye(memory, dtype=dtype)
        against = jnp.matmul(scaled, residual, precision=jax.lax.Precision.HIGHEST) / size
        weight = jnp.linalg.solve(gram / size / size[:, None] + ridge, against) / size
        combined = new.x - jnp.where(known[:, 0], weight, 0) @ moves

        # Gains fall like a geometric series, of which the tail is left. Acceleration makes them irregular: what one
        # more step promises by the metric must be small too.
        gain = s.step.value - new.value
        ratio = jnp.clip(gain / s.gain, 0, SERIES)
        left = jnp.maximum(gain * ratio / (1 - ratio), PROMISED * promised)
        done = ~first & (left <= rtol * (1 + jnp.abs(new.value)))
        tired = ~accepted & image  # the image itself was no better: rounding
        code = jnp.where(accepted & done, CONVERGED, jnp.where(tired, STALLED, RUNNING))
        keep = lambda a, b: jax.tree.map(lambda a, b: jnp.where(accepted, a, b), a, b)  # noqa: E731
        at = keep(new, s.step)
        # A rejected combination costs one evaluation: the next point is the last image, which EM cannot have raised.
        return _Accelerated(
            trial=jnp.where(accepted, combined, s.step.x),
            x=keep(s.trial, s.x),
            step=at,
            moves=moves,
            changes=changes,
            count=jnp.where(accepted, s.count + 1, 0),
            gain=jnp.where(accepted & ~first, gain, s.gain),
            code=jnp.where(first & ~finite, NONFINITE, code),
            n_steps=s.n_steps + 1,
            history=s.history.at[s.n_steps].set(at.value),
        )

    def solution(end: _Accelerated) -> Solution:
        at = end.step
        return Solution(end.x, at.value, at.grad, at.aux, _ended(end.code), end.n_steps, end.history)

    return Loop(init, body, solution, max_steps)


def accelerate(step, x0, *, limit=None, **settings) -> Solution:
    """Run :func:`acceleration` for at most ``limit`` steps; other arguments and shapes as there.

    Example:
        >>> def halve(x): return Step(x / 2, (x**2).sum(), 2 * x, None), 0 * x + 2
        >>> solution = accelerate(halve, jnp.array([1.0, -3.0]), max_steps=20)
        >>> bool(abs(solution.x).max() < 1e-6), int(solution.n_steps)
        (True, 4)
    """
    return acceleration(step, x0, **settings).run(limit)
