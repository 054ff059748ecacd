"""The command: see ``tools/aot/__init__.py``."""

from __future__ import annotations

import argparse
import dataclasses
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

DUMP = tempfile.TemporaryDirectory(prefix="aot-")
FITS = ("dawid-skene", "glad", "factor:1", "factor:3")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.aot")
    parser.add_argument("suite", choices=("passes", "integrated", "fits"))
    parser.add_argument("labels", type=float)
    parser.add_argument("models", nargs="*", default=FITS, help="of fits: names of presets, factor:D")
    parser.add_argument("--chip", choices=("h100", "h200"), default="h100")
    parser.add_argument("--layout", choices=("triples", "rows", "repeatable"), default="rows")
    parser.add_argument("--all", action="store_true", help="a line per kernel")
    given = parser.parse_args()
    parts = [f"--xla_dump_to={DUMP.name}", "--xla_dump_hlo_as_text", "--xla_gpu_collect_cost_model_stats=true"]
    if given.suite == "fits":  # of a whole fit PTX takes minutes
        parts.append("--xla_backend_optimization_level=0")
    else:
        parts += ["--xla_gpu_dump_llvmir", "--xla_dump_emitter_re=.*"]
    os.environ["XLA_FLAGS"] = " ".join((os.environ.get("XLA_FLAGS", ""), *parts))
    os.environ["JAX_PLATFORMS"] = "cpu"

    import jax

    from tools.aot.chip import sharding
    from tools.aot.compiled import count

    jax.config.update("jax_enable_compilation_cache", False)
    jax.default_backend = lambda: "gpu"  # what programs are traced for
    chip = sharding(given.chip)

    def shape(v):
        dtype = jax.dtypes.canonicalize_dtype(v.dtype, allow_extended_dtype=True)
        return jax.ShapeDtypeStruct(v.shape, dtype, sharding=chip)

    for name, function, arguments in programs(given.suite, int(given.labels), given.models, given.layout):
        found = count(function, *jax.tree.map(shape, arguments), dump=Path(DUMP.name))
        print(f"{name}, {int(given.labels):,} labels: {found}", flush=True)
        for kernel in found.kernels if given.all else ():
            print(f"    {kernel.microseconds:10.1f} us  {kernel.loops or '':12} {kernel.name}")


def programs(suite: str, n: int, models, layout: str) -> Iterator[tuple]:
    """(name, function, arrays or shapes of its arguments)."""
    import jax
    import jax.numpy as jnp

    from crowdjax import integrated, simulate
    from crowdjax.factor import PRESETS, Solver, build, curvature_pass, data_pass, e_step, fit
    from crowdjax.factor.kernels import folded_pass, tally
    from crowdjax.rows import instances_at_once, with_rows

    if suite == "fits":
        labels = simulate.power_law(0, n).labels()
        if layout != "triples":
            labels = with_rows(labels, repeatable=layout == "repeatable")
        for name in models:
            preset, _, n_factors = name.partition(":")
            config = dataclasses.replace(PRESETS[preset], **({"n_factors": int(n_factors)} if n_factors else {}))
            model, solver, key = build(config, labels), Solver(), jax.eval_shape(lambda: jax.random.key(0))
            yield f"fit {name}", lambda l, m, k, s=solver: fit(l, m, k, s), (labels, model, key)
        return
    labels = blocked(n)
    if layout != "triples" and suite != "integrated":
        labels = dataclasses.replace(labels, rows=rows(labels, layout == "repeatable"))
    if suite == "integrated":
        for factors in (1, 2):
            config = integrated.IntegratedConfig(spread=0.9, factors=factors)
            if layout != "triples":
                at_once = instances_at_once(len(config.nodes))
                labels = dataclasses.replace(labels, rows=rows(labels, layout == "repeatable", at_once))
            n = labels.n_labelers
            start = jax.eval_shape(lambda c=config, n=n: integrated.start(c, n))
            yield (
                f"grid_pass, {factors} factor(s)",
                lambda l, p, c=config: integrated.grid_pass(l, p, c),
                (labels, start),
            )
        return
    one, three = factors_of(labels, 1), factors_of(labels, 3)
    counts = jax.ShapeDtypeStruct((labels.n_labelers, 2), jnp.float32)
    yield "data_pass D = 1", data_pass, (labels, one)
    yield "data_pass D = 3", data_pass, (labels, three)
    yield "data_pass D = 1 without bias", data_pass, (labels, one._replace(gamma=None))
    yield "folded_pass", folded_pass, (labels, counts, one)
    yield "curvature_pass D = 1", curvature_pass, (labels, one)
    yield "e_step D = 1", e_step, (labels, one)
    yield "tally", tally, (labels,)


def blocked(n: int, degree: int = 10, per: int = 1024):
    """The shapes of n labels, so many of each instance, in blocks; a labeler for a thousand labels."""
    import jax
    import jax.numpy as jnp

    from crowdjax.labels import Labels

    n_blocks = -(-n // degree // per)
    of = lambda dtype: jax.ShapeDtypeStruct((n_blocks * per * degree,), dtype)  # noqa: E731
    return Labels(
        labeler=of(jnp.int32), instance=of(jnp.int32), label=of(jnp.int8), weight=None, gold=None,
        n_labelers=max(100, n // 1000), n_instances=n // degree, n_blocks=n_blocks, block_instances=per,
    )  # fmt: skip


def rows(labels, repeatable: bool, at_once: int | None = None, group: int = 128):
    """The shapes of the labels' rows (``crowdjax.rows``): one for each instance; a labeler has so many that groups of
    the first level are nearly full."""
    import jax
    import jax.numpy as jnp

    from crowdjax.rows import GROUP, Levels, Rows

    n_blocks = 1 if at_once is None else -(-labels.n_instances // at_once)
    size = -(-labels.n_instances // n_blocks)
    of = lambda shape, dtype=jnp.int32: jax.ShapeDtypeStruct((n_blocks, *shape), dtype)  # noqa: E731
    width, slots = len(labels.label) // (labels.n_blocks * labels.block_instances), 2 * labels.n_labelers
    by_slot = None
    if repeatable:
        index, m = [], width * size
        for c in (group, GROUP, GROUP):
            m = m // c + slots
            index.append(of((m, c)))
        by_slot = Levels(tuple(index), of((slots,)))
    labeler, label, slot = of((width, size)), of((width, size), jnp.int8), of((width, size))
    return Rows(labeler, label, slot, None, None, None, by_slot, size, full=True)


def factors_of(labels, d: int):
    import jax
    import jax.numpy as jnp

    from crowdjax.factor import Factors

    w, i = labels.n_labelers, labels.n_instances
    return Factors(*(jax.ShapeDtypeStruct(s, jnp.float32) for s in ((w, d), (i, d), (w,), (i,))))


if __name__ == "__main__":
    main()
