"""Whole fits: seconds, passes, compile time and memory, against crowd-kit on one objective, the log-likelihood."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd

from benchmarks.timing import Row, on_device, power_law, seconds
from crowdjax import parallel, simulate, spread
from crowdjax.factor import PRESETS, Factors, Solver, build, evidence, fit
from crowdjax.labels import Labels
from crowdjax.likelihood import discrimination_bias
from crowdjax.observation.integrated_factors import IntegratedFactor, IntegratedGlad

MODELS = {
    "dawid-skene": ("dawid-skene", 1, Solver()),
    "glad": ("glad", 1, Solver()),
    "factor D=1": ("factor", 1, Solver()),
    "factor D=3": ("factor", 3, Solver(rtol=1e-5)),  # as docs/performance.md advises
}
INTEGRATED = {"factor D=1, integrated": IntegratedFactor(), "glad, integrated": IntegratedGlad()}
SHARED_FROM = 1_000_000  # labels, to be timed on several devices
PEERS_UP_TO = {"dawid-skene": 10_000_000, "glad": 100_000}  # labels; beyond, crowd-kit takes many minutes


def run(sizes: list[int]) -> Iterator[Row]:
    for n in sizes:
        host = power_law(n)
        labels = on_device(host)
        yield from integrated(n, host)
        for name, (preset, d, solver) in MODELS.items():
            model = build(dataclasses.replace(PRESETS[preset], n_factors=d), host)
            key = jax.random.key(0)
            start, cpu = time.perf_counter(), time.process_time()
            compiled = eqx.filter_jit(fit).lower(labels, model, key, solver, None).compile()
            compiling, cpu = time.perf_counter() - start, time.process_time() - cpu
            start = time.perf_counter()
            found = jax.block_until_ready(compiled(labels, model, key, solver, None))
            took = time.perf_counter() - start
            if n <= 1_000_000:  # beyond, a fit is long enough to be timed once
                took = seconds({name: partial(compiled, labels, model, key, solver, None)}, 3)[name]
            shared = on_all(host, model, key, solver, 3 if n <= 1_000_000 else 1) if n >= SHARED_FROM else None
            memory = compiled.compiled.memory_analysis()
            yield Row("fits", name, n, took, "s")
            if shared is not None:
                yield Row("fits", f"{name}, {jax.device_count()} devices", n, shared, "s")
            yield Row("fits", name, n, float(found.n_steps), "passes")
            yield Row("fits", name, n, compiling, "s to compile")
            yield Row("fits", name, n, cpu, "s of CPU to compile")  # on a busy machine the one that counts
            if memory is not None:
                yield Row("fits", name, n, memory.temp_size_in_bytes / n, "bytes/label beside the input")
            yield Row("fits", name, n, float(found.log_likelihood), "log-likelihood")
            if n <= PEERS_UP_TO.get(name, 0):
                peer, score = crowd_kit(name, host, labels)
                yield Row("fits", name, n, peer / min(took, shared or took), "x as fast as crowd-kit")
                yield Row("fits", f"crowd-kit {name}", n, peer, "s")
                yield Row("fits", f"crowd-kit {name}", n, score, "log-likelihood")


def integrated(n: int, host: Labels) -> Iterator[Row]:
    """Fits with instances integrated out, on all devices, beside how right and how sure they are."""
    truth = simulate.power_law(0, n).truth
    for name, model in INTEGRATED.items():
        run = partial(spread.fit, host, model, devices=jax.device_count())
        found = run()
        p = np.asarray(found.posterior, np.float64)
        yield Row("fits", name, n, seconds({name: run}, 3 if n <= 1_000_000 else 1)[name], "s")
        yield Row("fits", name, n, float(found.n_steps), "passes")
        yield Row("fits", name, n, float((p.argmax(1) == truth).mean()), "accuracy")
        yield Row("fits", name, n, float(-np.log(np.clip(p[np.arange(len(p)), truth], 1e-7, 1)).mean()), "NLL")


def on_all(host: Labels, model, key, solver: Solver, repeats: int) -> float | None:
    """Seconds of the fit on all devices, cutting the labels to shards included; None where there is one device."""
    if jax.device_count() == 1:
        return None
    return seconds({"": partial(parallel.fit, host, model, key, solver, devices=jax.device_count())}, repeats)[""]


def crowd_kit(name: str, host: Labels, labels: Labels) -> tuple[float, float]:
    """(seconds of crowd-kit's fit, log-likelihood of its labelers, instances and class prior in our terms)."""
    from crowdkit.aggregation import GLAD, DawidSkene

    real = host.real
    columns = {"worker": host.labeler[real], "task": host.instance[real], "label": host.label[real]}
    table = pd.DataFrame(columns)
    peer = DawidSkene() if name == "dawid-skene" else GLAD()
    start = time.perf_counter()
    peer.fit(table)
    took = time.perf_counter() - start
    workers, tasks = np.arange(host.n_labelers), np.arange(host.n_instances)
    if name == "dawid-skene":
        errors = peer.errors_.unstack("label").reindex(workers, fill_value=0.5).to_numpy().reshape(-1, 2, 2)
        right = np.clip([errors[:, k, k] for k in (1, 0)], 1e-6, 1 - 1e-6)  # columns: label by true class
        s, gamma = discrimination_bias(*jnp.asarray(right))
        beta, prior = np.ones(host.n_instances), peer.priors_.reindex([1], fill_value=0.5).iloc[0]
    else:
        s, gamma = peer.alphas_.reindex(workers, fill_value=1.0).to_numpy(), None
        beta, prior = np.exp(peer.betas_.reindex(tasks, fill_value=0.0).to_numpy()), 0.5
    logit = np.full(host.n_instances, np.log(prior / (1 - prior)))
    parts = (s[:, None], beta[:, None], gamma, logit)
    factors = Factors(*(None if v is None else jnp.asarray(v, jnp.float32) for v in parts))
    return took, float(evidence(labels, factors))
