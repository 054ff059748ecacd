"""Fitting the factor model: start, solve, test the orientation, and keep the better of two optima.

Everything is one program with one copy of the objective. It runs up to four stages, each a minimisation:

    1  M-step at the majority vote's posterior          (from the prior means; skipped where a fit is continued)
    2  the objective itself, from there
    3  M-step at the posterior with switched parts put right, where stage 2 seems to have switched classes
    4  the objective, from there; the better of 2 and 4 is the fit

In the simpler models (``em.has_start``) stages 1 and 3 are M-steps in the labelers alone: one pass over the labels.

Why: z → -z with α → -α explains the labels as well, and starting from the prior means most fits end switched.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from crowdjax import optimize
from crowdjax.directions import lbfgs
from crowdjax.factor.em import em, em_bound, em_cg, has_start, is_exact, labelers_at
from crowdjax.factor.features import PRECISION
from crowdjax.factor.kernels import Factors, discrimination, majority
from crowdjax.factor.model import FactorModel, Objective, Weights
from crowdjax.fits import FactorFit as Fit
from crowdjax.labels import Labels
from crowdjax.segments import total
from crowdjax.stopping import START_RTOL
from crowdjax.stopping import FactorSolver as Solver

LOCK_STEP_TO = 10_000_000  # labels, of all restarts together


def fit(
    labels: Labels,
    model: FactorModel,
    key: PRNGKeyArray,
    solver: Solver = Solver(),
    start: Weights | None = None,
) -> Fit:
    """Fit the factor model to labels: a pure function of its arguments. Jit it, vmap it, or call ``fit_jit``.

    Args:
        labels: the judgements, with gold where known.
        model: features and priors (``crowdjax.factor.build``).
        key: random key for the start of factors 2 to D.
        solver: settings of the solver, with the number of restarts.
        start: weights to continue from; default: the M-step at the majority vote. Restarts do not apply with a start.

    Raises:
        InputError: labels are not of two classes.

    Example:
        >>> import jax
        >>> from crowdjax.factor import PRESETS, build, fit_jit
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> found = fit_jit(labels, build(PRESETS["dawid-skene"], labels), jax.random.key(0))
        >>> (found.posterior > 0.5).tolist()
        [True, False, True, False]
    """
    if start is not None or solver.restarts == 1:
        return _fit_once(labels, model, key, solver, start)
    keys = jax.vmap(lambda r: jax.random.fold_in(key, r))(jnp.arange(solver.restarts))
    at_once = solver.restarts if _in_lock_step(labels, solver) else None
    fits = jax.lax.map(lambda k: _fit_once(labels, model, k, solver, None), keys, batch_size=at_once)
    best = jnp.argmax(jnp.where(jnp.isfinite(fits.objective), fits.objective, -jnp.inf))
    chosen = jax.tree.map(lambda v: v[best], fits)
    return dataclasses.replace(chosen, n_steps=fits.n_steps.sum())


def fit_jit(
    labels: Labels,
    model: FactorModel,
    key: PRNGKeyArray,
    solver: Solver = Solver(),
    start: Weights | None = None,
) -> Fit:
    """Run :func:`fit` compiled, once per shape and solver.

    Example:
        >>> from crowdjax.factor import PRESETS, build
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> found = fit_jit(labels, build(PRESETS["dawid-skene"], labels), jax.random.key(0))
        >>> int(found.code) == optimize.CONVERGED, bool(found.objective < found.log_likelihood)
        (True, True)
    """
    return _fit_jit(labels, model, key, solver, start)


_fit_jit = eqx.filter_jit(fit)


def _in_lock_step(labels: Labels, solver: Solver) -> bool:
    """Return whether restarts take their steps together: on a GPU, which few labels do not keep busy."""
    return jax.default_backend() != "cpu" and labels.label.shape[0] * solver.restarts <= LOCK_STEP_TO


def _fit_once(labels, model, key, solver, start) -> Fit:
    return stages(labels, model, key, start, solver).run()


def stages(labels, model, key, start, solver) -> optimize.Staged:
    """Build one start of :func:`fit` as stages, to run in blocks of steps (``crowdjax.drive``)."""
    objective = Objective(labels, model)
    continued = start is not None
    fresh, unravel = ravel_pytree(model.start(key, solver.jitter, labels.shard))
    one_pass = has_start(model)
    x0 = ravel_pytree(start)[0] if continued else fresh
    method = solver.method
    if method == "auto":
        method = "em" if is_exact(model) else "lbfgs"
    methods = {"lbfgs": partial(_lbfgs, refresh=solver.refresh), "em": em, "em-cg": em_cg, "em-bound": em_bound}
    votes = majority(labels).astype(x0.dtype)

    def is_m_step(k):
        return (k == 0) | (k == 2)

    def prepare(carry, k):
        if not one_pass:
            return carry
        x, given, best = carry
        anew = jnp.where(k == 1, not continued, best["suspect"])
        x = jax.lax.cond(anew, lambda p: labelers_at(objective, fresh, p), lambda p: x, given)
        return x, given, best | {"steps": best["steps"] + anew}

    def limit(carry, k):
        most = jnp.where(is_m_step(k), solver.start_steps, solver.max_steps)
        most = jnp.where((k == 0) & continued, 0, most)
        return jnp.where((k >= 2) & ~carry[2]["suspect"], 0, most)

    def loop(carry, k):
        x, given, _ = carry
        held = None if one_pass else given
        rtol = jnp.where(is_m_step(k), START_RTOL, solver.rtol)
        return methods[method](objective, x, held, is_m_step(k), max_steps=solver.max_steps, rtol=rtol)

    def close(carry, k, found):
        _, given, best = carry
        ran = limit(carry, k) > 0

        def check(p):  # what is given is the majority vote until here
            return unswitch(labels, model, model.factors(unravel(found.x)), given, p)

        given, suspect = jax.lax.cond(k == 1, check, lambda p: (given, best["suspect"]), found.aux)
        better = ran & ~is_m_step(k) & ((k == 1) | (found.value < best["value"]))
        keep = lambda new, old: jnp.where(better, new, old)  # noqa: E731
        best = {
            "x": keep(found.x, best["x"]),
            "value": keep(found.value, best["value"]),
            "posterior": keep(found.aux, best["posterior"]),
            "code": keep(found.code, best["code"]),
            "history": keep(found.history, best["history"]),
            "steps": best["steps"] + found.n_steps,
            "suspect": suspect,
            "switched": jnp.where(k == 3, better, best["switched"]),
        }
        return found.x, given, best

    def end(carry):
        best = carry[2]
        weights = unravel(best["x"])
        return Fit(
            weights=weights,
            posterior=best["posterior"],
            objective=-best["value"],
            log_likelihood=-best["value"] - objective.log_prior(weights),
            code=best["code"],
            n_steps=best["steps"],
            history=-best["history"],
            switched=best["switched"],
        )

    best = {
        "x": x0,
        "value": jnp.array(jnp.inf, x0.dtype),
        "posterior": votes,
        "code": jnp.array(optimize.RUNNING),
        "history": jnp.full(solver.max_steps, jnp.nan, x0.dtype),
        "steps": jnp.array(0),
        "suspect": jnp.array(False),
        "switched": jnp.array(False),
    }
    numbers = np.array([1, 3]) if one_pass else np.arange(4)
    return optimize.Staged((x0, votes, best), numbers, prepare, limit, loop, close, lambda carry: carry[2]["code"], end)


def unswitch(
    labels: Labels, model: FactorModel, factors: Factors, votes: Float[Array, " I"], p: Float[Array, " I"]
) -> tuple[Float[Array, " I"], Bool[Array, ""]]:
    """Return (posterior with switched parts put right, whether any part was switched).

    The whole crowd counts as switched where Σ c s < 0, or where the posterior agrees with the majority vote on less
    than half of the instances. A region - the support of one instance feature, |Φβ| says how much an instance belongs
    to it - counts as switched where they agree on less than half of it.
    """
    agreement = jnp.where(votes == 0.5, 0.5, ((p > 0.5) == (votes > 0.5)).astype(p.dtype))
    signed, agreed = labels.across((discrimination(labels, factors), total(agreement - 0.5)))
    flip = jnp.broadcast_to((signed < 0) | (agreed < 0), p.shape)
    if model.instance.dense is not None:
        membership = jnp.abs(jnp.asarray(model.instance.dense, p.dtype))
        membership /= jnp.maximum(membership.sum(1, keepdims=True), jnp.finfo(p.dtype).tiny)
        of_region = jnp.matmul(agreement, membership, precision=PRECISION)
        of_region, size = labels.across((of_region, membership.sum(0)))
        of_region /= jnp.maximum(size, jnp.finfo(p.dtype).tiny)
        flip |= jnp.matmul(membership, of_region, precision=PRECISION) < 0.5
    if labels.gold is not None:
        flip &= labels.gold < 0
    if labels.shard is not None:
        flip &= labels.shard.rows < labels.shard.n_instances
    return jnp.where(flip, 1 - p, p), labels.across(flip.sum()) > 0


def _lbfgs(objective: Objective, x, given, m_step, *, max_steps, rtol, refresh) -> optimize.Loop:
    """Run L-BFGS on the objective itself, or on Q at ``given`` posteriors where ``m_step``."""
    return optimize.minimizer(
        lambda x: objective(x, given, m_step),
        x,
        lbfgs(inner=objective.inner),
        diagonal=lambda x: objective.diagonal(x),
        max_steps=max_steps,
        rtol=rtol,
        refresh=refresh,
    )
