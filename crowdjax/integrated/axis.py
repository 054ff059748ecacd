"""The labelers' posterior by quadrature: the unit of the axis averaged over, each labeler's skew kept.

    t           of the unit of x: A = diag(eᵗ, 1), μ_t = A μ, Σ_t = A Σ Aᵀ, labelers at their modes given these
    weight(t)   ∝ exp(4 t) p(μ_t, Σ_t) p(L | w) Π_i ∫ p_i(w' | t) dw' / p_i(w_i | t)      4 t: log |d(Aμ, AΣAᵀ)|
    p_i(w | t)  ∝ N(w | μ_t, Σ_t) Π_j Σ_g q_j∖i(g) σ(L_ij w·φ_g)          q_j∖i ∝ q_j(g) / σ(L_ij w_i·φ_g)

EM's population stands where Σ_i ½ log|V_i| is held, which changes with the unit: it is short of the posterior's mean.
Points of p_i(w | t) are those of a bivariate t around the mode, weighted by p_i; all labelers take the same ones. The
origin of the axis is normal, by its information (``fit.shared``).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri
from jaxtyping import Array, Float

from crowdjax.factor.features import PRECISION
from crowdjax.integrated.draws import Draws, lattice
from crowdjax.integrated.fit import IntegratedFit, laplace, log_population, newton, observed
from crowdjax.integrated.kernels import grid_pass, leave_one_out, missing_information
from crowdjax.integrated.model import Features, IntegratedConfig, Parameters, centers, labeler_means
from crowdjax.labels import Labels
from crowdjax.stored import stored

UNITS = np.linspace(-2.4, 2.4, 9)  # values of t, in standard deviations from its mode
PASSES = 5  # over the labels, at each t
PER_UNIT = 72  # points of each labeler's posterior at each t
FREEDOM = 6.0  # degrees of freedom of their distribution
LARGEST = 100_000  # labels, beyond which quadrature takes longer than it is worth
LAPLACE = 256  # points of Laplace's posterior


def has_axis(config: IntegratedConfig) -> bool:
    """Test whether the unit of the axis is learned with the population, so that it can be averaged over."""
    return config.hierarchy and config.spread != 0


def rows_of_unit(config: IntegratedConfig, n: int) -> int:
    """Return how many consecutive ones of n ``axis_draws`` are of the same unit of the axis.

    Example:
        >>> rows_of_unit(IntegratedConfig(), 648), rows_of_unit(IntegratedConfig(spread=0.0), 324)
        (72, 324)
    """
    return PER_UNIT if has_axis(config) else n


def moved(parameters: Parameters, by: Float[Array, "K K"]) -> Parameters:
    """Transform labelers and their population by w → A w.

    Example:
        >>> from crowdjax.integrated.model import start
        >>> moved(start(IntegratedConfig(), 1), jnp.array([[2.0, 0.0], [0.0, 1.0]])).labelers.tolist()
        [[2.0, 0.0]]
    """
    turn = lambda v: None if v is None else jnp.matmul(v, by.T, precision=PRECISION)  # noqa: E731
    return parameters._replace(
        labelers=turn(parameters.labelers),
        mean=turn(parameters.mean),
        covariance=turn(turn(parameters.covariance).T),
        labeler_weights=turn(parameters.labeler_weights),
    )


@stored
def axis_draws(labels: Labels, fit: IntegratedFit, config: IntegratedConfig, features: Features = Features()) -> Draws:
    """Draw weighted samples of the labelers' posterior of one factor, by quadrature: some hundred passes over the
    labels. Deterministic.

    Example: three labelers, of whom one contradicts the others
        >>> from crowdjax.integrated import fit_jit
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> found = axis_draws(labels, fit_jit(labels), IntegratedConfig())
        >>> mean = (found.weight[..., None] * found.labelers).sum(0)
        >>> int(mean[:, 0].argmin())
        2
    """
    design = jnp.asarray(config.design, fit.parameters.labelers.dtype)
    center, seen = centers(fit.parameters, features), fit.counts > 0

    def at(parameters: Parameters):
        """Return the modes of the labelers, and Laplace's log evidence of the population."""

        def step(w, _):
            given = parameters._replace(labelers=w)
            return newton(given, grid_pass(labels, given, config, center=center).counts, design, 2, features), None

        w = jax.lax.scan(step, parameters.labelers, None, length=PASSES)[0]
        parameters = parameters._replace(labelers=w)
        e = grid_pass(labels, parameters, config, center=center)
        covariance = laplace(parameters, e.counts, design)
        return parameters, covariance, e.evidence + log_population(parameters, covariance, e.counts, config, features)

    def scale(t):
        return jnp.diag(jnp.ones(2, design.dtype).at[0].set(jnp.exp(t)))

    def along(units):
        """Return at every t, from the lowest upwards."""

        def step(carry, t):
            parameters, last = carry
            parameters, covariance, value = at(moved(parameters, scale(t - last)))
            return (parameters, t), (parameters, covariance, value + 4 * t)

        return jax.lax.scan(step, (moved(fit.parameters, scale(units[0])), units[0]), units)[1]

    if has_axis(config):
        h = jnp.clip(2 * jnp.sqrt(fit.axis[0, 0]), 0.01, 0.5)
        low, middle, high = along(jnp.array([-1.0, 0.0, 1.0], h.dtype) * h)[2]
        bend = jnp.maximum((2 * middle - low - high) / h**2, 0.25 / h**2)  # no wider than the steps that it is seen by
        mode = jnp.clip((high - low) / (2 * h * bend), -2 * h, 2 * h)
        units = mode + jnp.asarray(UNITS, h.dtype) / jnp.sqrt(bend)
        parameters, covariance, value = along(units)
    else:
        parameters, covariance, value = jax.tree.map(lambda v: v[None], at(fit.parameters))

    n = PER_UNIT if has_axis(config) else PER_UNIT * len(UNITS) // 2
    u = jnp.asarray(lattice(len(value) * n, 3).reshape(len(value), n, 3), design.dtype)

    def points(given):
        parameters, covariance, u = given
        missing = missing_information(labels, parameters, config, center)
        root = jnp.linalg.cholesky(observed(covariance, missing))
        radius, angle = jnp.sqrt(FREEDOM * (u[:, 0] ** (-2 / FREEDOM) - 1)), 2 * jnp.pi * u[:, 1]
        z = radius[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=1)
        z = jnp.concatenate([z, jnp.zeros((1, 2), z.dtype)])  # the last: the mode itself
        w = parameters.labelers + jnp.einsum("wij,sj->swi", root, z, precision=PRECISION)
        gap = w - labeler_means(parameters, features)
        log_p = -0.5 * jnp.einsum("swi,ij,swj->sw", gap, jnp.linalg.inv(parameters.covariance), gap)
        log_p += leave_one_out(labels, parameters, config, w, center)
        log_ratio = log_p[:-1] + 0.5 * (FREEDOM + 2) * jnp.log1p(radius**2 / FREEDOM)[:, None]  # to the proposal
        volume = jax.nn.logsumexp(log_ratio, axis=0) - log_p[-1] + jnp.log(root[:, 0, 0] * root[:, 1, 1])
        laplaces = 0.5 * jnp.log(jnp.linalg.det(covariance))
        return w[:-1], jax.nn.softmax(log_ratio, axis=0), jnp.where(seen, volume - laplaces, 0).sum()

    w, weight, volume = jax.lax.map(points, (parameters, covariance, u))
    weight = jax.nn.softmax(value + volume)[:, None, None] * weight
    origin = _origin_sd(fit.axis) * ndtri(u[..., 2])[..., None]
    w = w.at[..., 1].add(origin * w[..., 0])
    w, weight = (v.reshape(-1, *v.shape[2:]) for v in (w, weight))
    return Draws(w, weight, *_alike(fit.parameters, len(w)))


@stored
def laplace_draws(fit: IntegratedFit, n: int = LAPLACE) -> Draws:
    """Draw labelers from normal distributions around their modes, with Laplace's covariances: no pass over the labels.

    Example:
        >>> from crowdjax.integrated import fit_jit
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> laplace_draws(fit_jit(labels)).labelers.shape
        (256, 3, 2)
    """
    mode = fit.parameters.labelers
    z = ndtri(jnp.asarray(lattice(n, mode.shape[1]), mode.dtype))
    values, vectors = jnp.linalg.eigh(fit.covariance)
    root = vectors * jnp.sqrt(jnp.maximum(values, 0))[:, None]
    w = mode + jnp.einsum("wij,sj->swi", root, z, precision=PRECISION)
    return Draws(w, jnp.full(w.shape[:2], 1 / n, w.dtype), *_alike(fit.parameters, n))


def _origin_sd(axis: Float[Array, "2 2"]) -> Float[Array, ""]:
    """Return the standard deviation of the axis' origin where its unit is known."""
    return jnp.sqrt(jnp.maximum(axis[1, 1] - axis[0, 1] ** 2 / jnp.maximum(axis[0, 0], 1e-12), 0))


def _alike(parameters: Parameters, n: int):
    return (jnp.full(n, v) for v in (parameters.spread, parameters.prior_logit))
