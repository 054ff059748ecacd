"""Whole processes: from a CSV to files of results, against crowd-kit; and a fit shared by two processes.

    python -m benchmarks processes --sizes 1e5,1e6

The command line runs twice with a cache of compiled programs of its own: empty (cold), then filled (warm). crowd-kit
reads, fits and writes with pandas. For one process against two every process is tied to one core and has one device;
what is timed is its second fit, so that compiling is left out.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from benchmarks.timing import Row
from crowdjax import simulate

ROOT = Path(__file__).parent.parent
PEERS = {"dawid-skene": ("DawidSkene", 1_000_000), "glad": ("GLAD", 100_000)}  # and up to how many labels they run
SHARED_FROM = 1_000_000  # labels; a smaller fit is over before a second process has helped


def run(sizes: list[int]) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        for n in sizes:
            table = Path(folder) / "labels.csv"
            write(table, n)
            for model, (peer, most) in PEERS.items():
                if n <= most:
                    *ours, (name, of_peer) = whole(table, model, peer)
                    yield Row("processes", name, n, of_peer, "s")
                    for name, took in ours:
                        yield Row("processes", name, n, took, "s")
                        yield Row("processes", name, n, of_peer / took, "x as fast as crowd-kit")
            if n >= SHARED_FROM:
                one, two = shared(n, 1), shared(n, 2)
                yield Row("processes", "glad in 1 process on 1 core", n, one, "s")
                yield Row("processes", "glad in 2 processes on 1 core each", n, two, "s")
                yield Row("processes", "glad in 2 processes on 1 core each", n, one / two, "x as fast as in 1")


def write(path: Path, n: int) -> None:
    """Labels of ``simulate.power_law`` as a CSV with crowd-kit's kind of columns."""
    labeler, instance, label = (np.concatenate(v) for v in zip(*simulate.power_law(0, n).chunks(), strict=True))
    columns = {"labeler": labeler, "instance": instance, "label": (label > 0).astype(np.int8)}
    pyarrow.csv.write_csv(pa.table(columns), path)


def whole(table: Path, model: str, peer: str) -> Iterator[tuple[str, float]]:
    """(name, seconds) of our process with a cold and a warm cache, and of crowd-kit's."""
    out = str(table.with_name("out"))
    ours = [sys.executable, "-c", "from crowdjax.cli import main; main()", "fit", str(table), "--model", model]
    with tempfile.TemporaryDirectory() as cache:
        for kind in ("cold", "warm"):
            yield f"{model}, {kind}", timed([*ours, "--out", out], CROWDJAX_CACHE=cache)
    yield f"crowd-kit {model}", timed([sys.executable, "-c", CROWD_KIT, str(table), peer, out + ".csv"])


CROWD_KIT = """
import sys, pandas as pd
from crowdkit import aggregation
table, peer, out = sys.argv[1:]
votes = pd.read_csv(table).rename(columns={"labeler": "worker", "instance": "task"})
getattr(aggregation, peer)().fit_predict(votes).to_csv(out)
"""


def timed(command: list[str], **environment: str) -> float:
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=os.environ | environment, check=True, capture_output=True)
    return time.perf_counter() - start


def shared(n: int, n_processes: int) -> float:
    """Seconds of the slowest of so many processes for a fit of n labels, each with its share of the instances."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""}
    arguments = [[str(n), address, str(n_processes), str(k)] for k in range(n_processes)]
    running = [
        subprocess.Popen([sys.executable, "-m", "benchmarks.processes", *a], cwd=ROOT, env=environment, text=True,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for a in arguments
    ]  # fmt: skip
    said = [process.communicate() for process in running]
    if any(process.returncode for process in running):
        raise RuntimeError(said[0][1])
    return max(float(text.split()[-1]) for text, _ in said)


def member(n: int, address: str, n_processes: int, k: int) -> float:
    """Seconds of this process's second fit of its share of the labels."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[k % len(cores)]})
    import jax

    from crowdjax import parallel
    from crowdjax.factor import PRESETS, build
    from crowdjax.labels import Labels

    if n_processes > 1:
        parallel.start(address, n_processes, k)
    crowd = simulate.power_law(0, n)
    first, last = (len(crowd.truth) * j // n_processes for j in (k, k + 1))
    parts = []
    for labeler, instance, label in crowd.chunks():
        mine = (instance >= first) & (instance < last)
        parts.append((labeler[mine], instance[mine] - first, label[mine]))
    triples = (np.concatenate(v) for v in zip(*parts, strict=True))
    labels = Labels.from_arrays(*triples, n_labelers=len(crowd.sensitivity), n_instances=last - first)
    model, took = build(PRESETS["glad"], labels), 0.0
    for _ in range(2):
        start = time.perf_counter()
        parallel.fit(labels, model, jax.random.key(0))
        took = time.perf_counter() - start
    return took


if __name__ == "__main__":
    print(member(int(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])))
