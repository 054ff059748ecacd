"""Files over HTTP(S): the whole of a file or an error in one line, and nothing left on disk.

A file is fetched once, before it is read, into a temporary file without a name, which the operating system removes with
the last reader, even where the process is killed. Nothing is kept from one call to the next, so a file that was changed
on its server is read anew.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import logging
import shutil
import tempfile
import threading
import urllib.error
import urllib.request
import weakref
import zlib
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from crowdjax import __version__
from crowdjax.labels import InputError, Unreachable, one_line

LOG = logging.getLogger("crowdjax")
TIMEOUT = 30.0  # seconds without a response
CHUNK = 2**20
ROOM = 0.9  # of the free space for temporary files: what a download may take
PAGES = (b"<!doctype html", b"<html")
UNUSED = "nothing of it is used or kept; try again"


class Fetched:
    """A downloaded file, as the file system of fsspec that ``pyarrow.fs.FSSpecHandler`` asks for.

    Attributes:
        path: its address, without a password and without the query.
        size: in bytes.
        digest: SHA-256 of its content.
    """

    protocol = "http"

    def __init__(self, path: str, content, size: int, digest: str):
        self.path, self.size, self.digest = path, size, digest
        self._content, self._lock = content, threading.Lock()
        weakref.finalize(self, content.close)

    def info(self, path: str) -> dict[str, Any]:
        return {"name": path, "size": self.size, "type": "file"}

    def isfile(self, path: str) -> bool:
        return path == self.path

    def ukey(self, path: str) -> str:
        return self.digest

    def invalidate_cache(self) -> None:
        """Do nothing: there is no cache."""

    def open(self, path: str, mode: str = "rb") -> io.RawIOBase:
        return _Reader(self)

    def part(self, start: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``start`` on."""
        with self._lock:
            self._content.seek(start)
            return self._content.read(size)


class _Reader(io.RawIOBase):
    """A reader with a position of its own."""

    def __init__(self, file: Fetched):
        self._file, self._at = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._file.size)[whence]
        return self._at

    def readinto(self, buffer) -> int:
        found = self._file.part(self._at, len(buffer))
        buffer[: len(found)] = found
        self._at += len(found)
        return len(found)


def fetch(address: str) -> Fetched:
    """Fetch the file at an address.

    Raises:
        InputError: it cannot be reached, it responds with an error or with a web page, the transfer breaks off, or its
            length is not the one that was announced.
    """
    path = _shown(address)
    try:
        with _OPENER.open(_request(address), timeout=TIMEOUT) as response:
            if response.status != http.client.OK:
                raise InputError(f"{path}: the server responds {response.status} {response.reason}; allowed: 200 OK")
            return _received(path, response)
    except urllib.error.HTTPError as error:
        with error:
            if error.code in (301, 302, 303, 307, 308):
                raise InputError(
                    f"{path}: too many redirects, or one away from HTTP; allowed: the address of a file"
                ) from None
            gone = "no such file: " if error.code in (404, 410) else ""
            wrong = Unreachable if error.code == 429 or error.code >= 500 else InputError
            raise wrong(f"{path}: {gone}the server responds {error.code} {_words(error.reason)}") from None
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, TimeoutError):
            raise Unreachable(f"{path}: no response within {TIMEOUT:g} seconds; try again") from None
        text = one_line(reason) if isinstance(reason, BaseException) else _words(reason)
        raise Unreachable(f"{path}: cannot be reached: {text}") from None
    except TimeoutError:
        raise Unreachable(f"{path}: no response within {TIMEOUT:g} seconds; {UNUSED}") from None
    except (http.client.HTTPException, ConnectionError) as error:
        raise Unreachable(f"{path}: the transfer broke off: {one_line(error)}; {UNUSED}") from None


def _received(path: str, response: http.client.HTTPResponse) -> Fetched:
    """Read the body of a response, checked against the length that was announced."""
    announced = None if response.chunked else response.length
    packed = (response.headers.get("Content-Encoding") or "identity").lower()
    if packed not in ("identity", "gzip", "x-gzip"):
        raise InputError(f"{path}: sent in the encoding {packed!r:.40}; allowed: no encoding, or gzip")
    unpacker = zlib.decompressobj(31) if packed != "identity" and not path.endswith(".gz") else None
    room = int(ROOM * shutil.disk_usage(tempfile.gettempdir()).free)
    _refuse_large(path, announced or 0, room)
    response.length = None  # up to the end, to see also what is sent beyond the length announced
    content, digest, arrived, size = tempfile.TemporaryFile(), hashlib.sha256(), 0, 0  # noqa: SIM115
    try:
        while piece := _piece(response, arrived, announced):
            arrived += len(piece)
            while piece:
                out = piece if unpacker is None else unpacker.decompress(piece, CHUNK)
                piece = b"" if unpacker is None else unpacker.unconsumed_tail
                size += len(out)
                _refuse_large(path, size, room)
                digest.update(out)
                content.write(out)
        if announced is not None and arrived != announced:
            beyond = "or more " if arrived > announced else ""
            raise InputError(f"{path}: a broken download, {arrived:,} {beyond}of {announced:,} bytes; {UNUSED}")
        if unpacker is not None and not unpacker.eof:
            raise InputError(f"{path}: a broken download, gzip that ends after {arrived:,} bytes; {UNUSED}")
        if announced is None and not response.chunked:
            LOG.warning("%s: the server does not say how long it is; whether all of it came cannot be checked", path)
        content.seek(0)
        _refuse_page(path, content.read(512), response.headers.get_content_type())
        return Fetched(path, content, size, digest.hexdigest())
    except BaseException as error:
        content.close()
        if isinstance(error, zlib.error):
            raise InputError(f"{path}: a broken download, not gzip as its header claims; {UNUSED}") from None
        if isinstance(error, OSError) and not isinstance(error, TimeoutError | ConnectionError):
            raise InputError(f"{path}: no room for it in {tempfile.gettempdir()}: {one_line(error)}") from None
        raise


def _piece(response: http.client.HTTPResponse, arrived: int, announced: int | None) -> bytes:
    try:
        return response.read(CHUNK)
    except TimeoutError:
        if arrived == announced:  # a server that leaves the connection open
            return b""
        raise
    except http.client.IncompleteRead:
        raise http.client.HTTPException(f"{arrived:,} bytes came") from None


def _refuse_large(path: str, size: int, room: int) -> None:
    if size > room:
        raise InputError(
            f"{path}: {size:,} bytes or more; allowed: up to {room:,}, the room for temporary files in "
            f"{tempfile.gettempdir()} (TMPDIR names another folder)"
        )


def _refuse_page(path: str, begins: bytes, kind: str) -> None:
    begins = begins.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if begins.startswith(PAGES) or (kind == "text/html" and begins.startswith(b"<")):
        raise InputError(f"{path}: a web page (HTML), not a table; allowed: the address of the file itself")


def _request(address: str) -> urllib.request.Request:
    parts = urlsplit(address)
    user, at, host = parts.netloc.rpartition("@")
    path, query = (quote(part, safe="/%:=&?~+!$,;'@()*[]") for part in (parts.path, parts.query))
    plain = urlunsplit(parts._replace(netloc=host, path=path, query=query, fragment=""))
    headers = {"User-Agent": f"crowdjax/{__version__}", "Accept-Encoding": "identity"}
    request = urllib.request.Request(plain, headers=headers)
    if at:
        pair = base64.b64encode(unquote(user).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {pair}")  # another server must not see it
    return request


def _shown(address: str) -> str:
    """Return an address without what may be secret."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))


def _words(text) -> str:
    return one_line(Exception(text))


def _opener() -> urllib.request.OpenerDirector:
    """Build the opener of HTTP and HTTPS, by the proxies that the environment names, and no other scheme."""
    opener, u = urllib.request.OpenerDirector(), urllib.request
    kinds = u.ProxyHandler, u.HTTPHandler, u.HTTPSHandler, u.HTTPRedirectHandler, u.HTTPErrorProcessor
    for kind in (*kinds, u.HTTPDefaultErrorHandler, u.UnknownHandler):
        opener.add_handler(kind())
    return opener


_OPENER = _opener()
