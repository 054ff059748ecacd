"""Estimands of a fitted contextual model: functions, instances' posteriors, prevalence, calibration, labelers.

Everything is computed per posterior draw and then summarised by its mean and an equal-tailed interval (``Band``).

    prevalence = Σ_k ω_k π(x_k) / Σ_k ω_k

over the population's scores (ω: counts), or over the labelled instances (ω: sampling weights). Selection that depends
on the score alone is ignorable given the score, so weights enter here and not in the likelihood.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Float, Int, PRNGKeyArray

from crowdjax import likelihood
from crowdjax.contextual.data import bases, prepare_data
from crowdjax.contextual.functions import Basis
from crowdjax.contextual.inference import ContextualFit, crowd_curves
from crowdjax.contextual.model import Curves, coefficients, curves, on_devices, prevalence, tables, triples
from crowdjax.labels import LabelError, Labels


class Band(NamedTuple):
    """Posterior means with equal-tailed intervals, arrays of one shape.

    Example:
        >>> Band(0.5, 0.4, 0.6).upper
        0.6
    """

    mean: Float[np.ndarray, "*n"]
    lower: Float[np.ndarray, "*n"]
    upper: Float[np.ndarray, "*n"]


class Functions(NamedTuple):
    """Bands of prevalence, sensitivity and specificity, each of shape [n] ([W, n] for labelers' own).

    Example:
        >>> Functions(*[Band(*np.ones((3, 2)))] * 3).sensitivity.mean.shape
        (2,)
    """

    prevalence: Band
    sensitivity: Band
    specificity: Band


class LabelerTable(NamedTuple):
    """Each labeler's number of judgements, sensitivity, specificity, balanced accuracy (their mean), and the interval
    of its rank among all labelers (1: best).

    Example:
        >>> labeler_table(found).n_labels.tolist()
        [60.0, 60.0, 60.0]
    """

    n_labels: Float[np.ndarray, " W"]
    sensitivity: Band
    specificity: Band
    balanced: Band
    rank: Band


def band(draws: Float[np.ndarray, "S *n"], level: float = 0.95) -> Band:  # noqa: F821 - a shape
    """Summarise posterior draws along their first axis by mean and equal-tailed interval.

    Example:
        >>> band(np.arange(101.0), 0.9).upper.item()
        95.0
    """
    draws = np.asarray(draws)
    lower, upper = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return Band(draws.mean(0), lower, upper)


def functions(fit: ContextualFit, scores, level: float = 0.95) -> Functions:
    """Evaluate the prevalence, and the crowd's sensitivity and specificity, at given scores.

    The crowd's are averaged over labelers in proportion to their judgements.

    Args:
        scores: scores at which to evaluate, shape [n] or [n, C].

    Example: positives are more common at higher scores
        >>> low, high = functions(found, [0.1, 0.9]).prevalence.mean
        >>> bool(low < high)
        True

    Source: Nguyen, Ramakrishnan, Weinsberg (2022), "Theodon".
    """
    return Functions(*(band(draws, level) for draws in function_draws(fit, scores)))


def function_draws(fit: ContextualFit, scores) -> Curves:
    """Evaluate every posterior draw of prevalence and of the crowd's sensitivity and specificity, each of shape [S, n],
    at given scores, shape [n] or [n, C].

    Example:
        >>> function_draws(found, [0.1, 0.9]).specificity.shape
        (500, 2)
    """
    return crowd_curves(fit.config, *fit.bases(scores), fit.draws, jnp.asarray(fit.labels_per_labeler))


def labeler_functions(fit: ContextualFit, scores, labelers: Int[np.ndarray, " W"], level: float = 0.95) -> Functions:
    """Evaluate the sensitivity and specificity of given labelers, of shape [W, n], at given scores.

    Args:
        scores: scores at which to evaluate, shape [n] or [n, C].
        labelers: indices, shape [W].

    Raises:
        LabelError: an index is not one of the labelers.

    Example:
        >>> labeler_functions(found, [0.1, 0.9], np.array([0, 2])).sensitivity.mean.shape
        (2, 2)
    """
    labelers = np.asarray(labelers)
    bad = np.flatnonzero((labelers < 0) | (labelers >= len(fit.labels_per_labeler)))
    if bad.size:
        raise LabelError(f"labelers: got {labelers[bad[0]]}; allowed: 0 to {len(fit.labels_per_labeler) - 1}")
    return Functions(*(band(draws, level) for draws in labeler_draws(fit, scores, labelers)))


def labeler_draws(fit: ContextualFit, scores, labelers: Int[np.ndarray, " W"]) -> Curves:
    """Evaluate every posterior draw of prevalence [S, n] and of given labelers' sensitivity and specificity [S, W, n].

    Example:
        >>> labeler_draws(found, [0.1, 0.9], np.array([0, 2])).specificity.shape
        (500, 2, 2)
    """
    return _labeler_curves(fit.config, *fit.bases(scores), fit.draws, jnp.asarray(labelers))


@eqx.filter_jit
def _labeler_curves(config, basis, labeler_basis, draws, labelers):
    return jax.lax.map(lambda draw: curves(config, basis, labeler_basis, draw, labelers), draws)


def calibrate(fit: ContextualFit, scores, cell=None, *, level: float = 0.95) -> Band:
    """Calibrate the classifier's scores to probabilities: E[π(s) | labels], with its band; shape [n].

    Args:
        scores: shape [n] or [n, C].
        cell: cell of each score, shape [n]; None: the mean cell.

    Example:
        >>> p = calibrate(found, [0.1, 0.9])
        >>> bool(p.lower[0] < p.mean[0] < p.upper[0] < p.mean[1])
        True

    Source: Nguyen, Ramakrishnan, Weinsberg (2022), third use.
    """
    return band(_prevalence(fit.config, in_cells(fit.bases(scores)[0], cell), fit.draws), level)


@eqx.filter_jit
def _prevalence(config, basis: Basis, draws) -> Float[np.ndarray, "S n"]:
    return jax.lax.map(lambda draw: prevalence(config, basis, draw), draws)


def _some(fit: ContextualFit, n: int):
    """Return at most n of the fit's draws, evenly spaced."""
    step = max(1, -(-fit.n_draws // n))
    return {name: values[::step] for name, values in fit.draws.items()}


def thinned(fit: ContextualFit, n: int) -> ContextualFit:
    """Thin a fit to at most n of its draws, evenly spaced.

    Example:
        >>> function_draws(thinned(found, 100), [0.1]).prevalence.shape
        (100, 1)
    """
    return dataclasses.replace(fit, draws=_some(fit, n))


def item_posteriors(
    fit: ContextualFit, labels: Labels, scores, n_draws: int = 200, *, cell=None, mesh: Mesh | None = None
) -> Float[np.ndarray, " I"]:
    """Compute P(z_j = +1 | all labels): the instance's posterior given its labels, averaged over posterior draws.

    Args:
        labels: labels of the fit, or new ones of the same labelers; gold gives 0 or 1.
        scores: scores of their instances, shape [I] or [I, C].
        n_draws: number of posterior draws to average.
        mesh: devices, as in ``fit``.

    Example:
        >>> p = item_posteriors(found, labels, scores)
        >>> p.shape, bool(((p > 0.5) == (np.bincount(labels.instance, labels.sign) > 0)).mean() > 0.9)
        ((60,), True)
    """
    data = prepare_data(fit.config, labels, fit.scale(scores), fit.anchors or None, mesh, cell)
    return np.asarray(_mean_posterior(fit.config, data, _some(fit, _affordable(n_draws, labels))))


MOST_WORK, FEWEST = 5e7, 50  # labels times draws; draws


def _affordable(n_draws: int, labels: Labels) -> int:
    """Return the number of draws, fewer where there are many labels."""
    return max(min(n_draws, FEWEST), min(n_draws, int(MOST_WORK / max(len(labels.label), 1))))


def _of_instances(what, config, data, draw):
    """Return ``what(ℓ⁺, ℓ⁻, logit π, gold)`` of every instance."""

    def of_part(part, c):
        s, gamma, prior = triples(config, part, c, tables(config, part.basis, c))
        return what(*likelihood.instance_log_likelihood(part.labels, s, gamma), prior, part.labels.gold)

    c = coefficients(config, data.basis, data.labeler_basis, draw)
    return on_devices(of_part, data, c)[: data.labels.n_instances]


_posterior = partial(_of_instances, likelihood.posterior)


def with_labelers(fit: ContextualFit, known: Int[np.ndarray, " W"], key: PRNGKeyArray) -> ContextualFit:
    """Rearrange the labelers of a fit, and draw new ones from the crowd's distribution.

    A labeler who is new is drawn from the crowd's distribution, in every posterior draw anew: e ~ N(0, τ²), and d the
    same.

    Args:
        known: row of each labeler in the fit, -1 for a new one.
        key: random key for the new labelers.

    Example: labels of two who are new say less than those of two who are known
        >>> other = with_labelers(found, np.array([2, -1]), jax.random.key(0))
        >>> other.labels_per_labeler.tolist()
        [60.0, 0.0]
    """
    draws, new = dict(fit.draws), known < 0
    if fit.config.labelers != "global":
        draws["labeler_mean"] = draws["labeler_offset"].mean(-1)
        for axis, name in ((2, "labeler_offset"), (3, "labeler_weights"), (2, "labeler_drift")):
            if name in draws:
                rows = draws[name].take(np.maximum(known, 0), axis)
                fresh = jax.random.normal(jax.random.fold_in(key, axis), rows.shape, rows.dtype)
                mask = new.reshape((-1,) + (1,) * (rows.ndim - axis - 1))
                draws[name] = np.where(mask, np.asarray(fresh), rows)
    counts = np.where(new, 0, fit.labels_per_labeler[np.maximum(known, 0)])
    return dataclasses.replace(fit, draws=draws, labels_per_labeler=counts)


def log_likelihood_draws(fit: ContextualFit, labels: Labels, scores, cell=None) -> Float[np.ndarray, "S I"]:
    """Compute log p(L_j) of every instance's labels in every posterior draw: the truth summed out, or fixed where gold
    is known.

    Args:
        labels: labels of the fit, or new ones of the same labelers.
        scores: scores of their instances, shape [I] or [I, C].

    Example:
        >>> log_likelihood_draws(found, labels, scores).shape
        (500, 60)
    """
    data = prepare_data(fit.config, labels, fit.scale(scores), fit.anchors or None, cell=cell)
    return np.asarray(_evidence(fit.config, data, fit.draws))


@eqx.filter_jit
def _evidence(config, data, draws):
    return jax.lax.map(partial(_of_instances, likelihood.instance_evidence, config, data), draws)


@eqx.filter_jit
def _mean_posterior(config, data, draws):
    n = len(next(iter(draws.values())))
    zero = jnp.zeros(data.labels.n_instances, data.basis.x.dtype)
    return jax.lax.scan(lambda total, draw: (total + _posterior(config, data, draw), None), zero, draws)[0] / n


def held_out_posteriors(
    fit: ContextualFit, labels: Labels, scores, n_draws: int = 500, *, cell=None, mesh: Mesh | None = None
) -> Float[np.ndarray, " I"]:
    """Compute P(z_j = +1 | all labels, gold of all instances but j): leave-one-out predictions for instances with gold.

    Draws are reweighted by 1 / P(z_j | labels of j, draw), which takes the gold of j out of their posterior. What that
    leaves of the truth which was seen is the harmonic mean over draws:

        P(z_j = gold_j | all else) = 1 / mean_s 1 / P(z_j = gold_j | labels of j, draw s)

    Args:
        labels: labels of the fit.
        scores: scores of their instances, shape [I] or [I, C].
        n_draws: number of posterior draws to average.
        mesh: devices, as in ``fit``.

    Example: without gold these are the instances' posteriors
        >>> p, q = held_out_posteriors(found, labels, scores, 200), item_posteriors(found, labels, scores)
        >>> bool(np.allclose(p, q, atol=1e-5))
        True

    Source: Gelfand, Dey and Chang 1992 (conditional predictive ordinates).
    """
    data = prepare_data(fit.config, labels, fit.scale(scores), fit.anchors or None, mesh, cell)
    found = np.asarray(_mean_held_out(fit.config, data, _some(fit, n_draws)), np.float64)
    gold = np.full(labels.n_instances, -1) if labels.gold is None else np.asarray(labels.gold)
    with np.errstate(divide="ignore"):
        return np.where(gold < 0, found, np.where(gold > 0, 1 / found, 1 - 1 / found))


@eqx.filter_jit
def _mean_held_out(config, data, draws):
    def of_truth(log_plus, log_minus, prior, gold):
        """Return the posterior where the truth is unknown, else one over that of the truth: 1 + the odds against it."""
        logit = prior + log_plus - log_minus
        p = jax.nn.sigmoid(logit)
        return p if gold is None else jnp.where(gold < 0, p, 1 + jnp.exp(jnp.where(gold > 0, -logit, logit)))

    n = len(next(iter(draws.values())))
    zero = jnp.zeros(data.labels.n_instances, data.basis.x.dtype)
    add = lambda total, draw: (total + _of_instances(of_truth, config, data, draw), None)  # noqa: E731
    return jax.lax.scan(add, zero, draws)[0] / n


def population_prevalence(
    fit: ContextualFit,
    scores,
    weights=None,
    *,
    key: PRNGKeyArray | None = None,
    n_draws: int = 1000,
    level: float = 0.95,
    cell: Int[np.ndarray, " n"] | None = None,
) -> Band:
    """Estimate the prevalence Σ ω π(x) / Σ ω of a population given by scores and weights, with an interval.

    Args:
        scores, weights: scores of the population with counts as weights (the better choice), or of the labelled
            instances with their sampling weights; shape [n]. Weights default to one each.
        key: random key, where the scores are a sample whose sampling variation the interval should include: each draw
            then reweights the sample by a Bayesian bootstrap. Leave it out for a population table.

    Raises:
        LabelError: a weight is not positive and finite (counts may be 0), or the lengths differ.

    Example: a population of three low scores and one high one
        >>> band = population_prevalence(found, [0.1, 0.9], [3, 1])
        >>> bool(band.lower < band.mean < 0.5)
        True

    Source: Nguyen, Ramakrishnan, Weinsberg (2022), second use.
    """
    return band(prevalence_draws(fit, scores, weights, key=key, n_draws=n_draws, cell=cell), level)


def prevalence_draws(
    fit: ContextualFit,
    scores,
    weights=None,
    *,
    key: PRNGKeyArray | None = None,
    n_draws: int | None = None,
    cell: Int[np.ndarray, " n"] | None = None,
) -> Float[np.ndarray, " S"]:
    """Compute the posterior draws of :func:`population_prevalence`; with ``n_draws``, that many of them, evenly spaced.

    Args:
        scores, weights, key: as there, shape [n].

    Example:
        >>> prevalence_draws(found, [0.1, 0.9], [3, 1], n_draws=100).shape
        (100,)
    """
    weights = check_weights(weights, len(np.asarray(scores)), allow_zero=key is None)
    draws = _some(fit, n_draws or fit.n_draws)
    x, cell, total, square = _alike(fit.scale(scores), cell, weights / weights.sum())
    if key is not None:  # Σ ω_j ε_j of those alike, ε_j ~ Exp(1): exact where their weights are
        rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
        n = len(next(iter(draws.values())))
        total = rng.gamma(total**2 / square, square / total, (n, len(total)))
    basis = in_cells(bases(fit.config, x, fit.anchors or None)[0], cell)
    shares = jnp.asarray(total / total.sum(-1, keepdims=True), basis.x.dtype)
    return np.asarray(_aggregate(fit.config, basis, draws, shares))


MOST_ALIKE = 2048  # distinct inputs that are kept apart; as many as a process of one column is evaluated at


def _alike(x: Float[np.ndarray, "n C"], cell, weights: Float[np.ndarray, " n"]):
    """Return (inputs, cells, Σ ω, Σ ω²) of groups of inputs that are alike and in one cell. Where there are too many
    distinct ones, those in a cell of a fine grid count as their mean."""
    columns = np.nan_to_num(x, nan=2.0)  # NaN: a column that an input does not have
    flat = columns[:, 0] if x.shape[1] == 1 else columns  # a row of one number sorts faster as a number
    distinct, group = np.unique(flat, axis=0, return_inverse=True)
    if len(distinct) > MOST_ALIKE:
        n = round(MOST_ALIKE ** (1 / x.shape[1]))
        grid = np.clip(np.floor((columns + 1) / 2 * n), 0, n - 1).astype(np.int64) + 2 * (columns > 1)
        group = np.ravel_multi_index(tuple(grid.T), (n + 2,) * x.shape[1])
    group = group.reshape(-1)
    if cell is not None:
        group = group * (int(np.max(cell)) + 2) + np.asarray(cell) + 1
    _, first, group = np.unique(group, return_index=True, return_inverse=True)
    total, square = np.bincount(group, weights), np.bincount(group, weights**2)
    kept = total > 0
    at = np.stack([np.bincount(group, weights * column)[kept] / total[kept] for column in x.T], 1)
    return np.clip(at, -1, 1), None if cell is None else np.asarray(cell)[first[kept]], total[kept], square[kept]


def in_cells(basis: Basis, cell) -> Basis:
    """Set the cells of the inputs (None: the mean cell)."""
    return basis if cell is None else dataclasses.replace(basis, cell=jnp.asarray(cell, jnp.int32))


@eqx.filter_jit
def _aggregate(config, basis, draws, shares):
    """Return Σ share π(x) of every draw; shares alike for all draws, [B], or each draw's own, [S, B]."""

    each = jax.lax.map(lambda draw: prevalence(config, basis, draw), draws)  # [S, B]
    return (each * shares).sum(1)


def item_prevalence(
    fit: ContextualFit,
    labels: Labels,
    scores,
    key: PRNGKeyArray,
    weights=None,
    *,
    n_draws: int = 500,
    level: float = 0.95,
    cell: Int[np.ndarray, " I"] | None = None,
    mesh: Mesh | None = None,
) -> Band:
    """Estimate the prevalence from the labelled instances' truths: Σ ω z / Σ ω, with z drawn from each posterior draw
    and the sample reweighted by a Bayesian bootstrap. Depends less on the prevalence function, but is noisier where
    positives are rare and heavily weighted.

    Args:
        labels, scores: labels, and scores of their instances, shape [I] or [I, C].
        weights: sampling weights of the instances, shape [I]; default: one each.
        mesh: devices, as in ``fit``.

    Example:
        >>> band = item_prevalence(found, labels, scores, jax.random.key(0))
        >>> bool(band.lower < 0.5 < band.upper)
        True
    """
    weights = check_weights(weights, labels.n_instances)
    data = prepare_data(fit.config, labels, fit.scale(scores), fit.anchors or None, mesh, cell)
    some = _some(fit, _affordable(n_draws, labels))
    draws = np.asarray(_drawn_prevalence(fit.config, data, some, jnp.asarray(weights / weights.sum()), key))
    return band(draws, level)


@eqx.filter_jit
def _drawn_prevalence(config, data, draws, weights, key):
    def one(at):
        draw, key = at
        which, again = jax.random.split(key)
        z = jax.random.bernoulli(which, _posterior(config, data, draw))
        w = weights * jax.random.exponential(again, weights.shape, weights.dtype)
        return jnp.where(z, w, 0).sum() / w.sum()

    return jax.lax.map(one, (draws, jax.random.split(key, len(next(iter(draws.values()))))))


def labeler_table(fit: ContextualFit, level: float = 0.95, n_draws: int = 400) -> LabelerTable:
    """Estimate every labeler's sensitivity and specificity over the labelled instances' scores, and its rank.

    Per draw, sensitivity is averaged over scores in proportion to π(x), specificity to 1 - π(x): the chances of being
    right about a positive and about a negative instance.

    Example: labelers who are assumed to be alike
        >>> table = labeler_table(found)
        >>> bool((table.sensitivity.mean == table.sensitivity.mean[0]).all())
        True
    """
    basis, own = fit.bases_of_inputs()
    pair = _labeler_averages(fit.config, basis, own, _some(fit, n_draws), jnp.arange(len(fit.labels_per_labeler)))
    sensitivity, specificity = map(np.asarray, pair)
    balanced = (sensitivity + specificity) / 2
    rank = balanced.shape[1] - balanced.argsort(1).argsort(1)
    return LabelerTable(fit.labels_per_labeler, *(band(d, level) for d in (sensitivity, specificity, balanced, rank)))


def labelers_by_period(
    fit: ContextualFit, n_draws: int = 400
) -> tuple[Float[np.ndarray, "S T W"], Float[np.ndarray, "S T W"]]:
    """Compute posterior draws of every labeler's sensitivity and specificity in every period of a fit with drift,
    averaged over scores as in :func:`labeler_table`.

    Raises:
        ValueError: the fit's labelers do not drift.

    Example:
        >>> labelers_by_period(found)
        Traceback (most recent call last):
        ...
        ValueError: fit: its labelers do not drift; allowed: a fit with config.drift
    """
    if not fit.config.drift:
        raise ValueError("fit: its labelers do not drift; allowed: a fit with config.drift")
    cells, (basis, own) = fit.config.cells, fit.bases_of_inputs()
    draws, who = _some(fit, n_draws), jnp.arange(len(fit.labels_per_labeler))
    found = []
    for period in range(cells.n_periods):
        at = in_cells(basis, np.full(len(basis.x), period * cells.n_groups))
        found.append(_labeler_averages(fit.config, at, own, draws, who))
    return tuple(np.stack([np.asarray(pair[k]) for pair in found], 1) for k in (0, 1))


@eqx.filter_jit
def _labeler_averages(config, basis, labeler_basis, draws, labelers):
    def one(draw):
        c = curves(config, basis, labeler_basis, draw, labelers)
        positive, negative = c.prevalence / c.prevalence.sum(), (1 - c.prevalence) / (1 - c.prevalence).sum()
        return (c.sensitivity * positive).sum(-1), (c.specificity * negative).sum(-1)

    return jax.lax.map(one, draws)


def sampling_weights(scores, edges, counts) -> Float[np.ndarray, " I"]:
    """Compute sampling weights for a stratified random sample over the score: population count over sample count.

    Args:
        scores: of the sampled instances, shape [I].
        edges: of the strata, increasing, shape [K + 1]; a score belongs to [edge_k, edge_k+1), the last edge included.
        counts: the population's count in each stratum, shape [K].

    Raises:
        LabelError: a score outside the edges, edges that do not increase, or a stratum with population but no sample.

    Example:
        >>> sampling_weights([0.1, 0.2, 0.9], [0, 0.5, 1], [1000, 10]).tolist()
        [500.0, 500.0, 10.0]
    """
    scores, edges, counts = (np.asarray(v, np.float64) for v in (scores, edges, counts))
    if len(counts) != len(edges) - 1 or not (np.diff(edges) > 0).all():
        raise LabelError(
            f"edges: {len(edges)} of them for {len(counts)} counts; allowed: increasing, one more than counts"
        )
    bad = np.flatnonzero(~((scores >= edges[0]) & (scores <= edges[-1])))
    if bad.size:
        raise LabelError(
            f"score: got {scores[bad[0]]} at row {bad[0]}; allowed: {edges[0]} to {edges[-1]}, the outer edges"
        )
    stratum = np.minimum(np.searchsorted(edges, scores, side="right") - 1, len(counts) - 1)
    sampled = np.bincount(stratum, minlength=len(counts))
    empty = np.flatnonzero((sampled == 0) & (counts > 0))
    if empty.size:
        k = empty[0]
        raise LabelError(
            f"counts: {counts[k]:g} in [{edges[k]}, {edges[k + 1]}) of which none was sampled; merge strata"
        )
    return check_weights((counts / np.maximum(sampled, 1))[stratum], len(scores))


def inclusion_weights(probability) -> Float[np.ndarray, " I"]:
    """Compute sampling weights from known inclusion probabilities: the inverse of each.

    Args:
        probability: inclusion probabilities above 0 and at most 1, shape [I].

    Raises:
        LabelError: a probability outside this range.

    Example:
        >>> inclusion_weights([0.5, 0.01]).tolist()
        [2.0, 100.0]
    """
    probability = np.asarray(probability, np.float64)
    bad = np.flatnonzero(~((probability > 0) & (probability <= 1)))
    if bad.size:
        raise LabelError(f"probability: got {probability[bad[0]]} at row {bad[0]}; allowed: above 0, at most 1")
    return 1 / probability


def check_weights(weights, n: int, *, allow_zero: bool = False) -> Float[np.ndarray, " n"]:
    """Convert weights to float64, one per row; raise ``LabelError`` unless they are positive and finite.

    Args:
        weights: shape [n]; None: one each.

    Example:
        >>> check_weights([1, 2], 2).tolist(), check_weights(None, 2).tolist()
        ([1.0, 2.0], [1.0, 1.0])
    """
    if weights is None:
        return np.ones(n)
    weights = np.asarray(weights, np.float64).reshape(-1)
    if len(weights) != n:
        raise LabelError(f"weight: {len(weights)} of them for {n} scores; allowed: one each")
    bad = np.flatnonzero(~(np.isfinite(weights) & ((weights >= 0) if allow_zero else (weights > 0))))
    if bad.size:
        allowed = "finite numbers, 0 or more" if allow_zero else "finite numbers above 0"
        raise LabelError(f"weight: got {weights[bad[0]]} at row {bad[0]}; allowed: {allowed}")
    if not weights.sum() > 0:
        raise LabelError("weight: they add up to 0; allowed: at least one above 0")
    return weights
