"""All studies in small, in a few minutes: what ``make run`` runs.

What needs real data and finds none is skipped by name.
"""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pyarrow.compute as pc

from crowdjax.datasets import MissingData
from experiments import fig3, fig4, heldout, real, specialist, table1, theodon_sim
from experiments.cells import Cell, Size, Tables
from experiments.tables import Report

PARTS = {
    "specialist": specialist,
    "fig3": fig3,
    "fig4": fig4,
    "theodon_sim": theodon_sim,
    "table1": table1,
    "real": real,
    "heldout": heldout,
}


@dataclasses.dataclass(frozen=True)
class Config:
    """The configs of the parts.

    Attributes:
        specialist, fig3, fig4, theodon_sim, table1, real, heldout: keys as of the study of that name.
    """

    specialist: specialist.Config = specialist.Config()
    fig3: fig3.Config = fig3.Config()
    fig4: fig4.Config = fig4.Config()
    theodon_sim: theodon_sim.Config = theodon_sim.Config()
    table1: table1.Config = table1.Config()
    real: real.Config = real.Config()
    heldout: heldout.Config = heldout.Config()


def data(config: Config) -> tuple[str, ...]:
    return tuple(dict.fromkeys(s for part, study in PARTS.items() for s in study.data(getattr(config, part))))


SKIPPED = "skipped"


def cells(config: Config) -> list[Cell]:
    found, missing = _found(config)
    return [(part, *cell) for part, own in found.items() for cell in own] + [(SKIPPED,)] * bool(missing)


def _found(config: Config) -> tuple[dict[str, list[Cell]], dict[str, str]]:
    """(the cells of every part, why parts have none)."""
    found, missing = {}, {}
    for part, study in PARTS.items():
        try:
            found[part] = study.cells(getattr(config, part))
        except MissingData as error:
            missing[part] = str(error)
    return found, missing


def size(config: Config, part: str, *cell) -> Size:
    return Size(0, 0, 0, 0, None, "none") if part == SKIPPED else PARTS[part].size(getattr(config, part), *cell)


def run_cell(config: Config, part: str, *cell) -> Tables:
    if part == SKIPPED:
        missing = _found(config)[1]
        return {SKIPPED: pa.table({"study": list(missing), "why": list(missing.values())})}
    tables = PARTS[part].run_cell(getattr(config, part), *cell)
    metrics = tables.pop("metrics")
    named = {f"{part}_{name}": table for name, table in tables.items()}
    return {"metrics": metrics.append_column("study", pa.array([part] * len(metrics))), **named}


def report(config: Config, tables) -> Report:
    text, figures = [], {}
    why = {row["study"]: row["why"] for row in tables[SKIPPED].to_pylist()} if SKIPPED in tables else {}
    for part, study in PARTS.items():
        text.append(f"## {part}\n")
        if part in why:
            text.append(f"**Skipped**: {why[part]}\n")
            continue
        own = {name.removeprefix(f"{part}_"): t for name, t in tables.items() if name.startswith(f"{part}_")}
        own["metrics"] = tables["metrics"].filter(pc.equal(tables["metrics"]["study"], part))
        found = study.report(getattr(config, part), own)
        text.append(found.text)
        figures |= found.figures
    return Report("\n".join(text), figures)
