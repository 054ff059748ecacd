"""The pass of many classes gives what the table pass gives, from the classes that were voted for alone."""

from __future__ import annotations

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crowdjax import labels as labels_module
from crowdjax.labels import InputError, Labels, Shard
from crowdjax.observation import (
    BiasedCoin,
    Majority,
    OneCoin,
    Solver,
    evidence,
    fit_jit,
    table_pass,
    tally,
    vote_shares,
)
from crowdjax.observation.nominal import coin_table
from crowdjax.observation.voted import (
    first_votes,
    fit_voted,
    fit_voted_jit,
    top_classes,
    vote_counts,
    voted_pass,
)

W, I, N = 9, 200, 1500
EXTRAS = ["", "weights", "gold", "weights gold shard"]


def crowd(k: int, extra: str = "", seed: int = 0) -> Labels:
    """Some instances have no label, some labels weigh nothing, some gold is a class that nobody voted for."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, I)
    instance = rng.integers(0, I - 10, N)
    labels = Labels.from_arrays(
        rng.integers(0, W, N),
        instance,
        np.where(rng.random(N) < 0.4, truth[instance], rng.integers(0, k, N)),
        weight=rng.choice([0, 0.5, 1, 3], N) if "weights" in extra else None,
        gold=np.where(rng.random(I) < 0.2, rng.integers(0, k, I), np.nan) if "gold" in extra else None,
        n_labelers=W,
        n_instances=I,
        n_values=k,
    )
    if "shard" not in extra:
        return labels
    rows = np.where(np.arange(I) < I - 5, np.arange(I), I).astype(np.int32)  # the last five are no more than room
    return dataclasses.replace(labels, shard=Shard(rows, I, None))


def numbers(k: int, seed: int = 0):
    """(right, wrong, log π): labelers better and worse than chance."""
    rng = np.random.default_rng(seed)
    a = rng.uniform(0.05, 0.95, W)
    return jnp.log(a), jnp.log((1 - a) / (k - 1)), jnp.log(rng.dirichlet(np.ones(k)))


def by_table(labels: Labels, right, wrong, log_prior):
    """The same by the table pass."""
    k = log_prior.shape[0]
    return table_pass(labels, coin_table(right, wrong, k), log_prior, jnp.eye(k))


def same(found, labels: Labels, right, wrong, log_prior, **tolerance):
    expected = by_table(labels, right, wrong, log_prior)
    own = np.asarray(expected.posterior)[labels.instance, np.maximum(labels.label, 0)] * labels.real
    np.testing.assert_allclose(found.value, expected.value, **tolerance)
    np.testing.assert_allclose(found.own, own, **tolerance)
    np.testing.assert_allclose(found.right, np.trace(expected.counts, axis1=1, axis2=2), **tolerance)
    np.testing.assert_allclose(found.points, expected.points, **tolerance)


@pytest.fixture(params=["flat", "blocked"])
def layout(request, monkeypatch):
    if request.param == "blocked":
        monkeypatch.setattr(labels_module, "FLAT_BELOW", 64)
        monkeypatch.setattr(labels_module, "LABELS_PER_BLOCK", 400)


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize("k", [2, 6, 40])
def test_it_equals_the_table_pass(x64, layout, k, extra):
    labels = crowd(k, extra)
    found = jax.jit(voted_pass)(labels, *numbers(k))
    same(found, labels, *numbers(k), rtol=1e-12, atol=1e-12)


def test_votes_for_all_classes_leave_no_rest(x64):
    """Not even what rounding leaves: every label is wrong, so any rest would take all."""
    k = 6
    labels = Labels.from_arrays(np.arange(k), np.zeros(k, int), np.arange(k), n_values=k)
    right, wrong, log_prior = jnp.full(k, -700.0), jnp.full(k, -jnp.log(5.0)), jax.nn.log_softmax(jnp.arange(6.0))
    found = voted_pass(labels, right, wrong, log_prior)
    same(found, labels, right, wrong, log_prior, rtol=1e-12, atol=1e-12)


def test_single_precision_is_exact_to_rounding(layout):
    labels, given = crowd(40, "weights gold"), numbers(40)
    same(jax.jit(voted_pass)(labels, *given), labels, *given, rtol=2e-5, atol=2e-5)


def test_a_labeler_of_a_million_labels_keeps_his_digits():
    n, k = 1_000_000, 50
    rng = np.random.default_rng(0)
    labels = Labels.from_arrays(np.zeros(n, int), np.arange(n) // 4, rng.integers(0, k, n), n_values=k)
    right, wrong, prior = jnp.log(jnp.array([0.3])), jnp.log(jnp.array([0.7 / 49])), jnp.full(k, -np.log(50.0))
    found = jax.jit(voted_pass)(labels, right, wrong, prior)
    np.testing.assert_allclose(found.right.sum(), np.asarray(found.own, float).sum(), rtol=1e-5)
    np.testing.assert_allclose(found.points.sum(), labels.n_instances, rtol=1e-5)


@pytest.mark.parametrize("extra", ["", "weights gold"])
def test_its_derivatives_are_those_of_the_evidence(x64, extra):
    labels, given = crowd(6, extra), numbers(6)

    def of_table(right, wrong, log_prior):
        return evidence(labels, coin_table(right, wrong, 6), log_prior, jnp.eye(6))

    def voted(*given):
        return voted_pass(labels, *given).value

    for a, b in zip(jax.grad(voted, (0, 1))(*given), jax.grad(of_table, (0, 1))(*given), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)

    def of_logits(value):
        return jax.grad(lambda x: value(*given[:2], jax.nn.log_softmax(x)))(given[2])

    np.testing.assert_allclose(of_logits(voted), of_logits(of_table), rtol=1e-9, atol=1e-9)


def test_a_batch_of_weights_equals_one_after_the_other(x64):
    labels, given = crowd(40, "gold"), numbers(40)
    weights = np.random.default_rng(3).integers(0, 4, (3, N)).astype(float)
    batch = jax.vmap(lambda w: voted_pass(labels.with_weight(w), *given))(weights)
    for k in range(3):
        one = jax.tree.map(lambda v, k=k: v[k], batch)
        same(one, labels.with_weight(weights[k]), *given, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("extra", EXTRAS)
@pytest.mark.parametrize(("k", "n"), [(3, 5), (6, 5), (40, 5), (40, 12)])
def test_the_top_classes_are_those_of_the_whole_posterior(x64, layout, k, n, extra):
    labels, given = crowd(k, extra), numbers(k)
    first = first_votes(labels)
    classes, p = jax.jit(top_classes, static_argnums=4)(labels, voted_pass(labels, *given), given[2], first, n)
    posterior = np.asarray(by_table(labels, *given).posterior)
    expected = -np.sort(-posterior, axis=1)[:, :n]
    np.testing.assert_allclose(p, expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(np.take_along_axis(posterior, np.asarray(classes), 1), expected, rtol=1e-9, atol=1e-12)
    assert all(len(set(row)) == min(n, k) for row in np.asarray(classes).tolist())


@pytest.mark.parametrize("extra", EXTRAS)
def test_the_shares_of_votes_are_counted_as_by_the_table(x64, layout, extra):
    labels = crowd(6, extra)
    shares = vote_shares(labels)
    right, points = vote_counts(labels, first_votes(labels))
    np.testing.assert_allclose(right, np.trace(tally(labels, shares), axis1=1, axis2=2), rtol=1e-12)
    real = np.ones(I) if labels.shard is None else np.asarray(labels.shard.real)
    np.testing.assert_allclose(points, real @ np.asarray(shares), rtol=1e-12)


@pytest.mark.parametrize("model", [OneCoin(), OneCoin(class_prior="uniform", population="fixed"), Majority()])
def test_a_fit_is_that_of_the_table(x64, model):
    labels, solver = crowd(6, "weights gold"), Solver(rtol=1e-10)
    one, other = fit_voted_jit(labels, model, solver=solver), fit_jit(labels, model, solver=solver)
    assert (one.code, one.n_steps) == (other.code, other.n_steps)
    np.testing.assert_allclose(one.objective, other.objective, rtol=1e-12)
    np.testing.assert_allclose(one.log_likelihood, other.log_likelihood, rtol=1e-9)
    for name, value in other.params.items():
        np.testing.assert_allclose(one.params[name], value, rtol=1e-6, atol=1e-6, err_msg=name)
    np.testing.assert_allclose(one.posterior[1], -np.sort(-other.posterior, axis=1)[:, :5], atol=1e-6)


def test_a_fit_goes_on_from_where_one_ended(x64):
    labels, solver = crowd(40), Solver(rtol=1e-9)
    once = fit_voted_jit(labels, OneCoin(), solver=solver)
    again = fit_voted_jit(labels, OneCoin(), once.params, solver)
    assert again.n_steps <= 3
    np.testing.assert_allclose(again.objective, once.objective, rtol=1e-9)


def test_what_is_no_coin_is_refused():
    with pytest.raises(InputError, match="BiasedCoin: not a coin model"):
        fit_voted(crowd(6), BiasedCoin())
    with pytest.raises(InputError, match="lbfgs"):
        fit_voted(crowd(6), OneCoin(), solver=Solver(method="lbfgs"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is told by Linux")
def test_a_thousand_classes_and_a_million_labels_take_less_than_two_gib(fresh_python):
    """Memory of the whole process; a table of classes would be 4 GB for the labelers alone."""
    printed = fresh_python(
        """
import numpy as np
from crowdjax import memory
from crowdjax.labels import Labels
from crowdjax.observation import OneCoin
from crowdjax.observation.voted import fit_voted_jit

n, k, rng = 1_000_000, 1000, np.random.default_rng(0)
instance, truth = np.arange(n) // 10, rng.integers(0, k, n // 10)
labeler = rng.integers(0, 1000, n)
right = rng.random(n) < rng.beta(4, 4, 1000)[labeler]
labels = Labels.from_arrays(labeler, instance, np.where(right, truth[instance], rng.integers(0, k, n)), n_values=k)
found = fit_voted_jit(labels, OneCoin())
print((np.asarray(found.posterior[0])[:, 0] == truth).mean())
print(memory.peak())
"""
    )
    accuracy, peak = map(float, printed.split())
    assert accuracy > 0.98 and peak < 2 * 2**30
