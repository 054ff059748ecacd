"""Fits for ArviZ: draws say what the tables say or what a dense posterior says, and what is missing is named."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_expit, logsumexp

import crowdjax
from crowdjax import factor, laplace, posterior
from crowdjax.facade.aggregation import _log_density
from crowdjax.facade.result import _log_density as density_of_params
from crowdjax.labels import InputError, Labels
from crowdjax.observation import table_pass
from crowdjax.observation.fit import fit_jit, predict_jit
from crowdjax.observation.integrated_factors import IntegratedFactor
from crowdjax.observation.table import instance_evidence
from crowdjax.result import tally

pytest.importorskip("arviz_base")
NAMES = np.array(["ann", "bob", "cat", "dan", "eve", "fay"])
MEASURES = ("accuracy", "sensitivity", "specificity", "informedness")


def crowd(seed: int = 0, n: int = 60, per: int = 4, k: int = 2):
    """Labels of n instances by some of six labelers each, right with chance .8, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n)
    labeler = np.concatenate([rng.choice(6, per, replace=False) for _ in range(n)])
    instance = np.repeat(np.arange(n), per)
    wrong = (truth[instance] + rng.integers(1, k, len(labeler))) % k
    label = np.where(rng.random(len(labeler)) < 0.8, truth[instance], wrong)
    return {"labeler": NAMES[labeler], "instance": instance, "label": label}, truth


LABELS, TRUTH = crowd()


def ends(table, name: str) -> np.ndarray:
    columns = ("lower", "upper") if name == "accuracy" else (f"{name}_lower", f"{name}_upper")
    return np.stack([table[column].to_numpy() for column in columns])


def agrees(drawn: np.ndarray, mean: np.ndarray, of_table: np.ndarray) -> None:
    """Draws have the table's mean and quantiles: 5 standard errors of either, by the draws' own spread."""
    n, sd = len(drawn), drawn.std(0) + 1e-3
    assert (abs(drawn.mean(0) - mean) < 5 * sd / np.sqrt(n)).all()
    found = np.quantile(drawn, [0.025, 0.975], axis=0)
    assert (
        abs(found - of_table) < 5 * 2.7 * sd / np.sqrt(n)
    ).all()  # of a normal tail's quantile, sqrt(q(1-q))/density


# Two classes, labelers alone


def dense_posterior(w: np.ndarray, said: np.ndarray) -> float:
    """log p(W | L) of Dawid and Skene's model by NumPy: six abilities, six biases, logit π; labels ±1, 0 for none."""
    a, b, logit = w[:6, None], w[6:12, None], w[12]
    plus = (abs(said) * log_expit(said * (b + a))).sum(0) + log_expit(logit)
    minus = (abs(said) * log_expit(said * (b - a))).sum(0) + log_expit(-logit)
    prior = -0.5 * ((a - 1) ** 2 + b**2).sum() / 4 + log_expit(logit) + log_expit(-logit)
    return np.logaddexp(plus, minus).sum() + prior


def second_differences(f, x: np.ndarray, h: float = 1e-3) -> np.ndarray:
    e = np.eye(len(x)) * h
    return np.array([[f(x + u + v) - f(x + u - v) - f(x - u + v) + f(x - u - v) for u in e] for v in e]) / (4 * h * h)


def grid(table=LABELS) -> np.ndarray:
    said = np.zeros((6, table["instance"].max() + 1))
    said[np.searchsorted(NAMES, table["labeler"]), table["instance"]] = 2 * table["label"] - 1
    return said


def test_a_fit_of_labelers_alone_is_normal_by_the_hessian_of_its_posterior():
    """Against second differences of a dense log posterior; and the log-likelihood against its terms."""
    result = crowdjax.fit(LABELS, "dawid-skene", class_prior="learn")
    tree = result.to_arviz(LABELS, draws=4000)
    found = tree["posterior"].to_dataset().isel(chain=0)
    mode = np.concatenate(
        [np.asarray(v, float).ravel() for v in (result.fit.weights.labeler.free, result.fit.weights.bias.free)]
        + [np.asarray(result.fit.weights.class_prior.dense, float).ravel()]
    )
    covariance = np.linalg.inv(-second_differences(lambda w: dense_posterior(w, grid()), mode))
    drawn = np.c_[found["ability"].values[:, :, 0], found["bias"].values]
    sd = np.sqrt(np.diag(covariance))[:12]
    assert (abs(drawn.mean(0) - mode[:12]) < 5 * sd / np.sqrt(4000)).all()
    np.testing.assert_allclose(drawn.std(0), sd, rtol=5 / np.sqrt(8000))
    np.testing.assert_allclose(found["sensitivity"].values, expit(drawn[:, :6] + drawn[:, 6:]), rtol=1e-4)
    pi = found["class_prior"].values[7]
    a, b, said = drawn[7, :6, None], drawn[7, 6:, None], grid()
    sides = [(abs(said) * log_expit(said * (b + s * a))).sum(0) + np.log(p) for s, p in ((1, pi), (-1, 1 - pi))]
    each = tree["log_likelihood"]["labels"].values[0, 7]
    np.testing.assert_allclose(each, np.logaddexp(*sides), rtol=1e-4)
    assert tree["posterior"].attrs["method"] == "laplace" and "Hessian" in tree["posterior"].attrs["approximation"]
    assert list(found["labeler"].values) == list(NAMES)


def test_the_labels_are_observed_data():
    tree = crowdjax.fit(LABELS, "majority").to_arviz(LABELS, draws=10)["observed_data"].to_dataset()
    rows = zip(
        *(tree[name].values.tolist() for name in ("labeler_of_label", "instance_of_label", "label")), strict=True
    )
    expected = zip(*(np.asarray(v).tolist() for v in LABELS.values()), strict=True)
    assert sorted(rows) == sorted(expected)


def test_majority_counts_as_its_table_does():
    result = crowdjax.fit(LABELS, "majority")
    found = result.to_arviz(draws=4000)["posterior"].to_dataset()
    for name in ("sensitivity", "specificity"):
        agrees(found[name].values[0], result.tables["labelers"][name].to_numpy(), ends(result.tables["labelers"], name))


@pytest.mark.slow
def test_laplace_covers_and_intervals_that_take_truths_for_known_are_too_narrow():
    """Crowds from none of the preset's priors: 15 labelers, 200 instances of three labels; 95 % intervals of the
    logits of sensitivity and specificity. Intervals of one crowd go together: standard error about .012."""
    held, narrow = [], []
    for seed in range(25):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(1.2, 0.8, 15), rng.normal(0, 0.8, 15)
        truth = rng.random(200) < 0.4
        i = np.concatenate([rng.choice(15, 3, replace=False) for _ in range(200)])
        j = np.repeat(np.arange(200), 3)
        label = rng.random(600) < expit(b[i] + np.where(truth[j], 1, -1) * a[i])
        labels = Labels.from_arrays(i, j, label, n_labelers=15, n_instances=200)
        config = dataclasses.replace(factor.PRESETS["dawid-skene"], class_prior="learn")
        model = factor.build(config, labels)
        fit = factor.fit_jit(labels, model, jax.random.key(0))
        found = laplace.gaussian(_log_density, fit.weights, labels, model)
        covariance = found.root @ found.root.T
        mode = [np.asarray(v.free, float)[:, 0] for v in (fit.weights.labeler, fit.weights.bias)]
        own, n = found.mean[:15], tally(labels, fit.posterior).agreement.sum(2)
        np.testing.assert_allclose(own, mode[0], rtol=1e-6)
        start = 15 + fit.weights.instance.dense.size
        of_bias = slice(start, start + 15)
        np.testing.assert_allclose(found.mean[of_bias], mode[1], rtol=1e-6)
        va, vb = np.diag(covariance)[:15], np.diag(covariance)[of_bias]
        cab = covariance[np.arange(15), np.arange(of_bias.start, of_bias.stop)]
        plus, minus = expit(mode[0] + mode[1]), expit(mode[0] - mode[1])
        p, q = n[:, 1] * plus * (1 - plus), n[:, 0] * minus * (1 - minus)
        block = np.linalg.inv(
            np.array([[p + q + 0.25, p - q], [p - q, p + q + 0.25]]).transpose(2, 0, 1)
        )  # truths known
        for sign in (1, -1):
            away = abs(mode[0] + sign * mode[1] - a - sign * b)
            held.append(away < 1.96 * np.sqrt(va + vb + 2 * sign * cab))
            narrow.append(away < 1.96 * np.sqrt(block[:, 0, 0] + block[:, 1, 1] + 2 * sign * block[:, 0, 1]))
    assert 0.92 < np.mean(held) < 0.985
    assert np.mean(narrow) < 0.91


# Two classes, instances at their mode or integrated out


@pytest.mark.slow
def test_instances_at_their_mode_leave_one_draw_which_says_so(tmp_path):
    result = crowdjax.fit(LABELS, "factor", instances="map")
    tree = result.to_arviz()
    found = tree["posterior"].to_dataset()
    assert found.sizes["chain"] == found.sizes["draw"] == 1 and tree["posterior"].attrs["method"] == "mode"
    assert "one draw" in tree["posterior"].attrs["approximation"]
    np.testing.assert_array_equal(found["ability"].values[0, 0], np.asarray(result.fit.weights.labeler.free))
    np.testing.assert_array_equal(found["instance_factor"].values[0, 0], np.asarray(result.fit.weights.instance.free))
    result.save(tmp_path / "out")
    again = crowdjax.load(tmp_path / "out").to_arviz()["posterior"].to_dataset()
    np.testing.assert_array_equal(again["ability"], found["ability"])


@pytest.fixture(scope="module")
def integrated():
    return crowdjax.fit(LABELS, "integrated")


@pytest.mark.slow
@pytest.mark.parametrize("posterior_of", ["axis", "laplace"])
def test_draws_of_the_integrated_model_are_those_behind_its_table(posterior_of):
    result = crowdjax.fit(LABELS, "auto" if posterior_of == "axis" else "integrated", posterior=posterior_of)
    found = result.to_arviz(LABELS, draws=4000)["posterior"].to_dataset()
    assert result.to_arviz(LABELS, draws=5)["posterior"].attrs["method"] == posterior_of
    table = result.tables["labelers"]
    for name in MEASURES:
        agrees(found[name].values[0], table[name].to_numpy(), ends(table, name))


@pytest.mark.slow
def test_the_log_likelihood_of_the_integrated_model_is_the_mixture_over_its_axis(integrated):
    """Against Gauss and Hermite's quadrature in NumPy."""
    tree = integrated.to_arviz(LABELS, draws=3)
    one = tree["posterior"].to_dataset().isel(chain=0, draw=1)
    spread, said = float(integrated.fit.parameters.spread), grid()
    z, weight = np.polynomial.hermite_e.hermegauss(60)
    x = np.r_[1 + spread * z, -1 + spread * z]
    eta = one["ability"].values[:, 0, None] * x + one["bias"].values[:, None]
    terms = (abs(said)[:, :, None] * log_expit(said[:, :, None] * eta[:, None])).sum(0)
    expected = logsumexp(terms + np.log(np.r_[weight, weight] / weight.sum() / 2), axis=1)
    np.testing.assert_allclose(tree["log_likelihood"]["labels"].values[0, 1], expected, rtol=2e-3)


@pytest.mark.slow
def test_a_loaded_fit_gives_the_same_draws_and_names_the_labels_that_they_need(integrated, tmp_path):
    integrated.save(tmp_path / "out")
    back = crowdjax.load(tmp_path / "out")
    one, other = (r.to_arviz(LABELS, draws=20)["posterior"].to_dataset() for r in (integrated, back))
    for name in one:
        np.testing.assert_allclose(one[name], other[name], rtol=1e-5, err_msg=name)
    with pytest.raises(InputError, match=r"draws of posterior='axis' are made from the labels, and a result holds no"):
        back.to_arviz()
    with pytest.raises(InputError, match="gold: given with a fit whose labelers are judged by labels alone"):
        back.to_arviz(LABELS, gold={"instance": [0], "label": [1]})


def test_laplace_of_a_loaded_integrated_fit_needs_no_labels(tmp_path):
    result = crowdjax.fit(LABELS, "integrated", posterior="laplace")
    result.save(tmp_path / "out")
    found = crowdjax.load(tmp_path / "out").to_arviz(draws=4000)["posterior"].to_dataset()
    assert "accuracy" not in found
    w = np.concatenate([found["ability"].values[0, :, :, 0], found["bias"].values[0]], axis=1)
    mode, covariance = np.asarray(result.fit.parameters.labelers), np.asarray(result.fit.covariance)
    sd = np.sqrt(np.concatenate([covariance[:, 0, 0], covariance[:, 1, 1]]))
    assert (abs(w.mean(0) - mode.T.ravel()) < 5 * sd / np.sqrt(4000)).all()
    np.testing.assert_allclose(w.std(0), sd, rtol=0.03)  # 256 points of a lattice


def test_what_a_fit_had_besides_labels_is_asked_for():
    gold = {"instance": np.arange(20), "label": TRUTH[:20]}
    result = crowdjax.fit(LABELS, "one-coin", gold=gold)
    with pytest.raises(InputError, match="gold: none given, and the fit used some"):
        result.to_arviz(LABELS)
    tree = result.to_arviz(LABELS, gold=gold, draws=20)
    clamped = tree["log_likelihood"]["labels"].values[0, 0, :20]
    one = tree["posterior"].to_dataset().isel(chain=0, draw=0)
    said, sign = grid()[:, :20], 2 * TRUTH[:20] - 1
    own = (abs(said) * log_expit(said * sign * one["ability"].values)).sum(0)
    pi = float(one["class_prior"])
    np.testing.assert_allclose(clamped, own + np.log(np.where(sign > 0, pi, 1 - pi)), rtol=1e-4)
    with pytest.raises(InputError, match="gold: given with a fit which was fitted without"):
        crowdjax.fit(LABELS, "one-coin").to_arviz(LABELS, gold=gold)
    with pytest.raises(InputError, match="Laplace's approximation is made from the labels, and a result holds no"):
        crowdjax.fit(LABELS, "one-coin").to_arviz()
    with pytest.raises(InputError, match="gold: given without labels"):
        result.to_arviz(gold=gold)


def test_other_labels_are_rejected():
    result = crowdjax.fit(LABELS, "one-coin")
    less = {name: values[:-1] for name, values in LABELS.items()}
    with pytest.raises(InputError, match="draws take the labels that were fitted"):
        result.to_arviz(less)
    with pytest.raises(InputError, match="labelers are not those of the fit"):
        result.to_arviz({**LABELS, "labeler": np.char.upper(LABELS["labeler"])})


# More than two classes

THREE, _ = crowd(1, k=3)


@pytest.mark.parametrize("model", ["dawid-skene", "biased-coin"])
def test_confusions_are_drawn_from_what_the_table_reports(model):
    result = crowdjax.fit(THREE, model)
    found = result.to_arviz(THREE, draws=4000)["posterior"].to_dataset()
    drawn, table = found["confusion"].values[0], result.tables["confusion"]
    np.testing.assert_allclose(drawn.sum(-1), 1, rtol=1e-5)
    assert found["confusion"].dims == ("chain", "draw", "labeler", "truth", "label")
    mean = table["probability"].to_numpy().reshape(6, 3, 3)
    off = 0.02 if model == "biased-coin" else 0.0  # the table's are at the estimate, not means of a skewed posterior
    assert (abs(drawn.mean(0) - mean) < off + 5 * drawn.std(0) / np.sqrt(4000)).all()
    ends_of = np.stack([table[end].to_numpy().reshape(6, 3, 3) for end in ("lower", "upper")])
    assert (abs(np.quantile(drawn, [0.025, 0.975], axis=0) - ends_of) < 0.04).all()


@pytest.mark.slow
def test_factors_of_three_classes_are_drawn_with_the_truths_summed_out():
    """Wider than what takes truths for known; the log-likelihood adds up to that of a pass at the same draw."""
    i, j = np.searchsorted(NAMES, THREE["labeler"]), THREE["instance"]
    labels = Labels.from_arrays(i, j, THREE["label"], n_values=3)
    model = IntegratedFactor()
    fit = fit_jit(labels, model)
    found = laplace.gaussian(density_of_params, fit.params, labels, model)
    params = laplace.unravelled(fit.params, found.draws(np.random.default_rng(0), 4))
    drawn = posterior.of_params(jax.tree.map(lambda v: v[None], params), model, labels)
    one = jax.tree.map(lambda v: v[2], params)
    value = table_pass(labels, model.table(one), model.log_points(one), model.class_of_point(one)).value
    np.testing.assert_allclose(drawn.log_likelihood[0, 2].sum(), float(value), rtol=1e-5)
    known = np.asarray(model.covariance(fit.params, predict_jit(labels, model, fit.params).counts))[:, 0, 0]
    at = np.asarray(laplace.unravelled(fit.params, np.diag(found.root @ found.root.T)[None])["w"])[0, :, 0]
    assert (at > known).all()
    tree = crowdjax.fit(THREE, "factor").to_arviz(THREE, draws=20)
    assert tree["posterior"].attrs["method"] == "laplace" and "ability" in tree["posterior"]
    np.testing.assert_allclose(tree["posterior"]["class_prior"].sum("truth"), 1, rtol=1e-5)


def test_the_evidence_of_instances_adds_up_to_that_of_the_labels():
    """With gold, weights and a prior of each instance, in blocks."""
    rng = np.random.default_rng(0)
    i, j = np.nonzero(rng.random((5, 40)) < 0.6)
    gold = np.where(rng.random(40) < 0.2, 1.0, np.nan)
    labels = Labels.from_arrays(i, j, rng.integers(0, 3, len(i)), weight=rng.random(len(i)), gold=gold, n_values=3)
    table = jax.nn.log_softmax(jnp.asarray(rng.normal(size=(5, 3, 3))), axis=1)
    prior = jax.nn.log_softmax(jnp.asarray(rng.normal(size=(labels.n_instances, 3))), axis=1)
    points = jnp.eye(3)
    each = instance_evidence(labels, table, prior, points)
    np.testing.assert_allclose(each.sum(), table_pass(labels, table, prior, points).value, rtol=1e-5)
    real = np.asarray(labels.counts) > 0
    who, what, weight = (np.asarray(v)[real] for v in (labels.labeler, labels.label, labels.counts))
    h = np.asarray(prior, float).copy()
    np.add.at(h, np.asarray(labels.instance)[real], weight[:, None] * np.asarray(table)[who, what])
    h[gold == 1] += np.log([1e-300, 1, 1e-300])
    np.testing.assert_allclose(each, logsumexp(h, axis=1), rtol=1e-4, atol=1e-5)


def test_draws_of_confusions_go_through_programs_on_disk(tmp_path):
    """Where a fit runs with programs kept, as the commands do."""
    code = (
        "import sys; sys.path[:0] = ['tests']\n"
        "from test_arviz import THREE\n"
        "import crowdjax\n"
        "print(crowdjax.fit(THREE, 'biased-coin').to_arviz(THREE, draws=20)['posterior'].sizes['draw'])\n"
    )
    env = os.environ | {"CROWDJAX_CACHE": str(tmp_path), "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[1], env=env, capture_output=True, text=True
    )
    assert done.stdout.strip() == "20", done.stderr
