"""A log of scores and checked truths as a simulation: anyone's own setting in place of an invented one.

    (score - low) / (high - low) ~ Beta(a, b)        P(z = 1 | s) = clip(c₀ + c₁ s + c₂ s² + c₃ s³)

Both are fitted to a table. Labelers' accuracies, which such a log does not have, are one of three shapes.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Float

from crowdjax.labels import InputError

__all__ = ["ScoreLog", "Shape", "from_log"]

Shape = Literal["linear", "concave", "convex"]
EDGE = 1e-4  # scores of 0 and 1 are taken for so far from them: a Beta density has no likelihood there
STEPS = 50  # of Newton's method


@dataclasses.dataclass(frozen=True)
class ScoreLog:
    """The distribution of scores and the prevalence fitted to a log, with a shape for the labelers' accuracies.

    Attributes:
        a, b: of the Beta distribution of scores in [0, 1].
        cubic: c₀ to c₃.
        low, high: the scores of the log that are 0 and 1 here.
        least, most: between which the cubic is clipped.
        shape: linear, concave (accurate labelers) or convex (inaccurate ones): sensitivity .6 + .35 h(s), specificity
            .6 + .35 h(1 - s).

    Example: draw a crowd of 10 labelers who label 500 instances of such a log
        >>> from crowdjax.simulate import from_log, prevalence_crowd
        >>> rng = np.random.default_rng(0)
        >>> score = rng.beta(0.8, 2, 20_000)
        >>> log = from_log(score, rng.random(20_000) < 0.02 + 0.5 * score**2)
        >>> print(round(log.a, 1), round(log.b, 1), round(float(log.prevalence(0.5)), 2))
        0.8 2.0 0.15
        >>> prevalence_crowd(log, 0, n_instances=500).labels.n_instances
        500
    """

    a: float
    b: float
    cubic: tuple[float, float, float, float]
    low: float = 0.0
    high: float = 1.0
    least: float = 1e-6
    most: float = 1 - 1e-6
    shape: Shape = "linear"

    def unit(self, score: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Map scores of the log to [0, 1]."""
        return np.clip((np.asarray(score, float) - self.low) / (self.high - self.low), 0, 1)

    def prevalence(self, s: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Compute P(z = 1) at scores in [0, 1]."""
        return np.clip(np.polynomial.polynomial.polyval(np.asarray(s, float), self.cubic), self.least, self.most)

    def draw(self, rng: np.random.Generator, n: int) -> Float[np.ndarray, " n"]:
        """Draw n scores in [0, 1]."""
        return rng.beta(self.a, self.b, n)


def from_log(score, truth, weight=None, *, shape: Shape = "linear") -> ScoreLog:
    """Fit a Beta distribution to logged scores and a clipped cubic to their empirical prevalence.

    The Beta parameters maximise Σ w log Beta(s; a, b), the cubic minimises Σ w (z - c₀ - c₁ s - c₂ s² - c₃ s³)² over
    the instances whose truth is known. The cubic is clipped at half an instance of the log.

    Args:
        score: [n], in any units.
        truth: 0 or 1, NaN where nobody checked, shape as ``score``.
        weight: [n], one over the probability that the instance is in the log; default: all equal.
        shape: of the labelers' accuracies (``ScoreLog``).

    Returns:
        A ``ScoreLog``, in place of a scenario's name in ``simulate.prevalence_crowd``, or in a study (``log =`` in
        configs/headline_shapes.toml).

    Raises:
        InputError: shapes differ; a score, weight or truth is out of range; fewer than four different scores with a
            truth, or truths of one class alone.

    Example: scores from 0 to 100
        >>> rng = np.random.default_rng(0)
        >>> score = 100 * rng.beta(2, 5, 5000)
        >>> log = from_log(score, rng.random(5000) < score / 100)
        >>> bool(log.low >= 0 and log.high <= 100), bool(abs(log.prevalence(log.unit([30.0]))[0] - 0.3) < 0.03)
        (True, True)

    Source: Nguyen, Ramakrishnan and Weinsberg (2022), evaluation on simulated labels: a Beta distribution of logged
    scores, a polynomial of third degree of the empirical prevalence.
    """
    score, truth = (np.asarray(v, float).reshape(-1) for v in (score, truth))
    weight = np.ones(len(score)) if weight is None else np.asarray(weight, float).reshape(-1)
    if not len(score) == len(truth) == len(weight):
        raise InputError(f"lengths differ: score {len(score)}, truth {len(truth)}, weight {len(weight)}")
    for name, values, right, allowed in (
        ("score", score, np.isfinite(score), "finite numbers"),
        ("truth", truth, np.isnan(truth) | (truth == 0) | (truth == 1), "0, 1, or NaN where unknown"),
        ("weight", weight, np.isfinite(weight) & (weight > 0), "numbers above 0"),
    ):
        if not right.all():
            row = int(np.flatnonzero(~right)[0])
            raise InputError(f"{name}: got {values[row]} at row {row}; allowed: {allowed}")
    if shape not in ("linear", "concave", "convex"):
        raise InputError(f"shape: got {shape!r}; allowed: linear, concave, convex")
    known = ~np.isnan(truth)
    if len(np.unique(score[known])) < 4 or len(np.unique(truth[known])) < 2:
        raise InputError("truth: a cubic needs both classes and four different scores whose truth is known")
    low, high = score.min(), score.max()
    s = (score - low) / (high - low)
    a, b = _beta(np.clip(s, EDGE, 1 - EDGE), weight / weight.sum())
    root = np.sqrt(weight[known])
    basis = np.vander(s[known], 4, increasing=True)
    cubic = np.linalg.lstsq(root[:, None] * basis, root * truth[known], rcond=None)[0]
    least = 0.5 / weight.sum()
    return ScoreLog(a, b, tuple(cubic.tolist()), float(low), float(high), least, 1 - least, shape)


def _beta(s: Float[np.ndarray, " n"], share: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Maximise the likelihood of a Beta distribution by Newton's method on log a and log b, from its moments."""
    from scipy.special import polygamma, psi

    mean = share @ s
    spread = share @ (s - mean) ** 2
    size = max(mean * (1 - mean) / spread - 1, 0.1)
    at, target = np.log([mean * size, (1 - mean) * size]), np.array([share @ np.log(s), share @ np.log1p(-s)])
    for _ in range(STEPS):
        ab = np.exp(at)
        slope = ab * (target - psi(ab) + psi(ab.sum()))
        curve = np.diag(polygamma(1, ab)) - polygamma(1, ab.sum())
        step = np.linalg.solve(ab[:, None] * curve * ab, slope)
        at = at + np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-10:
            break
    a, b = np.exp(at)
    return float(a), float(b)
