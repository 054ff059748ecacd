"""Monitoring on a store of objects: what is written, alerts in the right period, runs that are made once, statuses."""

from __future__ import annotations

import dataclasses
import datetime
import io
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import boto3
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from pages import Parsed
from scipy import stats
from typer.testing import CliRunner
from werkzeug.serving import make_server

import crowdjax
from crowdjax import cli, saving, simulate
from crowdjax.labels import InputError, Unreachable
from crowdjax.monitoring import Rules, alerts_of, metrics, run
from crowdjax.monitoring.alerts import ordinal
from crowdjax.store import open_store
from crowdjax.tables import as_arrow, open_table

ROOT = Path(__file__).resolve().parents[1]
PEOPLE = np.array(["ann", "bob", "cat", "dan", "eve", "fay"])


def week_of(week: int, n: int = 150, step: int | None = None, worse: int | None = None):
    """(labels, scores, truths) of a week, of the functions of ``simulate``; from the week ``step`` on the odds of a
    positive are four times as high, and from the week ``worse`` on bob errs often."""
    rng = np.random.default_rng([5, week])
    score = rng.beta(0.8, 2, n)
    prevalence, _, _ = simulate.scenario_functions(score, "plain")
    if step is not None and week >= step:
        prevalence = 4 * prevalence / (1 + 3 * prevalence)
    truth = rng.random(n) < prevalence
    labeler = np.concatenate([rng.permutation(len(PEOPLE))[:3] for _ in range(n)])
    instance = np.repeat(np.arange(n), 3)
    bad = (labeler == 1) & (worse is not None and week >= worse)
    right = np.where(truth[instance], np.where(bad, 0.4, 0.88), np.where(bad, 0.75, 0.95))
    label = (rng.random(len(right)) < right) == truth[instance]
    ids = np.array([f"w{week}i{k:04}" for k in range(n)])
    labels = {"labeler": PEOPLE[labeler], "instance": ids[instance], "label": label.astype(int)}
    return labels, {"instance": ids, "score": score}, truth


# A server of objects


class Gate:
    """What stands before the server: refuses to write an object while its name is ``refused``."""

    def __init__(self, app):
        self.app, self.refused, self.status = app, None, "403 Forbidden"

    def __call__(self, environ, start):
        writes = environ["REQUEST_METHOD"] in ("PUT", "POST")
        if writes and self.refused is not None and environ["PATH_INFO"].endswith(self.refused):
            start(self.status, [("Content-Type", "application/xml")])
            code = "AccessDenied" if self.status.startswith("4") else "ServiceUnavailable"
            return [f"<Error><Code>{code}</Code><Message>refused</Message></Error>".encode()]
        return self.app(environ, start)


@pytest.fixture(scope="module")
def server():
    """The address of a server of S3's protocol on this machine, and its gate."""
    gate = Gate(DomainDispatcherApplication(create_backend_app))
    server = make_server("127.0.0.1", 0, gate, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", gate
    server.shutdown()
    thread.join()


class Bucket:
    """A bucket that keeps every version of every object."""

    def __init__(self, address: str, name: str, gate: Gate):
        self.name, self.url, self.gate = name, f"s3://{name}", gate
        self.client = boto3.client("s3", endpoint_url=address)
        self.client.create_bucket(Bucket=name)
        self.client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})

    def put(self, name: str, table: dict) -> None:
        body = io.BytesIO()
        pq.write_table(pa.table(table), body)
        self.client.put_object(Bucket=self.name, Key=name, Body=body.getvalue())

    def get(self, name: str) -> bytes:
        return self.client.get_object(Bucket=self.name, Key=name)["Body"].read()

    def json(self, name: str) -> dict:
        return json.loads(self.get(name))

    def versions(self) -> dict[str, list[str]]:
        """The versions of everything under found/."""
        pages = self.client.get_paginator("list_object_versions").paginate(Bucket=self.name, Prefix="found/")
        out: dict[str, list[str]] = {}
        for found in (one for page in pages for one in page.get("Versions", ())):
            out.setdefault(found["Key"].removeprefix("found/"), []).append(found["VersionId"])
        return out

    def add(self, *weeks: int, **settings) -> None:
        for week in weeks:
            labels, scores, _ = week_of(week, **settings)
            self.put(f"labels/week=2026-W{week:02}/part-0.parquet", labels)
            self.put(f"scores/week=2026-W{week:02}/part-0.parquet", scores)


@pytest.fixture
def bucket(server, request, monkeypatch):
    address, gate = server
    for name, value in {
        "AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "ann", "AWS_SECRET_ACCESS_KEY": "s3cret",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "CROWDJAX_CACHE": "off",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    yield Bucket(address, f"b{abs(hash(request.node.nodeid))}", gate)
    gate.refused, gate.status = None, "403 Forbidden"


def call(bucket: Bucket, *more: str, out: str | None = None):
    tables = [f"{bucket.url}/labels", "--scores", f"{bucket.url}/scores", "--time", "week"]
    return CliRunner().invoke(cli.app, ["monitor", *tables, "--out", out or f"{bucket.url}/found", *more])


# The fit alone is a stand-in: shares of positive labels, and the normal tests of them


class Shares(crowdjax.ContextualResult):
    def save(self, out, *, report=False):
        with saving.new_result(out, self.record) as folder:
            self.write_tables(folder)


def result_of(times, n_items, positives, **more) -> Shares:
    """A result with periods, by shares of positives and their normal intervals."""
    n, share = np.asarray(n_items, float), np.asarray(positives) / np.asarray(n_items)
    wide = np.sqrt(share * (1 - share) / n)
    step, wide_step = np.diff(share), np.hypot(wide[1:], wide[:-1])
    odds, blank = share / (1 - share), pa.nulls(len(n), pa.string())
    log = np.log(odds / odds[0])
    of_log = np.sqrt(1 / (n * share * (1 - share)) + 1 / (n * share * (1 - share))[0])
    shifted = stats.norm.sf((np.log(1.2) - np.abs(log)) / of_log)
    cells = {"time": times, "group": blank, "mean": share, "lower": share - 1.96 * wide, "upper": share + 1.96 * wide}
    cells |= {"of": ["the labelled sample"] * len(n), "n_items": n_items, "n_gold": np.zeros(len(n), int)}
    cells |= {"odds_ratio": np.exp(log), "odds_ratio_lower": np.exp(log - 2 * of_log)}
    cells |= {"odds_ratio_upper": np.exp(log + 2 * of_log), "p_shifted": np.r_[0, shifted[1:]]}
    moves = {"group": blank[1:], "from": times[:-1], "to": times[1:], "difference": step}
    moves |= {"lower": step - 1.96 * wide_step, "upper": step + 1.96 * wide_step}
    moves |= {"p_increase": stats.norm.cdf(step / wide_step)}
    for part, of in (("by_scores", 0 * step), ("by_calibration", step), ("odds_ratio", 1 + 0 * step)):
        moves |= {part: of, f"{part}_lower": of - 0.1, f"{part}_upper": of + 0.1}
    tables = {"prevalence": pa.table(cells), "changes": pa.table(moves | {"p_shifted": 0 * step})}
    tables |= {name: pa.table(table) for name, table in more.pop("tables", {}).items()}
    found = {"method": "labelled instances", "level": 0.95, "checked": True, "constraints_agree": True, "reach": 0.1}
    record = {"model": "contextual", "result": "laplace with Pareto k-hat 0.9", "stopped": False, "n_gold": 0}
    record |= {"agreement": {"pairs": []}, "warnings": ["A warning."], "n_labels": 3, "n_labelers": 2, "n_instances": 1}
    record |= more.pop("record", {})
    others = dict.fromkeys(f.name for f in dataclasses.fields(Shares) if f.default is dataclasses.MISSING)
    return Shares(**others | {"tables": tables, "record": record, "kind": as_arrow, "prevalence": found | more})


@pytest.fixture
def fits(monkeypatch):
    """How often was fitted, with what; the fit itself is a stand-in."""
    calls = []

    def context(labels, scores, *, time, **settings):
        calls.append(settings)
        of = open_table(scores, "scores").read(["instance", time]).to_pandas()
        said = open_table(labels, "labels").read(["instance", "label"]).to_pandas()
        share = said.astype({"instance": str}).groupby("instance")["label"].mean().rename("share")
        of = of.astype({"instance": str, time: str}).merge(share, on="instance")
        weeks = of.groupby(time)["share"].agg(["size", "sum"])
        return result_of(list(weeks.index), weeks["size"].to_numpy(), weeks["sum"].to_numpy())

    monkeypatch.setattr(run.context_api, "context", context)
    return calls


def test_weeks_in_a_bucket_to_files_there(bucket, fits):
    bucket.add(*range(1, 8))
    done = call(bucket)
    assert (done.exit_code, done.stdout, len(fits)) == (0, "", 1), done.stderr
    latest = bucket.json("found/latest.json")
    home = f"runs/{latest['run']}"
    expected = {"latest.json", "index.html"} | {f"{home}/{name}" for name in (
        "run.json", "done.json", "metrics.parquet", "alerts.json", "index.html", "result/fit.json",
        "result/prevalence.parquet", "result/changes.parquet")}  # fmt: skip
    assert set(bucket.versions()) == expected
    table = pq.read_table(io.BytesIO(bucket.get(f"found/{latest['metrics']}"))).to_pandas()
    assert table["period"].tolist() == [f"2026-W{week:02}" for week in range(1, 8)]
    for week, row in enumerate(table.to_dict("records"), 1):  # by pandas, of what was written
        label = pd.DataFrame(week_of(week)[0])["label"]
        assert row["n_items"] == 150 and row["prevalence"] == pytest.approx(label.mean())
    assert table["change"].isna().tolist() == [True] + [False] * 6
    np.testing.assert_allclose(table["change"][1:], np.diff(table["prevalence"]))
    found = bucket.json(f"found/{latest['alerts']}")
    assert (found["period"], found["status"], found["alerts"]) == ("2026-W07", 0, [])
    assert found["metrics"]["prevalence"] == pytest.approx(table["prevalence"].iloc[-1])
    assert found["inputs"]["files"] == 14 and found["inputs"]["changed"].startswith("20")
    record = bucket.json(f"found/{home}/done.json")
    assert set(record["files"]) | {"run.json", "done.json"} == {
        name.removeprefix(home + "/") for name in expected if name.startswith(home)
    }
    everything = "".join(bucket.get(f"found/{n}").decode("latin-1") for n in expected)
    assert "s3cret" not in everything + done.stderr


def test_the_same_inputs_are_done_once(bucket, fits):
    bucket.add(1, 2, 3)
    assert call(bucket).exit_code == 0
    before = bucket.versions()
    again = call(bucket)
    assert (again.exit_code, len(fits)) == (0, 1)
    assert "done before, and not again" in again.stderr
    assert bucket.versions() == before
    for name in ("labels", "scores"):  # written anew, alike, under other names, as a task that is run again does
        body = bucket.get(f"{name}/week=2026-W02/part-0.parquet")
        bucket.client.delete_object(Bucket=bucket.name, Key=f"{name}/week=2026-W02/part-0.parquet")
        bucket.client.put_object(Bucket=bucket.name, Key=f"{name}/week=2026-W02/part-9.parquet", Body=body)
    assert call(bucket).exit_code == 0 and len(fits) == 1
    assert bucket.versions() == before
    assert call(bucket, "--seed", "1").exit_code == 0 and len(fits) == 2  # another setting is another run


def test_a_new_week_is_a_new_run_and_its_step_an_alert(bucket, fits):
    bucket.add(*range(1, 8))
    assert call(bucket).exit_code == 0
    before, first = bucket.versions(), bucket.json("found/latest.json")
    bucket.add(8, step=8)
    done = call(bucket)
    latest = bucket.json("found/latest.json")
    assert (done.exit_code, latest["status"], latest["period"]) == (3, 3, "2026-W08")
    assert latest["run"] != first["run"]
    after = bucket.versions()
    assert {name: v for name, v in after.items() if first["run"] in name} == {
        name: v for name, v in before.items() if first["run"] in name
    }
    found = bucket.json(f"found/{latest['alerts']}")
    (rose,) = (alert for alert in found["alerts"] if alert["kind"] == "prevalence_rose")
    share = [pd.DataFrame(week_of(7)[0])["label"].mean(), pd.DataFrame(week_of(8, step=8)[0])["label"].mean()]
    assert rose["value"] == pytest.approx(share[1] - share[0]) and rose["lower"] > rose["bound"] == 0
    assert (rose["severity"], rose["period"], rose["what"]) == ("critical", "2026-W08", "all")
    each = np.array([pd.DataFrame(week_of(week)[0])["label"].mean() for week in range(1, 8)])
    wide = np.sqrt(each * (1 - each) / 150)
    rose_before = stats.norm.cdf(np.diff(each) / np.hypot(wide[1:], wide[:-1])) >= 0.95
    of_before = {f"2026-W{week:02}" for week in 2 + np.flatnonzero(rose_before)}
    assert {a["period"] for a in found["earlier"] if a["kind"] == "prevalence_rose"} == of_before
    assert f"crowdjax: alert: critical: {rose['text']}" in done.stderr
    page = Parsed(bucket.get("found/index.html").decode())
    assert page.references() == [] and bucket.get("found/index.html") == bucket.get(f"found/{latest['page']}")
    assert rose["text"] in page.words(page.all("section")[0])
    assert call(bucket).exit_code == 3  # done before, and still to be looked at
    assert call(bucket, "--expect", "2026-W09").exit_code == 3
    latest = bucket.json("found/latest.json")
    (missing,) = bucket.json(f"found/{latest['alerts']}")["alerts"]
    assert (latest["period"], missing["kind"]) == ("2026-W09", "period_missing")


def test_going_back_to_earlier_inputs_points_to_their_run(bucket, fits):
    bucket.add(1, 2, 3)
    call(bucket)
    first = bucket.json("found/latest.json")
    bucket.add(4)
    call(bucket)
    assert bucket.json("found/latest.json") != first
    for name in ("labels", "scores"):
        bucket.client.delete_object(Bucket=bucket.name, Key=f"{name}/week=2026-W04/part-0.parquet")
    call(bucket)
    assert bucket.json("found/latest.json") == first and len(fits) == 2


WRITTEN = ["run.json", "changes.parquet", "done.json", "latest.json"]


@pytest.mark.parametrize("refused", WRITTEN)
def test_a_run_that_breaks_off_moves_nothing_and_the_next_completes_it(refused, bucket, fits):
    bucket.add(1, 2)
    assert call(bucket).exit_code == 0
    before = bucket.json("found/latest.json")
    bucket.add(3, step=3)
    bucket.gate.refused = refused
    broken = call(bucket)
    assert broken.exit_code == 2 and refused in broken.stderr
    assert bucket.json("found/latest.json") == before
    assert len(fits) == (1 if refused == "run.json" else 2)  # the store is tried before the fit
    bucket.gate.refused = None
    assert call(bucket).exit_code == 3
    latest = bucket.json("found/latest.json")
    assert latest["period"] == "2026-W03" and bucket.json(f"found/{latest['alerts']}")["run"] == latest["run"]
    assert len(fits) == (2 if refused in ("run.json", "latest.json") else 3)  # what was whole is not made again


def test_inputs_that_change_meanwhile_are_not_used(bucket, fits, monkeypatch):
    bucket.add(1, 2)
    fitted = run.context_api.context

    def context(*tables, **settings):
        bucket.add(3)
        return fitted(*tables, **settings)

    monkeypatch.setattr(run.context_api, "context", context)
    done = call(bucket)
    assert done.exit_code == 75 and "changed while it was read" in done.stderr
    assert [name.rpartition("/")[2] for name in bucket.versions()] == ["run.json"]


@pytest.mark.slow  # pyarrow asks again for six seconds
def test_a_store_that_does_not_answer_is_a_status_of_its_own(bucket, fits, monkeypatch, tmp_path):
    bucket.add(1, 2)
    bucket.gate.refused, bucket.gate.status = "done.json", "503 Service Unavailable"
    done = call(bucket)
    assert done.exit_code == 75 and "done.json cannot be written" in done.stderr
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{closed.getsockname()[1]}")
        done = call(bucket)
        assert done.exit_code == 75 and len(done.stderr.splitlines()) == 1, done.stderr
        assert done.stderr.startswith(f"crowdjax: labels {bucket.url}/labels: cannot be read")
        with pytest.raises(Unreachable, match="try again later"):
            open_store(f"{bucket.url}/found").put("a", b"")


def test_a_server_of_inputs_that_does_not_answer(tmp_path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}/labels.csv"
        tables = [address, "--scores", address, "--time", "week", "--out", str(tmp_path / "out")]
        done = CliRunner().invoke(cli.app, ["monitor", *tables])
        assert done.exit_code == 75 and "cannot be reached" in done.stderr
        other = CliRunner().invoke(cli.app, ["describe", address])
        assert other.exit_code == 2  # of the other commands nothing changed


WRONG = {
    "no labels": (["--columns", "labeler=nobody"], "nobody"),
    "no such column": (["--time", "month"], "month"),
    "sure": (["--sure", "95"], "sure: got 95"),
    "limit": (["--limit", "-1"], "limit: got -1"),
    "word": (["--prevalence", "curve"], "prevalence: got 'curve'"),
    "out": (["--out", "http://127.0.0.1/found"], "--out: got 'http://127.0.0.1/found'"),
    "no bucket": (["--out", "s3://nobody/found"], "run.json cannot be written"),
    "no gold": (["--gold", "gold.csv"], "gold gold.csv: no such file"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said_with_status_2(wrong, bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    bucket.add(1, 2)
    more, words = WRONG[wrong]
    given = {"--time": "week", "--out": f"{bucket.url}/found"} | dict(zip(more[::2], more[1::2], strict=True))
    tables = [f"{bucket.url}/labels", "--scores", f"{bucket.url}/scores"]
    done = CliRunner().invoke(cli.app, ["monitor", *tables, *(word for pair in given.items() for word in pair)])
    assert done.exit_code == 2 and words in done.stderr, done.stderr
    assert "latest.json" not in bucket.versions()


def weeks_in(folder: Path) -> dict[str, Path]:
    """Two weeks of labels and scores in folders of Parquet."""
    for name, parts in (("labels", 0), ("scores", 1)):
        for week in (1, 2):
            at = folder / name / f"week=2026-W{week:02}"
            at.mkdir(parents=True)
            pq.write_table(pa.table(week_of(week)[parts]), at / "part.parquet")
    return {name: folder / name for name in ("labels", "scores")}


def test_an_output_among_the_inputs_is_refused_before_anything_is_written(tmp_path):
    given = weeks_in(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for out in (given["labels"] / "monitoring", given["scores"]):
        with pytest.raises(InputError, match=r"within (labels|scores) .*allowed: a folder beside it"):
            run.monitor(**given, out=out, time="week")
    assert sorted(tmp_path.rglob("*")) == before


def test_wrong_inputs_leave_nothing(tmp_path):
    given = weeks_in(tmp_path)
    (given["labels"] / "week=2026-W02" / "more.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError):
        run.monitor(**given, out=tmp_path / "out", time="week")
    assert not list((tmp_path / "out").rglob("*"))


def test_files_that_are_not_read_are_no_inputs(tmp_path, fits):
    given = weeks_in(tmp_path)
    first = run.monitor(**given, out=tmp_path / "out", time="week")
    (given["labels"] / "notes.csv").write_text("a,b\n")
    again = run.monitor(**given, out=tmp_path / "out", time="week")
    assert again.done_before and again.folder == first.folder


def test_one_period_is_too_few(bucket):
    bucket.add(1)
    done = call(bucket)
    assert done.exit_code == 2 and "two values or more" in done.stderr


def test_a_folder_is_a_store_too(fits, tmp_path, bucket):
    for week in (1, 2):
        for name, table in zip(("labels", "scores"), week_of(week), strict=False):
            place = tmp_path / name / f"week=2026-W{week:02}"
            place.mkdir(parents=True)
            pq.write_table(pa.table(table), place / "part-0.parquet")
    outcome = run.monitor(tmp_path / "labels", tmp_path / "scores", out=tmp_path / "found", time="week")
    assert outcome.status == 0 and not outcome.done_before
    assert not [path for path in (tmp_path / "found").rglob("*") if path.suffix == ".part"]
    bucket.add(1, 2)
    there = run.monitor(f"{bucket.url}/labels", f"{bucket.url}/scores", out=bucket.url, time="week")
    assert there.document["run"] == outcome.document["run"]  # the same content, wherever it is
    assert run.monitor(tmp_path / "labels", tmp_path / "scores", out=tmp_path / "found", time="week").done_before


def test_partitions_in_a_bucket_are_a_column(bucket):
    bucket.add(1, 2)
    table = open_table(f"{bucket.url}/scores", "scores")
    assert table.columns == ["instance", "score", "week"]
    week = table.read(["week"])["week"].to_pandas().value_counts().to_dict()
    assert week == {"2026-W01": 150, "2026-W02": 150}


# Rules

CALM = dict(times=["2026-W01", "2026-W02", "2026-W03"], n_items=[1000] * 3, positives=[100, 102, 101])


def kinds(result, rules=Rules()) -> set[tuple[str, str, str]]:  # noqa: B008 - it is immutable
    return {(alert.kind, alert.period, alert.what) for alert in alerts_of(result, rules)}


def test_nothing_is_raised_of_nothing():
    assert kinds(result_of(**CALM)) == set()
    assert kinds(result_of(**CALM), Rules(limit=0.13, expect="2026-W03")) == set()


def test_a_rise_counts_from_the_probability_asked_for():
    result = result_of(**CALM | {"positives": [100, 100, 125]})
    p = stats.norm.cdf(0.025 / np.hypot(np.sqrt(0.1 * 0.9 / 1000), np.sqrt(0.125 * 0.875 / 1000)))
    assert ("prevalence_rose", "2026-W03", "all") in kinds(result, Rules(sure=p - 1e-9))
    assert not kinds(result, Rules(sure=p + 1e-9))
    fall = result_of(**CALM | {"positives": [300, 300, 100]})
    assert kinds(fall) == {("prevalence_fell", "2026-W03", "all"), ("calibration_drifted", "2026-W03", "all")}
    (alert,) = (a for a in alerts_of(fall, Rules()) if a.kind == "prevalence_fell")
    assert alert.severity == "warning" and alert.upper < alert.bound == 0 and "a fall with a probability" in alert.text


def test_gold_that_contradicts_the_model_is_told():
    result = result_of(**CALM)
    cells = result.tables["prevalence"].append_column("gold_contradicts", pa.array([None, False, True]))
    result = dataclasses.replace(result, tables=result.tables | {"prevalence": cells})
    assert kinds(result) == {("gold_contradicts", "2026-W03", "all")}


def test_the_limit_is_held_against_the_lower_end():
    result, lower = result_of(**CALM), 0.1 - 1.96 * np.sqrt(0.1 * 0.9 / 1000)
    assert kinds(result, Rules(limit=lower - 1e-6)) == {("prevalence_high", w, "all") for w in CALM["times"]}
    assert ("prevalence_high", "2026-W01", "all") not in kinds(result, Rules(limit=lower + 1e-6))


def test_few_items_are_fewer_than_the_share_of_the_median_before():
    result = result_of(**CALM | {"n_items": [1000, 600, 390], "positives": [100, 60, 39]})
    assert kinds(result, Rules(least=0.4)) == set()  # 390 of the median 800 is more
    assert kinds(result, Rules(least=0.5)) == {("few_items", "2026-W03", "all")}


@pytest.mark.parametrize(
    ("times", "gap"),
    [
        (["2026-W01", "2026-W02", "2026-W03"], None),
        (["2025-W51", "2025-W52", "2026-W01"], None),
        (["2026-W01", "2026-W02", "2026-W04"], "2026-W04"),
        (["2026-01", "2026-02", "2026-03"], None),
        (["2026-01", "2026-02", "2026-04"], "2026-04"),
        ([1, 2, 3], None),
        ([1, 2, 4], "4"),
        ([datetime.date(2026, 1, 5), datetime.date(2026, 1, 12), datetime.date(2026, 1, 26)], "2026-01-26"),
        (["spring", "summer", "winter"], None),
    ],
)
def test_a_period_that_was_left_out(times, gap):
    expected = set() if gap is None else {("period_missing", gap, "all")}
    assert kinds(result_of(**CALM | {"times": times})) == expected


def test_periods_that_are_no_dates():
    assert [ordinal(text) for text in ("2026-W54", "2026-13", "2026-02-30", "W1", "1")] == [None] * 5
    assert ordinal("2026-01-05") == ordinal("2026-W02") == datetime.date(2026, 1, 5).toordinal()


def test_the_calibration_drifts_since_the_first():
    result = result_of(**CALM | {"positives": [100, 115, 180]})
    (drift,) = (a for a in alerts_of(result, Rules()) if a.kind == "calibration_drifted")
    assert (drift.period, drift.severity) == ("2026-W03", "warning")
    assert drift.value == pytest.approx((180 / 820) / (100 / 900)) and drift.bound == 1.2


def test_labelers_who_got_worse():
    rows = {"time": ["2026-W01"] * 2 + ["2026-W02"] * 2 + ["2026-W03"] * 2, "labeler": ["ann", "bob"] * 3}
    nan, flat = float("nan"), [0.9] * 6
    bob = [0.9, 0.9, 0.9, 0.85, 0.9, 0.6]
    for name, values in (("sensitivity", bob), ("specificity", flat)):
        rows |= {name: values, f"{name}_lower": np.subtract(values, 0.05), f"{name}_upper": np.add(values, 0.05)}
        rows |= {f"{name}_p_fell": [nan, nan, 0, 0.3, 0, 0.97], f"{name}_p_worse": [0, 0, 0, 0.3, 0, 0.99]}
    rows |= {"specificity_p_fell": [nan, nan, 0, 0, 0, 0], "specificity_p_worse": [0.0] * 6}
    result = result_of(**CALM, tables={"labelers_by_period": rows})
    assert kinds(result) == {("labeler_worse", "2026-W03", "bob/sensitivity")}
    (alert,) = alerts_of(result, Rules())
    assert (alert.value, alert.probability) == (0.6, 0.97) and alert.bound == pytest.approx(0.8)
    assert "since 2026-W02" in alert.text
    (slow,) = alerts_of(result, Rules(sure=0.98))
    assert "since 2026-W01" in slow.text and slow.key == alert.key == "labeler_worse/bob/sensitivity"


def test_flags_of_the_fit_are_alerts_of_its_latest_period():
    pair = {"labelers": ["ann", "bob"], "p": 0.001, "observed": 0.9, "expected": 0.8, "common": 50}
    result = result_of(
        **CALM, checked=False, constraints_agree=False, reach=0.8, record={"agreement": {"pairs": [pair]}}
    )
    flags = {"unchecked", "undecided", "labelers_together"}
    assert kinds(result) == {(kind, "2026-W03", "all") for kind in flags}
    by_gold = result_of(**CALM, checked=False, constraints_agree=False, reach=0.8, method="assisted by gold")
    assert kinds(by_gold) == set()


def test_gold_counts_where_it_has_an_interval_and_is_asked_for_where_not():
    result = result_of(**CALM, record={"n_gold": 60})
    cells, moves = result.tables["prevalence"], result.tables["changes"]
    for name, values in (("mean", [0.1, 0.1, None]), ("lower", [0.05, 0.05, None]), ("upper", [0.2, 0.3, None])):
        cells = cells.append_column(f"assisted_{name}", pa.array(values, pa.float64()))
    cells = cells.append_column("n_gold_wanted", pa.array([10, 10, 80], pa.int64()))
    for name, value in (("difference", 0.01), ("lower", -0.1), ("upper", 0.1), ("p_increase", 0.99)):
        moves = moves.append_column(f"assisted_{name}", pa.array([value, None], pa.float64()))
    result = dataclasses.replace(result, tables={"prevalence": cells, "changes": moves})
    assert kinds(result) == {("prevalence_rose", "2026-W02", "all"), ("little_gold", "2026-W03", "all")}
    table = metrics(result, alerts_of(result, Rules())).to_pandas()
    assert table["estimate"].tolist() == ["assisted by gold"] * 2 + ["model"]
    assert table["lower"].tolist()[:2] == [0.05, 0.05] and table["n_alerts"].tolist() == [0, 1, 1]


def test_groups_have_alerts_and_metrics_of_their_own():
    parts = {"north": [50, 50, 50], "south": [50, 50, 90], None: [100, 100, 140]}
    found = [result_of(CALM["times"], [500 if group else 1000] * 3, n).tables for group, n in parts.items()]
    tables = {}
    for name in ("prevalence", "changes"):
        each = [of[name].to_pandas().assign(group=group) for group, of in zip(parts, found, strict=True)]
        tables[name] = pa.concat_tables([pa.Table.from_pandas(t).cast(found[0][name].schema) for t in each])
    result = dataclasses.replace(result_of(**CALM), tables=tables)
    raised = alerts_of(result, Rules())
    rose = {(alert.period, alert.what) for alert in raised if alert.kind == "prevalence_rose"}
    assert rose == {("2026-W03", "south"), ("2026-W03", "all")}
    assert any("in group south" in alert.text for alert in raised)
    table = metrics(result, raised).to_pandas()
    assert table["group"].dropna().unique().tolist() == ["north", "south"] and len(table) == 9
    of_all = table[table["group"].isna()]
    assert of_all["n_alerts"].tolist() == [0, 0, len(raised)] and table["n_alerts"].notna().sum() == 3


def test_a_result_without_periods_has_no_alerts():
    result = dataclasses.replace(result_of(**CALM), tables={})
    with pytest.raises(InputError, match="without periods"):
        alerts_of(result, Rules())


# The whole of it


@pytest.mark.slow
def test_a_simulated_crowd_from_a_bucket_to_alerts_by_the_command(bucket, tmp_path):
    """Seven weeks alike, of which bob errs more from the fifth on; then one whose odds of a positive are four times as
    high."""
    settings = dict(n=300, step=8, worse=5)

    def monitor(*more: str) -> subprocess.CompletedProcess:
        words = ["monitor", f"{bucket.url}/labels", "--scores", f"{bucket.url}/scores", "--time", "week"]
        command = [sys.executable, "-m", "crowdjax", *words, "--out", f"{bucket.url}/found", *more]
        return subprocess.run(command, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=500)

    bucket.add(*range(1, 8), **settings)
    before = monitor()
    first = bucket.json("found/latest.json")
    found = bucket.json(f"found/{first['alerts']}")
    raised = {(alert["kind"], alert["what"]) for alert in found["alerts"]}
    assert "critical" not in {alert["severity"] for alert in found["alerts"]}
    assert before.returncode == first["status"] == (3 if raised else 0), before.stderr
    bucket.add(8, **settings)
    after = monitor()
    assert after.returncode == 3, after.stderr
    latest = bucket.json("found/latest.json")
    found = bucket.json(f"found/{latest['alerts']}")
    raised = {(alert["kind"], alert["what"]) for alert in found["alerts"]}
    assert {("prevalence_rose", "all"), ("labeler_worse", "bob/sensitivity")} <= raised
    assert {what.partition("/")[0] for kind, what in raised if kind == "labeler_worse"} == {"bob"}
    assert not [a for a in found["earlier"] if a["kind"] == "prevalence_rose" and a["period"] > "2026-W05"]
    table = pq.read_table(io.BytesIO(bucket.get(f"found/{latest['metrics']}"))).to_pandas()
    truth = np.array([week_of(week, **settings)[2].mean() for week in range(1, 9)])
    inside = (table["lower"] < truth) & (truth < table["upper"])
    assert inside.sum() >= 7  # of eight intervals of 95 %
    versions = bucket.versions()
    again = monitor()
    assert again.returncode == 3 and "done before" in again.stderr
    assert bucket.versions() == versions and any(first["run"] in name for name in versions)
    home = f"{latest['result']}/"
    for name in (name for name in versions if name.startswith(home)):
        path = tmp_path / name.removeprefix(home)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bucket.get(f"found/{name}"))
    assert crowdjax.load(tmp_path).record["time"] == "week"
    Parsed(bucket.get("found/index.html").decode())
