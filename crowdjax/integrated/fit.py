"""Fitting the integrated model by EM: from the majority vote, deterministic, one pass over the labels per step.

    E-step      q_j over the points (``kernels.grid_pass``)
    labelers    two damped Newton steps on Σ_g n_i+g log σ(η) + n_i-g log σ(-η) + log N(α_i, γ_i | μ, Σ), η = α x + γ
    population  μ, Σ from the labelers' modes and Laplace covariances V_i; π from the instances' posteriors
    features    M with μ, by the regression of the labelers' modes; w by that of E[z_j x_j] on f_j (least squares)

ρ is the one of a few values with the highest final objective: an EM step in ρ is so slow that it ends near its start.

Two factors start from the fit of one. Labels hardly determine a rotation of (x, y), so the mean of δ is held at 0: the
class is what labelers respond to on average.

The objective that stops it is Laplace's approximation of the log evidence of the hyperparameters,

    log p(L | labelers) + Σ_i ( log N(α_i, γ_i | μ, Σ) + ½ log|2π V_i| ) + log p(μ, Σ, π, M, w)

at whose stationary points, V_i held, the population's update stands still. At a fixed population every step raises it
but for the change of V_i. So steps, which are accelerated (Anderson), are not held to it: where EM stands still it may
be a little lower than on the way.
"""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int

from crowdjax import optimize
from crowdjax.factor.features import PRECISION
from crowdjax.factor.kernels import majority
from crowdjax.integrated.kernels import GridPass, axis_information, grid_pass, missing_information
from crowdjax.integrated.model import (
    FEATURE_SD,
    PRIOR_LABELERS,
    Features,
    IntegratedConfig,
    Parameters,
    centers,
    class_logit,
    labeler_means,
    signed_centers,
    start,
)
from crowdjax.labels import Labels, refuse_more_classes
from crowdjax.segments import total
from crowdjax.stored import stored

NEWTON_STEPS = 2
MOST_MISSING = 0.9
RISE = 1e-3  # by how much of the objective a step may lower it: it is not quite what steps raise
NEAR = 0.02  # of rtol: acceleration stops where this much is left, in fewer steps nearer to the end than EM with rtol
HELD = 1e6  # precision of a prior that holds a weight at 0
STEP_LENGTHS = (1.0, 0.5, 0.2, 0.05, 0.0)  # a Newton step is the best of these parts of it


class IntegratedFit(eqx.Module):
    """A fitted integrated model: parameters, covariances and convergence. Holds no labels.

    Attributes:
        parameters: labelers (α_i, γ_i), their population μ, Σ, and ρ and logit π of the instances.
        covariance: Laplace's covariance of (α_i, γ_i) given the population, by the observed information, and what the
            labelers share: α_i² times ``axis``.
        axis: covariance of the log of the unit and of the origin of x, ``kernels.axis_information`` inverted.
        counts: number of labels of each labeler, with multiplicity, shape [W].
        instances: expected number of instances at every point of x.
        objective: Laplace's approximation of the log evidence of μ, Σ, ρ and π; see the module.
        log_likelihood: log p(L | labelers), every x_j integrated out.
        code: result code (``crowdjax.optimize.MEANING``).
        n_steps: number of passes over the labels, the start included.
        history: objective after each pass, NaN beyond.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> found = fit_jit(labels)
        >>> found.parameters.labelers.shape, found.covariance.shape, found.counts.round().tolist()
        ((3, 2), (3, 2, 2), [4.0, 4.0, 4.0])
    """

    parameters: Parameters
    covariance: Float[Array, "W K K"]
    axis: Float[Array, "2 2"]
    counts: Float[Array, " W"]
    instances: Float[Array, " G"]
    objective: Float[Array, ""]
    log_likelihood: Float[Array, ""]
    code: Int[Array, ""]
    n_steps: Int[Array, ""]
    history: Float[Array, " T"]


def fit(
    labels: Labels,
    config: IntegratedConfig = IntegratedConfig(),
    boundary=0.0,
    features: Features = Features(),
    begin: Parameters | None = None,
) -> IntegratedFit:
    """Fit the integrated model to labels by EM: a pure function of its arguments. Jit it, vmap it, or call ``fit_jit``.

    Args:
        labels: the judgements; gold restricts an instance to its side of the boundary.
        config: the model's settings (static).
        boundary: the decision boundary that gold refers to, a scalar.
        features: standardised features of labelers and instances; features of instances need ρ > 0.
        begin: initial parameters; default: from the majority vote.

    Raises:
        InputError: labels are not of two classes.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> found = fit_jit(labels)
        >>> found.parameters.labelers[:, 0].argsort().tolist()[0]      # the third labeler contradicts the others
        2

    Source: docs/research/choosing.md; for ``spread=0`` Dawid and Skene 1979 with labelers from one population.
    """
    return stages(labels, boundary, features, begin, config).run()


def stages(
    labels: Labels, boundary, features: Features, begin: Parameters | None, config: IntegratedConfig
) -> optimize.Staged:
    """Build :func:`fit` as stages, one for every value of ρ to try, to run in blocks of steps (``crowdjax.drive``)."""
    refuse_more_classes(labels)
    x = jnp.asarray(config.nodes, jnp.result_type(float))
    design = jnp.asarray(config.design, x.dtype)
    spreads = jnp.asarray(config.spreads, x.dtype)
    if begin is not None:
        n_before = 0
    elif config.factors == 1:
        begin, n_before = at_votes(labels, config, features), 1
    else:
        one = fit(labels, dataclasses.replace(config, factors=1), boundary, features)
        begin, n_before = with_second(one.parameters), one.n_steps
    flat, unravel = ravel_pytree(begin)

    def step(flat):
        # One pass over the labels gives the value at these parameters and the counts of all M-steps. These follow in
        # the order in which they depend on each other: labelers given the population, the population given its
        # labelers (by the covariance at the new ones), the class prior, the weights of copies.
        parameters = unravel(flat)
        e = grid_pass(labels, parameters, config, boundary=boundary, center=centers(parameters, features))
        covariance = laplace(parameters, e.counts, design)
        value = e.evidence + log_population(parameters, covariance, e.counts, config, features)
        new = parameters._replace(labelers=newton(parameters, e.counts, design, NEWTON_STEPS, features))
        new = population(new, laplace(new, e.counts, design), e.counts, config, features)
        new = class_prior(new, positives(labels, parameters, e, x, config), e.instances.sum(), config)
        new = cluster_weights(new, labels, e.aligned, features)
        aux = (covariance, e.counts.sum((1, 2)), e.instances, e.evidence)
        metric = ravel_pytree(curvature(parameters, covariance, e.counts, e.instances.sum()))[0]
        return optimize.Step(ravel_pytree(new)[0], -value, jnp.zeros_like(flat), aux), metric

    def loop(carry, _):
        # The objective of a known population falls by more than RISE on the way of EM. A population that is learned
        # may stop EM there as well, in crowds with many adversaries: docs/troubleshooting.md.
        images = not config.hierarchy
        settings = dict(max_steps=config.max_steps, rtol=NEAR * config.rtol, rise=RISE, images=images)
        return optimize.acceleration(step, carry[0], **settings)

    def close(carry, k, found):
        _, best, n_steps = carry
        known = jnp.where(jnp.isfinite(best.value), best.value, jnp.inf)
        better = (k == 0) | (jnp.isfinite(found.value) & (found.value < known))
        best = jax.tree.map(lambda new, old: jnp.where(better, new, old), found, best)
        return found.x, best, n_steps + found.n_steps

    def end(carry):
        _, best, n_steps = carry
        covariance, counts, instances, evidence = best.aux
        parameters = unravel(best.x)
        center = centers(parameters, features)
        # EM's covariance takes positions x_j as known. Two things are missing. Each x_j is inferred from the very
        # labels that it explains (the observed information, Louis 1982). And a stretch or shift of the axis moves all
        # labelers together, which no labeler's own block shows: it is added along the direction that moves them.
        covariance = observed(covariance, missing_information(labels, parameters, config, center))
        axis, moved = shared(labels, parameters, counts, config, center), moved_by_axis(parameters)
        return IntegratedFit(
            parameters=parameters,
            covariance=covariance + parameters.labelers[:, 0, None, None] ** 2 * (moved @ axis @ moved.T),
            axis=axis,
            counts=counts,
            instances=instances,
            objective=-best.value,
            log_likelihood=evidence,
            code=best.code,
            n_steps=n_steps,
            history=-best.history,
        )

    none = loop((flat,), 0)
    nothing = none.solution(none.init)._replace(code=jnp.array(optimize.RUNNING))
    return optimize.Staged(
        first=(flat, nothing, jnp.asarray(n_before)),
        numbers=np.arange(len(config.spreads)),
        prepare=lambda carry, k: (ravel_pytree(respread(unravel(carry[0]), spreads[k]))[0], *carry[1:]),
        limit=lambda carry, k: jnp.asarray(config.max_steps),
        loop=loop,
        close=close,
        code=lambda carry: carry[1].code,
        end=end,
    )


def curvature(parameters: Parameters, covariance, counts, n_instances) -> Parameters:
    """Estimate how much the objective curves in each parameter: the metric of EM's acceleration.

    Labelers without labels, and what is not learned, have no say.
    """
    seen = (counts.sum((1, 2)) > 0).astype(covariance.dtype)
    each = seen[:, None] / jnp.diagonal(covariance, axis1=1, axis2=2)
    m, variance = seen.sum(), jnp.diag(parameters.covariance)
    pi = jax.nn.sigmoid(parameters.prior_logit)
    weights = lambda v, n: None if v is None else jnp.full_like(v, n)  # noqa: E731
    return Parameters(
        labelers=each,
        mean=m / variance,
        covariance=0.5 * m / (variance[:, None] * variance),
        spread=jnp.zeros_like(parameters.spread),
        prior_logit=n_instances * pi * (1 - pi),
        labeler_weights=weights(parameters.labeler_weights, m),
        instance_weights=weights(parameters.instance_weights, n_instances),
    )


def at_votes(
    labels: Labels, config: IntegratedConfig, features: Features = Features(), prior_logit: Array | None = None
) -> Parameters:
    """Compute initial parameters of one factor: labelers at their modes, with the vote shares as the probabilities of
    the classes.

    Args:
        prior_logit: logit π; by default that of the config.

    Example: the third labeler contradicts the others
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> int(at_votes(labels, IntegratedConfig()).labelers[:, 0].argmin())
        2
    """
    first = start(config, labels.n_labelers, features)
    if prior_logit is not None:
        first = first._replace(prior_logit=jnp.asarray(prior_logit, first.prior_logit.dtype))
    counts = grid_pass(labels, first, config, votes=jnp.clip(majority(labels), 1e-3, 1 - 1e-3)).counts
    design = jnp.asarray(config.design, jnp.result_type(float))
    return first._replace(labelers=newton(first, counts, design, 4 * NEWTON_STEPS))


@stored
def fit_jit(
    labels: Labels,
    config: IntegratedConfig = IntegratedConfig(),
    boundary=0.0,
    features: Features = Features(),
    begin: Parameters | None = None,
) -> IntegratedFit:
    """Run :func:`fit` compiled, once per shape and configuration.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> int(fit_jit(labels).code) == optimize.CONVERGED
        True
    """
    return fit(labels, config, jnp.asarray(boundary, jnp.result_type(float)), features, begin)


def with_second(parameters: Parameters) -> Parameters:
    """Add a second factor to the parameters of one as a start: δ_i drawn from N(0, .5) with a fixed seed."""
    zero = lambda v, axis: jnp.insert(v, 1, 0, axis=axis)  # noqa: E731
    delta = np.random.default_rng(0).normal(0, 0.7, len(parameters.labelers))
    weights = parameters.labeler_weights
    return parameters._replace(
        labelers=zero(parameters.labelers, 1).at[:, 1].set(delta),
        mean=zero(parameters.mean, 0),
        covariance=zero(zero(parameters.covariance, 0), 1).at[1, 1].set(0.5),
        labeler_weights=None if weights is None else zero(weights, 1),
    )


def newton(
    parameters: Parameters, counts: Float[Array, "W 2 G"], design, n_steps: int, features: Features = Features()
) -> Float[Array, "W K"]:
    """Make ``n_steps`` damped Newton steps in w_i on the expected log posterior of each labeler."""
    precision, means = jnp.linalg.inv(parameters.covariance), labeler_means(parameters, features)

    def value(w):
        eta = scores(w, design)
        gap = w - means
        fit = (counts[:, 1] * jax.nn.log_sigmoid(eta) + counts[:, 0] * jax.nn.log_sigmoid(-eta)).sum(1)
        return fit - 0.5 * jnp.einsum("wi,ij,wj->w", gap, precision, gap)

    def step(w, _):
        p = jax.nn.sigmoid(scores(w, design))
        slope = counts[:, 1] * (1 - p) - counts[:, 0] * p
        gradient = slope @ design - (w - means) @ precision
        move = jnp.einsum("wij,wj->wi", inverse(information(counts, p, design) + precision), gradient)
        tried = jnp.stack([w + length * move for length in STEP_LENGTHS])
        best = jnp.argmax(jax.vmap(value)(tried), axis=0)
        return jnp.take_along_axis(tried, best[None, :, None], axis=0)[0], None

    return jax.lax.scan(step, parameters.labelers, None, length=n_steps)[0]


def scores(w: Float[Array, "W K"], design: Float[Array, "G K"]) -> Float[Array, "W G"]:
    """Compute η_ig = w_i·φ_g."""
    return jnp.matmul(w, design.T, precision=PRECISION)


def information(
    counts: Float[Array, "W 2 G"], p: Float[Array, "W G"], design: Float[Array, "G K"]
) -> Float[Array, "W K K"]:
    """Compute the complete-data information Σ_g n_g σ'(η_g) φ_g φ_gᵀ of each labeler."""
    n, k = design.shape
    products = (design[:, :, None] * design[:, None]).reshape(n, k * k)
    return ((counts.sum(1) * p * (1 - p)) @ products).reshape(-1, k, k)


def laplace(parameters: Parameters, counts, design) -> Float[Array, "W K K"]:
    """Compute V_i = (Σ⁻¹ + information)⁻¹, the covariance of w_i at the population μ, Σ."""
    p = jax.nn.sigmoid(scores(parameters.labelers, design))
    return inverse(information(counts, p, design) + jnp.linalg.inv(parameters.covariance))


def observed(complete: Float[Array, "W K K"], missing: Float[Array, "W K K"]) -> Float[Array, "W K K"]:
    """Compute (V_i⁻¹ - missing information)⁻¹; the missing share is capped at ``MOST_MISSING`` for every labeler."""
    root = jnp.linalg.cholesky(complete)
    largest = jnp.linalg.eigvalsh(jnp.swapaxes(root, 1, 2) @ missing @ root)[:, -1]
    part = jnp.minimum(1, MOST_MISSING / jnp.maximum(largest, MOST_MISSING))
    return inverse(inverse(complete) - part[:, None, None] * missing)


def shared(
    labels: Labels, parameters: Parameters, counts, config: IntegratedConfig, center: Float[Array, " I"] | None = None
) -> Float[Array, "2 2"]:
    """Compute the covariance of the log unit and the origin of the axis: the uncertainty common to all labelers, which
    V_i omits as it holds the others fixed.

    A learned population moves with the axis and tells of it no more than the prior of μ, about 1; a given one tells
    Σ_i α_i² Σ⁻¹. With ρ = 0 the axis is known.
    """
    if config.spread == 0:
        return jnp.zeros((2, 2), parameters.labelers.dtype)
    information = axis_information(labels, parameters, config, center)
    if not config.hierarchy:
        alpha, moved = jnp.where(counts > 0, parameters.labelers[:, 0], 0), moved_by_axis(parameters)
        information += (alpha @ alpha) * moved.T @ jnp.linalg.inv(parameters.covariance) @ moved
    values, vectors = jnp.linalg.eigh(information)
    return (vectors / jnp.maximum(values, 1)) @ vectors.T


def moved_by_axis(parameters: Parameters) -> Float[np.ndarray, "K 2"]:
    """Mark the weights of a labeler that change with the unit and the origin of the axis: α and γ."""
    k = parameters.labelers.shape[1]
    return np.eye(k, dtype=parameters.labelers.dtype)[:, [0, k - 1]]


def population(
    parameters: Parameters, covariance, counts, config: IntegratedConfig, features: Features = Features()
) -> Parameters:
    """Compute the modes of μ, M and Σ given labelers' modes and covariances; labelers without labels do not count."""
    if not config.hierarchy:  # Σ stays in the prior's unit
        return parameters
    w, seen = parameters.labelers, (counts.sum((1, 2)) > 0).astype(covariance.dtype)
    m, precision = seen.sum(), jnp.linalg.inv(parameters.covariance)
    parameters = regress(parameters, seen, precision, features, config)
    gap = w - labeler_means(parameters, features)
    scatter = jnp.einsum("w,wi,wj->ij", seen, gap, gap) + jnp.einsum("w,wij->ij", seen, covariance)
    return parameters._replace(covariance=(scatter + PRIOR_LABELERS * jnp.eye(w.shape[1])) / (m + PRIOR_LABELERS))


def regress(
    parameters: Parameters, seen: Float[Array, " W"], precision, features: Features, config: IntegratedConfig
) -> Parameters:
    """Compute the mode of μ and M in the regression of w_i on (1, g_i) with errors of this precision; μ ~ N((1, 0), I),
    M ~ N(0, s² I).
    """
    w = parameters.labelers
    g = jnp.zeros((len(w), 0), w.dtype) if features.labeler is None else jnp.asarray(features.labeler, w.dtype)
    design = jnp.concatenate([jnp.ones((len(w), 1), w.dtype), g], axis=1)
    gram, moment = (jnp.matmul((design * seen[:, None]).T, v, precision=PRECISION) for v in (design, w))
    rest = jnp.full((len(gram), w.shape[1]), 1 / FEATURE_SD**2, w.dtype).at[0].set(1).at[0, 1:-1].set(HELD)
    right = (moment @ precision).at[0].add(jnp.asarray(config.prior_mean, w.dtype))
    system = jnp.kron(gram, precision) + jnp.diag(rest.ravel())
    found = jnp.linalg.solve(system, right.ravel()).reshape(-1, w.shape[1])
    return parameters._replace(mean=found[0], labeler_weights=None if features.labeler is None else found[1:])


def cluster_weights(parameters: Parameters, labels: Labels, aligned, features: Features) -> Parameters:
    """Compute w at the mode of Σ_j E[log p(x_j | z_j)] + log p(w): 1 + w·f_j, with its sign, nearest to E[z_j x_j]."""
    if features.instance is None:
        return parameters
    f, sign = jnp.asarray(features.instance, aligned.dtype), jnp.sign(signed_centers(parameters, features))
    gram, moment = (jnp.matmul(f.T, v, precision=PRECISION) for v in (f, sign * aligned - 1))
    gram, moment = labels.across((gram, moment))
    ridge = (parameters.spread / FEATURE_SD) ** 2 * jnp.eye(len(gram), dtype=gram.dtype)
    return parameters._replace(instance_weights=jnp.linalg.solve(gram + ridge, moment))


def positives(labels: Labels, parameters: Parameters, e: GridPass, x, config: IntegratedConfig) -> Float[Array, ""]:
    """Compute the expected number of positive instances."""
    if e.positive is not None:
        return labels.across(total(e.positive if labels.shard is None else e.positive * labels.shard.real))
    return e.instances @ jax.nn.sigmoid(class_logit(config, x, parameters.spread, parameters.prior_logit))


def class_prior(parameters: Parameters, positive, n_instances, config: IntegratedConfig) -> Parameters:
    """Compute the mode of π given the expected number of positive instances, under Beta(2, 2)."""
    if config.class_prior != "learn":
        return parameters
    share = (positive + 1) / (n_instances + 2)
    return parameters._replace(prior_logit=jnp.log(share) - jnp.log1p(-share))


def respread(parameters: Parameters, spread: Float[Array, ""]) -> Parameters:
    """Convert parameters to this ρ: α in the new unit of x, in which x has the variance 1 + ρ²."""
    unit = jnp.sqrt((1 + parameters.spread**2) / (1 + spread**2))
    scale = jnp.ones_like(parameters.mean).at[0].set(unit)
    return parameters._replace(
        labelers=parameters.labelers * scale,
        mean=parameters.mean * scale,
        covariance=parameters.covariance * scale * scale[:, None],
        labeler_weights=None if parameters.labeler_weights is None else parameters.labeler_weights * scale,
        spread=spread,
    )


def log_population(
    parameters: Parameters, covariance, counts, config: IntegratedConfig, features: Features = Features()
) -> Float[Array, ""]:
    """Compute Σ_i ( log N(α_i, γ_i | μ, Σ) + ½ log|2π V_i| ) + log p(μ, Σ, π, M, w), without constants."""
    seen = (counts.sum((1, 2)) > 0).astype(covariance.dtype)
    precision = jnp.linalg.inv(parameters.covariance)
    gap = parameters.labelers - labeler_means(parameters, features)
    log_det = jnp.log(jnp.linalg.det(parameters.covariance))
    of_labelers = jnp.einsum("wi,ij,wj->w", gap, precision, gap) + log_det - jnp.log(jnp.linalg.det(covariance))
    away = parameters.mean - jnp.asarray(config.prior_mean, gap.dtype)
    value = -0.5 * (seen @ of_labelers + away @ away + PRIOR_LABELERS * (log_det + jnp.trace(precision)))
    for weights in (parameters.labeler_weights, parameters.instance_weights):
        if weights is not None:
            value -= 0.5 * (weights**2).sum() / FEATURE_SD**2
    if config.class_prior == "learn":
        value += jax.nn.log_sigmoid(parameters.prior_logit) + jax.nn.log_sigmoid(-parameters.prior_logit)
    return value


def inverse(a: Float[Array, "*n K K"]) -> Float[Array, "*n K K"]:
    """Invert small matrices; of 2 by 2 by their adjugates."""
    if a.shape[-1] != 2:
        return jnp.linalg.inv(a)
    det = a[..., 0, 0] * a[..., 1, 1] - a[..., 0, 1] * a[..., 1, 0]
    adjugate = jnp.stack(
        [jnp.stack([a[..., 1, 1], -a[..., 0, 1]], -1), jnp.stack([-a[..., 1, 0], a[..., 0, 0]], -1)], -2
    )
    return adjugate / det[..., None, None]
