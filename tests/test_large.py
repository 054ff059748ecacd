"""Tables and cells that are too large: refused in one short line, before they fill the memory."""

from __future__ import annotations

import gzip
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import crowdjax
from crowdjax import InputError, io, memory, saving
from crowdjax.columns import LONGEST
from crowdjax.scan import scan

MIB = 2**20
N = 200_000


@pytest.fixture
def free(monkeypatch):
    """A function that says how many bytes of memory are left."""

    def free(n_bytes: int) -> None:
        monkeypatch.setattr(memory, "available", lambda: n_bytes)

    return free


def line(call) -> str:
    """The refusal, which is one short line."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert message.isprintable() and len(message) <= 300, message
    return message


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The working folder, empty, by a short path."""
    monkeypatch.chdir(tmp_path)
    return Path()


def labels(n: int = N) -> pa.Table:
    k = np.arange(n)
    return pa.table({"labeler": pc.cast(pa.array(k % 50), pa.string()), "instance": k // 50, "label": k % 2})


# Tables against memory


def test_parquet_is_measured_by_its_footer(place, free):
    """Only the columns that are read count; of one that is all alike the file holds next to nothing."""
    table = labels().append_column("note", pa.array([f"{k}" + "x" * 200 for k in range(N)]))
    pq.write_table(table, place / "l.parquet")
    free(20 * MIB)
    assert len(io.read_triples(place / "l.parquet").label) == N
    flat = pa.table({"labeler": pa.array([7] * N), "instance": pa.array(range(N)), "label": pa.array([1] * N)})
    pq.write_table(flat, place / "flat.parquet")
    free(3 * 8 * N - 1)
    message = line(lambda: io.read_triples(place / "flat.parquet"))
    assert "GiB of memory" in message and "minibatch" in message


def test_parquet_in_pieces_is_measured_by_row_groups(place, free):
    pq.write_table(labels(), place / "small.parquet", row_group_size=N // 20)
    pq.write_table(labels(), place / "large.parquet")
    free(8 * N)
    assert scan(place / "small.parquet").n_rows == N
    assert "a row group needs" in line(lambda: scan(place / "large.parquet"))


@pytest.mark.parametrize("column", ["labeler", "instance", "label"])
def test_a_text_that_parquet_repeats_from_its_dictionary_is_no_bomb(column, place):
    """200 GB of text in a file of some kB."""
    codes = pa.array(np.zeros(N, np.int32))
    bomb = pa.DictionaryArray.from_arrays(codes, pa.array(["x" * MIB]))
    table = labels().set_column(("labeler", "instance", "label").index(column), column, bomb)
    pq.write_table(table, place / "l.parquet", store_schema=False)
    for source in (place / "l.parquet", table):
        message = line(lambda source=source: io.read_triples(source))
        assert f"column {column!r}, row 1: got 1,048,576 bytes" in message
    assert f"column {column!r}, row 1: got" in line(lambda: list(scan(place / "l.parquet").rows()))


def test_texts_that_are_repeated_more_often_than_memory_holds_are_refused(place, free):
    words = pa.DictionaryArray.from_arrays(
        pa.array(np.arange(N) % 50), pa.array(["x" * 5000 + str(k) for k in range(50)])
    )
    free(100 * MIB)
    assert "the texts of a column need" in line(lambda: io.read_triples(labels().set_column(0, "labeler", words)))


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "csv.bz2", "csv.zst"])
def test_csv_is_measured_as_it_is_unpacked(ending, place, free):
    """Also where it is not packed; a column that is not used counts nothing."""
    with pa.output_stream(place / f"l.{ending}", compression="detect") as file:
        file.write(b"labeler,instance,label,note\n" + b"ann,q,1,".ljust(999, b"x") + b"\n")
        file.write((b"ann,q,1,".ljust(99, b"x") + b"\n") * N)
    before = pa.total_allocated_bytes()
    free(20 * MIB)
    assert len(io.read_triples(place / f"l.{ending}").label) == N + 1
    free(MIB)
    assert "what was read so far needs" in line(lambda: io.read_triples(place / f"l.{ending}"))
    assert pa.total_allocated_bytes() - before < 40 * MIB


def test_a_real_bomb_is_refused_soon(place, free):
    """A quarter of a gigabyte of rows, packed into a hundredth of it."""
    with gzip.open(place / "l.csv.gz", "wb", compresslevel=1) as file:
        file.write(b"labeler,instance,label\n")
        rows = b"ann,q,1\n" * 2**17
        for _ in range(256):
            file.write(rows)
    assert (place / "l.csv.gz").stat().st_size < 3 * MIB
    free(50 * MIB)
    began = time.monotonic()
    assert "what was read so far needs" in line(lambda: io.read_triples(place / "l.csv.gz"))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("ending", ["json", "jsonl"])
def test_json_is_measured_as_it_is_read(ending, place, free):
    rows = [{"labeler": "a", "instance": str(k), "label": 1} for k in range(100_000)]
    text = json.dumps(rows) if ending == "json" else "\n".join(map(json.dumps, rows))
    (place / f"l.{ending}").write_text(text)
    free(4 * len(text))
    assert len(io.read_triples(place / f"l.{ending}").label) == 100_000
    free(len(text) // 2)
    assert "its text needs" in line(lambda: io.read_triples(place / f"l.{ending}"))


def test_arrays_of_a_fit_are_measured_before_they_are_unpacked(place, free):
    np.savez_compressed(place / "fit.npz", a=np.zeros(10**7))
    assert (place / "fit.npz").stat().st_size < MIB
    assert memory.unpacked_size(place / "fit.npz") == pytest.approx(8e7, abs=500)
    free(7 * 10**7)
    message = line(lambda: saving.load_arrays(place / "fit.npz", {"a": np.zeros(3)}))
    assert "its arrays need at least" in message


# Cells


LONG = "é" * (LONGEST // 2 + 1)


def table(role: str, value) -> dict[str, list]:
    rows = {"labeler": ["a", "b", "c"], "instance": ["p", "q", "r"], "label": [0, 1, 1]}
    return rows | {role: [*map(str, rows[role][:2]), value]}


@pytest.mark.parametrize("role", ["labeler", "instance", "label"])
@pytest.mark.parametrize("form", ["csv", "parquet", "json", "jsonl", "pandas", "category", "arrow"])
def test_a_huge_cell_is_refused_by_row_and_column(role, form, place):
    given = table(role, LONG)
    frame = pd.DataFrame(given)
    if form == "csv":
        frame.to_csv(source := place / "l.csv", index=False)
    elif form == "parquet":
        frame.to_parquet(source := place / "l.parquet")
    elif form in ("json", "jsonl"):
        source = place / f"l.{form}"
        source.write_text(frame.to_json(orient="records", lines=form == "jsonl"))
    else:
        source = {"pandas": frame, "category": frame.astype({role: "category"}), "arrow": pa.table(given)}[form]
    message = line(lambda: io.read_triples(source, positive="1" if role == "label" else None))
    assert f"column {role!r}, row 3: got {2 * len(LONG):,} bytes" in message


@pytest.mark.parametrize("role", ["labeler", "instance", "label"])
@pytest.mark.parametrize("value", [["x"] * 10**5, {"k" * 5000: "v", "b": [1] * 10**5}])
def test_a_nested_cell_is_refused_by_row_and_column(role, value, place):
    rows = table(role, value)
    records = [dict(zip(rows, row, strict=True)) for row in zip(*rows.values(), strict=True)]
    for mixed in (True, False):  # beside texts, and a column of its own
        records = records if mixed else records[2:]
        (place / "l.json").write_text(json.dumps(records))
        message = line(lambda: io.read_triples(place / "l.json"))
        n = 3 if mixed else 1
        assert (f"record {n}" in message or f"row {n}" in message) and repr(role) in message
    nested = pa.table(table(role, "1") | {role: pa.array([None, value, value])})
    message = line(lambda: io.read_triples(nested))
    assert "row 2: got" in message and role in message


def test_nested_features_and_scores_are_refused(place):
    given = table("label", "1") | {"label": [0, 1, 1]}
    nested = pa.table({"instance": ["p", "q", "r"], "score": [[1.0] * 10**5] * 3})
    assert "column 'score' of type list" in line(lambda: crowdjax.context(given, nested))


@pytest.mark.parametrize("form", ["pandas", "csv", "json", "parquet"])
def test_a_huge_name_of_a_column_is_refused(form, place):
    frame = pd.DataFrame(table("label", "1") | {"x" * 10**6: [1, 2, 3]})
    source = place / f"l.{form}"
    if form == "csv":
        frame.to_csv(source, index=False)
    elif form == "parquet":
        frame.to_parquet(source)
    elif form == "json":
        source.write_text(frame.to_json(orient="records"))
    message = line(lambda: io.read_triples(frame if form == "pandas" else source))
    assert "first line of" in message or "column 4: a name of 1,000,000 letters" in message


def test_cells_of_a_million_rows_are_measured_at_once():
    from crowdjax.columns import refuse_large

    for column in (labels(10**6)["labeler"], labels(10**6)["labeler"].dictionary_encode()):
        began = time.monotonic()
        refuse_large(column, "labels", "labeler")
        assert time.monotonic() - began < 0.5
