"""The mirror image of a fit, for a crowd that is wrong more often than right.

    x_j → -x_j, z_j → -z_j,  α_i → -α_i,  logit π → -logit π

leaves the probability of every label as it is: labels alone cannot tell the two apart, and a fit takes the one in which
most labelers are right. Gold of both classes can: of the class z_j a fit says p_j, its mirror image 1 - p_j, and the
image is taken where

    Σ_j log (1 - p_j) - Σ_j log p_j > log ODDS    over the instances with gold

and where more of these have p_j < ½ than a coin would give: a few confident errors are no crowd that is wrong.
"""

from __future__ import annotations

import dataclasses
from math import comb

import numpy as np
from jaxtyping import Float

from crowdjax.integrated.average import Average, Averaged
from crowdjax.integrated.boundary import Boundary
from crowdjax.integrated.fit import IntegratedFit
from crowdjax.integrated.model import Parameters

ODDS = 99  # prior odds that most labelers are right
CHANCE = 0.01  # that a coin would be wrong of as many


def is_turned(p: Float[np.ndarray, " J"]) -> bool:
    """Test whether gold says that the crowd is wrong more often than right.

    Args:
        p: what the fit, blind to gold, says of the known class of each instance with gold.

    Example:
        >>> is_turned(np.full(10, 0.2)), is_turned(np.r_[np.full(3, 0.01), np.full(7, 0.7)])
        (True, False)
    """
    p = np.clip(np.asarray(p, float), 1e-6, 1 - 1e-6)
    n, wrong = len(p), int((p < 0.5).sum())
    as_many = sum(comb(n, k) for k in range(wrong, n + 1)) / 2**n
    return bool((np.log1p(-p) - np.log(p)).sum() > np.log(ODDS) and as_many < CHANCE)


def turned(fit: IntegratedFit) -> IntegratedFit:
    """Compute the mirror image of a fit.

    Example: the two say the same of labels
        >>> from crowdjax.integrated import IntegratedConfig, fit_jit
        >>> from crowdjax.integrated.kernels import evidence
        >>> from crowdjax.labels import Labels
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> found = fit_jit(labels)
        >>> of = lambda fit: float(evidence(labels, fit.parameters, IntegratedConfig()))
        >>> abs(of(found) - of(turned(found))) < 1e-4
        True
    """
    sign = _sign(fit.parameters)
    return dataclasses.replace(
        fit,
        parameters=turned_parameters(fit.parameters),
        covariance=fit.covariance * np.outer(sign, sign).astype(fit.covariance.dtype),
        axis=fit.axis * np.array([[1, -1], [-1, 1]], fit.axis.dtype),
        instances=fit.instances[::-1],  # the points of x lie evenly around 0, and so do those of a second factor
    )


def turned_parameters(parameters: Parameters) -> Parameters:
    """Compute the parameters of the mirror image."""
    sign = _sign(parameters).astype(parameters.labelers.dtype)
    weights = parameters.labeler_weights
    return parameters._replace(
        labelers=parameters.labelers * sign,
        mean=parameters.mean * sign,
        covariance=parameters.covariance * np.outer(sign, sign),
        prior_logit=-parameters.prior_logit,
        labeler_weights=None if weights is None else weights * sign,
    )


def turned_boundary(at: Boundary) -> Boundary:
    """Compute the boundary of the mirror image."""
    return Boundary(-at.center, -at.points, at.mass)


def turned_average(found: Averaged) -> Averaged:
    """Compute the mirror images of all members, without votes, as votes are wrong more often than right."""
    votes, members = found.average.votes, found.average.members
    images = tuple(
        m._replace(
            weight=m.weight / (1 - votes),
            parameters=turned_parameters(m.parameters),
            boundary=turned_boundary(m.boundary),
        )
        for m in members
    )
    return Averaged(Average(images, 0.0), tuple(turned(fit) for fit in found.fits))


def _sign(parameters: Parameters) -> Float[np.ndarray, " K"]:
    """-1 for the factors, 1 for the bias, which is the last."""
    return np.r_[-np.ones(parameters.labelers.shape[1] - 1), 1.0]
