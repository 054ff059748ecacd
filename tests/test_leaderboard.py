"""The leaderboard's arithmetic: linked sets count once, losses are against the majority vote."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from experiments.leaderboard import MEASURES, Config, by_group, in_pairs, report, summary
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
