"""Slow additions on a GPU are prevented where JAX has not started yet, and warned of where it has."""

import os
from importlib import metadata

import jax
import jax.numpy as jnp
import pytest

from crowdjax import atomics
from crowdjax.cli.common import prepare_jax
from crowdjax.segments import sum_by

REAL = metadata.version


@pytest.fixture
def machine(monkeypatch):
    """A function that pretends: this jaxlib, these packages beside it, these flags, JAX_PLATFORMS and device."""

    def pretend(jaxlib, *, plugin=True, flags=None, platforms=None, device="gpu"):
        def version(name):
            if name in atomics.PLUGINS and not (plugin and name == atomics.PLUGINS[-1]):
                raise metadata.PackageNotFoundError(name)
            return jaxlib if name == "jaxlib" or name in atomics.PLUGINS else REAL(name)

        class Device:
            platform = device

        monkeypatch.setattr(metadata, "version", version)
        monkeypatch.setattr(jax, "devices", lambda: [Device])
        monkeypatch.setattr(jax, "default_backend", lambda: device)
        monkeypatch.setattr(atomics, "jax", type("jax", (), {"devices": jax.devices, "config": Config(platforms)}))
        if flags is None:
            monkeypatch.delenv("XLA_FLAGS", raising=False)
        else:
            monkeypatch.setenv("XLA_FLAGS", flags)
        atomics._warn.cache_clear()

    yield pretend
    atomics._warn.cache_clear()


class Config:
    def __init__(self, jax_platforms):
        self.jax_platforms = jax_platforms


AFFECTED, FINE = ("0.10.2", "0.10.3", "0.11.0"), ("0.9.2", "0.10.1", "0.11.1", "0.12.0")


@pytest.mark.parametrize("jaxlib", [*AFFECTED, *FINE])
def test_the_flag_is_set_for_the_versions_that_need_it_and_no_others(machine, jaxlib):
    machine(jaxlib)
    atomics.use_native()
    assert os.environ.get("XLA_FLAGS") == (atomics.FLAG if jaxlib in AFFECTED else None)


def test_flags_that_were_given_are_kept_and_none_is_set_twice(machine):
    machine("0.10.2", flags="--xla_dump_to=x")
    atomics.use_native()
    atomics.use_native()
    assert os.environ["XLA_FLAGS"] == f"--xla_dump_to=x {atomics.FLAG}"
    chosen = f"--xla_backend_extra_options=-{atomics.OPTION}=false"
    machine("0.10.2", flags=chosen)
    atomics.use_native()
    assert os.environ["XLA_FLAGS"] == chosen


@pytest.mark.parametrize(
    ("given", "is_set"),
    [
        (dict(plugin=False), False),
        (dict(platforms="cpu"), False),
        (dict(platforms="cuda,cpu"), True),
        (dict(platforms="gpu"), True),
    ],
)
def test_the_flag_is_set_only_where_there_may_be_a_gpu(machine, given, is_set):
    machine("0.10.2", **given)
    atomics.use_native()
    assert ("XLA_FLAGS" in os.environ) == is_set


def test_commands_and_experiments_set_it_before_jax_starts(machine, monkeypatch):
    machine("0.11.0")
    monkeypatch.setenv("CROWDJAX_CACHE", "off")
    prepare_jax()
    assert os.environ["XLA_FLAGS"] == atomics.FLAG


def test_a_cpu_with_the_flag_computes_what_it_does_without(fresh_python, monkeypatch):
    code = f"""
import os
os.environ["XLA_FLAGS"] += " {atomics.FLAG}"
import jax.numpy as jnp
from crowdjax.segments import sum_by
print(sum_by(jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 1, 1]), 2).tolist())
"""
    assert fresh_python(code) == "[1.0, 6.0]\n"


def add():
    return sum_by(jnp.array([1.0, 2.0, 4.0]), jnp.array([0, 1, 1]), 2)


def test_additions_on_a_gpu_with_such_a_jaxlib_warn_once(machine, recwarn):
    machine("0.10.2")
    add(), add()
    (told,) = [w for w in recwarn if w.category is RuntimeWarning]
    assert str(told.message) == (
        "jaxlib 0.10.2 adds float32 numbers by index very slowly on a GPU; take jaxlib 0.11.1 or newer, or set "
        "XLA_FLAGS=--xla_backend_extra_options=-nvptx-allow-ftz-atomics before JAX starts"
    )


@pytest.mark.parametrize(
    "given",
    [
        dict(jaxlib="0.11.1"),
        dict(jaxlib="0.10.1"),
        dict(jaxlib="0.10.2", flags=atomics.FLAG),
        dict(jaxlib="0.10.2", device="cpu"),
    ],
)
def test_elsewhere_nothing_is_warned_of(machine, recwarn, given):
    machine(**given)
    add()
    assert not list(recwarn)
