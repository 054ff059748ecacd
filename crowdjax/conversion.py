"""Conversion of labels from any form to a tidy table (labeler, instance, label), and of tables to files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from crowdjax import disk, io
from crowdjax.classes import column_of_values
from crowdjax.formats import Form, widen
from crowdjax.labels import InputError, one_line
from crowdjax.roles import Columns
from crowdjax.tables import PARQUET, SEPARATORS, kind_of, write

ESCAPED = (
    "Cells that begin with =, +, -, @ or a control character, which a spreadsheet would run, got a ' in front: {}. "
    "Parquet keeps them as they are."
)


def tidy(
    table, *, columns: Columns | None = None, form: Form | None = None, positive=None,
    order: Sequence[Any] | None = None, missing: Sequence[Any] = (), header: bool = True,
):  # fmt: skip
    """Convert a table of labels of any form to a tidy one: columns labeler, instance, label (0 or 1 for two classes)
    and, if any, weight.

    Ids keep their type, rows their order (of a wide table: labeler by labeler). What comes back is a table of the kind
    that was given.

    Args:
        table, columns, form, positive, order, missing, header: as in ``crowdjax.fit``.

    Raises:
        InputError: as in ``crowdjax.fit``.

    Example:
        >>> wide = {"image": ["1", "2"], "ann": ["duck", "goose"], "bob": ["duck", ""]}
        >>> {k: v.tolist() for k, v in tidy(wide, form="wide", positive="duck", columns={"instance": "image"}).items()}
        {'labeler': ['ann', 'ann', 'bob'], 'instance': ['1', '2', '1'], 'label': [1, 0, 1]}
    """
    settings = dict(columns=columns, form=form, positive=positive, order=order, missing=missing, header=header)
    triples = io.read_triples(table, **settings)
    return kind_of(table, triples.roles)(_tidy(triples))


def convert(
    source, out: str | os.PathLike, *, wide: bool = False, columns: Columns | None = None, form: Form | None = None,
    positive=None, order: Sequence[Any] | None = None, missing: Sequence[Any] = (), header: bool = True,
) -> tuple[str, ...]:  # fmt: skip
    """Convert a table of labels of any form to a new CSV or Parquet file, tidy or wide.

    Args:
        source: the labels, as ``table`` in ``crowdjax.fit``.
        columns, form, positive, order, missing, header: as in ``crowdjax.fit``.
        out: ends in .csv, .tsv, .parquet or .pq.
        wide: a column for every labeler and a row for every instance.

    Returns:
        What was left out or changed, one sentence each.

    Raises:
        InputError: as in ``crowdjax.fit``; or the file exists already or cannot be written.

    Example:
        >>> import tempfile
        >>> table = {"worker": ["ann", "bob"], "task": ["q1", "q1"], "answer": ["yes", "no"]}
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     convert(table, f"{folder}/labels.csv", positive="yes")
        ...     print(Path(f"{folder}/labels.csv").read_text().splitlines()[1])
        ()
        ann,q1,1
    """
    out = check_new(out)
    settings = dict(columns=columns, form=form, positive=positive, order=order, missing=missing, header=header)
    triples = io.read_triples(source, **settings)
    table = _tidy(triples)
    escaped = write(widen(table) if wide else table, out)
    io.mapping(triples, {})
    return triples.notes if not escaped else (*triples.notes, ESCAPED.format(escaped))


def _tidy(triples: io.Triples) -> pa.Table:
    classes = triples.index.classes
    columns = {
        "labeler": io.ids(triples.index, "labeler").take(pa.array(triples.labeler)),
        "instance": io.ids(triples.index, "instance").take(pa.array(triples.instance)),
        "label": column_of_values(classes if len(classes) > 2 else (0, 1)).take(pa.array(triples.label)),
    }
    return pa.table(columns if triples.weight is None else columns | {"weight": triples.weight})


def check_new(out: str | os.PathLike) -> Path:
    """Check the path of a new file and return it; reject one that exists or has an unknown ending."""
    path = Path(out)
    if path.suffix.lower() not in (*SEPARATORS, *PARQUET) or "://" in str(out):
        raise InputError(f"{out}: cannot be written; allowed: a file on this machine, {', '.join(SEPARATORS)}, "
                         f"{', '.join(PARQUET)}")  # fmt: skip
    if os.path.lexists(path):
        raise InputError(f"{out}: is there already; allowed: a new file")
    there = next(folder for folder in path.absolute().parents if os.path.lexists(folder))
    try:
        with disk.private(there / path.name):  # what cannot be written to is known only by trying
            pass
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {one_line(error)}") from None
    return path
