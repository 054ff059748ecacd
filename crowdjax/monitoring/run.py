"""A run: inputs → fit → the store, once for each inputs and settings; stopped anywhere, the next run completes it.

    OUT/latest.json                the run that counts; replaced last, atomically
    OUT/index.html                 its page
    OUT/runs/RUN/run.json          settings and inputs; written before the fit, which tries the store
    OUT/runs/RUN/result/...        what ``crowdjax context --out`` writes
    OUT/runs/RUN/metrics.parquet, alerts.json, index.html
    OUT/runs/RUN/done.json         every file with its SHA-256; written when all of them are there

RUN is a digest of the content of the inputs, the settings and the version. What is there under that name and done is
not made again; other runs are left as they are.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from crowdjax import __version__, context_api, drive, files, report, saving
from crowdjax.formats.records import JSON, TABLES
from crowdjax.labels import InputError, Unreachable
from crowdjax.monitoring import outputs
from crowdjax.monitoring.alerts import Rules, alerts_of
from crowdjax.result import FitError
from crowdjax.settings import path_of
from crowdjax.store import Store, open_store

CHUNK = 2**20
LATEST, PAGE, DONE = "latest.json", "index.html", "done.json"


class Outcome(NamedTuple):
    """The outcome of a monitoring run.

    Attributes:
        status: the exit status: 0 nothing to report, 3 alerts in the latest period.
        done_before: whether a run with these inputs and settings existed, so that nothing was fitted.
        folder: the folder of the run in the store.
        document: the content of ``alerts.json``.

    Example:
        >>> Outcome(3, False, "s3://bucket/monitoring/runs/0a1b", {"alerts": []}).status
        3
    """

    status: int
    done_before: bool
    folder: str
    document: dict[str, Any]


def monitor(
    labels: str | os.PathLike,
    scores: str | os.PathLike,
    *,
    out: str | os.PathLike,
    time: str,
    weights: str | os.PathLike | None = None,
    population: str | os.PathLike | None = None,
    gold: str | os.PathLike | None = None,
    rules: Rules | None = None,
    seed: int = 0,
    progress: drive.Progress | None = None,
    **settings: Any,
) -> Outcome:
    """Fit the labels of all periods so far, and write results, metrics, alerts and a page to a folder or a store.

    Args:
        labels, scores, weights, population, gold: paths or URLs of tables, as in :func:`crowdjax.context`; Parquet in
            folders ``week=2026-W05`` has that column.
        out: a folder, or a URL as ``s3://bucket/folder``.
        time: the column of the scores that holds the period of every instance.
        rules: thresholds for alerts.
        seed, settings: as in :func:`crowdjax.context`.
        progress: callback (``crowdjax.drive.Progress``).

    Raises:
        InputError: a table or a setting is invalid, or the store cannot be written.
        Unreachable: an input or the store does not respond now, or an input changed while it was read.
        FitError: the fit failed.
    """
    rules = (rules or Rules()).checked()
    given = {"labels": labels, "scores": scores, "weights": weights, "population": population, "gold": gold}
    given = {name: path_of(name, source, "a path or URL") for name, source in given.items() if source is not None}
    store = open_store(out)
    _refuse_inside(store, given)
    found = {name: _found(name, source) for name, source in given.items()}
    inputs = {name: _content(listed) for name, listed in found.items()}
    said = {"time": time, "seed": seed, **settings, **rules._asdict()}
    run = _digest({"version": __version__, "inputs": inputs, "settings": said})
    folder = f"runs/{run}"
    document = store.get_json(f"{folder}/alerts.json") if store.get(f"{folder}/{DONE}") is not None else None
    if document is not None:
        _point(store, folder, document)
        return Outcome(document["status"], True, f"{store.place}/{folder}", document)
    every = [file for listed in found.values() for file in listed]
    about = {"changed": _changed(every), "files": len(every), "bytes": sum(file.size for file in every)}
    _put(store, f"{folder}/run.json", {"settings": said, "inputs": about, "sha256": inputs})
    tables = {name: source for name, source in given.items() if name not in ("labels", "scores")}
    try:
        result = context_api.context(
            given["labels"], given["scores"], **tables, time=time, seed=seed, progress=progress, **settings
        )
    except Unreachable:
        raise
    except InputError:  # nothing that a later run could complete
        store.remove(f"{folder}/run.json")
        raise
    if {name: _identity(_found(name, source)) for name, source in given.items()} != {
        name: _identity(listed) for name, listed in found.items()
    }:
        raise Unreachable(f"{labels}: an input changed while it was read; nothing was written; run it again")
    if result.record["stopped"]:
        raise FitError("stopped before the fit ended; no result was written")
    raised = alerts_of(result, rules)
    document = outputs.document(result, raised, rules, run, about)
    page = report.render(outputs.page(result, document, said)).encode()
    written = {}
    for name, content in _files(result, outputs.metrics(result, raised), document, page):
        store.put(f"{folder}/{name}", content)
        written[name] = hashlib.sha256(content).hexdigest()
    at = datetime.now(UTC).isoformat(timespec="seconds")
    _put(store, f"{folder}/{DONE}", {"schema": outputs.SCHEMA, "written": at, "files": written})
    _point(store, folder, document)
    return Outcome(document["status"], False, f"{store.place}/{folder}", document)


def _files(result, metrics: pa.Table, document: Mapping[str, Any], page: bytes):
    """Return (name, content) of every file of a run."""
    with tempfile.TemporaryDirectory() as home:
        result.save(Path(home) / "result")
        for path in sorted(Path(home).rglob("*")):
            if path.is_file():
                yield path.relative_to(home).as_posix(), path.read_bytes()
    table = io.BytesIO()
    pq.write_table(metrics, table)
    yield "metrics.parquet", table.getvalue()
    yield PAGE, page
    yield "alerts.json", saving.json_text(document).encode()


def _point(store: Store, folder: str, document: Mapping[str, Any]) -> None:
    """Make a run that is done the one that counts; nothing is written where it is already."""
    latest = {
        **{name: document[name] for name in ("schema", "run", "period", "status")},
        "n_alerts": len(document["alerts"]),
        **{what: f"{folder}/{name}" for what, name in (("alerts", "alerts.json"), ("metrics", "metrics.parquet"),
                                                      ("page", PAGE), ("result", "result"))},
    }  # fmt: skip
    if store.get_json(LATEST) == latest:
        return
    page = store.get(f"{folder}/{PAGE}")
    if page is not None:
        store.put(PAGE, page)
    _put(store, LATEST, latest)


def _put(store: Store, name: str, value: Any) -> None:
    store.put(name, saving.json_text(value).encode())


def _found(name: str, source: str) -> list[files.File]:
    place = f"{name} {source}"
    with files.reading(place, "a table"):
        listed, folder = files.find(source, *TABLES, *JSON)
    if not listed:
        what = "a folder without *.parquet or *.csv files" if folder else files.NOTHING
        raise InputError(f"{place}: {what}; allowed: CSV, Parquet, JSON, or a folder of one of them")
    return files.counting(listed)


def _refuse_inside(store: Store, given: Mapping[str, str]) -> None:
    """Reject an output among the inputs, which would change them with every run."""
    for name, source in given.items():
        with files.reading(f"{name} {source}", "a table"):
            system, path = files.system_of(source)
        home = path.rstrip("/")
        if system == store.system and (store.path == home or store.path.startswith(home + "/")):
            raise InputError(
                f"--out {store.place}: within {name} {source}, of which it would be a part; allowed: a folder beside it"
            )


def _identity(listed: list[files.File]) -> list:
    return [file.identity for file in listed]


def _content(listed: list[files.File]) -> list[list[str]]:
    """Return the SHA-256 of every file with the folder below the given one that it is in: a table that was written
    again alike is the same table, whatever its files are called and whenever they were written."""
    out = []
    for file in listed:
        digest = hashlib.sha256()
        with (
            files.reading(file.path, "a file"),
            file.steady(),
            file.system.open_input_stream(file.path, compression=None) as stream,
        ):
            while piece := stream.read(CHUNK):
                digest.update(piece)
        below = str(PurePosixPath(file.path.removeprefix(file.folder)).parent) if file.folder else ""
        out.append([below, digest.hexdigest()])
    return sorted(out)


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _changed(listed: list[files.File]) -> str | None:
    """Return when the inputs last changed, where their file systems say so."""
    times = [file.version for file in listed if isinstance(file.version, int)]
    return datetime.fromtimestamp(max(times) / 1e9, UTC).isoformat(timespec="seconds") if times else None
