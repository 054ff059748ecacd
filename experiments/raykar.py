"""A classifier from labels of a crowd, on the host: what the library's joint model is compared with.

logistic    regression with a normal prior, on classes, votes or probabilities
raykar      the classifier and the labelers at once, by EM (Raykar et al. 2010)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import expit, logit

from experiments.peers import DIAGONAL, REST, Crowd, vote

STEPS, NEAR = 50, 1e-8  # Newton's, and the longest after which it stops
ROUNDS, STILL = 500, 1e-4  # of EM, and the largest change of a probability at which it stops


class Classified(NamedTuple):
    """P(class 1) of the instances with labels, and the weights of the classifier, the constant first."""

    posterior: Float[np.ndarray, " I"]
    weights: Float[np.ndarray, " F+1"]


def logistic(x: Float[np.ndarray, "n F"], target: Float[np.ndarray, " n"], start=None) -> Float[np.ndarray, " F+1"]:
    """Compute the weights w, the constant first, of highest posterior density, w ~ N(0, 1), by Newton's method.

        Σ_j t_j log σ(w·x_j) + (1 - t_j) log σ(-w·x_j) - |w|²/2

    Args:
        target: t, from 0 to 1.

    Example:
        >>> logistic(np.array([[-1.0], [1.0]]), np.array([0.25, 0.75])).round(2).tolist()
        [0.0, 0.33]
    """
    design = np.c_[np.ones(len(x)), x]
    w = np.zeros(design.shape[1]) if start is None else start
    value = lambda w: target @ (design @ w) - np.logaddexp(0, design @ w).sum() - w @ w / 2  # noqa: E731
    for _ in range(STEPS):
        p = expit(design @ w)
        step = np.linalg.solve((design.T * (p * (1 - p))) @ design + np.eye(len(w)), design.T @ (target - p) - w)
        before = value(w)
        while value(w + step) < before and abs(step).max() > NEAR:
            step = step / 2
        w = w + step
        if abs(step).max() <= NEAR:
            break
    return w


def predicted(x: Float[np.ndarray, "n F"], weights: Float[np.ndarray, " F+1"]) -> Float[np.ndarray, " n"]:
    """Compute P(class 1) by a classifier's weights.

    Example:
        >>> predicted(np.array([[3.0]]), np.array([3.0, -1.0])).tolist()
        [0.5]
    """
    return expit(weights[0] + x @ weights[1:])


def raykar(crowd: Crowd, x: Float[np.ndarray, "I F"]) -> Classified:
    """Fit a classifier and every labeler's sensitivity and specificity by EM.

        P(z_j = 1) = σ(w·x_j),  w ~ N(0, 1)      sens_i, spec_i ~ Beta(4, 1), the pseudo-counts of iBCC

    The start is the votes with two pseudo-counts: at the votes themselves one label of each instance has labelers who
    are never wrong, where EM stays.

    Source: Raykar et al., Learning from crowds, JMLR 2010, sections 2 and 3; Beta(4, 1) and N(0, 1) are ours.

    Example: three labelers of whom one contradicts the others, and a feature that says the class
        >>> truth = np.array([0, 1] * 5)
        >>> i, j = np.tile(np.arange(3), 10), np.repeat(np.arange(10), 3)
        >>> crowd = Crowd(i, j, truth[j] ^ (i == 2), truth, 2)
        >>> found = raykar(crowd, 2.0 * truth[:, None] - 1)
        >>> bool((found.posterior.round() == truth).all()), bool(found.weights[1] > 0)
        (True, True)
    """
    n_labelers, n_instances = 1 + int(crowd.labeler.max()), len(crowd.truth)
    p, w, yes = vote(crowd)[:, 1], np.zeros(1 + x.shape[1]), crowd.label == 1
    for _ in range(ROUNDS):
        w = logistic(x, p, w)
        of = p[crowd.instance]
        hits, positives = (np.bincount(crowd.labeler, v, n_labelers) for v in (of * yes, of))
        rejections, negatives = (np.bincount(crowd.labeler, v, n_labelers) for v in ((1 - of) * ~yes, 1 - of))
        sens = (hits + DIAGONAL - 1) / (positives + DIAGONAL + REST - 2)
        spec = (rejections + DIAGONAL - 1) / (negatives + DIAGONAL + REST - 2)
        sens, spec = (np.clip(v, 1e-6, 1 - 1e-6)[crowd.labeler] for v in (sens, spec))
        said = np.where(yes, np.log(sens) - np.log1p(-spec), np.log1p(-sens) - np.log(spec))
        new = expit(logit(predicted(x, w).clip(1e-12, 1 - 1e-12)) + np.bincount(crowd.instance, said, n_instances))
        change, p = abs(new - p).max(), new
        if change < STILL:
            break
    return Classified(p, w)
