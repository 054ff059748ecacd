"""Throws broken files at every reader: each is used, or refused with one line, quickly, and nothing is left behind.

    python tests/fuzz.py [--inputs 100000] [--seed 0] [--jobs 2] [--out FILE]

An input is a good file (a table in every form that is read, a config, a saved fit) with some of its bytes, rows or
words changed, or a table of odd types; functions read it, or commands. Input k of a seed is always the same: whatever
is found can be made again (``--only K``). Readers run in processes of their own, where a crash or a hang counts as what
it is. Exit status 1 where anything else than use or refusal was seen.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import copy
import datetime
import hashlib
import io
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).resolve().parents[1]
VERSION = metadata.version("crowdjax")
LONGEST = 10.0  # seconds that a reader may take
CHUNK = 1000  # inputs of one process, so that a crash loses little
LINE = 1000  # most characters of a refusal


class Kind(NamedTuple):
    """A file: what it is called, what is in it where it is good (or how one is made), who reads it, how often."""

    name: str
    content: bytes | Callable[[np.random.Generator], bytes]
    read: Callable[[Path], object]
    share: float = 1.0


FOREIGN = ROOT / "tests" / "fixtures" / "foreign"
WORDS = (
    """
NaN|nan|null|None|NA|inf|-inf|1e400|-1|2|0.5|1.0|TRUE|yes|2147483648|18446744073709551616|2024-01-31|2024-01-31T00:00:00Z
=1+1|=cmd /C calc!A0|@x|Ann|ann | ann|ANN|00|0|0x10|"|''|a,b|a;b|../../etc/passwd|{}|[]|labeler|instance|label|1_000|1,5
-0|+1|1e-320|é|e\u0301|٣|🦆|\ufeff|\u202eabc
""".replace("\n", "|").split("|")
    + ["\0", "\ud7ff", "\r", "a\nb", "a\tb", "9" * 25, "x" * 5000]
)


def kinds() -> list[Kind]:
    """Every form that is read, as small good files."""
    from crowdjax import api, describe
    from crowdjax import io as tables
    from crowdjax.cli import app as main
    from crowdjax.formats import read_long
    from crowdjax.formats.records import LINES
    from crowdjax.labels import InputError
    from experiments import config

    rng = np.random.default_rng(0)
    n = 24
    labeler = np.array([f"w{k}" for k in rng.integers(0, 4, n)])
    instance = np.array([f"q{k % 8}" for k in range(n)])
    label = rng.integers(0, 2, n)
    ids = np.unique(instance)
    long = pa.table({"labeler": labeler, "instance": instance, "label": label})
    gold, weights = (pa.table({"instance": ids, k: v}) for k, v in (("label", label[:8]), ("weight", rng.random(8))))
    features = pa.table({"instance": ids, "a": rng.normal(size=len(ids)), "b": rng.normal(size=len(ids))})

    def text(table: pa.Table, comma: str = ",") -> bytes:
        rows = [table.column_names, *zip(*(c.to_pylist() for c in table.columns), strict=True)]
        return "\n".join(comma.join(map(str, row)) for row in rows).encode()

    def parquet(table: pa.Table, **options) -> bytes:
        sink = io.BytesIO()
        pq.write_table(table, sink, **options)
        return sink.getvalue()

    wide = pa.table({"instance": ids, **{f"w{k}": rng.integers(0, 2, len(ids)) for k in range(4)}})
    studio = [
        {
            "id": k,
            "data": {"text": i},
            "annotations": [
                {
                    "id": 10 * k + w,
                    "completed_by": w,
                    "result": [
                        {
                            "from_name": "c",
                            "to_name": "t",
                            "type": "choices",
                            "value": {"choices": [["no", "yes"][k % 2]]},
                        }
                    ],
                }
                for w in range(3)
            ],
        }
        for k, i in enumerate(ids)
    ]
    prodigy = [
        {
            "text": i,
            "_input_hash": k,
            "_task_hash": k,
            "answer": ["accept", "reject"][(k + w) % 2],
            "_annotator_id": f"a{w}",
        }
        for k, i in enumerate(ids)
        for w in range(2)
    ]
    fit = api.fit({"labeler": labeler, "instance": instance, "label": label}, "majority")
    with tempfile.TemporaryDirectory() as folder:
        fit.save(Path(folder) / "fit")
        saved = {path.name: path.read_bytes() for path in (Path(folder) / "fit").iterdir()}

    def saved_with(name: str, sealed: bool = False) -> Callable[[Path], object]:
        """Loads the fit with this file in it; ``sealed``: its SHA-256 is put right, so that it is read."""

        def read(path: Path):
            folder = path.with_name("fit")
            folder.mkdir()
            try:
                content = saved | {name: path.read_bytes()}
                if sealed:
                    record = json.loads(saved["fit.json"])
                    record["files"][name] = hashlib.sha256(content[name]).hexdigest()
                    content["fit.json"] = json.dumps(api.saving.sealed(record)).encode()
                for other, of_other in content.items():
                    (folder / other).write_bytes(of_other)
                return api.load(folder)
            finally:
                shutil.rmtree(folder)

        return read

    def command(*words: str, out: str) -> Callable[[Path], object]:
        """Runs a command on the file, in this process; ``{}`` is its path, and ``out`` is all that it may leave."""

        def read(path: Path):
            said, place = io.StringIO(), path.with_name(out)
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
                try:
                    main(["-q", *(word.format(path) for word in words)])
                    status = 0
                except SystemExit as end:
                    status = end.code or 0
            lines = said.getvalue().split("\n")
            notes = [line for line in lines if line.startswith("crowdjax: note: ") and line.isprintable()]
            if status not in (0, 2) or len(lines) - len(notes) != 1 + (status == 2):
                raise RuntimeError(f"exit status {status}, and said {said.getvalue()!r}")
            if place.exists() != (status == 0):
                raise RuntimeError(f"exit status {status}, and {out} is {'' if place.exists() else 'not '}there")
            if status == 2:
                raise InputError(said.getvalue().removesuffix("\n"))
            shutil.rmtree(place) if place.is_dir() else place.unlink()

        return read

    fitted = command("fit", "{}", "--model", "majority", "--out", "out", out="out")

    def labels(path: Path):
        return tables.read_labels(path)

    def in_words(path: Path):
        return tables.read_labels(path, positive="yes")

    def ducks(path: Path):
        return tables.read_labels(path, positive="duck")

    def beside(sample: str, below: str = "") -> Callable[[Path], object]:
        """Reads the folder of a sample, with the file in it, in the folder ``below``."""

        def read(path: Path):
            folder = path.with_name("folder")
            shutil.copytree(FOREIGN / sample, folder)
            try:
                (folder / below).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, folder / below / path.name)
                return ducks(folder)
            finally:
                shutil.rmtree(folder)

        return read

    samples = {path.name: path.read_bytes() for path in sorted(FOREIGN.rglob("*")) if path.is_file()}
    in_folders = {name: ("doccano", "") for name in samples if name in ("ann.jsonl", "bob.jsonl")}
    in_folders |= {name: ("ground_truth", "iteration-1/7") for name in samples if name.startswith("2024")}
    in_numbers = ("answers.json", "lewidi.json", "lewidi_2025.json", "glad.txt", "label_studio_ratings.json")

    def reads(name: str) -> Callable[[Path], object]:
        if name in in_folders:
            return beside(*in_folders[name])
        return {"studio.json": in_words, "prodigy.jsonl": labels}.get(name, labels if name in in_numbers else ducks)

    documents = {name: of for name, of in samples.items() if name.rpartition(".")[2] in (*LINES, "json")}
    documents["studio.json"] = json.dumps(studio).encode()
    documents["prodigy.jsonl"] = "\n".join(map(json.dumps, prodigy)).encode()
    exported = ["INPUT:i", "OUTPUT:o", "GOLDEN:o", "ASSIGNMENT:worker_id", "ASSIGNMENT:status"]
    batch = ["HITId", "WorkerId", "AssignmentStatus", "Input.i", "Answer.q.a", "Answer.q.b", "Reject"]
    forms = ["HITId", "WorkerId", "AssignmentStatus", "Answer.taskAnswers"]
    report = ["_unit_id", "_worker_id", "_tainted", "q", "q_gold"]
    flat = ["id", "q.responses", "q.responses.users", "q.responses.status"]

    return [
        Kind("labels.csv", text(long), labels),
        Kind("labels.csv", text(long.append_column("weight", [rng.random(n)])), labels),
        Kind("labels.tsv", text(long, "\t"), labels),
        Kind("described.csv", text(long), describe),
        Kind("wide.csv", text(wide), lambda path: tables.read_labels(path, form="wide")),
        Kind("labels.parquet", parquet(long), labels),
        Kind("labels.parquet", parquet(long, compression="none", use_dictionary=False), labels),
        Kind("studio.json", json.dumps(studio).encode(), in_words),
        Kind("prodigy.jsonl", "\n".join(map(json.dumps, prodigy)).encode(), labels),
        Kind("labels16.csv", text(long).decode().encode("utf-16"), labels),
        Kind("semicolons.csv", text(long, ";"), labels),
        Kind("odd.json", odd_json, labels, 2),
        *(Kind(name, content, reads(name)) for name, content in samples.items()),
        *(Kind(name, inside(name, content), reads(name)) for name, content in documents.items()),
        *(Kind(f"odd {names[0]}.parquet", odd(names), read_long) for names in (exported, batch, forms, report, flat)),
        *(
            Kind(
                f"converted {name}",
                samples[name],
                command("convert", "{}", "out.csv", "--positive", "duck", out="out.csv"),
            )
            for name in ("argilla.json", "labelbox.ndjson", "toloka.tsv", "mturk.csv", "appen.csv", "label_studio.json")
        ),
        Kind("described.json", odd_json, describe),
        Kind("fitted odd.json", odd_json, fitted, 0.1),
        Kind("features.csv", text(features), lambda path: tables.read_features(path, "instance", ids)),
        Kind("features.parquet", parquet(features), lambda path: tables.read_features(path, "instance", ids)),
        Kind("gold.csv", text(gold), lambda path: tables.read_gold(path, ids)),
        Kind("weights.csv", text(weights), lambda path: tables.read_weights(path, ids)),
        Kind("odd.parquet", odd(["labeler", "instance", "label", "weight"]), labels),
        Kind("odd features.parquet", odd(["instance", "a", "b"]), lambda p: tables.read_features(p, "instance", ids)),
        Kind("population.csv", text(features), lambda path: tables.read_population(path, ["a", "b"])),
        Kind("fitted.csv", text(long), fitted, 0.1),  # programs are compiled for each size
        Kind("fitted odd.parquet", odd(["labeler", "instance", "label"]), fitted, 0.1),
        Kind("converted.csv", text(long), command("convert", "{}", "out.parquet", out="out.parquet")),
        Kind("converted.parquet", parquet(long), command("convert", "{}", "out.csv", out="out.csv")),
        *(Kind(path.name, path.read_bytes(), config.load) for path in sorted((ROOT / "configs").glob("*.toml"))[:6]),
        *(Kind(name, content, saved_with(name)) for name, content in saved.items()),
        *(Kind(name, content, saved_with(name, True)) for name, content in saved.items() if name != "fit.json"),
    ]  # fmt: skip


# Ids that are nearly the same, and words of exports
LIKE = ["é", "e\u0301", "a", "a ", " a", "A", "a\0", "a\0b", "1", "01", "1.0", "1 ", "9007199254740993"]
STATES = [
    "Approved",
    "REJECTED",
    "submitted",
    "true",
    "false",
    "duck",
    "a\nb",
    "a|b",
    '["duck"]',
    '[{"q":{"label":"x"}}]',
]


def anything(rng: np.random.Generator) -> object:
    """A value of JSON."""
    some = [*LIKE, 1, 1.0, 1.5, True, None, 2**53, 2**53 + 1, 10**30, -1, "\ud800", "\U0001f986", "", "NaN", "x" * 5000,
            float("nan"), 1e400, [], ["a"], {}, {"a": [1]}]  # fmt: skip
    return some[rng.integers(len(some))]


def odd_json(rng: np.random.Generator) -> bytes:
    """Records with these keys, or nearly, and ids of any types."""
    few = [anything(rng) for _ in range(3)]

    def record():
        whole = {
            "labeler": few[rng.integers(3)],
            "instance": few[rng.integers(3)],
            "label": [0, 1, "1", True][rng.integers(4)],
        }
        return {key: value for key, value in whole.items() if rng.random() < 0.98}

    escaped = bool(rng.random() < 0.8)
    records = [record() for _ in range(rng.integers(0, 8))]
    return json.dumps(records, ensure_ascii=escaped).encode("utf-8", "surrogatepass")


def inside(name: str, content: bytes) -> Callable[[np.random.Generator], bytes]:
    """A function that makes the JSON of a sample with values put in place of others, gone, or there twice."""
    by_lines = not name.endswith(".json")
    found = [json.loads(line) for line in content.decode().split("\n") if line] if by_lines else json.loads(content)

    def make(rng) -> bytes:
        whole = copy.deepcopy(found)
        for _ in range(rng.integers(1, 4)):
            of = whole
            while of:  # down to an object or a list, and one of its members
                key = (list(of) if isinstance(of, dict) else range(len(of)))[rng.integers(len(of))]
                if not isinstance(of[key], dict | list) or not of[key] or rng.random() < 0.2:
                    break
                of = of[key]
            if not of:
                continue
            if rng.random() < 0.3:
                del of[key]
            elif rng.random() < 0.3 and isinstance(of, list):
                of.append(copy.deepcopy(of[key]))
            else:
                of[key] = anything(rng)
        return "\n".join(map(json.dumps, whole)).encode() if by_lines else json.dumps(whole).encode()

    return make


def odd(names: list[str]) -> Callable[[np.random.Generator], bytes]:
    """A function that makes a Parquet file with these columns, or nearly, of any types."""

    def column(rng, n: int) -> pa.Array:
        whole, real = rng.integers(-2, 3, n), rng.normal(size=n)
        words = [WORDS[k] for k in rng.integers(len(WORDS), size=n)]
        makers = [
            lambda: pa.array([f"q{k}" for k in abs(whole) + rng.integers(0, 3, n)]),
            lambda: pa.array([f"q{k}" for k in abs(whole)]).dictionary_encode(),
            lambda: pa.array(abs(whole) % 2),
            lambda: pa.array(abs(whole) % 2 == 1),
            lambda: pa.array(whole, pa.int8()),
            lambda: pa.array(whole * 2**60),
            lambda: pa.array(abs(whole).astype(np.uint64) * 2**63),
            lambda: pa.array(real),
            lambda: pa.array(np.where(whole == 0, np.nan, real * 1e300)),
            lambda: pa.array(real.astype(np.float16)),
            lambda: pa.array(words),
            lambda: pa.array([w.encode("utf-8", "replace") for w in words]),
            lambda: pa.nulls(n),
            lambda: pa.array(whole, pa.timestamp("ns", "UTC")),
            lambda: pa.array(whole * 10**9, pa.timestamp("us", "Asia/Tokyo")),
            lambda: pa.array([LIKE[k] for k in rng.integers(len(LIKE), size=n)]),
            lambda: pa.array([["duck", "goose"][: abs(int(k))] for k in whole]),
            lambda: pa.array([STATES[k] for k in rng.integers(len(STATES), size=n)]),
            lambda: pa.array(whole.astype(np.int32), pa.date32()),
            lambda: pa.array(whole, pa.duration("s")),
            lambda: pa.array([str(k) for k in whole]).cast(pa.decimal128(20, 3)),
            lambda: pa.array([[int(k)] for k in whole]),
            lambda: pa.array([{"a": int(k)} for k in whole]),
        ]
        made = makers[rng.integers(len(makers))]()
        if rng.random() < 0.2:
            made = (
                made.filter(pa.array(rng.random(n) < 0.9))
                if rng.random() < 0.1
                else made.take(pa.array(holes(rng, n), pa.int64()))
            )
        return made

    def holes(rng, n):
        return [None if rng.random() < 0.2 else k for k in range(n)]

    def make(rng) -> bytes:
        n = int(rng.integers(0, 12))
        called = [str(rng.choice(names)) if rng.random() < 0.05 else name for name in names if rng.random() < 0.95]
        called += [f"c{k}" for k in range(int(rng.integers(0, 2000)))] if rng.random() < 0.02 else []
        columns = [column(rng, n) for _ in called]
        n = min(map(len, columns), default=0)
        sink = io.BytesIO()
        pq.write_table(pa.Table.from_arrays([c[:n] for c in columns], names=called), sink)
        return sink.getvalue()

    return make


def changed(kind: Kind, rng: np.random.Generator) -> bytes:
    """The file with one to four things wrong; one that is made as it is made."""
    content = kind.content
    if callable(content):
        return content(rng)
    ways = [cut, flip, insert, repeat, delete]
    if not kind.name.endswith((".parquet", ".npz")):
        ways += [word, word, word, line, encoding, many]
    for _ in range(rng.integers(1, 5)):
        content = ways[rng.integers(len(ways))](content, rng)
    return content


def at(content: bytes, rng) -> int:
    return int(rng.integers(0, len(content) + 1))


def cut(content, rng):
    return content[: at(content, rng)] if rng.random() < 0.7 else content[at(content, rng) :]


def flip(content, rng):
    out = bytearray(content)
    for _ in range(rng.integers(1, 9) if out else 0):
        out[rng.integers(len(out))] ^= 1 << rng.integers(8)
    return bytes(out)


def insert(content, rng):
    k = at(content, rng)
    new = [b"\0", b"\xff\xfe", b"\r", b'"', b"\xc3\x28", rng.bytes(int(rng.integers(1, 40)))][rng.integers(6)]
    return content[:k] + new + content[k:]


def repeat(content, rng):
    a, b = sorted((at(content, rng), at(content, rng)))
    return content[:b] + content[a:b] * int(rng.integers(1, 4)) + content[b:]


def delete(content, rng):
    a = at(content, rng)
    return content[:a] + content[a + int(rng.integers(1, 30)) :]


def word(content, rng):
    """One cell, key or value is another."""
    marks = [k for k, c in enumerate(content) if c in b',;\t\n":=[]{} ']
    if len(marks) < 2:
        return content
    k = int(rng.integers(len(marks) - 1))
    new = WORDS[rng.integers(len(WORDS))].encode("utf-8", "surrogatepass")
    return content[: marks[k] + 1] + new + content[marks[k + 1] :]


def line(content, rng):
    """A line is gone, there twice, or somewhere else."""
    lines = content.split(b"\n")
    a, b = rng.integers(len(lines), size=2)
    if rng.random() < 0.3:
        del lines[a]
    else:
        lines.insert(b, lines[a])
    return b"\n".join(lines)


def encoding(content, rng):
    name = ["utf-16", "utf-32", "utf-8-sig", "cp037", "latin-1"][rng.integers(5)]
    return content.decode("utf-8", "replace").encode(name, "replace")


def many(content, rng):
    """A first line of very many columns, or very many lines."""
    first, _, rest = content.partition(b"\n")
    if rng.random() < 0.5:
        return first + b",c" * int(rng.integers(10, 20_000)) + b"\n" + rest
    return content + b"\n" + (rest.rsplit(b"\n", 1)[-1] + b"\n") * int(rng.integers(10, 5000))


def outcome(kind: Kind, content: bytes, folder: Path) -> tuple[str, str]:
    """(used, refused or defect; what was said)."""
    from crowdjax.labels import InputError

    path = folder / kind.name
    path.write_bytes(content)
    started = time.perf_counter()
    try:
        with warnings.catch_warnings(action="ignore"):
            kind.read(path)
        found = "used", ""
    except InputError as error:
        said = str(error)
        plain = said.isprintable() and 0 < len(said) <= LINE
        found = ("refused", "") if plain else ("defect", f"a refusal that is no line: {said[:300]!r}")
    except MemoryError:
        found = "defect", "MemoryError"
    except BaseException:
        found = "defect", traceback.format_exc(limit=-4)
    took = time.perf_counter() - started
    if took > LONGEST:
        found = "defect", f"took {took:.0f} s"
    left = sorted(p.name for p in folder.iterdir() if p != path)
    if left or path.read_bytes() != content:
        found = "defect", f"left behind: {left}, or changed its input"
    path.unlink()
    return found


def work(seed: int, numbers: list[int], pipe: Connection) -> None:
    """Sends (number, kind, outcome, what was said) of each input."""
    sys.path.insert(0, str(ROOT))
    every = kinds()
    shares = np.array([kind.share for kind in every])
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for k in numbers:
            rng = np.random.default_rng([seed, k])
            kind = every[rng.choice(len(every), p=shares / shares.sum())]
            pipe.send((k, kind.name, "begun", ""))
            pipe.send((k, kind.name, *outcome(kind, changed(kind, rng), Path(folder))))
    pipe.send(None)


def run(seed: int, numbers: list[int], jobs: int) -> Iterator[tuple[int, str, str, str]]:
    """The outcome of every input, from so many processes at once."""
    context = multiprocessing.get_context("spawn")
    waiting = [numbers[k : k + CHUNK] for k in range(0, len(numbers), CHUNK)][::-1]
    running: dict[Connection, list] = {}
    while waiting or running:
        while waiting and len(running) < jobs:
            chunk = waiting.pop()
            here, there = context.Pipe(False)
            process = context.Process(target=work, args=(seed, chunk, there), daemon=True)
            process.start()
            there.close()
            running[here] = [process, chunk, None, time.monotonic()]
        ready = set(wait(list(running), timeout=1))
        for pipe, state in list(running.items()):
            process, chunk, current, heard = state
            try:
                message = pipe.recv() if pipe in ready else ()
            except EOFError:  # it died
                message = "died"
            if message == () and time.monotonic() - heard > (6 * LONGEST if current is None else 2 * LONGEST):
                process.kill()
                message = "hung"
            if message == ():
                continue
            state[3] = time.monotonic()
            if isinstance(message, tuple):
                k, name, found, _ = message
                if found == "begun":
                    state[2] = k, name
                else:
                    chunk.remove(k)
                    yield message
                continue
            del running[pipe]
            process.join()
            if message is not None and current is None:
                raise RuntimeError("a process of readers did not start")
            if message is not None:
                k, name = current
                if k in chunk:
                    chunk.remove(k)
                yield k, name, "defect", f"the process {message} ({process.exitcode})"
                if chunk:
                    waiting.append(chunk)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=lambda text: int(float(text)), default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", type=int, help="One input, whose defect is printed in full.")
    parser.add_argument("--out", type=Path, help="Where a summary goes, as JSON.")
    given = parser.parse_args()
    numbers = list(range(given.inputs)) if given.only is None else [given.only]
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    seen: dict[str, list[int]] = {}
    started = time.monotonic()
    for k, name, found, said in run(given.seed, numbers, given.jobs):
        counts[name][found] += 1
        if found == "defect":
            last = said.strip().splitlines()[-1][:200]
            if f"{name}: {last}" not in seen:
                print(f"input {k}, {name}:\n{said}\n", flush=True)
            seen.setdefault(f"{name}: {last}", []).append(k)
        if sum(map(collections.Counter.total, counts.values())) % 5000 == 0:
            print(f"{sum(map(collections.Counter.total, counts.values()))} inputs, {time.monotonic() - started:.0f} s, "
                  f"{len(seen)} kinds of defects", file=sys.stderr, flush=True)  # fmt: skip
    summary = {
        "date": datetime.date.today().isoformat(),
        "version": VERSION,
        "inputs": sum(map(collections.Counter.total, counts.values())),
        "seed": given.seed,
        "seconds": round(time.monotonic() - started),
        "by file": {name: dict(sorted(counts[name].items())) for name in sorted(counts)},
        "defects": {what: ks[:20] for what, ks in sorted(seen.items())},
    }
    print(json.dumps(summary, indent=2))
    if given.out:
        given.out.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return 1 if seen or not summary["inputs"] else 0


if __name__ == "__main__":
    sys.exit(main())
