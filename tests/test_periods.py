"""Prevalence by period and group, its changes, and labelers who drift."""

import datetime
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pages import Parsed
from scipy import stats
from scipy.special import expit, logit

import crowdjax
from crowdjax import facade, plots, report
from crowdjax.cli import common
from crowdjax.contextual import Cells, ContextualConfig, assisted, changes, function_draws, prepare_data
from crowdjax.contextual.assisted import Assisted, Sample
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
    drawn = {path.stem for path in (tmp_path / "out" / "figures").iterdir()}
    assert {"prevalence_over_time", "changes_over_time", "calibration_over_time"} < drawn
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


def test_parts_add_up_and_are_kitagawas():
    """Against every M(a, b) of a dense table of π(x, t) by loops."""
    rng = np.random.default_rng(0)
    n_draws, n_periods, n = 4, 5, 60
    period, weight = rng.permutation(np.arange(n) % n_periods), rng.uniform(0.5, 3, n)
    pi = rng.random((n_draws, n, n_periods))
    at = np.empty((n_draws, n_periods, n_periods))  # M(a, b)
    for a in range(n_periods):
        for b in range(n_periods):
            here = period == a
            at[:, a, b] = (pi[:, here, b] * weight[here]).sum(1) / weight[here].sum()
    k = np.arange(n_periods)
    found = changes.parts(at[:, k, k], at[:, k, k - 1], at[:, k, (k + 1) % n_periods])
    for t in range(1, n_periods):
        mix = np.mean([at[:, t, b] - at[:, t - 1, b] for b in (t - 1, t)], 0)
        meaning = np.mean([at[:, a, t] - at[:, a, t - 1] for a in (t - 1, t)], 0)
        np.testing.assert_allclose(found.by_scores[:, t - 1], mix, atol=1e-14)
        np.testing.assert_allclose(found.by_calibration[:, t - 1], meaning, atol=1e-14)
    np.testing.assert_allclose(sum(found), np.diff(at[:, k, k], axis=1), atol=1e-14)


def test_a_fits_parts_are_those_of_its_functions(weekly):
    """r(x) + h_t by hand, from the prevalence function of the mean week and the walk's steps, over a population."""
    fit = weekly[0].fit
    rng = np.random.default_rng(1)
    week, x, count = np.arange(50) % 3, rng.random(50), rng.integers(1, 9, 50)
    steps = np.c_[np.zeros(fit.n_draws), fit.draws["shift_scale"] * fit.draws["shift_weights"]]
    walk = steps.cumsum(1) - steps.cumsum(1).mean(1, keepdims=True)
    np.testing.assert_allclose(changes.shift_draws(fit), walk, atol=1e-5)
    r = logit(np.asarray(function_draws(fit, x).prevalence, np.float64))
    pi = expit(r[:, None] + walk[:, :, None])
    found = changes.sums(fit, x, week, 3, [week, (week + 1) % 3, np.full(50, -1)], count)
    for t in range(3):
        here = week == t
        expected = [pi[:, t], pi[:, (t + 1) % 3], expit(r)]
        np.testing.assert_allclose(
            found.positives[:, :, t] / found.weight[:, None, t],
            np.stack([(p[:, here] * count[here]).sum(1) / count[here].sum() for p in expected], 1),
            atol=1e-5,
        )


def drifting(mix, shift, n=300, seed=0):
    """A crowd whose scores move by ``mix`` and mean more by ``shift`` (of the logit) from week to week, and the parts
    of each change, of its true chances."""
    rng = np.random.default_rng(seed)
    week = np.repeat(np.arange(3), n)
    score = rng.beta(1 + mix * week, 2)
    chance = lambda x, t: expit(-2 + 4 * x + shift * t)  # noqa: E731
    truth = rng.random(3 * n) < chance(score, week)
    instance = np.repeat(np.arange(3 * n), 3)
    labeler = np.concatenate([rng.permutation(6)[:3] for _ in week])
    label = (rng.random(9 * n) < np.where(truth[instance], 0.85, 0.93)) == truth[instance]
    m = lambda a, b: chance(score[week == a], b).mean()  # noqa: E731
    parts = [
        (m(t, t - 1) - m(t - 1, t - 1) + m(t, t) - m(t - 1, t), m(t - 1, t) - m(t - 1, t - 1) + m(t, t) - m(t, t - 1))
        for t in (1, 2)
    ]
    labels = {"labeler": labeler, "instance": instance, "label": label.astype(int)}
    return labels, {"instance": np.arange(3 * n), "score": score, "week": week}, np.array(parts).T / 2


@pytest.mark.slow
@pytest.mark.parametrize(("mix", "shift"), [(0.6, 0.0), (0.0, 0.7)])
def test_other_scores_and_another_calibration_are_told_apart(mix, shift):
    """Each part's interval holds its truth: the one that moves is seen to, the other is not."""
    labels, scores, parts = drifting(mix, shift)
    result = crowdjax.context(labels, scores, time="week", **SIMPLE)
    found = result.tables["changes"].to_pandas()
    np.testing.assert_allclose(found["by_scores"] + found["by_calibration"], found["difference"], atol=1e-12)
    moves, stays = ("by_calibration", "by_scores") if shift else ("by_scores", "by_calibration")
    for name, true in zip(("by_scores", "by_calibration"), parts, strict=True):
        assert ((found[f"{name}_lower"] < true) & (true < found[f"{name}_upper"])).all()
    assert (found[f"{moves}_lower"] > 0).all() and (found[f"{stays}_lower"] < 0).all()
    said = [w for w in result.warnings if "the same scores came to mean more positives" in w]
    assert len(said) == (2 if shift else 0)
    assert ((found["p_shifted"] > 0.95) == bool(shift)).all()
    odds = np.exp([shift, shift])
    assert ((found["odds_ratio_lower"] < odds) & (odds < found["odds_ratio_upper"])).all()


def test_drift_in_small_steps_is_said_once_of_its_end():
    odds = {f"odds_ratio{end}": [1, v, 2 * v, 1.5 * v] for end, v in (("", 1.2), ("_lower", 0.9), ("_upper", 1.6))}
    shares = {"time": [1, 2, 3, 4], "mean": [0.2, 0.22, 0.28, 0.25], "p_shifted": [0.0, 0.4, 0.99, 0.97]}
    weeks = pa.table(shares | odds | {"group": pa.nulls(4)})
    moves = pa.table({"from": [1, 2, 3], "to": [2, 3, 4], "group": pa.nulls(3), "p_shifted": [0.4, 0.8, 0.3]})
    (said,) = crowdjax.facade.periods.about_calibration(weeks, moves)
    assert said.startswith("Between 1 and 3 the same scores came to mean more positives")
    assert "of which 20.0% were positive 37.5% are now (31 to 44 %)" in said


def test_the_latest_week_is_said_where_somebody_is_looking(weekly, monkeypatch, capsys, tmp_path):
    result, _ = weekly
    monkeypatch.setattr(common, "at_a_terminal", lambda: True)
    common.tell(result, tmp_path)
    said = capsys.readouterr().out
    last = result.tables["prevalence"].to_pylist()[-1]
    assert f"latest period: 2: {100 * last['mean']:.3g} % (" in said
    assert "since 1, a rise with a probability above 0.99" in said and result.prevalence["headline"] in said


def test_weeks_have_a_section_of_the_report(weekly):
    result, _ = weekly
    parsed = Parsed(report.render(result.page()))
    titles = [svg.get("aria-label") for svg in parsed.all("svg")]
    assert {"Share of positives over time", "What the same score means, over time"} < set(titles)
    rows = parsed.table("Changes since")
    assert [row["period"] for row in rows] == ["2", "1"] and rows[0]["in a word"] == "rose"
    for row, expected in zip(rows, result.tables["changes"].to_pylist()[::-1], strict=True):
        for column, name in (("change=", "difference"), ("other scores=", "by_scores")):
            assert float(row[column]) == pytest.approx(100 * expected[name], abs=0.051)
    assert [row["instances"] for row in parsed.table("Share of positives of")] == ["300"] * 3


def test_names_of_many_periods_do_not_overlap():
    week = [f"2026-{1 + k // 28:02d}-{1 + k % 28:02d}" for k in range(300)]
    for n, n_panels in ((2, 1), (52, 1), (52, 6), (300, 2)):
        mean = np.linspace(0.1, 0.4, n)
        mean[n // 2] = np.nan
        panels = {f"site {k}": {"": (mean, mean - 0.05, mean + 0.05)} for k in range(n_panels)}
        figure = plots.over_time(week[:n], panels, "share")
        figure.canvas.draw()
        for ax in figure.axes[:n_panels]:
            boxes = [text.get_window_extent() for text in ax.get_xticklabels() if text.get_text()]
            assert ax.get_xticklabels()[-1].get_text() == week[n - 1] and len(boxes) >= 2
            assert all(a.x1 < b.x0 for a, b in itertools.pairwise(boxes))
            assert boxes[-1].x1 <= figure.bbox.x1 + 1


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
    titles = [svg.get("aria-label") for svg in Parsed(report.render(result.page())).all("svg")]
    assert [t for t in titles if "over time: " in t] == [
        f"Share of positives over time: {g}" for g in ("All groups", "a", "b")
    ]


@pytest.mark.slow
def test_groups_lean_on_each_other():
    """A group of ten instances lies between its own share of positive labels and the others'."""
    labels, scores, _ = crowd([0.3, 0.3, 0.3], n=100)
    scores["site"] = np.where(np.arange(300) < 290, "main", "new")
    last = np.isin(labels["instance"], np.arange(290, 300))
    labels["label"] = np.where(last, 1, labels["label"])
    result = crowdjax.context(labels, scores, group="site", **SIMPLE)
    found = result.tables["prevalence"].to_pandas()
    assert "changes" not in result.tables and len(result.headlines) == 1 and "prevalence_by_group" in result.figures()
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
    assert last["specificity_p_worse"][0] > 0.95 and (last["specificity_p_worse"].drop(0) < 0.95).all()
    assert last["specificity_upper"][0] < 0.8 and (last["specificity"].drop(0) > 0.85).all()
    assert any(w.startswith("Labeler 0 got worse in 2") for w in result.warnings)
    rows = Parsed(report.render(result.page())).table("Each labeler's")
    assert [row["labeler"] for row in rows if row["in a word"] == "got worse"] == ["0"] == [rows[0]["labeler"]]


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


# Periods by gold


def periods_of(rng, n_gold, levels, error=0.0, n=400):
    """A sample of each period, with gold at random; predictions err by the same in all, and each by its own noise."""
    out = []
    for g, level in zip(n_gold, levels, strict=True):
        x = rng.normal(level, 1.5, n)
        truth = (rng.random(n) < expit(x)).astype(float)
        gold = np.full(n, np.nan)
        rows = rng.choice(n, g, replace=False)
        gold[rows] = truth[rows]
        f = expit(x + error + rng.normal(size=n))
        out.append(Sample(gold, np.full(n, g / n), np.ones(n), f))
    return out


def rate_of(level):
    """The share of positives in the population of ``periods_of``, by quadrature."""
    x, w = np.polynomial.hermite_e.hermegauss(60)
    return float((w / w.sum()) @ expit(level + 1.5 * x))


@pytest.mark.parametrize("levels", [(-1.5, -1.5), (-1.5, -0.8)])
def test_changes_by_gold_hold_whatever_error_the_predictions_share(levels):
    """Each repeat has one error of the predictions in both periods: means, differences, and P(rise), which is uniform
    where nothing changed."""
    rng, n = np.random.default_rng(0), 1000
    rates = np.array([rate_of(level) for level in levels])
    found = []
    for _ in range(n):
        samples = periods_of(rng, (80, 140), levels, error=rng.normal())
        a, b = (assisted.estimates(sample)[1] for sample in samples)
        found.append((a, b, assisted.change(a, b)))
    noise = 3 * np.sqrt(0.95 * 0.05 / n)
    for k, rate in enumerate(rates):
        held = np.mean([e[k].lower <= rate <= e[k].upper for e in found])
        error = np.array([e[k].mean for e in found]) - rate
        assert 0.94 - noise < held < 0.97 + noise and abs(error.mean()) < 4 * error.std() / np.sqrt(n)
    change, changes_found = rates[1] - rates[0], [e[2] for e in found]
    difference = np.array([c.difference for c in changes_found])
    assert abs(difference.mean() - change) < 4 * difference.std() / np.sqrt(n)
    assert difference.var() == pytest.approx(np.mean([a.variance + b.variance for a, b, _ in found]), rel=0.15)
    assert 0.94 - noise < np.mean([c.lower <= change <= c.upper for c in changes_found]) < 0.97 + noise
    p = np.array([c.p_increase for c in changes_found])
    if change == 0:
        for q in (0.025, 0.1, 0.5, 0.9, 0.975):
            assert abs((p < q).mean() - q) < 3 * np.sqrt(q * (1 - q) / n) + 0.01
    else:
        assert (p > 0.5).mean() > 0.9


def test_the_difference_of_two_shares_is_newcombes():
    """Recovered from two intervals of shares: by hand, and turned around where the periods are."""
    a, b = (Assisted(m, low, up, 1e-3, (), 90, 20, 30.0) for m, low, up in ((0.2, 0.15, 0.27), (0.3, 0.24, 0.37)))
    found = assisted.change(a, b)
    assert found.lower == pytest.approx(0.1 - np.sqrt(0.06**2 + 0.07**2))
    assert found.upper == pytest.approx(0.1 + np.sqrt(0.07**2 + 0.05**2))
    s = [1e-3 / (m * (1 - m)) ** 2 for m in (0.2, 0.3)]
    df = sum(s) ** 2 / sum(v**2 / 30 for v in s)
    assert found.p_increase == pytest.approx(stats.t.cdf((logit(0.3) - logit(0.2)) / np.sqrt(sum(s)), df))
    back = assisted.change(b, a)
    assert back[:3] == pytest.approx((-found.difference, -found.upper, -found.lower))
    assert back.p_increase == pytest.approx(1 - found.p_increase)
    assert assisted.change(a, b._replace(lower=None, upper=None)) is None


def gold_of(truth, shares, seed=1):
    """Gold of a random part of each week's 300 instances."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate([300 * w + rng.permutation(300)[:m] for w, m in enumerate(shares)])
    return {"instance": rows, "label": truth[rows].astype(int)}


@pytest.fixture(scope="module")
def by_gold():
    labels, scores, truth = crowd([0.15, 0.3, 0.3])
    return crowdjax.context(labels, scores, gold=gold_of(truth, (150, 80, 6)), time="week", **SIMPLE), truth


def test_each_period_has_the_estimate_of_its_own_gold(by_gold):
    """Half, a quarter and hardly any of a period: the last is too little, and all together are no random part."""
    result, truth = by_gold
    cells, moves = (result.tables[name].to_pandas() for name in ("prevalence", "changes"))
    rates = truth.reshape(3, -1).mean(1)
    assert cells["n_gold"].tolist() == [150, 80, 6]
    assert cells["assisted_mean"].isna().tolist() == [False, False, True] and cells["n_gold_wanted"][2] > 6
    assert (cells["assisted_lower"][:2] < rates[:2]).all() and (rates[:2] < cells["assisted_upper"][:2]).all()
    difference = cells["assisted_mean"][1] - cells["assisted_mean"][0]
    assert moves["assisted_difference"][0] == pytest.approx(difference) and moves["assisted_p_increase"][0] > 0.95
    assert np.isnan(moves["assisted_difference"][1])
    assert any("periods or groups differ" in w for w in result.warnings)
    assert "assisted" not in result.prevalence["headline"]


def test_a_result_with_gold_of_periods_comes_back_and_reports(by_gold, tmp_path):
    result, _ = by_gold
    result.save(tmp_path / "out", report=True)
    again = crowdjax.load(tmp_path / "out")
    for name in ("prevalence", "changes"):
        assert again.tables[name].equals(result.tables[name])
    assert again.headlines == result.headlines
    page = Parsed((tmp_path / "out" / "report.html").read_text())
    share = [row["share by gold"] for row in page.table("Share of positives of")]
    first = result.tables["prevalence"].to_pylist()[0]
    assert share[0].startswith(f"{100 * first['assisted_mean']:.3g} (") and share[2] == "–"
    assert page.table("Changes since")[0]["P(rise) by gold"] == "–"


def test_the_latest_period_is_said_by_gold_where_there_is_enough(by_gold):
    result, _ = by_gold
    assert "assisted" not in result.headlines[1]  # six gold labels in the last week
    tables = {"prevalence": result.tables["prevalence"].slice(0, 2), "changes": result.tables["changes"].slice(0, 1)}
    row, move = tables["prevalence"].to_pylist()[1], tables["changes"].to_pylist()[0]
    said = report.periods.headline(tables)
    assert said.startswith(f"1: {100 * row['assisted_mean']:.3g} % (") and "; assisted by gold)" in said
    assert f"+{100 * move['assisted_difference']:.1f} (" in said and "by the model" not in said
    older = {
        name: table.drop_columns([c for c in table.column_names if "assisted" in c or c == "n_gold_wanted"])
        for name, table in tables.items()
    }
    assert "assisted" not in report.periods.headline(older)
    drawn = report.periods.figures(older)
    assert len(report.periods.section(older, drawn, 0.95)) == len(report.periods.section(tables, drawn, 0.95))


def gold_sample(chosen, n=400):
    """Gold of two periods, a fifth and two fifths of them; of ``chosen`` ones it is of the highest scores."""
    rng = np.random.default_rng(2)
    cell, score = np.repeat([0, 1], n), rng.random(2 * n)
    known = np.zeros(2 * n, bool)
    for c, m in enumerate((n // 5, 2 * n // 5)):
        rows = np.flatnonzero(cell == c)
        known[rows[np.argsort(score[rows])[-m:]] if c in chosen else rng.choice(rows, m, replace=False)] = True
    truth = (rng.random(2 * n) < score).astype(float)
    sample = Sample(np.where(known, truth, np.nan), np.full(2 * n, known.mean()), np.ones(2 * n), score)
    return facade.by_gold.Gold(sample, False, {"scores": score}, None), cell


def test_gold_that_was_selected_assists_nothing():
    parts = lambda cell: [(cell == c, None) for c in (0, 1)]  # noqa: E731
    gold, cell = gold_sample(())
    found, refused = facade.by_gold.of_parts(gold, parts(cell))
    assert not facade.by_gold.chosen_within(gold, cell) and refused == [] and None not in found
    share = np.nanmean(gold.sample.gold.reshape(2, -1), 1)
    alone = [assisted.estimates(facade.by_gold.part(gold, rows, None))[0] for rows, _ in parts(cell)]
    np.testing.assert_allclose([e.mean for e in alone], share)
    gold, cell = gold_sample((1,))
    found, refused = facade.by_gold.of_parts(gold, parts(cell))
    assert facade.by_gold.chosen_within(gold, cell) and refused == [1] and found[1] is None
    assert facade.by_gold.selected(gold._replace(given=True)) is None


def calibrated(rng, shift=0.0, n=400, share=0.2, weighted=False):
    """A sample whose truths have the chances that are predicted, on the logit scale off by ``shift``."""
    f = rng.beta(1, 4, n)
    z = (rng.random(n) < 1 / (1 + (1 - f) / f * np.exp(-shift))).astype(float)
    chance = np.minimum(share * (0.4 + 3 * f) if weighted else np.full(n, share), 1)
    z[rng.random(n) >= chance] = np.nan
    return Sample(z, chance, np.ones(n), f)


@pytest.mark.parametrize("weighted", [False, True])
def test_gold_contradicts_right_predictions_no_more_often_than_its_level_says(weighted):
    rng = np.random.default_rng(3)
    p = np.array([assisted.gap(calibrated(rng, weighted=weighted)).p for _ in range(2000)])
    for level in (0.05, 0.2, 0.5):
        assert (p < level).mean() == pytest.approx(level, abs=4 * np.sqrt(level / 2000) + 0.01)
    assert np.mean([assisted.gap(calibrated(rng, 1.0)).p < 0.05 for _ in range(300)]) > 0.9


def test_a_mean_that_the_model_does_not_know_well_is_contradicted_less_and_little_gold_says_nothing():
    rng = np.random.default_rng(4)
    sample = calibrated(rng, 0.8)
    known, f = sample.known, sample.predictions
    error = np.sqrt((f[known] * (1 - f[known])).sum() / known.sum() ** 2 + 0.1**2)
    expected = stats.norm.sf(abs((sample.gold - f)[known].mean()) / error) * 2
    assert assisted.gap(sample, 0.1).p == pytest.approx(expected) and expected > assisted.gap(sample).p
    assert assisted.gap(calibrated(rng, share=0.01)) is None


def test_the_period_whose_predictions_are_off_is_named_and_no_other():
    rng = np.random.default_rng(5)
    each = [calibrated(rng, shift) for shift in (0, 0, 1.5, 0)]
    whole = Sample(*(np.concatenate(column) for column in list(zip(*each, strict=True))[:4]))
    gold = facade.by_gold.Gold(whole, True, {}, None)
    cell = np.repeat(np.arange(4), 400)
    parts = [(cell == k, None) for k in range(4)]
    said = lambda sd: [wrong for _, wrong in facade.by_gold.gaps(gold, parts, [sd] * 4)]  # noqa: E731
    assert said(0.01) == [False, False, True, False] and not any(said(1.0))


def test_contradictions_are_holms():
    """Closed testing by Bonferroni: rejected where every set of parts that has it is."""
    rng = np.random.default_rng(6)
    for _ in range(20):
        whole = Sample(
            *map(np.concatenate, list(zip(*(calibrated(rng, s) for s in (0, 0.5, 0.5, 0.8, 1)), strict=True))[:4])
        )
        parts = [(np.repeat(np.arange(5), 400) == k, None) for k in range(5)]
        found = facade.by_gold.gaps(facade.by_gold.Gold(whole, True, {}, None), parts, [0.0] * 5)
        p = [g.p for g, _ in found]
        sets = [s for n in range(1, 6) for s in itertools.combinations(range(5), n)]
        rejected = [all(min(p[m] for m in s) <= 0.05 / len(s) for s in sets if k in s) for k in range(5)]
        assert [wrong for _, wrong in found] == rejected
