"""Sheets of Excel workbooks, by openpyxl (the extra ``excel``)."""

from __future__ import annotations

import io
from collections.abc import Callable

import pyarrow as pa

from crowdjax import memory
from crowdjax.columns import column_of, listed
from crowdjax.extras import needed
from crowdjax.files import SMALLER, File, reading
from crowdjax.labels import InputError


def open_sheet(
    file: File, place: str, sheet: str | None, header: bool
) -> tuple[list[str], Callable[[list[str]], pa.Table], str]:
    """Return (the names of the columns, what reads some of them, which sheet it is) of a workbook.

    Args:
        sheet: its name; may be left out where only one sheet holds anything.
        header: whether the first row names the columns; if not, they are called 1, 2, 3 and so on.
    """
    with needed(place):
        import openpyxl
    with reading(place, "Excel"):
        packed = io.BytesIO(file.content())
        memory.refuse_host(memory.unpacked_size(packed), f"{place}: its sheets need", SMALLER)
        book = openpyxl.load_workbook(packed, read_only=True, data_only=True)
        sheets = {s.title: _trimmed(s.values) for s in book.worksheets if sheet in (None, s.title)}
    full = [name for name, rows in sheets.items() if rows]
    if sheet is not None and sheet not in sheets:
        raise InputError(f"{place}: no sheet {sheet!r}; found: {listed(book.sheetnames)}")
    if len(full) > 1:
        raise InputError(f"{place}: sheets {listed(full)}; say which, as the end of the path: '{file.path}#{full[0]}'")
    if not full:
        raise InputError(f"{place}: no cell is filled; needed: a header and at least one row")
    rows = sheets[full[0]]
    width = max(map(len, rows))
    rows = [[*row, *[None] * (width - len(row))] for row in rows]
    names = [str(k + 1) for k in range(width)]
    if header:
        names = ["" if name is None else str(name).strip() for name in rows.pop(0)]
    columns = dict(zip(names, zip(*rows, strict=True) if rows else [()] * width, strict=True))

    def read(wanted: list[str]) -> pa.Table:
        return pa.table({n: column_of(list(columns[n]), place, n) for n in wanted})

    return names, read, f" (sheet {full[0]!r})"


def _trimmed(values) -> list[list]:
    """Return the rows of a sheet without empty ones, each without empty cells at its end."""
    rows = []
    for row in values:
        cells = [None if isinstance(v, str) and not v.strip() else v for v in row]
        while cells and cells[-1] is None:
            cells.pop()
        if cells:
            rows.append(cells)
    return rows
