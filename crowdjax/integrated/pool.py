"""Models of the same labels whose probabilities are averaged, together with votes.

    p_jk = (1 - v) Σ_m w_m P_m(z_j = k | labels) + v (votes' share, as ``integrated.classes.pooled`` has it)

Each model is wrong in its own way, and sure of it: a model of confusions takes hard instances for able labelers'
errors, one of hard instances has fewer ways to confuse, and neither knows of errors that labelers share. Each is fitted
as if it were alone, by EM, all in one program.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from crowdjax.integrated.classes import VOTES, pooled
from crowdjax.labels import Labels
from crowdjax.observation.contract import Observation, Pass
from crowdjax.observation.fit import m_step
from crowdjax.observation.table import table_pass, tally

WEIGHTS = 0.75, 0.25  # of the integrated model and of the one beside it


class Pool(eqx.Module):
    """An ``Observation`` whose parameters are those of its members, whose points are theirs one after the other.

    Attributes:
        members: each has a table; the first speaks of labelers.
        weights: of their probabilities (static).
        votes: v (static).

    Example:
        >>> from crowdjax.observation import DawidSkene, OneCoin, fit_jit
        >>> labels = Labels.from_arrays([0, 1, 2] * 2, [0] * 3 + [1] * 3, [1, 1, 2, 0, 0, 0], n_values=3)
        >>> found = fit_jit(labels, Pool((OneCoin(), DawidSkene())))
        >>> found.posterior.argmax(1).tolist(), len(found.params)
        ([1, 0], 2)
    """

    members: tuple[Observation, ...]
    weights: tuple[float, ...] = eqx.field(static=True, default=WEIGHTS)
    votes: float = eqx.field(static=True, default=VOTES)

    accelerated = False  # steps of one member would be judged by the others'

    @property
    def neutral(self) -> bool:
        """Whether all members are neutral."""
        return all(getattr(model, "neutral", False) for model in self.members)

    def start(self, labels: Labels, votes: Float[Array, "I K"]):
        """Compute for each member the maximum of Q at the vote shares."""
        return tuple(_at_votes(model, labels, votes) for model in self.members)

    def predict(self, labels: Labels, params) -> Pass:
        """Run a pass of each member; the evidence is the sum of theirs."""
        passes = [
            table_pass(labels, model.table(own), model.log_points(own), model.class_of_point(own))
            for model, own in zip(self.members, params, strict=True)
        ]
        posterior = sum(w * found.posterior for w, found in zip(self.weights, passes, strict=True))
        counts, points = (jnp.concatenate([getattr(p, name) for p in passes], -1) for name in ("counts", "points"))
        return Pass(sum(found.value for found in passes), posterior, counts, points)  # pyright: ignore[reportArgumentType]

    def m_step(self, params, counts, points):
        ends = np.cumsum([model.class_of_point(own).shape[0] for model, own in zip(self.members, params, strict=True)])
        parts = zip(self.members, params, jnp.split(counts, ends[:-1], -1), jnp.split(points, ends[:-1]), strict=True)
        return tuple(m_step(*part) for part in parts)

    def log_prior(self, params):
        return sum(model.log_prior(own) for model, own in zip(self.members, params, strict=True))

    def table(self, params):
        return self._joined("table", params)

    def log_points(self, params):
        return self._joined("log_points", params)

    def class_of_point(self, params):
        return jnp.concatenate([model.class_of_point(own) for model, own in zip(self.members, params, strict=True)])

    def specs(self, params):
        return tuple(model.specs(own) for model, own in zip(self.members, params, strict=True))

    def unseen(self, params):
        both = zip(self.members, params, strict=True)
        return tuple(model.unseen(own) if hasattr(model, "unseen") else {} for model, own in both)

    def answer(self, labels: Labels, posterior: Float[np.ndarray, "I K"]) -> Float[np.ndarray, "I K"]:
        """Average the posterior with the vote shares."""
        return pooled(labels, posterior, self.votes)

    def leading(self, fit: Any) -> tuple[Observation, Any]:
        """Return the first member and its fit."""
        return self.members[0], dataclasses.replace(fit, params=fit.params[0])

    def _joined(self, name: str, params) -> Array:
        return jnp.concatenate(
            [getattr(model, name)(own) for model, own in zip(self.members, params, strict=True)], axis=-1
        )


def _at_votes(model: Observation, labels: Labels, votes: Float[Array, "I K"]):
    params = model.start(labels, votes)
    of_point = model.class_of_point(params)
    if of_point.shape[0] != of_point.shape[1]:  # it starts there by itself
        return params
    real = votes if labels.shard is None else votes * labels.shard.real[:, None]
    return m_step(model, params, *labels.across((tally(labels, votes), real.sum(0))))
