"""Draws by quadrature: against a dense grid of one labeler's posterior, the exact sampler, and what is made of them."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logit
from scipy.stats import norm
from test_integrated_fit import FIXED, RHO, SMALL, crowd

import crowdjax
from crowdjax.integrated import (
    Boundary,
    IntegratedConfig,
    Interval,
    axis_draws,
    boundaries,
    chances,
    doubted,
    fit_jit,
    labeler_draws,
    of_labelers,
    verdicts,
)
from crowdjax.integrated.draws import interval


def test_each_labelers_draws_are_its_posterior_others_held(x64):
    """Equation 9 of one labeler, the population given, on a dense grid in NumPy."""
    config = dataclasses.replace(FIXED, rtol=1e-9)
    fit = fit_jit(SMALL, config)
    fixed = dataclasses.replace(fit, axis=jnp.zeros((2, 2)))  # without the origin's own uncertainty
    draws = axis_draws(SMALL, fixed, config)
    x, w = config.nodes, np.asarray(fit.parameters.labelers)
    labeler, instance, label, counts = (
        np.asarray(v) for v in (SMALL.labeler, SMALL.instance, SMALL.label, SMALL.counts)
    )
    weight = 0.5 * norm.pdf(x, 1, RHO) + 0.5 * norm.pdf(x, -1, RHO)
    says = lambda w, label: expit(np.where(label > 0, 1, -1)[:, None] * (w[..., :1] * x + w[..., 1:]))  # noqa: E731
    for i in (0, 5):
        own = (labeler == i) & (counts > 0)
        others = (labeler != i) & (counts > 0)
        log_q = np.zeros((SMALL.n_instances, len(x)))
        np.add.at(log_q, instance[others], np.log(says(w[labeler[others]], label[others])))
        q = weight * np.exp(log_q - log_q.max(1, keepdims=True))
        q /= q.sum(1, keepdims=True)
        side = np.linspace(-5, 5, 81)
        grid = np.stack(np.meshgrid(w[i, 0] + side, w[i, 1] + side, indexing="ij"), -1).reshape(-1, 2)
        log_p = norm.logpdf(grid, [1, 0]).sum(1)
        for j, said in zip(instance[own], label[own], strict=True):
            log_p += np.log(says(grid, np.full(len(grid), said)) @ q[j])
        p = np.exp(log_p - log_p.max())
        mean = p @ grid / p.sum()
        sd = np.sqrt(p @ (grid - mean) ** 2 / p.sum())
        drawn, of = np.asarray(draws.labelers)[:, i], np.asarray(draws.weight)[:, i, None]
        np.testing.assert_allclose((of * drawn).sum(0), mean, atol=0.05 * sd.max())
        np.testing.assert_allclose(np.sqrt((of * (drawn - mean) ** 2).sum(0)), sd, rtol=0.08)


def test_the_axis_brings_the_population_nearer_to_the_exact_posterior():
    """EM's labelers are too near 0 as a crowd; the average over the unit makes up for more than half of it."""
    config, labels = IntegratedConfig(spread=RHO), crowd(1, 60, 300, 0.3)[0]
    fit = fit_jit(labels, config)
    laplace, axis, exact = (
        float((np.asarray(d.weight) * np.asarray(d.labelers)[..., 0]).sum(0).mean())
        for d, _ in (labeler_draws(labels, fit, config, posterior=p) for p in ("laplace", "axis", "exact"))
    )
    assert laplace < axis < exact + 0.02
    assert exact - axis < 0.5 * (exact - laplace)


def test_draws_are_the_same_twice_and_add_up():
    fit = fit_jit(SMALL)
    a, b = (axis_draws(SMALL, fit, IntegratedConfig()) for _ in range(2))
    assert all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))
    np.testing.assert_allclose(np.asarray(a.weight).sum(0), 1, atol=1e-5)


def test_a_labeler_without_labels_has_the_populations_posterior():
    """Whoever gave no label may be anybody: as wide as the population."""
    labels = dataclasses.replace(SMALL, n_labelers=13)
    config = IntegratedConfig(spread=RHO)
    draws = axis_draws(labels, fit_jit(labels, config), config)
    weight, alpha = np.asarray(draws.weight)[:, 12], np.asarray(draws.labelers)[:, 12, 0]
    sd = np.sqrt((weight * (alpha - weight @ alpha) ** 2).sum())
    population = float(fit_jit(labels, config).parameters.covariance[0, 0]) ** 0.5
    assert 0.8 * population < sd < 1.4 * population


def test_sensitivity_at_a_boundary_is_an_average_over_that_class():
    """One labeler at c = .5, against a dense integral."""
    config, c, (alpha, gamma) = IntegratedConfig(spread=RHO), 0.5, (1.5, -0.3)
    draws = crowdjax.integrated.Draws(
        jnp.array([[[alpha, gamma]]]), jnp.ones((1, 1)), jnp.array([RHO]), jnp.array([0.4])
    )
    x = np.linspace(-6, 6, 4001)
    density = expit(0.4) * norm.pdf(x, 1, RHO) + expit(-0.4) * norm.pdf(x, -1, RHO)
    positive, yes = density * expit(0.4 + 2 * (x - c) / RHO**2), expit(alpha * x + gamma)
    expected = positive @ yes / positive.sum(), (density - positive) @ (1 - yes) / (density - positive).sum()
    np.testing.assert_allclose(np.ravel(chances(draws, config, jnp.array([c]))), expected, atol=1e-4)


def test_the_boundarys_uncertainty_widens_every_interval():
    fit, config = fit_jit(SMALL), IntegratedConfig()
    sure = Boundary(jnp.array(0.6), jnp.array([0.6]), jnp.ones(1))
    unsure = Boundary(jnp.array(0.6), jnp.array([0.0, 0.6, 1.2]), jnp.array([0.25, 0.5, 0.25]))
    width = lambda b: (lambda v: v.upper - v.lower)(of_labelers(fit, config, b).sensitivity)  # noqa: E731
    assert (width(unsure) > width(sure)).mean() > 0.9
    assert set(boundaries(unsure, 400).round(1)) == {0.0, 0.6, 1.2}


def test_doubt_widens_without_moving_a_guesser():
    sens, spec = (np.full((2000, 3), p) for p in ([0.5, 0.3, 0.9], [0.5, 0.7, 0.8]))
    plus, minus = doubted(sens, spec, 0.3)
    np.testing.assert_allclose(plus[:, :2] + minus[:, :2], 1, atol=1e-9)
    s = (logit(plus[:, 2]) + logit(minus[:, 2])) / 2
    assert abs(np.log(s).std() - 0.3) < 0.01


def test_quantiles_of_weighted_draws_are_those_of_as_many_copies():
    rng = np.random.default_rng(0)
    values, copies = rng.normal(size=(200, 2)), rng.integers(1, 5, (200, 2))
    found = interval(values, copies / copies.sum(0), 0.9)
    for i in range(2):
        whole = np.repeat(values[:, i], copies[:, i])
        assert abs(found.mean[i] - whole.mean()) < 1e-9
        np.testing.assert_allclose([found.lower[i], found.upper[i]], np.quantile(whole, [0.05, 0.95]), atol=0.08)


def test_a_kind_is_named_where_95_percent_of_the_posterior_say_so():
    rng = np.random.default_rng(0)
    j = rng.normal([0.8, 0.8, 0.0, 0.0, -0.5, 0.3], [0.1, 0.2, 0.05, 0.4, 0.1, 0.1], (20_000, 6))
    found = verdicts(j, np.full(j.shape, 1 / len(j)))
    assert found.tolist() == ["expert", "ordinary", "spammer", "unknown", "adversary", "ordinary"]


def test_gold_stands_beside_the_model():
    table = {"labeler": list("abcdefgh") * 12, "instance": np.repeat(np.arange(12), 8)}
    table["label"] = (np.repeat(np.arange(12) % 2, 8) ^ (np.random.default_rng(0).random(96) < 0.2)).astype(int)
    gold = {"instance": np.arange(6), "label": np.arange(6) % 2}
    people = crowdjax.fit(table, "integrated", gold=gold, posterior="laplace").tables["labelers"]
    known = np.asarray(table["instance"]) < 6
    for k, name in enumerate("abcdefgh"):
        mine = known & (np.asarray(table["labeler"]) == name)
        for truth, count, measure in ((1, "positives", "sensitivity"), (0, "negatives", "specificity")):
            said = np.asarray(table["label"])[mine & (np.asarray(table["instance"]) % 2 == truth)]
            assert people[f"gold_{count}"][k].as_py() == len(said) == 3
            assert people[f"gold_{measure}"][k].as_py() == pytest.approx((said == truth).mean())
    assert "gold_labels" not in crowdjax.fit(table, "majority").tables["labelers"].column_names
    kinds3 = crowdjax.fit({**table, "label": np.asarray(table["instance"]) % 3}, "dawid-skene", classes="nominal",
                          gold={"instance": [0, 1, 2], "label": [0, 1, 2]}).tables["labelers"]  # fmt: skip
    assert kinds3["gold_labels"].to_pylist() == [3] * 8 and kinds3["gold_accuracy"].to_pylist() == [1.0] * 8


@pytest.mark.slow
@pytest.mark.parametrize("spread", [RHO, "learn"])
def test_truths_lie_evenly_in_the_posterior_and_intervals_hold_them(spread):
    """24 crowds from the model: share above the median, coverage of 95 %."""
    config, above, inside = IntegratedConfig(spread=spread), [], []
    for seed in range(24):
        labels, *truths, _ = crowd(seed, 60, 300, 0.3)
        draws = axis_draws(labels, fit_jit(labels, config), config)
        for found, truth in zip(chances(draws, config, jnp.zeros(len(draws.spread))), truths, strict=True):
            rank = ((np.asarray(found) < truth) * np.asarray(draws.weight)).sum(0)
            above.append((rank > 0.5).mean())
            inside.append((abs(rank - 0.5) < 0.475).mean())
    assert 0.93 <= np.mean(inside) <= 0.97
    assert abs(np.mean(above) - 0.5) < 0.02 + 0.015  # and a standard error


def test_intervals_are_intervals():
    found = of_labelers(fit_jit(SMALL), IntegratedConfig(), Boundary(jnp.zeros(()), jnp.zeros(1), jnp.ones(1)))
    for one in found[:4]:
        assert isinstance(one, Interval) and (one.lower <= one.mean).all() and (one.mean <= one.upper).all()
