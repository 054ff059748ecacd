"""Fitting the integrated model by EM: from the majority vote, deterministic, one pass over the labels per step.

    E-step      q_j over the points (``kernels.grid_pass``)
    labelers    two damped Newton steps on Σ_g n_i+g log σ(η) + n_i-g log σ(-η) + log N(α_i, γ_i | μ, Σ), η = α x + γ
    population  μ, Σ from the labelers' modes and Laplace covariances V_i; π from the instances' posteriors

ρ is the one of a few values where the objective ends highest: its EM step is slow and ends where it started from.

The objective that stops it is Laplace's approximation of the log evidence of the hyperparameters,

    log p(L | labelers) + Σ_i ( log N(α_i, γ_i | μ, Σ) + ½ log|2π V_i| ) + log p(μ, Σ, π)

at whose stationary points, V_i held, the population's update stands still. At a fixed population every step raises it
but for the change of V_i.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from crowdjax import optimize
from crowdjax.factor.kernels import majority
from crowdjax.integrated.kernels import axis_information, grid_pass, missing_information
from crowdjax.integrated.model import PRIOR_LABELERS, PRIOR_MEAN, IntegratedConfig, Parameters, class_logit, start
from crowdjax.labels import Labels

NEWTON_STEPS = 2
MOST_MISSING = 0.9
STEP_LENGTHS = (1.0, 0.5, 0.2, 0.05, 0.0)  # a Newton step is the best of these parts of it


class IntegratedFit(eqx.Module):
    """A fitted model: what was found and how it went. Holds no data.

    Attributes:
        parameters: labelers (α_i, γ_i), their population μ, Σ, and ρ and logit π of the instances.
        covariance: Laplace's covariance of (α_i, γ_i) given the population, by the observed information, and what the
            labelers share: α_i² times ``axis``.
        axis: covariance of the log of the unit and of the origin of x, ``kernels.axis_information`` inverted.
        counts: how many labels each labeler gave, with multiplicity.
        instances: how many instances are expected at each point of x.
        objective: Laplace's log evidence of μ, Σ, ρ and π, see the module.
        log_likelihood: log p(L | labelers), every x_j integrated out.
        code: result code (``crowdjax.optimize.MEANING``).
        n_steps: passes over the labels, the start included.
        history: objective after each pass, NaN beyond.
    """

    parameters: Parameters
    covariance: Float[Array, "W 2 2"]
    axis: Float[Array, "2 2"]
    counts: Float[Array, " W"]
    instances: Float[Array, " G"]
    objective: Float[Array, ""]
    log_likelihood: Float[Array, ""]
    code: Int[Array, ""]
    n_steps: Int[Array, ""]
    history: Float[Array, " T"]


def fit(labels: Labels, config: IntegratedConfig = IntegratedConfig(), boundary=0.0) -> IntegratedFit:
    """Fits the model: a pure function of its arguments; jit it, vmap it, or call ``fit_jit``.

    Args:
        labels: the judgements; gold clamps the side of the boundary that an instance is on.
        config: the model's settings (static).
        boundary: where the classes of gold labels meet.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> found = fit_jit(labels)
        >>> found.parameters.labelers[:, 0].argsort().tolist()[0]      # the third labeler contradicts the others
        2

    Source: docs/choosing.md; for ``spread=0`` Dawid and Skene 1979 with labelers from one population.
    """
    x = jnp.asarray(config.nodes, jnp.result_type(float))
    spreads = jnp.asarray(config.spreads, x.dtype)
    first = start(config, labels.n_labelers)
    votes = jnp.clip(majority(labels), 1e-3, 1 - 1e-3)
    at_votes = grid_pass(labels, first, config, votes=votes)
    begin = first._replace(labelers=newton(first, at_votes.counts, x, 4 * NEWTON_STEPS))
    flat, unravel = ravel_pytree(begin)

    def step(flat, _):
        parameters = unravel(flat)
        e = grid_pass(labels, parameters, config, boundary=boundary)
        covariance = laplace(parameters, e.counts, x)
        value = e.evidence + log_population(parameters, covariance, e.counts, config)
        new = parameters._replace(labelers=newton(parameters, e.counts, x, NEWTON_STEPS))
        new = population(new, laplace(new, e.counts, x), e.counts, config)
        new = class_prior(new, e.instances, x, config)
        aux = (covariance, e.counts.sum((1, 2)), e.instances, e.evidence)
        return optimize.Step(ravel_pytree(new)[0], -value, jnp.zeros_like(flat), aux)

    def at_spread(begin, spread):
        begin = ravel_pytree(respread(unravel(begin), spread))[0]
        found = optimize.iterate(step, begin, max_steps=config.max_steps, rtol=config.rtol)
        return found.x, found

    _, found = jax.lax.scan(at_spread, flat, spreads)
    best = jnp.argmin(jnp.where(jnp.isfinite(found.value), found.value, jnp.inf))
    n_steps = 1 + found.n_steps.sum()
    found = jax.tree.map(lambda v: v[best], found)
    covariance, counts, instances, evidence = found.aux
    parameters = unravel(found.x)
    covariance = observed(covariance, missing_information(labels, parameters, config))
    axis = shared(labels, parameters, counts, config)
    return IntegratedFit(
        parameters=parameters,
        covariance=covariance + parameters.labelers[:, 0, None, None] ** 2 * axis,
        axis=axis,
        counts=counts,
        instances=instances,
        objective=-found.value,
        log_likelihood=evidence,
        code=found.code,
        n_steps=n_steps,
        history=-found.history,
    )


@eqx.filter_jit
def fit_jit(labels: Labels, config: IntegratedConfig = IntegratedConfig(), boundary=0.0) -> IntegratedFit:
    """:func:`fit`, compiled: traces once per shape and config."""
    return fit(labels, config, jnp.asarray(boundary, jnp.result_type(float)))


def newton(parameters: Parameters, counts: Float[Array, "W 2 G"], x, n_steps: int) -> Float[Array, "W 2"]:
    """(α_i, γ_i) after so many damped Newton steps on the expected log posterior of each labeler."""
    precision = jnp.linalg.inv(parameters.covariance)

    def value(w):
        eta = w[:, :1] * x + w[:, 1:]
        gap = w - parameters.mean
        fit = (counts[:, 1] * jax.nn.log_sigmoid(eta) + counts[:, 0] * jax.nn.log_sigmoid(-eta)).sum(1)
        return fit - 0.5 * jnp.einsum("wi,ij,wj->w", gap, precision, gap)

    def step(w, _):
        p = jax.nn.sigmoid(w[:, :1] * x + w[:, 1:])
        slope = counts[:, 1] * (1 - p) - counts[:, 0] * p
        gradient = jnp.stack([slope @ x, slope.sum(1)], axis=1) - (w - parameters.mean) @ precision
        move = solve2(information(counts, p, x) + precision, gradient)
        tried = jnp.stack([w + length * move for length in STEP_LENGTHS])
        best = jnp.argmax(jax.vmap(value)(tried), axis=0)
        return jnp.take_along_axis(tried, best[None, :, None], axis=0)[0], None

    return jax.lax.scan(step, parameters.labelers, None, length=n_steps)[0]


def information(counts: Float[Array, "W 2 G"], p: Float[Array, "W G"], x: Float[Array, " G"]) -> Float[Array, "W 2 2"]:
    """Σ_g n_g σ'(η_g) (x_g, 1)(x_g, 1)ᵀ of each labeler, x being known."""
    w = counts.sum(1) * p * (1 - p)
    xx, x1, one = w @ (x * x), w @ x, w.sum(1)
    return jnp.stack([jnp.stack([xx, x1], -1), jnp.stack([x1, one], -1)], -2)


def laplace(parameters: Parameters, counts, x) -> Float[Array, "W 2 2"]:
    """V_i = (Σ⁻¹ + information)⁻¹, the covariance of (α_i, γ_i) at the population μ, Σ."""
    p = jax.nn.sigmoid(parameters.labelers[:, :1] * x + parameters.labelers[:, 1:])
    return inverse2(information(counts, p, x) + jnp.linalg.inv(parameters.covariance))


def observed(complete: Float[Array, "W 2 2"], missing: Float[Array, "W 2 2"]) -> Float[Array, "W 2 2"]:
    """(V_i⁻¹ - missing information)⁻¹; of no labeler is more than ``MOST_MISSING`` of the information missing."""
    rate = complete @ missing
    half, det = jnp.trace(rate, axis1=1, axis2=2) / 2, jnp.linalg.det(rate)
    largest = half + jnp.sqrt(jnp.maximum(half**2 - det, 0))
    part = jnp.minimum(1, MOST_MISSING / jnp.maximum(largest, MOST_MISSING))
    return inverse2(inverse2(complete) - part[:, None, None] * missing)


def shared(labels: Labels, parameters: Parameters, counts, config: IntegratedConfig) -> Float[Array, "2 2"]:
    """Covariance of the axis' log unit and origin: the labelers' common uncertainty, which V_i, the others held, lacks.

    A learned population moves with the axis and tells of it no more than the prior of μ, about 1; a given one tells
    Σ_i α_i² Σ⁻¹. With ρ = 0 the axis is known.
    """
    if config.spread == 0:
        return jnp.zeros_like(parameters.covariance)
    information = axis_information(labels, parameters, config)
    if not config.hierarchy:
        alpha = jnp.where(counts > 0, parameters.labelers[:, 0], 0)
        information += (alpha @ alpha) * jnp.linalg.inv(parameters.covariance)
    values, vectors = jnp.linalg.eigh(information)
    return (vectors / jnp.maximum(values, 1)) @ vectors.T


def population(parameters: Parameters, covariance, counts, config: IntegratedConfig) -> Parameters:
    """μ and Σ at their modes given the labelers' modes and covariances; labelers without labels do not count."""
    if not config.hierarchy:  # Σ stays in the prior's unit
        return parameters
    w, seen = parameters.labelers, (counts.sum((1, 2)) > 0).astype(covariance.dtype)
    m, precision = seen.sum(), jnp.linalg.inv(parameters.covariance)
    prior_mean = jnp.asarray(PRIOR_MEAN, w.dtype)
    mean = jnp.linalg.solve(m * precision + jnp.eye(2), precision @ (seen @ w) + prior_mean)
    gap = w - mean
    scatter = jnp.einsum("w,wi,wj->ij", seen, gap, gap) + jnp.einsum("w,wij->ij", seen, covariance)
    return parameters._replace(mean=mean, covariance=(scatter + PRIOR_LABELERS * jnp.eye(2)) / (m + PRIOR_LABELERS))


def class_prior(parameters: Parameters, instances: Float[Array, " G"], x, config: IntegratedConfig) -> Parameters:
    """π at its mode given the expected numbers of instances at the points, under Beta(2, 2)."""
    if config.class_prior != "learn":
        return parameters
    positive = jax.nn.sigmoid(class_logit(config, x, parameters.spread, parameters.prior_logit))
    share = (instances @ positive + 1) / (instances.sum() + 2)
    return parameters._replace(prior_logit=jnp.log(share) - jnp.log1p(-share))


def respread(parameters: Parameters, spread: Float[Array, ""]) -> Parameters:
    """Other parameters with this ρ: α in the new unit of x, in which x has the variance 1 + ρ²."""
    unit = jnp.sqrt((1 + parameters.spread**2) / (1 + spread**2))
    scale = jnp.stack([unit, jnp.ones_like(unit)])
    return parameters._replace(
        labelers=parameters.labelers * scale,
        mean=parameters.mean * scale,
        covariance=parameters.covariance * scale * scale[:, None],
        spread=spread,
    )


def log_population(parameters: Parameters, covariance, counts, config: IntegratedConfig) -> Float[Array, ""]:
    """Σ_i ( log N(α_i, γ_i | μ, Σ) + ½ log|2π V_i| ) + log p(μ, Σ, π), without constants."""
    seen = (counts.sum((1, 2)) > 0).astype(covariance.dtype)
    precision = jnp.linalg.inv(parameters.covariance)
    gap = parameters.labelers - parameters.mean
    log_det = jnp.log(jnp.linalg.det(parameters.covariance))
    of_labelers = jnp.einsum("wi,ij,wj->w", gap, precision, gap) + log_det - jnp.log(jnp.linalg.det(covariance))
    away = parameters.mean - jnp.asarray(PRIOR_MEAN, gap.dtype)
    value = -0.5 * (seen @ of_labelers + away @ away + PRIOR_LABELERS * (log_det + jnp.trace(precision)))
    if config.class_prior == "learn":
        value += jax.nn.log_sigmoid(parameters.prior_logit) + jax.nn.log_sigmoid(-parameters.prior_logit)
    return value


def inverse2(a: Float[Array, "*n 2 2"]) -> Float[Array, "*n 2 2"]:
    """Inverses of 2 by 2 matrices."""
    det = a[..., 0, 0] * a[..., 1, 1] - a[..., 0, 1] * a[..., 1, 0]
    adjugate = jnp.stack(
        [jnp.stack([a[..., 1, 1], -a[..., 0, 1]], -1), jnp.stack([-a[..., 1, 0], a[..., 0, 0]], -1)], -2
    )
    return adjugate / det[..., None, None]


def solve2(a: Float[Array, "*n 2 2"], b: Float[Array, "*n 2"]) -> Float[Array, "*n 2"]:
    """A⁻¹ b of 2 by 2 systems."""
    return jnp.einsum("...ij,...j->...i", inverse2(a), b)
