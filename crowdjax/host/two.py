"""The factor model of two classes where β is 1: majority, one-coin and dawid-skene, by EM with an exact M-step.

    logit sens_i = α_i + γ_i      logit spec_i = α_i - γ_i      logit P(z_j = 1) = η
    objective = log p(labels | α, γ, η) + log prior      (``crowdjax.factor.kernels``, ``crowdjax.factor.em``)

Stages and start values are those of ``crowdjax.factor.fit``: the M-step at the votes, EM, and once more where classes
seem switched.
"""

from __future__ import annotations

from math import lgamma
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crowdjax.fits import FactorFit, Linear, Weights
from crowdjax.host.anderson import Step, accelerate
from crowdjax.host.cells import Cells, expit, log_sigmoid
from crowdjax.labelers import Summary, intervals_of_two, summary_of_betas
from crowdjax.labels import Labels
from crowdjax.priors import BETA, FACTOR_LONGEST, FACTOR_NEAR, FACTOR_STEPS, FactorConfig
from crowdjax.stopping import CONVERGED, NONFINITE, FactorSolver

if TYPE_CHECKING:
    from jaxtyping import Float

MODELS = ("majority", "one-coin", "dawid-skene")
SIGNS = np.array([-1.0, 1.0])  # of the labels 0 and 1


class At(NamedTuple):
    """Parameters: α [W], γ [W] (0 where there is none) and η.

    Example:
        >>> At(np.ones(2), np.zeros(2), np.float64(0)).flat().tolist()
        [1.0, 1.0, 0.0, 0.0, 0.0]
    """

    alpha: Float[np.ndarray, " W"]
    gamma: Float[np.ndarray, " W"]
    eta: np.float64

    def flat(self) -> Float[np.ndarray, " P"]:
        return np.r_[self.alpha, self.gamma, self.eta]

    @classmethod
    def of(cls, x: Float[np.ndarray, " P"]) -> At:
        n = len(x) // 2
        return cls(x[:n], x[n:-1], x[-1])


class Problem:
    """The labels and priors of one fit."""

    def __init__(self, labels: Labels, config: FactorConfig):
        self.cells = Cells(labels)
        self.counts = self.cells.totals.reshape(-1, 2)
        gold = None if labels.gold is None else np.asarray(labels.gold)
        self.gold = gold if gold is not None and (gold >= 0).any() else None
        self.learn = config.class_prior == "learn"
        there = np.ones(labels.n_instances)
        if self.learn and self.gold is not None and len(np.unique(self.gold[self.gold >= 0])) == 1:
            there = np.where(self.gold >= 0, 0.0, 1.0)  # chosen by its class: it says nothing of how frequent it is
        self.there = there
        (a_mean, a_sd), (g_mean, g_sd) = config.labeler, config.bias or (0.0, 0.0)
        prior = config.class_prior
        eta = 0.0 if isinstance(prior, str) else float(np.log(prior) - np.log1p(-prior))
        self.mean = At(np.full(labels.n_labelers, a_mean), np.full(labels.n_labelers, g_mean), np.float64(eta))
        self.sd = (a_sd, g_sd)
        self.free = (a_sd > 0, g_sd > 0, self.learn)
        self.precision = tuple(1 / sd**2 if 0 < sd < np.inf else 0.0 for sd in self.sd) + (0.0,)

    def log_prior(self, at: At) -> float:
        """Return log p(α, γ, η)."""
        value = 0.0
        for v, mean, sd in zip(at[:2], self.mean[:2], self.sd, strict=True):
            if 0 < sd < np.inf:
                value += float((-0.5 * (((v - mean) / sd) ** 2 + np.log(2 * np.pi * sd**2))).sum())
        if self.learn:
            a, b = BETA
            value += float(
                (a - 1) * log_sigmoid(at.eta) + (b - 1) * log_sigmoid(-at.eta) + lgamma(a + b) - lgamma(a) - lgamma(b)
            )
        return value

    def expect(self, at: At):
        """Return (log p(labels), P(z_j = 1), labels of each labeler and value that are expected on positives)."""
        eta = at.eta * self.there
        plus, minus = (log_sigmoid(SIGNS * (at.gamma + s * at.alpha)[:, None]) for s in (1, -1))
        t = eta + self.cells.by_instance((plus - minus).ravel())
        p = expit(t)
        value = np.abs(t) / 2 + np.log1p(np.exp(-np.abs(t)))
        if self.gold is not None:
            p = np.where(self.gold < 0, p, self.gold)
            value = np.where(self.gold < 0, value, np.where(self.gold > 0, t, -t) / 2)
        value = value.sum() + 0.5 * (log_sigmoid(eta) + log_sigmoid(-eta)).sum()
        return float(value + 0.5 * (self.counts * (plus + minus)).sum()), p, self.on_positives(p)

    def on_positives(self, p) -> Float[np.ndarray, "W 2"]:
        return self.cells.by_cell(p).reshape(-1, 2)

    def m_step(self, at: At, on_positives, p) -> tuple[At, Float[np.ndarray, " P"]]:
        """Return the maximum of Q + log prior by Newton's method, and the diagonal of the negative Hessian there."""
        n_plus, (k_minus, k_plus) = on_positives.sum(1), ((self.counts - on_positives)[:, 1], on_positives[:, 1])
        n_minus = self.counts.sum(1) - n_plus
        yes, n = p @ self.there, self.there.sum()
        if self.learn:
            yes, n = yes + BETA[0] - 1, n + sum(BETA) - 2

        def slopes(at: At):
            plus, minus, pi = expit(at.gamma + at.alpha), expit(at.gamma - at.alpha), expit(at.eta)
            up, down = k_plus - n_plus * plus, k_minus - n_minus * minus
            w_plus, w_minus = n_plus * plus * (1 - plus), n_minus * minus * (1 - minus)
            first, second = (
                (up - down, up + down, yes - n * pi),
                (w_plus + w_minus, w_plus + w_minus, n * pi * (1 - pi)),
            )
            parts = zip(first, second, at, self.mean, self.precision, self.free, strict=True)
            g, h = [], []
            for slope, curve, v, mean, precision, free in parts:
                g.append(slope - precision * (v - mean) if free else np.zeros_like(v))
                h.append(np.where(curve + precision > 0, curve + precision, 1) if free else np.ones_like(v))
            return g, h, w_plus - w_minus if self.free[0] and self.free[1] else np.zeros_like(w_plus)

        for _ in range(FACTOR_STEPS):
            g, h, cross = slopes(at)
            det = np.maximum(h[0] * h[1] - cross**2, np.finfo(float).eps * h[0] * h[1])
            steps = (h[1] * g[0] - cross * g[1]) / det, (h[0] * g[1] - cross * g[0]) / det, g[2] / h[2]
            steps = [np.clip(v, -FACTOR_LONGEST, FACTOR_LONGEST) for v in steps]
            at = At(*(v + d for v, d in zip(at, steps, strict=True)))
            if max(float(np.abs(v).max()) for v in steps) <= FACTOR_NEAR:
                break
        return at, np.concatenate([np.ravel(v) for v in slopes(at)[1]])

    def step(self, x) -> Step:
        at = At.of(x)
        value, p, on_positives = self.expect(at)
        new, metric = self.m_step(at, on_positives, p)
        return Step(new.flat(), -(value + self.log_prior(at)), (p, on_positives), metric)

    def votes(self) -> Float[np.ndarray, " I"]:
        """Return the share of positives among each instance's labels, with one pseudo-count for either class; gold."""
        width = self.cells.width
        yes, all_ = self.cells.by_instance(np.tile([0.0, 1.0], width // 2)), self.cells.by_instance(np.ones(width))
        share = (yes + 1) / (all_ + 2)
        return share if self.gold is None else np.where(self.gold < 0, share, self.gold)

    def switched(self, at: At, votes, p):
        """Return (posterior with switched classes put right, whether they were switched)."""
        agreement = np.where(votes == 0.5, 0.5, (p > 0.5) == (votes > 0.5))
        flip = (self.counts.sum(1) @ at.alpha < 0) | (agreement.sum() - 0.5 * len(p) < 0)
        flip = np.broadcast_to(flip, p.shape) if self.gold is None else flip & (self.gold < 0)
        return np.where(flip, 1 - p, p), bool(flip.any())


class Found(NamedTuple):
    """A fit, and the input of a summary of labelers: the labels of each labeler, and those expected on positives.

    Example:
        >>> Found._fields
        ('fit', 'counts', 'on_positives')
    """

    fit: FactorFit
    counts: Float[np.ndarray, "W 2"]
    on_positives: Float[np.ndarray, "W 2"]


def fit(labels: Labels, config: FactorConfig, solver: FactorSolver, start: Weights | None = None) -> Found:
    """Return the fit of ``crowdjax.factor.fit`` for the models of this file.

    Args:
        start: weights to continue from; by default the M-step at the votes.

    Example:
        >>> from crowdjax.priors import PRESETS
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3, [1, 1, 0, 0, 0, 1] * 2)
        >>> (fit(labels, PRESETS["dawid-skene"], FactorSolver()).fit.posterior > 0.5).tolist()
        [True, False, True, False]
    """
    problem = Problem(labels, config)
    if not any(problem.free):
        return _known(problem, config, solver)
    votes = problem.votes()
    given, best, steps, suspect, switched = votes, None, 0, False, False
    x = problem.mean if start is None else _at(start)
    for first in (True, False):
        if not first and not suspect:
            break
        if not first or start is None:
            x, steps = problem.m_step(problem.mean, problem.on_positives(given), given)[0], steps + 1
        found = accelerate(problem.step, x.flat(), max_steps=solver.max_steps, rtol=solver.rtol)
        steps += found.n_steps
        x = At.of(found.x)
        if found.aux is None:  # the objective is not finite
            found = found._replace(aux=(votes, problem.on_positives(votes)))
        if best is None or found.value < best.value:
            best, switched = found, not first
        if first:
            given, suspect = problem.switched(x, votes, found.aux[0])
    at = At.of(best.x)
    p, on_positives = best.aux
    found = FactorFit(
        weights=_weights(at, config),
        posterior=p,
        objective=np.asarray(-best.value),
        log_likelihood=np.asarray(-best.value - problem.log_prior(at)),
        code=np.asarray(best.code),
        n_steps=np.asarray(steps),
        history=-best.history,
        switched=np.asarray(switched),
    )
    return Found(found, problem.counts, on_positives)


def _known(problem: Problem, config: FactorConfig, solver: FactorSolver) -> Found:
    """Return the fit of a model that learns nothing: a pass where it starts, and one at the end."""
    value, p, on_positives = problem.expect(problem.mean)
    objective, history = value + problem.log_prior(problem.mean), np.full(solver.max_steps, np.nan)
    history[0] = objective
    code = CONVERGED if np.isfinite(objective) else NONFINITE
    found = FactorFit(
        weights=_weights(problem.mean, config),
        posterior=p,
        objective=np.asarray(objective),
        log_likelihood=np.asarray(value),
        code=np.asarray(code),
        n_steps=np.asarray(2),
        history=history,
        switched=np.asarray(False),
    )
    return Found(found, problem.counts, on_positives)


def _weights(at: At, config: FactorConfig) -> Weights:
    """Return the parameters in the form of the factor model."""
    known = lambda v: Linear(np.full((1, 1), v), None)  # noqa: E731
    labeler = Linear(None, at.alpha[:, None]) if config.labeler[1] > 0 else known(at.alpha[0])
    bias = None if config.bias is None else Linear(None, at.gamma[:, None])
    return Weights(labeler, known(config.instance[0]), bias, known(float(at.eta)))


def _at(weights: Weights) -> At:
    alpha = weights.labeler.free[:, 0]
    gamma = np.zeros_like(alpha) if weights.bias is None else weights.bias.free[:, 0]
    return At(alpha, gamma, np.float64(weights.class_prior.dense[0, 0]))


def summary(
    found: Found, config: FactorConfig, agreement: Float[np.ndarray, "W 2 2"], unsure: Float[np.ndarray, "W 2"]
) -> Summary:
    """Summarise a fit's labelers, with intervals; where the model takes all labelers for equal, by counts.

    Args:
        agreement: labels by the inferred class and by their value (``crowdjax.result.tally``).
        unsure: what is not known of these classes (``crowdjax.result.unsure_of``).
    """
    weights = found.fit.weights
    if weights.labeler.free is None:
        right = expit(float(weights.labeler.dense[0, 0]))
        a = agreement + np.where(np.eye(2, dtype=bool), right, 1 - right)
        points = agreement.sum((0, 2))
        return summary_of_betas(a, points / points.sum())
    at = _at(weights)
    sens, spec = expit(at.alpha + at.gamma), expit(at.alpha - at.gamma)
    plus = found.on_positives.sum(1)
    whole = found.counts.sum(1)
    right = plus * sens + (whole - plus) * spec
    accuracy = np.where(whole > 0, right / np.where(whole > 0, whole, 1), (sens + spec) / 2)
    variances = [np.atleast_1d(sd**2) for sd in (config.labeler[1], 0.0 if config.bias is None else config.bias[1])]
    return intervals_of_two((sens, spec, accuracy), agreement.sum(2), variances, unsure=unsure)
