"""Fits on the host equal those by JAX, and need none of it."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pyarrow.parquet as pq
import pytest
from scipy.optimize import minimize
from scipy.special import log_expit, logsumexp, softmax
from scipy.stats import norm

import crowdjax
from crowdjax import factor, io, observation, parallel, spread
from crowdjax.facade import host as on_host
from crowdjax.facade import two
from crowdjax.facade.presets import summary
from crowdjax.host import cells, classes
from crowdjax.host import two as host
from crowdjax.labels import Labels
from crowdjax.observation import labeler_summary
from crowdjax.observation.integrated_factors import IntegratedGlad
from crowdjax.priors import NAMES, PRESETS, Glad
from crowdjax.result import tally, unsure_of
from crowdjax.stopping import FactorSolver, Solver

ROOT = Path(__file__).resolve().parents[1]
LABELERS, INSTANCES, LABELS = 30, 400, 2500
CASES = ["plain", "rare", "gold", "gold of one class", "weights", "wrong"]


def crowd(case: str) -> dict:
    """Labels as arrays; two labelers and three instances have none."""
    rng = np.random.default_rng(7)
    truth = (rng.random(INSTANCES) < (0.15 if case == "rare" else 0.5)).astype(int)
    labeler, instance = rng.integers(0, LABELERS - 2, LABELS), rng.integers(0, INSTANCES - 3, LABELS)
    right = rng.random(LABELS) < rng.uniform(0.45, 0.95, LABELERS)[labeler]
    label = np.where(right == (case != "wrong"), truth[instance], 1 - truth[instance])
    known = rng.random(INSTANCES) < 0.2
    gold = {"gold": np.where(known, truth, np.nan), "gold of one class": np.where(known & (truth > 0), 1, np.nan)}
    weight = rng.integers(1, 4, LABELS).astype(float) if case == "weights" else None
    sizes = dict(n_labelers=LABELERS, n_instances=INSTANCES)
    return dict(labeler=labeler, instance=instance, label=label, weight=weight, gold=gold.get(case), **sizes)


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("case", "prior"), [*((case, "learn") for case in CASES), *((case, 0.3) for case in ("gold", "weights"))]
)
@pytest.mark.parametrize("name", host.MODELS)
def test_a_fit_on_the_host_is_that_of_jax(case, name, prior):
    if two.config_of(name, prior) is None:
        assert (name, prior) == ("majority", "learn")
        return
    labels, config = Labels.from_arrays(**crowd(case)), dataclasses.replace(PRESETS[name], class_prior=prior)
    model = factor.build(config, labels)
    theirs, ours = parallel.fit(labels, model, jax.random.key(0), devices=1), host.fit(labels, config, FactorSolver())
    for name in ("posterior", "objective", "log_likelihood", "history"):
        np.testing.assert_allclose(getattr(ours.fit, name), getattr(theirs, name), rtol=1e-9, atol=1e-9)
    for name in ("code", "n_steps", "switched"):
        assert getattr(ours.fit, name) == getattr(theirs, name), name
    assert jax.tree.structure(ours.fit.weights) == jax.tree.structure(theirs.weights)
    for a, b in zip(*map(jax.tree.leaves, (ours.fit.weights, theirs.weights)), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-8)
    said = lambda p: (tally(labels, p).agreement, unsure_of(labels, p))  # noqa: E731
    of_jax = summary(model, theirs.weights, parallel.summary(labels, model, theirs), *said(theirs.posterior))
    of_host = host.summary(ours, config, *said(ours.fit.posterior))
    for a, b in zip(of_host[:3], of_jax[:3], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_the_fit_is_a_maximum_that_scipy_finds_too():
    labels, config = Labels.from_arrays(**crowd("gold")), PRESETS["dawid-skene"]
    config = dataclasses.replace(config, class_prior="learn")
    found, problem = host.fit(labels, config, FactorSolver(rtol=1e-12)), host.Problem(labels, config)
    weights = found.fit.weights
    x = np.r_[weights.labeler.free[:, 0], weights.bias.free[:, 0], weights.class_prior.dense[0]]

    def downhill(x):
        return -problem.expect(host.At.of(x))[0] - problem.log_prior(host.At.of(x))

    best = minimize(downhill, x + np.random.default_rng(0).normal(0, 0.1, len(x)), options={"gtol": 1e-4})
    np.testing.assert_allclose(best.fun, -found.fit.objective, rtol=1e-7)
    np.testing.assert_allclose(best.x, x, atol=1e-3)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", ["plain", "rare", "gold"])
@pytest.mark.parametrize("model", host.MODELS)
def test_results_are_those_of_jax_but_for_rounding(case, model, monkeypatch, tmp_path):
    """The same files, columns, warnings and settings."""
    arrays = crowd(case)
    table = {name: arrays[name] for name in ("labeler", "instance", "label")}
    known = {"instance": np.arange(INSTANCES - 3), "label": np.r_[crowd("gold")["gold"][:-3]]}
    there = np.isin(known["instance"], table["instance"]) & np.isfinite(known["label"])
    gold = {name: values[there].astype(int) for name, values in known.items()} if case == "gold" else None
    ours = crowdjax.fit(table, model, gold=gold)
    monkeypatch.setattr(on_host, "may_take", lambda *settings: False)
    theirs = crowdjax.fit(table, model, gold=gold)
    assert type(ours) is type(theirs)
    assert ours.record.keys() == theirs.record.keys()
    loose = {"seconds", "objective", "log_likelihood", "devices"}
    assert {k: v for k, v in ours.record.items() if k not in loose} == {
        k: v for k, v in theirs.record.items() if k not in loose
    }
    for name, expected in theirs.tables.items():
        found = ours.tables[name]
        assert found.schema == expected.schema
        for column in found.column_names:
            a, b = found[column].to_numpy(), expected[column].to_numpy()
            if a.dtype.kind == "f":
                np.testing.assert_allclose(a, b, atol=1e-6, err_msg=f"{name}.{column}")
    ours.save(tmp_path / "out", report=True)
    theirs.save(tmp_path / "other", report=True)
    files = [sorted(p.relative_to(tmp_path / out) for p in (tmp_path / out).rglob("*")) for out in ("out", "other")]
    assert files[0] == files[1]
    with np.load(tmp_path / "out" / "fit.npz") as a, np.load(tmp_path / "other" / "fit.npz") as b:
        assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()}
    again = crowdjax.load(tmp_path / "out").predict(table).instances["probability"]
    unknown = ~np.isin(np.unique(table["instance"]), gold["instance"]) if gold else slice(None)
    np.testing.assert_allclose(again[unknown], ours.tables["instances"]["probability"].to_numpy()[unknown], atol=1e-6)


@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("model", classes.MODELS)
def test_the_command_from_a_table_to_results_imports_no_jax(model, k, tmp_path):
    arrays = crowd("plain") if k == 2 else crowd_of(k, "plain")
    rows = zip(arrays["labeler"], arrays["instance"], arrays["label"], strict=True)
    text = "".join(f"{i},{j},{label}\n" for i, j, label in rows)
    (tmp_path / "labels.csv").write_text("labeler,instance,label\n" + text)
    more = ("scipy",) if (model, k) == ("glad", 3) else ()  # of two classes two labelers are close enough for a look
    code = f"""
import sys
from crowdjax import cli
sys.argv = "crowdjax fit labels.csv --model {model} --report --out out".split()
try:
    cli.main()
except SystemExit as end:
    assert not end.code
print([name for name in {("jax", "jaxlib", "equinox", "optax", "pandas", *more)} if name in sys.modules])
"""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr
    found = pq.read_table(tmp_path / "out" / "instances.parquet")
    expected = crowdjax.fit(tmp_path / "labels.csv", model).tables["instances"]
    assert found.equals(expected)


def test_what_the_host_does_not_fit_goes_on_to_jax(monkeypatch):
    table = {"labeler": list("abcabc"), "instance": [1, 1, 1, 2, 2, 2], "label": list("xxyzzz")}
    reads, read = [], io.read_all
    monkeypatch.setattr(io, "read_all", lambda *settings: reads.append(1) or read(*settings))
    monkeypatch.setattr(on_host, "MOST_NUMBERS", 3)
    assert crowdjax.fit(table, "dawid-skene").record["device"] == jax.devices()[0].device_kind
    assert len(reads) == 1  # not once more
    assert {name for name in NAMES if two.config_of(name, None) is not None} == set(host.MODELS)
    assert {name for name in NAMES if on_host.may_take(name, None)} == set(classes.MODELS)


# K classes

CASES_OF = ["plain", "rare", "gold", "gold of one class", "weights", "one label each"]


def crowd_of(k: int, case: str) -> dict:
    """As ``crowd``, of K classes; in the last case ten labelers have one label each."""
    rng = np.random.default_rng(k)
    share = np.where(np.arange(k) == k - 1, 0.05, 1.0) if case == "rare" else np.ones(k)
    truth = rng.choice(k, INSTANCES, p=share / share.sum())
    labeler, instance = rng.integers(0, LABELERS - 2, LABELS), rng.integers(0, INSTANCES - 3, LABELS)
    if case == "one label each":
        labeler = np.r_[np.arange(10), 10 + labeler[10:] % (LABELERS - 12)]
    right = rng.random(LABELS) < rng.uniform(0.3, 0.9, LABELERS)[labeler]
    label = np.where(right, truth[instance], rng.integers(0, k, LABELS))
    known = rng.random(INSTANCES) < 0.2
    gold = {"gold": np.where(known, truth, np.nan), "gold of one class": np.where(known & (truth == 1), 1, np.nan)}
    weight = rng.integers(1, 4, LABELS).astype(float) if case == "weights" else None
    sizes = dict(n_labelers=LABELERS, n_instances=INSTANCES, n_values=k)
    return dict(labeler=labeler, instance=instance, label=label, weight=weight, gold=gold.get(case), **sizes)


OF_JAX = {"glad": IntegratedGlad} | {
    n: getattr(observation, m.__name__) for n, m in classes.MODELS.items() if n != "glad"
}
FITS = [
    *(pytest.param(name, k, case) for name in classes.MODELS for k, case in ((3, case) for case in CASES_OF[1:])),
    *(pytest.param(name, *of, marks=pytest.mark.slow) for name in classes.MODELS for of in ((2, "plain"), (5, "rare"))),
    *(pytest.param("glad", 2, case) for case in CASES_OF[1:]),
]


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(("name", "k", "case"), FITS)
def test_a_fit_of_classes_on_the_host_is_that_of_jax(name, k, case):
    """Where both have gone as far as they can: of the whole and of half a last step rounding takes the better."""
    labels = Labels.from_arrays(**crowd_of(k, case))
    prior = tuple(((np.arange(k) + 1.0) / (k * (k + 1) / 2)).tolist()) if case == "weights" else "learn"
    prior = "uniform" if name == "majority" else prior
    settings = {"class_prior": prior} | ({"rtol": 0.0} if name == "glad" else {})
    model, same = (models[name](**settings) for models in (classes.MODELS, OF_JAX))
    solver = Solver(rtol=1e-13)
    theirs, ours = spread.fit(labels, same, None, solver, devices=1), classes.fit(labels, model, solver)
    assert ours.fit.params.keys() == theirs.params.keys()
    for part, found in ours.fit.params.items():
        np.testing.assert_allclose(found, theirs.params[part], atol=1e-6, err_msg=part)
    np.testing.assert_allclose(ours.fit.posterior, theirs.posterior, atol=1e-6)
    np.testing.assert_allclose(ours.fit.history[:5], theirs.history[:5], rtol=1e-9)
    np.testing.assert_allclose(ours.fit.objective, theirs.objective, rtol=1e-11)
    np.testing.assert_allclose(ours.fit.log_likelihood, theirs.log_likelihood, rtol=1e-8)
    of_host, of_jax = classes.summary(ours, model), labeler_summary(labels, same, theirs)
    for a, b in zip(of_host[:3], of_jax[:3], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("name", ["one-coin", "dawid-skene", "biased-coin"])
def test_the_objective_of_classes_is_that_of_their_formulas(name):
    """Evidence by the sum over all classes, label by label; nowhere near is it higher."""
    labels, model = Labels.from_arrays(**crowd_of(3, "plain")), classes.MODELS[name]()
    problem, found = classes.Problem(labels, model), classes.fit(labels, model, Solver(rtol=1e-13))
    table, log_pi = problem.labelers.table(found.fit.params), problem.prior.log_p(found.fit.params)
    np.testing.assert_allclose(np.exp(log_pi).sum(), 1)
    h = np.tile(log_pi, (INSTANCES, 1))
    for i, j, label in zip(labels.labeler, labels.instance, labels.label, strict=True):
        h[j] += table[i, label]
    np.testing.assert_allclose(found.fit.log_likelihood, logsumexp(h, axis=1).sum())
    np.testing.assert_allclose(found.fit.posterior, softmax(h, axis=1), atol=1e-12)
    x, rng = problem.flat(found.fit.params), np.random.default_rng(0)
    free = np.concatenate([np.full(int(np.prod(size)), name not in ("n", "middle", "classes"))
                           for name, size in zip(problem.names, problem.sizes, strict=True)])  # fmt: skip
    for _ in range(20):
        near = problem.step(x + free * rng.normal(0, 1e-2, len(x)) / np.sqrt(np.maximum(problem.metric, 1)))
        assert -near.value < found.fit.objective


@pytest.mark.parametrize("k", [2, 4])
def test_the_objective_of_glad_is_that_of_its_formula(k):
    """P(right) = σ(α e^b), errors alike: the sum over classes and b, label by label; nowhere near is it higher."""
    labels, model = Labels.from_arrays(**crowd_of(k, "plain")), Glad(rtol=0.0)
    found, problem = classes.fit(labels, model, Solver(rtol=1e-13)).fit, classes.problem_of(labels, model)
    b, log_pi = np.linspace(1 - 3.5, 1 + 3.5, 16), found.params["exponent"] * found.params["classes"]
    b = b - (b[0] % (b[1] - b[0])) + (b[1] - b[0]) / 2  # at the same places with either sign
    h = np.tile(
        (log_pi - logsumexp(log_pi))[:, None] + norm.logpdf(b, 1) - logsumexp(norm.logpdf(b, 1)), (INSTANCES, 1, 1)
    )
    for i, j, label in zip(labels.labeler, labels.instance, labels.label, strict=True):
        eta = found.params["w"][i] * np.exp(b)
        h[j] += np.where(np.arange(k)[:, None] == label, log_expit(eta), log_expit(-eta) - np.log(k - 1))
    np.testing.assert_allclose(found.log_likelihood, logsumexp(h, axis=(1, 2)).sum())
    np.testing.assert_allclose(found.posterior, softmax(h, axis=(1, 2)).sum(2), atol=1e-12)
    x, rng = problem.flat(found.params), np.random.default_rng(0)
    for _ in range(20):
        near = problem.step(x + rng.normal(0, 1e-2, len(x)) * (problem.metric > 0) / np.sqrt(problem.metric + 1))
        assert -near.value < found.objective


@pytest.mark.parametrize("least", [0, 10**9])
@pytest.mark.parametrize("case", ["plain", "weights"])
def test_sums_of_rows_are_those_label_by_label(case, least, monkeypatch):
    monkeypatch.setattr(cells, "SPARSE_FROM", least)
    labels = Labels.from_arrays(**crowd_of(3, case))
    found, rng = cells.Cells(labels), np.random.default_rng(0)
    rows, columns = rng.normal(size=(2, LABELERS)), rng.normal(size=(2, INSTANCES))
    by_instance, by_labeler, votes = np.zeros((2, INSTANCES)), np.zeros((2, LABELERS)), np.zeros((INSTANCES, 3))
    for i, j, label, n in zip(labels.labeler, labels.instance, labels.label, labels.counts, strict=True):
        by_instance[:, j] += n * rows[:, i]
        by_labeler[:, i] += n * columns[:, j]
        votes[j, label] += n
    np.testing.assert_allclose(found.rows_by_instance(rows), by_instance, atol=1e-12)
    np.testing.assert_allclose(found.rows_by_labeler(columns), by_labeler, atol=1e-12)
    np.testing.assert_allclose(found.votes(), votes)


@pytest.mark.slow
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize(
    ("k", "model", "case"),
    [
        *((3, name, "gold") for name in classes.MODELS),
        (3, "dawid-skene", "plain"),
        (2, "biased-coin", "plain"),
        (2, "glad", "gold"),
        (2, "glad", "plain"),
    ],
)
def test_results_of_classes_are_those_of_jax_but_for_rounding(k, model, case, monkeypatch, tmp_path):
    arrays = crowd_of(k, "gold")
    table = {name: arrays[name] for name in ("labeler", "instance", "label")}
    known = np.flatnonzero(np.isfinite(arrays["gold"]) & np.isin(np.arange(INSTANCES), table["instance"]))
    gold = {"instance": known, "label": arrays["gold"][known].astype(int)} if case == "gold" else None
    ours = crowdjax.fit(table, model, gold=gold)
    monkeypatch.setattr(on_host, "may_take", lambda *settings: False)
    theirs = crowdjax.fit(table, model, gold=gold)
    assert (type(ours), ours.record.keys()) == (type(theirs), theirs.record.keys())
    assert type(ours.model) is type(theirs.model)
    loose = {"seconds", "objective", "log_likelihood", "class_shares", "devices"}
    of = lambda result: json.loads(json.dumps({k: v for k, v in result.record.items() if k not in loose}))  # noqa: E731
    assert of(ours) == of(theirs)
    np.testing.assert_allclose(ours.record["class_shares"], theirs.record["class_shares"], atol=1e-6)
    for name, expected in theirs.tables.items():
        assert ours.tables[name].schema == expected.schema
        for column in expected.column_names:
            a, b = ours.tables[name][column].to_numpy(), expected[column].to_numpy()
            if a.dtype.kind == "f":
                np.testing.assert_allclose(a, b, atol=1e-6, err_msg=f"{name}.{column}")
            else:
                assert (a == b).all()
    ours.save(tmp_path / "out", report=True)
    theirs.save(tmp_path / "other", report=True)
    files = [sorted(p.relative_to(tmp_path / out) for p in (tmp_path / out).rglob("*")) for out in ("out", "other")]
    assert files[0] == files[1]
    with np.load(tmp_path / "out" / "fit.npz") as a, np.load(tmp_path / "other" / "fit.npz") as b:
        assert {k: v.shape for k, v in a.items()} == {k: v.shape for k, v in b.items()}
    again = crowdjax.load(tmp_path / "out").predict(table).tables["instances"]["confidence"].to_numpy()
    unknown = ~np.isin(np.unique(table["instance"]), known) if gold else slice(None)
    np.testing.assert_allclose(again[unknown], ours.tables["instances"]["confidence"].to_numpy()[unknown], atol=1e-6)
    monkeypatch.undo()
    on = crowdjax.fit(table, model, gold=gold, start=ours)
    np.testing.assert_allclose(on.record["objective"], ours.record["objective"], rtol=1e-6)


@pytest.mark.parametrize("weight", [1e12, 1e15])
@pytest.mark.parametrize("name", ["one-coin", "biased-coin", "dawid-skene", "glad"])
@pytest.mark.parametrize("third", ["x", "z"])
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_labels_of_enormous_weights_are_answered(weight, name, third):
    table = {
        "labeler": list("abc" * 3),
        "instance": [1] * 3 + [2] * 3 + [3] * 3,
        "label": list("xyyxyyx") + [third, "x"],
    }
    found = crowdjax.fit(table | {"weight": [weight] + [1.0] * 8}, name)
    p = np.stack(
        [found.instances[n] for n in found.instances if n.startswith("p_")] or [found.instances["probability"]]
    )
    assert np.isfinite(p).all() and (p >= 0).all() and (p <= 1).all()
    assert np.isfinite(found.labelers["accuracy"]).all()


@pytest.mark.long
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("name", ["biased-coin", "glad"])
def test_of_a_class_that_no_instance_has_both_say_what_the_prior_says(name, n_classes):
    """All gold is of one class: there is nothing to count of the others, and nobody is called an adversary for it."""
    rng = np.random.default_rng(2)
    instance, labeler = np.repeat(np.arange(40), 4), np.tile(np.arange(8), 20)
    label = np.where(rng.random(160) < 0.7, 1, rng.integers(0, n_classes, 160))
    sizes = dict(n_labelers=8, n_instances=40, n_values=n_classes)
    labels = Labels.from_arrays(labeler, instance, label, gold=np.ones(40), **sizes)
    model = classes.MODELS[name]()
    ours = classes.fit(labels, model, Solver())
    theirs = IntegratedGlad() if name == "glad" else observation.BiasedCoin()
    of_host = classes.summary(ours, model)
    of_jax = labeler_summary(labels, theirs, observation.fit_jit(labels, theirs))
    for a, b in zip(jax.tree.leaves(of_host), jax.tree.leaves(of_jax), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)
    np.testing.assert_allclose(of_host.confusion[0].sum(2), 1, atol=1e-9)
    if name == "glad":
        beta, log_weight = model.grid()
        right = np.exp(log_weight + log_expit(ours.fit.params["w"] * beta[:, 0])).sum(1)
        np.testing.assert_allclose(of_host.confusion[0][:, 0, 0], right, atol=1e-9)
