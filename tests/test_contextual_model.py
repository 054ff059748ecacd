"""The contextual model's density against sums by hand, its blocks, constraints, gold, and the baselines as settings."""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import Crowd, evidence_by_enumeration
from scipy import stats
from scipy.special import expit

from crowdjax import labels as labels_module
from crowdjax.contextual import GP, PRESETS, ContextualConfig, prepare_data
from crowdjax.contextual.data import bases
from crowdjax.contextual.model import (
    blocks,
    coefficients,
    constrained,
    curves,
    draw_at,
    log_density,
    log_likelihood,
    shapes_of,
    size_of,
    tables,
    triples,
)
from crowdjax.labels import LabelError, Labels

RNG = np.random.default_rng(3)
W, I = 3, 7
TRIPLES = dict(labeler=RNG.integers(0, W, 16), instance=RNG.integers(0, I, 16), label=RNG.choice([-1, 1], 16))
X = RNG.uniform(-1, 1, (I, 1))
GOLD = np.array([np.nan, 1, -1, np.nan, np.nan, np.nan, 1])


def softplus(t):
    return np.log1p(np.exp(-abs(t))) + np.maximum(t, 0)


def process(gp, x, amplitude, length, weights):
    """A Gaussian process at x, without its line, from standard normals: the basis written out anew."""
    c = gp.boundary
    omega = np.arange(1, gp.n_basis + 1) * np.pi / (2 * c)
    phi = lambda x: np.sin(omega * (x[:, None] + c)) / np.sqrt(c)  # noqa: E731
    density = amplitude**2 * np.sqrt(2 * np.pi) * length * np.exp(-0.5 * (length * omega) ** 2)
    colour, grid = np.sqrt(density) * weights, np.linspace(-1, 1, 65)
    return phi(x) @ colour - np.polyval(np.polyfit(grid, phi(grid) @ colour, 1), x)


def by_hand(config, draw, gold):
    """(log p(L, functions) up to a constant, in units of the priors' standard normals, with the truth summed over all
    2^I cases; s, γ of every labeler and instance): basis, link, priors and labelers written out anew."""
    spec = {"prevalence": (-4, 4, 4, 1.5), "accuracy": (1.5, 1, 1, 1), "bias": (0, 1, 1, 1)}
    family = {"prevalence": config.prevalence, "accuracy": config.accuracy, "bias": config.accuracy}
    squares, f = 0.0, {}
    normal_of = lambda amplitude, scale: stats.norm.ppf(stats.halfnorm.cdf(amplitude, scale=scale))  # noqa: E731
    log_normal = lambda length, gp: (np.log(length) - gp.log_length[0]) / gp.log_length[1]  # noqa: E731
    for name, (mean, sd, slope_sd, amplitude_sd) in spec.items():
        squares += ((draw[f"{name}_mean"] - mean) / sd) ** 2
        f[name] = np.full(I, draw[f"{name}_mean"])
        if family[name] != "constant":
            slope = draw[f"{name}_slope"]
            squares += ((slope / slope_sd) ** 2).sum()
            f[name] = f[name] + X[:, 0] * slope[0]
        if family[name] == "gp":
            amplitude, length, w = (draw[f"{name}_{k}"] for k in ("amplitude", "length", "weights"))
            squares += (normal_of(amplitude, amplitude_sd) ** 2).sum() + (w**2).sum()
            squares += (log_normal(length, config.gp) ** 2).sum()
            f[name] = f[name] + process(config.gp, X[:, 0], amplitude[0], length[0], w[0])
    ab = np.stack([np.broadcast_to(f[name], (W, I)) for name in ("accuracy", "bias")])
    if config.labelers != "global":
        scale, raw = draw["labeler_scale"], draw["labeler_offset"]
        squares += (normal_of(scale, 0.5) ** 2).sum() + (raw**2).sum()
        ab = ab + (scale[:, None] * (raw - raw.mean(1, keepdims=True)))[:, :, None]
    if config.labelers == "function":
        gp = config.labeler_gp
        amplitude, length, w = (draw[f"labeler_{k}"] for k in ("amplitude", "length", "weights"))
        squares += (normal_of(amplitude, 0.5) ** 2).sum() + (log_normal(length, gp) ** 2).sum() + (w**2).sum()
        of = lambda side, i: process(gp, X[:, 0], amplitude[side], length[side, 0], w[side, 0, i])  # noqa: E731
        ab = ab + np.stack([[of(side, i) for i in range(W)] for side in (0, 1)])
    a, b = ab
    if config.constraint == "ordered":
        s, gamma = softplus(a), b
    elif config.constraint == "both":
        s, gamma = (softplus(a + b) + softplus(a - b)) / 2, (softplus(a + b) - softplus(a - b)) / 2
    else:
        s, gamma = a, b
    crowd = Crowd.of(**TRIPLES, gold=None if gold is None else np.nan_to_num(gold), shape=(W, I))
    return evidence_by_enumeration(crowd, s, gamma, expit(f["prevalence"])) - 0.5 * squares, s, gamma


@pytest.mark.parametrize("gold", [None, GOLD], ids=["no-gold", "gold"])
@pytest.mark.parametrize("constraint", ["ordered", "both", "free"])
@pytest.mark.parametrize("families", [("gp", "gp"), ("linear", "constant"), ("constant", "linear")])
def test_density_equals_the_sum_over_all_truths(x64, families, constraint, gold):
    config = ContextualConfig(*families, constraint=constraint, labelers="offset" if gold is None else "global")
    labels = Labels.from_arrays(**TRIPLES, gold=gold, n_labelers=W, n_instances=I)
    data = prepare_data(config, labels, X)
    for seed in range(3):
        u = jax.random.normal(jax.random.key(seed), (size_of(config, data),))
        draw = {k: np.asarray(v) for k, v in draw_at(config, data, u).items()}
        np.testing.assert_allclose(log_density(config, data, u), by_hand(config, draw, gold)[0], rtol=1e-7)


@pytest.mark.parametrize("constraint", ["ordered", "both", "free"])
def test_labelers_functions_enter_as_their_own_processes(x64, constraint):
    config = ContextualConfig(labelers="function", constraint=constraint)
    labels = Labels.from_arrays(**TRIPLES, n_labelers=W, n_instances=I)
    data = prepare_data(config, labels, X)
    u = jax.random.normal(jax.random.key(1), (size_of(config, data),))
    draw = {k: np.asarray(v) for k, v in draw_at(config, data, u).items()}
    density, s, gamma = by_hand(config, draw, None)
    c = coefficients(config, data.basis, data.labeler_basis, draw)
    found = triples(config, data, c, tables(config, data.basis, c))
    for ours, hand in zip(found[:2], (s, gamma), strict=True):
        np.testing.assert_allclose(ours, hand[labels.labeler, labels.instance], rtol=1e-9)
    np.testing.assert_allclose(log_density(config, data, u), density, rtol=1e-7)
    assert constraint == "free" or (found[0] > 0).all()


def crowd_of(n, gold=False, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (n, 1))
    truth = rng.random(n) < expit(2 * x[:, 0])
    label = np.where(rng.random(2 * n) < 0.8, np.repeat(truth, 2), ~np.repeat(truth, 2))
    known = np.where(rng.random(n) < 0.1, truth, np.nan) if gold else None
    labeler = rng.integers(0, 5, 2 * n)
    return dict(labeler=labeler, instance=np.repeat(np.arange(n), 2), label=label, gold=known), x


@pytest.mark.parametrize(
    "config",
    [
        ContextualConfig(),
        ContextualConfig(increasing=True, gp=GP(n_basis=12)),
        ContextualConfig(gp=GP("inducing", n_basis=8), labelers="function"),
    ],
)
@pytest.mark.parametrize("gold", [False, True])
def test_blocks_add_up_to_the_whole(x64, monkeypatch, config, gold):
    """A layout of many blocks has the density of the flat one, and so do its blocks taken one at a time."""
    monkeypatch.setattr(labels_module, "FLAT_BELOW", 0)
    monkeypatch.setattr(labels_module, "LABELS_PER_BLOCK", 128)
    arrays, x = crowd_of(500, gold)
    blocked, flat = Labels.from_arrays(**arrays), Labels.from_arrays(**arrays, blocks=False)
    assert blocked.n_blocks > 4
    assert blocked.n_blocks * blocked.block_instances > blocked.n_instances  # with padding
    whole, data = prepare_data(config, flat, x), prepare_data(config, blocked, x)
    u = 0.3 * jax.random.normal(jax.random.key(0), (size_of(config, whole),))
    expected, slope = jax.value_and_grad(lambda u: log_density(config, whole, u))(u)
    found, found_slope = jax.value_and_grad(lambda u: log_density(config, data, u))(u)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    np.testing.assert_allclose(found_slope, slope, rtol=1e-6, atol=1e-8)
    module = sys.modules["crowdjax.contextual.model"]  # the package has a function of that name
    monkeypatch.setattr(module, "in_blocks", lambda: False)  # as where the device is no CPU
    np.testing.assert_allclose(log_density(config, data, u), expected, rtol=1e-10)
    draw = draw_at(config, data, u)
    n = blocked.n_blocks
    parts = [log_likelihood(config, blocks(data, jnp.array([b])), draw) for b in range(n)]
    np.testing.assert_allclose(sum(parts), log_likelihood(config, whole, draw), rtol=1e-10)
    pair = log_likelihood(config, blocks(data, jnp.array([n - 1, 2])), draw)
    np.testing.assert_allclose(pair, parts[-1] + parts[2], rtol=1e-10)


def test_constraints_hold_for_any_accuracy_and_bias():
    a, b = np.meshgrid(np.linspace(-6, 6, 25), np.linspace(-6, 6, 25))
    for name in ("ordered", "both"):
        s, gamma = constrained(name, jnp.asarray(a), jnp.asarray(b))
        sens, spec = expit(np.asarray(s + gamma, float)), expit(np.asarray(s - gamma, float))
        assert (sens + spec > 1).all()
        if name == "both":
            assert (np.minimum(sens, spec) > 0.5).all()
    s, gamma = constrained("free", jnp.asarray(a), jnp.asarray(b))
    np.testing.assert_array_equal(s, jnp.asarray(a))


@pytest.mark.parametrize("name", list(PRESETS))
def test_baselines_are_settings_with_their_own_parameters(name):
    config = PRESETS[name]
    data = prepare_data(config, Labels.from_arrays(**TRIPLES, n_labelers=W, n_instances=I), X)
    u = jnp.zeros(size_of(config, data))
    sites = shapes_of(config, data)
    for function, family in [
        ("prevalence", config.prevalence),
        ("accuracy", config.accuracy),
        ("bias", config.accuracy),
    ]:
        assert (f"{function}_slope" in sites) == (family != "constant")
        assert (f"{function}_weights" in sites) == (family == "gp")
    draw = draw_at(config, data, u)
    basis = bases(config, np.linspace(-1, 1, 9)[:, None])[0]
    c = curves(config, basis, None, draw, jnp.arange(W))
    assert c.sensitivity.shape == (W, 9)
    varies = np.ptp(c.prevalence) > 0, np.ptp(c.sensitivity) > 0
    assert varies == (False, False)  # slopes and weights are 0 at the centre
    moved = curves(config, basis, None, draw_at(config, data, u + 0.5), jnp.arange(W))
    assert (np.ptp(moved.prevalence) > 1e-4) == (config.prevalence != "constant")
    assert (np.ptp(moved.sensitivity[0]) > 1e-4) == (config.accuracy != "constant")


def test_linear_prevalence_is_logistic_regression_where_gold_is_complete(x64):
    """With every truth known and constant accuracy the prevalence's posterior mode is penalised logistic regression."""
    from scipy.optimize import minimize

    from crowdjax.contextual.coordinates import find_coordinates

    arrays, x = crowd_of(200)
    truth = np.random.default_rng(5).random(200) < expit(1.5 * x[:, 0] - 0.5)
    labels = Labels.from_arrays(**arrays | {"gold": truth.astype(float)})
    config = dataclasses.replace(PRESETS["linear-constant"], labelers="global")
    data = prepare_data(config, labels, x)
    draw = draw_at(config, data, find_coordinates(config, data).mode)

    def negative(b):
        t = np.where(truth, 1, -1) * (b[0] + b[1] * x[:, 0])
        return softplus(-t).sum() + 0.5 * ((b[0] + 4) / 4) ** 2 + 0.5 * (b[1] / 4) ** 2

    expected = minimize(negative, np.zeros(2), tol=1e-10).x
    np.testing.assert_allclose([draw["prevalence_mean"], draw["prevalence_slope"][0]], expected, atol=2e-3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ContextualConfig("quadratic"), "prevalence: got 'quadratic'; allowed: constant, linear, gp"),
        (lambda: ContextualConfig(labelers="each"), "labelers: got 'each'"),
        (lambda: ContextualConfig(constraint="none"), "constraint: got 'none'"),
        (lambda: ContextualConfig(labeler_gp=GP("exact")), "labeler_gp: approximation 'exact'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_score_for_every_instance_is_demanded():
    labels = Labels.from_arrays(**TRIPLES, n_labelers=W, n_instances=I)
    with pytest.raises(LabelError, match="6 rows for 7 instances"):
        prepare_data(ContextualConfig(), labels, X[:6])
