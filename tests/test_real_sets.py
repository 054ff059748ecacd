"""Default fits on real label sets: the published anchors, and no answer worse than a coin. Skipped without the data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from crowdjax import integrated
from crowdjax.factor import PRESETS, FactorConfig, Solver, build, fit_jit, majority, sweep
from crowdjax.metrics import nll
from crowdjax.optimize import CONVERGED, MAX_STEPS, STALLED

ANCHORS = {  # accuracy, from and to; one bird is .009 (docs/models.md)
    "bluebirds": {
        "majority": (0.759, 0.760), "glad": (0.713, 0.732), "dawid-skene": (0.889, 0.908), "1 factors": (0.889, 0.908)
    },
}  # fmt: skip
OTHERS = [
    "duchenne", "ducks", "hcb", "trec2011", "d_possent", "sp", "sp_amt", "zencrowd", "medrel_cause", "medrel_treat"
]  # fmt: skip
KEY = jax.random.key(0)


def accuracy(posterior, truth) -> float:
    """Over the instances with truth; an undecided posterior is half right."""
    known = ~np.isnan(truth)
    p, positive = np.asarray(posterior, np.float64)[known], truth[known] > 0
    return float(np.where(p == 0.5, 0.5, (p > 0.5) == positive).mean())


def of_factors(shared, n):
    labels, model = shared
    return labels, model.with_factors(n), KEY


@pytest.mark.parametrize("name", ["bluebirds", *(pytest.param(name, marks=pytest.mark.slow) for name in OTHERS)])
def test_default_fits_meet_the_anchors_and_none_ends_switched(real_set, name):
    """Every named model, and one to three factors, is right about more than half of the instances with truth."""
    data = real_set(name)
    right, codes = {}, []
    for model in ("majority", "one-coin", "dawid-skene", "glad", "glad-linear"):
        found = fit_jit(data.labels, build(PRESETS[model], data.labels), KEY)
        codes.append(int(found.code))
        right[model] = accuracy(found.posterior, data.truth)
    three = build(FactorConfig(n_factors=3), data.labels)
    found = sweep(of_factors, (data.labels, three), jnp.arange(1, 4), Solver())
    codes += found.code.tolist()
    right |= {f"{n + 1} factors": accuracy(found.posterior[n], data.truth) for n in range(3)}
    assert set(codes) <= {CONVERGED, STALLED, MAX_STEPS}
    assert min(right.values()) > 0.5, right
    for model, (low, high) in ANCHORS.get(name, {}).items():
        assert low - 5e-4 <= right[model] <= high, (model, right[model])


@pytest.mark.parametrize("repeats", ["first", "mean"])
def test_majority_on_duchenne_is_the_plain_count_under_a_rule_for_repeats(real_set, repeats):
    """729 judgements are repeated, and the rule for them moves results by points."""
    data = real_set("duchenne", repeats=repeats)
    labels = data.labels
    found = fit_jit(labels, build(PRESETS["majority"], labels), KEY)
    balance = np.zeros(labels.n_instances)
    np.add.at(balance, labels.instance, np.asarray(labels.sign, float) * np.asarray(labels.counts, float))
    clear = np.abs(balance) > 1e-6
    np.testing.assert_array_equal(np.asarray(found.posterior > 0.5)[clear], (balance > 0)[clear])
    assert 0.70 < accuracy(found.posterior, data.truth) < 0.78


@pytest.mark.parametrize(("name", "least"), [("ducks", 0.88), ("bluebirds", 0.85)])
def test_the_integrated_model_is_right_and_honest_where_others_are_not(real_set, name, least):
    """On ducks every mode flips; on both every peer is surer than it may be: worse than the majority vote's shares."""
    data = real_set(name)
    found = integrated.fit_jit(data.labels)
    boundary = integrated.place("able", found.parameters.labelers, found.counts)
    config = integrated.IntegratedConfig()
    p = np.asarray(integrated.of_instances(data.labels, found.parameters, config, boundary).probability)
    assert accuracy(p, data.truth) >= least
    assert nll(p, data.truth) <= 0.8 * nll(majority(data.labels), data.truth)
