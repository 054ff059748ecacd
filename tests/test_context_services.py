"""Services of the contextual model: predict, checks, repeats, continuing, stopping, devices; and its contract."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, log_expit, logsumexp
from typer.testing import CliRunner

import crowdjax
from crowdjax import cli, contextual
from crowdjax import labels as layout
from crowdjax.contextual import Contextual, ContextualConfig, Inference, Scale, prepare_data
from crowdjax.contextual.model import log_density, size_of
from crowdjax.labels import InputError, Labels
from crowdjax.observation.checks import replicate

N, WORDS = 60, np.array(["goose", "swan"])
SIMPLE = dict(prevalence="linear", accuracy="constant", labelers="offset")
QUICK = dict(SIMPLE, constraint="ordered", inference="laplace", draws=50)


def crowd(n: int = N, labelers: int = 5, each: int = 3, seed: int = 0):
    """(labels in words, scores): prevalence rises with the score, labelers are right in 85 % of instances."""
    rng = np.random.default_rng(seed)
    score, instance = rng.random(n), np.repeat(np.arange(n), each)
    truth = rng.random(n) < score
    labeler = np.concatenate([rng.permutation(labelers)[:each] for _ in range(n)])
    label = truth[instance] ^ (rng.random(len(instance)) < 0.15)
    table = {"labeler": labeler, "instance": instance, "label": WORDS[label.astype(int)]}
    return table, {"instance": np.arange(n), "score": score}


TABLE, SCORES = crowd()


@pytest.fixture(scope="module")
def result():
    return crowdjax.context(TABLE, SCORES, **QUICK)


def probability(found) -> np.ndarray:
    return found.tables["instances"].sort_by("instance")["probability"].to_numpy()


def effects(fit, draws):
    """(s, γ) of every draw and labeler, by hand, where accuracy is constant and labelers differ by an offset."""
    mean = draws.get("labeler_mean", draws["labeler_offset"].mean(-1))
    e = draws["labeler_scale"][:, :, None] * (draws["labeler_offset"] - mean[:, :, None])
    return np.logaddexp(0, draws["accuracy_mean"][:, None] + e[:, 0]), draws["bias_mean"][:, None] + e[:, 1]


def by_bayes(fit, labeler, instance, sign, score) -> np.ndarray:
    """P(positive | labels) of every instance, averaged over the draws."""
    draws = {name: np.asarray(v, np.float64) for name, v in fit.draws.items()}
    s, gamma = effects(fit, draws)
    logit = draws["prevalence_mean"][:, None] + draws["prevalence_slope"] @ fit.scale(score).T
    for i, j, sign_of in zip(labeler, instance, sign, strict=True):
        up, down = (log_expit(sign_of * (z * s[:, i] + gamma[:, i])) for z in (1, -1))
        logit[:, j] += up - down
    return expit(logit).mean(0)


# Predictions


def test_a_prediction_of_the_labels_that_were_fitted_is_the_fit(result, tmp_path):
    result.save(tmp_path / "out")
    for fitted in (result, crowdjax.load(tmp_path / "out")):
        found = fitted.predict(TABLE, SCORES)
        np.testing.assert_allclose(probability(found), probability(result), atol=1e-6)
        assert found.tables["instances"]["label"].equals(result.tables["instances"]["label"])
        assert fitted.index.classes == ("goose", "swan") and found.record["n_unseen_labelers"] == 0


def test_a_prediction_is_bayes_rule_over_the_draws(result):
    """Labelers in another order, and not all of them."""
    new = {"labeler": [4, 2, 2, 1], "instance": list("aabc"), "label": WORDS[[1, 1, 0, 0]]}
    score = np.array([0.5, 0.9, 0.1])
    found = result.predict(new, {"instance": list("abc"), "score": score})
    expected = by_bayes(result.fit, [4, 2, 2, 1], [0, 0, 1, 2], [1, 1, -1, -1], score)
    np.testing.assert_allclose(probability(found), expected, atol=1e-5)


def test_a_labeler_whom_nobody_met_is_drawn_from_the_crowd(result):
    many = np.r_[3, np.full(4000, -1)]
    found = contextual.with_labelers(result.fit, many, jax.random.key(1))
    old, new = (np.stack(effects(f, f.draws)) for f in (result.fit, found))
    np.testing.assert_allclose(new[:, :, 0], old[:, :, 3], rtol=1e-5)
    scale = found.draws["labeler_scale"]
    mean = result.fit.draws["bias_mean"] - scale[:, 1] * result.fit.draws["labeler_offset"][:, 1].mean(-1)
    z = (new[1, :, 1:] - mean[:, None]) / scale[:, 1:]  # 50 x 4000 standard normals
    assert abs(z.mean()) < 4 / np.sqrt(z.size) and abs(z.var() - 1) < 4 * np.sqrt(2 / z.size)
    told = result.predict({"labeler": [77], "instance": [1], "label": ["swan"]}, {"instance": [1], "score": [0.5]})
    assert told.record["n_unseen_labelers"] == 1 and "1 of 1 labelers are not in the fit" in " ".join(told.warnings)


def test_new_tables_are_read_as_the_fit_read_its_own(result):
    one = {"labeler": [0], "instance": [1], "label": ["swan"]}
    assert result.predict(one, {"instance": [1], "score": [0.9]}).instances["label"].tolist() == ["swan"]
    for label, score, words in (
        ("duck", 0.9, "got 'duck'"),
        ("swan", np.nan, "finite numbers"),
    ):
        with pytest.raises(InputError, match=words):
            result.predict(one | {"label": [label]}, {"instance": [1], "score": [score]})
    with pytest.raises(InputError, match="no row for instance 1"):
        result.predict(one, {"instance": [2], "score": [0.9]})
    beyond = result.predict(one, {"instance": [1], "score": [7.0]})
    assert any("new instances: column 'score' is 7 in 1 row" in w for w in beyond.warnings)


# Approximations

TWO = {"instance": np.arange(N), "a": SCORES["score"], "b": np.linspace(0, 1, N) % 0.37}
BOTH = {"scores.score": ["a", "b"]}
FLAT = dict(accuracy="constant", labelers="global", inference="laplace", draws=20)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (dict(approximation="exact"), ("exact", "additive", 60 + 41)),
        (dict(approximation="inducing", n_basis=12), ("inducing", "additive", 12)),
        (dict(n_basis=16), ("hsgp", "additive", 16)),
        pytest.param(dict(combine="tensor", n_basis=20), ("inducing", "tensor", 20), marks=pytest.mark.slow),
        pytest.param(
            dict(combine="tensor", approximation="hsgp", n_basis=6), ("hsgp", "tensor", 36), marks=pytest.mark.slow
        ),
    ],
)
def test_approximations_are_reached_saved_and_agree(settings, expected, tmp_path):
    several = dict(columns=BOTH) if "combine" in settings else {}
    found = crowdjax.context(TABLE, TWO if several else SCORES, **FLAT, **several, **settings)
    gp = found.fit.config.gp
    weights = found.fit.draws["prevalence_weights"].shape[-1]
    assert (gp.approximation, gp.columns) == expected[:2] and abs(weights - expected[2]) <= 2
    found.save(tmp_path / "o")
    assert crowdjax.load(tmp_path / "o").fit.config == found.fit.config
    share = found.prevalence["mean"]
    assert abs(share - 0.5) < 0.15 and found.prevalence["lower"] < share < found.prevalence["upper"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(approximation="nystrom"), "approximation: got 'nystrom'; allowed: hsgp, inducing, exact"),
        (dict(approximation="exact", n_basis=8), "n_basis: given with approximation exact"),
        (dict(n_basis=1), "n_basis: got 1; allowed with hsgp: 2 to 1024"),
        (dict(n_basis=8, prevalence="linear"), "n_basis: given with prevalence 'linear' and accuracy 'constant'"),
        (dict(combine="tensor"), "combine: got 'tensor' with one score, 'score'"),
        (
            dict(combine="tensor", approximation="hsgp", n_basis=33, columns=BOTH),
            "n_basis: got 33; allowed with hsgp: 2 to 32 of each of 2 scores",
        ),
        (dict(combine="tensor", columns={"scores.score": list("abcd")}), "'tensor' with 4 scores; allowed: up to 3"),
    ],
)
def test_approximations_that_do_not_apply_are_refused(settings, message):
    scores = dict(TWO, c=TWO["b"] ** 2, d=TWO["a"] ** 2) if "columns" in settings else SCORES
    with pytest.raises(InputError, match=message):
        crowdjax.context(TABLE, scores, **FLAT | settings)


def test_the_exact_process_of_too_many_scores_is_refused():
    table, scores = crowd(1001, each=1)
    with pytest.raises(InputError, match="'exact' with 1001 distinct scores; allowed: up to 1000, or hsgp, inducing"):
        crowdjax.context(table, scores, **FLAT, approximation="exact")


# The contract


@pytest.mark.parametrize("labelers", ["global", "offset", "function"])
def test_the_contract_states_the_density_that_is_fitted(x64, labelers, monkeypatch):
    """Rows of labels and a prior of instances, summed by hand, with weights and gold, in blocks that are padded."""
    monkeypatch.setattr(layout, "FLAT_BELOW", 0)
    monkeypatch.setattr(layout, "LABELS_PER_BLOCK", 256)
    rng = np.random.default_rng(0)
    n = 300
    score, labeler = rng.random(n), np.concatenate([rng.permutation(6)[:3] for _ in range(n)])
    gold = np.where(rng.random(n) < 0.2, rng.random(n) < 0.5, np.nan)
    given = labeler, np.repeat(np.arange(n), 3), rng.random(3 * n) < 0.5
    labels = Labels.from_arrays(*given, weight=rng.choice([0.5, 2], 3 * n), gold=gold)
    assert labels.n_blocks > 1 and labels.n_blocks * labels.block_instances > n
    config = ContextualConfig(labelers=labelers)
    data = prepare_data(config, labels, Scale.learn(score)(score))
    model, u = Contextual.of(config, data), jnp.asarray(rng.normal(size=size_of(config, data)))
    params = model.params(labels, u)
    rows, joint = np.asarray(model.rows(params, labels)), np.array(model.log_points(params))
    np.testing.assert_allclose(logsumexp(rows, 1), 0, atol=1e-12)
    np.testing.assert_allclose(logsumexp(joint, 1), 0, atol=1e-12)
    each = np.asarray(labels.counts)[:, None] * rows[np.arange(len(rows)), np.maximum(labels.label, 0)]
    np.add.at(joint, np.asarray(labels.instance), each)
    known = np.asarray(labels.gold) >= 0
    by_hand = logsumexp(joint[~known], 1).sum() + joint[known, np.asarray(labels.gold)[known]].sum()
    np.testing.assert_allclose(model.evidence(labels, params), by_hand, rtol=1e-12)
    density = log_density(config, data, u)
    np.testing.assert_allclose(by_hand + float(model.log_prior(params)), density, rtol=1e-12)
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(jnp.shape, model.start(labels))
    assert not any(model.specs(params).values())


def test_replicates_have_the_labelers_sensitivity_at_every_score(result):
    """20 000 labels of one labeler: shares of the label 1 at either class, against the function's own."""
    n, score = 20_000, 0.3
    labels = Labels.from_arrays(np.full(n, 2), np.arange(n), np.ones(n, int), n_labelers=5)
    config = result.fit.config
    data = prepare_data(config, labels, np.full((n, 1), result.fit.scale([score])[0, 0]))
    model = Contextual.of(config, data)
    params = model.params(labels, jnp.asarray(result.fit.unconstrained[0, 7]))
    s, gamma = (v[7, 2] for v in effects(result.fit, result.fit.draws))
    for k, z in enumerate((-1, 1)):
        drawn = np.asarray(replicate(jax.random.key(k), labels, model, params, jnp.full(n, k)))
        p = expit(z * s + gamma)
        assert abs(drawn.mean() - p) < 4 * np.sqrt(p * (1 - p) / n)


def test_checks_let_a_good_fit_pass_and_see_labelers_who_copy(result):
    found = crowdjax.check(result, TABLE, replicates=19)
    assert [check["name"] for check in found.record["checks"]] == ["label shares", "vote counts", "agreement"]
    assert not any(check["failed"] for check in found.record["checks"]) and found.record["n_looked_at"] == N
    assert "sensitivity_upper" in found.tables["labelers"].column_names
    again = result.checks(TABLE, scores=SCORES, replicates=19)
    assert all(table.equals(again.tables[name]) for name, table in found.tables.items())
    rng = np.random.default_rng(1)
    table, scores = crowd(200, each=5)
    swapped = rng.random(200) < 0.3  # instances in which three of five err together
    copies = np.isin(table["labeler"], [0, 1, 2]) & swapped[table["instance"]]
    table["label"] = np.where(copies, WORDS[(table["label"] == WORDS[0]).astype(int)], table["label"])
    failed = crowdjax.context(table, scores, **QUICK).checks(table, replicates=19)
    assert {check["name"] for check in failed.record["checks"] if check["failed"]} >= {"agreement"}


def test_checks_take_what_was_fitted_and_nothing_else(result):
    less = {name: values[3:] for name, values in TABLE.items()}
    with pytest.raises(InputError, match="the instances are not those of the fit"):
        crowdjax.check(result, less)
    with pytest.raises(InputError, match="scores: not those of the fit"):
        result.checks(TABLE, scores=SCORES | {"score": SCORES["score"][::-1]})
    with pytest.raises(InputError, match="instance features: given, but the fit used none"):
        crowdjax.check(result, TABLE, instance_features=SCORES)
    with pytest.raises(InputError, match="19"):
        result.checks(TABLE, replicates=5)


# Repeats


def test_repeated_judgements_are_taken_as_asked(result):
    """Every judgement given twice, the first time wrongly: the last ones are the labels of the fit."""
    wrong = WORDS[(TABLE["label"] == WORDS[0]).astype(int)]
    twice = {name: np.r_[wrong if name == "label" else values, values] for name, values in TABLE.items()}
    found = crowdjax.context(twice, SCORES, **QUICK, repeats="last")
    np.testing.assert_array_equal(probability(found), probability(result))
    assert found.record["repeats"] == "last" and found.record["labels_sha256"] == result.record["labels_sha256"]
    assert any("180 of 360 labels repeat an earlier one" in w and "only the last" in w for w in found.warnings)
    np.testing.assert_allclose(probability(found.predict(twice, SCORES)), probability(found), atol=1e-6)
    assert found.checks(twice, replicates=19).record["n_labels"] == 180
    with pytest.raises(InputError, match="repeats: got 'both'"):
        crowdjax.context(TABLE, SCORES, **QUICK, repeats="both")


# Going on, and stopping

CHAINS = Inference("nuts", n_draws=150, n_warmup=50, n_chains=2, n_thin=1)


def test_a_stopped_chain_keeps_its_draws_and_goes_on():
    def until(n):
        return lambda stage, done, total, **_: stage == "nuts" and done >= n

    part = crowdjax.context(TABLE, SCORES, **SIMPLE, inference=CHAINS, progress=until(90))
    assert part.fit.unconstrained.shape[:2] == (2, 50) and part.record["stopped"]
    assert "stopped after 50 of 150 draws of each chain" in " ".join(part.warnings)
    assert part.tables["instances"].num_rows == N
    more = dataclasses.replace(CHAINS, n_draws=50)
    found = crowdjax.context(TABLE, SCORES, **SIMPLE, inference=more, start=part)
    assert found.fit.unconstrained.shape[:2] == (2, 100) and not found.record["stopped"]
    np.testing.assert_array_equal(found.fit.unconstrained[:, :50], part.fit.unconstrained)
    with pytest.raises(KeyboardInterrupt, match="before the first draws after warm-up"):
        crowdjax.context(TABLE, SCORES, **SIMPLE, inference=CHAINS, progress=until(1))


def test_svi_stops_at_its_quadratic_and_laplace_says_that_it_has_nothing():
    def at(stage_asked):
        return lambda stage, done, total, **_: stage == stage_asked and done >= 2

    found = crowdjax.context(TABLE, SCORES, **SIMPLE, inference="svi", draws=50, progress=at("svi"))
    assert len(found.fit.trace) == 2 and found.fit.n_draws == 50 and found.record["stopped"]
    assert "stopped after 2 of 30 steps" in " ".join(found.warnings)
    with pytest.raises(KeyboardInterrupt, match="laplace has nothing to return before its end"):
        crowdjax.context(TABLE, SCORES, **QUICK, progress=at("draws"))


def test_a_fit_starts_from_an_earlier_one_of_the_same_labels_only(result):
    again = crowdjax.context(TABLE, SCORES, **QUICK, start=result)
    np.testing.assert_allclose(probability(again), probability(result), atol=0.02)  # the mode is found to a tolerance
    other = TABLE | {"label": np.roll(TABLE["label"], 1)}
    for given, words in (
        (dict(table=other), "start: a fit of other labels, gold, scores"),
        (dict(scores=SCORES | {"score": SCORES["score"] ** 2}), "other labels, gold, scores"),
        (dict(gold={"instance": [0], "label": ["swan"]}), "other labels, gold, scores"),
        (dict(constraint="both"), "other settings of the functions"),
        (dict(start=crowdjax), "start: got"),
    ):
        settings = dict(table=TABLE, scores=SCORES, start=result, **QUICK) | given
        with pytest.raises(InputError, match=words):
            crowdjax.context(**settings)


def test_what_the_model_is_not_for_is_refused_before_the_work():
    with pytest.raises(InputError, match=r"needs a table of scores; call crowdjax\.context"):
        crowdjax.fit(TABLE, "contextual")
    with pytest.raises(InputError, match="start: given with 3 classes"):
        crowdjax.context(TABLE | {"label": np.resize(["a", "b", "c"], 180)}, SCORES, **QUICK, start=object())


# Devices


@pytest.mark.slow
def test_eight_devices_find_what_one_finds(fresh_python):
    """Blocks that do not divide among the devices, weights and gold: the gradient, the fit and its answers."""
    printed = fresh_python(
        """
import jax
jax.config.update("jax_enable_x64", True)
import numpy as np
from jax.sharding import Mesh
import crowdjax
from crowdjax import contextual, labels as layout
from crowdjax.contextual.model import log_density, size_of
layout.FLAT_BELOW, layout.LABELS_PER_BLOCK = 0, 200
rng = np.random.default_rng(0)
n = 700
score, instance = rng.random(n), np.repeat(np.arange(n), 3)
truth = rng.random(n) < score
labeler = np.concatenate([rng.permutation(8)[:3] for _ in range(n)])
label = truth[instance] ^ (rng.random(3 * n) < 0.15)
table = {"labeler": labeler, "instance": instance, "label": label, "weight": rng.choice([0.5, 1, 2], 3 * n)}
gold = {"instance": np.arange(0, n, 9), "label": truth[::9]}
scores = {"instance": np.arange(n), "score": score}
mesh = Mesh(np.array(jax.devices()), ("shards",))
labels = layout.Labels.from_arrays(labeler, instance, label, weight=table["weight"])
assert labels.n_blocks > 8 and labels.n_blocks % 8
for config in (contextual.ContextualConfig(labelers="function"), contextual.ContextualConfig(increasing=True)):
    one, many = (
        contextual.prepare_data(config, labels, contextual.Scale.learn(score)(score), mesh=m) for m in (None, mesh)
    )
    u = rng.normal(size=size_of(config, one))
    value = jax.jit(jax.value_and_grad(lambda u, data: log_density(config, data, u)))
    for a, b in zip(value(u, one), value(u, many)):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
settings = dict(prevalence="linear", accuracy="constant", inference="laplace", draws=40, gold=gold)
one, many = (crowdjax.context(table, scores, **settings, devices=k) for k in (1, 8))
np.testing.assert_allclose(one.fit.unconstrained, many.fit.unconstrained, atol=1e-6)
a, b = (found.tables["instances"]["probability"].to_numpy() for found in (one, many))
np.testing.assert_allclose(a, b, atol=1e-6)
for x, y in zip(one.prevalence["estimates"], many.prevalence["estimates"]):
    np.testing.assert_allclose(x["mean"], y["mean"], atol=1e-6)
try:
    crowdjax.context(table, scores, devices=9)
except crowdjax.InputError as error:
    print(error)
""",
        devices=8,
    )
    assert printed.strip() == "devices: got 9; allowed: 1 to 8"


# The command line


def test_commands_predict_and_look_by_a_contextual_fit(result, tmp_path, monkeypatch):
    monkeypatch.setenv("CROWDJAX_CACHE", "off")
    monkeypatch.chdir(tmp_path)
    import pandas as pd

    pd.DataFrame(TABLE).to_csv("labels.csv", index=False)
    pd.DataFrame(SCORES).to_csv("scores.csv", index=False)
    typed = crowdjax.context("labels.csv", "scores.csv", **QUICK)
    typed.save("fit")

    def call(*arguments):
        return CliRunner().invoke(cli.app, [*arguments])

    done = call("predict", "fit", "labels.csv", "--scores", "scores.csv", "--out", "new")
    assert done.exit_code == 0, done.output
    np.testing.assert_allclose(probability(crowdjax.load("new")), probability(typed), atol=1e-6)
    done = call("check", "fit", "labels.csv", "--replicates", "19", "--out", "seen", "--report")
    assert done.exit_code == 0, done.output
    assert len(json.loads((tmp_path / "seen" / "check.json").read_text())["checks"]) == 3
    for arguments, words in (
        (["fit", "labels.csv"], "scores: none given, but the fit is contextual"),
        (
            ["fit", "labels.csv", "--labeler-features", "scores.csv"],
            "--labeler-features: given with a fit of contextual",
        ),
        (["new", "labels.csv"], "new: holds predictions of a fit; allowed: the folder of the fit"),
        (["seen", "labels.csv"], "seen: holds posterior predictive checks of a fit; allowed: the folder of the fit"),
    ):
        refused = call("predict", *arguments, "--out", "no")
        assert (refused.exit_code, words in refused.output) == (2, True), refused.output
