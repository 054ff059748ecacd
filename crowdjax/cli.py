"""The command line: ``crowdjax fit``, ``predict`` and ``context``, thin wrappers of the facades.

Exit status: 0 done, 1 the run failed, 2 the input is wrong; the last two with one line on stderr and nothing written.
What takes time to import is imported inside the commands, so that ``--help`` is quick.
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
            status = _fail("stopped", 1)
        except Exception as error:
            message = getattr(error, "format_message", None)  # the class of usage errors is private to typer
            if message is None:
                raise
            status = _fail(message(), 2)
        sys.exit(status if isinstance(status, int) else 0)


app = typer.Typer(
    cls=OneLine,
    help="The truth behind labels from a crowd, how sure it is, and who is good at what.",
    add_completion=False,
    pretty_exceptions_enable=False,
)

LABELS = "CSV, Parquet or a folder of Parquet with columns labeler, instance, label."
MODELS = "majority, one-coin, dawid-skene, glad, glad-linear, factor, integrated or auto."
LabelsArgument = Annotated[Path, typer.Argument(metavar="LABELS", help=LABELS)]
LabelerFeatures = Annotated[Path | None, typer.Option(metavar="T", help="Table: labeler, numeric columns.")]
InstanceFeatures = Annotated[Path | None, typer.Option(metavar="T", help="Table: instance, numeric columns.")]
Columns = Annotated[str | None, typer.Option(metavar="ROLE=NAME,...", help="Which column is which: labeler=worker,...")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for the result; an earlier result there is replaced.")]


@app.command()
def fit(
    labels: Annotated[str, typer.Argument(metavar="LABELS", help=LABELS)],
    out: Out,
    model: Annotated[str, typer.Option(help=MODELS)] = "dawid-skene",
    factors: Annotated[
        str, typer.Option(metavar="N", help="Number of factors: of factor any or auto, of integrated 1 or 2.")
    ] = "1",
    labeler_features: LabelerFeatures = None,
    instance_features: InstanceFeatures = None,
    gold: Annotated[Path | None, typer.Option(metavar="T", help="Table of known truth: instance, label.")] = None,
    scores: Annotated[
        Path | None,
        typer.Option(metavar="T", help="Table: instance, score; where integrated and auto part the classes."),
    ] = None,
    class_prior: Annotated[str, typer.Option(help="P(truth = 1): a number, learn or logistic.")] = "0.5",
    repeats: Annotated[str, typer.Option(help="Repeated judgements: count, first, last or mean.")] = "count",
    solver: Annotated[str, typer.Option(help="auto, em, lbfgs, em-cg or em-bound.")] = "auto",
    restarts: Annotated[int | None, typer.Option(metavar="N", help="Starts; the best is kept; default 1 or 4")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Draws the starts of factors beyond the first.")] = 0,
    columns: Columns = None,
    minibatch: Annotated[
        int | None,
        typer.Option(metavar="N", help="Labels in memory at a time, for a folder of Parquet larger than memory."),
    ] = None,
    devices: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Devices; on a CPU, cores; default: all, where that pays.")
    ] = None,
    boundary: Annotated[
        str | None,
        typer.Option(help="Where integrated and auto take the classes to meet: able, gap, unweighted, gold or score."),
    ] = None,
) -> None:
    """Fit a model to LABELS; write instances.parquet, labelers.parquet, fit.json and the fit itself to a folder."""
    with _errors():
        results, api = _library(devices)
        results.check_out(out)
        settings = dict(
            factors=_whole(factors),
            class_prior=_prior(class_prior),
            repeats=repeats,
            solver=solver,
            restarts=restarts,
            seed=seed,
            columns=_columns(columns),
            devices=devices,
        )
        tables = dict(labeler_features=labeler_features, instance_features=instance_features, gold=gold, scores=scores)
        if minibatch is None:
            result = api.fit(labels, model, **settings, **tables, boundary=boundary)
            result.save(out)
        else:
            _refuse_with_minibatch(tables | {"boundary": boundary})
            with _progress() as progress:
                result = api.fit_large(labels, out, model, batch=minibatch, **settings, progress=progress)
        _tell(result, out)


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `crowdjax fit` wrote.")],
    labels: LabelsArgument,
    out: Out,
    labeler_features: LabelerFeatures = None,
    instance_features: InstanceFeatures = None,
    columns: Columns = None,
) -> None:
    """Judge new instances by LABELS and the fit in DIR; write instances.parquet and predict.json to a folder."""
    with _errors():
        results, api = _library()
        results.check_out(out)
        result = api.load(folder).predict(
            labels,
            labeler_features=labeler_features,
            instance_features=instance_features,
            columns=_columns(columns),
        )
        result.save(out)
        _tell(result, out)


@app.command()
def look(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A fit of the model integrated or auto.")],
    labels: LabelsArgument,
    out: Out,
    instance_features: InstanceFeatures = None,
    replicates: Annotated[int, typer.Option(metavar="N", help="Sets of labels that the model gives; 19 or more.")] = 99,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the replicates.")] = 0,
    columns: Columns = None,
) -> None:
    """What the fit in DIR misses in its LABELS, and who is who: look.json, labelers.parquet, instances.parquet."""
    with _errors():
        results, api = _library()
        from crowdjax import look_api

        results.check_out(out)
        settings = dict(instance_features=instance_features, replicates=replicates, seed=seed)
        result = look_api.look(api.load(folder), labels, **settings, columns=_columns(columns))
        result.save(out)
        _tell(result, out)


@app.command()
def context(
    labels: LabelsArgument,
    scores: Annotated[Path, typer.Option(metavar="T", help="Table: instance, one or more numeric columns.")],
    out: Out,
    weights: Annotated[Path | None, typer.Option(metavar="T", help="Sampling weights: instance, weight.")] = None,
    population: Annotated[
        Path | None,
        typer.Option(metavar="T", help="Scores of the population, in columns as in --scores; weight or count."),
    ] = None,
    gold: Annotated[Path | None, typer.Option(metavar="T", help="Table of known truth: instance, label.")] = None,
    prevalence: Annotated[str, typer.Option(help="gp, linear or constant in the score.")] = "gp",
    accuracy: Annotated[str, typer.Option(help="gp, linear or constant in the score.")] = "gp",
    labelers: Annotated[str, typer.Option(help="How labelers differ: global (not), offset or function.")] = "offset",
    constraint: Annotated[
        str, typer.Option(help="ordered: sensitivity + specificity > 1; both: each > 1/2; or free.")
    ] = "ordered",
    increasing: Annotated[
        bool, typer.Option("--increasing", help="The prevalence may only rise with the score.")
    ] = False,
    transform: Annotated[
        str, typer.Option(help="Of the scores before all else: identity, logit or rank.")
    ] = "identity",
    inference: Annotated[str | None, typer.Option(help="nuts, svi or laplace; by default by size.")] = None,
    draws: Annotated[
        int | None, typer.Option(metavar="N", help="Posterior draws (of each chain); default 500.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Draws chains and samples.")] = 0,
    columns: Columns = None,
) -> None:
    """Fit prevalence and accuracy as functions of a score; write tables, figures and the fit to a folder."""
    with _errors():
        results, _ = _library()
        from crowdjax import context_api

        results.check_out(out)
        with _progress() as progress:
            result = context_api.context(
                labels,
                scores,
                weights=weights,
                population=population,
                gold=gold,
                prevalence=prevalence,
                accuracy=accuracy,
                labelers=labelers,
                constraint=constraint,
                increasing=increasing,
                transform=transform,
                inference=inference,
                draws=draws,
                seed=seed,
                columns=_columns(columns),
                progress=progress,
            )
        result.save(out)
        _tell(result, out)
        if not sys.stdout.isatty():
            for sentence in result.warnings:
                sys.stderr.write(f"crowdjax: note: {sentence}\n")


def main() -> None:
    """The console script."""
    app()


def cache_folder() -> Path | None:
    """Where compiled programs are kept: $CROWDJAX_CACHE, or the user's cache folder; None where that is 0 or off."""
    given = os.environ.get("CROWDJAX_CACHE")
    if given is not None:
        return None if given.lower() in ("", "0", "off", "none") else Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crowdjax"


def _library(devices: int | None = None):
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
def _errors():
    """Turns what goes wrong into one line and an exit status."""
    try:
        with warnings.catch_warnings(action="ignore"):  # what a user should know is in the result's own warnings
            yield
    except typer.Exit:
        raise
    except Exception as error:  # whatever it is: one line, no traceback
        from crowdjax.labels import InputError

        wrong = isinstance(error, InputError)
        told = wrong or type(error).__name__ == "FitError"
        text = str(error) if told else f"{type(error).__name__}: {error}"
        raise typer.Exit(_fail(text, 2 if wrong else 1)) from None


@contextlib.contextmanager
def _progress():
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


def _refuse_with_minibatch(tables: dict[str, Path | str | None]) -> None:
    from crowdjax.labels import InputError

    for name, table in tables.items():
        if table is not None:
            option = name.replace("_", "-")
            raise InputError(f"--{option}: got {table} with --minibatch; allowed: without --{option}, or all in memory")


def _columns(given: str | None) -> dict[str, str] | None:
    """``labeler=worker,instance=task`` as a dict."""
    from crowdjax.labels import InputError

    pairs = [] if given is None else [part.partition("=") for part in given.split(",")]
    for role, sign, name in pairs:
        if not (role and sign and name):
            raise InputError(f"--columns: got {given!r}; allowed: labeler=NAME,instance=NAME,label=NAME,weight=NAME")
    return {role.strip(): name.strip() for role, _, name in pairs} or None


def _whole(given: str) -> int | str:
    """A number of factors; text that is none goes on to be refused with what is allowed."""
    return int(given) if given.isdecimal() else given


def _prior(given: str) -> float | str:
    try:
        return float(given)
    except ValueError:
        return given


def _tell(result, out: Path) -> None:
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


def _fail(text: str, status: int) -> int:
    sys.stderr.write(f"crowdjax: {' '.join(text.split())}\n")
    return status


if __name__ == "__main__":
    main()
