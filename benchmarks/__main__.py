"""Measures this machine, after a test of known answers, and writes a table and a figure.

    python -m benchmarks [SUITE ...] [--sizes 1e4,1e5,1e6,1e7] [--out benchmarks/results/NAME]

Suites: passes, classes, reductions, fits, batches, contextual, integrated, processes; without a name all. ``whole``,
``tables``, ``minibatch``, ``inference`` and ``large`` run only where they are named, ``self-test`` times nothing. Only
ratios within one run count: the NumPy step and the bandwidth of a copy are taken in the same process.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import jax
import typer

from benchmarks import report, selftest
from benchmarks.timing import machine
from crowdjax import atomics, parallel

SUITES = ("passes", "classes", "reductions", "fits", "batches", "contextual", "integrated", "processes")
BY_NAME = ("minibatch", "inference", "whole", "tables", "large")  # long
NAMES = ", ".join((*SUITES, *BY_NAME, "self-test"))


def main(
    suites: Annotated[list[str] | None, typer.Argument(help=f"{NAMES}.")] = None,
    sizes: Annotated[str, typer.Option(help="Numbers of labels.")] = "1e4,1e5,1e6,1e7",
    out: Annotated[Path | None, typer.Option(help="Folder of the results.")] = None,
) -> None:
    """Measures the suites (by default the short ones) and writes results.json, results.md and figures."""
    suites = suites or list(SUITES)
    for name in suites:
        if name not in NAMES.split(", "):
            raise typer.BadParameter(f"suite: got {name!r}; allowed: {NAMES}")
    try:
        numbers = [int(float(size)) for size in sizes.split(",")]
    except ValueError:
        raise typer.BadParameter(f"sizes: got {sizes!r}; allowed: numbers of labels, like 1e4,1e5") from None
    atomics.use_native()
    parallel.use_cores()  # a device for each, as in the command line
    selftest.run()
    print("self-test: passed")
    rows = []
    folder = out or Path(__file__).parent / "results" / jax.devices()[0].platform
    about = machine()
    for name in suites:
        for row in import_module(f"benchmarks.{name}").run(numbers) if name != "self-test" else ():
            rows.append(row)
            print(f"{row.suite:10} {row.name:26} {row.labels:>11,} {row.value:12.4g} {row.unit}", flush=True)
        if rows:  # after each suite: what is measured is kept if the next one is stopped
            report.write(folder, about, rows)
            print(folder / "results.md")


if __name__ == "__main__":
    typer.run(main)
