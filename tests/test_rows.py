"""Rows, the layout of labels for a GPU: every kernel gives what it gives for triples in order; repeatable sums go
without a single addition at an index, which on a GPU would be an atomic one."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_lowering import KERNELS, Given, W, given, operations

from crowdjax import parallel, rows, spread
from crowdjax.factor import PRESETS, FactorConfig, build
from crowdjax.labels import Labels
from crowdjax.observation import ClassSkill, DawidSkene, OneCoin
from crowdjax.observation.factors import Glad
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


def triples(labels: Labels, laid=None) -> list:
    """Labels as a sorted list, by triples or by rows."""
    if laid is None:
        weight = np.ones(len(labels.label)) if labels.weight is None else labels.weight
        return sorted(
            zip(
                *(np.asarray(v)[labels.real].tolist() for v in (labels.instance, labels.labeler, labels.label, weight)),
                strict=True,
            )
        )
    shape = laid.label.shape
    own = np.arange(shape[2])[None].repeat(shape[0], 0) if laid.instance is None else np.asarray(laid.instance)
    instance = np.broadcast_to((own + np.arange(shape[0])[:, None] * laid.size)[:, None], shape)
    weight = np.ones(shape) if laid.weight is None else np.asarray(laid.weight)
    there = np.asarray(laid.label) >= 0
    of = (instance, np.asarray(laid.labeler), np.asarray(laid.label), weight)
    return sorted(zip(*(v[there].tolist() for v in of), strict=True))


@pytest.mark.parametrize("at_once", [None, 7, 100])
@pytest.mark.parametrize("repeatable", [False, True])
def test_rows_hold_the_labels(at_once, repeatable):
    for labels in crowds():
        laid = with_rows(labels, at_once=at_once, repeatable=repeatable).rows
        assert triples(labels, laid) == triples(labels)
        assert (laid.by_slot is not None) == repeatable
        assert laid.size <= (at_once or 40)


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


@pytest.mark.long
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


OF_TWO = ("dawid-skene", "glad", "two factors", "integrated")
CLASSES = {"dawid-skene": DawidSkene(), "glad": Glad(), "one-coin": OneCoin(), "skill": ClassSkill()}


@pytest.mark.long
@pytest.mark.parametrize("at_once", [2**29, 2**13], ids=["whole", "in blocks"])
@pytest.mark.parametrize(
    "name", ["dawid-skene", "glad", "two factors", "integrated", *(f"{k}, K = 3" for k in CLASSES)]
)
def test_a_fit_by_rows_is_the_fit(x64, monkeypatch, name, at_once):
    """As it is chosen on a GPU, here played by the CPU."""
    rng, n = np.random.default_rng(3), 3 if "K" in name else 2
    truth, labeler, instance = rng.integers(0, n, 60), np.tile(np.arange(9), 60), np.repeat(np.arange(60), 9)
    right = rng.random(540) < rng.uniform(0.5, 0.95, 9)[labeler]
    label = np.where(right, truth[instance], rng.integers(0, n, 540))
    labels = Labels.from_arrays(labeler, instance, label, n_values=n)

    def fitted():
        if n == 3:
            return spread.fit(labels, CLASSES[name.split(",")[0]], devices=1)
        if name == "integrated":
            return parallel.fit_integrated(labels, devices=1)
        config = FactorConfig(n_factors=2) if name == "two factors" else PRESETS[name]
        return parallel.fit(labels, build(config, labels), jax.random.key(0), devices=1)

    expected = fitted()
    made = []
    with_rows = rows.with_rows
    monkeypatch.setattr(rows, "with_rows", lambda *args, **how: made.append(how) or with_rows(*args, **how))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(rows, "BYTES_AT_ONCE", at_once)
    monkeypatch.setenv("CROWDJAX_REPEATABLE", "1")
    jax.clear_caches()
    found = fitted()
    assert [how["repeatable"] for how in made] == [True]
    assert found.code == expected.code
    of = (lambda f: f.parameters.labelers) if name == "integrated" else (lambda f: f.posterior)
    np.testing.assert_allclose(of(found), of(expected), atol=2e-5)


def test_uneven_degrees_cost_little_room():
    rng = np.random.default_rng(0)
    degree = rng.poisson(10, 5000) + 1
    instance = np.repeat(np.arange(5000), degree)
    n = len(instance)
    labels = Labels.from_arrays(rng.integers(0, W, n), instance, rng.integers(0, 2, n))
    laid = with_rows(labels, repeatable=True).rows
    assert laid.label.size < 1.5 * n
    assert laid.by_slot.index[0].size < 1.2 * n
