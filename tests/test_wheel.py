"""What is tested here is what is installed: the built wheel holds the package byte for byte, built alike twice."""

import hashlib
import os
import subprocess
import sys
import zipfile
from email.parser import Parser

import pytest

import crowdjax
from conftest import ROOT

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


def test_it_holds_the_package_and_nothing_else(wheel):
    source = {
        path.relative_to(ROOT).as_posix(): path.read_bytes()
        for path in (ROOT / "crowdjax").rglob("*")
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


def test_it_runs_from_anywhere(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / "site")
    (tmp_path / "labels.csv").write_text(LABELS)
    code = "import crowdjax; print(crowdjax.__file__); from crowdjax.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, "fit", "labels.csv", "--out", "out"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "site" / "crowdjax"))
    assert sorted(os.listdir(tmp_path / "out")) == ["fit.json", "fit.npz", "instances.parquet", "labelers.parquet"]
