"""The integrated model: one E-step over its points, and what ``auto`` takes from labels to answers."""

from __future__ import annotations

import time
from collections.abc import Iterator

import jax

from benchmarks.timing import Row, numpy_step, on_device, power_law, seconds
from crowdjax.integrated import fit_jit, grid_pass, of_instances, place, plan, start

UP_TO = 1_000_000  # labels


def run(sizes: list[int]) -> Iterator[Row]:
    one_step = jax.jit(grid_pass, static_argnums=2)
    for n in (size for size in sizes if size <= UP_TO):
        host = power_law(n)
        config, boundary, _ = plan(host)
        labels, parameters = on_device(host), start(config, host.n_labelers)
        runs = {"NumPy step": numpy_step(host), "E-step": lambda a=labels, b=parameters, c=config: one_step(a, b, c)}
        for name, value in seconds(runs, 5).items():
            yield Row("integrated", name, n, 1e9 * value / n, "ns/label")
        for kind in ("auto, with compiling", "auto"):
            began = time.perf_counter()
            found = fit_jit(labels, config)
            placed = place(boundary, found.parameters.labelers, found.counts)
            jax.block_until_ready(of_instances(labels, found.parameters, config, placed))
            yield Row("integrated", kind, n, time.perf_counter() - began, "s")
