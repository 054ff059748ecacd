"""What all commands share: the group that reports errors, the library made ready, progress, and a few lines at the end.

What takes time to import is imported inside the functions, so that ``--help`` is quick.
"""

from __future__ import annotations

import contextlib
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated

import typer
import typer.core


class OneLine(typer.core.TyperGroup):
    """The group of commands; usage errors, too, are one line on stderr and exit status 2."""

    def main(self, *args, standalone_mode: bool = True, **extra):
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)
        try:
            status = super().main(*args, standalone_mode=False, **extra)
        except typer.Abort:
            status = fail("stopped", 1)
        except Exception as error:
            message = getattr(error, "format_message", None)  # the class of usage errors is private to typer
            if message is None:
                raise
            status = fail(message(), 2)
        sys.exit(status if isinstance(status, int) else 0)


LABELS = (
    "Path or URL of CSV, Parquet or a folder of either, with columns labeler, instance, label; or of an export of "
    "Label Studio or Prodigy."
)
MODELS = "majority, one-coin, dawid-skene, glad, glad-linear, factor, integrated or auto."
LabelsArgument = Annotated[str, typer.Argument(metavar="LABELS", help=LABELS)]
LabelerFeatures = Annotated[str | None, typer.Option(metavar="T", help="Table: labeler, numeric columns.")]
InstanceFeatures = Annotated[str | None, typer.Option(metavar="T", help="Table: instance, numeric columns.")]
Columns = Annotated[str | None, typer.Option(metavar="ROLE=NAME,...", help="Which column is which: labeler=worker,...")]
From = Annotated[
    str | None,
    typer.Option("--from", metavar="FORM", help="long, wide (a column for every labeler), label-studio or prodigy."),
]
Positive = Annotated[
    str | None, typer.Option(metavar="WORD", help="Of labels in two words, the one that stands for 1.")
]
Report = Annotated[bool, typer.Option("--report", help="Also write report.html, a page to read, print and send.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for the result; an earlier result there is replaced.")]


def cache_folder() -> Path | None:
    """Where compiled programs are kept: $CROWDJAX_CACHE, or the user's cache folder; None where that is 0 or off."""
    given = os.environ.get("CROWDJAX_CACHE")
    if given is not None:
        return None if given.lower() in ("", "0", "off", "none") else Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crowdjax"


def library(devices: int | None = None):
    """(results, api), with the cache of compiled programs switched on and the cores of a CPU as so many devices."""
    import jax

    from crowdjax import api, parallel, results

    with contextlib.suppress(RuntimeError):  # JAX runs already: it has the devices it has
        parallel.use_cores(devices)
    folder = cache_folder()
    if folder is not None:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    return results, api


@contextlib.contextmanager
def errors():
    """Turns what goes wrong into one line and an exit status."""
    try:
        with warnings.catch_warnings(action="ignore"):  # what a user should know is in the result's own warnings
            yield
    except typer.Exit:
        raise
    except Exception as error:  # whatever it is: one line, no traceback
        from crowdjax.labels import InputError

        wrong = isinstance(error, InputError)
        told = wrong or type(error).__name__ in ("FitError", "DownloadError")
        text = str(error) if told else f"{type(error).__name__}: {error}"
        raise typer.Exit(fail(text, 2 if wrong else 1)) from None


@contextlib.contextmanager
def progress_bar():
    """A function (stage, done, total) that shows how far a fit is, where somebody is looking; else None."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress, TimeElapsedColumn

    with Progress(
        *Progress.get_default_columns(), TimeElapsedColumn(), console=Console(stderr=True), transient=True
    ) as bar:
        tasks = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(stage)
            bar.update(tasks[stage], completed=done, total=total)

        yield report


def columns_of(given: str | None) -> dict[str, str | list[str]] | None:
    """``labeler=worker,instance=task`` as a dict; the names of a role that is there several times as a list."""
    from crowdjax.labels import InputError

    pairs = [] if given is None else [part.partition("=") for part in given.split(",")]
    for role, sign, name in pairs:
        if not (role and sign and name):
            raise InputError(f"--columns: got {given!r}; allowed: labeler=NAME,instance=NAME,label=NAME,weight=NAME")
    names: dict[str, list[str]] = {}
    for role, _, name in pairs:
        names.setdefault(role.strip(), []).append(name.strip())
    return {role: found[0] if len(found) == 1 else found for role, found in names.items()} or None


def tell(result, out: Path) -> None:
    """A few lines about a result, where somebody is looking."""
    if not sys.stdout.isatty():
        return
    from rich.console import Console

    console, record = Console(highlight=False), result.record
    sizes = ", ".join(f"{record['n_' + what]:,} {what}" for what in ("labels", "labelers", "instances"))
    done = record.get("result", "done")  # predictions and looks have nothing to converge
    console.print(f"[bold]{record['model']}[/bold]: {sizes}; {done} in {record['seconds']:.1f} s")
    for sentence in result.warnings:
        console.print(f"[yellow]note[/yellow] {sentence}", soft_wrap=True)
    console.print(f"written to {out}", soft_wrap=True)


def fail(text: str, status: int) -> int:
    sys.stderr.write(f"crowdjax: {' '.join(text.split())}\n")
    return status
