"""Files elsewhere and files that change: what arrives is whole and of one piece, or it is refused in one line."""

from __future__ import annotations

import functools
import gzip
import io as bytes_io
import os
import socket
import struct
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import fsspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import crowdjax
from crowdjax import InputError, fetch, files
from crowdjax.scan import scan

ROWS = [f"w{k % 5},q{k // 5},{k % 2}" for k in range(100)]
WHOLE = "\n".join(["labeler,instance,label", *ROWS, ""]).encode()
PARQUET = pa.BufferOutputStream()
pq.write_table(pa.csv.read_csv(bytes_io.BytesIO(WHOLE)), PARQUET)
PARQUET = PARQUET.getvalue().to_pybytes()


@pytest.fixture
def server():
    """A server that answers as ``server.answer(handler)`` does; the paths asked for are in ``server.asked``."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            self.server.asked.append(self.path)
            self.close_connection = True
            self.server.answer(self)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked, server.address = [], f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def nothing_left(tmp_path, monkeypatch):
    """The folders where a download could leave something are empty when the test ends."""
    for name in ("temporary", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    yield
    assert os.listdir(tmp_path / "temporary") == os.listdir(tmp_path / "home") == []


def send(handler, body: bytes = WHOLE, status: int = 200, length: int | None = -1, **headers: str) -> None:
    """An answer with a Content-Length, by default the right one."""
    handler.send_response(status)
    if length is not None:
        handler.send_header("Content-Length", str(len(body) if length == -1 else length))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def chunked(handler, body: bytes = WHOLE, last: bytes = b"0\r\n\r\n") -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n%s\r\n" % (len(body), body) + last)


def reset(handler) -> None:
    """The connection breaks after some rows."""
    send(handler, WHOLE[:200], length=len(WHOLE))
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def line(call) -> str:
    """The refusal, which is one short line."""
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 300, str(caught.value)
    return str(caught.value)


BROKEN = {
    "cut": (functools.partial(send, body=WHOLE[:200], length=len(WHOLE)), f"200 of {len(WHOLE):,} bytes"),
    "empty": (functools.partial(send, body=b"", length=len(WHOLE)), f"0 of {len(WHOLE):,} bytes"),
    "longer": (functools.partial(send, length=200), f"{len(WHOLE):,} or more of 200 bytes"),
    "reset": (reset, "the transfer broke off"),
    "no answer": (lambda handler: None, "the transfer broke off"),
    "chunk cut": (functools.partial(chunked, last=b""), "the transfer broke off"),
    "gzip cut": (
        functools.partial(send, body=gzip.compress(WHOLE)[:100], Content_Encoding="gzip"),
        "gzip that ends after 100 bytes",
    ),
    "no gzip": (functools.partial(send, Content_Encoding="gzip"), "not gzip as its header claims"),
    "other encoding": (functools.partial(send, Content_Encoding="br"), "'br'; allowed: no encoding, or gzip"),
    "404": (functools.partial(send, status=404), "no such file: the server responds 404 Not Found"),
    "500": (functools.partial(send, status=500), "the server responds 500 Internal Server Error"),
    "206": (functools.partial(send, status=206), "the server responds 206 Partial Content"),
    "loop": (functools.partial(send, body=b"", status=302, Location="/l.csv"), "too many redirects"),
    "to a file": (functools.partial(send, body=b"", status=302, Location="file:///etc/hostname"), "away from HTTP"),
    "page": (functools.partial(send, body=b"\n<!DOCTYPE html><html>log in", Content_Type="text/html"), "a web page"),
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("name", ["l.csv", "l.parquet", "l.json"])
def test_a_broken_download_is_refused_each_time_and_read_once_it_is_whole(broken, name, server, nothing_left):
    answer, words = BROKEN[broken]
    for _ in range(2):
        server.answer = answer
        message = line(lambda: crowdjax.tidy(f"{server.address}/{name}?token=secret"))
        assert f"{server.address}/{name}: " in message and words in message, message
        assert "secret" not in message
    server.answer = functools.partial(send, body=PARQUET if name.endswith("parquet") else WHOLE)
    if name != "l.json":
        assert len(crowdjax.tidy(f"{server.address}/{name}")) == 100


@pytest.mark.parametrize(
    "answer",
    [
        send,
        chunked,
        functools.partial(send, body=gzip.compress(WHOLE), Content_Encoding="gzip"),
        functools.partial(send, length=None),  # the end of the connection is the end of the file
        functools.partial(send, Content_Type="text/html"),  # said of a table by mistake
    ],
)
def test_whole_answers_of_any_kind_are_read_by_one_request(answer, server, nothing_left):
    server.answer = answer
    assert crowdjax.tidy(f"{server.address}/l.csv")["label"].to_pylist() == [k % 2 for k in range(100)]
    assert server.asked == ["/l.csv"]


def test_a_length_that_is_not_said_is_warned_about(server, caplog):
    server.answer = functools.partial(send, length=None)
    crowdjax.tidy(f"{server.address}/l.csv")
    assert "does not say how long it is" in caplog.text


@pytest.mark.parametrize("headers", [{}, {"ETag": '"same"', "Last_Modified": "Sat, 28 Nov 2026 00:00:00 GMT"}])
def test_a_file_that_was_changed_is_read_anew(headers, server):
    """Also where the server does not know that it was."""
    for label in (0, 1):
        body = b"labeler,instance,label\n" + b"".join(b"w%d,q,%d\n" % (k, label) for k in range(9))
        server.answer = functools.partial(send, body=body, **headers)
        assert crowdjax.tidy(f"{server.address}/l.csv")["label"].to_pylist() == [label] * 9


def test_packed_files_are_unpacked_by_their_names(server):
    packed = gzip.compress(WHOLE)
    for headers in ({}, {"Content_Encoding": "gzip"}):  # the latter is how some servers say what the file is
        server.answer = functools.partial(send, body=packed, **headers)
        assert len(crowdjax.tidy(f"{server.address}/l.csv.gz?version=2")) == 100
    server.answer = functools.partial(send, body=packed[:-30])
    assert "Truncated" in line(lambda: crowdjax.tidy(f"{server.address}/l.csv.gz"))


def test_a_password_goes_to_its_server_only_and_into_no_message(server):
    seen = []

    def answer(handler):
        seen.append(handler.headers["Authorization"])
        if handler.path == "/l.csv":
            return send(handler, b"", 302, Location=f"{server.address}/other.csv")
        return send(handler, b"", 403)

    server.answer = answer
    with pytest.raises(InputError) as caught:
        files.find(server.address.replace("//", "//ann:s3cret@") + "/l.csv")
    assert seen == ["Basic YW5uOnMzY3JldA==", None]
    assert "403 Forbidden" in str(caught.value) and "s3cret" not in str(caught.value)


def test_silence_ends_with_a_line(server, monkeypatch):
    monkeypatch.setattr(fetch, "TIMEOUT", 0.2)
    released = threading.Event()

    def answer(handler):
        send(handler, WHOLE[:200], length=len(WHOLE))
        handler.wfile.flush()
        released.wait(20)

    server.answer = answer
    assert "no response within 0.2 seconds" in line(lambda: crowdjax.tidy(f"{server.address}/l.csv"))
    released.set()


def test_nobody_there(nothing_left):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/l.csv"
        assert f"{address}: cannot be reached" in line(lambda: crowdjax.tidy(address))


def test_a_download_larger_than_the_disk_is_refused(server, monkeypatch, nothing_left):
    monkeypatch.setattr(fetch, "ROOM", 1e-12)
    for answer in (send, chunked):
        server.answer = answer
        assert "room for temporary files" in line(lambda: crowdjax.tidy(f"{server.address}/l.csv"))


def test_minibatches_over_http_are_of_one_download(server, tmp_path):
    server.answer = functools.partial(send, body=PARQUET)
    there = scan(f"{server.address}/l.parquet?token=1", batch=30)
    server.answer = functools.partial(send, status=500)
    for _ in range(2):
        assert sum(len(rows.label) for rows in there.rows()) == 100
    server.answer = functools.partial(send, body=PARQUET)
    assert scan(f"{server.address}/l.parquet?token=2").identity == there.identity  # a new token is the same file
    other = pa.BufferOutputStream()
    pq.write_table(pq.read_table(pa.BufferReader(PARQUET)).slice(0, 99), other)
    server.answer = functools.partial(send, body=other.getvalue().to_pybytes())
    assert scan(f"{server.address}/l.parquet").identity != there.identity


# Files that change while they are read


@pytest.fixture(params=["local", "memory"])
def place(request, tmp_path):
    """(A folder's address, a function that writes a file of it)."""

    def write(name: str, body: bytes) -> None:
        with fsspec.open(f"{folder}/{name}", "wb") as file:
            file.write(body)
        if request.param == "local":
            os.utime(f"{folder}/{name}", ns=(0, next(times)))

    times = iter(range(10**9, 10**10, 10**9))
    folder = str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"
    return folder, write


@pytest.mark.parametrize("change", ["longer", "of the same size", "gone"])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_file_that_changes_after_it_was_opened_is_refused(kind, change, place):
    from crowdjax.tables import open_table

    folder, write = place
    body = WHOLE if kind == "csv" else PARQUET
    write(f"l.{kind}", body)
    table = open_table(f"{folder}/l.{kind}", "labels")
    if change == "gone":
        system, path = fsspec.url_to_fs(f"{folder}/l.{kind}")
        system.rm(path)
    else:
        write(f"l.{kind}", body + WHOLE if change == "longer" else body[:-9] + body[-9:].swapcase())
    message = line(lambda: table.read(["label"]))
    assert "changed while it was read" in message and f"l.{kind}" in message


def parquet(**columns) -> bytes:
    out = pa.BufferOutputStream()
    pq.write_table(pa.table(columns), out)
    return out.getvalue().to_pybytes()


@pytest.fixture
def partitioned(place):
    """(A folder's address, a function that writes a file of two rows into a folder below it)."""
    folder, write = place

    def add(name: str, **columns) -> None:
        if "://" not in folder:
            os.makedirs(os.path.dirname(f"{folder}/{name}"), exist_ok=True)
        write(name, parquet(instance=["a", "b"], score=[0.1, 0.2], **columns))

    return folder, add


@pytest.mark.parametrize(
    ("names", "values"),
    [
        (["week=2026-W05", "week=2026-W06"], ["2026-W05", "2026-W06"]),
        (["week=5", "week=10"], [5, 10]),
        (["week=2026-01-05", "week=2026-01-12"], ["2026-01-05", "2026-01-12"]),
        (["week=a%20b", "week=%C3%A9"], ["a b", "é"]),
        (["site=x/week=1", "site=y/week=2"], [1, 2]),
    ],
)
def test_folders_of_a_name_and_a_value_are_a_column(names, values, partitioned):
    from crowdjax.tables import open_table

    folder, add = partitioned
    for name in names:
        add(f"{name}/part-0.parquet")
    table = open_table(folder, "scores")
    assert table.columns[:2] == ["instance", "score"] and "week" in table.columns[2:]
    assert sorted(table.read(["week", "instance"])["week"].to_pylist()) == sorted(2 * values)
    assert open_table(f"{folder}/{names[0]}", "scores").columns == ["instance", "score"]  # what was given is no part


def test_a_column_of_the_files_own_counts(partitioned):
    from crowdjax.tables import open_table

    folder, add = partitioned
    for week in (1, 2):
        add(f"week={week}/part-0.parquet", week=["first", "second"])
    assert open_table(folder, "scores").read(["week"])["week"].to_pylist() == ["first", "second"] * 2


def test_folders_of_several_names_are_refused(partitioned):
    from crowdjax.tables import open_table

    folder, add = partitioned
    add("week=1/part-0.parquet")
    add("part-0.parquet")
    assert "other folders NAME=VALUE" in line(lambda: open_table(folder, "scores"))


def test_minibatches_have_the_column_too(place):
    folder, write = place
    for name in ("labeler=ann", "labeler=bob"):
        if "://" not in folder:
            os.makedirs(f"{folder}/{name}")
        write(f"{name}/part-0.parquet", parquet(instance=["a", "b", "c"], label=[1, 0, 1]))
    there = scan(folder, batch=2)
    seen = [who for rows in there.rows() for who in rows.labeler.to_pylist()]
    assert sorted(seen) == ["ann"] * 3 + ["bob"] * 3


def test_a_file_that_changes_while_it_is_read_is_refused(place):
    folder, write = place
    write("l.csv", WHOLE)
    (file,), _ = files.find(f"{folder}/l.csv")

    def read():
        with file.stream() as stream:
            stream.read(10)
            write("l.csv", WHOLE + WHOLE)

    assert "changed while it was read" in line(read)


def test_parquet_that_changes_between_or_in_passes_is_refused(place):
    folder, write = place
    write("a.parquet", PARQUET)
    write("b.parquet", PARQUET)
    there = scan(folder, batch=30)
    assert sum(len(rows.label) for rows in there.rows()) == 200
    passing = there.rows()
    next(passing)
    other = pa.BufferOutputStream()
    pq.write_table(pq.read_table(pa.BufferReader(PARQUET)).slice(0, 50), other)
    write("b.parquet", other.getvalue().to_pybytes())
    assert "b.parquet: changed while it was read" in line(lambda: list(passing))
    assert "b.parquet: changed while it was read" in line(lambda: list(there.rows()))
