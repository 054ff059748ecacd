"""What tests and examples share: compiled programs are kept in a folder, most of a test's time being theirs; examples
of ``crowdjax.contextual`` go on from the one of its ``fit``: the names that one makes are theirs."""

from __future__ import annotations

import doctest
import functools
import os
from pathlib import Path

import pytest

# Before jax is imported, here and in every interpreter that a test starts.
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
