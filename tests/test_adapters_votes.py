"""Weighted votes, KOS and MACE: crowd-kit's answers to the last digit, whatever the labels are, and refusals."""

from __future__ import annotations

import warnings

import crowdkit.aggregation as crowdkit
import jax
import numpy as np
import pandas as pd
import pytest
import sklearn.base
from crowdkit.aggregation.classification import gold_majority_vote, wawa, zero_based_skill

from crowdjax import adapters, simulate_classes
from crowdjax.labels import InputError

CLASSES = np.array(["cat", "cow", "dog", "hen"])


@pytest.fixture(autouse=True)
def new_scikit_learn(monkeypatch):
    """crowd-kit 1.4 asks scikit-learn whether it is fitted, in a way that scikit-learn 1.7 refuses."""
    for module in (gold_majority_vote, wawa, zero_based_skill):
        monkeypatch.setattr(module, "check_is_fitted", lambda *a, **k: None)


def frame_of(crowd, classes) -> pd.DataFrame:
    """Rows by task, then worker, so that first rows are in the order of ids: where not, crowd-kit's MACE mixes up
    workers and labels."""
    columns = {"task": crowd.instance, "worker": crowd.labeler, "label": crowd.label}
    frame = pd.DataFrame({name: np.asarray(column) for name, column in columns.items()})
    return frame.sort_values(["worker", "label"]).assign(label=lambda f: classes[f["label"]]).reset_index(drop=True)


@pytest.fixture(scope="module")
def crowd():
    return jax.jit(lambda key: simulate_classes.nominal(key, 15, 120, per_instance=5))(jax.random.key(2))


@pytest.fixture(scope="module")
def frame(crowd) -> pd.DataFrame:
    return frame_of(crowd, CLASSES)


@pytest.fixture(scope="module")
def two() -> pd.DataFrame:
    crowd = jax.jit(lambda key: simulate_classes.nominal(key, 15, 120, 2, per_instance=5))(jax.random.key(0))
    return frame_of(crowd, np.array(["no", "yes"]))


def theirs(model, *given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit_predict(*given)
    return model


def same(ours: pd.DataFrame, other: pd.DataFrame, **kwargs):
    pd.testing.assert_frame_equal(ours, other[ours.columns], check_names=False, check_column_type=False, **kwargs)


@pytest.mark.parametrize("name", ["Wawa", "ZeroBasedSkill"])
def test_weighted_votes_are_crowd_kits(frame, name):
    count = np.sort(adapters.MajorityVote().fit(frame).probas_, axis=1)
    tied = frame["task"].unique()[
        count[:, -1] == count[:, -2]
    ]  # what crowd-kit makes of a tie is up to the rows' order
    rows = frame[~frame["task"].isin(tied)].sample(frac=1, random_state=0)
    ours, other = getattr(adapters, name)().fit(rows), theirs(getattr(crowdkit, name)(), rows)
    pd.testing.assert_series_equal(ours.labels_, other.labels_, check_dtype=False)
    same(ours.probas_, other.probas_, atol=1e-6)
    pd.testing.assert_series_equal(ours.skills_, other.skills_.reindex(ours.skills_.index), atol=1e-6)
    assert ours.labels_.name == "agg_label" and ours.skills_.name == "skill"


def test_mmsr_is_crowd_kits():
    crowd = jax.jit(lambda key: simulate_classes.nominal(key, 15, 200, ability=(3.0, 0.5), per_instance=9))(
        jax.random.key(2)
    )
    rows = frame_of(crowd, CLASSES).sample(frac=1, random_state=0)
    ours, other = adapters.MMSR().fit(rows), theirs(crowdkit.MMSR(), rows)
    pd.testing.assert_series_equal(ours.skills_, other.skills_, atol=1e-6)
    assert (ours.skills_ > 0).all()  # else crowd-kit may divide by a sum of weights below 0
    pd.testing.assert_series_equal(ours.labels_, other.labels_, check_dtype=False)
    same(ours.scores_, other.scores_, atol=1e-6)
    np.testing.assert_allclose(ours.loss_history_, other.loss_history_, atol=1e-8)


def test_the_majority_of_several_classes_is_crowd_kits(frame):
    ours, other = adapters.MajorityVote().fit(frame), theirs(crowdkit.MajorityVote(), frame)
    same(ours.probas_.sort_index(), other.probas_.sort_index())
    top = np.sort(ours.probas_, axis=1)
    untied = top[:, -1] > top[:, -2]
    assert (ours.labels_ == other.labels_.reindex(ours.labels_.index))[untied].all()
    tied = ours.probas_[~untied]
    assert untied.mean() < 1 and (ours.labels_[~untied] == tied.idxmax(axis=1)).all()  # of a tie the least


def test_gold_votes_are_crowd_kits(frame, crowd):
    truth = pd.Series(CLASSES[np.asarray(crowd.truth)]).iloc[:60]
    ours, other = adapters.GoldMajorityVote(), crowdkit.GoldMajorityVote()
    found = ours.fit_predict(frame, truth)
    theirs(other, frame, truth)
    pd.testing.assert_series_equal(found, other.labels_, check_dtype=False)
    same(ours.probas_, other.probas_)
    pd.testing.assert_series_equal(ours.skills_.sort_index(), other.skills_.sort_index())


def test_kos_is_crowd_kits(two):
    rows = two.sort_values(
        "label", ascending=False, kind="stable"
    )  # +1 is the label of the first row, ours the greater
    pd.testing.assert_series_equal(
        adapters.KOS(20).fit_predict(rows), theirs(crowdkit.KOS(20), rows).labels_, check_dtype=False
    )


@pytest.mark.parametrize("method", ["vb", "em"])
def test_mace_is_crowd_kits(frame, method):
    ours, other = adapters.MACE(1, 15, method).fit(frame), theirs(crowdkit.MACE(1, 15, method), frame)
    assert list(frame["worker"].unique()) == sorted(set(frame["worker"]))
    assert list(frame["label"].unique()) == list(ours.classes_)
    same(ours.probas_, other.probas_, atol=1e-6)
    np.testing.assert_allclose(ours.spamming_, other.spamming_, atol=1e-6)
    np.testing.assert_allclose(ours.thetas_, other.thetas_, atol=1e-6)
    assert ours.labels_.index.equals(other.labels_.index) and (ours.labels_ == other.labels_).all()


def test_maces_answers_are_those_of_any_order_of_rows(frame):
    ours = adapters.MACE(n_restarts=4).fit_predict(frame)
    other = adapters.MACE(n_restarts=4).fit_predict(frame.sample(frac=1, random_state=1))
    assert (ours == other[ours.index]).mean() > 0.97  # the starts are others


def test_mmsr_counts_a_liar_against_his_labels(two):
    said = two["label"].mask(two["worker"] < 3, two["label"].map({"no": "yes", "yes": "no"}))
    skills = adapters.MMSR().fit(two).skills_
    turned = adapters.MMSR().fit(two.assign(label=said)).skills_
    expected = skills.where(skills.index >= 3, -skills)
    pd.testing.assert_series_equal(turned, expected, atol=1e-6)


def test_one_labels_tasks_of_other_frames(frame, crowd):
    truth = pd.Series(CLASSES[np.asarray(crowd.truth)])
    first, rest = frame[frame["task"] < 60], frame[frame["task"] >= 60]
    for model, given in ((adapters.Wawa(), ()), (adapters.GoldMajorityVote(), (truth,))):
        found = model.fit(first, *given).predict(rest)
        assert found.index.min() == 60 and (found == truth[found.index]).mean() > 0.8
        assert model.labels_ is found and model.probas_.shape == (60, 4)  # as in crowd-kit
    found = adapters.MajorityVote().fit(first).predict_proba(rest)
    assert list(found.columns) == list(CLASSES)


def test_everybody_wrong_is_still_answered():
    frame = pd.DataFrame({"task": [1, 1, 2, 2, 3], "worker": list("abcdc"), "label": list("xyxyz")})
    gold = pd.Series({1: "z", 2: "z", 3: "z"})  # a and b are right nowhere
    found = adapters.GoldMajorityVote().fit_predict_proba(frame, gold)
    assert found.loc[1].tolist() == [0.5, 0.5, 0.0] and found.loc[2].tolist() == [1.0, 0.0, 0.0]


@pytest.mark.parametrize("values", [[3, 1, 2, 7], [0.5, 1.5, 2.5, 3.5], list("dcba"), pd.to_datetime(range(4))])
@pytest.mark.parametrize("name", ["MajorityVote", "Wawa", "MACE"])
def test_labels_of_any_kind_give_the_same_answers(frame, name, values):
    model = getattr(adapters, name)
    values = pd.Index(values)
    other = frame.assign(label=values.sort_values()[np.searchsorted(CLASSES, frame["label"])])
    found = model().fit_predict(other)
    assert found.dtype == other["label"].dtype
    expected = np.searchsorted(CLASSES, model().fit_predict(frame))
    np.testing.assert_array_equal(found, values.sort_values()[expected])


def test_mistakes_are_refused_in_one_line(frame, two):
    mistakes = [
        (lambda: adapters.KOS().fit(frame), "4 values.*allowed with KOS: two"),
        (lambda: adapters.MACE(method="gibbs").fit(frame), "got 'gibbs'; allowed: vb, em"),
        (lambda: adapters.Wawa().predict(frame), "Wawa: not fitted"),
        (lambda: adapters.Wawa().fit(frame).predict(frame.assign(worker="new")), "none for labeler new"),
        (lambda: adapters.Wawa().fit(frame).predict(two), "'no', 'yes'; allowed: 'cat'"),
        (lambda: adapters.GoldMajorityVote().fit(frame, pd.Series({-1: "cat"})), "none is of an instance in data"),
        (lambda: adapters.GoldMajorityVote().fit(frame, ["cat"]), "true_labels: got list"),
        (lambda: adapters.GoldMajorityVote().fit_predict(frame, pd.Series({0: "cat"})), "none for labeler"),
        (lambda: adapters.ZeroBasedSkill().set_params(steps=3), "got steps; allowed: n_iter"),
    ]
    for mistake, part in mistakes:
        with pytest.raises(InputError, match=part):
            mistake()


def test_scikit_learn_clones_them():
    for name in ("KOS", "MACE", "MMSR", "GoldMajorityVote", "MajorityVote", "Wawa", "ZeroBasedSkill"):
        model = getattr(adapters, name)()
        assert repr(sklearn.base.clone(model)) == repr(model)
        given = {field: value for field, value in vars(getattr(crowdkit, name)()).items() if not field.startswith("_")}
        assert set(given) <= set(model.get_params()) | {"smoothing"}
