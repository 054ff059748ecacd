"""The table pass: the evidence of any table of labelers, its gradients and sufficient statistics, in one pass.

    h_jg = v_jg + Σ_i c_ij T[i, L_ij, g]      q_jg = softmax_g(h_j)      evidence = Σ_j logsumexp_g h_jg
    n[i,l,g] = Σ_j c_ij [L_ij = l] q_jg       P(z_j = k | labels) = Σ_g q_jg class_of_point[g,k]

By Fisher's identity n is the gradient of the evidence in T, and q the one in v. A label costs one row of the table
gathered and one scattered, and no function at all. Gold adds log class_of_point[g, z_j] to v_jg.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from crowdjax.labels import Labels
from crowdjax.observation.blocks import n_parts, over_blocks
from crowdjax.observation.contract import Pass
from crowdjax.priors import classes_of_values
from crowdjax.segments import row_width, total

PRECISION = jax.lax.Precision.HIGHEST


def table_pass(
    labels: Labels,
    table: Float[Array, "W L G"],
    log_points: Float[Array, " G"] | Float[Array, "I G"],
    class_of_point: Float[Array, "G K"],
) -> Pass:
    """Compute evidence, posteriors and sufficient statistics from a table of log-probabilities; sums are over this
    shard.

    Args:
        labels: N stored triples of W labelers and I instances; gold fixes the class of its instance.
        table: log p(label l | labeler i, point g).
        log_points: the log prior of the points.
        class_of_point: P(class k | point g).

    Example: two labelers who are right three times in four, and contradict each other on the second instance
        >>> labels = Labels.from_arrays([0, 1, 0, 1], [0, 0, 1, 1], [2, 2, 0, 1], n_values=3)
        >>> table = jnp.log(jnp.where(jnp.eye(3), 0.75, 0.125))[None].repeat(2, 0)
        >>> found = table_pass(labels, table, jnp.log(jnp.full(3, 1 / 3)), jnp.eye(3))
        >>> print(f"{found.value:.3f}", np.asarray(found.posterior[1], float).round(2))
        -4.312 [0.46 0.46 0.08]
    """
    _, n_values, n_points = table.shape
    dtype, wide, null = table.dtype, row_width(n_points), labels.n_labelers * n_values
    extra = (0, wide - n_points)  # columns that no instance is at
    rows = jnp.pad(table.reshape(null, n_points), ((0, 1), extra))  # the last one is that of padding
    own = log_points.ndim == 2  # a prior of each instance
    prior = jnp.pad(log_points, ((0, 0), extra) if own else extra, constant_values=-jnp.inf)
    known = None if labels.gold is None else jnp.pad(jnp.log(class_of_point).T, ((0, 0), extra))
    classes = jnp.pad(class_of_point, (extra, (0, 0)))
    real = jnp.ones(labels.n_instances, dtype) if labels.shard is None else labels.shard.real.astype(dtype)

    def block(sums, here, real, gold, own_prior):
        h = jnp.broadcast_to(prior, (here.size, wide)) if own_prior is None else own_prior
        h = here.sum_table(h, rows, here.null_slot)
        if gold is not None:
            h += jnp.where(gold[:, None] >= 0, known[jnp.maximum(gold, 0)], 0)
        value, q = _normalized(h)
        tables = here.add_table(sums[0], q)
        posterior = jnp.matmul(q, classes, precision=PRECISION)
        if gold is not None:  # what is known is more than what points say
            sure = (gold[:, None] == jnp.arange(posterior.shape[1])).astype(dtype)
            posterior = jnp.where(gold[:, None] >= 0, sure, posterior)
        return (tables, sums[1] + real @ q), (total(real * value), posterior, q * real[:, None] if own else None)

    parts = n_parts(labels, n_values * wide)
    init = jnp.zeros((parts * (null + 1), wide), dtype), jnp.zeros(wide, dtype)
    instances = (real, labels.gold, prior if own else None)
    (tables, points), (value, posterior, q) = over_blocks(block, labels, init, instances, dtype, parts)
    points = (q if own else points)[..., :n_points]
    return Pass(total(jnp.ravel(value)), posterior, _counts(tables, labels, parts, n_points), points)


def instance_evidence(
    labels: Labels,
    table: Float[Array, "W L G"],
    log_points: Float[Array, " G"] | Float[Array, "I G"],
    class_of_point: Float[Array, "G K"],
) -> Float[Array, " I"]:
    """Return log p(L_j) of the labels of each instance, whose sum is the value of :func:`table_pass`; gold clamps.

    Args:
        labels, table, log_points, class_of_point: as in :func:`table_pass`.

    Example: two labelers who are right three times in four, and contradict each other on the second instance
        >>> labels = Labels.from_arrays([0, 1, 0, 1], [0, 0, 1, 1], [2, 2, 0, 1], n_values=3)
        >>> table = jnp.log(jnp.where(jnp.eye(3), 0.75, 0.125))[None].repeat(2, 0)
        >>> print(instance_evidence(labels, table, jnp.log(jnp.full(3, 1 / 3)), jnp.eye(3)).round(2))
        [-1.62 -2.69]
    """
    rows = jnp.pad(table.reshape(-1, table.shape[2]), ((0, 1), (0, 0)))  # the last one is that of padding
    own = log_points if log_points.ndim == 2 else None  # a prior of each instance

    def block(sums, here, gold, own):
        h = jnp.broadcast_to(log_points, (here.size, rows.shape[1])) if own is None else own
        h = here.sum_table(h, rows, here.null_slot)
        if gold is not None:
            h += jnp.where(gold[:, None] >= 0, jnp.log(class_of_point).T[jnp.maximum(gold, 0)], 0)
        return sums, _normalized(h)[0]

    return over_blocks(block, labels, None, (labels.gold, own), table.dtype)[1]


def _normalized(h: Float[Array, "I G"]):
    """Return (logsumexp, softmax) of rows, for one exponential each."""
    top = h.max(1)
    top = jnp.where(jnp.isfinite(top), top, 0)
    e = jnp.exp(h - top[:, None])
    s = e.sum(1)
    return top + jnp.log(s), e / s[:, None]


def _counts(tables, labels: Labels, parts: int, n_points: int) -> Float[Array, "W L G"]:
    """Return the sums by labeler and label, without the rows of padding and the columns that were filled up."""
    tables = tables.reshape(parts, -1, tables.shape[1]).sum(0)
    return tables[:-1, :n_points].reshape(labels.n_labelers, labels.n_values, n_points)


@jax.custom_jvp
def evidence(labels, table, log_points, class_of_point) -> Float[Array, ""]:
    """Compute log p(labels), the value of :func:`table_pass`; gradients and directional derivatives take one pass each.

    The gradient in the table is ``counts``, the one in ``log_points`` is ``points``; ``class_of_point`` counts for gold
    alone and is taken as given.

    Example:
        >>> labels = Labels.from_arrays([0, 1], [0, 0], [2, 1], n_values=3)
        >>> flat, points = jnp.log(jnp.full((2, 3, 3), 1 / 3)), jnp.log(jnp.full(3, 1 / 3))
        >>> print(np.asarray(jax.grad(evidence, 1)(labels, flat, points, jnp.eye(3))[0, 2], float).round(2))
        [0.33 0.33 0.33]
    """
    return table_pass(labels, table, log_points, class_of_point).value


@evidence.defjvp
def _evidence_jvp(primals, tangents):
    found = table_pass(*primals)
    _, by_table, by_points, _ = tangents
    return found.value, (found.counts * by_table).sum() + (found.points * by_points).sum()


def tally(labels: Labels, q: Float[Array, "I G"]) -> Float[Array, "W L G"]:
    """Compute the expected counts n[i,l,g] at given posteriors of the points; sums are over this shard.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 0], [0, 0, 1], [1, 0, 1])
        >>> tally(labels, jnp.array([[0.25, 0.75], [0.0, 1.0]]))[0].tolist()
        [[0.0, 0.0], [0.25, 1.75]]
    """
    n_points, null = q.shape[1], labels.n_labelers * labels.n_values
    wide = row_width(n_points)

    def block(sums, here, q):
        return here.add_table(sums, q), None

    parts = n_parts(labels, labels.n_values * wide)
    init, q = jnp.zeros((parts * (null + 1), wide), q.dtype), jnp.pad(q, ((0, 0), (0, wide - n_points)))
    tables, _ = over_blocks(block, labels, init, (q,), q.dtype, parts)
    return _counts(tables, labels, parts, n_points)


def vote_shares(labels: Labels, dtype=None) -> Float[Array, "I K"]:
    """Compute the share of each class in the votes of each instance; gold replaces the votes, and an instance without
    votes has equal shares.

    Where labels have more values than the truth has classes, a value counts for the two classes at its place, as grades
    do, or for all alike (``Labels.places``).

    Example: a grade in the middle of five counts half for either of two classes
        >>> labels = Labels.from_arrays([0, 1], [0, 0], [2, 4], n_values=5, n_classes=2)
        >>> vote_shares(labels).tolist()
        [[0.25, 0.75]]
    """
    dtype = dtype or jnp.result_type(float)
    wide = row_width(labels.n_classes)
    of_value = classes_of_values(labels.n_values, labels.n_classes, labels.places)
    of_value = jnp.asarray(np.pad(of_value, ((0, 1), (0, wide - labels.n_classes))), dtype)  # the last row is padding's

    def block(sums, here):
        value = jnp.where(here.label < 0, labels.n_values, here.label)
        votes = here.sum_table(jnp.zeros((here.size, wide), dtype), of_value, value)
        return sums, votes[:, : labels.n_classes]

    _, votes = over_blocks(block, labels, None, (), dtype)
    number = votes.sum(1, keepdims=True)
    shares = jnp.where(number > 0, votes / jnp.where(number > 0, number, 1), 1 / labels.n_classes)
    if labels.gold is None:
        return shares
    gold = jnp.asarray(labels.gold)[:, None]
    return jnp.where(gold >= 0, (gold == jnp.arange(labels.n_classes)).astype(dtype), shares)
