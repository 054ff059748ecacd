"""The factor model: what is swept (arrays) and what is fixed (a frozen config), its priors and its objective.

    α = Φα Wα     β = link(Φβ Wβ)     γ = Φγ wγ     logit π = Φπ wπ          every weight ~ N(mean, variance), known
    objective(W) = log p(L | W) + log p(W)                                   the log posterior, truths summed out

A variance of 0 fixes a weight at its mean, an infinite one leaves it to the data. That is all the presets need: see
``crowdjax.factor.presets``. Source: Ruvolo, Whitehill, Movellan (2013), sections 2.2, 2.3 and 3 (equation 8
corrected as in docs/models.md).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray

from crowdjax.directions import inner
from crowdjax.factor.features import Features, Linear
from crowdjax.factor.kernels import Factors, curvature_pass, data_pass, evidence, folded_curvature, folded_pass, tally
from crowdjax.fits import Weights
from crowdjax.labels import InputError, Labels, Shard, refuse_more_classes
from crowdjax.priors import Link
from crowdjax.segments import total


class FactorModel(eqx.Module):
    """A factor model of given labelers and instances: its features and the priors of its weights. All arrays may be
    batched by vmap.

    Attributes:
        labeler, instance, bias, class_prior: Φα, Φβ, Φγ (None: no bias), Φπ.
        mean, variance: of the Gaussian prior of every weight; leaves broadcast against the weights.
        beta: (a, b) of a Beta prior on a single learned class prior π; None for none.
        link: β = Φβ Wβ, or its exponential (GLAD's).

    Example: of two factors only the first
        >>> from crowdjax.factor import FactorConfig, build
        >>> model = build(FactorConfig(n_factors=2), Labels.from_arrays([0, 1], [0, 0], [1, 0]))
        >>> model.with_factors(1).variance.labeler.free.tolist()
        [[1.0, 0.0]]

    Source: Ruvolo, Whitehill, Movellan (2013), section 2.2.
    """

    labeler: Features
    instance: Features
    bias: Features | None
    class_prior: Features
    mean: Weights
    variance: Weights
    beta: Float[Array, "2"] | None
    n_factors: int = eqx.field(static=True)
    link: Link = eqx.field(static=True, default="linear")

    @property
    def constant_beta(self) -> bool:
        """Whether β is known and the same for all instances; a pass then takes half the time."""
        return self.instance.fixed

    def with_factors(self, n: Int[Array, ""] | int) -> FactorModel:
        """Fix the weights of all factors but the first ``n`` at 0 (``n`` may be traced)."""

        def mask(prior: Weights) -> Weights:
            keep = lambda v: jnp.where(jnp.arange(self.n_factors) < n, v, 0)  # noqa: E731
            return prior._replace(
                labeler=jax.tree.map(keep, prior.labeler), instance=jax.tree.map(keep, prior.instance)
            )

        return dataclasses.replace(self, mean=mask(self.mean), variance=mask(self.variance))

    def only(self, prior: Weights) -> Weights:
        """Drop the prior means or variances of weights that the model does not have; nothing is broadcast."""

        def pick(features: Features | None, part: Linear | None):
            if features is None:
                return None
            return Linear(None if features.dense is None else part.dense, part.free if features.identity else None)

        sides = [pick(getattr(self, side), getattr(prior, side)) for side in Weights._fields]
        return jax.tree.map(lambda v: jnp.asarray(v, jnp.result_type(float)), Weights(*sides))

    def full(self, prior: Weights) -> Weights:
        """Broadcast prior means or variances to the shapes of the weights."""

        def fill(features: Features | None, part: Linear | None, width: int):
            if features is None:
                return None
            rows = (features.n_columns, features.n)
            pairs = zip(part, rows, strict=True)
            return Linear(*(None if v is None else jnp.broadcast_to(v, (n, width)) for v, n in pairs))

        widths = Weights(self.n_factors, self.n_factors, 1, 1)
        parts = zip(Weights._fields, self.only(prior), widths, strict=True)
        return Weights(*(fill(getattr(self, side), part, width) for side, part, width in parts))

    def start(self, key: PRNGKeyArray, jitter: float = 0.5, shard: Shard | None = None) -> Weights:
        """Draw initial weights: the prior means, with random α and β of factors 2 to D.

        Args:
            key: draws factor d by ``fold_in(key, d)``, so that the number of factors does not change the draw.
            jitter: the standard deviation of the draws. Weights that are fixed stay.
            shard: of labels that are a shard; its instances get what they would get in the whole problem.

        Example: an able crowd, and a second factor of which nothing is known
            >>> from crowdjax.factor import FactorConfig, build
            >>> model = build(FactorConfig(n_factors=2), Labels.from_arrays([0, 1], [0, 0], [1, 0]))
            >>> model.start(jax.random.key(0), jitter=0.0).labeler.free.tolist()
            [[1.0, 0.0], [1.0, 0.0]]
        """
        mean, variance = self.full(self.mean), self.full(self.variance)

        def draw(side: int, part, spread):
            def moved(n, leaf, var):
                whole = side == n == 1 and shard is not None  # instances' own weights
                columns = [leaf[:, :1]]
                for d in range(1, self.n_factors):
                    of_column = jax.random.fold_in(jax.random.fold_in(key, d), 2 * side + n)
                    noise = jax.random.normal(of_column, (shard.n_instances,) if whole else leaf.shape[:1])
                    noise = noise.at[shard.rows].get(mode="fill", fill_value=0) if whole else noise
                    columns.append(jnp.where(var[:, d] > 0, leaf[:, d] + jitter * noise, leaf[:, d])[:, None])
                return jnp.concatenate(columns, axis=1).astype(leaf.dtype)

            pairs = enumerate(zip(part, spread, strict=True))
            return Linear(*(None if w is None else moved(n, w, v) for n, (w, v) in pairs))

        return mean._replace(
            labeler=draw(0, mean.labeler, variance.labeler), instance=draw(1, mean.instance, variance.instance)
        )

    def factors(self, weights: Weights) -> Factors:
        """Compute α, β, γ and logit π from weights (equations 4-6)."""
        beta = self.instance.apply(weights.instance)
        return Factors(
            alpha=self.labeler.apply(weights.labeler),
            beta=jnp.exp(beta) if self.link == "exp" else beta,
            gamma=None if self.bias is None else self.bias.apply(weights.bias)[:, 0],
            prior_logit=self.class_prior.apply(weights.class_prior)[:, 0],
        )

    def pull_back(self, factors: Factors, gradient: Factors) -> Weights:
        """Compute the gradient in the weights from the one in the factors (chain rule through link and features)."""
        beta = gradient.beta * factors.beta if self.link == "exp" else gradient.beta
        return Weights(
            self.labeler.transpose(gradient.alpha),
            self.instance.transpose(beta),
            None if self.bias is None else self.bias.transpose(gradient.gamma[:, None]),
            self.class_prior.transpose(gradient.prior_logit[:, None]),
        )

    def log_prior(self, weights: Weights) -> Float[Array, ""]:
        """Compute log p(W): Gaussian densities of the weights with a finite, positive variance, and the Beta density of
        π.
        """
        return sum(jax.tree.leaves(self.log_priors(weights)))

    def log_priors(self, weights: Weights) -> Weights:
        """Compute the terms of log p(W) by kind of weight; the Beta density of π is added to the class prior's dense
        weights.
        """

        def density(w, mean, variance):
            proper = (variance > 0) & jnp.isfinite(variance)
            v = jnp.where(proper, variance, 1)
            terms = -0.5 * ((w - mean) ** 2 / v + jnp.log(2 * jnp.pi * v))
            return total(jnp.where(proper, terms, 0).ravel())

        terms = jax.tree.map(density, weights, self.only(self.mean), self.only(self.variance))
        if self.beta is None:
            return terms
        eta, (a, b) = weights.class_prior.dense[0, 0], self.beta
        of_pi = (a - 1) * jax.nn.log_sigmoid(eta) + (b - 1) * jax.nn.log_sigmoid(-eta) - jax.scipy.special.betaln(a, b)
        return terms._replace(class_prior=terms.class_prior._replace(dense=terms.class_prior.dense + of_pi))


class Objective(eqx.Module):
    """The model's objective as functions of one flat vector of weights, negated for a minimiser.

    Fixed weights are part of the vector; their gradient is zero, so no solver moves them. Where the labels are a shard,
    so is the vector: instances' own weights are this shard's, all others are the same on every shard.

    Example: what a solver minimises, its gradient, and the posterior, at the prior means
        >>> from crowdjax.factor import PRESETS, build
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [1, 1, 0, 0, 0, 1])
        >>> model = build(PRESETS["glad-linear"], labels)
        >>> value, gradient, posterior = Objective(labels, model)(ravel_pytree(model.full(model.mean))[0])
        >>> gradient.shape, posterior.shape        # three abilities, two β and the class prior, which is fixed
        ((6,), (2,))

    Source: Ruvolo, Whitehill, Movellan (2013), equations 8 and 9, with log p(W) kept (docs/models.md).
    """

    labels: Labels
    model: FactorModel
    mean: Weights  # these three not broadcast: as vectors of all weights they would take as much memory as a pass
    precision: Weights  # 0 where the prior is flat or the weight is fixed
    moves: Weights
    counts: Float[Array, "W 2"] | None  # each labeler's labels -1 and +1, where β is constant
    unravel: Callable[[Float[Array, " P"]], Weights] = eqx.field(static=True)
    own: tuple[int, int] = eqx.field(static=True)  # which part of the vector are instances' own weights

    def __init__(self, labels: Labels, model: FactorModel):
        refuse_more_classes(labels)
        self.labels, self.model = labels, model
        whole = model.full(model.mean)
        x, self.unravel = ravel_pytree(whole)
        before = sum(v.size for v in jax.tree.leaves((whole.labeler, whole.instance.dense)))
        self.own = (before, before + (0 if whole.instance.free is None else whole.instance.free.size))
        self.mean, variance = model.only(model.mean), model.only(model.variance)
        self.moves = jax.tree.map(lambda v: v > 0, variance)
        self.precision = jax.tree.map(lambda v: jnp.where((v > 0) & jnp.isfinite(v), 1 / v, 0), variance)
        self.counts = tally(labels, dtype=x.dtype) if model.constant_beta else None

    def __call__(self, x, given=None, use=True):
        """Return -(evidence + log prior), or -(Q + log prior) at ``given`` posteriors; its gradient; the posterior."""
        return self.expect(x, given, use)[:3]

    def expect(self, x, given=None, use=True):
        """Compute what a call returns and, where β is constant, the expected numbers of labels -1 and +1 that each
        labeler gives to positive instances (of this shard).
        """
        weights = self.unravel(x)
        factors = self.model.factors(weights)
        if self.model.constant_beta:
            out, on_positives = folded_pass(self.labels, self.counts, factors, given, use)
        else:
            out, on_positives = data_pass(self.labels, factors, given, use), None
        gradient = self.model.pull_back(factors, out.gradient)
        value = out.value + self._log_prior(weights)
        if gradient.instance.free is not None:  # no other shard sees it
            value = jnp.where(jnp.isfinite(gradient.instance.free).all(), value, jnp.nan)
        gradient, value = self._across(gradient, value)
        if self.model.beta is not None:
            a, b = self.model.beta
            pi = jax.nn.sigmoid(weights.class_prior.dense)
            of_pi = gradient.class_prior.dense + (a - 1) * (1 - pi) - (b - 1) * pi
            gradient = gradient._replace(class_prior=gradient.class_prior._replace(dense=of_pi))

        def downward(g, w, mean, precision, moves):
            return jnp.where(moves, precision * (w - mean) - g, 0)

        # Without barriers XLA on a CPU makes the long vector anew, piece by piece, for each of its uses.
        gradient = jax.lax.optimization_barrier(gradient)
        down = jax.tree.map(downward, gradient, weights, self.mean, self.precision, self.moves)
        down = jax.lax.optimization_barrier(ravel_pytree(down)[0])
        return -value, down, out.posterior, on_positives

    def diagonal(self, x):
        """Compute the diagonal of an upper bound of the Hessian: prior precision + Φ²ᵀ (curvature of the factors)."""
        model, weights = self.model, self.unravel(x)
        factors = model.factors(weights)
        curved = folded_curvature(self.counts, factors) if model.constant_beta else curvature_pass(self.labels, factors)
        squared = dataclasses.replace(
            model,
            labeler=model.labeler.squared(),
            instance=model.instance.squared(),
            bias=None if model.bias is None else model.bias.squared(),
            class_prior=model.class_prior.squared(),
        )
        if model.link == "exp":
            curved = curved._replace(beta=curved.beta * factors.beta)  # pull_back multiplies once more
        curved, _ = self._across(squared.pull_back(factors, curved))

        def positive(h, precision, moves):
            return jnp.where(moves & (h + precision > 0), h + precision, 1)

        return ravel_pytree(jax.tree.map(positive, curved, self.precision, self.moves))[0]

    def inner(self, *pairs):
        """The function ``directions.inner`` for vectors of weights, summed over all shards."""
        if self.labels.shard is None or self.labels.shard.axis is None:
            return inner(*pairs)
        start, end = self.own
        parts = (slice(0, start), slice(end, None), slice(start, end))
        before, after, own = (inner(*((a[..., part], b[part]) for a, b in pairs)) for part in parts)
        shared = [self.labels.once(u + v) for u, v in zip(before, after, strict=True)]
        return self.labels.across(tuple(u + v for u, v in zip(shared, own, strict=True)))

    def log_prior(self, weights: Weights) -> Float[Array, ""]:
        """Compute log p(W) over all shards."""
        return self.labels.across(self._log_prior(weights))

    def _log_prior(self, weights: Weights) -> Float[Array, ""]:
        """Return this shard's part of log p(W)."""
        shared, own = _apart(self.model.log_priors(weights))
        shared = self.labels.once(sum(jax.tree.leaves(shared)))
        return shared if own is None else shared + own

    def _across(self, weights: Weights, value=0.0) -> tuple[Weights, Float[Array, ""]]:
        """Return sums over instances, by the weights that they belong to, and a value, added up over all shards."""
        shared, own = _apart(weights)
        shared, value = self.labels.across((shared, value))
        return shared._replace(instance=shared.instance._replace(free=own)), value


def init(labels: Labels, model: FactorModel, key: PRNGKeyArray, jitter: float = 0.5) -> Weights:
    """Return weights to start a solver or a sampler of one's own from; check that the model is of these labels.

    Args:
        labels: N stored triples of W labelers and I instances.
        model: features and priors.
        key, jitter: as in :meth:`FactorModel.start`, whose weights these are.

    Returns:
        weights by name: labeler, instance, bias and class_prior, each with ``dense`` [F, D], of its features, and
        ``free`` [W, D] or [I, D], of every labeler or instance; None where the model has none.

    Raises:
        InputError: labels are not of two classes; features, prior means or variances have another shape: says which,
            its shape and the one allowed.

    Example:
        >>> from crowdjax.factor import PRESETS, build
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [1, 1, 0, 0, 0, 1])
        >>> init(labels, build(PRESETS["dawid-skene"], labels), jax.random.key(0)).labeler.free.shape
        (3, 1)
        >>> init(labels, build(PRESETS["dawid-skene"], Labels.from_arrays([0], [0], [1])), jax.random.key(0))
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: model.labeler: got 1 row; allowed: 3, one for each of the labels' labelers
    """
    refuse_more_classes(labels)
    sizes = {"labeler": labels.n_labelers, "bias": labels.n_labelers}
    for side in Weights._fields:
        features, n = getattr(model, side), sizes.get(side, labels.n_instances)
        if features is None:
            continue
        if features.n != n:
            whose = "labelers" if side in sizes else "instances"
            rows = "row" if features.n == 1 else "rows"
            raise InputError(
                f"model.{side}: got {features.n} {rows}; allowed: {n}, one for each of the labels' {whose}"
            )
        if features.dense is not None and jnp.shape(features.dense)[0] != n:
            found = jnp.shape(features.dense)
            raise InputError(f"model.{side}.dense: got shape {found}; allowed: ({n}, {found[-1]})")
        width = model.n_factors if side in ("labeler", "instance") else 1
        expected = {"dense": (features.n_columns, width), "free": (n, width)}
        for prior in ("mean", "variance"):
            part = getattr(getattr(model, prior), side)
            there = {"dense": features.dense is not None, "free": features.identity}
            for name, shape in expected.items():
                values = None if part is None else getattr(part, name)
                if there[name] and not _broadcasts(values, shape):
                    got = "None" if values is None else f"shape {jnp.shape(values)}"
                    raise InputError(f"model.{prior}.{side}.{name}: got {got}; allowed: what broadcasts to {shape}")
    return model.start(key, jitter)


def _broadcasts(values, shape: tuple[int, ...]) -> bool:
    """Return whether an array broadcasts to a shape."""
    if values is None:
        return False
    try:
        return jnp.broadcast_shapes(jnp.shape(values), shape) == shape
    except ValueError:
        return False


def log_posterior(labels: Labels, model: FactorModel, weights: Weights) -> Float[Array, ""]:
    """Compute the unnormalised log posterior of the weights, with the truth summed out.

        log p(W | L) = log p(L | W) + log p(W) + const.

    For a solver or a sampler of one's own (docs/jax.md); ``fit`` climbs the same function. It is differentiable in the
    weights in reverse and in forward mode, in one pass over the labels each. Weights of variance 0 are
    fixed at their means, whatever is given: their derivatives are 0.

    Args:
        labels: N stored triples of W labelers and I instances.
        model: features and priors.
        weights: weights with the shapes of :func:`init`.

    Returns:
        a scalar, in nats.

    Raises:
        InputError: labels are not of two classes; a weight is missing or has another shape.

    Example: one step up the gradient
        >>> from crowdjax.factor import PRESETS, build
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [1, 1, 0, 0, 0, 1])
        >>> model = build(PRESETS["glad-linear"], labels)
        >>> weights = init(labels, model, jax.random.key(0))
        >>> value, gradient = jax.value_and_grad(log_posterior, 2)(labels, model, weights)
        >>> higher = jax.tree.map(lambda w, g: w + 0.1 * g, weights, gradient)
        >>> bool(log_posterior(labels, model, higher) > value)
        True
    """
    refuse_more_classes(labels)
    expected = {name: leaf.shape for name, leaf in _named(jax.eval_shape(model.full, model.mean))}
    found = {name: jnp.shape(leaf) for name, leaf in _named(weights)}
    for name in expected | found:
        if expected.get(name) != found.get(name):
            raise InputError(f"weights{name}: got {found.get(name)}; allowed: the shape {expected.get(name)}")
    mean, variance = model.only(model.mean), model.only(model.variance)
    at = jax.tree.map(lambda w, m, v: jnp.where(v > 0, w, m), weights, mean, variance)
    return evidence(labels, model.factors(at)) + model.log_prior(at)


def _named(weights: Weights):
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_flatten_with_path(weights)[0]]


def _apart(weights: Weights):
    """Return (the weights without instances' own, instances' own)."""
    return weights._replace(instance=weights.instance._replace(free=None)), weights.instance.free
