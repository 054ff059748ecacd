"""Models of classes: gradients, EM and symmetries of each; special cases against dense EM in NumPy and crowd-kit."""

from __future__ import annotations

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import DawidSkene as KitDawidSkene
from crowdkit.aggregation import OneCoinDawidSkene as KitOneCoin
from scipy import optimize as scipy_optimize
from scipy import special, stats

from crowdjax import factor, observation, optimize
from crowdjax.labels import InputError, Labels
from crowdjax.observation import BiasedCoin, ClassSkill, DawidSkene, Graded, Logistic, Majority, OneCoin, Solver
from crowdjax.observation.fit import m_step
from crowdjax.observation.nominal import coin_table

pytestmark = pytest.mark.usefixtures("x64")

W, I, K, N = 7, 24, 3, 90
EXACT = Solver(rtol=1e-13, max_steps=2000)
TABULAR = {
    "majority": Majority(),
    "one-coin": OneCoin(),
    "one-coin, fixed": OneCoin(population="fixed"),
    "biased-coin": BiasedCoin(),
    "class-skill": ClassSkill(),
    "dawid-skene": DawidSkene(),
    "dawid-skene, 4/1": DawidSkene(pooling=(4.0, 1.0), class_prior=(0.2, 0.3, 0.5)),
    "dawid-skene, no pooling": DawidSkene(pooling=None, class_prior="free"),
    "graded": Graded(),
}
LEARNED = ["one-coin", "biased-coin", "dawid-skene"]
names = pytest.mark.parametrize("name", [*TABULAR, "logistic"])


def model_of(name: str):
    if name != "logistic":
        return TABULAR[name]
    return Logistic(OneCoin(), np.random.default_rng(3).normal(size=(I, 2)))


def triples(seed: int) -> dict:
    """A crowd with weights and gold, a labeler of one label and an instance of none."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, K, I)
    pairs = rng.permutation((W - 1) * (I - 1))[: N - 1]
    labeler, instance = np.r_[pairs // (I - 1), W - 1], np.r_[pairs % (I - 1), 0]
    right = rng.random(N) < np.linspace(0.5, 0.9, W)[labeler]
    gold = np.where(np.arange(I) % 7 == 3, truth, np.nan)
    return dict(
        labeler=labeler,
        instance=instance,
        label=np.where(right, truth[instance], rng.integers(0, K, N)),
        weight=rng.choice([0.5, 1.0, 2.0], N),
        gold=gold,
    )


def crowd(seed: int, **changes) -> Labels:
    return Labels.from_arrays(**triples(seed) | changes, n_labelers=W, n_instances=I, n_values=K)


def dense_evidence(labels: Labels, table, log_points, class_of_point):
    """The evidence from a dense table of counts, instance by instance."""
    counts = np.zeros((labels.n_instances, labels.n_labelers, labels.n_values))
    np.add.at(counts, (labels.instance, labels.labeler, np.maximum(labels.label, 0)), labels.counts)
    h = jnp.einsum("jil,ilg->jg", counts, table) + log_points
    of_gold = jnp.stack([jnp.log(class_of_point[:, z]) if z >= 0 else jnp.zeros(h.shape[1]) for z in labels.gold])
    return jax.nn.logsumexp(h + of_gold, axis=1).sum()


def objective(evidence, labels, model):
    def of(params):
        parts = model.table(params), model.log_points(params), model.class_of_point(params)
        return evidence(labels, *parts) + model.log_prior(params)

    return of


@names
def test_gradients_are_those_of_a_dense_evidence(name):
    labels, model = crowd(0), model_of(name)
    params = model.start(labels, observation.vote_shares(labels))
    rng = np.random.default_rng(1)
    params = jax.tree.map(lambda v: v + 0.2 * rng.random(v.shape), params)
    found, oracle = (
        jax.jit(jax.value_and_grad(objective(evidence, labels, model)))(params)
        for evidence in (observation.evidence, dense_evidence)
    )
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(oracle), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)


@names
def test_em_never_lowers_the_objective(name):
    model = model_of(name)

    @jax.jit
    def step(labels, params):
        found = observation.predict(labels, model, params)
        points = model.gather(params, found.points) if name == "logistic" else found.points
        return found.value + model.log_prior(params), m_step(model, params, found.counts, points)

    for seed in range(3):
        labels = crowd(seed)
        params = jax.tree.map(jnp.asarray, model.start(labels, observation.vote_shares(labels)))
        _, params = step(labels, params)
        values = []
        for _ in range(25):
            value, params = step(labels, params)
            values.append(float(value))
        assert np.diff(values).min() > -1e-8
        assert np.isfinite(values).all()


@names
def test_a_fit_ends_where_the_gradient_is_zero(name):
    labels, model = crowd(0), model_of(name)
    fit = observation.fit_jit(labels, model, solver=EXACT)
    assert int(fit.code) in (optimize.CONVERGED, optimize.STALLED)
    of = objective(observation.evidence, labels, model)
    assert float(fit.objective) == pytest.approx(float(of(fit.params)), abs=1e-9)
    for slope in jax.tree.leaves(jax.jit(jax.grad(of))(fit.params)):
        np.testing.assert_allclose(slope, 0, atol=2e-3)
    np.testing.assert_allclose(fit.posterior.sum(1), 1, atol=1e-12)
    np.testing.assert_allclose(fit.posterior[3], np.eye(K)[int(labels.gold[3])], atol=1e-12)


@pytest.mark.parametrize("name", [*LEARNED, "class-skill"])
def test_names_of_classes_labelers_and_instances_do_not_matter(name):
    rng, given, model = np.random.default_rng(2), triples(0), model_of(name)
    of_class, of_labeler, of_instance = (rng.permutation(n) for n in (K, W, I))
    gold = np.full(I, np.nan)
    gold[of_instance] = [np.nan if np.isnan(z) else of_class[int(z)] for z in given["gold"]]
    moved = crowd(
        0,
        labeler=of_labeler[given["labeler"]],
        instance=of_instance[given["instance"]],
        label=of_class[given["label"]],
        gold=gold,
    )
    before, after = (observation.fit_jit(labels, model, solver=EXACT) for labels in (crowd(0), moved))
    assert float(after.objective) == pytest.approx(float(before.objective), abs=1e-6)
    posterior = np.empty((I, K))
    posterior[:, :] = np.asarray(after.posterior)[of_instance][:, of_class]
    np.testing.assert_allclose(posterior, before.posterior, atol=1e-5)


@pytest.mark.parametrize("name", LEARNED)
def test_weights_are_copies(name):
    given, model = triples(0), model_of(name)
    times = np.random.default_rng(0).integers(1, 3, N)
    copies = {key: np.repeat(given[key], times) for key in ("labeler", "instance", "label")}
    weighted = observation.fit_jit(crowd(0, weight=times), model, solver=EXACT)
    copied = observation.fit_jit(crowd(0, **copies, weight=None), model, solver=EXACT)
    np.testing.assert_allclose(weighted.posterior, copied.posterior, atol=1e-5)


# Against dense EM, and crowd-kit


def dense_em(counts, columns, steps=5000):
    """EM in NumPy from the shares of votes: counts [I, W, L], columns: [W, L, K] counts -> tables; a uniform prior."""
    q = counts.sum(1)
    q /= q.sum(1, keepdims=True)
    for _ in range(steps):
        table = columns(np.einsum("jil,jk->ilk", counts, q))
        h = np.einsum("jil,ilk->jk", counts, np.log(table)) - np.log(counts.shape[2])
        last, q = q, special.softmax(h, axis=1)
        if abs(q - last).max() < 1e-13:
            break
    return special.logsumexp(h, axis=1).sum(), q, table


def able_crowd(seed: int, n_instances=60, each=5):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, K, n_instances)
    labeler = np.concatenate([rng.permutation(W)[:each] for _ in range(n_instances)])
    instance = np.repeat(np.arange(n_instances), each)
    right = rng.random(len(labeler)) < np.linspace(0.6, 0.9, W)[labeler]
    label = np.where(right, truth[instance], rng.integers(0, K, len(labeler)))
    counts = np.zeros((n_instances, W, K))
    np.add.at(counts, (instance, labeler, label), 1)
    return Labels.from_arrays(labeler, instance, label, n_values=K), counts, truth


def test_dawid_skene_without_pooling_is_dense_em():
    labels, counts, _ = able_crowd(0)

    def columns(n):
        return (n + 0.01) / (n + 0.01).sum(1, keepdims=True)

    value, posterior, table = dense_em(counts, columns)
    fit = observation.fit_jit(labels, DawidSkene(pooling=None, class_prior="uniform"), solver=EXACT)
    prior = 0.01 * (np.log(table) - np.log(1 / K)).sum()
    assert float(fit.log_likelihood) == pytest.approx(value, abs=1e-6)
    assert float(fit.objective) == pytest.approx(value + prior, abs=1e-6)
    np.testing.assert_allclose(fit.posterior, posterior, atol=1e-6)


def test_one_coin_is_dense_em():
    labels, counts, _ = able_crowd(1)
    mean, sd = 1.0, 0.7

    def columns(n):
        right, total = np.trace(n, axis1=1, axis2=2), n.sum((1, 2))
        slope = lambda a, r, t: r - t * special.expit(a) - (a - mean) / sd**2  # noqa: E731
        skill = [scipy_optimize.brentq(slope, -20, 20, (r, t), xtol=1e-14) for r, t in zip(right, total, strict=True)]
        p = special.expit(np.array(skill))[:, None, None]
        return np.where(np.eye(K, dtype=bool), p, (1 - p) / (K - 1))

    value, posterior, table = dense_em(counts, columns)
    fit = observation.fit_jit(
        labels, OneCoin(population="fixed", skill=(mean, sd), class_prior="uniform"), solver=EXACT
    )
    skill = special.logit(table[:, 0, 0])
    assert float(fit.objective) == pytest.approx(value - (((skill - mean) / sd) ** 2).sum() / 2, abs=1e-6)
    np.testing.assert_allclose(fit.posterior, posterior, atol=1e-6)


@pytest.mark.parametrize(
    ("kit", "model"),
    [
        (KitDawidSkene, DawidSkene(pooling=(1e-9, 1e-9))),
        (KitOneCoin, OneCoin(population="fixed", skill=(1.0, 1e4))),
    ],
)
def test_what_crowd_kit_converges_to(kit, model):
    labels, *_ = able_crowd(2)
    table = pd.DataFrame(dict(worker=labels.labeler, task=labels.instance, label=labels.label))
    with warnings.catch_warnings(action="ignore"):  # of pandas, that crowd-kit uses what goes
        theirs = kit(n_iter=500, tol=1e-12).fit(table)
    prior = theirs.priors_.sort_index().to_numpy()
    ours = observation.fit_jit(labels, dataclasses.replace(model, class_prior=tuple(prior / prior.sum())), solver=EXACT)
    expected = theirs.probas_.sort_index().sort_index(axis=1).to_numpy()
    np.testing.assert_allclose(ours.posterior, expected, atol=1e-5)


def test_the_gradient_finds_what_em_finds():
    labels, *_ = able_crowd(3)
    model = BiasedCoin(population="fixed")
    em, lbfgs = (
        observation.fit_jit(labels, model, solver=Solver(method, max_steps=2000, rtol=1e-12))
        for method in ("em", "lbfgs")
    )
    assert float(em.objective) == pytest.approx(float(lbfgs.objective), abs=1e-5)
    np.testing.assert_allclose(em.posterior, lbfgs.posterior, atol=1e-3)


# What models say


def test_a_column_sums_to_one_where_nothing_is_integrated_out():
    labels, *_ = able_crowd(0)
    for model in (DawidSkene(), BiasedCoin(population="fixed"), Majority(), Graded()):
        params = model.start(labels, observation.vote_shares(labels))
        np.testing.assert_allclose(np.exp(model.table(params)).sum(1), 1, atol=1e-12)


def test_a_coin_is_a_table_of_two_numbers():
    labels = crowd(0)
    for model in (Majority(), OneCoin()):
        params = model.start(labels, observation.vote_shares(labels))
        np.testing.assert_allclose(coin_table(*model.coin(params), K), model.table(params), atol=1e-12)
    fit = observation.fit_jit(labels, OneCoin(), solver=EXACT)
    found = observation.predict(labels, OneCoin(), fit.params)
    right, total = np.trace(found.counts, axis1=1, axis2=2), found.counts.sum((1, 2))
    np.testing.assert_allclose(OneCoin().coin_step(fit.params, right, total)["w"], fit.params["w"], atol=1e-4)


def test_a_labeler_of_two_labels_is_sure_of_nothing():
    labels, _, truth = able_crowd(4)
    labeler, instance = np.r_[labels.labeler, W, W], np.r_[labels.instance, 0, 1]
    labels = Labels.from_arrays(labeler, instance, np.r_[labels.label, truth[:2]], n_values=K)
    for model in (OneCoin(), BiasedCoin(), ClassSkill(), DawidSkene()):
        fit = observation.fit_jit(labels, model)
        confusion = np.exp(model.table(fit.params))[W]
        assert confusion.max() < 0.97
        assert confusion.min() > 0.005


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("positives", [1, 2, 5])
def test_a_rare_class_is_found(name, positives):
    """MODELS.md, 5: with a fixed prior of one half the answers were .55 to .71 right."""
    rng = np.random.default_rng(positives)
    truth = np.arange(150) < positives
    labeler, instance = np.tile(np.arange(12), 150), np.repeat(np.arange(150), 12)
    label = truth[instance] ^ (rng.random(1800) < 0.1)
    fit = observation.fit_jit(Labels.from_arrays(labeler, instance, label), model_of(name))
    assert (fit.posterior.argmax(1) == truth).mean() > 0.99


def test_where_every_label_is_the_same_so_are_the_answers():
    labels = Labels.from_arrays([0, 1, 2] * 5, np.repeat(np.arange(5), 3), np.ones(15, int))
    for model in (OneCoin(), BiasedCoin(), DawidSkene()):
        assert (observation.fit_jit(labels, model).posterior.argmax(1) == 1).all()


def test_features_of_instances_tell_their_classes_apart():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 1))
    truth = rng.random(200) < special.expit(4 * x[:, 0])
    labeler, instance = np.tile(np.arange(3), 200), np.repeat(np.arange(200), 3)
    label = truth[instance] ^ (rng.random(600) < 0.3)
    labels = Labels.from_arrays(labeler, instance, label)
    with_features = observation.fit_jit(labels, Logistic(OneCoin(), x, sd=2.0))
    without = observation.fit_jit(labels, OneCoin())
    right = [(fit.posterior.argmax(1) == truth).mean() for fit in (with_features, without)]
    assert right[0] > right[1] + 0.04
    moved = with_features.params["weights"]
    assert float(moved[1, 1] - moved[1, 0]) == pytest.approx(4, abs=1.5)


@pytest.mark.slow
def test_a_class_prior_of_features_is_the_same_on_four_devices(fresh_python):
    printed = fresh_python(
        """
import numpy as np
from crowdjax import spread
from crowdjax.labels import Labels
from crowdjax.observation import DawidSkene, Logistic, Solver
rng = np.random.default_rng(0)
x = rng.normal(size=(203, 2))
truth = (x @ [1.0, -1.0] + rng.logistic(size=203) > 0) + 0
instance, labeler = np.repeat(np.arange(203), 4), np.tile(np.arange(8), 102)[:812]
label = np.where(rng.random(812) < 0.7, truth[instance], rng.integers(0, 3, 812))
labels = Labels.from_arrays(labeler, instance, label, n_values=3)
one, four = (spread.fit(labels, Logistic(DawidSkene(), x), solver=Solver(rtol=1e-9), devices=n) for n in (1, 4))
print(abs(one.posterior - four.posterior).max() < 1e-3, abs(one.objective / four.objective - 1) < 1e-5)
""",
        devices=4,
    )
    assert printed.split() == ["True", "True"]


# Labelers


def test_labelers_who_are_new_are_as_the_population():
    labels, *_ = able_crowd(0)
    for model in (OneCoin(), DawidSkene(), Majority(), Graded()):
        params = observation.fit_jit(labels, model).params
        rows = observation.rows_of_labelers(model, params, np.array([3, -1, 0]))
        table, of_rows = model.table(params), model.table(rows)
        np.testing.assert_allclose(np.asarray(of_rows)[[0, 2]], np.asarray(table)[[3, 0]], atol=1e-12)
        assert np.isfinite(of_rows).all()
    again = observation.predict_new(labels, model, params, np.arange(W))
    np.testing.assert_allclose(again.posterior, observation.predict(labels, model, params).posterior)


def test_intervals_of_confusion_are_those_of_beta():
    labels, *_ = able_crowd(0)
    model = DawidSkene(pooling=(4.0, 1.0))
    fit = observation.fit_jit(labels, model)
    found = observation.predict(labels, model, fit.params)
    mean, lower, upper = observation.labeler_summary(labels, model, fit, 0.9).confusion
    column = np.asarray(found.counts[2, :, 1]) + [1, 4, 1]
    assert mean[2, 1].tolist() == pytest.approx((column / column.sum()).tolist())
    expected = stats.beta(column[0], column.sum() - column[0]).ppf([0.05, 0.95])
    assert [lower[2, 1, 0], upper[2, 1, 0]] == pytest.approx(expected.tolist(), abs=1e-9)


def test_the_interval_of_a_coin_is_its_curvature():
    labels, *_ = able_crowd(0)
    model = OneCoin(population="fixed", skill=(1.0, 2.0))
    fit = observation.fit_jit(labels, model)
    found = observation.predict(labels, model, fit.params)
    accuracy = observation.labeler_summary(labels, model, fit).accuracy
    skill = np.asarray(fit.params["w"][:, 0])
    p, n = special.expit(skill), np.asarray(found.counts).sum((1, 2))
    sd = 1 / np.sqrt(n * p * (1 - p) + 1 / 4)
    np.testing.assert_allclose(accuracy[0], p, atol=1e-9)
    np.testing.assert_allclose(special.logit(accuracy[2]), skill + stats.norm.ppf(0.975) * sd, atol=1e-6)


def test_nine_of_ten_intervals_hold_the_labeler():
    rng = np.random.default_rng(0)
    n_labelers, n_instances = 40, 400
    skill = rng.normal(1.2, 0.8, n_labelers)
    truth = rng.integers(0, K, n_instances)
    labeler = np.concatenate([rng.permutation(n_labelers)[:8] for _ in range(n_instances)])
    instance = np.repeat(np.arange(n_instances), 8)
    right = rng.random(len(labeler)) < special.expit(skill[labeler])
    label = np.where(right, truth[instance], (truth[instance] + rng.integers(1, K, len(labeler))) % K)
    labels = Labels.from_arrays(labeler, instance, label, n_values=K)
    for model in (OneCoin(), BiasedCoin(), DawidSkene()):
        _, lower, upper = observation.labeler_summary(labels, model, observation.fit_jit(labels, model), 0.9).accuracy
        held = ((lower < special.expit(skill)) & (special.expit(skill) < upper)).mean()
        assert held > 0.9 - 3 * np.sqrt(0.9 * 0.1 / n_labelers)


def test_what_a_model_cannot_use_is_refused():
    with pytest.raises(InputError, match="4 values of labels for 2 classes"):
        observation.fit(Labels.from_arrays([0], [0], [3], n_values=4, n_classes=2), OneCoin())
    with pytest.raises(InputError, match="2 numbers; allowed: 3"):
        observation.fit(crowd(0), OneCoin(class_prior=(0.5, 0.5)))
    with pytest.raises(InputError, match="pooling: got 'much'"):
        DawidSkene(pooling="much")
    with pytest.raises(InputError, match="population: got 'own'"):
        OneCoin(population="own")
    with pytest.raises(InputError, match="standard deviations above 0"):
        OneCoin(skill=(1.0, 0.0))


# Two classes, and grades


NORMAL = np.log(2 * np.pi) / 2  # minus the log density of N(0, 1) at 0, which the binary models count


@pytest.mark.parametrize(
    ("preset", "numbers", "model"),
    [
        ("majority", 0, Majority()),
        ("one-coin", W, OneCoin(skill=(1.0, 2.0), population="fixed", class_prior="uniform")),
        ("dawid-skene", 2 * W, BiasedCoin(skill=(1.0, 2.0), bias=2.0, population="fixed", class_prior="uniform")),
    ],
)
def test_of_two_classes_it_is_the_binary_model(preset, numbers, model):
    given = triples(0)
    given |= {"label": given["label"] > 0, "gold": np.where(np.isnan(given["gold"]), np.nan, given["gold"] > 0)}
    labels = Labels.from_arrays(**given, n_labelers=W, n_instances=I)
    solver = factor.Solver(rtol=1e-13, max_steps=2000)
    binary = factor.fit_jit(labels, factor.build(factor.PRESETS[preset], labels), jax.random.key(0), solver)
    fit = observation.fit_jit(labels, model, solver=EXACT)
    constant = numbers * (NORMAL + np.log(2))
    assert float(fit.objective) == pytest.approx(float(binary.objective) + constant, abs=1e-6)
    np.testing.assert_allclose(fit.posterior[:, 1], binary.posterior, atol=1e-6)


def test_of_two_classes_a_logistic_prior_is_the_binary_one():
    rng = np.random.default_rng(1)
    x, given = rng.normal(size=(I, 1)), triples(1)
    labels = Labels.from_arrays(given["labeler"], given["instance"], given["label"] > 0, n_labelers=W, n_instances=I)
    config = dataclasses.replace(factor.PRESETS["one-coin"], class_prior="logistic")
    built = factor.build(config, labels, instance_features=x)
    binary = factor.fit_jit(labels, built, jax.random.key(0), factor.Solver(rtol=1e-13, max_steps=2000))
    fit = observation.fit_jit(labels, Logistic(OneCoin(skill=(1.0, 2.0), population="fixed"), x), solver=EXACT)
    constant = W * (NORMAL + np.log(2)) + 2 * NORMAL
    assert float(fit.objective) == pytest.approx(float(binary.objective) + constant, abs=1e-6)
    np.testing.assert_allclose(fit.posterior[:, 1], binary.posterior, atol=1e-5)


def test_classes_without_names_may_change_places_in_every_instance():
    labels, _, _ = able_crowd(5)
    shift = np.random.default_rng(0).integers(0, K, labels.n_instances)
    moved = Labels.from_arrays(labels.labeler, labels.instance, (labels.label + shift[labels.instance]) % K, n_values=K)
    model = OneCoin(class_prior="uniform")
    before, after = (observation.fit_jit(given, model, solver=EXACT).posterior for given in (labels, moved))
    there = (np.arange(K) + shift[:, None]) % K
    np.testing.assert_allclose(np.take_along_axis(np.asarray(after), there, axis=1), before, atol=1e-6)


def test_cuts_of_grades_come_back():
    rng = np.random.default_rng(0)
    cuts, skill = np.array([-1.5, -0.5, 0.3, 1.4]), rng.normal(2.0, 0.7, 30)
    truth = rng.integers(0, 2, 600)
    labeler, instance = np.tile(np.arange(30), 600), np.repeat(np.arange(600), 30)
    response = skill[labeler] * (truth[instance] - 0.5) + rng.logistic(size=len(labeler))
    grades = Labels.from_arrays(labeler, instance, np.searchsorted(cuts, response), n_values=5, n_classes=2)
    fit = observation.fit_jit(grades, Graded(bias=0.05, spread=0.05))
    found = fit.params["first"] + np.r_[0, np.cumsum(np.log1p(np.exp(np.asarray(fit.params["gaps"]))))]
    np.testing.assert_allclose(found, cuts, atol=0.1)
    np.testing.assert_allclose(fit.params["skill"], skill, atol=0.5)
    assert (fit.posterior.argmax(1) == truth).mean() > 0.99
