"""EM of the integrated model: its M-step against SciPy, its objective, symmetry, repetition, coverage of intervals."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from scipy.stats import norm

from crowdjax.integrated import (
    Boundary,
    IntegratedConfig,
    around,
    fit_jit,
    grid_pass,
    of_instances,
    of_labelers,
    place,
    share_of_positives,
    start,
)
from crowdjax.integrated.fit import newton, shared
from crowdjax.labels import Labels
from crowdjax.optimize import CONVERGED

MEAN, COVARIANCE, RHO = np.array([1.2, 0.2]), np.array([[0.4, -0.1], [-0.1, 0.6]]), 0.7
FIXED = IntegratedConfig(spread=RHO, hierarchy=False)


def crowd(seed: int, n_labelers: int, n_instances: int, density: float):
    """(labels, sensitivity, specificity, z) of a crowd drawn from the model, with c = 0."""
    rng = np.random.default_rng(seed)
    w = rng.multivariate_normal(MEAN, COVARIANCE, n_labelers)
    z = rng.choice([-1, 1], n_instances)
    x = z + RHO * rng.normal(size=n_instances)
    i, j = (v.ravel() for v in np.indices((n_labelers, n_instances)))
    given = rng.random(len(i)) < density  # the others have weight 0, so that crowds of one size share a program
    label = rng.random(len(i)) < expit(w[i, 0] * x[j] + w[i, 1])
    grid = np.linspace(-6, 6, 2001)
    density = np.exp(-0.5 * ((grid - 1) / RHO) ** 2)
    yes = expit(w[:, :1] * grid + w[:, 1:])
    sens, spec = yes @ density / density.sum(), (1 - yes) @ density[::-1] / density.sum()
    return Labels.from_arrays(i, j, label, weight=given), sens, spec, z


pass_jit, newton_jit = jax.jit(grid_pass, static_argnums=2), jax.jit(newton, static_argnums=3)
SMALL, *_ = crowd(0, 12, 60, 0.7)


def test_newton_finds_each_labelers_mode(x64):
    config = IntegratedConfig(spread=RHO)
    given = start(config, 12)
    x = jnp.asarray(config.design)
    counts = pass_jit(SMALL, given, config).counts
    found = newton_jit(given, counts, x, 20)
    for n, w in zip(np.asarray(counts), found, strict=True):

        def loss(w, n=n):
            eta = w[0] * config.nodes + w[1]
            return -(n[1] @ log_expit(eta) + n[0] @ log_expit(-eta)) + 0.5 * ((w - [1, 0]) ** 2).sum()

        np.testing.assert_allclose(w, minimize(loss, [1, 0], tol=1e-12).x, atol=1e-5)


def test_every_step_raises_the_log_posterior_at_a_fixed_population(x64):
    given = start(FIXED, 12)
    x, values = jnp.asarray(FIXED.design), []
    for _ in range(15):
        e = pass_jit(SMALL, given, FIXED)
        values.append(float(e.evidence) - 0.5 * float(((given.labelers - given.mean) ** 2).sum()))
        given = given._replace(labelers=newton_jit(given, e.counts, x, 2))
    assert (np.diff(values) > 0).all()


@pytest.mark.parametrize("config", [IntegratedConfig(), FIXED, IntegratedConfig(spread=1.0, hierarchy=False)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_stops_where_em_stands_still(x64, config, seed):
    """One step of EM from there moves no labeler. The objective may fall on the way: EM does not quite maximise it."""
    labels, *_ = crowd(seed, 12, 60, 0.4)
    found = fit_jit(labels, config)
    history = np.asarray(found.history)[~np.isnan(found.history)]
    assert int(found.code) == CONVERGED
    assert history[-1] == float(found.objective)
    given = found.parameters
    new = newton_jit(given, pass_jit(labels, given, config).counts, jnp.asarray(config.design), 5)
    moved = (new - given.labelers) / jnp.sqrt(jnp.diagonal(found.covariance, axis1=1, axis2=2))
    assert float(abs(moved).max()) < 0.02


def answers(labels):
    config = IntegratedConfig(spread=RHO)
    found = fit_jit(labels, config)
    boundary = place("able", found.parameters.labelers, found.counts)
    return found, boundary, of_instances(labels, found.parameters, config, boundary)


def test_swapped_classes_give_swapped_answers(x64):
    swapped = dataclasses.replace(SMALL, label=1 - SMALL.label)
    (a, c, p), (b, d, q) = answers(SMALL), answers(swapped)
    np.testing.assert_allclose(a.parameters.labelers * np.array([1, -1]), b.parameters.labelers, atol=1e-8)
    np.testing.assert_allclose(c.center, -d.center, atol=1e-8)
    np.testing.assert_allclose(p.probability, 1 - q.probability, atol=1e-8)


def test_twice_the_same_bit_for_bit():
    a, b = answers(SMALL), answers(SMALL)
    assert all(np.array_equal(x, y, equal_nan=True) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def test_answers_are_right_as_often_as_they_say():
    """Within three standard errors; the crowd is drawn from the model."""
    labels, *_, truth = crowd(0, 60, 300, 0.3)
    p = np.asarray(answers(labels)[2].probability)
    sure, right = np.maximum(p, 1 - p), (p > 0.5) == (truth > 0)
    assert abs((right - sure).sum()) <= 3 * np.sqrt((sure * (1 - sure)).sum())
    assert right.mean() >= 0.9


def test_a_label_of_weight_zero_says_nothing():
    absent = SMALL.weight == 0
    assert absent.any()
    a, b = (
        answers(v)[2] for v in (SMALL, dataclasses.replace(SMALL, label=np.where(absent, 1 - SMALL.label, SMALL.label)))
    )
    np.testing.assert_array_equal(a.probability, b.probability)


@pytest.mark.parametrize(("level", "least", "most"), [(0.9, 0.87, 0.93), (0.95, 0.93, 0.97)])
def test_intervals_of_labelers_hold_what_they_say(level, least, most):
    """The crowds are drawn from the model, so what is left of an error is Laplace's."""
    config, inside = IntegratedConfig(spread=RHO), []
    for seed in range(6):
        labels, sens, spec, _ = crowd(seed, 60, 300, 0.3)
        found = of_labelers(fit_jit(labels, config), config, around(jnp.zeros(())), level=level, doubt=0)
        for interval, truth in ((found.sensitivity, sens), (found.specificity, spec)):
            inside.append((np.asarray(interval.lower) <= truth) & (truth <= np.asarray(interval.upper)))
    assert least <= np.mean(inside) <= most


def test_the_share_of_positives_has_the_doubt_of_every_instance_and_of_the_origin(x64):
    """At one boundary: a normal distribution, its variance from the instances' own probabilities."""
    found = fit_jit(SMALL, FIXED)

    def probability(c):
        boundary = Boundary(jnp.asarray(c), jnp.asarray([c]), jnp.ones(1))
        return np.asarray(of_instances(SMALL, found.parameters, FIXED, boundary).probability)

    p, h = probability(0.0), 1e-4
    slope = (probability(h) - probability(-h)).mean() / (2 * h)
    sd = np.sqrt((p * (1 - p)).sum() / len(p) ** 2 + slope**2 * float(found.axis[1, 1]))
    share = share_of_positives(SMALL, found, FIXED, around(jnp.zeros(())))
    np.testing.assert_allclose(share, norm.ppf([0.5, 0.025, 0.975], p.mean(), sd), atol=1e-3)


def test_the_axis_is_known_at_two_points_and_pinned_by_a_given_population():
    """A population that is not learned says where origin and unit are: less is left of their doubt."""
    counts = np.bincount(SMALL.labeler, SMALL.counts)

    def axis(config):
        return np.asarray(shared(SMALL, start(config, 12), counts, config))

    learned, given = axis(IntegratedConfig(spread=RHO)), axis(FIXED)
    assert (np.diag(learned) > np.diag(given)).all() and (np.diag(given) > 0).all()
    assert not axis(IntegratedConfig(spread=0.0)).any()
