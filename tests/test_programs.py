"""Compiled programs are kept from Python too, where that is wanted and possible, and not for ever."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from crowdjax import programs

ROOT = Path(__file__).resolve().parents[1]
FIT = """
import jax, crowdjax
crowdjax.fit({"labeler": list("abcabc"), "instance": [1, 1, 1, 2, 2, 2], "label": list("xxyzzz")}, "class-skill")
print(jax.config.jax_compilation_cache_dir)
"""


def fitted(**env: str) -> str:
    """What JAX keeps programs in after a fit in a new interpreter."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")} | {"PYTHONPATH": str(ROOT)} | env
    done = subprocess.run([sys.executable, "-c", FIT], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "cache" not in done.stderr
    return done.stdout.strip()


@pytest.mark.long
def test_programs_are_kept_and_a_folder_that_cannot_be_is_none(tmp_path):
    folder = tmp_path / "cache"
    assert fitted(CROWDJAX_CACHE=str(folder)) == str(folder)
    kept = set(os.listdir(folder))
    assert kept
    assert fitted(CROWDJAX_CACHE=str(folder)) == str(folder)
    assert {name for name in os.listdir(folder) if name.endswith("-cache")} == {k for k in kept if k.endswith("-cache")}
    (tmp_path / "file").write_text("")
    assert fitted(CROWDJAX_CACHE=str(tmp_path / "file" / "cache")) == "None"


@pytest.mark.parametrize("word", ["off", "0", ""])
def test_keeping_is_switched_off(word, monkeypatch):
    monkeypatch.setenv("CROWDJAX_CACHE", word)
    assert programs.cache_folder() is None


@pytest.mark.long
def test_who_keeps_them_elsewhere_does_so(tmp_path):
    assert fitted(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "theirs"), HOME=str(tmp_path)) == str(tmp_path / "theirs")
    assert not (tmp_path / ".cache").exists()


def test_the_oldest_programs_go_where_all_take_too_much(tmp_path):
    for k in range(4):
        (tmp_path / f"{k}-cache").write_bytes(bytes(100))
        os.utime(tmp_path / f"{k}-cache", (k, k))
    programs.shrink(tmp_path, 400)
    assert len(os.listdir(tmp_path)) == 4
    programs.shrink(tmp_path, 399)
    assert sorted(os.listdir(tmp_path)) == ["3-cache"]


def test_only_programs_go(tmp_path):
    theirs = ["labels.csv", "my-cache-of-labels", ".bashrc"]
    for name in [*theirs, "program-00", "jit_fit-00-cache", "jit_fit-00-atime"]:
        (tmp_path / name).write_bytes(bytes(100))
    programs.shrink(tmp_path, 0)
    assert sorted(os.listdir(tmp_path)) == sorted(theirs)


def test_a_folder_that_cannot_be_listed_is_left_alone(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError

    monkeypatch.setattr(os, "scandir", refuse)
    programs.shrink(tmp_path, 0)


def test_a_user_without_a_home_keeps_none(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    for name in ("CROWDJAX_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert programs.cache_folder() is None


def test_a_relative_folder_stays_where_it_was(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CROWDJAX_CACHE", "cache")
    assert programs.cache_folder() == tmp_path / "cache"


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owner")
def test_programs_are_not_written_where_files_are_of_others(tmp_path, monkeypatch):
    monkeypatch.setenv("CROWDJAX_CACHE", str(tmp_path))
    names = "jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"
    was = {name: getattr(jax.config, name) for name in names}
    mine = os.getuid()
    try:
        assert programs.keep() == tmp_path
        monkeypatch.setattr(os, "getuid", lambda: mine + 1)
        assert programs.keep() is None
        assert jax.config.jax_compilation_cache_dir == str(tmp_path)
    finally:
        for name, value in was.items():
            jax.config.update(name, value)
