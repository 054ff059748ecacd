"""Builds what is published twice, and uses the wheel in new environments: lowest and newest packages, each Python.

    python tests/release.py [--only WORDS] [--folder FOLDER] [--out FILE]

Both builds are of the files that git tracks, in two folders under two umasks: sdist and wheel must be the same bit for
bit. Each environment gets the wheel with the requirements of its core and ``tests/smoke.py core``, then those of the
extra ``experiments`` and ``tests/smoke.py extras``. Needs ``build`` and ``uv``. Nothing is written into the checkout
but FILE. Exit status 1 where something failed.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
CHOICES = {"lowest": "lowest-direct", "newest": "highest"}  # of the direct requirements
TOLD = ("jax", "jaxlib", "numpyro", "equinox", "optax", "numpy", "scipy", "pyarrow", "matplotlib", "typer")


def built(folder: Path, umask: int) -> list[Path]:
    """The sdist, and the wheel made from it, of a copy of what git tracks."""
    git = ["git", "-C", str(ROOT)]
    tracked = subprocess.run([*git, "ls-files", "-z"], check=True, capture_output=True, text=True).stdout.split("\0")
    epoch = subprocess.run([*git, "log", "-1", "--format=%ct"], check=True, capture_output=True, text=True).stdout
    before = os.umask(umask)
    try:
        for name in filter(None, tracked):
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / "source" / name)
        command = [sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(folder / "source")]
        subprocess.run(command, check=True, stdout=sys.stderr, env=os.environ | {"SOURCE_DATE_EPOCH": epoch.strip()})
    finally:
        os.umask(before)
    return sorted((folder / "dist").iterdir())


def used(wheel: Path, python: str, choice: str, folder: Path) -> dict:
    """What the smoke test says of the wheel in a new environment."""
    uv, new = [sys.executable, "-m", "uv"], str(folder / "env" / "bin" / "python")
    install = [*uv, "pip", "install", "--quiet", "--python", new, "--resolution", CHOICES[choice]]
    told: dict = {"versions": {}, "failed": []}
    began = time.monotonic()
    shutil.copyfile(ROOT / "README.md", folder / "README.md")
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "CROWDJAX_DATA")}
    env |= {"CROWDJAX_CACHE": str(folder / "cache")}
    subprocess.run([*uv, "venv", "--clear", "--quiet", "--python", python, str(folder / "env")], check=True)
    requirements = ["--requirements", str(ROOT / "pyproject.toml")]  # by themselves: a wheel's own are not direct ones
    for part, extra in (("core", []), ("extras", ["--extra", "experiments"])):
        subprocess.run([*install, str(wheel), *requirements, *extra], check=True)
        command = [new, "-I", str(ROOT / "tests" / "smoke.py"), part, str(folder)]
        done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
        if done.returncode:
            told["failed"].append(f"{part}: {(done.stderr or done.stdout)[-2000:]}")
        else:
            told[part] = json.loads(done.stdout.splitlines()[-1])
    told["versions"] = _versions(new)
    return told | {"seconds": round(time.monotonic() - began)}


def _versions(python: str) -> dict[str, str]:
    code = (
        "import json, platform; from importlib.metadata import version;"
        f"print(json.dumps(dict(python=platform.python_version(), **{{n: version(n) for n in {TOLD}}})))"
    )
    return json.loads(subprocess.run([python, "-I", "-c", code], check=True, capture_output=True, text=True).stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="Environments whose name has this in it: '3.12', 'lowest'.")
    parser.add_argument("--folder", type=Path, help="Where builds and environments go, and stay.")
    parser.add_argument("--out", type=Path, help="Where a summary goes, as JSON; what other environments gave stays.")
    given = parser.parse_args()
    names = [f"{python} {choice}" for python in PYTHONS for choice in CHOICES]
    if not any(given.only in name for name in names):
        parser.error(f"--only: got {given.only!r}; allowed: a part of {', '.join(names)}")
    found = json.loads(given.out.read_text()) if given.out and given.out.exists() else {}
    with tempfile.TemporaryDirectory() as temporary:
        home = (given.folder or Path(temporary)).resolve()
        builds = [built(home / f"build{k}", umask) for k, umask in enumerate((0o022, 0o077))]
        sums = [{path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in build} for build in builds]
        if sums[0] != sums[1]:
            sys.exit(f"two builds differ: {sums}")
        wheel = next(path for path in builds[0] if path.suffix == ".whl")
        print(json.dumps(sums[0], indent=2), flush=True)
        status = 0
        for name in (name for name in names if given.only in name):
            folder = home / name.replace(" ", "-")
            folder.mkdir(parents=True, exist_ok=True)
            told = {"date": datetime.date.today().isoformat(), "wheel": wheel.name}
            found[name] = told | used(wheel, *name.split(), folder)
            status |= bool(found[name]["failed"])
            print(json.dumps({name: found[name]}, indent=2), flush=True)
            if given.out:
                given.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return status


if __name__ == "__main__":
    sys.exit(main())
