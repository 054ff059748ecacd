"""float32 additions by index on NVIDIA GPUs: which versions of jaxlib make them slow, and the flag that prevents it.

jaxlib 0.10.2 to 0.11.0 compiles such an addition to a loop of compare-and-swap in place of the GPU's own instruction
(jax-ml/jax#38806). The flag must be set before JAX starts.
"""

from __future__ import annotations

import functools
import os
import re
import warnings
from importlib import metadata

import jax

__all__ = ["use_native", "warn_if_emulated"]

EMULATED = ((0, 10, 2), (0, 11, 0))  # the first and the last jaxlib
OPTION = "nvptx-allow-ftz-atomics"
FLAG = f"--xla_backend_extra_options=-{OPTION}"
PLUGINS = ("jax-cuda12-plugin", "jax-cuda13-plugin")


def use_native() -> None:
    """Set the flag in ``XLA_FLAGS`` where this jaxlib needs it and JAX may find a GPU; other flags stay as they are.

    Call it before anything else of JAX.

    Example: nothing to do without JAX's build for GPUs
        >>> use_native()
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if _is_emulated() and _may_have_gpu() and OPTION not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {FLAG}".strip()


def warn_if_emulated() -> None:
    """Warn, once, where sums by index run on a GPU with such a jaxlib and without the flag.

    Example: nothing to warn of on a CPU
        >>> warn_if_emulated()
    """
    emulated = _is_emulated() and OPTION not in os.environ.get("XLA_FLAGS", "")
    if emulated and jax.devices()[0].platform in ("gpu", "cuda"):
        _warn()


@functools.cache
def _warn() -> None:
    warnings.warn(
        f"jaxlib {metadata.version('jaxlib')} adds float32 numbers by index very slowly on a GPU; take jaxlib 0.11.1 "
        f"or newer, or set XLA_FLAGS={FLAG} before JAX starts",
        RuntimeWarning,
        stacklevel=2,
    )


def _is_emulated() -> bool:
    first, last = EMULATED
    return first <= tuple(map(int, re.findall(r"\d+", metadata.version("jaxlib"))[:3])) <= last


def _may_have_gpu() -> bool:
    """Return whether JAX's build for NVIDIA GPUs is here and not ruled out (``JAX_PLATFORMS``)."""
    platforms = jax.config.jax_platforms or "cuda"
    return any(name in platforms for name in ("cuda", "gpu")) and any(_is_installed(name) for name in PLUGINS)


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
