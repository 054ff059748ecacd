"""Values that stand for missing ones, lone values far off, other units: each is a warning that names the value."""

from __future__ import annotations

import numpy as np
import pytest

import crowdjax
from crowdjax.labels import InputError
from crowdjax.outliers import about_columns, about_others, about_weights, odd_values, refuse_other_unit

RNG = np.random.default_rng(0)
SHARES = RNG.beta(1, 4, 400)
ORDINARY = {
    "uniform": RNG.random,
    "beta": lambda n: RNG.beta(0.8, 2, n),
    "normal": RNG.standard_normal,
    "lognormal": lambda n: RNG.lognormal(0, 0.5, n),
    "grades": lambda n: RNG.integers(0, 11, n).astype(float),
    "grades from -1": lambda n: RNG.integers(-1, 11, n).astype(float),
    "two values": lambda n: RNG.integers(0, 2, n) * 2.0 - 1,
}
SIMPLE = dict(prevalence="linear", accuracy="constant", labelers="global", inference="laplace", draws=50)


@pytest.mark.parametrize("code", [-1, -9, -99, 999, -9999, 1e9, 17.5])
@pytest.mark.parametrize("rows", [1, 40])
def test_a_code_for_a_missing_value_is_found_with_its_count(code, rows):
    ((value, count, low, high),) = odd_values(np.r_[SHARES, np.full(rows, code)])
    assert (value, count, low, high) == (code, rows, SHARES.min(), SHARES.max())


def test_codes_at_both_ends_and_several_at_one_are_found():
    found = [odd.value for odd in odd_values(np.r_[SHARES, -1, -99, 999, 9999, 9999])]
    assert found == [-99, -1, 999, 9999]


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_columns_are_not_warned_of(name):
    for _ in range(20):
        people = ORDINARY[name](4000)
        rank = people.argsort().argsort() / 4000
        pushed = RNG.choice(4000, 300, replace=False, p=rank**2 / (rank**2).sum())  # sampled more where it is high
        for at in (pushed, np.arange(60)):
            sample, others = people[at][:, None], people[:, None]
            refuse_other_unit("population", ["s"], sample, others)
            assert about_others("population", ["s"], sample, others, others > np.inf, np.ones(4000)) == []


def test_ranks_are_spared_by_what_is_far_and_not_by_codes():
    assert not odd_values(np.r_[SHARES, 17.5], codes_only=True)
    assert [odd.value for odd in odd_values(np.r_[SHARES, 999], codes_only=True)] == [999]


def test_another_unit_is_refused_and_both_ranges_are_named():
    people = RNG.random(500)
    for sample, population in ((people[:60], 100 * people), (100 * people[:60], people)):
        ranges = rf"column 'p' ranges from {population.min():g} to .* {sample.min():g} to .*unit"
        with pytest.raises(InputError, match=ranges):
            refuse_other_unit("population", ["p"], sample[:, None], population[:, None])


def test_populations_that_lie_close_together_or_are_few_are_not_refused():
    rare = np.r_[RNG.beta(0.3, 20, 5000), 0.97]  # 99 % below .15, and the sample is of all scores
    for population in (rare, np.array([0.5]), np.array([0.5, 0.51])):
        refuse_other_unit("population", ["p"], np.linspace(0, 1, 60)[:, None], population[:, None])


def test_what_share_of_a_population_is_elsewhere_is_said():
    people = RNG.random(500)[:, None]
    sample = people[people > 0.5][:, None]
    (said,) = about_others("population", ["p"], sample, people, people < 0.5, np.ones(500))
    assert (
        said.startswith(f"{(people < 0.5).mean():.0%} of the population have a 'p' beyond") and "extrapolated" in said
    )
    counts = np.where(people[:, 0] < 0.5, 0.001, 1.0)
    assert about_others("population", ["p"], sample, people, people < 0.5, counts) == []
    far = np.r_[people, np.full((50, 1), 999.0)]  # said to be odd, not that it is beyond
    (said,) = about_others("population", ["p"], people, far, far > 1, np.ones(550))
    assert "is 999 in 50 rows" in said


def test_one_weight_above_all_others_together_is_said():
    assert about_weights("weights", np.r_[np.ones(50), 999])[0].startswith("weights: one row of 51 has 999, 95%")
    assert about_weights("weights", RNG.pareto(2, 1000)) == about_weights("weights", None) == []


def test_a_population_of_one_999_is_a_warning_that_names_it():
    score, n = np.linspace(0.02, 0.98, 60), 60
    label = (np.repeat(RNG.random(n) < score, 3) == (RNG.random(180) < 0.9)).astype(int)
    table = {"labeler": np.tile(list("abc"), n), "instance": np.repeat(np.arange(n), 3), "label": label}
    scores, people = {"instance": np.arange(n), "score": score}, np.linspace(0, 1, 300)
    clean = crowdjax.context(table, scores, population={"score": people}, **SIMPLE)
    odd = crowdjax.context(table, scores, population={"score": np.r_[people, 999]}, **SIMPLE)
    said = [w for w in odd.warnings if "population: column 'score' is 999 in 1 row" in w]
    assert len(said) == 1 and not any("column 'score'" in w for w in clean.warnings)
    assert abs(odd.prevalence["mean"] - clean.prevalence["mean"]) < 0.01
    assert odd.curves["score"].max() < 1.1
    with pytest.raises(InputError, match=r"'score' ranges from 0 to 100, but from 0\.02 to 0\.98 in the labelled"):
        crowdjax.context(table, scores, population={"score": 100 * people}, **SIMPLE)
    for far in (20, 3):
        off = crowdjax.context(table, scores, population={"score": np.r_[people, far]}, **SIMPLE)
        assert abs(off.prevalence["mean"] - clean.prevalence["mean"]) < 0.01
    new = {"labeler": ["a"] * 20, "instance": np.arange(20), "label": [1] * 20}
    told = clean.predict(new, {"instance": np.arange(20), "score": np.linspace(0.5, 1.5, 20)}).warnings
    assert any("of the new instances have a 'score' beyond that of the labelled instances (0.02 to" in w for w in told)
    with pytest.raises(InputError, match="new instances: column 'score' ranges from 0 to 100"):
        clean.predict(new, {"instance": np.arange(20), "score": np.linspace(0, 100, 20)})
    own = dict(scores, score=np.r_[score[:-2], -1, -1])
    odd = crowdjax.context(table, own, **SIMPLE)
    assert any("scores: column 'score' is -1 in 2 rows" in w for w in odd.warnings)


@pytest.mark.parametrize("model", ["factor", "auto"])
def test_a_code_among_features_is_a_warning_that_names_it(model):
    n = 30
    truth = RNG.integers(0, 2, n)
    told = np.where(RNG.random((n, 15)) < 0.8, truth[:, None], 1 - truth[:, None])
    table = {"labeler": np.tile(np.arange(15), n), "instance": np.repeat(np.arange(n), 15), "label": told.reshape(-1)}
    people = {"labeler": np.arange(15), "age": np.r_[np.arange(20, 34), 999]}
    things = {"instance": np.arange(n), "length": np.r_[RNG.random(n - 1), -99]}
    found = crowdjax.fit(table, model, labeler_features=people, instance_features=things)
    for words in (
        "labeler features: column 'age' is 999 in 1 row",
        "instance features: column 'length' is -99 in 1 row",
    ):
        assert any(words in sentence for sentence in found.warnings)
    assert about_columns("x", ["age"], np.arange(20.0, 35)[:, None]) == []
