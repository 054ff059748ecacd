"""The command line: the files it writes, its exit statuses, one line where something is wrong, nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from crowdjax.cli import app, cache_folder

ROOT = Path(__file__).resolve().parents[1]

LABELS = "worker,task,label\n" + "".join(
    f"{w},q{j},{int((j % 2 == 0) != (hash_ % 5 == 0))}\n"
    for j in range(12)
    for w, hash_ in ((f"00{i}", 7 * i + 3 * j + i * j) for i in range(5))
)


@pytest.fixture(autouse=True)
def no_cache(monkeypatch):
    monkeypatch.setenv("CROWDJAX_CACHE", "off")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder with labels.csv to work in."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "labels.csv").write_text(LABELS)
    return tmp_path


def call(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def refused(*arguments: str, status: int = 2) -> str:
    """The one line of a call that fails, after checking that it is one and that nothing was written."""
    before = sorted(os.listdir())
    result = call(*arguments)
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    said = [line for line in result.stderr.splitlines() if not (status == 1 and "columns of" in line)]
    assert len(said) == 1, result.stderr
    assert said[0].startswith("crowdjax: ")
    assert "Traceback" not in result.stderr
    assert sorted(os.listdir()) == before
    return result.stderr


def test_fit_and_predict_write_what_they_promise(here):
    result = call("fit", "labels.csv", "--model", "one-coin", "--out", "deep/out")
    columns = "crowdjax: columns of labels labels.csv: labeler=worker, instance=task, label=label\n"
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", columns)
    out = here / "deep" / "out"
    assert sorted(os.listdir(out)) == [
        "confusion.parquet", "fit.json", "fit.npz", "instances.parquet", "labelers.parquet",
    ]  # fmt: skip
    instances, labelers = pq.read_table(out / "instances.parquet"), pq.read_table(out / "labelers.parquet")
    assert instances.column_names == ["instance", "label", "confidence", "probability"]
    assert labelers.column_names[:6] == ["labeler", "n_labels", "accuracy", "lower", "upper", "kind"]
    assert {"sensitivity", "specificity_lower"} < set(labelers.column_names)
    assert labelers["labeler"].to_pylist() == ["000", "001", "002", "003", "004"]
    assert labelers["n_labels"].to_pylist() == [12] * 5
    truth = [int(q[1:]) % 2 == 0 for q in instances["instance"].to_pylist()]
    assert instances["label"].to_pylist() == truth
    record = json.loads((out / "fit.json").read_text())
    assert {"model", "objective", "log_likelihood", "converged", "n_iterations", "seconds", "n_labels"} < set(record)
    assert (record["n_labels"], record["n_labelers"], record["n_instances"]) == (60, 5, 12)
    assert record["converged"] is True
    assert isinstance(record["warnings"], list)
    assert record["seconds"] > 0

    assert call("predict", "deep/out", "labels.csv", "--out", "new").exit_code == 0
    again = pq.read_table(here / "new" / "instances.parquet")
    np.testing.assert_allclose(again["probability"], instances["probability"], atol=1e-5)

    before = (out / "fit.json").read_bytes()
    message = refused("fit", "labels.csv", "--out", "labels.csv")
    assert "a file" in message
    (out / "notes.txt").write_text("mine")
    assert "notes.txt" in refused("fit", "labels.csv", "--out", "deep/out")
    assert (out / "fit.json").read_bytes() == before
    (out / "notes.txt").unlink()
    (out / "fit.npz").write_bytes(b"other")
    assert "changed since it was written" in refused("predict", "deep/out", "labels.csv", "--out", "new")
    again = ("fit", "labels.csv", "--model", "majority", "--out", "deep/out")
    assert "fit.npz" in refused(*again)  # it was edited, and may be wanted
    (out / "fit.npz").unlink()
    assert call(*again).exit_code == 0
    assert json.loads((out / "fit.json").read_text())["model"] == "majority"


GOOD = {"labels.csv": "labeler,instance,label\na,q1,1\nb,q1,0\na,q2,0\n"}

# name: (files besides or instead of labels.csv, further arguments, words of the message)
BAD_INPUT = {
    "missing column": ({"labels.csv": "labeler,instance\na,q\n"}, "", ["labels.csv", "no column 'label'"]),
    "alphabet": ({"labels.csv": "labeler,instance,label\na,q,1\na,r,unsure\n"}, "", ["labels.csv", "'unsure'"]),
    "NaN": ({"labels.csv": "labeler,instance,label\na,q,NaN\n"}, "", ["'label'", "row 1", "'NaN'"]),
    "NaN id": ({"labels.csv": "labeler,instance,label\na,q,1\nNaN,q,1\n"}, "", ["'labeler'", "row 2", "'NaN'"]),
    "empty": ({"labels.csv": ""}, "", ["labels.csv", "empty file"]),
    "no labels": ({"labels.csv": "labeler,instance,label\n"}, "", ["no labels at all"]),
    "no weight": ({"labels.csv": "labeler,instance,label,weight\na,q,1,0\n"}, "", ["no labels at all"]),
    "column twice": ({"labels.csv": "label,labeler,instance,label\n1,a,q,1\n"}, "", ["'label'", "twice"]),
    "no file": ({}, "--gold absent.csv", ["gold absent.csv", "no such file"]),
    "no feature row": ({"x.csv": "labeler,x\na,1\n"}, "--labeler-features x.csv", ["x.csv", "no row for labeler 'b'"]),
    "text feature": (
        {"x.csv": "instance,x\nq1,1\nq2,high\n"},
        "--instance-features x.csv",
        ["'x'", "instance 'q2'", "row 2", "'high'", "finite numbers"],
    ),
    "NaN feature": ({"x.csv": "labeler,x\na,1\nb,\n"}, "--labeler-features x.csv", ["'x'", "'b'", "nothing"]),
    "unknown gold": (
        {"g.csv": "instance,label\nq7,1\n"},
        "--gold g.csv",
        ["g.csv", "row 1", "'q7'", "occur in the labels"],
    ),
    "no parquet": (
        {"x.parquet": "labeler"},
        "--labeler-features x.parquet",
        ["x.parquet", "cannot be read as Parquet"],
    ),
    "model": ({}, "--model dawid", ["model: got 'dawid' (did you mean dawid-skene?)"]),
    "unknown model": ({}, "--model automatic", ["model: got 'automatic'", "majority, one-coin, dawid-skene, glad"]),
    "no factors": ({}, "--model factor --factors 0", ["factors: got 0; allowed: a whole number from 1"]),
    "auto factors": ({}, "--model glad --factors auto", ["factors: got 'auto' with model glad; allowed: 1, or auto"]),
    "auto of few": ({}, "--model factor --factors auto", ["factors: auto with 3 judgements; allowed: 5 or more"]),
    "auto minibatch": ({}, "--model factor --factors auto --minibatch 9", ["factors: got 'auto' with minibatches"]),
    "factors of glad": ({}, "--model glad --factors 2", ["factors: given with model glad"]),
    "class prior": ({}, "--class-prior 2", ["class_prior: got 2.0"]),
    "class prior word": ({}, "--class-prior flat", ["class_prior: got 'flat'", "learn, logistic"]),
    "logistic": ({}, "--model dawid-skene --class-prior logistic", ["logistic needs instance features"]),
    "repeats": ({}, "--repeats none", ["repeats: got 'none'; allowed: count, first, last, mean"]),
    "solver": ({}, "--solver newton", ["solver: got 'newton'"]),
    "restarts": ({}, "--restarts 0", ["restarts: got 0"]),
    "seed": ({}, "--seed x", ["--seed"]),
    "negative seed": ({}, "--seed -1", ["--seed"]),
    "option": ({}, "--modle glad", ["--modle"]),
    "argument": ({}, "more.csv", ["more.csv"]),
    "role": ({}, "--columns who=a", ["'who'", "labeler, instance, label, weight"]),
    "columns": ({}, "--columns labeler", ["--columns", "labeler=worker"]),
    "devices": ({}, "--devices 1000", ["devices: got 1000; allowed: 1 to "]),
    "no devices": ({}, "--devices 0", ["--devices"]),
    "minibatch of CSV": ({}, "--minibatch 100", ["no *.parquet there", "a Parquet file or a folder of them"]),
    "minibatch with gold": ({}, "--minibatch 100 --gold gold.csv", ["--gold: got gold.csv with --minibatch"]),
    "scores of one-coin": (
        {"s.csv": "instance,score\nq1,0.1\nq2,0.9\n"},
        "--model one-coin --scores s.csv",
        ["scores: given with model one-coin; allowed with integrated, auto"],
    ),
    "no score": (
        {"s.csv": "instance,score\nq1,1\n"},
        "--model auto --scores s.csv",
        ["s.csv", "no row for instance 'q2'"],
    ),
    "text score": (
        {"s.csv": "instance,score\nq1,1\nq2,high\n"},
        "--model auto --scores s.csv",
        ["s.csv", "'score'", "instance 'q2'", "'high'"],
    ),
    "boundary without score": ({}, "--model auto --boundary score", ["boundary: got 'score' without scores"]),
    "minibatch with scores": ({}, "--minibatch 100 --scores s.csv", ["--scores: got s.csv with --minibatch"]),
    "renamed": ({}, "--columns labeler=who", ["no column 'who'"]),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_status_2_and_one_line(name, here):
    files, arguments, words = BAD_INPUT[name]
    for file, text in (GOOD | files).items():
        (here / file).write_text(text)
    message = refused("fit", "labels.csv", *arguments.split(), "--out", "out")
    for word in words:
        assert word in message, message


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["fitt"], ["fitt", "fit"]),
        (["fit"], ["LABELS"]),
        (["fit", "labels.csv"], ["--out"]),
        (["fit", "absent.csv", "--out", "out"], ["absent.csv", "no such file"]),
        (["predict", "absent", "labels.csv", "--out", "out"], ["absent", "no fit.json"]),
        (["predict", ".", "labels.csv", "--out", "out"], ["no fit.json"]),
    ],
)
def test_wrong_usage_is_status_2_and_one_line(arguments, words, here):
    message = refused(*arguments)
    for word in words:
        assert word in message


def test_a_run_that_fails_is_status_1_and_one_line(here):
    (here / "labels.csv").write_text("labeler,instance,label,weight\na,q,1,1e30\nb,q,1,1e30\n")
    assert "the fit failed: the objective is not finite" in refused("fit", "labels.csv", "--out", "out", status=1)


def test_predict_refuses_what_the_fit_cannot_use(here):
    (here / "x.csv").write_text("labeler,x\n000,1\n001,2\n002,3\n003,4\n004,5\n")
    (here / "new.csv").write_text("labeler,instance,label\nzoe,q,1\n")
    fitted = call("fit", "labels.csv", "--model", "one-coin", "--labeler-features", "x.csv", "--out", "out")
    assert fitted.exit_code == 0
    assert "zoe" in refused("predict", "out", "new.csv", "--out", "new")
    assert "no row for labeler 'zoe'" in refused(
        "predict", "out", "new.csv", "--labeler-features", "x.csv", "--out", "new"
    )
    assert "the fit used none" in refused("predict", "out", "new.csv", "--instance-features", "x.csv", "--out", "new")


def run(*arguments: str, cwd: Path, **env: str):
    return subprocess.run(
        [sys.executable, "-m", "crowdjax.cli", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | env,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_real_process_says_one_line_too(tmp_path):
    (tmp_path / "labels.csv").write_bytes(b"labeler,instance,label\na,q,1\n\xff,q,1\n")
    for arguments in (
        ["fit", "labels.csv", "--out", "out"],
        ["fit", "labels.csv"],
        ["fit", "labels.csv", "--out", "/"],
    ):
        done = run(*arguments, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
        assert os.listdir(tmp_path) == ["labels.csv"]


def test_cores_are_devices_and_a_cache_serves_the_second_process(tmp_path):
    """The same answers on one core and on two, and from programs that were compiled before."""
    (tmp_path / "labels.csv").write_text(LABELS)
    found = []
    for devices in ("1", "2", "2"):
        env = {"CROWDJAX_CACHE": str(tmp_path / "cache"), "JAX_PLATFORMS": "cpu"}
        done = run(
            "fit",
            "labels.csv",
            "--model",
            "dawid-skene",
            "--devices",
            devices,
            "--out",
            f"out{devices}",
            cwd=tmp_path,
            **env,
        )
        assert done.returncode == 0
        assert [line for line in done.stderr.splitlines() if "columns of labels" not in line] == []
        programs = sorted(p.name for p in (tmp_path / "cache").glob("*-cache"))
        assert programs
        found.append((programs, pq.read_table(tmp_path / f"out{devices}" / "instances.parquet")["probability"]))
    assert found[0][0] != found[1][0] == found[2][0]
    np.testing.assert_allclose(found[1][1], found[0][1], atol=1e-5)
    np.testing.assert_array_equal(found[2][1], found[1][1])


def test_help_is_quick_to_import():
    code = "import sys, crowdjax.cli; print([m for m in ('jax', 'pyarrow', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert call("--help").exit_code == 0
    assert "--labeler-features" in call("fit", "--help").output


def test_the_cache_of_programs_can_be_moved_and_switched_off(monkeypatch):
    assert cache_folder() is None
    monkeypatch.setenv("CROWDJAX_CACHE", "/somewhere")
    assert cache_folder() == Path("/somewhere")
    monkeypatch.delenv("CROWDJAX_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/cache")
    assert cache_folder() == Path("/home/cache/crowdjax")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "crowdjax"  # the user's, never the project's


@pytest.mark.parametrize(("model", "accuracy"), [("dawid-skene", 0.898), ("majority", 0.759)])
def test_bluebirds(model, accuracy, here, data_dir):
    folder = data_dir / "bluebirds"
    assert call("fit", str(folder / "labels.csv"), "--model", model, "--out", "out").exit_code == 0
    truth = pd.read_csv(folder / "truth.csv", dtype={"instance": str}).set_index("instance")["label"]
    found = pd.read_parquet("out/instances.parquet").set_index("instance")["label"]
    assert (found == truth.reindex(found.index)).mean() == pytest.approx(accuracy, abs=0.01)
