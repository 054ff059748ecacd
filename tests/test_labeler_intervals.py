"""Intervals of labelers: what unknown truths take away, and what models do not know of labelers."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, logit

import crowdjax
from crowdjax import factor, report
from crowdjax.integrated.nominal import nominal
from crowdjax.labelers import DOUBT, in_sd, intervals_of_two
from crowdjax.labels import Labels
from crowdjax.observation import fit_jit, labeler_summary
from crowdjax.result import tally, unsure_of


def crowd(seed, per_item, bias, n_labelers=15, n_items=200):
    """Draw labels by abilities and biases from none of the priors: a table, sensitivities, specificities, the truth."""
    rng = np.random.default_rng(seed)
    a, g = rng.normal(1.2, 0.8, n_labelers), bias * rng.normal(0, 0.8, n_labelers)
    z = rng.random(n_items) < 0.4
    i = np.concatenate([rng.choice(n_labelers, per_item, replace=False) for _ in range(n_items)])
    j = np.repeat(np.arange(n_items), per_item)
    label = rng.random(len(i)) < expit(g[i] + np.where(z[j], 1, -1) * a[i])
    return {"labeler": i, "instance": j, "label": label.astype(int)}, expit(a + g), expit(a - g), z


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("name", ["one-coin", "dawid-skene"])
def test_the_covariance_of_a_labeler_is_that_of_the_evidence_alone(name):
    """The block of the Hessian of the log posterior, truths summed out, in one labeler's own numbers."""
    table, *_ = crowd(0, 3, name == "dawid-skene")
    labels = Labels.from_arrays(table["labeler"], table["instance"], table["label"])
    model = factor.build(dataclasses.replace(factor.PRESETS[name], class_prior="learn"), labels)
    fit = factor.fit_jit(labels, model, jax.random.key(0), factor.Solver(rtol=1e-12))
    weights, who = fit.weights, 4
    two = weights.bias is not None

    def density(x):
        labeler = weights.labeler._replace(free=weights.labeler.free.at[who, 0].set(x[0]))
        bias = weights.bias._replace(free=weights.bias.free.at[who, 0].set(x[1])) if two else None
        return factor.log_posterior(labels, model, weights._replace(labeler=labeler, bias=bias))

    s = float(weights.labeler.free[who, 0])
    gamma = float(weights.bias.free[who, 0]) if two else 0.0
    hessian = np.asarray(jax.hessian(density)(jnp.array([s, gamma][: 1 + two])))
    expected = np.linalg.inv(-hessian)
    sens, spec = expit(s + gamma), expit(s - gamma)
    number = tally(labels, fit.posterior).agreement.sum(2)[who : who + 1]
    variances = [np.array([4.0]), np.array([4.0 if two else 0.0])]
    assert factor.PRESETS[name].labeler[1] == 2 and (not two or factor.PRESETS[name].bias[1] == 2)
    chances = [np.array([v]) for v in (sens, spec, sens)]
    found = intervals_of_two(chances, number, variances, unsure=unsure_of(labels, fit.posterior)[who : who + 1])
    for cell, sign in ((1, 1), (0, -1)):  # logit sens = s + γ, logit spec = s - γ
        direction = np.array([1.0, sign])[: 1 + two]
        half = (logit(found.confusion[2][0, cell, cell]) - logit(found.confusion[1][0, cell, cell])) / 2
        np.testing.assert_allclose(half, in_sd(0.95) * np.sqrt(direction @ expected @ direction), rtol=1e-5)


@pytest.mark.parametrize("name", ["one-coin", "dawid-skene"])
@pytest.mark.parametrize("per_item", [3, 6])
def test_nineteen_of_twenty_intervals_hold_the_labeler(name, per_item):
    """Before truths were taken for unknown .80 to .91. 24 crowds of 15 labelers: the standard error is about .01."""
    held, width = [], []
    for seed in range(24):
        table, *true = crowd(seed, per_item, name == "dawid-skene")
        found = crowdjax.fit(table, name, class_prior="learn").labelers
        at = np.asarray(found["labeler"])
        for k, which in enumerate(("sensitivity", "specificity")):
            lower, upper = (np.asarray(found[f"{which}_{end}"]) for end in ("lower", "upper"))
            held.append((lower <= true[k][at]) & (true[k][at] <= upper))
            width.append(upper - lower)
    assert 0.92 <= np.mean(held) <= 0.98
    assert np.mean(width) < 0.5  # of what knows nothing .9


def test_informedness_of_one_number_is_the_accuracy_rescaled():
    """Ends included: sens = spec, so J = 2 accuracy - 1."""
    found = crowdjax.fit(crowd(3, 3, False)[0], "one-coin").labelers
    for of_accuracy, end in (("accuracy", ""), ("lower", "_lower"), ("upper", "_upper")):
        there, here = np.asarray(found[of_accuracy]), np.asarray(found["informedness" + end])
        np.testing.assert_allclose(here, 2 * there - 1, atol=1e-6)


def test_known_truths_take_nothing_away():
    table, *_, z = crowd(1, 3, True)
    labels = Labels.from_arrays(table["labeler"], table["instance"], table["label"])
    assert (unsure_of(labels, z.astype(float)) == 0).all()
    known = crowdjax.fit(table, "dawid-skene", gold={"instance": np.arange(200), "label": z.astype(int)}).labelers
    unknown = crowdjax.fit(table, "dawid-skene").labelers
    width = lambda found: np.mean(np.asarray(found["upper"]) - np.asarray(found["lower"]))  # noqa: E731
    assert width(known) < 0.8 * width(unknown)


def test_a_labeler_without_estimates_or_of_enormous_weight_leaves_the_others_alone():
    number, unsure = np.array([[4, 4], [np.nan, 4], [1e16, 0], [4, 4]]), np.array([[1, 1], [1, 1], [0, 1e15], [1, 1]])
    found = intervals_of_two([np.full(4, 0.8)] * 3, number, (4.0, 4.0), unsure=unsure)
    for ends in (*found.accuracy, *found.informedness):
        assert np.isnan(ends).tolist() == [False, True, False, False] or np.isfinite(ends).all()
        assert ends[0] == ends[3]


def test_counted_labels_are_as_unsure_as_they_are_dependent():
    """A label that counts twice has twice the score, so four times its variance."""
    once, twice = (Labels.from_arrays([0], [0], [1], weight=[w]) for w in (1.0, 2.0))
    assert unsure_of(twice, np.array([0.3]))[0, 1] == pytest.approx(4 * unsure_of(once, np.array([0.3]))[0, 1])


@pytest.mark.usefixtures("x64")
def test_a_doubted_model_knows_distance_from_guessing_up_to_a_factor():
    """Of two classes: logit sens = γ + s exp(κ ε), logit spec = -γ + s exp(κ ε), so that variances grow by κ² s²."""
    table, *_ = crowd(2, 5, True)
    labels = Labels.from_arrays(table["labeler"], table["instance"], table["label"])
    fit = fit_jit(labels, nominal(2))
    alone, doubted = (labeler_summary(labels, nominal(2), fit, doubt=kappa).confusion for kappa in (0.0, 0.2))
    np.testing.assert_allclose(alone[0], doubted[0], atol=1e-12)
    variance = [((logit(ends[2]) - logit(ends[1])) / 2 / in_sd(0.95)) ** 2 for ends in (alone, doubted)]
    spec, sens = logit(alone[0][:, 0, 0]), logit(alone[0][:, 1, 1])
    grown = 0.2**2 * ((sens + spec) / 2) ** 2
    np.testing.assert_allclose((variance[1] - variance[0])[:, 1, 1], grown, rtol=1e-4)
    np.testing.assert_allclose((variance[1] - variance[0])[:, 0, 0], grown, rtol=1e-4)


def test_a_guesser_stays_one_however_much_is_doubted():
    rng = np.random.default_rng(3)
    z, i, j = rng.integers(3, size=300), np.tile(np.arange(6), 300), np.repeat(np.arange(300), 6)
    label = np.where(rng.random(len(i)) < 0.8, z[j], rng.integers(3, size=len(i)))
    label = np.where(i == 5, rng.integers(3, size=len(i)), label)
    labels, model = Labels.from_arrays(i, j, label, n_values=3), nominal(3)
    fit = fit_jit(labels, model)
    alone, doubted = (labeler_summary(labels, model, fit, doubt=kappa).informedness for kappa in (0.0, 0.4))
    wider = (doubted[2] - doubted[1]) / (alone[2] - alone[1])
    assert (wider[:5] > 1.5).all() and wider[5] < 1.1


@pytest.mark.long
@pytest.mark.parametrize(
    ("model", "n_classes", "doubted"), [("auto", 2, True), ("auto", 3, True), ("dawid-skene", 3, False)]
)
def test_the_record_and_the_page_say_what_intervals_allow_for(model, n_classes, doubted):
    rng = np.random.default_rng(4)
    z, i, j = rng.integers(n_classes, size=60), np.tile(np.arange(12), 25), np.repeat(np.arange(60), 5)
    label = np.where(rng.random(300) < 0.8, z[j], rng.integers(n_classes, size=300))
    found = crowdjax.fit({"labeler": i, "instance": j, "label": label}, model)
    assert (found.record.get("posterior", {}).get("doubt") == DOUBT) == doubted
    assert ("an error of some 20% in how far" in report.render(found.page())) == doubted


def told(found) -> bool:
    return any("are expected to be wrong" in said for said in found.warnings)


@pytest.mark.parametrize("model", ["majority", "one-coin", "dawid-skene", "class-skill"])
def test_intervals_that_take_doubtful_classes_for_known_are_said_to_be_too_narrow(model):
    rng = np.random.default_rng(5)
    z, i, j = rng.integers(3, size=100), np.tile(np.arange(10), 50), np.repeat(np.arange(100), 5)
    for right, said in ((0.4, True), (0.97, False)):
        label = np.where(rng.random(500) < right, z[j], rng.integers(3, size=500))
        table = {"labeler": i, "instance": j, "label": label}
        found = crowdjax.fit(table, model)
        wrong = 1 - np.asarray(found.fit.posterior).max(1).mean()
        assert told(found) == said == (wrong > 0.05)
        gold = {"instance": np.arange(100), "label": z}
        assert not told(crowdjax.fit(table, model, gold=gold)) and not told(crowdjax.fit(table, "auto"))
