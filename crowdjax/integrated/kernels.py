"""Passes over the triples on a grid of x: the evidence and what the M-step needs; expectations of functions of x.

A label's log-likelihood at the points x_g depends on its labeler and its value alone, so a pass looks rows up in a
table [2W, G], adds them up by instance, and adds the posteriors of the instances up by labeler and label:

    ℓ_jg = Σ_i c_ij log σ(L_ij w_i·φ_g)      q_jg ∝ w_g exp ℓ_jg      n_ilg = Σ_j c_ij q_jg [L_ij = l]

n is the sufficient statistic of the labelers. Blocks of triples are scanned, so memory grows with labelers times points
and with instances, not with labels times points.

Where instances have features, their clusters are m_j apart from 0 (``center``), and w_g is w_jg.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from crowdjax.factor.features import PRECISION
from crowdjax.factor.kernels import SIGNS
from crowdjax.integrated.model import IntegratedConfig, Parameters, class_logit, log_weights
from crowdjax.labels import Labels
from crowdjax.observation.blocks import n_parts, over_blocks
from crowdjax.segments import total
from crowdjax.stored import stored


class GridPass(NamedTuple):
    """The result of one pass: log p(L | labelers), the statistic n of every labeler for its labels -1 and +1, and the
    expected number of instances at every point; with features of instances also P(z_j = +1) and E[z_j x_j].

    Example: without features of instances
        >>> GridPass(jnp.zeros(()), jnp.zeros((3, 2, 41)), jnp.zeros(41)).positive is None
        True
    """

    evidence: Float[Array, ""]
    counts: Float[Array, "W 2 G"]
    instances: Float[Array, " G"]
    positive: Float[Array, " I"] | None = None
    aligned: Float[Array, " I"] | None = None


def log_likelihood_table(labelers: Float[Array, "W K"], design: Float[Array, "G K"]) -> Float[Array, "W 2 G"]:
    """Compute log σ(± w_i·φ_g) of a label -1 and a label +1."""
    eta = jnp.matmul(labelers, design.T, precision=PRECISION)
    return jax.nn.log_sigmoid(eta[:, None] * SIGNS[:, None].astype(eta.dtype))


def grid_pass(
    labels: Labels,
    parameters: Parameters,
    config: IntegratedConfig,
    votes: Float[Array, " I"] | None = None,
    boundary: Float[Array, ""] | float = 0.0,
    center: Float[Array, " I"] | None = None,
) -> GridPass:
    """Run the E-step: compute the posterior of every x_j at the current parameters, and the sufficient statistics.

    Args:
        labels: N stored triples; gold restricts x_j to its side of the boundary.
        parameters, config: of the model.
        votes: P(z_j = +1) to start from instead of the labelers' parameters: q_j is then a mixture of the two
            components.
        boundary: the decision boundary that gold refers to.
        center: m_j; None: 1 for all.

    Example: every label is somewhere on the grid, and so is every instance
        >>> from crowdjax.integrated import start
        >>> labels, config = Labels.from_arrays([0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 0, 0]), IntegratedConfig(spread=0.0)
        >>> found = grid_pass(labels, start(config, 2), config)
        >>> round(float(found.counts.sum()), 3), round(float(found.instances.sum()), 3)
        (4.0, 2.0)
    """
    prior = _prior(parameters, config)
    x = jnp.asarray(config.nodes, parameters.labelers.dtype)
    width = 2 * labels.n_labelers
    real = jnp.ones(labels.n_instances, x.dtype)  # 0 in the padding of the last block, and in that of a shard
    if labels.shard is not None:
        real *= labels.shard.real

    def block(sums, here, log_likelihood, *instances):
        real, gold, vote, center = instances
        logw = prior(center)
        if vote is None:
            log_joint = log_likelihood + _clamped(parameters, config, logw, gold, boundary, center)
        else:
            log_joint = jnp.logaddexp(logw[..., 0] + jnp.log1p(-vote)[:, None], logw[..., 1] + jnp.log(vote)[:, None])
        value = jax.nn.logsumexp(log_joint, axis=1)
        q = jnp.exp(log_joint - value[:, None])
        by_labeler = here.add_slots(sums[0], here.counts[..., None] * here.of(q))
        return (by_labeler, sums[1] + real @ q), (real * value, *_of_classes(parameters, config, q, gold, center))

    parts = n_parts(labels, 2 * len(x))
    init = (jnp.zeros((parts * width, len(x)), x.dtype), jnp.zeros(len(x), x.dtype))
    instances = (real, labels.gold, votes, center)
    (by_labeler, by_point), (value, *classes) = _scan(labels, parameters, config, block, init, instances, parts)
    by_labeler = by_labeler.reshape(-1, labels.n_labelers, 2, len(x)).sum(0)
    return GridPass(*labels.across((total(value), by_labeler, by_point)), *classes)


def expectations(
    labels: Labels,
    parameters: Parameters,
    config: IntegratedConfig,
    functions: Float[Array, "G K"] | Callable[[Float[Array, " n"]], Float[Array, "n G K"]],
    center: Float[Array, " I"] | None = None,
) -> Float[Array, "I K"]:
    """Compute E[f_k(x_j) | L] of every instance, for functions given by their values at the points. Gold is not used.

    Args:
        functions: values of the functions at the points; or, with features of instances, a callable that computes them
            for given m_j.
        center: m_j; None: 1 for all.

    Example: the posterior means of x of an instance with a vote for, and of one with a vote against
        >>> from crowdjax.integrated import start
        >>> labels, config = Labels.from_arrays([0, 0], [0, 1], [1, 0]), IntegratedConfig()
        >>> x = expectations(labels, start(config, 1), config, jnp.asarray(config.nodes)[:, None])[:, 0]
        >>> bool(x[0] > 0), bool(jnp.isclose(x[0], -x[1]))
        (True, True)
    """
    prior = _prior(parameters, config)
    given = functions if callable(functions) else jnp.asarray(functions, parameters.labelers.dtype)

    def block(sums, here, log_likelihood, *instances):
        q = _posterior(prior, log_likelihood, instances[0])
        return sums, _average(q, given(instances[0]) if callable(given) else given)

    return _scan(labels, parameters, config, block, None, (center,))[1]


def draw_points(
    key: PRNGKeyArray,
    labels: Labels,
    parameters: Parameters,
    config: IntegratedConfig,
    center: Float[Array, " I"] | None = None,
) -> Int[Array, " I"]:
    """Draw a point of every instance from its posterior q_j; gold is not used."""
    prior = _prior(parameters, config)
    uniform = jax.random.uniform(key, (labels.n_instances,), parameters.labelers.dtype)

    def block(sums, here, log_likelihood, *instances):
        center, u = instances
        below = jnp.cumsum(_posterior(prior, log_likelihood, center), axis=1) < u[:, None]
        return sums, jnp.minimum(below.sum(1), below.shape[1] - 1)

    return _scan(labels, parameters, config, block, None, (center, uniform))[1]


@stored
def positives(
    labels: Labels,
    parameters: Parameters,
    config: IntegratedConfig,
    boundaries: Float[Array, " C"],
    center: Float[Array, " I"] | None = None,
) -> Float[Array, "I C"]:
    """Compute P(z_j = +1 | L_j, c) of every instance at every decision boundary c: I × C numbers.

    Example: the higher the boundary, the fewer positives
        >>> from crowdjax.integrated import start
        >>> labels, config = Labels.from_arrays([0, 0], [0, 1], [1, 0]), IntegratedConfig(spread=0.9)
        >>> p = positives(labels, start(config, 1), config, jnp.array([-1.0, 0.0, 1.0]))
        >>> p.shape, bool((p[:, 0] > p[:, 1]).all() and (p[:, 1] > p[:, 2]).all())
        ((2, 3), True)
    """
    x = jnp.asarray(config.nodes, boundaries.dtype)[:, None]

    def functions(m):
        apart = 1.0 if m is None else m[:, None, None]
        return jax.nn.sigmoid(class_logit(config, x, parameters.spread, parameters.prior_logit, boundaries, apart))

    return expectations(labels, parameters, config, functions(None) if center is None else functions, center)


def missing_information(
    labels: Labels, parameters: Parameters, config: IntegratedConfig, center: Float[Array, " I"] | None = None
) -> Float[Array, "W K K"]:
    """Compute the part of each labeler's information that is lost because x_j is not known (Louis 1982): Σ_j
    Cov_q(score of L_ij).

    score of L_ij at φ_g = c_ij L_ij σ(-L_ij w_i·φ_g) φ_g
    """
    prior = _prior(parameters, config)
    once = jnp.asarray(config.design, parameters.labelers.dtype)
    slope = -jnp.expm1(log_likelihood_table(parameters.labelers, once)) * SIGNS[:, None].astype(once.dtype)
    slope = slope.reshape(-1, len(once))
    k, m = np.triu_indices(once.shape[1])
    twice = once[:, k] * once[:, m]

    def block(sums, here, log_likelihood, *instances):
        q, r = here.of(_posterior(prior, log_likelihood, instances[0])), slope[here.slot]
        first = jnp.matmul(q * r, once, precision=PRECISION)
        second = jnp.matmul(q * r * r, twice, precision=PRECISION)
        lost = second - first[..., k] * first[..., m]
        return here.add(sums, here.counts[..., None] ** 2 * lost), None

    sums = _scan(labels, parameters, config, block, jnp.zeros((labels.n_labelers, len(k)), once.dtype), (center,))[0]
    place = np.zeros((once.shape[1],) * 2, int)
    place[k, m] = place[m, k] = np.arange(len(k))
    return labels.across(sums)[:, place]


def axis_information(
    labels: Labels, parameters: Parameters, config: IntegratedConfig, center: Float[Array, " I"] | None = None
) -> Float[Array, "2 2"]:
    """Compute the information that the instances give about the unit and the origin of the axis of x, for labelers that
    all move with it.

    α_i e^t and γ_i + α_i c explain the labels as well, were it not for the instances' population p(x). With
    f_j(t, c) = log p((x_j - c) e^-t) - t, by Louis 1982, at t = c = 0,

        information = -Σ_j ( E_q[∇∇ f_j] + Cov_q[∇ f_j] )

    Example: twice the instances tell twice as much
        >>> from crowdjax.integrated import start
        >>> config, once = IntegratedConfig(), Labels.from_arrays([0, 0], [0, 1], [1, 0])
        >>> twice = Labels.from_arrays([0] * 4, [0, 1, 2, 3], [1, 0, 1, 0])
        >>> a, b = (axis_information(v, start(config, 1), config) for v in (once, twice))
        >>> bool(jnp.allclose(2 * a, b, atol=1e-5))
        True
    """
    x = jnp.asarray(config.nodes, parameters.labelers.dtype)
    precision = parameters.spread**-2

    def functions(m):
        m = 1.0 if m is None else m[:, None]
        positive = jax.nn.sigmoid(class_logit(config, x, parameters.spread, parameters.prior_logit, center=m))
        slope = -(x + m - 2 * m * positive) * precision  # of log p
        bend = 4 * m * m * positive * (1 - positive) * precision**2 - precision
        t, c = -x * slope - 1, -slope
        return jnp.stack([t, c, x * slope + x * x * bend, slope + x * bend, bend, t * t, t * c, c * c], axis=-1)

    found = expectations(labels, parameters, config, functions(None) if center is None else functions, center)
    t, c = found[:, 0], found[:, 1]
    each = found[:, 2:5] + found[:, 5:] - jnp.stack([t * t, t * c, c * c], axis=1)
    if labels.shard is not None:
        each *= labels.shard.real[:, None]
    return -labels.across(each.sum(0))[jnp.array([[0, 1], [1, 2]])]


def instance_evidence(
    labels: Labels, parameters: Parameters, config: IntegratedConfig, center: Float[Array, " I"] | None = None
) -> Float[Array, " I"]:
    """Compute log p(L_j | labelers) of each instance, with x_j integrated out; gold is not used.

    Args:
        center: m_j; None: 1 for all.

    Example: a vote for and a vote against are as likely
        >>> from crowdjax.integrated import start
        >>> labels, config = Labels.from_arrays([0, 0], [0, 1], [1, 0]), IntegratedConfig()
        >>> jnp.exp(instance_evidence(labels, start(config, 1), config)).round(3).tolist()
        [0.5, 0.5]
    """
    prior = _prior(parameters, config)

    def block(sums, here, log_likelihood, *instances):
        return sums, jax.nn.logsumexp(jax.nn.logsumexp(prior(instances[0]), axis=-1) + log_likelihood, axis=1)

    return _scan(labels, parameters, config, block, None, (center,))[1]


def evidence(labels: Labels, parameters: Parameters, config: IntegratedConfig) -> Float[Array, ""]:
    """Return log p(L | labelers), every x_j integrated out; gold plays no part, nor do features of instances."""
    return total(instance_evidence(labels, parameters, config))


def leave_one_out(
    labels: Labels,
    parameters: Parameters,
    config: IntegratedConfig,
    w: Float[Array, "S W K"],
    center: Float[Array, " I"] | None = None,
) -> Float[Array, "S W"]:
    """Compute Σ_j log Σ_g q_j∖i(g) σ(L_ij w_is·φ_g)^c_ij: each labeler's log-likelihood at other weights, with all
    other labelers fixed.

    q_j∖i is the posterior of x_j without labeler i's label.
    """
    prior = _prior(parameters, config)
    table = log_likelihood_table(parameters.labelers, jnp.asarray(config.design, w.dtype))
    tables = jax.vmap(lambda v: log_likelihood_table(v, jnp.asarray(config.design, w.dtype)))(w)
    table, tables = table.reshape(-1, table.shape[2]), tables.reshape(len(w), -1, table.shape[2])
    once = labels.weight is None
    tables = jnp.exp(tables) if once else tables

    def block(sums, here, log_likelihood, *instances):
        log_q = log_likelihood + jnp.atleast_2d(jax.nn.logsumexp(prior(instances[0]), axis=-1))
        counts, slot = here.counts, here.slot
        q = jax.nn.softmax(here.of(log_q) - counts[..., None] * table[slot], axis=-1)

        def at(tables):
            p = tables[slot] if once else jnp.exp(counts[..., None] * tables[slot])
            each = jnp.where(counts > 0, jnp.log((q * p).sum(-1)), 0)
            return here.add(jnp.zeros(labels.n_labelers, each.dtype), each)

        return sums + jax.lax.map(at, tables), None

    return _scan(labels, parameters, config, block, jnp.zeros(w.shape[:2], w.dtype), (center,))[0]


def _prior(parameters: Parameters, config: IntegratedConfig):
    """Return log p(x_g, z) as a function of m_j: [I_b, G, 2]; [G, 2] for None, where all are alike."""
    alike = log_weights(config, parameters.spread, parameters.prior_logit)
    return lambda m: alike if m is None else log_weights(config, parameters.spread, parameters.prior_logit, m)


def _posterior(prior, log_likelihood: Float[Array, "I_b G"], center) -> Float[Array, "I_b G"]:
    """Return q_j over the points; gold plays no part."""
    return jax.nn.softmax(jax.nn.logsumexp(prior(center), axis=-1) + log_likelihood, axis=1)


def _average(q: Float[Array, "I_b G"], values: Float[Array, "*n G K"]) -> Float[Array, "I_b K"]:
    """Return Σ_g q_jg f_k(x_g), for values that are alike for all instances, or each one's own."""
    return jnp.einsum("jg,gk->jk" if values.ndim == 2 else "jg,jgk->jk", q, values, precision=PRECISION)


def _of_classes(parameters: Parameters, config: IntegratedConfig, q, gold, center):
    """Return (P(z_j = +1), E[z_j x_j]) of a block, where its instances differ before any label."""
    if center is None:
        return ()
    x = jnp.asarray(config.nodes, q.dtype)
    p = jax.nn.sigmoid(class_logit(config, x, parameters.spread, parameters.prior_logit, center=center[:, None]))
    if gold is not None:
        p = jnp.where(gold[:, None] < 0, p, gold[:, None])
    return (q * p).sum(1), (q * (2 * p - 1)) @ x


def _clamped(parameters, config, logw, gold, boundary, center):
    """Return log p(x_g) of each instance of a block, [I_b, G]; of one with gold log p(x_g, z = gold)."""
    free = jnp.atleast_2d(jax.nn.logsumexp(logw, axis=-1))
    if gold is None:
        return free
    x = jnp.asarray(config.nodes, logw.dtype)
    m = 1.0 if center is None else center[:, None]
    logit = class_logit(config, x, parameters.spread, parameters.prior_logit, boundary, m)
    return free + jnp.where(gold[:, None] < 0, 0, jax.nn.log_sigmoid(jnp.where(gold[:, None] > 0, logit, -logit)))


def _scan(labels: Labels, parameters: Parameters, config: IntegratedConfig, block, sums, instances, parts: int = 1):
    """Scan ``block`` (sums, here, ℓ_jg, *instances) -> (sums, own) over the blocks of triples."""
    design = jnp.asarray(config.design, parameters.labelers.dtype)
    table = log_likelihood_table(parameters.labelers, design).reshape(-1, len(design))

    def with_likelihood(sums, here, *instances):
        log_likelihood = here.sum(here.counts[..., None] * table[here.slot])
        return block(sums, here, log_likelihood, *instances)

    return over_blocks(with_likelihood, labels, sums, instances, design.dtype, parts)
