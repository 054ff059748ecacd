"""Intervals of labelers of the factor model, at an instance whose β is the mean of all. Host side, in float64.

    logit sens_i = s_i + γ_i      logit spec_i = s_i - γ_i      s_i = α_i·β̄

Laplace's covariance of (s_i, γ_i) is C_i = (Λ + n⁺ sens (1-sens) x⁺x⁺ᵀ + n⁻ spec (1-spec) x⁻x⁻ᵀ)⁻¹ with x^± = (1, ±1),
Λ the precision of the prior, and n^± the numbers of labels on positives and on negatives that the posterior expects,
less what unknown truths take away (``labelers.intervals_of_two``). The instances' own numbers are taken for known.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from crowdjax.factor.model import FactorModel, Weights
from crowdjax.factor.predict import LabelerSummary
from crowdjax.labelers import Summary, intervals_of_two


def labeler_intervals(
    model: FactorModel,
    weights: Weights,
    summary: LabelerSummary,
    number: Float[np.ndarray, "W 2"],
    level: float,
    unsure: Float[np.ndarray, "W 2"] | None = None,
) -> Summary:
    """Compute intervals of the labelers' estimates; none where the model learns nothing of a labeler's own.

    Args:
        summary: of ``labeler_summary``: the estimates.
        number: expected labels of each labeler on negatives and on positives.
        unsure: as in ``labelers.intervals_of_two``.

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
    beta = np.asarray(model.factors(weights).beta, np.float64).mean(0)
    return intervals_of_two(summary[1:], number, _own_variances(model, beta), level, unsure)


def _own_variances(model: FactorModel, beta: Float[np.ndarray, " D"]):
    """Return prior variances of s_i and of γ_i by what a labeler has of his own; 0 where he has nothing."""

    def own(part):
        return np.zeros((1, 1)) if part is None or part.free is None else np.asarray(part.free, np.float64)

    return (own(model.variance.labeler) * beta**2).sum(1), own(model.variance.bias).sum(1)
