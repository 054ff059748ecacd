"""The figures of results: what is drawn is what an independent computation gives; what a result lacks is said."""

from __future__ import annotations

import itertools
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib import pyplot as plt
from sklearn.calibration import calibration_curve
from typer.testing import CliRunner

import crowdjax
from crowdjax import cli, plots
from crowdjax.labels import InputError
from crowdjax.plots import agreement, amounts, calibration, style

NAMES = ["agreement", "confusion", "instances", "labelers", "labels_needed", "map", "prevalence", "reliability"]
ANIMALS = np.array(["cat", "cow", "dog", "hen"])
SIMPLE = dict(prevalence="linear", accuracy="constant", inference="laplace")


@pytest.fixture(autouse=True)
def figures():
    """Nothing is shown, and no figure is left."""
    plt.switch_backend("agg")
    yield
    plt.close("all")


def crowd(n_classes: int, n: int = 120, n_labelers: int = 9, per: int = 5, seed: int = 0):
    """Labels and truths of labelers from good to bad, the last an adversary, and scores that rise with the class."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, n_classes, n)
    who = np.stack([rng.choice(n_labelers, per, replace=False) for _ in range(n)])
    right = np.r_[np.linspace(0.95, 0.6, n_labelers - 1), 0.15]
    wrong = (truth[:, None] + rng.integers(1, n_classes, who.shape)) % n_classes
    label = np.where(rng.random(who.shape) < right[who], truth[:, None], wrong).ravel()
    named = (lambda code: code) if n_classes == 2 else (lambda code: ANIMALS[code])
    labels = {"labeler": np.char.add("w", who.ravel().astype(str)), "instance": np.repeat(np.arange(n), per)}
    score = (truth + rng.random(n)) / n_classes
    return (
        labels | {"label": named(label)},
        {"instance": np.arange(n), "label": named(truth)},
        {"instance": np.arange(n), "score": score, "week": np.repeat([1, 2, 3], n // 3)},
    )


def half(truth, part: int = 0):
    """Every other truth."""
    return {name: values[part::2] for name, values in truth.items()}


def make(kind: str):
    """A result of a kind, and the truth that it knows nothing of."""
    labels, truth, scores = crowd(4 if kind in ("classes", "categories", "glad of classes") else 2)
    if kind == "prediction":
        return crowdjax.fit(labels, "dawid-skene").predict(labels), truth
    if kind in ("context", "periods", "categories"):
        score = {name: scores[name] for name in ("instance", "score")}
        more = dict(time="week") if kind == "periods" else {}
        own = "offset" if kind == "context" else "global"
        return crowdjax.context(labels, scores if more else score, labelers=own, **SIMPLE, **more), truth
    if kind == "check":
        return crowdjax.check(crowdjax.fit(labels, "auto"), labels, replicates=19), truth
    model = {"two": "dawid-skene", "classes": "dawid-skene", "integrated": "auto"}[kind]
    return crowdjax.fit(labels, model), truth


KINDS = ("two", "integrated", "classes", "context", "periods", "categories", "check", "prediction")
LACKS = {
    **{kind: {"prevalence"} for kind in ("two", "integrated", "classes")},
    "check": {"labels_needed", "prevalence", "reliability"},
    "prediction": {"agreement", "confusion", "instances", "labelers", "labels_needed", "map", "prevalence"},
}


@pytest.fixture(scope="module")
def made():
    """Results by their kind, each made once."""
    found = {}

    def of(kind: str):
        if kind not in found:
            found[kind] = make(kind)
        return found[kind]

    return of


def draw(result, name: str, truth, **more):
    needed = (truth,) if name in ("reliability", "labels_needed") else ()
    return getattr(result.plot, name)(*needed, **more)


@pytest.mark.parametrize("kind", KINDS)
def test_every_result_draws_each_figure_or_says_what_it_lacks(made, kind):
    result, truth = made(kind)
    assert dir(result.plot) == NAMES and all(name in repr(result.plot) for name in NAMES)
    for name in NAMES:
        _, ax = plt.subplots()
        if name in LACKS.get(kind, set()):
            with pytest.raises(InputError, match=rf"^{name}: .*; allowed: (crowdjax|result)\.[a-z_.]+\("):
                draw(result, name, truth, ax=ax)
        else:
            before = len(plt.get_fignums())
            assert draw(result, name, truth, ax=ax) is ax and len(plt.get_fignums()) == before
            alone = draw(result, name, truth)
            assert alone.figure is not ax.figure and alone.has_data()
            alone.figure.canvas.draw()  # warnings are errors
        plt.close("all")


@pytest.mark.parametrize("kind", ["two", "classes", "context", "categories"])
def test_a_loaded_result_draws_what_its_tables_allow(made, kind, tmp_path):
    result, truth = made(kind)
    labels = crowd(2 if kind in ("two", "context") else 4)[0]
    result.save(tmp_path / "out")
    loaded = crowdjax.load(tmp_path / "out")
    for name in set(NAMES) - LACKS.get(kind, set()):
        wanted = draw(result, name, truth)
        needs = name in ("agreement", "map", "labels_needed") or (name == "instances" and kind in ("two", "classes"))
        if not needs:
            found = draw(loaded, name, truth)
        else:
            with pytest.raises(InputError, match=rf"^{name}: labels are not kept.*result\.plot\.{name}\(.*labels\)"):
                draw(loaded, name, truth)
            found = draw(loaded, name, truth, labels=labels)
        assert found.get_xlabel() == wanted.get_xlabel()
        for a, b in zip(found.collections, wanted.collections, strict=True):
            np.testing.assert_allclose(a.get_offsets(), b.get_offsets(), atol=1e-6)
        plt.close("all")


def test_figures_of_the_same_result_need_no_matplotlib_until_they_are_drawn(fresh_python):
    printed = fresh_python("""
import sys, crowdjax
labels = {"labeler": list("abcabc"), "instance": ["q1"] * 3 + ["q2"] * 3, "label": [1, 1, 0, 0, 0, 0]}
plot = crowdjax.fit(labels, "dawid-skene").plot
print(len(dir(plot)), "confusion" in repr(plot), "matplotlib" in sys.modules)
""")
    assert printed.split() == ["8", "True", "False"]


# Labelers


def test_tiles_are_the_table_of_confusions(made):
    result, _ = made("classes")
    ax = result.plot.confusion()
    most = result.labelers["labeler"].tolist()
    counts = np.asarray(result.labelers["n_labels"])
    order = [most[k] for k in np.argsort(-counts, kind="stable")]
    titles = [text.get_text() for text in ax.texts if text.get_fontweight() == "bold"]
    assert titles == order
    table = {(r["labeler"], r["truth"], r["label"]): r["probability"] for r in result.tables["confusion"].to_pylist()}
    for mesh, who in zip(ax.collections, order, strict=True):
        wanted = [[table[who, a, b] for b in ANIMALS.tolist()] for a in ANIMALS.tolist()]
        np.testing.assert_allclose(np.asarray(mesh.get_array()).reshape(4, 4), wanted)
    assert [t.get_text() for t in ax.get_yticklabels()][:4] == ANIMALS.tolist()


def test_matrices_of_a_contextual_fit_are_its_sensitivity_and_specificity(made):
    result, _ = made("context")
    row = {r["labeler"]: r for r in result.tables["labelers"].to_pylist()}["w3"]
    (mesh,) = result.plot.confusion("w3").collections
    a, b = row["specificity"], row["sensitivity"]
    np.testing.assert_allclose(np.asarray(mesh.get_array()).ravel(), [a, 1 - a, 1 - b, b])


def test_a_forest_has_the_tables_estimates_the_best_at_the_top_and_golds_own_shares():
    labels, truth, _ = crowd(2)
    known = half(truth)
    result = crowdjax.fit(labels, "dawid-skene", gold=known)
    ax = result.plot.labelers("sensitivity")
    names = [t.get_text() for t in ax.get_yticklabels()]
    table = {r["labeler"]: r for r in result.tables["labelers"].to_pylist()}
    intervals, gold_lines = (c.get_segments() for c in ax.collections[:3:2])
    model, gold = (c.get_offsets() for c in (ax.collections[1], ax.collections[3]))
    values = [table[name]["sensitivity"] for name in names]
    assert values == sorted(values, reverse=True)
    np.testing.assert_allclose(model[:, 0], values)
    ends = [[table[n]["sensitivity_lower"], table[n]["sensitivity_upper"]] for n in names]
    np.testing.assert_allclose([segment[:, 0] for segment in intervals], ends)
    is_true = dict(zip(known["instance"].tolist(), known["label"].tolist(), strict=True))
    for name, (share, _), line in zip(names, gold, gold_lines, strict=True):
        said = [label for who, j, label in zip(*labels.values(), strict=True) if who == name and is_true.get(j) == 1]
        assert share == pytest.approx(np.mean(said))
        assert line[0, 0] <= share <= line[1, 0]
    assert np.ptp(model[:, 1] - gold[:, 1]) < 1e-9 and (model[:, 1] < gold[:, 1]).all()  # no mark covers another


def test_a_measure_that_is_not_there_is_said(made):
    with pytest.raises(InputError, match=r"^labelers: no measure 'beauty' in this result; allowed: accuracy, "):
        made("two")[0].plot.labelers("beauty")
    with pytest.raises(InputError, match=r"^confusion: 'nobody' is no labeler of the fit; allowed: 'w0', "):
        made("two")[0].plot.confusion(["nobody"])


def test_agreement_is_that_of_a_double_loop():
    rng = np.random.default_rng(3)
    labeler, instance, label = rng.integers(0, 6, 90), rng.integers(0, 25, 90), rng.integers(0, 3, 90)
    found = agreement.pairs(labeler, instance, label, 6)
    said = [{j: v for i, j, v in zip(labeler, instance, label, strict=True) if i == k} for k in range(6)]
    for a, b in itertools.product(range(6), repeat=2):
        common = said[a].keys() & said[b].keys()
        assert found.common[a, b] == len(common)
        wanted = np.mean([said[a][j] == said[b][j] for j in common]) if len(common) >= agreement.LEAST else np.nan
        np.testing.assert_allclose(found.share[a, b], wanted)
    kept = np.concatenate([list(of.values()) for of in said])
    assert found.chance == pytest.approx(sum(np.mean(kept == v) ** 2 for v in range(3)))


def test_those_who_agree_stand_together_and_groups_are_kept_apart():
    rng = np.random.default_rng(4)
    camp = rng.permutation(np.repeat([0, 1], 8))
    base = rng.integers(0, 2, (2, 80))
    label = np.where(rng.random((16, 80)) < 0.9, base[camp], 1 - base[camp])
    i, j = np.divmod(np.arange(label.size), 80)
    found = agreement.pairs(i, j, label.ravel(), 16)
    assert np.abs(np.diff(camp[agreement.order_of(found.share)])).sum() == 1
    group = rng.integers(-1, 2, 16)
    ordered = group[agreement.order_of(found.share, group)]
    assert ordered.tolist() == sorted(group.tolist(), reverse=True)
    ax = agreement.agreement(found, range(16), group)
    order = [int(t.get_text()) for t in ax.get_yticklabels()]
    drawn = ax.images[0].get_array().filled(np.nan)
    wanted = found.share[np.ix_(order, order)]
    off = ~np.eye(16, dtype=bool)
    np.testing.assert_allclose(drawn[off], wanted[off])
    assert len(ax.lines) == 2 * (len(set(group.tolist())) - 1)


def test_labelers_without_instances_in_common_are_refused():
    labels = {"labeler": list("abc") * 4, "instance": np.arange(12), "label": [0, 1, 1, 0] * 3}
    with pytest.raises(InputError, match=r"^agreement: no two labelers have 3 instances in common"):
        crowdjax.fit(labels, "dawid-skene").plot.agreement()


# Instances


def test_the_map_is_the_labels_in_the_order_of_the_model(made):
    result, _ = made("two")
    labels, *_ = crowd(2)
    ax = result.plot.map()
    image = ax.images[1].get_array().filled(np.nan)
    people = [t.get_text() for t in ax.get_yticklabels()][:-1]
    skill = dict(zip(*(result.tables["labelers"][name].to_pylist() for name in ("labeler", "accuracy")), strict=True))
    assert [skill[w] for w in people] == sorted(skill.values(), reverse=True)
    order = np.argsort(result.tables["instances"]["probability"].to_numpy(), kind="stable")
    each = round(np.diff(ax.get_yticks()[:2])[0])
    wanted = np.full((len(people), 120), np.nan)
    for who, j, label in zip(*labels.values(), strict=True):
        wanted[people.index(who), np.flatnonzero(order == j)[0]] = label
    np.testing.assert_array_equal(image[: each * len(people) : each], wanted)
    strip = image[int(ax.get_yticks()[-1])]
    np.testing.assert_array_equal(strip, result.tables["instances"]["label"].to_numpy()[order])


def test_a_large_map_is_cut_to_those_with_most_labels():
    labels, *_ = crowd(2, n=900, n_labelers=150, per=4, seed=5)
    ax = crowdjax.fit(labels, "majority").plot.map()
    names, counts = np.unique(labels["labeler"], return_counts=True)
    assert ax.images[1].get_array().shape[1] == 300
    assert re.search("300 instances of 900", ax.get_xlabel()) and re.search("100 labelers of 150", ax.get_ylabel())
    image = ax.images[1].get_array().filled(np.nan)[:100]
    drawn = np.isfinite(image).sum()
    busiest = set(names[np.argsort(-counts, kind="stable")[:100]])
    by_them = np.bincount(labels["instance"][[w in busiest for w in labels["labeler"]]], minlength=900)
    assert drawn == np.sort(by_them)[-300:].sum()


@pytest.mark.parametrize("kind", ["two", "integrated", "context", "classes"])
def test_every_instance_is_at_its_place(made, kind):
    result, _ = made(kind)
    table, column = result.tables["instances"], "probability" if kind != "classes" else "confidence"
    labels, _, scores = crowd(4 if kind == "classes" else 2)
    ax = result.plot.instances()
    drawn = np.concatenate([np.asarray(c.get_offsets()) for c in ax.collections if len(c.get_offsets())])
    x = {"integrated": getattr(result, "position", None), "context": scores["score"]}.get(kind)
    if x is None:
        codes = labels["label"] if kind == "two" else np.searchsorted(ANIMALS, labels["label"])
        votes = np.zeros((120, 4))
        np.add.at(votes, (labels["instance"], codes), 1)
        x = votes[:, 1] / 5 if kind == "two" else votes.max(1) / 5
    wanted = np.unique(np.stack([x, table[column].to_numpy()], 1).round(3), axis=0)
    np.testing.assert_allclose(np.unique(drawn, axis=0), wanted, atol=1e-9)


# Truth


@pytest.mark.parametrize("kind", ["two", "integrated"])
def test_reliability_is_scikit_learns_calibration_curve(made, kind):
    result, truth = made(kind)
    ax = result.plot.reliability(truth)
    p = np.asarray(result.tables["instances"]["probability"])
    observed, forecast = calibration_curve(truth["label"], p, n_bins=10, strategy="quantile")
    line = ax.lines[0]
    np.testing.assert_allclose(line.get_xdata(), forecast)
    np.testing.assert_allclose(line.get_ydata(), observed)


def test_reliability_of_classes_is_how_often_the_inferred_one_is_right(made):
    result, truth = made("classes")
    line = result.plot.reliability(truth).lines[0]
    right = np.asarray(result.instances["label"]) == truth["label"]
    observed, forecast = calibration_curve(right, result.instances["confidence"], n_bins=10, strategy="quantile")
    np.testing.assert_allclose(np.transpose(line.get_data()), np.stack([forecast, observed], 1))


def test_what_the_fit_knew_says_nothing_of_its_reliability(tmp_path):
    labels, truth, _ = crowd(2)
    result = crowdjax.fit(labels, "dawid-skene", gold=half(truth))
    with pytest.raises(InputError, match=r"^reliability: the fit was given its gold, .*; allowed: result\.plot"):
        result.plot.reliability()
    with pytest.raises(InputError, match=r"^reliability: the fit was given all of these truths; allowed: "):
        result.plot.reliability(half(truth))
    line = result.plot.reliability(truth).lines[0]
    p = np.asarray(result.instances["probability"])[1::2]
    observed, _ = calibration_curve(half(truth, 1)["label"], p, n_bins=10, strategy="quantile")
    np.testing.assert_allclose(line.get_ydata(), observed)
    result.save(tmp_path / "out")
    with pytest.raises(InputError, match=r"^reliability: the fit had gold, and a loaded result does not say"):
        crowdjax.load(tmp_path / "out").plot.reliability(truth)
    with pytest.raises(InputError, match=r"^reliability: there is no gold"):
        crowdjax.fit(labels, "dawid-skene").plot.reliability()


def test_truths_of_one_class_are_no_reliability_and_missing_ones_are_left_out(made):
    result, truth = made("two")
    ones = {name: values[truth["label"] == 1] for name, values in truth.items()}
    with pytest.raises(InputError, match=r"^reliability: all \d+ truths are 1; allowed: truths of both classes"):
        result.plot.reliability(ones)
    assert result.plot.labels_needed(ones).get_title(loc="left").endswith("instances with gold, all 1")
    some = half(truth)
    assert result.plot.reliability(some).get_legend().texts[0].get_text().startswith("60 instances")


def test_wilsons_intervals_are_those_of_scipy():
    from scipy.stats import binomtest

    right, n = np.array([0, 3, 17, 40]), np.array([5, 9, 20, 40])
    low, high = style.wilson(right, n)
    for k in range(4):
        wanted = binomtest(int(right[k]), int(n[k])).proportion_ci(0.95, "wilson")
        assert (low[k], high[k]) == pytest.approx((wanted.low, wanted.high), abs=1e-9)
    assert np.isnan(style.wilson(np.array([0.0]), np.array([0.0]))).all()


def test_equal_forecasts_are_one_bin():
    found = calibration.in_bins(np.full(30, 0.7), np.repeat([1, 0], 15))
    assert (len(found.size), found.observed.tolist()) == (1, [0.5])
    np.testing.assert_allclose(found.forecast, 0.7)


def test_a_vote_over_few_labels_is_as_right_as_the_hypergeometric_says():
    """One label: the share of right labels. All labels: the vote itself. Between: drawn without replacement."""
    from scipy.stats import hypergeom

    labels, truth, _ = crowd(2)
    code, instance = np.asarray(labels["label"]), labels["instance"]
    answer = {"vote": lambda kept: amounts.vote_scores(instance[kept], code[kept], truth["label"], 2)}
    sizes = [1, 2, 3, 5]
    found = amounts.scores(instance, sizes, answer, np.arange(120), 120, draws=200, seed=0)["vote"]
    right = np.bincount(instance, code == truth["label"][instance], 120).astype(int)
    for size, each in zip(sizes, found, strict=True):
        k = np.arange(size + 1)
        chance = (k > size / 2) + 0.5 * (k == size / 2)
        wanted = hypergeom(5, right[:, None], size).pmf(k) @ chance
        assert each.mean() == pytest.approx(wanted.mean(), abs=4 * 0.5 / np.sqrt(120 * 200))
        if size == 5:
            np.testing.assert_allclose(each, wanted)


def test_with_all_labels_the_model_is_as_right_as_the_fit(made):
    for kind in ("two", "classes", "context", "integrated"):
        result, truth = made(kind)
        ax = result.plot.labels_needed(truth, draws=1)
        lines = {c.get_label(): c.lines[0] for c in ax.containers}
        last = lines["the model, labelers as fitted"].get_ydata()[-1]
        right = np.mean(np.asarray(result.instances["label"]) == truth["label"])
        assert last == pytest.approx(right, abs=0.5 / 120), kind
        plt.close("all")


def test_labels_needed_asks_for_gold_and_for_two_labels():
    labels, truth, _ = crowd(2, per=1)
    result = crowdjax.fit(labels, "majority")
    with pytest.raises(InputError, match=r"^labels_needed: there is no gold; allowed: result\.plot"):
        result.plot.labels_needed()
    with pytest.raises(InputError, match=r"^labels_needed: most instances with gold have one label"):
        result.plot.labels_needed(truth)


def test_other_labels_are_not_those_of_the_fit(made):
    labels, *_ = crowd(2, n_labelers=8)
    with pytest.raises(InputError, match=r"^labels: the labelers are not those of the fit; map takes"):
        made("two")[0].plot.map(labels)


# The population


def test_the_prevalence_over_the_score_is_the_table_of_curves(made):
    result, _ = made("context")
    ax = result.plot.prevalence()
    table = result.tables["curves"].to_pandas()
    table = table[table["quantity"] == "prevalence"]
    (line,) = ax.lines
    np.testing.assert_allclose(np.transpose(line.get_data()), table[["score", "mean"]])
    heights = ax.patches[0].get_data().values
    counts, _ = np.histogram(result.scores[:, 0], ax.patches[0].get_data().edges)
    np.testing.assert_allclose(heights, 0.25 * ax.get_ylim()[1] * np.sqrt(counts / counts.max()))
    with pytest.raises(InputError, match=r'^prevalence: the fit has no periods; allowed: .*time="week"'):
        result.plot.prevalence("time")


def test_the_prevalence_over_time_is_the_table_of_periods_with_its_intervals(made):
    result, _ = made("periods")
    ax = result.plot.prevalence()
    table = result.tables["prevalence"].to_pandas()
    (line,) = [line for line in ax.lines if len(line.get_xdata()) == 3]
    np.testing.assert_allclose(line.get_ydata(), 100 * table["mean"])
    segments = np.array(ax.collections[0].get_segments())[:, :, 1]
    np.testing.assert_allclose(segments, 100 * table[["lower", "upper"]])
    assert [t.get_text() for t in ax.get_xticklabels()] == ["1", "2", "3"]
    assert result.plot.prevalence("score").get_xlabel() == "score"
    with pytest.raises(InputError, match=r"^over: got 'place'; allowed: score, time"):
        result.plot.prevalence("place")


# What can be read


@pytest.mark.parametrize(("n_labelers", "n_classes"), [(3, 2), (500, 2), (40, 20)])
def test_names_do_not_overlap_and_legends_cover_no_data(n_labelers, n_classes):
    rng = np.random.default_rng(0)
    n = 600
    truth = rng.integers(0, n_classes, n)
    per = 3 if n_labelers < 100 else 20
    who = np.stack([rng.choice(n_labelers, per, replace=False) for _ in range(n)])
    label = np.where(rng.random(who.shape) < 0.7, truth[:, None], rng.integers(0, n_classes, who.shape))
    words = np.array([f"class {k:02d}" for k in range(n_classes)])
    labels = {"labeler": np.char.add("labeler ", who.ravel().astype(str)), "instance": np.repeat(np.arange(n), per)}
    result = crowdjax.fit(labels | {"label": words[label.ravel()]}, "dawid-skene")
    known = {"instance": np.arange(n), "label": words[truth]}
    for name in ("confusion", "labelers", "agreement", "map", "instances", "reliability", "labels_needed"):
        ax = draw(result, name, known)
        ax.figure.canvas.draw()
        whole = ax.figure.bbox
        for axis, (low, high) in ((ax.xaxis, ("x0", "x1")), (ax.yaxis, ("y0", "y1"))):
            start, end = sorted(axis.get_view_interval())
            ticks = zip(axis.get_ticklocs(), axis.get_ticklabels(), strict=True)
            boxes = [t.get_window_extent() for at, t in ticks if t.get_text() and start <= at <= end]
            boxes = sorted(boxes, key=lambda box: getattr(box, low))
            assert all(getattr(a, high) <= getattr(b, low) + 0.5 for a, b in itertools.pairwise(boxes)), name
            assert all(b.x0 >= whole.x0 - 1 and b.x1 <= whole.x1 + 1 for b in boxes), name
        if ax.get_legend() is not None:
            legend, inside = ax.get_legend().get_window_extent(), ax.get_window_extent()
            assert legend.y1 <= inside.y0 or legend.x0 >= inside.x1 - 1, name
        plt.close("all")


def test_models_that_coincide_stand_side_by_side():
    """Of categories no marker covers another, and no line joins them."""
    same = np.full((3, 10), 0.8)
    names = [f"model {k}" for k in range(10)]
    (ax,) = plots.dots(same, "abc", names, title="", xlabel="accuracy").axes
    at = np.concatenate([c.get_offsets() for c in ax.collections])
    assert len(np.unique(at.round(6), axis=0)) == 30 and not ax.lines
    looks = {(tuple(c.get_facecolor()[0]), c.get_paths()[0].vertices.tobytes()) for c in ax.collections}
    assert len(looks) == 10
    for ax in plots.differences({"A": same, "B": same}, "abc", names, highlight="model 9").axes:
        lines = [line for line in ax.lines if len(line.get_xdata()) == 3]
        assert len(lines) == 10 and {line.get_linestyle() for line in lines} == {"None"}
        at = np.concatenate([np.transpose(line.get_data()) for line in lines])
        assert len(np.unique(at.round(6), axis=0)) == 30


def test_threads_draw_the_same_figures_and_leave_matplotlibs_settings_alone():
    """Settings of matplotlib are the whole process's, and figures wait for each other."""
    before, turns = dict(plt.rcParams), threading.Barrier(4)

    def drawn(n: int) -> str:
        return plots.as_svg(plots.counts(np.arange(9.0), title="", xlabel=f"x{n}", ylabel=""), f"name{n}")

    def all_drawn(_: int) -> list[str]:
        turns.wait()
        return [drawn(n) for n in range(6)]

    wanted = [drawn(n) for n in range(6)]
    with ThreadPoolExecutor(4) as pool:
        assert all(found == wanted for found in pool.map(all_drawn, range(4)))
    assert dict(plt.rcParams) == before


@pytest.mark.parametrize(
    ("name", "more", "message"),
    [
        ("confusion", {"labelers": [["w0"]]}, r"^confusion: \['w0'\] is no labeler of the fit; allowed: 'w0', 'w1', "),
        ("confusion", {"ax": 3}, "^ax: got 3; allowed: Axes of matplotlib"),
        ("labelers", {"ax": np.zeros(2)}, r"^ax: got ndarray of shape \(2,\); allowed: Axes of matplotlib"),
        ("agreement", {"columns": 3}, "^columns: got int; allowed: a dict"),
        ("reliability", {"columns": 3}, "^columns: got int; allowed: a dict"),
        ("reliability", {"columns": {"labels.label": "x"}}, "^columns: got 'labels.label', but there is no table"),
        ("labels_needed", {"columns": {"scores.label": "x"}}, "^columns: got 'scores.label', but there is no table"),
        ("labels_needed", {"draws": 0}, "^draws: got 0; allowed: a whole number from 1$"),
        ("labels_needed", {"draws": 1.5}, "^draws: got 1.5; allowed: a whole number from 1$"),
        ("labels_needed", {"seed": -1}, "^seed: got -1; allowed: a whole number from 0 to"),
    ],
)
def test_wrong_arguments_are_named_with_what_is_allowed(made, name, more, message):
    result, truth = made("two")
    with pytest.raises(InputError, match=message):
        draw(result, name, truth, **more)


@pytest.mark.parametrize("prefix", ["", "gold."])
def test_the_columns_of_truth_are_named_as_in_a_fit(made, prefix):
    result, truth = made("two")
    other = {"q": truth["instance"], "y": truth["label"]}
    found = result.plot.reliability(other, columns={f"{prefix}instance": "q", f"{prefix}label": "y"})
    wanted = result.plot.reliability(truth)
    np.testing.assert_array_equal(found.lines[0].get_xydata(), wanted.lines[0].get_xydata())


def test_labels_in_the_order_of_a_fit_by_minibatches_are_those_of_the_fit(tmp_path):
    """Its instances stand by parts; the labels that were fitted, given again, are drawn at their own instances."""
    labels, truth, _ = crowd(2)
    pq.write_table(pa.table({name: list(values) for name, values in labels.items()}), tmp_path / "labels.parquet")
    done = CliRunner().invoke(
        cli.app,
        ["fit", str(tmp_path), "--model", "dawid-skene", "--minibatch", "150", "--out", str(tmp_path / "out")],
    )
    assert done.exit_code == 0, done.output
    loaded = crowdjax.load(tmp_path / "out")
    ids = loaded.tables["instances"]["instance"].to_pylist()
    assert ids != sorted(ids)
    positive = {i: labels["label"][labels["instance"] == i].mean() for i in ids}
    drawn = np.concatenate([part.get_offsets() for part in loaded.plot.instances(labels).collections])
    p = loaded.tables["instances"]["probability"].to_numpy()
    wanted = np.array([[positive[i], p[n]] for n, i in enumerate(ids)])
    np.testing.assert_array_equal(np.unique(np.asarray(drawn), axis=0), np.unique(wanted.round(3), axis=0))
    for name in ("map", "agreement"):
        assert getattr(loaded.plot, name)(labels).has_data()
    assert loaded.plot.labels_needed(truth, labels, draws=1).has_data()
    other = labels | {"instance": labels["instance"] + 1}
    with pytest.raises(InputError, match="labels: the instances are not those of the fit; map takes the labels fitted"):
        loaded.plot.map(other)
