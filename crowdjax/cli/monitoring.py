"""The command for schedulers: ``crowdjax monitor``, a thin wrapper of ``crowdjax.monitoring``."""

from __future__ import annotations

from typing import Annotated

import typer

from crowdjax.cli.common import (
    LOG,
    MODEL,
    TABLES,
    Columns,
    From,
    Gold,
    LabelersDiffer,
    LabelsArgument,
    Missing,
    OverScore,
    Positive,
    ScoreColumns,
    at_a_terminal,
    errors,
    fail,
    library,
    note,
    on_a_line,
    reading_of,
)
from crowdjax.cli.progress import progress_bar

RULES = "Alerts"
AGAIN = 75  # EX_TEMPFAIL of sysexits.h: a scheduler tries again


def monitor(
    labels: LabelsArgument,
    scores: Annotated[str, typer.Option(metavar="T", help="Instance, score, and the column of --time")],
    time: Annotated[str, typer.Option(metavar="NAME", help="Column of the scores: the period; week=... folders too")],
    out: Annotated[str, typer.Option(metavar="URL", help="Folder or URL to write to; earlier runs there are kept")],
    score_columns: ScoreColumns = None,
    weights: Annotated[
        str | None, typer.Option(metavar="T", rich_help_panel=TABLES, help="Sampling weights: instance, weight")
    ] = None,
    population: Annotated[
        str | None,
        typer.Option(metavar="T", rich_help_panel=TABLES, help="The population's scores, by period; weight or count"),
    ] = None,
    gold: Gold = None,
    columns: Columns = None,
    form: From = None,
    missing: Missing = None,
    positive: Positive = None,
    group: Annotated[
        str | None, typer.Option(metavar="NAME", rich_help_panel=MODEL, help="Column of the scores: the group")
    ] = None,
    prevalence: OverScore = "gp",
    accuracy: OverScore = "gp",
    labelers: LabelersDiffer = "offset",
    inference: Annotated[
        str | None, typer.Option(metavar="NAME", rich_help_panel=MODEL, help="Inference: laplace, nuts or svi")
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", rich_help_panel=MODEL, min=0, max=2**32 - 1, help="Seed of the draws")
    ] = 0,
    limit: Annotated[
        float | None,
        typer.Option(metavar="P", rich_help_panel=RULES, help="Prevalence; an interval above it raises an alert"),
    ] = None,
    sure: Annotated[
        float, typer.Option(metavar="P", rich_help_panel=RULES, help="Probability at which a change raises an alert")
    ] = 0.95,
    least: Annotated[
        float, typer.Option(metavar="P", rich_help_panel=RULES, help="Share of the usual instances; fewer: an alert")
    ] = 0.5,
    expect: Annotated[
        str | None, typer.Option(metavar="PERIOD", rich_help_panel=RULES, help="Period that must be present")
    ] = None,
) -> None:
    """Fit all periods; write results, alerts and a page to a store, once for the same inputs and settings.

    Exit status: 0 nothing to report, 1 failed, 2 wrong input, 3 alerts, 75 try again.

    Example: crowdjax monitor labels --scores scores --time week --out s3://b/found
    """
    with errors():
        library()
        from crowdjax import monitoring
        from crowdjax.labels import Unreachable

        reading = reading_of(columns, form, missing, False, score_columns)
        settings = dict(group=group, prevalence=prevalence, accuracy=accuracy, labelers=labelers, inference=inference,
                        positive=positive)  # fmt: skip
        try:
            with progress_bar() as progress:
                found = monitoring.monitor(
                    labels, scores, out=out, time=time, weights=weights, population=population, gold=gold, seed=seed,
                    rules=monitoring.Rules(sure, limit, least, expect), progress=progress, **settings, **reading,
                )  # fmt: skip
        except Unreachable as error:
            raise typer.Exit(fail(str(error), AGAIN)) from None
        note(found.document["warnings"])
        if found.done_before:
            note([f"done before, and not again: {found.folder}"])
        for alert in found.document["alerts"]:
            fields = {"event": "alert", "key": alert["key"], "severity": alert["severity"]}
            LOG.warning(
                "crowdjax: alert: %s: %s", alert["severity"], on_a_line(alert["text"]), extra={"fields": fields}
            )
        if at_a_terminal():
            print(f"{found.document['headline']}\nwritten to {found.folder}")
        raise typer.Exit(found.status)
