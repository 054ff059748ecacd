"""Repeats a finished run from what its folder records, and compares every value of every table.

The same config, packages and device give the same values to the last bit, but for times: rows whose metric is
``seconds`` are left out. What is not the same as then (a package's version, the machine) is said.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crowdjax.labels import InputError
from experiments import config, pages, runner

TIMES = ("seconds",)
MACHINE = ("device", "processor", "cores", "python", "x64")


class Repeat(NamedTuple):
    """Whether every value came back, and what there is to say, a line each."""

    same: bool
    lines: tuple[str, ...]


def repeat(folder: Path, out: Path | None = None, *, jobs: int = 1) -> Repeat:
    """Runs the config of a run once more, and compares.

    Args:
        folder: of a finished run.
        out: where the folder of the second run is kept; by default nowhere.
        jobs: how many processes share the cells.

    Raises:
        InputError: no finished run, or one of a version that did not keep its config; its settings, or the real sets
            that it used, are others today; ``out`` holds the run itself.
    """
    experiment = recorded(folder)
    if out is not None and (out / experiment.folder).exists():
        raise InputError(f"--out {out}: holds a run of this config already; allowed: another folder")
    with tempfile.TemporaryDirectory() as temporary:
        words = ["python", "-m", "experiments", "rerun", str(folder)]
        done = runner.run(experiment, out or Path(temporary), command=shlex.join(words), jobs=jobs)
        if done.failed:
            cell, why = next(iter(done.failed.items()))
            return Repeat(False, (f"{len(done.failed)} cells failed the second time; {cell}: {why}",))
        then, now = (json.loads((f / runner.LAST).read_text(encoding="utf-8")) for f in (folder, done.folder))
        before, after = runner.read_tables(folder), runner.read_tables(done.folder)
    others = [*changes(then, now), *(f"table {name}: in one run only" for name in sorted(before.keys() ^ after.keys()))]
    found = [difference(name, before[name], after[name]) for name in sorted(before.keys() & after.keys())]
    same = before.keys() == after.keys() and all(line is None for line in found)
    n_values = sum(table.num_rows * table.num_columns for table in before.values())
    told = [f"the same: {n_values} values, to the last bit"] if same else filter(None, found)
    return Repeat(same, (*others, *told))


def recorded(folder: Path) -> config.Experiment:
    """The experiment of a finished run."""
    run = pages.read(folder)
    source = folder / "config.toml"
    if not source.is_file():
        raise InputError(f"{folder}: holds no config.toml; allowed: a run of a version that keeps it")
    experiment = config.load(source, run.environment.get("overrides", ()))
    experiment = dataclasses.replace(experiment, name=run.config["name"])
    settings = json.loads(json.dumps(experiment.resolved()))
    for key in sorted(settings.keys() | run.config.keys()):
        if settings.get(key) != run.config.get(key):
            then, now = run.config.get(key), settings.get(key)
            raise InputError(f"{folder}: {key} was {then!r} and is {now!r} today; the run cannot be repeated")
    return experiment


def changes(then: dict, now: dict) -> list[str]:
    """What is another package or machine than then."""
    pairs = [(key, then.get(key), now.get(key)) for key in MACHINE]
    names = sorted(then["versions"].keys() | now["versions"].keys())
    pairs += [(name, then["versions"].get(name), now["versions"].get(name)) for name in names]
    return [f"{name} was {before} and is {after}" for name, before, after in pairs if before != after]


def difference(name: str, before: pa.Table, after: pa.Table) -> str | None:
    """How one table differs from another, in words; None where it does not."""
    before, after = without_times(before), without_times(after)
    if before.column_names != after.column_names or len(before) != len(after):
        return f"table {name}: other columns, or {len(after)} rows where there were {len(before)}"
    for column in before.column_names:
        a, b = (np.asarray(table[column]) for table in (before, after))
        numbers = a.dtype.kind == b.dtype.kind == "f"
        other = np.flatnonzero(~((a == b) | (np.isnan(a) & np.isnan(b)) if numbers else a == b))
        if other.size:
            k = other[0]
            largest = f", by {np.nanmax(abs(a[other] - b[other])):.3g} at most" if numbers else ""
            where = f"the first in row {k}, {a[k]} and now {b[k]}"
            return f"table {name}: {column} differs in {other.size} of {len(a)} rows{largest}; {where}"
    return None


def without_times(table: pa.Table) -> pa.Table:
    if "metric" not in table.column_names:
        return table
    return table.filter(pc.invert(pc.is_in(table["metric"], pa.array(TIMES))))
