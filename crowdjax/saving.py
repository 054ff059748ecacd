"""Results on disk: a folder that appears whole or not at all, and is rejected where it was changed.

Its record (``fit.json``) lists every file in it with its SHA-256, and holds the SHA-256 of itself: a result that was
changed is rejected, and an earlier result, which may be replaced, is distinguished from files made or edited by hand.
With ``CROWDJAX_KEY`` set records are signed, too. Arrays are npz: reading executes nothing.

A result at a new place is written beside it and renamed. At a place that is a folder already (an earlier result, an
empty one, the root of a mounted volume, the working directory) it is written inside, under a private name, and renamed
to ``JOURNAL`` when it is whole: from then on it counts. Its files then move to their names, the record last. Whoever
looks there next finishes what a killed process left of that.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import hashlib
import hmac
import json
import logging
import math
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from crowdjax import __version__, disk, memory
from crowdjax.labels import InputError, one_line
from crowdjax.settings import path_of

LOG = logging.getLogger("crowdjax")
RECORDS = ("fit.json", "predict.json", "check.json", "look.json", "plan.json", "data.json")  # look: of crowdjax 0.1
FORMAT = 2  # 1 had no hash of the record
JOURNAL = ".crowdjax.whole"
INSIDE = "crowdjax"  # what private folders inside a result are named after
KEY = "CROWDJAX_KEY"
SEALS = ("sha256", "hmac")  # of a record's other fields
ALLOWED = "allowed: a new or empty folder, or an earlier result to replace"


def check_out(out: str | os.PathLike) -> Path:
    """Reject a folder that a result cannot be written to, by trying: call it before the work.

    What a killed process left there is put in order.

    Raises:
        InputError: something else is in the way, an earlier result was edited, or the folder cannot be written to.
    """
    if not path_of("--out", out, "a new folder, or an earlier result to replace"):
        raise InputError(f"--out: empty; {ALLOWED}")
    _key()
    with writing(out):
        place = _place(out)
        if place.is_dir():
            with contextlib.suppress(OSError):  # of a folder that others may look into
                disk.sweep(place)
            _put_in_order(out, place)
            with _alone(out, place):  # a result that another process is replacing looks changed
                _refuse_loss(out, place)
        _try(place)
    return Path(out)


@contextlib.contextmanager
def writing(out: str | os.PathLike) -> Iterator[None]:
    """Raise what the file system rejects, as a full disk, as one line."""
    try:
        yield
    except OSError as error:
        why = error.strerror or one_line(error)
        raise InputError(
            f"--out {out}: cannot be written: {why}; allowed: a folder that can be written to, with free space"
        ) from error


@contextlib.contextmanager
def claim(folder: str | os.PathLike, settings: Mapping[str, Any]) -> Iterator[None]:
    """Make a folder for the state of a long run with these settings, or take the one that an earlier call made.

    Until the block ends no other process can have it.

    Raises:
        InputError: what is there is not the state of a run with the same settings; another process has it.
    """
    folder, text = Path(folder), json.dumps(_plain(settings), indent=2)
    note = folder / "settings.json"
    with writing(folder):
        if not folder.exists():
            with contextlib.suppress(FileExistsError), _taken_as_exists(), disk.folder(folder) as new:
                (new / note.name).write_text(text, encoding="utf-8")
        handle = contextlib.ExitStack()
        free = handle.enter_context(disk.locked(folder))
    with handle:
        if free is False:
            raise InputError(f"{folder}: another process works there; wait for it to end, or give another --out")
        if not note.is_file() or note.read_text(encoding="utf-8") != text:
            raise InputError(
                f"{folder}: not the state of a fit of these labels with these settings; remove it, or give another "
                "--out"
            )
        yield


@contextlib.contextmanager
def new_result(out: str | os.PathLike, record: Mapping[str, Any], name: str = "fit.json") -> Iterator[Path]:
    """Yield a folder to write a result into; it appears at ``out`` when the block ends, not at all if the block fails.

    Args:
        out: the folder; an earlier result there is replaced. A link is followed.
        record: goes into ``fit.json`` (or ``name``), with the version and the SHA-256 of every file.
    """
    check_out(out)
    with writing(out):
        place = _place(out)
        with disk.private(place / INSIDE if place.is_dir() else place) as home:
            new = home / "result"
            new.mkdir()
            yield new
            files = {n: _sha256(new / n) for n in _files(new)}
            about = {"version": __version__, "format": FORMAT}
            _write_record(new / name, {**record, "crowdjax": about, "files": files})
            _appear(out, home, place)
    LOG.info("wrote %s: %s", place, ", ".join(sorted([*files, name])), extra={"fields": {"event": "wrote"}})


def add_file(folder: str | os.PathLike, name: str, text: str) -> None:
    """Add a file to a result that is there, and to its record; both appear, or neither.

    Raises:
        InputError: the record was changed since it was written.
    """
    place = Path(os.path.realpath(folder))
    with writing(folder), disk.private(place / INSIDE) as home, _alone(folder, place):
        path = next(place / record for record in RECORDS if (place / record).is_file())
        record = _checked(path)
        new = home / "result"
        new.mkdir()
        (new / name).write_text(text, encoding="utf-8")
        _write_record(new / path.name, {**record, "files": {**record["files"], name: _sha256(new / name)}})
        _replace(home, place)


def read_result(folder: str | os.PathLike, name: str = "fit.json") -> dict[str, Any]:
    """Read the record of a result, after checking that it and every file are as they were written.

    Raises:
        InputError: there is no result, it is of another format, a file is missing, it or the record was changed, or
            a key is set and the record is not signed with it.
    """
    folder = Path(folder)
    if (folder / JOURNAL).is_dir():
        with contextlib.suppress(OSError, InputError):  # where it cannot be put in order, what is wrong is seen below
            _put_in_order(folder, folder)
    record = _checked(folder / name)
    for file, digest in record["files"].items():
        if Path(file).is_absolute() or ".." in Path(file).parts:
            raise InputError(f"{folder / file}: not a file of this result; fit again")
        if not (folder / file).is_file():
            raise InputError(f"{folder / file}: missing; the result is incomplete")
        if _sha256(folder / file) != digest:
            raise InputError(f"{folder / file}: changed since it was written (SHA-256 differs); fit again")
    return record


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write a value as :func:`json_text` has it."""
    Path(path).write_text(json_text(value), encoding="utf-8")


def json_text(value: Any) -> str:
    """Return a value as JSON: null for NaN, 'inf' for the infinite.

    Example:
        >>> json_text([math.nan, np.float32(0.5)]).split()
        ['[', 'null,', '0.5', ']']
    """
    return json.dumps(_plain(value), indent=2, allow_nan=False) + "\n"


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with the SHA-256 of its other fields and, where a key is set, their HMAC.

    Example:
        >>> record = sealed({"a": 1, "b": [0.5, None]})
        >>> sealed({**record, "a": 2})["sha256"] == record["sha256"]
        False
    """
    content = {k: v for k, v in record.items() if k not in SEALS}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    seals = {"sha256": hashlib.sha256(text).hexdigest()}
    key = _key()
    if key is not None:
        seals["hmac"] = hmac.new(key, text, hashlib.sha256).hexdigest()
    return {**content, **seals}


def save_arrays(path: str | os.PathLike, tree: Any) -> None:
    """Write the leaves of a pytree as npz, named by their paths. No pickle."""
    np.savez(path, **{".".join(p): np.asarray(leaf) for p, leaf in _leaves(tree)})


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Return the leaves of dicts, tuples, lists and dataclasses with their paths, as JAX has them; without JAX."""
    if tree is None:
        return
    if dataclasses.is_dataclass(tree):
        parts = ((f.name, getattr(tree, f.name)) for f in dataclasses.fields(tree) if "static" not in f.metadata)
    elif isinstance(tree, Mapping):
        parts = sorted(tree.items())
    elif isinstance(tree, tuple | list):
        parts = zip(getattr(tree, "_fields", range(len(tree))), tree, strict=True)
    else:
        yield path, tree
        return
    for name, part in parts:
        yield from _leaves(part, (*path, str(name)))


def load_arrays(path: str | os.PathLike, like: Any) -> Any:
    """Return the pytree that :func:`save_arrays` wrote, in the structure and shapes of ``like`` (arrays or their
    shapes)."""
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
    import jax

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


# Places


def _place(out: str | os.PathLike) -> Path:
    """Return the folder behind ``out``, links followed, there or to be; rejected where something else is in the way."""
    if "\0" in os.fspath(out):
        raise InputError(f"--out: a name with a zero character; {ALLOWED}")
    given = Path(out).absolute()
    there = next(path for path in (given, *given.parents) if os.path.lexists(path))
    if not there.is_dir():
        kind = "a file" if there.exists() else "a link that leads nowhere"
        raise InputError(f"--out {out}: {'' if there == given else f'{there} is '}{kind}; {ALLOWED}")
    return Path(os.path.realpath(given))


def _try(place: Path) -> None:
    """Try what a result at a place will need: a file is written and flushed, a folder of its name renamed."""
    there = place if place.is_dir() else next(p for p in place.parents if p.exists())
    inside = place.relative_to(there) if there != place else Path(INSIDE)
    beside = there / inside.parts[0]
    with disk.private(beside) as one, disk.private(beside) as other:
        (one / inside).mkdir(parents=True)
        (one / inside / "x").write_bytes(bytes(4096))
        disk.move(one / inside.parts[0], other / inside.parts[0])


def _refuse_loss(out: str | os.PathLike, place: Path) -> None:
    """Reject a folder with anything but a result as crowdjax wrote it."""
    known, files = _known(place), _files(place)
    if os.path.lexists(place / JOURNAL) and not disk.is_own_folder(place / JOURNAL):
        files = [JOURNAL]  # somebody else's: it is not finished
    if not known:
        files += sorted(p.name for p in place.iterdir() if not _is_passed_over(p))
    for file in files:
        if file not in known:
            raise InputError(f"--out {out}: holds {file}, which crowdjax did not write; {ALLOWED}")
        if not known[file](place / file):
            raise InputError(
                f"--out {out}: holds {file}, which was changed since crowdjax wrote it; move it away, or give another "
                "--out"
            )
        if not _is_replaceable(place / file):
            raise InputError(f"--out {out}: holds {file}, which may not be replaced; give another --out")


def _known(place: Path) -> dict[str, Callable[[Path], bool]]:
    """Return the files of the results in a folder: by name, what says whether one is as it was written."""
    known: dict[str, Callable[[Path], bool]] = {}
    for name in RECORDS:
        record = _record(place / name)
        if record is not None:
            known[name] = _is_unchanged
            known |= {f: functools.partial(_is_of, digest) for f, digest in record["files"].items()}
    return known


def _is_of(digest: str, path: Path) -> bool:
    return path.is_file() and _sha256(path) == digest


def _files(folder: Path) -> list[str]:
    """Return all files in a folder and those below it, sorted, but for those that are not a result's or anybody's."""
    files = []
    for where, below, names in os.walk(folder):
        if Path(where) == folder:
            below[:] = [name for name in below if not _is_passed_over(folder / name)]
        files += [(Path(where) / name).relative_to(folder).as_posix() for name in names]
    return sorted(files)


def _is_passed_over(path: Path) -> bool:
    """Return whether something in a result's folder is a private folder of crowdjax, or of the file system of a
    volume."""
    ours = path.name.startswith(f".{INSIDE}.") and disk.is_own_folder(path)
    return ours or (path.name == "lost+found" and path.is_dir() and os.path.ismount(path.parent))


def _is_replaceable(path: Path) -> bool:
    """Return whether a file in a folder that can be written to is neither write-protected nor somebody else's to
    keep."""
    if not hasattr(os, "geteuid") or os.geteuid() in (path.lstat().st_uid, 0):
        return os.access(path, os.W_OK) or path.is_symlink()
    folder = path.parent.stat()
    return not folder.st_mode & stat.S_ISVTX or folder.st_uid == os.geteuid()


# Replacing


def _appear(out: str | os.PathLike, home: Path, place: Path) -> None:
    """Bring the result in a private folder to its place."""
    disk.flush(home)
    if not place.is_dir():
        with contextlib.suppress(FileExistsError), _taken_as_exists():  # another process was first
            os.rename(home / "result", place)
            disk.flush_one(place.parent)
            return
    with _alone(out, place):
        _finish(place)
        _refuse_loss(out, place)
        _replace(home, place)


@contextlib.contextmanager
def _taken_as_exists() -> Iterator[None]:
    """Return a folder that is in the way of another is there, whatever a system calls it."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOTEMPTY:
            raise
        raise FileExistsError(*error.args) from None


@contextlib.contextmanager
def _alone(out: str | os.PathLike, place: Path) -> Iterator[None]:
    """Keep other processes from replacing the result at a place; wait for one that does so."""
    with disk.locked(place, disk.WAIT) as free:
        if free is False:
            raise InputError(f"--out {out}: another process writes there; wait for it to end, or give another --out")
        yield


def _replace(home: Path, place: Path) -> None:
    """Put what is in a private folder, a record and files of it, into the place of an earlier result."""
    disk.flush(home)
    try:
        os.rename(home, place / JOURNAL)
        disk.flush_one(place)
        _finish(place)
    except BaseException:  # asked to stop: what counts already is brought to its end
        with contextlib.suppress(OSError):
            _finish(place)
        raise


def _put_in_order(out: str | os.PathLike, place: Path) -> None:
    """Finish what a killed process was doing at a place; wait for one that is alive."""
    if (place / JOURNAL).is_dir():
        with _alone(out, place):
            _finish(place)


def _finish(place: Path) -> None:
    """Move the files of a result that counts, but is not yet at its place, to their names. It can be stopped and called
    again as often as need be."""
    journal = place / JOURNAL
    if not disk.is_own_folder(journal):
        return
    new = journal / "result"
    files = _files(new) if new.is_dir() else []
    if not _is_left(journal, place):
        raise InputError(f"{journal}: not a file of crowdjax; move it away")
    for file in files:
        if file not in RECORDS:
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            os.replace(new / file, place / file)
    for name in (file for file in files if file in RECORDS):
        keep = {name, *_record(new / name)["files"]}
        for file in {*_known(place)}.intersection(_files(place)) - keep:  # of the earlier result alone
            (place / file).unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # a folder that is not empty stays
                if (place / file).parent != place:
                    (place / file).parent.rmdir()
        for folder in {(place / file).parent for file in keep}:
            disk.flush_one(folder)
        os.replace(new / name, place / name)
    disk.flush_one(place)
    shutil.rmtree(journal)
    disk.flush_one(place)


def _is_left(journal: Path, place: Path) -> bool:
    """Return whether a journal holds what a stopped command leaves: a record whose files are all there, in the journal
    or at their place already; or, where the record was moved last, no file any more."""
    files = {path.relative_to(journal).as_posix() for path in journal.rglob("*") if not path.is_dir()}
    if not files:
        return True
    new = journal / "result"
    records = [name for name in RECORDS if f"result/{name}" in files]
    if len(records) != 1 or not _is_unchanged(new / records[0]):
        return False
    listed = _record(new / records[0])["files"]
    if not files <= {f"result/{name}" for name in (records[0], *listed)}:
        return False
    homes = ((digest, new / name if f"result/{name}" in files else place / name) for name, digest in listed.items())
    return all(path.is_file() and _sha256(path) == digest for digest, path in homes)


# Records


def _key() -> bytes | None:
    """Return the key that records are signed with, where there is one."""
    key = os.environ.get(KEY)
    if key == "":
        raise InputError(f"{KEY}: empty; allowed: a secret of any length, or unset")
    return None if key is None else os.fsencode(key)


def _write_record(path: Path, record: Mapping[str, Any]) -> None:
    plain = json.loads(json.dumps(_plain(record), allow_nan=False))  # as it will be read
    path.write_text(json.dumps(sealed(plain), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _record(path: Path) -> dict[str, Any] | None:
    """Return the JSON of a record; None where there is none, or it is not crowdjax's."""
    try:
        record = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(record, dict) and all(isinstance(record.get(part), dict) for part in ("crowdjax", "files"))
    return record if ours else None


def _checked(path: Path) -> dict[str, Any]:
    """Return a record, rejected where it is none of this version, or is not what was written and signed."""
    record = _record(path)
    if record is None:
        raise InputError(f"{path.parent}: no {path.name} of crowdjax; allowed: a folder that `crowdjax fit` wrote")
    found = record["crowdjax"].get("format")
    if type(found) is not int or found not in (1, FORMAT):
        raise InputError(f"{path}: format {found!r}; allowed: 1, {FORMAT}")
    if _key() is not None and not _has(record, "hmac"):
        raise InputError(f"{path}: not signed with the key in {KEY}, or changed since; fit again, or unset {KEY}")
    if (found != 1 or record.get("sha256") is not None) and not _has(record, "sha256"):
        raise InputError(f"{path}: changed since it was written (SHA-256 differs); fit again")
    return record


def _is_unchanged(path: Path) -> bool:
    """Return whether a record is as it was written; of format 1, which has no hash of itself, all are taken for
    that."""
    record = _record(path)
    if record is None:
        return False
    found = record["crowdjax"].get("format")
    return (found == 1 and record.get("sha256") is None) or (found in (1, FORMAT) and _has(record, "sha256"))


def _has(record: Mapping[str, Any], seal: str) -> bool:
    """Return whether a record has the seal that its other fields give."""
    try:
        return hmac.compare_digest(str(record.get(seal)), sealed(record)[seal])
    except (ValueError, TypeError):  # numbers that crowdjax does not write, letters that no seal has
        return False


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _plain(value):
    """Return what JSON can hold: numbers instead of arrays, null for NaN, 'inf' for the infinite."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic | np.ndarray) or hasattr(value, "addressable_shards"):  # an array of JAX
        return _plain(np.asarray(value).tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
