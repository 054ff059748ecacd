"""Files by path or URL, on this machine or on a file system that pyarrow or fsspec knows, and what goes wrong there."""

from __future__ import annotations

import contextlib
import os
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from crowdjax.extras import needed
from crowdjax.labels import InputError, one_line

NOTHING = "no such file, or no way to it"
COMPRESSED = (".gz", ".bz2", ".zst", ".lz4", ".br")


@contextlib.contextmanager
def reading(place: str, kind: str):
    """Whatever a reader raises, as one line."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # readers and file systems of any make: each with exceptions of its own
        raise InputError(f"{place}: cannot be read as {kind}: {one_line(error)}") from None


class File(NamedTuple):
    """A file on a file system of pyarrow; path, size and time of change tell it from another."""

    path: str
    size: int
    changed: int | None  # nanoseconds since 1970
    system: Any

    @property
    def ending(self) -> str:
        """In lower case and without the dot: csv of labels.csv and of labels.csv.gz."""
        endings = [e for e in PurePosixPath(self.path.partition("?")[0].lower()).suffixes if e not in COMPRESSED]
        return endings[-1][1:] if endings else ""

    def stream(self):
        """Its bytes in order, unpacked where the name says that they are packed."""
        return self.system.open_input_stream(self.path)

    def text(self) -> str:
        """The whole of it as UTF-8, with or without a byte order mark."""
        with self.stream() as stream:
            return stream.read().decode("utf-8-sig")


def is_path(source) -> bool:
    return isinstance(source, str | os.PathLike)


def find(source: str | os.PathLike, *endings: str) -> tuple[list[File], bool]:
    """(the file of that path or URL or, of a folder, those in it with such an ending, sorted; whether it is a folder).

    No file at all: there is none.

    Raises:
        InputError: it is a device or a pipe, or the folder has one, or a link to nowhere, of such a name; it has
            something twice.
    """
    from pyarrow import fs

    if not os.fspath(source):
        return [], False
    system, path = _system(os.fspath(source))
    found = system.get_file_info([path])[0]
    if found.type == fs.FileType.Directory:
        local = isinstance(system, fs.LocalFileSystem)
        every = system.get_file_info(_inside(path) if local else fs.FileSelector(path, recursive=True))
        every = sorted((f for f in every if f.type != fs.FileType.Directory), key=lambda f: f.path)
        files = [(File(f.path, f.size, f.mtime_ns, system), f.type) for f in every]
        files = [_plain(file, kind) for file, kind in files if file.ending in endings]
        if local:
            _once([file.path for file in files], path)
        return files, True
    if found.type == fs.FileType.NotFound:
        return [], False
    return [_plain(File(path, found.size, found.mtime_ns, system), found.type)], False


def _inside(folder: str) -> list[str]:
    """All paths in a folder and those below it, each folder once. pyarrow leaves out links to nowhere, and follows a
    link to a folder above it forty times."""
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
            raise InputError(f"{path}: a link to what is in {folder} anyway; allowed: everything once")
        seen.add(os.path.realpath(path))


def _plain(file: File, kind) -> File:
    """A file that can be read from its beginning as often as is asked."""
    from pyarrow import fs

    if kind != fs.FileType.File:
        what = "leads nowhere" if kind == fs.FileType.NotFound else "a device or a pipe"
        raise InputError(f"{file.path}: {what}; allowed: a file")
    return file


def _system(source: str):
    """(file system, path on it)."""
    from pyarrow import ArrowInvalid, fs

    if "://" not in source:
        return fs.LocalFileSystem(), os.path.abspath(source)
    try:
        return fs.FileSystem.from_uri(source)
    except ArrowInvalid:  # not one of pyarrow's own
        with needed(source, "fsspec"):
            import fsspec

            whole = "simplecache::" if source.startswith("http") else ""  # few servers give parts of a file
            system, path = fsspec.core.url_to_fs(whole + source)
        return fs.PyFileSystem(fs.FSSpecHandler(system)), path
