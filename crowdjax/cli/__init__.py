"""The command line: ``crowdjax fit``, ``predict``, ``look``, ``context``; ``convert``, ``describe`` and ``data``.

Exit status: 0 done, 1 the run failed or was stopped, 2 the input is wrong; the last two with one line on stderr and
nothing half-written.
"""

from __future__ import annotations

from crowdjax.cli import data, models
from crowdjax.cli.common import App, cache_folder

__all__ = ["app", "cache_folder", "main"]

HELP = """The truth behind labels from a crowd, how sure it is, and who is good at what.

Example: crowdjax fit labels.csv --out result
"""

app = App(help=HELP)
for command in (models.fit, models.predict, models.look, models.context, data.convert, data.describe):
    app.command()(command)
app.add_typer(data.sets, name="data")


def main() -> None:
    """The console script."""
    app()
