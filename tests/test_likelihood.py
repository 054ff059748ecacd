"""The observation model equals brute force over all truths, in both precisions, tails included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import Crowd, evidence_by_enumeration, finite_differences
from scipy.special import expit, log_expit

from crowdjax import labels as labels_module
from crowdjax import likelihood
from crowdjax.labels import Labels

W, I, N = 4, 6, 26  # 64 truths to enumerate; instance 5 has no labels
RNG = np.random.default_rng(10)
TRIPLES = dict(labeler=RNG.integers(0, W, N), instance=RNG.integers(0, I - 1, N), label=RNG.choice([-1, 1], N))
WEIGHT = RNG.choice([0.0, 0.5, 1.0, 3.0], N)
GOLD = np.array([0, 1, -1, 0, 0, 0])
PI = np.array([0.5, 0.3, 0.9, 0.05, 0.6, 0.2])
S, GAMMA = RNG.normal(size=(W, I)), RNG.normal(size=W)


def crowd(*, weighted=False, gold=False) -> tuple[Labels, Crowd]:
    weight = WEIGHT if weighted else None
    known = np.where(GOLD == 0, np.nan, GOLD) if gold else None
    labels = Labels.from_arrays(**TRIPLES, weight=weight, gold=known, n_labelers=W, n_instances=I)
    return labels, Crowd.of(**TRIPLES, weight=weight, gold=GOLD if gold else None, shape=(W, I))


def at_triples(labels: Labels, s, gamma):
    return jnp.asarray(s)[labels.labeler, labels.instance], jnp.asarray(gamma)[labels.labeler]


@pytest.mark.parametrize("gold", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("scale", [1.0, 10.0, 80.0])
def test_evidence_equals_enumeration_of_all_truths(x64, scale, weighted, gold):
    labels, dense = crowd(weighted=weighted, gold=gold)
    eta = jnp.log(PI / (1 - PI))
    found = likelihood.evidence(labels, *at_triples(labels, scale * S, scale * GAMMA), eta)
    expected = evidence_by_enumeration(dense, scale * S, scale * GAMMA[:, None], PI)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 10.0, 80.0])
def test_evidence_in_float32_keeps_float32_accuracy(scale):
    labels, dense = crowd(weighted=True, gold=True)
    s, gamma = (np.float32(scale * v) for v in (S, GAMMA))
    eta = jnp.log(PI / (1 - PI)).astype(jnp.float32)
    found = likelihood.evidence(labels, *at_triples(labels, s, gamma), eta)
    assert found.dtype == jnp.float32
    expected = evidence_by_enumeration(dense, s, gamma[:, None], PI)
    np.testing.assert_allclose(found, expected, rtol=2e-6)


def test_posterior_is_bayes_rule_by_enumeration(x64):
    labels, dense = crowd(weighted=True)
    plus, minus = likelihood.instance_log_likelihood(labels, *at_triples(labels, S, GAMMA))
    found = likelihood.posterior(plus, minus, jnp.log(PI / (1 - PI)))
    for j in range(I):
        fixed = Crowd(dense.plus, dense.minus, np.eye(I)[j])  # z_j = +1 only
        joint = evidence_by_enumeration(fixed, S, GAMMA[:, None], PI)
        evidence = evidence_by_enumeration(dense, S, GAMMA[:, None], PI)
        np.testing.assert_allclose(found[j], np.exp(joint - evidence), rtol=1e-12)
    np.testing.assert_allclose(found[5], PI[5])  # no labels: the prior


def test_gold_clamps_the_posterior_and_only_there(x64):
    labels, _ = crowd(gold=True)
    plus, minus = likelihood.instance_log_likelihood(labels, *at_triples(labels, S, GAMMA))
    clamped = likelihood.posterior(plus, minus, 0.3, labels.gold)
    free = likelihood.posterior(plus, minus, 0.3)
    np.testing.assert_array_equal(clamped, np.where(GOLD == 0, free, GOLD > 0))


T = np.array([-1e4, -800, -120, -80.0, -20, -1e-3, 0.0, 1e-8, 1, 20, 80, 120, 800, 1e4])


@pytest.mark.parametrize("label", [0, 1])
def test_both_tails_are_exact_in_float32(label):
    """At ±80 (and far beyond) nothing is lost: log σ ≈ t on one side and -e^-t on the other."""
    t32 = T.astype(np.float32)
    found = jax.jit(likelihood.per_triple)(jnp.full(t32.shape, label, jnp.int8), t32, jnp.zeros_like(t32))
    t = (2 * label - 1) * t32.astype(np.float64)
    tiny = np.finfo(np.float32).tiny  # smaller results may be flushed to 0
    for result, expected in [
        (found.log_plus, log_expit(t)),
        (found.log_minus, log_expit(-t)),
        (found.slope_plus, expit(-t)),
        (found.slope_minus, expit(t)),
    ]:
        assert result.dtype == jnp.float32
        np.testing.assert_allclose(result, expected, rtol=1e-6, atol=tiny)


def test_gradients_in_the_tails_are_finite_and_right():
    labels = Labels.from_arrays(np.zeros(len(T), int), np.arange(len(T)), np.ones(len(T)))
    f = lambda s, g: likelihood.evidence(labels, s, g, 0.0)  # noqa: E731
    ds, dg = jax.jit(jax.grad(f, (0, 1)))(T.astype(np.float32), jnp.zeros(len(T), jnp.float32))
    # one label +1, γ = 0: log(½σ(s) + ½σ(-s)) = log ½ whatever s; in γ the slope is p r⁺ + (1-p) r⁻
    np.testing.assert_allclose(ds, 0, atol=1e-6)
    np.testing.assert_allclose(dg, 2 * expit(T) * expit(-T), atol=1e-6)


def test_automatic_derivatives_are_right_at_zero_too(x64):
    """Where weights start at exactly 0 every logit is 0, the kink of |t|."""
    f = lambda t: likelihood.per_triple(jnp.array([1]), t[None], jnp.array([0.0])).log_plus[0]  # noqa: E731
    assert jax.grad(f)(0.0) == 0.5
    assert jax.grad(jax.grad(f))(0.0) == -0.25


def by_hand(labels, s, gamma, eta, p=None):
    t = likelihood.per_triple(labels.label, s, gamma)
    if p is None:
        p = likelihood.posterior(*likelihood.instance_log_likelihood(labels, s, gamma), eta, labels.gold)
    ds, dg = likelihood.gradients(labels.label, t, p[labels.instance])
    return labels.counts * ds, labels.counts * dg


@pytest.mark.parametrize("gold", [False, True])
def test_gradients_equal_automatic_ones_of_the_evidence(x64, gold):
    """Fisher's identity: at the E-step's posterior the gradients of Q are those of the evidence."""
    labels, _ = crowd(weighted=True, gold=gold)
    s, gamma = at_triples(labels, S, GAMMA)
    eta = jnp.log(PI / (1 - PI))
    automatic = jax.grad(lambda s, g: likelihood.evidence(labels, s, g, eta), (0, 1))(s, gamma)
    for found, expected in zip(by_hand(labels, s, gamma, eta), automatic, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14)


def test_gradients_equal_automatic_ones_of_q_at_any_posterior(x64):
    labels, _ = crowd(weighted=True)
    s, gamma = at_triples(labels, S, GAMMA)
    p = jnp.asarray(RNG.random(I))
    automatic = jax.grad(lambda s, g: likelihood.expected_log_likelihood(labels, s, g, 0.4, p), (0, 1))(s, gamma)
    for found, expected in zip(by_hand(labels, s, gamma, 0.4, p), automatic, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14)


def test_gradients_equal_finite_differences_of_the_enumeration(x64):
    labels, dense = crowd(weighted=True, gold=True)
    expected_s = finite_differences(lambda s: evidence_by_enumeration(dense, s, GAMMA[:, None], PI), S)
    expected_g = finite_differences(lambda g: evidence_by_enumeration(dense, S, g[:, None], PI), GAMMA)
    ds, dg = by_hand(labels, *at_triples(labels, S, GAMMA), jnp.log(PI / (1 - PI)))
    found_s, found_g = np.zeros((W, I)), np.zeros(W)
    np.add.at(found_s, (labels.labeler, labels.instance), ds)
    np.add.at(found_g, labels.labeler, dg)
    np.testing.assert_allclose(found_s, expected_s, atol=1e-8)
    np.testing.assert_allclose(found_g, expected_g, atol=1e-8)


def test_gradient_in_the_class_prior(x64):
    labels, dense = crowd(gold=True)
    eta = np.log(PI / (1 - PI))
    found = jax.grad(lambda e: likelihood.evidence(labels, *at_triples(labels, S, GAMMA), e))(jnp.asarray(eta))
    expected = finite_differences(lambda e: evidence_by_enumeration(dense, S, GAMMA[:, None], expit(e)), eta)
    np.testing.assert_allclose(found, expected, atol=1e-8)


def test_expected_log_likelihood_is_a_lower_bound_that_touches_at_the_posterior(x64):
    """Q + entropy(p) <= evidence, with equality at the E-step's posterior."""
    labels, _ = crowd(weighted=True)
    s, gamma = at_triples(labels, S, GAMMA)
    eta = jnp.log(PI / (1 - PI))
    own = likelihood.posterior(*likelihood.instance_log_likelihood(labels, s, gamma), eta)
    bound = lambda p: float(  # noqa: E731
        likelihood.expected_log_likelihood(labels, s, gamma, eta, p) - (p * jnp.log(p) + (1 - p) * jnp.log1p(-p)).sum()
    )
    evidence = float(likelihood.evidence(labels, s, gamma, eta))
    np.testing.assert_allclose(bound(own), evidence, rtol=1e-12)
    assert bound(jnp.full(I, 0.5)) < evidence
    assert bound(0.9 * own + 0.05) < evidence


def test_curvature_is_minus_the_mean_second_derivative(x64):
    label, s, gamma = jnp.array([1, 0, 1]), jnp.array([0.3, -2.0, 4.0]), jnp.array([0.5, 1.0, -3.0])

    def mean_log(g, n):
        t = likelihood.per_triple(label, s, gamma.at[n].set(g))
        return 0.5 * (t.log_plus + t.log_minus)[n]

    expected = [-jax.grad(jax.grad(mean_log))(gamma[n], n) for n in range(3)]
    np.testing.assert_allclose(likelihood.curvature(likelihood.per_triple(label, s, gamma)), expected, rtol=1e-10)


def test_padding_contributes_nothing(x64, monkeypatch):
    monkeypatch.setattr(labels_module, "FLAT_BELOW", 64)
    monkeypatch.setattr(labels_module, "LABELS_PER_BLOCK", 300)
    rng = np.random.default_rng(11)
    instance = np.repeat(np.arange(200), rng.integers(0, 8, 200))
    data = dict(labeler=rng.integers(0, 9, len(instance)), instance=instance, label=rng.integers(0, 2, len(instance)))
    s, gamma = rng.normal(size=(9, 200)), rng.normal(size=9)
    values = []
    for blocks in (True, False):
        labels = Labels.from_arrays(**data, n_labelers=9, n_instances=200, blocks=blocks)
        triple = at_triples(labels, s, gamma)
        f = lambda s, g, labels=labels: likelihood.evidence(labels, s, g, 0.2)  # noqa: E731
        value, (ds, dg) = jax.value_and_grad(f, (0, 1))(*triple)
        real = labels.real
        np.testing.assert_array_equal(ds[~real], 0)
        values.append((value, ds[real], dg[real]))
        padded = (~real).sum()
        assert (padded > 0) == blocks
    for a, b in zip(*values, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


def test_zero_weights_equal_leaving_out_and_whole_weights_equal_repeating(x64):
    whole = 2 * WEIGHT  # 0, 1, 2 or 6
    repeated = {k: np.repeat(v, whole.astype(int)) for k, v in TRIPLES.items()}
    a = Labels.from_arrays(**TRIPLES, weight=whole, n_labelers=W, n_instances=I)
    b = Labels.from_arrays(**repeated, n_labelers=W, n_instances=I)
    np.testing.assert_allclose(
        likelihood.evidence(a, *at_triples(a, S, GAMMA), 0.1), likelihood.evidence(b, *at_triples(b, S, GAMMA), 0.1)
    )


def test_a_batch_by_vmap_equals_one_at_a_time(x64):
    labels, _ = crowd()
    weights = jnp.asarray(RNG.random((3, *labels.label.shape)))
    triple = at_triples(labels, S, GAMMA)
    f = lambda w: likelihood.evidence(labels.with_weight(w), *triple, 0.1)  # noqa: E731
    np.testing.assert_allclose(jax.jit(jax.vmap(f))(weights), [f(w) for w in weights], rtol=1e-12)


probability = st.floats(1e-6, 1 - 1e-6)


@given(probability, probability)
@settings(max_examples=50, deadline=None)
def test_discrimination_and_bias_are_a_bijection_of_sensitivity_and_specificity(sensitivity, specificity):
    with jax.enable_x64(True):
        s, gamma = likelihood.discrimination_bias(sensitivity, specificity)
        back = likelihood.sensitivity_specificity(s, gamma)
    np.testing.assert_allclose(back, [sensitivity, specificity], rtol=1e-9)
    if abs(sensitivity + specificity - 1) > 1e-9:
        assert (float(s) > 0) == (sensitivity + specificity > 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_a_bias_it_is_the_bias_zero_in_half_the_work(x64, dtype):
    label = jnp.asarray(np.resize([1, 0, -1], len(T)), jnp.int8)
    t = jnp.asarray(T, dtype)
    half, whole = likelihood.per_triple(label, t), likelihood.per_triple(label, t, jnp.zeros_like(t))
    for name in likelihood.PerTriple._fields:
        found, expected = getattr(half, name), getattr(whole, name)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=0, atol=4 * np.finfo(dtype).eps * max(1, abs(T).max()))
    program = str(jax.make_jaxpr(lambda t: likelihood.per_triple(label, t))(t))
    assert program.count(" exp ") == 1


def test_log1p_in_float32_has_no_error_but_rounding():
    """Near e = 1, where the series is longest, errors have no sign: a term that is wrong or missing has one."""
    e = np.linspace(0.9, 1, 2001, dtype=np.float32)
    exact = np.log1p(e.astype(np.float64))
    error = np.asarray(likelihood._log1p(jnp.asarray(e)), np.float64) / exact - 1
    assert abs(error).max() < 2.5e-7 and abs(error.mean()) < 4e-8


def test_the_instance_side_is_told_to_be_sorted():
    labels, _ = crowd()
    program = jax.make_jaxpr(lambda s: likelihood.instance_log_likelihood(labels, s, 0.0))(0.5)
    scatters = [e for e in program.jaxpr.eqns if e.primitive.name == "scatter-add"]
    assert len(scatters) == 2 and all(e.params["indices_are_sorted"] for e in scatters)


def test_float32_stays_float32_where_others_are_64_bits_wide(x64):
    labels, _ = crowd(gold=True)
    s, gamma = (jnp.asarray(v, jnp.float32) for v in at_triples(labels, S, GAMMA))
    plus, minus = likelihood.instance_log_likelihood(labels, s, gamma)
    assert likelihood.posterior(plus, minus, 0.3, labels.gold).dtype == np.float32
    for prior in (0.3, np.full(I, 0.3), np.float64(0.3)):
        assert likelihood.evidence(labels, s, gamma, prior).dtype == np.float32
