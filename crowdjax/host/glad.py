"""GLAD of any classes on the host, instances integrated out: ``observation.integrated_factors.IntegratedGlad``.

    h_jkb = log π_k + log p(β_b) + β_b s_jk + a_jb + const      s_jk = Σ_i c_ij [L_ij = k] α_i
    q_j = softmax h_j                                           a_jb = Σ_i c_ij log σ(-α_i β_b)

A label is right with the chance σ(α_i β_b), and log σ(t) - log σ(-t) = t: who said what enters by one number for each
instance and class, and the points by one row for each labeler, whatever the label. The M-step for α_i goes by

    r_i = Σ_j c_ij Σ_b β_b q_j,L_ij,b        n_ib = Σ_j c_ij Σ_k q_jkb
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from crowdjax.host import classes
from crowdjax.host.cells import Cells, expit, log_sigmoid
from crowdjax.host.nominal import Params
from crowdjax.labelers import LEVEL, Summary, corrected, in_sd
from crowdjax.priors import FACTORS_FIRST, FACTORS_NEWTON, LONGEST, STEP_PARTS, Glad

if TYPE_CHECKING:
    from jaxtyping import Float

BLOCK = 2**17  # numbers of the instances that are taken at once: they stay in the cache


class OfGlad:
    """The abilities; their statistics are r_i and n_ib, [W, 1 + B]."""

    of_labeler = ("w",)

    def __init__(self, model: Glad, n_labelers: int, n_classes: int):
        self.n_labelers, self.n = n_labelers, n_classes
        beta, self.log_weight = model.grid()
        self.beta = beta[:, 0]
        (self.mean,), (self.sd,) = model.prior(n_classes)

    def start(self) -> Params:
        return {"w": np.full((self.n_labelers, 1), self.mean)}

    def log_prior(self, params: Params) -> float:
        return -0.5 * float((((params["w"] - self.mean) / self.sd) ** 2).sum())

    def step(self, params: Params, counts: Float[np.ndarray, "W 1+B"], n_steps: int = FACTORS_NEWTON) -> Params:
        """Take Newton's steps in α_i, of which none lowers Q."""
        alpha, r, n = params["w"][:, 0], counts[:, 0], counts[:, 1:]

        def q(alpha):
            fit = alpha * r + (n * log_sigmoid(-alpha[..., None] * self.beta)).sum(-1)
            return fit - 0.5 * ((alpha - self.mean) / self.sd) ** 2

        for _ in range(n_steps):
            right = expit(alpha[:, None] * self.beta)
            slope = r - (n * right) @ self.beta - (alpha - self.mean) / self.sd**2
            step = slope / self._curvature(right, n)
            tried = alpha + np.array(STEP_PARTS)[:, None] * np.clip(step, -LONGEST, LONGEST)
            alpha = tried[np.argmax(q(tried), axis=0), np.arange(len(alpha))]
        return {"w": alpha[:, None]}

    def _curvature(self, right, n) -> Float[np.ndarray, " W"]:
        """Return -∂²(Q + log prior) / ∂α²."""
        return (n * right * (1 - right)) @ self.beta**2 + self.sd**-2.0

    def summary(self, params: Params, counts, points: Float[np.ndarray, "K B"], level: float = LEVEL) -> Summary:
        """Summarise labelers by the curvature of Q in α_i, and the delta method on the logit."""
        right = expit(params["w"] * self.beta)
        sd = self._curvature(right, counts[:, 1:]) ** -0.5
        of_class = points.sum(1)
        is_empty = (of_class < np.finfo(float).tiny)[:, None]
        at = np.where(
            is_empty, np.exp(self.log_weight), points / np.where(is_empty, 1, of_class[:, None])
        )  # P(β | class)
        share = of_class / of_class.sum()
        p, move = right @ at.T, (right * (1 - right) * self.beta) @ at.T  # to be right in each class [W, K], its slope
        cells = [np.stack([of @ share, of.mean(1)], 1) for of in (p, move)]
        k = np.arange(self.n)
        confusion, slopes = (np.repeat(sign * of[..., None] / (self.n - 1) + one, self.n, 2) for of, sign, one in
                             ((p, -1, 1 / (self.n - 1)), (move, -1, 0)))  # fmt: skip
        confusion[:, k, k], slopes[:, k, k] = p, move
        chance = np.concatenate([cells[0], confusion.reshape(len(p), -1)], 1)
        chance = np.clip(chance, np.finfo(float).tiny, 1 - np.finfo(float).eps)  # of labels of enormous weights
        slope = np.concatenate([cells[1], slopes.reshape(len(p), -1)], 1)
        half = in_sd(level) * sd[:, None] * np.abs(slope) / (chance * (1 - chance))
        logit = np.log(chance) - np.log1p(-chance)
        ends = [expit(logit + sign * half) for sign in (0, -1, 1)]
        accuracy, balanced = (tuple(end[:, n] for end in ends) for n in (0, 1))
        confusion = tuple(end[:, 2:].reshape(-1, self.n, self.n) for end in ends)
        return Summary(accuracy, confusion, corrected(balanced, self.n))  # pyright: ignore[reportArgumentType]


class Problem(classes.Problem):
    """The labels and the model of one fit."""

    labelers: OfGlad

    def lay_out(self, found: Cells) -> None:
        self.cells = found
        self.labeler = found.labeler.astype(np.int64)
        self.slot = found.label.astype(np.int64) * len(found.each) + found.instance  # of a label, in a table [K, I]
        own, every = found.votes().T, found.by_instance(np.ones(found.width))
        self.offset = (own - every) * np.log(self.shape[2] - 1.0)

    def first(self) -> Params:
        """Start from the votes. Gold of one class, which was chosen by its class, has no part in the class prior."""
        k = self.shape[2]
        known = np.zeros(k) if self.gold is None else np.bincount(self.gold, minlength=k).astype(np.float64)
        known = known if np.count_nonzero(known) == 1 else np.zeros(k)
        return self.labelers.start() | self.prior.start(self.votes.sum(0) - known) | {"known": known}

    def begin(self, first: Params) -> Params:
        return first | self.labelers.step(first, self.at_votes()[0], FACTORS_FIRST)

    def at_votes(self):
        weight = np.exp(self.labelers.log_weight)
        n = self.totals.reshape(self.shape[0], -1).sum(1)
        r = self.of_labels(self.votes.T) * (weight @ self.labelers.beta)
        return np.c_[r, n[:, None] * weight], self.votes.sum(0)[:, None] * weight

    def of_labels(self, of_class: Float[np.ndarray, "K I"]) -> Float[np.ndarray, " W"]:
        """Sum over each labeler the instances' values of the classes that the labeler gave."""
        return self.cells.summed(self.labeler, of_class.ravel()[self.slot], self.shape[0])

    def _metric(self) -> Float[np.ndarray, " P"]:
        """As of other models; of e the fewer labels tell the more alike the votes are."""
        n = self.totals.reshape(self.shape[0], -1).sum(1)
        told = {"w": n, "exponent": n.sum() * self.start["classes"].var()}  # the others do not move
        sizes = zip(self.names, self.sizes, strict=True)
        counts = np.concatenate([np.ravel(told.get(name, np.zeros(size))) for name, size in sizes])
        return np.where(counts > 0, 1 + classes.CURVATURE * counts, 0)

    def m_step(self, params: Params, counts, points) -> Params:
        of_class = points.sum(1) - params["known"]
        return params | self.labelers.step(params, counts) | self.prior.step(params, of_class)

    def log_prior(self, params: Params) -> float:
        return super().log_prior(params) - float(params["known"] @ self.prior.log_p(params))

    def expect(self, params: Params):
        alpha, beta = params["w"][:, 0], self.labelers.beta
        (k, n), n_points = self.offset.shape, len(beta)
        said = self.cells.summed(self.slot, alpha[self.labeler], k * n).reshape(k, n)
        wrong = self.cells.rows_by_instance(log_sigmoid(-alpha * beta[:, None]))
        prior = self.prior.log_p(params)[:, None] + self.labelers.log_weight
        value, p, own, any_ = 0.0, np.empty((k, n)), np.empty((k, n)), np.empty((n_points, n))
        points, size = np.zeros((k, n_points)), max(1, BLOCK // (k * n_points))
        for start in range(0, n, size):
            at = slice(start, start + size)
            h = beta[:, None] * said[:, None, at] + self.offset[:, None, at] + prior[..., None]  # [K, B, I]
            h += wrong[:, at]
            self._clamp(h, start)
            top = h.max((0, 1))
            q = np.exp(h - top, out=h)
            whole = q.sum((0, 1))
            q /= whole
            value += float((top + np.log(whole)).sum())
            p[:, at], any_[:, at] = q.sum(1), q.sum(0)
            own[:, at] = beta @ q
            points += q.sum(2)
        q = np.ascontiguousarray(p.T)
        if self.known is not None:
            q[self.known] = np.eye(k)[self.gold]
        counts = np.c_[self.of_labels(own), self.cells.rows_by_labeler(any_).T]
        return value, q, counts, points

    def _clamp(self, h: Float[np.ndarray, "K B I"], start: int) -> None:
        """Take the classes that gold denies from instances, the first of which is ``start``."""
        if self.known is None:
            return
        here = slice(*np.searchsorted(self.known, [start, start + h.shape[2]]))
        at, gold = self.known[here] - start, self.gold[here]
        for k in range(len(h)):
            h[k][:, at[gold != k]] = -np.inf
