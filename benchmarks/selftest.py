"""Known answers, before anything is timed: on a new device a fast wrong kernel would be worth nothing."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from crowdjax import segments
from crowdjax.factor import PRESETS, Factors, build, fit_jit, kernels
from crowdjax.labels import Labels


def run() -> None:
    """Raises ``AssertionError`` where the device computes something else."""
    sums_are_bincounts()
    passes_are_dense_tables()
    a_clear_crowd_is_read_rightly()


def sums_are_bincounts(n: int = 1_000_000) -> None:
    """Into few slots and many, ordered and not: the reductions that devices do differently."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=n).astype(np.float32)
    for size, ordered in ((3, False), (1000, False), (100_000, True)):
        index = rng.integers(0, size, n).astype(np.int32)
        index = np.sort(index) if ordered else index
        found = jax.jit(segments.sum_by, static_argnums=2, static_argnames="ordered")(
            values, index, size, ordered=ordered
        )
        exact = np.bincount(index, values.astype(np.float64), size)
        np.testing.assert_allclose(found, exact, atol=1e-3 * np.sqrt(n / size))


def passes_are_dense_tables() -> None:
    """Value, posterior and gradients in α by a dense table in float64, for one factor with equal β and for two."""
    rng = np.random.default_rng(1)
    w, i = 40, 4000
    cells = np.argwhere(rng.random((i, w)) < 0.3)
    instance, labeler = cells.T
    y = rng.choice([-1, 1], len(cells))
    labels = Labels.from_arrays(labeler, instance, y, n_labelers=w, n_instances=i)
    table = np.zeros((w, i))
    table[labeler, instance] = y
    for d in (1, 2):
        alpha, gamma, eta = rng.normal(1, 1, (w, d)), rng.normal(size=w), rng.normal(size=i)
        beta = rng.normal(1, 1, (i, d)) if d > 1 else np.full((i, 1), 0.8)
        s = alpha @ beta.T
        log = {z: np.where(table != 0, -np.logaddexp(0, -table * (gamma[:, None] + z * s)), 0) for z in (1, -1)}
        plus, minus = log[1].sum(0) - np.logaddexp(0, -eta), log[-1].sum(0) - np.logaddexp(0, eta)
        p = 1 / (1 + np.exp(minus - plus))
        right = {z: (table > 0) - 1 / (1 + np.exp(-gamma[:, None] - z * s)) for z in (1, -1)}
        slope = ((p * right[1] - (1 - p) * right[-1]) * (table != 0)) @ beta
        factors = Factors(*(jnp.asarray(v, jnp.float32) for v in (alpha, beta, gamma, eta)))
        passes = [jax.jit(kernels.data_pass)(labels, factors)]
        if d == 1:
            passes += [jax.jit(lambda x, f: kernels.folded_pass(x, kernels.tally(x), f)[0])(labels, factors)]
        for found in passes:
            np.testing.assert_allclose(found.value, np.logaddexp(plus, minus).sum(), rtol=1e-5)
            np.testing.assert_allclose(found.posterior, p, atol=1e-4)
            np.testing.assert_allclose(found.gradient.alpha, slope, atol=1e-4 * np.abs(slope).max())


def a_clear_crowd_is_read_rightly() -> None:
    """Nine labelers who are right four times in five agree on the truth of every one of 2000 questions but few."""
    rng = np.random.default_rng(2)
    truth = rng.choice([-1, 1], 2000)
    labeler, instance = np.tile(np.arange(9), 2000), np.repeat(np.arange(2000), 9)
    y = np.where(rng.random(18_000) < 0.8, 1, -1) * truth[instance]
    labels = Labels.from_arrays(labeler, instance, y)
    for preset in ("majority", "dawid-skene", "glad"):
        found = fit_jit(labels, build(PRESETS[preset], labels), jax.random.key(0))
        wrong = ((np.asarray(found.posterior) > 0.5) != (truth > 0)).mean()
        assert wrong < 0.04, f"{preset}: {wrong:.1%} wrong; 2 % are to be expected"
