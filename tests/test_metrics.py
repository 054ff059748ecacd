"""The measures against scikit-learn, SciPy and counting by hand."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from crowdjax import metrics


@pytest.fixture(params=[0, 1, 2])
def case(request):
    """Probabilities with and without ties, and a truth that they know something about."""
    rng = np.random.default_rng(request.param)
    truth = rng.choice([-1.0, 1.0], 300, p=[0.7, 0.3])
    p = 1 / (1 + np.exp(-truth - 1.5 * rng.standard_normal(300)))
    return (np.round(p, request.param) if request.param else p), truth


def test_auc_roc_is_scikit_learns(case):
    p, truth = case
    assert metrics.auc_roc(p, truth) == pytest.approx(sk.roc_auc_score(truth > 0, p), abs=1e-12)


def test_auc_pr_is_scikit_learns_average_precision(case):
    p, truth = case
    assert metrics.auc_pr(p, truth) == pytest.approx(sk.average_precision_score(truth > 0, p), abs=1e-12)


def test_brier_is_scikit_learns(case):
    p, truth = case
    assert metrics.brier(p, truth) == pytest.approx(sk.brier_score_loss(truth > 0, p), abs=1e-12)


def test_nll_is_scikit_learns_of_clipped_probabilities(case):
    p, truth = case
    clipped = np.clip(p, metrics.EPS, 1 - metrics.EPS)
    assert metrics.nll(p, truth) == pytest.approx(sk.log_loss(truth > 0, clipped), abs=1e-12)


def test_nll_of_a_sure_mistake_is_the_log_of_eps():
    assert metrics.nll([1.0], [-1]) == pytest.approx(-np.log(metrics.EPS))
    assert metrics.nll([1.0], [-1], eps=0.01) == pytest.approx(-np.log(0.01))


def test_accuracy_counts_exactly_half_as_half(case):
    p, truth = case
    decided = p != 0.5
    by_hand = sk.accuracy_score(truth[decided] > 0, p[decided] > 0.5, normalize=False) + 0.5 * (~decided).sum()
    assert metrics.accuracy(p, truth) == pytest.approx(by_hand / len(p))


def test_ece_by_hand(case):
    p, truth = case
    total = 0.0
    for k in range(metrics.ECE_BINS):
        inside = np.floor(p * metrics.ECE_BINS) == k
        if k == metrics.ECE_BINS - 1:
            inside |= p == 1
        if inside.any():
            total += inside.sum() * abs(p[inside].mean() - (truth[inside] > 0).mean())
    assert metrics.ece(p, truth) == pytest.approx(total / len(p))


def test_ece_of_a_calibrated_forecast_is_the_noise_of_its_bins():
    rng = np.random.default_rng(3)
    p = rng.uniform(size=200_000)
    assert metrics.ece(p, rng.uniform(size=p.size) < p) < 3 * np.sqrt(0.25 * metrics.ECE_BINS / p.size)


def test_correlation_is_scipys_and_error_is_scikit_learns(case):
    p, truth = case
    assert metrics.correlation(p, truth) == pytest.approx(stats.pearsonr(p, truth).statistic)
    assert metrics.mean_absolute_error(p, truth) == pytest.approx(sk.mean_absolute_error(truth, p))


def test_unknown_truth_is_left_out(case):
    p, truth = case
    holes = np.where(np.arange(truth.size) % 3 == 0, np.nan, truth)
    for measure in metrics.BINARY.values():
        assert measure(p, holes) == measure(p[~np.isnan(holes)], truth[~np.isnan(holes)])


@pytest.mark.parametrize("name", metrics.BINARY)
def test_zero_one_and_signs_are_the_same_truth(case, name):
    p, truth = case
    assert metrics.BINARY[name](p, truth) == metrics.BINARY[name](p, truth > 0)


def test_what_is_not_defined_is_nan():
    p = np.array([0.2, 0.7])
    assert np.isnan(metrics.auc_roc(p, [1, 1])) and np.isnan(metrics.auc_pr(p, [0, 0]))
    assert all(np.isnan(measure(p, [np.nan, np.nan])) for measure in metrics.BINARY.values())
    assert np.isnan(metrics.correlation([1, 1], [0, 1]))


def test_lengths_that_differ_are_refused():
    with pytest.raises(ValueError, match="lengths differ"):
        metrics.accuracy([0.5], [1, 0])


def test_coverage_counts_the_ends():
    assert metrics.coverage([0, 1, 2, 3], [1, 2, 3, 4], [0, 2, 3.5, 2.9]) == 0.5


def test_paired_difference_has_the_standard_error_of_a_paired_t_test():
    rng = np.random.default_rng(4)
    a, b = rng.normal(0.1, 1, 50), rng.normal(0, 1, 50)
    found = metrics.paired(a, b)
    assert found.difference / found.standard_error == pytest.approx(stats.ttest_rel(a, b).statistic)
    assert found.wins == (a > b).mean()
    assert metrics.paired([1, 2], [1, 3]).wins == 0.25
