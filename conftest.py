"""Examples of ``crowdjax.contextual`` go on from the one of its ``fit``: the names that one makes are theirs."""

from __future__ import annotations

import doctest
import functools

import pytest


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
