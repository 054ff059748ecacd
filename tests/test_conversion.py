"""`crowdjax convert`: any form to a tidy table and back to a wide one; ids stay what they are."""

from __future__ import annotations

import os

import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_formats import BINARY, LABEL_STUDIO
from test_io import TABLE, csv, refused
from typer.testing import CliRunner

import crowdjax
from crowdjax.cli import app
from crowdjax.tables import open_table, write

ODD = ["007", "7", "1.0", "🦆", " b ", 'a "q", b', "two\nlines", "a,b", "NA", "null", "true", "2024-01-02", "1e5", "-"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str):
    return CliRunner().invoke(app, ["convert", *map(str, arguments)])


def done(*arguments: str) -> str:
    """What a conversion that goes well says on stderr."""
    result = call(*arguments)
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    return result.stderr


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_odd_ids_survive_every_round_trip(ending, here):
    rows = pd.DataFrame({"labeler": ODD, "instance": ODD[::-1], "label": [0, 1] * 7})
    rows.to_csv("a.csv", index=False)
    done("a.csv", f"b.{ending}")
    pd.testing.assert_frame_equal(crowdjax.tidy(f"b.{ending}").to_pandas(), rows, check_dtype=False)
    refused(lambda: crowdjax.convert(f"b.{ending}", "wide.csv", wide=True), "' b '", "without blanks around them")
    rows["labeler"] = rows["labeler"].str.strip()
    rows.to_csv("d.csv", index=False)
    done("d.csv", f"wide.{ending}", "--wide")
    done(f"wide.{ending}", "c.csv", "--from", "wide")
    back, rows = (t.sort_values("labeler", ignore_index=True) for t in (crowdjax.tidy("c.csv").to_pandas(), rows))
    pd.testing.assert_frame_equal(back, rows, check_dtype=False)


RUN = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "＝1+1"]  # by a spreadsheet
NOT_RUN = ["-5", "+1.5", "-1e-3", "-.5", "-", "=", "'=1", "a=b", "q1"]


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet"])
def test_cells_that_a_spreadsheet_would_run_are_escaped_and_counted_in_csv_alone(ending, here):
    ids = [*RUN, *NOT_RUN]
    pd.DataFrame({"labeler": ids, "instance": "q", "label": 1}).to_parquet("a.parquet")
    said = done("a.parquet", f"b.{ending}")
    back = crowdjax.tidy(f"b.{ending}").to_pandas()["labeler"].tolist()
    if ending == "parquet":
        assert back == ids and "in front" not in said
        return
    assert back == ["'" + text for text in RUN] + NOT_RUN
    assert f"a ' in front: {len(RUN)}. Parquet keeps them as they are." in said
    named = [text for text in RUN if text == text.strip()]  # the others make no column's name
    pd.DataFrame({"labeler": named, "instance": "q", "label": 1}).to_parquet("named.parquet")
    assert f"in front: {len(named)}." in done("named.parquet", f"wide.{ending}", "--wide")
    assert sorted(open_table(f"wide.{ending}", "").columns) == sorted(["instance", *("'" + text for text in named)])


def test_numbers_stay_numbers_in_csv(here):
    """Below zero they begin with a minus, too."""
    numbers = pa.table({"instance": [-1, 2], "value": [-0.5, 1e-300], "at": [None, "x"]})
    assert write(numbers, here / "n.csv") == 0
    assert (here / "n.csv").read_text() == "instance,value,at\n-1,-0.5,\n2,1e-300,x\n"


@pytest.mark.parametrize("name", ["duchenne", "zencrowd", "sp_amt"])
def test_real_sets_stay_the_same(name, here, data_dir):
    """Leading zeros, repeated judgements and the order of the rows are kept."""
    done(data_dir / name / "labels.csv", "a.parquet")
    done("a.parquet", "b.csv")
    read = [pd.read_csv(file, dtype=str, keep_default_na=False) for file in (data_dir / name / "labels.csv", "b.csv")]
    pd.testing.assert_frame_equal(*read)


def test_wide_and_tidy_are_the_same_labels(here, data_dir):
    done(data_dir / "ducks" / "labels.csv", "wide.parquet", "--wide")
    done("wide.parquet", "tidy.csv", "--from", "wide")
    read = [pd.read_csv(f, dtype=str) for f in (data_dir / "ducks" / "labels.csv", "tidy.csv")]
    pd.testing.assert_frame_equal(*(r.sort_values(list(r), ignore_index=True) for r in read))
    assert pq.read_table("wide.parquet").shape == (240, 54)


def test_exports_become_tidy_and_what_is_left_out_is_said(here):
    import json

    csv(here / "tasks.json", json.dumps(LABEL_STUDIO))
    csv(here / "answers.jsonl", "\n".join(map(json.dumps, BINARY)))
    said = done("tasks.json", "a.csv", "--positive", "duck")
    columns = "crowdjax: columns of labels tasks.json: labeler=completed_by, instance=id, label=animal\n"
    assert said == f"{columns}crowdjax: note: Annotations without an answer, left out: 1.\n"
    assert (here / "a.csv").read_text() == "labeler,instance,label\n1,7,1\nbob@x.org,7,0\nbob@x.org,8,1\n"
    assert "choose nothing, left out: 1" in done("answers.jsonl", "b.csv", "--from", "prodigy")
    assert (here / "b.csv").read_text().splitlines()[1:] == ["set-ann,1000000001,1", "set-bob,1000000001,0"]


def test_weights_and_types_of_ids_are_kept(here):
    table = pa.table({"labeler": [2**40, 1], "instance": [1, 1], "label": [-1, 1], "weight": [0.5, 2.0]})
    pq.write_table(table, "a.parquet")
    done("a.parquet", "b.parquet")
    expected = table.set_column(2, "label", pa.array([0, 1], pa.int8()))
    assert pq.read_table("b.parquet").equals(expected)


def test_tidy_gives_the_kind_that_came_in():
    for make, kind in ((pd.DataFrame, pd.DataFrame), (pl.DataFrame, pl.DataFrame), (dict, dict)):
        found = crowdjax.tidy(make(TABLE))
        assert isinstance(found, kind)
        assert list(found["label"]) == TABLE["label"]
    found = crowdjax.tidy(duckdb.sql("SELECT 'a' AS worker, 'q' AS task, 'no' AS answer"), positive="no")
    assert found.fetchall() == [("a", "q", 1)]


BAD = {
    "words": ("item,a\nq1,yes\nq2,yes\n", "--from wide", ["all 'yes'", "--positive"]),
    "wide": ("item,a,b\nq1,1,0\n", "", ["--from wide"]),
    "form": ("item,a,b\nq1,1,0\n", "--from tall", ["form: got 'tall'"]),
    "repeats": ("labeler,instance,label\na,q,1\na,q,0\n", "--wide", ["1 of 2 labels repeat an earlier one"]),
    "weights": ("labeler,instance,label,weight\na,q,1,2\n", "--wide", ["have weights"]),
    "a labeler called instance": ("labeler,instance,label\ninstance,q,1\n", "--wide", ["'instance'"]),
    "columns": ("labeler,instance,label\na,q,1\n", "--columns labeler=who", ["no column 'who'"]),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_status_2_and_leaves_nothing(name, here):
    text, options, words = BAD[name]
    csv(here / "a.csv", text)
    result = call("a.csv", "b.csv", *options.split())
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1), result.output
    assert all(word in result.stderr for word in words), result.stderr
    assert os.listdir() == ["a.csv"]


def test_where_nothing_can_be_written_it_is_refused(here):
    csv(here / "a.csv", "labeler,instance,label\na,q,1\n")
    for out, word in (("a.csv", "is there already"), ("b.xlsx", ".csv, .tsv"), ("s3://x/b.csv", "on this machine"),
                      ("a.csv/b.csv", "cannot be written")):  # fmt: skip
        refused(lambda out=out: crowdjax.convert("a.csv", out), out, word)
    assert os.listdir() == ["a.csv"]


def test_chosen_columns_of_a_wide_table(here):
    csv(here / "a.csv", "id,note,a,b\nq1,hi,1,\nq2,ho,0,1\n")
    done("a.csv", "b.csv", "--from", "wide", "--columns", "instance=id,labeler=a,labeler=b")
    assert (here / "b.csv").read_text() == "labeler,instance,label\na,q1,1\na,q2,0\nb,q2,1\n"


def test_a_million_labels_are_converted(here, data_dir):
    done(data_dir / "openrel" / "labels.parquet", "a.parquet")
    before, after = (pq.read_table(f) for f in (data_dir / "openrel" / "labels.parquet", "a.parquet"))
    for name in ("labeler", "instance", "label"):
        np.testing.assert_array_equal(*(t[name].cast(pa.string()).to_numpy() for t in (before, after)))
