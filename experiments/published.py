"""Committed results: docs/results/NAME, small enough for the repository and complete enough to be made again.

    SUMMARY.md  *.svg           what people read, made from the tables beside it
    metrics.parquet  (others)   every value, rounded to as many bits as fit: ``LIMIT`` bytes for all tables together
    config.json  config.toml    every setting; the config that was given, with its ``[rerun]``
    environment.json            command, commit, versions, machine, date, seconds, and the bits that are kept

The folder appears whole or not at all. ``experiments.repeat`` makes it again.
"""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float

from crowdjax import disk
from crowdjax.labels import InputError
from experiments import config as configs
from experiments import pages, runner
from experiments.cells import Tables
from experiments.config import Experiment

PLACE = runner.ROOT / "docs" / "results"
LIMIT = 200_000  # bytes
BITS = (23, 15, 11)  # of the mantissa: seven, five and nearly four decimal digits


def publish(experiment: Experiment, out: Path, place: Path, config: Path) -> Path:
    """Write a finished run as committed results, in place of earlier ones: all of their files or none.

    Args:
        out: where the folders of runs are.
        place: the folder of the results.
        config: the experiment's file, for the command that the summary names.

    Raises:
        InputError: no finished run, one whose commit is not known, tables that are too large, or ``place`` holds
            something else.
    """
    folder = out / experiment.folder
    if not runner.is_done(folder):
        raise InputError(f"{folder}: no finished run of this config; run it first")
    environment = runner.read_environment(folder)
    commit = environment.get("commit", "unknown")
    if "unknown" in commit:
        raise InputError(f"{folder}: the commit that it was made from is not known; allowed: a run from a git checkout")
    if place.exists() and not (place / "SUMMARY.md").is_file():
        raise InputError(f"{place}: holds no SUMMARY.md; allowed: a new folder, or earlier results to replace")
    path = config.resolve()
    path = path.relative_to(runner.ROOT) if path.is_relative_to(runner.ROOT) else Path(path.name)
    environment["command"] = shlex.join(["python", "-m", "experiments", "run", str(path), *experiment.overrides])
    environment["overrides"] = experiment.overrides
    with disk.private(place) as home:
        new = home / "new"
        new.mkdir()
        environment["bits"] = _write_tables(runner.read_tables(folder), new)
        runner.write_summary(experiment, runner.read_tables(new), environment, new)
        (new / "config.json").write_text(json.dumps(experiment.resolved(), indent=2) + "\n", encoding="utf-8")
        (new / "config.toml").write_text(experiment.source, encoding="utf-8")
        (new / runner.LAST).write_text(json.dumps(environment, indent=2) + "\n", encoding="utf-8")
        _replace(place, new, home)
    return place


def is_committed(folder: Path) -> bool:
    """Whether :func:`publish` wrote the folder."""
    return runner.is_done(folder) and "bits" in runner.read_environment(folder)


def renew(folder: Path) -> Path:
    """Write summary and figures of committed results anew, from their tables: the study's words or figures changed."""
    experiment, environment = recorded(folder)[0], runner.read_environment(folder)
    with disk.private(folder) as home:
        new = home / "new"
        shutil.copytree(folder, new, ignore=shutil.ignore_patterns("*.svg"))
        runner.write_summary(experiment, runner.read_tables(new), environment, new)
        _replace(folder, new, home)
    return folder


def recorded(folder: Path) -> tuple[Experiment, list[str]]:
    """The experiment of a finished run, and the real sets that it used and that are not here."""
    run = pages.read(folder)
    source = folder / "config.toml"
    if not source.is_file():
        raise InputError(f"{folder}: holds no config.toml; allowed: a run of a version that keeps it")
    experiment = configs.load(source, run.environment.get("overrides", ()))
    experiment = dataclasses.replace(experiment, name=run.config["name"])
    settings = json.loads(json.dumps(experiment.resolved()))
    for key in sorted((settings.keys() | run.config.keys()) - {"data"}):
        if settings.get(key) != run.config.get(key):
            then, now = run.config.get(key), settings.get(key)
            raise InputError(f"{folder}: {key} was {then!r} and is {now!r} today; the run cannot be repeated")
    there = run.config.get("data", [])
    lost = [name for name in there if name not in settings["data"]]
    new = [name for name in settings["data"] if name not in there]
    if new and not experiment.rerun.cells:
        raise InputError(f"{folder}: made without {', '.join(new)}, which are here today; the run cannot be repeated")
    return experiment, lost


def rounded(tables: Tables, bits: int | None) -> Tables:
    """Round measured values to so many bits of their mantissa; None leaves them as they are.

    Measured are the values of ``metrics`` and every floating-point column of the other tables; settings stay: columns
    all of whose numbers ``metrics`` has in a column of that name.
    """
    if bits is None:
        return tables
    out = {}
    for name, table in tables.items():
        for k, column in enumerate(table.column_names):
            if column in measured(name, table) and not _is_setting(column, name, table, tables):
                values = pa.array(round_bits(table[column].to_numpy(), bits))
                table = table.set_column(k, column, values)
        out[name] = table
    return out


def measured(name: str, table: pa.Table) -> list[str]:
    """The columns of a table that hold measured values."""
    if name == "metrics":
        return ["value"]
    return [column for column in table.column_names if pa.types.is_floating(table[column].type)]


def _is_setting(column: str, name: str, table: pa.Table, tables: Tables) -> bool:
    known = tables.get("metrics")
    if name == "metrics" or column == "value" or known is None or column not in known.column_names:
        return False
    return bool(np.isin(table[column].to_numpy(), known[column].to_numpy()).all())


def round_bits(values: Float[np.ndarray, " N"], bits: int) -> Float[np.ndarray, " N"]:
    """Round to the nearest number whose mantissa has so many bits: a relative error of at most 2^-(bits + 1).

    Example:
        >>> round_bits(np.array([1 / 3, np.nan]), 11)
        array([0.33337402,        nan])
    """
    mantissa, exponent = np.frexp(np.asarray(values, float))
    return np.ldexp(np.round(np.ldexp(mantissa, bits + 1)), exponent - bits - 1)


def _write_tables(tables: Tables, folder: Path) -> int:
    """Writes the tables with as many bits as fit; how many."""
    sizes = {}
    for bits in BITS:
        for name, table in rounded(tables, bits).items():
            floats = [c for c in table.column_names if pa.types.is_floating(table[c].type)]
            pq.write_table(
                table,
                folder / f"{name}.parquet",
                compression="zstd",
                compression_level=19,
                use_dictionary=[c for c in table.column_names if c not in floats],
                column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
                write_statistics=False,
            )
        sizes = {path.stem: path.stat().st_size for path in folder.glob("*.parquet")}
        if sum(sizes.values()) <= LIMIT:
            return bits
    told = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    raise InputError(f"{folder.name}: tables of {told} bytes; allowed: {LIMIT:,} together")


def _replace(place: Path, new: Path, home: Path) -> None:
    """Puts a folder in the place of what is there, without the figures that only a run keeps."""
    for picture in new.glob("*.png"):
        picture.unlink()
    earlier = home / "earlier"
    if place.exists():
        disk.move(place, earlier)
    try:
        disk.move(new, place)
    except BaseException:  # asked to stop, or the disk: what was there comes back
        if earlier.exists() and not place.exists():
            disk.move(earlier, place)
        raise
