"""Reports: pages that parse, refer to nothing outside, escape every name, and say what the result's tables say."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.stats
from pages import Parsed
from typer.testing import CliRunner

import crowdjax
from crowdjax import plots, report
from crowdjax.cli import app
from crowdjax.io import read_labels
from crowdjax.labelers import Interval, kinds
from crowdjax.labels import InputError
from crowdjax.report import factors, fit, gold, instances, labelers, svg
from crowdjax.result import Tally, tally

ODD = (
    *("<script>alert(1)</script>", '" onload="alert(1)', "{{ page }} {% x %}", "$\\frac{1}{0$", "👩‍👩‍👧 🎉", "שלום"),
    *("\u202egnp.exe", "a\x01b\x1b[0m", "x" * 1000, "&lt;b&gt;", "tab\there"),
)


def crowd(names=None) -> pd.DataFrame:
    """120 instances: eight able labelers, one who does not look, one who says the opposite, one who did so twice."""
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 120)
    rows = []
    for who, chance in [*((f"able {i}", 0.85) for i in range(8)), ("coin", None), ("liar", 0.1), ("novice", 0.0)]:
        for j in range(2 if who == "novice" else 120):
            label = j % 2 if chance is None else truth[j] if rng.random() < chance else 1 - truth[j]
            rows.append((who, f"q{j:03}", int(label)))
    table = pd.DataFrame(rows, columns=["labeler", "instance", "label"])
    return table if names is None else table.replace({"labeler": names})


@pytest.fixture(scope="module")
def result() -> crowdjax.Aggregation:
    return crowdjax.fit(crowd(), "dawid-skene")


@pytest.fixture(scope="module")
def page(result) -> Parsed:
    return Parsed(report.render(result.page()))


@pytest.fixture(scope="module")
def of_auto() -> crowdjax.IntegratedAggregation:
    return crowdjax.fit(crowd(), "auto")


# What a page is


def test_a_page_stands_alone(page, of_auto):
    for parsed in (page, Parsed(report.render(of_auto.page()))):
        assert parsed.references() == []
        assert parsed.handlers() == []
        assert parsed.root.get("lang") == "en"
        assert len(parsed.all("title")) == len(parsed.all("h1")) == len(parsed.all("main")) == 1
        assert len(parsed.all("script")) == len(parsed.all("style")) == 1


@pytest.mark.parametrize(
    "bad",
    [
        "<script>run()</script>",
        '<p onclick="run()">',
        '<img src="https://example.org/a.png" alt="">',
        '<iframe src="#a"></iframe>',
        '<a href="javascript:run()">a</a>',
        '<p style="background: url(//example.org/a)">',
    ],
)
def test_the_policy_of_a_page_lets_nothing_else_run_or_be_fetched(page, bad):
    assert set(page.policy()) == {"default-src", "style-src", "img-src", "script-src", "base-uri", "form-action"}
    with pytest.raises(AssertionError):
        Parsed(page.text.replace("<main", bad + "<main"))
    with pytest.raises(ValueError, match="not enough values"):
        Parsed(re.sub("<meta http-equiv=[^>]*>", "", page.text))


def test_a_page_can_be_read_without_a_mouse_or_eyes_or_a_script(page):
    ids = [e.get("id") for e in page.root.iter() if e.get("id")]
    assert len(ids) == len(set(ids))
    for link in page.all("a"):
        assert link.get("href")[1:] in ids
    assert page.all("a")[0].get("href") == "#content"
    for table in page.all("table"):
        assert page.words(table.find("caption"))
        assert all(h.get("scope") == "col" for h in table.find("thead").iter("th"))
        assert all(h.get("scope") == "row" for h in table.find("tbody").iter("th"))
    regions = [e for e in page.all("div") if "scroll" in (e.get("class") or "").split()]
    assert {page.words(t.find("caption")) for r in regions for t in r.iter("table")} == {
        page.words(t.find("caption")) for t in page.all("table")
    }
    assert all(r.get("tabindex") == "0" and r.get("role") == "region" for r in regions)
    assert all(r.get("aria-label") or r.get("aria-labelledby") in ids for r in regions)
    assert all(s.get("role") == "img" and s.get("aria-label") for s in page.all("svg"))
    assert "<button" not in page.text.replace(page.all("script")[0].text, "")  # none that would do nothing


def test_nothing_wide_is_outside_of_a_region_that_scrolls(page):
    """Tables and drawings are the only content that can be wider than a phone."""
    inside = {id(e) for r in page.all("div") if "scroll" in (r.get("class") or "").split() for e in r.iter()}
    wide = [*page.all("table"), *page.all("svg")]
    assert wide and all(id(e) in inside for e in wide)
    style = page.all("style")[0].text
    assert "overflow-x: auto" in re.search(r"^\.scroll \{([^}]*)\}", style, re.MULTILINE)[1]


def test_a_page_has_rules_for_phones_dark_and_print(page):
    style = page.all("style")[0].text
    assert any(m.get("name") == "viewport" and "width=device-width" in m.get("content") for m in page.all("meta"))
    for rule in (
        "prefers-color-scheme: dark",
        "@media print",
        "max-width: 40rem",
        ":focus-visible",
        "overflow-x: auto",
    ):
        assert rule in style
    light, dark = style.split("prefers-color-scheme: dark", 1)
    own = set(re.findall(r"var\((--[a-z]\w*)\)", page.text))
    assert own - {"--a", "--b", "--m", "--o", "--mark"} <= set(re.findall(r"(--\w+):", light))
    assert set(re.findall(r"(--[gc]\d):", light)) == set(re.findall(r"(--[gc]\d):", dark.split("}", 1)[0]))


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_text_stands_out_from_what_is_behind_it(page, mode):
    """WCAG 2: contrast of at least 4.5."""
    style = page.all("style")[0].text
    light, dark = style.split("prefers-color-scheme: dark", 1)
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", light))
    if mode == "dark":
        colours |= dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", dark.split("}", 1)[0]))

    def luminance(name):
        c = np.array([int(colours[name][k : k + 2], 16) / 255 for k in (1, 3, 5)])
        return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    for ink in ("ink", "soft", "accent", "good", "note", "care", "g0", "g4"):
        for ground in ("paper", "card"):
            low, high = sorted((luminance(ink), luminance(ground)))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)


def test_names_of_any_kind_are_harmless_and_stay_what_they_are():
    table = crowd(dict(zip([f"able {i}" for i in range(8)] + ["coin", "liar", "novice"], ODD, strict=True)))
    table["instance"] = "<img src=x onerror=alert(1)> " + table["instance"]
    parsed = Parsed(report.render(crowdjax.fit(table).page()))
    assert len(parsed.all("script")) == 1 and parsed.all("img") == [] and parsed.handlers() == []
    shown = {row["labeler"] for row in parsed.table("Labelers")}
    unfit = re.compile("[\x00-\x08\x0e-\x1f\u202e]")
    expected = {" ".join(unfit.sub("\ufffd", n if len(n) <= 120 else n[:119] + "…").split()) for n in ODD}
    assert shown == expected
    for row in parsed.table("Instances"):
        assert row["instance"].startswith("<img src=x onerror=alert(1)> q")


# What it says


def test_the_labeler_table_is_the_result_s(result, page):
    rows = {row["labeler"]: row for row in page.table("Labelers")}
    assert len(rows) == result.tables["labelers"].num_rows
    for expected in result.tables["labelers"].to_pylist():
        row = rows[expected["labeler"]]
        assert row["labels"] == f"{expected['n_labels']:,}"
        for name in ("sensitivity", "specificity", "accuracy"):
            assert float(row[f"{name}="]) == pytest.approx(expected[name], rel=1e-5)
            assert float(re.findall(r"[\d.]+", row[name])[0]) == pytest.approx(expected[name], abs=6e-3)


def test_intervals_of_the_model_are_shown_where_it_has_them(of_auto):
    rows = {row["labeler"]: row for row in Parsed(report.render(of_auto.page())).table("Labelers")}
    for expected in of_auto.tables["labelers"].to_pylist():
        for name in ("sensitivity", "specificity", "informedness"):
            shown = [float(v.replace("−", "-")) for v in re.findall(r"[−\d.]+", rows[expected["labeler"]][name])]
            wanted = [expected[name + end] for end in ("", "_lower", "_upper")]
            np.testing.assert_allclose(shown, wanted, atol=0.0051)


def test_the_instance_table_begins_with_the_least_sure_and_has_the_votes(result, page):
    rows, table = page.table("Instances"), crowd()
    p = dict(zip(*(result.tables["instances"][n].to_pylist() for n in ("instance", "probability")), strict=True))
    votes = table.groupby("instance")["label"].agg(["sum", "count"])
    assert len(rows) == len(p)
    for row in rows:
        at = row["instance"]
        assert float(row["probability="]) == pytest.approx(p[at], rel=1e-5)
        assert int(row["label"]) == (p[at] > 0.5)
        assert (int(row["votes for"]), int(row["votes against"])) == (
            votes["sum"][at],
            votes["count"][at] - votes["sum"][at],
        )
        against = (p[at] - 0.5) * (2 * votes["sum"][at] - votes["count"][at]) < 0
        assert ("against the votes" in row["remark"]) == against
        entropy = scipy.stats.entropy([p[at], 1 - p[at]], base=2)
        assert float(row["entropy, bits="]) == pytest.approx(entropy, rel=1e-4, abs=1e-9)
    doubt = np.array([float(row["entropy, bits="]) for row in rows])
    assert (np.diff(doubt) <= 1e-3).all()


@pytest.mark.parametrize("n_classes", [2, 3])
def test_gold_stands_beside_the_model(n_classes):
    """Counted with pandas; intervals are those of scipy."""
    table = crowd()
    table["label"] = (table["label"] + (table["instance"].str[1:].astype(int) % (n_classes - 1))) % n_classes
    truth = pd.DataFrame({"instance": [f"q{j:03}" for j in range(0, 120, 4)]})
    truth["label"] = table.groupby("instance")["label"].agg(lambda v: v.mode()[0])[truth["instance"]].to_numpy()
    rows = Parsed(report.render(crowdjax.fit(table, "dawid-skene", gold=truth).page())).table("Labelers")
    known = table.merge(truth, on="instance", suffixes=("", "_true"))
    right = known.assign(right=known["label"] == known["label_true"]).groupby("labeler")["right"].agg(["sum", "count"])
    for row in rows:
        k, n = right.loc[row["labeler"]]
        interval = scipy.stats.binomtest(int(k), int(n)).proportion_ci(method="wilson")
        shown = [float(v) for v in re.findall(r"[\d.]+", row["accuracy on gold"])]
        np.testing.assert_allclose(shown, [k / n, *interval], atol=0.0051)
        assert int(row["labels on gold"]) == n


def test_gold_that_contradicts_the_model_asks_for_care():
    """40 labelers of accuracy .8 ± .02: gold drawn at .8 is within the limits, gold drawn at .6 is not."""
    rng, n = np.random.default_rng(0), np.full(40, 50)
    people = {"accuracy": np.full(40, 0.8), "lower": np.full(40, 0.76), "upper": np.full(40, 0.84), "gold_labels": n}
    status = {}
    for p in (0.8, 0.6):
        found = pa.table(people | {"gold_accuracy": rng.binomial(50, p, 40) / 50})
        (check,) = gold.checks(found, 0.95)
        status[p] = check.status
    assert status == {0.8: "good", 0.6: "care"}
    assert (
        gold.checks(pa.table(people | {"gold_accuracy": np.full(40, 1.0), "gold_labels": np.full(40, 4)}), 0.95) == []
    )


def test_a_verdict_has_its_probability():
    """Of draws from a normal posterior of informedness."""
    mean, sd = np.array([0.05, -0.3, 0.75, 0.3, 0.1]), np.array([0.06, 0.1, 0.05, 0.1, 0.2])
    kind = np.array(["spammer", "adversary", "expert", "ordinary", "unknown"])
    found = Interval(mean, *(scipy.stats.norm(mean, sd).ppf(q) for q in (0.025, 0.975)))
    draws = mean + sd * np.random.default_rng(0).normal(size=(100_000, 5))
    wanted = [abs(draws[:, 0]) < 0.2, draws[:, 1] < 0, draws[:, 2] > 0.6, draws[:, 3] > 0, draws[:, 4] > 0]
    np.testing.assert_allclose(
        labelers.sureness(kind, found, 0.95), np.mean(wanted, 1), atol=0.006
    )  # 4 standard errors


@pytest.mark.parametrize("n_classes", [2, 3])
def test_who_is_called_something_is_it_with_the_level_however_oblique_the_interval(n_classes):
    rng = np.random.default_rng(1)
    mean, low, high = rng.uniform(-0.6, 1, 3000), *rng.exponential([[0.1], [0.1]], (2, 3000))
    found = Interval(mean, np.maximum(mean - low, -1), np.minimum(mean + high, 1))
    kind = kinds(found, n_classes)
    sure = labelers.sureness(kind, found, 0.95, n_classes)
    for name, least in (("adversary", 0.975), ("expert", 0.975), ("spammer", 0.95), ("ordinary", 0.975)):
        assert (sure[kind == name] >= least - 1e-9).all() and (kind == name).sum() > 20
    assert (sure[kind == "unknown"] < 0.975 + 1e-9).all()


@pytest.mark.long
def test_nobody_is_ordinary_because_a_constraint_says_so():
    """Of eight labelers one tosses a coin; ``both`` puts the interval of informedness above 0 all the same."""
    rng = np.random.default_rng(0)
    score = rng.random(400)
    z, j = rng.random(400) < score**2, np.repeat(np.arange(400), 2)
    i = np.concatenate([rng.choice(8, 2, replace=False) for _ in range(400)])
    label = np.where(rng.random(800) < np.where(i == 7, 0.5, 0.88), z[j], ~z[j]).astype(int)
    table, scores = {"labeler": i, "instance": j, "label": label}, {"instance": np.arange(400), "score": score}
    simple = dict(prevalence="linear", accuracy="constant", inference="laplace")
    for constraint, possible in (("both", {"unknown", "spammer"}), ("free", {"unknown", "spammer", "adversary"})):
        found = crowdjax.context(table, scores, constraint=constraint, **simple)
        shown = Parsed(report.render(found.page()))
        text = report.render(found.page())
        assert ("whatever the labels say (its constraint)" in text) == (constraint == "both")
        kind = {row["labeler"]: row["called"] for row in shown.table("Labelers")}
        assert kind["7"] in possible and "ordinary" in kind.values()


def test_flags_follow_the_rule_and_two_labels_are_no_ground_for_one(result, of_auto, page):
    for found in (page, Parsed(report.render(of_auto.page()))):
        called = {row["labeler"]: row["called"] for row in found.table("Labelers")}
        assert (called["liar"], called["novice"]) == ("adversary", "few labels")
        assert called["coin"] in ("spammer", "unknown") and called["able 0"] in ("ordinary", "expert")
    words = page.words(page.root)
    for part in ("true with 95%", "within ±0.2", "below 0", "above 0.6", "fewer than 10 labels"):
        assert part in words


def test_the_tally_counts_what_a_cross_table_counts():
    table = crowd().sample(frac=0.5, random_state=0)
    labels, index = read_labels(table)
    p = np.random.default_rng(1).random(labels.n_instances)
    found = tally(labels, p)
    votes = pd.crosstab(table["instance"], table["label"]).reindex(index.instances)
    np.testing.assert_array_equal(found.votes, votes[[0, 1]])
    at = pd.Series(p, index.instances)[table["instance"]].to_numpy()
    for truth, weight in ((0, 1 - at), (1, at)):
        cross = pd.crosstab(table["labeler"], table["label"], values=weight, aggfunc="sum").reindex(index.labelers)
        np.testing.assert_allclose(found.agreement[:, truth], cross[[0, 1]].fillna(0), atol=1e-12)
    assert found.n_crowds == 1


def test_directions_are_those_of_the_dense_product():
    rng = np.random.default_rng(0)
    alpha, beta = rng.normal(1, 1, (9, 3)), rng.normal(0.5, 1, (40, 3))
    found = factors.directions(alpha, beta)
    u, s, vt = np.linalg.svd(alpha @ beta.T, full_matrices=False)
    np.testing.assert_allclose(found.share, (s**2 / (s**2).sum())[:3], rtol=1e-10)
    np.testing.assert_allclose(abs(found.labelers), abs(u[:, :3] * np.sqrt(s[:3])), atol=1e-10)
    np.testing.assert_allclose(abs(found.instances), abs(vt[:3].T * np.sqrt(s[:3])), atol=1e-10)
    np.testing.assert_allclose(found.labelers @ found.instances.T, alpha @ beta.T, atol=1e-10)


@pytest.mark.slow
def test_factors_are_drawn_where_there_are_any(page):
    drawn = lambda found: [d.name for d in found.page().drawings() if d.name.startswith("factors")]  # noqa: E731
    two = crowdjax.fit(crowd(), "factor", factors=2, instances="map")
    assert drawn(two) == ["factors_labelers", "factors_instances"]
    assert "Factors" not in [page.words(h) for h in page.all("h2")]


def test_what_speaks_against_a_fit_comes_first(result):
    """Two crowds, labels that contradict nothing, and a fit that did not converge."""
    apart = Tally(np.array([[1.0, 0.0], [0.0, 1.0]]), np.ones((2, 2, 2)), 2)
    people, answers = result.tables["labelers"].slice(0, 2), result.tables["instances"].slice(0, 2)
    record = result.record | {"converged": False, "warnings": ["The fit did not converge: it was stopped."]}
    checks = report.of_fit(record, answers, people, apart, np.array([-1.0])).sections[0].blocks[-1].checks
    assert checks[0] == ("care", "The fit warns", "The fit did not converge: it was stopped.")
    said = {check.title: check.status for check in checks}
    assert said["2 connected components"] == said["1.0 labels per instance"] == "care"
    assert "The fit converged" not in said
    order = [check.status for check in checks]
    assert order == sorted(order, key=("care", "note", "good").index)
    usual = {check.title: check.status for check in result.page().sections[0].blocks[-1].checks}
    assert usual["All labelers are connected"] == usual["The fit converged"] == "good"


@pytest.mark.parametrize(
    "table", [crowd().assign(label=1), pytest.param(crowd()[lambda t: t["labeler"] == "liar"], marks=pytest.mark.slow)]
)
def test_dull_tables_have_pages(table):
    """All labels alike; a single labeler."""
    parsed = Parsed(report.render(crowdjax.fit(table).page()))
    assert len(parsed.table("Labelers")) == table["labeler"].nunique() and len(parsed.table("Instances")) == 120


def test_a_page_of_a_million_instances_is_small():
    n, rng = 1_000_000, np.random.default_rng(0)
    p, votes = rng.random(n), rng.integers(0, 5, (n, 2)).astype(float)
    answers = pa.table({"instance": np.arange(n), "probability": p, "label": (p > 0.5).astype(np.int8)})
    people = {"labeler": np.arange(20_000), "n_labels": rng.integers(1, 400, 20_000)}
    people |= {name: rng.random(20_000) for name in ("sensitivity", "specificity", "accuracy")}
    people |= {f"informedness{end}": np.full(20_000, v) for end, v in (("", 0.5), ("_lower", 0.3), ("_upper", 0.7))}
    counts = Tally(votes, rng.integers(0, 90, (20_000, 2, 2)).astype(float), 1)
    record = dict.fromkeys(("n_labels", "n_labelers", "n_instances", "n_iterations", "n_factors", "seconds"), 1) | {
        **{"model": "factor", "config": {}, "features": {}, "warnings": [], "converged": True, "repeats": "count"},
        **{"objective": -1.0, "log_likelihood": -1.0, "class_prior": 0.5, "result": "converged", "level": 0.95},
    }
    found = factors.directions(rng.normal(size=(20_000, 2)), rng.normal(size=(n, 2)))
    page = report.of_fit(record, answers, pa.table(people), counts, np.array([-3.0, -1.0]), factors=found)
    text = report.render(page)
    assert len(text.encode()) < 2e6
    parsed = Parsed(text)
    assert len(parsed.table("Instances")) == instances.MOST and len(parsed.table("Labelers")) == labelers.MOST
    words = parsed.words(parsed.root)
    assert "The 300 least certain of 1,000,000" in words and "instances.parquet" in words
    assert "The first 500 of 20,000" in words and "labelers.parquet" in words


def test_the_calibration_that_is_quoted_is_the_one_that_was_measured():
    """The table of docs/research/choosing.md, row by row."""
    text = (Path(__file__).resolve().parents[1] / "docs" / "research" / "choosing.md").read_text(encoding="utf-8")
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    rows = {cells[0].strip(): [c.strip() for c in cells] for cells in lines if len(cells) == 7}
    column = rows["method"].index("ECE")
    names = {
        "majority": "majority vote",
        "dawid-skene": "Dawid-Skene",
        "glad": "GLAD",
        "one-coin": "one coin",
        "auto": "auto",
    }
    of_factors = [float(v) for v in rows["1 / 2 / 3 factors, MAP"][column].split("/")]
    for (model, n), error in fit.MEASURED.items():
        wanted = of_factors[n - 1] if model == "factor" else float(rows[names[model]][column])
        assert error == wanted
    assert float(rows["auto, 50 gold labels"][column]) == pytest.approx(0.08, abs=0.005)


# What it draws


def test_a_figure_becomes_part_of_a_page():
    text = plots.as_svg(plots.probabilities(np.array([0.1, 0.9]), title="A & B"), "one")
    drawn = svg.inline(text, "one", 'say "this"')
    assert "<metadata" not in drawn and "#ffffff" not in drawn and "DejaVu" not in drawn and "xmlns" not in drawn
    assert "var(--c0)" in drawn and "var(--g" in drawn and "A &amp; B" in drawn
    assert re.findall(r'(?<= )id="(?!one-)', drawn) == []
    used, there = re.findall(r"#(one-[\w-]+)", drawn), re.findall(r'id="([^"]+)"', drawn)
    assert set(used) == set(there)


def test_nothing_active_comes_along_with_a_figure():
    hostile = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="0 0 9 9"
      onload="alert(1)"><script>alert(1)</script><foreignObject><p>x</p></foreignObject><a href="http://x"><text>y</text></a>
      <image xlink:href="http://x/y.png"/><g onclick="alert(1)"><path d="M0 0" style="fill:url(http://x)"/></g>
      <style>@import "http://x"</style><text x="1">kept</text></svg>"""
    drawn = svg.inline(hostile, "n", "t")
    assert "kept" in drawn
    for part in ("alert", "http", "script", "foreignObject", "import", "onclick", "<a"):
        assert part not in drawn


# Where it is written


def test_it_is_saved_with_the_result_and_is_part_of_it(result, tmp_path):
    out, page = tmp_path / "out", result.page()
    result.save(out, report=True)
    files = json.loads((out / "fit.json").read_text())["files"]
    drawn = {d.name for d in page.drawings()}
    assert len(drawn) >= 5 and "report.html" in files
    assert {f for f in files if f.startswith("figures/")} == {f"figures/{n}.{k}" for n in drawn for k in ("svg", "png")}
    assert (out / "report.html").read_text(encoding="utf-8") == report.render(page)  # nothing that changes by itself
    again = crowdjax.load(out)
    with pytest.raises(InputError, match="report: the result was loaded"):
        again.save(tmp_path / "again", report=True)
    assert not (tmp_path / "again").exists()
    again.save(out)
    assert "report.html" not in os.listdir(out)


def test_the_command_line_writes_it(tmp_path, monkeypatch):
    monkeypatch.setenv("CROWDJAX_CACHE", "off")
    monkeypatch.chdir(tmp_path)
    crowd().to_csv("labels.csv", index=False)
    call = lambda *words: CliRunner().invoke(app, list(words))  # noqa: E731
    done = call("fit", "labels.csv", "--report", "--out", "out")
    columns = "crowdjax: columns of labels labels.csv: labeler=labeler, instance=instance, label=label\n"
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", columns)
    assert Parsed((tmp_path / "out" / "report.html").read_text()).table("Labelers")
    done = call("fit", "labels.csv", "--minibatch", "50", "--report", "--out", "new")
    assert done.exit_code == 2 and "--report" in done.stderr and not (tmp_path / "new").exists()


@pytest.fixture(scope="module")
def contextual() -> crowdjax.ContextualResult:
    rng = np.random.default_rng(0)
    score, who = rng.random(60), [f"<b>{k}</b> $" for k in range(4)]
    truth = rng.random(60) < score
    label = np.where(rng.random((60, 4)) < 0.9, truth[:, None], ~truth[:, None]).astype(int)
    labels = {"labeler": who * 60, "instance": np.repeat(np.arange(60), 4), "label": label.ravel()}
    scores = {"instance": np.arange(60), "score": score}
    settings = dict(prevalence="linear", accuracy="constant", inference="laplace", draws=100)
    return crowdjax.context(labels, scores, **settings)


@pytest.mark.slow
def test_a_contextual_fit_has_a_page(contextual, tmp_path):
    contextual.save(tmp_path / "out", report=True)
    parsed = Parsed((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert parsed.references() == [] and len(parsed.all("script")) == 1
    first = next(parsed.words(h) for h in parsed.all("h2"))
    assert first == "Before you trust it"
    titles = {s.get("aria-label") for s in parsed.all("svg")}
    assert {f"{n} over the score" for n in ("Prevalence", "Sensitivity", "Specificity")} < titles
    estimates = {row["estimate"]: row for row in parsed.table("Estimates")}
    for expected in contextual.prevalence["estimates"]:
        row = estimates[expected["method"]]
        assert float(row["share="]) == pytest.approx(expected["mean"], rel=1e-5)
        assert row["lower="] == "" if expected["lower"] is None else f"{expected['lower']:.6g}"
    assert "vote share" in estimates
    rows = {row["diagnostic"]: row for row in parsed.table("Diagnostics")}
    khat = contextual.record["diagnostics"]["khat"]
    assert rows["Pareto k-hat"]["here"] == f"{khat:.2f}"
    assert rows["Pareto k-hat"]["verdict"] == ("good" if khat < 0.7 else "care")
    people = {row["labeler"]: row for row in parsed.table("Labelers")}
    for expected in contextual.tables["labelers"].to_pylist():
        shown = re.findall(r"[−\d.]+", people[expected["labeler"]]["informedness"])
        wanted = [2 * expected[f"balanced_accuracy{end}"] - 1 for end in ("", "_lower", "_upper")]
        np.testing.assert_allclose([float(v.replace("−", "-")) for v in shown], wanted, atol=0.0051)
    score = dict(zip(*(contextual.tables["instances"][n].to_pylist() for n in ("instance", "score")), strict=True))
    assert all(
        float(r["score="]) == pytest.approx(score[int(r["instance"])], rel=1e-5) for r in parsed.table("Instances")
    )
    files = json.loads((tmp_path / "out" / "fit.json").read_text())["files"]
    assert {"report.html", "figures/functions.svg", "figures/labelers.png", "figures/probabilities.svg"} < set(files)


@pytest.mark.slow
def test_a_look_has_a_page(of_auto, tmp_path):
    found = crowdjax.check(of_auto, crowd(), replicates=19)
    found.save(tmp_path / "look", report=True)
    parsed = Parsed((tmp_path / "look" / "report.html").read_text(encoding="utf-8"))
    assert parsed.references() == []
    surprise = dict(zip(*(found.tables["instances"][n].to_pylist() for n in ("instance", "surprise")), strict=True))
    rows = parsed.table("Instances")
    assert [float(r["p-value="]) for r in rows] == pytest.approx(sorted(surprise.values()), rel=1e-5)
    assert {r["labeler"]: int(r["school"].replace("−", "-")) for r in parsed.table("Labelers")} == dict(
        zip(*(found.tables["labelers"][n].to_pylist() for n in ("labeler", "school")), strict=True)
    )


# As others see it


@pytest.fixture(scope="module")
def written(result, of_auto, tmp_path_factory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pages")
    pages = {"factor": result.page(), "auto": of_auto.page()}
    for name, found in pages.items():
        (folder / f"{name}.html").write_text(report.render(found), encoding="utf-8")
    return [folder / f"{name}.html" for name in pages]


def test_the_nu_html_checker_finds_nothing(written):
    """``VNU_JAR`` names its jar (npm's vnu-jar has it), or ``vnu`` is a command."""
    jar, command = os.environ.get("VNU_JAR"), shutil.which("vnu")
    if not command and not (jar and Path(jar).is_file() and shutil.which("java")):
        pytest.skip("no Nu HTML checker: VNU_JAR names no jar (or there is no java) and there is no command vnu")
    words = [command] if command else ["java", "-jar", jar]
    done = subprocess.run([*words, *map(str, written)], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


SCRIPT = """<script>
addEventListener("load", () => setTimeout(() => {
  const frame = document.querySelector("iframe").contentDocument;
  const root = frame.documentElement, out = {};
  out.overflow = root.scrollWidth - root.clientWidth;
  const table = [...frame.querySelectorAll("table")].find(t => t.caption.textContent.startsWith("Labelers"));
  const head = [...table.tHead.rows[0].cells].find(c => c.textContent.startsWith("labels"));
  const column = () => [...table.tBodies[0].rows].map(r => Number(r.cells[head.cellIndex].dataset.v));
  head.querySelector("button").click();
  out.first = [head.getAttribute("aria-sort"), column()];
  head.querySelector("button").click();
  out.second = [head.getAttribute("aria-sort"), column()];
  const box = [...frame.querySelectorAll(".find input")].at(-1);
  box.value = "liar";
  box.dispatchEvent(new Event("input"));
  out.left = [...table.tBodies[0].rows].filter(r => r.checkVisibility()).map(r => r.cells[0].textContent);
  out.dark = getComputedStyle(frame.body).backgroundColor;
  document.querySelector("output").textContent = JSON.stringify(out);
}, 300));
</script>"""


@pytest.mark.parametrize("mode", ["light", "dark"])
def test_a_browser_shows_it_on_a_phone_and_sorts_its_tables(written, tmp_path, mode):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not chromium:
        pytest.skip("no Chromium: none of the commands chromium, chromium-browser, google-chrome is there")
    (tmp_path / "phone.html").write_text(
        f"<!DOCTYPE html><iframe src='{written[1].as_uri()}' width=360 height=700></iframe><output></output>{SCRIPT}"
    )
    flags = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --disable-sync"
    more = [f"--blink-settings=preferredColorScheme={int(mode == 'light')}", f"--user-data-dir={tmp_path / 'profile'}"]
    own = ["--disable-component-update", "--allow-file-access-from-files", "--virtual-time-budget=5000", "--dump-dom"]
    page = (tmp_path / "phone.html").as_uri()
    done = subprocess.run([chromium, *flags.split(), *more, *own, page], capture_output=True, text=True, timeout=120)
    found = json.loads(re.search(r"<output>(.*?)</output>", done.stdout)[1])
    assert found["overflow"] == 0
    counts = sorted([120] * 10 + [2])
    assert found["first"] == ["descending", counts[::-1]]
    assert found["second"] == ["ascending", counts]
    assert found["left"] == ["liar"]
    assert found["dark"] == {"light": "rgb(250, 249, 246)", "dark": "rgb(20, 23, 26)"}[mode]
