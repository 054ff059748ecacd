"""The command on planning: ``crowdjax plan``, a thin wrapper of the facade."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crowdjax.cli.common import MODEL, TABLES, Columns, Out, Report, errors, finish, library, refuse_own
from crowdjax.cli.models import fitted_in
from crowdjax.cli.progress import progress_bar

ASSUMED = "Assumptions, without DIR"


def plan(
    out: Out,
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="A pilot: a folder that crowdjax context wrote")
    ] = None,
    width: Annotated[float | None, typer.Option(metavar="P", help="Target width of the 95 % interval")] = None,
    following: Annotated[
        int | None, typer.Option("--next", metavar="N", help="Rank the next N instances to label, by a fit in DIR")
    ] = None,
    rate: Annotated[float | None, typer.Option(metavar="P", help="Share of positives; default: the pilot's")] = None,
    auc: Annotated[float | None, typer.Option(metavar="P", rich_help_panel=ASSUMED, help="AUC of the score")] = None,
    sensitivity: Annotated[
        str | None,
        typer.Option(metavar="P", rich_help_panel=ASSUMED, help="P; or P,P at the lowest and the highest score"),
    ] = None,
    specificity: Annotated[
        str | None, typer.Option(metavar="P", rich_help_panel=ASSUMED, help="P; or P,P, as above")
    ] = None,
    spread: Annotated[
        float | None, typer.Option(metavar="X", rich_help_panel=ASSUMED, help="Spread of labelers' logits; default .4")
    ] = None,
    population: Annotated[
        str | None,
        typer.Option(metavar="T", rich_help_panel=TABLES, help="Size of the population, or a table of its scores"),
    ] = None,
    columns: Columns = None,
    labelers: Annotated[
        int | None,
        typer.Option(metavar="N", rich_help_panel=MODEL, help="Number of labelers; default: the pilot's, or 10"),
    ] = None,
    sampling: Annotated[
        str | None, typer.Option(metavar="WORD", rich_help_panel=MODEL, help="optimal, random or pilot")
    ] = None,
    items: Annotated[
        str, typer.Option(metavar="N,N", rich_help_panel=MODEL, help="Numbers of instances to simulate")
    ] = "500,1000,2000",
    per_item: Annotated[
        str, typer.Option("--per-item", metavar="N,N", rich_help_panel=MODEL, help="Numbers of labels per instance")
    ] = "1,2,3",
    gold: Annotated[
        str, typer.Option(metavar="N,N", rich_help_panel=MODEL, help="Numbers of gold labels")
    ] = "0,100,200",
    gold_cost: Annotated[
        float, typer.Option("--gold-cost", metavar="X", rich_help_panel=MODEL, help="Cost of a gold label, in labels")
    ] = 5.0,
    replicates: Annotated[
        int, typer.Option(metavar="N", rich_help_panel=MODEL, help="Simulated crowds for each number of instances")
    ] = 3,
    seed: Annotated[
        int, typer.Option(metavar="N", rich_help_panel=MODEL, min=0, max=2**32 - 1, help="Seed of the simulation")
    ] = 0,
    report: Report = False,
) -> None:
    """Plan the numbers of instances, labels and gold labels, and the scores to sample; or the instances to label next.

    Example: crowdjax plan result --width 0.05 --out plan
    """
    with errors():
        saving, _ = library()
        from crowdjax import planning
        from crowdjax.cli.common import columns_of
        from crowdjax.labels import InputError

        if folder is not None:
            refuse_own(folder, out)
        saving.check_out(out)
        if (width is None) == (following is None):
            raise InputError("--width, --next: exactly one of them is needed")
        if following is not None:
            result = planning.following(fitted_in(_folder_of(folder)), following)
            result.save(out, report=report)
            finish(result, out)
            return
        with progress_bar() as progress:
            result = planning.plan(
                folder, width=width, rate=rate, auc=auc, sensitivity=_numbers("sensitivity", sensitivity),
                specificity=_numbers("specificity", specificity), spread=spread, labelers=labelers,
                population=int(population) if population is not None and population.isdecimal() else population,
                sampling=sampling, items=_wholes("items", items), per_item=_wholes("per-item", per_item),
                gold=_wholes("gold", gold), gold_cost=gold_cost, replicates=replicates, seed=seed,
                columns=columns_of(columns), progress=progress,
            )  # fmt: skip
        result.save(out, report=report)
        finish(result, out, progress)


def _folder_of(folder: Path | None) -> Path:
    from crowdjax.labels import InputError

    if folder is None:
        raise InputError("--next: no fit given; needed: its folder, as in crowdjax plan result --next 10 --out plan")
    return folder


def _numbers(name: str, given: str | None) -> float | list[float] | None:
    """Parse a number, or two with a comma between."""
    from crowdjax.labels import InputError

    if given is None:
        return None
    try:
        found = [float(part) for part in given.split(",")]
    except ValueError:
        raise InputError(f"--{name}: got {given!r}; allowed: a number, or two, as 0.7,0.9") from None
    return found[0] if len(found) == 1 else found


def _wholes(name: str, given: str) -> list[int]:
    from crowdjax.labels import InputError

    parts = [part.strip() for part in given.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise InputError(f"--{name}: got {given!r}; allowed: whole numbers, as 500,1000")
    return [int(part) for part in parts]
