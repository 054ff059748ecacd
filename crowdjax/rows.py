"""Rows: a second layout of the labels for a GPU, in dense rows by instance and, for repeatable sums, by labeler.

Labels [C, R] hold C labels of one instance in each of R rows (padding: label -1), so that an instance's values are
looked up once for a row, neighbouring threads read neighbouring rows, and a sum by instance is a sum over C. Instances
with more than C labels have several rows, whose sums are added in a second step.

Sums by labeler are atomic additions, in an order that differs from run to run. With ``repeatable`` the labels are also
listed by (labeler, value), and sums go level by level: each level adds groups of values of one slot, until one value is
left for each slot. That needs no atomics and gives the same bits in every run.

Blocks of instances bound the temporaries of models that need many numbers for each instance.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from crowdjax.labels import STATIC, Labels, Tree
from crowdjax.layout import EXACT_FROM, bucket
from crowdjax.segments import in_blocks

__all__ = ["Levels", "Rows", "instances_at_once", "is_repeatable", "on_device", "with_rows"]

WIDTHS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24, 32, 64, 128)  # labels in a row that are considered
GROUPS = (4, 8, 16, 32, 64, 128)  # values in a group of the first level that are considered
GROUP = 32  # values in a group of the levels above
BYTES_AT_ONCE = 2**29  # that the instances of a block may take, for models of many numbers each
PER_ROW = 3  # what a row costs beside its labels, in labels


@dataclasses.dataclass(frozen=True, eq=False)
class Levels(Tree):
    """A layout for adding values [M] into slots [S] without atomics: a tree of sums, level by level.

    Attributes:
        index: of each level the places [R, C] in the level below; what is past its end counts for nothing.
        place: where each slot's sum [S] is in the last level; past its end for an empty slot.

    Example:
        >>> levels = levels_of(np.array([[2, 0, 3]]), np.array([[0, 1, 2, 3, 4]]), 2)
        >>> levels.on_block(0).sum(jnp.array([1.0, 2.0, 4.0, 8.0, 16.0])).tolist()
        [3.0, 0.0, 28.0]
    """

    index: tuple[Int[Array, "..."], ...]
    place: Int[Array, "*B S"]

    def on_block(self, k: int) -> Levels:
        """Select the layout of block k."""
        return jax.tree.map(lambda v: v[k], self)

    def sum(self, values: Array) -> Array:
        """Sum values [M, ...] by slot: [S, ...]."""
        for index in self.index:
            values = _take(values, index).sum(1)
        return _take(values, self.place)

    def sum_of(self, source: Array, rows: Int[Array, " M"], weight: Array | None = None) -> Array:
        """Sum ``weight[m] * source[rows[m]]`` by slot, [S, ...]; rows are gathered where they are added."""
        index, end = self.index[0], rows.shape[0]
        at = rows[jnp.minimum(index, end - 1)]
        shares = index < end if weight is None else _take(weight, index)
        shares = shares.reshape(*index.shape, *(1,) * (source.ndim - 1))
        values = (jnp.where(shares, source[at], 0) if weight is None else shares * source[at]).sum(1)
        return dataclasses.replace(self, index=self.index[1:]).sum(values)


def _take(values, index):
    return values.at[index].get(mode="fill", fill_value=0)


@dataclasses.dataclass(frozen=True, eq=False)
class Rows(Tree):
    """The labels of ``n_blocks`` blocks of ``size`` consecutive instances, in rows of one instance's labels.

    Attributes:
        labeler, label, weight: as in ``Labels``, [B, C, R].
        slot: labeler · L + label, [B, C, R]; W·L for padding.
        instance: the instance of each row within its block, [B, R]; None: row j is instance j.
        by_instance: how rows are added up without atomics; None: by atomics, or not at all.
        by_slot: how labels are added up by (labeler, value) without atomics; None: by atomics.
        size: instances in a block (static under jit).
        full: whether there is no padding (static under jit).
    """

    labeler: Int[Array, "B C R"]
    label: Int[Array, "B C R"]
    slot: Int[Array, "B C R"]
    weight: Float[Array, "B C R"] | None
    instance: Int[Array, "B R"] | None
    by_instance: Levels | None
    by_slot: Levels | None
    size: int = dataclasses.field(metadata=STATIC)
    full: bool = dataclasses.field(metadata=STATIC)

    @property
    def n_blocks(self) -> int:
        """The number of blocks."""
        return self.label.shape[0]


def instances_at_once(numbers: int) -> int:
    """Choose the number of instances in a block for a model that needs ``numbers`` values for each, such as grid
    points.

    Example: two factors on 697 points
        >>> instances_at_once(697)
        192564
    """
    return BYTES_AT_ONCE // (4 * numbers)


def on_device(labels: Labels, numbers: Callable[[], int] = lambda: 1) -> Labels:
    """Move labels to the device; on a GPU add rows if there are many labels or sums must be repeatable. Host side.

    Args:
        numbers: how many values a model needs for each instance, such as grid points.

    Example: on a CPU they are as they were
        >>> on_device(Labels.from_arrays([0], [0], [1])).rows is None
        True
    """
    labels, repeatable = jax.device_put(labels), is_repeatable()
    if in_blocks() or not (repeatable or labels.label.shape[0] >= EXACT_FROM):
        return labels
    at_once = instances_at_once(numbers())
    return with_rows(labels, repeatable=repeatable, at_once=at_once if at_once < labels.n_instances else None)


def is_repeatable() -> bool:
    """Test whether fits on a GPU must give the same bits in every run: the environment has ``CROWDJAX_REPEATABLE=1``.

    Example:
        >>> is_repeatable()
        False
    """
    return os.environ.get("CROWDJAX_REPEATABLE", "") not in ("", "0")


def with_rows(labels: Labels, *, repeatable: bool = False, at_once: int | None = None) -> Labels:
    """Add ``rows`` to labels, built on the device; the host reads a few numbers. Not to be traced.

    Args:
        repeatable: whether sums by labeler avoid atomics, at about 5 bytes per label more.
        at_once: largest number of instances in a block; None: all.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 0], [0, 0, 1], [1, 0, 1])
        >>> with_rows(labels).rows.label[0].tolist()
        [[1, 1], [0, -1]]
    """
    n = labels.n_instances
    n_blocks = 1 if at_once is None else -(-n // at_once)
    size = -(-n // n_blocks)
    real = jnp.flatnonzero(labels.real)
    instance = jnp.asarray(labels.instance)[real]
    degree = jnp.zeros(n_blocks * size, jnp.int32).at[instance].add(1).reshape(n_blocks, size)
    width = _width(degree)
    at, row_instance = _rows_of(degree, width)
    end = len(real)
    real = jnp.concatenate([real, jnp.zeros(1, real.dtype)])[jnp.minimum(at, end)]  # within the stored triples

    def of(values, pad: int):
        values = jnp.asarray(values)
        return jnp.where(at < end, values[real], jnp.asarray(pad, values.dtype))

    labeler, label = of(labels.labeler, 0), of(labels.label, -1)
    weight = None if labels.weight is None else of(labels.weight, 0)
    by_instance = by_slot = None
    slots = labels.n_labelers * labels.n_values
    slot = jnp.where(label < 0, slots, labeler * labels.n_values + label)
    if repeatable:
        key = slot.reshape(n_blocks, -1)
        order = jnp.argsort(key, axis=1, stable=True).astype(jnp.int32)
        counts = jax.vmap(lambda key: jnp.zeros(slots + 1, jnp.int32).at[key].add(1)[:-1])(key)
        by_slot = levels_of(counts, order, _group(counts))
        if row_instance is not None:
            counts = jax.vmap(lambda j: jnp.zeros(size + 1, jnp.int32).at[j].add(1)[:-1])(row_instance)
            places = jnp.broadcast_to(jnp.arange(row_instance.shape[1], dtype=jnp.int32), row_instance.shape)
            by_instance = levels_of(counts, places, 4)
    if row_instance is not None:
        row_instance = jnp.minimum(row_instance, size - 1)  # rows that fill up have no labels
    of_rows = labeler, label, slot, weight, row_instance, by_instance, by_slot
    return dataclasses.replace(labels, rows=Rows(*of_rows, size, full=end == label.size))


def _width(degree: Int[Array, "B J"]) -> int:
    """Return labels in a row: the width that costs least."""
    most = int(degree.max())
    widths = sorted({w for w in WIDTHS if w < most} | {most}) if most <= WIDTHS[-1] else WIDTHS
    costs = [int(_n_rows(degree, w).sum(1).max()) * (w + (0 if w >= most else PER_ROW)) for w in widths]
    return widths[int(np.argmin(costs))]


def _group(counts: Int[Array, "B S"]) -> int:
    """Return values in a group of the first level: those that cost least."""
    costs = [int((-(-counts // c)).sum(1).max()) * (c + PER_ROW) for c in GROUPS]
    return GROUPS[int(np.argmin(costs))]


def _n_rows(degree, width: int):
    return jnp.maximum(-(-degree // width), 1)


def _rows_of(degree: Int[Array, "B J"], width: int):
    """Return (places [B, C, R] among the labels in order, the instance [B, R] of each row or None where it has one
    each)."""
    n_blocks, size = degree.shape
    n = _n_rows(degree, width)
    end = int(degree.sum())
    first = (jnp.cumsum(degree.ravel()) - degree.ravel()).reshape(n_blocks, size)
    if int(n.max()) == 1:
        at = first[:, None] + jnp.arange(width, dtype=jnp.int32)[:, None]
        return jnp.where(at < (first + degree)[:, None], at, end), None
    n_rows = bucket(int(n.sum(1).max()), coarse_to=0)

    def block(n, first, degree):
        upto = jnp.cumsum(n)
        row = jnp.arange(n_rows, dtype=jnp.int32)
        j = jnp.searchsorted(upto, row, side="right").astype(jnp.int32)
        of = lambda v: v[jnp.minimum(j, size - 1)]  # noqa: E731
        k = row - of(upto - n)
        at = of(first) + k * width + jnp.arange(width, dtype=jnp.int32)[:, None]
        return jnp.where((at < of(first + degree)) & (j < size), at, end), j

    return jax.vmap(block)(n, first, degree)


def levels_of(counts: Int[Array, "B S"], order: Int[Array, "B M"], group: int) -> Levels:
    """Build the levels of a sum of ``counts`` values for each slot, stored at ``order`` slot by slot.

    Args:
        group: values in a group of the first level.
    """
    counts, order, index = jnp.asarray(counts, jnp.int32), jnp.asarray(order, jnp.int32), []
    end = order.shape[1]
    while True:
        n = -(-counts // group)
        n_groups = max(1, bucket(int(n.sum(1).max()), coarse_to=0))

        def block(n, counts, order, group=group, n_groups=n_groups, end=end):
            upto, row = jnp.cumsum(n), jnp.arange(n_groups, dtype=jnp.int32)
            slot = jnp.searchsorted(upto, row, side="right")
            of = lambda v: v[jnp.minimum(slot, len(n) - 1)][:, None]  # noqa: E731
            place = (row[:, None] - of(upto - n)) * group + jnp.arange(group, dtype=jnp.int32)
            there = (place < of(counts)) & (slot < len(n))[:, None]
            at = jnp.minimum(of(jnp.cumsum(counts) - counts) + place, order.shape[0] - 1)
            return jnp.where(there, order[at], end)

        index.append(jax.vmap(block)(n, counts, order))
        if int(n.max()) <= 1:
            place = jnp.where(n > 0, jnp.cumsum(n, axis=1) - n, n_groups)
            return Levels(tuple(index), place)
        order = jnp.broadcast_to(jnp.arange(n_groups, dtype=jnp.int32), (len(n), n_groups))
        counts, group, end = n, GROUP, n_groups
