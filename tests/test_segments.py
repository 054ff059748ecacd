"""Sums over triples equal NumPy's, whatever the order, the type and the transformation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crowdjax import segments
from crowdjax.segments import add_by, add_rows, in_blocks, row_width, sum_by, sum_many, total

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


@pytest.fixture
def slots(monkeypatch):
    """A function (values, index, size, ...) -> the slots that ``add_by`` adds to on a GPU."""
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    seen, scatter = [], segments._scatter
    monkeypatch.setattr(segments, "_scatter", lambda *args: seen.append(np.asarray(args[2])) or scatter(*args))

    def of(values, index, size, **how):
        sum_by(values, index, size, **how)
        return seen.pop()

    return of


@pytest.mark.parametrize("distance", [1, 2, 3, 7, 8, 10, 16, 61, 62, 63, 64, 65, 100, 128])
def test_on_a_gpu_a_labelers_labels_go_to_all_tables_evenly_and_neighbours_to_different_ones(slots, distance):
    n, size = 1_000_000, 1000
    index = np.where(np.arange(n) % distance == 0, 0, np.arange(n) % size)
    found = slots(jnp.ones(n), jnp.asarray(index), size)
    tables = segments.n_tables(n, size)
    assert tables == 32 and (found % size == index).all()
    table = found // size
    assert (np.diff(table) != 0).mean() > 0.98
    of_busiest = np.bincount(table[index == 0], minlength=tables)
    assert len(of_busiest) == tables and of_busiest.max() < 1.3 * of_busiest.mean()


def test_few_values_and_ordered_ones_go_into_one_table(slots):
    index = np.sort(RNG.integers(0, 10, 10_000))
    for found in (slots(jnp.ones(10_000), jnp.asarray(index), 10, ordered=True), slots(jnp.ones(50), index[:50], 10)):
        np.testing.assert_array_equal(found, index[: len(found)])


@pytest.mark.parametrize("columns", [1, 5, 41, 697, 5000])
def test_the_tables_of_a_gpu_take_no_more_memory_than_four_numbers_a_value(columns):
    for n, size in [(10**8, 10**5), (10**6, 1000), (10**6, 7), (1000, 999)]:
        tables = segments.n_tables(n, size, columns)
        assert tables == 1 or tables * size * columns <= 4 * n
        assert tables <= segments.MOST_TABLES and (tables == 1 or tables * size <= n / 16)


@pytest.mark.parametrize("shape", [(), (3,), (2, 2)])
def test_sums_on_a_gpu_are_those_on_a_cpu(x64, monkeypatch, shape):
    n, size = 5000, 13
    values, index = RNG.normal(size=(n, *shape)), RNG.integers(0, size, n)
    running = RNG.normal(size=(size, *shape))
    expected = add_by(jnp.asarray(running), values, index)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert segments.n_tables(n, size, max(1, np.prod(shape, dtype=int))) > 1
    np.testing.assert_allclose(add_by(jnp.asarray(running), values, index), expected, rtol=1e-12)
    batch = jax.vmap(lambda v: add_by(jnp.asarray(running), v, index))(jnp.stack([values, 2 * values]))
    np.testing.assert_allclose(batch[0], expected, rtol=1e-12)
    slope = jax.grad(lambda v: (add_by(jnp.asarray(running), v, index) * expected).sum())(jnp.asarray(values))
    np.testing.assert_allclose(slope, expected[index], rtol=1e-12)


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


@pytest.mark.parametrize("at_once", [2**19, 4 * 5 * 8, 1])
@pytest.mark.parametrize("weighted", [False, True])
def test_rows_of_a_table_are_added_up_however_many_are_taken_at_once(monkeypatch, at_once, weighted):
    monkeypatch.setattr(segments, "BYTES_AT_ONCE", at_once)
    source, running = RNG.normal(size=(30, 5)).astype(np.float32), RNG.normal(size=(7, 5)).astype(np.float32)
    rows, index = RNG.integers(0, 30, 101), RNG.integers(0, 7, 101)
    weight = RNG.random(101).astype(np.float32) if weighted else None
    expected = running.astype(float)
    np.add.at(expected, index, source[rows] * (weight[:, None] if weighted else 1))
    found = add_rows(*(jnp.asarray(v) for v in (running, source, rows, index)), weight)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_rows_are_filled_up_on_a_cpu_alone(monkeypatch):
    assert [row_width(n) for n in (1, 2, 3, 4, 5, 10, 31, 32, 33)] == [1, 2, 4, 4, 8, 12, 32, 32, 33]
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert row_width(5) == 5


@pytest.mark.parametrize(("n", "size"), [(1, 3), (1000, 7), (1_000_003, 1)])
def test_sums_of_many_values_keep_their_digits(n, size):
    values, index = np.full(n, 0.19, np.float32), RNG.integers(0, size, n)
    found = jax.jit(lambda v, i: sum_many(v, i, size))(values, index.astype(np.int32))
    np.testing.assert_allclose(
        found, np.bincount(index, values.astype(float), size), rtol=5e-5
    )  # 1000 roundings at most
