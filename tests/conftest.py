"""What all tests share: reproducible hypothesis runs, 64-bit floats on request, fresh interpreters, real label sets."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import hypothesis
import jax
import numpy as np
import pandas as pd
import pytest

from crowdjax.labels import Labels

ROOT = Path(__file__).resolve().parents[1]
collect_ignore = ["fixtures"]  # files that tests read
SLOW = 6  # seconds in durations.txt, some three on a quiet machine
IN_EVERY_RUN = "tests/test_every_model.py"  # what is true of every model is slow from MOST seconds on alone
MOST = 9
NEVER_SLOW = "tests/test_notebooks.py"  # a change runs every notebook, however long it takes
IN_THE_FAST_LANE = "[dawid-skene]"  # of these the one model that is not long

hypothesis.settings.register_profile("reproducible", derandomize=True, deadline=None)
hypothesis.settings.load_profile("reproducible")


def durations() -> dict[str, float]:
    """Seconds of the tests that take long, by name."""
    lines = (ROOT / "tests" / "durations.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(" ", 1) for line in lines if line and not line.startswith("#"))
    return {name: float(seconds) for seconds, name in pairs}


def shared(item) -> set[tuple[str, str]]:
    """What a test shares with others of its file, fits above all: its module-scoped fixtures as (file, name)."""
    known = getattr(item, "_fixtureinfo", None)
    if known is None:
        return set()
    file = item.nodeid.split("::")[0]
    definitions = {name: known.name2fixturedefs.get(name) for name in known.argnames}
    return {(file, name) for name, of in definitions.items() if of and of[-1].scope == "module"}


def pytest_collection_modifyitems(items):
    measured = durations()
    # Whoever comes first pays for what is shared: without those who were measured another one would.
    paid = {part for item in items if item.nodeid in measured for part in shared(item)}
    for item in items:
        seconds = measured.get(item.nodeid, 0.0)
        of_all = item.nodeid.startswith(IN_EVERY_RUN)
        if IN_THE_FAST_LANE not in item.nodeid if of_all else seconds or paid & shared(item):
            item.add_marker("long")
        if seconds >= (MOST if of_all else SLOW) and not item.nodeid.startswith(NEVER_SLOW):
            item.add_marker("slow")
        if "data_dir" in getattr(item, "fixturenames", ()):
            item.add_marker("real_data")


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and jax.default_backend() != "gpu":
        pytest.skip("needs a GPU")
    if os.environ.get("MUTANT_UNDER_TEST") == "stats":  # mutmut asks which functions a test reaches: it must trace them
        jax.clear_caches()


@pytest.fixture(scope="module", autouse=True)
def forget_programs():
    """Compiled programs of a file go when it ends: all of them together would use up the process's memory maps."""
    yield
    jax.clear_caches()


@pytest.fixture
def x64():
    """64-bit floats during the test; ``pytestmark = pytest.mark.usefixtures("x64")`` for a whole file."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def interruptible():
    """SIGINT is a KeyboardInterrupt, as at a terminal: a shell ignores it for what it starts in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def fresh_python():
    """A function that runs code in a new interpreter on so many forced CPU devices and returns what it printed."""

    def run(code: str, devices: int = 1) -> str:
        env = os.environ | {
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        }
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real label sets: $CROWDJAX_DATA, or shared/data beside the project. Skips where there is none, and
    fails where the variable names none."""
    given = os.environ.get("CROWDJAX_DATA")
    folder = Path(given or ROOT.parent / "shared" / "data")
    if given and not folder.is_dir():
        pytest.fail(f"CROWDJAX_DATA: {given} is no folder")
    if not folder.is_dir():
        pytest.skip("no real label sets: CROWDJAX_DATA is not set and there are none beside the project")
    return folder


class RealSet(NamedTuple):
    """Labels of one set; the truth per instance as 0 or 1, NaN where unknown; the ids behind the indices, as text."""

    labels: Labels
    truth: np.ndarray
    labelers: np.ndarray
    instances: np.ndarray


@pytest.fixture(scope="session")
def real_set(data_dir):
    """A function (name, **options of ``Labels.from_arrays``) -> RealSet; skips a set that is not there.

    Reads with pandas, so that it can serve as an oracle of ``crowdjax.io`` and ``crowdjax.datasets``.
    """

    def load(name: str, **options) -> RealSet:
        folder = data_dir / name
        if not folder.is_dir():
            pytest.skip(f"no real label set {name}")
        table = _read(folder, "labels").astype({"labeler": str, "instance": str})
        labelers, labeler = np.unique(table["labeler"].to_numpy(str), return_inverse=True)
        instances, instance = np.unique(table["instance"].to_numpy(str), return_inverse=True)
        truth = np.full(len(instances), np.nan)
        if (folder / "truth.csv").exists():
            known = _read(folder, "truth").set_index("instance")["label"]
            truth = known.reindex(instances).to_numpy(float)
        return RealSet(Labels.from_arrays(labeler, instance, table["label"], **options), truth, labelers, instances)

    return load


def _read(folder: Path, name: str) -> pd.DataFrame:
    """A table of a set with its ids as text."""
    if (folder / f"{name}.parquet").exists():
        return pd.read_parquet(folder / f"{name}.parquet")
    return pd.read_csv(folder / f"{name}.csv", dtype={"labeler": str, "instance": str}, keep_default_na=False)
