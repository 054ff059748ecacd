"""Directions of descent, preconditioned by a diagonal, as optax transformations: L-BFGS and conjugate gradients.

Where points are spread over devices ``inner`` sums over all; a step asks for inner products twice, since every sum over
devices waits for the slowest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from crowdjax.segments import in_blocks

__all__ = ["conjugate_gradient", "inner", "lbfgs"]

Inner = Callable[..., tuple[Array, ...]]


class Rule(NamedTuple):
    """An ``optax.GradientTransformationExtraArgs`` that maps a gradient to a search direction.

    Example:
        >>> Rule(lambda x: None, lambda gradient, state, x, **more: (gradient, state)).update(2.0, None, 1.0)
        (2.0, None)
    """

    init: Callable[..., Any]
    update: Callable[..., Any]


def inner(*pairs: tuple[Float[Array, "... P"], Float[Array, " P"]]) -> tuple[Float[Array, "..."], ...]:
    """Compute the inner product of each pair: of two vectors, or of every row of a matrix with a vector.

    Example:
        >>> [v.tolist() for v in inner((jnp.eye(2), jnp.array([1.0, 2.0])), (jnp.ones(2), jnp.ones(2)))]
        [[1.0, 2.0], 2.0]
    """
    if in_blocks():
        return tuple(jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST) for a, b in pairs)
    products = [jnp.atleast_2d(a * b) for a, b in pairs]  # a GPU adds all of them up at once
    sums = jnp.split(jnp.concatenate(products).sum(1), np.cumsum([len(v) for v in products])[:-1])
    return tuple(v if a.ndim > 1 else v[0] for v, (a, _) in zip(sums, pairs, strict=True))


class _Lbfgs(NamedTuple):
    steps: Array  # [memory, P]
    changes: Array  # [memory, P]
    products: Array  # [memory, memory], stepᵀchange of all pairs
    curvature: Array  # [memory], 1 / stepᵀchange of a pair; 0 where empty
    count: Array  # pairs so far
    slope: Array
    steepest: Array


def lbfgs(memory: int = 5, inner: Inner = inner) -> Rule:
    """Build L-BFGS with a given diagonal as its first Hessian, as an optax transformation: gradient -> H⁻¹ gradient.

    Like ``optax.scale_by_lbfgs``, which can scale its first Hessian by a number only. Pairs of negative
    curvature are left out.

    Args:
        memory: number of pairs to keep.
        inner: inner products, as :func:`inner`; over several devices, summed in one collective operation.

    Example: the first step is the gradient over the diagonal
        >>> x = jnp.array([2.0])
        >>> rule = lbfgs()
        >>> step, _ = rule.update(4 * x, rule.init(x), x, before=(x, 0 * x), diagonal=jnp.array([4.0]))
        >>> step.tolist()
        [2.0]

    Source: Nocedal and Wright, Numerical Optimization, algorithm 7.4.
    """

    def init(x):
        empty, zero = jnp.zeros((memory, *x.shape), x.dtype), jnp.zeros((), x.dtype)
        return _Lbfgs(empty, empty, jnp.zeros((memory, memory), x.dtype), empty[:, 0] * 0, jnp.array(0), zero, zero)

    def update(grad, state: _Lbfgs, x, *, before, diagonal, accepted=True, restart=False, **_):
        step, change = x - before[0], grad - before[1]
        # The new pair takes the oldest one's place, whatever it is worth: no copy of the memory. Where it is no pair
        # its curvature is 0, and it counts for nothing; a gradient that is not finite is none.
        slot = state.count % memory
        steps = state.steps.at[slot].set(step)
        changes = state.changes.at[slot].set(jnp.where(jnp.isfinite(change), change, 0))
        of_steps, with_grad, of_changes, size = inner(
            (steps, change), (steps, grad), (changes, step), (step, step * diagonal)
        )
        product = of_changes[slot]
        # cautious update (Li and Fukushima): skip pairs without curvature, as that of the first point with itself
        good = accepted & (product > 1e-10 * size)
        curvature = state.curvature.at[slot].set(jnp.where(good, 1 / jnp.where(good, product, 1), 0))
        products = state.products.at[slot].set(of_changes).at[:, slot].set(of_steps)
        known = curvature > 0
        products = jnp.where(known & known[:, None], products, 0)
        with_grad = jnp.where(known, with_grad, 0)
        count = state.count + good

        # The two loops of the textbook, on inner products: few operations on long vectors. They are written out, so
        # that a GPU has few programs to launch. The order from the newest pair to the oldest is its own inverse.
        newest_first = (count - 1 - jnp.arange(memory)) % memory
        ordered = products[newest_first][:, newest_first]
        rho, right = curvature[newest_first], with_grad[newest_first]
        a = []
        for k in range(memory):
            a.append(rho[k] * (right[k] - sum(ordered[k, m] * a[m] for m in range(k))))
        scaled = (grad - jnp.stack(a)[newest_first] @ changes) / diagonal
        with_scaled, slope, steepest = inner((changes, scaled), (grad, scaled), (grad, grad / diagonal))
        right = jnp.where(known, with_scaled, 0)[newest_first]
        back: list[Array] = [jnp.zeros((), grad.dtype)] * memory
        for k in reversed(range(memory)):
            back[k] = a[k] - rho[k] * (right[k] + sum(ordered[m, k] * back[m] for m in range(k + 1, memory)))
        c = jnp.stack(back)[newest_first]
        curvature, count = jnp.where(restart, 0, curvature), jnp.where(restart, 0, count)
        state = _Lbfgs(steps, changes, products, curvature, count, slope + c @ with_grad, steepest)
        return scaled + c @ steps, state

    return Rule(init, update)


class _Conjugate(NamedTuple):
    scaled: Array
    direction: Array
    count: Array
    slope: Array
    steepest: Array


def conjugate_gradient(inner: Inner = inner) -> Rule:
    """Build preconditioned nonlinear conjugate gradients with Polak and Ribière's β (never below 0).

    Example: the first step is the gradient over the diagonal
        >>> x = jnp.array([2.0])
        >>> rule = conjugate_gradient()
        >>> step, _ = rule.update(4 * x, rule.init(x), x, before=(x, 0 * x), diagonal=jnp.array([4.0]))
        >>> step.tolist()
        [2.0]

    Source: Ruvolo, Whitehill, Movellan (2013), section 3.2; Nocedal and Wright, equation 5.44.
    """

    def init(x):
        zero = jnp.zeros((), x.dtype)
        return _Conjugate(jnp.zeros_like(x), jnp.zeros_like(x), jnp.array(0), zero, zero)

    def update(grad, state: _Conjugate, x, *, before, diagonal, accepted=True, restart=False, **_):
        scaled, last = grad / diagonal, before[1]
        past, gain, steepest, along = inner(
            (last, state.scaled), (grad - last, scaled), (grad, scaled), (grad, state.direction)
        )
        beta = jnp.where(state.count > 0, jnp.maximum(gain / jnp.where(past > 0, past, 1), 0), 0)
        direction = scaled + beta * state.direction
        new = _Conjugate(scaled, direction, state.count + 1, steepest + beta * along, steepest)
        new = jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, state)
        return direction, new._replace(count=jnp.where(restart, 0, new.count))

    return Rule(init, update)
