"""The study of machines as labelers: its crowds, and the estimates that it compares with."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from experiments import machines

sys.path.insert(0, str(Path(__file__).parent))
ppi_cases = importlib.import_module("ppi_cases")


def test_the_machines_errors_depend_as_much_as_they_should():
    """Where ρ is 0 errors are independent given truth and score: within thin slices of the negatives' scores their
    correlation is noise; where it is strong they go together. The rate is that of the config."""
    for dependence, low, high in (("none", -0.03, 0.03), ("strong", 0.2, 0.6)):
        drawn = machines.crowd(0.2, dependence, 0, n_instances=40_000, n_seen=10)
        assert abs(drawn.truth.mean() - 0.2) < 4 * np.sqrt(0.16 / 40_000)
        negative = np.flatnonzero(drawn.truth == 0)
        negative = negative[np.argsort(drawn.score[negative])][: len(negative) // 200 * 200]
        wrong = drawn.machines[:, negative].reshape(3, -1, 200)
        residual = (wrong - wrong.mean(2, keepdims=True)).reshape(3, -1)
        found = np.corrcoef(residual)[np.triu_indices(3, 1)]
        assert (low < found).all() and (found < high).all(), found


@pytest.mark.parametrize("lam", [0.0, 0.4, 1.0])
def test_weighted_ppi_equals_ppi_python(lam):
    z, f, others, weight = ppi_cases.cases()["weighted"]
    found = machines.weighted_ppi(z, f, weight / weight.mean(), others, lam)
    mean, lower, upper = json.loads(ppi_cases.PATH.read_text())["cases"][f"weighted {lam}"]
    half = (found[2] - found[0]) * stats.norm.ppf(0.95) / stats.norm.ppf(0.975)
    np.testing.assert_allclose([found[0], found[0] - half, found[0] + half], [mean, lower, upper], atol=1e-6)


def test_rogan_and_gladen_undo_known_errors():
    """Of gold that is everybody the correction is exact; with gold of other instances than q's its interval holds."""
    rng, covered = np.random.default_rng(0), 0
    truth = (rng.random(4000) < 0.3).astype(float)
    said = np.where(rng.random(4000) < 0.8, truth, 1 - truth)
    assert machines.rogan_gladen(truth, said, np.ones(4000), said)[0] == pytest.approx(truth.mean(), abs=1e-12)
    for _ in range(400):
        truth = (rng.random(1200) < 0.3).astype(float)
        said = np.where(rng.random(1200) < 0.8, truth, 1 - truth)
        _, lower, upper = machines.rogan_gladen(truth[:200], said[:200], np.full(200, 0.2), said[200:])
        covered += lower <= 0.3 <= upper
    assert abs(covered / 400 - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 400)
    assert machines.rogan_gladen(np.zeros(5), np.zeros(5), np.ones(5), said) is None
