"""Thousands of tables of different sizes in one process: seconds for each, memory maps, answers.

    python -m benchmarks tables

A service that fits a table for whoever asks: 2000 tables of as many sizes, from 500 to 2500 labels, of 8 to 29 labelers
each, in random order, by ``auto``. A program that is compiled for each would end the process after some hundred of
them, since Linux allows a process 65,530 memory maps.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

import crowdjax
from benchmarks.timing import Row
from crowdjax.memory import memory_maps

SIZES = np.linspace(500, 2500, 2000).astype(int)


def run(sizes: list[int]) -> Iterator[Row]:
    """Sizes are those of the suite; the argument is that of all."""
    rng, took, right, lost, maps = np.random.default_rng(0), [], [], [], []
    for n in rng.permutation(SIZES):
        table, truth = small(rng, int(n), int(rng.integers(8, 30)))
        cpu = time.process_time()
        found = crowdjax.fit(table, "auto")
        took.append(time.process_time() - cpu)
        p = found.tables["instances"]["probability"].to_numpy()
        right.append(((p > 0.5) == truth).mean())
        lost.append(-np.log(np.maximum(np.where(truth, p, 1 - p), 1e-10)).mean())
        maps.append(memory_maps())
    n, quarters = len(SIZES), np.array_split(took, 4)
    for which, part in zip(("first", "second", "third", "last"), quarters, strict=True):
        yield Row("tables", f"the {which} {len(part)}: a table, mean", n, float(part.mean()), "s of CPU")
        yield Row("tables", f"the {which} {len(part)}: a table, median", n, float(np.median(part)), "s of CPU")
    yield Row("tables", "memory maps, most", n, max(maps), "maps")
    yield Row("tables", "answers", n, float(np.mean(right)), "accuracy")
    yield Row("tables", "answers", n, float(np.mean(lost)), "nats of NLL an instance")


def small(rng: np.random.Generator, n: int, n_labelers: int):
    """A table of so many labels, five an instance, and the truth of its instances."""
    n_instances = n // 5
    truth, instance = rng.random(n_instances) < 0.4, np.arange(n) % n_instances
    labeler = rng.integers(0, n_labelers, n)
    right = rng.random(n) < rng.beta(6, 2, n_labelers)[labeler]
    label = np.where(right, truth[instance], ~truth[instance]).astype(int)
    return {"labeler": labeler, "instance": instance, "label": label}, truth
