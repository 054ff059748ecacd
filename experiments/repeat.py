"""Makes a finished run or committed results again from what their folder records, and compares every value.

The same config, code, packages and machine give the same values to the last bit, but for times. Another machine rounds
otherwise: the config's ``[rerun]`` says how far which metric may be off there, and which share of its values may be off
by more; and, for any machine, which cells are enough. A value y in place of x is within the tolerance t where

    |y - x| ≤ t max(1, |x|)
"""

from __future__ import annotations

import math
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from crowdjax import datasets
from crowdjax.labels import InputError
from experiments import config, runner
from experiments.cells import Cell, Tables, name_of
from experiments.published import measured, recorded, rounded
from experiments.tables import markdown

TIMES = ("seconds",)  # metrics that are never compared
TOLERANCE = 1e-6  # of every metric on the machine of then; elsewhere of those that the config does not name: rounding
MACHINE = ("device", "processor", "cores", "jobs", "python", "x64")
SOURCE = {"commit", "changed", "crowdjax"}  # changes of the code, after which values should stay the same
SHOWN = 10  # values beyond the tolerance that are told one by one

Values = dict[tuple, float]  # by (table, metric, settings)


class Repeat(NamedTuple):
    """Whether every value came back within its tolerance, and what there is to say."""

    same: bool
    text: str


class Line(NamedTuple):
    """The values of one metric: how many, how many of them differ, by how much at most; how many by more than the
    tolerance, and how many may."""

    metric: str
    n: int
    differ: int
    largest: float
    tolerance: float
    beyond: int
    allowed: int

    @property
    def verdict(self) -> str:
        if self.largest == math.inf:
            return "not a number, or infinite, once and a finite number once"
        if self.beyond > self.allowed:
            return f"{self.beyond} beyond, {self.allowed} allowed"
        return f"within, {self.beyond} beyond" if self.beyond else "within" if self.differ else "same"


def repeat(folder: Path, *, whole: bool = False, jobs: int = 1, tolerances: bool = False) -> Repeat:
    """Compute the cells of a run once more, and compare.

    Args:
        folder: of a finished run, or of committed results.
        whole: every cell, also where the config names some that are enough.
        jobs: how many processes share the cells.
        tolerances: end with the tolerances that the differences call for (``needed``), as a config has them.

    Raises:
        InputError: no finished run, or one of a version that did not keep its config; its settings are others today, or
            real sets that it needs are not here.
    """
    experiment, lost = recorded(folder)
    then = runner.read_environment(folder)
    for name, there in (("SUMMARY.md", (folder / "SUMMARY.md").is_file()), ("seconds", "seconds" in then)):
        if not there:
            raise InputError(f"{folder}: no {name} of the run is recorded; allowed: what `run` or `publish` wrote")
    names = () if whole else experiment.rerun.cells
    cells = chosen(folder, experiment, names, lost)
    before = runner.read_tables(folder)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        failed = runner.compute_cells(experiment, cells, Path(temporary), jobs)
        after = rounded(runner.read_cells(cells, Path(temporary))[0], then.get("bits"))
    seconds = time.perf_counter() - began
    changed = changes(then, runner.machine() | runner.source() | {"jobs": jobs})
    lines = [
        f"{len(cells)} of {len(experiment.cells)} cells in {seconds:.0f} s; all then in {then['seconds']} s",
        *(f"{name} was {was} and is {now}" for name, (was, now) in changed.items()),
        *(f"failed: {name}: {why}" for name, why in failed.items()),
    ]
    if failed:
        return Repeat(False, "\n".join(lines))
    part = bool(names)
    elsewhere = bool(changed.keys() - SOURCE)
    one, other = values(before, after, part=part)
    same, said = compared(experiment.rerun if elsewhere else config.Rerun(), one, other)
    lines += said
    if same and not part:
        differ = digits(experiment, folder, before, after)
        same = elsewhere or not differ
        lines.append(f"SUMMARY.md: {differ or 'every digit the same'}")
    if tolerances:
        lines += ["", *section(needed(one, other, experiment.rerun.switched))]
    return Repeat(same, "\n".join(lines))


def chosen(folder: Path, experiment: config.Experiment, names: tuple[str, ...], lost: list[str]) -> list[Cell]:
    """The cells of these names, or all."""
    where = f"of its real sets {', '.join(lost)} are not in {datasets.folder()} ({datasets.VARIABLE})"
    if lost and not names:
        raise InputError(f"{folder}: {where}; allowed: to rerun where they are")
    cells = {name_of(cell): cell for cell in experiment.cells}
    for name in names:
        if name not in cells:
            why = where if lost else f"allowed: {', '.join(cells)}"
            raise InputError(f"{folder}: rerun.cells: no cell {name!r}; {why}")
    return [cells[name] for name in dict.fromkeys(names or cells)]


def changes(then: dict, now: dict) -> dict[str, tuple]:
    """What is another commit, package or machine than then: (then, now) by name."""
    pairs = {key: (then.get(key), now.get(key)) for key in ("commit", "changed", *MACHINE)}
    names = sorted(then["versions"].keys() | now["versions"].keys())
    pairs |= {name: (then["versions"].get(name), now["versions"].get(name)) for name in names}
    return {name: (was, now) for name, (was, now) in pairs.items() if was != now}


def values(before: Tables, after: Tables, *, part: bool) -> tuple[Values, Values]:
    """All values of then and of now; of a part, those of ``metrics`` whose settings it has."""
    names = ["metrics"] if part else sorted(before.keys() | after.keys())
    one, other = ({k: v for n in names if n in tables for k, v in flat(n, tables[n])} for tables in (before, after))
    if part:
        settings = {key[2] for key in other}
        one = {key: value for key, value in one.items() if key[2] in settings}
    return one, other


def compared(allowed: config.Rerun, one: Values, other: Values) -> tuple[bool, list[str]]:
    """Compare the values of then and of now.

    Returns:
        whether as many as must be are within the tolerance, and a table of metrics with the values that are not.
    """
    off = {key: difference(one[key], other[key]) for key in one.keys() & other.keys()}
    beyond = [
        key for key in one if key in off and off[key] > allowed.tolerance.get(key[1], TOLERANCE) * scale(one[key])
    ]
    alone = [f"{told(key)}: {one[key]:.6g}, and now none" for key in one if key not in other]
    alone += [f"{told(key)}: none, and now {other[key]:.6g}" for key in other if key not in one]
    wrong = [f"{told(key)}: {one[key]:.6g}, and now {other[key]:.6g}" for key in beyond] + alone
    found = summed(off, beyond, allowed)
    body = [[v.metric, v.n, v.differ, f"{v.largest:.2g}", f"{v.tolerance:g}", v.verdict] for v in found]
    lines = ["", markdown(["metric", "values", "differ", "by at most", "tolerance", ""], body), "", *wrong[:SHOWN]]
    lines += [f"and {len(wrong) - SHOWN} more"] * (len(wrong) > SHOWN)
    differ = sum(value > 0 for value in off.values())
    lines.append(f"{len(off)} values: {len(off) - differ} the same to the last bit, {len(wrong)} beyond the tolerance")
    return not alone and all(line.beyond <= line.allowed and line.largest < math.inf for line in found), lines


def difference(x: float, y: float) -> float:
    """|y - x|; two that are not a number are the same, and a finite one and one that is not are infinitely far."""
    return 0.0 if x == y or (x != x and y != y) else abs(y - x) if np.isfinite(y - x) else np.inf


def scale(x: float) -> float:
    return max(1.0, abs(x)) if np.isfinite(x) else 1.0


def needed(one: Values, other: Values, switched: float) -> dict[str, float]:
    """The tolerances by metric that a second run calls for: twice the largest difference once half of the share
    ``switched`` is left aside, rounded up to 1, 2 or 5 times a power of ten."""
    off: dict[str, list[float]] = {}
    for key in one.keys() & other.keys():
        off.setdefault(key[1], []).append(difference(one[key], other[key]) / scale(one[key]))
    found = {}
    for metric, each in sorted(off.items()):
        aside = (math.floor(switched * len(each)) + 1) // 2
        twice = 2 * sorted(each, reverse=True)[aside]
        if twice > TOLERANCE:
            found[metric] = rounded_up(twice) if twice < math.inf else twice
    return found


def rounded_up(x: float) -> float:
    """A positive number to the next of 1, 2 or 5 times a power of ten."""
    power = math.floor(math.log10(x))
    return next(v for m in (1, 2, 5, 10) if (v := float(f"{m}e{power}")) >= x * (1 - 1e-9))


def section(tolerances: dict[str, float]) -> list[str]:
    """Tolerances as the lines of a config."""
    lines = [f'"{metric}" = {t:g}' if t < math.inf else f"# none helps {metric}" for metric, t in tolerances.items()]
    return ["[rerun.tolerance]", *(lines or ["# none is called for"])]


def flat(name: str, table: pa.Table) -> list[tuple[tuple, float]]:
    """Every measured value by (table, metric, settings); rows with the same settings are numbered."""
    columns = measured(name, table)
    count: Counter[tuple] = Counter()
    found = []
    for n, row in enumerate(table.to_pylist()):
        settings = {k: v for k, v in row.items() if k not in columns and v is not None}
        metric = settings.pop("metric", None)
        if metric in TIMES:
            continue
        settings |= {} if name == "metrics" else {"row": n}
        for column in columns:
            what = metric if name == "metrics" else f"{name}.{column}"
            key = name, what, tuple(settings.items())
            count[key] += 1
            value = float("nan") if row[column] is None else row[column]
            found.append((key if count[key] == 1 else (*key[:2], (*key[2], ("number", count[key]))), value))
    return found


def summed(off: Values, beyond: list[tuple], allowed: config.Rerun) -> list[Line]:
    """The comparison metric by metric, in the order of their names."""
    groups: dict[str, list[tuple]] = {}
    for key in off:
        groups.setdefault(key[1], []).append(key)
    return [
        Line(
            metric,
            len(keys),
            sum(off[key] > 0 for key in keys),
            max(off[key] for key in keys),
            allowed.tolerance.get(metric, TOLERANCE),
            sum(key[1] == metric for key in beyond),
            math.floor(allowed.switched * len(keys)),
        )
        for metric, keys in sorted(groups.items())
    ]


def told(key: tuple) -> str:
    """A value's name: its metric and settings."""
    return f"{key[1]} ({', '.join(f'{name} {value}' for name, value in key[2])})"


def digits(experiment: config.Experiment, folder: Path, before: Tables, after: Tables) -> str:
    """How the committed summary differs from that of the second run with the times of the first; empty: nowhere."""
    text = experiment.module.report(experiment.config, with_times_of(before, after)).text
    kept = (folder / "SUMMARY.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line not in kept.splitlines()]
    if lines:
        return f"{len(lines)} lines differ, now {lines[0]!r}"
    return "" if text in kept else "lines in another order, or more of them"


def with_times_of(before: Tables, after: Tables) -> Tables:
    """The tables of a second run with the times of the first."""
    then, now = before["metrics"], after["metrics"]
    if len(then) != len(now):  # other numbers of times: nothing else can differ here
        return after
    times = pc.is_in(now["metric"], pa.array(TIMES))
    values = pc.if_else(times, then["value"], now["value"])  # type: ignore[attr-defined]
    return after | {"metrics": now.set_column(now.column_names.index("value"), "value", values)}
