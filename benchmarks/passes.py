"""One pass over the labels: value with all gradients, the E-step, the folded pass, the preconditioner.

On one device, and where there are more, on all of them.

Against two yardsticks: the NumPy step, and the streaming bound, the time a copy takes to move what the pass must read
(labels, factors) and write (gradients, posterior).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from benchmarks.timing import Row, copy_bandwidth, numpy_step, on_device, power_law, seconds
from crowdjax import layout
from crowdjax.factor import Factors, curvature_pass, data_pass, e_step
from crowdjax.factor.kernels import Pass, folded_pass, tally
from crowdjax.labels import Labels


def run(sizes: list[int]) -> Iterator[Row]:
    bandwidth = copy_bandwidth()
    yield Row("passes", "copy bandwidth", 0, bandwidth / 1e9, "GB/s")
    for n in sizes:
        host = power_law(n)
        labels = on_device(host)
        factors = {
            "D=1": some_factors(host, 1), "D=1 without bias": some_factors(host, 1)._replace(gamma=None),
            "D=3": some_factors(host, 3),
        }  # fmt: skip
        counts = jax.jit(tally)(labels)
        one_pass, curvature, folded = jax.jit(data_pass), jax.jit(curvature_pass), jax.jit(folded_pass)
        posterior = jax.jit(e_step)
        runs = {"NumPy step": numpy_step(host)}
        runs |= {f"pass {name}": partial(one_pass, labels, f) for name, f in factors.items()}
        runs |= {f"preconditioner {name}": partial(curvature, labels, factors[name]) for name in ("D=1", "D=3")}
        runs["pass Dawid-Skene, folded"] = partial(folded, labels, counts, factors["D=1"])
        runs["E-step D=1"] = partial(posterior, labels, factors["D=1"])
        if jax.device_count() > 1:
            runs |= {f"pass D={d}, {jax.device_count()} devices": on_all_devices(host, d) for d in (1, 3)}
        moved = {f"pass {name}": size(labels) + size(f) + size(one_pass(labels, f)) for name, f in factors.items()}
        for name, value in seconds(runs).items():
            yield Row("passes", name, n, 1e9 * value / n, "ns/label")
            if name in moved:
                yield Row("passes", name, n, value * bandwidth / moved[name], "x streaming bound")
        for d in ("D=1", "D=3"):
            yield Row("passes", f"streaming bound {d}", n, 1e9 * moved[f"pass {d}"] / bandwidth / n, "ns/label")


def size(tree) -> int:
    """Bytes of all arrays."""
    return sum(v.nbytes for v in jax.tree.leaves(tree))


def on_all_devices(host: Labels, n_factors: int) -> Callable[[], Pass]:
    """A pass over labels that are cut by instance into a shard for each device."""
    n = jax.device_count()
    mesh = Mesh(np.array(jax.devices()), (layout.AXIS,))
    labels, _ = layout.cut(host, layout.plan(*layout.plan_of(host, n)))
    own, shared = P(layout.AXIS), P()
    of_factors = Factors(shared, own, shared, own)

    def one(labels, factors):
        found = data_pass(labels, factors)
        value, alpha, gamma = labels.across((found.value, found.gradient.alpha, found.gradient.gamma))
        return Pass(value, found.posterior, found.gradient._replace(alpha=alpha, gamma=gamma))

    specs, out = (jax.tree.map(lambda _: own, labels), of_factors), Pass(shared, own, of_factors)
    run = jax.jit(jax.shard_map(one, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False))
    given = labels, some_factors(labels, n_factors, n)
    return partial(run, *jax.tree.map(lambda v, spec: jax.device_put(v, NamedSharding(mesh, spec)), given, specs))


def some_factors(labels: Labels, n_factors: int, n_shards: int = 1) -> Factors:
    """Factors for the labels, which are one of so many shards."""
    rng, n_instances = np.random.default_rng(0), n_shards * labels.n_instances
    alpha, beta = (rng.normal(1, 1, (n, n_factors)) for n in (labels.n_labelers, n_instances))
    gamma, prior_logit = rng.normal(size=labels.n_labelers), np.zeros(n_instances)
    return Factors(*(jnp.asarray(v, jnp.float32) for v in (alpha, beta, gamma, prior_logit)))
