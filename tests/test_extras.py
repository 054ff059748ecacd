"""A package that is not installed is one line that names the command which installs it."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

import crowdjax
from crowdjax import adapters, excel, extras, files, plots, report
from crowdjax.cli import app
from crowdjax.datasets import raw
from crowdjax.labels import InputError

ROOT = Path(__file__).resolve().parents[1]
HIDDEN = "import sys; sys.modules[{!r}] = None; sys.argv = {!r}.split()\n"
LABELS = {"labeler": list("abc"), "instance": ["q"] * 3, "label": [1, 1, 0]}
FRAME = pd.DataFrame({"task": ["q"] * 3, "worker": list("abc"), "label": [1, 1, 0]})


def without(package: str, code: str, command: str = "crowdjax") -> subprocess.CompletedProcess:
    """A new interpreter that does not find a package."""
    code = HIDDEN.format(package, command) + code
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("package", "code", "command", "extra"),
    [
        ("typer", "from crowdjax.cli import main; main()", "crowdjax --help", "cli"),
        ("rich", "from crowdjax.cli import main; main()", "crowdjax describe labels.csv", None),
        ("pyarrow", "from crowdjax.cli import main; main()", "crowdjax fit labels.csv --out out", "io"),
        ("cattrs", "from experiments.__main__ import main; sys.exit(main())", "experiments list", "experiments"),
    ],
)
def test_a_command_says_it_in_one_line_with_status_2(package, code, command, extra):
    done = without(package, code, command)
    if extra is None:  # it is needed at a terminal only
        assert "no such file" in done.stderr
        return
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"crowdjax: {package} is not installed; type: pip install 'crowdjax[{extra}]'\n"


def test_the_library_says_it_in_an_input_error():
    done = without(
        "pyarrow",
        "import crowdjax\nfrom crowdjax.labels import InputError\n"
        "for name in crowdjax.__all__:\n"
        "    try:\n        getattr(crowdjax, name)\n"
        "    except InputError as error:\n        print(error)",
    )
    needed = "pyarrow is not installed; type: pip install 'crowdjax[io]'"
    assert done.stdout.splitlines() == [f"crowdjax.{name}: {needed}" for name in crowdjax.__all__], done.stderr


CALLS = {
    ("matplotlib", "crowdjax[plots]"): lambda: plots.objective([1.0, 2.0], title="", xlabel=""),
    ("jinja2", "crowdjax[report]"): lambda: report.render(report.Page("", "", "", {}, [], "")),
    ("fsspec", "crowdjax[remote]"): lambda: files.find("memory://labels.csv"),
    ("openpyxl", "crowdjax[excel]"): lambda: excel.open_sheet(None, "labels.xlsx", None, True),
    ("yaml", "crowdjax[download]"): lambda: raw._yaml(Path("labels.yaml")),
    ("narwhals", "crowdjax[io]"): lambda: crowdjax.fit(FRAME.rename(columns={"task": "instance", "worker": "labeler"})),
    ("pandas", "pandas"): lambda: adapters.MajorityVote().fit(FRAME),
}


@pytest.mark.parametrize(("package", "install"), CALLS)
def test_what_is_imported_when_it_is_used_says_it_then(package, install, monkeypatch):
    report.html._template.cache_clear()
    for name in [n for n in sys.modules if n.partition(".")[0] == package or n.startswith("fsspec.impl")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError) as refused:
        CALLS[package, install]()
    text = str(refused.value)
    assert "is not installed; type: pip install " in text and "\n" not in text
    assert text.endswith(f"'{install}'" if "[" in install else install)


@pytest.mark.parametrize("package", ["pooch", "requests"])
def test_a_set_that_is_to_be_fetched_says_it_first(package, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setenv("CROWDJAX_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = CliRunner().invoke(app, ["data", "get", "ducks"])
    assert found.exit_code == 2
    assert found.stderr.endswith(f"{package} is not installed; type: pip install 'crowdjax[download]'\n")


def test_other_import_errors_are_not_hidden():
    assert extras.missing(ModuleNotFoundError(name="numpy")) is None
    assert extras.missing(ValueError("numpy")) is None
    with pytest.raises(ImportError, match="nothing_of_this_name"), extras.needed("x"):
        import nothing_of_this_name  # noqa: F401


def test_every_package_beyond_the_core_is_known():
    """Each that is imported anywhere, and each extra that is named is one of pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    core = {name.split(">")[0] for name in project["dependencies"]}
    imported = set()
    for path in [*ROOT.glob("crowdjax/**/*.py"), *ROOT.glob("experiments/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
            imported |= {name.partition(".")[0] for name in names}
    others = imported - core - sys.stdlib_module_names - {"crowdjax", "experiments", "benchmarks"}
    assert others - {"crowdkit", "sklearn"} <= {*extras.EXTRAS, *extras.ALONE}
    assert set(extras.EXTRAS.values()) - {"excel"} <= set(project["optional-dependencies"])
