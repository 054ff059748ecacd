"""Graded labels: L grades about K classes in order, as labels 1 to 5 about a truth of yes or no.

    P(L_ij <= m | z_j = k) = σ(e^{s_i} c_m + b_i - a_i z_k)      z_k = k - (K-1)/2,   c_0 < c_1 < ... common to all

A labeler has a skill a_i, a bias b_i (who gives low grades), and a spread s_i (who uses the ends of the scale: low). A
higher grade speaks for a higher class.
"""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jax.nn import log_sigmoid, log_softmax, softplus
from jaxtyping import Array, Float

from crowdjax.labels import Labels

Gaussian = tuple[float, float]  # mean, standard deviation
FAR = 40.0  # a cut beyond which no label lies


@dataclasses.dataclass(frozen=True)
class Graded:
    """Ordinal labels of ordered classes: McCullagh's proportional-odds model for each labeler.

    Attributes:
        skill: mean and standard deviation of a.
        bias, spread: standard deviations of b and s, whose means are 0.

    Example: grades 0 to 4 about a truth of yes or no
        >>> from crowdjax.observation import fit_jit
        >>> grades = [4, 3, 4, 0, 1, 0, 3, 4, 2, 1, 0, 0]
        >>> instance = [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
        >>> labels = Labels.from_arrays([0, 1, 2] * 4, instance, grades, n_values=5, n_classes=2)
        >>> fit_jit(labels, Graded()).posterior.argmax(1).tolist()
        [1, 0, 1, 0]

    Source: McCullagh 1980, Regression models for ordinal data.
    """

    skill: Gaussian = (2.0, 1.0)
    bias: float = 1.0
    spread: float = 1.0

    def start(self, labels: Labels, votes: Float[Array, "I K"]):
        cuts = jnp.linspace(-1.0, 1.0, labels.n_values - 1)
        gaps = jnp.log(jnp.expm1(jnp.diff(cuts)))
        votes = votes if labels.shard is None else votes * labels.shard.real[:, None]
        shares = labels.across(votes.sum(0))
        own = {"skill": self.skill[0], "bias": 0.0, "spread": 0.0}
        own = {name: jnp.full(labels.n_labelers, value) for name, value in own.items()}
        return own | {"first": cuts[0], "gaps": gaps, "classes": jnp.log((shares + 0.5) / (shares + 0.5).sum())}

    def table(self, params):
        n = params["classes"].shape[0]
        z = jnp.arange(n) - (n - 1) / 2
        cuts = params["first"] + jnp.pad(jnp.cumsum(softplus(params["gaps"])), (1, 0))
        cuts = jnp.exp(params["spread"])[:, None] * cuts + params["bias"][:, None]
        eta = jnp.pad(cuts, ((0, 0), (1, 1)), constant_values=((0, 0), (-FAR, FAR)))[:, :, None]
        eta -= params["skill"][:, None, None] * z
        lower, upper = eta[:, :-1], eta[:, 1:]
        return log_sigmoid(upper) + log_sigmoid(-lower) + jnp.log(-jnp.expm1(lower - upper))

    def log_points(self, params):
        return log_softmax(params["classes"])

    def class_of_point(self, params):
        return jnp.eye(params["classes"].shape[0])

    def log_prior(self, params):
        mean, sd = self.skill
        of_labelers = ((params["skill"] - mean) / sd) ** 2 + (params["bias"] / self.bias) ** 2
        of_labelers += (params["spread"] / self.spread) ** 2
        of_cuts = (params["first"] ** 2 + (params["gaps"] ** 2).sum()) / 8
        return -of_labelers.sum() / 2 - of_cuts + log_softmax(params["classes"]).sum()

    def specs(self, params):
        return {name: "labeler" if name in ("skill", "bias", "spread") else None for name in params}

    def unseen(self, params):
        zero = jnp.zeros(())
        return {"skill": zero + self.skill[0], "bias": zero, "spread": zero}
