"""GLAD and factors of any number of classes with the instances integrated out: sums over fixed points, a table of rows.

    s_ig = log(K-1) + α_i·β_g      log p(l | labeler i, point g) = log softmax_l(γ_il + [l = k_g] s_ig)

A point is a class k and a value β of what an instance has of its own, so that the evidence is that of labelers alone:

    log p(labels | α, γ) = Σ_j log Σ_k π_k ∫ p(β) Π_i p(L_ij | k, β) dβ      w_i = (α_i, γ_i) ~ N(μ, diag σ²)

Ten labels do not tell β_j. Where it is maximised too (``observation.factors``), labelers' abilities grow with the
number of instances and results get worse as the fit climbs (Neyman and Scott 1948); where it is integrated out, the
labelers at their mode are consistent. The points of the first factor are even steps and lie at the same places for
either of two classes; those of factors 2 and 3 are Gauss and Hermite's. Source: docs/models.md, section 3.
"""

from __future__ import annotations

import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

from crowdjax.labels import InputError, Labels
from crowdjax.observation.factors import JITTER
from crowdjax.observation.nominal import Design, Nominal, log_shares
from crowdjax.observation.table import table_pass, tally, vote_shares
from crowdjax.priors import FACTORS_FIRST, FACTORS_NEWTON, FURTHER, LONGEST, STEP_PARTS, ClassPrior, Factors, Gaussian
from crowdjax.priors import Glad as Defaults

PRECISION = jax.lax.Precision.HIGHEST
MOST_FACTORS = max(FURTHER)


class IntegratedFactor(eqx.Module, Factors):
    """D factors and biases of each labeler; the factors of instances are integrated out.

    Attributes:
        n_factors: D, up to 3.
        labeler, instance: mean and standard deviation of the first factor, of labelers and instances.
        bias: standard deviation of γ_il - γ_ik, whose mean is 0; None: no biases.
        further: standard deviation of factors 2 and 3, whose means are 0.
        class_prior: ``learn``, ``free``, ``uniform``, or K probabilities, as in ``observation.nominal``; but ``learn``
            is one number (π_k ∝ (share of votes)^e) with two classes too, since labels hardly tell the share of a class
            from a bias of all labelers. Gold of one class, which was chosen by its class, has no part in it.
        points: how many values of the first factor.
        rtol: gain, in units of 1 + |objective|, below which results no longer move.
        restarts: starts that ``crowdjax.fit`` takes the best of, from two factors on.
        seed: of the random start of factors 2 and 3; at 0 they are on a saddle.

    Example: the third labeler contradicts the others
        >>> from crowdjax.observation import fit_jit
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, np.repeat(np.arange(4), 3), [1, 1, 0, 0, 0, 1] * 2)
        >>> fit_jit(labels, IntegratedFactor()).params["w"][:, 0].argmin().tolist()
        2
    """

    n_factors: int = eqx.field(static=True, default=1)
    labeler: Gaussian = eqx.field(static=True, default=Defaults.labeler)
    instance: Gaussian = eqx.field(static=True, default=Defaults.instance)
    bias: float | None = eqx.field(static=True, default=1.0)
    further: float = eqx.field(static=True, default=Defaults.further)
    class_prior: ClassPrior = eqx.field(static=True, default=Defaults.class_prior)
    points: int = eqx.field(static=True, default=Defaults.points)
    rtol: float = eqx.field(static=True, default=Defaults.rtol)
    restarts: int = eqx.field(static=True, default=1)
    seed: UInt32[Array, ""] = eqx.field(default=0, converter=lambda seed: jnp.asarray(seed, jnp.uint32))

    covaries = ("w",)
    neutral = True
    link: Literal["linear", "exp"] = eqx.field(static=True, default="linear", init=False)

    def __check_init__(self):
        if isinstance(self.n_factors, bool) or self.n_factors not in range(1, MOST_FACTORS + 1):
            raise InputError(f"n_factors: got {self.n_factors!r}; allowed with instances integrated out: 1, 2, 3")
        positive = {"labeler": self.labeler[1], "instance": self.instance[1], "bias": self.bias}
        for name, sd in (positive | {"further": self.further}).items():
            if sd is not None and not 0 < sd < np.inf:
                raise InputError(f"{name}: standard deviation {sd}; allowed: more than 0, finite")
        if self.points < 3:
            raise InputError(f"points: got {self.points}; allowed: 3 or more")
        Nominal(self.class_prior)

    @property
    def classes(self) -> Nominal:
        """The prior of the classes."""
        return Nominal(self.class_prior)

    def design(self, n_classes: int) -> Design:
        """Return the logits of labels at points, linear in w_i: K × B points, those of the first class first."""
        beta, _ = self.grid()
        own = np.repeat(np.eye(n_classes), len(beta), axis=1)  # [L, G]: whether a label is the point's class
        x = own[:, :, None] * np.tile(beta, (n_classes, 1))
        if self.bias is not None:
            biases = contrasts(n_classes) * self.bias / np.sqrt(2)
            x = np.concatenate([x, np.broadcast_to(biases[:, None], (*own.shape, n_classes - 1))], axis=2)
        return Design(x, own * np.log(n_classes - 1))

    def start(self, labels: Labels, votes: Float[Array, "I K"]):
        """Return the maximum of Q where the classes are the shares of votes, and values as before any label."""
        k, n = labels.n_classes, labels.n_labelers
        if labels.n_values != k:
            raise InputError(f"labels: {labels.n_values} values for {k} classes; allowed with factors: as many")
        real = votes if labels.shard is None else votes * labels.shard.real[:, None]
        gold = jnp.full(len(votes), -1) if labels.gold is None else jnp.asarray(labels.gold)
        given = jnp.where(gold[:, None] >= 0, real, 0)
        counts, known = labels.across((tally(labels, votes), given.sum(0)))
        known = jnp.where((known > 0).sum() == 1, known, 0)
        shares = labels.across(jnp.where(known.any(), real - given, real).sum(0))
        mean, _ = self.prior(k)
        params = {"w": jnp.tile(jnp.asarray(mean, votes.dtype), (n, 1)), "known": known}
        learned = self.class_prior == "learn"
        params |= log_shares(shares) if learned else self.classes.start_classes(labels, votes)
        weight = jnp.asarray(np.exp(self.grid()[1]), votes.dtype)
        w = self._climb(params, (counts[..., None] * weight).reshape(n, k, -1), FACTORS_FIRST)
        if self.n_factors > 1:
            noise = jax.random.normal(jax.random.key(self.seed), (n, self.n_factors - 1), w.dtype)
            w = w.at[:, 1 : self.n_factors].add(JITTER * noise)
        return params | {"w": w}

    def table(self, params):
        return self.design(self._k(params)).log_p(params["w"])

    def log_points(self, params):
        _, log_weight = self.grid()
        return (self.classes.log_points(params)[:, None] + jnp.asarray(log_weight, params["w"].dtype)).ravel()

    def class_of_point(self, params):
        return jnp.repeat(jnp.eye(self._k(params), dtype=params["w"].dtype), len(self.grid()[0]), axis=0)

    def log_prior(self, params):
        mean, sd = self.prior(self._k(params))
        of_known = jax.lax.stop_gradient(params["known"]) @ self.classes.log_points(params)
        return self.classes.log_prior(params) - of_known - 0.5 * (((params["w"] - mean) / sd) ** 2).sum()

    def m_step(self, params, counts, points):
        of_class = points.reshape(self._k(params), -1).sum(1) - params["known"]
        return params | {"w": self._climb(params, counts, FACTORS_NEWTON)} | self.classes.classes_step(params, of_class)

    def specs(self, params):
        return {name: "labeler" if name == "w" else None for name in params}

    def rescaled(self, params, labels):
        """Correct the number of labels that inform e: fewer where the vote shares of the classes differ less."""
        if "exponent" not in params:
            return labels
        return labels | {"exponent": labels["exponent"] * params["classes"].var()}

    def unseen(self, params):
        """Return the parameters of an unseen labeler: the means of the prior."""
        return {"w": jnp.asarray(self.prior(self._k(params))[0], jax.dtypes.canonicalize_dtype(params["w"].dtype))}

    def covariance(self, params, counts: Float[Array, "W L G"]) -> Float[Array, "W P P"]:
        """Return Laplace's covariance of w_i, the expected counts being known."""
        design, (_, sd) = self.design(self._k(params)), self.prior(self._k(params))
        return jnp.linalg.inv(design.hessian(design.log_p(params["w"]), counts) + jnp.diag(sd**-2.0))

    def starts(self) -> list[IntegratedFactor]:
        """Return the same model with a seed for every start; one where nothing is drawn."""
        if self.n_factors == 1:
            return [self]
        seeds = np.random.SeedSequence(int(self.seed)).generate_state(self.restarts)
        return [dataclasses.replace(self, seed=seed) for seed in (self.seed, *seeds[1:])]

    def _k(self, params) -> int:
        return params["classes"].shape[0]

    def _climb(self, params, counts: Float[Array, "W L G"], n_steps: int) -> Float[Array, "W P"]:
        """Take Newton's steps in w_i, of which none lowers Q."""
        design, (mean, sd) = self.design(self._k(params)), self.prior(self._k(params))
        x = jnp.asarray(design.x, params["w"].dtype)

        def q(w):
            return (counts * design.log_p(w)).sum((1, 2)) - 0.5 * (((w - mean) / sd) ** 2).sum(1)

        def newton(_, w):
            log_p = design.log_p(w)
            residual = counts - counts.sum(1, keepdims=True) * jnp.exp(log_p)
            gradient = jnp.einsum("wlg,lgp->wp", residual, x, precision=PRECISION) - (w - mean) / sd**2
            curvature = design.hessian(log_p, counts) + jnp.diag(sd**-2.0)
            step = jnp.linalg.solve(curvature, gradient[..., None])[..., 0]
            step *= jnp.minimum(1, LONGEST / jnp.maximum(jnp.linalg.norm(step, axis=1, keepdims=True), LONGEST))
            tried = w + jnp.asarray(STEP_PARTS, w.dtype)[:, None, None] * step
            best = jnp.argmax(jax.lax.map(q, tried), axis=0)
            return jnp.take_along_axis(tried, best[None, :, None], axis=0)[0]

        return jax.lax.fori_loop(0, n_steps, newton, params["w"])


class IntegratedGlad(IntegratedFactor):
    """GLAD: the ability of a labeler times the easiness e^b of an instance, b ~ N(1, 1) being integrated out.

    Example:
        >>> from crowdjax.observation import fit_jit
        >>> label = [0, 0, 1, 2, 2, 0, 1, 1, 2]
        >>> labels = Labels.from_arrays([0, 1, 2] * 3, [0] * 3 + [1] * 3 + [2] * 3, label, n_values=3)
        >>> fit_jit(labels, IntegratedGlad()).posterior.argmax(1).tolist()
        [0, 2, 1]

    Source: Whitehill et al. 2009.
    """

    bias: float | None = eqx.field(static=True, default=None)
    link: Literal["linear", "exp"] = eqx.field(static=True, default="exp", init=False)


def contrasts(n: int) -> Float[np.ndarray, "n n-1"]:
    """Return n-1 orthonormal contrasts of n things, Helmert's; of two the second less the first.

    Example:
        >>> contrasts(2).round(3).tolist()
        [[-0.707], [0.707]]
    """
    rows, k = np.arange(n)[:, None], np.arange(1, n)
    return (np.where(rows == k, k, 0.0) - np.where(rows < k, 1.0, 0.0)) / np.sqrt(k * (k + 1))


@eqx.filter_jit
def falls(labels: Labels, model: IntegratedFactor, alpha: Float[Array, "W D"], gamma: Float[Array, "W K"] | None):
    """Return whether labelers explain the labels worse, instances being integrated out, than after one step of EM.

    Of a fit with instances at their mode that says whether it has climbed by inflating abilities.

    Args:
        alpha, gamma: of the labelers of such a fit.

    Example: three labelers who agree on half of the instances are not that able
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, np.repeat(np.arange(4), 3), [1, 1, 1, 0, 0, 1, 0, 0, 0, 1, 0, 1])
        >>> bool(falls(labels, IntegratedGlad(), jnp.full((3, 1), 9.0), None))
        True
    """

    def look(params):
        return table_pass(labels, model.table(params), model.log_points(params), model.class_of_point(params))

    params = model.start(labels, vote_shares(labels))
    found, w = look(params), alpha
    params = model.m_step(params, found.counts, found.points)
    if model.bias is not None:
        own = jnp.matmul(gamma, contrasts(labels.n_classes), precision=PRECISION) * np.sqrt(2) / model.bias
        w = jnp.concatenate([alpha, own], axis=1)
    return look(params | {"w": w}).value < look(params).value
