"""Functions of the context: their covariances, gradients in float32, increasing functions, the score's scale."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad

from crowdjax.contextual.context import Scale
from crowdjax.contextual.functions import GP, Function, evaluate, prepare
from crowdjax.labels import LabelError

functions = importlib.import_module("crowdjax.contextual.functions")  # the package's own name is the estimand
X = np.linspace(-1, 1, 21)[:, None]
GPS = {
    "hsgp": GP(),
    "inducing": GP("inducing", n_basis=20),
    "exact": GP("exact"),
    "additive": GP(n_basis=24),
    "tensor": GP(n_basis=20, columns="tensor"),
    "tensor-inducing": GP("inducing", n_basis=60, columns="tensor"),
}


def squared_exponential(a, b, length):
    return np.exp(-0.5 * (((a[:, None] - b[None]) / length) ** 2).sum(-1))


def without_line(kernel, x, grid):
    """The kernel matrix at x of the process minus its least-squares line over the grid."""
    fit = np.linalg.lstsq(np.c_[np.ones(len(grid)), grid], np.eye(len(grid)), rcond=None)[0]
    line = np.c_[np.ones(len(x)), x] @ fit
    cross = kernel(x, grid) @ line.T
    return kernel(x, x) - cross - cross.T + line @ kernel(grid, grid) @ line.T


def coloured(terms, amplitude, length, weights):
    """What ``evaluate`` takes: length-scales, and white weights times their scales."""
    lengths = length.reshape(len(terms), -1)
    parts = [term.colour(a, one, w) for term, a, one, w in zip(terms, amplitude, lengths, weights, strict=True)]
    return {"length": length, "coefficients": jnp.stack(parts)}


def prior_covariance(gp, x, amplitude, length):
    """f is linear in white weights: its prior covariance is J Jᵀ."""
    basis = prepare(gp, x)
    shape = (len(basis.terms), basis.terms[0].n_weights)

    def f(weights):
        c = dict(mean=0.0, slope=jnp.zeros(x.shape[1])) | coloured(basis.terms, amplitude, length, weights)
        return evaluate(Function(), basis, c)

    slope = jax.jacfwd(f)(jnp.zeros(shape)).reshape(len(x), -1)
    return np.asarray(slope @ slope.T)


@pytest.mark.parametrize("length", [0.3, 0.5, 0.9])
@pytest.mark.parametrize("name", ["hsgp", "inducing", "exact"])
def test_covariance_is_the_squared_exponential_without_its_line(x64, name, length):
    found = prior_covariance(GPS[name], X, jnp.array([1.5]), jnp.array([length]))
    grid = np.linspace(-1, 1, 65)[:, None]
    expected = 1.5**2 * without_line(lambda a, b: squared_exponential(a, b, length), X, grid)
    np.testing.assert_allclose(found, expected, atol=5e-3)


@pytest.mark.parametrize("name", ["tensor", "tensor-inducing"])
def test_tensor_covariance_has_a_length_for_each_column(x64, name):
    x = np.random.default_rng(0).uniform(-1, 1, (30, 2))
    x = np.r_[x, [[1, 1], [-1, 1], [1, -1], [-1, -1]]]
    length = np.array([0.6, 0.9])
    found = prior_covariance(GPS[name], x, jnp.array([1.0]), jnp.asarray(length))
    axis = np.linspace(-1, 1, 23)
    grid = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    expected = without_line(lambda a, b: squared_exponential(a, b, length), x, grid)
    np.testing.assert_allclose(found, expected, atol=0.03)


def test_additive_covariance_is_the_sum_over_columns(x64):
    x = np.random.default_rng(0).uniform(-1, 1, (30, 2))
    found = prior_covariance(GPS["additive"], x, jnp.array([1.0, 0.5]), jnp.array([0.6, 0.9]))
    grid = np.linspace(-1, 1, 65)[:, None]
    columns = [
        a**2 * without_line(lambda s, t, l=l: squared_exponential(s, t, l), x[:, [c]], grid)
        for c, (a, l) in enumerate([(1.0, 0.6), (0.5, 0.9)])
    ]
    np.testing.assert_allclose(found, sum(columns), atol=5e-3)


@pytest.mark.parametrize("name", ["hsgp", "inducing", "exact"])
def test_no_nan_in_float32_at_any_length_the_prior_allows(name):
    """Lengths from -6 to +6 standard deviations of the prior, amplitudes from 1e-6 to 10: values and gradients finite,
    second derivatives too."""
    x = np.random.default_rng(1).uniform(-1, 1, (150, 1))
    gp = GPS[name]
    basis = prepare(gp, x)
    weights = jax.random.normal(jax.random.key(0), (1, basis.terms[0].n_weights))

    @jax.jit
    def both(log_length, log_amplitude):
        def f(at):
            c = dict(mean=0.0, slope=jnp.zeros(1)) | coloured(basis.terms, jnp.exp(at[1:]), jnp.exp(at[:1]), weights)
            return evaluate(Function(), basis, c).sum()

        at = jnp.array([log_length, log_amplitude])
        return f(at), jax.grad(f)(at), jax.hessian(f)(at)

    mean, sd = gp.log_length
    for log_length in mean + sd * np.linspace(-6, 6, 13):
        for log_amplitude in (-13.8, 0.0, 2.3):
            found = both(log_length, log_amplitude)
            assert found[0].dtype == jnp.float32
            assert all(np.isfinite(v).all() for v in found), (log_length, log_amplitude)


@pytest.mark.parametrize("name", ["hsgp", "inducing"])
def test_prepared_again_equals_prepared_together(name):
    both = prepare(GPS[name], X)
    half = prepare(GPS[name], X[::2], anchors=[t.z for t in both.terms] if name == "inducing" else None)
    weights = jax.random.normal(jax.random.key(0), (1, both.terms[0].n_weights))
    p = dict(mean=0.1, slope=jnp.ones(1)) | coloured(both.terms, jnp.ones(1), jnp.array([0.4]), weights)
    np.testing.assert_allclose(evaluate(Function(), half, p), evaluate(Function(), both, p)[::2], atol=1e-5)


def test_many_inputs_share_a_grid(monkeypatch):
    """More distinct inputs than rows of the table: each takes the nearest, off by half a step at most."""
    x = np.random.default_rng(0).uniform(-1, 1, (5000, 1)).astype(np.float32)
    found = prepare(GP(), x)
    assert found.terms[0].features.shape == (functions.MOST_INPUTS, 32)
    monkeypatch.setattr(functions, "MOST_INPUTS", len(x))
    exact = prepare(GP(), x)
    c = dict(mean=0.1, slope=jnp.ones(1)) | coloured(
        exact.terms, jnp.ones(1), jnp.array([0.3]), jax.random.normal(jax.random.key(0), (1, 32))
    )
    expected = np.asarray(evaluate(Function(), exact, c))
    steepest = np.abs(np.gradient(expected[np.argsort(x[:, 0])][::10], np.sort(x[:, 0])[::10])).max()
    np.testing.assert_allclose(evaluate(Function(), found, c), expected, atol=1.5 * steepest / 2047)


def test_increasing_function_is_the_integral_of_its_slope(x64):
    gp = GP()
    basis = prepare(gp, X, increasing=True)
    weights = jax.random.normal(jax.random.key(2), (1, 32))
    p = dict(mean=-1.0, slope=jnp.array([0.3]))
    p |= coloured(basis.knots.terms, jnp.array([2.0]), jnp.array([0.4]), weights)
    found = np.asarray(evaluate(Function(increasing=True), basis, p))
    assert (np.diff(found) > 0).all()

    def slope(t):
        line = dict(p, mean=0.0)
        return np.log1p(np.exp(float(evaluate(Function(), prepare(gp, np.array([[t]])), line)[0] - 0.3 * t + 0.3)))

    for k in (0, 5, 16):
        expected = -1.0 + quad(slope, 0, X[k, 0], epsabs=1e-6)[0]
        np.testing.assert_allclose(found[k], expected, atol=2e-3)


def test_valid_lengths_cover_the_prior():
    low, high = GP().valid_lengths
    mean, sd = GP().log_length
    draws = np.exp(np.random.default_rng(0).normal(mean, sd, 100_000))
    assert ((draws >= low) & (draws <= high)).mean() > 0.95


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GP(n_basis=1), "n_basis: got 1"),
        (lambda: GP(boundary=1.0), "boundary: got 1.0"),
        (lambda: prepare(GP("exact"), np.linspace(-1, 1, 1001)[:, None]), "exact for 1001 distinct inputs"),
        (lambda: prepare(GP(), np.zeros((3, 2)), increasing=True), "increasing: the context has 2 columns"),
    ],
)
def test_settings_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("transform", ["identity", "logit", "rank"])
def test_scale_is_increasing_onto_the_interval(transform):
    scores = np.random.default_rng(0).beta(0.5, 3, 500)
    x = Scale.learn(scores, transform=transform)(scores)[:, 0]
    order = np.argsort(scores)
    assert (np.diff(x[order]) >= 0).all()
    ends = {"rank": [-1, 1]}.get(transform, [-0.95, 0.95])
    np.testing.assert_allclose([x.min(), x.max()], ends, atol=1e-3)


@pytest.mark.parametrize("n", [30, 60, 1000])
def test_one_odd_score_hardly_moves_the_others(n):
    scores = np.random.default_rng(0).beta(0.8, 2, n)
    clean = Scale.learn(scores)(scores)
    for odd in (999.0, -99.0, 1.9, 2.5):
        scale = Scale.learn(np.r_[scores, odd])
        assert np.corrcoef(scale(scores)[:, 0], clean[:, 0])[0, 1] > 0.995
        assert np.ptp(scale(scores)) > 0.7 * np.ptp(clean)
        assert abs(scale([odd])[0, 0]) == 1 and scale.beyond([odd]) and not scale.beyond(scores).any()


def test_a_code_in_many_rows_has_no_part_in_the_scale():
    scores = np.random.default_rng(0).beta(0.8, 2, 1000)
    np.testing.assert_array_equal(Scale.learn(np.r_[scores, np.full(50, 999)])(scores), Scale.learn(scores)(scores))


def test_an_up_sampled_sample_resolves_its_population():
    rng = np.random.default_rng(0)
    people = rng.beta(0.8, 2, 200_000)
    chance = 0.001 + people**2
    sample = rng.choice(people, 1000, replace=False, p=chance / chance.sum())
    assert (people < np.quantile(sample, 0.005)).mean() > 0.1  # where a scale of the sample's quantiles would end
    assert Scale.learn(sample).beyond(people).mean() < 0.001


def test_discrete_scores_keep_apart():
    grades = np.r_[np.repeat([1.0, 2, 3, 4], 100), 5]
    assert (np.diff(Scale.learn(grades)(np.arange(1.0, 6))[:, 0]) > 0.3).all()
    mostly = np.r_[np.zeros(2000), 1, 2, 3]  # the central 99 % has no width
    np.testing.assert_allclose(Scale.learn(mostly)([0, 1, 3])[:, 0], [-0.95, -0.95 / 3, 0.95])


def test_the_logit_takes_0_and_1():
    scale = Scale.learn([0.0, 0.3, 1.0], transform="logit")
    np.testing.assert_allclose(scale([0, 1e-6, 0.5, 1])[:, 0], [-0.95, -0.95, 0, 0.95], atol=1e-12)
    assert not scale.beyond([0, 1]).any()


def test_rank_spreads_scores_evenly_and_ties_share_a_rank():
    scores = np.r_[np.random.default_rng(0).beta(0.5, 3, 5000), np.zeros(5000)]
    x = Scale.learn(scores, transform="rank")(scores)[:, 0]
    positive = np.sort(x[:5000])
    expected = 2 * (np.linspace(0.5, 1, 5000) - 0.25) / 0.75 - 1
    np.testing.assert_allclose(positive[20:], expected[20:], atol=0.01)  # below: between the tie and the next knot
    np.testing.assert_array_equal(x[5000:], -1)  # half of the scores share the lowest rank, a quarter


def test_a_scale_of_an_earlier_version_clamps():
    scale = Scale("identity", np.array([0.0]), np.array([1.0]))
    np.testing.assert_allclose(scale([-1, 0.0, 0.2, 1.0, 7])[:, 0], [-1, -1, -0.6, 1, 1])


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ([0.1, np.nan, 0.3], {}, "got nan at row 1, column 0"),
        ([0.1, np.inf], {}, "got inf at row 1"),
        ([0.5, 0.5], {}, "column 0 is 0.5 throughout"),
        (["a", "b"], {}, "values of type"),
        ([-0.1, 0.5], {"transform": "logit"}, "got -0.1 at row 0"),
        ([0.1, 0.2], {"transform": "log"}, "transform: got 'log'"),
        ([[0.1, 1.0], [0.2, 1.0]], {}, "column 1 is 1.0 throughout"),
    ],
)
def test_scores_that_cannot_be_used_are_refused(scores, options, message):
    with pytest.raises(LabelError, match=message):
        Scale.learn(scores, **options)
