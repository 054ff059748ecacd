"""Laplace and SVI: posteriors in which a quadratic stands for the labels, their draws, and how far to trust them.

    q(θ, w) ∝ N(θ; 0, I) N(w; 0, I) exp( λᵀ(y - m) - ½ (y - m)ᵀ H (y - m) ),   y = y₀ + R(θ) w

- Laplace: λ and H are the slope and the curvature of the labels' log-likelihood at its mode (``coordinates``).
- SVI: they are their means over q, which maximises the ELBO given θ: natural-gradient steps, each on a few draws and,
  with many labels, a few blocks of instances.

θ is drawn by importance resampling from a t-distribution, w exactly given θ. Hence the weights that lead from q to the
posterior are exp( log p(L | y) - the quadratic ), and their Pareto k-hat measures the quadratic alone.

Source: Rue, Martino, Chopin 2009 (nested Laplace); Khan and Lin 2017 (natural-gradient steps as averaged expansions).
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Float, PRNGKeyArray

from crowdjax.contextual.config import ContextualConfig
from crowdjax.contextual.coordinates import (
    Coordinates,
    Quadratic,
    given,
    positive,
    scales,
)
from crowdjax.contextual.data import Data
from crowdjax.contextual.diagnostics import Psis, pareto_smooth
from crowdjax.contextual.expansion import expand
from crowdjax.contextual.model import block_values, blocks, coefficients_of
from crowdjax.drive import Progress

FREEDOM = 7.0  # degrees of freedom of the t-distribution for θ
CANDIDATE_WORK = 4e10  # candidates for θ times (number of unknowns)³


def draw(
    config: ContextualConfig, data: Data, q: Coordinates, n: int, key: PRNGKeyArray, report: Progress
) -> tuple[Float[np.ndarray, "n P"], Psis, float]:
    """Draw n times u from q; return them, their smoothed weights towards the posterior, and k-hat of the draws of θ."""
    keys = jax.random.split(key, 4)
    k, size = len(q.centre), len(q.labels.point)
    report("draws", 0, 2)
    theta, khat = jnp.broadcast_to(q.centre, (n, k)), -np.inf
    if k:
        n_candidates = int(np.clip(CANDIDATE_WORK / size**3, n, 2 * n))
        normal = jax.random.normal(keys[0], (n_candidates, k), q.centre.dtype)
        squares = 2 * jax.random.gamma(keys[1], FREEDOM / 2, (n_candidates, 1), q.centre.dtype)
        t = normal * jnp.sqrt(FREEDOM / squares)
        up, down = _widths(config, data, q)
        width = jnp.where(t > 0, up, down)
        candidates = q.centre + (t * width) @ q.root.T
        ratios = np.array(_log_p(config, data, q.labels, candidates) + jnp.log(width).sum(1), np.float64)
        ratios += (FREEDOM + k) / 2 * np.log1p((np.asarray(t, np.float64) ** 2).sum(1) / FREEDOM)
        smoothed = pareto_smooth(ratios)
        khat = smoothed.khat
        theta = candidates[_systematic(keys[2], smoothed.log_weights, n)]
    report("draws", 1, 2)
    u, ratios = _draws(config, data, q, theta, keys[3])
    report("draws", 2, 2)
    return np.asarray(u), pareto_smooth(np.asarray(ratios)), khat


def _widths(config, data, q: Coordinates):
    """Return how wide log p(θ) is to either side of its mode along each column of the root, in units of it (Rue et al.,
    section 6.5): from what it has lost at a distance of two."""
    k = len(q.centre)
    steps = 2 * jnp.concatenate([jnp.zeros((1, k), q.root.dtype), q.root.T, -q.root.T])
    value = _log_p(config, data, q.labels, q.centre + steps)
    width = jnp.clip(jnp.sqrt(2 / jnp.maximum(value[0] - value[1:], 1e-3)), 0.5, 2.0)
    return width[:k], width[k:]


def _systematic(key, log_weights, n: int) -> np.ndarray:
    """Return n indices in proportion to the weights, evenly: index i about n w_i times; in random order."""
    place, order = jax.random.split(key)
    edges = np.cumsum(np.exp(log_weights))
    at = (np.arange(n) + float(jax.random.uniform(place))) / n * edges[-1]
    chosen = np.minimum(np.searchsorted(edges, at), len(edges) - 1)
    return chosen[np.asarray(jax.random.permutation(order, n))]


@eqx.filter_jit
def _log_p(config, data, q: Quadratic, theta):
    return jax.lax.map(lambda one: given(config, data, q, one).log_p, theta)


@eqx.filter_jit
def _draws(config, data, q: Coordinates, theta, key):
    """Return u of each θ, and log p(L | y) less the quadratic. Differences are taken block by block: the sum itself is
    too large for them in float32."""
    at_point = block_values(config, data, q.centre, q.labels.point)

    def one(theta, key):
        w = _given_draw(config, data, q.labels, theta, jax.random.normal(key, (n_rest,), theta.dtype))
        y = coefficients_of(config, data, theta, w)
        return jnp.concatenate([theta, w]), (block_values(config, data, theta, y) - at_point).sum() - q.labels(y)

    n_rest = given(config, data, q.labels, q.centre).mean.shape[0]
    return jax.lax.map(lambda pair: one(*pair), (theta, jax.random.split(key, len(theta))))


def _given_draw(config, data, q: Quadratic, theta, noise):
    g = given(config, data, q, theta)
    return g.mean + solve_triangular(g.chol.T, noise, lower=False)


def ascend(
    config: ContextualConfig,
    data: Data,
    q: Coordinates,
    key: PRNGKeyArray,
    n_steps: int,
    n_particles: int,
    n_batch: int,
    ask: Progress,
) -> tuple[Coordinates, Float[np.ndarray, " T"]]:
    """Run SVI from q; return (the coordinates at the end, the ELBO's estimate before each step).

    Step t moves λ and H by 2 / (t + 3) of the way to their means over q: all steps then weigh about alike at the end,
    early ones less. Where ``ask`` says so it ends there.
    """
    n_blocks, n_batch = data.n_blocks, min(n_batch, data.n_blocks)
    point, trace = q.labels.point, []
    slope, precision = (np.asarray(v, np.float64) for v in q.labels[1:])
    for step in range(n_steps):
        if ask("svi", step, n_steps, **({"objective": trace[-1]} if trace else {})) and step:
            return q, np.array(trace)
        which, noise = jax.random.split(jax.random.fold_in(key, step))
        batch = data
        if n_batch < n_blocks:
            batch = blocks(data, jax.random.choice(which, n_blocks, (n_batch,), replace=False).astype(jnp.int32))
        factor = n_blocks / n_batch
        elbo, mean_slope, mean_precision = _expectations(config, batch, factor, q, noise, max(1, n_particles // 2))
        trace.append(float(elbo))
        rate = 2 / (step + 3)
        slope = (1 - rate) * slope + rate * np.asarray(mean_slope, np.float64)
        precision = positive((1 - rate) * precision + rate * np.asarray(mean_precision, np.float64))
        labels = Quadratic(point, jnp.asarray(slope, point.dtype), jnp.asarray(precision, point.dtype))
        q = Coordinates(labels, *scales(config, data, labels, q.centre))
    ask("svi", n_steps, n_steps, objective=trace[-1])
    return q, np.array(trace)


@eqx.filter_jit
def _expectations(config, batch, factor, q: Coordinates, key, n_pairs: int):
    """Return the ELBO, and the slope at m and the curvature of the labels' log-likelihood in the mean over draws of q,
    in pairs of opposite noise; θ is taken as normal, log Z in Laplace's approximation."""
    point = q.labels.point
    k, n_rest = len(q.centre), given(config, batch, q.labels, q.centre).mean.shape[0]
    noise = jax.random.normal(key, (n_pairs, k + n_rest), point.dtype)

    def one(total, noise):
        theta = q.centre + q.root @ noise[:k]
        y = coefficients_of(config, batch, theta, _given_draw(config, batch, q.labels, theta, noise[k:]))
        at = jax.tree.map(lambda v: factor * v, expand(config, batch, theta, y))
        found = at.values.sum() - q.labels(y), at.slope + at.information @ (y - point), at.information
        return jax.tree.map(jnp.add, total, found), None

    zero = jnp.zeros((), point.dtype), jnp.zeros_like(point), jnp.zeros_like(q.labels.precision)
    total, _ = jax.lax.scan(one, zero, jnp.concatenate([noise, -noise]))
    gap, slope, hessian = jax.tree.map(lambda v: v / (2 * n_pairs), total)
    log_z = given(config, batch, q.labels, q.centre).log_p + jnp.linalg.slogdet(q.root)[1]
    return gap + log_z, slope, hessian
