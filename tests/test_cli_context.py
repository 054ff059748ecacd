"""``crowdjax context``: the files it writes and what is in them, every bad input refused in one line, warnings said."""

from __future__ import annotations

import json
import os
import re

import jax
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import crowdjax
from crowdjax import cli, contextual
from crowdjax.context_api.inputs import inference
from crowdjax.contextual import Inference
from crowdjax.labels import InputError

N_ITEMS, N_LABELERS = 240, 6
FIGURES = [
    f"{name}.{kind}" for name in ("functions", "labelers", "prevalence", "reliability") for kind in ("png", "svg")
]
TABLES = ["calibration.parquet", "curves.parquet", "instances.parquet", "labelers.parquet"]
FILES = sorted(
    [*TABLES, "contextual.json", "contextual.npz", "figures", "fit.json", "inputs.npz", "ordered", "prevalence.json"]
)


def prevalence_at(score):
    return 1 / (1 + np.exp(4 - 6 * score))


def logit(p):
    return np.log(p / (1 - p))


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    """Three labels per instance with sensitivity and specificity of .9; scores pushed up by the sampling."""
    rng = np.random.default_rng(7)
    items = np.array([f"q{j:03}" for j in range(N_ITEMS)])
    score = rng.beta(2, 2, N_ITEMS)
    truth = rng.random(N_ITEMS) < prevalence_at(score)
    instance = np.repeat(np.arange(N_ITEMS), 3)
    labeler = np.concatenate([rng.choice(N_LABELERS, 3, replace=False) for _ in range(N_ITEMS)])
    right = rng.random(len(instance)) < 0.9
    label = (truth[instance] == right).astype(int)
    return {
        "labels": pd.DataFrame({"worker": [f"00{w}" for w in labeler], "task": items[instance], "label": label}),
        "scores": pd.DataFrame({"instance": items, "score": score}).sample(frac=1, random_state=0),
        "weights": pd.DataFrame({"instance": items, "weight": rng.uniform(1, 50, N_ITEMS)}),
        "population": pd.DataFrame({"score": np.linspace(0.02, 0.98, 300), "count": rng.integers(0, 9, 300)}),
        "gold": pd.DataFrame({"instance": items[:20], "label": truth[:20].astype(int)}),
        "truth": pd.DataFrame({"instance": items, "label": truth}),
    }


@pytest.fixture
def here(tmp_path, monkeypatch, tables):
    """An empty folder with the tables to work in."""
    monkeypatch.setenv("CROWDJAX_CACHE", "off")
    monkeypatch.chdir(tmp_path)
    for name in ("labels", "scores", "weights", "population", "gold"):
        tables[name].to_csv(f"{name}.csv", index=False)
    return tmp_path


def call(*arguments: str):
    return CliRunner().invoke(cli.app, ["context", *arguments])


@pytest.mark.slow
def test_it_writes_what_it_promises(here, tables):
    side = ["--weights", "weights.csv", "--population", "population.csv", "--gold", "gold.csv"]
    model = ["--prevalence", "linear", "--accuracy", "linear", "--inference", "laplace", "--draws", "300"]
    result = call("labels.csv", "--scores", "scores.csv", *side, *model, "--out", "deep/out")
    headline = r"prevalence: ([\d.]+) % of the population \(95% interval: ([\d.]+) to ([\d.]+) %; assisted by gold\)\n"
    said = re.fullmatch(headline, result.stdout)
    assert result.exit_code == 0 and said, result.output
    out = here / "deep" / "out"
    assert sorted(os.listdir(out)) == FILES
    assert sorted(os.listdir(out / "figures")) == FIGURES
    record = json.loads((out / "fit.json").read_text())
    assert (record["n_labels"], record["n_labelers"], record["n_instances"]) == (720, 6, 240)
    assert (record["n_gold"], record["n_population"]) == (20, 300)
    assert (record["inference"], record["inference_reason"]) == ("laplace", "as asked for")
    assert np.isfinite(record["diagnostics"]["khat"])
    notes = [line for line in result.stderr.splitlines() if not line.startswith("crowdjax: columns of ")]
    assert notes == [f"crowdjax: note: {sentence}" for sentence in record["warnings"]]

    instances, curves, labelers, calibration = (pq.read_table(out / f"{n}.parquet").to_pandas() for n in
                                                ("instances", "curves", "labelers", "calibration"))  # fmt: skip
    assert list(instances) == ["instance", "score", "probability", "label"]
    of = tables["scores"].set_index("instance")["score"]
    np.testing.assert_allclose(instances["score"], of[instances["instance"]], rtol=1e-12)
    truth = tables["truth"]["label"].to_numpy()
    assert (instances["label"] == truth).mean() > 0.9
    np.testing.assert_array_equal(instances["probability"][:20], truth[:20])  # gold

    assert list(curves) == ["quantity", "score", "mean", "lower", "upper"]
    assert list(curves["quantity"].unique()) == ["prevalence", "sensitivity", "specificity"]
    for table, middle in ((curves, "mean"), (calibration, "probability")):
        assert ((table["lower"] >= 0) & (table["lower"] <= table[middle]) & (table[middle] <= table["upper"])).all()
        assert (table["upper"] <= 1).all()
    line = curves[curves["quantity"] == "prevalence"]
    ends = contextual.load(out).scale.ends[:, 0]  # beyond, functions stay as they are
    assert line["score"].min() == pytest.approx(np.clip(min(of.min(), 0.02), *ends))
    assert line["score"].max() == pytest.approx(np.clip(max(of.max(), 0.98), *ends))
    # One data set and two parameters: all errors along the line go together. Their largest, in posterior standard
    # deviations, is beyond 3.5 with a chance of exp(-3.5²/2) = .002.
    mean, lower, upper, true = (
        logit(v) for v in (line["mean"], line["lower"], line["upper"], prevalence_at(line["score"]))
    )
    assert (abs(true - mean) / ((upper - lower) / 3.92)).max() < 3.5
    assert (line["upper"] - line["lower"]).max() < 0.4  # the prior: about .9

    assert list(calibration) == ["score", "probability", "lower", "upper"]
    np.testing.assert_allclose(
        calibration["probability"], np.interp(calibration["score"], line["score"], line["mean"]), atol=1e-3
    )
    bands = ["sensitivity", "specificity", "balanced_accuracy", "rank"]
    of_gold = ["labels", "accuracy", "positives", "sensitivity", "negatives", "specificity"]
    measures = [band + end for band in bands for end in ("", "_lower", "_upper")]
    assert list(labelers) == ["labeler", "n_labels", *measures, *(f"gold_{name}" for name in of_gold)]
    assert labelers["labeler"].tolist() == [f"00{w}" for w in range(6)]
    assert labelers["n_labels"].tolist() == tables["labels"]["worker"].value_counts().sort_index().tolist()
    known = tables["labels"].merge(tables["gold"], left_on="task", right_on="instance", suffixes=("", "_gold"))
    known["right"] = known["label"] == known["label_gold"]
    for part, number, share in (
        (known, "labels", "accuracy"),
        (known[known["label_gold"] == 1], "positives", "sensitivity"),
        (known[known["label_gold"] == 0], "negatives", "specificity"),
    ):
        expected = part.groupby("worker")["right"].agg(["count", "mean"]).reindex(labelers["labeler"])
        np.testing.assert_array_equal(labelers[f"gold_{number}"], expected["count"].fillna(0))
        np.testing.assert_allclose(labelers[f"gold_{share}"], expected["mean"], rtol=1e-12)
    for name in ("sensitivity", "specificity"):
        assert (labelers[f"{name}_lower"] <= labelers[name]).all() and (
            labelers[name] <= labelers[f"{name}_upper"]
        ).all()

    # The prevalence, by hand: the mean over draws commutes with the average over scores.
    prevalence = json.loads((out / "prevalence.json").read_text())
    assert (prevalence["method"], prevalence["level"]) == ("assisted by gold", 0.95)
    estimates = {e["method"]: e for e in prevalence["estimates"]}
    of_model = ["population table", "weaker constraint", "weighted instances", "item posteriors", "vote share"]
    assert list(estimates) == ["assisted by gold", *of_model, "gold alone (Hajek)"]
    population = tables["population"]
    mean = np.average(np.interp(population["score"], line["score"], line["mean"]), weights=population["count"])
    percent = [100 * prevalence[name] for name in ("mean", "lower", "upper")]
    np.testing.assert_allclose([float(number) for number in said.groups()], percent, atol=0.5)  # rounded
    by_model = estimates["population table"]
    np.testing.assert_allclose(by_model["mean"], mean, atol=1e-3)
    assert by_model["lower"] < by_model["mean"] < by_model["upper"]
    weights = tables["weights"].set_index("instance")["weight"]
    share = tables["labels"].groupby("task")["label"].mean()
    np.testing.assert_allclose(
        estimates["vote share"]["mean"], np.average(share, weights=weights[share.index]), rtol=1e-6
    )
    mean = np.average(np.interp(of[share.index], line["score"], line["mean"]), weights=weights[share.index])
    np.testing.assert_allclose(estimates["weighted instances"]["mean"], mean, atol=0.02)  # a bootstrap's noise

    again = contextual.load(out)
    band = contextual.calibrate(again, calibration["score"].to_numpy())
    np.testing.assert_allclose(band.upper, calibration["upper"], atol=1e-6)


@pytest.mark.slow
def test_what_is_not_identified_is_said(here, tables):
    """One label per instance, a free constraint; two scores, labelers alike; the same bytes every time."""
    tables["labels"].drop_duplicates("task").to_csv("one.csv", index=False)
    tables["scores"].assign(length=np.arange(float(N_ITEMS))).to_csv("two.csv", index=False)
    model = (
        "--prevalence linear --accuracy constant --labelers global --constraint free --inference laplace --draws 100"
    )
    for out in ("out", "again"):
        scores = ("--scores", "two.csv", "--score-columns", "score,length")
        result = call("one.csv", *scores, *model.split(), "--out", out)
        assert result.exit_code == 0
        assert re.fullmatch(r"prevalence: .* % of the labelled sample \(.*; labelled instances\)\n", result.stdout)
    said = json.loads((here / "out" / "fit.json").read_text())["warnings"]
    for words in ("every instance has one label", "constraint 'free'", "Curves are along score", "length = 119.5"):
        assert any(words in sentence for sentence in said)
        assert words in result.stderr
    instances = pq.read_table(here / "out" / "instances.parquet")
    assert instances.column_names == ["instance", "score", "score_length", "probability", "label"]
    assert "rank" not in pq.read_table(here / "out" / "labelers.parquet").column_names
    figures = sorted(os.listdir(here / "out" / "figures"))
    assert figures == [name for name in FIGURES if "labelers" not in name]
    for name in [*TABLES, "prevalence.json", *(f"figures/{f}" for f in figures)]:
        assert (here / "out" / name).read_bytes() == (here / "again" / name).read_bytes(), name


@pytest.mark.slow
def test_nuts_reports_its_diagnostics_and_its_progress(tables):
    told = []
    small = Inference("nuts", n_draws=25, n_warmup=40, n_chains=2, n_thin=1)
    result = crowdjax.context(
        tables["labels"],
        tables["scores"],
        prevalence="linear",
        accuracy="constant",
        labelers="global",
        inference=small,
        progress=lambda *now, **_: told.append(now),
    )
    for table in (result.instances, result.curves, result.labelers, result.calibration):
        assert isinstance(table, pd.DataFrame)  # as the labels
    assert {"rhat", "ess", "divergences"} < set(result.record["diagnostics"])
    assert ("nuts", 65, 65) in told
    assert "R-hat" in result.record["result"]
    assert result.record["settings"]["n_draws"] == 25


def test_the_default_inference_is_laplace():
    assert inference(None, None) == (Inference("laplace"), "by default")
    assert inference("svi", 7) == (Inference("svi", n_draws=7), "as asked for")


# name: (changes of files, further arguments, words of the message)
BAD = {
    "no score": (
        {"scores": lambda t: t.iloc[1:]},
        "",
        ["scores scores.csv", "no row for instance 'q", "(1 missing in all)"],
    ),
    "score twice": ({"scores": lambda t: pd.concat([t, t[:1]])}, "", ["scores.csv", "rows 1 and 241", "twice"]),
    "NaN score": (
        {"scores": lambda t: t.assign(score=t["score"].where(t["instance"] != "q005"))},
        "",
        ["scores.csv", "'score'", "instance 'q005'", "nothing", "finite numbers"],
    ),
    "infinite score": (
        {"scores": lambda t: t.assign(score=t["score"].where(t["instance"] != "q005", np.inf))},
        "",
        ["'score'", "'q005'", "inf", "finite numbers"],
    ),
    "constant score": ({"scores": lambda t: t.assign(score=0.5)}, "", ["'score' is 0.5 throughout", "differ"]),
    "one constant score": (
        {"scores": lambda t: t.assign(two=3)},
        "--score-columns score,two",
        ["'two' is 3 throughout"],
    ),
    "no column": ({"scores": lambda t: t[["instance"]]}, "", ["scores.csv", "at least one numeric column"]),
    "logit": (
        {"scores": lambda t: t.assign(score=t["score"].where(t["instance"] != "q005", 1.5))},
        "--transform logit",
        ["'score'", "instance q005", "got 1.5", "logit: 0 to 1"],
    ),
    "percentages": (
        {"population": lambda t: t.assign(score=100 * t["score"])},
        "--population population.csv",
        ["population: column 'score' ranges from 2 to 98, but from 0.0", "in the labelled instances", "one unit"],
    ),
    "approximation": ({}, "--approximation nystrom", ["approximation: got 'nystrom'", "hsgp, inducing, exact"]),
    "basis without process": (
        {},
        "--n-basis 8 --prevalence linear --accuracy constant",
        ["n_basis: given with prevalence 'linear'", "allowed where one of them is gp"],
    ),
    "combine one": ({}, "--combine tensor", ["combine: got 'tensor' with one score, 'score'"]),
    "negative weight": (
        {"weights": lambda t: t.assign(weight=t["weight"].where(t.index != 2, -3))},
        "--weights weights.csv",
        ["weights.csv", "'weight'", "row 3", "-3", "above 0"],
    ),
    "zero weight": (
        {"weights": lambda t: t.assign(weight=t["weight"].where(t.index != 2, 0))},
        "--weights weights.csv",
        ["row 3", "got '0.0'", "above 0"],
    ),
    "unknown weight": (
        {"weights": lambda t: t.replace("q004", "x4")},
        "--weights weights.csv",
        ["weights.csv", "row 5", "'x4'", "occur in the labels"],
    ),
    "missing weight": (
        {"weights": lambda t: t.iloc[:-2]},
        "--weights weights.csv",
        ["weights.csv", "'q238'", "2 missing"],
    ),
    "unnamed weight": (
        {"weights": lambda t: t.rename(columns={"weight": "w"})},
        "--weights weights.csv",
        ["no column 'weight'"],
    ),
    "population": (
        {"population": lambda t: t.rename(columns={"score": "s"})},
        "--population population.csv",
        ["population population.csv", "no column 'score'"],
    ),
    "empty population": (
        {"population": lambda t: t.iloc[:0]},
        "--population population.csv",
        ["population.csv", "no rows"],
    ),
    "negative count": (
        {"population": lambda t: t.assign(count=-1)},
        "--population population.csv",
        ["'count'", "row 1", "-1"],
    ),
    "no count": ({"population": lambda t: t.assign(count=0)}, "--population population.csv", ["'count': all 0"]),
    "two counts": (
        {"population": lambda t: t.assign(weight=1)},
        "--population population.csv",
        ["'weight' and 'count'"],
    ),
    "gold": ({"gold": lambda t: t.replace("q004", "x4")}, "--gold gold.csv", ["gold.csv", "'x4'"]),
    "no labels": ({"labels": lambda t: t.iloc[:0]}, "", ["labels.csv", "no labels at all"]),
    "no file": ({}, "--weights absent.csv", ["weights absent.csv", "no such file"]),
    "prevalence": ({}, "--prevalence spline", ["prevalence: got 'spline'", "constant, linear, gp"]),
    "accuracy": ({}, "--accuracy spline", ["accuracy: got 'spline'"]),
    "labelers": ({}, "--labelers none", ["labelers: got 'none'", "global, offset, function"]),
    "constraint": ({}, "--constraint none", ["constraint: got 'none'", "ordered, both, free"]),
    "transform": ({}, "--transform log", ["transform: got 'log'", "identity, logit, rank"]),
    "increasing": (
        {"scores": lambda t: t.assign(two=np.arange(float(len(t))))},
        "--increasing --score-columns score,two",
        ["increasing: given with 2 scores (score, two); allowed: with one"],
    ),
    "inference": ({}, "--inference mcmc", ["inference: got 'mcmc'", "nuts, svi, laplace"]),
    "draws": ({}, "--draws 0", ["draws: got 0"]),
    "seed": ({}, "--seed -1", ["--seed"]),
    "option": ({}, "--score scores.csv", ["--score"]),
    "too many unknowns": (
        {"labels": lambda t: t.assign(worker=[f"w{k % 300}" for k in range(len(t))])},
        "--labelers function",
        ["labelers: got 'function'", "300 labelers 5400 unknowns", "up to 5000", "offset or global"],
    ),
}


@pytest.mark.parametrize(("files", "arguments", "words"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_in_one_line(here, tables, files, arguments, words):
    for name, change in files.items():
        change(tables[name]).to_csv(f"{name}.csv", index=False)
    before = sorted(os.listdir())
    result = call("labels.csv", "--scores", "scores.csv", *arguments.split(), "--out", "out")
    assert result.exit_code == 2, result.output
    assert (result.stdout, result.stderr.count("\n")) == ("", 1)
    assert result.stderr.startswith("crowdjax: ")
    for word in words:
        assert word in result.stderr
    assert sorted(os.listdir()) == before


def test_a_failure_while_writing_leaves_nothing_behind(here, monkeypatch):
    """As where the disk is full: the folder appears whole or not at all."""

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("crowdjax.plots.save", full)
    before = sorted(os.listdir())
    model = "--prevalence constant --accuracy constant --labelers global --inference laplace --draws 50"
    result = call("labels.csv", "--scores", "scores.csv", *model.split(), "--out", "out")
    assert result.exit_code == 2
    assert "out: cannot be written: No space left on device" in result.stderr
    assert sorted(os.listdir()) == before


def test_the_facade_takes_a_key_and_refuses_like_the_command(tables):
    with pytest.raises(InputError, match="is 1 throughout"):
        crowdjax.context(tables["labels"], tables["scores"].assign(score=1.0), key=jax.random.key(1))
