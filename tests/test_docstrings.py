"""What is public says what it is: a docstring with an example that runs, shapes where there are arrays, a page."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def public(module: str) -> list[str]:
    return importlib.import_module(module).__all__


# The modules whose __all__ is public; unannotated arguments are tables in the first ones and arrays in the others.
OF_TABLES = ("crowdjax", "crowdjax.adapters")
KERNELS = "labels segments likelihood optimize directions drive factor integrated contextual metrics simulate parallel"
OF_ARRAYS = tuple(f"crowdjax.{name}" for name in (*KERNELS.split(), "posterior"))
NAMES = [
    f"{module}:{name}"
    for module in OF_TABLES + OF_ARRAYS
    for name, thing in ((name, getattr(importlib.import_module(module), name)) for name in public(module))
    if inspect.isclass(thing) or inspect.isroutine(inspect.unwrap(thing))
]
SHAPE = re.compile(r"\bshapes?\b|\bscalar|\[\w[\w, +*'’]*\]", re.IGNORECASE)


def found(full: str):
    module, _, name = full.partition(":")
    return getattr(importlib.import_module(module), name)


def has_example(doc: str) -> bool:
    return re.search(r"^ *Example:.*\n *>>> ", doc, re.MULTILINE) is not None


def silent_arrays(function) -> list[str]:
    """The arguments that may be arrays and of which neither annotation nor docstring gives a shape: what is said of an
    argument under its own name, else what is said of all."""
    doc = inspect.getdoc(function) or ""
    bare = [p.name for p in inspect.signature(function).parameters.values() if p.annotation is p.empty]

    def told(name: str) -> bool:
        own = re.search(rf"^ +(?:\w+, )*{name}(?:, \w+)*:((?:.*\n)(?: {{8,}}.*\n)*)", doc + "\n", re.MULTILINE)
        return SHAPE.search(own[1] if own else doc) is not None

    return [name for name in bare if not told(name)]


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_a_docstring_with_an_example(name):
    thing = found(name)
    assert inspect.getdoc(thing) and not inspect.getdoc(thing).startswith(f"{thing.__name__}("), "no docstring"
    assert has_example(inspect.getdoc(thing)), "no example"


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(OF_ARRAYS)])
def test_arrays_have_shapes(name):
    thing = found(name)
    if not inspect.isclass(thing):
        assert silent_arrays(inspect.unwrap(thing)) == []


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isclass(found(name))])
def test_public_methods_have_docstrings(name):
    for attribute, value in vars(found(name)).items():
        function = getattr(value, "fget", None) or getattr(value, "__func__", value)
        if not attribute.startswith("_") and inspect.isfunction(function):
            assert function.__doc__, attribute


def test_the_walk_finds_what_it_must():
    def silent(x):
        """Twice x."""

    def told(x):
        """Twice x, shape [N].

        Example:
            >>> told(1)
        """

    assert silent_arrays(silent) == ["x"] and silent_arrays(told) == []
    assert has_example(told.__doc__) and not has_example(silent.__doc__)


def test_every_public_module_has_a_page():
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "api").glob("*.md"))
    shown = set(re.findall(r"^::: ([\w.]+)$", pages, re.MULTILINE))
    assert set(OF_TABLES + OF_ARRAYS) <= shown
    for module in OF_ARRAYS:  # a function that is called like its file is shown by its full name
        if importlib.util.find_spec(module).submodule_search_locations:
            hidden = [name for name in public(module) if importlib.util.find_spec(f"{module}.{name}")]
            assert {f"{found(f'{module}:{name}').__module__}.{name}" for name in hidden} <= shown
