"""The one-dimensional factor model whose instance factor is integrated out, not maximised.

    logit P(L_ij = +1 | x_j) = α_i x_j + γ_i          x_j ~ π N(1, ρ²) + (1-π) N(-1, ρ²)
    (α_i, γ_i) ~ N(μ, Σ)                              μ ~ N((1, 0), I),   log p(Σ) = -½ κ (log|Σ| + tr Σ⁻¹) + constant

It is the factor model with D = 1, x_j = z_j β_j and β_j ~ N(1, ρ²): where β has a wide prior, its mode and its mean are
different things, and only the latter ranks instances well. x_j has one dimension, so the integral is a sum over fixed
points. With ρ = 0 there are two points, -1 and 1, and the model is Dawid and Skene's with labelers from one population.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from crowdjax.labels import InputError

PRIOR_MEAN = np.array([1.0, 0.0])  # of μ
PRIOR_LABELERS = 4.0  # κ: the prior of Σ weighs as much as so many labelers whose spread is the identity
SPREADS = (0.7, 0.9, 1.1, 1.3)  # values of ρ to choose from
RESOLVED = (0.3, 1.5)  # values of ρ that the points resolve and reach far enough for


@dataclasses.dataclass(frozen=True)
class IntegratedConfig:
    """Settings of the model and of its fit, frozen and hashable: static under jit.

    Attributes:
        spread: ρ: ``learn`` (the value in ``SPREADS`` of the highest evidence), a number from .3 to 1.5, or 0: x_j is
            -1 or 1 (Dawid and Skene).
        class_prior: π: a number between 0 and 1, or ``learn`` (Beta(2, 2) prior).
        hierarchy: whether μ and Σ are learned; otherwise they stay at the prior's (1, 0) and identity.
        points, reach: the integral over x is a sum over so many equidistant points of [-reach, reach].
        max_steps: most passes over the labels, for every ρ.
        rtol: stop after three passes in a row that each gain less than ``rtol`` (1 + |objective|).

    Example:
        >>> IntegratedConfig(spread=0.0).nodes.tolist()
        [-1.0, 1.0]
    """

    spread: float | Literal["learn"] = "learn"
    class_prior: float | Literal["learn"] = 0.5
    hierarchy: bool = True
    points: int = 41
    reach: float = 5.0
    max_steps: int = 100
    rtol: float = 1e-5

    def __post_init__(self):
        low, high = RESOLVED
        if self.spread not in ("learn", 0) and (isinstance(self.spread, str) or not low <= self.spread <= high):
            raise InputError(f"spread: got {self.spread!r}; allowed: learn, 0, or a number from {low} to {high}")
        if self.class_prior != "learn" and (isinstance(self.class_prior, str) or not 0 < self.class_prior < 1):
            raise InputError(f"class_prior: got {self.class_prior!r}; allowed: a number between 0 and 1, learn")
        for name, least in {"points": 3, "reach": 1, "max_steps": 1, "rtol": 0}.items():
            if not getattr(self, name) >= least:
                raise InputError(f"{name}: got {getattr(self, name)}; allowed: {least} or more")

    @property
    def spreads(self) -> tuple[float, ...]:
        """The values of ρ that are tried."""
        return SPREADS if self.spread == "learn" else (float(self.spread),)

    @property
    def nodes(self) -> Float[np.ndarray, " G"]:
        """The points x_g of the integral."""
        return np.array([-1.0, 1.0]) if self.spread == 0 else np.linspace(-self.reach, self.reach, self.points)


class Parameters(NamedTuple):
    """What is learned: labelers, the population they come from, and the population of the instances.

    Attributes:
        labelers: (α_i, γ_i).
        mean, covariance: μ and Σ.
        spread: ρ.
        prior_logit: logit π.
    """

    labelers: Float[Array, "W 2"]
    mean: Float[Array, " 2"]
    covariance: Float[Array, "2 2"]
    spread: Float[Array, ""]
    prior_logit: Float[Array, ""]


def start(config: IntegratedConfig, n_labelers: int) -> Parameters:
    """The parameters before any label is seen: every labeler at the prior's mean."""
    dtype = jnp.result_type(float)
    pi = 0.5 if config.class_prior == "learn" else config.class_prior
    mean = jnp.asarray(PRIOR_MEAN, dtype)
    return Parameters(
        labelers=jnp.tile(mean, (n_labelers, 1)),
        mean=mean,
        covariance=jnp.eye(2, dtype=dtype),
        spread=jnp.asarray(config.spreads[0], dtype),
        prior_logit=jnp.asarray(np.log(pi / (1 - pi)), dtype),
    )


def log_weights(config: IntegratedConfig, spread, prior_logit) -> Float[Array, "G 2"]:
    """log of p(x_g, z) times the distance of the points, for z = -1 and +1: a trapezoidal rule's weights.

    For ρ well above the distance of the points its error is far below rounding.

    Example:
        >>> w = log_weights(IntegratedConfig(), jnp.array(0.8), jnp.array(0.0))
        >>> print(f"{jnp.exp(w).sum():.6f}")
        1.000000
    """
    x = jnp.asarray(config.nodes, jnp.result_type(float))
    log_class = jnp.stack([jax.nn.log_sigmoid(-prior_logit), jax.nn.log_sigmoid(prior_logit)])
    if config.spread == 0:
        return jnp.where(jnp.eye(2, dtype=bool), log_class, -jnp.inf)
    away = (x[:, None] - jnp.array([-1.0, 1.0])) / spread
    return (
        log_class - 0.5 * away**2 - jnp.log(spread) + np.log((config.nodes[1] - config.nodes[0]) / np.sqrt(2 * np.pi))
    )


def class_logit(config: IntegratedConfig, x, spread, prior_logit, boundary=0.0):
    """logit P(z = +1 | x) = logit π + 2 (x - c) / ρ², the class boundary being at c; ±∞ with ρ = 0."""
    if config.spread == 0:
        return jnp.where(x > boundary, jnp.inf, -jnp.inf)
    return prior_logit + 2 * (x - boundary) / spread**2
