"""Clocks, the machine, and the two yardsticks of every run: a plain NumPy step and the bandwidth of a copy."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import time
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from crowdjax import simulate
from crowdjax.labels import Labels


class Row(NamedTuple):
    """One measurement."""

    suite: str
    name: str
    labels: int
    value: float
    unit: str


@cache
def power_law(n_labels: int) -> Labels:
    """The label set of this size, on the host: 10 labels per instance, labelers with power-law activity."""
    return simulate.power_law(0, n_labels).labels()


def on_device(labels: Labels) -> Labels:
    return jax.tree.map(jnp.asarray, labels)


def seconds(runs: Mapping[str, Callable[[], Any]], repeats: int = 7) -> dict[str, float]:
    """The median time of each run, taken in turns, so that a busy moment of the machine meets all; one to warm up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            jax.block_until_ready(run())
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: float(np.median(t)) for name, t in times.items()}


def numpy_step(labels: Labels) -> Callable[[], Any]:
    """Two gathers and two bincounts, what a Dawid-Skene step can't do without, in NumPy (float64 sums)."""
    labeler, instance = labels.labeler[labels.real], labels.instance[labels.real]
    rng = np.random.default_rng(0)
    alpha, p = rng.normal(size=labels.n_labelers), rng.random(labels.n_instances)

    def step():
        votes = np.bincount(instance, alpha[labeler], labels.n_instances)
        return votes, np.bincount(labeler, p[instance], labels.n_labelers)

    return step


def copy_bandwidth(size: int = 2**27) -> float:
    """Bytes per second that the device reads and writes when it adds 1 to an array of ``size`` bytes, in place."""
    add = jax.jit(lambda x: x + 1, donate_argnums=0)
    held = [jnp.zeros(size // 4, jnp.float32)]

    def run():
        held[0] = add(held[0])
        return held[0]

    return 2 * size / seconds({"copy": run})["copy"]


def machine() -> dict[str, Any]:
    return {
        "date": datetime.date.today().isoformat(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "processor": platform.processor() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **{name: version(name) for name in ("jax", "jaxlib", "numpy", "scipy", "pandas", "pyarrow", "crowd-kit")},
        "commit": commit(),
    }


def commit() -> str:
    """Which version of the source is measured; unknown outside of its repository."""
    command = ["git", "-C", os.path.dirname(__file__), "describe", "--always", "--dirty"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
