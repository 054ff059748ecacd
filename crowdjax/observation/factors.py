"""Bilinear models of any number of classes: GLAD, and factors of labelers and instances.

    s_ij = log(K-1) + α_i·β_j      log p(l | z = k) = log softmax_l(γ_il + [l = k] s_ij)

so that without biases a label is right with the chance σ(α_i·β_j), and errors fall on all other classes alike.

| model | α_i | β_j | γ_i |
|---|---|---|---|
| glad | N(1, 1) | exp(b_j), b_j ~ N(1, 1) | – |
| factor | D numbers, N(1, 1) and N(0, 1) for further ones | D numbers, the same | N(0, 1) between any two labels |

Features x of labelers or instances are linear: α_i = w·(1, x_i) + own_i, with Gaussian weights and deviations.

A fit is the mode of all parameters jointly. Few labels hardly determine an instance's β_j, so probabilities grow more
certain as the fit proceeds, and become overconfident (docs/models.md, section 3): where β_j has no features it is
integrated out by default (``observation.integrated_factors``). Source: Whitehill et al. 2009 (GLAD); Ruvolo, Whitehill
and Movellan (factors).
"""

from __future__ import annotations

import dataclasses
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt32

from crowdjax import optimize
from crowdjax.directions import inner, lbfgs
from crowdjax.labels import InputError, Labels
from crowdjax.likelihood import per_triple
from crowdjax.observation.bilinear import Biases, Factors, bilinear_pass, curvature_pass
from crowdjax.observation.blocks import n_parts, over_blocks
from crowdjax.observation.contract import Params
from crowdjax.observation.fit import Fit, Solver
from crowdjax.observation.table import vote_shares
from crowdjax.segments import total

Gaussian = tuple[float, float]  # mean, standard deviation
ClassPrior = Literal["uniform", "learn", "logistic"] | tuple[float, ...]
PRECISION = jax.lax.Precision.HIGHEST
JITTER = 0.5  # standard deviation of the random start of factors 2 to D; at 0 they are on a saddle
START_STEPS = 20  # most passes of the M-step at the votes
MISPLACED = 0.05  # share of instances that another naming of the classes brings to the votes, for that to be tried
AT_MODE = (
    "Every instance has numbers of its own, which few labels hardly tell; they are taken at their likeliest values, so "
    "confidences are too high. With instances='integrate' (three factors at most, no features) they are averaged over."
)
SIDES = {"alpha": "labeler", "beta": "instance", "gamma": "labeler"}


class Normal(NamedTuple):
    """Mean and standard deviation of parameters, broadcast to their shape."""

    mean: Float[Array, "..."] | float
    sd: Float[Array, "..."] | float


def _numbers(columns):
    return None if columns is None else jnp.asarray(columns, jnp.result_type(float))


class Factor(eqx.Module):
    """D factors of each labeler and each instance, and a bias of each labeler for each label.

    Attributes:
        n_factors: D.
        labeler, instance: mean and standard deviation of the first factor, of each labeler's and instance's own; with
            features, of the constant.
        bias: standard deviation of γ_il - γ_ik, whose mean is 0; None: no biases.
        further: standard deviation of factors 2 to D, whose means are 0.
        features: standard deviation of the weights of (standardised) features, whose means are 0.
        deviation: standard deviation of the own weight that a labeler or an instance has beside features; 0: none.
        class_prior: ``uniform``, K probabilities, ``learn`` (Dirichlet, 2 of each class), or ``logistic`` in the
            features of instances.
        restarts: starts that ``crowdjax.fit`` takes the best of, from two factors on.
        labeler_features, instance_features: standardised columns; a constant is added here.
        seed: of the random start of factors 2 to D.

    Example:
        >>> Factor(n_factors=0)
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: n_factors: got 0; allowed: a whole number from 1
    """

    n_factors: int = eqx.field(static=True, default=1)
    labeler: Gaussian = eqx.field(static=True, default=(1.0, 1.0))
    instance: Gaussian = eqx.field(static=True, default=(1.0, 1.0))
    bias: float | None = eqx.field(static=True, default=1.0)
    further: float = eqx.field(static=True, default=1.0)
    features: float = eqx.field(static=True, default=0.5)
    deviation: float = eqx.field(static=True, default=0.5)
    class_prior: ClassPrior = eqx.field(static=True, default="uniform")
    restarts: int = eqx.field(static=True, default=1)
    labeler_features: Float[Array, "W F"] | None = eqx.field(default=None, converter=_numbers)
    instance_features: Float[Array, "I F"] | None = eqx.field(default=None, converter=_numbers)
    seed: UInt32[Array, ""] = eqx.field(default=0, converter=lambda seed: jnp.asarray(seed, jnp.uint32))

    def __check_init__(self):
        if isinstance(self.n_factors, bool) or not isinstance(self.n_factors, int) or self.n_factors < 1:
            raise InputError(f"n_factors: got {self.n_factors!r}; allowed: a whole number from 1")
        positive = {"labeler": self.labeler[1], "instance": self.instance[1], "bias": self.bias}
        for name, sd in (positive | {"further": self.further, "features": self.features}).items():
            if sd is not None and not 0 < sd < np.inf:
                raise InputError(f"{name}: standard deviation {sd}; allowed: more than 0, finite")
        if not 0 <= self.deviation < np.inf:
            raise InputError(f"deviation: standard deviation {self.deviation}; allowed: 0 or more, finite")
        prior = self.class_prior
        if isinstance(prior, tuple):
            if not (min(prior) > 0 and abs(sum(prior) - 1) < 1e-6):
                raise InputError(f"class_prior: got {prior}; allowed: positive numbers that add up to 1")
        elif prior not in ("uniform", "learn", "logistic"):
            raise InputError(f"class_prior: got {prior!r}; allowed: uniform, learn, logistic, or a number a class")
        if prior == "logistic" and self.instance_features is None:
            raise InputError("class_prior: logistic needs features of instances; allowed without: uniform, learn")

    def start(self, labels: Labels, votes: Float[Array, "I K"], key: PRNGKeyArray | None = None):
        """Return the means of the priors, but for random numbers in factors 2 to D, of which each has its own."""
        k = labels.n_classes
        if labels.n_values != k:
            raise InputError(f"labels: {labels.n_values} values for {k} classes; allowed with factors: as many")
        if isinstance(self.class_prior, tuple) and len(self.class_prior) != k:
            raise InputError(f"class_prior: {len(self.class_prior)} numbers; allowed: {k}, one for each class")
        key = jax.random.key(self.seed) if key is None else key
        prior, rows = self.prior(), {"labeler": labels.n_labelers, "instance": labels.n_instances}

        def fill(name, kind, mean):
            n = rows[SIDES[name]] if kind == "own" else np.shape(mean)[0]
            width = k if name == "gamma" else self.n_factors
            value = jnp.broadcast_to(jnp.asarray(mean, jnp.result_type(float)), (n, width))
            if name == "gamma" or self.n_factors == 1:
                return value
            shard = labels.shard if name == "beta" and kind == "own" else None
            each = jax.random.fold_in(key, 2 * (name == "beta") + (kind == "own"))
            draw = lambda d: jax.random.normal(  # noqa: E731
                jax.random.fold_in(each, d), (n if shard is None else shard.n_instances,)
            )
            noise = jax.vmap(draw)(jnp.arange(1, self.n_factors)).T
            noise = noise if shard is None else noise.at[shard.rows].get(mode="fill", fill_value=0)
            return value.at[:, 1:].add(JITTER * noise)

        sides = {n: {kind: fill(n, kind, p.mean) for kind, p in prior[n].items()} for n in prior if n != "classes"}
        if self.class_prior == "logistic":
            return sides | {"classes": {"columns": jnp.zeros((self.instance_features.shape[1] + 1, k))}}
        logits = np.log(self.class_prior) if isinstance(self.class_prior, tuple) else np.zeros(k)
        return sides | {"classes": {"logits": jnp.asarray(logits)}}

    def factors(self, params) -> Factors:
        """Return α, β, γ and the class prior at these parameters."""
        classes = params["classes"]
        if "logits" in classes:
            logits = classes["logits"]
            logits = logits if self.class_prior == "learn" else jax.lax.stop_gradient(logits)
        else:
            logits = _linear(self.instance_features, classes)
        return Factors(
            alpha=_linear(self.labeler_features, params["alpha"]),
            beta=_linear(self.instance_features, params["beta"]),
            gamma=None if self.bias is None else _linear(self.labeler_features, params["gamma"]),
            log_prior=jax.nn.log_softmax(logits),
            offset=float(np.log(logits.shape[-1] - 1)),
        )

    def prior(self):
        """Return the Gaussian of every parameter."""
        first = np.arange(self.n_factors) == 0

        def side(features, gaussian, further, scale=1.0):
            mean, sd = gaussian[0] * first, np.where(first, gaussian[1], further)
            if features is None:
                return {"own": Normal(mean, sd)}
            n = (features.shape[1], 1)
            columns = Normal(
                np.r_[mean[None], np.tile(0 * mean, n)], np.r_[sd[None], np.tile(scale * self.features, n) + 0 * sd]
            )
            return {"columns": columns} | ({"own": Normal(0 * mean, scale * self.deviation)} if self.deviation else {})

        out = {
            "alpha": side(self.labeler_features, self.labeler, self.further),
            "beta": side(self.instance_features, self.instance, self.further),
        }
        if self.bias is not None:  # of two labels the difference has √2 times the deviation of each
            half = np.sqrt(0.5)
            out["gamma"] = jax.tree.map(
                lambda p: Normal(np.zeros_like(p.mean[..., :1]), p.sd if np.ndim(p.sd) == 0 else p.sd[..., :1]),
                side(self.labeler_features, (0.0, half * self.bias), 1.0, half),
                is_leaf=_is_normal,
            )
        kind, sd = ("columns", np.sqrt(0.5)) if self.class_prior == "logistic" else ("logits", np.inf)
        return out | {"classes": {kind: Normal(0.0, sd)}}

    def log_density(self, params):
        """Return the log prior of every number, up to constants, as the parameters."""
        terms = jax.tree.map(lambda p, x: -0.5 * ((x - p.mean) / p.sd) ** 2, self.prior(), params, is_leaf=_is_normal)
        if self.class_prior == "learn":
            terms["classes"] = jax.tree.map(jax.nn.log_softmax, params["classes"])
        return terms

    def log_prior(self, params):
        return sum(total(v.ravel()) for v in jax.tree.leaves(self.log_density(params)))

    def diagonal(self, params, curved: Factors):
        """Estimate how much the evidence curves in every number, given how much it does in the factors."""

        def pull(name, features, c):
            each = {"own": lambda: c, "logits": lambda: c}
            each["columns"] = lambda: jnp.matmul((_with_constant(features) ** 2).T, c, precision=PRECISION)
            return {kind: each[kind]() for kind in params[name]}

        of_data = {
            "alpha": pull("alpha", self.labeler_features, curved.alpha),
            "beta": pull("beta", self.instance_features, curved.beta),
            "classes": pull("classes", self.instance_features, curved.log_prior),
        }
        if self.bias is not None:
            of_data["gamma"] = pull("gamma", self.labeler_features, curved.gamma)
        return of_data

    def precision(self, params):
        """Return how much the log prior curves in every number."""
        return jax.tree.map(lambda p, x: p.sd**-2.0 + 0 * x, self.prior(), params, is_leaf=_is_normal)

    def specs(self, params):
        own = lambda name, kind: SIDES[name] if kind == "own" else None  # noqa: E731
        return {name: {kind: own(name, kind) for kind in part} for name, part in params.items()}

    def own_specs(self):
        """Name what the rows of the features run over, where there are any."""
        each = {"labeler": self.labeler_features, "instance": self.instance_features}
        return *(side for side, columns in each.items() if columns is not None), None

    def starts(self) -> list[Factor]:
        """Return the same model with a seed for every start; one where nothing is drawn."""
        if self.n_factors == 1:
            return [self]
        seeds = np.random.SeedSequence(int(self.seed)).generate_state(self.restarts)
        return [dataclasses.replace(self, seed=seed) for seed in (self.seed, *seeds[1:])]

    def unseen(self, params):
        """Return the parameters of an unseen labeler: the means of the prior."""
        own = {
            name: part["own"].mean
            for name, part in self.prior().items()
            if SIDES.get(name) == "labeler" and "own" in part
        }
        return {name: {"own": jnp.asarray(mean, jnp.result_type(float))} for name, mean in own.items()}

    def cautions(self) -> list[str]:
        """Return the warnings about a fit."""
        if self.instance_features is not None and not self.deviation:
            return []
        return [AT_MODE]

    def stages(self, labels: Labels, start: Params | None, solver: Solver, key: PRNGKeyArray | None = None):
        """Return a fit as its stages (``crowdjax.observation.fit.stages`` calls it)."""
        return stages(labels, self, start, solver, key)


class Glad(Factor):
    """GLAD: the ability of a labeler times the easiness of an instance, which is positive.

    Example:
        >>> from crowdjax.observation.fit import fit_jit
        >>> label = [0, 0, 1, 2, 2, 0, 1, 1, 2]
        >>> labels = Labels.from_arrays([0, 1, 2] * 3, [0] * 3 + [1] * 3 + [2] * 3, label, n_values=3)
        >>> fit_jit(labels, Glad()).posterior.argmax(1).tolist()
        [0, 2, 1]
    """

    bias: float | None = eqx.field(static=True, default=None)

    def factors(self, params):
        found = super().factors(params)
        return found._replace(beta=jnp.exp(found.beta))

    def diagonal(self, params, curved):
        return super().diagonal(params, curved._replace(beta=curved.beta * self.factors(params).beta ** 2))


def _is_normal(value) -> bool:
    return isinstance(value, Normal)


def _with_constant(columns: Float[Array, "n F"]) -> Float[Array, "n F+1"]:
    return jnp.concatenate([jnp.ones((len(columns), 1), columns.dtype), columns], axis=1)


def _linear(features: Float[Array, "n F"] | None, part) -> Float[Array, "n D"]:
    """Return the constant and the features, times their weights, and what each row has of its own."""
    if "columns" not in part:
        return part["own"]
    out = jnp.matmul(_with_constant(features), part["columns"], precision=PRECISION)
    return out + part["own"] if "own" in part else out


def stages(
    labels: Labels,
    model: Factor,
    start: Params | None,
    solver: Solver,
    key: PRNGKeyArray | None = None,
    *,
    rename: bool = True,
) -> optimize.Staged:
    """Return a fit of a bilinear model as its stages, each of them L-BFGS, to run in blocks of steps.

        0  M-step at the shares of votes            (skipped where a fit is continued)
        1  the objective, from there
        2  M-step at the posterior with the classes named as the votes say, where stage 1 has misnamed some
        3  the objective, from there; the better of 1 and 3 is the fit

    Args:
        key: of the random start of factors 2 to D.
        rename: whether there are stages 2 and 3.
    """
    votes, continued = vote_shares(labels), start is not None
    first = start if continued else model.start(labels, votes, key)
    x0, unravel = ravel_pytree(jax.tree.map(lambda v: jnp.asarray(v, jnp.result_type(float)), first))
    votes = votes.astype(x0.dtype)
    sharded = _Sharded(labels, jax.tree.leaves(model.specs(first), is_leaf=lambda spec: spec is None))
    vector = lambda params: jax.lax.optimization_barrier(ravel_pytree(params)[0])  # noqa: E731   made once, not per use

    def log_prior(params):
        return sum(total(v.ravel()) for v in jax.tree.leaves(sharded.once(model.log_density(params))))

    def objective(x, given, use):
        params = unravel(x)
        factors, pull_back = jax.vjp(model.factors, params)
        found = bilinear_pass(labels, factors, given, use)
        prior, of_prior = jax.value_and_grad(log_prior)(params)
        gradient = jax.tree.map(jnp.add, pull_back(found.gradient)[0], of_prior)
        value, gradient = sharded.total(found.value + prior, gradient)
        return -value, -vector(gradient), found.posterior

    def diagonal(x):
        params = unravel(x)
        curved = model.diagonal(params, curvature_pass(labels, model.factors(params)))
        _, curved = sharded.total(jnp.zeros((), x.dtype), curved)
        return vector(jax.tree.map(lambda p, h: p + jnp.where(p + h > 0, h, 1), model.precision(params), curved))

    def is_m_step(k):
        return k % 2 == 0

    def limit(carry, k):
        most = jnp.where(is_m_step(k), START_STEPS, solver.max_steps)
        most = jnp.where((k == 0) & continued, 0, most)
        return jnp.where((k >= 2) & ~carry[2]["suspect"], 0, most)

    def loop(carry, k):
        x, given, _ = carry
        return optimize.minimizer(
            lambda x: objective(x, given, is_m_step(k)),
            x,
            lbfgs(inner=sharded.inner(unravel(x0))),
            diagonal=diagonal,
            max_steps=max(solver.max_steps, START_STEPS),
            rtol=jnp.where(is_m_step(k), 1e-4, solver.rtol),
        )

    def close(carry, k, found):
        _, given, best = carry
        ran = limit(carry, k) > 0
        check = lambda q: renamed(labels, votes, q)  # noqa: E731   what is given is the votes until here
        given, suspect = jax.lax.cond(k == 1, check, lambda q: (given, best["suspect"]), found.aux)
        better = ran & ~is_m_step(k) & ((k == 1) | (found.value < best["value"]))
        new = {"x": found.x, "value": found.value, "posterior": found.aux, "code": found.code}
        new["history"] = found.history[: solver.max_steps]
        kept = {name: jnp.where(better, value, best[name]) for name, value in new.items()}
        return found.x, given, kept | {"steps": best["steps"] + found.n_steps, "suspect": suspect}

    def end(carry):
        best = carry[2]
        params = unravel(best["x"])
        return Fit(
            params=params,
            posterior=best["posterior"],
            objective=-best["value"],
            log_likelihood=-best["value"] - labels.across(log_prior(params)),
            code=best["code"],
            n_steps=best["steps"],
            history=-best["history"],
        )

    best = {
        "x": x0,
        "value": jnp.array(jnp.inf, x0.dtype),
        "posterior": votes,
        "code": jnp.array(optimize.RUNNING),
        "history": jnp.full(solver.max_steps, jnp.nan, x0.dtype),
        "steps": jnp.array(0),
        "suspect": jnp.array(False),
    }
    numbers = np.arange(4) if rename else np.array([1])
    carried = lambda carry, k: carry  # noqa: E731
    return optimize.Staged((x0, votes, best), numbers, carried, limit, loop, close, lambda carry: carry[2]["code"], end)


def renamed(labels: Labels, votes: Float[Array, "I K"], q: Float[Array, "I K"]):
    """Return (posteriors with the classes named as agrees best with the votes, whether that moves many instances).

    Example: two classes that have changed places
        >>> votes = jnp.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
        >>> labels = Labels.from_arrays([0, 0, 0], [0, 1, 2], [2, 1, 0], n_values=3)
        >>> q, moved = renamed(labels, votes, votes[:, jnp.array([1, 0, 2])])
        >>> bool(moved), q.argmax(1).tolist()
        (True, [2, 1, 0])
    """
    real = jnp.ones(len(q), q.dtype) if labels.shard is None else labels.shard.real.astype(q.dtype)
    shared = labels.across(jnp.matmul(votes.T * real, q, precision=PRECISION))  # instances, by class of vote and of fit
    from optax.assignment import hungarian_algorithm  # takes all of optax along

    of_vote, of_fit = hungarian_algorithm(-shared)
    place = jnp.zeros_like(of_fit).at[of_vote].set(of_fit)
    gained = shared[of_vote, of_fit].sum() - jnp.trace(shared)
    new = q[:, place] if labels.gold is None else jnp.where(labels.gold[:, None] >= 0, q, q[:, place])
    return new, gained > MISPLACED * shared.sum()


class _Sharded:
    """Sums over shards of parameters, of which some are of each instance and the others the same everywhere."""

    def __init__(self, labels: Labels, specs: list[str | None]):
        self.labels, self.of_instance = labels, [spec == "instance" for spec in specs]

    def _map(self, tree, instance, other):
        leaves, structure = jax.tree.flatten(tree)
        pairs = zip(self.of_instance, leaves, strict=True)
        return jax.tree.unflatten(structure, [instance(v) if own else other(v) for own, v in pairs])

    def once(self, tree):
        """Count what all shards have on the first alone, and no instances of padding."""
        shard = self.labels.shard
        if shard is None:
            return tree
        mask = lambda v: v * shard.real.reshape(-1, *[1] * (v.ndim - 1))  # noqa: E731
        return self._map(tree, mask, self.labels.once)

    def total(self, value, tree):
        """Sum a value and what does not belong to each instance."""
        if self.labels.shard is None:
            return value, tree
        shared = [v for own, v in zip(self.of_instance, jax.tree.leaves(tree), strict=True) if not own]
        value, shared = self.labels.across((value, shared))
        shared = iter(shared)
        return value, self._map(tree, lambda v: v, lambda v: next(shared))

    def inner(self, like):
        """Compute ``directions.inner`` of vectors of parameters."""
        if self.labels.shard is None:
            return inner
        counted, _ = ravel_pytree(self._map(like, jnp.ones_like, lambda v: self.labels.once(jnp.ones_like(v))))
        return lambda *pairs: self.labels.across(inner(*((a, b * counted) for a, b in pairs)))


def restarts(labels: Labels, model: Factor, key: PRNGKeyArray, n: int, solver: Solver = Solver()) -> Fit:
    """Return the best of n fits whose factors 2 to D start at random; jit it.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [1, 1, 0, 0, 0, 2], n_values=3)
        >>> restarts(labels, Factor(n_factors=2), jax.random.key(0), 2).posterior.argmax(1).tolist()
        [1, 0]
    """
    keys = jax.random.split(key, n)
    fits = jax.lax.map(lambda key: stages(labels, model, None, solver, key).run(), keys)
    best = jnp.argmax(jnp.where(jnp.isfinite(fits.objective), fits.objective, -jnp.inf))
    return dataclasses.replace(jax.tree.map(lambda v: v[best], fits), n_steps=fits.n_steps.sum())


class _Held(eqx.Module):
    """A model of which only what instances have of their own is to be found."""

    model: Factor
    held: Params

    def _whole(self, params):
        return self.held | {"beta": self.held["beta"] | params}

    def factors(self, params):
        return self.model.factors(self._whole(params))

    def log_density(self, params):
        return {"own": self.model.log_density(self._whole(params))["beta"]["own"]}

    def diagonal(self, params, curved):
        return {"own": self.model.diagonal(self._whole(params), curved)["beta"]["own"]}

    def precision(self, params):
        return {"own": self.model.precision(self._whole(params))["beta"]["own"]}

    def specs(self, params):
        return {"own": "instance"}


def predict(labels: Labels, model: Factor, params: Params, known: Int[Array, " W2"], solver: Solver = Solver()) -> Fit:
    """Infer the classes of new instances from their labels, with the labelers fixed at their fitted values.

    Parameters of the instances are fitted anew, from the prior means. A labeler who is not in the fit gets the values
    that the features or the prior imply.

    Args:
        labels: of W2 labelers and I2 instances, indexed anew.
        model: of the fit, but with the features of these labelers and instances.
        params: of the fit.
        known: index of each labeler in the fit, -1 for those it has not seen.

    Returns:
        A ``Fit``, whose parameters are of these labelers and instances.

    Example: a new instance, of which one known labeler says 2
        >>> from crowdjax.observation.fit import fit_jit
        >>> label = [0, 0, 1, 2, 2, 0, 1, 1, 2]
        >>> labels = Labels.from_arrays([0, 1, 2] * 3, [0] * 3 + [1] * 3 + [2] * 3, label, n_values=3)
        >>> new = Labels.from_arrays([0], [0], [2], n_values=3)
        >>> predict(new, Glad(), fit_jit(labels, Glad()).params, [0]).posterior.argmax(1).tolist()
        [2]
    """
    known, unseen = jnp.asarray(known), model.unseen(params)
    rows = lambda own, mean: jnp.where((known >= 0)[:, None], own[known], mean)  # noqa: E731
    picked = {name: params[name] | {"own": rows(params[name]["own"], part["own"])} for name, part in unseen.items()}
    beta = {kind: part for kind, part in params["beta"].items() if kind != "own"}
    held = params | picked | {"beta": beta}
    if "own" not in params["beta"]:
        found = bilinear_pass(labels, model.factors(held))
        one, value = jnp.array(1), found.value
        history = jnp.full(solver.max_steps, jnp.nan).at[0].set(value)
        return Fit(held, found.posterior, value, value, jnp.array(optimize.CONVERGED), one, history)
    own = jnp.broadcast_to(model.prior()["beta"]["own"].mean, (labels.n_instances, model.n_factors))
    found = _predict(labels, _Held(model, held), {"own": jnp.asarray(own, jnp.result_type(float))}, solver)
    return dataclasses.replace(found, params=held | {"beta": beta | found.params})


@eqx.filter_jit
def _predict(labels, model, start, solver):
    return stages(labels, model, start, solver, rename=False).run()


def mean_table(labels: Labels, model: Factor, params: Params, posterior: Float[Array, "I K"]) -> Float[Array, "W L K"]:
    """Compute P(label l | class k) of each labeler, averaged over the instances of class k that the labeler labelled.

    For a class without instances that the labeler labelled, it is the probability on an average instance.

    Args:
        posterior: of the fit.

    Example: one of three labelers contradicts the other two and is likely wrong
        >>> from crowdjax.observation.fit import fit_jit
        >>> label = [0, 0, 1, 2, 2, 0, 1, 1, 2]
        >>> labels = Labels.from_arrays([0, 1, 2] * 3, [0] * 3 + [1] * 3 + [2] * 3, label, n_values=3)
        >>> found = fit_jit(labels, Glad())
        >>> table = mean_table(labels, Glad(), found.params, found.posterior)
        >>> print(table.sum(1)[0], int(table[:, 0, 0].argmin()))
        [1. 1. 1.] 2
    """
    factors = model.factors(params)
    n_classes, dtype = labels.n_classes, factors.alpha.dtype
    gamma = jnp.zeros((labels.n_labelers, n_classes), dtype) if factors.gamma is None else factors.gamma
    biases = Biases.of(gamma)
    logit = biases.log_p - biases.log_rest

    def block(sums, here, beta, q):
        s = factors.offset + (factors.alpha[here.labeler] * here.of(beta)).sum(-1)
        weight = here.counts[..., None] * here.of(q)
        right = weight * per_triple(1, logit[here.labeler] + s[..., None]).slope_minus
        return here.add(sums, jnp.concatenate([right, weight], axis=-1)), None

    parts = n_parts(labels, 2 * n_classes)
    init = jnp.zeros((parts * labels.n_labelers, 2 * n_classes), dtype)
    sums, _ = over_blocks(block, labels, init, (factors.beta, posterior), dtype, parts)
    sums = labels.across(sums.reshape(parts, labels.n_labelers, -1).sum(0))
    right, number = jnp.split(sums, 2, axis=1)
    real = jnp.ones(labels.n_instances, dtype) if labels.shard is None else labels.shard.real.astype(dtype)
    beta, n = labels.across((real @ factors.beta, real.sum()))
    s = factors.offset + jnp.matmul(factors.alpha, beta / n, precision=PRECISION)
    typical = jax.nn.sigmoid(logit + s[:, None])
    rate = jnp.where(number > 0, right / jnp.where(number > 0, number, 1), typical)[:, None]
    wrong = (1 - rate) * jnp.exp(biases.log_p[:, :, None] - biases.log_rest[:, None])
    return jnp.where(jnp.eye(n_classes, dtype=bool), rate, wrong)
