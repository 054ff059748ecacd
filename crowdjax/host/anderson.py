"""Anderson's acceleration of EM in NumPy: ``crowdjax.optimize.acceleration``, step by step the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from crowdjax.stopping import (
    CONVERGED,
    MAX_STEPS,
    MEMORY,
    NOISE,
    NONFINITE,
    PROMISED,
    RIDGE,
    RUNNING,
    SERIES,
    STALLED,
)

if TYPE_CHECKING:
    from jaxtyping import Float

EPS, TINY = np.finfo(float).eps, np.finfo(float).tiny


class Step(NamedTuple):
    """One step from x: the next point, the value and the rest AT x, and a positive diagonal for the metric.

    Example:
        >>> Step(np.array([1.0]), 4.0, None, np.array([2.0])).value
        4.0
    """

    x: Float[np.ndarray, " P"]
    value: float
    aux: Any
    metric: Float[np.ndarray, " P"]


class Solution(NamedTuple):
    """The end of an iteration, as ``crowdjax.optimize.Solution``.

    Example:
        >>> Solution._fields[:2]
        ('x', 'value')
    """

    x: Float[np.ndarray, " P"]
    value: float
    aux: Any
    code: int
    n_steps: int
    history: Float[np.ndarray, " T"]


def accelerate(
    step: Callable[[Any], Step], x0: Float[np.ndarray, " P"], *, max_steps: int, rtol: float, memory: int = MEMORY
) -> Solution:
    """Lower a value by a fixed-point iteration, as EM does; arguments as in ``crowdjax.optimize.acceleration``.

    Example:
        >>> def halve(x): return Step(x / 2, (x**2).sum(), None, 0 * x + 2)
        >>> solution = accelerate(halve, np.array([1.0, -3.0]), max_steps=20, rtol=1e-6)
        >>> bool(abs(solution.x).max() < 1e-6), solution.n_steps
        (True, 4)

    Source: Walker and Ni 2011; Henderson and Varadhan 2019 (for EM, with restarts).
    """
    trial, x, best = x0, x0, Step(x0, np.inf, None, np.zeros(0))
    moves, changes = np.zeros((2, memory, len(x0)))
    count, last, history = 0, np.inf, np.full(max_steps, np.nan)
    for n in range(max_steps):
        new = step(trial)
        finite = np.isfinite(new.value) and np.isfinite(new.x).all()
        if not n and not finite:
            history[0] = best.value
            return Solution(x, best.value, best.aux, NONFINITE, 1, history)
        accepted = finite and (not n or new.value <= best.value + NOISE * EPS * abs(best.value))
        if not accepted:
            history[n] = best.value
            if count <= 1:  # the image itself was no better: rounding
                return Solution(x, best.value, best.aux, STALLED, n + 1, history)
            trial, count = best.x, 0
            continue
        residual = new.x - trial
        if count:
            slot = (count - 1) % memory
            moves[slot], changes[slot] = new.x - best.x, residual - (best.x - x)
        known = min(count, memory)
        following = new.x - _weights(changes[:known], residual, new.metric) @ moves[:known] if known else new.x
        gain = best.value - new.value
        code = RUNNING
        if n:
            ratio = np.clip(gain / last, 0, SERIES) if last else SERIES
            left = max(gain * ratio / (1 - ratio), PROMISED * 0.5 * float((new.metric * residual**2).sum()))
            code = CONVERGED if left <= rtol * (1 + abs(new.value)) else RUNNING
            last = gain
        x, best, trial, count = trial, new, following, count + 1
        history[n] = new.value
        if code == CONVERGED:
            return Solution(x, best.value, best.aux, CONVERGED, n + 1, history)
    return Solution(x, best.value, best.aux, MAX_STEPS, max_steps, history)


def _weights(changes, residual, metric) -> Float[np.ndarray, " m"]:
    """Find, of past residuals, the combination that comes nearest to this one in the metric."""
    scaled = changes * metric
    gram = scaled @ changes.T
    size = np.sqrt(np.maximum(np.diag(gram), TINY))
    ridge = RIDGE * EPS * np.eye(len(gram))
    return np.linalg.solve(gram / size / size[:, None] + ridge, scaled @ residual / size) / size
