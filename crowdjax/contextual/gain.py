"""Which instance to label next: by how much one more label of it narrows the prevalence.

In a posterior draw s the prevalence is P_s, and the next label of instance j by one of the crowd is positive with

    q_sj = p_sj a_sj + (1 - p_sj) (1 - b_sj)            p: posterior of its truth, a, b: sensitivity and specificity

A label y has two values, so the mean of P given y is a line in y, and the variance that y takes away is exactly

    Var P - E Var(P | y) = Cov(P, q_j)² / (q̄_j (1 - q̄_j))                                                   (1)

For a batch the labels are taken one after the other, each where (1) is largest given those before it; what these
have taken away is then a linear regression (the Bayes-linear rule), with q̄ as they are now.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import special


class Batch(NamedTuple):
    """Instances in the order in which to label them, and the share of Var P that is left after each label.

    Example:
        >>> Batch(np.array([3, 1]), np.array([0.9, 0.85])).left[-1].item()
        0.85
    """

    instance: Int[np.ndarray, " n"]
    left: Float[np.ndarray, " n"]


def posteriors_by_votes(
    prevalence: Float[np.ndarray, "S I"],
    sensitivity: Float[np.ndarray, "S I"],
    specificity: Float[np.ndarray, "S I"],
    votes: Float[np.ndarray, "I 2"],
) -> Float[np.ndarray, "S I"]:
    """Return P(z = 1 | votes) in each draw, as if every label were of the average labeler.

        logit p = logit π + n₁ log(a / (1 - b)) + n₀ log((1 - a) / b)

    Args:
        votes: negative and positive labels of each instance.

    Example: a positive label of a labeler who is right in nine of ten cases
        >>> half, good = np.array([[0.5]]), np.array([[0.9]])
        >>> posteriors_by_votes(half, good, good, np.array([[0, 1]])).round(6).tolist()
        [[0.9]]
    """
    logs = [np.log(v) for v in (sensitivity, 1 - specificity, 1 - sensitivity, specificity)]
    return special.expit(
        special.logit(prevalence) + votes[:, 1] * (logs[0] - logs[1]) + votes[:, 0] * (logs[2] - logs[3])
    )


def reduction(prevalence: Float[np.ndarray, " S"], q: Float[np.ndarray, "S I"]) -> Float[np.ndarray, " I"]:
    """Return the variance of the prevalence that one more label of each instance takes away, equation (1).

    Args:
        prevalence: P of every draw.
        q: chance of a positive label in every draw.

    Example: a label that is positive where the prevalence is high, and one that says nothing
        >>> reduction(np.array([0.1, 0.3]), np.array([[0.2, 0.5], [0.8, 0.5]])).round(4).tolist()
        [0.0036, 0.0]
    """
    mean = q.mean(0)
    covariance = (prevalence - prevalence.mean()) @ q / len(q)
    return covariance**2 / np.maximum(mean * (1 - mean), np.finfo(float).tiny)


def batch(prevalence: Float[np.ndarray, " S"], q: Float[np.ndarray, "S I"], n: int) -> Batch:
    """Choose n labels, each where it narrows the prevalence most given those before it; an instance may come up again.

    Covariances of draws are updated by their square root (Potter): with φ = q_j - q̄_j, a = φᵀφ/S, r = E q_j (1 - q_j),

        X ← X - φ (φᵀX / S) γ,     γ = 1 / (v + √(v r)),     v = a + r

    Example: the second label goes elsewhere, as the first has told what this instance tells
        >>> p = np.array([0.1, 0.3, 0.2, 0.2])
        >>> q = np.array([[0.1, 0.3], [0.9, 0.7], [0.5, 0.6], [0.5, 0.4]])
        >>> batch(p, q, 2).instance.tolist()
        [0, 0]
    """
    s, mean = len(q), q.mean(0)
    p, x = prevalence - prevalence.mean(), q - mean
    noise = np.maximum((q * (1 - q)).mean(0), np.finfo(float).tiny)
    start = p @ p
    chosen, left = np.zeros(n, int), np.zeros(n)
    covariance, spread = p @ x / s, (x**2).sum(0) / s
    for i in range(n):
        j = int(np.argmax(covariance**2 / (spread + noise)))
        phi, r = x[:, j].copy(), noise[j]
        v = spread[j] + r
        gamma = 1 / (v + np.sqrt(v * r))
        with_phi = phi @ x / s
        covariance, spread = covariance - with_phi * covariance[j] / v, spread - with_phi**2 / v
        p -= phi * (phi @ p / s) * gamma
        x -= np.outer(phi, with_phi * gamma)
        chosen[i], left[i] = j, p @ p / start if start > 0 else 1.0
    return Batch(chosen, left)
