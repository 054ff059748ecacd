"""The generators draw what they say they draw, and the same whatever the batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from crowdjax import simulate
from crowdjax.factor import Factors, correctness

SIGMAS = 4.5  # of the noise of a simulated share


def within(share, p, n):
    return np.abs(share - p) < SIGMAS * np.sqrt(p * (1 - p) / n) + 1e-9


def test_judgements_follow_equation_one():
    factors = Factors(
        jnp.array([[1.0, 0.5], [-0.5, 2.0]]), jnp.array([[1.0, 0.3], [0.2, -1.0]]), jnp.array([0.4, -0.8]), None
    )
    truth = jnp.array([1, 0], jnp.int8)
    n = 20_000
    labels = jax.vmap(lambda k: simulate.judgements(k, factors, truth))(jax.random.split(jax.random.key(0), n))
    yes = (np.array(labels) > 0).mean(0).reshape(2, 2)  # [I, W], as stored
    alpha, beta, gamma = (np.array(v, float) for v in factors[:3])
    expected = 1 / (1 + np.exp(-((2 * np.array(truth) - 1)[:, None] * (beta @ alpha.T) + gamma)))
    assert within(yes, expected, n).all()


def test_judgements_are_right_as_often_as_correctness_says():
    factors = simulate.specialists()
    n = 20_000
    for z, table in zip((1, 0), correctness(factors), strict=True):
        truth = jnp.full(2, z, jnp.int8)
        keys = jax.random.split(jax.random.key(z), n)
        labels = jax.vmap(lambda k, truth=truth: simulate.judgements(k, factors, truth))(keys)
        right = (np.array(labels) == z).mean(0).reshape(2, 2).T
        assert within(right, np.array(table), n).all()


def test_specialists_are_the_papers_table():
    p_plus, p_minus = correctness(simulate.specialists(3, 2))
    expected = np.repeat(np.repeat([[0.95, 0.70], [0.80, 0.80]], 3, 0), 2, 1)
    np.testing.assert_allclose(p_plus, expected, atol=1e-3)
    np.testing.assert_allclose(p_minus, expected, atol=1e-3)


@pytest.mark.slow
def test_section_four_has_the_papers_moments():
    crowds = jax.vmap(lambda k: simulate.section4(k, 12, 40))(jax.random.split(jax.random.key(1), 400))
    alpha, x = np.array(crowds.factors.alpha)[..., 0], np.array(crowds.labeler_features)
    # α = w0 + Σ w_k x_k: mean 1, variance .25 + 4 · .25²
    assert abs(alpha.mean() - 1) < SIGMAS * np.sqrt(0.5 / 400)
    assert abs(alpha.var() - 0.5) < 0.1
    assert abs(x.std() - 0.5) < 0.01 and x.shape == (400, 12, 4)
    assert within(np.array(crowds.weight).mean(), 0.4, crowds.weight.size)
    assert within((np.array(crowds.truth) > 0).mean(), 0.5, crowds.truth.size)


def test_section_four_factors_are_linear_in_the_features():
    crowd = simulate.section4(jax.random.key(2), 30, 40)
    for x, factor in ((crowd.labeler_features, crowd.factors.alpha), (crowd.instance_features, crowd.factors.beta)):
        phi = np.c_[np.ones(len(x)), x].astype(float)
        factor = np.array(factor, float)[:, 0]
        weights = np.linalg.lstsq(phi, factor, rcond=None)[0]
        np.testing.assert_allclose(phi @ weights, factor, atol=1e-5)


def test_only_active_labelers_label():
    crowd = simulate.section4(jax.random.key(3), 40, 40, active=jnp.array(8))
    asked = np.array(crowd.weight).reshape(40, 40)
    assert asked[:, 8:].sum() == 0 and asked[:, :8].sum() > 0


def test_a_batch_of_crowds_is_its_members():
    keys = jax.random.split(jax.random.key(4), 3)
    batch = jax.vmap(simulate.smiles)(keys)
    for r in range(3):
        single = simulate.smiles(keys[r])
        np.testing.assert_array_equal(batch.label[r], single.label)
        np.testing.assert_allclose(batch.factors.alpha[r], single.factors.alpha, atol=1e-6)


def test_a_simulation_on_its_grid_keeps_the_order_of_the_cells():
    cells = simulate.grid(3, 4)
    factors = Factors(40 * jnp.array([[1.0], [-1.0], [1.0]]), jnp.ones((4, 1)), None, None)  # right, wrong, right
    truth = jnp.array([1, 0, 0, 1], jnp.int8)
    label = simulate.judgements(jax.random.key(0), factors, truth)
    labels = simulate.Simulation(label, jnp.ones(12), truth, factors).on(cells)
    for i, j, y in zip(labels.labeler, labels.instance, np.array(labels.label), strict=True):
        assert y == (1 - truth[j] if i == 1 else truth[j])


def test_smiles_are_hard_where_the_detector_is_high_and_the_crowd_is_mostly_right():
    crowds = jax.vmap(simulate.smiles)(jax.random.split(jax.random.key(5), 200))
    label = np.array(crowds.label).reshape(200, 160, 20)
    truth, detector = np.array(crowds.truth), np.array(crowds.instance_features)[..., 0]
    votes = label.sum(2)
    right = (votes != 10) & ((votes > 10) == (truth == 1))  # a tie is not right
    assert 0.70 < right.mean() < 0.85
    assert right[detector < -0.5].mean() > right[detector > 0.8].mean() + 0.1


def test_a_mixed_crowd_has_its_shares_and_numbers_of_labels():
    settings = dict(per_instance=3, active=8, bias=(-1.0, 0.5), positives=0.2, spammers=0.3, adversaries=0.2)
    keys = jax.random.split(jax.random.key(6), 400)
    crowds = jax.jit(jax.vmap(lambda key: simulate.mixed(key, 10, 50, ability=(2.0, 0.1), **settings)))(keys)
    asked, alpha = np.array(crowds.weight).reshape(400, 50, 10), np.array(crowds.factors.alpha)
    assert (asked.sum(2) == 3).all() and not asked[:, :, 8:].any()
    np.testing.assert_allclose(asked[:, :, :8].mean(), 3 / 8)
    for share, measured in ((0.3, alpha == 0), (0.2, alpha < 0), (0.2, np.array(crowds.truth) > 0)):
        assert abs(measured.mean() - share) < 4 * np.sqrt(share * (1 - share) / measured.size)
    gamma, log_beta = np.array(crowds.factors.gamma), np.log(np.array(crowds.factors.beta))
    for values, mean, sd in ((gamma, -1.0, 0.5), (log_beta, 0.0, 0.5)):
        assert abs(values.mean() - mean) < 4 * sd / np.sqrt(values.size)
        assert abs(values.std() / sd - 1) < 4 / np.sqrt(2 * values.size)


def test_power_law_is_seeded_and_independent_of_what_is_read():
    crowd = simulate.power_law(7, 50_000)
    first, again = next(crowd.chunks()), next(simulate.power_law(7, 50_000).chunks())
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not np.array_equal(next(simulate.power_law(8, 50_000).chunks())[0], first[0])


def test_power_law_has_its_sizes_and_its_popularity():
    crowd = simulate.power_law(1, 200_000, n_labelers=50, n_instances=30_000, exponent=1.2)
    labels = crowd.labels()
    assert (labels.n_labelers, labels.n_instances, labels.real.sum()) == (50, 30_000, 200_000)
    per_instance = np.bincount(labels.instance[labels.real], minlength=30_000)
    assert set(per_instance) == {6, 7}
    share = np.bincount(labels.labeler[labels.real], minlength=50)
    expected = (1.0 + np.arange(50)) ** -1.2
    assert stats.chisquare(share, 200_000 * expected / expected.sum()).pvalue > 1e-4


def test_power_law_labelers_have_their_sensitivity():
    crowd = simulate.power_law(2, 100_000, n_labelers=5)
    labeler, instance, label = next(crowd.chunks())
    for i in range(5):
        positive = (labeler == i) & (crowd.truth[instance] > 0)
        assert within((label[positive] > 0).mean(), crowd.sensitivity[i], positive.sum())
        negative = (labeler == i) & (crowd.truth[instance] == 0)
        assert within((label[negative] == 0).mean(), crowd.specificity[i], negative.sum())


def test_power_law_chunks_together_are_the_whole():
    crowd = simulate.LargeCrowd(**{**vars(simulate.power_law(3, 10_000)), "chunk": 3_000})
    parts = list(crowd.chunks())
    assert [len(p[0]) for p in parts] == [3_000, 3_000, 3_000, 1_000]
    assert (np.diff(np.concatenate([p[1] for p in parts])) >= 0).all()


def test_power_law_refuses_fewer_labels_than_instances():
    with pytest.raises(ValueError, match="at least one label per instance"):
        simulate.power_law(0, 10, n_instances=20)


@pytest.mark.parametrize("scenario", ["plain", "poor", "shy", "rare"])
def test_sampled_crowds_follow_their_functions_and_weights(scenario):
    crowds = [simulate.prevalence_crowd(scenario, seed) for seed in range(20)]
    rates, estimates, right = [], [], {0: [], 1: []}
    for drawn in crowds:
        c = drawn.crowd
        rates.append(drawn.rate)
        estimates.append((c.weight * c.truth).sum() / len(c.population))
        assert len(c.label) == 2000 and (c.labeler.reshape(-1, 2)[:, 0] != c.labeler.reshape(-1, 2)[:, 1]).all()
        for z, row in ((1, 1), (0, 2)):
            judged = c.truth[c.instance] == z
            expected = drawn.functions(c.score)[row, c.instance][judged]
            right[z].append([(c.label[judged] == z).sum() - expected.sum(), judged.sum()])
    for z in (0, 1):
        excess, n = np.sum(right[z], 0)
        assert within(0.5 + excess / n, 0.5, n)
    error = np.subtract(estimates, rates)
    assert abs(error.mean()) < SIGMAS * error.std() / np.sqrt(len(error))
