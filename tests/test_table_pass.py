"""The table pass equals its formulas, whatever the layout, and its derivatives are exact."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp

from crowdjax import labels as labels_module
from crowdjax import segments
from crowdjax.labels import Labels, Shard
from crowdjax.observation import evidence, table_pass, tally, vote_shares
from crowdjax.observation.table import classes_of_values

W, I, N = 7, 300, 2000
SHAPES = {  # values, points, classes
    "two": (2, 2, 2),
    "five": (5, 5, 5),
    "ten": (10, 10, 10),
    "grades of two classes": (5, 2, 2),
    "points beside classes": (4, 70, 3),
}


class Case(NamedTuple):
    labels: Labels
    table: np.ndarray
    log_points: np.ndarray
    class_of_point: np.ndarray

    @property
    def given(self):
        return self.table, self.log_points, self.class_of_point


def case(shape="five", *, weights=False, gold=False, own=False, seed=0) -> Case:
    """Some instances have no label, one labeler gave half of them all."""
    n_values, n_points, n_classes = SHAPES[shape]
    rng = np.random.default_rng(seed)
    labels = Labels.from_arrays(
        np.where(rng.random(N) < 0.5, 0, rng.integers(0, W, N)),
        rng.integers(0, I - 20, N),
        rng.integers(0, n_values, N),
        weight=rng.choice([0, 0.5, 1, 3], N) if weights else None,
        gold=np.where(rng.random(I) < 0.2, rng.integers(0, n_classes, I), np.nan) if gold else None,
        n_labelers=W,
        n_instances=I,
        n_values=n_values,
        n_classes=n_classes,
    )
    table = np.log(rng.dirichlet(np.ones(n_values), (W, n_points)).transpose(0, 2, 1))
    prior = np.log(rng.dirichlet(np.ones(n_points), I if own else None))
    square = n_points == n_classes
    return Case(labels, table, prior, np.eye(n_classes) if square else rng.dirichlet(np.ones(n_classes), n_points))


@pytest.fixture
def small_blocks(monkeypatch):
    """A few thousand labels are cut into blocks, and these are taken some rows at a time, as many millions are."""
    monkeypatch.setattr(labels_module, "FLAT_BELOW", 64)
    monkeypatch.setattr(labels_module, "LABELS_PER_BLOCK", 400)
    monkeypatch.setattr(segments, "BYTES_AT_ONCE", 8 * 8 * 100)


def dense(labels: Labels, table, log_points, class_of_point):
    """(value, posterior, counts, points), label by label in float64."""
    real = np.asarray(labels.label) >= 0
    who, where, what = (np.asarray(v)[real] for v in (labels.labeler, labels.instance, labels.label))
    times = np.ones(real.sum()) if labels.weight is None else np.asarray(labels.weight, float)[real]
    table = np.asarray(table, float)
    h = np.broadcast_to(log_points, (labels.n_instances, table.shape[2])).astype(float)
    np.add.at(h, where, times[:, None] * table[who, what])
    if labels.gold is not None:
        known = labels.gold >= 0
        with np.errstate(divide="ignore"):
            h[known] += np.log(class_of_point)[:, labels.gold[known]].T
    value = logsumexp(h, axis=1)
    q = np.exp(h - value[:, None])
    counts = np.zeros(table.shape)
    np.add.at(counts, (who, what), times[:, None] * q[where])
    here = np.ones(len(q), bool) if labels.shard is None else np.asarray(labels.shard.real)
    points = q[here].sum(0) if np.ndim(log_points) == 1 else q * here[:, None]
    posterior = q @ class_of_point
    if labels.gold is not None:
        posterior[known] = np.eye(class_of_point.shape[1])[labels.gold[known]]
    return value[here].sum(), posterior, counts, points


def same(found, expected, rtol=1e-12, atol=1e-12):
    for a, b in zip(jax.tree.leaves(tuple(found)), jax.tree.leaves(tuple(expected)), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=atol)


# Values


EXTRAS = [(shape, "") for shape in SHAPES] + [("five", extra) for extra in ("weights", "gold", "own")]


@pytest.mark.parametrize(("shape", "extra"), [*EXTRAS, ("points beside classes", "weights gold own")])
def test_a_pass_equals_its_formulas(x64, shape, extra):
    given = case(shape, **dict.fromkeys(extra.split(), True))
    same(jax.jit(table_pass)(*given), dense(*given))


@pytest.mark.parametrize(("shape", "extra"), [*EXTRAS, ("points beside classes", "weights gold own")])
def test_blocks_taken_some_rows_at_a_time_give_what_one_flat_block_gives(x64, small_blocks, shape, extra):
    given = case(shape, **dict.fromkeys(extra.split(), True))
    assert given.labels.n_blocks > 3 and not given.labels.real.all()
    same(jax.jit(table_pass)(*given), dense(*given))


@pytest.mark.parametrize("shape", ["five", "points beside classes"])
def test_all_blocks_at_once_as_on_a_gpu_give_the_same(x64, small_blocks, monkeypatch, shape):
    given = case(shape, weights=True, gold=True, own=True)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    same(jax.jit(lambda *given: table_pass(*given))(*given), dense(*given))


@pytest.mark.parametrize("shape", ["two", "ten"])
def test_single_precision_is_exact_to_rounding(small_blocks, shape):
    given = case(shape, weights=True)
    same(jax.jit(table_pass)(given.labels, *(np.float32(v) for v in given.given)), dense(*given), 2e-5, 2e-5)


def test_a_labeler_of_a_million_labels_keeps_his_digits():
    n = 1_000_000
    rng = np.random.default_rng(0)
    labels = Labels.from_arrays(np.zeros(n, int), np.arange(n) // 4, rng.integers(0, 5, n), n_values=5)
    table = np.log(rng.dirichlet(np.ones(5), (1, 5)).transpose(0, 2, 1)).astype(np.float32)
    prior, eye = np.log(np.full(5, 0.2, np.float32)), np.eye(5, dtype=np.float32)
    value, posterior, counts, points = dense(labels, table, prior, eye)
    found = jax.jit(table_pass)(labels, table, prior, eye)
    np.testing.assert_allclose(found.counts, counts, rtol=1e-5)
    np.testing.assert_allclose(found.points, points, rtol=1e-5)
    np.testing.assert_allclose(found.value, value, rtol=1e-6)
    np.testing.assert_allclose(found.posterior, posterior, atol=1e-5)


def test_padding_moves_nothing(x64):
    """Labels, labelers and instances that are no more than room, as a shard has them."""
    one = case(weights=True, gold=True)
    room, more = 50, 4
    labels = dataclasses.replace(
        one.labels,
        labeler=np.pad(one.labels.labeler, (0, room)),
        instance=np.pad(one.labels.instance, (0, room), constant_values=I + 9),
        label=np.pad(one.labels.label, (0, room), constant_values=-1),
        weight=np.pad(one.labels.weight, (0, room)),
        gold=np.pad(one.labels.gold, (0, 10), constant_values=-1),
        n_labelers=W + more,
        n_instances=I + 10,
        block_instances=I + 10,
        shard=Shard(np.r_[np.arange(I), np.full(10, I)].astype(np.int32), I, None),
    )
    table = np.pad(one.table, ((0, more), (0, 0), (0, 0)))
    padded = jax.jit(table_pass)(labels, table, one.log_points, one.class_of_point)
    alone = jax.jit(table_pass)(*one)
    same((padded.value, padded.posterior[:I], padded.counts[:W], padded.points), alone)
    assert not np.any(padded.counts[W:])


def test_padding_reads_no_row_of_a_labeler(x64, small_blocks):
    """The first labeler never gives the first value, log 0: what is padded must not meet it, not even with count 0."""
    one = case()
    labels = dataclasses.replace(
        one.labels, label=np.where((one.labels.labeler == 0) & (one.labels.label == 0), 1, one.labels.label)
    )
    assert not labels.real.all()
    table = one.table.copy()
    table[0, 0] = -np.inf
    same(jax.jit(table_pass)(labels, table, *one.given[1:]), dense(labels, table, *one.given[1:]))


@pytest.mark.parametrize("layout", ["flat", "blocked"])
def test_tallies_and_shares_of_votes_equal_their_formulas(x64, request, layout):
    if layout == "blocked":
        request.getfixturevalue("small_blocks")
    for shape in ("five", "grades of two classes"):
        one = case(shape, weights=True)
        n_values, _, n_classes = SHAPES[shape]
        q = np.random.default_rng(1).dirichlet(np.ones(n_classes), I)
        real = np.asarray(one.labels.label) >= 0
        who, where, what = (np.asarray(v)[real] for v in (one.labels.labeler, one.labels.instance, one.labels.label))
        times = one.labels.weight[real]
        counts = np.zeros((W, n_values, n_classes))
        np.add.at(counts, (who, what), times[:, None] * q[where])
        np.testing.assert_allclose(tally(one.labels, jnp.asarray(q)), counts, rtol=1e-12, atol=1e-12)
        votes = np.zeros((I, n_classes))
        np.add.at(votes, where, times[:, None] * classes_of_values(n_values, n_classes)[what])
        number = votes.sum(1, keepdims=True)
        votes = np.where(number > 0, votes / np.where(number > 0, number, 1), 1 / n_classes)
        np.testing.assert_allclose(vote_shares(one.labels), votes, rtol=1e-12)


# Derivatives


def plain(labels, table, log_points, class_of_point):
    """The evidence by JAX's own derivatives."""
    weight = jnp.asarray(labels.counts, table.dtype)
    rows = weight[:, None] * table[labels.labeler, np.maximum(labels.label, 0)]
    h = jnp.broadcast_to(log_points, (labels.n_instances, table.shape[2])).at[labels.instance].add(rows)
    if labels.gold is not None:
        known = jnp.log(class_of_point).T[np.maximum(labels.gold, 0)]
        h = h + jnp.where(labels.gold[:, None] >= 0, known, 0)
    return jax.nn.logsumexp(h, axis=1).sum()


@pytest.mark.parametrize(("shape", "extra"), [("five", ""), ("points beside classes", "weights gold own")])
def test_derivatives_are_those_of_automatic_differentiation(x64, small_blocks, shape, extra):
    one = case(shape, **dict.fromkeys(extra.split(), True))
    table, prior = jnp.asarray(one.table), jnp.asarray(one.log_points)
    rng = np.random.default_rng(2)
    along = tuple(jnp.asarray(rng.normal(size=v.shape)) for v in (table, prior))

    def of(function):
        def value(table, prior):
            return function(one.labels, table, prior, one.class_of_point)

        gradient = jax.grad(value, (0, 1))
        return jax.jit(lambda: (
            gradient(table, prior),
            jax.jvp(value, (table, prior), along)[1],
            jax.jvp(gradient, (table, prior), along)[1],  # second derivatives, forward over reverse
        ))()  # fmt: skip

    same(of(evidence), of(plain), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("layout", ["flat", "blocked"])
def test_a_batch_of_weights_equals_one_after_the_other(x64, request, layout):
    if layout == "blocked":
        request.getfixturevalue("small_blocks")
    one = case()
    weights = np.random.default_rng(3).integers(0, 4, (3, len(one.labels.label))).astype(float)

    def of(weight):
        labels = one.labels.with_weight(weight)
        gradient = jax.grad(evidence, 1)(labels, jnp.asarray(one.table), *one.given[1:])
        return table_pass(labels, *one.given), gradient

    batch = jax.jit(jax.vmap(of))(weights)
    for k in range(3):
        alone = of(jnp.asarray(weights[k]))
        same(jax.tree.map(lambda v, k=k: v[k], batch), alone)
        same(alone[0], dense(one.labels.with_weight(weights[k]), *one.given))


# Devices


def test_eight_devices_give_what_one_gives(fresh_python):
    fresh_python(
        """
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
from functools import partial
from jax.sharding import Mesh, PartitionSpec as P
from crowdjax import layout
from crowdjax.observation import evidence, table_pass
from tests.test_table_pass import case, same

one = case("five", weights=True, gold=True)
shape, _ = parts = layout.plan_of(one.labels, 8)
labels, place = layout.cut(one.labels, layout.plan(*parts))
extra = labels.n_labelers - one.table.shape[0]
table = np.pad(one.table, ((0, extra), (0, 0), (0, 0)))
own, alike = P(layout.AXIS), P()

@jax.jit
@partial(
    jax.shard_map, mesh=Mesh(np.array(jax.devices()), (layout.AXIS,)), check_vma=False,
    in_specs=(jax.tree.map(lambda _: own, labels), alike), out_specs=((alike, alike, alike, alike), own),
)
def run(labels, table):
    found = table_pass(labels, table, *one.given[1:])
    slope = jax.grad(evidence, 1)(labels, table, *one.given[1:])
    return labels.across((found.value, found.counts, found.points, slope)), found.posterior

sums, posterior = run(labels, table)
alone = jax.jit(table_pass)(*one)
same((sums[0], sums[1][:7], sums[2], sums[3][:7]), (alone.value, alone.counts, alone.points, alone.counts))
same((np.asarray(posterior)[place],), (alone.posterior,))
""",
        devices=8,
    )
