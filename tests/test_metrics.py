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


K = 4


@pytest.fixture(params=[0, 2])
def classes(request):
    """Probabilities of K classes, with and without ties, and a truth that they know something about."""
    rng = np.random.default_rng(request.param)
    truth = rng.choice(K, 400, p=[0.5, 0.3, 0.15, 0.05])
    p = rng.dirichlet(np.ones(K), 400) + np.eye(K)[truth] * rng.random((400, 1))
    p = np.round(p, request.param) + 0.01 if request.param else p
    return p / p.sum(1, keepdims=True), truth


def test_measures_of_classes_are_scikit_learns(classes):
    p, truth = classes
    clipped = np.clip(p[np.arange(len(p)), truth], metrics.EPS, 1 - metrics.EPS)
    assert metrics.nll(p, truth) == pytest.approx(-np.log(clipped).mean(), abs=1e-12)
    assert metrics.nll(p, truth) == pytest.approx(sk.log_loss(truth, p, labels=range(K)), abs=1e-12)
    assert metrics.brier(p, truth) == pytest.approx(sk.brier_score_loss(truth, p, labels=range(K)), abs=1e-12)
    assert metrics.auc_roc(p, truth) == pytest.approx(sk.roc_auc_score(truth, p, multi_class="ovr"), abs=1e-12)
    each = sk.roc_auc_score(np.eye(K)[truth], p, average=None)
    np.testing.assert_allclose(metrics.per_class(metrics.auc_roc, p, truth), each, atol=1e-12)
    assert metrics.auc_pr(p, truth) == pytest.approx(sk.average_precision_score(np.eye(K)[truth], p), abs=1e-12)
    np.testing.assert_array_equal(metrics.confusion(p.argmax(1), truth), sk.confusion_matrix(truth, p.argmax(1)))
    untied = np.sort(p, 1)[:, -1] - np.sort(p, 1)[:, -2] > metrics.TIE
    assert metrics.accuracy(p[untied], truth[untied]) == sk.accuracy_score(truth[untied], p[untied].argmax(1))


def test_a_tie_of_classes_counts_as_a_draw_among_them():
    p = np.array([[0.4, 0.4, 0.2], [1 / 3] * 3, [0.4, 0.4, 0.2]])
    assert metrics.accuracy(p, [0, 2, 2]) == pytest.approx((1 / 2 + 1 / 3 + 0) / 3)


def test_two_classes_are_measured_alike_in_one_column_and_in_two(case):
    p, truth = case
    both, code = np.c_[1 - p, p], (truth > 0).astype(int)
    for name in ("accuracy", "nll", "auc_roc"):
        assert metrics.BINARY[name](both, code) == pytest.approx(metrics.BINARY[name](p, truth), abs=1e-12)
    assert metrics.brier(both, code) == pytest.approx(2 * metrics.brier(p, truth))


def test_ece_of_classes_is_that_of_the_answer(classes):
    p, truth = classes
    assert metrics.ece(p, truth) == pytest.approx(metrics.ece(p.max(1), p.argmax(1) == truth))
    rng = np.random.default_rng(5)
    p = rng.dirichlet(np.ones(K), 100_000)
    truth = (rng.random((len(p), 1)) > p.cumsum(1)).sum(1)
    assert metrics.ece(p, truth) < 3 * np.sqrt(0.25 * metrics.ECE_BINS / len(p))


@pytest.mark.parametrize("name", metrics.BINARY)
def test_unknown_classes_are_left_out(classes, name):
    p, truth = classes
    known = np.arange(len(p)) % 3 > 0
    expected = metrics.BINARY[name](p[known], truth[known])
    assert metrics.BINARY[name](p, np.where(known, truth, -1)) == expected
    assert metrics.BINARY[name](p, np.where(known, truth, np.nan)) == expected
    assert np.isnan(metrics.BINARY[name](p, np.full(len(p), -1)))


def test_a_class_without_instances_has_no_auc(classes):
    p, truth = classes
    some = truth != 3
    each = metrics.per_class(metrics.auc_roc, p[some], truth[some])
    assert np.isnan(each[3]) and metrics.auc_roc(p[some], truth[some]) == pytest.approx(each[:3].mean())


def test_a_class_that_is_none_is_refused():
    with pytest.raises(ValueError, match="got class 3; allowed: 0 to 2"):
        metrics.nll(np.full((2, 3), 1 / 3), [0, 3])
    assert metrics.confusion([0, 1], [0, 0], 3).shape == (3, 3)
