"""Use known truths to place the decision boundary and to calibrate the probabilities of the other instances.

    log P(gold | L, c) = Σ_j log P(z_j = gold_j | L_j, c)
    p_j'               = E[ σ(a logit p_j) ]          log a ~ N(0, .2²) times Π_j σ(a logit P(z_j = gold_j), without j)

Gold places the boundary too, so a is learned from the probability of each gold instance at the boundary of the others.
One half stays one half: no label changes.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int8

from crowdjax.integrated.boundary import Boundary

SLOPE_SD = 0.2  # of log a before gold is seen
STEPS = np.linspace(-4, 4, 41)  # where log a is looked at, in units of that
CERTAIN = 1e-6  # probabilities this near 0 or 1 are treated alike


class Calibration(NamedTuple):
    """A distribution over the calibration slope a: points and their probabilities.

    Example: probabilities are right as they are
        >>> Calibration(jnp.ones(1), jnp.ones(1)).slopes.tolist()
        [1.0]
    """

    slopes: Float[Array, " K"]
    mass: Float[Array, " K"]


def of_gold(positive: Float[np.ndarray, "G C"], gold: Int8[np.ndarray, " G"]) -> Float[np.ndarray, "G C"]:
    """Compute P(z_j = gold_j | L_j, c) of every gold instance, bounded away from 0. Host side.

    Args:
        positive: P(z_j = +1 | L_j, c) at every boundary c (``kernels.positives``).
        gold: codes of the truth, -1 where unknown, shape [I].

    Example:
        >>> print(of_gold(np.array([[0.75], [0.75]]), np.array([1, 0])).ravel())
        [0.75 0.25]
    """
    return np.clip(np.where(gold[:, None] > 0, positive, 1 - positive), CERTAIN, 1)


def without_own(boundary: Boundary, right: Float[np.ndarray, "G C"]) -> Float[np.ndarray, " G"]:
    """Compute P(z_j = gold_j | L, the other gold labels): the factor of j is taken out of the boundary's distribution.
    Host side.

    Example:
        >>> boundary = Boundary(jnp.array(0.0), jnp.array([-1.0, 1.0]), jnp.array([0.75, 0.25]))
        >>> print(f"{without_own(boundary, np.array([[0.9, 0.3]]))[0]:.2f}")     # 1 / (.75 / .9 + .25 / .3)
        0.60
    """
    return 1 / ((1 / right) @ np.asarray(boundary.mass))


def calibrate(own: Float[np.ndarray, " G"]) -> Calibration:
    """Compute the posterior of the slope a from the probabilities of the truths of gold instances (``without_own``).
    Host side.

    Example: being right less often than said flattens
        >>> found = calibrate(np.array([0.99, 0.99, 0.01, 0.01]))
        >>> bool(found.mass @ found.slopes < 1)
        True
    """
    slopes = np.exp(SLOPE_SD * STEPS)
    p = np.clip(np.asarray(own, float), CERTAIN, 1 - CERTAIN)
    fit = -np.logaddexp(0, -slopes * (np.log(p) - np.log1p(-p))[:, None]).sum(0) - 0.5 * STEPS**2
    mass = np.exp(fit - fit.max())
    dtype = jax.dtypes.canonicalize_dtype(float)
    return Calibration(slopes.astype(dtype), (mass / mass.sum()).astype(dtype))  # pyright: ignore[reportArgumentType]


@jax.jit
def calibrated(probability: Float[Array, " I"], calibration: Calibration) -> Float[Array, " I"]:
    """Compute the calibrated probability E[ σ(a logit p) ].

    Example: half the slope halves the logit
        >>> print(f"{calibrated(jnp.array([0.9]), Calibration(jnp.array([0.5]), jnp.ones(1)))[0]:.2f}")
        0.75
    """
    return jax.nn.sigmoid(_logit(probability)[:, None] * calibration.slopes) @ calibration.mass


def _logit(p):
    p = jnp.clip(p, CERTAIN, 1 - CERTAIN)
    return jnp.log(p) - jnp.log1p(-p)
