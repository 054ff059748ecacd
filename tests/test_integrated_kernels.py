"""The integrated model's passes against integrals by scipy and dense sums in NumPy, in 64-bit floats."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import expit, log_expit, logsumexp
from scipy.stats import norm

from crowdjax.factor import Factors, evidence
from crowdjax.integrated import IntegratedConfig, Parameters, expectations, grid_pass, positives
from crowdjax.integrated.kernels import axis_information, missing_information
from crowdjax.labels import InputError, Labels

pytestmark = pytest.mark.usefixtures("x64")

W, I, RHO, PRIOR = 5, 7, 0.7, 0.3
RNG = np.random.default_rng(1)
LABELERS = np.c_[RNG.normal(1.2, 0.8, W), RNG.normal(0, 0.7, W)]
LABELER, INSTANCE = (v.ravel() for v in np.meshgrid(range(W), range(I), indexing="ij"))
LABEL = RNG.choice([-1, 1], W * I)
WEIGHT = RNG.uniform(0.5, 2, W * I)
CONFIG = IntegratedConfig(spread=RHO, class_prior=PRIOR)


grid_pass_jit = jax.jit(grid_pass, static_argnums=2)


def parameters() -> Parameters:
    """The crowd above, as 64-bit arrays."""
    logit = np.log(PRIOR / (1 - PRIOR))
    return Parameters(
        *map(jnp.asarray, (LABELERS, np.array([1.0, 0.0]), np.eye(2), np.float64(RHO), np.float64(logit)))
    )


def labels(**options) -> Labels:
    return Labels.from_arrays(LABELER, INSTANCE, LABEL, weight=WEIGHT, **options)


def integral(j: int, of=lambda x: 1.0, components=(-1, 1)) -> float:
    """∫ of(x) p(x) Π p(L_ij | x) dx of one instance, over the given components."""
    mine = j == INSTANCE

    def integrand(x):
        prior = sum((PRIOR if z > 0 else 1 - PRIOR) * norm.pdf(x, z, RHO) for z in components)
        eta = LABELERS[LABELER[mine]] @ [x, 1.0]
        return of(x) * prior * np.exp(WEIGHT[mine] @ log_expit(LABEL[mine] * eta))

    return quad(integrand, -8, 8, epsabs=1e-13, epsrel=1e-11, limit=200)[0]


def dense() -> tuple[np.ndarray, np.ndarray]:
    """(posterior [I, G], points) by sums over every pair."""
    x = CONFIG.nodes
    prior = np.logaddexp(np.log(PRIOR) + norm.logpdf(x, 1, RHO), np.log1p(-PRIOR) + norm.logpdf(x, -1, RHO))
    log = np.tile(prior, (I, 1))
    for i, j, label, c in zip(LABELER, INSTANCE, LABEL, WEIGHT, strict=True):
        log[j] += c * log_expit(label * (LABELERS[i, 0] * x + LABELERS[i, 1]))
    return np.exp(log - logsumexp(log, axis=1, keepdims=True)), x


def test_the_evidence_is_the_integral():
    expected = sum(np.log(integral(j)) for j in range(I))
    np.testing.assert_allclose(grid_pass_jit(labels(), parameters(), CONFIG).evidence, expected, rtol=1e-6)


def test_gold_leaves_the_component_of_its_class():
    gold = np.array([1, -1, np.nan, np.nan, 1, np.nan, -1])
    sides = [(-1, 1) if np.isnan(g) else (int(g),) for g in gold]
    expected = sum(np.log(integral(j, components=sides[j])) for j in range(I))
    found = grid_pass_jit(labels(gold=np.where(gold < 0, 0, gold)), parameters(), CONFIG)
    np.testing.assert_allclose(found.evidence, expected, rtol=1e-6)


def test_expectations_are_ratios_of_integrals():
    functions = [lambda x: x, lambda x: x**2, lambda x: expit(3 * x)]
    values = jnp.stack([jnp.asarray(f(CONFIG.nodes)) for f in functions], 1)
    found = expectations(labels(), parameters(), CONFIG, values)
    expected = [[integral(j, f) / integral(j) for f in functions] for j in range(I)]
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_the_statistics_of_labelers_and_points_are_sums_of_posteriors():
    q, x = dense()
    found = grid_pass_jit(labels(), parameters(), CONFIG)
    expected = np.zeros((W, 2, len(x)))
    for i, j, label, c in zip(LABELER, INSTANCE, LABEL, WEIGHT, strict=True):
        expected[i, int(label > 0)] += c * q[j]
    np.testing.assert_allclose(found.counts, expected, atol=1e-12)
    np.testing.assert_allclose(found.instances, q.sum(0), atol=1e-12)


def test_missing_information_is_the_covariance_of_the_scores():
    q, x = dense()
    expected = np.zeros((W, 2, 2))
    for i, j, label, c in zip(LABELER, INSTANCE, LABEL, WEIGHT, strict=True):
        score = c * label * expit(-label * (LABELERS[i] @ [x, np.ones_like(x)])) * np.array([x, np.ones_like(x)])
        expected[i] += np.cov(score, aweights=q[j], ddof=0)
    np.testing.assert_allclose(missing_information(labels(), parameters(), CONFIG), expected, atol=1e-12)


def test_axis_information_is_the_curvature_of_the_evidence_under_a_moved_population():
    """Second differences of Σ_j log ∫ p(L_j | u) p((u - c) e^-t) e^-t du by sums over fine points."""
    u = np.linspace(-14, 14, 5601)
    given = np.zeros((I, len(u)))
    for i, j, label, c in zip(LABELER, INSTANCE, LABEL, WEIGHT, strict=True):
        given[j] += c * log_expit(label * (LABELERS[i] @ [u, np.ones_like(u)]))

    def evidence(t, c):
        x = (u - c) * np.exp(-t)
        prior = np.logaddexp(np.log(PRIOR) + norm.logpdf(x, 1, RHO), np.log1p(-PRIOR) + norm.logpdf(x, -1, RHO)) - t
        return logsumexp(given + prior, axis=1).sum()

    h = 1e-3
    tt = (evidence(h, 0) - 2 * evidence(0, 0) + evidence(-h, 0)) / h**2
    cc = (evidence(0, h) - 2 * evidence(0, 0) + evidence(0, -h)) / h**2
    tc = (evidence(h, h) - evidence(h, -h) - evidence(-h, h) + evidence(-h, -h)) / (4 * h**2)
    found = axis_information(labels(), parameters(), CONFIG)
    np.testing.assert_allclose(found, -np.array([[tt, tc], [tc, cc]]), atol=2e-4)


def test_positives_are_posteriors_at_every_boundary():
    q, x = dense()
    boundaries = np.array([-0.5, 0.0, 0.8])
    found = positives(labels(), parameters(), CONFIG, jnp.asarray(boundaries))
    p = expit(np.log(PRIOR / (1 - PRIOR)) + 2 * (x[:, None] - boundaries) / RHO**2)
    np.testing.assert_allclose(found, q @ p, rtol=1e-9)


def test_two_points_are_dawid_and_skenes_model():
    config = dataclasses.replace(CONFIG, spread=0.0)
    given = parameters()._replace(spread=jnp.asarray(0.0))
    factors = Factors(
        jnp.asarray(LABELERS[:, :1]), jnp.ones((I, 1)), jnp.asarray(LABELERS[:, 1]), jnp.full(I, given.prior_logit)
    )
    expected = evidence(labels(), factors)
    np.testing.assert_allclose(grid_pass_jit(labels(), given, config).evidence, expected, rtol=1e-12)


def test_whole_weights_are_repeated_rows():
    times = RNG.integers(0, 4, W * I)
    rows = np.repeat(np.arange(W * I), times)
    repeated = Labels.from_arrays(LABELER[rows], INSTANCE[rows], LABEL[rows], n_labelers=W, n_instances=I)
    weighted = Labels.from_arrays(LABELER, INSTANCE, LABEL, weight=times, n_labelers=W, n_instances=I)
    a, b = (grid_pass_jit(v, parameters(), CONFIG) for v in (repeated, weighted))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, atol=1e-12), a, b)


def test_blocks_and_their_padding_change_nothing(monkeypatch):
    n, n_instances = 40_000, 4_001
    i, j, label = RNG.integers(0, W, n), RNG.integers(0, n_instances, n), RNG.choice([-1, 1], n)
    flat, blocks = (Labels.from_arrays(i, j, label, n_instances=n_instances, blocks=b) for b in (False, True))
    assert blocks.n_blocks > 1 and not blocks.real.all()
    a, b = (grid_pass_jit(v, parameters(), CONFIG) for v in (flat, blocks))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-9), a, b)
    values = jnp.asarray(CONFIG.nodes)[:, None]
    a, b = (expectations(v, parameters(), CONFIG, values) for v in (flat, blocks))
    np.testing.assert_allclose(a, b, atol=1e-12)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # as where the device is no CPU
    at_once = grid_pass(blocks, parameters(), CONFIG)
    one_by_one = grid_pass_jit(blocks, parameters(), CONFIG)
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-10, atol=1e-9), at_once, one_by_one)


def test_a_batch_over_weights_is_its_members():
    weights = jnp.asarray(RNG.uniform(0, 2, (3, W * I)))
    given = labels()
    order = np.lexsort((LABEL, LABELER, INSTANCE))
    assert (given.sign == LABEL[order]).all()
    found = jax.vmap(lambda w: grid_pass_jit(given.with_weight(w), parameters(), CONFIG))(weights)
    for k, w in enumerate(weights):
        one = grid_pass_jit(given.with_weight(w), parameters(), CONFIG)
        np.testing.assert_allclose(found.evidence[k], one.evidence, rtol=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"spread": 2.0}, "spread: got 2.0; allowed: learn, 0, or a number from 0.3 to 1.5"),
        ({"class_prior": 1.0}, "class_prior: got 1.0; allowed: a number from 1e-09 to 1 - 1e-09, learn"),
        ({"points": 2}, "points: got 2; allowed: 3 or more"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(InputError, match=message):
        IntegratedConfig(**settings)
