"""Files by path or URL, on this machine or on a file system that pyarrow or fsspec knows, and what goes wrong there."""

from __future__ import annotations

import contextlib
import io
import os
import re
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from crowdjax import memory
from crowdjax.extras import needed
from crowdjax.labels import InputError, Unreachable, one_line

NOTHING = "no such file, or no way to it"
CHUNK = 2**20  # bytes
SMALLER = "allowed: a smaller table, or labels in Parquet, in pieces: minibatch=1_000_000 (--minibatch 1000000)"
COMPRESSED = (".gz", ".bz2", ".zst", ".lz4", ".br")
# How file systems of pyarrow and fsspec say that a store does not respond, or not now.
TEMPORARY = re.compile(
    r"AWS Error (NETWORK_CONNECTION|SLOW_DOWN|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|REQUEST_TIMEOUT|THROTTLING)"
    r"|HTTP status (429|5\d\d)|Status\((UNAVAILABLE|DEADLINE_EXCEEDED)|timed? ?out|could(n't| not) connect",
    re.IGNORECASE,
)


@contextlib.contextmanager
def reading(place: str, kind: str):
    """Raise whatever a reader raises as one line."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # readers and file systems of any make: each with exceptions of its own
        wrong = Unreachable if is_temporary(error) else InputError
        raise wrong(f"{place}: cannot be read as {kind}: {one_line(error)}") from None


def is_temporary(error: BaseException) -> bool:
    """Return whether the same call may succeed later: no server responds, or it is overloaded.

    Example:
        >>> is_temporary(ConnectionResetError()), is_temporary(OSError("AWS Error ACCESS_DENIED during PutObject"))
        (True, False)
    """
    kind = isinstance(error, ConnectionError | TimeoutError) or re.search("connect|timeout", type(error).__name__, re.I)
    return bool(kind or TEMPORARY.search(str(error)))


class File(NamedTuple):
    """A file on a file system of pyarrow, as it was found.

    Attributes:
        version: tells its content from another of the same path and size: the time of the last change in nanoseconds
            since 1970, a hash, or what fsspec knows; None where nothing does.
        folder: in which it was found; "" where its own path was given.
    """

    path: str
    size: int
    version: int | str | None
    system: Any
    folder: str = ""

    @property
    def identity(self) -> list:
        """The properties that distinguish it from another file without reading it."""
        return [self.path, self.size, self.version]

    @property
    def ending(self) -> str:
        """The ending, in lower case and without the dot: csv of labels.csv and of labels.csv.gz."""
        endings = [e for e in PurePosixPath(self.path.partition("?")[0].lower()).suffixes if e not in COMPRESSED]
        return endings[-1][1:] if endings else ""

    @contextlib.contextmanager
    def stream(self):
        """Open its bytes in order, unpacked where the name says so; reject a file that changed while it was read."""
        import pyarrow as pa

        with (
            self.steady(),
            self.system.open_input_stream(self.path) as stream,
            pa.PythonFile(_Bounded(stream, self.path), mode="r") as bounded,
        ):
            yield bounded

    @contextlib.contextmanager
    def steady(self):
        """Open a block that reads the file; reject a file that changed since it was found."""
        self._refuse_changed()
        try:
            yield
        except Exception:
            self._refuse_changed()  # half of one file and half of another makes no sense to a reader
            raise
        self._refuse_changed()

    def _refuse_changed(self) -> None:
        with reading(self.path, "a file"):
            now = _found(self.system, self.path)[0]
        if now.identity != self.identity:
            size = "gone" if now.size is None else f"now {now.size:,} bytes"
            raise InputError(f"{self.path}: changed while it was read ({self.size:,} bytes, {size}); read it again")

    def text(self) -> str:
        """Return the whole of it as UTF-8, with or without a byte order mark."""
        return self.content().decode("utf-8-sig")

    def content(self) -> bytes:
        """Return the whole of it, unpacked where the name says that it is packed."""
        pieces, size = [], 0
        with self.stream() as stream:
            while piece := stream.read(CHUNK):
                pieces.append(piece)
                size += len(piece)
                memory.refuse_host(size, f"{self.path}: its text needs", SMALLER)
        return b"".join(pieces)


class _Bounded(io.RawIOBase):
    """A stream that ends with an error before what Arrow makes of it, as much again for the ids' indices, fills the
    memory: packed, a small file may be a huge table."""

    def __init__(self, stream, path: str):
        import pyarrow as pa

        self._stream, self._path, self._allocated = stream, path, pa.total_allocated_bytes
        self._least = pa.total_allocated_bytes()  # what is not of this stream may be freed in between

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        now = self._allocated()
        self._least = min(self._least, now)
        memory.refuse_host(now - self._least, f"{self._path}: what was read so far needs", SMALLER)
        return self._stream.read(size)


def is_path(source) -> bool:
    return isinstance(source, str | os.PathLike)


def find(source: str | os.PathLike, *endings: str) -> tuple[list[File], bool]:
    """Return (the file of that path or URL or, of a folder, those in it with such an ending, sorted; whether it is a
    folder).

    No file at all: there is none.

    Raises:
        InputError: it is a device or a pipe, or the folder has one, or a link to nowhere, of such a name; it has
            something twice.
    """
    from pyarrow import fs

    if not os.fspath(source):
        return [], False
    system, path = system_of(os.fspath(source))
    file, kind = _found(system, path)
    if kind == fs.FileType.Directory:
        local = isinstance(system, fs.LocalFileSystem)
        every = system.get_file_info(_inside(path) if local else fs.FileSelector(path, recursive=True))
        every = sorted((f for f in every if f.type != fs.FileType.Directory), key=lambda f: f.path)
        files = [(_file(f, system), f.type) for f in every]
        files = [_plain(file, kind)._replace(folder=path) for file, kind in files if file.ending in endings]
        if local:
            _once([file.path for file in files], path)
        return files, True
    if kind == fs.FileType.NotFound:
        return [], False
    return [_plain(file, kind)], False


def _found(system, path: str) -> tuple[File, Any]:
    """Return (the file of a path as it is now, its type)."""
    if hasattr(system, "handler"):
        system.handler.fs.invalidate_cache()
    found = system.get_file_info([path])[0]
    return _file(found, system), found.type


def _file(found, system) -> File:
    version = found.mtime_ns
    if version is None and found.is_file and hasattr(system, "handler"):  # fsspec's word for it
        version = system.handler.fs.ukey(found.path)
    return File(found.path, found.size, version, system)


def counting(files: list[File]) -> list[File]:
    """Return those of a folder's files that are read: Parquet, where there is any.

    Example:
        >>> [f.path for f in counting([File("a.csv", 1, None, None), File("b.parquet", 1, None, None)])]
        ['b.parquet']
    """
    return [f for f in files if f.ending in ("parquet", "pq")] or files


def parquet_of(files: list[File]):
    """Open a data set of Parquet files; folders NAME=VALUE below the one that was given are a column, as other tools
    write it. Texts come as dictionaries, which a column that repeats a long one needs far less memory for, and whose
    sizes are known before they are unpacked."""
    from pyarrow import dataset, types  # takes pandas along, where that is installed

    plain = _dataset(files, dataset.ParquetFileFormat())
    texts = (types.is_string, types.is_large_string, types.is_binary)
    names = [f.name for f in plain.schema if any(is_type(f.type) for is_type in texts)]
    _refuse_other_schemas(plain, types)
    return _dataset(files, dataset.ParquetFileFormat(dictionary_columns=names))


def _dataset(files: list[File], form):
    from pyarrow import dataset

    options, names = dataset.FileSystemFactoryOptions(), _keys(files[0])
    for file in files[1:]:
        if _keys(file) != names:
            raise InputError(
                f"{file.path}: other folders NAME=VALUE than {files[0].path}; allowed: the same names for all files"
            )
    if names and not {*names} & {*form.inspect(files[0].path, files[0].system).names}:  # which count where they have it
        below = dataset.HivePartitioning.discover()
        options = dataset.FileSystemFactoryOptions(partition_base_dir=files[0].folder, partitioning=below)
    return dataset.FileSystemDatasetFactory(files[0].system, [f.path for f in files], form, options).finish()


def _keys(file: File) -> list[str]:
    """Return the names of the folders NAME=VALUE between a file and the folder that was given."""
    folders = file.path.removeprefix(file.folder).split("/")[:-1] if file.folder else []
    return [name for name, mark, _ in (folder.partition("=") for folder in folders) if mark]


def _refuse_other_schemas(data, types) -> None:
    """Raise where files of a data set differ in columns or types: Arrow would leave columns out, or cast ids."""

    def kinds(fragment) -> dict[str, str]:
        fields = fragment.physical_schema
        plain = {f.name: f.type.value_type if types.is_dictionary(f.type) else f.type for f in fields}
        return {n: str(t).removeprefix("large_") for n, t in plain.items() if not types.is_null(t)}

    fragments = list(data.get_fragments())
    first, names = kinds(fragments[0]), {*fragments[0].physical_schema.names}
    for fragment in fragments[1:]:
        other = {*fragment.physical_schema.names} ^ names
        if other:
            raise InputError(
                f"{fragment.path}: other columns than {fragments[0].path} ({min(other)!r}); allowed: files of one table"
            )
        for name, kind in kinds(fragment).items():
            if first.setdefault(name, kind) != kind:
                raise InputError(
                    f"{fragment.path}: column {name!r} of type {kind}, and in {fragments[0].path} {first[name]}; "
                    "allowed: one type"
                )


def _inside(folder: str) -> list[str]:
    """Return all paths in a folder and those below it, each folder once. pyarrow leaves out links to nowhere, and
    follows a link to a folder above it forty times."""
    seen, paths = set(), []
    for where, below, names in os.walk(folder, followlinks=True):
        below[:] = [name for name in below if os.path.realpath(os.path.join(where, name)) not in seen]
        if os.path.realpath(where) not in seen:
            paths += [os.path.join(where, name) for name in names]
        seen.add(os.path.realpath(where))
    return paths


def _once(paths: list[str], folder: str) -> None:
    seen = set()
    for path in paths:
        if os.path.realpath(path) in seen:
            raise InputError(f"{path}: a link to what is in {folder} already; allowed: each file once")
        seen.add(os.path.realpath(path))


def _plain(file: File, kind) -> File:
    """Return a file that can be read from its beginning as often as is asked."""
    from pyarrow import fs

    if kind != fs.FileType.File:
        what = "leads nowhere" if kind == fs.FileType.NotFound else "a device or a pipe"
        raise InputError(f"{file.path}: {what}; allowed: a file")
    return file


def system_of(source: str):
    """Return (file system, path on it)."""
    from pyarrow import ArrowInvalid, fs

    if "://" not in source:
        return fs.LocalFileSystem(), os.path.abspath(source)
    if source.lower().startswith(("http://", "https://")):
        from crowdjax.fetch import fetch  # takes TLS along

        fetched = fetch(source)
        return fs.PyFileSystem(fs.FSSpecHandler(fetched)), fetched.path
    try:
        return fs.FileSystem.from_uri(source)
    except ArrowInvalid:  # not one of pyarrow's own
        with needed(source, "fsspec"):
            import fsspec

        system, path = fsspec.core.url_to_fs(source)
        return fs.PyFileSystem(fs.FSSpecHandler(system)), path
