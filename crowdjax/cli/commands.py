"""The app with all commands."""

from __future__ import annotations

from crowdjax.cli import data, models, monitoring, planning
from crowdjax.cli.common import App

HELP = """The truth behind labels from a crowd, how sure it is, and who is good at what.

Example: crowdjax fit labels.csv --out result
"""

app = App(help=HELP, version=True)
MODELS = models.fit, models.predict, models.check, models.context, monitoring.monitor, planning.plan
for command in (*MODELS, data.convert, data.describe):
    app.command()(command)
app.add_typer(data.sets, name="data")
