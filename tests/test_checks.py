"""The checks of a change can fail: each is shown what it must refuse, beside what it must let pass."""

from __future__ import annotations

import ast
import functools
import importlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import unicodedata
from pathlib import Path

import pytest
import yaml

from conftest import ROOT

PYTHON_FILES = [
    p for top in ("crowdjax", "experiments", "benchmarks", "tests") for p in sorted((ROOT / top).rglob("*.py"))
]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "benchmarks").rglob("*.md")),
]


def make(target: str, folder: Path, python: Path) -> int:
    """The exit status of a target of the Makefile in a folder, with this interpreter and without installing."""
    command = ["make", "-o", ".venv/installed", f"VENV_PYTHON={python}", "STUDIES=one", target]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60).returncode


@pytest.fixture
def project(tmp_path):
    """An empty project with the Makefile and the settings of ruff, pyright and mkdocs of this one."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    own = {"site_name": "x", "validation": site["validation"], "markdown_extensions": site["markdown_extensions"]}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(own))
    for name in ("docs/folder", "crowdjax", "tests", ".venv"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / ".venv" / "installed").touch()
    (tmp_path / "docs" / "index.md").write_text("# Index\n\n[other](other.md#a-heading)\n")
    (tmp_path / "docs" / "other.md").write_text("# Other\n\n## A heading\n")
    (tmp_path / "crowdjax" / "__init__.py").write_text('"""A package."""\n')
    for name in ("README", "CONTRIBUTING", "CHANGELOG"):
        (tmp_path / f"{name}.md").write_text("# A page\n")
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__", "aot"))
    return tmp_path


def interpreter(folder: Path, body: str) -> Path:
    """A program of the shell in place of the interpreter."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(0o755)
    return program


# make docs


@pytest.mark.parametrize(
    "link",
    ["absent.md", "folder/", "other.md#no-such-heading", "#nowhere", "/other.md", "../README.md"],
)
def test_a_broken_link_fails_the_documentation(link, project):
    page = project / "docs" / "index.md"
    page.write_text(page.read_text() + f"\n[broken]({link})\n")
    assert make("docs", project, Path(sys.executable)) != 0


def test_whole_links_pass_the_documentation(project):
    assert make("docs", project, Path(sys.executable)) == 0


LINK = re.compile(r"(?<!\!)\[[^\]\n]*\]\(([^)\s]+)\)")


def broken_links(page: Path, text: str) -> list[str]:
    """The links of a page that lead to no file, or to no heading."""
    found = []
    for link in LINK.findall(re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.DOTALL)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page if not path else page.parent / path
        script = target.with_suffix(".py")  # a worked example: its page is made of its script
        if not target.exists() and not (script.exists() and script.parent.name == "examples"):
            found.append(link)
        elif anchor and target.suffix == ".md" and target.exists():
            headings = re.findall(r"^#+ +(.*?) *$", target.read_text(encoding="utf-8"), re.MULTILINE)
            if anchor not in map(slug, headings):
                found.append(link)
    return found


def slug(heading: str) -> str:
    """As the toc extension of Markdown and GitHub write the anchor of a heading."""
    plain = unicodedata.normalize("NFKD", heading.replace("`", "")).encode("ascii", "ignore").decode()
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", plain).strip().lower())


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings_in_the_checkout(page):
    """Also on the pages that are no part of the site."""
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


def test_the_search_for_broken_links_finds_them():
    text = "[a](docs/absent.md) [b](README.md#no-such) [c](https://x) [d](docs/tables.md#labels) `[e](f)`"
    assert broken_links(ROOT / "README.md", text) == ["docs/absent.md", "README.md#no-such"]


# make lint


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tests/unused.py", "import os\n"),
        ("tests/undefined.py", "print(nothing)\n"),
        ("tests/format.py", "x = {  'a':1 }\n"),
        ("crowdjax/call.py", '"""A call."""\n\nlen(1, 2)\n'),
    ],
)
def test_lint_refuses(name, text, project):
    if name == "crowdjax/call.py":  # pyright takes some seconds: once
        assert make("lint", project, Path(sys.executable)) == 0
    (project / name).write_text(text)
    assert make("lint", project, Path(sys.executable)) != 0


def absent_names(source: str) -> list[str]:
    """Attributes of modules of this project that are not there: pyright is told not to look."""
    tree, modules = ast.parse(source), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").partition(".")[0] == "crowdjax":
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                if importlib.util.find_spec(node.module).submodule_search_locations and importlib.util.find_spec(full):
                    modules[alias.asname or alias.name] = importlib.import_module(full)
    bound = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    bound |= {a.arg for a in ast.walk(tree) if isinstance(a, ast.arg)}
    return [
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id not in bound
        if node.value.id in modules and not has(modules[node.value.id], node.attr)
    ]


def has(module, name: str) -> bool:
    """Whether a module has a name, or imports it for annotations only."""
    return hasattr(module, name) or name in imported(module.__file__)


@functools.cache
def imported(path: str) -> set[str]:
    """The names that a module imports from others."""
    tree = ast.parse(Path(path).read_text(encoding="utf-8"))
    return {a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}


@pytest.mark.parametrize("path", PYTHON_FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_what_is_asked_of_a_module_is_there(path):
    assert absent_names(path.read_text(encoding="utf-8")) == []


def test_the_search_for_absent_names_finds_them():
    source = "from crowdjax import memory, io\nmemory.refuse_abov(1)\nio.read_labels\n"
    assert absent_names(source) == ["memory.refuse_abov"]


# make test, results, examples; .ci/run


def test_the_tests_of_the_readme_fail_with_any_of_their_lines(project):
    for lines, passes in (("true\ntrue", True), ("false\ntrue", False), ("true\nfalse", False), ("", False)):
        text = f"<!-- test command -->\n```bash\n{lines}\n```\n<!-- end -->\n"
        (project / "README.md").write_text(text)
        assert (make("test", project, Path(sys.executable)) == 0) == passes, lines


@pytest.mark.parametrize(
    ("target", "word"), [("results", "run"), ("results", "publish"), ("rerun", "rerun"), ("examples", "a.py")]
)
def test_a_step_that_fails_fails_its_target(target, word, project):
    """What a step before it left must not stand in for what the failing one gives."""
    examples = project / "docs" / "examples"
    examples.mkdir()
    for name in ("a.py", "b.py"):
        (examples / name).touch()
    for name in ("one", "other"):
        folder = project / "docs" / "results" / name
        folder.mkdir(parents=True)
        (folder / "config.toml").touch()
    python = interpreter(project, "true")
    makefile = (project / "Makefile").read_text().replace('"$(CURDIR)/$(VENV_PYTHON)"', "$(VENV_PYTHON)")
    (project / "Makefile").write_text(makefile)
    assert make(target, project, python) == 0
    one = "docs/results/one" if target == "rerun" else ""  # the first of two
    interpreter(project, f'case " $* " in *" {word} {one}"*) exit 1;; esac')
    assert make(target, project, python) != 0


def test_ci_fails_with_any_of_its_steps(project):
    steps = ["lint", "docs", "test"]
    (project / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", project / ".ci")
    program = project / "make"
    for broken in (None, *steps):
        program.write_text(f'#!/bin/sh\necho "$1" >> steps\ntest "$1" != "{broken}"\n')
        program.chmod(0o755)
        (project / "steps").unlink(missing_ok=True)
        env = os.environ | {"PATH": f"{project}:{os.environ['PATH']}"}
        done = subprocess.run(["bash", ".ci/run"], cwd=project, env=env)
        assert (done.returncode == 0) == (broken is None)
        assert broken is not None or (project / "steps").read_text().split() == steps


# pytest


TESTS = {  # whether each passes
    "def test(): pass": True,
    "@pytest.mark.parametrize('x', [])\ndef test(x): pass": False,  # a glob that found nothing
    "def test(): warnings.warn('x')": False,
    "@pytest.mark.xfail\ndef test(): pass": False,
    "@pytest.mark.slwo\ndef test(): pass": False,
    "def function():\n    '''\n    >>> 1\n    2\n    '''": False,
    "def function():\n    '''\n    >>> warnings.warn('x')\n    '''": False,
    "from conftest import data_dir\n\ndef test(data_dir): pass": False,  # sets that were asked for and are absent
}


def test_the_settings_of_pytest_let_tests_fail(project):
    for k, text in enumerate(TESTS):
        (project / f"test_{k}.py").write_text(f"import warnings\n\nimport pytest\n\n\n{text}\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors"]
    command += [f"--override-ini=pythonpath={ROOT / 'tests'} {ROOT}", "."]
    env = {k: v for k, v in os.environ.items() if k != "PYTEST_ADDOPTS"} | {"CROWDJAX_DATA": str(project / "nowhere")}
    done = subprocess.run(command, cwd=project, env=env, capture_output=True, text=True)
    red = {int(k) for k in re.findall(r"^(?:FAILED|ERROR) test_(\d+)\.py", done.stdout, re.MULTILINE)}
    assert done.returncode == 1 and red == {k for k, passes in enumerate(TESTS.values()) if not passes}, done.stdout


def test_every_folder_with_tests_is_walked():
    """A test that pytest does not collect cannot fail."""
    given = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    assert {"tests", "crowdjax", "README.md"} <= {*given["testpaths"]}
    pages = [p for p in PAGES if ">>> " in p.read_text(encoding="utf-8")]
    globs = [o.partition("=")[2] for o in given["addopts"] if o.startswith("--doctest-glob=")]
    assert {p.relative_to(ROOT).as_posix() for p in pages} <= {*given["testpaths"]}
    assert {p.name for p in pages} <= {*globs}


@pytest.mark.parametrize("script", ["versions.py", "fuzz.py"])
def test_a_long_check_that_tries_nothing_is_red(script):
    arguments = {"versions.py": ["--only", "4.0"], "fuzz.py": ["--inputs", "0"]}[script]
    done = subprocess.run([sys.executable, f"tests/{script}", *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode != 0
