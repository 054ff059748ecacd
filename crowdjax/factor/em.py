"""Expectation-maximisation for the factor model: the paper's conjugate-gradient M-step, and a closed-form bound step.

Both maximise the same objective as L-BFGS does; they are here as the paper's method, as a check, and because the
bound's curvature is a base for posterior uncertainty. L-BFGS takes fewer passes (docs/performance.md).
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from crowdjax import optimize
from crowdjax.factor.features import PRECISION, Features, Linear
from crowdjax.factor.kernels import Factors
from crowdjax.factor.model import Objective, Weights
from crowdjax.labels import Labels
from crowdjax.segments import sum_by

INNER_STEPS = 25  # of the conjugate gradients within one M-step; the paper gives no number


def em_cg(objective: Objective, x, given, m_step, *, max_steps, limit, rtol) -> optimize.Solution:
    """EM: the E-step's posterior, then Q(W) + log p(W) raised by at most 25 steps of conjugate gradients.

    Args:
        given, m_step: where ``m_step``, the posterior stays ``given``.

    Source: the paper, sections 3.1 and 3.2 (equation 10), with the log prior that equation 9 drops.
    """

    def step(x, k):
        value, grad, p = objective(x, given, m_step)
        inner = optimize.minimize(
            lambda x: objective(x, p),
            x,
            optimize.conjugate_gradient(objective.dot),
            diagonal=lambda x: objective.diagonal(x),
            max_steps=INNER_STEPS,
            refresh=0,
            dot=objective.dot,
        )
        return optimize.Step(inner.x, value, grad, p)

    return optimize.iterate(step, x, max_steps=max_steps, limit=limit, rtol=rtol, dot=objective.dot)


def em_bound(objective: Objective, x, given, m_step, *, max_steps, limit, rtol) -> optimize.Solution:
    """EM by a quadratic lower bound of log σ: every block of weights in turn gets its weighted least squares solution.

        log σ(Lη) >= ½ L η - ½ ω(η*) η² + const,      ω(η) = tanh(η/2) / 2η,      equality at η = η*

    The bound touches Q at the current point, so its maximum over one block is a Newton step with the gradient of Q and
    the curvature Σ c (p ω⁺ + (1-p) ω⁻) of the bound. Monotone, without a line search.

    Source: Jaakkola and Jordan 2000; Polson, Scott and Windle 2013 (ω is the mean of a Pólya-Gamma variable).
    """
    model = objective.model
    if model.link != "linear":
        raise ValueError(f"solver em-bound: link {model.link!r}; allowed: linear (use lbfgs or em-cg for this model)")
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
        gradient, precision = objective.unravel(-grad), objective.unravel(objective.precision)
        moves = objective.unravel(objective.moves)

        def newton(side, part):
            g, prec, free = (getattr(getattr(t, side), part) for t in (gradient, precision, moves))
            sums = objective.labels.across if side in ("instance", "class_prior") else lambda h: h
            solve = partial(_solve_dense, across=sums) if part == "dense" else _solve_free
            return x + _only(solve(getattr(model, side), curved[side], g, prec, free), side, part, weights)

        return optimize.Step(jax.lax.switch(k % len(blocks), [lambda b=b: newton(*b) for b in blocks]), value, grad, p)

    return optimize.iterate(step, x, max_steps=max_steps, limit=limit, rtol=rtol, period=len(blocks), dot=objective.dot)


def bound_curvature(labels: Labels, factors: Factors, p: Float[Array, " I"]) -> dict[str, Float[Array, "n D D"]]:
    """The bound's curvature in every row of α, β, γ and logit π: H = Σ c A v vᵀ with A = p ω(γ+s) + (1-p) ω(γ-s)."""
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
    """tanh(η/2) / 2η, and its limit ¼ at 0."""
    small = jnp.abs(eta) < 1e-3
    safe = jnp.where(small, 1.0, eta)
    return jnp.where(small, 0.25 - eta**2 / 48, jnp.tanh(safe / 2) / (2 * safe))


def _has(features: Features, part: str) -> bool:
    return features.dense is not None if part == "dense" else features.identity


def _solve_free(features, curved, g, precision, free):
    """One small system per labeler or instance; fixed weights get the identity and do not move."""
    return jnp.linalg.solve(_fenced(curved, precision, free), jnp.where(free, g, 0)[..., None])[..., 0]


def _solve_dense(features, curved, g, precision, free, across):
    """One system for the F·D weights of the dense columns: Σ_n X_n X_nᵀ ⊗ H_n."""
    rows = jnp.asarray(features.dense, g.dtype)
    size = g.size
    h = across(jnp.einsum("nf,nde,ng->fdge", rows, curved, rows, precision=PRECISION)).reshape(size, size)
    return jnp.linalg.solve(_fenced(h, precision.ravel(), free.ravel()), jnp.where(free, g, 0).ravel()).reshape(g.shape)


def _fenced(h, precision, free):
    """H + diag(precision), with the rows and columns of fixed weights replaced by the identity's."""
    both = free[..., :, None] & free[..., None, :]
    eye = jnp.eye(h.shape[-1], dtype=h.dtype)
    tiny = jnp.finfo(h.dtype).tiny ** 0.5  # a free weight without data or prior stays where it is
    diagonal = jnp.where(free, precision + tiny, 1.0)
    return jnp.where(both, h, 0) + diagonal[..., None] * eye


def _only(delta, side: str, part: str, weights: Weights):
    """A flat vector that is ``delta`` in one block of the weights and zero elsewhere."""
    zero = jax.tree.map(jnp.zeros_like, weights)
    block = getattr(zero, side)._replace(**{part: delta})
    return ravel_pytree(zero._replace(**{side: block}))[0]
