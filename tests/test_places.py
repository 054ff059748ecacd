"""Files that are none, places that cannot be written to, disks that are full, and memory that runs out."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import pytest

from conftest import ROOT
from crowdjax import api, describe, io, memory, scan
from crowdjax.cli.common import unforeseen
from crowdjax.labels import InputError
from experiments import config as configs

ROWS = "labeler,instance,label\n" + "".join(f"w{k % 3},q{k // 3},{k // 3 % 2}\n" for k in range(3000))
linux = pytest.mark.skipif(sys.platform != "linux", reason="places of Linux")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.csv").write_text(ROWS)
    return tmp_path


def run(*words: str, largest: int | None = None, module: str = "crowdjax.cli") -> tuple[int, str]:
    """(exit status, stderr) of a command that may write no file of more bytes."""
    code = "import resource, runpy, sys\n"
    if largest is not None:
        code += f"resource.setrlimit(resource.RLIMIT_FSIZE, ({largest}, {largest}))\n"
    code += f"sys.argv[0] = {module!r}; runpy.run_module({module!r}, run_name='__main__')"
    env = os.environ | {"JAX_PLATFORMS": "cpu", "CROWDJAX_CACHE": "off", "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code, *words], env=env, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stderr


@pytest.mark.parametrize("read", [io.read_labels, describe, scan.scan])
@pytest.mark.parametrize("name", ["pipe", "nowhere", "circle", "/dev/zero", "/dev/null", "", "labels.csv/labels.csv"])
def test_what_is_no_file_is_refused_at_once(here, name, read):
    os.mkfifo("pipe")
    os.symlink("gone", "nowhere")
    os.symlink("circle", "circle")
    with pytest.raises(InputError, match=r"no such file|a device or a pipe|no \*.parquet there"):
        read(name)


@pytest.mark.parametrize("read", [io.read_labels, describe])
@pytest.mark.parametrize("kind", ["pipe", "link"])
def test_a_folder_with_a_part_that_cannot_be_read_is_refused(here, kind, read):
    """It was left out silently: the rest of the table would have been taken for the whole."""
    Path("parts").mkdir()
    os.rename("labels.csv", "parts/a.csv")
    assert describe("parts").record["n_labels"] == 3000
    os.mkfifo("parts/b.csv") if kind == "pipe" else os.symlink("gone.csv", "parts/b.csv")
    with pytest.raises(InputError, match=r"parts/b.csv: (a device or a pipe|leads nowhere); allowed: a file"):
        read("parts")


def test_links_are_followed(here):
    os.symlink("labels.csv", "link.csv")
    Path("parts/deep").mkdir(parents=True)
    os.symlink("../../labels.csv", "parts/deep/a.csv")
    os.symlink("parts", "other")
    os.symlink("../../parts", "parts/deep/again")  # pyarrow follows it forty times: every judgement counted as forty
    os.symlink("deep", "parts/latest")
    for name in ("link.csv", "parts", "other"):
        assert describe(name).record["n_labels"] == 3000


def test_a_folder_that_has_a_table_twice_is_refused(here):
    Path("parts").mkdir()
    os.rename("labels.csv", "parts/a.csv")
    os.symlink("a.csv", "parts/b.csv")
    with pytest.raises(InputError, match=r"parts/.*: a link to what is in .*parts already; allowed: each file once"):
        io.read_labels("parts")


@linux
@pytest.mark.parametrize("name", ["labels.csv", "parts"])
def test_what_may_not_be_read_is_refused(here, name):
    os.mkdir("parts")
    os.symlink("../labels.csv", "parts/a.csv")
    assert describe(name).record["n_labels"] == 3000
    os.chmod("labels.csv", 0)
    me = os.geteuid()
    try:
        os.seteuid(65534 if me == 0 else me)  # root may read everything
        for read in (io.read_labels, describe):
            with pytest.raises(InputError, match=r"ermission denied|no such file, or no way to it|leads nowhere"):
                read(name)
    finally:
        os.seteuid(me)


def test_a_config_or_a_record_that_is_a_pipe_is_refused_at_once(here):
    os.mkfifo("pipe.toml")
    with pytest.raises(InputError, match=r"pipe.toml: no file; allowed: a TOML file"):
        configs.load(Path("pipe.toml"))
    os.mkdir("fit")
    os.mkfifo("fit/fit.json")
    with pytest.raises(InputError, match=r"fit: no fit\.json of crowdjax"):
        api.load("fit")


@linux
@pytest.mark.parametrize("out", ["", "labels.csv", "labels.csv/out", "gone", "/dev/null", "/proc/out", "x" * 300])
def test_an_out_that_cannot_be_is_refused_before_the_work(here, out):
    os.symlink("nothing", "gone")
    with pytest.raises(InputError, match="--out"):
        api.saving.check_out(out)
    assert sorted(os.listdir()) == ["gone", "labels.csv"]


@linux
def test_a_result_that_cannot_be_written_leaves_the_earlier_one(here):
    api.fit("labels.csv", "majority").save("out")
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    again, limits = api.fit("labels.csv", "majority", repeats="first"), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        with pytest.raises(InputError, match=r"--out .*out: cannot be written: .*File too large"):
            again.save("out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before
    assert sorted(os.listdir()) == ["labels.csv", "out"]


@linux
@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--minibatch", "500")])
def test_a_full_disk_keeps_the_earlier_result(here, more):
    source = "labels.csv"
    if more:
        assert run("convert", "labels.csv", "labels.parquet")[0] == 0
        source = "labels.parquet"
    words = ("fit", source, "--model", "one-coin", "--out", "out", *more)
    status, said = run(*words)
    assert status == 0, said
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    status, said = run(*words, "--class-prior", "0.4", largest=4000)
    assert status == 2 and said.count("\n") == 1 and "File too large" in said and "Traceback" not in said
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before
    assert [name for name in os.listdir() if name.startswith(".out")] == []
    assert api.load("out").record["class_prior"] == "learn"
    status, said = run(*words, "--class-prior", "0.4")
    assert status == 0, said
    assert api.load("out").record["class_prior"] == 0.4


@linux
@pytest.mark.slow
def test_an_experiment_on_a_full_disk_goes_on_where_there_is_room(here):
    Path("mine.toml").write_text('study = "fig3"\nn_repeats = 2\nn_labelers = [4, 8]\n')
    status, said = run("run", "mine.toml", largest=3000, module="experiments")
    last = said.splitlines()[-1]
    assert status == 2 and "File too large" in last and "has room" in last and "Traceback" not in said
    status, said = run("run", "mine.toml", module="experiments")
    assert status == 0, said


def test_what_cannot_fit_is_refused_before_memory_is_taken(here):
    if memory.available() is None:
        pytest.skip("nothing tells what memory is left")
    with pytest.raises(InputError, match=r"factors: 1,000,000,000 of everybody need at least .* GiB .*fewer factors"):
        api.fit("labels.csv", "factor", factors=10**9)


@pytest.mark.parametrize("use", [lambda: jnp.zeros(10**13), lambda: bytearray(2**62)])
def test_out_of_memory_says_what_needs_less(use):
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        use()
    assert memory.is_full(caught.value)
    said = unforeseen(caught.value)
    assert said.startswith("out of memory (") and "smaller batches" in said and "32-bit" in said


def test_only_a_disk_is_told_of_as_one():
    assert "has room" in unforeseen(OSError(28, "No space left on device"))
    for other in (ConnectionResetError(104, "Connection reset by peer"), PermissionError(13, "Permission denied")):
        assert "disk" not in unforeseen(other)


def test_a_reader_that_is_out_of_memory_does_not_blame_the_file(here, monkeypatch):
    def full(*_, **__):
        raise MemoryError("no room")

    monkeypatch.setattr("pyarrow.csv.read_csv", full)
    with pytest.raises(MemoryError, match="no room"):
        io.read_labels("labels.csv")


def test_a_record_cannot_be_made_to_point_elsewhere(here):
    """Names of files in a record are of files in its folder."""
    api.fit("labels.csv", "majority").save("out")
    record = json.loads(Path("out/fit.json").read_text())
    record["files"]["../labels.csv"] = "0" * 64
    Path("out/fit.json").write_text(json.dumps(api.saving.sealed(record)))
    with pytest.raises(InputError, match=r"labels.csv: not a file of this result"):
        api.load("out")
