"""Shared parts of all commands: the app, its common options, setup of the library, and the closing report.

What takes time to import is imported inside the functions, so that ``--help`` is quick.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import inspect
import logging
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import typer
import typer.core

from crowdjax import extras, programs
from crowdjax.cli import logs
from crowdjax.cli.help import Command, Compact
from crowdjax.cli.progress import Progress

LOG = logging.getLogger("crowdjax")
SEPARATED = re.compile(r",(?=\s*[A-Za-z_.]+\s*=)")  # the commas of --columns
WHOLE = re.compile(r"[+-]?(0|[1-9]\d*)", re.ASCII)
LONG = 0.5  # seconds of compiling that are worth telling

RENAMED = {"look": "check"}  # commands of crowdjax 0.1


class Group(Compact, typer.core.TyperGroup):
    """A group of commands; usage errors, too, are one line on stderr and exit status 2."""

    def get_command(self, ctx: typer.Context, cmd_name: str):
        new = RENAMED.get(cmd_name)
        if new is None:
            return super().get_command(ctx, cmd_name)
        print(f"crowdjax {cmd_name} is now crowdjax {new}; the old name is gone in crowdjax 0.4", file=sys.stderr)
        return super().get_command(ctx, new)

    def main(self, *args, standalone_mode: bool = True, **extra):
        if not standalone_mode:
            return super().main(*args, standalone_mode=False, **extra)
        try:
            with sigterm_interrupts():
                status = super().main(*args, standalone_mode=False, **extra)
        except (typer.Abort, KeyboardInterrupt):
            status = fail("stopped", 1)
        except Exception as error:
            message = getattr(error, "format_message", None)  # the class of usage errors is private to typer
            if message is None:
                raise
            status = fail(message(), 2)
        sys.exit(status if isinstance(status, int) else 0)


class App(typer.Typer):
    """Commands with compact help, and with ``--verbose`` and ``--quiet`` before or after their names; alone it prints
    its help."""

    def __init__(self, version: bool = False, **settings):
        plain = dict(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        before = _or_version if version else _before_the_name
        super().__init__(cls=Group, callback=before, invoke_without_command=True, **plain, **settings)

    def command(self, name: str | None = None, **settings):
        register = super().command(name, cls=Command, **settings)
        return lambda function: register(_after_the_name(function)) and function


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """End a command on SIGTERM as on Ctrl-C: with one line, and nothing half-written."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more (--verbose)")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="errors only (--quiet)")]


def _before_the_name(context: typer.Context, verbose: Verbose = False, quiet: Quiet = False) -> None:
    context.obj = _level(context, verbose, quiet)
    if context.invoked_subcommand is None:
        print(context.get_help())


def _or_version(
    context: typer.Context,
    verbose: Verbose = False,
    quiet: Quiet = False,
    version: Annotated[bool, typer.Option("--version", help="Print the versions of crowdjax and JAX")] = False,
) -> None:
    if version:
        print(versions())
        raise typer.Exit()
    _before_the_name(context, verbose, quiet)


def versions() -> str:
    """Format the version of crowdjax and, in brackets, those of Python, JAX and NumPy."""
    from importlib import metadata

    from crowdjax import __version__

    found = [f"Python {'.'.join(map(str, sys.version_info[:3]))}"]
    for name in ("jax", "jaxlib", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found.append(f"{name} {metadata.version(name)}")
    return f"crowdjax {__version__} ({', '.join(found)})"


def _after_the_name(function):
    """Add the options --verbose and --quiet to a command."""

    @functools.wraps(function)
    def command(context: typer.Context, verbose: bool, quiet: bool, **settings):
        with logs.said(_level(context, verbose, quiet)):
            return function(**settings)

    def more(context: typer.Context, verbose: Verbose = False, quiet: Quiet = False) -> None: ...

    parameters = [p for f in (function, more) for p in inspect.signature(f, eval_str=True).parameters.values()]
    by_name = inspect.Parameter.KEYWORD_ONLY
    command.__signature__ = inspect.Signature([p.replace(kind=by_name) for p in parameters])
    command.__annotations__ = {p.name: p.annotation for p in parameters}
    return command


def _level(context: typer.Context, verbose: bool, quiet: bool) -> int:
    if verbose and quiet:
        raise typer.BadParameter("--verbose and --quiet: given both; allowed: one of them")
    return logs.VERBOSE if verbose else logs.QUIET if quiet else context.obj or logs.NOTICE


TABLES, MODEL, FITTING = "Tables", "Model", "Fitting"  # headings of a command's help
LABELS = "Path or URL: CSV, Parquet, a folder of them, an export"
LabelsArgument = Annotated[str, typer.Argument(metavar="LABELS", help=LABELS)]
LabelerFeatures = Annotated[
    str | None, typer.Option(metavar="T", rich_help_panel=TABLES, help="Labeler, numeric columns")
]
InstanceFeatures = Annotated[
    str | None, typer.Option(metavar="T", rich_help_panel=TABLES, help="Instance, numeric columns")
]
Gold = Annotated[
    str | None, typer.Option(metavar="T", rich_help_panel=TABLES, help="Known truth: instance, label (and chance)")
]
Columns = Annotated[
    str | None,
    typer.Option(metavar="ROLE=NAME", rich_help_panel=TABLES, help="labeler=worker,...; gold.instance=id,..."),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="FORM", rich_help_panel=TABLES, help="long, wide, wide-by-labeler, counts or an export"
    ),
]
Positive = Annotated[
    str | None,
    typer.Option(metavar="V", rich_help_panel=TABLES, help="Value to treat as positive when labels are words"),
]
Order = Annotated[
    str | None,
    typer.Option(metavar="V,V", rich_help_panel=TABLES, help="Label values in order, such as low,high"),
]
Truth = Annotated[
    str | None, typer.Option(metavar="V,V", rich_help_panel=TABLES, help="Values of the truth, if labels have more")
]
Classes = Annotated[str, typer.Option(metavar="WORD", rich_help_panel=MODEL, help="nominal, ordinal or exchangeable")]
OverScore = Annotated[
    str, typer.Option(metavar="WORD", rich_help_panel=MODEL, help="Function of the score: gp, linear or constant")
]
LabelersDiffer = Annotated[
    str, typer.Option(metavar="WORD", rich_help_panel=MODEL, help="Labelers: global (equal), offset or function")
]
Missing = Annotated[
    str | None,
    typer.Option(metavar="V,V", rich_help_panel=TABLES, help="Values that are not labels, such as unsure,skip"),
]
NoHeader = Annotated[
    bool, typer.Option("--no-header", rich_help_panel=TABLES, help="LABELS has no header; columns are 1, 2, 3, ...")
]
ScoreColumns = Annotated[
    str | None, typer.Option(metavar="A,B", rich_help_panel=TABLES, help="Score columns in the table of scores")
]
Report = Annotated[bool, typer.Option("--report", help="Also write report.html, a page to read, print and send")]


def _folder(text: str) -> Path:
    if not text:  # an unset variable of a shell; Path would take it for the working directory
        raise typer.BadParameter("empty; allowed: a folder (. is the working directory)")
    return Path(text)


Out = Annotated[
    Path, typer.Option(metavar="DIR", parser=_folder, help="Folder of the result; replaces an earlier result")
]


def library(devices: int | None = None):
    """Prepare JAX for the commands at once; return the modules (saving, api)."""
    found = on_demand(devices)
    programs.ready()
    return found


def on_demand(devices: int | None = None):
    """Return the modules (saving, api), with JAX prepared on first use: the compilation cache is switched on, and the
    cores of a CPU become ``devices`` devices."""
    from crowdjax import api, saving, tables

    tables.without_pandas()
    programs.first(functools.partial(_start, devices))
    return saving, api


def _start(devices: int | None) -> None:
    import jax

    from crowdjax import parallel

    with contextlib.suppress(RuntimeError):  # JAX runs already: it has the devices it has
        parallel.use_cores(devices)
    prepare_jax()
    LOG.info("%d device(s): %s", jax.device_count(), jax.devices()[0].device_kind, extra={"fields": {"event": "ready"}})


def prepare_jax() -> None:
    """Set up atomic additions on a GPU, the cache of compiled programs (``crowdjax.programs``) and log records of slow
    compilations. Call it before any other use of JAX."""
    from crowdjax import atomics

    atomics.use_native()
    programs.keep()
    _listen_to_compiling()


@functools.cache
def _listen_to_compiling() -> None:
    import jax

    def tell(event: str, seconds: float, fun_name: str = "a program", **_) -> None:
        if event == "/jax/core/compile/backend_compile_duration" and seconds >= LONG:
            fields = {"event": "compiled", "program": fun_name, "seconds": round(seconds, 3)}
            LOG.info("compiled %s in %.1f s", fun_name, seconds, extra={"fields": fields})

    jax.monitoring.register_event_duration_secs_listener(tell)


@contextlib.contextmanager
def errors():
    """Convert exceptions to one line on stderr and an exit status."""
    try:
        with libraries_to_the_log():
            yield
    except typer.Exit:
        raise
    except BrokenPipeError:  # who reads the output has enough, as head has
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the interpreter flushes it at its end
        raise typer.Exit(0) from None
    except KeyboardInterrupt as stop:
        raise typer.Exit(fail(str(stop) or "stopped", 1)) from None
    except Exception as error:  # whatever it is: one line, no traceback
        from crowdjax.labels import InputError

        absent = extras.missing(error)
        wrong = isinstance(error, InputError) or absent is not None
        told = isinstance(error, InputError) or type(error).__name__ in ("FitError", "DownloadError")
        text = absent or (str(error) if told else unforeseen(error))
        raise typer.Exit(fail(text, 2 if wrong or is_unwritable(error) else 1)) from None


@contextlib.contextmanager
def libraries_to_the_log() -> Iterator[None]:
    """Show Python's warnings with ``-v`` only: libraries address them to programmers; :func:`note` prints the warnings
    about a result."""

    def tell(message, category, filename, lineno, file=None, line=None) -> None:
        fields = {"event": "warning", "category": category.__name__}
        LOG.info("%s: %s", category.__name__, message, extra={"fields": fields})

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        warnings.showwarning = tell
        yield


def is_unwritable(error: Exception) -> bool:
    """Test whether the error is a full or read-only disk."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def unforeseen(error: Exception) -> str:
    """Describe an unexpected error in one line: its type and message; for memory errors, what needs less."""
    from crowdjax.labels import one_line
    from crowdjax.memory import LESS, is_full

    text = f"{type(error).__name__}: {one_line(error)}"
    if is_unwritable(error):
        return f"{text}; needed: a disk that can be written to and has room. What is done is kept"
    return f"out of memory ({text}); {LESS}" if is_full(error) else text


def columns_of(given: str | None, score_columns: str | None = None) -> dict[str, str | list[str]] | None:
    """Parse ``labeler=worker,gold.instance=task`` to a dict; a role that occurs several times gets a list of names.

    A comma separates where a role follows it, so that names may hold commas.
    """
    from crowdjax.labels import InputError

    pairs = [] if given is None else [part.partition("=") for part in SEPARATED.split(given)]
    for role, sign, name in pairs:
        if not (role.strip() and sign and name.strip()):
            raise InputError(
                f"--columns: got {given!r}; allowed: ROLE=NAME,ROLE=NAME, as labeler=worker,instance=task,label=answer,"
                " or TABLE.ROLE=NAME, as gold.instance=question"
            )
    names: dict[str, list[str]] = {}
    for role, _, name in pairs:
        names.setdefault(role.strip(), []).append(name.strip())
    if score_columns is not None:
        if "scores.score" in names:
            raise InputError("--score-columns: given beside --columns scores.score=...; allowed: one of them")
        names["scores.score"] = [name.strip() for name in score_columns.split(",")]
    return {role: found[0] if len(found) == 1 else found for role, found in names.items()} or None


def reading_of(
    columns: str | None, form: str | None, missing: str | None, no_header: bool, score_columns: str | None = None
) -> dict:
    """Collect the settings for reading tables as arguments of the library's functions."""
    return dict(
        columns=columns_of(columns, score_columns),
        form=form,
        missing=[] if missing is None else [value.strip() for value in missing.split(",")],
        header=not no_header,
    )


def values_of(given: str | None) -> list[str | int] | None:
    """Parse ``low,high`` to a list; whole numbers where all of it is.

    Example:
        >>> values_of("low,high"), values_of("-1,0,1"), values_of("007,1")
        (['low', 'high'], [-1, 0, 1], ['007', '1'])
    """
    if given is None:
        return None
    values = [value.strip() for value in given.split(",")]
    return [int(v) for v in values] if all(WHOLE.fullmatch(v) for v in values) else values


def note(sentences: Iterable[str]) -> None:
    """Print the warnings about a result on stderr, one line each, on a terminal or not; only ``-q`` silences them."""
    for sentence in sentences:
        LOG.warning("crowdjax: note: %s", on_a_line(sentence), extra={"fields": {"event": "note"}})


def refuse_own(folder: Path, out: Path) -> None:
    """Reject an output that would replace the fit it was made from."""
    from crowdjax.labels import InputError

    if folder.exists() and out.exists() and folder.samefile(out):
        raise InputError(f"--out {out}: the fit itself, which would be lost; allowed: another folder")


def finish(result, out: Path, progress: Progress | None = None) -> None:
    """Report a saved result: its warnings on stderr, its log in its folder, a few lines on a terminal. Exit status 1 if
    its fit was stopped before it converged."""
    from crowdjax import saving

    note(result.warnings)
    tell(result, out)
    log = logs.recorded()
    if log:
        saving.add_file(out, "log.jsonl", log)
    ended = result.record.get("converged", not result.record.get("stopped", False))
    if progress is not None and progress.stopped and not ended:
        raise typer.Exit(fail(f"stopped before the fit converged; what it has is in {out}", 1))


def tell(result, out: Path) -> None:
    """Print a few lines about a result to a terminal; to a pipe or a file its headlines alone."""
    record = result.record
    sizes = ", ".join(f"{record['n_' + what]:,} {what}" for what in ("labels", "labelers", "instances"))
    done = record.get("result", "done")  # predictions and checks have nothing to converge
    text = f"{record['model']}: {sizes}; {done} in {record['seconds']:.1f} s"
    LOG.info("%s", text, extra={"fields": {"event": "done", "seconds": round(record["seconds"], 3)}})
    for line in result.headlines:
        LOG.info("%s", line, extra={"fields": {"event": "found"}})
    if logs.is_quiet():
        return
    if not at_a_terminal():
        for line in result.headlines:
            typer.echo(line)
        return
    from rich.console import Console

    console = Console(highlight=False)
    console.print(text, style="bold", markup=False, soft_wrap=True)
    for line in result.headlines:
        console.print(line, markup=False, soft_wrap=True)
    console.print(f"written to {out}", markup=False, soft_wrap=True)


def at_a_terminal() -> bool:
    """Test whether the output goes to a terminal."""
    return sys.stdout.isatty()


def fail(text: str, status: int) -> int:
    sys.stderr.write(f"crowdjax: {on_a_line(text)}\n")
    return status


def on_a_line(text: str) -> str:
    """Convert text to one line, with control characters replaced by blanks."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
