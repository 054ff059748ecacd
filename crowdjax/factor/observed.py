"""The factor model as an observation model of two classes, for what is written once for all models."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp

from crowdjax.factor.model import FactorModel, Weights
from crowdjax.observation.bilinear import Factors


class Observed(eqx.Module):
    """Labels 0 and 1 with the biases ∓γ/2 of their logits, and s_ij added to that of the truth.

    Example: sensitivity σ(s + γ), as in the factor model
        >>> from crowdjax.factor import PRESETS, build
        >>> from crowdjax.labels import Labels
        >>> model = build(PRESETS["dawid-skene"], Labels.from_arrays([0], [0], [1]))
        >>> found = Observed(model).factors(model.full(model.mean))
        >>> found.alpha.tolist(), found.gamma.shape, jnp.exp(found.log_prior).tolist()
        ([[1.0]], (1, 2), [[0.5, 0.5]])
    """

    model: FactorModel

    def factors(self, weights: Weights) -> Factors:
        """Compute α, β, the biases of both labels, and the log prior of both classes."""
        found = self.model.factors(weights)
        gamma = None if found.gamma is None else jnp.stack([-found.gamma, found.gamma], 1) / 2
        log_prior = jnp.stack([jax.nn.log_sigmoid(-found.prior_logit), jax.nn.log_sigmoid(found.prior_logit)], 1)
        return Factors(found.alpha, found.beta, gamma, log_prior, 0.0)
