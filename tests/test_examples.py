"""The worked examples: what they claim is true, and the pages show what they print."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "docs" / "examples"


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """A function that runs a script in an empty folder and returns its names and what it printed."""
    monkeypatch.chdir(tmp_path)

    def run(name: str):
        names = runpy.run_path(str(EXAMPLES / f"{name}.py"))
        return names, capsys.readouterr().out

    return run


def words(text: str) -> list[str]:
    """What is printed, without numbers and the width of columns: those may differ between machines."""
    return re.sub(r"[+-]?\d[\d.]*(e[+-]?\d+)?", "#", text).split()


def assert_shown(name: str, printed: str) -> None:
    assert words(printed) == words((EXAMPLES / f"{name}.txt").read_text(encoding="utf-8"))


def test_your_own_labels(run):
    found, printed = run("own_labels")
    assert found["accuracy"]["auto"] > found["accuracy"]["majority vote"] + 0.03
    worst = found["people"].iloc[:2]
    assert list(worst["labeler"]) == ["opp", "rnd"] and worst["kind"].iloc[0] == "adversary"
    assert np.asarray(found["later"].instances["probability"])[0] > 0.7
    assert_shown("own_labels", printed)


def test_compose_the_kernels(run):
    found, printed = run("kernels")
    one, two, three = (found["right"][n, found["best"][n]] for n in range(3))
    assert one < two < three
    alpha, doubtful, probability = found["factors"].alpha, found["doubtful"], found["probability"]
    for i in (0, 11):  # the gradient is what central differences say
        up, down = (float(probability(alpha.at[i, 0].add(step), doubtful)) for step in (0.05, -0.05))
        assert found["slope"][i, 0] == pytest.approx((up - down) / 0.1, abs=2e-3)
    i, j = found["labeler"], found["instance"]
    s = float(alpha[i] @ found["factors"].beta[j])
    gamma, p = float(found["factors"].gamma[i]), float(found["three"].posterior[j])
    right = 1 / (1 + np.exp(-s - gamma)), 1 / (1 + np.exp(-s + gamma))
    joint = np.array([[p * right[0], p * (1 - right[0])], [(1 - p) * (1 - right[1]), (1 - p) * right[1]]])
    apart = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    assert found["gain"][i, j] == pytest.approx((joint * np.log(joint / apart)).sum(), abs=1e-4)
    assert_shown("kernels", printed)


def test_a_model_of_ones_own(run):
    found, printed = run("new_model")
    right = {name: np.mean(np.asarray(fit.instances["label"]) == found["safe"]) for name, fit in found["fits"].items()}
    assert right["thresholds"] > max(right["above 2.5"], right["above 3.5"]) + 0.03
    code = [line.strip() for line in (EXAMPLES / "new_model.py").read_text(encoding="utf-8").splitlines()]
    assert sum(bool(line) and not line.startswith("#") for line in code) <= 50
    assert_shown("new_model", printed)


@pytest.mark.slow
def test_specialists_on_the_real_set(run, data_dir, monkeypatch):
    monkeypatch.setenv("CROWDJAX_DATA", str(data_dir))
    found, printed = run("specialists")
    assert found["name"] == "ducks"
    accuracy = found["accuracy"]
    assert accuracy["dawid-skene"] < accuracy["majority vote"] < accuracy["auto"] - 0.15
    assert min((found["school"] == side).sum() for side in (1, -1)) >= 5
    assert_shown("specialists", printed)


@pytest.mark.slow
def test_specialists_where_the_set_is_missing(run, tmp_path, monkeypatch):
    monkeypatch.setenv("CROWDJAX_DATA", str(tmp_path / "nowhere"))
    found, _ = run("specialists")
    accuracy = found["accuracy"]
    assert found["name"] == "a simulated crowd"
    assert accuracy["dawid-skene"] < accuracy["majority vote"] < accuracy["auto"]
    school = found["school"] * (1 if (found["school"][:30] > 0).sum() > 15 else -1)
    assert (school[:30] > 0).mean() > 0.5 and (school[30:] < 0).mean() > 0.9  # the two kinds of people


@pytest.mark.slow
def test_prevalence_with_up_sampling(run):
    """The intervals hold the truth, which the votes miss; gold assisted by the model is surer than gold alone."""
    found, printed = run("prevalence")
    truth = found["positive"].mean()
    first = found["result"].prevalence
    estimates = {e["method"]: e for e in first["estimates"]}
    model, assisted, alone = (estimates[k] for k in ("population table", "assisted by gold", "gold alone (Hajek)"))
    assert first["method"] == "assisted by gold"
    for estimate in (model, assisted):
        assert estimate["lower"] < truth < estimate["upper"] < estimates["vote share"]["mean"]
    assert assisted["upper"] - assisted["lower"] < 0.8 * (alone["upper"] - alone["lower"])
    curves = found["result"].tables["curves"].to_pandas()
    for name, rises in (("prevalence", True), ("sensitivity", True), ("specificity", False)):
        ends = curves[curves["quantity"] == name].sort_values("score")["mean"].iloc[[0, -1]].to_numpy()
        assert (ends[1] > ends[0] + 0.1) if rises else (ends[1] < ends[0] - 0.1)
    assert_shown("prevalence", printed)


@pytest.mark.slow
def test_every_figure_of_a_fit(run):
    """The ablest are at the top of the forest plot, who confuses the classes agrees with the others less than by
    chance, and the model beats the vote for every number of labels."""
    found, printed = run("figures")
    forest, agreement, needed = found["axes"][0, 1], found["axes"][0, 2], found["axes"][2, 1]
    names = [text.get_text() for text in forest.get_yticklabels()]
    assert set(names[:2]) <= {"ann", "bob", "cat"} and set(names[-3:]) == {"jan", "kim", "lee"}
    order = [text.get_text() for text in agreement.get_yticklabels()]
    image = agreement.images[0]
    assert np.nanmean(image.get_array()[order.index("lee")].filled(np.nan)) < image.norm.vcenter
    model, vote = (container.lines[0].get_ydata() for container in needed.containers)
    assert (model > vote).all()
    assert_shown("figures", printed)


@pytest.mark.slow
def test_language_models_as_labelers(run):
    """Both models misread the same messages: without gold the interval misses the share, with gold it does not."""
    found, printed = run("machines")
    truth = found["truth"].mean()
    assert found["alone"].prevalence["lower"] > truth
    first = found["result"].prevalence
    assert first["method"] == "assisted by gold" and first["lower"] < truth < first["upper"]
    alone = next(e for e in first["estimates"] if e["method"].startswith("gold alone"))
    assert first["upper"] - first["lower"] < 0.6 * (alone["upper"] - alone["lower"])
    assert_shown("machines", printed)


@pytest.mark.slow
def test_week_by_week(run):
    found, printed = run("weeks")
    assert found["again"].done_before and found["again"].status == 0 and not found["outcome"].done_before
    alerts = {(a["kind"], a["what"].partition("/")[0], a["period"]) for a in found["outcome"].document["alerts"]}
    kinds = {"prevalence_rose": "all", "calibration_drifted": "all", "labeler_worse": "bob"}
    assert found["outcome"].status == 3 and alerts == {(kind, who, "2026-W04") for kind, who in kinds.items()}
    weeks = found["weeks"]
    assert ((weeks["lower"] < weeks["truth"]) & (weeks["truth"] < weeks["upper"])).sum() >= 3  # of four of 95 %
    specificity = found["by_week"].set_index(["labeler", "time"])["specificity"]
    assert specificity["bob", "2026-W04"] < specificity.drop(("bob", "2026-W04")).min() - 0.1
    assert_shown("weeks", printed)


@pytest.mark.slow
def test_deployed(run, monkeypatch):
    for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, "")
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parents[1]))
    found, printed = run("deployed")
    statuses, kinds = found["statuses"], {(a["kind"], a["what"].partition("/")[0]) for a in found["found"]["alerts"]}
    assert statuses["again"] == statuses["seven weeks"] and statuses["not available"] == 75
    assert statuses["eight weeks"] == 3 and {("prevalence_rose", "all"), ("labeler_worse", "bob")} <= kinds
    rows = found["metrics"].to_pylist()
    inside = [row["lower"] < share < row["upper"] for row, share in zip(rows, found["truth"], strict=True)]
    assert sum(inside) >= 7  # of eight intervals of 95 %
    assert_shown("deployed", printed)


@pytest.mark.slow
def test_many_devices(fresh_python):
    found = fresh_python(
        f"""
import json, runpy
found = runpy.run_path({str(EXAMPLES / "many_devices.py")!r})
fits = found["fits"].values()
print(json.dumps([float(found["apart"]), *(float(fit.objective) for fit in fits), len(found["resampled"].posterior)]))
""",
        devices=4,
    )
    printed, numbers = found.rstrip().rsplit("\n", 1)
    apart, one, four, members = json.loads(numbers)
    assert apart < 1e-4 and four == pytest.approx(one, rel=1e-6) and members == 8
    assert printed.startswith("4 devices")
    assert_shown("many_devices", printed)
