"""Factors and GLAD with instances integrated out: the same as dense quadrature, enumeration, SciPy and NUTS."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize

import crowdjax
from crowdjax import integrated, priors, simulate
from crowdjax.api import fit_large
from crowdjax.integrated import IntegratedConfig
from crowdjax.labels import InputError, Labels
from crowdjax.observation import DawidSkene, Solver, fit_jit
from crowdjax.observation.fit import predict
from crowdjax.observation.integrated_factors import IntegratedFactor, IntegratedGlad, contrasts, falls

W, I, PER = 12, 60, 6
EXACT = Solver(max_steps=500, rtol=1e-13)


def crowd(k: int, n_factors: int = 1, *, bias: float = 0.5, size: int = I, per: int = PER, **options):
    """(labels, truth) drawn from the model."""
    rng = np.random.default_rng(k)
    alpha, beta = rng.normal(0, 1, (W, n_factors)), rng.normal(0, 1, (size, n_factors))
    alpha[:, 0] = 1.3 + 0.6 * alpha[:, 0]
    beta[:, 0] += 1
    truth, gamma = rng.integers(0, k, size), rng.normal(0, bias, (W, k))
    j = np.repeat(np.arange(size), per)
    i = np.concatenate([rng.choice(W, per, replace=False) for _ in range(size)])
    eta = gamma[i] + (np.log(k - 1) + (alpha @ beta.T)[i, j])[:, None] * (truth[j, None] == np.arange(k))
    label = (eta + rng.gumbel(size=eta.shape)).argmax(1)
    return Labels.from_arrays(i, j, label, n_values=k, n_labelers=W, n_instances=size, **options), truth


def triples(labels: Labels):
    real = np.asarray(labels.label) >= 0
    return (np.asarray(v)[real] for v in (labels.labeler, labels.instance, labels.label))


def dense(labels: Labels, alpha, gamma, log_prior, glad: bool, n: int = 241):
    """log p(labels, z_j = k) of each instance and class, by the trapezoidal rule; β or log β ~ N(1, 1)."""
    b = jnp.linspace(-7, 9, n)
    weight = -0.5 * (b - 1) ** 2 - 0.5 * jnp.log(2 * jnp.pi) + jnp.log(b[1] - b[0])
    beta, k = jnp.exp(b) if glad else b, labels.n_classes
    i, j, label = triples(labels)
    s = jnp.log(k - 1.0) + alpha[i, None] * beta  # [N, B]
    columns = []
    for of_class in range(k):
        eta = gamma[i][:, None, :] + s[:, :, None] * (jnp.arange(k) == of_class)
        log_p = jnp.take_along_axis(jax.nn.log_softmax(eta, axis=2), label[:, None, None], axis=2)[:, :, 0]
        each = jnp.zeros((labels.n_instances, n)).at[j].add(log_p)
        columns.append(jax.nn.logsumexp(each + weight, axis=1) + log_prior[of_class])
    return jnp.stack(columns, axis=1)


@pytest.fixture
def fine(x64, monkeypatch):
    """Points as far and as close as double precision asks for."""
    monkeypatch.setattr(priors, "REACH", 7.5)
    return dict(points=91, rtol=0.0)


@pytest.mark.parametrize(("k", "glad"), [(2, False), (3, False), (2, True), (4, True)])
def test_a_fit_is_the_optimum_of_dense_quadrature(fine, k, glad):
    labels, _ = crowd(k, bias=0 if glad else 0.5)
    model = (IntegratedGlad if glad else IntegratedFactor)(class_prior="uniform", **fine)
    found = fit_jit(labels, model, None, EXACT)
    log_prior = jnp.full(k, -jnp.log(k))
    start = {"alpha": jnp.ones(W)} | ({} if glad else {"gamma": jnp.zeros((W, k))})
    x0, unravel = ravel_pytree(start)

    def objective(x):
        at = unravel(x)
        gamma = at.get("gamma", jnp.zeros((W, k)))  # of each label N(0, 1/2), so that differences are N(0, 1)
        value = jax.nn.logsumexp(dense(labels, at["alpha"], gamma, log_prior, glad), axis=1).sum()
        return -(value - 0.5 * ((at["alpha"] - 1) ** 2).sum() - (gamma**2).sum())

    slope = jax.jit(jax.value_and_grad(objective))
    settings = dict(maxiter=3000, maxfun=6000, ftol=1e-15, gtol=1e-9)
    out = minimize(lambda x: tuple(map(np.asarray, slope(x))), np.asarray(x0), jac=True, method="L-BFGS-B",
                   options=settings)  # fmt: skip
    assert float(found.objective) == pytest.approx(-out.fun, abs=1e-6)
    at = unravel(out.x)
    joint = dense(labels, at["alpha"], at.get("gamma", jnp.zeros((W, k))), log_prior, glad)
    np.testing.assert_allclose(found.posterior, jax.nn.softmax(joint, axis=1), atol=1e-5)
    np.testing.assert_allclose(found.params["w"][:, 0], at["alpha"], atol=1e-4)


@pytest.mark.parametrize(("k", "glad"), [(2, False), (3, False), (2, True)])
def test_sixteen_points_are_enough_for_few_labels(x64, k, glad):
    """Of an instance's probabilities the largest error is a hundredth of what ten labels leave open."""
    labels, _ = crowd(k, bias=0 if glad else 0.5)
    model = (IntegratedGlad if glad else IntegratedFactor)(class_prior="uniform")
    found = fit_jit(labels, model)
    w = found.params["w"]
    gamma = jnp.zeros((W, k)) if glad else w[:, 1:] @ contrasts(k).T / np.sqrt(2)
    joint = dense(labels, w[:, 0], gamma, jnp.full(k, -jnp.log(k)), glad)
    assert abs(found.posterior - jax.nn.softmax(joint, axis=1)).max() < 0.003


def test_two_classes_are_the_integrated_model_with_a_known_population(fine):
    labels, _ = crowd(2)
    found = fit_jit(labels, IntegratedFactor(class_prior="uniform", **fine), None, EXACT)
    config = IntegratedConfig(spread=1.0, hierarchy=False, points=121, reach=9.0, max_steps=500, rtol=0.0)
    other = integrated.fit_jit(labels, config)
    np.testing.assert_allclose(found.params["w"], other.parameters.labelers, atol=1e-5)
    positive = integrated.positives(labels, other.parameters, config, jnp.zeros(1))[:, 0]
    np.testing.assert_allclose(found.posterior[:, 1], positive, atol=1e-5)
    assert float(found.log_likelihood) == pytest.approx(float(other.log_likelihood), abs=1e-4)


def test_a_pass_of_three_classes_is_enumeration(fine):
    """Over all truths and all points of all instances at once, each by its own sum."""
    k, n = 3, 2
    rng = np.random.default_rng(3)
    label, alpha, gamma = rng.integers(0, k, (n, 4)), rng.normal(1, 1, 4), rng.normal(0, 0.7, (4, k))
    gamma -= gamma.mean(1, keepdims=True)
    labels = Labels.from_arrays(np.tile(np.arange(4), n), np.repeat(np.arange(n), 4), label.ravel(), n_values=k)
    prior = np.array([0.2, 0.3, 0.5])
    model = IntegratedFactor(class_prior=tuple(prior.tolist()), **fine)
    w = np.c_[alpha, np.sqrt(2) * gamma @ contrasts(k)]
    found = predict(labels, model, {"w": jnp.asarray(w), "classes": jnp.log(prior), "known": jnp.zeros(k)})
    beta = np.linspace(-6, 8, 57)
    weight = np.exp(-0.5 * (beta - 1) ** 2) * (beta[1] - beta[0]) / np.sqrt(2 * np.pi)
    total, posterior = 0.0, np.zeros((n, k))
    for z in itertools.product(range(k), repeat=n):
        p = 1.0
        for j in range(n):
            of_beta = prior[z[j]] * weight
            for i in range(4):
                e = np.exp(gamma[i] + (np.log(2) + alpha[i] * beta[:, None]) * (np.arange(k) == z[j]))
                of_beta = of_beta * e[:, label[j, i]] / e.sum(1)
            p *= of_beta.sum()
        total += p
        for j in range(n):
            posterior[j, z[j]] += p
    assert float(found.value) == pytest.approx(np.log(total), abs=1e-6)
    np.testing.assert_allclose(found.posterior, posterior / total, atol=1e-6)


def test_two_factors_agree_with_a_finer_grid(monkeypatch):
    labels, _ = crowd(2, 2)
    found = fit_jit(labels, IntegratedFactor(n_factors=2, class_prior="uniform"))
    monkeypatch.setattr(priors, "FURTHER", {2: 25})
    monkeypatch.setattr(priors, "REACH", 5.0)
    finer = predict(labels, IntegratedFactor(n_factors=2, class_prior="uniform", points=51), found.params)
    assert abs(found.posterior - finer.posterior).max() < 0.01
    assert abs(found.posterior - finer.posterior).mean() < 0.001


@pytest.mark.parametrize("model", [IntegratedFactor, IntegratedGlad])
@pytest.mark.parametrize("prior", ["learn", "uniform"])
def test_names_of_classes_change_no_answer(x64, model, prior):
    labels, _ = crowd(3)
    i, j, label = triples(labels)
    names = np.array([2, 0, 1])
    renamed = Labels.from_arrays(i, j, names[label], n_values=3, n_labelers=W, n_instances=I)
    one, other = (fit_jit(v, model(class_prior=prior, rtol=0.0), None, EXACT) for v in (labels, renamed))
    np.testing.assert_allclose(one.posterior, other.posterior[:, names], atol=1e-5)


@pytest.mark.parametrize("one", [True, False])
@pytest.mark.parametrize("k", [2, 3])
def test_gold_clamps_and_counts_for_the_class_prior_but_where_it_is_of_one_class(k, one):
    first = np.arange(I) < 40
    gold = np.where(first, k - 1, np.nan)
    gold[: 0 if one else 5] = 0
    labels, _ = crowd(k, gold=gold)
    found = fit_jit(labels, IntegratedFactor(class_prior="free", rtol=0.0), None, Solver(rtol=1e-9))
    p = np.asarray(found.posterior, np.float64)
    np.testing.assert_allclose(p[first, np.nan_to_num(gold[first]).astype(int)], 1, atol=1e-6)
    counted = p[~first] if one else p
    prior = jax.nn.softmax(found.params["classes"])
    np.testing.assert_allclose(prior, (counted.sum(0) + 1) / (len(counted) + k), atol=0.005)


def test_passes_and_answers_of_large_crowds():
    """Ten labels an instance, labelers of whom a few give most labels: a fit is over in a dozen passes, and right."""
    large = simulate.power_law(0, 100_000)
    labels, truth = large.labels(), large.truth
    found, peer = fit_jit(labels, IntegratedFactor()), fit_jit(labels, DawidSkene())
    accuracy, of_peer = ((np.asarray(f.posterior).argmax(1) == truth).mean() for f in (found, peer))
    nll = -np.log(np.clip(np.asarray(found.posterior)[np.arange(len(truth)), truth], 1e-7, 1)).mean()
    assert found.n_steps <= 12 and accuracy >= of_peer - 0.002 and nll <= 0.25


@pytest.mark.parametrize("positives", [1, 5])
def test_a_rare_class_is_not_found_everywhere(positives):
    rng = np.random.default_rng(0)
    truth = (np.arange(150) < positives).astype(int)
    i, j = np.tile(np.arange(12), 150), np.repeat(np.arange(150), 12)
    labels = Labels.from_arrays(i, j, np.where(rng.random(1800) < 0.9, truth[j], 1 - truth[j]))
    for model in (IntegratedFactor(), IntegratedGlad()):
        p = np.asarray(fit_jit(labels, model).posterior)
        assert (p.argmax(1) == truth).all() and -np.log(p[np.arange(150), truth]).mean() < 0.08


def table(seed: int = 0, n: int = 120, k: int = 2):
    labels, truth = crowd(k, size=n)
    i, j, label = triples(labels)
    return {"worker": i, "task": j, "label": label}, truth


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("model", ["factor", "glad"])
def test_instances_are_integrated_by_default_and_at_their_mode_on_request(model, k):
    given, truth = table(k=k)
    found, at_mode = (crowdjax.fit(given, model, instances=how) for how in (None, "map"))
    assert isinstance(found.model, IntegratedFactor) and not any("likeliest" in w for w in found.warnings)
    assert any("likeliest values" in warning for warning in at_mode.warnings)
    sure = [np.asarray(result.instances["confidence"]).mean() for result in (found, at_mode)]
    right = [(np.asarray(result.instances["label"]) == truth).mean() for result in (found, at_mode)]
    assert sure[0] < sure[1] and right[0] >= right[1] - 0.03
    assert "informedness" in found.labelers


def test_a_result_is_saved_and_predicts(tmp_path):
    given, _ = table(k=3)
    found = crowdjax.fit(given, "factor", factors=2, restarts=2)
    found.save(tmp_path / "out", report=True)
    again = crowdjax.load(tmp_path / "out").predict(given)
    assert (np.asarray(again.instances["label"]) == np.asarray(found.instances["label"])).all()


def test_settings_that_need_the_mode_take_it_and_others_are_refused():
    given, _ = table()
    features = {"task": np.arange(120), "size": np.random.default_rng(0).normal(size=120)}
    columns = {"instance_features.instance": "task"}
    assert not isinstance(crowdjax.fit(given, "factor", instance_features=features, columns=columns).model,
                          IntegratedFactor)  # fmt: skip
    with pytest.raises(InputError, match="instances: got 'integrate' with factors 4"):
        crowdjax.fit(given, "factor", factors=4, instances="integrate")
    with pytest.raises(InputError, match="instances: got 'map' with model dawid-skene; allowed with models factor"):
        crowdjax.fit(given, "dawid-skene", instances="map")
    with pytest.raises(InputError, match="instances: got 'sum'; allowed: integrate, map"):
        crowdjax.fit(given, "glad", instances="sum")


@pytest.mark.parametrize("k", [2, 3])
def test_parts_on_disk_give_the_fit_of_all_at_once(tmp_path, k):
    import pyarrow as pa
    import pyarrow.parquet

    given, _ = table(k=k, n=400)
    pa.parquet.write_table(pa.table(given), tmp_path / "labels.parquet")
    whole = crowdjax.fit(given, "factor").tables["instances"].sort_by("instance")
    settings = dict(batch=1000, max_rounds=60, rtol=1e-7)
    fit_large(tmp_path / "labels.parquet", tmp_path / "out", "factor", **settings)
    parts = crowdjax.load(tmp_path / "out").tables["instances"].sort_by("instance")
    name = whole.column_names[2]
    np.testing.assert_allclose(parts["confidence"], whole["confidence"], atol=0.01, err_msg=name)


def test_a_fit_at_the_mode_that_inflates_abilities_is_told():
    labels, _ = crowd(2)
    w = fit_jit(labels, IntegratedFactor()).params["w"]
    alpha, gamma = w[:, :1], w[:, 1:] @ contrasts(2).T / np.sqrt(2)
    assert not falls(labels, IntegratedFactor(), alpha, gamma) and falls(labels, IntegratedFactor(), 6 * alpha, gamma)
    large = simulate.power_law(0, 20_000)
    chunks = [np.concatenate(part) for part in zip(*large.chunks(), strict=True)]
    given = dict(zip(("worker", "task", "label"), chunks, strict=True))
    assert any("raising abilities" in w for w in crowdjax.fit(given, "factor", instances="map").warnings)


@pytest.mark.slow
def test_abilities_are_those_of_nuts(x64):
    """Modes lie within half a posterior standard deviation of means: the unit that abilities share is skewed."""
    import numpyro
    import numpyro.distributions as dist
    from numpyro.infer import MCMC, NUTS

    labels, _ = crowd(2, size=400)
    i, j, label = triples(labels)
    sign = jnp.asarray(2 * label - 1)

    def model():
        alpha = numpyro.sample("alpha", dist.Normal(1, 1).expand([W]))
        gamma = numpyro.sample("gamma", dist.Normal(0, 1).expand([W]))
        beta = numpyro.sample("beta", dist.Normal(1, 1).expand([400]))
        each = [
            jnp.zeros(400).at[j].add(jax.nn.log_sigmoid(sign * (z * alpha[i] * beta[j] + gamma[i]))) for z in (-1, 1)
        ]
        numpyro.factor("labels", jnp.logaddexp(*each).sum())

    chain = MCMC(NUTS(model), num_warmup=300, num_samples=700, progress_bar=False)
    chain.run(jax.random.key(0))
    draws = chain.get_samples()
    found = fit_jit(labels, IntegratedFactor(class_prior="uniform", rtol=0.0), None, EXACT).params["w"]
    for name, column in (("alpha", 0), ("gamma", 1)):
        gap = (np.asarray(draws[name]).mean(0) - np.asarray(found[:, column])) / np.asarray(draws[name]).std(0)
        assert abs(gap).max() < 0.5
