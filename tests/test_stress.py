"""The boards of simulated troubles and of two-class tasks: generators do what they say, peers equal their formulas."""

from __future__ import annotations

import importlib.util
from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import beta, digamma

from experiments import binary, peers, stress
from experiments.peers import Crowd, ebcc, ibcc
from experiments.selection import leave_one_out
from experiments.tables import rows
from experiments.troubles import READ_WRONG, Trouble, chances, draw, labels

CLEAR = dict(own=0.0, looks=0.0, clarity=0.0, bias=0.0, ability=(1.3, 0.0))  # labelers and instances all alike


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(scope="module")
def crowd() -> Crowd:
    return draw(rng(), Trouble(n_labelers=8, n_instances=60, n_classes=3, per_instance=4, confused=0.3))


def right(kind: Trouble, seed=0):
    """P(right) of every labeler on every instance, [I, W]."""
    truth = rng(seed).integers(0, kind.n_classes, kind.n_instances)
    p = chances(rng(seed), kind, truth)
    np.testing.assert_allclose(p.sum(2), 1)
    return np.take_along_axis(p, truth[:, None, None], 2)[..., 0]


# Generators


@pytest.mark.parametrize("n_classes", [2, 3, 10])
def test_ability_is_the_log_odds_of_being_right_for_any_number_of_classes(n_classes):
    np.testing.assert_allclose(right(Trouble(n_classes=n_classes, **CLEAR)), 1 / (1 + np.exp(-1.3)))


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6])
def test_shares_of_labelers_are_exact(share):
    p = right(Trouble(adversaries=share, **CLEAR))
    assert (p < 0.4).all(0).sum() == round(30 * share) and (p > 0.7).all(0).sum() == 30 - round(30 * share)
    p = right(Trouble(spammers=share, n_classes=5, **CLEAR))
    assert np.isclose(p, 0.2).all(0).sum() == round(30 * share)


def test_a_confused_labeler_takes_one_class_for_the_next():
    truth = np.repeat([0, 1, 2], 10)
    p = chances(rng(), Trouble(n_instances=30, n_classes=3, confused=0.5, **CLEAR), truth)
    answers = p[::10].argmax(2).T  # [W, K]
    assert sum(tuple(row) == (0, 1, 2) for row in answers) == 15
    assert {tuple(row) for row in answers} == {(0, 1, 2), (1, 1, 2), (0, 2, 2)}


def test_misread_instances_are_read_wrong_by_most():
    p = right(Trouble(n_labelers=500, misread=0.2, **CLEAR))
    misread = (p < 0.5).mean(1)
    assert (misread > 0).sum() == 40
    assert abs(misread[misread > 0].mean() - READ_WRONG) < 4 * np.sqrt(0.21 / 20_000)


@pytest.mark.parametrize("coin", [False, True])
def test_copies_say_what_the_first_of_them_says(coin):
    kind = Trouble(n_instances=2000, copies=10, coin=coin, **CLEAR)
    truth = rng().integers(0, 2, 2000)
    said = labels(rng(), kind, truth)
    assert (said[:, :10] == said[:, :1]).all()
    own = [(said[:, i] == truth).mean() for i in (0, *range(10, 30))]
    assert own[0] == pytest.approx(0.5 if coin else 1 / (1 + np.exp(-1.3)), abs=4 * 0.5 / np.sqrt(2000))
    agreement = [(said[:, 0] == said[:, i]).mean() for i in range(10, 30)]
    assert max(agreement) < 0.75


def test_a_shared_bias_moves_everybody():
    truth = np.repeat([0, 1], 100)
    plain, biased = (chances(rng(), Trouble(shared=s), truth) for s in (0.0, -2.0))
    shift = [np.log(p[..., 1] / p[..., 0]) for p in (plain, biased)]
    np.testing.assert_allclose(shift[1] - shift[0], -2)


@pytest.mark.parametrize(("per_instance", "n_labels"), [(5.0, 1000), (1.2, 240), (2.0, 400)])
def test_crowds_of_a_kind_have_as_many_labels_and_every_instance_has_some(per_instance, n_labels):
    crowd = draw(rng(), Trouble(per_instance=per_instance))
    assert len(crowd.label) == n_labels
    counts = np.bincount(crowd.instance, minlength=200)
    assert counts.min() == int(per_instance) and counts.max() == np.ceil(per_instance)
    assert len(np.unique(crowd.labeler * 200 + crowd.instance)) == n_labels


def test_activity_is_by_a_power_law_or_of_one_labeler():
    n = np.bincount(draw(rng(), Trouble(skew=1.0, per_instance=1, n_instances=20_000)).labeler, minlength=30)
    expected = 20_000 / np.arange(1, 31) / (1 / np.arange(1, 31)).sum()
    assert (abs(n - expected) < 5 * np.sqrt(expected)).all()
    n = np.bincount(draw(rng(), Trouble(dominant=True, per_instance=2)).labeler)
    assert n[0] == 200 == n[1:].sum()


@pytest.mark.parametrize("rare", [1, 2, 20])
def test_a_rare_class_has_as_many_instances_as_is_said(rare):
    assert draw(rng(rare), Trouble(rare=rare)).truth.sum() == rare


def test_crowds_of_a_kind_do_not_depend_on_the_other_kinds():
    one, both = stress.Config(), stress.Config({"rare": Trouble(rare=2), "benign": Trouble()})
    for a, b in zip(stress.crowds(one, "benign"), stress.crowds(both, "benign"), strict=True):
        np.testing.assert_array_equal(a.label, b.label)


# Peers


def by_loops(crowd: Crowd, n_steps: int):
    """iBCC with a sum for every single label."""
    n_classes, n_labelers, n_instances = crowd.n_classes, crowd.labeler.max() + 1, len(crowd.truth)
    q = np.zeros((n_instances, n_classes))
    for j, label in zip(crowd.instance, crowd.label, strict=True):
        q[j, label] += 1
    q /= q.sum(1, keepdims=True)
    for _ in range(n_steps):
        counts = np.ones((n_labelers, n_classes, n_classes)) + 3 * np.eye(n_classes)
        for i, j, label in zip(crowd.labeler, crowd.instance, crowd.label, strict=True):
            counts[i, :, label] += q[j]
        log_q = np.tile(digamma(1 + q.sum(0)), (n_instances, 1))
        for i, j, label in zip(crowd.labeler, crowd.instance, crowd.label, strict=True):
            for k in range(n_classes):
                log_q[j, k] += digamma(counts[i, k, label]) - digamma(counts[i, k].sum())
        q = np.exp(log_q) / np.exp(log_q).sum(1, keepdims=True)
    return q


def test_ibcc_is_its_formula(crowd):
    found = ibcc(crowd, tolerance=1e-10)
    np.testing.assert_allclose(found, by_loops(crowd, 200), atol=1e-7)


def test_ebcc_raises_its_bound_and_takes_the_best_start(crowd):
    found = [ebcc(crowd, subtypes=4, restarts=n, seed=1) for n in (1, 4)]
    for one in found:
        assert np.diff(one.elbo).min() > -1e-8 * abs(one.elbo[-1])
        np.testing.assert_allclose(one.q.sum((1, 2)), 1)
    assert found[1].elbo[-1] >= found[0].elbo[-1]


def test_the_bound_is_below_the_evidence_by_enumeration():
    # One labeler, two instances, one subtype: a sum over four truths of products of Dirichlet integrals.
    crowd = Crowd(np.array([0, 0]), np.array([0, 1]), np.array([0, 1]), np.array([0, 1]), 2)
    evidence = 0.0
    for z in product((0, 1), repeat=2):
        n = np.array([[sum(z[j] == k and crowd.label[j] == y for j in (0, 1)) for y in (0, 1)] for k in (0, 1)])
        prior = np.array([[4, 1], [1, 4]])
        rows_of = np.prod(beta(*(n + prior).T) / beta(*prior.T))
        evidence += rows_of * beta(1 + (2 - sum(z)), 1 + sum(z)) / beta(1, 1)
    bound = ebcc(crowd, subtypes=1, restarts=1).elbo[-1]
    assert np.log(evidence) - 0.5 < bound <= np.log(evidence)


def test_peers_with_known_answers_on_easy_labels():
    crowd = draw(rng(), Trouble(n_labelers=6, n_instances=40, n_classes=3, ability=(6.0, 0.0)))
    kit = [f"{name} (crowd-kit)" for name in ("vote", "Dawid-Skene")] if importlib.util.find_spec("crowdkit") else []
    for method in ("vote", "majority", "iBCC", "EBCC", *kit):
        posterior = peers.answer(crowd, method).posterior
        np.testing.assert_allclose(posterior.sum(1), 1, atol=1e-6)
        assert (posterior.argmax(1) == crowd.truth).mean() > 0.95, method


def test_a_vote_has_two_pseudo_counts():
    crowd = Crowd(np.array([0, 1, 2]), np.array([0, 0, 0]), np.array([2, 2, 1]), np.array([2]), 4)
    np.testing.assert_allclose(peers.answer(crowd, "vote").posterior, [[0.1, 0.3, 0.5, 0.1]])


def test_rows_that_fill_a_table_up_change_no_answer():
    crowd = draw(rng(), Trouble(n_labelers=6, n_instances=40))
    plain, filled = (peers.answer(c, "majority").posterior for c in (crowd, crowd._replace(n_rows=230)))
    np.testing.assert_array_equal(plain, filled)


def test_an_instance_without_labels_is_undecided():
    crowd = Crowd(np.array([0, 1]), np.array([0, 0]), np.array([1, 1]), np.array([1, 0]), 2)
    for method in ("vote", "iBCC", "EBCC", "majority"):
        np.testing.assert_allclose(peers.answer(crowd, method).posterior[1], 0.5)


# Choices


def test_a_setting_is_chosen_without_the_group_it_is_scored_on():
    scores = np.array([[0.9, 0.8, 0.5, 0.5], [0.6, 0.6, 0.8, 0.8], [0.7, 0.7, 0.7, 0.1]])
    found = leave_one_out(scores, ["a", "b", "c", "c"])
    # Without a: .65, .7, .55; without b: .7, .7, .55 (the first of ties); without c: .85, .6, .7.
    assert found.chosen.tolist() == [1, 0, 0]
    assert found.mean == pytest.approx((0.6 + 0.8 + 0.5) / 3)
    assert found.standard_error == pytest.approx(np.std([0.6, 0.8, 0.5], ddof=1) / np.sqrt(3))
    assert (found.selected, found.n_settings) == (pytest.approx((0.9 + 0.8 + 0.5) / 3), 3)


def test_a_choice_by_another_measure():
    scores, by = np.array([[0.9, 0.9], [0.1, 0.1]]), np.array([[0.0, 0.0], [1.0, 1.0]])
    assert leave_one_out(scores, ["a", "b"], by).mean == pytest.approx(0.1)


def test_noise_gains_by_a_choice_on_all_but_not_by_an_honest_one():
    gains = [leave_one_out(rng(s).normal(size=(200, 8)), list("abcdefgh")) for s in range(100)]
    assert np.mean([g.selected for g in gains]) > 0.8
    assert abs(np.mean([g.mean for g in gains])) < 4 * np.std([g.mean for g in gains]) / 10 + 0.05


# Boards


def test_warnings_of_one_kind_differ_in_numbers_and_ids_only():
    kind = stress.kind_of
    assert kind("3 of 200 instances are undecided.") == kind("17 of 1,500 instances are undecided.")
    assert kind("Labelers 1, 2 and 3 give the same labels") == kind("Labelers 'w 1' and 'w2' give the same labels")


def test_the_stress_board_runs_and_pairs_slow_methods_with_the_vote_on_the_same_crowds():
    config = stress.Config(
        {"small": Trouble(n_labelers=5, n_instances=20), "rare": Trouble(n_labelers=5, n_instances=20, rare=1)},
        methods=("vote", "majority", "iBCC", "EBCC"),
        slow=("EBCC",),
        n_crowds=3,
        n_slow=1,
    )
    parts = [stress.run_cell(config, *cell) for cell in stress.cells(config)]
    tables = {name: pa.concat_tables([part[name] for part in parts]) for name in parts[0]}
    assert stress.size(config, "small").labels == 100
    found = tables["metrics"].to_pylist()
    assert sum(row["model"] == "EBCC" for row in found) == 6 and sum(row["model"] == "iBCC" for row in found) == 18
    summary = stress.report(config, tables).text
    line = next(x for x in summary.partition("called positive")[2].splitlines() if x.startswith("| rare |"))
    called = [row["value"] for row in found if (row["model"], row["set"], row["metric"]) == ("iBCC", "rare", "called")]
    assert line.startswith("| rare | 1 |") and f" {np.mean(called):.1f} " in line
    assert "| EBCC | " in summary and ("**Warnings**" in summary or "No method warned." in summary)


def test_the_binary_board_says_what_a_lead_is_without_the_best_set_and_what_a_pool_is_worth():
    found = []
    for s, (source, condition) in enumerate(
        [("ducks", binary.REAL), ("hcb", binary.REAL), ("trec2011", binary.REAL), ("web", binary.DERIVED)]
    ):
        for method, value in {"vote": 0.7, "auto": 0.9 - 0.1 * s, "auto + 0.1 iBCC": 0.8}.items():
            values = {"accuracy": [value], "nll": [1 - value]}
            found += rows(method, values, set=source, source=source, condition=condition)
    report = binary.report(binary.Config(weights=(0.1,)), {"metrics": pa.Table.from_pylist(found)})
    # auto: ducks .9, hcb and trec2011 .8 and .7, web .6; without ducks .675.
    line = next(x for x in report.text.partition("## binary sets and")[2].splitlines() if x.startswith("| auto |"))
    same = "| +0.000 ± 0.000 | +0.000 ± 0.000 |"
    assert line == f"| auto | 0.750 | 0.250 {same} 0.675 | 0.325 {same} -0.100 (web) | 1 |"
    assert set(report.figures) == {"binary_sets", "one_class_against_the_rest"}
    assert "One of 2 settings" in report.text and "| without ducks | accuracy |" in report.text


def test_one_class_against_the_rest_and_few_labelers(tmp_path, monkeypatch):
    home = tmp_path / "dog"
    home.mkdir()
    (home / "labels.csv").write_text(
        "labeler,instance,label\n" + "".join(f"w{i},q{j},{j % 3}\n" for i in range(4) for j in range(12))
    )
    (home / "truth.csv").write_text("instance,label\n" + "".join(f"q{j},{j % 3}\n" for j in range(11)))
    monkeypatch.setenv("CROWDJAX_DATA", str(tmp_path))
    tasks = dict(binary.against_the_rest("dog", 0.1))
    assert list(tasks) == ["dog: 0", "dog: 1", "dog: 2"]
    for crowd in tasks.values():
        assert (crowd.truth == -1).sum() == 1 and (crowd.label.sum(), len(crowd.label)) == (16, 48)
        known = crowd.truth >= 0
        assert (peers.shares(crowd).argmax(1) == crowd.truth)[known].all()
    few = binary.some(tasks["dog: 1"], 2, rng())
    assert len(np.unique(few.labeler)) == 2 and len(few.label) == 24 and len(few.truth) == 12
