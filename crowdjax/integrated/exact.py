"""The exact posterior of labelers and population, by Gibbs sampling; one sweep:

    1. twice: t, c ~ N(0, .05²), A = [[eᵗ, 0], [c, 1]]; w → A w, μ → A μ, Σ → A Σ Aᵀ, accepted with
       Δ( log p(L | w) + Σ_i log N(w_i; μ, Σ) + log p(μ, Σ) ) + (W + 4) t      every x_j summed out
       where ρ is learned, the same with a neighbouring ρ, and eᵗ the change of the unit that goes with it
    2. x_j from its posterior over the points
    3. w_i given x, twice: proposed from a bivariate t around the mode, independent of w_i
    4. μ given w, normal; Σ given w and μ, inverse Wishart; π given the classes, Beta

The first step moves all labelers with the axis of x, which the others leave almost where it is.
"""

from __future__ import annotations

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from crowdjax.factor.features import PRECISION
from crowdjax.integrated.axis import moved
from crowdjax.integrated.draws import Draws
from crowdjax.integrated.fit import laplace, newton, scores
from crowdjax.integrated.kernels import draw_points, evidence
from crowdjax.integrated.model import PRIOR_LABELERS, SPREADS, IntegratedConfig, Parameters, class_logit
from crowdjax.labels import Labels

STEP = 0.05  # standard deviation of t and c
NEWTON = 8
FREEDOM = 6.0
WARMUP, SWEEPS = 250, 1000


class Chain(NamedTuple):
    """The draws of the Gibbs sampler, and its acceptance rates.

    Attributes:
        draws: draws of the labelers, with equal weights.
        mean, covariance: μ and Σ of every draw.
        accepted: acceptance rates of the moves of the axis and of the labelers.

    Example:
        >>> Chain._fields
        ('draws', 'mean', 'covariance', 'accepted')
    """

    draws: Draws
    mean: Float[Array, "S K"]
    covariance: Float[Array, "S K K"]
    accepted: Float[Array, " 2"]


@eqx.filter_jit
def sample(
    key: PRNGKeyArray,
    labels: Labels,
    begin: Parameters,
    config: IntegratedConfig,
    n_sweeps: int = SWEEPS,
    n_warmup: int = WARMUP,
) -> Chain:
    """Draw from the exact posterior of the model with one factor, ρ > 0 and no features, by Gibbs sampling.

    Args:
        begin: parameters of a fit; the chain stays in its orientation of the classes.

    Example: two labelers who agree are more probably able than the one who contradicts them
        >>> from crowdjax.integrated import fit_jit
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> chain = sample(jax.random.key(0), labels, fit_jit(labels).parameters, IntegratedConfig(), 50, 10)
        >>> int(chain.draws.labelers.mean(0)[:, 0].argmin())
        2
    """

    def sweep(parameters, key):
        keys = jax.random.split(key, 7)
        value, moves = log_joint(labels, parameters, config), []
        for k in keys[:2]:
            parameters, value, move = axis_move(k, labels, parameters, value, config)
            moves.append(move)
        if config.spread == "learn":
            parameters = spread_move(keys[2], labels, parameters, value, config)
        points = draw_points(keys[3], labels, parameters, config)
        parameters, redrawn = labelers_given(keys[4], parameters, counts_at(labels, points, config), config)
        if config.hierarchy:
            parameters = population_given(keys[5], parameters, labels.n_labelers)
        if config.class_prior == "learn":
            parameters = class_prior_given(keys[6], parameters, points, config)
        return parameters, (parameters._replace(labeler_weights=None), jnp.stack([jnp.mean(jnp.stack(moves)), redrawn]))

    warm, run = (jax.random.split(k, n) for k, n in zip(jax.random.split(key), (n_warmup, n_sweeps), strict=True))
    parameters = jax.lax.scan(lambda p, k: (sweep(p, k)[0], None), begin, warm)[0]
    drawn, accepted = jax.lax.scan(sweep, parameters, run)[1]
    weight = jnp.full(drawn.labelers.shape[:2], 1 / n_sweeps, drawn.labelers.dtype)
    draws = Draws(drawn.labelers, weight, drawn.spread, drawn.prior_logit)
    return Chain(draws, drawn.mean, drawn.covariance, accepted.mean(0))


def log_joint(labels: Labels, parameters: Parameters, config: IntegratedConfig) -> Float[Array, ""]:
    """Compute log p(L | w) + Σ_i log N(w_i; μ, Σ) + log p(μ, Σ), without constants."""
    precision = jnp.linalg.inv(parameters.covariance)
    gap = parameters.labelers - parameters.mean
    log_det = jnp.linalg.slogdet(parameters.covariance)[1]
    value = evidence(labels, parameters, config)
    value -= 0.5 * (jnp.einsum("wi,ij,wj->", gap, precision, gap, precision=PRECISION) + len(gap) * log_det)
    away = parameters.mean - jnp.asarray(config.prior_mean, gap.dtype)
    return value - 0.5 * (away @ away + PRIOR_LABELERS * (log_det + jnp.trace(precision)))


def axis_move(key, labels: Labels, parameters: Parameters, value, config: IntegratedConfig):
    """Make a Metropolis step in the unit and the origin of x, which moves every parameter that depends on them.

    Returns parameters, value, and whether the step was accepted.
    """
    k_step, k_accept = jax.random.split(key)
    t, c = STEP * jax.random.normal(k_step, (2,), parameters.labelers.dtype)
    return _moved(k_accept, labels, parameters, value, config, t, c, parameters.spread)


def spread_move(key, labels: Labels, parameters: Parameters, value, config: IntegratedConfig):
    """Make a Metropolis step to a neighbouring value of ρ, all values having the same prior probability; x keeps its
    variance.
    """
    k_step, k_accept = jax.random.split(key)
    spreads = jnp.asarray(SPREADS, parameters.spread.dtype)
    at = jnp.argmin(abs(spreads - parameters.spread))
    to = at + jnp.where(jax.random.bernoulli(k_step), 1, -1)
    spread = spreads[jnp.clip(to, 0, len(spreads) - 1)]  # beyond the ends it stays
    t = 0.5 * (jnp.log1p(parameters.spread**2) - jnp.log1p(spread**2))
    return _moved(k_accept, labels, parameters, value, config, t, 0.0, spread)[0]


def _moved(key, labels: Labels, parameters: Parameters, value, config: IntegratedConfig, t, c, spread):
    if config.hierarchy:
        new = moved(parameters, jnp.array([[jnp.exp(t), 0.0], [c, 1.0]]))
    else:
        w = parameters.labelers
        new = parameters._replace(labelers=jnp.stack([w[:, 0] * jnp.exp(t), w[:, 1] + c * w[:, 0]], axis=1))
    new = new._replace(spread=spread)
    volume = (len(parameters.labelers) + (4 if config.hierarchy else 0)) * t
    proposed = log_joint(labels, new, config)
    yes = jnp.log(jax.random.uniform(key)) < proposed - value + volume
    parameters, value = jax.tree.map(lambda a, b: jnp.where(yes, a, b), (new, proposed), (parameters, value))
    return parameters, value, yes.astype(value.dtype)


def counts_at(labels: Labels, points: Int[Array, " I"], config: IntegratedConfig) -> Float[Array, "W 2 G"]:
    """Count the labels of each labeler and value on instances at each point."""
    n, dtype = len(config.nodes), jnp.result_type(float)
    labeler, instance, label, counts = map(jnp.asarray, (labels.labeler, labels.instance, labels.label, labels.counts))
    slot = (2 * labeler + (label > 0)) * n + points[instance]
    found = jnp.zeros(2 * labels.n_labelers * n, dtype).at[slot].add(counts.astype(dtype))
    return found.reshape(labels.n_labelers, 2, n)


def labelers_given(key, parameters: Parameters, counts: Float[Array, "W 2 G"], config: IntegratedConfig):
    """Draw w_i given the instances' points by two independence steps; return parameters and the share accepted."""
    design = jnp.asarray(config.design, counts.dtype)
    w, precision = parameters.labelers, jnp.linalg.inv(parameters.covariance)
    at_mean = parameters._replace(labelers=jnp.broadcast_to(parameters.mean, w.shape))
    mode = at_mean._replace(labelers=newton(at_mean, counts, design, NEWTON))
    root = jnp.linalg.cholesky(laplace(mode, counts, design))

    def log_ratio(w):
        """Return log p(w_i | x) less log of the proposal's density."""
        eta, gap = scores(w, design), w - parameters.mean
        z = jax.vmap(lambda r, v: jax.scipy.linalg.solve_triangular(r, v, lower=True))(root, w - mode.labelers)
        fit = (counts[:, 1] * jax.nn.log_sigmoid(eta) + counts[:, 0] * jax.nn.log_sigmoid(-eta)).sum(1)
        log_p = fit - 0.5 * jnp.einsum("wi,ij,wj->w", gap, precision, gap, precision=PRECISION)
        return log_p + 0.5 * (FREEDOM + 2) * jnp.log1p((z * z).sum(1) / FREEDOM)

    def step(carry, key):
        w, old = carry
        k_z, k_r, k_u = jax.random.split(key, 3)
        z = jax.random.normal(k_z, w.shape, w.dtype)
        z /= jnp.sqrt(jax.random.gamma(k_r, FREEDOM / 2, w.shape[:1], w.dtype) * 2 / FREEDOM)[:, None]
        new = mode.labelers + jnp.einsum("wij,wj->wi", root, z, precision=PRECISION)
        value = log_ratio(new)
        yes = jnp.log(jax.random.uniform(k_u, old.shape, old.dtype)) < value - old
        return (jnp.where(yes[:, None], new, w), jnp.where(yes, value, old)), yes.mean()

    (w, _), accepted = jax.lax.scan(step, (w, log_ratio(w)), jax.random.split(key))
    return parameters._replace(labelers=w), accepted.mean()


def population_given(key, parameters: Parameters, n: int) -> Parameters:
    """Draw μ ~ N given w and Σ, then Σ ~ inverse Wishart given w and μ."""
    k_mean, k_normal, k_gamma = jax.random.split(key, 3)
    w, precision = parameters.labelers, jnp.linalg.inv(parameters.covariance)
    root = jnp.linalg.cholesky(jnp.linalg.inv(n * precision + jnp.eye(2, dtype=w.dtype)))
    center = root @ root.T @ (precision @ w.sum(0) + jnp.asarray(np.eye(2)[0], w.dtype))
    mean = center + root @ jax.random.normal(k_mean, (2,), w.dtype)
    gap = w - mean
    scatter = jnp.matmul(gap.T, gap, precision=PRECISION) + PRIOR_LABELERS * jnp.eye(2, dtype=w.dtype)
    freedom = n + PRIOR_LABELERS - 3
    a, b = jnp.sqrt(2 * jax.random.gamma(k_gamma, (freedom - jnp.arange(2.0, dtype=w.dtype)) / 2, (2,), w.dtype))
    lower = jnp.array([[1.0, 0.0], [0.0, 0.0]]) * a + jnp.array([[0.0, 0.0], [0.0, 1.0]]) * b  # Bartlett's
    lower = lower.at[1, 0].set(jax.random.normal(k_normal, (), w.dtype))
    factor = jnp.linalg.cholesky(jnp.linalg.inv(scatter)) @ lower
    return parameters._replace(mean=mean, covariance=jnp.linalg.inv(factor @ factor.T))


def class_prior_given(key, parameters: Parameters, points: Int[Array, " I"], config: IntegratedConfig) -> Parameters:
    """Draw π ~ Beta given the classes, which are drawn given x."""
    k_class, k_plus, k_minus = jax.random.split(key, 3)
    x = jnp.asarray(config.nodes, parameters.labelers.dtype)[points]
    p = jax.nn.sigmoid(class_logit(config, x, parameters.spread, parameters.prior_logit))
    n = jax.random.bernoulli(k_class, p).sum()
    plus, minus = jax.random.loggamma(k_plus, n + 2.0), jax.random.loggamma(k_minus, len(points) - n + 2.0)
    return parameters._replace(prior_logit=(plus - minus).astype(parameters.prior_logit.dtype))


def split_r_hat(values: Float[np.ndarray, "S K"]) -> float:
    """Compute the largest split R̂, which compares the first and the second half of a chain. Host side.

    Example:
        >>> split_r_hat(np.arange(100.0)[:, None]) > 1.5, split_r_hat(np.tile([0.0, 1.0], 50)[:, None]) < 1.05
        (True, True)
    """
    halves = np.asarray(values, float)[: len(values) // 2 * 2].reshape(2, -1, values.shape[1])
    n, within = halves.shape[1], halves.var(1, ddof=1).mean(0)
    between = halves.mean(1).var(0, ddof=1)
    return float(np.sqrt((n - 1) / n + between / within).max())
