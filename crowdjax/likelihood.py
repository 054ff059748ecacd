"""The observation model that both systems share, in log space, with its gradients.

Equation 1 of Ruvolo, Whitehill, Movellan (2013) is the probability that labeler i is right about instance j. With
labels and truths in {-1, +1}, which codes 0 and 1 stand for, it is (z² = 1)

    log p(L_ij | z_j) = log σ( L_ij (z_j s_ij + γ_ij) )            logit P(L_ij = +1 | z_j) = z_j s_ij + γ_ij

with s the discrimination and γ the log-odds of answering +1. The truth is summed out per instance:

    ℓ_j^z     = Σ_i c_ij log σ( L_ij (z s_ij + γ_ij) )              c: multiplicity, 0 for padding
    evidence  = Σ_j log( π_j exp ℓ_j^+ + (1 - π_j) exp ℓ_j^- )
    posterior = P(z_j = +1 | L) = σ( logit π_j + ℓ_j^+ - ℓ_j^- )

Plain functions of arrays: call them in your own jitted code. s and γ are given per triple here; the factor model's
kernels (``crowdjax.factor.kernels``) go over blocks of triples with the same per-triple functions.

Source: Ruvolo, Whitehill, Movellan, equations 1-3 and section 3; docs/models.md, section 1.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8

from crowdjax.labels import Labels
from crowdjax.segments import sum_by, total

__all__ = [
    "PerTriple",
    "curvature",
    "discrimination_bias",
    "evidence",
    "expected_log_likelihood",
    "gradients",
    "instance_evidence",
    "instance_log_likelihood",
    "per_triple",
    "posterior",
    "sensitivity_specificity",
]


class PerTriple(NamedTuple):
    """Log-likelihoods log p(L | z = ±1) of each triple, and the slopes σ(-L(z s + γ)) that give their gradients.

    Example: the slope of log σ(t) at t = 1, of the label +1 and the truth +1
        >>> t = per_triple(jnp.ones(1), jnp.ones(1))
        >>> bool(jnp.isclose(t.slope_plus, 1 - jnp.exp(t.log_plus))[0])
        True
    """

    log_plus: Float[Array, " N"]
    log_minus: Float[Array, " N"]
    slope_plus: Float[Array, " N"]
    slope_minus: Float[Array, " N"]


@jax.custom_jvp
def _log_sigmoid(t):
    """Return (log σ(t), σ(-t)) from one exponential and one logarithm; exact in both tails, also in float32."""
    e = jnp.exp(-jnp.abs(t))
    return jnp.minimum(t, 0) - _log1p(e), jnp.where(t >= 0, e, 1) / (1 + e)


def _log1p(e):
    """Return log(1+e) for e in [0, 1]. In float32 as 2 artanh(e / (2+e)), whose series takes a third of the time of
    ``jnp.log1p`` on a CPU (docs/performance.md); its rest after seven terms is below rounding."""
    if e.dtype != jnp.float32:
        return jnp.log1p(e)
    z = e / (2 + e)  # at most 1/3
    z2 = z * z
    series = 2 / 13  # with the 2 in it XLA's loop is short enough to be vectorised
    for k in (11, 9, 7, 5, 3, 1):
        series = series * z2 + 2 / k
    return z * series


@_log_sigmoid.defjvp
def _log_sigmoid_jvp(primals, tangents):
    """Return the derivative of |t| at 0 is not the one that is meant: at t = 0 automatic gradients would be wrong."""
    (t,), (dt,) = primals, tangents
    log, slope = _log_sigmoid(t)
    return (log, slope), (slope * dt, -slope * (1 - slope) * dt)


def _signed(label, t):
    """Return L t of a label's code: t of a 1, -t of a 0 (of padding, something finite); a choice of the two takes
    longer."""
    return (2 * jnp.asarray(label, t.dtype) - 1) * t


def per_triple(label: Int8[Array, " N"], s: Float[Array, " N"], gamma: Float[Array, " N"] | None = None) -> PerTriple:
    """Compute log p(L | z = +1) = log σ(L(γ + s)) and log p(L | z = -1) = log σ(L(γ - s)) of each triple, with their
    slopes.

    Labels are codes, L = ±1. Padding gets finite numbers; multiply by its multiplicity 0. Without γ the second is the
    first's mirror image: half the work.

    Example:
        >>> import jax.numpy as jnp
        >>> t = per_triple(jnp.array([1]), jnp.array([1.3862944]), jnp.array([0.0]))
        >>> print(f"{jnp.exp(t.log_plus[0]):.2f} {jnp.exp(t.log_minus[0]):.2f}")
        0.80 0.20
    """
    if gamma is None:
        t = _signed(label, s)
        log_plus, slope_plus = _log_sigmoid(t)
        return PerTriple(log_plus, log_plus - t, slope_plus, 1 - slope_plus)
    log_plus, slope_plus = _log_sigmoid(_signed(label, gamma + s))
    log_minus, slope_minus = _log_sigmoid(_signed(label, gamma - s))
    return PerTriple(log_plus, log_minus, slope_plus, slope_minus)


def instance_log_likelihood(labels: Labels, s, gamma) -> tuple[Float[Array, " I"], Float[Array, " I"]]:
    """Compute ℓ^+ and ℓ^-: the log-probability of each instance's labels given z = +1 and given z = -1, shape [I] each.

    Args:
        labels: N stored triples of I instances.
        s, gamma: discrimination and log-odds bias per triple, shape [N] (or scalars).

    Example: one of two labelers, each right with chance .8, is wrong, whatever the truth
        >>> from crowdjax.labels import Labels
        >>> plus, minus = instance_log_likelihood(Labels.from_arrays([0, 1], [0, 0], [1, 0]), 1.3862944, 0.0)
        >>> print(f"{jnp.exp(plus[0]):.2f} {jnp.exp(minus[0]):.2f}")
        0.16 0.16
    """
    shape = labels.label.shape
    t = per_triple(labels.label, jnp.broadcast_to(s, shape), jnp.broadcast_to(gamma, shape))
    c = labels.counts
    return (
        sum_by(c * t.log_plus, labels.instance, labels.n_instances, ordered=True),
        sum_by(c * t.log_minus, labels.instance, labels.n_instances, ordered=True),
    )


def posterior(log_plus, log_minus, prior_logit, gold=None) -> Float[Array, " I"]:
    """Compute the E-step P(z_j = +1 | L) = σ(logit π_j + ℓ_j^+ - ℓ_j^-); 0 or 1 where gold is known.

    Args:
        log_plus, log_minus: ℓ^±, shape [I].
        prior_logit: logit of the class prior π, shape [I] or scalar.
        gold: code of the truth, -1 where unknown; shape [I].

    Example:
        >>> print(f"{posterior(jnp.log(0.8), jnp.log(0.2), 0.0):.2f}")
        0.80

    Source: Ruvolo, Whitehill, Movellan (2013), section 3.1.
    """
    p = jax.nn.sigmoid(prior_logit + log_plus - log_minus)
    return p if gold is None else jnp.where(gold < 0, p, gold.astype(p.dtype))


def instance_evidence(log_plus, log_minus, prior_logit, gold=None) -> Float[Array, " I"]:
    """Compute log p(L_j) with the truth summed out or, where gold is known, log p(L_j, z_j = gold). Shapes as above.

    Example:
        >>> print(f"{jnp.exp(instance_evidence(jnp.log(0.8), jnp.log(0.2), 0.0)):.2f}")     # ½ .8 + ½ .2
        0.50
    """
    plus = log_plus + jax.nn.log_sigmoid(prior_logit)
    minus = log_minus + jax.nn.log_sigmoid(-prior_logit)
    summed = jnp.logaddexp(plus, minus)
    return summed if gold is None else jnp.where(gold < 0, summed, jnp.where(gold > 0, plus, minus))


def evidence(labels: Labels, s, gamma, prior_logit) -> Float[Array, ""]:
    """Compute the log evidence log p(L) = Σ_j log( π_j exp ℓ_j^+ + (1 - π_j) exp ℓ_j^- ), differentiable in s, γ and
    logit π.

    Args:
        labels: N stored triples of I instances; known gold labels fix z_j.
        s, gamma: per triple, shape [N] (or scalars).
        prior_logit: shape [I] or scalar.

    Example:
        >>> from crowdjax.labels import Labels
        >>> labels = Labels.from_arrays([0, 1], [0, 0], [1, 1])
        >>> print(f"{evidence(labels, 1.3862944, 0.0, 0.0):.4f}")      # log(½ .8² + ½ .2²)
        -1.0788

    Source: Ruvolo, Whitehill, Movellan (2013), equation 8 with p(W) taken out of the sum.
    """
    log_plus, log_minus = instance_log_likelihood(labels, s, gamma)
    prior_logit = jnp.broadcast_to(jnp.asarray(prior_logit, log_plus.dtype), log_plus.shape)
    return total(instance_evidence(log_plus, log_minus, prior_logit, labels.gold))


def expected_log_likelihood(labels: Labels, s, gamma, prior_logit, p) -> Float[Array, ""]:
    """Compute Q = Σ_j p_j (log π_j + ℓ_j^+) + (1 - p_j)(log(1 - π_j) + ℓ_j^-) for given posteriors p, shape [I].

    Example:
        >>> from crowdjax.labels import Labels
        >>> labels = Labels.from_arrays([0, 1], [0, 0], [1, 1])
        >>> print(f"{expected_log_likelihood(labels, 1.3862944, 0.0, 0.0, jnp.ones(1)):.4f}")      # log ½ .8²
        -1.1394

    Source: Ruvolo, Whitehill, Movellan (2013), equation 10, with labels in {-1, +1}.
    """
    log_plus, log_minus = instance_log_likelihood(labels, s, gamma)
    plus = log_plus + jax.nn.log_sigmoid(prior_logit)
    minus = log_minus + jax.nn.log_sigmoid(-prior_logit)
    return total(p * plus + (1 - p) * minus)


def gradients(label, t: PerTriple, p) -> tuple[Float[Array, " N"], Float[Array, " N"]]:
    """Compute (∂/∂s, ∂/∂γ) of Q per unit of multiplicity, given p = P(z = +1) of each triple's instance.

        ∂/∂s = p r⁺ - (1-p) r⁻      ∂/∂γ = p r⁺ + (1-p) r⁻      r^± = L σ(-L(γ ± s)) = y - σ(γ ± s)

    At the E-step's own p these are the gradients of the evidence as well (Fisher's identity).

    Example:
        >>> [float(g[0]) for g in gradients(1, per_triple(jnp.ones(1), jnp.zeros(1)), 0.75)]
        [0.25, 0.5]

    Source: Ruvolo, Whitehill, Movellan (2013), section 3.2, in one pass (docs/models.md).
    """
    plus = p * t.slope_plus
    minus = (1 - p) * t.slope_minus
    return _signed(label, plus - minus), _signed(label, plus + minus)


def curvature(t: PerTriple) -> Float[Array, " N"]:
    """Compute w = ½(σ'(γ+s) + σ'(γ-s)) per triple, from which the solvers' diagonal preconditioner is summed.

    Example:
        >>> curvature(per_triple(jnp.ones(1), jnp.zeros(1))).tolist()
        [0.25]
    """
    return 0.5 * (t.slope_plus * (1 - t.slope_plus) + t.slope_minus * (1 - t.slope_minus))


def sensitivity_specificity(s, gamma):
    """Compute sensitivity σ(s + γ) and specificity σ(s - γ) from discrimination and bias. Any shapes that broadcast.

    Example:
        >>> print("{:.2f} {:.2f}".format(*sensitivity_specificity(1.0, 0.5)))
        0.82 0.62

    Source: Ruvolo, Whitehill, Movellan (2013), equations 2 and 3.
    """
    return jax.nn.sigmoid(s + gamma), jax.nn.sigmoid(s - gamma)


def discrimination_bias(sensitivity, specificity):
    """Compute (s, γ) from sensitivity and specificity: the inverse of :func:`sensitivity_specificity`, shapes as there.

    Example:
        >>> s, gamma = discrimination_bias(0.9, 0.7)
        >>> print("{:.2f} {:.2f}".format(*sensitivity_specificity(s, gamma)))
        0.90 0.70
    """
    a, b = jax.scipy.special.logit(sensitivity), jax.scipy.special.logit(specificity)
    return (a + b) / 2, (a - b) / 2
