"""Models of classes without order, whose points are the classes: a table of labelers, and a prior of classes.

| model | P(label l | class k) | numbers per labeler |
|---|---|---|
| majority | as everybody: e^s / (e^s + K - 1) where l = k, the rest shared evenly | 0 |
| one-coin | the same with a skill of his own, a_i | 1 |
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from crowdjax.labels import Labels

Gaussian = tuple[float, float]  # mean, standard deviation


def coin(skill: Float[Array, " W"], n: int) -> Float[Array, "W K K"]:
    """log P(label | class) where a label is right with the odds e^skill : K - 1, errors alike.

    Example:
        >>> print(jnp.exp(coin(jnp.log(jnp.array([6.0])), 3))[0, :, 0])
        [0.75  0.125 0.125]
    """
    return jax.nn.log_softmax(skill[:, None, None] * jnp.eye(n), axis=1)


@dataclasses.dataclass(frozen=True)
class Majority:
    """Votes: every labeler has the same skill, and nothing is learnt.

    Attributes:
        skill: s, the log of how much likelier the right label is than any wrong one.

    Example:
        >>> Majority().skill
        1.0
    """

    skill: float = 1.0

    def start(self, labels: Labels, votes: Float[Array, "I K"]):
        return {"skill": jnp.full(labels.n_labelers, self.skill), "classes": jnp.zeros(labels.n_classes)}

    def table(self, params):
        return coin(params["skill"], params["classes"].shape[0])

    def log_points(self, params):
        return jax.nn.log_softmax(params["classes"])

    def class_of_point(self, params):
        return jnp.eye(params["classes"].shape[0])

    def log_prior(self, params):
        return jnp.zeros((), params["skill"].dtype)

    def specs(self, params):
        return {"skill": "labeler", "classes": None}

    def m_step(self, params, counts, points):
        return params


@dataclasses.dataclass(frozen=True)
class OneCoin(Majority):
    """One skill for each labeler, a_i ~ N(mean, sd^2); errors fall on all other classes alike.

    Example:
        >>> OneCoin(prior=(1.0, 0.5)).prior
        (1.0, 0.5)
    """

    prior: Gaussian = (1.0, 2.0)

    def log_prior(self, params):
        mean, sd = self.prior
        return -(((params["skill"] - mean) / sd) ** 2).sum() / 2

    def m_step(self, params, counts, points):
        mean, sd = self.prior
        n = counts.shape[1]
        right = jnp.trace(counts, axis1=1, axis2=2)
        total = counts.sum((1, 2))

        def newton(_, a):
            p = jax.nn.sigmoid(a - jnp.log(n - 1.0))
            step = (right - total * p - (a - mean) / sd**2) / (total * p * (1 - p) + sd**-2)
            return a + jnp.clip(step, -2, 2)

        return {**params, "skill": jax.lax.fori_loop(0, 20, newton, params["skill"])}
