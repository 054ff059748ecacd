"""Fitting: the mode, agreement of approximations and of methods, diagnostics, warnings, continuing, files."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize

from crowdjax import disk
from crowdjax import labels as labels_module
from crowdjax.contextual import (
    GP,
    PRESETS,
    ContextualConfig,
    Inference,
    Scale,
    fit,
    functions,
    load,
    nuts,
    prepare_data,
    save,
)
from crowdjax.contextual.coordinates import affine, find_coordinates, given, positive, quadratic
from crowdjax.contextual.data import anchors_of, bases
from crowdjax.contextual.diagnostics import chain_diagnostics, pareto_smooth
from crowdjax.contextual.inference import _still_climbing, crowd_curves, identification
from crowdjax.contextual.model import (
    coefficients_of,
    curves,
    draw_at,
    log_density,
    n_scales,
    prior_draws,
    shapes_of,
    size_of,
)
from crowdjax.labels import InputError, LabelError, Labels

GRID = np.linspace(0.05, 0.95, 9)


def crowd(n, per_item, n_labelers=10, seed=0, gold=None):
    """Scores, truths and labels: π, sensitivity and specificity rise or bend with the score."""
    rng = np.random.default_rng(seed)
    score = rng.random(n)
    truth = rng.random(n) < true_functions(score)[0]
    labeler = np.concatenate([rng.permutation(n_labelers)[:per_item] for _ in range(n)])
    instance = np.repeat(np.arange(n), per_item)
    _, sens, spec = true_functions(score[instance])
    label = rng.random(len(instance)) < np.where(truth[instance], sens, 1 - spec)
    known = None if gold is None else np.where(rng.random(n) < gold, truth, np.nan)
    return score, truth, Labels.from_arrays(labeler, instance, label, gold=known, n_labelers=n_labelers)


def true_functions(score):
    return 0.1 + 0.7 * score**2, 0.75 + 0.2 * score, 0.95 - 0.2 * score**2


def test_mode_equals_scipys(x64):
    """A model without scales: the mode, and the Gaussian there, are those of the posterior itself."""
    score, _, labels = crowd(150, 3)
    config = dataclasses.replace(PRESETS["lr-lr"], labelers="global")
    data = prepare_data(config, labels, Scale.learn(score)(score))
    u0 = np.zeros(size_of(config, data))
    value = jax.jit(jax.value_and_grad(lambda u: -log_density(config, data, u)))
    expected = minimize(lambda u: tuple(map(np.asarray, value(u))), u0, jac=True, method="BFGS", options={"gtol": 1e-6})
    found = find_coordinates(config, data)
    np.testing.assert_allclose(found.mode, expected.x, atol=2e-3)
    hessian = jax.hessian(lambda u: -log_density(config, data, u))(found.mode)
    chol = given(config, data, found.coordinates.labels, jnp.zeros(0)).chol
    np.testing.assert_allclose(chol @ chol.T, hessian, atol=1e-5 * np.abs(hessian).max())


@pytest.mark.slow
def test_given_a_quadratic_the_scales_are_integrated_exactly(x64):
    """log p(θ) and w | θ against the dense Gaussian that joins prior and quadratic, up to one constant for all θ."""
    score, _, labels = crowd(60, 3, n_labelers=4)
    config = ContextualConfig(gp=GP(n_basis=6))
    data = prepare_data(config, labels, Scale.learn(score)(score))
    k = n_scales(shapes_of(config, data))
    width = size_of(config, data) - k
    q = quadratic(config, data, jnp.zeros(k), jnp.zeros(width))
    assert np.linalg.eigvalsh(q.precision).min() > -1e-8
    of = jax.jit(lambda theta: given(config, data, q, theta))
    slope_of = jax.jit(jax.grad(lambda theta: given(config, data, q, theta).log_p))
    seen = jax.jit(lambda theta, w: coefficients_of(config, data, theta, w))
    gaps = []
    for seed in range(4):
        theta = 0.7 * jax.random.normal(jax.random.key(seed), (k,))
        zero = np.asarray(seen(theta, jnp.zeros(width)))
        root = np.stack([np.asarray(seen(theta, e)) - zero for e in jnp.eye(width)], 1)  # affine in w
        m, slope, precision = map(np.asarray, q)
        a = np.eye(width) + root.T @ precision @ root
        b = root.T @ (slope - precision @ (zero - m))
        start = slope @ (zero - m) - 0.5 * (zero - m) @ precision @ (zero - m)
        expected = -0.5 * theta @ theta + start + 0.5 * b @ np.linalg.solve(a, b) - 0.5 * np.linalg.slogdet(a)[1]
        found = of(theta)
        gaps.append(float(found.log_p - expected))
        np.testing.assert_allclose(found.mean, np.linalg.solve(a, b), atol=1e-8)
        np.testing.assert_allclose(found.chol @ found.chol.T, a, rtol=1e-8, atol=1e-10)
        step = 1e-5 * jax.random.normal(jax.random.key(9), (k,))
        up, down = (of(theta + s).log_p for s in (step, -step))
        np.testing.assert_allclose((up - down) / 2, slope_of(theta) @ step, rtol=1e-4)
    np.testing.assert_allclose(gaps, gaps[0], atol=1e-8)


def test_the_nearest_positive_matrix_keeps_what_is_positive():
    a = np.diag([2.0, 0.5, -1.0])
    np.testing.assert_allclose(positive(a), np.diag([2, 0.5, 0]), atol=1e-12)


@pytest.mark.slow
def test_hilbert_inducing_and_exact_processes_have_the_same_mode(x64):
    """Scales at the mode of their own posterior, the rest at its mean given them: no Monte Carlo noise."""
    score, _, labels = crowd(120, 5)
    score = score.round(1)  # few distinct inputs: the exact process has a weight for each
    scale = Scale.learn(score)
    found = []
    for gp in (GP(), GP("inducing", n_basis=24), GP("exact")):
        config = ContextualConfig(gp=gp)
        data = prepare_data(config, labels, scale(score))
        at = find_coordinates(config, data)
        u = jnp.concatenate(
            [at.coordinates.centre, given(config, data, at.coordinates.labels, at.coordinates.centre).mean]
        )
        basis, _ = bases(config, scale(GRID), anchors_of(data.basis))
        found.append(curves(config, basis, None, draw_at(config, data, u), jnp.arange(10)))
    for other in found[:2]:
        for a, b in zip(other, found[2], strict=True):
            assert np.abs(a - b).max() < 0.02


@pytest.fixture(scope="module")
def informed():
    """Fits of one well-informed label set by every method."""
    score, _, labels = crowd(400, 5, seed=1)
    config = dataclasses.replace(PRESETS["lr-lr"], labelers="global")
    settings = {
        "nuts": Inference("nuts", n_draws=300, n_warmup=200, n_thin=2),
        "svi": Inference("svi", n_draws=1000),
        "laplace": Inference("laplace", n_draws=1000),
        "resampled": Inference("laplace", n_draws=1000, resample=True),
    }
    return score, labels, {k: fit(labels, score, config, jax.random.key(0), v) for k, v in settings.items()}


@pytest.mark.parametrize("method", ["svi", "laplace", "resampled"])
def test_methods_agree_where_the_labels_say_much(informed, method):
    """Means within a third of a standard deviation of NUTS' and widths within a fifth."""
    _, _, fits = informed
    reference, found = functions(fits["nuts"], GRID), functions(fits[method], GRID)
    for a, b in zip(found, reference, strict=True):
        width = b.upper - b.lower
        assert (np.abs(a.mean - b.mean) < width / 4 / 3).all()
        np.testing.assert_allclose((a.upper - a.lower) / width, 1, atol=0.25)


def test_a_fit_that_was_changed_on_disk_is_refused(informed, tmp_path):
    save(informed[2]["laplace"], tmp_path)
    with pytest.raises(InputError, match="no fit of the contextual model"):
        load(tmp_path / "elsewhere")
    rng = np.random.default_rng(0)
    for name in ("contextual.npz", "contextual.json"):
        path = tmp_path / name
        good = path.read_bytes()
        for k in rng.integers(0, len(good), 10):
            path.write_bytes(good[:k] + bytes([good[k] ^ 1]) + good[k + 1 :])
            with pytest.raises(InputError, match=r"changed since it was written|not a fit of the contextual model"):
                load(tmp_path)
        path.write_bytes(good[: len(good) // 2])
        with pytest.raises(InputError, match=r"changed since it was written|not a fit of the contextual model"):
            load(tmp_path)
        path.write_bytes(good)
    assert load(tmp_path).n_draws == informed[2]["laplace"].n_draws


def test_a_fit_on_disk_is_replaced_at_once(informed, tmp_path, monkeypatch):
    """Between its two files the earlier fit is whole."""
    old, new = informed[2]["laplace"], informed[2]["svi"]
    save(old, tmp_path)
    real = disk.move

    def stopped(source, place):
        if place.name == "contextual.json":
            raise KeyboardInterrupt
        real(source, place)

    monkeypatch.setattr(disk, "move", stopped)
    with pytest.raises(KeyboardInterrupt):
        save(new, tmp_path)
    monkeypatch.undo()
    assert load(tmp_path).inference == old.inference
    save(new, tmp_path)
    assert load(tmp_path).inference == new.inference
    assert len(list(tmp_path.iterdir())) == 2


def test_diagnostics_are_those_of_good_fits(informed):
    _, _, fits = informed
    d = fits["nuts"].diagnostics
    assert d["rhat"] < 1.02
    assert d["ess"] > 200
    assert d["divergences"] == 0
    for name in ("svi", "laplace"):
        assert fits[name].diagnostics["khat"] < 0.7
        assert not any("k-hat" in w for w in fits[name].warnings)
    for f in fits.values():
        assert min(f.diagnostics[f"informed_{k}"] for k in ("prevalence", "sensitivity", "specificity")) > 0.8


def test_the_truth_lies_in_the_bands(informed):
    _, _, fits = informed
    found = functions(fits["nuts"], GRID, level=0.99)
    for b, true in zip(found, true_functions(GRID), strict=True):
        assert (
            (b.lower < true + 0.05) & (true - 0.05 < b.upper)
        ).all()  # logistic lines are not quite the truth's shape


def test_saved_and_loaded_fit_is_the_same_and_can_be_continued(informed, tmp_path):
    score, labels, fits = informed
    for name, found in fits.items():
        save(found, tmp_path / name)
        again = load(tmp_path / name)
        assert (again.config, again.inference, again.warnings) == (found.config, found.inference, found.warnings)
        assert again.diagnostics == found.diagnostics
        for a, b in zip(functions(again, GRID), functions(found, GRID), strict=True):
            np.testing.assert_array_equal(a, b)
    again = load(tmp_path / "nuts")
    more = fit(
        labels, score, again.config, jax.random.key(9), dataclasses.replace(again.inference, n_draws=50), start=again
    )
    assert more.n_draws == again.n_draws + 100
    np.testing.assert_array_equal(more.unconstrained[:, :300], again.unconstrained)
    assert (more.unconstrained[:, 300:] != more.unconstrained[:, 299:300]).any(axis=(1, 2)).all()
    np.testing.assert_array_equal(more.sampler["step_size"], again.sampler["step_size"])
    after = load(tmp_path / "laplace")
    svi = fit(labels, score, after.config, jax.random.key(9), Inference("svi", n_steps=10, n_draws=200), start=after)
    assert svi.diagnostics["khat"] < 0.7


@pytest.mark.slow
def test_inducing_inputs_survive_saving(tmp_path):
    score, _, labels = crowd(60, 3)
    config = ContextualConfig("gp", "constant", gp=GP("inducing", n_basis=8))
    found = fit(
        labels,
        score,
        config,
        jax.random.key(0),
        Inference("laplace", n_draws=20),
        scale=Scale.learn(score, transform="rank"),
    )
    save(found, tmp_path)
    for a, b in zip(functions(load(tmp_path), GRID), functions(found, GRID), strict=True):
        np.testing.assert_array_equal(a, b)


def test_continuing_another_model_is_refused(informed):
    score, labels, fits = informed
    with pytest.raises(LabelError, match="another model"):
        fit(labels, score, PRESETS["lr-lr"], jax.random.key(0), start=fits["laplace"])


@pytest.mark.slow
def test_minibatches_reach_the_full_fit(monkeypatch):
    """SVI on blocks of a larger set ends where SVI on all of it does."""
    monkeypatch.setattr(labels_module, "FLAT_BELOW", 0)
    monkeypatch.setattr(labels_module, "LABELS_PER_BLOCK", 512)
    score, _, labels = crowd(3000, 3, seed=2)
    assert labels.n_blocks > 8
    config = dataclasses.replace(PRESETS["lr-lr"], labelers="global")
    inference = Inference("svi", n_draws=500)
    part = fit(labels, score, config, jax.random.key(0), inference)
    whole = fit(labels, score, config, jax.random.key(0), dataclasses.replace(inference, n_batch=10**6))
    for a, b in zip(functions(part, GRID), functions(whole, GRID), strict=True):
        width = b.upper - b.lower
        assert (np.abs(a.mean - b.mean) < 0.15 * width).all()
        np.testing.assert_allclose((a.upper - a.lower) / width, 1, atol=0.3)


@pytest.mark.parametrize("shape", [-0.3, 0.1, 0.5, 0.9])
def test_khat_is_the_shape_of_the_ratios_tail(shape):
    draws = stats.genpareto(shape).rvs(20_000, random_state=np.random.default_rng(0))
    found = [pareto_smooth(np.log(d + 1)).khat for d in draws.reshape(4, 5000)]
    n_tail = 3 * np.sqrt(5000)
    assert abs(np.mean(found) - shape) < 3 * (1 + abs(shape)) / np.sqrt(4 * n_tail) + 0.05  # and the pull towards 1/2


def test_smoothed_weights_correct_an_approximation():
    """Draws of N(0, 1) reweighted to N(.5, .8²)."""
    x = np.random.default_rng(0).standard_normal(20_000)
    smoothed = pareto_smooth(stats.norm.logpdf(x, 0.5, 0.8) - stats.norm.logpdf(x))
    w = np.exp(smoothed.log_weights)
    assert smoothed.khat < 0.5
    np.testing.assert_allclose(w.sum(), 1)
    np.testing.assert_allclose([w @ x, np.sqrt(w @ x**2 - (w @ x) ** 2)], [0.5, 0.8], atol=0.03)


def test_ratios_without_a_usable_tail_are_not_trusted():
    assert pareto_smooth(np.zeros(10)).khat == np.inf
    assert pareto_smooth(np.full(1000, -np.inf)).khat == np.inf


def test_chains_that_disagree_are_seen():
    rng = np.random.default_rng(0)
    good = rng.standard_normal((2, 500, 3))
    assert chain_diagnostics(good)["rhat"] < 1.02
    good[1, :, 2] += 3
    assert chain_diagnostics(good)["rhat"] > 1.5


def test_a_rising_elbo_is_seen():
    noise = np.random.default_rng(0).standard_normal(1000)
    assert not _still_climbing(noise)
    assert _still_climbing(noise + np.linspace(0, 30, 1000))


SURE = {"informed_prevalence": 0.9, "informed_sensitivity": 0.9, "informed_specificity": 0.9}


@pytest.mark.parametrize(
    ("per_item", "config", "informed", "expected"),
    [
        (1, ContextualConfig(), SURE, ["every instance has one label"]),
        (1, ContextualConfig(constraint="free"), SURE, ["every instance has one label", "classes can be switched"]),
        (2, ContextualConfig(labelers="global"), SURE, ["two labels per instance"]),
        (3, ContextualConfig(), SURE | {"informed_sensitivity": 0.1}, ["little about sensitivity"]),
        (2, ContextualConfig(), SURE, []),
    ],
)
def test_what_is_not_identified_is_said(per_item, config, informed, expected):
    _, _, labels = crowd(40, per_item)
    found = identification(config, labels, informed)
    assert len(found) == len(expected)
    assert all(part in sentence for part, sentence in zip(expected, found, strict=True))


def test_one_label_each_with_a_free_constraint_warns_in_the_fit():
    score, _, labels = crowd(40, 1)
    config = ContextualConfig("linear", "constant", constraint="free", labelers="global")
    found = fit(labels, score, config, jax.random.key(0), Inference("laplace", n_draws=50))
    assert any("not identified" in w for w in found.warnings)


@pytest.mark.slow
def test_float32_fit_of_extreme_scores_is_finite():
    score, _, labels = crowd(200, 2)
    rare = score**12
    found = fit(labels, rare, PRESETS["theodon"], jax.random.key(0), Inference("laplace", n_draws=30))
    assert all(np.isfinite(v).all() for v in found.draws.values())
    assert all(np.isfinite(v).all() for v in (*found.coordinates.labels, found.coordinates.root))


def simulate_prior(config, basis, draw, rng, x, labeler, instance):
    c = curves(config, basis, None, draw, jnp.arange(labeler.max() + 1))
    truth = rng.random(len(x)) < np.asarray(c.prevalence)
    right = np.where(truth[instance], c.sensitivity[labeler, instance], 1 - c.specificity[labeler, instance])
    return rng.random(len(instance)) < right


@pytest.mark.slow
def test_chains_side_by_side_move_as_chains_in_threads(x64, monkeypatch):
    """As on a GPU, where chains are vmapped; and on a CPU, where each has a thread."""
    score, _, labels = crowd(40, 3, n_labelers=4)
    config = ContextualConfig("linear", "constant", labelers="global")
    data = prepare_data(config, labels, Scale.learn(score)(score))
    start = affine(config, data, find_coordinates(config, data).coordinates)
    density = jax.tree_util.Partial(log_density, config)
    settings = nuts.Settings(n_warmup=12, n_draws=4, n_chains=3, n_thin=2, target_accept=0.9, max_depth=6)

    def sample():
        return nuts.sample(density, data, start, settings, jax.random.key(0), lambda *_: None)[0]

    in_threads = sample()
    assert in_threads.shape == (3, 4, size_of(config, data))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    np.testing.assert_allclose(sample(), in_threads, rtol=1e-6, atol=1e-8)


@pytest.mark.slow
def test_ranks_of_prior_draws_are_uniform():
    """Simulation-based calibration, short form: 40 label sets from the prior, ranks of the truth among posterior draws
    of the three functions at three scores; a chi-square statistic over five bins."""
    rng = np.random.default_rng(0)
    config = ContextualConfig("linear", "constant", labelers="global")
    n, w = 60, 5
    score = np.linspace(0, 1, n)
    labeler, instance = np.tile(np.arange(w), n), np.repeat(np.arange(n), w)
    x = Scale.learn(score)(score)
    data = prepare_data(config, Labels.from_arrays(labeler, instance, np.ones(n * w)), x)
    prior = prior_draws(config, w, data.basis, None, jax.random.key(1), 40)
    at = np.array([0.1, 0.5, 0.9])
    ranks = []
    for r in range(40):
        draw = jax.tree.map(lambda v, r=r: v[r], prior)
        label = simulate_prior(config, data.basis, draw, rng, x, labeler, instance)
        found = fit(
            Labels.from_arrays(labeler, instance, label),
            score,
            config,
            jax.random.key(r),
            Inference("nuts", n_draws=200, n_warmup=200, n_thin=2),
        )
        basis, _ = found.bases(at)
        post = crowd_curves(config, basis, None, found.draws, jnp.ones(w))
        true = curves(config, basis, None, draw, jnp.arange(1))
        ranks.append([(np.asarray(a) < np.asarray(b).reshape(-1)).mean(0) for a, b in zip(post, true, strict=True)])
    ranks = np.array(ranks)  # [40, 3 functions, 3 scores]
    for k in range(3):
        counts = np.histogram(ranks[:, k, 1], bins=5, range=(0, 1))[0]
        assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.slow
def test_bands_cover_known_functions():
    """Pooled over 6 label sets and the three functions, 95 % bands of the full model hold .90 to 1.0 of the grid."""
    inside = []
    for seed in range(6):
        score, _, labels = crowd(600, 3, seed=seed)
        found = fit(
            labels, score, PRESETS["theodon"], jax.random.key(seed), Inference("nuts", n_draws=250, n_warmup=250)
        )
        for b, true in zip(functions(found, GRID), true_functions(GRID), strict=True):
            inside.append((b.lower <= true) & (true <= b.upper))
    assert np.mean(inside) >= 0.90
