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
from crowdjax.segments import add_by, sum_by, total

COLUMNS = 4  # points up to which columns are gathered and scattered one by one; above, whole rows
PRECISION = jax.lax.Precision.HIGHEST


def table_pass(
    labels: Labels,
    table: Float[Array, "W L G"],
    log_points: Float[Array, " G"] | Float[Array, "I G"],
    class_of_point: Float[Array, "G K"],
) -> Pass:
    """Evidence, posteriors and sufficient statistics at a table; sums of this shard.

    Args:
        labels: N stored triples of W labelers and I instances; gold clamps.
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
    dtype, width = table.dtype, labels.n_labelers * n_values
    by_rows = n_points > COLUMNS
    rows = table.reshape(width, n_points)
    columns = rows if by_rows else [rows[:, g] for g in range(n_points)]
    own = log_points.ndim == 2  # a prior of each instance
    known = None if labels.gold is None else jnp.log(class_of_point).T  # [K, G]
    real = jnp.ones(labels.n_instances, dtype) if labels.shard is None else labels.shard.real.astype(dtype)

    def block(sums, xs, size):
        labeler, instance, label, counts, real, gold, prior, start, part = xs
        local, slot = instance - start, labeler * n_values + jnp.maximum(label, 0)
        if by_rows:
            h = sum_by(counts[:, None] * columns[slot], local, size, ordered=True)
        else:
            h = jnp.stack([sum_by(counts * c[slot], local, size, ordered=True) for c in columns], axis=1)
        h += log_points if prior is None else prior
        if gold is not None:
            h += jnp.where(gold[:, None] >= 0, known[jnp.maximum(gold, 0)], 0)
        value = jax.nn.logsumexp(h, axis=1)
        q = jnp.exp(h - value[:, None])
        slot += part * width
        if by_rows:
            tables = add_by(sums[0], counts[:, None] * q[local], slot)
        else:
            tables = [add_by(s, counts * q[:, g][local], slot) for g, s in enumerate(sums[0])]
        points = real @ q
        return (tables, sums[1] + points), (total(real * value), q)

    parts = n_parts(labels, n_values * n_points)
    empty = jnp.zeros((parts * width, n_points) if by_rows else parts * width, dtype)
    init = (empty if by_rows else [empty] * n_points, jnp.zeros(n_points, dtype))
    instances = (real, labels.gold, log_points if own else None)
    (tables, points), (value, q) = over_blocks(block, labels, init, instances, dtype, parts)
    counts = tables if by_rows else jnp.stack(tables, axis=1)
    counts = counts.reshape(parts, labels.n_labelers, n_values, n_points).sum(0)
    posterior = jnp.matmul(q, class_of_point, precision=PRECISION)
    if own:
        points = q * real[:, None]
    return Pass(total(jnp.ravel(value)), posterior, counts, points)


@jax.custom_jvp
def evidence(labels, table, log_points, class_of_point) -> Float[Array, ""]:
    """log p(labels): the value of :func:`table_pass`, whose gradients and directional derivatives take one pass too.

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
    """n[i,l,g] at given posteriors of the points; sums of this shard.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 0], [0, 0, 1], [1, 0, 1])
        >>> tally(labels, jnp.array([[0.25, 0.75], [0.0, 1.0]]))[0].tolist()
        [[0.0, 0.0], [0.25, 1.75]]
    """
    n_points, width = q.shape[1], labels.n_labelers * labels.n_values

    def block(sums, xs, size):
        labeler, instance, label, counts, q, start, part = xs
        slot = part * width + labeler * labels.n_values + jnp.maximum(label, 0)
        return add_by(sums, counts[:, None] * q[instance - start], slot), None

    parts = n_parts(labels, labels.n_values * n_points)
    sums, _ = over_blocks(block, labels, jnp.zeros((parts * width, n_points), q.dtype), (q,), q.dtype, parts)
    return sums.reshape(parts, labels.n_labelers, labels.n_values, n_points).sum(0)


def vote_shares(labels: Labels, dtype=None) -> Float[Array, "I K"]:
    """The share of each class in the votes of each instance; gold counts as all of them, no vote as one of each class.

    Where labels have more values than the truth has classes (grades), a value counts for the two classes at its place.

    Example: a grade in the middle of five counts half for either of two classes
        >>> labels = Labels.from_arrays([0, 1], [0, 0], [2, 4], n_values=5, n_classes=2)
        >>> vote_shares(labels).tolist()
        [[0.25, 0.75]]
    """
    dtype = dtype or jnp.result_type(float)
    of_value = jnp.asarray(classes_of_values(labels.n_values, labels.n_classes), dtype)

    def block(sums, xs, size):
        _, instance, label, counts, start, _ = xs
        votes = counts[:, None] * of_value[jnp.maximum(label, 0)]
        return sums, sum_by(votes, instance - start, size, ordered=True)

    _, votes = over_blocks(block, labels, None, (), dtype)
    number = votes.sum(1, keepdims=True)
    shares = jnp.where(number > 0, votes / jnp.where(number > 0, number, 1), 1 / labels.n_classes)
    if labels.gold is None:
        return shares
    gold = jnp.asarray(labels.gold)[:, None]
    return jnp.where(gold >= 0, (gold == jnp.arange(labels.n_classes)).astype(dtype), shares)


def classes_of_values(n_values: int, n_classes: int) -> Float[np.ndarray, "L K"]:
    """How much each value of a label speaks for each class, by its place; the identity where values are classes.

    Example:
        >>> classes_of_values(3, 2).tolist()
        [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    place = np.arange(n_values) * (n_classes - 1) / (n_values - 1)
    return np.maximum(0, 1 - abs(place[:, None] - np.arange(n_classes)))
