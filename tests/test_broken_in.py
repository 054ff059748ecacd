"""What was found by breaking in: ids that would be merged, settings that contradict, results that would be lost."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_io import TABLE, refused
from typer.testing import CliRunner

import crowdjax
from crowdjax import io
from crowdjax.cli import app

DAY = datetime.date(2020, 1, 1)
NOON = datetime.datetime(2020, 1, 1, 12)


def parts(folder, *tables) -> str:
    for k, table in enumerate(tables):
        pq.write_table(pa.table(table), folder / f"{k}.parquet")
    return str(folder)


# Ids


@pytest.mark.parametrize(
    ("first", "second"),
    [([1, 1], ["1", "01"]), ([DAY, DAY], [NOON, NOON]), (pa.array([0.1, 0.2], pa.float32()), [0.1, 0.1000000001])],
)
def test_files_of_one_table_have_one_type(tmp_path, first, second):
    tables = [{"labeler": ["a", "b"], "instance": ids, "label": [1, 0]} for ids in (first, second)]
    refused(lambda: io.read_labels(parts(tmp_path, *tables)), "1.parquet", "column 'instance' of type", "one type")


def test_files_of_one_table_have_the_same_columns(tmp_path):
    """The weights of the second file were left out without a word."""
    table = {"labeler": ["a", "b"], "instance": ["q", "r"], "label": [1, 0]}
    refused(
        lambda: io.read_labels(parts(tmp_path, table, table | {"weight": [50.0, 1.0]})), "other columns", "'weight'"
    )


@pytest.mark.parametrize("kind", [dict, lambda table: pd.DataFrame(table, dtype=object)], ids=["dict", "pandas"])
@pytest.mark.parametrize("ids", [[1.0, True, 2.0], [True, 1.0, 2.0], [DAY, NOON, DAY], [NOON, NOON.astimezone(), NOON]])
def test_values_of_several_types_are_refused_in_any_order(kind, ids):
    table = {"labeler": list("abc"), "instance": ids, "label": [1, 0, 1]}
    refused(lambda: io.read_labels(kind(table)), "'instance'", "values of one type")


def test_objects_of_polars_are_read_by_value_or_refused():
    text = "".join(["q", "1"])
    table = {"labeler": ["a", "b", "c"], "label": [1, 0, 1]}
    frame = pl.DataFrame(table).with_columns(pl.Series("instance", [text, "q1", "q2"], dtype=pl.Object))
    assert io.read_labels(frame)[1].instances.tolist() == ["q1", "q2"]


def test_nanoseconds_tell_ids_apart():
    times = [pd.Timestamp(1, unit="ns"), pd.Timestamp(2, unit="ns")]
    assert len(io.read_labels({"labeler": ["a", "b"], "instance": times, "label": [1, 0]})[1].instances) == 2


def test_true_is_not_1_in_json():
    records = [{"labeler": who, "instance": "q", "label": 1} for who in (1, True)]
    refused(lambda: io.read_labels(records), "'labeler'", "one type")


@pytest.mark.parametrize(
    ("known", "given"),
    [
        ([True, False], 0.5),
        ([1, 2], True),
        ([DAY], NOON),
        ([datetime.datetime(1970, 1, 1)], 0),
        (np.array([0.1], np.float32), 0.1000000001),
    ],
)
def test_ids_of_other_tables_are_not_cast_into_another(known, given):
    refused(lambda: io.read_gold({"instance": [given], "label": [1]}, pa.array(known)), "gold", "instance")


def test_whole_numbers_that_float32_rounds_are_refused():
    ids = np.array([2**24, 2**24 + 1], np.float32)
    refused(lambda: io.read_labels({"labeler": ids, "instance": [1, 2], "label": [1, 0]}), "rounded")


# Settings


def test_counts_and_wide_tables_have_each_instance_and_each_column_once():
    counts = {"item": ["q1", "q1"], "no": [3, 0], "yes": [1, 5]}
    refused(lambda: io.read_labels(counts, form="counts", positive="yes"), "rows 1 and 2", "'q1' twice")
    columns = {"instance": "item", "label": ["yes", "yes"]}
    refused(lambda: io.read_labels(counts, form="counts", columns=columns), "each once")
    wide = {"item": ["q1"], "ann": [1]}
    columns = {"instance": "item", "labeler": ["ann", "item"]}
    refused(lambda: io.read_labels(wide, form="wide", columns=columns), "each once")
    refused(lambda: io.read_labels(wide, form="wide", columns={"instance": "item", "labeler": 5}), "no column '5'")
    refused(lambda: io.read_labels({"item": ["a"], "bob": [[1]]}, form="wide"), "'bob'", "list")


def test_counts_are_for_majority_alone_in_predictions_too():
    fitted = crowdjax.fit(TABLE, "one-coin")
    new = {"item": ["n"], "0": [1], "1": [5]}
    refused(lambda: fitted.predict(new, form="counts"), "counts", "majority")
    refused(lambda: crowdjax.fit(new, "majority", form="counts", repeats="first"), "repeats: got 'first' with counts")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"columns": {"labeler": "labeler", "labels.labeler": "x"}}, ["'labeler' of labels is given twice"]),
        ({"columns": {"labeler": ["labeler", "x"]}}, ["columns labeler, x for labeler", "one"]),
        ({"missing": 0}, ["missing: got 0", "a list"]),
        ({"missing": [["a"]]}, ["missing", "a list"]),
        ({"header": "no"}, ["header: got 'no'"]),
    ],
)
def test_settings_of_reading_are_used_or_refused(settings, words):
    refused(lambda: crowdjax.fit(TABLE, "majority", **settings), *words)


def test_a_missing_value_that_does_not_occur_is_said():
    assert "No label is 'zzz', which missing names." in io.read_triples(TABLE, missing=["zzz"]).notes
    assert io.read_triples(TABLE, missing=None).notes == ()


@pytest.mark.parametrize("text", ["1_0", "\uff11", "0x1", "1e400", "inf"])
def test_numbers_are_written_as_numbers_are(text):
    table = {"instance": ["q"], "weight": [text]}
    refused(lambda: io.read_weights(table, np.array(["q"])), "finite numbers")


# Results


def test_a_prediction_does_not_replace_its_fit_and_an_empty_place_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame(TABLE).to_csv("l.csv", index=False)
    crowdjax.fit("l.csv", "majority").save("k")
    done = CliRunner().invoke(app, ["predict", "k", "l.csv", "--out", "./k"])
    assert done.exit_code == 2 and "the fit itself" in done.stderr
    assert crowdjax.load("k").record["model"] == "majority"
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    done = CliRunner().invoke(app, ["fit", "../l.csv", "--model", "majority", "--out", ""])
    assert done.exit_code == 2 and list((tmp_path / "empty").iterdir()) == []


def test_a_record_that_says_another_format_is_held_to_its_hash(tmp_path):
    crowdjax.fit(TABLE, "majority").save(tmp_path / "k")
    record = json.loads((tmp_path / "k/fit.json").read_text())
    record["crowdjax"]["format"] = 1
    record["n_labels"] = 5
    (tmp_path / "k/fit.json").write_text(json.dumps(record))
    refused(lambda: crowdjax.load(tmp_path / "k"), "changed since it was written")
    (tmp_path / "k/fit.json").write_text("[" * 200_000)
    refused(lambda: crowdjax.load(tmp_path / "k"), "no fit.json of crowdjax")


@pytest.mark.parametrize("file", ["mine.txt", "result/fit.json", "result/labelers.parquet"])
def test_what_is_not_left_by_a_stopped_command_is_neither_used_nor_removed(tmp_path, file):
    crowdjax.fit(TABLE, "majority").save(tmp_path / "k")
    foreign = tmp_path / "k/.crowdjax.whole" / file
    foreign.parent.mkdir(parents=True, mode=0o700)
    foreign.write_text("{")
    assert crowdjax.load(tmp_path / "k").record["model"] == "majority"
    refused(lambda: crowdjax.fit(TABLE, "one-coin").save(tmp_path / "k"), ".crowdjax.whole")
    assert foreign.read_text() == "{"
    assert crowdjax.load(tmp_path / "k").record["model"] == "majority"


@pytest.mark.parametrize("place", ["x" * 300, "a\0b", None])
def test_places_that_cannot_be_are_refused(place):
    refused(lambda: crowdjax.load(place), "folder")
    refused(lambda: crowdjax.fit(TABLE, "majority").save(place), "out")


# What a newcomer stumbled over


def test_empty_columns_and_a_header_in_quotes_are_no_obstacle(tmp_path):
    (tmp_path / "t.csv").write_text('worker;"task; or\nitem";label;;\na;1;1;;\nb;1;0;;\n')
    columns = {"labeler": "worker", "instance": "task; or\nitem", "label": "label"}
    assert io.read_labels(tmp_path / "t.csv", columns=columns)[1].labelers.tolist() == ["a", "b"]


def test_empty_labels_are_left_out_where_that_is_said(tmp_path):
    for label in ([1, None, 0], pd.array([1, None, 0], dtype="Int64"), ["yes", "", "no"]):
        table = pd.DataFrame({"worker": list("abc"), "task": [1, 1, 1], "label": label})
        positive = "yes" if label[0] == "yes" else None
        refused(lambda: io.read_labels(table, positive=positive), "(--missing '')", "label=label")  # noqa: B023
        assert len(io.read_triples(table, missing=[""], positive=positive).label) == 2
        assert len(io.read_triples(table, missing=[None], positive=positive).label) == 2


def test_words_that_differ_in_case_are_said_to(tmp_path):
    table = TABLE | {"label": ["yes", "no", "YES", "no"]}
    message = refused(lambda: io.read_labels(table, positive="yes"), "'YES' and 'yes' differ in case only")
    assert "--missing" not in message
    assert io.read_triples(TABLE | {"label": [1, 2, 1, 2]}).index.classes == (1, 2)


def test_refusals_of_labels_say_which_columns_were_taken():
    table = {"worker": list("ab"), "task": [1, 1], "answer": ["yes", "yes"]}
    refused(lambda: io.read_labels(table), "--positive yes", "--columns labeler=worker,instance=task,label=answer")


def test_options_of_one_value_are_given_once_and_a_closed_pipe_is_no_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame(TABLE).to_csv("l.csv", index=False)
    done = CliRunner().invoke(app, ["describe", "l.csv", "--missing", "a", "--missing", "b"])
    assert done.exit_code == 2 and "--missing: given twice" in done.stderr


def test_labelers_known_from_the_fit_are_not_said_to_be_mostly_prior():
    fitted = crowdjax.fit(TABLE | {"labeler": list("abab")}, "one-coin")
    new = {"labeler": ["a", "x"], "instance": ["n", "n"], "label": [1, 1]}
    assert [w for w in fitted.predict(new).warnings if "gave one label" in w] == [
        "1 of 1 labelers gave one label; their estimates are mostly prior."
    ]
