"""Sums over triples equal NumPy's, whatever the order, the type and the transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crowdjax.segments import add_by, in_blocks, sum_by, total

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("ordered", [False, True])
def test_sum_by_equals_numpy_bincount(ordered):
    index = RNG.integers(0, 50, 1000)
    index = np.sort(index) if ordered else index
    values = RNG.normal(size=1000).astype(np.float32)
    found = jax.jit(lambda v, i: sum_by(v, i, 60, ordered=ordered))(values, index.astype(np.int32))
    np.testing.assert_allclose(found, np.bincount(index, values, minlength=60), atol=1e-5)


@pytest.mark.parametrize("ordered", [None, False, True])
@pytest.mark.parametrize("add", [sum_by, add_by])
def test_what_is_known_of_the_indices_is_told_to_the_compiler(add, ordered):
    """Sorted only where the caller says so: told without being so it may give wrong sums."""
    first = 7 if add is sum_by else jnp.zeros(7)
    given = {} if ordered is None else {"ordered": ordered}

    def call(values, index):
        return add(values, index, first, **given) if add is sum_by else add(first, values, index, **given)

    program = jax.make_jaxpr(call)(jnp.ones(4), jnp.arange(4))
    (scatter,) = (e for e in program.jaxpr.eqns if e.primitive.name == "scatter-add")
    assert scatter.params["indices_are_sorted"] is bool(ordered)
    assert scatter.params["mode"] == jax.lax.GatherScatterMode.PROMISE_IN_BOUNDS


def test_sum_by_of_rows_and_of_whole_numbers_keeps_shape_and_type():
    values = RNG.integers(0, 9, (20, 3, 2)).astype(np.int32)
    index = RNG.integers(0, 4, 20)
    found = sum_by(jnp.asarray(values), jnp.asarray(index), 5)
    expected = np.stack([values[index == k].sum(0) for k in range(5)])
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


def test_only_a_cpu_takes_block_after_block(monkeypatch):
    for backend in ("cpu", "gpu", "tpu"):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        assert in_blocks() == (backend == "cpu")


def test_add_by_in_pieces_equals_one_sum():
    index = RNG.integers(0, 7, 90).astype(np.int32)
    values = RNG.normal(size=90).astype(np.float32)
    running = jnp.zeros(7)
    for piece in np.split(np.arange(90), 3):
        running = add_by(running, jnp.asarray(values[piece]), index[piece])
    np.testing.assert_allclose(running, np.bincount(index, values, minlength=7), atol=1e-5)


def test_sum_by_under_vmap_and_its_gradient():
    index = jnp.array([0, 2, 2, 1])
    rows = jnp.arange(8.0).reshape(2, 4)
    found = jax.vmap(lambda v: sum_by(v, index, 3))(rows)
    np.testing.assert_array_equal(found, [[0, 3, 3], [4, 7, 11]])
    # d/dv of Σ_k k · out_k is the segment's number
    gradient = jax.grad(lambda v: sum_by(v, index, 3) @ jnp.arange(3.0))(rows[0])
    np.testing.assert_array_equal(gradient, [0, 2, 2, 1])


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 1000])
def test_total_of_every_length_is_the_sum(n):
    values = RNG.integers(-50, 50, n).astype(np.float32)
    assert float(total(jnp.asarray(values))) == values.sum()


@pytest.mark.parametrize("n", [1, 2, 99, 10_000, 1_000_003])
def test_total_is_of_two_levels_of_the_same_size(n):
    """No running sum is longer than about the root of n."""
    program = jax.make_jaxpr(total)(jnp.zeros(n))
    terms = [e.invars[0].aval.size // max(1, e.outvars[0].aval.size) for e in program.jaxpr.eqns
             if e.primitive.name == "reduce_sum"]  # fmt: skip
    assert len(terms) == 3 and max(terms) <= 2 * n**0.5 + 1


def test_total_of_a_million_float32_terms_keeps_its_digits():
    values = RNG.uniform(0.5, 1.0, 1_000_003).astype(np.float32)
    exact = values.astype(np.float64).sum()
    assert abs(float(jax.jit(total)(jnp.asarray(values))) - exact) < 1e-6 * exact
