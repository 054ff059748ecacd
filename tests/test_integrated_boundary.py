"""The decision boundary: the choices against direct root finding and dense sums."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm

from crowdjax.integrated import around, candidates, informed, neutral_point, place, weights_of_able

pytestmark = pytest.mark.usefixtures("x64")

RNG = np.random.default_rng(0)
W = 60
ALPHA, GAMMA = RNG.normal(1.2, 0.8, W), RNG.normal(-0.6, 0.8, W)
COUNTS = RNG.integers(0, 200, W).astype(float)
LABELERS = np.c_[ALPHA, GAMMA]


def able() -> np.ndarray:
    """The weights, k by k."""
    for k in np.arange(4, -0.25, -0.25):
        w = COUNTS / (COUNTS + 20) * np.maximum(ALPHA, 0) ** k
        if w.sum() ** 2 / (w**2).sum() >= max(10, 0.15 * (COUNTS > 0).sum()):
            return w
    raise AssertionError("no k leaves a crowd")


def root(w) -> float:
    w = np.where(ALPHA > 0, w, 0)
    return brentq(lambda c: w @ (expit(ALPHA * c + GAMMA) - 0.5), -5, 5, xtol=1e-12)


def test_able_labelers_are_those_that_a_crowd_is_left_of():
    np.testing.assert_allclose(weights_of_able(jnp.asarray(ALPHA), jnp.asarray(COUNTS)), able(), rtol=1e-10, atol=1e-12)


def test_able_and_unweighted_are_roots():
    np.testing.assert_allclose(
        place("able", jnp.asarray(LABELERS), jnp.asarray(COUNTS)).center, root(able()), atol=1e-9
    )
    expected = root(COUNTS / (COUNTS + 20))
    np.testing.assert_allclose(
        place("unweighted", jnp.asarray(LABELERS), jnp.asarray(COUNTS)).center, expected, atol=1e-9
    )


def test_the_gap_is_at_zero_without_doubt():
    found = place("gap", jnp.asarray(LABELERS), jnp.asarray(COUNTS))
    assert float(found.center) == 0 and not np.asarray(found.points).any()


def test_too_few_labelers_all_count():
    """With fewer than ten no power leaves a crowd: the last, 0, is taken."""
    w = weights_of_able(jnp.array([2.0, 1.0, 0.5]), jnp.full(3, 20.0))
    np.testing.assert_allclose(w, 0.5)


def test_a_crowd_without_an_able_labeler_has_a_boundary_all_the_same():
    found = neutral_point(jnp.asarray(-(ALPHA**2)), jnp.asarray(GAMMA), jnp.ones(W))
    assert np.isfinite(found)


def test_the_distribution_around_a_boundary_is_normal():
    found = around(jnp.asarray(0.8))
    mean = found.mass @ found.points
    np.testing.assert_allclose(mean, 0.8, rtol=1e-12)
    np.testing.assert_allclose(found.mass @ (found.points - mean) ** 2, (0.75 * 0.8) ** 2, rtol=1e-10)
    np.testing.assert_allclose(found.mass @ expit(found.points), norm.expect(expit, loc=0.8, scale=0.6), rtol=1e-7)


@pytest.mark.parametrize("center", [0.05, 1.2])
def test_gold_is_a_likelihood_times_the_prior(center):
    """A normal likelihood: the product is normal, with the sum of precisions. The prior is at least .3 wide."""
    prior = around(jnp.asarray(center))
    found = informed(prior, jnp.asarray(norm.logpdf(candidates(prior), 0.4, 0.5)))
    sd = max(0.75 * center, 0.3)
    precision = 1 / sd**2 + 1 / 0.25
    mean = (center / sd**2 + 0.4 / 0.25) / precision
    np.testing.assert_allclose(found.center, mean, atol=1e-4)
    np.testing.assert_allclose(found.mass @ (found.points - mean) ** 2, 1 / precision, rtol=1e-3)
