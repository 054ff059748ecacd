"""Changes the kernels one operation at a time, and counts the changes that no test sees.

    python tests/mutants.py [--only WORDS] [--every 1] [--again] [--jobs 2] [--out FILE]

mutmut makes the mutants (``[tool.mutmut]`` in pyproject.toml: of which files, and by which tests) and says which tests
reach which. They run here, not by mutmut: it forks, which JAX does not survive. A process of tests takes one mutant
after the other with JAX's programs forgotten in between, quickest tests first, until one fails; a mutant that takes far
too long is as good as seen. Where a function is reached by tests of its own file, they must see its mutants: what
everything rests on is not to be tested by everything. Exit status 1 where tests fail without any mutant.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import datetime
import io
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from multiprocessing.connection import Connection, wait
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "mutants"  # where mutmut writes them
OWN = {"segments": "segments", "likelihood": "likelihood", "kernels": "factor_kernels"}  # tests of a file; or else
OTHER = "optimize"
OUTCOMES = ("killed", "timeout", "survived")
CHUNK = 40  # mutants of one process
MAKE = """
import sys
from mutmut import __main__ as mutmut
mutmut._check_test_to_mutant_associations = lambda *_: sys.exit(0)  # what comes next is running them
mutmut._run((), 1)
"""
PATIENCE = 20.0, 1.5  # seconds, and times as long as its tests take without a mutant and without kept programs


def made() -> tuple[dict[str, str], dict[str, list[str]], dict[str, float]]:
    """(the file of each mutant; the tests that reach each function; the seconds of each test)."""
    subprocess.run([sys.executable, "-c", MAKE], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    files = {}
    for meta in sorted(FOLDER.rglob("*.py.meta")):
        for name in json.loads(meta.read_text())["exit_code_by_key"]:
            files[name] = meta.relative_to(FOLDER).as_posix().removesuffix(".meta")
    stats = json.loads((FOLDER / "mutmut-stats.json").read_text())
    return files, stats["tests_by_mangled_function_name"], stats["duration_by_test"]


class First:
    """What fails first, as a plugin of pytest."""

    failed: str | None = None

    def pytest_runtest_logreport(self, report):
        self.failed = self.failed or (report.nodeid if report.failed else None)


def failing(tests: list[str]) -> str | None:
    """The first of these tests that fails in this process, if any does."""
    import jax
    import pytest

    jax.clear_caches()
    first = First()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        status = pytest.main(["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow", *tests], plugins=[first])
    return first.failed or (None if status == 0 else tests[0])  # a mutant may break the collection of tests


def work(tasks: list[tuple[str, list[str]]], pipe: Connection) -> None:
    """Sends whether each mutant's tests pass; last of all None and whether they do without a mutant."""
    os.chdir(FOLDER)
    sys.path.insert(0, str(FOLDER))
    os.environ |= {"MUTANT_UNDER_TEST": "", "JAX_PLATFORMS": "cpu"}
    import crowdjax

    if not Path(crowdjax.__file__).is_relative_to(FOLDER):
        raise RuntimeError(f"the tests would see {crowdjax.__file__}")
    quick: list[str] = []  # those that saw a mutant, the last one first
    for name, tests in tasks:
        os.environ["MUTANT_UNDER_TEST"] = name
        seen = failing(sorted(tests, key=lambda t: quick.index(t) if t in quick else len(quick)))
        if seen is not None:
            quick = [seen, *(t for t in quick if t != seen)]
        pipe.send((name, seen is None))
    os.environ["MUTANT_UNDER_TEST"] = ""
    pipe.send((None, failing(sorted({t for _, tests in tasks for t in tests})) is None))


def run(tasks: dict[str, tuple[list[str], float]], jobs: int) -> Iterator[tuple[str | None, str]]:
    """(mutant, killed, timeout or survived); (None, failed) where a process's tests fail without a mutant."""
    context = multiprocessing.get_context("spawn")
    waiting = [list(tasks)[k : k + CHUNK] for k in range(0, len(tasks), CHUNK)][::-1]
    running: dict[Connection, list] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            chunk = waiting.pop()
            here, there = context.Pipe(False)
            process = context.Process(target=work, args=([(n, tasks[n][0]) for n in chunk], there), daemon=True)
            process.start()
            there.close()
            running[here] = [process, chunk, time.monotonic()]
        ready = set(wait(list(running), timeout=1))
        for pipe, state in list(running.items()):
            process, chunk, since = state
            if pipe in ready:
                try:
                    name, passed = pipe.recv()
                except EOFError:  # it died
                    name, passed = chunk[0] if chunk else None, False
                    del running[pipe]
                    if chunk[1:]:
                        waiting.append(chunk[1:])
                else:
                    state[2] = time.monotonic()
                    chunk[:] = [n for n in chunk if n != name]
                    if name is None:
                        process.join()
                        del running[pipe]
                if name is not None:
                    yield name, "survived" if passed else "killed"
                elif not passed:
                    yield None, "failed"
                continue
            seconds = PATIENCE[0] + PATIENCE[1] * (tasks[chunk[0]][1] if chunk else 100)
            if time.monotonic() - since > seconds:
                process.kill()
                process.join()
                del running[pipe]
                if not chunk:
                    yield None, "failed"
                    continue
                yield chunk[0], "timeout"
                if chunk[1:]:
                    waiting.append(chunk[1:])


def difference(name: str) -> list[str]:
    """The lines that a mutant changes, with - and +."""
    shown = subprocess.run([sys.executable, "-m", "mutmut", "show", name], cwd=ROOT, capture_output=True, text=True)
    lines = shown.stdout.splitlines()
    return [" ".join(x.split()) for x in lines if x[:1] in "+-" and x[:3] not in ("+++", "---")]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="Mutants whose name has this in it.")
    parser.add_argument("--every", type=int, default=1, help="Of those, every so manyth.")
    parser.add_argument("--again", action="store_true", help="Of those, the ones that survived, as --out says.")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="Where a summary goes, as JSON; what it says of other files stays.")
    given = parser.parse_args()
    cache = FOLDER / ".programs"  # a mutant changes few programs of a test
    os.environ |= {
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    started = time.monotonic()
    files, reached, seconds = made()
    made_of = collections.Counter(files.values())
    earlier = json.loads(given.out.read_text()) if given.out and given.out.exists() else {}
    names = [name for name in files if given.only in name][:: given.every]
    if given.again:
        names = [name for name in names if name in earlier.get(files[name], {}).get("which", ())]
    if not names and not given.again:
        parser.error(f"--only: got {given.only!r}, which no mutant's name has in it")
    files = {name: files[name] for name in names}
    tasks, found = {}, {}
    for name in files:
        tests = sorted(reached.get(name.rpartition("__mutmut_")[0], ()), key=seconds.__getitem__)
        own = f"tests/test_{OWN.get(Path(files[name]).stem, OTHER)}.py"
        tests = [test for test in tests if test.startswith(own)] or tests
        if tests:
            tasks[name] = tests, sum(seconds[t] for t in tests)
        else:
            found[name] = "survived"
    broken = 0
    for k, (name, what) in enumerate(run(tasks, given.jobs)):
        if name is None:
            broken += 1
        else:
            found[name] = what
        if k % 20 == 0:
            counts = {what: list(found.values()).count(what) for what in OUTCOMES}
            print(f"{time.monotonic() - started:.0f} s: {counts}, {broken} broken", file=sys.stderr, flush=True)
    summary = dict(earlier)
    for file in sorted(set(files.values())):
        names = [name for name in files if files[name] == file]
        counts = collections.Counter({what: sum(found[name] == what for name in names) for what in OUTCOMES})
        today = datetime.date.today().isoformat()
        tried = {"date": today, "version": metadata.version("crowdjax"), "made": made_of[file], "tried": len(names)}
        if given.again:  # what was seen before is still seen
            counts += collections.Counter({what: earlier[file][what] for what in OUTCOMES[:2]})
            tried["tried"] = earlier[file]["tried"]
        survived = {name: difference(name) for name in names if found[name] == OUTCOMES[2]}
        summary[file] = tried | {what: counts[what] for what in OUTCOMES} | {"which": survived}
    print(json.dumps(summary, indent=2))
    if given.out:
        given.out.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
