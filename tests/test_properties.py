"""What must hold for any crowd: answers do not depend on how its judgements are written down, or who else is there.

Crowds are drawn by hypothesis, all of one shape, so that a model is compiled once for each way of writing them down.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crowdjax.factor import PRESETS, FactorConfig, Solver, build, fit_jit
from crowdjax.integrated import IntegratedConfig
from crowdjax.integrated import fit_jit as fit_integrated
from crowdjax.labels import Labels

pytestmark = pytest.mark.usefixtures("x64")

W, I, EACH = 6, 40, 4
SOLVER = Solver(rtol=1e-12, max_steps=800)
MODELS = ["dawid-skene", "glad", pytest.param("integrated", marks=pytest.mark.slow)]
few = settings(max_examples=4)


@st.composite
def crowds(draw):
    """Triples of able labelers, four to an instance; the truth is in most of them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    truth = rng.random(I) < draw(st.floats(0.3, 0.7))
    right = rng.uniform(0.65, 0.95, (W, 2))
    instance = np.repeat(np.arange(I), EACH)
    labeler = np.concatenate([rng.permutation(W)[:EACH] for _ in range(I)])
    agrees = rng.random(len(labeler)) < right[labeler, truth[instance].astype(int)]
    return dict(labeler=labeler, instance=instance, label=np.where(agrees, truth[instance], ~truth[instance]))


def answers(model: str, *, n_labelers=W, n_instances=I, **arrays):
    """(posterior, weights of labelers, objective); of the integrated model at a fixed population and ρ, P(x > 0)."""
    labels = Labels.from_arrays(**arrays, n_labelers=n_labelers, n_instances=n_instances)
    if model == "integrated":
        config = IntegratedConfig(spread=0.5, hierarchy=False, rtol=1e-13, max_steps=3000)
        found = fit_integrated(labels, config)
        return np.asarray(found.instances), np.asarray(found.parameters.labelers), float(found.log_likelihood)
    found = fit_jit(labels, build(PRESETS[model], labels), jax.random.key(0), SOLVER)
    return np.asarray(found.posterior), np.asarray(found.weights.labeler.free), float(found.objective)


def alike(found, expected, posterior=1e-4):
    np.testing.assert_allclose(found[2], expected[2], rtol=1e-8)
    np.testing.assert_allclose(found[0], expected[0], atol=posterior)
    np.testing.assert_allclose(found[1], expected[1], atol=2e-3)


@pytest.mark.parametrize("model", MODELS)
@few
@given(crowd=crowds(), seed=st.integers(0, 2**32 - 1))
def test_a_multiplicity_is_so_many_rows(model, crowd, seed):
    rng = np.random.default_rng(seed)
    times = 1 + rng.permutation(np.arange(len(crowd["label"])) % 2)  # half of the rows count twice
    rows = np.repeat(np.arange(len(times)), times)
    repeated = {k: v[rows] for k, v in crowd.items()}
    alike(answers(model, **crowd, weight=times), answers(model, **repeated))


@pytest.mark.parametrize("model", MODELS)
@few
@given(crowd=crowds(), seed=st.integers(0, 2**32 - 1))
def test_rows_of_weight_zero_are_not_there(model, crowd, seed):
    rng = np.random.default_rng(seed)
    n = len(crowd["label"])
    noise = dict(labeler=rng.integers(0, W, n), instance=rng.integers(0, I, n), label=rng.random(n) < 0.5)
    both = {k: np.r_[crowd[k], noise[k]] for k in crowd}
    alike(answers(model, **both, weight=np.repeat([1.0, 0.0], n)), answers(model, **crowd))


@pytest.mark.parametrize("model", ["dawid-skene", "glad"])
@few
@given(one=crowds(), other=crowds())
def test_two_crowds_that_share_nobody_are_fitted_as_if_apart(model, one, other):
    """Nothing that the two have in common is learned; together the objective is the sum."""
    both = {k: np.r_[one[k], other[k] + shift] for k, shift in (("labeler", W), ("instance", I), ("label", 0))}
    p, weights, objective = answers(model, **both, n_labelers=2 * W, n_instances=2 * I)
    first, second = answers(model, **one), answers(model, **other)
    alike((p, weights, objective), (np.r_[first[0], second[0]], np.r_[first[1], second[1]], first[2] + second[2]))


@pytest.mark.parametrize("model", MODELS)
@few
@given(crowd=crowds())
def test_classes_that_change_names_change_places(model, crowd):
    p, weights, objective = answers(model, **crowd)
    swapped = answers(model, **(crowd | {"label": ~crowd["label"].astype(bool)}))
    turned = p[::-1] if model == "integrated" else 1 - p
    if model == "integrated":  # γ changes its sign
        weights = weights * [1, -1]
    alike(swapped, (turned, weights, objective))


@few
@given(crowd=crowds(), seed=st.integers(0, 2**32 - 1), exponent=st.floats(-6, 6))
def test_features_in_another_unit_with_a_prior_to_match_change_nothing(crowd, seed, exponent):
    unit = 10.0**exponent
    features = np.random.default_rng(seed).normal(size=(I, 2))
    labels = Labels.from_arrays(**crowd, n_labelers=W, n_instances=I)
    model = build(FactorConfig(class_prior="logistic"), labels, instance_features=features)
    scale = jnp.r_[1.0, jnp.full(2, unit)][:, None]

    def in_unit(part):
        return dataclasses.replace(part, dense=part.dense * scale[:, 0])

    def prior(of, power):
        moved = {side: getattr(of, side)._replace(dense=getattr(of, side).dense / scale**power) for side in SIDES}
        return of._replace(**moved)

    scaled = dataclasses.replace(
        model,
        **{side: in_unit(getattr(model, side)) for side in SIDES},
        mean=prior(model.mean, 1),
        variance=prior(model.variance, 2),
    )
    a, b = (fit_jit(labels, m, jax.random.key(0), SOLVER) for m in (model, scaled))
    np.testing.assert_allclose(b.log_likelihood, a.log_likelihood, rtol=1e-6)
    np.testing.assert_allclose(b.posterior, a.posterior, atol=1e-3)
    for side in SIDES:
        np.testing.assert_allclose(
            getattr(b.weights, side).dense * scale, getattr(a.weights, side).dense, atol=2e-3, err_msg=side
        )


SIDES = ("instance", "class_prior")
