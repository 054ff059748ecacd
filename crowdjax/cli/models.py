"""The commands on models: ``crowdjax fit``, ``predict``, ``check`` and ``context``, thin wrappers of the facades."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated

import typer

from crowdjax.cli.common import (
    LABELS,
    MODEL,
    TABLES,
    Classes,
    Columns,
    From,
    Gold,
    InstanceFeatures,
    LabelerFeatures,
    LabelersDiffer,
    LabelsArgument,
    Missing,
    NoHeader,
    Order,
    Out,
    OverScore,
    Positive,
    Report,
    ScoreColumns,
    Truth,
    errors,
    finish,
    library,
    on_demand,
    reading_of,
    refuse_own,
    values_of,
)
from crowdjax.cli.progress import progress_bar

Repeats = Annotated[
    str, typer.Option(metavar="WORD", rich_help_panel=TABLES, help="Repeated judgements: count, first, last, mean")
]
Devices = Annotated[
    int | None,
    typer.Option(metavar="N", rich_help_panel=MODEL, min=1, help="Number of devices; default: the fastest number"),
]
MODELS = "auto (default), majority, one-coin, biased-coin, class-skill, dawid-skene, glad, factor, graded, integrated"


def fit(
    labels: Annotated[str, typer.Argument(metavar="LABELS", help=LABELS)],
    out: Out,
    model: Annotated[str | None, typer.Option(metavar="NAME", rich_help_panel=MODEL, help=MODELS)] = None,
    factors: Annotated[
        str | None,
        typer.Option(metavar="N", rich_help_panel=MODEL, help="Number of factors, or auto; integrated: 1 or 2"),
    ] = None,
    instances: Annotated[
        str | None,
        typer.Option(metavar="WORD", rich_help_panel=MODEL, help="For factor, glad: integrate, or map as published"),
    ] = None,
    labeler_features: LabelerFeatures = None,
    instance_features: InstanceFeatures = None,
    gold: Gold = None,
    scores: Annotated[
        str | None,
        typer.Option(metavar="T", rich_help_panel=TABLES, help="Instance, score: places the decision boundary"),
    ] = None,
    score_columns: ScoreColumns = None,
    class_prior: Annotated[
        str | None,
        typer.Option(metavar="P", rich_help_panel=MODEL, help="P(positive), or P,P,...; learn, uniform or logistic"),
    ] = None,
    repeats: Repeats = "count",
    copies: Annotated[
        str, typer.Option(metavar="WORD", rich_help_panel=MODEL, help="Copying labelers: warn, or once (count as one)")
    ] = "warn",
    solver: Annotated[
        str | None,
        typer.Option(metavar="NAME", rich_help_panel=MODEL, help="em, lbfgs, em-cg or em-bound; default auto"),
    ] = None,
    restarts: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=MODEL, help="Number of starts, with 2 factors or more; default 4"),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            metavar="N", rich_help_panel=MODEL, min=0, max=2**32 - 1, help="Seed of the starts, with 2 factors or more"
        ),
    ] = None,
    columns: Columns = None,
    form: From = None,
    missing: Missing = None,
    no_header: NoHeader = False,
    positive: Positive = None,
    order: Order = None,
    truth: Truth = None,
    classes: Classes = "nominal",
    minibatch: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=MODEL, help="Labels in memory at a time; LABELS may be larger"),
    ] = None,
    devices: Devices = None,
    boundary: Annotated[
        str | None,
        typer.Option(
            metavar="WORD",
            rich_help_panel=MODEL,
            help="Decision boundary: able, gap, unweighted, gold, score",
        ),
    ] = None,
    posterior: Annotated[
        str | None,
        typer.Option(metavar="WORD", rich_help_panel=MODEL, help="Posterior of labelers: axis, laplace or exact"),
    ] = None,
    report: Report = False,
) -> None:
    """Fit a model to LABELS; write instances, labelers and the fit to a folder.

    Example: crowdjax fit labels.csv --model glad --out result
    """
    with errors():
        saving, api = on_demand(devices)
        saving.check_out(out)
        settings = dict(
            factors=None if factors is None else _whole(factors),
            instances=instances,
            class_prior=_prior(class_prior),
            repeats=repeats,
            solver=solver,
            restarts=restarts,
            **({} if seed is None else {"seed": seed}),
            positive=positive,
            order=values_of(order),
            truth=values_of(truth),
            classes=classes,
            devices=devices,
        )
        reading = reading_of(columns, form, missing, no_header, score_columns)
        tables = dict(labeler_features=labeler_features, instance_features=instance_features, gold=gold, scores=scores)
        whole = dict(boundary=boundary, posterior=posterior, copies=copies)
        if minibatch is None:
            with progress_bar() as progress:
                result = api.fit(labels, model or "auto", **settings, **tables, **reading, **whole, progress=progress)
            result.save(out, report=report)
        else:
            no_pieces = {
                "boundary": boundary,
                "posterior": posterior,
                "copies": None if copies == "warn" else copies,
                "from": None if form == "long" else form,
                "report": report or None,
            }
            no_pieces |= {"missing": missing, "no-header": no_header or None, "score-columns": score_columns}
            settings["columns"] = reading["columns"]
            _refuse_with_minibatch(tables | no_pieces)
            with progress_bar() as progress:
                result = api.fit_large(
                    labels, out, model or "dawid-skene", batch=minibatch, **settings, progress=progress
                )
        finish(result, out, progress)


def predict(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that crowdjax fit or context wrote")],
    labels: LabelsArgument,
    out: Out,
    labeler_features: LabelerFeatures = None,
    instance_features: InstanceFeatures = None,
    scores: Annotated[
        str | None, typer.Option(metavar="T", rich_help_panel=TABLES, help="For a contextual fit: instance, score")
    ] = None,
    columns: Columns = None,
    form: From = None,
    missing: Missing = None,
    no_header: NoHeader = False,
) -> None:
    """Infer new instances from LABELS and the fit in DIR; write instances.parquet and predict.json to a folder.

    Example: crowdjax predict result new.csv --out predictions
    """
    with errors():
        saving, _ = library()
        refuse_own(folder, out)
        saving.check_out(out)
        tables = dict(labeler_features=labeler_features, instance_features=instance_features, scores=scores)
        with progress_bar():
            fitted = fitted_in(folder)
            result = fitted.predict(labels, **_used(fitted, tables), **reading_of(columns, form, missing, no_header))
        result.save(out)
        finish(result, out)


def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that crowdjax fit or context wrote")],
    labels: LabelsArgument,
    out: Out,
    instance_features: InstanceFeatures = None,
    replicates: Annotated[int, typer.Option(metavar="N", help="Number of replicated label sets, 19 or more")] = 99,
    seed: Annotated[int, typer.Option(metavar="N", min=0, max=2**32 - 1, help="Seed of the replicates")] = 0,
    columns: Columns = None,
    form: From = None,
    missing: Missing = None,
    no_header: NoHeader = False,
    report: Report = False,
) -> None:
    """Check the fit in DIR against its LABELS; write check.json, labelers.parquet and instances.parquet.

    Example: crowdjax check result labels.csv --out seen
    """
    with errors():
        saving, _ = library()
        from crowdjax import check_api

        refuse_own(folder, out)
        saving.check_out(out)
        settings = dict(instance_features=instance_features, replicates=replicates, seed=seed)
        reading = reading_of(columns, form, missing, no_header)
        with progress_bar():
            result = check_api.check(fitted_in(folder), labels, **settings, **reading)
        result.save(out, report=report)
        finish(result, out)


def context(
    labels: LabelsArgument,
    scores: Annotated[str, typer.Option(metavar="T", help="Instance, score; more by --score-columns")],
    out: Out,
    score_columns: ScoreColumns = None,
    weights: Annotated[
        str | None, typer.Option(metavar="T", rich_help_panel=TABLES, help="Sampling weights: instance, weight")
    ] = None,
    population: Annotated[
        str | None,
        typer.Option(metavar="T", rich_help_panel=TABLES, help="The population's scores (and weight or count)"),
    ] = None,
    gold: Gold = None,
    time: Annotated[
        str | None,
        typer.Option(metavar="NAME", rich_help_panel=MODEL, help="Column of the scores: the period of each instance"),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option(metavar="NAME", rich_help_panel=MODEL, help="Column of the scores: the group of each instance"),
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(metavar="NAME", rich_help_panel=MODEL, help="Column of the scores: what instances are judged for"),
    ] = None,
    previous: Annotated[
        str | None,
        typer.Option(metavar="DIR", rich_help_panel=MODEL, help="Earlier result on other instances, to continue from"),
    ] = None,
    prevalence: OverScore = "gp",
    accuracy: OverScore = "gp",
    labelers: LabelersDiffer = "offset",
    constraint: Annotated[
        str,
        typer.Option(
            metavar="WORD",
            rich_help_panel=MODEL,
            help="Constraint on accuracy: both, ordered or free",
        ),
    ] = "both",
    increasing: Annotated[
        bool, typer.Option("--increasing", rich_help_panel=MODEL, help="The prevalence may only rise with the score")
    ] = False,
    transform: Annotated[
        str, typer.Option(metavar="WORD", rich_help_panel=MODEL, help="Transform of scores: identity, logit or rank")
    ] = "identity",
    approximation: Annotated[
        str | None,
        typer.Option(metavar="WORD", rich_help_panel=MODEL, help="Gaussian processes: hsgp, inducing or exact"),
    ] = None,
    n_basis: Annotated[
        int | None,
        typer.Option(
            "--n-basis", metavar="N", rich_help_panel=MODEL, help="Basis functions of each process; default 32"
        ),
    ] = None,
    combine: Annotated[
        str | None, typer.Option(metavar="WORD", rich_help_panel=MODEL, help="Several scores: additive or tensor")
    ] = None,
    inference: Annotated[
        str | None,
        typer.Option(metavar="NAME", rich_help_panel=MODEL, help="Inference: laplace, nuts or svi"),
    ] = None,
    draws: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=MODEL, help="Posterior draws of each chain; default 500"),
    ] = None,
    repeats: Repeats = "count",
    devices: Devices = None,
    seed: Annotated[
        int,
        typer.Option(metavar="N", rich_help_panel=MODEL, min=0, max=2**32 - 1, help="Seed of chains and samples"),
    ] = 0,
    columns: Columns = None,
    form: From = None,
    missing: Missing = None,
    no_header: NoHeader = False,
    positive: Positive = None,
    report: Report = False,
) -> None:
    """Fit prevalence and accuracy as functions of a score; write them to a folder.

    Example: crowdjax context labels.csv --scores scores.csv --out result
    """
    with errors():
        saving, _ = library(devices)
        from crowdjax import context_api

        saving.check_out(out)
        with progress_bar() as progress:
            result = context_api.context(
                labels,
                scores,
                weights=weights,
                population=population,
                gold=gold,
                time=time,
                group=group,
                kind=kind,
                previous=previous,
                prevalence=prevalence,
                accuracy=accuracy,
                labelers=labelers,
                constraint=constraint,
                increasing=increasing,
                transform=transform,
                approximation=approximation,
                n_basis=n_basis,
                combine=combine,
                inference=inference,
                draws=draws,
                seed=seed,
                positive=positive,
                repeats=repeats,
                devices=devices,
                **reading_of(columns, form, missing, no_header, score_columns),
                progress=progress,
            )
        result.save(out, report=report)
        finish(result, out, progress)


def fitted_in(folder: Path):
    """Load the fit in a folder, whatever its model."""
    from crowdjax import loading
    from crowdjax.labels import InputError

    found = loading.load(folder)
    if not hasattr(found, "predict"):
        held = {"CheckResult": "posterior predictive checks of a fit", "Plan": "a plan"}
        held_here = held.get(type(found).__name__, "predictions of a fit")
        raise InputError(f"{folder}: holds {held_here}; allowed: the folder of the fit")
    return found


def _used(fitted, tables: dict[str, str | None]) -> dict[str, str]:
    """Select the tables that were given; reject those that the fit does not use, and missing ones."""
    from crowdjax.labels import InputError

    given = {name: table for name, table in tables.items() if table is not None}
    taken = inspect.signature(fitted.predict).parameters
    for name in given:
        if name not in taken:
            option = name.replace("_", "-")
            raise InputError(
                f"--{option}: given with a fit of {fitted.record['model']}, which does not use it; leave it out"
            )
    if "scores" in taken and "scores" not in given:
        raise InputError(
            "scores: none given, but the fit is contextual; a table of them is needed (--scores scores.csv)"
        )
    return given


def _refuse_with_minibatch(tables: dict[str, str | None]) -> None:
    from crowdjax.labels import InputError

    for name, table in tables.items():
        if table is not None:
            option = name.replace("_", "-")
            raise InputError(f"--{option}: got {table} with --minibatch; leave one of the two out")


def _whole(given: str) -> int | str:
    """Parse a number of factors; other text is passed on, to be rejected with what is allowed."""
    return int(given) if given.isdecimal() else given


def _prior(given: str | None) -> float | list[float] | str | None:
    """Parse a number, or one for each class; a word is passed on."""
    if given is None:
        return None
    try:
        numbers = [float(part) for part in given.split(",")]
    except ValueError:
        return given
    return numbers[0] if len(numbers) == 1 else numbers
