"""Estimands against NumPy on the fit's own draws; weights and designs; what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from crowdjax.contextual import (
    ContextualConfig,
    Inference,
    calibrate,
    fit,
    function_draws,
    functions,
    inclusion_weights,
    item_posteriors,
    item_prevalence,
    labeler_functions,
    labeler_table,
    population_prevalence,
    prevalence_draws,
    sampling_weights,
)
from crowdjax.contextual.estimands import _alike
from crowdjax.labels import LabelError, Labels

W, I = 4, 120
RNG = np.random.default_rng(0)
SCORE = RNG.beta(0.8, 2, I)
TRUTH = RNG.random(I) < 0.1 + 0.8 * SCORE
LABELER = np.concatenate([RNG.permutation(W)[:3] for _ in range(I)])
INSTANCE = np.repeat(np.arange(I), 3)
ACCURACY = np.array([0.95, 0.85, 0.75, 0.6])
LABEL = np.where(RNG.random(3 * I) < ACCURACY[LABELER], TRUTH[INSTANCE], ~TRUTH[INSTANCE])
GOLD = np.where(RNG.random(I) < 0.2, TRUTH, np.nan)
GRID = np.linspace(0.05, 0.9, 7)
WEIGHTS = RNG.gamma(2, 1, I)


@pytest.fixture(scope="module")
def found():
    labels = Labels.from_arrays(LABELER, INSTANCE, LABEL, gold=GOLD)
    return labels, fit(
        labels,
        SCORE,
        ContextualConfig("linear", "linear", constraint="ordered"),
        jax.random.key(0),
        Inference("laplace", n_draws=60),
    )


def by_hand(draws, score):
    """(π [S, n], sensitivity and specificity [S, W, n]) in NumPy."""
    x = 0.95 * (2 * (score - SCORE.min()) / (SCORE.max() - SCORE.min()) - 1)
    line = {k: draws[f"{k}_mean"][:, None] + draws[f"{k}_slope"] * x for k in ("prevalence", "accuracy", "bias")}
    raw = draws["labeler_offset"]
    e = draws["labeler_scale"][:, :, None] * (raw - raw.mean(-1, keepdims=True))
    s = np.log1p(np.exp(line["accuracy"][:, None] + e[:, 0, :, None]))
    gamma = line["bias"][:, None] + e[:, 1, :, None]
    return expit(line["prevalence"]), expit(s + gamma), expit(s - gamma)


def test_functions_are_the_draws_averaged_over_the_crowd(found):
    _, result = found
    pi, sens, spec = by_hand(result.draws, GRID)
    share = np.bincount(LABELER) / len(LABELER)
    for band, draws in zip(functions(result, GRID, 0.8), (pi, share @ sens, share @ spec), strict=True):
        np.testing.assert_allclose(band.mean, draws.mean(0), atol=1e-5)
        np.testing.assert_allclose((band.lower, band.upper), np.quantile(draws, [0.1, 0.9], axis=0), atol=1e-5)
    own = labeler_functions(result, GRID, [2, 0])
    np.testing.assert_allclose(own.sensitivity.mean, sens.mean(0)[[2, 0]], atol=1e-5)
    np.testing.assert_allclose(own.specificity.mean, spec.mean(0)[[2, 0]], atol=1e-5)
    np.testing.assert_allclose(calibrate(result, GRID).mean, pi.mean(0), atol=1e-5)


def test_item_posteriors_are_bayes_rule_averaged_over_draws(found):
    labels, result = found
    pi, sens, spec = by_hand(result.draws, SCORE)
    odds = np.log(pi / (1 - pi))
    for i, j, y in zip(LABELER, INSTANCE, LABEL, strict=True):
        a, b = sens[:, i, j], 1 - spec[:, i, j]
        odds[:, j] += np.log(a / b) if y else np.log((1 - a) / (1 - b))
    expected = np.where(np.isnan(GOLD), expit(odds).mean(0), GOLD)
    np.testing.assert_allclose(item_posteriors(result, labels, SCORE), expected, atol=1e-4)


def test_prevalence_weights_the_function(found):
    _, result = found
    pi, _, _ = by_hand(result.draws, SCORE)
    draws = pi @ WEIGHTS / WEIGHTS.sum()
    band = population_prevalence(result, SCORE, WEIGHTS)
    np.testing.assert_allclose(band.mean, draws.mean(), rtol=1e-5)
    np.testing.assert_allclose((band.lower, band.upper), np.quantile(draws, [0.025, 0.975]), rtol=1e-5)
    table, counts = np.unique(SCORE.round(1), return_counts=True)
    as_table = population_prevalence(result, np.r_[table, 0.99], np.r_[counts, 0])
    np.testing.assert_allclose(as_table.mean, population_prevalence(result, SCORE.round(1)).mean, rtol=1e-5)


def test_bootstrap_adds_the_samples_own_variation(found):
    """With the function known, the interval is that of a Bayesian bootstrap of the weighted mean."""
    _, result = found
    pi = by_hand(result.draws, SCORE)[0]
    band = population_prevalence(result, SCORE, WEIGHTS, key=jax.random.key(0))
    rng = np.random.default_rng(0)
    w = rng.exponential(size=(200, *pi.shape)) * WEIGHTS
    draws = ((w * pi).sum(-1) / w.sum(-1)).ravel()
    np.testing.assert_allclose(band.mean, draws.mean(), atol=0.02)
    np.testing.assert_allclose(band.upper - band.lower, np.ptp(np.quantile(draws, [0.025, 0.975])), rtol=0.4)
    assert (
        band.upper - band.lower
        > population_prevalence(result, SCORE, WEIGHTS).upper - population_prevalence(result, SCORE, WEIGHTS).lower
    )


def test_item_prevalence_is_the_weighted_share_where_all_is_known():
    truth = TRUTH.astype(float)
    labels = Labels.from_arrays(LABELER, INSTANCE, LABEL, gold=truth)
    config = ContextualConfig("linear", "constant", labelers="global")
    result = fit(labels, SCORE, config, jax.random.key(0), Inference("laplace", n_draws=400))
    band = item_prevalence(result, labels, SCORE, jax.random.key(1), WEIGHTS)
    share = WEIGHTS @ truth / WEIGHTS.sum()
    w = WEIGHTS / WEIGHTS.sum()
    sd = np.sqrt((w**2 * (truth - share) ** 2).sum())
    assert abs(band.mean - share) < 0.2 * sd
    np.testing.assert_allclose((band.upper - band.lower) / (2 * 1.96 * sd), 1, atol=0.15)


def test_labelers_are_ranked_by_how_good_they_are(found):
    _, result = found
    table = labeler_table(result)
    np.testing.assert_array_equal(table.n_labels, np.bincount(LABELER))
    np.testing.assert_array_equal(np.argsort(table.rank.mean), np.arange(W))
    np.testing.assert_allclose(table.rank.mean.sum(), W * (W + 1) / 2, rtol=1e-6)
    pi, sens, spec = by_hand(result.draws, np.sort(SCORE)[((np.arange(64) + 0.5) / 64 * I).astype(int)])
    expected = ((sens * pi[:, None]).sum(-1) / pi.sum(-1)[:, None]).mean(0)
    np.testing.assert_allclose(table.sensitivity.mean, expected, atol=1e-4)
    expected = ((spec * (1 - pi[:, None])).sum(-1) / (1 - pi).sum(-1)[:, None]).mean(0)
    np.testing.assert_allclose(table.specificity.mean, expected, atol=1e-4)


def test_sampling_weights_give_back_the_population():
    edges, counts = np.array([0, 0.1, 0.4, 1]), np.array([90_000, 5000, 60])
    weights = sampling_weights(SCORE, edges, counts)
    stratum = np.digitize(SCORE, edges[1:-1])
    np.testing.assert_allclose(np.bincount(stratum, weights), counts)
    np.testing.assert_allclose(inclusion_weights([0.5, 0.01]), [2, 100])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda f: population_prevalence(f, SCORE, WEIGHTS[:-1]), "weight: 119 of them for 120 scores"),
        (lambda f: population_prevalence(f, SCORE, -WEIGHTS), "weight: got -"),
        (lambda f: population_prevalence(f, SCORE, 0 * WEIGHTS), "add up to 0"),
        (
            lambda f: population_prevalence(f, SCORE, 0 * WEIGHTS, key=jax.random.key(0)),
            "allowed: finite numbers above 0",
        ),
        (lambda f: population_prevalence(f, [np.nan]), "score: got nan"),
        (lambda f: functions(f, np.zeros((3, 2))), "2 columns; the model was given 1"),
        (lambda f: labeler_functions(f, GRID, [W]), "labelers: got 4; allowed: 0 to 3"),
        (lambda f: sampling_weights(SCORE, [0, 0.5], [10]), "the outer edges"),
        (lambda f: sampling_weights(SCORE, [0, 1, 2], [10, 5]), "none was sampled"),
        (lambda f: sampling_weights(SCORE, [0, 1], [10, 5]), "edges: 2 of them for 2 counts"),
        (lambda f: inclusion_weights([0.5, 0.0]), "probability: got 0.0 at row 1"),
    ],
)
def test_what_cannot_be_aggregated_is_refused(found, call, message):
    with pytest.raises(LabelError, match=message):
        call(found[1])


def test_new_instances_of_the_same_labelers_can_be_judged(found):
    _, result = found
    new = Labels.from_arrays([0, 3], [0, 1], [1, 1], n_labelers=W)
    p = item_posteriors(result, new, [0.3, 0.3])
    assert p[0] > p[1] > float(jnp.asarray(calibrate(result, [0.3]).mean)[0]) - 1e-6


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("n", [300, 30_000])
def test_inputs_that_are_alike_stand_for_all(n, columns):
    """Sums of a smooth function over groups are those over inputs: exactly where inputs repeat, to 1e-5 where they are
    too many; weights of a group, and of their squares, are kept."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (n, columns))
    x = x.round(1) if n == 300 else x
    cell, weights = rng.integers(-1, 3, n), rng.exponential(size=n)
    at, cells, total, square = _alike(x, cell, weights)
    assert len(at) < n and np.isclose(square.sum(), (weights**2).sum())
    of = lambda x: 1 / (1 + np.exp(2 - 3 * x.sum(1)))  # noqa: E731
    for c in range(-1, 3):
        mine, exact = cells == c, weights[cell == c] @ of(x[cell == c])
        assert total[mine] @ of(at[mine]) == pytest.approx(exact, rel=1e-12 if n == 300 else 1e-4)


def test_a_bootstrap_of_groups_is_that_of_their_inputs(found):
    """Σ ω ε π / Σ ω ε with ε ~ Exp(1) by the input: its mean and its spread over draws, of 1000 inputs, ten scores."""
    rng = np.random.default_rng(1)
    scores, weights = rng.choice(np.linspace(0.05, 0.95, 10), 1000), np.where(rng.random(1000) < 0.1, 20.0, 1.0)
    fit = found[1]
    many = np.concatenate([prevalence_draws(fit, scores, weights, key=jax.random.key(k)) for k in range(8)])
    pi = np.asarray(function_draws(fit, scores).prevalence)
    own = rng.exponential(size=(8 * len(pi), 1000)) * weights
    by_hand = (own * np.tile(pi, (8, 1))).sum(1) / own.sum(1)
    assert many.mean() == pytest.approx(by_hand.mean(), abs=4 * by_hand.std() / np.sqrt(len(by_hand) / 8))
    assert many.std() == pytest.approx(by_hand.std(), rel=0.1)
