"""What a fit says about instances, labelers and the share of positives, with the uncertainty that belongs to it.

    p_j      = E[ σ(logit π + 2 (x_j - c) / ρ²) | L ]           over x_j's posterior and the boundary's distribution
    sens_i   = E[ σ(α_i x + γ_i) | z = +1 ]                     over the population of instances; spec_i likewise
    J_i      = sens_i + spec_i - 1                              informedness (Youden's index): 0 of who guesses
    share(c) = mean_j E[ σ(logit π + 2 (x_j - c) / ρ²) | L ]

The boundary's uncertainty is what makes p_j honest: the labels hardly say where it is. Intervals of labelers are
Laplace's: normal on the logit scale, by V_i, at the given boundary.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Bool, Float

from crowdjax.factor.features import PRECISION
from crowdjax.integrated.boundary import Boundary, around
from crowdjax.integrated.fit import IntegratedFit
from crowdjax.integrated.kernels import expectations
from crowdjax.integrated.model import Features, IntegratedConfig, Parameters, centers, class_logit, log_weights
from crowdjax.labels import Labels
from crowdjax.segments import total

LEVEL = 0.9  # of all intervals
HALF = NormalDist().inv_cdf((1 + LEVEL) / 2)  # of an interval, in standard deviations
SPAM, EXPERT = 0.2, 0.6  # informedness of who is called a spammer, and an expert
QUANTILES = 200  # of m_j, which stand for all instances where labelers are judged


class InstanceAnswers(NamedTuple):
    """P(z_j = +1), the same with the boundary at 0, whether the class differs between the two, and x_j's posterior mean
    and standard deviation."""

    probability: Float[Array, " I"]
    at_zero: Float[Array, " I"]
    depends: Bool[Array, " I"]
    mean: Float[Array, " I"]
    sd: Float[Array, " I"]


class Interval(NamedTuple):
    """An estimate with the ends of its interval (``LEVEL``)."""

    mean: Float[Array, "..."]
    lower: Float[Array, "..."]
    upper: Float[Array, "..."]


class LabelerAnswers(NamedTuple):
    """Chances of labelling a positive, and a negative, rightly; and informedness, their sum less 1."""

    sensitivity: Interval
    specificity: Interval
    informedness: Interval


def class_probability(
    config: IntegratedConfig, parameters: Parameters, boundary: Boundary, center: Float[Array, " n"] | None = None
) -> Float[Array, "*n G"]:
    """P(z = +1 | x_g), averaged over the boundary's distribution; for every m_j, where they differ."""
    x = jnp.asarray(config.nodes, parameters.labelers.dtype)[:, None]
    m = 1.0 if center is None else center[:, None, None]
    logit = class_logit(config, x, parameters.spread, parameters.prior_logit, boundary.points, m)
    return jax.nn.sigmoid(logit) @ boundary.mass


@eqx.filter_jit
def of_instances(
    labels: Labels,
    parameters: Parameters,
    config: IntegratedConfig,
    boundary: Boundary,
    features: Features = Features(),
) -> InstanceAnswers:
    """Answers about the instances of any labels, given the labelers; those with gold get it."""
    x, zero = jnp.asarray(config.nodes, parameters.labelers.dtype), around(jnp.zeros_like(boundary.center))

    def functions(m):
        plus, at_zero = (class_probability(config, parameters, b, m) for b in (boundary, zero))
        return jnp.stack([plus, at_zero, *(jnp.broadcast_to(v, plus.shape) for v in (x, x * x))], axis=-1)

    center = centers(parameters, features)
    given = functions(None) if center is None else functions
    p, at_zero, mean, square = expectations(labels, parameters, config, given, center).T
    depends = (p > 0.5) != (at_zero > 0.5)
    if labels.gold is not None:
        gold = jnp.asarray(labels.gold)
        p, at_zero = (jnp.where(gold == 0, v, (gold > 0).astype(p.dtype)) for v in (p, at_zero))
        depends &= gold == 0
    return InstanceAnswers(p, at_zero, depends, mean, jnp.sqrt(jnp.maximum(square - mean**2, 0)))


@eqx.filter_jit
def of_labelers(
    fit: IntegratedFit, config: IntegratedConfig, boundary: Boundary, features: Features = Features()
) -> LabelerAnswers:
    """Sensitivity and specificity of every labeler on the population of instances, with intervals."""
    parameters = fit.parameters
    design = jnp.asarray(config.design, parameters.labelers.dtype)
    center = centers(parameters, features)
    if center is not None:  # of the instances together quantiles say enough
        center = jnp.quantile(center, (jnp.arange(QUANTILES, dtype=design.dtype) + 0.5) / QUANTILES)
    density = log_weights(config, parameters.spread, parameters.prior_logit, 1.0 if center is None else center)
    density = jnp.exp(jax.nn.logsumexp(density, axis=-1))
    positive = class_probability(config, parameters, boundary, center)
    plus, minus = (jnp.atleast_2d(density * p).mean(0) for p in (positive, 1 - positive))

    def chance(sign, share):
        p = jax.nn.sigmoid(sign * jnp.matmul(parameters.labelers, design.T, precision=PRECISION))
        mean, slope = p @ share, sign * p * (1 - p) * share
        gradient = slope @ design
        variance = jnp.einsum("wi,wij,wj->w", gradient, fit.covariance, gradient)
        mean = jnp.clip(mean, 1e-6, 1 - 1e-6)
        logit = jnp.log(mean) - jnp.log1p(-mean)
        half = HALF * jnp.sqrt(variance) / (mean * (1 - mean))
        return Interval(mean, jax.nn.sigmoid(logit - half), jax.nn.sigmoid(logit + half))

    def difference(share):
        p = jax.nn.sigmoid(jnp.matmul(parameters.labelers, design.T, precision=PRECISION))
        mean, gradient = p @ share, (p * (1 - p) * share) @ design
        half = HALF * jnp.sqrt(jnp.einsum("wi,wij,wj->w", gradient, fit.covariance, gradient))
        return Interval(mean, jnp.maximum(mean - half, -1), jnp.minimum(mean + half, 1))

    plus, minus = plus / plus.sum(), minus / minus.sum()
    return LabelerAnswers(chance(1, plus), chance(-1, minus), difference(plus - minus))


def kinds(informedness: Interval) -> np.ndarray:
    """What each labeler is, by the interval of J_i. Host side.

    spammer    all of it within ± .2: the answers hardly depend on the instance
    adversary  all of it below 0: wrong more often than right
    expert     all of it above .6
    unknown    0 is in it: too few labels to tell
    ordinary   all others

    Example:
        >>> kinds(Interval(*np.array([[0.9, 0.0, -0.5], [0.7, -0.1, -0.8], [1.0, 0.1, -0.2]]))).tolist()
        ['expert', 'spammer', 'adversary']
    """
    _, lower, upper = map(np.asarray, informedness)
    of = [(lower > -SPAM) & (upper < SPAM), upper < 0, lower > EXPERT, lower <= 0]
    return np.select(of, ["spammer", "adversary", "expert", "unknown"], "ordinary")


@eqx.filter_jit
def coins(
    labels: Labels, parameters: Parameters, config: IntegratedConfig, boundary: Boundary, features: Features
) -> Float[Array, "2 C"]:
    """Σ_j E[p_j] and Σ_j E[p_j (1 - p_j)] at every boundary, where instances have features."""
    x = jnp.asarray(config.nodes, parameters.labelers.dtype)[:, None]

    def functions(m):
        logit = class_logit(config, x, parameters.spread, parameters.prior_logit, boundary.points, m[:, None, None])
        p = jax.nn.sigmoid(logit)
        return jnp.concatenate([p, p * (1 - p)], axis=-1)

    sums = expectations(labels, parameters, config, functions, centers(parameters, features))
    return jax.vmap(total, 1)(sums).reshape(2, -1)


def share_of_positives(
    fit: IntegratedFit, config: IntegratedConfig, boundary: Boundary, given: Float[Array, "2 C"] | None = None
) -> Interval:
    """The share of positives among the instances: over the boundary's distribution, and at each boundary as the
    sum of so many coins. Host side.

    Args:
        given: of ``coins``, where instances have features.
    """
    x, parameters = np.asarray(config.nodes)[:, None], jax.tree.map(np.asarray, fit.parameters)
    points, mass = np.asarray(boundary.points, float), np.asarray(boundary.mass, float)
    instances = np.asarray(fit.instances, float)
    n = instances.sum()
    if given is None:
        logit = class_logit(config, x, parameters.spread, parameters.prior_logit, points)
        positive = np.asarray(jax.nn.sigmoid(logit), float)
        mean, variance = instances @ positive, instances @ (positive * (1 - positive))
    else:
        mean, variance = np.asarray(given, float)
    mean, sd = mean / n, np.sqrt(np.maximum(variance, 1e-12)) / n

    shares = np.linspace(0, 1, 4001)
    below = np.asarray(ndtr((shares[:, None] - mean) / sd)) @ mass
    ends = (np.interp(level, below, shares) for level in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(float(mean @ mass), *map(float, ends))
