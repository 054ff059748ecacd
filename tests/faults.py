"""Stops runs at random moments, by SIGTERM and kill -9, and starts them again: they must end as an unbroken run does.

    python tests/faults.py [--times 200] [--seed 0] [--out FILE]

A tenth of the stops are of fits by minibatches and of experiments. After a stop the place of the result holds
nothing or all of it; after the second start it holds what the unbroken run left there, and nothing lies beside it.

The others are of plain fits: at a new place, over an earlier result, over one behind a link (these two with a report),
and over one on a volume of its own (where this process may mount one). Three of four are stopped at a call that changes
the disk, drawn from all that an unbroken run makes: renaming, flushing, removing, making a folder. Then the place holds
the earlier result or the new one, whole, once ``crowdjax.load`` has looked at it; every sixth is started again as well.

Then two processes start on one folder at the same time. Exit status 1 where anything else was seen.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import multiprocessing
import os
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 300  # seconds of a run
SERVER = multiprocessing.get_context("forkserver")  # whose process has the imports and no backend of JAX
SERVER.set_forkserver_preload(
    ["crowdjax.api", "crowdjax.cli", "crowdjax.report", "experiments.runner", "scipy.stats", "matplotlib.figure"]
)

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
    parser.add_argument("--times", type=int, default=200)
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
    os.environ.update(JAX_PLATFORMS="cpu", CROWDJAX_CACHE=str(folder / "cache"), PYTHONPATH=str(ROOT))
    sys.path.insert(0, str(ROOT))
    rng = np.random.default_rng(seed)
    defects, stopped = [], {}
    started = time.monotonic()
    every = targets(folder)
    share = times // 20  # of each
    whole, seconds = {}, {}
    for target in every:
        for name in ("first", "whole"):  # the first one compiles
            place = new(folder / f"{target.name}, {name}")
            began = time.monotonic()
            done = ended(begin(target.command, place))
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

        for k in range(share):
            kind = (signal.SIGTERM, signal.SIGKILL)[k % 2]
            place, after = new(folder / f"{target.name}, {k}"), rng.uniform(0.1, seconds[target.name])
            what = f"{target.name}, {kind.name} after {after:.2f} s"
            process = begin(target.command, place)
            time.sleep(after)
            send(process, kind)
            status = ended(process)
            was = f"{target.name}, {kind.name}, {'it had ended' if status == 0 else 'stopped'}"
            stopped[was] = stopped.get(was, 0) + 1
            if target.left(place) not in (None, whole[target.name]):
                defects.append(f"{what}: half a result")
            if kind == signal.SIGTERM and status not in (0, 1, -signal.SIGTERM):
                defects.append(f"{what}: exit status {status}")
            again = ended(begin(target.command, place))
            if again != 0:
                defects.append(f"{what}: started again it ended with {again}")
            check(place, what)
        place = new(folder / f"{target.name}, two at once")
        both = [begin(target.command, place) for _ in range(2)]
        statuses = sorted(map(ended, both))
        if statuses not in ([0, 0], [0, 1], [0, 2]):
            defects.append(f"{target.name}, two at once: exit status {statuses}")
        ended(begin(target.command, place))
        check(place, f"{target.name}, two at once")
    for k in range(times - share * len(every)):
        if k == 0:
            places = Places(folder)
        places.stop(k, rng, stopped, defects)
    for name in PLACES:
        places.two_at_once(name, defects)
    if not any(was.endswith("stopped") for was in stopped):
        defects.append("no run was stopped: nothing was tried")
    return {
        "date": datetime.date.today().isoformat(),
        "version": metadata.version("crowdjax"),
        "stops": times,
        "seed": seed,
        "seconds": round(time.monotonic() - started),
        "how": dict(sorted(stopped.items())),
        "defects": defects,
    }


# Plain fits, at every kind of place


PLACES = ("new", "earlier", "link", "volume")


class Places:
    """Plain fits to stop: what they leave when nobody does, and how to prepare a place for one."""

    def __init__(self, folder: Path):
        self.folder, self.labels = folder, folder / "plain.csv"
        table = pq.read_table(folder / "labels" / "0.parquet").slice(0, 600).to_pylist()
        rows = [f"{r['labeler']},{r['instance']},{int(r['label'])}\n" for r in table]
        self.labels.write_text("labeler,instance,label\n" + "".join(rows))
        place, self.calls, self.seconds, self.whole = new(folder / "plain"), {}, {}, {}
        if ended(self.begin(place, 0.4, report=True)) != 0:
            raise RuntimeError("an unbroken plain fit failed")
        self.earlier, self.before = place / "result", self.left(place)
        for name in PLACES:
            place, began = self.prepared(name, f"plain, {name}, whole"), time.monotonic()
            if ended(self.fit(name, place)) != 0:
                raise RuntimeError(f"{name}: an unbroken plain fit failed")
            self.seconds[name] = time.monotonic() - began
            self.calls[name] = int(place.with_name(place.name + ".log").read_text().split("calls")[-1])
            self.whole[name] = self.left(place)
            self.clear(place)

    def prepared(self, name: str, called: str) -> Path:
        """A folder with an earlier result in ``result``, or with room for one."""
        place = new(self.folder / called)
        result = place / "result"
        if name == "volume":
            result.mkdir()
            mount = ["mount", "-t", "tmpfs", "none", str(result)]
            if subprocess.run(mount, capture_output=True).returncode:
                print("no volume can be mounted here: a plain folder instead", file=sys.stderr)
        if name == "link":
            result.symlink_to("real")
            result = place / "real"
        if name != "new":
            shutil.copytree(self.earlier, result, dirs_exist_ok=True)
        return place

    def clear(self, place: Path) -> None:
        if os.path.ismount(place / "result"):
            subprocess.run(["umount", str(place / "result")], check=True)
        shutil.rmtree(place)

    def fit(self, name: str, place: Path, kind: int = 0, at: int = 0) -> BaseProcess:
        return self.begin(place, 0.5, kind, at, report=name in ("earlier", "link"))

    def begin(self, place: Path, prior: float, kind: int = 0, at: int = 0, *, report: bool) -> BaseProcess:
        words = ["crowdjax.cli", "fit", str(self.labels), "--model", "majority", "--class-prior", str(prior)]
        return begin([*words, "--out", "result", *["--report"] * report], place, kind, at)

    def left(self, place: Path) -> dict | None:
        """What a reader finds at a place: every file but for the times in it, None where there is nothing."""
        import crowdjax

        result = place / "result"
        if not any(result.glob("*.json")) and not (result / ".crowdjax.whole").exists():
            return None
        answers = crowdjax.load(result)  # refuses what is not whole
        files = {str(p.relative_to(result)) for p in result.rglob("*") if p.is_file() and ".crowdjax." not in str(p)}
        return {"prior": answers.record["class_prior"], "answers": answers.tables["instances"], "files": files}

    def stop(self, k: int, rng: np.random.Generator, stopped: dict, defects: list[str]) -> None:
        """Stops one fit, and looks at what it left."""
        name, kind = PLACES[k // 2 % len(PLACES)], (signal.SIGKILL, signal.SIGTERM)[k % 2]
        place = self.prepared(name, f"plain, {name}, {k}")
        timed = k // 8 % 4 == 3
        at = 0 if timed else int(rng.integers(1, self.calls[name] + 1))
        after = rng.uniform(0.1, self.seconds[name]) if timed else 0.0
        what = f"plain fit, {name}, {kind.name} {f'after {after:.2f} s' if timed else f'at call {at}'}"
        process = self.fit(name, place, kind, at)
        if timed:
            time.sleep(after)
            send(process, kind)
        status = ended(process)
        was = f"plain fit, {name}, {kind.name}, {'it had ended' if status == 0 else 'stopped'}"
        stopped[was] = stopped.get(was, 0) + 1
        if status not in (0, -kind) and not (kind == signal.SIGTERM and status == 1):
            defects.append(f"{what}: exit status {status}")
        self.check(place, what, [self.whole[name], None if name == "new" else self.before], defects)
        if rng.random() < 1 / 6:
            if ended(self.fit(name, place)) != 0:
                defects.append(f"{what}: started again it failed")
            self.check(place, f"{what}, started again", [self.whole[name]], defects)
            self.check_beside(place, name, what, defects)
        elif kind == signal.SIGTERM and status != -kind:
            self.check_beside(place, name, what, defects)
        self.clear(place)

    def check(self, place: Path, what: str, allowed: list, defects: list[str]) -> None:
        try:
            found = self.left(place)
        except Exception as error:
            defects.append(f"{what}: {error}")
            return
        if found not in allowed:
            defects.append(f"{what}: another result")

    def check_beside(self, place: Path, name: str, what: str, defects: list[str]) -> None:
        hidden = [p.name for folder in (place, place / "result") if folder.is_dir() for p in folder.glob(".*")]
        if hidden:
            defects.append(f"{what}: left over: {hidden}")
        if (place / "result").is_symlink() != (name == "link"):
            defects.append(f"{what}: the link is gone")

    def two_at_once(self, name: str, defects: list[str]) -> None:
        place, what = self.prepared(name, f"plain, {name}, two at once"), f"plain fit, {name}, two at once"
        statuses = sorted(map(ended, [self.fit(name, place) for _ in range(2)]))
        if statuses not in ([0, 0], [0, 2]):
            defects.append(f"{what}: exit status {statuses}")
        self.check(place, what, [self.whole[name]], defects)
        self.check_beside(place, name, what, defects)
        self.clear(place)


# Processes


def new(place: Path) -> Path:
    place.mkdir()
    return place


def begin(words: list[str], place: Path, kind: int = 0, at: int = 0) -> BaseProcess:
    """A command, running in ``place`` in a process that is new but for its imports; it sends itself a signal before its
    call ``at`` that changes the disk."""
    process = SERVER.Process(target=work, args=(words, place, kind, at))
    process.start()
    return process


def work(words: list[str], place: Path, kind: int, at: int) -> None:
    log = os.open(place.with_name(place.name + ".log"), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(place)
    for signal_ in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_, signal.default_int_handler if signal_ == signal.SIGINT else signal.SIG_DFL)
    calls, cache = 0, os.environ["CROWDJAX_CACHE"]

    def deadly(real):
        def call(*given, **more):
            nonlocal calls
            if cache not in str(given[0]):
                calls += 1
                if calls == at:
                    os.kill(os.getpid(), kind)
            return real(*given, **more)

        return call

    for name in ("rename", "replace", "fsync", "unlink", "rmdir", "mkdir"):
        setattr(os, name, deadly(getattr(os, name)))
    sys.argv = words
    try:
        runpy.run_module(words[0], run_name="__main__", alter_sys=True)
    finally:
        os.write(1, f"calls {calls}\n".encode())


def send(process: BaseProcess, kind: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has ended
        os.kill(process.pid, kind)


def ended(process: BaseProcess) -> int:
    process.join(LONGEST)
    if process.is_alive():
        process.kill()
        process.join()
        return 124
    return process.exitcode


if __name__ == "__main__":
    sys.exit(main())
