"""Independent implementations to hold crowdjax against: dense NumPy tables and SciPy optimisers, no crowdjax, no JAX.

Everything works on a table of counts per (labeler, instance) cell, ``plus`` labels of +1 and ``minus`` of -1, both
[W, I], so that nothing of the sparse layout, the blocks or the reductions is shared with the code under test.
"""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
from scipy.optimize import minimize
from scipy.special import betaln, expit, log_expit, logsumexp
from threadpoolctl import threadpool_limits


@dataclasses.dataclass(frozen=True)
class Crowd:
    """The judgements as dense counts [W, I]; ``gold`` [I] is -1, +1 or 0 (unknown)."""

    plus: np.ndarray
    minus: np.ndarray
    gold: np.ndarray

    @classmethod
    def of(cls, labeler, instance, label, weight=None, gold=None, shape=None) -> Crowd:
        labeler, instance, label = (np.asarray(v) for v in (labeler, instance, label))
        weight = np.ones(len(label)) if weight is None else np.asarray(weight, float)
        shape = (labeler.max() + 1, instance.max() + 1) if shape is None else shape
        plus, minus = np.zeros(shape), np.zeros(shape)
        for i, j, y, c in zip(labeler, instance, label, weight, strict=True):
            (plus if y > 0 else minus)[i, j] += c
        return cls(plus, minus, np.zeros(shape[1]) if gold is None else np.asarray(gold, float))


def log_likelihoods(crowd: Crowd, s, gamma):
    """(ℓ^+, ℓ^-) per instance for s [W, I] and γ broadcastable to it."""
    s, gamma = np.broadcast_arrays(s, gamma)
    under = lambda z: (crowd.plus * log_expit(gamma + z * s) + crowd.minus * log_expit(-gamma - z * s)).sum(0)  # noqa: E731
    return under(+1), under(-1)


def evidence_by_enumeration(crowd: Crowd, s, gamma, pi) -> float:
    """log Σ_z p(z) p(L | z), summed over all 2^I truths that agree with gold; every probability is a plain product."""
    s, gamma = np.broadcast_arrays(np.asarray(s, float), np.asarray(gamma, float))
    pi = np.broadcast_to(pi, crowd.gold.shape)
    terms = []
    for z in itertools.product((-1, 1), repeat=crowd.gold.size):
        z = np.array(z)
        if ((crowd.gold != 0) & (crowd.gold != z)).any():
            continue
        positive = log_expit(gamma + z * s)
        negative = log_expit(-gamma - z * s)
        terms.append(
            np.where(z > 0, np.log(pi), np.log1p(-pi)).sum() + (crowd.plus * positive + crowd.minus * negative).sum()
        )
    return float(logsumexp(terms))


def pass_over(crowd: Crowd, alpha, beta, gamma, eta, given=None):
    """Dense value, posterior and gradients (α, β, γ, η) of the evidence, or of Q at ``given`` posteriors."""
    s = alpha @ beta.T
    g = np.zeros(len(alpha)) if gamma is None else gamma
    plus, minus = log_likelihoods(crowd, s, g[:, None])
    plus, minus = plus + log_expit(eta), minus + log_expit(-eta)
    own = np.where(crowd.gold == 0, expit(plus - minus), crowd.gold > 0)
    p = own if given is None else given
    if given is None:
        value = np.where(crowd.gold == 0, np.logaddexp(plus, minus), np.where(crowd.gold > 0, plus, minus)).sum()
    else:
        value = (p * plus + (1 - p) * minus).sum()
    slope = lambda t: crowd.plus * expit(-t) - crowd.minus * expit(t)  # noqa: E731   d/dt of plus logσ(t) + minus logσ(-t)
    up, down = slope(g[:, None] + s), slope(g[:, None] - s)
    ds, dg = p * up - (1 - p) * down, p * up + (1 - p) * down
    return value, p, (ds @ beta, ds.T @ alpha, dg.sum(1), p - expit(eta))


def curvature(crowd: Crowd, alpha, beta, gamma):
    """Σ c w β², Σ c w α² and Σ c w with w = ½(σ'(γ+s) + σ'(γ-s))."""
    s = alpha @ beta.T
    g = (np.zeros(len(alpha)) if gamma is None else gamma)[:, None]
    bump = lambda t: expit(t) * expit(-t)  # noqa: E731
    w = (crowd.plus + crowd.minus) * 0.5 * (bump(g + s) + bump(g - s))
    return w @ beta**2, w.T @ alpha**2, w.sum(1)


@dataclasses.dataclass(frozen=True)
class Spec:
    """A factor model over dense features: every weight ~ N(mean, sd²), sd 0 fixed, sd inf flat.

    Each side is (Φ, mean, sd), mean and sd of the weights' shape [columns, D]; ``bias`` may be None. ``beta`` are the
    two parameters of a Beta prior on the one class prior.
    """

    labeler: tuple
    instance: tuple
    bias: tuple | None
    class_prior: tuple
    exp: bool = False
    beta: tuple | None = None

    def parts(self):
        return [p for p in (self.labeler, self.instance, self.bias, self.class_prior) if p is not None]

    @property
    def mean(self):
        return np.concatenate([np.broadcast_to(m, _shape(f, m)).ravel() for f, m, _ in self.parts()])

    @property
    def sd(self):
        return np.concatenate([np.broadcast_to(s, _shape(f, m)).ravel() for f, m, s in self.parts()])

    def split(self, x):
        """The weights of the four sides, each [columns, D] (None for a missing bias)."""
        out, at = [], 0
        for part in (self.labeler, self.instance, self.bias, self.class_prior):
            if part is None:
                out.append(None)
                continue
            shape = _shape(part[0], part[1])
            out.append(x[at : at + np.prod(shape)].reshape(shape))
            at += np.prod(shape)
        return out

    def factors(self, x):
        wa, wb, wg, wp = self.split(x)
        beta = self.instance[0] @ wb
        return (
            self.labeler[0] @ wa,
            np.exp(beta) if self.exp else beta,
            None if self.bias is None else (self.bias[0] @ wg)[:, 0],
            (self.class_prior[0] @ wp)[:, 0],
        )

    def negative(self, crowd: Crowd, x, given=None):
        """(-(evidence + log prior), its gradient, zero at fixed weights)."""
        alpha, beta, gamma, eta = self.factors(x)
        value, _, (da, db, dg, de) = pass_over(crowd, alpha, beta, gamma, eta, given)
        db = db * beta if self.exp else db
        parts = [self.labeler[0].T @ da, self.instance[0].T @ db]
        parts += [] if self.bias is None else [self.bias[0].T @ dg[:, None]]
        eta_gradient = self.class_prior[0].T @ de[:, None]
        if self.beta is not None:
            a, b = self.beta
            eta0 = self.split(x)[3][0, 0]
            value += (a - 1) * log_expit(eta0) + (b - 1) * log_expit(-eta0) - betaln(a, b)
            eta_gradient = eta_gradient + (a - 1) * expit(-eta0) - (b - 1) * expit(eta0)
        gradient = np.concatenate([g.ravel() for g in [*parts, eta_gradient]])
        mean, sd = self.mean, self.sd
        proper = (sd > 0) & np.isfinite(sd)
        z = np.where(proper, (x - mean) / np.where(proper, sd, 1), 0)
        value += (np.where(proper, -0.5 * z**2 - np.log(np.where(proper, sd, 1)) - 0.5 * np.log(2 * np.pi), 0)).sum()
        gradient = gradient - np.where(proper, z / np.where(proper, sd, 1), 0)
        return -value, np.where(sd > 0, -gradient, 0)

    def posterior(self, crowd: Crowd, x):
        alpha, beta, gamma, eta = self.factors(x)
        return pass_over(crowd, alpha, beta, gamma, eta)[1]

    @threadpool_limits.wrap(limits=1)  # the matrices are tiny; many threads on a busy machine take ten times as long
    def maximum(self, crowd: Crowd, x0=None, *, given=None, polish: bool = True):
        """(weights, objective, posterior) of a local maximum: SciPy's L-BFGS-B from ``x0``, polished by Newton.

        Without a start: from the maximum of Q at the majority vote's posterior, itself reached from the prior means.
        """
        if x0 is None:
            x0 = self.maximum(crowd, self.mean, given=majority(crowd), polish=False)[0]
        moves = self.sd > 0
        x = np.array(x0, float)

        def restricted(v):
            full = x.copy()
            full[moves] = v
            value, gradient = self.negative(crowd, full, given)
            return value, gradient[moves]

        options = {"maxiter": 20_000, "maxfun": 50_000, "ftol": 1e-15, "gtol": 1e-9, "maxcor": 30}
        found = minimize(restricted, x[moves], jac=True, method="L-BFGS-B", options=options)
        v = newton(lambda u: restricted(u)[1], found.x) if polish else found.x
        x[moves] = v
        return x, -restricted(v)[0], self.posterior(crowd, x)


def _shape(features, mean):
    return (features.shape[1], np.shape(mean)[-1] if np.ndim(mean) else 1)


def newton(gradient, x, steps: int = 4):
    """Newton's method on a gradient with a central-difference Hessian, near a minimum; fails where it is not one."""
    for _ in range(steps):
        h = 1e-5
        hessian = np.stack([(gradient(x + h * e) - gradient(x - h * e)) / (2 * h) for e in np.eye(len(x))])
        hessian = (hessian + hessian.T) / 2
        if np.linalg.eigvalsh(hessian)[0] <= 0:
            raise ArithmeticError("not at a minimum")
        x = x - np.linalg.solve(hessian, gradient(x))
    return x


def majority(crowd: Crowd):
    """The share of positives with a pseudo-count for either class; gold where known."""
    share = (crowd.plus.sum(0) + 1) / ((crowd.plus + crowd.minus).sum(0) + 2)
    return np.where(crowd.gold == 0, share, crowd.gold > 0)


def preset(name: str, n_labelers: int, n_instances: int, n_factors: int = 1) -> Spec:
    """The named models of the paper's section 2.3 as dense features and priors, class prior one half."""
    each_labeler, each_instance, constant = np.eye(n_labelers), np.eye(n_instances), np.ones((n_instances, 1))
    fixed = lambda features, value: (features, np.full((features.shape[1], 1), float(value)), 0.0)  # noqa: E731
    normal = lambda features, mean, sd: (features, np.full((features.shape[1], 1), float(mean)), sd)  # noqa: E731
    first = np.eye(1, n_factors)
    factors = lambda features: (features, np.repeat(first, features.shape[1], axis=0), 1.0)  # noqa: E731
    half = fixed(constant, 0)
    return {
        "majority": Spec(fixed(np.ones((n_labelers, 1)), 1), fixed(constant, 1), None, half),
        "one-coin": Spec(normal(each_labeler, 1, 2), fixed(constant, 1), None, half),
        "dawid-skene": Spec(normal(each_labeler, 1, 2), fixed(constant, 1), normal(each_labeler, 0, 2), half),
        "glad": Spec(normal(each_labeler, 1, 1), normal(each_instance, 1, 1), None, half, exp=True),
        "glad-linear": Spec(normal(each_labeler, 1, 1), normal(each_instance, 1, 1), None, half),
        "factor": Spec(factors(each_labeler), factors(each_instance), normal(each_labeler, 0, 1), half),
    }[name]


def simulate(seed: int, n_labelers: int, n_instances: int, density: float):
    """(triples, truth) of a two-coin crowd with easy and hard instances, in random row order; plain NumPy."""
    rng = np.random.default_rng(seed)
    truth = np.where(rng.random(n_instances) < 0.4, 1, -1)
    ability, bias = rng.normal(1.2, 0.6, n_labelers), rng.normal(0, 0.5, n_labelers)
    ease = np.exp(rng.normal(0, 0.4, n_instances))
    labeler, instance = np.nonzero(rng.random((n_labelers, n_instances)) < density)
    logit = truth[instance] * ability[labeler] * ease[instance] + bias[labeler]
    label = np.where(rng.random(len(logit)) < expit(logit), 1, -1)
    order = rng.permutation(len(label))
    return dict(labeler=labeler[order], instance=instance[order], label=label[order]), truth


def dawid_skene_em(crowd: Crowd, p, pi=0.5, steps: int = 5000):
    """Textbook maximum-likelihood EM of the two-coin model, class prior fixed: (posterior, sens, spec, evidence)."""
    for _ in range(steps):
        sens = (crowd.plus @ p) / ((crowd.plus + crowd.minus) @ p)
        spec = (crowd.minus @ (1 - p)) / ((crowd.plus + crowd.minus) @ (1 - p))
        plus = crowd.plus.T @ np.log(sens) + crowd.minus.T @ np.log1p(-sens) + np.log(pi)
        minus = crowd.minus.T @ np.log(spec) + crowd.plus.T @ np.log1p(-spec) + np.log1p(-pi)
        new = expit(plus - minus)
        if np.abs(new - p).max() < 1e-14:
            break
        p = new
    return new, sens, spec, np.logaddexp(plus, minus).sum()


def finite_differences(f, x, h=1e-5):
    """Central differences of a scalar function, the shape of x."""
    x = np.asarray(x, float)
    out = np.zeros(x.shape)
    for k in np.ndindex(x.shape):
        e = np.zeros(x.shape)
        e[k] = h
        out[k] = (f(x + e) - f(x - e)) / (2 * h)
    return out
