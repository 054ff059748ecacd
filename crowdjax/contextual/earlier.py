"""The posterior of an earlier fit as the prior of the next one, of other instances and, in part, other labelers.

Scales and length-scales are held at θ. Every posterior draw is written by the weights w that say at θ what it says, and
the next fit's prior is

    w ~ N(m, V + Q)

with the draws' mean and covariance, and Q for what may have changed since: the prevalence's level by a step of the
model of periods, N(0, .3²), and each labeler's offsets by N(0, .2²). A labeler who is new has the crowd's prior
N(0, τ²).

V is estimated where the posterior is nearly isotropic: with L Lᵀ the precision of the labels' quadratic and the
prior, the covariance of Lᵀ (w - m) is shrunk towards I as far as its noise demands.

Source: docs/contextual.md, "From one batch to the next"; the shrinkage is Ledoit and Wolf's (2004, eq. 14).
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from scipy.linalg import solve_triangular

from crowdjax.contextual.data import Prior
from crowdjax.contextual.inference import ContextualFit
from crowdjax.contextual.model import DRIFT, SCALES, coefficients, labels_see, n_scales, sites, split, values

STEP = 0.3  # of the prevalence's level between two batches, on the logit scale: a standard deviation
LEAST = 1e-12  # of a weight's prior variance, the largest being about 1: the function does not see it


def carried(fit: ContextualFit, known: Int[np.ndarray, " W"], step: float = STEP) -> Prior:
    """Build the prior of the next fit, of the same settings and scale, from an earlier fit's posterior.

    Args:
        fit: the earlier fit, without periods and groups, with ``hsgp`` processes.
        known: row in it of each labeler of the next fit, -1 for a new one.
        step: standard deviation of the change of the prevalence's level since then.

    Example: the next batch has one of the labelers and two new ones
        >>> prior = carried(found, np.array([1, -1, -1]))
        >>> prior.mean.shape == prior.root.shape[:1]
        True
    """
    basis, own = fit.bases_of_inputs()
    shapes = sites(fit.config, len(fit.labels_per_labeler), basis, own)
    theta, w, precision = _at_one_scale(fit, shapes)

    def seen(w):
        draw = values(fit.config, split(jnp.concatenate([theta, w]), shapes))
        return labels_see(coefficients(fit.config, basis, own, draw))

    to_y = np.asarray(jax.jacfwd(seen)(jnp.zeros(w.shape[1])), np.float64)
    information = np.asarray(fit.coordinates.labels.precision, np.float64)
    chol = np.linalg.cholesky(precision + to_y.T @ information @ to_y)
    mean = w.mean(0)
    inner = np.linalg.cholesky(shrunk((w - mean) @ chol))
    spread = solve_triangular(chol, inner, lower=True, trans=1)  # V = spread spreadᵀ

    move, noise = _to_the_next(fit, shapes, sites(fit.config, len(known), basis, own), theta, known, step)
    moved = move @ spread
    return Prior(np.asarray(theta), move @ mean, np.linalg.cholesky(moved @ moved.T + noise))


def shrunk(z: Float[np.ndarray, "S M"]) -> Float[np.ndarray, "M M"]:
    """Estimate the covariance of draws of mean zero, shrunk towards I by the share of its distance from I that is
    noise.

    Example: of few draws of a standard normal nothing else is left
        >>> bool(np.abs(shrunk(np.random.default_rng(0).normal(size=(40, 60))) - np.eye(60)).max() < 0.1)
        True
    """
    n, m = z.shape
    covariance = z.T @ z / n
    off = ((covariance - np.eye(m)) ** 2).sum()
    square = (covariance**2).sum()
    noise = (((z**2).sum(1) ** 2).sum() - n * square) / n**2  # Σ_s |z_s z_sᵀ - S|² / n²
    share = min(1.0, noise / off)
    return (1 - share) * covariance + share * np.eye(m)


def places(shapes: dict[str, tuple[int, ...]]) -> dict[str, Int[np.ndarray, "..."]]:
    """Find the position in w of each site that is not a scale."""
    out, start = {}, 0
    for name, shape in shapes.items():
        if not name.endswith(SCALES):
            out[name] = start + np.arange(math.prod(shape)).reshape(shape)
            start += math.prod(shape)
    return out


def _at_one_scale(fit: ContextualFit, shapes):
    """Return (θ, w of every draw that says at θ what it says, the precision of its prior).

    Lengths are the draws' shortest: a longer one's weights are those of a shorter one, less at high frequencies.
    """
    u = fit.unconstrained.reshape(-1, fit.unconstrained.shape[-1]).astype(np.float64)
    if fit.prior is not None:
        root = np.asarray(fit.prior.root, np.float64)
        inverse = solve_triangular(root, np.eye(len(root)), lower=True)
        return jnp.asarray(fit.prior.theta), fit.prior.mean + u @ root.T, inverse.T @ inverse
    k = n_scales(shapes)
    ends = np.split(np.arange(k), np.cumsum([math.prod(s) for n, s in shapes.items() if n.endswith(SCALES)])[:-1])
    theta = np.median(u[:, :k], 0)
    for name, at in zip(shapes, ends, strict=False):  # scales come first
        if name.endswith("_length"):
            theta[at] = u[:, at].min(0)
    theta = jnp.asarray(theta, jnp.float32)
    held = {n: np.asarray(v)[None] for n, v in _scales_at(fit, theta, shapes).items()}
    ratio = np.ones((len(u), u.shape[1] - k))
    basis, own = fit.bases_of_inputs()
    draws = {name: values.astype(np.float64) for name, values in fit.draws.items()}
    for name, at in places(shapes).items():
        owner = name.rpartition("_")[0]
        if name == "labeler_offset":
            ratio[:, at] = (draws["labeler_scale"] / held["labeler_scale"])[..., None]
        elif name.endswith("_weights"):
            terms = basis.terms if owner != "labeler" else own.terms
            ratio[:, at] = np.exp(_log_colour(draws, owner, terms) - _log_colour(held, owner, terms))
    precision = np.diag(1 / np.maximum((ratio**2).mean(0), LEAST))
    return theta, ratio * u[:, k:], precision


def _scales_at(fit: ContextualFit, theta, shapes):
    """Return the scales and length-scales of θ."""
    scales = {name: shape for name, shape in shapes.items() if name.endswith(SCALES)}
    return values(fit.config, split(theta, scales)) if scales else {}


def _log_colour(draws, owner: str, terms) -> Float[np.ndarray, "S ..."]:
    """Return log of what the white weights are multiplied with, [S, T, m], or of labelers [S, 2, T, 1, m]."""
    amplitude, length = draws[f"{owner}_amplitude"], draws[f"{owner}_length"]
    if owner == "labeler":
        by_side = [_log_colour({"d_amplitude": np.repeat(amplitude[:, [s]], len(terms), 1), "d_length": length[:, s]},
                               "d", terms) for s in (0, 1)]  # fmt: skip
        return np.stack(by_side, 1)[:, :, :, None]
    length = length.reshape(len(length), len(terms), -1)
    of_terms = [jax.vmap(term.log_colour)(jnp.asarray(length[:, t])) for t, term in enumerate(terms)]
    return np.log(amplitude)[..., None] + np.stack([np.float64(v) for v in of_terms], 1)


def _to_the_next(fit, before, after, theta, known, step: float):
    """Return (from w to the next fit's w, what is added to its covariance)."""
    old, new = places(before), places(after)
    scales, config = _scales_at(fit, theta, before), fit.config
    size = sum(at.size for at in new.values())
    move, noise = np.zeros((size, sum(at.size for at in old.values()))), np.zeros(size)
    is_known = known >= 0
    for name, at in new.items():
        if not name.startswith("labeler"):
            move[at, old[name]] = 1
            continue
        axis = 1 if name == "labeler_offset" else 2
        rows, from_rows = np.moveaxis(at, axis, 0), np.moveaxis(old[name], axis, 0)
        noise[rows[~is_known]] = 1
        move[rows[is_known], from_rows[known[is_known]]] = 1
    noise[new["prevalence_mean"]] = (step / config.prevalence_mean[1]) ** 2
    if "labeler_offset" not in new:
        return move, np.diag(noise)
    # Offsets are centred over their labelers: what the mean of others' takes away, the level gets.
    level = np.eye(size)
    for side, name in enumerate(("accuracy", "bias")):
        tau, deviation = float(scales["labeler_scale"][side]), getattr(config, f"{name}_mean")[1]
        mine = new["labeler_offset"][side]
        move[np.ix_(mine[is_known], old["labeler_offset"][side])] -= 1 / len(fit.labels_per_labeler)
        noise[mine[is_known]] = (DRIFT / tau) ** 2
        level[new[f"{name}_mean"], mine] = tau / deviation / len(known)
    return level @ move, level @ np.diag(noise) @ level.T
