"""What a fit says about labelers, about new labels, and about labelers and instances it has never seen.

A labeler without labels is expected to be what its features say; without features, what the prior says.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from crowdjax import likelihood
from crowdjax.factor.features import PRECISION, Features, Linear
from crowdjax.factor.fit import Fit, Solver, fit_jit
from crowdjax.factor.kernels import Factors
from crowdjax.factor.model import FactorModel, Weights
from crowdjax.labels import Labels
from crowdjax.observation.blocks import n_parts, over_blocks


class LabelerSummary(NamedTuple):
    """Each labeler's number of judgements, sensitivity, specificity and accuracy, shape [W] each.

    Example:
        >>> LabelerSummary(*jnp.array([[12.0], [0.9], [0.8], [0.85]])).n_labels.tolist()
        [12.0]
    """

    n_labels: Float[Array, " W"]
    sensitivity: Float[Array, " W"]
    specificity: Float[Array, " W"]
    accuracy: Float[Array, " W"]


@jax.jit
def labeler_summary(labels: Labels, model: FactorModel, fit: Fit) -> LabelerSummary:
    """Estimate each labeler's sensitivity, specificity and accuracy, averaged over the instances that the labeler
    judged.

        sensitivity_i = Σ_j c p_j σ(s_ij + γ_i) / Σ_j c p_j
        specificity_i = Σ_j c (1-p_j) σ(s_ij - γ_i) / Σ_j c (1-p_j)

    with p the posterior and c the multiplicities; accuracy weighs both by what it judged. A labeler without judgements
    gets the chances on an average instance. Source: Ruvolo, Whitehill, Movellan (2013), equations 2 and 3.

    Example: the third contradicts the others
        >>> from crowdjax.factor import PRESETS, build
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> model = build(PRESETS["dawid-skene"], labels)
        >>> int(labeler_summary(labels, model, fit_jit(labels, model, jax.random.key(0))).accuracy.argmin())
        2
    """
    factors = model.factors(fit.weights)
    gamma = jnp.zeros(labels.n_labelers) if factors.gamma is None else factors.gamma
    plus, minus, hits, rejections = labeler_sums(labels, factors, fit.posterior)
    real = jnp.ones(labels.n_instances, bool) if labels.shard is None else labels.shard.real
    average = jnp.where(real[:, None], factors.beta, 0).sum(0) / real.sum()
    typical = jnp.matmul(factors.alpha, average, precision=PRECISION)
    typical_plus, typical_minus = likelihood.sensitivity_specificity(typical, gamma)
    share = lambda part, whole, otherwise: jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), otherwise)  # noqa: E731
    return LabelerSummary(
        n_labels=plus + minus,
        sensitivity=share(hits, plus, typical_plus),
        specificity=share(rejections, minus, typical_minus),
        accuracy=share(hits + rejections, plus + minus, (typical_plus + typical_minus) / 2),
    )


def labeler_sums(labels: Labels, factors: Factors, posterior: Float[Array, " I"]) -> Float[Array, "4 W"]:
    """Sum Σ c p, Σ c (1-p), Σ c p σ(s + γ) and Σ c (1-p) σ(s - γ) per labeler, from which a summary is computed."""
    alpha, beta = factors.alpha.T, factors.beta.T

    def block(sums, here, p, *beta):
        i, c, p = here.labeler, here.counts, here.of(p)
        s = sum(a[i] * here.of(b) for a, b in zip(alpha, beta, strict=True))
        gamma = 0.0 if factors.gamma is None else factors.gamma[i]
        right_plus, right_minus = likelihood.sensitivity_specificity(s, gamma)
        terms = (c * p, c * (1 - p), c * p * right_plus, c * (1 - p) * right_minus)
        return [here.add(sum_, v) for sum_, v in zip(sums, terms, strict=True)], None

    parts, dtype = n_parts(labels), posterior.dtype
    init = [jnp.zeros(parts * labels.n_labelers, dtype)] * 4
    sums, _ = over_blocks(block, labels, init, (posterior, *beta), dtype, parts)
    return labels.across(jnp.stack([v.reshape(parts, -1).sum(0) for v in sums]))


def dense_rows(features: Features, rows: Float[Array, "n F"] | None) -> Float[Array, "n F"]:
    """Select rows of Φ's dense columns; by default the average row. A part with only a constant uses that constant."""
    if features.n_columns == 1:
        return jnp.ones((1, 1))
    if rows is None:
        return jnp.mean(jnp.asarray(features.dense), 0, keepdims=True)
    return jnp.asarray(rows)


def expected_factor(
    features: Features, weights: Linear, mean: Linear, rows: Float[Array, "n F"] | None, n: int
) -> Float[Array, "n D"]:
    """Compute the expected factor of n unseen labelers (instances): their rows of Φ's dense columns (default: the
    average row) times the weights, plus the prior mean of their own weight.

    Example: a constant and one feature, with weights 1 and ½, at 2
        >>> phi = Features.columns([[1.0, 0.0], [1.0, 1.0]])
        >>> expected_factor(phi, Linear(jnp.array([[1.0], [0.5]])), Linear(), jnp.array([[1.0, 2.0]]), 1).tolist()
        [[2.0]]

    Source: Ruvolo, Whitehill, Movellan (2013), section 2.2: the previously unseen labeler.
    """
    out = 0.0
    if features.dense is not None:
        out = jnp.matmul(dense_rows(features, rows).astype(weights.dense.dtype), weights.dense, precision=PRECISION)
    if features.identity:
        out = out + mean.free[:1]
    return jnp.broadcast_to(out, (n, out.shape[1]))


def unseen_factors(
    model: FactorModel,
    weights: Weights,
    *,
    known: Int[Array, " W2"],
    labeler_rows: Float[Array, "W2 F"] | None = None,
) -> tuple[Float[Array, "W2 D"], Float[Array, " W2"] | None]:
    """Compute (α, γ) of labelers of whom some are in the fit and others are new.

    Args:
        known: index of each labeler in the fit, -1 for an unseen one.
        labeler_rows: the labelers' rows of Φα's dense columns, constant included; default: the fit's average row.

    Example: a labeler that the fit knows, and one that it expects to be as the prior says
        >>> from crowdjax.factor import PRESETS, build
        >>> model = build(PRESETS["one-coin"], Labels.from_arrays([0, 1], [0, 0], [1, 1]))
        >>> weights = model.full(model.mean)._replace(labeler=Linear(free=jnp.array([[0.2], [1.5]])))
        >>> alpha, gamma = unseen_factors(model, weights, known=[1, -1])
        >>> alpha.tolist(), gamma
        ([[1.5], [1.0]], None)
    """
    known = jnp.asarray(known)
    n = known.shape[0]

    def pick(features, part, mean):
        expected = expected_factor(features, part, mean, labeler_rows, n)
        return jnp.where((known >= 0)[:, None], features.apply(part)[known], expected)

    mean = model.full(model.mean)
    alpha = pick(model.labeler, weights.labeler, mean.labeler)
    return alpha, None if model.bias is None else pick(model.bias, weights.bias, mean.bias)[:, 0]


def predict(
    labels: Labels,
    model: FactorModel,
    fit: Fit,
    *,
    known: Int[Array, " W2"],
    labeler_rows: Float[Array, "W2 F"] | None = None,
    instance_rows: Float[Array, "I2 F"] | None = None,
    solver: Solver = Solver(),
) -> Fit:
    """Compute the posterior of new instances from their labels, with the labelers fixed at their fitted values.

    The new instances' own weights (where the model has them) are fitted under their priors, from the prior means. The
    labels of the fit get the fit's posterior back, except where an instance's weights have several optima and the fit
    ended in another one. Each new instance is judged by the given labels alone.

    Args:
        labels: labels of W2 labelers and I2 instances, indexed anew.
        model, fit: the fitted model and its fit.
        known: index of each of the W2 labelers in the fit, -1 for unseen ones.
        labeler_rows, instance_rows: rows of the dense columns of Φα and Φβ, constants included; default: averages.

    Returns:
        a ``Fit`` of the new instances: posterior, objective and weights, as they would be in a fit.

    Example: a new instance, of which one known labeler says yes
        >>> from crowdjax.factor import PRESETS, build
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> model = build(PRESETS["dawid-skene"], labels)
        >>> found = fit_jit(labels, model, jax.random.key(0))
        >>> bool(predict(Labels.from_arrays([0], [0], [1]), model, found, known=[0]).posterior[0] > 0.8)
        True
    """
    alpha, gamma = unseen_factors(model, fit.weights, known=known, labeler_rows=labeler_rows)
    zero = jnp.zeros((1, 1), alpha.dtype)
    n = labels.n_instances

    def instance_side(features: Features, part: Linear, mean: Linear, variance: Linear):
        """Return the dense weights fixed at the fit's, the identity part with its prior."""
        dense = None
        if features.dense is not None:
            dense = jnp.broadcast_to(dense_rows(features, instance_rows), (n, features.n_columns))
        return (
            Features(dense, n, features.identity, features.fixed),
            Linear(part.dense, mean.free),
            Linear(None if part.dense is None else jnp.zeros_like(part.dense), variance.free),
        )

    beta, beta_mean, beta_variance = instance_side(
        model.instance, fit.weights.instance, model.mean.instance, model.variance.instance
    )
    prior, prior_mean, prior_variance = instance_side(
        model.class_prior, fit.weights.class_prior, model.mean.class_prior, model.variance.class_prior
    )
    conditional = FactorModel(
        labeler=Features.free(labels.n_labelers),
        instance=beta,
        bias=None if gamma is None else Features.free(labels.n_labelers),
        class_prior=prior,
        mean=Weights(
            Linear(None, alpha), beta_mean, None if gamma is None else Linear(None, gamma[:, None]), prior_mean
        ),
        variance=Weights(
            Linear(None, zero), beta_variance, None if gamma is None else Linear(None, zero), prior_variance
        ),
        beta=None,
        n_factors=model.n_factors,
        link=model.link,
    )
    start = conditional.full(conditional.mean)
    return fit_jit(labels, conditional, jax.random.key(0), solver, start)


def correctness(factors: Factors) -> tuple[Float[Array, "W I"], Float[Array, "W I"]]:
    """Compute (P1, P0): the probability that each labeler is right on each instance, given truth +1 and given truth -1.

        P1 = σ(α βᵀ + γ eᵀ)        P0 = σ(α βᵀ - γ eᵀ)

    Args:
        factors: α [W, D], β [I, D] and γ [W], of ``model.factors`` or of ``unseen_factors`` and ``expected_factor``.

    Example: the published table of specialists and generalists (section 2.1)
        >>> import jax.numpy as jnp
        >>> factors = Factors(jnp.array([[0.848, 1], [1.386, 0]]), jnp.array([[1, 2.094], [1, 0]]), None, None)
        >>> [[round(float(p), 2) for p in row] for row in correctness(factors)[0]]
        [[0.95, 0.7], [0.8, 0.8]]

    Source: Ruvolo, Whitehill, Movellan (2013), equations 2 and 3.
    """
    s = jnp.matmul(factors.alpha, factors.beta.T, precision=PRECISION)
    gamma = 0.0 if factors.gamma is None else factors.gamma[:, None]
    return likelihood.sensitivity_specificity(s, gamma)
