"""Gold and scores: where they place the classes and what gold says of probabilities, against dense NumPy and SciPy."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit, logsumexp
from scipy.stats import norm, rankdata

import crowdjax
from crowdjax.integrated import (
    around,
    calibrate,
    calibrated,
    candidates,
    informed,
    normal_scores,
    of_gold,
    score_log_likelihood,
    without_own,
)

RNG = np.random.default_rng(0)


def test_each_gold_instance_is_judged_by_the_boundary_of_the_others():
    prior = around(jnp.asarray(0.6))
    positive = expit(RNG.normal(0, 2, (7, 1)) - 2 * np.asarray(candidates(prior)))
    gold = RNG.choice([0, 1], 7)
    right = of_gold(jnp.asarray(positive), gold)
    found = without_own(informed(prior, jnp.log(right).sum(0)), right)
    for j in range(7):
        others = np.arange(7) != j
        mass = informed(prior, jnp.log(right[others]).sum(0)).mass
        assert found[j] == pytest.approx(float(mass @ right[j]), rel=1e-4)


@pytest.mark.parametrize(("true", "n"), [(0.5, 400), (1.0, 400), (2.0, 400), (0.5, 3)])
def test_the_slope_is_learned_from_gold_and_stays_near_one_with_little(true, n):
    """Truths drawn with chances σ(a logit p): against the same posterior by quadrature over log a in NumPy."""
    p = expit(RNG.normal(0, 2, n))
    truth = np.where(RNG.random(n) < expit(true * logit(p)), 1, -1)
    found = calibrate(jnp.asarray(np.where(truth > 0, p, 1 - p)))
    log_a = np.linspace(-0.8, 0.8, 4001)
    log = -np.logaddexp(0, -np.exp(log_a) * (truth * logit(p))[:, None]).sum(0) - 0.5 * (log_a / 0.2) ** 2
    weight = np.exp(log - logsumexp(log))
    assert float(found.mass @ found.slopes) == pytest.approx(weight @ np.exp(log_a), rel=1e-3)
    new = np.array([0.02, 0.5, 0.8])
    expected = expit(logit(new)[:, None] * np.exp(log_a)) @ weight
    np.testing.assert_allclose(calibrated(jnp.asarray(new), found), expected, atol=1e-3)
    assert float(calibrated(jnp.array([0.5]), found)[0]) == pytest.approx(0.5, abs=1e-6)
    if n == 3:
        assert float(found.mass @ found.slopes) == pytest.approx(1, abs=0.15)


def test_normal_scores_go_by_ranks():
    score = RNG.choice(np.linspace(0, 1, 9), 50)
    expected = norm.ppf((rankdata(score) - 0.5) / 50)
    np.testing.assert_allclose(normal_scores(score), expected, atol=1e-5)
    np.testing.assert_allclose(normal_scores(np.exp(5 * score)), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("with_gold", [False, True])
def test_a_scores_likelihood_is_at_its_maximum_over_the_classes(with_gold):
    """EM against Nelder and Mead on the same sum."""
    truth = RNG.choice([-1, 1], 80)
    u = normal_scores(truth * 0.8 + RNG.normal(size=80))
    positive = expit(2 * truth[:, None] + RNG.normal(0, 1, (80, 1)) - np.array([-1.0, 0.0, 1.0]))
    gold = np.where(np.arange(80) < 9, truth > 0, -1) if with_gold else None
    found = score_log_likelihood(jnp.asarray(positive), u, gold)
    for c in range(3):
        p = positive[:, c]
        plus, minus = (p, 1 - p) if gold is None else (np.where(gold == 0, 0, p), np.where(gold == 1, 0, 1 - p))

        def loss(v, plus=plus, minus=minus):
            sd = np.exp(v[2])
            return -np.log(plus * norm.pdf(u, v[0], sd) + minus * norm.pdf(u, v[1], sd)).sum()

        best = minimize(loss, [0.5, -0.5, 0.0], method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-8})
        assert float(found[c]) == pytest.approx(-best.fun, abs=0.01)


def biased_crowd(seed: int):
    """A crowd that says no too often (mean γ = -1): labels, truth, and scores that know a little of the truth."""
    rng = np.random.default_rng(seed)
    n_labelers, n_instances, each = 40, 400, 8
    x = rng.choice([-1, 1], n_instances) * rng.normal(1, 0.8, n_instances)
    truth = x > 0
    alpha, gamma = rng.normal(1.2, 0.5, n_labelers), rng.normal(-1, 0.5, n_labelers)
    labeler = np.concatenate([rng.choice(n_labelers, each, replace=False) for _ in range(n_instances)])
    instance = np.repeat(np.arange(n_instances), each)
    label = rng.random(len(labeler)) < expit(alpha[labeler] * x[instance] + gamma[labeler])
    score = expit(np.where(truth, 1.0, -1.0) + rng.normal(size=n_instances))
    table = pd.DataFrame({"labeler": labeler, "instance": instance, "label": label.astype(int)})
    return table, truth, pd.DataFrame({"instance": np.arange(n_instances), "score": score})


def test_a_score_puts_the_boundary_of_a_biased_crowd_right():
    """Such crowds gain .03, with a standard deviation of .03 between them; a boundary that stays gains 0."""
    gains = []
    for seed in range(2):
        table, truth, scores = biased_crowd(seed)
        right = lambda result, truth=truth: (result.instances["label"].to_numpy() == truth).mean()  # noqa: E731
        found, without = crowdjax.fit(table, "auto", scores=scores), crowdjax.fit(table, "auto")
        gains.append(right(found) - right(without))
        assert abs(found.record["boundary"]["center"]) < without.record["boundary"]["center"]
    assert found.record["boundary"]["choice"] == "score" and found.record["calibration"] is None
    assert np.mean(gains) > 0.01


def test_gold_calibrates_the_others_and_stays_itself(tmp_path):
    table, truth, scores = biased_crowd(0)
    gold = pd.DataFrame({"instance": np.arange(40), "label": truth[:40].astype(int)})
    for given, choice in (({}, "gold"), ({"scores": scores}, "score")):
        found = crowdjax.fit(table, "auto", gold=gold, **given)
        p = found.instances["probability"].to_numpy()
        assert found.record["boundary"]["choice"] == choice
        assert p[:40].tolist() == gold["label"].to_list()
        assert (found.instances["label"].to_numpy() == truth).mean() > 0.83
        calibration = found.record["calibration"]
        assert 0.5 < calibration["slope"] < 2 and 0 < calibration["sd"] <= 0.25
        found.save(tmp_path / choice)
        again = crowdjax.load(tmp_path / choice).predict(table).instances["probability"].to_numpy()
        np.testing.assert_allclose(again[40:], p[40:], atol=1e-5)


TABLE, _, SCORES = biased_crowd(0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scores": SCORES.iloc[1:]}, "no row for instance 0"),
        ({"scores": SCORES.assign(score=SCORES["score"].where(SCORES["instance"] != 7))}, "'score'.*instance 7"),
        ({"scores": SCORES.assign(score=0.5)}, "scores: column 'score' is 0.5 throughout"),
        (
            {"scores": SCORES.assign(other=1), "columns": {"scores.score": ["score", "other"]}},
            "scores: columns score, other; allowed: one",
        ),
        ({"scores": SCORES, "boundary": "able"}, "boundary: got 'able' with scores; allowed with scores: score"),
        ({"boundary": "score"}, "boundary: got 'score' without scores"),
        ({"scores": SCORES, "model": "one-coin"}, "scores: given with model one-coin; allowed with integrated, auto"),
    ],
)
def test_wrong_scores_are_refused(settings, message):
    with pytest.raises(crowdjax.InputError, match=message):
        crowdjax.fit(TABLE, **{"model": "auto", **settings})


def test_few_labelers_leave_nothing_for_a_score_to_place():
    few = TABLE[TABLE["labeler"] < 2]
    found = crowdjax.fit(few, "auto", scores=SCORES)
    assert found.record["boundary"]["choice"] == "gap"
    assert any("scores were left out" in sentence for sentence in found.warnings)
