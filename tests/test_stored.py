"""Programs that are read from disk are those that were written, and only where nothing else can be meant."""

import dataclasses
import errno
import os
import pickle
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crowdjax import integrated, programs
from crowdjax.integrated import IntegratedConfig
from crowdjax.labels import Labels
from crowdjax.observation import DawidSkene, fit_jit
from crowdjax.stored import forget, stored

pytestmark = pytest.mark.skipif(jax.default_backend() != "cpu", reason="programs are stored on CPUs")
X = np.arange(6.0).reshape(2, 3)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "_in_use", [tmp_path])
    yield tmp_path
    forget()


def counted():
    """A function that counts how often it is traced."""
    traced = []

    def solve(x, config: IntegratedConfig | None = None, *, scale=2.0):
        traced.append(1)
        out = scale * jnp.linalg.inv(x @ x.T + jnp.eye(len(x)))
        return {"a": out, "b": (out.sum(), config.points if config is not None else jnp.zeros(()))}

    return stored(solve), traced


def files(folder):
    return sorted(folder.glob("program-*"))


def test_what_was_written_is_read_without_a_trace(folder):
    function, traced = counted()
    first = function(X)
    assert len(traced) == len(files(folder)) == 1
    forget()
    again = function(X)
    assert len(traced) == 1
    np.testing.assert_array_equal(first["a"], again["a"])
    np.testing.assert_allclose(first["a"], 2 * np.linalg.inv(X @ X.T + np.eye(2)), rtol=1e-5)


def test_shapes_settings_and_types_are_programs_of_their_own(folder):
    function, traced = counted()
    for given in (X, X[:, :2], X.astype(np.int32)):
        function(given)
    function(X, scale=3.0)
    function(X, scale=3)
    assert len(traced) == len(files(folder)) == 5
    with jax.enable_x64(True):
        assert function(X)["a"].dtype == np.float64
    assert len(files(folder)) == 6
    assert function(X)["a"].dtype == np.float32


def test_a_constant_that_somebody_has_set_is_another_program(folder, monkeypatch):
    labels = Labels.from_arrays([0, 1, 2] * 4, np.repeat(np.arange(4), 3), [1, 1, 0, 0, 0, 1] * 2)
    integrated.fit_jit(labels)
    first = files(folder)
    forget()
    monkeypatch.setattr(sys.modules["crowdjax.integrated.fit"], "MOST_MISSING", 0.5)
    integrated.fit_jit(labels)
    assert len(files(folder)) == len(first) + 1


def test_classes_of_ones_own_are_not_stored(folder):
    @dataclasses.dataclass(frozen=True)
    class Own:
        points: int = 3

    function, traced = counted()
    function(X, Own())  # pyright: ignore[reportArgumentType]
    assert traced and not files(folder)


def test_inside_a_trace_it_is_a_function(folder):
    function, _ = counted()
    np.testing.assert_allclose(jax.jit(lambda x: function(x)["a"])(X), function(X)["a"], rtol=1e-6)


@pytest.mark.parametrize("damage", ["cut", "nonsense", "empty", "another pickle", "a byte"])
def test_a_damaged_file_is_made_again(folder, damage):
    function, traced = counted()
    expected = function(X)["a"]
    (path,) = files(folder)
    data = path.read_bytes()
    wrong = data[:-99] + bytes([data[-99] ^ 1]) + data[-98:]
    damaged = {"cut": data[: len(data) // 2], "nonsense": b"nonsense", "empty": b"", "a byte": wrong}
    path.write_bytes(damaged.get(damage, pickle.dumps(1)))
    forget()
    np.testing.assert_array_equal(function(X)["a"], expected)
    assert len(traced) == 2
    forget()
    np.testing.assert_array_equal(function(X)["a"], expected)
    assert len(traced) == 2


def test_nothing_is_left_of_a_file_that_cannot_be_written(folder, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    function, traced = counted()
    function(X)
    assert len(traced) == 1
    assert not files(folder)


def test_a_program_that_fails_is_compiled_anew_in_a_folder_that_cannot_be_written(folder, monkeypatch):
    function, _ = counted()
    expected = function(X)["a"]
    forget()

    def fail(*_, **__):
        raise jax.errors.JaxRuntimeError("of another machine")

    def refuse(*_, **__):
        raise PermissionError

    monkeypatch.setattr("jax.experimental.serialize_executable.deserialize_and_load", fail)
    monkeypatch.setattr(os, "unlink", refuse)
    monkeypatch.setattr(type(folder), "unlink", refuse)
    np.testing.assert_allclose(function(X)["a"], expected, rtol=1e-6)


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owner")
def test_a_file_that_others_may_write_is_not_read(folder):
    function, traced = counted()
    function(X)
    (path,) = files(folder)
    path.chmod(0o666)
    forget()
    function(X)
    assert len(traced) == 2


def test_a_fit_that_is_read_equals_the_one_that_was_made(folder):
    labels = Labels.from_arrays(
        [0, 1, 2] * 4, np.repeat(np.arange(4), 3), [1, 1, 0, 0, 0, 1, 2, 2, 0, 2, 1, 1], n_values=3
    )
    made = fit_jit(labels, DawidSkene())
    assert len(files(folder)) == 1
    forget()
    read = fit_jit(labels, DawidSkene())
    jax.tree.map(np.testing.assert_array_equal, made, read)
    assert type(read) is type(made)


@pytest.mark.long
def test_one_of_several_devices_reads_it_too(fresh_python, tmp_path, monkeypatch):
    monkeypatch.setenv("CROWDJAX_CACHE", str(tmp_path))
    code = """
import crowdjax, jax
table = {"labeler": list("abcabc"), "instance": [1, 1, 1, 2, 2, 2], "label": [1, 1, 0, 0, 0, 1]}
crowdjax.fit(table, "integrated")
from crowdjax.integrated import fit_jit
assert jax.device_count() == 2 and fit_jit._loaded and all(program for program, _ in fit_jit._loaded.values())
"""
    for _ in range(2):
        fresh_python(code, devices=2)
    assert files(tmp_path)
