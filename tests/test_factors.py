"""GLAD and factors of any number of classes end where SciPy ends on a dense objective, and crowd-kit agrees."""

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from jax.flatten_util import ravel_pytree
from scipy.optimize import minimize
from test_bilinear import dense, joint, log_p

import crowdjax
from crowdjax import drive, optimize
from crowdjax.labels import InputError, Labels
from crowdjax.observation.bilinear import Factors, bilinear_pass
from crowdjax.observation.factors import Factor, Glad, mean_table, predict, renamed, restarts, stages
from crowdjax.observation.fit import Solver, fit, fit_jit
from crowdjax.observation.fit import predict as pass_at

W, I, PER = 15, 60, 8
EXACT = Solver(max_steps=2000, rtol=1e-13)


def crowd(k: int, n_factors=1, *, bias=True, **options):
    """(labels, truth) of labelers and instances drawn from the model."""
    rng = np.random.default_rng(k)
    alpha, beta = rng.normal(1.5, 0.7, (W, n_factors)), rng.normal(1, 0.4, (I, n_factors))
    alpha[:, 1:], beta[:, 1:] = rng.normal(size=(W, n_factors - 1)), rng.normal(size=(I, n_factors - 1))
    truth, gamma = rng.integers(0, k, I), rng.normal(0, 0.5, (W, k)) * bias
    j = np.repeat(np.arange(I), PER)
    i = np.concatenate([rng.choice(W, PER, replace=False) for _ in range(I)])
    eta = gamma[i] + (np.log(k - 1) + (alpha @ beta.T)[i, j])[:, None] * (truth[j, None] == np.arange(k))
    label = (eta + rng.gumbel(size=eta.shape)).argmax(1)
    return Labels.from_arrays(i, j, label, n_values=k, n_labelers=W, n_instances=I, **options), truth


def gaussian(x, mean, sd):
    return -0.5 * (((x - mean) / sd) ** 2).sum()


def by_scipy(labels, found, factors_and_prior, away=0.3):
    """Where L-BFGS-B ends on the dense objective, from some way off: its value and its posterior."""
    x, unravel = ravel_pytree(found.params)

    def objective(x):
        f, prior = factors_and_prior(unravel(x))
        return -(dense(labels, f) + prior)

    slope = jax.jit(jax.value_and_grad(objective))
    start = np.asarray(x) + away * np.random.default_rng(0).normal(size=len(x))
    settings = dict(maxiter=5000, maxfun=10000, ftol=1e-15, gtol=1e-9)
    out = minimize(lambda x: tuple(map(np.asarray, slope(x))), start, jac=True, method="L-BFGS-B", options=settings)
    return -out.fun, jax.nn.softmax(joint(labels, factors_and_prior(unravel(out.x))[0]), axis=1)


@pytest.mark.parametrize(("k", "n_factors"), [(3, None), (4, None), (2, 1), (3, 1), (4, 2)])
def test_a_fit_is_the_optimum_of_the_dense_objective(x64, k, n_factors):
    """n_factors None: GLAD."""
    glad, d = n_factors is None, n_factors or 1
    labels, truth = crowd(k, d, bias=not glad)
    mean = np.arange(d) == 0

    def factors_and_prior(params):
        a, b = params["alpha"]["own"], params["beta"]["own"]
        g = None if glad else params["gamma"]["own"]
        prior = gaussian(a, mean, 1) + gaussian(b, mean, 1) + (0 if glad else gaussian(g, 0, np.sqrt(0.5)))
        return Factors(a, jnp.exp(b) if glad else b, g, jnp.full(k, -np.log(k)), np.log(k - 1)), prior

    found = fit_jit(labels, Glad() if glad else Factor(n_factors=d), solver=EXACT)
    value, posterior = by_scipy(labels, found, factors_and_prior)
    assert int(found.code) == optimize.CONVERGED
    np.testing.assert_allclose(found.objective, value, rtol=1e-6)
    np.testing.assert_allclose(found.posterior, posterior, atol=1e-5)
    assert (np.asarray(found.posterior).argmax(1) == truth).mean() > 0.9
    history = np.asarray(found.history)
    assert (np.diff(history[~np.isnan(history)]) >= -1e-9).all()


def test_features_and_a_logistic_class_prior_are_those_of_the_dense_objective(x64):
    k, d, rng = 3, 2, np.random.default_rng(8)
    labels, _ = crowd(k, d, gold=np.where(np.arange(I) < 5, np.arange(I) % k, np.nan))
    x, y = rng.normal(size=(W, 2)), rng.normal(size=(I, 1))
    x1, y1, half = np.c_[np.ones(W), x], np.c_[np.ones(I), y], np.sqrt(0.5)

    def factors_and_prior(params):
        prior, rows = gaussian(params["classes"]["columns"], 0, half), []
        for name, columns, scale in [("alpha", x1, 1), ("beta", y1, 1), ("gamma", x1, half)]:
            w, own = params[name]["columns"], params[name]["own"]
            level = 0 if name == "gamma" else np.arange(d) == 0
            prior += gaussian(w[0], level, scale) + gaussian(w[1:], 0, 0.5 * scale) + gaussian(own, 0, 0.5 * scale)
            rows.append(columns @ w + own)
        log_prior = jax.nn.log_softmax(y1 @ params["classes"]["columns"], axis=1)
        return Factors(*rows, log_prior, np.log(k - 1)), prior

    model = Factor(n_factors=d, class_prior="logistic", labeler_features=x, instance_features=y)
    found = fit_jit(labels, model, solver=EXACT)
    value, posterior = by_scipy(labels, found, factors_and_prior, 0.05)  # there are worse optima further away
    np.testing.assert_allclose(found.objective, value, rtol=1e-6)
    np.testing.assert_allclose(found.posterior, posterior, atol=1e-5)


def test_class_priors(x64):
    labels, _ = crowd(3)
    given = (0.2, 0.3, 0.5)
    fits = {prior: fit_jit(labels, Glad(class_prior=prior)) for prior in (given, "learn")}
    pi = {name: np.exp(Glad(class_prior=name).factors(f.params).log_prior) for name, f in fits.items()}
    np.testing.assert_allclose(pi[given], given, rtol=1e-12)
    shares = np.asarray(fits["learn"].posterior).sum(0) + 1  # Dirichlet, 2 of each
    np.testing.assert_allclose(pi["learn"], shares / shares.sum(), atol=1e-3)


@pytest.mark.real_data
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # crowd-kit's use of pandas
def test_answers_are_those_of_crowd_kit(data_dir):
    """On dog its EM converges, and so do the answers: its priors are the same."""
    from crowdkit.aggregation import GLAD

    table = pd.read_csv(data_dir / "dog" / "labels.csv")
    peer = GLAD(n_iter=30).fit_predict(table.rename(columns={"labeler": "worker", "instance": "task"}))
    instance, j = np.unique(table["instance"], return_inverse=True)
    labels = Labels.from_arrays(np.unique(table["labeler"], return_inverse=True)[1], j, table["label"], n_values=4)
    answers = np.asarray(fit_jit(labels, Glad()).posterior).argmax(1)
    assert (answers == peer.reindex(instance).to_numpy()).mean() >= 0.97


def test_other_names_of_classes_are_other_names_of_answers(x64):
    labels, _ = crowd(3)
    sizes = dict(n_values=3, n_labelers=W, n_instances=I)
    other = Labels.from_arrays(labels.labeler, labels.instance, 2 - labels.label, **sizes)
    found, mirrored = (fit_jit(v, Factor(), solver=EXACT) for v in (labels, other))
    np.testing.assert_allclose(found.posterior, mirrored.posterior[:, ::-1], atol=1e-5)


def test_a_fit_that_starts_with_classes_exchanged_comes_back(x64):
    labels, truth = crowd(2)
    straight = fit_jit(labels, Factor(), solver=EXACT)
    start = jax.tree.map(jnp.asarray, straight.params)
    start = start | {"alpha": {"own": -start["alpha"]["own"]}}
    found = fit_jit(labels, Factor(), start)
    np.testing.assert_allclose(found.objective, straight.objective, rtol=1e-6)
    assert (np.asarray(found.posterior).argmax(1) == truth).mean() > 0.9


def test_gold_keeps_its_class_where_others_are_renamed():
    votes = jnp.eye(3)[jnp.array([0, 1, 2, 0])]
    labels = Labels.from_arrays([0] * 4, range(4), [0, 1, 2, 0], n_values=3, gold=[np.nan] * 3 + [1])
    q = votes[:, jnp.array([1, 2, 0])].at[3].set(jnp.eye(3)[1])
    new, moved = renamed(labels, votes, q)
    assert bool(moved)
    assert new.argmax(1).tolist() == [0, 1, 2, 1]


def test_continued_where_it_ended_a_fit_stays(x64):
    labels, _ = crowd(3)
    found = fit_jit(labels, Glad(), solver=EXACT)
    again = fit_jit(labels, Glad(), found.params)
    np.testing.assert_allclose(again.objective, found.objective, rtol=1e-10)
    assert int(again.n_steps) < 8
    np.testing.assert_allclose(found.posterior, pass_at(labels, Glad(), found.params).posterior, atol=1e-12)


def test_the_best_of_some_starts_is_no_worse_than_any(x64):
    labels, _ = crowd(4, 2)
    model, key = Factor(n_factors=2), jax.random.key(3)
    best = jax.jit(lambda labels: restarts(labels, model, key, 3))(labels)
    one = jax.jit(lambda labels, key: stages(labels, model, None, Solver(), key).run())
    each = [one(labels, key) for key in jax.random.split(key, 3)]
    np.testing.assert_allclose(best.objective, max(f.objective for f in each), rtol=1e-9)
    assert int(best.n_steps) == sum(int(f.n_steps) for f in each)


@pytest.mark.parametrize(("k", "model"), [(3, Glad()), (4, Factor(n_factors=2))])
def test_the_labels_of_the_fit_get_its_answers_back(x64, k, model):
    labels, _ = crowd(k, model.n_factors, bias=model.bias is not None)
    found = fit_jit(labels, model, solver=EXACT)
    again = predict(labels, model, found.params, np.arange(W), EXACT)
    np.testing.assert_allclose(again.posterior, found.posterior, atol=2e-3)


def test_prediction_with_features(x64):
    """A labeler unknown to the fit is what his features say; with no deviations nothing is left to be found."""
    labels, _ = crowd(3)
    x, y = np.linspace(-1, 1, W)[:, None], np.linspace(-1, 1, I)[:, None]
    model = Factor(labeler_features=x, instance_features=y, deviation=0.0)
    found = fit_jit(labels, model, solver=EXACT)
    np.testing.assert_allclose(
        predict(labels, model, found.params, np.full(W, -1)).posterior, found.posterior, atol=1e-9
    )
    model = Factor(labeler_features=x, instance_features=y)
    shifts = iter(range(9))
    params = jax.tree.map(lambda v: v + 0.1 * next(shifts), model.start(labels, None))
    new = Labels.from_arrays([0, 1], [0, 0], [2, 1], n_values=3)
    rows = Factor(labeler_features=[[0.5], [2.0]], instance_features=[[0.1]])
    alpha = rows.factors(predict(new, rows, params, [3, -1]).params).alpha[:, 0]
    level, slope = params["alpha"]["columns"][:, 0]
    np.testing.assert_allclose(alpha, [level + 0.5 * slope + params["alpha"]["own"][3, 0], level + 2 * slope])


def test_a_loaded_result_predicts_with_the_features_that_its_labelers_had(tmp_path):
    labels, _ = crowd(3)
    table = {"labeler": labels.labeler, "instance": labels.instance, "label": labels.label}
    skill = {"labeler": np.arange(W), "skill": np.linspace(-1, 1, W)}
    result = crowdjax.fit(table, model="glad", labeler_features=skill)
    assert any("confidences are too high" in warning for warning in result.warnings)
    result.save(tmp_path / "out")
    few = {name: np.asarray(values)[: 3 * PER] for name, values in table.items()}
    straight, loaded = (r.predict(few).instances for r in (result, crowdjax.load(tmp_path / "out")))
    np.testing.assert_array_equal(straight["confidence"], loaded["confidence"])
    fit = np.asarray(result.fit.posterior)[:3]
    np.testing.assert_allclose(straight["confidence"], fit.max(1), atol=0.02)
    new = few | {"labeler": np.where(few["labeler"] == few["labeler"][0], 99, few["labeler"])}
    with pytest.raises(InputError, match="labeler 99 is new"):
        result.predict(new)


@pytest.mark.parametrize("bias", [None, 1.0])
def test_a_mean_table_is_the_average_over_a_labelers_instances(x64, bias):
    labels, _ = crowd(3)
    model, rng = Factor(n_factors=2, bias=bias), np.random.default_rng(1)
    params = jax.tree.map(lambda v: jnp.asarray(rng.normal(0.5, 1, v.shape)), model.start(labels, None))
    q = rng.dirichlet(np.ones(3), I)
    p = np.exp(log_p(model.factors(params), 3))  # [W, I, L, K]
    weight = np.zeros((W, I, 3))
    weight[labels.labeler, labels.instance] = q[labels.instance]
    expected = np.einsum("wilk,wik->wlk", p, weight) / weight.sum(1)[:, None]
    np.testing.assert_allclose(mean_table(labels, model, params, q), expected, atol=1e-10)


def test_a_labeler_without_labels_has_the_table_of_an_average_instance(x64):
    labels = Labels.from_arrays([0, 0], [0, 1], [0, 1], n_values=3, n_labelers=2)
    params = Glad().start(labels, None)
    table = mean_table(labels, Glad(), params, jnp.full((2, 3), 1 / 3))
    np.testing.assert_allclose(table[1, :, 0], [x := 1 / (1 + np.exp(-np.e)), (1 - x) / 2, (1 - x) / 2], rtol=1e-12)


def test_a_host_may_stop_a_fit():
    labels, _ = crowd(3)
    model = Factor()

    def make(labels, settings):
        return stages(labels, model, None, settings)

    seen = []
    progress = lambda stage, done, total, *, objective=None: seen.append(done) or len(seen) > 1  # noqa: E731
    found, stopped = drive.run(make, (labels,), Solver(), None, progress)
    assert stopped
    assert seen
    assert np.isfinite(found.posterior).all()


def test_two_devices_find_what_one_finds(fresh_python):
    code = """
import numpy as np, jax, jax.numpy as jnp
from crowdjax import spread
from crowdjax.labels import Labels
from crowdjax.observation.factors import Factor
rng = np.random.default_rng(0)
labels = Labels.from_arrays(rng.integers(0, 9, 600), rng.integers(0, 80, 600), rng.integers(0, 3, 600), n_values=3)
x = rng.normal(size=(80, 1))
model = Factor(n_factors=2, instance_features=x, class_prior="logistic")
one, two = (spread.fit(labels, model, devices=n) for n in (1, 2))
print(abs(one.objective / two.objective - 1) < 1e-5, abs(one.posterior - two.posterior).max() < 0.02)
"""
    assert fresh_python(code, devices=2).split() == ["True"] * 2


def test_weights_may_be_vmapped(x64):
    labels, _ = crowd(3)
    weights = np.stack([np.asarray(labels.counts, float), np.random.default_rng(0).exponential(size=len(labels.label))])
    both = jax.jit(jax.vmap(lambda w: fit(labels.with_weight(w), Glad())))(weights)
    np.testing.assert_allclose(both.objective[0], fit_jit(labels, Glad(), solver=EXACT).objective, rtol=1e-6)
    params = jax.tree.map(lambda v: v[1], both.params)
    found = pass_at(labels.with_weight(weights[1]), Glad(), params)
    np.testing.assert_allclose(found.posterior, both.posterior[1], atol=1e-10)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(n_factors=1.5), "n_factors: got 1.5"),
        (dict(instance=(1.0, 0.0)), "instance: standard deviation 0"),
        (dict(class_prior=(0.5, 0.6)), "class_prior: got"),
        (dict(class_prior="logistic"), "logistic needs features"),
        (dict(class_prior="fair"), "class_prior: got 'fair'"),
    ],
)
def test_settings_that_make_no_model_are_rejected(settings, message):
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        Factor(**settings)


def test_labels_that_are_not_the_classes_are_rejected():
    labels = Labels.from_arrays([0, 1], [0, 0], [3, 1], n_values=4, n_classes=2)
    with pytest.raises(InputError, match="4 values for 2 classes"):
        fit_jit(labels, Glad())
    with pytest.raises(InputError, match="2 numbers; allowed: 3"):
        fit_jit(crowd(3)[0], Glad(class_prior=(0.5, 0.5)))
    with pytest.raises(InputError, match="m_step"):
        fit_jit(labels, Glad(), solver=Solver("em"))


def test_at_start_further_factors_are_off_the_saddle_and_do_not_depend_on_their_number(x64):
    labels, _ = crowd(3)
    two, three = (Factor(n_factors=d).start(labels, None, jax.random.key(1)) for d in (2, 3))
    np.testing.assert_array_equal(two["alpha"]["own"], three["alpha"]["own"][:, :2])
    assert np.abs(two["beta"]["own"][:, 1]).min() > 0
    gradient = bilinear_pass(labels, Factor(n_factors=2).factors(two)).gradient
    assert np.abs(gradient.alpha[:, 1]).max() > 1e-3
