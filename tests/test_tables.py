"""Tables of any kind in, and the same kind out; on whatever file system; labels in words; columns by usual names."""

from __future__ import annotations

import functools
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import duckdb
import fsspec
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.dataset
import pyarrow.fs
import pyarrow.parquet
import pytest
from test_io import TABLE, csv, refused

import crowdjax
from crowdjax import io, tables

WORDS = TABLE | {"label": ["yes", "no", "yes", "yes"]}
EXPECTED = [("a", "q1", 0), ("a", "q2", 1), ("b", "q2", 1), ("c", "q1", 1)]


def judgements(source, **settings) -> list:
    """Sorted (labeler, instance, 0 or 1)."""
    found = io.read_triples(source, **settings)
    ids = found.index.labelers[found.labeler], found.index.instances[found.instance]
    return sorted(zip(*(a.tolist() for a in (*ids, (found.label > 0).astype(int))), strict=True))


def relation():
    connection = duckdb.connect()
    connection.register("given", pa.table(TABLE))
    return connection.sql("SELECT * FROM given")


KINDS = {
    "pandas": (lambda: pd.DataFrame(TABLE), pd.DataFrame),
    "polars": (lambda: pl.DataFrame(TABLE), pl.DataFrame),
    "polars lazy": (lambda: pl.LazyFrame(TABLE), pl.LazyFrame),
    "pyarrow": (lambda: pa.table(TABLE), pa.Table),
    "duckdb": (relation, duckdb.DuckDBPyRelation),
    "dict": (lambda: TABLE, dict),
    "data set": (lambda: pa.dataset.dataset(pa.table(TABLE)), pa.Table),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_comes_back_as_itself(kind):
    make, expected = KINDS[kind]
    source = make()
    assert judgements(source) == EXPECTED
    answers = pa.table({"instance": ["q1", "q2"], "probability": [0.25, 0.5], "depends": [True, None]})
    back = tables.kind_of(source)(answers)
    assert type(back) is expected
    assert tables.open_table(back, "answers").read(answers.column_names).to_pydict() == answers.to_pydict()


def test_a_relation_comes_back_in_its_own_database():
    source = relation()
    answers = tables.kind_of(source)(pa.table({"instance": ["q1", "q2"], "label": [0, 1]}))
    joined = source.set_alias("l").join(answers.set_alias("a"), "l.instance = a.instance")
    assert len(joined.fetchall()) == 4


def test_results_are_of_the_kind_of_the_labels(tmp_path):
    result = crowdjax.fit(pd.DataFrame(TABLE), "majority")
    assert all(isinstance(t, pd.DataFrame) for t in (result.instances, result.labelers))
    assert result.instances is result.instances
    assert list(result.instances["label"]) == [0, 1]
    assert isinstance(result.predict(KINDS["polars"][0]()).instances, pl.DataFrame)
    result.save(tmp_path / "out")
    assert crowdjax.load(tmp_path / "out").instances.equals(result.tables["instances"])


def test_an_index_with_names_is_columns():
    frame = pd.DataFrame(TABLE)
    assert judgements(frame.set_index("instance")) == EXPECTED
    assert judgements(frame.set_index(["labeler", "instance"])) == EXPECTED
    wide = frame.pivot(index="instance", columns="labeler", values="label")
    assert judgements(wide, form="wide") == EXPECTED


# File systems


@pytest.fixture(params=["memory", "file", "folder of CSV", "data set on a file system"])
def remote(request, tmp_path):
    """The labels elsewhere, in two files."""
    frame = pd.DataFrame(TABLE)
    parts = {"0": frame.iloc[:2], "1": frame.iloc[2:]}
    if request.param == "memory":
        for name, part in parts.items():
            with fsspec.open(f"memory://tables/{name}.parquet", "wb") as file:
                part.to_parquet(file)
        return "memory://tables"
    for name, part in parts.items():
        if request.param == "folder of CSV":
            part.to_csv(tmp_path / f"{name}.csv", index=False)
        else:
            part.to_parquet(tmp_path / f"{name}.parquet")
    if request.param == "data set on a file system":
        system = pa.fs.SubTreeFileSystem(str(tmp_path), pa.fs.LocalFileSystem())
        return pa.dataset.dataset(["0.parquet", "1.parquet"], filesystem=system)
    return f"file://{tmp_path}" if request.param == "file" else tmp_path


def test_tables_are_read_wherever_they_are(remote):
    assert judgements(remote) == EXPECTED


def test_csv_and_gold_over_http(tmp_path):
    csv(tmp_path / "labels.csv", pd.DataFrame(TABLE).to_csv(index=False))
    csv(tmp_path / "gold.csv", "instance,label\nq1,1\n")

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        address = f"http://127.0.0.1:{server.server_port}"
        assert judgements(f"{address}/labels.csv") == EXPECTED
        assert io.read_gold(f"{address}/gold.csv", np.array(["q1", "q2"])).tolist()[0] == 1
        refused(lambda: io.read_labels(f"{address}/absent.csv"), "absent.csv", "no such file")
        server.shutdown()
        thread.join()


def test_what_is_not_there_or_not_known_is_refused(tmp_path):
    refused(lambda: io.read_labels("memory://nothing/x.csv"), "memory://nothing/x.csv", "no such file")
    refused(lambda: io.read_labels("nosuch://x/y.csv"), "nosuch://x/y.csv", "cannot be read")
    for name, text in (("a.csv", "labeler,instance,label\na,q,1\n"), ("b.csv", "instance,label\nq,1\n")):
        csv(tmp_path / name, text)
    refused(lambda: io.read_labels(tmp_path), "b.csv", "other columns than", "a folder of one table")
    refused(lambda: io.read_gold(csv(tmp_path / "g.json", "[]"), np.array(["q"])), "g.json", "JSON")


# Columns


@pytest.mark.parametrize(
    "names",
    [
        "Worker ID,HITId,Answer",
        "annotator-id,question,choice",
        "raterId,Item,rating",
        "coder,unit,vote",
        "judge,example,response",
    ],
)
def test_usual_names_are_recognised(names):
    assert judgements(dict(zip(names.split(","), TABLE.values(), strict=True))) == EXPECTED


def test_what_may_be_either_is_refused_with_what_to_give():
    table = {"worker": TABLE["labeler"], "item": TABLE["instance"], "answer": TABLE["label"], "rating": TABLE["label"]}
    refused(
        lambda: io.read_labels(table),
        "'answer' and 'rating' may both be the label",
        "--columns labeler=worker,instance=item,label=answer",
    )
    named = {"labeler": "worker", "instance": "item", "label": "rating"}
    assert judgements(table, columns=named) == EXPECTED
    table["label"] = table.pop("answer")  # a role's own name wins
    assert judgements(table) == EXPECTED


# Labels in words


@pytest.mark.parametrize("kind", [pd.DataFrame, pl.DataFrame, dict])
def test_of_two_words_either_is_positive(kind):
    assert judgements(kind(WORDS), positive="yes") == EXPECTED
    flipped = [(who, what, 1 - label) for who, what, label in EXPECTED]
    assert judgements(kind(WORDS), positive="no") == flipped
    assert judgements(kind(WORDS)) == EXPECTED


@pytest.mark.parametrize(
    ("labels", "positive"),
    [([2, 1, 2, 2], 2), ([2.0, 1.0, 2.0, 2.0], "2"), (["duck", "not duck", " duck", "duck "], "duck")],
)
def test_any_two_labels_may_be_the_words(labels, positive):
    assert judgements(TABLE | {"label": labels}, positive=positive) == EXPECTED


def test_words_that_are_not_two_are_refused():
    table = TABLE | {"label": ["yes", "no", "Yes", "yes"]}
    refused(lambda: io.read_labels(table, positive="yes"), "row 3: got 'Yes' (1 of 4 labels)", "two, one of them 'yes'")
    refused(lambda: io.read_labels(WORDS, positive="Yes"), "the labels are 'no', 'yes'", "one of them 'Yes'")
    refused(lambda: io.read_labels(TABLE | {"label": ["yes", None, "no", "no"]}, positive="yes"), "row 2", "nothing")


def test_gold_and_predictions_are_read_in_the_same_words(tmp_path):
    gold = {"instance": ["q2"], "label": ["yes"]}
    result = crowdjax.fit(WORDS, "majority", positive="yes", gold=gold)
    assert result.instances["probability"][1] == 1
    result.save(tmp_path / "out")
    new = {"labeler": ["b"], "instance": ["new"], "label": ["no"]}
    for fitted in (result, crowdjax.load(tmp_path / "out")):
        assert fitted.predict(new).instances["label"].tolist() == ["no"]
    refused(lambda: result.predict(new | {"label": ["maybe"]}), "'maybe'", "'no' or 'yes'")
    refused(
        lambda: crowdjax.fit(WORDS, positive="yes", gold={"instance": ["q1"], "label": [1]}), "gold", "'no' or 'yes'"
    )


def test_minibatches_know_words(tmp_path):
    from crowdjax.scan import scan

    pd.DataFrame(WORDS).to_parquet(tmp_path / "t.parquet")
    pieces = scan(tmp_path / "t.parquet", positive="yes", batch=1)
    assert [int(rows.label[0]) for rows in pieces.rows()] == [1, 0, 1, 1]
    assert scan(tmp_path / "t.parquet").classes.classes == ("no", "yes")


# Wide tables

WIDE = "item,a,b,c\nq1,0,,1\nq2,1,1,\n"


def test_a_wide_table_is_read_where_it_is_said_to_be_one(tmp_path):
    path = csv(tmp_path / "wide.csv", WIDE)
    assert judgements(path, form="wide") == EXPECTED
    assert judgements(pl.read_csv(path), form="wide") == EXPECTED
    assert judgements(pd.read_csv(path), form="wide") == EXPECTED
    refused(lambda: io.read_labels(path), "no column 'labeler' and no column 'label'", "form='wide'", "--from wide")


def test_wide_words_and_chosen_columns(tmp_path):
    path = csv(tmp_path / "wide.csv", "id,a,text,b,c\n007,no,hello,,yes\n7,yes,again,yes,nan\n")
    found = judgements(
        path, form="wide", positive="yes", columns={"instance": "id", "labeler": ["a", "b", "c"]}
    )  # fmt: skip
    assert found == [("a", "007", 0), ("a", "7", 1), ("b", "7", 1), ("c", "007", 1)]


BAD_WIDE = {
    "no label": ("item,a,b\nq1,1,0\nq2,?,1\n", ["column 'a', row 2", "'?'"]),
    "text": ("item,a,b\nq1,1,0\nq2,1,hello\n", ["column 'b', row 2", "'hello'"]),
    "0 and -1": ("item,a,b\nq1,1,0\nq2,1,-1\n", ["column 'b', row 2", "column 'b', row 1 has 0"]),
    "instance twice": ("item,a,b\nq1,1,0\nq2,0,1\nq1,1,1\n", ["'item', rows 1 and 3", "'q1'", "twice"]),
    "no instance": ("item,a,b\nq1,1,0\n,0,1\n", ["'item', row 2", "nothing"]),
    "no labels": ("item,a,b\nq1,,\n", ["no labels at all"]),
    "truth": ("item,a,truth\nq1,1,0\n", ["'truth' does not look like a labeler"]),
    "long": ("labeler,instance,label\na,q1,1\n", ["'labeler' does not look like a labeler"]),
    "no ids": ("x,a,b\nq1,1,0\n", ["no column 'instance'"]),
    "no labelers": ("item\nq1\n", ["no columns besides 'item'"]),
    "labeler twice": ("item,a,a\nq1,1,0\n", ["'a' is there twice"]),
    "header only": ("item,a,b\n", ["no labels at all"]),
}


@pytest.mark.parametrize("name", BAD_WIDE)
def test_bad_wide_tables_are_refused(name, tmp_path):
    text, words = BAD_WIDE[name]
    refused(lambda: io.read_labels(csv(tmp_path / "wide.csv", text), form="wide"), "wide.csv", *words)


def test_row_names_of_a_wide_csv_are_its_instances(tmp_path):
    assert judgements(csv(tmp_path / "wide.csv", WIDE.replace("item", "")), form="wide") == EXPECTED


def test_a_wrong_form_is_refused():
    refused(lambda: io.read_labels(TABLE, form="tall"), "form: got 'tall'", "long, wide, wide-by-labeler, counts, ")
    refused(lambda: io.read_labels(TABLE, form="prodigy"), "JSONL")
    refused(
        lambda: io.read_labels(TABLE, form="wide", columns={"weight": "w"}), "'weight'", "allowed: instance, labeler"
    )
