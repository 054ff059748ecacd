"""Intervals of labelers of the factor model, at an instance whose β is the mean of all. Host side, in float64.

    logit sens_i = s_i + γ_i      logit spec_i = s_i - γ_i      s_i = α_i·β̄

Laplace's covariance of (s_i, γ_i) is C_i = (Λ + n⁺ sens (1-sens) x⁺x⁺ᵀ + n⁻ spec (1-spec) x⁻x⁻ᵀ)⁻¹ with x^± = (1, ±1),
Λ the precision of the prior, and n^± the numbers of labels on positives and on negatives that the answers expect. The
instances' own numbers and the truths are taken for known.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
from jaxtyping import Float

from crowdjax.factor.model import FactorModel, Weights
from crowdjax.factor.predict import LabelerSummary
from crowdjax.labelers import Ends, Summary, of_two

FLAT, FIXED = 1e6, 1e-12  # variances beyond which a prior says nothing, or all


def labeler_intervals(
    model: FactorModel, weights: Weights, summary: LabelerSummary, number: Float[np.ndarray, "W 2"], level: float
) -> Summary:
    """The summary of labelers with intervals; none where a model learns nothing of a labeler's own.

    Args:
        summary: of ``labeler_summary``: the estimates.
        number: expected labels of each labeler on negatives and on positives.

    Example: more labels say more
        >>> from crowdjax.factor import PRESETS, build
        >>> from crowdjax.labels import Labels
        >>> model = build(PRESETS["dawid-skene"], Labels.from_arrays([0, 1], [0, 0], [1, 1]))
        >>> same = np.full(2, 0.8)
        >>> about = LabelerSummary(np.array([8.0, 800.0]), same, same, same)
        >>> found = labeler_intervals(model, model.full(model.mean), about, np.array([[4, 4], [400, 400]]), 0.95)
        >>> found.accuracy[1].round(2).tolist(), found.accuracy[2].round(2).tolist()
        ([0.45, 0.77], [0.95, 0.83])
    """
    sens, spec, right = (np.clip(np.asarray(v, np.float64), 1e-6, 1 - 1e-6) for v in summary[1:])
    minus, plus = np.asarray(number, np.float64).T
    beta = np.asarray(model.factors(weights).beta, np.float64).mean(0)
    variance = np.stack(np.broadcast_arrays(*_own_variances(model, beta), plus)[:2], -1)
    of_sens, of_spec = sens * (1 - sens), spec * (1 - spec)
    a, b = plus * of_sens, minus * of_spec
    same, cross = np.eye(2), np.eye(2)[::-1]
    precision = (a + b)[:, None, None] * same + (a - b)[:, None, None] * cross
    covariance = np.linalg.inv(precision + same / np.clip(variance, FIXED, FLAT)[:, None])
    learnt = np.where((variance > 0).any(1), 1.0, np.nan)
    up, down = np.array([1.0, 1.0]), np.array([1.0, -1.0])

    def sd(gradient):
        return learnt * np.sqrt(np.einsum("wi,wij,wj->w", gradient, covariance, gradient))

    z = NormalDist().inv_cdf((1 + level) / 2)

    def chance(mean, gradient) -> Ends:
        logit, half = np.log(mean) - np.log1p(-mean), z * sd(gradient) / (mean * (1 - mean))
        return mean, *(1 / (1 + np.exp(-logit - move)) for move in (-half, half))

    g_sens, g_spec = of_sens[:, None] * up, of_spec[:, None] * down
    on_positives = (plus / np.where(plus + minus > 0, plus + minus, 1))[:, None]
    on_positives = np.where((plus + minus > 0)[:, None], on_positives, 0.5)
    informed, half = sens + spec - 1, z * sd(g_sens + g_spec)
    return of_two(
        chance(right, on_positives * g_sens + (1 - on_positives) * g_spec),
        chance(sens, g_sens),
        chance(spec, g_spec),
        (informed, np.maximum(informed - half, -1), np.minimum(informed + half, 1)),
    )


def _own_variances(model: FactorModel, beta: Float[np.ndarray, " D"]):
    """Prior variances of s_i and of γ_i by what a labeler has of his own; 0 where he has nothing."""

    def own(part):
        return np.zeros((1, 1)) if part is None or part.free is None else np.asarray(part.free, np.float64)

    return (own(model.variance.labeler) * beta**2).sum(1), own(model.variance.bias).sum(1)
