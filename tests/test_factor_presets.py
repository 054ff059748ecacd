"""Each named model equals an independent dense implementation at the maximum of its posterior density."""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from jax.flatten_util import ravel_pytree
from scipy.special import expit

from crowdjax.factor import PRESETS, FactorConfig, Features, Solver, build, fit_jit
from crowdjax.labels import Labels
from crowdjax.optimize import CONVERGED, STALLED

W, I = 8, 40
SIZES = dict(n_labelers=W, n_instances=I)
TRIPLES, TRUTH = oracles.simulate(31, W, I, 0.6)
WEIGHT = np.random.default_rng(32).choice([0.5, 1.0, 2.0], len(TRUTH[TRIPLES["instance"]]))
EXACT = Solver(rtol=1e-15, max_steps=1000)


def crowd(weighted=True):
    weight = WEIGHT if weighted else None
    table = oracles.Crowd.of(**TRIPLES, weight=weight, shape=(W, I))
    return Labels.from_arrays(**TRIPLES, **SIZES, weight=weight), table


def flat(weights) -> np.ndarray:
    return np.asarray(ravel_pytree(weights)[0], np.float64)


def test_majority_is_the_weighted_vote(x64):
    """With s = 1 throughout logit p = Σ c L: more than half of the weight decides, a tie is one half."""
    labels, table = crowd()
    found = fit_jit(labels, build(PRESETS["majority"], labels), jax.random.key(0), EXACT, None)
    np.testing.assert_allclose(found.posterior, expit((table.plus - table.minus).sum(0)), rtol=1e-12)
    value, _ = oracles.preset("majority", W, I).negative(table, flat(found.weights))
    np.testing.assert_allclose(found.objective, -value, rtol=1e-12)
    assert found.code == CONVERGED


@pytest.mark.parametrize("name", ["one-coin", "dawid-skene", "glad", "glad-linear", "factor"])
def test_preset_equals_scipy_at_the_maximum(x64, name):
    """Posteriors to 1e-6, the objective to 1e-6 and far better, from an independent start at the majority vote."""
    labels, table = crowd()
    found = fit_jit(labels, build(PRESETS[name], labels), jax.random.key(0), EXACT, None)
    spec = oracles.preset(name, W, I)
    weights, objective, posterior = spec.maximum(table)
    assert found.code in (CONVERGED, STALLED)
    np.testing.assert_allclose(found.objective, objective, rtol=1e-9)
    np.testing.assert_allclose(found.posterior, posterior, atol=1e-6)
    np.testing.assert_allclose(flat(found.weights), weights, atol=1e-4)
    np.testing.assert_allclose(found.log_likelihood, oracles.pass_over(table, *spec.factors(weights))[0], rtol=1e-6)


def test_glad_by_default_settings_is_within_a_millionth_of_scipy():
    """In float32 and with the default stopping rule, as users run it."""
    labels, table = crowd(weighted=False)
    found = fit_jit(labels, build(PRESETS["glad"], labels), jax.random.key(0))
    objective = oracles.preset("glad", W, I).maximum(table)[1]
    np.testing.assert_allclose(found.objective, objective, rtol=1e-6)


def test_two_factors_end_at_a_maximum_of_the_dense_objective(x64):
    """Several maxima exist, so the fit is held to the first- and second-order conditions at its own end."""
    labels, table = crowd()
    config = FactorConfig(n_factors=2)
    found = fit_jit(labels, build(config, labels), jax.random.key(1), EXACT, None)
    spec, x = oracles.preset("factor", W, I, n_factors=2), flat(found.weights)
    value, gradient = spec.negative(table, x)
    np.testing.assert_allclose(found.objective, -value, rtol=1e-12)
    np.testing.assert_allclose(gradient, 0, atol=1e-4)
    _, polished, posterior = spec.maximum(table, x)  # raises where the curvature is not that of a maximum
    np.testing.assert_allclose(found.objective, polished, rtol=1e-9)
    np.testing.assert_allclose(found.posterior, posterior, atol=1e-6)


def test_flat_priors_give_the_classical_maximum_likelihood_dawid_skene(x64):
    """The paper's section 2.3: with β = 1 and a bias it is the two-coin model, here by textbook EM."""
    labels, table = crowd()
    config = FactorConfig(labeler=(1.0, np.inf), instance=(1.0, 0.0), bias=(0.0, np.inf))
    found = fit_jit(labels, build(config, labels), jax.random.key(0), EXACT, None)
    posterior, sensitivity, specificity, evidence = oracles.dawid_skene_em(table, oracles.majority(table))
    np.testing.assert_allclose(found.log_likelihood, evidence, rtol=1e-9)
    np.testing.assert_allclose(found.objective, evidence, rtol=1e-9)
    np.testing.assert_allclose(found.posterior, posterior, atol=1e-6)
    alpha, gamma = found.weights.labeler.free[:, 0], found.weights.bias.free[:, 0]
    np.testing.assert_allclose(expit(alpha + gamma), sensitivity, atol=1e-5)
    np.testing.assert_allclose(expit(alpha - gamma), specificity, atol=1e-5)


def test_table_of_specialists_and_generalists(x64):
    """Section 2.1: .95 and .70 for the specialist, .80 twice for the generalist, to 1e-3."""
    labels = Labels.from_arrays([0, 1], [0, 1], [1, 1])
    model = build(FactorConfig(n_factors=2, bias=None), labels)
    weights = model.full(model.mean)._replace(
        labeler=model.labeler.like(None, jnp.array([[0.848, 1.0], [1.386, 0.0]]), 2),
        instance=model.instance.like(None, jnp.array([[1.0, 2.094], [1.0, 0.0]]), 2),
    )
    f = model.factors(weights)
    np.testing.assert_allclose(expit(f.alpha @ f.beta.T), [[0.95, 0.70], [0.80, 0.80]], atol=1e-3)


def test_features_equal_their_matrix(x64):
    """Identity parts are never stored: Φ W, Φᵀ v and Φ²ᵀ v equal those of the matrix [X, I]."""
    rng = np.random.default_rng(33)
    x, w, v = rng.normal(size=(9, 3)), rng.normal(size=(12, 2)), rng.normal(size=(9, 2))
    both, dense = Features.columns(x, identity=True), np.c_[x, np.eye(9)]
    parts = type(both.transpose(v))(jnp.asarray(w[:3]), jnp.asarray(w[3:]))
    np.testing.assert_allclose(both.apply(parts), dense @ w, rtol=1e-12)
    np.testing.assert_allclose(np.concatenate(both.transpose(jnp.asarray(v))), dense.T @ v, rtol=1e-12)
    np.testing.assert_allclose(np.concatenate(both.squared().transpose(jnp.asarray(v))), (dense**2).T @ v, rtol=1e-12)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (dict(n_factors=0), ["n_factors", "0", "1 or more"]),
        (dict(n_factors=1.5), ["n_factors", "1.5", "1 or more"]),
        (dict(labeler=(1.0, -1.0)), ["labeler", "-1.0", "0 (fixed) or more"]),
        (dict(instance=(1.0, float("nan"))), ["instance", "nan"]),
        (dict(bias=(float("nan"), 1.0)), ["bias", "nan"]),
        (dict(further=-1.0), ["further", "-1.0"]),
        (dict(features=float("nan")), ["features", "nan"]),
        (dict(deviation=-0.1), ["deviation", "-0.1"]),
        (dict(link="logit"), ["link", "'logit'", "linear, exp"]),
        (dict(class_prior=0.0), ["class_prior", "0.0", "from 1e-09 to 1 - 1e-09"]),
        (dict(class_prior=1.0), ["class_prior", "1.0", "from 1e-09 to 1 - 1e-09"]),
        (dict(class_prior="learned"), ["class_prior", "learned", "learn, logistic"]),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(change, names):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is what is tested
        FactorConfig(**change)
    assert all(name in str(caught.value) for name in names), str(caught.value)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (dict(method="newton"), ["method", "'newton'", "lbfgs, em-cg, em-bound"]),
        (dict(restarts=0), ["restarts", "0"]),
        (dict(max_steps=0), ["max_steps", "0"]),
        (dict(rtol=-1.0), ["rtol", "-1.0"]),
    ],
)
def test_a_solver_that_makes_no_sense_is_refused(change, names):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        Solver(**change)
    assert all(name in str(caught.value) for name in names), str(caught.value)


def test_a_logistic_class_prior_needs_features():
    labels, _ = crowd()
    with pytest.raises(ValueError, match="logistic needs instance features"):
        build(FactorConfig(class_prior="logistic"), labels)


@pytest.mark.parametrize("side", ["labeler_features", "instance_features"])
@pytest.mark.parametrize("bad", ["rows", "nan", "shape", "text"])
def test_features_that_do_not_fit_are_refused(side, bad):
    labels, _ = crowd()
    n = W if side == "labeler_features" else I
    table = {
        "rows": np.zeros((n - 1, 2)), "nan": np.full((n, 2), np.nan), "shape": np.zeros(n), "text": np.full((n, 2), "a")
    }[bad]  # fmt: skip
    with pytest.raises(ValueError, match="features"):
        build(FactorConfig(), labels, **{side: table})
