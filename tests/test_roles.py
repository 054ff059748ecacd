"""Which column plays which role: named, own or usual, never guessed; what is refused ends in a line to paste."""

from __future__ import annotations

import json
import re
import shlex

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from test_io import TABLE, csv, refused
from test_tables import EXPECTED, judgements
from typer.testing import CliRunner

import crowdjax
from crowdjax import io, roles
from crowdjax.cli import app

ROWS = list(zip(*TABLE.values(), strict=True))


def table(*names: str, rows=ROWS, **more) -> dict:
    return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)) | more


def text(names: str, rows=ROWS, comma: str = ",") -> str:
    return "".join(comma.join(map(str, row)) + "\n" for row in [names.split(","), *rows])


def pasted(message: str) -> list[str]:
    """The option at the end of a refusal, as a shell would take it."""
    return shlex.split(re.findall(r"\((--columns .*?)\)$", message.strip())[-1])


# Labels


@pytest.mark.parametrize("names", ["Labeler,INSTANCE,Label", " labeler , instance,label ", "Worker ID,task,Answer"])
@pytest.mark.parametrize("kind", [dict, pd.DataFrame, pa.table])
def test_names_count_in_any_case_and_with_blanks(names, kind):
    assert judgements(kind(table(*names.split(",")))) == EXPECTED


@pytest.mark.parametrize("name", ["weight", "Weight", " WEIGHT "])
def test_a_weight_counts_whatever_its_case(name):
    found = io.read_triples(table("labeler", "instance", "label", **{name: [5, 1, 1, 1]}))
    assert found.weight.tolist() == [5, 1, 1, 1]
    assert found.roles["weight"] == name.strip()


def test_once_a_role_is_named_by_hand_no_other_is_guessed():
    given = table("rater_x", "orig_id", "response", task=["k"] * 4)
    message = refused(lambda: io.read_labels(given, columns={"labeler": "rater_x"}), "'task'", "named by hand")
    assert pasted(message) == ["--columns", "labeler=rater_x,instance=?,label=?"]
    assert judgements(given, columns={"labeler": "rater_x", "instance": "orig_id", "label": "response"}) == EXPECTED
    own = table("who", "instance", "label")  # a role's own name is no guess
    assert judgements(own, columns={"labeler": "who"}) == EXPECTED


def test_a_refusal_ends_with_the_roles_that_are_clear():
    given = table("worker_nr", "_unit_id", "is_it_a_duck") | {"_worker": TABLE["labeler"]}
    message = refused(lambda: io.read_labels(given), "no column 'label'", "worker_nr, _unit_id, is_it_a_duck")
    _option, value = pasted(message)
    assert value == "labeler=_worker,instance=_unit_id,label=?"
    from crowdjax.cli.common import columns_of

    assert judgements(given, columns=columns_of(value.replace("?", "is_it_a_duck"))) == EXPECTED


def test_names_with_blanks_and_commas_can_be_pasted():
    given = table("Rater, who", "the item", "verdict")
    from crowdjax.cli.common import columns_of

    value = "labeler=Rater, who,instance=the item,label=verdict"
    assert judgements(given, columns=columns_of(value)) == EXPECTED
    message = refused(lambda: io.read_labels(given, columns={"labeler": "Rater, who"}))
    assert pasted(message)[1] == "labeler=Rater, who,instance=?,label=?"


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"labeler": "x"}, ["no column 'x'"]),
        ({"labeler": "labele"}, ["did you mean labeler=labeler?"]),
        ({"labeler": "label", "label": "label"}, ["column 'label' for labeler and label"]),
        ({"who": "labeler"}, ["'who'", "labeler, instance, label, weight"]),
        ({"gold.instance": "q"}, ["no table 'gold'"]),
        (["labeler"], ["allowed: a dict"]),
    ],
)
def test_columns_that_do_not_fit_are_refused(columns, words):
    refused(lambda: io.read_labels(TABLE, columns=columns), *words)


@pytest.mark.parametrize("names", [(0, 1, 2), (("labeler", ""), ("instance", ""), ("label", "")), ("x", 1, ("a", "b"))])
def test_integer_and_multiindex_names_are_used_through_columns(names):
    frame = pd.DataFrame(dict(enumerate(TABLE.values())))
    frame.columns = pd.Index(names, tupleize_cols=all(isinstance(n, tuple) for n in names))
    columns = dict(zip(("labeler", "instance", "label"), names, strict=True))
    assert judgements(frame, columns=columns) == EXPECTED
    if names == (0, 1, 2):
        refused(lambda: io.read_labels(frame), "found: 0, 1, 2", "--columns labeler=?,instance=?,label=?")


def test_names_that_the_labels_have_are_suggested_for_the_other_tables():
    columns = {"labeler": "mod", "instance": "post", "label": "ok"}
    scores = {"post": [1, 2], "p": [0.1, 0.2]}
    gold = {"post": [1, 2], "Gold": [0, 1]}
    refused(lambda: io.open_tables(columns, scores=scores), "(--columns scores.instance=post)")
    refused(lambda: io.open_tables(columns, gold=gold), "(--columns gold.instance=post,gold.label=Gold)")
    refused(lambda: io.open_tables(columns, gold={"id": [1], "truth": [1], "gold": [1]}),
            "(--columns gold.instance=?,gold.label=?)")  # fmt: skip
    refused(lambda: io.open_tables(None, scores=scores), "(--columns scores.instance=?)")


# Row numbers


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "index", "__index_level_0__", "level_0"])
def test_row_numbers_are_no_score_feature_or_labeler(name, tmp_path):
    ids = np.array(["a", "b", "c"])
    numbers = {"labeler": ids, "years": [1.0, 2.0, 4.5]}
    assert io.read_features({name: [2, 0, 1]} | numbers, "labeler", ids)[1].names == ("years",)
    scores = {name: [2, 0, 1], "instance": ids, "p": [0.1, 0.2, 0.3]}
    assert io.read_values(scores, "instance", ids, kind="scores")[0] == ("p",)
    wide = {name: [0, 1], "item": ["q1", "q2"], "a": [0, 1], "b": [None, 1], "c": [1, None]}
    assert judgements(wide, form="wide") == EXPECTED
    named = io.read_features({name: [2, 0, 1]} | numbers, "labeler", ids)
    assert named[1].names == ("years",)
    chosen = io.read_values({name: [2, 0, 1]} | numbers, "labeler", ids, columns={"feature": [name, "years"]})
    assert chosen[0] == (name, "years")  # what is named counts


# Scores, features, gold


def test_scores_are_score_or_the_only_number_or_those_named():
    ids = np.array(["q1", "q2"])

    def read(**columns):
        return io.read_values({"instance": ids, **columns}, "instance", ids, kind="scores")

    assert read(score=[0.1, 0.2], other=[1, 2], label=[1, 0])[0] == ("score",)
    assert read(Score=[0.1, 0.2], other=[1, 2])[0] == ("Score",)
    assert read(p=[0.1, 0.2], text=["x", "y"])[0] == ("p",)
    message = refused(lambda: read(p=[0.1, 0.2], length=[5, 6], text=["x", "y"]), "p, length may all be scores")
    assert "(--score-columns p,length)" in message
    refused(lambda: read(label=[1, 0]), "'label' does not look like a score")


@pytest.mark.parametrize("name", ["label", "Truth", "gold"])
def test_the_truth_is_no_feature_unless_it_is_named(name):
    ids = np.array(["a", "b"])
    given = {"labeler": ids, "age": [20, 30], name: [0, 1]}
    refused(
        lambda: io.read_features(given, "labeler", ids), f"column {name!r} does not look like a feature", "feature=age"
    )
    assert io.read_values(given, "labeler", ids, columns={"feature": ["age", name]})[0] == ("age", name)


def test_columns_of_every_table_can_be_named():
    rng = np.random.default_rng(0)
    score = rng.random(60)
    truth = rng.random(60) < score
    labels = {"who": np.tile(list("abc"), 60), "what": np.repeat(np.arange(60), 3)}
    labels["said"] = (np.repeat(truth, 3) == (rng.random(180) < 0.9)).astype(int)
    columns = {"labeler": "who", "instance": "what", "label": "said"}
    tables = {"gold": {"q": [0, 1], "right": truth[:2]}, "scores": {"q": np.arange(60), "p": score, "n": score}}
    more = {"gold.instance": "q", "gold.label": "right", "scores.instance": "q", "scores.score": "p"}
    fitted = crowdjax.fit(labels, "auto", columns=columns | more, **tables)
    assert fitted.record["columns"] == {
        "labels": columns,
        "gold": {"instance": "q", "label": "right"},
        "scores": {"instance": "q", "score": ["p"]},
    }
    tables["population"] = {"probability": rng.random(100), "n": np.ones(100)}
    tables["weights"] = {"q": np.arange(60), "w": np.ones(60)}
    more |= {"population.score": "probability", "population.count": "n", "weights.instance": "q", "weights.weight": "w"}
    simple = dict(prevalence="linear", accuracy="constant", labelers="global", inference="laplace", draws=50)
    found = crowdjax.context(labels, columns=columns | more, **tables, **simple).record["columns"]
    assert found["population"] == {"count": "n", "score": ["probability"]}
    assert found["weights"] == {"instance": "q", "weight": "w"}


# The command line


def test_every_command_says_and_keeps_which_column_is_which(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    csv(tmp_path / "l.csv", text("worker,task,answer"))
    csv(tmp_path / "g.csv", "task,label\nq1,1\n")
    said = "crowdjax: columns of labels l.csv: labeler=worker, instance=task, label=answer\n"
    gold = "crowdjax: columns of gold g.csv: instance=task, label=label\n"
    fit = CliRunner().invoke(app, ["fit", "l.csv", "--model", "majority", "--gold", "g.csv", "--out", "o"])
    assert said + gold in fit.stderr
    kept = json.loads((tmp_path / "o/fit.json").read_text())["columns"]
    assert kept == {
        "labels": dict(labeler="worker", instance="task", label="answer"),
        "gold": dict(instance="task", label="label"),
    }
    for command in (["predict", "o", "l.csv", "--out", "p"], ["convert", "l.csv", "t.csv"]):
        assert said in CliRunner().invoke(app, command).stderr
    assert "labeler=worker, instance=task, label=answer" in CliRunner().invoke(app, ["describe", "l.csv"]).stdout
    quiet = CliRunner().invoke(app, ["-q", "convert", "l.csv", "u.csv"])
    assert (quiet.exit_code, quiet.stderr) == (0, "")


def test_what_is_said_is_a_log_record_for_who_listens(caplog):
    with caplog.at_level(roles.NOTICE, "crowdjax"):
        io.mapping(io.read_triples(TABLE), {})
    assert caplog.records[-1].fields["columns"] == dict(labeler="labeler", instance="instance", label="label")
