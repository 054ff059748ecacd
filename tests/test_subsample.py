"""NUTS on a stratified sub-sample as the check of an approximation of many labels."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
import pytest

import crowdjax
from crowdjax.context_api import inputs
from crowdjax.contextual import ContextualConfig, Inference, Scale, subsample
from crowdjax.labels import Labels
from crowdjax.simulate import prevalence_crowd

SIMPLE = ContextualConfig("linear", "constant", constraint="both")


def test_every_tenth_of_the_scores_has_its_share():
    rng = np.random.default_rng(0)
    score = rng.beta(0.5, 3, 5000)
    score[:2000] = 0.0  # many alike
    rows = subsample.stratified(score[:, None], 500, rng)
    assert len(set(rows.tolist())) == 500
    for q in np.linspace(0.1, 0.9, 9):
        cut = np.quantile(score, q)
        assert abs((score[rows] <= cut).sum() - 500 * (score <= cut).mean()) <= 1
    drawn = np.bincount(subsample.stratified(np.zeros((40, 1)), 20, rng), minlength=40)
    assert drawn.max() == 1 and drawn[:20].sum() not in (0, 20)  # among equal scores at random


def test_some_labels_are_those_of_the_rows():
    rng = np.random.default_rng(1)
    labeler, instance = rng.integers(0, 7, 300), rng.integers(0, 60, 300)
    gold = np.where(rng.random(60) < 0.3, rng.integers(0, 2, 60), np.nan)
    labels = Labels.from_arrays(labeler, instance, rng.integers(0, 2, 300), gold=gold, n_labelers=7, n_instances=60)
    rows = np.sort(rng.choice(60, 20, replace=False))
    few = subsample.some(labels, rows)

    def table(of, number):
        kept = np.asarray(of.counts) > 0
        columns = (np.asarray(v)[kept] for v in (of.labeler, of.instance, of.label, of.counts))
        return sorted((int(w), number[i], float(v), float(c)) for w, i, v, c in zip(*columns, strict=True))

    expected = [row for row in table(labels, np.arange(60)) if row[1] in rows]
    assert table(few, rows) == expected and few.n_labelers == 7
    np.testing.assert_array_equal(np.asarray(few.gold) < 0, np.isnan(gold[rows]))


@pytest.mark.slow
def test_laplace_of_a_simple_model_agrees_with_nuts_and_one_that_is_too_narrow_does_not(monkeypatch):
    drawn = prevalence_crowd("plain", 5, n_instances=1500, per_instance=3)
    scores = drawn.crowd.score[:, None]
    given = dict(scale=Scale.learn(scores), n=300)
    key, laplace = jax.random.key(0), Inference("laplace")
    found = subsample.compare(drawn.labels, scores, SIMPLE, key, laplace, **given)
    assert found.n == 300 and found.agrees
    fit = subsample.fit

    def narrow(*args, **kwargs):
        """Laplace whose draws lie half as far from their mean."""
        found = fit(*args, **kwargs)
        if args[4].method == "nuts":
            return found
        draws = {k: v.mean(0) + (v - v.mean(0)) / 2 for k, v in found.draws.items()}
        return dataclasses.replace(found, draws=draws)

    monkeypatch.setattr(subsample, "fit", narrow)
    wrong = subsample.compare(drawn.labels, scores, SIMPLE, key, laplace, **given)
    assert not wrong.agrees and wrong.ends == pytest.approx(0.25, abs=0.08)


@pytest.mark.slow
@pytest.mark.parametrize("agrees", [True, False])
def test_a_large_fit_that_does_not_pass_its_check_is_checked_by_a_sub_sample(monkeypatch, agrees):
    monkeypatch.setattr(inputs, "GOOD", -1.0)  # no approximation passes
    monkeypatch.setattr(inputs, "MOST_NUTS", {"instances": 0, "labels": 0})
    monkeypatch.setattr(subsample, "SIZE", 200)
    if not agrees:
        monkeypatch.setattr(subsample, "MOST_ENDS", -1.0)
    c = prevalence_crowd("plain", 5, n_instances=600, per_instance=3).crowd
    ids = np.arange(600)
    table = {"labeler": c.labeler, "instance": c.instance, "label": c.label}
    simple = dict(prevalence="linear", accuracy="constant")
    result = crowdjax.context(table, {"instance": ids, "score": c.score}, **simple)
    found = result.record["subsample"]
    assert found["agrees"] is agrees and found["n"] == 200 and result.record["inference"] == "laplace"
    said = result.record["inference_reason"]
    assert "nuts on 200 of the instances" in said and ("agrees" in said) is agrees
    assert result.prevalence["checked"] or result.record["diagnostics"]["khat"] > 0.7
