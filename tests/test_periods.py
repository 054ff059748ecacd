"""Prevalence by period and group, its changes, and labelers who drift."""

import datetime

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

import crowdjax
from crowdjax.contextual import Cells, ContextualConfig, prepare_data
from crowdjax.contextual.expansion import expand
from crowdjax.contextual.model import block_values, coefficients_of, n_scales, shapes_of, size_of
from crowdjax.labels import InputError, Labels

SIMPLE = dict(prevalence="linear", accuracy="constant", labelers="global", inference="laplace")


def crowd(rates, n=300, n_labelers=6, per_item=3, seed=0, specificity=lambda week, who: 0.93):
    """Labels, scores with a week, and truths; labelers' specificity may change by the week."""
    rng = np.random.default_rng(seed)
    week = np.repeat(np.arange(len(rates)), n)
    score = rng.random(len(week))
    truth = rng.random(len(week)) < np.asarray(rates)[week] * 2 * score
    instance = np.repeat(np.arange(len(week)), per_item)
    labeler = np.concatenate([rng.permutation(n_labelers)[:per_item] for _ in week])
    right = np.where(truth[instance], 0.85, specificity(week[instance], labeler))
    label = (rng.random(len(instance)) < right) == truth[instance]
    return (
        {"labeler": labeler, "instance": instance, "label": label.astype(int)},
        {"instance": np.arange(len(week)), "score": score, "week": week},
        truth,
    )


@pytest.mark.parametrize(("labelers", "drift"), [("global", False), ("offset", False), ("offset", True)])
def test_the_expansion_with_cells_is_automatic_differentiations(x64, labelers, drift):
    rng = np.random.default_rng(0)
    n, cells = 60, Cells(3, 2)
    labeler = np.concatenate([rng.choice(4, 3, replace=False) for _ in range(n)])
    labels = Labels.from_arrays(labeler, np.repeat(np.arange(n), 3), rng.integers(0, 2, 3 * n), n_labelers=4)
    config = ContextualConfig("linear", "constant", labelers=labelers, cells=cells, drift=drift)
    cell = cells.of(rng.integers(0, 3, n), rng.integers(0, 2, n))
    data = prepare_data(config, labels, rng.random((n, 1)).round(1) * 2 - 1, cell=cell)
    k = n_scales(shapes_of(config, data))
    u = jnp.asarray(0.6 * rng.standard_normal(size_of(config, data)))
    y = coefficients_of(config, data, u[:k], u[k:])
    of = jax.jit(lambda y: block_values(config, data, u[:k], y).sum())
    at = jax.jit(lambda y: expand(config, data, u[:k], y))(y)
    np.testing.assert_allclose(at.values.sum(), of(y), rtol=1e-12)
    np.testing.assert_allclose(at.slope, jax.jit(jax.grad(of))(y), atol=1e-10)
    np.testing.assert_allclose(at.information, -jax.jit(jax.hessian(of))(y), atol=1e-9)


def test_shifts_are_a_walk_and_groups_and_centred(x64):
    """By hand: h_t - h_{t-1} is the step times its scale; groups differ by theirs; nothing is left on average."""
    cells = Cells(4, 2)
    rng = np.random.default_rng(0)
    scale, weights = np.array([0.5, 2.0, 0.0]), rng.standard_normal(3 + 2 + 6)
    shift = np.asarray(cells.shift(jnp.asarray(scale), jnp.asarray(weights))).reshape(4, 2)
    np.testing.assert_allclose(np.diff(shift, axis=0), 0.5 * np.repeat(weights[:3, None], 2, 1), atol=1e-12)
    np.testing.assert_allclose(shift[0, 1] - shift[0, 0], 2 * (weights[4] - weights[3]), atol=1e-12)
    assert abs(shift.mean()) < 1e-12
    assert Cells(1, 1).parts == ()


@pytest.fixture(scope="module")
def weekly():
    labels, scores, truth = crowd([0.1, 0.1, 0.3])
    return crowdjax.context(labels, scores, time="week", **SIMPLE), truth.reshape(3, -1).mean(1)


def test_weeks_are_found_and_their_change(weekly):
    result, rates = weekly
    found, changes = result.tables["prevalence"].to_pandas(), result.tables["changes"].to_pandas()
    assert found["time"].tolist() == [0, 1, 2] and found["n_items"].tolist() == [300] * 3
    assert ((found["lower"] < rates) & (rates < found["upper"])).all()
    assert changes[["from", "to"]].to_numpy().tolist() == [[0, 1], [1, 2]]
    assert changes["p_increase"][1] > 0.99 > changes["p_increase"][0] > 0.01
    assert changes["lower"][1] < rates[2] - rates[1] < changes["upper"][1]


def test_a_result_with_weeks_comes_back(weekly, tmp_path):
    result, _ = weekly
    result.save(tmp_path / "out")
    again = crowdjax.load(tmp_path / "out")
    assert again.fit.config == result.fit.config and again.record["time"] == "week"
    for name in ("prevalence", "changes"):
        assert again.tables[name].equals(result.tables[name])
    np.testing.assert_array_equal(again.cell, result.cell)


def test_predictions_of_the_labels_that_were_fitted_are_the_fit(weekly):
    result, _ = weekly
    labels, scores, _ = crowd([0.1, 0.1, 0.3])
    found = result.predict(labels, scores)
    gap = np.asarray(found.instances["probability"]) - np.asarray(result.instances["probability"])
    assert np.abs(gap).max() < 1e-5
    later = result.predict(labels, scores | {"week": np.full(900, 9)})
    assert any("900 of 900 instances are of a period" in w for w in later.warnings)
    with pytest.raises(InputError, match="week"):
        result.predict(labels, {k: v for k, v in scores.items() if k != "week"})


def test_a_population_has_weeks_of_its_own():
    """The population is the sample: so are its headline and its cells, which a mean over weeks alike would miss."""
    labels, scores, truth = crowd([0.1, 0.4], n=200)
    kept = np.arange(240)  # few of the second week
    use = np.isin(labels["instance"], kept)
    labels = {name: np.asarray(values)[use] for name, values in labels.items()}
    people = {name: np.asarray(scores[name])[kept] for name in ("score", "week")}
    alone = crowdjax.context(labels, scores, time="week", **SIMPLE)
    found = crowdjax.context(labels, scores, population=people, time="week", **SIMPLE)
    assert abs(found.prevalence["mean"] - alone.prevalence["mean"]) < 0.02
    assert found.prevalence["lower"] < truth[kept].mean() < found.prevalence["upper"]
    cells = found.tables["prevalence"].to_pandas()
    assert set(cells["of"]) == {"the population"}
    np.testing.assert_allclose(cells["mean"], alone.tables["prevalence"]["mean"].to_numpy(), atol=0.02)
    for change in (lambda p: {"score": p["score"]}, lambda p: p | {"week": p["week"] + 7}):
        with pytest.raises(InputError, match="week"):
            crowdjax.context(labels, scores, population=change(people), time="week", **SIMPLE)


def test_other_periods_are_no_start(weekly):
    labels, scores, _ = crowd([0.1, 0.1, 0.3])
    with pytest.raises(InputError, match="periods or groups"):
        crowdjax.context(labels, scores | {"week": 2 - scores["week"]}, time="week", start=weekly[0], **SIMPLE)


def test_draws_with_weeks_go_to_arviz(weekly):
    pytest.importorskip("arviz_base")
    result, _ = weekly
    labels, _, _ = crowd([0.1, 0.1, 0.3])
    tree = result.to_arviz(labels)
    assert tree["posterior"]["shift_weights"].dims == ("chain", "draw", "shift")
    assert abs(float(tree["posterior"]["prevalence"].mean()) - result.prevalence["mean"]) < 0.02
    assert tree["log_likelihood"]["labels"].shape[-1] == 900


def test_weeks_of_all_groups_together_come_last():
    labels, scores, _ = crowd([0.1, 0.4], n=60)
    scores["site"] = np.where(np.arange(120) % 3 == 0, "b", "a")
    result = crowdjax.context(labels, scores, time="week", group="site", **SIMPLE)
    found = result.tables["prevalence"].to_pandas()
    assert result.tables["prevalence"]["group"].to_pylist() == ["a", "b", None] * 2
    assert found["n_items"].tolist() == [40, 20, 60] * 2
    assert (found["mean"][2] - found["mean"][0]) * (found["mean"][2] - found["mean"][1]) <= 0
    assert result.tables["changes"]["group"].to_pylist() == ["a", "b", None]


@pytest.mark.slow
def test_groups_lean_on_each_other():
    """A group of ten instances lies between its own share of positive labels and the others'."""
    labels, scores, _ = crowd([0.3, 0.3, 0.3], n=100)
    scores["site"] = np.where(np.arange(300) < 290, "main", "new")
    last = np.isin(labels["instance"], np.arange(290, 300))
    labels["label"] = np.where(last, 1, labels["label"])
    found = crowdjax.context(labels, scores, group="site", **SIMPLE).tables["prevalence"].to_pandas()
    assert found["group"].tolist() == ["main", "new"] and found["n_items"].tolist() == [290, 10]
    assert found["mean"][0] < found["mean"][1] < 1
    assert found["upper"][1] - found["lower"][1] > 2 * (found["upper"][0] - found["lower"][0])


@pytest.mark.slow
def test_a_labeler_who_gets_worse_is_named():
    def specificity(week, who):
        return np.where((who == 0) & (week == 2), 0.6, 0.95)

    labels, scores, _ = crowd([0.2, 0.2, 0.2], n=400, specificity=specificity)
    result = crowdjax.context(labels, scores, time="week", **SIMPLE | {"labelers": "offset"})
    table = result.tables["labelers_by_period"].to_pandas()
    last = table[(table["time"] == 2)].set_index("labeler")
    assert last["specificity_p_fell"].idxmax() == 0 and last["specificity_p_fell"][0] > 0.95
    assert (last["specificity_p_fell"].drop(0) < 0.95).all()
    assert last["specificity_upper"][0] < 0.8 and (last["specificity"].drop(0) > 0.85).all()
    assert any(w.startswith("Labeler 0 got worse in 2") for w in result.warnings)


@pytest.mark.parametrize("kind", ["dates", "text", "numbers"])
def test_periods_of_any_kind_are_in_order(kind):
    _, scores, _ = crowd([0.2, 0.2], n=40)
    days = [datetime.date(2026, 1, 5), datetime.date(2026, 1, 12)]
    of = {"dates": days[::-1], "text": ["week 2", "week 1"], "numbers": [2.5, 1.5]}[kind]
    scores = pd.DataFrame(scores | {"when": [of[w] for w in scores.pop("week")]})
    named = crowdjax.facade.periods.read(crowdjax.io.open_as("scores", scores), np.arange(80), "when", None)
    assert named.times == sorted(of) and named.cell[:40].tolist() == [1] * 40


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s: s | {"week": np.zeros(80)}, "throughout; allowed: two values or more"),
        (lambda s: s | {"week": [None, *[1] * 79]}, "a value for every instance"),
        (lambda s: s | {"week": [np.inf, *[1.0] * 79]}, "a value for every instance"),
        (lambda s: s | {"week": [[1], [2]] * 40}, "numbers, dates or text"),
        (lambda s: {k: v for k, v in s.items() if k != "week"}, "week"),
    ],
)
def test_bad_periods_are_refused(change, words):
    labels, scores, _ = crowd([0.2, 0.2], n=40)
    with pytest.raises(InputError, match=words):
        crowdjax.context(labels, change(scores), time="week", **SIMPLE)
