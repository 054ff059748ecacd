"""Compiled programs on disk: a program that was compiled once is read the next time, by whatever process.

They are kept in the user's cache folder, or in the one that ``CROWDJAX_CACHE`` names; ``CROWDJAX_CACHE=off`` keeps
none. Programs that were not used for long go where the folder has more than ``MOST`` bytes. Who has set JAX's own cache
(``jax_compilation_cache_dir``) keeps it as it is.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

MOST = 2**30  # bytes of all programs in a cache folder
OURS = ("program-*", "*-cache", "*-atime")  # names of files with programs; the folder may hold others
OFF = ("", "0", "off", "none")
_first: list[Callable[[], None]] = []


def cache_folder() -> Path | None:
    """Return the folder of compiled programs: $CROWDJAX_CACHE, or the user's cache folder; None where that is 0 or
    off."""
    given = os.environ.get("CROWDJAX_CACHE")
    if given is not None and given.lower() in OFF:
        return None
    with contextlib.suppress(RuntimeError, OSError):  # a user without a home, a working directory that is gone
        if given is not None:
            return Path(given).absolute()
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "crowdjax"
    return None


def first(action: Callable[[], None]) -> None:
    """Run a function before the first program is compiled; the last one asked for counts."""
    _first[:] = [action]


def ready() -> None:
    """Get JAX ready for programs: what was asked for by :func:`first`, then, once in a process, :func:`keep`."""
    while _first:
        _first.pop(0)()
    if not _in_use:
        _in_use.append(keep())


_in_use: list[Path | None] = []


def in_use() -> Path | None:
    """Return the folder that :func:`ready` has chosen; None where there is none, or before."""
    return _in_use[0] if _in_use else None


def keep() -> Path | None:
    """Keep compiled programs in :func:`cache_folder`, unless JAX keeps them elsewhere or the folder cannot be written
    to. Return the folder, or None where ``crowdjax.stored`` may not read what it would write there."""
    import jax

    folder = cache_folder()
    theirs = jax.config.jax_compilation_cache_dir is not None and "CROWDJAX_CACHE" not in os.environ
    at = None if folder is None or theirs else _written(folder)
    if folder is None or at is None:
        return None
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    shrink(folder)
    return folder if is_own(at) else None


def is_own(at: os.stat_result) -> bool:
    """Whether a file is the user's and no one else may write to it; on a file server it may be neither."""
    return not hasattr(os, "getuid") or (at.st_uid == os.getuid() and not at.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def shrink(folder: Path, most: int = MOST) -> None:
    """Remove the programs that were not used for longest where all have more than so many bytes, down to half of it."""
    found, files = [], []
    with contextlib.suppress(OSError):  # a folder that may be written to and not be listed
        files = [file for file in os.scandir(folder) if any(fnmatch.fnmatchcase(file.name, name) for name in OURS)]
    for file in files:
        with contextlib.suppress(OSError):  # another process was first
            if file.is_file(follow_symlinks=False):
                at = file.stat()
                found.append((max(at.st_atime, at.st_mtime), at.st_size, file.path))
    total = sum(size for _, size, _ in found)
    if total <= most:
        return
    for _, size, path in sorted(found):
        if total <= most // 2:
            return
        with contextlib.suppress(OSError):
            os.remove(path)
            total -= size


def _written(folder: Path) -> os.stat_result | None:
    """What a file says that is written to the folder, which is made; None where that cannot be."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno())
    return None
