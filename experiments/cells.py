"""What a run is made of: cells, each computed and kept on its own. A cell is a tuple of settings, for instance
``("theodon", 1000, "linear")``: the arguments of its study's ``run_cell`` and ``size``."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from crowdjax import datasets
from crowdjax.cli.logs import NOTICE

Cell = tuple[Any, ...]
Tables = dict[str, pa.Table]
LOG = logging.getLogger("experiments")


class Size(NamedTuple):
    """How large a cell is, before it runs.

    Attributes:
        labels, labelers, instances: of its largest fit.
        fits: how many.
        lower: gives its largest program, lowered and not compiled (as ``jax.stages.Lowered``); None where it has none.
        program: what that is.
    """

    labels: int
    labelers: int
    instances: int
    fits: int
    lower: Callable[[], Any] | None
    program: str


def name_of(cell: Cell) -> str:
    return ", ".join(map(str, cell)) or "all"


def in_tens(n_repeats: int) -> list[Cell]:
    """Repeats as cells (start, end) of ten each."""
    return [(start, min(start + 10, n_repeats)) for start in range(0, n_repeats, 10)]


def present(sets: Sequence[str]) -> list[str]:
    """The real sets that are here; raises ``MissingData`` if there is none of them."""
    here = datasets.available()
    found = [name for name in sets if name in here]
    if sets and not found:
        datasets.load(sets[0])
    return found


def say(text: str, **fields) -> None:
    """Tells how far a cell is, on stderr and in the run's log."""
    LOG.log(NOTICE, "%s", text, extra={"fields": fields})


@contextlib.contextmanager
def telling(cell: Cell) -> Iterator[None]:
    """What is told meanwhile is told of this cell."""

    def mark(record: logging.LogRecord) -> bool:
        record.fields = {"cell": name_of(cell), **getattr(record, "fields", {})}
        return True

    LOG.addFilter(mark)
    try:
        yield
    finally:
        LOG.removeFilter(mark)


def gathered(parts: Sequence[Tables]) -> Tables:
    """The tables of all cells, in the order of the cells; measurements of repeats are put side by side."""
    names = dict.fromkeys(name for tables in parts for name in tables)
    whole = {n: pa.concat_tables([t[n] for t in parts if n in t], promote_options="default") for n in names}
    return {name: _in_repeats(table.combine_chunks()) for name, table in whole.items()}


def _in_repeats(table: pa.Table) -> pa.Table:
    """Rows that differ in their repeat alone follow each other."""
    if "repeat" not in table.column_names:
        return table
    settings = [table[name].to_pylist() for name in table.column_names if name not in ("repeat", "value")]
    first: dict[tuple, int] = {}
    group = np.array([first.setdefault(row, len(first)) for row in zip(*settings, strict=True)], int)
    return table if (np.diff(group) >= 0).all() else table.take(np.argsort(group, kind="stable"))
