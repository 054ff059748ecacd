"""Labels in pieces: Parquet too large for memory, read as often as is asked and checked as it is read."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, Int

from crowdjax import memory
from crowdjax.classes import Classes, Distinct, Kind, classes_of, codes_of, distinct
from crowdjax.columns import id_column, multiplicities, plain_column, refuse_large
from crowdjax.files import File, find, parquet_of, reading
from crowdjax.labels import InputError
from crowdjax.roles import Columns, assign, by_table, tell
from crowdjax.tables import Table


@dataclasses.dataclass(frozen=True)
class Rows:
    """Some rows of a table of labels: ids as they are, codes of labels, multiplicities (None: one each)."""

    labeler: pa.ChunkedArray
    instance: pa.ChunkedArray
    label: Int[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"] | None


@dataclasses.dataclass(frozen=True)
class Scan:
    """A table of labels that is read in pieces, any number of times.

    Attributes:
        n_rows: of the whole table.
        classes: the classes, the values of labels, and what to say of them.
        roles: which column plays which role.
        identity: what tells this table from another, as far as one can tell without reading it.
        rows: a function of no arguments that gives the rows, at most ``batch`` of them at a time.
    """

    place: str
    n_rows: int
    classes: Classes
    roles: dict[str, str]
    identity: list
    rows: Callable[[], Iterator[Rows]]


def scan(
    source, *, columns: Columns | None = None, positive=None, order: Sequence[Any] | None = None,
    truth: Sequence[Any] | None = None, kind: Kind | None = None, batch: int = 2**18,
) -> Scan:  # fmt: skip
    """Return the rows of Parquet too large for memory, in pieces, in the order of the files' names; checked as they are
    read.

    Args:
        source: a Parquet file or a folder of them: a path, or a URL that pyarrow or fsspec knows (``s3://...``).
        columns, positive, order, truth: as in :func:`crowdjax.io.read_labels`.
        kind: of the classes.

    Raises:
        InputError: as in :func:`crowdjax.io.read_labels`; it is not Parquet.
    """
    place = f"labels {source}"
    with reading(place, "Parquet"):
        files = _parquet_at(str(source), place)
        data = parquet_of(files)
        n_rows, names = data.count_rows(), data.schema.names
    table = Table(place, names, lambda _: pa.table({}))
    roles = assign(table, "labels", by_table(columns, ["labels"])["labels"])
    tell(place, roles)
    if n_rows == 0:
        raise InputError(f"{place}: no labels at all; at least one row is needed")
    with reading(place, "Parquet"):
        footers, names = [f.metadata for f in data.get_fragments()], [*roles.values()]
        memory.refuse_parquet(
            footers, names, f"{place}: a row group needs", "allowed: smaller row groups", at_once=False
        )

    def raw(names: list[str]) -> Iterator[tuple[str, pa.RecordBatch]]:
        """Return (where a piece is, the piece); what is read has to be what was found."""
        before, few = 0, dict(batch_readahead=1, fragment_readahead=1, use_threads=False)
        with contextlib.ExitStack() as stack:
            for file in files:
                stack.enter_context(file.steady())
            pieces = data.to_batches(columns=names, batch_size=batch, **few)
            while True:
                with reading(place, "Parquet"):
                    piece = next(pieces, None)
                if piece is None:
                    break
                here = place if before == 0 else f"{place} after row {before}"
                for name in names:
                    refuse_large(pa.chunked_array([piece[name]]), here, name)
                yield here, piece
                before += len(piece)
        if before != n_rows:
            raise InputError(f"{place}: {before:,} rows, and {n_rows:,} when it was opened; read it again")

    label, counts, first, before = roles["label"], collections.Counter(), {}, 0
    found = Distinct(pa.null(), counts, first.__getitem__)
    for here, piece in raw([label]):
        column = pa.chunked_array([piece[label]])
        part = distinct(column, here, label)
        found = part._replace(counts=counts, at=first.__getitem__)
        counts.update(part.counts)
        for value in part.counts.keys() - first.keys():
            first[value] = f"column {label!r}, row {before + plain_column(column).to_pylist().index(value) + 1}"
        before += len(column)
    classes = classes_of(found, place, positive=positive, order=order, truth=truth, kind=kind, missing=False)

    def rows():
        for here, piece in raw(list(roles.values())):
            part = {role: pa.chunked_array([piece[name]]) for role, name in roles.items()}
            weights = multiplicities(part["weight"], here, roles["weight"]) if "weight" in roles else None
            if len(piece):
                labeler, instance = (id_column(part[key], here, roles[key]) for key in ("labeler", "instance"))
                yield Rows(labeler, instance, codes_of(part["label"], here, label, classes.said), weights)

    said = [classes.classes, classes.values, *([classes.places] if classes.places else [])]
    return Scan(place, n_rows, classes, roles, [[f.identity for f in files], n_rows, roles, said], rows)


def _parquet_at(source: str, place: str) -> list[File]:
    """Return the files of Parquet at a path or URL."""
    files = [f for f in find(source, "parquet", "pq")[0] if f.ending in ("parquet", "pq")]
    if not files:
        raise InputError(f"{place}: no *.parquet there; allowed with minibatches: a Parquet file or a folder of them")
    return files
