"""Runs an experiment into its folder, cell by cell, and writes what is read from it.

    runs/NAME-HASH/  config.json  config.toml  log.jsonl  cells/ while it runs
                     metrics.parquet  (other tables)  *.svg  *.png  SUMMARY.md  report.html  environment.json

Every file and every cell's folder appears whole or not at all. ``environment.json`` is the last: with it a run is done.
Without it the same command goes on with the cells that are missing.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import platform
import re
import shutil
import subprocess
import time
import traceback
import types
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import jax
import pyarrow.parquet as pq

from crowdjax import __version__, disk, memory, plots
from crowdjax.cli.common import prepare_jax, unforeseen
from crowdjax.cli.logs import JsonLines, heard
from crowdjax.cli.progress import progress_bar
from crowdjax.datasets import MissingData
from crowdjax.labels import InputError
from crowdjax.report import render
from experiments import comparison, pages, workers
from experiments.cells import Cell, Tables, gathered, name_of, say, telling
from experiments.config import Experiment
from experiments.tables import Report, markdown

LOG = logging.getLogger("experiments")
PACKAGES = ("jax", "jaxlib", "equinox", "optax", "numpy", "pyarrow", "matplotlib")
LAST = "environment.json"
ROOT = Path(__file__).resolve().parents[1]


class Ran(NamedTuple):
    """A run's folder, whether it had been run before, and what went wrong in the cells that failed."""

    folder: Path
    found: bool
    failed: dict[str, str]


class Task(NamedTuple):
    """A cell to compute, and the folder for its tables."""

    experiment: Experiment
    cell: Cell
    folder: Path


def run(experiment: Experiment, out: Path, *, force: bool = False, command: str = "", jobs: int = 1) -> Ran:
    """Computes the cells that are missing, and then writes tables, figures and summary.

    Args:
        out: where the folders of runs are.
        force: whether what is there is run again.
        command: what was typed, for the summary.
        jobs: how many processes share the cells and the cores; another number rounds sums otherwise.

    Raises:
        InputError: all data are missing, or the run is being made by another process.
        KeyboardInterrupt: it was stopped; says how many cells are done.
    """
    folder, cells = out / experiment.folder, experiment.cells
    if is_done(folder) and not force:
        return Ran(folder, True, {})
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder):
        _clear(folder, everything=force)
        _write_json(folder / "config.json", experiment.resolved())
        _write(folder / "config.toml", experiment.source)
        with heard(JsonLines(folder / "log.jsonl")):
            failed = compute_cells(experiment, cells, folder, jobs)
            _finish(experiment, cells, folder, failed, {"command": command, "jobs": jobs})
    return Ran(folder, False, failed)


def is_done(folder: Path) -> bool:
    return (folder / LAST).is_file()


def state(experiment: Experiment, out: Path) -> str:
    """How far a run is, in words."""
    folder = out / experiment.folder
    if is_done(folder):
        return str(folder)
    try:
        total = len(experiment.cells)
    except MissingData:
        return "no data"
    done = n_done(experiment, out)
    return f"{folder}: {done} of {total} cells" if done else f"not run ({total} cells)"


def n_done(experiment: Experiment, out: Path) -> int:
    """How many cells of a run are computed."""
    folder = out / experiment.folder
    return sum(is_done(folder) or cell.is_dir() for cell in _folders(experiment.cells, folder))


def report(experiment: Experiment, out: Path) -> Path:
    """Figures and summary of a finished run anew, from its tables."""
    folder = out / experiment.folder
    if not is_done(folder):
        raise InputError(f"{folder}: no finished run of this config; run it first")
    tables, environment = read_tables(folder), read_environment(folder)
    write_summary(experiment, tables, environment, folder)
    _page(experiment, environment, folder)
    return folder


# Cells


def _folders(cells: list[Cell], folder: Path) -> list[Path]:
    """Where the tables of each cell are kept."""
    plain = (re.sub(r"[^A-Za-z0-9.-]+", "-", name_of(cell)) for cell in cells)
    return [folder / "cells" / f"{k:03d}-{name}" for k, name in enumerate(plain)]


def compute_cells(experiment: Experiment, cells: list[Cell], folder: Path, jobs: int) -> dict[str, str]:
    """Computes the missing cells; what went wrong, by cell."""
    all_tasks = [Task(experiment, *pair) for pair in zip(cells, _folders(cells, folder), strict=True)]
    tasks = [task for task in all_tasks if not task.folder.is_dir()]
    done, total, failed = len(cells) - len(tasks), len(cells), {}
    fields = {"event": "run", "cells": total, "done": done, "jobs": jobs, "crowdjax": __version__}
    LOG.info("%s: %d cells, %d of them done", experiment.folder, total, done, extra={"fields": fields})
    outcomes = workers.each(compute, tasks, jobs) if jobs > 1 else ((task, compute(task)) for task in tasks)
    try:
        with progress_bar(keeps=False) as progress, contextlib.closing(outcomes):
            progress("cells", done, total)
            for task, wrong in outcomes:
                with telling(task.cell):
                    if isinstance(wrong, workers.Died):
                        wrong = f"its process ended with status {wrong.status}"
                        say(f"failed: {name_of(task.cell)}: {wrong}", event="failed", why=wrong)
                if wrong is None:
                    done += 1
                else:
                    failed[name_of(task.cell)] = wrong
                progress("cells", done + len(failed), total)
    except KeyboardInterrupt:
        text = f"stopped: {done} of {total} cells are done; the same command goes on from there"
        LOG.info("%s", text, extra={"fields": {"event": "stopped", "done": done}})
        raise KeyboardInterrupt(text) from None
    return failed


@memory.bounded
def compute(task: Task) -> str | None:
    """Computes a cell and keeps its tables; what went wrong, if anything did."""
    experiment, cell, folder = task
    prepare_jax()
    began = time.perf_counter()
    with telling(cell):
        LOG.info("%s", name_of(cell), extra={"fields": {"event": "began"}})
        try:
            size = experiment.module.size(experiment.config, *cell)
            tables = experiment.module.run_cell(experiment.config, *cell)
        except Exception as error:  # the other cells go on
            why = unforeseen(error)
            say(f"failed: {name_of(cell)}: {why}", event="failed", why=why, traceback=traceback.format_exc())
            return why
        seconds = round(time.perf_counter() - began, 3)
        with disk.folder(folder) as new:
            for name, table in tables.items():
                pq.write_table(table, new / f"{name}.parquet")
            made = {"cell": name_of(cell), "seconds": seconds, "crowdjax": __version__, **source()}
            _write_json(new / "cell.json", made)
        sizes = {"labels": size.labels, "fits": size.fits}
        say(f"done: {name_of(cell)}: {seconds:.1f} s", event="done", seconds=seconds, **sizes)
    return None


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other processes from the same run."""
    with disk.locked(folder) as free:
        if free is False:
            raise InputError(f"{folder}: another process is making this run; allowed: to wait for it")
        yield


def _clear(folder: Path, everything: bool) -> None:
    """Removes what a killed process was writing, or all there is."""
    for path in [*(folder.iterdir() if everything else (*folder.glob(".*"), *folder.glob("cells/.*")))]:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


# What is read from a run


def _finish(experiment: Experiment, cells: list[Cell], folder: Path, failed: Mapping[str, str], how: dict) -> None:
    """Gathers the cells' tables; with all of them the run is done, and how it was made is recorded."""
    tables, made = read_cells(cells, folder)
    environment = {
        **how,
        "overrides": experiment.overrides,
        "seconds": round(sum(cell["seconds"] for cell in made), 1),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": ", ".join(dict.fromkeys(cell.get("commit") or "unknown" for cell in made)),
        "changed": any(cell.get("changed", True) for cell in made),
        **machine(),
    }
    for name, table in tables.items():
        with disk.file(folder / f"{name}.parquet") as new:
            pq.write_table(table, new)
    write_summary(experiment, tables, environment, folder, failed)
    if not failed:
        _page(experiment, environment, folder)
        _write_json(folder / LAST, environment)
        shutil.rmtree(folder / "cells", ignore_errors=True)
    LOG.info("%s", folder, extra={"fields": {"event": "end", "failed": len(failed), "seconds": environment["seconds"]}})


def read_cells(cells: list[Cell], folder: Path) -> tuple[Tables, list[dict[str, Any]]]:
    """The tables of the cells that are computed, gathered; and what is recorded of each of them."""
    kept = [cell for cell in _folders(cells, folder) if cell.is_dir()]
    made = [json.loads((cell / "cell.json").read_text(encoding="utf-8")) for cell in kept]
    return gathered([read_tables(cell) for cell in kept]), made


def read_environment(folder: Path) -> dict[str, Any]:
    """What is recorded of a finished run."""
    return json.loads((folder / LAST).read_text(encoding="utf-8"))


def read_tables(folder: Path) -> Tables:
    """Every table of a run, or of a cell."""
    return {file.stem: pq.read_table(file) for file in sorted(folder.glob("[!.]*.parquet"))}


def _page(experiment: Experiment, environment, folder: Path) -> None:
    _write(folder / "report.html", render(pages.of_run(pages.Run(folder, experiment.resolved(), environment))))


def write_summary(
    experiment: Experiment,
    tables: Tables,
    environment,
    folder: Path,
    failed: Mapping[str, str] = types.MappingProxyType({}),
) -> None:
    """Writes the figures and the summary."""
    found = _found(experiment, tables, failed)
    pictures = []
    for name, figure in found.figures.items():
        with disk.private(folder / name) as new:
            for picture in plots.save(figure, new / name):
                disk.move(picture, folder / picture.name)
        pictures.append(f"![{name}]({name}.svg)\n")
    versions = ", ".join(f"{name} {v}" for name, v in environment["versions"].items())
    if "commit" in environment:
        made = ", ".join(commit[:10] for commit in environment["commit"].split(", "))  # a run may go on with later code
        versions += f"; commit {made}{' with changes' * environment['changed']}"
    text = f"""# {experiment.name}

Generated by `{environment["command"]}` on {environment["date"][:10]} in {environment["seconds"]} s, on
{environment["device"]}, {environment["processor"]}, {environment["cores"]} cores. Python {environment["python"]},
{versions}. Settings: config.json; all values: metrics.parquet.

{found.text}
{"".join(pictures)}"""
    _write(folder / "SUMMARY.md", text)


def report_folder(folder: Path) -> Path:
    """The page of a finished run anew, from what its folder holds."""
    _write(folder / "report.html", render(pages.of_run(pages.read(folder))))
    return folder


def compare(folders: Sequence[Path], page: Path) -> Path:
    """One page that compares finished runs."""
    text = render(comparison.of_runs([pages.read(folder) for folder in folders]))
    if page.is_dir() or not page.absolute().parent.is_dir():
        raise InputError(f"--page {page}: {'a folder' if page.is_dir() else 'no such folder'}; allowed: a file to be")
    _write(page, text)
    return page


def _found(experiment: Experiment, tables: Tables, failed: Mapping[str, str]) -> Report:
    """The study's report; where cells failed, which, and as much of it as can be made without them."""
    if not failed:
        return experiment.module.report(experiment.config, tables)
    lines = [[cell, why.replace("|", "\\|")] for cell, why in failed.items()]
    text = "**Not whole.** These cells failed; the same command runs them again.\n\n" + markdown(["cell", "why"], lines)
    try:
        part = experiment.module.report(experiment.config, tables)
    except Exception:  # it was not written for a part of its tables
        return Report(f"{text}\n\nWithout them there is no report.\n")
    return Report(f"{text}\n\n{part.text}", part.figures)


@functools.cache
def source() -> dict[str, Any]:
    """The commit of the code, and whether it had been changed since; None where it is not known.

    An installed crowdjax may lie within a repository that is not its own.
    """
    if not (ROOT / ".git").exists():
        return {"commit": None, "changed": None}

    def git(*words: str) -> str:
        command = ["git", "--no-optional-locks", *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changes = git("status", "--porcelain", "--", "crowdjax", "experiments", "configs")
        return {"commit": git("rev-parse", "HEAD"), "changed": bool(changes)}
    except (OSError, subprocess.CalledProcessError):
        return {"commit": None, "changed": None}


def machine() -> dict[str, Any]:
    """What a run is made on and with."""
    versions = {"crowdjax": __version__}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "processor": _processor(),
        "cores": workers.n_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "x64": bool(jax.config.jax_enable_x64),
        "versions": versions,
    }


def _processor() -> str:
    """Name, family and model: processors that share a name may round differently."""
    said: dict[str, str] = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            said.setdefault(key.strip(), value.strip())
    name = said.get("model name") or platform.processor() or platform.machine()
    details = [f"{key.split()[-1]} {said[key]}" for key in ("cpu family", "model") if key in said]
    return f"{name} ({', '.join(details)})" if details else name


def _write_json(path: Path, value) -> None:
    _write(path, json.dumps(value, indent=2) + "\n")


def _write(path: Path, text: str) -> None:
    with disk.file(path) as new:
        new.write_text(text, encoding="utf-8")
