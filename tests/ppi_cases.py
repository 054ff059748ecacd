"""Cases of ppi-python, and what it says of them: ``python tests/ppi_cases.py`` writes tests/fixtures/ppi.json.

Needs ``pip install ppi-python`` (which brings numba, statsmodels and more), and no crowdjax. The first two cases are
those of its own tests/test_mean.py, with seeds.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

PATH = Path(__file__).parent / "fixtures" / "ppi.json"
LAMBDAS = (None, 0.0, 0.4, 1.0)


def cases() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]]:
    """Name -> (gold, predictions of the same, predictions of others, weights of gold or None)."""
    rng = np.random.default_rng(0)
    y = rng.normal(0, 1, 100)
    out = {"offset": (y, y + 2, np.full(10000, 2.0), None)}
    out["unrelated"] = (rng.normal(0, 1, 10000), rng.normal(-2, 1, 10000), rng.normal(-2, 1, 10000), None)
    p, q = rng.beta(0.8, 2, 150), rng.beta(0.8, 2, 4000)
    z = (rng.random(150) < p).astype(float)
    out["binary"] = (z, p, q, None)
    out["contrary"] = (z, 1 - p, 1 - q, None)
    out["weighted"] = (z, p, q, rng.uniform(1, 20, 150))
    return out


def main() -> None:
    import ppi_py

    found = {}
    for name, (z, f, others, weights) in cases().items():
        for lam in LAMBDAS if weights is None else LAMBDAS[1:]:
            mean = ppi_py.ppi_mean_pointestimate(z, f, others, lam=lam, w=weights)
            lower, upper = ppi_py.ppi_mean_ci(z, f, others, alpha=0.1, lam=lam, w=weights)
            found[f"{name} {lam}"] = [float(np.squeeze(v)) for v in (mean, lower, upper)]
    PATH.write_text(json.dumps({"ppi-python": version("ppi-python"), "cases": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
