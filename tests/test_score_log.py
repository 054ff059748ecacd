"""A log of scores and checked truths as a simulation (``simulate.from_log``)."""

import numpy as np
import pytest
from scipy import stats

from crowdjax.labels import InputError
from crowdjax.simulate import from_log, prevalence_crowd


def cubic(s):
    return 0.01 + 0.15 * s - 0.2 * s**2 + 0.8 * s**3


def drawn(n=20_000, seed=0):
    rng = np.random.default_rng(seed)
    score = rng.beta(0.8, 2, n)
    return score, (rng.random(n) < cubic(score)).astype(float)


def test_the_beta_distribution_is_scipys():
    score = np.random.default_rng(1).beta(2, 5, 3000)
    log = from_log(score, (np.arange(3000) % 3 == 0))
    s = np.clip(log.unit(score), 1e-4, 1 - 1e-4)
    a, b, *_ = stats.beta.fit(s, floc=0, fscale=1)
    np.testing.assert_allclose((log.a, log.b), (a, b), rtol=1e-4)


def test_the_cubic_is_weighted_least_squares_and_comes_back():
    score, truth = drawn()
    weight = np.random.default_rng(2).uniform(0.5, 2, len(score))
    log = from_log(score, truth, weight)
    s = log.unit(score)
    expected = np.polyfit(s, truth, 3, w=np.sqrt(weight))[::-1]
    np.testing.assert_allclose(log.cubic, expected, rtol=1e-6, atol=1e-9)
    at = np.linspace(0.05, 0.9, 50)
    error = np.sqrt(0.25 / (len(score) * 0.02))  # of a bin of one in fifty, at most
    np.testing.assert_allclose(log.prevalence(at), cubic(at * (log.high - log.low) + log.low), atol=4 * error)


def test_what_a_weight_says_is_said_by_repetition():
    score, truth = drawn(300)
    weight = np.random.default_rng(3).integers(1, 4, 300)
    rows = np.repeat(np.arange(300), weight)
    by_weight, by_rows = from_log(score, truth, weight), from_log(score[rows], truth[rows])
    np.testing.assert_allclose(
        [by_weight.a, by_weight.b, *by_weight.cubic], [by_rows.a, by_rows.b, *by_rows.cubic], rtol=1e-6
    )


def test_a_crowd_of_the_log_has_its_scores_and_its_rate():
    score, truth = drawn()
    crowd = prevalence_crowd(from_log(score, truth, shape="concave"), 0, n_instances=500, per_instance=3)
    assert crowd.labels.n_instances == 500
    assert abs(crowd.rate - cubic(score).mean()) < 0.01
    assert stats.ks_2samp(crowd.crowd.population, score).statistic < 0.02
    right = crowd.crowd.label == crowd.crowd.truth[crowd.crowd.instance]
    assert 0.7 < right.mean() < 0.95


def test_scores_in_other_units_and_unknown_truths():
    score, truth = drawn(2000)
    truth[::2] = np.nan
    log, percent = from_log(score, truth), from_log(100 * score - 7, truth)
    np.testing.assert_allclose(percent.cubic, log.cubic, rtol=1e-6)
    np.testing.assert_allclose(percent.unit(100 * score - 7), log.unit(score), atol=1e-12)


@pytest.mark.parametrize(
    ("score", "truth", "weight", "said"),
    [
        ([0.1, np.inf, 0.3, 0.4], [0, 1, 0, 1], None, "score: got inf at row 1"),
        ([0.1, 0.2, 0.3, 0.4], [0, 2, 0, 1], None, "truth: got 2.0 at row 1"),
        ([0.1, 0.2, 0.3, 0.4], [0, 1, 0, 1], [1, 1, 0, 1], "weight: got 0.0 at row 2"),
        ([0.1, 0.2, 0.3, 0.4], [0, 1, 0, np.nan], None, "four different scores"),
        ([0.1, 0.2, 0.3, 0.4], [1, 1, 1, 1], None, "both classes"),
        ([0.1, 0.2], [1, 0, 1], None, "lengths differ"),
    ],
)
def test_what_is_refused(score, truth, weight, said):
    with pytest.raises(InputError, match=said):
        from_log(score, truth, weight)
    with pytest.raises(InputError, match="shape: got 'round'"):
        from_log(*drawn(50), shape="round")


def test_a_study_takes_the_table(tmp_path):
    from experiments.headline import of_log

    score, truth = drawn(500)
    table = tmp_path / "log.csv"
    table.write_text("score,truth\n" + "\n".join(f"{s},{t:.0f}" for s, t in zip(score, truth, strict=True)))
    found = of_log(str(table), "convex")
    np.testing.assert_allclose(found.cubic, from_log(score, truth).cubic, rtol=1e-6)
    assert found.shape == "convex"
    table.write_text("score\n1\n")
    with pytest.raises(InputError, match="has no column truth"):
        of_log(str(table), "convex")
    with pytest.raises(InputError, match="log: "):
        of_log(str(tmp_path / "none.csv"), "convex")
