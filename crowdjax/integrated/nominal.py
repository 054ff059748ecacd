"""The integrated model of K classes: an instance's position is a point of a space, and is integrated out.

    x_j | z_j = k ~ N(e_k, ρ² I)        y_j = Bᵀ x_j,  B [K, K-1] an orthonormal basis of contrasts
    P(L_ij = l | y_j) = softmax_l( B (A_i y_j + b_i) )
    A_i ~ N(Ā, s² v vᵀ + t² (I - v vᵀ)),  v = vec Ā / |Ā|        b_i ~ N(b̄, r² I)        π_k ∝ (share of votes)^e

A_i is a labeler's response to every contrast of classes, b_i a bias towards labels. Along v labelers differ in skill,
across v in what they confuse: Ā, b̄, t and r are learned. s is not: with few labels per labeler it diverges (to 20 on
the set labelme), since giving a labeler more weight makes that labeler appear more accurate. No class is preferred:
renaming classes rotates B. Labels hardly distinguish a class prior from a bias of the whole crowd, so one number of the
prior is learned, ½ ≤ e ≤ 3 (``observation.nominal``). ρ decreases with K, so that an instance is nearest to its own
class as often as with two classes.

Narrower forms have A_i = a_i A, with a_i a number:

    skill          A = I, for many classes
    ordinal        x_j ∈ R, x | z = k ~ N(k, ρ²), classes at even distances around 0; logits a_i l x_j + b_il: who errs
                   errs by one grade
    exchangeable   A = I, b_i = 0, e = 0: classes that mean nothing across instances

The integral over y is a sum over points: quasi-random normal ones, as many around each class, or a grid where y has one
dimension. A fit is EM: w_i = (A_i, b_i) climbs by Newton steps, the population by modes and Laplace covariances.
"""

from __future__ import annotations

import dataclasses
from functools import cache
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from crowdjax.labels import InputError, Labels
from crowdjax.observation.nominal import exponent_step, log_power, log_prior_of_exponent, log_shares
from crowdjax.observation.table import classes_of_values, tally

Form = Literal["free", "skill", "ordinal", "exchangeable"]

PRECISION = jax.lax.Precision.HIGHEST
SPREAD = 0.8  # ρ of two classes at -1 and 1
PER_CLASS = 64  # points
SKILL, CONFUSION, BIAS = 1.0, 0.5, 1.0  # prior standard deviations of a_i, of entries of A_i, of entries of b_i
PSEUDO = 4.0  # labelers that the prior of the latter two weighs as much as
EM_LENGTH = 1.8  # of a step in e, times EM's own, which are short
NEWTON_STEPS, FIRST_STEPS, LONGEST = 2, 8, 2.0
GRADE_NOISE = 0.8  # of ρ
BATCH = 64  # labelers whose curvatures are made at once


@cache
def spread(n_classes: int, of_two: float = SPREAD) -> float:
    """Compute ρ for K classes such that P(the largest x_k is the class's own) equals that of two classes at -1 and 1
    with ``of_two``.

    Example:
        >>> [round(spread(k, 0.8), 3) for k in (2, 3, 4, 5, 10)]
        [0.566, 0.457, 0.415, 0.391, 0.34]
    """
    from scipy.optimize import brentq  # slow to import
    from scipy.stats import norm  # slow to import

    t = np.linspace(-8, 8, 2001)
    right = norm.cdf(1 / of_two)
    own = lambda rho: np.trapezoid(norm.pdf(t) * norm.cdf(1 / rho + t) ** (n_classes - 1), t)  # noqa: E731
    return float(brentq(lambda rho: own(rho) - right, 0.05, 5.0))


@cache
def spread_of_grades(n_classes: int, of_two: float = SPREAD) -> float:
    """Compute ρ for K classes on a line at distance 1 such that P(the nearest class is the instance's own) equals that
    of ``spread``.

    Example:
        >>> round(spread_of_grades(5, 0.8), 2), spread_of_grades(2, 0.8) == 0.4
        (0.33, True)
    """
    from scipy.optimize import brentq  # slow to import
    from scipy.stats import norm  # slow to import

    right = norm.cdf(1 / of_two)
    inner = (n_classes - 2) / n_classes
    own = lambda rho: norm.cdf(0.5 / rho) * (1 + inner) - inner  # noqa: E731
    return round(float(brentq(lambda rho: own(rho) - right, 0.01, 50.0)), 9)


@cache
def basis(n: int) -> Float[np.ndarray, "n n-1"]:
    """Compute n-1 orthonormal (Helmert) contrasts of n categories.

    Example:
        >>> (basis(3).T @ np.ones(3)).round(9).tolist(), (basis(3).T @ basis(3)).round(9).tolist()
        ([0.0, 0.0], [[1.0, 0.0], [0.0, 1.0]])
    """
    rows, k = np.arange(n)[:, None], np.arange(1, n)
    return (np.where(rows < k, 1.0, 0.0) - np.where(rows == k, k, 0.0)) / np.sqrt(k * (k + 1))


def sobol(n_classes: int, per_class: int, seed: int, rho: float) -> Float[np.ndarray, "G K"]:
    """Compute the points x_g: the same number around each class, the same scrambled Sobol points of the normal, centred
    and permuted with the classes.

    Example:
        >>> x = sobol(3, 16, 0, 0.4)
        >>> bool(np.allclose(x[:16].mean(0), [1, 0, 0])), bool(np.allclose(x[16:32, 1], x[:16, 0]))
        (True, True)
    """
    from scipy.stats import norm, qmc  # slow to import

    noise = norm.ppf(np.clip(qmc.Sobol(n_classes, rng=seed).random(per_class), 1e-6, 1 - 1e-6))
    noise -= noise.mean(0)
    return np.concatenate([np.eye(n_classes)[k] + rho * np.roll(noise, k, axis=1) for k in range(n_classes)])


class Nominal(eqx.Module):
    """The model with a set of points: an ``Observation`` whose arrays are data, so that sets of points share a program.

    Attributes:
        y: the points in the space of contrasts (in R where ordinal).
        given: P(point | class), [G, K].
        centers: where the classes are in that space, [K, D].
        variance: ρ².
        of_label: B of the labels, [L, L-1].
        lines: what one unit of skill adds to the logits at each point, [G, L]; None in the free form.
        first: the prior means of A and b, flat.
        biased: whether labelers have biases; and classes shares (static).
        graded: whether classes are in order: a label is then the grade whose place is nearest to x + N(0, (.8 ρ)²),
            whatever its share (static).
    """

    y: Float[Array, "G D"]
    given: Float[Array, "G K"]
    centers: Float[Array, "K D"]
    variance: Float[Array, ""]
    of_label: Float[Array, "L E"]
    lines: Float[Array, "G L"] | None
    first: tuple[Float[Array, " M"], Float[Array, " E"]]
    biased: bool = eqx.field(static=True, default=True)
    graded: bool = eqx.field(static=True, default=False)

    covaries = ("bias", "seen")  # in the order of the parameters
    neutral = True
    doubted = True  # its labelers err together, as real ones do (``observation.summaries``)
    accelerated = False  # Laplace's objective falls now and then by a little, which acceleration takes for a failure

    def renamed(self, order: Int[np.ndarray, " K"]) -> Nominal:
        """Permute the classes: the points around the n-th class move to the n-th of ``order``, so that results do not
        depend on names.
        """
        k = len(order)
        turn = basis(k).T @ np.eye(k)[np.argsort(order)].T @ basis(k) if self.y.shape[1] > 1 else np.eye(1)
        place = np.argsort(order)
        y = self.y @ jnp.asarray(turn, self.y.dtype)
        lines = None if self.lines is None or self.lines.shape[1] != k else self.lines[:, place]
        given = self.given[:, place] if self.y.shape[1] > 1 else self.given
        return dataclasses.replace(self, y=y, lines=lines if lines is not None else self.lines, given=given)

    def start(self, labels: Labels, votes: Float[Array, "I K"]):
        """Compute the maximum of Q with the vote shares as the classes' probabilities."""
        n, dtype = labels.n_labelers, jnp.result_type(float)
        real = votes if labels.shard is None else votes * labels.shard.real[:, None]
        counts, items = labels.across((tally(labels, votes), real.sum(0)))
        of_value = classes_of_values(labels.n_values, labels.n_classes, labels.places)
        said = counts.sum((0, 2)) @ jnp.asarray(of_value, dtype)
        seen, bias = (jnp.asarray(v, dtype) for v in self.first)
        params = {
            "seen": jnp.tile(seen, (n, 1)),
            "bias": jnp.tile(bias, (n, 1)),
            "unknown": jnp.zeros((n, 3), dtype),
            "volume": jnp.zeros(n, dtype),
            "mean_seen": seen,
            "mean_bias": bias,
            "log_variances": jnp.log(self._prior_variances().astype(dtype)),
            **(log_shares(said) if self.biased else {"classes": jnp.zeros(labels.n_classes, dtype)}),
        }
        return self._climb(params, counts @ self.given.T, self.given @ items, FIRST_STEPS)

    def table(self, params):
        return jax.nn.log_softmax(self._logits(params["seen"], params["bias"]), axis=1)

    def log_classes(self, params) -> Float[Array, " K"]:
        """Compute log π."""
        return log_power(params) if self.biased else jax.nn.log_softmax(params["classes"])

    def log_points(self, params):
        return jnp.log(self.given @ jnp.exp(self.log_classes(params)))

    def class_of_point(self, params, boundary=0.0):
        """Compute P(class | y), with the classes moved by ``boundary`` [D]."""
        y = self.y - boundary
        if self.graded:
            between = (self.centers[1:, 0] + self.centers[:-1, 0]) / 2
            below = jax.scipy.stats.norm.cdf((between - y) / (GRADE_NOISE * jnp.sqrt(self.variance)))
            p = jnp.diff(jnp.pad(below, ((0, 0), (1, 1)), constant_values=(0, 1))) + jnp.finfo(y.dtype).eps
            return p / p.sum(1, keepdims=True)
        near = (y @ self.centers.T - 0.5 * (self.centers**2).sum(1)) / self.variance
        return jax.nn.softmax(self.log_classes(params) + near, axis=1)

    def log_prior(self, params):
        """Compute Laplace's log evidence of the population, less that of the labels, up to a constant."""
        variances, at_first, sizes = jnp.exp(params["log_variances"]), self._prior_variances(), self._sizes()
        of_labelers = (self._squares(params) + params["unknown"]) @ (1 / variances) - params["volume"]
        of_labelers += sizes @ params["log_variances"]
        of_variances = PSEUDO * sizes @ (params["log_variances"] + at_first / variances)
        seen, bias = self.first
        of_means = ((params["mean_seen"] - seen) ** 2).sum() + ((params["mean_bias"] - bias) ** 2).sum()
        of_population = -0.5 * (of_labelers.sum() + of_variances + of_means)
        return of_population + log_prior_of_exponent(params) if self.biased else of_population

    def specs(self, params):
        return {name: "labeler" if name in ("seen", "bias", "unknown", "volume") else None for name in params}

    def m_step(self, params, counts, points):
        return self._climb(params, counts, points, NEWTON_STEPS)

    def unseen(self, params):
        """Build the arrays of an unseen labeler: those of the population, which add 0 to the log prior."""
        sizes, log_variances = self._sizes(), params["log_variances"]
        unknown = sizes * jnp.exp(log_variances)
        volume = sizes @ log_variances + sizes.sum()
        return {"seen": params["mean_seen"], "bias": params["mean_bias"], "unknown": unknown, "volume": volume}

    def covariance(self, params, counts: Float[Array, "W L G"]) -> Float[Array, "W P P"]:
        """Compute Laplace's covariance of the arrays that ``covaries`` names, (b_i, A_i), given the population."""
        own, m = (params["seen"], params["bias"], counts), params["seen"].shape[1]
        order = np.r_[m : m + params["bias"].shape[1], :m]
        return jax.lax.map(lambda o: inverse(self._newton(params, *o)[1])[0][order][:, order], own, batch_size=BATCH)

    def _logits(self, seen, bias) -> Float[Array, "... L G"]:
        """Of one labeler, or of many."""
        biases = bias @ self.of_label.T if self.biased else jnp.zeros((*bias.shape[:-1], len(self.of_label)))
        if self.lines is not None:
            return seen[..., :, None] * self.lines.T + biases[..., None]
        a = seen.reshape(*seen.shape[:-1], self.of_label.shape[1], self.y.shape[1])
        return jnp.einsum("le,...ed,gd->...lg", self.of_label, a, self.y, precision=PRECISION) + biases[..., None]

    def _newton(self, params, seen, bias, counts):
        """Return gradient and curvature of one labeler's part of Q in w = (A, b), [P] and [P, P]."""
        p, total = jax.nn.softmax(self._logits(seen, bias), axis=0), counts.sum(0)
        residual = counts - total * p
        skill, confusion, own = jnp.exp(-params["log_variances"])
        unit = _unit(params)
        prior = confusion * jnp.eye(len(seen)) + (skill - confusion) * jnp.outer(unit, unit)
        prior = jax.scipy.linalg.block_diag(prior, own * jnp.eye(len(bias)))
        gap = jnp.concatenate([seen - params["mean_seen"], bias - params["mean_bias"]])
        b = self.of_label
        if self.lines is not None:  # logits = a line + B b
            z = jnp.concatenate([self.lines.T[:, :, None], jnp.broadcast_to(b[:, None], (*p.shape, b.shape[1]))], 2)
            z = z[:, :, : len(gap)]
            mean = jnp.einsum("lg,lgp->gp", p, z)
            gradient = jnp.einsum("lg,lgp->p", residual, z, precision=PRECISION)
            curvature = jnp.einsum("lg,lgp,lgq->pq", total * p, z, z) - jnp.einsum("g,gp,gq->pq", total, mean, mean)
            return gradient - prior @ gap, curvature + prior
        phi = jnp.pad(self.y, ((0, 0), (0, 1)), constant_values=1.0)  # logits = B [A b] (y, 1)
        e, d = b.shape[1], phi.shape[1]
        mean = b.T @ p
        square = jnp.einsum("le,lf,lg->efg", b, b, p) - mean[:, None] * mean
        outer = (phi[:, :, None] * phi[:, None, :]).reshape(-1, d * d)
        curvature = ((square * total).reshape(e * e, -1) @ outer).reshape(e, e, d, d).transpose(0, 2, 1, 3)
        gradient = jnp.matmul(b.T @ residual, phi, precision=PRECISION)
        order = np.arange(e * d).reshape(e, d)
        order = np.concatenate([order[:, :-1].ravel(), order[:, -1]])  # (A, b), from [A b] row by row
        return gradient.ravel()[order] - prior @ gap, curvature.reshape(e * d, -1)[order][:, order] + prior

    def _climb(self, params, counts, points, n_steps):
        m = params["seen"].shape[1]

        def one(own):
            seen, bias, counts = own

            def newton(_, w):
                gradient, curvature = self._newton(params, w[:m], w[m:], counts)
                step = inverse(curvature)[0] @ gradient
                return w + step * jnp.minimum(1, LONGEST / jnp.maximum(jnp.linalg.norm(step), 1e-9))

            w = jax.lax.fori_loop(0, n_steps, newton, jnp.concatenate([seen, bias]))
            curvature = self._newton(params, w[:m], w[m:], counts)[1]
            (covariance, log_det), unit = inverse(curvature), _unit(params)
            each, along = jnp.diag(covariance), unit @ covariance[:m, :m] @ unit
            unknown = jnp.stack([along, each[:m].sum() - along, each[m:].sum()])
            return w[:m], w[m:], unknown, -log_det

        seen, bias, unknown, log_det = jax.lax.map(one, (params["seen"], params["bias"], counts), batch_size=BATCH)
        volume = log_det + unknown @ jnp.exp(-params["log_variances"]) - self._sizes().sum()
        new = {**params, "seen": seen, "bias": bias, "unknown": unknown, "volume": volume}
        given = (counts.sum((1, 2)) > 0).astype(volume.dtype)
        new = self._population(new, given)
        of_nobody = self.unseen(new)
        held = {name: jnp.where(given.reshape((-1,) + (1,) * (new[name].ndim - 1)) > 0, new[name], value)
                for name, value in of_nobody.items()}  # fmt: skip
        new = {**new, **held}
        if not self.biased:
            return new
        pi = jnp.exp(self.log_classes(params))
        items = points @ (self.given * pi / (self.given @ pi)[:, None])
        return {**new, "exponent": exponent_step(params, items, EM_LENGTH)}

    def _population(self, params, given):
        """Return means and variances of the population, from the modes of its labelers and what is unknown of them."""
        n, unit = given.sum(), _unit(params)
        skill, confusion, own = jnp.exp(params["log_variances"])
        first, first_bias = self.first
        ahead = lambda v: (v @ unit) * unit  # noqa: E731
        total = given @ params["seen"]
        along = (ahead(total) / skill + ahead(first)) / (n / skill + 1)
        across = ((total - ahead(total)) / confusion + first - ahead(first)) / (n / confusion + 1)
        bias = (given @ params["bias"] / own + first_bias) / (n / own + 1)
        params = {**params, "mean_seen": along + across, "mean_bias": bias}
        squares = given @ (self._squares(params) + params["unknown"]) / jnp.maximum(self._sizes(), 1)
        variances = (squares + PSEUDO * self._prior_variances()) / (n + PSEUDO)
        learned = jnp.array([False, True, True]) & (self._sizes() > 0)
        variances = jnp.where(learned, variances, self._prior_variances())
        return {**params, "log_variances": jnp.log(variances)}

    def _sizes(self) -> Float[Array, " 3"]:
        """Return how many numbers of a labeler are skill, confusions and bias."""
        return jnp.array([1.0, len(self.first[0]) - 1.0, len(self.first[1])])

    def _prior_variances(self) -> Float[Array, " 3"]:
        return jnp.array([len(self.first[0]) ** 0.5 * SKILL**2, CONFUSION**2, BIAS**2])

    def _squares(self, params) -> Float[Array, "W 3"]:
        """Return squared distances of each labeler from the population: in skill, in confusions, in bias."""
        gap = params["seen"] - params["mean_seen"]
        along = gap @ _unit(params)
        across = ((gap - along[:, None] * _unit(params)) ** 2).sum(1)
        return jnp.stack([along**2, across, ((params["bias"] - params["mean_bias"]) ** 2).sum(1)], axis=1)


def inverse(a: Float[Array, "P P"]) -> tuple[Float[Array, "P P"], Float[Array, ""]]:
    """Compute the inverse and log determinant of a positive definite matrix by Gauss-Jordan elimination; vmap it for
    many.

    The usual solvers take a hundred times as long for many matrices of 50 rows, where threads wait for each other.

    Example:
        >>> found, log_det = inverse(jnp.array([[2.0, 1.0], [1.0, 1.0]]))
        >>> found.tolist(), abs(float(log_det)) < 1e-6
        ([[1.0, -1.0], [-1.0, 2.0]], True)
    """
    n = len(a)

    def pivot(i, carry):
        rows, log_det = carry
        row = rows[i] / rows[i, i]
        return (rows - rows[:, i, None] * row).at[i].set(row), log_det + jnp.log(rows[i, i])

    rows = jnp.concatenate([a, jnp.eye(n, dtype=a.dtype)], axis=1)
    rows, log_det = jax.lax.fori_loop(0, n, pivot, (rows, jnp.zeros((), a.dtype)))
    return rows[:, n:], log_det


def _unit(params) -> Float[Array, " M"]:
    """Return v, the direction of the crowd's skill."""
    return params["mean_seen"] / jnp.linalg.norm(params["mean_seen"])


def nominal(
    n_classes: int,
    n_values: int | None = None,
    form: Form = "free",
    *,
    places: tuple[float, ...] | None = None,
    seed: int = 0,
    per_class: int = PER_CLASS,
    of_two: float = SPREAD,
) -> Nominal:
    """Build the integrated model of K classes with its points.

    Args:
        n_values: L, the number of values of a label; default: the number of classes.
        form: one of the forms described in the module.
        places: see ``Labels``.
        seed: seed of the scrambling of the points.
        per_class: number of points around each class.
        of_two: ρ of two classes at -1 and 1, to which the ρ of K classes corresponds.

    Example:
        >>> nominal(4).y.shape, nominal(5, form="ordinal").y.shape
        ((256, 3), (61, 1))
    """
    from scipy.stats import norm  # slow to import

    if form not in get_args(Form):
        raise InputError(f"form: got {form!r}; allowed: {', '.join(get_args(Form))}")
    k, n_values = n_classes, n_values or n_classes
    of_label, lines = basis(n_values), None
    if form == "ordinal":
        centers, values = (np.arange(n) - (n - 1) / 2 for n in (k, n_values))
        centers, values = centers[:, None], values * (k - 1) / (n_values - 1)
        rho = spread_of_grades(k, of_two)
        y = np.linspace(centers[0] - 4 * rho, centers[-1] + 4 * rho, 12 * k + 1)
        first = np.ones(1), -0.5 * of_label.T @ values**2
        lines = y * values
    else:
        rho, b = spread(k, of_two), basis(k)
        centers, same = b, classes_of_values(n_values, k, places)
        x = sobol(k, per_class, seed, rho)
        y, first = x @ b, ((of_label.T @ same @ b).ravel(), np.zeros(n_values - 1))
        if form != "free":
            first, lines = (np.ones(1), first[1]), (y @ b.T) @ same.T
        if form == "exchangeable":
            first = first[0], np.zeros(0)
    if y.shape[1] == 1:
        if form != "ordinal":
            y = np.linspace(centers.min() - 4 * rho, centers.max() + 4 * rho, 41)[:, None]
            lines = None if lines is None else (y @ basis(2).T) @ same.T
        given = norm.pdf(y, centers.T, rho)
        given /= given.sum(0)
    else:
        given = np.repeat(np.eye(k), per_class, axis=0) / per_class
    to = lambda v: jnp.asarray(v, jnp.result_type(float))  # noqa: E731
    arrays = (to(y), to(given), to(centers), to(rho**2), to(of_label), None if lines is None else to(lines))
    return Nominal(*arrays, (to(first[0]), to(first[1])), form != "exchangeable", form == "ordinal")
