"""Many small fits in one program: 1000 fits of 1000 labels, restarts x repeats x one to three factors."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import Row
from crowdjax.factor import FactorConfig, Solver, build, fit, sweep
from crowdjax.labels import Labels

N_REPEATS, RESTARTS = 100, {1: 2, 2: 4, 3: 4}
N_LABELERS, N_INSTANCES, DEGREE = 20, 100, 10


def run(sizes: list[int]) -> Iterator[Row]:
    labels, columns = crowds()
    model = build(FactorConfig(n_factors=3), labels)
    plan = [(r, n, k) for r in range(N_REPEATS) for n, restarts in RESTARTS.items() for k in range(restarts)]
    repeat, factors, restart = np.array(plan).T
    keys = jax.vmap(lambda k: jax.random.fold_in(jax.random.key(0), k))(jnp.asarray(restart))
    members = {"repeat": jnp.asarray(repeat), "factors": jnp.asarray(factors), "key": keys}
    solver = Solver(rtol=1e-5)
    shared = (labels, model, jnp.asarray(columns))
    times = []
    for _ in range(3):
        start = time.perf_counter()
        jax.block_until_ready(sweep(member, shared, members, solver))
        times.append(time.perf_counter() - start)
    name, n = f"{len(plan)} fits", len(labels.label)
    yield Row("batches", name, n, times[0], "s with compiling")
    yield Row("batches", name, n, min(times[1:]), "s")
    start = time.perf_counter()
    one = jax.tree.map(lambda v: v[0], members)
    jax.block_until_ready(jax.jit(lambda s, m: fit(*member(s, m), solver))(shared, one))
    alone = time.perf_counter() - start
    yield Row("batches", "1 fit, compiled by itself", n, alone, "s with compiling")
    yield Row("batches", name, n, len(plan) * alone / times[0], "x as fast as compiling each")


def member(shared, m):
    labels, model, columns = shared
    return dataclasses.replace(labels, label=columns[m["repeat"]]), model.with_factors(m["factors"]), m["key"]


def crowds() -> tuple[Labels, np.ndarray]:
    """(one pattern of who judged what, the labels of every repeat in its order)."""
    rng = np.random.default_rng(0)
    labeler = np.concatenate([rng.choice(N_LABELERS, DEGREE, replace=False) for _ in range(N_INSTANCES)])
    instance = np.repeat(np.arange(N_INSTANCES), DEGREE)
    labels = Labels.from_arrays(labeler, instance, np.ones(len(labeler), int))
    truth = rng.choice([-1, 1], (N_REPEATS, N_INSTANCES))
    s = truth * rng.normal(1.2, 0.4, (N_REPEATS, N_INSTANCES))
    skill = rng.normal(1.0, 0.7, (N_REPEATS, N_LABELERS))
    p = 1 / (1 + np.exp(-skill[:, labels.labeler] * s[:, labels.instance]))
    return labels, (rng.random(p.shape) < p).astype(np.int8)
