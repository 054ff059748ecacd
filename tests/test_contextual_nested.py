"""The expansion to second order, Newton's climb, and the mixture that stands for the posterior."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logsumexp

from crowdjax import labels as labels_module
from crowdjax import optimize
from crowdjax.contextual import GP, PRESETS, ContextualConfig, Scale, nested, prepare_data
from crowdjax.contextual.expansion import _logits, expand
from crowdjax.contextual.mode import Posterior, climb
from crowdjax.contextual.model import (
    block_values,
    coefficients_of,
    constrained,
    log_density,
    n_scales,
    shapes_of,
    size_of,
)
from crowdjax.labels import Labels
from crowdjax.simulate import prevalence_crowd


def small(n=60, n_labelers=4, columns=1, seed=0, gold=True):
    """(labels with a few gold, inputs in [-1, 1] of which many are alike)."""
    rng = np.random.default_rng(seed)
    x = rng.random((n, columns)).round(1) * 2 - 1
    labeler = np.concatenate([rng.choice(n_labelers, 3, replace=False) for _ in range(n)])
    known = np.full(n, np.nan)
    known[:7] = rng.integers(0, 2, 7)
    arrays = labeler, np.repeat(np.arange(n), 3), rng.integers(0, 2, 3 * n)
    return Labels.from_arrays(*arrays, gold=known if gold else None, n_labelers=n_labelers), x


def somewhere(config, data, seed=1):
    """(θ, w) away from the middle of the prior."""
    k = n_scales(shapes_of(config, data))
    u = 0.6 * np.random.default_rng(seed).standard_normal(size_of(config, data))
    return jnp.asarray(u[:k]), jnp.asarray(u[k:])


@pytest.mark.parametrize("constraint", ["ordered", "both", "free"])
def test_derivatives_of_the_constraints(x64, constraint):
    a, g = jnp.linspace(-3, 3, 7), jnp.linspace(2, -1, 7)

    def logits(a, g):
        s, gamma = constrained(constraint, a, g)
        return jnp.stack([gamma + s, gamma - s])

    by = lambda f, n: jax.vmap(jax.jacfwd(f, n), out_axes=1)  # noqa: E731
    first = [by(logits, n)(a, g) for n in (0, 1)]
    second = [by(jax.jacfwd(logits, n), m)(a, g) for n, m in ((0, 0), (0, 1), (1, 1))]
    found = np.array(_logits(constraint, a, g))  # [truth, derivative, 7]
    np.testing.assert_allclose(found, np.stack([logits(a, g), *first, *second], 1), atol=1e-12)


@pytest.mark.parametrize(
    "config",
    [
        ContextualConfig("linear", "constant", labelers="global", constraint="free"),
        ContextualConfig("gp", "linear", gp=GP(n_basis=4)),
        pytest.param(
            ContextualConfig("constant", "gp", gp=GP("inducing", n_basis=4), constraint="ordered"),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ContextualConfig("linear", "constant", labelers="function", labeler_gp=GP(n_basis=3, boundary=2.5)),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["global", "offset", "inducing", "function"],
)
def test_the_expansion_is_automatic_differentiations(x64, config):
    """Value, gradient and Hessian of the labels' log-likelihood, gold among them, in float64."""
    labels, x = small()
    data = prepare_data(config, labels, x)
    theta, w = somewhere(config, data)
    y = coefficients_of(config, data, theta, w)
    of = jax.jit(lambda y: block_values(config, data, theta, y).sum())
    at = jax.jit(lambda y: expand(config, data, theta, y))(y)
    np.testing.assert_allclose(at.values.sum(), of(y), rtol=1e-12)
    np.testing.assert_allclose(at.slope, jax.jit(jax.grad(of))(y), atol=1e-10)
    np.testing.assert_allclose(at.information, -jax.jit(jax.hessian(of))(y), atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("columns", ["additive", "tensor"])
def test_the_expansion_of_two_columns(x64, columns):
    config = ContextualConfig("gp", "constant", labelers="global", gp=GP(n_basis=3, columns=columns))
    labels, x = small(columns=2)
    data = prepare_data(config, labels, x)
    theta, w = somewhere(config, data)
    y = coefficients_of(config, data, theta, w)
    of = jax.jit(lambda y: block_values(config, data, theta, y).sum())
    at = jax.jit(lambda y: expand(config, data, theta, y))(y)
    np.testing.assert_allclose(at.information, -jax.jit(jax.hessian(of))(y), atol=1e-9)


def test_blocks_add_up_to_the_whole(monkeypatch):
    config = ContextualConfig("linear", "linear")
    labels, x = small(600)
    whole = prepare_data(config, labels, x)
    monkeypatch.setattr(labels_module, "FLAT_BELOW", 0)
    monkeypatch.setattr(labels_module, "LABELS_PER_BLOCK", 256)
    parts = prepare_data(config, small(600)[0], x)
    assert parts.labels.n_blocks > 3
    theta, w = somewhere(config, whole)
    of = jax.jit(lambda d: expand(config, d, theta, coefficients_of(config, d, theta, w)))
    at = [of(d) for d in (whole, parts)]
    np.testing.assert_allclose(at[0].values.sum(), at[1].values.sum(), rtol=1e-5)
    np.testing.assert_allclose(at[0].slope, at[1].slope, atol=2e-3)
    np.testing.assert_allclose(at[0].information, at[1].information, atol=2e-3)


def test_many_scores_go_to_a_grid():
    """More distinct scores than there are bins: every one's bin is within half a cell."""
    x = np.random.default_rng(0).uniform(-1, 1, (2000, 1))
    labels = Labels.from_arrays(np.zeros(2000, int), np.arange(2000), np.ones(2000))
    bins = prepare_data(ContextualConfig(), labels, x).bins
    gap = np.abs(np.asarray(bins.basis.x)[np.asarray(bins.row)] - x)
    assert len(bins.basis.x) == 256 and gap.max() <= 1 / 256 + 1e-6


def test_newton_ends_at_scipys_mode(x64):
    labels, x = small(150, gold=False)
    config = ContextualConfig("linear", "linear")
    data = prepare_data(config, labels, x)
    theta = jnp.array([0.3, -0.2])
    of = jax.jit(jax.value_and_grad(lambda w: -log_density(config, data, jnp.concatenate([theta, w]))))
    w0 = np.zeros(size_of(config, data) - 2)
    end = minimize(lambda w: tuple(map(np.asarray, of(w))), w0, jac=True, method="BFGS", options={"gtol": 1e-7})
    peak = climb(Posterior(config, data), theta, w0)
    assert peak.code == optimize.CONVERGED
    np.testing.assert_allclose(peak.value - 0.5 * np.sum(theta**2), -end.fun, atol=0.03)
    np.testing.assert_allclose(peak.w, end.x, atol=0.05)
    hessian = jax.hessian(lambda w: -log_density(config, data, jnp.concatenate([theta, w])))(jnp.asarray(peak.w))
    np.testing.assert_allclose(peak.chol @ peak.chol.T, hessian, atol=0.05 * np.abs(hessian).max())


def dense(labels):
    """(π of every point of a grid over three standard normals, its log posterior) where nothing depends on a score and
    labelers are alike: by enumeration of the numbers of positive labels, in NumPy."""
    level, other = np.linspace(-4.5, 4.5, 601), np.linspace(-4, 4, 41)
    grid = np.array(list(itertools.product(level, other, other)))
    r, a, g = -4 + 4 * grid[:, 0], 1.5 + grid[:, 1], grid[:, 2]
    plus, minus = np.logaddexp(0, a + g), np.logaddexp(0, a - g)  # logits of sensitivity and specificity, above 0
    ones = np.bincount(labels.instance, labels.label, labels.n_instances)
    every = np.bincount(labels.instance, minlength=labels.n_instances)
    total = -0.5 * (grid**2).sum(1)
    for (k, m), count in zip(*np.unique(np.c_[ones, every], axis=0, return_counts=True), strict=True):
        positive = log_expit(r) + k * log_expit(plus) + (m - k) * log_expit(-plus)
        negative = log_expit(-r) + k * log_expit(-minus) + (m - k) * log_expit(minus)
        total += count * np.logaddexp(positive, negative)
    return expit(r), total


@pytest.mark.parametrize(("n", "rate", "per_item"), [(300, 0.1, 2), (300, 0.01, 3), (60, 0.4, 2)])
def test_windows_follow_a_ridge(n, rate, per_item):
    """Two labels of labelers who are alike leave a ridge, with a tail towards no positives at all: quantiles of the
    prevalence against those of the posterior on a dense grid, on the logit scale in units of its spread."""
    rng = np.random.default_rng(3)
    truth = rng.random(n) < rate
    instance = np.repeat(np.arange(n), per_item)
    label = np.where(truth[instance], rng.random(len(instance)) < 0.8, rng.random(len(instance)) < 0.1)
    labels = Labels.from_arrays(np.tile(np.arange(per_item), n), instance, label)
    config = dataclasses.replace(PRESETS["constant-constant"], labelers="global")
    data = prepare_data(config, labels, Scale.learn(rng.random(n))(rng.random(n)))
    mixture = nested.approximate(config, data).mixture
    u = nested.draw(mixture, 20_000, np.random.default_rng(0))
    found = -4 + 4 * u[:, 0]  # r's level comes first
    pi, log_p = dense(labels)
    order, p = np.argsort(pi), np.exp(log_p - logsumexp(log_p))
    t = np.log(pi / (1 - pi))
    spread = np.sqrt(p @ t**2 - (p @ t) ** 2)
    cumulative = np.cumsum(p[order])
    for q in (0.025, 0.25, 0.5, 0.75, 0.975):
        exact = t[order][np.searchsorted(cumulative, q)]
        assert abs(np.quantile(found, q) - exact) < 0.3 * spread
    assert nested.importance(config, data, mixture, u[:1000]).khat < 0.7


def test_the_design_starts_in_the_middle():
    points = nested.design(5, 8)
    assert points.shape == (8, 5) and not points[0].any()
    np.testing.assert_array_equal(nested.design(5, 4), points[:4])


@pytest.mark.slow
def test_the_default_approximation_covers_a_rare_rate():
    """Eight crowds of the scenario "rare": the rate of one in a thousand is within the interval, which is narrow."""
    from crowdjax.contextual import Inference, fit, prevalence_draws

    held, widths = [], []
    for seed in range(8):
        drawn = prevalence_crowd("rare", seed)
        crowd = drawn.crowd
        found = fit(
            drawn.labels,
            crowd.score,
            ContextualConfig(),
            jax.random.key(0),
            Inference("laplace"),
            importance=crowd.weight,
        )
        count, edge = np.histogram(crowd.population, 400)
        low, high = np.quantile(prevalence_draws(found, (edge[1:] + edge[:-1]) / 2, count), [0.025, 0.975])
        held.append(low <= drawn.rate <= high)
        widths.append(high - low)
    assert sum(held) >= 7
    assert np.mean(widths) <= 0.012
