"""Whole fits of the contextual model: NUTS on 1500 items with two labels each, Laplace on as many labels as asked for.

Seconds include compilation: of the first fit all of it, of later ones of its shape next to none. Memory is the peak of
the process so far, data included. Chains in threads and vmapped chains, from the same state, are timed in turns.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.timing import Row, seconds
from crowdjax import memory, simulate
from crowdjax.contextual import PRESETS, ContextualConfig, Inference, Scale, fit, nuts, prepare_data
from crowdjax.contextual.coordinates import affine, find_coordinates
from crowdjax.contextual.model import log_density
from crowdjax.labels import Labels

SHOWN = {
    "rhat": "R-hat",
    "ess": "least ESS",
    "divergences": "divergences",
    "khat": "k-hat",
}
NUTS = (1500, 2, 20)  # items, labels of each, labelers
N_NUTS = 4  # crowds
PER_ITEM, LABELERS = 3, 50  # for Laplace


def run(sizes: list[int]) -> Iterator[Row]:
    for seed in range(N_NUTS):
        yield from one("nuts", *NUTS, seed)
    labels, score = crowd(*NUTS, 0)
    yield from chains(PRESETS["theodon"], labels, score)
    for n in sizes:
        yield from one("laplace", n // PER_ITEM, PER_ITEM, LABELERS, 0)


def crowd(n_items: int, per_item: int, n_labelers: int, seed: int) -> tuple[Labels, np.ndarray]:
    """(labels, scores) of ``simulate.theodon``."""
    drawn = jax.tree.map(np.asarray, simulate.theodon(jax.random.key(seed), n_items, per_item, n_labelers))
    return drawn.labels(n_labelers), drawn.score


def one(method, n_items: int, per_item: int, n_labelers: int, seed: int) -> Iterator[Row]:
    """The fit of one crowd."""
    labels, score = crowd(n_items, per_item, n_labelers, seed)
    start = time.perf_counter()
    found = fit(labels, score, PRESETS["theodon"], jax.random.key(1), Inference(method))
    row = lambda value, unit: Row("inference", f"{method}, crowd {seed}", n_items * per_item, value, unit)  # noqa: E731
    yield row(time.perf_counter() - start, "s")
    yield row(memory.peak() / 2**30, "GiB at most")
    for name, title in SHOWN.items():
        if name in found.diagnostics:
            yield row(float(found.diagnostics[name]), title)


def chains(config: ContextualConfig, labels: Labels, score, n: int = nuts.BLOCK, n_chains: int = 2) -> Iterator[Row]:
    """n transitions of every chain, with a step size that is not adapted, in threads and vmapped."""
    data = prepare_data(config, labels, Scale.learn(score)(score))
    at = affine(config, data, find_coordinates(config, data).coordinates)
    size, adapt = len(at.mean), (0, 0.9, 5)
    begin = nuts.Sampler(jnp.zeros((n_chains, size)), jnp.full(n_chains, 0.1), jnp.ones((n_chains, size)))
    keys, density = jax.random.split(jax.random.key(0), n_chains), jax.tree_util.Partial(log_density, config)
    state = nuts.start(density, data, at, adapt, begin, keys)
    count = jnp.asarray(n)
    with ThreadPoolExecutor(n_chains) as pool:
        took = seconds(
            {
                "in threads": lambda: nuts.in_threads(pool.map, density, data, at, adapt, state, count),
                "vmapped": lambda: nuts.vmapped(density, data, at, adapt, state, count),
            },
            5,
        )
    for how, value in took.items():
        yield Row("inference", f"{n} transitions of {n_chains} chains {how}", len(labels.label), value, "s")
