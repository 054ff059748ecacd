"""Sums by index, every way there is: what the choice in ``crowdjax.segments`` rests on.

Values of so many labels go into the slots of their labeler (unordered, the busiest gets a tenth of all) and of their
instance (ordered), by what ``segments`` does and by the alternatives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import Row, power_law, seconds
from crowdjax.segments import sum_by


def run(sizes: list[int]) -> Iterator[Row]:
    for n in sizes:
        host = power_law(n)
        values = np.random.default_rng(0).random(len(host.label)).astype(np.float32)
        sides = {"labeler": (host.labeler, host.n_labelers), "instance": (host.instance, host.n_instances)}
        for side, (index, size) in sides.items():
            ways = of(side == "instance", index, size)
            given = jnp.asarray(values), jnp.asarray(index)
            runs = {name: partial(jax.jit(way), *given) for name, way in ways.items()}
            runs["NumPy bincount"] = partial(np.bincount, index, values, size)
            for name, value in seconds(runs).items():
                yield Row("reductions", f"by {side}: {name}", n, 1e9 * value / n, "ns/label")


def of(ordered: bool, index: np.ndarray, size: int) -> dict[str, Callable]:
    """(values, index) -> sums of ``size`` slots, in every way; orders are known beforehand, as in ``Labels``."""
    order = np.argsort(index, kind="stable")
    ends = np.searchsorted(index[order], np.arange(size), side="right")

    def differences(values, _):
        """Of a cumulated sum, in order: no additions into slots, but digits are lost."""
        upto = jnp.cumsum(values if ordered else values[order])
        return jnp.diff(jnp.where(ends > 0, upto[ends - 1], 0), prepend=0)

    def permuted(values, _):
        return sum_by(values[order], index[order], size, ordered=True)

    def columns(values, index):
        """Two columns as rows of one scatter; the time is of both."""
        return jnp.zeros((size, 2), values.dtype).at[index].add(jnp.stack([values, values], 1))

    ways = {
        "segments.sum_by": partial(sum_by, size=size, ordered=ordered),
        "cumulated": differences,
        "two stacked columns": columns,
    }
    return ways if ordered else ways | {"permuted, then ordered": permuted}
