"""Labels of any number of classes: the user's own values in, in their order, and out again; slips are no classes."""

from __future__ import annotations

import datetime
import itertools
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_io import csv, refused
from typer.testing import CliRunner

import crowdjax
from crowdjax import io
from crowdjax.cautions import about_classes, about_gold, about_support, support
from crowdjax.cli import app
from crowdjax.columns import word
from crowdjax.labelers import Summary
from crowdjax.labels import Labels
from crowdjax.observation import vote_shares
from crowdjax.result import class_table, confusion_table, labeler_table, tally, votes_of
from crowdjax.scan import scan


def table(labels, kind=dict):
    """Labels of three labelers, who take turns, on as many instances as there are labels."""
    n = len(labels)
    return kind({"labeler": [f"w{k % 3}" for k in range(n)], "instance": list(range(n)), "label": labels})


def read(labels, **settings):
    """(classes, values, codes, notes) of labels."""
    found = io.read_triples(table(labels), **settings)
    return found.index.classes, found.index.values, found.label.tolist(), found.notes


def types(values) -> list[type]:
    return [type(v) for v in values]


# Two values


@pytest.mark.parametrize(
    "labels",
    [[0, 1, 1], [-1, 1, 1], [False, True, True], ["0", "1", "1"], ["-1", "+1", "1"], ["False", "true", "TRUE"]],
)
def test_numbers_and_truth_values_are_the_classes_0_and_1(labels):
    classes, values, codes, notes = read(labels)
    assert (classes, types(classes), values, codes, notes) == ((0, 1), [int, int], None, [0, 1, 1], ())


@pytest.mark.parametrize(
    "pair",
    ["no yes", "N Y", "negative positive", "neg pos", "ham spam", "absent present", "incorrect correct", "Wrong Right",
     "bad good", "FAIL PASS"],
)  # fmt: skip
def test_words_that_say_which_is_positive_are_taken_at_their_word(pair):
    negative, positive = pair.split()
    classes, _, codes, notes = read([positive, negative, positive])
    assert (classes, codes) == ((negative, positive), [1, 0, 1])
    meant = f"Classes: '{negative}', '{positive}'; probability is that of '{positive}'"
    assert notes == (f"{meant} (--positive {negative} for the other).",)


def test_other_words_go_by_the_alphabet_and_positive_turns_them():
    assert read(["dog", "cat"])[:3] == (("cat", "dog"), None, [1, 0])
    assert read(["dog", "cat"])[3] == (
        "Classes: 'cat', 'dog'; probability is that of 'dog' (--positive cat for the other).",
    )
    assert read(["dog", "cat"], positive="cat") == (("dog", "cat"), None, [0, 1], ())
    assert read([2, 1, 2]) == (
        (1, 2), None, [1, 0, 1], ("Classes: 1, 2; probability is that of 2 (--positive 1 for the other).",)
    )  # fmt: skip
    assert read([0, 1], positive=0)[:3] == ((1, 0), None, [1, 0])
    assert read(["duck", "duck"], positive="duck")[:3] == ((None, "duck"), None, [1, 1])
    refused(lambda: read(["yes", "yes"]), "all 'yes'", "--positive yes")


# More values


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([3, 10, 1, 3, 1, 10], (1, 3, 10)),
        ([2.0, 1.0, 3.0, 1.0], (1, 2, 3)),
        ([1.5, 0.5, 1.0, 1.0], (0.5, 1.0, 1.5)),
        (["b", " a", "c ", "a"], ("a", "b", "c")),
        (["10", "9", "-2", "9"], ("-2", "9", "10")),
        (["1 star", "2 stars", "1 star"] * 2 + ["10 stars"], ("1 star", "10 stars", "2 stars")),
        ([2, -2, 0, -1, 1] * 2, (-2, -1, 0, 1, 2)),
    ],
)
def test_more_values_are_classes_of_their_own_type_in_their_order(labels, classes):
    found, values, codes, _ = read(labels)
    assert (found, types(found), values) == (classes, types(classes), None)
    own = [v.strip() if isinstance(v, str) else v for v in labels]
    assert [found[k] for k in codes] == own


def test_how_many_labels_each_class_has_is_said():
    assert read(["a", "b", "c", "a"])[3] == ("Classes: 'a' (2 labels), 'b' (1), 'c' (1).",)
    many = [f"c{k:02d}" for k in range(30)] * 2 + ["c00"]
    assert read(many)[3] == ("Classes: 30, 'c00' to 'c29', of 2 to 3 labels.",)


def test_numbers_of_csv_are_numbers_unless_they_are_codes(tmp_path):
    rows = "".join(f"w,{k},{v}\n" for k, v in enumerate(["3", "1", "2.0", "10", "1"]))
    found = io.read_triples(csv(tmp_path / "t.csv", "labeler,instance,label\n" + rows))
    assert found.index.classes == (1, 2, 3, 10) and types(found.index.classes) == [int] * 4
    rows = "".join(f"w,{k},{v}\n" for k, v in enumerate(["007", "010", "007", "100"]))
    assert io.read_triples(csv(tmp_path / "c.csv", "labeler,instance,label\n" + rows)).index.classes == (
        "007",
        "010",
        "100",
    )


DECLARED = ["poor", "fair", "good", "never"]
SAID = ["good", "poor", "fair", "good", "poor"]


@pytest.mark.parametrize("place", ["pandas", "polars", "pandas parquet", "polars parquet"])
def test_declared_categories_keep_their_order(place, tmp_path):
    if place.startswith("pandas"):
        frame = table(SAID, pd.DataFrame)
        frame["label"] = pd.Categorical(SAID, DECLARED, ordered=True)
        frame.to_parquet(tmp_path / "t.parquet")
    else:
        frame = table(SAID, pl.DataFrame).with_columns(pl.col("label").cast(pl.Enum(DECLARED)))
        frame.write_parquet(tmp_path / "t.parquet")
    found = io.read_triples(tmp_path / "t.parquet" if place.endswith("parquet") else frame)
    assert found.index.classes == ("poor", "fair", "good")
    assert found.label.tolist() == [2, 0, 1, 2, 0]


@pytest.mark.parametrize("place", ["pandas", "polars", "parquet"])
def test_categories_without_an_order_go_by_the_alphabet(place, tmp_path):
    if place == "polars":
        frame = table(SAID, pl.DataFrame).with_columns(pl.col("label").cast(pl.Categorical))
    else:
        frame = table(SAID, pd.DataFrame).astype({"label": "category"})
    if place == "parquet":
        pq.write_table(pa.table(table(SAID)), tmp_path / "t.parquet", use_dictionary=True)
        frame = tmp_path / "t.parquet"
    found = io.read_triples(frame)
    assert (found.index.classes, found.label.tolist()) == (("fair", "good", "poor"), [1, 2, 0, 1, 2])


# Order and truth


def test_an_order_is_that_of_the_classes_whether_they_occur_or_not():
    assert read(["low", "high"], order=["low", "middle", "high"]) == (("low", "middle", "high"), None, [0, 2], ())
    assert read([0, -1, 1], order=[-1, 0, 1])[:3] == ((-1, 0, 1), None, [1, 0, 2])
    assert read([1, 0], order=["1", "0"])[:3] == ((1, 0), None, [0, 1])  # as the command line gives it
    found = read([True, False], order=["false", "true"])
    assert found[:3] == ((False, True), None, [1, 0]) and types(found[0]) == [bool, bool]
    assert read(["1", "0", "unsure"], order=["0", "1", "unsure"])[0] == ("0", "1", "unsure")


def test_what_an_order_lacks_or_has_twice_is_refused():
    message = refused(lambda: read(["a", "b", "c"], order=["a", "b"]), "row 3: got 'c' (1 of 3 labels)", "'a', 'b'")
    assert "order=['a', 'b', 'c'] (--order a,b,c)" in message and "--missing c" in message
    refused(lambda: read(["a", "b"], order=["a", "a", "b"]), "order", "each once")
    refused(lambda: read(["a", "a"], order=["a"]), "order", "two values or more")
    refused(lambda: read(["a", "b"], order="ab"), "order: got 'ab'", "a list")
    refused(lambda: read([1, 2], order=[1, 2, "x"]), "order: got 'x' with labels of type int64")
    refused(lambda: read(["a", "b"], order=["a", "b"], positive="a"), "positive: given with order")


def test_labels_may_say_more_than_the_truth_can_be():
    assert read([1, 5, 3], truth=["no", "yes"])[:3] == (("no", "yes"), (1, 3, 5), [0, 2, 1])
    assert read([1, 5, 3], truth=["no", "yes"], order=[5, 4, 3, 2, 1])[:3] == (
        ("no", "yes"),
        (5, 4, 3, 2, 1),
        [4, 0, 2],
    )
    between = read(["yes", "no", "unsure"], truth=["no", "yes"])
    assert between[:3] == (("no", "yes"), ("no", "unsure", "yes"), [2, 0, 1])
    assert between[3] == ("Labels are 'no' (1 label), 'unsure' (1), 'yes' (1); the truth is 'no', 'yes'.",)
    assert read([3, 1, 2], truth=["3", "1"])[:2] == ((3, 1), (1, 2, 3))
    assert read(["b", "a"], truth=["c", "b", "a"])[:3] == (("c", "b", "a"), None, [1, 2])
    found = io.read_triples(table([1, 5, 3]), truth=["no", "yes"]).labels()
    assert (found.n_values, found.n_classes, found.label.tolist()) == (3, 2, [0, 2, 1])


def test_gold_is_read_in_the_classes():
    labels = table(["a", "b", "c"])
    known = {"instance": [1, 2], "label": ["c", " a"]}
    found, index = io.read_labels(labels, gold=known)
    assert index.classes == ("a", "b", "c") and found.gold.tolist() == [-1, 2, 0]
    refused(lambda: io.read_labels(labels, gold={"instance": [1], "label": ["d"]}), "gold", "'d'", "'a' or 'b' or 'c'")
    graded = io.read_labels(table([1, 5, 3]), truth=["no", "yes"], gold={"instance": [0], "label": ["yes"]})[0]
    assert graded.gold.tolist() == [1, -1, -1]
    for gold, codes in (([-1, 1], [0, 1]), ([0, 1], [0, 1]), ([True, False], [1, 0])):
        found, _ = io.read_labels(table([0, 1]), gold={"instance": [0, 1], "label": gold})
        assert found.gold.tolist() == codes
    refused(lambda: io.read_labels(table([0, 1]), gold={"instance": [0], "label": [2]}), "gold", "2", "0/1")


def test_other_labels_of_the_same_kind_are_read_alike():
    first = io.read_triples(table(["a", "b", "c"])).index
    again = io.read_triples(table(["c", "a"]), like=first)
    assert again.index.classes == first.classes and again.label.tolist() == [2, 0]
    refused(lambda: io.read_triples(table(["d"]), like=first), "row 1: got 'd'", "'a' or 'b' or 'c'")
    grades = io.read_triples(table([1, 5, 3]), truth=["no", "yes"]).index
    again = io.read_triples(table([5, 5]), like=grades)
    assert (again.index.classes, again.index.values, again.label.tolist()) == (("no", "yes"), (1, 3, 5), [2, 2])


# Slips

SLIPS = {
    "0, 1 and -1": ([0, 1, -1], ["row 3: got -1", "row 1 has 0", "--order -1,0,1"]),
    "numbers and a word": (["0", "1", "unsure"], ["'unsure'", "not both", "--missing unsure", "--order 0,1,unsure"]),
    "a grade of -1": ([1, 2, 3, -1] * 2, ["row 4: got '-1' (2 of 8 labels)", "--missing -1", "--order -1,1,2,3"]),
    "case": (["Yes", "no", "yes", "yes"], ["row 1: got 'Yes'", "differ in case only", "write them alike"]),
    "blanks": (["a b", "a  b", "c"], ["'a b' and 'a  b' are the same but for their writing"]),
    "numbers written twice": (["1", "1.0", "2", "2"], ["the same but for their writing"]),
    "ids": ([f"x{k}" for k in range(20)], ["got 'x0', one of 20 values in 20 labels", "allowed"]),
    "scores": ([k / 30 for k in range(30)] * 9, ["one of 30 values in 270 labels, as scores have them", "at most 20"]),
    "more than 1000": ([k % 1001 for k in range(5000)], ["1,001 values", "at most 1,000"]),
    "dates": ([datetime.date(2024, 1, 1)] * 3, ["2024-01-01", "allowed: text, numbers, true and false"]),
    "nothing": (["a", "b", "", "c"], ["row 3: got nothing", "--missing ''"]),
    "positive": (["a", "b", "c", "a"], ["allowed: two, one of them 'a'", "--order a,b,c"]),
}


@pytest.mark.parametrize("name", SLIPS)
def test_what_may_be_a_slip_is_refused_with_what_to_type(name):
    labels, words = SLIPS[name]
    positive = "a" if name == "positive" else None
    message = refused(lambda: read(labels, positive=positive), *words)
    assert len(message) < 500


def test_a_value_that_hardly_occurs_is_said():
    labels = ["cat", "dog", "cow"] * 1666 + ["catt", "cat"]
    assert "class 'catt' occurs once in 5,000 labels; a slip? --missing catt leaves it out." in read(labels)[3][1]
    assert len(read(["cat", "dog", "cow"] * 10 + ["ox"])[3]) == 1
    assert len(read(labels, order=["cat", "catt", "cow", "dog"])[3]) == 0


def test_the_order_of_ordinal_words_is_not_guessed():
    words = ["bad", "good", "very bad"]
    refused(
        lambda: read(words, classes="ordinal"), "the order of the labels", "is unknown", "--order 'bad,good,very bad'"
    )
    assert read(words, classes="ordinal", order=["very bad", "bad", "good"])[2] == [1, 2, 0]
    assert read(words, classes="nominal")[0] == ("bad", "good", "very bad")
    assert read([3, 1, 2], classes="ordinal")[0] == (1, 2, 3)
    refused(lambda: read([*words, "unsure"], classes="ordinal", truth=["very bad", "bad", "good"]), "say order=[")
    table = {"labeler": list("abcabc"), "instance": [0, 0, 0, 1, 1, 1], "label": words * 2}
    refused(lambda: crowdjax.fit(table, "graded", classes="ordinal"), "say order=['bad', 'good', 'very bad']")


def test_a_value_that_is_no_class_speaks_for_none():
    """Wherever it stands; text that is between grades is of use where the classes are in order."""
    label = ["a", "b", "c", "unsure"]
    table = {"labeler": [0, 1, 2, 3], "instance": [0, 1, 2, 3], "label": label}
    for order in (None, *itertools.permutations(label)):
        triples = io.read_triples(table, truth=["a", "b", "c"], order=order, classes="nominal")
        shares = np.asarray(vote_shares(triples.labels()))
        np.testing.assert_allclose(shares, [*np.eye(3), [1 / 3] * 3], rtol=1e-6)
    ordered = io.read_triples(table, truth=["a", "b", "c"], order=["a", "b", "unsure", "c"], classes="ordinal")
    np.testing.assert_allclose(vote_shares(ordered.labels())[3], [0, 2 / 3, 1 / 3], rtol=1e-6)
    parts = io.read_triples(table | {"label": [0, 1, 2, 9]}, truth=[0, 1, 2]).labels()
    np.testing.assert_allclose(vote_shares(parts), [*np.eye(3), [1 / 3] * 3], rtol=1e-6)


# Forms


def test_pieces_find_the_same_classes(tmp_path):
    labels = ["b", "a", "c", "a", "b", "b"]
    pq.write_table(pa.table(table(labels)), tmp_path / "t.parquet")
    there = scan(tmp_path / "t.parquet", batch=2)
    assert there.classes.classes == ("a", "b", "c")
    assert there.classes.notes == io.read_triples(tmp_path / "t.parquet").notes
    assert [k for rows in there.rows() for k in rows.label.tolist()] == [1, 0, 2, 0, 1, 1]
    assert scan(tmp_path / "t.parquet", order=["c", "b", "a"]).classes.classes == ("c", "b", "a")
    pq.write_table(pa.table(table(["0", "1", "0", "1", "no"])), tmp_path / "u.parquet")
    refused(lambda: scan(tmp_path / "u.parquet", batch=2), "column 'label', row 5: got 'no'", "not both")


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame])
def test_wide_tables_of_any_classes(kind, tmp_path):
    wide = kind({"item": ["q1", "q2"], "ann": [1, 3], "bob": [None, 2]})
    found = io.read_triples(wide, form="wide")
    assert found.index.classes == (1, 2, 3) and found.label.tolist() == [0, 2, 1]
    path = csv(tmp_path / "t.csv", "item,ann,bob\nq1,cow,\nq2,cat,dog\n")
    assert io.read_triples(path, form="wide").index.classes == ("cat", "cow", "dog")
    turned = kind({"worker": ["ann", "bob"], "q1": ["a", None], "q2": ["b", "c"]})
    found = io.read_triples(turned, form="wide-by-labeler")
    assert (found.index.classes, found.label.tolist()) == (("a", "b", "c"), [0, 1, 2])


def test_counts_have_a_column_for_every_class(tmp_path):
    path = csv(tmp_path / "t.csv", "item,cow,cat,dog,none\nq1,3,1,0,0\nq2,0,5,2,0\n")
    found = io.read_triples(path, form="counts")
    assert found.index.classes == ("cat", "cow", "dog", "none")
    votes = votes_of(found.labels())
    assert votes.tolist() == [[1, 3, 0, 0], [5, 0, 2, 0]]
    assert "Classes: 'cat' (6 labels), 'cow' (3), 'dog' (2), 'none' (0)." in found.notes
    stars = csv(tmp_path / "s.csv", "item,1,2,10\nq1,3,1,0\nq2,0,5,2\n")
    assert io.read_triples(stars, form="counts").index.classes == (1, 2, 10)


# Real sets


@pytest.mark.parametrize("name", ["wsd", "web", "music_genre", "labelme", "adult", "valence7"])
def test_real_sets_are_read_as_pandas_reads_them(name, data_dir):
    there = pd.read_csv(data_dir / name / "labels.csv", dtype={"labeler": str, "instance": str})
    truth = pd.read_csv(data_dir / name / "truth.csv", dtype={"instance": str})
    triples = io.read_triples(data_dir / name / "labels.csv")
    assert triples.index.classes == tuple(sorted(there["label"].unique().tolist()))
    assert np.array(triples.index.classes)[triples.label].tolist() == there["label"].tolist()
    known = truth[truth["instance"].isin(there["instance"])]
    gold = io.read_gold(known, io.ids(triples.index, "instance"), triples.index.classes)
    code = dict(zip(triples.index.classes, range(99), strict=False))
    expected = known.set_index("instance")["label"].map(code).reindex(triples.index.instances)
    np.testing.assert_array_equal(gold, expected)


# Answers

NAMES = ("a", "b", "c")


def test_answers_are_in_the_users_values():
    p = np.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4], [1 / 3] * 3])
    for classes, kind in ((NAMES, pa.string()), ((1, 2, 3), pa.int64()), ((0.5, 1.0, 1.5), pa.float64())):
        found = class_table(pa.array(["q", "r", "s"]), p, classes)
        assert found.column_names == ["instance", "label", "confidence", *(f"p_{word(c)}" for c in classes)]
        assert found["label"].type == kind and found["label"].to_pylist() == [classes[1], classes[0], classes[0]]
        np.testing.assert_array_equal(np.stack([found[f"p_{word(c)}"] for c in classes], 1), p)
    two = class_table(pa.array([1, 2]), p[:2, :2] / p[:2, :2].sum(1, keepdims=True), (False, True))
    assert two.column_names == ["instance", "label", "confidence", "probability"]
    assert two["label"].to_pylist() == [True, False]
    assert class_table(pa.array([1]), [0.7]).column_names == ["instance", "probability", "label"]


def test_of_many_classes_the_five_most_probable_are_told():
    p = np.random.default_rng(0).dirichlet(np.ones(60), 4)
    found = class_table(pa.array(range(4)), p, [f"c{k}" for k in range(60)])
    pairs = [name for n in range(1, 6) for name in (f"class_{n}", f"p_{n}")]
    assert found.column_names == ["instance", "label", "confidence", *pairs]
    for j, n in itertools.product(range(4), range(5)):
        assert found[f"p_{n + 1}"][j].as_py() == np.sort(p[j])[-1 - n]
        assert p[j, int(found[f"class_{n + 1}"][j].as_py()[1:])] == np.sort(p[j])[-1 - n]


def dense(labels: Labels, p):
    """Votes and agreement, label by label."""
    votes = np.zeros((labels.n_instances, labels.n_values))
    agreement = np.zeros((labels.n_labelers, p.shape[1], labels.n_values))
    for i, j, code, n in zip(labels.labeler, labels.instance, labels.label, labels.counts, strict=True):
        if code >= 0:
            votes[j, code] += n
            agreement[i, :, code] += n * p[j]
    return votes, agreement


@pytest.mark.parametrize(("n_values", "n_classes"), [(3, 3), (5, 2), (2, 2)])
def test_labels_are_counted_by_class_and_value(n_values, n_classes):
    rng = np.random.default_rng(0)
    n = 300
    labels = Labels.from_arrays(
        rng.integers(0, 7, n), rng.integers(0, 20, n), rng.integers(0, n_values, n), weight=rng.integers(0, 3, n),
        n_values=n_values, n_classes=n_classes,
    )  # fmt: skip
    p = rng.dirichlet(np.ones(n_classes), 20)
    found, (votes, agreement) = tally(labels, p), dense(labels, p)
    np.testing.assert_allclose(found.votes, votes)
    np.testing.assert_allclose(found.agreement, agreement)


def test_what_answers_rest_on_is_said_in_the_classes():
    votes = np.tile([[4.0, 0, 0]], (10, 1))
    certain = np.eye(3)[np.zeros(10, int)]
    assert about_support(support(votes, certain), NAMES, "") == [
        "All 40 labels are 'a'. Labels of one class say nothing of the others: the probabilities, and the estimates of "
        "labelers on instances that are not 'a', rest on the priors."
    ]
    votes[:5] = [0, 4, 0]
    mixed = np.eye(3)[[1] * 5 + [0] * 5]
    assert about_support(support(votes, mixed), NAMES, "") == [
        "Less than one of 10 instances is expected to be 'c': estimates of labelers on such instances rest on the "
        "priors."
    ]
    turned = support(votes, np.eye(3)[[2] * 5 + [0] * 5])
    assert (turned.against, turned.answered, turned.voted) == (5, (5, 0, 5), (5, 5, 0))
    said = about_support(turned, NAMES, "Look again.")
    assert "5 of 10 inferred classes contradict" in said[1] and "by most labels it would be 5. Look again." in said[1]
    assert support(votes, mixed) + turned == support(np.r_[votes, votes], np.r_[mixed, np.eye(3)[[2] * 5 + [0] * 5]])
    grades = support(np.ones((4, 5)), [0.5] * 4)
    assert (grades.against, grades.voted) == (0, ())


def test_what_gold_and_ties_cannot_say_is_said_in_the_classes():
    nan = np.nan
    assert about_gold(np.array([1, 1, nan]), NAMES) == [
        "All 2 gold labels are 'b': they fix these instances and say nothing of labelers on instances that are not 'b'."
    ]
    assert about_gold(np.array([1, 0, nan]), NAMES) == [
        "No gold label is 'c': they say nothing of labelers on such instances."
    ]
    assert about_gold(np.array([0, 1, 2]), NAMES) == about_gold(np.array([nan]), NAMES) == about_gold(None, NAMES) == []
    assert about_classes(np.array([[0.4, 0.4, 0.2], [0.6, 0.2, 0.2]]), np.array([2, 2]), NAMES) == [
        "1 of 2 instances are undecided between classes that are equally probable; their label says the first of these."
    ]


def test_labelers_and_their_confusion_are_tables():
    rng = np.random.default_rng(0)
    mean = rng.dirichlet(np.ones(3), (2, 2))  # two labelers, two classes, three values
    ids = pa.array(["ann", "bob"])
    found = confusion_table(ids, ("no", "yes"), ("no", "unsure", "yes"), (mean, mean - 0.1, mean + 0.1)).to_pylist()
    assert len(found) == 12
    row = found[7]
    assert (row["labeler"], row["truth"], row["label"]) == ("bob", "no", "unsure")
    assert (row["probability"], row["lower"]) == (mean[1, 0, 1], mean[1, 0, 1] - 0.1)
    share = np.array([0.5, np.nan])
    flat, known = (share, share, share), (np.array([0.5, 0.9]), np.array([0.3, 0.7]), np.array([0.7, 1.0]))
    people = labeler_table(ids, np.array([3, 4]), Summary(flat, (mean, mean, mean), flat))
    assert people.column_names[:6] == ["labeler", "n_labels", "accuracy", "lower", "upper", "kind"]
    assert people["accuracy"].to_pylist() == [0.5, None] and people["kind"].to_pylist() == ["ordinary", None]
    square = mean[:, :, :2]
    people = labeler_table(ids, np.array([3, 4]), Summary(flat, (square, square, square), known))
    assert people["kind"].to_pylist() == ["ordinary", "expert"]
    assert people["sensitivity"].to_pylist() == square[:, 1, 1].tolist()
    assert people["specificity_upper"].to_pylist() == square[:, 0, 0].tolist()


def test_a_model_of_two_classes_refuses_more():
    labels = table(["a", "b", "c"] * 4)
    refused(lambda: io.read_triples(labels).words, "labels of 3 values, 'a', 'b', 'c'; allowed here: two", "--missing")


def test_every_form_of_answers_reads_back(tmp_path):
    labels = table(["cow", "cat", "dog", "cat", "cow"])
    crowdjax.convert(labels, tmp_path / "tidy.csv")
    crowdjax.convert(labels, tmp_path / "wide.csv", wide=True)
    for path, form in (("tidy.csv", None), ("wide.csv", "wide")):
        found = io.read_triples(tmp_path / path, form=form)
        own = [found.index.classes[k] for k in found.label]
        assert dict(zip(found.index.instances[found.instance].tolist(), own, strict=True)) == {
            str(k): v for k, v in enumerate(labels["label"])
        }
    assert crowdjax.tidy(table([3, 1, 2], pd.DataFrame))["label"].tolist() == [3, 1, 2]


# The command line


def call(*arguments: str):
    return CliRunner().invoke(app, [*map(str, arguments)])


def test_labels_of_any_classes_are_described(tmp_path):
    labels = pd.DataFrame({"labeler": list("abcabc"), "instance": [1] * 3 + [2] * 3, "label": list("xxyzzz")})
    labels.to_csv(tmp_path / "l.csv", index=False)
    text = call("describe", tmp_path / "l.csv")
    assert "labels     6, 50.0% 'z', 33.3% 'x', 16.7% 'y'" in text.stdout.splitlines()
    assert "classes    3: 'x', 'y', 'z'" in text.stdout.splitlines()
    assert "crowdjax: note: Classes: 'x' (2 labels), 'y' (1), 'z' (3)." in text.stderr
    record = json.loads(call("describe", tmp_path / "l.csv", "--json", "--order", "z,y,x").stdout)
    assert record["classes"] == list("zyx") and record["share_positive"] is None
    assert record["agreement"] == pytest.approx(4 / 6)
    record = json.loads(call("describe", tmp_path / "l.csv", "--json", "--truth", "no,yes").stdout)
    assert record["classes"] == ["no", "yes"] and [v["value"] for v in record["values"]] == list("xyz")
    wrong = call("describe", tmp_path / "l.csv", "--order", "x,y")
    assert wrong.exit_code == 2 and "got 'z' (3 of 6 labels)" in wrong.stderr


def crowd(n: int = 400, k: int = 3, seed: int = 0) -> pd.DataFrame:
    """Labels of eight labelers, right with chance .8, on instances of k classes with names."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, k, n // 8)
    names = np.array([f"c{j}" for j in range(k)])
    wrong = (truth[:, None] + rng.integers(1, k, (len(truth), 8))) % k
    said = np.where(rng.random((len(truth), 8)) < 0.8, truth[:, None], wrong)
    instance, labeler = np.indices(said.shape)
    return pd.DataFrame({"labeler": labeler.ravel(), "instance": instance.ravel(), "label": names[said.ravel()]})


@pytest.mark.parametrize("batch", [None, 200])
def test_a_fit_from_the_command_line_answers_in_the_order_given(batch, tmp_path):
    table = crowd()
    table.to_parquet(tmp_path / "t.parquet")
    more = [] if batch is None else ["--minibatch", batch]
    done = call("fit", tmp_path / "t.parquet", "--order", "c2,c1,c0", "--out", tmp_path / "o", *more)
    assert done.exit_code == 0, done.output
    found = crowdjax.load(tmp_path / "o")
    assert found.record["classes"] == ["c2", "c1", "c0"]
    assert found.instances.column_names == ["instance", "label", "confidence", "p_c2", "p_c1", "p_c0"]
    votes = table.groupby("instance")["label"].agg(lambda v: v.mode()[0])
    answers = found.instances.to_pandas().set_index("instance")["label"]
    assert (answers == votes.reindex(answers.index)).mean() > 0.9
    new = pd.DataFrame({"labeler": [0, 1], "instance": ["n", "n"], "label": ["c1", "c1"]})
    assert found.predict(new).instances["label"].tolist() == ["c1"]
    refused(lambda: found.predict(new.assign(label="c3")), "'c3'", "'c2' or 'c1' or 'c0'")
    wrong = call("fit", tmp_path / "t.parquet", "--order", "c2,c1", "--out", tmp_path / "p", *more)
    assert wrong.exit_code == 2 and "(--order c2,c1,c0)" in wrong.stderr


@pytest.mark.parametrize(
    ("labels", "truth", "kind", "message"),
    [
        ([1, 2, 3, 4, 5], [5, 1], "ordinal", r"truth: got 5, 1, against the order .* allowed: truth=\[1, 5\]"),
        (
            ["no", "unsure", "yes"],
            ["yes", "nope"],
            "nominal",
            "truth: got 'nope', which is not a label value, and 'yes'",
        ),
        ([1, 2, 3], ["a", "b", "c", "d"], "nominal", "truth: got 4 values, but labels have 3"),
    ],
)
def test_a_truth_that_labels_cannot_speak_of_is_refused(labels, truth, kind, message):
    table = {"labeler": [0] * len(labels), "instance": list(range(len(labels))), "label": labels}
    with pytest.raises(crowdjax.InputError, match=message):
        crowdjax.fit(table, "graded" if kind == "ordinal" else "dawid-skene", classes=kind, truth=truth)


def test_names_beside_labels_are_said_to_be_spoken_for_by_place():
    table = {"labeler": [0, 1] * 3, "instance": [0, 0, 1, 1, 2, 2], "label": [1, 1, 3, 3, 2, 2]}
    note = crowdjax.fit(table, "dawid-skene", truth=["yes", "no"]).warnings[0]
    assert "Labels near '1' speak for 'yes', those near '3' for 'no'" in note
