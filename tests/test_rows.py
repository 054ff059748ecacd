"""Rows, the layout of labels for a GPU: every kernel gives what it gives for triples in order; repeatable sums go
without a single addition at an index, which on a GPU would be an atomic one."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_lowering import KERNELS, Given, W, given, operations

from crowdjax.labels import Labels
from crowdjax.rows import levels_of, with_rows

__all__ = ["given"]  # the fixture

OF_TRIPLES = {  # kernels that do not go over blocks of labels
    "labeler_sums", "bound_curvature", "label_log_likelihood", "likelihood.evidence and gradient", "residuals",
    "contextual density", "contextual gradient", "first_votes", "voted_pass", "top_classes", "vote_counts", "replicate",
    "folded_curvature",
}  # fmt: skip
OVER_BLOCKS = [name for name in KERNELS if name not in OF_TRIPLES]


def crowds():
    """Degrees that are all alike, that differ much, and with an instance that nobody labeled."""
    rng = np.random.default_rng(1)
    alike = np.repeat(np.arange(40), 3)
    uneven = np.repeat(np.arange(40), rng.permutation(np.r_[np.full(30, 2), np.full(8, 7), 90, 0]))
    for instance in (alike, uneven):
        n = len(instance)
        for weight in (None, rng.integers(0, 4, n).astype(float)):
            sizes = dict(n_labelers=11, n_instances=40, n_values=3)
            yield Labels.from_arrays(rng.integers(0, 9, n), instance, rng.integers(0, 3, n), weight=weight, **sizes)


def triples(labels: Labels, rows=None) -> list:
    """Labels as a sorted list, by triples or by rows."""
    if rows is None:
        weight = np.ones(len(labels.label)) if labels.weight is None else labels.weight
        return sorted(
            zip(
                *(np.asarray(v)[labels.real].tolist() for v in (labels.instance, labels.labeler, labels.label, weight)),
                strict=True,
            )
        )
    shape = rows.label.shape
    own = np.arange(shape[2])[None].repeat(shape[0], 0) if rows.instance is None else np.asarray(rows.instance)
    instance = np.broadcast_to((own + np.arange(shape[0])[:, None] * rows.size)[:, None], shape)
    weight = np.ones(shape) if rows.weight is None else np.asarray(rows.weight)
    there = np.asarray(rows.label) >= 0
    of = (instance, np.asarray(rows.labeler), np.asarray(rows.label), weight)
    return sorted(zip(*(v[there].tolist() for v in of), strict=True))


@pytest.mark.parametrize("at_once", [None, 7, 100])
@pytest.mark.parametrize("repeatable", [False, True])
def test_rows_hold_the_labels(at_once, repeatable):
    for labels in crowds():
        rows = with_rows(labels, at_once=at_once, repeatable=repeatable).rows
        assert triples(labels, rows) == triples(labels)
        assert (rows.by_slot is not None) == repeatable
        assert rows.size <= (at_once or 40)


def test_levels_add_up_each_slot():
    rng = np.random.default_rng(0)
    counts = np.array([[0, 5, 1, 0, 3000, 17, 0], [1, 2, 3, 4, 5, 6, 0]])
    most = counts.sum(1).max()
    order = np.stack([rng.permutation(most) for _ in counts])
    for group in (4, 128):
        levels = levels_of(counts, order, group)
        for k in range(2):
            values, first = rng.normal(size=most), np.r_[0, np.cumsum(counts[k])]
            with jax.enable_x64(True):
                sums = levels.on_block(k).sum(jnp.asarray(values))
            expected = [values[order[k, a:b]].sum() for a, b in itertools.pairwise(first)]
            np.testing.assert_allclose(sums, expected, atol=1e-11)


def wide(x: Given) -> Given:
    return jax.tree.map(lambda v: np.asarray(v, np.float64) if v.dtype == np.float32 else v, x)


def in_rows(x: Given, **how) -> Given:
    return x._replace(labels=with_rows(x.labels, **how), classes=with_rows(x.classes, **how))


@pytest.mark.parametrize("how", [{}, dict(repeatable=True), dict(repeatable=True, at_once=300)], ids=str)
@pytest.mark.parametrize("name", OVER_BLOCKS)
def test_a_kernel_gives_the_same_by_rows(x64, given, monkeypatch, name, how):
    kernel, _ = KERNELS[name]
    x = wide(given)
    expected = jax.jit(lambda x: kernel(x))(x)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    found = jax.jit(lambda x: kernel(x))(in_rows(x, **how))

    def same(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9 * max(1.0, float(np.abs(a).max(initial=0))))

    jax.tree.map(same, expected, found)


@pytest.mark.parametrize("name", OVER_BLOCKS)
def test_repeatable_sums_have_no_atomics(given, monkeypatch, name):
    x = in_rows(given, repeatable=True)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    found = operations(KERNELS[name][0], x)
    assert found["scatter"] == 0


def test_weights_that_change_leave_the_rows(given):
    assert with_rows(given.labels).with_weight(jnp.ones(given.labels.label.shape)).rows is None


def test_uneven_degrees_cost_little_room():
    rng = np.random.default_rng(0)
    degree = rng.poisson(10, 5000) + 1
    instance = np.repeat(np.arange(5000), degree)
    n = len(instance)
    labels = Labels.from_arrays(rng.integers(0, W, n), instance, rng.integers(0, 2, n))
    rows = with_rows(labels, repeatable=True).rows
    assert rows.label.size < 1.4 * n
    assert rows.by_slot.index[0].size < 1.13 * n
    assert dataclasses.replace(labels, rows=rows).n_instances == 5000
