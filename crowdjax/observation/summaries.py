"""Summaries of labelers from a fit: confusion, accuracy and informedness, with intervals.

    P(label l | class k) = Σ_g P(g | k) exp table[i,l,g]      accuracy = Σ_k P(k) P(label k | class k)
    informedness = (Σ_k P(label k | class k) - 1) / (K - 1)   of two classes sensitivity + specificity - 1

Intervals take the expected counts for known. Columns that are Dirichlet have those of their Beta marginals; others the
curvature of Q in the labeler's own numbers, by the delta method on the logit.

Labelers share errors that models take for independent. Intervals of ``doubted`` models, the integrated ones,
therefore take a labeler's distance from guessing for known only up to a factor, as ``integrated.draws`` does for two
classes; who guesses, s = 0, still does:

    log P(l | k) = b_l + s_kl + constant of k,  b_l the mean over k      s → s exp(κ ε),  ε ~ N(0, 1)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from crowdjax.labelers import DOUBT, LEVEL, Summary, corrected, in_sd, summary_of_betas
from crowdjax.labels import Labels
from crowdjax.observation import room as rooms
from crowdjax.observation.contract import Observation, Params
from crowdjax.observation.fit import Fit, predict_jit
from crowdjax.stored import stored

PRECISION = jax.lax.Precision.HIGHEST


def labeler_summary(
    labels: Labels, model: Observation, fit: Fit, level: float = LEVEL, doubt: float = DOUBT
) -> Summary:
    """Estimate each labeler's accuracy, confusion and informedness, with intervals, from the labels of a fit.

    Args:
        level: level of the intervals.
        doubt: κ, of models that are ``doubted``; 0 for the model alone.

    Example: the first of three agrees with one other on each instance, the third with nobody
        >>> from crowdjax.observation import OneCoin, fit_jit
        >>> label = [0, 0, 1, 1, 1, 2, 2, 2, 0] * 2
        >>> labels = Labels.from_arrays([0, 1, 2] * 6, np.repeat(np.arange(6), 3), label, n_values=3)
        >>> about = labeler_summary(labels, OneCoin(), fit_jit(labels, OneCoin()))
        >>> bool(about.accuracy[0][2] < about.accuracy[1][0]), about.confusion[0].shape
        (True, (3, 3, 3))
    """
    room = rooms.of(labels, model)
    labels, params = (labels, fit.params) if room is None else (room.labels, room.params(model, fit.params))
    found = predict_jit(labels, model, params)
    points = found.points if found.points.ndim == 1 else found.points.sum(0)
    about = summary_of_counts(model, params, found.counts, points, level, doubt)
    return about if room is None else room.summary_of(about)


def summary_of_counts(
    model: Observation,
    params: Params,
    counts: Float[Array, "W L G"],
    points: Float[Array, " G"],
    level: float = LEVEL,
    doubt: float = DOUBT,
) -> Summary:
    """Summarise labelers from sufficient statistics, which a fit of labels in parts keeps.

    Args:
        counts, points: of a pass at ``params``; points summed over instances.
        level, doubt: as in :func:`labeler_summary`.
    """
    static, arrays = _parts(model)
    params = jax.tree.map(jnp.asarray, params)
    if hasattr(model, "beta"):
        a, share = (np.asarray(v, np.float64) for v in _columns(static, arrays, params, counts, points))
        return summary_of_betas(a, share, level)
    square = counts.shape[1] == model.class_of_point(params).shape[1]
    mean, sd = (np.asarray(v, np.float64) for v in _logits(static, arrays, params, counts, points, np.asarray(doubt)))
    from scipy.special import expit  # slow to import

    cells = tuple(expit(mean + move * sd) for move in (0, -in_sd(level), in_sd(level)))
    shape = (len(counts), -1, counts.shape[1])
    confusion = tuple(cell[:, 2:].reshape(shape) for cell in cells)
    accuracy, balanced = (tuple(cell[:, n] for cell in cells) for n in (0, 1))
    if not square:
        accuracy = balanced = tuple(np.full(len(counts), np.nan) for _ in range(3))
    return Summary(accuracy, confusion, corrected(balanced, counts.shape[1]))


def confusion_draws(rng: np.random.Generator, labels: Labels, model: Observation, fit: Fit, n: int):
    """Draw the labelers' confusions from the approximation behind ``labeler_summary``'s intervals. Host side.

    Returns:
        P(label | class), shape [n, W, K, L], and the accuracy, shape [n, W]; None where labels are not the classes.

    Example:
        >>> from crowdjax.observation import OneCoin, fit_jit
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [0, 0, 2, 1, 1, 0], n_values=3)
        >>> drawn = confusion_draws(np.random.default_rng(0), labels, OneCoin(), fit_jit(labels, OneCoin()), 50)
        >>> [v.shape for v in drawn]
        [(50, 3, 3, 3), (50, 3)]
    """
    found = predict_jit(labels, model, jax.tree.map(jnp.asarray, fit.params))
    points = found.points if found.points.ndim == 1 else found.points.sum(0)
    static, arrays = _parts(model)
    given = static, arrays, jax.tree.map(jnp.asarray, fit.params), found.counts, points
    square = labels.n_values == labels.n_classes
    if hasattr(model, "beta"):
        a, share = (np.asarray(v, np.float64) for v in _columns(*given))
        drawn = rng.standard_gamma(a, (n, *a.shape))
        drawn /= drawn.sum(-1, keepdims=True)
        return drawn, np.einsum("nwkk,k->nw", drawn, share) if square else None
    seed = jax.random.key_data(jax.random.key(rng.integers(2**31)))  # programs on disk take no typed keys
    logits = np.asarray(_drawn_logits(*given, np.asarray(DOUBT), n, seed), np.float64)
    p = (1 / (1 + np.exp(-logits))).swapaxes(0, 1)
    return p[..., 2:].reshape(*p.shape[:2], -1, labels.n_values), p[..., 0] if square else None


def _parts(model: Observation):
    arrays, static = eqx.partition(model, eqx.is_array)
    return static, arrays


def points_of_class(model: Observation, params: Params, points):
    """Return P(class k) [K], and P(point g | class k) [G, K]: the prior's for a class that no instance has.

    Args:
        points: expected instances at each point, shape [G].
    """
    of_point, log_points = model.class_of_point(params), model.log_points(params)
    if log_points.ndim > 1:  # of each instance
        log_points = jax.nn.logsumexp(log_points, axis=0)
    joint = points[:, None] * of_point
    of_class = joint.sum(0)
    is_empty = of_class < jnp.finfo(joint.dtype).tiny
    prior = jax.nn.softmax(jnp.log(of_point) + log_points[:, None], axis=0)
    return of_class / of_class.sum(), jnp.where(is_empty, prior, joint / jnp.where(is_empty, 1, of_class))


@stored
def _columns(static, arrays, params, counts, points):
    """Return the parameters of the columns that are Dirichlet [W, K, L], and P(class) [K]."""
    model = eqx.combine(arrays, static)
    return model.beta(params, counts).swapaxes(1, 2), points_of_class(model, params, points)[0]


class _OfOne(NamedTuple):
    """What one labeler's own numbers (and κ ε, of a doubted model) say: their values, a root of their covariance, and
    (function of them) the logits of the accuracy, of the mean over classes and of the cells, class by class."""

    x: Float[Array, " P"]
    root: Float[Array, "P P"]
    logits: Callable[[Float[Array, " P"]], Float[Array, " C"]]


@stored
def _logits(static, arrays, params, counts, points, doubt):
    """Return logits of the accuracy, of the mean over classes and of the cells (class by class) and their standard
    deviations, each [W, 2 + K L]."""

    def of_one(own: _OfOne, _):
        return own.logits(own.x), jnp.linalg.norm(jax.jacfwd(own.logits)(own.x) @ own.root, axis=1)

    return _each(of_one, static, arrays, params, counts, points, doubt)


@stored
def _drawn_logits(static, arrays, params, counts, points, doubt, n, key):
    """Draw these logits n times, [W, n, 2 + K L]."""
    key = jax.random.wrap_key_data(key)

    def of_one(own: _OfOne, row):
        z = jax.random.normal(jax.random.fold_in(key, row), (n, len(own.x)), own.x.dtype)
        return jax.vmap(own.logits)(own.x + jnp.matmul(z, own.root.T, precision=PRECISION))

    return _each(of_one, static, arrays, params, counts, points, doubt)


def _each(of_one, static, arrays, params, counts, points, doubt):
    """Return a function of every labeler's own numbers and row."""
    model = eqx.combine(arrays, static)
    share, of_class = points_of_class(model, params, points)
    leaves, structure = jax.tree.flatten(params)
    specs = jax.tree.leaves(model.specs(params), is_leaf=lambda spec: spec is None)
    known = hasattr(model, "covariance")
    names = model.covaries if known else ()
    mine = [
        n
        for n, (spec, (path, _)) in enumerate(zip(specs, jax.tree_util.tree_leaves_with_path(params), strict=True))
        if spec == "labeler" and (not known or path[-1].key in names)
    ]
    covariance = model.covariance(params, counts) if known else jnp.zeros(len(counts))
    doubted = getattr(model, "doubted", False)

    def own_numbers(row, counts, covariance):
        at = [leaf[row][None] if spec == "labeler" else leaf for leaf, spec in zip(leaves, specs, strict=True)]
        x0, unravel = ravel_pytree([at[n] for n in mine])

        def with_own(x):
            out = list(at)
            for n, value in zip(mine, unravel(x), strict=True):
                out[n] = value
            return jax.tree.unflatten(structure, out)

        def q(x):
            params = with_own(x)
            return (counts * model.table(params)[0]).sum() + model.log_prior(params)

        def logits(x):
            table = jax.nn.log_softmax(model.table(with_own(x[: len(x0)]))[0], axis=0)
            p = jnp.einsum("lg,gk->kl", jnp.exp(table), of_class)
            if doubted:
                log_p = jnp.log(p)
                guess = log_p.mean(0)
                p = jax.nn.softmax(guess + jnp.exp(x[-1]) * (log_p - guess), axis=1)
            n = min(p.shape)
            right = p[jnp.arange(n), jnp.arange(n)]
            p = jnp.r_[share[:n] @ right, right.mean(), p.ravel()]
            return jnp.log(p) - jnp.log1p(-p)

        values, vectors = jnp.linalg.eigh(covariance if known else -jax.hessian(q)(x0))
        root = vectors * (jnp.sqrt(jnp.maximum(values, 0)) if known else 1 / jnp.sqrt(jnp.maximum(values, 1e-6)))
        if not doubted:
            return _OfOne(x0, root, logits)
        return _OfOne(jnp.append(x0, 0), jax.scipy.linalg.block_diag(root, doubt.astype(x0.dtype)), logits)

    def one(given):
        return of_one(own_numbers(*given), given[0])

    return jax.lax.map(one, (jnp.arange(len(counts)), counts, covariance), batch_size=32)
