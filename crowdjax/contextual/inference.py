"""Fitting the contextual model: one call, three methods, one kind of result.

Every method works on log p(L, u), the truth summed out, after the same change of variables, in two steps. Weights and
offsets that the labels determine well are centred, y = u (scale / reference scale)^ρ with ρ = 1 - posterior variance:
the labels speak about scale times weight, and their product is then one coordinate. And y = m + R v, where m is the
mode and R Rᵀ the inverse of the negative Hessian there:

- ``laplace``: v ~ N(0, I).
- ``svi``: v ~ N(μ, T Tᵀ), T triangular, by stochastic ascent of the ELBO; with many labels on minibatches of instances.
- ``nuts``: NumPyro's sampler on v, without centring, whose funnels it would have to enter; after half of the warm-up,
  m and R are taken anew from the mean Hessian at the chains' draws. The posterior of v is then nearly round, so that
  trees are short. Chains are vmapped.

Laplace and SVI measure themselves by Pareto-smoothed importance sampling, and can be corrected by it (``resample``).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray
from numpyro.infer.hmc import hmc

from crowdjax import optimize
from crowdjax.contextual.context import Scale
from crowdjax.contextual.diagnostics import chain_diagnostics, pareto_smooth
from crowdjax.contextual.functions import GP, Basis, Inducing
from crowdjax.contextual.model import (
    ContextualConfig,
    Curves,
    Data,
    bases,
    blocks,
    centre,
    constrain,
    curves,
    log_density,
    log_scales,
    prepare_data,
    prior_draws,
    sets_scales,
)
from crowdjax.labels import LabelError, Labels

Method = Literal["nuts", "svi", "laplace"]


@dataclasses.dataclass(frozen=True)
class Inference:
    """How to fit; frozen and hashable.

    Attributes:
        method: ``nuts`` (the reference), ``svi`` or ``laplace``.
        n_draws: posterior draws; for NUTS of each chain.
        n_warmup, n_chains, target_accept, max_depth: NUTS.
        n_steps: ascent steps of SVI, each on ``n_particles`` draws and ``n_batch`` blocks of instances.
        learning_rate: of SVI at its start; decays to a hundredth.
        max_steps: evaluations in the search for the mode.
        resample: whether draws of SVI and Laplace are resampled with their importance weights.
    """

    method: Method = "nuts"
    n_draws: int = 500
    n_warmup: int = 500
    n_chains: int = 2
    target_accept: float = 0.8
    max_depth: int = 8
    n_steps: int = 1500
    n_particles: int = 8
    n_batch: int = 1
    learning_rate: float = 0.02
    max_steps: int = 300
    resample: bool = False

    def __post_init__(self):
        if self.method not in get_args(Method):
            raise ValueError(f"method: got {self.method!r}; allowed: {', '.join(get_args(Method))}")
        for name in ("n_draws", "n_chains", "n_particles", "n_batch", "n_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: got {getattr(self, name)}; allowed: 1 or more")


class Gaussian(NamedTuple):
    """y ~ N(mean, root rootᵀ), where u = y exp(-centring b(log scales - reference)) with b(t) = 2 tanh(t / 2)."""

    mean: Float[Array, " P"]
    root: Float[Array, "P P"]
    centring: Float[Array, " P"]
    reference: Float[Array, " P"]


@dataclasses.dataclass(frozen=True, eq=False)
class ContextualFit:
    """A fitted contextual model. Holds no labels.

    Attributes:
        config, inference: as asked for.
        scale: from scores to the context.
        draws: values of the model's sites, each of shape [S, ...], the chains one after the other.
        unconstrained: the same as vectors u, shape [chains, S / chains, P].
        labels_per_labeler: judgements given by each labeler (summed multiplicities), shape [W].
        inputs: the instances' context at 64 evenly spaced quantiles (of the first column), shape [Q, C].
        anchors: inducing inputs of each term, where there are any.
        whitening: where a further fit starts: mean and root of the covariance, in partly centred coordinates.
        sampler: where each chain of NUTS stands: position [chains, P], step_size [chains], inverse_mass [chains, P].
        diagnostics: numbers by name: ``rhat``, ``ess``, ``divergences`` (NUTS), ``khat`` (SVI, Laplace), ...
        trace: estimates of the ELBO (SVI), or the objective during the search for the mode.
        warnings: sentences, one for each reason not to trust the fit.
    """

    config: ContextualConfig
    inference: Inference
    scale: Scale
    draws: dict[str, np.ndarray]
    unconstrained: Float[np.ndarray, "chains S P"]
    labels_per_labeler: Float[np.ndarray, " W"]
    inputs: Float[np.ndarray, "Q C"]
    anchors: tuple[np.ndarray, ...]
    whitening: Gaussian
    sampler: dict[str, np.ndarray]
    diagnostics: dict[str, float]
    trace: Float[np.ndarray, " T"]
    warnings: tuple[str, ...]

    @property
    def n_draws(self) -> int:
        return self.unconstrained.shape[0] * self.unconstrained.shape[1]

    def bases(self, scores) -> tuple[Basis, Basis | None]:
        """The functions' bases at scores of shape [n] or [n, C]."""
        return bases(self.config, self.scale(scores), self.anchors or None)

    def bases_of_inputs(self) -> tuple[Basis, Basis | None]:
        """The functions' bases at ``inputs``."""
        return bases(self.config, self.inputs, self.anchors or None)


def fit(
    labels: Labels,
    scores,
    config: ContextualConfig,
    key: PRNGKeyArray,
    inference: Inference = Inference(),
    *,
    scale: Scale | None = None,
    start: ContextualFit | None = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> ContextualFit:
    """Fits the contextual model.

    Args:
        labels: the judgements, with gold where known.
        scores: of every instance, shape [I] or [I, C].
        key: for draws, chains and minibatches.
        scale: from scores to the context; by default the identity mapped to [-1, 1].
        start: a fit of the same model to continue: NUTS goes on with its chains, without warm-up, and the result holds
            all draws; SVI and Laplace start where it ended.
        progress: called with (stage, done, total) between compiled blocks of work.

    Raises:
        LabelError: scores missing, not finite or constant; ``start`` is of another model.

    Example:
        >>> from crowdjax.contextual import PRESETS
        >>> rng = np.random.default_rng(0)
        >>> scores = rng.random(60)
        >>> truth = rng.random(60) < scores
        >>> labels = Labels.from_arrays(np.tile([0, 1], 60), np.repeat(np.arange(60), 2), np.repeat(truth, 2))
        >>> found = fit(labels, scores, PRESETS["lr-lr"], jax.random.key(0), Inference("laplace", n_draws=100))
        >>> found.draws["prevalence_slope"].shape, bool(found.draws["prevalence_slope"].mean() > 0)
        ((100, 1), True)
    """
    scale = scale or (start.scale if start else Scale.learn(scores))
    x = scale(scores)
    data = jax.device_put(prepare_data(config, labels, x, start.anchors or None if start else None))
    u, _ = centre(config, data)
    report = progress or (lambda stage, done, total: None)
    trace = np.zeros(0)
    if start is None:
        whitening, trace, code = find_mode(config, data, inference.max_steps, report)
    else:
        if start.config != config or start.unconstrained.shape[-1] != len(u):
            raise LabelError(
                "start: a fit of another model or of other labelers; allowed: one of the same config and labelers"
            )
        whitening, code = start.whitening, optimize.CONVERGED

    diagnostics: dict[str, float] = {"mode_code": int(code)}
    sampler: dict[str, np.ndarray] = {}
    if inference.method == "nuts":
        earlier = start if start and start.inference.method == "nuts" else None
        whitening, draws, sampler, more = _nuts(config, data, whitening, inference, key, earlier, report)
        diagnostics |= more
    else:
        proposal = whitening
        if inference.method == "svi":
            proposal, trace = _svi(config, data, whitening, inference, key, report)
        elif start is not None:
            proposal, trace, code = find_mode(config, data, inference.max_steps, report, start=whitening)
        whitening = proposal
        draws, more = _draw(config, data, proposal, inference, jax.random.fold_in(key, 1), report)
        diagnostics |= more
    sites = jax.tree.map(np.asarray, _constrain_all(config, data, jnp.asarray(draws.reshape(-1, draws.shape[-1]))))
    result = ContextualFit(
        config=config,
        inference=inference,
        scale=scale,
        draws=sites,
        unconstrained=np.asarray(draws),
        labels_per_labeler=np.bincount(labels.labeler, weights=labels.counts, minlength=labels.n_labelers),
        inputs=representatives(x),
        anchors=tuple(np.asarray(t.z) for t in data.basis.terms if isinstance(t, Inducing)),
        whitening=Gaussian(*map(np.asarray, whitening)),
        sampler=sampler,
        diagnostics=diagnostics,
        trace=np.asarray(trace),
        warnings=(),
    )
    informed = _informed(result)
    diagnostics = {k: float(v) for k, v in (diagnostics | informed).items()}
    result = dataclasses.replace(result, diagnostics=diagnostics)
    return dataclasses.replace(result, warnings=_warnings(result, labels))


def representatives(x: Float[np.ndarray, "I C"], size: int = 64) -> Float[np.ndarray, "Q C"]:
    """Rows of x at evenly spaced quantiles of its first column: they stand for the instances' distribution."""
    order = np.argsort(x[:, 0], kind="stable")
    return x[order[((np.arange(size) + 0.5) / size * len(x)).astype(int)]]


# The mode and its Hessian.


def find_mode(config, data: Data, max_steps: int, report=lambda *_: None, start=None) -> tuple[Gaussian, Any, int]:
    """(N(mode, inverse of the negative Hessian there), log density at each evaluation, result code).

    Newton-like: L-BFGS in coordinates whitened by the Hessian at the point before, first on a few blocks of the data
    (where there are many) and without centring, then on all with it.
    """
    n_blocks = data.labels.n_blocks
    some, factor = data, 1.0
    if n_blocks > SUBSET_BLOCKS:
        index = np.linspace(0, n_blocks - 1, SUBSET_BLOCKS).round().astype(np.int32)
        some, factor = blocks(data, jnp.asarray(index)), n_blocks / SUBSET_BLOCKS
    report("mode", 0, 3)
    if start is None:
        u = centre(config, data)[0]
        q = Gaussian(u, jnp.eye(len(u), dtype=u.dtype), jnp.zeros_like(u), jnp.zeros_like(u))
        q = whiten(config, some, q, factor)
        q, *_ = _climb(config, some, factor, q, max_steps)
        q = _centre_informed(config, data, q, _hessian(config, some, q, q.mean, factor, which=1))
        q = whiten(config, some, q, factor)
    else:
        q = start
    report("mode", 1, 3)
    q, objective, code = _climb(config, data, 1.0, q, max_steps)
    report("mode", 2, 3)
    q = whiten(config, data, _rebase(config, data, q), 1.0)
    report("mode", 3, 3)
    objective = np.asarray(objective)
    return q, -objective[np.isfinite(objective)], int(code)


SUBSET_BLOCKS = 8
LEAST_PRECISION = 0.2  # eigenvalues of the Hessian below this are raised to it; the priors' own are .25 and more
TANGENTS = 32  # columns of the Hessian at a time


def _centre_informed(config, data: Data, q: Gaussian, hessian: Float[Array, "P P"]) -> Gaussian:
    """q at the same point, with each white entry centred as far as the labels determine it given the scales."""
    given = sets_scales(config, data)
    precision = np.where(given[:, None] | given[None], 0, np.asarray(hessian, np.float64)) + np.diag(1.0 * given)
    eigenvalues, vectors = np.linalg.eigh(precision)
    variance = (vectors**2 / np.maximum(eigenvalues, LEAST_PRECISION)).sum(1)
    reference = log_scales(config, data, q.mean)
    white = np.asarray(log_scales(config, data, q.mean + jnp.asarray(given, q.mean.dtype))) != np.asarray(reference)
    centring = jnp.asarray(np.where(white, np.clip(1 - variance, 0, 1), 0), q.mean.dtype)
    return q._replace(centring=centring, reference=reference)


def _shift(config, data, q: Gaussian, at) -> Float[Array, " P"]:
    """log(y / u): the same from u and from y, since the scales' own entries are never centred. Bounded, since a scale
    near 0 would blow u up: the expectation of u² would not exist."""
    return q.centring * WIDEST * jnp.tanh((log_scales(config, data, at) - q.reference) / WIDEST)


WIDEST = 2.0  # of the logarithm of a scale over its reference


@eqx.filter_jit
def _rebase(config, data: Data, q: Gaussian) -> Gaussian:
    """q at the same point, with the scales there as reference: then y is u there."""
    u = density(config, data, q, q.mean)[2]
    return q._replace(mean=u, reference=log_scales(config, data, u))


def density(config, data: Data, q: Gaussian, y: Float[Array, " P"], factor: float = 1.0):
    """log p(L, y), log p(L, u) and u."""
    shift = _shift(config, data, q, y)
    u = y * jnp.exp(-shift)
    value = log_density(config, data, u, factor)
    return value - shift.sum(), value, u


@eqx.filter_jit
def whiten(config, data: Data, q: Gaussian, factor: float) -> Gaussian:
    """q with the root of the inverse of the Hessian of -log p(L, u) at its mean, small eigenvalues raised."""
    return q._replace(root=_inverse_root(_hessian(config, data, q, q.mean, factor, which=1)))


@eqx.filter_jit
def _mean_whitening(config, data: Data, q: Gaussian, draws: Float[Array, "S P"]) -> Gaussian:
    """q at the draws' mean, with the root of the inverse of their mean Hessian, E[∇log p ∇log pᵀ]."""
    y = jax.vmap(lambda u: u * jnp.exp(_shift(config, data, q, u)))(draws)
    hessian = jax.lax.map(lambda at: _hessian(config, data, q, at, 1.0, which=0), y).mean(0)
    return q._replace(mean=y.mean(0), root=_inverse_root(hessian))


@eqx.filter_jit
def _hessian(config, data, q: Gaussian, y, factor, which: int) -> Float[Array, "P P"]:
    """The Hessian over y of -log p(L, y) (``which`` 0), or of -log p(L, u) (1)."""
    slope = jax.grad(lambda at: -density(config, data, q, at, factor)[which])
    basis = jnp.eye(len(y), dtype=y.dtype)
    columns = jax.lax.map(lambda e: jax.jvp(slope, (y,), (e,))[1], basis, batch_size=min(TANGENTS, len(y)))
    return (columns + columns.T) / 2


def _inverse_root(precision: Float[Array, "P P"]) -> Float[Array, "P P"]:
    eigenvalues, vectors = jnp.linalg.eigh(precision)
    return vectors / jnp.sqrt(jnp.maximum(eigenvalues, LEAST_PRECISION))


@eqx.filter_jit
def _climb(config, data, factor, q: Gaussian, max_steps: int):
    """L-BFGS from q's mean, in its coordinates: q at the mode of log p(L, u), and how it went. (That of log p(L, y) may
    lie at an amplitude of 0, where centred weights have no scale.)"""

    def objective(v):
        value, grad = jax.value_and_grad(lambda v: -density(config, data, q, affine(q, v), factor)[1])(v)
        return value, grad, None

    v = jnp.zeros_like(q.mean)
    rtol = max(1e-10, float(jnp.finfo(v.dtype).eps))
    end = optimize.minimize(
        objective, v, optimize.lbfgs(10), diagonal=jnp.ones_like, max_steps=max_steps, refresh=0, rtol=rtol
    )
    return q._replace(mean=affine(q, end.x)), end.history, end.code


def affine(q: Gaussian, v: Float[Array, " P"]) -> Float[Array, " P"]:
    """y = m + R v."""
    return q.mean + jnp.matmul(q.root, v, precision=jax.lax.Precision.HIGHEST)


# Approximations: N(m, R Rᵀ), and how well it does.


def _draw(config, data, q: Gaussian, inference: Inference, key, report):
    """Draws from q, Pareto k-hat of their importance weights, and where asked for the resampled draws."""
    key, again = jax.random.split(key)
    noise = jax.random.normal(key, (inference.n_draws, len(q.mean)), q.mean.dtype)
    draws, ratios, done = [], [], 0
    for part in np.array_split(np.asarray(noise), max(1, len(noise) // 50)):
        u, ratio = _ratios(config, data, q, jnp.asarray(part))
        draws.append(np.asarray(u))
        ratios.append(np.asarray(ratio))
        done += len(part)
        report("draws", done, len(noise))
    draws = np.concatenate(draws)
    smoothed = pareto_smooth(np.concatenate(ratios))
    weights = np.exp(smoothed.log_weights)
    diagnostics = {"khat": smoothed.khat, "ess": 1 / (weights**2).sum()}
    if inference.resample:
        draws = draws[np.asarray(jax.random.choice(again, len(draws), (len(draws),), p=jnp.asarray(weights)))]
    return draws[None], diagnostics


@eqx.filter_jit
def _ratios(config, data, q: Gaussian, noise):
    """Draws u of q and log p(L, u) - log q(u), up to a constant."""

    def one(v):
        value, _, u = density(config, data, q, affine(q, v))
        return u, value + 0.5 * (v**2).sum()

    n_triples = data.labels.label.shape[0]
    return jax.lax.map(one, noise, batch_size=int(np.clip(1_000_000 // n_triples, 1, 50)))


class _Ascent(NamedTuple):
    mean: Array
    root: Array  # lower triangle; its diagonal as logarithms
    optimiser: Any


def _svi(config, data, whitening: Gaussian, inference: Inference, key, report) -> tuple[Gaussian, np.ndarray]:
    """The Gaussian that maximises the ELBO, in the whitening's coordinates, and the ELBO's estimates."""
    size = len(whitening.mean)
    schedule = optax.cosine_decay_schedule(inference.learning_rate, inference.n_steps, 0.01)
    rule = optax.adam(schedule)
    mean, root = jnp.zeros(size, whitening.mean.dtype), jnp.zeros((size, size), whitening.mean.dtype)
    state = _Ascent(mean, root, rule.init((mean, root)))
    trace, done, block_of_steps = [], 0, 100
    while done < inference.n_steps:
        n = min(block_of_steps, inference.n_steps - done)
        state, elbo = _ascend(config, data, whitening, inference, rule.update, state, jax.random.fold_in(key, done), n)
        trace.append(np.asarray(elbo))
        done += n
        report("svi", done, inference.n_steps)
    q = whitening._replace(mean=affine(whitening, state.mean), root=whitening.root @ _triangle(state.root))
    return q, np.concatenate(trace)


def _triangle(root):
    return jnp.tril(root, -1) + jnp.diag(jnp.exp(jnp.diag(root)))


@eqx.filter_jit
def _ascend(config, data, whitening, inference, update, state: _Ascent, key, n: int):
    """n steps up the ELBO. The gradient goes through the draws only (Roeder, Wu, Duvenaud 2017): its noise vanishes
    where q is the posterior."""
    n_blocks = data.labels.n_blocks
    n_batch = min(inference.n_batch, n_blocks)

    def negative_elbo(parameters, batch, noise):
        mean, root = parameters
        still = jax.lax.stop_gradient(_triangle(root))

        def one(e):
            v = mean + _triangle(root) @ e
            white = jax.scipy.linalg.solve_triangular(still, v - jax.lax.stop_gradient(mean), lower=True)
            log_q = -0.5 * (white**2).sum() - jnp.log(jnp.diag(still)).sum()
            return density(config, batch, whitening, affine(whitening, v), n_blocks / batch.labels.n_blocks)[0] - log_q

        return -jax.vmap(one)(noise).mean()

    def step(state: _Ascent, key):
        which, draw = jax.random.split(key)
        batch = data
        if n_batch < n_blocks:
            batch = blocks(data, jax.random.choice(which, n_blocks, (n_batch,), replace=False).astype(jnp.int32))
        noise = jax.random.normal(draw, (inference.n_particles, len(state.mean)), state.mean.dtype)
        at = (state.mean, state.root)
        value, slope = jax.value_and_grad(negative_elbo)(at, batch, noise)
        change, optimiser = update(slope, state.optimiser, at)
        mean, root = jax.tree.map(jnp.add, at, change)
        return _Ascent(mean, root, optimiser), -value

    return jax.lax.scan(step, state, jax.random.split(key, n))


# NUTS.


def _nuts(config, data, whitening, inference: Inference, key, earlier: ContextualFit | None, report):
    """(whitening, draws [chains, S, P], where the sampler stands, diagnostics); goes on with ``earlier``'s chains."""
    size, chains, first = len(whitening.mean), inference.n_chains, inference.n_warmup // 2
    keys = jax.random.split(key, 3)
    progress = [0, inference.n_draws + (0 if earlier else inference.n_warmup)]

    def run(whitening, warmup, n, v, step_size, inverse_mass, key):
        """n iterations, the first of which are warm-up: (state, what each iteration gave)."""
        settings = (warmup, inference.target_accept, inference.max_depth)
        split = jax.random.split(key, len(v))
        state = _nuts_start(config, data, whitening, settings, v, split, step_size, inverse_mass)
        parts: list[Any] = []
        end = progress[0] + n
        while progress[0] < end:
            steps = min(NUTS_BLOCK, end - progress[0])
            state, part = _nuts_run(config, data, whitening, settings, state, steps)
            parts.append(jax.tree.map(np.asarray, part))
            progress[0] += steps
            report("nuts", *progress)
        return state, [np.concatenate(p, 1) for p in zip(*parts, strict=True)]

    if earlier is None:
        whitening = _rebase(config, data, whitening)
        whitening = whiten(config, data, whitening._replace(centring=jnp.zeros(size, whitening.mean.dtype)), 1.0)
        v = jax.random.normal(keys[0], (chains, size), whitening.mean.dtype)
        step_size, inverse_mass = jnp.full(chains, 0.2, v.dtype), jnp.ones((chains, size), v.dtype)
        if first >= 20:
            _, (u, *_) = run(whitening, first, first, v, step_size, inverse_mass, keys[1])
            whitening = _mean_whitening(config, data, whitening, jnp.asarray(u[:, -HESSIANS:].reshape(-1, size)))
            v = _whitened(config, data, whitening, jnp.asarray(u[:, -1]))
        else:
            first = 0
        warmup = inference.n_warmup - first
    else:
        warmup = 0
        v, step_size, inverse_mass = (
            jnp.asarray(earlier.sampler[k]) for k in ("position", "step_size", "inverse_mass")
        )
    state, found = run(whitening, warmup, warmup + inference.n_draws, v, step_size, inverse_mass, keys[2])
    draws, diverging, accept, steps = (part[:, warmup:] for part in found)
    divergences = int(diverging.sum())
    if earlier is not None:
        draws = np.concatenate([earlier.unconstrained, draws], 1)
        divergences += int(earlier.diagnostics["divergences"])
    sampler = {
        "position": np.asarray(state.z),
        "step_size": np.asarray(state.adapt_state.step_size),
        "inverse_mass": np.asarray(state.adapt_state.inverse_mass_matrix),
    }
    diagnostics = chain_diagnostics(draws) | {
        "divergences": divergences,
        "acceptance": float(accept.mean()),
        "leapfrog_steps": float(steps.mean()),
    }
    return whitening, draws, sampler, diagnostics


@eqx.filter_jit
def _whitened(config, data, q: Gaussian, u: Float[Array, "chains P"]) -> Float[Array, "chains P"]:
    """v of u."""
    y = jax.vmap(lambda one: one * jnp.exp(_shift(config, data, q, one)))(u)
    return jnp.linalg.solve(q.root, (y - q.mean).T).T


NUTS_BLOCK = 25  # iterations between two reports
HESSIANS = 4  # draws of each chain whose Hessians are averaged


def _kernel(config, data, whitening, settings):
    """NumPyro's NUTS on v: (init(v, key, step_size, inverse_mass), step)."""
    warmup, target_accept, max_depth = settings
    init, step = hmc(potential_fn=lambda v: -density(config, data, whitening, affine(whitening, v))[0], algo="NUTS")

    def begin(v, key, step_size, inverse_mass):
        return init(
            v,
            warmup,
            step_size=step_size,
            inverse_mass_matrix=inverse_mass,
            target_accept_prob=target_accept,
            max_tree_depth=max_depth,
            rng_key=key,
        )

    return begin, step


@eqx.filter_jit
def _nuts_start(config, data, whitening, settings, v, keys, step_size, inverse_mass):
    begin, _ = _kernel(config, data, whitening, settings)
    return jax.vmap(begin)(v, keys, step_size, inverse_mass)


@eqx.filter_jit
def _nuts_run(config, data, whitening, settings, state, n: int):
    """n iterations of every chain: the state, and (u, diverging, acceptance, leapfrog steps) of each."""
    begin, step = _kernel(config, data, whitening, settings)

    def chain(state):
        begin(
            state.z, state.rng_key, state.adapt_state.step_size, state.adapt_state.inverse_mass_matrix
        )  # sets up step

        def one(state, _):
            state = step(state)
            u = density(config, data, whitening, affine(whitening, state.z))[2]
            return state, (u, state.diverging, state.accept_prob, state.num_steps)

        return jax.lax.scan(one, state, None, length=n)

    return jax.vmap(chain)(state)


# What to say about a fit.


@eqx.filter_jit
def _constrain_all(config, data, u):
    return jax.lax.map(lambda one: constrain(config, data, one), u)


@eqx.filter_jit
def crowd_curves(config, basis, labeler_basis, draws, share: Float[Array, " W"]) -> Curves:
    """The three functions of every draw, shape [S, n]; sensitivity and specificity averaged over labelers by share."""
    labelers = jnp.arange(1 if config.labelers == "global" else len(share))
    share = jnp.ones(1) if config.labelers == "global" else jnp.asarray(share / share.sum())

    def one(draw):
        c = curves(config, basis, labeler_basis, draw, labelers)
        mean = lambda p: jnp.matmul(share.astype(p.dtype), p, precision=jax.lax.Precision.HIGHEST)  # noqa: E731
        return Curves(c.prevalence, mean(c.sensitivity), mean(c.specificity))

    return jax.lax.map(one, draws)


def _informed(fit: ContextualFit) -> dict[str, float]:
    """How much the labels told about each function: 1 - posterior variance / prior variance, averaged over the
    instances' quantiles."""
    basis, own = fit.bases_of_inputs()
    share = jnp.asarray(fit.labels_per_labeler)
    step = max(1, fit.n_draws // 200)
    after = crowd_curves(fit.config, basis, own, {k: v[::step] for k, v in fit.draws.items()}, share)
    before = crowd_curves(
        fit.config, basis, own, prior_draws(fit.config, len(share), basis, own, jax.random.key(0), 200), share
    )
    ratio = jax.tree.map(lambda a, b: 1 - float(a.var(0).mean() / b.var(0).mean()), after, before)
    return {f"informed_{name}": value for name, value in ratio._asdict().items()}


def _warnings(fit: ContextualFit, labels: Labels) -> tuple[str, ...]:
    """Sentences, each with what is wrong and what to do."""
    d, config, out = fit.diagnostics, fit.config, []
    if fit.inference.method == "nuts":
        if d["divergences"]:
            out.append(
                f"{d['divergences']:.0f} divergent transitions: parts of the posterior may be missing; "
                "raise target_accept"
            )
        if not d["rhat"] <= 1.01:
            out.append(f"R-hat is {d['rhat']:.3f}, above 1.01: the chains disagree; draw more")
        if d["ess"] < 100 * len(fit.unconstrained):
            out.append(
                f"the smallest effective sample size is {d['ess']:.0f}, below 100 per chain: intervals are noisy; "
                "draw more"
            )
    else:
        if not d["khat"] < 0.7:
            name = {"svi": "variational", "laplace": "Laplace"}[fit.inference.method]
            out.append(
                f"Pareto k-hat is {d['khat']:.2f}, above 0.7: the {name} approximation misses parts of the "
                "posterior, its intervals may be too narrow and resampling does not mend it; compare with nuts"
            )
        if fit.inference.method == "svi" and _still_climbing(fit.trace):
            out.append("the ELBO was still rising at the end: raise n_steps or continue from this fit")
        if d["mode_code"] > optimize.CONVERGED and d["mode_code"] != optimize.STALLED:
            out.append(f"the search for the mode: {optimize.MEANING[int(d['mode_code'])]}")
    low, high = config.gp.valid_lengths
    for name, function in config.functions.items():
        if function.family != "gp":
            continue
        for column, length in enumerate(np.median(fit.draws[f"{name}_length"], 0)):
            if not low <= length <= high:
                out.append(
                    f"the length-scale of {name} (column {column}) is {length:.2f}, outside the {low:.2f} to "
                    f"{high:.2f} that the basis can represent; "
                    + ("raise n_basis" if length < low else "raise boundary")
                )
    return tuple(out + identification(config, labels, d))


def identification(config: ContextualConfig, labels: Labels, informed: dict[str, float]) -> list[str]:
    """What the labels cannot tell, in sentences."""
    out = []
    counts = np.bincount(labels.instance, weights=labels.counts > 0, minlength=labels.n_instances)
    most, gold = counts.max(), labels.gold is not None and np.any(np.asarray(labels.gold) != 0)
    if most <= 1 and not gold:
        out.append(
            "not identified: every instance has one label, which tells one number per score (the share of positive "
            "labels) and not prevalence, sensitivity and specificity apart; they lean on the priors"
        )
    elif most <= 2 and not gold and config.labelers == "global":
        out.append(
            "weakly identified: two labels per instance of labelers taken to be alike tell two numbers per score "
            "and not three; labelers='offset', a third label or gold labels would"
        )
    if config.constraint == "free" and not gold:
        out.append(
            "not identified: with constraint 'free' the classes can be switched in every region of the score; only "
            "the priors name them"
        )
    for name in ("prevalence", "sensitivity", "specificity"):
        if informed[f"informed_{name}"] < 0.2:
            out.append(f"the labels say little about {name}: its posterior is nearly as wide as its prior")
    return out


def _still_climbing(trace: np.ndarray) -> bool:
    """Whether the last fifth of the ELBO's estimates lies above the fifth before by more than noise and half a nat."""
    n = len(trace) // 5
    if n < 10:
        return True
    before, after = trace[-2 * n : -n], trace[-n:]
    noise = np.sqrt((before.var() + after.var()) / n)
    return bool(after.mean() - before.mean() > max(0.5, 3 * noise))


# Files.


def save(fit: ContextualFit, folder) -> None:
    """Writes ``contextual.json`` (settings, diagnostics, warnings) and ``contextual.npz`` (arrays) to a folder."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {f"draws/{k}": v for k, v in fit.draws.items()} | {f"sampler/{k}": v for k, v in fit.sampler.items()}
    arrays |= {f"anchors/{i}": z for i, z in enumerate(fit.anchors)}
    arrays |= {
        f"scale/{k}": getattr(fit.scale, k) for k in ("low", "high", "knots") if getattr(fit.scale, k) is not None
    }
    arrays |= {f"whitening/{k}": v for k, v in fit.whitening._asdict().items()}
    arrays |= {k: getattr(fit, k) for k in _PLAIN}
    np.savez(folder / "contextual.npz", **arrays)
    settings = {
        "config": dataclasses.asdict(fit.config),
        "inference": dataclasses.asdict(fit.inference),
        "transform": fit.scale.transform,
        "diagnostics": fit.diagnostics,
        "warnings": fit.warnings,
    }
    (folder / "contextual.json").write_text(json.dumps(settings, indent=1))


_PLAIN = ("unconstrained", "labels_per_labeler", "inputs", "trace")


def load(folder) -> ContextualFit:
    """Reads what :func:`save` wrote."""
    folder = Path(folder)
    settings = json.loads((folder / "contextual.json").read_text())
    with np.load(folder / "contextual.npz", allow_pickle=False) as file:
        arrays = dict(file)

    def group(name):
        return {k.removeprefix(f"{name}/"): v for k, v in arrays.items() if k.startswith(f"{name}/")}

    def gp(values):
        return GP(**values | {"log_length": tuple(values["log_length"])})

    config = settings["config"]
    config |= {name: gp(config[name]) for name in ("gp", "labeler_gp")}
    return ContextualFit(
        config=ContextualConfig(**config),
        inference=Inference(**settings["inference"]),
        scale=Scale(transform=settings["transform"], **group("scale")),
        draws=group("draws"),
        sampler=group("sampler"),
        anchors=tuple(z for _, z in sorted(group("anchors").items(), key=lambda item: int(item[0]))),
        whitening=Gaussian(**group("whitening")),
        diagnostics=settings["diagnostics"],
        warnings=tuple(settings["warnings"]),
        **{k: arrays[k] for k in _PLAIN},
    )
