"""Tables in and out: what is read is what was written, whatever the container; what is wrong is refused in one line."""

from __future__ import annotations

import datetime
import json
import os

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

from crowdjax import io, saving
from crowdjax.labels import InputError

TABLE = {"labeler": ["b", "a", "a", "c"], "instance": ["q2", "q1", "q2", "q1"], "label": [1, 0, 1, 1]}
IDS = np.array(["a", "b", "c"])


def csv(path, text: str):
    path.write_text(text, encoding="utf-8")
    return path


def refused(call, *words: str) -> str:
    """The message of the refusal, which is one line with these words."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return message


def triples(labels, index):
    """The judgements as a set of (labeler, instance, label) with ids."""
    real = labels.real
    return sorted(
        zip(
            index.labelers[labels.labeler[real]].tolist(),
            index.instances[labels.instance[real]].tolist(),
            labels.label[real].tolist(),
            strict=True,
        )
    )


EXPECTED = [("a", "q1", 0), ("a", "q2", 1), ("b", "q2", 1), ("c", "q1", 1)]


def containers(tmp_path):
    """The same table in everything that can hold one."""
    frame = pd.DataFrame(TABLE)
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_csv(tmp_path / "t.csv.gz", index=False)
    frame.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "t.parquet")
    (tmp_path / "parts").mkdir()
    for part in range(2):
        frame.iloc[2 * part : 2 * part + 2].to_parquet(tmp_path / "parts" / f"{part}.parquet")
    return {
        "csv": tmp_path / "t.csv",
        "path as text": str(tmp_path / "t.csv"),
        "gz": tmp_path / "t.csv.gz",
        "tsv": tmp_path / "t.tsv",
        "parquet": tmp_path / "t.parquet",
        "folder": tmp_path / "parts",
        "dict": {k: np.array(v) for k, v in TABLE.items()},
        "dict of lists": TABLE,
        "pandas": frame,
        "pandas categories": frame.astype({"labeler": "category", "instance": "category"}),
        "pandas objects": frame.astype(object),
        "polars": pl.DataFrame(TABLE),
        "polars lazy": pl.LazyFrame(TABLE),
        "polars categories": pl.DataFrame(TABLE).with_columns(pl.col("labeler").cast(pl.Categorical)),
        "pyarrow": pa.table(TABLE),
    }


def test_every_container_gives_the_same_labels(tmp_path):
    for name, source in containers(tmp_path).items():
        assert triples(*io.read_labels(source)) == EXPECTED, name


def test_row_order_changes_nothing():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({k: rng.integers(0, n, 200) for k, n in (("labeler", 9), ("instance", 30), ("label", 2))})
    table = table.drop_duplicates(["labeler", "instance"])
    first, index = io.read_labels(table)
    second, shuffled = io.read_labels(table.sample(frac=1, random_state=1))
    assert (index.labelers == shuffled.labelers).all()
    assert (index.instances == shuffled.instances).all()
    for name in ("labeler", "instance", "label"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_csv_ids_are_text_as_written(tmp_path):
    ids = [
        "007",
        "7",
        "1.0",
        "1",
        "Ünïcode 漢",
        "anna",
        "Anna",
        " padded",
        "NA",
        "null",
        "true",
        "2024-01-02",
        'a "q", b\n',
    ]
    path = tmp_path / "t.csv"
    pd.DataFrame({"labeler": ids, "instance": ids[::-1], "label": 1}).to_csv(path, index=False)
    labels, index = io.read_labels(path)
    assert index.labelers.tolist() == sorted(ids)
    assert {(w, i) for w, i, _ in triples(labels, index)} == set(zip(ids, ids[::-1], strict=True))


@pytest.mark.parametrize(
    "ids",
    [
        [2**40, -5, 3],
        [datetime.date(2024, 3, 1), datetime.date(1999, 1, 1), datetime.date(2024, 2, 1)],
        [datetime.datetime(2024, 3, 1, 12), datetime.datetime(1999, 1, 1), datetime.datetime(2024, 2, 1, 1, 1, 1, 5)],
        [2.5, -1.0, 1e300],
        [b"\xff", b"a", b""],
        [True, False, True],
    ],
    ids=["int64", "date", "datetime", "float", "bytes", "bool"],
)
def test_ids_of_any_type_keep_it(tmp_path, ids):
    table = pa.table({"labeler": ids, "instance": ids, "label": [1, 0, 1]})
    pa.parquet.write_table(table, tmp_path / "t.parquet")
    _, index = io.read_labels(tmp_path / "t.parquet")
    back = pa.array(index.labelers).to_pylist()
    assert back == sorted(set(ids))
    assert pa.array(index.labelers).type == table["labeler"].type


@pytest.mark.parametrize("names", ["worker task", "annotator item", "Labeler INSTANCE", "rater_id task_id"])
def test_usual_names_of_columns_are_recognised(names):
    labeler, instance = names.split()
    table = {labeler: TABLE["labeler"], instance: TABLE["instance"], "response": TABLE["label"], "extra": [None] * 4}
    assert triples(*io.read_labels(table)) == EXPECTED


def test_columns_renames_and_roles_own_names_win():
    table = {"who": TABLE["labeler"], "worker": ["x"] * 4, "instance": TABLE["instance"], "task": ["y"] * 4}
    table["label"] = TABLE["label"]
    assert triples(*io.read_labels(table, columns={"labeler": "who"})) == EXPECTED


@pytest.mark.parametrize(
    "values",
    [
        [1, 0, 1, 1],
        [1, -1, 1, 1],
        [1.0, 0.0, 1.0, 1.0],
        [True, False, True, True],
        ["1", "0", "1", "1"],
        ["+1", "-1", "1", " 1 "],
        ["TRUE", "false", "True", "true"],
        ["1.0", "-1.0", "1.0", "1.0"],
    ],
)
def test_every_alphabet_of_labels(values, tmp_path):
    table = pd.DataFrame({**TABLE, "label": values})
    assert triples(*io.read_labels(table)) == EXPECTED
    table.to_csv(tmp_path / "t.csv", index=False)
    assert triples(*io.read_labels(tmp_path / "t.csv")) == EXPECTED


def test_weights_are_multiplicities():
    labels, _ = io.read_labels({**TABLE, "n": [1, 2, 0, 0.5]}, columns={"weight": "n"})
    assert sorted(labels.weight.tolist()) == [0, 0.5, 1, 2]
    unnamed, _ = io.read_labels({**TABLE, "weight": [1, 2, 0, 0.5]})
    np.testing.assert_array_equal(unnamed.weight, labels.weight)


def test_gold_is_joined_by_id(tmp_path):
    gold = csv(tmp_path / "gold.csv", "task,label\nq2,0\n")
    labels, index = io.read_labels(TABLE, gold=gold)
    assert dict(zip(index.instances, labels.gold.tolist(), strict=True)) == {"q1": -1, "q2": 0}


def test_ids_meet_across_types(tmp_path):
    """Integer ids of a Parquet file and the same ids as text of a CSV file."""
    labels = {"labeler": [7, 12], "instance": [1, 2], "label": [0, 1]}
    features = csv(tmp_path / "f.csv", "labeler,x\n12,1.5\n7,2\n")
    _, index = io.read_labels(labels)
    assert io.read_values(features, "labeler", index.labelers)[1].ravel().tolist() == [2.0, 1.5]
    _, index = io.read_labels(csv(tmp_path / "l.csv", "labeler,instance,label\n7,1,0\n12,2,1\n"))
    assert index.labelers.tolist() == ["12", "7"]
    features = {"labeler": [7, 12], "x": [1, 2]}
    assert io.read_values(features, "labeler", index.labelers)[1].ravel().tolist() == [2.0, 1.0]


BAD_CSV = {
    "missing column": ("labeler,instance\na,q\n", ["no column 'label'", "labeler, instance"]),
    "column twice": ("labeler,instance,label,label\na,q,1,1\n", ["'label'", "twice"]),
    "two aliases": ("worker,annotator,instance,label\na,b,q,1\n", ["'worker'", "'annotator'", "say which"]),
    "label ?": ("labeler,instance,label\na,q,1\nb,q,?\n", ["'label'", "row 2", "'?'", "numbers or words, not both"]),
    "label yes": ("labeler,instance,label\na,q,yes\n", ["all 'yes'", "--positive yes"]),
    "label NaN": ("labeler,instance,label\na,q,1\nb,q,NaN\n", ["row 2", "'NaN'", "allowed"]),
    "label missing": ("labeler,instance,label\na,q,1\nb,q,\n", ["'label'", "row 2", "nothing"]),
    "0 and -1": ("labeler,instance,label\na,q,0\nb,q,-1\n", ["row 2", "row 1 has 0"]),
    "labeler missing": ("labeler,instance,label\n,q,1\n", ["'labeler'", "row 1", "nothing"]),
    "labeler NaN": ("labeler,instance,label\na,q,1\nnan,q,1\n", ["'labeler'", "row 2", "'nan'"]),
    "empty file": ("", ["empty file"]),
    "blank lines": ("\n\n", ["cannot be read as CSV"]),
    "header only": ("labeler,instance,label\n", ["no labels at all"]),
    "ragged": ("labeler,instance,label\na,q,1\nb,q\n", ["CSV", "Expected 3 columns, got 2"]),
    "weight text": ("labeler,instance,label,weight\na,q,1,x\n", ["'weight'", "row 1", "'x'"]),
    "weight negative": ("labeler,instance,label,weight\na,q,1,-1\n", ["'weight'", "row 1", "-1", ">= 0"]),
}


@pytest.mark.parametrize("name", BAD_CSV)
def test_bad_csv_is_refused(name, tmp_path):
    text, words = BAD_CSV[name]
    path = csv(tmp_path / "bad.csv", text)
    refused(lambda: io.read_labels(path), "bad.csv", *words)


def test_bytes_that_are_no_text_are_refused_with_their_place(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_bytes(b"labeler,instance,label\na,q,1\n\xff\xfe,q,1\n")
    refused(lambda: io.read_labels(path), "'labeler'", "row 2", "UTF-8")
    path.write_bytes(bytes(range(256)) * 8)
    refused(lambda: io.read_labels(path), "bad.csv")


def test_files_that_are_not_what_they_say(tmp_path):
    pd.DataFrame(TABLE).to_parquet(tmp_path / "whole.parquet")
    data = (tmp_path / "whole.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.parquet").write_bytes(b"")
    (tmp_path / "folder").mkdir()
    for bad in ("cut.parquet", "empty.parquet"):
        refused(lambda bad=bad: io.read_labels(tmp_path / bad), bad, "cannot be read as Parquet")
    refused(lambda: io.read_labels(tmp_path / "folder"), "folder without *.parquet")
    refused(lambda: io.read_labels(tmp_path / "absent.csv"), "absent.csv", "no such file")


@pytest.mark.parametrize(
    "table",
    [
        pd.DataFrame([["a", "q", 1, 1]], columns=["labeler", "instance", "label", "label"]),
        pd.DataFrame({"labeler": ["a", 3], "instance": ["q", "r"], "label": [1, 0]}),
        {"labeler": ["a"], "instance": ["q", "r"], "label": [1]},
        {"labeler": [["a"], ["b"]], "instance": ["q", "r"], "label": [1, 0]},
        {"labeler": [None, None], "instance": ["q", "r"], "label": [1, 0]},
        pd.DataFrame({"labeler": [1.0, np.nan], "instance": ["q", "r"], "label": [1, 0]}),
        pl.DataFrame({"labeler": ["a", "b"], "instance": [1.0, float("nan")], "label": [1, 0]}),
        pl.DataFrame({"labeler": ["a", "b"], "instance": [1, 2], "label": [1.0, float("nan")]}),
        pa.table({"labeler": ["a", "b"], "instance": [1, 2], "label": pa.array([1, None])}),
        pa.table({"labeler": ["a", "b"], "instance": [1, 2], "label": pa.array([None, None])}),
        {"labeler": ["a"], "instance": ["q"], "label": [datetime.date(2024, 1, 1)]},
        42,
        None,
        pd.DataFrame(),
    ],
)
def test_bad_tables_in_memory_are_refused(table):
    refused(lambda: io.read_labels(table), "labels")


def test_unknown_role_in_columns():
    refused(lambda: io.read_labels(TABLE, columns={"worker": "w"}), "'worker'", "labeler, instance, label, weight")
    refused(lambda: io.read_labels(TABLE, columns={"labeler": "w"}), "no column 'w'")


BAD_GOLD = {
    "no rows": ("instance,label\n", ["no rows"]),
    "unknown instance": ("instance,label\nq1,1\nq9,1\n", ["'instance'", "row 2", "'q9'", "occur in the labels"]),
    "two truths": ("instance,label\nq1,1\nq2,0\nq1,0\n", ["rows 1 and 3", "'q1'", "two values in column 'label'"]),
    "alphabet": ("instance,label\nq1,3\n", ["gold", "row 1", "'3'"]),
    "missing": ("instance,label\nq1,\n", ["gold", "row 1", "nothing"]),
}


def test_gold_may_be_on_every_row_of_an_instance():
    """As where it is a column of the table of labels."""
    known = {"instance": ["q2", "q1", "q2"], "label": [1, 0, 1], "chance": [0.5, 0.2, 0.5]}
    ids = np.array(["q1", "q2", "q3"])
    np.testing.assert_array_equal(io.read_gold(known, ids), [0, 1, np.nan])
    np.testing.assert_array_equal(io.read_chances(known, ids), [0.2, 0.5, np.nan])


@pytest.mark.parametrize("name", BAD_GOLD)
def test_bad_gold_is_refused(name, tmp_path):
    text, words = BAD_GOLD[name]
    refused(lambda: io.read_labels(TABLE, gold=csv(tmp_path / "gold.csv", text)), "gold.csv", *words)


BAD_FEATURES = {
    "no row": ("labeler,x\na,1\nb,2\n", ["no row for labeler 'c'", "1 missing"]),
    "two rows": ("labeler,x\na,1\nb,2\nc,3\na,1\n", ["rows 1 and 4", "'a'", "twice"]),
    "text": ("labeler,x,country\na,1,US\nb,2,UK\nc,3,US\n", ["'country'", "labeler 'a'", "'US'", "finite numbers"]),
    "text further down": ("labeler,x\na,1\nb,2\nc,old\n", ["'x'", "labeler 'c'", "row 3", "'old'"]),
    "nan": ("labeler,x\na,1\nb,nan\nc,3\n", ["'x'", "labeler 'b'", "row 2", "'nan'"]),
    "infinite": ("labeler,x\na,1\nb,inf\nc,3\n", ["'x'", "labeler 'b'", "row 2", "'inf'"]),
    "missing": ("labeler,x\na,1\nb,\nc,3\n", ["'x'", "labeler 'b'", "row 2", "nothing"]),
    "no columns": ("labeler\na\nb\nc\n", ["no columns besides 'labeler'"]),
    "constant": ("labeler,x\na,1\nb,1\nc,1\n", ["x", "constant"]),
    "no ids": ("x,y\n1,2\n", ["no column 'labeler'"]),
}


@pytest.mark.parametrize("name", BAD_FEATURES)
def test_bad_features_are_refused(name, tmp_path):
    text, words = BAD_FEATURES[name]
    path = csv(tmp_path / "features.csv", text)
    refused(lambda: io.read_features(path, "labeler", IDS), *words)


def test_features_are_standardised_and_new_rows_alike(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(5, 3, (3, 2))
    table = pd.DataFrame({"labeler": ["c", "a", "b"], "x": x[:, 0], "same": 1.0, "y": x[:, 1]})
    values, scaling, constant = io.read_features(table, "labeler", IDS)
    ordered = x[[1, 2, 0]]
    np.testing.assert_allclose(values, (ordered - ordered.mean(0)) / ordered.std(0))
    assert scaling.names == ("x", "y")
    assert constant == ("same",)
    new, _, _ = io.read_features({"labeler": ["z"], "y": [0.0], "x": [1.0]}, "labeler", np.array(["z"]), scaling)
    np.testing.assert_allclose(new[0], (np.array([1.0, 0.0]) - ordered.mean(0)) / ordered.std(0))
    refused(lambda: io.read_features({"labeler": ["z"], "x": [1.0]}, "labeler", np.array(["z"]), scaling), "column 'y'")


def test_columns_of_scores_can_be_chosen():
    table = {"task": ["q"], "score": [0.2], "text": ["hi"]}
    names, values = io.read_values(table, "instance", np.array(["q"]), ["score"])
    assert names == ("score",)
    assert values.tolist() == [[0.2]]


def make_result(out, value=1.0):
    with saving.new_result(out, {"value": value, "none": float("nan"), "huge": np.float32(np.inf)}) as folder:
        saving.save_arrays(folder / "fit.npz", {"x": np.arange(3.0)})


def test_a_result_appears_whole_and_replaces_only_results(tmp_path):
    out = tmp_path / "deep" / "out"
    make_result(out)
    assert saving.read_result(out)["value"] == 1.0
    assert json.loads((out / "fit.json").read_text())["none"] is None
    make_result(out, 2.0)
    assert saving.read_result(out)["value"] == 2.0
    assert os.listdir(out.parent) == ["out"]
    (out / "notes.txt").write_text("mine")
    refused(lambda: make_result(out, 3.0), "notes.txt", "allowed")
    assert saving.read_result(out)["value"] == 2.0


def test_a_failing_result_leaves_nothing(tmp_path):
    def fail():
        with saving.new_result(tmp_path / "out", {}) as folder:
            (folder / "half").write_text("half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert os.listdir(tmp_path) == []


def test_out_that_is_somebody_elses_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "fit.json").write_text("{}")
    (tmp_path / "empty").mkdir()
    refused(lambda: saving.check_out(tmp_path / "file"), "a file")
    refused(lambda: saving.check_out(tmp_path / "file" / "below"), "file")
    refused(lambda: saving.check_out(tmp_path / "full"), "fit.json")
    assert saving.check_out(tmp_path / "empty") == tmp_path / "empty"


def test_tampered_and_foreign_results_are_refused(tmp_path):
    out = tmp_path / "out"
    make_result(out)
    refused(lambda: saving.read_result(tmp_path), "no fit.json")
    data = (out / "fit.npz").read_bytes()
    (out / "fit.npz").write_bytes(data[:-1] + b"x")
    refused(lambda: saving.read_result(out), "fit.npz", "changed")
    for flag in (0x01, 0x40):  # of a zip: said to be encrypted
        marked = bytearray(data)
        marked[data.rindex(b"PK\x01\x02") + 8] |= flag
        marked[6] |= flag
        (out / "fit.npz").write_bytes(marked)
        refused(lambda: saving.load_arrays(out / "fit.npz", {"x": np.arange(3.0)}), "not the arrays of a fit")
    (out / "fit.npz").unlink()
    refused(lambda: saving.read_result(out), "fit.npz", "missing")


def test_arrays_come_back_and_others_are_refused(tmp_path):
    path = tmp_path / "a.npz"
    tree = {"x": np.arange(3.0), "y": (np.array(2), None)}
    saving.save_arrays(path, tree)
    back = saving.load_arrays(path, tree)
    np.testing.assert_array_equal(back["x"], tree["x"])
    assert back["y"][0] == 2
    assert back["y"][1] is None
    refused(lambda: saving.load_arrays(path, {"x": np.zeros(4), "y": (np.array(2), None)}), "array x")
    refused(lambda: saving.load_arrays(path, {"x": np.zeros(3)}), "unexpected array y.0")
    np.savez(path, x=np.array([print], dtype=object))
    refused(lambda: saving.load_arrays(path, {"x": np.zeros(1)}), "a.npz")
    path.write_bytes(b"nonsense")
    refused(lambda: saving.load_arrays(path, tree), "a.npz")


@pytest.mark.parametrize("name", ["bluebirds", "hcb", "zencrowd", "duchenne"])
def test_real_sets_read_as_pandas_reads_them(name, data_dir, real_set):
    expected = real_set(name)
    labels, index = io.read_labels(data_dir / name / "labels.csv")
    assert index.labelers.tolist() == expected.labelers.tolist()
    assert index.instances.tolist() == expected.instances.tolist()
    for part in ("labeler", "instance", "label"):
        np.testing.assert_array_equal(getattr(labels, part), getattr(expected.labels, part))
