"""Files by path or URL, on this machine or on a file system that pyarrow or fsspec knows, and what goes wrong there."""

from __future__ import annotations

import contextlib
import os
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from crowdjax.labels import InputError, one_line

NOTHING = "no such file, or no way to it"
COMPRESSED = (".gz", ".bz2", ".zst", ".lz4", ".br")


@contextlib.contextmanager
def reading(place: str, kind: str):
    """Whatever a reader raises, as one line."""
    try:
        yield
    except InputError:
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
    """
    from pyarrow import fs

    system, path = _system(os.fspath(source))
    found = system.get_file_info([path])[0]
    if found.type == fs.FileType.Directory:
        every = system.get_file_info(fs.FileSelector(path, recursive=True))
        files = [File(f.path, f.size, f.mtime_ns, system) for f in every if f.type == fs.FileType.File]
        return sorted((f for f in files if f.ending in endings), key=lambda f: f.path), True
    there = found.type == fs.FileType.File
    return [File(path, found.size, found.mtime_ns, system)] if there else [], False


def _system(source: str):
    """(file system, path on it)."""
    from pyarrow import ArrowInvalid, fs

    if "://" not in source:
        return fs.LocalFileSystem(), os.path.abspath(source)
    try:
        return fs.FileSystem.from_uri(source)
    except ArrowInvalid:  # not one of pyarrow's own
        import fsspec

        whole = "simplecache::" if source.startswith("http") else ""  # few servers give parts of a file
        system, path = fsspec.core.url_to_fs(whole + source)
        return fs.PyFileSystem(fs.FSSpecHandler(system)), path
