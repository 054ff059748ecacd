"""Estimates of instances, labelers and the share of positives from a fit, with their uncertainty.

    p_j      = E[ σ(logit π + 2 (x_j - c) / ρ²) | L ]           over x_j's posterior and the boundary's distribution
    sens_i   = E[ σ(α_i x + γ_i) | z = +1 ]                     over the population of instances; spec_i likewise
    J_i      = sens_i + spec_i - 1                              informedness (Youden's index): 0 for a guess
    share(c) = mean_j E[ σ(logit π + 2 (x_j - c) / ρ²) | L ]

The boundary's uncertainty is included in p_j and in the intervals of labelers, since the labels hardly determine the
boundary.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtr
from jaxtyping import Array, Bool, Float

from crowdjax.integrated.axis import laplace_draws
from crowdjax.integrated.boundary import Boundary, around
from crowdjax.integrated.draws import DOUBT, Draws, LabelerSummary, of_draws
from crowdjax.integrated.fit import IntegratedFit
from crowdjax.integrated.gold import Calibration, calibrated
from crowdjax.integrated.kernels import expectations
from crowdjax.integrated.model import Features, IntegratedConfig, Parameters, centers, class_logit
from crowdjax.labelers import EXPERT, LEVEL, SPAM, Interval, in_sd, kinds  # noqa: F401
from crowdjax.labels import Labels
from crowdjax.stored import stored

SHARES = np.linspace(0, 1, 4001)  # of positives, at which a distribution function is kept


class InstanceSummary(NamedTuple):
    """Each instance's P(z_j = +1), the same with the boundary at 0, whether the class differs between the two, and the
    posterior mean and standard deviation of x_j.

    Example: an instance whose class depends on the boundary
        >>> InstanceSummary(*np.array([[0.6], [0.4], [True], [0.1], [0.7]])).depends.astype(bool).tolist()
        [True]
    """

    probability: Float[Array, " I"]
    at_zero: Float[Array, " I"]
    depends: Bool[Array, " I"]
    mean: Float[Array, " I"]
    sd: Float[Array, " I"]


def class_probability(
    config: IntegratedConfig, parameters: Parameters, boundary: Boundary, center: Float[Array, " n"] | None = None
) -> Float[Array, "*n G"]:
    """Compute P(z = +1 | x_g), averaged over the boundary's distribution; for every m_j, where these differ.

    Example: halfway between the clusters
        >>> from crowdjax.integrated import start
        >>> config = IntegratedConfig(spread=0.9)
        >>> p = class_probability(config, start(config, 1), around(jnp.array(0.0)))
        >>> print(f"{p[len(p) // 2]:.2f}")
        0.50
    """
    x = jnp.asarray(config.nodes, parameters.labelers.dtype)[:, None]
    m = 1.0 if center is None else center[:, None, None]
    logit = class_logit(config, x, parameters.spread, parameters.prior_logit, boundary.points, m)
    return jax.nn.sigmoid(logit) @ boundary.mass


@stored
def of_instances(
    labels: Labels,
    parameters: Parameters,
    config: IntegratedConfig,
    boundary: Boundary,
    features: Features = Features(),
    calibration: Calibration | None = None,
) -> InstanceSummary:
    """Infer the instances of any labels given the labelers; those with gold get their gold.

    Args:
        calibration: the calibration of probabilities by gold of these or other labels (``integrated.calibrate``).

    Example:
        >>> from crowdjax.integrated import start
        >>> labels, config = Labels.from_arrays([0, 1, 0, 1], [0, 0, 1, 1], [1, 1, 0, 0]), IntegratedConfig(spread=0.0)
        >>> found = of_instances(labels, start(config, 2), config, around(jnp.array(0.0)))
        >>> print("{:.2f} {:.2f}".format(*found.probability))       # σ(± 2)
        0.88 0.12
    """
    x, zero = jnp.asarray(config.nodes, parameters.labelers.dtype), around(jnp.zeros_like(boundary.center))

    def functions(m):
        plus, at_zero = (class_probability(config, parameters, b, m) for b in (boundary, zero))
        return jnp.stack([plus, at_zero, *(jnp.broadcast_to(v, plus.shape) for v in (x, x * x))], axis=-1)

    center = centers(parameters, features)
    given = functions(None) if center is None else functions
    p, at_zero, mean, square = expectations(labels, parameters, config, given, center).T
    depends = (p > 0.5) != (at_zero > 0.5)
    p = p if calibration is None else calibrated(p, calibration)
    if labels.gold is not None:
        gold = jnp.asarray(labels.gold)
        p, at_zero = (jnp.where(gold < 0, v, gold.astype(p.dtype)) for v in (p, at_zero))
        depends &= gold < 0
    return InstanceSummary(p, at_zero, depends, mean, jnp.sqrt(jnp.maximum(square - mean**2, 0)))


def of_labelers(
    fit: IntegratedFit,
    config: IntegratedConfig,
    boundary: Boundary,
    features: Features = Features(),
    level: float = LEVEL,
    share: Float[np.ndarray, " C"] | float = 0.5,
    draws: Draws | None = None,
    doubt: float = DOUBT,
    n_instances: int | None = None,
) -> LabelerSummary:
    """Estimate the sensitivity and specificity of every labeler over the population of instances, with intervals.

    Args:
        share: share of positive instances, at every point of the boundary or one for all; accuracy weights both classes
            by it.
        draws: posterior draws of the labelers (``axis_draws``, ``sample``); default: Laplace's.
        doubt: κ, the scale of errors that labelers share and the model does not represent (``integrated.draws``); 0 for
            labels simulated from the model.
        n_instances: number of the features' rows that are instances; default: all.

    Example: the third contradicts the others
        >>> from crowdjax.integrated import fit_jit
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> found = of_labelers(fit_jit(labels), IntegratedConfig(), around(jnp.array(0.0)))
        >>> int(found.informedness.mean.argmin())
        2
    """
    draws = draws or laplace_draws(fit)
    return of_draws(draws, fit.parameters, config, boundary, features, level, share, doubt, n_instances)


def share_of_positives(
    labels: Labels,
    fit: IntegratedFit,
    config: IntegratedConfig,
    boundary: Boundary,
    features: Features = Features(),
    level: float = LEVEL,
) -> Interval:
    """Estimate the share of positive instances: its interval averages over the boundary's distribution, the Bernoulli
    variance of the truths and the uncertainty of the axis' origin. Host side.

        Var[share | c] = Σ_j p_j (1 - p_j) / I² + (∂share/∂c)² Var[origin]          p_j = P(z_j = +1 | L, c)

    Example:
        >>> from crowdjax.integrated import fit_jit
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> share = share_of_positives(labels, fit_jit(labels), IntegratedConfig(), around(jnp.array(0.0)))
        >>> share.lower < 0.5 < share.upper
        True
    """
    return at_level(*positives_below(labels, fit, config, boundary, features), level)


def positives_below(
    labels: Labels, fit: IntegratedFit, config: IntegratedConfig, boundary: Boundary, features: Features = Features()
) -> tuple[float, Float[np.ndarray, " S"]]:
    """Compute the mean of the share of positives, and its distribution function at ``SHARES``
    (:func:`share_of_positives`).
    """
    mean, variance, slope = map(np.asarray, _shares(labels, fit, config, boundary, features))
    sd = np.sqrt(np.maximum(variance + slope**2 * float(fit.axis[1, 1]), 1e-12))
    mass = np.asarray(boundary.mass, float)
    return float(mean @ mass), np.asarray(ndtr((SHARES[:, None] - mean) / sd)) @ mass


def at_level(mean: float, below: Float[np.ndarray, " S"], level: float) -> Interval:
    """Compute the interval of this level of a share from its distribution function at ``SHARES``.

    Example:
        >>> at_level(0.5, SHARES, 0.9)
        Interval(mean=0.5, lower=0.05, upper=0.95)
    """
    ends = (round(float(np.interp(end, below, SHARES)), 12) for end in ((1 - level) / 2, (1 + level) / 2))
    return Interval(mean, *ends)


def shares_at(
    labels: Labels, fit: IntegratedFit, config: IntegratedConfig, boundary: Boundary, features: Features = Features()
) -> Float[Array, " C"]:
    """Compute the expected share of positives at every point of the boundary."""
    return _shares(labels, fit, config, boundary, features)[0]


@stored
def _shares(labels, fit, config, boundary, features):
    """Return at every boundary: the expected share of positives, its variance, and how it falls as the boundary
    rises."""
    parameters = fit.parameters
    x, center = jnp.asarray(config.nodes, parameters.labelers.dtype)[:, None], centers(parameters, features)

    def functions(m):
        m = 1.0 if m is None else m[:, None, None]
        p = jax.nn.sigmoid(class_logit(config, x, parameters.spread, parameters.prior_logit, boundary.points, m))
        steep = 0.0 if config.spread == 0 else 2 * m / parameters.spread**2
        return jnp.concatenate([p, steep * p * (1 - p)], axis=-1)

    found = expectations(labels, parameters, config, functions(None) if center is None else functions, center)
    p, slope = jnp.split(found, 2, axis=1)
    real = jnp.ones(len(p), p.dtype) if labels.shard is None else labels.shard.real.astype(p.dtype)
    n = real.sum()
    return real @ p / n, real @ (p * (1 - p)) / n**2, real @ slope / n
