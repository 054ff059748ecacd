"""The commands on data: ``crowdjax convert``, ``describe``, ``data list`` and ``data get``, wrappers of the library."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from crowdjax.cli.common import (
    App,
    Columns,
    From,
    LabelsArgument,
    Missing,
    NoHeader,
    Order,
    Positive,
    Truth,
    at_a_terminal,
    errors,
    note,
    reading_of,
    values_of,
)  # fmt: skip

SETS = """List and get real label sets.

Example: crowdjax data get bluebirds --out bluebirds
"""

sets = App(help=SETS)


def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="Labels in any form; a path or URL")],
    out: Annotated[str, typer.Argument(metavar="DST", help="A new file: .csv, .tsv or .parquet")],
    columns: Columns = None,
    form: From = None,
    missing: Missing = None,
    no_header: NoHeader = False,
    positive: Positive = None,
    order: Order = None,
    wide: Annotated[bool, typer.Option("--wide", help="Write one column per labeler")] = False,
) -> None:
    """Convert labels of any form to a tidy table, or to a wide one.

    A tidy table has the columns labeler, instance and label; two classes are written as 0 and 1.

    Example: crowdjax convert wide.csv labels.parquet --from wide
    """
    with errors():
        from crowdjax import conversion

        reading = reading_of(columns, form, missing, no_header)
        notes = conversion.convert(source, out, wide=wide, positive=positive, order=values_of(order), **reading)
        note(notes)
        if at_a_terminal():
            print(f"written to {out}")


def describe(
    labels: LabelsArgument,
    json: Annotated[bool, typer.Option("--json", help="Print JSON")] = False,
    columns: Columns = None,
    form: From = None,
    missing: Missing = None,
    no_header: NoHeader = False,
    positive: Positive = None,
    order: Order = None,
    truth: Truth = None,
) -> None:
    """Describe LABELS: sizes, repeats, agreement, connected components, and the models that they allow.

    Example: crowdjax describe labels.csv
    """
    with errors():
        from json import dumps

        from crowdjax import description

        reading = reading_of(columns, form, missing, no_header)
        said = dict(positive=positive, order=values_of(order), truth=values_of(truth))
        found = description.describe(labels, **said, **reading)
        note(found.record["notes"])
        plain = dataclasses.replace(found, record=found.record | {"notes": []})  # they are on stderr
        print(dumps(found.record, indent=2, ensure_ascii=False) if json else plain)


@sets.command("list")
def list_sets() -> None:
    """List the sets, with their location, licence and citation.

    Example: crowdjax data list
    """
    with errors():
        from crowdjax import datasets

        print("\n\n".join(map(str, datasets.listed())))


@sets.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A set, see `crowdjax data list`")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Folder for labels, truth, licence and citation")
    ] = None,
) -> None:
    """Locate or download a set; print its location, licence and citation.

    Example: crowdjax data get bluebirds
    """
    with errors():
        from crowdjax import datasets

        print(datasets.get(name, out))
