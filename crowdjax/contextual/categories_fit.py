"""Fits of the contextual model of K classes.

The posterior is the mixture of Gaussians of ``contextual.nested``, with derivatives by automatic differentiation; where
its Pareto k-hat is high, NUTS takes its place.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from scipy.linalg import solve_triangular

from crowdjax import drive
from crowdjax.contextual import nuts
from crowdjax.contextual.categories import (
    CategoricalConfig,
    CategoricalData,
    class_logits,
    log_density,
    log_likelihood,
    prepare_categories,
    shapes_of,
    sites,
    values,
)
from crowdjax.contextual.context import Scale
from crowdjax.contextual.coordinates import Affine
from crowdjax.contextual.diagnostics import pareto_smooth
from crowdjax.contextual.functions import prepare
from crowdjax.contextual.mode import At, climb, few_threads
from crowdjax.contextual.model import n_scales, split
from crowdjax.contextual.nested import Mixture, design, draw, likely, mixture_of, resampled, worst_of
from crowdjax.contextual.nested import log_density as log_mixture
from crowdjax.labels import Labels

TANGENTS = 16  # columns of a Hessian at a time


@eqx.filter_jit
def _expanded(config, data, theta, w, which):
    """Return (log likelihood, gradient and Hessian in w; logit of the population's share of a class, the same)."""
    evidence = lambda w: log_likelihood(config, data, jnp.concatenate([theta, w]))  # noqa: E731

    def level(w):
        v = values(config, split(jnp.concatenate([theta, w]), shapes_of(config, data)))
        log_pi = class_logits(config, data.at, v) + jnp.log(data.share)[:, None]
        own = jnp.arange(config.n_classes) == which
        part = lambda chosen: jax.nn.logsumexp(jnp.where(chosen, log_pi, -jnp.inf))  # noqa: E731
        return part(own) - part(~own)  # finite in both tails

    def second_order(f):
        value, slope = jax.value_and_grad(f)(w)
        push = lambda e: jax.jvp(jax.grad(f), (w,), (e,))[1]  # noqa: E731
        return value, slope, jax.lax.map(push, jnp.eye(len(w), dtype=w.dtype), batch_size=TANGENTS)

    return *second_order(evidence), *second_order(level)


@dataclasses.dataclass(frozen=True, eq=False)
class CategoricalPosterior:
    """log p(L, w | θ) on the host, as ``mode.climb`` and ``nested.windows`` take it; its level is the logit of the
    population's share of class ``which``."""

    config: CategoricalConfig
    data: CategoricalData
    which: int = 0
    factor: float = 1.0

    def __call__(self, theta, w) -> At:
        dtype = self.data.basis.x.dtype
        arrays = (jnp.asarray(theta, dtype), jnp.asarray(w, dtype), jnp.asarray(self.which))
        found = [np.asarray(v, np.float64) for v in _expanded(self.config, self.data, *arrays)]
        value, slope, hessian, level, level_slope, level_hessian = found
        precision = np.eye(len(w)) - (hessian + hessian.T) / 2
        half = (level_hessian + level_hessian.T) / 2
        return At(float(value - 0.5 * w @ w), slope - w, precision, float(level), level_slope, half)


MOST_SCALES, WORK = 32, 2e9  # θ of the design; its points times unknowns² times labels, at most
CANDIDATES, CHECKED = 4000, 2e7  # draws that are weighted; times labels, at most
GOOD = 0.7  # Pareto k-hat, up to which the draws are the posterior's
MOST_NUTS = {"instances": 3000, "labels": 20_000}  # up to which NUTS takes their place otherwise


@dataclasses.dataclass(frozen=True, eq=False)
class CategoricalFit:
    """A fitted model of K classes. Holds no labels.

    Attributes:
        config: as asked for.
        scale: from scores to the context.
        u: posterior draws of the unknowns, standard normals a priori, shape [S, P].
        labels_per_labeler: judgements given by each labeler, shape [W].
        method: ``laplace`` or ``nuts``.
        diagnostics: numbers by name: ``khat``, ``rhat``, ``ess``, ``divergences``, ...
        trace: the objective of each mode.
    """

    config: CategoricalConfig
    scale: Scale
    u: Float[np.ndarray, "S P"]
    labels_per_labeler: Float[np.ndarray, " W"]
    method: str
    diagnostics: dict[str, float]
    trace: Float[np.ndarray, " T"]

    def shapes(self, n_labelers: int) -> dict[str, tuple[int, ...]]:
        """Return the sites, with so many labelers."""
        x = self.scale(np.broadcast_to(self.scale.ends.mean(0), (1, len(self.scale.low))))
        return sites(self.config, n_labelers, prepare(self.config.gp, x))

    def parts(self, n_labelers: int) -> dict[str, np.ndarray]:
        """Return the draws by site, each of shape [S, ...]."""
        shapes = self.shapes(n_labelers)
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes.values()])[:-1]
        each = np.split(self.u, ends, axis=1)
        return {n: p.reshape(-1, *shape) for (n, shape), p in zip(shapes.items(), each, strict=True)}

    @property
    def checked(self) -> bool:
        """Whether the intervals pass the diagnostics."""
        d = self.diagnostics
        return d["rhat"] <= 1.01 if self.method == "nuts" else d["khat"] <= GOOD


def fit_categories(
    labels: Labels,
    scores,
    config: CategoricalConfig,
    key: PRNGKeyArray,
    *,
    n_draws: int = 500,
    method: Literal["laplace", "nuts"] | None = None,
    scale: Scale | None = None,
    importance: Float[np.ndarray, " I"] | None = None,
    progress: drive.Progress | None = None,
) -> CategoricalFit:
    """Fit the contextual model of K classes.

    Args:
        labels: the judgements, their values the classes, with gold where known.
        scores: of every instance, shape [I] or [I, C].
        n_draws: posterior draws; of NUTS of each of two chains.
        method: by default Laplace, and NUTS where its Pareto k-hat is above .7, up to 3000 instances and 20000 labels.
        scale: from scores to the context; by default learned from them.
        importance: how many of the population each instance stands for: the posterior does not depend on it.
        progress: callback (``crowdjax.drive.Progress``); return True to interrupt the fit.

    Raises:
        LabelError: scores or labels are not those of the model.
        KeyboardInterrupt: ``progress`` asked to stop.

    Example:
        >>> from crowdjax.contextual.categories_answers import shares
        >>> rng = np.random.default_rng(0)
        >>> truth, score = rng.integers(0, 3, 60), rng.random(60)
        >>> answers = np.where(rng.random((60, 3)) < 0.8, truth[:, None], rng.integers(0, 3, (60, 3)))
        >>> who, which = np.tile([0, 1, 2], 60), np.repeat(np.arange(60), 3)
        >>> labels = Labels.from_arrays(who, which, answers.ravel(), n_values=3)
        >>> config = CategoricalConfig((0.0, 0.0, 0.0), "linear", "constant", "constant", labelers="global")
        >>> three = fit_categories(labels, score, config, jax.random.key(0), method="laplace")
        >>> shares(three, score).mean.sum().round(3).item()
        1.0
    """
    scale = scale or Scale.learn(scores)
    data = prepare_categories(config, labels, scale(scores), importance)
    report = drive.or_interrupt(progress, "stopped before there was anything to return")
    size = sum(int(np.prod(shape)) for shape in shapes_of(config, data).values())
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
    with few_threads(size):
        mixture, trace, code = _mixture(config, data, report)
        u, psis = _weighted(config, data, mixture, n_draws, rng)
    diagnostics = {"khat": psis.khat, "ess": float(1 / (np.exp(psis.log_weights) ** 2).sum()), "mode_code": float(code)}
    diagnostics["components"] = float(len(mixture.log_weights))
    n_labels = int((np.asarray(labels.counts) > 0).sum())
    small = labels.n_instances <= MOST_NUTS["instances"] and n_labels <= MOST_NUTS["labels"]
    if method == "nuts" or (method is None and psis.khat > GOOD and small):
        settings = nuts.Settings(NUTS["warmup"], n_draws, 2, NUTS["thin"], NUTS["accept"], NUTS["depth"])
        chains, _, found = nuts.sample(
            jax.tree_util.Partial(log_density, config),
            data,
            _affine(mixture, data.basis.x.dtype),
            settings,
            key,
            report,
        )
        u, diagnostics, method = chains.reshape(-1, size), diagnostics | found, "nuts"
    return CategoricalFit(
        config,
        scale,
        np.asarray(u, data.basis.x.dtype),
        np.bincount(labels.labeler, weights=labels.counts, minlength=labels.n_labelers),
        method or "laplace",
        {name: float(value) for name, value in diagnostics.items()},
        trace,
    )


NUTS = {"warmup": 400, "thin": 3, "accept": 0.9, "depth": 7}


def _mixture(config: CategoricalConfig, data: CategoricalData, report: drive.Progress):
    """Return (the mixture, the log posterior at each mode, the worst result code)."""
    shapes = shapes_of(config, data)
    k = n_scales(shapes)
    size = sum(int(np.prod(shape)) for shape in shapes.values()) - k
    n = int(np.clip(WORK / (size**2 * max(data.labels.label.shape[0], 1)), 1, MOST_SCALES))
    thetas, posterior, peaks = design(k, n), CategoricalPosterior(config, data), []
    for i, theta in enumerate(thetas):
        report("mode", i, 2 * len(thetas))
        peaks.append(climb(posterior, theta, peaks[0].w if peaks else np.zeros(size)))
    order = likely(peaks)
    posterior = dataclasses.replace(posterior, which=_least_known(config, data, thetas[order[0]], peaks[order[0]]))
    chosen = [peaks[i]._replace(at=posterior(thetas[i], peaks[i].w)) for i in order]
    mixture = mixture_of(posterior, thetas[order], chosen, report)
    return mixture, np.array([p.value for p in peaks]), worst_of(peaks)


def _least_known(config: CategoricalConfig, data: CategoricalData, theta, peak) -> int:
    """Return the class whose share the labels leave widest, in logits at the mode: the posterior is cut along it."""
    if config.n_classes == 2:
        return 1
    wide = []
    for which in range(config.n_classes):
        slope = CategoricalPosterior(config, data, which)(theta, peak.w).level_slope
        wide.append(np.sum(solve_triangular(peak.chol, slope, lower=True) ** 2))
    return int(np.argmax(wide))


def _weighted(config, data, mixture: Mixture, n: int, rng):
    """Return (n draws, resampled by their weights where these can be used; the smoothed weights)."""
    n_checked = int(np.clip(CHECKED / max(data.labels.label.shape[0], 1), 100, CANDIDATES))
    u = draw(mixture, max(n, n_checked), rng)
    k = mixture.theta.shape[1]
    found = np.asarray(_log_likelihoods(config, data, jnp.asarray(u[:n_checked], data.basis.x.dtype)), np.float64)
    psis = pareto_smooth(found - 0.5 * (u[:n_checked, k:] ** 2).sum(1) - log_mixture(mixture, u[:n_checked]))
    return resampled(u, psis, n, rng), psis


@eqx.filter_jit
def _log_likelihoods(config, data, u):
    return jax.lax.map(partial(log_likelihood, config, data), u)


def _affine(mixture: Mixture, dtype) -> Affine:
    """Return u = mean + root v with the mean and the covariance of the mixture, θ's widened by what a few points
    miss."""
    p, k = np.exp(mixture.log_weights), mixture.theta.shape[1]
    centres = np.concatenate([mixture.theta, mixture.mean], 1)
    mean = p @ centres
    covariance = (centres - mean).T * p @ (centres - mean)
    covariance[:k, :k] += 0.1 * np.eye(k)
    for weight, chol in zip(p, mixture.chol, strict=True):
        inverse = solve_triangular(chol, np.eye(len(chol)), lower=True)
        covariance[k:, k:] += weight * (inverse.T @ inverse)
    return Affine(jnp.asarray(mean, dtype), jnp.asarray(np.linalg.cholesky(covariance), dtype))
