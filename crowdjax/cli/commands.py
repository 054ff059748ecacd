"""The app with all commands."""

from __future__ import annotations

from crowdjax.cli import data, models, planning
from crowdjax.cli.common import App

HELP = """The truth behind labels from a crowd, how sure it is, and who is good at what.

Example: crowdjax fit labels.csv --out result
"""

app = App(help=HELP, version=True)
for command in (models.fit, models.predict, models.look, models.context, planning.plan, data.convert, data.describe):
    app.command()(command)
app.add_typer(data.sets, name="data")
