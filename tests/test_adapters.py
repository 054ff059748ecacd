"""The adapters: what crowd-kit's users get by changing one import, scikit-learn's manners, and refusals in one line."""

from __future__ import annotations

import warnings

import crowdkit.aggregation as crowdkit
import numpy as np
import pandas as pd
import pytest
import sklearn.base

from crowdjax import adapters
from crowdjax.labels import InputError

W, I = 6, 40


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """Six workers, right with chances .65 to .95, on forty tasks in no order; labels are words."""
    rng = np.random.default_rng(3)
    truth = rng.random(I) < 0.4
    task, worker = np.divmod(rng.permutation(W * I), W)
    said = truth[task] ^ (rng.random(W * I) > np.linspace(0.65, 0.95, W)[worker])
    return pd.DataFrame(
        {"worker": [f"w{i}" for i in worker], "task": task * 10, "label": np.where(said, "ship", "boat"), "n": 1}
    )


@pytest.fixture(scope="module")
def fitted(frame) -> adapters.DawidSkene:
    return adapters.DawidSkene().fit(frame)


def theirs(model, frame: pd.DataFrame, *args):
    """A model of crowd-kit, fitted."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(frame, *args)


def same_rows(ours, other) -> bool:
    return ours.index.equals(other.index) and ours.index.name == other.index.name and ours.dtype == other.dtype


def test_the_majority_vote_is_crowd_kits(frame):
    ours, other = adapters.MajorityVote().fit(frame), theirs(crowdkit.MajorityVote(), frame)
    assert same_rows(ours.labels_, other.labels_) and ours.labels_.name == other.labels_.name
    pd.testing.assert_frame_equal(ours.probas_, other.probas_[ours.probas_.columns])
    untied = ours.probas_["ship"] != 0.5
    assert (ours.labels_ == other.labels_)[untied].all() and (ours.labels_[~untied] == "boat").all()
    skills = pd.Series(np.linspace(0.1, 0.9, W), [f"w{i}" for i in range(W)])
    ours, other = ours.fit(frame, skills), theirs(crowdkit.MajorityVote(), frame, skills)
    pd.testing.assert_frame_equal(ours.probas_.sort_index(), other.probas_.sort_index()[ours.probas_.columns])
    pd.testing.assert_series_equal(ours.skills_.sort_index(), other.skills_.sort_index())


def test_dawid_skene_is_crowd_kits(frame, fitted):
    other = theirs(crowdkit.DawidSkene(n_iter=200, tol=1e-9), frame)
    assert same_rows(fitted.labels_, other.labels_) and fitted.labels_.name == other.labels_.name
    assert (fitted.labels_ == other.labels_).mean() >= 0.95
    assert (
        fitted.probas_.index.equals(other.probas_.index) and fitted.probas_.columns.name == other.probas_.columns.name
    )
    assert fitted.errors_.index.names == other.errors_.index.names
    errors = other.errors_.reindex(fitted.errors_.index)[fitted.errors_.columns]
    assert abs(fitted.errors_ - errors).max(axis=None) < 0.12  # ours have a prior
    pd.testing.assert_series_equal(fitted.priors_, other.priors_[fitted.priors_.index], atol=0.03)


def test_chances_add_up(fitted):
    np.testing.assert_allclose(fitted.probas_.sum(axis=1), 1)
    np.testing.assert_allclose(fitted.errors_.groupby("worker").sum(), 1)
    assert list(fitted.skills_.sort_values().index[[0, -1]]) == ["w0", "w5"]


@pytest.mark.parametrize("values", [[0, 1], [False, True], [-2.5, 7.0], ["ja", "nein"], ["nein", "ja"]])
def test_any_two_values_give_the_same_answers(frame, fitted, values):
    other = frame.assign(label=pd.Series(np.array(values)[(frame["label"] == "ship").astype(int)]))
    found = adapters.DawidSkene().fit_predict(other)
    assert found.dtype == other["label"].dtype
    np.testing.assert_array_equal(found == values[1], fitted.labels_ == "ship")


def test_what_was_fitted_predicts_other_tasks(frame, fitted):
    before = fitted.labels_
    new = pd.DataFrame({"task": ["a", "a", "b"], "worker": ["w5", "nobody", "w0"], "label": ["ship", "ship", "boat"]})
    p = fitted.predict_proba(new)["ship"]
    assert p["a"] > 0.8 and 0.2 < p["b"] < 0.5
    assert fitted.labels_ is before and list(p.index) == ["a", "b"]
    assert adapters.MajorityVote().fit(frame).predict(new).to_dict() == {"a": "ship", "b": "boat"}


@pytest.mark.slow
def test_known_truths_stay(frame, fitted):
    doubtful = (fitted.probas_["ship"] - 0.5).abs().idxmin()
    for truth in ("ship", "boat"):
        found = adapters.DawidSkene().fit_predict(frame, pd.Series({doubtful: truth}))
        assert found[doubtful] == truth


def test_scikit_learn_clones_and_sets(frame, fitted):
    again = sklearn.base.clone(fitted)
    assert again is not fitted and again.get_params() == fitted.get_params() and not hasattr(again, "labels_")
    pd.testing.assert_frame_equal(again.fit_predict_proba(frame), fitted.probas_)
    model = sklearn.base.clone(adapters.Aggregator("factor", factors=2))
    assert model.set_params(factors=3, seed=5) is model
    assert model.get_params() == adapters.Aggregator("factor", factors=3, seed=5).get_params()
    for name in adapters.__all__:
        model = getattr(adapters, name)()
        assert repr(sklearn.base.clone(model)) == repr(model)


BAD = {
    "list": (lambda f: [1, 2], ["got list", "pandas DataFrame"]),
    "column": (lambda f: f.drop(columns="worker"), ["'worker'", "task, worker and label"]),
    "empty": (lambda f: f.head(0), ["no rows"]),
    "missing": (lambda f: f.assign(worker=[None, *f["worker"][1:]]), ["'worker'", "row 1"]),
    "one": (lambda f: f.assign(label=1), ["1 value (1)", "two or more"]),
    "twice": (lambda f: pd.concat([f, f[["label"]]], axis=1), ["more than one column 'label'"]),
    "unhashable": (lambda f: f.assign(task=[[1]] * len(f)), ["column 'task'", "a list", "text, numbers"]),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_no_such_frame_is_refused_in_one_line(frame, case):
    spoil, parts = BAD[case]
    for model in (adapters.MajorityVote(), adapters.Auto()):
        with pytest.raises(InputError) as error:
            model.fit(spoil(frame))
        assert all(part in str(error.value) for part in parts) and "\n" not in str(error.value)
        assert not hasattr(model, "labels_")


def test_other_mistakes_are_refused(frame, fitted):
    vote, some = adapters.MajorityVote(), pd.Series({"w1": 1.0})
    one = frame.head(1).assign(worker="w0", label="boat")
    mistakes = [
        (lambda: vote.fit(frame, some), "none for labeler"),
        (lambda: adapters.MajorityVote(on_missing_skill="value").fit(frame, some), "default_skill: got None"),
        (
            lambda: adapters.MajorityVote(on_missing_skill="ignore").fit(pd.concat([frame, one.assign(task=-1)]), some),
            "-1",
        ),
        (lambda: adapters.MajorityVote(on_missing_skill="drop").fit(frame, some), "got 'drop'; allowed: error, ignore"),
        (lambda: vote.fit(frame, [1.0]), "skills: got list"),
        (lambda: vote.fit(frame, pd.concat([some, some])), "names one twice"),
        (lambda: vote.fit(frame, -some), "got -1.0; allowed: finite, 0 or more"),
        (lambda: vote.fit(frame, some.astype(str).replace("1.0", "good")), "none for labeler"),
        (lambda: adapters.Auto().fit(frame, ["ship"]), "true_labels: got list"),
        (lambda: adapters.GLAD().predict(frame), "GLAD: not fitted"),
        (lambda: adapters.Auto().set_params(factors=2), "got factors; allowed: boundary"),
        (lambda: fitted.predict(frame.assign(label="raft")), "'raft'; allowed: 'boat', 'ship'"),
        (lambda: adapters.Auto().fit(frame, pd.Series({10: "raft"})), "true_labels: got 'raft'"),
        (lambda: adapters.Aggregator("dawid").fit(frame), "'dawid'"),
    ]
    for mistake, part in mistakes:
        with pytest.raises(InputError, match=part):
            mistake()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "set_", "least"),
    [
        ("MajorityVote", "sp_amt", 1.0),
        ("DawidSkene", "sp_amt", 1.0),
        ("DawidSkene", "zencrowd", 0.98),
        ("OneCoinDawidSkene", "d_possent", 0.995),
        ("OneCoinDawidSkene", "duchenne", 0.98),
        ("GLAD", "bluebirds", 0.98),
    ],
)
def test_real_sets_get_crowd_kits_answers(data_dir, name, set_, least):
    labels = pd.read_csv(data_dir / set_ / "labels.csv", dtype={"labeler": str, "instance": str})
    frame = labels.rename(columns={"labeler": "worker", "instance": "task"})
    ours, other = getattr(adapters, name)().fit(frame), getattr(crowdkit, name)()
    if name != "MajorityVote":
        other.n_iter = 100
    other = theirs(other, frame)
    assert same_rows(ours.labels_, other.labels_) and ours.labels_.name == other.labels_.name
    assert set(ours.probas_.columns) == set(other.probas_.columns)
    untied = (ours.probas_[1] - 0.5).abs() > 1e-5
    assert (ours.labels_ == other.labels_)[untied].mean() >= least
    for attribute in ("skills_", "alphas_"):
        if hasattr(other, attribute):
            found, expected = getattr(ours, attribute), getattr(other, attribute)
            assert found.name == expected.name and found.index.name == expected.index.name
            assert np.corrcoef(found, expected.reindex(found.index))[0, 1] > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("model", [adapters.Auto(), adapters.Factor(2), adapters.GLAD(), adapters.Aggregator()])
def test_the_other_models_answer_as_well(frame, fitted, model):
    assert (model.fit_predict(frame)[fitted.labels_.index] == fitted.labels_).mean() >= 0.9
    assert list(model.skills_.index) == list(fitted.skills_.index)
