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
from crowdjax.contextual.functions import evaluate
from crowdjax.contextual.model import (
    blocks,
    coefficients,
    constrained,
    curves,
    draw_at,
    log_density,
    log_likelihood,
    of_function,
    prior_draws,
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


def by_hand(config, draw, gold):
    """log p(L, functions) up to a constant, in units of the priors' standard normals, with the truth summed over all
    2^I cases; basis, link, priors and labelers written out anew."""
    spec = {"prevalence": (-4, 4, 4, 1.5), "accuracy": (1.5, 1, 1, 1), "bias": (0, 1, 1, 1)}
    family = {"prevalence": config.prevalence, "accuracy": config.accuracy, "bias": config.accuracy}
    squares, f = 0.0, {}
    m = np.arange(1, config.gp.n_basis + 1)
    c = config.gp.boundary
    omega = m * np.pi / (2 * c)
    phi = lambda x: np.sin(omega * (x[:, None] + c)) / np.sqrt(c)  # noqa: E731
    normal_of = lambda amplitude, scale: stats.norm.ppf(stats.halfnorm.cdf(amplitude, scale=scale))  # noqa: E731
    grid = np.linspace(-1, 1, 65)
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
            squares += (((np.log(length) - config.gp.log_length[0]) / config.gp.log_length[1]) ** 2).sum()
            density = amplitude**2 * np.sqrt(2 * np.pi) * length * np.exp(-0.5 * (length * omega) ** 2)
            colour = np.sqrt(density) * w[0]
            line = np.polyfit(grid, phi(grid) @ colour, 1)
            f[name] = f[name] + phi(X[:, 0]) @ colour - np.polyval(line, X[:, 0])
    value = -0.5 * squares
    a, b = np.broadcast_to(f["accuracy"], (W, I)), np.broadcast_to(f["bias"], (W, I))
    if config.labelers == "offset":
        scale, raw = draw["labeler_scale"], draw["labeler_offset"]
        value -= 0.5 * ((normal_of(scale, 0.5) ** 2).sum() + (raw**2).sum())
        e = scale[:, None] * (raw - raw.mean(1, keepdims=True))
        a, b = a + e[0][:, None], b + e[1][:, None]
    if config.constraint == "ordered":
        s, gamma = softplus(a), b
    elif config.constraint == "both":
        s, gamma = (softplus(a + b) + softplus(a - b)) / 2, (softplus(a + b) - softplus(a - b)) / 2
    else:
        s, gamma = a, b
    crowd = Crowd.of(**TRIPLES, gold=None if gold is None else np.nan_to_num(gold), shape=(W, I))
    return value + evidence_by_enumeration(crowd, s, gamma, expit(f["prevalence"]))


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
        np.testing.assert_allclose(log_density(config, data, u), by_hand(config, draw, gold), rtol=1e-7)


def test_labelers_functions_enter_as_their_own_processes(x64):
    config = ContextualConfig(labelers="function")
    labels = Labels.from_arrays(**TRIPLES, n_labelers=W, n_instances=I)
    data = prepare_data(config, labels, X)
    draw = jax.tree.map(lambda v: v[0], prior_draws(config, W, data.basis, data.labeler_basis, jax.random.key(1), 1))
    c = coefficients(config, data.basis, data.labeler_basis, draw)
    s, gamma, _ = triples(config, data, c, tables(config, data.basis, c))
    shared = evaluate(config.functions["bias"], data.basis, of_function("bias", c))
    raw = draw["labeler_offset"][1]
    offset = draw["labeler_scale"][1] * (raw - raw.mean())
    for i in range(W):
        term = data.labeler_basis.terms[0]
        coloured = term.colour(
            draw["labeler_amplitude"][1], draw["labeler_length"][1], draw["labeler_weights"][1, 0, i]
        )
        own = {
            "mean": offset[i],
            "slope": jnp.zeros(1),
            "length": draw["labeler_length"][1],
            "coefficients": coloured[None],
        }
        own_values = evaluate(config.functions["bias"], data.labeler_basis, own)
        here = labels.labeler == i
        np.testing.assert_allclose(gamma[here], (shared + own_values)[labels.instance[here]], rtol=1e-9)
    assert (s > 0).all()


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
