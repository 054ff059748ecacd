"""Tables as other programs write them: separators, encodings, no header, Excel, turned around, counts."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import openpyxl
import pandas as pd
import pytest
from test_io import TABLE, csv, refused
from test_tables import EXPECTED, judgements

import crowdjax
from crowdjax import dialect, io

NAMES = ["worker", "task", "label"]
ROWS = list(zip(*TABLE.values(), strict=True))


def written(separator: str, names=NAMES, rows=ROWS) -> str:
    return "".join(separator.join(map(str, row)) + "\n" for row in [*([names] if names else []), *rows])


# Separators and encodings


@pytest.mark.parametrize("ending", ["csv", "tsv"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_seen_whatever_the_ending_promises(tmp_path, separator, ending):
    found = io.read_triples(csv(tmp_path / f"t.{ending}", written(separator)))
    assert found.roles == dict(labeler="worker", instance="task", label="label")
    assert judgements(tmp_path / f"t.{ending}") == EXPECTED
    usual = {"csv": ",", "tsv": "\t"}[ending]
    assert ("separated by" in found.place) == (separator != usual)


def test_separators_in_quotes_or_text_do_not_count(tmp_path):
    rows = [(*row, '"yes; no; or, perhaps"') for row in ROWS]
    assert judgements(csv(tmp_path / "a.csv", written(",", [*NAMES, "text"], rows))) == EXPECTED
    assert judgements(csv(tmp_path / "b.csv", written(";", [*NAMES, "text"], rows))) == EXPECTED
    rows = [(*row, "1,5" if k % 2 else "2") for k, row in enumerate(ROWS)]
    assert judgements(csv(tmp_path / "c.csv", written(";", [*NAMES, "seconds"], rows))) == EXPECTED
    assert (
        judgements(csv(tmp_path / "d.csv", written(",", ["worker", "task;nr", "label"]).replace("task;nr", "task")))
        == EXPECTED
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_encodings_are_seen(tmp_path, encoding, end):
    text = written("\t").replace("\n", end)
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    assert judgements(tmp_path / "t.csv") == EXPECTED
    assert ("read as UTF" in io.read_triples(tmp_path / "t.csv").place) == (encoding != "utf-8-sig")


def test_another_encoding_is_refused_with_a_line_that_mends_it(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("worker,task,label\nzoë,q1,1\n".encode("latin-1"))
    message = refused(lambda: io.read_labels(path), "row 1", "UTF-8", "iconv -f ")
    subprocess.run(message[message.index("iconv") :].strip("()"), shell=True, check=True)
    assert io.read_labels(tmp_path / "t.csv.utf8.csv")[1].labelers.tolist() == ["zoë"]


def test_decimal_commas_are_refused_as_what_they_are(tmp_path):
    path = csv(tmp_path / "s.csv", "instance;score\nq1;0,5\nq2;0,25\n")
    refused(lambda: io.read_values(path, "instance", np.array(["q1", "q2"]), kind="scores"), "'0,5'", "a decimal point")


@pytest.mark.parametrize("text", ["a", "a\n", "\n", ";;;\n", '"a\n"', "a;b\nc\n", "\ufeff", "\r\r"])
def test_any_beginning_of_a_file_has_a_dialect(text):
    assert dialect.of(text.encode(), ",").separator in dialect.SEPARATORS


# No header


def test_a_table_without_a_header_is_read_by_positions(tmp_path):
    path = csv(tmp_path / "t.csv", written(";", None))
    message = refused(lambda: io.read_labels(path), "1 is 'b', 2 is 'q2', 3 is '1'")
    assert "--no-header --columns labeler=?,instance=?,label=?" in message
    more = csv(tmp_path / "more.csv", "".join(f"w{k % 5},q{k // 5},{k * k % 2}\n" for k in range(20)))
    assert "--no-header --columns labeler=?,instance=?,label=3" in refused(lambda: io.read_labels(more))
    columns = {"labeler": "1", "instance": "2", "label": "3"}
    assert judgements(path, header=False, columns=columns) == EXPECTED
    numbers = {role: int(place) for role, place in columns.items()}
    assert judgements(path, header=False, columns=numbers) == EXPECTED
    refused(lambda: io.read_labels(path, header=False), "found: 1, 2, 3", "--columns labeler=?,instance=?,label=?")
    refused(lambda: io.read_labels(TABLE, header=False), "a table in memory")
    pd.DataFrame(TABLE).to_parquet(tmp_path / "t.parquet")
    refused(lambda: io.read_labels(tmp_path / "t.parquet", header=False), "Parquet names its columns")


def test_names_that_are_names_are_not_taken_for_data(tmp_path):
    message = refused(lambda: io.read_labels(csv(tmp_path / "t.csv", "a,b,c\nx,q,1\ny,q,0\n")))
    assert "--no-header" not in message


# Excel


def book(path, **sheets):
    out = openpyxl.Workbook()
    out.remove(out.active)
    for name, rows in sheets.items():
        sheet = out.create_sheet(name)
        for row in rows:
            sheet.append(row)
    out.save(path)
    return path


def test_a_sheet_is_read_with_the_types_it_has(tmp_path):
    path = book(tmp_path / "t.xlsx", one=[NAMES, *map(list, ROWS), []], empty=[])
    assert judgements(path) == EXPECTED
    numbers = [[7, 1, True], [12, 1, False]]
    _, index = io.read_labels(book(tmp_path / "n.xlsx", one=[NAMES, *numbers]))
    assert index.labelers.tolist() == [7, 12]
    columns = {"labeler": 1, "instance": 2, "label": 3}
    assert judgements(book(tmp_path / "h.xlsx", one=list(map(list, ROWS))), header=False, columns=columns) == EXPECTED


def test_of_several_sheets_one_is_named(tmp_path):
    path = book(tmp_path / "t.xlsx", first=[["a"], [1]], second=[NAMES, *map(list, ROWS)])
    message = refused(lambda: io.read_labels(path), "sheets first, second")
    assert message.endswith(f"'{path}#first'")
    assert judgements(f"{path}#second") == EXPECTED
    refused(lambda: io.read_labels(f"{path}#third"), "no sheet 'third'", "first, second")


def test_broken_workbooks_are_refused(tmp_path):
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04nonsense")
    refused(lambda: io.read_labels(tmp_path / "t.xlsx"), "t.xlsx", "cannot be read as Excel")
    refused(lambda: io.read_labels(book(tmp_path / "e.xlsx", one=[])), "no cell is filled")
    mixed = book(tmp_path / "m.xlsx", one=[NAMES, ["ann", "q", 1], [7, "q", 0]])
    refused(lambda: io.read_labels(mixed), "'worker', row 2: got 7, a number", "'ann', text", "one type")
    (tmp_path / "t.xls").write_bytes(b"old")
    refused(lambda: io.read_labels(tmp_path / "t.xls"), "save it as .xlsx or .csv")


# Wide tables and counts


def test_a_wide_table_may_be_turned_around(tmp_path):
    path = csv(tmp_path / "t.csv", "worker,q1,q2\na,0,1\nb,,1\nc,1,\n")
    assert judgements(path, form="wide-by-labeler") == EXPECTED
    refused(lambda: io.read_labels(path), "(--from wide-by-labeler)")
    named = csv(tmp_path / "n.csv", "who,text,q1,q2\na,x,0,1\nb,y,,1\nc,z,1,\n")
    columns = {"labeler": "who", "instance": ["q1", "q2"]}
    assert judgements(named, form="wide-by-labeler", columns=columns) == EXPECTED


def test_wide_is_suggested_only_where_the_cells_look_like_labels(tmp_path):
    for cells, suggested in (("1,0", True), ("yes,no", True), (".37,.2", False), ("a long text about it,x", True)):
        rows = "".join(f"q{k},{cells}\n" for k in range(30))
        message = refused(lambda rows=rows: io.read_labels(csv(tmp_path / "t.csv", "item,a,b\n" + rows)))
        assert ("(--from wide)" in message) == suggested, message
    rows = "".join(f"q{k},text {k},more {k}\n" for k in range(300))
    assert "--from wide" not in refused(lambda: io.read_labels(csv(tmp_path / "t.csv", "item,a,b\n" + rows)))


def test_wide_is_suggested_with_the_column_of_ids_where_each_value_occurs_once(tmp_path):
    head, sick = "Patient,Dr. Lee,Dr. Ray\n", ["benign,malignant", ",benign", "benign,"]
    sheet = csv(tmp_path / "t.csv", head + "".join(f"P{k},{sick[k % 3]}\n" for k in range(12)))
    message = refused(lambda: io.read_labels(sheet))
    assert message.endswith("(--from wide --columns instance=Patient)")
    labels, index = io.read_labels(sheet, form="wide", columns={"instance": "Patient"})
    assert np.count_nonzero(np.asarray(labels.real)) == 16 and index.labelers.tolist() == ["Dr. Lee", "Dr. Ray"]
    twice = csv(tmp_path / "u.csv", head + "".join(f"P{k % 4},{sick[k % 3]}\n" for k in range(12)))
    assert "--from wide" not in refused(lambda: io.read_labels(twice))


def test_grades_in_a_wide_table_may_be_labels_as_well_as_counts(tmp_path):
    path = csv(tmp_path / "t.csv", "item,ann,bob\n" + "".join(f"q{k},{k % 5 + 1},{k % 4 + 1}\n" for k in range(12)))
    message = refused(lambda: io.read_labels(path))
    assert "(--from counts)" in message and "(--from wide)" in message


def test_a_column_of_gold_among_the_labels_is_said_to_be_unused(tmp_path):
    rows = "ann,q1,1,1\nbob,q1,0,1\nann,q2,0,0\n"
    found = io.read_triples(csv(tmp_path / "t.csv", "labeler,instance,label,Gold\n" + rows))
    assert [note for note in found.notes if "'Gold' is not used" in note and "--gold" in note]
    named = io.read_triples(csv(tmp_path / "n.csv", "labeler,instance,x,truth\n" + rows),
                            columns={"labeler": "labeler", "instance": "instance", "label": "truth"})  # fmt: skip
    assert not [note for note in named.notes if "not used" in note]


def test_empty_labels_that_are_left_out_are_called_empty(tmp_path):
    path = csv(tmp_path / "t.csv", "labeler,instance,label\nann,q1,1\nbob,q1,\nann,q2,0\n")
    assert io.read_triples(path, missing=[""]).notes == ("1 of 3 labels are left out: empty cells.",)


def test_items_and_labelers_without_labels_are_said_to_be_left_out():
    wide = pd.DataFrame({"item": ["q1", "q2", "q3"], "ann": [1, 0, None], "bob": [None, None, None]})
    found = io.read_triples(wide, form="wide")
    assert found.notes == ("1 instances without any label is left out.", "1 labelers without any label is left out.")


def test_counts_serve_models_that_need_no_labelers(tmp_path):
    path = csv(tmp_path / "t.csv", "item,no,yes\nq1,3,1\nq2,0,5\nq3,0,0\n")
    refused(lambda: io.read_labels(path), "(--from counts)")
    found = crowdjax.fit(str(path), "majority", form="counts", positive="yes")
    p = dict(zip(*found.instances.select(["instance", "probability"]).to_pydict().values(), strict=True))
    votes = [(f"w{k}", "q1", "no" if k < 3 else "yes") for k in range(4)] + [(f"w{k}", "q2", "yes") for k in range(5)]
    same = crowdjax.fit(dict(zip(("labeler", "instance", "label"), map(list, zip(*votes, strict=True)), strict=True)),
                        "majority", positive="yes")  # fmt: skip
    assert p == pytest.approx(dict(zip(same.instances["instance"], same.instances["probability"], strict=True)))
    assert "1 instances without any label are left out." in found.warnings
    assert not [w for w in found.warnings if "repeat" in w]
    refused(lambda: crowdjax.fit(str(path), "dawid-skene", form="counts", positive="yes"), "counts", "majority")
    refused(lambda: io.read_labels(csv(tmp_path / "b.csv", "item,no,yes\nq1,-3,1\n"), form="counts"), "row 1", "-3")
    refused(lambda: io.read_labels(csv(tmp_path / "b.csv", "item,a\nq,1\n"), form="counts"), "1 columns", "two or more")


# Values that are no label


def test_the_odd_value_is_the_one_to_blame(tmp_path):
    rows = [("w", f"q{k}", "unsure" if k == 7 else ["yes", "no"][k % 2]) for k in range(40)]
    path = csv(tmp_path / "t.csv", written(",", NAMES, rows))
    message = refused(
        lambda: io.read_labels(path, positive="yes"), "'label', row 8: got 'unsure' (1 of 40 labels)", "'yes' (20)"
    )
    assert "; to leave it out: --missing unsure --positive yes; if all are classes say order=" in message
    assert "(--order no,unsure,yes); columns taken: --columns labeler=worker," in message
    assert "Classes: 'no' (19 labels), 'unsure' (1), 'yes' (20)." in io.read_triples(path).notes
    found = io.read_triples(path, missing=["unsure"], positive="yes")
    assert len(found.label) == 39
    assert found.notes == ("1 of 40 labels are left out: 'unsure'.",)
    zeros = [("w", f"q{k}", "?" if k == 9 else k % 2) for k in range(40)]
    refused(
        lambda: io.read_labels(csv(tmp_path / "z.csv", written(",", NAMES, zeros))), "row 10: got '?'", "--missing '?'"
    )


def test_what_is_missing_is_left_out_of_the_command_too(tmp_path):
    rows = [("w", f"q{k}", ["yes", "no", "unsure"][k % 3]) for k in range(30)]
    path = csv(tmp_path / "t.csv", written(";", NAMES, rows))
    command = [sys.executable, "-m", "crowdjax.cli", "convert", str(path), str(tmp_path / "o.csv")]
    done = subprocess.run([*command, "--positive", "yes", "--missing", "unsure"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "10 of 30 labels are left out: 'unsure'." in done.stderr
    assert "separated by semicolons" in done.stderr
    assert len(pd.read_csv(tmp_path / "o.csv")) == 20
