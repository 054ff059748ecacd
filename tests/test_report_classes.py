"""Pages of fits of any number of classes: they say what tables and counts say, in the user's words, at any size."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.stats
from pages import Parsed

from crowdjax import plots, report
from crowdjax.report import svg
from crowdjax.report.fit import checks_in_order, verdict
from crowdjax.result import Tally

ANIMALS = ["cat", "dog", "fox", "wolf"]
ODD = ["<script>alert(1)</script>", '" onload="alert(1)', "$\\frac{1}{0$", "שלום", "x" * 300]


def simulated(classes, values=None, *, n_instances=120, n_labelers=14, n_each=5, seed=0, ids=lambda w: f"labeler {w}"):
    """Record, tables and tally of labels by labelers with confusion matrices of their own; answers by counting.

    The posterior is that of the labelers' true matrices, the tables hold the Beta posteriors of its counts.
    """
    rng, values = np.random.default_rng(seed), classes if values is None else values
    k, n_values = len(classes), len(values)
    shares = rng.dirichlet(np.full(k, 2.0))
    skill = rng.uniform(0.35, 0.95, n_labelers)
    matrix = rng.dirichlet(np.full(n_values, 0.5), (n_labelers, k)) * (1 - skill[:, None, None])
    matrix[:, range(k), range(k)] += skill[:, None]
    truth = rng.choice(k, n_instances, p=shares)
    who = np.argsort(rng.random((n_instances, n_labelers)), 1)[:, :n_each]
    votes, log_p = np.zeros((n_instances, n_values)), np.tile(np.log(shares), (n_instances, 1))
    label = np.zeros_like(who)
    for j, w in np.ndindex(who.shape):
        label[j, w] = rng.choice(n_values, p=matrix[who[j, w], truth[j]])
        votes[j, label[j, w]] += 1
        log_p[j] += np.log(matrix[who[j, w], :, label[j, w]] + 1e-9)
    p = np.exp(log_p - log_p.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    agreement = np.zeros((n_labelers, k, n_values))
    for j, w in np.ndindex(who.shape):
        agreement[who[j, w], :, label[j, w]] += p[j]
    code, names = p.argmax(1), np.array([ids(w) for w in range(n_labelers)])
    instances = {"instance": [f"q{j:03}" for j in range(n_instances)], "label": [classes[c] for c in code]}
    instances |= {"confidence": p.max(1)} | {f"p_{c}": p[:, i] for i, c in enumerate(classes)}
    right, n = agreement[:, range(k), range(k)].sum(1), agreement.sum((1, 2))
    people = {"labeler": names, "n_labels": np.bincount(who.ravel(), minlength=n_labelers)}
    people |= intervals(1 + right, 1 + n - right, "accuracy")
    rows = 1 + agreement
    long = pd.MultiIndex.from_product([names, classes, values], names=["labeler", "truth", "label"]).to_frame(
        index=False
    )
    long = long.assign(**intervals(rows.ravel(), (rows.sum(2, keepdims=True) - rows).ravel(), "probability"))
    tables = {"instances": pa.table(instances), "labelers": pa.table(people), "confusion": pa.Table.from_pandas(long)}
    record = {
        **{"model": "dawid-skene", "classes": list(classes), "values": None if values is classes else list(values)},
        **{"kind": "nominal", "class_shares": p.mean(0).tolist(), "objective": -812.5, "log_likelihood": -800.25},
        **{"converged": True, "result": "converged", "n_iterations": 21, "n_labels": who.size, "seconds": 0.4},
        **{"n_labelers": n_labelers, "n_instances": n_instances, "settings": {"class_prior": "learn"}, "level": 0.95},
        **{"warnings": [], "columns": {"labels": {"labeler": "worker", "instance": "task", "label": "answer"}}},
    }
    history = np.append(-812.5 - 200 * 0.5 ** np.arange(21), np.full(9, np.nan))
    return record, tables, Tally(votes, agreement, 1), history


def intervals(a, b, name):
    found = scipy.stats.beta(a, b)
    return {name: a / (a + b), "lower": found.ppf(0.025), "upper": found.ppf(0.975)}


def parsed(made) -> Parsed:
    return Parsed(report.render(report.of_classes(*made)))


@pytest.fixture(scope="module")
def made():
    return simulated(ANIMALS)


@pytest.fixture(scope="module")
def page(made) -> Parsed:
    return parsed(made)


# What it says


def test_a_page_stands_alone_and_begins_with_the_warnings(made):
    record, *rest = made
    found = parsed((record | {"warnings": ["Few labels on foxes."]}, *rest))
    first = [found.words(item) for item in found.all("li") if "care" in (item.get("class") or "")]
    assert first[0] == "careThe fit warnsFew labels on foxes."
    assert found.references() == found.handlers() == []
    assert [found.words(h) for h in found.all("h2")][:3] == ["Before you trust it", "What was fitted", "The classes"]
    titles = {drawn.get("aria-label") for drawn in found.all("svg")}
    assert {"Confusion matrix of all labels together", "Confusion matrices of labelers"} < titles


def test_what_the_classes_are_is_no_reason_to_doubt_a_fit(made):
    record, *rest = made
    asked = lambda found: [item for item in found.all("li") if "care" in (item.get("class") or "")]  # noqa: E731
    plain, told = (parsed((record | {"warnings": notes}, *rest)) for notes in ([], ["Classes: 'ant' (9 labels)."]))
    assert len(asked(told)) == len(asked(plain))
    assert "How the labels were readClasses: 'ant' (9 labels)." in [told.words(item)[4:] for item in told.all("li")]
    checks = [report.Check("good", "All labelers are connected", "")]
    assert verdict(checks_in_order(["Classes: 'ant'.", "Labels are 1, 2; the truth is 1."], checks)).startswith("No")
    assert not verdict(checks_in_order(["The fit did not converge."], checks)).startswith("No check")


def test_shares_are_those_of_the_answers_and_of_the_votes(made, page):
    record, tables, tally, _ = made
    rows = page.table("Classes")
    label = pd.Series(tables["instances"]["label"].to_pylist())
    assert [row["class"] for row in rows] == ANIMALS
    for k, row in enumerate(rows):
        assert int(row["instances"]) == (label == ANIMALS[k]).sum()
        assert float(row["share="]) == pytest.approx(record["class_shares"][k], rel=1e-5)
        assert float(row["share of votes="]) == pytest.approx(tally.votes[:, k].sum() / tally.votes.sum(), rel=1e-5)


def test_the_confusion_of_the_crowd_is_the_tally_s(made, page):
    counts = made[2].agreement.sum(0)
    for k, row in enumerate(page.table("Confusion of the crowd")):
        assert row["truth"] == ANIMALS[k] and float(row["labels="]) == pytest.approx(counts[k].sum(), abs=0.051)
        shown = [float(row[f"{name}="]) for name in ANIMALS]
        np.testing.assert_allclose(shown, counts[k] / counts[k].sum(), rtol=1e-5)
    wrong = counts / counts.sum(1, keepdims=True) * (1 - np.eye(4))
    truth, label = np.unravel_index(wrong.argmax(), wrong.shape)
    assert f"{wrong.max():.0%} say “{ANIMALS[label]}” where the truth is “{ANIMALS[truth]}”" in page.words(page.root)


def test_the_confusion_of_each_labeler_is_the_table_s(made, page):
    table = made[1]["confusion"].to_pandas().set_index(["labeler", "truth", "label"])
    rows = page.table("Confusion of the labelers")
    assert len(rows) == 14 * 4
    for row in rows:
        for name in ANIMALS:
            cell = table.loc[(row["labeler"], row["truth"], name)]
            assert float(row[f"{name}="]) == pytest.approx(cell["probability"], rel=1e-5)
        right = table.loc[(row["labeler"], row["truth"], row["truth"])]
        assert row["right, 95%"] == "{:.2f} ({:.2f} to {:.2f})".format(*right)


def test_labelers_are_the_table_s_and_few_labels_are_called_nothing(made):
    record, tables, *rest = made
    n = tables["labelers"].num_rows
    people = tables["labelers"].append_column("kind", pa.array(["ordinary"] * (n - 1) + ["spammer"]))
    few = pa.array([3] + people["n_labels"].to_pylist()[1:])
    people = people.set_column(1, "n_labels", few)
    rows = parsed((record, tables | {"labelers": people}, *rest)).table("Labelers")
    called = {row["labeler"]: row["called"] for row in rows}
    assert rows[0]["called"] == "spammer" and called["labeler 0"] == "few labels" and called["labeler 1"] == "ordinary"
    accuracy = dict(zip(people["labeler"].to_pylist(), people["accuracy"].to_pylist(), strict=True))
    assert {row["labeler"]: float(row["accuracy="]) for row in rows} == pytest.approx(accuracy, rel=1e-5)


def test_instances_begin_with_the_most_doubtful_and_have_their_votes(made, page):
    _, tables, tally, _ = made
    answers = tables["instances"].to_pandas().set_index("instance")
    votes = pd.DataFrame(tally.votes, answers.index, ANIMALS)
    rows = page.table("Instances")
    assert len(rows) == 120
    assert (np.diff([float(row["confidence="]) for row in rows]) >= -1e-3).all()
    for row in rows:
        answer, of = answers.loc[row["instance"]], votes.loc[row["instance"]]
        assert row["class"] == answer["label"]
        for name in ANIMALS:
            assert float(row[f"p_{name}="]) == pytest.approx(answer[f"p_{name}"], rel=1e-5, abs=1e-12)
        said = dict(part.split() for part in row["votes"].split(", "))
        assert {name: float(n) for name, n in said.items()} == of[of > 0].to_dict()
        assert (row["remark"] == "against the votes") == (of[answer["label"]] < of.max())


def test_labels_may_say_more_than_the_truth_can_be():
    record, tables, tally, history = simulated(ANIMALS, [*ANIMALS, "not sure"])
    found = parsed((record, tables, tally, history))
    nothing = {name: pa.array(np.full(14, np.nan)) for name in ("accuracy", "lower", "upper")}
    people = pa.table({name: tables["labelers"][name] for name in ("labeler", "n_labels")} | nothing)
    without = parsed((record, tables | {"labelers": people}, tally, history))
    assert set(without.table("Labelers")[0]) == {"labeler", "labels", "labeler=", "labels="}
    assert "Labels are not the classes" in without.words(without.root)
    assert [row["label"] for row in found.table("Values of labels")] == [*ANIMALS, "not sure"]
    shares = {row["truth"]: float(row["not sure="]) for row in found.table("Confusion of the crowd")}
    counts = tally.agreement.sum(0)
    assert shares == pytest.approx(dict(zip(ANIMALS, counts[:, 4] / counts.sum(1), strict=True)), rel=1e-5)


def test_two_classes_have_a_page_whose_table_gives_the_positive_one():
    record, tables, *rest = simulated(["no", "yes"])
    answers = (
        tables["instances"].drop_columns(["p_no"]).rename_columns(["instance", "label", "confidence", "probability"])
    )
    rows = parsed((record, tables | {"instances": answers}, *rest)).table("Instances")
    for row in rows:
        assert float(row["p_no="]) + float(row["p_yes="]) == pytest.approx(1, abs=1e-5)
        assert float(row[f"p_{row['class']}="]) == pytest.approx(float(row["confidence="]), rel=1e-5)


def test_classes_of_any_kind_are_harmless_and_numbers_are_classes(made):
    found = parsed(simulated(ODD, ids=lambda w: f"<img src=x onerror=alert({w})>"))
    assert len(found.all("script")) == 1 and found.all("img") == []
    assert [row["class"] for row in found.table("Classes")] == [*ODD[:-1], "x" * 119 + "…"]
    assert {row["class"] for row in found.table("Instances")} <= {
        *ODD[1:-1],
        "<script>alert(1)</scrip…",
        "x" * 23 + "…",
    }
    assert [row["class"] for row in parsed(simulated([1, 2, 30])).table("Classes")] == ["1", "2", "30"]


@pytest.mark.parametrize("n", [10, 11, 50])
def test_up_to_ten_classes_are_shown_whole(n):
    record, tables, tally, history = simulated([f"c{k}" for k in range(n)], n_instances=100, n_labelers=20)
    found = parsed((record, tables, tally, history))
    rows = found.table("Confusion of the crowd")
    assert len(rows) == 10 and ("the rest" in rows[0]) == (n > 10)
    assert ("Shown are the 10 most frequent of" in found.words(found.root)) == (n > 10)
    largest = np.sort(np.argsort(-np.array(record["class_shares"]), kind="stable")[:10])
    assert [row["truth"] for row in rows] == [f"c{k}" for k in largest]
    for row in rows:
        cells = [float(v) for name, v in row.items() if name.endswith("=") and name[:-1] not in ("truth", "labels")]
        assert sum(cells) == pytest.approx(1, abs=1e-4)
    assert len(found.table("Classes")) == n


def test_a_page_of_a_thousand_classes_is_small():
    k, n, w, rng = 1000, 20_000, 20, np.random.default_rng(0)
    classes, code = [f"species {c}" for c in range(k)], rng.integers(0, k, n)
    answers = {"instance": np.arange(n), "label": np.array(classes)[code], "confidence": rng.random(n)}
    answers |= {"class_1": answers["label"], "p_1": np.full(n, 0.6), "class_2": np.full(n, "species 7")}
    answers |= {"p_2": np.full(n, 0.25)}
    people = {"labeler": np.arange(w), "n_labels": rng.integers(1, 400, w)}
    people |= dict(zip(("accuracy", "lower", "upper"), np.sort(rng.random((3, w)), 0)[[1, 0, 2]], strict=True))
    cells = {name: np.repeat(v, 2) for name, v in (("labeler", np.repeat(np.arange(w), k)), ("truth", classes * w))}
    cells |= {"label": classes * 2 * w, "probability": rng.random(2 * k * w)}
    cells |= {"lower": np.full(2 * k * w, np.nan), "upper": np.full(2 * k * w, np.nan)}
    votes = np.zeros((n, k))
    votes[np.arange(n), code] = 3
    record = simulated(ANIMALS)[0] | {"classes": classes, "class_shares": np.full(k, 1 / k).tolist()}
    tables = {name: pa.table(v) for name, v in (("instances", answers), ("labelers", people), ("confusion", cells))}
    text = report.render(
        report.of_classes(record, tables, Tally(votes, rng.random((w, k, k)), 1), np.array([-2.0, -1]))
    )
    assert len(text.encode()) < 2e6
    found = Parsed(text)
    assert "The 100 most frequent of 1,000 classes" in found.words(found.root)
    assert {row["other classes"] for row in found.table("Instances") if row["class"] != "species 7"} == {
        "species 7 0.25"
    }
    assert len(found.table("Instances")) == 300 and len(found.table("Confusion of the labelers")) == 200


def test_class_shares_far_from_the_votes_ask_for_care(made):
    record, *rest = made
    checks = report.of_classes(record | {"class_shares": [0.0, 0.0, 0.0, 1.0]}, *rest).sections[0].blocks[-1].checks
    (found,) = [check for check in checks if "class shares" in check.title]
    assert found.status == "care" and "“wolf” differs most: 100.0% of the instances" in found.text


def test_every_model_is_told_in_words():
    from crowdjax.report.classes import model_in_words

    models = (
        "majority",
        "one-coin",
        "biased-coin",
        "class-skill",
        "dawid-skene",
        "glad",
        "factor",
        "integrated",
        "auto",
    )
    told = [model_in_words({"model": model, "kind": "nominal"}) for model in (*models, "ordinal", "exchangeable")]
    assert len(set(told)) == 11 and not any("one's own; its settings" in said or "positive" in said for _, said in told)
    assert "in an order" in model_in_words({"model": "integrated", "kind": "ordinal"})[1]


# What it draws


def test_a_table_of_confusion_is_drawn_as_its_matrices(made):
    table = made[1]["confusion"]
    matrix = table["probability"].to_numpy().reshape(14, 4, 4)
    for kind in (table, table.to_pandas(), table.to_pydict()):
        (ax,) = plots.confusion(kind, ANIMALS).axes
        titles = [text.get_text() for text in ax.texts if text.get_fontweight() == "bold"]
        assert titles == [f"labeler {w}" for w in range(12)]
        for tile, expected in zip(ax.collections, matrix[:12], strict=True):
            np.testing.assert_allclose(tile.get_array().reshape(4, 4), expected)
    alone = plots.confusion(matrix[0], ANIMALS).axes[0]
    assert [t.get_text() for t in alone.get_yticklabels()] == ANIMALS
    assert [float(t.get_text()) for t in alone.texts] == pytest.approx(matrix[0].ravel(), abs=0.0051)
    large = plots.confusion(np.full((200, 200), np.nan), range(200)).axes[0]
    assert len(large.texts) == 0 and len(large.get_yticks()) <= plots.NUMBERED


def test_cells_are_seen_by_dark_and_by_light():
    drawn = svg.inline(plots.as_svg(plots.confusion(np.eye(3), ["a", "<b>", "$c$"]), "m"), "m", "matrix")
    assert "var(--c0)" in drawn and "<image" not in drawn and "&lt;b&gt;" in drawn and "<b>" not in drawn
