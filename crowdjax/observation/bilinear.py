"""The bilinear pass: labelers and instances with factors, whose product says how likely a label is to be right.

    log p(l | z = k) = log softmax_l(γ_il + [l = k] s_ij)      s_ij = offset + Σ_d α_id β_jd

With p_i = softmax(γ_i) and λ_ik = logit p_ik a label l is right where k = l, with the chance ρ_k = σ(λ_ik + s_ij):

    log p(l | z = k) = log p_il - log(1 - p_ik) + log(1 - ρ_k) + [l = k] s_ij

and the gradients of the evidence are, with the posterior q and the multiplicity c of a label,

    ∂/∂s_ij = c (q_l - Σ_k q_k ρ_k)      ∂/∂γ_il = Σ_j c ([L_ij = l] - Σ_k q_k p(l | z = k))

so that one pass over the labels gives them all. Without γ a label has two numbers, one where it is right and one where
it is wrong, and costs the same with any number of classes. Source: docs/models.md, section 1.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from crowdjax.labels import Labels
from crowdjax.likelihood import per_triple
from crowdjax.observation.blocks import n_parts, over_blocks
from crowdjax.segments import total


class Factors(NamedTuple):
    """The parameters of a bilinear model's likelihood: factors, biases, and a log prior of the classes.

    Attributes:
        alpha, beta: of the labelers and of the instances.
        gamma: the labelers' preference for each label; None: none.
        log_prior: of all instances alike or of each.
        offset: what is added to every α·β.

    Example: three labelers, two instances, one factor, four classes as likely
        >>> Factors(jnp.ones((3, 1)), jnp.ones((2, 1)), None, jnp.log(jnp.full(4, 0.25))).alpha.shape
        (3, 1)
    """

    alpha: Float[Array, "W D"]
    beta: Float[Array, "I D"]
    gamma: Float[Array, "W K"] | None
    log_prior: Float[Array, " K"] | Float[Array, "I K"]
    offset: Float[Array, ""] | float = 0.0


class BilinearPass(NamedTuple):
    """The result of one pass over the labels: sums over the instances of this shard.

    Attributes:
        value: the evidence, or Q at given posteriors.
        posterior: P(z_j = k | labels), or the given one.
        gradient: of the value, in the factors.

    Example:
        >>> BilinearPass._fields
        ('value', 'posterior', 'gradient')
    """

    value: Float[Array, ""]
    posterior: Float[Array, "I K"]
    gradient: Factors


class Biases(NamedTuple):
    """Labels at s = 0: log p_il of each label, and log(1 - p_il)."""

    log_p: Float[Array, "W K"]
    log_rest: Float[Array, "W K"]

    @classmethod
    def of(cls, gamma: Float[Array, "W K"]) -> Biases:
        """Return the probabilities at γ; sum up the others for the likeliest label, since 1 - p would be 0 where p is
        nearly 1."""
        log_p = jax.nn.log_softmax(gamma, axis=1)
        top = jnp.arange(gamma.shape[1]) == log_p.argmax(1, keepdims=True)
        others = jax.nn.logsumexp(jnp.where(top, -jnp.inf, log_p), axis=1, keepdims=True)
        return cls(log_p, jnp.where(top, others, jnp.log1p(-jnp.exp(jnp.where(top, -jnp.inf, log_p)))))


def bilinear_pass(
    labels: Labels, factors: Factors, given: Float[Array, "I K"] | None = None, use: Bool[Array, ""] | bool = True
) -> BilinearPass:
    """Compute evidence, posteriors and all gradients at given factors, in one pass; sums of this shard.

    Args:
        labels: N stored triples of W labelers and I instances, whose values are the classes; gold clamps.
        given: posteriors to hold fixed: the value is then Q = Σ_jk given_jk (log prior + log p(labels | k)).
        use: whether ``given`` counts (may be traced, so that one program serves both).

    Example: the third labeler contradicts the others, and should be trusted less
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [2, 2, 1, 0, 0, 1], n_values=3)
        >>> factors = Factors(jnp.ones((3, 1)), jnp.ones((2, 1)), None, jnp.log(jnp.full(3, 1 / 3)))
        >>> found = bilinear_pass(labels, factors)
        >>> print(f"{found.value:.2f} {found.posterior[0, 2]:.2f} {found.gradient.alpha[2, 0]:.2f}")
        -6.69 0.67 -0.66
    """
    n_classes, dtype = labels.n_classes, factors.alpha.dtype
    alpha, beta = _columns(factors.alpha), _columns(factors.beta)
    n_factors, own = len(alpha), factors.log_prior.ndim == 2
    biases = None if factors.gamma is None else Biases.of(factors.gamma)
    logit = None if biases is None else biases.log_p - biases.log_rest
    flat = None if biases is None else biases.log_p.ravel()
    real = jnp.ones(labels.n_instances, dtype) if labels.shard is None else labels.shard.real.astype(dtype)

    def block(sums, here, *instances):
        *beta, real, log_prior, gold, held = instances
        labeler, counts, code = here.labeler, here.counts, jnp.maximum(here.label, 0)
        a, b = [column[labeler] for column in alpha], [here.of(column) for column in beta]
        s = sum((x * y for x, y in zip(a, b, strict=True)), jnp.asarray(factors.offset, dtype))
        h = here.sum_classes(counts * s, code, n_classes)
        if biases is None:
            t = per_triple(1, s - np.log(n_classes - 1))
            constant = here.total(counts * (t.log_minus - np.log(n_classes - 1)))
        else:
            t = per_triple(1, logit[labeler] + s[..., None])
            h += here.sum(counts[..., None] * (t.log_minus - biases.log_rest[labeler]))
            constant = here.total(counts * flat[here.slot])
        h += factors.log_prior if log_prior is None else log_prior
        clamped = h
        if gold is not None:
            clamped = jnp.where((gold[:, None] >= 0) & (gold[:, None] != jnp.arange(n_classes)), -jnp.inf, h)
        value = jax.nn.logsumexp(clamped, axis=1)
        q = jnp.exp(clamped - value[:, None])
        if held is not None:
            value = jnp.where(use, (held * h).sum(1), value)
            q = jnp.where(use, held, q)

        chosen = here.of_class(q, code)
        if biases is None:
            ds, to_bias = counts * (chosen - t.slope_minus), []
        else:
            weight = counts[..., None] * here.of(q)
            right, rest = weight * t.slope_minus, weight * t.slope_plus
            ds = counts * chosen - right.sum(-1)
            to_bias = [here.add(sums[0][-2], jnp.concatenate([right, rest], axis=-1))]
            to_bias += [here.add_slots(sums[0][-1], counts)]
        tables = [here.add(sum_, ds * y) for sum_, y in zip(sums[0], b, strict=False)] + to_bias
        to_instances = [here.sum(ds * x) for x in a]
        return (tables, sums[1] + real @ q), (constant + total(real * value), q, here.total(ds), to_instances)

    parts = n_parts(labels, 1 if biases is None else 2 * n_classes)
    width = parts * labels.n_labelers
    tables = [jnp.zeros(width, dtype)] * n_factors
    if biases is not None:
        tables += [jnp.zeros((width, 2 * n_classes), dtype), jnp.zeros(width * n_classes, dtype)]
    instances = (*beta, real, factors.log_prior if own else None, labels.gold, given)
    init = (tables, jnp.zeros(n_classes, dtype))
    (tables, classes), (value, q, ds, dbeta) = over_blocks(block, labels, init, instances, dtype, parts)
    tables = [v.reshape(parts, labels.n_labelers, -1).sum(0) for v in tables]
    gradient = Factors(
        alpha=jnp.concatenate(tables[:n_factors], axis=1),
        beta=jnp.stack(dbeta, axis=1),
        gamma=None if biases is None else tables[-1] - _expected(biases, *jnp.split(tables[-2], 2, axis=1)),
        log_prior=q * real[:, None] if own else classes,
        offset=total(jnp.ravel(ds)),
    )
    return BilinearPass(total(jnp.ravel(value)), q, gradient)


def _expected(biases: Biases, right: Float[Array, "W K"], rest: Float[Array, "W K"]) -> Float[Array, "W K"]:
    """Return how many labels of each value are expected, where ``right`` are on instances of their class, and ``rest``
    are on those of each class and wrong."""
    n = right.shape[1]
    share = rest * jnp.exp(-biases.log_rest)  # of a wrong label l given class k: p_il / (1 - p_ik)
    others = jnp.matmul(share, 1 - jnp.eye(n, dtype=right.dtype), precision=jax.lax.Precision.HIGHEST)
    return right + jnp.exp(biases.log_p) * others


def _columns(rows: Float[Array, "n D"]) -> list[Float[Array, " n"]]:
    return [rows[:, d] for d in range(rows.shape[1])]


def label_counts(labels: Labels, dtype=None) -> Float[Array, "W L"]:
    """Return how many labels of each value a labeler gave; of this shard.

    Example:
        >>> label_counts(Labels.from_arrays([0, 1, 0], [0, 0, 1], [1, 0, 1])).tolist()
        [[0.0, 2.0], [1.0, 0.0]]
    """
    dtype = dtype or jnp.result_type(float)
    width = labels.n_labelers * labels.n_values

    def block(sums, here):
        return here.add_slots(sums, here.counts), None

    parts = n_parts(labels, labels.n_values)
    sums, _ = over_blocks(block, labels, jnp.zeros(parts * width, dtype), (), dtype, parts)
    return sums.reshape(parts, labels.n_labelers, labels.n_values).sum(0)


@jax.custom_jvp
def evidence(labels: Labels, factors: Factors) -> Float[Array, ""]:
    """Return log p(labels): the value of :func:`bilinear_pass`, whose gradients and directional derivatives take one
    pass too.

    Example:
        >>> labels = Labels.from_arrays([0, 1], [0, 0], [2, 1], n_values=3)
        >>> factors = Factors(jnp.ones((2, 1)), jnp.ones((1, 1)), None, jnp.log(jnp.full(3, 1 / 3)))
        >>> jax.grad(lambda alpha: evidence(labels, factors._replace(alpha=alpha)))(factors.alpha).shape
        (2, 1)
    """
    return bilinear_pass(labels, factors).value


@evidence.defjvp
def _evidence_jvp(primals, tangents):
    found = bilinear_pass(*primals)
    products = jax.tree.map(lambda g, t: (g * t).sum(), found.gradient, tangents[1])
    return found.value, sum(jax.tree.leaves(products))


def curvature_pass(labels: Labels, factors: Factors) -> Factors:
    """Return the diagonal that preconditions a fit: Σ c w β² for α and Σ c w α² for β, where w is ρ_k (1 - ρ_k), on
    average over the classes; for γ and the class prior the variance of a label and of a class. Shapes as the factors,
    of this shard.

    Example: a labeler of two labels, at s = 1 and two classes
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [1, 1, 0, 0, 0, 1])
        >>> factors = Factors(jnp.ones((3, 1)), jnp.ones((2, 1)), None, jnp.log(jnp.full(2, 0.5)))
        >>> print(curvature_pass(labels, factors).alpha[0].round(3))       # 2 σ'(1)
        [0.393]
    """
    n_classes, dtype = labels.n_classes, factors.alpha.dtype
    alpha, beta = _columns(factors.alpha), _columns(factors.beta)
    biases = None if factors.gamma is None else Biases.of(factors.gamma)
    logit = None if biases is None else biases.log_p - biases.log_rest

    def block(sums, here, *beta):
        labeler, counts = here.labeler, here.counts
        a, b = [column[labeler] for column in alpha], [here.of(column) for column in beta]
        s = sum((x * y for x, y in zip(a, b, strict=True)), jnp.asarray(factors.offset, dtype))
        if logit is None:
            t = per_triple(1, s - np.log(n_classes - 1))
            w = counts * t.slope_plus * t.slope_minus
        else:
            t = per_triple(1, logit[labeler] + s[..., None])
            w = counts * (t.slope_plus * t.slope_minus).mean(-1)
        sums = [here.add(sum_, w * y * y) for sum_, y in zip(sums, b, strict=True)]
        return sums, [here.sum(w * x * x) for x in a]

    parts = n_parts(labels)
    init = [jnp.zeros(parts * labels.n_labelers, dtype)] * len(alpha)
    sums, of_instance = over_blocks(block, labels, init, beta, dtype, parts)
    of_labeler = jnp.stack([v.reshape(parts, -1).sum(0) for v in sums], axis=1)
    of_bias = None
    if factors.gamma is not None:
        counts = label_counts(labels, dtype)
        n = counts.sum(1, keepdims=True) + 1
        share = (counts + 1 / n_classes) / n
        of_bias = n * share * (1 - share)
    real = jnp.ones(labels.n_instances, dtype) if labels.shard is None else labels.shard.real.astype(dtype)
    prior = jnp.exp(factors.log_prior)
    of_prior = prior * (1 - prior) * (real[:, None] if prior.ndim == 2 else real.sum())
    return Factors(of_labeler, jnp.stack(of_instance, axis=1), of_bias, of_prior)
