"""Majority and one-coin of more than 50 classes through ``crowdjax.fit``: the answers are those of the table pass."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
import pytest

import crowdjax
from crowdjax.adapters import Aggregator
from crowdjax.cautions import about_support, support
from crowdjax.facade import many
from crowdjax.facade.models import numbers_of, plan_auto
from crowdjax.labels import InputError, Labels
from crowdjax.observation import OneCoin, Voted
from crowdjax.result import MOST_CLASSES, votes_of

K = 60
TOLERANCE = 1e-3  # of probabilities, where the same maximum is reached in float32 by another way


def crowd(k: int, n: int = 900, labelers: int = 12, each: int = 6, seed: int = 0):
    """(labels as a table, the truth): able and poor labelers, whose errors are any other class."""
    rng = np.random.default_rng(seed)
    instance = np.repeat(np.arange(n // each), each)
    truth = rng.integers(0, k, n // each)
    labeler = np.concatenate([rng.choice(labelers, each, replace=False) for _ in truth])
    right = rng.random(n) < np.linspace(0.2, 0.9, labelers)[labeler]
    label = np.where(right, truth[instance], (truth[instance] + rng.integers(1, k, n)) % k)
    return {"labeler": labeler, "instance": instance, "label": label}, truth


TABLE, TRUTH = crowd(K)
ORDER = list(range(K))
GOLD = {"instance": [0, 1, 2], "label": [5, 0, 59]}


def dense(table, name="one-coin", **settings):
    """The fit by the table of each labeler."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(many, "MOST_CLASSES", 10_000)
        return crowdjax.fit(table, name, order=ORDER, **settings)


@pytest.fixture(scope="module")
def fits():
    return {name: crowdjax.fit(TABLE, name, order=ORDER) for name in ("one-coin", "majority")}


def columns(table, *names):
    return np.stack([table[name].to_numpy() for name in names], 1).astype(float)


@pytest.mark.parametrize(
    ("name", "settings"),
    [("one-coin", {}), ("one-coin", {"gold": GOLD, "classes": "exchangeable"}), ("majority", {"class_prior": "learn"})],
)
def test_answers_are_those_of_the_table_of_each_labeler(name, settings):
    table = TABLE | {"weight": np.random.default_rng(1).choice([0.5, 1, 2], len(TABLE["label"]))}
    found, other = crowdjax.fit(table, name, order=ORDER, **settings), dense(table, name, **settings)
    assert isinstance(found.model, Voted) and not isinstance(other.model, Voted)
    assert found.record["objective"] == pytest.approx(other.record["objective"], rel=1e-5)
    assert found.record["class_shares"] == pytest.approx(other.record["class_shares"], abs=TOLERANCE)
    a, b = (result.tables["instances"] for result in (found, other))
    assert a.column_names == b.column_names and a["label"].equals(b["label"])
    p = [f"p_{n}" for n in range(1, 6)]
    np.testing.assert_allclose(columns(a, *p), columns(b, *p), atol=TOLERANCE)
    if name == "one-coin":
        ends = ("n_labels", "accuracy", "lower", "upper")
        a, b = (result.tables["labelers"] for result in (found, other))
        np.testing.assert_allclose(columns(a, *ends), columns(b, *ends), atol=TOLERANCE)
    assert found.warnings == other.warnings


def test_a_majority_labelers_accuracy_is_a_beta_of_its_right_labels(fits):
    people = fits["majority"].tables["labelers"]
    mean = columns(people, "accuracy", "lower", "upper")
    assert (np.diff(mean[:, [1, 0, 2]]) > 0).all()
    right = TABLE["label"] == TRUTH[TABLE["instance"]]
    shares = [right[TABLE["labeler"] == i].mean() for i in people["labeler"].to_pylist()]
    assert np.corrcoef(mean[:, 0], shares)[0, 1] > 0.9


def test_what_the_sentences_go_by_is_counted_as_by_dense_votes():
    rng = np.random.default_rng(3)
    labels = crowdjax.io.read_triples(TABLE, order=ORDER).labels()
    p = votes_of(labels) ** 2 + rng.random((labels.n_instances, K)) / 9  # now and then against a clear vote
    p /= p.sum(1, keepdims=True)
    p[:9] = np.roll(p[:9], 1, axis=1)
    known = np.where(np.arange(len(p)) < 4, 1.0, np.nan)
    codes = np.argsort(-p, axis=1, kind="stable")[:, :5].astype(np.int32)
    counted = many.sparse_tally(labels, codes, np.take_along_axis(p, codes, 1))
    found = many.support_of(counted.votes, codes, np.take_along_axis(p, codes, 1), p.sum(0), known)
    expected = support(votes_of(labels), p, known)
    assert found.answered == expected.answered and found.voted == expected.voted and found.labels == expected.labels
    assert found.against == expected.against and found.expected == pytest.approx(expected.expected, rel=1e-5)
    assert about_support(found, ORDER, "") == about_support(expected, ORDER, "")
    whole = many.whole(counted)
    np.testing.assert_allclose(whole.votes, votes_of(labels))
    by_class = np.einsum("jk,jl->kl", np.where(p >= np.sort(p, axis=1)[:, -5:-4], p, 0), votes_of(labels))
    np.testing.assert_allclose(whole.agreement[0], by_class, rtol=1e-5)


@pytest.mark.parametrize("name", ["one-coin", "majority"])
def test_it_is_saved_reported_loaded_predicts_and_goes_on(fits, name, tmp_path):
    result = fits[name]
    result.save(tmp_path / "out", report=True)
    loaded = crowdjax.load(tmp_path / "out")
    assert loaded.tables.keys() == {"instances", "labelers"}
    assert loaded.predict(TABLE).tables["instances"].equals(result.tables["instances"])
    new = loaded.predict({"labeler": ["99"], "instance": [1], "label": [7]})
    assert new.tables["instances"]["label"].to_pylist() == [7] and new.record["n_unseen_labelers"] == 1
    again = crowdjax.fit(TABLE, name, order=ORDER, start=loaded)
    assert again.record["objective"] == pytest.approx(result.record["objective"], rel=1e-6)
    assert again.tables["instances"]["label"].equals(result.tables["instances"]["label"])
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "What the crowd confuses" in page and "What each labeler confuses" not in page


def test_what_needs_a_confusion_says_so(fits):
    with pytest.raises(InputError, match="confusion: not made by one-coin with more than 50 classes"):
        fits["one-coin"].confusion  # noqa: B018
    with pytest.raises(InputError, match="checks: given with model one-coin and more than 50 classes"):
        crowdjax.check(fits["one-coin"], TABLE)
    with pytest.raises(InputError, match="lbfgs"):
        crowdjax.fit(TABLE, "one-coin", order=ORDER, solver="lbfgs")


def test_an_estimator_has_probabilities_and_errors_of_all_labels():
    frame = pd.DataFrame(TABLE).rename(columns={"labeler": "worker", "instance": "task"})
    model = Aggregator("one-coin").fit(frame)
    np.testing.assert_allclose(model.probas_.to_numpy().sum(1), 1, atol=1e-5)
    np.testing.assert_allclose(model.errors_.groupby(level=0).sum(), 1, atol=1e-5)
    assert (model.labels_.to_numpy() == TRUTH).mean() > 0.8


def test_auto_gives_labelers_a_skill_alone_where_their_confusions_are_too_many():
    label = np.arange(300)
    labels = Labels.from_arrays(label, label // 3, label, n_values=500)
    assert plan_auto(numbers_of(labels), "nominal")[0] == {"model": "one-coin"}
    labels = Labels.from_arrays(label // 10, label // 3, label // 10, n_values=30)
    assert plan_auto(numbers_of(labels), "nominal")[0] == {"model": "biased-coin"}


def test_a_few_classes_have_their_tables():
    labels = crowdjax.io.read_triples(TABLE, order=ORDER).labels()
    assert isinstance(many.of_many(OneCoin(), labels), Voted) and labels.n_classes > MOST_CLASSES
    assert not isinstance(many.of_many(OneCoin(), crowdjax.io.read_triples(crowd(50)[0]).labels()), Voted)


def test_many_devices_are_one(fits, fresh_python):
    one = fits["one-coin"]
    p = [f"p_{n}" for n in range(1, 6)]
    printed = fresh_python(
        """
import json, sys
sys.path.insert(0, "tests")
import crowdjax
from test_many_classes import ORDER, TABLE, columns
many = crowdjax.fit(TABLE, "one-coin", order=ORDER, devices=8)
p = [f"p_{n}" for n in range(1, 6)]
print(json.dumps([many.record["objective"], columns(many.tables["instances"], *p).tolist()]))
""",
        devices=8,
    )
    objective, probabilities = json.loads(printed)
    assert objective == pytest.approx(one.record["objective"], rel=1e-5)
    np.testing.assert_allclose(columns(one.tables["instances"], *p), probabilities, atol=TOLERANCE)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the peak of memory is told by Linux")
def test_a_thousand_classes_of_a_hundred_thousand_labels_take_less_than_a_gib(fresh_python):
    """Tables of the 500 labelers would take 32 GB."""
    printed = fresh_python(
        """
import sys
sys.path.insert(0, "tests")
import numpy as np
import crowdjax
import crowdjax.memory
from test_many_classes import crowd
table, truth = crowd(1000, 100_000, 500, 10)
found = crowdjax.fit(table, "one-coin").tables["instances"].sort_by("instance")
print((found["label"].to_numpy() == truth).mean())
print(crowdjax.memory.peak())
"""
    )
    accuracy, peak = map(float, printed.split())
    assert accuracy > 0.97 and peak < 2**30


def test_auto_learns_no_biases_of_more_than_fifty_classes():
    rng = np.random.default_rng(4)
    table = {"labeler": np.tile(np.arange(8), 60), "instance": np.repeat(np.arange(60), 8)}
    table["label"] = rng.integers(0, 60, 480)
    assert crowdjax.fit(table, "auto").record["settings"]["plan"] == {"model": "one-coin"}


@pytest.mark.parametrize("k", [40, 60])
def test_dawid_skene_of_many_classes_is_no_worse_than_votes(k):
    """Two hundred instances of three labels: a learned exponent of the class prior gave everything to one class."""
    table, truth = crowd(k, n=600, labelers=10, each=3, seed=3)
    right = {name: crowdjax.fit(table, name).instances for name in ("majority", "dawid-skene")}
    right = {name: (np.asarray(found["label"]) == truth).mean() for name, found in right.items()}
    assert right["dawid-skene"] >= right["majority"] - 0.02
