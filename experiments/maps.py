"""Scores as probabilities: what a user without a contextual model would do with votes, or with gold.

    Platt      σ(a + b s)                                        Platt 1999
    isotonic   the non-decreasing step function nearest to the targets
    beta       σ(c + a log s - b log(1 - s)), a, b ≥ 0           Kull, Silva Filho, Flach 2017

Each is learned from targets in [0, 1], with weights where they were drawn with unequal chances.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from crowdjax.simulate import ScoredCrowd

EDGE = 1e-6  # scores of 0 and 1 have no logarithm


def votes(crowd: ScoredCrowd) -> Float[np.ndarray, " I"]:
    """1, 0, or ½ where the votes are even."""
    total = np.bincount(crowd.instance, weights=2 * crowd.label - 1, minlength=len(crowd.score))
    return (np.sign(total) + 1) / 2


def learned(
    score: Float[np.ndarray, " n"],
    target: Float[np.ndarray, " n"],
    new: Float[np.ndarray, " m"],
    weight: Float[np.ndarray, " n"] | None = None,
) -> dict[str, Float[np.ndarray, " m"]]:
    """The three maps, learned from targets at ``score``, at ``new`` scores."""
    from scipy.optimize import isotonic_regression
    from scipy.special import expit

    weight = np.ones(len(score)) if weight is None else weight / weight.mean()
    a, b = _logistic(np.c_[np.ones(len(score)), score], target, weight, (None, None))
    value, position = np.unique(score, return_inverse=True)
    mass = np.bincount(position, weight)
    steps = isotonic_regression(np.bincount(position, weight * target) / mass, weights=mass).x
    c, up, down = _logistic(np.c_[np.ones(len(score)), _logs(score)], target, weight, (None, 0, 0))
    return {
        "Platt": expit(a + b * new),
        "isotonic": np.interp(new, value, steps),
        "beta": expit(c + _logs(new) @ [up, down]),
    }


def _logs(score):
    score = np.clip(score, EDGE, 1 - EDGE)
    return np.c_[np.log(score), -np.log1p(-score)]


def _logistic(x, target, weight, lowest) -> Float[np.ndarray, " d"]:
    """Weights of most likelihood, none below its lowest."""
    from scipy.optimize import minimize
    from scipy.special import expit

    def loss(w):
        logit = x @ w
        residual = weight * (expit(logit) - target)
        return weight @ np.logaddexp(0, logit) - (weight * target) @ logit, residual @ x

    bounds = [(low, None) for low in lowest]
    return minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13}).x
