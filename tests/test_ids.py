"""Ids and values as they were given: kept apart, refused in one line, or said; never merged and never changed."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from test_io import TABLE, csv, refused

import crowdjax
from crowdjax import io

LABELS = [1, 0, 1]


def labels(labeler, instance=(1, 1, 1), label=LABELS):
    return {"labeler": labeler, "instance": list(instance), "label": list(label)}


@pytest.mark.parametrize("kind", [dict, lambda table: pd.DataFrame(table, dtype=object)], ids=["dict", "pandas"])
@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([1, "1", "b"], ["row 1: got 1, a number (1 of 3 values)", "'1', text", "one type"]),
        (["a", b"a", "c"], ["bytes", "text"]),
        ([True, "True", "x"], ["true or false", "text"]),
        (["a", "b\ud800", "c"], ["row 2", "lone surrogates"]),
        ([2**70, 1, 2], ["row 1", "at most 64 bits"]),
        ([1.0, 2.0**53, 3.0], ["row 2", "this number was rounded"]),
        ([["a"], ["b"], ["c"]], ["allowed"]),
        (["a", None, "c"], ["row 2", "nothing"]),
    ],
)
def test_ids_that_would_be_merged_or_changed_are_refused(kind, ids, words):
    refused(lambda: io.read_labels(kind(labels(ids))), "labeler", *words)


def test_masked_values_are_missing():
    masked = np.ma.array(["a", "b", "c"], mask=[0, 1, 0])
    refused(lambda: io.read_labels(labels(masked)), "'labeler'", "row 2", "nothing")


APART = {
    "zeros at the end": ["a", "a\0", "a\0\0"],
    "blanks": ["ann", "ann ", " ann"],
    "two forms of a letter": ["zo\u00eb", "zoe\u0308", "zoe"],
    "case": ["ann", "Ann", "ANN"],
    "leading zeros": ["7", "07", "007"],
    "large integers": [2**60, 2**60 + 1, 2**62],
    "dates": [datetime.date(2024, 1, d) for d in (1, 2, 3)],
}


@pytest.mark.parametrize("kind", [dict, pd.DataFrame, pl.DataFrame, pa.table])
@pytest.mark.parametrize("name", APART)
def test_ids_that_look_alike_are_kept_apart(kind, name):
    ids = APART[name]
    source = kind({k: pa.array(v) for k, v in labels(ids).items()} if kind is pa.table else labels(ids))
    found = io.read_triples(source)
    assert io.ids(found.index, "labeler").to_pylist() == sorted(ids)
    said = [note for note in found.notes if "count as different" in note]
    assert len(said) == (name in ("blanks", "two forms of a letter", "leading zeros"))


def test_a_csv_keeps_ids_as_written(tmp_path):
    rows = "".join(f"{who},q,1\n" for who in ("7", "007", "7.0", "a\0", "a", "1e3"))
    _, index = io.read_labels(csv(tmp_path / "t.csv", "labeler,instance,label\n" + rows))
    assert set(index.labelers) == {"7", "007", "7.0", "a\0", "a", "1e3"}


IDS = {
    "times with a zone": pd.to_datetime(["2024-01-01 05:00", "2024-01-02 06:00"] * 3).tz_localize("Asia/Tokyo"),
    "times": pd.to_datetime(["2024-01-01 05:00", "2024-01-02 06:00"] * 3),
    "categories": pd.Categorical(["b", "a"] * 3, categories=["b", "a", "c"]),
    "nullable integers": pd.array([1, 2] * 3, dtype="Int64"),
    "small integers": np.array([1, 2] * 3, np.int8),
    "objects": np.array(["x", "y"] * 3, object),
    "text": pd.array(["x", "y"] * 3, dtype="string"),
    "floats": np.array([0.5, 1.5] * 3),
}


@pytest.mark.parametrize("name", IDS)
def test_answers_merge_onto_the_input_frame(name, tmp_path):
    frame = pd.DataFrame({"who": list("aabbcc"), "task": IDS[name], "label": [1, 0, 1, 1, 1, 0]})
    result = crowdjax.fit(frame, "majority", columns={"labeler": "who", "instance": "task"})
    assert result.instances["instance"].dtype == frame["task"].dtype
    both = frame.merge(result.instances, left_on="task", right_on="instance", suffixes=("", "_answer"))
    assert len(both) == 6
    votes = frame.groupby("task", observed=True)["label"].mean()
    answers = result.instances.set_index("instance")["probability"]
    assert ((answers > 0.5) == (votes > 0.5).reindex(answers.index)).all()
    result.save(tmp_path / "out")
    loaded = crowdjax.load(tmp_path / "out")
    again = loaded.predict(frame, columns={"labeler": "who", "instance": "task"})
    assert again.instances["instance"].dtype == frame["task"].dtype
    assert again.record["n_unseen_labelers"] == 0


def test_answers_join_in_polars_with_categories():
    frame = pl.DataFrame(TABLE).with_columns(pl.col("instance").cast(pl.Categorical))
    result = crowdjax.fit(frame, "majority")
    assert result.instances.schema["instance"] == frame.schema["instance"]
    assert len(frame.join(result.instances, on="instance")) == 4


def test_other_tables_meet_ids_by_value_never_by_a_changed_one(tmp_path):
    numbers = np.array([7, 12])
    gold = csv(tmp_path / "g.csv", "instance,label\n7,1\n")
    assert io.read_gold(gold, numbers).tolist()[0] == 1
    refused(lambda: io.read_gold(csv(tmp_path / "z.csv", "instance,label\n007,1\n"), numbers), "'007'", "row 1")
    refused(lambda: io.read_gold({"instance": [7.5], "label": [1]}, numbers), "7.5")
    zoned = pa.array(pd.to_datetime(["2024-01-01"]).tz_localize("UTC"))
    plain = {"instance": pd.to_datetime(["2024-01-01"]), "label": [1]}
    refused(lambda: io.read_gold(pd.DataFrame(plain), zoned), "without a time zone")
    assert io.read_gold(pd.DataFrame(plain | {"instance": zoned.to_pandas()}), zoned).tolist() == [1]
