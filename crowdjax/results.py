"""Results on disk: a folder that appears whole or not at all, and is refused where it was changed.

Its record (``fit.json``) lists every file in it with its SHA-256: that is how a tampered result is refused, and how an
earlier result, which may be replaced, is told from somebody's own files. Arrays are npz: reading
executes nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from crowdjax import __version__, memory
from crowdjax.labels import InputError, one_line
from crowdjax.settings import path_of

LOG = logging.getLogger("crowdjax")
RECORDS = ("fit.json", "predict.json", "look.json", "data.json")
FORMAT = 1


def check_out(out: str | os.PathLike) -> Path:
    """The folder of a result to be, refused where something else is in the way: call it before the work."""
    if not path_of("--out", out, "a new folder, or an earlier result to replace"):
        raise InputError("--out: empty; allowed: a new folder, or an earlier result to replace")
    out = Path(out)
    with writing(out):
        if os.path.lexists(out) and not out.is_dir():
            raise InputError(f"--out {out}: a file; allowed: a new folder, or an earlier result to replace")
        if out.is_dir() and any(out.iterdir()):
            foreign = _foreign(out)
            if foreign:
                raise InputError(
                    f"--out {out}: holds {foreign}, which is not crowdjax's; allowed: a new or empty folder, or an "
                    "earlier result to replace"
                )
        parent = next(p for p in [*out.absolute().parents] if p.exists())
        if not parent.is_dir():
            raise InputError(f"--out {out}: {parent} is no folder; allowed: a folder that can be written to")
        probe = parent / f".{out.name}.{os.getpid()}.new"  # what cannot be written to is known only by trying
        probe.mkdir()
        probe.rmdir()
    return out


@contextlib.contextmanager
def writing(out: str | os.PathLike) -> Iterator[None]:
    """What the file system refuses, a full disk for one, as one line."""
    try:
        yield
    except OSError as error:
        why = error.strerror or one_line(error)
        raise InputError(f"--out {out}: cannot be written: {why}; allowed: a folder with room that can be") from error


def claim(folder: str | os.PathLike, settings: Mapping[str, Any]) -> None:
    """Makes a folder for the state of a long run with these settings, or finds the one that an earlier call made.

    Raises:
        InputError: what is there is not the state of a run with the same settings.
    """
    folder, settings = Path(folder), json.dumps(_plain(settings), indent=2)
    note = folder / "settings.json"
    if not folder.exists():
        new = folder.with_name(f".{folder.name}.{os.getpid()}")
        new.mkdir(parents=True)
        (new / note.name).write_text(settings, encoding="utf-8")
        os.replace(new, folder)
    if not note.is_file() or note.read_text(encoding="utf-8") != settings:
        raise InputError(
            f"{folder}: not the state of a fit of these labels with these settings; remove it, or give another --out"
        )


@contextlib.contextmanager
def new_result(out: str | os.PathLike, record: Mapping[str, Any], name: str = "fit.json") -> Iterator[Path]:
    """A folder to write a result into; it appears at ``out`` when the block ends, and not at all if the block fails.

    Args:
        out: the folder; an earlier result there is replaced.
        record: goes into ``fit.json`` (or ``name``), with the version and the SHA-256 of every file.
    """
    out = check_out(out).absolute()
    temporary, old = (out.with_name(f".{out.name}.{os.getpid()}.{kind}") for kind in ("new", "old"))
    try:
        with writing(out):
            temporary.mkdir(parents=True)
            yield temporary
            files = {n: _sha256(temporary / n) for n in _files(temporary)}
            record = {**record, "crowdjax": {"version": __version__, "format": FORMAT}, "files": files}
            text = json.dumps(_plain(record), indent=2, allow_nan=False)
            (temporary / name).write_text(text + "\n", encoding="utf-8")
            if out.exists():
                os.replace(out, old)
            os.replace(temporary, out)
        LOG.info("wrote %s: %s", out, ", ".join(sorted([*files, name])), extra={"fields": {"event": "wrote"}})
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def add_file(folder: str | os.PathLike, name: str, text: str) -> None:
    """Adds a file to a result that is there, and to its record."""
    folder = Path(folder)
    path = next(folder / record for record in RECORDS if (folder / record).is_file())
    (folder / name).write_text(text, encoding="utf-8")
    record = json.loads(path.read_text(encoding="utf-8"))
    record["files"][name] = _sha256(folder / name)
    new = folder / f".{path.name}"
    new.write_text(json.dumps(record, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    os.replace(new, path)


def read_result(folder: str | os.PathLike, name: str = "fit.json") -> dict[str, Any]:
    """The record of a result, after checking that every file is as it was written.

    Raises:
        InputError: there is no result, it is of another format, a file is missing or was changed.
    """
    folder = Path(folder)
    record = _record(folder / name)
    if record is None:
        raise InputError(f"{folder}: no {name} of crowdjax; allowed: a folder that `crowdjax fit` wrote")
    if record["crowdjax"].get("format") != FORMAT:
        raise InputError(f"{folder / name}: format {record['crowdjax'].get('format')!r}; allowed: {FORMAT}")
    for file, digest in record["files"].items():
        if Path(file).is_absolute() or ".." in Path(file).parts:
            raise InputError(f"{folder / file}: not a file of this result; fit again")
        if not (folder / file).is_file():
            raise InputError(f"{folder / file}: missing; the result is not whole")
        if _sha256(folder / file) != digest:
            raise InputError(f"{folder / file}: changed since it was written (SHA-256 differs); fit again")
    return record


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Writes a value as JSON: null for NaN, 'inf' for the infinite."""
    Path(path).write_text(json.dumps(_plain(value), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def save_arrays(path: str | os.PathLike, tree: Any) -> None:
    """Writes the leaves of a pytree as npz, named by their paths. No pickle."""
    np.savez(path, **{_name(p): np.asarray(leaf) for p, leaf in jax.tree_util.tree_leaves_with_path(tree)})


def load_arrays(path: str | os.PathLike, like: Any) -> Any:
    """The pytree that :func:`save_arrays` wrote, in the structure and shapes of ``like`` (arrays or their shapes)."""
    try:
        memory.refuse_host(
            memory.unpacked_size(path), f"{path}: its arrays need", "allowed: a fit that fits into memory"
        )
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
    except InputError:
        raise
    except Exception as error:  # what a damaged zip raises is of many kinds
        raise InputError(f"{path}: not the arrays of a fit ({one_line(error)})") from None
    leaves, tree = jax.tree_util.tree_flatten_with_path(like)
    out = []
    for p, leaf in leaves:
        found = arrays.pop(_name(p), None)
        if found is None or found.shape != leaf.shape or found.dtype.kind != np.dtype(leaf.dtype).kind:
            shape = None if found is None else (found.shape, str(found.dtype))
            raise InputError(f"{path}: array {_name(p)} is {shape}; expected {(leaf.shape, str(leaf.dtype))}")
        out.append(found)
    if arrays:
        raise InputError(f"{path}: unexpected array {next(iter(arrays))}; not the arrays of this model")
    return jax.tree.unflatten(tree, out)


def _name(path) -> str:
    return ".".join(str(getattr(k, "name", getattr(k, "key", getattr(k, "idx", k)))) for k in path)


def _files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())


def _foreign(folder: Path) -> str | None:
    """A file in a folder that no record of crowdjax lists; None where all is an earlier result's."""
    records = {name: _record(folder / name) for name in RECORDS}
    known = {f for name, record in records.items() if record is not None for f in (name, *record["files"])}
    if not known:
        return next(folder.iterdir()).name
    return next((f for f in _files(folder) if f not in known), None)


def _record(path: Path) -> dict[str, Any] | None:
    """The JSON of a record; None where there is none, or it is not crowdjax's."""
    try:
        record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError):
        return None
    ours = isinstance(record, dict) and all(isinstance(record.get(part), dict) for part in ("crowdjax", "files"))
    return record if ours else None


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value):
    """What JSON can hold: numbers instead of arrays, null for NaN, 'inf' for the infinite."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic | np.ndarray | jax.Array):
        return _plain(np.asarray(value).tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
