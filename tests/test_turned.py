"""Gold turns a crowd round that is wrong more often than right (``integrated.turned``)."""

import dataclasses

import numpy as np
import pytest

import crowdjax
from crowdjax import integrated
from crowdjax.integrated import IntegratedConfig, grid_pass
from crowdjax.integrated.kernels import evidence
from crowdjax.integrated.turned import is_turned, turned
from crowdjax.labels import Labels


def crowd(share: float, n_labelers: int = 12, n_instances: int = 150, seed: int = 0):
    """Labelers of whom a share answers the opposite of what they see."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(n_instances) < 0.4).astype(int)
    labeler = np.concatenate([rng.permutation(n_labelers)[:6] for _ in truth])
    instance = np.repeat(np.arange(n_instances), 6)
    right = rng.random(len(labeler)) < rng.uniform(0.75, 0.95, n_labelers)[labeler]
    seen = np.where(right, truth[instance], 1 - truth[instance])
    adversary = np.arange(n_labelers) < share * n_labelers
    return (
        truth,
        {"labeler": labeler, "instance": instance, "label": np.where(adversary[labeler], 1 - seen, seen)},
        adversary,
    )


@pytest.mark.long
@pytest.mark.parametrize("factors", [1, 2])
def test_the_mirror_image_says_the_same_of_labels(x64, factors):
    _, table, _ = crowd(0.5)
    labels, config = Labels.from_arrays(**table), IntegratedConfig(factors=factors)
    fit = integrated.fit_jit(labels, config)
    image = turned(fit)
    a, b = (float(evidence(labels, f.parameters, config)) for f in (fit, image))
    np.testing.assert_allclose(a, b, rtol=1e-9)
    points = grid_pass(labels, image.parameters, config).instances
    np.testing.assert_allclose(image.instances, points, atol=1e-4)
    again = turned(image)
    np.testing.assert_array_equal(again.parameters.labelers, fit.parameters.labelers)
    np.testing.assert_array_equal(again.covariance, fit.covariance)


@pytest.mark.long
@pytest.mark.parametrize("model", ["auto", "integrated"])
@pytest.mark.parametrize("n_labelers", [12, 48])
def test_gold_turns_a_crowd_round(model, n_labelers):
    truth, table, adversary = crowd(0.75, n_labelers)
    gold = {"instance": np.arange(40), "label": truth[:40]}
    said, blind = (crowdjax.fit(table, model=model, gold=g) for g in (gold, None))
    p, q = (np.asarray(found.instances["probability"], float)[40:] for found in (said, blind))
    assert ((p > 0.5) == truth[40:]).mean() > 0.9
    assert ((q > 0.5) == truth[40:]).mean() < 0.1  # labels alone cannot tell
    accuracy = np.asarray(said.labelers["accuracy"], float)
    assert accuracy[adversary].max() < 0.5 < accuracy[~adversary].min()


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_gold_leaves_a_crowd_that_is_right(share):
    truth, table, _ = crowd(share, seed=3)
    labels = Labels.from_arrays(**table)
    gold = np.where(np.arange(150) < 40, truth, np.nan)
    found = integrated.answer(dataclasses.replace(labels, gold=np.where(np.isnan(gold), -1, gold).astype(np.int8)))
    assert float(np.asarray(found.fit.parameters.mean)[0]) > 0
    assert ((np.asarray(found.instances.probability) > 0.5) == truth).mean() > 0.9


def test_a_few_confident_errors_turn_nothing():
    assert not is_turned(np.r_[np.full(4, 1e-6), np.full(6, 0.6)])
    assert not is_turned(np.full(3, 1e-6))
    assert is_turned(np.full(10, 0.05))
