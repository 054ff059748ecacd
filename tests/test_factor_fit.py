"""Fits end where they should, whatever the solver, the order and names of the data, and the company in a batch."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from jax.flatten_util import ravel_pytree
from scipy.special import expit
from scipy.stats import norm

from crowdjax.factor import PRESETS, FactorConfig, Solver, build, fit_jit, log_posterior, majority, sweep
from crowdjax.labels import InputError, Labels
from crowdjax.optimize import CONVERGED, MAX_STEPS, NONFINITE, STALLED
from crowdjax.simulate import power_law

pytestmark = pytest.mark.usefixtures("x64")

W, I = 8, 40
SIZES = dict(n_labelers=W, n_instances=I)
TRIPLES, TRUTH = oracles.simulate(31, W, I, 0.6)
N = len(TRIPLES["label"])
RNG = np.random.default_rng(41)
WEIGHT = RNG.choice([0.5, 1.0, 2.0], N)
LABELER_FEATURES, INSTANCE_FEATURES = RNG.normal(size=(W, 2)), TRUTH[:, None] + RNG.normal(size=(I, 1))
GOLD = np.where(np.arange(I) % 5 == 0, TRUTH, 0)
GOLD_OR_NAN = np.where(GOLD == 0, np.nan, GOLD)
EXACT = Solver(rtol=1e-15, max_steps=1000)
KEY = jax.random.key(3)


def make_labels(weight=WEIGHT, triples=TRIPLES, **more) -> Labels:
    return Labels.from_arrays(**triples, **SIZES, weight=weight, **more)


def make_crowd(weight=WEIGHT, gold=None) -> oracles.Crowd:
    return oracles.Crowd.of(**TRIPLES, weight=weight, gold=gold, shape=(W, I))


def fitted(labels, model, key=KEY, solver=EXACT, start=None):
    return fit_jit(labels, model, key, solver, start)  # always called with as many arguments: the same program


def fit_exactly(labels, name="dawid-skene", start=None):
    return fitted(labels, build(PRESETS[name], labels), start=start)


def flat(weights):
    return np.asarray(ravel_pytree(weights)[0])


# Invariances: one program, other data.


def test_row_order_does_not_matter():
    order = RNG.permutation(N)
    shuffled = make_labels(WEIGHT[order], {k: v[order] for k, v in TRIPLES.items()})
    a, b = fit_exactly(make_labels()), fit_exactly(shuffled)
    np.testing.assert_array_equal(a.posterior, b.posterior)
    np.testing.assert_array_equal(flat(a.weights), flat(b.weights))


@pytest.mark.parametrize("name", ["dawid-skene", "factor"])
def test_names_of_labelers_and_instances_do_not_matter(name):
    """Ids are only names: renaming them renames the answers."""
    labelers, instances = RNG.permutation(W), RNG.permutation(I)
    renamed = {**TRIPLES, "labeler": labelers[TRIPLES["labeler"]], "instance": instances[TRIPLES["instance"]]}
    a, b = fit_exactly(make_labels(), name), fit_exactly(make_labels(triples=renamed), name)
    np.testing.assert_allclose(b.objective, a.objective, rtol=1e-12)
    np.testing.assert_allclose(b.posterior[instances], a.posterior, atol=1e-6)
    np.testing.assert_allclose(b.weights.labeler.free[labelers], a.weights.labeler.free, atol=1e-4)


def test_rows_of_weight_zero_do_not_matter():
    weight = np.where(np.arange(N) % 4 == 0, 0.0, WEIGHT)
    lies = {**TRIPLES, "label": np.where(weight == 0, -TRIPLES["label"], TRIPLES["label"])}
    a, b = fit_exactly(make_labels(weight)), fit_exactly(make_labels(weight, lies))
    np.testing.assert_allclose(a.posterior, b.posterior, atol=1e-9)
    objective = oracles.preset("dawid-skene", W, I).maximum(make_crowd(weight))[1]
    np.testing.assert_allclose(a.objective, objective, rtol=1e-9)


def test_labelers_and_instances_without_labels_stay_at_the_prior():
    weight = np.where((TRIPLES["labeler"] == 2) | (TRIPLES["instance"] == 7), 0.0, 1.0)
    found = fit_exactly(make_labels(weight))
    np.testing.assert_allclose(found.weights.labeler.free[2], 1.0, atol=1e-6)
    np.testing.assert_allclose(found.weights.bias.free[2], 0.0, atol=1e-6)
    np.testing.assert_allclose(found.posterior[7], 0.5)
    assert found.code in (CONVERGED, STALLED)


def test_dawid_skene_does_not_care_which_class_is_called_positive():
    """Negated labels give 1 - p and exchange sensitivity and specificity."""
    swapped = {**TRIPLES, "label": -TRIPLES["label"]}
    a, b = fit_exactly(make_labels()), fit_exactly(make_labels(triples=swapped))
    np.testing.assert_allclose(b.posterior, 1 - a.posterior, atol=1e-6)
    np.testing.assert_allclose(b.objective, a.objective, rtol=1e-12)
    np.testing.assert_allclose(b.weights.labeler.free, a.weights.labeler.free, atol=1e-5)
    np.testing.assert_allclose(b.weights.bias.free, -a.weights.bias.free, atol=1e-5)


# Other parts of the model, against SciPy on the same objective.


def dense(config: str = "dawid-skene", **parts) -> oracles.Spec:
    return dataclasses.replace(oracles.preset(config, W, I), **parts)


def agrees_with(found, spec: oracles.Spec, crowd: oracles.Crowd):
    weights, objective, posterior = spec.maximum(crowd)
    np.testing.assert_allclose(found.objective, objective, rtol=1e-9)
    np.testing.assert_allclose(found.posterior, posterior, atol=1e-6)
    np.testing.assert_allclose(flat(found.weights), weights, atol=1e-4)


def test_gold_labels_clamp_the_truth_and_teach_the_labelers():
    labels = make_labels(gold=np.where(GOLD == 0, np.nan, GOLD))
    found = fit_exactly(labels)
    np.testing.assert_array_equal(found.posterior[GOLD != 0], GOLD[GOLD != 0] > 0)
    agrees_with(found, dense(), make_crowd(gold=GOLD))


def test_a_learned_class_prior_has_a_beta_prior():
    labels = make_labels()
    model = build(dataclasses.replace(PRESETS["dawid-skene"], class_prior="learn"), labels)
    one = np.ones((I, 1))
    spec = dense(class_prior=(one, np.zeros((1, 1)), np.inf), beta=(2.0, 2.0))
    agrees_with(fitted(labels, model), spec, make_crowd())


def test_a_logistic_class_prior_in_instance_features():
    """Raykar's model: Dawid-Skene with a classifier as its prior; the features serve nothing else."""
    labels = make_labels()
    config = dataclasses.replace(PRESETS["dawid-skene"], class_prior="logistic")
    model = build(config, labels, instance_features=INSTANCE_FEATURES)
    design = np.c_[np.ones(I), INSTANCE_FEATURES]
    spec = dense(class_prior=(design, np.zeros((2, 1)), 1.0))
    agrees_with(fitted(labels, model), spec, make_crowd())


def test_a_fixed_class_prior_moves_every_posterior():
    labels = make_labels()
    model = build(dataclasses.replace(PRESETS["dawid-skene"], class_prior=0.2), labels)
    spec = dense(class_prior=(np.ones((I, 1)), np.full((1, 1), np.log(0.25)), 0.0))
    agrees_with(fitted(labels, model), spec, make_crowd())


def hybrid():
    """FactorConfig() with [1, X, I] on both sides: constant sd 1, columns sd ½, own weights sd ½ (the defaults)."""

    def side(features, first):
        n, columns = features.shape
        mean = np.zeros((1 + columns + n, 1))
        mean[0] = first
        return np.c_[np.ones(n), features, np.eye(n)], mean, np.r_[1.0, np.full(columns + n, 0.5)][:, None]

    return dense(labeler=side(LABELER_FEATURES, 1), instance=side(INSTANCE_FEATURES, 1), bias=side(LABELER_FEATURES, 0))


def hybrid_model(labels):
    return build(FactorConfig(), labels, labeler_features=LABELER_FEATURES, instance_features=INSTANCE_FEATURES)


def test_features_plus_identity_equal_the_dense_matrix():
    labels = make_labels()
    agrees_with(fitted(labels, hybrid_model(labels)), hybrid(), make_crowd())


# Solvers.


def never_falls(found):
    history = np.asarray(found.history)
    history = history[~np.isnan(history)]
    np.testing.assert_allclose(history[-1], found.objective, rtol=1e-12)
    return len(history) > 2 and (np.diff(history) >= -1e-12 * np.abs(history[1:])).all()


@pytest.mark.parametrize("kind", ["dawid-skene", "glad"])
def test_solvers_reach_the_same_objective_from_the_same_start_and_em_never_lowers_it(kind):
    """Dawid-Skene here with labeler features and a learned class prior, so that every kind of block takes part."""
    labels = make_labels()
    learned = dataclasses.replace(PRESETS["dawid-skene"], class_prior="learn")
    model = {
        "dawid-skene": lambda: build(learned, labels, labeler_features=LABELER_FEATURES),
        "glad": lambda: build(PRESETS["glad"], labels),
    }[kind]()
    start = model.full(model.mean)
    methods = ["lbfgs", "em-cg"] + (["em-bound"] if model.link == "linear" else [])
    found = {m: fitted(labels, model, KEY, Solver(method=m, rtol=1e-10, max_steps=4000), start) for m in methods}
    for method in methods:
        assert found[method].code in (CONVERGED, STALLED), method
        assert never_falls(found[method]), method
        np.testing.assert_allclose(found[method].objective, found["lbfgs"].objective, rtol=1e-6, err_msg=method)
        np.testing.assert_allclose(found[method].posterior, found["lbfgs"].posterior, atol=1e-3, err_msg=method)


@pytest.mark.parametrize("method", ["em-cg", "em-bound"])
def test_em_climbs_to_a_maximum_of_the_dense_objective(method):
    """With free instance factors there are several maxima: each solver is held to the one it ends at."""
    labels = make_labels()
    found = fitted(labels, hybrid_model(labels), KEY, Solver(method=method, rtol=1e-10, max_steps=4000))
    assert found.code == CONVERGED
    assert never_falls(found)
    _, objective, posterior = hybrid().maximum(make_crowd(), flat(found.weights))  # raises if it is no maximum
    np.testing.assert_allclose(found.objective, objective, rtol=1e-8)
    np.testing.assert_allclose(found.posterior, posterior, atol=1e-3)


EXACT_MODELS = {
    "dawid-skene": PRESETS["dawid-skene"],
    "one-coin": PRESETS["one-coin"],
    "β = 2, a learned class prior": FactorConfig(instance=(2.0, 0.0), class_prior="learn"),
}


@pytest.mark.parametrize("config", EXACT_MODELS.values(), ids=EXACT_MODELS)
@pytest.mark.parametrize("gold", [False, True])
def test_exact_em_reaches_the_objective_of_lbfgs_and_never_lowers_it(config, gold):
    labels = make_labels(gold=np.where(GOLD == 0, np.nan, GOLD) if gold else None)
    model = build(config, labels)
    found = fitted(labels, model, KEY, Solver(method="em", rtol=1e-13))
    slow = fitted(labels, model, KEY, Solver(method="lbfgs", rtol=1e-13))
    assert found.code in (CONVERGED, STALLED)
    assert never_falls(found)
    np.testing.assert_allclose(found.objective, slow.objective, rtol=1e-9)
    np.testing.assert_allclose(found.posterior, slow.posterior, atol=1e-5)
    np.testing.assert_allclose(flat(found.weights), flat(slow.weights), atol=1e-3)


def test_em_refuses_models_without_an_exact_m_step():
    labels = make_labels()
    for model in (build(PRESETS["glad"], labels), hybrid_model(labels)):
        with pytest.raises(ValueError, match="solver em"):
            fitted(labels, model, KEY, Solver(method="em"))


@pytest.mark.parametrize(("name", "most"), [("dawid-skene", 12), ("one-coin", 12), ("glad", 20)])
def test_a_default_fit_takes_few_passes_to_a_millionth_of_the_optimum(name, most):
    """In float32, as users have it, on 10 000 simulated labels; the optimum from a fit in float64 without patience."""
    labels = power_law(0, 10_000).labels()
    best = fit_jit(labels, build(PRESETS[name], labels), KEY, EXACT).objective
    with jax.enable_x64(False):
        found = fit_jit(labels, build(PRESETS[name], labels), KEY)
    assert found.code == CONVERGED
    assert found.n_steps <= most
    assert abs(found.objective - best) <= 1e-6 * abs(best)


def test_the_bound_step_refuses_the_exponential_link():
    labels = make_labels()
    with pytest.raises(ValueError, match="em-bound"):
        fitted(labels, build(PRESETS["glad"], labels), KEY, Solver(method="em-bound"))


def test_one_factor_may_move_the_boundary_between_the_classes_because_its_objective_is_higher_there():
    """docs/models.md: nine labelers who are right four times in five. The mode with one bias for all has most answers
    wrong that Dawid and Skene have right, and it is no failure of the search: without bias the objective is lower. A
    prior that holds instances closer together keeps the boundary in its place."""
    rng = np.random.default_rng(2)
    truth = rng.choice([-1, 1], 2000)
    labeler, instance = np.tile(np.arange(9), 2000), np.repeat(np.arange(2000), 9)
    labels = Labels.from_arrays(labeler, instance, np.where(rng.random(18_000) < 0.8, 1, -1) * truth[instance])

    def of(config):
        found = fitted(labels, build(config, labels), solver=Solver())
        return float(found.objective), ((np.asarray(found.posterior) > 0.5) != (truth > 0)).mean()

    moved, wrong = of(PRESETS["factor"])
    without, right = of(PRESETS["glad-linear"])
    of_zero_bias = 9 * -0.5 * np.log(2 * np.pi)  # their prior density, so that both are objectives of one model
    assert moved > without + of_zero_bias + 50
    assert wrong > 0.2 > 0.04 > right
    assert of(dataclasses.replace(PRESETS["factor"], instance=(1.0, 0.5)))[1] < 0.04


# Continuing, orientation, codes.


def test_a_fit_continued_from_a_fit_stays_there():
    labels = make_labels()
    found = fit_exactly(labels)
    again = fit_exactly(labels, start=found.weights)
    assert again.objective >= found.objective - 1e-12 * abs(found.objective)
    np.testing.assert_allclose(flat(again.weights), flat(found.weights), atol=1e-5)
    np.testing.assert_allclose(again.posterior, found.posterior, atol=1e-6)
    assert again.n_steps < 15
    assert not again.switched


def test_a_fit_cut_short_says_so_and_can_be_continued():
    labels = make_labels()
    short = fitted(labels, build(PRESETS["dawid-skene"], labels), KEY, dataclasses.replace(EXACT, max_steps=4))
    whole, continued = fit_exactly(labels), fit_exactly(labels, start=short.weights)
    assert short.code == MAX_STEPS
    assert short.objective < whole.objective
    np.testing.assert_allclose(continued.objective, whole.objective, rtol=1e-9)


def test_a_fit_that_starts_switched_ends_right():
    """z → -z, α → -α explains the labels as well; only the prior and the majority vote know better."""
    labels = make_labels()
    right = fit_exactly(labels)
    turned = right.weights._replace(labeler=jax.tree.map(jnp.negative, right.weights.labeler))
    found = fit_exactly(labels, start=turned)
    assert found.switched
    np.testing.assert_allclose(found.objective, right.objective, rtol=1e-9)
    np.testing.assert_allclose(found.posterior, right.posterior, atol=1e-6)
    assert ((found.posterior > 0.5) == (majority(labels) > 0.5)).mean() > 0.7


def test_weights_that_are_not_finite_give_a_code_not_an_answer():
    labels = make_labels()
    found = fit_exactly(labels.with_weight(np.where(np.arange(N) == 5, np.nan, 1.0)))
    assert found.code == NONFINITE
    assert not np.isfinite(found.objective)


def test_the_default_fit_in_float32_is_near_the_maximum():
    with jax.enable_x64(False):
        labels = make_labels()
        found = fitted(labels, build(PRESETS["dawid-skene"], labels), KEY, Solver())
        assert found.posterior.dtype == jnp.float32
        assert found.code in (CONVERGED, STALLED)
    _, objective, posterior = dense().maximum(make_crowd())
    np.testing.assert_allclose(found.objective, objective, rtol=1e-6)
    np.testing.assert_allclose(found.posterior, posterior, atol=5e-3)


# Several factors, several fits.


@pytest.mark.parametrize("n", [1, 2])
def test_masked_factors_equal_a_model_without_them(n):
    """Same key: the draw of a factor does not depend on how many there are."""
    labels = make_labels()
    masked = fitted(labels, build(FactorConfig(n_factors=3), labels).with_factors(n))
    alone = fitted(labels, build(FactorConfig(n_factors=n), labels))
    for side in ("labeler", "instance"):
        whole, part = getattr(masked.weights, side).free, getattr(alone.weights, side).free
        np.testing.assert_array_equal(whole[:, n:], 0)
        np.testing.assert_allclose(whole[:, :n], part, atol=1e-4)
    np.testing.assert_allclose(masked.objective, alone.objective, rtol=1e-9)
    np.testing.assert_allclose(masked.log_likelihood, alone.log_likelihood, rtol=1e-6)
    np.testing.assert_allclose(masked.posterior, alone.posterior, atol=1e-5)


def test_restarts_return_the_best_of_their_fits():
    labels = make_labels()
    model = build(FactorConfig(n_factors=2), labels)
    best = fitted(labels, model, KEY, dataclasses.replace(EXACT, restarts=3))
    each = [fitted(labels, model, jax.random.fold_in(KEY, r), EXACT) for r in range(3)]
    objectives = [float(f.objective) for f in each]
    assert np.ptp(objectives) > 1e-6  # the starts lead to different optima, so there is something to choose
    np.testing.assert_allclose(best.objective, max(objectives), rtol=1e-9)
    np.testing.assert_allclose(best.posterior, each[int(np.argmax(objectives))].posterior, atol=1e-5)


def member_of(shared, member):
    labels, model = shared
    return labels.with_weight(member["weight"]), model.with_factors(member["n"]), member["key"]


@pytest.mark.parametrize("batch_size", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_a_sweep_equals_its_members_alone(batch_size):
    """Other weights, other factor counts, and one member that can not be fitted: it gets a code, the rest is whole."""
    labels = make_labels()
    model = build(FactorConfig(n_factors=3), labels)
    weight = np.random.default_rng(42).integers(0, 3, (4, N)).astype(float)
    weight[2, 0] = np.nan
    members = {"weight": weight, "n": np.array([1, 1, 1, 2]), "key": jax.random.split(KEY, 4)}
    found = sweep(member_of, (labels, model), members, EXACT, batch_size)
    np.testing.assert_array_equal(found.code == NONFINITE, [False, False, True, False])
    assert found.posterior.shape == (4, I)
    for k in (0, 1, 3):
        member = jax.tree.map(lambda v, k=k: v[k], members)
        alone = fitted(*member_of((labels, model), member))
        np.testing.assert_allclose(found.objective[k], alone.objective, rtol=1e-6)
        np.testing.assert_allclose(found.posterior[k], alone.posterior, atol=1e-3)


@pytest.mark.long
def test_members_that_are_done_leave_the_batch(monkeypatch):
    """Nine members end after unlike numbers of steps, in batches that get smaller; each as it would alone."""
    from crowdjax.factor import batches

    labels, n = make_labels(), 9
    model = build(FactorConfig(n_factors=3), labels)
    weight = np.random.default_rng(7).integers(0, 3, (n, N)).astype(float)
    members = {"weight": weight, "n": np.arange(n) % 3 + 1, "key": jax.random.split(KEY, n)}
    sizes = []
    part = batches._part

    def counted(*args, rows=None, **given):
        sizes.append(None if rows is None else len(rows))
        return part(*args, rows=rows, **given)

    monkeypatch.setattr(batches, "_part", counted)
    monkeypatch.setattr(batches, "STEPS", 10)
    solver = Solver(max_steps=400, rtol=1e-6)
    found = sweep(member_of, (labels, model), members, solver, 9)
    alone = sweep(member_of, (labels, model), members, solver, 1)
    assert {9, 2} <= set(sizes)
    assert len(set(np.asarray(alone.n_steps).tolist())) > 3
    np.testing.assert_allclose(found.n_steps, alone.n_steps, atol=3)
    np.testing.assert_array_equal(found.code, alone.code)
    np.testing.assert_allclose(found.objective, alone.objective, rtol=1e-6)
    parts = sweep(member_of, (labels, model), members, solver, 4)  # the last batch is filled up
    np.testing.assert_allclose(parts.objective, alone.objective, rtol=1e-6)


@pytest.mark.long
def test_restarts_of_a_batch_are_members_of_it():
    labels = make_labels()
    model = build(FactorConfig(n_factors=2), labels)
    members = {"weight": np.ones((2, N)), "n": np.array([2, 2]), "key": jax.random.split(KEY, 2)}
    solver = dataclasses.replace(EXACT, restarts=3)
    batch, alone = (sweep(member_of, (labels, model), members, solver, size) for size in (6, 1))
    np.testing.assert_allclose(batch.objective, alone.objective, rtol=1e-7)
    np.testing.assert_allclose(batch.n_steps, alone.n_steps, rtol=0.05)


def test_a_fit_is_traced_once_per_shape(monkeypatch):
    """Other labels, weights, priors, keys and starts of the same shapes reuse the program; another size does not."""
    traces = []
    module = importlib.import_module("crowdjax.factor.fit")
    monkeypatch.setattr(module, "majority", lambda labels: traces.append(1) or majority(labels))
    solver = Solver(max_steps=7)  # no other test has it, so nothing is compiled yet
    labels = make_labels()
    model = build(PRESETS["one-coin"], labels)
    fitted(labels, model, KEY, solver)
    assert len(traces) == 1
    other = make_labels(2 * WEIGHT, {**TRIPLES, "label": -TRIPLES["label"]})
    fitted(other, model, jax.random.key(9), solver)
    fitted(labels, dataclasses.replace(model, mean=jax.tree.map(lambda m: m + 1, model.mean)), KEY, solver)
    fitted(labels, build(FactorConfig(labeler=(3.0, 0.1), instance=(1.0, 0.0), bias=None), labels), KEY, solver)
    assert len(traces) == 1
    fewer = make_labels(WEIGHT[:-1], {k: v[:-1] for k, v in TRIPLES.items()})
    fitted(fewer, build(PRESETS["one-coin"], fewer), KEY, solver)
    assert len(traces) == 2


def test_labelers_are_what_the_fit_says():
    """The two-coin model's own sensitivities come back as labeler reports' σ(α ± γ)."""
    found = fit_exactly(make_labels())
    alpha, gamma = found.weights.labeler.free[:, 0], found.weights.bias.free[:, 0]
    table = make_crowd()
    p = np.asarray(found.posterior)
    share = (table.plus @ p) / ((table.plus + table.minus) @ p)  # maximum likelihood; the prior shrinks a little
    assert np.corrcoef(expit(alpha + gamma), share)[0, 1] > 0.95


# What a solver or a sampler of one's own starts from and climbs.


@pytest.mark.parametrize("name", ["dawid-skene", "glad", "factor"])
def test_the_log_posterior_is_the_dense_objective_and_its_derivatives_leave_fixed_weights_alone(name):
    """The value from dense tables and SciPy's normal densities, at a start with two factors where the model has any."""
    labels, table = make_labels(gold=GOLD_OR_NAN), make_crowd(gold=GOLD)
    model = build(dataclasses.replace(PRESETS[name], class_prior=0.3), labels)
    weights = model.start(KEY)
    f = model.factors(weights)
    dense = oracles.pass_over(table, *(None if v is None else np.asarray(v) for v in f))[0]
    means, variances = (jax.tree.leaves(model.full(prior)) for prior in (model.mean, model.variance))
    for w, mean, variance in zip(jax.tree.leaves(weights), means, variances, strict=True):
        proper = (np.asarray(variance) > 0) & np.isfinite(variance)
        dense += norm.logpdf(w, mean, np.sqrt(np.where(proper, variance, 1)))[proper].sum()
    value, gradient = jax.jit(jax.value_and_grad(log_posterior, 2))(labels, model, weights)
    np.testing.assert_allclose(value, dense, rtol=1e-10)
    fixed = np.concatenate([np.ravel(variance) == 0 for variance in variances])
    assert fixed.any() and (flat(gradient)[fixed] == 0).all() and (flat(gradient)[~fixed] != 0).any()
    moved = jax.tree.map(lambda w, v: jnp.where(v == 0, w + 1, w), weights, model.full(model.variance))
    assert log_posterior(labels, model, moved) == pytest.approx(float(value), rel=1e-12)
    direction = jax.tree.map(lambda w: jnp.asarray(np.random.default_rng(5).normal(size=w.shape)), weights)
    slope = jax.jit(lambda w, d: jax.jvp(lambda w: log_posterior(labels, model, w), (w,), (d,))[1])(weights, direction)
    np.testing.assert_allclose(slope, flat(gradient) @ flat(direction), rtol=1e-10)


def test_a_fit_stands_still_where_the_log_posterior_does():
    labels = make_labels()
    model = build(PRESETS["dawid-skene"], labels)
    found = fitted(labels, model)
    value, gradient = jax.value_and_grad(log_posterior, 2)(labels, model, found.weights)
    np.testing.assert_allclose(value, found.objective, rtol=1e-12)
    assert np.abs(flat(gradient)).max() < 1e-5 * N


def test_weights_of_another_crowd_are_refused_by_name_and_shape():
    labels = make_labels()
    model, other = build(PRESETS["factor"], labels), build(PRESETS["dawid-skene"], labels)
    weights = model.start(KEY)
    less = weights._replace(instance=weights.instance._replace(free=weights.instance.free[1:]))
    n = PRESETS["factor"].n_factors
    with pytest.raises(
        InputError, match=rf"^weights.instance.free: got \({I - 1}, {n}\); allowed: the shape \({I}, {n}\)$"
    ):
        log_posterior(labels, model, less)
    with pytest.raises(InputError, match=r"^weights"):
        log_posterior(labels, model, other.start(KEY))
