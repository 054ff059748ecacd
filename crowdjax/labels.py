"""Labels: the judgements of a crowd as sparse triples, and the host-side index of their ids.

Everything here runs on the host (NumPy) and does not import JAX. What comes out is a pytree, which is registered with
JAX once that is imported, and an argument of the kernels. Wrong input is rejected here; the kernels do not
check again.

Layout. Triples are sorted by instance and cut into ``n_blocks`` blocks of ``block_instances`` consecutive instances.
Every block holds the same number of triples, so a kernel may reshape the flat arrays to ``[n_blocks, -1]`` and scan;
what a block lacks is padding: label -1, weight 0. One block means a flat layout, which small problems use.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.abc
import importlib.util
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Array, Bool, Float, Int, Int8

__all__ = ["InputError", "LabelError", "LabelIndex", "Labels"]

Repeats = Literal["count", "first", "last", "mean"]

FLAT_BELOW = 32_768  # labels; smaller problems fit the caches whole
LABELS_PER_BLOCK = 10_240  # the temporaries of one block then stay in the cache (docs/performance.md)
MOST_WEIGHT = 1e30  # of a judgement; float32 ends at 3e38
MAX_PADDING = 1.25  # stored triples per real triple; blocks grow until they pad less than this


def one_line(error: BaseException) -> str:
    """Convert an error's message to one line without control characters."""
    text = "".join(c if c.isprintable() else " " for c in str(error))
    return " ".join(text.split())[:200] or type(error).__name__


class InputError(ValueError):
    """Exception for invalid input: a one-line message that names the value, its place, and what is allowed.

    Example:
        >>> Labels.from_arrays([0], [0], [2])
        Traceback (most recent call last):
        ...
        crowdjax.labels.LabelError: label: got 2 at row 0; allowed: 0/1, -1/+1 or true/false
    """


class Unreachable(InputError):
    """Exception for a store or server that does not respond now; the same call may succeed later.

    Example:
        >>> issubclass(Unreachable, InputError)
        True
    """


class LabelError(InputError):
    """Exception for a table or array that cannot be read as labels; the message names the value, its place, and what is
    allowed.

    Example:
        >>> issubclass(LabelError, InputError)
        True
    """


STATIC = {"static": True}  # what jit compiles for


class Tree:
    """Base class of dataclasses that are pytrees: registered with JAX once JAX is imported, before or after their first
    instance; fields with the metadata ``STATIC`` are static under jit.
    """

    def __post_init__(self):
        if "jax" in sys.modules:
            register(type(self))
        elif type(self) not in _waiting:
            _waiting.add(type(self))
            if not any(isinstance(finder, _AfterJax) for finder in sys.meta_path):
                sys.meta_path.insert(0, _AfterJax())

    def __setstate__(self, state):  # what is read from a pickle is not initialised
        self.__dict__.update(state)
        Tree.__post_init__(self)


_waiting: set[type] = set()  # classes with instances that are older than JAX


class _AfterJax(importlib.abc.MetaPathFinder):
    """Registers the classes that wait when JAX has been imported: Python has no hook for that but the search for it."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "jax":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("jax")
        if spec is None or spec.loader is None:
            return spec
        run = spec.loader.exec_module

        def run_and_register(module):
            run(module)
            while _waiting:
                register(_waiting.pop())

        spec.loader.exec_module = run_and_register
        return spec


@functools.cache
def register(cls: type) -> None:
    """Register a dataclass with JAX as a pytree."""
    import jax

    static = {field.name: "static" in field.metadata for field in dataclasses.fields(cls)}
    of = lambda kind: [name for name, value in static.items() if value == kind]  # noqa: E731
    jax.tree_util.register_dataclass(cls, data_fields=of(False), meta_fields=of(True))


@dataclasses.dataclass(frozen=True, eq=False)
class Shard(Tree):
    """The part of a larger problem's instances that is on one device, inside ``shard_map`` over ``axis``
    (``crowdjax.parallel``).

    Attributes:
        rows: where each instance is in the whole problem; past the end for the padding that gives shards their shape.
        n_instances: at least as many as the whole problem has (static under jit).
        axis: name of the mesh axis (static under jit); ``None`` where there is one shard only.
    """

    rows: Int[Array, " I"]
    n_instances: int = dataclasses.field(metadata=STATIC)
    axis: str | None = dataclasses.field(metadata=STATIC)

    @property
    def real(self) -> Bool[Array, " I"]:
        """Boolean mask of the instances that are not padding, shape [I]."""
        return self.rows < self.n_instances


@dataclasses.dataclass(frozen=True, eq=False)
class Labels(Tree):
    """The judgements L_ij of labelers i on instances j, as sparse triples (labeler, instance, label).

    Source: Ruvolo, Whitehill, Movellan (2013), section 2.

    Attributes:
        labeler: index of the labeler of each triple, in [0, n_labelers).
        instance: index of the instance, in [0, n_instances), non-decreasing.
        label: code of the label, in [0, n_values); -1 marks padding.
        weight: multiplicity of the judgement; ``None``: one each. A weight of 0 leaves a judgement out.
        gold: code of the known class of each instance, in [0, n_classes), -1 where unknown; ``None`` without any gold.
        n_labelers, n_instances: sizes (static under jit).
        n_values, n_classes: L, the number of values of a label, and K, the number of classes (static under jit).
        n_blocks, block_instances: the layout, see the module's docstring (static under jit).
        places: the class that each value stands for, as a code or between two codes; -1: none. ``None``: values are
            evenly spaced over the classes in their order, as grades are (static under jit).
        shard: set where these labels are one device's part of a larger problem; ``None``: they are the whole problem.
        rows: the same labels in a second layout, for a GPU (``crowdjax.rows``); ``None`` without one.

    Example:
        >>> labels = Labels.from_arrays(labeler=[0, 1, 0], instance=[0, 0, 1], label=[1, 0, 1])
        >>> labels.label.tolist(), labels.n_labelers, labels.n_instances
        ([1, 0, 1], 2, 2)
    """

    labeler: Int[Array, " N"]
    instance: Int[Array, " N"]
    label: Int[Array, " N"]
    weight: Float[Array, " N"] | None
    gold: Int[Array, " I"] | None
    n_labelers: int = dataclasses.field(metadata=STATIC)
    n_instances: int = dataclasses.field(metadata=STATIC)
    n_blocks: int = dataclasses.field(metadata=STATIC)
    block_instances: int = dataclasses.field(metadata=STATIC)
    n_values: int = dataclasses.field(metadata=STATIC, default=2)
    n_classes: int = dataclasses.field(metadata=STATIC, default=2)
    places: tuple[float, ...] | None = dataclasses.field(metadata=STATIC, default=None)
    shard: Shard | None = None
    rows: Any = None

    @classmethod
    def from_arrays(
        cls,
        labeler,
        instance,
        label,
        *,
        weight=None,
        gold=None,
        n_labelers: int | None = None,
        n_instances: int | None = None,
        n_values: int = 2,
        n_classes: int | None = None,
        places: tuple[float, ...] | None = None,
        repeats: Repeats = "count",
        blocks: bool = True,
    ) -> Labels:
        """Validate triples given as integer indices, sort them by instance and pad them to blocks.

        Args:
            labeler, instance: integer indices from 0, shape [N].
            label: codes 0 to n_values - 1, shape [N]; two values may also be -1/+1 or booleans.
            weight: multiplicities >= 0, shape [N].
            gold: known class of each instance, coded as ``label``, shape [I]; NaN where unknown.
            n_labelers, n_instances: W and I; default: one more than the largest index.
            n_values: L, the number of values of a label.
            n_classes: K, the number of classes of the truth; default: the number of values.
            places: the class that each value stands for, shape [L]; -1 for none.
            repeats: repeated judgements of one labeler on one instance: ``count`` them all, keep the ``first`` or the
                ``last`` row, or let them share one judgement's weight (``mean``).
            blocks: ``False`` forces the flat layout, which is needed to vmap over the triples.

        Raises:
            LabelError: lengths differ, an index is negative or too large, a label is not one of the codes, a weight is
                negative or above 1e30, or no triples are left.

        Example: two judgements of one pair, of which the last counts; and three classes
            >>> Labels.from_arrays([0, 0], [0, 0], [1, 0], repeats="last").label.tolist()
            [0]
            >>> Labels.from_arrays([0, 1], [0, 0], [2, 1], n_values=3).n_classes
            3
        """
        if repeats not in get_args(Repeats):
            raise LabelError(f"repeats: got {repeats!r}; allowed: {', '.join(get_args(Repeats))}")
        labeler, n_labelers = _indices(labeler, "labeler", n_labelers)
        instance, n_instances = _indices(instance, "instance", n_instances)
        n_values, n_classes = _sizes(n_values, n_classes)
        code = codes(label, "label", n_values)
        n = len(code)
        if not len(labeler) == len(instance) == n:
            raise LabelError(f"lengths differ: labeler {len(labeler)}, instance {len(instance)}, label {n}")
        if n == 0:
            raise LabelError("no labels at all; at least one judgement is needed")
        if weight is not None:
            weight = np.asarray(weight, dtype=np.float64).reshape(-1)
            if len(weight) != n:
                raise LabelError(f"lengths differ: weight {len(weight)}, label {n}")
            bad = np.flatnonzero(~((weight >= 0) & (weight <= MOST_WEIGHT)))
            if bad.size:
                raise LabelError(
                    f"weight: got {weight[bad[0]]} at row {bad[0]}; allowed: numbers from 0 to {MOST_WEIGHT:g}"
                )
        if gold is not None:
            gold = gold_codes(gold, n_instances, n_classes)

        counted = np.ones(n, bool) if weight is None else weight > 0
        if not counted.any():
            raise LabelError("no labels at all: every weight is 0; at least one judgement is needed")

        sizes = n_instances, n_labelers, n_values
        if repeats not in ("first", "last") and weight is None and sum(map(_bits, sizes)) <= 63:
            labeler, instance, code = _sorted(labeler, instance, code, *sizes)
        else:
            if repeats in ("first", "last"):
                order = _one_per_pair(labeler, instance, counted, repeats)
            else:
                order = np.lexsort((code, labeler, instance))  # stable: equal triples keep their row order
            labeler, instance, code, counted = (v[order] for v in (labeler, instance, code, counted))
            weight = None if weight is None else weight[order]
        if repeats == "mean":
            share = _share_of_pair(labeler, instance, counted)
            if weight is not None:
                weight = weight * share
            elif (share != 1).any():
                weight = share
        laid = _lay_out(labeler, instance, code, weight, gold, n_labelers, n_instances, blocks)
        return dataclasses.replace(laid, n_values=n_values, n_classes=n_classes, places=places)

    @property
    def real(self) -> Bool[Array, " N"]:
        """Boolean mask of the stored triples that are not padding."""
        return self.label >= 0

    @property
    def counts(self) -> Float[Array, " N"]:
        """The multiplicity c of every stored triple; 0 for padding."""
        return self.real.astype(np.int8) if self.weight is None else self.weight

    @property
    def sign(self) -> Int8[Array, " N"]:
        """Labels of two values as -1 and +1; 0 for padding."""
        return (2 * self.label - 1) * self.real

    @property
    def gold_sign(self) -> Int8[Array, " I"] | None:
        """Gold of two classes as -1 and +1, 0 where unknown, shape [I]; ``None`` without any gold."""
        return None if self.gold is None else (2 * self.gold - 1) * (self.gold >= 0)

    def across(self, sums):
        """All-reduce per-shard sums, a pytree of arrays of one type, over the device mesh in one collective."""
        if self._alone:
            return sums
        import jax
        from jax.flatten_util import ravel_pytree

        flat, unravel = ravel_pytree(sums)
        return unravel(jax.lax.psum(flat, self.shard.axis))

    def once(self, value: Float[Array, ""]) -> Float[Array, ""]:
        """Mask a replicated value so that summing over shards counts it once: unchanged on shard 0, zero elsewhere."""
        if self._alone:
            return value
        import jax

        return jax.numpy.where(jax.lax.axis_index(self.shard.axis) == 0, value, 0)

    @property
    def _alone(self) -> bool:
        return self.shard is None or self.shard.axis is None

    def with_weight(self, weight: Float[Array, " N"]) -> Labels:
        """Replace the multiplicities by an array of the shape and order of ``label``; traceable. Padding keeps 0."""
        return dataclasses.replace(self, weight=weight * self.real, rows=None)


@dataclasses.dataclass(frozen=True)
class LabelIndex:
    """The user's ids and values for the integer indices: ``labelers[i]``, ``instances[j]`` (both sorted), and the
    values of the label codes.

    Attributes:
        classes: the K classes of the truth in the user's values, in order; of two, the last is the positive one.
        values: the L values of labels; None: the same as the classes.
        places: the class that each value stands for (``Labels``).
        columns: the ids as pyarrow columns (``"labeler"``, ``"instance"``), with types that NumPy lacks, such as times
            with a zone; None for an index built by hand.

    Example:
        >>> LabelIndex(np.array(["ann", "bob"]), np.array([7, 9])).instances.tolist()
        [7, 9]
    """

    labelers: np.ndarray
    instances: np.ndarray
    columns: Mapping[str, Any] | None = None
    classes: tuple[Any, ...] = (0, 1)
    values: tuple[Any, ...] | None = None
    places: tuple[float, ...] | None = None


def refuse_more_classes(labels: Labels) -> None:
    """Reject labels that are not of two classes, for models that know no others.

    Raises:
        InputError: says how many there are.

    Example:
        >>> refuse_more_classes(Labels.from_arrays([0], [0], [2], n_values=3))
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: labels: got 3 classes and 3 values of labels; allowed: two of each
    """
    if (labels.n_classes, labels.n_values) != (2, 2):
        raise InputError(
            f"labels: got {labels.n_classes} classes and {labels.n_values} values of labels; allowed: two of each"
        )


def codes(values, name: str, n_values: int = 2, rows=None) -> Int[np.ndarray, " N"]:
    """Encode labels as codes 0 to n_values - 1 in the smallest type; two values may also be -1/+1 or booleans.

    Args:
        rows: rows that the values come from, for messages; default: all.

    Raises:
        LabelError: a value is not allowed; the message names its row.

    Example:
        >>> codes([-1, 1, 1], "label").tolist(), codes([0, 2], "label", 3).tolist()
        ([0, 1, 1], [0, 2])
    """
    values = np.asarray(values).reshape(-1)
    rows = np.arange(len(values)) if rows is None else rows
    kind = np.int8 if n_values <= 2**7 - 1 else np.int16 if n_values <= 2**15 - 1 else np.int32
    allowed = "0/1, -1/+1 or true/false" if n_values == 2 else f"0 to {n_values - 1}"
    if values.dtype == bool and n_values == 2:
        return values.astype(kind)
    if values.dtype.kind not in "iuf":
        raise LabelError(f"{name}: values of type {values.dtype}; allowed: {allowed}")
    low = -1 if n_values == 2 else 0
    bad = np.flatnonzero(~((values >= low) & (values < n_values) & (values == np.floor(values))))
    if bad.size:
        raise LabelError(f"{name}: got {values[bad[0]]} at row {rows[bad[0]]}; allowed: {allowed}")
    if n_values == 2 and (values == -1).any():
        if (values == 0).any():
            minus, zero = (rows[np.flatnonzero(values == v)[0]] for v in (-1, 0))
            raise LabelError(
                f"{name}: got -1 at row {minus} and 0 at row {zero}; allowed: either 0/1 or -1/+1 throughout"
            )
        return (values == 1).astype(kind)
    return values.astype(kind)


def gold_codes(gold, n_instances: int, n_classes: int = 2) -> Int[np.ndarray, " I"]:
    """Encode gold as class codes, -1 where unknown (NaN)."""
    gold = np.asarray(gold, dtype=np.float64).reshape(-1)
    if len(gold) != n_instances:
        raise LabelError(f"gold: {len(gold)} entries for {n_instances} instances; one each, NaN where unknown")
    known = np.flatnonzero(~np.isnan(gold))
    found = codes(gold[known], "gold", n_classes, known)
    out = np.full(n_instances, -1, found.dtype)
    out[known] = found
    return out


def _sizes(n_values: int, n_classes: int | None) -> tuple[int, int]:
    n_classes = n_values if n_classes is None else n_classes
    for name, size in {"n_values": n_values, "n_classes": n_classes}.items():
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 2:
            raise LabelError(f"{name}: got {size!r}; allowed: a whole number from 2")
    return int(n_values), int(n_classes)


def _indices(values, name: str, size: int | None) -> tuple[np.ndarray, int]:
    values = np.asarray(values).reshape(-1)
    if values.size and values.dtype.kind not in "iu":
        raise LabelError(
            f"{name}: indices of type {values.dtype}; allowed: integers from 0 (ids of other types: "
            "crowdjax.io.read_labels)"
        )
    top = int(values.max()) + 1 if values.size else 0
    size = top if size is None else size
    bad = np.flatnonzero((values < 0) | (values >= size))
    if bad.size:
        raise LabelError(f"{name}: got index {values[bad[0]]} at row {bad[0]}; allowed: 0 to {size - 1}")
    if size >= 2**31:
        raise LabelError(f"{name}: {size} of them; allowed: fewer than 2**31")
    return values.astype(np.int32), int(size)


def _bits(n: int) -> int:
    """Return the bits of an index below n."""
    return max(n - 1, 0).bit_length()


def _sorted(
    labeler, instance, code, n_instances: int, n_labelers: int, n_values: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sort triples by instance, labeler and code: as the bits of one number each, which sort three times as fast."""
    of_labeler, of_code = _bits(n_labelers), _bits(n_values)
    kind = np.uint32 if _bits(n_instances) + of_labeler + of_code <= 32 else np.int64  # shorter ones sort faster
    cell = instance.astype(kind) << kind(of_labeler + of_code)
    cell |= (labeler.astype(kind) << kind(of_code)) | code.astype(kind)
    cell.sort()
    return (
        (cell >> kind(of_code) & kind((1 << of_labeler) - 1)).astype(labeler.dtype),
        (cell >> kind(of_labeler + of_code)).astype(instance.dtype),
        (cell & kind((1 << of_code) - 1)).astype(code.dtype),
    )


def _same_pair(labeler: np.ndarray, instance: np.ndarray) -> np.ndarray:
    """Return whether a sorted triple is by the same labeler on the same instance as the one before it."""
    return np.r_[False, (labeler[1:] == labeler[:-1]) & (instance[1:] == instance[:-1])]


def _one_per_pair(labeler, instance, counted, repeats) -> np.ndarray:
    """Find for each (instance, labeler) pair the first or last row of the input that counts, in sorted order."""
    by_row = np.lexsort((np.arange(len(labeler)), labeler, instance))
    by_row = by_row[counted[by_row]]
    repeated = _same_pair(labeler[by_row], instance[by_row])
    keep = ~repeated if repeats == "first" else ~np.r_[repeated[1:], False]
    return by_row[keep]


def _share_of_pair(labeler, instance, counted) -> np.ndarray:
    """Return one over the number of judgements that count and that the labeler of a sorted triple gave on its
    instance."""
    group = np.cumsum(~_same_pair(labeler, instance)) - 1
    return (1.0 / np.maximum(np.bincount(group, counted), 1))[group]


def _lay_out(labeler, instance, code, weight, gold, n_labelers, n_instances, blocks) -> Labels:
    n = len(code)
    per_block, n_blocks, width = n_instances, 1, n
    if blocks and n >= FLAT_BELOW:
        per_block, n_blocks, width = _block_shape(instance, n_instances)
    if n_blocks * width > n:
        starts = np.searchsorted(instance, np.arange(n_blocks) * per_block)
        block = instance // per_block
        slot = block * width + (np.arange(n) - starts[block])
        last = np.minimum((np.arange(n_blocks) + 1) * per_block, n_instances) - 1

        def pad(values, fill):
            out = np.repeat(fill, width) if np.ndim(fill) else np.full(n_blocks * width, fill)
            out = out.astype(values.dtype)
            out[slot] = values
            return out

        labeler, instance, code = pad(labeler, 0), pad(instance, last), pad(code, -1)
        weight = None if weight is None else pad(weight, 0)
    # NumPy arrays stay NumPy until a kernel takes them: no device is touched here.
    return Labels(
        labeler=labeler,
        instance=instance.astype(np.int32),
        label=code,
        weight=weight,
        gold=gold,
        n_labelers=n_labelers,
        n_instances=n_instances,
        n_blocks=n_blocks,
        block_instances=per_block,
    )


def _block_shape(instance: np.ndarray, n_instances: int) -> tuple[int, int, int]:
    """Return (instances per block, number of blocks, triples per block): the smallest blocks near the cache's size that
    pad little. A few crowded instances make the blocks grow, in the end to a single flat one."""
    n = len(instance)
    per_block = 2 ** max(6, round(np.log2(LABELS_PER_BLOCK * n_instances / n)))
    while per_block < n_instances:
        n_blocks = -(-n_instances // per_block)
        edges = np.searchsorted(instance, np.arange(n_blocks + 1) * per_block)
        width = int(np.diff(edges).max())
        if n_blocks * width <= MAX_PADDING * n:
            return per_block, n_blocks, width
        per_block *= 2
    return n_instances, 1, n
