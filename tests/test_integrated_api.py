"""``model="integrated"`` and ``"auto"``: tables, the record's facts, fallbacks and their reasons, saving."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pandas as pd
import pytest

import crowdjax
from crowdjax import contextual, integrated
from crowdjax.integrated import crowd_of
from crowdjax.labels import Labels


def crowd(n_labelers=40, n_instances=60, per_instance=8, seed=0, offset=0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels by labelers right with chances .6 to .95, and the truth; ids are offset, so that crowds can be joined."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, n_instances)
    ability = np.linspace(0.6, 0.95, n_labelers)
    rows = []
    for j in range(n_instances):
        for i in rng.choice(n_labelers, min(per_instance, n_labelers), replace=False):
            right = rng.random() < ability[i]
            rows.append((f"w{i + offset:03d}", f"q{j + offset:03d}", int(truth[j] if right else 1 - truth[j])))
    ids = [f"q{j + offset:03d}" for j in range(n_instances)]
    return pd.DataFrame(rows, columns=["labeler", "instance", "label"]), pd.DataFrame({"instance": ids, "label": truth})


TABLE, TRUTH = crowd()


@pytest.fixture(scope="module")
def result():
    return crowdjax.fit(TABLE, "auto")


def reason(result, words: str) -> bool:
    return any(words in sentence for sentence in result.warnings)


def test_the_answers_are_tables_by_id(result):
    assert list(result.instances) == ["instance", "label", "confidence", "probability", "depends"]
    measures = ("informedness", "sensitivity", "specificity")
    intervals = [f"{name}{end}" for name in measures for end in ("", "_lower", "_upper")]
    assert list(result.labelers) == ["labeler", "n_labels", "accuracy", "lower", "upper", "kind", *intervals]
    assert (result.instances["label"].to_numpy() == TRUTH["label"]).mean() >= 0.9
    lower, mean, upper = (result.labelers[f"sensitivity{e}"].to_numpy() for e in ("_lower", "", "_upper"))
    assert (lower < mean).all() and (mean < upper).all()


def test_the_record_says_where_the_classes_meet(result):
    boundary, positives = result.record["boundary"], result.record["positives"]
    assert boundary["choice"] == "able" and result.record["model"] == "auto"
    assert boundary["share_depending"] == result.instances["depends"].to_numpy().mean()
    assert 0 <= positives["lower"] < positives["mean"] < positives["upper"] <= 1
    assert positives["lower"] <= TRUTH["label"].mean() <= positives["upper"]


def test_auto_is_the_integrated_model_where_nothing_stands_against_it(result):
    same = crowdjax.fit(TABLE, "integrated")
    np.testing.assert_array_equal(result.instances["probability"], same.instances["probability"])


def test_a_saved_result_is_the_result(result, tmp_path):
    result.save(tmp_path / "out")
    loaded = crowdjax.load(tmp_path / "out")
    assert loaded.tables == result.tables
    np.testing.assert_array_equal(loaded.boundary.points, result.boundary.points)
    a, b = (r.predict(TABLE).instances["probability"].to_numpy() for r in (result, loaded))
    np.testing.assert_array_equal(a, b)
    record = json.loads((tmp_path / "out" / "fit.json").read_text())
    assert record["boundary"]["choice"] == "able"


def test_the_labels_of_the_fit_get_its_answers_back(result):
    np.testing.assert_allclose(
        result.predict(TABLE).instances["probability"], result.instances["probability"], atol=1e-6
    )


def test_unseen_labelers_are_average_and_said_to_be(result):
    found = result.predict({"labeler": ["new"] * 2, "instance": ["a", "b"], "label": [1, 0]})
    assert list(found.instances["label"]) == [1, 0]
    assert reason(found, "1 of 1 labelers are not in the fit")


def test_gold_places_the_boundary_and_is_kept():
    gold = TRUTH.head(12)
    found = crowdjax.fit(TABLE, "auto", gold=gold)
    assert found.record["boundary"]["choice"] == "gold"
    assert found.instances["probability"].to_list()[:12] == gold["label"].to_list()
    assert not found.instances["depends"].to_numpy()[:12].any()


def test_two_labelers_are_judged_by_dawid_and_skenes_model():
    table, _ = crowd(n_labelers=2, n_instances=40)
    found = crowdjax.fit(table, "auto")
    assert found.record["config"]["spread"] == 0 and found.record["boundary"]["choice"] == "gap"
    assert reason(found, "2 labelers are too few") and found.record["average"] is None


def test_of_few_labelers_the_clusters_say_where_the_classes_meet(tmp_path):
    table, truth = crowd(n_labelers=4, n_instances=80)
    found = crowdjax.fit(table, "auto")
    assert found.record["boundary"]["choice"] == "gap"
    average = found.record["average"]  # of instances that are equally clear, and of instances that are not
    assert {m["spread"] > 0 for m in average["members"]} == {False, True}
    assert {m["boundary"] for m in average["members"]} == {"gap"} and average["votes"] == pytest.approx(0.1)
    assert sum(m["weight"] for m in average["members"]) + average["votes"] == pytest.approx(1)
    found.save(tmp_path / "out")
    again = crowdjax.load(tmp_path / "out").predict(table)
    np.testing.assert_allclose(again.instances["probability"], found.instances["probability"], atol=1e-6)
    majority = (table.groupby("instance")["label"].mean() > 0.5).to_numpy()
    right = lambda label: (label == truth["label"].to_numpy()).mean()  # noqa: E731
    assert right(found.instances["label"].to_numpy()) >= right(majority)


def test_one_label_an_instance_is_its_answer():
    table, _ = crowd(per_instance=1)
    found = crowdjax.fit(table, "auto")
    assert not found.record["config"]["hierarchy"] and reason(found, "1.00 labels per instance")
    labels = table.set_index("instance")["label"].loc[found.instances["instance"].to_list()]
    np.testing.assert_array_equal(found.instances["label"], labels)


def test_separate_crowds_are_said_to_be():
    table = pd.concat([TABLE, crowd(seed=1, offset=500)[0]])
    assert reason(crowdjax.fit(table, "auto"), "fall into 2 connected components")


def test_a_chain_of_labelers_is_one_crowd():
    n = 200
    labeler, instance = np.r_[0:n, 1 : n + 1], np.r_[0:n, 0:n]
    assert (crowd_of(labeler, instance, n + 1, n) == 0).all()
    cut = crowd_of(*(np.delete(v, 77) for v in (labeler, instance)), n + 1, n)
    assert cut.tolist() == [1] * 78 + [0] * 123


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"boundary": "middle"}, "boundary: got 'middle'; allowed: able, gap, unweighted, gold, score"),
        ({"boundary": "gold"}, "boundary: got 'gold' without gold labels"),
        ({"class_prior": "logistic"}, "class_prior: got 'logistic' with the integrated model"),
        ({"model": "one-coin", "boundary": "gap"}, "boundary: got 'gap' with model one-coin; allowed with integrated"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(crowdjax.InputError, match=message):
        crowdjax.fit(TABLE, **{"model": "auto", **settings})


def test_every_interval_holds_95_percent_and_the_record_says_so():
    """A wider level gives a wider interval of the same draws; the table's is that of 95 %."""
    result = crowdjax.fit(TABLE, "auto", posterior="laplace")
    people = result.tables["labelers"]
    assert result.record["level"] == result.record["positives"]["level"] == 0.95
    assert result.record["posterior"] == {"method": "laplace", "doubt": 0.2}
    at = lambda level: integrated.of_labelers(result.fit, result.config, result.boundary, level=level).informedness  # noqa: E731
    np.testing.assert_allclose(people["informedness_lower"].to_numpy(), at(0.95).lower, atol=1e-6)
    assert (at(0.95).lower < at(0.5).lower).all()
    signature = inspect.signature
    public = (contextual.functions, contextual.calibrate, contextual.labeler_table, contextual.band)
    assert {signature(f).parameters["level"].default for f in public} == {0.95}


def test_no_number_of_labelers_is_a_jump():
    able = []
    for n in range(3, 45):
        w, j = np.divmod(np.arange(3 * n), 3)
        able.append(integrated.plan(Labels.from_arrays(w, j, (w + j) % 2)).able)
    assert able[0] == 0 and able[-1] == 1 and (np.diff(able) >= 0).all() and np.diff(able).max() <= 0.05


def test_a_class_prior_or_a_boundary_that_is_given_is_kept():
    table, _ = crowd(n_labelers=8)
    assert crowdjax.fit(table).record["average"] is not None
    for given in ({"class_prior": 0.5}, {"class_prior": "learn"}, {"boundary": "able"}):
        assert crowdjax.fit(table, **given).record["average"] is None, given


def coins(seed, n=250, n_labelers=8, per_instance=4, share=0.35):
    """Labelers with two accuracies each, and instances that are all equally clear."""
    rng = np.random.default_rng(seed)
    truth, right = rng.random(n) < share, rng.uniform(0.65, 0.9, (n_labelers, 2))
    who = rng.random((n, n_labelers)).argsort(1)[:, :per_instance]
    label = np.where(rng.random(who.shape) < right[who, truth[:, None].astype(int)], truth[:, None], ~truth[:, None])
    table = {"labeler": who.ravel(), "instance": np.repeat(np.arange(n), per_instance), "label": label.ravel() * 1}
    return pd.DataFrame(table), truth, right @ [1 - truth.mean(), truth.mean()]


def test_where_nothing_lies_between_the_classes_labelers_are_as_good_as_they_are(tmp_path):
    """The integrated model alone calls them .05 worse than they are, and leaves the class prior at one half."""
    error, gains = [], []
    for seed in range(4):
        table, truth, accuracy = coins(seed)
        found = crowdjax.fit(table)
        members = found.record["average"]["members"]
        clear = sum(m["weight"] for m in members if m["spread"] == 0)
        assert 0.2 < clear <= 0.45 + 1e-6 and sum(m["weight"] for m in members) == pytest.approx(0.9)
        error.append(found.labelers["accuracy"].to_numpy() - accuracy[found.labelers["labeler"].to_numpy()])
        p = found.instances["probability"].to_numpy()[np.argsort(found.instances["instance"].to_numpy())]
        alone = crowdjax.fit(table, boundary="gap").instances
        alone = alone["probability"].to_numpy()[np.argsort(alone["instance"].to_numpy())]
        nll = lambda p, truth=truth: -np.log(np.where(truth, p, 1 - p)).mean()  # noqa: E731
        gains.append(nll(alone) - nll(p))
    assert abs(np.mean(error)) < 0.02 and np.mean(gains) > 0.02
    found.save(tmp_path / "out")
    again = crowdjax.load(tmp_path / "out")
    np.testing.assert_allclose(again.predict(table).instances["probability"], p_of(found), atol=1e-6)
    assert again.record["average"] == found.record["average"]
    on = crowdjax.fit(table, start=again)  # ρ of .7 or .9: the evidence is the same to .02
    assert on.record["objective"] >= found.record["objective"] - 1e-3
    weights = [[m["weight"] for m in r.record["average"]["members"] if m["spread"] == 0] for r in (on, found)]
    np.testing.assert_allclose(*weights, atol=5e-3)


def p_of(result):
    return result.instances["probability"].to_numpy()
