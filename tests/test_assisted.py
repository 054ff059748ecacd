"""Prevalence from gold of known chances: unbiased by enumeration, equal to ppi-python, and intervals that hold."""

import dataclasses
import importlib
import itertools
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from scipy import stats

import crowdjax
from crowdjax import contextual, io, simulate
from crowdjax.contextual import assisted
from crowdjax.contextual.assisted import Sample, difference, estimates, stratified, two_samples
from crowdjax.labels import InputError, Labels

sys.path.insert(0, str(Path(__file__).parent))
ppi_cases = importlib.import_module("ppi_cases")
PPI = json.loads(ppi_cases.PATH.read_text())["cases"]

Z = np.array([1, 0, 0, 1, 0, 1.0, 0])
F = np.array([0.9, 0.3, 0.1, 0.4, 0.2, 0.8, 0.6])
CHANCE = np.array([0.3, 0.8, 0.5, 0.4, 0.9, 0.2, 0.6])


# Closed forms, over all samples


@pytest.mark.parametrize("lam", [0.0, 0.7, 1.0])
def test_horvitz_and_thompsons_mean_and_variance_are_unbiased(lam):
    """Seven instances, each drawn by itself: all 128 samples, with their chances."""
    total, squares, variance = 0.0, 0.0, 0.0
    for drawn in itertools.product((False, True), repeat=len(Z)):
        g = np.array(drawn)
        p = np.prod(np.where(g, CHANCE, 1 - CHANCE))
        found = difference(Z[g], F[g], CHANCE[g], F.mean(), lam=lam, size=len(Z))
        total, squares, variance = total + p * found.mean, squares + p * found.mean**2, variance + p * found.variance
    assert total == pytest.approx(Z.mean(), abs=1e-12)
    assert variance == pytest.approx(squares - total**2, abs=1e-12)


@pytest.mark.parametrize("lam", [[0.0, 0.0], [1.0, 0.3]])
def test_the_stratified_mean_and_variance_are_unbiased(lam):
    stratum = np.array([0, 0, 0, 0, 1, 1, 1])
    samples = [[*a, *b] for a in itertools.combinations(range(4), 3) for b in itertools.combinations(range(4, 7), 2)]
    means = np.array([F[stratum == h].mean() for h in (0, 1)])
    found = [stratified(Z[g], F[g], stratum[g], np.array([4, 3]), means, lam=np.array(lam))[:2] for g in samples]
    mean, variance = np.array(found).T
    assert mean.mean() == pytest.approx(Z.mean(), abs=1e-12)
    assert variance.mean() == pytest.approx(mean.var(), abs=1e-12)


def test_hajeks_form_is_the_weighted_mean_and_lambda_has_the_least_variance():
    alone = difference(Z, 0 * Z, CHANCE)
    assert alone.mean == pytest.approx(np.average(Z, weights=1 / CHANCE))
    tuned = difference(Z, F, CHANCE, 0.3, variance_f=1e-3)
    others = [difference(Z, F, CHANCE, 0.3, lam=lam, variance_f=1e-3).variance for lam in np.linspace(0, 1, 1001)]
    assert tuned.variance <= min(others) + 1e-12
    assert tuned.lam == pytest.approx(np.linspace(0, 1, 1001)[np.argmin(others)], abs=1e-3)


@pytest.mark.parametrize("name", PPI)
def test_it_equals_ppi_python(name):
    case, lam = name.split()
    z, f, others, weights = ppi_cases.cases()[case]
    lam = None if lam == "None" else float(lam)
    if weights is not None:  # its variance of weighted gold is not that of a ratio
        found = difference(z, f, 1 / weights, others.mean(), lam=lam)
        np.testing.assert_allclose(found.mean, PPI[name][0], atol=1e-6)
        return
    found = two_samples(z, f, others, lam=lam)
    half = stats.norm.ppf(0.95) * np.sqrt(found.variance)
    np.testing.assert_allclose([found.mean, found.mean - half, found.mean + half], PPI[name], atol=1e-6)


# Gold inside a labelled sample


def drawn(rng, n=1000, n_gold=100, rate=0.2, noise=1.0, bias=0.0):
    """A sample whose predictions are calibrated up to ``bias``; gold by chances that grow with the prediction."""
    logit = rng.normal(np.log(rate / (1 - rate)), 1.5, n)
    truth = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(float)
    f = 1 / (1 + np.exp(-(logit + bias + noise * rng.normal(size=n))))
    size = np.sqrt(0.1 + f)
    chance = n_gold * size / size.sum()
    gold = np.full(n, np.nan)
    rows = simulate.systematic(rng, chance, n_gold)
    gold[rows] = truth[rows]
    return Sample(gold, chance, np.ones(n), f)


def rate_of(rate):
    """The share of positives in the population of ``drawn``, by quadrature."""
    x, w = np.polynomial.hermite_e.hermegauss(60)
    return float((w / w.sum()) @ (1 / (1 + np.exp(-(np.log(rate / (1 - rate)) + 1.5 * x)))))


def test_simple_random_gold_has_the_variance_of_two_phases():
    """Sampling all but gold's own: var(z)/n + (1/m - 1/n) var(e), estimated by gold, in the limit of a large sample."""
    rng = np.random.default_rng(1)
    n, m = 20_000, 2000
    f = rng.random(n)
    truth = (rng.random(n) < f).astype(float)
    gold = np.where(np.arange(n) < m, truth, np.nan)
    found = estimates(Sample(gold, np.full(n, m / n), np.ones(n), f))[1]
    e = truth - found.lam[0] * f
    assert found.variance == pytest.approx(truth.var() / n + (1 / m - 1 / n) * e.var(), rel=0.05)


def test_the_bootstrap_agrees_with_the_variance_where_gold_is_plenty():
    sample = drawn(np.random.default_rng(2), n=4000, n_gold=1000)
    for found in estimates(sample):
        lower, upper = assisted.bootstrap(sample, found.lam, 0)
        assert (upper - lower) / (found.upper - found.lower) == pytest.approx(1, abs=0.1)
        assert lower < found.mean < upper


@pytest.mark.parametrize("bias", [0.0, -3.0])
def test_intervals_hold_the_rate_whatever_the_predictions_are_worth(bias):
    rng, true, n = np.random.default_rng(3), rate_of(0.1), 600
    found = [estimates(drawn(rng, n_gold=100, rate=0.1, bias=bias)) for _ in range(n)]
    error = 3 * np.sqrt(0.95 * 0.05 / n)
    for pair in zip(*found, strict=True):
        held = np.mean([e.lower <= true <= e.upper for e in pair if e.lower is not None])
        mean = np.array([e.mean for e in pair])
        assert 0.93 - error < held < 0.97 + error
        assert abs(mean.mean() - true) < 4 * mean.std() / np.sqrt(n) + 0.002
    alone, both = np.array([[e.width for e in pair] for pair in found if pair[0].lower is not None]).T
    assert (both <= 1.02 * alone).all() and both.mean() < (0.95 if bias == 0 else 1) * alone.mean()


def test_predictions_worth_nothing_are_left_out():
    rng = np.random.default_rng(4)
    sample = drawn(rng)
    alone, both = estimates(sample._replace(predictions=1 - sample.predictions))
    assert both.lam == (0.0,) and both[:4] == alone[:4]


def test_too_little_gold_gives_no_interval_and_says_how_much_is_wanted():
    sample = drawn(np.random.default_rng(5), n_gold=20, rate=0.02)
    alone, both = estimates(sample)
    assert min(assisted.effective(sample)) < 5
    assert alone.lower is both.upper is None and both.n_wanted > both.n_gold == 20


def test_a_known_population_narrows_it_further():
    rng = np.random.default_rng(6)
    sample = drawn(rng, n_gold=400)
    everyone = drawn(rng, n=200_000).predictions.mean()
    alone, items = estimates(sample)
    both = estimates(sample._replace(function=(sample.predictions, float(everyone))))[1]
    assert alone.variance > items.variance > both.variance
    assert len(both.lam) == 2 and both.lower < rate_of(0.2) < both.upper


@pytest.mark.slow
@pytest.mark.parametrize("n", [100, 200])
@pytest.mark.parametrize("scenario", ["plain", "poor", "shy", "rare"])
def test_intervals_hold_the_rate_in_the_scenarios(scenario, n):
    """Predictions by the functions of a typical labeler; of shy ones by those of labelers who are better than they."""
    held, ratio, repeats = [], [], 300
    for seed in range(repeats):
        crowd = simulate.prevalence_crowd(scenario, seed)
        c = crowd.crowd
        pi, sens, spec = simulate.scenario_functions(c.score, scenario)
        if scenario == "shy":
            pi, sens = 0.45 * pi, np.full_like(sens, 0.72)
        yes = c.label.reshape(-1, 2).sum(1)
        plus, minus = pi * sens**yes * (1 - sens) ** (2 - yes), (1 - pi) * (1 - spec) ** yes * spec ** (2 - yes)
        gold, chance = np.full(len(yes), np.nan), np.ones(len(yes))
        rows, chances = crowd.gold(n, seed)
        gold[rows], chance[rows] = c.truth[rows], chances
        alone, both = estimates(Sample(gold, chance, c.weight, plus / (plus + minus)))
        if both.lower is not None:
            held.append(both.lower <= crowd.rate <= both.upper)
            ratio.append(both.width / alone.width)
    error = 3 * np.sqrt(0.95 * 0.05 / len(held))
    assert len(held) > 0.85 * repeats
    assert 0.93 - error < np.mean(held) < 0.97 + error and max(ratio) <= 1.02


# Predictions that have not seen their own gold


def small_crowd(seed=0, n=120):
    rng = np.random.default_rng(seed)
    score, who = rng.random(n), np.tile(np.arange(3), n)
    truth = rng.random(n) < score
    label = np.where(rng.random(3 * n) < 0.8, 1, 0) == np.repeat(truth, 3)
    return score, truth, who, np.repeat(np.arange(n), 3), label


def test_held_out_posteriors_reweight_the_draws():
    score, truth, who, item, label = small_crowd()
    gold = np.where(np.arange(120) % 4 == 0, truth, np.nan)
    labels, bare = (Labels.from_arrays(who, item, label, gold=g) for g in (gold, None))
    config = contextual.ContextualConfig("linear", "constant", "global")
    fit = contextual.fit(labels, score, config, jax.random.key(0), contextual.Inference("laplace", n_draws=30))
    single = [dataclasses.replace(fit, draws={k: v[s : s + 1] for k, v in fit.draws.items()}) for s in range(30)]
    q = np.array([contextual.item_posteriors(one, bare, score) for one in single], float)  # [S, I], gold not clamped
    weight = np.where(np.isnan(gold), 1.0, 1 / np.where(gold == 1, q, 1 - q))
    expected = (weight * q).sum(0) / weight.sum(0)
    np.testing.assert_allclose(contextual.held_out_posteriors(fit, labels, score), expected, atol=2e-5)


# The tables


def context(gold, **more):
    score, truth, who, item, label = small_crowd()
    simple = dict(prevalence="linear", accuracy="constant", labelers="global", inference="laplace", draws=50)
    table = {"labeler": who, "instance": item, "label": label}
    return crowdjax.context(table, {"instance": np.arange(120), "score": score}, gold=gold, **simple, **more), truth


def test_a_result_has_the_estimates_by_gold_and_says_which_to_trust():
    rows = np.arange(0, 120, 2)
    chance = np.where(rows < 60, 0.3, 0.7)
    gold = {"instance": rows, "label": small_crowd()[1][rows], "chance": chance}
    result, truth = context(gold)
    found = {e["method"]: e for e in result.prevalence["estimates"]}
    alone, both = found["gold alone (Hajek)"], found["assisted by gold"]
    assert alone["mean"] == pytest.approx(np.average(truth[rows], weights=1 / chance))
    assert alone["n_gold"] == 60 and len(both["lambda"]) == 1 and both["lower"] < both["mean"] < both["upper"]
    assert "by the given chances" in result.prevalence["trust"]
    none, _ = context(None)
    assert "assisted by gold" not in {e["method"] for e in none.prevalence["estimates"]}
    assert none.prevalence["trust"].startswith("Without gold")
    few, _ = context({"instance": rows[:6], "label": truth[rows[:6]]})
    last = few.prevalence["estimates"][-1]
    assert last["lower"] is None and "are wanted" in last["what"] and "too little" in few.prevalence["trust"]


@pytest.mark.parametrize(("chance", "row"), [([0.5, 0.0], "row 2"), ([1.2, 0.5], "row 1"), ([0.5, np.nan], "row 2")])
def test_chances_outside_their_range_are_refused(chance, row):
    with pytest.raises(InputError, match=f"chance.*{row}.*allowed: numbers above 0, up to 1"):
        context({"instance": [3, 4], "label": [0, 1], "chance": chance})


def test_chances_may_have_another_name():
    gold = {"id": ["b"], "truth": [1], "psi": [0.25]}
    columns = {"instance": "id", "label": "truth", "chance": "psi"}
    assert io.read_chances(gold, np.array(["a", "b"]), columns=columns).tolist()[1] == 0.25


@pytest.mark.slow
def test_a_small_run_of_the_study_ends_in_a_report(tmp_path):
    from experiments import config, runner

    path = Path(__file__).parents[1] / "configs" / "assisted.toml"
    settings = ['scenarios=["poor"]', "n_gold=[150]", "n_repeats=2", 'family="constant"', "inference.n_draws=20"]
    folder = runner.run(config.load(path, settings), tmp_path).folder
    text = (folder / "SUMMARY.md").read_text()
    assert "assisted, population" in text and list(folder.glob("*.svg"))
