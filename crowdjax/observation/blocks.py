"""Blocks of labels: every pass over the triples is one scan over blocks, whose temporaries stay in the cache."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from crowdjax.labels import Labels
from crowdjax.segments import in_blocks

MAX_PARTS = 64  # tables that sums by labeler are gathered in
NUMBERS_PER_LABEL = 1  # at most, of all these tables together: each is taken into the cache anew


def n_parts(labels: Labels, columns: int = 1) -> int:
    """In how many tables the sums by labeler are gathered, one block of labels after the other, before they are added
    up: a running float32 sum of 1e6 terms loses digits. Where tables would be large no labeler has that many labels.

    One where all blocks are taken at once: there ``segments.add_by`` spreads the labels.

    Args:
        columns: numbers that a table has for each labeler.
    """
    if not in_blocks():
        return 1
    stored = labels.label.shape[0]
    most = min(stored // (32 * labels.n_labelers), NUMBERS_PER_LABEL * stored // (labels.n_labelers * columns))
    return max(1, min(MAX_PARTS, labels.n_blocks, most))


def over_blocks(block, labels: Labels, sums, instances, dtype, parts: int = 1):
    """Scans ``block`` over the blocks of the labels, whose triples come first and ``instances`` last.

    Args:
        block: (sums, (labeler, instance, label, counts, *instances, start, part), size) -> (sums, the block's own
            results, among them arrays by instance). start: the block's first instance; size: how many instances it has;
            part: the table that its sums by labeler go into.
        parts: how many tables there are.
    """
    stored, width = labels.n_blocks, labels.label.shape[0] // labels.n_blocks
    n_blocks, size = stored, labels.block_instances
    if stored > 1 and not in_blocks():
        n_blocks, size, width = 1, stored * size, stored * width

    def blocked(values, n):
        """[n, ...] -> [n_blocks, n / n_blocks, ...], padded at the end."""
        if values is None:
            return None
        missing = n_blocks * n - values.shape[0]
        values = jnp.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1)) if missing else values
        values = jax.lax.optimization_barrier(values)  # without, XLA on a CPU makes them anew in every block
        return values.reshape(n_blocks, n, *values.shape[1:])

    xs = (
        *(blocked(v, width) for v in (labels.labeler, labels.instance, labels.label, labels.weight)),
        *(blocked(v, size) for v in instances),
        jnp.arange(n_blocks, dtype=jnp.int32) * size,
        jnp.arange(n_blocks, dtype=jnp.int32) * parts // n_blocks,
    )

    def counted(sums, xs):  # multiplicities of one are made block by block: four bytes a label less
        labeler, instance, label, weight, *rest = xs
        counts = (label >= 0 if weight is None else weight).astype(dtype)
        return block(sums, (labeler, instance, label, counts, *rest), size)

    if n_blocks == 1:
        sums, out = counted(sums, jax.tree.map(lambda v: v[0], xs))
        out = jax.tree.map(lambda v: v[None], out)
    else:
        sums, out = jax.lax.scan(counted, sums, xs)
    by_instance = lambda v: v.reshape(-1, *v.shape[2:])[: labels.n_instances] if v.ndim > 1 else v  # noqa: E731
    return sums, jax.tree.map(by_instance, out)
