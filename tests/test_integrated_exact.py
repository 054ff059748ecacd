"""The exact sampler of the integrated model: against dense quadrature of a tiny crowd, and by ranks of the truth."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import invwishart, norm
from test_integrated_fit import RHO, crowd

import crowdjax
from crowdjax.integrated import IntegratedConfig, chances, fit_jit, labeler_draws, sample, start
from crowdjax.integrated.exact import counts_at, labelers_given, population_given, split_r_hat
from crowdjax.labels import Labels

# Two labelers, six instances: all that they said of these.
SAID = np.array([[1, 1, 0, 0, 1, 1], [1, 1, 0, 1, 0, 1]])
TINY = Labels.from_arrays(np.repeat([0, 1], 6), np.tile(np.arange(6), 2), SAID.ravel())


def by_quadrature(prior_logit: float, rho: float = RHO):
    """Mean and standard deviation of (α_i, γ_i) of TINY, the population at μ = (1, 0), Σ = I: sums over a grid."""
    side = np.linspace(-4, 5, 37)
    alpha, gamma = (v.ravel() for v in np.meshgrid(side, side - 0.5, indexing="ij"))
    x = np.linspace(-5, 5, 81)
    pi = expit(prior_logit)
    weight = pi * norm.pdf(x, 1, rho) + (1 - pi) * norm.pdf(x, -1, rho)
    yes = expit(alpha[:, None] * x + gamma[:, None])
    says = {1: yes, 0: 1 - yes}
    log_p = np.zeros((len(alpha), len(alpha)))
    for a, b in SAID.T:
        log_p += np.log((says[a] * weight) @ says[b].T)
    prior = norm.logpdf(alpha, 1) + norm.logpdf(gamma)
    p = np.exp(log_p + prior[:, None] + prior - log_p.max())
    p /= p.sum()
    grid = np.stack([alpha, gamma], 1)
    mean = np.stack([p.sum(1) @ grid, p.sum(0) @ grid])
    square = np.stack([p.sum(1) @ grid**2, p.sum(0) @ grid**2])
    return mean, np.sqrt(square - mean**2)


@pytest.mark.parametrize("prior", [0.5, 0.2])
def test_draws_have_the_mean_and_spread_of_dense_quadrature(prior):
    """The population held; within four standard errors of some 1000 independent draws."""
    config = IntegratedConfig(spread=RHO, hierarchy=False, class_prior=prior)
    chain = sample(jax.random.key(0), TINY, start(config, 2), config, 4000, 200)
    mean, sd = by_quadrature(np.log(prior / (1 - prior)))
    w = np.asarray(chain.draws.labelers)
    np.testing.assert_allclose(w.mean(0), mean, atol=4 * sd.max() / 1000**0.5)
    np.testing.assert_allclose(w.std(0), sd, rtol=0.1)


def test_labelers_given_instances_have_their_own_posterior():
    """One labeler, every x known: a grid over (α, γ) tells mean and spread."""
    config = IntegratedConfig(spread=RHO)
    given = start(config, 2)
    counts = counts_at(TINY, jnp.array([25, 30, 12, 8, 22, 28]), config)

    def step(parameters, key):
        parameters = labelers_given(key, parameters, counts, config)[0]
        return parameters, parameters.labelers[0]

    drawn = jax.jit(lambda k: jax.lax.scan(step, given, jax.random.split(k, 4000))[1])(jax.random.key(1))
    side = np.linspace(-5, 6, 111)
    alpha, gamma = (v.ravel()[:, None] for v in np.meshgrid(side, side, indexing="ij"))
    yes, n = expit(alpha * config.nodes + gamma), np.asarray(counts[0])
    p = np.exp(np.log(yes) @ n[1] + np.log1p(-yes) @ n[0] + (norm.logpdf(alpha, 1) + norm.logpdf(gamma))[:, 0])
    grid = np.concatenate([alpha, gamma], 1)
    mean = p @ grid / p.sum()
    sd = np.sqrt(p @ (grid - mean) ** 2 / p.sum())
    np.testing.assert_allclose(drawn.mean(0), mean, atol=4 * sd.max() / 2000**0.5)
    np.testing.assert_allclose(drawn.std(0), sd, rtol=0.06)


def test_the_population_is_inverse_wishart_given_its_labelers():
    rng = np.random.default_rng(0)
    w = rng.normal([1.2, 0.2], [0.6, 0.8], (30, 2))
    given = start(IntegratedConfig(), 30)._replace(labelers=jnp.asarray(w, jnp.float32))
    draw = jax.jit(jax.vmap(lambda k: population_given(k, given, 30)))
    found = draw(jax.random.split(jax.random.key(0), 4000))
    mean = np.linalg.solve(30 * np.eye(2) + np.eye(2), w.sum(0) + [1, 0])
    np.testing.assert_allclose(found.mean.mean(0), mean, atol=4 * (1 / 31 / 4000) ** 0.5)
    gaps = w[None] - np.asarray(found.mean)[:, None]
    scatter = np.einsum("swi,swj->sij", gaps, gaps).mean(0) + 4 * np.eye(2)
    expected = invwishart(31, scatter).mean()  # 30 + 4 - 3 degrees of freedom
    np.testing.assert_allclose(found.covariance.mean(0), expected, atol=0.03)


def test_a_chain_that_wanders_has_a_large_r_hat():
    rng = np.random.default_rng(0)
    still, wandering = rng.normal(size=(400, 2)), rng.normal(size=(400, 1)).cumsum(0)
    assert split_r_hat(still) < 1.02 < split_r_hat(wandering)


def test_exact_is_an_option_of_fit_and_the_same_twice():
    rng = np.random.default_rng(0)
    table = {"labeler": np.tile(np.arange(8), 20), "instance": np.repeat(np.arange(20), 8)}
    table["label"] = (np.repeat(rng.integers(0, 2, 20), 8) ^ (rng.random(160) < 0.2)).astype(int)
    a, b = (crowdjax.fit(table, "integrated", posterior="exact") for _ in range(2))
    assert a.record["posterior"]["method"] == "exact" and a.record["posterior"]["draws"] == 1000
    np.testing.assert_array_equal(a.labelers["sensitivity"], b.labelers["sensitivity"])
    with pytest.raises(crowdjax.InputError, match="posterior: got 'exact' with two factors; allowed: laplace"):
        crowdjax.fit(table, "integrated", factors=2, posterior="exact")
    with pytest.raises(crowdjax.InputError, match="posterior: given with model glad"):
        crowdjax.fit(table, "glad", posterior="exact")


@pytest.mark.slow
def test_truths_lie_evenly_in_the_exact_posterior():
    """24 crowds from the model: the share of sensitivities and specificities above the posterior median."""
    config, above = IntegratedConfig(spread=RHO), []
    for seed in range(24):
        labels, sensitivity, specificity, _ = crowd(seed, 60, 300, 0.3)
        draws, _ = labeler_draws(labels, fit_jit(labels, config), config, posterior="exact")
        for found, truth in zip(chances(draws, config, jnp.zeros(1000)), (sensitivity, specificity), strict=True):
            above.append((truth > np.median(found, axis=0)).mean())
    assert abs(np.mean(above) - 0.5) < 0.02 + 0.012  # and a standard error
