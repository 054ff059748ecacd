"""The one-dimensional factor model whose instance factor is integrated out, not maximised.

    logit P(L_ij = +1 | x_j) = α_i x_j + γ_i          x_j ~ π N(1, ρ²) + (1-π) N(-1, ρ²)
    (α_i, γ_i) ~ N(μ, Σ)                              μ ~ N((1, 0), I),   log p(Σ) = -½ κ (log|Σ| + tr Σ⁻¹) + constant

It is the factor model with D = 1, x_j = z_j β_j and β_j ~ N(1, ρ²): where β has a wide prior, its mode and its mean are
different things, and only the latter ranks instances well. x_j has one dimension, so the integral is a sum over fixed
points. With ρ = 0 there are two points, -1 and 1, and the model is Dawid and Skene's with labelers from one population.

Features, where there are any, move the populations:

    x_j ~ π N(m_j, ρ²) + (1-π) N(-m_j, ρ²),   m_j = |1 + w·f_j|        (α_i, γ_i) ~ N(μ + Mᵀg_i, Σ)

with weights w, M ~ N(0, ``FEATURE_SD``²) of standardised features. A sign of 1 + w·f_j would only rename the classes of
an instance, hence |·|. The points stay where they are; only their weights differ from instance to instance, and they
reach far enough for m_j up to about 5 - 3ρ: beyond, an instance counts as less likely than it is.

With two factors a label also depends on a second coordinate, which is independent of the class:

    logit P(L_ij = +1 | x_j, y_j) = α_i x_j + δ_i y_j + γ_i        y_j ~ N(0, 1)        (α_i, δ_i, γ_i) ~ N(μ, Σ)

with 0 as the mean of δ, and the points are a product grid. A labeler's weights are w_i, a point is its row
φ_g = (x_g, y_g, 1) of the design.
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from crowdjax.factor.features import PRECISION
from crowdjax.factor.presets import PRIORS, RAREST
from crowdjax.labels import InputError, Labels, refuse_more_classes

PRIOR_LABELERS = 4.0  # κ: the prior of Σ weighs as much as so many labelers whose spread is the identity
SPREADS = (0.7, 0.9, 1.1, 1.3)  # values of ρ to choose from
SECOND = np.linspace(-4, 4, 17)  # the values of y among the points
FEATURE_SD = 0.5  # prior standard deviation of the weights of standardised features
RESOLVED = (0.3, 1.5)  # values of ρ that the points resolve and reach far enough for


@dataclasses.dataclass(frozen=True)
class IntegratedConfig:
    """Settings of the integrated model and of its fit. Frozen and hashable: static under jit.

    Attributes:
        spread: ρ: ``learn`` (the value in ``SPREADS`` with the highest evidence), a number from .3 to 1.5, or 0 for x_j
            = ±1 (Dawid and Skene).
        class_prior: π: a number between 0 and 1, or ``learn`` (Beta(2, 2) prior).
        hierarchy: whether μ and Σ are learned; otherwise they stay at the prior's (1, 0) and the identity.
        factors: number of factors, 1 or 2.
        points, reach: the integral over x is a sum over ``points`` equidistant points of [-reach, reach].
        max_steps: largest number of passes over the labels, for every ρ.
        rtol: relative tolerance: stop after three passes in a row that each gain less than ``rtol`` (1 + |objective|).

    Example:
        >>> IntegratedConfig(spread=0.0).nodes.tolist()
        [-1.0, 1.0]
    """

    spread: float | Literal["learn"] = "learn"
    class_prior: float | Literal["learn"] = 0.5
    hierarchy: bool = True
    factors: int = 1
    points: int = 41
    reach: float = 5.0
    max_steps: int = 100
    rtol: float = 1e-5

    def __post_init__(self):
        low, high = RESOLVED
        if self.spread not in ("learn", 0) and (isinstance(self.spread, str) or not low <= self.spread <= high):
            raise InputError(f"spread: got {self.spread!r}; allowed: learn, 0, or a number from {low} to {high}")
        prior = self.class_prior
        if prior != "learn" and (isinstance(prior, str) or not RAREST <= prior <= 1 - RAREST):
            raise InputError(f"class_prior: got {prior!r}; allowed: {PRIORS}, learn")
        if self.factors not in (1, 2) or (self.factors == 2 and self.spread == 0):
            raise InputError(f"factors: got {self.factors} with spread {self.spread}; allowed: 1; 2 with a spread > 0")
        for name, least in {"points": 3, "reach": 1, "max_steps": 1, "rtol": 0}.items():
            if not getattr(self, name) >= least:
                raise InputError(f"{name}: got {getattr(self, name)}; allowed: {least} or more")

    @property
    def spreads(self) -> tuple[float, ...]:
        """The values of ρ to try."""
        return SPREADS if self.spread == "learn" else (float(self.spread),)

    @property
    def axis(self) -> Float[np.ndarray, " X"]:
        """The values of x on the grid of the integral."""
        return np.array([-1.0, 1.0]) if self.spread == 0 else np.linspace(-self.reach, self.reach, self.points)

    @property
    def nodes(self) -> Float[np.ndarray, " G"]:
        """The coordinate x_g of every point of the integral."""
        return np.repeat(self.axis, len(SECOND)) if self.factors == 2 else self.axis

    @property
    def design(self) -> Float[np.ndarray, "G K"]:
        """The rows φ_g of all points of the integral: (x_g, 1), with two factors (x_g, y_g, 1)."""
        x = self.nodes
        second = [np.tile(SECOND, len(self.axis))] if self.factors == 2 else []
        return np.stack([x, *second, np.ones_like(x)], axis=1)

    @property
    def prior_mean(self) -> Float[np.ndarray, " K"]:
        """The prior mean of μ: 1 for α, 0 otherwise."""
        return np.eye(1 + self.factors)[0]


class Parameters(NamedTuple):
    """The learned parameters: labelers, their population, and the population of the instances.

    Attributes:
        labelers: w_i = (α_i, γ_i), with two factors (α_i, δ_i, γ_i).
        mean, covariance: μ and Σ.
        spread: ρ.
        prior_logit: logit π.
        labeler_weights, instance_weights: M and w; None without features.

    Example: before any label is seen
        >>> start(IntegratedConfig(), 2).labelers.tolist()
        [[1.0, 0.0], [1.0, 0.0]]
    """

    labelers: Float[Array, "W K"]
    mean: Float[Array, " K"]
    covariance: Float[Array, "K K"]
    spread: Float[Array, ""]
    prior_logit: Float[Array, ""]
    labeler_weights: Float[Array, "F K"] | None = None
    instance_weights: Float[Array, " H"] | None = None


class Features(NamedTuple):
    """Standardised features g_i of labelers and f_j of instances; None where there are none.

    Example: two labelers, of whom one thing is known
        >>> Features(labeler=np.array([[-1.0], [1.0]])).instance is None
        True
    """

    labeler: Float[Array, "W F"] | None = None
    instance: Float[Array, "I H"] | None = None


def labeler_means(parameters: Parameters, features: Features) -> Float[Array, " K"] | Float[Array, "W K"]:
    """Compute μ + Mᵀg_i, the prior mean of each labeler; μ without features.

    Example:
        >>> features = Features(labeler=jnp.array([[-1.0], [2.0]]))
        >>> given = start(IntegratedConfig(), 2, features)._replace(labeler_weights=jnp.array([[0.5, 0.0]]))
        >>> labeler_means(given, features).tolist()
        [[0.5, 0.0], [2.0, 0.0]]
    """
    if features.labeler is None:
        return parameters.mean
    g = jnp.asarray(features.labeler, parameters.mean.dtype)
    return parameters.mean + jnp.matmul(g, parameters.labeler_weights, precision=PRECISION)


def centers(parameters: Parameters, features: Features) -> Float[Array, " I"] | None:
    """Compute m_j = |1 + w·f_j|, the distance from 0 of the clusters of each instance; None, for 1, without features.

    Example:
        >>> features = Features(instance=jnp.array([[0.0], [2.0]]))
        >>> given = start(IntegratedConfig(), 1, features)._replace(instance_weights=jnp.array([-1.0]))
        >>> centers(given, features).tolist()
        [1.0, 1.0]
    """
    signed = signed_centers(parameters, features)
    return None if signed is None else abs(signed)


def signed_centers(parameters: Parameters, features: Features) -> Float[Array, " I"] | None:
    """Compute 1 + w·f_j."""
    if features.instance is None:
        return None
    f = jnp.asarray(features.instance, parameters.mean.dtype)
    return 1 + jnp.matmul(f, parameters.instance_weights, precision=PRECISION)


def start(config: IntegratedConfig, n_labelers: int, features: Features = Features()) -> Parameters:
    """Build initial parameters: every labeler at the prior's mean, weights of features 0.

    Example: either class is as likely
        >>> float(start(IntegratedConfig(), 3).prior_logit)
        0.0
    """
    dtype = jnp.result_type(float)
    pi = 0.5 if config.class_prior == "learn" else config.class_prior
    mean = jnp.asarray(config.prior_mean, dtype)
    return Parameters(
        labelers=jnp.tile(mean, (n_labelers, 1)),
        mean=mean,
        covariance=jnp.eye(len(mean), dtype=dtype),
        spread=jnp.asarray(config.spreads[0], dtype),
        prior_logit=jnp.asarray(np.log(pi / (1 - pi)), dtype),
        labeler_weights=None if features.labeler is None else jnp.zeros((features.labeler.shape[1], len(mean)), dtype),
        instance_weights=None if features.instance is None else jnp.zeros(features.instance.shape[1], dtype),
    )


def init(labels: Labels, config: IntegratedConfig = IntegratedConfig(), features: Features = Features()) -> Parameters:
    """Return the parameters before any label is seen (:func:`start`); check that features are those of these labels.

    Args:
        labels: N stored triples of W labelers and I instances.
        config: the model's settings.
        features: standardised, of shapes [W, F] and [I, H].

    Raises:
        InputError: labels are not of two classes; features have another shape: says which, their shape and the one
            allowed.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [1, 1, 0, 0, 0, 1])
        >>> init(labels).labelers.shape
        (3, 2)
        >>> init(labels, features=Features(labeler=np.zeros((2, 4))))
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: features.labeler: got shape (2, 4); allowed: (3, F), one row for each labeler
    """
    refuse_more_classes(labels)
    letters = {"labeler": ("F", labels.n_labelers), "instance": ("H", labels.n_instances)}
    for side, (letter, n) in letters.items():
        values = getattr(features, side)
        shape = None if values is None else jnp.shape(values)
        if shape is not None and (len(shape) != 2 or shape[0] != n):
            raise InputError(f"features.{side}: got shape {shape}; allowed: ({n}, {letter}), one row for each {side}")
    if features.instance is not None and config.spread == 0:
        raise InputError("features.instance: given with spread 0, where instances are all alike; allowed: a spread > 0")
    return start(config, labels.n_labelers, features)


def log_weights(config: IntegratedConfig, spread, prior_logit, center=1.0) -> Float[Array, "*n G 2"]:
    """Compute the log of p(x_g, z) times the distance of the points, for z = -1 and +1: the weights of the trapezoidal
    rule.

    Args:
        center: m, of shape [*n].

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
    away = (x[:, None] - jnp.array([-1.0, 1.0]) * jnp.asarray(center)[..., None, None]) / spread
    distance = np.log((config.axis[1] - config.axis[0]) / np.sqrt(2 * np.pi))
    if config.factors == 2:
        y = config.design[:, 1:2]
        distance += np.log((SECOND[1] - SECOND[0]) / np.sqrt(2 * np.pi)) - y * y / 2
    return log_class - 0.5 * away**2 - jnp.log(spread) + distance


def class_logit(config: IntegratedConfig, x, spread, prior_logit, boundary=0.0, center=1.0):
    """Compute logit P(z = +1 | x) = logit π + 2 m (x - c) / ρ² with the decision boundary at c; ±∞ with ρ = 0."""
    if config.spread == 0:
        return jnp.where(x > boundary, jnp.inf, -jnp.inf)
    return prior_logit + 2 * center * (x - boundary) / spread**2
