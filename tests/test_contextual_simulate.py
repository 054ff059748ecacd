"""The contextual model's generator: shares, accuracies and the rare design agree with its functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crowdjax.simulate import theodon, theodon_functions


@pytest.mark.parametrize("shape", ["linear", "concave", "convex"])
def test_labels_follow_the_functions(shape):
    crowd = theodon(jax.random.key(0), 20_000, 3, 10, shape=shape)
    pi, sens, spec = theodon_functions(crowd.score, shape)
    positive = np.asarray(crowd.truth) > 0
    assert abs(positive.mean() - pi.mean()) < 4 * np.sqrt(pi.mean() / 20_000)
    right = np.asarray(crowd.label == crowd.truth[crowd.instance])
    for group, expected in [(positive, sens), (~positive, spec)]:
        here = group[crowd.instance]
        assert abs(right[here].mean() - np.asarray(expected)[group].mean()) < 4 * 0.5 / np.sqrt(here.sum())


def test_every_instance_is_labelled_by_different_labelers():
    crowd = theodon(jax.random.key(0), 500, 3, 4)
    per_instance = np.sort(np.asarray(crowd.labeler).reshape(500, 3), 1)
    assert (np.diff(per_instance, axis=1) > 0).all()


def test_rare_design_oversamples_and_its_weights_undo_it():
    crowd = theodon(jax.random.key(0), 50_000, 1, 5, rare=True)
    true = theodon_functions(crowd.population, rare=True)[0].mean()
    assert 5e-4 < true < 2e-3
    pi = theodon_functions(crowd.score, rare=True)[0]
    assert pi.mean() > 3 * true
    w = crowd.weight / crowd.weight.sum()
    error = jnp.sqrt((w**2 * (pi - true) ** 2).sum())
    assert abs(w @ pi - true) < 4 * error


def test_repeats_are_one_vmap():
    keys = jax.random.split(jax.random.key(0), 3)
    many = jax.vmap(lambda k: theodon(k, 50, 2, 5))(keys)
    one = theodon(keys[1], 50, 2, 5)
    np.testing.assert_array_equal(many.label[1], one.label)
