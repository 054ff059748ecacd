"""Stops runs at random moments, by SIGTERM and kill -9, and starts them again: they must end as an unbroken run does.

    python tests/faults.py [--times 100] [--seed 0] [--out FILE]

Half of the runs are fits by minibatches, half experiments. After a stop the place of the result holds nothing or all of
it; after the second start it holds what the unbroken run left there, and nothing lies beside it. Then two processes
start on one folder at the same time. Exit status 1 where anything else was seen.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 300  # seconds of a run

CONFIG = """
study = "fig3"
n_repeats = 4
n_labelers = [4, 8, 20]
"""


class Target(NamedTuple):
    """A command to be stopped, and what it leaves where it has ended (None where it has left nothing)."""

    name: str
    command: list[str]
    left: Callable[[Path], dict | None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="Where a summary goes, as JSON.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        summary = run(Path(folder), given.times, given.seed)
    print(json.dumps(summary, indent=2))
    if given.out:
        given.out.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return 1 if summary["defects"] else 0


def targets(folder: Path) -> list[Target]:
    """The commands, with their inputs in ``folder``."""
    rng = np.random.default_rng(0)
    n, table = 20_000, folder / "labels"
    table.mkdir()
    labeler, instance = rng.integers(0, 60, n), rng.integers(0, 4000, n)
    truth, right = rng.random(4000) < 0.4, rng.uniform(0.6, 0.95, 60)
    label = np.where(rng.random(n) < right[labeler], truth[instance], ~truth[instance])
    for k in range(4):
        part = slice(k, n, 4)
        columns = {"labeler": labeler[part], "instance": instance[part], "label": label[part]}
        pq.write_table(pa.table(columns), table / f"{k}.parquet")
    (folder / "config.toml").write_text(CONFIG)
    fit = ["crowdjax.cli", "fit", str(table), "--minibatch", "4000", "--model", "glad", "--out", "result"]
    return [
        Target("minibatch fit", fit, of_fit),
        Target("experiment", ["experiments", "run", str(folder / "config.toml"), "--out", "result"], of_experiment),
    ]


def of_fit(place: Path) -> dict | None:
    """The answers of a fit, and its record without times."""
    if not (place / "result").exists():
        return None
    record = json.loads((place / "result" / "fit.json").read_text())
    answers = pq.read_table(place / "result" / "instances.parquet").sort_by("instance").to_pydict()
    labelers = pq.read_table(place / "result" / "labelers.parquet").to_pydict()
    return {"objective": record["objective"], "answers": answers, "labelers": labelers}


def of_experiment(place: Path) -> dict | None:
    """Every table of a run that has a summary."""
    done = list((place / "result").glob("*/SUMMARY.md"))
    if not done:
        return None
    return {path.name: pq.read_table(path).to_pydict() for path in sorted(done[0].parent.glob("*.parquet"))}


def run(folder: Path, times: int, seed: int) -> dict:
    """What was seen."""
    rng = np.random.default_rng(seed)
    cache, defects, stopped = folder / "cache", [], {}
    started = time.monotonic()
    every = targets(folder)
    whole, seconds = {}, {}
    for target in every:
        for name in ("first", "whole"):  # the first one compiles
            place = new(folder / f"{target.name}, {name}")
            began = time.monotonic()
            done = ended(begin(target, place, cache))
            seconds[target.name] = time.monotonic() - began
            if done != 0:
                raise RuntimeError(f"{target.name}: an unbroken run ended with {done}")
        whole[target.name] = target.left(place)
        names = sorted(p.name for p in place.iterdir())

        def check(place: Path, what: str, target=target, names=names) -> None:
            if target.left(place) != whole[target.name]:
                defects.append(f"{what}: another result")
            beside = sorted(p.name for p in place.iterdir())
            if beside != names:
                defects.append(f"{what}: left beside the result: {sorted(set(beside) - set(names))}")

        for k in range(times // len(every)):
            kind = (signal.SIGTERM, signal.SIGKILL)[k % 2]
            place, after = new(folder / f"{target.name}, {k}"), rng.uniform(0.1, seconds[target.name])
            what = f"{target.name}, {kind.name} after {after:.2f} s"
            process = begin(target, place, cache)
            time.sleep(after)
            process.send_signal(kind)
            status = ended(process)
            was = f"{target.name}, {kind.name}, {'it had ended' if status == 0 else 'stopped'}"
            stopped[was] = stopped.get(was, 0) + 1
            if target.left(place) not in (None, whole[target.name]):
                defects.append(f"{what}: half a result")
            if kind == signal.SIGTERM and status not in (0, 1, -signal.SIGTERM):
                defects.append(f"{what}: exit status {status}")
            again = ended(begin(target, place, cache))
            if again != 0:
                defects.append(f"{what}: started again it ended with {again}")
            check(place, what)
        place = new(folder / f"{target.name}, two at once")
        both = [begin(target, place, cache) for _ in range(2)]
        statuses = sorted(map(ended, both))
        if statuses not in ([0, 0], [0, 1], [0, 2]):
            defects.append(f"{target.name}, two at once: exit status {statuses}")
        ended(begin(target, place, cache))
        check(place, f"{target.name}, two at once")
    if not any(was.endswith("stopped") for was in stopped):
        defects.append("no run was stopped: nothing was tried")
    return {
        "date": datetime.date.today().isoformat(),
        "version": metadata.version("crowdjax"),
        "stops": times // len(every) * len(every),
        "seed": seed,
        "seconds": round(time.monotonic() - started),
        "how": dict(sorted(stopped.items())),
        "defects": defects,
    }


def new(place: Path) -> Path:
    place.mkdir()
    return place


def begin(target: Target, place: Path, cache: Path) -> subprocess.Popen:
    """The command, running in ``place``."""
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_PLATFORMS": "cpu", "CROWDJAX_CACHE": str(cache)}
    log = open(place.with_name(place.name + ".log"), "ab")  # noqa: SIM115
    return subprocess.Popen([sys.executable, "-m", *target.command], cwd=place, env=env, stdout=log, stderr=log)


def ended(process: subprocess.Popen) -> int:
    try:
        return process.wait(LONGEST)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return 124


if __name__ == "__main__":
    sys.exit(main())
