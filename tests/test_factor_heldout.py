"""Held-out labels: their likelihood against dense NumPy, and the number of factors that they choose."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

import crowdjax
from crowdjax import factor
from crowdjax.factor import (
    PRESETS,
    Factors,
    HeldOut,
    Solver,
    build,
    choose_factors,
    fit_jit,
    folds,
    label_log_likelihood,
    with_count,
)
from crowdjax.factor.heldout import _candidate, _compare
from crowdjax.labels import Labels

W, I = 30, 200
TRIPLE = ("labeler", "instance", "label")
SOLVER = Solver(restarts=2, rtol=1e-6)


def crowd(n_factors: int, seed: int = 0) -> Labels:
    """All labels of a crowd of 0 factors (instances all alike), 1 or 2."""
    rng = np.random.default_rng([n_factors, seed])
    d = max(n_factors, 1)
    alpha = np.c_[rng.normal(1.2, 0.6, W), rng.normal(0, 1.2, (W, d - 1))]
    beta = np.c_[rng.normal(1, 1, I) if n_factors else np.ones(I), rng.normal(0, 1.2, (I, d - 1))]
    truth = rng.choice([-1, 1], I)
    p = expit(truth * (alpha @ beta.T) + rng.normal(0, 0.5, (W, 1)))
    labeler, instance = np.divmod(np.arange(W * I), I)
    return Labels.from_arrays(labeler, instance, (rng.random((W, I)) < p).ravel())


def dense(labels: Labels, alpha, beta, gamma, p) -> np.ndarray:
    """log Σ_z p(z) σ(L (z α·β + γ)) label by label."""
    out = []
    for i, j, y in zip(labels.labeler, labels.instance, labels.sign, strict=True):
        s = alpha[i] @ beta[j]
        out.append(np.log(p[j] * expit(y * (gamma[i] + s)) + (1 - p[j]) * expit(y * (gamma[i] - s))))
    return np.array(out)


def test_a_label_is_scored_by_its_predictive_probability():
    rng = np.random.default_rng(0)
    labels = Labels.from_arrays(rng.integers(0, 4, 30), rng.integers(0, 6, 30), rng.integers(0, 2, 30))
    alpha, beta, gamma, p = rng.normal(size=(4, 2)), rng.normal(size=(6, 2)), rng.normal(size=4), rng.uniform(size=6)
    factors = Factors(*map(jnp.asarray, (alpha, beta, gamma)), None)
    np.testing.assert_allclose(
        label_log_likelihood(labels, factors, p), dense(labels, alpha, beta, gamma, p), rtol=1e-5
    )


def test_folds_are_of_one_size_and_keep_repeated_judgements_together():
    rng = np.random.default_rng(0)
    labels = Labels.from_arrays(rng.integers(0, 5, 300), rng.integers(0, 20, 300), rng.integers(0, 2, 300))
    found = folds(labels, 4)
    pairs = {}
    for pair, fold in zip(zip(labels.labeler, labels.instance, strict=True), found, strict=True):
        assert pairs.setdefault(pair, fold) == fold
    assert len(pairs) < 300
    sizes = np.bincount(list(pairs.values()), minlength=4)
    assert sizes.max() - sizes.min() <= 1


@pytest.mark.slow
def test_the_table_is_that_of_fits_one_by_one_and_a_dense_sum():
    """Fits to the other folds by ``fit_jit``, the best of the restarts; their predictions in NumPy."""
    labels, key = crowd(1), jax.random.key(3)
    found = choose_factors(labels, key=key, solver=SOLVER)
    fold, by_instance = folds(labels), {}
    for n in (0, 2):
        model = build(with_count(PRESETS["factor"], n), labels)
        total = np.zeros(I)
        for f in range(5):
            training = labels.with_weight(jnp.asarray((fold != f) * 1.0))
            fit = fit_jit(training, model, jax.random.fold_in(key, f), SOLVER)
            parts = model.factors(fit.weights)
            beta = np.broadcast_to(parts.beta, (I, parts.beta.shape[1]))
            held = dataclasses.replace(labels, **{k: getattr(labels, k)[fold == f] for k in TRIPLE})
            score = dense(held, np.asarray(parts.alpha), beta, np.asarray(parts.gamma), np.asarray(fit.posterior))
            np.add.at(total, held.instance, score)
        by_instance[n] = total
        assert found.log_likelihood[n] == pytest.approx(total.sum() / (W * I), abs=2e-4)
    gap = _compare((0, 2), np.stack([by_instance[0], by_instance[2]]), W * I)
    spread = np.sqrt(I * np.var(by_instance[0] - by_instance[2], ddof=1)) / (W * I)
    assert gap.standard_error.max() == pytest.approx(spread)


@pytest.mark.parametrize(
    ("difference", "chosen"),
    [(-0.9, 0), (-1.1, 1)],  # in standard errors
)
def test_fewer_factors_are_kept_within_one_standard_error(difference, chosen):
    rng = np.random.default_rng(0)
    gap = rng.normal(size=50)
    gap = (gap - gap.mean()) / gap.std(ddof=1) / np.sqrt(
        50
    ) + difference / 50  # its sum has this mean, standard error 1
    best = rng.normal(size=50)
    assert _compare((0, 1), np.stack([best + gap, best]), 100.0).chosen == chosen


@pytest.mark.slow
@pytest.mark.parametrize("n_factors", [0, 1, 2])
def test_the_number_of_factors_is_recovered_every_time_the_same(n_factors):
    labels = crowd(n_factors)
    found, again = (choose_factors(labels, solver=SOLVER) for _ in range(2))
    assert found.chosen == n_factors
    np.testing.assert_array_equal(found.log_likelihood, again.log_likelihood)
    others = np.array(found.n_factors) != n_factors
    assert (found.difference[others] < -2 * found.standard_error[others]).all()


@pytest.mark.slow
@pytest.mark.parametrize("deviation", [0.0, 0.5])
def test_no_factors_are_no_difference_between_instances_with_features_too(deviation):
    """β is 1 and no weight of an instance can move, in the arrays of a model with features."""
    labels = crowd(0)
    config = dataclasses.replace(PRESETS["factor"], deviation=deviation)
    columns = {"instance_features": np.random.default_rng(0).normal(size=(I, 2))}
    none, three = (_candidate(config, n, 3, labels, columns) for n in (0, 3))
    assert jax.tree.map(jnp.shape, none.full(none.mean)) == jax.tree.map(jnp.shape, three.full(three.mean))
    np.testing.assert_allclose(none.factors(none.full(none.mean)).beta, np.tile([1.0, 0, 0], (I, 1)))
    assert not any(np.any(v) for v in jax.tree.leaves(none.variance.instance))
    variance = build(PRESETS["dawid-skene"], labels).variance
    np.testing.assert_array_equal(none.variance.labeler.free[:, :1], variance.labeler.free)


def test_the_facade_fits_what_was_chosen_and_says_so(tmp_path, monkeypatch):
    found = HeldOut((0, 1), np.array([-0.5, -0.6]), np.array([0.0, -0.1]), np.array([0.0, 0.02]), 0)
    monkeypatch.setattr(factor, "choose_factors", lambda *_, **__: found)
    labels = crowd(0)
    table = {k: np.asarray(getattr(labels, k)) for k in TRIPLE}
    features = {"instance": np.arange(I), "x": np.arange(I)}
    result = crowdjax.fit(table, "factor", factors="auto", instance_features=features)
    plain = crowdjax.fit(table, "dawid-skene", class_prior=0.5)
    # Two programs of one model: sums of 32 bits in another order.
    np.testing.assert_allclose(result.instances["probability"], plain.instances["probability"], atol=1e-6)
    record = result.record["factors"]
    assert record["chosen"] == result.record["n_factors"] == 0
    assert record["heldout"][1] == {"n_factors": 1, "log_likelihood": -0.6, "difference": -0.1, "standard_error": 0.02}
    assert "not the decision boundary" in record["says"]
    assert any("Held-out labels chose 0 factors" in sentence for sentence in result.warnings)
    assert any("instance features were left out" in sentence for sentence in result.warnings)
    result.save(tmp_path / "out")
    assert crowdjax.load(tmp_path / "out").record["factors"] == record


def test_what_auto_cannot_be_combined_with_is_refused():
    table = {"labeler": [0, 1] * 4, "instance": np.repeat(np.arange(4), 2), "label": [1, 0] * 4}
    for settings, message in (
        ({"start": "an earlier result"}, "start: given with factors 'auto'"),
        ({"model": PRESETS["factor"]}, "factors: got 'auto' with a configuration"),
        ({"model": "auto"}, "factors: got 'auto' with model auto"),
    ):
        with pytest.raises(crowdjax.InputError, match=message):
            crowdjax.fit(table, **{"model": "factor", "factors": "auto", **settings})
