"""What a reader of answers is warned of, what is not worth a warning, and answers in the words of the labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

import crowdjax
from crowdjax import api

REAL = ("bluebirds", "duchenne", "sp_amt")
MODELS = ("dawid-skene", "auto")
CONTRADICT = "contradict at least three quarters"


def crowd(truth, right, seed: int, n_labelers: int = 12) -> pd.DataFrame:
    """Labels of every labeler on every instance, right with a chance that is the same for all or each labeler's."""
    rng, n = np.random.default_rng(seed), len(truth)
    told = np.where(rng.random((n, n_labelers)) < right, truth[:, None], 1 - truth[:, None])
    return pd.DataFrame(
        {
            "labeler": np.tile(np.arange(n_labelers), n),
            "instance": np.repeat(np.arange(n), n_labelers),
            "label": told.reshape(-1),
        }
    )


def said(result, words: str) -> bool:
    return any(words in sentence for sentence in result.warnings)


@pytest.mark.parametrize(("model", "positives"), [("dawid-skene", 1), ("dawid-skene", 5), ("factor", 2)])
def test_a_rare_class_that_is_made_up_of_the_frequent_one_is_a_warning(model, positives):
    """Twelve labelers right with .9: most labels are right on every instance, and the inferred classes are not."""
    truth = (np.arange(150) < positives).astype(int)
    table = crowd(truth, 0.9, seed=0)
    result = crowdjax.fit(table, model, class_prior=0.5)
    votes = table.groupby("instance")["label"].mean().to_numpy()
    clear = (votes >= 0.75) | (votes <= 0.25)
    against = int((clear & ((result.instances["label"] == 1) != (votes > 0.5))).sum())
    assert (result.instances["label"] == truth).mean() < 0.9 and ((votes > 0.5) == truth).all()
    assert said(result, f"{against} of 150 inferred classes {CONTRADICT}") and said(result, "--class-prior learn")
    called = (result.instances["label"] == 1).sum()
    assert said(result, f"{called} instances are inferred 1; by most labels it would be {positives}.")
    learned = crowdjax.fit(table, "dawid-skene", class_prior="learn")
    assert (learned.instances["label"] == truth).mean() > 0.98 and not said(learned, CONTRADICT)


@pytest.mark.long
@pytest.mark.parametrize("positives", [1, 2, 5, 10])
@pytest.mark.parametrize("model", ["auto", "dawid-skene", "one-coin"])
def test_a_rare_class_is_found_by_default(model, positives):
    """Twelve labelers right with .9: the majority vote is right everywhere, and so is the model, without a warning."""
    right, called = [], []
    for seed in range(3):
        truth = (np.arange(150) < positives).astype(int)
        result = crowdjax.fit(crowd(truth, 0.9, seed=seed), model)
        right.append((result.instances["label"] == truth).mean())
        called.append(result.instances["label"].sum())
    assert np.mean(right) >= 0.995 and positives / 3 <= np.mean(called) <= 3 * positives


@pytest.mark.parametrize("model", ["auto", "dawid-skene", "biased-coin"])
def test_gold_that_contradicts_the_labels_is_said_with_counts(model):
    rng = np.random.default_rng(3)
    truth = (rng.random(150) < 0.5).astype(int)
    table, known = crowd(truth, 0.8, seed=3), np.arange(40)
    exchanged = crowdjax.fit(table, model, gold={"instance": known, "label": 1 - truth[known]})
    assert said(exchanged, "of 40 gold labels contradict the most frequent label of their instance")
    honest = crowdjax.fit(table, model, gold={"instance": known, "label": truth[known]})
    assert not said(honest, "gold labels contradict")


@pytest.mark.parametrize("model", ["auto", "dawid-skene", "one-coin", "biased-coin"])
@pytest.mark.parametrize("rate", [0.5, 0.2, 0.07])
def test_gold_of_one_class_does_not_harm_the_other_instances(model, rate):
    rng = np.random.default_rng(1)
    without, with_ = [], []
    for seed in range(3):
        truth = (rng.random(150) < rate).astype(int)
        table = crowd(truth, 0.8, seed=seed)
        before = crowdjax.fit(table, model).instances["label"].to_numpy()
        for k in (0, 1):
            known = np.flatnonzero(truth == k)[:40]
            rest = np.setdiff1d(np.arange(150), known)
            found = crowdjax.fit(table, model, gold={"instance": known, "label": truth[known]}).instances["label"]
            without.append((before[rest] == truth[rest]).mean())
            with_.append((found.to_numpy()[rest] == truth[rest]).mean())
    assert np.mean(with_) >= np.mean(without) - 0.005


def test_a_large_fit_warns_as_one_in_memory_does(tmp_path):
    table = crowd((np.arange(150) < 2).astype(int), 0.9, seed=0)
    table.to_parquet(tmp_path / "t.parquet")
    large = api.fit_large(tmp_path / "t.parquet", tmp_path / "out", batch=1000, class_prior=0.5)
    assert said(large, CONTRADICT) and said(large, "by most labels it would be 2")


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("model", MODELS)
def test_ordinary_crowds_are_not_warned_of(model, seed):
    rng = np.random.default_rng(seed)
    table = crowd((rng.random(200) < 0.4).astype(int), rng.uniform(0.65, 0.9, 12), seed)
    result = crowdjax.fit(table, model)
    assert not said(result, CONTRADICT) and not said(result, "rest on the priors") and not said(result, "rests on")


@pytest.mark.parametrize("name", REAL)
def test_real_crowds_are_not_warned_of(name, data_dir):
    table = pd.read_csv(data_dir / name / "labels.csv", dtype={"labeler": str, "instance": str})
    assert not said(crowdjax.fit(table, "dawid-skene"), CONTRADICT)


@pytest.mark.parametrize("model", ["majority", *MODELS])
def test_labels_that_are_all_alike_say_nothing_of_the_other_class(model):
    table = {"labeler": list("abc") * 5, "instance": np.repeat(np.arange(5), 3), "label": [1] * 15}
    assert said(crowdjax.fit(table, model), "All 15 labels are 1. Labels of one class say nothing of the other")
    words = {**table, "label": ["duck"] * 15}
    assert said(crowdjax.fit(words, model, positive="duck"), "on instances that are not 'duck', rest on the priors")
    table["label"] = [1] * 14 + [0]
    assert said(crowdjax.fit(table, model), "All but one of 15 labels are 1.")
    table["label"] = [1] * 13 + [0] * 2
    assert not said(crowdjax.fit(table, model), "labels are 1")


@pytest.mark.parametrize("model", MODELS)
def test_gold_of_one_class_is_said_and_costs_auto_nothing(model):
    rng = np.random.default_rng(5)
    truth, able = (rng.random(150) < 0.4).astype(int), rng.uniform(0.65, 0.9, 12)
    table = crowd(truth, able, seed=5)
    known = np.flatnonzero(truth == 1)[:40]
    other = np.setdiff1d(np.arange(150), known)
    gold = {"instance": known, "label": truth[known]}
    without, with_ = (crowdjax.fit(table, model, gold=g) for g in (None, gold))
    a, b = (((r.instances["label"] == truth)[other]).mean() for r in (without, with_))
    assert (with_.instances["label"][known] == 1).all()
    assert model != "auto" or b >= a - 0.01
    assert said(with_, "All 40 gold labels are 1: they fix these instances and say nothing of")
    mixed = np.r_[known[:20], np.flatnonzero(truth == 0)[:20]]
    assert not said(crowdjax.fit(table, model, gold={"instance": mixed, "label": truth[mixed]}), "gold labels")


def test_gold_of_one_class_places_no_boundary_and_is_refused_where_it_is_asked_to():
    rng = np.random.default_rng(5)
    truth = (rng.random(150) < 0.4).astype(int)
    table, known = crowd(truth, 0.8, seed=5), np.flatnonzero(truth == 1)[:40]
    gold = {"instance": known, "label": truth[known]}
    found = crowdjax.fit(table, "auto", gold=gold)
    assert found.record["boundary"]["choice"] != "gold" and found.record["calibration"] is None
    with pytest.raises(crowdjax.InputError, match="boundary: got 'gold' with gold labels of one class; allowed: able"):
        crowdjax.fit(table, "auto", gold=gold, boundary="gold")
    few = np.r_[known, np.flatnonzero(truth == 0)[:2]]
    found = crowdjax.fit(table, "auto", gold={"instance": few, "label": truth[few]})
    assert found.record["boundary"]["choice"] != "gold" and said(found, "Only 2 of 42 gold labels are 0")
    assert said(
        found, "neither place the decision boundary nor calibrate the probabilities; 5 or more of each class do"
    )
    asked = crowdjax.fit(table, "auto", gold={"instance": few, "label": truth[few]}, boundary="gold")
    assert asked.record["boundary"]["choice"] == "gold"


@pytest.mark.parametrize("name", ["bluebirds", "ducks"])
def test_gold_of_one_class_costs_real_sets_nothing(name, data_dir):
    table = pd.read_csv(data_dir / name / "labels.csv", dtype={"labeler": str, "instance": str})
    truth = pd.read_csv(data_dir / name / "truth.csv", dtype={"instance": str}).set_index("instance")["label"]
    known = truth[truth == 0].sample(20, random_state=0)
    with_ = crowdjax.fit(table, "auto", gold={"instance": known.index.to_numpy(), "label": known.to_numpy()})
    without = crowdjax.fit(table, "auto")
    others = ~without.instances["instance"].isin(known.index)
    a, b = (r.instances.loc[others, "probability"].to_numpy() for r in (without, with_))
    np.testing.assert_allclose(a, b, atol=1e-5)


# Words

WORDS = {"labeler": list("abcabcabc"), "instance": [1] * 3 + [2] * 3 + [3] * 3, "label": list("yynnnyyyy")}
WORDS["label"] = [{"y": "yes", "n": "no"}[v] for v in WORDS["label"]]
NEW = {"labeler": list("abc"), "instance": [9] * 3, "label": ["no"] * 3}


@pytest.mark.parametrize("model", ["majority", *MODELS])
def test_labels_in_words_are_answered_in_words(model, tmp_path):
    coded = {**WORDS, "label": [int(v == "yes") for v in WORDS["label"]]}
    plain, result = crowdjax.fit(coded, model), crowdjax.fit(WORDS, model, positive="yes")
    np.testing.assert_array_equal(plain.instances["probability"], result.instances["probability"])
    assert result.instances["label"].tolist() == [["no", "yes"][v] for v in plain.instances["label"]]
    result.save(tmp_path / "out", report=model == "auto")
    kept = crowdjax.load(tmp_path / "out")
    assert kept.instances["label"].to_pylist() == result.instances["label"].tolist()
    for fitted in (result, kept):
        assert fitted.predict(NEW).instances["label"].tolist() == ["no"]
    gold = crowdjax.fit(WORDS, model, positive="yes", gold={"instance": [2], "label": ["yes"]})
    assert gold.instances["label"].tolist()[1] == "yes" and said(gold, "All 1 gold labels are 'yes'")


@pytest.mark.parametrize("label", [[1, 0, 1], [1, -1, 1], [True, False, True], ["true", "false", "true"]])
def test_labels_in_numbers_and_truth_values_are_answered_by_1_and_0(label):
    table = {"labeler": list("abc"), "instance": [1, 2, 3], "label": label}
    found = crowdjax.fit(table, "majority").instances["label"]
    assert found.tolist() == [1, 0, 1] and found.dtype == np.int8


def test_a_large_fit_answers_in_words(tmp_path):
    pa.parquet.write_table(pa.table(WORDS), tmp_path / "t.parquet")
    api.fit_large(tmp_path / "t.parquet", tmp_path / "out", "majority", batch=5, positive="yes")
    found = crowdjax.load(tmp_path / "out").instances.to_pandas().set_index("instance")["label"]
    assert found.to_dict() == {1: "yes", 2: "no", 3: "yes"}


def test_the_contextual_model_answers_in_words():
    rng = np.random.default_rng(0)
    score = rng.random(60)
    right = np.repeat(rng.random(60) < score, 3) == (rng.random(180) < 0.9)
    table = {"labeler": np.tile(list("abc"), 60), "instance": np.repeat(np.arange(60), 3)}
    table["label"] = np.where(right, "duck", "goose")
    simple = dict(prevalence="linear", accuracy="constant", labelers="global", inference="laplace", draws=50)
    found = crowdjax.context(table, {"instance": np.arange(60), "score": score}, positive="duck", **simple).instances
    assert (found["label"] == np.where(found["probability"] > 0.5, "duck", "goose")).all()


def test_who_is_always_wrong_is_an_adversary_with_any_number_of_classes():
    from crowdjax.labelers import Interval, kinds

    for k in (2, 3, 6, 10):
        least = -1 / (k - 1)
        found = kinds(Interval(*(np.array([v]) for v in (0.9 * least, least, 0.6 * least))), k)
        assert found.tolist() == ["adversary"]
        assert kinds(Interval(*(np.array([v]) for v in (0.0, 0.1 * least, 0.1))), k).tolist() == ["spammer"]
