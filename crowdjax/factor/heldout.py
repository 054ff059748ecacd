"""The likelihood of labels that are held out: how many factors describe a crowd, without any truth.

Labels are cut into folds; each is predicted from a fit to the others. With p_j the posterior given the training labels,

    log p(L_ij | training) = log Σ_z p(z_j) p(L_ij | z_j, W)            logit P(L_ij = +1 | z) = z α_i·β_j + γ_i

Every held-out label is scored by itself; W is the fit's, not integrated over. Held-out labels do not show where the
decision boundary is, nor whether the inferred classes are right: docs/models.md, "Reading held-out labels".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from crowdjax import likelihood
from crowdjax.factor.batches import sweep
from crowdjax.factor.fit import Solver
from crowdjax.factor.kernels import Factors
from crowdjax.factor.model import FactorModel
from crowdjax.factor.presets import PRESETS, FactorConfig, build
from crowdjax.labels import InputError, Labels
from crowdjax.segments import sum_by

N_FOLDS = 5
COUNTS = (0, 1, 2, 3)  # numbers of factors to choose from


class HeldOut(NamedTuple):
    """The held-out log-likelihood of each number of factors, and the chosen number.

    Attributes:
        n_factors: the numbers of factors; 0 is Dawid and Skene's model, whose instances are all alike.
        log_likelihood: mean log-probability of a held-out label, in nats, [M].
        difference, standard_error: the same less that of the best, and its standard error over instances, [M].
        chosen: the fewest factors within one standard error of the best.

    Example: one factor is better, and by more than its standard error
        >>> bad, zero = np.array([-0.1, 0.0]), np.zeros(2)
        >>> HeldOut((0, 1), bad - 0.5, bad, np.array([0.02, 0.0]), 1).chosen
        1
    """

    n_factors: tuple[int, ...]
    log_likelihood: Float[np.ndarray, " M"]
    difference: Float[np.ndarray, " M"]
    standard_error: Float[np.ndarray, " M"]
    chosen: int


def folds(labels: Labels, n_folds: int = N_FOLDS, seed: int = 0) -> Int[np.ndarray, " N"]:
    """Assign every stored triple to a fold; repeated judgements of one labeler on one instance share one. Host side.

    Example:
        >>> folds(Labels.from_arrays([0, 0, 1, 1], [0, 0, 0, 1], [1, 0, 1, 1]), 3).tolist()
        [2, 2, 1, 0]
    """
    pair = np.asarray(labels.instance, np.int64) * labels.n_labelers + np.asarray(labels.labeler)
    _, pair = np.unique(pair, return_inverse=True)
    n = int(pair.max()) + 1
    return np.random.default_rng([seed, 3]).permutation(np.arange(n) % n_folds)[pair].astype(np.int32)


def label_log_likelihood(labels: Labels, factors: Factors, posterior: Float[Array, " I"]) -> Float[Array, " N"]:
    """Compute log Σ_z p(z_j) p(L_ij | z_j) of every stored triple by itself, from a fit that has not seen it.

    Args:
        labels: N stored triples; their multiplicities are not used.
        factors: α, β, γ of the fit (``model.factors``).
        posterior: P(z_j = +1 | training labels).

    Example: an undecided instance, a labeler who is right with chance .8
        >>> factors = Factors(jnp.array([[1.3862944]]), jnp.array([[1.0]]), None, None)
        >>> found = label_log_likelihood(Labels.from_arrays([0], [0], [1]), factors, jnp.array([0.5]))
        >>> print(f"{jnp.exp(found[0]):.2f}")
        0.50
    """
    i, j = labels.labeler, labels.instance
    s = sum(factors.alpha[i, d] * factors.beta[j, d] for d in range(factors.alpha.shape[1]))
    t = likelihood.per_triple(labels.label, s, 0.0 if factors.gamma is None else factors.gamma[i])
    p = jnp.clip(posterior, 1e-7, 1 - 1e-7)[j]  # a posterior that rounds to 0 or 1 is not certain
    return jnp.logaddexp(jnp.log(p) + t.log_plus, jnp.log1p(-p) + t.log_minus)


def choose_factors(
    labels: Labels,
    config: FactorConfig = PRESETS["factor"],
    key: PRNGKeyArray | None = None,
    solver: Solver = Solver(restarts=4),
    *,
    features: Mapping[str, Float[np.ndarray, "n F"]] | None = None,
    counts: tuple[int, ...] = COUNTS,
    n_folds: int = N_FOLDS,
    seed: int = 0,
) -> HeldOut:
    """Choose the number of factors by cross-validation over labels; folds × numbers of factors × restarts run in one
    program.

    Every label is held out once. Fewer factors are kept unless more predict better by a standard error of the paired
    difference: a factor that does not pay only costs what instances and labelers have labels for.

    Args:
        labels: the judgements; gold is kept in every fold.
        config: the configuration of the model; its number of factors is replaced.
        key: random key for the starts of factors 2 to D; default: from ``seed``.
        solver: settings of every fit; restarts apply to two factors or more, the best objective is kept.
        features: standardised feature columns, by ``labeler`` and ``instance``.
        counts: numbers of factors to compare, ascending.
        n_folds, seed: number of folds, and the seed of their assignment.

    Raises:
        InputError: there are fewer judgements than folds.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> who, what = np.repeat(np.arange(9), 40), np.tile(np.arange(40), 9)
        >>> said = np.where(rng.random(360) < 0.8, what % 2, 1 - what % 2)
        >>> choose_factors(Labels.from_arrays(who, what, said), counts=(0, 1), n_folds=2).chosen
        0

    Source: docs/models.md, "Reading held-out labels".
    """
    fold = folds(labels, n_folds, seed)
    if (fold.max() + 1) < n_folds:
        raise InputError(f"factors: auto with {fold.max() + 1} judgements; allowed: {n_folds} or more")
    columns = {f"{side}_features": v for side, v in (features or {}).items()}
    models = [_candidate(config, n, max(counts), labels, columns) for n in counts]
    priors = jax.tree.map(lambda *v: jnp.stack(v), *((m.mean, m.variance) for m in models))
    plan = [(m, f, r) for m, n in enumerate(counts) for f in range(n_folds) for r in range(_restarts(n, solver))]
    model, held, restart = (np.array(column, np.int32) for column in zip(*plan, strict=True))
    key = jax.random.key(seed) if key is None else key
    members = (model, held, _keys(key, held, restart))
    shared = jax.tree.map(jnp.asarray, (labels, models[-1], priors, fold))
    fits = sweep(_make, shared, members, dataclasses.replace(solver, restarts=1))
    objective = np.where(np.isfinite(fits.objective), fits.objective, -np.inf)
    rows = [np.flatnonzero((model == m) & (held == f)) for m in range(len(counts)) for f in range(n_folds)]
    best = np.array([r[objective[r].argmax()] for r in rows])
    kept, (model, held, _) = jax.tree.map(lambda v: v[best], ((fits.weights, fits.posterior), members))
    by_instance = np.asarray(_by_instance(shared, model, held, *kept), np.float64)
    n_labels = float(np.asarray(labels.counts, np.float64).sum())
    return _compare(counts, by_instance.reshape(len(counts), n_folds, -1).sum(1), n_labels)


def _compare(counts, by_instance: Float[np.ndarray, "M I"], n_labels: float) -> HeldOut:
    """Return the choice, given the log-likelihood of every instance's labels when they were held out.

    A sum over I instances of differences d_j has the variance I Var(d_j).
    """
    total = by_instance.sum(1) / n_labels
    best = int(np.where(np.isfinite(total), total, -np.inf).argmax())
    gap = by_instance - by_instance[best]
    error = np.sqrt(gap.shape[1]) * gap.std(1, ddof=1) / n_labels if gap.shape[1] > 1 else np.zeros(len(gap))
    difference = total - total[best]
    chosen = next(n for n, d, e in zip(counts, difference, error, strict=True) if d >= -e)
    return HeldOut(tuple(counts), total, difference, error, chosen)


def with_count(config: FactorConfig, n: int) -> FactorConfig:
    """Set the number of factors of a configuration to n; 0 gives Dawid and Skene's model or, without bias, the one-coin
    model.

    Example:
        >>> with_count(PRESETS["factor"], 0) == PRESETS["dawid-skene"]
        True
    """
    if n > 0:
        return dataclasses.replace(config, n_factors=n)
    simple = PRESETS["dawid-skene"]
    bias = None if config.bias is None else simple.bias
    return dataclasses.replace(
        config, n_factors=1, labeler=simple.labeler, instance=simple.instance, bias=bias, link="linear"
    )


def _candidate(config: FactorConfig, n: int, most: int, labels: Labels, columns) -> FactorModel:
    """Return the model with n factors in the arrays of one with ``most``: a variance of 0 fixes what it does
    without."""
    if n > 0:
        return build(dataclasses.replace(config, n_factors=most), labels, **columns).with_factors(n)
    at_one = 1.0 if config.link == "linear" else 0.0
    like = dataclasses.replace(
        with_count(config, 0), n_factors=most, instance=(at_one, config.instance[1]), link=config.link
    )
    model = build(like, labels, **columns).with_factors(1)
    fixed = jax.tree.map(jnp.zeros_like, model.variance.instance)
    return dataclasses.replace(model, variance=model.variance._replace(instance=fixed))


def _restarts(n: int, solver: Solver) -> int:
    """With one factor restarts would repeat the same fit."""
    return solver.restarts if n > 1 else 1


def _make(shared, member) -> tuple[Labels, FactorModel, PRNGKeyArray]:
    which, held, key = member
    labels, _, _, fold = shared
    return labels.with_weight(labels.counts * (fold != held)), _model(shared, which), key


def _model(shared, which) -> FactorModel:
    _, template, priors, _ = shared
    mean, variance = jax.tree.map(lambda v: v[which], priors)
    return dataclasses.replace(template, mean=mean, variance=variance)


@jax.jit
def _keys(key, fold, restart):
    return jax.vmap(lambda f, r: jax.random.fold_in(jax.random.fold_in(key, f), r))(fold, restart)


@jax.jit
def _by_instance(shared, model, held, weights, posterior) -> Float[Array, "K I"]:
    """Return the log-likelihood of every instance's held-out labels, for each fit."""
    labels, _, _, fold = shared

    def one(which, held, weights, posterior):
        score = label_log_likelihood(labels, _model(shared, which).factors(weights), posterior)
        return sum_by(labels.counts * (fold == held) * score, labels.instance, labels.n_instances, ordered=True)

    return jax.lax.map(lambda xs: one(*xs), (model, held, weights, posterior))
