"""The decision boundary on the axis of x, which labels alone do not identify.

x → x - c with γ → γ + α c explains every label as well, so the likelihood is nearly blind to the boundary c. A boundary
is a named choice with an uncertainty, kept as a distribution over points of c:

    able         Σ_i w_i (σ(α_i c + γ_i) - ½) = 0: where the able labelers are at one half
                 w_i = n_i / (n_i + 20) max(α_i, 0)^k, with k from 4 downwards until (Σ w)² / Σ w² ≥ max(10, .15 m):
                 few enough to be able, enough to be a crowd
    unweighted   the same with k = 0, as the majority vote and GLAD cut
    gap          c = 0: halfway between the two clusters of instances, as Dawid and Skene's model cuts
    gold         able's distribution times the likelihood of gold labels
    score        able's distribution times the likelihood of a score of the instances (and of gold)

Around c the uncertainty is N(c, (.75 c)²): how far the choices disagree is how little is known.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from crowdjax.stored import stored

Choice = Literal["able", "gap", "unweighted", "gold", "score"]

UNCERTAINTY = 0.75  # standard deviation of the boundary, as a part of c
GOLD_FLOOR = 0.3  # least standard deviation of the prior that gold or a score meets
POWERS = np.arange(4, -0.25, -0.25)
FEW_LABELS = 20.0
LEAST_CROWD, LEAST_SHARE = 10.0, 0.15
WIDEST = 5.0  # boundaries beyond this are none
STEPS = np.linspace(-4, 4, 81)  # of candidates, in standard deviations of the prior
NORMAL = np.polynomial.hermite_e.hermegauss(21)


class Boundary(NamedTuple):
    """A distribution over the decision boundary: its centre c, and points with their probabilities.

    Example:
        >>> Boundary(jnp.zeros(()), jnp.array([-1.0, 1.0]), jnp.array([0.5, 0.5])).mass.sum().item()
        1.0
    """

    center: Float[Array, ""]
    points: Float[Array, " C"]
    mass: Float[Array, " C"]


def weights_of_able(alpha: Float[Array, " W"], counts: Float[Array, " W"]) -> Float[Array, " W"]:
    """Compute w_i = n_i / (n_i + 20) max(α_i, 0)^k for the largest k that leaves enough labelers with weight.

    Example:
        >>> w = weights_of_able(jnp.array([2.0] * 12 + [0.1] * 12), jnp.full(24, 20.0))
        >>> round(float(w[0]), 3), round(float(w[-1]), 6)
        (8.0, 5e-05)
    """
    base = jnp.maximum(alpha, 0)[:, None]
    weights = (counts / (counts + FEW_LABELS))[:, None] * jnp.where(base > 0, base, 1e-30) ** POWERS.astype(alpha.dtype)
    effective = weights.sum(0) ** 2 / jnp.maximum((weights**2).sum(0), 1e-30)
    enough = effective >= jnp.maximum(LEAST_CROWD, LEAST_SHARE * (counts > 0).sum())
    return weights[:, jnp.where(enough.any(), jnp.argmax(enough), len(POWERS) - 1)]


def neutral_point(
    alpha: Float[Array, " W"], gamma: Float[Array, " W"], weights: Float[Array, " W"]
) -> Float[Array, ""]:
    """Find the c in [-5, 5] where Σ_i w_i (σ(α_i c + γ_i) - ½) = 0, by bisection; labelers with α_i < 0 do not count.

    Example: who is at one half at -½ and who is at ½ meet at 0
        >>> abs(neutral_point(jnp.ones(2), jnp.array([0.5, -0.5]), jnp.ones(2)).item()) < 1e-6
        True
    """
    weights = jnp.where(alpha > 0, weights, 0)

    def halve(ends, _):
        low, high = ends
        middle = (low + high) / 2
        above = weights @ (jax.nn.sigmoid(alpha * middle + gamma) - 0.5) > 0
        return (jnp.where(above, low, middle), jnp.where(above, middle, high)), None

    (low, high), _ = jax.lax.scan(
        halve, (jnp.full((), -WIDEST, alpha.dtype), jnp.full((), WIDEST, alpha.dtype)), length=40
    )
    return (low + high) / 2


def around(center: Float[Array, ""], floor: float = 0.0) -> Boundary:
    """Discretise N(c, (.75 c)²), with a standard deviation of at least ``floor``, at Gauss-Hermite points.

    Example:
        >>> found = around(jnp.array(2.0))
        >>> print(f"{found.mass @ found.points:.2f} ± {jnp.sqrt(found.mass @ (found.points - 2) ** 2):.2f}")
        2.00 ± 1.50
    """
    points, mass = (jnp.asarray(v, center.dtype) for v in NORMAL)
    sd = jnp.maximum(UNCERTAINTY * jnp.abs(center), floor)
    return Boundary(center, center + sd * points, mass / mass.sum())


@stored
def place(choice: Choice, labelers: Float[Array, "W K"], counts: Float[Array, " W"]) -> Boundary:
    """Place the boundary by a method that needs labels alone: ``able``, ``unweighted`` or ``gap``.

    Args:
        labelers: (α_i, …, γ_i).
        counts: number of labels of each labeler, shape [W].

    Example: labelers who say yes too often put it below 0
        >>> found = place("unweighted", jnp.array([[1.0, 0.5], [1.0, 0.5]]), jnp.array([9.0, 9.0]))
        >>> print(f"{found.center:.3f}")
        -0.500
    """
    alpha, gamma = labelers[:, 0], labelers[:, -1]
    if choice == "gap":
        return around(jnp.zeros((), alpha.dtype))
    able = weights_of_able(alpha, counts) if choice == "able" else counts / (counts + FEW_LABELS)
    return around(neutral_point(alpha, gamma, able))


@jax.jit
def candidates(prior: Boundary) -> Float[Array, " C"]:
    """Compute the boundaries that ``informed`` evaluates: within four standard deviations of ``prior``, a standard
    deviation being at least .3.

    Example: of a boundary at 0, whose own uncertainty is none
        >>> print(f"{candidates(around(jnp.array(0.0))).max():.2f}")
        1.20
    """
    sd = jnp.maximum(UNCERTAINTY * jnp.abs(prior.center), GOLD_FLOOR)
    return prior.center + sd * jnp.asarray(STEPS, prior.center.dtype)


@jax.jit
def informed(prior: Boundary, log_likelihood: Float[Array, " C"]) -> Boundary:
    """Compute the boundary's posterior given gold labels or a score: ``prior``'s normal distribution, at least .3 wide,
    times their likelihood.

    Args:
        prior: distribution of the boundary before gold or scores, from ``place``.
        log_likelihood: log P(gold | L, c) at ``candidates(prior)``.

    Example: gold that prefers higher boundaries
        >>> prior = around(jnp.array(0.0))
        >>> bool(informed(prior, 5 * candidates(prior)).center > 0)
        True
    """
    points, steps = candidates(prior), jnp.asarray(STEPS, prior.center.dtype)
    mass = jax.nn.softmax(log_likelihood - 0.5 * steps**2)
    return Boundary(mass @ points, points, mass)
