"""What fits into memory, asked before it is used: a host that runs out ends a process without a word."""

from __future__ import annotations

import contextlib
from pathlib import Path

import jax

from crowdjax.labels import InputError

LESS = "smaller batches, fewer factors, replicates or processes, and 32-bit floats (JAX_ENABLE_X64=0) need less"
GIB = 2**30


def is_full(error: BaseException) -> bool:
    """Whether an error says that the memory of the host or of a device is used up.

    Example:
        >>> is_full(MemoryError()), is_full(ValueError())
        (True, False)
    """
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)[:100]


def available() -> int | None:
    """Bytes that the host has left, as Linux says, within the limit of a container; None where nothing tells.

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


def refuse_above(n_bytes: float, what: str) -> None:
    """Refuses what cannot fit into the host's memory; a GPU says so by itself.

    Example:
        >>> refuse_above(1000, "a thousand bytes")
    """
    left = available() if jax.default_backend() == "cpu" else None
    if left is not None and n_bytes > left:
        raise InputError(f"{what} at least {n_bytes / GIB:.3g} GiB of memory, and {left / GIB:.3g} are left; {LESS}")
