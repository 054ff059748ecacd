"""What a run will take, before it runs: its sizes, and what can be told of memory, compiling and time.

Nothing is guessed. Memory is what XLA says of the largest cell's program, which is compiled for it; time is what cells
of the same study took that were run here before, in proportion to labels and fits.
"""

from __future__ import annotations

import json
import math
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import jax

from crowdjax import memory
from crowdjax.cli.common import prepare_jax
from experiments import workers
from experiments.cells import Cell, Size, name_of
from experiments.config import Experiment
from experiments.runner import n_done
from experiments.tables import markdown

MOST_LINES = 20
CACHE_HIT = "/jax/compilation_cache/cache_hits"


class Timed(NamedTuple):
    """A cell that was run: its study's work, labels times fits, and the seconds it took."""

    cell: str
    work: int
    seconds: float


def estimate(experiment: Experiment, out: Path, until: float = math.inf) -> str:
    """Sizes of all cells, memory, compiling and time, as text. A program is waited for until then, by the monotonic
    clock."""
    sizes = {cell: experiment.module.size(experiment.config, *cell) for cell in experiment.cells}
    done = n_done(experiment, out)
    parts = [
        f"{len(sizes)} cells, {sum(size.fits for size in sizes.values())} fits; {done} cells are done in "
        f"{out / experiment.folder}.",
        _table(sizes),
        _program(experiment, sizes, until),
        _time(sizes, list(timed(experiment.study, out))),
    ]
    return "\n\n".join(parts)


def _table(sizes: dict[Cell, Size]) -> str:
    lines = [[name_of(cell), *size[:4]] for cell, size in sizes.items()]
    more = f"\n... and {len(lines) - MOST_LINES} more" if len(lines) > MOST_LINES else ""
    return markdown(["cell", "labels", "labelers", "instances", "fits"], lines[:MOST_LINES]) + more


class Program(NamedTuple):
    """What the compiler says of a program: seconds to trace and to compile it, of the CPU where not of the clock;
    whether it was in the cache; bytes; bytes of the process that has it compiled."""

    traced: float
    compiled: float
    of_cpu: float
    cached: bool
    needs: dict[str, int] | None
    process: int


def compile_largest(task: tuple[Experiment, Cell]) -> Program:
    """Compiles the largest program of a cell and runs nothing."""
    experiment, cell = task
    prepare_jax()
    hits: list[str] = []
    jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event == CACHE_HIT else None)
    start, of_cpu = time.perf_counter(), time.process_time()
    lowered = experiment.module.size(experiment.config, *cell).lower()
    traced = time.perf_counter()
    hits.clear()
    compiled = lowered.compile()
    seconds = traced - start, time.perf_counter() - traced, time.process_time() - of_cpu
    said = getattr(compiled, "compiled", compiled).memory_analysis()
    needs = said and {
        "arguments": said.argument_size_in_bytes,
        "temporaries": said.temp_size_in_bytes,
        "results": said.output_size_in_bytes,
    }
    return Program(*seconds, bool(hits), needs, memory.peak())


def _program(experiment: Experiment, sizes: dict[Cell, Size], until: float) -> str:
    """Memory and compiling of the program with the most labels and fits."""
    cell, size = max(sizes.items(), key=lambda item: (item[1].lower is not None) * item[1].labels * item[1].fits)
    if size.lower is None:
        return "Memory and compiling: no programs to speak of."
    which = f"the program with the most labels and fits ({name_of(cell)}: {size.program})"
    began = time.monotonic()
    found = workers.within(compile_largest, (experiment, cell), until)
    if not isinstance(found, Program):
        return f"Memory and compiling: unknown; {which} was not compiled within {time.monotonic() - began:.0f} s."
    how = "found in the cache" if found.cached else "compiled"
    text = (
        f"Compiling: {found.traced:.1f} s to trace and {found.compiled:.1f} s to be {how}, {found.of_cpu:.1f} s of the "
        f"CPU in all, measured now, for {which}. Other programs: not measured."
    )
    if not found.needs:
        return f"Memory: unknown, XLA says nothing of it here.\n\n{text}"
    said = ", ".join(f"{name} {_bytes(n)}" for name, n in found.needs.items())
    return (
        f"Memory: {_bytes(sum(found.needs.values()))} for that program ({said}; by XLA itself), in a process that has "
        f"{_bytes(found.process)} with it compiled (measured now). What the host keeps beside: not measured.\n\n{text}"
    )


def _time(sizes: dict[Cell, Size], known: list[Timed]) -> str:
    if not known:
        return "Time: unknown; no cell of this study has been run here before."
    usual = statistics.median(cell.seconds / cell.work for cell in known)
    rates = {cell.cell: cell.seconds / cell.work for cell in known}
    seconds = sum(rates.get(name_of(cell), usual) * size.labels * size.fits for cell, size in sizes.items())
    return (
        f"Time: about {_seconds(seconds)} for all cells one after the other, from {len(known)} cells of this study "
        "that were run here before, in proportion to labels and fits. Fits differ in their steps, so this is rough."
    )


def timed(study: str, out: Path) -> Iterator[Timed]:
    """The cells of a study that were run before."""
    for log in sorted(out.glob("*/log.jsonl")):
        config = json.loads((log.parent / "config.json").read_text(encoding="utf-8"))
        if config["study"] == study:
            for event in map(json.loads, log.read_text(encoding="utf-8").splitlines()):
                if event.get("event") == "done" and event["labels"] * event["fits"]:
                    yield Timed(event["cell"], event["labels"] * event["fits"], event["seconds"])


def _bytes(n: float) -> str:
    return f"{n / 1e9:.2f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"


def _seconds(n: float) -> str:
    return f"{n:.0f} s" if n < 120 else f"{n / 60:.0f} min" if n < 7200 else f"{n / 3600:.1f} h"
