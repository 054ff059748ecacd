"""Compiled programs are kept from Python too, where that is wanted and possible, and not for ever."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from crowdjax import programs

ROOT = Path(__file__).resolve().parents[1]
FIT = """
import jax, crowdjax
crowdjax.fit({"labeler": list("abcabc"), "instance": [1, 1, 1, 2, 2, 2], "label": list("xxyzzz")}, "glad")
print(jax.config.jax_compilation_cache_dir)
"""


def fitted(**env: str) -> str:
    """What JAX keeps programs in after a fit in a new interpreter."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")} | {"PYTHONPATH": str(ROOT)} | env
    done = subprocess.run([sys.executable, "-c", FIT], cwd=ROOT, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "cache" not in done.stderr
    return done.stdout.strip()


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
