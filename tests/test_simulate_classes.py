"""Crowds of K classes draw what they say they draw: shares against tables written in NumPy, and the noise of shares."""

import jax
import numpy as np
import pytest
from scipy import special, stats

from crowdjax import simulate_classes as simulate

SIGMAS = 4.5  # of the noise of a simulated share
W, I, K = 6, 4000, 4


def draw(generator, seed=0, **settings):
    crowd = jax.jit(lambda key: generator(key, W, I, **settings))(jax.random.key(seed))
    return type(crowd)(*(np.asarray(a, float if a.dtype.kind == "f" else int) for a in crowd))


def shares(crowd, confusion):
    """How many standard deviations the shares of the labels are off a table [W, K, L]."""
    n_labels = confusion.shape[2]
    index = crowd.labeler, crowd.truth[crowd.instance], crowd.label
    count = np.zeros((W, confusion.shape[1], n_labels))
    np.add.at(count, index, 1)
    n = count.sum(2, keepdims=True)
    return (count - n * confusion) / np.sqrt(n * confusion * (1 - confusion) + 1)


GENERATORS = {
    "nominal": (simulate.nominal, {}),
    "confuse": (simulate.nominal, {"confused": 0.5}),
    "unlike": (simulate.nominal, {"clarity": 0.5, "looks": 0.4}),
    "graded": (simulate.graded, {"looks": 0.3}),
    "grades of two": (simulate.graded, {"n_classes": 2, "n_grades": 5}),
    "quiz": (simulate.quiz, {}),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_labels_are_drawn_by_the_confusion_that_a_crowd_tells(name):
    generator, settings = GENERATORS[name]
    crowd = draw(generator, per_instance=3, **settings)
    np.testing.assert_allclose(crowd.confusion.sum(2), 1, atol=1e-5)
    assert abs(shares(crowd, crowd.confusion)).max() < SIGMAS
    labels = crowd.labels()
    assert (labels.n_labelers, labels.n_instances) == (W, I)
    assert (labels.n_classes, labels.n_values) == crowd.confusion.shape[1:]


def test_without_differences_of_instances_a_labeler_is_a_softmax_of_his_ability_and_bias():
    crowd = draw(simulate.nominal, per_instance=W, bias=0.0, shared=(1.0, 0.0, 0.0, -1.0), ability=(2.0, 0.0))
    expected = special.softmax(2 * np.eye(K) + [1, 0, 0, -1], axis=1)
    np.testing.assert_allclose(crowd.confusion, np.broadcast_to(expected, crowd.confusion.shape), atol=1e-5)


def test_the_confused_swap_two_neighbouring_classes_of_their_own():
    crowd = draw(simulate.nominal, per_instance=1, bias=0.0, ability=(9.0, 0.0), confused=1.0)
    taken = crowd.confusion.argmax(2)
    assert (np.sort(taken, 1) == np.arange(K)).all()
    assert ((taken != np.arange(K)).sum(1) == 2).all() and (abs(taken - np.arange(K)) <= 1).all()
    assert len({tuple(row) for row in taken}) > 1


def test_prevalences_and_numbers_of_labels():
    crowd = draw(simulate.nominal, per_instance=3, **simulate.CROWDS["rare"])
    share, p = np.bincount(crowd.truth, minlength=K) / I, np.array(simulate.CROWDS["rare"]["prevalence"])
    assert (abs(share - p) < SIGMAS * np.sqrt(p * (1 - p) / I)).all()
    assert (np.bincount(crowd.instance) == 3).all()
    assert (np.diff(np.sort(crowd.labeler.reshape(I, 3), 1), axis=1) > 0).all()  # different labelers
    assert stats.chisquare(np.bincount(crowd.labeler)).pvalue > 1e-4


def test_abilities_are_never_negative():
    crowd = draw(simulate.nominal, per_instance=1, ability=(-5.0, 0.5), bias=0.0)
    np.testing.assert_allclose(crowd.confusion, 1 / K, atol=1e-5)


def test_graders_err_by_neighbours_and_cut_a_normal_variable():
    crowd = draw(simulate.graded, per_instance=W, bias=0.0, noise=(np.log(0.5), 0.0))
    edges = np.r_[-np.inf, np.arange(K - 1) + 0.5, np.inf]
    expected = np.diff(stats.norm.cdf((edges - np.arange(K)[:, None]) / 0.5), axis=1)
    np.testing.assert_allclose(crowd.confusion, np.broadcast_to(expected, crowd.confusion.shape), atol=1e-5)


def test_grades_of_two_classes_are_spread_over_them():
    crowd = draw(simulate.graded, n_classes=2, n_grades=5, per_instance=W, bias=0.0, noise=(np.log(0.1), 0.0))
    middle = crowd.confusion[0] @ np.arange(5)
    np.testing.assert_allclose(middle, [1, 3], atol=0.3)  # a grade is .4 wide, the classes 1 apart


def test_quiz_answers_are_alike_whatever_the_number_of_the_option():
    crowd = draw(simulate.quiz, per_instance=W, ability=(0.0, 1.0), difficulty=1.0, lure=1.0)
    right = np.diagonal(crowd.confusion, axis1=1, axis2=2)
    assert abs(right - right.mean(1, keepdims=True)).max() < 0.05
    wrong = crowd.confusion[:, ~np.eye(K, dtype=bool)]
    assert abs(wrong - wrong.mean(1, keepdims=True)).max() < 0.05
    second = [np.bincount(crowd.label[crowd.instance == j], minlength=K) for j in range(200)]
    lured = [np.delete(n, z).max() for n, z in zip(second, crowd.truth, strict=False)]
    assert np.mean(lured) > 1.5  # wrong answers to a question agree


def test_repeats_are_one_vmap():
    keys = jax.random.split(jax.random.key(0), 3)
    generate = lambda key: simulate.nominal(key, 5, 20, per_instance=2)  # noqa: E731
    many, one = jax.jit(jax.vmap(generate))(keys), jax.jit(generate)(keys[1])
    np.testing.assert_array_equal(many.label[1], one.label)


@pytest.mark.parametrize("name", simulate.CROWDS)
def test_the_named_crowds_are_worth_asking_but_not_easy(name):
    crowd = jax.jit(lambda key: simulate.nominal(key, **simulate.CROWDS[name]))(jax.random.key(1))
    votes = np.zeros((600, K))
    np.add.at(votes, (np.asarray(crowd.instance), np.asarray(crowd.label)), 1)
    assert 0.6 < (votes.argmax(1) == crowd.truth).mean() < 0.93
