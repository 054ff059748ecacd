"""One pass over the triples equals dense NumPy tables, in every layout and under every transformation."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracles import Crowd, curvature, finite_differences, pass_over

from crowdjax import labels as labels_module
from crowdjax import likelihood
from crowdjax.factor import Factors, curvature_pass, data_pass, e_step, evidence, expected_complete, majority
from crowdjax.factor.kernels import discrimination, folded_curvature, folded_pass, tally
from crowdjax.labels import Labels
from crowdjax.observation.blocks import MAX_PARTS, n_parts

W, I = 7, 300
RNG = np.random.default_rng(20)
DEGREE = np.minimum(RNG.geometric(0.25, I) - 1, 12)  # some instances have no labels
DEGREE[150] = 30
INSTANCE = np.repeat(np.arange(I), DEGREE)
N = len(INSTANCE)
TRIPLES = dict(labeler=RNG.integers(0, W, N), instance=INSTANCE, label=RNG.choice([-1, 1], N))
WEIGHT = RNG.choice([0.0, 0.5, 1.0, 2.0], N)
GOLD = np.where(RNG.random(I) < 0.2, RNG.choice([-1, 1], I), 0)
ALPHA, BETA = RNG.normal([1, 0, 0], size=(W, 3)), RNG.normal([1, 0, 0], size=(I, 3))
GAMMA, ETA, GIVEN = RNG.normal(size=W), RNG.normal(size=I), RNG.random(I)

jit_pass, jit_curvature = jax.jit(data_pass), jax.jit(curvature_pass)
jit_folded = jax.jit(folded_pass)


@pytest.fixture(params=["flat", "blocked"])
def layout(request, monkeypatch):
    monkeypatch.setattr(labels_module, "FLAT_BELOW", 64)
    monkeypatch.setattr(labels_module, "LABELS_PER_BLOCK", 200)
    monkeypatch.setattr(labels_module, "MAX_PADDING", 2)
    return request.param


def crowd(layout, *, weighted=True, gold=True) -> tuple[Labels, Crowd]:
    weight = WEIGHT if weighted else None
    known = np.where(GOLD == 0, np.nan, GOLD) if gold else None
    sizes = dict(n_labelers=W, n_instances=I)
    labels = Labels.from_arrays(**TRIPLES, **sizes, weight=weight, gold=known, blocks=layout != "flat")
    assert (labels.n_blocks > 2) == (layout != "flat")
    return labels, Crowd.of(**TRIPLES, weight=weight, gold=GOLD if gold else None, shape=(W, I))


def factors(n_factors=3, *, bias=True) -> Factors:
    return Factors(
        *(jnp.asarray(v) for v in (ALPHA[:, :n_factors], BETA[:, :n_factors])),
        jnp.asarray(GAMMA) if bias else None,
        jnp.asarray(ETA),
    )


def dense(table, f: Factors, given=None):
    value, p, gradient = pass_over(table, *(None if v is None else np.asarray(v, np.float64) for v in f), given)
    return value, p, [g for g, v in zip(gradient, f, strict=True) if v is not None]


def close(found, expected, rtol):
    """Largest error over largest value: entries near zero are sums that cancel."""
    assert found.shape == np.shape(expected)
    assert np.abs(np.asarray(found, np.float64) - expected).max() <= rtol * (1e-300 + np.abs(expected).max())


@pytest.mark.parametrize(
    ("n_factors", "bias", "weighted", "gold"),
    [(1, True, False, False), (1, False, True, True), (3, True, True, True), (3, False, False, False)],
)
def test_a_pass_equals_dense_tables(x64, layout, n_factors, bias, weighted, gold):
    labels, table = crowd(layout, weighted=weighted, gold=gold)
    f = factors(n_factors, bias=bias)
    for given, use in [(None, True), (GIVEN, True), (GIVEN, False)]:
        found = jit_pass(labels, f, given, use)
        value, p, gradient = dense(table, f, given if use else None)
        np.testing.assert_allclose(found.value, value, rtol=1e-12)
        np.testing.assert_allclose(found.posterior, p, rtol=1e-10)
        for g, e in zip(jax.tree.leaves(found.gradient), gradient, strict=True):
            close(g, e, 1e-12)


def test_a_pass_in_float32_keeps_float32_accuracy(layout):
    labels, table = crowd(layout)
    f = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), factors())
    found = jit_pass(labels, f)
    value, p, gradient = dense(table, f)
    assert {v.dtype for v in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(found.value, value, rtol=1e-6)
    np.testing.assert_allclose(found.posterior, p, atol=1e-5)
    for g, e in zip(jax.tree.leaves(found.gradient), gradient, strict=True):
        close(g, e, 2e-6)


def test_float32_weights_under_x64_do_not_lower_the_precision_of_factors(x64, layout):
    labels, table = crowd(layout)
    labels = labels.with_weight(np.asarray(labels.weight, np.float32))  # exact: halves and integers
    np.testing.assert_allclose(jit_pass(labels, factors(), None, True).value, dense(table, factors())[0], rtol=1e-12)


def test_the_gradient_of_evidence_is_automatic_and_that_of_q_at_its_posterior(x64, layout):
    """Fisher's identity, three ways: through ``evidence``, through Q, through autodiff of the per-triple likelihood."""
    labels, table = crowd(layout)
    _, p, expected = dense(table, factors())

    @jax.jit
    def gradients(labels, f, p):
        s = lambda f: (f.alpha[labels.labeler] * f.beta[labels.instance]).sum(1)  # noqa: E731
        return (
            jax.grad(lambda f: 3 * evidence(labels, f))(f),
            jax.grad(lambda f: 3 * likelihood.evidence(labels, s(f), f.gamma[labels.labeler], f.prior_logit))(f),
            jax.grad(lambda f: 3 * expected_complete(labels, f, p))(f),
        )

    for found in gradients(labels, factors(), p):
        for g, e in zip(found, expected, strict=True):
            close(g / 3, e, 1e-11)


def test_the_gradient_of_q_is_automatic_at_any_posterior(x64, layout):
    labels, _ = crowd(layout)
    automatic = jax.jit(jax.grad(lambda f: expected_complete(labels, f, GIVEN)))(factors())
    by_hand = jit_pass(labels, factors(), GIVEN, True).gradient
    for g, e in zip(by_hand, automatic, strict=True):
        close(g, np.asarray(e), 1e-11)


def test_gradients_equal_finite_differences_of_the_dense_evidence(x64, layout):
    labels, table = crowd(layout)
    found = jit_pass(labels, factors(), None, True).gradient
    value = lambda a, g, e: pass_over(table, a, BETA, g, e)[0]  # noqa: E731
    np.testing.assert_allclose(found.alpha, finite_differences(lambda a: value(a, GAMMA, ETA), ALPHA), atol=1e-6)
    np.testing.assert_allclose(found.gamma, finite_differences(lambda g: value(ALPHA, g, ETA), GAMMA), atol=1e-6)
    np.testing.assert_allclose(found.prior_logit, finite_differences(lambda e: value(ALPHA, GAMMA, e), ETA), atol=1e-6)
    beta = finite_differences(lambda b: pass_over(table, ALPHA, b, GAMMA, ETA)[0], BETA)
    np.testing.assert_allclose(found.beta, beta, atol=1e-6)


def test_a_directional_derivative_of_evidence_is_right_in_forward_mode(x64, layout):
    """Along a random direction: a difference of the dense evidence, and reverse mode's gradient times the direction."""
    labels, table = crowd(layout)
    rng = np.random.default_rng(23)
    direction = jax.tree.map(lambda v: jnp.asarray(rng.normal(size=v.shape)), factors())
    of = lambda f: evidence(labels, f)  # noqa: E731
    value, slope = jax.jit(lambda f, d: jax.jvp(of, (f,), (d,)))(factors(), direction)
    at = lambda t: pass_over(table, *(np.asarray(v + t * d) for v, d in zip(factors(), direction, strict=True)))[0]  # noqa: E731
    np.testing.assert_allclose(value, at(0), rtol=1e-12)
    np.testing.assert_allclose(slope, (at(1e-5) - at(-1e-5)) / 2e-5, rtol=1e-7)
    reverse = jax.jit(jax.grad(of))(factors())
    expected = sum((np.asarray(g) * d).sum() for g, d in zip(reverse, direction, strict=True))
    np.testing.assert_allclose(slope, expected, rtol=1e-12)


def test_forward_mode_gives_the_gradient_without_a_bias_and_one_pass_suffices_for_either_mode(x64, layout):
    """``jax.jacfwd`` equals the dense gradient; a derivative scatters no more often than the pass alone."""
    labels, table = crowd(layout)
    f = factors(1, bias=False)
    of = lambda f: evidence(labels, f)  # noqa: E731
    forward = jax.jit(jax.jacfwd(lambda a: of(f._replace(alpha=a))))(f.alpha)
    close(forward, dense(table, f)[2][0], 1e-11)
    scatters = lambda made: str(made).count("scatter-add[")  # noqa: E731
    alone = scatters(jax.make_jaxpr(lambda f: data_pass(labels, f))(f))
    assert alone > 0
    assert scatters(jax.make_jaxpr(lambda f: jax.jvp(of, (f,), (f,)))(f)) == alone
    assert scatters(jax.make_jaxpr(jax.value_and_grad(of))(f)) == alone


def test_second_derivatives_through_evidence(x64, layout):
    """A Hessian-vector product in α (for Laplace approximations) equals differences of the dense gradient."""
    labels, table = crowd(layout)
    direction = np.random.default_rng(21).normal(size=ALPHA.shape)
    gradient = jax.grad(lambda a: evidence(labels, factors()._replace(alpha=a)))
    found = jax.jit(lambda a, d: jax.jvp(gradient, (a,), (d,))[1])(ALPHA, direction)
    h = 1e-6
    plus, minus = (pass_over(table, ALPHA + t * direction, BETA, GAMMA, ETA)[2][0] for t in (h, -h))
    close(found, (plus - minus) / (2 * h), 1e-8)


def test_the_gradient_in_the_multiplicities_is_the_expected_log_likelihood_of_each_label(x64, layout):
    """d evidence / d c_n, the influence of one judgement: differences of the dense evidence with its count raised."""
    labels, table = crowd(layout, weighted=False)
    ones = np.ones(len(labels.label))
    found = jax.jit(jax.grad(lambda w: data_pass(labels.with_weight(w), factors()).value))(ones)
    np.testing.assert_array_equal(found[~labels.real], 0)
    for n in np.flatnonzero(labels.real)[::97]:
        i, j, h = labels.labeler[n], labels.instance[n], 1e-5

        def raised(by, n=n, i=i, j=j):
            side = "plus" if labels.label[n] > 0 else "minus"
            counts = getattr(table, side).copy()
            counts[i, j] += by
            return pass_over(dataclasses.replace(table, **{side: counts}), ALPHA, BETA, GAMMA, ETA)[0]

        np.testing.assert_allclose(found[n], (raised(h) - raised(-h)) / (2 * h), atol=1e-6)


def test_evidence_under_grad_of_vmap_of_jit(x64, layout):
    """A user's own program: several shifts of the class prior at once, differentiated."""
    labels, table = crowd(layout)
    shifts = jnp.array([-0.5, 0.0, 1.0])
    one = lambda t: evidence(labels, factors()._replace(prior_logit=ETA + t))  # noqa: E731
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(one)))(shifts)
    for t, value, slope in zip(shifts, values, slopes, strict=True):
        expected, _, (*_, de) = pass_over(table, ALPHA, BETA, GAMMA, ETA + float(t))
        np.testing.assert_allclose(value, expected, rtol=1e-12)
        np.testing.assert_allclose(slope, de.sum(), rtol=1e-10)


def test_a_batch_of_weights_by_vmap_equals_one_at_a_time(x64, layout):
    labels, _ = crowd(layout, weighted=False)
    weights = np.random.default_rng(22).integers(0, 3, (3, len(labels.label))).astype(float)
    batched = jax.jit(jax.vmap(lambda w: data_pass(labels.with_weight(w), factors())))(weights)
    for k in range(3):
        single = jit_pass(labels.with_weight(weights[k]), factors(), None, True)
        for a, b in zip(jax.tree.leaves(batched), jax.tree.leaves(single), strict=True):
            close(a[k], np.asarray(b), 1e-12)


def test_views_of_the_pass(x64, layout):
    labels, table = crowd(layout)
    value, p, _ = dense(table, factors())
    views = jax.jit(lambda x, f, p: (evidence(x, f), e_step(x, f), expected_complete(x, f, p)))
    found = views(labels, factors(), GIVEN)
    np.testing.assert_allclose(found[0], value, rtol=1e-12)
    np.testing.assert_allclose(found[1], p, rtol=1e-10)
    np.testing.assert_allclose(found[2], dense(table, factors(), GIVEN)[0], rtol=1e-12)
    np.testing.assert_array_equal(p[GOLD != 0], GOLD[GOLD != 0] > 0)


@pytest.mark.parametrize("bias", [True, False])
def test_curvature_equals_dense_tables(x64, layout, bias):
    labels, table = crowd(layout)
    found = jit_curvature(labels, factors(bias=bias))
    of_alpha, of_beta, of_gamma = curvature(table, ALPHA, BETA, GAMMA if bias else None)
    close(found.alpha, of_alpha, 1e-12)
    close(found.beta, of_beta, 1e-12)
    assert bias or found.gamma is None
    if bias:
        close(found.gamma, of_gamma, 1e-12)
    pi = 1 / (1 + np.exp(-ETA))
    close(found.prior_logit, pi * (1 - pi), 1e-12)


def test_majority_is_the_share_of_positives_with_a_pseudo_count_each(x64, layout):
    labels, table = crowd(layout)
    share = (table.plus.sum(0) + 1) / (table.plus.sum(0) + table.minus.sum(0) + 2)
    np.testing.assert_allclose(majority(labels), np.where(GOLD == 0, share, GOLD > 0), rtol=1e-12)


def test_the_order_of_rows_and_zero_weight_rows_do_not_matter(x64, layout):
    labels, _ = crowd(layout)
    rng = np.random.default_rng(23)
    extra = 50
    more = dict(
        labeler=np.r_[TRIPLES["labeler"], rng.integers(0, W, extra)],
        instance=np.r_[INSTANCE, rng.integers(0, I, extra)],
        label=np.r_[TRIPLES["label"], rng.choice([-1, 1], extra)],
    )
    order = rng.permutation(N + extra)
    other = Labels.from_arrays(
        **{k: v[order] for k, v in more.items()}, weight=np.r_[WEIGHT, np.zeros(extra)][order],
        gold=np.where(GOLD == 0, np.nan, GOLD), n_labelers=W, n_instances=I, blocks=layout != "flat",
    )  # fmt: skip
    for a, b in zip(*(jax.tree.leaves(jit_pass(x, factors(), None, True)) for x in (labels, other)), strict=True):
        close(a, np.asarray(b), 1e-12)


# Where β is the same for all instances.


def constant(n_factors=1, *, bias=True, value=1.3) -> Factors:
    return factors(n_factors, bias=bias)._replace(beta=jnp.full((I, n_factors), value))


def expected_counts(table, p):
    return np.stack([table.minus @ p, table.plus @ p], axis=1)


@pytest.mark.parametrize(
    ("n_factors", "bias", "weighted", "gold"),
    [(1, True, False, False), (1, False, True, True), (2, True, True, False)],
)
def test_the_folded_pass_equals_dense_tables(x64, layout, n_factors, bias, weighted, gold):
    labels, table = crowd(layout, weighted=weighted, gold=gold)
    f = constant(n_factors, bias=bias)
    for given, use in [(None, True), (GIVEN, True), (GIVEN, False)]:
        found, on_positives = jit_folded(labels, tally(labels), f, given, use)
        value, p, gradient = dense(table, f, given if use else None)
        np.testing.assert_allclose(found.value, value, rtol=1e-12)
        np.testing.assert_allclose(found.posterior, p, rtol=1e-10)
        np.testing.assert_allclose(on_positives, expected_counts(table, p), rtol=1e-12)
        close(found.gradient.alpha, gradient[0], 1e-12)
        close(found.gradient.prior_logit, gradient[-1], 1e-12)
        if bias:
            close(found.gradient.gamma, gradient[2], 1e-12)
        assert not found.gradient.beta.any()


def test_the_folded_pass_keeps_float32_accuracy(layout):
    labels, table = crowd(layout)
    f = jax.tree.map(lambda v: jnp.asarray(v, jnp.float32), constant())
    found, _ = jit_folded(labels, tally(labels), f)
    value, p, gradient = dense(table, f)
    assert {v.dtype for v in jax.tree.leaves(found)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(found.value, value, rtol=1e-6)
    np.testing.assert_allclose(found.posterior, p, atol=1e-5)
    close(found.gradient.alpha, gradient[0], 2e-6)


@pytest.mark.parametrize("bias", [True, False])
def test_the_folded_curvature_equals_dense_tables(x64, layout, bias):
    labels, table = crowd(layout)
    found = folded_curvature(tally(labels), constant(bias=bias))
    of_alpha, _, of_gamma = curvature(table, ALPHA[:, :1], np.full((I, 1), 1.3), GAMMA if bias else None)
    close(found.alpha, of_alpha, 1e-12)
    assert (found.gamma is None) == (not bias)
    if bias:
        close(found.gamma, of_gamma, 1e-12)
    p = 1 / (1 + np.exp(-ETA))
    close(found.prior_logit, p * (1 - p), 1e-12)
    assert not found.beta.any()


@pytest.mark.parametrize("weighted", [True, False])
def test_tallies_count_each_labelers_labels(x64, layout, weighted):
    labels, table = crowd(layout, weighted=weighted)
    np.testing.assert_allclose(tally(labels), expected_counts(table, np.ones(I)), rtol=1e-14)
    np.testing.assert_allclose(tally(labels, jnp.asarray(GIVEN)), expected_counts(table, GIVEN), rtol=1e-12)


def test_the_crowds_discrimination_is_the_sum_over_all_its_labels(x64, layout):
    labels, table = crowd(layout)
    np.testing.assert_allclose(
        discrimination(labels, factors()), ((table.plus + table.minus) * (ALPHA @ BETA.T)).sum(), rtol=1e-11
    )


def test_sums_by_labeler_keep_their_digits_where_one_labeler_gives_all_labels():
    """A million float32 terms of about ½ into one slot: one running sum is off by 1e-4 and more."""
    n = 1_000_000
    rng = np.random.default_rng(24)
    labels = Labels.from_arrays(np.zeros(n, int), np.arange(n) // 2, rng.choice([-1, 1], n))
    p = rng.random(n // 2).astype(np.float32)
    found = np.asarray(jax.jit(tally)(labels, p), np.float64)
    real = labels.real
    exact = np.bincount(labels.label[real] > 0, p.astype(np.float64)[labels.instance[real]])
    np.testing.assert_allclose(found[0], exact, rtol=2e-6)


def test_all_blocks_at_once_are_the_blocks_one_by_one(x64, layout, monkeypatch):
    """At once is how devices that are not CPUs take them; asked where a program is traced."""
    labels, _ = crowd(layout)
    f, same = factors(), constant()
    kernels = {
        "pass": lambda: data_pass(labels, f),
        "given": lambda: data_pass(labels, f, jnp.asarray(GIVEN)),
        "folded": lambda: folded_pass(labels, tally(labels), same),
        "expected tally": lambda: tally(labels, jnp.asarray(GIVEN)),
        "curvature": lambda: curvature_pass(labels, f),
        "majority": lambda: majority(labels),
        "discrimination": lambda: discrimination(labels, f),
    }
    one_by_one = {name: kernel() for name, kernel in kernels.items()}
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    at_once = {name: kernel() for name, kernel in kernels.items()}
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-12), one_by_one, at_once)


def test_a_posterior_that_is_given_is_used_unless_told_otherwise(layout):
    labels, _ = crowd(layout)
    for kernel in (lambda *use: folded_pass(labels, tally(labels), constant(), jnp.asarray(GIVEN), *use)[0],
                   lambda *use: data_pass(labels, factors(), jnp.asarray(GIVEN), *use)):  # fmt: skip
        np.testing.assert_array_equal(kernel().posterior, kernel(True).posterior)
        assert (kernel().posterior != kernel(False).posterior).any()


def test_float32_stays_float32_where_others_are_64_bits_wide(x64, layout):
    labels, _ = crowd(layout)
    narrow = lambda f: jax.tree.map(lambda v: v.astype(jnp.float32), f)  # noqa: E731
    f, same, given = narrow(factors()), narrow(constant()), jnp.asarray(GIVEN, jnp.float32)
    found = {
        "pass": data_pass(labels, f),
        "given": data_pass(labels, f, given),
        "folded": folded_pass(labels, tally(labels, given), same),
        "tally": tally(labels, given),
        "curvature": curvature_pass(labels, f),
        "folded curvature": folded_curvature(tally(labels, given), same),
        "discrimination": discrimination(labels, f),
    }
    for name, result in found.items():
        assert {v.dtype for v in jax.tree.leaves(result)} == {np.dtype("float32")}, name


def test_a_cpu_scans_the_blocks_and_others_take_them_at_once(layout, monkeypatch):
    """What differs is speed, not the result: it is seen in the program only."""
    labels, f = crowd(layout)[0], factors()
    for in_blocks, backend in ((True, "cpu"), (False, "gpu")):
        monkeypatch.setattr(jax, "default_backend", lambda backend=backend: backend)
        program = jax.make_jaxpr(lambda f: data_pass(labels, f))(f)
        scans = sum(e.primitive.name == "scan" for e in program.jaxpr.eqns)
        assert scans == (in_blocks and layout == "blocked")


def test_labelers_with_many_labels_have_their_sums_in_parts():
    """As many as there are blocks, 32 labels a part or more, at most MAX_PARTS, and one number a label in all."""

    def parts(n_labels, n_labelers, n_blocks, columns=1):
        labels = Labels.from_arrays(
            np.arange(n_labels) % n_labelers, np.arange(n_labels), np.ones(n_labels), blocks=False
        )
        object.__setattr__(labels, "n_blocks", n_blocks)
        return n_parts(labels, columns)

    most = MAX_PARTS
    stored = len(Labels.from_arrays(np.zeros(3200, int), np.arange(3200), np.ones(3200), blocks=False).label)
    assert parts(3200, 10, 1) == 1
    assert parts(3200, 10, 1000) == stored // 320
    assert parts(3200, 1, 1000) == min(most, stored // 32)
    assert parts(3200, 3200, 1000) == 1
    assert parts(3200, 1, 3) == 3
    assert parts(3200, 10, 1000, 82) == stored // 820
    assert parts(3200, 10, 1000, 1394) == 1 and parts(3200, 1, 1000, 1394) == stored // 1394
    assert all(isinstance(parts(3200, w, 7), int) for w in (1, 3, 7, 30))


def test_sums_by_instance_are_told_that_their_indices_are_sorted():
    labels, f, same = crowd("flat")[0], factors(), constant()
    kernels = {
        "pass": lambda: data_pass(labels, f),
        "folded": lambda: folded_pass(labels, jnp.ones((W, 2)), same),
        "curvature": lambda: curvature_pass(labels, f),
        "majority": lambda: majority(labels),
    }
    for name, kernel in kernels.items():
        scatters = [e for e in jax.make_jaxpr(kernel)().jaxpr.eqns if e.primitive.name == "scatter-add"]
        by_instance = [e.params["indices_are_sorted"] for e in scatters if e.outvars[0].aval.shape[0] >= I]
        assert by_instance and all(by_instance), name
