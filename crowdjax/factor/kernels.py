"""One pass over the triples: value, posterior and all gradients of the factor model's observation part.

``data_pass`` is the kernel below every solver. It scans over the blocks of ``Labels``; temporaries stay as small as one
block, and the gradient is written by hand (``likelihood.gradients``), so one pass gathers and scatters each triple
once. ``e_step``, ``expected_complete`` (Q) and ``evidence`` are the published views of it.

Where β is the same for all instances a label's terms depend on its labeler and its value alone: ``folded_pass`` looks
them up in a table of two rows per labeler, without any function per label.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from crowdjax import likelihood
from crowdjax.labels import Labels
from crowdjax.observation.blocks import n_parts, over_blocks
from crowdjax.segments import in_blocks, total

SIGNS = np.array([-1, 1], np.int8)  # the labels, in the order of a tally's columns


class Factors(NamedTuple):
    """The parameters of the likelihood: α [W, D], β [I, D], γ [W] (None: no bias) and logit π [I].

    Example: three labelers, two instances, one factor, no bias, either class as likely
        >>> Factors(jnp.ones((3, 1)), jnp.ones((2, 1)), None, jnp.zeros(2)).alpha.shape
        (3, 1)

    Source: Ruvolo, Whitehill, Movellan (2013), equations 4-6.
    """

    alpha: Float[Array, "W D"]
    beta: Float[Array, "I D"]
    gamma: Float[Array, " W"] | None
    prior_logit: Float[Array, " I"]


class Pass(NamedTuple):
    """The result of one pass over the triples: value, posterior and the gradient in the factors, in their shapes."""

    value: Float[Array, ""]
    posterior: Float[Array, " I"]
    gradient: Factors


def data_pass(
    labels: Labels, factors: Factors, given: Float[Array, " I"] | None = None, use: Bool[Array, ""] | bool = True
) -> Pass:
    """Compute the value and gradients of the evidence, or of Q at given posteriors, in one pass.

        s_ij = Σ_d α_id β_jd      evidence = Σ_j log Σ_z p(z) Π_i p(L_ij | z)      Q: likelihood.expected_log_likelihood

    Args:
        labels: N stored triples, W labelers, I instances.
        factors: α, β, γ and logit π.
        given: posteriors P(z = +1) to hold fixed, for the value of Q and its gradients. ``None``: the evidence, whose
            gradients are those of Q at its own posterior.
        use: whether ``given`` is used (may be traced, so that one program serves both).

    Returns:
        the value (without priors of weights), the posterior that was used, and the gradients.

    Example: the third labeler contradicts the others, and should be trusted less
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [1, 1, 0, 0, 0, 1])
        >>> factors = Factors(jnp.ones((3, 1)), jnp.ones((2, 1)), None, jnp.zeros(2))
        >>> found = data_pass(labels, factors)
        >>> print(f"{found.value:.2f} {found.posterior[0]:.2f} {found.gradient.alpha[2, 0]:.2f}")
        -4.64 0.73 -0.92

    Source: Ruvolo, Whitehill, Movellan (2013), section 3, the truth summed out; docs/models.md, section 1.
    """
    dtype = factors.alpha.dtype
    alpha, beta, gamma = _columns(factors.alpha), _columns(factors.beta), factors.gamma

    def block(sums, here, *instances):
        *beta, prior_logit, gold, held = instances
        label = here.label
        counts = here.counts
        if in_blocks():  # else XLA takes them for a mask: logarithms are made twice
            counts = jax.lax.optimization_barrier(counts)
        a, b = [column[here.labeler] for column in alpha], [here.of(column) for column in beta]
        s = sum(x * y for x, y in zip(a, b, strict=True))
        t = likelihood.per_triple(label, s, None if gamma is None else gamma[here.labeler])
        # of ℓ⁺ and ℓ⁻ only the difference is needed by instance, their mean in total alone: one sum by instance less
        odds = here.sum(counts * (t.log_plus - t.log_minus))
        mean = 0.5 * here.partial(counts * (t.log_plus + t.log_minus))
        value, p = _instances(odds, prior_logit, gold, held, use, labels.n_instances - here.start, mean)
        ds, dgamma = likelihood.gradients(label, t, here.of(p))
        ds = counts * ds
        to_labelers = [ds * y for y in b] + ([] if gamma is None else [counts * dgamma])
        sums = [here.add(sum_, v) for sum_, v in zip(sums, to_labelers, strict=True)]
        return sums, (value, p, [here.sum(ds * x) for x in a])

    instances = (*beta, factors.prior_logit, labels.gold, given)
    sums, (value, p, dbeta) = over_blocks(block, labels, _tables(labels, factors), instances, dtype, n_parts(labels))
    dalpha, dgamma = _of_tables(labels, factors, sums)
    gradient = Factors(
        alpha=dalpha,
        beta=jnp.stack(dbeta, axis=1),
        gamma=dgamma,
        prior_logit=p - jax.nn.sigmoid(factors.prior_logit),
    )
    return Pass(total(value), p, gradient)


def tally(labels: Labels, p: Float[Array, " I"] | None = None, *, dtype=None) -> Float[Array, "W 2"]:
    """Count the labels -1 and +1 of each labeler, by multiplicity; with posteriors p, their expected counts on positive
    instances.
    """
    dtype = dtype or (jnp.result_type(float) if p is None else p.dtype)

    def block(sums, here, p):
        return here.add_slots(sums, here.counts if p is None else here.counts * here.of(p)), None

    parts = n_parts(labels, 2)
    init = jnp.zeros(parts * 2 * labels.n_labelers, dtype)
    sums, _ = over_blocks(block, labels, init, (p,), dtype, parts)
    return sums.reshape(-1, labels.n_labelers, 2).sum(0)


def discrimination(labels: Labels, factors: Factors) -> Float[Array, ""]:
    """Compute Σ c s over all labels; it is negative where the crowd as a whole is assumed to be wrong."""
    alpha, beta = _columns(factors.alpha), _columns(factors.beta)

    def block(sums, here, *beta):
        s = sum(a[here.labeler] * here.of(b) for a, b in zip(alpha, beta, strict=True))
        return sums, here.total(here.counts * s)

    return total(over_blocks(block, labels, None, beta, factors.alpha.dtype)[1])


def folded_pass(
    labels: Labels,
    counts: Float[Array, "W 2"],
    factors: Factors,
    given: Float[Array, " I"] | None = None,
    use: Bool[Array, ""] | bool = True,
) -> tuple[Pass, Float[Array, "W 2"]]:
    """Run ``data_pass`` where β is the same for all instances, as in Dawid and Skene's model: half the time.

    Args:
        counts: ``tally(labels)``.
        factors: as in ``data_pass``; the first row of β counts for all.
        given, use: as in ``data_pass``.

    Returns:
        what ``data_pass`` returns, but for the gradient in β, which is not computed: 0; and how many of each labeler's
        labels -1 and +1 are expected on positive instances, the sufficient statistic of an M-step.
    """
    dtype = factors.alpha.dtype
    t = folded_terms(factors)
    table = (t.log_plus - t.log_minus).ravel()

    def block(sums, here, prior_logit, gold, held):
        odds = here.sum_looked_up(table)
        value, p = _instances(odds, prior_logit, gold, held, use, labels.n_instances - here.start)
        return here.add_slots(sums, here.counts * here.of(p)), (value, p)

    parts = n_parts(labels, 2)
    init = jnp.zeros(parts * 2 * labels.n_labelers, dtype)
    sums, (value, p) = over_blocks(block, labels, init, (factors.prior_logit, labels.gold, given), dtype, parts)
    on_positives = sums.reshape(-1, labels.n_labelers, 2).sum(0)
    plus, minus = on_positives * t.slope_plus, (counts - on_positives) * t.slope_minus
    gradient = Factors(
        alpha=((plus - minus) * SIGNS).sum(1, keepdims=True) * factors.beta[0],
        beta=jnp.zeros_like(factors.beta),
        gamma=None if factors.gamma is None else ((plus + minus) * SIGNS).sum(1),
        prior_logit=p - jax.nn.sigmoid(factors.prior_logit),
    )
    mean = 0.5 * total((counts * (t.log_plus + t.log_minus)).ravel())
    return Pass(mean + total(value), p, gradient), on_positives


def folded_terms(factors: Factors) -> likelihood.PerTriple:
    """Compute the terms of a label -1 and a label +1 of each labeler, [W, 2], where β is the same for all instances."""
    s = (factors.alpha * factors.beta[0]).sum(1, keepdims=True)
    return likelihood.per_triple(np.arange(2), s, None if factors.gamma is None else factors.gamma[:, None])


def folded_curvature(counts: Float[Array, "W 2"], factors: Factors) -> Factors:
    """Run ``curvature_pass`` where β is the same for all instances, from ``tally(labels)`` alone; 0 for β."""
    w = (counts * likelihood.curvature(folded_terms(factors))).sum(1)
    pi = jax.nn.sigmoid(factors.prior_logit)
    of_bias = None if factors.gamma is None else w
    return Factors(w[:, None] * factors.beta[0] ** 2, jnp.zeros_like(factors.beta), of_bias, pi * (1 - pi))


def _columns(rows: Float[Array, "n D"]) -> list[Float[Array, " n"]]:
    """Return the columns of a factor: a gather per column is 5-10x faster than gathering rows."""
    return [rows[:, d] for d in range(rows.shape[1])]


def _instances(odds, prior_logit, gold, held, use, n, mean=0.0):
    """Return (value of the first n, posterior) of instances, given ℓ⁺ - ℓ⁻: with t = logit π + ℓ⁺ - ℓ⁻

    log(π exp ℓ⁺ + (1-π) exp ℓ⁻) = ½(ℓ⁺ + ℓ⁻) + ½(log π + log(1-π)) + log(exp ½t + exp -½t)

    mean: ½(ℓ⁺ + ℓ⁻) of each instance, or what it is in all.
    """
    t = prior_logit + odds
    p = likelihood.posterior(odds, 0, prior_logit, gold)
    value = jnp.logaddexp(t / 2, -t / 2)
    if gold is not None:
        value = jnp.where(gold < 0, value, jnp.where(gold > 0, t, -t) / 2)
    if held is not None:
        p = jnp.where(use, held, p)
        value = jnp.where(use, (held - 0.5) * t, value)
    value += 0.5 * (jax.nn.log_sigmoid(prior_logit) + jax.nn.log_sigmoid(-prior_logit))
    alone, each = (0, value + mean) if jnp.ndim(mean) else (mean, value)
    return alone + total(jnp.where(jnp.arange(value.shape[0]) < n, each, 0)), p


def _tables(labels: Labels, factors: Factors) -> list[Float[Array, " K"]]:
    """Make empty tables for sums by labeler: of every factor and of the bias."""
    n = factors.alpha.shape[1] + (factors.gamma is not None)
    return [jnp.zeros(n_parts(labels) * labels.n_labelers, factors.alpha.dtype)] * n


def _of_tables(labels: Labels, factors: Factors, tables: list[Float[Array, " K"]]):
    """Return (the sums [W, D] of the factors, those [W] of the bias or None)."""
    sums = [table.reshape(-1, labels.n_labelers).sum(0) for table in tables]
    n_factors = factors.alpha.shape[1]
    return jnp.stack(sums[:n_factors], axis=1), None if factors.gamma is None else sums[-1]


def curvature_pass(labels: Labels, factors: Factors) -> Factors:
    """Compute the diagonal preconditioner: Σ c w β² for α, Σ c w α² for β, Σ c w for γ, π(1-π) for logit π, with w =
    ½(σ'(γ+s) + σ'(γ-s)). Shapes as the factors.

    Example: a labeler of two labels, at s = 1 and γ = 0
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [1, 1, 0, 0, 0, 1])
        >>> factors = Factors(jnp.ones((3, 1)), jnp.ones((2, 1)), None, jnp.zeros(2))
        >>> print(curvature_pass(labels, factors).alpha[0].round(3))       # 2 σ'(1)
        [0.393]
    """
    dtype = factors.alpha.dtype
    alpha, beta, gamma = _columns(factors.alpha), _columns(factors.beta), factors.gamma

    def block(sums, here, *beta):
        a, b = [column[here.labeler] for column in alpha], [here.of(column) for column in beta]
        s = sum(x * y for x, y in zip(a, b, strict=True))
        t = likelihood.per_triple(here.label, s, None if gamma is None else gamma[here.labeler])
        w = here.counts * likelihood.curvature(t)
        to_labelers = [w * y * y for y in b] + ([] if gamma is None else [w])
        sums = [here.add(sum_, v) for sum_, v in zip(sums, to_labelers, strict=True)]
        return sums, [here.sum(w * x * x) for x in a]

    sums, of_instance = over_blocks(block, labels, _tables(labels, factors), beta, dtype, n_parts(labels))
    of_labeler, of_bias = _of_tables(labels, factors, sums)
    pi = jax.nn.sigmoid(factors.prior_logit)
    return Factors(of_labeler, jnp.stack(of_instance, 1), of_bias, pi * (1 - pi))


def e_step(labels: Labels, factors: Factors) -> Float[Array, " I"]:
    """Compute the posterior P(z_j = +1 | L_j, W), shape [I]; Ruvolo, Whitehill, Movellan (2013), section 3.1.

    Example: two votes against one
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [1, 1, 0, 0, 0, 1])
        >>> factors = Factors(jnp.ones((3, 1)), jnp.ones((2, 1)), None, jnp.zeros(2))
        >>> print(f"{e_step(labels, factors)[0]:.2f}")
        0.73
    """
    return data_pass(labels, factors).posterior


@jax.custom_jvp
def evidence(labels: Labels, factors: Factors) -> Float[Array, ""]:
    """Compute log p(L | W) with the truth summed out, differentiable in the factors.

        d evidence = ⟨∇ evidence, dW⟩

    Gradients and directional derivatives (``jax.jvp``, ``jax.jacfwd``) take one pass over the labels each. The labels
    and their multiplicities are constants here: differentiate ``data_pass(...).value`` in those.

    Args:
        labels: N stored triples, W labelers, I instances.
        factors: α [W, D], β [I, D], γ [W] or None, logit π [I].

    Returns:
        a scalar, in nats.

    Example: the gradient in the third labeler's ability, and the derivative along more ability of all three
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [1, 1, 0, 0, 0, 1])
        >>> factors = Factors(jnp.ones((3, 1)), jnp.ones((2, 1)), None, jnp.zeros(2))
        >>> of_abilities = lambda alpha: evidence(labels, factors._replace(alpha=alpha))
        >>> print(f"{jax.grad(of_abilities)(factors.alpha)[2, 0]:.2f}")
        -0.92
        >>> slope = jax.jvp(of_abilities, (factors.alpha,), (jnp.ones((3, 1)),))[1]
        >>> print(f"{slope:.2f}")
        -0.92
    """
    return data_pass(labels, factors).value


@evidence.defjvp
def _evidence_jvp(primals, tangents):
    found = data_pass(*primals)
    along = jax.tree.map(lambda gradient, tangent: (gradient * tangent).sum(), found.gradient, tangents[1])
    return found.value, sum(jax.tree.leaves(along))


def expected_complete(labels: Labels, factors: Factors, p: Float[Array, " I"]) -> Float[Array, ""]:
    """Compute the expected complete-data log-likelihood Q(W) at posteriors p: equation 10 plus the class prior's term.

    Example: Q leaves out the posterior's entropy
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [1, 1, 0, 0, 0, 1])
        >>> factors = Factors(jnp.ones((3, 1)), jnp.ones((2, 1)), None, jnp.zeros(2))
        >>> bool(expected_complete(labels, factors, e_step(labels, factors)) < evidence(labels, factors))
        True
    """
    return data_pass(labels, factors, p).value


def majority(labels: Labels) -> Float[Array, " I"]:
    """Compute the share of +1 among each instance's labels, with one pseudo-count for either class; 0 or 1 where gold
    is known.

    Example: two votes for and one against; none for and three against
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [1, 1, 0, 0, 0, 0])
        >>> print("{:.1f} {:.1f}".format(*majority(labels)))
        0.6 0.2
    """

    def block(_, here):
        return None, (here.sum(here.counts * (here.label > 0)), here.sum(here.counts))

    _, (yes, all_) = over_blocks(block, labels, None, (), jnp.result_type(float))
    share = (yes + 1) / (all_ + 2)
    return share if labels.gold is None else jnp.where(labels.gold < 0, share, labels.gold.astype(share.dtype))
