"""Labels in pieces: Parquet too large for memory, read as often as is asked and checked as it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int8

from crowdjax.columns import ALPHABET, Words, id_column, multiplicities, plain_column, sign, signs, word, words_of
from crowdjax.files import find, reading
from crowdjax.labels import InputError
from crowdjax.roles import Columns, assign, by_table, tell
from crowdjax.tables import Table


@dataclasses.dataclass(frozen=True)
class Rows:
    """Some rows of a table of labels: ids as they are, signs, multiplicities (None: one each)."""

    labeler: pa.ChunkedArray
    instance: pa.ChunkedArray
    label: Int8[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"] | None


@dataclasses.dataclass(frozen=True)
class Scan:
    """A table of labels that is read in pieces, as often as is asked.

    Attributes:
        n_rows: of the whole table.
        words: the two words of the labels, where they are in words.
        roles: which column plays which role.
        identity: what tells this table from another, as far as one can tell without reading it.
        rows: a function of no arguments that gives the rows, at most ``batch`` of them at a time.
    """

    place: str
    n_rows: int
    words: Words | None
    roles: dict[str, str]
    identity: list
    rows: Callable[[], Iterator[Rows]]


def scan(source, *, columns: Columns | None = None, positive=None, batch: int = 2**18) -> Scan:
    """The rows of Parquet too large for memory, in pieces, in the order of the files' names; checked as they are read.

    Args:
        source: a Parquet file or a folder of them: a path, or a URL that pyarrow or fsspec knows (``s3://...``).
        columns, positive: as in :func:`crowdjax.io.read_labels`.

    Raises:
        InputError: as in :func:`crowdjax.io.read_labels`; it is not Parquet.
    """
    place = f"labels {source}"
    with reading(place, "Parquet"):
        data, files = _parquet_at(str(source), place)
        n_rows, names = data.count_rows(), data.schema.names
    table = Table(place, names, lambda _: pa.table({}))
    roles = assign(table, "labels", by_table(columns, ["labels"])["labels"])
    tell(place, roles)
    if n_rows == 0:
        raise InputError(f"{place}: no labels at all; at least one row is needed")
    words = None
    if positive is not None:
        with reading(place, "Parquet"):
            pieces = data.to_batches(columns=[roles["label"]], batch_size=batch)
            every = [pc.unique(plain_column(pa.chunked_array([piece[0]]))) for piece in pieces]
        words = words_of(pa.chunked_array(every), place, positive)

    def rows():
        before, seen, few = 0, set(), dict(batch_readahead=1, fragment_readahead=1, use_threads=False)
        pieces = data.to_batches(columns=list(roles.values()), batch_size=batch, **few)
        while True:
            with reading(place, "Parquet"):
                piece = next(pieces, None)
            if piece is None:
                return
            here = place if before == 0 else f"{place} after row {before}"
            part = {role: pa.chunked_array([piece[name]]) for role, name in roles.items()}
            if words is None:
                words_of(part["label"], here)  # refuses words
            seen |= {sign(word(v), words) for v in pc.unique(plain_column(part["label"])).to_pylist()}
            if words is None and {0, -1} <= seen:
                raise InputError(f"{here}: column {roles['label']!r}: both 0 and -1; allowed: {ALPHABET}")
            weights = multiplicities(part["weight"], here, roles["weight"]) if "weight" in roles else None
            if len(piece):
                labeler, instance = (id_column(part[key], here, roles[key]) for key in ("labeler", "instance"))
                yield Rows(labeler, instance, signs(part["label"], here, roles["label"], words), weights)
            before += len(piece)

    return Scan(place, n_rows, words, roles, [files, n_rows, roles, words], rows)


def _parquet_at(source: str, place: str):
    """A Parquet data set by path or URL, and what tells its files from others."""
    from pyarrow import dataset  # takes pandas along, where that is installed

    files = [f for f in find(source, "parquet", "pq")[0] if f.ending in ("parquet", "pq")]
    if not files:
        raise InputError(f"{place}: no *.parquet there; allowed with minibatches: a Parquet file or a folder of them")
    data = dataset.dataset([f.path for f in files], format="parquet", filesystem=files[0].system)
    return data, [[f.path, f.size, f.changed] for f in files]
