"""All studies in small, in a few minutes: what ``make run`` runs.

What needs real data and finds none is skipped by name.
"""

from __future__ import annotations

import dataclasses

import pyarrow as pa
import pyarrow.compute as pc

from crowdjax.datasets import MissingData
from experiments import fig3, fig4, heldout, real, specialist, table1, theodon_sim
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
    """The configs of the parts."""

    specialist: specialist.Config = specialist.Config()
    fig3: fig3.Config = fig3.Config()
    fig4: fig4.Config = fig4.Config()
    theodon_sim: theodon_sim.Config = theodon_sim.Config()
    table1: table1.Config = table1.Config()
    real: real.Config = real.Config()
    heldout: heldout.Config = heldout.Config()


def data(config: Config) -> tuple[str, ...]:
    return tuple(dict.fromkeys(s for part, study in PARTS.items() for s in study.data(getattr(config, part))))


def run(config: Config) -> dict[str, pa.Table]:
    out, measured, skipped = {}, [], {}
    for part, study in PARTS.items():
        try:
            tables = study.run(getattr(config, part))
        except MissingData as error:
            skipped[part] = str(error)
            continue
        measured.append(tables["metrics"].append_column("study", pa.array([part] * len(tables["metrics"]))))
        out |= {f"{part}_{name}": table for name, table in tables.items() if name != "metrics"}
    out["metrics"] = pa.concat_tables(measured, promote_options="default")
    out["skipped"] = pa.table({"study": list(skipped), "why": list(skipped.values())}, SKIPPED)
    return out


SKIPPED = pa.schema([("study", pa.string()), ("why", pa.string())])


def report(config: Config, tables) -> Report:
    text, figures = [], {}
    why = dict(zip(*(tables["skipped"][c].to_pylist() for c in ("study", "why")), strict=True))
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
