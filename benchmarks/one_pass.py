"""Time per label of one pass over the triples, against the plain NumPy step, and of whole fits.

    python -m benchmarks.one_pass [LABELS ...]          default: 1e5 1e6; appends to benchmarks/results/one_pass.json

Ratios within a run are what counts: the NumPy step (two gathers, two bincounts) is timed in the same process.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from crowdjax import simulate
from crowdjax.factor import PRESETS, Factors, build, curvature_pass, data_pass, fit_jit

RESULTS = Path(__file__).parent / "results" / "one_pass.json"


def seconds(run, repeats: int = 9) -> float:
    """The median time of a run, after one to warm up."""
    jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(run())
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def measure(n_labels: int) -> dict:
    """Nanoseconds per label at this size; passes, seconds and compile seconds of whole fits."""
    labels = simulate.power_law(0, n_labels).labels()
    real = labels.label != 0
    labeler, instance = labels.labeler[real], labels.instance[real]
    rng = np.random.default_rng(0)
    alpha, weight = rng.normal(size=labels.n_labelers), rng.normal(size=labels.n_instances)

    def numpy_step():
        votes = np.bincount(instance, alpha[labeler], labels.n_instances)
        return votes[0] + np.bincount(labeler, weight[instance], labels.n_labelers)[0]

    row = {"labels": n_labels, "numpy_step_ns": 1e9 / n_labels * seconds(numpy_step, 5)}
    labels = jax.tree.map(jnp.asarray, labels)
    for d in (1, 3):
        factors = Factors(
            alpha=jnp.asarray(rng.normal(1, 1, (labels.n_labelers, d)), jnp.float32),
            beta=jnp.asarray(rng.normal(1, 1, (labels.n_instances, d)), jnp.float32),
            gamma=jnp.asarray(rng.normal(0, 1, labels.n_labelers), jnp.float32),
            prior_logit=jnp.zeros(labels.n_instances),
        )
        for name, kernel in (("pass", data_pass), ("curvature", curvature_pass)):
            compiled = jax.jit(kernel)
            row[f"{name}_d{d}_ns"] = 1e9 / n_labels * seconds(lambda k=compiled, f=factors: k(labels, f))
    for preset in ("dawid-skene", "glad"):
        model, key = build(PRESETS[preset], labels), jax.random.key(0)
        start = time.perf_counter()
        found = jax.block_until_ready(fit_jit(labels, model, key))
        first = time.perf_counter() - start
        again = seconds(lambda m=model, k=key: fit_jit(labels, m, k).posterior, 3)
        row |= {f"{preset}_passes": int(found.n_steps), f"{preset}_s": again, f"{preset}_compile_s": first - again}
    return row


def main() -> None:
    sizes = [int(float(size)) for size in sys.argv[1:]] or [100_000, 1_000_000]
    record = {
        "date": datetime.date.today().isoformat(),
        "device": f"{jax.device_count()} x {jax.devices()[0].device_kind}",
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "load": os.getloadavg()[0],
        "rows": [measure(size) for size in sizes],
    }
    past = json.loads(RESULTS.read_text()) if RESULTS.exists() else []
    RESULTS.write_text(json.dumps([*past, record], indent=1) + "\n")
    for row in record["rows"]:
        print("  ".join(f"{k} {v:.3g}" for k, v in row.items()))


if __name__ == "__main__":
    main()
