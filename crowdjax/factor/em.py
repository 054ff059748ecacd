"""Expectation-maximisation for the factor model: an exact M-step, conjugate gradients, a quadratic bound.

All maximise the same objective as L-BFGS does. Where β is constant and labelers have weights of their own (Dawid and
Skene's model, one coin) the M-step is exact and costs no pass over the labels, and acceleration makes it the fastest
solver there is. The other two are here as the published method, as a check, and because the bound's curvature is a base
for posterior uncertainty; L-BFGS takes fewer passes (docs/performance.md).
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from crowdjax import optimize
from crowdjax.directions import conjugate_gradient
from crowdjax.factor.features import PRECISION, Features, Linear
from crowdjax.factor.kernels import Factors, tally
from crowdjax.factor.model import FactorModel, Objective, Weights
from crowdjax.labels import InputError, Labels
from crowdjax.priors import FACTOR_LONGEST, FACTOR_NEAR, FACTOR_STEPS
from crowdjax.segments import sum_by

INNER_STEPS = 25  # of the conjugate gradients within one M-step; no number is published


def is_exact(model: FactorModel) -> bool:
    """Test whether ``em`` applies: one factor, β constant, α and γ each labeler's own, one class prior for all."""
    return model.constant_beta and has_start(model)


def has_start(model: FactorModel) -> bool:
    """Return whether a fit starts from ``labelers_at``: one factor, weights of labelers' own, one class prior for all,
    and β constant, or no γ and no instance features. In the others all weights must take part in the start (fits from
    the labelers alone ended lower, docs/performance.md)."""
    own = [model.labeler, *([] if model.bias is None else [model.bias])]
    simple = model.constant_beta or (model.bias is None and model.instance.dense is None)
    single = model.n_factors == 1 and model.class_prior.n_columns == 1
    return single and simple and all(f.dense is None for f in own)


def em(objective: Objective, x, given, m_step, *, max_steps, rtol) -> optimize.Loop:
    """Run EM with an exact M-step and Anderson's acceleration, for models that are ``is_exact``.

    Args:
        given, m_step: not used; an M-step at given posteriors is ``labelers_at``.
    """
    if not is_exact(objective.model):
        raise InputError("solver em: β, labelers or class prior have features; allowed: lbfgs, em-cg (or auto)")

    def step(x):
        value, grad, p, on_positives = objective.expect(x)
        new, curvature = _exact_m_step(objective, x, objective.counts, on_positives, p)
        return optimize.Step(new, value, grad, p), curvature

    return optimize.acceleration(step, x, max_steps=max_steps, rtol=rtol)


def labelers_at(objective: Objective, x, p):
    """Make the M-step in α, γ and logit π alone, at posteriors p: one pass over the labels; return the new x.

    What x says of the instances is assumed to be the same for all, as it is at the prior means.
    """
    counts = tally(objective.labels, dtype=x.dtype) if objective.counts is None else objective.counts
    return _exact_m_step(objective, x, counts, tally(objective.labels, p), p)[0]


def _exact_m_step(objective: Objective, x, counts, on_positives, p):
    """Return (x with the α, γ and logit π that maximise Q + log prior, the diagonal of its negative Hessian there).

    Per labeler a problem in (α, γ), solved by Newton's method from x: with n± the labels of the labeler on positive and
    negative instances, k± those among them that are +1, and η± = γ ± αβ,

        Q = k⁺ η⁺ - n⁺ log(1 + exp η⁺) + k⁻ η⁻ - n⁻ log(1 + exp η⁻)

    and likewise one in logit π.
    """
    model, labels = objective.model, objective.labels
    there = jnp.asarray(model.class_prior.dense[:, 0], x.dtype)  # 1; 0 where a shard is padded
    counts, on_positives, yes, n = labels.across((counts, on_positives, (p * there).sum(), there.sum()))
    on_negatives = counts - on_positives
    n_plus, n_minus = on_positives.sum(1), on_negatives.sum(1)
    k_plus, k_minus = on_positives[:, 1], on_negatives[:, 1]
    if model.beta is not None:
        yes, n = yes + model.beta[0] - 1, n + model.beta.sum() - 2
    weights = objective.unravel(x)
    beta = model.factors(weights).beta[0, 0]
    priors = [_columns(v) for v in (objective.mean, objective.precision, objective.moves)]

    def slope_and_curvature(at):
        alpha, gamma, eta = at
        plus, minus, pi = (jax.nn.sigmoid(v) for v in (gamma + alpha * beta, gamma - alpha * beta, eta))
        up, down = k_plus - n_plus * plus, k_minus - n_minus * minus
        w_plus, w_minus = n_plus * plus * (1 - plus), n_minus * minus * (1 - minus)
        slopes = (beta * (up - down), up + down, yes - n * pi)
        curves = (beta**2 * (w_plus + w_minus), w_plus + w_minus, n * pi * (1 - pi))
        g = [jnp.where(free, s - prec * (v - m), 0) for s, v, m, prec, free in zip(slopes, at, *priors, strict=True)]
        h = [jnp.where(free & (c + prec > 0), c + prec, 1) for c, _, prec, free in zip(curves, *priors, strict=True)]
        return g, h, jnp.where(priors[2][0] & priors[2][1], beta * (w_plus - w_minus), 0)

    def newton(state):
        at, _, k = state
        g, h, cross = slope_and_curvature(at)
        det = jnp.maximum(h[0] * h[1] - cross**2, jnp.finfo(x.dtype).eps * h[0] * h[1])
        steps = ((h[1] * g[0] - cross * g[1]) / det, (h[0] * g[1] - cross * g[0]) / det, g[2] / h[2])
        steps = [jnp.clip(v, -FACTOR_LONGEST, FACTOR_LONGEST) for v in steps]
        longest = jnp.maximum(jnp.abs(jnp.stack(steps[:2])).max(), jnp.abs(steps[2]))
        return [v + d for v, d in zip(at, steps, strict=True)], longest, k + 1

    def going(state):
        return (state[1] > FACTOR_NEAR) & (state[2] < FACTOR_STEPS)

    at, _, _ = jax.lax.while_loop(going, newton, (_columns(weights), jnp.array(jnp.inf, x.dtype), 0))
    _, h, _ = slope_and_curvature(at)
    return _put(weights, at), _put(jax.tree.map(jnp.ones_like, weights), h)


def _columns(weights: Weights) -> list:
    """Return [α, γ, logit π] of a model that ``has_start``; γ = 0 where there is none."""
    alpha = weights.labeler.free[:, 0]
    gamma = jnp.zeros_like(alpha) if weights.bias is None else weights.bias.free[:, 0]
    return [alpha, gamma, weights.class_prior.dense[0, 0]]


def _put(weights: Weights, columns: list):
    """Return the flat vector of weights with these α, γ and logit π."""
    alpha, gamma, eta = columns
    bias = None if weights.bias is None else Linear(None, gamma[:, None])
    parts = dict(labeler=Linear(None, alpha[:, None]), bias=bias, class_prior=Linear(eta.reshape(1, 1)))
    return ravel_pytree(weights._replace(**parts))[0]


def em_cg(objective: Objective, x, given, m_step, *, max_steps, rtol) -> optimize.Loop:
    """Run EM with conjugate gradients: the E-step's posterior, then at most 25 steps that raise Q(W) + log p(W).

    Args:
        given, m_step: where ``m_step``, the posterior stays ``given``.

    Source: Ruvolo, Whitehill, Movellan (2013), sections 3.1 and 3.2 (equation 10, with the log prior that 9 drops).
    """

    def step(x, k):
        value, grad, p = objective(x, given, m_step)
        found = optimize.minimize(
            lambda x: objective(x, p),
            x,
            conjugate_gradient(objective.inner),
            diagonal=lambda x: objective.diagonal(x),
            max_steps=INNER_STEPS,
            refresh=0,
        )
        return optimize.Step(found.x, value, grad, p)

    return optimize.iteration(step, x, max_steps=max_steps, rtol=rtol)


def em_bound(objective: Objective, x, given, m_step, *, max_steps, rtol) -> optimize.Loop:
    """Run EM with a quadratic lower bound of log σ: a weighted least-squares step for each block of weights in turn.

        log σ(Lη) >= ½ L η - ½ ω(η*) η² + const,      ω(η) = tanh(η/2) / 2η,      equality at η = η*

    The bound touches Q at the current point, so its maximum over one block is a Newton step with the gradient of Q and
    the curvature Σ c (p ω⁺ + (1-p) ω⁻) of the bound. Monotone, without a line search.

    Source: Jaakkola and Jordan 2000; Polson, Scott and Windle 2013 (ω is the mean of a Pólya-Gamma variable).
    """
    model = objective.model
    if model.link != "linear":
        raise InputError(f"solver em-bound: link {model.link!r}; allowed: linear (use lbfgs or em-cg for this model)")
    blocks = [
        (side, part) for side in Weights._fields for part in Linear._fields
        if getattr(model, side) is not None and _has(getattr(model, side), part)
    ]  # fmt: skip

    def step(x, k):
        value, grad, p = objective(x, given, m_step)
        weights = objective.unravel(x)
        curved = bound_curvature(objective.labels, model.factors(weights), p)
        if model.beta is not None:
            of_beta = (model.beta.sum() - 2) * _omega(weights.class_prior.dense[0, 0])
            curved["class_prior"] = curved["class_prior"].at[0].add(objective.labels.once(of_beta))
        gradient = objective.unravel(-grad)

        def newton(side, part):
            of_block = lambda t: getattr(getattr(t, side), part)  # noqa: E731
            g = of_block(gradient)
            prec, free = (jnp.broadcast_to(of_block(t), g.shape) for t in (objective.precision, objective.moves))
            sums = objective.labels.across if side in ("instance", "class_prior") else lambda h: h
            solve = partial(_solve_dense, across=sums) if part == "dense" else _solve_free
            return x + _only(solve(getattr(model, side), curved[side], g, prec, free), side, part, weights)

        return optimize.Step(jax.lax.switch(k % len(blocks), [lambda b=b: newton(*b) for b in blocks]), value, grad, p)

    return optimize.iteration(step, x, max_steps=max_steps, rtol=rtol, period=len(blocks))


def bound_curvature(labels: Labels, factors: Factors, p: Float[Array, " I"]) -> dict[str, Float[Array, "n D D"]]:
    """Compute the bound's curvature in every row of α, β, γ and logit π: H = Σ c A v vᵀ with A = p ω(γ+s) + (1-p)
    ω(γ-s).
    """
    i, j = labels.labeler, labels.instance
    n_factors = factors.alpha.shape[1]
    a = [factors.alpha[:, d][i] for d in range(n_factors)]
    b = [factors.beta[:, d][j] for d in range(n_factors)]
    s = sum(x * y for x, y in zip(a, b, strict=True))
    gamma = 0.0 if factors.gamma is None else factors.gamma[i]
    weight = labels.counts * (p[j] * _omega(gamma + s) + (1 - p[j]) * _omega(gamma - s))

    def outer(v, index, n, ordered):
        rows = [[sum_by(weight * x * y, index, n, ordered=ordered) for y in v] for x in v]
        return jnp.stack([jnp.stack(row, -1) for row in rows], -2)

    return {
        "labeler": labels.across(outer(b, i, labels.n_labelers, False)),
        "instance": outer(a, j, labels.n_instances, True),
        "bias": labels.across(sum_by(weight, i, labels.n_labelers))[:, None, None],
        "class_prior": _omega(factors.prior_logit)[:, None, None],
    }


def _omega(eta):
    """Return tanh(η/2) / 2η, and its limit ¼ at 0."""
    small = jnp.abs(eta) < 1e-3
    safe = jnp.where(small, 1.0, eta)
    return jnp.where(small, 0.25 - eta**2 / 48, jnp.tanh(safe / 2) / (2 * safe))


def _has(features: Features, part: str) -> bool:
    return features.dense is not None if part == "dense" else features.identity


def _solve_free(features, curved, g, precision, free):
    """Return one small system per labeler or instance; fixed weights get the identity and do not move."""
    return jnp.linalg.solve(_fenced(curved, precision, free), jnp.where(free, g, 0)[..., None])[..., 0]


def _solve_dense(features, curved, g, precision, free, across):
    """Return one system for the F·D weights of the dense columns: Σ_n X_n X_nᵀ ⊗ H_n."""
    rows = jnp.asarray(features.dense, g.dtype)
    size = g.size
    h = across(jnp.einsum("nf,nde,ng->fdge", rows, curved, rows, precision=PRECISION)).reshape(size, size)
    return jnp.linalg.solve(_fenced(h, precision.ravel(), free.ravel()), jnp.where(free, g, 0).ravel()).reshape(g.shape)


def _fenced(h, precision, free):
    """Return H + diag(precision), with the rows and columns of fixed weights replaced by the identity's."""
    both = free[..., :, None] & free[..., None, :]
    eye = jnp.eye(h.shape[-1], dtype=h.dtype)
    tiny = jnp.finfo(h.dtype).tiny ** 0.5  # a free weight without data or prior stays where it is
    diagonal = jnp.where(free, precision + tiny, 1.0)
    return jnp.where(both, h, 0) + diagonal[..., None] * eye


def _only(delta, side: str, part: str, weights: Weights):
    """Return a flat vector that is ``delta`` in one block of the weights and zero elsewhere."""
    zero = jax.tree.map(jnp.zeros_like, weights)
    block = getattr(zero, side)._replace(**{part: delta})
    return ravel_pytree(zero._replace(**{side: block}))[0]
