"""Studies of crowds with features: their generators, their peers, and small runs."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import approx_fprime
from scipy.special import expit
from scipy.stats import beta, norm

from crowdjax import datasets, integrated
from crowdjax.factor import Solver, build, fit_jit
from crowdjax.integrated import IntegratedConfig
from crowdjax.labels import Labels
from experiments import adversaries, classifier, featured, groups, raykar, unseen
from experiments.config import preset
from experiments.fitting import Draws, fit_all
from experiments.peers import Crowd
from experiments.populations import POPULATION, populations
from experiments.tables import select

EXACT = Solver(rtol=1e-8)


@pytest.fixture(scope="module")
def crowd():
    """Eight labelers on 60 instances, all labels of two draws, with two features of labelers and three of instances."""
    rng = np.random.default_rng(0)
    truth = rng.random((2, 60)) < 0.5
    chance = rng.uniform(0.6, 0.9, (2, 8))
    label = np.where(rng.random((2, 60, 8)) < chance[:, None], truth[..., None], ~truth[..., None]).astype(np.int8)
    i, j = np.tile(np.arange(8), 60), np.repeat(np.arange(60), 8)
    labels = Labels.from_arrays(i, j, label[0].ravel(), blocks=False)
    at = np.asarray(labels.labeler), np.asarray(labels.instance)
    stored = np.stack([v[at[1], at[0]] for v in label])
    weight = np.tile(np.asarray(labels.counts, np.float32), (2, 1))
    x = rng.normal(size=(2, 60, 3)) + truth[..., None]
    return labels, Draws(weight, stored, rng.normal(size=(2, 8, 2)), x), truth


# Generators


def test_what_features_add_has_variance_one_of_which_a_line_has_what_is_said():
    x = np.random.default_rng(0).normal(size=(400_000, 3))
    f = featured.effect(x)
    error = 4 / np.sqrt(len(x))
    assert abs(f.mean()) < error and abs(f.var() - 1) < 2 * error
    line = np.linalg.lstsq(np.c_[np.ones(len(x)), x], f, rcond=None)[0]
    assert 1 - (f - np.c_[np.ones(len(x)), x] @ line).var() == pytest.approx(featured.linear_share(), abs=2 * error)
    assert abs(line[3]) < error


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_features_have_their_share_of_the_variance(share):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(200_000, 3))
    y = featured.explained(rng, x, share)
    assert y.var() == pytest.approx(1, abs=0.05)  # the variance of squares of a t with 5 degrees is large
    assert np.corrcoef(y, featured.effect(x))[0, 1] ** 2 == pytest.approx(share, abs=0.02)


def test_labels_are_signs_of_a_latent_response():
    """Chances against responses drawn one by one."""
    rng = np.random.default_rng(2)
    a, b, g, n = np.array([0.3, 1.2]), np.array([0.5, 2.0]), np.array([-0.4, 0.6]), 40_000
    truth = np.array([True, False])
    said = np.mean([featured.answered(rng, featured.right(a, b, g), truth) for _ in range(n)], axis=0)
    response = np.where(truth, 1, -1) * np.outer(a, b) + g[:, None] + rng.normal(size=(n, 2, 2))
    np.testing.assert_allclose(said, (response > 0).mean(0), atol=4 * np.sqrt(2) * 0.5 / np.sqrt(n))


def test_the_best_prediction_is_the_truth_where_features_say_all_and_one_number_where_they_say_nothing():
    config = unseen.Config(n_instances=30, per_labeler=10, n_unseen=300)
    whole, nothing = (unseen.draw(config, share, 200, 0) for share in (1.0, 0.0))
    for side in (0, 1):
        assert np.ptp(nothing.best[side]) == 0
        true = whole.chances[side][-300:]
        # What is left are labelers' biases, which the features do not know.
        assert abs(whole.best[side] - true).mean() < 0.02
        # The mean of many: standard error of 300 chances.
        assert nothing.best[side][0] == pytest.approx(
            nothing.chances[side][-300:].mean(), abs=4 * nothing.chances[side].std() / np.sqrt(300) + 0.005
        )


@pytest.mark.parametrize(
    "drawn",
    [
        lambda n: unseen.draw(unseen.Config(n_repeats=n), 0.5, 10, 1),
        lambda n: groups.draw(groups.Config(n_repeats=n), 1.0, 0.9, 20, 1),
        lambda n: classifier.draw(classifier.Config(n_repeats=n), 0.4, 50, 3, 1),
        lambda n: adversaries.crowds(adversaries.Config(n_crowds=n), "10 labelers", 0.3)[1],
    ],
    ids=["unseen", "groups", "classifier", "adversaries"],
)
def test_a_repeat_is_the_same_however_many_there_are(drawn):
    jax.tree.map(np.testing.assert_array_equal, drawn(2), drawn(5))


def test_the_group_leans_and_its_record_is_wrong_as_often_as_said():
    config = groups.Config(n_instances=50)
    crowds = [groups.draw(config, 1.0, 0.75, 100, r) for r in range(40)]
    plain = [groups.draw(config, 0.0, 0.75, 100, r) for r in range(40)]
    belongs = np.stack([a.chances[0] > b.chances[0] + 1e-9 for a, b in zip(crowds, plain, strict=True)])
    assert (belongs.sum(1) == 40).all()
    wrong = np.mean([c.record != b for c, b in zip(crowds, belongs, strict=True)])
    assert wrong == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / 4000))


# Peers


def test_agreement_with_the_others_is_counted_one_by_one():
    rng = np.random.default_rng(3)
    at, label = (rng.integers(0, 4, 40), rng.integers(0, 7, 40)), rng.integers(0, 2, 40)
    for side, n in enumerate((4, 7)):
        share, count = unseen.agreement(at, label, (4, 7), side)
        for k in range(n):
            agrees = []
            for row in np.flatnonzero(at[side] == k):
                others = [2 * label[r] - 1 for r in range(40) if at[1][r] == at[1][row] and r != row]
                if others:
                    agrees.append((np.sign(sum(others)) * (2 * label[row] - 1) + 1) / 2)
            assert count[k] == len(agrees) and share[k] == pytest.approx(np.mean(agrees) if agrees else 0.5)


def test_the_regression_is_scikit_learns():
    from sklearn.linear_model import LogisticRegression, Ridge

    rng = np.random.default_rng(4)
    x, y, weight, new = rng.normal(size=(30, 3)), rng.random(30), rng.integers(1, 9, 30) * 1.0, rng.normal(size=(5, 3))
    expected = Ridge(alpha=1.0, solver="cholesky").fit(x, y, sample_weight=weight / weight.mean()).predict(new)
    np.testing.assert_allclose(unseen.ridge(x, y, weight, new), expected, atol=1e-8)
    design, doubled = np.c_[np.ones(30), x], np.r_[np.ones(30), np.zeros(30)]
    logistic = LogisticRegression(C=1.0, fit_intercept=False, tol=1e-10)
    logistic.fit(np.r_[design, design], doubled, sample_weight=np.r_[y, 1 - y])
    np.testing.assert_allclose(raykar.logistic(x, y), logistic.coef_[0], atol=1e-5)


def test_raykars_em_ends_where_the_posterior_density_is_flat():
    """The density is written out here: labelers by Beta(4, 1), the classifier by N(0, 1), truths summed out."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(80, 2))
    truth = rng.random(80) < expit(2 * x[:, 0])
    i, j = np.tile(np.arange(5), 80), np.repeat(np.arange(80), 5)
    label = np.where(rng.random(400) < np.linspace(0.6, 0.9, 5)[i], truth[j], ~truth[j]).astype(int)
    found = raykar.raykar(Crowd(i, j, label, truth * 1, 2), x)

    def density(parameters):
        w, sens, spec = parameters[:3], expit(parameters[3:8]), expit(parameters[8:])
        p = expit(np.c_[np.ones(80), x] @ w)
        table = label.reshape(80, 5)
        of = [np.prod(np.where(table == 1, a, 1 - a), axis=1) for a in (sens, 1 - spec)]
        own = norm.logpdf(w).sum() + beta.logpdf(sens, 4, 1).sum() + beta.logpdf(spec, 4, 1).sum()
        return np.log(p * of[0] + (1 - p) * of[1]).sum() + own

    p = found.posterior[:, None]
    table = label.reshape(80, 5)
    sens = ((p * table).sum(0) + 3) / (p.sum() + 3)
    spec = (((1 - p) * (1 - table)).sum(0) + 3) / ((1 - p).sum() + 3)
    at = np.r_[found.weights, np.log(sens / (1 - sens)), np.log(spec / (1 - spec))]
    assert abs(approx_fprime(at, density, 1e-6)).max() < 0.05  # EM stops at changes of 1e-4 of 80 probabilities
    assert abs(approx_fprime(at + 0.1, density, 1e-6)).max() > 0.5


# Fits


def test_a_labeler_never_seen_is_predicted_as_one_whose_labels_weigh_nothing(crowd):
    labels, draws, _ = crowd
    config = preset("dawid-skene", "labeler").config
    x = np.asarray(draws.labeler_features[0])
    weight = draws.weight[0] * (np.asarray(labels.labeler) != 7)
    model = build(config, labels, labeler_features=x)
    fit = fit_jit(labels.with_weight(jnp.asarray(weight)), model, jax.random.key(0), EXACT)
    factors = model.factors(fit.weights)
    s, g = float(factors.alpha[7, 0] * factors.beta[0, 0]), float(factors.gamma[7])
    new = np.r_[1.0, x[7]][None]
    found = unseen.unseen(model, fit.weights, factors, "labeler", new)
    assert float(found[0]) == pytest.approx((expit(s + g) + expit(s - g)) / 2, abs=1e-5)


def test_a_classifier_in_many_fits_is_the_one_of_each_alone(crowd):
    """Of every draw the features of its own, and a constant β whatever the features."""
    labels, draws, truth = crowd
    model = preset("dawid-skene", "instance", class_prior="logistic")
    found = fit_all(labels, draws, {"joint": model}, EXACT, 0)["joint"]
    for r in range(2):
        own = dataclasses.replace(labels, label=jnp.asarray(draws.label[r]))
        alone = build(model.config, own, instance_features=draws.instance_features[r])
        fit = fit_jit(own, alone, jax.random.key(0), EXACT)
        np.testing.assert_allclose(found.posterior[r], fit.posterior, atol=2e-3)
        weights = found.fit.weights.class_prior.dense[r]
        np.testing.assert_allclose(weights, fit.weights.class_prior.dense, atol=2e-3)
        assert np.mean((found.posterior[r] > 0.5) == truth[r]) > 0.85


@pytest.mark.long
def test_populations_are_fitted_as_one_alone_and_answer_by_bayes_rule(crowd):
    labels, draws, _ = crowd
    found = populations(labels, draws)[f"{POPULATION}, features"]
    own = dataclasses.replace(labels, label=jnp.asarray(draws.label[1]))
    features = integrated.Features(labeler=draws.labeler_features[1])
    alone = integrated.fit_jit(own, IntegratedConfig(spread=0.0), features=features).parameters
    np.testing.assert_allclose(found.parameters.labelers[1], alone.labelers, atol=2e-3)
    alpha, gamma = found.parameters.labelers[1].astype(float).T
    i, j, y = (np.asarray(v) for v in (labels.labeler, labels.instance, draws.label[1]))
    p = [np.where(y == 1, q, 1 - q) for q in (expit(gamma + alpha)[i], expit(gamma - alpha)[i])]
    real = np.asarray(labels.counts) > 0
    odds = np.bincount(j, np.where(real, np.log(p[0]) - np.log(p[1]), 0), labels.n_instances)
    np.testing.assert_allclose(found.posterior[1], expit(odds), atol=1e-4)


# Real sets


def test_features_of_a_real_set_are_read_by_id(tmp_path, monkeypatch):
    folder = tmp_path / "zencrowd"
    folder.mkdir()
    lines = [f"{k:02d},{'ABC'[min(k // 10, 2)]},{k % 2},{'' if k == 3 else k}" for k in reversed(range(21))]
    (folder / "labeler_features.csv").write_text("\n".join(["labeler,country,even,n_done", *lines]))
    monkeypatch.setenv(datasets.VARIABLE, str(tmp_path))
    ids = np.array([f"{k:02d}" for k in range(21)])
    x = unseen.read_features("zencrowd", "labeler", ids)
    assert x.shape == (21, 4)  # C is one labeler's alone
    np.testing.assert_allclose([x.mean(0), x.std(0)], [[0] * 4, [1] * 4], atol=1e-12)
    assert (x[:10, 0] > 0).all() and (x[10:, 0] < 0).all() and (x[1::2, 2] > 0).all()
    assert x[3, 3] == pytest.approx(0) and (np.diff(np.delete(x[:, 3], 3)) > 0).all()


def test_a_labeler_held_out_has_no_part_in_what_is_said_of_it():
    """Turning the labels of a fold round leaves its predictions by votes as they are, and moves others'."""
    rng = np.random.default_rng(6)
    i, j = np.tile(np.arange(10), 40), np.repeat(np.arange(40), 10)
    y = (np.repeat(rng.integers(0, 2, 40), 10) ^ (rng.random(400) < 0.2)).astype(int)
    fold, x = np.arange(10) % 5, rng.normal(size=(10, 2))
    config = unseen.Config()

    def said(y):
        labels = Labels.from_arrays(i, j, y, blocks=False)
        of = fold[np.asarray(labels.labeler)]
        return of, unseen._by_votes(config, labels, of, x, 0)[0], np.asarray(labels.counts) > 0

    of, before, real = said(y)
    _, after, _ = said(np.where(fold[i] == 2, 1 - y, y))
    np.testing.assert_array_equal(before[real & (of == 2)], after[real & (of == 2)])
    assert abs(before - after)[real & (of != 2)].min() > 0


# Small runs


def test_a_small_run_of_adversaries_flips_beyond_one_half():
    config = adversaries.Config(
        {"many": adversaries.Kind(30, 2.0)},
        (0.0, 0.6),
        methods=("vote", "dawid-skene"),
        with_gold=("dawid-skene",),
        n_gold=(10,),
        n_crowds=2,
    )
    tables = adversaries.run_cell(config, "many")
    accuracy = {
        (m, s): select(tables["metrics"], model=m, share=s, metric="accuracy").mean()
        for m in ("vote", "dawid-skene")
        for s in config.shares
    }
    assert min(accuracy["vote", 0.0], accuracy["dawid-skene", 0.0]) > 0.9
    assert accuracy["dawid-skene", 0.6] < 0.1 < accuracy["vote", 0.6] < 0.5
    assert adversaries.size(config, "many").fits == 3 * 2 * 2
    crowd, known = adversaries.crowds(config, "many", 0.6)[0], adversaries.order_of_gold(config, "many", 0)[:10]
    said = adversaries.with_gold(crowd, "dawid-skene", known).posterior[known]
    assert (said.argmax(1) == crowd.truth[known]).all()
    found = adversaries.report(config, tables)
    assert "| many: half of the crowds flip | 60% | 60% |" in found.text and "adversaries" in found.figures


def test_a_small_run_of_the_classifier_finds_what_features_say():
    config = classifier.Config(
        (150,),
        (3,),
        (0.8,),
        n_new=400,
        n_repeats=2,
        models={classifier.JOINT: classifier.Config().models[classifier.JOINT]},
    )
    tables = classifier.run_cell(config, 150, 3)
    auc = {
        m: select(tables["metrics"], model=m, of="classifier", metric="auc").mean()
        for m in (classifier.JOINT, classifier.TRUE)
    }
    assert 0.75 < auc[classifier.JOINT] <= auc[classifier.TRUE] + 0.03
    found = classifier.report(config, tables)
    assert "Raykar et al." in found.text and set(found.figures) == {"classifier_labels", "classifier_classifier"}


@pytest.mark.slow
def test_a_small_run_of_the_groups_study_sees_the_lean():
    models = {k: groups.Config().models[k] for k in ("majority vote", groups.OFF, groups.ON)}
    config = groups.Config((40,), 60, leans=(1.5,), records=(1.0,), shown=1.0, n_repeats=3, models=models)
    tables = groups.run_cell(config, 40)
    mae = {m: select(tables["metrics"], model=m, metric="mae").mean() for m in (groups.ON, groups.OFF, groups.SHUFFLED)}
    assert mae[groups.ON] < min(mae[groups.OFF], mae[groups.SHUFFLED])
    found = groups.report(config, tables)
    assert "learned population, features" in found.text and set(found.figures) == {"groups_answers", "groups_labelers"}


@pytest.mark.slow
def test_a_small_run_of_the_unseen_study_predicts_by_features():
    models = {k: unseen.Config().models[k] for k in ("Dawid-Skene", "Dawid-Skene, features")}
    config = unseen.Config((1.0,), (40,), 60, 20, 100, 3, models, labelers=(), instances=())
    assert unseen.cells(config) == [("simulated", 40)]
    tables = unseen.run_cell(config, "simulated", 40)
    mae = {
        m: select(tables["metrics"], model=m, side="labeler", metric="mae").mean()
        for m in (unseen.BEST, unseen.SEEN, unseen.PRIOR, "Dawid-Skene, features")
    }
    assert mae[unseen.BEST] < mae["Dawid-Skene, features"] < min(mae[unseen.SEEN], mae[unseen.PRIOR])
    assert "unseen_labelers" in unseen.report(config, tables).figures
