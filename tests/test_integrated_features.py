"""Features in the integrated model: integrals by SciPy, least squares, weights that come back, and none that cost."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import expit, log_expit
from scipy.stats import norm

import crowdjax
from crowdjax import integrated_api, io
from crowdjax.facade.fit import read_features, taken
from crowdjax.integrated import (
    Features,
    IntegratedConfig,
    Parameters,
    around,
    centers,
    fit_jit,
    grid_pass,
    of_instances,
    of_labelers,
    positives,
    share_of_positives,
)
from crowdjax.integrated.draws import Draws
from crowdjax.integrated.fit import cluster_weights, log_population, regress
from crowdjax.integrated.kernels import missing_information
from crowdjax.integrated.model import FEATURE_SD
from crowdjax.labels import LabelIndex, Labels

RHO, PRIOR = 0.6, 0.4
CONFIG = IntegratedConfig(spread=RHO, class_prior=PRIOR)


def crowd(seed: int, n_labelers=40, n_instances=300, density=0.3, w=(0.4, 0.0), m=((0.4, 0.0), (0.0, 0.3))):
    """(labels, features, truth, labelers) drawn from the model with c = 0; absent labels have weight 0."""
    rng = np.random.default_rng(seed)
    f, g = rng.normal(size=(n_instances, len(w))), rng.normal(size=(n_labelers, len(m)))
    labelers = [1.2, 0.2] + g @ np.array(m) + rng.normal(size=(n_labelers, 2)) * [0.4, 0.5]
    z = rng.choice([-1, 1], n_instances)
    x = z * (1 + f @ np.array(w)) + RHO * rng.normal(size=n_instances)
    i, j = (v.ravel() for v in np.indices((n_labelers, n_instances)))
    given = rng.random(len(i)) < density
    label = rng.random(len(i)) < expit(labelers[i, 0] * x[j] + labelers[i, 1])
    return Labels.from_arrays(i, j, label, weight=given), Features(g, f), z, labelers


def parameters(labelers, w, prior=PRIOR) -> Parameters:
    logit = np.log(prior / (1 - prior))
    parts = labelers, np.array([1.0, 0.0]), np.eye(2), np.float64(RHO), np.float64(logit), None, np.array(w)
    return Parameters(*(None if v is None else jnp.asarray(v) for v in parts))


pass_jit = jax.jit(grid_pass, static_argnums=2)
SMALL, _, _, LABELERS = crowd(0, 5, 7, 0.8)
OF_INSTANCES = Features(instance=np.c_[np.linspace(-1.2, 1.2, 7), np.sin(np.arange(7))])
W = (-0.9, 0.2)
SIGNED = 1 + OF_INSTANCES.instance @ np.array(W)
M = abs(SIGNED)


def test_some_clusters_are_far_and_one_has_changed_sides():
    assert 2 < M.max() < 2.5 and -0.5 < SIGNED.min() < -0.1


def integral(j: int, of=lambda x, plus: 1.0) -> float:
    """∫ Σ_z of(x, P(z = 1 | x)) p(x) Π p(L_ij | x) dx of one instance."""
    mine = (np.asarray(SMALL.instance) == j) & (np.asarray(SMALL.weight) > 0)
    labelers, label = LABELERS[SMALL.labeler[mine]], SMALL.sign[mine]

    def integrand(x):
        plus, minus = PRIOR * norm.pdf(x, M[j], RHO), (1 - PRIOR) * norm.pdf(x, -M[j], RHO)
        likelihood = np.exp(log_expit(label * (labelers @ [x, 1.0])).sum())
        return of(x, plus / (plus + minus)) * (plus + minus) * likelihood

    return quad(integrand, -8, 8, epsabs=1e-13, epsrel=1e-11, limit=200)[0]


def mean(j: int, of) -> float:
    return integral(j, of) / integral(j)


def test_a_pass_is_integrals_over_each_instances_own_prior(x64):
    given = parameters(LABELERS, W)
    m = centers(given, OF_INSTANCES)
    np.testing.assert_allclose(m, M)
    found = pass_jit(SMALL, given, CONFIG, center=m)
    np.testing.assert_allclose(found.evidence, sum(np.log(integral(j)) for j in range(7)), rtol=1e-6)
    np.testing.assert_allclose(found.positive, [mean(j, lambda x, p: p) for j in range(7)], atol=1e-6)
    aligned = [mean(j, lambda x, p: x * (2 * p - 1)) for j in range(7)]
    np.testing.assert_allclose(found.aligned, aligned, atol=1e-6)


def test_answers_are_integrals_over_each_instances_own_prior(x64):
    given, boundary = parameters(LABELERS, W), around(jnp.asarray(0.0))
    found = of_instances(SMALL, given, CONFIG, boundary, OF_INSTANCES)
    positive = np.array([mean(j, lambda x, p: p) for j in range(7)])
    np.testing.assert_allclose(found.probability, positive, atol=1e-6)
    np.testing.assert_allclose(found.mean, [mean(j, lambda x, p: x) for j in range(7)], atol=1e-6)
    fitted = dataclasses.replace(fit_jit(SMALL, CONFIG, features=OF_INSTANCES), parameters=given)
    share = share_of_positives(SMALL, fitted, CONFIG, boundary, OF_INSTANCES)
    np.testing.assert_allclose(share.mean, positive.mean(), atol=1e-5)
    np.testing.assert_allclose(positives(SMALL, given, CONFIG, jnp.zeros(1), jnp.asarray(M))[:, 0], positive, atol=1e-6)


def test_weights_of_zero_are_no_features(x64):
    given = parameters(LABELERS, (0.0, 0.0))
    m = centers(given, OF_INSTANCES)
    with_, without = pass_jit(SMALL, given, CONFIG, center=m), pass_jit(SMALL, given, CONFIG)
    for a, b in zip(with_[:3], without[:3], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)
    missing = jax.jit(missing_information, static_argnums=2)
    np.testing.assert_allclose(*(missing(SMALL, given, CONFIG, c) for c in (m, None)), rtol=1e-10, atol=1e-14)
    boundary = around(jnp.asarray(0.4))
    with_, without = (of_instances(SMALL, given, CONFIG, boundary, f) for f in (OF_INSTANCES, Features()))
    np.testing.assert_allclose(with_.probability, without.probability, rtol=1e-10)


def test_the_regression_of_labelers_is_at_its_mode(x64):
    """The gradient of the log density of labelers and weights is 0 in μ and M."""
    _, features, _, labelers = crowd(2)
    covariance = jnp.array([[0.3, 0.1], [0.1, 0.5]])
    given = parameters(labelers, W)._replace(covariance=covariance, labeler_weights=jnp.zeros((2, 2)))
    seen = jnp.ones(len(labelers)).at[:3].set(0)
    given = jax.jit(regress, static_argnums=4)(given, seen, jnp.linalg.inv(covariance), features, CONFIG)

    @jax.jit
    @jax.grad
    def gradient(weights):
        at = given._replace(mean=weights[0], labeler_weights=weights[1:])
        counts = jnp.ones((len(labelers), 2, 1)) * seen[:, None, None]
        return log_population(at, jnp.tile(covariance, (len(labelers), 1, 1)), counts, CONFIG, features)

    at = jnp.concatenate([given.mean[None], given.labeler_weights])
    np.testing.assert_allclose(gradient(at), 0, atol=1e-9)
    assert abs(gradient(at + 0.01)).max() > 0.1


def test_the_weights_of_instances_end_at_a_maximum_of_the_evidence_and_come_back(x64):
    """Labelers known, π = ½: the gradient of log p(L | w) + log p(w) is 0; the mean of 8 crowds is within three of its
    standard errors."""
    found = []
    for seed in range(8):
        labels, features, _, labelers = crowd(seed)
        features = features._replace(labeler=None)
        w, gradient = climb(labels, features, jnp.asarray(labelers))
        np.testing.assert_allclose(gradient, 0, atol=2e-3)  # of a curvature of some hundreds
        found.append(np.asarray(w))
    error = np.std(found, axis=0, ddof=1) / np.sqrt(len(found))
    assert (error < 0.05).all()
    assert (abs(np.mean(found, axis=0) - [0.4, 0]) < 3 * error).all()


@jax.jit
def climb(labels, features, labelers):
    """(w after 60 EM steps at given labelers, the gradient there)."""
    given, config = parameters(labelers, (0.0, 0.0), 0.5), IntegratedConfig(spread=RHO)

    def step(given, _):
        e = grid_pass(labels, given, config, center=centers(given, features))
        return cluster_weights(given, labels, e.aligned, features), None

    given, _ = jax.lax.scan(step, given, length=60)

    def value(w):
        at = given._replace(instance_weights=w)
        return grid_pass(labels, at, config, center=centers(at, features)).evidence - 0.5 * (w @ w) / FEATURE_SD**2

    return given.instance_weights, jax.grad(value)(given.instance_weights)


WHOLE = crowd(4)


@pytest.fixture(scope="module")
def fitted():
    """The facade's result on a crowd, its tables, and truth."""
    labels, features, z, _ = WHOLE
    table = pd.DataFrame({k: np.asarray(getattr(labels, k)) for k in ("labeler", "instance", "label", "weight")})
    described = {}
    for side in ("labeler", "instance"):
        values = pd.DataFrame(getattr(features, side)).add_prefix("f")
        described[f"{side}_features"] = values.assign(**{side: range(len(values))}, one=1.0)
    return table, described, z, crowdjax.fit(table, "integrated", boundary="gap", **described)


def test_what_features_say_of_labelers_comes_back(fitted):
    """Within three standard errors of a regression of 40 α with noise .4, doubled because α has to be learned."""
    *_, result = fitted
    weights = np.array(list(result.record["population"]["labeler_weights"].values()))
    np.testing.assert_allclose(weights, [[0.4, 0], [0, 0.3]], atol=2 * 3 * 0.4 / np.sqrt(40))
    assert weights[0, 0] > 0.15


def test_labelers_are_judged_on_all_instances(fitted):
    """Sensitivity is the average over 300 instances, of which 200 quantiles are told, of σ(α x + γ) where z = 1; here
    of labelers at their modes, with the boundary at 0. The facade's is the posterior's mean, within a fifth of its
    standard deviation."""
    *_, result = fitted
    given, features = result.fit.parameters, WHOLE[1].instance
    scaled = (features - features.mean(0)) / features.std(0)
    m, x = abs(1 + scaled @ np.asarray(given.instance_weights)), np.linspace(-8, 8, 801)
    density = norm.pdf(x, m[:, None], float(given.spread)).mean(0)
    yes = expit(np.asarray(given.labelers) @ np.stack([x, np.ones_like(x)]))
    expected = yes @ density / density.sum()
    one = np.ones((1, len(expected)))
    at_modes = Draws(given.labelers[None], one, given.spread[None], given.prior_logit[None])
    nowhere = (around(jnp.array(0.0)), Features(instance=scaled))
    found = of_labelers(result.fit, result.config, *nowhere, draws=at_modes, doubt=0.0)
    np.testing.assert_allclose(found.sensitivity.mean, expected, atol=2e-3)
    told = result.labelers
    sd = (told["sensitivity_upper"] - told["sensitivity_lower"]).to_numpy() / (2 * 1.96)
    assert (abs(told["sensitivity"].to_numpy() - expected) / sd).max() < 0.2
    alike = of_labelers(result.fit, result.config, nowhere[0], draws=at_modes, doubt=0.0)  # were all equally clear
    assert (abs(alike.sensitivity.mean - expected) / sd).max() > 0.4


def test_the_facade_saves_and_predicts_with_features(fitted, tmp_path):
    table, described, z, result = fitted
    weights = result.record["population"]["instance_weights"]
    assert weights["f0"] > abs(weights["f1"]) and set(weights) == {"f0", "f1"}
    assert any("Constant instance features were left out: one" in w for w in result.warnings)
    result.save(tmp_path / "out")
    loaded = crowdjax.load(tmp_path / "out")
    for r in (result, loaded):
        again = r.predict(table, instance_features=described["instance_features"]).instances["probability"]
        np.testing.assert_allclose(again, result.instances["probability"], atol=1e-6)
    positives = result.record["positives"]
    assert positives["lower"] < (z > 0).mean() < positives["upper"]


def test_what_is_new_is_what_its_features_say(fitted):
    """A new labeler whose features say that it is able counts for more; a clear instance is surer."""
    *_, result = fitted
    rows = lambda side, f0: {side: [900, 901], "f0": f0, "f1": [0.0, 0.0]}  # noqa: E731

    def p(labelers, able, clear):
        new = {"labeler": labelers, "instance": [900, 901], "label": [1, 1]}
        found = result.predict(new, labeler_features=rows("labeler", able), instance_features=rows("instance", clear))
        return list(found.instances["probability"])

    dull, able = p([900, 901], [-2.0, 2.0], [0.0, 0.0])
    assert able > dull + 0.05
    vague, clear = p([900, 900], [2.0, 2.0], [-2.0, 2.0])
    assert clear > vague + 0.05


@pytest.mark.parametrize("side", ["labeler", "instance"])
def test_features_that_are_needed_are_asked_for(fitted, side):
    table, described, _, result = fitted
    given = {k: v for k, v in described.items() if not k.startswith(side)}
    other = {} if side == "labeler" else {"labeler_features": {"labeler": [900], "f0": [0.0], "f1": [0.0]}}
    with pytest.raises(crowdjax.InputError, match=f"{side} features: none given, but the fit used f0, f1"):
        result.predict(table.assign(labeler=900), **given | other)


def test_useless_features_cost_nothing_that_shows(fitted):
    """Four features of noise beside none (columns of 0, whose weights are 0): NLL and accuracy of the answers."""
    labels, _, z, _ = crowd(5, w=(0.0, 0.0), m=((0.0, 0.0), (0.0, 0.0)))
    rng, config, boundary = np.random.default_rng(5), IntegratedConfig(), around(jnp.zeros(()))
    noise = Features(rng.normal(size=(40, 2)), rng.normal(size=(300, 2)))
    nll, right = [], []
    for features in (noise, Features(*(0 * v for v in noise))):
        given = fit_jit(labels, config, 0.0, features).parameters
        p = np.asarray(of_instances(labels, given, config, boundary, features).probability, float)
        nll.append(-np.log(np.where(z > 0, p, 1 - p)).mean())
        right.append(((p > 0.5) == (z > 0)).mean())
    assert not np.asarray(given.instance_weights).any() and not np.asarray(given.labeler_weights).any()
    assert nll[0] < nll[1] + 0.01 and right[0] >= right[1] - 0.01


def test_features_of_instances_that_are_all_alike_are_left_out():
    index = LabelIndex(np.arange(3), np.arange(3))
    tables = {f"{side}_features": {side: [0, 1, 2], "f": [0.0, 1.0, 2.0]} for side in ("labeler", "instance")}
    given = io.open_tables(None, **tables)[1]
    left_out = integrated_api.unused(IntegratedConfig(spread=0.0))
    found, scaling, said = taken(read_features(index, given), left_out)
    assert list(found) == list(scaling) == ["labeler"]
    assert said == ["The instance features were left out: all instances are equally clear."]
