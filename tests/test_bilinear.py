"""The bilinear pass equals dense tables of probabilities and their automatic gradients, in every layout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import Crowd, pass_over

from crowdjax import labels as labels_module
from crowdjax.labels import Labels
from crowdjax.observation.bilinear import Biases, Factors, bilinear_pass, curvature_pass, evidence, label_counts

W, I = 7, 200
RNG = np.random.default_rng(31)
DEGREE = np.minimum(RNG.geometric(0.25, I) - 1, 12)  # some instances have no labels
INSTANCE = np.repeat(np.arange(I), DEGREE)
N = len(INSTANCE)
LABELER = RNG.integers(0, W, N)
WEIGHT = RNG.choice([0.0, 0.5, 1.0, 2.0], N)
KNOWN = RNG.random(I) < 0.2
jit_pass = jax.jit(bilinear_pass)


@pytest.fixture(params=["flat", "blocked"])
def layout(request, monkeypatch):
    monkeypatch.setattr(labels_module, "FLAT_BELOW", 64)
    monkeypatch.setattr(labels_module, "LABELS_PER_BLOCK", 120)
    monkeypatch.setattr(labels_module, "MAX_PADDING", 2)
    return request.param


def crowd(k: int, layout="flat", *, weighted=True, gold=True) -> Labels:
    rng = np.random.default_rng(k)
    label, truth = rng.integers(0, k, N), rng.integers(0, k, I)
    labels = Labels.from_arrays(
        LABELER,
        INSTANCE,
        label,
        weight=WEIGHT if weighted else None,
        gold=np.where(KNOWN, truth, np.nan) if gold else None,
        n_labelers=W,
        n_instances=I,
        n_values=k,
        blocks=layout != "flat",
    )
    assert (labels.n_blocks > 2) == (layout != "flat")
    return labels


def factors(k: int, n_factors=1, *, bias=True, own=False) -> Factors:
    rng = np.random.default_rng(100 + k)
    array = lambda *shape: jnp.asarray(rng.normal(0.6, 1, shape), jnp.result_type(float))  # noqa: E731
    gamma = array(W, k) if bias else None
    prior = jax.nn.log_softmax(array(I, k) if own else array(k))
    return Factors(array(W, n_factors), array(I, n_factors), gamma, prior, 0.3)


def log_p(f: Factors, k: int):
    """log p(label l of labeler i on instance j | z_j = c), [W, I, L, K]."""
    s = f.offset + f.alpha @ f.beta.T
    gamma = jnp.zeros((len(f.alpha), k)) if f.gamma is None else f.gamma
    return jax.nn.log_softmax(gamma[:, None, :, None] + s[:, :, None, None] * jnp.eye(k), axis=2)


def joint(labels: Labels, f: Factors, *, clamp=True):
    """log p(z_j = c, labels of j), [I, K]."""
    k, real = labels.n_classes, labels.real
    i, j, label = labels.labeler[real], labels.instance[real], labels.label[real]
    given = (labels.counts[real][:, None]) * log_p(f, k)[i, j, label]
    h = f.log_prior + jnp.zeros((labels.n_instances, k)).at[j].add(given)
    if labels.gold is None or not clamp:
        return h
    gold = labels.gold[:, None]
    return jnp.where((gold >= 0) & (gold != np.arange(k)), -jnp.inf, h)


def dense(labels: Labels, f: Factors):
    return jax.nn.logsumexp(joint(labels, f), axis=1).sum()


def close(found, expected, rtol):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max()), found, expected)


@pytest.mark.parametrize(
    ("k", "n_factors", "bias", "weighted", "gold", "own"),
    [
        (2, 1, True, False, False, False),
        (2, 1, False, True, True, True),
        (3, 2, True, True, True, True),
        (4, 3, False, False, False, False),
        (4, 1, False, True, True, False),
        (7, 1, True, False, True, True),
    ],
)
def test_value_posterior_and_gradients_are_those_of_dense_tables(x64, layout, k, n_factors, bias, weighted, gold, own):
    labels, f = crowd(k, layout, weighted=weighted, gold=gold), factors(k, n_factors, bias=bias, own=own)
    found = jit_pass(labels, f)
    value, gradient = jax.jit(jax.value_and_grad(lambda f: dense(labels, f)))(f)
    np.testing.assert_allclose(found.value, value, rtol=1e-12)
    close(found.posterior, jax.nn.softmax(joint(labels, f), axis=1), 1e-10)
    close(found.gradient, gradient, 1e-10)


@pytest.mark.parametrize("bias", [False, True])
def test_at_given_posteriors_the_value_is_q(x64, layout, bias):
    labels, f = crowd(4, layout), factors(4, bias=bias, own=True)
    given = jax.random.dirichlet(jax.random.key(0), jnp.ones(4), (I,))
    q = lambda f: (given * joint(labels, f, clamp=False)).sum()  # noqa: E731
    value, gradient = jax.jit(jax.value_and_grad(q))(f)
    found = jit_pass(labels, f, given, True)
    np.testing.assert_allclose(found.value, value, rtol=1e-12)
    close(found.gradient, gradient, 1e-10)
    np.testing.assert_array_equal(found.posterior, given)
    close(jit_pass(labels, f, given, False), jit_pass(labels, f), 1e-12)


@pytest.mark.parametrize("bias", [False, True])
def test_two_classes_are_the_binary_model(x64, layout, bias):
    """γ of the binary model is the difference of the two; its class prior a logit."""
    labels, f = crowd(2, layout), factors(2, 2, bias=bias, own=True)._replace(offset=0.0)
    real = labels.real
    table = Crowd.of(
        labeler=labels.labeler[real],
        instance=labels.instance[real],
        label=labels.sign[real],
        weight=labels.counts[real],
        gold=labels.gold_sign,
        shape=(W, I),
    )
    gamma = None if f.gamma is None else np.asarray(f.gamma[:, 1] - f.gamma[:, 0])
    value, p, (alpha, beta, of_bias, _) = pass_over(
        table, np.asarray(f.alpha), np.asarray(f.beta), gamma, np.asarray(f.log_prior[:, 1] - f.log_prior[:, 0]), None
    )
    found = jit_pass(labels, f)
    np.testing.assert_allclose(found.value, value, rtol=1e-12)
    close(found.posterior[:, 1], p, 1e-10)
    close((found.gradient.alpha, found.gradient.beta), (alpha, beta), 1e-10)
    if bias:
        close(found.gradient.gamma, np.stack([-of_bias, of_bias], axis=1), 1e-10)


@pytest.mark.parametrize("bias", [False, True])
def test_any_parametrisation_has_gradients_both_ways(x64, bias):
    labels, f = crowd(3), factors(3, bias=bias)

    def of(x, evidence):
        return evidence(labels, f._replace(alpha=jnp.exp(x * f.alpha), log_prior=jax.nn.log_softmax(x * f.log_prior)))

    expected = jax.jit(jax.grad(lambda x: of(x, dense)))(0.7)
    np.testing.assert_allclose(jax.jit(jax.grad(lambda x: of(x, evidence)))(0.7), expected, rtol=1e-10)
    along = jax.jit(lambda x: jax.jvp(lambda x: of(x, evidence), (x,), (1.0,))[1])
    np.testing.assert_allclose(along(0.7), expected, rtol=1e-10)


@pytest.mark.parametrize("scale", [1.0, 10.0, 30.0])
def test_single_floats_are_as_good_where_probabilities_are_extreme(scale):
    """Biases and discriminations far in the tails: no infinity, no digits lost beside the largest entry."""
    labels, wide = crowd(5), factors(5, own=True)
    wide = wide._replace(gamma=scale * wide.gamma, alpha=scale * wide.alpha)
    found = jit_pass(labels, wide)
    with jax.enable_x64(True):
        exact = jit_pass(labels, jax.tree.map(lambda v: jnp.asarray(v, np.float64), wide))
    np.testing.assert_allclose(found.value, exact.value, rtol=1e-5)
    for a, b in zip(*(map(np.asarray, jax.tree.leaves(p.gradient)) for p in (found, exact)), strict=True):
        assert np.abs(a - b).max() <= 2e-5 * np.abs(b).max()


def test_the_rest_of_the_likeliest_label_keeps_its_digits():
    biases = Biases.of(jnp.array([[0.0, 30.0, -5.0]]))
    np.testing.assert_allclose(biases.log_rest[0, 1], np.logaddexp(-30, -35), rtol=1e-6)


def test_the_diagonal_is_the_curvature_where_classes_are_known_and_alike(x64):
    """Without biases the curvature in s does not depend on the class: it is that of a label of known truth."""
    labels, f = crowd(4, weighted=True, gold=False), factors(4, 2, bias=False)
    p = lambda s: np.exp(s) / (np.exp(s) + 3)  # noqa: E731
    s = np.asarray(f.offset + f.alpha @ f.beta.T)[LABELER, INSTANCE]
    w = WEIGHT * p(s) * (1 - p(s))
    alpha, beta = np.zeros((W, 2)), np.zeros((I, 2))
    np.add.at(alpha, LABELER, w[:, None] * np.asarray(f.beta)[INSTANCE] ** 2)
    np.add.at(beta, INSTANCE, w[:, None] * np.asarray(f.alpha)[LABELER] ** 2)
    found = curvature_pass(labels, f)
    order = np.lexsort((LABELER, INSTANCE))
    assert len(order) == N
    close((found.alpha, found.beta), (alpha, beta), 1e-10)


def test_label_counts_are_weights_added_up(layout):
    labels = crowd(3, layout)
    expected = np.zeros((W, 3))
    real = labels.real
    np.add.at(expected, (labels.labeler[real], labels.label[real]), labels.counts[real])
    np.testing.assert_allclose(label_counts(labels), expected, rtol=1e-6)
