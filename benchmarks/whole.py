"""Whole processes from a CSV to results, beside crowd-kit's, in turns: CPU, clock, memory, answers.

    python -m benchmarks whole --sizes 1e3,1e4,1e5,1e6

Crowds have 2, 5 and 10 classes, ten labels an instance and ids that are words. ``cold`` starts without compiled
programs, ``warm`` with those of an earlier process; calls are of one process, reading included: the first, the second,
and one of another table, with nine tenths of the rows. crowd-kit reads with pandas and writes Parquet, as we do. Times
are medians; CPU counts all threads, the system's part too.
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from benchmarks.classes import crowd_of
from benchmarks.timing import Row
from crowdjax import memory

ROOT = Path(__file__).parent.parent
CLASSES = (2, 5, 10)
REPEATS = {"dawid-skene": 5, "glad": 1, "auto": 1}  # turns of each model; compiling is what some take long for
MOST = {"crowd-kit glad": 10_000}  # labels; a fit of more takes minutes
LONG = 5_000_000  # labels, from which on there is one turn
PEERS = {"dawid-skene": "DawidSkene(n_iter=100)", "glad": "GLAD()"}  # of crowd-kit; GLAD's is of two classes


class Took(NamedTuple):
    """What a process took: seconds of CPU and of the clock, and the most memory in bytes."""

    cpu: float
    clock: float
    peak: float


def run(sizes: list[int]) -> Iterator[Row]:
    for n in sizes:
        for k in CLASSES:
            with tempfile.TemporaryDirectory() as folder:
                table = Path(folder) / "labels.csv"
                truth = write(table, n, k)
                for model, repeats in REPEATS.items():
                    peer = f"crowd-kit {model}"
                    there = model in PEERS and n <= MOST.get(peer, n) and (model != "glad" or k == 2)
                    peer = peer if there else None
                    yield from processes(table, truth, n, k, model, 1 if n >= LONG else repeats, peer)
                    yield from calls(table, n, k, model, peer)


def write(path: Path, n: int, k: int) -> np.ndarray:
    """Writes the labels of a crowd in random order; returns the truth of each instance."""
    labels, truth = crowd_of(n, k)
    rows = np.random.default_rng(0).permutation(np.flatnonzero(labels.real))
    names = {side: [f"{side[0]}{v}" for v in getattr(labels, side)[rows]] for side in ("labeler", "instance")}
    pyarrow.csv.write_csv(
        pa.table({"worker": names["labeler"], "task": names["instance"], "label": labels.label[rows]}), path
    )
    return truth


def processes(table: Path, truth, n: int, k: int, model: str, repeats: int, peer: str | None) -> Iterator[Row]:
    """Our process, cold and warm, and crowd-kit's, in turns."""
    ours, theirs = table.with_name("out"), table.with_name("peer.parquet")
    fit = [sys.executable, "-m", "crowdjax", "fit", str(table), "--model", model, "--out", str(ours)]
    took: dict[str, list[Took]] = {}
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            for kind in ("cold", "warm"):
                took.setdefault(f"{model}, {kind}", []).append(timed(fit, CROWDJAX_CACHE=cache))
        if peer is not None:
            code = CROWD_KIT.format(model=PEERS[model])
            took.setdefault(peer, []).append(timed([sys.executable, "-c", code, str(table), str(theirs)]))
    middle = {name: Took(*np.median(of, axis=0)) for name, of in took.items()}
    for name, of in middle.items():
        title = f"{name}, K={k}"
        yield Row("whole", title, n, of.cpu, "s of CPU")
        yield Row("whole", title, n, of.clock, "s")
        yield Row("whole", title, n, of.peak / 2**20, "MiB at most")
        if peer not in (None, name):
            yield Row("whole", title, n, middle[peer].cpu / of.cpu, "x less CPU than crowd-kit")
    answers = {f"{model}, warm": ours / "instances.parquet"} | ({} if peer is None else {peer: theirs})
    for name, path in answers.items():
        accuracy, nll = scores(path, truth, k)
        yield Row("whole", f"{name}, K={k}", n, accuracy, "accuracy")
        yield Row("whole", f"{name}, K={k}", n, nll, "nats of NLL an instance")


def scores(path: Path, truth, k: int) -> tuple[float, float]:
    """(accuracy, mean -log P(truth)) of the answers in a file."""
    table = pq.read_table(path)
    ids = table["instance" if "instance" in table.column_names else "task"].to_pylist()
    if "probability" in table.column_names:
        yes = table["probability"].to_numpy()
        p = np.stack([1 - yes, yes], 1)
    else:
        prefix = "p_" if "p_0" in table.column_names else ""
        p = np.stack([table[f"{prefix}{c}"].to_numpy() for c in range(k)], 1)
    known = truth[[int(name[1:]) for name in ids]]
    chance = p[np.arange(len(p)), known]
    return float((p.argmax(1) == known).mean()), float(-np.log(np.maximum(chance, 1e-10)).mean())


def calls(table: Path, n: int, k: int, model: str, peer: str | None) -> Iterator[Row]:
    """The first and the second call of one process, and one of another table, ours and crowd-kit's."""
    other = table.with_name("other.csv")
    with table.open() as rows, other.open("w") as some:
        some.writelines(itertools.islice(rows, 1 + 9 * n // 10))
    both = {model: CALLS} | ({} if peer is None else {peer: CALLS_OF_PEER.format(model=PEERS[model])})
    for name, code in both.items():
        command = [sys.executable, "-c", code, model, str(table), str(table), str(other)]
        done = subprocess.run(command, cwd=ROOT, env=installed(), check=True, capture_output=True, text=True)
        for which, (cpu, clock) in zip(("first", "second", "another"), json.loads(done.stdout), strict=True):
            yield Row("whole", f"{name}, {which} call, K={k}", n, cpu, "s of CPU")
            yield Row("whole", f"{name}, {which} call, K={k}", n, clock, "s")


CROWD_KIT = """
import sys, pandas as pd
from crowdkit.aggregation import GLAD, DawidSkene
found = {model}.fit(pd.read_csv(sys.argv[1]))
found.probas_.rename(columns=str).reset_index().to_parquet(sys.argv[2])
about = found.errors_ if hasattr(found, "errors_") else found.alphas_.to_frame("alpha")
about.rename(columns=str).reset_index().to_parquet(sys.argv[2] + ".labelers")
"""

CALLS = """
import json, sys, time
import crowdjax
took = []
for table in sys.argv[2:]:
    cpu, clock = time.process_time(), time.perf_counter()
    crowdjax.fit(table, sys.argv[1])
    took.append((time.process_time() - cpu, time.perf_counter() - clock))
print(json.dumps(took))
"""

CALLS_OF_PEER = """
import json, sys, time, pandas as pd
from crowdkit.aggregation import GLAD, DawidSkene
took = []
for table in sys.argv[2:]:
    cpu, clock = time.process_time(), time.perf_counter()
    {model}.fit(pd.read_csv(table))
    took.append((time.process_time() - cpu, time.perf_counter() - clock))
print(json.dumps(took))
"""


def timed(command: list[str], **environment: str) -> Took:
    """Runs a process; refuses one that failed."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=installed() | environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    done, peak = 0, 0
    while not done:  # what the kernel says of memory in the end counts this process, too, of which that one is made
        peak = max(peak, memory.peak(process.pid))
        time.sleep(0.01)
        done, status, usage = os.wait4(process.pid, os.WNOHANG)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Took(usage.ru_utime + usage.ru_stime, time.perf_counter() - start, peak)


def installed() -> dict[str, str]:
    """The environment, in which modules of a checkout are compiled once, as those that pip installs are."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
