"""`crowdjax describe`: numbers against independent formulas and published ones, sentences, and a million labels."""

from __future__ import annotations

import itertools
import json
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_io import csv
from typer.testing import CliRunner

import crowdjax
from crowdjax.cli import app
from crowdjax.metrics import krippendorff_alpha

# Krippendorff, Computing Krippendorff's alpha-reliability (2011): examples A and C with their published values.
TWO_OBSERVERS = ["0100000010", "1110010000"], 0.095
FOUR_OBSERVERS = ["123321412...", "1233224125.3", ".3332342251.", "12332441251."], 0.743


def long(rows: list[str]) -> pd.DataFrame:
    """Observers' rows of one-figure values, points where there are none, as a long table."""
    cells = [(who, unit, v) for who, row in enumerate(rows) for unit, v in enumerate(row) if v != "."]
    return pd.DataFrame(cells, columns=["labeler", "instance", "label"])


def dense_alpha(unit, value) -> float:
    """By the matrix of coincidences, pair by pair."""
    values = sorted(set(value))
    coincidences = np.zeros((len(values),) * 2)
    for u in set(unit):
        own = [values.index(v) for v, w in zip(value, unit, strict=True) if w == u]
        for a, b in itertools.permutations(range(len(own)), 2):
            coincidences[own[a], own[b]] += 1 / (len(own) - 1)
    each, n = coincidences.sum(0), coincidences.sum()
    different = ~np.eye(len(values), dtype=bool)
    expected = np.outer(each, each)[different].sum() / (n - 1) if n > 1 else 0
    return 1 - coincidences[different].sum() / expected if expected else np.nan


@pytest.mark.parametrize(("rows", "published"), [TWO_OBSERVERS, FOUR_OBSERVERS])
def test_alpha_is_the_published_one(rows, published):
    table = long(rows)
    assert krippendorff_alpha(table["instance"], table["label"]) == pytest.approx(published, abs=5e-4)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=25))
def test_alpha_is_that_of_the_coincidences(pairs):
    unit, value = zip(*pairs, strict=True)
    np.testing.assert_allclose(
        krippendorff_alpha(np.array(unit), np.array(value)), dense_alpha(unit, value), atol=1e-12
    )


def test_a_set_is_described_as_pandas_counts_it(data_dir):
    found = crowdjax.describe(data_dir / "duchenne" / "labels.csv").record
    table = pd.read_csv(data_dir / "duchenne" / "labels.csv", dtype=str)
    first = table.drop_duplicates(["labeler", "instance"])
    assert (found["n_labels"], found["n_labelers"], found["n_instances"]) == (1950, 17, 159)
    assert found["n_repeats"] == 729 == len(table) - len(first)
    pairs = first.merge(first, on="instance").query("labeler_x != labeler_y")
    assert found["agreement"] == pytest.approx((pairs["label_x"] == pairs["label_y"]).mean())
    assert found["alpha"] == pytest.approx(dense_alpha(tuple(first["instance"]), tuple(first["label"])))
    counts = table["instance"].value_counts()
    assert list(found["labels_per_instance"].values()) == counts.quantile([0, 0.25, 0.5, 0.75, 1]).tolist()
    again = table.merge(first, on=["labeler", "instance"])[table.duplicated(["labeler", "instance"]).to_numpy()]
    assert found["share_repeats_alike"] == pytest.approx((again["label_x"] == again["label_y"]).mean())
    assert found["crowds"] == [17]


CROWD = {
    "labeler": ["ann", "Ann ", "bob"] * 5 + ["eve", "dan"],
    "instance": [f"q{n}" for n in range(5) for _ in range(3)] + ["Q0", "x"],
    "label": [1, 1, 0] * 5 + [1, 0],
}


def test_what_is_odd_is_said():
    found = crowdjax.describe(CROWD)
    assert found.record["crowds"] == [3, 1, 1]
    assert found.record["n_single"] == 2
    assert [c["labeler"] for c in found.record["constant"]] == ["Ann ", "ann", "bob"]
    assert found.record["similar_ids"]["labelers"] == {"n": 1, "examples": [["Ann ", "ann"]]}
    text = str(found)
    for words in (
        "they fall into 3 connected components (of 3, 1, 1 labelers) without a shared instance",
        "'Ann ' and 'ann'",
        "'Q0' and 'q0'",
        "3 of 3 labelers with 5 labels or more always give the same: 'Ann ' (5 times 1)",
        "2 of 7 instances have one label",
    ):
        assert words in text, text


def test_nothing_to_compare_is_said():
    found = crowdjax.describe({"labeler": ["a", "b"], "instance": ["q", "r"], "label": [1, 1]})
    assert found.record["alpha"] is None and found.record["agreement"] is None
    assert "cannot be told" in str(found)
    agreed = crowdjax.describe({"labeler": ["a", "b"], "instance": ["q", "q"], "label": [1, 1]})
    assert agreed.record["agreement"] == 1 and "is not defined" in str(agreed)


def call(*arguments: str):
    return CliRunner().invoke(app, ["describe", *map(str, arguments)])


def test_the_command_prints_text_or_json(tmp_path):
    path = csv(tmp_path / "labels.csv", pd.DataFrame(CROWD).replace({"label": {1: "yes", 0: "no"}}).to_csv(index=False))
    text, machine = call(path, "--positive", "yes"), call(path, "--positive", "yes", "--json")
    assert text.exit_code == machine.exit_code == 0
    assert text.stdout.splitlines()[1] == "labels     17, 64.7% of them positive (positive: 'yes')"
    record = json.loads(machine.stdout)
    assert (record["n_labels"], record["words"]) == (17, {"negative": "no", "positive": "yes"})
    by_itself = call(path)
    assert (by_itself.exit_code, by_itself.stdout) == (0, text.stdout)
    assert "note: Classes: 'no', 'yes'; probability is that of 'yes'" in by_itself.stderr
    refused = call(path, "--positive", "maybe")
    assert (refused.exit_code, refused.stdout, refused.stderr.count("\n")) == (2, "", 1)
    assert "'no', 'yes'" in refused.stderr


def test_a_million_labels_are_described_in_seconds(data_dir):
    started = time.perf_counter()
    found = crowdjax.describe(data_dir / "openrel" / "labels.parquet").record
    assert time.perf_counter() - started < 30  # 3 on a free core
    assert (found["n_labels"], found["crowds"]) == (1_097_640, [508, 201])
