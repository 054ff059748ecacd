"""Compiled programs that are read from disk without being traced: what a first call costs is mostly tracing.

    fit_jit = stored(fit)          # a function of arrays and settings, compiled once for each shape and setting

A program is known by its function, by its arguments' shapes and settings, and by all that it was made with: the source
of crowdjax, the versions of JAX, the processor and the settings of JAX. Where one of these is another, or anything is
unusual (a model of one's own, several devices, a trace within a trace, a debugging setting), the function is compiled
as ``equinox.filter_jit`` compiles it.

Programs are pickles behind their checksum. They are read only from files that are the user's own, which no one else
may write to (the folder: ``crowdjax.programs``); a file that is damaged is made again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import importlib
import os
import pickle
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

from crowdjax import programs

PLAIN = (bool, int, float, str, bytes, complex, type(None), np.generic)
DEBUGGING = ("jax_disable_jit", "jax_debug_nans", "jax_debug_infs", "jax_check_tracer_leaks")
SIZE = 12  # of a file's name, in bytes of the digest
CHECKSUM = 32  # bytes at the start of a file
WITHOUT_PROGRAMS = (  # rooms that no program here is made from
    "adapters", "cli", "context_api", "contextual", "datasets", "facade", "formats", "monitoring", "planning", "report",
)  # fmt: skip


class Stored:
    """A function, compiled for each shape of its arrays and each value of all else; see the module.

    Example:
        >>> import jax.numpy as jnp
        >>> double = Stored(lambda x: 2 * x)
        >>> double(jnp.ones(2)).tolist()
        [2.0, 2.0]
    """

    def __init__(self, function: Callable):
        functools.update_wrapper(self, function)
        self._function, self._jitted, self._name = function, eqx.filter_jit(function), function.__qualname__
        self._loaded: dict[Any, Any] = {}
        _all.append(self)

    def __call__(self, *args, **kwargs):
        leaves, structure = jax.tree.flatten((args, kwargs))
        is_array = [isinstance(v, jax.Array | np.ndarray) for v in leaves]
        arrays = [v for v, array in zip(leaves, is_array, strict=True) if array]
        rest = tuple(None if array else v for v, array in zip(leaves, is_array, strict=True))
        folder = programs.in_use()
        if folder is None or not _usual(arrays) or not _is_known((args, kwargs)):
            return self._jitted(*args, **kwargs)
        shapes = tuple(map(_shape, arrays))
        key = structure, tuple((type(v), v) for v in rest), shapes, _setting()
        arrays = list(map(_canonical, arrays))
        if key in self._loaded:
            program, skeleton = self._loaded[key]
            return jax.tree.unflatten(skeleton, program(*arrays)) if program else self._jitted(*args, **kwargs)
        made_with = _made_with(), _constants(self._function.__module__)
        path = folder / f"program-{_digest(self._function.__module__, self._name, *key, *made_with)}"
        try:
            program, skeleton = self._program(path, leaves, is_array, structure)
            found = jax.block_until_ready(program(*arrays))
        except jax.errors.JaxRuntimeError:  # it is of another kind of machine
            with contextlib.suppress(OSError):
                path.unlink()
            self._loaded[key] = None, None
            return self._jitted(*args, **kwargs)
        self._loaded[key] = program, skeleton
        return jax.tree.unflatten(skeleton, found)

    def lower(self, *args, **kwargs):
        """Return what ``equinox.filter_jit`` lowers."""
        return self._jitted.lower(*args, **kwargs)

    def __get__(self, instance, owner=None):
        return self if instance is None else functools.partial(self, instance)

    def clear(self) -> None:
        """Forget the programs of this process."""
        self._loaded.clear()

    def _program(self, path: Path, leaves, is_array, structure):
        from jax.experimental.serialize_executable import deserialize_and_load

        found = _read(path)
        if found is None:
            found = self._made(leaves, is_array, structure)
            _write(path, found)
        payload, given, taken, skeleton = found
        program = deserialize_and_load(payload, given, taken, execution_devices=jax.devices()[:1])
        return program, jax.tree.structure(skeleton)

    def _made(self, leaves, is_array, structure):
        from jax.experimental.serialize_executable import serialize

        skeletons = []

        def flat(*arrays):
            each = iter(arrays)
            args, kwargs = jax.tree.unflatten(
                structure, [next(each) if array else v for v, array in zip(leaves, is_array, strict=True)]
            )
            out, shape = jax.tree.flatten(self._function(*args, **kwargs))
            skeletons.append(jax.tree.unflatten(shape, list(range(len(out)))))
            return tuple(out)

        flat.__name__ = self._name.strip("_")
        arrays = [v for v, array in zip(leaves, is_array, strict=True) if array]
        lowered = jax.jit(flat).lower(*arrays)
        with _uncached():  # what JAX has read from its own cache cannot be written again: its kernels are not found
            compiled = lowered.compile()
        return *serialize(compiled), skeletons[0]


_all: list[Stored] = []


def stored(function: Callable) -> Any:
    """Compile a function by :class:`Stored`; to be used as ``equinox.filter_jit`` is."""
    return Stored(function)


def forget() -> None:
    """Forget the programs of this process; those on disk stay."""
    for each in _all:
        each.clear()


def _usual(arrays) -> bool:
    """Return whether these are arrays of one CPU, outside of any trace and of debugging."""
    if jax.default_backend() != "cpu" or any(getattr(jax.config, name) for name in DEBUGGING):
        return False
    if any(isinstance(v, jax.core.Tracer) for v in arrays):
        return False
    on_devices = [v for v in arrays if isinstance(v, jax.Array)]
    first = jax.devices()[0]
    return all(v.committed is False or v.devices() == {first} for v in on_devices) and jax.process_count() == 1


def _shape(array) -> tuple:
    kind = jax.dtypes.canonicalize_dtype(array.dtype)
    return array.shape, str(kind), bool(getattr(array, "weak_type", False))


def _canonical(array):
    """Return an array as JAX would take it."""
    return np.asarray(array, jax.dtypes.canonicalize_dtype(array.dtype)) if isinstance(array, np.ndarray) else array


def _is_known(value) -> bool:
    """Return whether all that a program depends on besides arrays is of plain values and of classes of crowdjax."""
    if isinstance(value, PLAIN + (jax.Array, np.ndarray)):
        return True
    if isinstance(value, dict):
        return all(map(_is_known, value)) and all(map(_is_known, value.values()))
    ours = type(value).__module__.partition(".")[0] == "crowdjax"
    if isinstance(value, tuple | list):
        return (ours or type(value) in (tuple, list)) and all(map(_is_known, value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return ours and all(_is_known(getattr(value, field.name)) for field in dataclasses.fields(value))
    return False


def _setting() -> tuple:
    """Return what a program depends on of the settings of JAX, as they are in this thread."""
    return tuple(getattr(jax.config, name) for name in _SETTINGS)


_SETTINGS = (
    "jax_enable_x64", "jax_default_matmul_precision", "jax_numpy_dtype_promotion", "jax_numpy_rank_promotion",
    "jax_default_prng_impl", "jax_threefry_partitionable", "jax_default_device",
)  # fmt: skip


@functools.cache
def _made_with() -> str:
    """Return the source, the versions and the machine."""
    import jaxlib

    source = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] in WITHOUT_PROGRAMS:
            continue
        source.update(str(path.relative_to(root)).encode() + path.read_bytes())
    device = jax.devices()[0]
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
        wanted = ("flags", "Features", "model name")
        cpu = sorted({line for line in lines if line.startswith(wanted)})
        return repr((source.hexdigest(), *_versions(jaxlib), str(device.device_kind), cpu, _flags()))
    return repr((source.hexdigest(), *_versions(jaxlib), str(device.device_kind), platform.processor(), _flags()))


def _constants(module: str) -> list:
    """Return the constants of a module, and of all of ours that it takes something from, as they are now: who has set
    one means it, in a new process too."""
    found, left = {}, [module]
    while left:
        name = left.pop()
        if name in found or not name.startswith("crowdjax") or name not in sys.modules:
            continue
        values = vars(sys.modules[name])
        found[name] = [(k, _plain(v)) for k, v in sorted(values.items()) if k.isupper() and _is_known(v)]
        left += [of for of in (getattr(v, "__module__", None) for v in values.values()) if isinstance(of, str)]
    return sorted(found.items())


def _plain(value):
    return value.tolist() if isinstance(value, np.ndarray) else value


def _versions(jaxlib) -> tuple:
    return jax.__version__, jaxlib.__version__, eqx.__version__, np.__version__, platform.python_version()


def _flags() -> tuple:
    """Return what changes programs besides."""
    names = [n for n in os.environ if n.startswith(("XLA_", "JAX_")) and "CACHE" not in n]
    return jax.default_backend(), jax.device_count(), *((n, os.environ[n]) for n in sorted(names))


@contextlib.contextmanager
def _uncached():
    """Disable JAX's own cache on disk."""
    from jax.experimental.compilation_cache.compilation_cache import reset_cache

    was = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    reset_cache()  # or the setting is not looked at again
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", was)
        reset_cache()


def _digest(*parts) -> str:
    return hashlib.sha256(repr(parts).encode()).digest()[:SIZE].hex()


def _read(path: Path):
    """Return what :func:`_write` wrote, where it is the user's own; None where there is nothing that can be read."""
    with contextlib.suppress(Exception), open(path, "rb") as file:
        if not programs.is_own(os.fstat(file.fileno())):
            return None
        checksum, data = file.read(CHECKSUM), file.read()
        if _checksum(data) == checksum:
            found = pickle.loads(data)
            _lapack()
            return found
    return None


def _checksum(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


@functools.cache
def _lapack() -> None:
    """Initialise LAPACK, which a loaded program that calls it does not do itself (jax-ml/jax#28908)."""
    with contextlib.suppress(ImportError, AttributeError):
        importlib.import_module("jaxlib.lapack")._lapack.initialize()


def _write(path: Path, found) -> None:
    with contextlib.suppress(OSError, pickle.PicklingError, AttributeError, TypeError):
        data = pickle.dumps(found)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix="program-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(_checksum(data) + data)
            os.replace(name, path)
        finally:  # of a disk that is full nothing is left behind
            with contextlib.suppress(OSError):
                os.unlink(name)
