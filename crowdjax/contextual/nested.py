"""The posterior as a mixture of Gaussians: a nested Laplace approximation that follows the bend of the prevalence.

θ_1, ..., θ_K are scales and length-scales, spread evenly over their prior. At each of them the rest w has a mode, and
with t(w) the logit of the mean prevalence, the posterior is cut into overlapping windows along t,

    p(w | L, θ) ∝ Σ_m p(L | w, θ) N(w; 0, I) exp( -½ ((t(w) - t_m) / h)² )        t_m = t̂ + m h

(the windows of spacing h add up to a constant but for 1e-8), each close to a Gaussian by itself: its mode and curvature
give its mean, its covariance and its evidence,

    log E_km = log p(L, ŵ_km | θ_k) - ½ ((t(ŵ_km) - t_m) / h)² - ½ log |A_km|,     posterior ≈ Σ_km E_km N(ŵ_km, A_km⁻¹)

One Gaussian cannot follow the ridge along which prevalence, sensitivity and specificity change together where instances
have few labels; windows can.

Source: nested Laplace after Rue, Martino and Chopin 2009; the windows are ours (docs/contextual.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy import special
from scipy.linalg import cho_solve, solve_triangular
from scipy.stats import qmc

from crowdjax import optimize
from crowdjax.contextual.config import ContextualConfig
from crowdjax.contextual.coordinates import SOME_LABELS, Coordinates, given_there, quadratic, some_blocks
from crowdjax.contextual.data import Data
from crowdjax.contextual.diagnostics import Psis, pareto_smooth
from crowdjax.contextual.mode import Peak, Posterior, climb, few_threads
from crowdjax.contextual.model import block_values, coefficients_of, scales_of, size_of
from crowdjax.drive import Progress, silent

MOST_SCALES = 64  # θ of the design
WORK, LABELS_WORK = 2e10, 6e6  # of a design: its points times (number of unknowns)³, and times labels
MOST_WINDOWS = 16  # to either side of the mode
SPACING = 1.5  # of windows, and their width, in standard deviations of t at the mode
FAINT = 5.0  # nats below the best, where windows and scales no longer count
ROUND = 0.15  # nats by which windows may be off a parabola, where a Gaussian does without them
MOST_DRAWS, LABELS_CHECKED = 4000, 2e7  # candidates; times labels, at most
USED = 1.0  # Pareto k-hat up to which weights have a mean, and bring the draws nearer to the posterior
WHOLE = np.log(np.sqrt(2 * np.pi))  # log of what windows of spacing h and width h add up to


class Mixture(NamedTuple):
    """Components N(mean, (chol cholᵀ)⁻¹) of w at θ, and their log weights, of sum one."""

    theta: Float[np.ndarray, "C K"]
    mean: Float[np.ndarray, "C M"]
    chol: Float[np.ndarray, "C M M"]
    log_weights: Float[np.ndarray, " C"]


class Approximation(NamedTuple):
    """The mixture, the coordinates at its highest mode, the objective of each mode, and the worst result code."""

    mixture: Mixture
    coordinates: Coordinates
    trace: Float[np.ndarray, " T"]
    code: int


def approximate(config: ContextualConfig, data: Data, weights=None, report: Progress = silent) -> Approximation:
    """Return the mixture that stands for the posterior.

    Args:
        weights: of the distinct inputs (``data.bins``) in the mean prevalence, shape [B]; None: alike.

    Example: without scales there is one θ, and windows alone
        >>> from crowdjax.contextual.data import prepare_data
        >>> found_here = approximate(config, prepare_data(config, labels, found.scale(scores)))
        >>> found_here.mixture.theta.shape[1], found_here.mixture.mean.shape[1]
        (0, 4)
    """
    weights = None if weights is None else np.asarray(weights, np.float64) / np.sum(weights)
    with few_threads(size_of(config, data)):
        return _approximate(config, data, weights, report)


def _approximate(config: ContextualConfig, data: Data, weights, report: Progress) -> Approximation:
    k = scales_of(config, data)
    size = size_of(config, data) - k
    posterior, dtype = Posterior(config, data, weights), data.basis.x.dtype
    part, factor = some_blocks(data, SOME_LABELS)
    most = min(WORK / size**3, LABELS_WORK / max(data.labels.label.shape[0], 1))
    thetas = design(k, int(np.clip(most, 1, MOST_SCALES)))
    peaks, objective, around = [], {}, None
    for i, theta in enumerate(thetas):
        report("mode", i, 2 * len(thetas), **objective)
        w = np.zeros(size)
        if around is not None:  # at other scales the labels' quadratic is nearly the same
            w = np.asarray(given_there(config, data, around, jnp.asarray(theta, dtype)).mean, np.float64)
        elif part is not data:
            w = climb(Posterior(config, part, weights, factor), theta, w).w
        peaks.append(climb(posterior, theta, w))
        if part is not data and around is None:
            around = quadratic(config, data, jnp.asarray(theta, dtype), jnp.asarray(peaks[0].w, dtype))
        objective = {"objective": -peaks[-1].value}
    order = likely(peaks)
    mixture = mixture_of(posterior, thetas[order], [peaks[i] for i in order], report)
    trace = np.array([p.value for p in peaks])
    at = _coordinates(config, data, mixture, thetas[order[0]], peaks[order[0]])
    return Approximation(mixture, at, trace, worst_of(peaks))


def likely(peaks: Sequence[Peak]) -> Int[np.ndarray, " n"]:
    """Return the peaks whose evidence counts beside the best one's, the best first."""
    evidence = np.array([p.log_evidence for p in peaks])
    order = np.argsort(-evidence)
    return order[evidence[order] > evidence.max() - FAINT]


def mixture_of(posterior, thetas: Float[np.ndarray, "n K"], peaks: Sequence[Peak], report: Progress) -> Mixture:
    """Return the mixture around some peaks, each cut into windows until one is a Gaussian's.

    Args:
        posterior: gives ``mode.At`` at (θ, w), as :class:`crowdjax.contextual.mode.Posterior` does.
        thetas, peaks: the best first.
    """
    parts, gaussian = [], False
    for n, (theta, peak) in enumerate(zip(thetas, peaks, strict=True)):
        report("mode", len(peaks) + n, 2 * len(peaks), objective=-peak.value)
        if gaussian:
            parts.append((theta, peak, peak.log_evidence + WHOLE))
            continue
        found, gaussian = windows(posterior, theta, peak)
        parts += [(theta, part, part.log_evidence) for part in found]
    logs = np.array([log for *_, log in parts])
    parts = [part for part, log in zip(parts, logs, strict=True) if log > logs.max() - 2 * FAINT]
    theta, peak, logs = zip(*parts, strict=True)
    return Mixture(
        np.array(theta).reshape(len(parts), thetas.shape[1]),
        np.array([p.w for p in peak]),
        np.array([p.chol for p in peak]),
        np.array(logs) - special.logsumexp(logs),
    )


def worst_of(peaks: Sequence[Peak]) -> int:
    """Return the worst result code."""
    codes = [p.code for p in peaks]
    return optimize.MAX_STEPS if optimize.MAX_STEPS in codes else max(codes)


def design(n_unknown: int, n: int = MOST_SCALES) -> Float[np.ndarray, "n K"]:
    """Spread points evenly over N(0, I): the middle, and Sobol's through the normal quantile.

    Example:
        >>> design(2, 4).shape, design(0).shape
        ((4, 2), (1, 0))
    """
    middle = np.zeros((1, n_unknown))
    if not n_unknown or n == 1:
        return middle
    return np.r_[middle, special.ndtri(qmc.Sobol(n_unknown, scramble=True, rng=0).random(MOST_SCALES)[: n - 1])]


def windows(posterior: Posterior, theta, peak: Peak) -> tuple[list[Peak], bool]:
    """Return (the peak's neighbourhood cut along t, from it outwards until nothing is left; whether it is a
    Gaussian's)."""
    direction = cho_solve((peak.chol, True), peak.at.level_slope)
    h = SPACING * np.sqrt(direction @ peak.at.level_slope)
    level = peak.at.level
    centre = climb(posterior, theta, peak.w, (level, h))
    found, best, off = [centre], centre.log_evidence, 0.0
    for sign in (1, -1):
        last = centre
        for m in range(1, MOST_WINDOWS + 1):
            step = cho_solve((last.chol, True), last.at.level_slope)
            step *= sign * h / (step @ last.at.level_slope)
            last = climb(posterior, theta, last.w + step, (level + sign * m * h, h))
            found.append(last)
            best = max(best, last.log_evidence)
            fall = centre.log_evidence - last.log_evidence
            off = max(off, abs(fall - 0.5 * m**2 / (1 + SPACING**-2))) if m <= 2 else off
            if last.log_evidence < best - FAINT:
                break
    return found, off < ROUND


def _coordinates(config, data: Data, mixture: Mixture, theta, peak: Peak) -> Coordinates:
    """Return the quadratic at a mode, with the mean and the spread of θ in the mixture."""
    dtype = data.basis.x.dtype
    q = quadratic(config, data, jnp.asarray(theta, dtype), jnp.asarray(peak.w, dtype))
    p = np.exp(mixture.log_weights)
    centre = p @ mixture.theta
    spread = (mixture.theta - centre).T * p @ (mixture.theta - centre) + LEAST_SPREAD * np.eye(len(centre))
    root = np.linalg.cholesky(spread) if len(centre) else np.zeros((0, 0))
    return Coordinates(q, jnp.asarray(centre, dtype), jnp.asarray(root, dtype))


LEAST_SPREAD = 0.1  # of θ, which the design knows at a few points only; a priori 1


def draw(mixture: Mixture, n: int, seed: np.random.Generator) -> Float[np.ndarray, "n P"]:
    """Draw n times u = (θ, w), each component about as often as its weight says, in random order."""
    p = np.exp(mixture.log_weights)
    edges = np.cumsum(p) / p.sum()
    which = np.minimum(np.searchsorted(edges, (np.arange(n) + seed.random()) / n), len(p) - 1)
    noise = seed.standard_normal((n, mixture.mean.shape[1]))
    w = np.empty_like(noise)
    for c in np.unique(which):
        rows = which == c
        w[rows] = mixture.mean[c] + solve_triangular(mixture.chol[c], noise[rows].T, lower=True, trans=1).T
    u = np.concatenate([mixture.theta[which], w], 1)
    return u[seed.permutation(n)]


def log_density(mixture: Mixture, u: Float[np.ndarray, "n P"]) -> Float[np.ndarray, " n"]:
    """Return log q(θ, w) of draws, up to a constant: of w by all components at the draw's θ."""
    k = mixture.theta.shape[1]
    norm = mixture.log_weights + np.log(np.einsum("cii->ci", mixture.chol)).sum(1)
    out = np.full(len(u), -np.inf)
    for theta in np.unique(mixture.theta, axis=0):
        rows = (u[:, :k] == theta).all(1)
        for c in np.flatnonzero((mixture.theta == theta).all(1)):
            z = (u[rows, k:] - mixture.mean[c]) @ mixture.chol[c]
            out[rows] = np.logaddexp(out[rows], norm[c] - 0.5 * (z**2).sum(1))
    return out


def posterior_draws(
    config: ContextualConfig, data: Data, mixture: Mixture, n: int, seed: np.random.Generator, judged: bool = True
) -> tuple[Float[np.ndarray, "n P"], Psis | None]:
    """Return (n draws of the posterior, the smoothed weights that lead from the mixture to it).

    Candidates of the mixture are resampled by their weights, evenly, where there are at least twice as many as draws
    and their k-hat is below 1; otherwise the draws are the mixture's, and without weights where nobody asks for them
    (``judged``).
    """
    n_labels = max(data.labels.label.shape[0], 1)
    n_checked = int(np.clip(LABELS_CHECKED / n_labels, 100, MOST_DRAWS))
    u = draw(mixture, max(n, n_checked), seed)
    if n_checked < 2 * n and not judged:
        return u[:n], None
    smoothed = importance(config, data, mixture, u[:n_checked])
    return resampled(u, smoothed, n, seed), smoothed


def resampled(u: Float[np.ndarray, "m P"], smoothed: Psis, n: int, seed: np.random.Generator) -> np.ndarray:
    """Resample n of some candidates by the weights of the first of them, evenly; the first n where there are too few
    weights, or where these have no mean."""
    if len(smoothed.log_weights) < 2 * n or not smoothed.khat < USED:
        return u[:n]
    edges = np.cumsum(np.exp(smoothed.log_weights))
    at = np.searchsorted(edges, (np.arange(n) + seed.random()) / n * edges[-1])
    return u[seed.permutation(np.minimum(at, len(edges) - 1))]


def importance(config: ContextualConfig, data: Data, mixture: Mixture, u: Float[np.ndarray, "n P"]) -> Psis:
    """Return the smoothed weights of draws of the mixture towards the posterior."""
    k, dtype = mixture.theta.shape[1], data.basis.x.dtype
    values = np.asarray(_values(config, data, jnp.asarray(u, dtype), k), np.float64).sum(1)
    return pareto_smooth(values - 0.5 * (u[:, k:] ** 2).sum(1) - log_density(mixture, u))


@eqx.filter_jit
def _values(config, data, u, k: int):
    of = lambda one: block_values(config, data, one[:k], coefficients_of(config, data, one[:k], one[k:]))  # noqa: E731
    return jax.lax.map(of, u)
