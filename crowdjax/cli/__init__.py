"""The command line: ``crowdjax fit``, ``predict``, ``look``, ``context``; ``convert``, ``describe`` and ``data``.

Exit status: 0 done, 1 the run failed, 2 the input is wrong; the last two with one line on stderr and nothing written.
"""

from __future__ import annotations

import typer

from crowdjax.cli import data, models
from crowdjax.cli.common import OneLine, cache_folder

__all__ = ["app", "cache_folder", "main"]

app = typer.Typer(
    cls=OneLine,
    help="The truth behind labels from a crowd, how sure it is, and who is good at what.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (models.fit, models.predict, models.look, models.context, data.convert, data.describe):
    app.command()(command)
app.add_typer(data.sets, name="data")


def main() -> None:
    """The console script."""
    app()
