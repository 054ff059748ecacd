"""The smallest models of K classes: majority, coins, dawid-skene and GLAD (``crowdjax.host.glad``), by EM.

    h_jk = log π_k + Σ_i c_ij T[i, L_ij, k]      evidence = Σ_j logsumexp_k h_jk      (``crowdjax.observation.table``)
    n[i,l,k] = Σ_j c_ij [L_ij = l] q_jk          objective = evidence + log prior     (``crowdjax.host.nominal``)

The start is the maximum of Q at the shares of votes, as in ``crowdjax.observation.fit``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from crowdjax.fits import ObservationFit
from crowdjax.host.anderson import Step, accelerate
from crowdjax.host.cells import Cells
from crowdjax.host.nominal import OF, Params, Prior
from crowdjax.labelers import LEVEL, Summary
from crowdjax.labels import Labels
from crowdjax.priors import BiasedCoin, DawidSkene, Glad, Majority, Nominal, OneCoin
from crowdjax.stopping import Solver

if TYPE_CHECKING:
    from jaxtyping import Float

MODELS: dict[str, type[Nominal]] = {
    "majority": Majority, "one-coin": OneCoin, "biased-coin": BiasedCoin, "dawid-skene": DawidSkene,
    "glad": Glad,
}  # fmt: skip
CURVATURE = 0.25  # of a log-odds, per label, at most


class Problem:
    """The labels and the model of one fit."""

    def __init__(self, labels: Labels, model: Nominal):
        k = labels.n_classes
        found, self.shape = Cells(labels), (labels.n_labelers, labels.n_values, k)
        self.totals = found.totals
        gold = None if labels.gold is None else np.asarray(labels.gold)
        self.known = None if gold is None or not (gold >= 0).any() else np.flatnonzero(gold >= 0)
        self.gold = None if self.known is None else gold[self.known]  # pyright: ignore[reportOptionalSubscript]
        self.prior, self.labelers = Prior(model, k), labelers_of(model, labels.n_labelers, k)
        self.votes = self._votes(found.votes())
        self.lay_out(found)
        first = self.first()
        self.names = sorted(first)
        self.sizes = [first[name].shape for name in self.names]
        self.start = self.begin(first)
        self.metric = self._metric()

    def _votes(self, votes: Float[np.ndarray, "I K"]) -> Float[np.ndarray, "I K"]:
        """Return the share of each class in the votes of each instance; gold counts as all, no vote as one of each
        class."""
        k = self.shape[2]
        number = np.sum(votes, axis=1, keepdims=True)
        votes = np.where(number > 0, votes / np.where(number > 0, number, 1), 1 / k)
        if self.known is not None:
            votes[self.known] = np.eye(k)[self.gold]
        return votes

    def lay_out(self, found: Cells) -> None:
        """Lay out the indices that the sums of every pass use."""
        self.cells = found.matrix()

    def first(self) -> Params:
        """Return the parameters before the M-step at the votes."""
        return self.labelers.start() | self.prior.start(self.votes.sum(0))

    def begin(self, first: Params) -> Params:
        """Return the M-step at the votes."""
        return self.m_step(first, *self.at_votes())

    def at_votes(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the sufficient statistics where the shares of votes are the classes' chances."""
        return self.tally(self.votes), self.votes.sum(0)

    def tally(self, q: Float[np.ndarray, "I K"]) -> Float[np.ndarray, "W L K"]:
        return (self.cells.T @ q).reshape(self.shape)

    def flat(self, params: Params) -> Float[np.ndarray, " P"]:
        return np.concatenate([np.ravel(params[name]) for name in self.names])

    def params(self, x: Float[np.ndarray, " P"]) -> Params:
        ends = np.cumsum([int(np.prod(size)) for size in self.sizes])
        parts = zip(self.names, np.split(x, ends[:-1]), self.sizes, strict=True)
        return {name: part.reshape(size) for name, part, size in parts}

    def _metric(self) -> Float[np.ndarray, " P"]:
        """Estimate how much the objective curves in each parameter, by the labels that depend on it."""
        of_labeler = self.totals.reshape(self.shape[0], -1).sum(1)
        each = []
        for name, size in zip(self.names, self.sizes, strict=True):
            own = name in self.labelers.of_labeler
            n = of_labeler.reshape(-1, *(1,) * (len(size) - 1)) if own else of_labeler.sum()
            each.append(np.broadcast_to(n, size).ravel())
        counts = np.concatenate(each)
        return np.where(counts > 0, 1 + CURVATURE * counts, 0)  # what no label tells has no say

    def m_step(self, params: Params, counts, points) -> Params:
        return params | self.labelers.step(params, counts) | self.prior.step(params, points)

    def log_prior(self, params: Params) -> float:
        return self.labelers.log_prior(params) + self.prior.log_prior(params)

    def expect(self, params: Params):
        """Return (log p(labels), P(z_j = k | labels) [I, K], the sufficient statistics: of labelers, of classes)."""
        h = self.cells @ self.labelers.table(params).reshape(-1, self.shape[2]) + self.prior.log_p(params)
        at_gold = None if self.known is None else h[self.known, self.gold]
        h = np.ascontiguousarray(h.T)  # [K, I]: NumPy is slow along few numbers
        top = h.max(0)
        h -= top
        np.exp(h, out=h)
        whole = h.sum(0)
        h /= whole
        value, q = top + np.log(whole), np.ascontiguousarray(h.T)
        if at_gold is not None:
            value[self.known], q[self.known] = at_gold, np.eye(self.shape[2])[self.gold]
        return float(value.sum()), q, self.tally(q), q.sum(0)

    def step(self, x: Float[np.ndarray, " P"]) -> Step:
        params = self.params(x)
        value, q, counts, points = self.expect(params)
        value += self.log_prior(params)
        return Step(self.flat(self.m_step(params, counts, points)), -value, (q, counts, points), self.metric)


def labelers_of(model: Nominal, n_labelers: int, n_classes: int):
    """Return a model's description of labelers: their table or their abilities, log prior, M-step and summary."""
    if isinstance(model, Glad):
        from crowdjax.host.glad import OfGlad

        return OfGlad(model, n_labelers, n_classes)
    return OF[type(model)](model, n_labelers, n_classes)  # pyright: ignore[reportArgumentType]


def problem_of(labels: Labels, model: Nominal) -> Problem:
    """Return the problem of a model.

    Example:
        >>> labels = Labels.from_arrays([0, 1, 2], [0, 0, 0], [1, 1, 0])
        >>> problem_of(labels, Glad()).names
        ['classes', 'exponent', 'known', 'w']
    """
    if isinstance(model, Glad):
        from crowdjax.host import glad

        return glad.Problem(labels, model)
    return Problem(labels, model)


class Found(NamedTuple):
    """A fit, and the input of a summary of labelers: the sufficient statistics at its parameters.

    Example:
        >>> Found._fields
        ('fit', 'counts', 'points')
    """

    fit: ObservationFit
    counts: Float[np.ndarray, "W ..."]
    points: Float[np.ndarray, " K"] | Float[np.ndarray, "K B"]


def fit(labels: Labels, model: Nominal, solver: Solver) -> Found:
    """Return the fit of ``crowdjax.observation.fit`` for the models of this file.

    Args:
        labels: whose values are the classes.
        model: of ``crowdjax.priors``, its population (its pseudo-counts) to be learned.

    Example: the third labeler contradicts the others
        >>> label = [0, 0, 1, 2, 2, 0, 1, 1, 2]
        >>> labels = Labels.from_arrays([0, 1, 2] * 3, [0] * 3 + [1] * 3 + [2] * 3, label, n_values=3)
        >>> fit(labels, OneCoin(), Solver()).fit.posterior.argmax(1).tolist()
        [0, 2, 1]
    """
    problem, rtol = problem_of(labels, model), max(solver.rtol, getattr(model, "rtol", 0.0))
    found = accelerate(problem.step, problem.flat(problem.start), max_steps=solver.max_steps, rtol=rtol)
    params = problem.params(found.x)
    q, counts, points = found.aux or (problem.votes, *problem.at_votes())
    ended = ObservationFit(
        params=params,
        posterior=np.asfortranarray(q),  # what follows goes by class: NumPy is slow along few numbers
        objective=np.asarray(-found.value),
        log_likelihood=np.asarray(-found.value - problem.log_prior(params)),
        code=np.asarray(found.code),
        n_steps=np.asarray(found.n_steps),
        history=-found.history,
    )
    return Found(ended, counts, points)


def summary(found: Found, model: Nominal, level: float = LEVEL) -> Summary:
    """Summarise a fit's labelers, with intervals (``crowdjax.observation.labeler_summary``)."""
    n_classes = found.fit.posterior.shape[1]
    return labelers_of(model, len(found.counts), n_classes).summary(found.fit.params, found.counts, found.points, level)
