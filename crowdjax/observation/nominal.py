"""Models of classes without order, whose points are the classes: a table of labelers, and a prior of classes.

    log p(label l | class k) = η_lk - log Σ_l' exp η_l'k        η linear in what a labeler has

| model | η_lk | numbers per labeler |
|---|---|---|
| majority | [l = k] (s + log(K-1)), the same s for all | 0 |
| one-coin | [l = k] (a_i + log(K-1)), so that P(right) = σ(a_i) | 1 |
| biased-coin | [l = k] (a_i + log(K-1)) + γ_il | K |
| class-skill | [l = k] (a_ik + log(K-1)) + γ_il | 2K - 1 |
| dawid-skene | free | L(K - 1) |

Labelers are a population: w_i = (a_i, γ_i) ~ N(μ, σ²), or columns V_ik ~ Dir(b_k) in Dawid and Skene's. Where it is
learned, w_i is integrated out, w_i ~ N(m_i, v_i), with log p to second order in w_i:

    table = E log p(label | class)      log prior = -Σ_i KL(N(m_i, v_i) | N(μ, σ²)) + log p(μ, σ²)

With the point of highest density in place of N(m_i, v_i) the population would shrink to a point. EM never lowers the
objective: M-steps are exact, or take no step that lowers Q.
"""

from __future__ import annotations

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from crowdjax import priors
from crowdjax.labels import InputError, Labels
from crowdjax.priors import (
    EXPONENT,
    EXPONENT_STEPS,
    LONGEST,
    MANY,
    MOST,
    NEWTON_STEPS,
    PRETENDED,
    STEP_PARTS,
)

PRECISION = jax.lax.Precision.HIGHEST


@dataclasses.dataclass(frozen=True)
class Nominal(priors.Nominal):
    """Base class of models of classes: points are classes, and a prior of the classes.

        learn    π_k ∝ (share of votes for k)^e,   e ~ N(½, ½²), ½ ≤ e ≤ 3;   of two classes as free, above 20 e = ½
        free     π ~ Dir(2, .., 2)

    Labels hardly tell the shares of classes from who confuses what. With K - 1 free numbers a frequent mistake passes
    for a class of its own (set web: accuracy .74 by biased-coin in place of .84), with equal shares a rare class is
    found everywhere (.54 in place of .94 by dawid-skene on a simulated crowd); one number serves both.

    Attributes:
        class_prior: ``learn``, ``free``, ``uniform``, or K probabilities.

    Example:
        >>> Nominal(class_prior=(0.9, 0.2))
        Traceback (most recent call last):
        ...
        crowdjax.labels.InputError: class_prior: got (0.9, 0.2); allowed: learn, free, uniform, or positive numbers \
that add up to 1
    """

    def start(self, labels: Labels, votes: Float[Array, "I K"]):
        return self.start_labelers(labels) | self.start_classes(labels, votes)

    def start_classes(self, labels: Labels, votes: Float[Array, "I K"]):
        """Return the logits of π, or those that e multiplies."""
        k = labels.n_classes
        if isinstance(self.class_prior, tuple):
            if len(self.class_prior) != k:
                raise InputError(f"class_prior: {len(self.class_prior)} numbers; allowed: {k}, one for each class")
            return {"classes": jnp.log(jnp.asarray(self.class_prior))}
        if self.class_prior != "learn" or k == 2:
            return {"classes": jnp.zeros(k)}
        votes = votes if labels.shard is None else votes * labels.shard.real[:, None]
        return log_shares(labels.across(votes.sum(0)))

    def log_points(self, params):
        logits = params["classes"]
        if "exponent" in params:
            return log_power(params)
        return jax.nn.log_softmax(logits if self._is_free(params) else jax.lax.stop_gradient(logits))

    def _is_free(self, params) -> bool:
        return self.class_prior in ("learn", "free") and "exponent" not in params

    def class_of_point(self, params):
        return jnp.eye(params["classes"].shape[0])

    def log_prior(self, params):
        of_labelers = self.log_prior_labelers(params)
        if "exponent" in params:
            return of_labelers + log_prior_of_exponent(params)
        return of_labelers + self.log_points(params).sum() if self._is_free(params) else of_labelers

    def m_step(self, params, counts, points):
        return params | self.labelers_step(params, counts) | self.classes_step(params, points)

    def classes_step(self, params, points):
        if "exponent" in params:
            return {"exponent": exponent_step(params, points)}
        return {"classes": jnp.log((points + 1) / (points + 1).sum())} if self._is_free(params) else {}

    def specs(self, params):
        return {name: "labeler" if name in self.of_labeler else None for name in params}

    # What a model adds

    of_labeler = ()  # names of the arrays by labeler; the first is an estimate

    def start_labelers(self, labels: Labels) -> dict:
        return {}

    def log_prior_labelers(self, params):
        return jnp.zeros((), params["classes"].dtype)

    def labelers_step(self, params, counts) -> dict:
        return {}

    def unseen(self, params) -> dict:
        """Return the arrays by labeler, of one who has not been met."""
        return {}


def log_shares(votes: Float[Array, " K"]) -> dict[str, Array]:
    """Return the parameters of π ∝ (share of votes)^e: the logs of the shares, and e where it starts.

    Example:
        >>> start = log_shares(jnp.array([8.0, 1.0, 1.0]))
        >>> [round(float(p), 2) for p in jnp.exp(log_power(start))], float(start["exponent"])
        ([0.54, 0.23, 0.23], 0.5)
    """
    shares = votes + 0.5
    return {"classes": jnp.log(shares / shares.sum()), "exponent": jnp.asarray(EXPONENT[0], shares.dtype)}


def log_power(params) -> Float[Array, " K"]:
    """Return log π of the parameters that ``log_shares`` starts; an e below ½ counts as ½, one above 3 as 3."""
    (least, most), e = _range(params["classes"].shape[0]), params["exponent"]
    e = jnp.where(e > least, jnp.where(e < most, e, most), least)
    return jax.nn.log_softmax(e * jax.lax.stop_gradient(params["classes"]))


def _range(n_classes: int) -> tuple[float, float]:
    """Return the least and the most that e may be."""
    return EXPONENT[0], MOST if n_classes <= MANY else EXPONENT[0]


def log_prior_of_exponent(params) -> Float[Array, ""]:
    """Return log p(e), up to a constant."""
    mean, sd = EXPONENT
    return -0.5 * ((params["exponent"] - mean) / sd) ** 2


def exponent_step(params, items: Float[Array, " K"], length: float = 1.0) -> Float[Array, ""]:
    """Return the maximum in ½ ≤ e ≤ 3 of Σ_k items_k log π_k + log p(e), by steps of Newton that do not lower it.

    Args:
        items: expected instances of each class.
        length: of the way there; above 1 as far as the sum does not fall.

    Example: a class as rare as its votes squared
        >>> params = log_shares(jnp.array([700.0, 200.0, 100.0]))
        >>> items = 1e4 * jax.nn.softmax(2 * params["classes"])
        >>> round(float(exponent_step(params, items)), 2)
        2.0
    """
    mean, sd = EXPONENT
    shares = params["classes"]
    least, most = _range(shares.shape[0])

    def q(e):
        return items @ jax.nn.log_softmax(e * shares) - 0.5 * ((e - mean) / sd) ** 2

    def newton(_, e):
        pi = jax.nn.softmax(e * shares)
        first = pi @ shares
        gradient = items @ (shares - first) - (e - mean) / sd**2
        curvature = items.sum() * (pi @ (shares - first) ** 2) + 1 / sd**2
        new = jnp.clip(e + gradient / curvature, least, most)
        tried = jnp.stack([e, (new + e) / 2, new])
        return tried[jax.vmap(q)(tried).argmax()]

    at = jnp.clip(params["exponent"], least, most)
    best = jax.lax.fori_loop(0, EXPONENT_STEPS, newton, at)
    return jnp.clip(at + length * (best - at), least, most)


def coin_table(right: Float[Array, " W"], wrong: Float[Array, " W"], n: int) -> Float[Array, "W K K"]:
    """Return log P(label | class) of coins, from the logs of P(right) and of P(any one wrong label).

    Example:
        >>> print(jnp.exp(coin_table(jnp.log(jnp.array([0.75])), jnp.log(jnp.array([0.125])), 3))[0, :, 0])
        [0.75  0.125 0.125]
    """
    return jnp.where(jnp.eye(n, dtype=bool), right[:, None, None], wrong[:, None, None])


@dataclasses.dataclass(frozen=True)
class Majority(priors.Majority, Nominal):
    """The majority vote: every labeler is right with the same probability σ(skill), and nothing is learned.

    Example:
        >>> Majority().skill
        1.0
    """

    of_labeler = ("skill",)
    neutral = True

    def start_labelers(self, labels):
        _as_many(labels, "majority")
        return {"skill": jnp.full(labels.n_labelers, self.skill)}

    def coin(self, params):
        """Compute log P(right) and log P(any one wrong label) of each labeler, which are enough for a pass over many
        classes.
        """
        skill = jax.lax.stop_gradient(params["skill"])
        n = params["classes"].shape[0]
        return jax.nn.log_sigmoid(skill), jax.nn.log_sigmoid(-skill) - jnp.log(n - 1.0)

    def table(self, params):
        return coin_table(*self.coin(params), params["classes"].shape[0])

    def coin_step(self, params, right, total) -> dict:
        """Make the M-step in the labelers from the number of their right labels."""
        return {}

    def beta(self, params, counts):
        """Compute Dirichlet parameters: the counts of the labels plus one label in each class, as P(label | class) is
        the same for all before any label.
        """
        return counts + jnp.exp(self.table(params))

    def unseen(self, params):
        return {"skill": jnp.asarray(self.skill)}


class Design(eqx.Module):
    """Logits that are linear in what a labeler has: η = offset + x w, for labels l and classes k."""

    x: Float[np.ndarray, "L K P"]
    offset: Float[np.ndarray, "L K"]

    def log_p(self, w: Float[Array, "W P"]) -> Float[Array, "W L K"]:
        eta = jnp.einsum("lkp,wp->wlk", self.x, w, precision=PRECISION) + self.offset
        return jax.nn.log_softmax(eta, axis=1)

    def curvature(self, log_p) -> Float[Array, "W K P"]:
        """Return -∂² log p / ∂w_p² at class k: the variance of x over labels."""
        p = jnp.exp(log_p)
        mean, square = (jnp.einsum("wlk,lkp->wkp", p, x, precision=PRECISION) for x in (self.x, self.x**2))
        return square - mean**2

    def hessian(self, log_p, counts) -> Float[Array, "W P P"]:
        """Return -∂² Σ counts log p / ∂w ∂wᵀ."""
        p, n = jnp.exp(log_p), counts.sum(1)
        mean = jnp.einsum("wlk,lkp->wkp", p, self.x, precision=PRECISION)
        square = jnp.einsum("wlk,lkp,lkq->wpq", n[:, None] * p, self.x, self.x, precision=PRECISION)
        return square - jnp.einsum("wk,wkp,wkq->wpq", n, mean, mean, precision=PRECISION)

    def expected(self, w, v=None) -> Float[Array, "W L K"]:
        """Return E log p where w ~ N(w, v), to second order."""
        log_p = self.log_p(w)
        if v is None:
            return log_p
        return log_p - 0.5 * jnp.einsum("wkp,wp->wk", self.curvature(log_p), v, precision=PRECISION)[:, None]


@dataclasses.dataclass(frozen=True)
class Coins(priors.Coins, Nominal):
    """Base class of the coins: w_i ~ N(μ, σ²), with one σ for all skills and one for all biases.

    Attributes:
        skill: mean and standard deviation of skills.
        bias: standard deviation of γ_il - γ_ik, whose mean is 0.
        population: ``fixed``: the population has these values, and w_i is at its mode; ``learn``: the population
            is learned, starting from these values with the weight of four labelers, and w_i ~ N(m_i, v_i).

    Example: with two classes, the model of Dawid and Skene as it was before
        >>> BiasedCoin(class_prior="uniform", skill=(1.0, 2.0), bias=2.0, population="fixed").skill
        (1.0, 2.0)
    """

    of_labeler = ("w", "spread")

    @property
    def neutral(self) -> bool:
        """Whether unlabeled labelers change nothing: not where a population is learned."""
        return self.population == "fixed"

    def design(self, k: int) -> Design:
        """Return the logits."""
        return Design(*self.logits(k)[:2])

    def _population(self, params):
        """Return means and variances of w_i, each [P]."""
        mean, variance, group = self.first(params["classes"].shape[0])
        if self.population == "fixed":
            return jnp.asarray(mean), jnp.asarray(variance[group])
        return params["mean"], jnp.exp(params["variance"])[group]

    def _v(self, params):
        return jnp.exp(params["spread"]) if self.population == "learn" else None

    def start_labelers(self, labels):
        _as_many(labels, "a coin")
        mean, variance, group = (jnp.asarray(v) for v in self.first(labels.n_classes))
        w = jnp.tile(mean, (labels.n_labelers, 1))
        if self.population == "fixed":
            return {"w": w}
        spread = jnp.tile(jnp.log(variance)[group], (labels.n_labelers, 1))
        return {"w": w, "spread": spread, "mean": mean, "variance": jnp.log(variance)}

    def table(self, params):
        return self.design(params["classes"].shape[0]).expected(params["w"], self._v(params))

    def log_prior_labelers(self, params):
        mean, variance = self._population(params)
        square = (params["w"] - mean) ** 2
        if self.population == "fixed":
            return -(square / variance).sum() / 2
        v = jnp.exp(params["spread"])
        kl = (square + v) / variance - jnp.log(v / variance) - 1
        first, first_variance, group = self.first(params["classes"].shape[0])
        pretended = ((mean - first) ** 2 + first_variance[group]) / variance + jnp.log(variance)
        return -(kl.sum() + PRETENDED * pretended.sum()) / 2

    def labelers_step(self, params, counts):
        return self._step(params, counts, self.design(params["classes"].shape[0]))

    def _step(self, params, counts, design: Design):
        """Take Newton's steps in w_i (none that lowers Q), the v_i that is best there, then the population that is."""
        mean, variance = self._population(params)

        def q(w, v):
            table = design.expected(w, v)
            return (counts * table).sum((1, 2)) - ((w - mean) ** 2 / variance).sum(1) / 2

        def newton(_, state):
            w, v = state
            log_p = design.log_p(w)
            hessian = design.hessian(log_p, counts) + jnp.diag(1 / variance)
            step = jnp.linalg.solve(hessian, jax.grad(lambda w: q(w, v).sum())(w)[..., None])[..., 0]
            step *= jnp.minimum(1, LONGEST / jnp.maximum(jnp.abs(step).max(1, keepdims=True), LONGEST))
            tried = w + jnp.array(STEP_PARTS)[:, None, None] * step
            best = jnp.argmax(jax.vmap(q, (0, None))(tried, v), axis=0)
            w = jnp.take_along_axis(tried, best[None, :, None], axis=0)[0]
            if v is None:
                return w, v
            curvature = jnp.einsum("wk,wkp->wp", counts.sum(1), design.curvature(design.log_p(w)), precision=PRECISION)
            return w, 1 / (curvature + 1 / variance)

        w, v = jax.lax.fori_loop(0, NEWTON_STEPS, newton, (params["w"], self._v(params)))
        if v is None:
            return {"w": w}
        first, first_variance, group = self.first(params["classes"].shape[0])
        n = w.shape[0] + PRETENDED
        mean = (w.sum(0) + PRETENDED * first) / n
        each = ((w - mean) ** 2 + v).sum(0) + PRETENDED * ((mean - first) ** 2 + first_variance[group])
        of_group = np.eye(len(first_variance))[group]
        variance = each @ of_group / (n * of_group.sum(0))
        return {"w": w, "spread": jnp.log(v), "mean": mean, "variance": jnp.log(variance)}

    def unseen(self, params):
        mean, variance = self._population(params)
        return {"w": mean} | ({} if self.population == "fixed" else {"spread": jnp.log(variance)})


@dataclasses.dataclass(frozen=True)
class OneCoin(priors.OneCoin, Coins):
    """One skill for each labeler, P(right) = σ(a_i); errors fall on all other classes equally.

    Example: whose population is known
        >>> OneCoin(skill=(1.0, 2.0), population="fixed").population
        'fixed'
    """

    def coin(self, params):
        """Compute log P(right) and log P(any one wrong label) of each labeler, which are enough for a pass over many
        classes.
        """
        k = params["classes"].shape[0]
        right, wrong = self.design(k).expected(params["w"], self._v(params))[:, :, 0].T
        return right, wrong - jnp.log(k - 1.0)

    def table(self, params):
        return coin_table(*self.coin(params), params["classes"].shape[0])

    def labelers_step(self, params, counts):
        return self.coin_step(params, jnp.trace(counts, axis1=1, axis2=2), counts.sum((1, 2)))

    def coin_step(self, params, right: Float[Array, " W"], total: Float[Array, " W"]) -> dict:
        """Make the M-step in the labelers from the number of their right labels."""
        counts = jnp.stack([right, total - right], axis=1)[:, :, None]
        return self._step(params, counts, self.design(params["classes"].shape[0]))


@dataclasses.dataclass(frozen=True)
class BiasedCoin(priors.BiasedCoin, Coins):
    """A skill for each labeler and a bias for each label: the log-odds of label l shift by γ_il whatever the class.

    With two classes this is the two-coin model of Dawid and Skene: sensitivity σ(a + γ_1 - γ_0), specificity
    σ(a - γ_1 + γ_0).

    Example:
        >>> BiasedCoin().design(3).x.shape
        (3, 3, 4)
    """


@dataclasses.dataclass(frozen=True)
class ClassSkill(Coins):
    """A skill for each labeler and class, and a bias for each label.

    Example:
        >>> ClassSkill().design(3).x.shape
        (3, 3, 6)
    """

    def logits(self, k):
        eye = np.eye(k)
        x = np.concatenate([eye[:, :, None] * eye, np.repeat(eye[:, None], k, axis=1)], axis=2)
        return x, eye * np.log(k - 1), np.arange(2 * k) >= k


@dataclasses.dataclass(frozen=True)
class DawidSkene(priors.DawidSkene, Nominal):
    """A confusion matrix for each labeler: P(label l | class k) = V_ilk, columns with pseudo-counts b_k = B_k M_k.

        log p(V_ik) = -B_k KL(M_k | V_ik),   that is Dir(b_k) of the logits of V_ik, highest at V_ik = M_k
        V_ik ∝ counts + b_k,   a mean, so that a labeler of two labels is as the crowd is
        log p(labels) ≈ evidence(V) + Σ_ik [ log p(V_ik) - (L-1)/2 log(1 + n_ik / B_k) ] + log p(b)

    The last line, which learns b, is Laplace's integral over the logits of V, with the curvature of M_k and the labels
    n_ik that votes say are of class k. (With V integrated out in Dirichlet coordinates, E log V, a label that is rare
    among few counts for too much: NLL .58 in place of .40 on the set web, 1.44 in place of 1.05 on music_genre.)

    Attributes:
        pooling: ``learn`` the pseudo-counts; two numbers, those on the diagonal and beside it; or None: 0.01 each.

    Example:
        >>> DawidSkene(pooling=(4.0, 1.0)).pooling
        (4.0, 1.0)

    Source: Dawid and Skene 1979; MacKay 1998, Choice of basis for Laplace approximation.
    """

    of_labeler = ("rows", "n")
    neutral = True

    def start_labelers(self, labels):
        first = jnp.asarray(self.first(labels.n_values, labels.n_classes, labels.places), jnp.result_type(float))
        params = {"rows": jnp.tile(jnp.log(first), (labels.n_labelers, 1, 1)), "b": jnp.log(first)}
        if self.pooling != "learn":
            return params
        n = jnp.zeros((labels.n_labelers, labels.n_classes))  # the first M-step knows it
        return params | {"n": n, "middle": first}

    def table(self, params):
        return jax.nn.log_softmax(params["rows"], axis=1)

    def log_prior_labelers(self, params):
        log_b = params["b"] if self.pooling == "learn" else jax.lax.stop_gradient(params["b"])
        of_columns = (jnp.exp(log_b) * (self.table(params) - jax.nn.log_softmax(log_b, axis=0))).sum()
        if self.pooling != "learn":
            return of_columns
        n, middle = (jax.lax.stop_gradient(params[name]) for name in ("n", "middle"))
        return of_columns + self._about_b(log_b, n, middle).sum()

    def _about_b(self, log_b: Float[Array, "L K"], n: Float[Array, "W K"], first) -> Float[Array, " K"]:
        """Return the objective's terms in b alone, by class."""
        prior = PRETENDED * (first * log_b - jnp.exp(log_b)).sum(0)
        return prior - (log_b.shape[0] - 1) / 2 * jnp.log1p(n / jnp.exp(log_b).sum(0)).sum(0)

    def labelers_step(self, params, counts):
        log_b = params["b"]
        if self.pooling != "learn":
            return {"rows": jnp.log(counts + jnp.exp(log_b))}
        n = jnp.where(params["n"].any(), params["n"], counts.sum(1))
        log_b = jax.lax.fori_loop(0, NEWTON_STEPS, lambda _, at: self._newton(at, counts, n, params["middle"]), log_b)
        return {"rows": jnp.log(counts + jnp.exp(log_b)), "b": log_b, "n": n}

    def beta(self, params, counts):
        """Compute the Dirichlet parameters (pseudo-counts plus counts) of the columns V_ik given the classes."""
        return counts + jnp.exp(params["b"])

    def _newton(self, log_b, counts, n, first):
        """Return a step in log b that does not lower Q at the best V; its Hessian is a diagonal and c b bᵀ, for each
        class."""

        def q(log_b):
            b = jnp.exp(log_b)
            log_v = jnp.log(counts + b) - jnp.log(counts.sum(1) + b.sum(0))[:, None]
            kl = b * (log_v - jax.nn.log_softmax(log_b, axis=0))
            return (counts * log_v + kl).sum((0, 1)) + self._about_b(log_b, n, first)

        b = jnp.exp(log_b)
        whole, total = b.sum(0), counts.sum(1)
        slope = jax.grad(lambda log_b: q(log_b).sum())(log_b)
        diagonal = (b * counts / (counts + b)).sum(0) + PRETENDED * first + jnp.maximum(-slope, 0)
        occam = (log_b.shape[0] - 1) / 2 * (1 / (whole + n) ** 2 - 1 / whole**2)
        c = (total / (whole * (total + whole)) + occam).sum(0)
        share = jnp.minimum(c * (b**2 / diagonal).sum(0), 0.9)
        step = (slope + b * c * (b * slope / diagonal).sum(0) / (1 - share)) / diagonal
        step = jnp.clip(step, -LONGEST, LONGEST)
        tried = log_b + jnp.array(STEP_PARTS)[:, None, None] * step
        best = jnp.argmax(jax.vmap(q)(tried), axis=0)
        return jnp.take_along_axis(tried, best[None, None], axis=0)[0]

    def unseen(self, params):
        return {"rows": params["b"]} | ({"n": jnp.zeros(params["b"].shape[1])} if self.pooling == "learn" else {})


class Logistic(eqx.Module):
    """A model whose class prior is a softmax of the instances' features.

        π_jk = softmax_k(w_k·x_j)      w_kf - w_lf ~ N(0, sd²)

    Attributes:
        model: of the labelers.
        features: standardised columns of each instance; a constant is put before them.
        sd: how much a feature moves the log-odds of two classes.

    Example: a feature that gives the class away, where labelers contradict each other
        >>> from crowdjax.observation import fit_jit
        >>> labels = Labels.from_arrays([0, 1] * 20, np.repeat(np.arange(20), 2), [0, 0, 1, 1] * 9 + [0, 1] * 2)
        >>> model = Logistic(OneCoin(), [[-1.0], [1.0]] * 10)
        >>> fit_jit(labels, model).posterior.argmax(1)[-2:].tolist()
        [0, 1]

    Source: Raykar and others 2010; Böhning 1992 (the bound of the curvature).
    """

    model: Nominal = eqx.field(static=True, converter=lambda model: dataclasses.replace(model, class_prior="uniform"))
    features: Float[Array, "I F"] = eqx.field(converter=lambda x: jnp.c_[jnp.ones(len(x)), jnp.asarray(x)])
    sd: float = eqx.field(static=True, default=1.0)

    def start(self, labels, votes):
        weights = jnp.zeros((self.features.shape[1], labels.n_classes))
        return {"labelers": self.model.start(labels, votes), "weights": weights}

    def table(self, params):
        return self.model.table(params["labelers"])

    def log_points(self, params):
        return jax.nn.log_softmax(jnp.matmul(self.features, params["weights"], precision=PRECISION), axis=1)

    def class_of_point(self, params):
        return self.model.class_of_point(params["labelers"])

    def log_prior(self, params):
        return self.model.log_prior(params["labelers"]) - (params["weights"] ** 2).sum() / self.sd**2

    def specs(self, params):
        return {"labelers": self.model.specs(params["labelers"]), "weights": None}

    def own_specs(self):
        """Name the first axis of each of the model's own arrays."""
        return {"features": "instance"}

    def gather(self, params, points: Float[Array, "I K"]):
        """Sum over instances what the M-step needs in place of the points."""
        n = points.sum(1, keepdims=True)  # 0 where a shard is padded
        errors = points - n * jnp.exp(self.log_points(params))
        sums = (jnp.matmul(self.features.T, right, precision=PRECISION) for right in (errors, n * self.features))
        return dict(zip(("slope", "square"), sums, strict=True))

    def m_step(self, params, counts, sums):
        """Make one step in the weights on a bound of the curvature; it never lowers Q."""
        weights = params["weights"]
        curvature = sums["square"] / 2 + 2 / self.sd**2 * jnp.eye(len(weights))
        step = jnp.linalg.solve(curvature, sums["slope"] - 2 / self.sd**2 * weights)
        labelers = params["labelers"] | self.model.labelers_step(params["labelers"], counts)
        return {"labelers": labelers, "weights": weights + step}

    def unseen(self, params):
        return {"labelers": self.model.unseen(params["labelers"])}


def _as_many(labels: Labels, name: str) -> None:
    if labels.n_values != labels.n_classes:
        raise InputError(
            f"{name}: {labels.n_values} values of labels for {labels.n_classes} classes; allowed: as many "
            "(models of other values: dawid-skene, graded)"
        )
