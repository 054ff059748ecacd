"""Labelers whose labels go together beyond truth and score: found where they do, and silence where they do not."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import special, stats

import crowdjax
from crowdjax.contextual.agreement import LEVEL, agreement, moments, tails
from crowdjax.facade import pairs
from crowdjax.labels import Labels

N = 400
NAMES = np.array(["gpt", "claude", "ann", "bob", "cat"])
SETTINGS = dict(prevalence="linear", accuracy="linear", inference="laplace")


def crowd(seed, shared=0.0, own=0.0, n=N, n_labelers=5, rate=-1.0):
    """(labels, scores) of labelers of whom the first two err by a Gaussian copula of correlation ``shared``; each
    one's accuracy has a slope in the score of its own, of standard deviation ``own`` over the scores' range."""
    rng = np.random.default_rng([seed, 5])
    score = rng.random(n)
    truth = rng.random(n) < special.expit(rate + 4 * (score - 0.5))
    slope = own * rng.standard_normal((n_labelers, 2, 1)) * (score - 0.5)
    level = np.array([1.2, 2.2])[:, None] + 0.4 * rng.standard_normal((n_labelers, 2, 1))
    right = special.expit(np.where(truth, (level + slope)[:, 0], (level + slope)[:, 1]))
    noise, common = rng.standard_normal((n_labelers, n)), rng.standard_normal(n)
    noise[:2] = np.sqrt(shared) * common + np.sqrt(1 - shared) * noise[:2]
    label = truth ^ (noise > special.ndtri(right))
    names = np.repeat(NAMES[:n_labelers], n)
    labels = {"labeler": names, "instance": np.tile(np.arange(n), n_labelers), "label": label.astype(int).ravel()}
    return labels, {"instance": np.arange(n), "score": score}


def said(result) -> list[str]:
    return [w for w in result.warnings if w.startswith("Labelers agree otherwise")]


# Closed forms


def test_the_moments_are_those_of_all_four_outcomes():
    a, b, pi = np.array([[0.1, 0.8]]), np.array([[0.25, 0.6]]), np.array([0.3])
    outcomes = list(itertools.product((0, 1), repeat=2))
    chance = [
        sum(w * abs(1 - i - a[0, k]) * abs(1 - j - b[0, k]) for k, w in ((0, 0.7), (1, 0.3))) for i, j in outcomes
    ]
    residual = np.array([moments(a, b, pi, i, j)[0][0] for i, j in outcomes])
    _, variance, third = moments(a, b, pi, 0, 0)
    np.testing.assert_allclose(np.dot(chance, residual), 0, atol=1e-14)
    np.testing.assert_allclose(np.dot(chance, residual**2), variance[0], rtol=1e-12)
    np.testing.assert_allclose(np.dot(chance, residual**3), third[0], rtol=1e-12)


def test_the_tails_are_pearsons_and_near_poissons():
    z, skew = np.array([-1.5, 0.3, 2.0, 2.0, 1.0]), np.array([0.4, 0.4, 1.2, -0.8, 0.0])
    below, above = tails(3 * z, np.full(5, 9.0), 27 * skew)
    np.testing.assert_allclose(above, stats.pearson3.sf(z, skew), rtol=1e-9)
    np.testing.assert_allclose(below, stats.pearson3.cdf(z, skew), rtol=1e-9)
    mean = 4.0  # a count of rare coincidences: a normal tail is 20 times too small there
    above = tails(np.array([10.0]), np.array([mean]), np.array([mean]))[1][0]
    assert stats.poisson.sf(14, mean) < above < stats.poisson.sf(12, mean)


# Crowds


def test_two_who_err_together_are_named():
    result = crowdjax.context(*crowd(0, shared=0.8), **SETTINGS)
    (warning,) = said(result)
    assert "gpt and claude agree on" in warning or "claude and gpt agree on" in warning
    assert "too narrow" in warning and "which way it is off cannot be told" in warning and "--gold" in warning
    first = result.record["agreement"]["pairs"][0]
    assert set(first["labelers"]) == {"gpt", "claude"} and first["observed"] > first["expected"] + 0.02
    assert result.record["agreement"]["n_pairs"] == 10 and first["common"] == N


def test_with_gold_the_warning_says_that_the_prevalence_holds():
    labels, scores = crowd(0, shared=0.8)
    truth = np.random.default_rng(1).random(N) < 0.3
    rows = np.arange(0, N, 3)
    gold = {"instance": rows, "label": truth[rows].astype(int), "chance": np.full(len(rows), 1 / 3)}
    warning = " ".join(said(crowdjax.context(labels, scores, gold=gold, **SETTINGS)))
    assert "right by gold's chances" in warning and "too narrow" not in warning


@pytest.mark.slow
def test_honest_crowds_raise_no_alarm():
    """Twenty crowds whose labelers err independently given truth and score, half with functions of their own shape and
    half with rare positives: at a level of .01 for any alarm, two or more have a chance below .02."""
    alarms = [
        bool(
            said(
                crowdjax.context(*crowd(100 + seed, own=1.5 * (seed % 2), rate=-1.0 - 2.5 * (seed % 4 > 1)), **SETTINGS)
            )
        )
        for seed in range(20)
    ]
    assert sum(alarms) <= 1


def test_of_two_labelers_nothing_is_said():
    result = crowdjax.context(*crowd(0, shared=0.9, n_labelers=2), **SETTINGS)
    assert not said(result) and result.record["agreement"] == {"n_pairs": 0, "level": LEVEL, "pairs": []}


def test_labels_are_enough_and_their_order_is_not_asked():
    labels, scores = crowd(3, shared=0.8)
    result = crowdjax.context(labels, scores, **SETTINGS)
    who = np.searchsorted(result.index.labelers, labels["labeler"])
    given = Labels.from_arrays(who, labels["instance"], labels["label"])
    again = Labels.from_arrays(who[::-1], labels["instance"][::-1], labels["label"][::-1])
    found = agreement(result.fit, given, result.scores)
    assert found == agreement(result.fit, again, result.scores)
    assert [list(p.labelers) for p in found if p.p <= LEVEL] == [
        np.searchsorted(result.index.labelers, p["labelers"]).tolist() for p in result.record["agreement"]["pairs"]
    ]


# A score that is a label


def test_a_label_that_is_the_score_cut_in_two_is_named():
    labels, scores = crowd(1)
    own = labels["labeler"] == "gpt"
    labels["label"] = np.where(own, scores["score"][labels["instance"]] > 0.62, labels["label"])
    result = crowdjax.context(labels, scores, **SETTINGS)
    (warning,) = (w for w in result.warnings if "cut at" in w)
    assert warning.startswith("The labels of gpt are the column 'score' cut at 0.6")


def test_labels_that_follow_the_score_with_slips_are_not():
    rng = np.random.default_rng(0)
    score = rng.random(300)
    label = (score > 0.5) ^ (rng.random(300) < 0.03)
    labels = Labels.from_arrays(np.zeros(300, int), np.arange(300), label)
    assert pairs.about_cuts(labels, score[:, None], ["score"], ["gpt"]) == []
