"""A folder to write to, by path or URL, on this machine or in a store of objects that pyarrow or fsspec knows.

Every object appears whole or not at all: a store of objects sees to that by itself; on a disk, and on HDFS, a file is
written beside its place and renamed.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

from crowdjax import files
from crowdjax.labels import InputError, Unreachable, one_line
from crowdjax.settings import path_of

RENAMED = ("local", "hdfs", "subtree")  # file systems of pyarrow where a file is seen while it is written


class Store(NamedTuple):
    """A folder of a store.

    Attributes:
        place: what it is called in messages; nothing secret of a URL is in it.
    """

    place: str
    system: Any
    path: str

    def put(self, name: str, content: bytes) -> None:
        """Write an object; an earlier one of this name is replaced.

        Raises:
            Unreachable: the store does not respond now.
            InputError: it does not let it be written.
        """
        whole = f"{self.path}/{name}"
        with self._asked(f"{name} cannot be written", "allowed: a folder or a bucket that can be written to"):
            aside = f"{whole}.part" if self.system.type_name in RENAMED else whole
            if aside != whole:
                self.system.create_dir(os.path.dirname(whole), recursive=True)
            with self.system.open_output_stream(aside, compression=None) as stream:
                stream.write(content)
            if aside != whole:
                self.system.move(aside, whole)

    def remove(self, name: str) -> None:
        """Remove an object; on a disk its folders as well, if nothing else is in them.

        Raises:
            Unreachable, InputError: as :meth:`put`.
        """
        path = f"{self.path}/{name}"
        with self._asked(f"{name} cannot be removed", "allowed: a folder or a bucket that can be written to"):
            self.system.delete_file(path)
            folder = os.path.dirname(path)
            while self.system.type_name == "local" and folder != self.path and not os.listdir(folder):
                os.rmdir(folder)
                folder = os.path.dirname(folder)

    def get(self, name: str) -> bytes | None:
        """Read an object; None where there is none.

        Raises:
            Unreachable, InputError: as :meth:`put`.
        """
        from pyarrow import fs

        path = f"{self.path}/{name}"
        with self._asked(f"{name} cannot be read", "allowed: a folder or a bucket that can be read"):
            if self.system.get_file_info([path])[0].type != fs.FileType.File:
                return None
            with self.system.open_input_stream(path, compression=None) as stream:
                return stream.read()

    def get_json(self, name: str) -> dict[str, Any] | None:
        """Read an object of JSON; None where there is none, or it is not one that is whole."""
        try:
            found = json.loads(self.get(name) or b"null")
        except ValueError:
            return None
        return found if isinstance(found, dict) else None

    @contextlib.contextmanager
    def _asked(self, what: str, allowed: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # file systems of any make: each with exceptions of its own
            if files.is_temporary(error):
                raise Unreachable(f"--out {self.place}: {what}: {one_line(error)}; try again later") from None
            raise InputError(f"--out {self.place}: {what}: {one_line(error)}; {allowed}") from None


def open_store(out: str | os.PathLike) -> Store:
    """Find the file system of a path or URL; nothing is written yet.

    Raises:
        InputError: it is empty, a URL of HTTP, or of a file system that nobody knows.

    Example:
        >>> store = open_store("memory://example")
        >>> store.put("week/a.txt", b"whole")
        >>> store.get("week/a.txt"), store.get("week/b.txt")
        (b'whole', None)
    """
    out = path_of("--out", out, "a folder, or a URL as s3://bucket/folder")
    if not out or out.lower().startswith(("http://", "https://")):
        raise InputError(f"--out: got {out.partition('?')[0]!r}; allowed: a folder, or a URL as s3://bucket/folder")
    with files.reading("--out", "a folder or a URL"):
        system, path = files.system_of(out)
    scheme, mark, _ = out.partition("://")
    path = path.rstrip("/")
    return Store(f"{scheme}://{path.lstrip('/')}" if mark else out, system, path)
