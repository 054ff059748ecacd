"""Runs the whole suite in new environments: the lowest versions allowed, the pinned ones, the newest there are.

    python tests/versions.py [--only WORDS] [--jobs 2] [--folder FOLDER] [--out FILE]

uv chooses and installs the versions; the interpreters are those on this machine. What other packages deprecate of each
other is an error with the pinned versions only. Exit status 1 where a test failed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SETS = {  # a Python, and how its packages are chosen
    "3.11 lowest": ("3.11", ["--resolution", "lowest-direct"]),
    "3.12 pinned": ("3.12", ["--constraint", "constraints.txt"]),
    "3.13 newest": ("3.13", ["--upgrade"]),
}
TOLD = ("jax", "jaxlib", "numpyro", "equinox", "optax", "numpy", "scipy", "pyarrow", "pandas", "pytest", "hypothesis")


def installed(folder: Path, python: str, how: list[str]) -> str:
    """The interpreter of a new environment with crowdjax and all its extras."""
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--clear", "--quiet", "--python", python, str(folder)], check=True)
    new = str(folder / "bin" / "python")
    subprocess.run(
        [*uv, "pip", "install", "--quiet", "--python", new, *how, "--editable", ".[dev]"], cwd=ROOT, check=True
    )
    return new


def tested(python: str, how: list[str], jobs: int, folder: Path) -> dict:
    """What the suite says there."""
    code = (
        "import json, platform; from importlib.metadata import version;"
        f"print(json.dumps(dict(python=platform.python_version(), **{{n: version(n) for n in {TOLD}}})))"
    )
    told = json.loads(subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout)
    log, began = folder / "pytest.xml", time.monotonic()
    command = [python, "-m", "pytest", "-q", "-n", str(jobs), "-m", "not slow", f"--junit-xml={log}"]
    command += [] if "--constraint" in how else ["-W", "default::DeprecationWarning"]
    env = os.environ | {"CROWDJAX_CACHE": str(folder / "cache")}
    ended = subprocess.run(command, cwd=ROOT, stdout=sys.stderr, env=env)
    suite = ET.parse(log).getroot().find("testsuite")
    cases = suite.iter("testcase")
    failed = [f"{c.get('classname')}::{c.get('name')}" for c in cases if {"failure", "error"} & {e.tag for e in c}]
    counts = {name: int(suite.get(name)) for name in ("tests", "failures", "errors", "skipped")}
    if ended.returncode not in (0, 1):  # neither passed nor failed
        failed.append(f"pytest: exit status {ended.returncode}")
    return {"versions": told, **counts, "seconds": round(time.monotonic() - began), "failed": failed}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="Sets whose name has this in it.")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="Where the environments go, and stay.")
    parser.add_argument("--out", type=Path, help="Where a summary goes, as JSON; what other sets gave stays in it.")
    given = parser.parse_args()
    if not any(given.only in name for name in SETS):
        parser.error(f"--only: got {given.only!r}; allowed: a part of {', '.join(SETS)}")
    found = json.loads(given.out.read_text()) if given.out and given.out.exists() else {}
    status = 0
    for name, (python, how) in SETS.items():
        if given.only not in name:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = (given.folder or Path(temporary)) / name.replace(" ", "-")
            result = tested(installed(folder, python, how), how, given.jobs, folder)
        today = datetime.date.today().isoformat()
        found[name] = {"date": today, "version": metadata.version("crowdjax"), **result}
        status |= bool(result["failed"]) or not result["tests"]
        print(json.dumps({name: found[name]}, indent=2), flush=True)
        if given.out:
            given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
