"""Estimators of several classes: crowd-kit's answers where it has converged, its manners, and a notebook for it."""

from __future__ import annotations

import warnings
from pathlib import Path

import crowdkit.aggregation as crowdkit
import jax
import numpy as np
import pandas as pd
import pytest
from scipy import special, stats

from crowdjax import adapters, simulate_classes
from crowdjax.labels import InputError

CLASSES = np.array(["cat", "cow", "dog", "hen"])
NOTEBOOK = Path(__file__).parent / "fixtures/notebook_crowdkit.py"


def frame_of(crowd) -> pd.DataFrame:
    columns = {"task": crowd.instance, "worker": crowd.labeler, "label": CLASSES[np.asarray(crowd.label)]}
    return pd.DataFrame({name: np.asarray(column) for name, column in columns.items()}).sample(frac=1, random_state=0)


@pytest.fixture(scope="module")
def crowd():
    return jax.jit(lambda key: simulate_classes.nominal(key, 15, 120, per_instance=5))(jax.random.key(2))


@pytest.fixture(scope="module")
def frame(crowd) -> pd.DataFrame:
    return frame_of(crowd)


@pytest.fixture(scope="module")
def fitted(frame) -> adapters.DawidSkene:
    return adapters.DawidSkene(300).fit(frame)


@pytest.fixture(scope="module")
def glad(frame) -> adapters.GLAD:
    return adapters.GLAD(300).fit(frame)


@pytest.fixture(scope="module")
def crowd_kits(frame) -> crowdkit.DawidSkene:
    return theirs(crowdkit.DawidSkene(n_iter=1000, tol=0), frame)


def theirs(model, *given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(*given)


def evidence(frame, errors: pd.DataFrame, priors: pd.Series) -> float:
    """log p(labels), in NumPy."""
    each = np.log(errors.loc[list(zip(frame["worker"], frame["label"], strict=True)), list(CLASSES)].to_numpy())
    h = pd.DataFrame(each).groupby(frame["task"].to_numpy()).sum() + np.log(priors[list(CLASSES)].to_numpy())
    return special.logsumexp(h, axis=1).sum()


@pytest.mark.parametrize("name", ["DawidSkene", "OneCoinDawidSkene"])
def test_answers_are_crowd_kits_at_its_end(frame, fitted, crowd_kits, name):
    ours, other = fitted, crowd_kits
    if name == "OneCoinDawidSkene":
        ours = adapters.OneCoinDawidSkene(300).fit(frame)
        other = theirs(crowdkit.OneCoinDawidSkene(n_iter=1000, tol=0), frame)
    assert ours.labels_.index.equals(other.labels_.index) and ours.labels_.name == other.labels_.name
    assert (ours.labels_ == other.labels_).mean() >= 0.99
    assert abs(ours.probas_ - other.probas_[ours.probas_.columns]).max(axis=None) < 0.05  # ours have weak priors
    pd.testing.assert_series_equal(ours.priors_, other.priors_[ours.priors_.index], atol=0.01)
    given = other.errors_.index
    assert abs(ours.errors_.loc[given] - other.errors_[ours.errors_.columns]).max(axis=None) < 0.15
    if name == "OneCoinDawidSkene":
        pd.testing.assert_series_equal(ours.skills_, other.skills_[ours.skills_.index], atol=0.02)
    assert np.diff(ours.loss_history_).min() > -1e-6


def test_what_dawid_and_skene_climb_is_nowhere_higher_for_crowd_kit(frame, fitted, crowd_kits):
    """Our objective has 1e-5 pseudo-counts of each label and one of each class."""

    def objective(model, errors):
        errors = errors.clip(1e-10)
        priors = model.priors_[list(CLASSES)]
        smooth = 1e-5 * np.log(errors).to_numpy().sum() + np.log(priors).sum()
        return evidence(frame, errors, priors) + smooth

    of_all = crowd_kits.errors_.reindex(fitted.errors_.index, fill_value=0)[list(CLASSES)]
    assert objective(fitted, fitted.errors_) >= objective(crowd_kits, of_all) - 1e-3
    best = evidence(frame, of_all.clip(1e-10), crowd_kits.priors_)
    assert evidence(frame, fitted.errors_, fitted.priors_) > best - 0.1


@pytest.mark.slow
def test_glad_is_crowd_kits_with_a_higher_density(frame, glad):
    other = theirs(crowdkit.GLAD(n_iter=50, tol=-1), frame)
    assert (glad.labels_ == other.labels_).mean() >= 0.99 and glad.labels_.index.equals(other.labels_.index)
    pd.testing.assert_series_equal(glad.alphas_, other.alphas_.reindex(glad.alphas_.index), atol=0.02)
    pd.testing.assert_series_equal(glad.betas_, other.betas_.reindex(glad.betas_.index), atol=0.05)
    assert density(frame, glad) >= density(frame, other) - 1e-3


def density(frame, model) -> float:
    """log p(labels, α, b) of GLAD, in NumPy: classes alike, α and b ~ N(1, 1)."""
    score = model.alphas_[frame["worker"]].to_numpy() * np.exp(model.betas_[frame["task"]].to_numpy())
    right = frame["label"].to_numpy()[:, None] == CLASSES
    each = np.where(right, special.log_expit(score)[:, None], special.log_expit(-score)[:, None] - np.log(3))
    h = pd.DataFrame(each).groupby(frame["task"].to_numpy()).sum() - np.log(4)
    priors = sum(stats.norm.logpdf(values, 1, 1).sum() for values in (model.alphas_, model.betas_))
    return special.logsumexp(h, axis=1).sum() + priors


def test_the_density_of_glad_is_what_its_history_ends_at(frame, glad):
    constant = (len(glad.alphas_) + len(glad.betas_)) * stats.norm.logpdf(0)
    assert glad.loss_history_[-1] * len(frame) == pytest.approx(density(frame, glad) - constant, abs=0.05)


def test_chances_add_up(frame, fitted, glad):
    for model in (fitted, glad):
        np.testing.assert_allclose(model.probas_.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(model.errors_.groupby("worker").sum(), 1, atol=1e-5)
        assert list(model.classes_) == list(CLASSES) and list(model.probas_.columns) == list(CLASSES)
        row, column = model.probas_.index.get_indexer(frame["task"]), np.searchsorted(CLASSES, frame["label"])
        p = model.probas_.to_numpy()[row, column]
        expected = pd.Series(p, frame["worker"].to_numpy()).groupby(level=0).mean()
        np.testing.assert_allclose(model.skills_.sort_index(), expected, atol=1e-6)


def test_known_truths_stay(frame, fitted):
    doubtful = fitted.probas_.max(axis=1).idxmin()
    found = adapters.DawidSkene(300).fit(frame, pd.Series({doubtful: "hen", -5: "cat"}))
    assert found.labels_[doubtful] == "hen" and found.probas_.loc[doubtful, "hen"] == pytest.approx(1)


def test_what_was_fitted_predicts_other_tasks(frame, fitted, glad):
    for model in (fitted, glad):
        again = model.predict_proba(frame)
        tolerance = 1e-4 if model is fitted else 1.0  # GLAD has no difficulty of a task that it is not fitted to
        np.testing.assert_allclose(again, model.probas_.loc[again.index], atol=tolerance)
        best = model.skills_.nlargest(3).index
        new = pd.DataFrame({"task": ["a"] * 4, "worker": [*best, "nobody"], "label": ["dog", "dog", "dog", "cat"]})
        assert model.predict(new).to_dict() == {"a": "dog"}
        assert model.labels_ is not again


def test_matrices_to_start_from(frame, fitted):
    model = adapters.DawidSkene(300, initial_error_strategy="assign")
    again = model.fit(frame, initial_error=fitted.errors_)
    assert len(again.loss_history_) <= len(fitted.loss_history_) and (again.labels_ == fitted.labels_).all()
    turned = fitted.errors_[list(CLASSES[[1, 0, 2, 3]])].set_axis(CLASSES, axis=1)
    names = dict(zip(CLASSES, CLASSES[[1, 0, 2, 3]], strict=True))
    swapped = model.fit_predict(frame, initial_error=turned)  # a maximum with two classes' names exchanged
    assert (swapped.map(names) == fitted.labels_).mean() > 0.98
    model = adapters.DawidSkene(300, initial_error_strategy="addition")
    some = 20 * fitted.errors_.loc[[0, 1, 2]]
    assert (model.fit_predict(frame, initial_error=some) == fitted.labels_).mean() > 0.95


def test_mistakes_are_refused_in_one_line(frame, fitted):
    start = adapters.DawidSkene(initial_error_strategy="assign")
    mistakes = [
        (lambda: adapters.DawidSkene().fit(frame, initial_error=fitted.errors_), "got None with initial_error"),
        (lambda: start.fit(frame, initial_error=fitted.errors_.reset_index()), "a MultiIndex"),
        (lambda: start.fit(frame, initial_error=fitted.errors_.iloc[:8]), "initial_error: none of labeler"),
        (lambda: start.fit(frame, initial_error=-fitted.errors_), "a number below 0"),
        (lambda: fitted.predict(frame.assign(label="elk")), "'elk'; allowed: 'cat', 'cow'"),
        (lambda: adapters.GLAD(labels_priors=pd.Series({"cat": 1.0})).fit(frame), "labels_priors: allowed"),
        (
            lambda: adapters.GLAD(alphas_priors_mean=pd.Series({0: 2.0})).fit(frame),
            "alphas_priors_mean: cannot be set; allowed: None",
        ),
        (lambda: adapters.GLAD().predict(frame), "GLAD: not fitted"),
    ]
    for mistake, part in mistakes:
        with pytest.raises(InputError, match=part):
            mistake()


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [adapters.Aggregator("dawid-skene"), adapters.Aggregator("one-coin"), adapters.Factor(1)]
)
def test_the_other_models_take_several_classes(frame, fitted, model):
    model.fit(frame)
    assert (model.labels_ == fitted.labels_).mean() > 0.8
    assert model.errors_.index.equals(fitted.errors_.index) and list(model.skills_.index) == list(fitted.skills_.index)
    np.testing.assert_allclose(model.errors_.groupby("worker").sum(), 1, atol=1e-4)
    again = model.predict_proba(frame)
    assert (again.idxmax(axis=1) == model.labels_[again.index]).mean() > 0.95


def test_the_priors_of_two_classes_move_answers():
    frame = pd.DataFrame({"task": [1, 1, 2, 2], "worker": list("abab"), "label": ["no", "yes", "yes", "no"]})
    prior = pd.Series({"yes": 0.8, "no": 0.2})
    assert adapters.GLAD(labels_priors=prior).fit(frame).probas_["yes"].to_numpy() == pytest.approx(0.8, abs=1e-3)


def run(source: str) -> dict:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        space: dict = {}
        exec(compile(source, str(NOTEBOOK), "exec"), space)
    return space


def test_a_notebook_written_for_crowd_kit_runs_with_one_line_changed():
    source = NOTEBOOK.read_text()
    changed = source.replace("from crowdkit.aggregation import", "from crowdjax.adapters import")
    lines = [(a, b) for a, b in zip(source.splitlines(), changed.splitlines(), strict=True) if a != b]
    assert len(lines) == 1
    theirs, ours = run(source), run(changed)
    assert ours["DawidSkene"].__module__.startswith("crowdjax")
    pd.testing.assert_index_equal(ours["answers"].index, theirs["answers"].index)
    agree = (ours["answers"] == theirs["answers"]).mean()
    assert (agree[["DS", "1C", "GLAD", "MACE"]] >= 0.98).all() and agree["MV"] > 0.9  # ties are up to the rows' order
    assert (abs(ours["accuracy"] - theirs["accuracy"]) < 0.03).all() and ours["accuracy"].min() > 0.8
    assert ours["goats_for_sheep"] == pytest.approx(theirs["goats_for_sheep"], abs=0.1)
    assert ours["prior"] == pytest.approx(theirs["prior"], abs=0.01)
    assert (ours["best"], ours["worst"]) == (theirs["best"], theirs["worst"])
    assert ours["converged"] and ours["hardest"] in theirs["glad"].betas_.nsmallest(10).index
    truth = ours["truth"].iloc[:20]
    assert (ours["known"].loc[truth.index].idxmax(axis=1) == truth).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["DawidSkene", "OneCoinDawidSkene"])
@pytest.mark.parametrize("kind", ["benign", "confuse"])
def test_a_larger_crowd_gets_crowd_kits_answers(name, kind):
    crowd = jax.jit(lambda key: simulate_classes.nominal(key, **simulate_classes.CROWDS[kind]))(jax.random.key(5))
    frame = frame_of(crowd)
    ours = getattr(adapters, name)(1000, 1e-8).fit(frame)
    other = theirs(getattr(crowdkit, name)(n_iter=1000, tol=0), frame)
    assert (ours.labels_ == other.labels_).mean() >= 0.99
    less = 0.1 if name == "DawidSkene" else 3.0  # skills of one coin have a prior
    assert evidence(frame, ours.errors_, ours.priors_) > evidence(frame, other.errors_, other.priors_) - less
