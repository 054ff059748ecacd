"""The commands on models: ``crowdjax fit``, ``predict``, ``look`` and ``context``, thin wrappers of the facades."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from crowdjax.cli.common import (
    LABELS,
    MODELS,
    Columns,
    From,
    InstanceFeatures,
    LabelerFeatures,
    LabelsArgument,
    Out,
    Positive,
    Report,
    columns_of,
    errors,
    library,
    progress_bar,
    tell,
)


def fit(
    labels: Annotated[str, typer.Argument(metavar="LABELS", help=LABELS)],
    out: Out,
    model: Annotated[str, typer.Option(help=MODELS)] = "dawid-skene",
    factors: Annotated[
        str, typer.Option(metavar="N", help="Number of factors: of factor any or auto, of integrated 1 or 2.")
    ] = "1",
    labeler_features: LabelerFeatures = None,
    instance_features: InstanceFeatures = None,
    gold: Annotated[str | None, typer.Option(metavar="T", help="Table of known truth: instance, label.")] = None,
    scores: Annotated[
        str | None,
        typer.Option(metavar="T", help="Table: instance, score; where integrated and auto part the classes."),
    ] = None,
    class_prior: Annotated[str, typer.Option(help="P(truth = 1): a number, learn or logistic.")] = "0.5",
    repeats: Annotated[str, typer.Option(help="Repeated judgements: count, first, last or mean.")] = "count",
    solver: Annotated[str, typer.Option(help="auto, em, lbfgs, em-cg or em-bound.")] = "auto",
    restarts: Annotated[int | None, typer.Option(metavar="N", help="Starts; the best is kept; default 1 or 4")] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Draws the starts of factors beyond the first.")] = 0,
    columns: Columns = None,
    form: From = None,
    positive: Positive = None,
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
    report: Report = False,
) -> None:
    """Fit a model to LABELS; write instances.parquet, labelers.parquet, fit.json and the fit itself to a folder."""
    with errors():
        results, api = library(devices)
        results.check_out(out)
        settings = dict(
            factors=_whole(factors),
            class_prior=_prior(class_prior),
            repeats=repeats,
            solver=solver,
            restarts=restarts,
            seed=seed,
            columns=columns_of(columns),
            positive=positive,
            devices=devices,
        )
        tables = dict(labeler_features=labeler_features, instance_features=instance_features, gold=gold, scores=scores)
        if minibatch is None:
            result = api.fit(labels, model, **settings, **tables, boundary=boundary, form=form)
            result.save(out, report=report)
        else:
            no_pieces = {"boundary": boundary, "from": None if form == "long" else form, "report": report or None}
            _refuse_with_minibatch(tables | no_pieces)
            with progress_bar() as progress:
                result = api.fit_large(labels, out, model, batch=minibatch, **settings, progress=progress)
        tell(result, out)


def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `crowdjax fit` wrote.")],
    labels: LabelsArgument,
    out: Out,
    labeler_features: LabelerFeatures = None,
    instance_features: InstanceFeatures = None,
    columns: Columns = None,
    form: From = None,
) -> None:
    """Judge new instances by LABELS and the fit in DIR; write instances.parquet and predict.json to a folder."""
    with errors():
        results, api = library()
        results.check_out(out)
        result = api.load(folder).predict(
            labels,
            labeler_features=labeler_features,
            instance_features=instance_features,
            columns=columns_of(columns),
            form=form,
        )
        result.save(out)
        tell(result, out)


def look(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A fit of the model integrated or auto.")],
    labels: LabelsArgument,
    out: Out,
    instance_features: InstanceFeatures = None,
    replicates: Annotated[int, typer.Option(metavar="N", help="Sets of labels that the model gives; 19 or more.")] = 99,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of the replicates.")] = 0,
    columns: Columns = None,
    form: From = None,
    report: Report = False,
) -> None:
    """What the fit in DIR misses in its LABELS, and who is who: look.json, labelers.parquet, instances.parquet."""
    with errors():
        results, api = library()
        from crowdjax import look_api

        results.check_out(out)
        settings = dict(instance_features=instance_features, replicates=replicates, seed=seed)
        result = look_api.look(api.load(folder), labels, **settings, columns=columns_of(columns), form=form)
        result.save(out, report=report)
        tell(result, out)


def context(
    labels: LabelsArgument,
    scores: Annotated[str, typer.Option(metavar="T", help="Table: instance, one or more numeric columns.")],
    out: Out,
    weights: Annotated[str | None, typer.Option(metavar="T", help="Sampling weights: instance, weight.")] = None,
    population: Annotated[
        str | None,
        typer.Option(metavar="T", help="Scores of the population, in columns as in --scores; weight or count."),
    ] = None,
    gold: Annotated[str | None, typer.Option(metavar="T", help="Table of known truth: instance, label.")] = None,
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
    form: From = None,
    positive: Positive = None,
    report: Report = False,
) -> None:
    """Fit prevalence and accuracy as functions of a score; write tables, figures and the fit to a folder."""
    with errors():
        results, _ = library()
        from crowdjax import context_api

        results.check_out(out)
        with progress_bar() as progress:
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
                columns=columns_of(columns),
                form=form,
                positive=positive,
                progress=progress,
            )
        result.save(out, report=report)
        tell(result, out)
        if not sys.stdout.isatty():
            for sentence in result.warnings:
                sys.stderr.write(f"crowdjax: note: {sentence}\n")


def _refuse_with_minibatch(tables: dict[str, str | None]) -> None:
    from crowdjax.labels import InputError

    for name, table in tables.items():
        if table is not None:
            option = name.replace("_", "-")
            raise InputError(f"--{option}: got {table} with --minibatch; allowed: without --{option}, or all in memory")


def _whole(given: str) -> int | str:
    """A number of factors; text that is none goes on to be refused with what is allowed."""
    return int(given) if given.isdecimal() else given


def _prior(given: str) -> float | str:
    try:
        return float(given)
    except ValueError:
        return given
