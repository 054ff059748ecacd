"""A result prints what a reader needs, on a screen at most; in a notebook as well, and after it was loaded."""

from __future__ import annotations

import dataclasses
import html
import time

import numpy as np
import pyarrow as pa
import pytest

import crowdjax
from crowdjax import api, summary
from crowdjax.check_api import CheckResult
from crowdjax.context_api import ContextualResult
from crowdjax.result import Prediction
from crowdjax.tables import as_arrow

W, I = 8, 30


def crowd() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = np.repeat(rng.integers(0, 2, I), W)
    label = (truth ^ (rng.random(W * I) < 0.2)).astype(int)
    return {"labeler": np.tile(np.arange(W), I), "instance": np.repeat(np.arange(I), W), "label": label}


TABLE = crowd()
SIZES = f"{W * I} labels, {W} labelers, {I} instances"


def fits_a_screen(text: str) -> list[str]:
    lines = text.splitlines()
    assert len(lines) <= 25 and max(map(len, lines)) <= 100
    assert all(line.isprintable() for line in lines)
    return lines


def prints(result) -> list[str]:
    """The lines of a result, which all ways to print it share."""
    text = result.summary()
    assert str(result) == repr(result) == text
    assert result._repr_html_() == f"<pre>{html.escape(text)}</pre>"
    return fits_a_screen(text)


@pytest.fixture(scope="module")
def majority():
    return crowdjax.fit(TABLE, "majority")


def test_a_fit_says_what_it_is_whether_it_converged_its_warnings_and_its_rows(majority, tmp_path):
    lines = prints(majority)
    assert lines[0] == f"Fit of majority: {SIZES}"
    assert lines[1] == "columns     labels: labeler=labeler, instance=instance, label=label"
    assert "class prior 0.5" in lines[2] and "repeats count" in lines[2] and "seed" not in lines[2]
    assert lines[3].startswith("converged   yes, ")
    assert lines[4] == f"warnings    {len(majority.warnings)}" and majority.warnings[0] in " ".join(lines)
    first = majority.tables["instances"]
    shown = lines[lines.index(next(line for line in lines if line.startswith("instances   30"))) + 2 :]
    assert [float(v) for v in shown[0].split()[::3]] == [0.0, round(first["probability"][0].as_py(), 3)]
    assert "labelers    8" in "\n".join(lines)
    majority.save(tmp_path / "out")
    assert crowdjax.load(tmp_path / "out").summary() == majority.summary()


def test_a_fit_that_did_not_converge_says_why(majority):
    record = majority.record | {"converged": False, "result": "stopped"}
    assert "converged   no: stopped (" in dataclasses.replace(majority, record=record).summary()


def test_answers_say_who_is_unseen(majority):
    found = majority.predict(TABLE | {"labeler": TABLE["labeler"] + 1})
    lines = prints(found)
    assert lines[0].startswith("Predictions of a fit of majority: ")
    assert "unseen      1 labelers are not in the fit" in lines
    assert found.warnings[-1] in " ".join(" ".join(lines).split())


def test_columns_are_shown_where_the_record_has_them(majority):
    used = {"labels": {"labeler": "worker", "instance": "task"}, "gold": {"label": "truth"}}
    lines = prints(dataclasses.replace(majority, record=majority.record | {"columns": used}))
    assert lines[1] == "columns     labels: labeler=worker, instance=task; gold: label=truth"


def test_many_long_warnings_fit_and_the_rest_is_counted(majority):
    for n in (1, 3, 8, 9, 500):
        said = [f"Warning {k} " + "says a lot " * 30 for k in range(n)]
        lines = prints(dataclasses.replace(majority, record=majority.record | {"warnings": said}))
        shown = [line for line in lines if line.startswith("  Warning")]
        assert f"warnings    {n}" in lines
        assert len(shown) == (n if n <= 8 else 7)
        assert (f"  ... and {n - 7} more" in lines) == (n > 8)
        assert sum(line.startswith("instances   ") for line in lines) == 1


def test_a_look_and_a_contextual_fit_say_what_they_found():
    checks = [{"name": "agreement", "failed": True}, {"name": "schools", "failed": False}]
    sizes = {"n_labels": 9, "n_labelers": 3, "n_instances": 3}
    about = {"model": "auto", **sizes, "checks": checks, "n_surprising": 2, "n_looked_at": 3, "warnings": ["Odd."]}
    lines = prints(CheckResult({"instances": pa.table({"instance": ["a"]})}, about | {"replicates": 99}, as_arrow))
    assert lines[:4] == [
        "Posterior predictive checks of auto: 9 labels, 3 labelers, 3 instances",
        "settings    replicates 99",
        "checks      1 of 2 failed: agreement",
        "surprising  2 of 3 instances looked at",
    ]
    prevalence = {"mean": 0.4321, "lower": 0.4, "upper": 0.5, "level": 0.95, "method": "population table"}
    record = {"model": "contextual", **sizes, "result": "laplace with Pareto k-hat 0.49", "warnings": []}
    rest = {field.name: None for field in dataclasses.fields(ContextualResult)}
    found = ContextualResult(**rest | {"tables": {}, "record": record, "kind": as_arrow, "prevalence": prevalence})
    assert prints(found)[1:] == [
        "inference   laplace with Pareto k-hat 0.49",
        "prevalence  43.2% (40.0% to 50.0%, 95%; population table)",
        "warnings    none",
    ]


def test_a_result_on_disk_shows_its_first_rows(tmp_path, majority):
    majority.save(tmp_path / "out")
    written = api.Written(tmp_path / "out", majority.record)
    lines = prints(written)
    assert f"written to  {tmp_path / 'out'}"[:100] in lines
    of_memory = fits_a_screen(majority.summary())
    assert [line for line in lines if line.startswith("  ")][:4] == [
        line for line in of_memory if line.startswith("  ")
    ][:4]
    assert [line for line in lines if line.startswith("instances   30, the first ")]


@pytest.mark.parametrize("name", ["x" * 1000, "a\x1b[31m\nb", "<script>alert(1)</script>", "\u202egnp"])
def test_names_of_any_kind_do_no_harm(name):
    table = pa.table({"instance": [name], "probability": [0.5]})
    record = {"model": name, "n_labels": 1, "n_labelers": 1, "n_instances": 1, "warnings": [name]}
    lines = prints(Prediction({"instances": table}, record, as_arrow))
    assert "<script>" not in Prediction({"instances": table}, record, as_arrow)._repr_html_()
    assert any(line.startswith("instances   1") for line in lines)


def test_a_million_instances_are_no_slower():
    n = 1_000_000
    tables = {"instances": pa.table({"instance": np.arange(n), "probability": np.linspace(0, 1, n)})}
    record = {"model": "glad", "n_labels": 5 * n, "n_labelers": 9, "n_instances": n, "warnings": []}
    began = time.perf_counter()
    lines = prints(Prediction(tables, record, as_arrow))
    assert time.perf_counter() - began < 0.5
    assert lines[0] == "Predictions of a fit of glad: 5,000,000 labels, 9 labelers, 1,000,000 instances"


def test_missing_and_tiny_numbers_are_shown_as_such():
    table = pa.table({"a": pa.array([None, 1.5]), "b": [float("nan"), 1e-9], "c": [123456.0, -0.25]})
    assert [line.split() for line in summary._rows(table)[1:]] == [["-", "-", "1.23e+05"], ["1.500", "1e-09", "-0.250"]]


def test_a_report_begins_with_the_warnings_and_names_the_columns(majority):
    record = majority.record | {"columns": {"labels": {"labeler": "worker"}}, "warnings": ["One.", "Two."]}
    page = dataclasses.replace(majority, record=record).page()
    first = [check.text for block in page.sections[0].blocks if block.block == "checks" for check in block.checks]
    assert first[:2] == ["One.", "Two."]
    facts = [block.facts for section in page.sections for block in section.blocks if block.block == "facts"]
    assert facts[0]["Columns of labels"] == "labeler=worker"
