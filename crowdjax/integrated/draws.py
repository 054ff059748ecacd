"""Weighted draws of the labelers' posterior, and what they say of each labeler.

    sens_i(s) = Σ_g P(x_g | z = +1; c_s) σ(w_is·φ_g)      P(x_g | z = +1; c) ∝ p(x_g) σ(logit π + 2 (x_g - c) / ρ²)
    spec_i(s) likewise                                     J_i = sens_i + spec_i - 1

Every draw s has its own boundary c_s, so that intervals include the uncertainty of the boundary, and the probability of
a verdict on a labeler is the share of draws in which it is true. Lattice points replace random numbers wherever the
posterior has a closed form, so the same labels give the same result.

Real labelers share errors that the model takes for independent, and the model is more certain of labelers than gold
warrants. Intervals therefore also treat a labeler's distance from guessing as known only up to a random factor, which
leaves a labeler who guesses unchanged:

    sens = σ(s + γ), spec = σ(s - γ)      s → s exp(κ ε),  ε ~ N(0, 1)      κ = .2 by ``configs/verdicts.toml``
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from crowdjax.factor.features import PRECISION
from crowdjax.integrated.boundary import Boundary
from crowdjax.integrated.model import Features, IntegratedConfig, Parameters, centers, class_logit, log_weights
from crowdjax.labelers import DOUBT, EXPERT, SPAM, Interval
from crowdjax.stored import stored

CERTAIN = 1e-6  # chances are kept this far off 0 and 1
SURE = 0.95  # share of the posterior in which a verdict on a labeler is true
KINDS = ("spammer", "adversary", "expert", "unknown", "ordinary")
QUANTILES = 200  # of m_j, which stand for all instances where labelers are judged
AT_ONCE = 2**21  # numbers of a table in a loop over draws


class Draws(NamedTuple):
    """S posterior draws of all labelers and of the parameters they share.

    Attributes:
        labelers: w_i = (α_i, γ_i).
        weight: weight of each draw for each labeler; adds up to 1 over the draws.
        spread, prior_logit: ρ and logit π.

    Example:
        >>> Draws(jnp.zeros((2, 1, 2)), jnp.full((2, 1), 0.5), jnp.ones(2), jnp.zeros(2)).weight.sum().item()
        1.0
    """

    labelers: Float[Array, "S W K"]
    weight: Float[Array, "S W"]
    spread: Float[Array, " S"]
    prior_logit: Float[Array, " S"]


class LabelerSummary(NamedTuple):
    """Each labeler's sensitivity, specificity, informedness (their sum less 1) and accuracy with intervals, and its
    kind.

    Example:
        >>> chances = Interval(0.8, 0.7, 0.9), Interval(0.7, 0.5, 0.9)
        >>> LabelerSummary(*chances, Interval(0.5, 0.3, 0.7), Interval(0.75, 0.6, 0.9)).informedness.mean
        0.5
    """

    sensitivity: Interval
    specificity: Interval
    informedness: Interval
    accuracy: Interval
    kind: np.ndarray | None = None


def picked(draws: Draws, n: int, unit: int, rng: np.random.Generator) -> Int[np.ndarray, "n W"]:
    """Pick n rows of the draws for each labeler, as often as its weights say: draws that all weigh the same. Host side.

    Args:
        unit: how many consecutive rows belong together: rows of one number are of the same such part for all labelers,
            and within it each labeler's own, in an order that no other labeler's follows.

    Example:
        >>> draws = Draws(jnp.zeros((4, 1, 2)), jnp.array([[0.5], [0.0], [0.25], [0.25]]), jnp.ones(4), jnp.zeros(4))
        >>> np.bincount(picked(draws, 8, 2, np.random.default_rng(0))[:, 0]).tolist()
        [4, 0, 2, 2]
    """
    weight = np.asarray(draws.weight, np.float64).reshape(-1, unit, draws.weight.shape[1])
    mass = weight.sum(1).mean(1)

    def even(mass: Float[np.ndarray, " R"], n: int, start: float) -> Int[np.ndarray, " n"]:
        at = np.searchsorted(np.cumsum(mass) / mass.sum(), (start + np.arange(n)) / n, side="right")
        return np.minimum(at, len(mass) - 1)

    out = np.empty((n, weight.shape[2]), np.int64)
    which = rng.permutation(even(mass, n, rng.random()))
    for t in np.unique(which):
        rows, count = np.flatnonzero(which == t), np.count_nonzero(which == t)
        own = np.stack([even(w, count, rng.random()) for w in weight[t].T], axis=1)
        out[rows] = t * unit + rng.permuted(own, axis=0)
    return out


def lattice(n: int, dimensions: int) -> Float[np.ndarray, "n d"]:
    """Compute n points that fill the unit cube evenly: u_nk = ½ + n φ^-k mod 1, φ^(d+1) = φ + 1 (Roberts 2018).

    Example:
        >>> bool(abs(lattice(400, 3).mean(0) - 0.5).max() < 0.02)
        True
    """
    phi = 1.5
    for _ in range(40):
        phi = (1 + phi) ** (1 / (dimensions + 1))
    return (0.5 + np.arange(1, n + 1)[:, None] * phi ** -np.arange(1.0, dimensions + 1)) % 1


def boundaries(boundary: Boundary, n: int) -> Float[np.ndarray, " n"]:
    """Draw n boundaries: each point in proportion to its probability, in an order independent of the other draws.

    Example:
        >>> from crowdjax.integrated.boundary import around
        >>> c = boundaries(around(jnp.array(2.0)), 500)
        >>> print(f"{c.mean():.1f} ± {c.std():.1f}")
        2.0 ± 1.5
    """
    order = np.argsort(np.asarray(boundary.points, float), kind="stable")
    points, mass = (np.asarray(v, float)[order] for v in (boundary.points, boundary.mass))
    u = (0.5 + np.arange(1, n + 1) * (np.sqrt(2) - 1)) % 1
    return points[np.minimum(np.searchsorted(np.cumsum(mass), u), len(points) - 1)]


@stored
def chances(
    draws: Draws,
    config: IntegratedConfig,
    boundary: Float[Array, " S"],
    center: Float[Array, " Q"] | None = None,
) -> tuple[Float[Array, "S W"], Float[Array, "S W"]]:
    """Compute the sensitivity and specificity of every labeler in every draw, over the population of instances.

    Args:
        boundary: c of each draw, shape [S].
        center: values of m_j that represent the instances (:func:`stand_ins`); None: 1 for all.

    Example: a labeler whose labels do not depend on the instance
        >>> draws = Draws(jnp.zeros((1, 1, 2)), jnp.ones((1, 1)), jnp.ones(1), jnp.zeros(1))
        >>> [round(v.item(), 3) for v in chances(draws, IntegratedConfig(), jnp.zeros(1))]
        [0.5, 0.5]
    """
    design = jnp.asarray(config.design, draws.labelers.dtype)
    x = jnp.asarray(config.nodes, design.dtype)
    m = jnp.ones(1, design.dtype) if center is None else center

    def one(draw):
        labelers, spread, prior_logit, c = draw
        density = jnp.atleast_2d(jax.nn.logsumexp(log_weights(config, spread, prior_logit, m), axis=-1))
        logit = jnp.atleast_2d(class_logit(config, x, spread, prior_logit, c, m[:, None]))
        of_class = jnp.stack([jax.nn.log_sigmoid(logit), jax.nn.log_sigmoid(-logit)])
        plus, minus = jax.nn.softmax(jax.nn.logsumexp(density + of_class, axis=1), axis=1)
        yes = jax.nn.sigmoid(jnp.matmul(labelers, design.T, precision=PRECISION))
        return yes @ plus, 1 - yes @ minus

    at_once = max(1, AT_ONCE // (draws.labelers.shape[1] * len(x)))
    given = (draws.labelers, draws.spread, draws.prior_logit, jnp.asarray(boundary, design.dtype))
    return jax.lax.map(one, given, batch_size=min(at_once, len(given[1])))


def stand_ins(parameters: Parameters, features: Features, n_instances: int | None = None) -> np.ndarray | None:
    """Compute quantiles of m_j that represent the instances; None without features. Host side.

    Args:
        n_instances: number of the features' rows that are instances; default: all.
    """
    center = centers(parameters, features)
    if center is None:
        return None
    return np.quantile(np.asarray(center)[:n_instances], (np.arange(QUANTILES) + 0.5) / QUANTILES)


def of_draws(
    draws: Draws,
    parameters: Parameters,
    config: IntegratedConfig,
    boundary: Boundary,
    features: Features,
    level: float,
    share: Float[np.ndarray, " C"] | float = 0.5,
    doubt: float = DOUBT,
    n_instances: int | None = None,
) -> LabelerSummary:
    """Summarise the draws of every labeler: posterior means, equal-tailed intervals and kinds. Host side.

    Args:
        level: level of the intervals.
        share: share of positive instances, at every point of the boundary or one for all; accuracy weights both classes
            by it.
        doubt: κ.
        n_instances: number of the features' rows that are instances; default: all.
    """
    given = draws, parameters, config, boundary, features, share, doubt, n_instances
    weight, values = np.asarray(draws.weight), chances_of(*given)[:4]
    about = [interval(v, weight, level) for v in values]
    return LabelerSummary(*about, kind=verdicts(values[2], weight))


def chances_of(
    draws: Draws,
    parameters: Parameters,
    config: IntegratedConfig,
    boundary: Boundary,
    features: Features,
    share: Float[np.ndarray, " C"] | float = 0.5,
    doubt: float = DOUBT,
    n_instances: int | None = None,
) -> LabelerSummary:
    """Return what every draw says of every labeler, each of shape [S, W]. Host side.

    Args:
        share, doubt, n_instances: as in :func:`of_draws`.
    """
    c = boundaries(boundary, len(np.asarray(draws.spread)))
    plus, minus = chances(draws, config, c, stand_ins(parameters, features, n_instances))
    sensitivity, specificity = doubted(plus, minus, doubt)
    points = np.asarray(boundary.points, float)
    order, shares = np.argsort(points), np.broadcast_to(np.asarray(share, float), points.shape)
    positive = np.interp(c, points[order], shares[order])[:, None]
    accuracy = positive * sensitivity + (1 - positive) * specificity
    return LabelerSummary(sensitivity, specificity, sensitivity + specificity - 1, accuracy)


def doubted(
    sensitivity: Float[np.ndarray, "S W"], specificity: Float[np.ndarray, "S W"], doubt: float = DOUBT
) -> tuple[Float[np.ndarray, "S W"], ...]:
    """Widen sensitivities and specificities: s = ½ (logit sens + logit spec) is multiplied by exp(κ ε), with ε spread
    evenly over the draws.

    Example: a guesser stays one
        >>> found = doubted(np.full((99, 2), [0.3, 0.9]), np.full((99, 2), [0.7, 0.9]))
        >>> [v.std(0).round(2).tolist() for v in found]
        [[0.0, 0.04], [0.0, 0.04]]
    """
    from scipy.special import expit, logit, ndtri  # slow to import

    plus, minus = (logit(np.clip(np.asarray(v, float), CERTAIN, 1 - CERTAIN)) for v in (sensitivity, specificity))
    u = (0.5 + np.arange(1, len(plus) + 1) * (np.sqrt(3) - 1)) % 1
    s, bias = np.exp(doubt * ndtri(u))[:, None] * (plus + minus) / 2, (plus - minus) / 2
    return expit(s + bias), expit(s - bias)


def interval(values: Float[np.ndarray, "S W"], weight: Float[np.ndarray, "S W"], level: float) -> Interval:
    """Compute the weighted mean and equal-tailed interval of draws.

    Example:
        >>> found = interval(np.arange(101.0)[:, None], np.full((101, 1), 1 / 101), 0.8)
        >>> [float(v[0].round(1)) for v in found]
        [50.0, 9.6, 90.4]
    """
    order = np.argsort(values, axis=0)
    values, weight = (np.take_along_axis(v, order, 0).astype(float) for v in (values, weight))
    below = np.cumsum(weight, axis=0) - weight / 2

    def end(at):
        k = np.clip((below < at).sum(0), 1, len(values) - 1)[None]
        (low, high), (a, b) = ([np.take_along_axis(v, k - n, 0)[0] for n in (1, 0)] for v in (values, below))
        return low + (high - low) * np.clip((at - a) / np.maximum(b - a, 1e-12), 0, 1)

    return Interval((weight * values).sum(0) / weight.sum(0), end((1 - level) / 2), end((1 + level) / 2))


def verdicts(informedness: Float[np.ndarray, "S W"], weight: Float[np.ndarray, "S W"]) -> np.ndarray:
    """Classify each labeler by the 95 % interval of informedness J_i.

    spammer    -.2 < J < .2: the labels hardly depend on the instance
    adversary  J < 0: wrong more often than right
    expert     J > .6
    unknown    none of these, and not J > 0 either: too little is known to tell
    ordinary   all others

    Example: in all, in nine tenths and in none of the posterior an expert
        >>> of_one = np.repeat([[0.9, 0.7, 0.5]], 9, 0).tolist() + [[0.9, 0.5, 0.5]]
        >>> verdicts(np.array(of_one), np.full((10, 3), 0.1)).tolist()
        ['expert', 'ordinary', 'ordinary']
    """
    mass = lambda true: (weight * true).sum(0) >= SURE - 1e-6  # noqa: E731
    named = mass(abs(informedness) < SPAM), mass(informedness < 0), mass(informedness > EXPERT)
    return np.select([*named, ~mass(informedness > 0)], KINDS[:4], KINDS[4])
