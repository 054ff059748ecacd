"""Blocks of labels: every pass over the triples is one scan over blocks, whose temporaries stay in the cache.

A kernel is written once, for a block ``here``: it looks values up by labeler (``here.labeler``) and by instance
(``here.of``), and adds up by instance (``here.sum``) and by labeler (``here.add``). Two layouts of the labels stand
behind it: the triples in order (``Flat``), and rows by instance (``Dense``, ``crowdjax.rows``).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from crowdjax.labels import Labels
from crowdjax.segments import add_by, add_rows, in_blocks, sum_by, total

MAX_PARTS = 64  # tables that sums by labeler are gathered in
NUMBERS_PER_LABEL = 1  # at most, of all these tables together: each is taken into the cache anew


def n_parts(labels: Labels, columns: int = 1) -> int:
    """Choose the number of partial tables for sums by labeler: a running float32 sum of 1e6 terms loses digits. One is
    enough where tables would be large, as no labeler then has that many labels.

    One where all blocks are taken at once: there ``segments.add_by`` spreads the labels.

    Args:
        columns: numbers that a table has for each labeler.
    """
    if not in_blocks() or labels.rows is not None:
        return 1
    stored = labels.label.shape[0]
    most = min(stored // (32 * labels.n_labelers), NUMBERS_PER_LABEL * stored // (labels.n_labelers * columns))
    return max(1, min(MAX_PARTS, labels.n_blocks, most))


class Flat(NamedTuple):
    """A block of triples in flat order, with gathers and sums by instance, labeler and value.

    Attributes:
        labeler, label: of each triple.
        counts: multiplicities, 0 for padding.
        local: the instance of each triple within the block.
        start, size: the first instance of the block, and how many it has.
        part: the table that sums by labeler go into.
        n_labelers, n_values: sizes.
        weighted: whether multiplicities can be other than 1.
    """

    labeler: Any
    label: Any
    counts: Any
    local: Any
    start: Any
    size: int
    part: Any
    n_labelers: int
    n_values: int
    weighted: bool

    @property
    def slot(self):
        """The position of each label's (labeler, value) in a table [W·L]; arbitrary for padding."""
        return self.labeler * self.n_values + jnp.maximum(self.label, 0)

    @property
    def null_slot(self):
        """The position of each label in a table [W·L + 1]; the last place is for padding."""
        return jnp.where(self.label < 0, self.n_labelers * self.n_values, self.slot)

    def of(self, column):
        """Look up values of instances [size, ...] for each label."""
        return column[self.local]

    def of_class(self, table, code):
        """Look up values [size, K] of each label's instance and a class."""
        return table.ravel()[self.local * table.shape[1] + code]

    def sum(self, values):
        """Sum values of labels by instance: [size, ...]."""
        return sum_by(values, self.local, self.size, ordered=True)

    def total(self, values):
        """Sum values of labels."""
        return values.sum()

    def partial(self, values):
        """Sum values of labels in parts that add up to their total: by instance [size] where that is cheap, else in one
        part.
        """
        return values.sum()

    def sum_classes(self, values, code, n_classes: int):
        """Sum values of labels by instance and class: [size, K]."""
        slot = self.local * n_classes + code
        return sum_by(values, slot, self.size * n_classes).reshape(self.size, n_classes)

    def sum_looked_up(self, table):
        """Gather entries of a table [W·L] by label and sum them by instance, weighted by multiplicity: [size]."""
        return self.sum(self.counts * table[self.slot])

    def sum_table(self, init, table, slot):
        """Gather rows of a table [M, G] by label and add them to ``init`` [size, G] by instance, weighted by
        multiplicity.
        """
        weight = self.counts if self.weighted else None
        return add_rows(init, table, slot, self.local, weight, ordered=True)

    def add(self, sums, values):
        """Add values of labels to ``sums`` by labeler, [parts·W, ...]."""
        return add_by(sums, values, self.part * self.n_labelers + self.labeler)

    def add_slots(self, sums, values):
        """Add values of labels, 0 for padding, to ``sums`` by labeler and value, [parts·W·L, ...]."""
        return add_by(sums, values, self.part * self.n_labelers * self.n_values + self.slot)

    def add_table(self, sums, q):
        """Gather rows q [size, G] by instance and add them to ``sums`` [parts·(W·L + 1), G] by slot, weighted by
        multiplicity; the last row is for padding.
        """
        place = self.null_slot + self.part * (self.n_labelers * self.n_values + 1)
        return add_rows(sums, q, self.local, place, self.counts if self.weighted else None)


class Dense(NamedTuple):
    """A block of labels as rows by instance, [C, R]; attributes as of ``Flat``.

    Attributes:
        instance: of each row; None: row j is instance j.
        by_instance, by_slot: sums without atomics (``crowdjax.rows.Levels``), or None.
    """

    labeler: Any
    label: Any
    null_slot: Any
    counts: Any
    instance: Any
    start: Any
    size: int
    n_labelers: int
    n_values: int
    weighted: bool
    by_instance: Any
    by_slot: Any

    @property
    def slot(self):
        return jnp.minimum(self.null_slot, self.n_labelers * self.n_values - 1)

    def of(self, column):
        return (column if self.instance is None else column[self.instance])[None]

    def of_class(self, table, code):
        row = jnp.arange(code.shape[1]) if self.instance is None else self.instance
        return table.ravel()[row * table.shape[1] + code]

    def sum(self, values):
        return self._of_rows(values.sum(0))

    def total(self, values):
        return total(values.sum(0))

    def partial(self, values):
        return values.sum(0) if self.instance is None else self.total(values)

    def sum_classes(self, values, code, n_classes: int):
        return self.sum(jnp.where(code[..., None] == jnp.arange(n_classes), values[..., None], 0))

    def sum_looked_up(self, table):
        values = jnp.pad(table, (0, 1))[self.null_slot]
        return self.sum(self.counts * values if self.weighted else values)

    def sum_table(self, init, table, slot):
        values = table[slot]
        return init + self.sum(self.counts[..., None] * values if self.weighted else values)

    def add(self, sums, values):
        if self.by_slot is None:
            return self._add(sums, values, self.labeler)
        by_slot = self.by_slot.sum(_flat(values))
        return sums + by_slot.reshape(self.n_labelers, self.n_values, *by_slot.shape[1:]).sum(1)

    def add_slots(self, sums, values):
        if self.by_slot is None:
            return self._add(sums, values, self.slot)
        return sums + self.by_slot.sum(_flat(values))

    def add_table(self, sums, q):
        row = jnp.arange(self.size) if self.instance is None else self.instance
        rows = jnp.broadcast_to(row, self.label.shape).ravel()
        weight = self.counts.ravel() if self.weighted else None
        if self.by_slot is None:
            return add_rows(sums, q, rows, self.null_slot.ravel(), weight)
        return sums + jnp.pad(self.by_slot.sum_of(q, rows, weight), ((0, 1), (0, 0)))

    def _add(self, sums, values, index):
        return add_by(sums, _flat(values), index.ravel())

    def _of_rows(self, sums):
        if self.instance is None:
            return sums
        if self.by_instance is None:
            return sum_by(sums, self.instance, self.size, ordered=True)
        return self.by_instance.sum(sums)


def _flat(values):
    return values.reshape(-1, *values.shape[2:])


def over_blocks(block, labels: Labels, sums, instances, dtype, parts: int = 1):
    """Scan ``block`` over the blocks of the labels.

    Args:
        block: (sums, here, *instances) -> (sums, the block's own results, among them arrays by instance).
        instances: arrays by instance, of which each block gets its own part.
        parts: how many tables ``sums`` by labeler have.
    """
    rows, n_labelers, n_values, weighted = labels.rows, labels.n_labelers, labels.n_values, labels.weight is not None
    if rows is not None:
        n_blocks, size = rows.n_blocks, rows.size
        given = rows.labeler, rows.label, rows.slot, rows.weight, rows.instance, rows.by_instance, rows.by_slot
    else:
        n_blocks, size = labels.n_blocks, labels.block_instances
        if n_blocks > 1 and not in_blocks():
            n_blocks, size = 1, n_blocks * size
        given = labels.labeler, labels.instance, labels.label, labels.weight
        width = labels.label.shape[0] // labels.n_blocks * labels.n_blocks // n_blocks
        given = tuple(_blocked(v, n_blocks, width) for v in given)

    xs = (
        given,
        tuple(_blocked(v, n_blocks, size) for v in instances),
        jnp.arange(n_blocks, dtype=jnp.int32) * size,
        jnp.arange(n_blocks, dtype=jnp.int32) * parts // n_blocks,
    )

    def one(sums, xs):  # multiplicities of one are made block by block: four bytes a label less
        given, instances, start, part = xs
        count = lambda label, weight: (label >= 0 if weight is None else weight).astype(dtype)  # noqa: E731
        if rows is not None:
            labeler, label, slot, weight, instance, *levels = given
            counts = jnp.ones(label.shape, dtype) if rows.full and weight is None else count(label, weight)
            here = Dense(labeler, label, slot, counts, instance, start, size, n_labelers, n_values, weighted, *levels)
        else:
            labeler, instance, label, weight = given
            counts, local = count(label, weight), instance - start
            here = Flat(labeler, label, counts, local, start, size, part, n_labelers, n_values, weighted)
        return block(sums, here, *instances)

    if n_blocks == 1:
        sums, out = one(sums, jax.tree.map(lambda v: v[0], xs))
        out = jax.tree.map(lambda v: v[None], out)
    else:
        sums, out = jax.lax.scan(one, sums, xs)
    by_instance = lambda v: v.reshape(-1, *v.shape[2:])[: labels.n_instances] if v.ndim > 1 else v  # noqa: E731
    return sums, jax.tree.map(by_instance, out)


def _blocked(values, n_blocks: int, n: int):
    """Return [m, ...] -> [n_blocks, n, ...], padded at the end."""
    if values is None:
        return None
    missing = n_blocks * n - values.shape[0]
    values = jnp.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1)) if missing else values
    values = jax.lax.optimization_barrier(values)  # without, XLA on a CPU makes them anew in every block
    return values.reshape(n_blocks, n, *values.shape[1:])
