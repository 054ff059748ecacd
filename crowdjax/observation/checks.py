"""What a fit misses: statistics of the labels beside those of replicates that the fitted model would give.

A replicate has the same pairs of labeler and instance; a point of each instance is drawn, and every label from its
labeler's probabilities there. Each statistic is computed of replicates as of the labels, posteriors included:

    label shares   Σ_l (n_l - n̄_l)² / n̄_l                                  n_l: labels of value l, n̄_l: in replicates
    vote counts    mean over instances of Σ_l (share of l)²                   how much an instance's votes agree
    agreement      Σ_j [(Σ_i e_ij)² - Σ_i e_ij²] / sqrt(N)                   errors that labelers share

with e_ij = 1[L_ij = l_j] - P(L_ij = l_j), where l_j is the likeliest label at the instance's class. The surprise of an
instance is -log p(its labels | model), among replicates of its own.

For the first two, points are drawn from the model's population; for the others from each instance's own posterior: a
population that is not quite the model's is then no alarm about labelers. Labelers are at their estimates, which the
labels have shaped: p tends to be too large. Of a posterior, every replicate has a draw of its own, at which its
statistics are compared with those of the labels.

Source: Gelman, Meng and Stern 1996 (posterior predictive assessment).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from crowdjax.labels import Labels
from crowdjax.observation.contract import Observation, Params
from crowdjax.segments import sum_by, total

LEVEL = 0.05  # of every test
NAMES = ("label shares", "vote counts", "agreement")


class Check(NamedTuple):
    """A statistic of the labels, its mean over replicates, and the share of replicates as extreme.

    Example:
        >>> Check("agreement", 3.1, 0.2, 0.01).p <= LEVEL
        True
    """

    name: str
    observed: float
    expected: float
    p: float


class Found(NamedTuple):
    """The checks, and each instance's p-value of its surprise.

    Example:
        >>> Found((), np.array([0.01])).checks
        ()
    """

    checks: tuple[Check, ...]
    surprise: Float[np.ndarray, " I"]


class _Statistics(NamedTuple):
    shares: Float[Array, " L"]  # how many labels of each value
    votes: Float[Array, ""]
    agreement: Float[Array, ""]
    surprise: Float[Array, " I"]


def checks(
    key: PRNGKeyArray, labels: Labels, model: Observation, params: Params | Sequence[Params], replicates: int = 99
) -> Found:
    """Compare labels with replicates of a model that has a table of labelers, factors, or a row for every label.

    Args:
        labels: of the fit; every stored triple counts once.
        params: of the fit; or draws from its posterior, a list of one for each replicate.

    Example: labelers who are as the model says
        >>> from crowdjax.observation import Majority, vote_shares
        >>> rng = np.random.default_rng(0)
        >>> labels = Labels.from_arrays(np.tile(np.arange(5), 20), np.repeat(np.arange(20), 5), rng.integers(0, 3, 100),
        ...     n_values=3)
        >>> model = Majority(skill=0.0)
        >>> found = checks(jax.random.key(0), labels, model, model.start(labels, vote_shares(labels)), 19)
        >>> [check.name for check in found.checks], bool((found.surprise > 0.04).all())
        (['label shares', 'vote counts', 'agreement'], True)
    """
    arrays, static = eqx.partition(model, eqx.is_array)
    given = params if isinstance(params, list) else [params]
    observed, drawn, posterior = [], [], None
    for r, own in enumerate(jax.random.split(key, replicates)):
        of = given[min(r, len(given) - 1)]
        if r < len(given):
            seen, posterior = _observe(static, labels, arrays, of)
            observed.append(jax.tree.map(np.asarray, seen))
        drawn.append(jax.tree.map(np.asarray, _replicate(static, own, labels, arrays, of, posterior)))
    observed, drawn = (jax.tree.map(lambda *rows: np.stack(rows), *sets) for sets in (observed, drawn))
    usual = np.maximum(drawn.shares.mean(0), 1e-12)
    away = lambda shares: ((shares - usual) ** 2 / usual).sum(-1)  # noqa: E731
    pairs = (
        (away(observed.shares), away(drawn.shares), False),
        (observed.votes, drawn.votes, True),
        (observed.agreement, drawn.agreement, False),
    )
    found = tuple(_check(name, *pair) for name, pair in zip(NAMES, pairs, strict=True))
    rarer = (drawn.surprise >= observed.surprise).sum(0)
    return Found(found, (1 + rarer) / (1 + replicates))


def _check(name: str, observed: Float[np.ndarray, " R"], drawn: Float[np.ndarray, " R"], two_sided: bool) -> Check:
    upper = (1 + (drawn >= observed).sum()) / (1 + len(drawn))
    lower = (1 + (drawn <= observed).sum()) / (1 + len(drawn))
    p = min(1.0, 2 * min(upper, lower)) if two_sided else upper
    return Check(name, float(observed.mean()), float(drawn.mean()), float(p))


@partial(jax.jit, static_argnums=0)
def _observe(static, labels, arrays, params):
    """Return (the statistics of the labels, the log posterior of the points)."""
    return _statistics(labels, labels.label, eqx.combine(arrays, static), params)


@partial(jax.jit, static_argnums=0)
def _replicate(static, key, labels, arrays, params, posterior) -> _Statistics:
    """Return the statistics of one replicate: of the population's points, and of the instances' own."""
    model = eqx.combine(arrays, static)
    of_points, of_labels = jax.random.split(key)
    prior = jnp.broadcast_to(_Labelers(labels, model, params).log_points, posterior.shape)
    out = []
    for log_points in (prior, posterior):
        point = jax.random.categorical(of_points, log_points)
        drawn = replicate(of_labels, labels, model, params, point)
        out.append(_statistics(labels, drawn, model, params)[0])
    population, own = out
    return _Statistics(population.shares, population.votes, own.agreement, own.surprise)


def replicate(
    key: PRNGKeyArray, labels: Labels, model: Observation, params: Params, point: Int[Array, " I"]
) -> Int[Array, " N"]:
    """Draw labels as the model would give them at a point of each instance, for the pairs of ``labels``; -1 in the
    padding.

    Example:
        >>> from crowdjax.observation import Majority, vote_shares
        >>> labels, model = Labels.from_arrays([0, 1], [0, 0], [2, 2], n_values=3), Majority(skill=50.0)
        >>> params = model.start(labels, vote_shares(labels))
        >>> replicate(jax.random.key(0), labels, model, params, jnp.array([1])).tolist()
        [1, 1]
    """
    rows = _Labelers(labels, model, params).at(point[jnp.asarray(labels.instance)])
    return jnp.where(labels.real, jax.random.categorical(key, rows), -1)


class _Labelers:
    """What each label can be, by the point of its instance: from a table, from factors, or from a row for each."""

    def __init__(self, labels: Labels, model, params: Params):
        self.labeler = jnp.asarray(labels.labeler)
        if hasattr(model, "factors"):
            factors = model.factors(params)
            n = labels.n_classes
            skill = (factors.alpha[self.labeler] * factors.beta[jnp.asarray(labels.instance)]).sum(1) + factors.offset
            bias = 0.0 if factors.gamma is None else factors.gamma[self.labeler]
            self.at = lambda point: jax.nn.log_softmax(bias + skill[:, None] * jax.nn.one_hot(point, n), axis=1)
            self.log_points, self.likeliest = factors.log_prior, jnp.arange(n)
        elif hasattr(model, "rows"):
            rows, each = model.rows(params, labels), jnp.arange(labels.label.shape[0])
            self.at = lambda point: rows[each, :, point]
            self.log_points, self.likeliest = model.log_points(params), rows.mean(0).argmax(0)
        else:
            table = model.table(params)
            self.at = lambda point: table[self.labeler, :, point]
            self.log_points, self.likeliest = model.log_points(params), table.mean(0).argmax(0)


def _statistics(labels: Labels, label, model: Observation, params: Params) -> tuple[_Statistics, Float[Array, "I G"]]:
    labelers, n = _Labelers(labels, model, params), labels.n_instances
    n_points, dtype = labelers.log_points.shape[-1], labelers.log_points.dtype
    instance, each = jnp.asarray(labels.instance), jnp.arange(labels.label.shape[0])
    real, code = jnp.asarray(labels.real, dtype), jnp.maximum(jnp.asarray(label), 0)
    by_instance = partial(sum_by, index=instance, size=n, ordered=True)

    votes = by_instance(real[:, None] * jax.nn.one_hot(code, labels.n_values, dtype=dtype))
    number = votes.sum(1)
    concentration = ((votes / jnp.maximum(number, 1)[:, None]) ** 2).sum(1)
    mean_votes = total(jnp.where(number > 1, concentration, 0)) / jnp.maximum((number > 1).sum(), 1)

    def at_point(g):
        return by_instance(real * labelers.at(jnp.full_like(instance, g))[each, code])

    log_joint = jax.lax.map(at_point, jnp.arange(n_points)).T + labelers.log_points
    evidence = jax.nn.logsumexp(log_joint, axis=1)
    posterior = log_joint - evidence[:, None]

    best = posterior.argmax(1)[instance]  # of each label's instance
    likeliest = labelers.likeliest[best]
    error = real * ((code == likeliest) - jnp.exp(labelers.at(best)[each, likeliest]))
    shared = by_instance(error) ** 2 - by_instance(error**2)
    agreement = total(shared) / jnp.sqrt(jnp.maximum(real.sum(), 1))
    return _Statistics(votes.sum(0), mean_votes, agreement, -evidence), posterior
