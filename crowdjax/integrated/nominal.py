"""The integrated model of K classes: what an item shows is a point of a space of contrasts, and is integrated out.

    x_j | z_j = k ~ N(e_k, ρ² I)                      y_j = Bᵀ x_j,  B [K, K-1] an orthonormal basis of contrasts
    P(L_ij = l | y_j) = softmax_l( B (A_i y_j + b_i) )
    A_i ~ N(Ā, s² v vᵀ + t² (I - v vᵀ)),  v = vec Ā / |Ā|         b_i ~ N(b̄, r² I)

A_i says how a labeler sees every contrast of classes, b_i what he is inclined to say. Along v labelers differ in skill,
across v in what they confuse: where t² goes to 0, A_i = a_i Ā. Nothing here prefers a class: renaming them turns B.

The integral over y is a sum over points, as many around each class: quasi-random normal ones, or a grid at K = 2.
ρ gets smaller with K, so that an item shows its own class as often as with two.
"""

from __future__ import annotations

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.optimize import brentq
from scipy.stats import norm, qmc

from crowdjax.labels import Labels
from crowdjax.observation.table import tally

PRECISION = jax.lax.Precision.HIGHEST
SPREAD = 0.8  # ρ of the model of two classes, whose classes are at -1 and 1
PSEUDO = 4.0  # labelers that the prior of the population weighs as much as
CONFUSION, SKILL, BIAS = 0.5, 1.0, 1.0  # their standard deviations: of an entry of A, of a_i, of an entry of b
NEWTON_STEPS, LONGEST = 2, 2.0
FIRST_STEPS = 8
EXPONENT = 0.5, 1.0  # prior mean and standard deviation of the exponent of shares
EM_LENGTH = 1.8


@cache
def spread(n_classes: int, of_two: float = SPREAD) -> float:
    """ρ for K classes: P(the largest x_k is the class's own) is that of two classes, at -1 and 1 with spread ``of_two``.

    Example:
        >>> [round(spread(k), 3) for k in (2, 3, 4, 5, 10)]
        [0.566, 0.457, 0.415, 0.391, 0.339]
    """
    t = np.linspace(-8, 8, 2001)
    right = norm.cdf(1 / of_two)
    own = lambda rho: np.trapezoid(norm.pdf(t) * norm.cdf(1 / rho + t) ** (n_classes - 1), t)  # noqa: E731
    return brentq(lambda rho: own(rho) - right, 0.05, 3.0)


@cache
def basis(n_classes: int) -> Float[np.ndarray, "K K-1"]:
    """B: K-1 orthonormal contrasts of K classes, Helmert's.

    Example:
        >>> (basis(3).T @ np.ones(3)).round(9).tolist(), (basis(3).T @ basis(3)).round(9).tolist()
        ([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    """
    rows, k = np.arange(n_classes)[:, None], np.arange(1, n_classes)
    return (np.where(rows < k, 1.0, 0.0) - np.where(rows == k, k, 0.0)) / np.sqrt(k * (k + 1))


@cache
def points_of(n_classes: int, per_class: int, seed: int, of_two: float = SPREAD) -> tuple[Float[np.ndarray, "G K-1"], Float[np.ndarray, "G K"]]:
    """Points of the integral: y_g [G, K-1], and which class each was drawn around [G, K], one-hot.

    Scrambled Sobol points of the normal, centred, the same ones around every class, turned with the classes.

    Example:
        >>> y, of_class = points_of(4, 16, 0)
        >>> y.shape, of_class.sum(0).tolist()
        ((64, 3), [16.0, 16.0, 16.0, 16.0])
    """
    unit = qmc.Sobol(n_classes, rng=seed).random(per_class)
    noise = norm.ppf(np.clip(unit, 1e-6, 1 - 1e-6))
    noise -= noise.mean(0)
    rho, b = spread(n_classes, of_two), basis(n_classes)
    x = [np.eye(n_classes)[k] + rho * np.roll(noise, k, axis=1) for k in range(n_classes)]
    return np.concatenate(x) @ b, np.repeat(np.eye(n_classes), per_class, axis=0)


class Nominal(eqx.Module):
    """The model with a set of points; an ``Observation`` whose arrays are data, so that sets of points share a program.

    Attributes:
        y: the points.
        of_class: [G, K], which class each point was drawn around, one-hot.
        basis: B.
        variance: ρ².

    Example: before any label is seen
        >>> nominal(3).y.shape
        (192, 2)
    """

    y: Float[Array, "G K-1"]
    of_class: Float[Array, "G K"]
    basis: Float[Array, "K K-1"]
    variance: Float[Array, ""]

    def start(self, labels: Labels, votes: Float[Array, "I K"]):
        """The maximum of Q where the classes are the shares of votes."""
        n, d = labels.n_labelers, self.basis.shape[1]
        dtype = jnp.result_type(float)
        real = votes if labels.shard is None else votes * labels.shard.real[:, None]
        counts, shares = labels.across((tally(labels, votes), real.sum(0)))
        of_label = counts.sum((0, 2))
        params = {
            "seen": jnp.tile(jnp.eye(d, dtype=dtype), (n, 1, 1)),
            "bias": jnp.zeros((n, d), dtype),
            "unknown": jnp.zeros((n, 3), dtype),
            "volume": jnp.zeros(n, dtype),
            "mean_seen": jnp.eye(d, dtype=dtype),
            "mean_bias": jnp.zeros(d, dtype),
            "log_variances": jnp.log(self._prior_variances().astype(dtype)),
            "shares": jnp.log((of_label + 0.5) / (of_label + 0.5).sum()),
            "exponent": jnp.asarray(EXPONENT[0], dtype),
        }
        around = (self.of_class / self.of_class.sum(0)).T
        return self._climb(params, counts @ around, shares @ around, FIRST_STEPS)

    def table(self, params):
        return jax.nn.log_softmax(self._logits(params), axis=1)

    def log_classes(self, params) -> Float[Array, " K"]:
        """log π: the classes' shares of all labels, to a power that is learned, and made to sum to 1."""
        return jax.nn.log_softmax(params["exponent"] * params["shares"])

    def log_points(self, params):
        return self.of_class @ (self.log_classes(params) - jnp.log(self.of_class.sum(0)))

    def class_of_point(self, params, boundary=0.0):
        """P(class | y), where the classes have moved by ``boundary`` [K-1]."""
        y = (self.y - boundary) @ self.basis.T
        return jax.nn.softmax(self.log_classes(params) + y / self.variance, axis=1)

    def log_prior(self, params):
        """Laplace's log evidence of the population, less that of the labels: see the module."""
        variances, at_first, sizes = jnp.exp(params["log_variances"]), self._prior_variances(), self._sizes()
        of_labelers = (self._squares(params) + params["unknown"]) @ (1 / variances) - params["volume"]
        of_labelers += sizes @ params["log_variances"]
        of_variances = PSEUDO * sizes @ (params["log_variances"] + at_first / variances)
        of_means = ((params["mean_seen"] - jnp.eye(self.basis.shape[1])) ** 2).sum() + (params["mean_bias"] ** 2).sum()
        mean, sd = EXPONENT
        of_classes = ((params["exponent"] - mean) / sd) ** 2
        return -0.5 * (of_labelers.sum() + of_variances + of_means + of_classes)

    def specs(self, params):
        return {name: "labeler" if name in ("seen", "bias", "unknown", "volume") else None for name in params}

    def m_step(self, params, counts, points):
        return self._climb(params, counts, points, NEWTON_STEPS)

    def covariance(self, params, counts) -> Float[Array, "W P P"]:
        """Laplace's covariance of w_i = vec [A_i, b_i], given the population."""
        return jnp.linalg.inv(self._newton(params, counts)[1])

    def _logits(self, params) -> Float[Array, "W L G"]:
        eta = jnp.einsum("wde,ge->wdg", params["seen"], self.y, precision=PRECISION) + params["bias"][:, :, None]
        return jnp.einsum("kd,wdg->wkg", self.basis, eta, precision=PRECISION)

    def _sizes(self):
        """Numbers of a labeler that are skill, confusions and bias."""
        d = self.basis.shape[1]
        return jnp.array([1.0, d * d - 1.0, d])

    def _prior_variances(self):
        return jnp.array([self.basis.shape[1] * SKILL**2, CONFUSION**2, BIAS**2])

    def _squares(self, params) -> Float[Array, "W 3"]:
        """Squared distances of each labeler from the population: in skill, in confusions, in bias."""
        gap = params["seen"] - params["mean_seen"]
        along = (gap * _unit(params)).sum((1, 2)) ** 2
        across = ((gap - (gap * _unit(params)).sum((1, 2), keepdims=True) * _unit(params)) ** 2).sum((1, 2))
        return jnp.stack([along, across, ((params["bias"] - params["mean_bias"]) ** 2).sum(1)], axis=1)

    def _newton(self, params, counts):
        """Gradient and curvature of each labeler's part of Q in w_i, [W, P] and [W, P, P], P = (K-1) K."""
        w, d = params["bias"].shape
        phi = jnp.pad(self.y, ((0, 0), (0, 1)), constant_values=1.0)
        total = counts.sum(1)
        p = jax.nn.softmax(self._logits(params), axis=1)
        residual = jnp.einsum("kd,wkg->wdg", self.basis, counts - total[:, None] * p, precision=PRECISION)
        skill, confusion, bias = jnp.exp(-params["log_variances"])
        unit = jnp.pad(_unit(params), ((0, 0), (0, 1))).reshape(-1)
        each = jnp.full((d, d + 1), confusion).at[:, d].set(bias).reshape(-1)
        prior = jnp.diag(each) + (skill - confusion) * jnp.outer(unit, unit)
        gap = params["seen"] - params["mean_seen"], (params["bias"] - params["mean_bias"])[:, :, None]
        gradient = jnp.einsum("wdg,ge->wde", residual, phi, precision=PRECISION).reshape(w, -1)
        gradient -= jnp.concatenate(gap, axis=2).reshape(w, -1) @ prior
        mean = jnp.einsum("kd,wkg->wdg", self.basis, p)
        square = jnp.einsum("kd,ke,wkg->wdeg", self.basis, self.basis, p) - mean[:, :, None] * mean[:, None]
        outer = (phi[:, :, None] * phi[:, None, :]).reshape(-1, (d + 1) ** 2)
        curvature = (square * total[:, None, None]).reshape(w, d, d, -1) @ outer
        curvature = curvature.reshape(w, d, d, d + 1, d + 1).transpose(0, 1, 3, 2, 4).reshape(w, d * (d + 1), -1)
        return gradient, curvature + prior

    def _climb(self, params, counts, points, n_steps):
        w, d = params["bias"].shape

        def newton(_, params):
            gradient, curvature = self._newton(params, counts)
            step = jnp.linalg.solve(curvature, gradient[..., None])[..., 0]
            step *= jnp.minimum(1, LONGEST / jnp.maximum(jnp.linalg.norm(step, axis=1, keepdims=True), 1e-9))
            step = step.reshape(w, d, d + 1)
            return {**params, "seen": params["seen"] + step[:, :, :d], "bias": params["bias"] + step[:, :, d]}

        params = jax.lax.fori_loop(0, n_steps, newton, params)
        curvature = self._newton(params, counts)[1]
        seen = (counts.sum((1, 2)) > 0).astype(curvature.dtype)
        params = self._population(params, curvature, seen)
        return {**params, "exponent": self._exponent(params, points)}

    def _population(self, params, curvature, seen):
        """Means and variances of the population from modes and covariances of its labelers."""
        d, n, unit = params["mean_bias"].shape[0], seen.sum(), _unit(params)
        covariance = jnp.linalg.inv(curvature)
        skill, confusion, bias = jnp.exp(params["log_variances"])
        sums, eye = jnp.einsum("w,wde->de", seen, params["seen"]), jnp.eye(d)
        ahead = lambda a: jnp.sum(a * unit) * unit  # noqa: E731
        mean_seen = (ahead(sums) / skill + ahead(eye)) / (n / skill + 1)
        mean_seen += ((sums - ahead(sums)) / confusion + eye - ahead(eye)) / (n / confusion + 1)
        params = {**params, "mean_seen": mean_seen, "mean_bias": seen @ params["bias"] / (n + bias)}
        unit = jnp.pad(_unit(params), ((0, 0), (0, 1))).reshape(-1)
        along = jnp.einsum("p,wpq,q->w", unit, covariance, unit)
        each = jnp.diagonal(covariance, axis1=1, axis2=2).reshape(-1, d, d + 1)
        unknown = jnp.stack([along, each[:, :, :d].sum((1, 2)) - along, each[:, :, d].sum(1)], axis=1)
        sizes, at_first = self._sizes(), self._prior_variances()
        volume = unknown @ jnp.exp(-params["log_variances"]) - jnp.linalg.slogdet(curvature)[1] - sizes.sum()
        params = {**params, "unknown": unknown, "volume": volume}
        variances = (seen @ (self._squares(params) + unknown) / jnp.maximum(sizes, 1) + PSEUDO * at_first) / (n + PSEUDO)
        return {**params, "log_variances": jnp.log(variances)}

    def _exponent(self, params, points):
        """A step of Newton's, lengthened, as EM's are short."""
        mean, sd = EXPONENT
        items, log_shares = points @ self.of_class, params["shares"]
        pi = jnp.exp(self.log_classes(params))
        first = pi @ log_shares
        gradient = items @ log_shares - items.sum() * first - (params["exponent"] - mean) / sd**2
        curvature = items.sum() * (pi @ (log_shares - first) ** 2) + 1 / sd**2
        return params["exponent"] + EM_LENGTH * gradient / curvature


def _unit(params):
    return params["mean_seen"] / jnp.linalg.norm(params["mean_seen"])


def nominal(n_classes: int, per_class: int = 64, seed: int = 0, of_two: float = SPREAD) -> Nominal:
    y, of_class = points_of(n_classes, per_class, seed, of_two)
    return Nominal(*(jnp.asarray(v, jnp.result_type(float)) for v in (y, of_class, basis(n_classes), spread(n_classes, of_two) ** 2)))
