"""What a contextual fit of K classes says: shares, curves, probabilities of instances, confusions; unseen labelers."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from crowdjax.contextual.categories import (
    class_logits,
    confusion_at,
    instance_logits,
    prepare_categories,
    said,
    shapes_of,
    sites,
    values,
)
from crowdjax.contextual.categories_fit import CategoricalFit
from crowdjax.contextual.functions import Basis, prepare
from crowdjax.contextual.model import split
from crowdjax.labels import Labels


class Shares(NamedTuple):
    """Mean and equal-tailed interval of K shares, each of shape [K].

    Example:
        >>> Shares(*np.ones((3, 2))).mean.shape
        (2,)
    """

    mean: Float[np.ndarray, " K"]
    lower: Float[np.ndarray, " K"]
    upper: Float[np.ndarray, " K"]


def _draws(fit: CategoricalFit, basis: Basis, function, *arrays):
    """Return ``function(values of a draw, *arrays)`` of every draw."""
    shapes = tuple(sites(fit.config, len(fit.labels_per_labeler), basis).items())
    return np.asarray(_each(fit.config, shapes, function, jnp.asarray(fit.u), basis, *arrays), np.float64)


@eqx.filter_jit
def _each(config, shapes, function, u, basis, *arrays):
    of = lambda one: function(config, values(config, split(one, dict(shapes))), basis, *arrays)  # noqa: E731
    return jax.lax.map(of, u)


def _mean_shares(config, v, basis, weight):
    return weight @ jnp.exp(class_logits(config, basis, v))


def _shares_at(config, v, basis):
    return jnp.exp(class_logits(config, basis, v))


def share_draws(fit: CategoricalFit, scores, counts=None) -> Float[np.ndarray, "S K"]:
    """Return every posterior draw of the classes' shares in a population.

    Args:
        scores: of the population's rows, shape [n] or [n, C].
        counts: how many each row stands for; by default one.
    """
    x = fit.scale(scores)
    weight = np.ones(len(x)) if counts is None else np.asarray(counts, np.float64)
    distinct, row = np.unique(x, axis=0, return_inverse=True)
    share = np.bincount(row.reshape(-1), weights=weight, minlength=len(distinct))
    basis = prepare(fit.config.gp, distinct)
    return _draws(fit, basis, _mean_shares, jnp.asarray(share / share.sum(), basis.x.dtype))


def shares(fit: CategoricalFit, scores, counts=None, level: float = 0.95) -> Shares:
    """Return the classes' shares in a population, as :func:`share_draws`."""
    return _summary(share_draws(fit, scores, counts), level)


def curves_of_classes(fit: CategoricalFit, scores, level: float = 0.95) -> Shares:
    """Return π(x) at given scores: mean and interval, each of shape [n, K]."""
    return _summary(_draws(fit, prepare(fit.config.gp, fit.scale(scores)), _shares_at), level)


def class_probabilities(fit: CategoricalFit, labels: Labels, scores) -> Float[np.ndarray, "I K"]:
    """Return P(z_j | labels, score), averaged over the posterior's draws."""
    data = prepare_categories(fit.config, labels, fit.scale(scores))
    u = jnp.asarray(fit.u)
    return np.asarray(_posteriors(fit.config, data, u), np.float64)


@eqx.filter_jit
def _posteriors(config, data, u):
    shapes = shapes_of(config, data)

    def add(total, one):
        h = instance_logits(config, data, values(config, split(one, shapes)))
        return total + jax.nn.softmax(h, axis=-1), None

    zero = jnp.zeros((data.labels.n_instances, config.n_classes), u.dtype)
    return jax.lax.scan(add, zero, u)[0] / len(u)


def with_labelers(fit: CategoricalFit, known: Int[np.ndarray, " W"], seed: int) -> CategoricalFit:
    """Return the fit for other labelers: those of the fit by their index, and -1 for others, who are drawn from its
    crowd."""
    config, n = fit.config, len(fit.labels_per_labeler)
    counts = np.where(known < 0, 0, fit.labels_per_labeler[known])
    if config.labelers == "global":
        return dataclasses.replace(fit, labels_per_labeler=counts)
    rng, of = np.random.default_rng(seed), {}
    for name, shape in fit.shapes(n).items():
        part = fit.parts(n)[name]
        if name.startswith("labeler_") and name not in ("labeler_scale",):
            part = part - part.mean(1, keepdims=True) if config.centred else part
            new = rng.standard_normal((len(part), len(known), *shape[1:]))
            part = np.where((known >= 0).reshape(1, -1, *[1] * (len(shape) - 1)), part[:, known], new)
        of[name] = part.reshape(len(part), -1)
    u = np.concatenate(list(of.values()), 1).astype(fit.u.dtype)
    return dataclasses.replace(fit, u=u, labels_per_labeler=counts, config=dataclasses.replace(config, centred=False))


def _confusions(config, v, basis, labeler):
    """Return [W, K, K]: P(L | z) of labelers, averaged over inputs by the class's share there."""
    pi = jnp.exp(class_logits(config, basis, v))
    n, w = pi.shape[0], labeler.shape[0]
    at = said(config, basis, v, jnp.repeat(labeler, n), jnp.tile(jnp.arange(n), w))
    each = confusion_at(config, v, at).reshape(w, n, config.n_classes, config.n_classes)
    return (each * pi[None, :, :, None]).sum(1) / pi.sum(0)[None, :, None]


def confusions(fit: CategoricalFit, scores, level: float = 0.95) -> tuple[Shares, Shares, Float[np.ndarray, "S W"]]:
    """Return (confusion of every labeler [W, K, K], of the crowd [K, K], draws of every labeler's accuracy [S, W]).

    P(L = l | z) is averaged over the instances' scores by the class's share there, the crowd's over labelers by their
    judgements, accuracy over classes by their shares.

    Args:
        scores: of the labelled instances, shape [I] or [I, C].
    """
    x = fit.scale(scores)
    order = np.argsort(x[:, 0], kind="stable")
    few = x[order[((np.arange(INPUTS) + 0.5) / INPUTS * len(x)).astype(int)]]
    basis = prepare(fit.config.gp, few)
    n = len(fit.labels_per_labeler) if fit.config.labelers == "offset" else 1
    step = max(1, len(fit.u) // 300)
    thin = dataclasses.replace(fit, u=fit.u[::step])
    each = _draws(thin, basis, _confusions, jnp.arange(n) if n > 1 else jnp.full(1, -1))
    pi = _draws(thin, basis, _mean_shares, jnp.full(len(few), 1 / len(few), basis.x.dtype))
    each = np.broadcast_to(each, (len(each), len(fit.labels_per_labeler), *each.shape[2:]))
    share = fit.labels_per_labeler / fit.labels_per_labeler.sum()
    accuracy = np.einsum("swzz,sz->sw", each, pi)
    return _summary(each, level), _summary(np.einsum("swzl,w->szl", each, share), level), accuracy


INPUTS = 32  # quantiles of the scores that stand for the instances


def _summary(draws, level: float) -> Shares:
    lower, upper = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Shares(draws.mean(0), lower, upper)
