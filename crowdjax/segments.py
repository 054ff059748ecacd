"""Sums over triples per instance and per labeler: the only place where a reduction strategy is chosen.

On a CPU a plain scatter-add is the fastest reduction for both sides, and a pass goes block by block, so that its
temporaries stay in the cache (docs/performance.md). A kernel that evaluates a function for each label adds one column
at a time, as rows of two or three columns are slower. Rows that are only gathered and added (``add_rows``) are padded
to a multiple of four numbers, which are added at once, and processed in chunks that fit into the cache.

On other devices all blocks are processed at once, as ten thousand labels are too few for one launch. Additions to the
same address are serialised there, and the busiest labeler may have a tenth of all labels: so neighbouring values go
into different partial tables, which are added at the end.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from crowdjax import atomics
from crowdjax.labels import Labels, Shard, register

for tree in (Shard, Labels):  # those that were made before JAX was there
    register(tree)

__all__ = ["add_by", "add_rows", "in_blocks", "n_tables", "row_width", "sum_by", "sum_many", "total"]

MOST_TABLES = 64  # partial tables that a sum by index is gathered in
VALUES_PER_ROW = 16  # at least, of all partial tables together: so they fit a GPU's second-level cache up to 1e8 labels
NUMBERS_PER_VALUE = 4  # at most, of all partial tables together: what they take of memory
ROUND = 128  # labels, after which neighbours go one table further
WIDE = 32  # numbers from which a row need not be filled up
BYTES_AT_ONCE = 2**19  # of looked-up rows, on a CPU: a part of its second-level cache


def in_blocks() -> bool:
    """Test whether a pass scans the blocks of the labels one by one; read when a program is traced.

    Example:
        >>> in_blocks() == (jax.default_backend() == "cpu")
        True
    """
    return jax.default_backend() == "cpu"


def sum_by(values: Float[Array, " N"], index: Int[Array, " N"], size: int, *, ordered: bool = False):
    """Sum values by index: ``out[k] = sum of values[n] over index[n] == k``, shape [size], or [size, G] for rows of G
    values.

    Args:
        values: values to add, shape [N] or [N, G].
        index: segment of each value, in [0, size), shape [N].
        size: number of segments.
        ordered: whether ``index`` never decreases (true for the instance side of ``Labels``).

    Example:
        >>> import jax.numpy as jnp
        >>> sum_by(jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 0, 2]), 3).tolist()
        [3.0, 0.0, 4.0]
    """
    return add_by(jnp.zeros((size, *values.shape[1:]), values.dtype), values, index, ordered=ordered)


def sum_many(values: Float[Array, " N"], index: Int[Array, " N"], size: int) -> Float[Array, " K"]:
    """Apply :func:`sum_by` to many unordered values in two levels, since a running float32 sum of 1e6 terms loses
    digits.

    Example:
        >>> sum_many(jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 2, 0]), 3).tolist()
        [5.0, 0.0, 2.0]
    """
    n = values.shape[0]
    tables = max(1, min(int(n**0.5), n // (VALUES_PER_ROW * size))) if in_blocks() else 1  # elsewhere add_by does it
    part = jnp.arange(n, dtype=jnp.int32) // max(1, -(-n // tables))
    return sum_by(values, part * size + index, tables * size).reshape(tables, size).sum(0)


def n_tables(n: int, size: int, columns: int = 1) -> int:
    """Choose the number of partial tables, each ``size`` × ``columns``, that accumulate n unordered values on a GPU.

    Example: a thousand labelers with a million labels; the same for rows of 697 numbers, which are bounded by memory
        >>> n_tables(1_000_000, 1000), n_tables(1_000_000, 1000, 697), n_tables(1000, 100)
        (32, 4, 1)
    """
    most = max(1, min(MOST_TABLES, n // (VALUES_PER_ROW * size), NUMBERS_PER_VALUE * n // (size * columns)))
    return 2 ** (most.bit_length() - 1)  # a label's table is found without a division


def add_by(total: Float[Array, " K"], values: Float[Array, " N"], index: Int[Array, " N"], *, ordered: bool = False):
    """Add the sums of ``values`` by ``index`` to ``total``: :func:`sum_by` for use inside a scan.

    Example:
        >>> add_by(jnp.ones(2), jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 1, 1])).tolist()
        [2.0, 7.0]
    """
    if in_blocks():
        return _scatter(total, values, index, ordered)
    atomics.warn_if_emulated()
    (n, *row), size = values.shape, total.shape[0]
    tables = 1 if ordered else n_tables(n, size, math.prod(row))
    if tables == 1:
        return _scatter(total, values, index, ordered)
    # Shifted by one after each ROUND: labels of one labeler often lie a fixed distance apart.
    place = jnp.arange(n, dtype=jnp.int32)
    table = (place + place // ROUND) % tables
    parts = _scatter(jnp.zeros((tables * size, *row), total.dtype), values, table * size + index, ordered)
    return total + parts.reshape(tables, size, *row).sum(0)


def row_width(n: int) -> int:
    """Round the length n of a row up to the width at which rows are gathered and added; the rest is padding.

    Example: on a CPU four numbers are added at once
        >>> row_width(5), row_width(41)
        (8, 41)
    """
    return -(-n // 4) * 4 if in_blocks() and 2 < n < WIDE else n


def add_rows(
    total: Float[Array, "K G"],
    source: Float[Array, "M G"],
    rows: Int[Array, " N"],
    index: Int[Array, " N"],
    weight: Float[Array, " N"] | None = None,
    *,
    ordered: bool = False,
) -> Float[Array, "K G"]:
    """Gather rows of one table and scatter-add them to another: ``total[index[n]] += weight[n] * source[rows[n]]``.

    Args:
        rows, index: in range.
        weight: multiplier of each row; None: 1.
        ordered: whether ``index`` never decreases.

    Example:
        >>> add_rows(jnp.zeros((2, 1)), jnp.array([[1.0], [2.0]]), jnp.array([0, 1, 1]), jnp.array([0, 0, 1])).tolist()
        [[3.0], [2.0]]
    """

    def add(total, of):
        rows, index, weight = of
        values = source[rows] if weight is None else weight[:, None] * source[rows]
        return add_by(total, values, index, ordered=ordered), None

    n, of = rows.shape[0], (rows, index, weight)
    most = max(1, BYTES_AT_ONCE // (source.shape[1] * source.dtype.itemsize)) if in_blocks() else n
    if n <= most:
        return add(total, of)[0]
    whole = n // most * most
    total, _ = jax.lax.scan(add, total, jax.tree.map(lambda v: v[:whole].reshape(-1, most), of))
    return add(total, jax.tree.map(lambda v: v[whole:], of))[0] if whole < n else total


def _scatter(total, values, index, ordered: bool):
    return total.at[index].add(values, indices_are_sorted=ordered, mode="promise_in_bounds")


def total(values: Float[Array, " N"]) -> Float[Array, ""]:
    """Sum all values in two levels, since a running float32 sum of 1e6 terms loses digits; a GPU sums by a tree anyway.

    Example:
        >>> float(total(jnp.arange(5.0)))
        10.0
    """
    n = values.shape[0]
    if not in_blocks():
        return values.sum()
    width = max(1, int(n**0.5))
    rows = n // width
    return values[: rows * width].reshape(rows, width).sum(1).sum() + values[rows * width :].sum()
