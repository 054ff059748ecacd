"""Whole fits of the contextual model: NUTS on 1500 items with two labels each, Laplace on as many labels as asked for.

Seconds include compilation, of the first fit from nothing; memory is the process's peak so far, data included.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator

import jax
import numpy as np

from benchmarks.timing import Row
from crowdjax import simulate
from crowdjax.contextual import PRESETS, Inference, fit

SHOWN = {
    "rhat": "R-hat",
    "ess": "least ESS",
    "divergences": "divergences",
    "khat": "k-hat",
    "khat_scales": "k-hat of scales",
}
NUTS = (1500, 2, 20)  # items, labels of each, labelers
PER_ITEM, LABELERS = 3, 50  # for Laplace


def run(sizes: list[int]) -> Iterator[Row]:
    for repeat in range(2):
        yield from one("nuts", *NUTS, repeat)
    for n in sizes:
        yield from one("laplace", n // PER_ITEM, PER_ITEM, LABELERS, 0)


def one(method, n_items: int, per_item: int, n_labelers: int, seed: int) -> Iterator[Row]:
    """One crowd of ``simulate.theodon`` and its fit."""
    crowd = jax.tree.map(np.asarray, simulate.theodon(jax.random.key(seed), n_items, per_item, n_labelers))
    labels = crowd.labels(n_labelers)
    start = time.perf_counter()
    found = fit(labels, crowd.score, PRESETS["theodon"], jax.random.key(1), Inference(method))
    row = lambda value, unit: Row("inference", f"{method}, crowd {seed}", n_items * per_item, value, unit)  # noqa: E731
    yield row(time.perf_counter() - start, "s")
    yield row(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "GiB at most")
    for name, title in SHOWN.items():
        if name in found.diagnostics:
            yield row(float(found.diagnostics[name]), title)
