"""The leaderboard's arithmetic: linked sets count once, losses are against the majority vote."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow as pa
import pytest

import crowdjax
from conftest import ROOT
from experiments.leaderboard import MEASURES, SUBJECT, Config, by_group, in_pairs, own, report, summary, with_score
from experiments.tables import scored

SETS = ["ducks", "hcb", "trec2011"]
METHODS = ["majority", "auto"]


def test_linked_sets_count_once():
    values = np.array([[0.9, 0.8], [0.4, 0.5], [0.6, 0.9]])
    np.testing.assert_allclose(by_group(values, SETS), [[0.9, 0.8], [0.5, 0.7]])


def test_the_summary_has_means_worst_sets_and_paired_gains():
    table = {k: np.array([[0.7, 0.9], [0.6, 0.5], [0.6, 0.7]]) for k in MEASURES}
    majority, auto = summary(table, SETS, METHODS, 0).splitlines()[-2:]
    assert auto == "| auto | 0.750 | 0.750 | 0.750 | 0.750 | -0.100 | 0.200 | – | – |"
    assert "| +0.100 ± 0.100 | -0.100 ± 0.100 |" in majority


def test_a_method_that_skipped_a_set_has_no_mean_but_is_compared_where_it_took_part():
    table = {k: np.array([[np.nan, 0.9], [0.6, 0.5], [0.6, 0.7], [0.5, 0.9]]) for k in MEASURES}
    part = summary(table, [*SETS, "zencrowd"], METHODS, 1).splitlines()[-2]
    assert part == "| majority | – | – | – | – | -0.400 | 0.100 | +0.200 ± 0.200 | -0.200 ± 0.200 |"


def test_crowds_of_a_kind_are_compared_one_by_one():
    draws = [[np.array([0.4, 0.6]), np.array([]), np.array([0.5, 0.9])]]
    assert in_pairs(1, draws, ["benign"], ["majority", "GLAD", "auto"]).splitlines()[-1] == (
        "| benign | +0.200 ± 0.100 | – |"
    )


def test_a_report_has_a_part_and_a_figure_for_real_sets_and_for_crowds():
    truth, p = np.array([1, -1, 1]), np.array([[0.9, 0.2, 0.4], [0.8, 0.3, 0.6]])
    rows = []
    for name, condition in (("ducks", "all labels"), ("benign", "simulated"), ("rare class", "simulated")):
        methods = ("majority vote", "auto") if name == "benign" else ("majority vote", "GLAD", "auto")
        for shift, method in enumerate(methods):
            rows += scored(method, np.clip(p + 0.05 * shift, 0, 1), truth, set=name, condition=condition)
    found = report(Config(sets=("ducks",)), {"metrics": pa.Table.from_pylist(rows)})
    assert set(found.figures) == {"all_labels", "simulated"}
    assert "## simulated" in found.text and "skipped" not in found.text
    real, crowds = found.figures["all_labels"].axes, found.figures["simulated"].axes
    drawn = {line.get_label(): line.get_xdata() for line in real[0].lines}
    # Of one of the two draws one instance of three is a tie and no longer wrong.
    np.testing.assert_allclose(drawn["auto"], [1 / 12])
    assert np.isnan({line.get_label(): line.get_xdata() for line in crowds[1].lines}["GLAD"][0])


def committed(measure: str, name: str) -> float:
    """``auto``'s measure on a real set, all labels, in the committed summary."""
    text = (ROOT / "docs" / "results" / "leaderboard" / "SUMMARY.md").read_text(encoding="utf-8")
    table = text.partition(f"**{measure}**")[2].partition("\n\n")[2].split("\n\n")[0].splitlines()
    cells = lambda line: [cell.strip() for cell in line.strip("|").split("|")]  # noqa: E731
    row = next(cells(line) for line in table if line.startswith(f"| {name} |"))
    return float(row[cells(table[0]).index("auto")])


@pytest.mark.parametrize("name", ["bluebirds", "duchenne"])
def test_users_get_the_numbers_of_the_committed_leaderboard(real_set, name):
    labels, truth, *_ = real_set(name)
    table = {"labeler": labels.labeler, "instance": labels.instance, "label": labels.label}
    found = crowdjax.fit(table, "auto").instances["probability"]
    for measure, metric in {"accuracy": "accuracy", "NLL": "nll"}.items():
        mine = next(row["value"] for row in scored("auto", found[None], truth) if row["metric"] == metric)
        assert mine == pytest.approx(committed(measure, name), abs=6e-4)


def test_users_get_with_gold_what_the_leaderboard_measures(real_set):
    labels, truth, *_ = real_set("bluebirds")
    chosen = np.arange(0, labels.n_instances, 9)
    gold = np.full(labels.n_instances, -1, np.int8)
    gold[chosen] = truth[chosen] > 0
    measured = own(dataclasses.replace(labels, gold=gold), SUBJECT)
    table = {"labeler": labels.labeler, "instance": labels.instance, "label": labels.label}
    found = crowdjax.fit(table, "auto", gold={"instance": chosen, "label": gold[chosen]})
    assert measured.plan.boundary == found.record["boundary"]["choice"] == "gold"
    np.testing.assert_allclose(found.instances["probability"], measured.instances.probability, atol=1e-6)


def test_users_get_with_a_score_what_the_leaderboard_measures(real_set):
    labels, truth, *_ = real_set("bluebirds")
    score = np.where(truth > 0, 1.0, -1.0) + np.random.default_rng(0).normal(size=labels.n_instances)
    rows = with_score(labels, truth, score, "bluebirds")
    measured = {row["model"]: row["value"] for row in rows if row["metric"] == "nll"}
    table = {"labeler": labels.labeler, "instance": labels.instance, "label": labels.label}
    scores = {"instance": np.arange(labels.n_instances), "score": score}
    found = crowdjax.fit(table, "auto", scores=scores).instances["probability"]
    mine = next(row["value"] for row in scored("auto with a score", found[None], truth) if row["metric"] == "nll")
    assert measured["auto with a score"] == pytest.approx(mine, abs=1e-4) != measured["auto"]
