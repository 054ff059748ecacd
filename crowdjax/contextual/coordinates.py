"""Coordinates v in which the posterior of the contextual model is nearly a standard normal; every method works in them.

The unknowns are u = (θ, w), all N(0, 1) a priori: θ the scales and length-scales, w the rest. The labels see them
through coefficients y = y₀ + R(θ) w. Around a point m the labels' log-likelihood is nearly a quadratic of y,

    log p(L | y) ≈ const + λᵀ(y - m) - ½ (y - m)ᵀ H (y - m),

and given that quadratic everything is exact, whatever the scales: with A(θ) = I + R(θ)ᵀ H R(θ),

    w | θ ~ N(w_θ, A(θ)⁻¹),     A(θ) w_θ = R(θ)ᵀ (λ + H (m - y₀))
    log p(θ) = -½ |θ|² - ½ |w_θ|² + λᵀδ - ½ δᵀ H δ - ½ log det A(θ) + const,     δ = y₀ + R(θ) w_θ - m

so that v = (v_θ, v_w) with θ = θ̂ + S v_θ and w = w_θ + A(θ)^(-½) v_w has no funnels: where labels determine a weight
times its scale, the product keeps still while the scale moves; where they do not, the weight keeps still.

Source: the nested Laplace approximation of Rue, Martino and Chopin 2009, section 3.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Float
from scipy.optimize import minimize

from crowdjax.contextual.config import ContextualConfig
from crowdjax.contextual.data import Data
from crowdjax.contextual.mode import Posterior, climb, expanded, few_threads
from crowdjax.contextual.model import blocks, coefficients_of, scales_of, size_of
from crowdjax.drive import Progress, silent

PRECISION = jax.lax.Precision.HIGHEST


class Quadratic(NamedTuple):
    """const + λᵀ(y - m) - ½ (y - m)ᵀ H (y - m), H positive semi-definite."""

    point: Float[Array, " Q"]
    slope: Float[Array, " Q"]
    precision: Float[Array, "Q Q"]

    def __call__(self, y: Float[Array, " Q"]) -> Float[Array, ""]:
        d = y - self.point
        return self.slope @ d - 0.5 * d @ jnp.matmul(self.precision, d, precision=PRECISION)


class Coordinates(NamedTuple):
    """The quadratic that stands for the labels, and θ = centre + root v_θ."""

    labels: Quadratic
    centre: Float[Array, " K"]
    root: Float[Array, "K K"]


class Given(NamedTuple):
    """w | θ ~ N(mean, (chol cholᵀ)⁻¹), and log p(θ) up to a constant."""

    mean: Float[Array, " M"]
    chol: Float[Array, "M M"]
    log_p: Float[Array, ""]


@jax.custom_jvp
def _factor(a: Float[Array, "M M"]):
    """Return (Cholesky factor, taken as constant; half the log determinant) of a positive definite matrix."""
    chol = jnp.linalg.cholesky(a)
    return chol, jnp.log(jnp.diag(chol)).sum()


@_factor.defjvp
def _factor_jvp(at, change):
    chol, half_log_det = _factor(*at)
    inverse = cho_solve((chol, True), jnp.eye(len(chol), dtype=chol.dtype))
    return (chol, half_log_det), (jnp.zeros_like(chol), (inverse * change[0]).sum() / 2)


def given(config: ContextualConfig, data: Data, q: Quadratic, theta: Float[Array, " K"]) -> Given:
    """Return the distribution of w given θ, and that of θ, whose gradient is right to first order only."""
    # Given θ the coefficients y = of_w(w) are affine in w ~ N(0, I), and q is quadratic in y: w's posterior is a
    # Gaussian with precision a = I + Aᵀ R A. Its mean is a Newton step from 0; the derivative with respect to θ goes
    # through the value alone, since the value is at its maximum in w.
    still = jax.lax.stop_gradient
    width = size_of(config, data) - len(theta)
    of_w = partial(coefficients_of, config, data, theta)
    _, transpose = jax.vjp(of_w, jnp.zeros(width, theta.dtype))
    back = lambda y: transpose(y)[0]  # noqa: E731
    half = jax.vmap(back)(q.precision)  # H R
    a = jnp.eye(width, dtype=theta.dtype) + jax.vmap(back)(half.T)
    chol, half_log_det = _factor((a + a.T) / 2)

    def step(w):
        residual = back(q.slope - jnp.matmul(q.precision, of_w(w) - q.point, precision=PRECISION)) - w
        return w + cho_solve((chol, True), residual)

    w = still(step(step(jnp.zeros(width, theta.dtype))))  # the second is for the first one's rounding errors
    value = q(of_w(w)) - 0.5 * (w @ w) - 0.5 * (theta @ theta) - half_log_det
    return Given(w, chol, value)


given_there = eqx.filter_jit(given)


class Affine(NamedTuple):
    """u = mean + root v: the coordinates with A held at θ̂, for samplers."""

    mean: Float[Array, " P"]
    root: Float[Array, "P P"]

    def __call__(self, v: Float[Array, " P"]) -> Float[Array, " P"]:
        return self.mean + jnp.matmul(self.root, v, precision=PRECISION)


@eqx.filter_jit
def affine(config: ContextualConfig, data: Data, q: Coordinates) -> Affine:
    """Return the affine map of θ̂'s coordinates."""
    k = len(q.centre)
    g = given(config, data, q.labels, q.centre)
    eye = jnp.eye(len(g.mean), dtype=g.mean.dtype)
    root = jax.scipy.linalg.block_diag(q.root, solve_triangular(g.chol.T, eye, lower=False))
    return Affine(jnp.concatenate([q.centre, g.mean]), root.reshape(k + len(eye), -1))


# Finding them.


class Found(NamedTuple):
    """Coordinates at the mode, w there, the objective after each climb, and a result code."""

    coordinates: Coordinates
    mode: Float[Array, " M"]
    trace: Float[np.ndarray, " T"]
    code: int


ROUNDS = 12  # of: w given θ, quadratic there, θ given the quadratic
SOME_LABELS = 50_000  # labels for the first rounds, where there are more


def find_coordinates(
    config: ContextualConfig, data: Data, report: Progress = silent, start: Coordinates | None = None
) -> Found:
    """Alternate between w at its mode given θ, the quadratic there, and θ at the mode of its own posterior."""
    with few_threads(size_of(config, data)):
        return _find(config, data, report, start)


def _find(config: ContextualConfig, data: Data, report: Progress, start: Coordinates | None) -> Found:
    k = scales_of(config, data)
    dtype = data.basis.x.dtype
    theta, w = jnp.zeros(k, dtype), np.zeros(size_of(config, data) - k)
    if start is not None:
        theta = start.centre
        w = given_there(config, data, start.labels, theta).mean
    part, factor = some_blocks(data, SOME_LABELS)
    stages = [(data, 1.0)] if start or part is data else [(part, factor), (data, 1.0)]
    trace, objective = [], {}
    for stage, (part, factor) in enumerate(stages):
        posterior = Posterior(config, part, factor=factor)
        for turn in range(ROUNDS):
            report("mode", stage * ROUNDS + turn, len(stages) * ROUNDS, **objective)
            peak = climb(posterior, theta, w)
            trace.append(-peak.value)
            objective = {"objective": -peak.value}
            q = quadratic(config, part, theta, jnp.asarray(peak.w, dtype), factor)
            before = theta
            theta, root = scales(config, data, q, theta)
            w = given_there(config, data, q, theta).mean
            if not k or float(jnp.abs(jnp.linalg.solve(root, theta - before)).max()) < STILL:
                break
    return Found(Coordinates(q, theta, root), jnp.asarray(peak.w, dtype), -np.array(trace), peak.code)


STILL = 0.1  # posterior standard deviations of θ


def some_blocks(data: Data, n_labels: float) -> tuple[Data, float]:
    """Return evenly spaced blocks with about so many labels, and what their evidence counts for."""
    n_blocks = data.n_blocks
    n = int(np.clip(np.ceil(n_labels * data.labels.n_blocks / data.labels.label.shape[0]), 1, n_blocks))
    if n == n_blocks:
        return data, 1.0
    index = np.linspace(0, n_blocks - 1, n).round().astype(np.int32)
    return blocks(data, jnp.asarray(index)), n_blocks / n


def quadratic(config: ContextualConfig, data: Data, theta, w, factor: float = 1.0) -> Quadratic:
    """Return the second-order expansion of ``factor`` log p(L | y) around y of (θ, w), negative curvatures cut off."""
    at, y, _ = expanded(config, data, theta, w)
    information = positive(factor * np.asarray(at.information, np.float64))
    return Quadratic(y, factor * at.slope, jnp.asarray(information, y.dtype))


def positive(hessian: np.ndarray) -> np.ndarray:
    """Return the nearest positive semi-definite matrix."""
    eigenvalues, vectors = np.linalg.eigh((hessian + hessian.T) / 2)
    return (vectors * np.maximum(eigenvalues, 0)) @ vectors.T


LEAST_PRECISION = 0.3  # of θ, a priori 1
MOST_SCALE_STEPS = 60
DIFFERENCE = 0.1  # of θ, for its Hessian


def scales(config: ContextualConfig, data: Data, q: Quadratic, theta: Float[Array, " K"]):
    """Return the mode of log p(θ), and the root of the inverse of its negative Hessian there; host side, few
    unknowns."""
    if not len(theta):
        return theta, jnp.zeros((0, 0), theta.dtype)

    def value_and_slope(at):
        value, slope = _scales_slope(config, data, q, jnp.asarray(at, theta.dtype))
        return -float(value), -np.asarray(slope, np.float64)

    options = {"maxiter": MOST_SCALE_STEPS, "gtol": STILL * LEAST_PRECISION}  # finer steps drown in rounding
    end = minimize(value_and_slope, np.asarray(theta, np.float64), jac=True, method="BFGS", options=options).x
    steps = DIFFERENCE * np.eye(len(end))
    columns = np.array([value_and_slope(end + e)[1] - value_and_slope(end - e)[1] for e in steps]) / (2 * DIFFERENCE)
    eigenvalues, vectors = np.linalg.eigh((columns + columns.T) / 2)
    root = vectors / np.sqrt(np.maximum(eigenvalues, LEAST_PRECISION))
    return jnp.asarray(end, theta.dtype), jnp.asarray(root, theta.dtype)


@eqx.filter_jit
def _scales_slope(config, data, q, theta):
    return jax.value_and_grad(lambda theta: given(config, data, q, theta).log_p)(theta)
