"""Check free memory before allocating; on Linux the kernel kills a process that exceeds it, without an error."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ParamSpec, TypeVar

from crowdjax import programs
from crowdjax.labels import InputError

LESS = "smaller batches, fewer factors, replicates or processes, and 32-bit floats (JAX_ENABLE_X64=0) need less"
GIB = 2**30
MOST_MAPS = 0.5  # of the memory maps that a process may have; the rest is for the next fit
MOST_OURS = 4000  # memory maps of our own programs, before another function makes some


def is_full(error: BaseException) -> bool:
    """Return whether an error says that the memory of the host or of a device is used up.

    Example:
        >>> is_full(MemoryError()), is_full(ValueError())
        (True, False)
    """
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)[:100]


def available() -> int | None:
    """Return the bytes of memory that the host has left, as Linux reports, within the limit of a container; None where
    nothing tells.

    Example:
        >>> available() is None or available() > 0
        True
    """
    found = []
    with contextlib.suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        found.append(1024 * next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")))
    with contextlib.suppress(OSError, ValueError):
        most, now = (int(Path(f"/sys/fs/cgroup/memory.{k}").read_text(encoding="ascii")) for k in ("max", "current"))
        found.append(max(most - now, 0))
    return min(found, default=None)


def peak(pid: int | str = "self") -> int:
    """Return the most memory that a process has had so far, in bytes; 0 where nothing tells.

    Not ``getrusage``: on Linux its number of a new process starts with its parent's.

    Args:
        pid: of a process on Linux; elsewhere only this one is known.

    Example:
        >>> 0 <= peak() < 2**50
        True
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        return 1024 * int(Path(f"/proc/{pid}/status").read_text(encoding="utf-8").split("VmHWM:")[1].split()[0])
    if pid != "self" or sys.platform.startswith("win"):
        return 0
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def refuse_above(n_bytes: float, what: str) -> None:
    """Reject what cannot fit into the host's memory; a GPU says so by itself.

    Example:
        >>> refuse_above(1000, "a thousand bytes")
    """
    import jax

    if jax.default_backend() == "cpu":
        refuse_host(n_bytes, what, LESS)


def refuse_host(n_bytes: float, what: str, less: str) -> None:
    """Reject what is read or made on the host, whatever the device, and cannot fit into its memory.

    Example:
        >>> refuse_host(1000, "a thousand bytes need", "allowed: fewer")
    """
    left = available()
    if left is not None and n_bytes > left:
        raise InputError(f"{what} at least {n_bytes / GIB:.3g} GiB of memory, and {left / GIB:.3g} are left; {less}")


P = ParamSpec("P")
R = TypeVar("R")
_ours = {"maps": 0, "depth": 0}


def bounded(function: Callable[P, R]) -> Callable[P, R]:
    """Make a function that compiles programs forget those of earlier calls where they hold many memory maps.

    The programs of ``auto`` for one shape of labels hold some 1700, of the 65,530 that Linux allows a process; without
    this a loop over tables of many sizes would end without an error. Programs of others are forgotten with ours (they
    are then read from disk or made again), so only what our functions have added counts, short of half of what is
    allowed.

    Example:
        >>> bounded(abs)(-1)
        1
    """

    @functools.wraps(function)
    def within(*args: P.args, **kwargs: P.kwargs) -> R:
        if _ours["depth"]:
            return function(*args, **kwargs)
        programs.ready()
        before = _room()
        _ours["depth"] += 1
        try:
            return function(*args, **kwargs)
        finally:
            _ours["depth"] -= 1
            _ours["maps"] = max(0, _ours["maps"] + memory_maps() - before)  # what comes and goes is not counted

    return within


def _room() -> int:
    """Forget programs where they hold too much; return how many memory maps the process then has."""
    held, most = memory_maps(), 0
    if "jax" in sys.modules:
        with contextlib.suppress(OSError, ValueError):
            most = int(Path("/proc/sys/vm/max_map_count").read_text(encoding="ascii"))
    if most and (_ours["maps"] > MOST_OURS or held > MOST_MAPS * most):
        sys.modules["jax"].clear_caches()
        if "crowdjax.stored" in sys.modules:
            sys.modules["crowdjax.stored"].forget()
        _ours["maps"] = 0
        held = memory_maps()
    return held


def memory_maps() -> int:
    """Return how many memory maps this process has; 0 where nothing tells."""
    with contextlib.suppress(OSError), open("/proc/self/maps", "rb") as maps:
        return sum(1 for _ in maps)
    return 0


WIDTHS = {"BOOLEAN": 1 / 8, "INT32": 4, "INT64": 8, "INT96": 8, "FLOAT": 4, "DOUBLE": 8}  # bytes; of texts, an index: 4


def parquet_size(metadata, columns: Sequence[str]) -> list[float]:
    """Return the bytes that columns of Parquet need at least when they are read, one number for each row group.

    Args:
        metadata: the footer of a file (``pyarrow.parquet.FileMetaData``).

    Example:
        >>> import io, pyarrow, pyarrow.parquet
        >>> pyarrow.parquet.write_table(pyarrow.table({"a": [0] * 10**6}), file := io.BytesIO())
        >>> parquet_size(pyarrow.parquet.read_metadata(file), ["a"]), len(file.getvalue()) < 100_000
        ([8000000], True)
    """
    wanted = set(columns)
    sizes = []
    for k in range(metadata.num_row_groups):
        group = metadata.row_group(k)
        every = [group.column(c) for c in range(group.num_columns)]
        every = [c for c in every if wanted & {c.path_in_schema, c.path_in_schema.partition(".")[0]}]
        sizes.append(sum(max(c.total_uncompressed_size, c.num_values * WIDTHS.get(c.physical_type, 4)) for c in every))
    return sizes


def refuse_parquet(footers: Sequence, columns: Sequence[str], what: str, less: str, *, at_once: bool = True) -> None:
    """Reject columns of Parquet that cannot fit into memory, seen from the files' footers.

    Args:
        footers: of the files (``pyarrow.parquet.FileMetaData``).
        at_once: whether all row groups are read at once, or one by one.
    """
    left, together = available(), sum if at_once else max
    groups = [footer.row_group(k) for footer in footers for k in range(footer.num_row_groups)]
    most = together([g.total_byte_size + 8 * len(columns) * g.num_rows for g in groups] or [0])
    if left is not None and most > left:
        # only now: pyarrow ends the process where the statistics of a single column are damaged
        refuse_host(together(n for footer in footers for n in parquet_size(footer, columns)), what, less)


def unpacked_size(path: str | os.PathLike) -> int:
    """Return the bytes of a zip file's members when unpacked, as its directory says; zipfile unpacks no more than that.

    Raises:
        zipfile.BadZipFile: it is no zip file.

    Example:
        >>> import numpy, tempfile
        >>> with tempfile.TemporaryFile() as file:
        ...     numpy.savez_compressed(file, zeros=numpy.zeros(10**6))
        ...     unpacked_size(file) - 8 * 10**6
        128
    """
    with zipfile.ZipFile(path) as file:
        return sum(member.file_size for member in file.infolist())
