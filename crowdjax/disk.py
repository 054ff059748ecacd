"""Files and folders that appear whole or not at all: written under a private name, flushed to the disk, renamed.

Private is a folder of a name that nobody can foresee (``tempfile.mkdtemp``), which only its owner may open. The process
that made it holds a lock on it, and a lock ends with its process, however that ends: a private folder without one is
what a killed process left, and the next process that writes to the same place removes it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

WAIT = 60.0  # seconds for another process to end what takes it milliseconds
NO_FLUSH = (errno.EINVAL, errno.ENOTSUP, errno.EBADF)  # of folders, on file systems that cannot


@contextlib.contextmanager
def file(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a private path to write a file to; it appears at ``path`` when the block ends, replacing what is there.

    If the block fails, ``path`` stays as it was. A link is followed.

    Example:
        >>> with tempfile.TemporaryDirectory() as there:
        ...     with file(f"{there}/a.txt") as new:
        ...         _ = new.write_text("whole")
        ...     os.listdir(there)
        ['a.txt']
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise FileExistsError(errno.EEXIST, "a folder, a device or a pipe", str(path))
    with private(path) as home:
        yield home / path.name
        move(home / path.name, path)


@contextlib.contextmanager
def folder(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a private folder to write to; it appears at ``path``, where nothing may be, when the block ends.

    Example:
        >>> with tempfile.TemporaryDirectory() as there:
        ...     with folder(f"{there}/a") as new:
        ...         _ = (new / "b.txt").write_text("whole")
        ...     os.listdir(there)
        ['a']
    """
    path = Path(path)
    with private(path) as home:
        new = home / "new"
        new.mkdir()
        yield new
        move(new, path)


@contextlib.contextmanager
def private(place: Path) -> Iterator[Path]:
    """Yield a new folder beside ``place`` that only this process uses; at the end, what is still in it is removed."""
    place.parent.mkdir(parents=True, exist_ok=True)
    sweep(place)
    with contextlib.ExitStack() as held:
        home = None
        try:
            while home is None or not home.is_dir():  # another process may sweep it away before it is locked
                home = Path(tempfile.mkdtemp(".new", f".{place.name}.", place.parent))
                with contextlib.suppress(FileNotFoundError):
                    held.enter_context(locked(home, WAIT))
            yield home
        finally:
            if home is not None:
                _remove(home)


@contextlib.contextmanager
def locked(folder: str | os.PathLike, wait: float = 0.0) -> Iterator[bool | None]:
    """Hold the lock of a folder.

    Yields True; False where another process still has it after ``wait`` seconds; None where there are no such locks.
    """
    try:
        import fcntl
    except ImportError:
        yield None
        return
    handle, end = os.open(folder, os.O_RDONLY), time.monotonic() + wait
    try:
        free = False
        while free is False:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                free = True
            except BlockingIOError:
                if time.monotonic() >= end:
                    break
                time.sleep(0.02)
            except OSError:  # NFS for one has none for folders
                free = None
        yield free
    finally:
        os.close(handle)


def move(source: Path, place: Path) -> None:
    """Rename what is whole to its place; flush it to the disk before, and the renaming after."""
    flush(source)
    os.replace(source, place)
    flush_one(place.parent)


def flush(path: Path) -> None:
    """Flush a file, or a folder with everything in it, to the disk."""
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            flush(inner)
    flush_one(path)


def flush_one(path: Path) -> None:
    """Flush a file, or the names in a folder, to the disk."""
    if os.name == "nt":  # which flushes only what is open for writing
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in NO_FLUSH:
            raise
    finally:
        os.close(handle)


def is_own_folder(path: Path) -> bool:
    """Return whether there is a folder, not a link, that belongs to the user of this process."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and (not hasattr(os, "geteuid") or found.st_uid == os.geteuid())


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:  # stopped in between: the folder is removed all the same
        shutil.rmtree(folder, ignore_errors=True)
        raise


def sweep(place: Path) -> None:
    """Remove the private folders that killed processes left beside a place."""
    for name in os.listdir(place.parent):
        left = place.parent / name
        if name.startswith(f".{place.name}.") and name.endswith(".new") and is_own_folder(left):
            with contextlib.suppress(OSError), locked(left) as free:
                if free:
                    shutil.rmtree(left)
