"""The contextual model's log density with its gradient, the cost of one step of any of its inferences."""

from __future__ import annotations

from collections.abc import Iterator

import jax
import numpy as np
from numpyro import handlers
from numpyro.infer.util import log_density

from benchmarks.timing import Row, numpy_step, on_device, power_law, seconds
from crowdjax.contextual import PRESETS, model, prepare_data


def run(sizes: list[int]) -> Iterator[Row]:
    for n in (size for size in sizes if size <= 1_000_000):
        host = power_law(n)
        runs = {"NumPy step": numpy_step(host)}
        for name in ("constant-constant", "theodon"):
            config = PRESETS[name]
            score = np.random.default_rng(0).uniform(-1, 1, (host.n_instances, 1))
            data = on_device(prepare_data(config, host, score))
            sites = handlers.trace(handlers.seed(model, 0)).get_trace(config, data)
            free = {k: s["value"] for k, s in sites.items() if s["type"] == "sample" and not s["is_observed"]}
            slope = jax.jit(jax.grad(lambda v, d, c=config: log_density(model, (c, d), {}, v)[0]))
            runs[f"gradient {name}"] = lambda f=slope, v=free, d=data: f(v, d)
        for name, value in seconds(runs, 5).items():
            yield Row("contextual", name, n, 1e9 * value / n, "ns/label")
