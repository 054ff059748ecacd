"""What tests and examples share: programs are compiled quickly and kept in a folder, most of a test's time being
theirs; examples of ``crowdjax.contextual`` go on from the one of its ``fit``: the names that one makes are theirs."""

from __future__ import annotations

import doctest
import functools
import os
from importlib.metadata import version
from pathlib import Path

import pytest

# Less than half of XLA's time to compile, in other machine code for the same programs. XLA_FLAGS= (``make slow``), and
# tests that start interpreters on several devices, take the code that users run; a GPU has no such flags.
QUICK = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=1"

# Before jax is imported, here and in every interpreter that a test starts.
if not Path("/proc/driver/nvidia").exists() and version("jaxlib") < "0.12":  # of an unknown flag a process dies
    os.environ.setdefault("XLA_FLAGS", QUICK)
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).with_name(".jax_cache")))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


@pytest.fixture(autouse=True)
def after_the_fit(request):
    example = getattr(request.node, "dtest", None)
    if example is None:
        return
    names = request.getfixturevalue("doctest_namespace")
    names.clear()
    if example.name.startswith("crowdjax.contextual.") and not example.name.endswith(".fit"):
        names.update(_made())


@functools.cache
def _made() -> dict:
    from crowdjax.contextual import inference

    names = dict(vars(inference))
    exec(doctest.script_from_examples(inference.fit.__doc__), names)
    return {name: names[name] for name in ("labels", "scores", "config", "found")}
