"""Label sets: local first, then the cache, then the source; what is fetched is what is on record or is not kept."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from crowdjax import datasets
from crowdjax.cli import app
from crowdjax.datasets import download, registry

PUBLIC = ("duchenne", "bluebirds", "ducks", "d_possent")


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No local sets, an empty cache, and a folder to work in."""
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path / "none"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.fixture
def source(data_dir, monkeypatch):
    """A server on this machine with the raw files of the sets; ``answer`` may be set to what it does instead."""
    files = {
        f"/{entry.repository}/{entry.commit}/{file.path}": (data_dir / name / "raw" / file.name).read_bytes()
        for name, entry in registry.known().items()
        for file in entry.files
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.asked.append(self.path)
            body = files.get(self.path)
            if body is None or self.server.answer == "404":
                return self.send_error(404)
            if self.server.answer == "hang":
                return self.server.released.wait(20)
            if self.server.answer == "other":
                body = body[:-1] + b"!"
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if self.server.answer == "cut" else body)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.asked, server.answer, server.released = [], "", threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv(download.VARIABLE, f"http://127.0.0.1:{server.server_port}")
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def call(*arguments: str):
    return CliRunner().invoke(app, ["data", *arguments])


def failed(status: int, *arguments: str) -> str:
    """The one line of a call that fails and leaves nothing behind."""
    result = call(*arguments)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (status, "", 1), result.output
    assert os.listdir() == []
    cache = datasets.cache()
    assert not cache.exists() or os.listdir(cache) == []
    return result.stderr


@pytest.mark.parametrize("name", PUBLIC)
def test_what_is_fetched_is_the_local_set(name, nowhere, source, data_dir):
    found = datasets.get(name)
    for file in ("labels.csv", "truth.csv"):
        read = [pd.read_csv(home / file, dtype=str) for home in (found.where, data_dir / name)]
        pd.testing.assert_frame_equal(*read)
    assert found.where == nowhere / "cache" / "crowdjax" / "data" / name


def test_a_set_is_fetched_once_and_says_its_licence(nowhere, source):
    first = call("get", "bluebirds", "--out", "birds")
    assert first.exit_code == 0, first.output
    assert "Clear-BSD" in first.stdout and "Welinder, Branson" in first.stdout
    assert sorted(os.listdir("birds")) == ["data.json", "labels.csv", "truth.csv"]
    about = json.loads((nowhere / "here" / "birds" / "data.json").read_text())
    assert about["licence"].startswith("Clear-BSD") and about["commit"] == registry.known()["bluebirds"].commit
    asked = len(source.asked)
    assert asked == 2
    assert call("get", "bluebirds", "--out", "birds").exit_code == 0
    assert len(datasets.load("bluebirds").index.labelers) == 39
    assert len(source.asked) == asked


def test_a_cache_that_was_changed_is_not_used(nowhere, source):
    home = datasets.get("bluebirds").where
    whole = (home / "labels.csv").read_text()
    (home / "labels.csv").write_text(whole.replace(",1\n", ",0\n"))
    with pytest.raises(datasets.MissingData):
        datasets.load("bluebirds")
    datasets.load("bluebirds", download=True)
    assert (home / "labels.csv").read_text() == whole


def test_loading_fetches_only_if_asked(nowhere, source):
    with pytest.raises(datasets.MissingData, match="bluebirds: not here"):
        datasets.load("bluebirds")
    assert source.asked == []
    labels, _, truth = datasets.load("bluebirds", download=True)
    assert np.isfinite(truth).all() and labels.real.sum() == 4212


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("other", "not the file that is on record (SHA-256 differs)"),
        ("cut", "the transfer broke off"),
        ("404", "404 Not Found"),
        ("hang", "no response within 0.2 seconds"),
    ],
)
def test_a_source_that_fails_is_status_1_and_leaves_nothing(answer, words, nowhere, source, monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    source.answer = answer
    assert words in failed(1, "get", "bluebirds", "--out", "birds")
    source.answer = ""
    assert call("get", "bluebirds", "--out", "birds").exit_code == 0  # nothing bad was kept


def test_no_network_is_status_1(nowhere, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv(download.VARIABLE, f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert "cannot be reached" in failed(1, "get", "ducks")


def test_without_pooch_it_is_said_what_to_install(nowhere, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    assert "pip install 'crowdjax[download]'" in failed(2, "get", "ducks")


def test_wrong_names_and_folders_are_status_2(nowhere, source):
    assert "got 'swans'; allowed: duchenne, bluebirds" in failed(2, "get", "swans")
    assert "local only" in failed(2, "get", "openrel", "--out", "x")
    (nowhere / "here" / "mine").mkdir()
    (nowhere / "here" / "mine" / "notes.txt").write_text("mine")
    result = call("get", "bluebirds", "--out", "mine")
    assert result.exit_code == 2 and "notes.txt" in result.stderr
    assert source.asked == []


def test_local_sets_come_first(data_dir, tmp_path, monkeypatch):
    monkeypatch.setenv(datasets.VARIABLE, str(data_dir))
    monkeypatch.chdir(tmp_path)
    assert datasets.get("ducks").where == data_dir / "ducks"
    assert call("get", "openrel", "--out", "x").exit_code == 0
    assert sorted(os.listdir("x")) == ["data.json", "labels.parquet"]


def test_the_list_has_every_set_with_licence_and_citation(nowhere, data_dir, monkeypatch):
    absent = call("list").stdout
    assert absent.count("can be fetched") == len(PUBLIC)
    home = nowhere / "sets"
    shutil.copytree(data_dir / "caries", home / "caries", copy_function=shutil.copyfile)
    shutil.copytree(data_dir / "caries", home / "own", copy_function=shutil.copyfile)
    monkeypatch.setenv(datasets.VARIABLE, str(home))
    blocks = {block.split()[0].rstrip(":"): block for block in call("list").stdout.split("\n\n")}
    assert {*blocks} == {p.name for p in data_dir.iterdir() if p.is_dir()} | {"own"}
    assert str(home / "caries") in blocks["caries"] and "Espeland and Handelman" in blocks["caries"]
    assert all("licence" in block for block in blocks.values())


def test_the_registry_is_what_the_folders_say(data_dir):
    """Commit, path, size and hash of every file that is fetched; licences of all sets."""
    for name, entry in registry.known().items():
        readme = (data_dir / name / "README.md").read_text()
        stated = next(line for line in readme.splitlines() if line.startswith("Licence:")).lower()
        assert entry.licence.split()[0].strip("(").lower() in stated or "no licence stated" in stated, name
        if not entry.files:
            continue
        upstream = json.loads((data_dir / name / "raw" / "upstream.json").read_text())
        assert (entry.repository, entry.commit) == (upstream["github"], upstream["commit"])
        known = {f["path"]: (f["bytes"], f["sha256"]) for f in upstream["files"]}
        assert all(known[f.path] == (f.bytes, f.sha256) for f in entry.files)
