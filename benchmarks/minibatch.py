"""More labels than memory holds: a folder of Parquet to a folder of results, in a process of its own.

    python -m benchmarks minibatch --sizes 1e8

Not among the suites that run by default: 1e8 labels take 2 GB of disk for the table, as much again for the parts, and
long. Accuracy is against the truth that the labels were drawn from, and that of Bayes' rule with the true labelers is
the most that can be had.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from benchmarks.timing import Row
from crowdjax import simulate
from crowdjax.simulate import LargeCrowd

BATCH, ROUNDS = 1_000_000, 3
FIT = """
import sys
from crowdjax import api, memory
folder, out, batch, rounds = sys.argv[1:]
api.fit_large(folder, out, batch=int(batch), max_rounds=int(rounds))
print(memory.peak() / 2**30)
"""


def run(sizes: list[int]) -> Iterator[Row]:
    for n in sizes:
        crowd = simulate.power_law(0, n)
        with tempfile.TemporaryDirectory() as folder:
            labels, out = Path(folder) / "labels", Path(folder) / "out"
            labels.mkdir()
            for k, triples in enumerate(crowd.chunks()):
                columns = dict(zip(("labeler", "instance", "label"), triples, strict=True))
                pa.parquet.write_table(pa.table(columns), labels / f"{k:04d}.parquet")
            arguments = [str(labels), str(out), str(min(BATCH, max(1, n // 4))), str(ROUNDS)]
            start = time.perf_counter()
            done = subprocess.run(
                [sys.executable, "-c", FIT, *arguments], cwd=Path(__file__).parent.parent, check=True, text=True,
                stdout=subprocess.PIPE,
            )  # fmt: skip
            yield Row("minibatch", "dawid-skene", n, time.perf_counter() - start, "s")
            yield Row("minibatch", "dawid-skene", n, float(done.stdout), "GiB at most")
            found = pa.parquet.read_table(out / "instances.parquet")
            truth = crowd.truth[found["instance"].to_numpy()] > 0
            right = (found["probability"].to_numpy() > 0.5) == truth
            yield Row("minibatch", "dawid-skene", n, right.mean(), "accuracy")
            yield Row("minibatch", "the true labelers", n, best_accuracy(crowd), "accuracy")


def best_accuracy(crowd: LargeCrowd) -> float:
    """The share of instances that Bayes' rule gets right, with the labelers that drew the labels."""
    log = np.log
    plus = log(crowd.sensitivity) - log(1 - crowd.specificity)  # log-odds of a label +1, and of a label -1
    minus = log(1 - crowd.sensitivity) - log(crowd.specificity)
    odds = np.zeros(len(crowd.truth))
    for labeler, instance, label in crowd.chunks():
        first = instance[0]
        sums = np.bincount(instance - first, np.where(label > 0, plus[labeler], minus[labeler]))
        odds[first : first + len(sums)] += sums
    return float(((odds > 0) == (crowd.truth > 0)).mean())
