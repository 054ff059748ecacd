"""Every setting is used or refused, in one line of our own words; NumPy's whole numbers are whole numbers."""

from __future__ import annotations

import jax
import numpy as np
import pandas as pd
import pytest

import crowdjax
from crowdjax import adapters, api, factor, settings
from crowdjax.contextual import Inference
from crowdjax.labels import InputError

TABLE = {"labeler": list("abcabcabc"), "instance": [1] * 3 + [2] * 3 + [3] * 3, "label": [1, 1, 0, 0, 0, 1, 1, 1, 1]}
SCORES = {"instance": [1, 2, 3], "score": [0.1, 0.5, 0.9]}
ONE = factor.PRESETS["factor"]
KEY = np.array([0, 1], np.uint32)  # jax.random.PRNGKey(1), without starting a device


def refusal(call, *given, **named) -> str:
    """The one line of a call that is refused."""
    with pytest.raises(InputError) as refused:
        call(*given, **named)
    text = str(refused.value)
    assert "\n" not in text and text.isprintable()
    return text


@pytest.mark.parametrize("model", ["majority", "one-coin", "dawid-skene", "glad", "glad-linear", "factor", ONE, "auto"])
@pytest.mark.parametrize(
    "given", [{"seed": 1}, {"key": jax.random.key(1)}, {"restarts": 7}], ids=lambda given: next(iter(given))
)
def test_a_fit_that_draws_nothing_refuses_what_would_draw(model, given):
    (name,) = given
    of_factors = {"instances": "map"} if model in ("glad", "factor") else {}
    text = refusal(crowdjax.fit, TABLE, model, **given, **of_factors)
    assert text.startswith(f"{name}: given with model") and "two factors or more" in text


@pytest.mark.parametrize("model", ["auto", "integrated"])
@pytest.mark.parametrize("given", [{"solver": "em-cg"}, {"solver": "auto"}, {"solver": factor.Solver()}], ids=str)
def test_the_integrated_model_refuses_a_solver(model, given):
    assert refusal(crowdjax.fit, TABLE, model, **given).startswith(f"solver: given with model {model}; allowed with")


# name: (settings of a fit, words of the refusal)
REFUSED = {
    "factors of auto": ({"model": "auto", "factors": 2}, "factors: got 2 with model auto; allowed: 1"),
    "factors beside a configuration": ({"model": ONE, "factors": 3}, "factors: got 3 with a configuration of 1"),
    "restarts of a solver": ({"solver": factor.Solver(restarts=3)}, "restarts: got 3 for a fit that is deterministic"),
    "seed and key": (
        {"model": "factor", "factors": 2, "seed": 1, "key": KEY},
        "seed: given with a key; allowed: one of them",
    ),
    "an exact step where there is none": ({"model": "majority", "solver": "em"}, "solver em: "),
    "a key that is a number": ({"model": "factor", "factors": 2, "key": 3}, "key: got 3; allowed: one key"),
    "several keys": (
        {"model": "factor", "factors": 2, "key": np.zeros((2, 2), np.uint32)},
        "key: got ndarray of shape (2, 2)",
    ),
    "true factors": ({"factors": True}, "factors: got True"),
    "written factors": ({"factors": "2"}, "factors: got '2'"),
    "factors in an array": ({"factors": np.array([1, 2])}, "factors: got ndarray of shape (2,)"),
    "half restarts": ({"restarts": 1.5}, "restarts: got 1.5; allowed: a whole number from 1"),
    "prior of NaN": ({"class_prior": np.nan}, "class_prior: got nan"),
    "prior of infinity": ({"class_prior": np.inf}, "class_prior: got inf"),
    "prior of 0": ({"class_prior": 0}, "class_prior: got 0"),
    "true prior": ({"class_prior": True}, "class_prior: got True"),
    "written prior": ({"class_prior": "0.5"}, "class_prior: got '0.5'"),
    "prior in an array": ({"model": "dawid-skene", "class_prior": np.array([0.5])}, "class_prior: got [0.5]"),
    "no devices": ({"devices": 0}, "devices: got 0"),
    "devices below 0": ({"devices": -1}, "devices: got -1"),
    "half devices": ({"devices": 1.5}, "devices: got 1.5"),
    "written devices": ({"devices": "2"}, "devices: got '2'"),
    "more devices than there are": ({"devices": 10**6}, "devices: got 1000000; allowed: 1 to"),
    "progress that cannot be called": ({"progress": 3}, "progress: got 3"),
    "start of another kind": ({"start": "out"}, "start: got str; allowed: a fit, of crowdjax.fit or crowdjax.load"),
    "start of auto": ({"model": "auto", "start": "out"}, "start: got str"),
    "a table as the model": ({"model": pd.DataFrame(TABLE)}, "model: got DataFrame of shape (9, 3); allowed: majority"),
    "repeats in a list": ({"repeats": ["count"]}, "repeats: got ['count']"),
    "boundary in a list": ({"model": "auto", "boundary": ["able"]}, "boundary: got ['able']"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_are_refused_by_name(name):
    given, words = REFUSED[name]
    assert words in refusal(crowdjax.fit, TABLE, **given)


@pytest.mark.parametrize("seed", [None, 1.5, "7", 2**64, 2**32, -1, True, np.float64(1), [1]], ids=str)
def test_a_seed_is_a_whole_number(seed):
    line = f"seed: got {settings.brief(seed)}; allowed: a whole number from 0 to 4294967295"
    for call in (
        lambda: crowdjax.fit(TABLE, "majority", seed=seed),
        lambda: crowdjax.fit(TABLE, "factor", factors=2, seed=seed),
        lambda: api.fit_large("labels.parquet", "out", batch=9, seed=seed),
        lambda: crowdjax.context(TABLE, SCORES, seed=seed),
    ):
        assert refusal(call) == line


NO_TABLES = {
    "None": (None, "got None"),
    "number": (5, "got 5"),
    "matrix": (np.zeros((3, 3)), "got ndarray of shape (3, 3)"),
    "vector": (np.zeros(3), "got ndarray of shape (3,)"),
    "series": (pd.Series([1, 2]), "got Series of shape (2,)"),
    "text": ("no such path", "no such file"),
    "one row of a dict": ({"labeler": "a", "instance": "q", "label": 1}, "column 'labeler': got 'a'"),
}


@pytest.mark.parametrize("name", NO_TABLES)
def test_what_is_no_table_is_refused_as_such(name):
    table, words = NO_TABLES[name]
    calls = {
        "labels": lambda: crowdjax.fit(table, "majority"),
        "scores": lambda: crowdjax.context(TABLE, table),
    }
    if table is not None:  # the others may be left out
        calls["gold"] = lambda: crowdjax.fit(TABLE, "majority", gold=table)
        calls["labeler features"] = lambda: crowdjax.fit(TABLE, "one-coin", labeler_features=table)
    for role, call in calls.items():
        text = refusal(call)
        assert text.startswith(role) and words in text and "allowed: " in text


@pytest.mark.parametrize("place", [None, 5, ["out"]], ids=str)
def test_what_is_no_path_is_refused_as_such(place):
    got = f"got {place!r}"
    for call in (lambda: crowdjax.load(place), lambda: api.fit_large(place, "out", batch=9)):
        assert got in refusal(call)
    assert got in refusal(lambda: crowdjax.Prediction({}, {"warnings": []}, None).save(place))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"increasing": True, "prevalence": "constant"}, "increasing: given with prevalence 'constant'"),
        ({"increasing": "yes"}, "increasing: got 'yes'; allowed: True or False"),
        ({"draws": 1.5}, "draws: got 1.5; allowed: a whole number from 1"),
        ({"draws": "50"}, "draws: got '50'"),
        ({"inference": 3}, "inference: got 3; allowed: nuts, svi, laplace"),
        ({"labelers": None}, "labelers: got None; allowed: global, offset, function"),
        ({"transform": "log"}, "transform: got 'log' (did you mean logit?); allowed: identity, logit, rank"),
        ({"seed": 1, "key": KEY}, "seed: given with a key"),
        ({"progress": "yes"}, "progress: got 'yes'"),
    ],
    ids=str,
)
def test_settings_of_a_contextual_fit_are_refused_by_name(given, words):
    assert words in refusal(crowdjax.context, TABLE, SCORES, **given)


@pytest.mark.parametrize("n_draws", [0, 1.5, "7", True])
def test_draws_are_whole_numbers(n_draws):
    assert refusal(Inference, "laplace", n_draws=n_draws).startswith("n_draws: got")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"batch": 1.5}, "minibatch: got 1.5"),
        ({"batch": True}, "minibatch: got True"),
        ({"max_rounds": 0}, "max_rounds: got 0; allowed: a whole number from 1"),
        ({"rtol": "small"}, "rtol: got 'small'"),
        ({"rtol": np.nan}, "rtol: got nan"),
        ({"seed": 3}, "seed: given with model dawid-skene"),
        ({"restarts": 2}, "restarts: given with model dawid-skene"),
        ({"devices": 1.5}, "devices: got 1.5"),
        ({"progress": 1}, "progress: got 1"),
    ],
    ids=str,
)
def test_settings_of_a_minibatch_fit_are_refused_by_name(given, words):
    assert words in refusal(api.fit_large, "labels.parquet", "out", **{"batch": 9, **given})


def test_numpy_s_whole_numbers_are_whole_numbers_everywhere():
    two, one = np.int64(2), np.uint8(1)
    found = crowdjax.fit(TABLE, "factor", factors=two, restarts=two, seed=np.uint32(7), devices=one)
    same = crowdjax.fit(TABLE, "factor", factors=2, restarts=2, seed=7, devices=1)
    assert found.record["objective"] == same.record["objective"]
    assert found.record["seed"] == same.record["seed"] == 7
    assert factor.FactorConfig(n_factors=two).n_factors == 2
    assert Inference("laplace", n_draws=two).n_draws == 2
    assert settings.whole("replicates", np.int16(19), 19) == 19


def test_a_seed_is_recorded_where_it_drew_something_and_is_used():
    for model in ("majority", "auto"):
        assert crowdjax.fit(TABLE, model).record.get("seed") is None
    rng = np.random.default_rng(0)
    table = {
        "labeler": np.tile(np.arange(9), 40),
        "instance": np.repeat(np.arange(40), 9),
        "label": rng.integers(0, 2, 360),
    }
    settings = dict(factors=2, restarts=1, instances="map")
    found = [crowdjax.fit(table, "factor", **settings, **given) for given in ({}, {"seed": 0}, {"seed": 1})]
    assert [result.record["seed"] for result in found] == [0, 0, 1]
    first, same, other = (np.asarray(result.fit.weights.labeler.free) for result in found)
    assert (first == same).all() and (first != other).any()
    keyed = crowdjax.fit(table, "factor", **settings, key=jax.random.PRNGKey(1))
    assert keyed.record["seed"] is None
    np.testing.assert_array_equal(np.asarray(keyed.fit.weights.labeler.free), other)


@pytest.mark.slow
@pytest.mark.parametrize("instances", ["integrate", "map"])
def test_a_seed_of_factors_of_several_classes_is_recorded_and_used(instances):
    rng = np.random.default_rng(0)
    labeler, instance = np.tile(np.arange(9), 40), np.repeat(np.arange(40), 9)
    table = {"labeler": labeler, "instance": instance, "label": rng.integers(0, 3, 360)}

    def fit(**given):
        return crowdjax.fit(table, "factor", factors=2, instances=instances, **given)

    found = [fit(restarts=1, **given) for given in ({}, {"seed": 0}, {"seed": 1})]
    assert [result.record["seed"] for result in found] == [0, 0, 1]
    first, same, other = (result.fit.posterior for result in found)
    assert (first == same).all() and (first != other).any()
    assert "seed 1" in repr(found[2]) and fit(start=found[2]).record["seed"] is None


def test_an_estimator_asks_only_for_what_was_set():
    assert adapters.Aggregator()._settings() == {"model": "auto", "repeats": "count"}
    assert adapters.Factor(2)._settings() == {"model": "factor", "factors": 2}
    assert adapters.Factor(2, seed=0)._settings() == {"model": "factor", "factors": 2, "seed": 0}
