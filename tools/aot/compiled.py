"""A compiled program, counted: its kernels with XLA's estimate of their times, its loops, scans and atomics."""

from __future__ import annotations

import re
import shutil
import time
from pathlib import Path
from typing import NamedTuple

import jax

INSTRUCTION = re.compile(r"^\s*(?:ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)$")
COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
FREE = ("parameter", "get-tuple-element", "tuple", "bitcast", "constant", "while", "conditional", "call")


class Kernel(NamedTuple):
    """One launch: the loops around it, its name, XLA's estimate."""

    loops: str
    name: str
    microseconds: float


class Counted(NamedTuple):
    """What a program is made of.

    Attributes:
        kernels: launches; those in loops count once.
        scans: cumulative sums.
        atomics, swaps: additions that are one instruction, and those that are a loop of compare-and-swap.
    """

    compile_seconds: float
    kernels: list[Kernel]
    temporary_mb: float
    scans: int
    atomics: int
    swaps: int

    @property
    def turn(self) -> int:
        """Launches in a turn of the innermost loop, copies of single numbers left out."""
        deepest = max((k.loops for k in self.kernels), key=len, default="")
        return sum(k.loops == deepest and not k.name.startswith("copy") for k in self.kernels)

    def __str__(self) -> str:
        inside = sum(bool(k.loops) for k in self.kernels)
        estimate = sum(k.microseconds for k in self.kernels if not k.loops)
        of_loops = sum(k.microseconds for k in self.kernels if k.loops)
        return (
            f"compiled in {self.compile_seconds:.1f} s; {len(self.kernels)} kernels, {inside} of them in loops, "
            f"{self.turn} in a turn of the innermost; "
            f"{self.scans} scans; {self.atomics} atomic additions, {self.swaps} by compare-and-swap; "
            f"{self.temporary_mb:.0f} MB of temporaries; XLA's estimate {estimate:.0f} us and {of_loops:.0f} us a turn"
        )


def count(function, *shapes, dump: Path) -> Counted:
    """Compiles a function for the device of its arguments' shapes. ``dump``: where XLA writes what it made."""
    shutil.rmtree(dump, ignore_errors=True)
    began = time.perf_counter()
    made = jax.jit(function).lower(*shapes).compile()
    took = time.perf_counter() - began
    hlo = max(dump.glob("*after_optimizations.txt")).read_text(encoding="utf-8")
    ptx = "".join(path.read_text(encoding="utf-8") for path in dump.glob("*.ptx"))
    return Counted(
        took,
        list(_kernels(*_computations(hlo), "")),
        made.memory_analysis().temp_size_in_bytes / 1e6,
        hlo.count(" reduce-window("),
        len(re.findall(r"(?:atom|red)[\w.:]*\.add\.(?:noftz\.)?(?:v\d\.)?f32", ptx)),
        len(re.findall(r"atom[\w.:]*\.cas", ptx)),
    )


def _computations(hlo: str) -> tuple[dict[str, list[str]], str]:
    """(the lines of each computation, the name of the entry)."""
    found, name, entry = {}, "", ""
    for line in hlo.splitlines():
        if head := COMPUTATION.match(line):
            name = head[2]
            found[name], entry = [], name if head[1] else entry
        elif " = " in line and name:
            found[name].append(line)
    return found, entry


def _kernels(computations, name: str, loops: str):
    for line in computations.get(name, ()):
        if not (found := INSTRUCTION.match(line)):
            continue
        own, _, operation, _ = found.groups()
        called = re.findall(r"(?:body|true_computation|false_computation|to_apply)=%?([\w.\-]+)", line)
        called += [c.strip("% ") for b in re.findall(r"branch_computations=\{([^}]*)\}", line) for c in b.split(",")]
        if operation in ("while", "conditional", "call"):
            for inner in called:
                yield from _kernels(computations, inner, loops + "/while" * (operation == "while"))
        elif operation not in FREE:
            estimate = re.search(r'"exec_time_us":([\d.e+-]+)', line)
            yield Kernel(loops, own, float(estimate[1]) if estimate else 0.0)
