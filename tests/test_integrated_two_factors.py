"""Two factors: the evidence by SciPy's double integrals, dense sums, and a crowd with a second factor."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import dblquad
from scipy.special import expit, log_expit, logsumexp
from scipy.stats import norm

import crowdjax
from crowdjax.integrated import IntegratedConfig, fit_jit, grid_pass, of_instances, place, start
from crowdjax.integrated.fit import with_second
from crowdjax.integrated.kernels import missing_information
from crowdjax.labels import InputError, Labels

RHO = 0.7
CONFIG = IntegratedConfig(spread=RHO, factors=2, points=21)
RNG = np.random.default_rng(3)
W, I = 6, 3
LABELERS = RNG.normal(size=(W, 3)) * [0.5, 0.9, 0.6] + [1.2, 0, 0]
LABELER, INSTANCE = (v.ravel() for v in np.meshgrid(range(W), range(I), indexing="ij"))
LABEL, WEIGHT = RNG.choice([-1, 1], W * I), RNG.uniform(0.5, 2, W * I)
LABELS = Labels.from_arrays(LABELER, INSTANCE, LABEL, weight=WEIGHT)


def given():
    first = start(CONFIG, W)
    return first._replace(labelers=jnp.asarray(LABELERS), spread=jnp.asarray(RHO))


def density(x, y):
    return 0.5 * (norm.pdf(x, 1, RHO) + norm.pdf(x, -1, RHO)) * norm.pdf(y)


def dense(labelers, labeler, instance, label, weight):
    """(posterior [I, G], points [G, 3]) on a product grid of one's own."""
    x, y = (v.ravel() for v in np.meshgrid(np.linspace(-5, 5, 21), np.linspace(-4, 4, 17), indexing="ij"))
    points = np.stack([x, y, np.ones_like(x)], axis=1)
    log = np.tile(np.log(density(x, y)), (instance.max() + 1, 1))
    np.add.at(log, instance, weight[:, None] * log_expit(label[:, None] * (labelers[labeler] @ points.T)))
    return np.exp(log - logsumexp(log, axis=1, keepdims=True)), points


def test_the_evidence_is_the_double_integral(x64):
    def integral(j):
        mine = j == INSTANCE

        def integrand(y, x):
            eta = LABELERS[LABELER[mine]] @ [x, y, 1.0]
            return density(x, y) * np.exp(WEIGHT[mine] @ log_expit(LABEL[mine] * eta))

        return dblquad(integrand, -5, 5, -5, 5, epsabs=1e-6, epsrel=1e-4)[0]

    found = jax.jit(grid_pass, static_argnums=2)(LABELS, given(), CONFIG).evidence
    np.testing.assert_allclose(found, sum(np.log(integral(j)) for j in range(I)), rtol=1e-4)


def test_the_statistics_and_the_missing_information_are_sums_over_the_posterior(x64):
    q, points = dense(LABELERS, LABELER, INSTANCE, LABEL, WEIGHT)
    expected, counts = np.zeros((W, 3, 3)), np.zeros((W, 2, len(points)))
    for i, j, label, c in zip(LABELER, INSTANCE, LABEL, WEIGHT, strict=True):
        score = c * label * expit(-label * (points @ LABELERS[i])) * points.T
        expected[i] += np.cov(score, aweights=q[j], ddof=0)
        counts[i, int(label > 0)] += c * q[j]
    found = jax.jit(grid_pass, static_argnums=2)(LABELS, given(), CONFIG)
    np.testing.assert_allclose(found.counts, counts, atol=1e-10)
    found = jax.jit(missing_information, static_argnums=2)(LABELS, given(), CONFIG)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_without_weight_on_the_second_factor_it_is_the_model_with_one(x64):
    """But for the ends of y at 4 standard deviations."""
    one = dataclasses.replace(CONFIG, factors=1)
    parameters = start(one, W)._replace(labelers=jnp.asarray(LABELERS[:, ::2]), spread=jnp.asarray(RHO))
    two = with_second(parameters)
    two = two._replace(labelers=two.labelers.at[:, 1].set(0))
    passed = jax.jit(grid_pass, static_argnums=2)
    a, b = passed(LABELS, parameters, one), passed(LABELS, two, CONFIG)
    np.testing.assert_allclose(a.evidence, b.evidence, atol=1e-3)
    np.testing.assert_allclose(a.instances, b.instances.reshape(21, -1).sum(1), atol=1e-6)


@pytest.mark.slow
def test_a_second_factor_is_found_where_there_is_one():
    """Labelers also answer to something else, either way. The class is told nearly as well as with labelers known."""
    rng, n_labelers, n_instances = np.random.default_rng(0), 40, 200
    second = np.where(np.arange(n_labelers) < 20, 1.5, -1.5)
    w = np.stack([rng.normal(1.2, 0.3, n_labelers), second, rng.normal(0, 0.3, n_labelers)], axis=1)
    z, y = rng.choice([-1, 1], n_instances), rng.normal(size=n_instances)
    x = z + RHO * rng.normal(size=n_instances)
    i, j = (v.ravel() for v in np.indices((n_labelers, n_instances)))
    label = np.where(rng.random(len(i)) < expit(w[i, 0] * x[j] + w[i, 1] * y[j] + w[i, 2]), 1, -1)
    weight = (rng.random(len(i)) < 0.3).astype(float)
    labels = Labels.from_arrays(i, j, label, weight=weight)
    fit = fit_jit(labels, CONFIG)
    found = np.asarray(fit.parameters.labelers)
    assert abs(np.corrcoef(found[:, 1], second)[0, 1]) > 0.9
    answers = of_instances(labels, fit.parameters, CONFIG, place("gap", fit.parameters.labelers, fit.counts))
    q, points = dense(w, i, j, label, weight)
    best = q @ expit(2 * points[:, 0] / RHO**2)
    right, possible = (((np.asarray(p) > 0.5) == (z > 0)).mean() for p in (answers.probability, best))
    assert possible > 0.8 and right > possible - 0.05


@pytest.mark.parametrize(("model", "factors"), [("integrated", 3), ("auto", 2)])
def test_more_factors_are_refused(model, factors):
    with pytest.raises(InputError, match=f"factors: got {factors} with model {model}; allowed: 1; 1 or 2 with integ"):
        crowdjax.fit({"labeler": [0], "instance": [0], "label": [1]}, model, factors=factors)


def test_two_factors_need_clusters_with_a_spread():
    with pytest.raises(InputError, match=r"factors: got 2 with spread 0.0; allowed: 1; 2 with a spread > 0"):
        IntegratedConfig(spread=0.0, factors=2)
