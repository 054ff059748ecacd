"""Exports of annotation tools: samples in the shape of the real ones come out as the judgements that are in them.

The samples are in fixtures/foreign; what is expected was read off them by hand.
"""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_io import refused

from crowdjax import io
from crowdjax.cli import app as main
from crowdjax.cli.common import columns_of
from crowdjax.formats import read_long

FOREIGN = Path(__file__).parent / "fixtures" / "foreign"
U1, U2 = (f"5fe6a6b1-0000-4000-8000-00000000000{k}" for k in (1, 2))
W1, W2 = "private.eu-west-1.aaaa1111", "private.eu-west-1.bbbb2222"

# (labeler, instance, label) of every judgement in order; gold; what is said
EXPECTED = {
    "doccano": (
        [("ann", "11", "duck"), ("ann", "12", "goose"), ("bob", "11", "duck"), ("bob", "12", "duck")],
        {},
        ["Annotations without an answer, left out: 1."],
    ),
    "argilla.json": (
        [(U1, "rec-1", "duck"), (U1, "rec-2", "goose"), (U2, "rec-2", "duck")],
        {},
        ["Responses that are drafts or discarded, left out: 1.", "Records without a response, left out: 1."],
    ),
    "argilla_v1.jsonl": (
        [("u1", "a1", "duck"), ("u2", "a1", "duck"), ("u1", "a2", "goose")],
        {},
        ["Responses that are drafts or discarded, left out: 2."],
    ),
    "argilla_v0.json": (
        [("ann", "t-1", "duck"), ("bob", "t-1", "goose")],
        {},
        ["Responses that are drafts or discarded, left out: 1.", "Records without a response, left out: 1."],
    ),
    "labelbox.ndjson": (
        [
            ("ann@example.org", "clrow0001", "duck"),
            ("bob@example.org", "clrow0001", "goose"),
            ("ann@example.org", "clrow0002", "duck"),
        ],
        {},
        ["Data rows without a label, left out: 1.", "Annotations without an answer, left out: 1."],
    ),
    "ground_truth": (
        [(W1, "0", "duck"), (W2, "0", "goose"), (W1, "1", "duck")],
        {},
        ["Annotations without an answer, left out: 1."],
    ),
    "ground_truth/iteration-1/1/2024-01-01_10-02-00.json": (
        [(W1, "1", "duck")],
        {},
        ["Annotations without an answer, left out: 1."],
    ),
    "consolidation_request.json": ([(W1, "0", "duck"), (W2, "0", "goose"), (W1, "1", "duck")], {}, []),
    "output.manifest": (
        [
            ("w1", "s3://example/pond-1.jpg", "duck"),
            ("w2", "s3://example/pond-1.jpg", "goose"),
            ("w2", "s3://example/pond-2.jpg", "duck"),
        ],
        {},
        ["Annotations without an answer, left out: 1."],
    ),
    "toloka.tsv": (
        [
            ("w1", "pond-1.jpg", "duck"),
            ("w1", "pond-2.jpg", "goose"),
            ("w2", "pond-1.jpg", "goose"),
            ("w2", "pond-2.jpg", "goose"),
        ],
        {"pond-2.jpg": "goose"},
        [
            "Assignments rejected, left out: 2.",
            "Assignments skipped, left out: 1.",
            "1 gold label is in the export; a fit that is given no other gold uses them.",
        ],
    ),
    "mturk.csv": (
        [("A1WORKER", "3HIT1", "duck"), ("A2WORKER", "3HIT1", "goose"), ("A1WORKER", "3HIT2", "duck")],
        {},
        ["Assignments rejected, left out: 2.", "Annotations without an answer, left out: 1."],
    ),
    "mturk_buttons.csv": (
        [("A1WORKER", "3HIT1", "duck"), ("A2WORKER", "3HIT1", "goose"), ("A2WORKER", "3HIT2", "duck")],
        {},
        [
            "2 HITs have only 1 different input; each HIT is an instance, unless you name the input: "
            "columns={'instance': 'Input.text'} (--columns instance=Input.text).",
            "Annotations without an answer, left out: 1.",
        ],
    ),
    "mturk_forms.csv": (
        [("A1WORKER", "3HIT1", "duck"), ("A1WORKER", "3HIT2", "goose")],
        {},
        ["Assignments rejected, left out: 1."],
    ),
    "appen.csv": (
        [("41", "901", "duck"), ("42", "901", "goose"), ("41", "902", "goose"), ("42", "903", "duck")],
        {"902": "goose"},
        [
            "Gold of several right answers, left out: 1.",
            "Tainted judgements, left out: 1.",
            "1 gold label is in the export; a fit that is given no other gold uses them.",
        ],
    ),
    "peerannot": ([("3", "0", "1"), ("7", "0", "0"), ("3", "1", "0"), ("7", "2", "1"), ("9", "2", "1")], {}, []),
    "lewidi.json": (
        [("Ann1", "1", "1"), ("Ann2", "1", "0"), ("Ann3", "1", "1"), ("Ann1", "2", "0"), ("Ann4", "2", "0")],
        {},
        [],
    ),
    "lewidi_2025.json": ([("Ann1", "1", "1"), ("Ann2", "1", "0"), ("Ann2", "2", "0")], {}, []),
    "glad.txt": (
        [("0", "0", "1"), ("1", "0", "0"), ("0", "1", "0"), ("1", "1", "0"), ("2", "1", "1")],
        {},
        ["The chance of class 1 in the first line, 0.5, is not used."],
    ),
    "label_studio.json": (
        [("5", "102", "duck"), ("bob@example.org", "102", "goose"), ("bob@example.org", "103", "duck")],
        {"102": "duck"},
        [
            "Tasks without annotations, left out: 1.",
            "Annotations without an answer, left out: 1.",
            "1 gold label is in the export; a fit that is given no other gold uses them.",
        ],
    ),
    "label_studio_ratings.json": ([("5", "1", "1"), ("6", "1", "5")], {}, []),
}


def rows(long) -> list[tuple]:
    return list(zip(*(long.data[role].to_pylist() for role in ("labeler", "instance", "label")), strict=True))


@pytest.mark.parametrize("name", EXPECTED)
def test_an_export_is_read_without_options(name):
    expected, gold, said = EXPECTED[name]
    long = read_long(str(FOREIGN / name))
    assert rows(long) == expected
    found = {} if long.gold is None else dict(zip(*long.gold.to_pydict().values(), strict=True))
    assert found == gold
    assert list(long.notes) == said
    assert {*long.roles} == {"labeler", "instance", "label"}


def test_every_sample_is_expected():
    there = {path.relative_to(FOREIGN).parts[0] for path in FOREIGN.rglob("*")}
    assert there == {name.partition("/")[0] for name in EXPECTED}


@pytest.mark.parametrize("name", ["toloka.tsv", "mturk.csv", "appen.csv"])
def test_a_table_that_was_exported_is_known_as_parquet_and_in_memory(name, tmp_path):
    comma = "\t" if name.endswith("tsv") else ","
    table = pa.csv.read_csv(
        FOREIGN / name,
        parse_options=pa.csv.ParseOptions(delimiter=comma, newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(strings_can_be_null=True),
    )
    pq.write_table(table, tmp_path / "x.parquet")
    expected = [tuple(map(str, row)) for row in EXPECTED[name][0]]
    for source in (table, tmp_path / "x.parquet", table.to_pandas()):
        assert [tuple(map(str, row)) for row in rows(read_long(source))] == expected


def test_ids_of_a_table_keep_their_type():
    table = {"_unit_id": [901, 901], "_worker_id": [41, 42], "bird": ["duck", "goose"], "bird_gold": [None, None]}
    assert rows(read_long(pa.table(table))) == [(41, 901, "duck"), (42, 901, "goose")]


def test_argillas_flat_table_is_read():
    table = pa.table(
        {
            "id": ["r1", "r2"],
            "text": ["flat bill", "hisses"],
            "bird.responses": [["duck", "goose"], None],
            "bird.responses.users": [["u1", "u2"], None],
            "bird.responses.status": [["submitted", "discarded"], None],
            "bird.suggestion": ["goose", "goose"],
        }
    )
    long = read_long(table)
    assert rows(long) == [("u1", "r1", "duck")]
    assert long.notes == (
        "Responses that are drafts or discarded, left out: 1.",
        "Records without a response, left out: 1.",
    )
    two = table.append_column("size.responses", [[["big"], []]])
    two = two.append_column("size.responses.users", [[["u1"], []]])
    message = refused(lambda: read_long(two), "several questions, bird, size")
    assert rows(read_long(two, columns=pasted(message))) == [("u1", "r1", "duck")]
    assert rows(read_long(two, columns={"label": "size"})) == [("u1", "r1", "big")]
    short = table.set_column(3, "bird.responses.users", [[["u1"], None]])
    refused(lambda: read_long(short), "row 1", "2 responses of 1 users")


def test_doccanos_older_export_has_the_users_number():
    lines = [
        {"id": 1, "text": "a", "annotations": [{"label": 2, "user": 1}, {"label": 3, "user": 4}], "meta": {}},
        {"id": 2, "text": "b", "annotations": [{"label": 2, "user": 4}], "meta": {}},
    ]
    assert rows(read_long(lines)) == [("1", "1", "2"), ("4", "1", "3"), ("4", "2", "2")]


def test_one_file_of_doccano_does_not_say_who(tmp_path):
    shutil.copy(FOREIGN / "doccano" / "ann.jsonl", tmp_path / "all.jsonl")
    refused(lambda: read_long(tmp_path / "all.jsonl"), "export of doccano", "folder", "a file for every labeler")
    shutil.copy(FOREIGN / "doccano" / "bob.jsonl", tmp_path / "bob.jsonl")
    refused(lambda: read_long(tmp_path), "does not say who labelled")
    (tmp_path / "all.jsonl").unlink()
    assert rows(read_long(tmp_path)) == EXPECTED["doccano"][0][2:]


def test_folders_of_json_are_read_as_what_is_in_them(tmp_path):
    for k in range(2):
        lines = [{"labeler": f"w{k}", "instance": i, "label": (i + k) % 2} for i in range(2)]
        (tmp_path / f"part{k}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert rows(read_long(tmp_path)) == [("w0", 0, 0), ("w0", 1, 1), ("w1", 0, 1), ("w1", 1, 0)]
    (tmp_path / "part1.jsonl").write_text('{"labeler": "w1", "instance": 0, "label": "?"}\n')
    refused(lambda: io.read_labels(tmp_path), "row 3", "got '?'")
    (tmp_path / "part1.jsonl").write_text('{"labeler": "w1"\n')
    refused(lambda: io.read_labels(tmp_path), "part1.jsonl, line 1", "not JSON")
    (tmp_path / "labels.csv").write_text("labeler,instance,label\nw,i,1\n")
    assert rows(read_long(tmp_path)) == [("w", "i", "1")]  # of a folder with both, tables are what counts


def test_kinds_of_ground_truths_files_are_not_mixed(tmp_path):
    shutil.copytree(FOREIGN / "ground_truth", tmp_path / "worker-response")
    shutil.copy(FOREIGN / "consolidation_request.json", tmp_path)
    refused(lambda: read_long(tmp_path), "requests of consolidation", "responses of workers", "allowed: one of them")


def test_a_worker_response_elsewhere_is_named_by_its_file(tmp_path):
    for k in range(2):
        source = next((FOREIGN / "ground_truth" / "iteration-1" / str(k)).iterdir())
        shutil.copy(source, tmp_path / f"pond-{k}.json")
    assert [row[1] for row in rows(read_long(tmp_path))] == ["pond-0", "pond-0", "pond-1"]


def test_answers_of_peerannot_elsewhere_have_to_be_said_to_be_such(tmp_path):
    path = tmp_path / "votes.json"
    shutil.copy(FOREIGN / "peerannot" / "answers.json", path)
    refused(lambda: read_long(path))
    assert rows(read_long(path, form="peerannot")) == EXPECTED["peerannot"][0]


def test_bytes_of_parquet_that_are_no_text_are_refused(tmp_path):
    half = pa.array([b"\xff\xfe", b"a"]).cast(pa.binary()).view(pa.string())
    for name, column in {"labeler": half, "instance": half.dictionary_encode(), "label": half}.items():
        table = {"labeler": ["a", "b"], "instance": ["q", "q"], "label": ["yes", "no"]} | {name: column}
        pq.write_table(pa.table(table), tmp_path / "x.parquet")
        refused(lambda: io.read_labels(tmp_path / "x.parquet", positive="yes"), "x.parquet", "UTF8")


# Refusals with a line to paste


def pasted(message: str) -> dict:
    """What ``--columns`` of a message is, read as a shell and the command line do."""
    words = shlex.split(message[message.rindex("(--columns ") + 1 : message.rindex(")")])
    return columns_of(words[1])


SEVERAL = {
    "argilla.json": lambda rows: rows[0]["responses"].update(size=[{"value": "big", "user_id": U1}]),
    "argilla_v1.jsonl": lambda rows: rows[0]["responses"][0]["values"].update(size={"value": "big"}),
    "labelbox.ndjson": lambda rows: rows[0]["projects"]["clproject01"]["labels"][0]["annotations"][
        "classifications"
    ].append({"name": "How big?", "value": "size", "radio_answer": {"name": "Big"}}),
    "output.manifest": lambda rows: rows[0]["birds"]["annotationsFromAllWorkers"][0].update(
        annotationData={"content": '{"bird": {"duck": true, "goose": false}, "size": "big"}'}
    ),
    "label_studio.json": lambda rows: rows[1]["annotations"][0]["result"].append(
        {"from_name": "how big", "type": "choices", "value": {"choices": ["big"]}}
    ),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_of_several_questions_one_is_said(name, tmp_path):
    text = (FOREIGN / name).read_text()
    records = json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    SEVERAL[name](records)
    question = read_long(FOREIGN / name).roles["label"]
    message = refused(lambda: read_long(records), "several questions", question, "columns={'label': ")
    assert pasted(message)["label"] in message
    assert read_long(records, columns=pasted(message)).data.num_rows > 0
    assert rows(read_long(records, columns={"label": question})) == EXPECTED[name][0]
    refused(lambda: read_long(records, columns={"label": "colour"}), "no question 'colour'", question)


TWO = ({"duck", "goose"}, {"0", "1"})


@pytest.mark.parametrize("name", [n for n, (found, *_) in EXPECTED.items() if {word for *_, word in found} in TWO])
def test_a_sample_is_converted_at_once_or_with_what_the_refusal_says(name, tmp_path, capfd):
    line = ["convert", str(FOREIGN / name), str(tmp_path / "out.csv")]
    status, said = run(line, capfd)
    if status == 2:
        option = said[said.rindex("(--") + 1 : said.rindex(")")]
        status, _ = run([*line, *shlex.split(option)], capfd)
    assert status == 0
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + len(EXPECTED[name][0])


def run(line: list[str], capfd) -> tuple[int, str]:
    try:
        main(line)
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    return status, capfd.readouterr().err


def test_of_several_outputs_of_toloka_one_is_said():
    table = {"INPUT:image": ["a"], "OUTPUT:bird": ["duck"], "OUTPUT:size": ["big"], "ASSIGNMENT:worker_id": ["w1"]}
    message = refused(lambda: read_long(pa.table(table)), "OUTPUT:bird, OUTPUT:size")
    assert rows(read_long(pa.table(table), columns=pasted(message))) == [("w1", "a", "duck")]
    assert rows(read_long(pa.table(table), columns={"label": "size"})) == [("w1", "a", "big")]
    two = pa.table(table | {"INPUT:text": ["b"]}).drop_columns("OUTPUT:size")
    message = refused(lambda: read_long(two), "no ASSIGNMENT:task_id", "INPUT:image, INPUT:text")
    assert rows(read_long(two, columns=pasted(message))) == [("w1", "a", "duck")]
    named = two.append_column("ASSIGNMENT:task_id", [["t7"]])
    assert rows(read_long(named)) == [("w1", "t7", "duck")]


def test_of_several_answers_of_a_batch_one_is_said():
    table = {"HITId": ["h"], "WorkerId": ["w"], "AssignmentStatus": ["Approved"], "Answer.bird.duck": [True]}
    table |= {"Answer.bird.goose": [False], "Answer.note": ["hm"]}
    message = refused(lambda: read_long(pa.table(table)), "several questions, Answer.bird, Answer.note")
    assert rows(read_long(pa.table(table), columns=pasted(message))) == [("w", "h", "duck")]
    assert rows(read_long(pa.table(table), columns={"label": "Answer.note"})) == [("w", "h", "hm")]


def test_a_question_of_appen_without_gold_is_said():
    table = {"_unit_id": [1], "_worker_id": [2], "url": ["x"], "bird": ["duck"]}
    message = refused(lambda: read_long(pa.table(table)), "url, bird", "labeler=_worker_id", "instance=_unit_id")
    columns = pasted(message)
    assert {*columns} == {"labeler", "instance", "label"}
    assert rows(read_long(pa.table(table), columns=columns | {"label": "bird"})) == [(2, 1, "duck")]


# Refusals with the place


def sample(name: str, change=lambda found: None):
    text = (FOREIGN / name).read_text()
    found = json.loads(text) if name.endswith(".json") else [json.loads(line) for line in text.splitlines()]
    change(found)
    return found if isinstance(found, list) else [found]


def toloka(**more) -> pa.Table:
    base = {"INPUT:i": ["a", "b"], "OUTPUT:o": ["x", "y"], "ASSIGNMENT:worker_id": ["w", "w"]}
    return pa.table(base | {name.replace("__", ":"): values for name, values in more.items()})


def batch(**more) -> pa.Table:
    base = {"HITId": ["h1", "h2"], "WorkerId": ["w", "w"], "AssignmentStatus": ["Approved"] * 2}
    return pa.table(base | {name.replace("__", "."): values for name, values in more.items()})


def lewidi(**of) -> list:
    return [{"1": {"annotations": "1,0", "annotators": "A,B"} | of}]


BAD = {
    "argilla: several choices": (
        lambda: sample("argilla.json", lambda r: r[0]["responses"]["animal"][0].update(value=["duck", "goose"])),
        ["record 1", "2 choices, 'duck', 'goose'", "allowed: one"],
    ),
    "argilla: no user": (
        lambda: sample("argilla.json", lambda r: r[1]["responses"]["animal"][0].pop("user_id")),
        ["record 2", "no 'user_id'"],
    ),
    "argilla: no id": (
        lambda: sample("argilla.json", lambda r: r[2].pop("id") and r[0].pop("id")),
        ["record 1", "no 'id'"],
    ),
    "argilla: status": (
        lambda: sample("argilla_v1.jsonl", lambda r: r[1]["responses"][0].update(status="lost")),
        ["record 2", "'lost'", "submitted"],
    ),
    "argilla: ranking": (
        lambda: sample("argilla.json", lambda r: r[0]["responses"]["animal"][0].update(value=[{"rank": 1}])),
        ["record 1", "an object of rank", "allowed: a label"],
    ),
    "labelbox: nobody": (
        lambda: sample(
            "labelbox.ndjson", lambda r: r[0]["projects"]["clproject01"]["labels"][0].pop("label_details")
        ),
        ["record 1", "no 'label_details'"],
    ),
    "labelbox: checklist": (
        lambda: sample(
            "labelbox.ndjson",
            lambda r: r[1]["projects"]["clproject01"]["labels"][0]["annotations"]["classifications"][0].update(
                radio_answer=None, checklist_answers=[{"name": "Duck", "value": "duck"}, {"name": "Goose"}]
            ),
        ),
        ["record 2, label 1", "2 choices", "allowed: one"],
    ),
    "labelbox: projects": (
        lambda: sample("labelbox.ndjson", lambda r: r[1].update(projects=[1])),
        ["record 2", "projects", "a list"],
    ),
    "ground truth: boxes": (
        lambda: sample(
            "output.manifest",
            lambda r: r[1]["birds"]["annotationsFromAllWorkers"][0].update(
                annotationData={"content": '{"bird": {"boundingBoxes": [], "size": 3}}'}
            ),
        ),
        ["record 2", "an object of boundingBoxes, size", "allowed: a label"],
    ),
    "ground truth: several buttons": (
        lambda: sample(
            "output.manifest",
            lambda r: r[0]["birds"]["annotationsFromAllWorkers"][1].update(
                annotationData={"content": '{"bird": {"duck": true, "goose": true}}'}
            ),
        ),
        ["record 1", "2 choices, 'duck', 'goose'"],
    ),
    "ground truth: no JSON": (
        lambda: sample(
            "output.manifest",
            lambda r: r[0]["birds"]["annotationsFromAllWorkers"][1].update(annotationData={"content": "{"}),
        ),
        ["record 1", "an answer of SageMaker Ground Truth"],
    ),
    "ground truth: in no file": (
        lambda: [{"answers": [{"workerId": "w", "answerContent": {"q": "x"}}]}],
        ["record 1", "a path to it"],
    ),
    "toloka: status": (lambda: toloka(ASSIGNMENT__status=["APPROVED", "LOST"]), ["row 2", "lost", "approved"]),
    "toloka: all rejected": (
        lambda: toloka(ASSIGNMENT__status=["REJECTED"] * 2),
        ["no labels at all", "Assignments rejected, left out: 2."],
    ),
    "toloka: two truths": (
        lambda: toloka(**{"INPUT:i": ["a", "a"], "GOLDEN:o": ["x", "y"]}),
        ["gold of instance 'a'", "'x' and 'y'"],
    ),
    "mturk: status": (lambda: batch(AssignmentStatus=["Approved", "?"], Answer__q=["x", "y"]), ["row 2", "Rejected"]),
    "mturk: several buttons": (
        lambda: batch(Answer__q__a=[True, True], Answer__q__b=[False, True]),
        ["row 2", "got a, b", "allowed: one of them"],
    ),
    "mturk: several labels": (
        lambda: batch(**{"Answer.q.labels": ['["a"]', '["a","b"]']}),
        ["row 2", "one label in a list"],
    ),
    "mturk: several ticks": (lambda: batch(Answer__q=["a", "a|b"]), ["row 2", "several choices, 'a|b'"]),
    "mturk: no answers": (lambda: batch(Input__q=["a", "b"]), ["no column Answer..."]),
    "mturk: forms": (lambda: batch(Answer__taskAnswers=["[{}]", "[{"]), ["row 2", "answers in JSON"]),
    "appen: several": (
        lambda: pa.table({"_unit_id": [1], "_worker_id": [2], "q": ["a\nb"], "q_gold": [None]}),
        ["row 1", "several choices, 'a\\nb'"],
    ),
    "lewidi: numbers": (lambda: lewidi(annotators="A,B,C"), ["instance '1'", "2 annotations of 3 annotators"]),
    "lewidi: nobody": (lambda: lewidi(annotators=""), ["instance '1'", "2 annotations of 0"]),
    "lewidi: several": (
        lambda: lewidi(annotations={"A": "1,0", "B": "1"}),
        ["instance '1'", "2 choices, '1', '0'"],
    ),
    "doccano: spans": (
        lambda: [{"id": 1, "text": "a", "annotations": [{"user": 1, "label": [0, 3, "PER"]}]}],
        ["record 1", "3 choices"],
    ),
    "label studio: two truths": (
        lambda: sample(
            "label_studio.json",
            lambda r: r[1]["annotations"][1].update(ground_truth=True),
        ),
        ["gold of instance '102'", "'goose' and 'duck'", "allowed: one"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_label_is_refused_with_its_place(name):
    make, words = BAD[name]
    refused(lambda: read_long(make()), *words)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (1, ["line 2", "allowed: image, labeler and label"]),
        (0, ["line 1 says 6 labels, but there are 5"]),
    ],
)
def test_glads_text_is_refused_where_it_contradicts_itself(line, words, tmp_path):
    lines = (FOREIGN / "glad.txt").read_text().splitlines()
    lines[line] = {0: "6 3 2 0.5", 1: "0 0"}[line]
    (tmp_path / "glad.txt").write_text("\n".join(lines))
    refused(lambda: read_long(tmp_path / "glad.txt"), *words)


def test_what_nobody_labelled_is_said(tmp_path):
    (tmp_path / "glad.txt").write_text("1 1 3 .5\n2 0 1\n")
    (tmp_path / "answers.json").write_text('{"a": {"w": 1}, "b": {}}')
    (tmp_path / "l.json").write_text(
        '{"1": {"annotations": "1", "annotators": "A"}, "2": {"annotations": "", "annotators": ""}}'
    )
    assert read_long(tmp_path / "glad.txt").notes[0] == "Images without a label, left out: 2."
    assert read_long(tmp_path / "answers.json").notes == ("Instances without answers, left out: 1.",)
    assert read_long(tmp_path / "l.json").notes == ("Instances without annotations, left out: 1.",)


def test_a_text_file_that_is_a_table_stays_one(tmp_path):
    (tmp_path / "labels.txt").write_text("labeler,instance,label\na,b,1\n")
    assert rows(read_long(tmp_path / "labels.txt")) == [("a", "b", "1")]


@pytest.mark.parametrize("form", ["argilla", "labelbox", "ground-truth", "doccano", "toloka", "mturk", "appen",
                                  "peerannot", "lewidi", "glad", "label-studio", "prodigy"])  # fmt: skip
def test_a_form_that_a_table_does_not_have_is_refused(form):
    table = {"labeler": ["a"], "instance": ["b"], "label": [1]}
    refused(lambda: read_long(table, form=form))
    refused(lambda: read_long([{"labeler": "a", "instance": "b", "label": 1}], form=form))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_role_that_an_export_leaves_no_choice_of_and_two_names_are_refused(name):
    refused(lambda: read_long(FOREIGN / name, columns={"weight": "w"}), "columns: got 'weight'")
    for role in ("labeler", "instance", "label"):
        refused(lambda role=role: read_long(FOREIGN / name, columns={role: ["a", "b"]}), "columns: ")
        refused(lambda role=role: read_long(FOREIGN / name, columns={role: "no such"}))


# Ids


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (1, ["labeler, record 2, annotation 1: got 1 and, in record 1, annotation 1, '1'"]),
        (True, ["labeler is True"]),
        ("", ["labeler is nothing"]),
        (None, ["no completed_by"]),
        ([1], ["a list"]),
        (float("nan"), ["labeler is nan"]),
        ("\ud800", ["got '\\ud800'", "UTF-8"]),
        ({"email": "", "id": None}, ["no completed_by"]),
    ],
)
def test_ids_that_are_none_or_would_be_merged_are_refused(value, words):
    def task(k, who):
        result = [{"from_name": "q", "type": "choices", "value": {"choices": ["yes"]}}]
        return {"id": k, "data": {}, "annotations": [{"completed_by": who, "result": result}]}

    refused(lambda: read_long([task(1, "1"), task(2, value)]), *words)


def test_whole_numbers_as_ids_stay_as_written():
    rows_ = [{"_task_hash": n, "_annotator_id": "a", "answer": "accept"} for n in (2**53, 2**53 + 1, 10**30)]
    assert [row[1] for row in rows(read_long(rows_))] == [str(2**53), str(2**53 + 1), str(10**30)]


@pytest.mark.parametrize(
    ("ids", "words"),
    [
        ([1, "1"], ["record 2", "got '1' and, in record 1, 1", "ids of one type"]),
        ([True, "true"], ["record 2", "ids of one type"]),
        (["\ud800", "a"], ["record 1", "got '\\ud800'"]),
        ([{"a": 1}, "a"], ["record 1", "an object of a"]),
        ([[["a"]], "a"], ["record 1", "a list"]),
    ],
)
def test_values_of_json_that_would_be_merged_are_refused(ids, words):
    records = [{"labeler": who, "instance": "i", "label": 1} for who in ids]
    refused(lambda: io.read_labels(records), "column 'labeler'", *words)


def test_values_of_json_of_several_types_that_differ_are_text():
    records = [{"labeler": who, "instance": "i", "label": 1} for who in (1, "a", 2**70, " a")]
    assert [who for who, *_ in rows(read_long(records))] == ["1", "a", str(2**70), " a"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[{"labeler": "\\ud800", "instance": "b", "label": 1}]', ["record 1", "half of a surrogate pair"]),
        ('[{"a": 1}, {"\\uDC00": "b"}]', ["record 2", "half of a surrogate pair"]),
        ('[{"labeler": "a", "labeler": "b"}]', ["key 'labeler' twice"]),
        ('[{"a": {"\\n": 1, "\\n": 1}}]', ["key '\\n' twice"]),
    ],
)
def test_json_that_loses_something_is_refused(text, words, tmp_path):
    (tmp_path / "x.json").write_text(text)
    refused(lambda: io.read_labels(tmp_path / "x.json"), "x.json", *words)


def test_keys_that_are_no_text_are_refused():
    refused(lambda: read_long([{"labeler": "a"}, {1: "b"}]), "record 2", "key 1", "allowed: text")


def test_a_whole_character_in_two_escapes_is_read(tmp_path):
    (tmp_path / "x.json").write_text('[{"labeler": "\\ud83e\\udd86", "instance": "b", "label": 1}]')
    assert rows(read_long(tmp_path / "x.json")) == [("🦆", "b", 1)]
