"""Laplace's approximation: the Hessian equals a formula, flat directions are held, points that are no mode reported."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crowdjax import laplace
from crowdjax.labels import InputError

RNG = np.random.default_rng(0)
X, SD = RNG.normal(size=(40, 3)), np.array([0.5, 1.0, 2.0])


def logistic(w, x, sd):
    return jax.nn.log_sigmoid(x @ w["w"]).sum() - 0.5 * ((w["w"] / sd) ** 2).sum()


def test_the_covariance_is_that_of_logistic_regression():
    """H = Xᵀ diag(p (1-p)) X + Λ, by NumPy."""
    w = np.array([0.3, -0.2, 0.1])
    p = 1 / (1 + np.exp(-X @ w))
    expected = np.linalg.inv(X.T @ (X * (p * (1 - p))[:, None]) + np.diag(SD**-2))
    found = laplace.gaussian(logistic, {"w": jnp.asarray(w)}, jnp.asarray(X), jnp.asarray(SD))
    np.testing.assert_allclose(found.mean, w, rtol=1e-6)
    np.testing.assert_allclose(found.root @ found.root.T, expected, rtol=1e-4, atol=1e-6)


def test_draws_have_its_mean_and_covariance():
    root = np.array([[1.0, 0.0], [2.0, 0.5]])
    found = laplace.Gaussian(np.array([1.0, -1.0]), root).draws(np.random.default_rng(1), 40_000)
    np.testing.assert_allclose(found.mean(0), [1, -1], atol=4 * 2.1 / 200)
    np.testing.assert_allclose(np.cov(found.T), root @ root.T, atol=4 * 4.25 * np.sqrt(2) / 200)


def test_a_parameter_without_a_say_and_a_flat_direction_are_held():
    """Softmax's logits have a direction of their own that changes nothing: their differences have the covariance of
    log-odds of counts."""

    def density(p):
        return 30 * jax.nn.log_softmax(p["logits"]) @ jnp.array([0.2, 0.3, 0.5])

    params = {"logits": jnp.log(jnp.array([0.2, 0.3, 0.5])), "none": jnp.ones(2)}
    found = laplace.gaussian(density, params)
    assert found.root.shape == (5, 2) and not found.root[3:].any()
    covariance = (found.root @ found.root.T)[:3, :3]
    for u, v in ((0, 1), (0, 2), (1, 2)):  # log-odds of two counts: 1/n_u + 1/n_v
        gap = np.eye(3)[u] - np.eye(3)[v]
        n = 30 * np.array([0.2, 0.3, 0.5])
        np.testing.assert_allclose(gap @ covariance @ gap, 1 / n[u] + 1 / n[v], rtol=1e-4)


def test_what_is_no_maximum_has_no_approximation():
    assert laplace.gaussian(lambda x: (x**2).sum() - x[0] ** 2 * 3, jnp.ones(2)) is None
    assert laplace.gaussian(lambda x: -(x[0] ** 2) - x[1] ** 2 + 3 * x[0] * x[1], jnp.ones(2)) is None


def test_too_many_parameters_are_rejected_before_a_pass():
    with pytest.raises(InputError, match="5,000 parameters; allowed: 4,096"):
        laplace.gaussian(lambda x: 1 / 0, jnp.ones(5000))
