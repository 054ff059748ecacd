"""One pass over labels of K classes: the table pass beside SciPy's sparse products, and the pass of many classes.

Seconds are of CPU, the least of several turns, so that a busy machine matters little; for one core start it with
`taskset -c 0`. SciPy multiplies an (instances x W L) matrix with the table, normalises, and multiplies back: the same
sums, float32 as well, but for the digits that one running sum of each labeler loses.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import sparse

from benchmarks.timing import Row, on_device, power_law
from crowdjax.labels import Labels
from crowdjax.observation import OneCoin, table_pass
from crowdjax.observation.voted import first_votes, fit_voted_jit, voted_pass

TABLES = {2: 2, 3: 3, 5: 5, 10: 10, 20: 20, 4: 256}  # classes: points; the last is 64 points of each class
MANY = 1000  # classes
MOST = 2e9  # numbers that SciPy may hold for the instances


def run(sizes: list[int]) -> Iterator[Row]:
    for n in sizes:
        for k, points in TABLES.items():
            labels = crowd(n, k)
            table, prior, classes = numbers(labels, points)
            ours = partial(jax.jit(table_pass), on_device(labels), *map(jnp.asarray, (table, prior, classes)))
            runs: dict[str, Callable[[], Any]] = {"pass": ours}
            if labels.n_instances * points < MOST / 8:
                runs["SciPy"] = sparse_step(labels, table, prior)
            found = cpu_seconds(runs, 20 if n < 1e7 and points < 100 else 5)
            name = f"K={k}" if points == k else f"K={k}, {points} points"
            for kind, value in found.items():
                yield Row("classes", f"{kind} {name}", n, 1e9 * value / n, "ns of CPU/label")
            if "SciPy" in found:
                yield Row("classes", f"pass {name}", n, found["SciPy"] / found["pass"], "x as fast as SciPy")
        yield from many(n)


def many(n: int) -> Iterator[Row]:
    """A coin whose labels are of a thousand classes: its pass, and a whole fit."""
    labels = on_device(crowd(n, MANY))
    right = jnp.log(jnp.full(labels.n_labelers, 0.6))
    wrong = jnp.log(jnp.full(labels.n_labelers, 0.4 / (MANY - 1)))
    given = labels, right, wrong, jnp.full(MANY, -np.log(MANY), jnp.float32)
    runs = {
        f"voted classes, K={MANY}": partial(jax.jit(voted_pass), *given, jax.jit(first_votes)(labels)),
        f"fit of one-coin, K={MANY}": partial(fit_voted_jit, labels, OneCoin()),
    }
    for name, value in cpu_seconds(runs, 5).items():
        yield Row("classes", name, n, 1e9 * value / n, "ns of CPU/label")
    found = fit_voted_jit(labels, OneCoin())
    yield Row("classes", f"fit of one-coin, K={MANY}", n, float(found.n_steps), "passes")


def crowd(n: int, n_classes: int) -> Labels:
    """The labels of ``crowd_of``."""
    return crowd_of(n, n_classes)[0]


def crowd_of(n: int, n_classes: int) -> tuple[Labels, np.ndarray]:
    """(labels of so many classes, six in ten right and the others by chance, by the crowd of this size
    (``timing.power_law``); the truth of each instance)."""
    of = power_law(n)
    real, rng = of.real, np.random.default_rng(n_classes)
    labeler, instance = of.labeler[real], of.instance[real]
    truth = rng.integers(0, n_classes, of.n_instances)
    label = np.where(rng.random(n) < 0.6, truth[instance], rng.integers(0, n_classes, n))
    sizes = dict(n_labelers=of.n_labelers, n_instances=of.n_instances, n_values=n_classes)
    return Labels.from_arrays(labeler, instance, label, **sizes), truth


def numbers(labels: Labels, points: int):
    """(table [W, L, G], log prior [G], class of point [G, K]) in float32."""
    rng = np.random.default_rng(0)
    table = np.log(rng.dirichlet(np.ones(labels.n_values), (labels.n_labelers, points))).transpose(0, 2, 1)
    classes = np.repeat(np.eye(labels.n_classes), points // labels.n_classes, axis=0)
    return tuple(np.ascontiguousarray(v, np.float32) for v in (table, np.full(points, -np.log(points)), classes))


def sparse_step(labels: Labels, table, prior) -> Callable[[], Any]:
    """The evidence and the sums by labeler, by two sparse products."""
    real = labels.real
    column = labels.labeler[real] * labels.n_values + labels.label[real].astype(np.int32)
    rows, ones = table.reshape(-1, table.shape[2]), np.ones(real.sum(), np.float32)
    shape = labels.n_instances, len(rows)
    votes = sparse.csr_matrix((ones, (labels.instance[real], column)), shape=shape)
    back = votes.T.tocsr()

    def step():
        h = votes @ rows + prior
        top = h.max(axis=1, keepdims=True)
        q = np.exp(h - top)
        s = q.sum(axis=1, keepdims=True)
        q /= s
        return (top + np.log(s)).sum(), back @ q, q.sum(axis=0)

    return step


def cpu_seconds(runs: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """The least CPU time of each run, taken in turns; one to warm up."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats + 1):
        for name, run in runs.items():
            start = time.process_time()
            jax.block_until_ready(run())
            if repeat:
                times[name].append(time.process_time() - start)
    return {name: min(t) for name, t in times.items()}
