"""The mode of the contextual model given its scales, by Newton's method, and the Gaussian there.

Labels enter by one pass for value, gradient and Hessian (``expansion``); the dense algebra of a few hundred unknowns is
done on the host in float64. A climb may be held near a level of the prevalence by a window on

    t(w) = logit Σ_b ω_b σ(r_b),

the logit of the mean prevalence.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy import special
from scipy.linalg import cho_solve
from threadpoolctl import ThreadpoolController

from crowdjax import optimize
from crowdjax.contextual.config import ContextualConfig
from crowdjax.contextual.data import Data
from crowdjax.contextual.expansion import expand
from crowdjax.contextual.model import coefficients_of


class At(NamedTuple):
    """The log posterior at w to second order, and that of t: values, gradients and Hessians (of the first: minus)."""

    value: float
    slope: Float[np.ndarray, " M"]
    precision: Float[np.ndarray, "M M"]
    level: float
    level_slope: Float[np.ndarray, " M"]
    level_hessian: Float[np.ndarray, "M M"]


@eqx.filter_jit
def expanded(config: ContextualConfig, data: Data, theta, w):
    """Return (the expansion in the coefficients y of (θ, w), y, its derivative by w)."""
    y, push = jax.linearize(lambda w: coefficients_of(config, data, theta, w), w)
    return expand(config, data, theta, y), y, jax.vmap(push, out_axes=1)(jnp.eye(len(w), dtype=w.dtype))


@dataclasses.dataclass(frozen=True, eq=False)
class Posterior:
    """log p(L, w | θ) on the host, in float64.

    Attributes:
        weights: of the distinct inputs (``data.bins``) in the mean prevalence, shape [B], of sum one; None: alike.
        factor: what the labels' evidence is multiplied with, where they are a part.

    Example: at the middle of the prior
        >>> from crowdjax.contextual.data import prepare_data
        >>> at = Posterior(config, prepare_data(config, labels, found.scale(scores)))(np.zeros(0), np.zeros(4))
        >>> at.slope.shape, at.precision.shape
        ((4,), (4, 4))
    """

    config: ContextualConfig
    data: Data
    weights: Float[np.ndarray, " B"] | None = None
    factor: float = 1.0

    def __call__(self, theta, w) -> At:
        dtype = self.data.basis.x.dtype
        at, _, to_y = expanded(self.config, self.data, jnp.asarray(theta, dtype), jnp.asarray(w, dtype))
        values, slope, information, r, basis, to_y = (np.asarray(v, np.float64) for v in (*at, to_y))
        value = self.factor * values.sum() - 0.5 * w @ w
        precision = np.eye(len(w)) + self.factor * (to_y.T @ information @ to_y)
        return At(value, self.factor * (to_y.T @ slope) - w, precision, *_level(self._weights(), r, basis @ to_y))

    def _weights(self) -> Float[np.ndarray, " B"]:
        n = len(self.data.bins.basis.x)
        return np.full(n, 1 / n) if self.weights is None else self.weights


def _level(weights, r, basis):
    """Return t = logit Σ ω σ(r), its gradient and its Hessian, r being linear with derivative ``basis`` [B, M]."""
    pi, other = special.expit(r), special.expit(-r)
    mean, rest = weights @ pi, weights @ other
    used = np.flatnonzero(basis.any(0))
    bend = weights * pi * other
    slope, both = np.zeros(basis.shape[1]), mean * rest
    part = basis[:, used]
    first = bend @ part
    slope[used] = first / both
    hessian = np.zeros((len(slope), len(slope)))
    second = (part * (bend * (other - pi))[:, None]).T @ part
    hessian[np.ix_(used, used)] = second / both - (rest - mean) * np.outer(first, first) / both**2
    return np.log(mean / rest), slope, hessian


class Peak(NamedTuple):
    """A mode: w, the Cholesky factor of its precision, the log posterior there (windowed), the log evidence of the
    Gaussian, what was found there, and a result code of ``optimize``."""

    w: Float[np.ndarray, " M"]
    chol: Float[np.ndarray, "M M"]
    value: float
    log_evidence: float
    at: At
    code: int


MANY = 1000  # unknowns, from which several threads make dense algebra faster; below, they wait for each other


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController()


def few_threads(size: int):
    """Limit the host's linear algebra to as many threads as so many unknowns can use."""
    return contextlib.nullcontext() if size >= MANY else _libraries().limit(limits=1, user_api="blas")


def climb(posterior: Posterior, theta, w, window: tuple[float, float] | None = None) -> Peak:
    """Find, by Newton's method, the mode of log p(L, w | θ).

    Args:
        w: where to start, shape [M].
        window: (t_m, h): - ½ ((t(w) - t_m) / h)² is added.

    Example: a line through labels that are right nine times in ten
        >>> from crowdjax.contextual.data import prepare_data
        >>> peak = climb(Posterior(config, prepare_data(config, labels, found.scale(scores))), np.zeros(0), np.zeros(4))
        >>> peak.code, bool(np.abs(peak.w).max() < 3)
        (1, True)
    """
    theta, w = np.asarray(theta, np.float64), np.asarray(w, np.float64)
    at = posterior(theta, w)
    value, slope, precision = _seen(at, window)
    noise = posterior.factor * np.finfo(posterior.data.basis.x.dtype).eps * abs(at.value)
    code = optimize.MAX_STEPS
    for _ in range(STEPS):
        chol = _root(precision)
        step = cho_solve((chol, True), slope)
        gain = slope @ step / 2
        if gain < max(DECREMENT, noise):
            code = optimize.CONVERGED
            break
        size = min(1.0, LONGEST / np.abs(step).max())
        for _ in range(HALVINGS):
            tried = posterior(theta, w + size * step)
            new = _seen(tried, window)
            if np.isfinite(new[0]) and new[0] > value - noise:
                break
            size /= 3
        else:
            code = optimize.STALLED
            break
        w, at, (value, slope, precision) = w + size * step, tried, new
    chol = _root(precision)
    step = cho_solve((chol, True), slope)
    log_evidence = value + slope @ step / 2 - np.log(np.diag(chol)).sum()
    return Peak(w + step, chol, value, log_evidence, at, code)


STEPS = 60
HALVINGS = 12
DECREMENT = 2e-3  # nats that the next step would gain, where the climb ends with that step
LONGEST = 5.0  # prior standard deviations of one unknown that a step may move
LEAST_CURVATURE = 0.3  # of a direction without a maximum; a priori 1


def _seen(at: At, window):
    """Return (value, slope, precision) with the window."""
    if window is None:
        return at.value, at.slope, at.precision
    d, k = at.level - window[0], 1 / window[1] ** 2
    curvature = np.outer(at.level_slope, at.level_slope) + d * at.level_hessian
    return at.value - 0.5 * k * d**2, at.slope - k * d * at.level_slope, at.precision + k * curvature


def _root(precision: Float[np.ndarray, "M M"]) -> Float[np.ndarray, "M M"]:
    """Return the Cholesky factor; of the nearest matrix that curves down in every direction, where this one does
    not."""
    try:
        return np.linalg.cholesky(precision)
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(precision)
        return np.linalg.cholesky((vectors * np.maximum(np.abs(values), LEAST_CURVATURE)) @ vectors.T)
