"""Exports of Label Studio and Prodigy, and JSON: read as what they are, refused with the place where they are not."""

from __future__ import annotations

import copy
import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from test_io import csv, refused
from test_tables import judgements

from crowdjax import io
from crowdjax.formats import read_long
from crowdjax.labels import InputError


def annotation(who, choices, name="animal", **more):
    result = [{"from_name": name, "to_name": "image", "type": "choices", "id": "x1", "value": {"choices": choices}}]
    return {"id": 1, "completed_by": who, "result": result, "was_cancelled": False, "lead_time": 1.5} | more


# As in https://labelstud.io/guide/export: completed_by is a number or, in snapshots, a person.
LABEL_STUDIO = [
    {
        "id": 7,
        "data": {"image": "a.jpg", "key": "007"},
        "annotations": [annotation(1, ["duck"]), annotation({"id": 2, "email": "bob@x.org"}, ["goose"])],
        "predictions": [{"model_version": "m", "result": [annotation(0, ["duck"])["result"]]}],
    },
    {
        "id": 8,
        "data": {"image": "b.jpg", "key": "008"},
        "annotations": [annotation(1, [], was_cancelled=True), annotation({"id": 2, "email": "bob@x.org"}, ["duck"])],
    },
]
DUCKS = [("1", "7", 1), ("bob@x.org", "7", 0), ("bob@x.org", "8", 1)]


@pytest.fixture
def write(tmp_path):
    def to(value, name="export.json"):
        text = "\n".join(map(json.dumps, value)) if name.endswith("jsonl") else json.dumps(value)
        return csv(tmp_path / name, text)

    return to


def test_label_studio_json_is_recognised(write):
    path = write(LABEL_STUDIO)
    assert judgements(path, positive="duck") == judgements(LABEL_STUDIO, positive="duck") == DUCKS
    assert read_long(path).notes == ("Annotations without an answer, left out: 1.",)
    assert io.read_triples(path).index.classes == ("duck", "goose")
    by_key = judgements(path, positive="duck", columns={"instance": "key"})
    assert [what for _, what, _ in by_key] == ["007", "007", "008"]
    legacy = [{"id": t["id"], "data": t["data"], "completions": t["annotations"]} for t in LABEL_STUDIO]
    assert judgements(legacy, positive="duck") == DUCKS


# As its exporters write them: a row for every annotation, the question among the data's keys.
FLAT = {
    "id": [7, 7, 8],
    "image": ["a.jpg", "a.jpg", "b.jpg"],
    "animal": ["duck", "goose", "duck"],
    "annotator": [1, 2, 2],
    "annotation_id": [11, 12, 13],
    "created_at": ["2024-01-01"] * 3,
    "updated_at": ["2024-01-01"] * 3,
    "lead_time": [1.5, 2.0, 3.0],
}


def test_label_studio_csv_and_json_min_are_recognised(tmp_path, write):
    frame = pd.DataFrame(FLAT)
    records = frame.to_dict("records")
    frame.to_csv(tmp_path / "export.csv", index=False)
    settings = dict(positive="duck", columns={"label": "animal"})
    assert judgements(write(records), **settings) == [(1, 7, 1), (2, 7, 0), (2, 8, 1)]
    assert judgements(tmp_path / "export.csv", **settings) == [("1", "7", 1), ("2", "7", 0), ("2", "8", 1)]
    refused(lambda: io.read_labels(tmp_path / "export.csv", positive="duck"), "image, animal", "--columns label=")
    frame.rename(columns={"animal": "choice"}).to_csv(tmp_path / "export.csv", index=False)
    assert len(judgements(tmp_path / "export.csv", positive="duck")) == 3
    empty = [r | ({"animal": None} if r["annotator"] == 1 else {}) for r in records]
    assert judgements(empty, **settings) == [(2, 7, 0), (2, 8, 1)]
    several = [r | {"animal": {"choices": ["duck", "goose"]}} for r in records[:1]] + records[1:]
    refused(lambda: io.read_labels(several, **settings), "record 1", "an object of choices")
    frame.assign(animal=[json.dumps({"choices": ["duck", "goose"]}), "duck", "duck"]).to_csv(
        tmp_path / "export.csv", index=False
    )
    refused(lambda: io.read_labels(tmp_path / "export.csv", **settings), "row 1", "several choices")


def changed(change):
    tasks = copy.deepcopy(LABEL_STUDIO)
    change(tasks)
    return tasks


BAD_LABEL_STUDIO = {
    "several choices": (
        lambda t: t[1]["annotations"][1]["result"][0]["value"].update(choices=["duck", "goose"]),
        ["record 2, annotation 2", "2 choices", "allowed: one"],
    ),
    "several questions": (
        lambda t: t[0]["annotations"].append(annotation(3, ["red"], name="colour")),
        ["several questions, animal, colour", "--columns label=animal"],
    ),
    "nobody": (lambda t: t[0]["annotations"][0].pop("completed_by"), ["record 1", "no completed_by"]),
    "no id": (lambda t: t[1].pop("id"), ["record 2", "no 'id'"]),
    "no value": (lambda t: t[0]["annotations"][0]["result"][0].pop("value"), ["record 1", "a task of Label Studio"]),
    "no list": (lambda t: t[0].update(annotations=5), ["record 1", "a task of Label Studio"]),
    "boxes only": (
        lambda t: [a["result"][0].update(type="rectanglelabels") for task in t for a in task["annotations"]],
        ["no labels at all", "Annotations without an answer, left out: 4."],
    ),
    "not a task": (lambda t: t.append("x"), ["record 3", "allowed: an object"]),
}


@pytest.mark.parametrize("name", BAD_LABEL_STUDIO)
def test_bad_exports_of_label_studio_are_refused(name, write):
    change, words = BAD_LABEL_STUDIO[name]
    refused(lambda: io.read_labels(write(changed(change)), positive="duck"), "export.json", *words)


def test_a_question_of_several_can_be_chosen(write):
    tasks = changed(lambda t: t[0]["annotations"].append(annotation(3, ["red"], name="colour")))
    assert judgements(write(tasks), positive="duck", columns={"label": "animal"}) == DUCKS
    refused(lambda: io.read_labels(write(tasks), columns={"label": "size"}), "no question 'size'", "animal, colour")


# As `prodigy db-out` writes them: https://prodi.gy/docs/api-interfaces
def answer(task, who, given, **more):
    line = {"text": f"text {task}", "_input_hash": -task, "_task_hash": 10**9 + task, "_view_id": "classification"}
    return line | {"answer": given, "_annotator_id": f"set-{who}", "_session_id": f"set-{who}"} | more


OPTIONS = [{"id": "DUCK", "text": "a duck"}, {"id": "GOOSE", "text": "a goose"}]
BINARY = [answer(1, "ann", "accept", label="DUCK"), answer(1, "bob", "reject", label="DUCK"),
          answer(2, "bob", "ignore", label="DUCK")]  # fmt: skip
CHOICE = [answer(1, "ann", "accept", options=OPTIONS, accept=["DUCK"]),
          answer(1, "bob", "accept", options=OPTIONS, accept=["GOOSE"]),
          answer(2, "ann", "reject", options=OPTIONS, accept=["DUCK"]),
          answer(2, "bob", "accept", options=OPTIONS, accept=[])]  # fmt: skip
TWO = [("set-ann", "1000000001", 1), ("set-bob", "1000000001", 0)]


def test_prodigys_answers_are_recognised(write):
    assert judgements(write(BINARY, "answers.jsonl")) == TWO
    assert judgements(write(CHOICE, "answers.jsonl"), positive="DUCK") == TWO
    assert read_long(CHOICE).notes == ("Answers that choose nothing, left out: 2.",)
    by_text = judgements(BINARY, columns={"instance": "text", "labeler": "_session_id"})
    assert by_text == [("set-ann", "text 1", 1), ("set-bob", "text 1", 0)]


def test_a_single_option_is_ticked_or_not():
    one = OPTIONS[:1]
    lines = [
        answer(1, "ann", "accept", options=one, accept=["DUCK"]),
        answer(1, "bob", "accept", options=one, accept=[]),
    ]
    assert judgements(lines) == TWO


def test_one_label_of_several_can_be_asked_about():
    lines = [*BINARY, answer(5, "ann", "accept", label="GOOSE")]
    refused(lambda: io.read_labels(lines), "several labels, DUCK, GOOSE", "--columns label=DUCK")
    assert judgements(lines, columns={"label": "DUCK"}) == TWO
    assert "Answers about other labels, left out: 1." in read_long(lines, columns={"label": "DUCK"}).notes
    refused(lambda: io.read_labels(lines, columns={"label": "SWAN"}), "no task asks about 'SWAN'", "DUCK, GOOSE")


BAD_PRODIGY = {
    "answer": ([*BINARY, answer(3, "ann", "maybe")], ["line 4", "answer 'maybe'", "accept, reject, ignore"]),
    "no answer": ([*BINARY, {"_task_hash": 1}], ["line 4", "answer None"]),
    "nobody": ([{"_task_hash": 1, "answer": "accept"}], ["line 1", "no _annotator_id or _session_id"]),
    "no task": ([{"_input_hash": 1, "answer": "accept", "_annotator_id": "a"}], ["line 1", "no _task_hash"]),
    "two options": (
        [answer(1, "ann", "accept", options=OPTIONS, accept=["DUCK", "GOOSE"])],
        ["line 1", "['DUCK', 'GOOSE']", "one option"],
    ),
    "mixed": ([*BINARY, *CHOICE], ["tasks with options and tasks without"]),
    "all ignored": (BINARY[2:], ["no labels at all", "Answers that choose nothing, left out: 1."]),
}


@pytest.mark.parametrize("name", BAD_PRODIGY)
def test_bad_exports_of_prodigy_are_refused(name, write):
    lines, words = BAD_PRODIGY[name]
    refused(lambda: io.read_labels(write(lines, "answers.jsonl")), "answers.jsonl", *words)


# JSON


def test_json_of_a_long_table_is_read_with_ids_as_they_are(write):
    rows = [{"labeler": "007", "instance": 10**30, "label": 1}, {"labeler": '🦆 "a"\n', "instance": 1, "label": 0}]
    expected = [("007", str(10**30), 1), ('🦆 "a"\n', "1", 0)]
    assert judgements(write(rows)) == judgements(write(rows, "rows.jsonl")) == expected


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("x.jsonl", '{"labeler": "a"}\n\n{"labeler": \n', ["line 3", "not JSON"]),
        ("x.jsonl", '{"labeler": "a"}\n[1]\n', ["line 2", "allowed: an object"]),
        ("x.json", '[{"labeler": "a"', ["not JSON"]),
        ("x.json", "", ["empty file"]),
        ("x.jsonl", " \n", ["empty file"]),
        ("x.json", "[]", ["no records"]),
        ("x.json", '[{"labeler": "a"}]', ["no column 'instance'"]),
        ("x.json", "[" * 100_000, ["not JSON"]),
        (
            "x.json",
            '[{"labeler": "a", "instance": {"a": 1}, "label": 1}]',
            ["'instance'", "found: labeler, instance.a"],
        ),
        ("x.json", '[{"labeler": "a", "instance": "b", "label": [1]}]', ["got a list of 1"]),
        ("x.json", f'[{{"labeler": "a", "instance": "b", "label": {10**30}}}]', ["all '" + str(10**30), "--positive"]),
    ],
)
def test_broken_json_is_refused(name, text, words, tmp_path):
    refused(lambda: io.read_labels(csv(tmp_path / name, text)), name, *words)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    (tmp_path / "x.json").write_bytes(b"\xff\xfe[]")
    refused(lambda: io.read_labels(tmp_path / "x.json"), "x.json", "cannot be read as JSON")
    refused(lambda: io.read_labels(tmp_path / "absent.jsonl"), "absent.jsonl", "no such file")


def test_ids_of_types_without_an_order_and_words_of_any_length_are_refused_in_one_line():
    half = pa.table({"labeler": pa.array(np.float16([1, 2])), "instance": ["a", "a"], "label": [0, 1]})
    with pytest.raises(InputError, match=r"^labels: column 'labeler': cannot be read as ids: "):
        io.read_labels(half)
    long = {"labeler": ["a", "b"], "instance": ["q", "q"], "label": ["9" * 5000, "no"]}
    with pytest.raises(InputError) as refused:
        io.read_labels(long)
    assert len(str(refused.value)) < 400
    many = {f"column {k}" * 30: [1] for k in range(1000)}
    with pytest.raises(InputError) as refused:
        io.read_labels(many)
    assert len(str(refused.value)) < 1200


def test_keys_within_objects_are_columns(write):
    rows = [
        {"doc": {"id": f"q{k // 2}"}, "user": {"info": {"name": "ab"[k % 2]}}, "label": k % 3 % 2} for k in range(6)
    ]
    columns = {"labeler": "user.info.name", "instance": "doc.id", "label": "label"}
    flat = {role: [row["user"]["info"]["name"] if role == "labeler" else row["doc"]["id"] if role == "instance"
                   else row["label"] for row in rows] for role in columns}  # fmt: skip
    for source in (rows, write(rows), write(rows, "t.jsonl")):
        assert judgements(source, columns=columns) == judgements(flat)
    refused(lambda: io.read_labels(rows), "found: doc.id, user.info.name, label")
    refused(lambda: io.read_labels([{"a": {"b": 1}, "a.b": 2, "label": 1}]), "key 'a.b' is there twice")
    deep: dict = {}
    for _ in range(900):
        deep = {"x": deep}
    io.read_labels([row | {"more": deep} for row in rows], columns=columns)  # no deeper than Python recurses
