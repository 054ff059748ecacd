"""What is imported when: nobody waits for what he does not use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crowdjax.facade.models import names
from crowdjax.priors import NAMES

ROOT = Path(__file__).resolve().parents[1]
SLOW = {
    "jax", "jaxlib", "equinox", "optax", "numpyro", "scipy", "pandas", "polars", "matplotlib", "jinja2", "openpyxl",
    "fsspec", "requests", "pyarrow.dataset", "crowdjax.report", "crowdjax.fitting", "crowdjax.facade.models",
}  # fmt: skip
MANY = 600  # modules: about 450 after ``import crowdjax.api``, a hundred more with the command line


def loaded(code: str, cwd=ROOT) -> set[str]:
    """The modules that a new interpreter has after some code."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    code += "\nimport sys; print(*sys.modules, sep='\\n', file=open('modules.txt', 'w'))"
    done = subprocess.run([sys.executable, "-c", code], cwd=cwd, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return set((Path(cwd) / "modules.txt").read_text().split())


def command(*words: str, status: int) -> str:
    return f"""
import sys
from crowdjax import cli
sys.argv = ["crowdjax", *{words!r}]
try:
    cli.main()
except SystemExit as end:
    assert end.code == {status}, end.code
"""


@pytest.mark.parametrize(
    "code",
    [
        "import crowdjax.api",
        "import crowdjax; crowdjax.fit, crowdjax.InputError",
        command("--help", status=0),
        command("fit", "--help", status=0),
        command("fit", "labels.csv", "--model", "dawid", "--out", "out", status=2),
        command("fit", "labels.csv", "--repeats", "frist", "--out", "out", status=2),
        command("fit", "labels.csv", "--out", "labels.csv", status=2),
    ],
    ids=["api", "fit", "help", "help of fit", "no model", "no word", "no folder"],
)
def test_nothing_slow_is_imported_before_it_is_needed(code, tmp_path):
    (tmp_path / "labels.csv").write_text("labeler,instance,label\na,1,0\n")
    found = loaded(code, tmp_path)
    assert found & SLOW == set()
    assert len(found) <= MANY


@pytest.mark.parametrize("module", ["tables", "roles", "columns", "dialect", "formats", "io", "result", "saving"])
def test_tables_are_read_and_written_without_jax(module, tmp_path):
    assert loaded(f"import crowdjax.{module}", tmp_path) & {"jax", "pandas", "matplotlib"} == set()


def test_the_names_of_models_that_are_known_without_them_are_those_of_the_models():
    assert names() == NAMES


def test_the_readmes_examples_run_in_an_interpreter_that_never_imported_jax():
    """As a reader runs them: a fit that is older than JAX predicts and is a pytree."""
    code = "import doctest, sys; assert 'jax' not in sys.modules; sys.exit(doctest.testfile('README.md', False)[0])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_fit_that_is_older_than_jax_is_a_pytree_whoever_imports_it():
    code = """
import sys, crowdjax
labels = {"worker": list("abcabc"), "task": ["q1"] * 3 + ["q2"] * 3, "label": [1, 1, 0, 0, 0, 0]}
result = crowdjax.fit(labels, model="dawid-skene")
assert "jax" not in sys.modules
fit = result.fit
import jax
assert jax.tree.leaves(fit)[0].shape and not any(type(f).__name__ == "_AfterJax" for f in sys.meta_path)
found = crowdjax.check(result, labels)
assert found.tables["instances"].num_rows == 2
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
