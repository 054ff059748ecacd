"""Passes over the triples on a grid of x: the evidence and what the M-step needs; expectations of functions of x.

A label's log-likelihood at the points x_g depends on its labeler and its value alone, so a pass looks rows up in a
table [2W, G], adds them up by instance, and adds the posteriors of the instances up by labeler and label:

    ℓ_jg = Σ_i c_ij log σ(L_ij (α_i x_g + γ_i))      q_jg ∝ w_g exp ℓ_jg      n_ilg = Σ_j c_ij q_jg [L_ij = l]

n is the sufficient statistic of the labelers. Blocks of triples are scanned, so memory grows with labelers times points
and with instances, not with labels times points.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from crowdjax.factor.features import PRECISION
from crowdjax.factor.kernels import SIGNS, n_parts, over_blocks
from crowdjax.integrated.model import IntegratedConfig, Parameters, class_logit, log_weights
from crowdjax.labels import Labels
from crowdjax.segments import add_by, sum_by, total


class GridPass(NamedTuple):
    """What one pass returns: log p(L | labelers), the statistic n of every labeler for its labels -1 and +1, and the
    expected number of instances at every point."""

    evidence: Float[Array, ""]
    counts: Float[Array, "W 2 G"]
    instances: Float[Array, " G"]


def log_likelihood_table(labelers: Float[Array, "W 2"], nodes: Float[Array, " G"]) -> Float[Array, "W 2 G"]:
    """log σ(± (α_i x_g + γ_i)) of a label -1 and a label +1."""
    eta = labelers[:, :1] * nodes + labelers[:, 1:]
    return jax.nn.log_sigmoid(eta[:, None] * SIGNS[:, None].astype(eta.dtype))


def grid_pass(
    labels: Labels,
    parameters: Parameters,
    config: IntegratedConfig,
    votes: Float[Array, " I"] | None = None,
    boundary: Float[Array, ""] | float = 0.0,
) -> GridPass:
    """One E-step: the posterior of every x_j at the current parameters, summed up.

    Args:
        labels: N stored triples; gold clamps the side of the boundary that x_j is on.
        parameters, config: of the model.
        votes: P(z_j = +1) to start from instead of what the labelers say: q_j is then a mixture of the two components.
        boundary: where the classes of gold labels meet.
    """
    logw = log_weights(config, parameters.spread, parameters.prior_logit)
    width = 2 * labels.n_labelers
    real = jnp.ones(labels.n_instances, logw.dtype)  # 0 in the padding of the last block

    def block(sums, slot, local, counts, log_likelihood, instances, part):
        real, gold, vote = instances
        if vote is None:
            log_joint = log_likelihood + _clamped(parameters, config, logw, gold, boundary)
        else:
            log_joint = jnp.logaddexp(logw[:, 0] + jnp.log1p(-vote)[:, None], logw[:, 1] + jnp.log(vote)[:, None])
        value = jax.nn.logsumexp(log_joint, axis=1)
        q = jnp.exp(log_joint - value[:, None])
        by_labeler = add_by(sums[0], counts[:, None] * q[local], part * width + slot)
        return (by_labeler, sums[1] + real @ q), real * value

    init = (jnp.zeros((n_parts(labels) * width, len(logw)), logw.dtype), jnp.zeros(len(logw), logw.dtype))
    (by_labeler, by_point), value = _scan(labels, parameters, config, block, init, (real, labels.gold, votes))
    by_labeler = by_labeler.reshape(-1, labels.n_labelers, 2, len(logw)).sum(0)
    return GridPass(*labels.across((total(value), by_labeler, by_point)))


def expectations(
    labels: Labels, parameters: Parameters, config: IntegratedConfig, functions: Float[Array, "G K"]
) -> Float[Array, "I K"]:
    """E[f_k(x_j) | L] of every instance, for functions given by their values at the points. Gold plays no part.

    Example: the posterior means of x of an instance with a vote for, and of one with a vote against
        >>> from crowdjax.integrated import start
        >>> labels, config = Labels.from_arrays([0, 0], [0, 1], [1, 0]), IntegratedConfig()
        >>> x = expectations(labels, start(config, 1), config, jnp.asarray(config.nodes)[:, None])[:, 0]
        >>> bool(x[0] > 0), bool(jnp.isclose(x[0], -x[1]))
        (True, True)
    """
    logw = jax.nn.logsumexp(log_weights(config, parameters.spread, parameters.prior_logit), axis=1)
    functions = jnp.asarray(functions, logw.dtype)

    def block(sums, slot, local, counts, log_likelihood, instances, part):
        return sums, jnp.matmul(jax.nn.softmax(logw + log_likelihood, axis=1), functions, precision=PRECISION)

    return _scan(labels, parameters, config, block, None, ())[1]


def gold_log_likelihood(
    labels: Labels, parameters: Parameters, config: IntegratedConfig, boundaries: Float[Array, " C"]
) -> Float[Array, " C"]:
    """log Π_j P(z_j = gold_j | L_j, c) over the instances with gold labels, for every boundary c."""
    x = jnp.asarray(config.nodes, boundaries.dtype)[:, None]
    logit = class_logit(config, x, parameters.spread, parameters.prior_logit, boundaries)
    logw = jax.nn.logsumexp(log_weights(config, parameters.spread, parameters.prior_logit), axis=1)
    plus, minus = jax.nn.sigmoid(logit), jax.nn.sigmoid(-logit)

    def block(sums, slot, local, counts, log_likelihood, instances, part):
        q, gold = jax.nn.softmax(logw + log_likelihood, axis=1), instances[0][:, None]
        right = jnp.matmul(q, plus, precision=PRECISION)
        right = jnp.where(gold > 0, right, jnp.matmul(q, minus, precision=PRECISION))
        return sums + jnp.where(gold == 0, 0, jnp.log(jnp.maximum(right, jnp.finfo(right.dtype).tiny))).sum(0), None

    return labels.across(_scan(labels, parameters, config, block, jnp.zeros_like(boundaries), (labels.gold,))[0])


def missing_information(labels: Labels, parameters: Parameters, config: IntegratedConfig) -> Float[Array, "W 2 2"]:
    """What is lost of each labeler's information because x_j is not known (Louis 1982): Σ_j Cov_q(score of L_ij).

    score of L_ij at x_g = c_ij L_ij σ(-L_ij (α_i x_g + γ_i)) (x_g, 1)
    """
    logw = jax.nn.logsumexp(log_weights(config, parameters.spread, parameters.prior_logit), axis=1)
    x = jnp.asarray(config.nodes, logw.dtype)
    slope = -jnp.expm1(log_likelihood_table(parameters.labelers, x)) * SIGNS[:, None].astype(x.dtype)
    slope = slope.reshape(-1, len(x))
    once, twice = jnp.stack([x, jnp.ones_like(x)], 1), jnp.stack([x * x, x, jnp.ones_like(x)], 1)

    def block(sums, slot, local, counts, log_likelihood, instances, part):
        q, r = jax.nn.softmax(logw + log_likelihood, axis=1)[local], slope[slot]
        first = jnp.matmul(q * r, once, precision=PRECISION)
        second = jnp.matmul(q * r * r, twice, precision=PRECISION)
        products = jnp.stack([first[:, 0] ** 2, first[:, 0] * first[:, 1], first[:, 1] ** 2], 1)
        return add_by(sums, counts[:, None] ** 2 * (second - products), slot // 2), None

    sums = _scan(labels, parameters, config, block, jnp.zeros((labels.n_labelers, 3), x.dtype), ())[0]
    return labels.across(sums)[:, jnp.array([[0, 1], [1, 2]])]


def axis_information(labels: Labels, parameters: Parameters, config: IntegratedConfig) -> Float[Array, "2 2"]:
    """How well the instances tell the unit and the origin of the axis of x, for labelers that all move with it.

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
    positive = jax.nn.sigmoid(class_logit(config, x, parameters.spread, parameters.prior_logit))
    slope = -(x + 1 - 2 * positive) * precision  # of log p
    bend = 4 * positive * (1 - positive) * precision**2 - precision
    t, c = -x * slope - 1, -slope
    second = [x * slope + x * x * bend, slope + x * bend, bend]
    functions = jnp.stack([t, c, *second, t * t, t * c, c * c], axis=1)
    found = expectations(labels, parameters, config, functions)
    t, c = found[:, 0], found[:, 1]
    each = found[:, 2:5] + found[:, 5:] - jnp.stack([t * t, t * c, c * c], axis=1)
    return -labels.across(each.sum(0))[jnp.array([[0, 1], [1, 2]])]


def _clamped(parameters, config, logw, gold, boundary):
    """log p(x_g) of each instance of a block, [I_b, G]; of one with gold log p(x_g, z = gold)."""
    free = jax.nn.logsumexp(logw, axis=1)[None]
    if gold is None:
        return free
    x = jnp.asarray(config.nodes, logw.dtype)
    logit = class_logit(config, x, parameters.spread, parameters.prior_logit, boundary)
    return free + jnp.where(gold[:, None] == 0, 0, jax.nn.log_sigmoid(gold[:, None] * logit))


def _scan(labels: Labels, parameters: Parameters, config: IntegratedConfig, block, sums, instances):
    """Scans ``block`` (sums, slot, local, counts, ℓ_jg, instances, part) -> (sums, own) over the blocks of triples.

    slot: row of a triple's labeler and label in the table; local: its instance within the block.
    """
    nodes = jnp.asarray(config.nodes, parameters.labelers.dtype)
    table = log_likelihood_table(parameters.labelers, nodes).reshape(-1, len(nodes))

    def with_likelihood(sums, xs):
        labeler, instance, label, counts, *instances, start, part = xs
        local, slot = instance - start, 2 * labeler + (label > 0)
        log_likelihood = sum_by(counts[:, None] * table[slot], local, labels.block_instances, ordered=True)
        return block(sums, slot, local, counts, log_likelihood, instances, part)

    return over_blocks(with_likelihood, labels, sums, instances, nodes.dtype)
