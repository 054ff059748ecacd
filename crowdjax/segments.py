"""Sums over triples per instance and per labeler: the only place where a reduction strategy is chosen.

On a CPU a plain scatter-add is the fastest reduction for both sides, and a pass goes block by block, so that its
temporaries stay in the cache (docs/performance.md). Kernels add one column at a time: scattering rows of several
columns is slower. On other devices all blocks are taken at once: ten thousand labels are too few for one launch. Which
reduction is fastest there is still to be measured.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

__all__ = ["add_by", "in_blocks", "sum_by", "total"]


def in_blocks() -> bool:
    """Whether a pass goes over the blocks of the labels one by one (read where a program is traced).

    Example:
        >>> in_blocks() == (jax.default_backend() == "cpu")
        True
    """
    return jax.default_backend() == "cpu"


def sum_by(values: Float[Array, " N"], index: Int[Array, " N"], size: int, *, ordered: bool = False):
    """``out[k] = sum of values[n] over index[n] == k``, shape [size] (rows of values: rows of sums).

    Args:
        values: what to add.
        index: in [0, size).
        size: number of segments.
        ordered: whether ``index`` never decreases (true for the instance side of ``Labels``).

    Example:
        >>> import jax.numpy as jnp
        >>> sum_by(jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 0, 2]), 3).tolist()
        [3.0, 0.0, 4.0]
    """
    return add_by(jnp.zeros((size, *values.shape[1:]), values.dtype), values, index, ordered=ordered)


def add_by(total: Float[Array, " K"], values: Float[Array, " N"], index: Int[Array, " N"], *, ordered: bool = False):
    """``total`` plus the sums of ``values`` by ``index``; the running form of :func:`sum_by` inside a scan.

    Example:
        >>> add_by(jnp.ones(2), jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 1, 1])).tolist()
        [2.0, 7.0]
    """
    return total.at[index].add(values, indices_are_sorted=ordered, mode="promise_in_bounds")


def total(values: Float[Array, " N"]) -> Float[Array, ""]:
    """The sum of all values, in two levels: a single running float32 sum of 1e6 terms loses digits.

    Example:
        >>> float(total(jnp.arange(5.0)))
        10.0
    """
    n = values.shape[0]
    width = max(1, int(n**0.5))
    rows = n // width
    return values[: rows * width].reshape(rows, width).sum(1).sum() + values[rows * width :].sum()
