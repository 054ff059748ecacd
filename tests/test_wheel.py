"""What is tested here is what is installed: the built wheel holds the package byte for byte, built alike twice."""

import hashlib
import json
import os
import subprocess
import sys
import zipfile
from email.parser import Parser

import pytest

import crowdjax
from conftest import ROOT

STUDIES = "crowdjax/studies/"
CROWD = [f"q{j},{w},{int(w != 'cat') ^ (j % 2)}" for j in range(6) for w in ("ann", "bob", "cat")]
LABELS = "\n".join(["task,worker,label", *CROWD])


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The same wheel, built twice."""
    found = []
    for _ in range(2):
        out = tmp_path_factory.mktemp("wheel")
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(out)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
        found.append(next(out.glob("*.whl")))
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in found}) == 1
    return found[0]


def test_it_holds_the_package_with_the_studies_and_nothing_else(wheel):
    source = {
        home + path.relative_to(ROOT).as_posix(): path.read_bytes()
        for home, folder in (("", "crowdjax"), (STUDIES, "experiments"), (STUDIES, "configs"))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    with zipfile.ZipFile(wheel) as file:
        built = {name: file.read(name) for name in file.namelist()}
    about = {name: text for name, text in built.items() if ".dist-info/" in name}
    assert {name: text for name, text in built.items() if name not in about} == source
    assert "crowdjax/py.typed" in source
    assert {name.rpartition("/")[2] for name in about} == {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE"}
    metadata = Parser().parsestr(next(v.decode() for k, v in about.items() if k.endswith("METADATA")))
    assert (metadata["Version"], metadata["Requires-Python"]) == (crowdjax.__version__, ">=3.11")
    assert "crowdjax = crowdjax.cli:main" in next(
        v.decode() for k, v in about.items() if k.endswith("entry_points.txt")
    )


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """The environment of a process that finds the wheel's packages in place of the checkout's."""
    site = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    return os.environ | {"PYTHONPATH": str(site)}


def test_it_runs_from_anywhere(installed, tmp_path):
    (tmp_path / "labels.csv").write_text(LABELS)
    code = "import crowdjax; print(crowdjax.__file__); from crowdjax.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "fit", "labels.csv", "--out", "out"],
        cwd=tmp_path,
        env=installed,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(os.path.join(installed["PYTHONPATH"], "crowdjax"))
    assert sorted(os.listdir(tmp_path / "out")) == [
        *("confusion.parquet", "fit.json", "fit.npz", "instances.parquet", "labelers.parquet")
    ]


@pytest.mark.long
def test_its_studies_run_by_name_beside_a_package_of_the_same_name(installed, tmp_path):
    """``experiments`` in the working directory is the user's own; a repository around it is not asked for a commit."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "__init__.py").write_text("raise RuntimeError('not this one')")
    subprocess.run(["git", "init", "--quiet", "."], cwd=tmp_path, check=True)
    small = ["specialist", "n_labelers=2", "n_instances=20", "n_repeats=2"]
    listed, ran = (
        subprocess.run(
            [sys.executable, "-m", "crowdjax.experiments", *words],
            cwd=tmp_path,
            env=installed,
            capture_output=True,
            text=True,
        )
        for words in (["list"], ["run", *small])
    )
    assert listed.returncode == 0, listed.stderr
    expected = sorted(path.stem for path in (ROOT / "configs").glob("*.toml"))
    assert [line.split()[0] for line in listed.stdout.splitlines()] == expected
    assert ran.returncode == 0, ran.stderr
    (folder,) = (tmp_path / "runs").iterdir()
    environment = json.loads((folder / "environment.json").read_text())
    assert (environment["commit"], environment["versions"]["crowdjax"]) == ("unknown", crowdjax.__version__)
