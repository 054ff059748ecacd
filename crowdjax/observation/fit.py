"""The fit of any observation model: EM where the model has an M-step, else by the gradient; one program.

    objective(params) = evidence(table, log_points) + log_prior(params)

A fit starts at the maximum of Q at the vote shares, which takes no pass over the labels. EM is accelerated (Anderson);
otherwise the gradient goes to L-BFGS. Both scale each parameter by ``specs``: a labeler's parameters by the number of
that labeler's labels, shared ones by the number of all labels.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from crowdjax import optimize
from crowdjax.directions import inner, lbfgs
from crowdjax.fits import ObservationFit as Fit
from crowdjax.labels import InputError, Labels
from crowdjax.observation.bilinear import BilinearPass, bilinear_pass
from crowdjax.observation.blocks import over_blocks
from crowdjax.observation.contract import Observation, Params, Pass, refuse_faulty
from crowdjax.observation.table import evidence, table_pass, tally, vote_shares
from crowdjax.segments import total
from crowdjax.stopping import Solver
from crowdjax.stored import stored

PLAIN = 1e-6  # least gain, in units of 1 + |objective|, that counts where EM is not accelerated
CURVATURE = 0.25  # of a log-odds, per label, at most


def fit(labels: Labels, model: Observation, start: Params | None = None, solver: Solver = Solver()) -> Fit:
    """Fit an observation model to labels: a pure function, so it may be vmapped over weights, starts or the model's
    arrays.

    Args:
        labels: labels of K classes and L values; gold fixes the class of its instance.
        model: a frozen dataclass or an ``equinox.Module``.
        start: initial parameters; default: the maximum of Q at the vote shares.

    Raises:
        InputError: ``em`` is requested for a model without an M-step.

    Example: the third labeler contradicts the others
        >>> from crowdjax.observation import OneCoin
        >>> label = [0, 0, 1, 2, 2, 0, 1, 1, 2]
        >>> labels = Labels.from_arrays([0, 1, 2] * 3, [0] * 3 + [1] * 3 + [2] * 3, label, n_values=3)
        >>> fit_jit(labels, OneCoin()).posterior.argmax(1).tolist()
        [0, 2, 1]
    """
    return stages(labels, model, start, solver).run()


@stored
def _run(static, solver, labels, arrays, start):
    return fit(labels, eqx.combine(arrays, static), start, solver)


def init(labels: Labels, model: Observation) -> Params:
    """Return parameters to start a solver or a sampler of one's own from; check every array that the model gives.

    Args:
        labels: N stored triples of W labelers and I instances.
        model: any with the contract of ``Observation``, the contextual one among them (``contextual.Contextual``).

    Returns:
        ``model.start(labels, vote_shares(labels))``: a pytree, whose leaves have names.

    Raises:
        InputError: an array has another shape than the labels ask for; says which, its shape and the one allowed.

    Example:
        >>> from crowdjax.observation import BiasedCoin
        >>> labels = Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 2, 2], n_values=3)
        >>> {name: value.shape for name, value in init(labels, BiasedCoin(population="fixed")).items()}
        {'w': (3, 4), 'classes': (3,), 'exponent': ()}
    """
    refuse_faulty(labels, model)
    return model.start(labels, vote_shares(labels))


def fit_jit(labels: Labels, model: Observation, start: Params | None = None, solver: Solver = Solver()) -> Fit:
    """Run :func:`fit` compiled, once for each shape, model and solver.

    Example:
        >>> from crowdjax.observation import Majority
        >>> labels = Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 2, 2], n_values=3)
        >>> print(fit_jit(labels, Majority()).posterior.argmax(1))
        [2]
    """
    arrays, static = eqx.partition(model, eqx.is_array)
    return _run(static, solver, labels, arrays, start)


def predict(labels: Labels, model: Observation, params: Params) -> Pass | BilinearPass:
    """Compute the posteriors of labels at given parameters in one pass; the labels need not be those of the fit.

    Example:
        >>> from crowdjax.observation import Majority
        >>> labels = Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 2, 2], n_values=3)
        >>> print(predict(labels, Majority(), fit_jit(labels, Majority()).params).posterior.argmax(1))
        [2]
    """
    if hasattr(model, "factors"):
        return bilinear_pass(labels, model.factors(params))
    if hasattr(model, "predict"):
        return model.predict(labels, params)
    return table_pass(labels, model.table(params), model.log_points(params), model.class_of_point(params))


@stored
def _predict(static, arrays, labels, params):
    return predict(labels, eqx.combine(arrays, static), params)


def predict_jit(labels: Labels, model: Observation, params: Params) -> Pass | BilinearPass:
    """Run :func:`predict` compiled, once for each shape and model.

    Example:
        >>> from crowdjax.observation import Majority
        >>> labels = Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 2, 2], n_values=3)
        >>> print(predict_jit(labels, Majority(), fit_jit(labels, Majority()).params).posterior.argmax(1))
        [2]
    """
    arrays, static = eqx.partition(model, eqx.is_array)
    return _predict(static, arrays, labels, params)


def stages(labels: Labels, model: Observation, start: Params | None, solver: Solver) -> optimize.Staged:
    """Build a fit as its one stage, to run in blocks of steps (``crowdjax.drive``)."""
    has_m_step = hasattr(model, "m_step")
    if solver.method == "em" and not has_m_step:
        raise InputError("method: em needs a model with an m_step; allowed: auto, lbfgs")
    if solver.method == "lbfgs" and hasattr(model, "predict"):
        raise InputError("method: lbfgs needs a model of one table; allowed: auto, em")
    if hasattr(model, "stages"):
        return model.stages(labels, start, solver)
    by_em = has_m_step and solver.method != "lbfgs"
    votes = vote_shares(labels)
    first = model.start(labels, votes) if start is None else start
    first = jax.tree.map(lambda v: jnp.asarray(v, jnp.result_type(float)), first)
    x0, unravel = ravel_pytree(first)
    scale = scale_of(labels, model, first)
    metric = jnp.where(scale > 1, scale, 0)  # what no label tells has no say in the length of a step

    def at_votes(params: Params) -> Params:
        """Return the maximum of Q where the classes are the shares of votes."""
        of_point = model.class_of_point(params)
        if of_point.shape[0] != of_point.shape[1]:  # points are not the classes: the first pass says where they are
            return params
        points = _points(labels, votes, model.log_points(params))
        counts, points = _across(labels, model, params, tally(labels, votes), points)
        return (
            m_step(model, params, counts, points) if has_m_step else _maximize_q(model, params, counts, points, scale)
        )

    def prepare(carry, k):
        x, best = carry
        return (x if start is not None else ravel_pytree(at_votes(unravel(x)))[0]), best

    def em_step(x):
        params = unravel(x)
        found = predict(labels, model, params)
        counts, points = _across(labels, model, params, found.counts, found.points)
        new = ravel_pytree(model.m_step(params, counts, points))[0]
        value = labels.across(found.value) + model.log_prior(params)
        return optimize.Step(new, -value, scale * (x - new), found.posterior), metric

    def downhill(x):
        def local(x):
            params = unravel(x)
            parts = model.table(params), model.log_points(params), model.class_of_point(params)
            return evidence(labels, *parts)

        value, gradient = jax.value_and_grad(local)(x)
        value, gradient = labels.across((value, gradient))
        prior, of_prior = jax.value_and_grad(lambda x: model.log_prior(unravel(x)))(x)
        return -(value + prior), -(gradient + of_prior), None

    def loop(carry, k):
        settings = dict(max_steps=solver.max_steps, rtol=max(solver.rtol, getattr(model, "rtol", 0.0)))
        if by_em and getattr(model, "accelerated", True):
            return optimize.acceleration(em_step, carry[0], **settings)
        if by_em:
            settings["rtol"] = max(solver.rtol, PLAIN)
            return optimize.iteration(lambda x, k: em_step(x)[0], carry[0], **settings)
        return optimize.minimizer(downhill, carry[0], lbfgs(inner=inner), diagonal=lambda x: scale, **settings)

    def close(carry, k, found):
        best = {"x": found.x, "value": found.value, "code": found.code, "steps": found.n_steps}
        return found.x, best | {"history": found.history}

    def end(carry):
        best = carry[1]
        params = unravel(best["x"])
        return Fit(
            params=params,
            posterior=predict(labels, model, params).posterior,
            objective=-best["value"],
            log_likelihood=-best["value"] - model.log_prior(params),
            code=best["code"],
            n_steps=best["steps"],
            history=-best["history"],
        )

    best = {
        "x": x0,
        "value": jnp.array(jnp.inf, x0.dtype),
        "code": jnp.array(optimize.RUNNING),
        "steps": jnp.array(0),
        "history": jnp.full(solver.max_steps, jnp.nan, x0.dtype),
    }
    limit = lambda carry, k: jnp.asarray(solver.max_steps)  # noqa: E731
    return optimize.Staged((x0, best), np.arange(1), prepare, limit, loop, close, lambda carry: carry[1]["code"], end)


def _points(labels: Labels, q: Float[Array, "I G"], log_points) -> Float[Array, " G"] | Float[Array, "I G"]:
    """Return expected instances at the points, or of each instance where its prior is its own, as a pass gives them."""
    q = q if labels.shard is None else q * labels.shard.real[:, None]
    return q.sum(0) if log_points.ndim == 1 else q


def _across(labels: Labels, model: Observation, params: Params, counts, points):
    """Return the sufficient statistics of all shards; what is of each instance stays where it is, or is summed by the
    model's ``gather``."""
    if hasattr(model, "gather"):
        points = model.gather(params, points)
    elif points.ndim > 1:
        return labels.across(counts), points
    return labels.across((counts, points))


def scale_of(labels: Labels, model: Observation, params: Params) -> Float[Array, " P"]:
    """Estimate the curvature of the objective in each parameter from the number of labels that depend on it.

    Example: a labeler of two labels
        >>> from crowdjax.observation import Majority
        >>> labels, model = Labels.from_arrays([0, 0], [0, 1], [2, 2], n_values=3), Majority()
        >>> scale_of(labels, model, {"skill": jnp.ones(1), "classes": jnp.zeros(3)}).tolist()
        [1.5, 1.5, 1.5, 1.5]
    """

    def block(sums, here):
        return here.add(sums, here.counts), here.sum(here.counts)

    dtype = jnp.result_type(float)
    by_labeler, by_instance = over_blocks(block, labels, jnp.zeros(labels.n_labelers, dtype), (), dtype)
    by_labeler, whole = labels.across((by_labeler, total(by_instance)))
    of = {"labeler": by_labeler, "instance": by_instance, None: whole}

    specs = jax.tree.leaves(model.specs(params), is_leaf=lambda spec: spec is None)
    each = [_spread(of[spec], value) for value, spec in zip(jax.tree.leaves(params), specs, strict=True)]
    if hasattr(model, "rescaled"):
        each = model.rescaled(params, jax.tree.unflatten(jax.tree.structure(params), each))
    return 1 + CURVATURE * ravel_pytree(each)[0]


def m_step(model: Observation, params: Params, counts: Float[Array, "W L G"], points: Float[Array, " G"]) -> Params:
    """Compute the maximum of Q: by the model's own M-step, or by L-BFGS where it has none.

    Example:
        >>> from crowdjax.observation import Majority
        >>> labels, model = Labels.from_arrays([0, 1], [0, 0], [2, 2], n_values=3), Majority()
        >>> params = model.start(labels, jnp.ones((1, 3)) / 3)
        >>> m_step(model, params, jnp.zeros((2, 3, 3)), jnp.zeros(3))["skill"].tolist()
        [1.0, 1.0]
    """
    if hasattr(model, "m_step"):
        return model.m_step(params, counts, points)
    of_labeler = counts.sum((1, 2))
    specs = jax.tree.leaves(model.specs(params), is_leaf=lambda spec: spec is None)
    of = {"labeler": of_labeler, None: of_labeler.sum()}
    each = [_spread(of[spec], value) for value, spec in zip(jax.tree.leaves(params), specs, strict=True)]
    return _maximize_q(model, params, counts, points, 1 + CURVATURE * ravel_pytree(each)[0])


def _spread(n: Float[Array, "*rows"], value: Array) -> Array:
    """Return a number of each row, for every number of the row."""
    return jnp.broadcast_to(n.reshape(n.shape + (1,) * (value.ndim - n.ndim)), value.shape)


def _maximize_q(model: Observation, params: Params, counts, points, scale) -> Params:
    """Return the maximum of Q at given counts, by L-BFGS; it takes no pass over the labels."""
    x0, unravel = ravel_pytree(params)

    def q(x):
        params = unravel(x)
        of_points = (points * model.log_points(params)).sum()
        return -((counts * model.table(params)).sum() + of_points + model.log_prior(params))

    def downhill(x):
        value, gradient = jax.value_and_grad(q)(x)
        return value, gradient, None

    settings = dict(diagonal=lambda x: scale, max_steps=50, rtol=1e-4)
    return unravel(optimize.minimize(downhill, x0, lbfgs(inner=inner), **settings).x)
