"""Who imports whom: the floors of docs/design.md, the packages a file may need, and an import that starts nothing."""

from __future__ import annotations

import ast
import importlib.util
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import crowdjax

# Every file stands on the floors below its own and on nothing else.
FLOORS = (
    {"atomics"},
    {"labels"},
    {"segments", "stopping", "priors", "labelers", "fits", "score_log"},
    {"chance"},
    {"programs", "directions", "laplace"},
    {"likelihood", "optimize", "memory", "settings", "extras", "renamed", "outliers", "disk", "layout", "stored"},
    {"drive", "rows"},
    {"watch"},
    {"host"},
    {"observation"},
    {"factor", "contextual"},
    {"integrated"},
    {"simulate", "simulate_classes", "metrics", "shards", "dependence"},
    {"parallel"},
    {"spread"},
    {"fetch"},
    {"files", "saving"},
    {"columns", "store"},
    {"classes", "dialect", "excel"},
    {"tables"},
    {"roles"},
    {"formats", "scan", "summary"},
    {"io"},
    {"plots"},
    {"datasets", "minibatch", "result", "conversion"},
    {"cautions", "posterior"},
    {"report"},
    {"facade"},
    {"integrated_api"},
    {"fitting"},
    {"api"},
    {"context_api", "check_api", "adapters", "description"},
    {"planning", "monitoring"},
    {"loading"},
    {"cli"},
    {"experiments"},
    {"__main__"},
)
FLOOR = {name: level for level, names in enumerate(FLOORS) for name in names}

# The packages that a file may import; where it is not named here, CORE alone.
CORE = {"jax", "jaxlib", "equinox", "optax", "jaxtyping", "numpy"}
BEYOND = {
    "contextual": {"numpyro", "scipy", "threadpoolctl"},
    "score_log": {"scipy"},
    "observation": {"scipy"},
    "facade": {"pyarrow"},
    "dependence": {"scipy"},
    "integrated": {"scipy"},
    "labelers": {"scipy"},
    "chance": {"scipy"},
    "host": {"scipy"},
    "files": {"pyarrow", "fsspec"},
    "columns": {"pyarrow"},
    "classes": {"pyarrow"},
    "excel": {"openpyxl", "pyarrow"},
    "tables": {"narwhals", "pyarrow"},
    "roles": {"pyarrow"},
    "formats": {"pyarrow"},
    "scan": {"pyarrow"},
    "io": {"pyarrow"},
    "datasets": {"pyarrow", "pooch", "requests", "yaml"},
    "description": {"pyarrow"},
    "conversion": {"pyarrow"},
    "minibatch": {"pyarrow"},
    "result": {"pyarrow"},
    "integrated_api": {"pyarrow"},
    "fitting": {"pyarrow"},
    "check_api": {"pyarrow"},
    "context_api": {"pyarrow", "scipy"},
    "planning": {"pyarrow", "scipy"},
    "store": {"pyarrow"},
    "monitoring": {"pyarrow"},
    "adapters": {"pandas", "scipy"},
    "posterior": {"arviz_base", "xarray"},
    "summary": {"pyarrow"},
    "plots": {"matplotlib", "pyarrow", "scipy"},
    "report": {"jinja2", "markupsafe", "pyarrow", "scipy"},
    "cli": {"typer", "rich"},
    "experiments": {"experiments"},
}

MODULES = {m.name: m for m in pkgutil.walk_packages(crowdjax.__path__, "crowdjax.")}


def imports(module: str, source: str, package: bool = False) -> Iterator[str]:
    """The full names that a module imports, anywhere in its text."""
    home = module if package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = importlib.util.resolve_name("." * node.level + (node.module or ""), home)
            if base == "crowdjax":  # from crowdjax import io: the name is a module
                yield from (f"crowdjax.{a.name}" if a.name in FLOOR else "crowdjax" for a in node.names)
            else:
                yield base


def violations(module: str, source: str, package: bool = False) -> list[str]:
    """What a module imports and may not."""
    _, own, *_ = module.split(".")
    wrong = []
    for name in imports(module, source, package):
        top, _, rest = name.partition(".")
        part = rest.partition(".")[0]
        if top == "crowdjax":
            allowed = not part or part == own or FLOOR[part] < FLOOR[own]
        else:
            allowed = top in CORE | BEYOND.get(own, set()) | sys.stdlib_module_names
        if not allowed:
            wrong.append(f"{module} imports {name}")
    return wrong


def test_every_file_has_a_floor():
    assert {name.split(".")[1] for name in MODULES} <= set(FLOOR)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down_and_to_declared_packages_only(module):
    spec = importlib.util.find_spec(module)
    assert violations(module, Path(spec.origin).read_text(), MODULES[module].ispkg) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("crowdjax.labels", "from crowdjax.segments import total"),
        ("crowdjax.optimize", "def f():\n    from crowdjax import factor"),
        ("crowdjax.factor.fit", "import crowdjax.contextual.model"),
        ("crowdjax.contextual.model", "from ..factor import kernels"),
        ("crowdjax.factor.fit", "import numpyro.distributions as dist"),
        ("crowdjax.factor.fit", "from crowdjax.io import read_labels"),
        ("crowdjax.metrics", "import scipy.stats"),
        ("crowdjax.cli", "from experiments import config"),
    ],
)
def test_the_walk_finds_what_it_must(module, source):
    assert len(violations(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("crowdjax.factor.fit", "from .model import FactorModel\nfrom crowdjax import __version__, likelihood"),
        ("crowdjax.io", "import os.path, pyarrow.csv, jax.numpy as jnp\nfrom crowdjax.labels import Labels"),
        ("crowdjax.cli", "from crowdjax import api, io, plots"),
    ],
)
def test_the_walk_lets_pass_what_it_may(module, source):
    assert violations(module, source) == []


def test_importing_starts_no_backend_and_changes_no_config(fresh_python):
    """Without a backend there are no arrays either."""
    printed = fresh_python(f"""
import importlib, sys
import crowdjax
print("jax" in sys.modules)
import jax
from jax._src import xla_bridge
before = dict(jax.config.values)
for name in {sorted(MODULES)}:
    importlib.import_module(name)
    if xla_bridge._backends or jax.config.values != before:
        print(name)
jax.numpy.zeros(1)
print(list(xla_bridge._backends))
""")
    assert printed.split("\n") == ["False", "['cpu']", ""]
