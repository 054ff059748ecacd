"""What a fit says about instances, labelers and the share of positives, with the uncertainty that belongs to it.

    p_j      = E[ σ(logit π + 2 (x_j - c) / ρ²) | L ]           over x_j's posterior and the boundary's distribution
    sens_i   = E[ σ(α_i x + γ_i) | z = +1 ]                     over the population of instances; spec_i likewise
    share(c) = mean_j E[ σ(logit π + 2 (x_j - c) / ρ²) | L ]

The boundary's uncertainty is what makes p_j honest: the labels hardly say where it is. Intervals of labelers are
Laplace's: normal on the logit scale, by the labelers' covariance, at the given boundary.
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

from crowdjax.integrated.boundary import Boundary, around
from crowdjax.integrated.fit import IntegratedFit
from crowdjax.integrated.kernels import expectations
from crowdjax.integrated.model import IntegratedConfig, Parameters, class_logit, log_weights
from crowdjax.labels import Labels

LEVEL = 0.9  # of all intervals


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
    """Chances of labelling a positive, and a negative, rightly."""

    sensitivity: Interval
    specificity: Interval


def class_probability(config: IntegratedConfig, parameters: Parameters, boundary: Boundary) -> Float[Array, " G"]:
    """P(z = +1 | x_g), averaged over the boundary's distribution."""
    x = jnp.asarray(config.nodes, parameters.labelers.dtype)[:, None]
    logit = class_logit(config, x, parameters.spread, parameters.prior_logit, boundary.points)
    return jax.nn.sigmoid(logit) @ boundary.mass


@eqx.filter_jit
def of_instances(
    labels: Labels, parameters: Parameters, config: IntegratedConfig, boundary: Boundary
) -> InstanceAnswers:
    """Answers about the instances of any labels, given the labelers; those with gold get it."""
    x = jnp.asarray(config.nodes, parameters.labelers.dtype)
    zero = class_probability(config, parameters, around(jnp.zeros_like(boundary.center)))
    functions = jnp.stack([class_probability(config, parameters, boundary), zero, x, x * x], axis=1)
    p, at_zero, mean, square = expectations(labels, parameters, config, functions).T
    depends = (p > 0.5) != (at_zero > 0.5)
    if labels.gold is not None:
        gold = jnp.asarray(labels.gold)
        p, at_zero = (jnp.where(gold == 0, v, (gold > 0).astype(p.dtype)) for v in (p, at_zero))
        depends &= gold == 0
    return InstanceAnswers(p, at_zero, depends, mean, jnp.sqrt(jnp.maximum(square - mean**2, 0)))


@eqx.filter_jit
def of_labelers(fit: IntegratedFit, config: IntegratedConfig, boundary: Boundary) -> LabelerAnswers:
    """Sensitivity and specificity of every labeler on the population of instances, with intervals."""
    parameters = fit.parameters
    x = jnp.asarray(config.nodes, parameters.labelers.dtype)
    population = jnp.exp(jax.nn.logsumexp(log_weights(config, parameters.spread, parameters.prior_logit), axis=1))
    positive = class_probability(config, parameters, boundary)

    def chance(sign, share):
        share = share / share.sum()
        p = jax.nn.sigmoid(sign * (parameters.labelers[:, :1] * x + parameters.labelers[:, 1:]))
        mean, slope = p @ share, sign * p * (1 - p) * share
        gradient = jnp.stack([slope @ x, slope.sum(1)], axis=1)
        variance = jnp.einsum("wi,wij,wj->w", gradient, fit.covariance, gradient)
        mean = jnp.clip(mean, 1e-6, 1 - 1e-6)
        logit = jnp.log(mean) - jnp.log1p(-mean)
        half = NormalDist().inv_cdf((1 + LEVEL) / 2) * jnp.sqrt(variance) / (mean * (1 - mean))
        return Interval(mean, jax.nn.sigmoid(logit - half), jax.nn.sigmoid(logit + half))

    return LabelerAnswers(chance(1, population * positive), chance(-1, population * (1 - positive)))


def share_of_positives(labels: Labels, fit: IntegratedFit, config: IntegratedConfig, boundary: Boundary) -> Interval:
    """The share of positives among the instances: over the boundary's distribution, and at each boundary as the sum of
    so many coins, by an axis whose origin is known to its standard deviation. Host side.

        Var[share | c] = Σ_j p_j (1 - p_j) / I² + (∂share/∂c)² Var[origin]          p_j = P(z_j = +1 | L, c)
    """
    mean, variance, slope = map(np.asarray, _shares(labels, fit, config, boundary))
    sd = np.sqrt(np.maximum(variance + slope**2 * float(fit.axis[1, 1]), 1e-12))
    shares, mass = np.linspace(0, 1, 4001), np.asarray(boundary.mass, float)
    below = np.asarray(ndtr((shares[:, None] - mean) / sd)) @ mass
    ends = (np.interp(level, below, shares) for level in ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return Interval(float(mean @ mass), *map(float, ends))


@eqx.filter_jit
def _shares(labels, fit, config, boundary):
    """At every boundary: the expected share of positives, its variance, and how it falls as the boundary rises."""
    x = jnp.asarray(config.nodes, fit.parameters.labelers.dtype)[:, None]
    logit = class_logit(config, x, fit.parameters.spread, fit.parameters.prior_logit, boundary.points)
    positive = jax.nn.sigmoid(logit)
    steep = 0.0 if config.spread == 0 else 2 / fit.parameters.spread**2
    p, slope = jnp.split(
        expectations(labels, fit.parameters, config, jnp.c_[positive, steep * positive * (1 - positive)]), 2, axis=1
    )
    return p.mean(0), (p * (1 - p)).mean(0) / labels.n_instances, slope.mean(0)
