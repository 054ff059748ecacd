"""The integrated model of K classes: its points, its fit against a dense one, and what names of classes change."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import log_softmax, logsumexp, softmax
from scipy.stats import norm

import crowdjax
from crowdjax import integrated
from crowdjax.integrated.classes import looks_ordered, pooled
from crowdjax.integrated.nominal import SPREAD, basis, inverse, nominal, spread
from crowdjax.integrated.pool import Pool
from crowdjax.labels import InputError, Labels
from crowdjax.observation import DawidSkene, Solver, fit_jit, labeler_summary, table_pass, vote_shares

FORMS = ("free", "skill", "ordinal", "exchangeable")


def crowd(seed, n_items=60, n_labelers=8, per_item=5, k=3, skill=2.0, bias=0.5, prior=None):
    """Truths and labels of a crowd with skills and biases."""
    rng = np.random.default_rng(seed)
    z = rng.choice(k, n_items, p=prior)
    b = rng.normal(0, bias, (n_labelers, k))
    labeler = np.concatenate([rng.choice(n_labelers, per_item, replace=False) for _ in z])
    item = np.repeat(np.arange(n_items), per_item)
    p = softmax(b[labeler] + skill * np.eye(k)[z[item]], axis=1)
    label = (p.cumsum(1) < rng.random((len(p), 1))).sum(1)
    return z, labeler, item, label


def as_labels(labeler, item, label, k=3, **more):
    return Labels.from_arrays(labeler, item, label, n_values=k, **more)


def test_spread_keeps_how_often_an_item_shows_its_own_class():
    rng = np.random.default_rng(0)
    for k in (2, 3, 6, 12):
        x = np.eye(k)[0] + spread(k) * rng.normal(size=(200_000, k))
        own = (x.argmax(1) == 0).mean()
        assert abs(own - norm.cdf(1 / SPREAD)) < 4 * np.sqrt(0.16 * 0.84 / 200_000)


@pytest.mark.parametrize("k", [3, 4, 7])
def test_points_treat_classes_alike(k):
    model = nominal(k)
    x = np.asarray(model.y) @ basis(k).T
    for c in range(k):
        mine = x[np.asarray(model.given[:, c]) > 0]
        turned = np.roll(mine, -c, axis=1)
        first = x[np.asarray(model.given[:, 0]) > 0]
        np.testing.assert_allclose(turned, first, atol=1e-5)
        np.testing.assert_allclose(mine.mean(0), np.eye(k)[c] - 1 / k, atol=1e-5)


def dense(model, labels, params):
    """The evidence, from the formulas, label by label."""
    p = {name: np.asarray(v, np.float64) for name, v in params.items()}
    k, d = labels.n_classes, model.y.shape[1]
    log_pi = log_softmax(p["exponent"] * p["classes"])
    h = np.tile(np.log(np.asarray(model.given, np.float64) @ np.exp(log_pi)), (labels.n_instances, 1))
    y, b = np.asarray(model.y, np.float64), basis(k)
    for i, j, label in zip(labels.labeler, labels.instance, labels.label, strict=True):
        eta = b @ (p["seen"][i].reshape(d, d) @ y.T + p["bias"][i][:, None])
        h[j] += log_softmax(eta, axis=0)[label]
    return logsumexp(h, axis=1).sum(), softmax(h, axis=1)


def test_evidence_and_answers_are_those_of_the_formulas():
    labels = as_labels(*crowd(1)[1:])
    model = nominal(3, per_class=16)
    params = model.start(labels, vote_shares(labels))
    found = table_pass(labels, model.table(params), model.log_points(params), model.class_of_point(params))
    value, q = dense(model, labels, params)
    assert abs(float(found.value) - value) < 1e-5 * abs(value)
    x, pi = np.asarray(model.y) @ basis(3).T, np.exp(np.asarray(model.log_classes(params)))
    density = pi * np.exp(-((x[:, None] - (np.eye(3) - 1 / 3)) ** 2).sum(2) / 2 / spread(3) ** 2)
    np.testing.assert_allclose(found.posterior, q @ (density / density.sum(1, keepdims=True)), atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_newton_has_the_gradient_and_curvature_of_q(form):
    """Against autodiff of Q as the contract defines it."""
    labels = as_labels(*crowd(2, k=4)[1:], k=4)
    model = nominal(4, form=form, per_class=8)
    params = model.start(labels, vote_shares(labels))
    found = table_pass(labels, model.table(params), model.log_points(params), model.class_of_point(params))

    def q(w):
        m = params["seen"].shape[1]
        new = {**params, "seen": params["seen"].at[2].set(w[:m]), "bias": params["bias"].at[2].set(w[m:])}
        return (found.counts * model.table(new)).sum() + model.log_prior(new)

    w = jnp.concatenate([params["seen"][2], params["bias"][2]])
    gradient, curvature = model._newton(params, params["seen"][2], params["bias"][2], found.counts[2])
    np.testing.assert_allclose(gradient, jax.grad(q)(w), atol=2e-3)
    np.testing.assert_allclose(curvature, -jax.hessian(q)(w), rtol=2e-3, atol=2e-3)


def test_m_step_finds_the_labelers_that_a_general_optimiser_finds():
    labels = as_labels(*crowd(3)[1:])
    model = nominal(3, per_class=16)
    params = model.start(labels, vote_shares(labels))
    found = table_pass(labels, model.table(params), model.log_points(params), model.class_of_point(params))
    y, b, counts = np.asarray(model.y, float), basis(3), np.asarray(found.counts[0], float)
    skill, confusion, own = np.exp(-np.asarray(params["log_variances"], float))
    mean = np.asarray(params["mean_seen"], float)
    unit = mean / np.linalg.norm(mean)
    prior = confusion * np.eye(4) + (skill - confusion) * np.outer(unit, unit)

    def q(w):
        eta = b @ (w[:4].reshape(2, 2) @ y.T + w[4:, None])
        away, aside = w[:4] - mean, w[4:] - np.asarray(params["mean_bias"], float)
        return -(counts * log_softmax(eta, axis=0)).sum() + away @ prior @ away / 2 + own * aside @ aside / 2

    best = minimize(q, np.r_[mean, 0, 0], method="BFGS").x
    for _ in range(6):  # the population held, the labelers climb
        new = model.m_step(params, found.counts, found.points)
        params = {**params, "seen": new["seen"], "bias": new["bias"]}
    np.testing.assert_allclose(np.r_[params["seen"][0], params["bias"][0]], best, atol=3e-3)


def test_objective_rises_and_the_fit_converges():
    labels = as_labels(*crowd(4, n_items=150)[1:])
    found = fit_jit(labels, nominal(3), solver=Solver(max_steps=60, rtol=1e-6))
    history = np.asarray(found.history)[: int(found.n_steps)]
    assert np.diff(history).min() > -1e-3 * abs(history[0])
    assert history[-1] > history[0] + 10
    assert abs(history[-1] - history[-2]) < 1e-4 * abs(history[-1])


@pytest.mark.parametrize("form", ["free", "skill", "exchangeable"])
def test_renamed_classes_rename_the_answers(form):
    """Points are laid out in an order of the classes: where that is renamed too, so is the answer, step by step."""
    steps = Solver(max_steps=15, rtol=0)
    _, labeler, item, label = crowd(5, k=4)
    new = np.array([2, 0, 3, 1])
    first = np.arange(4)
    one = fit_jit(as_labels(labeler, item, label, k=4), nominal(4, form=form).renamed(first), solver=steps)
    two = fit_jit(as_labels(labeler, item, new[label], k=4), nominal(4, form=form).renamed(new), solver=steps)
    np.testing.assert_allclose(two.posterior[:, new], one.posterior, atol=1e-4)


def test_grades_are_those_nearest_to_a_point_with_noise():
    model = nominal(5, form="ordinal")
    cut, noise = np.r_[-np.inf, -1.5, -0.5, 0.5, 1.5, np.inf], 0.8 * np.sqrt(float(model.variance))
    labels = as_labels(*crowd(7, k=5)[1:], k=5)
    params = model.start(labels, vote_shares(labels))
    expected = np.diff(norm.cdf((cut - np.asarray(model.y)) / noise), axis=1)
    np.testing.assert_allclose(model.class_of_point(params), expected, atol=1e-5)


def test_reversed_grades_reverse_the_answers():
    _, labeler, item, label = crowd(7, k=4)
    one = fit_jit(as_labels(labeler, item, label, k=4), nominal(4, form="ordinal"))
    two = fit_jit(as_labels(labeler, item, 3 - label, k=4), nominal(4, form="ordinal"))
    np.testing.assert_allclose(two.posterior[:, ::-1], one.posterior, atol=1e-4)


def test_weights_are_multiplicities():
    _, labeler, item, label = crowd(8)
    twice = np.r_[np.arange(len(label)), np.arange(40)]
    weight = np.r_[np.full(40, 2.0), np.ones(len(label) - 40)]
    one = fit_jit(as_labels(labeler[twice], item[twice], label[twice]), nominal(3))
    two = fit_jit(as_labels(labeler, item, label, weight=weight), nominal(3))
    np.testing.assert_allclose(two.posterior, one.posterior, atol=1e-4)


def test_two_classes_are_comparable_with_the_binary_model():
    """The same labels by the model of two classes: nearly the same order of instances, nearly the same answers."""
    z, labeler, item, label = crowd(9, n_items=200, n_labelers=12, k=2)
    labels = as_labels(labeler, item, label, k=2)
    own = np.asarray(fit_jit(labels, nominal(2)).posterior)[:, 1]
    config = integrated.IntegratedConfig(spread=1.0)
    binary = integrated.fit_jit(labels, config)
    boundary = integrated.place("gap", binary.parameters.labelers, binary.counts)
    other = np.asarray(integrated.of_instances(labels, binary.parameters, config, boundary).probability)
    assert np.corrcoef(own, other)[0, 1] > 0.98
    assert abs(((own > 0.5) == z).mean() - ((other > 0.5) == z).mean()) <= 0.02


def test_a_crowd_that_confuses_classes_is_understood():
    """Half of the labelers call two neighbouring classes by each other's names."""
    rng = np.random.default_rng(10)
    z, labeler, item, _ = crowd(10, n_items=300, n_labelers=20, per_item=6, k=4)
    swap = np.tile(np.arange(4), (20, 1))
    swap[::2, 1], swap[::2, 2] = 2, 1
    said = swap[labeler, z[item]]
    label = np.where(rng.random(len(said)) < 0.75, said, rng.integers(0, 4, len(said)))
    labels = as_labels(labeler, item, label, k=4)
    found = fit_jit(labels, nominal(4))
    votes = np.asarray(vote_shares(labels)).argmax(1)
    assert (found.posterior.argmax(1) == z).mean() > (votes == z).mean() + 0.1
    confusion = labeler_summary(labels, nominal(4), found).confusion[0]
    assert confusion[0, 1].argmax() == 2 and confusion[1, 1].argmax() == 1


def test_a_rare_class_stays_rare():
    z, labeler, item, label = crowd(11, n_items=300, n_labelers=20, per_item=6, prior=[0.9, 0.07, 0.03])
    found = fit_jit(as_labels(labeler, item, label), nominal(3)).posterior.argmax(1)
    assert (found == z).mean() > 0.93
    assert abs((found == 0).mean() - 0.9) < 0.05


def test_intervals_hold_the_accuracies_of_labelers():
    """Of a crowd that is the model's own: what items show differs."""
    rng = np.random.default_rng(12)
    z, labeler, item, _ = crowd(12, n_items=400, n_labelers=20, per_item=6)
    a, b = np.maximum(rng.normal(3, 1, 20), 0), rng.normal(0, 0.5, (20, 3))
    draw = lambda z: np.eye(3)[z] + spread(3) * rng.normal(size=(len(z), 3))  # noqa: E731
    x = draw(z)
    p = softmax(b[labeler] + a[labeler, None] * x[item], axis=1)
    labels = as_labels(labeler, item, (p.cumsum(1) < rng.random((len(p), 1))).sum(1))
    _, lower, upper = labeler_summary(labels, nominal(3), fit_jit(labels, nominal(3))).accuracy
    many = rng.integers(0, 3, 20_000)
    shown = draw(many)
    true = np.array([softmax(b[i] + a[i] * shown, axis=1)[np.arange(len(many)), many].mean() for i in range(20)])
    assert ((lower <= true) & (true <= upper)).mean() >= 0.85
    assert ((upper - lower) < 0.4).all()


def test_a_pool_is_the_sum_of_its_parts_and_keeps_gold():
    z, labeler, item, label = crowd(15)
    labels = as_labels(labeler, item, label, gold=np.where(np.arange(60) < 3, z, np.nan))
    p = np.random.default_rng(0).dirichlet([1, 1, 1], 60)
    p[:3] = np.eye(3)[z[:3]]
    votes = np.stack([np.bincount(item, label == k, 60) for k in range(3)], axis=1) + 2 / 3
    expected = 0.8 * p + 0.2 * votes / votes.sum(1, keepdims=True)
    found = pooled(labels, p, 0.2)
    np.testing.assert_allclose(found[3:], expected[3:])
    np.testing.assert_allclose(found[:3], p[:3])


def test_members_of_a_pool_are_fitted_as_if_alone():
    labels = as_labels(*crowd(16, n_items=120)[1:])
    members, solver = (nominal(3), DawidSkene()), Solver(rtol=0.0, max_steps=150)
    pool = fit_jit(labels, Pool(members, votes=0.0), None, solver)
    alone = [fit_jit(labels, member, None, solver) for member in members]
    np.testing.assert_allclose(pool.posterior, 0.75 * alone[0].posterior + 0.25 * alone[1].posterior, atol=5e-3)
    assert abs(float(pool.objective - sum(fit.objective for fit in alone))) < 0.05
    with pytest.raises(InputError, match="lbfgs needs a model of one table"):
        fit_jit(labels, Pool(members), None, Solver(method="lbfgs"))


def test_inverses_are_numpys():
    a = np.random.default_rng(13).normal(size=(5, 30, 30))
    a = a @ a.swapaxes(1, 2) + np.eye(30)
    found, log_det = jax.vmap(inverse)(jnp.asarray(a))
    np.testing.assert_allclose(found, np.linalg.inv(a), atol=1e-3)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(a)[1], rtol=1e-4)


def test_grades_look_ordered_and_names_do_not():
    rng = np.random.default_rng(20)
    z, labeler, item, _ = crowd(20, n_items=300, k=5)
    grades = np.clip(np.rint(z[item] + rng.normal(0, 0.8, len(item))), 0, 4).astype(int)
    assert looks_ordered(as_labels(labeler, item, grades, k=5))
    alarms = [looks_ordered(as_labels(*crowd(100 + s, n_items=300, k=5)[1:], k=5)) for s in range(20)]
    assert sum(alarms) <= 3  # one in twenty, at most


def test_a_fit_says_that_numbers_look_like_grades_unless_they_are_taken_so():
    z = np.repeat(np.arange(5), 8)
    stars = np.clip(np.stack([z, z + np.tile([1, -1], 20)], 1), 0, 4).ravel() + 1
    table = {"labeler": np.arange(80) % 4, "instance": np.repeat(np.arange(40), 2), "label": stars}
    hint = "(--classes ordinal)"
    assert any(hint in said for said in crowdjax.fit(table).warnings)
    assert not any(hint in said for said in crowdjax.fit(table, classes="ordinal").warnings)
    names = {**table, "label": np.array(list("dbeac"))[stars - 1]}  # in the order of the alphabet no neighbours
    assert not any(hint in said for said in crowdjax.fit(names).warnings)


def test_a_form_that_is_none_is_refused():
    with pytest.raises(InputError, match="allowed: free"):
        nominal(3, form="sorted")
