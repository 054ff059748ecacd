"""Draws for ArviZ: named dimensions, chains apart, and the numbers that crowdjax itself gives of them."""

from __future__ import annotations

import sys

import jax
import numpy as np
import pandas as pd
import pytest
from arviz_stats.base import array_stats
from scipy.special import expit

import crowdjax
from crowdjax import contextual, posterior
from crowdjax.contextual import ContextualConfig, ContextualFit, Inference, Scale
from crowdjax.contextual.data import bases
from crowdjax.contextual.inference import representatives
from crowdjax.contextual.model import prior_draws
from crowdjax.labels import InputError, LabelIndex, Labels

I, W, CHAINS, DRAWS = 12, 3, 2, 25
SCORES = np.linspace(0.1, 0.9, I)[:, None]
INDEX = LabelIndex(np.array(["ann", "bob", "cat"]), np.array([f"q{j:02}" for j in range(I)]))


@pytest.fixture(scope="module")
def labels() -> Labels:
    rng = np.random.default_rng(0)
    labeler, instance = np.meshgrid(range(W), range(I))
    return Labels.from_arrays(labeler.ravel(), instance.ravel(), rng.integers(0, 2, W * I))


def drawn_from_the_prior(method: str = "nuts", chains: int = CHAINS) -> ContextualFit:
    """A fit whose draws are those of the prior: as good as any for how draws are handed over."""
    config, scale = ContextualConfig("linear", "constant"), Scale.learn(SCORES)
    x = scale(SCORES)
    draws = prior_draws(config, W, *bases(config, x), jax.random.key(0), CHAINS * DRAWS)
    return ContextualFit(
        config=config,
        inference=Inference(method),
        scale=scale,
        draws=jax.tree.map(np.asarray, draws),
        unconstrained=np.zeros((chains, CHAINS * DRAWS // chains, 1)),
        labels_per_labeler=np.full(W, float(I)),
        inputs=representatives(x),
        anchors=(),
        coordinates=None,
        sampler={},
        diagnostics={},
        trace=np.zeros(0),
        warnings=("one", "two"),
    )


def to_arviz(fit: ContextualFit, prevalence, labels: Labels | None = None):
    drawn = posterior.of_contextual(fit, SCORES, (SCORES[:, 0], SCORES), prevalence, labels)
    return posterior.tree(drawn, INDEX, labels)


@pytest.fixture(scope="module")
def tree(labels):
    fit = drawn_from_the_prior()
    return to_arviz(fit, contextual.prevalence_draws(fit, SCORES), labels), fit


def test_every_dimension_has_a_name(tree):
    found = tree[0]["posterior"]
    assert {name: v.dims[2:] for name, v in found.data_vars.items()} == {
        "prevalence_curve": ("score",),
        "sensitivity_curve": ("score",),
        "specificity_curve": ("score",),
        "prevalence": (),
        "prevalence_mean": (),
        "prevalence_slope": ("column",),
        "accuracy_mean": (),
        "bias_mean": (),
        "labeler_scale": ("side",),
        "labeler_offset": ("side", "labeler"),
    }
    assert all(v.dims[:2] == ("chain", "draw") and v.shape[:2] == (CHAINS, DRAWS) for v in found.data_vars.values())
    np.testing.assert_array_equal(found["labeler"], INDEX.labelers)
    np.testing.assert_array_equal(tree[0]["log_likelihood"]["labels"]["instance"], INDEX.instances)


def test_the_draws_are_the_models(tree, labels):
    found, fit = tree[0]["posterior"].to_dataset(), tree[1]
    x = fit.scale(SCORES)[:, 0]
    line = found["prevalence_mean"].values[..., None] + found["prevalence_slope"].values * x
    np.testing.assert_allclose(found["prevalence_curve"], expit(line), rtol=1e-5)
    np.testing.assert_allclose(found["prevalence"], expit(line).mean(-1), rtol=1e-5)
    bands = contextual.functions(fit, SCORES)
    for name, band in bands._asdict().items():
        np.testing.assert_allclose(found[f"{name}_curve"].mean(("chain", "draw")), band.mean, rtol=1e-5)
    one = {name: values[CHAINS * DRAWS - 1] for name, values in fit.draws.items()}
    assert found["bias_mean"].values[-1, -1] == one["bias_mean"]


def test_the_log_likelihood_is_that_of_each_instance(tree, labels):
    """Against the mixture of two products of Bernoullis of one draw."""
    found = tree[0]
    draw = found["posterior"].isel(chain=1, draw=3)
    offset = draw["labeler_scale"].values[:, None] * (
        draw["labeler_offset"].values - draw["labeler_offset"].values.mean(-1, keepdims=True)
    )
    a, g = draw["accuracy_mean"].values + offset[0], draw["bias_mean"].values + offset[1]
    plus, minus = np.logaddexp(0, a + g), np.logaddexp(0, a - g)  # logits of sensitivity and specificity
    s, gamma = (plus + minus) / 2, (plus - minus) / 2
    said = labels.sign.reshape(I, W)
    yes, no = (np.prod(expit(said * (gamma + sign * s)), 1) for sign in (1, -1))
    pi = draw["prevalence_curve"].values
    expected = np.log(pi * yes + (1 - pi) * no)
    np.testing.assert_allclose(found["log_likelihood"]["labels"].isel(chain=1, draw=3), expected, rtol=1e-4)


def test_an_approximation_says_that_its_chain_is_none():
    fit = drawn_from_the_prior("laplace", 1)
    found = to_arviz(fit, np.zeros(CHAINS * DRAWS))
    assert found["posterior"].sizes["chain"] == 1 and "log_likelihood" not in found.children
    assert "R-hat" in found["posterior"].attrs["chains"] and found["posterior"].attrs["method"] == "laplace"
    assert found["posterior"].attrs["warnings"] == "one\ntwo"


def test_without_arviz_one_line_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "arviz_base", None)
    with pytest.raises(InputError, match=r"arviz-base is not installed; type: pip install 'crowdjax\[arviz\]'"):
        to_arviz(drawn_from_the_prior(), np.zeros(CHAINS * DRAWS))


@pytest.mark.slow
def test_arviz_finds_the_diagnostics_that_the_fit_reports():
    rng = np.random.default_rng(1)
    score = rng.random(60)
    truth = rng.random(60) < score
    frame = pd.DataFrame({"labeler": np.tile(["a", "b", "c"], 60), "instance": np.repeat(np.arange(60), 3)})
    frame["label"] = (np.repeat(truth, 3) == (rng.random(180) < 0.85)).astype(int)
    result = crowdjax.context(
        frame,
        pd.DataFrame({"instance": range(60), "score": score}),
        prevalence="linear",
        accuracy="constant",
        inference=Inference("nuts", n_draws=200, n_warmup=200, n_chains=2, n_thin=1),
    )
    tree = result.to_arviz(frame)
    found = tree["posterior"].to_dataset()
    assert found["prevalence_curve"].shape == (2, 200, len(found["score"]))
    assert found["prevalence"].mean().item() == pytest.approx(result.prevalence["mean"], abs=0.02)
    u = result.fit.unconstrained
    split = array_stats.rhat(u, chain_axis=0, draw_axis=1, method="split")
    assert np.max(split) == pytest.approx(result.record["diagnostics"]["rhat"], abs=2e-3)
    ranked = array_stats.rhat(found["prevalence_slope"].values, chain_axis=0, draw_axis=1)
    assert 0.98 < ranked.max() < 1.1
    assert tree["log_likelihood"]["labels"].shape == (2, 200, 60)
    with pytest.raises(InputError, match="labelers are not those of the fit"):
        result.to_arviz(frame.assign(labeler="z"))
