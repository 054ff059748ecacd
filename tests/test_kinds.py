"""Several kinds of judgements with functions of their own and labelers in common (``kind=``)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import crowdjax
from crowdjax.contextual import ContextualConfig, Scale
from crowdjax.contextual.expansion import expand
from crowdjax.contextual.functions import GP, LEVEL, evaluate, prepare
from crowdjax.contextual.model import (
    block_values,
    coefficients_of,
    of_one,
    prepare_data,
    prior_draws,
    scales_of,
    size_of,
)
from crowdjax.labels import Labels

SEPARATE = GP(n_basis=4, columns="separate")


def two_kinds(n=40, seed=0):
    """Scores [n, 2] of which every row has one, and which."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n)
    x = np.full((n, 2), np.nan)
    x[np.arange(n), kind] = rng.uniform(-1, 1, n)
    return x, kind


def test_each_kind_has_the_function_that_it_would_have_alone(x64):
    config = ContextualConfig("gp", "gp", labelers="global", gp=SEPARATE)
    x, kind = two_kinds()
    basis = prepare(SEPARATE, x)
    draw = {k: v[0] for k, v in prior_draws(config, 1, basis, None, jax.random.key(1), 1).items()}
    for name, function in config.functions.items():
        together = evaluate(function, basis, of_one(name, function, basis, draw))
        for c in range(2):
            alone = prepare(GP(n_basis=4), x[kind == c, c : c + 1])
            own = {f"{name}_mean": draw[f"{name}_mean"] + LEVEL * draw[f"{name}_slope"][2 + c]}
            own |= {f"{name}_slope": draw[f"{name}_slope"][c : c + 1]}
            own |= {f"{name}_{k}": draw[f"{name}_{k}"][c : c + 1] for k in ("amplitude", "length", "weights")}
            expected = evaluate(function, alone, of_one(name, function, alone, own))
            np.testing.assert_allclose(together[kind == c], expected, atol=1e-12)


def test_the_expansion_with_kinds_is_automatic_differentiations(x64):
    rng, (x, _) = np.random.default_rng(0), two_kinds()
    labels = Labels.from_arrays(
        np.concatenate([rng.choice(4, 3, replace=False) for _ in x]),
        np.repeat(np.arange(40), 3),
        rng.integers(0, 2, 120),
    )
    config = ContextualConfig("gp", "linear", gp=SEPARATE)
    data = prepare_data(config, labels, x)
    k = scales_of(config, data)
    u = jnp.asarray(rng.normal(size=size_of(config, data)))
    theta, y = u[:k], coefficients_of(config, data, u[:k], u[k:])
    of = jax.jit(lambda y: block_values(config, data, theta, y).sum())
    at = jax.jit(lambda y: expand(config, data, theta, y))(y)
    np.testing.assert_allclose(at.values.sum(), of(y), rtol=1e-12)
    np.testing.assert_allclose(at.slope, jax.jit(jax.grad(of))(y), atol=1e-10)
    np.testing.assert_allclose(at.information, -jax.jit(jax.hessian(of))(y), atol=1e-9)


def test_the_scale_of_each_kind_is_its_own():
    raw = np.array([[0.0, np.nan], [np.nan, 10.0], [1.0, np.nan], [np.nan, 30.0]])
    x = Scale.learn(raw)(raw)
    np.testing.assert_allclose(x[~np.isnan(raw)], [-0.95, -0.95, 0.95, 0.95])
    np.testing.assert_array_equal(np.isnan(x), np.isnan(raw))
    with pytest.raises(crowdjax.labels.LabelError, match="finite"):
        Scale.learn(np.array([[0.0, np.nan], [np.nan, np.nan], [1.0, 2.0]]))
